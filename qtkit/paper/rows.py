"""What the paper exchange takes and tells: requests, rows, events and its one error.

Prices, quantities, money and rates are E8 integers; a callback rate is in bps; times are milliseconds of the exchange's
clock. Signed where it says so: amounts and notionals of short positions are negative.
Over 300 lines: one vocabulary, that the engine and all who speak with it share.
"""

from dataclasses import dataclass
from enum import Enum

from qtkit.core.model import E8, Bps, Instrument, Order, OrderKind, OrderSide, OrderStatus, PositionSide, TriggerBy

NOTHING = E8(0)
LIQUIDATION, ADL = "autoclose-", "adl_autoclose-"
"""How the client ids begin of orders by which the exchange itself closes a position."""


class ExchangeError(Exception):
    """The exchange refuses: Binance's numeric code, its message, and the HTTP status the answer carries."""

    def __init__(self, code: int, message: str, http_status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.http_status = http_status


class TimeInForce(Enum):
    """How long an order lives, as on the wire. GTE_GTC ends with the position, GTD at its date."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTX = "GTX"
    GTD = "GTD"
    GTE_GTC = "GTE_GTC"


class AlgoStatus(Enum):
    """Life of a conditional order (``algoStatus``). FINISHED tells that the child order ended, not that it filled."""

    NEW = "NEW"
    TRIGGERING = "TRIGGERING"
    TRIGGERED = "TRIGGERED"
    FINISHED = "FINISHED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"

    @property
    def open(self) -> bool:
        """True while the order is listed in ``openAlgoOrders``."""
        return self in (AlgoStatus.NEW, AlgoStatus.TRIGGERING)


class Execution(Enum):
    """Why an order update is told (``x`` of ORDER_TRADE_UPDATE). CALCULATED: liquidation."""

    NEW = "NEW"
    TRADE = "TRADE"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    AMENDMENT = "AMENDMENT"
    CALCULATED = "CALCULATED"


class Reason(Enum):
    """Why an account update is told (``m`` of ACCOUNT_UPDATE)."""

    ORDER = "ORDER"
    FUNDING_FEE = "FUNDING_FEE"
    DEPOSIT = "DEPOSIT"
    MARGIN_TRANSFER = "MARGIN_TRANSFER"
    MARGIN_TYPE_CHANGE = "MARGIN_TYPE_CHANGE"
    INSURANCE_CLEAR = "INSURANCE_CLEAR"


class IncomeKind(Enum):
    """Type of an income row (``incomeType``)."""

    TRANSFER = "TRANSFER"
    REALIZED_PNL = "REALIZED_PNL"
    COMMISSION = "COMMISSION"
    FUNDING_FEE = "FUNDING_FEE"
    INSURANCE_CLEAR = "INSURANCE_CLEAR"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """A request for an order, regular or conditional; None is "not sent".

    ``reduce_only`` tells an explicit False from nothing, because the exchange does. ``position_side`` None means BOTH.
    """

    symbol: str
    side: OrderSide
    kind: OrderKind
    quantity: E8 | None = None
    price: E8 | None = None
    trigger: E8 | None = None
    trigger_by: TriggerBy = TriggerBy.LAST
    activation: E8 | None = None
    callback: Bps | None = None
    position_side: PositionSide | None = None
    time_in_force: TimeInForce | None = None
    good_till_ms: int | None = None
    reduce_only: bool | None = None
    close_position: bool = False
    price_protect: bool = False
    client_id: str = ""

    @staticmethod
    def of(order: Order, instrument: Instrument) -> "NewOrder":
        """The request that asks for a ``core.model.Order``."""

        def price(ticks: int | None) -> E8 | None:
            return None if ticks is None else E8(ticks * instrument.tick)

        return NewOrder(
            symbol=order.symbol,
            side=order.side,
            kind=order.kind,
            quantity=E8(order.lots * instrument.lot) if order.lots else None,
            price=price(order.price),
            trigger=price(order.trigger),
            trigger_by=order.trigger_by,
            activation=price(order.activation),
            callback=order.callback,
            position_side=order.position_side,
            reduce_only=True if order.reduce_only else None,
            close_position=order.close_position,
            price_protect=order.price_protect,
            client_id=order.client_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """One regular order. ``quote`` is the filled notional (``cumQuote``), ``average`` 0 until a fill.

    ``origin`` is the type first asked for (``origType``), ``algo_id`` the conditional order whose child this is, or 0.
    """

    account: str
    order_id: int
    client_id: str
    symbol: str
    side: OrderSide
    position_side: PositionSide
    kind: OrderKind
    origin: OrderKind
    time_in_force: TimeInForce
    quantity: E8
    price: E8
    reduce_only: bool
    close_position: bool = False
    status: OrderStatus = OrderStatus.NEW
    executed: E8 = NOTHING
    quote: E8 = NOTHING
    average: E8 = NOTHING
    trigger: E8 = NOTHING
    trigger_by: TriggerBy = TriggerBy.LAST
    price_protect: bool = False
    algo_id: int = 0
    good_till_ms: int = 0
    created_ms: int = 0
    updated_ms: int = 0

    @property
    def remaining(self) -> E8:
        """Quantity still to be filled."""
        return E8(self.quantity - self.executed)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgoRow:
    """One conditional order. ``quantity`` is 0 for close-position orders; ``order_id`` the child's, 0 until triggered.

    ``peak`` of a trailing order is the best price seen since its activation, 0 before. ``reason`` says why it was rejected or
    expired (``rm``). ``visible_ms``: not found and not listed before that time (read lag).
    """

    account: str
    algo_id: int
    client_id: str
    symbol: str
    side: OrderSide
    position_side: PositionSide
    kind: OrderKind
    time_in_force: TimeInForce
    quantity: E8
    trigger: E8
    price: E8
    trigger_by: TriggerBy
    reduce_only: bool
    close_position: bool
    price_protect: bool
    callback: Bps | None = None
    activation: E8 = NOTHING
    activated: bool = False
    peak: E8 = NOTHING
    status: AlgoStatus = AlgoStatus.NEW
    order_id: int = 0
    actual_quantity: E8 = NOTHING
    actual_price: E8 = NOTHING
    actual_kind: OrderKind | None = None
    reason: str = ""
    good_till_ms: int = 0
    created_ms: int = 0
    updated_ms: int = 0
    triggered_ms: int = 0
    visible_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One fill. ``commission`` and ``realised`` are money of the quote coin; a commission paid is positive."""

    trade_id: int
    order_id: int
    client_id: str
    symbol: str
    side: OrderSide
    position_side: PositionSide
    price: E8
    quantity: E8
    quote: E8
    commission: E8
    realised: E8
    maker: bool
    time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Income:
    """One change of the wallet, signed: what came in is positive."""

    income_id: int
    symbol: str
    kind: IncomeKind
    amount: E8
    time_ms: int
    trade_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRow:
    """One position slot as ``positionRisk`` tells it; ``amount`` and ``notional`` are negative for shorts.

    ``liquidation`` is 0 where no price liquidates the position. ``isolated_wallet`` is the margin set aside, ``isolated_margin``
    that plus unrealised profit; both 0 for cross.
    """

    symbol: str
    position_side: PositionSide
    amount: E8
    entry: E8
    break_even: E8
    mark: E8
    liquidation: E8
    unrealised: E8
    notional: E8
    isolated: bool
    isolated_wallet: E8
    isolated_margin: E8
    leverage: int
    max_notional: E8
    initial_margin: E8
    maintenance_margin: E8
    realised_total: E8
    updated_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """The account's money, E8. ``equity`` (margin balance) is ``wallet`` plus ``unrealised``."""

    wallet: E8
    cross_wallet: E8
    unrealised: E8
    equity: E8
    available: E8
    position_margin: E8
    order_margin: E8
    maintenance_margin: E8
    updated_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolConfig:
    """Settings of an account for one symbol."""

    symbol: str
    leverage: int
    isolated: bool
    max_notional: E8


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderUpdate:
    """A regular order changed (ORDER_TRADE_UPDATE). ``trade`` is the fill, with CALCULATED and TRADE only."""

    account: str
    order: OrderRow
    execution: Execution
    trade: Trade | None
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgoUpdate:
    """A conditional order changed (ALGO_UPDATE)."""

    account: str
    algo: AlgoRow
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountUpdate:
    """Wallet or positions changed (ACCOUNT_UPDATE). ``positions`` are the changed ones only, flat ones included.

    ``change`` is the wallet's change by other than profit and commission (``bc``).
    """

    account: str
    reason: Reason
    wallet: E8
    cross_wallet: E8
    change: E8
    positions: tuple[PositionRow, ...]
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigUpdate:
    """Leverage of a symbol changed (ACCOUNT_CONFIG_UPDATE)."""

    account: str
    symbol: str
    leverage: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginCall:
    """Positions have come near their liquidation (MARGIN_CALL). ``cross_wallet`` is given if any of them is cross."""

    account: str
    positions: tuple[PositionRow, ...]
    cross_wallet: E8 | None
    at_ms: int


AccountEvent = OrderUpdate | AlgoUpdate | AccountUpdate | ConfigUpdate | MarginCall
