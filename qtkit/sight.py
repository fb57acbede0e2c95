"""What of a tape is missing: how long was watched, when nothing was seen, and whether it could have mattered."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain

from qtkit.core.distance import decimal
from qtkit.core.ids import parse_client_order_id
from qtkit.core.model import Bar, Instrument, Key, Order
from qtkit.hindsight import Hole
from qtkit.shadow import fires
from qtkit.trailing import MINUTE_MS

HOLE_MS = 60_000  # prices come every second, passes every two: a minute without them is told


@dataclass(frozen=True, slots=True)
class _Blind:
    """Orders that would have rested while no price of a symbol was seen, and the first one (E8) after it.

    ``heard_ms`` is when the last one before it was heard, by the exchange's clock, if that was not long before; else the hole's own time.
    """

    hole: Hole
    heard_ms: int
    key: Key
    orders: tuple[Order, ...]
    price: int | None


class Sight:
    """What was seen when. ``first_ms`` and ``pass_ms`` are the first and the newest pass, ``watched_ms`` the time without holes between."""

    def __init__(self) -> None:
        self.first_ms = self.pass_ms = self.watched_ms = 0
        self._holes: list[Hole] = []
        self._blind: list[_Blind] = []
        self._priced: dict[str, int] = {}
        self._heard: dict[str, int] = {}
        self._missed: dict[str, dict[int, Bar]] = {}

    def passed(self, at_ms: int) -> None:
        """A pass came."""
        self.first_ms = self.first_ms or at_ms
        gap = at_ms - (self.pass_ms or at_ms)
        if gap > HOLE_MS:
            self._holes.append(Hole(from_ms=self.pass_ms, to_ms=at_ms, symbol="", what="no pass"))
        self.watched_ms += gap if gap <= HOLE_MS else 0
        self.pass_ms = at_ms

    def price(self, symbol: str, at_ms: int) -> Hole | None:
        """A price came or was read; the hole that it ends, if it ends one."""
        before = self._priced.get(symbol, at_ms)
        self._priced[symbol] = max(before, at_ms)
        return Hole(from_ms=before, to_ms=at_ms, symbol=symbol, what="no price") if at_ms - before > HOLE_MS else None

    def heard(self, symbol: str, at_ms: int) -> None:
        """A price came by itself: ``at_ms`` is the exchange's time."""
        self._heard[symbol] = at_ms

    def missed(self, symbol: str, bar: Bar) -> None:
        """A bar of a hole was asked for afterwards."""
        self._missed.setdefault(symbol, {})[bar.time_ms // MINUTE_MS] = bar

    def blind(self, hole: Hole, held: Mapping[Key, tuple[Order, ...]], price: int | None) -> None:
        """These orders would have rested through a hole, after which ``price`` (E8) came. They are judged when its bars were asked for."""
        heard_ms = self._heard.get(hole.symbol, hole.from_ms)
        heard_ms = heard_ms if 0 <= hole.from_ms - heard_ms <= HOLE_MS else hole.from_ms
        self._blind += [_Blind(hole, heard_ms, key, orders, price) for key, orders in held.items()]
        self._holes += [hole] if held else []

    def doubts(self, instruments: Mapping[str, Instrument]) -> Iterator[tuple[Key, str]]:
        """The positions that something may have happened to while nothing was seen, and what."""
        blind, self._blind = self._blind, []
        for one in blind:
            why = self._doubt(one, instruments[one.key.symbol].tick) if one.orders else None
            if why is not None:
                yield one.key, why

    def _doubt(self, blind: _Blind, tick: int) -> str | None:
        """A hole leaves no doubt where the bars of all its minutes are known and none of them comes to an order of ours."""
        known, hole = self._missed.get(blind.key.symbol, {}), blind.hole
        begun, ended = blind.heard_ms // MINUTE_MS, hole.to_ms // MINUTE_MS
        when = f"between {clock(hole.from_ms)} and {clock(hole.to_ms)}, while no price was seen"
        extremes = {minute: (bar.low * tick, bar.high * tick) for minute in range(begun, ended) if (bar := known.get(minute))}
        first = extremes.pop(begun, ())  # a part of it was seen, and may have been there before the order was
        after = () if blind.price is None else (blind.price,)
        for prices, came in (((*chain(*extremes.values()), *after), "came"), (first, "may have come")):
            if hit := next((order for order in blind.orders if any(fires(order, price, tick) for price in prices)), None):
                parsed = parse_client_order_id(hit.client_id)
                return f"the price {came} to {parsed[1] if parsed else '?'}@{decimal((hit.trigger or 0) * tick, 8)} {when}"
        missing = [minute for minute in range(begun, ended) if minute not in known]
        # The last minute may be that of the bar that was not closed yet: our clock may run ahead of the exchange's.
        return f"nothing tells what the price did {when}" if missing and missing != [ended - 1] else None

    def told(self) -> tuple[Hole, ...]:
        """All holes, those of a symbol without those in which nothing at all was seen."""
        whole = [hole for hole in self._holes if not hole.symbol]
        apart = [hole for hole in self._holes if hole.symbol and not any(_within(hole, other) for other in whole)]
        return tuple(sorted((*whole, *apart), key=lambda hole: hole.from_ms))


def _within(hole: Hole, other: Hole) -> bool:
    return other.from_ms - HOLE_MS <= hole.from_ms and hole.to_ms <= other.to_ms + HOLE_MS


def clock(ms: int) -> str:
    """A moment as people read it, UTC."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%m-%d %H:%M:%S}"
