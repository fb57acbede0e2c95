"""From one reading to the next: which episodes began and ended, which orders were seen, which sizes are not explained."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from qtkit.core import arithmetic
from qtkit.core.book import Book, Episode
from qtkit.core.events import EntryFailed, EpisodeClosed, EpisodeOpened, Event, LegSeen, LegStatus, OrphansSeen, Resized, WentFlat
from qtkit.core.ladder import split
from qtkit.core.model import Bps, Key, Lots, Order, Position, Snapshot, Ticks
from qtkit.core.plan import WHOLE, ExitPlan
from qtkit.core.reconcile import STOPS
from qtkit.core.trail import begin

_LIVE, _MISSING = LegStatus.LIVE, LegStatus.MISSING

PlanFor = Callable[[Key, Position], ExitPlan]


def cut(plan: ExitPlan, lots: Lots, closed: Sequence[bool]) -> tuple[Lots, ...]:
    """Lots of each target: the position cut by the shares of the targets not yet filled and of what runs on."""
    weights = [0 if done else int(target.share) for target, done in zip(plan.targets, closed, strict=True)]
    rest = WHOLE - sum(target.share for target in plan.targets)
    total = sum(weights) + rest
    if total == 0:
        return tuple(Lots(0) for _ in weights)
    shares = [Bps(weight * WHOLE // total) for weight in weights]
    if rest > 0:
        return split(lots, (*shares, Bps(WHOLE - sum(shares))))[:-1]
    last = max(index for index, weight in enumerate(weights) if weight > 0)
    shares[last] = Bps(WHOLE - sum(share for index, share in enumerate(shares) if index != last))
    return split(lots, tuple(shares))


def position_events(
    book: Book, snapshot: Snapshot, key: Key, position: Position, resting: Sequence[Order], plan_for: PlanFor, *, was_flat: bool = False
) -> list[Event]:
    """Events of an open position: its episode begins, flips, or goes on.

    ``resting`` are our orders there; ``was_flat``: the exchange told of an empty slot meanwhile.
    """
    episode = book.episodes.get(key)
    events: list[Event] = []
    another = episode is not None and _another(episode, position, resting, was_flat=was_flat)
    if episode is not None and another:
        reason = "flipped" if episode.side is not position.side else "closed and opened again"
        events.append(EpisodeClosed(key=key, at_ms=snapshot.at_ms, reason=reason))
        episode = None
    if episode is None or not episode.opened:
        # The entry's plan was made before there was a position: now one is seen.
        plan = plan_for(key, position) if episode is None else replace(episode.plan, provisional=False, expires_ms=None)
        plan = plan if another else _beside(plan, position, resting)
        trail = begin(plan) if episode is None else episode.trail
        ladder = cut(plan, position.lots, [False] * len(plan.targets))
        own = episode is not None or not plan.adopted
        events.append(
            EpisodeOpened(plan=plan, trail=trail, ladder=ladder, lots=position.lots, entry=position.entry, own=own, at_ms=snapshot.at_ms)
        )
        return events
    refuted = episode.ended and snapshot.stable and position.lots == episode.expected  # opened again, alike: it is no news next time
    if episode.flat_since_ms is not None or refuted:
        events.append(WentFlat(key=key, at_ms=None))
    return events


def _beside(plan: ExitPlan, position: Position, resting: Sequence[Order]) -> ExitPlan:
    """A plan made anew loosens no floor: that of ours which rests stays where it is tighter."""
    sign, side = plan.side.sign, (position.side.closing, position.position_side)
    rests = (o.trigger for o in resting if o.close_position and o.kind in STOPS and o.status.working and (o.side, o.position_side) == side)
    floor = max((plan.floor, *(level for level in rests if level is not None)), key=lambda level: sign * level)
    return plan if floor == plan.floor else replace(plan, floor=floor, stop=Ticks(arithmetic.tighter(sign, plan.stop, floor)))


def _another(episode: Episode, position: Position, resting: Sequence[Order], *, was_flat: bool) -> bool:
    """True if the position is not the one of the episode: the other side, or another entry and a sign that the old one ended.

    Such a sign is what the exchange told; the old size, for what is added changes both; or a price beyond the stop of which nothing
    rests any more: what somebody opened there while we could not look must not be closed for the sake of one that is gone.
    """
    if episode.side is not position.side:
        return True
    if episode.ended or (was_flat and episode.opened):
        return episode.entry != position.entry
    if not entered_elsewhere(episode, position):
        return False
    rests = [order for order in resting if order.kind in STOPS and order.status.working]
    if any(order.close_position for order in rests):
        return False
    passed = arithmetic.stop_hit_e8(position.side.sign, position.mark, episode.trail.stop, episode.plan.tick)
    return position.lots == episode.expected or (passed and not rests)


def entered_elsewhere(episode: Episode, position: Position) -> bool:
    """True if the entry price is not the one we know, by a tick or more: less is the exchange's rounding."""
    return episode.opened and abs(position.entry - episode.entry) >= episode.plan.tick


def leg_events(episode: Episode, snapshot: Snapshot, listed: Iterable[Order]) -> list[Event]:
    """Which of our legs' orders the snapshot lists, and which it no longer does. Absence counts only in a later reading."""
    ids = {order.client_id for order in listed}
    events: list[Event] = []
    for name, leg in episode.legs.items():
        client_id = leg.order.client_id
        if client_id in ids:
            if leg.status is not _LIVE:
                events.append(LegSeen(key=episode.key, leg=name, client_id=client_id, status=_LIVE, at_ms=snapshot.at_ms))
        elif leg.status is _LIVE and snapshot.at_ms > leg.at_ms:
            events.append(LegSeen(key=episode.key, leg=name, client_id=client_id, status=_MISSING, at_ms=snapshot.at_ms))
    return events


def resize_events(episode: Episode, position: Position, *, stable: bool) -> list[Event]:
    """The size or the entry is not what our fills explain, and no fill of ours is still to be told: cut the targets anew."""
    waiting = any(leg.status is _MISSING for leg in episode.legs.values())
    known = position.lots == episode.expected and not entered_elsewhere(episode, position)
    if known or waiting or not stable:
        return []
    closed = [lots == 0 for lots in episode.ladder]
    ladder = cut(episode.plan, position.lots, closed)
    return [Resized(key=episode.key, lots=position.lots, entry=position.entry, ladder=ladder)]


def passed_events(episode: Episode, position: Position, ladder: tuple[Lots, ...]) -> list[Event]:
    """Targets that gave way to somebody else's while the price went past them run on: they are not sold at the market when that goes.

    ``ladder`` holds what the targets may take now, see ``desired.yielding``.
    """
    if ladder == episode.ladder:
        return []
    sign, tick = episode.side.sign, episode.plan.tick
    passed = [sign * (position.mark - target.price * tick) >= 0 for target in episode.plan.targets]
    after = tuple(min(own, left) if gone else own for own, left, gone in zip(episode.ladder, ladder, passed, strict=True))
    return [] if after == episode.ladder else [Resized(key=episode.key, lots=episode.expected, entry=episode.entry, ladder=after)]


def flat_events(episode: Episode, snapshot: Snapshot, now_ms: int, *, flat_after_ms: int, evidence: bool) -> list[Event]:
    """A slot without a position: flat is believed on a second reading ``flat_after_ms`` later, or on evidence."""
    key = episode.key
    if not episode.opened:
        entry = episode.legs.get("e0")
        settled = entry is None or entry.status in (LegStatus.DONE, LegStatus.REFUSED)
        if settled and episode.deadline_ms is not None and now_ms >= episode.deadline_ms:
            return [EntryFailed(key=key, at_ms=now_ms, reason="no position came of the entry")]
        return []
    if not snapshot.stable:
        return []
    if evidence or episode.ended:
        return [EpisodeClosed(key=key, at_ms=snapshot.at_ms, reason="flat, told by the exchange")]
    if episode.flat_since_ms is None:
        return [WentFlat(key=key, at_ms=snapshot.at_ms)]
    if snapshot.at_ms - episode.flat_since_ms >= flat_after_ms:
        return [EpisodeClosed(key=key, at_ms=snapshot.at_ms, reason="flat in two readings")]
    return []


def orphan_events(book: Book, orphans: Sequence[Order], symbol_ids: Iterable[str], at_ms: int) -> list[Event]:
    """Orders of ours on a flat slot, first seen now or before; ids of the symbol that are gone are forgotten."""
    here = {order.client_id: book.orphans.get(order.client_id, at_ms) for order in orphans}
    known = set(symbol_ids)
    kept = {client_id: since for client_id, since in book.orphans.items() if client_id not in known}
    after = {**kept, **here}
    return [] if after == book.orphans else [OrphansSeen(orphans=after)]
