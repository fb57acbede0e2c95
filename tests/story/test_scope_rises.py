"""What a desk only watched is not its own to act on: when it may act, it takes the position over as it stands then, and trades nothing.

A stop that never rested closes nothing: neither when the scope is raised, nor when a release ends, nor when what was paused goes on.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from qtkit.core import arithmetic
from qtkit.core.distance import decimal
from qtkit.core.model import ONE, PolicyError, Scope, Side
from qtkit.core.policy import GUARD
from qtkit.operate import Adopt, Pause, Release, Resume, operate
from tests.story.rig import Rig, World, desk, faster, story

SYMBOL = "AVAXUSDT"
sides = pytest.mark.parametrize("side", tuple(Side))
hedged = pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])
bars = pytest.mark.parametrize("bars", [True, False], ids=["closed bars", "every price"])
walks = pytest.mark.parametrize(
    "walk", [(-2, -4, -7), (2, 4, 6, 7, 5.5), (3.5, 1, -1)], ids=["through the first stop", "back through the trail", "through break-even"]
)


async def wanders(world: World, rig: Rig, side: Side, walk: tuple[float, ...]) -> None:
    """Minute by minute along these percents, the desk passing all the while."""
    for percent in walk:
        world.move(SYMBOL, side, percent, ms=31_000)
        await rig.passes(1)
        world.move(SYMBOL, side, percent, ms=31_000)
        await rig.passes(1)


def as_it_was(world: World, rig: Rig, side: Side, coins: int = 100) -> None:
    """Nothing was traded; the stop lies where an adoption at the present price puts it, and covers."""
    assert world.held(SYMBOL, side) == coins * ONE and world.own_trades() == []
    episode = rig.monitor.applier.book.episodes[rig.key(SYMBOL, world.slot(side))]
    mark = world.exchange.book(SYMBOL).mark
    assert not arithmetic.stop_hit_e8(side.sign, mark, episode.trail.stop, episode.plan.tick)
    assert abs(mark - episode.trail.stop * episode.plan.tick) * 1_000 >= 9 * mark, "a callback of 1 % from the price of now, or wider"
    assert rig.gaps() == {} and world.stops(SYMBOL, side) != []


@sides
@hedged
@bars
@walks
@pytest.mark.parametrize("scope", [Scope.GUARD, Scope.FULL])
@story
async def test_from_watching_to_acting(tmp_path: Path, side: Side, hedge: bool, bars: bool, walk: tuple[float, ...], scope: Scope) -> None:
    world = World(hedge=hedge)
    async with desk(world, tmp_path / "desk", bars=bars, scope=Scope.WATCH) as rig:
        world.stranger(SYMBOL, side, "100")
        await rig.passes(2)
        await wanders(world, rig, side, walk)
        assert world.own() == [] and rig.monitor.health.alarms == ()
    async with desk(world, tmp_path / "desk", bars=bars, scope=scope, adopted=GUARD if scope is Scope.GUARD else None) as rig:
        await rig.passes(4)
        as_it_was(world, rig, side)
        episode = rig.monitor.applier.book.episodes[rig.key(SYMBOL, world.slot(side))]
        assert not episode.watched and episode.plan.strategy_id == (GUARD.name if scope is Scope.GUARD else episode.plan.strategy_id)
        assert world.targets(SYMBOL, side) == [] or scope is Scope.FULL
        plan = episode.plan.uid
        await rig.passes(4)
        assert rig.monitor.applier.book.episodes[episode.key].plan.uid == plan, "taken over once"


@sides
@walks
@pytest.mark.parametrize("cancel", [True, False], ids=["cancelled", "kept"])
@story
async def test_a_release_that_ends(tmp_path: Path, side: Side, walk: tuple[float, ...], cancel: bool) -> None:
    """With our stop kept resting, it may fire meanwhile; what it never reached goes on behind it, never looser."""
    world = World()
    async with desk(world, tmp_path / "desk", bars=True) as rig:
        world.stranger(SYMBOL, side, "100")
        await rig.passes(3)
        await operate(rig.monitor, Release(symbol=SYMBOL, cancel=cancel, seconds=600, reason="by hand"), dry_run=False)
        await rig.passes(2)
        resting = {row.client_id: row.trigger for row in world.stops(SYMBOL, side)}
        assert bool(resting) is not cancel
        await wanders(world, rig, side, walk)
        assert all("through the planned stop" not in alarm for alarm in rig.monitor.health.alarms)
        if not world.held(SYMBOL, side):
            assert not cancel, "our kept stop fired where it rested"
            return
        traded = len(world.own_trades())
        world.pass_time(600_000)
        await rig.passes(4)
        assert len(world.own_trades()) == traded, "the end of a release trades nothing"
        assert rig.gaps() == {} and world.held(SYMBOL, side) > 0
        (stop,) = world.stops(SYMBOL, side)
        assert all(side.sign * (stop.trigger - before) >= 0 for before in resting.values()), "what rested is not loosened"


@sides
@walks
@story
async def test_what_came_in_a_pause_is_taken_over_when_it_ends(tmp_path: Path, side: Side, walk: tuple[float, ...]) -> None:
    world = World()
    async with desk(world, tmp_path / "desk", bars=True) as rig:
        await rig.passes(1)
        await operate(rig.monitor, Pause(), dry_run=False)
        world.stranger(SYMBOL, side, "100")
        await rig.passes(2)
        await wanders(world, rig, side, walk)
        assert world.own() == []
        await operate(rig.monitor, Resume(), dry_run=False)
        await rig.passes(3)
        as_it_was(world, rig, side)


@sides
@story
async def test_an_adopted_symbol_takes_nothing_new_on_either(tmp_path: Path, side: Side) -> None:
    """What was adopted once is no way around a pause or an arm that has ended; what was held before goes on being protected."""
    world = World()
    async with desk(world, tmp_path / "desk", bars=True) as rig:
        faster(rig, symbols=frozenset())
        world.stranger("SOLUSDT", side, "10")
        for symbol in (SYMBOL, "SOLUSDT"):
            await operate(rig.monitor, Adopt(symbol=symbol, scope=Scope.FULL), dry_run=False)
        await rig.passes(2)
        assert world.stops("SOLUSDT", side)
        rig.monitor.desk = replace(rig.monitor.desk, takes_on_until_ms=world.now_ms)
        world.pass_time(1_000)
        world.stranger(SYMBOL, side, "100")
        await rig.passes(3)
        assert world.own(SYMBOL) == [] and world.stops("SOLUSDT", side)
        with pytest.raises(PolicyError, match="nothing new is taken on"):
            await operate(rig.monitor, Adopt(symbol=SYMBOL, scope=Scope.FULL), dry_run=False)
        rig.monitor.desk = replace(rig.monitor.desk, takes_on_until_ms=None)
        await rig.passes(3)
        as_it_was(world, rig, side)


@sides
@story
async def test_adopting_does_not_go_further_than_the_account(tmp_path: Path, side: Side) -> None:
    world = World()
    async with desk(world, tmp_path / "desk", bars=True, scope=Scope.GUARD) as rig:
        faster(rig, symbols=frozenset(), most=Scope.GUARD)
        world.stranger(SYMBOL, side, "100")
        await rig.passes(1)
        with pytest.raises(PolicyError, match="guard"):
            await operate(rig.monitor, Adopt(symbol=SYMBOL, scope=Scope.FULL), dry_run=False)
        await operate(rig.monitor, Adopt(symbol=SYMBOL, scope=Scope.GUARD), dry_run=False)
        await rig.passes(2)
        assert world.stops(SYMBOL, side) and world.targets(SYMBOL, side) == []


@sides
@pytest.mark.parametrize("how", ["adopted", "the scope is raised", "resumed"])
@story
async def test_it_is_planned_with_the_market_of_that_moment(tmp_path: Path, side: Side, how: str) -> None:
    """By ATR as any adoption is, also by a desk that was started since: it shows beforehand what it then does."""
    world = World()
    async with desk(world, tmp_path / "desk", scope=Scope.WATCH, adopted=GUARD) as rig:
        world.stranger(SYMBOL, side, "100")
        await rig.passes(2)
        if how == "resumed":
            await operate(rig.monitor, Pause(), dry_run=False)
    raised = Scope.FULL if how == "the scope is raised" else Scope.GUARD
    async with desk(world, tmp_path / "desk", scope=raised, adopted=GUARD) as rig:
        faster(rig, symbols=frozenset() if how == "adopted" else None)
        wish = {"adopted": Adopt(symbol=SYMBOL, scope=Scope.GUARD), "resumed": Resume()}.get(how)
        if wish is not None:
            await rig.passes(2)
            assert world.own() == []
            shown = await operate(rig.monitor, wish, dry_run=True)
            done = await operate(rig.monitor, wish, dry_run=False)
            assert {(step.leg, step.trigger) for step in shown.steps} == {(step.leg, step.trigger) for step in done.steps} != set()
        await rig.passes(2)
        episode = rig.monitor.applier.book.episodes[rig.key(SYMBOL)]
        assert not [warning for warning in episode.plan.warnings if "ATR is not known" in warning]
        (stop,) = world.stops(SYMBOL, side)
        assert stop.trigger == episode.trail.stop * episode.plan.tick
        if wish is not None:
            assert {step.trigger for step in shown.steps if step.leg == "s0"} == {decimal(stop.trigger, 8)}


@sides
@story
async def test_a_plan_that_somebody_ended_is_made_anew_with_the_market_of_that_moment(tmp_path: Path, side: Side) -> None:
    world = World()
    async with desk(world, tmp_path / "desk", adopted=GUARD) as rig:
        world.stranger(SYMBOL, side, "100")
        await rig.passes(2)
        first = rig.monitor.applier.book.episodes[rig.key(SYMBOL)].plan
    async with desk(world, tmp_path / "desk", adopted=GUARD) as rig:
        assert rig.router.invalidate_plan(SYMBOL)
        await rig.passes(2)
        plan = rig.monitor.applier.book.episodes[rig.key(SYMBOL)].plan
        assert plan.uid != first.uid and not [warning for warning in plan.warnings if "ATR is not known" in warning]
