"""Reading the exchanges besides Binance: ccxt's own classes over real sockets, against the shapes that its source documents."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from qtkit.core.model import E8, Lots, Order, OrderKind, OrderSide, OrderStatus, PolicyError, PositionSide, Side, Ticks, TriggerBy
from qtkit.observe import Observer
from qtkit.venue.capabilities import capabilities
from qtkit.venue.ccxt_unified import CcxtUnifiedGateway, NotProven
from qtkit.venue.gateway import BarClosed, Gateway, KeyRights, Nudge, Quote, Unavailable
from qtkit.venue.unified_orders import cloid

from .unified_exchange import BYBIT_KEY, OWN, Exchange, Held
from .unified_kit import KEYS, VENUES

BOTH, LONG, SHORT = PositionSide.BOTH, PositionSide.LONG, PositionSide.SHORT
HEDGED = ("bybit", "okx", "bitget")
CASES = [
    (venue, side, slot) for venue in VENUES for side in Side for slot in (BOTH, PositionSide[side.name]) if slot is BOTH or venue in HEDGED
]
cases = pytest.mark.parametrize(("venue", "side", "slot"), CASES, ids=[f"{v}-{s.name}-{p.value}" for v, s, p in CASES])
venues = pytest.mark.parametrize("venue", VENUES)
LOTS = {"okx": 10}  # our lots to a thousandth of a bitcoin: OKX has finer ones


@asynccontextmanager
async def looking(exchange: Exchange, **settings: Any) -> AsyncIterator[CcxtUnifiedGateway]:
    key, secret = KEYS[exchange.venue]
    async with exchange:
        gateway = CcxtUnifiedGateway("main", venue=exchange.venue, api_key=key, secret=secret, base_url=exchange.url, **settings)
        gateway._reader.client.enableRateLimit = False
        gateway._reader.client.timeout_on_exit = 0
        try:
            await gateway.start()
            yield gateway
        finally:
            await gateway.close()


def resting(venue: str, side: Side, slot: PositionSide) -> list[Order]:
    """A stop, a floor, a target and a resting limit around a long or a short, as this desk would have them where the exchange can."""
    sign, row = side.sign, capabilities(venue)

    def order(name: str, kind: OrderKind, lots: int, **fields: Any) -> Order:
        client_id = name if row.ids.comes_back else cloid(name)
        return Order(
            symbol=OWN[venue], client_id=client_id, kind=kind, side=side.closing, position_side=slot,
            lots=Lots(lots), reduce_only=not fields.get("close_position"), venue_id=f"id-{client_id}", **fields,
        )  # fmt: skip

    last = TriggerBy.LAST if TriggerBy.LAST in row.trigger_by else TriggerBy.MARK
    found = [
        order("stop", OrderKind.STOP_MARKET, 20, trigger=Ticks(910_000 - sign * 20_000)),
        order("target", OrderKind.TAKE_PROFIT_MARKET, 10, trigger=Ticks(910_000 + sign * 40_000), trigger_by=last),
        order("limit", OrderKind.LIMIT, 5, price=Ticks(910_000 + sign * 50_000), trigger_by=last),
    ]
    if row.close_position:
        found.append(order("floor", OrderKind.STOP_MARKET, 0, trigger=Ticks(910_000 - sign * 40_000), close_position=True))
    return found


def ours(venue: str, order: Order) -> Order:
    """An order as we read it, of one that is told in thousandths of a bitcoin and tenths of a dollar."""
    lots, ticks = LOTS.get(venue, 1), 10 if venue == "hyperliquid" else 1  # there five figures make a tick of a dollar
    return replace(
        order,
        lots=Lots(order.lots * lots),
        trigger=None if order.trigger is None else Ticks(order.trigger // ticks),
        price=None if order.price is None else Ticks(order.price // ticks),
    )


def told(order: Order) -> Order:
    return replace(order, time_ms=0)


@cases
async def test_the_whole_account_comes_back(venue: str, side: Side, slot: PositionSide) -> None:
    spoken = resting(venue, side, slot)
    asked = [ours(venue, order) for order in spoken]
    async with looking(Exchange(venue, [Held(side, slot)], spoken, hedge=slot is not BOTH)) as gateway:
        (position,) = await gateway.positions()
        assert (position.symbol, position.side, position.position_side) == (OWN[venue], side, slot)
        assert position.lots * gateway.instruments[OWN[venue]].lot == 2_000_000  # 0.02 BTC
        assert (position.entry, position.mark, position.leverage) == (9_000_012_000_000, 9_100_005_000_000, 10)
        assert position.liquidation == (None if venue == "krakenfutures" else 8_000_050_000_000)
        assert gateway.hedge is (slot is not BOTH)
        for symbol in (OWN[venue], None):
            read = {order.client_id: told(order) for order in await gateway.orders(symbol)}
            assert read == {order.client_id: told(order) for order in asked}
        assert (await gateway.lookup(OWN[venue], asked[0].client_id, conditional=True)) is not None


@venues
async def test_an_unknown_liquidation_price_is_none(venue: str) -> None:
    """Also where ccxt would estimate one from margin and maintenance rate (Bitget, isolated)."""
    for nothing in ("", "0"):
        async with looking(Exchange(venue, [Held(Side.LONG, liquidation=nothing)])) as gateway:
            assert [position.liquidation for position in await gateway.positions()] == [None]


@venues
async def test_nothing_is_there(venue: str) -> None:
    async with looking(Exchange(venue)) as gateway:
        assert (await gateway.positions(), await gateway.orders(), await gateway.orders(OWN[venue])) == ((), (), ())


@venues
async def test_what_is_asked_around_an_entry_is_not_guessed(venue: str) -> None:
    async with looking(Exchange(venue, [Held(Side.LONG)])) as gateway:
        assert (await gateway.margin(OWN[venue])).leverage == 10
        with pytest.raises(Unavailable, match="of a held position alone"):
            await gateway.margin("ETHUSDT")
        with pytest.raises(Unavailable, match="equity"):
            await gateway.balance()
        with pytest.raises(Unavailable, match="not among the open orders"):
            await gateway.lookup(OWN[venue], "q1none", conditional=True)


@venues
async def test_rules(venue: str) -> None:
    async with looking(Exchange(venue)) as gateway:
        rules = gateway.instruments[OWN[venue]]
        assert (rules.tick, rules.lot) == (10_000_000 if venue != "hyperliquid" else 10**8, 10_000 if venue == "okx" else 100_000)
        assert rules.min_lots == 1 and 0 < rules.market_max_lots <= rules.max_lots
        assert set(gateway.instruments) == {OWN[venue]}, "coin-margined contracts have no lots of the base coin"


# --- a partial answer is no answer ---------------------------------------------------------------------------------

LISTS = {
    # What ccxt reads as "none" where the list is missing: path or type of the request, and the answer without it.
    "bybit": {"/v5/position/list": {"retCode": 0, "result": {}}, "/v5/order/realtime": {"retCode": 0, "result": {"category": "linear"}}},
    "okx": {
        "/api/v5/account/positions": {"code": "0"},
        "/api/v5/trade/orders-pending": {"code": "0", "data": None},
        "/api/v5/trade/orders-algo-pending": {"code": "0"},
    },
    "bitget": {
        "/api/v2/mix/position/all-position": {"code": "00000", "data": None},
        "/api/v2/mix/order/orders-pending": {"code": "00000", "data": {}},
        "/api/v2/mix/order/orders-plan-pending": {"code": "00000", "data": None},
    },
    "hyperliquid": {"clearinghouseState": {"time": 1}, "frontendOpenOrders": {"error": "later"}},
    "krakenfutures": {
        "/derivatives/api/v3/openpositions": {"result": "success"},
        "/derivatives/api/v3/openorders": {"result": "success"},
    },
}
PARTIAL = [(venue, name) for venue, lists in LISTS.items() for name in lists]
partial = pytest.mark.parametrize(("venue", "name"), PARTIAL, ids=[f"{venue}-{name}" for venue, name in PARTIAL])


@partial
async def test_an_answer_without_its_list_is_not_an_empty_one(venue: str, name: str) -> None:
    exchange = Exchange(venue, [Held(Side.LONG)], resting(venue, Side.LONG, BOTH))
    async with looking(exchange) as gateway:
        exchange.spoil = lambda asked, body: LISTS[venue][name] if asked == name else body
        with pytest.raises(Unavailable):
            await (gateway.positions() if "osition" in name or "clearing" in name else gateway.orders())
        exchange.spoil = lambda asked, body: body
        assert len(await gateway.positions()) == 1


@partial
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_error_is_unavailable_and_tells_no_key(venue: str, name: str, status: int) -> None:
    exchange = Exchange(venue, [Held(Side.LONG)])
    async with looking(exchange) as gateway:
        said = {"msg": f"key {KEYS[venue][0]} is busy", "code": "1", "retCode": 1}
        exchange.spoil = lambda asked, body: (status, said) if asked == name else body
        with pytest.raises(Unavailable) as told_us:
            await (gateway.positions() if "osition" in name or "clearing" in name else gateway.orders())
        text = f"{told_us.value!r} {told_us.value.__context__!r} {gateway!r}"
        assert not any(part in text for part in (KEYS[venue][0], *KEYS[venue][1].split(":")))


@venues
async def test_a_row_that_cannot_be_read_fails_the_whole_reading(venue: str) -> None:
    exchange = Exchange(venue, [Held(Side.LONG, size="much")])
    async with looking(exchange) as gateway:
        with pytest.raises(Unavailable):
            await gateway.positions()


SIZES = {"bybit": "size", "okx": "pos", "bitget": "total", "hyperliquid": "szi", "krakenfutures": "size"}


@venues
async def test_a_position_that_does_not_tell_its_size_is_not_flat(venue: str) -> None:
    exchange = Exchange(venue, [Held(Side.LONG)])

    def without(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: without(value) for key, value in part.items() if key != SIZES[venue]}
        return [without(row) for row in part] if isinstance(part, list) else part

    async with looking(exchange) as gateway:
        exchange.spoil = lambda name, body: without(body)
        with pytest.raises(Unavailable):
            await gateway.positions()


@venues
async def test_a_clock_that_is_wrong_is_measured(venue: str) -> None:
    """Bars are closed by the exchange's time, and what is signed is dated by it."""
    if venue == "krakenfutures":
        return  # it has no endpoint for its time; its signatures hold none
    exchange, late = Exchange(venue), 600_000

    def ahead(name: str, body: Any) -> Any:
        return json.loads(re.sub(r"\b(1[78]\d{11})", lambda hit: str(int(hit[1]) + late), json.dumps(body))) if "ime" in name or (
            name == "exchangeStatus") else body  # fmt: skip

    exchange.spoil = ahead
    async with looking(exchange) as gateway:
        if venue != "bybit":  # which tells nanoseconds too
            assert abs(gateway._offset_ms - late) < 5_000
            assert gateway._reader.client.options["timeDifference"] == -gateway._offset_ms


@pytest.mark.parametrize("venue", HEDGED)
async def test_all_pages_are_read(venue: str) -> None:
    """260 orders in each book: a first page alone would look like a naked position."""
    stop, _, limit, *_ = resting(venue, Side.SHORT, BOTH)
    many = [
        replace(order, client_id=f"{order.client_id}{number}", venue_id=f"id-{order.client_id}{number}")
        for order in (stop, limit)
        for number in range(260)
    ]
    async with looking(Exchange(venue, [Held(Side.SHORT)], many)) as gateway:
        for symbol in (None, OWN[venue]):
            assert {order.client_id for order in await gateway.orders(symbol)} == {order.client_id for order in many}


async def test_pages_without_end_are_unavailable() -> None:
    exchange = Exchange("bybit", [Held(Side.LONG)], resting("bybit", Side.LONG, BOTH))

    def spoil(name: str, body: Any) -> Any:
        if name == "/v5/order/realtime":
            body["result"] = {"list": body["result"]["list"] or [{"symbol": OWN["bybit"], "side": "Sell"}], "nextPageCursor": "0"}
        return body

    async with looking(exchange) as gateway:
        exchange.spoil = spoil
        with pytest.raises(Unavailable, match="did not end within 50 pages"):
            await gateway.orders()


@pytest.mark.parametrize(
    ("venue", "rows"),
    [
        ("bybit", {"positions inverse": [{"symbol": "BTCUSD", "side": "Sell", "size": "300", "positionIdx": 0, "markPrice": "91000",
                                           "avgPrice": "90000", "positionValue": "0.003", "leverage": "5", "liqPrice": ""}]}),
        ("okx", {"positions": [{"instId": "BTC-USD-SWAP", "instType": "SWAP", "pos": "-3", "posSide": "net", "avgPx": "90000",
                                "markPx": "91000", "lever": "5", "mgnMode": "cross", "imr": "1", "mmr": "1", "upl": "1",
                                "notionalUsd": "300", "liqPx": "", "uplRatio": "0.1"}]}),
        ("krakenfutures", {"positions": [{"side": "short", "symbol": "PI_XBTUSD", "price": 90000, "size": 300,
                                          "fillTime": "2022-03-03T22:51:16.566Z"}]}),
    ],
)  # fmt: skip
async def test_a_held_coin_margined_contract_is_not_passed_over(venue: str, rows: dict[str, Any]) -> None:
    async with looking(Exchange(venue, [Held(Side.LONG)], rows=rows)) as gateway:
        with pytest.raises(Unavailable, match="coin-margined contract: its risk cannot be counted"):
            await gateway.positions()


# --- orders of others ----------------------------------------------------------------------------------------------


async def read_rows(venue: str, rows: dict[str, list[dict[str, Any]]]) -> dict[str, Order]:
    async with looking(Exchange(venue, rows=rows)) as gateway:
        return {order.client_id: order for order in await gateway.orders()}


OKX = {"instId": OWN["okx"], "instType": "SWAP", "posSide": "net", "side": "sell", "state": "live", "sz": "2", "reduceOnly": "true",
       "cTime": "1", "last": "91000", "algoClOrdId": "", "clOrdId": "", "ordId": "", "actualSz": "0"}  # fmt: skip


async def test_okx_oco_is_a_stop_and_a_target() -> None:
    row = OKX | {"algoId": "9", "ordType": "oco", "slTriggerPx": "88000", "slOrdPx": "-1", "slTriggerPxType": "index",
                 "tpTriggerPx": "95000", "tpOrdPx": "94990", "tpTriggerPxType": "mark"}  # fmt: skip
    read = await read_rows("okx", {"orders oco": [row]})
    assert (read["9"].kind, read["9"].trigger, read["9"].lots) == (OrderKind.STOP_MARKET, 880_000, 200)
    assert (read["9/tp"].kind, read["9/tp"].price, read["9/tp"].trigger_by) == (OrderKind.TAKE_PROFIT, 949_900, TriggerBy.MARK)
    assert {order.venue_id for order in read.values()} == {"9"}


async def test_okx_trigger_order_is_a_stop_if_it_lies_beyond_the_price() -> None:
    rows = [OKX | {"algoId": "1", "ordType": "trigger", "triggerPx": "88000", "ordPx": "-1", "triggerPxType": "mark"},
            OKX | {"algoId": "2", "ordType": "trigger", "triggerPx": "95000", "ordPx": "-1", "triggerPxType": "last"},
            OKX | {"algoId": "3", "ordType": "trigger", "triggerPx": "88000", "ordPx": "-1", "last": ""}]  # fmt: skip
    read = await read_rows("okx", {"orders trigger": rows})
    assert [read[name].kind.value for name in "123"] == ["STOP_MARKET", "TAKE_PROFIT_MARKET", "TAKE_PROFIT_MARKET"]


async def test_okx_trailing_order_is_activated_when_it_has_a_trigger() -> None:
    waits = OKX | {"algoId": "1", "ordType": "move_order_stop", "callbackRatio": "0.0125", "activePx": "93000", "moveTriggerPx": ""}
    read = await read_rows("okx", {"orders move_order_stop": [waits, waits | {"algoId": "2", "moveTriggerPx": "89000.5"}]})
    assert [(read[n].kind.value, read[n].callback, read[n].activated, read[n].trigger) for n in "12"] == [
        ("TRAILING_STOP_MARKET", 125, False, None), ("TRAILING_STOP_MARKET", 125, True, 890_005),
    ]  # fmt: skip


@pytest.mark.parametrize(("state", "status"), [("live", OrderStatus.NEW), ("effective", OrderStatus.TRIGGERING)])
async def test_an_order_that_fired_is_neither_working_nor_gone(state: str, status: OrderStatus) -> None:
    row = OKX | {"algoId": "1", "ordType": "conditional", "slTriggerPx": "88000", "slOrdPx": "-1", "tpTriggerPx": "", "state": state}
    assert (await read_rows("okx", {"orders conditional": [row]}))["1"].status is status


async def test_bitget_plan_that_does_not_tell_its_direction_covers_nothing() -> None:
    row = {"planType": "normal_plan", "symbol": OWN["bitget"], "size": "0.001", "orderId": "1", "clientOid": "", "price": "0",
           "executePrice": "0", "callbackRatio": "", "triggerPrice": "24000", "triggerType": "mark_price", "planStatus": "live",
           "side": "sell", "posSide": "net", "tradeSide": "sell_single", "posMode": "one_way_mode", "orderType": "market",
           "reduceOnly": "YES", "cTime": "1700726120917", "uTime": "1700726120917"}  # fmt: skip
    trail = row | {"planType": "track_plan", "orderId": "2", "callbackRatio": "1.5"}
    read = await read_rows("bitget", {"orders normal_plan": [row], "orders track_plan": [trail]})
    assert (read["1"].kind, read["2"].kind) == (OrderKind.TAKE_PROFIT_MARKET, OrderKind.TRAILING_STOP_MARKET)
    assert (read["2"].callback, read["2"].activated, read["1"].side) == (150, False, OrderSide.SELL)


async def test_hyperliquid_spot_orders_are_not_ours_to_read() -> None:
    spot = {"coin": "@107", "limitPx": "20.0", "oid": 5, "origSz": "1.0", "side": "B", "sz": "1.0", "timestamp": 1704346468838}
    assert await read_rows("hyperliquid", {"orders": [spot]}) == {}


async def test_kraken_coin_margined_orders_are_left_out() -> None:
    row = {"order_id": "1", "symbol": "PI_XBTUSD", "side": "sell", "orderType": "lmt", "limitPrice": 10640, "unfilledSize": 304,
           "receivedTime": "2019-09-05T17:01:17.410Z", "status": "untouched", "filledSize": 0, "reduceOnly": True,
           "lastUpdateTime": "2019-09-05T17:01:17.410Z"}  # fmt: skip
    own = row | {"symbol": OWN["krakenfutures"], "order_id": "2", "unfilledSize": 0.006, "filledSize": 0.004}
    read = await read_rows("krakenfutures", {"orders": [row, own]})
    assert read.keys() == {"2"}
    assert (read["2"].lots, read["2"].filled, read["2"].status) == (10, 4, OrderStatus.PARTIALLY_FILLED)


# --- it only looks -------------------------------------------------------------------------------------------------


@venues
async def test_writing_is_refused_in_one_sentence(venue: str) -> None:
    exchange = Exchange(venue, [Held(Side.LONG)])
    async with looking(exchange) as gateway:
        before = len(exchange.requests)
        (stop, *_) = resting(venue, Side.LONG, BOTH)
        for write in (gateway.place(stop), gateway.cancel(stop), gateway.set_leverage(OWN[venue], 2)):
            with pytest.raises(NotProven) as refused:
                await write
            assert str(refused.value) == capabilities(venue).read_only
        assert len(exchange.requests) == before


@venues
async def test_no_request_that_could_change_something_leaves(venue: str) -> None:
    """The client itself does not let it out, whoever asks: ccxt has its own ideas (a builder's fee, a referral)."""
    exchange = Exchange(venue)
    async with looking(exchange) as gateway:
        before, client = len(exchange.requests), gateway._reader.client
        with pytest.raises(Exception, match=r"only read|requires"):
            await client.create_order(next(iter(gateway._contracts)), "market", "sell", "0.01", "90000", {"reduceOnly": True})
        writes = [name for name, _ in exchange.requests[before:] if not name.startswith("GET") and name != "POST /info"]
        assert not writes


@venues
async def test_a_look_is_nothing_but_reads(venue: str) -> None:
    exchange = Exchange(venue, [Held(Side.LONG)], resting(venue, Side.LONG, BOTH))
    async with looking(exchange) as gateway:
        await Observer(gateway).observe((), 1_000_000, 1)
        await gateway.prices(OWN[venue])
        await gateway.rights()
    assert {name.split()[0] for name, _ in exchange.requests} == ({"POST"} if venue == "hyperliquid" else {"GET"})
    assert {name for name, _ in exchange.requests if name.startswith("POST")} <= {"POST /info"}


@venues
async def test_an_observation_is_whole_and_stable(venue: str) -> None:
    side = Side.SHORT
    async with looking(Exchange(venue, [Held(side)], resting(venue, side, BOTH))) as gateway:
        protocol: Gateway = gateway
        (snapshot,) = await Observer(protocol).observe((), 1_000_000, 1)
        assert (snapshot.symbol, snapshot.stable, len(snapshot.positions)) == (OWN[venue], True, 1)
        assert len(snapshot.orders) == len(resting(venue, side, BOTH))


# --- prices --------------------------------------------------------------------------------------------------------


@venues
async def test_prices(venue: str) -> None:
    async with looking(Exchange(venue)) as gateway:
        quote = await gateway.prices(OWN[venue])
        assert (quote.mark, quote.time_ms > 0) == (E8(9_100_005_000_000), True)
        assert quote.last == (90_991 if venue == "hyperliquid" else 909_905)
        with pytest.raises(PolicyError, match="is no linear contract"):
            await gateway.prices("NOPE")


@venues
@pytest.mark.parametrize("by", TriggerBy)
async def test_bars(venue: str, by: TriggerBy) -> None:
    async with looking(Exchange(venue)) as gateway:
        if venue == "hyperliquid" and by is TriggerBy.MARK:
            with pytest.raises(Unavailable, match="no bars of the mark price; set trail_series"):
                await gateway.bars(OWN[venue], limit=3, by=by)
            return
        newest = await gateway.bars(OWN[venue], limit=350, by=by)
        assert [bar.time_ms for bar in newest] == [newest[0].time_ms + 60_000 * step for step in range(350)], "more than a page, no gap"
        assert [bar.closed for bar in newest[-2:]] == [True, False]
        since = newest[100].time_ms
        assert [bar.time_ms for bar in await gateway.bars(OWN[venue], limit=5, by=by, since_ms=since)] == [
            since + 60_000 * step for step in range(5)
        ]
        assert newest[0].high > newest[0].open > newest[0].low
        with pytest.raises(PolicyError, match="cannot be read"):
            await gateway.bars(OWN[venue], limit=1, by=by, minutes=7)


@venues
async def test_events_are_asked_for_and_a_failure_ends_in_a_nudge(venue: str) -> None:
    exchange = Exchange(venue)
    async with looking(exchange, poll_s=0.01) as gateway:
        gateway.watch(frozenset({OWN[venue]}), by=TriggerBy.LAST)
        events = gateway.events()
        assert isinstance(await anext(events), Quote)
        exchange.spoil = lambda name, body: (500, {"msg": "down", "code": "1", "retCode": 1})
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.1)
        exchange.spoil = lambda name, body: body
        assert await waiting == Nudge(symbol=None)
        assert isinstance(await anext(events), Quote | BarClosed)
        await events.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("venue", "rows", "rights"),
    [
        ("bybit", {}, KeyRights(read=True, trade=False, withdraw=False, transfer=False, ip_restricted=False)),
        ("bybit", {"key": [BYBIT_KEY | {"readOnly": 0, "ips": ["10.0.0.1"]}]},
         KeyRights(read=True, trade=True, withdraw=True, transfer=True, ip_restricted=True)),
        ("okx", {}, KeyRights(read=True, trade=False, withdraw=False, ip_restricted=False)),
        ("okx", {"key": [{"perm": "read_only,withdraw,trade"}]}, KeyRights(read=True, trade=True, withdraw=True, ip_restricted=False)),
        ("bitget", {}, KeyRights()),
        ("hyperliquid", {}, KeyRights(read=True, trade=False, withdraw=False, transfer=False)),
        ("krakenfutures", {}, KeyRights()),
    ],
)  # fmt: skip
async def test_rights_of_the_key(venue: str, rows: dict[str, Any], rights: KeyRights) -> None:
    async with looking(Exchange(venue, rows=rows)) as gateway:
        assert await gateway.rights() == rights


# --- keys and addresses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("venue", ["okx", "bitget"])
def test_a_key_without_its_passphrase_is_refused(venue: str) -> None:
    with pytest.raises(PolicyError, match="write it behind the secret, after a colon"):
        CcxtUnifiedGateway("main", venue=venue, api_key="k", secret="s")


async def test_hyperliquid_gets_no_private_key() -> None:
    gateway = CcxtUnifiedGateway("main", venue="hyperliquid", api_key=KEYS["hyperliquid"][0], secret="0x" + "33" * 32)
    assert not gateway._reader.client.privateKey and not gateway._reader.client.secret
    await gateway.close()


@pytest.mark.parametrize("venue", ["binanceusdm", "bibit"])
def test_a_venue_that_is_not_read_here(venue: str) -> None:
    with pytest.raises(PolicyError, match=r"not read through|did you mean 'bybit'"):
        CcxtUnifiedGateway("main", venue=venue, api_key="k", secret="s")


async def test_a_unified_account_of_bitget_is_refused() -> None:
    exchange = Exchange("bitget", spoil=lambda name, body: {"code": "00000", "data": {}} if name == "/api/v3/account/settings" else body)
    with pytest.raises(PolicyError, match="unified account of Bitget"):
        async with looking(exchange):
            pass
