"""The book as clients see it: a ladder of levels, its differences from price to price, and their numbers.

``ladder`` is the one place that says what rests at which price: REST snapshot, partial and difference streams all read it.
"""

from contextlib import suppress
from dataclasses import dataclass, field

from qtkit.paper.exchange import Exchange
from qtkit.paper.facts import Facts
from qtkit.paper.prints import Prints
from qtkit.paper.rows import Book, ExchangeError
from qtkit.paper.wire import Row, decimal

MOST_LEVELS = 1_000
Levels = list[tuple[int, int]]
"""Price and quantity of each level, E8, the best first."""


def ladder(book: Book, facts: Facts, levels: int) -> tuple[Levels, Levels]:
    """Bids and asks: one level a tick, each of the largest market order."""
    tick, size = facts.instrument.tick, level_size(facts)
    bids = [(price, size) for price in range(book.bid, max(book.bid - levels * tick, 0), -tick)]
    asks = [(price, size) for price in range(book.ask, book.ask + levels * tick, tick)]
    return bids, asks


def level_size(facts: Facts) -> int:
    """Quantity of a level, E8."""
    return facts.instrument.market_max_lots * facts.instrument.lot


def told(levels: Levels, facts: Facts) -> list[list[str]]:
    """Levels as the wire tells them."""
    return [[decimal(price, facts.price_precision), decimal(size, facts.quantity_precision)] for price, size in levels]


@dataclass(slots=True)
class _Side:
    """What readers know of one side of a book."""

    known: dict[int, int] = field(default_factory=dict)

    def changes(self, levels: Levels, *, bids: bool) -> Levels:
        """Levels that are new, changed or gone (quantity 0). One that only fell out of the ladder's far end is not gone."""
        now = dict(levels)
        changed = [(price, size) for price, size in levels if self.known.get(price) != size]
        if levels:
            far = levels[-1][0]
            changed += [(price, 0) for price in self.known if price not in now and (price > far if bids else price < far)]
        self.known = now
        return changed


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
        bids, asks = ladder(self._exchange.book(symbol), self._exchange.facts[symbol], MOST_LEVELS)
        number = self._prints.number(symbol)
        before = self._told.get(symbol)
        if before is None or before.number < number - 1:
            before = self._told[symbol] = _Told(number)
        before.number = number
        return before.bids.changes(bids, bids=True), before.asks.changes(asks, bids=False)

    def changes(self, symbol: str) -> Row:
        """depthUpdate of the last price: absolute quantities of the levels that changed."""
        bids, asks = self._take(symbol)
        return self._event(symbol, bids, asks)

    def top(self, symbol: str, levels: int) -> Row:
        """depthUpdate of the best levels, all of them."""
        return self._event(symbol, *ladder(self._exchange.book(symbol), self._exchange.facts[symbol], levels))

    def _event(self, symbol: str, bids: Levels, asks: Levels) -> Row:
        facts, last, at_ms = self._exchange.facts[symbol], self._prints.update_id(symbol), self._exchange.book(symbol).time_ms
        return {
            "e": "depthUpdate", "E": at_ms, "T": at_ms, "s": symbol, "U": last - 1, "u": last, "pu": last - 2,
            "b": told(bids, facts), "a": told(asks, facts), "ps": symbol, "st": 1,
        }  # fmt: skip
