"""What is read, and when: a complete reading of each symbol within the exchange's request budget.

Positions are read in every pass. The order lists of a symbol are read when something happened there or ten seconds have passed, the whole
account once a minute. A symbol that cannot be read is left out, never guessed; the others go on.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from qtkit.core.model import Order, Position, Snapshot
from qtkit.venue.gateway import Gateway, Unavailable

log = structlog.get_logger("qtkit.observe")

LISTS_EVERY_MS = 10_000
SWEEP_EVERY_MS = 60_000


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
        self._swept_ms = 0

    @property
    def open_conditional(self) -> int:
        """Conditional orders that rest on the account, of anybody, by the newest readings."""
        return sum(order.kind.conditional for reading in self._readings.values() for order in reading.orders)

    @property
    def held(self) -> int:
        """Symbols with a position, by the newest readings."""
        return sum(1 for reading in self._readings.values() if reading.positions)

    def position(self, symbol: str, slot: object) -> Position | None:
        """The newest reading of a position."""
        reading = self._readings.get(symbol)
        return None if reading is None else next((p for p in reading.positions if p.position_side is slot), None)

    def due(self, symbols: Iterable[str]) -> None:
        """Read these in the next pass."""
        self._due |= set(symbols)

    def everything_due(self) -> None:
        """Read the whole account in the next pass: something may have been missed."""
        self._due |= set(self._readings)
        self._swept_ms = 0

    def forget(self) -> None:
        """Believe nothing that was read before."""
        self._readings.clear()
        self._swept_ms = 0

    async def observe(self, known: Iterable[str], now_ms: int, time_ms: int) -> tuple[Snapshot, ...]:
        """Snapshots of all symbols held, ordered or ``known``. Raises ``Unavailable`` if the positions could not be read."""
        before = _by_symbol(await self._gateway.positions())
        if not 0 <= now_ms - self._swept_ms < SWEEP_EVERY_MS:
            await self._sweep(now_ms)
        symbols = {*before, *known, *self._due, *(s for s, reading in self._readings.items() if reading.orders)}
        due = sorted(symbol for symbol in symbols if self._is_due(symbol, before.get(symbol, ()), now_ms))
        if due:
            before = await self._read(due, before, now_ms)
        account = self._gateway.account
        return tuple(
            Snapshot(
                account=account, symbol=symbol, at_ms=reading.at_ms, positions=before.get(symbol, ()), orders=reading.orders,
                stable=reading.stable, time_ms=time_ms,
            )
            for symbol in sorted(symbols)
            if (reading := self._readings.get(symbol)) is not None and _sizes(before.get(symbol, ())) == _sizes(reading.positions)
        )  # fmt: skip

    async def _read(self, due: list[str], before: dict[str, tuple[Position, ...]], now_ms: int) -> dict[str, tuple[Position, ...]]:
        """Read the lists of the due symbols, and the positions after them; give the newest positions of all."""
        lists = await asyncio.gather(*(self._gateway.orders(symbol) for symbol in due), return_exceptions=True)
        after = _by_symbol(await self._gateway.positions())
        for symbol, orders in zip(due, lists, strict=True):
            if isinstance(orders, Unavailable):
                log.warning("orders", symbol=symbol, outcome="could not be read", why=str(orders))
                continue
            if isinstance(orders, BaseException):
                raise orders
            held = after.get(symbol, ())
            self._readings[symbol] = _Reading(orders, held, now_ms, stable=_sizes(before.get(symbol, ())) == _sizes(held))
            self._due.discard(symbol)
        return after

    async def _sweep(self, now_ms: int) -> None:
        """Find symbols with orders of the account that no position points to."""
        found = {order.symbol for order in await self._gateway.orders()}
        self._due |= found
        self._swept_ms = now_ms

    def _is_due(self, symbol: str, held: tuple[Position, ...], now_ms: int) -> bool:
        reading = self._readings.get(symbol)
        if reading is None or symbol in self._due or not reading.stable:
            return True
        return not 0 <= now_ms - reading.at_ms < LISTS_EVERY_MS or _sizes(held) != _sizes(reading.positions)


def _by_symbol(positions: Iterable[Position]) -> dict[str, tuple[Position, ...]]:
    found: dict[str, tuple[Position, ...]] = {}
    for position in positions:
        found[position.symbol] = (*found.get(position.symbol, ()), position)
    return found


def _sizes(positions: Iterable[Position]) -> dict[object, tuple[object, int]]:
    return {position.position_side: (position.side, position.lots) for position in positions}
