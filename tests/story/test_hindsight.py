"""What a watching desk would have done: told from its tape and journal, and equal to what a desk that was let to really did.

Each session is played twice on the same prices, once with a desk that only watches, once with one that carries the whole plan out. What
the first says would have been filled is what the second's exchange filled: time, order, level, size.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import product
from pathlib import Path

import pytest

from qtkit.core.distance import InAtr, InBps
from qtkit.core.events import ATR_MISSED, Event, Ratcheted
from qtkit.core.ids import parse_client_order_id
from qtkit.core.model import ONE, Bps, Scope, Side, TriggerBy
from qtkit.core.policy import RANGE, SCALED_TP, STAGED, TRAILING_TP, ExitPolicy, TrailRule
from qtkit.desk import EVENT_TYPES
from qtkit.hindsight import Hindsight, Outcome, in_words
from qtkit.operate import PlanAnew, SetStop, operate
from qtkit.paper.exchange import Rules
from qtkit.paper.faults import Fault, FaultKind, Match, Verb
from qtkit.retold import look_back
from qtkit.store.journal import Journal, JournalReader
from qtkit.store.tape import Tape, TapeReader
from qtkit.trailing import Follows
from tests.story.rig import RULES, SIDES, Rig, World, story

sides = pytest.mark.parametrize("side", SIDES)
modes = pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])
trails = pytest.mark.parametrize("bars", [False, True], ids=["every price", "closed bars"])
FOREVER = 10**15
SYMBOL = "AVAXUSDT"

Filled = tuple[int, str, Decimal | None, Decimal]
"""When (ms), which leg, at which trigger, how much."""


@dataclass(slots=True)
class Session:
    """A world with a desk on it that may be killed and started again."""

    world: World
    home: Path
    scope: Scope
    bars: bool
    policy: ExitPolicy
    side: Side
    rig: Rig | None = None
    tape: Tape | None = None

    async def start(self) -> None:
        self.tape = Tape(self.home / "tape")
        self.rig = Rig(self.world, self.home, scope=self.scope, bars=self.bars, adopted=self.policy, tape=self.tape)
        await self.rig.paper.start()

    async def kill(self) -> None:
        assert self.rig is not None and self.tape is not None
        await self.rig.kill()
        self.tape.close()
        self.rig = self.tape = None

    async def passes(self, count: int = 1) -> None:
        assert self.rig is not None
        await self.rig.passes(count)

    async def walk(self, *percents: float) -> None:
        """The price goes there in favour of the position, and stays until passes, and where bars are followed a bar, have come."""
        for percent in percents:
            self.world.move(SYMBOL, self.side, percent)
            await self.passes(31 if self.bars else 3)


Play = Callable[[Session], "object"]


async def played(
    folder: Path, scope: Scope, play: Play, side: Side, *, hedge: bool, bars: bool, policy: ExitPolicy, rules: Rules | None = None
) -> Session:
    session = Session(World(rules, hedge=hedge), folder / scope.value, scope, bars, policy, side)
    session.world.stranger(SYMBOL, side, "600")
    await session.start()
    await session.passes(3)
    await play(session)  # type: ignore[misc]
    await session.kill()
    return session


async def told(session: Session, *, since_ms: int = 0) -> Hindsight:
    """The hindsight of a session, from its files alone."""
    follows = Follows(closed_bars=session.bars, series=TriggerBy.MARK)
    rig_desk = Rig(session.world, session.home, scope=session.scope)
    settings = rig_desk.settings
    await rig_desk.kill()
    reader = TapeReader(session.home / "tape")
    journal: JournalReader[Event] = Journal.read(session.home / "journal.sqlite", EVENT_TYPES, account="paper")
    with journal:
        rows = tuple(journal.events())
    it = await look_back(reader.between(since_ms, FOREVER), rows, replace(settings, instruments={}), follows)
    assert reader.skipped == 0
    return it


def filled(session: Session) -> list[Filled]:
    """Every fill of the desk's own orders, from the exchange's books."""
    triggers = {row.client_id: Decimal(row.trigger) / ONE for row in session.world.account.algos.values() if row.trigger}
    fills: dict[str, Filled] = {}
    for trade in session.world.own_trades():
        parsed = parse_client_order_id(trade.client_id)
        assert parsed is not None
        before = fills.get(trade.client_id)
        size = Decimal(trade.quantity) / ONE + (before[3] if before else 0)
        fills[trade.client_id] = (trade.time_ms, parsed[1], triggers.get(trade.client_id), size)
    return list(fills.values())


def foreseen(it: Outcome) -> list[Filled]:
    return [(fill.at_ms, fill.leg, None if fill.level is None else Decimal(fill.level), Decimal(fill.size)) for fill in it.fills]


async def to_the_stop(s: Session) -> None:
    await s.walk(0.5, -1, -2, -2.5, -4, -6, -9, -12, -5)


async def to_break_even(s: Session) -> None:
    await s.walk(1, 1.6, 1, 0.3, 0, -1, 2)


async def to_the_stage(s: Session) -> None:
    await s.walk(1.6, 3.2, 2.5, 1.4, 0)


async def to_the_trail(s: Session) -> None:
    await s.walk(2, 4, 5.5, 6.3, 7.9, 7.5, 8.4, 6, 3, 10)


async def to_the_targets(s: Session) -> None:
    await s.walk(1, 2, 3, 4.5, 6, 7, 9, 11, 12.5, 12, 10, 8, 6, 2)


async def to_break_even_after_a_target(s: Session) -> None:
    await s.walk(0.8, 0.7, 0.4, -0.2, -1)


async def through_all_targets_at_once(s: Session) -> None:
    await s.walk(1, 16, 15, 13, 8)


async def added_to_by_hand(s: Session) -> None:
    await s.walk(1, 2)
    s.world.stranger(SYMBOL, s.side, "200")
    await s.walk(4, 5.2, 6)
    s.world.stranger(SYMBOL, s.side, "100")
    await s.walk(5, 2, 0, -3, -12)


async def reduced_by_hand(s: Session) -> None:
    await s.walk(1, 2)
    s.world.leaves(SYMBOL, s.side, "150")
    await s.walk(4, 5.2, 6)
    s.world.leaves(SYMBOL, s.side, "100")
    await s.walk(5, 2, 0, -3, -12)


EVEN = replace(RANGE, break_even_after=1)


async def flipped_by_hand(s: Session) -> None:
    await s.walk(1, 2)
    s.world.flips(SYMBOL, s.side, "300")
    await s.passes(4)
    await s.walk(1, 0, -2, -4, -6, -8, -6, -5, -1)


async def closed_and_opened_again(s: Session) -> None:
    await s.walk(1, 2)
    s.world.leaves(SYMBOL, s.side, "600")
    await s.passes(6)
    await s.walk(3)
    s.world.stranger(SYMBOL, s.side, "250")
    await s.passes(3)
    await s.walk(5, 6, 9, 8, 7, 3)


async def its_stop_set(s: Session) -> None:
    assert s.rig is not None
    await s.walk(1, 1.2)
    level = Decimal("14.58") * (100 - s.side.sign * 2) / 100
    await operate(s.rig.monitor, SetStop(symbol=SYMBOL, stop=f"@{level:.3f}", side=s.side.name.lower()), dry_run=False)
    await s.walk(0.5, -1, -2.5)


async def its_stop_loosened(s: Session) -> None:
    assert s.rig is not None
    await s.walk(1.6, 1.2)
    level = Decimal("14.58") * (100 - s.side.sign * 2) / 100
    wish = SetStop(symbol=SYMBOL, stop=f"@{level:.3f}", side=s.side.name.lower(), loosen=True, reason="a test")
    await operate(s.rig.monitor, wish, dry_run=False)
    await s.walk(0.5, -1, -2.5)


async def planned_anew(s: Session) -> None:
    assert s.rig is not None
    await s.walk(1, 1.2)
    await operate(s.rig.monitor, PlanAnew(symbol=SYMBOL, policy="trailing_tp", side=s.side.name.lower()), dry_run=False)
    await s.passes(3)
    await s.walk(2, 4, 8, 10, 9, 7, 4)


async def through_calm_hours(s: Session) -> None:
    assert s.rig is not None
    await s.walk(1, 2, 3.2)
    for _ in range(7 * 180):
        s.world.move(SYMBOL, s.side, 3.1, ms=18_000)
        await s.passes()
    moved = [row.event for row in s.rig.journal.events() if isinstance(row.event, Ratcheted) and row.event.callback is not None]
    assert len(moved) > 5
    await s.walk(2, 1.5, 1, 0.5)


async def through_calm_hours_unread(s: Session) -> None:
    """No hour can be read while ATR falls: what the trail would ask for then has been passed, and is clamped to the price of then."""
    assert s.rig is not None
    await s.walk(1, 2, 3.2)
    s.world.faults.add(Fault(kind=FaultKind.TIMEOUT, match=Match(verb=Verb.BARS), times=None))
    for _ in range(14 * 180):
        s.world.move(SYMBOL, s.side, 1.8, ms=18_000)
        await s.passes()
    s.world.faults.clear()
    for _ in range(31):
        s.world.move(SYMBOL, s.side, 1.8, ms=0)
        await s.passes()
    assert any(isinstance(row.event, Ratcheted) and row.event.reason == ATR_MISSED for row in s.rig.journal.events())
    await s.walk(1.9, 1.5, 1, 0.5)


CALM = TrailRule(activation=InBps(Bps(200)), callback=InAtr(3_000, Bps(50), Bps(500), Bps(250)), share=Bps(10_000), moves=True)
CHANDELIER = ExitPolicy(name="chandelier", stop=InBps(Bps(400)), trail=CALM)

STORIES: dict[str, tuple[Play, ExitPolicy, str]] = {
    "initial stop": (to_the_stop, STAGED, "initial stop"),
    "break-even": (to_break_even, STAGED, "break-even"),
    "stage": (to_the_stage, STAGED, "stage 2"),
    "trail": (to_the_trail, STAGED, "trail"),
    "callback moved": (through_calm_hours, CHANDELIER, "trail"),
    "callback moved late": (through_calm_hours_unread, CHANDELIER, "trail"),
    "targets": (to_the_targets, SCALED_TP, "trail"),
    "break-even after a target": (to_break_even_after_a_target, EVEN, "break-even"),
    "all targets at once": (through_all_targets_at_once, TRAILING_TP, "trail"),
    "added to": (added_to_by_hand, SCALED_TP, ""),
    "reduced": (reduced_by_hand, SCALED_TP, ""),
    "flipped": (flipped_by_hand, STAGED, "trail"),
    "opened again": (closed_and_opened_again, STAGED, "trail"),
    "stop set": (its_stop_set, STAGED, "set by the operator"),
    "stop loosened": (its_stop_loosened, STAGED, "set by the operator"),
    "planned anew": (planned_anew, STAGED, "trail"),
}


def _cases() -> list[object]:
    """Every story on both sides, in both modes, by both trails: half of the combinations by day, so that each of the six is met by each."""
    found: list[object] = []
    for side, hedge, bars, name in product(SIDES, (False, True), (False, True), STORIES):
        odd = (SIDES.index(side) + hedge + bars + list(STORIES).index(name)) % 2
        words = (name, side.name.lower(), "hedge" if hedge else "one-way", "closed bars" if bars else "every price")
        found.append(pytest.param(name, side, hedge, bars, id=", ".join(words), marks=[pytest.mark.night] if odd else []))
    return found


@pytest.mark.parametrize(("name", "side", "hedge", "bars"), _cases())
@story
async def test_what_would_have_been_is_what_is(tmp_path: Path, name: str, side: Side, hedge: bool, bars: bool) -> None:
    play, policy, why = STORIES[name]
    watching = await played(tmp_path, Scope.WATCH, play, side, hedge=hedge, bars=bars, policy=policy)
    acting = await played(tmp_path, Scope.FULL, play, side, hedge=hedge, bars=bars, policy=policy)
    assert watching.world.own_trades() == [] and acting.world.own_trades()
    outcomes = (await told(watching)).outcomes
    it = outcomes[-1]
    assert len(outcomes) == (2 if name in ("flipped", "opened again") else 1)
    assert [fill for one in outcomes for fill in foreseen(one)] == filled(acting)
    assert all(one.known for one in outcomes), [one.unknown for one in outcomes]
    assert not acting.world.held(SYMBOL, side) and it.left == "0" and it.fills[-1].why == (why or it.fills[-1].why)


@sides
@trails
@story
async def test_three_markets_under_the_loop_that_runs_live(tmp_path: Path, side: Side, bars: bool) -> None:
    """Passes come as they do in production, where a fill brings the next one forward: the same orders at the same levels, within a pass."""
    coins = {"AVAXUSDT": "600", "SOLUSDT": "50", "XRPUSDT": "4000"}
    paths = {"AVAXUSDT": (1, 6, 9, 7, 2), "SOLUSDT": (-1, -4, -7, -11, -9), "XRPUSDT": (2, 5, 9, 14, 3)}
    runs = []
    for scope in (Scope.WATCH, Scope.FULL):
        session = Session(World(), tmp_path / scope.value, scope, bars, SCALED_TP, side)
        for symbol, size in coins.items():
            session.world.stranger(symbol, side, size)
        await session.start()
        assert session.rig is not None
        running = asyncio.create_task(session.rig.live(400))
        await asyncio.sleep(5.3)
        for step in range(5 * 60):
            for symbol, path in paths.items():
                at, part = divmod(step, 60)
                before = path[at - 1] if at else 0
                session.world.move(symbol, side, before + (path[at] - before) * part / 60, ms=0)
            await asyncio.sleep(1)
        await running
        await session.kill()
        runs.append(session)
    it = await told(runs[0])
    would = sorted((fill for one in it.outcomes for fill in foreseen(one)), key=lambda fill: fill[1:])
    did = sorted(filled(runs[1]), key=lambda fill: fill[1:])
    assert len(it.outcomes) == 3 and all(one.known for one in it.outcomes) and it.holes == () and len(did) > 5
    assert [fill[1:] for fill in would] == [fill[1:] for fill in did]
    assert max(abs(a[0] - b[0]) for a, b in zip(would, did, strict=True)) <= 2_000


# -- money, by hand, holes ------------------------------------------------------------------------------------------------------------


@sides
@modes
@story
async def test_the_difference_is_the_money_between_the_two_worlds(tmp_path: Path, side: Side, hedge: bool) -> None:
    """What the two accounts differ by at the end is what was said, within the slippage that was said: a fall saved, a dip cost."""
    for play, sign in ((to_the_stop_and_further, 1), (to_the_stop_and_back, -1)):
        watching = await played(tmp_path / str(sign), Scope.WATCH, play, side, hedge=hedge, bars=False, policy=STAGED)
        acting = await played(tmp_path / str(sign), Scope.FULL, play, side, hedge=hedge, bars=False, policy=STAGED)
        it = await told(watching)
        (one,) = it.outcomes
        equity = [Decimal(s.world.exchange.wallet(s.world.account).equity) / ONE for s in (watching, acting)]
        slipped = sum(Decimal(fill.size) * Decimal(fill.price) * Decimal("0.0021") for fill in one.fills)
        assert one.saved is not None and one.would is not None and one.did is not None and one.saved_r is not None
        assert equity[1] - equity[0] - slipped <= Decimal(one.saved) <= equity[1] - equity[0]
        assert Decimal(one.would) - Decimal(one.did) == Decimal(one.saved) and sign * Decimal(one.saved) > 0 < sign * Decimal(one.saved_r)
        word = "saved" if sign > 0 else "cost"
        assert one.verdict == f"would have {word} {abs(Decimal(one.saved)):,.2f}"
        assert it.sentence.startswith("1 position, 1 stop would have fired, ") and f"net {Decimal(one.saved):+,.2f} USDT" in it.sentence
        assert one.held == "600" and one.left == "0" and one.slip_assumed


async def to_the_stop_and_further(s: Session) -> None:
    await s.walk(0.5, -1, -2, -2.5, -4, -6, -9, -11, -15)


async def to_the_stop_and_back(s: Session) -> None:
    await s.walk(0.5, -1, -2, -2.5, -4, -6, -9, -11, -3, 2)


@sides
@story
async def test_what_the_trader_closed_is_compared_with_its_price(tmp_path: Path, side: Side) -> None:
    """The trail would have closed at +7 %; the trader held on and closed at +3 %, and opened another position, still open, with a plan."""

    async def play(s: Session) -> None:
        await s.walk(2, 5.5, 8, 6, 3)
        s.world.leaves(SYMBOL, side, "600")
        await s.passes(5)
        await s.walk(4)
        s.world.stranger(SYMBOL, side, "50")
        await s.passes(3)

    watching = await played(tmp_path, Scope.WATCH, play, side, hedge=False, bars=False, policy=STAGED)
    first, second = (await told(watching)).outcomes
    exit_price, closed = Decimal(first.fills[0].price), Decimal(first.deals[0].price)
    fees = Decimal("0.0005") * 600
    expected = side.sign * (exit_price - closed) * 600 - fees * exit_price + fees * closed
    assert first.saved is not None and abs(Decimal(first.saved) - expected) < Decimal("0.01")
    assert [deal.size for deal in first.deals] == ["-600"] and first.held == first.left == "0"
    assert (second.size, second.held, second.left, second.fills, second.verdict) == ("50", "50", "50", (), "nothing would have been filled")
    assert second.first_ms > first.last_ms - 10_000 and any(leg.startswith("s0@") for leg in second.resting) and second.saved == "0"


@sides
@story
async def test_what_is_added_after_the_exit_is_left_out(tmp_path: Path, side: Side) -> None:
    async def play(s: Session) -> None:
        await s.walk(2, 5.5, 8, 6)
        s.world.stranger(SYMBOL, side, "400")
        await s.passes(2)
        await s.walk(3)
        s.world.leaves(SYMBOL, side, "500")
        await s.passes(2)

    watching = await played(tmp_path, Scope.WATCH, play, side, hedge=False, bars=False, policy=STAGED)
    (it,) = (await told(watching)).outcomes
    exit_price, price, fees = Decimal(it.fills[0].price), Decimal(it.price), Decimal("0.0005")
    expected = side.sign * (exit_price - price) * 600 - fees * 600 * exit_price + fees * 100 * price
    assert it.saved is not None and abs(Decimal(it.saved) - expected) < Decimal("0.01") and it.held == "500"


@sides
@trails
@pytest.mark.parametrize("reached", [True, False], ids=["reached", "not reached"])
@story
async def test_a_stop_reached_while_the_desk_was_down_is_not_known(tmp_path: Path, side: Side, bars: bool, reached: bool) -> None:
    """The bars of the hole are asked for when it is over: they tell whether an order was reached, not how it was filled."""

    async def play(s: Session) -> None:
        await s.walk(2, 5.5, 8)
        await s.passes(31)
        await s.kill()
        for percent in (7.5, 3 if reached else 7.4, 7.6):
            s.world.move(SYMBOL, side, percent, ms=150_000)
        await s.start()
        await s.passes(3)
        await s.walk(7.7)

    watching = await played(tmp_path, Scope.WATCH, play, side, hedge=False, bars=bars, policy=STAGED)
    it = await told(watching)
    (one,) = it.outcomes
    (hole,) = it.holes
    assert 450_000 <= hole.lasted_ms <= 460_000 and hole.symbol == "" and "7 min" in it.watched and "of holes" in it.watched
    assert one.known is not reached
    if reached:
        assert one.verdict == "not known" and "the price came to s0@" in one.unknown and one.saved is one.would is one.did is None
        assert it.sentence == "1 position, 0 stops would have fired; 1 not known and not counted"
    else:
        acting = await played(tmp_path, Scope.FULL, play, side, hedge=False, bars=bars, policy=STAGED)
        assert foreseen(one) == filled(acting)


@sides
@story
async def test_a_close_by_hand_while_the_desk_was_down_is_not_known(tmp_path: Path, side: Side) -> None:
    async def play(s: Session) -> None:
        await s.walk(2, 4)
        await s.kill()
        s.world.leaves(SYMBOL, side, "600")
        s.world.move(SYMBOL, side, 4.1, ms=150_000)
        await s.start()
        await s.passes(4)

    watching = await played(tmp_path, Scope.WATCH, play, side, hedge=False, bars=False, policy=STAGED)
    (one,) = (await told(watching)).outcomes
    assert one.unknown.startswith("it was changed by hand between ") and one.held == "0"


@sides
@story
async def test_one_closed_and_opened_again_while_the_desk_was_down(tmp_path: Path, side: Side) -> None:
    """Of the first nobody knows at which price it was left; of the second everything is known."""

    async def play(s: Session) -> None:
        await s.walk(2, 4)
        await s.passes(31)
        await s.kill()
        s.world.leaves(SYMBOL, side, "600")
        s.world.move(SYMBOL, side, 5, ms=150_000)
        s.world.stranger(SYMBOL, side, "600")
        await s.start()
        await s.passes(4)

    watching = await played(tmp_path, Scope.WATCH, play, side, hedge=False, bars=False, policy=STAGED)
    first, second = (await told(watching)).outcomes
    assert first.unknown.startswith("it was changed by hand between ") and second.known and second.left == "600"


@sides
@pytest.mark.parametrize("rules", [name for name in RULES if name != "plain"])
@pytest.mark.parametrize("name", ["trail", "targets", "added to"])
@story
async def test_under_every_unproven_rule(tmp_path: Path, name: str, rules: str, side: Side) -> None:
    play, policy, _ = STORIES[name]
    runs = [
        await played(tmp_path, scope, play, side, hedge=False, bars=False, policy=policy, rules=RULES[rules])
        for scope in (Scope.WATCH, Scope.FULL)
    ]
    (it,) = (await told(runs[0])).outcomes
    assert foreseen(it) == filled(runs[1]) and it.known


@sides
@story
async def test_prices_that_were_lost_are_told(tmp_path: Path, side: Side) -> None:
    """The passes go on and read the mark price: nothing is in doubt. Where the orders cannot be read, neither: what rests is known."""

    async def play(s: Session) -> None:
        assert s.rig is not None
        await s.walk(2, 4)
        for _ in range(60):
            s.world.pass_time(2_000)
            s.rig.deaf()
            await s.rig.monitor.pass_once()
        await s.walk(4.2)

    watching = await played(tmp_path, Scope.WATCH, play, side, hedge=False, bars=False, policy=STAGED)
    it = await told(watching)
    assert it.holes == () and it.outcomes[0].known and it.watched.startswith("watched for 2 min ")
    assert it.watched.endswith(", without a hole; 47 h 57 min left to the recommended 48 h")


@sides
@story
async def test_a_window_that_begins_in_the_middle_goes_on_from_the_journal(tmp_path: Path, side: Side) -> None:
    """The trail has come far when the window begins: its stop is where it was. Passed before the window, nothing can be told."""
    watching = await played(tmp_path, Scope.WATCH, to_the_trail, side, hedge=False, bars=False, policy=STAGED)
    whole = await told(watching)
    exit_ms = whole.outcomes[0].fills[0].at_ms
    later = await told(watching, since_ms=exit_ms - 9_000)
    assert later.outcomes[0].fills[0] == replace(whole.outcomes[0].fills[0], why=later.outcomes[0].fills[0].why)
    late = await told(watching, since_ms=exit_ms + 5_000)
    assert late.outcomes[0].unknown == "the price had passed its stop already when the window began"
    assert ", told from " in in_words(later.outcomes[0])[0] and ", told from " not in in_words(whole.outcomes[0])[0]


@sides
@story
async def test_a_window_that_begins_behind_a_target(tmp_path: Path, side: Side) -> None:
    async def play(s: Session) -> None:
        await s.walk(0.5, 0.8, 0.5, 0.3)

    watching = await played(tmp_path, Scope.WATCH, play, side, hedge=False, bars=True, policy=RANGE)
    assert (await told(watching)).outcomes[0].fills[0].leg == "t1"
    late = await told(watching, since_ms=watching.world.now_ms - 70_000)
    assert late.outcomes[0].unknown == "the price had passed its first target already when the window began"
