"""Exit policies: what a trader asks for, in R, ATR and parts of the price; made concrete for one position by the planner."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from qtkit.core.distance import AtPrice, Distance, InAtr, InBps, InR
from qtkit.core.model import Bps, PolicyError, TriggerBy
from qtkit.core.names import suggestion

WHOLE = 10_000

OWN_STOP = InAtr(3_000, least=Bps(100), most=Bps(500), fallback=Bps(250))
"""Initial stop of own entries."""
GUARD_STOP = InAtr(6_000, least=Bps(300), most=Bps(1_000), fallback=Bps(500))
"""Initial stop when guarding a position that somebody else opened: wide, for his reasons are not known."""


class Regime(Enum):
    """What the market does; ``qtkit.core.context.classify`` has the thresholds."""

    TREND = "TREND"
    RANGE = "RANGE"
    VOLATILE = "VOLATILE"
    CHOP = "CHOP"
    NORMAL = "NORMAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRule:
    """At ``at`` close ``share`` (bps of the position)."""

    at: Distance
    share: Bps

    def __post_init__(self) -> None:
        if not 0 < self.share <= WHOLE:
            raise PolicyError(f"a target closes between 0.01 and 100 % of the position, got {self.share / 100:g} %")


@dataclass(frozen=True, slots=True, kw_only=True)
class TightenRule:
    """From ``at`` on, the trail's callback is ``callback``."""

    at: InR | InBps
    callback: Bps


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailRule:
    """From ``activation`` on, the stop follows ``callback`` behind the best price; ``share`` is what the targets leave to it.

    It is moved in steps of ``min_step`` bps (0.1 %, the original's); ``tightening`` is the curve of callbacks by profit. A callback of ATR
    stays as it stood at the entry; one that ``moves`` is measured anew at the close of every full hour, in parts of that close (a
    chandelier stop): a narrower one tightens the stop at once, a wider one never loosens it.
    """

    activation: InR | InBps
    callback: InBps | InAtr
    share: Bps
    min_step: Bps = Bps(10)
    tightening: tuple[TightenRule, ...] = ()
    moves: bool = False

    def __post_init__(self) -> None:
        if self.moves and not isinstance(self.callback, InAtr):
            raise PolicyError(f"trail: only a callback of ATR moves (3atr), {self.callback.bps / 100:g} % does not; leave 'moves' out")
        if not 0 < self.share <= WHOLE:
            raise PolicyError(f"a trail takes between 0.01 and 100 % of the position, got {self.share / 100:g} %")
        widest = self.callback.bps if isinstance(self.callback, InBps) else self.callback.most
        if widest >= WHOLE or self.min_step < 0:
            raise PolicyError(f"trail: callback must be below 100 % and the step not negative, got {widest} and {self.min_step} bps")
        callbacks = [widest, *(step.callback for step in self.tightening)]
        if any(callbacks[i] >= callbacks[i - 1] or callbacks[i] <= 0 for i in range(1, len(callbacks))):
            raise PolicyError(f"trail: the callbacks of the tightening curve must fall and stay above zero, got {callbacks} bps")
        _ascending("the tightening curve of the trail", [step.at for step in self.tightening])


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRule:
    """When the price is ``at`` bps in profit, the stop is at least ``to`` bps in profit; ``to`` None means break-even."""

    at: Bps
    to: Bps | None

    def __post_init__(self) -> None:
        if self.at <= 0 or (self.to is not None and not 0 <= self.to < self.at):
            raise PolicyError(f"stage: the stop ({self.to} bps) must lie behind the price that moves it ({self.at} bps)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitPolicy:
    """What is wanted of an exit. ``stop`` also defines R; ``adopted_stop`` replaces it where somebody else opened the position.

    ``strategy`` is the family that plans are filed under (``strategy_id``; the name itself when empty). ``break_even_after`` is
    the number of targets after which the stop goes to break-even, ``max_hold_ms`` the time stop. ``liquidation_buffer`` (bps of
    the mark price) is kept between any stop and liquidation, on top of the rule that the working stop lies within 60 %
    and the floor within 75 % of the way. Shares of targets and trail make 100 % exactly; no targets and no trail is a stop alone.
    Raises ``PolicyError`` with the reason.
    """

    name: str
    strategy: str = ""
    stop: InBps | InAtr | AtPrice = OWN_STOP
    adopted_stop: InBps | InAtr | AtPrice | None = None
    targets: tuple[TargetRule, ...] = ()
    trail: TrailRule | None = None
    stages: tuple[StageRule, ...] = ()
    break_even_after: int | None = None
    max_hold_ms: int | None = None
    liquidation_buffer: Bps = Bps(25)
    trigger_by: TriggerBy = TriggerBy.MARK

    def __post_init__(self) -> None:
        if not self.name:
            raise PolicyError("a policy needs a name")
        for stop in (self.stop, self.adopted_stop):
            widest = stop.bps if isinstance(stop, InBps) else stop.most if isinstance(stop, InAtr) else 0
            if widest >= WHOLE:
                raise PolicyError(f"{self.name}: a stop must be nearer than 100 % of the price, got {widest / 100:g} %")
        shares = sum(target.share for target in self.targets) + (self.trail.share if self.trail else 0)
        if shares != WHOLE and (self.targets or self.trail):
            raise PolicyError(f"{self.name}: targets and trail close {shares / 100:g} % of the position; they must make 100 % exactly")
        if self.break_even_after is not None and not 1 <= self.break_even_after <= len(self.targets):
            raise PolicyError(f"{self.name}: break-even after target {self.break_even_after}, but there are {len(self.targets)} targets")
        if self.max_hold_ms is not None and self.max_hold_ms <= 0:
            raise PolicyError(f"{self.name}: the time stop must be above zero, got {self.max_hold_ms} ms")
        if not 0 <= self.liquidation_buffer <= 1_000:
            raise PolicyError(f"{self.name}: the liquidation buffer must be 0 to 10 %, got {self.liquidation_buffer / 100:g} %")
        _ascending(f"the targets of {self.name}", [target.at for target in self.targets])
        _ascending(f"the stages of {self.name}", [InBps(stage.at) for stage in self.stages])

    @property
    def strategy_id(self) -> str:
        """Family of the plans it makes."""
        return self.strategy or self.name


def _ascending(what: str, distances: Sequence[Distance]) -> None:
    """Refuse a list out of order; distances of different units cannot be compared before they are prices."""
    for index in range(1, len(distances)):
        match distances[index - 1], distances[index]:
            case (InBps(a), InBps(b)) | (InR(a), InR(b)) | (InAtr(a), InAtr(b)):
                if a >= b:
                    raise PolicyError(f"{what} must be listed from the nearest to the farthest")
            case _:
                pass


def _ladder(*rungs: tuple[int, int]) -> tuple[TargetRule, ...]:
    """Targets from pairs of milli-R and percent."""
    return tuple(TargetRule(at=InR(milli), share=Bps(percent * 100)) for milli, percent in rungs)


def _trail(percent: int, callback: int, *tightening: tuple[int, int], milli: int = 1_000) -> TrailRule:
    """Trail of ``percent`` of the position from ``milli`` R on; the curve in pairs of milli-R and bps."""
    curve = tuple(TightenRule(at=InR(at), callback=Bps(bps)) for at, bps in tightening)
    return TrailRule(activation=InR(milli), callback=InBps(Bps(callback)), share=Bps(percent * 100), tightening=curve)


SCALED_TP = ExitPolicy(
    name="scaled_tp",
    adopted_stop=GUARD_STOP,
    targets=_ladder((1_000, 25), (2_000, 25)),
    trail=_trail(50, 150, (3_000, 100)),
    break_even_after=1,
)
"""A quarter at half the aim, a quarter at the aim (2R), half trailed from half the aim: the original's standard ladder."""

TRAILING_TP = ExitPolicy(
    name="trailing_tp",
    adopted_stop=GUARD_STOP,
    targets=_ladder((2_000, 30)),
    trail=_trail(70, 200, (3_000, 150), (5_000, 100)),
)
"""Mostly a trail: 30 % at 2R, the rest 2 % behind the best price from 1R on, tightening at 3R and 5R."""

STAGED = ExitPolicy(
    name="staged",
    adopted_stop=GUARD_STOP,
    trail=TrailRule(activation=InBps(Bps(500)), callback=InBps(Bps(100)), share=Bps(WHOLE)),
    stages=(StageRule(at=Bps(150), to=None), StageRule(at=Bps(300), to=Bps(150))),
)
"""The trailing manager's stages: at +1.5 % to break-even, at +3 % to +1.5 %, from +5 % trailed by 1 %."""

GUARD = ExitPolicy(name="guard", stop=GUARD_STOP)
"""Stop and floor alone."""

TREND = ExitPolicy(
    name="TREND",
    strategy="trailing_tp",
    adopted_stop=GUARD_STOP,
    targets=_ladder((500, 15), (1_000, 20), (2_000, 30)),
    trail=_trail(35, 200, (3_000, 150), (5_000, 100), milli=1_500),
)
RANGE = ExitPolicy(name="RANGE", strategy="scaled_tp", adopted_stop=GUARD_STOP, targets=_ladder((200, 35), (400, 35), (700, 30)))
VOLATILE = ExitPolicy(
    name="VOLATILE", strategy="scaled_tp", adopted_stop=GUARD_STOP, targets=_ladder((400, 25), (800, 35)), trail=_trail(40, 250)
)
"""The original's third rung (40 % at 1.5R) left nothing to the 2.5 % trail from 1R that it also asked for: the rung is the trail's."""
CHOP = ExitPolicy(name="CHOP", strategy="scaled_tp", adopted_stop=GUARD_STOP, targets=_ladder((150, 40), (350, 40), (600, 20)))
NORMAL = ExitPolicy(
    name="NORMAL",
    strategy="scaled_tp",
    adopted_stop=GUARD_STOP,
    targets=_ladder((500, 25), (1_000, 25)),
    trail=_trail(50, 150, (3_000, 100)),
)
"""As VOLATILE: the 50 % at 2R is the trail's, whose tightening at 3R could never have been reached otherwise."""

HYBRID_LOW, HYBRID_HIGH = 2_000, 8_000  # confidence bands, bps


def hybrid(*, sl: Bps, tp: Bps, ai_tp: Bps | None = None, ai_trail: Bps | None = None, confidence: Bps | None = None) -> ExitPolicy:
    """The legacy hybrid TP/SL by bands of confidence (bps), with shares that make 100 %.

    Below 0.20, or unknown: base stop and target. From 0.20: half at the base target, half trailed by half of the model's callback.
    From 0.80: the whole callback, a stop tighter by a tenth, and a quarter at the model's target where it lies beyond the base one. The
    callback stays within 0.1 to 5 %, the trail begins at twice the callback, at least 0.2 %.
    """
    sure = confidence is not None and confidence >= HYBRID_HIGH
    stop = Bps(sl * 9 // 10) if sure else sl
    if confidence is None or confidence < HYBRID_LOW or ai_trail is None:
        whole = (TargetRule(at=InBps(tp), share=Bps(WHOLE)),)
        return ExitPolicy(name="hybrid", stop=InBps(stop), adopted_stop=GUARD_STOP, targets=whole)
    callback = Bps(min(max(ai_trail if sure else ai_trail // 2, 10), 500))
    base = TargetRule(at=InBps(tp), share=Bps(5_000))
    farther = sure and ai_tp is not None and ai_tp > tp
    targets = (base, TargetRule(at=InBps(ai_tp), share=Bps(2_500))) if farther and ai_tp is not None else (base,)
    left = Bps(WHOLE - sum(target.share for target in targets))
    trail = TrailRule(activation=InBps(Bps(max(2 * callback, 20))), callback=InBps(callback), share=left)
    return ExitPolicy(name="hybrid", stop=InBps(stop), adopted_stop=GUARD_STOP, targets=targets, trail=trail)


HYBRID = hybrid(sl=Bps(250), tp=Bps(300), ai_trail=Bps(150), confidence=Bps(5_000))
"""Its base numbers in the middle band; the planner makes it again from the model's hints."""

POLICIES: dict[str, ExitPolicy] = {
    policy.name: policy for policy in (SCALED_TP, TRAILING_TP, STAGED, HYBRID, GUARD, TREND, RANGE, VOLATILE, CHOP, NORMAL)
}


def named(name: str) -> ExitPolicy:
    """A policy by its name. Raises ``PolicyError`` with the nearest right name."""
    if name not in POLICIES:
        raise PolicyError(f"there is no exit policy '{name}': {suggestion(name, POLICIES)}")
    return POLICIES[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRule:
    """Use ``policy`` where everything that the rule names is so; the more it names, the stronger it is."""

    policy: ExitPolicy
    symbol: str | None = None
    strategy: str | None = None
    regime: Regime | None = None

    def score(self, symbol: str, strategy: str | None, regime: Regime | None) -> int | None:
        """100 for the symbol, 10 for the strategy, 1 for the regime; None where the rule does not apply."""
        asked = ((self.symbol, symbol, 100), (self.strategy, strategy, 10), (self.regime, regime, 1))
        if any(wanted is not None and wanted != given for wanted, given, _ in asked):
            return None
        return sum(points for wanted, _, points in asked if wanted is not None)


BY_REGIME = tuple(ProfileRule(policy=named(regime.value), regime=regime) for regime in Regime)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """Which policy is used where nobody named one. ``default`` is for a market whose regime is not known."""

    rules: tuple[ProfileRule, ...] = BY_REGIME
    default: ExitPolicy = SCALED_TP

    def lookup(self, symbol: str, strategy: str | None = None, regime: Regime | None = None) -> ExitPolicy:
        """The policy of the strongest rule; of equals, the first."""
        best, found = -1, self.default
        for rule in self.rules:
            score = rule.score(symbol, strategy, regime)
            if score is not None and score > best:
                best, found = score, rule.policy
        return found

    def overriding(self, *rules: ProfileRule) -> "Profiles":
        """These profiles with own rules put first."""
        return replace(self, rules=rules + self.rules)
