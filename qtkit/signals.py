"""A signal to open a position, the gate it passes, and what came of it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from qtkit.core.context import RiskContext, RiskMode, RLHints
from qtkit.core.distance import InR, parse_distance
from qtkit.core.model import Bps, PolicyError, Side
from qtkit.core.names import suggestion
from qtkit.core.policy import POLICIES, ExitPolicy

SIDES = {"BUY": Side.LONG, "LONG": Side.LONG, "SELL": Side.SHORT, "SHORT": Side.SHORT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A wish to open a position at the market.

    ``quantity`` is in coins; without it the size follows from ``risk_bps`` of the equity lost at the stop. ``stop`` is a distance as people
    write it (``2.5%``, ``250bps``, ``3atr``, ``@91000``) and replaces the policy's. ``confidence`` is a fraction in bps.
    ``strategy`` is who asks: profiles choose by it where no policy is named. Raises ``PolicyError`` for a wrong side, size, risk or stop;
    which policies there are the desk knows.
    """

    symbol: str
    side: str
    quantity: Decimal | None = None
    confidence: Bps | None = None
    stop: str | None = None
    risk_bps: Bps | None = None
    policy: str | None = None
    strategy: str | None = None

    def __post_init__(self) -> None:
        if self.side.upper() not in SIDES:
            raise PolicyError(f"side '{self.side}' is not a side of a signal: {suggestion(self.side, SIDES)}")
        if self.quantity is not None and not (self.quantity.is_finite() and self.quantity > 0):
            raise PolicyError(f"{self.symbol}: the size must be a number above zero, got {self.quantity}")
        if self.risk_bps is not None and not 1 <= self.risk_bps <= 1_000:
            raise PolicyError(f"{self.symbol}: risk must be 0.01 % to 10 % of the equity, got {self.risk_bps / 100:g} %")
        if self.confidence is not None and not 0 <= self.confidence <= 10_000:
            raise PolicyError(f"{self.symbol}: confidence is a fraction between 0 and 1, got {self.confidence / 10_000:g}")
        if self.stop is not None and isinstance(parse_distance(self.stop), InR):
            raise PolicyError(f"{self.symbol}: the stop defines R, so it cannot be given as {self.stop}; use a percentage, 3atr or @price")

    @property
    def direction(self) -> Side:
        """The position's side."""
        return SIDES[self.side.upper()]

    @property
    def hints(self) -> RLHints:
        """What the model said."""
        return RLHints(confidence=self.confidence)

    def with_stop(self, policy: ExitPolicy) -> ExitPolicy:
        """A policy with the stop asked for."""
        if self.stop is None:
            return policy
        stop = parse_distance(self.stop)
        assert not isinstance(stop, InR)  # refused above
        return replace(policy, stop=stop)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Signal":
        """A signal from JSON: numbers may be text, so that nothing is rounded. Raises ``PolicyError`` for unknown keys."""
        names = [item.name for item in fields(cls)]
        for key in raw:
            if key not in names:
                raise PolicyError(f"a signal has no '{key}': {suggestion(str(key), names)}")
        missing = [name for name in ("symbol", "side") if not isinstance(raw.get(name), str) or not raw[name]]
        if missing:
            raise PolicyError(f"a signal needs its {missing[0]}")
        return cls(
            symbol=raw["symbol"], side=raw["side"], quantity=_number(raw, "quantity"), confidence=_bps(raw, "confidence"),
            stop=_text(raw, "stop"), risk_bps=_bps(raw, "risk_bps"), policy=_text(raw, "policy"), strategy=_text(raw, "strategy"),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """JSON of the signal."""
        return {key: str(value) if isinstance(value, Decimal) else value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What came of a signal. Sizes and prices are exact decimals; ``risk`` is the loss at the planned stop in the quote coin."""

    symbol: str
    side: str
    quantity: str
    stop: str
    risk: str
    plan: str
    strategy: str
    outcome: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The risk gate before entries. It never blocks, closes or squeezes what is open.

    ``closed`` says why there is no entry now, whatever the signal; nothing while there is no such reason.
    """

    risk: RiskContext = field(default_factory=RiskContext)
    max_positions: int = 10
    min_confidence: Bps = Bps(0)
    closed: Callable[[], str] = lambda: ""

    def check(self, signal: Signal, *, open_positions: int) -> None:
        """Raises ``PolicyError`` with the reason if the entry is not to be made."""
        if why := self.closed():
            raise PolicyError(f"no entry while {why}")
        if self.risk.mode is RiskMode.ESS_ACTIVE:
            raise PolicyError("no entry while the emergency stop system is active; what is open stays protected")
        if open_positions >= self.max_positions:
            raise PolicyError(f"no entry: {open_positions} positions are open, and at most {self.max_positions} are allowed")
        if signal.confidence is not None and signal.confidence < self.min_confidence:
            raise PolicyError(f"no entry: confidence {signal.confidence / 10_000:g} is below {self.min_confidence / 10_000:g}")


def _number(raw: Mapping[str, Any], key: str) -> Decimal | None:
    value = raw.get(key)
    if value is None:
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise PolicyError(f"a signal's {key} must be a number, got {value!r}") from None


def _bps(raw: Mapping[str, Any], key: str) -> Bps | None:
    number = _number(raw, key)
    if number is None:
        return None
    if not number.is_finite() or number != number.to_integral_value():
        raise PolicyError(f"a signal's {key} is a whole number of basis points, got {raw[key]!r}")
    return Bps(int(number))


def _text(raw: Mapping[str, Any], key: str) -> str | None:
    value = raw.get(key)
    if value is not None and not isinstance(value, str):
        raise PolicyError(f"a signal's {key} must be text, got {value!r}; policies are: {', '.join(sorted(POLICIES))}")
    return value
