"""The exchange's rows and refusals as the desk's model."""

from qtkit.core.matching import nearest
from qtkit.core.model import Bar, Instrument, Lots, Order, OrderKind, OrderStatus, Position, Side, Ticks
from qtkit.paper.candles import Candle
from qtkit.paper.rows import (
    AccountEvent,
    AccountUpdate,
    AlgoRow,
    AlgoStatus,
    AlgoUpdate,
    ConfigUpdate,
    ExchangeError,
    MarginCall,
    OrderRow,
    OrderUpdate,
    PositionRow,
)
from qtkit.venue.gateway import GatewayError, Nudge, Refused, Unavailable, Unknown

# How the desk reads Binance's codes; the same sets as on the wire.
UNKNOWN = frozenset({-1000, -1001, -1006, -1007, -4116})
UNAVAILABLE = frozenset({-1003, -1008, -1015, -1016, -1021, -5028})


def classified(refusal: ExchangeError, what: str) -> GatewayError:
    """The desk's reading of a refusal: unknown outcome, nothing seen, or a plain no."""
    if refusal.code in UNKNOWN:
        return Unknown(f"{what}: {refusal}")
    if refusal.code in UNAVAILABLE:
        return Unavailable(f"{what}: {refusal}")
    return Refused(refusal.code, f"{refusal.message} ({what})")


def ticks(price: int, rules: Instrument) -> Ticks:
    """A price (E8) in ticks, rounded to nearest."""
    return Ticks(nearest(price, rules.tick))


def lots(quantity: int, rules: Instrument) -> Lots:
    """A quantity (E8) in lots."""
    return Lots(quantity // rules.lot)


def regular_order(row: OrderRow, rules: Instrument) -> Order:
    """A regular order as ``core.model.Order``."""
    return Order(
        symbol=row.symbol,
        client_id=row.client_id,
        kind=row.kind,
        side=row.side,
        position_side=row.position_side,
        lots=lots(row.quantity, rules),
        price=ticks(row.price, rules) if row.kind is OrderKind.LIMIT else None,
        trigger_by=row.trigger_by,
        reduce_only=row.reduce_only,
        close_position=row.close_position,
        price_protect=row.price_protect,
        filled=lots(row.executed, rules),
        status=row.status,
        venue_id=str(row.order_id),
        time_ms=row.updated_ms,
        average=row.average or None,
    )


_ALGO_STATUS = {status: OrderStatus[status.value] for status in AlgoStatus if status is not AlgoStatus.FINISHED} | {
    AlgoStatus.FINISHED: OrderStatus.TRIGGERED
}


def algo_order(row: AlgoRow, rules: Instrument, child: OrderRow | None = None) -> Order:
    """A conditional order as ``core.model.Order``; with its child given, state and fill are the child's."""
    trailing = row.kind is OrderKind.TRAILING_STOP_MARKET
    return Order(
        symbol=row.symbol,
        client_id=row.client_id,
        kind=row.kind,
        side=row.side,
        position_side=row.position_side,
        lots=lots(row.quantity, rules),
        trigger=None if trailing else ticks(row.trigger, rules),
        price=ticks(row.price, rules) if row.price else None,
        trigger_by=row.trigger_by,
        reduce_only=row.reduce_only,
        close_position=row.close_position,
        price_protect=row.price_protect,
        callback=row.callback,
        activation=ticks(row.activation, rules) if trailing else None,
        activated=row.activated,
        filled=lots(child.executed, rules) if child else Lots(0),
        status=child.status if child else _ALGO_STATUS[row.status],
        venue_id=str(row.algo_id),
        time_ms=child.updated_ms if child else row.updated_ms,
        average=(child.average or None) if child else None,
    )


def position(row: PositionRow, rules: Instrument) -> Position:
    """A position as ``core.model.Position``; liquidation 0 becomes None."""
    return Position(
        symbol=row.symbol,
        position_side=row.position_side,
        side=Side.LONG if row.amount > 0 else Side.SHORT,
        lots=lots(abs(row.amount), rules),
        entry=row.entry,
        mark=row.mark,
        liquidation=row.liquidation or None,
        leverage=row.leverage,
        isolated=row.isolated,
    )


def bar(row: Candle, rules: Instrument, *, closed: bool) -> Bar:
    """A candle as ``core.model.Bar``."""
    return Bar(
        time_ms=row.time_ms,
        open=ticks(row.open, rules),
        high=ticks(row.high, rules),
        low=ticks(row.low, rules),
        close=ticks(row.close, rules),
        closed=closed,
    )


def subject(event: AccountEvent) -> tuple[str | None, str, bool | None]:
    """(symbol, client id, conditional) of an event, for the faults to match."""
    match event:
        case OrderUpdate():
            return event.order.symbol, event.order.client_id, False
        case AlgoUpdate():
            return event.algo.symbol, event.algo.client_id, True
        case ConfigUpdate():
            return event.symbol, "", None
        case AccountUpdate() | MarginCall():
            return (event.positions[0].symbol if event.positions else None), "", None


def nudges(event: AccountUpdate) -> list[Nudge]:
    """The hints an account update gives: slots are named, flat or held."""
    if not event.positions:
        return [Nudge(symbol=None)]
    named = ((row.symbol, row.position_side, bool(row.amount)) for row in event.positions)
    return [Nudge(symbol=symbol, flat=None if held else slot, held=slot if held else None) for symbol, slot, held in named]
