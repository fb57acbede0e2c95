"""What the planner is told: typed inputs in one unit, where None means "not known"; and a plan in the words of the old integration.

Nothing here has a default that stands for a missing input. Dicts of callers are read by ``qtkit.inputs``.
"""

from dataclasses import dataclass, field
from enum import Enum

from qtkit.core.model import E8, Bps, Instrument, Key, PolicyError, Position
from qtkit.core.plan import ExitPlan
from qtkit.core.policy import ExitPolicy, Regime

VOLATILE_ABOVE = 400  # bps of price a day
RANGE_BELOW = 150
TREND_ABOVE = 6_000  # trend strength, bps
CHOP_BELOW = 2_000


def classify(volatility: int | None, trend: int | None) -> Regime | None:
    """Regime from volatility (bps of price a day) and trend strength (-10,000 to 10,000 bps); None where it cannot be told.

    Above 4 % a day VOLATILE; then beyond +-0.6 TREND; then below 1.5 % a day RANGE (it hardly moves); then within +-0.2 CHOP (it moves and
    gets nowhere); else NORMAL. Only VOLATILE can be told without the trend.
    """
    if volatility is None:
        return None
    if volatility > VOLATILE_ABOVE:
        return Regime.VOLATILE
    if trend is None:
        return None
    if abs(trend) > TREND_ABOVE:
        return Regime.TREND
    if volatility < RANGE_BELOW:
        return Regime.RANGE
    return Regime.CHOP if abs(trend) < CHOP_BELOW else Regime.NORMAL


def _within(what: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise PolicyError(f"{what} must lie between {low} and {high} bps, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RLHints:
    """What the model advises: target, stop and trail as bps of the price, and how sure it is (bps, 10,000 = certain)."""

    tp: Bps | None = None
    sl: Bps | None = None
    trail: Bps | None = None
    confidence: Bps | None = None

    def __post_init__(self) -> None:
        _within("hint tp", self.tp, 1, 100_000)
        _within("hint sl", self.sl, 1, 9_999)
        _within("hint trail", self.trail, 1, 9_999)
        _within("confidence", self.confidence, 0, 10_000)


class RiskMode(Enum):
    """State of the risk service. It shapes new plans; it never touches what is open."""

    NORMAL = "NORMAL"
    CONSERVATIVE = "CONSERVATIVE"
    CRITICAL = "CRITICAL"
    ESS_ACTIVE = "ESS_ACTIVE"


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskContext:
    """What the risk service says: its mode, and the widest stop it allows a new plan (bps of the price)."""

    mode: RiskMode | None = None
    max_loss: Bps | None = None

    def __post_init__(self) -> None:
        _within("max_loss", self.max_loss, 1, 9_999)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketData:
    """What is known of the market: volatility (bps of price a day), trend strength (-10,000 to 10,000 bps), ATR(14, 1h) in price (E8).

    ``regime`` beats what volatility and trend would tell. ``funding_paid`` is the money the position paid in funding (E8 of the quote
    coin; negative: received). ``close`` is the last price of the newest full hour (E8).
    """

    volatility: Bps | None = None
    trend: Bps | None = None
    atr: E8 | None = None
    regime: Regime | None = None
    funding_paid: E8 | None = None
    close: E8 | None = None

    def __post_init__(self) -> None:
        _within("volatility", self.volatility, 0, 1_000_000)
        _within("trend", self.trend, -10_000, 10_000)
        if self.atr is not None and self.atr <= 0:
            raise PolicyError(f"atr is a price distance above zero, got {self.atr}")

    @property
    def known_regime(self) -> Regime | None:
        """The regime told, else the one that volatility and trend tell, else None."""
        return self.regime or classify(self.volatility, self.trend)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitContext:
    """Everything a plan is made from. ``now_ms`` is exchange time. ``policy`` None lets profiles choose by symbol, ``strategy`` and regime.

    ``adopted`` tells that somebody else opened the position. Raises ``PolicyError`` when position and instrument differ.
    """

    account: str
    instrument: Instrument
    position: Position
    now_ms: int
    episode: int = 1
    revision: int = 0
    policy: ExitPolicy | None = None
    strategy: str | None = None
    adopted: bool = False
    provisional: bool = False
    expires_ms: int | None = None
    hints: RLHints = field(default_factory=RLHints)
    risk: RiskContext = field(default_factory=RiskContext)
    market: MarketData = field(default_factory=MarketData)

    def __post_init__(self) -> None:
        if self.position.symbol != self.instrument.symbol:
            raise PolicyError(f"position in {self.position.symbol} planned with the rules of {self.instrument.symbol}")

    @property
    def key(self) -> Key:
        """Slot of the position."""
        return Key(self.account, self.position.symbol, self.position.position_side)


def _distance(plan: ExitPlan, ticks: int) -> float:
    """Profit at a level as a fraction of the entry price, for readers."""
    return plan.side.sign * (ticks * plan.tick - plan.entry) / plan.entry


def to_trailing_config(plan: ExitPlan, ctx: ExitContext | None = None) -> dict[str, float | bool] | None:
    """The trail in the original's keys, or None without one; fractions of the entry price, the activation from the leg itself.

    ``ctx`` is part of the inherited signature; the plan says it all.
    """
    trail = plan.trail
    if trail is None:
        return None
    return {
        "enabled": True,
        "callback_pct": trail.callback / 10_000,
        "activation_pct": _distance(plan, trail.activation),
        "size_pct": trail.share / 10_000,
    }


def to_dynamic_tpsl(plan: ExitPlan, ctx: ExitContext | None = None) -> dict[str, float | bool | str | None]:
    """The plan as one target, one stop, one trail in the original's keys, fractions of the entry price; None where there is none.

    The target is the nearest one. ``sl_percent`` is the loss at the stop: negative when the stop lies in profit.
    """
    return {
        "tp_percent": _distance(plan, plan.targets[0].price) if plan.targets else None,
        "sl_percent": -_distance(plan, plan.stop),
        "trail_percent": plan.trail.callback / 10_000 if plan.trail else None,
        "partial_tp": len(plan.targets) > 1,
        "rationale": plan.reason,
        "confidence": None if plan.confidence is None else plan.confidence / 10_000,
    }


def to_partial_exit_config(plan: ExitPlan, ctx: ExitContext | None = None) -> list[dict[str, float | str | None]]:
    """Targets and trail in the original's keys, nearest first, fractions of the entry price; a trail's trigger is its activation."""
    rows: list[dict[str, float | str | None]] = [
        {
            "trigger_pct": _distance(plan, leg.trigger),
            "size_pct": leg.share / 10_000,
            "kind": leg.kind.value,
            "reason": plan.reason,
            "trail_callback": None if leg.callback is None else leg.callback / 10_000,
        }
        for leg in sorted(plan.legs[1:], key=lambda leg: plan.side.sign * leg.trigger)
    ]
    return rows
