"""Websocket hub: market streams by name, user streams by account.

A message is encoded once and handed to a queue of each socket that asked for it; one task per socket writes. A socket
that cannot keep up is closed rather than awaited: one slow reader must not delay another's stop event.
"""

import asyncio
import json
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

QUEUE_LIMIT = 10_000
MAX_STREAMS = 1_024
FRAMES_PER_SECOND = 10
PING_S = 180.0
LIFE_S = 24 * 3_600.0
ALL = frozenset({"market", "public"})
ABNORMAL = 1006
_PUBLIC = re.compile(r"@(depth|rpiDepth|bookTicker|trade)(@|\d|$)|^!bookTicker$")
_NAME = re.compile(
    r"[0-9a-z_]+@(markPrice(@1s)?|miniTicker|ticker|kline_\w+|markPriceKline_\w+|bookTicker|trade|aggTrade|depth\d*(@\d+ms)?)"
    r"|!markPrice@arr(@1s)?|!miniTicker@arr|!ticker@arr|!bookTicker"
)


def category(stream: str) -> str:
    """Path prefix a stream belongs to since 2026-04-23: ``public`` for books and trades, else ``market``."""
    return "public" if _PUBLIC.search(stream) else "market"


def dumps(row: object) -> str:
    """Compact JSON, as on the wire."""
    return json.dumps(row, separators=(",", ":"))


@dataclass(eq=False, slots=True)
class Socket:
    """One connection: what it asked for, and what waits to be written to it."""

    ws: web.WebSocketResponse
    transport: asyncio.Transport | None
    categories: frozenset[str] = ALL
    combined: bool = False
    account: str | None = None
    streams: set[str] = field(default_factory=set)
    queue: deque[str] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    closing: tuple[int, bytes] | None = None
    writer: asyncio.Task[None] | None = None
    second: int = 0
    frames: int = 0

    def put(self, text: str) -> None:
        """Queue a message; a full queue closes the socket with 1008."""
        if len(self.queue) >= QUEUE_LIMIT:
            self.close(WSCloseCode.POLICY_VIOLATION, b"reads too slowly")
            return
        self.queue.append(text)
        self.wake.set()

    def close(self, code: int, reason: bytes = b"") -> None:
        """Close after what is queued; 1006 drops the connection without a close frame."""
        if self.closing is None:
            self.closing = (code, reason)
            self.wake.set()

    async def write(self) -> None:
        """Write what is queued until the socket is to be closed or is gone."""
        try:
            while True:
                while self.queue:
                    await self.ws.send_str(self.queue.popleft())
                if self.closing is not None:
                    break
                self.wake.clear()
                await self.wake.wait()
        except ConnectionError:
            return
        await self._shut(*self.closing)

    async def _shut(self, code: int, reason: bytes) -> None:
        if code == ABNORMAL:
            if self.transport is not None:
                self.transport.abort()
            return
        await self.ws.close(code=code, message=reason, drain=False)

    def floods(self, second: int) -> bool:
        """Count an inbound frame; True above 10 in one second, which Binance answers with a disconnect."""
        if second != self.second:
            self.second, self.frames = second, 0
        self.frames += 1
        return self.frames > FRAMES_PER_SECOND


class Hub:
    """All open sockets, by stream and by account."""

    def __init__(self) -> None:
        self.sockets: set[Socket] = set()
        self._streams: dict[str, set[Socket]] = {}
        self._symbols: dict[str, tuple[str, ...]] = {}
        self._accounts: dict[str, set[Socket]] = {}

    def wanted(self, stream: str) -> bool:
        """True if anybody listens: nothing is computed for streams without a reader."""
        return stream in self._streams

    def streams_of(self, symbol: str) -> tuple[str, ...]:
        """Names of the streams of a symbol (lower case) that somebody listens to."""
        return self._symbols.get(symbol, ())

    @property
    def has_arrays(self) -> bool:
        """True if somebody listens to a stream of all symbols."""
        return "" in self._symbols

    def has_user(self, account: str) -> bool:
        """True if a user stream of the account is open."""
        return bool(self._accounts.get(account))

    def publish(self, stream: str, row: object) -> None:
        """Send a row to everybody who listens to the stream."""
        sockets = self._streams.get(stream)
        if not sockets:
            return
        text = dumps(row)
        wrapped = ""
        for socket in sockets:
            if socket.combined:
                wrapped = wrapped or f'{{"stream":"{stream}","data":{text}}}'
            socket.put(wrapped if socket.combined else text)

    def publish_user(self, account: str, row: object) -> None:
        """Send an event to every user stream of an account."""
        sockets = self._accounts.get(account)
        if sockets:
            text = dumps(row)
            for socket in sockets:
                socket.put(text)

    def silence(self, account: str) -> None:
        """Detach the user streams of an account: they stay open and carry nothing more, as after ``listenKeyExpired``."""
        self._accounts.pop(account, None)

    def close_user(self, account: str, code: int) -> None:
        """Close the user streams of an account."""
        for socket in self._accounts.pop(account, set()):
            socket.close(code)

    def close_all(self, code: int, reason: bytes = b"") -> None:
        """Close every socket; 1006 cuts the connections."""
        for socket in self.sockets:
            socket.close(code, reason)

    async def drained(self, timeout_s: float = 2.0) -> None:
        """Wait until the sockets that were told to close are gone."""
        tasks = [socket.writer for socket in self.sockets if socket.writer is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)

    async def serve(
        self, request: web.BaseRequest, *, categories: frozenset[str] = ALL, combined: bool = False,
        streams: Iterable[str] = (), account: str | None = None, refuse: bytes = b"",
    ) -> web.WebSocketResponse:  # fmt: skip
        """Take one connection through its life. ``refuse`` closes it with 1008 right after the handshake."""
        ws = web.WebSocketResponse(heartbeat=PING_S, compress=False)
        await ws.prepare(request)
        socket = Socket(ws=ws, transport=request.transport, categories=categories, combined=combined, account=account)
        self._attach(socket, streams)
        if refuse:
            socket.close(WSCloseCode.POLICY_VIOLATION, refuse)
        writer = socket.writer = asyncio.create_task(socket.write())
        cut = asyncio.get_running_loop().call_later(LIFE_S, socket.close, WSCloseCode.GOING_AWAY)
        try:
            await self._read(socket)
        finally:
            cut.cancel()
            writer.cancel()
            self._detach(socket)
        return ws

    async def _read(self, socket: Socket) -> None:
        loop = asyncio.get_running_loop()
        message: WSMessage
        async for message in socket.ws:
            if message.type is WSMsgType.TEXT:
                if socket.floods(int(loop.time())):
                    socket.close(WSCloseCode.POLICY_VIOLATION, b"Too many requests")
                else:
                    socket.put(dumps(self._answer(socket, message.data)))

    def _answer(self, socket: Socket, text: str) -> dict[str, Any]:
        """Carry out one request frame."""
        try:
            frame = json.loads(text)
        except ValueError as error:
            return _error(3, f"Invalid JSON: {error}", None)
        if not isinstance(frame, dict) or not isinstance(frame.get("method"), str):
            return _error(2, "Invalid request: missing field `method`", None)
        number = frame.get("id")
        names = frame.get("params", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return _error(2, "Invalid request: `params` must be a list of stream names", number)
        match frame["method"]:
            case "SUBSCRIBE":
                return self._subscribe(socket, names, number)
            case "UNSUBSCRIBE":
                for name in names:
                    self._drop(socket, name)
                return {"result": None, "id": number}
            case "LIST_SUBSCRIPTIONS":
                return {"result": sorted(socket.streams), "id": number}
            case other:
                return _error(2, f"Invalid request: unknown variant `{other}`", number)

    def _subscribe(self, socket: Socket, names: list[str], number: object) -> dict[str, Any]:
        for name in names:
            why = _refusal(socket, name)
            if why is not None:
                return _error(2, f"Invalid request: {why}", number)
        if len(socket.streams | set(names)) > MAX_STREAMS:
            return _error(2, f"Invalid request: more than {MAX_STREAMS} streams", number)
        for name in names:
            self._add(socket, name)
        return {"result": None, "id": number}

    def _attach(self, socket: Socket, streams: Iterable[str]) -> None:
        self.sockets.add(socket)
        if socket.account is not None:
            self._accounts.setdefault(socket.account, set()).add(socket)
        for name in streams:
            if _refusal(socket, name) is None:
                self._add(socket, name)

    def _detach(self, socket: Socket) -> None:
        self.sockets.discard(socket)
        if socket.account is not None and socket.account in self._accounts:
            self._accounts[socket.account].discard(socket)
        for name in tuple(socket.streams):
            self._drop(socket, name)

    def _add(self, socket: Socket, name: str) -> None:
        socket.streams.add(name)
        readers = self._streams.get(name)
        if readers is None:
            readers = self._streams[name] = set()
            symbol = _symbol(name)
            self._symbols[symbol] = (*self._symbols.get(symbol, ()), name)
        readers.add(socket)

    def _drop(self, socket: Socket, name: str) -> None:
        socket.streams.discard(name)
        readers = self._streams.get(name)
        if readers is None:
            return
        readers.discard(socket)
        if not readers:
            del self._streams[name]
            symbol = _symbol(name)
            left = tuple(other for other in self._symbols[symbol] if other != name)
            if left:
                self._symbols[symbol] = left
            else:
                del self._symbols[symbol]


def _refusal(socket: Socket, name: str) -> str | None:
    """Why this socket cannot carry a stream, if it cannot. Named in the URL, such a stream is silent."""
    if not _NAME.fullmatch(name):
        return f"no stream is called `{name}`"
    return None if category(name) in socket.categories else f"`{name}` is served under /{category(name)}/"


def _symbol(stream: str) -> str:
    """Symbol of a stream in lower case, empty for a stream of all symbols."""
    return "" if stream.startswith("!") else stream.partition("@")[0]


def _error(code: int, message: str, number: object) -> dict[str, Any]:
    return {"error": {"code": code, "msg": message}, "id": number}
