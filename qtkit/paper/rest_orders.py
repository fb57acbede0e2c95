"""Signed routes of regular orders, batches of them, and fills."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from qtkit.core.model import OrderSide
from qtkit.paper import wire
from qtkit.paper.faults import Verb
from qtkit.paper.intake import e8, ids, matched_price, new_order, span, week, window
from qtkit.paper.limits import Weight
from qtkit.paper.params import Params, invalid, missing, whole
from qtkit.paper.route import Desk, Request, Route, Routes, optional_symbol, symbol_of
from qtkit.paper.rows import ADL, LIQUIDATION, ExchangeError, OrderRow

ALL_CANCELLED = {"code": 200, "msg": "The operation of cancel all open order is done."}
MAX_BATCH, MAX_CANCEL = 5, 10
_FORCED = {"": (LIQUIDATION, ADL), "LIQUIDATION": (LIQUIDATION,), "ADL": (ADL,)}
_T = TypeVar("_T")


def _row(desk: Desk, row: OrderRow) -> wire.Row:
    return wire.order(row, desk.exchange.facts[row.symbol])


def _rows(desk: Desk, rows: Sequence[OrderRow]) -> list[wire.Row]:
    return [_row(desk, row) for row in rows]


# regular orders


def _submit(desk: Desk, request: Request, params: Params) -> wire.Row:
    row = desk.exchange.submit(request.owner, new_order(desk, params))
    return wire.placed(row, desk.exchange.facts[row.symbol], result=params.text("newOrderRespType", "ACK") == "RESULT")


def _post(desk: Desk, request: Request) -> object:
    return _submit(desk, request, request.params)


def _test(desk: Desk, request: Request) -> object:
    row = desk.exchange.check(request.owner, new_order(desk, request.params))
    return wire.placed(row, desk.exchange.facts[row.symbol], result=False)


def _amend(desk: Desk, request: Request, params: Params) -> wire.Row:
    facts = desk.facts(params.required("symbol"))
    order_id, client_id = ids(params, "orderId", "origClientOrderId")
    side, quantity = params.choice("side", OrderSide), e8(params, "quantity")
    price = matched_price(desk, params, facts.symbol, side)
    if quantity is None or price is None:
        raise missing("quantity" if quantity is None else "price")
    before = desk.exchange.order(request.owner, facts.symbol, order_id=order_id, client_id=client_id)
    row = desk.exchange.amend(
        request.owner, facts.symbol, side=side, quantity=quantity, price=price, order_id=order_id, client_id=client_id
    )
    told = desk.amendments[request.owner.name]
    count = 1 + sum(each["orderId"] == row.order_id for each in told)
    told.append(wire.amendment(before, row, facts, number=len(told) + 1, count=count, at_ms=desk.exchange.now_ms))
    modify_id = params.integer("modifyId")
    own = {} if modify_id is None else {"modifyId": modify_id}
    return wire.changed(row, facts) | {"pair": facts.symbol} | own


def _put(desk: Desk, request: Request) -> object:
    return _amend(desk, request, request.params)


def _get(desk: Desk, request: Request) -> object:
    symbol = symbol_of(desk, request).symbol
    order_id, client_id = ids(request.params, "orderId", "origClientOrderId")
    row = desk.exchange.order(request.owner, symbol, order_id=order_id, client_id=client_id)
    return _row(desk, row)


def _get_open(desk: Desk, request: Request) -> object:
    symbol = symbol_of(desk, request).symbol
    order_id, client_id = ids(request.params, "orderId", "origClientOrderId")
    row = desk.exchange.order(request.owner, symbol, order_id=order_id, client_id=client_id)
    if not row.status.working:
        raise ExchangeError(-2013, "Order does not exist.")
    return _row(desk, row)


def _delete(desk: Desk, request: Request) -> object:
    symbol = symbol_of(desk, request).symbol
    order_id, client_id = ids(request.params, "orderId", "origClientOrderId")
    return _cancel(desk, request, symbol, order_id, client_id)


def _cancel(desk: Desk, request: Request, symbol: str, order_id: int | None, client_id: str | None) -> wire.Row:
    return wire.changed(desk.exchange.cancel(request.owner, symbol, order_id=order_id, client_id=client_id), desk.exchange.facts[symbol])


def _delete_all(desk: Desk, request: Request) -> object:
    desk.exchange.cancel_all(request.owner, symbol_of(desk, request).symbol)
    return ALL_CANCELLED


def _open_orders(desk: Desk, request: Request) -> object:
    return _rows(desk, desk.exchange.open_orders(request.owner, optional_symbol(desk, request)))


def _all_orders(desk: Desk, request: Request) -> object:
    rows, now_ms = desk.exchange.order_history(request.owner, optional_symbol(desk, request)), desk.exchange.now_ms
    return _rows(desk, window(request.params, rows, now_ms, lambda row: row.created_ms, lambda row: row.order_id, "orderId"))


def _trades(desk: Desk, request: Request) -> object:
    rows, params = desk.exchange.trades(request.owner, symbol_of(desk, request).symbol), request.params
    if params.has("fromId") and (params.has("startTime") or params.has("endTime")):
        raise ExchangeError(-1128, "Combination of optional parameters invalid.")
    order_id = params.integer("orderId")
    kept = rows if order_id is None else [row for row in rows if row.order_id == order_id]
    page = window(params, kept, desk.exchange.now_ms, lambda row: row.time_ms, lambda row: row.trade_id, "fromId")
    return [wire.trade(row, desk.exchange.facts[row.symbol]) for row in page]


def _force_orders(desk: Desk, request: Request) -> object:
    """Orders that the exchange closed positions with, within seven days; their client ids tell a liquidation from deleveraging."""
    kind = request.params.text("autoCloseType")
    if kind not in _FORCED:
        raise invalid("autoCloseType")
    start, end = week(request.params, desk.exchange.now_ms)
    history = desk.exchange.order_history(request.owner, optional_symbol(desk, request))
    rows = [row for row in history if row.client_id.startswith(_FORCED[kind]) and start <= row.created_ms <= end]
    return _rows(desk, rows[-request.params.limit(50, 100) :])


def _amendments(desk: Desk, request: Request) -> object:
    symbol = symbol_of(desk, request).symbol
    order_id, client_id = request.params.integer("orderId"), request.params.text("origClientOrderId")
    rows = [
        row
        for row in desk.amendments[request.owner.name]
        if row["symbol"] == symbol and order_id in (None, row["orderId"]) and client_id in ("", row["clientOrderId"])
    ]
    start, end = span(request.params)
    rows = [row for row in rows if (start is None or row["time"] >= start) and (end is None or row["time"] <= end)]
    return rows[: -request.params.limit(50, 100) - 1 : -1]  # the newest first


# batches


def _list(params: Params, most: int, refusal: tuple[int, str], *names: str) -> list[Any]:
    """A JSON list by the first of its names that was sent, of one to ``most`` elements, else the refusal."""
    text = next((params.text(name) for name in names if params.has(name)), None)
    if text is None:
        raise missing(names[0])
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise invalid(names[0]) from None
    if not isinstance(values, list):
        raise invalid(names[0])
    if not 1 <= len(values) <= most:
        raise ExchangeError(*refusal)
    return values


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _each(values: Sequence[_T], do: Callable[[_T], wire.Row]) -> list[wire.Row]:
    """One answer an element: what was done, or its refusal; one refusal does not stop the others."""
    answers = []
    for value in values:
        try:
            answers.append(do(value))
        except ExchangeError as error:
            answers.append({"code": error.code, "msg": error.message})
    return answers


def _elements(params: Params) -> list[Params]:
    values = _list(params, MAX_BATCH, (-4082, "Invalid number of batch place orders."), "batchOrders")
    if not all(isinstance(value, dict) for value in values):
        raise invalid("batchOrders")
    return [Params({name: _text(part) for name, part in value.items() if part is not None}) for value in values]


def _post_batch(desk: Desk, request: Request) -> object:
    return _each(_elements(request.params), lambda element: _submit(desk, request, element))


def _put_batch(desk: Desk, request: Request) -> object:
    return _each(_elements(request.params), lambda element: _amend(desk, request, element))


def _delete_batch(desk: Desk, request: Request) -> object:
    params, symbol = request.params, symbol_of(desk, request).symbol
    refusal = (-4032, "Exceed maximum cancel order size.")
    if params.has("orderidlist") or params.has("orderIdList"):
        values = [str(value) for value in _list(params, MAX_CANCEL, refusal, "orderidlist", "orderIdList")]
        numbers = [number for number in map(whole, values) if number is not None]
        if len(numbers) != len(values):
            raise invalid("orderIdList")
        return _each(numbers, lambda value: _cancel(desk, request, symbol, value, None))
    names = [str(value) for value in _list(params, MAX_CANCEL, refusal, "origclientorderidlist", "origClientOrderIdList")]
    return _each(names, lambda value: _cancel(desk, request, symbol, None, value))


def _countdown(desk: Desk, request: Request) -> object:
    """Cancel all regular orders of a symbol unless asked again in time; 0 stops the clock. Wall time, as on Binance."""
    symbol = symbol_of(desk, request).symbol
    delay_ms = request.params.integer("countdownTime")
    if delay_ms is None:
        raise missing("countdownTime")
    account = request.owner
    running = desk.countdowns.pop((account.name, symbol), None)
    if running is not None:
        running.cancel()
    if delay_ms:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(delay_ms / 1_000, desk.exchange.cancel_all, account, symbol)
        desk.countdowns[(account.name, symbol)] = timer
    return {"symbol": symbol, "countdownTime": str(delay_ms)}


NEW = Weight(one=0, orders_10s=1, orders_1m=1)
_BATCH = Weight(one=5, orders_10s=5, orders_1m=1)
LIST = Weight(one=1, every=40)
HISTORY = Weight(one=5)

ROUTES: Routes = {
    ("POST", "/fapi/v1/order"): Route(handler=_post, weight=NEW, verb=Verb.PLACE, conditional=False),
    ("POST", "/fapi/v1/order/test"): Route(handler=_test, verb=Verb.SETTING, conditional=False),
    ("PUT", "/fapi/v1/order"): Route(handler=_put, weight=NEW, verb=Verb.AMEND, conditional=False),
    ("GET", "/fapi/v1/order"): Route(handler=_get, verb=Verb.LOOKUP, conditional=False),
    ("DELETE", "/fapi/v1/order"): Route(handler=_delete, verb=Verb.CANCEL, conditional=False),
    ("GET", "/fapi/v1/openOrder"): Route(handler=_get_open, verb=Verb.LOOKUP, conditional=False),
    ("GET", "/fapi/v1/openOrders"): Route(handler=_open_orders, weight=LIST, verb=Verb.ORDERS, conditional=False),
    ("GET", "/fapi/v1/allOrders"): Route(handler=_all_orders, weight=HISTORY, verb=Verb.ORDERS, conditional=False),
    ("DELETE", "/fapi/v1/allOpenOrders"): Route(handler=_delete_all, verb=Verb.CANCEL_ALL, conditional=False),
    ("GET", "/fapi/v1/orderAmendment"): Route(handler=_amendments, verb=Verb.LOOKUP, conditional=False),
    ("GET", "/fapi/v1/userTrades"): Route(handler=_trades, weight=HISTORY, verb=Verb.LOOKUP),
    ("GET", "/fapi/v1/forceOrders"): Route(handler=_force_orders, weight=Weight(one=20, every=50), verb=Verb.ORDERS, conditional=False),
    ("POST", "/fapi/v1/countdownCancelAll"): Route(handler=_countdown, weight=Weight(one=10)),
    ("POST", "/fapi/v1/batchOrders"): Route(handler=_post_batch, weight=_BATCH, verb=Verb.PLACE, conditional=False),
    ("PUT", "/fapi/v1/batchOrders"): Route(handler=_put_batch, weight=_BATCH, verb=Verb.AMEND, conditional=False),
    ("DELETE", "/fapi/v1/batchOrders"): Route(handler=_delete_batch, verb=Verb.CANCEL, conditional=False),
}
