"""Random honest clients for the engine and its model: drawn numbers become requests, prices and time.

Over 300 lines: a client can do forty things, and each is a few lines.
"""

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any

from qtkit.core.model import E8, ONE, Bps, OrderKind, OrderSide, OrderStatus, PositionSide, TriggerBy
from qtkit.paper.exchange import NewOrder, Rules
from qtkit.paper.liquidity import EXACT, Liquidity
from qtkit.paper.rows import AlgoRow, AlgoStatus, OrderRow, TimeInForce
from tests.paper.engine import BTC, money
from tests.paper.pair import BALANCES, DOGE, NAMES, Pair

IN_FORCE = (None, TimeInForce.GTD, TimeInForce.GTC, TimeInForce.GTX, TimeInForce.IOC, TimeInForce.FOK)
KINDS = (
    *("drift",) * 5, *("touch",) * 8, "jump", "jump", "crash", "part", "ruin", "ruin", "market", "market", "reduce", "reduce",
    "reduce", "limit", "limit", "offer", "offer", "offer", "offer", "stop", "stop", "target", "stop-limit", "trail", "trail",
    "floor", "ceiling", "entry", "cancel", "cancel-algo", "cancel-all", "amend", "amend", "leverage", "mode", "hedge", "margin",
    "deposit", "fund", "fund", "wait", "adl", "bar", "nonsense",
)  # fmt: skip
Act = tuple[str, int, bool, int, int]  # kind, client, symbol, two numbers


def endless(ticks: int, bps: int) -> Liquidity:
    """A book in which everything fills at its best price, that far from the last one."""
    return replace(EXACT, half_spread_ticks=ticks, half_spread=bps * 10_000, queue_ticks=ticks)


RULES = (
    Rules(liquidity=endless(1, 1), max_conditional=6, max_orders=5),
    Rules(liquidity=EXACT, liquidation_first=False, slot_lag_ms=30_000, mark_truncated=False, take_bound_child=True,
        price_protect_ends=False),
    Rules(
        liquidity=endless(1, 5), floor_beside_stop=False, stop_while_flat=False, conditional_reserves=True,
        reserves_block_trigger=True, trade_before_algo=False, reduce_only_failure=AlgoStatus.EXPIRED, liquidation_ms=20_000,
    ),
    Rules(
        liquidity=endless(2, 0), close_position_while_flat=True, resting_reserves=False, take_bound=False, funding_hours=1,
        close_position_tif=TimeInForce.GTC, immediate_code=-4142, hedge_reduce_only_code=-4062,
    ),
    Rules(liquidity=Liquidity(depth=3_000 * ONE, step=30_000, level=5_000 * ONE, recovery_ms=0, queue_ticks=2)),
)  # fmt: skip


class Clients:
    """Turns drawn numbers into what honest clients ask for; both sides of the pair get the same request."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    def act(self, act: Act) -> None:
        kind, who, doge, a, b = act
        name, symbol = NAMES[who], DOGE if doge else BTC
        getattr(self, "do_" + kind.replace("-", "_"))(name, symbol, a, b)

    # prices

    def move(self, symbol: str, bps: int, *, apart: int = 0, ms: int = 1_000, off: int = 0) -> None:
        book, tick = self.pair.engine.book(symbol), self.pair.engine.facts[symbol].instrument.tick
        last = book.last * (10_000 + bps) // 10_000 // tick
        self.pair.tick(symbol, last, last * tick * (10_000 + apart) // 10_000 + off % tick, ms)

    def do_drift(self, name: str, symbol: str, a: int, b: int) -> None:
        self.move(symbol, a % 61 - 30, apart=b % 7 - 3, off=a * b, ms=b)

    def do_jump(self, name: str, symbol: str, a: int, b: int) -> None:
        self.move(symbol, a % 701 - 350, apart=b % 7 - 3, off=a * b)

    def do_crash(self, name: str, symbol: str, a: int, b: int) -> None:
        self.move(symbol, (a % 1_500 + 100) * (1 if b % 2 else -1), apart=b % 21 - 10)

    def do_part(self, name: str, symbol: str, a: int, b: int) -> None:
        self.move(symbol, a % 201 - 100, apart=(b % 800 + 400) * (1 if a % 2 else -1))

    def do_ruin(self, name: str, symbol: str, a: int, b: int) -> None:
        """Go to where the client is liquidated, or just before; then it begins anew."""
        account, tick = self.pair.account(name), self.pair.engine.facts[symbol].instrument.tick
        prices = [row.liquidation for row in self.pair.engine.positions(account, symbol) if row.liquidation]
        if prices:
            price = prices[a % len(prices)]
            self.pair.tick(symbol, price // tick, price + (b % 3 - 1))
            self.pair.compare()
        if self.pair.account(name).wallet < money(BALANCES[name]) // 3:
            self.give(name, money(BALANCES[name]))

    def do_touch(self, name: str, symbol: str, a: int, b: int) -> None:
        """Go to a level of somebody's order, to the tick or one beside it."""
        tick = self.pair.engine.facts[symbol].instrument.tick
        levels = sorted(
            {
                getattr(row, "trigger", 0) or row.price
                for each in NAMES
                for row in self.open(each, symbol)
                if row.kind is not OrderKind.MARKET
            }
            - {0}
        )
        if levels:
            last = levels[a % len(levels)] // tick + b % 3 - 1
            mark = last * tick + (a * b % 4 == 0) * (a % tick) if b % 11 else last * tick * (92 + b % 17) // 100
            self.pair.tick(symbol, last, mark)

    def open(self, name: str, symbol: str) -> list[Any]:
        account = self.pair.account(name)
        return [*account.resting(symbol), *account.waiting(symbol)]

    # orders

    def slot(self, name: str, long: bool) -> PositionSide | None:
        hedge = self.pair.account(name).hedge
        return (PositionSide.LONG if long else PositionSide.SHORT) if hedge else None

    def side(self, name: str, symbol: str, number: int) -> bool:
        """Long? The side that is held, if one is."""
        if self.pair.account(name).hedge:
            return number % 2 == 0
        amount = self.pair.account(name).amount(symbol, PositionSide.BOTH)
        return amount > 0 if amount else number % 2 == 0

    def size(self, name: str, symbol: str, number: int) -> E8:
        """About 100 to 5,000 USDT for 3,000 of balance; sometimes too few or far too many."""
        book, lot = self.pair.engine.book(symbol), self.pair.engine.facts[symbol].instrument.lot
        worth = (100 + number % 40 * 120 if number % 5 else 20_000 + number * 20) if number % 29 else 10
        return E8(max(worth * BALANCES[name] // 3_000 * ONE * ONE // (book.last * lot), 1) * lot)

    def near(self, symbol: str, bps: int, by: TriggerBy = TriggerBy.LAST) -> E8:
        book, tick = self.pair.engine.book(symbol), self.pair.engine.facts[symbol].instrument.tick
        price = book.last if by is TriggerBy.LAST else book.mark
        return E8(max(price * (10_000 + bps) // 10_000 // tick, 1) * tick)

    def order(self, name: str, symbol: str, kind: OrderKind, long: bool, closing: bool, number: int, **more: Any) -> None:
        """A request of a client; closing ones are reduce-only in one-way mode, unless ``plain``."""
        plain = more.pop("plain", False)
        account = self.pair.account(name)
        side = OrderSide.BUY if long is not closing else OrderSide.SELL
        reduce = True if closing and not account.hedge and not plain and not more.get("close_position") else None
        if more.get("time_in_force") is TimeInForce.GTD:
            more["good_till_ms"] = self.pair.engine.now_ms + 590_000 + number * 20
        new = NewOrder(
            symbol=symbol, side=side, kind=kind, position_side=self.slot(name, long), reduce_only=reduce,
            client_id=f"id{number % 12}" if number % 3 == 0 else "", **more,
        )  # fmt: skip
        self.pair.send(name, new)

    def do_market(self, name: str, symbol: str, a: int, b: int) -> None:
        self.order(name, symbol, OrderKind.MARKET, b % 2 == 0, False, b, quantity=self.size(name, symbol, a))

    def do_reduce(self, name: str, symbol: str, a: int, b: int) -> None:
        long = self.side(name, symbol, b)
        self.order(name, symbol, OrderKind.MARKET, long, True, b, quantity=self.size(name, symbol, a), plain=b % 7 == 0)

    def do_limit(self, name: str, symbol: str, a: int, b: int) -> None:
        long = b % 2 == 0
        distance = (b % 120 - 20) * (-1 if long else 1) * (4 if b % 3 == 0 else 1)
        lives = IN_FORCE[a % len(IN_FORCE)]
        price = self.near(symbol, distance if a % 17 else distance * 20)
        self.order(name, symbol, OrderKind.LIMIT, long, False, b, quantity=self.size(name, symbol, a), price=price, time_in_force=lives)

    def do_offer(self, name: str, symbol: str, a: int, b: int) -> None:
        long = self.side(name, symbol, b)
        price = self.near(symbol, (b % 150 - 15) * (1 if long else -1))
        self.order(name, symbol, OrderKind.LIMIT, long, True, b, quantity=self.size(name, symbol, a), price=price, plain=a % 5 == 0)

    def conditional(self, name: str, symbol: str, kind: OrderKind, a: int, b: int, way: int, *, closing: bool = True, **more: Any) -> None:
        long = self.side(name, symbol, b)
        by = TriggerBy.MARK if a % 2 else TriggerBy.LAST
        trigger = self.near(symbol, (b % 250 - 10) * way * (1 if long else -1), by)
        if more.pop("limited", False):
            more["price"] = self.near(symbol, (b % 250 - 10) * way * (1 if long else -1) + a % 41 - 20, by)
            more["time_in_force"] = IN_FORCE[b % len(IN_FORCE)]
        quantity = None if more.get("close_position") else self.size(name, symbol, a)
        self.order(
            name, symbol, kind, long, closing, b, quantity=quantity, trigger=trigger, trigger_by=by, price_protect=a % 5 == 0, **more
        )

    def do_stop(self, name: str, symbol: str, a: int, b: int) -> None:
        lives = TimeInForce.GTE_GTC if b % 6 == 0 else None
        self.conditional(name, symbol, OrderKind.STOP_MARKET, a, b, -1, plain=a % 7 == 0, time_in_force=lives)

    def do_target(self, name: str, symbol: str, a: int, b: int) -> None:
        self.conditional(name, symbol, OrderKind.TAKE_PROFIT_MARKET, a, b, 1, plain=a % 7 == 0)

    def do_stop_limit(self, name: str, symbol: str, a: int, b: int) -> None:
        kind, way = (OrderKind.STOP, -1) if a % 4 < 2 else (OrderKind.TAKE_PROFIT, 1)
        self.conditional(name, symbol, kind, a, b, way, limited=True)

    def do_floor(self, name: str, symbol: str, a: int, b: int) -> None:
        self.conditional(name, symbol, OrderKind.STOP_MARKET, a, b, -1, close_position=True)

    def do_ceiling(self, name: str, symbol: str, a: int, b: int) -> None:
        self.conditional(name, symbol, OrderKind.TAKE_PROFIT_MARKET, a, b, 1, close_position=True)

    def do_entry(self, name: str, symbol: str, a: int, b: int) -> None:
        """A conditional order that opens: its margin is asked for at the trigger."""
        if b % 3:
            self.conditional(name, symbol, OrderKind.STOP_MARKET, a, b, 1, closing=False)
        else:
            self.conditional(name, symbol, OrderKind.STOP, a, b, 1, closing=False, limited=True)

    def do_trail(self, name: str, symbol: str, a: int, b: int) -> None:
        long = self.side(name, symbol, b)
        by = TriggerBy.MARK if a % 2 else TriggerBy.LAST
        activation = self.near(symbol, (b % 80 - 5) * (1 if long else -1), by) if b % 3 else None
        callback = Bps((a % 6 + 1) * 10 if a % 9 else a % 250 * 10)
        self.order(
            name, symbol, OrderKind.TRAILING_STOP_MARKET, long, True, b, quantity=self.size(name, symbol, a), callback=callback,
            trigger_by=by, activation=activation,
        )  # fmt: skip

    # changes

    def pick(self, rows: list[Any], number: int) -> int | None:
        """Index of an order, mostly of an open one."""
        live = [index for index, row in enumerate(rows) if row.status in (OrderStatus.NEW, AlgoStatus.NEW)]
        chosen = live if live and number % 8 else range(len(rows))
        return chosen[number % len(chosen)] if chosen else None

    def do_cancel(self, name: str, symbol: str, a: int, b: int) -> None:
        account, client = self.pair.account(name), self.pair.client(name)
        rows: list[OrderRow] = list(account.orders.values())
        at = self.pick(rows, a)
        if at is not None:
            row, order = rows[at], client.orders[at]
            self.pair.ask(
                lambda: self.pair.engine.cancel(account, row.symbol, order_id=row.order_id), lambda: self.pair.model.cancel(order)
            )

    def do_cancel_algo(self, name: str, symbol: str, a: int, b: int) -> None:
        account, client = self.pair.account(name), self.pair.client(name)
        rows: list[AlgoRow] = list(account.algos.values())
        at = self.pick(rows, a)
        if at is not None:
            row, algo = rows[at], client.algos[at]
            self.pair.ask(
                lambda: self.pair.engine.cancel_algo(account, algo_id=row.algo_id), lambda: self.pair.model.cancel_algo(client, algo)
            )

    def do_cancel_all(self, name: str, symbol: str, a: int, b: int) -> None:
        account, client = self.pair.account(name), self.pair.client(name)
        if a % 2:
            self.pair.ask(lambda: self.pair.engine.cancel_all(account, symbol), lambda: self.pair.model.cancel_all(client, symbol))
        else:
            self.pair.ask(
                lambda: self.pair.engine.cancel_all_algos(account, symbol), lambda: self.pair.model.cancel_all_algos(client, symbol)
            )

    def do_amend(self, name: str, symbol: str, a: int, b: int) -> None:
        account, client = self.pair.account(name), self.pair.client(name)
        rows = list(account.orders.values())
        shown = [row for row in rows if row.reduce_only] if b % 2 else rows  # half of the time one that may only reduce
        chosen = self.pick(shown, a)
        at = None if chosen is None else rows.index(shown[chosen])
        if at is None or rows[at].kind is OrderKind.MARKET:
            return
        row, order = rows[at], client.orders[at]
        quantity = row.quantity if b % 3 else self.size(name, row.symbol, b)
        price = row.price if b % 7 == 0 else self.near(row.symbol, a % 161 - 80)
        self.pair.ask(
            lambda: self.pair.engine.amend(
                account, row.symbol, side=row.side, quantity=quantity, price=price, order_id=row.order_id
            ),
            lambda: self.pair.model.amend(client, order, row.side is OrderSide.BUY, quantity, price),
        )  # fmt: skip

    # settings, money, time

    def do_leverage(self, name: str, symbol: str, a: int, b: int) -> None:
        account, client, value = self.pair.account(name), self.pair.client(name), a % 160 if b % 4 == 0 else a % 60
        self.pair.ask(
            lambda: self.pair.engine.set_leverage(account, symbol, value), lambda: self.pair.model.set_leverage(client, symbol, value)
        )

    def do_mode(self, name: str, symbol: str, a: int, b: int) -> None:
        account, client, on = self.pair.account(name), self.pair.client(name), a % 2 == 0
        self.pair.ask(
            lambda: self.pair.engine.set_margin_mode(account, symbol, isolated=on), lambda: self.pair.model.set_isolated(client, symbol, on)
        )

    def do_hedge(self, name: str, symbol: str, a: int, b: int) -> None:
        account, client, on = self.pair.account(name), self.pair.client(name), a % 2 == 0
        self.pair.ask(lambda: self.pair.engine.set_position_mode(account, hedge=on), lambda: self.pair.model.set_hedge(client, on))

    def do_margin(self, name: str, symbol: str, a: int, b: int) -> None:
        account, client, amount = self.pair.account(name), self.pair.client(name), money(a % 900 - 300)
        slot = self.slot(name, b % 2 == 0) or PositionSide.BOTH
        self.pair.ask(
            lambda: self.pair.engine.add_position_margin(account, symbol, amount, slot),
            lambda: self.pair.model.move_margin(client, symbol, amount, slot),
        )

    def do_deposit(self, name: str, symbol: str, a: int, b: int) -> None:
        self.give(name, E8(money(a % 900 - 300) * BALANCES[name] // 3_000 + b))

    def give(self, name: str, amount: E8) -> None:
        self.pair.engine.deposit(self.pair.account(name), amount)
        self.pair.model.deposit(self.pair.client(name), amount)

    def do_fund(self, name: str, symbol: str, a: int, b: int) -> None:
        rate, at, hours = E8(a * 75 - 375_000), self.pair.engine.now_ms + b, (None, 1, 4, 8)[a % 4]
        self.pair.engine.set_funding(symbol, rate, at, hours=hours)
        place = self.pair.model.places[symbol]
        place.rate, place.funding_ms, place.hours = rate, at, hours or place.hours

    def do_wait(self, name: str, symbol: str, a: int, b: int) -> None:
        at = self.pair.engine.now_ms + (a * 1_000 if b % 2 else a)
        self.pair.engine.advance(at)
        self.pair.model.advance(at)

    def do_adl(self, name: str, symbol: str, a: int, b: int) -> None:
        account, client, quantity = self.pair.account(name), self.pair.client(name), self.size(name, symbol, a)
        slot = self.slot(name, b % 2 == 0) or PositionSide.BOTH
        self.pair.engine.deleverage(account, symbol, quantity=quantity, side=slot)
        self.pair.model.deleverage(client, symbol, quantity, slot)

    def do_bar(self, name: str, symbol: str, a: int, b: int) -> None:
        """The account may only reduce; twice out of three times that is lifted."""
        code = (-4400, 0, 0)[a % 3]
        self.pair.engine.restrict(self.pair.account(name), code or None)
        self.pair.client(name).code = code

    def do_nonsense(self, name: str, symbol: str, a: int, b: int) -> None:
        """A request with one thing wrong, or two."""
        tick, lot = (getattr(self.pair.engine.facts[symbol].instrument, grid) for grid in ("tick", "lot"))
        kind = list(OrderKind)[a % 7]
        good = NewOrder(
            symbol=symbol, side=OrderSide.BUY, kind=kind, quantity=self.size(name, symbol, 1), price=self.near(symbol, -20),
            callback=Bps(100), trigger=None if kind is OrderKind.TRAILING_STOP_MARKET else self.near(symbol, 30 if a % 2 else -30),
            position_side=self.slot(name, a % 3 == 0),
        )  # fmt: skip
        wrong: tuple[dict[str, Any], ...] = (
            {"quantity": None}, {"quantity": E8(0)}, {"quantity": E8(lot + 1)}, {"quantity": E8(lot * 10**9)}, {"price": None},
            {"price": E8(0)}, {"price": E8(tick * 1_000 + 1)}, {"price": E8(tick)}, {"price": E8(tick * 10**9)}, {"trigger": None},
            {"trigger": E8(tick * 10**9)}, {"callback": None}, {"callback": Bps(15)}, {"callback": Bps(5)}, {"client_id": "no spaces"},
            {"position_side": PositionSide.SHORT}, {"position_side": None}, {"reduce_only": True}, {"close_position": True},
            {"close_position": True, "quantity": None}, {"close_position": True, "quantity": None, "reduce_only": False},
            {"activation": E8(0)}, {"activation": self.near(symbol, 50)}, {"price": self.near(symbol, 900)},
            {"price": self.near(symbol, -900)}, {"side": OrderSide.SELL, "price": self.near(symbol, -600)},
            {"time_in_force": TimeInForce.FOK},
        )  # fmt: skip
        changes = wrong[a % len(wrong)] | (wrong[b % len(wrong)] if b % 3 == 0 else {})
        self.pair.send(name, replace(good, **changes))


def play(acts: Iterable[Act], rules: Rules, *, late: bool = False) -> Pair:
    """Both play the acts; after each everything is compared."""
    pair = Pair(rules, late=late)
    clients = Clients(pair)
    for act in acts:
        clients.act(act)
        pair.compare()
    return pair


def drawn(seed: int, length: int) -> list[Act]:
    """A script by seed, for searches that need no shrinking."""
    rng = Random(seed)
    return [(rng.choice(KINDS), rng.randrange(3), rng.random() < 0.4, rng.randrange(10_000), rng.randrange(10_000)) for _ in range(length)]
