"""Are the tests awake? Bugs of the kinds that cost money elsewhere are planted one at a time: a named check must fail with each.

A bug is a change of the source text of one function, in memory. If the text is not there any more, the row must be written anew: the test
says so. The checks are tests of this folder, or small ones below.
"""

import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from qtkit.core import coverage, decide
from qtkit.core.book import fold
from qtkit.core.events import Ratcheted
from qtkit.core.model import Bps, Order, OrderKind, Place, PositionSide, Side
from qtkit.paper.faults import Fault, FaultKind, Match, Verb
from tests.core import test_decide as laws
from tests.story import test_crashes as crashes
from tests.story import test_failures as failures
from tests.story import test_faults as faults
from tests.story.rig import World, desk, judged, story, tidy

SYMBOL = "SOLUSDT"
Check = Callable[[Path], None]
SOURCES: dict[str, str] = {}  # text of the functions changed so far: a second change of one function is made on top of the first


@dataclass(frozen=True, slots=True)
class Bug:
    """A change of one function: ``place`` is module:qualified name, ``old`` the text that ``new`` replaces, once."""

    place: str
    old: str
    new: str

    def plant(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the changed function wherever the sound one is known by its name."""
        module_name, _, path = self.place.partition(":")
        module = importlib.import_module(module_name)
        *classes, name = path.split(".")
        owner: Any = module
        for part in classes:
            owner = getattr(owner, part)
        sound = inspect.getattr_static(owner, name)
        source = SOURCES.get(self.place) or textwrap.dedent(inspect.getsource(getattr(sound, "__func__", sound)))
        assert source.count(self.old) == 1, f"this bug can no longer be planted, {self.place} has changed: {self.old!r}"
        names: dict[str, Any] = {}
        monkeypatch.setitem(SOURCES, self.place, source.replace(self.old, self.new))
        exec(compile(SOURCES[self.place], f"<planted in {self.place}>", "exec"), module.__dict__, names)
        if classes:
            monkeypatch.setattr(owner, name, names[name])
            return
        for known in [m for key, m in sys.modules.items() if key.split(".")[0] in ("qtkit", "tests")]:
            if getattr(known, name, None) is sound:
                monkeypatch.setattr(known, name, names[name])


# -- checks that are no tests by themselves ---------------------------------------------------------------------------------------------


def adopts(home: Path) -> None:
    """Without any fault, a position is covered within two passes."""
    for rules, hedge, side in (("plain", False, Side.SHORT), ("plain", True, Side.LONG)):
        _adopts(home / side.name, rules, hedge, side)


@story
async def _adopts(home: Path, rules: str, hedge: bool, side: Side) -> None:
    world = World(faults.RULES[rules], hedge=hedge)
    async with desk(world, home) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(8)
        judged(world)
        tidy(world, SYMBOL, side)
        assert rig.gaps() == {}


@story
async def sizes_are_exact(home: Path) -> None:
    """Sizes that no binary fraction can hold are covered to the last lot."""
    for coins in ("0.29", "0.57", "1.139"):
        world = World(balance=1_000_000)
        async with desk(world, home / coins) as rig:
            world.stranger("BTCUSDT", Side.LONG, coins)
            await rig.passes(4)
            tidy(world, "BTCUSDT", Side.LONG)


@story
async def an_outage_deletes_nothing(home: Path) -> None:
    """Ten seconds in which positions cannot be read."""
    world = World()
    async with desk(world, home) as rig:
        world.stranger(SYMBOL, Side.LONG, 10)
        await rig.passes(3)
        ids = {row.client_id for row in world.own()}
        world.faults.add(Fault(kind=FaultKind.FAIL_503, match=Match(verb=Verb.POSITIONS), times=None))
        await rig.passes(6)
        assert {row.client_id for row in world.own()} == ids
        world.faults.clear()
        await rig.passes(3)
        judged(world)


@story
async def a_stop_does_not_follow_the_price_back(home: Path) -> None:
    """Up 8 %, trailed bar by bar, and back a little: the stop stays."""
    world = World()
    async with desk(world, home, bars=True) as rig:
        world.stranger(SYMBOL, Side.LONG, 10)
        await rig.passes(3)
        for percent in ("2", "4", "6", "8", "7.7", "7.5", "7.3", "7.2"):
            world.move(SYMBOL, Side.LONG, percent, ms=60_000)
            await rig.passes(4)
        judged(world)
        tidy(world, SYMBOL, Side.LONG)


def a_trailing_order_is_no_cover_before_its_activation(home: Path) -> None:
    held = laws.position(Side.LONG)
    order = Order(
        symbol=laws.SYMBOL, client_id="x", kind=OrderKind.TRAILING_STOP_MARKET, side=Side.LONG.closing, position_side=PositionSide.BOTH,
        lots=held.lots, callback=Bps(100), reduce_only=True,
    )  # fmt: skip
    assert coverage.fault(order, held, laws.INSTRUMENT, None) is not None
    assert coverage.fault(replace(order, activated=True), held, laws.INSTRUMENT, None) is None


def an_unstable_reading_closes_nothing(home: Path) -> None:
    book, orders, _ = laws.settle(laws.position(Side.LONG))
    tight = replace(book.episodes[laws.KEY].trail, stop=laws.level(Side.LONG, 400))
    book = fold(book, Ratcheted(key=laws.KEY, trail=tight, reason="bar"))
    held = laws.position(Side.LONG, mark=int(laws.level(Side.LONG, 390)))
    decision = decide.decide(book, [laws.snapshot(20_000, (held,), orders, stable=False)], laws.DESK, 20_000, laws.planner)
    assert not any(isinstance(action, Place) and action.order.kind is OrderKind.MARKET for action in decision.actions)


def unanswered_is_not_failed(home: Path) -> None:
    laws.test_an_unknown_outcome_is_repeated_at_once_under_the_same_id(Side.LONG)


def an_acknowledgement_does_not_count_for_ever(home: Path) -> None:
    laws.test_an_acknowledged_order_that_no_list_shows_is_repeated_under_the_same_id_after_the_grace(Side.LONG)


def replaced_under_faults(home: Path) -> None:
    for name in ("request lost", "carried out, then timeout"):
        faults.test_a_fault_while_a_stop_is_replaced(home / name, name, "plain", False, Side.LONG)


def adopted_and_refused(home: Path) -> None:
    faults.test_an_adopted_position_that_cannot_be_protected_is_kept_and_told_of(home, -4045, False, Side.SHORT)


def own_and_refused(home: Path) -> None:
    faults.test_our_own_entry_that_cannot_be_protected_is_closed_after_ten_seconds(home, -4045, False, Side.LONG)


def a_foreign_stop_is_left_alone(home: Path) -> None:
    faults.test_a_floor_refused_with_4130_leaves_the_quantity_stop_and_is_not_tried_without_end(home, False, Side.LONG)


def stops_before_targets(home: Path) -> None:
    faults.test_where_the_orders_are_few_stops_come_before_targets_and_entries_are_refused(home, False, Side.LONG)


def on_the_losing_side(home: Path) -> None:
    failures.test_a_stop_lies_on_the_losing_side_and_closes_there(home, False, Side.SHORT)


def empty_is_not_flat(home: Path) -> None:
    failures.test_an_empty_answer_deletes_no_stop(home, Verb.POSITIONS, False, Side.LONG)


def nothing_turns_around(home: Path) -> None:
    failures.test_no_order_of_ours_can_turn_a_position_around(home, False, Side.LONG)


def break_even_pays(home: Path) -> None:
    failures.test_break_even_pays_for_the_fees_of_both_ways(home, Side.LONG)


def a_lost_home_loosens_nothing(home: Path) -> None:
    crashes.test_a_lost_home_is_rebuilt_from_the_exchange_and_loosens_nothing(home, Side.LONG)


def intents_come_first(home: Path) -> None:
    crashes.test_killed_at_every_step(home, "adopts", "plain", False, Side.LONG)


def killed_while_entering(home: Path) -> None:
    crashes.test_killed_at_every_step(home, "enters", "plain", False, Side.LONG)


def one_symbol_s_fault_is_its_own(home: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        crashes.test_one_symbol_whose_decision_raises_does_not_unprotect_the_others(home, Side.LONG, patch)


def stops_go_out_without_a_journal(home: Path) -> None:
    crashes.test_without_a_journal_stops_still_go_out_and_entries_are_refused(home, crashes.read_only, Side.LONG)


def a_lost_lease_stops_writes(home: Path) -> None:
    crashes.test_a_desk_that_lost_its_lease_sends_nothing_more(home, Side.LONG)


# -- the table --------------------------------------------------------------------------------------------------------------------------

RECONCILE, DECIDE, APPLY = "qtkit.core.reconcile:", "qtkit.core.decide:", "qtkit.apply:Applier."
EARLY = Bug(RECONCILE + "may_cancel", "    sign = position.side.sign\n", "    return True\n    sign = position.side.sign\n")
FORGETFUL = Bug(DECIDE + "_Run._keep_tight", "level = Ticks(arithmetic.tighter(sign, level, resting))", "pass")
PLANTED: dict[str, tuple[tuple[Bug, ...], Check]] = {
    "cancel before place": (
        (EARLY, Bug(RECONCILE + "_cancels", "Ranked(rank=3", "Ranked(rank=-1")),
        replaced_under_faults,
    ),
    "old stop cancelled before the new one is read back": ((EARLY,), replaced_under_faults),
    "no answer treated as failure: a new id": (
        (
            Bug(
                RECONCILE + "place_leg",
                "return _place(now, want, leg.revision, reason",
                "return _place(now, want, leg.revision + 1, reason",
            ),
        ),
        unanswered_is_not_failed,
    ),
    "error read as flat": (
        (
            Bug(
                "qtkit.observe:Observer.observe",
                "before = _by_symbol(await self._gateway.positions())",
                "before = _by_symbol((await asyncio.gather(self._gateway.positions(), return_exceptions=True))[0])",
            ),
            Bug(
                "qtkit.observe:_by_symbol",
                "for position in positions:",
                "for position in positions if isinstance(positions, tuple) else ():",
            ),
            Bug("qtkit.observe:Observer._read", "after = _by_symbol(await self._gateway.positions())", "after = before"),
        ),
        an_outage_deletes_nothing,
    ),
    "empty read as flat at once": (
        (Bug("qtkit.core.roll:flat_events", "if evidence or episode.ended:", "if True:"),),
        empty_is_not_flat,
    ),
    "only the regular order list is read": (
        (Bug("qtkit.paper.gateway:PaperGateway.orders", "for row in algos)", "for row in ())"),),
        adopts,
    ),
    "ids without our prefix": (
        (Bug("qtkit.core.ids:client_order_id", "return PREFIX + tag", 'return "web" + tag'),),
        adopts,
    ),
    "a clock in the id": (
        (Bug("qtkit.core.ids:client_order_id", "_hash(tag,", "_hash(__import__('time').time_ns(), tag,"),),
        unanswered_is_not_failed,
    ),
    "a refusal swallowed as accepted": (
        (Bug(APPLY + "_place", "status, code, text = LegStatus.REFUSED,", "status, code, text = LegStatus.ACKED,"),),
        adopted_and_refused,
    ),
    "the formula for longs used for shorts": (
        (Bug("qtkit.core.arithmetic:stop_level", "return sign *", "sign = 1\n    return sign *"),),
        on_the_losing_side,
    ),
    "a trail that follows the price back": (
        (
            Bug(
                "qtkit.core.trail:advance",
                "stop = arithmetic.tighter(sign, stop, level)",
                "stop = arithmetic.trail_stop(sign, extreme, callback, step)",
            ),
            FORGETFUL,
        ),
        a_stop_does_not_follow_the_price_back,
    ),
    "what rests is forgotten with the journal": (
        (FORGETFUL,),
        a_lost_home_loosens_nothing,
    ),
    "a trailing order counted before its activation": (
        (Bug("qtkit.core.coverage:fault", "if not order.activated:", "if False:"),),
        a_trailing_order_is_no_cover_before_its_activation,
    ),
    "an acknowledgement counted for ever": (
        (Bug(DECIDE + "_Run._ledger", "0 <= self.now_ms - leg.at_ms < self.desk.grace_ms", "True"),),
        an_acknowledgement_does_not_count_for_ever,
    ),
    "sizes through binary fractions": (
        (Bug("qtkit.paper.rows:NewOrder.of", "E8(order.lots * instrument.lot)", "E8(int(order.lots * (instrument.lot / 1e8) * 1e8))"),),
        sizes_are_exact,
    ),
    "foreign orders taken for ours": (
        (Bug(DECIDE + "_Run.split", "foreign.append(order)", "own.append(order)"),),
        a_foreign_stop_is_left_alone,
    ),
    "no intent before the request": (
        (Bug(APPLY + "apply", "self.record(intent for", "tuple(intent for"),),
        intents_come_first,
    ),
    "an emergency on an unstable reading": (
        (Bug(DECIDE + "_Run._with_position", "if snapshot.stable:", "if True:"),),
        an_unstable_reading_closes_nothing,
    ),
    "an emergency for somebody's position": (
        (Bug(DECIDE + "_Run._reason_to_close", "if not episode.own or gap_ms", "if gap_ms"),),
        adopted_and_refused,
    ),
    "no emergency for our own": (
        (Bug(DECIDE + "_Run._reason_to_close", "if not covered_once:", "if False:"),),
        own_and_refused,
    ),
    "targets before stops": (
        (Bug(RECONCILE + "reconcile", "Ranked(rank=4, action=place)", "Ranked(rank=-1, action=place)"),),
        stops_before_targets,
    ),
    "reduceOnly in hedge mode": (
        (Bug("qtkit.core.desired:_closing", "reduce_only=not whole and", "reduce_only=not whole or"),),
        adopts,
    ),
    "price protection on": ((Bug("qtkit.core.desired:_closing", "price_protect=False", "price_protect=True"),), adopts),
    "a stop that is not reduce-only": (
        (Bug("qtkit.core.desired:_closing", "reduce_only=not whole and", "reduce_only=False and"),),
        nothing_turns_around,
    ),
    "break-even without the fees": (
        (
            Bug(
                "qtkit.core.arithmetic:break_even_level",
                "round_trip_cost(sign, entry_e8, fee_e8) + ",
                "-2 * round_trip_cost(sign, entry_e8, fee_e8) + ",
            ),
        ),
        break_even_pays,
    ),
    "one symbol's fault ends the pass": (
        (Bug(DECIDE + "decide", "run.symbol_apart(snapshot)", "run.symbol(snapshot)"),),
        one_symbol_s_fault_is_its_own,
    ),
    "no stop without a journal": (
        (Bug(APPLY + "_record_aside", "self.fault = str(error)", "self.fault = str(error)\n    raise error"),),
        stops_go_out_without_a_journal,
    ),
    "a lost lease is not asked about": ((Bug(APPLY + "_lane", "self.fence()", "pass"),), a_lost_lease_stops_writes),
    "an entry sent before it is noted": (
        (Bug("qtkit.executor:EventDrivenExecutor._enter", "monitor.applier.record([EntryBegun(", "tuple([EntryBegun("),),
        killed_while_entering,
    ),
}
"""Name, how it is planted, which check catches it."""


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_caught(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bugs, check = PLANTED[name]
    check(home / "sound")
    for bug in bugs:
        bug.plant(monkeypatch)
    try:
        check(home / "planted")
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - a bug may show itself in any way, as long as it shows itself
        return
    pytest.fail(f"nobody noticed: {name}")


def test_there_are_bugs_enough() -> None:
    assert len(PLANTED) >= 12
