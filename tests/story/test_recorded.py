"""What a desk saw is on its tape, and what it could not see is told: the day can be told again from the files alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from qtkit.core.model import Side, Snapshot
from qtkit.ledger import Ledger
from qtkit.paper.faults import Fault, FaultKind, Match, Verb
from qtkit.store.seen import BarSeen, PassSeen, PriceSeen, RulesSeen
from qtkit.store.tape import Tape, TapeReader
from qtkit.venue.gateway import BarClosed, Quote
from tests.story.rig import World, desk, tidy

SIDES = (Side.LONG, Side.SHORT)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("bars", [False, True], ids=["every price", "closed bars"])
async def test_snapshots_prices_and_bars_are_on_the_tape(tmp_path: Path, side: Side, bars: bool) -> None:
    world, tape = World(), Tape(tmp_path / "tape")
    async with desk(world, tmp_path / "desk", bars=bars, tape=tape) as rig:
        world.stranger("AVAXUSDT", side, "100")
        await rig.passes(2)
        for percent in (1, 2.5, 3, 4, 5.5, 6, 5.8, 7):
            world.move("AVAXUSDT", side, percent, ms=30_000)
            await rig.passes()
    tape.close()
    seen = [one.event for one in TapeReader(tmp_path / "tape").between(0, world.now_ms + 60_000)]
    prices = [(quote.symbol, quote.mark, quote.last) for quote in rig.heard if isinstance(quote, Quote)]
    closed = [(one.symbol, one.bar) for one in rig.heard if isinstance(one, BarClosed)]
    held = [one.positions[0].side for one in seen if isinstance(one, Snapshot) and one.positions]
    assert prices and [(one.symbol, one.mark, one.last) for one in seen if isinstance(one, PriceSeen)] == prices
    assert closed and [(one.symbol, one.bar) for one in seen if isinstance(one, BarSeen)] == closed
    assert held == [side] * 10
    assert [one.scope for one in seen if isinstance(one, PassSeen)] == [rig.settings.scope] * 10
    assert [one.rules for one in seen if isinstance(one, RulesSeen)] == [rig.paper.instruments["AVAXUSDT"]]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("known", [True, False], ids=["covered before", "never read"])
async def test_orders_that_cannot_be_read_are_told_and_not_taken_for_cover(tmp_path: Path, side: Side, known: bool) -> None:
    """Positions answer, the order lists of one symbol do not: the passes go on, and nobody may call that symbol covered."""
    world = World()
    async with desk(world, tmp_path / "desk") as rig:
        if known:
            world.stranger("AVAXUSDT", side, "100")
            await rig.passes(3)
        world.faults.add(Fault(kind=FaultKind.PARTIAL, match=Match(verb=Verb.ORDERS), times=None))
        if not known:
            world.stranger("AVAXUSDT", side, "100")
        await rig.passes(12)
        fault, unread = rig.monitor.health.fault, rig.monitor.health.unread
        assert fault is not None and "AVAXUSDT" in fault and "not known" in fault
        assert world.now_ms - unread["AVAXUSDT"] > 6_000
        world.faults.clear()
        await rig.passes(3)
        assert rig.monitor.health.fault is None and rig.gaps() == {}
        tidy(world, "AVAXUSDT", side)


def test_a_ledger_of_what_cannot_be_read_is_a_finding() -> None:
    blind = Ledger(
        account="paper", scope="full", running=True, at_ms=10_000, last_pass_ms=9_000, tick_ms=2_000, fault="AVAXUSDT", unread_ms=7_000
    )
    assert blind.late() == "AVAXUSDT" and replace(blind, unread_ms=2_000).late() is None
