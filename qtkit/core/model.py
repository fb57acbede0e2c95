"""The things the desk speaks of: instruments, positions, orders, snapshots, actions.

Units: prices of orders are integer ticks, sizes integer lots, distances integer basis points; entry, mark and
liquidation prices, money and rates are integers of 1e-8 (``E8``), because they lie off the tick.
"""

from dataclasses import dataclass
from enum import Enum
from typing import NewType

Ticks = NewType("Ticks", int)
Lots = NewType("Lots", int)
Bps = NewType("Bps", int)
E8 = NewType("E8", int)

ONE = 100_000_000  # 1.0 in E8


class PolicyError(ValueError):
    """We were asked nonsense: the message names what is wrong, where, and the nearest right word."""


class Side(Enum):
    """Direction of a position."""

    LONG = 1
    SHORT = -1

    def __init__(self, sign: int) -> None:
        self.sign = sign
        """+1 for long, -1 for short: a rule is written once with it."""

    @property
    def opening(self) -> "OrderSide":
        """Side of an order that adds to the position."""
        return _BUY if self.sign > 0 else _SELL

    @property
    def closing(self) -> "OrderSide":
        """Side of an order that reduces the position."""
        return _SELL if self.sign > 0 else _BUY


class Scope(Enum):
    """How far the desk may go: ``watch`` sends nothing, ``guard`` rests floor and working stop, ``full`` carries the whole plan out."""

    WATCH = "watch"
    GUARD = "guard"
    FULL = "full"

    def narrower(self, other: "Scope") -> "Scope":
        """Of two scopes the one that goes less far."""
        order = tuple(Scope)
        return min(self, other, key=order.index)


class OrderSide(Enum):
    """Side of an order, as on the wire."""

    BUY = "BUY"
    SELL = "SELL"


class PositionSide(Enum):
    """Slot of a position: BOTH in one-way mode, LONG or SHORT in hedge mode."""

    BOTH = "BOTH"
    LONG = "LONG"
    SHORT = "SHORT"

    def __lt__(self, other: "PositionSide") -> bool:
        return bool(self.value < other.value)  # keys are sorted, also those of both slots of one symbol

    __hash__ = object.__hash__  # members are unique; Enum's own hash is a Python call, and every key is hashed with it


class OrderKind(Enum):
    """Order type, as on the wire."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP_MARKET = "STOP_MARKET"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"
    STOP = "STOP"
    TAKE_PROFIT = "TAKE_PROFIT"
    TRAILING_STOP_MARKET = "TRAILING_STOP_MARKET"

    @property
    def conditional(self) -> bool:
        """True if the order rests in the algo book (Binance, since 2025-12-09) until its trigger."""
        return self not in _AT_ONCE


class TriggerBy(Enum):
    """Price series that fires a conditional order (Binance ``workingType``)."""

    MARK = "MARK_PRICE"
    LAST = "CONTRACT_PRICE"


class OrderStatus(Enum):
    """State of an order as the exchange tells it. TRIGGERING is neither working nor done."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    TRIGGERING = "TRIGGERING"
    TRIGGERED = "TRIGGERED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"

    @property
    def working(self) -> bool:
        """True while the order rests and can still do what it was placed for."""
        return self in _WORKING

    @property
    def terminal(self) -> bool:
        """True when nothing more can come of the order."""
        return self in _TERMINAL


# Python 3.11 needs 0.2 us to find a member of an Enum in its class: those that every order asks for are looked up once.
_BUY, _SELL = OrderSide.BUY, OrderSide.SELL
_AT_ONCE = (OrderKind.MARKET, OrderKind.LIMIT)
_WORKING = (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)
_TERMINAL = (OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.REJECTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """Trading rules of one symbol (Binance ``exchangeInfo`` filters).

    ``tick`` and ``lot`` are the grid in E8; limits are in ticks and lots; fees are E8 fractions of the notional;
    ``percent_up`` and ``percent_down`` are PERCENT_PRICE multipliers in bps of the mark price.
    """

    symbol: str
    tick: E8
    lot: E8
    min_lots: Lots
    max_lots: Lots
    market_max_lots: Lots
    min_notional: E8
    min_price: Ticks
    max_price: Ticks
    percent_up: Bps
    percent_down: Bps
    taker_fee: E8 = E8(50_000)
    maker_fee: E8 = E8(20_000)

    def __post_init__(self) -> None:
        if self.tick <= 0 or self.lot <= 0:
            raise PolicyError(f"{self.symbol}: tick and lot must be positive, got {self.tick} and {self.lot}")


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One position slot: everything about a position is keyed by it, never by the symbol alone."""

    account: str
    symbol: str
    position_side: PositionSide

    def __str__(self) -> str:
        slot = "" if self.position_side is PositionSide.BOTH else f":{self.position_side.value}"
        return f"{self.account}/{self.symbol}{slot}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """One open position as the exchange tells it. ``lots`` is the size, always positive; ``side`` the direction.

    ``liquidation`` is None when the exchange gives none or zero: unknown, never "far".
    """

    symbol: str
    position_side: PositionSide
    side: Side
    lots: Lots
    entry: E8
    mark: E8
    liquidation: E8 | None = None
    leverage: int | None = None
    isolated: bool = False

    def __post_init__(self) -> None:
        if self.lots <= 0:
            raise PolicyError(f"{self.symbol}: a position has at least one lot, got {self.lots}")
        if self.entry <= 0 or self.mark <= 0:
            raise PolicyError(f"{self.symbol}: entry and mark price must be positive, got {self.entry} and {self.mark}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order, asked for or read back. ``lots`` is 0 for close-position orders; ``trigger`` and ``price`` are ticks.

    ``client_id`` is the id we chose (``clientOrderId`` or ``clientAlgoId``), ``venue_id`` the exchange's.
    ``activated`` tells of a trailing order whether its activation price was reached.
    """

    symbol: str
    client_id: str
    kind: OrderKind
    side: OrderSide
    position_side: PositionSide
    lots: Lots
    trigger: Ticks | None = None
    price: Ticks | None = None
    trigger_by: TriggerBy = TriggerBy.MARK
    reduce_only: bool = False
    close_position: bool = False
    price_protect: bool = False
    callback: Bps | None = None
    activation: Ticks | None = None
    activated: bool = False
    filled: Lots = Lots(0)
    status: OrderStatus = OrderStatus.NEW
    venue_id: str = ""
    time_ms: int = 0
    average: E8 | None = None

    @property
    def remaining(self) -> int:
        """Lots still to be filled."""
        return self.lots - self.filled


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a price series in ticks; ``time_ms`` is the open time; ``closed`` is False for the running bar."""

    time_ms: int
    open: Ticks
    high: Ticks
    low: Ticks
    close: Ticks
    closed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything the exchange holds on one symbol of one account: it is complete, or it does not exist.

    Positions, regular orders and conditional orders, all pages. ``stable`` is False when the position read before
    the lists differs from the one read after: such a pass may add cover but cancels nothing. Nor does one whose lists are
    not ``current``: they had to be read anew and could not be, so what they show may be gone. ``at_ms`` is the
    monotonic time at which the first request of the reading was sent: nothing newer can be concluded from absence.
    ``time_ms`` is the exchange's own time, for rules that speak of it (time stops).
    """

    account: str
    symbol: str
    at_ms: int
    positions: tuple[Position, ...]
    orders: tuple[Order, ...]
    stable: bool = True
    current: bool = True
    time_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Send this order; ``key`` and ``leg`` say whose it is, ``revision`` which try of the leg."""

    key: Key
    leg: str
    revision: int
    order: Order
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Take this resting order of ours away."""

    key: Key
    order: Order
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """Ask the exchange what became of an order of ours that no list shows any more."""

    key: Key
    leg: str
    client_id: str
    conditional: bool


Action = Place | Cancel | Lookup
