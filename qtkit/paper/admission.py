"""What the conditional book asks of an order before it rests: shape, filters, position, and the orders already there."""

from qtkit.core.matching import notional, reached, reducible, rises
from qtkit.core.model import E8, ONE, Bps, OrderKind, OrderSide, TriggerBy
from qtkit.paper import filters, margin
from qtkit.paper.account import Account, Family
from qtkit.paper.market import Market
from qtkit.paper.regular import RegularBook
from qtkit.paper.rows import AlgoRow as Row
from qtkit.paper.rows import AlgoStatus, ExchangeError, NewOrder, TimeInForce

TAKE_PROFITS = (OrderKind.TAKE_PROFIT, OrderKind.TAKE_PROFIT_MARKET)
LIMITS = (OrderKind.STOP, OrderKind.TAKE_PROFIT)
TRAILING = OrderKind.TRAILING_STOP_MARKET
CALLBACK_MIN = 10  # bps; Binance, 2026-10
CALLBACK_MAX, CALLBACK_MAX_BEFORE = 2_000, 1_000  # bps
CALLBACK_MAX_SINCE_MS = 1_792_713_600_000  # 2026-10-23 00:00 UTC: 20 % instead of 10 %, Binance change log


class Admission(RegularBook):
    """Refusals of ``POST /fapi/v1/algoOrder``; ``ConditionalBook`` places what passes."""

    def _algo_draft(self, account: Account, market: Market, new: NewOrder) -> Row:
        """The conditional order that a request asks for, or what its shape and the filters refuse."""
        if not new.kind.conditional:
            raise ExchangeError(-1116, "Invalid orderType.")
        filters.close_position(new, account.hedge)
        position_side = filters.position_side(new, account.hedge, self.rules.hedge_reduce_only_code)
        filters.standing(account, self.now_ms)
        filters.client_id(new)
        self._require_new_algo_id(account, new.client_id)
        market.require_price()
        facts, limit = market.facts, new.kind in LIMITS
        quantity = 0 if new.close_position else filters.quantity(facts, new.quantity, market=not limit)
        callback, activation = self._trailing(market, new) if new.kind is TRAILING else (None, 0)
        trigger = 0 if new.kind is TRAILING else self._trigger(market, new)
        price = filters.price(facts, new.price, "price") if limit else 0
        if limit:
            filters.percent_of_stop(facts, new.side, price, trigger)
        return Row(
            account=account.name,
            algo_id=0,
            client_id=new.client_id,
            symbol=new.symbol,
            side=new.side,
            position_side=position_side,
            kind=new.kind,
            time_in_force=self.rules.close_position_tif if new.close_position else new.time_in_force or TimeInForce.GTC,
            quantity=E8(quantity),
            trigger=E8(trigger),
            price=E8(price),
            trigger_by=new.trigger_by,
            reduce_only=bool(new.reduce_only),
            close_position=new.close_position,
            price_protect=new.price_protect,
            callback=callback,
            activation=E8(activation),
            good_till_ms=0 if new.close_position else filters.good_till(new, self.now_ms),
            created_ms=self.now_ms,
            updated_ms=self.now_ms,
            visible_ms=self.now_ms + self.rules.algo_read_lag_ms,
        )

    def _require_new_algo_id(self, account: Account, client_id: str) -> None:
        held = account.algos.get(account.algo_ids.get(client_id, 0))
        if held is not None and (held.status.open or held.status is AlgoStatus.TRIGGERED):
            raise ExchangeError(-4116, "ClientOrderId is duplicated.")

    def _trigger(self, market: Market, new: NewOrder) -> int:
        """A trigger price on the grid and within the band that is not true yet (-2021)."""
        trigger = filters.price(market.facts, new.trigger, "triggerprice", stop=True)
        filters.trigger_band(market.facts, trigger, market.mark, self.rules.trigger_band)
        rising = rises(new.kind, new.side)
        if reached(market.price(new.trigger_by), self._key(market, trigger, new.trigger_by, rising=rising), rising=rising):
            raise self._at_once()
        return trigger

    def _key(self, market: Market, trigger: int, by: TriggerBy, *, rising: bool) -> int:
        """The price of its series at which an order fires: a mark price is compared without what exceeds the price precision."""
        if self.rules.mark_truncated and by is TriggerBy.MARK and not rising:
            return trigger + int(ONE // 10**market.facts.price_precision) - 1
        return trigger

    def _at_once(self) -> ExchangeError:
        if self.rules.immediate_code == -2021:
            return ExchangeError(-2021, "Order would immediately trigger.")
        return ExchangeError(self.rules.immediate_code, "REJECT: take-profit or stop order will be triggered immediately.")

    def _callback_max(self) -> int:
        if self.rules.callback_max is not None:
            return self.rules.callback_max
        return CALLBACK_MAX if self.now_ms >= CALLBACK_MAX_SINCE_MS else CALLBACK_MAX_BEFORE

    def _trailing(self, market: Market, new: NewOrder) -> tuple[Bps, int]:
        """Callback and activation price of a trailing stop; without an activation it is the price at placement."""
        if new.callback is None:
            raise filters.missing("callbackrate")
        if not CALLBACK_MIN <= new.callback <= self._callback_max() or new.callback % self.rules.callback_step:
            raise ExchangeError(-2007, "Invalid callBack rate.")
        if new.trigger is not None:
            raise self._at_once()
        price = market.price(new.trigger_by)
        if new.activation is None:
            return new.callback, price
        if not 0 < new.activation <= market.facts.instrument.max_price * market.tick:
            raise ExchangeError(-4135, "Invalid activation price.")
        activation = filters.price(market.facts, new.activation, "activateprice")
        if reached(price, activation, rising=new.side is OrderSide.SELL):
            raise self._at_once()
        return new.callback, activation

    def _admit(self, account: Account, row: Row) -> None:
        """What the other orders and the position refuse: -4045, -4164, -4509, -4130, -4118."""
        if len(account.open_algos) >= self.rules.max_conditional:
            raise ExchangeError(-4045, "Reach max stop order limit.")
        if not self._lowers(account, row):
            market = self._markets[row.symbol]
            filters.min_notional(market.facts, notional(row.price or row.trigger or market.mark, row.quantity))
        held = reducible(account.amount(row.symbol, row.position_side), row.side)
        if not held and self._needs_position(row):
            raise ExchangeError(
                -4509, "Time in Force (TIF) GTE can only be used with open positions. Please ensure that positions are available."
            )
        if self._slot_taken(account, row):
            raise ExchangeError(-4130, "An open stop or take profit order with GTE and closePosition in the direction is existing.")
        if self.rules.conditional_reserves and held and row.reduce_only:
            kin = family(row)
            reserved = sum(each.quantity for each in account.waiting(row.symbol) if each.reduce_only and family(each) == kin)
            if reserved + row.quantity > held:
                raise ExchangeError(-4118, "ReduceOnly Order Failed. Please check your existing position and open orders.")

    def _lowers(self, account: Account, row: Row) -> bool:
        return row.reduce_only or row.close_position or margin.closes_leg(account.hedge, row.position_side, row.side)

    def _needs_position(self, row: Row) -> bool:
        if row.close_position:
            return not self.rules.close_position_while_flat
        if row.time_in_force is TimeInForce.GTE_GTC:
            return True
        return row.reduce_only and not self.rules.stop_while_flat

    def _slot_taken(self, account: Account, row: Row) -> bool:
        kin = family(row)
        if row.close_position and (kin in account.slots or account.released.get(kin, 0) > self.now_ms):
            return True
        if self.rules.floor_beside_stop or row.kind is TRAILING:
            return False
        if row.close_position:
            rest = (each for each in account.waiting(row.symbol) if self._lowers(account, each) and each.kind is not TRAILING)
            return any(family(each) == kin for each in rest)
        return self._lowers(account, row) and kin in account.slots


def family(row: Row) -> Family:
    """One close-position order may be open per family."""
    return row.symbol, row.position_side, row.side, row.kind in TAKE_PROFITS
