"""The exchange changes the tick or the lot of a symbol under an open position: every level keeps its price, nothing is traded for it."""

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from qtkit.core.model import E8, Side
from qtkit.core.policy import named
from tests.story.rig import SIDES, World, desk, judged, tidy

SYMBOL = "ETHUSDT"

both_sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name.lower())


def change(world: World, *, ticks: int = 1, lots: int = 1) -> None:
    facts = world.exchange.facts[SYMBOL]
    rules = facts.instrument
    after = replace(rules, tick=E8(rules.tick * ticks), lot=E8(rules.lot * lots))
    world.exchange.facts = MappingProxyType({**world.exchange.facts, SYMBOL: replace(facts, instrument=after)})


@both_sides
@pytest.mark.parametrize(("ticks", "lots"), [(10, 1), (1, 10), (10, 10)], ids=["tick", "lot", "both"])
async def test_a_new_grid_moves_no_level_and_trades_nothing(tmp_path: Path, side: Side, ticks: int, lots: int) -> None:
    world = World()
    async with desk(world, tmp_path, adopted=named("scaled_tp")) as rig:
        world.stranger(SYMBOL, side, 1)
        await rig.passes(3)
        before = {row.trigger for row in world.own(SYMBOL, side)}
        old = rig.applier.book.episodes[rig.key(SYMBOL)]
    change(world, ticks=ticks, lots=lots)
    async with desk(world, tmp_path, adopted=named("scaled_tp")) as rig:
        await rig.passes(4)
        new = rig.applier.book.episodes[rig.key(SYMBOL)]
        assert new.plan.uid == old.plan.uid and (new.plan.tick, new.plan.lot) == (old.plan.tick * ticks, old.plan.lot * lots)
        assert abs(new.trail.stop * new.plan.tick - old.trail.stop * old.plan.tick) < new.plan.tick
        after = {row.trigger for row in world.own(SYMBOL, side)}
        assert len(after) == len(before) and all(min(abs(one - two) for two in before) < new.plan.tick for one in after)
        assert not world.own_trades()
        judged(world)
        tidy(world, SYMBOL, side)
