"""Connections of the paper server: depth against its snapshot, pings, age, what a client may ask, user streams in every form."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from qtkit.paper.rules import Rules
from qtkit.paper.sockets import StreamRules, frame
from tests.paper.server_rig import HEDGE_KEY, Rig, rig
from tests.paper.test_server_streams import readers

MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
STOP = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "algoType": "CONDITIONAL", "quantity": "0.01", "triggerPrice": "95500"}


async def next_row(ws: aiohttp.ClientWebSocketResponse) -> Any:
    return json.loads(await asyncio.wait_for(ws.receive_str(), 5))


async def ask(ws: aiohttp.ClientWebSocketResponse, method: str, params: Any = None, number: Any = 1) -> Any:
    await ws.send_json({"method": method, "id": number} | ({} if params is None else {"params": params}))
    return await next_row(ws)


async def closed(ws: aiohttp.ClientWebSocketResponse, within: float = 5) -> int | None:
    async with asyncio.timeout(within):
        async for _ in ws:
            pass
    return ws.close_code


async def listen_key(it: Rig, key: str | None = None) -> str:
    _, row = await it.call("POST", "/fapi/v1/listenKey", sign=False, **({} if key is None else {"key": key}))
    return str(row["listenKey"])


# books


@pytest.mark.parametrize("limit", [5, 100, 1_000])
async def test_a_local_book_follows_by_the_documented_rules(limit: int) -> None:
    """Snapshot, then events from ``U <= lastUpdateId <= u`` on, each ``pu`` the ``u`` before: the book is always that of a new snapshot."""
    async with rig() as it, it.session.ws_connect(f"{it.base}/public/ws/btcusdt@depth@100ms") as ws:
        await readers(it)
        it.tick("BTCUSDT", "96000.5")
        it.tick("BTCUSDT", "96001.1")
        _, snapshot = await it.call("GET", "/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": limit}, sign=False)
        book = {side: {float(price): float(size) for price, size in snapshot[side]} for side in ("bids", "asks")}
        prices = ("96001.1", "96000.2", "96003.7", "95990", "96120", "96119.9", "96000")
        last = first = None
        for price in prices:
            it.tick("BTCUSDT", price)
        for _ in range(len(prices) + 2):
            event = await next_row(ws)
            if event["u"] < snapshot["lastUpdateId"]:
                continue
            if first is None:
                first = event
                assert event["U"] <= snapshot["lastUpdateId"] <= event["u"]
            else:
                assert event["pu"] == last
                assert event["U"] == event["pu"] + 1
            last = event["u"]
            for side, name in (("bids", "b"), ("asks", "a")):
                for level, size in event[name]:
                    book[side][float(level)] = float(size)
                    if not float(size):
                        del book[side][float(level)]  # one that the snapshot was too short for may be told, too
        _, now = await it.call("GET", "/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": 5}, sign=False)
        assert now["lastUpdateId"] == last + 1
        assert sorted(book["bids"])[:-6:-1] == [float(price) for price, _ in now["bids"]]
        assert sorted(book["asks"])[:5] == [float(price) for price, _ in now["asks"]]
        assert max(book["bids"]) < min(book["asks"])
        if limit == 1_000:
            _, whole = await it.call("GET", "/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": limit}, sign=False)
            for side, rows in book.items():
                assert rows == {float(price): float(size) for price, size in whole[side]}, "nothing stays behind where the book moved on"


async def test_a_book_without_a_price_begins_with_the_first() -> None:
    async with rig() as it, it.session.ws_connect(f"{it.base}/public/ws/xrpusdt@depth") as ws:
        await readers(it)
        it.tick("XRPUSDT", "2.5")
        event = await next_row(ws)
        assert len(event["b"]) == len(event["a"]) == 1_000


async def test_best_price_and_partial_books_agree_with_the_snapshot() -> None:
    async with rig() as it, it.session.ws_connect(f"{it.base}/stream?streams=btcusdt@bookTicker/btcusdt@depth10/btcusdt@depth") as ws:
        await readers(it)
        it.tick("BTCUSDT", "96000")  # the same price as before: nothing of the book changes, its number does
        rows = {row["stream"].partition("@")[2]: row["data"] for row in [await next_row(ws) for _ in range(3)]}
        _, snapshot = await it.call("GET", "/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": 10}, sign=False)
        assert (rows["depth10"]["b"], rows["depth10"]["a"]) == (snapshot["bids"], snapshot["asks"])
        assert (rows["depth"]["b"], rows["depth"]["a"]) == ([], [])
        assert rows["depth"]["u"] == rows["depth10"]["u"] == rows["bookTicker"]["u"] == snapshot["lastUpdateId"] - 1
        assert float(rows["bookTicker"]["b"]) == float(snapshot["bids"][0][0])
        _, best = await it.call("GET", "/fapi/v1/ticker/bookTicker", {"symbol": "BTCUSDT"}, sign=False)
        assert best["lastUpdateId"] == rows["bookTicker"]["u"]


async def test_trades_have_the_same_numbers_on_both_ways() -> None:
    async with rig() as it, it.session.ws_connect(f"{it.base}/stream?streams=btcusdt@trade/btcusdt@aggTrade") as ws:
        await readers(it)
        for price in ("96010", "96005", "96005", "96020"):
            it.tick("BTCUSDT", price)
        rows = [(await next_row(ws))["data"] for _ in range(8)]
        streamed = [(row["t"], float(row["p"]), row["m"]) for row in rows if row["e"] == "trade"]
        assert [sold for *_, sold in streamed] == [False, True, True, False]
        _, trades = await it.call("GET", "/fapi/v1/trades", {"symbol": "BTCUSDT", "limit": 4}, sign=False)
        assert [(row["id"], float(row["price"]), row["isBuyerMaker"]) for row in trades] == streamed
        _, some = await it.call("GET", "/fapi/v1/aggTrades", {"symbol": "BTCUSDT", "fromId": streamed[1][0], "limit": 2}, sign=False)
        assert [(row["a"], float(row["p"]), row["m"]) for row in some] == streamed[1:3]
        assert [row["a"] for row in rows if row["e"] == "aggTrade"] == [number for number, *_ in streamed]


# the connection


async def test_pings_come_and_a_client_without_pongs_is_closed() -> None:
    async with rig(stream_rules=StreamRules(ping_s=0.1, pong_s=0.35)) as it:
        async with (
            it.session.ws_connect(f"{it.base}/ws/btcusdt@trade") as good,
            it.session.ws_connect(f"{it.base}/ws/btcusdt@trade", autoping=False) as mute,
        ):
            answering = asyncio.create_task(good.receive())  # aiohttp answers pings while it reads
            message = await asyncio.wait_for(mute.receive(), 1)
            assert message.type is aiohttp.WSMsgType.PING
            assert message.data.isdigit(), "a time in milliseconds, as there"
            assert await closed(mute) == 1008
            await asyncio.sleep(0.2)
            await good.ping(b"hello")  # pings of the client are answered, too
            assert not answering.done()
            answering.cancel()


@pytest.mark.parametrize("answers", [True, False])
async def test_a_closed_connection_waits_for_the_answer_but_not_for_ever(answers: bool) -> None:
    """A client that finds the connection gone when it answers the close frame reports 1006, whatever it was told."""
    async with rig(stream_rules=StreamRules(grace_s=0.4)) as it, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", it.server.port)
        head = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + "A" * 22 + "==\r\n\r\n"
        writer.write(f"GET /market/ws/btcusdt@markPrice HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}".encode())
        await reader.readuntil(b"\r\n\r\n")
        await readers(it)
        it.server.hub.close_all(1008, b"why")
        assert await reader.readexactly(7) == b"\x88\x05" + (1008).to_bytes(2, "big") + b"why"
        await asyncio.sleep(0.1)
        assert not reader.at_eof() and reader.exception() is None, "the connection is gone before its client could answer"
        if answers:
            writer.write(b"\x88\x82" + bytes(4) + (1008).to_bytes(2, "big"))
        began = asyncio.get_running_loop().time()
        while not reader.at_eof() and reader.exception() is None:
            await asyncio.sleep(0.01)
        assert (asyncio.get_running_loop().time() - began < 0.2) is answers
        writer.close()


async def test_a_connection_ends_at_its_age() -> None:
    async with rig(stream_rules=StreamRules(life_s=0.2)) as it, it.session.ws_connect(f"{it.base}/ws") as ws:
        assert await closed(ws, 2) == 1001


async def test_too_many_frames_of_any_kind_disconnect() -> None:
    async with rig() as it:
        async with it.session.ws_connect(f"{it.base}/ws/btcusdt@trade") as ws:
            for _ in range(24):  # in two seconds at the most: one of them has more than ten
                await ws.pong(b"")
            assert await closed(ws) == 1008


async def test_no_more_than_1024_streams() -> None:
    names = [f"s{number}usdt@trade" for number in range(1_025)]
    async with rig() as it, it.session.ws_connect(f"{it.base}/ws") as ws:
        assert await ask(ws, "SUBSCRIBE", names[:1_024]) == {"result": None, "id": 1}
        assert (await ask(ws, "SUBSCRIBE", names[1_024:], 2))["error"]["code"] == 2
        assert await ask(ws, "SUBSCRIBE", names[:2], 3) == {"result": None, "id": 3}
        assert len((await ask(ws, "LIST_SUBSCRIPTIONS"))["result"]) == 1_024
    few = StreamRules(max_streams=3)
    async with rig(stream_rules=few) as it, it.session.ws_connect(f"{it.base}/stream?streams={'/'.join(names[:4])}") as ws:
        assert await closed(ws) == 1008


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("nonsense", 3),
        ("[" * 5_000, 3),
        ("[]", 2),
        ('{"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":"btcusdt@trade","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":["btcusdt@nothing"],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":["btcusdt@kline_7m"],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":["btcusdt@depth7"],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":["btcusdt@depth"],"id":1}', 2),
        (f'{{"method":"SUBSCRIBE","params":["{"k" * 64}"],"id":1}}', 2),
        ('{"method":"DANCE","id":1}', 2),
        ('{"method":"SET_PROPERTY","params":["speed",true],"id":1}', 0),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}', 1),
    ],
)
async def test_frames_that_are_wrong_are_answered_with_a_code(sent: str, code: int) -> None:
    async with rig() as it, it.session.ws_connect(f"{it.base}/market/ws") as ws:
        await ws.send_str(sent)
        assert (await next_row(ws))["error"]["code"] == code
        assert (await ask(ws, "LIST_SUBSCRIPTIONS", number="a"))["result"] == []


async def test_events_come_wrapped_when_asked() -> None:
    async with rig() as it, it.session.ws_connect(f"{it.base}/ws/btcusdt@trade") as ws:
        assert (await ask(ws, "GET_PROPERTY", ["combined"]))["result"] is False
        assert await ask(ws, "SET_PROPERTY", ["combined", True], 2) == {"result": None, "id": 2}
        it.tick("BTCUSDT", "96001")
        row = await next_row(ws)
        assert (row["stream"], row["data"]["e"]) == ("btcusdt@trade", "trade")


def test_frames_of_every_length() -> None:
    for size in (0, 125, 126, 65_535, 65_536):
        made = frame(b"x" * size)
        assert made[:1] == b"\x81"
        assert len(made) == size + (2 if size < 126 else 4 if size < 65_536 else 10)


@pytest.mark.parametrize("path", ["/ws", "/ws/0", "/stream", "/private/ws", "/ws/tradingSession", "/stream?streams=//", "/ws?listenKey=/"])
async def test_connections_that_ask_for_nothing_yet(path: str) -> None:
    async with rig() as it, it.session.ws_connect(it.base + path) as ws:
        assert (await ask(ws, "LIST_SUBSCRIPTIONS"))["result"] in ([], ["tradingSession"])


# user streams


@pytest.mark.parametrize("path", ["/private/ws?listenKey={}", "/private/ws/{}", "/ws/{}", "/ws?listenKey={}"])
async def test_user_streams_by_url(path: str) -> None:
    async with rig() as it, it.session.ws_connect(it.base + path.format(await listen_key(it))) as ws:
        await readers(it)
        await it.call("POST", "/fapi/v1/order", MARKET)
        assert [(await next_row(ws))["e"] for _ in range(4)] == ["ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "TRADE_LITE", "ORDER_TRADE_UPDATE"]


async def test_user_streams_by_subscription_and_with_others() -> None:
    async with rig() as it, it.session.ws_connect(f"{it.base}/private/stream") as ws:
        mine, other = await listen_key(it), await listen_key(it, HEDGE_KEY)
        assert await ask(ws, "SUBSCRIBE", [mine, other]) == {"result": None, "id": 1}
        assert set((await ask(ws, "LIST_SUBSCRIPTIONS"))["result"]) == {mine, other}
        assert (await ask(ws, "SUBSCRIBE", ["btcusdt@trade"]))["error"]["code"] == 2
        await it.call("POST", "/fapi/v1/order", MARKET)
        rows = [await next_row(ws) for _ in range(4)]
        assert {row["stream"] for row in rows} == {mine}
        assert await ask(ws, "UNSUBSCRIBE", [mine], 4) == {"result": None, "id": 4}
        await it.call("POST", "/fapi/v1/order", MARKET)
        assert (await ask(ws, "LIST_SUBSCRIPTIONS"))["result"] == [other]


async def test_only_the_events_that_were_asked_for() -> None:
    async with rig() as it:
        path = f"/private/ws?listenKey={await listen_key(it)}&events=ACCOUNT_UPDATE/ALGO_UPDATE"
        async with it.session.ws_connect(it.base + path) as ws:
            await readers(it)
            await it.call("POST", "/fapi/v1/order", MARKET)
            await it.call("POST", "/fapi/v1/algoOrder", STOP)
            assert [(await next_row(ws))["e"] for _ in range(2)] == ["ACCOUNT_UPDATE", "ALGO_UPDATE"]


@pytest.mark.parametrize("trade_first", [True, False])
async def test_order_of_events_at_a_trigger_is_a_setting(trade_first: bool) -> None:
    """Undecidable from outside: whether a fill is told before or after its conditional order is told triggered and finished."""
    rules = Rules(trade_before_algo=trade_first)
    async with rig(rules=rules) as it, it.session.ws_connect(f"{it.base}/private/ws?listenKey={await listen_key(it)}") as ws:
        await readers(it)
        await it.call("POST", "/fapi/v1/order", MARKET)
        await it.call("POST", "/fapi/v1/algoOrder", STOP | {"reduceOnly": "true"})
        it.tick("BTCUSDT", "95400")
        told: list[str] = []
        while "FINISHED" not in told or "TRADE SELL" not in told:
            row = await next_row(ws)
            if row["e"] == "ALGO_UPDATE":
                told.append(row["o"]["X"])
            elif row["e"] == "ORDER_TRADE_UPDATE":
                told.append(f"{row['o']['x']} {row['o']['S']}")
        told = told[told.index("TRIGGERING") :]
        assert told[0] == "TRIGGERING"
        assert (told.index("TRADE SELL") < told.index("TRIGGERED")) is trade_first
        assert told.index("TRIGGERED") < told.index("FINISHED")
        assert told.index("NEW SELL") < told.index("TRADE SELL")


async def test_a_listen_key_lives_from_its_last_extension() -> None:
    async with rig(listen_key_ttl_ms=400) as it, it.session.ws_connect(f"{it.base}/private/ws?listenKey={await listen_key(it)}") as ws:
        await readers(it)
        for _ in range(3):
            await asyncio.sleep(0.25)
            assert (await it.call("PUT", "/fapi/v1/listenKey", sign=False))[0] == 200
        await it.call("POST", "/fapi/v1/order", MARKET)
        assert (await next_row(ws))["e"] == "ORDER_TRADE_UPDATE"
        for _ in range(3):
            await next_row(ws)
        assert (await next_row(ws))["e"] == "listenKeyExpired"
        status, row = await it.call("PUT", "/fapi/v1/listenKey", sign=False)
        assert (status, row["code"]) == (400, -1125)
