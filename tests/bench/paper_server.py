"""What the paper exchange's server carries: signed order requests a second on one core, and a thousand websocket clients.

Part of ``python -m tests.bench.paper --json``.

The server runs alone in a process that is kept to one core; the load comes from another process on another core (on a machine with one
core both share it, and the note says so). Requests are placed and cancelled by turns, each with its own timestamp and signature, over
connections that are kept alive, one request under way on each. What was answered is counted, and the exchange's own books must agree.
"""

import asyncio
import hmac
import multiprocessing
import os
import resource
import time
from multiprocessing.connection import Connection
from typing import Any

from qtkit.core.model import E8, ONE, Ticks
from qtkit.paper.exchange import Exchange
from qtkit.paper.server import PaperServer
from tests.bench.live import Figure

KEY, SECRET = "k" * 64, "s" * 64
PRICE = 96_000
REQUESTS, CONNECTIONS, WARMING = 20_000, 16, 2_000
CLIENTS, EVENTS, EVENT_S = 1_000, 100, 0.05
STREAM = "btcusdt@markPrice@1s"
HEAD = f"HTTP/1.1\r\nHost: 127.0.0.1\r\nX-MBX-APIKEY: {KEY}\r\n"


def percentile(values: list[float], part: float) -> float:
    """A percentile of sorted values."""
    return values[min(len(values) - 1, int(len(values) * part))]


def resident_mb() -> float:
    """Resident memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


# the server's process


def serve(pipe: Connection, core: int | None) -> None:
    """Serve until told to stop: the port goes out first, then what is asked for."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    asyncio.run(_serve(pipe))


async def _serve(pipe: Connection) -> None:
    exchange = Exchange(seed=1, start_ms=time.time_ns() // 1_000_000)
    account = exchange.open_account("main", balance=E8(100_000_000 * ONE))
    server = PaperServer(exchange, keys={KEY: (SECRET, "main")}, weight_limit=10**9, order_limits=(10**9, 10**9))
    tick = exchange.facts["BTCUSDT"].instrument.tick

    def price(last: int) -> None:
        exchange.tick("BTCUSDT", Ticks(last * ONE // tick), E8(last * ONE), time.time_ns() // 1_000_000)

    price(PRICE)
    pipe.send(await server.start())
    while True:
        match await asyncio.to_thread(pipe.recv):
            case "stop":
                break
            case ("prices", count, pause):
                cpu = time.process_time()
                for number in range(count):
                    price(PRICE + number % 50)
                    await asyncio.sleep(pause)
                pipe.send(time.process_time() - cpu)
            case "state":
                orders = [len(account.orders), len(account.open_orders)]
                pipe.send({"memory": resident_mb(), "cpu": time.process_time(), "orders": orders})
    await server.stop()


class Served:
    """A server in a process of its own."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        cores = sorted(os.sched_getaffinity(0))
        self.alone = len(cores) > 1
        self._process = context.Process(target=serve, args=(other, cores[-1] if self.alone else None), daemon=True)
        self._process.start()
        self.port: int = self.pipe.recv()
        self._before = cores
        if self.alone:
            os.sched_setaffinity(0, set(cores[:-1]))

    def ask(self, what: object) -> Any:
        """Ask the server's process."""
        self.pipe.send(what)
        return self.pipe.recv()

    def stop(self) -> None:
        """End the process."""
        self.pipe.send("stop")
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
        os.sched_setaffinity(0, set(self._before))


# signed requests


def signed(method: str, path: str, text: str) -> bytes:
    """One request as bytes, signed now."""
    text += f"&recvWindow=60000&timestamp={time.time_ns() // 1_000_000}"
    text += "&signature=" + hmac.digest(SECRET.encode(), text.encode(), "sha256").hex()
    if method == "DELETE":
        return f"DELETE {path}?{text} {HEAD}\r\n".encode()
    form = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(text)}\r\n\r\n"
    return f"{method} {path} {HEAD}{form}{text}".encode()


async def _exchanged(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    at = head.lower().index(b"content-length:") + 15
    body = await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
    return int(head[9:12]), body


async def _trader(port: int, number: int, pairs: int, spent: list[float]) -> int:
    """Place and cancel by turns on one connection; the answers that were not 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    wrong, clock = 0, time.perf_counter
    place = f"symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.010&price={PRICE - 1_000 - number}&newClientOrderId=b{number}-"
    for turn in range(pairs):
        for method, text in (("POST", place), ("DELETE", f"symbol=BTCUSDT&origClientOrderId=b{number}-")):
            request = signed(method, "/fapi/v1/order", f"{text}{turn}")
            began = clock()
            status, _ = await _exchanged(reader, writer, request)
            spent.append(clock() - began)
            wrong += status != 200
    writer.close()
    return wrong


async def trade(port: int, requests: int, connections: int, name: int = 0) -> tuple[float, list[float], int]:
    """So many requests over so many connections: seconds, the time of each, and how many were refused."""
    spent: list[float] = []
    began = time.perf_counter()
    pairs = requests // connections // 2
    wrong = await asyncio.gather(*(_trader(port, name + number, pairs, spent) for number in range(connections)))
    return time.perf_counter() - began, sorted(spent), sum(wrong)


def requests_figures(served: Served, requests: int = REQUESTS) -> list[Figure]:
    """Signed order requests a second, and how long one takes."""
    asyncio.run(trade(served.port, WARMING, CONNECTIONS, 1_000))
    before = served.ask("state")
    took, spent, wrong = asyncio.run(trade(served.port, requests, CONNECTIONS, 2_000))
    after = served.ask("state")
    placed = after["orders"][0] - before["orders"][0]
    if wrong or placed != len(spent) // 2 or after["orders"][1]:
        raise AssertionError(f"{wrong} refusals, {placed} orders placed of {len(spent) // 2}: no speed is quoted")
    alone = asyncio.run(trade(served.port, requests // 10, 1, 3_000))[1]
    note = f"{len(spent):,} requests, {CONNECTIONS} connections, server on {'one core of its own' if served.alone else 'the only core'}"
    return [
        Figure("signed order requests", len(spent) / took, "1/s", 1_000, note, least=True),
        Figure("server's own time for one", (after["cpu"] - before["cpu"]) / len(spent) * 1e6, "us"),
        Figure("answer p50", percentile(spent, 0.5) * 1e3, "ms", None, f"{CONNECTIONS} under way"),
        Figure("answer p99", percentile(spent, 0.99) * 1e3, "ms", None, f"{CONNECTIONS} under way"),
        Figure("answer p50, alone", percentile(alone, 0.5) * 1e3, "ms", None, "one under way"),
        Figure("answer p99, alone", percentile(alone, 0.99) * 1e3, "ms", None, "one under way"),
    ]


# websockets


class _Reader(asyncio.Protocol):
    """A websocket client that counts: frames of the server are not masked, and their text is a JSON event with ``E``."""

    def __init__(self, delays: list[float]) -> None:
        self.delays, self.events, self._rest = delays, 0, b""
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        head = f"GET /market/ws/{STREAM} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        transport.write(f"{head}Sec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.time()
        data = self._rest + data
        if not self.open.done():
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return
            self.open.set_result(None)
        while len(data) >= 4:
            size, start = (data[1], 2) if data[1] < 126 else (int.from_bytes(data[2:4]), 4)
            if len(data) < start + size:
                break
            frame, data = data[start : start + size], data[start + size :]
            self.events += 1
            self.delays.append(now - int(frame[frame.index(b'"E":') + 4 :].split(b",", 1)[0]) / 1e3)
        self._rest = data


async def _listen(served: Served, clients: int, events: int) -> tuple[list[float], list[int], float, float]:
    loop = asyncio.get_running_loop()
    delays: list[float] = []
    readers: list[_Reader] = []
    for _ in range(clients):
        _, reader = await loop.create_connection(lambda: _Reader(delays), "127.0.0.1", served.port)
        await reader.open
        readers.append(reader)
    memory = served.ask("state")["memory"]
    spent = await asyncio.to_thread(served.ask, ("prices", events, EVENT_S))
    for _ in range(100):
        if all(reader.events >= events for reader in readers):
            break
        await asyncio.sleep(0.05)
    return sorted(delays), [reader.events for reader in readers], memory, spent


def streams_figures(served: Served, clients: int = CLIENTS, events: int = EVENTS) -> list[Figure]:
    """A thousand clients of one stream: who got what, and when."""
    before = served.ask("state")["memory"]
    delays, counts, memory, spent = asyncio.run(_listen(served, clients, events))
    short = sum(count != events for count in counts)
    note = f"{clients:,} clients, {events} events, one every {EVENT_S * 1e3:.0f} ms; the events' clock has 1 ms"
    return [
        Figure("clients that missed an event", short, "clients", 0, note),
        Figure("delay p50", percentile(delays, 0.5) * 1e3, "ms"),
        Figure("delay p99", percentile(delays, 0.99) * 1e3, "ms"),
        Figure("server's own time for one delivery", spent / max(1, len(delays)) * 1e6, "us"),
        Figure("server's memory for one client", (memory - before) / clients * 1e3, "kB"),
        Figure("server's memory with all clients", memory, "MB"),
    ]


def figures(*, requests: int = REQUESTS, clients: int = CLIENTS, events: int = EVENTS) -> list[Figure]:
    """All figures of one server."""
    served = Served()
    try:
        return requests_figures(served, requests) + streams_figures(served, clients, events)
    finally:
        served.stop()
