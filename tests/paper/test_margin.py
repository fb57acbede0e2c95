"""Margin, liquidation and conservation of money."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtkit.core.model import E8, Bps, OrderKind, OrderStatus, PositionSide, Side, Ticks, TriggerBy
from qtkit.paper import margin
from qtkit.paper.exchange import Exchange, ExchangeError, NewOrder, Rules
from qtkit.paper.rows import AlgoStatus, Execution, IncomeKind, OrderUpdate
from tests.paper.engine import BTC, EXACT, MODES, SIDES, START, World, money, refused

ETH = "ETHUSDT"


def liquidation_of(world: World) -> int:
    (row,) = world.ex.positions(world.account, BTC)
    return row.liquidation


@SIDES
@MODES
@pytest.mark.parametrize("isolated", [False, True], ids=["cross", "isolated"])
@pytest.mark.parametrize("first", [True, False])
def test_liquidation_happens_at_the_price_told(side: Side, hedge: bool, isolated: bool, first: bool) -> None:
    world = World(side, replace(EXACT, liquidation_first=first), hedge=hedge, balance=1_000)
    if isolated:
        world.ex.set_margin_mode(world.account, BTC, isolated=True)
    world.enter(0.1)
    told = liquidation_of(world)
    assert told and side.sign * (told - money(100_000)) < 0
    tick = 10_000_000
    last = Ticks(told // tick + side.sign * 10)
    world.ex.tick(BTC, last, E8(told + side.sign * 200), world.ex.now_ms + 1)
    assert world.amount
    world.ex.tick(BTC, last, E8(told - side.sign * 200), world.ex.now_ms + 1)
    assert not world.amount
    order = world.ex.order_history(world.account)[-1]
    assert order.client_id.startswith("autoclose-") and order.status is OrderStatus.FILLED
    told_as = [event.execution for event in world.events if isinstance(event, OrderUpdate)]
    assert told_as[-1] is Execution.CALCULATED
    assert any(row.kind is IncomeKind.INSURANCE_CLEAR for row in world.ex.income(world.account))


@SIDES
def test_isolated_loses_no_more_than_its_margin(side: Side) -> None:
    world = World(side, balance=10_000)
    world.ex.set_margin_mode(world.account, BTC, isolated=True)
    world.enter(0.1)
    (row,) = world.ex.positions(world.account)
    before = world.wallet.wallet
    world.price(world.away(-40))  # far through
    assert before - world.wallet.wallet == row.isolated_wallet == money(500)
    assert world.ex.income(world.account)[-1].amount > 0  # the insurance fund paid the rest


@SIDES
def test_cross_account_ends_at_zero_not_below(side: Side) -> None:
    world = World(side, balance=1_000)
    world.enter(0.1)
    world.price(world.away(-40))
    assert world.wallet.wallet == 0 and world.wallet.equity == 0


@SIDES
def test_cross_liquidation_depends_on_the_other_symbols(side: Side) -> None:
    world = World(side, balance=1_000)
    world.price(2_000, symbol=ETH)
    world.enter(0.05)
    world.enter(2, symbol=ETH)
    far = liquidation_of(world)
    world.price(2_000 * (1 - side.sign * 0.1), symbol=ETH)
    near = liquidation_of(world)
    assert side.sign * (near - far) > 0
    resting = world.limit(side.opening, world.away(-4), quantity=0.002)
    world.price(world.away(-15))
    assert world.order(resting).status is not OrderStatus.NEW
    assert not world.ex.positions(world.account) or margin.cross_buffer(world.account, world.ex._markets) > 0


@SIDES
def test_stop_before_liquidation_saves_the_account(side: Side) -> None:
    world = World(side, balance=1_000)
    world.enter(0.1)
    row = world.floor(-5)
    for percent in (-2, -4, -5, -15):
        world.price(world.away(percent))
    assert world.algo(row).status is AlgoStatus.FINISHED and world.wallet.wallet > money(400)


@SIDES
@pytest.mark.parametrize("first", [True, False])
def test_a_gap_through_stop_and_liquidation_is_a_rule(side: Side, first: bool) -> None:
    world = World(side, replace(EXACT, liquidation_first=first), balance=1_000)
    world.enter(0.1)
    row = world.floor(-5)
    world.price(world.away(-9.8))
    assert world.algo(row).status is (AlgoStatus.EXPIRED if first else AlgoStatus.FINISHED) and not world.amount


@SIDES
def test_isolated_margin_moves_with_the_position(side: Side) -> None:
    world = World(side, balance=10_000)
    world.ex.set_margin_mode(world.account, BTC, isolated=True)
    with refused(-4054):
        world.ex.add_position_margin(world.account, BTC, money(10))
    world.enter(0.1)
    before = liquidation_of(world)
    world.ex.add_position_margin(world.account, BTC, money(500))
    assert side.sign * (liquidation_of(world) - before) < 0
    with refused(-4051):
        world.ex.add_position_margin(world.account, BTC, money(-600))
    with refused(-4050):
        world.ex.add_position_margin(world.account, BTC, money(60_000))
    with refused(-4161):
        world.ex.set_leverage(world.account, BTC, 10)
    world.leave(0.05)
    (row,) = world.ex.positions(world.account)
    assert row.isolated_wallet == money(500) and row.isolated
    world.leave(0.05)
    assert world.wallet.cross_wallet == world.wallet.wallet


@SIDES
def test_funding_of_an_isolated_position_moves_its_liquidation(side: Side) -> None:
    world = World(side, balance=10_000)
    world.ex.set_margin_mode(world.account, BTC, isolated=True)
    world.enter(0.1)
    before = liquidation_of(world)
    world.ex.set_funding(BTC, E8(side.sign * 1_000_000), world.ex.now_ms + 1)  # we pay 1 %
    world.price(100_000)
    (row,) = world.ex.positions(world.account)
    assert row.isolated_wallet == money(400) and side.sign * (row.liquidation - before) > 0


@SIDES
def test_a_clones_trades_leave_the_originals_guards_alone(side: Side) -> None:
    world = World(side, balance=1_000)
    world.enter(0.1)
    twin = world.ex.clone()
    twin.deposit(twin.accounts["main"], money(1_000_000))
    world.price(world.away(-15))
    assert not world.amount
    twin.tick(BTC, Ticks(money(world.away(-15)) // 10_000_000), money(world.away(-15)), twin.now_ms + 1)
    assert twin.positions(twin.accounts["main"])


@SIDES
def test_available_margin_falls_with_orders_and_losses(side: Side) -> None:
    world = World(side, balance=10_000)
    assert world.wallet.available == money(10_000)
    world.limit(side.opening, world.away(-1), quantity=0.1)
    assert world.wallet.available == money(10_000) - world.wallet.order_margin
    world.limit(side.closing, world.away(1), quantity=0.1)
    assert world.wallet.order_margin <= money(505)  # the dearer side only
    world.enter(0.1)
    world.price(world.away(-0.5))
    row = world.wallet
    assert row.equity == row.wallet + row.unrealised and row.unrealised == money(-50)
    assert row.available == row.cross_wallet + row.unrealised - row.position_margin - row.order_margin


# Conservation: whatever honest clients and prices do, money only changes by what is booked.

SYMBOLS = (BTC, "DOGEUSDT")
ACTION = st.tuples(
    st.sampled_from(
        ["market", "limit", "stop", "target", "trail", "floor", "reduce", "cancel", "tick", "tick", "tick", "leverage", "fund"]
    ),
    st.integers(0, 1_000_000),
    st.sampled_from(SYMBOLS),
    st.booleans(),
)


def act(ex: Exchange, name: str, kind: str, number: int, symbol: str, up: bool) -> None:
    account = ex.accounts[name]
    rules = ex.facts[symbol].instrument
    book = ex.book(symbol)
    side = Side.LONG if up else Side.SHORT
    slot = PositionSide[side.name] if account.hedge else None
    last = book.last // rules.tick
    lots = E8((number % 97 + 1) * max(rules.min_notional * 100_000_000 // book.last // rules.lot, 1) * rules.lot)
    offset = last * (number % 300 + 1) // 10_000 + 1

    def price(distance: int) -> E8:
        return E8((last + distance) * rules.tick)

    def order(order_kind: OrderKind, order_side: Side, **more: object) -> NewOrder:
        wire = side.opening if order_side is side else side.closing
        return NewOrder(symbol=symbol, side=wire, kind=order_kind, position_side=slot, **more)  # type: ignore[arg-type]

    other = Side(-side.value)
    reduce = None if account.hedge else True
    match kind:
        case "tick":
            move = last * (number % 801 - 400) // 10_000
            mark = E8((last + move) * rules.tick + number % rules.tick)
            ex.tick(symbol, Ticks(max(last + move, rules.min_price + 1)), mark, ex.now_ms + number % 40_000)
        case "market":
            ex.submit(account, order(OrderKind.MARKET, side, quantity=lots))
        case "limit":
            ex.submit(account, order(OrderKind.LIMIT, side, quantity=lots, price=price(-side.sign * offset)))
        case "reduce":
            ex.submit(account, order(OrderKind.MARKET, other, quantity=lots, reduce_only=reduce))
        case "stop":
            ex.submit_algo(
                account, order(OrderKind.STOP_MARKET, other, quantity=lots, trigger=price(-side.sign * offset), reduce_only=reduce)
            )
        case "target":
            ex.submit_algo(account, order(OrderKind.TAKE_PROFIT_MARKET, other, quantity=lots, trigger=price(side.sign * offset)))
        case "trail":
            ex.submit_algo(account, order(OrderKind.TRAILING_STOP_MARKET, other, quantity=lots, callback=Bps(10 + number % 20 * 10)))
        case "floor":
            trigger = price(-side.sign * offset)
            ex.submit_algo(account, order(OrderKind.STOP_MARKET, other, trigger=trigger, close_position=True, trigger_by=TriggerBy.MARK))
        case "cancel":
            ex.cancel_all(account, symbol)
            ex.cancel_all_algos(account, symbol)
        case "leverage":
            ex.set_leverage(account, symbol, number % 50 + 1)
        case _:
            ex.set_funding(symbol, E8(number % 75_000 - 37_500), ex.now_ms + number % 60_000)


def conserved(ex: Exchange, name: str) -> None:
    account = ex.accounts[name]
    row = ex.wallet(account)
    positions = ex.positions(account)
    assert row.wallet == sum(account.totals.values()) == sum(income.amount for income in ex.income(account))
    trades = ex.trades(account)
    assert account.totals.get(IncomeKind.REALIZED_PNL, 0) == sum(trade.realised for trade in trades)
    assert account.totals.get(IncomeKind.COMMISSION, 0) == -sum(trade.commission for trade in trades)
    assert row.equity == row.wallet + sum(p.unrealised for p in positions)
    # Cash view: what was bought and sold, marked, is realised plus unrealised profit to the last 1e-8.
    cash = sum((-1 if trade.side.value == "BUY" else 1) * trade.quote for trade in trades)
    profit = account.totals.get(IncomeKind.REALIZED_PNL, 0) + sum(p.unrealised for p in positions)
    assert cash + sum(p.notional for p in positions) == profit
    for p in positions:
        done = [trade for trade in trades if (trade.symbol, trade.position_side) == (p.symbol, p.position_side)]
        assert p.amount == sum((1 if trade.side.value == "BUY" else -1) * trade.quantity for trade in done)
    assert not positions or margin.cross_buffer(account, ex._markets) > 0 or all(p.isolated for p in positions)


@settings(max_examples=60)
@given(st.lists(ACTION, min_size=40, max_size=60), st.booleans(), st.booleans(), st.booleans())
def test_money_is_conserved(actions: list[tuple[str, int, str, bool]], hedge: bool, isolated: bool, strange: bool) -> None:
    rules = Rules(floor_beside_stop=not strange, conditional_reserves=strange, trade_before_algo=strange, liquidation_first=strange)
    ex = Exchange(rules, start_ms=START)
    account = ex.open_account("main", balance=money(3_000), hedge=hedge)
    ex.tick(BTC, Ticks(1_000_000), money(100_000), START + 1)
    ex.tick("DOGEUSDT", Ticks(20_000), E8(20_000_000), START + 1)
    if isolated:
        ex.set_margin_mode(account, BTC, isolated=True)
    for action in actions:
        try:
            act(ex, "main", *action)
        except ExchangeError as refusal:
            assert refusal.code < 0 and refusal.message
        conserved(ex, "main")
    twin = ex.clone()
    for number, symbol in enumerate(SYMBOLS * 3):
        for each in (ex, twin):
            act(each, "main", "tick", number * 137, symbol, True)
    assert ex.wallet(account) == twin.wallet(twin.accounts["main"])


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(SYMBOLS), st.integers(-300, 300)), min_size=30, max_size=60), st.booleans(), st.integers(1, 40))
def test_guards_never_miss_a_liquidation(moves: list[tuple[str, int]], long: bool, size: int) -> None:
    """After every price no account may stand at or below its maintenance margin, wherever its guards were."""
    side = Side.LONG if long else Side.SHORT
    world = World(side, balance=1_000)
    world.price(0.2, symbol="DOGEUSDT")
    world.enter(size * 2 / 1_000)
    world.enter(size * 1_000, symbol="DOGEUSDT")
    for symbol, bps in moves:
        book = world.ex.book(symbol)
        tick = world.ex.facts[symbol].instrument.tick
        mark = E8(book.mark * (10_000 + bps) // 10_000)
        world.ex.tick(symbol, Ticks(mark // tick), mark, world.ex.now_ms + 1)
        assert not world.ex.positions(world.account) or margin.cross_buffer(world.account, world.ex._markets) > 0
