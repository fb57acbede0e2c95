"""The rules of the paper exchange, told a second time: slow, obvious, and sharing nothing with the engine but its data types.

Every price asks every order. Money is a whole number of 1e-8, worked out in exact fractions and rounded where a rule says so. There is
no index, no event, no book that takes time to recover, and nothing is remembered that can be counted again. Sources: Binance USD-M
documents and FAQ as named in ``qtkit/paper/rules.py`` and ``qtkit/core/matching.py``. Over 300 lines: the rules belong in one place, or
they could not be read beside each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

from qtkit.core.model import OrderKind, OrderSide, PositionSide, TriggerBy
from qtkit.paper.facts import Facts
from qtkit.paper.rows import NewOrder, TimeInForce
from qtkit.paper.rules import Rules

UNIT = 10**8
HOUR_MS = 3_600_000
STOPS = (OrderKind.STOP, OrderKind.STOP_MARKET)
PROFITS = (OrderKind.TAKE_PROFIT, OrderKind.TAKE_PROFIT_MARKET)
WITH_LIMIT = (OrderKind.STOP, OrderKind.TAKE_PROFIT)
TRAILING = OrderKind.TRAILING_STOP_MARKET
ENDLESS = 10**30
NEW_CALLBACK_LIMIT_MS = 1_792_713_600_000  # 2026-10-23


class Refusal(Exception):
    """The request is refused under this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Leg:
    """A position of one slot; ``margin`` is what is set aside for it if isolated."""

    symbol: str
    slot: PositionSide
    amount: int = 0
    cost: int = 0
    isolated: bool = False
    margin: int = 0


@dataclass
class Order:
    """A regular order."""

    client_id: str
    symbol: str
    buys: bool
    slot: PositionSide
    kind: OrderKind
    lives: TimeInForce
    quantity: int
    price: int
    only_reduces: bool
    parent: "Algo | None" = None
    until: int = 0
    status: str = "NEW"
    done: int = 0
    quote: int = 0
    since: int = 0

    @property
    def left(self) -> int:
        return self.quantity - self.done

    @property
    def open(self) -> bool:
        return self.status in ("NEW", "PARTIALLY_FILLED")


@dataclass
class Algo:
    """A conditional order; ``best`` is the best price since a trailing one was activated."""

    client_id: str
    symbol: str
    buys: bool
    slot: PositionSide
    kind: OrderKind
    lives: TimeInForce
    quantity: int
    trigger: int
    price: int
    by: TriggerBy
    only_reduces: bool
    whole: bool
    protected: bool
    callback: int = 0
    activation: int = 0
    best: int | None = None
    until: int = 0
    status: str = "NEW"
    done: int = 0
    since: int = 0

    @property
    def open(self) -> bool:
        return self.status == "NEW"

    @property
    def family(self) -> tuple[str, PositionSide, bool, bool]:
        return self.symbol, self.slot, self.buys, self.kind in PROFITS


@dataclass
class Client:
    """An account."""

    name: str
    hedge: bool
    wallet: int = 0
    legs: dict[tuple[str, PositionSide], Leg] = field(default_factory=dict)
    leverage: dict[str, int] = field(default_factory=dict)
    isolated: dict[str, bool] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    algos: list[Algo] = field(default_factory=list)
    trades: list[tuple[str, bool, int, int, int, int, bool]] = field(default_factory=list)
    incomes: list[tuple[str, str, int]] = field(default_factory=list)
    freed: dict[tuple[str, PositionSide, bool, bool], int] = field(default_factory=dict)
    code: int = 0
    barred_until: int = 0

    def amount(self, symbol: str, slot: PositionSide) -> int:
        leg = self.legs.get((symbol, slot))
        return leg.amount if leg else 0

    def held(self, symbol: str, slot: PositionSide, buys: bool) -> int:
        """How much an order of this side could close."""
        amount = self.amount(symbol, slot)
        return -amount if buys and amount < 0 else amount if not buys and amount > 0 else 0

    def can_only_close(self, slot: PositionSide, buys: bool) -> bool:
        return slot is PositionSide.SHORT if buys else slot is PositionSide.LONG

    def reduces(self, order: Order) -> bool:
        return order.only_reduces or self.can_only_close(order.slot, order.buys)

    def lowers(self, algo: Algo) -> bool:
        return algo.only_reduces or algo.whole or self.can_only_close(algo.slot, algo.buys)

    def book(self, kind: str, amount: int, symbol: str = "") -> None:
        self.wallet += amount
        if amount:
            self.incomes.append((kind, symbol, amount))


@dataclass
class Place:
    """A market."""

    facts: Facts
    funding_ms: int
    hours: int
    last: int = 0
    mark: int = 0
    rate: int = 0

    @property
    def tick(self) -> int:
        return self.facts.instrument.tick


class Reference:
    """The whole exchange."""

    def __init__(self, rules: Rules, facts: dict[str, Facts], start_ms: int) -> None:
        self.rules, self.now = rules, start_ms
        hours = rules.funding_hours
        first = (start_ms // (hours * HOUR_MS) + 1) * hours * HOUR_MS
        self.places = {name: Place(row, first, hours) for name, row in facts.items()}
        self.clients: dict[str, Client] = {}
        self.turn = 0

    # prices, money and margin

    def near(self, price: int, amount: int) -> int:
        return floor(Fraction(price * amount, UNIT) + Fraction(1, 2))

    def profit(self, leg: Leg) -> int:
        return self.near(self.places[leg.symbol].mark, leg.amount) - leg.cost

    def upkeep(self, leg: Leg) -> int:
        size = abs(self.near(self.places[leg.symbol].mark, leg.amount))
        brackets = self.places[leg.symbol].facts.brackets
        bracket = next((b for b in brackets if size <= b.cap), brackets[-1])
        return ceil(Fraction(size * bracket.ratio, UNIT) - bracket.cum)

    def first_margin(self, client: Client, symbol: str, quote: int) -> int:
        return ceil(Fraction(abs(quote), client.leverage.get(symbol, 20)))

    def cross(self, client: Client) -> list[Leg]:
        return [leg for leg in client.legs.values() if leg.amount and not leg.isolated]

    def cross_wallet(self, client: Client) -> int:
        return client.wallet - sum(leg.margin for leg in client.legs.values())

    def cross_room(self, client: Client) -> int:
        return self.cross_wallet(client) + sum(self.profit(leg) - self.upkeep(leg) for leg in self.cross(client))

    def order_margin(self, client: Client, orders: list[Order]) -> int:
        """Of each slot the dearer of both sides, less what the position holds anyway."""
        total = 0
        for symbol, slot in {(o.symbol, o.slot): None for o in orders}:
            mine = [o for o in orders if (o.symbol, o.slot) == (symbol, slot) and not client.reduces(o)]
            position = self.near(self.places[symbol].mark, client.amount(symbol, slot))
            bids = sum(self.near(o.price, o.left) for o in mine if o.buys)
            asks = sum(self.near(o.price, o.left) for o in mine if not o.buys)
            most = max(abs(position + bids), abs(position - asks))
            total += self.first_margin(client, symbol, most) - self.first_margin(client, symbol, position)
        return total

    def free(self, client: Client, orders: list[Order] | None = None) -> int:
        resting = [o for o in client.orders if o.open] if orders is None else orders
        money = self.cross_wallet(client) - self.order_margin(client, resting)
        for leg in self.cross(client):
            notional = self.near(self.places[leg.symbol].mark, leg.amount)
            money += self.profit(leg) - self.first_margin(client, leg.symbol, notional)
        return max(money, 0)

    # the book

    def best(self, place: Place, buys: bool) -> int:
        """The far side of the book: half the spread from the last price, on the tick against the taker."""
        model = self.rules.liquidity
        ticks, share = model.half_spread_ticks * place.tick, Fraction(model.half_spread, UNIT)
        if buys:
            return ceil((place.last + ticks) * (1 + share) / place.tick) * place.tick
        return max(floor((place.last - ticks) * (1 - share) / place.tick) * place.tick, place.tick)

    def levels(self, place: Place, start: int, up: bool) -> list[tuple[int, int]]:
        """(price, quantity) from a price on: the depth at the first, and for each step of the way the impact's money."""
        model, lot = self.rules.liquidity, place.facts.instrument.lot
        if model.depth is None:
            return [(start, ENDLESS)]
        away = Fraction(place.last * model.step, UNIT)
        step = max(ceil(away / place.tick), 1) * place.tick
        behind = floor(model.level * step / away) if away else model.level
        held = [floor(Fraction(money * UNIT, place.last * lot)) * lot for money in (model.depth, behind)]
        rows = [(start + (number if up else -number) * step, held[min(number, 1)]) for number in range(1_000)]
        return [(price, quantity) for price, quantity in rows if price > 0 and quantity]

    def sweep(self, order: Order, worst: int | None) -> list[tuple[int, int]]:
        """What the order would get at once, none of it beyond the worst price."""
        place, left, got = self.places[order.symbol], order.left, []
        for price, quantity in self.levels(place, self.best(place, order.buys), order.buys):
            if left and (worst is None or (price <= worst if order.buys else price >= worst)):
                got.append((price, min(quantity, left)))
                left -= got[-1][1]
        return got

    def cost(self, order: Order) -> int:
        """Price of all that is left of the order, on the tick against it; what the book does not hold costs its last price."""
        place, fills = self.places[order.symbol], self.sweep(order, None)
        if not fills:
            return self.best(place, order.buys)
        missing = order.left - sum(quantity for _, quantity in fills)
        money = sum(price * quantity for price, quantity in fills) + fills[-1][0] * missing
        round_ = ceil if order.buys else floor
        return round_(Fraction(money, order.left * place.tick)) * place.tick

    # time

    def tick(self, symbol: str, last: int, mark: int, at: int) -> None:
        place = self.places[symbol]
        self.now = max(self.now, at)
        place.last, place.mark = last * place.tick, mark
        self.expire(symbol)
        self.fund(symbol)
        if self.rules.liquidation_first:
            self.check_all()
        for client, what, fires in self.reached(symbol):
            if isinstance(what, Order):
                self.reach(client, what)
            elif fires:
                self.fire(client, what)
            else:
                self.follow(what)
        self.check_all()

    def advance(self, at: int) -> None:
        if at > self.now:
            self.now = at
            for symbol in self.places:
                self.expire(symbol)
                self.fund(symbol)
            self.check_all()

    def fund(self, symbol: str) -> None:
        place = self.places[symbol]
        while place.funding_ms <= self.now:
            place.funding_ms += place.hours * HOUR_MS
            for client in self.clients.values():
                for leg in client.legs.values():
                    if leg.symbol == symbol and leg.amount and place.mark and place.rate:
                        owed = Fraction(leg.amount * place.mark * place.rate, UNIT * UNIT)
                        paid = -floor(owed + Fraction(1, 2))
                        if leg.isolated:
                            leg.margin += paid
                        client.book("FUNDING_FEE", paid, symbol)

    def expire(self, symbol: str) -> None:
        """Orders with a date end at it."""
        for client in self.clients.values():
            for order in client.orders:
                if order.open and order.symbol == symbol and 0 < order.until <= self.now:
                    self.end(order, "EXPIRED")
            for algo in client.algos:
                if algo.open and algo.symbol == symbol and 0 < algo.until <= self.now:
                    algo.status = "EXPIRED"

    def waiting(self, symbol: str, by: TriggerBy) -> Iterator[tuple[int, bool, int, Client, Order | Algo, bool]]:
        """(price, waits for a rise, since, whose, what, fires?) of everything that waits for this series."""
        queue = self.rules.liquidity.queue_ticks * self.places[symbol].tick
        for client in self.clients.values():
            for order in client.orders:
                if order.open and order.symbol == symbol and by is TriggerBy.LAST:
                    yield order.price - queue if order.buys else order.price + queue, not order.buys, order.since, client, order, True
            for algo in client.algos:
                if not algo.open or algo.symbol != symbol or algo.by is not by:
                    continue
                if algo.kind is not TRAILING:
                    yield self.level(algo), self.rises(algo), algo.since, client, algo, True
                elif algo.best is None:
                    yield algo.activation, not algo.buys, algo.since, client, algo, False
                else:
                    yield algo.best + (-1 if algo.buys else 1), not algo.buys, algo.since, client, algo, False
                    rate = Fraction(algo.callback, 10_000)
                    back = ceil(algo.best * (1 + rate)) if algo.buys else floor(algo.best * (1 - rate))
                    yield back, algo.buys, algo.since, client, algo, True

    def reached(self, symbol: str) -> list[tuple[Client, Order | Algo, bool]]:
        """What these prices reach: last before mark, rises before falls, the nearest first, then who has waited longest."""
        place, found = self.places[symbol], []
        for by, price in ((TriggerBy.LAST, place.last), (TriggerBy.MARK, place.mark)):
            rows = list(self.waiting(symbol, by))
            up = sorted((r for r in rows if r[1] and price >= r[0]), key=lambda r: (r[0], r[2]))
            down = sorted((r for r in rows if not r[1] and price <= r[0]), key=lambda r: (-r[0], r[2]))
            found += [(client, what, fires) for _, _, _, client, what, fires in up + down]
        return found

    def rises(self, algo: Algo) -> bool:
        return algo.buys if algo.kind in STOPS else not algo.buys

    def level(self, algo: Algo) -> int:
        """A mark is cut to the price precision before it is compared: a falling one counts as there before it is."""
        if algo.by is TriggerBy.LAST or self.rises(algo) or not self.rules.mark_truncated:
            return algo.trigger
        return algo.trigger + UNIT // 10 ** self.places[algo.symbol].facts.price_precision - 1

    def follow(self, algo: Algo) -> None:
        if algo.open:
            place = self.places[algo.symbol]
            algo.best = place.mark if algo.by is TriggerBy.MARK else place.last
            self.wait(algo)

    def wait(self, what: Order | Algo) -> None:
        self.turn += 1
        what.since = self.turn

    # fills

    def fill(self, client: Client, order: Order, quantity: int, price: int, *, maker: bool, forced: bool = False) -> None:
        leg = client.legs.setdefault((order.symbol, order.slot), Leg(order.symbol, order.slot))
        before = leg.amount
        if before == 0:
            leg.isolated = client.isolated.get(order.symbol, False)
        closed = min(quantity, client.held(order.symbol, order.slot, order.buys))
        opened = quantity - closed
        gain = 0
        if closed:
            direction = 1 if before > 0 else -1
            share = floor(Fraction(leg.cost * closed, abs(before)))
            gain = self.near(price, direction * closed) - share
            leg.amount -= direction * closed
            leg.cost -= share
            leg.margin -= floor(Fraction(leg.margin * closed, abs(before)))
        if opened:
            way = 1 if order.buys else -1
            leg.amount += way * opened
            leg.cost += self.near(price, way * opened)
            if leg.isolated:
                leg.margin += self.first_margin(client, order.symbol, self.near(price, opened))
        quote = self.near(price, quantity)
        rules = self.places[order.symbol].facts.instrument
        cost = 0 if forced else ceil(Fraction(quote * (rules.maker_fee if maker else rules.taker_fee), UNIT))
        client.trades.append((order.symbol, order.buys, price, quantity, cost, gain, maker))
        client.book("REALIZED_PNL", gain, order.symbol)
        client.book("COMMISSION", -cost, order.symbol)
        order.done += quantity
        order.quote += quote
        order.status = "PARTIALLY_FILLED"
        if order.left == 0:
            self.end(order, "FILLED")
        if before and leg.amount * before <= 0:
            self.position_over(client, leg, order.buys)

    def end(self, order: Order, status: str) -> None:
        assert order.open, "an order ends once"
        order.status = status
        if order.parent is not None:
            order.parent.status, order.parent.done = "FINISHED", order.done

    def position_over(self, client: Client, leg: Leg, bought: bool) -> None:
        """What was there to reduce the position ends with it."""
        for order in client.orders:
            if order.open and (order.symbol, order.slot, order.buys) == (leg.symbol, leg.slot, bought) and client.reduces(order):
                self.end(order, "EXPIRED")
        for algo in client.algos:
            if algo.open and (algo.symbol, algo.slot, algo.buys) == (leg.symbol, leg.slot, bought):
                if algo.whole or algo.lives is TimeInForce.GTE_GTC:
                    algo.status = "EXPIRED"

    def reach(self, client: Client, order: Order) -> None:
        """A price came to a resting order."""
        if not order.open:
            return
        place = self.places[order.symbol]
        rows = self.levels(place, place.last, order.buys)
        brought = sum(quantity for price, quantity in rows if (price <= order.price if order.buys else price >= order.price))
        quantity = min(order.left, brought)
        if client.reduces(order):
            held = client.held(order.symbol, order.slot, order.buys)
            if not held:
                self.end(order, "EXPIRED")
                return
            quantity = min(quantity, held)
        if quantity:
            self.fill(client, order, quantity, order.price, maker=True)
        if order.open:
            self.wait(order)

    def match(self, client: Client, order: Order) -> None:
        """Take what the book gives; rest, or expire."""
        for price, quantity in self.sweep(order, self.worst(order)):
            self.fill(client, order, quantity, price, maker=False)
        if not order.open:
            return
        if order.kind is OrderKind.MARKET or order.lives in (TimeInForce.IOC, TimeInForce.FOK):
            self.end(order, "EXPIRED")
        else:
            self.wait(order)

    def worst(self, order: Order) -> int | None:
        """The price beyond which an order does not fill: its limit, for a market order the take bound."""
        if order.kind is OrderKind.LIMIT:
            return order.price
        place = self.places[order.symbol]
        reach = floor(Fraction(place.mark * place.facts.market_take_bound, UNIT))
        return (place.mark + reach if order.buys else place.mark - reach) if self.rules.take_bound else None

    # liquidation

    def check_all(self) -> None:
        for client in self.clients.values():
            self.check(client)

    def check(self, client: Client) -> None:
        for leg in list(client.legs.values()):
            if leg.amount and leg.isolated and leg.margin + self.profit(leg) - self.upkeep(leg) <= 0:
                kept = leg.margin
                gain = self.liquidate(client, leg)
                self.settle(client, leg.symbol, kept + gain)
        if not self.cross(client) or self.cross_room(client) > 0:
            return
        for order in client.orders:
            if order.open:
                self.end(order, "CANCELED")
        while self.cross(client) and self.cross_room(client) <= 0:
            worst = min(self.cross(client), key=self.profit)
            self.liquidate(client, worst)
            left = self.cross_wallet(client)
            self.settle(client, worst.symbol, left if not self.cross(client) else max(left, 0))

    def liquidate(self, client: Client, leg: Leg) -> int:
        client.barred_until = self.now + self.rules.liquidation_ms
        self.force(client, leg, abs(leg.amount), None)
        return client.trades[-1][5]

    def force(self, client: Client, leg: Leg, quantity: int, price: int | None) -> None:
        """An order of the exchange's own, at a price or at what all of it costs."""
        order = Order("", leg.symbol, leg.amount < 0, leg.slot, OrderKind.LIMIT, TimeInForce.IOC, quantity, 0, only_reduces=False)
        order.price = self.cost(order) if price is None else price
        client.orders.append(order)
        self.fill(client, order, quantity, order.price, maker=False, forced=True)

    def settle(self, client: Client, symbol: str, left: int) -> None:
        """The insurance fund takes its fee out of what is left, or pays what is missing."""
        _, _, price, quantity, *_ = client.trades[-1]
        rate = self.places[symbol].facts.liquidation_fee
        asked = ceil(Fraction(self.near(price, quantity) * rate, UNIT))
        client.book("INSURANCE_CLEAR", -(min(left, asked) if left > 0 else left), symbol)

    # refusals

    def ask_shape(self, client: Client, new: NewOrder) -> PositionSide:
        slot = new.position_side or PositionSide.BOTH
        if new.close_position:
            if new.kind not in (OrderKind.STOP_MARKET, OrderKind.TAKE_PROFIT_MARKET):
                raise Refusal(-4136)
            if new.quantity:
                raise Refusal(-4137)
            if new.reduce_only is not None:
                raise Refusal(-1106 if new.reduce_only else -4138)
            if client.hedge and slot is not PositionSide.BOTH and not client.can_only_close(slot, new.side is OrderSide.BUY):
                raise Refusal(-2022)
        if client.hedge == (slot is PositionSide.BOTH):
            raise Refusal(-4061)
        if client.hedge and new.reduce_only is not None:
            raise Refusal(self.rules.hedge_reduce_only_code)
        if client.barred_until > self.now:
            raise Refusal(-2023)
        if new.client_id and (len(new.client_id) > 36 or not all(c.isascii() and (c.isalnum() or c in ".:/_-") for c in new.client_id)):
            raise Refusal(-4015)
        return slot

    def ask_quantity(self, place: Place, value: int | None, *, market: bool) -> int:
        rules = place.facts.instrument
        if value is None:
            raise Refusal(-1102)
        if value <= 0:
            raise Refusal(-4003)
        if value % (UNIT // 10**place.facts.quantity_precision):
            raise Refusal(-1111)
        if value % rules.lot:
            raise Refusal(-4023)
        if value < rules.min_lots * rules.lot:
            raise Refusal(-4004)
        if value > (rules.market_max_lots if market else rules.max_lots) * rules.lot:
            raise Refusal(-4005)
        return value

    def ask_price(self, place: Place, value: int | None, *, stop: bool = False) -> int:
        rules = place.facts.instrument
        if value is None:
            raise Refusal(-1102)
        if value <= 0:
            raise Refusal(-4006 if stop else -4001)
        if value % (UNIT // 10**place.facts.price_precision):
            raise Refusal(-1111)
        if value % rules.tick:
            raise Refusal(-4014)
        if value < rules.min_price * rules.tick:
            raise Refusal(-4013)
        if value > rules.max_price * rules.tick:
            raise Refusal(-4007 if stop else -4002)
        return value

    def ask_percent(self, place: Place, buys: bool, price: int) -> None:
        rules = place.facts.instrument
        if buys and price > Fraction(place.mark * rules.percent_up, 10_000):
            raise Refusal(-4016)
        if not buys and price < Fraction(place.mark * rules.percent_down, 10_000):
            raise Refusal(-4024)

    def ask_notional(self, place: Place, price: int, quantity: int) -> None:
        if self.near(price, quantity) < place.facts.instrument.min_notional:
            raise Refusal(-4164)

    def ask_reducing(self, client: Client, order: Order) -> int:
        """A reducing order is cut to the position, less what resting ones hold of it."""
        held = client.held(order.symbol, order.slot, order.buys)
        if not held:
            raise Refusal(-2022)
        quantity = min(order.quantity, held)
        if self.rules.resting_reserves and quantity + self.reserved(client, order) > held:
            raise Refusal(-4118)
        return quantity

    def reserved(self, client: Client, order: Order | Algo) -> int:
        slot = (order.symbol, order.slot, order.buys)
        mine = (o for o in client.orders if o.open and o is not order and (o.symbol, o.slot, o.buys) == slot)
        return sum(o.left for o in mine if client.reduces(o))

    def ask_market(self, order: Order) -> None:
        """The take bound, and what time in force forbids."""
        place = self.places[order.symbol]
        if order.kind is OrderKind.MARKET:
            gap = Fraction(abs(self.best(place, order.buys) - place.mark), place.mark)
            if self.rules.take_bound and gap > Fraction(place.facts.market_take_bound, UNIT):
                raise Refusal(-4131)
        elif order.lives is TimeInForce.GTX and self.sweep(order, order.price):
            raise Refusal(-5022)
        elif order.lives is TimeInForce.FOK and sum(quantity for _, quantity in self.sweep(order, order.price)) < order.left:
            raise Refusal(-5021)

    def ask_margin(self, client: Client, order: Order, resting: list[Order]) -> None:
        """What opens must be allowed, fit its bracket, and be paid for."""
        if client.reduces(order):
            return
        held = client.held(order.symbol, order.slot, order.buys)
        if order.kind is OrderKind.LIMIT:
            slot = (order.symbol, order.slot, order.buys)
            held -= sum(o.left for o in resting if (o.symbol, o.slot, o.buys) == slot and not client.reduces(o))
        opened = order.left - max(held, 0)
        if opened <= 0:
            return
        if client.code:
            raise Refusal(client.code)
        place = self.places[order.symbol]
        price = order.price or self.cost(order)
        amount = client.amount(order.symbol, order.slot)
        same = abs(amount) if amount and (amount > 0) == order.buys else 0
        leverage = client.leverage.get(order.symbol, 20)
        most = max((b.cap for b in place.facts.brackets if b.leverage >= leverage), default=0)
        if self.near(price, opened + same) > most:
            raise Refusal(-2027)
        asked = Order("", order.symbol, order.buys, order.slot, order.kind, order.lives, order.left, price, only_reduces=False)
        more = self.order_margin(client, [*resting, asked]) - self.order_margin(client, resting)
        loss = self.near(price - place.mark if order.buys else place.mark - price, opened)
        if more + max(loss, 0) > self.free(client, resting):
            raise Refusal(-2019)

    def ask_date(self, new: NewOrder) -> int:
        """Whole seconds, more than ten minutes ahead."""
        if new.time_in_force is not TimeInForce.GTD:
            return 0
        if new.good_till_ms is None:
            raise Refusal(-1102)
        if new.good_till_ms <= self.now + 600_000 or new.good_till_ms >= 253_402_300_799_000:
            raise Refusal(-5040)
        return new.good_till_ms - new.good_till_ms % 1_000

    # requests: regular orders

    def submit(self, client: Client, new: NewOrder) -> None:
        place, buys = self.places[new.symbol], new.side is OrderSide.BUY
        if new.kind not in (OrderKind.MARKET, OrderKind.LIMIT):
            raise Refusal(-4120)
        slot = self.ask_shape(client, new)
        resting = [o for o in client.orders if o.open]
        if new.client_id and any(o.client_id == new.client_id for o in resting):
            raise Refusal(-4116)
        if not place.last:
            raise Refusal(-4131)
        market = new.kind is OrderKind.MARKET
        quantity = self.ask_quantity(place, new.quantity, market=market)
        price = 0 if market else self.ask_price(place, new.price)
        if not market:
            self.ask_percent(place, buys, price)
        lives = TimeInForce.GTC if market else new.time_in_force or TimeInForce.GTC
        order = Order(new.client_id, new.symbol, buys, slot, new.kind, lives, quantity, price, bool(new.reduce_only))
        if client.reduces(order):
            order.quantity = self.ask_reducing(client, order)
        else:
            self.ask_notional(place, price or place.mark, quantity)
        if len([o for o in resting if o.symbol == new.symbol]) >= self.rules.max_orders:
            raise Refusal(-2025)
        order.until = 0 if market else self.ask_date(new)
        self.ask_market(order)
        self.ask_margin(client, order, resting)
        client.orders.append(order)
        self.match(client, order)
        self.check(client)

    def amend(self, client: Client, order: Order, buys: bool, quantity: int, price: int) -> None:
        place = self.places[order.symbol]
        if not order.open or order.buys != buys:
            raise Refusal(-2013)
        self.ask_quantity(place, quantity, market=False)
        self.ask_price(place, price)
        self.ask_percent(place, buys, price)
        if (quantity, price) == (order.quantity, order.price):
            raise Refusal(-5027)
        if not client.reduces(order) and self.near(price, quantity) < place.facts.instrument.min_notional:
            raise Refusal(-5029)
        was = order.quantity, order.price
        order.quantity, order.price = quantity, price
        try:
            if client.reduces(order):
                order.quantity = self.ask_reducing(client, order)
            if order.left > 0:
                self.ask_market(order)
                self.ask_margin(client, order, [o for o in client.orders if o.open and o is not order])
        except Refusal:
            order.quantity, order.price = was
            raise
        if order.left <= 0:
            self.end(order, "CANCELED")
            return
        self.match(client, order)
        self.check(client)

    def cancel(self, order: Order) -> None:
        if not order.open:
            raise Refusal(-2011)
        self.end(order, "CANCELED")

    def cancel_all(self, client: Client, symbol: str) -> None:
        for order in client.orders:
            if order.open and order.symbol == symbol:
                self.end(order, "CANCELED")

    # requests: conditional orders

    def submit_algo(self, client: Client, new: NewOrder) -> None:
        place = self.places[new.symbol]
        if new.kind in (OrderKind.MARKET, OrderKind.LIMIT):
            raise Refusal(-1116)
        slot = self.ask_shape(client, new)
        if new.client_id and any(a.client_id == new.client_id and a.status in ("NEW", "TRIGGERED") for a in client.algos):
            raise Refusal(-4116)
        if not place.last:
            raise Refusal(-4131)
        limit = new.kind in WITH_LIMIT
        quantity = 0 if new.close_position else self.ask_quantity(place, new.quantity, market=not limit)
        lives = self.rules.close_position_tif if new.close_position else new.time_in_force or TimeInForce.GTC
        algo = Algo(
            new.client_id, new.symbol, new.side is OrderSide.BUY, slot, new.kind, lives, quantity, 0, 0, new.trigger_by,
            bool(new.reduce_only), new.close_position, new.price_protect,
        )  # fmt: skip
        now = place.mark if algo.by is TriggerBy.MARK else place.last
        if new.kind is TRAILING:
            self.ask_trail(place, algo, new, now)
        else:
            algo.trigger = self.ask_price(place, new.trigger, stop=True)
            level = self.level(algo)
            if now >= level if self.rises(algo) else now <= level:
                raise Refusal(self.rules.immediate_code)
        if limit:
            algo.price = self.ask_price(place, new.price)
            rules = place.facts.instrument
            if algo.buys and algo.price > Fraction(algo.trigger * rules.percent_up, 10_000):
                raise Refusal(-4183)
            if not algo.buys and algo.price < Fraction(algo.trigger * rules.percent_down, 10_000):
                raise Refusal(-4184)
        algo.until = 0 if algo.whole else self.ask_date(new)
        self.ask_room(client, algo)
        client.algos.append(algo)
        self.wait(algo)
        if new.kind is TRAILING and (now <= algo.activation if algo.buys else now >= algo.activation):
            self.follow(algo)

    def ask_trail(self, place: Place, algo: Algo, new: NewOrder, now: int) -> None:
        if new.callback is None:
            raise Refusal(-1102)
        by_date = 2_000 if self.now >= NEW_CALLBACK_LIMIT_MS else 1_000
        most = by_date if self.rules.callback_max is None else self.rules.callback_max
        if new.callback < 10 or new.callback > most or new.callback % self.rules.callback_step:
            raise Refusal(-2007)
        if new.trigger is not None:
            raise Refusal(self.rules.immediate_code)
        algo.callback, algo.activation = new.callback, now
        if new.activation is not None:
            if new.activation <= 0 or new.activation > place.facts.instrument.max_price * place.tick:
                raise Refusal(-4135)
            algo.activation = self.ask_price(place, new.activation)
            if now <= algo.activation if algo.buys else now >= algo.activation:
                raise Refusal(self.rules.immediate_code)

    def ask_room(self, client: Client, algo: Algo) -> None:
        """What the other orders and the position refuse."""
        rules, place = self.rules, self.places[algo.symbol]
        waiting = [a for a in client.algos if a.open]
        if len(waiting) >= rules.max_conditional:
            raise Refusal(-4045)
        if not client.lowers(algo):
            self.ask_notional(place, algo.price or algo.trigger or place.mark, algo.quantity)
        held = client.held(algo.symbol, algo.slot, algo.buys)
        if not held:
            if algo.whole:
                lonely = not rules.close_position_while_flat
            else:
                lonely = algo.lives is TimeInForce.GTE_GTC or (algo.only_reduces and not rules.stop_while_flat)
            if lonely:
                raise Refusal(-4509)
        kin = [a for a in waiting if a.family == algo.family]
        if algo.whole and (any(a.whole for a in kin) or client.freed.get(algo.family, 0) > self.now):
            raise Refusal(-4130)
        if not rules.floor_beside_stop and algo.kind is not TRAILING and client.lowers(algo):
            others = [a for a in kin if a.kind is not TRAILING and client.lowers(a) and (algo.whole or a.whole)]
            if others:
                raise Refusal(-4130)
        if rules.conditional_reserves and held and algo.only_reduces:
            if sum(a.quantity for a in kin if a.only_reduces) + algo.quantity > held:
                raise Refusal(-4118)

    def fire(self, client: Client, algo: Algo) -> None:
        """The trigger is reached: a child, or the reason why there is none."""
        if not algo.open:
            return
        place = self.places[algo.symbol]
        gap = Fraction(abs(place.last - place.mark), place.mark)
        if algo.protected and gap > Fraction(place.facts.trigger_protect, UNIT):
            if self.rules.price_protect_ends:
                algo.status = "EXPIRED"
            else:
                self.wait(algo)
            return
        algo.status = "TRIGGERING"
        quantity = algo.quantity
        if client.lowers(algo):
            held = client.held(algo.symbol, algo.slot, algo.buys)
            if self.rules.reserves_block_trigger:
                held = max(held - self.reserved(client, algo), 0)
            quantity = held if algo.whole else min(quantity, held)
        if not quantity:
            algo.status = "EXPIRED" if algo.whole else self.rules.reduce_only_failure.value
            return
        limit = algo.kind in WITH_LIMIT
        lives = algo.lives if limit and algo.lives is not TimeInForce.GTE_GTC else TimeInForce.GTC
        child = Order(
            algo.client_id, algo.symbol, algo.buys, algo.slot, OrderKind.LIMIT if limit else OrderKind.MARKET, lives, quantity, algo.price,
            algo.only_reduces or algo.whole, parent=algo, until=algo.until if limit else 0,
        )  # fmt: skip
        dead = False
        try:
            if client.barred_until > self.now:
                raise Refusal(-2023)
            if limit:
                self.ask_percent(place, algo.buys, algo.price)
            self.ask_market(child)
            self.ask_margin(client, child, [o for o in client.orders if o.open])
        except Refusal as refusal:
            dead = refusal.code == -4131 and self.rules.take_bound_child
            if not dead:
                algo.status = "REJECTED"
                return
        algo.status = "TRIGGERED"
        client.orders.append(child)
        if dead:
            self.end(child, "EXPIRED")
        else:
            self.match(client, child)

    def cancel_algo(self, client: Client, algo: Algo) -> None:
        if not algo.open:
            raise Refusal(-2011)
        algo.status = "CANCELED"
        if algo.whole and self.rules.slot_lag_ms:
            client.freed[algo.family] = self.now + self.rules.slot_lag_ms

    def cancel_all_algos(self, client: Client, symbol: str) -> None:
        for algo in client.algos:
            if algo.open and algo.symbol == symbol:
                self.cancel_algo(client, algo)

    # requests: settings

    def set_leverage(self, client: Client, symbol: str, leverage: int) -> None:
        place, before = self.places[symbol], client.leverage.get(symbol, 20)
        if not 1 <= leverage <= place.facts.brackets[0].leverage:
            raise Refusal(-4028)
        legs = [leg for leg in client.legs.values() if leg.symbol == symbol and leg.amount]
        if leverage < before and any(leg.isolated for leg in legs):
            raise Refusal(-4161)
        most = max(b.cap for b in place.facts.brackets if b.leverage >= leverage)
        if any(abs(self.near(place.mark, leg.amount)) > most for leg in legs):
            raise Refusal(-2027)
        client.leverage[symbol] = leverage
        if leverage < before and (legs or any(o.open and o.symbol == symbol for o in client.orders)) and not self.free(client):
            client.leverage[symbol] = before
            raise Refusal(-2028)

    def set_isolated(self, client: Client, symbol: str, isolated: bool) -> None:
        if client.isolated.get(symbol, False) == isolated:
            raise Refusal(-4046)
        if any(row.open and row.symbol == symbol for row in (*client.orders, *client.algos)):
            raise Refusal(-4047)
        if any(leg.symbol == symbol and leg.amount for leg in client.legs.values()):
            raise Refusal(-4048)
        client.isolated[symbol] = isolated

    def set_hedge(self, client: Client, hedge: bool) -> None:
        if client.hedge == hedge:
            raise Refusal(-4059)
        if any(row.open for row in (*client.orders, *client.algos)):
            raise Refusal(-4067)
        if any(leg.amount for leg in client.legs.values()):
            raise Refusal(-4068)
        client.hedge = hedge

    def move_margin(self, client: Client, symbol: str, amount: int, slot: PositionSide) -> None:
        leg = client.legs.get((symbol, slot))
        if not amount:
            raise Refusal(-4055)
        if leg is None or not leg.amount:
            raise Refusal(-4054)
        if not leg.isolated:
            raise Refusal(-4049)
        if amount > self.free(client):
            raise Refusal(-4050)
        needed = self.first_margin(client, symbol, self.near(self.places[symbol].mark, leg.amount))
        if amount < 0 and leg.margin + amount + min(self.profit(leg), 0) < needed:
            raise Refusal(-4051)
        leg.margin += amount
        self.check(client)

    def deposit(self, client: Client, amount: int) -> None:
        client.book("TRANSFER", amount)
        self.check(client)

    def deleverage(self, client: Client, symbol: str, quantity: int, slot: PositionSide) -> None:
        leg, place = client.legs.get((symbol, slot)), self.places[symbol]
        if leg is None or not leg.amount:
            return
        round_ = floor if leg.amount > 0 else ceil
        self.force(client, leg, min(quantity, abs(leg.amount)), round_(Fraction(place.mark, place.tick)) * place.tick)
        self.check(client)
