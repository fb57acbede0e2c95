"""The second judge: walk every market against every position on a copy of the exchange, and see who gets out before liquidation."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from qtkit.core.model import E8, Key, Side, Ticks
from qtkit.paper.candles import Book
from qtkit.paper.judge import adverse_liquidation, sign_of
from qtkit.paper.rows import LIQUIDATION, AccountEvent, AccountUpdate, PositionRow, Trade

STEP_PPM = 1_000  # 10 bps a step: less than any distance a stop keeps from liquidation
FAR_PPM = 300_000  # how far to walk where nothing liquidates; beyond it steps are ten times as wide
PPM = 1_000_000


class Listed(Protocol):
    """What is needed of a symbol's facts."""

    @property
    def instrument(self) -> Any: ...


class Copyable(Protocol):
    """What the sweep needs of an exchange."""

    now_ms: int

    @property
    def accounts(self) -> Mapping[str, Any]: ...
    @property
    def facts(self) -> Mapping[str, Listed]: ...
    @property
    def listeners(self) -> list[Callable[[AccountEvent], None]]: ...
    def clone(self) -> Any: ...
    def tick(self, symbol: str, last: Ticks, mark: E8, at_ms: int) -> object: ...
    def book(self, symbol: str) -> Book: ...
    def positions(self, account: Any, symbol: str | None = None) -> tuple[PositionRow, ...]: ...
    def trades(self, account: Any, symbol: str | None = None) -> tuple[Trade, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """What became of one position when its market went against it alone. Prices and money E8.

    ``start`` is the mark price before, ``liquidation`` the liquidation price on the losing side then (None if none), ``at`` the mark
    price at which it was flat (None if it still stood after the walk), ``loss`` what closing it cost with commissions (negative: profit).
    """

    key: Key
    side: Side
    start: E8
    liquidation: E8 | None
    at: E8 | None
    loss: E8
    liquidated: bool

    @property
    def held(self) -> bool:
        """True if the position was closed, and not by liquidation."""
        return self.at is not None and not self.liquidated


def sweep(exchange: Copyable) -> tuple[SweepResult, ...]:
    """Move mark and last of each symbol step by step against its positions, to just past liquidation or 30 % where there is none.

    Longs and shorts of a symbol are walked apart, each on its own copy; ``exchange`` itself is left as it is.
    """
    walks: dict[tuple[str, Side], list[tuple[str, PositionRow]]] = {}
    for name, account in exchange.accounts.items():
        for row in exchange.positions(account):
            walks.setdefault((row.symbol, Side(sign_of(row))), []).append((name, row))
    results = [result for (symbol, side), rows in walks.items() for result in _walk(exchange.clone(), symbol, side, rows)]
    return tuple(sorted(results, key=lambda result: str(result.key)))


def _walk(copy: Copyable, symbol: str, side: Side, rows: list[tuple[str, PositionRow]]) -> list[SweepResult]:
    tick = copy.facts[symbol].instrument.tick
    start = copy.book(symbol).mark
    far = start * (PPM - side.sign * FAR_PPM) // PPM
    ends = [adverse_liquidation(row) or far for _, row in rows]
    seen = {name: len(copy.trades(copy.accounts[name], symbol)) for name, _ in rows}
    flat: set[Key] = set()
    at: dict[Key, E8] = {}
    copy.listeners.append(partial(_note_flat, flat))
    for mark in _marks(start, min(ends) if side is Side.LONG else max(ends), far, side.sign):
        copy.tick(symbol, Ticks(max(mark // tick, 1)), E8(mark), copy.now_ms + 1)
        for name, row in rows:
            key = Key(name, symbol, row.position_side)
            if key in flat:
                at.setdefault(key, E8(mark))
        if len(at) == len(rows):
            break
    return [_result(copy, Key(name, symbol, row.position_side), row, side, start, at, seen[name]) for name, row in rows]


def _marks(start: int, end: int, far: int, sign: int) -> Iterator[int]:
    """Mark prices from ``start`` against ``sign`` to the first one past ``end``."""
    mark = start
    while mark > 0 and sign * (mark - end) >= 0:
        step = STEP_PPM if sign * (mark - far) >= 0 else 10 * STEP_PPM
        mark -= sign * max(mark * step // PPM, 1)
        yield max(mark, 1)


def _note_flat(flat: set[Key], event: AccountEvent) -> None:
    if isinstance(event, AccountUpdate):
        flat.update(Key(event.account, row.symbol, row.position_side) for row in event.positions if not row.amount)


def _result(copy: Copyable, key: Key, row: PositionRow, side: Side, start: E8, at: Mapping[Key, E8], seen: int) -> SweepResult:
    trades = [t for t in copy.trades(copy.accounts[key.account], key.symbol)[seen:] if t.position_side is key.position_side]
    return SweepResult(
        key=key,
        side=side,
        start=start,
        liquidation=adverse_liquidation(row),
        at=at.get(key),
        loss=E8(sum(trade.commission - trade.realised for trade in trades)),
        liquidated=any(trade.client_id.startswith(LIQUIDATION) for trade in trades),
    )
