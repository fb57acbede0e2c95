"""The exit plan: a policy made concrete for one position, from leaving flat to being flat again."""

from dataclasses import dataclass, field, replace
from enum import Enum

from qtkit.core.distance import InAtr
from qtkit.core.model import E8, Bps, Key, Lots, PolicyError, Side, Ticks, TriggerBy

WHOLE = 10_000  # shares are bps of the position
ADDED = {"added": True}  # a field that older records lack: they are read with its default


class LegKind(Enum):
    """What a leg of a plan does."""

    SL = "SL"
    TP = "TP"
    TRAIL = "TRAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitLeg:
    """One leg of a plan as people read it: its kind, its share of the position (bps), its level (ticks) and callback (bps)."""

    kind: LegKind
    share: Bps
    trigger: Ticks
    callback: Bps | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Take-profit: at ``price`` (ticks) close ``share`` (bps of the position as it was planned)."""

    price: Ticks
    share: Bps


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """When the price reached ``at`` (ticks), the stop is at least ``to`` (ticks)."""

    at: Ticks
    to: Ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class Tightening:
    """When the price reached ``at`` (ticks), the trail's callback is ``callback`` (bps)."""

    at: Ticks
    callback: Bps


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """From ``activation`` (ticks) on, the stop follows ``callback`` (bps) behind the best price, in steps of ``min_step`` (bps).

    ``moves`` is the multiple of ATR by which the callback is measured anew every hour, None where it stays.
    """

    activation: Ticks
    callback: Bps
    share: Bps
    min_step: Bps = Bps(10)
    tightening: tuple[Tightening, ...] = ()
    moves: InAtr | None = field(default=None, metadata=ADDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitPlan:
    """How one position will be left. ``stop`` is not optional: a plan without a stop cannot be constructed.

    ``stop`` is the initial working stop and ``floor`` the wider close-position stop behind it, both ticks and before liquidation
    as it stood when the plan was made. ``break_even`` is entry plus round-trip cost (ticks). ``deadline_ms`` is the time stop in
    exchange time. ``provisional`` plans were made from a caller's word and die unless a snapshot shows the position;
    ``expires_ms`` ends them. ``adopted`` tells that somebody else opened the position. Prices are on the grid ``tick``/``lot``
    (E8) that the plan was made with. Raises ``PolicyError`` when the levels contradict each other.
    """

    uid: str
    key: Key
    side: Side
    episode: int
    revision: int
    strategy_id: str
    entry: E8
    lots: Lots
    tick: E8
    lot: E8
    stop: Ticks
    floor: Ticks
    break_even: Ticks
    targets: tuple[Target, ...] = ()
    trail: Trail | None = None
    stages: tuple[Stage, ...] = ()
    break_even_after: int | None = None
    deadline_ms: int | None = None
    trigger_by: TriggerBy = TriggerBy.MARK
    start: Ticks
    adopted: bool = False
    provisional: bool = False
    expires_ms: int | None = None
    created_ms: int
    profile: str = ""
    regime: str = ""
    confidence: Bps | None = None
    reason: str = ""
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        sign = self.side.sign
        if self.stop <= 0 or self.floor <= 0:
            raise PolicyError(f"{self.key}: stop and floor must be positive prices, got {self.stop} and {self.floor} ticks")
        if sign * (self.stop - self.floor) < 0:
            raise PolicyError(f"{self.key}: the floor ({self.floor}) must lie behind the stop ({self.stop}), both in ticks")
        shares = sum(target.share for target in self.targets) + (self.trail.share if self.trail else 0)
        if shares > WHOLE:
            raise PolicyError(f"{self.key}: targets and trail close {shares / 100:.2f} % of the position; at most 100 % is possible")

    @property
    def legs(self) -> tuple[ExitLeg, ...]:
        """Stop, targets and trail in one list."""
        targets = tuple(ExitLeg(kind=LegKind.TP, share=t.share, trigger=t.price) for t in self.targets)
        stop = (ExitLeg(kind=LegKind.SL, share=Bps(WHOLE), trigger=self.stop),)
        if self.trail is None:
            return stop + targets
        trail = ExitLeg(kind=LegKind.TRAIL, share=self.trail.share, trigger=self.trail.activation, callback=self.trail.callback)
        return (*stop, *targets, trail)

    def with_callback(self, callback: Bps | None) -> "ExitPlan":
        """The plan after its trail's callback has moved; None: it has not."""
        return self if self.trail is None or callback is None else replace(self, trail=replace(self.trail, callback=callback))
