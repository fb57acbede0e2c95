"""The ground floor of the exchange: fills, wallets, funding, liquidation, and the order in which events are told.

The order books are built on it; what they must do when an order or a position ends is asked back through abstract methods.
Over 300 lines: everything that moves money stands in one place.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from heapq import heappush

from qtkit.core.matching import fee, funding, notional
from qtkit.core.model import E8, ONE, OrderKind, OrderSide, OrderStatus, Ticks, TriggerBy
from qtkit.paper import margin
from qtkit.paper.account import Account, Leg, Slot
from qtkit.paper.candles import Candle, FundingRow
from qtkit.paper.facts import Facts
from qtkit.paper.market import HOUR_MS, Guard, Market
from qtkit.paper.rows import (
    LIQUIDATION,
    AccountEvent,
    AccountUpdate,
    AlgoRow,
    ExchangeError,
    Execution,
    Income,
    IncomeKind,
    MarginCall,
    OrderRow,
    OrderUpdate,
    Reason,
    TimeInForce,
    Trade,
)
from qtkit.paper.rules import Rules

PriceListener = Callable[[str, Ticks, E8, int], None]
Deadline = tuple[int, str, bool, int]  # time, account, conditional?, id
BarListener = Callable[[str, TriggerBy, Candle], None]


class Ledger(ABC):
    """Accounts and markets, and everything that moves money. See ``Exchange`` for what is public."""

    def __init__(self, rules: Rules, seed: int, start_ms: int, facts: Mapping[str, Facts]) -> None:
        self.rules = rules
        self.facts = facts
        self.now_ms = start_ms
        self.accounts: dict[str, Account] = {}
        self.listeners: list[Callable[[AccountEvent], None]] = []
        self.price_listeners: list[PriceListener] = []
        self.bar_listeners: list[BarListener] = []
        self.hold_trigger: Callable[[AlgoRow], bool] | None = None
        self.halted: set[str] = set()
        self._markets = {symbol: Market(row, rules, start_ms) for symbol, row in facts.items()}
        self._last_id = 1_000_000_000 + seed % 1_000_000 * 1_000
        self._deadlines: dict[str, list[Deadline]] = {}
        self._pending: list[AccountEvent] = []
        self._dirty: dict[str, None] = {}
        self._telling = False

    @abstractmethod
    def _order_ended(self, account: Account, row: OrderRow) -> None:
        """A regular order became terminal."""

    @abstractmethod
    def _position_ended(self, account: Account, leg: Leg, closing: OrderSide) -> None:
        """A position went flat or changed its direction; ``closing`` is the side that closed it."""

    @abstractmethod
    def _close_order(self, account: Account, row: OrderRow, status: OrderStatus) -> OrderRow:
        """End an open regular order without a fill."""

    def _market(self, symbol: str) -> Market:
        market = self._markets.get(symbol)
        if market is None:
            raise ExchangeError(-1121, "Invalid symbol.")
        return market

    def _id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _until(self, row: OrderRow | AlgoRow, number: int) -> None:
        """An order with a date wakes its market then; ``Exchange`` lets it expire."""
        if row.good_till_ms:
            heappush(self._deadlines.setdefault(row.symbol, []), (row.good_till_ms, row.account, isinstance(row, AlgoRow), number))
            self._markets[row.symbol].wake_ms = min(self._markets[row.symbol].wake_ms, row.good_till_ms)

    def _tell(self, event: AccountEvent) -> None:
        if self.listeners:
            self._pending.append(event)

    def _done(self) -> None:
        """Last act of every public call: margin of what was touched, then events; listeners may call the exchange again."""
        while self._dirty:
            name, _ = self._dirty.popitem()
            self._check_margin(self.accounts[name])
        if self._telling:
            return
        self._telling = True
        try:
            while self._pending:
                event = self._pending.pop(0)
                for listener in tuple(self.listeners):
                    listener(event)
        finally:
            self._telling = False

    # fills

    def _taker_price(self, market: Market, side: OrderSide, quantity: int = 0) -> int:
        """The best price of the far side, or what a quantity costs there on average, rounded against the taker."""
        ladder = market.ladder(side, self.now_ms)
        return ladder.average(quantity, market.tick) if quantity else ladder.quote()[0]

    def _income(self, account: Account, symbol: str, kind: IncomeKind, amount: int, trade_id: int = 0) -> None:
        account.credit(kind, amount)
        account.updated_ms = self.now_ms
        if amount:
            row = Income(income_id=self._id(), symbol=symbol, kind=kind, amount=E8(amount), time_ms=self.now_ms, trade_id=trade_id)
            account.incomes.append(row)

    def _fill(self, account: Account, row: OrderRow, quantity: int, price: int, *, maker: bool, liquidation: bool = False) -> OrderRow:
        """Fill a part of an order, book it, tell it; answers the order as it is afterwards, when its consequences are worked off."""
        leg = account.leg(row.symbol, row.position_side)
        before = leg.amount
        if not before:
            leg.isolated = account.setting(row.symbol).isolated
        closed, realised = leg.fill(quantity if row.side is OrderSide.BUY else -quantity, price)
        if leg.isolated:
            self._move_isolated(account, leg, before, closed, quantity - closed, price)
        rules = self._markets[row.symbol].facts.instrument
        quote = notional(price, quantity)
        commission = 0 if liquidation else fee(quote, rules.maker_fee if maker else rules.taker_fee)
        leg.paid = leg.paid + commission if leg.amount else 0
        leg.realised_total += realised
        leg.updated_ms = self.now_ms
        trade = Trade(
            trade_id=self._id(),
            order_id=row.order_id,
            client_id=row.client_id,
            symbol=row.symbol,
            side=row.side,
            position_side=row.position_side,
            price=E8(price),
            quantity=E8(quantity),
            quote=E8(quote),
            commission=E8(commission),
            realised=E8(realised),
            maker=maker,
            time_ms=self.now_ms,
        )
        account.trades.append(trade)
        self._income(account, row.symbol, IncomeKind.REALIZED_PNL, realised, trade.trade_id)
        self._income(account, row.symbol, IncomeKind.COMMISSION, -commission, trade.trade_id)
        row = self._tell_fill(account, leg, row, trade, Execution.CALCULATED if liquidation else Execution.TRADE)
        if row.status is OrderStatus.FILLED:
            self._order_ended(account, row)
        if before and (not leg.amount or (leg.amount > 0) is not (before > 0)):
            self._position_ended(account, leg, row.side)
        return account.orders[row.order_id]

    def _tell_fill(self, account: Account, leg: Leg, row: OrderRow, trade: Trade, execution: Execution) -> OrderRow:
        executed, quote = row.executed + trade.quantity, row.quote + trade.quote
        row = replace(
            row,
            executed=E8(executed),
            quote=E8(quote),
            average=E8((2 * quote * ONE + executed) // (2 * executed)),
            status=OrderStatus.FILLED if executed >= row.quantity else OrderStatus.PARTIALLY_FILLED,
            updated_ms=self.now_ms,
        )
        account.orders[row.order_id] = row
        if row.status is OrderStatus.FILLED:
            account.open_orders.pop(row.order_id, None)
        self._tell_account(account, Reason.ORDER, (leg,))
        self._tell(OrderUpdate(account=account.name, order=row, execution=execution, trade=trade, at_ms=self.now_ms))
        self._dirty[account.name] = None
        return row

    def _move_isolated(self, account: Account, leg: Leg, before: int, closed: int, opened: int, price: int) -> None:
        """Release margin with what was closed, set margin aside for what was opened."""
        if closed:
            leg.isolated_wallet -= leg.isolated_wallet * closed // abs(before)
        if opened:
            leg.isolated_wallet += margin.initial(notional(price, opened), account.setting(leg.symbol).leverage)

    def _tell_account(self, account: Account, reason: Reason, legs: tuple[Leg, ...], change: int = 0) -> None:
        if not self.listeners:
            return
        self._tell(
            AccountUpdate(
                account=account.name,
                reason=reason,
                wallet=E8(account.wallet),
                cross_wallet=E8(account.cross_wallet),
                change=E8(change),
                positions=tuple(margin.position_row(account, leg, self._markets) for leg in legs),
                at_ms=self.now_ms,
            )
        )

    # funding

    def _fund(self, market: Market) -> None:
        """Settle every funding time that has passed, at the present mark."""
        while market.funding_ms <= self.now_ms:
            at_ms, market.funding_ms = market.funding_ms, market.funding_ms + market.funding_hours * HOUR_MS
            if not market.mark:
                continue
            market.fundings.append(FundingRow(symbol=market.symbol, rate=E8(market.funding_rate), mark=E8(market.mark), time_ms=at_ms))
            if not market.funding_rate:
                continue
            for account in self.accounts.values():
                for leg in list(account.open_legs()):
                    if leg.symbol == market.symbol:
                        self._fund_leg(account, leg, market)

    def _fund_leg(self, account: Account, leg: Leg, market: Market) -> None:
        payment = funding(leg.amount, market.mark, market.funding_rate)
        leg.paid -= payment
        if leg.isolated:
            leg.isolated_wallet += payment
        self._income(account, leg.symbol, IncomeKind.FUNDING_FEE, payment)
        self._tell_account(account, Reason.FUNDING_FEE, (leg,) if leg.isolated else (), payment)
        self._dirty[account.name] = None

    # liquidation

    def _check_margin(self, account: Account) -> None:
        """Liquidate what no longer holds its maintenance margin; then say at which marks to look again."""
        for leg in list(account.open_legs()):
            if leg.isolated and margin.isolated_buffer(leg, self._markets) <= 0:
                self._liquidate_isolated(account, leg)
        if margin.cross_legs(account) and margin.cross_buffer(account, self._markets) <= 0:
            self._liquidate_cross(account)
        self._dirty.pop(account.name, None)
        early = margin.buffers(account, self._markets, self.rules.margin_call or margin.WHOLE)
        self._call_margin(account, early)
        whole = margin.buffers(account, self._markets) if account.called else early
        sharers = len(margin.cross_legs(account))
        for slot, leg in account.legs.items():
            market = self._markets[leg.symbol]
            token: Guard = (account.name, leg.symbol, leg.position_side.value)
            if not leg.amount:
                market.guards.discard(token)
                continue
            buffer = whole[slot] if slot in account.called else early[slot]
            key, rising = margin.guard(leg, buffer, 1 if leg.isolated else sharers, market)
            market.guards.add(token, key, rising=rising)

    def _call_margin(self, account: Account, buffers: Mapping[Slot, int]) -> None:
        """Tell positions that have come near their liquidation, once until they have been further away."""
        before, account.called = account.called, ()
        if self.rules.margin_call:
            account.called = tuple(slot for slot, buffer in buffers.items() if buffer <= 0)
        new = [account.legs[slot] for slot in account.called if slot not in before]
        if new:
            rows = tuple(margin.position_row(account, leg, self._markets) for leg in new)
            wallet = None if all(leg.isolated for leg in new) else E8(account.cross_wallet)
            self._tell(MarginCall(account=account.name, positions=rows, cross_wallet=wallet, at_ms=self.now_ms))

    def _liquidate_isolated(self, account: Account, leg: Leg) -> None:
        collateral = leg.isolated_wallet
        left = collateral + self._liquidate(account, leg)
        self._clear(account, leg, left)

    def _liquidate_cross(self, account: Account) -> None:
        """Open orders go first, then the positions with the greatest loss until the rest holds."""
        for row in account.resting():
            self._close_order(account, row, OrderStatus.CANCELED)
        while cross := margin.cross_legs(account):
            if margin.cross_buffer(account, self._markets) > 0:
                return
            leg = min(cross, key=lambda each: margin.unrealised(each, self._markets))
            self._liquidate(account, leg)
            last = not margin.cross_legs(account)
            self._clear(account, leg, account.cross_wallet if last else max(account.cross_wallet, 0))

    def _liquidate(self, account: Account, leg: Leg) -> int:
        """Close a position at the market, at what all of it costs; answers the profit realised."""
        market = self._markets[leg.symbol]
        account.liquidating_until_ms = self.now_ms + self.rules.liquidation_ms
        side, quantity = OrderSide.SELL if leg.amount > 0 else OrderSide.BUY, abs(leg.amount)
        price = self._taker_price(market, side, quantity)
        market.take(side, quantity, market.take_limit(side, bounded=False), self.now_ms)
        return self._autoclose(account, leg, LIQUIDATION, quantity, price)

    def _autoclose(self, account: Account, leg: Leg, prefix: str, quantity: int, price: int) -> int:
        """Close a part of a position by an order of the exchange's own; answers the profit realised."""
        order_id = self._id()
        side = OrderSide.SELL if leg.amount > 0 else OrderSide.BUY
        row = OrderRow(
            account=account.name,
            order_id=order_id,
            client_id=f"{prefix}{order_id}",
            symbol=leg.symbol,
            side=side,
            position_side=leg.position_side,
            kind=OrderKind.LIMIT,
            origin=OrderKind.LIMIT,
            time_in_force=TimeInForce.IOC,
            quantity=E8(quantity),
            price=E8(price),
            reduce_only=False,
            created_ms=self.now_ms,
            updated_ms=self.now_ms,
        )
        account.orders[order_id] = row
        account.order_ids[row.symbol, row.client_id] = order_id
        self._tell(OrderUpdate(account=account.name, order=row, execution=Execution.NEW, trade=None, at_ms=self.now_ms))
        self._fill(account, row, row.quantity, row.price, maker=False, liquidation=True)
        return account.trades[-1].realised

    def _clear(self, account: Account, leg: Leg, left: int) -> None:
        """The insurance fund takes its fee out of what is left of the margin, or pays what is missing."""
        trade = account.trades[-1]
        charge = min(left, fee(trade.quote, self._markets[leg.symbol].facts.liquidation_fee)) if left > 0 else left
        self._income(account, leg.symbol, IncomeKind.INSURANCE_CLEAR, -charge, trade.trade_id)
        self._tell_account(account, Reason.INSURANCE_CLEAR, (leg,), -charge)
