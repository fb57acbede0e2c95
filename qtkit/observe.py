"""What is read, and when: a complete reading of each symbol within the exchange's request budget.

Positions are read in every pass. The order lists of a symbol are read when something happened there or ten seconds have passed (a second
a symbol where more than ten are held or ordered), those of the whole account once a minute. A symbol that cannot be read is left out,
never guessed; the others go on, also when the whole account cannot be read at once.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import structlog

from qtkit.core.model import Order, Position, Snapshot
from qtkit.venue.gateway import Gateway, Unavailable

log = structlog.get_logger("qtkit.observe")

LISTS_EVERY_MS = 10_000
LISTS_OF_ONE_MS = 1_000  # with many symbols each adds this much to the interval: 20 symbols every 10 s would leave no budget for an entry
SWEEP_EVERY_MS = 60_000

_Positions = dict[str, tuple[Position, ...]]


@dataclass(slots=True)
class _Reading:
    """The newest order lists of a symbol, the positions read after them, and when the lists were asked for."""

    orders: tuple[Order, ...]
    positions: tuple[Position, ...]
    at_ms: int
    stable: bool


class Observer:
    """Reads an account. ``due`` symbols are read in the next pass whatever the time."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._readings: dict[str, _Reading] = {}
        self._due: set[str] = set()
        self._lingering: dict[str, int] = {}
        self._unread: dict[str, int] = {}
        self._swept_ms = 0
        self._sweep_due = True

    @property
    def open_conditional(self) -> int:
        """Conditional orders that rest on the account, of anybody, by the newest readings."""
        return sum(order.kind.conditional for order in self.resting)

    @property
    def resting(self) -> Iterator[Order]:
        """Orders that rest on the account, of anybody, by the newest readings."""
        return (order for reading in self._readings.values() for order in reading.orders)

    @property
    def held(self) -> int:
        """Symbols with a position, by the newest readings."""
        return sum(1 for reading in self._readings.values() if reading.positions)

    def position(self, symbol: str, slot: object) -> Position | None:
        """The newest reading of a position."""
        reading = self._readings.get(symbol)
        return None if reading is None else next((p for p in reading.positions if p.position_side is slot), None)

    @property
    def unread(self) -> Mapping[str, int]:
        """Symbols whose order lists could not be read when they were due, and since when (ms)."""
        return dict(self._unread)

    @property
    def waiting(self) -> int:
        """Symbols that will be read in the next pass because something happened there."""
        return len(self._due)

    def due(self, symbols: Iterable[str]) -> None:
        """Read these in the next pass."""
        self._due |= set(symbols)

    def keep_reading(self, symbol: str, until_ms: int) -> None:
        """Read this symbol in every pass until then."""
        self._lingering[symbol] = max(until_ms, self._lingering.get(symbol, 0))

    def everything_due(self) -> None:
        """Read all that is known in the next pass: something may have been missed. What is not known is found once a minute."""
        self._due |= set(self._readings)

    def forget(self) -> None:
        """Believe nothing that was read before."""
        self._readings.clear()
        self._swept_ms, self._sweep_due = 0, True

    async def observe(self, known: Iterable[str], now_ms: int, time_ms: int) -> tuple[Snapshot, ...]:
        """Snapshots of all symbols held, ordered or ``known``. Raises ``Unavailable`` if the positions could not be read."""
        before = _by_symbol(await self._gateway.positions())
        if self._must_sweep(now_ms):
            before = await self._sweep({*before, *known, *self._due}, before, now_ms)
        self._lingering = {symbol: until_ms for symbol, until_ms in self._lingering.items() if now_ms <= until_ms}
        self._due |= self._lingering.keys()
        symbols = {*before, *known, *self._due, *(s for s, reading in self._readings.items() if reading.orders)}
        due = {symbol for symbol in symbols if self._is_due(symbol, before.get(symbol, ()), now_ms)}
        if any(self._is_old(symbol, now_ms) for symbol in due):
            # Positions are read again after lists, whether of one symbol or of many: those that are half as old are read along.
            due |= {symbol for symbol in symbols if self._is_old(symbol, now_ms, parts=2)}
        if due:
            before = await self._read(sorted(due), before, now_ms)
        account = self._gateway.account
        return tuple(
            Snapshot(
                account=account, symbol=symbol, at_ms=reading.at_ms, positions=before.get(symbol, ()), orders=reading.orders,
                stable=reading.stable, current=symbol not in self._unread, time_ms=time_ms,
            )
            for symbol in sorted(symbols)
            if (reading := self._readings.get(symbol)) is not None and _sizes(before.get(symbol, ())) == _sizes(reading.positions)
        )  # fmt: skip

    async def _read(self, due: list[str], before: _Positions, now_ms: int) -> _Positions:
        """Read the lists of the due symbols, and the positions after them; give the newest positions of all."""
        lists = await asyncio.gather(*(self._gateway.orders(symbol) for symbol in due), return_exceptions=True)
        after = _by_symbol(await self._gateway.positions())
        for symbol, orders in zip(due, lists, strict=True):
            if isinstance(orders, Unavailable):
                log.warning("orders", symbol=symbol, outcome="could not be read", why=str(orders))
                self._unread.setdefault(symbol, now_ms)
                continue
            if isinstance(orders, BaseException):
                raise orders
            self._learn(symbol, orders, before, after, now_ms)
        return after

    def _learn(self, symbol: str, orders: tuple[Order, ...], before: _Positions, after: _Positions, now_ms: int) -> None:
        held = after.get(symbol, ())
        self._readings[symbol] = _Reading(orders, held, now_ms, stable=_sizes(before.get(symbol, ())) == _sizes(held))
        self._due.discard(symbol)
        self._unread.pop(symbol, None)

    def _must_sweep(self, now_ms: int) -> bool:
        """Once a minute, sooner if the last one could not be read; not more often than lists are read, for it is the dearest reading."""
        since_ms = now_ms - self._swept_ms
        return not 0 <= since_ms < (LISTS_EVERY_MS if self._sweep_due else SWEEP_EVERY_MS)

    async def _sweep(self, symbols: set[str], before: _Positions, now_ms: int) -> _Positions:
        """Read the lists of all symbols at once: it finds orders of the account that no position points to."""
        self._swept_ms, self._sweep_due = now_ms, True
        try:
            orders = await self._gateway.orders()
        except Unavailable as error:
            log.warning("orders", symbol="all", outcome="could not be read", why=str(error))
            return before
        after = _by_symbol(await self._gateway.positions())
        for symbol in sorted(symbols | {order.symbol for order in orders}):
            self._learn(symbol, tuple(order for order in orders if order.symbol == symbol), before, after, now_ms)
        self._sweep_due = False
        return after

    def _is_due(self, symbol: str, held: tuple[Position, ...], now_ms: int) -> bool:
        reading = self._readings.get(symbol)
        if reading is None or symbol in self._due or not reading.stable:
            return True
        return self._is_old(symbol, now_ms) or _sizes(held) != _sizes(reading.positions)

    def _is_old(self, symbol: str, now_ms: int, *, parts: int = 1) -> bool:
        """True if the lists of a symbol are as old as they may become, or a part of that."""
        reading = self._readings.get(symbol)
        every_ms = max(LISTS_EVERY_MS, LISTS_OF_ONE_MS * len(self._readings))
        return reading is None or not 0 <= now_ms - reading.at_ms < every_ms // parts


def _by_symbol(positions: Iterable[Position]) -> _Positions:
    found: _Positions = {}
    for position in positions:
        found[position.symbol] = (*found.get(position.symbol, ()), position)
    return found


def _sizes(positions: Iterable[Position]) -> dict[object, tuple[object, int, int]]:
    return {position.position_side: (position.side, position.lots, position.entry) for position in positions}  # as much, elsewhere: traded
