"""What the operator reads: spans as people say them, why nothing is opened, what a scope leaves out, alarms once each."""

from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from qtkit.core.ids import client_order_id
from qtkit.core.model import PolicyError, Scope, Side
from qtkit.operate import Adopt, PlanAnew, Release, SetStop, operate
from qtkit.signals import Signal
from tests.story.rig import SIDES, World, desk

SYMBOL = "SOLUSDT"
both_sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name.lower())


@pytest.mark.parametrize(
    ("seconds", "told"), [(60, "1 min"), (1_800, "30 min"), (5_400, "90 min"), (7_200, "2 h"), (86_400, "1 d"), (90, "90 s")]
)
async def test_a_release_is_for_a_span_that_people_say(seconds: int, told: str, tmp_path: Path) -> None:
    async with desk(World(), tmp_path) as rig:
        said = await operate(rig.monitor, Release(symbol=SYMBOL, cancel=False, seconds=seconds), dry_run=True)
        assert said.text.startswith(f"{SYMBOL} is released for {told}: ")


@both_sides
async def test_a_stop_past_the_mark_says_how_to_close_that_very_position(side: Side, tmp_path: Path) -> None:
    world = World()
    async with desk(world, tmp_path) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        beyond = "@1000" if side is Side.LONG else "@1"
        with pytest.raises(PolicyError, match=f"would fire at once.*`qtkit flatten {SYMBOL}` closes the position"):
            await operate(rig.monitor, SetStop(symbol=SYMBOL, stop=beyond), dry_run=True)


async def test_a_signal_on_a_released_symbol_says_until_when(tmp_path: Path) -> None:
    async with desk(World(), tmp_path) as rig:
        await rig.passes(1)
        await operate(rig.monitor, Release(symbol=SYMBOL, cancel=False, seconds=3_600, reason="by hand"), dry_run=False)
        signal = Signal.from_dict({"symbol": SYMBOL, "side": "long", "quantity": "5", "stop": "3%"})
        until = rf"{SYMBOL} is released until \d{{4}}-\d\d-\d\d \d\d:\d\d UTC \(by hand\), nothing is opened there; `qtkit adopt {SYMBOL}`"
        with pytest.raises(PolicyError, match=until):
            await rig.executor.execute(signal)
        await operate(rig.monitor, Adopt(symbol=SYMBOL, scope=Scope.GUARD), dry_run=False)
        with pytest.raises(PolicyError, match=f"account paper is in scope guard on {SYMBOL}: it opens no positions"):
            await rig.executor.execute(signal)


@pytest.mark.parametrize("scope", [Scope.GUARD, Scope.FULL])
@pytest.mark.parametrize("policy", ["trailing_tp", "staged"])
async def test_a_policy_with_targets_says_that_guard_places_none(policy: str, scope: Scope, tmp_path: Path) -> None:
    world = World()
    async with desk(world, tmp_path, scope=scope) as rig:
        world.stranger(SYMBOL, Side.SHORT, 10)
        await rig.passes(3)
        said = await operate(rig.monitor, PlanAnew(symbol=SYMBOL, policy=policy), dry_run=False)
        assert ("in scope guard its targets are not placed" in said.text) is (policy == "trailing_tp" and scope is Scope.GUARD)
        await rig.passes(3)
        assert bool(world.targets(SYMBOL, Side.SHORT)) is (policy == "trailing_tp" and scope is Scope.FULL)


async def test_an_alarm_is_logged_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    structlog.reset_defaults()  # a command that was quiet in this process leaves its level behind
    world = World()
    async with desk(world, tmp_path) as rig:
        with capture_logs() as heard:
            world.stranger(SYMBOL, Side.LONG, 10)
            strange = world.rests(SYMBOL, Side.LONG, 5, name=client_order_id("abcd", "somebody's plan", "s0", 1))
            await rig.passes(60)
            assert any("another desk's orders rest" in alarm for alarm in rig.monitor.health.alarms)
            assert [row["log_level"] for row in heard if row["event"] == "alarm"] == ["error"]
            world.takes_away(strange)
            await rig.passes(30)
        rows = [row for row in heard if row["event"] == "alarm"]
        assert [row["log_level"] for row in rows] == ["error", "info"] and "another desk's" in rows[1]["over"]


@both_sides
async def test_a_position_is_a_line_of_the_log_when_it_changes_and_once_a_minute(tmp_path: Path, side: Side) -> None:
    """One line a pass and position pushed what had happened out of the log within the 48 hours of watching."""
    world = World()
    async with desk(world, tmp_path, scope=Scope.WATCH) as rig:
        world.stranger(SYMBOL, side, 10)
        with capture_logs() as lines:
            await rig.passes(90)
            quiet = [line for line in lines if line["event"] == "cover"]
            world.stranger(SYMBOL, side, 5)
            await rig.passes(1)
        cover = [line for line in lines if line["event"] == "cover"]
        assert 3 <= len(quiet) <= 5 and len(cover) == len(quiet) + 1 and cover[-1]["lots"] > cover[0]["lots"]
