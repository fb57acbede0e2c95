"""The incident against a real server through real ccxt: five shorts in profit that nobody protected, and the checks that were asked for.

The objects are built with no arguments, as the documents do: where a desk runs they are its clients, else they take its place for one act.
Each act is judged by the exchange's own books, not by a log line alone.
"""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from qtkit.core.model import PolicyError, Side
from qtkit.desk import read_heartbeat
from qtkit.executor import EventDrivenExecutor
from qtkit.home import Paths
from qtkit.monitor import PositionMonitor
from qtkit.router import ExitRouter
from qtkit.trailing import TrailingStopManager
from tests.story.rig import INCIDENT
from tests.story.venue import DeskProcess, Venue

COINS = {"AVAXUSDT": "100", "ADAUSDT": "3000", "BTCUSDT": "0.02", "SOLUSDT": "10", "DOTUSDT": "500"}
PROFITS = {"AVAXUSDT": "0.4", "ADAUSDT": "2", "BTCUSDT": "3.2", "SOLUSDT": "3.6", "DOTUSDT": "3.9"}  # of the price, %
CONSOLE = (
    "from qtkit.router import ExitRouter; router = ExitRouter(); "
    "[print(s, router.get_active_plan(s)) for s in ('BTCUSDT', 'SOLUSDT', 'DOTUSDT', 'ADAUSDT', 'AVAXUSDT')]"
)
MISSING = "No trail percentage set"


@pytest.fixture(scope="module", params=["desk", "alone"])
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """An exchange with the positions that the documents' tests name; with a desk's process beside, or without."""
    venue = Venue(tmp_path_factory.mktemp("asked"))
    desk = DeskProcess(venue) if request.param == "desk" else None
    if desk is not None:
        desk.wait_for(lambda: Paths(venue.home).of("paper").heartbeat.exists())
    yield venue
    if desk is not None:
        assert MISSING not in desk.log
        desk.kill()
    venue.stop()


@pytest.fixture
def here(asked: Venue, monkeypatch: pytest.MonkeyPatch) -> Venue:
    """This process lives in the home of the exchange."""
    for name, value in asked.environment.items():
        monkeypatch.setenv(name, value)
    return asked


async def test_an_order_of_the_executor_has_a_plan_that_a_fresh_router_finds_and_stops_that_rest(here: Venue) -> None:
    executor = EventDrivenExecutor()
    execution = await executor.place_order("XRPUSDT", "BUY", 100)
    plan = ExitRouter().get_active_plan("XRPUSDT")
    assert plan is not None and plan.legs and plan.strategy_id in ["scaled_tp", "trailing_tp"]
    assert execution.plan == plan.uid and not plan.adopted
    assert here.held("XRPUSDT") == 100 and here.naked() == []
    assert {row.client_id[6:8] for row in here.own("XRPUSDT")} >= {"f0", "s0"}


async def test_the_monitor_makes_the_missing_plan_and_its_orders_and_does_not_do_it_twice(here: Venue) -> None:
    here.price("BTCUSDT", "95000")
    here.opened("BTCUSDT", Side.LONG, "0.01")
    here.price("BTCUSDT", "96000")
    monitor = PositionMonitor()
    position = {"symbol": "BTCUSDT", "positionAmt": "0.01", "entryPrice": "95000", "markPrice": "96000", "unrealizedProfit": "10"}
    await monitor.should_adjust_tpsl(position)
    plan = ExitRouter().get_active_plan("BTCUSDT")
    assert plan is not None and not plan.provisional
    assert await monitor.should_adjust_tpsl(position) is False
    again = ExitRouter().get_active_plan("BTCUSDT")
    assert again is not None and again.uid == plan.uid
    orders = here.own("BTCUSDT")
    assert here.naked() == [] and len({row.client_id for row in orders}) == len(orders)
    assert all(row.trigger < 96_000 * 10**8 for row in orders if row.client_id[6:8] in ("f0", "s0"))


async def test_the_trailing_manager_reads_the_plan_that_the_router_made(here: Venue) -> None:
    here.price("ETHUSDT", "3500")
    here.opened("ETHUSDT", Side.LONG, "1.0")
    here.price("ETHUSDT", "3600")
    position = {"symbol": "ETHUSDT", "positionAmt": "1.0", "entryPrice": "3500", "markPrice": "3600", "unrealizedProfit": "100"}
    await ExitRouter().get_or_create_plan(position, None, None, None)
    config = TrailingStopManager().get_trail_config_from_plan("ETHUSDT")
    assert config["enabled"] is True and config["callback_pct"] > 0
    await PositionMonitor().should_adjust_tpsl(position)
    assert here.naked() == []


async def test_a_plan_of_a_position_that_is_not_there_is_provisional_and_places_nothing(here: Venue) -> None:
    position = {"symbol": "LTCUSDT", "positionAmt": "-5", "entryPrice": "80", "markPrice": "80", "unrealizedProfit": "0"}
    plan = await ExitRouter().get_or_create_plan(position)
    assert plan.provisional and plan.side is Side.SHORT
    same = await ExitRouter().get_or_create_plan(position)
    assert same.uid == plan.uid and here.own("LTCUSDT") == []


async def test_a_wrong_question_is_answered_in_a_sentence(here: Venue) -> None:
    with pytest.raises(PolicyError, match="BTCUSDT"):
        await EventDrivenExecutor().place_order("BTCUSD", "BUY", 1)
    with pytest.raises(PolicyError, match="no exit plan"):
        TrailingStopManager().get_trail_config_from_plan("DOTUSDT")
    with pytest.raises(PolicyError, match="use 'trend'"):
        await ExitRouter().get_or_create_plan(
            {"symbol": "DOTUSDT", "positionAmt": "1", "entryPrice": "2.2", "markPrice": "2.2"}, None, None, {"trend_strength": 1}
        )


async def test_a_caller_s_wrong_dict_does_not_take_the_plan_of_a_real_position_away(here: Venue) -> None:
    here.opened("SOLUSDT", Side.SHORT, "10")
    real = {"symbol": "SOLUSDT", "positionAmt": "-10", "entryPrice": "142.4", "markPrice": "142.4", "unrealizedProfit": "0"}
    await PositionMonitor().should_adjust_tpsl(real)
    before = {row.client_id for row in here.own("SOLUSDT")}
    await ExitRouter().get_or_create_plan({**real, "positionAmt": "10"})
    await PositionMonitor().should_adjust_tpsl(real)
    plan = ExitRouter().get_active_plan("SOLUSDT")
    assert plan is not None and plan.side is Side.SHORT
    assert here.naked() == [] and {row.client_id for row in here.own("SOLUSDT")} >= {name for name in before if name[6:8] in ("s0", "f0")}


@pytest.fixture
def incident(tmp_path: Path) -> Iterator[Venue]:
    """Five shorts of somebody's, in profit or not, without a stop."""
    venue = Venue(tmp_path / "incident")
    for symbol, coins in COINS.items():
        venue.opened(symbol, Side.SHORT, coins)
        profit = Decimal(PROFITS[symbol]) if symbol != "AVAXUSDT" else -Decimal(PROFITS[symbol])
        venue.price(symbol, Decimal(INCIDENT[symbol]) * (100 - profit) / 100)
    assert len(venue.naked()) == 5
    yield venue
    venue.stop()


def test_a_desk_covers_the_five_shorts_trails_them_and_survives_kill_9(incident: Venue) -> None:
    desk = DeskProcess(incident)
    try:
        desk.wait_for(lambda: incident.naked() == [])
        desk.wait_for(lambda: desk.log.count("[EXIT BRAIN V3]") >= 5 and "Created exit plan" in desk.log)
        lines = incident.python(CONSOLE).splitlines()
        assert len(lines) == 5 and all("ExitPlan(" in line for line in lines), lines
        for symbol, price in INCIDENT.items():
            for step in range(4, 8):  # minute by minute to +7 %
                incident.price(symbol, Decimal(price) * (100 - step) / 100, ms=61_000)
        desk.wait_for(lambda: desk.log.count("ACTIVATING TRAILING STOP") >= 5)
        desk.wait_for(lambda: all(_follows(incident, symbol) for symbol in INCIDENT))
        assert MISSING not in desk.log
        ids = {symbol: {row.client_id for row in incident.own(symbol)} for symbol in INCIDENT}
    finally:
        desk.kill()
    again = DeskProcess(incident)
    try:
        passes = _passes(incident)
        again.wait_for(lambda: _passes(incident) not in (passes, 0) and _passes(incident) >= 4)
        assert {symbol: {row.client_id for row in incident.own(symbol)} for symbol in INCIDENT} == ids, "a restart changed the orders"
    finally:
        again.kill()
    verdict = incident.do(lambda: incident.meter.verdict(adoption_wall_ms=60_000))  # it began naked: the desk needed time to start
    assert all(promise.held for promise in verdict), [promise for promise in verdict if not promise.held]


async def test_without_a_desk_the_monitor_object_alone_covers_them(incident: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in incident.environment.items():
        monkeypatch.setenv(name, value)
    monitor = PositionMonitor()
    assert all(ExitRouter().get_active_plan(symbol) is None for symbol in INCIDENT)
    for symbol, coins in COINS.items():
        mark = Decimal(incident.do(lambda symbol=symbol: incident.exchange.book(symbol).mark)) / 10**8
        raw = {"symbol": symbol, "positionAmt": f"-{coins}", "entryPrice": INCIDENT[symbol], "markPrice": str(mark)}
        await monitor.should_adjust_tpsl({**raw, "unrealizedProfit": "0"})
    assert incident.naked() == []
    assert all(ExitRouter().get_active_plan(symbol) is not None for symbol in INCIDENT)
    lines = incident.python(CONSOLE).splitlines()
    assert len(lines) == 5 and all("ExitPlan(" in line for line in lines), lines


def _follows(venue: Venue, symbol: str) -> bool:
    """True if the one working stop lies a callback of 1 % behind the price, which is at +7 %."""
    stops = [row.trigger for row in venue.own(symbol) if row.client_id[6:8] == "s0"]
    return len(stops) == 1 and stops[0] < Decimal(INCIDENT[symbol]) * 10**8 * 95 / 100


def _passes(venue: Venue) -> int:
    beat = read_heartbeat(Paths(venue.home).of("paper"))
    return 0 if beat is None else int(str(beat["passes"]))
