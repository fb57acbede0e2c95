"""The one decision: what was read, what is remembered and the time, in; what is remembered then, what to do and what is covered, out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from qtkit.core import arithmetic
from qtkit.core.book import Book, Episode, fold
from qtkit.core.coverage import Coverage, assess, covering_level, fault
from qtkit.core.desired import WORKING_WITHIN, Traits, Wanted, closing_market, safe_stop, wanted, yielding
from qtkit.core.events import EmergencyMade, EpisodeClosed, Event, GapChanged, Leg, LegStatus, Ratcheted, Watched
from qtkit.core.ids import parse_client_order_id
from qtkit.core.model import Action, Cancel, Instrument, Key, Lookup, Lots, Order, OrderKind, Place, Position, Scope, Snapshot, Ticks
from qtkit.core.rebase import rebase_events
from qtkit.core.reconcile import STOPS, Ranked, Situation, place_leg, reconcile
from qtkit.core.roll import PlanFor, flat_events, leg_events, orphan_events, passed_events, position_events, resize_events

_MARKET, _MISSING, _ACKED = OrderKind.MARKET, LegStatus.MISSING, LegStatus.ACKED
DAY_MS = 86_400_000
LAST_FIFTH = 8_000  # bps of the way from the plan's start to liquidation
TARGETS_A_PASS = 10  # so that the order counter (300 in 10 s for the account, shared) is there for stops when many positions come at once
NEAR = 50  # bps from the mark at which a stop rests when its own level has been passed


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What a decision is made with: the account's settings. Times in ms.

    ``grace_ms``: how long an acknowledgement counts before it is read back; ``flat_after_ms``: between two readings that prove flat;
    ``patience_ms``: how long a position may be without cover before the desk closes its own. ``symbols``: those on which something may
    be sent without the operator's word, None for all; ``most``: how far that word may go. ``takes_on_until_ms``: nothing new is taken on
    from then on (None: no end).
    """

    account: str
    tag: str
    instruments: Mapping[str, Instrument]
    scope: Scope = Scope.FULL
    traits: Traits = field(default_factory=Traits)
    grace_ms: int = 10_000
    flat_after_ms: int = 4_000
    patience_ms: int = 10_000
    emergencies_a_day: int = 2
    symbols: frozenset[str] | None = None
    most: Scope = Scope.FULL
    takes_on_until_ms: int | None = None

    def scope_of(self, book: Book, symbol: str, now_ms: int) -> Scope:
        """How far the desk may go on a symbol: the operator's word, else the account's scope on the symbols it is allowed."""
        choice = book.choice(symbol, now_ms)
        if choice is not None:
            return choice.scope.narrower(self.most)
        return self.scope if self.symbols is None or symbol in self.symbols else Scope.WATCH

    def scope_with(self, book: Book, episode: Episode, now_ms: int) -> Scope:
        """How far the desk may go with a position. Somebody else's that came when nothing new is taken on is only watched."""
        since_ms = self.nothing_new(book)
        if since_ms is not None and not episode.own and episode.since_ms >= since_ms:
            return Scope.WATCH
        return self.scope_of(book, episode.key.symbol, now_ms)

    def takes_over(self, book: Book, episode: Episode, now_ms: int) -> bool:
        """True for a position that was only watched and may be acted on now: it is planned anew."""
        return episode.watched and self.scope_with(book, episode, now_ms) is not Scope.WATCH

    def nothing_new(self, book: Book) -> int | None:
        """Since when (ms) nothing new is taken on, or None: paused by the operator, or the time for it is over."""
        ends = [at for at in (book.paused_ms, self.takes_on_until_ms) if at is not None]
        return min(ends, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The book after the events, the actions in the order in which they must be sent, the ledger, and what must be told aloud."""

    book: Book
    events: tuple[Event, ...]
    actions: tuple[Action, ...]
    coverage: tuple[Coverage, ...]
    alarms: tuple[str, ...] = ()


def decide(
    book: Book,
    snapshots: Iterable[Snapshot],
    desk: Desk,
    now_ms: int,
    plan_for: PlanFor,
    *,
    flat: Mapping[Key, bool] | None = None,
) -> Decision:
    """Decide on the symbols of these snapshots.

    ``flat`` are slots that the exchange reported as empty: evidence, not absence. False where it has told of a position there since.
    """
    run = _Run(book, desk, now_ms, plan_for, flat or {})
    readings = sorted(snapshots, key=lambda snapshot: snapshot.symbol)
    for snapshot in readings:
        run.symbol_apart(snapshot)
    if run.blocked:
        run.alarms.append(f"{desk.account}: another desk's orders rest on this account; nothing is sent until one of the two is stopped")
    room = desk.traits.max_conditional - sum(order.kind.conditional for snapshot in readings for order in snapshot.orders)
    actions = () if run.blocked else _in_order(run.ranked, room)
    after = replace(run.book, episodes=run.episodes)
    return Decision(book=after, events=tuple(run.events), actions=actions, coverage=tuple(run.coverage), alarms=tuple(run.alarms))


def _in_order(ranked: Sequence[Ranked], room: int) -> tuple[Action, ...]:
    """Cover first, then closes, replacements, cancels, targets and questions; targets a few at a time, and two order slots stay free."""
    actions: list[Action] = []
    targets = TARGETS_A_PASS
    for entry in sorted(ranked, key=lambda r: r.rank):
        if isinstance(entry.action, Place) and entry.action.order.kind.conditional:
            if entry.rank == 4:
                if room <= 2 or targets == 0:
                    continue
                targets -= 1
            room -= 1
        actions.append(entry.action)
    return tuple(actions)


class _Run:
    """One run of ``decide``: collects events and actions with their rank.

    ``book`` is the fold of the events, with the episodes of the present symbol alone, so that an event costs the same however many
    positions there are; ``episodes`` are those of all symbols.
    """

    def __init__(self, book: Book, desk: Desk, now_ms: int, plan_for: PlanFor, flat: Mapping[Key, bool]) -> None:
        self.book, self.desk, self.now_ms, self.plan_for, self.flat = book, desk, now_ms, plan_for, flat
        self.episodes = dict(book.episodes)
        self.keys: dict[str, list[Key]] = {}
        for key in self.episodes:
            self.keys.setdefault(key.symbol, []).append(key)
        self.blocked = False
        self.events: list[Event] = []
        self.ranked: list[Ranked] = []
        self.coverage: list[Coverage] = []
        self.alarms: list[str] = []

    def happened(self, events: Iterable[Event]) -> None:
        for event in events:
            self.events.append(event)
            self.book = fold(self.book, event)

    def scope(self, episode: Episode) -> Scope:
        """How far the desk may go with a position, as things stand in this run."""
        return self.desk.scope_with(self.book, episode, self.now_ms)

    def split(self, orders: Iterable[Order]) -> tuple[tuple[Order, ...], tuple[Order, ...]]:
        """Our own orders, and those that are not; another desk's are not, and block what would be sent."""
        own, foreign, others = [], [], []
        for order in orders:
            parsed = parse_client_order_id(order.client_id)
            if parsed is None:
                foreign.append(order)
            elif parsed[0] == self.desk.tag:
                own.append(order)
            else:
                others.append(order)
        self.blocked |= bool(others)
        return tuple(own), (*foreign, *others)

    def symbol_apart(self, snapshot: Snapshot) -> None:
        """Decide on a symbol so that a fault of ours in it leaves the others as they would be without it, and is told."""
        keys = self.keys.get(snapshot.symbol, ())
        book = self.book = replace(self.book, episodes={key: self.episodes[key] for key in keys})
        events, ranked, coverage = len(self.events), len(self.ranked), len(self.coverage)
        try:
            self.symbol(snapshot)
        except Exception as error:  # noqa: BLE001 - one position that cannot be decided on must not leave the others without a stop
            self.book = book
            del self.events[events:], self.ranked[ranked:], self.coverage[coverage:]
            what = f"{type(error).__name__}: {error}"
            self.alarms.append(f"{snapshot.account}/{snapshot.symbol}: could not be decided on ({what}); what rests there is left as it is")
        for key in keys:
            del self.episodes[key]
        self.episodes |= self.book.episodes
        self.keys[snapshot.symbol] = list(self.book.episodes)

    def symbol(self, snapshot: Snapshot) -> None:
        ours, theirs = self.split(snapshot.orders)
        before = len(self.ranked)
        held = {Key(self.desk.account, p.symbol, p.position_side): p for p in snapshot.positions}
        for key in sorted({*held, *self.book.episodes}):
            own = tuple(o for o in ours if o.position_side is key.position_side)
            position = held.get(key)
            if position is None:
                self._without_position(snapshot, self.book.episodes[key], own)
            else:
                foreign = tuple(o for o in theirs if o.position_side is key.position_side)
                self._with_position(snapshot, key, position, own, foreign)
        self._orphans(snapshot, ours)
        self._hands_off(snapshot.symbol, ours, before)

    def _hands_off(self, symbol: str, own: tuple[Order, ...], before: int) -> None:
        """Where the desk may only watch, nothing of what was decided is sent; what the operator wants taken away is cancelled."""
        if self.desk.scope_of(self.book, symbol, self.now_ms) is not Scope.WATCH:
            return
        del self.ranked[before:]
        choice = self.book.choice(symbol, self.now_ms)
        if choice is not None and choice.cancel:
            keys = {order.client_id: Key(self.desk.account, symbol, order.position_side) for order in own}
            self.ranked += [Ranked(rank=3, action=Cancel(key=keys[o.client_id], order=o, reason="released by the operator")) for o in own]

    def _without_position(self, snapshot: Snapshot, episode: Episode, own: tuple[Order, ...]) -> None:
        self.happened(leg_events(episode, snapshot, own))
        episode = self.book.episodes[episode.key]
        evidence = self.flat.get(episode.key, False)
        if not episode.opened and self.now_ms >= (episode.deadline_ms or 0):
            self._ask(episode, ("e0",))
        self._ask(episode, [name for name, leg in episode.legs.items() if leg.status is LegStatus.MISSING])
        events = flat_events(episode, snapshot, self.now_ms, flat_after_ms=self.desk.flat_after_ms, evidence=evidence)
        self.happened(events)
        if any(isinstance(event, EpisodeClosed) for event in events):
            self.ranked += [Ranked(rank=3, action=Cancel(key=episode.key, order=o, reason="position is flat")) for o in own]

    def _orphans(self, snapshot: Snapshot, own: tuple[Order, ...]) -> None:
        held = {p.position_side for p in snapshot.positions} | {key.position_side for key in self.book.episodes}
        orphans = [order for order in own if order.position_side not in held]
        self.happened(orphan_events(self.book, orphans, (order.client_id for order in own), snapshot.at_ms))
        for order in orphans:
            if snapshot.stable and snapshot.at_ms - self.book.orphans[order.client_id] >= self.desk.flat_after_ms:
                key = Key(self.desk.account, order.symbol, order.position_side)
                self.ranked.append(Ranked(rank=3, action=Cancel(key=key, order=order, reason="no position to protect")))

    def _with_position(self, snapshot: Snapshot, key: Key, position: Position, own: tuple[Order, ...], foreign: tuple[Order, ...]) -> None:
        instrument = self.desk.instruments[snapshot.symbol]
        self.happened(rebase_events(self.book.episodes.get(key), instrument))
        self._take_over(snapshot, key)
        self.happened(position_events(self.book, snapshot, key, position, own, self.plan_for, was_flat=key in self.flat))
        self._watch_only(snapshot, key)
        self.happened(leg_events(self.book.episodes[key], snapshot, own))
        self.happened(resize_events(self.book.episodes[key], position, stable=snapshot.stable))
        episode = self.book.episodes[key]
        self.happened(passed_events(episode, position, yielding(episode, position, foreign)))
        self._keep_tight(key, position, instrument, own)
        episode = self.book.episodes[key]
        now = Situation(
            episode=episode,
            position=position,
            instrument=instrument,
            own=own,
            stable=snapshot.stable and snapshot.current,
            now_ms=self.now_ms,
            grace_ms=self.desk.grace_ms,
            tag=self.desk.tag,
            traits=self.desk.traits,
        )
        passed = self._stop_passed(snapshot, now)
        working = self._working_level(now) if passed else episode.trail.stop
        if snapshot.stable:
            self._software_stop(snapshot, now, passed=passed)
        scope = self.scope(episode)
        legs = wanted(episode, position, instrument, scope=scope, traits=self.desk.traits, working=working, foreign=foreign)
        if scope is not Scope.WATCH:
            self.ranked += reconcile(now, legs)
        self._ask(episode, [name for name, leg in episode.legs.items() if self._unexplained(leg)])
        self._ledger(snapshot, key, position, instrument, own, foreign)

    def _take_over(self, snapshot: Snapshot, key: Key) -> None:
        """What was only watched and may be acted on now is adopted as it stands: its stop was a thought, which may not close anything."""
        episode = self.book.episodes.get(key)
        if episode is not None and self.desk.takes_over(self.book, episode, self.now_ms):
            self.happened([EpisodeClosed(key=key, at_ms=snapshot.at_ms, reason="taken over")])

    def _watch_only(self, snapshot: Snapshot, key: Key) -> None:
        episode = self.book.episodes[key]
        if not episode.watched and self.scope(episode) is Scope.WATCH:
            self.happened([Watched(key=key, at_ms=snapshot.at_ms)])

    def _keep_tight(self, key: Key, position: Position, instrument: Instrument, own: tuple[Order, ...]) -> None:
        """The stop is never looser than what already rests (a lost store), nor than liquidation allows."""
        episode = self.book.episodes[key]
        sign, level = episode.side.sign, episode.trail.stop
        good = [o for o in own if o.client_id not in episode.outdated and fault(o, position, instrument, episode.plan.floor) is None]
        levels = [covering_level(good, position), *(o.trigger for o in good if not o.close_position)]  # of a part, too: it stays
        resting = max((found for found in levels if found is not None), key=lambda trigger: sign * trigger, default=None)
        if resting is not None:
            level = Ticks(arithmetic.tighter(sign, level, resting))
        level = safe_stop(episode, position, instrument, WORKING_WITHIN, level)
        if level != episode.trail.stop:
            trail = replace(episode.trail, stop=level)
            self.happened([Ratcheted(key=key, trail=trail, reason="a tighter stop rests" if level == resting else "liquidation")])

    @staticmethod
    def _stop_passed(snapshot: Snapshot, now: Situation) -> bool:
        """True if the mark lies beyond the stop, on evidence: a stop that a later price moved is not held against an older mark."""
        trail, sign = now.episode.trail, now.episode.side.sign
        return snapshot.time_ms >= trail.at_ms and arithmetic.stop_hit_e8(sign, now.position.mark, trail.stop, now.instrument.tick)

    @staticmethod
    def _working_level(now: Situation) -> Ticks | None:
        """Where the working stop can rest once the mark has passed its level: where it rests now, or just behind the mark."""
        resting = covering_level([o for o in now.own if o.kind in STOPS and not o.close_position and o.status.working], now.position)
        if resting is not None:
            return resting
        sign = now.episode.side.sign
        near = Ticks(arithmetic.stop_level(sign, now.position.mark, NEAR, now.instrument.tick))
        return near if arithmetic.reached(sign, near, now.episode.plan.floor) else None

    def _software_stop(self, snapshot: Snapshot, now: Situation, *, passed: bool) -> None:
        """Close at the market what its stop should have closed, or what cannot be protected. An adopted position only once covered."""
        episode = now.episode
        reason = None if episode.watched else self._reason_to_close(snapshot, now, passed=passed)
        if reason is None:
            return
        self.alarms.append(f"{episode.key}: {reason}")
        if self.scope(episode) is not Scope.FULL:
            return
        lots = Lots(min(now.position.lots, now.instrument.market_max_lots))
        place = place_leg(now, Wanted(leg="x0", order=closing_market(now.position, lots)), reason)
        if place is not None:
            if reason.startswith("emergency"):
                self.happened([EmergencyMade(key=episode.key, at_ms=self.now_ms, reason=reason)])
            self.ranked.append(Ranked(rank=1, action=place))

    def _reason_to_close(self, snapshot: Snapshot, now: Situation, *, passed: bool) -> str | None:
        episode = now.episode
        if episode.plan.deadline_ms is not None and snapshot.time_ms >= episode.plan.deadline_ms:
            return "the time stop of the plan has come"
        sign, level = episode.side.sign, episode.trail.stop
        gap_ms = 0 if episode.gap_since_ms is None else self.now_ms - episode.gap_since_ms
        covered_once = episode.covered_since_ms is not None
        if passed and (episode.own or covered_once):
            at_level = any(o.kind in STOPS and o.trigger is not None and arithmetic.reached(sign, o.trigger, level) for o in now.own)
            if not at_level or gap_ms >= self.desk.patience_ms:
                return "the price is through the planned stop"
        recent = [at for at in self.book.emergencies if self.now_ms - at < DAY_MS]
        if not episode.own or gap_ms < self.desk.patience_ms or len(recent) >= self.desk.emergencies_a_day:
            return None
        if self._exchange_at_fault():
            self.alarms.append(
                f"{self.desk.account}: stops are refused on several symbols; this is the exchange's fault, nothing is closed"
            )
            return None
        if not covered_once:
            return "emergency: our own entry could not be protected in time"
        if self._in_last_fifth(now):
            return "emergency: without cover in the last fifth before liquidation"
        return None

    def _exchange_at_fault(self) -> bool:
        refused = {
            key.symbol
            for key, episode in {**self.episodes, **self.book.episodes}.items()
            if any(leg.status is LegStatus.REFUSED for name, leg in episode.legs.items() if name[0] in "fs")
        }
        return len(refused) > 1

    @staticmethod
    def _in_last_fifth(now: Situation) -> bool:
        sign, tick, liquidation = now.episode.side.sign, now.instrument.tick, now.position.liquidation
        if liquidation is None:
            return False
        line = arithmetic.level_between(sign, now.episode.plan.start * tick, liquidation, LAST_FIFTH, tick)
        return arithmetic.stop_hit_e8(sign, now.position.mark, line, tick)

    @staticmethod
    def _unexplained(leg: Leg) -> bool:
        """True for an order whose fate no list will tell: one that no list shows any more, or a market order."""
        status, market = leg.status, leg.order.kind is _MARKET
        return status is _MISSING or (market and status in (LegStatus.SENT, LegStatus.ACKED, LegStatus.UNKNOWN))

    def _ask(self, episode: Episode, names: Iterable[str]) -> None:
        for name in names:
            leg = episode.legs.get(name)
            if leg is not None and leg.status not in (LegStatus.DONE, LegStatus.REFUSED):
                lookup = Lookup(key=episode.key, leg=name, client_id=leg.order.client_id, conditional=leg.order.kind.conditional)
                self.ranked.append(Ranked(rank=5, action=lookup))

    def _ledger(
        self, snapshot: Snapshot, key: Key, position: Position, instrument: Instrument, own: tuple[Order, ...], foreign: tuple[Order, ...]
    ) -> None:
        """Assess cover: what is listed, and what was acknowledged within the grace."""
        episode = self.book.episodes[key]
        listed = {order.client_id for order in own}
        acked = tuple(
            leg.order
            for name, leg in episode.legs.items()
            if name[0] in "fs"
            and leg.status is _ACKED
            and leg.order.client_id not in listed
            and 0 <= self.now_ms - leg.at_ms < self.desk.grace_ms
        )
        line = assess(
            key, position, instrument, (*own, *acked), foreign,
            floor=episode.plan.floor, trigger_by=episode.plan.trigger_by, since_ms=episode.gap_since_ms,
        )  # fmt: skip
        if (line.gap > 0) != (episode.gap_since_ms is not None) or (line.gap == 0 and episode.covered_since_ms is None):
            since = snapshot.at_ms if line.gap > 0 else None
            self.happened([GapChanged(key=key, since_ms=since, at_ms=self.now_ms, reason="; ".join(line.faults))])
        self.coverage.append(line)
