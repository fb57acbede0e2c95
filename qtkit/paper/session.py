"""A paper exchange with all that goes with it while it is served: its prices and their time, its faults, its judge; saved and restored.

Prices may be moved by hand: what was set holds, and the tape goes on from there, for its later prices are taken in the same proportion.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtkit.core.model import E8, PolicyError, Ticks
from qtkit.paper.clock import Pump
from qtkit.paper.exchange import Exchange
from qtkit.paper.faults import Faults
from qtkit.paper.live import LivePump, PriceSource
from qtkit.paper.meter import Meter
from qtkit.paper.recipe import Recipe
from qtkit.paper.rows import ADL, LIQUIDATION
from qtkit.paper.server import PaperServer
from qtkit.paper.snapshot import Snapshot, become, load, save
from qtkit.paper.tape import Tape, Tick

PREFIX = "q1"
LIVE = "prices are live: they come at their own time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Proportion in which the tape's prices of a symbol are taken: ``over`` / ``under``."""

    over: int
    under: int

    def of(self, price: int) -> int:
        """A price in this proportion, nearest, at least 1."""
        return max((2 * price * self.over + self.under) // (2 * self.under), 1)


class Session:
    """One paper exchange at work. ``async with session:`` lets time begin; leaving ends it.

    ``prefix`` begins the client ids of the desk that the judge watches, ``strangers`` are names (API keys) of those who may touch orders
    that are not the desk's. ``folder`` is where snapshots lie. ``source`` hands in live prices instead of a tape.
    """

    def __init__(
        self,
        exchange: Exchange,
        recipe: Recipe,
        *,
        tape: Tape | None = None,
        faults: Faults | None = None,
        speed: float = 1.0,
        source: PriceSource | None = None,
        symbols: Iterable[str] = (),
        prefix: str = PREFIX,
        strangers: Iterable[str] = (),
        folder: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.exchange, self.recipe = exchange, recipe
        self.faults = faults if faults is not None else Faults()
        self.tape = tape
        self.scales: dict[str, Scale] = {}
        self._told: dict[str, int] = {}  # what the tape or the source told last, E8
        self.server: PaperServer | None = None
        self.folder = folder
        self.prefix, self._strangers, self._clock = prefix, frozenset(strangers), clock
        self._passed = 0
        self._running = False
        self.live = None if source is None else LivePump(self, source, tuple(symbols))
        self._pump = None if source is not None else self._pumped(speed, 0, None, None)
        self.meter = self._judge()

    @classmethod
    def resumed(cls, file: Path, **more: Any) -> "Session":
        """The session that was saved in a file, held or running as it was. Raises ``PolicyError`` for a wrong file or tape."""
        snapshot = load(file)
        recipe = snapshot.about.get("recipe")
        if not isinstance(recipe, Recipe):
            raise PolicyError(f"{file} cannot be resumed: it holds an exchange without a tape")
        session = cls(snapshot.exchange, recipe, **more)
        session._take(snapshot)
        return session

    async def __aenter__(self) -> "Session":
        if self.live is not None:
            await self.live.__aenter__()
        else:
            await self.pump.__aenter__()
        self._running = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running = False
        if self.live is not None:
            await self.live.__aexit__()
        else:
            await self.pump.__aexit__()

    # time

    @property
    def pump(self) -> Pump:
        """The tape's pump. Raises ``PolicyError`` where prices are live: they come at their own time."""
        if self._pump is None:
            raise PolicyError(f"{LIVE}, which can neither be held nor hurried nor saved")
        return self._pump

    @property
    def now_ms(self) -> int:
        """The exchange's time: that of its newest price, or later where time was stepped."""
        return self.exchange.now_ms

    @property
    def fed(self) -> int:
        """Prices that went out since the tape began."""
        return self.live.fed if self.live is not None else self._passed + self.pump.fed

    @property
    def described(self) -> tuple[str, ...]:
        """One line for each symbol on the tape."""
        return self.tape.describe() if self.tape is not None else ()

    def whose(self, client_id: str) -> str:
        """Who sent an order: desk, exchange (a liquidation, deleveraging) or stranger."""
        if client_id.startswith(self.prefix):
            return "desk"
        return "exchange" if client_id.startswith((LIQUIDATION, ADL)) else "stranger"

    @property
    def finished(self) -> bool:
        """True when no more prices come."""
        return self.live.finished if self.live is not None else self.pump.finished

    async def step(self, *, ticks: int | None = None, ms: int | None = None) -> int:
        """Step time by hand while it is held, see ``Pump.step``; the exchange's time is brought there too."""
        fed = await self.pump.step(ticks=ticks, ms=ms)
        self.exchange.advance(self.pump.now_ms)
        return fed

    # prices

    def tick(self, symbol: str, last: Ticks, mark: E8, at_ms: int, traded: E8 | None = None) -> None:
        """A price of the tape on its way to the exchange."""
        self._told[symbol] = last * self.exchange.facts[symbol].instrument.tick
        scale = self.scales.get(symbol)
        if scale is not None:
            last, mark = Ticks(scale.of(last)), E8(scale.of(mark))
        self.exchange.tick(symbol, last, mark, at_ms, traded)

    def set_price(self, symbol: str, last: Ticks, mark: E8 | None = None, *, stays: bool = True) -> None:
        """Move a price by hand: ``mark`` None keeps its distance from last in proportion. ``stays``: the tape goes on from here, else its
        next price comes as it is. Raises ``ExchangeError`` for a symbol that is not traded, or has had no price yet."""
        book, rules = self.exchange.book(symbol), self.exchange.facts[symbol].instrument
        price = last * rules.tick
        mark = E8(max(book.mark * price // book.last, 1)) if mark is None else mark
        self.exchange.tick(symbol, last, mark, self.exchange.now_ms)
        self.scales.pop(symbol, None)
        if stays:
            self.scales[symbol] = Scale(over=price, under=self._told.get(symbol, book.last))

    # saved and restored

    def save(self, file: Path) -> int:
        """Write exchange, tape position, faults and prices set by hand; answers the size in bytes. The judge begins anew when restored."""
        pump = self.pump
        about: dict[str, object] = {
            "recipe": self.recipe, "fed": self.fed, "at_ms": pump.now_ms, "newest": pump.newest or self._newest, "speed": pump.speed,
            "paused": pump.paused, "faults": self.faults, "scales": self.scales,
            "told": self._told,
        }  # fmt: skip
        return save(file, self.exchange, about)

    async def restore(self, file: Path) -> None:
        """Become what was saved, here and now: who is connected is cut off and reads all anew. Raises ``PolicyError``, nothing changed."""
        snapshot = load(file)
        if snapshot.about.get("recipe") != self.recipe:
            raise PolicyError(f"{file} is of another tape; end this exchange and start one with --resume")
        missing = sorted(set(self.exchange.accounts) - set(snapshot.exchange.accounts))
        if missing:
            raise PolicyError(f"{file} has no account {', '.join(missing)}, which is open here")
        old = self.pump
        await self._replaced(snapshot, old)

    async def _replaced(self, snapshot: Snapshot, old: Pump) -> None:
        self._check_position(snapshot)
        if self._running:
            await old.__aexit__()
        become(self.exchange, snapshot.exchange)
        self._take(snapshot)
        if self._running:
            await self.pump.__aenter__()
        if self.server is not None:
            self.server.renew()

    def _check_position(self, snapshot: Snapshot) -> None:
        """A tape that cannot go on from there is told before anything is changed."""
        self.recipe.ticks(self._tape(), snapshot.about["fed"], snapshot.about["newest"])

    def _take(self, snapshot: Snapshot) -> None:
        about = snapshot.about
        self._pump = self._pumped(about["speed"], about["fed"], about["newest"], about["at_ms"])
        if about["paused"]:
            self._pump.pause()
        self.faults.become(about["faults"])
        self.scales, self._told = about["scales"], about["told"]
        self.meter.detach()
        self.meter = self._judge()

    def _pumped(self, speed: float, fed: int, newest: Tick | None, at_ms: int | None) -> Pump:
        self._passed, self._newest = fed, newest
        return Pump(self, self.recipe.ticks(self._tape(), fed, newest), speed, start_ms=at_ms)

    def _tape(self) -> Tape:
        if self.tape is None:
            self.tape = self.recipe.tape()
        return self.tape

    def _judge(self) -> Meter:
        return Meter(self.exchange, prefix=self.prefix, strangers=self._strangers, clock=self._clock)
