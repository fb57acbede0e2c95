"""Cover: how much of a position the orders read back from the exchange would really close, and why the rest would not."""

from collections.abc import Iterable
from dataclasses import dataclass

from qtkit.core import arithmetic
from qtkit.core.model import E8, Instrument, Key, Lots, Order, OrderKind, Position, PositionSide, Ticks, TriggerBy

_STOP, _TRAILING, _BOTH = OrderKind.STOP_MARKET, OrderKind.TRAILING_STOP_MARKET, PositionSide.BOTH
LIQUIDATION_BUFFER = 200  # bps of the way back from liquidation to the mark: a stop nearer than this is no stop
WRONG_SIDE, BEYOND, LOOSER = "wrong side", "beyond liquidation", "looser than the plan's floor"
PROTECTED, WRONG_TRIGGER = "priceProtect may refuse it in a crash", "triggers on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The ledger line of a position. "Protected" is said of this and of nothing else.

    ``covered`` and ``foreign`` are lots closed by our own and by other stops; ``gap`` what our own leave open; ``stop`` the tightest
    level (ticks) at which the whole position is closed by our own orders; ``faults`` say, each by its client id, why an order of
    ours does not count.
    """

    key: Key
    needed: Lots
    covered: Lots
    foreign: Lots
    gap: Lots
    stop: Ticks | None
    since_ms: int | None
    orders: tuple[str, ...]
    foreign_orders: tuple[str, ...]
    faults: tuple[str, ...] = ()

    @property
    def protected(self) -> bool:
        """True if our own working orders close the whole position before it is liquidated."""
        return self.gap == 0


def fault(
    order: Order, position: Position, instrument: Instrument, floor: Ticks | None, *, trigger_by: TriggerBy | None = None
) -> str | None:
    """Why a stop does not count as cover, or None if it does. ``floor`` is the loosest level that the plan allows."""
    if order.kind is _TRAILING:
        if not order.activated:
            return "trailing order is not activated yet"
    elif order.kind is not _STOP:
        return "not a stop-market order"
    if order.side is not position.side.closing or order.position_side is not position.position_side:
        return WRONG_SIDE
    if not (order.reduce_only or order.close_position or position.position_side is not _BOTH):
        return "neither reduce-only nor close-position"
    if not order.status.working:
        return f"order is {order.status.value}"
    if order.price_protect:
        return PROTECTED
    if trigger_by is not None and order.trigger_by is not trigger_by:
        return f"{WRONG_TRIGGER} {order.trigger_by.value}, planned {trigger_by.value}"
    if order.trigger is not None and arithmetic.stop_hit_e8(position.side.sign, position.mark, order.trigger, instrument.tick):
        return "the price has passed its trigger"
    if order.trigger is None:
        return None if order.kind is _TRAILING else "no trigger price"
    return _misplaced(order.trigger, position, instrument, floor)


def _misplaced(trigger: Ticks, position: Position, instrument: Instrument, floor: Ticks | None) -> str | None:
    sign, liquidation = position.side.sign, liquidation_ahead(position)
    if liquidation is not None:
        last_safe = arithmetic.level_between(sign, liquidation, position.mark, LIQUIDATION_BUFFER, instrument.tick)
        if sign * (trigger - last_safe) < 0:
            return BEYOND
    if floor is not None and sign * (trigger - floor) < 0:
        return LOOSER
    return None


def liquidation_ahead(position: Position) -> E8 | None:
    """The liquidation price (E8) if it is known and lies on the losing side of the mark: both legs of a cross hedge show the same one."""
    price = position.liquidation
    return price if price is not None and position.side.sign * (position.mark - price) > 0 else None


def lots_of(order: Order, position: Position) -> int:
    """Lots of the position that an order closes: all of it for close-position."""
    return position.lots if order.close_position else min(order.remaining, position.lots)


def covering_level(stops: Iterable[Order], position: Position) -> Ticks | None:
    """The tightest level (ticks) at or before which all of the position is closed, or None if the stops do not suffice."""
    sign, left = position.side.sign, int(position.lots)
    for order in sorted((o for o in stops if o.trigger is not None), key=lambda o: -sign * (o.trigger or 0)):
        left -= lots_of(order, position)
        if left <= 0:
            return order.trigger
    return None


def assess(
    key: Key,
    position: Position,
    instrument: Instrument,
    own: Iterable[Order],
    foreign: Iterable[Order],
    *,
    floor: Ticks | None,
    trigger_by: TriggerBy | None,
    since_ms: int | None,
) -> Coverage:
    """The ledger line of a position from the orders that were read back."""
    good, faults = [], []
    for order in own:
        why = fault(order, position, instrument, floor, trigger_by=trigger_by)
        if why is None:
            good.append(order)
        elif order.kind in (_STOP, _TRAILING):
            faults.append(f"{order.client_id}: {why}")
    others = [order for order in foreign if fault(order, position, instrument, None) is None]
    covered = min(position.lots, sum(lots_of(order, position) for order in good))
    stop = covering_level(good, position)
    return Coverage(
        key=key,
        needed=position.lots,
        covered=Lots(covered),
        foreign=Lots(min(position.lots, sum(lots_of(order, position) for order in others))),
        gap=Lots(position.lots - covered),
        stop=stop,
        since_ms=since_ms,
        orders=tuple(order.client_id for order in good),
        foreign_orders=tuple(order.client_id for order in others),
        faults=tuple(faults),
    )
