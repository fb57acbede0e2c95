"""Signed routes of conditional (algo) orders.

Since 2025-12-09 conditional types live under ``algoOrder`` with an id space of their own; sent to ``order`` they are -4120.
"""

from collections.abc import Sequence

from qtkit.paper import wire
from qtkit.paper.faults import Verb
from qtkit.paper.intake import ids, new_algo, window
from qtkit.paper.rest_orders import ALL_CANCELLED, HISTORY, LIST, NEW
from qtkit.paper.route import Desk, Request, Route, Routes, optional_symbol, symbol_of
from qtkit.paper.rows import AlgoRow


def _algo_rows(desk: Desk, rows: Sequence[AlgoRow]) -> list[wire.Row]:
    return [wire.algo_query(row, desk.exchange.facts[row.symbol]) for row in rows]


def _post_algo(desk: Desk, request: Request) -> object:
    row = desk.exchange.submit_algo(request.owner, new_algo(desk, request.params))
    return wire.algo(row, desk.exchange.facts[row.symbol])


def _get_algo(desk: Desk, request: Request) -> object:
    algo_id, client_id = ids(request.params, "algoId", "clientAlgoId")
    row = desk.exchange.algo(request.owner, algo_id=algo_id, client_id=client_id)
    return wire.algo_query(row, desk.exchange.facts[row.symbol])


def _delete_algo(desk: Desk, request: Request) -> object:
    algo_id, client_id = ids(request.params, "algoId", "clientAlgoId")
    row = desk.exchange.cancel_algo(request.owner, algo_id=algo_id, client_id=client_id)
    return {"algoId": row.algo_id, "clientAlgoId": row.client_id, "code": "200", "msg": "success"}


def _delete_algos(desk: Desk, request: Request) -> object:
    desk.exchange.cancel_all_algos(request.owner, symbol_of(desk, request).symbol)
    return ALL_CANCELLED


def _open_algos(desk: Desk, request: Request) -> object:
    algo_id = request.params.integer("algoId")
    rows = desk.exchange.open_algos(request.owner, optional_symbol(desk, request))
    return _algo_rows(desk, [row for row in rows if algo_id in (None, row.algo_id)])


def _all_algos(desk: Desk, request: Request) -> object:
    rows, now_ms = desk.exchange.algo_history(request.owner, symbol_of(desk, request).symbol), desk.exchange.now_ms
    return _algo_rows(desk, window(request.params, rows, now_ms, lambda row: row.created_ms, lambda row: row.algo_id, "algoId"))


ROUTES: Routes = {
    ("POST", "/fapi/v1/algoOrder"): Route(handler=_post_algo, weight=NEW, verb=Verb.PLACE, conditional=True),
    ("GET", "/fapi/v1/algoOrder"): Route(handler=_get_algo, verb=Verb.LOOKUP, conditional=True),
    ("DELETE", "/fapi/v1/algoOrder"): Route(handler=_delete_algo, verb=Verb.CANCEL, conditional=True),
    ("DELETE", "/fapi/v1/algoOpenOrders"): Route(handler=_delete_algos, verb=Verb.CANCEL_ALL, conditional=True),
    ("GET", "/fapi/v1/openAlgoOrders"): Route(handler=_open_algos, weight=LIST, verb=Verb.ORDERS, conditional=True),
    ("GET", "/fapi/v1/allAlgoOrders"): Route(handler=_all_algos, weight=HISTORY, verb=Verb.ORDERS, conditional=True),
}
