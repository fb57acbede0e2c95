"""What the exchange does of its own accord, told to it over the control endpoint; and how a client sees it, over the wire."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from qtkit.core.model import ONE, PolicyError
from qtkit.paper.control_words import Market
from qtkit.paper.liquidity import THIN, Liquidity
from qtkit.paper.market_file import fields_of
from qtkit.paper.rows import ADL
from qtkit.paper.rules import Rules
from tests.paper.control_rig import Held, held
from tests.paper.server_rig import KEY
from tests.paper.test_control import MODES, SIDES

BTC = "BTCUSDT"


async def told(http: aiohttp.ClientSession, it: Held, path: str) -> Any:
    """A public answer."""
    async with http.get(f"{it.remote.url}{path}") as answer:
        return json.loads(await answer.text())


@SIDES
@MODES
async def test_a_position_is_deleveraged_in_part_at_a_price_and_whole_at_the_mark(tmp_path: Path, side: str, hedge: bool) -> None:
    async with held(tmp_path, hedge=hedge) as it:
        await it.ask(it.remote.opens, BTC, side, "0.4")
        said = await it.do("deleverage", symbol=BTC, side=side, quantity="0.1", price="93000")
        assert said == f"deleveraged {side} 0.1 {BTC} at 93000"
        account = it.session.exchange.accounts["paper"]
        assert account.trades[-1].client_id.startswith(ADL) and account.trades[-1].commission == 0
        assert (await it.do("deleverage", symbol=BTC, side=side)).startswith(f"deleveraged {side} 0.3 {BTC} at 9")
        so = await it.ask(it.remote.truth)
        assert not so.positions and [row.whose for row in so.fills] == ["exchange", "exchange", "stranger"]
        with pytest.raises(PolicyError, match=f"paper holds no {side} position in {BTC}"):
            await it.do("deleverage", symbol=BTC, side=side)
        with pytest.raises(PolicyError, match=r"quantity 0\.00001 is not on the lot of 0.001; the nearest is 0.001"):
            await it.ask(it.remote.opens, BTC, side, "0.4")
            await it.do("deleverage", symbol=BTC, side=side, quantity="0.00001")


@SIDES
async def test_an_account_may_only_reduce_until_it_is_told_otherwise(tmp_path: Path, side: str) -> None:
    async with held(tmp_path) as it, aiohttp.ClientSession() as http:
        await it.ask(it.remote.opens, BTC, side, "0.2")
        assert await it.do("restrict", code=-4192) == "paper may only reduce (-4192)"
        assert (await it.ask(it.remote.state)).accounts[0].restricted == -4192
        with pytest.raises(PolicyError, match="the exchange refuses: -4192"):
            await it.ask(it.remote.opens, BTC, side, "0.1")
        await it.ask(it.remote.reduces, BTC, side, "0.1")
        async with http.get(f"{it.remote.url}/qtkit/") as page:
            assert "may only reduce (-4192)" in await page.text()
        assert await it.do("restrict", code=None) == "paper may do everything"
        await it.ask(it.remote.opens, BTC, side, "0.1")
        assert (await it.ask(it.remote.state)).accounts[0].restricted is None
        with pytest.raises(PolicyError, match="code: input should be -4087, -4192, -4400 or -4401"):
            await it.do("restrict", code=-1)


@SIDES
async def test_a_halted_symbol_is_told_as_one_and_only_reduced(tmp_path: Path, side: str) -> None:
    async with held(tmp_path) as it, aiohttp.ClientSession() as http:

        async def status() -> dict[str, str]:
            return {row["symbol"]: row["status"] for row in (await told(http, it, "/fapi/v1/exchangeInfo"))["symbols"]}

        await it.ask(it.remote.opens, BTC, side, "0.2")
        assert await it.do("halt", symbol=BTC) == f"{BTC} may only be reduced (-4140)"
        with pytest.raises(PolicyError, match="the exchange refuses: -4140"):
            await it.ask(it.remote.opens, BTC, side, "0.1")
        assert {symbol for symbol, said in (await status()).items() if said != "TRADING"} == {BTC}
        assert [row.symbol for row in (await it.ask(it.remote.state)).markets if row.halted] == [BTC]
        async with http.get(f"{it.remote.url}/qtkit/") as page:
            assert "only to be reduced" in await page.text()
        await it.ask(it.remote.closes, BTC, side)
        assert await it.do("halt", symbol=BTC, halted=False) == f"{BTC} trades" and set((await status()).values()) == {"TRADING"}
        await it.ask(it.remote.opens, BTC, side, "0.1")


@SIDES
async def test_a_symbol_gets_another_book_and_orders_pay_for_it(tmp_path: Path, side: str) -> None:
    async with held(tmp_path) as it:
        exchange = it.session.exchange

        async def paid() -> int:
            """How far from the last price an entry fills, E8."""
            await it.ask(it.remote.opens, BTC, side, "0.2")
            await it.ask(it.remote.closes, BTC, side)
            return abs(exchange.accounts["paper"].trades[-2].price - exchange.book(BTC).last)

        usual = await paid()
        assert await it.do("market", symbol=BTC, like="thin") == f"{BTC}: another book, nothing of it taken yet"
        assert exchange.liquidity(BTC) == THIN and exchange.liquidity("SOLUSDT") == Liquidity()
        assert await paid() > 3 * usual
        await it.do("market", symbol=BTC, half_spread_bps="20", depth=None)
        book = exchange.liquidity(BTC)
        assert (book.half_spread, book.depth, book.level) == (20 * ONE // 10_000, None, THIN.level)
        assert (await it.do("market", like="exact")).startswith("all 11 symbols")
        assert await paid() == 0
        for wrong, words in (
            ({}, "give like, or what of the book is to be otherwise"),
            ({"depht": 1}, "there is no 'depht': did you mean 'depth'?"),
            ({"half_spread_bps": 10_000}, "half_spread_bps: input should be less than 10000"),
            ({"symbol": "BTCUSD", "like": "thin"}, "BTCUSD is not traded here: did you mean 'BTCUSDT'?"),
        ):
            with pytest.raises(PolicyError, match=words.replace("?", r"\?")):
                await it.do("market", **wrong)


@SIDES
async def test_an_unproven_rule_is_turned_while_it_runs(tmp_path: Path, side: str) -> None:
    async with held(tmp_path) as it, aiohttp.ClientSession() as http:
        await it.ask(it.remote.opens, BTC, side, "0.4")
        closing, sign = ("SELL", 1) if side == "LONG" else ("BUY", -1)
        stop = {"symbol": BTC, "side": closing, "type": "STOP_MARKET", "trigger": 93_475 - sign * 2_000, "close_position": True}
        assert (await it.ask(it.remote.state)).rules == {}
        assert await it.do("rule", name="slot_lag_ms", value=1_000) == "slot_lag_ms is 1000 from now on"
        await it.do("order", **stop, client_id="a")
        await it.ask(it.remote.cancels, BTC, "a")
        with pytest.raises(PolicyError, match="the exchange refuses: -4130"):
            await it.do("order", **stop, client_id="b")
        await it.ask(it.remote.step, ms=1_100)
        await it.do("order", **stop, client_id="b")
        for name, value in (
            ("trade_before_algo", False),
            ("close_position_tif", "GTC"),
            ("reduce_only_failure", "EXPIRED"),
            ("callback_max", None),
        ):
            await it.do("rule", name=name, value=value)
        rules = it.session.exchange.rules
        assert (rules.trade_before_algo, rules.close_position_tif.value, rules.callback_max) == (False, "GTC", None)
        assert (await it.ask(it.remote.state)).rules == {
            "slot_lag_ms": "1000", "trade_before_algo": "false", "close_position_tif": "GTC", "reduce_only_failure": "EXPIRED",
        }  # fmt: skip
        async with http.get(f"{it.remote.url}/qtkit/") as page:
            assert "slot_lag_ms" in await page.text()
        await it.ask(it.remote.save, "a")
        await it.do("rule", name="slot_lag_ms", value=0)
        await it.ask(it.remote.restore, "a")
        assert it.session.exchange.rules == rules, "a snapshot keeps them"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("slot_lag", 1, "there is no rule 'slot_lag': did you mean 'slot_lag_ms'?"),
        ("liquidity", None, "there is no rule 'liquidity'"),
        ("slot_lag_ms", -1, "slot_lag_ms is at least 0, not -1"),
        ("slot_lag_ms", True, "slot_lag_ms: input should be a valid integer, got True"),
        ("take_bound", 1, "take_bound: input should be a valid boolean, got 1"),
        ("immediate_code", -1, "immediate_code is one of -2021, -4142, not -1"),
        ("close_position_tif", "FOK", "close_position_tif is one of GTE_GTC, GTC, not FOK"),
        ("reduce_only_failure", "GONE", "reduce_only_failure: input should be 'NEW', "),
    ],
)
async def test_a_rule_that_no_exchange_could_have_is_refused(tmp_path: Path, name: str, value: object, words: str) -> None:
    async with held(tmp_path) as it:
        with pytest.raises(PolicyError, match=words.replace("?", r"\?")):
            await it.do("rule", name=name, value=value)
        assert it.session.exchange.rules == Rules()


async def test_websockets_are_cut_and_a_listen_key_runs_out(tmp_path: Path) -> None:
    async with held(tmp_path) as it, aiohttp.ClientSession() as http, asyncio.timeout(20):
        async with http.post(f"{it.remote.url}/fapi/v1/listenKey", headers={"X-MBX-APIKEY": KEY}) as answer:
            key = json.loads(await answer.text())["listenKey"]
        async with (
            http.ws_connect(f"{it.remote.url}/private/ws?listenKey={key}") as user,
            http.ws_connect(f"{it.remote.url}/market/ws/btcusdt@markPrice") as prices,
        ):
            assert await it.do("cut", account="paper", code=1008) == "user streams of paper closed with 1008"
            assert ((await user.receive()).data, user.close_code, prices.closed) == (1008, 1008, False)
            assert (await it.do("cut", code=1001)).endswith("websockets closed with 1001")
            assert (await prices.receive()).data == 1001
        async with http.ws_connect(f"{it.remote.url}/private/ws?listenKey={key}") as user:
            assert (await it.do("expire")).startswith("the listen key of paper has run out")
            assert json.loads((await user.receive()).data)["e"] == "listenKeyExpired" and not user.closed
            await it.ask(it.remote.opens, BTC, "LONG", "0.1")
            with pytest.raises(asyncio.TimeoutError):
                await user.receive(timeout=0.3)
        with pytest.raises(PolicyError, match="no account 'papre'"):
            await it.do("expire", account="papre")
        it.session.server = None
        with pytest.raises(PolicyError, match="this exchange is not served"):
            await it.do("cut")


def test_the_words_of_a_book_are_those_of_the_file() -> None:
    names = set(Market.model_fields) - {"symbol", "like"}
    assert {*fields_of(dict.fromkeys(names, Decimal(1)))} == {field for field in Liquidity.__dataclass_fields__}
