"""Unmodified ccxt, synchronous and asyncio, against the paper server."""

import json
from typing import Any

import ccxt
import ccxt.async_support as ccxt_async
import pytest

from tests.paper.server_rig import HEDGE_KEY, HEDGE_SECRET, Rig, config, redirect, rig, to_thread

S = "BTC/USDT:USDT"
SIDES = (("buy", "sell", 1), ("sell", "buy", -1))


def code_of(error: BaseException) -> int:
    text = str(error)
    return int(json.loads(text[text.index("{") :])["code"])


async def refused(client: Any, name: str, *args: Any, **kwargs: Any) -> int:
    with pytest.raises(ccxt.BaseError) as caught:
        await getattr(client, name)(*args, **kwargs)
    return code_of(caught.value)


class Session:
    """An asyncio client that is closed whatever happens."""

    def __init__(self, it: Rig, name: str = "binanceusdm", **kwargs: Any) -> None:
        self.client = redirect(getattr(ccxt_async, name)(config(it.base, **kwargs)), it.base)

    async def __aenter__(self) -> Any:
        await self.client.load_markets()
        return self.client

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()


@pytest.mark.parametrize("name", ["binanceusdm", "binance"])
async def test_sync_client_trades_and_reads(name: str) -> None:
    async with rig() as it:
        client = redirect(getattr(ccxt, name)(config(it.base)), it.base)
        markets = await to_thread(client.load_markets)
        assert markets[S]["precision"] == {**markets[S]["precision"], "price": 0.1, "amount": 0.001}
        assert abs(await to_thread(client.fetch_time) - it.at_ms) < 60_000
        order = await to_thread(client.create_order, S, "market", "sell", 0.01)
        assert (order["status"], order["filled"]) == ("closed", 0.01)
        (position,) = await to_thread(client.fetch_positions, [S])
        assert (position["side"], position["contracts"], position["leverage"]) == ("short", 0.01, None)
        (position,) = await to_thread(client.fetch_positions, [S], {"useV2": True})
        assert (position["leverage"], position["marginMode"]) == (20, "cross")
        balance = await to_thread(client.fetch_balance)
        assert 999_900 < balance["USDT"]["total"] < 1_000_000
        assert 0 < balance["USDT"]["used"] < 100


@pytest.mark.parametrize(("opening", "closing", "sign"), SIDES)
async def test_protective_orders_round_trip(opening: str, closing: str, sign: int) -> None:
    async with rig() as it, Session(it) as client:
        await client.create_order(S, "market", opening, 0.01)
        stop = 96_000 * (1 - 0.02 * sign)
        target = 96_000 * (1 + 0.02 * sign)
        floor = await client.create_order(
            S, "STOP_MARKET", closing, None, None,
            {"stopPrice": stop, "closePosition": True, "workingType": "MARK_PRICE", "clientOrderId": "floor-1"},
        )  # fmt: skip
        assert (floor["info"]["closePosition"], floor["info"]["workingType"], floor["clientOrderId"]) == (True, "MARK_PRICE", "floor-1")
        await client.create_order(S, "market", closing, 0.01, None, {"stopLossPrice": stop, "reduceOnly": True, "clientOrderId": "work-1"})
        await client.create_order(S, "market", closing, 0.01, None, {"takeProfitPrice": target, "reduceOnly": True})
        await client.create_order(S, "limit", closing, 0.01, target, {"takeProfitPrice": target, "reduceOnly": True})
        trail = {"trailingPercent": 1.2, "trailingTriggerPrice": target, "reduceOnly": True, "workingType": "MARK_PRICE"}
        trailing = await client.create_order(S, "market", closing, 0.01, None, trail)
        assert (trailing["info"]["callbackRate"], float(trailing["info"]["activatePrice"])) == ("1.2", target)
        rows = await client.fetch_open_orders(S, params={"trigger": True})
        assert [row["info"]["orderType"] for row in rows] == [
            "STOP_MARKET", "STOP_MARKET", "TAKE_PROFIT_MARKET", "TAKE_PROFIT", "TRAILING_STOP_MARKET",
        ]  # fmt: skip
        assert await client.fetch_open_orders(S) == []
        assert len(await client.fetch_open_orders(params={"trigger": True})) == 5
        one = await client.fetch_order("", S, {"trigger": True, "clientAlgoId": "work-1"})
        assert (one["status"], one["triggerPrice"], one["reduceOnly"]) == ("open", stop, True)
        gone = await client.cancel_order("", S, {"trigger": True, "clientAlgoId": "work-1"})
        assert gone["info"]["code"] == "200"
        assert (await client.fetch_order("", S, {"trigger": True, "clientAlgoId": "work-1"}))["status"] == "canceled"
        await client.cancel_all_orders(S)
        assert len(await client.fetch_open_orders(S, params={"trigger": True})) == 4
        await client.cancel_all_orders(S, {"trigger": True})
        assert await client.fetch_open_orders(S, params={"trigger": True}) == []
        assert len(await client.fetch_orders(S, params={"trigger": True})) == 5


@pytest.mark.parametrize(("opening", "closing", "sign"), SIDES)
async def test_stop_fills_at_the_gap_and_history_tells(opening: str, closing: str, sign: int) -> None:
    async with rig() as it, Session(it) as client:
        await client.create_order(S, "market", opening, 0.02)
        params = {"stopLossPrice": 96_000 * (1 - 0.01 * sign), "reduceOnly": True, "workingType": "MARK_PRICE", "clientOrderId": "stop-1"}
        await client.create_order(S, "market", closing, 0.02, None, params)
        gap = str(96_000 * (100 - 3 * sign) // 100)
        it.tick("BTCUSDT", gap)
        row = (await client.fetch_order("", S, {"trigger": True, "clientAlgoId": "stop-1"}))["info"]
        assert (row["algoStatus"], row["actualQty"], row["actualType"]) == ("FINISHED", "0.020", "MARKET")
        assert sign * (float(gap) - float(row["actualPrice"])) >= 0
        child = await client.fetch_order(row["actualOrderId"], S)
        assert (child["status"], child["filled"], child["clientOrderId"]) == ("closed", 0.02, "stop-1")
        assert await client.fetch_positions([S]) == []
        trades = await client.fetch_my_trades(S)
        assert [trade["side"] for trade in trades] == [opening, closing]
        assert float(trades[1]["info"]["realizedPnl"]) < 0 < trades[1]["fee"]["cost"]
        assert [row["status"] for row in await client.fetch_orders(S)] == ["closed", "closed"]
        kinds = {row["info"]["incomeType"] for row in await client.fetch_ledger("USDT")}
        assert {"COMMISSION", "REALIZED_PNL"} <= kinds


async def test_limit_amend_batch_cancel() -> None:
    async with rig() as it, Session(it) as client:
        order = await client.create_order(S, "limit", "buy", 0.01, 95_000, {"clientOrderId": "entry-1"})
        assert (order["status"], order["timeInForce"]) == ("open", "GTC")
        changed = await client.edit_order(order["id"], S, "limit", "buy", 0.02, 94_000)
        assert (changed["price"], changed["amount"]) == (94_000, 0.02)
        assert (await client.fetch_order("", S, {"clientOrderId": "entry-1"}))["price"] == 94_000
        batch = [{"symbol": S, "type": "limit", "side": "buy", "amount": amount, "price": 93_000} for amount in (0.01, 0.0001, 0.02)]
        rows = await client.create_orders([batch[0], batch[2]])
        assert [row["status"] for row in rows] == ["open", "open"]
        assert len(await client.fetch_open_orders(S)) == 3
        await client.cancel_orders([row["id"] for row in rows], S)
        cancelled = await client.cancel_order(order["id"], S)
        assert cancelled["status"] == "canceled"
        assert [row["status"] for row in await client.fetch_orders(S)] == ["canceled"] * 3


async def test_market_data() -> None:
    async with rig() as it, Session(it) as client:
        for step, price in enumerate(("96100", "95900", "96050")):
            it.tick("BTCUSDT", price, mark=str(int(price) + 7), step_ms=60_000 * (step + 1))
        bars = await client.fetch_ohlcv(S, "1m", limit=3)
        marks = await client.fetch_ohlcv(S, "1m", limit=3, params={"price": "mark"})
        assert [bar[4] for bar in bars][-1] == 96_050
        assert [bar[4] for bar in marks][-1] == 96_057
        assert len(await client.fetch_ohlcv(S, "5m")) >= 1
        assert (await client.fetch_mark_price(S))["markPrice"] == 96_057
        assert (await client.fetch_ticker(S))["last"] == 96_050
        rates = await client.fetch_funding_rate(S)
        assert rates["fundingTimestamp"] > it.at_ms
        assert (await client.fetch_funding_intervals([S]))[S]["interval"] == "8h"
        book = await client.fetch_order_book(S, 5)
        assert len(book["bids"]) == len(book["asks"]) == 5
        assert book["bids"][0][0] < 96_050 < book["asks"][0][0]
        assert (await client.fetch_bids_asks([S]))[S]["bid"] == book["bids"][0][0]
        tiers = await client.fetch_leverage_tiers([S])
        assert tiers[S][0]["maxLeverage"] == 150


async def test_settings() -> None:
    async with rig() as it, Session(it) as client:
        await client.set_leverage(10, S)
        await client.set_margin_mode("isolated", S)
        leverage = await client.fetch_leverage(S)
        assert (leverage["longLeverage"], leverage["marginMode"]) == (10, "isolated")
        assert (await client.fetch_position_mode())["hedged"] is False
        await client.create_order(S, "market", "buy", 0.01)
        (position,) = await client.fetch_positions([S])
        assert position["marginMode"] == "isolated"
        assert 80_000 < position["liquidationPrice"] < 90_000
        assert (await client.fetch_trading_fee(S))["taker"] == 0.0005
        assert await refused(client, "set_leverage", 151 - 26, "ADA/USDT:USDT") == -4028
        assert await refused(client, "set_margin_mode", "isolated", S) == -4046
        assert await refused(client, "set_position_mode", False) == -4059
        assert await refused(client, "set_position_mode", True) == -4068


async def test_hedge_mode_holds_both_sides() -> None:
    async with rig() as it, Session(it, key=HEDGE_KEY, secret=HEDGE_SECRET) as client:
        assert (await client.fetch_position_mode())["hedged"] is True
        assert await refused(client, "create_order", S, "market", "buy", 0.01) == -4061
        for side, slot in (("buy", "LONG"), ("sell", "SHORT")):
            await client.create_order(S, "market", side, 0.01, None, {"positionSide": slot})
        positions = await client.fetch_positions([S])
        assert {row["side"]: row["contracts"] for row in positions} == {"long": 0.01, "short": 0.01}
        for side, slot, price in (("sell", "LONG", 94_000), ("buy", "SHORT", 98_000)):
            params = {"stopPrice": price, "closePosition": True, "positionSide": slot, "workingType": "MARK_PRICE"}
            await client.create_order(S, "STOP_MARKET", side, None, None, params)
        rows = await client.fetch_open_orders(S, params={"trigger": True})
        assert [row["info"]["positionSide"] for row in rows] == ["LONG", "SHORT"]
        it.tick("BTCUSDT", "93900")
        (left,) = await client.fetch_positions([S])
        assert left["side"] == "short"


@pytest.mark.parametrize(("opening", "closing", "sign"), SIDES)
async def test_refusals_by_number(opening: str, closing: str, sign: int) -> None:
    async with rig() as it, Session(it) as client:
        beyond, behind = 96_000 * (1 + 0.02 * sign), 96_000 * (1 - 0.02 * sign)
        place = ("create_order", S)
        assert await refused(client, *place, "market", closing, 0.01, None, {"reduceOnly": True}) == -2022
        await client.create_order(S, "market", opening, 0.01)
        close = {"closePosition": True, "workingType": "MARK_PRICE"}
        assert await refused(client, *place, "STOP_MARKET", closing, None, None, {**close, "stopPrice": beyond}) == -2021
        await client.create_order(S, "STOP_MARKET", closing, None, None, {**close, "stopPrice": behind, "clientOrderId": "a"})
        assert await refused(client, *place, "STOP_MARKET", closing, None, None, {**close, "stopPrice": behind}) == -4130
        stop = {"stopLossPrice": behind, "reduceOnly": True, "clientOrderId": "a"}
        assert await refused(client, *place, "market", closing, 0.01, None, stop) == -4116
        assert await refused(client, "fetch_order", "", S, {"trigger": True, "clientAlgoId": "none"}) == -2013
        assert await refused(client, "cancel_order", "", S, {"trigger": True, "clientAlgoId": "none"}) == -2011
        assert await refused(client, "fetch_order", "", S, {"clientOrderId": "a"}) == -2013
        assert await refused(client, "cancel_order", "123", S) == -2011
        assert await refused(client, *place, "market", closing, 0.01, None, {"trailingPercent": 25}) == -2007
        assert await refused(client, *place, "limit", opening, 0.001, 96_000 - sign) == -4164
        assert await refused(client, *place, "market", opening, 100_000) in (-2019, -4005)


async def test_old_endpoint_refuses_conditional_types() -> None:
    async with rig() as it:
        order = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "stopPrice": "90000", "closePosition": "true"}
        assert (await it.call("POST", "/fapi/v1/order", order))[1]["code"] == -4120


async def test_signature_timestamp_and_key_refusals() -> None:
    async with rig() as it, Session(it) as client:
        client.secret = "wrong" * 12
        assert await refused(client, "fetch_balance") == -1022
        client.apiKey = "unknown"
        assert await refused(client, "fetch_balance") == -2015
        client.apiKey = " "
        assert await refused(client, "fetch_balance") == -2014
    async with rig() as it, Session(it) as client:
        client.options["timeDifference"] = 60_000
        assert await refused(client, "fetch_balance") == -1021
        client.options["timeDifference"] = -5_000
        assert await refused(client, "fetch_balance") == -1021
        await client.load_time_difference()
        await client.fetch_balance()
        assert [record.code for record in it.server.requests if record.path.endswith("account")] == [-1021, -1021, 0]


async def test_unserved_hosts_look_like_an_outage() -> None:
    async with rig() as it, Session(it) as client:
        for call in (client.fetch_balance({"portfolioMargin": True}), client.sapi_get_account_status()):
            with pytest.raises(ccxt.ExchangeNotAvailable):
                await call
