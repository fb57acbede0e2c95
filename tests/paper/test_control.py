"""The control endpoint does what it says, to whom it may, and refuses the rest in one sentence; the session is saved and restored whole.

Over 300 lines: one endpoint, each of its commands played.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import ValidationError

from qtkit.core.model import E8, ONE, PolicyError, Ticks
from qtkit.paper.control import ControlDoor, sentence
from qtkit.paper.control_words import Step, Word
from qtkit.paper.deeds import DEEDS
from qtkit.paper.digest import Digest
from qtkit.paper.exchange import Exchange
from qtkit.paper.faults import FaultKind
from qtkit.paper.recipe import Recipe
from qtkit.paper.remote import Remote
from qtkit.paper.server import PaperServer
from qtkit.paper.session import Session
from qtkit.paper.snapshot import load, save
from qtkit.paper.truth import text
from qtkit.venue.gateway import Quote
from tests.paper.control_rig import START, TOKEN, Held, held, session_of
from tests.paper.server_rig import KEY, SECRET, config, redirect

SIDES = pytest.mark.parametrize("side", ["LONG", "SHORT"])
MODES = pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])


# -- what it does


async def test_time_is_held_stepped_hurried_and_let_go(tmp_path: Path) -> None:
    async with held(tmp_path) as it:
        state = await it.ask(it.remote.state)
        assert (state.clock, state.fed, state.now_ms) == ("held", 0, START)
        assert await it.ask(it.remote.step, ticks=12) == f"12 prices fed, it is {START + 1_000}"
        assert await it.ask(it.remote.step, ms=59_500) == f"{59 * 6 - 6 + 6} prices fed, it is {START + 60_500}"
        assert it.session.exchange.now_ms == START + 60_500
        assert await it.ask(it.remote.speed, 500) == "speed is 500, as soon as time goes on"
        with pytest.raises(PolicyError, match="time runs; pause it, then step"):
            await it.ask(it.remote.resume)
            await it.ask(it.remote.step, ticks=1)
        await asyncio.sleep(0.1)
        assert (await it.ask(it.remote.pause)).startswith("time is held at ")
        assert it.session.now_ms > START + 70_000 and (await it.ask(it.remote.state)).speed == 500


@SIDES
@MODES
async def test_a_stranger_opens_adds_reduces_and_closes(tmp_path: Path, side: str, hedge: bool) -> None:
    async with held(tmp_path, hedge=hedge) as it:
        assert (await it.ask(it.remote.opens, "BTCUSDT", side, "0.4")).startswith(f"opened {side} 0.4 BTCUSDT at 93")
        await it.ask(it.remote.opens, "BTCUSDT", side, "0.1")
        await it.ask(it.remote.reduces, "BTCUSDT", side, "0.2")
        (row,) = (await it.ask(it.remote.truth)).positions
        assert (row.side, row.quantity, row.covered, row.position_side) == (side, "0.3", 0, side if hedge else "BOTH")
        assert (await it.ask(it.remote.closes, "BTCUSDT", side)).startswith(f"closed {side} 0.3 BTCUSDT at 93")
        so = await it.ask(it.remote.truth)
        assert (
            not so.positions
            and [(row.side, row.whose) for row in so.fills] == [(so.fills[0].side, "stranger")] * 2 + [(so.fills[-1].side, "stranger")] * 2
        )
        with pytest.raises(PolicyError, match=f"paper holds no {side} position in BTCUSDT"):
            await it.ask(it.remote.closes, "BTCUSDT", side)


@SIDES
async def test_orders_are_placed_and_cancelled_and_are_nobodys_but_the_strangers(tmp_path: Path, side: str) -> None:
    async with held(tmp_path) as it:
        sign, closing = (1, "SELL") if side == "LONG" else (-1, "BUY")
        await it.ask(it.remote.opens, "BTCUSDT", side, "0.4")
        stop, limit = 93_475 - sign * 2_000, 93_475 + sign * 2_000
        assert await it.do(
            "order", symbol="BTCUSDT", side=closing, type="STOP_MARKET", trigger=stop, trigger_by="mark", close_position=True, client_id="s"
        ) == "s: STOP_MARKET BTCUSDT is NEW"  # fmt: skip
        for name in ("l1", "l2"):
            await it.do(
                "order", symbol="BTCUSDT", side=closing, type="LIMIT", price=limit, quantity="0.1", reduce_only=True, client_id=name
            )
        so = await it.ask(it.remote.truth)
        assert {row.client_id: (row.whose, row.by, row.price) for row in so.orders} == {
            "s": ("stranger", "mark", str(stop)), "l1": ("stranger", "book", str(limit)), "l2": ("stranger", "book", str(limit)),
        }  # fmt: skip
        assert (so.positions[0].foreign, so.positions[0].covered) == (100, 0)
        assert await it.ask(it.remote.cancels, "BTCUSDT", "l1") == "l1 cancelled"
        with pytest.raises(PolicyError, match="no open order of BTCUSDT has the id 'l1': did you mean 'l2'"):
            await it.ask(it.remote.cancels, "BTCUSDT", "l1")
        assert await it.ask(it.remote.cancels, "BTCUSDT") == "2 orders of BTCUSDT cancelled"
        assert [row.held for row in (await it.ask(it.remote.truth)).promises if row.name == "no foreign order was touched"] == [True]


async def test_a_price_set_by_hand_stays_and_the_tape_goes_on_from_it(tmp_path: Path) -> None:
    async with held(tmp_path) as it:
        await it.ask(it.remote.step, ms=10_000)
        before = it.session.exchange.book("BTCUSDT")
        assert (await it.ask(it.remote.price, "BTCUSDT", "80000.5")).startswith("BTCUSDT: last 80000.5, mark 80")
        now = it.session.exchange.book("BTCUSDT")
        assert abs(now.mark / now.last - before.mark / before.last) < 1e-9, "mark and last part as before"
        await it.ask(it.remote.step, ms=1_000)
        after = it.session.exchange.book("BTCUSDT")
        assert after.last != now.last and abs(after.last / now.last - 1) < 0.002
        assert [row.symbol for row in (await it.ask(it.remote.state)).markets if row.by_hand] == ["BTCUSDT"]
        await it.ask(it.remote.price, "BTCUSDT", "70000", "70100", stays=False)
        assert it.session.exchange.book("BTCUSDT").mark == 70_100 * ONE
        await it.ask(it.remote.step, ms=1_000)
        assert it.session.exchange.book("BTCUSDT").last > 90_000 * ONE
        with pytest.raises(PolicyError, match=r"last 80000.55 is not on the tick of 0.1; the nearest is 80000.[56]"):
            await it.ask(it.remote.price, "BTCUSDT", "80000.55")


async def test_faults_funding_and_money(tmp_path: Path) -> None:
    async with held(tmp_path) as it:
        said = await it.do("fault", kind="refuse", verb="place", symbol="BTCUSDT", code=-1008, times=2, for_ms=60_000)
        assert said == f"from now on: refuse on place BTCUSDT, 2 times, until {START + 60_000}"
        with pytest.raises(PolicyError, match="lose_event cannot strike place; it strikes event"):
            await it.do("fault", kind="lose_event", verb="place")
        async with _client(it) as client:
            with pytest.raises(Exception, match="-1008"):
                await client.create_order("BTC/USDT:USDT", "market", "buy", 0.01)
            assert await it.do("clear-faults") == "1 faults dropped: nothing goes wrong any more"
            await client.create_order("BTC/USDT:USDT", "market", "buy", 0.01)
        assert (await it.ask(it.remote.state)).fired == {"refuse": 1}
        before = it.session.exchange.accounts["paper"].wallet
        assert await it.do("deposit", amount="-1000.5") == f"paper has {text(before - 100_050_000_000)} USDT"
        hour = START + 3_600_000
        assert (
            await it.do("funding", symbol="BTCUSDT", rate="0.0005", at_ms=hour, hours=1) == f"BTCUSDT pays 0.0005 at {hour} and every 1 h"
        )
        await it.ask(it.remote.step, ms=3_600_000)
        assert [row.rate for row in it.session.exchange.funding_history("BTCUSDT")] == [50_000]
        with pytest.raises(PolicyError, match="give a later at_ms"):
            await it.do("funding", symbol="BTCUSDT", rate="0", at_ms=1)


class _client:  # noqa: N801 - reads as a context
    def __init__(self, it: Held) -> None:
        import ccxt.async_support as ccxt

        base = f"http://127.0.0.1:{it.server.port}"
        self.client = redirect(ccxt.binanceusdm(config(base, KEY, SECRET)), base)

    async def __aenter__(self) -> Any:
        await self.client.load_markets()
        return self.client

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()


class Told:
    """A source of live prices."""

    async def prices(self) -> AsyncIterator[Quote]:
        yield Quote(symbol="BTCUSDT", last=Ticks(960_000), mark=E8(9_601_000_000_000), time_ms=START + 5)
        await asyncio.sleep(60)


async def test_live_prices_can_be_looked_at_and_traded_and_neither_held_nor_saved(tmp_path: Path) -> None:
    exchange = Exchange(start_ms=START)
    exchange.open_account("paper", balance=E8(100_000 * ONE))
    session = Session(exchange, Recipe(start_ms=START), source=Told(), symbols=("BTCUSDT",), folder=tmp_path)
    server = PaperServer(exchange, keys={KEY: (SECRET, "paper")}, faults=session.faults)
    session.server, server.control = server, ControlDoor(session, TOKEN)
    await server.start()
    try:
        async with session:
            assert session.live is not None
            await session.live.wait(5)
            it = Held(session, server, Remote(f"http://127.0.0.1:{server.port}", TOKEN))
            state = await it.ask(it.remote.state)
            assert (state.clock, state.fed, state.tape) == ("live", 1, ("live prices of BTCUSDT",))
            assert (await it.ask(it.remote.opens, "BTCUSDT", "LONG", "0.1")).startswith("opened LONG 0.1 BTCUSDT at 96")
            for command in (it.remote.pause, lambda: it.remote.save("a"), lambda: it.remote.step(ms=5)):
                with pytest.raises(PolicyError, match="prices are live: they come at their own time"):
                    await it.ask(command)
            async with aiohttp.ClientSession() as http, http.get(f"{it.remote.url}/qtkit/") as answer:
                assert "live prices of BTCUSDT" in await answer.text()
    finally:
        await server.stop()


async def test_commands_take_turns(tmp_path: Path) -> None:
    async with held(tmp_path) as it:
        await it.ask(it.remote.save, "a")
        long = asyncio.create_task(it.ask(it.remote.step, ms=1_200_000))
        await asyncio.sleep(0.03)
        assert (await it.ask(it.remote.restore, "a")).startswith(f"it is {START} again")
        assert "7206 prices" in await long and (it.session.now_ms, it.session.fed) == (START, 0)


# -- who may


KNOWN = {"Authorization": f"Bearer {TOKEN}"}
UNASKED = (
    ("GET", "state", {}, 401, "the token is wrong"),
    ("POST", "pause", {"Authorization": "Bearer " + "u" * 32}, 401, "paper.token"),
    ("POST", "pause", {"Authorization": f"Bearer {TOKEN}", "Host": "evil.example:80"}, 403, "ask under 127.0.0.1"),
    ("GET", "", {"Host": "evil.example"}, 403, "evil.example"),
    ("GET", "pause", KNOWN, 405, "pause is asked with POST"),
    ("POST", "truth", KNOWN, 405, "truth is asked with GET"),
    ("POST", "puase", KNOWN, 404, "did you mean 'pause'?"),
    ("DELETE", "", KNOWN, 404, "there is no ''"),
)


async def test_who_may_not_is_told_why(tmp_path: Path) -> None:
    async with held(tmp_path) as it, aiohttp.ClientSession() as http:
        for method, path, headers, status, words in UNASKED:
            async with http.request(method, f"{it.remote.url}/qtkit/{path}", headers=headers) as answer:
                assert answer.status == status and words in (await answer.json())["error"], (method, path)
        assert it.session.pump.paused


async def test_the_client_tells_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no paper exchange runs in"):
        Remote.at(tmp_path)
    (tmp_path / "paper.token").write_text("{}")
    with pytest.raises(PolicyError, match="is no token of a paper exchange"):
        Remote.at(tmp_path)
    with pytest.raises(PolicyError, match="does not answer"):
        await asyncio.to_thread(Remote("http://127.0.0.1:9", TOKEN).state)
    assert TOKEN not in repr(Remote("x", TOKEN))
    with pytest.raises(PolicyError, match="at least 20 characters"):
        ControlDoor(session_of(tmp_path), "short")


WRONG = (
    ("trade", '{"symbol": "BTCUSDT", "side": "LONG", "quantitty": 1}', "trade: there is no 'quantitty': did you mean 'quantity'?"),
    ("trade", '{"symbol": "BTCUSDT", "side": "LONG"}', "opening and reducing need a quantity in coins"),
    ("trade", '{"symbol": "BTCUSD", "side": "LONG", "quantity": 1}', "BTCUSD is not traded here: did you mean 'BTCUSDT'?"),
    ("trade", '{"symbol": "BTCUSDT", "side": "LONG", "quantity": 1, "account": "papre"}', "no account 'papre': did you mean 'paper'?"),
    ("trade", '{"symbol": "BTCUSDT", "side": "LONG", "quantity": "0.0004"}', "is not on the lot of 0.001; the nearest is 0.001"),
    ("trade", '{"symbol": "BTCUSDT", "side": "LONG", "quantity": -1}', "quantity: input should be greater than 0, got -1"),
    ("trade", '{"symbol": "BTCUSDT", "side": "long", "quantity": 1}', "side: input should be 'LONG' or 'SHORT', got 'long'"),
    ("trade", '{"side": "LONG", "quantity": 1}', "trade: symbol is missing"),
    ("trade", '{"symbol": "BTCUSDT", "side": "LONG", "quantity": 100}', "the exchange refuses: -20"),
    ("price", '{"symbol": "BTCUSDT", "last": "NaN"}', "last: input should be a finite number"),
    ("price", '{"symbol": "BTCUSDT", "last": "1e99"}', "last: "),
    ("price", '{"symbol": "LTCUSDT", "last": "80"}', "the exchange refuses: -4131"),
    ("speed", '{"speed": 0}', "speed: input should be greater than 0"),
    ("speed", '{"speed": "Infinity"}', "speed: "),
    ("pause", '{"now": true}', "pause: it takes nothing"),
    ("pause", "[]", "pause: it takes a JSON object"),
    ("pause", "nonsense", "pause: it takes a JSON object"),
    ("step", "{}", "step: give ticks or ms, one of them"),
    ("save", '{"file": "../escape"}', "file: string should match pattern"),
    ("restore", '{"file": "none"}', "there is no snapshot 'none': none was saved"),
    ("cancel", '{"symbol": "BTCUSDT"}', "give a client_id, or all = true"),
    ("cancel", '{"symbol": "BTCUSDT", "client_id": "x"}', "has the id 'x': none is open"),
    ("order", '{"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET"}', "the exchange refuses: -1102"),
    ("fault", '{"kind": "acept_drop"}', "kind: input should be"),
    ("deposit", '{"amount": "1"' + " " * 100_001 + "}", "a command has at most 100,000 bytes"),
)


async def test_what_is_asked_wrongly_is_refused_in_one_sentence(tmp_path: Path) -> None:
    async with held(tmp_path) as it, aiohttp.ClientSession() as http:
        before = Digest(it.session.exchange)
        for command, body, words in WRONG:
            async with http.post(f"{it.remote.url}/qtkit/{command}", data=body, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
                said = (await answer.json())["error"]
            assert answer.status == 400 and words in said and "\n" not in said and "pydantic" not in said, (command, body, said)
        assert before.count == 0 and not it.session.faults.lines, "nothing was done"


async def test_every_command_is_documented_and_refuses_what_it_does_not_know() -> None:
    for name, deed in DEEDS.items():
        assert deed.does.__doc__ and deed.takes.__doc__ and issubclass(deed.takes, Word), name
        with pytest.raises(ValidationError) as wrong:
            deed.takes.model_validate_json('{"nothing_of_that_name": 1}')
        assert "nothing" in sentence(wrong.value, deed.takes) or "missing" in sentence(wrong.value, deed.takes)
    assert set(FaultKind) and Step(ticks=1).ms is None


# -- saved and restored


@pytest.mark.parametrize(("seed", "steps", "regime"), [(3, 1, ""), (479, 61, "crash"), (5, 40, "thin")])
def test_a_resumed_session_has_the_same_future(tmp_path: Path, seed: int, steps: int, regime: str) -> None:
    async def play() -> None:
        session = session_of(tmp_path, seed=seed, regimes=(regime,) if regime else (), speed=3)
        async with session:
            await session.step(ticks=steps)
            await session.step(ms=400)
            session.set_price("SOLUSDT", session.exchange.book("SOLUSDT").last // 1_000_000 + 25)
            session.save(tmp_path / "a")
            again = Session.resumed(tmp_path / "a")
            assert (again.pump.speed, again.pump.paused, again.fed) == (3, True, session.fed)
            digests = [Digest(session.exchange), Digest(again.exchange)]
            async with again:
                for one in (session, again):
                    await one.step(ms=1_500)
                    await one.step(ticks=3_000)
                    await one.step(ms=4_000_000)
            assert str(digests[0]) == str(digests[1]) and digests[0].count > 3_000
            assert again.scales == session.scales and again.fed == session.fed

    asyncio.run(play())


async def test_a_running_exchange_goes_back_and_its_clients_read_anew(tmp_path: Path) -> None:
    async with held(tmp_path) as it, aiohttp.ClientSession() as http:
        await it.ask(it.remote.opens, "BTCUSDT", "LONG", "0.2")
        await it.do("fault", kind="drop", verb="place", times=3)
        await it.ask(it.remote.step, ms=5_000)
        said = await it.ask(it.remote.save, "a.snapshot")
        assert str(tmp_path / "snapshots" / "a.snapshot") in said
        saved = it.session.now_ms
        await it.ask(it.remote.step, ms=60_000)
        await it.ask(it.remote.closes, "BTCUSDT", "LONG")
        await it.do("clear-faults")
        async with http.ws_connect(f"{it.remote.url}/ws/btcusdt@markPrice") as socket:
            assert (await it.ask(it.remote.restore, "a.snapshot")).startswith(f"it is {saved} again")
            async with asyncio.timeout(5):
                told = await socket.receive()
                assert (told.type, told.data) == (aiohttp.WSMsgType.CLOSE, 1012)
            assert all(row.time_ms <= saved for row in it.server._desk.prints.recent("BTCUSDT")), "what was traded later was not"
        state, so = await it.ask(it.remote.state), await it.ask(it.remote.truth)
        assert (state.now_ms, state.fed, state.clock, len(state.faults)) == (saved, 36, "held", 1)
        assert [(row.symbol, row.quantity) for row in so.positions] == [("BTCUSDT", "0.2")]
        await it.do("clear-faults")
        async with http.ws_connect(f"{it.remote.url}/ws/btcusdt@markPrice") as socket, _client(it) as client:
            await it.ask(it.remote.step, ms=1_000)
            assert json.loads((await socket.receive()).data)["E"] == it.session.now_ms
            assert [float(row["contracts"]) for row in await client.fetch_positions()] == [0.2]


async def test_a_book_that_was_read_goes_on_rightly_when_all_goes_back(tmp_path: Path) -> None:
    """A client that connects anew after a restore has the book of a new snapshot, whatever the readers before it were told."""
    async with held(tmp_path) as it, aiohttp.ClientSession() as http:
        stream, depth = f"{it.remote.url}/ws/btcusdt@depth", f"{it.remote.url}/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
        await it.ask(it.remote.save, "a")
        async with http.ws_connect(stream) as socket:
            await it.ask(it.remote.opens, "BTCUSDT", "LONG", "3")
            await it.ask(it.remote.step, ms=3_000)
            before = json.loads((await socket.receive()).data)["u"]
            await it.ask(it.remote.restore, "a")
        async with http.ws_connect(stream) as socket:
            await asyncio.sleep(0.05)
            snapshot = await (await http.get(depth)).json()
            await it.ask(it.remote.step, ms=1_000)
            now = await (await http.get(depth)).json()
            events = [json.loads((await socket.receive()).data)]
            assert before < events[0]["U"] <= snapshot["lastUpdateId"] <= events[0]["u"]
            while events[-1]["u"] < now["lastUpdateId"] - 1:
                events.append(json.loads((await socket.receive()).data))
            for shown, told in (("bids", "b"), ("asks", "a")):
                known = dict(snapshot[shown])
                for event in events:
                    known |= dict(event[told])
                assert {price: size for price, size in known.items() if float(size)} == dict(now[shown])


async def test_what_cannot_be_restored_changes_nothing(tmp_path: Path) -> None:
    async with held(tmp_path) as it:
        await it.ask(it.remote.step, ms=5_000)
        await it.ask(it.remote.save, "a")
        file = tmp_path / "snapshots" / "a"
        (tmp_path / "snapshots" / "junk").write_text("junk")
        async with held(tmp_path / "other", seed=8) as other:
            other.session.folder = it.session.folder
            with pytest.raises(PolicyError, match="is of another tape; end this exchange and start one with --resume"):
                await other.ask(other.remote.restore, "a")
            other.session.exchange.open_account("second", balance=ONE)  # type: ignore[arg-type]
        with pytest.raises(PolicyError, match="it is no snapshot of a paper exchange"):
            await it.ask(it.remote.restore, "junk")
        about = load(file).about
        save(file, load(file).exchange, about | {"newest": replace(about["newest"], last=1)})
        with pytest.raises(PolicyError, match="the tape is not the one that was saved"):
            await it.ask(it.remote.restore, "a")
        assert it.session.now_ms == START + 5_000 and await it.ask(it.remote.step, ticks=1)


async def test_a_snapshot_of_an_exchange_alone_is_no_session(tmp_path: Path) -> None:
    save(tmp_path / "a", session_of(tmp_path).exchange)
    with pytest.raises(PolicyError, match="it holds an exchange without a tape"):
        Session.resumed(tmp_path / "a")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"trades": "a", "folders": ("b",)}, "not from both"),
        ({"quotes": "a"}, "name the file of trades too"),
        ({"regimes": ("crash",), "trades": "a"}, "regimes are those of made prices"),
        ({"regimes": ("crsh",)}, "'crsh' is no regime: did you mean 'crash'?"),
        ({"path": "worst"}, "a path inside the bar needs bars"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(PolicyError, match=words.replace("?", r"\?")):
        Recipe(start_ms=START, **more)


# -- the page


async def test_the_status_page_loads_nothing_and_escapes_everything(tmp_path: Path) -> None:
    async with held(tmp_path) as it, aiohttp.ClientSession() as http:
        await it.ask(it.remote.opens, "BTCUSDT", "LONG", "0.2")
        await it.do("fault", kind="drop", verb="place", client_prefix="<script>alert(1)</script>")
        async with http.get(f"{it.remote.url}/qtkit/") as answer:
            page, policy = await answer.text(), answer.headers["Content-Security-Policy"]
        assert answer.status == 200 and answer.content_type == "text/html" and "default-src 'none'" in policy and "script" not in policy
        assert "<script" not in page and "&lt;script&gt;alert(1)" in page
        assert not [word for word in ("http://", "https://", "src=", "href=", "@import", "url(") if word in page]
        assert 'http-equiv="refresh"' in page and "NAKED" in page and "2026-01-05 00:00:00 UTC" in page and "held" in page
        assert KEY not in page and TOKEN not in page
        await it.ask(it.remote.closes, "BTCUSDT", "LONG")
        async with http.get(f"{it.remote.url}/qtkit/") as answer:
            assert "nothing is open" in await answer.text()
