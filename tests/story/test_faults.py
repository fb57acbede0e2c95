"""The fault matrix: whatever the exchange, the wire, the disk or the operating system does, cover does not fall and nothing is sent twice.

Every fault strikes while a position is adopted, while its stop is replaced, while it ends, and while our own entry is made; under each
setting of the exchange's unproven rules, one-way and hedge, long and short. The judge is the meter, which reads the exchange's books.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from qtkit.core.model import ONE, OrderKind, PolicyError, Side
from qtkit.paper.faults import Fault, FaultKind, Match, Verb
from qtkit.paper.rows import AlgoStatus
from qtkit.paper.rules import Rules
from qtkit.venue.gateway import GatewayError
from tests.story.rig import RULES, SIDES, World, desk, judged, sound, story, tidy

SYMBOL = "SOLUSDT"
SIZE = 10 * ONE
CONDITIONAL = Match(verb=Verb.PLACE, conditional=True)
STOPS = Match(verb=Verb.PLACE, kinds=frozenset({OrderKind.STOP_MARKET}))
CANCELS = Match(verb=Verb.CANCEL)
BACK_WITHIN_MS = 14_000  # five ticks of trouble, and two to end it

BY_DAY = {
    ("plain", "one-way", Side.SHORT), ("plain", "hedge", Side.LONG), ("floor-alone", "one-way", Side.LONG),
    ("reserving", "one-way", Side.SHORT), ("flat-refused", "hedge", Side.SHORT), ("strict", "one-way", Side.LONG),
}  # fmt: skip
"""Rules, mode and side of the daily run: everything at least once. The night runs all."""


def _case(rules: str, mode: str, side: Side) -> Any:
    marks = () if (rules, mode, side) in BY_DAY else pytest.mark.night
    return pytest.param(rules, mode == "hedge", side, id=f"{rules}-{mode}-{side.name.lower()}", marks=marks)


EVERYWHERE = [_case(rules, mode, side) for rules in RULES for mode in ("one-way", "hedge") for side in SIDES]
everywhere = pytest.mark.parametrize(("rules", "hedge", "side"), EVERYWHERE)
both_sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name.lower())
both_modes = pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])


def strike(kind: FaultKind, match: Match = CONDITIONAL, **more: Any) -> Fault:
    """One line of a script; twice unless said otherwise."""
    return Fault(kind=kind, match=match, times=more.pop("times", 2), **more)


FAULTS: dict[str, tuple[Fault, ...]] = {
    "request lost": (strike(FaultKind.DROP),),
    "timeout, not carried out": (strike(FaultKind.TIMEOUT),),
    "carried out, then timeout": (strike(FaultKind.ACCEPT_TIMEOUT, times=4),),
    "carried out, then cut off": (strike(FaultKind.ACCEPT_DROP, times=4),),
    "carried out, answered 503 unknown": (strike(FaultKind.ACCEPT_503, times=4),),
    "503, not carried out": (strike(FaultKind.FAIL_503),),
    "request delivered twice": (strike(FaultKind.DUPLICATE, times=4),),
    "new orders invisible for ten seconds": (strike(FaultKind.READ_LAG, Match(verb=Verb.ORDERS), times=12, delay_ms=10_000),),
    "positions list empty once": (strike(FaultKind.EMPTY, Match(verb=Verb.POSITIONS), times=1, skip=1),),
    "positions list empty for a pass": (strike(FaultKind.EMPTY, Match(verb=Verb.POSITIONS), times=2),),
    "order lists empty": (strike(FaultKind.EMPTY, Match(verb=Verb.ORDERS)),),
    "conditional list fails": (strike(FaultKind.PARTIAL, Match(verb=Verb.ORDERS, conditional=True)),),
    "regular list fails": (strike(FaultKind.PARTIAL, Match(verb=Verb.ORDERS, conditional=False)),),
    "positions cannot be read": (strike(FaultKind.FAIL_503, Match(verb=Verb.POSITIONS)),),
    "bars cannot be read": (strike(FaultKind.FAIL_503, Match(verb=Verb.BARS)),),
    "prices of an entry cannot be read": (strike(FaultKind.FAIL_503, Match(verb=Verb.PRICES), times=1),),
    "cancel lost": (strike(FaultKind.DROP, CANCELS),),
    "cancel carried out, then timeout": (strike(FaultKind.ACCEPT_TIMEOUT, CANCELS),),
    "false -2011 on a cancel": (strike(FaultKind.NOT_FOUND, CANCELS),),
    "lookup says there is no such order": (strike(FaultKind.NOT_FOUND, Match(verb=Verb.LOOKUP)),),
    "stop refused with -2021 though it would not trigger": (strike(FaultKind.REFUSE, STOPS, code=-2021, times=1),),
    "throttled with -1008": (strike(FaultKind.REFUSE, STOPS, code=-1008, times=1),),
    "rate limited with -1003": (strike(FaultKind.REFUSE, STOPS, code=-1003, times=1),),
    "events lost": (strike(FaultKind.LOSE_EVENT, Match(verb=Verb.EVENT), times=6),),
    "stream silent": (strike(FaultKind.SILENT_STREAM, Match(verb=Verb.EVENT), times=None),),
    "events told twice": (strike(FaultKind.DUPLICATE, Match(verb=Verb.EVENT), times=6),),
}

MAY_NOT_STRIKE = {
    "adopting": {"cancel", "-2011", "prices", "lookup", "market"},
    "replacing": {"prices", "bars", "lookup", "market"},
    "ending": {
        "request", "carried out, then", "carried out, answered", "503, not", "timeout, not", "refused", "throttled", "rate", "prices",
        "bars", "lookup", "new orders",
    },
    "entering": {"cancel", "-2011", "lookup"},
}  # fmt: skip
"""Where a fault has nothing to strike."""


def armed(world: World, name: str) -> None:
    """From now on the fault strikes."""
    for line in FAULTS[name]:
        world.faults.add(line)


def struck(world: World, name: str, moment: str) -> None:
    """The fault was not missed: else the test saw nothing."""
    if not any(word in name for word in MAY_NOT_STRIKE[moment]):
        assert world.faults.fired.total() > 0, f"'{name}' never struck while {moment}"


@everywhere
@pytest.mark.parametrize("name", FAULTS)
@story
async def test_a_fault_while_a_position_is_adopted(home: Path, name: str, rules: str, hedge: bool, side: Side) -> None:
    world = World(RULES[rules], hedge=hedge)
    async with desk(world, home) as rig:
        await rig.passes(1)
        armed(world, name)
        world.stranger(SYMBOL, side, 10)
        await rig.passes(12)
        struck(world, name, "adopting")
        judged(world, adoption_ms=BACK_WITHIN_MS)
        tidy(world, SYMBOL, side)
        assert world.held(SYMBOL, side) == SIZE and rig.gaps() == {}


@everywhere
@pytest.mark.parametrize("name", FAULTS)
@story
async def test_a_fault_while_a_stop_is_replaced(home: Path, name: str, rules: str, hedge: bool, side: Side) -> None:
    world = World(RULES[rules], hedge=hedge)
    async with desk(world, home) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        before = world.stops(SYMBOL, side)
        armed(world, name)
        world.move(SYMBOL, side, 1.6)
        await rig.passes(14)
        if not (rules == "strict" and not hedge):  # there the stop cannot be replaced without a gap; the desk holds the level itself
            struck(world, name, "replacing")
            assert [row.algo_id for row in world.stops(SYMBOL, side)] != [row.algo_id for row in before], "the stop was not moved"
        judged(world)
        tidy(world, SYMBOL, side)


@everywhere
@pytest.mark.parametrize("name", FAULTS)
@story
async def test_a_fault_while_a_position_ends(home: Path, name: str, rules: str, hedge: bool, side: Side) -> None:
    world = World(RULES[rules], hedge=hedge)
    async with desk(world, home) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        armed(world, name)
        world.leaves(SYMBOL, side, 10)
        await rig.passes(12)
        struck(world, name, "ending")
        judged(world)
        tidy(world, SYMBOL, side)
        assert not world.own() and not world.own_trades()


@everywhere
@pytest.mark.parametrize("name", FAULTS)
@story
async def test_a_fault_while_we_enter(home: Path, name: str, rules: str, hedge: bool, side: Side) -> None:
    world = World(RULES[rules], hedge=hedge)
    async with desk(world, home) as rig:
        await rig.passes(1)
        armed(world, name)
        try:
            await rig.executor.place_order(SYMBOL, side.opening.value, 10)
        except (PolicyError, GatewayError):  # the entry may fail; what counts is what it leaves on the exchange
            world.faults.clear()
        await rig.passes(14)
        struck(world, name, "entering")
        judged(world, adoption_ms=BACK_WITHIN_MS)
        tidy(world, SYMBOL, side)
        assert world.held(SYMBOL, side) in (0, SIZE)


# -- what the exchange refuses for good ---------------------------------------------------------------------------------------------


def refuse(code: int, match: Match = STOPS, *, times: int | None = None) -> Fault:
    """Refused with this code until the script is cleared."""
    return Fault(kind=FaultKind.REFUSE, match=match, times=times, code=code)


ENTRY = Match(verb=Verb.PLACE, kinds=frozenset({OrderKind.MARKET}))


@both_sides
@both_modes
@story
async def test_a_floor_refused_with_4130_leaves_the_quantity_stop_and_is_not_tried_without_end(home: Path, hedge: bool, side: Side) -> None:
    world = World(hedge=hedge)
    blocker = world.rests  # somebody's own close-position stop takes the slot, after a position is there
    async with desk(world, home) as rig:
        world.stranger(SYMBOL, side, 10)
        foreign = blocker(SYMBOL, side, 12, close=True)
        await rig.passes(8)
        judged(world)
        assert [row.client_id for row in world.foreign()] == [foreign.client_id]
        assert sum(row.quantity for row in world.stops(SYMBOL, side)) == SIZE and not world.floors(SYMBOL, side)


@both_sides
@story
async def test_a_refusal_without_end_is_repeated_five_times_then_paused(home: Path, side: Side) -> None:
    world = World()
    async with desk(world, home) as rig:
        floors_only = Match(verb=Verb.PLACE, kinds=frozenset({OrderKind.STOP_MARKET}), client_prefix="q1qtk0f0")
        world.faults.add(refuse(-4130, floors_only))
        world.stranger(SYMBOL, side, 10)
        await rig.passes(10)
        assert world.faults.fired[FaultKind.REFUSE] == 5
        judged(world)
        await rig.passes(10)
        assert 5 < world.faults.fired[FaultKind.REFUSE] <= 7


@both_sides
@both_modes
@story
async def test_where_the_orders_are_few_stops_come_before_targets_and_entries_are_refused(home: Path, hedge: bool, side: Side) -> None:
    world = World(Rules(max_conditional=4), hedge=hedge)
    async with desk(world, home, adopted=None) as rig:
        world.stranger(SYMBOL, side, 10)
        world.stranger("XRPUSDT", side, 100)
        await rig.passes(5)
        judged(world)
        for symbol in (SYMBOL, "XRPUSDT"):
            assert world.stops(symbol, side) and world.floors(symbol, side) and not world.targets(symbol, side)
        with pytest.raises(PolicyError, match="conditional orders are left"):
            await rig.executor.place_order("ETHUSDT", "BUY", 1)
        assert world.held("ETHUSDT") == 0


@both_sides
@both_modes
@pytest.mark.parametrize("code", [-4045, -2021, -4120])
@story
async def test_our_own_entry_that_cannot_be_protected_is_closed_after_ten_seconds(home: Path, code: int, hedge: bool, side: Side) -> None:
    world = World(RULES["flat-refused"], hedge=hedge)
    async with desk(world, home) as rig:
        await rig.passes(1)
        world.faults.add(refuse(code))
        await rig.executor.place_order(SYMBOL, side.opening.value, 10)
        await rig.passes(4)
        assert world.held(SYMBOL, side) == 0, "an entry without a stop was kept"
        sound(world)
        line = world.meter.ledger()[-1]
        assert line.ours and line.market_closes == 1 and 9_000 <= line.adoption_ms <= 14_000
        world.faults.clear()
        await rig.passes(4)
        tidy(world, SYMBOL, side)


@both_sides
@both_modes
@pytest.mark.parametrize("code", [-4045, -2021, -4120])
@story
async def test_an_adopted_position_that_cannot_be_protected_is_kept_and_told_of(home: Path, code: int, hedge: bool, side: Side) -> None:
    world = World(hedge=hedge)
    async with desk(world, home) as rig:
        world.faults.add(refuse(code))
        world.stranger(SYMBOL, side, 10)
        await rig.passes(20)
        assert world.held(SYMBOL, side) == SIZE and not world.own_trades(), "adoption traded"
        assert rig.gaps() and rig.monitor.health.coverage[0].covered == 0
        with pytest.raises(PolicyError, match="not covered"):
            await rig.executor.place_order("ETHUSDT", "BUY", 1)
        world.faults.clear()
        await rig.passes(20)
        assert world.meter.ledger()[-1].covered
        tidy(world, SYMBOL, side)


@both_sides
@story
async def test_stops_refused_on_several_symbols_are_the_exchange_s_fault_and_close_nothing(home: Path, side: Side) -> None:
    world = World(RULES["flat-refused"])
    async with desk(world, home) as rig:
        await rig.passes(1)
        world.stranger("XRPUSDT", side, 100)
        world.faults.add(refuse(-4045))
        await rig.passes(1)
        rig.monitor.health.coverage = ()  # the signal is older than what the desk has seen
        await rig.executor.place_order(SYMBOL, side.opening.value, 10)
        await rig.passes(10)
        assert world.held(SYMBOL, side) == SIZE and world.held("XRPUSDT", side) == 100 * ONE
        assert any("exchange's fault" in alarm for alarm in rig.monitor.health.alarms)


@both_sides
@story
async def test_at_most_two_emergency_closes_a_day(home: Path, side: Side) -> None:
    world = World(RULES["flat-refused"])
    async with desk(world, home) as rig:
        await rig.passes(1)
        world.faults.add(refuse(-4045))
        for symbol, coins in ((SYMBOL, 10), ("XRPUSDT", 100), ("ETHUSDT", 1)):
            await rig.executor.place_order(symbol, side.opening.value, coins)
            await rig.passes(6)
        assert (world.held(SYMBOL), world.held("XRPUSDT")) == (0, 0) and world.held("ETHUSDT", side) == ONE


@both_sides
@both_modes
@story
async def test_an_entry_throttled_with_1008_opens_nothing_and_its_stop_is_withdrawn(home: Path, hedge: bool, side: Side) -> None:
    world = World(hedge=hedge)
    async with desk(world, home) as rig:
        await rig.passes(1)
        world.faults.add(refuse(-1008, ENTRY))
        with suppress(PolicyError):
            execution = await rig.executor.place_order(SYMBOL, side.opening.value, 10)
            assert "acked" not in execution.outcome and "filled" not in execution.outcome
        await rig.passes(14)
        assert world.held(SYMBOL) == 0
        tidy(world, SYMBOL, side)


@both_sides
@both_modes
@story
async def test_a_close_refused_with_2022_keeps_the_stop_and_is_tried_again(home: Path, hedge: bool, side: Side) -> None:
    world = World(hedge=hedge)
    async with desk(world, home) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        world.faults.add(refuse(-2022, ENTRY, times=1))
        await rig.monitor.close_now([key for key in rig.applier.book.episodes])
        assert world.held(SYMBOL, side) == SIZE and len(world.stops(SYMBOL, side)) == 1, "a stop was given up for a close that was refused"
        await rig.monitor.close_now([key for key in rig.applier.book.episodes])
        await rig.passes(3)
        assert world.held(SYMBOL) == 0
        judged(world)
        tidy(world, SYMBOL, side)


@both_sides
@both_modes
@pytest.mark.parametrize("rules", ["plain", "floor-alone"])
@pytest.mark.parametrize("own", [True, False], ids=["own", "adopted"])
@story
async def test_a_stop_stuck_in_triggering_is_no_cover_and_the_price_through_it_is_closed(
    home: Path, own: bool, rules: str, hedge: bool, side: Side
) -> None:
    world = World(RULES[rules], hedge=hedge)
    async with desk(world, home) as rig:
        await rig.passes(1)
        if own:
            await rig.executor.place_order(SYMBOL, side.opening.value, 10)
        else:
            world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        level = world.stops(SYMBOL, side)[0].trigger
        world.faults.add(Fault(kind=FaultKind.STUCK_TRIGGERING, match=Match(verb=Verb.TRIGGER, client_prefix="q1qtk0s"), times=1))
        world.price(SYMBOL, (level - side.sign * ONE // 100) / ONE, ms=500)
        assert world.faults.fired[FaultKind.STUCK_TRIGGERING] == 1
        stuck = [row for row in world.sent("s0") if row.status is AlgoStatus.TRIGGERING]
        assert len(stuck) == 1 and world.held(SYMBOL, side) == SIZE
        await rig.passes(8)
        line = world.meter.ledger()[-1]
        assert world.held(SYMBOL, side) == 0 or line.covered, "naked behind a stop that does nothing"
        world.price(SYMBOL, level * (100 - side.sign) / 100 / ONE, ms=500)  # one per cent further
        await rig.passes(8)
        assert world.held(SYMBOL, side) == 0
        sound(world)
        assert not line.liquidated
