"""The exchange as it would have been: orders that were never sent rest in memory, and the prices of a tape fill them.

It stands where a gateway stands, so that what sends orders sends them here. What a price does to an order is ``core.matching``'s,
what a fill costs is ``core.risk``'s.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace

from qtkit.core.matching import fee, notional, reached, rises
from qtkit.core.model import E8, Bps, Instrument, Key, Lots, Order, OrderKind, OrderStatus, Position, TriggerBy
from qtkit.core.reconcile import STOPS, WOULD_TRIGGER
from qtkit.core.risk import fill_price, slip_of
from qtkit.venue.gateway import Ack, Refused

SLOT_TAKEN = -4130  # Binance: a close-position stop of this side rests already


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A fill that would have been: ``price`` and ``fee`` (E8) with the slippage that a stop of the symbol is expected to have."""

    key: Key
    order: Order
    lots: Lots
    price: E8
    fee: E8
    at_ms: int


@dataclass(slots=True)
class _Prices:
    """The newest prices of a symbol, E8, None before the first; a missing last price is read as the mark price, and the reverse."""

    seen: dict[TriggerBy, int] = field(default_factory=dict)

    def at(self, by: TriggerBy) -> int | None:
        return self.seen.get(by, next(iter(self.seen.values()), None))


class Shadow:
    """One account's orders and positions. ``held`` are the positions as they would be: whoever replays a tape keeps them.

    ``slips`` are what fills of a symbol's stops slipped by (bps), as the book knows them.
    """

    def __init__(self, account: str, slips: Mapping[str, tuple[Bps, ...]]) -> None:
        self.account, self.slips = account, slips
        self.instruments: MutableMapping[str, Instrument] = {}
        self.held: dict[Key, Position] = {}
        self.filled: list[Filled] = []
        self.now_ms = 0
        self._resting: dict[str, dict[str, Order]] = {}
        self._ended: dict[str, Order] = {}
        self._prices: dict[str, _Prices] = {}

    # -- prices

    def last(self, symbol: str) -> E8 | None:
        """What a trade costs now: the last price, the mark price where the tape has no other."""
        price = self._prices.setdefault(symbol, _Prices()).at(TriggerBy.LAST)
        return None if price is None else E8(price)

    def price(self, symbol: str, mark: int | None, last: int | None, at_ms: int) -> None:
        """A price (E8) comes: it fills what it reaches, the nearest first, on the last price before those on the mark price."""
        prices, self.now_ms = self._prices.setdefault(symbol, _Prices()), max(self.now_ms, at_ms)
        news = [(by, price) for by, price in ((TriggerBy.LAST, last), (TriggerBy.MARK, mark)) if price is not None]
        prices.seen.update(news)
        for by, price in news:
            for order in self.reached(symbol, by, price):
                if order.client_id in self._resting[symbol]:
                    self._fill(order)

    def reached(self, symbol: str, by: TriggerBy, price: int) -> list[Order]:
        """The orders that a price (E8) of this series fires, in the order in which it comes to them."""
        tick = self.instruments[symbol].tick if symbol in self.instruments else 1
        fired = [order for order in self.orders(symbol) if order.trigger_by is by and fires(order, price, tick)]
        return sorted(fired, key=lambda order: (order.trigger or 0) * (1 if rises(order.kind, order.side) else -1))

    # -- what a gateway does

    def orders(self, symbol: str) -> tuple[Order, ...]:
        """Orders that rest."""
        return tuple(self._resting.get(symbol, {}).values())

    def of(self, key: Key) -> Iterator[Order]:
        """Orders that rest against a position."""
        return (order for order in self.orders(key.symbol) if order.position_side is key.position_side)

    async def place(self, order: Order) -> Ack:
        """An order comes to rest, or is filled at the market. Raises ``Refused`` as the exchange does."""
        resting = self._resting.setdefault(order.symbol, {})
        if order.kind is OrderKind.MARKET:
            self._fill(order)
            order = self._ended[order.client_id]
        else:
            self._admit(order)
            resting[order.client_id] = order
        return Ack(order=order)

    def _admit(self, order: Order) -> None:
        price = self._prices.setdefault(order.symbol, _Prices()).at(order.trigger_by)
        if price is not None and fires(order, price, self.instruments[order.symbol].tick):
            raise Refused(WOULD_TRIGGER, "Order would immediately trigger.")
        stop = order.close_position and order.kind in STOPS
        if stop and any(o.close_position and o.side is order.side for o in self.orders(order.symbol) if o.kind in STOPS):
            raise Refused(SLOT_TAKEN, "An open stop or take profit order with GTE and closePosition in the direction is existing.")

    async def cancel(self, order: Order) -> None:
        """An order is taken away, if it still rests."""
        self._end(order, OrderStatus.CANCELED)

    async def lookup(self, symbol: str, client_id: str, *, conditional: bool) -> Order | None:
        """What became of an order."""
        return self._ended.get(client_id) or self._resting.get(symbol, {}).get(client_id)

    def forget(self, key: Key) -> None:
        """The position has ended in another way: nothing rests against it any more."""
        self.held.pop(key, None)
        for order in tuple(self.of(key)):
            self._end(order, OrderStatus.CANCELED)

    # -- what becomes of orders

    def _fill(self, order: Order) -> None:
        """All that is left of the position, or as much as the order takes; without a position there is nothing to reduce."""
        key = Key(self.account, order.symbol, order.position_side)
        position, price = self.held.get(key), self.last(order.symbol)
        if position is None or price is None or position.side.closing is not order.side:
            self._end(order, OrderStatus.EXPIRED)
            return
        rules = self.instruments[order.symbol]
        lots = Lots(position.lots if order.close_position else min(order.lots, position.lots))
        slip = slip_of(self.slips.get(order.symbol, ()))
        at = E8(fill_price(position.side.sign, price, slip.used, rules.tick))
        paid = E8(fee(notional(at, lots * rules.lot), rules.taker_fee))
        self._end(order, OrderStatus.FILLED, filled=lots, average=at)
        self.filled.append(Filled(key=key, order=order, lots=lots, price=at, fee=paid, at_ms=self.now_ms))
        if lots < position.lots:
            self.held[key] = replace(position, lots=Lots(position.lots - lots))
            return
        del self.held[key]
        for other in [other for other in self.of(key) if other.close_position]:
            self._end(other, OrderStatus.EXPIRED)  # it lives with the position

    def _end(self, order: Order, status: OrderStatus, *, filled: Lots = Lots(0), average: E8 | None = None) -> None:
        resting = self._resting.setdefault(order.symbol, {})
        if resting.pop(order.client_id, None) is not None or order.kind is OrderKind.MARKET:
            self._ended[order.client_id] = replace(order, status=status, filled=filled, average=average)


def fires(order: Order, price: int, tick: int) -> bool:
    """True if this price (E8) fires the order."""
    return order.trigger is not None and reached(price, order.trigger * tick, rising=rises(order.kind, order.side))
