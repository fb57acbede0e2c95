"""Every documented refusal that the wire itself raises, each by its code; and that every other one reaches the client as it would there."""

import hashlib
import hmac
import json
from typing import Any

import pytest

from qtkit.paper.faults import Fault, FaultKind, Faults, Match, Verb
from qtkit.paper.server import wall_ms
from tests.paper.server_rig import HEDGE_KEY, HEDGE_SECRET, KEY, SECRET, rig

V1 = "/fapi/v1/"
LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "95000"}
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
STOP = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "algoType": "CONDITIONAL", "quantity": "0.01", "triggerPrice": "95000"}
BARS = {"symbol": "BTCUSDT", "interval": "1m"}


def without(params: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in names}


def batch(count: int) -> dict[str, str]:
    return {"batchOrders": json.dumps([LIMIT] * count)}


# (what, method, path, parameters, code); signed by `main`, which trades one-way
ORDERS: list[tuple[str, str, str, dict[str, Any] | str, int]] = [
    ("characters of a symbol", "POST", "order", LIMIT | {"symbol": "BTC/USDT"}, -1100),
    ("a number with an exponent", "POST", "order", LIMIT | {"quantity": "1e-05"}, -1100),
    ("a number that is none", "POST", "order", LIMIT | {"price": "ninety"}, -1100),
    ("an id that is none", "GET", "order", {"symbol": "BTCUSDT", "orderId": "first"}, -1100),
    ("a time that is none", "GET", "allOrders", {"symbol": "BTCUSDT", "startTime": "yesterday"}, -1100),
    ("the same parameter twice", "POST", "order", "symbol=BTCUSDT&symbol=ETHUSDT&side=BUY&type=MARKET&quantity=1", -1101),
    ("the same parameter twice, equal", "GET", "openOrders", "symbol=BTCUSDT&symbol=BTCUSDT", -1101),
    *((f"no {name}", "POST", "order", without(LIMIT, name), -1102) for name in LIMIT),
    *((f"no {name}", "POST", "algoOrder", without(STOP, name), -1102) for name in STOP),
    ("an empty symbol", "POST", "order", LIMIT | {"symbol": ""}, -1102),
    ("no symbol to cancel in", "DELETE", "allOpenOrders", {}, -1102),
    ("neither id", "GET", "order", {"symbol": "BTCUSDT"}, -1102),
    ("neither id of a conditional", "DELETE", "algoOrder", {}, -1102),
    ("no leverage", "POST", "leverage", {"symbol": "BTCUSDT"}, -1102),
    ("no margin type", "POST", "marginType", {"symbol": "BTCUSDT"}, -1102),
    ("no amount", "POST", "positionMargin", {"symbol": "BTCUSDT", "type": 1}, -1102),
    ("no mode", "POST", "positionSide/dual", {}, -1102),
    ("no countdown", "POST", "countdownCancelAll", {"symbol": "BTCUSDT"}, -1102),
    ("no batch", "POST", "batchOrders", {}, -1102),
    ("a market order with a price", "POST", "order", MARKET | {"price": "95000"}, -1106),
    ("a market order with a time in force", "POST", "order", MARKET | {"timeInForce": "GTC"}, -1106),
    ("more decimals than there are", "POST", "order", LIMIT | {"quantity": "0.000000001"}, -1111),
    ("a time in force that is none", "POST", "order", LIMIT | {"timeInForce": "SOON"}, -1115),
    ("a date without a date", "POST", "order", LIMIT | {"timeInForce": "GTD"}, -1102),
    ("a date that is past", "POST", "order", LIMIT | {"timeInForce": "GTD", "goodTillDate": 1}, -5040),
    ("a date that is none", "POST", "order", LIMIT | {"timeInForce": "GTD", "goodTillDate": "tomorrow"}, -1100),
    ("a date that is past of a conditional", "POST", "algoOrder", STOP | {"timeInForce": "GTD", "goodTillDate": 1}, -5040),
    ("a type that is none", "POST", "order", LIMIT | {"type": "ICEBERG"}, -1116),
    ("a conditional type that is none", "POST", "algoOrder", STOP | {"type": "LIMIT"}, -1116),
    ("a side that is none", "POST", "order", LIMIT | {"side": "HOLD"}, -1117),
    ("an empty id of a new order", "POST", "order", LIMIT | {"newClientOrderId": ""}, -1118),
    ("an empty id of a new conditional", "POST", "algoOrder", STOP | {"clientAlgoId": ""}, -1118),
    ("an empty id to look up", "GET", "order", {"symbol": "BTCUSDT", "origClientOrderId": ""}, -1119),
    ("a symbol that is not traded", "POST", "order", LIMIT | {"symbol": "NOPEUSDT"}, -1121),
    ("a symbol in lower case", "POST", "order", LIMIT | {"symbol": "btcusdt"}, -1121),
    ("times the wrong way round", "GET", "userTrades", {"symbol": "BTCUSDT", "startTime": 2, "endTime": 1}, -1023),
    ("times the wrong way round of income", "GET", "income", {"startTime": 2, "endTime": 1}, -1023),
    ("more than seven days", "GET", "userTrades", {"symbol": "BTCUSDT", "startTime": 0, "endTime": 604_800_001}, -1127),
    ("an id and a time", "GET", "userTrades", {"symbol": "BTCUSDT", "fromId": 1, "startTime": 1}, -1128),
    ("a closing that is none", "GET", "forceOrders", {"autoCloseType": "MINE"}, -1130),
    ("a flag that is none", "POST", "order", LIMIT | {"reduceOnly": "maybe"}, -1130),
    ("a limit that is too large", "GET", "userTrades", {"symbol": "BTCUSDT", "limit": 1_001}, -1130),
    ("a limit of nothing", "GET", "allOrders", {"symbol": "BTCUSDT", "limit": 0}, -1130),
    ("price and price match", "POST", "order", LIMIT | {"priceMatch": "OPPONENT"}, -1130),
    ("a kind of algo that is not there", "POST", "algoOrder", STOP | {"algoType": "VP"}, -1130),
    ("a margin type that is none", "POST", "marginType", {"symbol": "BTCUSDT", "marginType": "BOTH"}, -1130),
    ("a direction of margin that is none", "POST", "positionMargin", {"symbol": "BTCUSDT", "amount": 1, "type": 3}, -1130),
    ("a batch that is no JSON", "POST", "batchOrders", {"batchOrders": "[{"}, -1130),
    ("a batch that is no list", "POST", "batchOrders", {"batchOrders": '{"symbol":"BTCUSDT"}'}, -1130),
    ("a batch of numbers", "POST", "batchOrders", {"batchOrders": "[1]"}, -1130),
    ("a list of ids with a name in it", "DELETE", "batchOrders", {"symbol": "BTCUSDT", "orderIdList": '["x"]'}, -1130),
    ("an answer that is none", "POST", "order", LIMIT | {"newOrderRespType": "FULL"}, -1136),
    ("a conditional type in the regular book", "POST", "order", without(STOP, "algoType"), -4120),
    ("a working type that is none", "POST", "algoOrder", STOP | {"workingType": "LAST_PRICE"}, -4031),
    ("too many to cancel", "DELETE", "batchOrders", {"symbol": "BTCUSDT", "orderIdList": json.dumps(list(range(1, 12)))}, -4032),
    ("nothing to add", "POST", "positionMargin", {"symbol": "BTCUSDT", "amount": 0, "type": 1}, -4055),
    ("a position side that is none", "POST", "order", LIMIT | {"positionSide": "UP"}, -4060),
    ("an empty batch", "POST", "batchOrders", batch(0), -4082),
    ("six in a batch", "POST", "batchOrders", batch(6), -4082),
    ("a mode that is not there", "POST", "multiAssetsMargin", {"multiAssetsMargin": "true"}, -1020),
    ("the mode that is on", "POST", "multiAssetsMargin", {"multiAssetsMargin": "false"}, -4171),
    ("a price match that is none", "POST", "order", without(LIMIT, "price") | {"priceMatch": "BEST"}, -5037),
    ("a price match of a market order", "POST", "order", MARKET | {"priceMatch": "OPPONENT"}, -5038),
    ("a self trade mode that is none", "POST", "order", LIMIT | {"selfTradePreventionMode": "ALLOW"}, -5039),
    ("an order that was never there", "GET", "order", {"symbol": "BTCUSDT", "orderId": 1}, -2013),
    ("a closed order as an open one", "GET", "openOrder", {"symbol": "BTCUSDT", "origClientOrderId": "none"}, -2013),
    ("nothing to cancel", "DELETE", "order", {"symbol": "BTCUSDT", "orderId": 1}, -2011),
]
PUBLIC: list[tuple[str, str, dict[str, Any], int]] = [
    ("an interval that is none", "klines", BARS | {"interval": "7m"}, -1120),
    ("no interval", "markPriceKlines", without(BARS, "interval"), -1102),
    ("more bars than there are", "klines", BARS | {"limit": 1_501}, -1130),
    ("bars of times the wrong way round", "klines", BARS | {"startTime": 2, "endTime": 1}, -1023),
    ("trades of more than an hour", "aggTrades", {"symbol": "BTCUSDT", "startTime": 0, "endTime": 3_600_001}, -1127),
    ("a depth that is none", "depth", {"symbol": "BTCUSDT", "limit": 7}, -4021),
    ("a pair that is none", "continuousKlines", {"pair": "NOPEUSDT", "contractType": "PERPETUAL", "interval": "1m"}, -4144),
    ("a contract that is none", "continuousKlines", {"pair": "BTCUSDT", "contractType": "WEEKLY", "interval": "1m"}, -4104),
    ("no symbol", "trades", {}, -1102),
    ("a symbol that is not traded", "premiumIndex", {"symbol": "NOPEUSDT"}, -1121),
]


@pytest.mark.parametrize(("what", "method", "path", "params", "code"), ORDERS, ids=[f"{row[4]} {row[0]}" for row in ORDERS])
async def test_signed_calls(what: str, method: str, path: str, params: dict[str, Any] | str, code: int) -> None:
    async with rig() as it:
        status, answer = await it.call(method, V1 + path, params)
        assert (status, answer["code"]) == (400, code), what
        assert set(answer) == {"code", "msg"}
        assert answer["msg"]
        assert it.server.requests[-1].code == code
        assert not it.exchange.accounts["main"].orders, "what is refused leaves nothing behind"


@pytest.mark.parametrize(("what", "path", "params", "code"), PUBLIC, ids=[f"{row[3]} {row[0]}" for row in PUBLIC])
async def test_public_calls(what: str, path: str, params: dict[str, Any], code: int) -> None:
    async with rig() as it:
        status, answer = await it.call("GET", V1 + path, params, sign=False)
        assert (status, answer["code"]) == (400, code), what


@pytest.mark.parametrize("path", ["/fapi/v3/account", "/fapi/v1/openAlgoOrders", "/fapi/v1/userTrades"])
async def test_who_calls(path: str) -> None:
    async with rig() as it:

        async def code(params: Any = "", **extra: Any) -> tuple[int, int]:
            status, answer = await it.call("GET", path, params, **extra)
            return status, answer["code"]

        assert await code(key="") == (401, -2014)
        assert await code(key="with blanks") == (401, -2014)
        assert await code(key="x" * 64) == (401, -2015)
        assert await code(key=HEDGE_KEY) == (400, -1022), "another account's key with this one's secret"
        assert await code(secret=HEDGE_SECRET) == (400, -1022)
        assert await code(sign=False) == (400, -1102)
        assert await code("timestamp=soon&signature=00", sign=False) == (400, -1102)
        assert await code(timestamp=1) == (400, -1021)
        assert await code(timestamp=99_999_999_999_999) == (400, -1021)
        assert await code(f"timestamp={wall_ms()}&signature=00", sign=False) == (400, -1022)
        assert await code(f"timestamp={wall_ms()}&recvWindow=60000&signature=", sign=False) == (400, -1102)
        it.server.elsewhere.add(KEY)
        assert await code() == (401, -2015)


async def test_a_window_beyond_a_minute_is_refused() -> None:
    async with rig() as it:
        for window in ("60001", "0", "-1", "wide"):
            text = f"timestamp={wall_ms()}&recvWindow={window}"
            status, answer = await it.call("GET", "/fapi/v3/account", f"{text}&signature={signature(text)}", sign=False)
            assert (status, answer["code"]) == (400, -1130)


def signature(text: str) -> str:
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


async def test_query_and_form_are_signed_and_read_together() -> None:
    """A client may split its parameters; the same name in both is the query's (general info of the documents)."""
    async with rig() as it:
        query, form = f"symbol=BTCUSDT&side=BUY&timestamp={wall_ms()}", "type=MARKET&quantity=0.02&side=SELL"
        url = f"{it.base}/fapi/v1/order?{query}&signature={signature(query + form)}"
        headers = {"X-MBX-APIKEY": KEY, "Content-Type": "application/x-www-form-urlencoded"}
        async with it.session.post(url, data=form, headers=headers) as answer:
            row = await answer.json()
        assert (row["side"], row["origQty"]) == ("BUY", "0.020")


async def test_unknown_paths_and_methods() -> None:
    async with rig() as it:
        for method, path in (
            ("GET", "/fapi/v9/account"),
            ("GET", "/fapi/v1/nothing"),
            ("POST", "/fapi/v1/depth"),
            ("PATCH", "/fapi/v1/order"),
        ):
            async with it.session.request(method, it.base + path, headers={"X-MBX-APIKEY": KEY}) as answer:
                assert (answer.status, answer.content_type) == (404, "text/html")
                assert "404 Not Found" in await answer.text()
        async with it.session.get(f"{it.base}/ws-fapi/v1", headers={"Upgrade": "websocket", "Connection": "Upgrade"}) as answer:
            assert answer.status == 404


@pytest.mark.parametrize(
    ("code", "status"),
    [(-1000, 500), (-1001, 500), (-1002, 401), (-1006, 500), (-1007, 408), (-1008, 503), (-1003, 429), (-1015, 429), (-1016, 400),
     (-1020, 400), (-1099, 401), (-2018, 400), (-2020, 400), (-2023, 400), (-2026, 400), (-4087, 400), (-4088, 400), (-4117, 400),
     (-4140, 400), (-4141, 400), (-4142, 400), (-4192, 400), (-4400, 400), (-5028, 400)],
)  # fmt: skip
async def test_what_the_exchange_alone_decides_can_be_injected(code: int, status: int) -> None:
    """Codes that no client causes: a fault answers them, with the status that belongs to them."""
    fault = Fault(kind=FaultKind.REFUSE, match=Match(verb=Verb.PLACE), code=code, message="so it is")
    async with rig(faults=Faults([fault])) as it:
        assert await it.call("POST", V1 + "order", MARKET) == (status, {"code": code, "msg": "so it is"})
        assert (await it.call("POST", V1 + "order", MARKET))[0] == 200


# weights, counters, bans


async def test_headers_tell_weights_and_counts() -> None:
    async with rig() as it:

        async def headers(method: str, path: str, params: dict[str, Any]) -> dict[str, str]:
            text = "&".join(f"{name}={value}" for name, value in params.items()) + f"&timestamp={wall_ms()}&recvWindow=60000"
            url = f"{it.base}{path}?{text}&signature={signature(text)}"
            async with it.session.request(method, url, headers={"X-MBX-APIKEY": KEY}) as answer:
                assert answer.content_type == "application/json"
                return {name: value for name, value in answer.headers.items() if name.startswith("X-MBX")}

        before = int((await headers("GET", "/fapi/v1/openOrders", {"symbol": "BTCUSDT"}))["X-MBX-USED-WEIGHT-1M"])
        found = await headers("POST", "/fapi/v1/order", MARKET)
        assert {"X-MBX-USED-WEIGHT-1M", "X-MBX-ORDER-COUNT-10S", "X-MBX-ORDER-COUNT-1M"} == set(found)
        assert (found["X-MBX-ORDER-COUNT-10S"], found["X-MBX-ORDER-COUNT-1M"]) == ("1", "1")
        found = await headers("POST", "/fapi/v1/algoOrder", STOP)
        assert found["X-MBX-ORDER-COUNT-1M"] in ("1", "2")  # a minute may end between two calls
        found = await headers("GET", "/fapi/v1/openOrders", {"recvWindows": "x"})
        assert int(found["X-MBX-USED-WEIGHT-1M"]) in (before + 40, 40)


@pytest.mark.parametrize("limits", [(3, 100), (100, 3)])
async def test_too_many_orders(limits: tuple[int, int]) -> None:
    async with rig(order_limits=limits) as it:
        answers = [await it.call("POST", V1 + "order", MARKET) for _ in range(8)]
        refused = [row for status, row in answers if status == 429]
        assert refused
        words = "10 SECOND" if limits[0] == 3 else "1 MINUTE"
        assert refused[0] == {"code": -1015, "msg": f"Too many new orders; current limit is 3 orders per {words}."}
        assert (await it.call("GET", V1 + "openOrders"))[0] == 200, "reading goes on"


async def test_429_then_418_then_banned_until() -> None:
    async with rig(weight_limit=50) as it:
        seen = []
        for _ in range(80):
            status, answer = await it.call("GET", V1 + "openOrders")
            seen.append(status)
            if status == 418:
                break
        assert seen[0] == 200
        assert 429 in seen
        assert answer["code"] == -1003
        until = it.server.limits.banned_until_ms
        assert f"banned until {until}." in answer["msg"]
        assert until - it.server.requests[-1].at_ms == 120_000
        for method, path in (("GET", V1 + "ping"), ("POST", V1 + "order"), ("POST", V1 + "listenKey")):
            assert (await it.call(method, path))[0] == 418, "a ban is for everything"
