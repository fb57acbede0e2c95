"""A paper exchange on a port of this computer, in a thread with a loop of its own, and the homes from which desks and callers find it."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from qtkit.core.model import ONE, Bar, OrderKind, PositionSide, Side, Ticks, TriggerBy
from qtkit.home import PaperKeys, Paths
from qtkit.paper.actor import acting
from qtkit.paper.exchange import Exchange, NewOrder
from qtkit.paper.meter import Meter
from qtkit.paper.rows import AlgoRow
from qtkit.paper.server import PaperServer
from tests.story.rig import OURS, PRICES, STRANGER, e8

T = TypeVar("T")


class Venue:
    """The exchange behind its server. What touches it is carried out in the server's own thread; ``home`` points at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        keys = PaperKeys.create(Paths(self.home).paper_keys())
        now_ms = time.time_ns() // 60_000_000_000 * 60_000
        self.exchange = Exchange(start_ms=now_ms)
        self.account = self.exchange.open_account("paper", balance=e8(100_000))
        for symbol, price in PRICES.items():
            self._begin(symbol, price, now_ms)
        self.meter = Meter(self.exchange, prefix=OURS, strangers=(STRANGER,))
        self._keys = {keys.api_key: (keys.secret.reveal(), "paper")}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.server = self._in_thread(self._serve())
        (self.home / "qtkit.toml").write_text(
            f'tick_seconds = 1\n[accounts.paper]\nbase_url = "http://127.0.0.1:{self.server.port}"\nguard_policy = "staged"\n'
        )

    def _begin(self, symbol: str, price: str, now_ms: int) -> None:
        base = e8(price) // self.exchange.facts[symbol].instrument.tick
        bars = []
        for minute in range(20 * 60):
            level = Ticks(base + base * ((minute * 7) % 60 - 30) // 6000)
            bars.append(Bar(time_ms=now_ms - (20 * 60 - minute) * 60_000, open=level, high=level, low=level, close=level))
        for by in TriggerBy:
            self.exchange.seed_bars(symbol, by, bars)
        self.exchange.tick(symbol, Ticks(base), e8(price), now_ms)

    async def _serve(self) -> PaperServer:
        server = PaperServer(self.exchange, keys=self._keys)
        await server.start()
        return server

    def _in_thread(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def do(self, act: Callable[[], T]) -> T:
        """Carry something out beside the requests, as the exchange or as a stranger."""

        async def acted() -> T:
            with acting(STRANGER):
                return act()

        return self._in_thread(acted())  # type: ignore[no-any-return]

    def price(self, symbol: str, price: str | Decimal, *, ms: int = 500) -> None:
        """A price; exchange time passes by ``ms``."""
        tick = self.exchange.facts[symbol].instrument.tick
        exact = e8(price) // tick * tick
        self.do(lambda: self.exchange.tick(symbol, Ticks(exact // tick), e8(price), self.exchange.now_ms + ms))

    def opened(self, symbol: str, side: Side, coins: str) -> None:
        """A stranger opens a position at the market."""
        new = NewOrder(symbol=symbol, side=side.opening, kind=OrderKind.MARKET, quantity=e8(coins), position_side=PositionSide.BOTH)
        self.do(lambda: self.exchange.submit(self.account, new))

    def own(self, symbol: str) -> list[AlgoRow]:
        """Open conditional orders of the desk."""
        return [row for row in self.do(lambda: self.account.waiting(symbol)) if row.client_id.startswith(OURS)]

    def held(self, symbol: str) -> Decimal:
        """Signed size in coins."""
        rows = self.do(lambda: self.exchange.positions(self.account, symbol))
        return Decimal(sum(row.amount for row in rows)) / ONE

    def naked(self) -> list[str]:
        """Positions without whole cover, by the meter."""
        return self.do(lambda: [str(line.key) for line in self.meter.ledger() if not line.covered])

    @property
    def environment(self) -> dict[str, str]:
        """Environment of a process that is to find this exchange."""
        places = {"QTKIT_HOME": str(self.home), "XDG_STATE_HOME": str(self.folder / "state")}
        return {name: value for name, value in os.environ.items() if not name.startswith("QTKIT_")} | places

    def python(self, code: str) -> str:
        """What a fresh interpreter prints."""
        done = subprocess.run([sys.executable, "-c", code], env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> None:
        """Close the port and end the thread."""
        self._in_thread(self.server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class DeskProcess:
    """``qtkit desk`` as a process of its own."""

    def __init__(self, venue: Venue, account: str = "paper") -> None:
        self.venue, self.account = venue, account
        self._said = venue.folder / f"{account}.err"
        self._errors = self._said.open("wb")
        command = [sys.executable, "-m", "qtkit", "desk", "--account", account]
        self._process = subprocess.Popen(command, env=venue.environment, stdout=subprocess.DEVNULL, stderr=self._errors)

    def wait_for(self, true: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not true():
            said = self._said.read_text()[-2_000:]
            assert self._process.poll() is None, f"the desk ended: {said}"
            assert time.monotonic() < end, f"it did not come to that in {seconds} s: {said}"
            time.sleep(0.05)

    @property
    def log(self) -> str:
        """What the desk has told."""
        return Paths(self.venue.home).of(self.account).log.read_text()

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait(10)
        self._errors.close()
