"""What protects one position, by the exchange's own books: the rule of the meter, as pure functions.

Shares no code with the desk's own coverage, which it judges. A stop counts when it is a live stop-market order (quantity or
close-position) of the closing side in the position's slot, can only reduce, has its trigger on the loss side of the price series it
watches and before liquidation, and has price protection off (with it on it may refuse to execute in the crash it is for). An order in
TRIGGERING is stuck until it fills: no cover. Neither is a trailing stop, whose level moves.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qtkit.core.model import E8, ONE, OrderKind, OrderSide, PositionSide, TriggerBy
from qtkit.paper.rows import AlgoRow, AlgoStatus, PositionRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one position stands now; quantities and prices E8.

    ``own`` and ``foreign`` are the covered quantities, each at most ``needed``. ``level`` is the trigger at which the whole position is
    covered by own stops, None if it is not. ``loss`` is the money lost against the entry if all own stops filled at their triggers now
    (negative: profit that is locked in), None unless covered. ``why`` says why cover is missing, empty if it is whole.
    """

    needed: E8
    own: E8
    foreign: E8
    level: E8 | None
    loss: E8 | None
    why: str

    @property
    def covered(self) -> bool:
        """True if own stops cover the whole position."""
        return self.own >= self.needed


def sign_of(position: PositionRow) -> int:
    """+1 for a long position, -1 for a short."""
    return 1 if position.amount > 0 else -1


def stands(position: PositionRow, algos: Iterable[AlgoRow], last: E8, prefix: str) -> Standing:
    """Judge one open position against all open conditional orders of its account and symbol.

    ``last`` is the last price (E8); an order is own if its client id starts with ``prefix``.
    """
    needed = abs(position.amount)
    stops: list[AlgoRow] = []
    faults: list[str] = []
    for row in algos:
        fault = flaw(position, row, last)
        if not fault:
            stops.append(row)
        elif fault != NO_STOP and row.client_id.startswith(prefix):
            faults.append(f"{row.client_id} {fault}")
    own = [row for row in stops if row.client_id.startswith(prefix)]
    held = min(needed, sum(quantity(position, row) for row in own))
    foreign = min(needed, sum(quantity(position, row) for row in stops if row not in own))
    whole = held >= needed
    return Standing(
        needed=E8(needed),
        own=E8(held),
        foreign=E8(foreign),
        level=level(position, own, needed) if whole else None,
        loss=_loss(position, own) if whole else None,
        why="" if whole else f"{held} of {needed} e-8 covered" + (f"; {'; '.join(faults)}" if faults else ""),
    )


NO_STOP = "is no stop of this position"


def shape_flaw(position: PositionRow, row: AlgoRow) -> str:
    """Why an order, whatever its state and price, is not a stop of this position; empty if it is one."""
    if row.kind is not OrderKind.STOP_MARKET or row.symbol != position.symbol:
        return NO_STOP
    if row.side is not _closing_side(position):
        return "is on the opening side"
    if row.position_side is not position.position_side:
        return "is in another position slot"
    if not (row.close_position or row.reduce_only or row.position_side is not PositionSide.BOTH):
        return "may open a position"
    return ""


def flaw(position: PositionRow, row: AlgoRow, last: E8) -> str:
    """Why a conditional order does not protect a position now, empty if it does. ``last`` is the last price (E8)."""
    if shape := shape_flaw(position, row):
        return shape
    sign = sign_of(position)
    if row.status is not AlgoStatus.NEW:
        return f"is {row.status.value}"
    if row.price_protect:
        return "has price protection on"
    if sign * ((position.mark if row.trigger_by is TriggerBy.MARK else last) - row.trigger) <= 0:
        return "is not on the loss side of the price"
    ruin = adverse_liquidation(position)
    if ruin is not None and sign * (row.trigger - ruin) <= 0:
        return "lies beyond liquidation"
    return ""


def adverse_liquidation(position: PositionRow) -> E8 | None:
    """Liquidation price (E8) on the loss side of the mark, or None.

    Both legs of a cross hedge show one price, which lies on the profit side of one of them: no stop of that leg can stand before it.
    """
    liquidation = position.liquidation
    return liquidation if liquidation > 0 and sign_of(position) * (position.mark - liquidation) > 0 else None


def _closing_side(position: PositionRow) -> OrderSide:
    return OrderSide.SELL if position.amount > 0 else OrderSide.BUY


def quantity(position: PositionRow, row: AlgoRow) -> int:
    """What of the position an order would close (E8)."""
    return abs(position.amount) if row.close_position else min(row.quantity, abs(position.amount))


def level(position: PositionRow, stops: Sequence[AlgoRow], needed: int) -> E8 | None:
    """Trigger (E8) at which ``needed`` of the position is closed, the nearest stop first; None if the stops are too few."""
    for row in _nearest_first(position, stops):
        needed -= quantity(position, row)
        if needed <= 0:
            return row.trigger
    return None


def _nearest_first(position: PositionRow, stops: Sequence[AlgoRow]) -> list[AlgoRow]:
    return sorted(stops, key=lambda row: -sign_of(position) * row.trigger)


def _loss(position: PositionRow, stops: Sequence[AlgoRow]) -> E8:
    sign, left, loss = sign_of(position), abs(position.amount), 0
    for row in _nearest_first(position, stops):
        taken = min(left, quantity(position, row))
        loss += sign * (position.entry - row.trigger) * taken
        left -= taken
    return E8(-(-loss // ONE))
