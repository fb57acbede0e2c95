"""Entries side by side: signals that come at once open what one after the other would have opened, and no more.

The judge is the exchange: what it holds, what it was sent, and which margin it asks for.
"""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qtkit.core.model import ONE, PolicyError, Side
from qtkit.paper.faults import Fault, FaultKind, Match, Verb
from qtkit.signals import Execution, Gate, Signal
from tests.story.rig import SIDES, Rig, World, desk, judged, story, tidy

SYMBOL = "SOLUSDT"

both_sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name.lower())
both_modes = pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])


async def _at_once(rig: Rig, *signals: tuple[str, Side, int]) -> tuple[list[Execution], list[str]]:
    """What was opened, and why the others were not."""
    calls = [rig.executor.place_order(symbol, side.opening.value, coins) for symbol, side, coins in signals]
    said = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, Execution | PolicyError) for answer in said), said
    return [row for row in said if isinstance(row, Execution)], [str(row) for row in said if isinstance(row, PolicyError)]


def _entries(world: World) -> list[Any]:
    return [row for row in world.account.orders.values() if row.client_id.startswith("q1qtk0e0")]


@both_sides
@both_modes
@story
async def test_signals_on_one_symbol_at_once_open_one_position_of_each_slot(home: Path, hedge: bool, side: Side) -> None:
    other = Side(-side.value)
    world = World(hedge=hedge)
    async with desk(world, home) as rig:
        await rig.passes(1)
        done, refused = await _at_once(rig, *[(SYMBOL, side, 10)] * 3, (SYMBOL, other, 10))
        slots = 2 if hedge else 1
        assert len(done) == slots and len(_entries(world)) == slots, [row.plan for row in done]
        assert all("open already" in why for why in refused), refused
        await rig.passes(3)
        for one in (side, other)[:slots]:
            assert world.held(SYMBOL, one) == 10 * ONE
            tidy(world, SYMBOL, one)
        assert all(episode.own for episode in rig.applier.book.episodes.values()), "an own entry was counted as adopted"
        judged(world)


@both_sides
@story
async def test_signals_on_many_symbols_at_once_open_no_more_than_the_gate_allows(home: Path, side: Side) -> None:
    world = World()
    async with desk(world, home) as rig:
        rig.executor.gate = Gate(max_positions=2)
        await rig.passes(1)
        done, refused = await _at_once(rig, ("SOLUSDT", side, 10), ("XRPUSDT", side, 500), ("ETHUSDT", side, 1), ("LTCUSDT", side, 10))
        assert len(done) == len(_entries(world)) == 2
        assert len(refused) == 2 and all("at most 2 are allowed" in why for why in refused)
        judged(world)


@both_sides
@story
async def test_signals_at_once_share_the_margin_that_is_free(home: Path, side: Side) -> None:
    world = World(balance=1_000)  # one of them takes 712 of it at 5x, so the second must see what is left
    async with desk(world, home) as rig:
        await rig.passes(1)
        done, refused = await _at_once(rig, ("SOLUSDT", side, 25), ("ETHUSDT", side, 1), ("XRPUSDT", side, 1_700))
        assert len(done) == 1 and all("need more margin than is free at 5x" in why for why in refused), refused
        judged(world)


@both_sides
@story
async def test_what_somebody_opened_while_a_signal_was_planned_is_not_added_to(home: Path, side: Side) -> None:
    """A pass adopts the position between the executor's look and its entry: its plan stays, and nothing is sent."""
    world = World()
    async with desk(world, home) as rig:
        await rig.passes(1)
        asked = rig.gateway.balance

        async def meanwhile() -> Any:
            world.stranger(SYMBOL, side, 3)
            await rig.passes(2)
            return await asked()

        rig.gateway.balance = meanwhile
        with pytest.raises(PolicyError, match="open already"):
            await rig.executor.place_order(SYMBOL, side.opening.value, 10)
        plan = rig.register.active(rig.key(SYMBOL), world.now_ms)
        assert plan is not None and plan.adopted and not _entries(world)
        await rig.passes(2)
        assert world.held(SYMBOL, side) == 3 * ONE
        tidy(world, SYMBOL, side)
        judged(world)


def _keeps_its_leverage(world: World, times_x: int, *, isolated: bool) -> None:
    """The exchange has a leverage on the symbol and refuses another one, as it does while something is open or rests there."""
    world.account.setting(SYMBOL).isolated = isolated
    world.exchange.set_leverage(world.account, SYMBOL, times_x)
    world.faults.add(Fault(kind=FaultKind.REFUSE, match=Match(verb=Verb.SETTING), times=None, code=-4161, message="Leverage reduction"))


@both_sides
@story
async def test_an_entry_is_refused_at_a_leverage_above_the_one_that_is_set(home: Path, side: Side) -> None:
    world = World()
    async with desk(world, home) as rig:
        await rig.passes(1)
        _keeps_its_leverage(world, 20, isolated=True)
        with pytest.raises(PolicyError, match=r"the exchange keeps SOLUSDT at 20x, above the 5x that is set \(-4161\)"):
            await rig.executor.place_order(SYMBOL, side.opening.value, 10)
        assert not world.account.trades and not world.own()
        assert rig.register.active(rig.key(SYMBOL), world.now_ms) is None


@both_sides
@story
async def test_an_entry_is_sized_by_the_leverage_that_the_exchange_keeps(home: Path, side: Side) -> None:
    world = World(balance=1_000)
    async with desk(world, home) as rig:
        await rig.passes(1)
        _keeps_its_leverage(world, 2, isolated=False)
        with pytest.raises(PolicyError, match="need more margin than is free at 2x"):
            await rig.executor.place_order(SYMBOL, side.opening.value, 20)
        await rig.executor.place_order(SYMBOL, side.opening.value, 10)
        assert world.held(SYMBOL, side) == 10 * ONE
        judged(world)


@both_sides
@story
async def test_on_isolated_margin_a_stop_beyond_the_margin_is_refused(home: Path, side: Side) -> None:
    """At 20x the margin is gone after 5 %: a stop at 5 % would never be reached. On cross margin the account stands behind it."""
    world = World()
    async with desk(world, home) as rig:
        rig.executor.sizing = replace(rig.executor.sizing, leverage=20)
        await rig.passes(1)
        signal = Signal(symbol=SYMBOL, side=side.opening.value, stop="5%")
        for isolated in (True, False):
            world.account.setting(SYMBOL).isolated = isolated
            for dry_run in (True, False):
                world.pass_time(60_000)  # what a dry run may know from before is older than its minute now
                if isolated:
                    with pytest.raises(PolicyError, match="too near liquidation"):
                        await rig.executor.execute(signal, dry_run=dry_run)
                else:
                    await rig.executor.execute(signal, dry_run=dry_run)
        assert world.held(SYMBOL, side) > 0


@both_sides
@story
async def test_where_isolated_margin_is_asked_for_cross_margin_is_refused(home: Path, side: Side) -> None:
    world = World()
    async with desk(world, home) as rig:
        rig.executor.sizing = replace(rig.executor.sizing, isolated=True)
        await rig.passes(1)
        with pytest.raises(PolicyError, match="SOLUSDT is on cross margin"):
            await rig.executor.place_order(SYMBOL, side.opening.value, 10)
        world.account.setting(SYMBOL).isolated = True
        await rig.executor.place_order(SYMBOL, side.opening.value, 10)
        judged(world)


@both_sides
@story
async def test_dry_runs_within_a_minute_ask_for_bars_and_margin_once(home: Path, side: Side) -> None:
    world = World()
    async with desk(world, home) as rig:
        await rig.passes(1)
        asked: dict[str, int] = {}
        for name in ("bars", "margin"):
            rig.gateway.__dict__[name] = _counted(name, getattr(rig.gateway, name), asked)
        world.pass_time(60_000 - world.now_ms % 60_000)
        for _ in range(5):
            await rig.executor.execute(Signal(symbol=SYMBOL, side=side.opening.value), dry_run=True)
        assert asked == {"bars": 1, "margin": 1}
        world.pass_time(60_000)
        await rig.executor.execute(Signal(symbol=SYMBOL, side=side.opening.value), dry_run=True)
        assert asked == {"bars": 2, "margin": 2}


def _counted(name: str, call: Any, asked: dict[str, int]) -> Any:
    async def counting(*given: Any, **more: Any) -> Any:
        asked[name] = asked.get(name, 0) + 1
        return await call(*given, **more)

    return counting
