"""What the desk remembers: a fold of its journal. The book changes through ``fold`` and in no other way."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from qtkit.core import arithmetic
from qtkit.core.events import (
    CancelMade,
    Choice,
    EmergencyMade,
    EntryBegun,
    EntryFailed,
    EpisodeClosed,
    EpisodeEvent,
    EpisodeOpened,
    Event,
    GapChanged,
    IntentMade,
    Leg,
    LegResolved,
    LegSeen,
    LegStatus,
    OrphansSeen,
    OutcomeSeen,
    Paused,
    Ratcheted,
    Rebased,
    Resized,
    ScopeChosen,
    StopFilled,
    StopSet,
    Watched,
    WentFlat,
)
from qtkit.core.model import E8, Bps, Key, Lots, OrderStatus, Side, Ticks
from qtkit.core.plan import ExitPlan
from qtkit.core.trail import TrailState

SLIPS_KEPT = 200  # fills of a symbol's stops from which slippage is learnt: what was a year ago says little


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One position from leaving flat to being flat: its plan, its trail, its orders, its gap.

    ``ladder`` holds the lots still to be closed by each target of the plan; ``expected`` is the size that our own fills explain,
    so that a different size means that somebody else traded. ``opened`` is False while our own entry is on its way. ``outdated`` are
    the client ids of orders that the operator's looser stop replaces: they hold its level up no longer. ``watched``: since the desk
    may only watch it, its stop is a thought; when it may act again, it takes the position over anew.
    """

    key: Key
    side: Side
    number: int
    plan: ExitPlan
    trail: TrailState
    opened: bool
    own: bool
    since_ms: int
    ladder: tuple[Lots, ...] = ()
    expected: Lots = Lots(0)
    entry: E8 = E8(0)
    targets_done: int = 0
    legs: Mapping[str, Leg] = field(default_factory=dict)
    gap_since_ms: int | None = None
    covered_since_ms: int | None = None
    flat_since_ms: int | None = None
    ended: bool = False
    deadline_ms: int | None = None
    outdated: tuple[str, ...] = ()
    watched: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """All living episodes of an account, and what its operator has said.

    ``orphans`` are orders of ours on a flat slot, by client id, with the time (ms) they were first seen there; ``emergencies`` the
    times at which the desk closed a position because it could not be protected. ``choices`` are the operator's, by symbol;
    ``paused_ms`` is since when nothing new is taken on, None if it is. ``slips`` are what the newest fills of our stops were worse
    than their triggers by, bps, by symbol.
    """

    episodes: Mapping[Key, Episode] = field(default_factory=dict)
    orphans: Mapping[str, int] = field(default_factory=dict)
    emergencies: tuple[int, ...] = ()
    choices: Mapping[str, Choice] = field(default_factory=dict)
    paused_ms: int | None = None
    slips: Mapping[str, tuple[Bps, ...]] = field(default_factory=dict)

    def choice(self, symbol: str, now_ms: int) -> Choice | None:
        """What the operator has said of a symbol, unless it is over."""
        choice = self.choices.get(symbol)
        return choice if choice is not None and (choice.until_ms is None or now_ms < choice.until_ms) else None


def fold(book: Book, event: Event) -> Book:
    """The book after an event. An event for an episode that is not there changes nothing: late news of a closed position."""
    match event:
        case EntryBegun():
            return _put(book, _entering(event))
        case EpisodeOpened():
            return _put(book, _opened(book.episodes.get(event.plan.key), event))
        case EpisodeClosed() | EntryFailed():
            return replace(book, episodes={key: episode for key, episode in book.episodes.items() if key != event.key})
        case OrphansSeen():
            return replace(book, orphans=event.orphans)
        case EmergencyMade():
            return replace(book, emergencies=(*book.emergencies, event.at_ms)[-10:])
        case StopFilled():
            symbol = event.key.symbol
            bps = Bps(arithmetic.slippage_bps(event.side.sign, event.trigger, event.average))
            return replace(book, slips={**book.slips, symbol: (*book.slips.get(symbol, ()), bps)[-SLIPS_KEPT:]})
        case ScopeChosen():
            return replace(book, choices=_chosen(book.choices, event))
        case Paused():
            return replace(book, paused_ms=event.since_ms)
        case (
            WentFlat() | Ratcheted() | Resized() | IntentMade() | CancelMade() | OutcomeSeen() | LegSeen() | LegResolved() | GapChanged()
            | StopSet() | Rebased() | Watched()
        ):  # fmt: skip
            episode = book.episodes.get(event.key)
            return book if episode is None else _put(book, step(episode, event))
        case _:
            assert_never(event)


def fold_all(book: Book, events: Iterable[Event]) -> Book:
    """The book after these events, as ``fold`` gives it one by one, but copied once for all of them."""
    episodes = dict(book.episodes)
    for event in events:
        if isinstance(event, EpisodeEvent):
            episode = episodes.get(event.key)
            if episode is not None:
                episodes[event.key] = step(episode, event)
        else:
            book = fold(replace(book, episodes=episodes), event)
            episodes = dict(book.episodes)
    return replace(book, episodes=episodes)


def step(episode: Episode, event: EpisodeEvent) -> Episode:
    """The episode after an event of its own."""
    match event:
        case WentFlat():
            return replace(episode, flat_since_ms=event.at_ms, ended=episode.ended and (event.at_ms is not None or episode.expected == 0))
        case Ratcheted():
            return replace(episode, plan=episode.plan.with_callback(event.callback), trail=event.trail)
        case Resized():
            return replace(episode, ladder=event.ladder, expected=event.lots, entry=event.entry)
        case IntentMade():
            return _intended(episode, event)
        case CancelMade():
            return episode
        case OutcomeSeen():
            return _answered(episode, event)
        case LegSeen():
            return _with_leg(episode, event.leg, event.client_id, status=event.status, at_ms=event.at_ms)
        case LegResolved():
            return _resolved(episode, event)
        case GapChanged():
            covered = episode.covered_since_ms
            if event.since_ms is None and covered is None:
                covered = event.at_ms
            return replace(episode, gap_since_ms=event.since_ms, covered_since_ms=covered)
        case Rebased():
            return replace(episode, plan=event.plan, trail=event.trail, ladder=event.ladder, expected=event.lots, legs=event.legs)
        case Watched():
            return replace(episode, watched=True)
        case StopSet():
            outdated = tuple(dict.fromkeys((*episode.outdated, *event.outdated)))
            before = episode.trail.stop
            stop = event.stop if event.may_loosen else Ticks(arithmetic.tighter(episode.side.sign, event.stop, before))
            return replace(episode, trail=replace(episode.trail, stop=stop), outdated=outdated)
        case _:
            assert_never(event)


def _chosen(choices: Mapping[str, Choice], event: ScopeChosen) -> Mapping[str, Choice]:
    others = {symbol: choice for symbol, choice in choices.items() if symbol != event.symbol}
    return others if event.choice is None else {**others, event.symbol: event.choice}


def _put(book: Book, episode: Episode) -> Book:
    return replace(book, episodes={**book.episodes, episode.key: episode})


def _entering(event: EntryBegun) -> Episode:
    return Episode(
        key=event.plan.key,
        side=event.plan.side,
        number=event.plan.episode,
        plan=event.plan,
        trail=event.trail,
        opened=False,
        own=True,
        since_ms=event.at_ms,
        deadline_ms=event.deadline_ms,
    )


def _opened(before: Episode | None, event: EpisodeOpened) -> Episode:
    legs = before.legs if before is not None and before.plan.uid == event.plan.uid else {}
    return Episode(
        key=event.plan.key,
        side=event.plan.side,
        number=event.plan.episode,
        plan=event.plan,
        trail=event.trail,
        opened=True,
        own=event.own,
        since_ms=event.at_ms,
        ladder=event.ladder,
        expected=event.lots,
        entry=event.entry,
        legs=legs,
        gap_since_ms=event.at_ms,
    )


def _intended(episode: Episode, event: IntentMade) -> Episode:
    before = episode.legs.get(event.leg)
    same = before is not None and before.revision == event.revision
    leg = Leg(
        revision=event.revision,
        order=replace(event.order, symbol=episode.key.symbol),  # one string for all of them: read from a journal, each has its own
        status=LegStatus.SENT,
        at_ms=event.at_ms,
        code=before.code if before is not None and same else None,
        refusals=before.refusals if before is not None and same else 0,
    )
    return replace(episode, legs={**episode.legs, event.leg: leg})


def _answered(episode: Episode, event: OutcomeSeen) -> Episode:
    leg = episode.legs.get(event.leg)
    if leg is None or leg.order.client_id != event.client_id:
        return episode
    refusals = (
        leg.refusals + 1 if event.status is LegStatus.REFUSED and leg.code in (None, event.code) else int(event.status is LegStatus.REFUSED)
    )
    after = replace(leg, status=event.status, at_ms=event.at_ms, code=event.code, refusals=refusals)
    return replace(episode, legs={**episode.legs, event.leg: after})


def _with_leg(episode: Episode, name: str, client_id: str, *, status: LegStatus, at_ms: int) -> Episode:
    leg = episode.legs.get(name)
    if leg is None or leg.order.client_id != client_id:
        return episode
    return replace(episode, legs={**episode.legs, name: replace(leg, status=status, at_ms=at_ms)})


def _resolved(episode: Episode, event: LegResolved) -> Episode:
    """A filled target leaves the ladder; an expired floor or a filled stop is evidence that the position was closed."""
    leg = episode.legs.get(event.leg)
    expired_floor = event.leg == "f0" and event.status is OrderStatus.EXPIRED
    if leg is None or leg.order.client_id != event.client_id:
        return replace(episode, ended=True) if expired_floor else episode  # also of one that was replaced meanwhile
    legs = {**episode.legs, event.leg: replace(leg, status=LegStatus.DONE, at_ms=event.at_ms, filled=event.filled)}
    ladder, expected, done = episode.ladder, episode.expected, episode.targets_done
    if event.leg.startswith("t") and event.filled > 0:
        index = int(event.leg[1:]) - 1
        left = Lots(max(0, ladder[index] - event.filled))
        ladder, done = (*ladder[:index], left, *ladder[index + 1 :]), done + (left == 0)
    if event.leg[0] in "tsx" and event.filled > 0:
        expected = Lots(max(0, expected - event.filled))
    ended = episode.ended or expired_floor or (event.leg[0] in "sxf" and event.filled > 0 and expected == 0)
    return replace(episode, legs=legs, ladder=ladder, expected=expected, targets_done=done, ended=ended)
