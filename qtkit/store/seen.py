"""What a tape is made of: everything that a decision saw, and when."""

from dataclasses import dataclass

from qtkit.core.model import E8, Bar, Instrument, Scope, Snapshot, Ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSeen:
    """A price that came by itself: mark (E8) and last (ticks), None where it carried none."""

    account: str
    symbol: str
    mark: E8 | None
    last: Ticks | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BarSeen:
    """A bar that closed."""

    account: str
    symbol: str
    bar: Bar


@dataclass(frozen=True, slots=True, kw_only=True)
class BarMissed:
    """A bar that closed while nobody listened, asked for afterwards; its close is the price at which it was caught up."""

    account: str
    symbol: str
    bar: Bar


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesSeen:
    """The trading rules of a symbol: once a file, and when they changed."""

    account: str
    rules: Instrument


@dataclass(frozen=True, slots=True, kw_only=True)
class PassSeen:
    """A pass has read the account and decides now, on the snapshots before this one. ``scope`` is how far the desk may go."""

    account: str
    scope: Scope


TapeEvent = Snapshot | PriceSeen | BarSeen | BarMissed | RulesSeen | PassSeen


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that the desk saw, and when: its writer's clock (ms), of prices and bars the exchange's."""

    at_ms: int
    event: TapeEvent
