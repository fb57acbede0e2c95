"""Orders as clients write them -> ``NewOrder``; ids and pages of the lists."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from qtkit.core.model import E8, ONE, Bps, OrderKind, OrderSide, PositionSide, TriggerBy
from qtkit.paper.params import Params, ResponseType, SelfTrade, invalid, missing
from qtkit.paper.route import Desk
from qtkit.paper.rows import ExchangeError, NewOrder, TimeInForce

LONGEST_WINDOW_MS = 7 * 24 * 3_600_000
_AT_OWN = {"QUEUE": 1, "QUEUE_5": 5, "QUEUE_10": 10, "QUEUE_20": 20}
_AT_FAR = {"OPPONENT": 1, "OPPONENT_5": 5, "OPPONENT_10": 10, "OPPONENT_20": 20}
_LIMITS = ("LIMIT", "STOP", "TAKE_PROFIT")
_T = TypeVar("_T")


def e8(params: Params, name: str) -> E8 | None:
    """A decimal parameter, None if it was not sent."""
    value = params.e8(name)
    return None if value is None else E8(value)


def matched_price(desk: Desk, params: Params, symbol: str, side: OrderSide) -> E8 | None:
    """``price``, or the price that ``priceMatch`` takes from the book, read once, at placement.

    Raises -5037 (no such match), -1130 (with a price), -5038 (an order that has no limit price).
    """
    match = params.text("priceMatch", "NONE")
    if match == "NONE":
        return e8(params, "price")
    level = _AT_OWN.get(match, _AT_FAR.get(match))
    if level is None:
        raise ExchangeError(-5037, "Invalid price match")
    if params.text("type", "LIMIT") not in _LIMITS:
        raise ExchangeError(-5038, "Price match only supports order type: LIMIT, STOP AND TAKE_PROFIT")
    if params.has("price"):
        raise invalid("priceMatch")
    book = desk.exchange.depth(symbol, level)
    rows = book.asks if (match in _AT_FAR) == (side is OrderSide.BUY) else book.bids
    if not rows:
        raise ExchangeError(-4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit.")
    return rows[-1][0]  # a book with fewer levels gives its last


def new_order(desk: Desk, params: Params) -> NewOrder:
    """The order that POST order, order/test and an element of batchOrders ask for."""
    symbol = desk.facts(params.required("symbol")).symbol
    side, kind = params.choice("side", OrderSide), params.choice("type", OrderKind)
    _common(params)
    price = matched_price(desk, params, symbol, side)
    if kind is OrderKind.MARKET:
        _refuse_unneeded(params, "price", "timeInForce")
    if kind is OrderKind.LIMIT and not params.has("timeInForce"):
        raise missing("timeInForce")
    if kind is OrderKind.LIMIT and price is None:
        raise missing("price")
    return NewOrder(
        symbol=symbol,
        side=side,
        kind=kind,
        quantity=e8(params, "quantity"),
        price=price,
        trigger=e8(params, "stopPrice"),
        good_till_ms=params.integer("goodTillDate"),
        position_side=params.choice("positionSide", PositionSide) if params.has("positionSide") else None,
        time_in_force=params.choice("timeInForce", TimeInForce) if params.has("timeInForce") else None,
        reduce_only=params.flag("reduceOnly") if params.has("reduceOnly") else None,
        close_position=params.flag("closePosition"),
        client_id=params.new_id("newClientOrderId"),
    )


def new_algo(desk: Desk, params: Params) -> NewOrder:
    """The conditional order that POST algoOrder asks for."""
    if params.required("algoType") != "CONDITIONAL":
        raise invalid("algoType")
    symbol = desk.facts(params.required("symbol")).symbol
    side = params.choice("side", OrderSide)
    _common(params)
    return NewOrder(
        symbol=symbol,
        side=side,
        kind=params.choice("type", OrderKind),
        quantity=e8(params, "quantity"),
        price=matched_price(desk, params, symbol, side),
        trigger=e8(params, "triggerPrice"),
        trigger_by=params.choice("workingType", TriggerBy, TriggerBy.LAST),
        activation=e8(params, "activatePrice"),
        callback=_callback(params),
        good_till_ms=params.integer("goodTillDate"),
        position_side=params.choice("positionSide", PositionSide) if params.has("positionSide") else None,
        time_in_force=params.choice("timeInForce", TimeInForce) if params.has("timeInForce") else None,
        reduce_only=params.flag("reduceOnly") if params.has("reduceOnly") else None,
        close_position=params.flag("closePosition"),
        price_protect=params.flag("priceProtect"),
        client_id=params.new_id("clientAlgoId"),
    )


def _common(params: Params) -> None:
    """Enumerations that change nothing here, but must be ones: -1136, -5039."""
    params.choice("newOrderRespType", ResponseType, ResponseType.ACK)
    params.choice("selfTradePreventionMode", SelfTrade, SelfTrade.EXPIRE_MAKER)


def _refuse_unneeded(params: Params, *names: str) -> None:
    """-1106: what a market order does not take. (-1114 is documented for ``timeInForce``; clients report -1106.)"""
    for name in names:
        if params.has(name):
            raise ExchangeError(-1106, f"Parameter '{name.lower()}' sent when not required.")


def _callback(params: Params) -> Bps | None:
    """``callbackRate`` percent -> bps; -2007 for a hundredth of a basis point."""
    rate = params.e8("callbackRate")
    if rate is None:
        return None
    bps, rest = divmod(rate, ONE // 100)
    if rest:
        raise ExchangeError(-2007, "Invalid callBack rate.")
    return Bps(bps)


def ids(params: Params, number: str, text: str) -> tuple[int | None, str | None]:
    """One of the two ids; -1102 without either, -1119 if the client id was sent empty."""
    order_id = params.integer(number)
    client_id = params.text(text) or None
    if order_id is None and client_id is None:
        if text in params.raw:
            raise ExchangeError(-1119, "Original client order ID was empty.")
        raise ExchangeError(-1102, f"Param '{text}' or '{number}' must be sent, but both were empty/null!")
    return order_id, client_id


def span(params: Params) -> tuple[int | None, int | None]:
    """``startTime`` and ``endTime``; -1023 if they are the wrong way round."""
    start, end = params.integer("startTime"), params.integer("endTime")
    if start is not None and end is not None and start > end:
        raise ExchangeError(-1023, "Start time is greater than end time.")
    return start, end


def week(params: Params, now_ms: int) -> tuple[int, int]:
    """The seven days at most that a history tells at a time: the last ones, unless a time was sent. -1127 for more."""
    start, end = span(params)
    if start is not None and end is not None and end - start > LONGEST_WINDOW_MS:
        raise ExchangeError(-1127, "Lookup interval is too big. More than 168 hours between startTime and endTime.")
    if start is None:
        last = now_ms if end is None else end
        return last - LONGEST_WINDOW_MS, last
    return start, start + LONGEST_WINDOW_MS if end is None else end


def window(
    params: Params, rows: Sequence[_T], now_ms: int, time: Callable[[_T], int], number: Callable[[_T], int], first: str
) -> Sequence[_T]:
    """A page of a history, oldest first: from an id on, or of a week from its start, else the newest of it."""
    from_id = params.integer(first)
    if from_id is not None and not (params.has("startTime") or params.has("endTime")):
        chosen = [row for row in rows if number(row) >= from_id]
    else:
        start, end = week(params, now_ms)
        chosen = [row for row in rows if start <= time(row) <= end and (from_id is None or number(row) >= from_id)]
    limit = params.limit(500, 1_000)
    return chosen[:limit] if from_id is not None or params.has("startTime") else chosen[-limit:]
