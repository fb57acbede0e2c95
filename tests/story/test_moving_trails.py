"""A trail that moves with ATR at a desk: the resting stop follows the hours, tightens without a new best price and is never loosened."""

from pathlib import Path

import pytest

from qtkit.core import arithmetic
from qtkit.core.book import Book, fold_all
from qtkit.core.describe import describe_trail
from qtkit.core.distance import InAtr, InBps
from qtkit.core.events import Ratcheted
from qtkit.core.model import Bps, Side
from qtkit.core.policy import ExitPolicy, TrailRule
from qtkit.core.shape import moving_callback
from qtkit.paper.faults import Fault, FaultKind, Match, Verb
from tests.story.rig import Rig, World, desk, judged

SYMBOL = "AVAXUSDT"
MOVES = InAtr(3_000, least=Bps(50), most=Bps(500), fallback=Bps(250))
CHANDELIER = ExitPolicy(
    name="chandelier",
    stop=InBps(Bps(400)),
    trail=TrailRule(activation=InBps(Bps(200)), callback=MOVES, share=Bps(10_000), min_step=Bps(0), moves=True),
)
both = pytest.mark.parametrize("side", (Side.LONG, Side.SHORT))
follows = pytest.mark.parametrize("bars", [True, False], ids=["closed bars", "every price"])


async def hours(rig: Rig, side: Side, count: int, *percents: float) -> None:
    """Full hours, minute by minute; each goes through these distances from the beginning of the world."""
    for _ in range(count):
        for minute in range(60):
            rig.world.move(SYMBOL, side, percents[minute * len(percents) // 60], ms=58_000)
            await rig.passes(1)


def stop(rig: Rig) -> int:
    return rig.monitor.applier.book.episodes[rig.key(SYMBOL)].trail.stop


def callback(rig: Rig) -> int:
    trail = rig.monitor.applier.book.episodes[rig.key(SYMBOL)].plan.trail
    assert trail is not None
    return trail.callback


def moves(rig: Rig) -> list[Ratcheted]:
    return [row.event for row in rig.journal.events() if isinstance(row.event, Ratcheted) and row.event.callback is not None]


async def rests(rig: Rig, side: Side) -> None:
    """After another pass, what rests is what the book says, and the book is what the journal tells."""
    await rig.passes(2)
    tick = rig.paper.instruments[SYMBOL].tick
    assert {row.trigger for row in rig.world.stops(SYMBOL, side)} == {stop(rig) * tick}
    assert fold_all(Book(), (row.event for row in rig.journal.events())) == rig.monitor.applier.book


@both
@follows
async def test_the_stop_follows_a_falling_atr_and_stands_while_it_rises(tmp_path: Path, side: Side, bars: bool) -> None:
    world = World()
    async with desk(world, tmp_path / "desk", bars=bars, adopted=CHANDELIER) as rig:
        world.stranger(SYMBOL, side, "100")
        await rig.passes(2)
        planned = callback(rig)
        await hours(rig, side, 1, 0, 3.2, 3.2)
        armed, best = stop(rig), rig.monitor.applier.book.episodes[rig.key(SYMBOL)].trail.best
        assert armed == arithmetic.trail_stop(side.sign, best, planned, 1) and callback(rig) > planned, "the way up was a wide hour"

        await hours(rig, side, 8, 3.1)  # calm, and never a new best price
        calm = rig.monitor.applier.book.episodes[rig.key(SYMBOL)].trail
        assert calm.best == best and callback(rig) < planned
        assert side.sign * (calm.stop - armed) > 0 and calm.stop == arithmetic.trail_stop(side.sign, best, callback(rig), 1)
        assert len(moves(rig)) >= 8, "one an hour"
        await rests(rig, side)

        narrow, sent = callback(rig), len(world.sent("s1"))
        await hours(rig, side, 4, 3.1, 2.0, 3.1)  # the market moves more, and still no new best price
        assert callback(rig) > narrow and stop(rig) == calm.stop and len(world.sent("s1")) == sent
        await rests(rig, side)
        assert world.held(SYMBOL, side) > 0
    judged(world)


@both
@follows
async def test_a_restart_goes_on_with_the_same_callback_and_writes_nothing(tmp_path: Path, side: Side, bars: bool) -> None:
    world = World()
    async with desk(world, tmp_path / "desk", bars=bars, adopted=CHANDELIER) as rig:
        world.stranger(SYMBOL, side, "100")
        await rig.passes(2)
        await hours(rig, side, 3, 3.1)
        before = rig.monitor.applier.book.episodes[rig.key(SYMBOL)]
        told = len(moves(rig))
    async with desk(world, tmp_path / "desk", bars=bars, adopted=CHANDELIER) as rig:
        await rig.passes(60)  # two minutes: the hour is asked for anew, and is the same
        after = rig.monitor.applier.book.episodes[rig.key(SYMBOL)]
        assert (after.plan, after.trail.stop, len(moves(rig))) == (before.plan, before.trail.stop, told)
        market = await rig.monitor.market(SYMBOL)
        assert callback(rig) == moving_callback(MOVES, market)
        await rests(rig, side)
        said = describe_trail(after)
        assert "moving every hour with 3 x ATR(14, 1h) within 0.5-5 %" in said
    judged(world)


@both
async def test_an_hour_that_was_missed_does_not_sell(tmp_path: Path, side: Side) -> None:
    """The desk was away while ATR fell: the level that it would ask for lies beyond the price, and is clamped as one of a missed bar is."""
    world = World()
    async with desk(world, tmp_path / "desk", bars=True, adopted=CHANDELIER) as rig:
        world.stranger(SYMBOL, side, "100")
        await rig.passes(2)
        await hours(rig, side, 1, 3.2, 3.2)
    for _ in range(20 * 60):
        world.move(SYMBOL, side, 1.5, ms=60_000)
    world.move(SYMBOL, side, 1.5, ms=600_000)
    async with desk(world, tmp_path / "desk", bars=True, adopted=CHANDELIER) as rig:
        await rig.passes(3)
        assert world.held(SYMBOL, side) > 0 and callback(rig) < 150
        await rests(rig, side)
    judged(world)


@both
async def test_hours_that_cannot_be_read_leave_the_callback_as_it_is(tmp_path: Path, side: Side) -> None:
    world = World()
    async with desk(world, tmp_path / "desk", bars=True, adopted=CHANDELIER) as rig:
        world.stranger(SYMBOL, side, "100")
        await rig.passes(2)
        await hours(rig, side, 1, 3.2, 3.2)
        kept = callback(rig)
        world.faults.add(Fault(kind=FaultKind.TIMEOUT, match=Match(verb=Verb.BARS), times=None))
        await hours(rig, side, 2, 3.1)
        assert callback(rig) == kept and rig.gaps() == {}
    judged(world)
