"""The regular order book: market and limit orders.

Over 300 lines: what admits an order and what becomes of it lean on the same few rules.
"""

from dataclasses import replace

from qtkit.core.matching import gap_exceeds, notional, reducible
from qtkit.core.model import E8, OrderKind, OrderSide, OrderStatus, PositionSide
from qtkit.paper import filters, margin
from qtkit.paper.account import Account, Leg
from qtkit.paper.ledger import Ledger
from qtkit.paper.market import Market
from qtkit.paper.rows import ExchangeError, Execution, NewOrder, OrderRow, OrderUpdate, TimeInForce


class RegularBook(Ledger):
    """Orders of ``POST /fapi/v1/order``. See ``Exchange`` for the whole."""

    def submit(self, account: Account, new: NewOrder) -> OrderRow:
        """Place a market or limit order; answers it as it is after matching.

        Raises ``ExchangeError``: -1121, -4120 (conditional type), -4061/-1106 (position side), -4015/-4116 (client id), -1102, the
        filters, -2022/-4118 (reduce-only), -4164, -4016/-4024/-4131, -2025, -2027, -2019, -5021/-5022, -2023 (in liquidation),
        -4140, -4087/-4192/-4400/-4401 (may only reduce).
        """
        row = self._enter(account, self._draft(account, new))
        self._done()
        return account.orders[row.order_id]

    def check(self, account: Account, new: NewOrder) -> OrderRow:
        """The order that ``submit`` would place, without an id, or what it would raise; nothing is placed (``order/test``)."""
        return self._draft(account, new)

    def amend(
        self,
        account: Account,
        symbol: str,
        *,
        side: OrderSide,
        quantity: E8,
        price: E8,
        order_id: int | None = None,
        client_id: str | None = None,
    ) -> OrderRow:
        """Change price and quantity of a resting limit order; a quantity already filled cancels it.

        A reducing order is cut to the position. Raises -2013 (no such open order), -5027 (nothing changes), -5024 (halted), -5029 (too
        small), -5022 (post-only would take) and what ``submit`` raises for filters, position and margin.
        """
        row = self._find(account, symbol, order_id, client_id, code=-2013)
        market = self._market(symbol)
        if row.status.terminal or row.side is not side or row.kind is not OrderKind.LIMIT:
            raise ExchangeError(-2013, "Order does not exist.")
        changed = self._changed(account, market, row, quantity, price)
        market.last_waits.discard(("order", account.name, row.order_id))
        account.orders[row.order_id] = changed
        if changed.quantity <= row.executed:
            self._close_order(account, changed, OrderStatus.CANCELED)
        else:
            self._tell_order(account, changed, Execution.AMENDMENT)
            self._match(account, market, changed)
        self._done()
        return account.orders[row.order_id]

    def _changed(self, account: Account, market: Market, row: OrderRow, quantity: E8, price: E8) -> OrderRow:
        """The resting order as it is asked to be, or the refusal."""
        filters.quantity(market.facts, quantity, market=False)
        filters.price(market.facts, price, "price")
        filters.percent_price(market.facts, row.side, price, market.mark)
        if (quantity, price) == (row.quantity, row.price):
            raise ExchangeError(-5027, "No need to modify the order.")
        lowers = margin.reduces(account.hedge, row)
        filters.amended(market.facts, None if lowers else notional(price, quantity), halted=row.symbol in self.halted)
        if lowers:
            quantity = E8(self._clamped(account, row.symbol, row.position_side, row.side, quantity, without=row.order_id))
        changed = replace(row, quantity=quantity, price=price, updated_ms=self.now_ms)
        if quantity > row.executed:
            self._require_postable(market, changed)
            self._require_margin(account, market, changed, replaces=True)
        return changed

    def cancel(self, account: Account, symbol: str, *, order_id: int | None = None, client_id: str | None = None) -> OrderRow:
        """Cancel an open order by either id. Raises -2011 if there is none."""
        row = self._find(account, symbol, order_id, client_id, code=-2011)
        if row.status.terminal:
            raise ExchangeError(-2011, "Unknown order sent.")
        row = self._close_order(account, row, OrderStatus.CANCELED)
        self._done()
        return row

    def cancel_all(self, account: Account, symbol: str) -> tuple[OrderRow, ...]:
        """Cancel all open regular orders of a symbol; conditional orders stay."""
        self._market(symbol)
        rows = tuple(self._close_order(account, row, OrderStatus.CANCELED) for row in account.resting(symbol))
        self._done()
        return rows

    def order(self, account: Account, symbol: str, *, order_id: int | None = None, client_id: str | None = None) -> OrderRow:
        """An order by either id, in any state; by client id the newest one. Raises -2013."""
        return self._find(account, symbol, order_id, client_id, code=-2013)

    def open_orders(self, account: Account, symbol: str | None = None) -> tuple[OrderRow, ...]:
        """Open regular orders, oldest first."""
        if symbol is not None:
            self._market(symbol)
        return tuple(account.resting(symbol))

    def order_history(self, account: Account, symbol: str | None = None) -> tuple[OrderRow, ...]:
        """All regular orders in any state, oldest first; children of conditional orders included."""
        return tuple(row for row in account.orders.values() if symbol in (None, row.symbol) and not self._forgotten(row))

    def _forgotten(self, row: OrderRow) -> bool:
        return row.status.terminal and filters.forgotten(self.now_ms - row.created_ms, filled=row.executed > 0)

    def _find(self, account: Account, symbol: str, order_id: int | None, client_id: str | None, *, code: int) -> OrderRow:
        self._market(symbol)
        if order_id is None and not client_id:
            raise filters.missing("origClientOrderId")
        found = order_id if order_id is not None else account.order_ids.get((symbol, client_id or ""))
        row = account.orders.get(found) if found is not None else None
        if row is None or row.symbol != symbol or self._forgotten(row):
            raise ExchangeError(code, "Order does not exist." if code == -2013 else "Unknown order sent.")
        return row

    # admission

    def _draft(self, account: Account, new: NewOrder) -> OrderRow:
        """The order that a request asks for, or the refusal."""
        market = self._market(new.symbol)
        if new.kind.conditional:
            raise ExchangeError(-4120, "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.")
        filters.close_position(new, account.hedge)
        position_side = filters.position_side(new, account.hedge, self.rules.hedge_reduce_only_code)
        filters.standing(account, self.now_ms)
        filters.client_id(new)
        self._require_new_order_id(account, new.client_id)
        market.require_price()
        is_market = new.kind is OrderKind.MARKET
        quantity, price = self._sized(account, market, new, position_side)
        if len(account.resting(new.symbol)) >= self.rules.max_orders:
            raise ExchangeError(-2025, "Reach max open order limit.")
        row = OrderRow(
            account=account.name,
            order_id=0,
            client_id=new.client_id,
            symbol=new.symbol,
            side=new.side,
            position_side=position_side,
            kind=new.kind,
            origin=new.kind,
            time_in_force=TimeInForce.GTC if is_market else new.time_in_force or TimeInForce.GTC,
            quantity=E8(quantity),
            price=E8(price),
            reduce_only=bool(new.reduce_only),
            good_till_ms=0 if is_market else filters.good_till(new, self.now_ms),
            created_ms=self.now_ms,
            updated_ms=self.now_ms,
        )
        self._require_postable(market, row)
        self._require_margin(account, market, row)
        return row

    def _sized(self, account: Account, market: Market, new: NewOrder, position_side: PositionSide) -> tuple[int, int]:
        """Quantity and price (0 at the market) within the filters; what reduces is cut to the position."""
        is_market = new.kind is OrderKind.MARKET
        quantity = filters.quantity(market.facts, new.quantity, market=is_market)
        price = 0 if is_market else filters.price(market.facts, new.price, "price")
        if not is_market:
            filters.percent_price(market.facts, new.side, price, market.mark)
        if new.reduce_only or margin.closes_leg(account.hedge, position_side, new.side):
            return self._clamped(account, new.symbol, position_side, new.side, quantity), price
        filters.min_notional(market.facts, notional(price or market.mark, quantity))
        return quantity, price

    def _require_new_order_id(self, account: Account, client_id: str) -> None:
        if client_id and any(account.orders[number].client_id == client_id for number in account.open_orders):
            raise ExchangeError(-4116, "ClientOrderId is duplicated.")

    def _reserved(self, account: Account, symbol: str, position_side: PositionSide, side: OrderSide, *, without: int = 0) -> int:
        """Quantity that resting reducing orders of this slot and side hold, the one of that id apart."""
        return sum(
            row.remaining
            for row in account.resting(symbol)
            if (row.position_side, row.side) == (position_side, side) and row.order_id != without and margin.reduces(account.hedge, row)
        )

    def _clamped(
        self, account: Account, symbol: str, position_side: PositionSide, side: OrderSide, quantity: int, *, without: int = 0
    ) -> int:
        """A reducing quantity cut to the position: -2022 without one, -4118 if resting reduce-only orders hold it."""
        held = reducible(account.amount(symbol, position_side), side)
        if not held:
            raise ExchangeError(-2022, "ReduceOnly Order is rejected.")
        quantity = min(quantity, held)
        if self.rules.resting_reserves and quantity + self._reserved(account, symbol, position_side, side, without=without) > held:
            raise ExchangeError(-4118, "ReduceOnly Order Failed. Please check your existing position and open orders.")
        return quantity

    def _require_postable(self, market: Market, row: OrderRow) -> None:
        """What time in force and the take bound forbid: -4131, -5021, -5022."""
        if row.kind is OrderKind.MARKET:
            price = self._taker_price(market, row.side)
            if self.rules.take_bound and gap_exceeds(price, market.mark, market.facts.market_take_bound):
                raise ExchangeError(-4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit.")
            return
        if row.time_in_force is TimeInForce.GTX and self._crosses(market, row):
            raise ExchangeError(-5022, "Due to the order could not be executed as maker, the Post Only order will be rejected.")
        if row.time_in_force is TimeInForce.FOK and market.ladder(row.side, self.now_ms).within(row.price) < row.remaining:
            raise ExchangeError(-5021, "Due to the order could not be filled immediately, the FOK order has been rejected.")

    def _require_margin(self, account: Account, market: Market, row: OrderRow, *, replaces: bool = False) -> None:
        """What adds to a position must be allowed (-4140, -4400 and others), needs room in its bracket (-2027) and margin (-2019).

        Cost of an order: the margin that its slot holds more, and its loss at the mark (Binance, "cost required to open a position").
        ``replaces``: the row is a change of the resting order of its id.
        """
        opened = margin.opening(account, row)
        if not opened:
            return
        filters.may_open(account, halted=row.symbol in self.halted)
        price = row.price or self._taker_price(market, row.side, row.remaining)
        amount = account.amount(row.symbol, row.position_side)
        same = amount and (amount > 0) is (row.side is OrderSide.BUY)
        if notional(price, opened + (abs(amount) if same else 0)) > market.facts.max_notional(account.setting(row.symbol).leverage):
            raise ExchangeError(-2027, "Exceeded the maximum allowable position at current leverage.")
        worse = price - market.mark if row.side is OrderSide.BUY else market.mark - price
        asked = replace(row, price=E8(price))
        before, after = margin.order_margins(account, self._markets, asked, without=row.order_id if replaces else 0)
        need = after - before + max(notional(worse, opened), 0)
        if need > margin.available(account, self._markets, orders=before):
            raise ExchangeError(-2019, "Margin is insufficient.")

    # life

    def _enter(self, account: Account, draft: OrderRow, *, dead: bool = False) -> OrderRow:
        """Give the order its id if it has none, tell it, match it; a ``dead`` one expires at once."""
        market = self._markets[draft.symbol]
        order_id = draft.order_id or self._id()
        row = replace(draft, order_id=order_id, client_id=draft.client_id or f"web_{order_id}")
        account.orders[order_id] = row
        account.open_orders[order_id] = None
        account.order_ids[row.symbol, row.client_id] = order_id
        self._until(row, order_id)
        self._tell_order(account, row, Execution.NEW)
        if dead:
            return self._close_order(account, row, OrderStatus.EXPIRED)
        if row.kind is OrderKind.MARKET:
            return self._take(account, market, row, market.take_limit(row.side, bounded=self.rules.take_bound), rest=False)
        return self._match(account, market, row)

    def _match(self, account: Account, market: Market, row: OrderRow) -> OrderRow:
        rest = row.time_in_force not in (TimeInForce.IOC, TimeInForce.FOK)
        return self._take(account, market, row, row.price, rest=rest)

    def _take(self, account: Account, market: Market, row: OrderRow, limit: int, *, rest: bool) -> OrderRow:
        """Sweep what the book holds up to the limit, a trade for each level; the remainder rests or expires."""
        for price, quantity in market.take(row.side, row.remaining, limit, self.now_ms):
            row = self._fill(account, row, quantity, price, maker=False)
        if row.status.terminal:
            return row
        return self._rest(account, market, row) if rest else self._close_order(account, row, OrderStatus.EXPIRED)

    def _crosses(self, market: Market, row: OrderRow) -> bool:
        return bool(market.ladder(row.side, self.now_ms).sweep(row.remaining, row.price))

    def _rest(self, account: Account, market: Market, row: OrderRow) -> OrderRow:
        """Wait until the last price has gone beyond the limit, through those who stand in front."""
        queue = market.liquidity.queue_ticks * market.tick
        buying = row.side is OrderSide.BUY
        market.last_waits.add(("order", account.name, row.order_id), row.price - queue if buying else row.price + queue, rising=not buying)
        return row

    def _fill_resting(self, account: Account, market: Market, order_id: int) -> None:
        """A price went through a resting limit order: it fills at its limit, as maker, as far as depth and position allow."""
        row = account.orders[order_id]
        if row.status.terminal:
            return
        quantity = min(row.remaining, market.brought(row.side, row.price))
        if margin.reduces(account.hedge, row):
            held = reducible(account.amount(row.symbol, row.position_side), row.side)
            if not held:
                self._close_order(account, row, OrderStatus.EXPIRED)
                return
            quantity = min(quantity, held)
        if quantity:
            row = self._fill(account, row, quantity, row.price, maker=True)
        if not row.status.terminal:
            self._rest(account, market, row)

    def _tell_order(self, account: Account, row: OrderRow, execution: Execution) -> None:
        self._tell(OrderUpdate(account=account.name, order=row, execution=execution, trade=None, at_ms=self.now_ms))

    def _close_order(self, account: Account, row: OrderRow, status: OrderStatus) -> OrderRow:
        row = replace(account.orders[row.order_id], status=status, updated_ms=self.now_ms)
        account.orders[row.order_id] = row
        account.open_orders.pop(row.order_id, None)
        self._markets[row.symbol].last_waits.discard(("order", account.name, row.order_id))
        self._tell_order(account, row, Execution.CANCELED if status is OrderStatus.CANCELED else Execution.EXPIRED)
        self._order_ended(account, row)
        return row

    def _position_ended(self, account: Account, leg: Leg, closing: OrderSide) -> None:
        """Resting reducing orders end with the position they were to reduce."""
        for row in account.resting(leg.symbol):
            if row.position_side is leg.position_side and row.side is closing and margin.reduces(account.hedge, row):
                self._close_order(account, row, OrderStatus.EXPIRED)
