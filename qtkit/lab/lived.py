"""Positions as a desk lived them, from the events of its journal."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from qtkit.core.events import (
    ATR_MOVED,
    EpisodeClosed,
    EpisodeOpened,
    Event,
    IntentMade,
    LegResolved,
    Ratcheted,
    Rebased,
    Resized,
    StopFilled,
    StopSet,
    Watched,
)
from qtkit.core.model import E8, Bps, Key, Lots, Order
from qtkit.core.plan import ExitPlan
from qtkit.core.trail import TrailState

LATE = "bars missed"  # folded with the price then in hand: it was asked for, or began before the plan
BY_BARS = ("bar closed", LATE, ATR_MOVED)


@dataclass(slots=True, kw_only=True)
class Lived:
    """One position under one plan.

    ``states`` are the trail's states as they were written down and why, the first as it began; ``callbacks`` where that of the trail moved
    with ATR, by the time of its state; ``filled`` the legs of ours that were
    filled; ``triggers`` and ``averages`` of its stops that were, by client id (E8); ``sent`` the newest stop that was sent; ``closings``
    why it was closed at the market. ``closed_ms`` None: it is open. ``unfit`` says why no reference can be held against it: what no bar
    tells had a hand in it.
    """

    plan: ExitPlan
    entry: E8
    lots: Lots
    ladder: tuple[Lots, ...]
    own: bool
    opened_ms: int
    states: list[tuple[TrailState, str]]
    filled: list[LegResolved] = field(default_factory=list)
    triggers: dict[str, E8] = field(default_factory=dict)
    averages: dict[str, E8] = field(default_factory=dict)
    callbacks: dict[int, Bps] = field(default_factory=dict)
    sent: Order | None = None
    closings: list[str] = field(default_factory=list)
    closed_ms: int | None = None
    unfit: str = ""

    @property
    def key(self) -> Key:
        """Slot of the position."""
        return self.plan.key

    def state_at(self, time_ms: int) -> TrailState:
        """The state after all bars that were closed by then."""
        return next((state for state, _ in reversed(self.states) if state.at_ms <= time_ms), self.states[0][0])


def lived(events: Iterable[tuple[int, Event]]) -> list[Lived]:
    """The positions that a journal tells of, in the order in which they began. ``events`` are its events with their times, oldest first."""
    found: list[Lived] = []
    open_: dict[Key, Lived] = {}
    asked: dict[str, Lived] = {}  # whose order it is: what became of one is told after its position was found closed
    for at_ms, event in events:
        match event:
            case EpisodeOpened(plan=plan):
                if (before := open_.get(plan.key)) is not None:
                    before.closed_ms, before.unfit = at_ms, before.unfit or "it was planned anew"
                open_[plan.key] = _opened(event)
                found.append(open_[plan.key])
            case EpisodeClosed() if event.key in open_:
                open_.pop(event.key).closed_ms = event.at_ms
            case LegResolved() | StopFilled():
                if (it := asked.get(event.client_id)) is not None:
                    _heard(it, event)
            case _:
                it = open_.get(getattr(event, "key", None))  # type: ignore[arg-type]
                if it is not None and isinstance(event, IntentMade):
                    asked[event.order.client_id] = it
                if it is not None:
                    _heard(it, event)
    return found


def _opened(event: EpisodeOpened) -> Lived:
    return Lived(
        plan=event.plan, entry=event.entry, lots=event.lots, ladder=event.ladder, own=event.own, opened_ms=event.at_ms,
        states=[(event.trail, "opened")],
    )  # fmt: skip


def _heard(it: Lived, event: Event) -> None:
    match event:
        case Ratcheted():
            it.states.append((event.trail, event.reason))
            if event.callback is not None:
                it.callbacks[event.trail.at_ms] = event.callback
            if event.reason not in BY_BARS:
                it.unfit = it.unfit or f"its stop was moved by what no bar tells: {event.reason}"
        case LegResolved() if event.filled > 0:
            it.filled.append(event)
        case StopFilled():
            it.triggers[event.client_id], it.averages[event.client_id] = event.trigger, event.average
        case IntentMade() if event.leg[0] == "s":
            it.sent = event.order
        case IntentMade() if event.leg[0] == "x":
            it.closings.append(event.reason)
        case Resized():
            it.unfit = it.unfit or "its size was changed by hand"
        case StopSet():
            it.unfit = it.unfit or "the operator set its stop"
        case Rebased():
            it.unfit = it.unfit or "its trading rules changed"
        case Watched():
            it.unfit = it.unfit or "from some time on the desk only watched it"
        case _:
            pass
