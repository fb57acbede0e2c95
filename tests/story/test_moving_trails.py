"""A trail that moves with ATR at a desk: the resting stop follows the hours, tightens without a new best price and is never loosened."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from qtkit.core import arithmetic
from qtkit.core.book import Book, fold_all
from qtkit.core.context import MarketData
from qtkit.core.describe import describe_trail
from qtkit.core.distance import InAtr, InBps
from qtkit.core.events import Ratcheted
from qtkit.core.model import ONE, Bar, Bps, Order, Side, Ticks
from qtkit.core.policy import ExitPolicy, TrailRule
from qtkit.core.shape import moving_callback
from qtkit.paper.faults import Fault, FaultKind, Match, Verb
from qtkit.venue.budget import _asking
from qtkit.venue.gateway import Ack, Nudge, Unavailable
from tests.story.rig import PRICES, Rig, World, desk, e8, judged

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


@asynccontextmanager
async def held(
    world: World, folder: Path, side: Side, count: int = 0, *percents: float, bars: bool = True, adopted: ExitPolicy = CHANDELIER
) -> AsyncIterator[Rig]:
    """A desk that has adopted a stranger's position, after so many full hours."""
    async with desk(world, folder / "desk", bars=bars, adopted=adopted) as rig:
        world.stranger(SYMBOL, side, "100")
        await rig.passes(2)
        await hours(rig, side, count, *percents)
        yield rig


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
    async with held(world, tmp_path, side, bars=bars) as rig:
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
    async with held(world, tmp_path, side, 3, 3.1, bars=bars) as rig:
        before = rig.monitor.applier.book.episodes[rig.key(SYMBOL)]
        told = len(moves(rig))
    async with desk(world, tmp_path / "desk", bars=bars, adopted=CHANDELIER) as rig:
        await rig.passes(60)  # two minutes: the hour is asked for anew, and is the same
        after = rig.monitor.applier.book.episodes[rig.key(SYMBOL)]
        assert (after.plan, len(moves(rig))) == (before.plan, told)
        assert 0 <= side.sign * (after.trail.stop - before.trail.stop) <= 1, "a tick more where the bars, caught up, are rounded to one"
        market = await rig.monitor.market(SYMBOL)
        assert callback(rig) == moving_callback(MOVES, market)
        await rests(rig, side)
        said = describe_trail(after)
        assert "moving every hour with 3 x ATR(14, 1h) within 0.5-5 %" in said
    judged(world)


@both
@pytest.mark.parametrize("past", [1, 10], ids=["back a minute after the hour", "back ten minutes after the hour"])
async def test_hours_that_were_missed_do_not_sell(tmp_path: Path, side: Side, past: int) -> None:
    """The desk was away while ATR fell: the level that it would ask for lies beyond the price, and is clamped as one of a missed bar is."""
    world = World()
    async with held(world, tmp_path, side, 1, 3.2, 3.2):
        pass
    for _ in range(20 * 60):
        world.move(SYMBOL, side, 1.5, ms=60_000)
    world.move(SYMBOL, side, 1.5, ms=past * 60_000)
    async with desk(world, tmp_path / "desk", bars=True, adopted=CHANDELIER) as rig:
        await rig.passes(3)
        assert world.held(SYMBOL, side) > 0 and callback(rig) < 150
        assert {move.reason for move in moves(rig)[1:]} == {"ATR of a missed hour"}
        await rests(rig, side)
    judged(world)


@both
@follows
async def test_hours_that_could_not_be_read_do_not_sell_once_they_can(tmp_path: Path, side: Side, bars: bool) -> None:
    """The desk was there, but was told no hour for twenty of them; then one within the first minute of the next."""
    world = World()
    async with held(world, tmp_path, side, 1, 3.2, 3.2, bars=bars) as rig:
        unread = [Fault(kind=FaultKind.TIMEOUT, match=Match(verb=verb), times=None) for verb in (Verb.ORDERS, Verb.BARS)]
        for fault in unread:
            world.faults.add(fault)
        await hours(rig, side, 20, 1.5)
        assert len(moves(rig)) <= 1
        world.faults.clear()
        world.faults.add(unread[0])  # so that the newest lists are from before the price fell
        world.move(SYMBOL, side, 1.5, ms=60_000)
        await rig.passes(3)
        assert world.held(SYMBOL, side) > 0 and callback(rig) < 150
        world.faults.clear()
        await rests(rig, side)
    judged(world)


@both
async def test_a_callback_that_moves_as_the_position_turns_over_says_nothing_of_the_other_side(tmp_path: Path, side: Side) -> None:
    """The other side is planned before ATR is told, in the same pass: what its trail would follow are not the prices of the first."""
    world = World()
    async with held(world, tmp_path, side, 2, 3.2, 3.1, bars=False) as rig:
        answers = [Unavailable("not yet"), replace(await rig.monitor.market(SYMBOL), atr=e8("0.01"))]

        async def market(symbol: str) -> MarketData:
            if isinstance(answer := answers.pop(0), MarketData):
                return answer
            raise answer

        rig.monitor.market = market  # type: ignore[method-assign]
        other = Side(-side.value)
        world.move(SYMBOL, side, 3.1, ms=60_000)
        world.flips(SYMBOL, side, "100")
        await rig.passes(1)
        episode = rig.monitor.applier.book.episodes[rig.key(SYMBOL)]
        assert not answers and callback(rig) == MOVES.least
        assert episode.side is other and episode.trail.stop == episode.plan.stop
        await rests(rig, other)
        assert world.held(SYMBOL, other) > 0
    judged(world)


@both
@follows
async def test_a_desk_killed_between_the_move_and_its_order_places_it_when_it_is_back(tmp_path: Path, side: Side, bars: bool) -> None:
    world = World()
    async with held(world, tmp_path, side, 1, 0, 3.2, 3.2, bars=bars) as rig:
        before = stop(rig)
        while stop(rig) == before:
            world.move(SYMBOL, side, 3.1, ms=58_000)
            rig.monitor._wake.clear()
            await rig.passes(1)
        moved = stop(rig)
        assert rig.monitor._wake.is_set() and rig.monitor.trails.tightened == [rig.key(SYMBOL)], "the next pass comes at once"
        tick = rig.paper.instruments[SYMBOL].tick
        assert side.sign * (moved - before) > 0
        assert {row.trigger for row in world.stops(SYMBOL, side)} == {before * tick}, "nothing was sent yet"
    async with desk(world, tmp_path / "desk", bars=bars, adopted=CHANDELIER) as rig:
        await rig.passes(1)
        assert 0 <= side.sign * (stop(rig) - moved) <= 1, "a tick more, as above"
        await rests(rig, side)
    judged(world)


@both
@pytest.mark.parametrize("wrong", ["out of order", "nothing", "no price"])
async def test_hours_that_make_no_sense_keep_no_other_position_without_its_stop(tmp_path: Path, side: Side, wrong: str) -> None:
    world = World()
    async with held(world, tmp_path, side) as rig:
        read, kept = rig.paper.bars, callback(rig)

        async def bars(symbol: str, *, minutes: int = 1, **more: Any) -> tuple[Bar, ...]:
            rows = await read(symbol, minutes=minutes, **more)
            if minutes == 1:
                return rows
            first, zero = rows[0], Ticks(0)
            times = (first.time_ms - count * 3_600_000 for count in range(30, 0, -1))
            empty = tuple(replace(first, time_ms=at, open=zero, high=zero, low=zero, close=zero) for at in times)
            return {"out of order": rows[::-1], "nothing": (), "no price": (*empty, *rows)}[wrong]

        rig.paper.bars = bars  # type: ignore[method-assign]
        await hours(rig, side, 2, 0.5)
        world.stranger("SOLUSDT", side, "10")
        await rig.passes(3)
        assert rig.gaps() == {} and world.stops("SOLUSDT", side) and callback(rig) == kept
        assert rig.monitor.health.fault is None
        await rests(rig, side)
    judged(world)


@both
@follows
async def test_bars_that_are_owed_are_still_folded_after_a_callback_moved(tmp_path: Path, side: Side, bars: bool) -> None:
    """Deaf for some minutes in which the best price came; the minutes cannot be read at first, the hours can."""
    world = World()
    async with held(world, tmp_path, side, 1, 3.2, 3.2, bars=bars) as rig:
        read = rig.paper.bars

        async def only_hours(symbol: str, *, minutes: int = 1, **more: Any) -> tuple[Bar, ...]:
            if minutes == 1:
                raise Unavailable("no minutes")
            return await read(symbol, minutes=minutes, **more)

        rig.paper.bars = only_hours  # type: ignore[method-assign]
        for percent in (4.2, 4.0):
            world.move(SYMBOL, side, percent, ms=60_000)
        rig.deaf()
        rig.monitor.hear(Nudge(symbol=None))
        moved = len(moves(rig))
        for _ in range(61):
            world.move(SYMBOL, side, 4.0, ms=58_000)
            rig.deaf()
            await rig.passes(1)
        assert len(moves(rig)) > moved
        rig.paper.bars = read  # type: ignore[method-assign]
        rig.monitor.hear(Nudge(symbol=None))
        await rig.passes(2)
        tick = rig.paper.instruments[SYMBOL].tick
        best = rig.monitor.applier.book.episodes[rig.key(SYMBOL)].trail.best * tick
        assert side.sign * (best - Decimal(PRICES[SYMBOL]) * ONE * (1000 + side.sign * 41) / 1000) > 0, "the best price was 4.2 % away"
        await rests(rig, side)
    judged(world)


@both
async def test_hours_that_cannot_be_read_leave_the_callback_as_it_is(tmp_path: Path, side: Side) -> None:
    world = World()
    async with held(world, tmp_path, side, 1, 3.2, 3.2) as rig:
        kept = callback(rig)
        world.faults.add(Fault(kind=FaultKind.TIMEOUT, match=Match(verb=Verb.BARS), times=None))
        await hours(rig, side, 2, 3.1)
        assert callback(rig) == kept and rig.gaps() == {}
    judged(world)


@both
async def test_hours_are_asked_for_once_a_minute_after_what_protects_and_out_of_what_it_leaves(tmp_path: Path, side: Side) -> None:
    """An exchange that does not tell them is not asked in every pass, and the reserve of the request budget stays with the stops."""
    world = World()
    async with held(world, tmp_path, side) as rig:
        read, place, done = rig.paper.bars, rig.paper.place, list[tuple[str, str]]()

        async def bars(symbol: str, *, minutes: int = 1, **more: Any) -> tuple[Bar, ...]:
            if (symbol, minutes) != (SYMBOL, 60):
                return await read(symbol, minutes=minutes, **more)
            done.append(("asked", "in reserve" if _asking.get() is None else "if there is room"))
            raise Unavailable("no hours")

        async def placed(order: Order) -> Ack:
            done.append(("placed", order.symbol))
            return await place(order)

        rig.paper.bars, rig.paper.place = bars, placed  # type: ignore[method-assign]
        await rig.passes(90)
        assert done in ([("asked", "if there is room")] * 3, [("asked", "if there is room")] * 4)
        done.clear()
        world.pass_time(60_000)
        world.stranger("SOLUSDT", side, "10")
        await rig.passes(1)
        assert done[-1][0] == "asked" and ("placed", "SOLUSDT") in done and [what for what, _ in done].count("asked") == 1
    judged(world)


@both
@follows
async def test_a_trail_that_stays_is_not_moved_and_nothing_is_asked_for_it(tmp_path: Path, side: Side, bars: bool) -> None:
    stays = replace(CHANDELIER, trail=replace(CHANDELIER.trail, moves=False))  # type: ignore[type-var]
    world = World()
    async with held(world, tmp_path, side, bars=bars, adopted=stays) as rig:
        planned, read, asked = callback(rig), rig.paper.bars, list[int]()

        async def counted(symbol: str, *, minutes: int = 1, **more: Any) -> tuple[Bar, ...]:
            asked.append(minutes)
            return await read(symbol, minutes=minutes, **more)

        rig.paper.bars = counted  # type: ignore[method-assign]
        await hours(rig, side, 2, 0.5)
        assert callback(rig) == planned and moves(rig) == [] and 60 not in asked
    judged(world)


@follows
async def test_in_hedge_mode_both_sides_move_each_from_its_own_best_price(tmp_path: Path, bars: bool) -> None:
    world = World(hedge=True)
    async with desk(world, tmp_path / "desk", bars=bars, adopted=CHANDELIER) as rig:
        for side in Side:
            world.stranger(SYMBOL, side, "100")
        await rig.passes(2)
        await hours(rig, Side.LONG, 1, 3.2)
        await hours(rig, Side.LONG, 8, 0)
        episodes = [rig.monitor.applier.book.episodes[rig.key(SYMBOL, world.slot(side))] for side in Side if world.held(SYMBOL, side)]
        callbacks = {it.plan.trail.callback for it in episodes if it.plan.trail is not None}
        market = await rig.monitor.market(SYMBOL)
        assert callbacks == {moving_callback(MOVES, market)}
        assert {move.key.position_side for move in moves(rig)} == {world.slot(side) for side in Side}
        await rig.passes(2)
        tick = rig.paper.instruments[SYMBOL].tick
        for it in episodes:
            assert {row.trigger for row in world.stops(SYMBOL, it.side)} == {it.trail.stop * tick}
        assert fold_all(Book(), (row.event for row in rig.journal.events())) == rig.monitor.applier.book
    judged(world)


async def narrower(rig: Rig, atr: str) -> None:
    """ATR is this from now on."""
    market = replace(await rig.monitor.market(SYMBOL), atr=e8(atr))

    async def told(symbol: str) -> MarketData:
        return market

    rig.monitor.market = told  # type: ignore[method-assign]


@both
@follows
@pytest.mark.parametrize("late", [0, 10], ids=["on time", "ten minutes late"])
async def test_an_hour_on_time_sells_what_lies_beyond_its_level(tmp_path: Path, side: Side, bars: bool, late: int) -> None:
    """As the reference does: a chandelier stop that is narrower than the way back from the best price has been hit. A late one has not."""
    world = World()
    async with held(world, tmp_path, side, 2, 3.2, 1.9, bars=bars) as rig:
        assert world.held(SYMBOL, side) > 0
        await narrower(rig, "0.01")
        for _ in range(1 + late):
            world.move(SYMBOL, side, 1.9, ms=58_000)
            rig.hear()
            world.pass_time(2_000)
        await rig.passes(3)
        assert (world.held(SYMBOL, side) == 0) is (late == 0)
        assert moves(rig)[-1].reason == ("ATR of a missed hour" if late else "ATR moved")
    judged(world)


@both
async def test_a_narrower_callback_is_measured_from_the_best_price_that_was_seen(tmp_path: Path, side: Side) -> None:
    """Every price counts, also one that was not enough for the next step of the stop and is in no journal."""
    coarse = replace(CHANDELIER, trail=replace(CHANDELIER.trail, min_step=Bps(200)))  # type: ignore[type-var]
    world = World()
    async with held(world, tmp_path, side, 1, 3.0, bars=False, adopted=coarse) as rig:
        written = rig.monitor.applier.book.episodes[rig.key(SYMBOL)].trail.best
        world.move(SYMBOL, side, 3.3, ms=1_000)
        rig.hear()
        assert rig.monitor.applier.book.episodes[rig.key(SYMBOL)].trail.best == written
        await narrower(rig, "0.05")
        world.move(SYMBOL, side, 3.1, ms=58_000)
        await rig.passes(2)
        trail = rig.monitor.applier.book.episodes[rig.key(SYMBOL)].trail
        assert len(moves(rig)) >= 1 and side.sign * (trail.best - written) > 0
        await rests(rig, side)
    judged(world)
