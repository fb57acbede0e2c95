"""What a desk saw is on its tape: the day can be told again from the files alone."""

from pathlib import Path

import pytest

from qtkit.core.model import Side, Snapshot
from qtkit.store.tape import BarSeen, PriceSeen, Tape, TapeReader
from qtkit.venue.gateway import BarClosed, Quote
from tests.story.rig import World, desk

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
