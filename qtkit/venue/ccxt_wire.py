"""Binance USD-M rows -> the model: pure mapping, exact, without ccxt and without IO.

Numbers arrive as decimal strings and leave as integers of the instrument's grid. Where a wire value lies off the
grid (filters changed while an order rested) it is rounded against us: stops are read as looser, targets as further
away, limit prices as worse, positions as larger, orders and fills as smaller than they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, InvalidOperation
from enum import Enum
from typing import Any, TypeVar

from qtkit.core.model import (
    E8,
    Bar,
    Bps,
    Instrument,
    Lots,
    Order,
    OrderKind,
    OrderSide,
    OrderStatus,
    Position,
    PositionSide,
    Side,
    Ticks,
    TriggerBy,
)
from qtkit.venue.gateway import Balance, KeyRights

Row = Mapping[str, Any]
EnumT = TypeVar("EnumT", bound=Enum)

INTERVALS = {1: "1m", 3: "3m", 5: "5m", 15: "15m", 30: "30m", 60: "1h", 120: "2h", 240: "4h", 360: "6h", 480: "8h", 720: "12h", 1440: "1d"}
LIMITED = (OrderKind.LIMIT, OrderKind.STOP, OrderKind.TAKE_PROFIT)  # kinds with a limit price
_TARGETS = (OrderKind.TAKE_PROFIT, OrderKind.TAKE_PROFIT_MARKET)
_REGULAR_STATUS = {status.value: status for status in OrderStatus if status not in (OrderStatus.TRIGGERING, OrderStatus.TRIGGERED)} | {
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,  # self-trade prevention
}
# FINISHED says only that the child is done, filled or cancelled: it stays TRIGGERED until the child was read.
_ALGO_STATUS = {status.value: status for status in OrderStatus if status not in (OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED)} | {
    "FINISHED": OrderStatus.TRIGGERED
}


class WireError(ValueError):
    """A row of the exchange cannot be read: a field is missing, or it says something this version does not know."""


def decimal_of(row: Row, key: str, *, default: Decimal | None = None) -> Decimal:
    """The exact number under ``key``; ``default`` (if given) for a missing or empty field."""
    value = row.get(key)
    if value is None or value == "":
        if default is None:
            raise WireError(f"{key} is missing")
        return default
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise WireError(f"{key} is not a number: {value!r}") from None
    if not number.is_finite():
        raise WireError(f"{key} is not a number: {value!r}")
    return number


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    if value is None or value == "":
        raise WireError(f"{key} is missing")
    return str(value)


def _enum(kind: type[EnumT], row: Row, key: str) -> EnumT:
    value = _text(row, key)
    try:
        return kind(value)
    except ValueError:
        raise WireError(f"{key} {value} is unknown to this version") from None


def _flag(row: Row, key: str) -> bool:
    return str(row.get(key, False)).lower() == "true"


def to_e8(value: Decimal) -> E8:
    """A decimal as integer of 1e-8, nearest where it has more digits."""
    return E8(int(value.scaleb(8).to_integral_value(ROUND_HALF_EVEN)))


def on_grid(value: Decimal, grid: int, rounding: str) -> int:
    """How many ``grid`` units (E8) a decimal is; ``rounding`` is a rounding mode of ``decimal``."""
    e8 = int(value.scaleb(8).to_integral_value(rounding))
    if rounding == ROUND_FLOOR:
        return e8 // grid
    if rounding == ROUND_CEILING:
        return -(-e8 // grid)
    return (2 * e8 + grid) // (2 * grid)


def to_text(units: int, grid: int) -> str:
    """``units`` of ``grid`` (E8) as an exact decimal string without trailing zeros, as the exchange wants it."""
    text = f"{Decimal(units * grid).scaleb(-8):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


# --- trading rules -------------------------------------------------------------------------------------------------


def instrument(row: Row) -> Instrument:
    """Trading rules from a row of ``exchangeInfo``; raises ``WireError`` if a filter is missing."""
    filters = {str(f.get("filterType")): f for f in row.get("filters", ())}
    missing = [name for name in ("PRICE_FILTER", "LOT_SIZE") if name not in filters]
    if missing:
        raise WireError(f"{row.get('symbol')}: filter {missing[0]} is missing")
    price, size = filters["PRICE_FILTER"], filters["LOT_SIZE"]
    market, percent = filters.get("MARKET_LOT_SIZE", size), filters.get("PERCENT_PRICE", {})
    tick, lot = to_e8(decimal_of(price, "tickSize")), to_e8(decimal_of(size, "stepSize"))
    if tick <= 0 or lot <= 0:
        raise WireError(f"{row.get('symbol')}: tick size and lot step must be positive")
    return Instrument(
        symbol=_text(row, "symbol"),
        tick=tick,
        lot=lot,
        min_lots=Lots(on_grid(decimal_of(size, "minQty"), lot, ROUND_CEILING)),
        max_lots=Lots(on_grid(decimal_of(size, "maxQty"), lot, ROUND_FLOOR)),
        market_max_lots=Lots(on_grid(decimal_of(market, "maxQty"), lot, ROUND_FLOOR)),
        min_notional=to_e8(decimal_of(filters.get("MIN_NOTIONAL", {}), "notional", default=Decimal(0))),
        min_price=Ticks(on_grid(decimal_of(price, "minPrice"), tick, ROUND_CEILING)),
        max_price=Ticks(on_grid(decimal_of(price, "maxPrice"), tick, ROUND_FLOOR)),
        percent_up=Bps(int(decimal_of(percent, "multiplierUp", default=Decimal(10)) * 10_000)),
        percent_down=Bps(int(decimal_of(percent, "multiplierDown", default=Decimal(0)) * 10_000)),
    )


# --- account -------------------------------------------------------------------------------------------------------


def hedge_of(rows: Sequence[Row]) -> bool | None:
    """Position mode as ``positionRisk`` rows show it; None when there is no row."""
    sides = {str(row.get("positionSide", "BOTH")) for row in rows}
    return None if not sides else sides != {"BOTH"}


def is_flat(row: Row) -> bool:
    """True for a row of ``positionRisk`` without a position (it may be there for its orders)."""
    return decimal_of(row, "positionAmt") == 0


def position(row: Row, rules: Instrument) -> Position:
    """An open row of v3 ``positionRisk``.

    A zero or missing liquidation price is unknown. An entry price of 0 (seen after transfers, such rows are dropped
    by ccxt) is read as the break-even price or else the mark price, so that the position is seen and its stop is
    measured from there. The leverage follows from notional and initial margin, both at the present mark price.
    """
    amount = decimal_of(row, "positionAmt")
    slot, mark = _enum(PositionSide, row, "positionSide"), to_e8(decimal_of(row, "markPrice"))
    side = Side.LONG if amount > 0 else Side.SHORT
    if slot is not PositionSide.BOTH and slot.value != side.name:
        raise WireError(f"positionAmt {amount} contradicts positionSide {slot.value}")
    if mark <= 0:
        raise WireError(f"markPrice of {row.get('symbol')} is {mark}")
    zero = Decimal(0)
    entry = next((p for k in ("entryPrice", "breakEvenPrice") if (p := to_e8(decimal_of(row, k, default=zero))) > 0), mark)
    liquidation = to_e8(decimal_of(row, "liquidationPrice", default=zero))
    margin = decimal_of(row, "positionInitialMargin", default=zero) or decimal_of(row, "initialMargin", default=zero)
    leverage = int((abs(amount) * decimal_of(row, "markPrice") / margin).to_integral_value(ROUND_HALF_EVEN)) if margin > 0 else 0
    isolated = decimal_of(row, "isolatedMargin", default=zero) > 0 or str(row.get("marginType", "")).lower() == "isolated"
    return Position(
        symbol=rules.symbol,
        position_side=slot,
        side=side,
        lots=Lots(on_grid(abs(amount), rules.lot, ROUND_CEILING)),
        entry=entry,
        mark=mark,
        liquidation=liquidation if liquidation > 0 else None,
        leverage=leverage or None,
        isolated=isolated,
    )


def balance(row: Row) -> Balance:
    """Equity and free margin from v3 ``account`` (its totals are in USD in multi-assets mode)."""
    return Balance(equity=to_e8(decimal_of(row, "totalMarginBalance")), available=to_e8(decimal_of(row, "availableBalance")))


def key_rights(row: Row) -> KeyRights:
    """What ``apiRestrictions`` says of a key. A field that is not there is not known; transfers are two switches of the exchange."""

    def said(*keys: str) -> bool | None:
        known = [_flag(row, key) for key in keys if key in row]
        return True if any(known) else False if len(known) == len(keys) else None

    return KeyRights(
        read=said("enableReading"),
        trade=said("enableFutures"),
        withdraw=said("enableWithdrawals"),
        transfer=said("permitsUniversalTransfer", "enableInternalTransfer"),
        ip_restricted=said("ipRestrict"),
    )


# --- orders, read --------------------------------------------------------------------------------------------------


def _against_us(kind: OrderKind, side: OrderSide, field: str) -> str:
    """Rounding mode for a price of an order off the grid: see the module's text."""
    down = side is OrderSide.SELL
    if field == "activation" or (field == "trigger" and kind in _TARGETS):
        down = not down
    return ROUND_FLOOR if down else ROUND_CEILING


def _price(row: Row, key: str, rules: Instrument, rounding: str) -> Ticks | None:
    value = decimal_of(row, key, default=Decimal(0))
    return Ticks(on_grid(value, rules.tick, rounding)) if value > 0 else None


def _average(row: Row) -> E8 | None:
    """Average fill price; from the quote amount where the answer lacks ``avgPrice`` (documents since 2026-07)."""
    zero = Decimal(0)
    average = decimal_of(row, "avgPrice", default=zero)
    filled, quote = decimal_of(row, "executedQty", default=zero), decimal_of(row, "cumQuote", default=zero)
    if average <= 0 and filled > 0:
        average = quote / filled
    return to_e8(average) if average > 0 else None


def _status(row: Row, key: str, known: Mapping[str, OrderStatus]) -> OrderStatus:
    text = _text(row, key)
    if text not in known:
        raise WireError(f"{key} {text} is unknown to this version")
    return known[text]


def _order(row: Row, rules: Instrument, kind: OrderKind, status: OrderStatus) -> Order:
    """The fields that both books spell alike."""
    side = _enum(OrderSide, row, "side")
    close = _flag(row, "closePosition")
    return Order(
        symbol=rules.symbol,
        client_id="",
        kind=kind,
        side=side,
        position_side=_enum(PositionSide, row, "positionSide") if row.get("positionSide") else PositionSide.BOTH,
        lots=Lots(0),
        price=_price(row, "price", rules, _against_us(kind, side, "price")) if kind in LIMITED else None,
        trigger_by=_enum(TriggerBy, row, "workingType") if row.get("workingType") else TriggerBy.LAST,
        reduce_only=_flag(row, "reduceOnly"),
        close_position=close,
        price_protect=_flag(row, "priceProtect"),
        status=status,
    )


def regular_order(row: Row, rules: Instrument) -> Order:
    """A row of the regular book (``openOrders``, ``order``, or the answer to a new order)."""
    kind = _enum(OrderKind, row, "type")
    order = _order(row, rules, kind, _status(row, "status", _REGULAR_STATUS))
    return replace(
        order,
        client_id=_text(row, "clientOrderId"),
        venue_id=_text(row, "orderId"),
        lots=Lots(on_grid(decimal_of(row, "origQty"), rules.lot, ROUND_FLOOR)),
        filled=Lots(on_grid(decimal_of(row, "executedQty", default=Decimal(0)), rules.lot, ROUND_FLOOR)),
        trigger=_price(row, "stopPrice", rules, _against_us(kind, order.side, "trigger")) if kind.conditional else None,
        time_ms=int(decimal_of(row, "updateTime", default=decimal_of(row, "time", default=Decimal(0)))),
        average=_average(row),
    )


def algo_order(row: Row, rules: Instrument) -> Order:
    """A row of the conditional book (``openAlgoOrders``, ``algoOrder``).

    TRIGGERED also stands for the exchange's FINISHED: what became of the order is said by its child alone.
    ``activated`` is False unless the row says so: a trailing order is not cover before its activation.
    """
    kind = _enum(OrderKind, row, "orderType")
    if not kind.conditional:
        raise WireError(f"orderType {kind.value} in the conditional book is unknown to this version")
    trailing = kind is OrderKind.TRAILING_STOP_MARKET
    order, zero = _order(row, rules, kind, _status(row, "algoStatus", _ALGO_STATUS)), Decimal(0)
    lots = 0 if order.close_position else on_grid(decimal_of(row, "quantity", default=zero), rules.lot, ROUND_FLOOR)
    return replace(
        order,
        client_id=_text(row, "clientAlgoId"),
        venue_id=_text(row, "algoId"),
        lots=Lots(lots),
        filled=Lots(on_grid(decimal_of(row, "actualQty", default=zero), rules.lot, ROUND_FLOOR)),
        trigger=None if trailing else _price(row, "triggerPrice", rules, _against_us(kind, order.side, "trigger")),
        callback=Bps(int((decimal_of(row, "callbackRate") * 100).to_integral_value(ROUND_CEILING))) if trailing else None,
        activation=_price(row, "activatePrice", rules, _against_us(kind, order.side, "activation")) if trailing else None,
        activated=trailing and (_flag(row, "ia") or _flag(row, "isActivated")),
        time_ms=int(decimal_of(row, "updateTime", default=decimal_of(row, "createTime", default=zero))),
    )


def child_id(row: Row) -> str:
    """Id of the order that a triggered conditional order placed, or an empty string."""
    value = str(row.get("actualOrderId") or "")
    return "" if value == "0" else value


def with_child(order: Order, child: Order) -> Order:
    """A triggered conditional order in the true state of its child."""
    return replace(order, status=child.status, filled=child.filled, average=child.average, time_ms=max(order.time_ms, child.time_ms))


# --- prices --------------------------------------------------------------------------------------------------------


def last_ticks(value: Decimal, rules: Instrument) -> Ticks:
    """A traded price on the grid, nearest tick."""
    return Ticks(on_grid(value, rules.tick, ROUND_HALF_EVEN))


def bars(rows: Sequence[Sequence[Any]], rules: Instrument, now_ms: int) -> tuple[Bar, ...]:
    """Rows of ``klines`` or ``markPriceKlines``; only the newest can still be running, by its close time."""
    out = []
    for index, row in enumerate(rows):
        if len(row) < 7:
            raise WireError(f"a kline has {len(row)} fields")
        o, h, l, c = (last_ticks(decimal_of({"price": row[i]}, "price"), rules) for i in range(1, 5))  # noqa: E741
        closed = index < len(rows) - 1 or int(row[6]) < now_ms
        out.append(Bar(time_ms=int(row[0]), open=o, high=h, low=l, close=c, closed=closed))
    return tuple(out)
