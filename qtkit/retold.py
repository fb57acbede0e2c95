"""The tape of a desk told again, as if the desk had been let to carry its plans out: the same decisions, on orders that nobody sent.

Plans and the operator's word come from the journal, prices and positions from the tape, decisions from ``decide``, trails from ``Trails``,
requests and answers from ``Applier``; the exchange is a ``Shadow``. A pass comes when one came. Nothing is read or written here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

from qtkit.apply import Applier
from qtkit.core import arithmetic
from qtkit.core.book import Book, fold_all, step
from qtkit.core.decide import Desk, decide
from qtkit.core.events import ATR_MISSED, EpisodeClosed, Event, IntentMade, Ratcheted, StopSet
from qtkit.core.ids import parse_client_order_id
from qtkit.core.model import E8, Bar, Key, PolicyError, Position, Scope, Snapshot, Ticks
from qtkit.core.plan import ExitPlan
from qtkit.core.reconcile import STOPS
from qtkit.course import ANEW, Course, Planned, plans_of
from qtkit.hindsight import Hindsight, Outcome
from qtkit.shadow import Shadow
from qtkit.sight import HOLE_MS, Sight, clock
from qtkit.store.journal import Row
from qtkit.store.seen import BarMissed, BarSeen, PassSeen, PriceSeen, RulesSeen, Seen
from qtkit.trailing import Follows, Trails
from qtkit.venue.gateway import Gateway, Quote


class _Unwritten(Applier):
    """The writer's place, taken by one whose book is in memory alone and whose orders go to the shadow."""

    def __init__(self, shadow: Shadow) -> None:  # without the journal: nothing of this is to be remembered
        self.gateway = cast("Gateway", shadow)
        self.fence = lambda: None
        self.clock_ms = lambda: shadow.now_ms
        self.fault = None
        self.book = Book()
        self.heard: list[tuple[Event, Book]] = []

    def record(self, events: Iterable[Event]) -> None:
        for event in events:
            self.heard.append((event, self.book))
            self.book = fold_all(self.book, (event,))


async def look_back(seen: Iterable[Seen], rows: Sequence[Row[Event]], desk: Desk, follows: Follows, *, symbol: str = "") -> Hindsight:
    """What would have become of the positions on a tape under ``desk``'s settings in scope full; of one ``symbol`` alone if given.

    ``rows`` are the whole journal, oldest first; the instruments of ``desk`` are not used, the tape has them.
    """
    told = _Retold(rows, desk, follows)
    for one in seen:
        event = one.event
        ours = event.account == desk.account
        if ours and (not symbol or isinstance(event, PassSeen) or symbol == _symbol(event)):
            await told.hear(one)
    return told.told()


def _symbol(event: object) -> str:
    return event.rules.symbol if isinstance(event, RulesSeen) else getattr(event, "symbol", "")


class _Retold:
    """The state of a tape that is being told again."""

    def __init__(self, rows: Sequence[Row[Event]], desk: Desk, follows: Follows) -> None:
        self.shadow = Shadow(desk.account, {})
        self.desk = replace(desk, instruments=self.shadow.instruments, scope=Scope.FULL, symbols=None, takes_on_until_ms=None)
        self.applier = _Unwritten(self.shadow)
        self.trails = Trails(self.applier, follows, None, lambda: None)
        self.trails.behind = False
        self.rows, self.next_row = rows, 0
        self.plans = plans_of(rows)
        self.courses: dict[Key, Course] = {}
        self.outcomes: list[Outcome] = []
        self.sight = Sight()
        self.snapshots: dict[str, Snapshot] = {}
        self.reasons: dict[str, str] = {}
        self.acted: dict[str, None] = {}
        self.unplanned: dict[str, None] = {}

    async def hear(self, one: Seen) -> None:
        self.trails.behind = False  # what was missed is on the tape where it was caught up
        match one.event:
            case PriceSeen() as it:
                self._priced(it.symbol, it.mark, self._e8(it.symbol, it.last), one.at_ms)
                self.sight.heard(it.symbol, one.at_ms)
                self.trails.on_quote(Quote(symbol=it.symbol, mark=it.mark, last=it.last, time_ms=one.at_ms))
            case BarSeen() as it:
                self.trails.on_bar(it.symbol, it.bar)
            case BarMissed() as it:
                self._missed(it.symbol, it.bar)
            case RulesSeen() as it:
                self.shadow.instruments[it.rules.symbol] = it.rules
            case Snapshot() as it:
                self.snapshots[it.symbol] = it
            case PassSeen() as it:
                await self._passed(it, one.at_ms)
        self._listen()

    def _e8(self, symbol: str, last: Ticks | None) -> int | None:
        rules = self.shadow.instruments.get(symbol)
        return None if last is None or rules is None else last * rules.tick

    # -- prices

    def _priced(self, symbol: str, mark: int | None, last: int | None, at_ms: int) -> None:
        hole = self.sight.price(symbol, at_ms)
        if hole is not None:
            held = {key: tuple(self.shadow.of(key)) for key in self.shadow.held if key.symbol == symbol}
            self.sight.blind(hole, held, mark if mark is not None else last)
        self.shadow.price(symbol, mark, last, at_ms)
        for it in self.shadow.filled:
            parsed = parse_client_order_id(it.order.client_id)
            self.courses[it.key].filled(it, parsed[1] if parsed else "", self.reasons.get(it.order.client_id, ""))
        self.shadow.filled.clear()

    def _missed(self, symbol: str, bar: Bar) -> None:
        self.sight.missed(symbol, bar)
        for key, episode in self.applier.book.episodes.items():
            if key.symbol == symbol and episode.opened:
                self.trails.caught_up(key, bar)

    # -- the pass

    async def _passed(self, it: PassSeen, at_ms: int) -> None:
        if not self.sight.first_ms:
            self._begin(at_ms)
        self.sight.passed(at_ms)
        self.shadow.now_ms = max(self.shadow.now_ms, at_ms)
        if it.scope is not Scope.WATCH:
            self.acted[it.scope.value] = None
        self._told_besides(at_ms)
        readings, self.snapshots = self.snapshots, {}
        shown = [self._read(snapshot, at_ms) for snapshot in readings.values() if snapshot.symbol in self.shadow.instruments]
        self.trails.record()
        decision = decide(self.applier.book, shown, self.desk, at_ms, self._plan_for)
        for course in self.courses.values():
            if any(alarm.startswith(f"{course.key.account}/{course.key.symbol}: could not be decided") for alarm in decision.alarms):
                course.in_doubt("its reading could not be decided on")
        self.applier.record(decision.events)
        self._listen()
        await self.applier.apply(decision.actions)
        self.trails.watch.follow(self.applier.book.episodes.values())

    def _begin(self, at_ms: int) -> None:
        """The book as it was before the first pass, without orders: none were sent."""
        while self.next_row < len(self.rows) and self.rows[self.next_row].at_ms < at_ms:
            self.next_row += 1
        book = fold_all(Book(), (row.event for row in self.rows[: self.next_row]))
        episodes = {
            key: replace(episode, legs={}, gap_since_ms=None, covered_since_ms=None, outdated=(), watched=False)
            for key, episode in book.episodes.items()
            if episode.opened
        }
        self.applier.book, self.shadow.slips = Book(episodes=episodes), book.slips
        self.trails.watch.follow(episodes.values())

    def _told_besides(self, at_ms: int) -> None:
        """Stops that the operator set, and callbacks that moved with ATR: the tape has no hours."""
        while self.next_row < len(self.rows) and self.rows[self.next_row].at_ms <= at_ms:
            event = self.rows[self.next_row].event
            self.next_row += 1
            episode = self.applier.book.episodes.get(getattr(event, "key", None))  # type: ignore[arg-type]
            if episode is not None and isinstance(event, Ratcheted) and event.callback is not None:
                # Where the price of then clamped it, the best price began anew there; where not, one at the best price clamps nothing.
                mark = E8(event.trail.best * episode.plan.tick) if event.reason == ATR_MISSED else None
                self.trails.move(event.key, event.callback, mark)
            if episode is not None and isinstance(event, StopSet):
                sign = episode.side.sign
                stops = [o for o in self.shadow.of(event.key) if o.kind in STOPS and o.trigger is not None]
                tighter = tuple(o.client_id for o in stops if arithmetic.reached(sign, o.trigger or 0, event.stop + sign))
                outdated = tighter if event.may_loosen else ()
                self.applier.record([replace(event, outdated=outdated)])

    def _read(self, snapshot: Snapshot, at_ms: int) -> Snapshot:
        """What a reading shows of the trader's position, made into what it would show of the one that would be."""
        held = {Key(self.desk.account, p.symbol, p.position_side): p for p in snapshot.positions}
        for position in held.values():
            self._priced(snapshot.symbol, position.mark, None, at_ms)
        for key, why in self.sight.doubts(self.shadow.instruments):
            self.courses[key].in_doubt(why)
        for key in {*held, *(key for key in self.courses if key.symbol == snapshot.symbol)}:
            self._course(key, held.get(key), snapshot, at_ms)
        theirs = [o for o in snapshot.orders if (parsed := parse_client_order_id(o.client_id)) is None or parsed[0] != self.desk.tag]
        would = tuple(position for key, position in self.shadow.held.items() if key.symbol == snapshot.symbol)
        return replace(snapshot, at_ms=at_ms, positions=would, orders=(*theirs, *self.shadow.orders(snapshot.symbol)))

    def _course(self, key: Key, position: Position | None, snapshot: Snapshot, at_ms: int) -> None:
        course, price = self.courses.get(key), self.shadow.last(key.symbol)
        planned = None if position is None else self._planned(key, snapshot.at_ms)
        if planned is not None and (course is None or course.present.uid != planned.plan.uid):
            course = self._another(key, course, planned, position, snapshot.at_ms, at_ms)
        if course is None or price is None:
            if position is not None:
                self.unplanned[str(key)] = None
            return
        if position is not None and course.first is None and (passed := self._passed_before(key, position)):
            course.in_doubt(f"the price had passed its {passed} already when the window began")
        would = self._changed(course, position, price, at_ms)
        if would is None:
            self.shadow.held.pop(key, None)
        else:
            self.shadow.held[key] = would

    def _changed(self, course: Course, position: Position | None, price: E8, at_ms: int) -> Position | None:
        """What a reading shows is what the trader did since the one before, if that is not long ago."""
        if course.real is not None and course.held != (position.lots if position else 0) and at_ms - course.read_ms > HOLE_MS:
            course.in_doubt(f"it was changed by hand between {clock(course.read_ms)} and {clock(at_ms)}, while nothing was read")
        return course.read(position, price, at_ms)

    def _another(self, key: Key, before: Course | None, planned: Planned, position: Position | None, read_ms: int, at_ms: int) -> Course:
        """Another position begins, or the same one under another plan.

        One that is added to beyond a stop of which nothing rests looks to the desk that watches as if it were another; it had its exit.
        """
        price = self.shadow.last(key.symbol)
        if before is not None and position is not None and price is not None and before.out and before.added_to(position, price):
            before.present = planned.plan
            return before
        if before is not None and planned.anew:
            before.present = planned.plan
            self.applier.record([EpisodeClosed(key=key, at_ms=at_ms, reason=ANEW[1])])
            return before
        if before is not None:
            self._changed(before, None, price or before.plan.entry, at_ms)
            self._end(before)
            self.applier.record([EpisodeClosed(key=key, at_ms=at_ms, reason="another position")])
        told_ms = planned.at_ms if planned.at_ms == read_ms else at_ms  # else it was open when the window began
        course = self.courses[key] = Course(
            key=key, plan=planned.plan, present=planned.plan, rules=self.shadow.instruments[key.symbol],
            first_ms=planned.at_ms, told_ms=told_ms, read_ms=at_ms,
        )  # fmt: skip
        return course

    def _passed_before(self, key: Key, position: Position) -> str:
        """What of a plan would have been filled before the window: its stop, a target, or nothing (empty)."""
        episode = self.applier.book.episodes.get(key)
        if episode is None:
            return ""
        sign, tick, state = episode.side.sign, episode.plan.tick, episode.trail
        if arithmetic.stop_hit_e8(sign, position.mark, state.stop, tick):
            return "stop"
        best = arithmetic.tighter(sign, state.best, arithmetic.favourable_ticks(sign, position.mark, tick))
        left = zip(episode.plan.targets, episode.ladder, strict=True)
        return "first target" if any(lots and arithmetic.reached(sign, best, target.price) for target, lots in left) else ""

    def _planned(self, key: Key, at_ms: int) -> Planned | None:
        """The plan that the desk had for a position that it read at a time."""
        return next((planned for planned in reversed(self.plans.get(key, ())) if planned.at_ms <= at_ms), None)

    def _plan_for(self, key: Key, position: Position) -> ExitPlan:
        course = self.courses.get(key)
        if course is None:
            raise PolicyError(f"{key}: no desk has planned this position")
        return course.present

    def _listen(self) -> None:
        """Tell the courses what has happened to their stops."""
        heard, self.applier.heard = self.applier.heard, []
        for event, book in heard:
            if isinstance(event, IntentMade) and event.leg == "x0":
                self.reasons[event.order.client_id] = event.reason
            elif isinstance(event, Ratcheted | StopSet):
                course, episode = self.courses.get(event.key), book.episodes.get(event.key)
                if course is None or episode is None or not course.shadow:
                    continue
                after = step(episode, event).trail
                if after.stop != episode.trail.stop:
                    why = event.reason if isinstance(event, Ratcheted) else "set by the operator"
                    course.moved(episode.trail, after, why, self.shadow.now_ms)

    # -- the end

    def _end(self, course: Course) -> None:
        price, symbol = self.shadow.last(course.key.symbol), course.key.symbol
        orders = sorted(self.shadow.of(course.key), key=lambda order: order.client_id)  # of one leg there may be two
        resting = [(parsed[1], order) for order in orders if (parsed := parse_client_order_id(order.client_id))]
        self.shadow.forget(course.key)
        if course.first is not None and price is not None:
            self.outcomes.append(course.outcome(price, resting if course.shadow else (), self.shadow.slips.get(symbol, ())))

    def told(self) -> Hindsight:
        for course in self.courses.values():
            self._end(course)
        sight = self.sight
        return Hindsight(
            account=self.desk.account, since_ms=sight.first_ms, until_ms=sight.pass_ms, watched_ms=sight.watched_ms,
            holes=sight.told(), acted=tuple(self.acted),
            outcomes=tuple(sorted(self.outcomes, key=lambda it: (it.first_ms, it.key))), unplanned=tuple(self.unplanned),
        )  # fmt: skip
