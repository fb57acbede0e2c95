"""What the operator says is done and journaled, never more than that, and by the same decision that protects.

The exchange's own books judge: hands off means that nothing is sent, and a stop loosens only on the operator's word.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from qtkit.core.book import step
from qtkit.core.decide import Decision
from qtkit.core.events import StopSet
from qtkit.core.model import Key, PolicyError, Scope, Side, Ticks
from qtkit.core.policy import named
from qtkit.desk import opened
from qtkit.endpoint import chosen
from qtkit.operate import Adopt, Pause, PlanAnew, Release, Resume, Said, SetStop, Wish, operate
from qtkit.paper.gateway import PaperGateway
from qtkit.settings import PaperKeys, Paths
from qtkit.store import codec
from tests.story.rig import RULES, SIDES, Rig, World, desk, faster, judged, story, tidy

SYMBOL, OTHER = "SOLUSDT", "XRPUSDT"
HOUR = 3_600

both_sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name.lower())
both_modes = pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])
all_rules = pytest.mark.parametrize("rules", RULES, ids=str)


async def say(rig: Rig, wish: Wish, *, dry_run: bool = False) -> Said:
    return await operate(rig.monitor, wish, dry_run=dry_run)


def price(rig: Rig, ticks: int) -> str:
    return f"@{ticks * rig.paper.instruments[SYMBOL].tick / 100_000_000:.8f}"


def sent(world: World) -> int:
    """Requests of ours that change something, as the exchange has counted them."""
    return sum(1 for row in (*world.account.algos.values(), *world.account.orders.values()) if row.client_id.startswith("q1"))


@both_sides
@both_modes
async def test_a_released_symbol_is_left_alone_and_comes_back(tmp_path: Path, hedge: bool, side: Side) -> None:
    world = World(hedge=hedge)
    async with desk(world, tmp_path) as rig:
        world.stranger(SYMBOL, side, 10)
        world.stranger(OTHER, side, 100)
        await rig.passes(3)
        await say(rig, Release(symbol=SYMBOL, cancel=False, seconds=HOUR, reason="by hand"))
        kept, before = {row.client_id for row in world.own(SYMBOL, side)}, sent(world)
        assert kept
        for row in world.stops(SYMBOL, side):
            world.takes_away(row)  # the trader's own doing: nobody puts it back now
        world.stranger(SYMBOL, side, 5)
        await rig.passes(20)
        assert sent(world) == before and world.stops(SYMBOL, side) == []
        tidy(world, OTHER, side)
        world.pass_time(HOUR * 1_000)
        await rig.passes(3)
        tidy(world, SYMBOL, side)


@both_sides
@both_modes
async def test_released_with_cancel_nothing_of_ours_rests_there(tmp_path: Path, hedge: bool, side: Side) -> None:
    world = World(hedge=hedge)
    async with desk(world, tmp_path) as rig:
        world.stranger(SYMBOL, side, 10)
        theirs = world.rests(SYMBOL, side, 9)
        await rig.passes(3)
        await say(rig, Release(symbol=SYMBOL, cancel=True, seconds=HOUR))
        await rig.passes(2)
        assert world.own(SYMBOL, side) == [] and world.held(SYMBOL, side)
        assert theirs.client_id in {row.client_id for row in world.foreign()}
        assert rig.monitor.health.coverage[0].gap > 0  # it is told, though nothing is done
    async with desk(world, tmp_path) as again:  # and it is remembered
        await again.passes(3)
        assert world.own(SYMBOL, side) == []
        await say(again, Adopt(symbol=SYMBOL))
        await again.passes(2)
        tidy(world, SYMBOL, side)


@both_sides
@both_modes
@story
async def test_a_released_position_that_is_flattened_leaves_nothing_of_ours_for_the_next_one(hedge: bool, side: Side) -> None:
    world = World(hedge=hedge)
    PaperKeys.create(Paths.here().paper_keys())
    gateway = PaperGateway(world.exchange, "paper", world.faults)
    async with opened(gateway=gateway, clock_ms=lambda: world.now_ms) as it:
        world.stranger(SYMBOL, side, 10)
        world.stranger(OTHER, side, 100)
        theirs = world.rests(SYMBOL, side, 9)
        for _ in range(3):
            await it.monitor.pass_once()
            await asyncio.sleep(2)
        await operate(it.monitor, Release(symbol=SYMBOL, cancel=False, seconds=HOUR), dry_run=False)
        kept = {row.client_id for row in world.own(SYMBOL, side)}
        others = {row.client_id for row in world.own(OTHER, side)}
        assert kept and others
        assert await it.flatten(chosen(it, SYMBOL)) == ()
        assert world.held(SYMBOL, side) == 0 and world.own(SYMBOL, side) == []
        assert theirs.client_id in {row.client_id for row in world.foreign()} and others <= {
            row.client_id for row in world.own(OTHER, side)
        }
        world.stranger(SYMBOL, side, 5)  # the next one is the trader's own, in the trader's hands
        for _ in range(3):
            await it.monitor.pass_once()
            await asyncio.sleep(2)
        assert world.own(SYMBOL, side) == []


@both_sides
@all_rules
async def test_a_stop_is_tightened_and_stays(tmp_path: Path, rules: str, side: Side) -> None:
    world = World(rules=RULES[rules])
    async with desk(world, tmp_path) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        episode = rig.applier.book.episodes[rig.key(SYMBOL)]
        mark = episode.plan.start
        level = mark + (episode.trail.stop - mark) // 2
        foreseen = await say(rig, SetStop(symbol=SYMBOL, stop=price(rig, level)), dry_run=True)
        assert "tightened" in foreseen.text
        assert ("cannot be replaced here" in foreseen.text) is (rules == "strict")
        assert any(step.do == "replace" for step in foreseen.steps) is (rules != "strict")
        assert rig.applier.book.episodes[rig.key(SYMBOL)].trail.stop == episode.trail.stop  # only shown
        await say(rig, SetStop(symbol=SYMBOL, stop=price(rig, level)))
        await rig.passes(3)
        rests = episode.trail.stop if rules == "strict" else level  # no floor to bridge it: then a stop is not moved
        assert {row.trigger for row in world.stops(SYMBOL, side)} == {rests * rig.paper.instruments[SYMBOL].tick}
        judged(world)
        tidy(world, SYMBOL, side)


@both_sides
@all_rules
async def test_a_stop_is_loosened_only_on_the_operators_word(tmp_path: Path, rules: str, side: Side) -> None:
    world = World(rules=RULES[rules])
    async with desk(world, tmp_path) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        key = rig.key(SYMBOL)
        episode = rig.applier.book.episodes[key]
        tick = rig.paper.instruments[SYMBOL].tick
        level = episode.trail.stop + (episode.plan.floor - episode.trail.stop) // 2
        with pytest.raises(PolicyError, match="--loosen and --reason"):
            await say(rig, SetStop(symbol=SYMBOL, stop=price(rig, level)))
        with pytest.raises(PolicyError, match="beyond the floor"):
            beyond = episode.plan.floor - side.sign * 10
            await say(rig, SetStop(symbol=SYMBOL, stop=price(rig, beyond), loosen=True, reason="room"))
        assert not [row for row in rig.journal.events() if isinstance(row.event, StopSet)]
        await say(rig, SetStop(symbol=SYMBOL, stop=price(rig, level), loosen=True, reason="room"))
        await rig.passes(4)
        rests = episode.trail.stop if rules == "strict" else level  # no floor to bridge it: then a stop is not moved
        assert {row.trigger for row in world.stops(SYMBOL, side)} == {rests * tick}
        broken = {promise.name for promise in world.meter.verdict(adoption_wall_ms=4_000) if not promise.held}
        assert broken <= {"no stop was loosened"} and sum(line.loosened for line in world.meter.ledger()) <= 2
        told = [row.event for row in rig.journal.events() if isinstance(row.event, StopSet)]
        assert [(event.stop, event.reason) for event in told] == [(level, "room")]
        tidy(world, SYMBOL, side)
    async with desk(world, tmp_path) as again:  # a restart keeps it there
        await again.passes(3)
        assert {row.trigger for row in world.stops(SYMBOL, side)} == {rests * tick}


@both_sides
@pytest.mark.parametrize("wish", ["tighter", "looser"])
async def test_a_price_that_came_while_the_operator_was_answered_is_not_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: Side, wish: str
) -> None:
    world = World()
    async with desk(world, tmp_path) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        before = rig.applier.book.episodes[rig.key(SYMBOL)]
        mark = before.plan.start
        asked = before.trail.stop + ((mark if wish == "tighter" else before.plan.floor) - before.trail.stop) // 2
        preview = rig.monitor.preview

        async def slow(*args: Any) -> Decision:
            foreseen = await preview(*args)
            world.move(SYMBOL, side, 1.6)  # the first stage: break-even, tighter than what is asked for
            rig.hear()
            return foreseen

        monkeypatch.setattr(rig.monitor, "preview", slow)
        set_stop = SetStop(symbol=SYMBOL, stop=price(rig, asked), loosen=wish == "looser", reason="room")
        if wish == "looser":  # that is the operator's word; what it is loosened from is what the price has made of it
            said = await say(rig, set_stop)
            assert f"loosened from {price(rig, before.plan.break_even)[1:].rstrip('0')} to" in said.text
            return
        with pytest.raises(PolicyError, match="--loosen and --reason"):
            await say(rig, set_stop)
        await rig.passes(3)
        after = rig.applier.book.episodes[rig.key(SYMBOL)]
        assert after.trail.stop == after.plan.break_even
        judged(world)
        tidy(world, SYMBOL, side)


@both_sides
async def test_a_stop_that_is_set_is_the_tighter_one_unless_it_was_meant_to_loosen(tmp_path: Path, side: Side) -> None:
    world = World()
    async with desk(world, tmp_path) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        episode = rig.applier.book.episodes[rig.key(SYMBOL)]
        stop = episode.trail.stop
        for ticks, loosens, outdated in ((50, False, ()), (-50, False, ()), (-50, True, ()), (-50, False, ("old",))):
            level = Ticks(stop + side.sign * ticks)
            said = StopSet(key=episode.key, stop=level, outdated=outdated, at_ms=world.now_ms, reason="", loosens=loosens)
            meant = ticks > 0 or loosens or outdated  # a journal from before the mark tells by what is outdated
            assert step(episode, said).trail.stop == (level if meant else stop)
    without = {name: value for name, value in codec.encode(StopSet, said).items() if name != "loosens"}
    assert codec.decode(StopSet, without).loosens is False


@both_sides
async def test_prices_do_not_undo_what_the_operator_loosened(tmp_path: Path, side: Side) -> None:
    world = World()
    async with desk(world, tmp_path) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        episode = rig.applier.book.episodes[rig.key(SYMBOL)]
        level = episode.trail.stop + (episode.plan.floor - episode.trail.stop) // 2
        await say(rig, SetStop(symbol=SYMBOL, stop=price(rig, level), loosen=True, reason="room"))
        for percent in ("0.1", "-0.2", "0.3"):
            world.move(SYMBOL, side, percent)
            await rig.passes(2)
        assert {row.trigger for row in world.stops(SYMBOL, side)} == {level * rig.paper.instruments[SYMBOL].tick}


@both_sides
async def test_a_plan_made_anew_never_loosens_the_stop(tmp_path: Path, side: Side) -> None:
    world = World()
    async with desk(world, tmp_path) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        world.move(SYMBOL, side, 1.6)  # the first stage: break-even
        await rig.passes(3)
        before, floors = rig.applier.book.episodes[rig.key(SYMBOL)], [row.trigger for row in world.floors(SYMBOL, side)]
        foreseen = await say(rig, PlanAnew(symbol=SYMBOL, policy="trailing_tp", trail="2%"), dry_run=True)
        assert "planned anew by trailing_tp" in foreseen.text
        await say(rig, PlanAnew(symbol=SYMBOL, policy="trailing_tp", trail="2%"))
        await rig.passes(4)
        after = rig.applier.book.episodes[rig.key(SYMBOL)]
        assert after.plan.uid != before.plan.uid and after.plan.strategy_id == "trailing_tp"
        assert after.plan.trail is not None and after.plan.trail.callback == 200
        assert side.sign * (after.trail.stop - before.trail.stop) >= 0
        assert [row.trigger for row in world.floors(SYMBOL, side)] == floors, "the floor neither"
        plan = rig.router.get_active_plan(SYMBOL)
        assert plan is not None and plan.uid == after.plan.uid
        judged(world)
        tidy(world, SYMBOL, side)


@both_sides
async def test_paused_nothing_new_is_taken_on_and_what_is_held_stays_protected(tmp_path: Path, side: Side) -> None:
    world = World()
    async with desk(world, tmp_path) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        await say(rig, Pause(reason="news"))
        world.stranger(OTHER, side, 100)
        with pytest.raises(PolicyError, match="resume"):
            await rig.executor.place_order("ETHUSDT", side.opening.value, 1)
        world.takes_away(world.stops(SYMBOL, side)[0])
        await rig.passes(4)
        assert world.own(OTHER, side) == []
        tidy(world, SYMBOL, side)
        await say(rig, Resume())
        await rig.passes(3)
        tidy(world, OTHER, side)


@both_sides
@pytest.mark.parametrize("scope", [Scope.WATCH, Scope.GUARD, Scope.FULL], ids=lambda scope: scope.value)
async def test_only_listed_and_adopted_symbols_are_touched(tmp_path: Path, side: Side, scope: Scope) -> None:
    world = World()
    async with desk(world, tmp_path, adopted=named("scaled_tp")) as rig:
        faster(rig, symbols=frozenset())  # as on a live account at first
        world.stranger(SYMBOL, side, 10)
        world.stranger(OTHER, side, 100)
        await rig.passes(5)
        assert world.own(SYMBOL, side) == [] and world.own(OTHER, side) == []
        await say(rig, Adopt(symbol=SYMBOL, scope=scope))
        await rig.passes(3)
        assert world.own(OTHER, side) == []
        assert bool(world.stops(SYMBOL, side)) is (scope is not Scope.WATCH)
        assert bool(world.targets(SYMBOL, side)) is (scope is Scope.FULL)


async def test_what_cannot_be_meant_is_refused_in_one_sentence(tmp_path: Path) -> None:
    world = World(hedge=True)
    async with desk(world, tmp_path) as rig:
        world.stranger(SYMBOL, Side.LONG, 10)
        world.stranger(SYMBOL, Side.SHORT, 10)
        await rig.passes(3)
        cases: list[tuple[Wish, str]] = [
            (Adopt(symbol="SOLUSD"), "SOLUSDT"),
            (Release(symbol=SYMBOL, cancel=False, seconds=30 * 86_400), "7 days"),
            (SetStop(symbol=SYMBOL, stop="2%"), "--side long or --side short"),
            (SetStop(symbol=OTHER, stop="2%"), f"no position is open in {OTHER}"),
            (SetStop(symbol=SYMBOL, side="long", stop="3atr"), "@91000"),
            (SetStop(symbol=SYMBOL, side="long", stop="@1000"), "fire at once"),
            (PlanAnew(symbol=SYMBOL, side="short", policy="trailing"), "trailing_tp"),
            (PlanAnew(symbol=SYMBOL, side="short", trail="3atr"), "callback"),
        ]
        for wish, words in cases:
            with pytest.raises(PolicyError, match=words):
                await say(rig, wish)
        assert Key("paper", SYMBOL, world.slot(Side.LONG)) in rig.applier.book.episodes


@both_sides
@story
async def test_pausing_twice_takes_nothing_on_that_came_in_between(tmp_path: Path, side: Side) -> None:
    world = World()
    async with desk(world, tmp_path) as rig:
        await rig.passes(1)
        await say(rig, Pause(reason="lunch"))
        world.stranger(SYMBOL, side, 10)
        await rig.passes(2)
        since_ms = rig.applier.book.paused_ms
        said = await say(rig, Pause(reason="still at lunch"))
        await rig.passes(3)
        assert world.own() == [] and rig.applier.book.paused_ms == since_ms, "the first pause holds"
        assert "paused since" in said.text and "already" in said.text
