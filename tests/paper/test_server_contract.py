"""What answers of the paper server say; batches, faults and the record of the server itself."""

import asyncio
import json
import socket
from datetime import datetime
from typing import Any

import aiohttp
import pytest

from qtkit.core.model import E8, ONE, OrderKind, PolicyError, Ticks
from qtkit.paper.exchange import Exchange
from qtkit.paper.faults import Fault, FaultKind, Faults, Match, Verb
from qtkit.paper.server import PaperServer, PortInUse
from qtkit.paper.wire import decimal, money
from tests.paper.server_rig import KEY, Rig, rig

MARKET = {"symbol": "BTCUSDT", "type": "MARKET", "quantity": "0.010", "newOrderRespType": "RESULT"}
STOP = {"symbol": "BTCUSDT", "type": "STOP_MARKET", "algoType": "CONDITIONAL", "quantity": "0.010", "reduceOnly": "true"}
SIDES = (("BUY", "SELL", 1), ("SELL", "BUY", -1))


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
async def test_what_answers_say(opening: str, closing: str, sign: int) -> None:
    async with rig() as it:
        placed = await ok(it, "POST", "/fapi/v1/order", {**MARKET, "side": opening})
        assert (placed["status"], placed["executedQty"]) == ("FILLED", "0.010")
        acked = await ok(it, "POST", "/fapi/v1/order", {**MARKET, "side": opening, "newOrderRespType": "ACK"})
        assert (acked["status"], acked["executedQty"]) == ("NEW", "0.000")
        algo = await ok(it, "POST", "/fapi/v1/algoOrder", {**STOP, "side": closing, "triggerPrice": 96_000 - sign * 500})
        assert (algo["activatePrice"], algo["algoStatus"], algo["triggerTime"]) == ("", "NEW", 0)
        assert (await ok(it, "GET", "/fapi/v1/algoOrder", {"algoId": algo["algoId"]}))["actualOrderId"] == ""
        (risk,) = await ok(it, "GET", "/fapi/v3/positionRisk")
        assert risk["positionAmt"] == ("" if sign > 0 else "-") + "0.020"
        assert (float(risk["notional"]) > 0) is (sign > 0)
        assert len(await ok(it, "GET", "/fapi/v2/positionRisk")) == len(it.exchange.facts)
        account = await ok(it, "GET", "/fapi/v3/account")
        assert [row["symbol"] for row in account["positions"]] == ["BTCUSDT"]
        assert len((await ok(it, "GET", "/fapi/v2/account"))["positions"]) == len(it.exchange.facts)


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


async def test_a_symbol_without_a_price_is_told_as_one() -> None:
    """As a market of Binance that does not trade yet: prices of nought, no code of an order filter; lists leave it out."""
    async with rig() as it:
        name = {"symbol": "XRPUSDT"}
        mark = await ok(it, "GET", "/fapi/v1/premiumIndex", name, sign=False)
        assert (mark["symbol"], mark["markPrice"], mark["lastFundingRate"]) == ("XRPUSDT", "0.00000000", "0.00000000") and mark["time"] > 0
        for path in ("/fapi/v1/ticker/price", "/fapi/v2/ticker/price"):
            assert (await ok(it, "GET", path, name, sign=False))["price"] == "0"
        row = await ok(it, "GET", "/fapi/v1/ticker/bookTicker", name, sign=False)
        assert (row["bidPrice"], row["askPrice"]) == ("0", "0")
        assert (await ok(it, "GET", "/fapi/v1/ticker/24hr", name, sign=False))["priceChangePercent"] == "0.000"
        depth = await ok(it, "GET", "/fapi/v1/depth", name, sign=False)
        assert depth["bids"] == depth["asks"] == []
        for path in ("/fapi/v1/premiumIndex", "/fapi/v1/ticker/bookTicker", "/fapi/v1/ticker/24hr"):
            assert {row["symbol"] for row in await ok(it, "GET", path, sign=False)} == {"BTCUSDT", "LTCUSDT", "ETHUSDT"}
        status, told = await it.call("POST", "/fapi/v1/order", {**MARKET, **name, "side": "BUY", "quantity": "10"})
        assert status == 400 and told["code"] == -4131, "an order is another matter"
        status, told = await it.call("GET", "/fapi/v1/premiumIndex", {"symbol": "XRPUSD"}, sign=False)
        assert status == 400 and told["code"] == -1121


@pytest.mark.parametrize(
    ("interval", "first", "after"),
    [("3d", "2026-01-13", "2026-01-16"), ("1w", "2026-01-12", "2026-01-19"), ("1M", "2026-01-01", "2026-02-01")],
)
async def test_bars_longer_than_a_day(interval: str, first: str, after: str) -> None:
    start, end = (int(datetime.fromisoformat(f"{day}T00:00+00:00").timestamp() * 1_000) for day in (first, after))
    exchange = Exchange(start_ms=start)
    tick = exchange.facts["BTCUSDT"].instrument.tick
    for number, price in enumerate((100, 130, 90, 110)):
        for at_ms in (start + number * 3_600_000, end - 60_000 + number * 1_000):
            if at_ms >= exchange.now_ms:
                exchange.tick("BTCUSDT", Ticks(price * ONE // tick), E8(price * ONE), at_ms)
    exchange.tick("BTCUSDT", Ticks(105 * ONE // tick), E8(105 * ONE), end)
    exchange.open_account("main", balance=E8(ONE))
    rest = PaperServer(exchange, keys={KEY: ("s", "main")})._rest
    rows = json.loads(rest.answer("GET", f"/fapi/v1/klines?symbol=BTCUSDT&interval={interval}", "", None, 0).text)
    assert (rows[0][0], rows[0][6]) == (start, end - 1)
    assert [row[0] for row in rows][1:] == [end]
    assert rows[0][1:4] == ["100", "130", "90"]


async def test_histories_tell_a_week_and_forget_what_came_to_nothing() -> None:
    """Cancelled without a fill: three days. Anything: ninety. Lists: seven days at a time."""
    day = 24 * 3_600_000
    async with rig() as it:
        symbol = {"symbol": "BTCUSDT"}
        limit = symbol | {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "95000"}
        await ok(it, "POST", "/fapi/v1/order", {**MARKET, "side": "BUY", "newClientOrderId": "filled"})
        await ok(it, "POST", "/fapi/v1/order", {**limit, "newClientOrderId": "nothing"})
        await ok(it, "DELETE", "/fapi/v1/order", symbol | {"origClientOrderId": "nothing"})
        await ok(it, "POST", "/fapi/v1/algoOrder", {**STOP, "side": "SELL", "triggerPrice": "50000", "clientAlgoId": "stop"})
        await ok(it, "DELETE", "/fapi/v1/algoOrder", {"clientAlgoId": "stop"})
        born = it.at_ms

        async def seen() -> dict[str, Any]:
            found: dict[str, Any] = {}
            for name in ("filled", "nothing"):
                found[name] = (await it.call("GET", "/fapi/v1/order", symbol | {"origClientOrderId": name}))[0] == 200
            found["stop"] = (await it.call("GET", "/fapi/v1/algoOrder", {"clientAlgoId": "stop"}))[0] == 200
            for path in ("allOrders", "allAlgoOrders", "userTrades", "income"):
                found[path] = len(await ok(it, "GET", f"/fapi/v1/{path}", symbol if path != "income" else {}))
            return found

        everything = {"filled": True, "nothing": True, "stop": True, "allOrders": 2, "allAlgoOrders": 1, "userTrades": 1, "income": 2}
        assert await seen() == everything
        it.exchange.advance(born + 3 * day + 1_000)
        younger = everything | {"nothing": False, "stop": False, "allOrders": 1, "allAlgoOrders": 0}
        assert await seen() == younger
        it.exchange.advance(born + 7 * day + 1_000)
        assert await seen() == younger | {"allOrders": 0, "userTrades": 0, "income": 0}
        dated = symbol | {"startTime": born - day}
        assert len(await ok(it, "GET", "/fapi/v1/userTrades", dated)) == len(await ok(it, "GET", "/fapi/v1/allOrders", dated)) == 1
        assert len(await ok(it, "GET", "/fapi/v1/userTrades", symbol | {"fromId": 1})) == 1
        assert await ok(it, "GET", "/fapi/v1/userTrades", symbol | {"endTime": born - day}) == []
        it.exchange.advance(born + 90 * day + 1_000)
        assert (await seen())["filled"] is False


async def test_orders_with_a_date_tell_it_and_end_at_it() -> None:
    async with rig() as it:
        symbols = (await ok(it, "GET", "/fapi/v1/exchangeInfo", sign=False))["symbols"]
        assert all("GTD" in row["timeInForce"] for row in symbols)
        date = (it.exchange.now_ms // 1_000 + 700) * 1_000
        dated = {"symbol": "BTCUSDT", "side": "BUY", "timeInForce": "GTD", "goodTillDate": date + 999, "quantity": "0.01"}
        placed = await ok(it, "POST", "/fapi/v1/order", dated | {"type": "LIMIT", "price": "95000"})
        stop = dated | {"algoType": "CONDITIONAL", "type": "STOP", "triggerPrice": "97000", "price": "97000"}
        assert (placed["goodTillDate"], (await ok(it, "POST", "/fapi/v1/algoOrder", stop))["goodTillDate"]) == (date, date)
        for path in ("openOrders", "openAlgoOrders"):
            assert [row["goodTillDate"] for row in await ok(it, "GET", f"/fapi/v1/{path}")] == [date]
        it.exchange.advance(date)
        assert await ok(it, "GET", "/fapi/v1/openOrders") == await ok(it, "GET", "/fapi/v1/openAlgoOrders") == []
        assert (await ok(it, "GET", "/fapi/v1/order", {"symbol": "BTCUSDT", "orderId": placed["orderId"]}))["status"] == "EXPIRED"


async def test_deleveraging_is_told_to_its_owner_alone() -> None:
    async with rig() as it, it.session.ws_connect(f"{it.base}/ws/!forceOrder@arr") as ws:
        await ok(it, "POST", "/fapi/v1/order", {**MARKET, "side": "BUY"})
        it.exchange.deleverage(it.exchange.accounts["main"], "BTCUSDT")
        for kind, count in (("", 1), ("ADL", 1), ("LIQUIDATION", 0)):
            rows = await ok(it, "GET", "/fapi/v1/forceOrders", {"autoCloseType": kind})
            assert [row["clientOrderId"][:14] for row in rows] == ["adl_autoclose-"] * count
        with pytest.raises(TimeoutError):
            await ws.receive(timeout=0.1)


async def test_price_match_takes_what_the_book_shows() -> None:
    async with rig() as it:
        _, shown = await it.call("GET", "/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": 5}, sign=False)
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
        for match, side, level in (("QUEUE", "bids", 0), ("QUEUE_5", "bids", 4), ("OPPONENT", "asks", 0), ("OPPONENT_5", "asks", 4)):
            row = await ok(it, "POST", "/fapi/v1/order", order | {"priceMatch": match})
            assert float(row["price"]) == float(shown[side][level][0]), match


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


async def test_countdown_cancels_regular_orders() -> None:
    async with rig() as it:
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "95000"}
        await ok(it, "POST", "/fapi/v1/order", order)
        for delay in ("60000", "20"):
            answer = await ok(it, "POST", "/fapi/v1/countdownCancelAll", {"symbol": "BTCUSDT", "countdownTime": delay})
            assert answer == {"symbol": "BTCUSDT", "countdownTime": delay}
        await asyncio.sleep(0.05)
        assert await ok(it, "GET", "/fapi/v1/openOrders") == []


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
