"""A paper exchange on a port with as many symbols as are asked for, seeded prices second by second, and a desk in its own process."""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from qtkit.core.model import E8, ONE, Bar, OrderKind, Side, Ticks, TriggerBy
from qtkit.home import PaperKeys, Paths
from qtkit.paper.account import Account
from qtkit.paper.exchange import Exchange, NewOrder
from qtkit.paper.facts import FACTS, Facts
from qtkit.paper.rules import Rules
from qtkit.paper.server import PaperServer, wall_ms

ROOT = Path(__file__).parents[2]
PRICES = {
    "BTCUSDT": 93_475, "ETHUSDT": 3_500, "SOLUSDT": 142, "XRPUSDT": 2, "ADAUSDT": 0.47, "AVAXUSDT": 14.6, "DOTUSDT": 2.3, "LTCUSDT": 80,
}  # fmt: skip
HISTORY_MINUTES = 49 * 60
MINUTE_MS = 60_000
SWING = 6_000  # the history swings by one part in so many from minute to minute, so that ATR is real


def symbols_of(count: int) -> dict[str, Facts]:
    """Facts of so many symbols: the exchange's own table, then copies of it under other names."""
    table = [FACTS[symbol] for symbol in sorted(FACTS)]
    found = {facts.symbol: facts for facts in table[:count]}
    for number in range(count - len(table)):
        model = table[number % len(table)]
        base = f"{model.base}{number // len(table) + 2}"
        found[f"{base}USDT"] = replace(model, base=base, instrument=replace(model.instrument, symbol=f"{base}USDT"))
    return found


def start_price(facts: Facts) -> int:
    """A first price in ticks, near what the symbol cost in November 2025, else 10,000 ticks."""
    price = next((p for symbol, p in PRICES.items() if facts.base.startswith(symbol.removesuffix("USDT"))), None)
    return 10_000 if price is None else int(price * ONE) // facts.instrument.tick


@dataclass
class Market:
    """An exchange whose prices walk by seed: one last and one mark price of each symbol a second, on the wall clock."""

    symbols: int
    seed: int = 7
    step: float = 0.0003  # standard deviation of a second's return
    hedge: bool = False
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        facts = symbols_of(self.symbols)
        now_ms = wall_ms() // MINUTE_MS * MINUTE_MS
        self.exchange = Exchange(self.rules, start_ms=now_ms, facts=facts)
        self.account: Account = self.exchange.open_account("paper", balance=E8(10_000_000 * ONE), hedge=self.hedge)
        self.random = random.Random(self.seed)
        self.last: dict[str, int] = {symbol: start_price(one) for symbol, one in facts.items()}
        for symbol, price in self.last.items():
            self._seed(symbol, price, now_ms)
            self._tick(symbol, price)

    def _seed(self, symbol: str, price: int, now_ms: int) -> None:
        bars = []
        for minute in range(HISTORY_MINUTES):
            level = price + price * ((minute * 7) % 60 - 30) // SWING
            at_ms = now_ms - (HISTORY_MINUTES - minute) * MINUTE_MS
            bars.append(Bar(time_ms=at_ms, open=Ticks(level), high=Ticks(level + 1), low=Ticks(level - 1), close=Ticks(level)))
        for by in (TriggerBy.LAST, TriggerBy.MARK):
            self.exchange.seed_bars(symbol, by, bars)

    def _tick(self, symbol: str, price: int) -> None:
        tick = self.exchange.facts[symbol].instrument.tick
        self.exchange.tick(symbol, Ticks(price), E8(price * tick + tick // 3), wall_ms())

    def walk(self) -> None:
        """The next price of each symbol."""
        for symbol, price in self.last.items():
            after = max(100, round(price * (1 + self.random.gauss(0, self.step))))
            self.last[symbol] = after
            self._tick(symbol, after)

    async def walk_forever(self) -> None:
        """A price of each symbol every second."""
        while True:
            self.walk()
            await asyncio.sleep(1.0 - time.time() % 1.0)

    def hold(self, symbol: str, side: Side, *, notional: int = 20_000) -> None:
        """A stranger opens a position of this size in the symbol, unless one is open."""
        if any(row.symbol == symbol for row in self.exchange.positions(self.account)):
            return
        instrument = self.exchange.facts[symbol].instrument
        lots = max(instrument.min_lots, notional * ONE * ONE // (self.last[symbol] * instrument.tick) // instrument.lot)
        quantity = E8(lots * instrument.lot)
        self.exchange.submit(self.account, NewOrder(symbol=symbol, side=side.opening, kind=OrderKind.MARKET, quantity=quantity))

    def hold_all(self) -> None:
        """Every symbol is held, long and short by turns; what a stop has closed is opened again."""
        for number, symbol in enumerate(self.last):
            self.hold(symbol, (Side.LONG, Side.SHORT)[number % 2])


@asynccontextmanager
async def served(market: Market, home: Path, *, weight_limit: int = 2_400, walking: bool = True) -> AsyncIterator[PaperServer]:
    """The market on a port, its prices walking; the desk's keys lie in its home."""
    keys = PaperKeys.create(Paths(home).paper_keys("paper"))
    pairs = {keys.api_key: (keys.secret.reveal(), "paper")}
    server = PaperServer(market.exchange, keys=pairs, weight_limit=weight_limit, order_limits=(weight_limit, weight_limit))
    await server.start()
    walk = asyncio.create_task(market.walk_forever()) if walking else None
    try:
        yield server
    finally:
        if walk is not None:
            walk.cancel()
            with suppress(asyncio.CancelledError):
                await walk
        await server.stop()


def environment(home: Path, port: int, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of a desk that finds this exchange; nothing of the user's own desk is read."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QTKIT_")}
    own = {"QTKIT_HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "QTKIT_ACCOUNTS__PAPER__BASE_URL": f"http://127.0.0.1:{port}"}
    return {**kept, **own, **(more or {})}


@contextmanager
def process(arguments: list[str], env: Mapping[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A Python process of ours, ended in the end; what it says goes to a file."""
    with log.open("wb") as file:
        child = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=dict(env), stdout=file, stderr=file, stdin=subprocess.DEVNULL)
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
