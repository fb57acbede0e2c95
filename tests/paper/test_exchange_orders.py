"""Regular orders, filters, settings, bars, funding and copies of the paper exchange.

Over 300 lines: each rule is a scene of its own, worked out by hand.
"""

from dataclasses import replace
from decimal import Decimal

import pytest

from qtkit.core.model import E8, ONE, Bar, OrderKind, OrderSide, OrderStatus, PositionSide, Side, Ticks, TriggerBy
from qtkit.paper.exchange import Exchange, ExchangeError
from qtkit.paper.facts import FACTS, instrument
from qtkit.paper.rows import AlgoStatus, ConfigUpdate, Execution, IncomeKind, OrderUpdate
from tests.paper.engine import BTC, EXACT, SIDES, START, TimeInForce, World, money, refused, thin


def test_prices_of_the_incident_lie_on_the_grid() -> None:
    for symbol, text in {"AVAXUSDT": "14.58", "ADAUSDT": "0.4693", "BTCUSDT": "93475.8", "SOLUSDT": "142.4", "DOTUSDT": "2.291"}.items():
        price = int(Decimal(text) * ONE)
        rules = instrument(symbol)
        assert price % rules.tick == 0 and rules.min_price <= price // rules.tick <= rules.max_price
    assert len(FACTS) == 11
    assert instrument(BTC).market_max_lots == 120_000 and FACTS[BTC].trigger_protect == 5_000_000
    assert all(row.instrument.tick * row.instrument.lot % ONE == 0 for row in FACTS.values())


@SIDES
def test_market_order_opens_and_reduces(side: Side) -> None:
    world = World(side)
    entry = world.enter(0.1)
    assert entry.status is OrderStatus.FILLED and entry.average == money(100_000)
    assert world.amount == side.sign * money(0.1)
    world.price(world.away(5))
    world.leave(0.04)
    (row,) = world.ex.positions(world.account)
    assert row.entry == money(100_000) and row.realised_total == money(200)  # 5,000 * 0.04
    assert row.unrealised == money(300)
    trade = world.ex.trades(world.account)[-1]
    assert trade.realised == money(200) and not trade.maker
    assert trade.commission == trade.quote * 5 // 10_000


@SIDES
def test_break_even_lies_beyond_entry_by_the_costs(side: Side) -> None:
    world = World(side)
    world.enter(0.1)
    (row,) = world.ex.positions(world.account)
    assert side.sign * (row.break_even - row.entry) == money(50)  # 0.05 %


@SIDES
def test_reduce_only(side: Side) -> None:
    world = World(side)
    with refused(-2022):
        world.leave()
    world.enter(0.1)
    with refused(-2022):
        world.submit(side=side.opening, quantity=0.1, reduce_only=True)
    assert world.leave(0.5).quantity == money(0.1)
    assert world.amount == 0


@SIDES
def test_resting_reduce_only_blocks_an_emergency_close(side: Side) -> None:
    world = World(side)
    world.enter(0.1)
    world.limit(side.closing, world.away(3), reduce_only=True)
    with refused(-4118):
        world.leave()
    free = World(side, replace(EXACT, resting_reserves=False))
    free.enter(0.1)
    target = free.limit(side.closing, free.away(3), reduce_only=True)
    free.leave()
    assert free.order(target).status is OrderStatus.EXPIRED and free.amount == 0


@SIDES
def test_a_resting_reduce_only_order_never_flips_the_position(side: Side) -> None:
    world = World(side, replace(EXACT, resting_reserves=False))
    world.enter(0.1)
    target = world.limit(side.closing, world.away(1), reduce_only=True)
    world.leave(0.07)
    world.price(world.away(2))
    assert world.order(target).executed == money(0.03) and world.order(target).status is OrderStatus.EXPIRED
    assert world.amount == 0


@SIDES
def test_limit_rests_and_fills_at_its_price_as_maker(side: Side) -> None:
    world = World(side)
    row = world.limit(side.opening, world.away(-1))
    assert row.status is OrderStatus.NEW and world.wallet.order_margin > 0
    world.price(world.away(-0.9))
    assert world.order(row).status is OrderStatus.NEW
    world.price(world.away(-2))
    done = world.order(row)
    assert done.status is OrderStatus.FILLED and done.average == money(world.away(-1))
    trade = world.ex.trades(world.account)[-1]
    assert trade.maker and trade.commission == trade.quote * 2 // 10_000
    assert world.wallet.order_margin == 0


@SIDES
def test_marketable_limit_takes(side: Side) -> None:
    world = World(side)
    row = world.limit(side.opening, world.away(1))
    assert row.status is OrderStatus.FILLED and row.average == money(100_000)


@SIDES
def test_time_in_force(side: Side) -> None:
    world = World(side)
    with refused(-5022):
        world.limit(side.opening, world.away(1), time_in_force=TimeInForce.GTX)
    assert world.limit(side.opening, world.away(-1), time_in_force=TimeInForce.GTX).status is OrderStatus.NEW
    assert world.limit(side.opening, world.away(-1), time_in_force=TimeInForce.IOC).status is OrderStatus.EXPIRED
    with refused(-5021):
        world.limit(side.opening, world.away(-1), time_in_force=TimeInForce.FOK)
    world.ex.set_liquidity(BTC, thin(5_000))
    with refused(-5021):
        world.limit(side.opening, world.away(1), time_in_force=TimeInForce.FOK)
    part = world.limit(side.opening, world.away(1), time_in_force=TimeInForce.IOC)
    assert part.status is OrderStatus.EXPIRED and part.executed == money(0.05)
    rest = world.limit(side.opening, world.away(1), quantity=0.12)
    assert rest.status is OrderStatus.PARTIALLY_FILLED
    world.price(100_000)
    world.price(100_000)
    assert world.order(rest).status is OrderStatus.FILLED
    assert world.ex.open_orders(world.account, BTC)[0].time_in_force is TimeInForce.GTX


@SIDES
def test_amend_and_cancel(side: Side) -> None:
    world = World(side)
    row = world.limit(side.opening, world.away(-2), client_id="a")
    with refused(-5027):
        world.ex.amend(world.account, BTC, side=side.opening, quantity=row.quantity, price=row.price, client_id="a")
    amended = world.ex.amend(world.account, BTC, side=side.opening, quantity=row.quantity, price=money(world.away(-1)), client_id="a")
    assert amended.price == money(world.away(-1)) and amended.status is OrderStatus.NEW
    world.price(world.away(-1))
    assert world.order(row).status is OrderStatus.FILLED
    with refused(-2013):
        world.ex.amend(world.account, BTC, side=side.opening, quantity=row.quantity, price=row.price, client_id="a")
    with refused(-2011):
        world.ex.cancel(world.account, BTC, client_id="a")
    with refused(-2013):
        world.ex.order(world.account, BTC, client_id="b")
    second = world.limit(side.opening, world.away(-2))
    assert world.ex.cancel(world.account, BTC, order_id=second.order_id).status is OrderStatus.CANCELED
    world.limit(side.opening, world.away(-2)), world.limit(side.opening, world.away(-3))
    assert len(world.ex.cancel_all(world.account, BTC)) == 2 and world.ex.open_orders(world.account) == ()


def test_filters() -> None:
    world = World()
    buy = OrderSide.BUY
    cases: dict[int, dict[str, float]] = {
        -1111: {"quantity": 0.1, "price": 99_000.001},
        -4014: {"quantity": 0.1, "price": 99_000.05},
        -4013: {"quantity": 0.1, "price": 500},
        -4002: {"quantity": 0.1, "price": 5_000_000},
        -4016: {"quantity": 0.1, "price": 105_000.1},
        -4003: {"quantity": 0, "price": 99_000},
        -4005: {"quantity": 1_001, "price": 99_000},
        -4164: {"quantity": 0.001, "price": 99_000},
    }
    for code, case in cases.items():
        with refused(code):
            world.limit(buy, case["price"], case["quantity"])
    with refused(-4024):
        world.limit(OrderSide.SELL, 94_999.9)
    with refused(-1111):
        world.enter(0.0001)
    with refused(-4005):
        world.enter(120.001)
    with refused(-1102):
        world.ex.submit(world.account, world.new(buy, OrderKind.MARKET, None))
    with refused(-1121):
        world.enter(symbol="XYZUSDT")
    with refused(-4131):
        world.enter(1, symbol="ETHUSDT")  # no price yet
    with refused(-4120):
        world.submit(side=buy, kind=OrderKind.STOP_MARKET, quantity=0.1, trigger=101_000)
    with refused(-4136):
        world.ex.submit(world.account, world.new(buy, OrderKind.MARKET, None, close_position=True))
    with pytest.raises(ExchangeError, match="no smaller than 100 ") as info:
        world.limit(buy, 99_000, 0.001)
    assert info.value.http_status == 400


@SIDES
def test_reducing_orders_are_exempt_from_the_minimum_notional(side: Side) -> None:
    world = World(side)
    world.enter(0.002)
    assert world.leave(0.001).status is OrderStatus.FILLED


@SIDES
def test_client_ids_are_unique_among_open_orders_only(side: Side) -> None:
    world = World(side)
    world.limit(side.opening, world.away(-2), client_id="x")
    with refused(-4116):
        world.limit(side.opening, world.away(-2), client_id="x")
    world.ex.cancel(world.account, BTC, client_id="x")
    world.limit(side.opening, world.away(-2), client_id="x")


@SIDES
def test_margin_brackets_and_settings(side: Side) -> None:
    world = World(side, balance=10_000)
    with refused(-2019):
        world.enter(2.1)  # 210,000 at 20 times needs 10,500
    world.ex.set_leverage(world.account, BTC, 150)
    with refused(-2027):
        world.enter(3.1)  # bracket 1 ends at 300,000
    with refused(-4028):
        world.ex.set_leverage(world.account, BTC, 151)
    world.enter(2)
    with refused(-2028):
        world.ex.set_leverage(world.account, BTC, 10)
    assert world.ex.config(world.account, BTC).leverage == 150
    world.ex.set_leverage(world.account, BTC, 100)
    assert isinstance(world.events[-1], ConfigUpdate)
    with refused(-4048):
        world.ex.set_margin_mode(world.account, BTC, isolated=True)
    with refused(-4068):
        world.ex.set_position_mode(world.account, hedge=True)
    with refused(-4046):
        world.ex.set_margin_mode(world.account, BTC, isolated=False)
    world.stop(-0.1)
    with refused(-4067):
        world.ex.set_position_mode(world.account, hedge=True)
    with refused(-4059):
        world.ex.set_position_mode(world.account, hedge=False)


def test_most_orders_of_a_symbol() -> None:
    world = World(rules=replace(EXACT, max_orders=2))
    world.limit(OrderSide.BUY, 96_000), world.limit(OrderSide.BUY, 96_000)
    with refused(-2025):
        world.limit(OrderSide.BUY, 96_000)


def test_check_places_nothing() -> None:
    world = World()
    world.ex.check(world.account, world.new(OrderSide.BUY, OrderKind.MARKET, 0.1))
    with refused(-2019):
        world.ex.check(world.account, world.new(OrderSide.BUY, OrderKind.MARKET, 100))
    assert world.ex.order_history(world.account) == () and world.events == []


def test_hedge_mode_holds_two_legs() -> None:
    world = World(Side.LONG, hedge=True)
    world.enter(0.1)
    world.submit(side=OrderSide.SELL, quantity=0.2, position_side=PositionSide.SHORT)
    assert [row.amount for row in world.ex.positions(world.account)] == [money(0.1), -money(0.2)]
    with refused(-4061):
        world.submit(side=OrderSide.BUY, quantity=0.1, position_side=None)
    world.leave(0.5)
    assert [row.amount for row in world.ex.positions(world.account)] == [-money(0.2)]
    assert len(world.ex.positions(world.account, BTC, flat=True)) == 2


@SIDES
def test_funding_is_paid_on_time_at_the_mark(side: Side) -> None:
    world = World(side)
    world.enter(0.1)
    world.ex.set_funding(BTC, E8(10_000), world.ex.now_ms + 1_000)  # 0.01 %
    world.price(100_000, ms=900)
    assert not [row for row in world.ex.income(world.account) if row.kind is IncomeKind.FUNDING_FEE]
    world.price(100_000, mark=110_000, ms=100)
    (row,) = (row for row in world.ex.income(world.account) if row.kind is IncomeKind.FUNDING_FEE)
    assert row.amount == -side.sign * money(1.1)
    assert world.ex.funding_history(BTC)[0].mark == money(110_000)
    (held,) = world.ex.positions(world.account)
    assert side.sign * (held.break_even - held.entry) == money(50 + side.sign * 11)  # commission, and funding paid or received
    world.ex.advance(world.ex.now_ms + 8 * 3_600_000)
    assert len(world.ex.funding_history(BTC)) == 2


def test_minutes_close_into_candles() -> None:
    ex = Exchange(EXACT, start_ms=START)
    start = START // 60_000 * 60_000 + 60_000
    closed = []
    ex.bar_listeners.append(lambda symbol, by, candle: closed.append((by, candle)))
    for second, price in ((0, 100_000), (20, 100_500), (40, 99_500), (59, 100_100), (60, 100_200), (240, 101_000)):
        ex.tick(BTC, Ticks(price * 10), E8(price * ONE + 1), start + second * 1_000)
    first = ex.candles(BTC, TriggerBy.LAST)[0]
    assert (first.open, first.high, first.low, first.close) == tuple(money(p) for p in (100_000, 100_500, 99_500, 100_100))
    assert first.ticks == 4 and first.time_ms == start
    rows = ex.candles(BTC, TriggerBy.LAST)
    assert [(row.time_ms - start) // 60_000 for row in rows] == [0, 1, 2, 3, 4]
    assert rows[2].open == rows[2].close == money(100_200) and rows[2].ticks == 0
    assert len(closed) == 8 and closed[1][1].close == money(100_100) + 1
    (five,) = ex.candles(BTC, TriggerBy.MARK, minutes=5, limit=1)
    assert five.high == money(101_000) + 1 and five.time_ms % 300_000 == 0
    ex.advance(start + 300_000)
    assert ex.candles(BTC, TriggerBy.LAST, limit=2)[0].close == money(101_000)
    ex.tick(BTC, Ticks(1_020_000), E8(102_000 * ONE), start + 300_001)
    assert ex.candles(BTC, TriggerBy.LAST, limit=1)[0].open == money(102_000)


def test_history_can_be_seeded() -> None:
    ex = Exchange(EXACT, start_ms=START)
    bars = [Bar(time_ms=START - i * 60_000, open=Ticks(10), high=Ticks(12), low=Ticks(9), close=Ticks(11)) for i in (2, 1)]
    ex.seed_bars(BTC, TriggerBy.MARK, bars)
    rows = ex.candles(BTC, TriggerBy.MARK)
    assert [row.time_ms for row in rows] == [START - 120_000, START - 60_000] and rows[0].high == money(1.2)
    assert ex.candles(BTC, TriggerBy.MARK, start_ms=START - 60_000, limit=5) == rows[1:]
    assert ex.candles(BTC, TriggerBy.LAST) == ()


@SIDES
def test_a_clone_has_the_same_future_and_its_own_life(side: Side) -> None:
    world = World(side)
    world.enter()
    row = world.stop(-2)
    world.trail(100), world.limit(side.opening, world.away(-4))
    twin = world.ex.clone()
    before = list(world.events)
    for percent in (1, 2, 0.5, -2.5, -5):
        twin.tick(BTC, Ticks(money(world.away(percent)) // 10_000_000), money(world.away(percent)), twin.now_ms + 1)
    copy = twin.accounts["main"]
    assert twin.algo(copy, algo_id=row.algo_id).status is not AlgoStatus.NEW
    assert world.algo(row).status is AlgoStatus.NEW and world.events == before and world.amount
    for percent in (1, 2, 0.5, -2.5, -5):
        world.price(world.away(percent), ms=1)
    assert world.ex.order_history(world.account) == twin.order_history(copy)
    assert world.wallet == twin.wallet(copy) and world.ex.income(world.account) == twin.income(copy)


def test_listeners_may_call_back() -> None:
    world = World()

    def protect(event: object) -> None:
        if isinstance(event, OrderUpdate) and event.execution is Execution.TRADE and not event.order.algo_id:
            world.stop(-2)

    world.ex.listeners.append(protect)
    world.enter()
    assert len(world.ex.open_algos(world.account)) == 1


def test_names_of_accounts_are_unique() -> None:
    world = World()
    with pytest.raises(ValueError, match="another name"):
        world.ex.open_account("main", balance=money(1))


def test_time_does_not_run_back() -> None:
    world = World()
    now = world.ex.now_ms
    world.ex.tick(BTC, Ticks(1_000_000), money(100_000), now - 5_000)
    world.ex.advance(now - 1)
    assert world.ex.now_ms == now
