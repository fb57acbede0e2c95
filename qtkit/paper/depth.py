"""The book as streams tell it: its differences from price to price, and their numbers.

What rests at which price is the engine's own to say (``Exchange.depth``): REST snapshot, partial and difference streams all read it.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from qtkit.core.model import E8
from qtkit.paper.exchange import Exchange
from qtkit.paper.liquidity import LEVELS
from qtkit.paper.prints import Prints
from qtkit.paper.rows import ExchangeError
from qtkit.paper.wire import Row
from qtkit.paper.wire_market import levels as told

Levels = Iterable[tuple[E8, E8]]
"""Price and quantity of each level."""


@dataclass(slots=True)
class _Side:
    """What readers know of one side of a book."""

    known: dict[E8, E8] = field(default_factory=dict)

    def changes(self, levels: Levels) -> Levels:
        """Levels that are new or changed, the best first, then those that are gone (quantity 0): a moved book lies on other prices."""
        now = dict(levels)
        changed = [(price, size) for price, size in now.items() if self.known.get(price) != size]
        gone = [(price, E8(0)) for price in self.known if price not in now]
        self.known = now
        return changed + gone


@dataclass(slots=True)
class _Told:
    """The book of a symbol as it was last told, and the number of the price that it was told with."""

    number: int
    bids: _Side = field(default_factory=_Side)
    asks: _Side = field(default_factory=_Side)


class Depths:
    """Difference and partial depth events of one exchange, made only for symbols that somebody reads."""

    def __init__(self, exchange: Exchange, prints: Prints) -> None:
        self._exchange = exchange
        self._prints = prints
        self._told: dict[str, _Told] = {}

    def begin(self, symbol: str) -> None:
        """Somebody begins to read: the next event tells what has changed since now."""
        told_before = self._told.get(symbol)
        if told_before is None or told_before.number != self._prints.number(symbol):
            with suppress(ExchangeError):  # no price yet: the first event is the whole book
                self._take(symbol)

    def _take(self, symbol: str) -> tuple[Levels, Levels]:
        """The changes since the book was last told; all of it if that was not with the price before."""
        shown, number = self._exchange.depth(symbol, LEVELS), self._prints.number(symbol)
        before = self._told.get(symbol)
        if before is None or before.number < number - 1:
            before = self._told[symbol] = _Told(number)
        before.number = number
        return before.bids.changes(shown.bids), before.asks.changes(shown.asks)

    def changes(self, symbol: str) -> Row:
        """depthUpdate of the last price: absolute quantities of the levels that changed."""
        return self._event(symbol, *self._take(symbol))

    def top(self, symbol: str, levels: int) -> Row:
        """depthUpdate of the best levels, all of them."""
        shown = self._exchange.depth(symbol, levels)
        return self._event(symbol, shown.bids, shown.asks)

    def _event(self, symbol: str, bids: Levels, asks: Levels) -> Row:
        facts, last, at_ms = self._exchange.facts[symbol], self._prints.update_id(symbol), self._exchange.book(symbol).time_ms
        return {
            "e": "depthUpdate", "E": at_ms, "T": at_ms, "s": symbol, "U": last - 1, "u": last, "pu": last - 2,
            "b": told(bids, facts), "a": told(asks, facts), "ps": symbol, "st": 1,
        }  # fmt: skip
