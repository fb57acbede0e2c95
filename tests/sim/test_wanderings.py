"""Wanderings: hypothesis plays the market, the stranger, the wire and kill -9 against the desk on the real engine, in any order.

After every step what must never happen has not happened; after enough quiet passes everything that must be so is so.
"""

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from qtkit.core.model import ONE, OrderKind, PolicyError, Scope, Side
from qtkit.paper.actor import actor
from qtkit.paper.faults import Fault, FaultKind, Match, Verb
from qtkit.paper.judge import stands
from qtkit.paper.rows import AccountEvent, AlgoRow, AlgoStatus, AlgoUpdate, ExchangeError
from qtkit.venue.gateway import GatewayError
from tests.story.rig import OURS, PRICES, RULES, SIDES, STRANGER, Rig, VirtualLoop, World, e8, silence, sound, tidy

SYMBOLS = {"SOLUSDT": 3, "XRPUSDT": 200}
MEMORY = Path("/dev/shm")
ENOUGH = 16  # quiet passes after which everything must be in order

WIRE = [
    Fault(kind=FaultKind.DROP, match=Match(verb=Verb.PLACE), times=2),
    Fault(kind=FaultKind.ACCEPT_TIMEOUT, match=Match(verb=Verb.PLACE), times=2),
    Fault(kind=FaultKind.DUPLICATE, match=Match(verb=Verb.PLACE), times=3),
    Fault(kind=FaultKind.FAIL_503, match=Match(verb=Verb.POSITIONS), times=2),
    Fault(kind=FaultKind.EMPTY, match=Match(verb=Verb.POSITIONS), times=1),
    Fault(kind=FaultKind.EMPTY, match=Match(verb=Verb.ORDERS), times=2),
    Fault(kind=FaultKind.PARTIAL, match=Match(verb=Verb.ORDERS, conditional=True), times=2),
    Fault(kind=FaultKind.READ_LAG, match=Match(verb=Verb.ORDERS), times=6, delay_ms=8_000),
    Fault(kind=FaultKind.NOT_FOUND, match=Match(verb=Verb.CANCEL), times=1),
    Fault(kind=FaultKind.DROP, match=Match(verb=Verb.CANCEL), times=2),
    Fault(kind=FaultKind.LOSE_EVENT, match=Match(verb=Verb.EVENT), times=5),
    Fault(kind=FaultKind.REFUSE, match=Match(verb=Verb.PLACE, conditional=True), times=1, code=-2021),
]

symbols = st.sampled_from(sorted(SYMBOLS))
sides = st.sampled_from(SIDES)


class Wandering(RuleBasedStateMachine):
    """One account, one desk after another, and everything that can happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="qtkit-wander-")
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.quiet = silence()
        self.quiet.__enter__()
        self.rig: Rig | None = None
        self.foreign: list[AlgoRow] = []
        self.uncovered: list[str] = []
        self.homes = 0
        self.taken = self.homes_lost = False
        self.levels: dict[tuple[Any, str], int] = {}

    @initialize(
        rules=st.sampled_from(["plain", "floor-alone", "reserving", "flat-refused"]), hedge=st.booleans(), bars=st.booleans(), side=sides
    )
    def begin(self, rules: str, hedge: bool, bars: bool, side: Side) -> None:
        self._run(self._open(rules, hedge))
        self.bars = bars
        self.percents = dict.fromkeys(SYMBOLS, 0.0)
        self._start()
        self.world.stranger("SOLUSDT", side, 3)
        self._run(self._desk().passes(3))

    async def _open(self, rules: str, hedge: bool) -> None:
        """In the loop, whose time is the world's. The desk may need a while to bring back what somebody took while it could not see."""
        self.world = World(RULES[rules], hedge=hedge, balance=1_000_000, settle_ms=40_000)
        self.world.exchange.listeners.append(self._cancelled)

    def _cancelled(self, event: AccountEvent) -> None:
        """No cancel of the desk's uncovers what was covered, whatever it believes."""
        if not isinstance(event, AlgoUpdate) or event.algo.status is not AlgoStatus.CANCELED or actor() == STRANGER:
            return
        row, exchange = event.algo, self.world.exchange
        rest = self.world.account.waiting(row.symbol)
        for position in exchange.positions(self.world.account, row.symbol):
            last = exchange.book(row.symbol).last
            before = stands(position, [*rest, replace(row, status=AlgoStatus.NEW)], last, OURS)
            if before.covered and not stands(position, rest, last, OURS).covered:
                self.uncovered.append(f"{row.client_id} was cancelled and left {row.symbol} uncovered")

    def _start(self) -> None:
        self.rig = Rig(self.world, Path(self.folder.name) / str(self.homes), bars=self.bars, scope=Scope.FULL)
        self._run(self.rig.paper.start())

    def _run(self, play: Any) -> Any:
        return self.runner.run(play)

    def _desk(self) -> Rig:
        assert self.rig is not None
        return self.rig

    # -- what happens

    @rule(symbol=symbols, side=sides, times=st.integers(1, 4))
    def opens_or_adds(self, symbol: str, side: Side, times: int) -> None:
        if (self.world.hedge or not self.world.held(symbol, Side(-side.value))) and not self._alike(symbol, side, times):
            self.world.stranger(symbol, side, SYMBOLS[symbol] * times)

    def _alike(self, symbol: str, side: Side, times: int) -> bool:
        """As much as the desk knows of, after somebody took its stop: without a floor nobody can tell this from closed and opened again."""
        held = self.world.held(symbol, side) // ONE
        known = (e for key, e in self._desk().applier.book.episodes.items() if key.symbol == symbol and e.side is side)
        lot = self.world.exchange.facts[symbol].instrument.lot
        sizes = {episode.expected * lot // ONE for episode in known}
        return bool(self.taken and held and not self.world.floors(symbol, side) and held + SYMBOLS[symbol] * times in sizes)

    @rule(symbol=symbols, side=sides, part=st.sampled_from([3, 2, 1]))
    def reduces_or_closes(self, symbol: str, side: Side, part: int) -> None:
        held = self.world.held(symbol, side) // ONE
        if held // part:
            self.world.leaves(symbol, side, held // part)

    @rule(symbol=symbols, side=sides)
    def flips(self, symbol: str, side: Side) -> None:
        if self.world.held(symbol, side) and not (self.world.hedge and self.world.held(symbol, Side(-side.value))):
            self.world.flips(symbol, side, SYMBOLS[symbol])

    @rule(symbol=symbols, side=sides)
    def enters(self, symbol: str, side: Side) -> None:
        try:
            self._run(self._desk().executor.place_order(symbol, side.opening.value, SYMBOLS[symbol]))
        except (PolicyError, GatewayError):
            pass

    @rule(symbol=symbols, steps=st.lists(st.sampled_from([-1.2, -0.7, -0.3, 0.3, 0.7, 1.2]), min_size=1, max_size=4))
    def the_price_moves(self, symbol: str, steps: list[float]) -> None:
        self.moves(symbol, steps)

    def moves(self, symbol: str, steps: list[float]) -> None:
        """Step by step, the desk awake."""
        for step in steps:
            self.percents[symbol] = max(-25.0, min(25.0, self.percents[symbol] + step))
            self.world.move(symbol, Side.LONG, round(self.percents[symbol], 2), ms=1_000)
            self._run(self._desk().passes(1))

    @precondition(lambda self: not self.homes_lost)
    @rule(symbol=symbols, which=st.integers(0, 5))
    def somebody_takes_an_order_of_ours_away(self, symbol: str, which: int) -> None:
        rows = [row for row in self.world.own(symbol) if row.status.value == "NEW" and not self._left_over(row)]
        if rows:
            self.world.takes_away(rows[which % len(rows)])
            self.taken = True

    def _left_over(self, row: AlgoRow) -> bool:
        """A stop of a position that ended, the desk not having looked since: nobody told it that this holds the level of the next one."""
        lines = (line for line in self.world.meter.ledger() if line.closed_ms is None and line.key.symbol == row.symbol)
        opened_ms = next((line.opened_ms for line in lines if line.key.position_side is row.position_side), 0)
        episode = self._desk().applier.book.episodes.get(self._desk().key(row.symbol, row.position_side))
        return row.created_ms < opened_ms and (episode is None or episode.since_ms < opened_ms)

    @rule(symbol=symbols, side=sides, close=st.booleans())
    def somebody_rests_a_stop(self, symbol: str, side: Side, close: bool) -> None:
        # Not what leaves us no room under these rules: a quantity that our whole-size stop needs, or the slot that admits no second stop.
        if self.world.rules.conditional_reserves:
            return  # nor the floor's slot: over it the stop is replaced, without it one of the old size stays
        close = close and self.world.rules.floor_beside_stop
        held = self.world.held(symbol, side) // ONE
        far = self.percents[symbol] * -side.sign + 26
        if held:
            try:
                self.foreign.append(self.world.rests(symbol, side, far, close=close, coins=1, name=f"web_{len(self.foreign)}"))
            except ExchangeError:  # its slot is taken, or the quantity is reserved: the stranger gives up
                pass

    @rule(which=st.integers(0, len(WIRE) - 1), count=st.integers(0, 3))
    def something_goes_wrong(self, which: int, count: int) -> None:
        self.world.faults.add(WIRE[which])
        self._run(self._desk().passes(count))

    @rule(which=st.sampled_from([0, 0, 1, 5, 6, 7]), symbol=symbols)
    def a_request_goes_wrong_while_the_price_runs_for_us(self, which: int, symbol: str) -> None:
        side = Side.SHORT if self.world.held(symbol, Side.SHORT) else Side.LONG
        self.moves(symbol, [side.sign * 0.7] * 2)
        self.world.faults.add(WIRE[which])
        self.moves(symbol, [side.sign * 0.9] * 3)

    @rule()
    def events_are_lost(self) -> None:
        self._desk().deaf()

    @rule(count=st.integers(1, 3))
    def passes(self, count: int) -> None:
        self._run(self._desk().passes(count))

    @rule()
    def restarts(self) -> None:
        self._run(self._desk().kill())
        self._start()

    @precondition(lambda self: not self.taken)  # an order taken and its memory lost: nobody can know where it stood
    @rule()
    def loses_its_home(self) -> None:
        self._run(self._desk().kill())
        self.homes += 1
        self.homes_lost = True
        self._start()

    @precondition(lambda self: self.rig is not None)
    @rule()
    def quiet_at_last(self) -> None:
        self.taken = self.homes_lost = False
        self.world.faults.clear()
        self._run(self._desk().passes(ENOUGH))
        self._run(self._desk().passes(2, ms=61_000))  # past the minute's sweep
        self._run(self._desk().passes(3, ms=5_000))
        for symbol in SYMBOLS:
            for side in SIDES:
                tidy(self.world, symbol, side)
        uncovered = [f"{line.key}: {line.standing.why}" for line in self.world.meter.ledger() if not line.covered]
        assert not uncovered, uncovered
        assert self._desk().gaps() == {}

    # -- what never happens

    @invariant()
    def nothing_of_ours_adds_lives_twice_or_may_open(self) -> None:
        if self.rig is not None:
            sound(self.world)

    @invariant()
    def no_cancel_uncovers(self) -> None:
        assert not self.uncovered, self.uncovered

    @invariant()
    def foreign_orders_are_untouched(self) -> None:
        if self.rig is not None:
            assert self.world.meter.foreign_touched == ()

    @invariant()
    def no_stop_is_loosened_by_the_desk(self) -> None:
        if self.rig is not None and not self.world.rules.conditional_reserves:
            loosened = [str(line.key) for line in self.world.meter.ledger() if line.loosened]
            assert not loosened, f"loosened: {loosened}"

    @invariant()
    def nothing_is_liquidated(self) -> None:
        if self.rig is not None:
            assert not any(line.liquidated for line in self.world.meter.ledger())

    @invariant()
    def a_plan_stop_is_monotone(self) -> None:
        if self.rig is not None:
            for key, episode in self.rig.applier.book.episodes.items():
                sign = episode.side.sign
                before = self.levels.get((key, episode.plan.uid))
                assert before is None or sign * (episode.trail.stop - before) >= 0, f"{key}: the stop went back"
            self.levels = {(key, episode.plan.uid): episode.trail.stop for key, episode in self.rig.applier.book.episodes.items()}

    def teardown(self) -> None:
        try:
            if self.rig is not None:
                self.quiet_at_last()
                self._run(self.rig.kill())
        finally:
            self.quiet.__exit__(None, None, None)
            self.runner.close()
            self.folder.cleanup()


DAILY = settings(
    max_examples=60, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None,
    phases=(Phase.generate, Phase.shrink),
)  # fmt: skip


def test_wanderings() -> None:
    run_state_machine_as_test(Wandering, settings=DAILY)


@pytest.mark.night
@pytest.mark.timeout(3_600)
def test_wanderings_of_a_night() -> None:
    run_state_machine_as_test(Wandering, settings=settings(DAILY, max_examples=2_000, stateful_step_count=60, derandomize=False))


def test_the_wanderings_know_their_markets() -> None:
    assert set(SYMBOLS) <= set(PRICES) and all(e8(PRICES[symbol]) * size > 5 * ONE for symbol, size in SYMBOLS.items())
    assert OrderKind.STOP_MARKET.conditional
