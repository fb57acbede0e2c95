"""The public tape of trades, and the numbers that books and trades are told under."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from qtkit.core.model import E8

KEPT = 1_000
"""The most that one call of ``trades`` and ``aggTrades`` may ask for."""


class Print(NamedTuple):
    """One trade. ``sold``: a seller took a resting bid (``isBuyerMaker``)."""

    number: int
    price: E8
    quantity: E8
    time_ms: int
    sold: bool


class Prints:
    """The last trades of each symbol, numbered upward from ``first`` without a gap, and how many prices moved its book.

    Every price moves the book once, from update ``2n - 2`` to ``2n`` for price ``n``; a snapshot lies between two updates. So a snapshot
    and the next event satisfy all rules that clients check: ``U <= lastUpdateId <= u``, ``U == pu + 1`` and ``pu`` of the event before.
    """

    def __init__(self, first: int = 0) -> None:
        self._first = first
        self._rows: dict[str, deque[Print]] = {}
        self._numbers: dict[str, int] = {}

    def add(self, symbol: str, price: E8, traded: E8, time_ms: int) -> None:
        """The next price of a symbol, and what was traded at it: below 0 where a seller took, 0 if nothing was."""
        self._numbers[symbol] = self.number(symbol) + 1
        if traded:
            rows = self._rows.setdefault(symbol, deque(maxlen=KEPT))
            rows.append(Print(self.last_id(symbol) + 1, price, E8(abs(traded)), time_ms, traded < 0))

    def forget(self) -> None:
        """What was traded has not happened: nothing is kept, and the numbers go on beyond those that were told."""
        self._first = max(self._numbers.values(), default=self._first)
        self._rows.clear()
        self._numbers.clear()

    def number(self, symbol: str) -> int:
        """Number of the last price."""
        return self._numbers.get(symbol, self._first)

    def recent(self, symbol: str) -> Iterable[Print]:
        """What is kept, oldest first."""
        return self._rows.get(symbol, ())

    def last(self, symbol: str) -> Print:
        """The last trade of a symbol that has one."""
        return self._rows[symbol][-1]

    def last_id(self, symbol: str) -> int:
        """Number of the last trade."""
        rows = self._rows.get(symbol)
        return rows[-1].number if rows else self._first

    def last_quantity(self, symbol: str) -> E8:
        """Quantity of the last trade; 0 before the first."""
        rows = self._rows.get(symbol)
        return rows[-1].quantity if rows else E8(0)

    def update_id(self, symbol: str) -> int:
        """``u`` of the book's last update."""
        return 2 * self.number(symbol)

    def snapshot_id(self, symbol: str) -> int:
        """``lastUpdateId`` of the book as it is now."""
        return 2 * self.number(symbol) + 1
