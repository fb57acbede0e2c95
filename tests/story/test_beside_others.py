"""A human and a second bot on the account: long mixed sessions in which the desk goes exactly as far as its scope says.

Others trade by hand and by program while prices run: own stops, close-position stops, targets, trailing orders, limits, adds, reduces,
closes, flips, and a grid that is cancelled and sent anew every few seconds, often in the middle of a pass. What is claimed is read from
the exchange's own records. The sharpest of them: on a symbol that is not ours, everything that ever happened must be what happens to the
same others, by the same prices, where there is no desk at all.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest

from qtkit.alerts import Alert, Phase, Seen, look, news
from qtkit.core.events import EpisodeOpened, IntentMade, Ratcheted
from qtkit.core.ids import client_order_id
from qtkit.core.model import Bps, Key, OrderKind, PolicyError, PositionSide, Scope, Side, Ticks, TriggerBy
from qtkit.core.policy import GUARD, ExitPolicy, named
from qtkit.ledger import Ledger
from qtkit.operate import Adopt, Release, operate
from qtkit.paper.exchange import Exchange
from qtkit.paper.faults import WRITES, Call, Fault, Faults, Verb
from qtkit.paper.hand import Hand
from qtkit.paper.judge import stands
from qtkit.paper.meter import Meter
from qtkit.paper.others import BOT, HUMAN, Deed, Others
from qtkit.paper.rows import AlgoRow, NewOrder, OrderRow
from tests.story.rig import OURS, PRICES, RULES, SIDES, STRANGER, Rig, World, desk, e8, faster, sound, story, tidy
from tests.story.venue import DeskProcess, Venue

UNDER_WATER, WINNER, BOTS, SHARED = "SOLUSDT", "XRPUSDT", "ETHUSDT", "LTCUSDT"
SYMBOLS = (UNDER_WATER, WINNER, BOTS, SHARED)
TICK_MS = 2_000
AFTER_PRICE_MS = 1_000  # a pass comes so long after the price that it sees
HALF_AN_HOUR = 900  # passes
SHORT = 240
QUIET = 16  # passes after which everything must be in order


class Asked(Faults):
    """Every request that reaches the exchange through a gateway, and a moment between two of them at which something else happens."""

    def __init__(self) -> None:
        super().__init__()
        self.changing: list[Call] = []
        self.count = 0
        self.between: Any = None
        self.after = 0

    def decide(self, call: Call, at_ms: int) -> Fault | None:
        if call.verb not in (Verb.EVENT, Verb.TRIGGER):
            self.count += 1
            self.after -= 1
            if call.verb in WRITES:
                self.changing.append(call)
            if self.between is not None and self.after < 0:
                act, self.between = self.between, None
                act()
        return super().decide(call, at_ms)


class Prices:
    """A seeded market: calm, runs and breaks. It begins with what the story needs: the one 4 % down, the other 6 % down."""

    def __init__(self, seed: int) -> None:
        self._random = {symbol: Random(f"{seed}/{symbol}") for symbol in SYMBOLS}
        self._bps = dict.fromkeys(SYMBOLS, 0.0)
        self._drift = dict.fromkeys(SYMBOLS, 0.0)
        self.steps = 0

    def step(self) -> Iterator[tuple[str, Decimal]]:
        """The next price of each symbol."""
        self.steps += 1
        for symbol, random in self._random.items():
            if self.steps % 30 == 0:
                self._drift[symbol] = random.choice((0, 0, 4, -4, 12, -12, 30, -30))
            shock = random.choice((-150, 150)) if random.random() < 0.01 else 0
            fall = {UNDER_WATER: -20.0, WINNER: -30.0}.get(symbol, 0.0) if self.steps <= 20 else 0.0
            back = -self._bps[symbol] / 30 if abs(self._bps[symbol]) > 1_200 else 0
            self._bps[symbol] += fall or (random.uniform(-7, 7) + self._drift[symbol] + shock + back)
            yield symbol, Decimal(PRICES[symbol]) * (10_000 + Decimal(round(self._bps[symbol], 2))) / 10_000


def begun(others: Others) -> None:
    """Two positions of the human: one will be under water, the other will have run past its trail."""
    hand = others.human.hand
    for symbol, side in ((UNDER_WATER, Side.LONG), (WINNER, Side.SHORT)):
        assert hand.buys_in(symbol, side, hand.size(symbol, 3))


class Session:
    """The account, the market, the others, and a desk that comes, is killed and comes back. ``desk`` None: there is never one."""

    def __init__(
        self, home: Path, seed: int, *, rules: str, hedge: bool, scope: Scope | None, policy: ExitPolicy | None = None,
        symbols: frozenset[str] | None = None,
    ) -> None:  # fmt: skip
        self.asked = Asked()
        self.world = world = World(RULES[rules], hedge=hedge, balance=10_000_000, faults=self.asked)
        world.meter.detach()
        strangers = (HUMAN, BOT, STRANGER)
        world.meter = Meter(world.exchange, prefix=OURS, strangers=strangers, clock=lambda: world.now_ms / 1000, settle_ms=60_000)
        self.others = Others(world.exchange, "paper", human=(UNDER_WATER, WINNER, SHARED), bot=(BOTS, SHARED), seed=seed)
        self.home, self.rules, self.scope, self.policy, self.symbols = home, rules, scope, policy, symbols
        self.rig: Rig | None = None
        self.bare: dict[tuple[str, PositionSide], int] = {}
        self.longest_bare = 0
        self.marks: dict[tuple[str, int], int] = {}
        self._prices, self._random = Prices(seed), Random(f"{seed}/moments")

    async def start(self) -> None:
        """A desk comes."""
        if self.scope is not None:
            self.rig = Rig(self.world, self.home, scope=self.scope, adopted=self.policy)
            faster(self.rig, symbols=self.symbols)
            await self.rig.paper.start()

    async def kill(self) -> None:
        """The desk dies; what rests stays."""
        if self.rig is not None:
            await self.rig.kill()
        self.rig = None
        self.bare.clear()

    async def run(self, passes: int) -> None:
        """So many passes, or as much time where no desk runs. The others act before a pass, or in the middle of it."""
        for _ in range(passes):
            self.world.pass_time(TICK_MS - AFTER_PRICE_MS)
            for symbol, price in self._prices.step():
                self.world.price(symbol, price)
                self.marks[symbol, self.world.now_ms] = e8(price)
            self.world.pass_time(AFTER_PRICE_MS)
            moment = self._random.randrange(8)
            if self.rig is None or moment > 5:
                self.others.act()
            else:
                self.asked.between, self.asked.after = self.others.act, moment
            if self.rig is not None:
                await self.rig.passes(1, ms=0)
            self.asked.between = None
            self.others.act()
            self._look()

    def ours(self, symbol: str) -> bool:
        """True if the desk may write on this symbol."""
        return self.scope in (Scope.GUARD, Scope.FULL) and (self.symbols is None or symbol in self.symbols)

    def _look(self) -> None:
        """For how many passes has each position of ours been without whole cover while a desk was there to see it?"""
        if self.rig is None:
            return
        account, exchange, bare = self.world.account, self.world.exchange, self.bare
        self.bare = {}
        for row in exchange.positions(account):
            slot = (row.symbol, row.position_side)
            standing = stands(row, account.waiting(row.symbol), exchange.book(row.symbol).last, OURS)
            if self.ours(row.symbol) and not standing.covered:
                self.bare[slot] = bare.get(slot, 0) + 1
                self.longest_bare = max(self.longest_bare, self.bare[slot])

    async def play(self, passes: int, *, desk_first: bool) -> None:
        """A session: both are there, one dies and comes back, then the other."""
        third = passes // 3
        if desk_first:
            await self.start()
        begun(self.others)
        await self.run(20)
        if not desk_first:
            await self.start()
        await self.run(third - 20)
        await self.kill()
        await self.run(15)
        await self.start()
        await self.run(third - 35)
        self.others.bot.away = True
        await self.run(20)
        self.others.bot.comes_back()
        self.others.human.away = True
        await self.run(20)
        self.others.human.away = False
        await self.run(third - 20)

    async def quiet(self) -> None:
        """Both go, and take what they left resting with them; the desk gets time to put everything in order."""
        for other in (self.others.human, self.others.bot):
            other.away = True
            for symbol in SYMBOLS:
                for row in other.hand.resting(symbol):
                    assert other.hand.cancels(row)
        assert self.rig is not None
        await self.rig.passes(QUIET)
        await self.rig.passes(2, ms=61_000)  # past the minute's sweep
        await self.rig.passes(3, ms=5_000)

    @property
    def stuck(self) -> bool:
        """True where the exchange's rules let no stop be replaced: it is then left as it is."""
        rules = self.world.rules
        return rules.conditional_reserves and not rules.floor_beside_stop and not self.world.hedge

    @property
    def planned(self) -> dict[str, tuple[int, int]]:
        """Where stop and floor of the position were planned (E8) when each order of ours was sent, by its client id; from the journal."""
        assert self.rig is not None
        facts, now, found = self.world.exchange.facts, dict[Key, tuple[int, int]](), dict[str, tuple[int, int]]()
        for row in self.rig.journal.events():
            match row.event:
                case EpisodeOpened(plan=plan, trail=trail):
                    now[plan.key] = (trail.stop, plan.floor)
                case Ratcheted(key=key, trail=trail):
                    now[key] = (trail.stop, now[key][1])
                case IntentMade(key=key, order=order):
                    tick = facts[key.symbol].instrument.tick
                    found[order.client_id] = (now[key][0] * tick, now[key][1] * tick)
        return found


def history(exchange: Exchange, symbol: str) -> tuple[object, ...]:
    """Everything that ever happened on a symbol of the account, but for the exchange's own numbers."""
    account = exchange.accounts["paper"]
    return (
        [replace(row, order_id=0, algo_id=0) for row in account.orders.values() if row.symbol == symbol],
        [replace(row, order_id=0, algo_id=0) for row in account.algos.values() if row.symbol == symbol],
        [replace(trade, order_id=0, trade_id=0) for trade in account.trades if trade.symbol == symbol],
        [replace(row, liquidation=0) for row in exchange.positions(account, symbol)],
    )


# -- what must be so ------------------------------------------------------------------------------------------------------------------


async def left_alone(session: Session, seed: int, passes: int, symbols: Iterable[str]) -> None:
    """On these symbols everything went as it goes for the same others where there is no desk."""
    twin = Session(session.home, seed, rules=session.rules, hedge=session.world.hedge, scope=None)
    await twin.play(passes, desk_first=False)
    for symbol in symbols:
        assert history(session.world.exchange, symbol) == history(twin.world.exchange, symbol), (
            f"{symbol} is not what it would be without the desk"
        )
        assert not [call for call in session.asked.changing if call.symbol == symbol]


def everything_happened(session: Session) -> None:
    """The session was not blind: the human and the bot did all that they can do, and some of it was refused."""
    done = {done.deed for done in session.others.done if done.taken}
    assert done == set(Deed), f"never happened: {[deed.value for deed in Deed if deed not in done]}"
    assert session.others.human.hand.refused


def harmless(session: Session) -> None:
    """What holds in every scope: foreign orders are as their owners left them, ours cannot open, none of them adds or lives twice."""
    assert session.world.meter.foreign_touched == ()
    assert not [line for line in session.world.meter.ledger() if line.liquidated]
    sound(session.world)
    foreign = [call for call in session.asked.changing if not call.client_id.startswith(OURS)]
    assert not foreign, f"requests about what is not ours: {foreign[:3]}"
    strange = [call for call in session.asked.changing if call.symbol is None or not session.ours(call.symbol)]
    assert not strange, f"requests on symbols that are not ours: {strange[:3]}"


def reduced_by_stops_alone(session: Session) -> None:
    """Every fill of ours is that of a stop which the mark had reached, and which lay where the plan had it when it was sent.

    One exception is a rule of the desk: what is left of a position once the mark has passed its stop (somebody added at the last moment)
    gets a stop just behind the mark; closing it at the market would need scope full.
    """
    account, planned, marks = session.world.account, session.planned, session.marks
    algos = {row.order_id: row for row in account.algos.values() if row.order_id}
    for trade in session.world.own_trades():
        stop = algos.get(trade.order_id)
        assert stop is not None and stop.kind is OrderKind.STOP_MARKET, f"{trade.client_id} is no stop"
        sign = 1 if stop.side is Side.LONG.closing else -1
        assert sign * (stop.trigger - marks[stop.symbol, stop.triggered_ms]) >= 0, f"{trade.client_id} fired before its level"
        level, floor = planned[trade.client_id]
        mark = marks[stop.symbol, stop.created_ms - AFTER_PRICE_MS]
        behind = sign * (mark - level) <= 0 < sign * (mark - stop.trigger) <= 55 * mark // 10_000
        assert stop.trigger in (level, floor) or behind, f"{trade.client_id} lay at {stop.trigger}, planned were {level} and {floor}"


def in_order(session: Session) -> None:
    """At rest: whole cover by our own orders on every symbol that is ours, nothing of ours anywhere else."""
    for symbol in SYMBOLS:
        for side in SIDES:
            if not session.ours(symbol):
                assert not session.world.own(symbol, side)
            elif session.stuck:
                assert sum(row.quantity for row in session.world.stops(symbol, side)) >= session.world.held(symbol, side)
            else:
                tidy(session.world, symbol, side)
    bare = [
        f"{line.key}: {line.standing.why}" for line in session.world.meter.ledger() if session.ours(line.key.symbol) and not line.covered
    ]
    assert not bare, bare


def kept_covered(session: Session) -> None:
    """Two passes cover what is new. Where somebody else's order keeps ours from resting, by the exchange's rules, that cannot be."""
    rules = session.world.rules
    if rules.floor_beside_stop and not rules.conditional_reserves:
        assert session.longest_bare <= 2, f"a position was without whole cover for {session.longest_bare} passes"


def never_looser(session: Session) -> None:
    """By the journal, the stop of a position only ever tightens.

    The meter's word for it is too strict here: it also counts the luck of an addition, made between a reading and its cancels, that a stop
    just replaced would have closed as well.
    """
    assert session.rig is not None
    stops: dict[Key, tuple[int, int]] = {}
    for row in session.rig.journal.events():
        match row.event:
            case EpisodeOpened(plan=plan, trail=trail):
                stops[plan.key] = (plan.side.sign, trail.stop)
            case Ratcheted(key=key, trail=trail) if key in stops:
                sign, before = stops[key]
                assert sign * (trail.stop - before) >= 0, f"{key}: the stop went from {before} back to {trail.stop}"
                stops[key] = (sign, trail.stop)


# -- sessions -------------------------------------------------------------------------------------------------------------------------

SEEDS = (2, 3, 4, 5, 6, 24)
DAY = {
    ("plain", "one-way", True, 24), ("plain", "hedge", False, 2), ("floor-alone", "one-way", False, 3), ("reserving", "one-way", True, 4),
    ("flat-refused", "hedge", True, 5), ("strict", "one-way", False, 6),
}  # fmt: skip
"""Which sessions are played by day: each rule, both modes, both orders of start. The night plays all of them, longer."""


def _case(rules: str, mode: str, desk_first: bool, seed: int) -> Any:
    by_day = (rules, mode, desk_first, seed) in DAY
    name = f"{rules}-{mode}-{'desk' if desk_first else 'others'}-first-{seed}"
    marks = () if by_day else (pytest.mark.night, pytest.mark.timeout(900))
    return pytest.param(rules, mode == "hedge", desk_first, seed, SHORT if by_day else HALF_AN_HOUR, id=name, marks=marks)


CASES = [_case(*case) for case in product(RULES, ("one-way", "hedge"), (True, False), SEEDS)]
sessions = pytest.mark.parametrize(("rules", "hedge", "desk_first", "seed", "passes"), CASES)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("hedge", [False, pytest.param(True, marks=pytest.mark.night)], ids=["one-way", "hedge"])
@pytest.mark.parametrize("desk_first", [True, pytest.param(False, marks=pytest.mark.night)], ids=["desk-first", "others-first"])
@story
async def test_half_an_hour_of_watching_changes_nothing(home: Path, hedge: bool, desk_first: bool) -> None:
    session = Session(home, 7, rules="plain", hedge=hedge, scope=Scope.WATCH)
    await watches(session, 7, HALF_AN_HOUR, desk_first)
    everything_happened(session)


@sessions
@story
async def test_watching_changes_nothing(home: Path, rules: str, hedge: bool, desk_first: bool, seed: int, passes: int) -> None:
    await watches(Session(home, seed, rules=rules, hedge=hedge, scope=Scope.WATCH), seed, passes, desk_first)


async def watches(session: Session, seed: int, passes: int, desk_first: bool) -> None:
    await session.play(passes, desk_first=desk_first)
    assert session.asked.count > passes and session.asked.changing == []
    assert not session.world.own_trades()
    await left_alone(session, seed, passes, SYMBOLS)
    await session.kill()


@sessions
@story
async def test_guarding_only_stops_reduce(home: Path, rules: str, hedge: bool, desk_first: bool, seed: int, passes: int) -> None:
    session = Session(home, seed, rules=rules, hedge=hedge, scope=Scope.GUARD, policy=GUARD)
    await session.play(passes, desk_first=desk_first)
    harmless(session)
    kept_covered(session)
    never_looser(session)
    await session.quiet()
    reduced_by_stops_alone(session)
    harmless(session)
    in_order(session)
    await session.kill()


@sessions
@story
async def test_in_full_only_adopted_symbols_are_traded(
    home: Path, rules: str, hedge: bool, desk_first: bool, seed: int, passes: int
) -> None:
    symbols = frozenset({UNDER_WATER, WINNER, SHARED} if seed % 2 else {UNDER_WATER, WINNER})
    policy = named(("staged", "scaled_tp", "RANGE")[seed % 3])
    session = Session(home, seed, rules=rules, hedge=hedge, scope=Scope.FULL, policy=policy, symbols=symbols)
    await session.play(passes, desk_first=desk_first)
    harmless(session)
    kept_covered(session)
    never_looser(session)
    await left_alone(session, seed, passes, set(SYMBOLS) - symbols)
    assert {call.symbol for call in session.asked.changing} == symbols
    await session.quiet()
    harmless(session)
    in_order(session)
    assert not [line for line in session.world.meter.ledger() if line.trades_before_cover]
    await session.kill()


# -- one rule at a time ---------------------------------------------------------------------------------------------------------------

both_sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name.lower())
both_modes = pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])


def trader(world: World) -> Hand:
    """Somebody else's client on the account."""
    return Hand(world.exchange, "paper", STRANGER, "x-other-")


@both_sides
@both_modes
@story
async def test_foreign_stops_are_counted_as_foreign_cover_and_left_alone(home: Path, hedge: bool, side: Side) -> None:
    asked = Asked()
    world = World(hedge=hedge, faults=asked)
    hand = trader(world)
    async with desk(world, home) as rig:
        world.stranger(UNDER_WATER, side, 10)
        assert hand.stops(UNDER_WATER, side, e8(4), 300)
        assert hand.trails(UNDER_WATER, side, e8(3), Bps(100))  # activated at once: it counts too, as far as it goes
        assert hand.rests(UNDER_WATER, side, e8(5), 400)
        theirs = list(hand.resting(UNDER_WATER))
        await rig.passes(4)
        (line,) = rig.monitor.health.coverage
        assert (line.foreign, line.covered, line.gap) == (7, 10, 0) and len(line.foreign_orders) == 2
        assert hand.stops(UNDER_WATER, side, None, 900) is False, "our floor has the close-position slot"
        for row in world.floors(UNDER_WATER, side):
            world.takes_away(row)
        assert hand.stops(UNDER_WATER, side, None, 900)
        await rig.passes(4)
        (line,) = rig.monitor.health.coverage
        assert (line.foreign, line.covered, line.gap) == (10, 10, 0), "the whole of it is closed by theirs, and the whole of it by ours"
        assert not world.floors(UNDER_WATER, side) and sum(row.quantity for row in world.stops(UNDER_WATER, side)) == e8(10)
        before = len(asked.changing)
        await rig.passes(10)
        assert len(asked.changing) == before, "it is not tried again and again"
        assert theirs == hand.resting(UNDER_WATER)[: len(theirs)] and world.meter.foreign_touched == ()
        tidy(world, UNDER_WATER, side)


@both_sides
@both_modes
@pytest.mark.parametrize("there", [UNDER_WATER, BOTS], ids=["on-ours", "on-a-flat-symbol"])
@story
async def test_another_desks_order_stops_our_writes_and_is_told_once(home: Path, there: str, hedge: bool, side: Side) -> None:
    asked = Asked()
    world = World(hedge=hedge, faults=asked)
    seen, told = Seen(), list[Alert]()

    def tells(rig: Rig) -> None:
        nonlocal seen
        health = rig.monitor.health
        now = Ledger(
            account="paper", scope="full", running=True, at_ms=world.now_ms, last_pass_ms=health.last_pass_ms, tick_ms=TICK_MS,
            alarms=health.alarms,
        )  # fmt: skip
        after = look(seen, now, gap_ms=3_600_000, failed_passes=3)
        told.extend(news(seen, after, remind_ms=6 * 3_600_000))
        seen = after

    async with desk(world, home) as rig:
        world.stranger(UNDER_WATER, side, 10)
        await rig.passes(3)
        other = Hand(world.exchange, "paper", STRANGER, client_order_id("abcd", "somebody's plan", "s0", 1))
        world.exchange.submit_algo(world.account, theirs(world, there, side, other.prefix))
        await rig.passes(1)
        before, resting = len(asked.changing), {row.client_id for row in world.own()}
        with pytest.raises(PolicyError, match="another desk"):
            await rig.executor.place_order(SHARED, side.opening.value, 5)
        world.stranger(UNDER_WATER, side, 5)  # what rests no longer fits, and a position comes that nothing covers
        world.stranger(WINNER, side, 200)
        for _ in range(40):
            await rig.passes(1, ms=5_000)
            tells(rig)
        assert len(asked.changing) == before and {row.client_id for row in world.own()} == resting
        assert len(told) == 1 and told[0].phase is Phase.BEGAN and "another desk" in told[0].text
        for row in other.resting(there):
            assert other.cancels(row)
        for _ in range(20):
            await rig.passes(1, ms=5_000)
            tells(rig)
        assert [alert.phase for alert in told] == [Phase.BEGAN, Phase.ENDED]
        tidy(world, UNDER_WATER, side)
        tidy(world, WINNER, side)
        sound(world)


def theirs(world: World, symbol: str, side: Side, client_id: str) -> NewOrder:
    """A stop as another desk would rest it."""
    trigger = trader(world).away(symbol, side, -2_000)
    return NewOrder(
        symbol=symbol, side=side.closing, kind=OrderKind.STOP_MARKET, quantity=e8(1), trigger=trigger, trigger_by=TriggerBy.MARK,
        position_side=world.slot(side) if world.hedge else None, reduce_only=None if world.hedge else True, client_id=client_id,
    )  # fmt: skip


@both_sides
@story
async def test_a_second_desk_that_comes_later_never_writes(home: Path, side: Side) -> None:
    world = World()
    async with desk(world, home) as first:
        world.stranger(UNDER_WATER, side, 10)
        await first.passes(3)
        async with desk(world, home.parent / "other", tag="abcd") as second:
            for _ in range(20):
                await first.passes(1, ms=1_000)
                await second.passes(1, ms=1_000)
            assert not [row for row in world.account.algos.values() if row.client_id.startswith("q1abcd")]
            assert "another desk" in second.monitor.health.alarms[0] and first.monitor.health.alarms == ()
        tidy(world, UNDER_WATER, side)


THEIR_TARGETS: dict[str, Callable[[Hand, Side], bool]] = {
    "plain-limits": lambda hand, side: all(hand.offers(UNDER_WATER, side, e8(5), bps, plain=True) for bps in (150, 450)),
    "reduce-only-limits": lambda hand, side: all(hand.offers(UNDER_WATER, side, e8(4), bps) for bps in (150, 450)),
    "conditional": lambda hand, side: all(hand.aims(UNDER_WATER, side, e8(4), bps) for bps in (150, 450)),
    "close-position": lambda hand, side: hand.aims(UNDER_WATER, side, None, 350),
    "a-plain-part": lambda hand, side: hand.offers(UNDER_WATER, side, e8(3), 250, plain=True),
}


def _walk(rules: str, mode: str, ours_first: bool) -> Any:
    by_day = rules == "plain" or (rules == "floor-alone" and mode == "one-way" and ours_first)  # reserving ones leave no target of ours
    first = "ours-first" if ours_first else "theirs-first"
    return pytest.param(rules, mode == "hedge", ours_first, id=f"{rules}-{mode}-{first}", marks=() if by_day else pytest.mark.night)


WALKS = [_walk(*case) for case in product(RULES, ("one-way", "hedge"), (True, False))]


@both_sides
@pytest.mark.parametrize("kind", THEIR_TARGETS)
@pytest.mark.parametrize(("rules", "hedge", "ours_first"), WALKS)
@story
async def test_another_bots_targets_and_ours_never_reduce_more_than_the_position(
    home: Path, rules: str, hedge: bool, ours_first: bool, kind: str, side: Side
) -> None:
    world = World(RULES[rules], hedge=hedge)
    hand = trader(world)
    async with desk(world, home, adopted=named("RANGE")) as rig:
        world.stranger(UNDER_WATER, side, 10)
        await rig.passes(4 if ours_first else 0)
        taken = THEIR_TARGETS[kind](hand, side)
        refused = rules in ("floor-alone", "strict") and kind == "close-position" and bool(world.targets(UNDER_WATER, side))
        assert taken is not refused, "-4130: beside a target of ours such an exchange takes no close-position one"
        await rig.passes(4)
        for step in range(60):
            aims = sum(row.quantity for row in world.targets(UNDER_WATER, side)) + sum(
                claimed(row, world, side) for row in hand.resting(UNDER_WATER)
            )
            assert aims <= world.held(UNDER_WATER, side), f"targets of {aims} at step {step}"
            for ticks in range(4):  # within one pass: what rests is all there is
                world.move(UNDER_WATER, side, Decimal(step * 4 + ticks) / 20)
                assert not world.held(UNDER_WATER, Side(-side.value)), "the position was turned over"
            await rig.passes(2)
        assert world.meter.foreign_touched == ()
        sound(world)


def claimed(row: OrderRow | AlgoRow, world: World, side: Side) -> int:
    """What of the position an order of somebody else's would take."""
    return world.held(UNDER_WATER, side) if row.close_position else row.quantity - (row.executed if isinstance(row, OrderRow) else 0)


@pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])
@story
async def test_a_symbol_shared_with_a_bot_is_ours_only_once_it_is_adopted(home: Path, hedge: bool) -> None:
    session = Session(home, 11, rules="plain", hedge=hedge, scope=Scope.FULL, policy=named("RANGE"), symbols=frozenset())
    await session.start()
    begun(session.others)
    await session.run(60)
    assert session.rig is not None and session.asked.changing == []
    await operate(session.rig.monitor, Adopt(symbol=SHARED), dry_run=False)
    session.symbols = frozenset({SHARED})
    await session.run(100)
    assert {call.symbol for call in session.asked.changing} == {SHARED}
    harmless(session)
    kept_covered(session)
    await operate(session.rig.monitor, Release(symbol=SHARED, cancel=True, seconds=3_600), dry_run=False)
    await session.run(3)
    released = len(session.asked.changing)
    await session.run(40)
    assert len(session.asked.changing) == released and not session.world.own()
    harmless(session)
    await session.kill()


# -- through the real server ----------------------------------------------------------------------------------------------------------

STEP_MS = 1_000
WRITTEN = ("POST", "PUT", "DELETE")


class Served:
    """The same others and market on an exchange behind its server, with the desk as a process of its own; time runs at 20 times."""

    def __init__(self, folder: Path, seed: int, *, scope: Scope, symbols: frozenset[str]) -> None:
        self.venue = venue = Venue(folder)
        venue.do(venue.meter.detach)
        self.meter = venue.do(lambda: Meter(venue.exchange, prefix=OURS, strangers=(HUMAN, BOT, STRANGER)))
        names = ", ".join(f'"{symbol}"' for symbol in sorted(symbols))
        policy = "" if scope is Scope.WATCH else 'guard_policy = "RANGE"\n'
        (venue.home / "qtkit.toml").write_text(
            f'tick_seconds = 1\nbudget_share_bps = 9000\n[accounts.paper]\nbase_url = "http://127.0.0.1:{venue.server.port}"\n'
            f'scope = "{scope.value}"\nsymbols = [{names}]\n{policy}'
        )
        self.twin = venue.do(venue.exchange.clone)
        self.steps, self.seed = 0, seed
        self.others, self.prices = self._cast(venue.exchange), Prices(seed)

    def _cast(self, exchange: Exchange) -> Others:
        return Others(exchange, "paper", human=(UNDER_WATER, WINNER, SHARED), bot=(BOTS, SHARED), seed=self.seed)

    @contextmanager
    def desk(self) -> Iterator[DeskProcess]:
        """A desk, killed in the end."""
        process = DeskProcess(self.venue)
        try:
            yield process
        finally:
            process.kill()

    @property
    def reads(self) -> int:
        """How often the positions were read."""
        rows = self.venue.do(lambda: list(self.venue.server.requests))
        return sum(row.path == "/fapi/v3/positionRisk" for row in rows)

    def bare(self, symbols: Iterable[str]) -> list[str]:
        """Open positions on these symbols that our own stops do not cover whole."""
        lines = self.venue.do(self.meter.ledger)
        return [str(line.key) for line in lines if line.key.symbol in symbols and not line.covered]

    def run(self, steps: int, wait_s: float) -> None:
        """So many seconds of the exchange's time."""
        for _ in range(steps):
            self.venue.do(lambda: stepped(self.venue.exchange, self.prices, self.others))
            time.sleep(wait_s)
        self.steps += steps

    def untouched(self, symbols: Iterable[str]) -> None:
        """On these symbols everything went as on an exchange without a desk."""
        others, prices = self._cast(self.twin), Prices(self.seed)
        begun(others)
        for _ in range(self.steps):
            stepped(self.twin, prices, others)
        for symbol in symbols:
            assert history(self.venue.exchange, symbol) == history(self.twin, symbol), symbol

    def written(self) -> list[Mapping[str, str]]:
        """What the desk's process asked to have changed, by the server's own record. A listen key changes nothing of the account."""
        rows = self.venue.do(lambda: list(self.venue.server.requests))
        return [row.params for row in rows if row.method in WRITTEN and not row.path.endswith("/listenKey")]


def stepped(exchange: Exchange, prices: Prices, others: Others) -> None:
    """One second of the exchange's time."""
    at_ms = exchange.now_ms + STEP_MS
    for symbol, price in prices.step():
        exchange.tick(symbol, Ticks(e8(price) // exchange.facts[symbol].instrument.tick), e8(price), at_ms)
    others.act()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    venues: list[Venue] = []

    def serve(*args: Any, **more: Any) -> Served:
        found = Served(tmp_path / str(len(venues)), *args, **more)
        venues.append(found.venue)
        return found

    yield serve
    for venue in venues:
        venue.stop()


def test_watching_through_the_server_changes_nothing(served: Callable[..., Served]) -> None:
    there = served(3, scope=Scope.WATCH, symbols=frozenset(SYMBOLS))
    there.venue.do(lambda: begun(there.others))
    there.run(20, 0)
    with there.desk() as desk:
        desk.wait_for(lambda: there.reads > 2)
        there.run(40, 0.05)
        assert there.reads > 4
    assert there.written() == []
    there.untouched(SYMBOLS)


def test_beside_others_through_the_server(served: Callable[..., Served]) -> None:
    """The desk comes second, is killed with SIGKILL while both others act, and comes back."""
    ours = frozenset({UNDER_WATER, SHARED})
    there = served(5, scope=Scope.FULL, symbols=ours)
    there.venue.do(lambda: begun(there.others))
    there.run(20, 0)
    with there.desk() as desk:
        desk.wait_for(lambda: not there.bare(ours))
        there.run(40, 0.05)
    there.run(20, 0)
    with there.desk() as again:
        again.wait_for(lambda: not there.bare(ours))
        there.run(40, 0.05)
        again.wait_for(lambda: not there.bare(ours))
    there.untouched(set(SYMBOLS) - ours)
    written = there.written()
    assert {params["symbol"] for params in written if "symbol" in params} == ours
    ids = {params[name] for params in written for name in ("clientAlgoId", "newClientOrderId", "origClientOrderId") if name in params}
    assert ids and all(client_id.startswith(OURS) for client_id in ids)
    lines = there.venue.do(there.meter.ledger)
    assert there.meter.foreign_touched == () and not [line for line in lines if line.liquidated or line.trades_before_cover]
