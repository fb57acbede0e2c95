"""Websockets of the paper server: ccxt.pro unmodified, and raw frames.

Over 300 lines: what ccxt makes of a stream is read beside what was sent.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import ccxt.pro
import pytest

from qtkit.core.model import OrderKind
from qtkit.paper.faults import Fault, FaultKind, Faults, Match, Verb
from qtkit.paper.rules import Rules
from qtkit.paper.sockets import StreamRules
from tests.paper.server_rig import KEY, SECRET, Rig, config, redirect, rig

S = "BTC/USDT:USDT"
SIDES = (("buy", "sell", 1), ("sell", "buy", -1))
ORDER_KEYS = set("s c S o f q p ap sp x X i l z L T t b a m R wt ot ps cp rp pP si ss V pm gtd er".split())
ALGO_KEYS = set("caid aid at o s S ps f q X ai tp p V wt pm cp pP R tt gtd rm".split())


@asynccontextmanager
async def pro(it: Rig) -> AsyncIterator[Any]:
    client = redirect(ccxt.pro.binanceusdm(config(it.base, KEY, SECRET)), it.base)
    try:
        await client.load_markets()
        yield client
    finally:
        await client.close()


async def soon(call: Any) -> Any:
    return await asyncio.wait_for(call, 5)


async def readers(it: Rig, count: int = 1) -> None:
    """Wait until so many sockets are open and subscribed."""
    for _ in range(200):
        if sum(bool(s.streams or s.account) for s in it.server.hub.sockets) >= count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody subscribed")


async def told(it: Rig, call: Any, sockets: int, *price: str) -> Any:
    """Start a watch call, let the market move once so many sockets listen, and give what it tells."""
    task = asyncio.create_task(call)
    await readers(it, sockets)
    it.tick(*price)
    return await soon(task)


async def test_pro_market_streams() -> None:
    """Each ``watch`` of prices of unmodified ccxt.pro once, on its own connection as there."""
    async with rig() as it, pro(it) as client:
        assert (await told(it, client.watch_mark_price(S), 1, "BTCUSDT", "96100", "96105"))["markPrice"] == 96_105
        assert (await told(it, client.watch_ohlcv(S, "1m"), 2, "BTCUSDT", "96200"))[-1][4] == 96_200
        assert (await told(it, client.watch_ticker(S), 3, "BTCUSDT", "96300"))["last"] == 96_300
        assert (await told(it, client.watch_bids_asks([S]), 4, "BTCUSDT", "96400"))[S]["bid"] == 96_390.2, "a tick and a bp"
        marks = await told(it, client.watch_mark_prices(), 5, "ETHUSDT", "3001")
        assert marks["ETH/USDT:USDT"]["markPrice"] == 3_001
        tickers = await told(it, client.watch_tickers([S, "ETH/USDT:USDT"]), 6, "ETHUSDT", "3002")
        assert tickers["ETH/USDT:USDT"]["last"] == 3_002
        (trade,) = await told(it, client.watch_trades(S), 7, "BTCUSDT", "96500")
        assert (trade["price"], trade["side"], trade["amount"]) == (96_500, "buy", 0.001)


async def test_pro_order_book_follows_the_rest_snapshot() -> None:
    async with rig() as it, pro(it) as client:

        async def moving() -> None:
            for number in range(1_000):
                it.tick("BTCUSDT", str(96_000 + number % 7), step_ms=10)
                await asyncio.sleep(0.01)

        prices = asyncio.create_task(moving())
        try:
            for _ in range(10):
                book = await soon(client.watch_order_book(S))
                assert book["bids"][0][0] < book["asks"][0][0]
            assert book["nonce"] is not None
        finally:
            prices.cancel()
        await asyncio.sleep(0.05)
        now = await client.fetch_order_book(S, 5)
        held = client.orderbooks[S]
        assert ([row[0] for row in held["bids"][:5]], [row[0] for row in held["asks"][:5]]) == (
            [row[0] for row in now["bids"]], [row[0] for row in now["asks"]],
        )  # fmt: skip


async def test_pro_account_streams() -> None:
    async with rig() as it, pro(it) as client:
        client.options["watchPositions"] = {"fetchPositionsSnapshot": False}
        client.options["watchBalance"] = {"fetchBalanceSnapshot": False, "awaitBalanceSnapshot": False}
        watched = [client.watch_balance(), client.watch_my_trades(S), client.watch_orders(S), client.watch_positions([S])]
        tasks = [asyncio.create_task(each) for each in watched]
        await readers(it)
        await asyncio.sleep(0.05)
        await client.create_order(S, "market", "buy", 0.01)
        balance, (trade,), (order,), (position,) = [await soon(task) for task in tasks]
        assert 999_900 < balance["USDT"]["total"] < 1_000_000
        assert (trade["side"], trade["amount"], trade["takerOrMaker"]) == ("buy", 0.01, "taker")
        assert order["symbol"] == S
        assert (position["side"], position["contracts"]) == ("long", 0.01)
        assert len(it.server.hub.sockets) == 1, "all of them share one connection"


@pytest.mark.parametrize(("opening", "closing", "sign"), SIDES)
async def test_pro_orders_and_positions_through_fill_and_trigger(opening: str, closing: str, sign: int) -> None:
    async with rig() as it, pro(it) as client:
        seen: list[tuple[str, str]] = []

        async def collect() -> None:
            while True:
                seen.extend((row["info"].get("x", row["info"].get("X")), row["status"]) for row in await client.watch_orders(S))

        client.options["watchPositions"] = {"fetchPositionsSnapshot": False}
        orders = asyncio.create_task(collect())
        await readers(it)
        positions = asyncio.create_task(client.watch_positions([S]))
        await asyncio.sleep(0.02)
        await client.create_order(S, "market", opening, 0.01)
        (position,) = await soon(positions)
        assert (position["contracts"], position["side"]) == (0.01, "long" if sign > 0 else "short")
        stop = {"stopLossPrice": 96_000 * (1 - 0.01 * sign), "reduceOnly": True, "workingType": "MARK_PRICE"}
        await client.create_order(S, "market", closing, 0.01, None, stop)
        positions = asyncio.create_task(client.watch_positions([S]))
        await asyncio.sleep(0.05)
        it.tick("BTCUSDT", str(96_000 - sign * 1_500))
        (position,) = await soon(positions)
        assert (position["contracts"], position["side"]) == (0, "both")
        assert len(await client.fetch_my_trades(S)) == 2
        await asyncio.sleep(0.05)
        orders.cancel()
        assert ("TRADE", "closed") in seen
        assert ("NEW", "open") in seen
        assert ("FINISHED", "closed") in seen


class Raw:
    """A user stream read frame by frame."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def until(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Events up to the ``count``-th of a kind."""
        rows: list[dict[str, Any]] = []
        while sum(row.get("e") == kind for row in rows) < count:
            rows.append(json.loads(await asyncio.wait_for(self.ws.receive_str(), 5)))
        return rows


@asynccontextmanager
async def user_stream(it: Rig, path: str = "/private/ws?listenKey={}") -> AsyncIterator[Raw]:
    _, row = await it.call("POST", "/fapi/v1/listenKey", sign=False)
    async with it.session.ws_connect(it.base + path.format(row["listenKey"])) as ws:
        await readers(it)
        yield Raw(ws)


@pytest.mark.parametrize("path", ["/private/ws?listenKey={}", "/ws/{}"])
@pytest.mark.parametrize(("opening", "closing", "sign"), SIDES)
async def test_user_events_field_by_field(path: str, opening: str, closing: str, sign: int) -> None:
    async with rig(rules=Rules(trade_before_algo=True)) as it, user_stream(it, path) as raw:
        side, other = opening.upper(), closing.upper()
        await it.call("POST", "/fapi/v1/order", {"symbol": "BTCUSDT", "side": side, "type": "MARKET", "quantity": "0.01"})
        rows = await raw.until("ACCOUNT_UPDATE")
        fills = [row for row in rows if row["e"] == "ORDER_TRADE_UPDATE"] or await raw.until("ORDER_TRADE_UPDATE")
        for row in fills:
            assert set(row["o"]) - {"n", "N"} == ORDER_KEYS
            assert type(row["o"]["i"]) is type(row["E"]) is type(row["T"]) is int
            assert type(row["o"]["q"]) is type(row["o"]["ap"]) is str
        update = next(row for row in rows if row["e"] == "ACCOUNT_UPDATE")["a"]
        assert (update["m"], [b["a"] for b in update["B"]], [p["s"] for p in update["P"]]) == ("ORDER", ["USDT"], ["BTCUSDT"])
        assert set(update["P"][0]) >= set("s pa ep bep cr up mt iw ps".split())
        assert float(update["P"][0]["pa"]) == sign * 0.01
        stop = {"symbol": "BTCUSDT", "side": other, "type": "STOP_MARKET", "algoType": "CONDITIONAL", "workingType": "MARK_PRICE",
                "triggerPrice": 96_000 - sign * 500, "closePosition": "true", "clientAlgoId": "f1"}  # fmt: skip
        await it.call("POST", "/fapi/v1/algoOrder", stop)
        (new,) = [row for row in await raw.until("ALGO_UPDATE") if row["e"] == "ALGO_UPDATE"]
        assert set(new["o"]) == ALGO_KEYS
        assert (new["o"]["X"], new["o"]["ai"], new["o"]["cp"], new["o"]["caid"]) == ("NEW", "", True, "f1")
        it.tick("BTCUSDT", str(96_000 - sign * 600))
        rows = await raw.until("ALGO_UPDATE", 3)
        algos = [row["o"] for row in rows if row["e"] == "ALGO_UPDATE"]
        assert [row["X"] for row in algos] == ["TRIGGERING", "TRIGGERED", "FINISHED"]
        assert (algos[0]["ai"], "ap" in algos[0], algos[2]["aq"], algos[2]["act"]) == ("", False, "0.010", "MARKET")
        assert algos[1]["ai"].isdecimal()
        child = next(row["o"] for row in rows if row["e"] == "ORDER_TRADE_UPDATE" and row["o"]["x"] == "TRADE")
        assert (child["c"], str(child["i"]), child["X"]) == ("f1", algos[2]["ai"], "FILLED")
        assert all(row["E"] == it.at_ms for row in rows)


async def test_trailing_tells_its_activation() -> None:
    async with rig() as it, user_stream(it) as raw:
        await it.call("POST", "/fapi/v1/order", {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"})
        trail = {"symbol": "BTCUSDT", "side": "SELL", "type": "TRAILING_STOP_MARKET", "algoType": "CONDITIONAL", "quantity": "0.01",
                 "callbackRate": "1", "activatePrice": "97000", "reduceOnly": "true"}  # fmt: skip
        assert (await it.call("POST", "/fapi/v1/algoOrder", trail))[0] == 200
        it.tick("BTCUSDT", "97100")
        algos = [row["o"] for row in await raw.until("ALGO_UPDATE", 2) if row["e"] == "ALGO_UPDATE"]
        assert [(row["X"], row["ia"]) for row in algos] == [("NEW", False), ("NEW", True)]


async def test_frames_and_combined_streams() -> None:
    async with rig() as it:
        it.at_ms = (it.at_ms // 300_000 + 1) * 300_000 + 10_000  # no bar ends while this looks, or it would send a row more
        async with it.session.ws_connect(f"{it.base}/market/ws/0") as ws:

            async def ask(frame: Any) -> Any:
                await ws.send_str(frame if isinstance(frame, str) else json.dumps(frame))
                return json.loads(await asyncio.wait_for(ws.receive_str(), 5))

            assert await ask({"method": "SUBSCRIBE", "params": ["btcusdt@markPrice@1s"], "id": 1}) == {"result": None, "id": 1}
            assert await ask({"method": "LIST_SUBSCRIPTIONS", "id": 2}) == {"result": ["btcusdt@markPrice@1s"], "id": 2}
            assert (await ask({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 3}))["error"]["code"] == 2
            assert (await ask({"method": "SUBSCRIBE", "params": ["nonsense"], "id": 4}))["error"]["code"] == 2
            assert (await ask("no json"))["error"]["code"] == 3
            it.tick("BTCUSDT", "96001")
            row = json.loads(await ws.receive_str())
            assert (row["e"], row["p"], row["E"]) == ("markPriceUpdate", "96001.00000000", it.at_ms)
            assert await ask({"method": "UNSUBSCRIBE", "params": ["btcusdt@markPrice@1s"], "id": 5}) == {"result": None, "id": 5}
            it.tick("BTCUSDT", "96002")
            assert await ask({"method": "LIST_SUBSCRIPTIONS", "id": 6}) == {"result": [], "id": 6}
        names = "btcusdt@trade/btcusdt@aggTrade/btcusdt@ticker/btcusdt@markPriceKline_1m/btcusdt@kline_5m/!miniTicker@arr/!bookTicker"
        async with it.session.ws_connect(f"{it.base}/stream?streams={names}") as ws:
            await readers(it)
            it.tick("BTCUSDT", "96010")
            rows = [json.loads(await asyncio.wait_for(ws.receive_str(), 5)) for _ in names.split("/")]
            assert {row["stream"] for row in rows} == set(names.split("/"))
            kinds = {row["data"][0]["e"] if isinstance(row["data"], list) else row["data"]["e"] for row in rows}
            assert kinds == {"trade", "aggTrade", "24hrTicker", "markPrice_kline", "kline", "24hrMiniTicker", "bookTicker"}


async def test_bars_close() -> None:
    async with rig() as it:
        it.at_ms = (it.at_ms // 60_000 + 1) * 60_000 + 58_000  # a minute that has begun and is not over, whatever the clock says
        it.tick("BTCUSDT", "96000", step_ms=0)
        await bars_close(it)


async def bars_close(it: Rig) -> None:
    async with it.session.ws_connect(f"{it.base}/market/ws/btcusdt@kline_1m") as ws:
        await readers(it)
        highs = ("96500", "95000", "96100")
        it.tick("BTCUSDT", highs[0])
        it.tick("BTCUSDT", highs[1], step_ms=500)
        it.tick("BTCUSDT", highs[2], step_ms=1_000)
        rows = [json.loads(await asyncio.wait_for(ws.receive_str(), 5))["k"] for _ in range(4)]
        assert [row["x"] for row in rows] == [False, False, True, False]
        assert (rows[1]["h"], rows[1]["l"], rows[1]["c"]) == ("96500", "95000", "95000")
        assert rows[2] == rows[1] | {"x": True}
        assert (rows[3]["o"], rows[3]["t"]) == ("96100", rows[2]["t"] + 60_000)


async def test_listen_key_runs_out_in_silence() -> None:
    async with rig(listen_key_ttl_ms=150) as it, user_stream(it) as raw:
        assert (await it.call("PUT", "/fapi/v1/listenKey", sign=False))[0] == 200
        (row,) = await raw.until("listenKeyExpired")
        await it.call("POST", "/fapi/v1/order", {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(raw.ws.receive_str(), 0.1)
        assert (await it.call("PUT", "/fapi/v1/listenKey", sign=False))[1]["code"] == -1125
        assert (await it.call("POST", "/fapi/v1/listenKey", sign=False))[1]["listenKey"] != row["listenKey"]


async def test_closing() -> None:
    async with rig() as it:
        async with it.session.ws_connect(f"{it.base}/private/ws?listenKey=unknown") as ws:
            assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
            assert ws.close_code == 1008
        async with user_stream(it) as raw:
            await it.call("DELETE", "/fapi/v1/listenKey", sign=False)
            await raw.ws.receive()
            assert raw.ws.close_code == 1000
        for code in (1001, 1008, 1006):
            async with user_stream(it) as raw:
                it.server.hub.close_all(code)
                await raw.ws.receive()
                assert raw.ws.close_code == code
        async with it.session.ws_connect(f"{it.base}/ws/btcusdt@trade") as ws:
            for number in range(12):
                await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
            for number in range(12):
                await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
            async for _ in ws:
                pass
            assert ws.close_code == 1008


async def test_event_faults() -> None:
    script = [
        Fault(kind=FaultKind.LOSE_EVENT, match=Match(verb=Verb.EVENT, conditional=True, kinds=frozenset({OrderKind.STOP_MARKET}))),
        Fault(kind=FaultKind.DUPLICATE, match=Match(verb=Verb.EVENT, conditional=True)),
    ]
    async with rig(faults=Faults(script)) as it, user_stream(it) as raw:
        await it.call("POST", "/fapi/v1/order", {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"})
        stop = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "algoType": "CONDITIONAL", "quantity": "0.01"}
        for name, price in (("lost", "95000"), ("twice", "94000")):
            await it.call("POST", "/fapi/v1/algoOrder", {**stop, "triggerPrice": price, "clientAlgoId": name})
        algos = [row["o"]["caid"] for row in await raw.until("ALGO_UPDATE", 2) if row["e"] == "ALGO_UPDATE"]
        assert algos == ["twice", "twice"]


async def test_who_does_not_read_is_closed_and_holds_nobody_back() -> None:
    rules = StreamRules(unread_bytes=20_000, grace_s=0.1)
    async with rig(stream_rules=rules) as it, it.session.ws_connect(f"{it.base}/market/ws/btcusdt@markPrice") as other:
        sleeper = socket.create_connection(("127.0.0.1", it.server.port))
        sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        head = "GET /market/ws/btcusdt@markPrice HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        sleeper.sendall(f"{head}Sec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        await readers(it, 2)
        count = 0
        while len(it.server.hub.sockets) > 1:
            it.tick("BTCUSDT", str(96_000 + count % 50), step_ms=1)
            count += 1
            assert json.loads(await asyncio.wait_for(other.receive_str(), 1))["E"] == it.at_ms
        assert count > 100, "what the kernel takes is not unread"
        sleeper.close()
