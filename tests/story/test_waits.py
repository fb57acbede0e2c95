"""What a desk's decisions are made with: waits that do not follow the tick out of reason, and the flat slot that is only a reading late."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core.model import Side
from qtkit.desk import waits_of
from tests.story.rig import SIDES, World, desk, faster, story, tidy

SYMBOL = "SOLUSDT"


@given(st.floats(0.1, 60))
def test_the_waits_stay_within_bounds_whatever_the_tick(tick_s: float) -> None:
    waits = waits_of(tick_s)
    assert 4_000 <= waits.flat_after_ms <= 15_000  # a read lag is longer than two quick ticks
    assert 5_000 <= waits.grace_ms <= 15_000  # what nobody has read back is not cover for minutes


@pytest.mark.parametrize(
    ("tick_s", "grace_ms", "flat_after_ms"),
    [(0.1, 5_000, 4_000), (0.5, 5_000, 4_000), (2, 10_000, 4_000), (3, 15_000, 6_000), (60, 15_000, 15_000)],
)
def test_the_waits_of_usual_ticks(tick_s: float, grace_ms: int, flat_after_ms: int) -> None:
    assert waits_of(tick_s) == (grace_ms, flat_after_ms)


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name.lower())
@story
async def test_quick_passes_do_not_take_a_late_reading_for_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: Side) -> None:
    world = World()
    async with desk(world, tmp_path) as rig:
        faster(rig, **waits_of(0.1)._asdict())
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        stops = {row.client_id for row in world.own(SYMBOL, side)}
        assert len(stops) == 2

        async def none() -> tuple[()]:
            return ()

        with monkeypatch.context() as late:
            late.setattr(rig.paper, "positions", none)
            await rig.passes(10, ms=100)
        await rig.passes(2, ms=100)
        assert {row.client_id for row in world.own(SYMBOL, side)} == stops
        tidy(world, SYMBOL, side)
