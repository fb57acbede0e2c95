"""One account's books: positions, wallet, orders and history. Arithmetic of fills only; rules live elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from qtkit.core.matching import notional
from qtkit.core.model import ONE, OrderSide, PositionSide
from qtkit.paper.rows import AlgoRow, Income, IncomeKind, OrderRow, Trade

DEFAULT_LEVERAGE = 20

Slot = tuple[str, PositionSide]  # symbol and position side
OrderName = tuple[str, str]  # symbol and client id: two symbols may have used the same
Family = tuple[str, PositionSide, OrderSide, bool]  # symbol, position side, order side, take-profit?


@dataclass(slots=True)
class Leg:
    """One position slot. ``amount`` and ``cost`` are signed; the entry price is their quotient.

    ``paid`` are commissions and funding of the present episode (for the break-even price), ``isolated_wallet`` the margin set aside.
    """

    symbol: str
    position_side: PositionSide
    amount: int = 0
    cost: int = 0
    isolated: bool = False
    isolated_wallet: int = 0
    paid: int = 0
    realised_total: int = 0
    updated_ms: int = 0

    @property
    def entry(self) -> int:
        """Average entry price, E8, rounded to nearest; 0 if flat."""
        return (2 * self.cost * ONE + self.amount) // (2 * self.amount) if self.amount else 0

    def fill(self, amount: int, price: int) -> tuple[int, int]:
        """Work in a signed fill. Returns (quantity closed, profit realised); cost keeps what rounding leaves, to the last 1e-8."""
        if not self.amount or (amount > 0) is (self.amount > 0):
            self.amount += amount
            self.cost += notional(price, amount)
            return 0, 0
        closed = min(abs(amount), abs(self.amount))
        sign = 1 if self.amount > 0 else -1
        part = self.cost * closed // abs(self.amount)
        realised = notional(price, sign * closed) - part
        self.paid -= self.paid * closed // abs(self.amount)
        self.amount -= sign * closed
        self.cost -= part
        rest = abs(amount) - closed
        if rest:
            self.amount = -sign * rest
            self.cost = notional(price, self.amount)
        return closed, realised


@dataclass(slots=True)
class SymbolSettings:
    """Leverage and margin mode of an account for one symbol."""

    leverage: int = DEFAULT_LEVERAGE
    isolated: bool = False


@dataclass(slots=True)
class Account:
    """One account of the exchange. Read ``name``, ``hedge`` and ``wallet``; everything else is the exchange's to change.

    ``restricted`` is 0 or the code under which the account may only reduce; until ``liquidating_until_ms`` its orders are refused.
    ``called`` are the positions near liquidation, which was told.
    """

    name: str
    hedge: bool
    wallet: int = 0
    legs: dict[Slot, Leg] = field(default_factory=dict)
    settings: dict[str, SymbolSettings] = field(default_factory=dict)
    orders: dict[int, OrderRow] = field(default_factory=dict)
    open_orders: dict[int, None] = field(default_factory=dict)
    order_ids: dict[OrderName, int] = field(default_factory=dict)
    algos: dict[int, AlgoRow] = field(default_factory=dict)
    open_algos: dict[int, None] = field(default_factory=dict)
    algo_ids: dict[str, int] = field(default_factory=dict)
    slots: dict[Family, int] = field(default_factory=dict)
    released: dict[Family, int] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    incomes: list[Income] = field(default_factory=list)
    totals: dict[IncomeKind, int] = field(default_factory=dict)
    updated_ms: int = 0
    restricted: int = 0
    called: tuple[Slot, ...] = ()
    liquidating_until_ms: int = 0

    def leg(self, symbol: str, position_side: PositionSide) -> Leg:
        """The position slot, made when first asked for."""
        leg = self.legs.get((symbol, position_side))
        if leg is None:
            leg = self.legs[symbol, position_side] = Leg(symbol, position_side, isolated=self.setting(symbol).isolated)
        return leg

    def amount(self, symbol: str, position_side: PositionSide) -> int:
        """Signed amount of a position slot; 0 if flat."""
        leg = self.legs.get((symbol, position_side))
        return leg.amount if leg else 0

    def setting(self, symbol: str) -> SymbolSettings:
        """Settings of a symbol, made when first asked for."""
        return self.settings.setdefault(symbol, SymbolSettings())

    def open_legs(self) -> Iterator[Leg]:
        """Positions that are not flat."""
        return (leg for leg in self.legs.values() if leg.amount)

    def resting(self, symbol: str | None = None) -> list[OrderRow]:
        """Open regular orders, oldest first."""
        rows = (self.orders[i] for i in self.open_orders)
        return [row for row in rows if symbol in (None, row.symbol)]

    def waiting(self, symbol: str | None = None) -> list[AlgoRow]:
        """Open conditional orders, oldest first."""
        rows = (self.algos[i] for i in self.open_algos)
        return [row for row in rows if symbol in (None, row.symbol)]

    @property
    def cross_wallet(self) -> int:
        """Wallet without what isolated positions set aside."""
        return self.wallet - sum(leg.isolated_wallet for leg in self.legs.values())

    def clone(self) -> "Account":
        """An independent copy; rows are frozen and shared."""
        return replace(
            self,
            legs={slot: replace(leg) for slot, leg in self.legs.items()},
            settings={symbol: replace(setting) for symbol, setting in self.settings.items()},
            orders=self.orders.copy(),
            open_orders=self.open_orders.copy(),
            order_ids=self.order_ids.copy(),
            algos=self.algos.copy(),
            open_algos=self.open_algos.copy(),
            algo_ids=self.algo_ids.copy(),
            slots=self.slots.copy(),
            released=self.released.copy(),
            trades=self.trades.copy(),
            incomes=self.incomes.copy(),
            totals=self.totals.copy(),
        )

    def credit(self, kind: IncomeKind, amount: int) -> None:
        """Change the wallet, and the running total of its kind: the wallet is always the sum of the totals."""
        self.wallet += amount
        self.totals[kind] = self.totals.get(kind, 0) + amount
