"""What can happen to the positions of an account: the journal is a list of these, and the book their fold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from qtkit.core.model import E8, Bps, Key, Lots, Order, OrderStatus, Scope, Side, Ticks
from qtkit.core.plan import ADDED, ExitPlan
from qtkit.core.trail import TrailState

ATR_MOVED, ATR_MISSED = "ATR moved", "ATR of a missed hour"


class LegStatus(Enum):
    """What is known of the last order sent for a leg. UNKNOWN is not failed; ACKED is not working."""

    SENT = "SENT"
    ACKED = "ACKED"
    UNKNOWN = "UNKNOWN"
    REFUSED = "REFUSED"
    LIVE = "LIVE"
    MISSING = "MISSING"
    DONE = "DONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """The last order of a leg: its revision, what was asked, and what is known of it."""

    revision: int
    order: Order
    status: LegStatus
    at_ms: int
    code: int | None = None
    refusals: int = 0
    filled: Lots = Lots(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the operator has said of a symbol: how far the desk may go there, until when (ms, None: until said otherwise), and why.

    With ``cancel``, what rests of ours there is taken away first.
    """

    scope: Scope
    until_ms: int | None
    cancel: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryBegun:
    """We are about to open a position under this plan; it must be settled by ``deadline_ms`` (desk time)."""

    plan: ExitPlan
    trail: TrailState
    at_ms: int
    deadline_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFailed:
    """The entry did not open a position."""

    key: Key
    at_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeOpened:
    """A position left flat, or was found open, and has a plan."""

    plan: ExitPlan
    trail: TrailState
    ladder: tuple[Lots, ...]
    lots: Lots
    entry: E8
    own: bool
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeClosed:
    """The position is flat, confirmed."""

    key: Key
    at_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WentFlat:
    """A complete snapshot shows no position; ``at_ms`` None takes it back."""

    key: Key
    at_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratcheted:
    """Trail state moved on; with ``callback``, because that of the trail moved there with its ATR."""

    key: Key
    trail: TrailState
    reason: str
    callback: Bps | None = field(default=None, metadata=ADDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resized:
    """The position's size is not what our own fills explain: the targets are cut anew."""

    key: Key
    lots: Lots
    entry: E8
    ladder: tuple[Lots, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentMade:
    """We are about to send this order. Synced before it is sent."""

    key: Key
    leg: str
    revision: int
    order: Order
    at_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelMade:
    """We are about to cancel this order of ours."""

    key: Key
    client_id: str
    at_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeSeen:
    """What the exchange answered to an intent."""

    key: Key
    leg: str
    client_id: str
    status: LegStatus
    at_ms: int
    code: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LegSeen:
    """A snapshot listed the leg's order (LIVE), or no longer lists it (MISSING)."""

    key: Key
    leg: str
    client_id: str
    status: LegStatus
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LegResolved:
    """The exchange told what became of an order that no list shows: its final state and its filled lots."""

    key: Key
    leg: str
    client_id: str
    status: OrderStatus
    filled: Lots
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GapChanged:
    """Cover fell below the position at ``since_ms``, or is whole again (None)."""

    key: Key
    since_ms: int | None
    at_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphansSeen:
    """The orders of ours that rest on flat slots, by client id, and since when (ms)."""

    orphans: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmergencyMade:
    """The desk closes a position because it cannot be protected."""

    key: Key
    at_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeChosen:
    """The operator said how far the desk may go on a symbol; ``choice`` None takes it back."""

    symbol: str
    choice: Choice | None
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """The operator had nothing new taken on since ``since_ms``; None: it is again. What is held goes on being protected."""

    since_ms: int | None
    at_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSet:
    """The operator set the stop. ``outdated`` are our resting orders that it is looser than, by client id: they are to be replaced.

    Only with ``loosens`` it may be looser than the stop before.
    """

    key: Key
    stop: Ticks
    outdated: tuple[str, ...]
    at_ms: int
    reason: str
    loosens: bool = field(default=False, metadata=ADDED)

    @property
    def may_loosen(self) -> bool:
        """True if the operator meant to loosen: in a journal from before the mark, what it replaces tells."""
        return self.loosens or bool(self.outdated)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopFilled:
    """A stop of ours was filled: its trigger and the average price of its fill (E8). ``side`` is the position's."""

    key: Key
    side: Side
    client_id: str
    trigger: E8
    average: E8
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebased:
    """The exchange changed tick or lot of the symbol: everything that is counted in them, on the new grid."""

    key: Key
    plan: ExitPlan
    trail: TrailState
    ladder: tuple[Lots, ...]
    lots: Lots
    legs: Mapping[str, Leg]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """From now on the desk only watches the position: where its stop would lie is nothing that rests."""

    key: Key
    at_ms: int


EpisodeEvent = (
    WentFlat
    | Ratcheted
    | Resized
    | IntentMade
    | CancelMade
    | OutcomeSeen
    | LegSeen
    | LegResolved
    | GapChanged
    | StopSet
    | Rebased
    | Watched
)

Event = (
    EpisodeEvent
    | EntryBegun
    | EntryFailed
    | EpisodeOpened
    | EpisodeClosed
    | OrphansSeen
    | EmergencyMade
    | StopFilled
    | ScopeChosen
    | Paused
)
