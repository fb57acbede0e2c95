"""What the live desk costs: a price to its decision, a position in memory, a decision over 200 positions, a fill to its resting stop.

    python -m tests.bench.live --json

Prices go through the desk's own callback (``PositionMonitor.hear``, trails that follow every price), with a real journal, register and
tape on disk. Every speed is quoted beside a slow reference that was run on the same prices and gave the same stops. Times are those of the
clock, its own cost included and told. The garbage collector is on, as it is in the desk; its runs are counted.
Over 300 lines: the measurements share one rig, whose slow reference has to be read beside it.
"""

import argparse
import asyncio
import gc
import json
import random
import statistics
import sys
import tempfile
import time
import tracemalloc
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path

from qtkit import logs
from qtkit.apply import Applier
from qtkit.core import arithmetic
from qtkit.core.book import Book, Episode, fold_all
from qtkit.core.context import ExitContext, MarketData
from qtkit.core.decide import Decision, Desk, decide
from qtkit.core.desired import Traits
from qtkit.core.events import EpisodeOpened, Event, IntentMade, LegStatus, OutcomeSeen
from qtkit.core.model import E8, ONE, Cancel, Instrument, Key, Lots, Order, Place, Position, PositionSide, Side, Snapshot, Ticks, TriggerBy
from qtkit.core.plan import ExitPlan
from qtkit.core.planner import ExitPlanner
from qtkit.core.policy import named
from qtkit.core.trail import TrailState, begin, fold
from qtkit.core.watch import PriceWatch
from qtkit.desk import EVENT_TYPES
from qtkit.monitor import PositionMonitor
from qtkit.paper.exchange import Exchange
from qtkit.paper.gateway import PaperGateway
from qtkit.router import ExitRouter
from qtkit.store.journal import Journal
from qtkit.store.register import PlanRegister
from qtkit.store.tape import Tape
from qtkit.trailing import Follows
from qtkit.venue.gateway import Quote
from tests.bench import fills
from tests.bench.rig import start_price, symbols_of

SHAPES = ((1, 1), (1, 10), (10, 10), (1, 100), (10, 100), (1, 1_000))
"""Accounts and symbols held in each: positions are their product. An account is a desk of its own, with its own callback."""
PRICES = 60_000
REPEATS = 5  # of each shape, by turns with the others; medians are told
PRICES_A_PASS = 400  # of each position, then what prices have decided is recorded, as a pass does, and new positions begin
START_MS = 1_763_683_200_000
RUN_UP = 520  # bps in profit at which the prices begin: trails arm there
DRIFT, NOISE = 0.00002, 0.00015  # of a price, in the position's favour
SLOW_PRICES = 2_000
DECISIONS = 9


@dataclass(frozen=True)
class Figure:
    """One measurement. ``bound`` is what was promised, None where nothing was; ``least``: the value must reach it, not stay under it."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    note: str = ""
    least: bool = False

    @property
    def kept(self) -> bool:
        """True if the promise is kept, or there is none."""
        return self.bound is None or (self.value >= self.bound if self.least else self.value <= self.bound)


def percentile(values: list[int], part: float) -> float:
    """A percentile of sorted values."""
    return float(values[min(len(values) - 1, int(len(values) * part))])


@contextmanager
def collections() -> Iterator[list[int]]:
    """Runs of the garbage collector meanwhile, by generation."""
    counts = [0, 0, 0]

    def count(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            counts[info["generation"]] += 1

    gc.callbacks.append(count)
    try:
        yield counts
    finally:
        gc.callbacks.remove(count)


class Held:
    """Desks with open positions in profit, and the prices that come to them."""

    def __init__(self, home: Path, accounts: int, symbols: int, seed: int = 11) -> None:
        self.random = random.Random(seed)
        self.facts = symbols_of(symbols)
        self.names = tuple(self.facts)
        exchange = Exchange(start_ms=START_MS, facts=self.facts)
        self.monitors = []
        self.journals: list[Journal[Event]] = []
        self.registers = []
        for number in range(accounts):
            name = f"a{number}"
            exchange.open_account(name, balance=E8(ONE))
            self.monitors.append(self._monitor(home / name, PaperGateway(exchange, name)))
        self.plans = {(m.desk.account, s): self._plan(m, s, n) for m in self.monitors for n, s in enumerate(self.names)}
        self.episodes: dict[Key, Episode] = {}

    def _monitor(self, home: Path, gateway: PaperGateway) -> PositionMonitor:
        journal: Journal[Event] = Journal.open(home / "journal.sqlite", EVENT_TYPES, account=gateway.account)
        register = PlanRegister(home / "register.sqlite")
        self.journals.append(journal)
        self.registers.append(register)
        desk = Desk(account=gateway.account, tag="qtk0", instruments=gateway.instruments)
        router = ExitRouter(register, account=gateway.account)
        follows = Follows(closed_bars=False, series=TriggerBy.MARK)
        return PositionMonitor(desk, Applier(gateway, journal), router, follows=follows, tape=Tape(home / "tape"))

    def _plan(self, monitor: PositionMonitor, symbol: str, number: int) -> ExitPlan:
        instrument = self.facts[symbol].instrument
        price = E8(start_price(self.facts[symbol]) * instrument.tick)
        side = (Side.LONG, Side.SHORT)[number % 2]
        position = Position(symbol=symbol, position_side=PositionSide.BOTH, side=side, lots=Lots(1_000), entry=price, mark=price)
        return planned(monitor.desk.account, position, instrument, "staged")

    def begin(self) -> None:
        """New positions everywhere: what prices did to the old ones is recorded, as a pass does it."""
        self.episodes = {}
        for monitor in self.monitors:
            monitor.trails.record()
            opened = []
            for symbol in self.names:
                plan = replace(self.plans[monitor.desk.account, symbol], uid=f"u{self.random.randrange(1 << 40):x}")
                opened.append(opened_by(plan))
            monitor.applier.record(opened)
            monitor.trails.watch.follow(monitor.applier.book.episodes.values())
            self.episodes |= monitor.applier.book.episodes

    def feed(self, prices: int) -> Iterator[tuple[PositionMonitor, str, int]]:
        """So many prices for each position, the positions by turns: a walk that goes its way. Made before the first is given out."""
        turns = [(monitor, symbol) for monitor in self.monitors for symbol in self.names]
        plans = [self.plans[monitor.desk.account, symbol] for monitor, symbol in turns]
        signs = [plan.side.sign for plan in plans]
        at = [plan.entry * (1 + plan.side.sign * RUN_UP / 10_000) for plan in plans]
        marks = array("q")
        for _ in range(prices):
            at = [price * (1 + sign * DRIFT + self.random.gauss(0, NOISE)) for price, sign in zip(at, signs, strict=True)]
            marks.extend(map(int, at))
        for (monitor, symbol), mark in zip(cycle(turns), marks, strict=False):
            yield monitor, symbol, mark

    def close(self) -> None:
        """Let the files go."""
        for monitor, journal, register in zip(self.monitors, self.journals, self.registers, strict=True):
            if monitor.tape is not None:
                monitor.tape.close()
            register.disconnect()
            journal.close()


def planned(account: str, position: Position, instrument: Instrument, policy: str) -> ExitPlan:
    """The real planner's plan of somebody else's position."""
    market = MarketData(atr=E8(position.entry // 100))
    context = ExitContext(
        account=account, instrument=instrument, position=position, now_ms=START_MS, policy=named(policy), adopted=True, market=market
    )
    return ExitPlanner().plan(context)


def opened_by(plan: ExitPlan) -> EpisodeOpened:
    """The event that a position with this plan was found open."""
    return EpisodeOpened(plan=plan, trail=begin(plan), ladder=(), lots=plan.lots, entry=plan.entry, own=False, at_ms=START_MS)


def to_decision(place: Path, accounts: int, symbols: int) -> dict[str, float]:
    """Price to decision for so many positions: nanoseconds, and the share of prices that moved a stop."""
    held = Held(place, accounts, symbols)
    clock, acted = time.perf_counter_ns, 0
    spent, acting = array("q"), array("q")  # plain numbers: a rig that fills the caches would be measured with what it measures
    rounds = max(1, PRICES // (PRICES_A_PASS * accounts * symbols))
    try:
        with collections() as ran:
            for _ in range(rounds):
                held.begin()
                for monitor, symbol, mark in held.feed(PRICES_A_PASS):
                    quote = Quote(symbol=symbol, mark=E8(mark), last=None, time_ms=START_MS + len(spent))
                    waiting = len(monitor.trails.tightened)
                    began = clock()
                    monitor.hear(quote)
                    took = clock() - began
                    spent.append(took)
                    if len(monitor.trails.tightened) > waiting:
                        acted += 1
                        acting.append(took)
        drops = sum(sum(monitor.tape.drops.values()) for monitor in held.monitors if monitor.tape is not None)
    finally:
        held.close()
    spent, acting = sorted(spent), sorted(acting)
    return {
        "prices": float(len(spent)), "acted": acted * 100 / len(spent), "mean": statistics.fmean(spent), "p50": percentile(spent, 0.5),
        "p99": percentile(spent, 0.99), "p999": percentile(spent, 0.999), "acting_p50": percentile(acting, 0.5),
        "acting_p99": percentile(acting, 0.99), "collections": float(sum(ran)), "drops": float(drops),
    }  # fmt: skip


def to_decisions(place: Path, shapes: tuple[tuple[int, int], ...]) -> list[dict[str, float]]:
    """``to_decision`` of all shapes by turns, and the medians of each: what else the machine does meets all of them."""
    runs: list[list[dict[str, float]]] = [[] for _ in shapes]
    for number in range(REPEATS):
        for rows, (accounts, symbols) in zip(runs, shapes, strict=True):
            rows.append(to_decision(place / f"{accounts}x{symbols}-{number}", accounts, symbols))
    return [
        {name: statistics.median(row[name] for row in rows) for name in rows[0]}
        | {f"best_{name}": min(row[name] for row in rows) for name in ("p50", "p99")}
        for rows in runs
    ]


def timer() -> float:
    """Nanoseconds that the clock itself adds to each figure, with a call that does nothing."""
    clock, spent = time.perf_counter_ns, []

    def nothing(quote: Quote) -> None:
        """The call without its work."""

    for number in range(50_000):
        quote = Quote(symbol="BTCUSDT", mark=E8(number), last=None, time_ms=number)
        began = clock()
        nothing(quote)
        spent.append(clock() - began)
    return statistics.median(spent)


def one_symbol(positions: int = 1_000) -> dict[str, float]:
    """Many positions (accounts) on one symbol: the watch beside the loop that folds each price into each of them, with equal stops."""
    facts = symbols_of(1)
    symbol = next(iter(facts))
    maker = random.Random(5)
    instrument = facts[symbol].instrument
    episodes, base = [], start_price(facts[symbol])
    for number in range(positions):
        side = (Side.LONG, Side.SHORT)[number % 2]
        entry = E8(int(base * maker.uniform(0.97, 1.03)) * instrument.tick)
        one = Position(symbol=symbol, position_side=PositionSide.BOTH, side=side, lots=Lots(1_000), entry=entry, mark=entry)
        plan = planned(f"a{number}", one, instrument, "staged")
        episodes.append(Episode(key=plan.key, side=side, number=1, plan=plan, trail=begin(plan), opened=True, own=False, since_ms=START_MS))
    prices, at = [], float(base * instrument.tick)
    for _ in range(SLOW_PRICES):
        at *= 1 + maker.gauss(0.00002, 0.0006)
        prices.append(int(at))
    watch = PriceWatch()
    watch.follow(episodes)
    spent, moved = [], 0
    for price in prices:
        began = time.perf_counter_ns()
        moves = watch.on_price(symbol, price)
        spent.append(time.perf_counter_ns() - began)
        moved += bool(moves)
    part = prices[:: SLOW_PRICES // 200]
    again = PriceWatch()
    again.follow(episodes)
    began = time.perf_counter_ns()
    for price in part:
        again.on_price(symbol, price)
    fast = time.perf_counter_ns() - began
    began = time.perf_counter_ns()
    states = folded(episodes, part)
    slow = time.perf_counter_ns() - began
    if any(again.state(one.key).stop != states[one.key].stop for one in episodes):  # type: ignore[union-attr]
        raise AssertionError("the watch and the loop over all positions disagree: no speed is quoted")
    return {
        "mean": statistics.fmean(spent), "p50": percentile(sorted(spent), 0.5), "p99": percentile(sorted(spent), 0.99),
        "acted": round(moved * 100 / len(prices), 1), "loop_mean": slow / len(part), "ratio": slow / fast,
    }  # fmt: skip


def folded(episodes: list[Episode], prices: list[int]) -> dict[Key, TrailState]:
    """The slow reference: each price into each position."""
    states = {one.key: one.trail for one in episodes}
    for price in prices:
        for one in episodes:
            extreme = Ticks(arithmetic.favourable_ticks(one.side.sign, price, one.plan.tick))
            states[one.key] = fold(one.plan, states[one.key], extreme, 0)
    return states


def equal(place: Path, symbols: int) -> float:
    """The callback beside the loop over all positions that looks for those of the symbol: how many times faster, with equal stops."""
    held = Held(place, 1, symbols)
    try:
        held.begin()
        states = {key: episode.trail for key, episode in held.episodes.items()}
        feed = list(held.feed(max(1, SLOW_PRICES // symbols)))
        began = time.perf_counter_ns()
        for monitor, symbol, mark in feed:
            monitor.hear(Quote(symbol=symbol, mark=E8(mark), last=None, time_ms=START_MS))
        fast = time.perf_counter_ns() - began
        began = time.perf_counter_ns()
        for _, symbol, mark in feed:
            for key, episode in held.episodes.items():
                if key.symbol == symbol:
                    extreme = Ticks(arithmetic.favourable_ticks(episode.side.sign, mark, episode.plan.tick))
                    states[key] = fold(episode.plan, states[key], extreme, START_MS)
        slow = time.perf_counter_ns() - began
        seen = {key: held.monitors[0].trails.watch.state(key) for key in states}
        if any(state is None or state.stop != states[key].stop for key, state in seen.items()):
            raise AssertionError("the callback and the loop over all positions disagree: no speed is quoted")
    finally:
        held.close()
    return slow / fast


class Decided:
    """So many positions of an account, decided on again and again: floor, stop and three targets each."""

    def __init__(self, positions: int) -> None:
        self.facts = symbols_of(positions)
        traits = Traits(max_conditional=10 * positions)
        self.desk = Desk(account="a0", tag="qtk0", instruments={s: f.instrument for s, f in self.facts.items()}, traits=traits)
        self.held = {symbol: self._position(symbol, number) for number, symbol in enumerate(self.facts)}
        self.book, self.orders, self.at_ms = Book(), dict[str, tuple[Order, ...]](), START_MS

    def _position(self, symbol: str, number: int) -> Position:
        instrument = self.facts[symbol].instrument
        price = E8(start_price(self.facts[symbol]) * instrument.tick)
        side = (Side.LONG, Side.SHORT)[number % 2]
        return Position(symbol=symbol, position_side=PositionSide.BOTH, side=side, lots=Lots(1_000), entry=price, mark=price)

    def plan_for(self, key: Key, position: Position) -> ExitPlan:
        """The real planner; the register, which waits for the disk, is not part of a decision."""
        return planned("a0", position, self.facts[key.symbol].instrument, "TREND")

    def once(self) -> tuple[Decision, float]:
        """One decision on all positions, in milliseconds."""
        self.at_ms += 2_000
        snapshots = [
            Snapshot(account="a0", symbol=s, at_ms=self.at_ms, positions=(p,), orders=self.orders.get(s, ()), time_ms=self.at_ms)
            for s, p in self.held.items()
        ]
        began = time.perf_counter_ns()
        decision = decide(self.book, snapshots, self.desk, self.at_ms, self.plan_for)
        return decision, (time.perf_counter_ns() - began) / 1e6

    def carried_out(self, decision: Decision) -> list[Event]:
        """The actions were sent and acknowledged, and rest."""
        events: list[Event] = list(decision.events)
        for action in decision.actions:
            if isinstance(action, Place):
                sent = IntentMade(
                    key=action.key, leg=action.leg, revision=action.revision, order=action.order, at_ms=self.at_ms, reason=action.reason
                )
                outcome = OutcomeSeen(
                    key=action.key, leg=action.leg, client_id=action.order.client_id, status=LegStatus.ACKED, at_ms=self.at_ms
                )
                events += [sent, outcome]
                self.orders[action.key.symbol] = (*self.orders.get(action.key.symbol, ()), action.order)
            elif isinstance(action, Cancel):
                left = (order for order in self.orders[action.key.symbol] if order.client_id != action.order.client_id)
                self.orders[action.key.symbol] = tuple(left)
        self.book = fold_all(self.book, events)
        return events

    def settled(self) -> list[Event]:
        """Decide until nothing is to be done; all events on the way."""
        events: list[Event] = []
        while True:
            decision, _ = self.once()
            events += self.carried_out(decision)
            if not decision.actions:
                return events


def deciding(positions: int = 200) -> dict[str, float]:
    """Milliseconds of a decision: all positions new (with planning), all at rest."""
    first, again = [], []
    for _ in range(3):
        case = Decided(positions)
        decision, spent = case.once()
        first.append(spent)
        case.carried_out(decision)
    case.settled()
    for _ in range(DECISIONS):
        decision, spent = case.once()
        if decision.actions or decision.events or decision.alarms or any(line.gap for line in decision.coverage):
            raise AssertionError("positions at rest gave something to do")
        again.append(spent)
    return {"new": statistics.median(first), "rest": statistics.median(again), "rest_most": max(again)}


def memory(place: Path, positions: int = 1_000) -> dict[str, float]:
    """Bytes of a position in the book, with its plan and five orders, as a restarted desk reads it from its journal; and in the watch."""
    case = Decided(positions)
    events = case.settled()
    journal: Journal[Event] = Journal.open(place / "memory.sqlite", EVENT_TYPES, account="a0")
    journal.append(events, START_MS)
    legs = [len(episode.legs) for episode in case.book.episodes.values()]
    live = case.book
    if min(legs) < 5:
        raise AssertionError(f"a position has {min(legs)} orders, five were meant")
    del case, events
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    book = fold_all(Book(), (row.event for row in journal.events()))
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    watch = PriceWatch()
    watch.follow(book.episodes.values())
    gc.collect()
    watched = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    journal.close()
    if book != live:
        raise AssertionError("the fold of the journal is not the book")
    return {"book": (after - before) / positions, "watch": (watched - after) / positions, "legs": statistics.fmean(legs)}


def figures(place: Path, *, shapes: tuple[tuple[int, int], ...] = SHAPES, entries: int = 50) -> list[Figure]:
    """All measurements."""
    found = [Figure("timer", timer(), "ns", None, "clock and empty call, contained in each price figure")]
    rows = to_decisions(place, shapes)
    for (accounts, symbols), row in zip(shapes, rows, strict=True):
        name = f"price to decision, {accounts}x{symbols}"
        note = f"median of {REPEATS} runs of {row['prices']:.0f} prices, {row['acted']:.1f} % moved a stop"
        best = f"quietest run p50 {row['best_p50'] / 1e3:.2f}, p99 {row['best_p99'] / 1e3:.2f} us"
        more = f"{best}; p99.9 {row['p999'] / 1e3:.1f}, mean {row['mean'] / 1e3:.2f} us"
        found += [
            Figure(f"{name}, p50", row["p50"] / 1e3, "us", 1.0, note),
            Figure(f"{name}, p99", row["p99"] / 1e3, "us", 5.0, more),
            Figure(f"{name}, acting p50", row["acting_p50"] / 1e3, "us", None, f"acting p99 {row['acting_p99'] / 1e3:.1f} us"),
            Figure(f"{name}, prices that moved no stop", 100 - row["acted"], "%", 98.0),
        ]
    one, most = rows[0], rows[-1]
    found += [
        Figure("growth of p50, 1 to 1000", most["p50"] / one["p50"], "x", 1.5),
        Figure("growth of p99, 1 to 1000", most["p99"] / one["p99"], "x", None),
        Figure("collector runs", sum(row["collections"] for row in rows), "runs", None, "garbage collector on, default thresholds"),
        Figure("prices lost by the tape", sum(row["drops"] for row in rows), "prices", 0.0),
        *(Figure(f"loop over all / callback, 1x{n}", equal(place / f"equal{n}", n), "x", None, "equal stops") for n in (10, 1_000)),
    ]
    many, decided, size = one_symbol(), deciding(), memory(place)
    found += [
        Figure("1,000 positions on one symbol, p50", many["p50"] / 1e3, "us", None, f"{many['acted']} % of prices moved a stop"),
        Figure("1,000 positions on one symbol, mean", many["mean"] / 1e3, "us", None, f"p99 {many['p99'] / 1e3:.1f} us"),
        Figure("1,000 positions on one symbol, loop / watch", many["ratio"], "x", None, f"equal; loop {many['loop_mean'] / 1e6:.1f} ms"),
        Figure("decide, 200 positions at rest", decided["rest"], "ms", 50.0, f"longest of {DECISIONS}: {decided['rest_most']:.1f} ms"),
        Figure("decide, 200 positions new, with planning", decided["new"], "ms", None),
        Figure("memory of a position, plan and orders", size["book"], "B", 5_120.0, f"{size['legs']:.1f} orders each, read from a journal"),
        Figure("memory of a position in the watch", size["watch"], "B", None),
    ]  # fmt: skip
    if entries:
        found += [Figure(*row) for row in asyncio.run(fills.measured(place / "fills", entries))]
    return found


def main(report: Callable[[str], object] = print) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    logs.quiet()
    parser.add_argument("--entries", type=int, default=50, help="entries of each kind against the paper server; 0 leaves them out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qtkit-bench-") as place:
        found = figures(Path(place), entries=given.entries)
    if given.json:
        report(json.dumps({"figures": [{**asdict(figure), "kept": figure.kept} for figure in found], "load": list(load())}))
    else:
        report("\n".join(told(figure) for figure in found))
    sys.exit(0 if all(figure.kept for figure in found) else 1)


def told(figure: Figure) -> str:
    """A line for people."""
    way = "at least" if figure.least else "bound"
    bound = "" if figure.bound is None else f"  ({way} {figure.bound:g}: {'kept' if figure.kept else 'BROKEN'})"
    return f"{figure.name:<52} {figure.value:>10.2f} {figure.unit:<4}{bound}  {figure.note}"


def load() -> tuple[float, float, float]:
    """What else the machine does: its load average."""
    import os

    return os.getloadavg()


if __name__ == "__main__":
    main()
