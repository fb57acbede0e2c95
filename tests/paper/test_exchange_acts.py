"""Rules of the engine beside the plain life of an order: margin of crossed books, the mark's precision, what the exchange itself does.

Over 300 lines: each rule is a scene of its own, worked out by hand.
"""

from dataclasses import replace

import pytest

from qtkit.core.model import E8, Bps, OrderKind, OrderSide, OrderStatus, PositionSide, Side, Ticks, TriggerBy
from qtkit.paper.exchange import Exchange
from qtkit.paper.facts import FACTS
from qtkit.paper.market import HOUR_MS
from qtkit.paper.rows import AccountUpdate, AlgoStatus, Execution, IncomeKind, OrderUpdate, Reason
from tests.paper.engine import BTC, EXACT, MODES, SIDES, START, TimeInForce, World, money, refused

ETH = "ETHUSDT"


def tick_at(world: World, last: float, mark: E8) -> None:
    world.ex.tick(BTC, Ticks(money(last) // 10_000_000), mark, world.ex.now_ms + 1)


# margin of orders


def test_the_margin_of_crossed_orders_is_that_of_the_documents_example() -> None:
    """FAQ "How to calculate the margin requirement", 2022-12-06: long 0.5 at 20,000, bid 0.1 at 19,000, ask 0.1 at 22,000, 2x: 5,950."""
    world = World(balance=10_000)
    world.price(20_000)
    world.ex.set_leverage(world.account, BTC, 2)
    world.enter(0.5)
    world.limit(OrderSide.BUY, 19_000, 0.1)
    assert world.wallet.position_margin + world.wallet.order_margin == money(5_950)
    for price in (19_500, 20_500, 20_900):
        world.price(price)
    world.limit(OrderSide.SELL, 21_500, 0.1)
    world.price(20_000)
    assert world.wallet.position_margin + world.wallet.order_margin == money(5_950)  # the asks stay below the bids' side


@SIDES
def test_turning_a_position_over_needs_no_more_than_its_own_margin(side: Side) -> None:
    world = World(side, balance=600)
    world.enter(0.1)
    assert world.wallet.available < money(100)
    world.submit(side=side.closing, quantity=0.2)
    assert world.amount == -side.sign * money(0.1)
    with refused(-2019):
        world.submit(side=side.opening, quantity=0.25)


@SIDES
def test_what_closes_is_counted_once(side: Side) -> None:
    """Each of the orders alone would close; together they would open, and need margin."""
    world = World(side, balance=600)
    world.enter(0.1)
    for _ in range(2):
        world.limit(side.closing, world.away(1), quantity=0.1)
    with refused(-2019):
        world.limit(side.closing, world.away(1), quantity=0.1)


@SIDES
def test_an_amended_order_frees_only_what_it_held(side: Side) -> None:
    world = World(side, balance=1_000)
    world.limit(side.opening, world.away(-1), quantity=0.1, client_id="dear")
    world.limit(side.closing, world.away(1), quantity=0.09, client_id="cheap")
    with refused(-2019):
        world.ex.amend(world.account, BTC, side=side.closing, quantity=money(0.28), price=money(world.away(1)), client_id="cheap")


@SIDES
def test_orders_that_can_only_close_hold_no_margin_in_hedge_mode(side: Side) -> None:
    world = World(side, replace(EXACT, resting_reserves=False), hedge=True)
    world.enter(0.1)
    for _ in range(3):
        world.limit(side.closing, world.away(1), quantity=0.1)
    assert world.wallet.order_margin == 0


@SIDES
def test_a_refused_transfer_of_margin_changes_nothing(side: Side) -> None:
    world = World(side)
    with refused(-4054):
        world.ex.add_position_margin(world.account, BTC, money(10))
    assert not world.account.legs


# triggers


@pytest.mark.parametrize("side", [Side.LONG, Side.SHORT])
@pytest.mark.parametrize("cut", [True, False])
def test_the_mark_is_cut_to_its_precision(side: Side, cut: bool) -> None:
    """FAQ on stop orders, 2024-08-20: 0.006670234 is 0.00667 for a trigger; only a falling mark can fire earlier by it."""
    world = World(side, replace(EXACT, mark_truncated=cut))
    unit = 10 ** (8 - FACTS[BTC].price_precision)
    world.enter()
    row = world.stop(-2)
    tick_at(world, world.away(-1), E8(row.trigger + side.sign * unit))
    assert world.algo(row).status is AlgoStatus.NEW
    tick_at(world, world.away(-1), E8(row.trigger + side.sign * (unit - 1)))
    falling = side is Side.LONG
    assert world.algo(row).status is (AlgoStatus.FINISHED if falling and cut else AlgoStatus.NEW)
    tick_at(world, world.away(-1), row.trigger)
    assert world.algo(row).status is AlgoStatus.FINISHED


@SIDES
def test_what_is_true_of_the_cut_mark_is_refused(side: Side) -> None:
    world = World(side)
    world.enter()
    tick_at(world, 100_000, E8(money(100_000) + 5))
    if side is Side.LONG:
        with refused(-2021):
            world.stop(0)
    else:
        with refused(-2021):
            world.stop(0)
        world.stop(-0.001)


def test_every_price_precision_is_at_least_as_fine_as_the_tick() -> None:
    assert all(10 ** (8 - row.price_precision) <= row.instrument.tick for row in FACTS.values())


@SIDES
def test_trigger_prices_may_have_a_band(side: Side) -> None:
    world = World(side, replace(EXACT, trigger_band=Bps(500)))
    world.enter()
    with refused(-4211 if side is Side.LONG else -4210):
        world.stop(-5.001)
    with refused(-4210 if side is Side.LONG else -4211):
        world.target(5.001)
    assert world.stop(-5).status is world.target(5).status is AlgoStatus.NEW


@SIDES
def test_codes_that_the_documents_list_twice(side: Side) -> None:
    world = World(side, replace(EXACT, immediate_code=-4142, cancel_triggering_code=-4117))
    world.enter()
    with refused(-4142):
        world.stop(0)
    with refused(-4142):
        world.trail(100, activation=world.away(-1))
    row = world.stop(-2)
    world.ex.hold_trigger = lambda algo: True
    world.price(world.away(-2))
    with refused(-4117):
        world.ex.cancel_algo(world.account, algo_id=row.algo_id)
    hedged = World(side, replace(EXACT, hedge_reduce_only_code=-4062), hedge=True)
    hedged.enter()
    with refused(-4062):
        hedged.stop(-2, reduce_only=True)


@SIDES
def test_a_child_beyond_the_take_bound_may_expire_unfilled(side: Side) -> None:
    """FINISHED with nothing done: the position is as naked as before."""
    world = World(side, replace(EXACT, take_bound_child=True))
    world.enter()
    row = world.stop(-2)
    world.price(world.away(-8), mark=world.away(-2.5))
    assert world.algo(row).status is AlgoStatus.FINISHED and world.algo(row).actual_quantity == 0
    child = world.child(row)
    assert child.status is OrderStatus.EXPIRED and child.executed == 0 and world.amount
    assert not world.account.open_orders and not world.account.open_algos


@SIDES
@pytest.mark.parametrize("ends", [True, False])
def test_what_becomes_of_a_protected_stop_is_a_rule(side: Side, ends: bool) -> None:
    world = World(side, replace(EXACT, price_protect_ends=ends))
    world.enter()
    row = world.stop(-2, price_protect=True)
    world.price(world.away(-8), mark=world.away(-2.5))
    assert world.algo(row).status is (AlgoStatus.EXPIRED if ends else AlgoStatus.NEW) and world.amount
    world.price(world.away(-3), mark=world.away(-2.5))
    assert world.algo(row).status is (AlgoStatus.EXPIRED if ends else AlgoStatus.FINISHED) and bool(world.amount) is ends


# lists and ids


@SIDES
def test_two_hundred_conditional_orders_over_all_symbols(side: Side) -> None:
    world = World(side)
    world.price(2_000, symbol=ETH)
    for number in range(200):
        symbol = (BTC, ETH)[number % 2]
        world.conditional(OrderKind.STOP_MARKET, quantity=1, trigger=(world.away(-2), 2_000 - side.sign * 40)[number % 2], symbol=symbol)
    with refused(-4045):
        world.stop(-3)
    world.ex.cancel_algo(world.account, algo_id=next(iter(world.account.open_algos)))
    world.stop(-3)


@SIDES
def test_what_ended_without_a_fill_is_forgotten_after_three_days(side: Side) -> None:
    day = 24 * HOUR_MS
    world = World(side)
    filled, stop = world.enter(), world.stop(-2)
    world.price(world.away(-2))
    cancelled, gone = world.limit(side.opening, world.away(-4)), world.stop(-4)
    world.ex.cancel_all(world.account, BTC), world.ex.cancel_all_algos(world.account, BTC)
    resting, waiting = world.limit(side.opening, world.away(-4)), world.stop(-4)
    world.ex.advance(world.ex.now_ms + 3 * day)
    assert world.order(cancelled).status is OrderStatus.CANCELED and world.algo(gone).status is AlgoStatus.CANCELED
    world.ex.advance(world.ex.now_ms + 1)
    with refused(-2013):
        world.order(cancelled)
    with refused(-2013):
        world.algo(gone)
    assert cancelled.order_id not in {row.order_id for row in world.ex.order_history(world.account)}
    assert gone.algo_id not in {row.algo_id for row in world.ex.algo_history(world.account)}
    assert world.order(filled).executed and world.algo(stop).actual_quantity
    world.ex.advance(world.ex.now_ms + 90 * day)
    with refused(-2013):
        world.order(filled)
    with refused(-2013):
        world.algo(stop)
    assert world.order(resting).status is OrderStatus.NEW and world.algo(waiting).status is AlgoStatus.NEW


@SIDES
def test_an_order_with_a_date_ends_at_it(side: Side) -> None:
    world = World(side)
    world.enter()
    date = world.ex.now_ms // 1_000 * 1_000 + 700_000
    dated = {"time_in_force": TimeInForce.GTD, "good_till_ms": date + 999}
    row = world.limit(side.opening, world.away(-4), **dated)
    stop = world.conditional(OrderKind.STOP, quantity=0.1, trigger=world.away(-3), price=world.away(-3), **dated)
    fired = world.conditional(OrderKind.STOP, quantity=0.05, trigger=world.away(-1), price=world.away(-0.5), **dated)
    world.price(world.away(-1))
    assert row.good_till_ms == stop.good_till_ms == world.child(fired).good_till_ms == date
    twin = world.ex.clone()
    world.ex.advance(date - 1)
    assert world.order(row).status is world.child(fired).status is OrderStatus.NEW and world.algo(stop).status is AlgoStatus.NEW
    world.price(world.away(-4), ms=1)  # in that very millisecond: too late to fill
    assert world.order(row).status is world.child(fired).status is OrderStatus.EXPIRED
    assert world.algo(stop).status is AlgoStatus.EXPIRED and world.algo(fired).status is AlgoStatus.FINISHED
    assert abs(world.amount) == money(0.1)
    twin.advance(date)
    assert not twin.accounts["main"].open_orders and not twin.accounts["main"].open_algos


@SIDES
def test_an_order_is_found_again_when_a_child_of_its_id_has_ended(side: Side) -> None:
    """Both books have ids of their own, and a child brings its parent's into the other one."""
    world = World(side)
    world.enter()
    row = world.limit(side.opening, world.away(-4), client_id="same")
    world.stop(-2, client_id="same")
    world.price(world.away(-2))
    assert world.ex.order(world.account, BTC, client_id="same") == row
    with refused(-4116):
        world.limit(side.opening, world.away(-4), client_id="same")
    assert world.ex.cancel(world.account, BTC, client_id="same").order_id == row.order_id


@SIDES
def test_an_open_id_is_taken_also_by_an_order_of_another_symbol(side: Side) -> None:
    """A child of another symbol that has the id has come and gone: the order that rests under it is still found, and still in the way."""
    world = World(side)
    world.enter()
    world.price(2_000, symbol=ETH)
    row = world.limit(side.opening, 2_000 - side.sign * 90, symbol=ETH, client_id="same")
    world.stop(-2, client_id="same")
    world.price(world.away(-2))
    assert [order.symbol for order in world.ex.order_history(world.account) if order.client_id == "same"] == [ETH, BTC]
    assert world.ex.order(world.account, ETH, client_id="same") == row
    assert world.ex.order(world.account, BTC, client_id="same").status is OrderStatus.FILLED, "each symbol has its own"
    with refused(-4116):
        world.limit(side.opening, world.away(-4), client_id="same")
    assert world.ex.cancel(world.account, ETH, client_id="same").order_id == row.order_id
    world.limit(side.opening, world.away(-4), client_id="same")


def test_a_change_of_the_margin_mode_is_told() -> None:
    world = World()
    world.ex.set_margin_mode(world.account, BTC, isolated=True)
    (event,) = world.events
    assert isinstance(event, AccountUpdate) and event.reason is Reason.MARGIN_TYPE_CHANGE
    assert [(row.symbol, row.isolated, row.amount) for row in event.positions] == [(BTC, True, 0)]


# what the exchange does


@SIDES
@MODES
@pytest.mark.parametrize("isolated", [False, True], ids=["cross", "isolated"])
def test_a_position_is_deleveraged(side: Side, hedge: bool, isolated: bool) -> None:
    world = World(side, hedge=hedge, balance=10_000)
    if isolated:
        world.ex.set_margin_mode(world.account, BTC, isolated=True)
    world.enter(0.1)
    floor = world.floor(-3)
    world.price(world.away(2))
    before, paid = world.wallet, world.account.totals[IncomeKind.COMMISSION]
    slot = world.slot or PositionSide.BOTH
    done = world.ex.deleverage(world.account, BTC, quantity=money(0.04), price=money(world.away(1)), side=slot)
    assert done == money(0.04) and abs(world.amount) == money(0.06)
    assert world.wallet.wallet - before.wallet == money(40) and world.account.totals[IncomeKind.COMMISSION] == paid
    assert world.ex.deleverage(world.account, BTC, side=slot) == money(0.06)
    order = world.ex.order_history(world.account)[-1]
    assert order.client_id.startswith("adl_autoclose") and order.average == money(world.away(2))
    told = [event.execution for event in world.events if isinstance(event, OrderUpdate)]
    assert told.count(Execution.CALCULATED) == 2
    assert world.algo(floor).status is AlgoStatus.EXPIRED
    assert world.ex.deleverage(world.account, BTC, side=slot) == 0


@SIDES
@pytest.mark.parametrize("code", [-4192, -4400])
def test_a_restricted_account_may_only_reduce(side: Side, code: int) -> None:
    world = World(side)
    world.enter(0.1)
    world.ex.restrict(world.account, code)
    with refused(code):
        world.enter(0.1)
    with refused(code):
        world.submit(side=side.closing, quantity=0.3)
    entry = world.conditional(OrderKind.STOP_MARKET, quantity=0.1, trigger=world.away(1), side=side.opening, reduce_only=None)
    stop = world.stop(-2)
    world.price(world.away(1))
    assert world.algo(entry).status is AlgoStatus.REJECTED and world.algo(stop).status is AlgoStatus.NEW
    world.leave(0.1)
    world.ex.restrict(world.account, None)
    world.enter(0.1)
    with pytest.raises(ValueError, match="-4400"):
        world.ex.restrict(world.account, -1)


@SIDES
def test_a_halted_symbol_may_only_be_reduced(side: Side) -> None:
    world = World(side)
    world.price(2_000, symbol=ETH)
    world.enter(0.1)
    world.ex.halt(BTC)
    with refused(-4140):
        world.enter(0.1)
    twin = world.ex.clone()
    assert twin.halted == {BTC}
    world.enter(1, symbol=ETH)
    world.leave(0.1)
    world.ex.halt(BTC, halted=False)
    world.enter(0.1)
    with refused(-1121):
        world.ex.halt("NOSUCH")


@SIDES
def test_an_account_in_liquidation_is_refused_for_a_while(side: Side) -> None:
    world = World(side, replace(EXACT, liquidation_ms=5_000), balance=1_000)
    world.enter(0.1)
    world.price(world.away(-9.8))
    assert not world.amount
    world.ex.deposit(world.account, money(10_000))
    with refused(-2023):
        world.enter(0.1)
    with refused(-2023):
        world.stop(-15)
    world.ex.advance(world.ex.now_ms + 5_000)
    world.price(world.away(-9.8))
    world.enter(0.1)


@SIDES
def test_a_funding_that_ruins_an_account_comes_before_its_stop(side: Side) -> None:
    """One tick pays the funding and reaches the stop; where the liquidation wins, it wins although its guard was set before the payment."""
    world = World(side, balance=1_000)
    world.enter(0.1)
    row = world.floor(-3)
    world.ex.set_funding(BTC, E8(side.sign * 6_800_000), world.ex.now_ms + 1)
    world.price(world.away(-3))
    assert world.algo(row).status is AlgoStatus.EXPIRED and not world.amount


def test_accounts_do_not_see_each_other() -> None:
    """Two accounts of one owner: orders, ids, slots, leverage and losses stay apart."""
    ex = Exchange(EXACT, start_ms=START)
    worlds = []
    for name in ("main", "sub"):
        world = World(Side.LONG, balance=1_000)
        world.ex, world.account = ex, ex.open_account(name, balance=money(1_000))
        worlds.append(world)
    main, sub = worlds
    main.price(100_000)
    main.enter(0.1)
    sub.enter(0.01)
    first, second = main.floor(-5, client_id="same"), sub.floor(-5, client_id="same")
    ex.set_leverage(main.account, BTC, 50)
    assert ex.config(sub.account, BTC).leverage == 20
    with refused(-2013):
        ex.algo(sub.account, algo_id=first.algo_id)
    with refused(-2011):
        ex.cancel_algo(main.account, algo_id=second.algo_id)
    before = sub.wallet
    main.price(90_300)
    assert not ex.positions(main.account) and main.wallet.wallet == 0  # liquidated
    assert sub.algo(second).status is AlgoStatus.FINISHED
    assert before.wallet - sub.wallet.wallet == money(97) + money(90_300) // 100 * 5 // 10_000
    assert all(row.account == "sub" for row in sub.account.orders.values())


def test_mark_and_last_part_as_far_as_asked() -> None:
    """Each series triggers its own orders, by whatever the other one does."""
    world = World(Side.LONG)
    world.enter()
    by_mark, by_last = world.stop(-2, quantity=0.05), world.stop(-2, quantity=0.05, trigger_by=TriggerBy.LAST)
    world.price(99_000, mark=98_000)
    assert (world.algo(by_mark).status, world.algo(by_last).status) == (AlgoStatus.FINISHED, AlgoStatus.NEW)
    assert world.child(by_mark).average == money(99_000)  # triggered by the mark, filled at the market
    world.price(98_000, mark=99_000)
    assert world.algo(by_last).status is AlgoStatus.FINISHED
