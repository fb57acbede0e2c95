"""Prices that are not told: a stop stands where it would stand with them, nothing is sold for a level that was missed, and it is said."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qtkit.core import arithmetic
from qtkit.core.book import fold_all
from qtkit.core.events import Event
from qtkit.core.model import Bar, Side, Ticks, TriggerBy
from qtkit.ledger import Ledger
from qtkit.paper.faults import Fault, FaultKind, Match, Verb
from qtkit.trailing import MINUTE_MS, Follows, Trails
from qtkit.venue.gateway import BarClosed, Nudge, Quote
from tests.core import test_decide as laws
from tests.story.rig import World, desk

SIDES = (Side.LONG, Side.SHORT)
sides = pytest.mark.parametrize("side", SIDES)


# -- the whole desk -----------------------------------------------------------------------------------------------------------------


@sides
@pytest.mark.parametrize("bars", [True, False], ids=["closed bars", "every price"])
async def test_without_any_stream_trails_move_all_the_same_and_it_is_said(tmp_path: Path, side: Side, bars: bool) -> None:
    world = World()
    async with desk(world, tmp_path / "desk", bars=bars) as rig:
        world.stranger("AVAXUSDT", side, "100")
        await rig.passes(2)
        planned = rig.monitor.applier.book.episodes[rig.key("AVAXUSDT")].trail.stop
        for percent in (1, 3, 5.5, 6, 6, 6):
            world.move("AVAXUSDT", side, percent, ms=30_000)
            rig.deaf()
            for _ in range(15):
                world.pass_time(2_000)
                rig.deaf()
                await rig.monitor.pass_once()
        trail = rig.monitor.applier.book.episodes[rig.key("AVAXUSDT")].trail
        assert trail.armed and side.sign * (trail.stop - planned) * arithmetic.BPS >= 300 * planned
        assert world.held("AVAXUSDT", side) > 0 and rig.gaps() == {}
        (stop,) = world.stops("AVAXUSDT", side)
        assert stop.trigger == trail.stop * rig.paper.instruments["AVAXUSDT"].tick
        assert "no prices are heard since" in (rig.monitor.health.fault or "")
        world.move("AVAXUSDT", side, 6, ms=1_000)
        await rig.passes(2)
        assert rig.monitor.health.fault is None and rig.monitor.health.silent_ms is None


@sides
async def test_an_exchange_whose_prices_stand_still_is_no_fault(tmp_path: Path, side: Side) -> None:
    world = World()
    async with desk(world, tmp_path / "desk", bars=True) as rig:
        world.stranger("AVAXUSDT", side, "100")
        world.move("AVAXUSDT", side, 0)
        await rig.passes(60)
        assert rig.monitor.health.fault is None


@sides
async def test_a_time_stop_comes_without_events(tmp_path: Path, side: Side) -> None:
    """What hangs on the exchange's time does not hang on its streams."""
    world = World()
    async with desk(world, tmp_path / "desk", bars=True) as rig:
        world.stranger("AVAXUSDT", side, "100")
        await rig.passes(2)
        begun = rig.monitor.trails.now_ms()
        for _ in range(40):
            world.move("AVAXUSDT", side, 0.1, ms=2_000)
            rig.deaf()
            await rig.monitor.pass_once()
        assert rig.monitor.trails.now_ms() - begun > 70_000
        assert rig.monitor.health.snapshots["AVAXUSDT"].time_ms - begun > 70_000


def test_a_ledger_whose_desk_hears_no_prices_is_a_finding() -> None:
    deaf = Ledger(
        account="paper", scope="full", running=True, at_ms=20_000, last_pass_ms=19_000, tick_ms=2_000, fault="no prices", unread_ms=10_000
    )
    assert deaf.late() == "no prices"


@sides
async def test_prices_that_come_back_sell_nothing_at_a_level_that_was_missed(tmp_path: Path, side: Side) -> None:
    """The sockets are gone while the price runs to where the trail arms and back; then they come up, the bars first."""
    world = World()
    async with desk(world, tmp_path / "desk", bars=True) as rig:
        world.stranger("AVAXUSDT", side, "100")
        await rig.passes(2)
        world.move("AVAXUSDT", side, 0.2, ms=1_000)
        await rig.passes(1)
        world.faults.add(Fault(kind=FaultKind.PARTIAL, match=Match(verb=Verb.PRICES), times=None))
        for percent in (3, 5.8, 6, 4, 2, 1.9):
            world.move("AVAXUSDT", side, percent, ms=61_000)
        missed = [event for event in rig.paper._backlog if isinstance(event, BarClosed)]
        rig.deaf()
        rig.monitor.hear(Nudge(symbol=None))
        await rig.monitor.pass_once()
        for event in missed:
            rig.monitor.hear(event)
        world.faults.clear()
        rig.monitor.hear(Quote(symbol="AVAXUSDT", mark=world.exchange.book("AVAXUSDT").mark, last=None, time_ms=world.exchange.now_ms))
        await rig.passes(6)
        assert world.held("AVAXUSDT", side) > 0, "closed at the market for a level that was missed"
        episode = rig.monitor.applier.book.episodes[rig.key("AVAXUSDT")]
        assert episode.trail.stage >= 1 or episode.trail.armed
        assert not arithmetic.stop_hit_e8(side.sign, world.exchange.book("AVAXUSDT").mark, episode.trail.stop, episode.plan.tick)


# -- trails alone -------------------------------------------------------------------------------------------------------------------


def trails(side: Side, told: list[Bar]) -> tuple[Trails, Any]:
    """The trails of one covered position on an exchange that has these bars, a thousand an answer."""
    book, _, _ = laws.settle(laws.position(side))

    async def bars(symbol: str, *, limit: int, by: TriggerBy, since_ms: int, minutes: int = 1) -> tuple[Bar, ...]:
        assert limit <= 1_000
        return tuple(bar for bar in told if bar.time_ms >= since_ms)[:limit]

    gateway = SimpleNamespace(account=laws.KEY.account, instruments={}, bars=bars)
    applier: Any = SimpleNamespace(gateway=gateway, book=book, clock_ms=lambda: 0)

    def record(events: list[Event]) -> None:
        applier.book = fold_all(applier.book, list(events))

    applier.record = record
    return Trails(applier, Follows(), None, lambda: None), applier


def bar(side: Side, minute: int, percent: float, *, closed: bool = True) -> Bar:
    """A bar of one price, so many percent in favour of ``side``."""
    price = 10_000 + side.sign * int(percent * 100)
    return Bar(
        time_ms=minute * MINUTE_MS, open=Ticks(price), high=Ticks(price + 1), low=Ticks(price - 1), close=Ticks(price), closed=closed
    )


@sides
@pytest.mark.parametrize("minutes", [30, 999, 1_000, 1_001, 2_500])
async def test_however_long_the_outage_the_stop_lies_behind_the_price_of_now(side: Side, minutes: int) -> None:
    """Up 12 %, and back to +1 % when the desk is there again."""
    told = [bar(side, minute, 12 * minute / minutes) for minute in range(minutes)]
    told += [bar(side, minutes, 1), bar(side, minutes + 1, 1, closed=False)]
    them, applier = trails(side, told)
    them.time_ms = (minutes + 1) * MINUTE_MS + 500
    await them.catch_up()
    state = applier.book.episodes[laws.KEY].trail
    now = 10_000 + side.sign * 100
    assert state.armed and side.sign * (now - state.stop) > 0
    assert state.at_ms == (minutes + 1) * MINUTE_MS and not them.behind


@sides
async def test_bars_of_an_outage_that_the_stream_brings_wait_for_the_price(side: Side) -> None:
    told = [bar(side, minute, 6 if minute < 5 else 1) for minute in range(8)] + [bar(side, 8, 1, closed=False)]
    them, applier = trails(side, told)
    before = applier.book.episodes[laws.KEY].trail
    for one in told[:8]:  # a reopened socket gives what it missed, before its first price
        them.on_bar(laws.SYMBOL, one)
    assert applier.book.episodes[laws.KEY].trail == before and them.behind
    them.on_quote(Quote(symbol=laws.SYMBOL, mark=None, last=None, time_ms=8 * MINUTE_MS + 700))
    await them.catch_up()
    state = applier.book.episodes[laws.KEY].trail
    assert state.armed and side.sign * (10_000 + side.sign * 100 - state.stop) > 0 and not them.behind


@sides
async def test_a_bar_that_is_not_the_next_one_or_comes_late_is_caught_up(side: Side) -> None:
    told = [bar(side, minute, 0.1) for minute in range(6)] + [bar(side, 6, 0.1, closed=False)]
    them, applier = trails(side, told)
    them.behind = False
    them.on_bar(laws.SYMBOL, told[0])
    assert applier.book.episodes[laws.KEY].trail.at_ms == MINUTE_MS and not them.behind
    them.on_bar(laws.SYMBOL, told[2])
    assert applier.book.episodes[laws.KEY].trail.at_ms == MINUTE_MS and them.behind, "one was missed"
    await them.catch_up()
    assert applier.book.episodes[laws.KEY].trail.at_ms == 6 * MINUTE_MS and not them.behind
    late, applier = trails(side, told)
    late.behind, late.time_ms = False, 2 * MINUTE_MS
    late.on_bar(laws.SYMBOL, told[0])
    assert applier.book.episodes[laws.KEY].trail.at_ms == 0 and late.behind, "it closed more than a minute ago"


@sides
async def test_a_closed_bar_that_nobody_tells_is_asked_for(side: Side) -> None:
    told = [bar(side, minute, 2) for minute in range(3)] + [bar(side, 3, 2, closed=False)]
    them, applier = trails(side, told)
    them.behind, them.time_ms = False, 3 * MINUTE_MS + 5_000
    await them.catch_up()
    assert applier.book.episodes[laws.KEY].trail.at_ms == 0, "it may still be on its way"
    them.time_ms = 3 * MINUTE_MS + 15_000
    await them.catch_up()
    assert applier.book.episodes[laws.KEY].trail.at_ms == 3 * MINUTE_MS
