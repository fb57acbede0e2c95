"""Signed routes of an account: money, positions, settings, income; and the listen key."""

from qtkit.core.model import E8, PositionSide
from qtkit.paper import wire_account as wire
from qtkit.paper import wire_market
from qtkit.paper.faults import Verb
from qtkit.paper.intake import LONGEST_WINDOW_MS, span
from qtkit.paper.limits import Weight
from qtkit.paper.params import invalid, missing
from qtkit.paper.route import Desk, Request, Route, Routes, Security, optional_symbol, some_symbols, symbol_of
from qtkit.paper.rows import ExchangeError, PositionRow
from qtkit.paper.signing import WHOLE

SUCCESS = {"code": 200, "msg": "success"}


def _used(desk: Desk, request: Request, symbol: str | None = None) -> tuple[PositionRow, ...]:
    """Slots that v3 tells: with a position, or of a symbol with an open order."""
    account = request.owner
    held = desk.exchange.positions(account, symbol)
    ordered = {row.symbol for row in desk.exchange.open_orders(account, symbol)} - {row.symbol for row in held}
    return held + tuple(row for name in sorted(ordered) for row in desk.exchange.positions(account, name, flat=True))


def _account_v3(desk: Desk, request: Request) -> object:
    return wire.account(desk.exchange.wallet(request.owner), _used(desk, request), desk.exchange.facts)


def _account_v2(desk: Desk, request: Request) -> object:
    rows = desk.exchange.positions(request.owner, flat=True)
    return wire.account_v2(desk.exchange.wallet(request.owner), rows, desk.exchange.facts)


def _balance(desk: Desk, request: Request) -> object:
    return wire.balance(request.owner.name, desk.exchange.wallet(request.owner), desk.exchange.positions(request.owner))


def _risk_v3(desk: Desk, request: Request) -> object:
    rows = _used(desk, request, optional_symbol(desk, request))
    return [wire.position(row, desk.exchange.facts[row.symbol]) for row in rows]


def _risk_v2(desk: Desk, request: Request) -> object:
    rows = desk.exchange.positions(request.owner, optional_symbol(desk, request), flat=True)
    return [wire.position_v2(row, desk.exchange.facts[row.symbol]) for row in rows]


def _account_config(desk: Desk, request: Request) -> object:
    return wire.account_config(request.owner.hedge)


def _api_restrictions(desk: Desk, request: Request) -> object:
    return wire.api_restrictions(desk.rights.get(request.api_key, WHOLE), request.now_ms)


def _symbol_config(desk: Desk, request: Request) -> object:
    return [wire.symbol_config(desk.exchange.config(request.owner, row.symbol)) for row in some_symbols(desk, request)]


def _brackets(desk: Desk, request: Request) -> object:
    rows = [wire_market.leverage_bracket(row) for row in some_symbols(desk, request)]
    return rows[0] if request.params.has("symbol") else rows


def _commission(desk: Desk, request: Request) -> object:
    return wire_market.commission_rate(symbol_of(desk, request))


def _income(desk: Desk, request: Request) -> object:
    """Of the last seven days, unless a time was sent."""
    params = request.params
    (start, end), kind = span(params), params.text("incomeType")
    if start is None and end is None:
        start = desk.exchange.now_ms - LONGEST_WINDOW_MS
    rows = [
        row
        for row in desk.exchange.income(request.owner, optional_symbol(desk, request))
        if (start is None or start <= row.time_ms) and (end is None or row.time_ms <= end) and kind in ("", row.kind.value)
    ]
    limit = params.limit(100, 1_000)
    return [wire.income(row) for row in (rows[:limit] if params.has("startTime") else rows[-limit:])]


def _order_limits(desk: Desk, request: Request) -> object:
    return wire_market.order_limits(desk.limits.orders)


def _multi_assets(desk: Desk, request: Request) -> object:
    return {"multiAssetsMargin": False}


def _set_multi_assets(desk: Desk, request: Request) -> object:
    """USDT is the only margin here: the mode that is on cannot be set again, the other is not there."""
    request.params.required("multiAssetsMargin")
    if request.params.flag("multiAssetsMargin"):
        raise ExchangeError(-1020, "This operation is not supported.")
    raise ExchangeError(-4171, "Adjusted asset mode is currently set and does not need to be adjusted repeatedly.")


def _fee_burn(desk: Desk, request: Request) -> object:
    return {"feeBurn": False}


def _quantiles(desk: Desk, request: Request) -> object:
    held = desk.exchange.positions(request.owner, optional_symbol(desk, request))
    return wire.adl_quantiles(held)


def _position_mode(desk: Desk, request: Request) -> object:
    return {"dualSidePosition": request.owner.hedge}


def _set_position_mode(desk: Desk, request: Request) -> object:
    request.params.required("dualSidePosition")
    desk.exchange.set_position_mode(request.owner, hedge=request.params.flag("dualSidePosition"))
    return SUCCESS


def _set_leverage(desk: Desk, request: Request) -> object:
    symbol = symbol_of(desk, request).symbol
    leverage = request.params.integer("leverage")
    if leverage is None:
        raise missing("leverage")
    return wire.leverage(desk.exchange.set_leverage(request.owner, symbol, leverage))


def _set_margin_type(desk: Desk, request: Request) -> object:
    symbol = symbol_of(desk, request).symbol
    kind = request.params.required("marginType")
    if kind not in ("ISOLATED", "CROSSED"):
        raise invalid("marginType")
    desk.exchange.set_margin_mode(request.owner, symbol, isolated=kind == "ISOLATED")
    return SUCCESS


def _position_margin(desk: Desk, request: Request) -> object:
    params = request.params
    symbol = symbol_of(desk, request).symbol
    amount, direction = params.e8("amount"), params.text("type")
    if amount is None:
        raise missing("amount")
    if amount <= 0:
        raise ExchangeError(-4055, "Amount must be positive.")
    if direction not in ("1", "2"):
        raise invalid("type")
    side = params.choice("positionSide", PositionSide, PositionSide.BOTH)
    desk.exchange.add_position_margin(request.owner, symbol, E8(amount if direction == "1" else -amount), side)
    moved = wire.margin_move(symbol, amount, int(direction), side, desk.exchange.now_ms)
    desk.margin_moves[request.owner.name].append(moved)
    return {"amount": float(params.text("amount")), "code": 200, "msg": "Successfully modify position margin.", "type": int(direction)}


def _margin_moves(desk: Desk, request: Request) -> object:
    symbol, direction = symbol_of(desk, request).symbol, request.params.integer("type")
    start, end = span(request.params)
    rows = [
        row
        for row in desk.margin_moves[request.owner.name]
        if row["symbol"] == symbol and direction in (None, row["type"])
        and (start is None or row["time"] >= start) and (end is None or row["time"] <= end)
    ]  # fmt: skip
    return rows[-request.params.limit(500, 1_000) :]


def _indicators(desk: Desk, request: Request) -> object:
    """No quantitative rule of the exchange is broken: there are none here."""
    return {"indicators": {}, "updateTime": request.now_ms}


def _open_key(desk: Desk, request: Request) -> object:
    return {"listenKey": desk.listen_keys.create(request.owner.name, request.now_ms)}


def _extend_key(desk: Desk, request: Request) -> object:
    return {"listenKey": desk.listen_keys.extend(request.owner.name, request.now_ms)}


def _close_key(desk: Desk, request: Request) -> object:
    desk.listen_keys.end(request.owner.name)
    desk.hub.close_user(request.owner.name, 1000)
    return {}


_SLOW = Weight(one=30)

ROUTES: Routes = {
    ("GET", "/fapi/v2/account"): Route(handler=_account_v2, weight=Weight(one=5), verb=Verb.BALANCE),
    ("GET", "/fapi/v3/account"): Route(handler=_account_v3, weight=Weight(one=5), verb=Verb.BALANCE),
    ("GET", "/fapi/v2/balance"): Route(handler=_balance, weight=Weight(one=5), verb=Verb.BALANCE),
    ("GET", "/fapi/v3/balance"): Route(handler=_balance, weight=Weight(one=5), verb=Verb.BALANCE),
    ("GET", "/fapi/v2/positionRisk"): Route(handler=_risk_v2, weight=Weight(one=5), verb=Verb.POSITIONS),
    ("GET", "/fapi/v3/positionRisk"): Route(handler=_risk_v3, weight=Weight(one=5), verb=Verb.POSITIONS),
    ("GET", "/sapi/v1/account/apiRestrictions"): Route(handler=_api_restrictions),
    ("GET", "/fapi/v1/accountConfig"): Route(handler=_account_config, weight=Weight(one=5)),
    ("GET", "/fapi/v1/symbolConfig"): Route(handler=_symbol_config, weight=Weight(one=5)),
    ("GET", "/fapi/v1/leverageBracket"): Route(handler=_brackets),
    ("GET", "/fapi/v1/commissionRate"): Route(handler=_commission, weight=Weight(one=20)),
    ("GET", "/fapi/v1/income"): Route(handler=_income, weight=_SLOW),
    ("GET", "/fapi/v1/rateLimit/order"): Route(handler=_order_limits),
    ("GET", "/fapi/v1/multiAssetsMargin"): Route(handler=_multi_assets, weight=_SLOW),
    ("POST", "/fapi/v1/multiAssetsMargin"): Route(handler=_set_multi_assets),
    ("GET", "/fapi/v1/feeBurn"): Route(handler=_fee_burn, weight=_SLOW),
    ("GET", "/fapi/v1/adlQuantile"): Route(handler=_quantiles, weight=Weight(one=5), verb=Verb.POSITIONS),
    ("GET", "/fapi/v1/positionSide/dual"): Route(handler=_position_mode, weight=_SLOW),
    ("POST", "/fapi/v1/positionSide/dual"): Route(handler=_set_position_mode),
    ("POST", "/fapi/v1/leverage"): Route(handler=_set_leverage),
    ("POST", "/fapi/v1/marginType"): Route(handler=_set_margin_type),
    ("POST", "/fapi/v1/positionMargin"): Route(handler=_position_margin),
    ("GET", "/fapi/v1/positionMargin/history"): Route(handler=_margin_moves),
    ("GET", "/fapi/v1/apiTradingStatus"): Route(handler=_indicators, weight=Weight(one=1, every=10)),
    ("POST", "/fapi/v1/listenKey"): Route(handler=_open_key, security=Security.KEY),
    ("PUT", "/fapi/v1/listenKey"): Route(handler=_extend_key, security=Security.KEY),
    ("DELETE", "/fapi/v1/listenKey"): Route(handler=_close_key, security=Security.KEY),
}
