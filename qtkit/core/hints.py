"""A table of hints: which stop, target and trail research found for a symbol, a regime and a volatility, and where they come from."""

from dataclasses import dataclass
from hashlib import blake2b

from qtkit.core.context import RANGE_BELOW, VOLATILE_ABOVE, MarketData, RLHints
from qtkit.core.model import Bps, PolicyError

UNKNOWN = "unknown"
VOLATILITIES = ("low", "middle", "high")
"""Below 1.5 % a day, up to 4 %, above: the bounds by which regimes are told. Bounds from the data itself would look ahead."""
DAY_MS = 86_400_000


def bucket(volatility: int | None) -> str:
    """Volatility (bps of the price a day) as one of ``VOLATILITIES``, or ``unknown``."""
    if volatility is None:
        return UNKNOWN
    return VOLATILITIES[(volatility >= RANGE_BELOW) + (volatility > VOLATILE_ABOVE)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HintRow:
    """What was found for one cell: stop, target and trail (bps of the price, None: the policy's own) and how sure that is (bps).

    Figures are mean net hundredths of a bp: ``in_points`` where it was chosen over ``entries``, ``out_points`` where it was not over
    ``out_entries``, ``base_points`` what the policy without hints brought on these.
    """

    symbol: str
    regime: str
    volatility: str
    sl: Bps | None
    tp: Bps | None
    trail: Bps | None
    confidence: Bps
    entries: int
    in_points: int
    out_entries: int
    out_points: int
    base_points: int

    @property
    def hints(self) -> RLHints:
        """The same as the planner takes it. Raises ``PolicyError`` for numbers that are no hints."""
        return RLHints(sl=self.sl, tp=self.tp, trail=self.trail, confidence=self.confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class HintTable:
    """Hints with their provenance. ``policy`` is the one that they were fitted on; ``from_ms``, ``split_ms`` and ``until_ms`` are where the
    data begin, are split into chosen by and judged by, and end; ``data`` the hash of each symbol's bars; ``kit`` the version that fitted
    them, ``learner`` how, ``created_ms`` when. ``digest`` is that of all the rest: who changes a number by hand is found out.
    """

    policy: str
    learner: str
    from_ms: int
    split_ms: int
    until_ms: int
    created_ms: int
    kit: str
    data: tuple[tuple[str, str], ...]
    rows: tuple[HintRow, ...]
    digest: str = ""

    def of(self, symbol: str, market: MarketData) -> RLHints:
        """The hints for an entry in this market; none where research found none."""
        regime = market.known_regime
        cell = symbol, UNKNOWN if regime is None else regime.value, bucket(market.volatility)
        return next((row.hints for row in self.rows if (row.symbol, row.regime, row.volatility) == cell), RLHints())

    def require_fit(self, *, now_ms: int, kit: str, max_age_days: int) -> None:
        """Raise ``PolicyError`` if these hints are not to be used now: changed by hand, of another version, or of data too old."""
        if self.digest != digest_of(self):
            raise PolicyError("they were changed after they were fitted; fit them anew")
        if self.kit != kit:
            raise PolicyError(f"they were fitted by qtkit {self.kit} and this is {kit}; fit them anew")
        days = (now_ms - self.until_ms) // DAY_MS
        if days > max_age_days:
            raise PolicyError(f"their data end {days} days ago, and {max_age_days} are allowed; fit them on newer bars")


def digest_of(table: HintTable) -> str:
    """A hash of everything in a table but its own digest."""
    told = repr([getattr(table, name) for name in HintTable.__slots__ if name != "digest"])
    return blake2b(told.encode(), digest_size=16).hexdigest()
