"""From a raw HTTP request to its answer: route, weight, key, signature, fault, handler.

Everything here is synchronous; the server only moves bytes. ``answer`` never raises for what a client can do wrong.
"""

import contextlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from qtkit.core.model import OrderKind
from qtkit.paper import rest_account, rest_algo, rest_market, rest_orders
from qtkit.paper.actor import acting
from qtkit.paper.exchange import Account
from qtkit.paper.faults import Call, Fault, FaultKind, Faults, Verb
from qtkit.paper.limits import Limits
from qtkit.paper.params import Params
from qtkit.paper.route import Desk, Request, Route, Security
from qtkit.paper.rows import ExchangeError
from qtkit.paper.signing import WHOLE, Keys, account_of, check_rights, check_signature, check_time, forbidden, parse
from qtkit.paper.sockets import dumps

ROUTES: Mapping[tuple[str, str], Route] = {**rest_market.ROUTES, **rest_account.ROUTES, **rest_orders.ROUTES, **rest_algo.ROUTES}
REQUESTS_KEPT = 200_000
UNKNOWN_503 = "Unknown error, please check your request or try again later."
TIMEOUT = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
_SECRETS = frozenset({"signature", "listenKey"})
_JSON = "application/json;charset=UTF-8"
_NOT_FOUND = "<html>\n<head><title>404 Not Found</title></head>\n<body>\n<center><h1>404 Not Found</h1></center>\n</body>\n</html>\n"
_STATUS = {
    -1000: 500, -1001: 500, -1006: 500, -1007: 408, -1008: 503, -1003: 429, -1015: 429, -2014: 401, -2015: 401, -1002: 401, -1099: 401,
}  # fmt: skip
_KINDS = {kind.value: kind for kind in OrderKind}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request as it was answered. ``params`` are without signature and listen key; ``code`` is 0 for success.

    ``at_ms`` is the wall clock; ``account`` is empty where no known key came with the request; a cut connection has status 0.
    """

    at_ms: int
    account: str
    method: str
    path: str
    params: Mapping[str, str]
    status: int
    code: int
    weight: int


@dataclass(slots=True)
class Answer:
    """What goes back. ``drop``: cut the connection instead."""

    status: int = 200
    text: str = ""
    content_type: str = _JSON
    headers: dict[str, str] = field(default_factory=dict)
    code: int = 0
    drop: bool = False


class _PlainError(Exception):
    """A failure in front of the exchange: an answer without JSON."""


class _Dropped(Exception):
    """The connection is to be cut."""


@dataclass(slots=True)
class _Case:
    """One request on its way: what is known of it so far, for the record."""

    params: dict[str, str]
    twice: str = ""
    account: str = ""
    weight: int = 0
    headers: dict[str, str] = field(default_factory=dict)


def _case(query: str, body: str) -> _Case:
    """What was sent. The same name in query and form is no error: the query wins (general info, read 2026-10)."""
    params, twice = parse(query)
    if body:
        form, again = parse(body)
        params, twice = {**form, **params}, twice or again
    return _Case(params, twice)


class Rest:
    """Answers requests of one server; keeps the record."""

    def __init__(self, desk: Desk, keys: Keys, faults: Faults | None) -> None:
        self.desk = desk
        self.limits: Limits = desk.limits
        self.faults = faults
        self.requests: deque[RequestRecord] = deque(maxlen=REQUESTS_KEPT)
        self._keys = keys

    def answer(self, method: str, target: str, body: str, api_key: str | None, now_ms: int) -> Answer:
        """Answer one request; ``target`` is the raw path with its query, ``now_ms`` the wall clock."""
        path, _, query = target.partition("?")
        case = _case(query, body)
        answer = self._answer(case, method, path, query, body, api_key, now_ms)
        answer.headers = case.headers
        self.requests.append(
            RequestRecord(
                at_ms=now_ms, account=case.account, method=method, path=path,
                params={name: value for name, value in case.params.items() if name not in _SECRETS},
                status=0 if answer.drop else answer.status, code=answer.code, weight=case.weight,
            )
        )  # fmt: skip
        return answer

    def _answer(self, case: _Case, method: str, path: str, query: str, body: str, api_key: str | None, now_ms: int) -> Answer:
        route = ROUTES.get((method, path))
        if route is None:
            return Answer(status=404, text=_NOT_FOUND, content_type="text/html", code=404)
        try:
            result = self._carry_out(case, route, method, query, body, api_key, now_ms)
            return Answer(text=dumps(result))
        except ExchangeError as error:
            status = error.http_status if error.http_status != 400 else _STATUS.get(error.code, 400)
            return Answer(status=status, text=dumps({"code": error.code, "msg": error.message}), code=error.code)
        except _PlainError as error:
            return Answer(status=503, text=str(error), content_type="text/plain", code=503)
        except _Dropped:
            return Answer(drop=True)

    def _carry_out(self, case: _Case, route: Route, method: str, query: str, body: str, api_key: str | None, now_ms: int) -> object:
        case.weight = route.weight.of(case.params)
        try:
            self.limits.charge(case.weight, now_ms)
        finally:  # a refusal tells it too
            case.headers["X-MBX-USED-WEIGHT-1M"] = str(self.limits.used)
        if case.twice:
            raise ExchangeError(-1101, f"Duplicate values for parameter '{case.twice}'.")
        account = self._authorise(case, route, method, query, body, api_key, now_ms)
        if route.weight.orders_1m and account is not None:
            ten, minute = self.limits.count_orders(account.name, route.weight, now_ms)
            case.headers["X-MBX-ORDER-COUNT-10S"], case.headers["X-MBX-ORDER-COUNT-1M"] = str(ten), str(minute)
        request = Request(params=Params(case.params), account=account, now_ms=now_ms, api_key=api_key or "")
        with acting(api_key or ""):
            return self._handle(route, request)

    def _handle(self, route: Route, request: Request) -> object:
        fault = self.faults.decide(_call(route, request), self.desk.exchange.now_ms) if self.faults is not None else None
        return route.handler(self.desk, request) if fault is None else self._commit(fault, route, request)

    def _authorise(self, case: _Case, route: Route, method: str, query: str, body: str, api_key: str | None, now_ms: int) -> Account | None:
        if route.security is Security.NONE:
            return None
        secret, name = account_of(api_key, self._keys)
        case.account = name
        if api_key in self.desk.elsewhere:
            raise forbidden()
        if route.security is Security.SIGNED:
            check_time(case.params, now_ms)
            check_signature(secret, query, body, case.params.get("signature"))
            check_rights(self.desk.rights.get(api_key or "", WHOLE), writes=method != "GET")
        return self.desk.exchange.accounts[name]

    def _commit(self, fault: Fault, route: Route, request: Request) -> object:
        """Do or leave undone what the fault says, and answer as it says."""

        def carry_out() -> object:
            return route.handler(self.desk, request)

        kind = fault.kind
        if kind in (FaultKind.ACCEPT_TIMEOUT, FaultKind.ACCEPT_DROP, FaultKind.ACCEPT_503):
            with contextlib.suppress(ExchangeError):  # an outcome that is not told may be a refusal too
                carry_out()
        match kind:
            case FaultKind.ACCEPT_TIMEOUT | FaultKind.TIMEOUT:
                raise ExchangeError(-1007, TIMEOUT)
            case FaultKind.ACCEPT_DROP | FaultKind.DROP:
                raise _Dropped
            case FaultKind.ACCEPT_503:
                raise _PlainError(UNKNOWN_503)
            case FaultKind.FAIL_503 | FaultKind.PARTIAL:
                raise _PlainError("Service Unavailable.")
            case FaultKind.REFUSE:
                raise ExchangeError(fault.code, fault.message)
            case FaultKind.NOT_FOUND:
                raise _not_found(route)
            case FaultKind.EMPTY:
                result = carry_out()
                return [] if isinstance(result, list) else result
            case FaultKind.READ_LAG:
                return _lagged(carry_out(), route, self.desk.exchange.now_ms - fault.delay_ms)
            case FaultKind.DUPLICATE:
                result = carry_out()
                with contextlib.suppress(ExchangeError):
                    carry_out()
                return result
            case FaultKind.STUCK_TRIGGERING | FaultKind.LOSE_EVENT | FaultKind.SILENT_STREAM:
                return carry_out()  # kinds of triggers and events: a script that names them here strikes nothing


def _call(route: Route, request: Request) -> Call:
    raw = request.params.raw
    client_id = raw.get("newClientOrderId") or raw.get("clientAlgoId") or raw.get("origClientOrderId") or ""
    if route.conditional:
        client_id = raw.get("clientAlgoId") or ""
    return Call(
        verb=route.verb, account=request.account.name if request.account else "", symbol=raw.get("symbol") or None,
        conditional=route.conditional, kind=_KINDS.get(raw.get("type", "")), client_id=client_id,
    )  # fmt: skip


def _not_found(route: Route) -> ExchangeError:
    if route.verb is Verb.CANCEL:
        return ExchangeError(-2011, "Unknown order sent.")
    return ExchangeError(-2013, "Order does not exist.")


def _lagged(result: object, route: Route, before_ms: int) -> object:
    """What a reader that lags sees: rows that were there at ``before_ms``."""

    def young(row: object) -> bool:
        if not isinstance(row, dict):
            return False
        created: int = row["createTime"] if "createTime" in row else row.get("time", 0)
        return created > before_ms

    if isinstance(result, list):
        return [row for row in result if not young(row)]
    if young(result):
        raise _not_found(route)
    return result
