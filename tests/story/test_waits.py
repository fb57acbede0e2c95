"""What a desk concludes from readings, and when: waits within bounds, a flat slot that is only late, a plan whose position never came."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core.context import ExitContext
from qtkit.core.model import Lots, Order, Position, Side
from qtkit.desk import waits_of
from qtkit.router import PROVISIONAL_MS
from qtkit.venue.gateway import Unavailable
from tests.story.rig import PRICES, SIDES, Rig, World, desk, e8, faster, judged, tidy

SYMBOL = "SOLUSDT"

both_sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name.lower())
both_modes = pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])


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


@both_sides
async def test_quick_passes_do_not_take_a_late_reading_for_flat(home: Path, monkeypatch: pytest.MonkeyPatch, side: Side) -> None:
    world = World()
    async with desk(world, home) as rig:
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


# -- a plan made from a caller's word ---------------------------------------------------------------------------------------------------


def told(rig: Rig, world: World, side: Side) -> str:
    """A plan that somebody made for a position which he says is there; its name."""
    instrument = rig.paper.instruments[SYMBOL]
    position = Position(
        symbol=SYMBOL, position_side=world.slot(side), side=side, lots=Lots(10), entry=e8(PRICES[SYMBOL]), mark=e8(PRICES[SYMBOL])
    )  # fmt: skip
    context = ExitContext(
        account="paper", instrument=instrument, position=position, now_ms=world.now_ms, expires_ms=world.now_ms + PROVISIONAL_MS
    )
    return rig.router._planned(context, provisional=True).uid


def active(rig: Rig, world: World, side: Side) -> str | None:
    plan = rig.register.active(rig.key(SYMBOL, world.slot(side)), world.now_ms)
    return None if plan is None else plan.uid


@both_sides
@both_modes
async def test_a_plan_whose_position_no_reading_shows_ends_after_two(home: Path, hedge: bool, side: Side) -> None:
    world = World(hedge=hedge)
    async with desk(world, home) as rig:
        await rig.passes(2)
        uid = told(rig, world, side)
        world.pass_time(3_600_000)  # nobody reads: nothing is known
        if hedge:
            world.stranger(SYMBOL, Side(-side.value), 10)  # the other slot of the symbol says nothing of this one
        assert active(rig, world, side) == uid
        await rig.passes(2)
        assert active(rig, world, side) == uid
        await rig.passes(3)
        assert active(rig, world, side) is None
        assert rig.register.history(rig.key(SYMBOL, world.slot(side)))[0].reason == "two readings showed no position of it"
        judged(world)


@both_sides
async def test_a_plan_whose_position_comes_in_time_is_confirmed(home: Path, side: Side) -> None:
    world = World()
    async with desk(world, home) as rig:
        await rig.passes(2)
        uid = told(rig, world, side)
        await rig.passes(2)
        world.stranger(SYMBOL, side, 10)
        await rig.passes(5)
        assert active(rig, world, side) == uid
        tidy(world, SYMBOL, side)


@both_sides
async def test_what_could_not_be_read_ends_no_plan(home: Path, monkeypatch: pytest.MonkeyPatch, side: Side) -> None:
    world = World()
    async with desk(world, home) as rig:
        await rig.passes(2)
        uid = told(rig, world, side)

        async def down(symbol: str | None = None) -> tuple[Order, ...]:
            raise Unavailable("down")

        with monkeypatch.context() as broken:
            broken.setattr(rig.paper, "orders", down)
            await rig.passes(10)
        assert active(rig, world, side) == uid


async def test_an_entry_on_its_way_keeps_its_plan(home: Path) -> None:
    world = World()
    async with desk(world, home) as rig:
        await rig.executor.place_order(SYMBOL, "BUY", 10)
        await rig.passes(5)
        plan = rig.router.get_active_plan(SYMBOL)
        assert plan is not None and not plan.provisional
        tidy(world, SYMBOL, Side.LONG)
