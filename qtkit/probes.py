"""The canary's hands: far orders under its own ids, what became of them, and taking all of them away again.

Every id is a pure function of the run, so that whoever comes after a crash knows them by their mark: our desk's tag and a leg that only
the canary uses. Nothing else is ever cancelled.
"""

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from qtkit.core.ids import client_order_id, parse_client_order_id
from qtkit.core.model import (
    ONE,
    Instrument,
    Lots,
    Order,
    OrderKind,
    PolicyError,
    Position,
    PositionSide,
    Side,
    Ticks,
    TriggerBy,
)
from qtkit.venue.gateway import Gateway, GatewayError, Quote, Refused, Unavailable, Unknown

STOP, FLOOR, TARGET, LIMIT, ENTRY, EXIT = "cs", "cf", "ct", "cl", "ce", "cx"
LEGS = frozenset({STOP, FLOOR, TARGET, LIMIT, ENTRY, EXIT})
"""Legs of the canary: the desk's own are f0, s0, t1 and so on."""

FAR_BPS = 2_500  # from the mark: nothing comes there within the minute that a run takes
STEP_BPS = 100  # how far an order is moved
SEEN_WITHIN_S = 10.0  # what is not listed by then is not listed
GONE_AFTER_S = 6.0  # an order whose answer was lost cannot come any more: the receive window is 4 s
CLEAN_WITHIN_S = 30.0
POLL_S = 0.1


class NotListed(Exception):
    """An order was accepted, and no list shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of placing an order. ``code`` is the exchange's refusal, None if it was accepted; ``lag_ms`` from answer to list."""

    order: Order
    code: int | None = None
    text: str = ""
    lag_ms: int = 0

    @property
    def accepted(self) -> bool:
        """True if the exchange took it."""
        return self.code is None


@dataclass(slots=True)
class Hands:
    """One run's orders on one symbol. ``fence`` raises when this process no longer owns the account; ``lags`` in ms."""

    gateway: Gateway
    tag: str
    uid: str
    instrument: Instrument
    side: Side
    slot: PositionSide
    quote: Quote
    fence: Callable[[], object]
    sent: dict[str, tuple[Order, float]] = field(default_factory=dict)
    lags: list[int] = field(default_factory=list)
    revisions: dict[str, int] = field(default_factory=dict)

    # -- what is asked for

    @property
    def lots(self) -> Lots:
        """The smallest size that the exchange takes at every far price, as an entry too."""
        value = self.level(-FAR_BPS if self.side is Side.LONG else 0) * self.instrument.tick * self.instrument.lot // ONE
        return Lots(max(self.instrument.min_lots, -(-self.instrument.min_notional * 105 // 100 // max(1, value)), 1))

    def level(self, bps: int) -> Ticks:
        """A price ``bps`` in favour (negative: against) of the position, from the mark."""
        mark = self.quote.mark or 0
        return Ticks((mark + self.side.sign * mark * bps // 10_000) // self.instrument.tick)

    def order(self, leg: str, *, step: int = 0) -> Order:
        """A far order as the desk builds it, ``step`` moves away from its first place. Only LIMIT and ENTRY can open something."""
        away = FAR_BPS + step * STEP_BPS
        closing = leg not in (LIMIT, ENTRY)
        kind = {STOP: OrderKind.STOP_MARKET, FLOOR: OrderKind.STOP_MARKET, TARGET: OrderKind.TAKE_PROFIT_MARKET, LIMIT: OrderKind.LIMIT}
        trigger = {STOP: -away, FLOOR: -away - FAR_BPS // 2, TARGET: away}.get(leg)
        return Order(
            symbol=self.instrument.symbol, client_id="", kind=kind.get(leg, OrderKind.MARKET),
            side=self.side.closing if closing else self.side.opening, position_side=self.slot,
            lots=Lots(0) if leg == FLOOR else self.lots, trigger=None if trigger is None else self.level(trigger),
            price=self.level(-away) if leg == LIMIT else None, trigger_by=TriggerBy.LAST if leg in (TARGET, LIMIT) else TriggerBy.MARK,
            reduce_only=closing and leg != FLOOR and self.slot is PositionSide.BOTH, close_position=leg == FLOOR,
        )  # fmt: skip

    def next_id(self, leg: str) -> str:
        """The id of the leg's next order."""
        self.revisions[leg] = self.revisions.get(leg, 0) + 1
        return client_order_id(self.tag, self.uid, leg, self.revisions[leg])

    @property
    def cost(self) -> int:
        """What the smallest order comes to as a position, E8 of the quote coin."""
        return self.lots * self.instrument.lot * (self.quote.mark or 0) // ONE

    # -- what is done

    async def place(self, leg: str, *, step: int = 0, client_id: str = "") -> Reply:
        """Send a far order, under a new id unless one is given, and wait until a list shows it. A refusal is an answer.

        Raises ``NotListed``, and ``GatewayError`` where nothing was learned.
        """
        order = replace(self.order(leg, step=step), client_id=client_id or self.next_id(leg))
        return await self.send(order, listed=order.kind is not OrderKind.MARKET)

    async def send(self, order: Order, *, listed: bool) -> Reply:
        """Send any order of ours."""
        self.fence()
        self.sent[order.client_id] = order, time.monotonic()
        try:
            ack = await self.gateway.place(order)
        except Refused as refusal:
            if all(order.client_id != other.client_id for other in await self.resting()):
                del self.sent[order.client_id]
            return Reply(order=order, code=refusal.code, text=refusal.message)
        except Unknown as doubt:
            code = re.search(r"code (-\d+)", str(doubt))
            if code is None or int(code[1]) != -4116:  # an id taken already: Binance says so, and nothing new was placed
                raise
            return Reply(order=order, code=-4116, text=str(doubt))
        if not listed:
            return Reply(order=ack.order)
        return await self._until_listed(order)

    async def _until_listed(self, order: Order) -> Reply:
        since = time.monotonic()
        while (passed := time.monotonic() - since) < SEEN_WITHIN_S:
            found = next((other for other in await self.resting() if other.client_id == order.client_id), None)
            if found is not None:
                self.lags.append(round(1000 * (time.monotonic() - since)))
                return Reply(order=found, lag_ms=self.lags[-1])
            await asyncio.sleep(POLL_S)
        raise NotListed(f"{order.kind.value} {order.client_id} was accepted and no list showed it within {passed:.0f} s")

    async def resting(self) -> tuple[Order, ...]:
        """Every order on the symbol, as read."""
        self.fence()
        return await self.gateway.orders(self.instrument.symbol)

    async def remove(self, *orders: Order) -> None:
        """Cancel orders of ours and read back that they are gone. Raises ``Unavailable`` if they are not within time."""
        left = await take_away(self.gateway, {order.client_id: (order, 0.0) for order in orders}, self.fence)
        for order in orders:
            if order.client_id not in left:
                self.sent.pop(order.client_id, None)
        if left:
            raise Unavailable(f"still resting after its cancel: {', '.join(left)}")

    async def position(self) -> Position | None:
        """The position of this slot, as read."""
        self.fence()
        found = await self.gateway.positions()
        return next((p for p in found if p.symbol == self.instrument.symbol and p.position_side is self.slot), None)

    async def until_held(self, lots: int) -> bool:
        """Wait until the slot holds exactly this many lots; False if it does not within time."""
        end = time.monotonic() + SEEN_WITHIN_S
        while time.monotonic() < end:
            held = await self.position()
            if (0 if held is None else int(held.lots)) == lots:
                return True
            await asyncio.sleep(POLL_S)
        return False

    async def close(self, lots: int) -> None:
        """Close at most this many lots at the market, reduce-only, and read back that they are gone. Raises ``Unavailable`` if not."""
        held = await self.position()
        if held is None or lots <= 0:
            return
        rest, chunk = max(0, held.lots - lots), Lots(min(held.lots, lots))
        for _ in range(3):
            order = replace(self.order(EXIT), side=held.side.closing, lots=chunk, client_id=self.next_id(EXIT))
            with suppress(Unknown):  # read back below
                await self.send(order, listed=False)
            self.sent.pop(order.client_id, None)
            if await self.until_held(rest):
                return
        raise Unavailable(f"{self.instrument.symbol}: the canary's position is still open; close it by hand, {lots} lots at the market")


def is_ours(order: Order, tag: str) -> bool:
    """True for an order that a canary of this desk placed."""
    parsed = parse_client_order_id(order.client_id)
    return parsed is not None and parsed[0] == tag and parsed[1] in LEGS


async def take_away(
    gateway: Gateway, orders: dict[str, tuple[Order, float]], fence: Callable[[], object], *, within_s: float = CLEAN_WITHIN_S
) -> tuple[str, ...]:  # fmt: skip
    """Cancel orders by id until each was read back as ended, or is unknown and cannot come any more. Returns the ids that still rest.

    With each order comes the monotonic time at which it was sent.
    """
    left, end = dict(orders), time.monotonic() + within_s
    while left and time.monotonic() < end:
        for client_id, (order, sent_at) in tuple(left.items()):
            fence()
            with suppress(GatewayError):  # what it says is not believed: the order is read back
                await gateway.cancel(order)
            with suppress(GatewayError):
                found = await gateway.lookup(order.symbol, client_id, conditional=order.kind.conditional)
                if found.status.terminal if found is not None else time.monotonic() - sent_at > GONE_AFTER_S:
                    del left[client_id]
        with suppress(GatewayError):
            for symbol in {order.symbol for order, _ in orders.values()}:
                for order in await gateway.orders(symbol):
                    if order.client_id in orders:
                        left[order.client_id] = order, time.monotonic()
        if left:
            await asyncio.sleep(POLL_S)
    return tuple(sorted(left))


async def instrument_of(gateway: Gateway, symbol: str) -> Instrument:
    """Trading rules of a symbol. Raises ``PolicyError`` with the nearest name."""
    from qtkit.core.names import suggestion

    if symbol not in gateway.instruments:
        raise PolicyError(f"there is no symbol '{symbol}': {suggestion(symbol, gateway.instruments)}")
    return gateway.instruments[symbol]


def difference(found: Order, asked: Order) -> str:
    """Where an order as read is not what was asked for."""
    names = ("side", "position_side", "lots", "trigger", "price", "trigger_by", "reduce_only", "close_position", "price_protect")
    pairs = ((name, getattr(found, name), getattr(asked, name)) for name in names)
    return ", ".join(f"{name} {got} for {want}" for name, got, want in pairs if got != want) or f"{found.remaining} lots left"
