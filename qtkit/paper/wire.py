"""Engine rows -> Binance's JSON of orders, conditional orders and fills.

Numbers are decimal strings, ids and times JSON integers, as strict typed clients demand. Shapes: developers.binance.com,
USD-M futures, REST answers, read 2026-10. What the engine has no notion of (price match, self trade
prevention) is sent with the value of an order that did not ask for it.
"""

from typing import Any

from qtkit.core.model import ONE, OrderKind, OrderStatus
from qtkit.paper.facts import Facts
from qtkit.paper.rows import AlgoRow, OrderRow, Trade

Row = dict[str, Any]
_STEP = tuple(ONE // 10**digits for digits in range(9))
STP = "EXPIRE_MAKER"
_NO_MATCH = {"priceMatch": "NONE", "selfTradePreventionMode": STP}


def decimal(e8: int, digits: int = 0) -> str:
    """E8 as exact decimal text with at least ``digits`` decimals."""
    whole, part = divmod(abs(e8), ONE)
    sign = "-" if e8 < 0 else ""
    if part % _STEP[digits] == 0:
        return f"{sign}{whole}.{part // _STEP[digits]:0{digits}d}" if digits else f"{sign}{whole}"
    return f"{sign}{whole}.{part:08d}".rstrip("0")


def money(e8: int) -> str:
    """E8 with all eight decimals."""
    return decimal(e8, 8)


def order(row: OrderRow, facts: Facts) -> Row:
    """Answer of GET order and of the lists."""
    price, quantity = facts.price_precision, facts.quantity_precision
    return {
        "orderId": row.order_id,
        "symbol": row.symbol,
        "status": row.status.value,
        "clientOrderId": row.client_id,
        "price": decimal(row.price, price),
        "avgPrice": decimal(row.average, price),
        "origQty": decimal(row.quantity, quantity),
        "executedQty": decimal(row.executed, quantity),
        "cumQuote": decimal(row.quote, price),
        "timeInForce": row.time_in_force.value,
        "type": row.kind.value,
        "reduceOnly": row.reduce_only,
        "closePosition": row.close_position,
        "side": row.side.value,
        "positionSide": row.position_side.value,
        "stopPrice": decimal(row.trigger, price),
        "workingType": row.trigger_by.value,
        "priceProtect": row.price_protect,
        "origType": row.origin.value,
        **_NO_MATCH,
        "goodTillDate": row.good_till_ms,
        "time": row.created_ms,
        "updateTime": row.updated_ms,
    }


def placed(row: OrderRow, facts: Facts, *, result: bool) -> Row:
    """Answer of POST order. Only ``newOrderRespType=RESULT`` tells of fills; ACK answers before matching."""
    answer = order(row, facts)
    del answer["time"]
    if not result:
        answer |= {"status": OrderStatus.NEW.value, "avgPrice": decimal(0, facts.price_precision)}
        answer |= {"executedQty": decimal(0, facts.quantity_precision), "cumQuote": decimal(0, facts.price_precision)}
    answer["cumQty"] = answer["executedQty"]
    return answer


def changed(row: OrderRow, facts: Facts) -> Row:
    """Answer of PUT and DELETE order."""
    answer = order(row, facts)
    del answer["time"]
    return answer | {"cumQty": answer["executedQty"]}


def amendment(before: OrderRow, after: OrderRow, facts: Facts, *, number: int, count: int, at_ms: int) -> Row:
    """One row of orderAmendment; ``count`` is how often the order was changed."""
    price, quantity = facts.price_precision, facts.quantity_precision
    return {
        "amendmentId": number, "symbol": after.symbol, "pair": after.symbol, "orderId": after.order_id, "clientOrderId": after.client_id,
        "time": at_ms,
        "amendment": {
            "price": {"before": decimal(before.price, price), "after": decimal(after.price, price)},
            "origQty": {"before": decimal(before.quantity, quantity), "after": decimal(after.quantity, quantity)},
            "count": count,
        },
    }  # fmt: skip


def algo(row: AlgoRow, facts: Facts) -> Row:
    """Answer of POST algoOrder."""
    price = facts.price_precision
    trailing = row.kind is OrderKind.TRAILING_STOP_MARKET
    return {
        "algoId": row.algo_id,
        "clientAlgoId": row.client_id,
        "algoType": "CONDITIONAL",
        "orderType": row.kind.value,
        "symbol": row.symbol,
        "side": row.side.value,
        "positionSide": row.position_side.value,
        "timeInForce": row.time_in_force.value,
        "quantity": decimal(row.quantity, facts.quantity_precision),
        "algoStatus": row.status.value,
        "triggerPrice": decimal(row.trigger, price),
        "price": decimal(row.price, price),
        "icebergQuantity": None,
        "selfTradePreventionMode": STP,
        "workingType": row.trigger_by.value,
        "priceMatch": "NONE",
        "closePosition": row.close_position,
        "priceProtect": row.price_protect,
        "reduceOnly": row.reduce_only,
        "activatePrice": decimal(row.activation, price) if trailing else "",
        "callbackRate": callback(row) if trailing else "",
        "createTime": row.created_ms,
        "updateTime": row.updated_ms,
        "triggerTime": row.triggered_ms,
        "goodTillDate": row.good_till_ms,
    }


def algo_query(row: AlgoRow, facts: Facts) -> Row:
    """Answer of GET algoOrder and of both lists: the new-order fields and what became of it."""
    price = decimal(0, facts.price_precision)
    return algo(row, facts) | {
        "actualOrderId": str(row.order_id) if row.order_id else "",
        "actualPrice": decimal(row.actual_price, facts.price_precision),
        "actualQty": decimal(row.actual_quantity, facts.quantity_precision),
        "actualType": row.actual_kind.value if row.actual_kind else "",
        "tpTriggerPrice": price, "tpPrice": price, "slTriggerPrice": price, "slPrice": price,
        "tpOrderType": "",
    }  # fmt: skip


def callback(row: AlgoRow) -> str:
    """Callback rate in percent."""
    return decimal((row.callback or 0) * ONE // 100)


def trade(row: Trade, facts: Facts) -> Row:
    """One row of userTrades."""
    return {
        "symbol": row.symbol,
        "id": row.trade_id,
        "orderId": row.order_id,
        "side": row.side.value,
        "price": decimal(row.price, facts.price_precision),
        "qty": decimal(row.quantity, facts.quantity_precision),
        "realizedPnl": money(row.realised),
        "quoteQty": decimal(row.quote, facts.price_precision),
        "commission": money(row.commission),
        "commissionAsset": facts.quote,
        "time": row.time_ms,
        "positionSide": row.position_side.value,
        "maker": row.maker,
        "buyer": row.side.value == "BUY",
    }
