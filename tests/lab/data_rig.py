"""A paper server in a thread of its own, with history of three days over the end of a month, for the synchronous client of downloads."""

import asyncio
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from random import Random
from typing import Any

import polars as pl
from aiohttp import web

from qtkit.core.model import E8, ONE, Bar, Ticks, TriggerBy
from qtkit.lab.pages import Pace
from qtkit.paper.exchange import Exchange
from qtkit.paper.faults import Faults
from qtkit.paper.server import PaperServer

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
NOW_MS = int(datetime(2026, 2, 2, 12, 0, 30, tzinfo=UTC).timestamp() * 1000)
FIRST_MS = int(datetime(2026, 1, 30, 6, tzinfo=UTC).timestamp() * 1000)
TICK = {"BTCUSDT": 10_000_000, "SOLUSDT": 1_000_000}
HOLES = {40, 41, 42, 900, *range(2_000, 2_200)}
"""Minutes after the first of which there is no bar."""


class Server(PaperServer):
    """A paper server that can stop answering: after ``answers`` more pages of bars a request hangs."""

    answers: int | None = None
    hung = threading.Event()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.answers is not None and request.path.lower().endswith("klines"):
            if self.answers <= 0:
                self.hung.set()
                await asyncio.sleep(60)
            self.answers -= 1
        return await super()._serve(request)

    def pages(self, path: str = "lines") -> int:
        """How many requests of bars were answered so far, or of another path."""
        return sum(row.path.endswith(path) for row in self.requests)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def made_bars(symbol: str, until_ms: int = NOW_MS, holes: Iterable[int] = HOLES, seed: int = 1) -> list[Bar]:
    """A random walk in ticks, one bar a minute but for the holes, the running minute left out."""
    random, price, out, missing = Random(f"{seed}{symbol}"), 500_000 if symbol == "BTCUSDT" else 15_000, [], set(holes)
    for number, at in enumerate(range(FIRST_MS, until_ms // MINUTE_MS * MINUTE_MS, MINUTE_MS)):
        path = [price := max(price + random.randint(-9, 9), 100) for _ in range(4)]
        if number not in missing:
            bar = Bar(time_ms=at, open=Ticks(path[0]), high=Ticks(max(path)), low=Ticks(min(path)), close=Ticks(path[3]))
            out.append(bar)
    return out


MADE_VOLUME = {"BTCUSDT": 0.004, "SOLUSDT": 4.0}
"""The exchange trades four lots in a bar of which nobody told more."""


def frame(bars: Iterable[Bar], symbol: str) -> pl.DataFrame:
    """Bars as they should be on disk."""
    tick = TICK[symbol]
    rows = [
        (bar.time_ms, *((price * tick) / ONE for price in (bar.open, bar.high, bar.low, bar.close)), MADE_VOLUME[symbol]) for bar in bars
    ]
    names = {"time": pl.Int64, **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64)}
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(pl.col("time").cast(pl.Datetime("ms", "UTC")))


def exchange_with(bars: dict[str, Sequence[Bar]], *, fundings: int = 0) -> Exchange:
    """An exchange with such bars of last and mark prices (mark a tick higher); it is ``NOW_MS`` there, a bar is running.

    With ``fundings`` as many were paid before, every eight hours; bars must end before the first.
    """
    exchange = Exchange(seed=1, start_ms=NOW_MS - fundings * 8 * HOUR_MS)
    for symbol, rows in bars.items():
        higher = [Bar(time_ms=b.time_ms, open=Ticks(b.open + 1), high=Ticks(b.high + 1), low=b.low, close=b.close) for b in rows]
        exchange.seed_bars(symbol, TriggerBy.LAST, rows)
        exchange.seed_bars(symbol, TriggerBy.MARK, higher)
        exchange.tick(symbol, rows[-1].close, E8(rows[-1].close * TICK[symbol]), exchange.now_ms)
    for number in range(fundings):
        due = exchange.now_ms // HOUR_MS * HOUR_MS + 8 * HOUR_MS
        for symbol in bars:
            exchange.set_funding(symbol, E8(1_234 * number - 5_000), due, hours=8)
        exchange.advance(exchange.now_ms + 8 * HOUR_MS)
    for symbol, rows in bars.items():
        exchange.tick(symbol, rows[-1].close, E8(rows[-1].close * TICK[symbol]), NOW_MS)
    return exchange


@contextmanager
def serving(exchange: Exchange, faults: Faults | None = None, **options: Any) -> Iterator[Server]:
    """The exchange on a port until the end of the block."""
    server, loop = Server(exchange, keys={}, faults=faults, **options), asyncio.new_event_loop()
    server.hung = threading.Event()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


def at_once(slept: list[float] | None = None, **options: Any) -> Pace:
    """A pace that waits for nothing, and notes how long it would have."""
    return Pace(sleep=(slept if slept is not None else []).append, **options)
