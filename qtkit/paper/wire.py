"""Engine rows -> Binance's JSON of orders, conditional orders, fills and user events.

Numbers are decimal strings, ids and times JSON integers, as strict typed clients demand. Shapes: developers.binance.com,
USD-M futures, REST answers and user data streams, read 2026-10. What the engine has no notion of (price match, self trade
prevention, good-till-date) is sent with the value of an order that did not ask for it.
"""

from typing import Any

from qtkit.core.model import ONE, OrderKind, OrderStatus
from qtkit.paper.facts import Facts
from qtkit.paper.rows import (
    AccountUpdate,
    AlgoRow,
    AlgoStatus,
    AlgoUpdate,
    ConfigUpdate,
    Execution,
    OrderRow,
    OrderUpdate,
    PositionRow,
    Trade,
)  # fmt: skip

Row = dict[str, Any]
_STEP = tuple(ONE // 10**digits for digits in range(9))
_STP = "EXPIRE_MAKER"
_NO_MATCH = {"priceMatch": "NONE", "selfTradePreventionMode": _STP}
_PLACED = frozenset({AlgoStatus.TRIGGERED, AlgoStatus.FINISHED})


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
    """Answer of GET, PUT and DELETE order and of the lists."""
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
        "selfTradePreventionMode": _STP,
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


def order_event(event: OrderUpdate, facts: Facts) -> Row:
    """ORDER_TRADE_UPDATE. Commission fields come with a fill only."""
    row, fill = event.order, event.trade
    price, quantity = facts.price_precision, facts.quantity_precision
    body: Row = {
        "s": row.symbol,
        "c": row.client_id,
        "S": row.side.value,
        "o": row.kind.value,
        "f": row.time_in_force.value,
        "q": decimal(row.quantity, quantity),
        "p": decimal(row.price, price),
        "ap": decimal(row.average, price),
        "sp": decimal(row.trigger, price),
        "x": event.execution.value,
        "X": row.status.value,
        "i": row.order_id,
        "l": decimal(fill.quantity if fill else 0, quantity),
        "z": decimal(row.executed, quantity),
        "L": decimal(fill.price if fill else 0, price),
    }
    if fill is not None:
        body |= {"N": facts.quote, "n": money(fill.commission)}
    return {"e": "ORDER_TRADE_UPDATE", "E": event.at_ms, "T": event.at_ms, "o": body | _order_tail(event)}


def _order_tail(event: OrderUpdate) -> Row:
    """The second half of an order event: flags and what is the same for every paper order."""
    row, fill = event.order, event.trade
    return {
        "T": event.at_ms,
        "t": fill.trade_id if fill else 0,
        "b": "0",
        "a": "0",
        "m": fill.maker if fill else False,
        "R": row.reduce_only,
        "wt": row.trigger_by.value,
        "ot": row.origin.value,
        "ps": row.position_side.value,
        "cp": row.close_position,
        "rp": money(fill.realised) if fill else "0",
        "pP": row.price_protect,
        "si": 0,
        "ss": 0,
        "V": _STP,
        "pm": "NONE",
        "gtd": row.good_till_ms,
        "er": "8" if event.execution is Execution.EXPIRED else "0",
    }


def algo_event(event: AlgoUpdate, facts: Facts) -> Row:
    """ALGO_UPDATE. ``ap``, ``aq`` and ``act`` come once a child order exists; ``ia`` with trailing orders."""
    row = event.algo
    price, quantity = facts.price_precision, facts.quantity_precision
    body: Row = {
        "caid": row.client_id,
        "aid": row.algo_id,
        "at": "CONDITIONAL",
        "o": row.kind.value,
        "s": row.symbol,
        "S": row.side.value,
        "ps": row.position_side.value,
        "f": row.time_in_force.value,
        "q": decimal(row.quantity, quantity),
        "X": row.status.value,
        "ai": str(row.order_id) if row.order_id else "",
    }
    if row.status in _PLACED:
        body |= {"ap": decimal(row.actual_price, price), "aq": decimal(row.actual_quantity, quantity)}
        body["act"] = row.actual_kind.value if row.actual_kind else "0"
    if row.kind is OrderKind.TRAILING_STOP_MARKET:
        body |= {"ia": row.activated}
    return {"e": "ALGO_UPDATE", "T": event.at_ms, "E": event.at_ms, "o": body | _algo_tail(row, price)}


def _algo_tail(row: AlgoRow, price: int) -> Row:
    """The second half of an algo event: prices and flags."""
    return {
        "tp": decimal(row.trigger, price),
        "p": decimal(row.price, price),
        "V": _STP,
        "wt": row.trigger_by.value,
        "pm": "NONE",
        "cp": row.close_position,
        "pP": row.price_protect,
        "R": row.reduce_only,
        "tt": row.triggered_ms,
        "gtd": row.good_till_ms,
        "rm": row.reason,
    }


def account_event(event: AccountUpdate, quote: str = "USDT") -> Row:
    """ACCOUNT_UPDATE. Cross funding tells the balance only."""
    balance = {"a": quote, "wb": money(event.wallet), "cw": money(event.cross_wallet), "bc": money(event.change)}
    rows = [_position_delta(row) for row in event.positions]
    body = {"B": [balance], "P": rows, "m": event.reason.value}
    return {"e": "ACCOUNT_UPDATE", "T": event.at_ms, "E": event.at_ms, "a": body}


def _position_delta(row: PositionRow) -> Row:
    return {
        "s": row.symbol,
        "pa": decimal(row.amount),
        "ep": decimal(row.entry),
        "bep": decimal(row.break_even),
        "cr": money(row.realised_total),
        "up": money(row.unrealised),
        "mt": "isolated" if row.isolated else "cross",
        "iw": money(row.isolated_wallet),
        "ps": row.position_side.value,
        "ma": "USDT",
    }


def config_event(event: ConfigUpdate) -> Row:
    """ACCOUNT_CONFIG_UPDATE of a leverage."""
    change = {"s": event.symbol, "l": event.leverage}
    return {"e": "ACCOUNT_CONFIG_UPDATE", "E": event.at_ms, "T": event.at_ms, "ac": change}
