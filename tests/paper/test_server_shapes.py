"""Every answer and every event, field by field, against the documented shapes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from qtkit.core.model import E8, ONE
from qtkit.paper.rest import ROUTES
from tests.paper import shapes
from tests.paper.server_rig import Rig, rig
from tests.paper.shapes import wrong

LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010", "price": "95000"}
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}
STOP = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "algoType": "CONDITIONAL", "quantity": "0.010", "reduceOnly": "true"}
TRAIL = STOP | {"type": "TRAILING_STOP_MARKET", "callbackRate": "1", "activatePrice": "97000"}
PUBLIC = ("ping", "time", "exchangeInfo", "klines", "Klines", "trades", "aggTrades", "depth", "ticker", "premiumIndex", "funding")
MODES = ("ACK", "RESULT")


async def answered(it: Rig, method: str, path: str, params: dict[str, Any] | None = None, status: int = 200, **extra: Any) -> Any:
    got, answer = await it.call(method, path, params or {}, **extra)
    assert got == status, (path, answer)
    shape = shapes.ANSWERS[method, path]
    if path in shapes.ONE_OF_MANY and isinstance(answer, dict):
        shape = shape[0]
    assert wrong(answer, shape, f"{method} {path}") == []
    if isinstance(shape, list):
        assert answer, f"{method} {path} answered an empty list: its shape was not seen"
    return answer


async def furnish(it: Rig) -> dict[str, Any]:
    """An account in which every list has a row."""
    v1 = "/fapi/v1/"
    await answered(it, "POST", v1 + "marginType", {"symbol": "BTCUSDT", "marginType": "ISOLATED"})
    await answered(it, "POST", v1 + "leverage", {"symbol": "BTCUSDT", "leverage": 10})
    for mode in MODES:
        await answered(it, "POST", v1 + "order", MARKET | {"newOrderRespType": mode})
    order = await answered(it, "POST", v1 + "order", LIMIT | {"newClientOrderId": "rests"})
    for number, params in enumerate((STOP | {"triggerPrice": "94000"}, TRAIL, STOP | {"triggerPrice": "95900"})):
        algo = await answered(it, "POST", v1 + "algoOrder", params | {"clientAlgoId": f"a{number}"})
    it.tick("BTCUSDT", "95890")
    it.exchange.set_funding("BTCUSDT", E8(ONE // 10_000), it.at_ms + 500)
    it.tick("BTCUSDT", "95950")
    return {"order": order["orderId"], "algo": algo["algoId"]}


async def test_every_route_answers_as_documented() -> None:
    async with rig() as it:
        seen = {("POST", f"/fapi/v1/{name}") for name in ("marginType", "leverage", "order", "algoOrder")}

        async def see(method: str, name: str, params: dict[str, Any] | None = None, **extra: Any) -> Any:
            path = name if name.startswith("/") else f"/fapi/v1/{name}"
            seen.add((method, path))
            return await answered(it, method, path, params, **extra)

        ids = await furnish(it)
        await read_prices(see)
        await read_account(see)
        await write_account(see)
        await read_orders(see, ids)
        await write_orders(see)
        await liquidated(it, see)
        assert set(ROUTES) == set(shapes.ANSWERS)
        assert set(ROUTES) - seen == set()


async def read_prices(see: Any) -> None:
    symbol = {"symbol": "BTCUSDT"}
    for name in ("ping", "time", "exchangeInfo", "fundingInfo", "fundingRate"):
        await see("GET", name, sign=False)
    for name in ("trades", "aggTrades", "historicalTrades", "depth"):
        await see("GET", name, symbol | {"limit": 50}, sign=False)
    for path in shapes.ONE_OF_MANY[:-1]:
        await see("GET", path, sign=False)
        await see("GET", path, symbol, sign=False)
    for name, asked in (("klines", "symbol"), ("markPriceKlines", "symbol"), ("indexPriceKlines", "pair"), ("continuousKlines", "pair")):
        await see("GET", name, {asked: "BTCUSDT", "interval": "1m", "contractType": "PERPETUAL"}, sign=False)


async def read_account(see: Any) -> None:
    for version in ("v2", "v3"):
        for name in ("account", "balance", "positionRisk"):
            await see("GET", f"/fapi/{version}/{name}")
    for name in (
        "accountConfig", "symbolConfig", "leverageBracket", "income", "rateLimit/order", "multiAssetsMargin", "feeBurn", "adlQuantile",
        "positionSide/dual", "apiTradingStatus",
    ):  # fmt: skip
        await see("GET", name)
    await see("GET", "leverageBracket", {"symbol": "BTCUSDT"})
    await see("GET", "commissionRate", {"symbol": "BTCUSDT"})
    await see("GET", "/sapi/v1/account/apiRestrictions")


async def write_account(see: Any) -> None:
    await see("POST", "positionMargin", {"symbol": "BTCUSDT", "amount": "10", "type": "1"})
    (moved,) = await see("GET", "positionMargin/history", {"symbol": "BTCUSDT"})
    assert (moved["amount"], moved["type"]) == ("10.00000000", 1)
    refused = await see("POST", "multiAssetsMargin", {"multiAssetsMargin": "false"}, status=400)
    assert refused["code"] == -4171
    assert (await see("POST", "multiAssetsMargin", {"multiAssetsMargin": "true"}, status=400))["code"] == -1020
    key = await see("POST", "listenKey", sign=False)
    assert await see("PUT", "listenKey", sign=False) == key
    await see("DELETE", "listenKey", sign=False)


async def read_orders(see: Any, ids: dict[str, Any]) -> None:
    symbol = {"symbol": "BTCUSDT"}
    for name in ("order", "openOrder"):
        await see("GET", name, symbol | {"orderId": ids["order"]})
    for name in ("openOrders", "allOrders", "userTrades"):
        await see("GET", name, symbol)
    assert (await see("GET", "algoOrder", {"algoId": ids["algo"]}))["actualOrderId"].isdecimal()
    await see("GET", "openAlgoOrders")
    assert {row["algoStatus"] for row in await see("GET", "allAlgoOrders", symbol)} == {"NEW", "FINISHED"}


async def write_orders(see: Any) -> None:
    symbol = {"symbol": "BTCUSDT"}
    for params in (MARKET, LIMIT):
        await see("POST", "order/test", params)
    change = {**symbol, "side": "BUY", "origClientOrderId": "rests", "quantity": "0.02", "price": "94000"}
    await see("PUT", "order", change)
    assert (await see("PUT", "order", change | {"price": "93000", "modifyId": 7}))["modifyId"] == 7
    changes = await see("GET", "orderAmendment", symbol | {"origClientOrderId": "rests"})
    assert [row["amendment"]["price"] for row in changes] == [
        {"before": "94000.00", "after": "93000.00"}, {"before": "95000.00", "after": "94000.00"},
    ]  # fmt: skip
    assert [row["amendment"]["count"] for row in changes] == [2, 1]
    await see("DELETE", "order", symbol | {"origClientOrderId": "rests"})
    batch = json.dumps([LIMIT | {"newClientOrderId": f"b{number}"} for number in range(3)])
    rows = await see("POST", "batchOrders", {"batchOrders": batch})
    await see("PUT", "batchOrders", {"batchOrders": json.dumps([change | {"origClientOrderId": "b0"}])})
    await see("DELETE", "batchOrders", symbol | {"orderIdList": json.dumps([row["orderId"] for row in rows])})
    await see("POST", "countdownCancelAll", symbol | {"countdownTime": 60_000})
    await see("POST", "countdownCancelAll", symbol | {"countdownTime": 0})
    await see("DELETE", "allOpenOrders", symbol)
    await see("DELETE", "algoOrder", {"clientAlgoId": "a0"})
    await see("DELETE", "algoOpenOrders", symbol)


async def liquidated(it: Rig, see: Any) -> None:
    it.tick("BTCUSDT", "80000")
    await see("GET", "forceOrders")
    await see("POST", "positionSide/dual", {"dualSidePosition": "true"})


@asynccontextmanager
async def reading(it: Rig, path: str) -> AsyncIterator[Any]:
    async with it.session.ws_connect(it.base + path) as ws:

        async def rows() -> list[Any]:
            found = []
            while True:
                try:
                    found.append(json.loads(await asyncio.wait_for(ws.receive_str(), 0.2)))
                except TimeoutError:
                    return found

        yield rows


async def test_every_market_stream_carries_documented_events() -> None:
    async with rig() as it:
        async with reading(it, "/stream?streams=" + "/".join(shapes.STREAMS)) as rows:
            await it.call("POST", "/fapi/v1/marginType", {"symbol": "BTCUSDT", "marginType": "ISOLATED"})
            await it.call("POST", "/fapi/v1/order", MARKET)
            it.at_ms = it.at_ms // 3_600_000 * 3_600_000 + 3_599_000
            for price in ("96001", "96500.3", "80000"):
                it.tick("BTCUSDT", price, step_ms=1_000)
            seen = await rows()
        assert {row["stream"] for row in seen} == set(shapes.STREAMS)
        for row in seen:
            assert wrong(row["data"], shapes.STREAMS[row["stream"]], row["stream"]) == []
            event = row["data"][0] if isinstance(row["data"], list) else row["data"]
            kind = shapes.NAMES[event["e"]]
            assert row["stream"].strip("!").startswith(kind) or f"@{kind}" in row["stream"]
            assert event.get("s", "BTCUSDT") == event.get("ps", "BTCUSDT") == "BTCUSDT"
        closed = [row["stream"] for row in seen if isinstance(row["data"], dict) and row["data"].get("k", {}).get("x")]
        assert set(closed) == {name for name in shapes.STREAMS if "line_" in name}


@pytest.mark.parametrize("path", ["/private/ws?listenKey={}", "/ws/{}"])
async def test_every_user_event_is_as_documented(path: str) -> None:
    async with rig(listen_key_ttl_ms=1_500) as it:
        _, key = await it.call("POST", "/fapi/v1/listenKey", sign=False)
        async with reading(it, path.format(key["listenKey"])) as rows:
            ids = await furnish(it)
            assert ids
            it.tick("BTCUSDT", "86790")  # between the margin call and the liquidation
            it.tick("BTCUSDT", "80000")
            seen = await rows()
            for _ in range(10):
                seen += await rows()
                if seen[-1]["e"] == "listenKeyExpired":
                    break
        assert {row["e"] for row in seen} == set(shapes.EVENTS)
        for row in seen:
            assert wrong(row, shapes.EVENTS[row["e"]], row["e"]) == []
        executions = {row["o"]["x"] for row in seen if row["e"] == "ORDER_TRADE_UPDATE"}
        assert {"NEW", "TRADE", "CALCULATED"} <= executions
        assert {"NEW", "TRIGGERING", "TRIGGERED", "FINISHED"} <= {row["o"]["X"] for row in seen if row["e"] == "ALGO_UPDATE"}
        assert {"ORDER", "FUNDING_FEE"} <= {row["a"]["m"] for row in seen if row["e"] == "ACCOUNT_UPDATE"}
        assert all(row["E"] == row["T"] for row in seen if "T" in row)


def test_a_shape_finds_what_is_wrong() -> None:
    shape = shapes.of("a:s b:i c?:b", d=[("s", "n")])
    assert wrong({"a": "x", "b": 1, "d": [["1", 0.5]]}, shape) == []
    found = wrong({"a": 1, "c": None, "d": [["1"], ["1", "2"]], "e": 0}, shape)
    assert len(found) == 6
    assert wrong({"b": True}, shapes.of("b:i")), "true is no number in JSON"
