"""The exchange's clock and ours differ: a plan and its trail begin at the exchange's time, with prices from then on."""

from pathlib import Path

import pytest

from qtkit.core.model import Side
from tests.story.rig import SIDES, World, desk, story

SYMBOL = "SOLUSDT"


@pytest.mark.parametrize("wrong_ms", [-3_600_000, 3_600_000], ids=["behind", "ahead"])
@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name.lower())
@story
async def test_what_the_market_did_before_adoption_neither_moves_the_stop_nor_sells(home: Path, side: Side, wrong_ms: int) -> None:
    """An hour before the desk comes the price was 8 % in favour and went back: the trail knows nothing of it."""

    world = World()
    world.stranger(SYMBOL, side, "10")
    for percent in (0, 4, 8, 8, 4, 0, 0):
        world.move(SYMBOL, side, percent, ms=60_000)
    async with desk(world, home, bars=True) as rig:
        rig.applier.clock_ms = lambda: world.now_ms + wrong_ms
        await rig.monitor.pass_once()
        plan = next(iter(rig.applier.book.episodes.values())).plan
        assert plan.created_ms == world.exchange.now_ms
        for _ in range(4):
            world.move(SYMBOL, side, 0, ms=60_000)
            await rig.passes(2)
        assert next(iter(rig.applier.book.episodes.values())).trail.stop == plan.stop
        assert world.held(SYMBOL, side) and not world.own_trades()
