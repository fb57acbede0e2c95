"""The conditional (algo) order book: stops, take-profits and trailing stops, from placement over trigger to the child's end."""

from dataclasses import replace
from typing import NoReturn

from qtkit.core.matching import Trail, fold_trail, gap_exceeds, reached, reducible, rises, trail_trigger
from qtkit.core.model import E8, OrderKind, OrderSide
from qtkit.paper import filters
from qtkit.paper.account import Account, Leg
from qtkit.paper.admission import LIMITS, TRAILING, Admission, family
from qtkit.paper.market import Market
from qtkit.paper.rows import AlgoRow as Row
from qtkit.paper.rows import AlgoStatus, AlgoUpdate, ExchangeError, NewOrder, OrderRow, TimeInForce


class ConditionalBook(Admission):
    """Orders of ``POST /fapi/v1/algoOrder``. See ``Exchange`` for the whole."""

    def submit_algo(self, account: Account, new: NewOrder) -> Row:
        """Place a conditional order; answers it in state NEW. No margin is asked for before the trigger.

        Raises ``ExchangeError``: -1121, -1116 (type), -4061/-1106 (position side), -4015/-4116 (client id), -4136/-4137/-4138
        (close-position), -1102, the filters, -2007/-4135 (trailing), -2021 (already true), -4164, -4045, -4509, -4130, -4118.
        """
        market = self._market(new.symbol)
        row = self._algo_draft(account, market, new)
        self._admit(account, row)
        algo_id = self._id()
        row = replace(row, algo_id=algo_id, client_id=row.client_id or f"web_{algo_id}")
        account.open_algos[algo_id] = None
        account.algo_ids[row.client_id] = algo_id
        if row.close_position:
            account.slots[family(row)] = algo_id
        self._put(account, row)
        self._until(row, algo_id)
        self._wait(account, market, row)
        if row.kind is TRAILING and reached(market.price(row.trigger_by), row.activation, rising=row.side is OrderSide.SELL):
            self._trail(account, market, algo_id)
        self._done()
        return account.algos[algo_id]

    def cancel_algo(self, account: Account, *, algo_id: int | None = None, client_id: str | None = None) -> Row:
        """Cancel an untriggered conditional order. Raises -2011 if there is none; for one in TRIGGERING that or -4117, by rule."""
        row = self._find_algo(account, algo_id, client_id, code=-2011)
        if row.status is AlgoStatus.TRIGGERING and self.rules.cancel_triggering_code == -4117:
            raise ExchangeError(-4117, "Stop order is triggering.")
        if row.status is not AlgoStatus.NEW:
            _unknown(-2011)
        row = self._end(account, row, AlgoStatus.CANCELED)
        self._done()
        return row

    def cancel_all_algos(self, account: Account, symbol: str) -> tuple[Row, ...]:
        """Cancel the untriggered conditional orders of a symbol."""
        self._market(symbol)
        rows = [row for row in account.waiting(symbol) if row.status is AlgoStatus.NEW]
        ended = tuple(self._end(account, row, AlgoStatus.CANCELED) for row in rows)
        self._done()
        return ended

    def algo(self, account: Account, *, algo_id: int | None = None, client_id: str | None = None) -> Row:
        """A conditional order by either id, in any state; by client id the newest one. Raises -2013."""
        return self._find_algo(account, algo_id, client_id, code=-2013)

    def open_algos(self, account: Account, symbol: str | None = None) -> tuple[Row, ...]:
        """Conditional orders in NEW and TRIGGERING, oldest first; without those still invisible (``algo_read_lag_ms``)."""
        if symbol is not None:
            self._market(symbol)
        return tuple(row for row in account.waiting(symbol) if row.visible_ms <= self.now_ms)

    def algo_history(self, account: Account, symbol: str | None = None) -> tuple[Row, ...]:
        """All conditional orders in any state, oldest first."""
        rows = (row for row in account.algos.values() if symbol in (None, row.symbol) and row.visible_ms <= self.now_ms)
        return tuple(row for row in rows if not self._lost(row))

    def _lost(self, row: Row) -> bool:
        ended = not row.status.open and row.status is not AlgoStatus.TRIGGERED
        return ended and filters.forgotten(self.now_ms - row.created_ms, filled=row.actual_quantity > 0)

    def _find_algo(self, account: Account, algo_id: int | None, client_id: str | None, *, code: int) -> Row:
        if algo_id is None and not client_id:
            raise filters.missing("algoId")
        found = algo_id if algo_id is not None else account.algo_ids.get(client_id or "")
        row = account.algos.get(found) if found is not None else None
        if row is None or row.visible_ms > self.now_ms or self._lost(row):
            _unknown(code)
        return row

    # waiting

    def _put(self, account: Account, row: Row) -> None:
        """Store and tell a row."""
        account.algos[row.algo_id] = row
        self._tell(AlgoUpdate(account=account.name, algo=row, at_ms=self.now_ms))

    def _wait(self, account: Account, market: Market, row: Row) -> None:
        """Wait for the price that triggers the order, or that activates a trailing one or moves its peak."""
        waits = market.waits(row.trigger_by)
        if row.kind is not TRAILING:
            rising = rises(row.kind, row.side)
            key = self._key(market, row.trigger, row.trigger_by, rising=rising)
            waits.add(("algo", account.name, row.algo_id), key, rising=rising)
            return
        selling = row.side is OrderSide.SELL
        trail = _trail_of(row)
        trigger = trail_trigger(trail)
        if trigger is None or trail.peak is None:
            waits.add(("peak", account.name, row.algo_id), row.activation, rising=selling)
            return
        waits.add(("peak", account.name, row.algo_id), trail.peak + (1 if selling else -1), rising=selling)
        waits.add(("algo", account.name, row.algo_id), trigger, rising=not selling)

    def _forget(self, account: Account, row: Row) -> None:
        waits = self._markets[row.symbol].waits(row.trigger_by)
        waits.discard(("algo", account.name, row.algo_id))
        waits.discard(("peak", account.name, row.algo_id))

    def _trail(self, account: Account, market: Market, algo_id: int) -> None:
        """A price activates a trailing order or moves its peak."""
        row = account.algos[algo_id]
        if row.status is not AlgoStatus.NEW:
            return
        trail, _ = fold_trail(_trail_of(row), market.price(row.trigger_by))
        moved = replace(row, peak=E8(trail.peak or 0), activated=trail.peak is not None)
        account.algos[algo_id] = moved
        if moved.activated and not row.activated:
            self._put(account, replace(moved, updated_ms=self.now_ms))
        self._wait(account, market, account.algos[algo_id])

    # trigger

    def _trigger_algo(self, account: Account, market: Market, algo_id: int) -> None:
        """The condition is met: forward the order, make its child or say why not."""
        row = account.algos[algo_id]
        if row.status is not AlgoStatus.NEW:
            return
        self._forget(account, row)
        if row.price_protect and gap_exceeds(market.last, market.mark, market.facts.trigger_protect):
            if self.rules.price_protect_ends:
                self._end(account, row, AlgoStatus.EXPIRED, "Price protect")
            else:
                self._wait(account, market, row)
            return
        row = replace(row, status=AlgoStatus.TRIGGERING, triggered_ms=self.now_ms, updated_ms=self.now_ms)
        self._put(account, row)
        if self.hold_trigger is not None and self.hold_trigger(row):
            return
        quantity = self._child_quantity(account, row)
        if not quantity:
            failure = AlgoStatus.EXPIRED if row.close_position else self.rules.reduce_only_failure
            self._end(account, row, failure, "Reduce Only reject")
            return
        child = self._child(row, quantity)
        try:
            self._require_child(account, market, child)
        except ExchangeError as refusal:
            if refusal.code == -4131 and self.rules.take_bound_child:
                self._send_child(account, row, child, dead=True)
                return
            self._end(account, row, AlgoStatus.REJECTED, refusal.message)
            return
        self._send_child(account, row, child)

    def _child_quantity(self, account: Account, row: Row) -> int:
        """The quantity at the trigger: a reducing order is cut to the position, a close-position order takes all of it."""
        if not self._lowers(account, row):
            return row.quantity
        held = reducible(account.amount(row.symbol, row.position_side), row.side)
        if self.rules.reserves_block_trigger:
            held = max(held - self._reserved(account, row.symbol, row.position_side, row.side), 0)
        return held if row.close_position else min(row.quantity, held)

    def _child(self, row: Row, quantity: int) -> OrderRow:
        """The regular order that a triggered one becomes; it keeps the client id."""
        limit = row.kind in LIMITS
        return OrderRow(
            account=row.account,
            order_id=0,
            client_id=row.client_id,
            symbol=row.symbol,
            side=row.side,
            position_side=row.position_side,
            kind=OrderKind.LIMIT if limit else OrderKind.MARKET,
            origin=row.kind,
            time_in_force=row.time_in_force if limit and row.time_in_force is not TimeInForce.GTE_GTC else TimeInForce.GTC,
            quantity=E8(quantity),
            price=row.price,
            reduce_only=row.reduce_only,
            close_position=row.close_position,
            trigger=row.trigger,
            trigger_by=row.trigger_by,
            price_protect=row.price_protect,
            algo_id=row.algo_id,
            good_till_ms=row.good_till_ms if limit else 0,
            created_ms=self.now_ms,
            updated_ms=self.now_ms,
        )

    def _require_child(self, account: Account, market: Market, child: OrderRow) -> None:
        filters.standing(account, self.now_ms)
        if child.kind is OrderKind.LIMIT:
            filters.percent_price(market.facts, child.side, child.price, market.mark)
        self._require_postable(market, child)
        self._require_margin(account, market, child)

    def _send_child(self, account: Account, row: Row, child: OrderRow, *, dead: bool = False) -> None:
        """Enter the child; a ``dead`` one expires unfilled."""
        child = replace(child, order_id=self._id())  # the parent must name its child before the child can fill
        row = replace(row, order_id=child.order_id, actual_kind=child.kind)
        account.algos[row.algo_id] = row
        if not self.rules.trade_before_algo:
            self._tell_triggered(account, row)
        self._enter(account, child, dead=dead)
        row = account.algos[row.algo_id]
        if row.status is AlgoStatus.TRIGGERING:
            self._tell_triggered(account, row)

    def _tell_triggered(self, account: Account, row: Row) -> Row:
        row = replace(row, status=AlgoStatus.TRIGGERED, updated_ms=self.now_ms)
        self._leave(account, row)
        self._put(account, row)
        return row

    # ends

    def _order_ended(self, account: Account, row: OrderRow) -> None:
        """The child of a conditional order ended: so does its parent."""
        parent = account.algos.get(row.algo_id)
        if parent is None:
            return
        if parent.status is AlgoStatus.TRIGGERING:
            parent = self._tell_triggered(account, parent)
        for each in account.resting(row.symbol):
            if each.client_id == row.client_id:  # one of the same id was hidden behind the child
                account.order_ids[row.symbol, row.client_id] = each.order_id
        ended = replace(parent, status=AlgoStatus.FINISHED, actual_quantity=row.executed, actual_price=row.average, updated_ms=self.now_ms)
        self._put(account, ended)

    def _position_ended(self, account: Account, leg: Leg, closing: OrderSide) -> None:
        """Orders that live with the position (GTE_GTC) expire; plain reduce-only conditionals stay behind."""
        super()._position_ended(account, leg, closing)
        for row in account.waiting(leg.symbol):
            lives_with_it = row.close_position or row.time_in_force is TimeInForce.GTE_GTC
            mine = row.position_side is leg.position_side and row.side is closing
            if lives_with_it and mine and row.status is AlgoStatus.NEW:
                self._end(account, row, AlgoStatus.EXPIRED)

    def _end(self, account: Account, row: Row, status: AlgoStatus, reason: str = "") -> Row:
        """A conditional order ends without a child."""
        self._forget(account, row)
        self._leave(account, row)
        if status is AlgoStatus.CANCELED and row.close_position and self.rules.slot_lag_ms:
            account.released[family(row)] = self.now_ms + self.rules.slot_lag_ms
        row = replace(row, status=status, reason=reason, updated_ms=self.now_ms)
        self._put(account, row)
        return row

    def _leave(self, account: Account, row: Row) -> None:
        """Out of the list of open orders and of its close-position slot."""
        account.open_algos.pop(row.algo_id, None)
        if account.slots.get(family(row)) == row.algo_id:
            del account.slots[family(row)]


def _trail_of(row: Row) -> Trail:
    return Trail(side=row.side, callback=row.callback or 0, activation=row.activation, peak=row.peak if row.activated else None)


def _unknown(code: int) -> NoReturn:
    raise ExchangeError(code, "Order does not exist." if code == -2013 else "Unknown order sent.")
