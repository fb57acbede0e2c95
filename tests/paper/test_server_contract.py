"""Field names and JSON types of what a strict typed Binance client reads; limits, faults and the record of the server itself."""

import asyncio
import json
import socket
from typing import Any

import aiohttp
import pytest

from qtkit.core.model import E8, ONE, OrderKind, PolicyError
from qtkit.paper.exchange import Exchange
from qtkit.paper.faults import Fault, FaultKind, Faults, Match, Verb
from qtkit.paper.server import PaperServer, PortInUse
from qtkit.paper.wire import decimal, money
from tests.paper.server_rig import KEY, Rig, rig

TEXT, WHOLE, FLAG = str, int, bool
ORDER = {
    "orderId": WHOLE, "symbol": TEXT, "status": TEXT, "clientOrderId": TEXT, "price": TEXT, "avgPrice": TEXT, "origQty": TEXT,
    "executedQty": TEXT, "cumQuote": TEXT, "timeInForce": TEXT, "type": TEXT, "reduceOnly": FLAG, "closePosition": FLAG, "side": TEXT,
    "positionSide": TEXT, "stopPrice": TEXT, "workingType": TEXT, "priceProtect": FLAG, "origType": TEXT, "priceMatch": TEXT,
    "selfTradePreventionMode": TEXT, "goodTillDate": WHOLE, "updateTime": WHOLE,
}  # fmt: skip
ALGO = {
    "algoId": WHOLE, "clientAlgoId": TEXT, "algoType": TEXT, "orderType": TEXT, "symbol": TEXT, "side": TEXT, "positionSide": TEXT,
    "timeInForce": TEXT, "quantity": TEXT, "algoStatus": TEXT, "triggerPrice": TEXT, "price": TEXT, "icebergQuantity": type(None),
    "selfTradePreventionMode": TEXT, "workingType": TEXT, "priceMatch": TEXT, "closePosition": FLAG, "priceProtect": FLAG,
    "reduceOnly": FLAG, "activatePrice": TEXT, "callbackRate": TEXT, "createTime": WHOLE, "updateTime": WHOLE, "triggerTime": WHOLE,
    "goodTillDate": WHOLE,
}  # fmt: skip
ALGO_QUERY = ALGO | {"actualOrderId": TEXT, "actualPrice": TEXT, "actualType": TEXT, "actualQty": TEXT, "tpOrderType": TEXT}
RISK = {
    "symbol": TEXT, "positionSide": TEXT, "positionAmt": TEXT, "entryPrice": TEXT, "breakEvenPrice": TEXT, "markPrice": TEXT,
    "unRealizedProfit": TEXT, "liquidationPrice": TEXT, "isolatedMargin": TEXT, "notional": TEXT, "isolatedWallet": TEXT,
    "updateTime": WHOLE,
}  # fmt: skip
RISK_V3 = RISK | {"marginAsset": TEXT, "initialMargin": TEXT, "maintMargin": TEXT, "adl": WHOLE}
RISK_V2 = RISK | {"leverage": TEXT, "marginType": TEXT, "maxNotionalValue": TEXT, "isAutoAddMargin": TEXT}
ASSET = {
    "asset": TEXT, "walletBalance": TEXT, "unrealizedProfit": TEXT, "marginBalance": TEXT, "maintMargin": TEXT, "initialMargin": TEXT,
    "positionInitialMargin": TEXT, "openOrderInitialMargin": TEXT, "crossWalletBalance": TEXT, "crossUnPnl": TEXT,
    "availableBalance": TEXT, "maxWithdrawAmount": TEXT, "updateTime": WHOLE,
}  # fmt: skip
TRADE = {
    "symbol": TEXT, "id": WHOLE, "orderId": WHOLE, "side": TEXT, "price": TEXT, "qty": TEXT, "realizedPnl": TEXT, "quoteQty": TEXT,
    "commission": TEXT, "commissionAsset": TEXT, "time": WHOLE, "positionSide": TEXT, "maker": FLAG, "buyer": FLAG,
}  # fmt: skip
TOTALS = (
    "totalInitialMargin", "totalMaintMargin", "totalWalletBalance", "totalUnrealizedProfit", "totalMarginBalance",
    "totalPositionInitialMargin", "totalOpenOrderInitialMargin", "totalCrossWalletBalance", "totalCrossUnPnl", "availableBalance",
    "maxWithdrawAmount",
)  # fmt: skip
MARKET = {"symbol": "BTCUSDT", "type": "MARKET", "quantity": "0.010", "newOrderRespType": "RESULT"}
STOP = {"symbol": "BTCUSDT", "type": "STOP_MARKET", "algoType": "CONDITIONAL", "quantity": "0.010", "reduceOnly": "true"}
SIDES = (("BUY", "SELL", 1), ("SELL", "BUY", -1))


def fits(row: dict[str, Any], fields: dict[str, type]) -> None:
    wrong = {name: row.get(name, "missing") for name, kind in fields.items() if type(row.get(name, ...)) is not kind}
    assert not wrong


async def ok(it: Rig, method: str, path: str, params: dict[str, Any] | str = "", **extra: Any) -> Any:
    status, answer = await it.call(method, path, params, **extra)
    assert status == 200, answer
    return answer


async def code(it: Rig, method: str, path: str, params: dict[str, Any] | str = "", **extra: Any) -> tuple[int, int]:
    status, answer = await it.call(method, path, params, **extra)
    return status, answer["code"]


@pytest.mark.parametrize(("value", "digits", "text"), [(0, 2, "0.00"), (150_000_000, 1, "1.5"), (-1, 2, "-0.00000001"), (ONE, 0, "1"),
                                                       (-250_000_000, 3, "-2.500"), (123_456_000, 1, "1.23456")])  # fmt: skip
def test_decimals(value: int, digits: int, text: str) -> None:
    assert decimal(value, digits) == text
    assert float(money(value)) == value / ONE


@pytest.mark.parametrize(("opening", "closing", "sign"), SIDES)
async def test_documented_fields(opening: str, closing: str, sign: int) -> None:
    async with rig() as it:
        placed = await ok(it, "POST", "/fapi/v1/order", {**MARKET, "side": opening})
        fits(placed, ORDER | {"cumQty": TEXT})
        assert (placed["status"], placed["executedQty"]) == ("FILLED", "0.010")
        acked = await ok(it, "POST", "/fapi/v1/order", {**MARKET, "side": opening, "newOrderRespType": "ACK"})
        assert (acked["status"], acked["executedQty"]) == ("NEW", "0.000")
        fits(await ok(it, "GET", "/fapi/v1/order", {"symbol": "BTCUSDT", "orderId": placed["orderId"]}), ORDER | {"time": WHOLE})
        algo = await ok(it, "POST", "/fapi/v1/algoOrder", {**STOP, "side": closing, "triggerPrice": 96_000 - sign * 500})
        fits(algo, ALGO)
        assert (algo["activatePrice"], algo["algoStatus"], algo["triggerTime"]) == ("", "NEW", 0)
        queried = await ok(it, "GET", "/fapi/v1/algoOrder", {"algoId": algo["algoId"]})
        fits(queried, ALGO_QUERY)
        assert queried["actualOrderId"] == ""
        (risk,) = await ok(it, "GET", "/fapi/v3/positionRisk")
        fits(risk, RISK_V3)
        assert "leverage" not in risk
        assert risk["positionAmt"] == ("" if sign > 0 else "-") + "0.020"
        assert (float(risk["notional"]) > 0) is (sign > 0)
        rows = await ok(it, "GET", "/fapi/v2/positionRisk")
        assert len(rows) == len(it.exchange.facts)
        for row in rows:
            fits(row, RISK_V2)
        account = await ok(it, "GET", "/fapi/v3/account")
        fits(account, dict.fromkeys(TOTALS, TEXT))
        fits(account["assets"][0], ASSET)
        assert [row["symbol"] for row in account["positions"]] == ["BTCUSDT"]
        old = await ok(it, "GET", "/fapi/v2/account")
        fits(old, dict.fromkeys(TOTALS, TEXT) | {"feeTier": WHOLE, "canTrade": FLAG, "multiAssetsMargin": FLAG})
        assert len(old["positions"]) == len(it.exchange.facts)
        for version in ("v2", "v3"):
            (row,) = await ok(it, "GET", f"/fapi/{version}/balance")
            fits(row, {"accountAlias": TEXT, "asset": TEXT, "balance": TEXT, "availableBalance": TEXT, "updateTime": WHOLE})
        for row in await ok(it, "GET", "/fapi/v1/userTrades", {"symbol": "BTCUSDT"}):
            fits(row, TRADE)
        for row in await ok(it, "GET", "/fapi/v1/income"):
            fits(row, {"symbol": TEXT, "incomeType": TEXT, "income": TEXT, "asset": TEXT, "time": WHOLE, "tranId": WHOLE, "tradeId": TEXT})


async def test_small_answers() -> None:
    async with rig() as it:
        assert await ok(it, "GET", "/fapi/v1/ping", sign=False) == {}
        info = await ok(it, "GET", "/fapi/v1/exchangeInfo", sign=False)
        row = next(row for row in info["symbols"] if row["symbol"] == "BTCUSDT")
        filters = {entry["filterType"]: entry for entry in row["filters"]}
        assert (filters["PRICE_FILTER"]["tickSize"], filters["LOT_SIZE"]["stepSize"], row["status"]) == ("0.1", "0.001", "TRADING")
        assert (row["contractType"], row["deliveryDate"], row["triggerProtect"]) == ("PERPETUAL", 4_133_404_800_000, "0.0500")
        for path in ("/fapi/v1/ticker/price", "/fapi/v2/ticker/price"):
            assert (await ok(it, "GET", path, {"symbol": "BTCUSDT"}, sign=False))["price"] == "96000"
            assert len(await ok(it, "GET", path, sign=False)) == 3
        assert len(await ok(it, "GET", "/fapi/v1/fundingInfo", sign=False)) == len(it.exchange.facts)
        assert await ok(it, "GET", "/fapi/v1/multiAssetsMargin") == {"multiAssetsMargin": False}
        assert (await ok(it, "GET", "/fapi/v1/accountConfig"))["dualSidePosition"] is False
        assert [row["limit"] for row in await ok(it, "GET", "/fapi/v1/rateLimit/order")] == [300, 1_200]
        assert await ok(it, "GET", "/fapi/v1/forceOrders") == []
        brackets = await ok(it, "GET", "/fapi/v1/leverageBracket", {"symbol": "BTCUSDT"})
        assert brackets["brackets"][0] == {
            "bracket": 1, "initialLeverage": 150, "notionalCap": 300_000, "notionalFloor": 0, "maintMarginRatio": 0.004, "cum": 0,
        }  # fmt: skip
        assert (await ok(it, "POST", "/fapi/v1/order/test", {**MARKET, "side": "BUY"}))["status"] == "NEW"
        assert await ok(it, "GET", "/fapi/v3/positionRisk") == []
        await ok(it, "POST", "/fapi/v1/marginType", {"symbol": "BTCUSDT", "marginType": "ISOLATED"})
        await ok(it, "POST", "/fapi/v1/order", {**MARKET, "side": "BUY"})
        added = await ok(it, "POST", "/fapi/v1/positionMargin", {"symbol": "BTCUSDT", "amount": "10.5", "type": "1"})
        assert (added["amount"], added["type"]) == (10.5, 1)


async def test_batch_tells_each_outcome() -> None:
    async with rig() as it:
        good = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "95000"}
        orders = json.dumps([good, {**good, "price": "95000.05"}, {**good, "newClientOrderId": "b3"}], separators=(",", ":"))
        rows = await ok(it, "POST", "/fapi/v1/batchOrders", f"batchOrders={orders}")
        assert [row.get("code", 0) for row in rows] == [0, -4014, 0]
        changed = json.dumps([{"symbol": "BTCUSDT", "side": "BUY", "origClientOrderId": "b3", "quantity": "0.02", "price": "94000"}])
        (row,) = await ok(it, "PUT", "/fapi/v1/batchOrders", {"batchOrders": changed})
        assert (row["price"], row["origQty"]) == ("94000.00", "0.020")
        both = await ok(it, "DELETE", "/fapi/v1/batchOrders", {"symbol": "BTCUSDT", "orderIdList": f"[{rows[0]['orderId']},12]"})
        assert [row.get("code", row.get("status")) for row in both] == ["CANCELED", -2011]
        assert await code(it, "POST", "/fapi/v1/batchOrders", {"batchOrders": json.dumps([good] * 6)}) == (400, -4082)
        assert await code(it, "POST", "/fapi/v1/batchOrders", {"batchOrders": "nonsense"}) == (400, -1130)


async def test_countdown_cancels_regular_orders() -> None:
    async with rig() as it:
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "95000"}
        await ok(it, "POST", "/fapi/v1/order", order)
        for delay in ("60000", "20"):
            answer = await ok(it, "POST", "/fapi/v1/countdownCancelAll", {"symbol": "BTCUSDT", "countdownTime": delay})
            assert answer == {"symbol": "BTCUSDT", "countdownTime": delay}
        await asyncio.sleep(0.05)
        assert await ok(it, "GET", "/fapi/v1/openOrders") == []


async def test_refusals_of_shape() -> None:
    async with rig() as it:
        limit = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "0.01", "price": "95000"}
        wrong: list[tuple[dict[str, Any], int]] = [
            (limit, -1102),
            ({**limit, "timeInForce": "GTD"}, -1115),
            ({**limit, "side": "UP"}, -1117),
            ({**limit, "type": "ICEBERG"}, -1116),
            ({**limit, "symbol": "NOPEUSDT"}, -1121),
            ({**limit, "timeInForce": "GTC", "price": "95000.001"}, -1111),
            ({**limit, "timeInForce": "GTC", "price": "95000.05"}, -4014),
            ({**limit, "timeInForce": "GTC", "reduceOnly": "maybe"}, -1130),
            ({**limit, "timeInForce": "GTC", "priceMatch": "OPPONENT"}, -1130),
        ]
        for params, expected in wrong:
            assert (await code(it, "POST", "/fapi/v1/order", params))[1] == expected, params
        assert await code(it, "POST", "/fapi/v1/algoOrder", {**STOP, "side": "SELL", "algoType": "TWAP"}) == (400, -1130)
        assert await code(it, "GET", "/fapi/v1/order", {"symbol": "BTCUSDT"}) == (400, -1102)
        assert await code(it, "GET", "/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "7m"}, sign=False) == (400, -1120)
        assert await code(it, "GET", "/fapi/v1/allOrders", {"startTime": 0, "endTime": 700_000_000}) == (400, -1127)


async def test_unsigned_wrong_and_unknown_requests() -> None:
    async with rig() as it:
        assert await code(it, "GET", "/fapi/v3/account", sign=False) == (400, -1102)
        assert await code(it, "GET", "/fapi/v3/account", key="") == (401, -2014)
        assert await code(it, "GET", "/fapi/v3/account", key="x" * 64) == (401, -2015)
        assert await code(it, "GET", "/fapi/v3/account", secret="other") == (400, -1022)
        assert await code(it, "GET", "/fapi/v3/account", timestamp=1) == (400, -1021)
        assert await code(it, "POST", "/fapi/v1/listenKey", key="", sign=False) == (401, -2014)
        for method, path in (("GET", "/papi/v1/um/account"), ("GET", "/sapi/v1/account"), ("PATCH", "/fapi/v1/order"), ("GET", "/")):
            status, page = await it.call(method, path)
            assert status == 404
            assert "<html>" in page


async def test_weights_429_418_and_history() -> None:
    async with rig(weight_limit=100) as it:
        async with it.session.get(f"{it.base}/fapi/v1/ticker/24hr") as answer:
            assert answer.headers["X-MBX-USED-WEIGHT-1M"] == "40"
        answers = [await it.call("GET", "/fapi/v1/openOrders") for _ in range(80)]  # more than two minutes' worth: one may end meanwhile
        assert [status for status, _ in answers][:1] + sorted({status for status, _ in answers}) == [200, 200, 418, 429]
        status, last = answers[-1]
        assert (status, last["code"]) == (418, -1003)
        assert str(it.server.limits.banned_until_ms) in last["msg"]
        assert sum(it.server.weight_used(minute) for minute in it.server.limits.history) >= 120


async def test_order_counters() -> None:
    async with rig(order_limits=(2, 100)) as it:
        answers = [await it.call("POST", "/fapi/v1/order", {**MARKET, "side": "BUY"}) for _ in range(6)]
        assert answers[0][0] == 200
        assert (429, -1015) in [(status, row.get("code")) for status, row in answers]
        assert len(await ok(it, "GET", "/fapi/v1/userTrades", {"symbol": "BTCUSDT"})) == sum(status == 200 for status, _ in answers)


async def test_records_are_without_secrets() -> None:
    async with rig() as it:
        await ok(it, "POST", "/fapi/v1/order", {**MARKET, "side": "BUY"})
        await it.call("GET", "/fapi/v1/order", {"symbol": "BTCUSDT", "orderId": 5})
        first, second = it.server.requests
        assert (first.account, first.method, first.path) == ("main", "POST", "/fapi/v1/order")
        assert (first.status, first.code, first.weight) == (200, 0, 0)
        assert (second.code, second.weight, second.params["orderId"]) == (-2013, 1, "5")
        assert "signature" not in first.params
        assert KEY not in repr(it.server.requests)


@pytest.mark.parametrize(
    ("kind", "status", "answered", "lives"),
    [
        (FaultKind.ACCEPT_TIMEOUT, 408, -1007, True),
        (FaultKind.TIMEOUT, 408, -1007, False),
        (FaultKind.ACCEPT_503, 503, None, True),
        (FaultKind.FAIL_503, 503, None, False),
        (FaultKind.REFUSE, 503, -1008, False),
        (FaultKind.DUPLICATE, 200, None, True),
    ],
)
async def test_faults_of_placing(kind: FaultKind, status: int, answered: int | None, lives: bool) -> None:
    fault = Fault(kind=kind, match=Match(verb=Verb.PLACE, conditional=True, kinds=frozenset({OrderKind.STOP_MARKET})))
    async with rig(faults=Faults([fault])) as it:
        await ok(it, "POST", "/fapi/v1/order", {**MARKET, "side": "BUY"})
        got, answer = await it.call("POST", "/fapi/v1/algoOrder", {**STOP, "side": "SELL", "triggerPrice": "95000", "clientAlgoId": "s1"})
        assert (got, answer.get("code") if isinstance(answer, dict) else None) == (status, answered)
        assert len(await ok(it, "GET", "/fapi/v1/openAlgoOrders")) == int(lives)


@pytest.mark.parametrize(("kind", "lives"), [(FaultKind.ACCEPT_DROP, True), (FaultKind.DROP, False)])
async def test_dropped_connections(kind: FaultKind, lives: bool) -> None:
    async with rig(faults=Faults([Fault(kind=kind, match=Match(verb=Verb.PLACE))])) as it:
        with pytest.raises(aiohttp.ClientError):
            await it.call("POST", "/fapi/v1/order", {**MARKET, "side": "BUY"})
        assert len(await ok(it, "GET", "/fapi/v3/positionRisk")) == int(lives)
        assert it.server.requests[0].status == 0


async def test_faults_of_reading() -> None:
    script = [
        Fault(kind=FaultKind.READ_LAG, delay_ms=5_000, match=Match(verb=Verb.ORDERS, conditional=True)),
        Fault(kind=FaultKind.READ_LAG, delay_ms=5_000, match=Match(verb=Verb.LOOKUP, conditional=True)),
        Fault(kind=FaultKind.NOT_FOUND, match=Match(verb=Verb.CANCEL, conditional=True)),
        Fault(kind=FaultKind.EMPTY, match=Match(verb=Verb.POSITIONS)),
        Fault(kind=FaultKind.PARTIAL, match=Match(verb=Verb.ORDERS, conditional=False)),
    ]
    async with rig(faults=Faults(script)) as it:
        await ok(it, "POST", "/fapi/v1/order", {**MARKET, "side": "BUY"})
        stop = await ok(it, "POST", "/fapi/v1/algoOrder", {**STOP, "side": "SELL", "triggerPrice": "95000"})
        assert await ok(it, "GET", "/fapi/v1/openAlgoOrders") == []
        assert await code(it, "GET", "/fapi/v1/algoOrder", {"algoId": stop["algoId"]}) == (400, -2013)
        assert await code(it, "DELETE", "/fapi/v1/algoOrder", {"algoId": stop["algoId"]}) == (400, -2011)
        assert await ok(it, "GET", "/fapi/v3/positionRisk") == []
        assert (await it.call("GET", "/fapi/v1/openOrders"))[0] == 503
        assert len(await ok(it, "GET", "/fapi/v1/openAlgoOrders")) == 1
        assert len(await ok(it, "GET", "/fapi/v3/positionRisk")) == 1


async def test_stuck_triggering() -> None:
    async with rig(faults=Faults([Fault(kind=FaultKind.STUCK_TRIGGERING, match=Match(verb=Verb.TRIGGER))])) as it:
        await ok(it, "POST", "/fapi/v1/order", {**MARKET, "side": "BUY"})
        stop = await ok(it, "POST", "/fapi/v1/algoOrder", {**STOP, "side": "SELL", "triggerPrice": "95000"})
        it.tick("BTCUSDT", "94900")
        assert (await ok(it, "GET", "/fapi/v1/algoOrder", {"algoId": stop["algoId"]}))["algoStatus"] == "TRIGGERING"
        assert await code(it, "DELETE", "/fapi/v1/algoOrder", {"algoId": stop["algoId"]}) == (400, -2011)
        assert len(await ok(it, "GET", "/fapi/v3/positionRisk")) == 1


async def test_server_refuses_what_it_must_not_serve() -> None:
    exchange = Exchange()
    exchange.open_account("main", balance=E8(ONE))
    with pytest.raises(PolicyError, match="no account is called other"):
        PaperServer(exchange, keys={KEY: ("s", "other")})
    server = PaperServer(exchange, keys={KEY: ("s", "main")})
    for host in ("0.0.0.0", "192.168.1.5", "example.org"):
        with pytest.raises(PolicyError, match="loopback only"):
            await server.start(host)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} on 127.0.0.1 is in use"):
            await server.start(port=port)
    await server.stop()
    assert await server.start() == server.port > 0
    await server.stop()
    assert not exchange.listeners
    assert not exchange.price_listeners
