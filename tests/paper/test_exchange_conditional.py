"""Conditional orders from placement to the child's end, for both sides, one-way and hedge.

Over 300 lines: each kind and each end is a scene of its own.
"""

from dataclasses import replace

import pytest

from qtkit.core.model import ONE, Bps, OrderKind, OrderStatus, PositionSide, Side, TriggerBy
from qtkit.paper.admission import CALLBACK_MAX_SINCE_MS
from qtkit.paper.exchange import Rules
from qtkit.paper.liquidity import Liquidity
from qtkit.paper.rows import AccountUpdate, AlgoStatus, AlgoUpdate, Execution, OrderUpdate, TimeInForce
from tests.paper.engine import BTC, EXACT, MODES, SIDES, World, money, refused, thin

STRANGE = replace(EXACT, floor_beside_stop=False, stop_while_flat=False, conditional_reserves=True)


@SIDES
@MODES
def test_a_stop_closes_the_position(side: Side, hedge: bool) -> None:
    world = World(side, hedge=hedge)
    world.enter(0.1)
    row = world.stop(-2)
    world.price(world.away(-1.9))
    assert world.algo(row).status is AlgoStatus.NEW and world.amount
    world.price(world.away(-2))
    done = world.algo(row)
    assert done.status is AlgoStatus.FINISHED and done.actual_quantity == money(0.1)
    child = world.child(row)
    assert child.client_id == row.client_id and child.origin is OrderKind.STOP_MARKET and child.kind is OrderKind.MARKET
    assert child.average == money(world.away(-2)) and world.amount == 0
    assert world.ex.open_algos(world.account) == ()


@SIDES
def test_a_gap_fills_at_the_gaps_price_not_at_the_trigger(side: Side) -> None:
    world = World(side)
    world.enter()
    row = world.stop(-2)
    world.price(world.away(-4))
    assert world.child(row).average == money(world.away(-4))


@SIDES
def test_the_spread_is_paid(side: Side) -> None:
    world = World(side, Rules(liquidity=Liquidity(half_spread_ticks=2, half_spread=100_000)))
    world.enter()
    row = world.stop(-2)
    world.price(world.away(-2))
    worse = side.sign * (money(world.away(-2)) - world.child(row).average)
    assert worse >= money(98)  # 10 bps of 98,000 and two ticks


@SIDES
def test_working_type_names_the_series(side: Side) -> None:
    world = World(side)
    world.enter()
    by_mark, by_last = world.stop(-2), world.stop(-2, trigger_by=TriggerBy.LAST)
    world.price(world.away(-3), mark=world.away(-1))
    assert world.algo(by_mark).status is AlgoStatus.NEW
    assert world.algo(by_last).status is AlgoStatus.FINISHED


@SIDES
def test_already_true_is_refused(side: Side) -> None:
    world = World(side)
    world.enter()
    with refused(-2021):
        world.stop(0)
    with refused(-2021):
        world.stop(1)
    with refused(-2021):
        world.target(-1)
    assert world.target(1).status is AlgoStatus.NEW


@SIDES
def test_a_target_fires_on_the_profit_side(side: Side) -> None:
    world = World(side)
    world.enter()
    row = world.target(3, quantity=0.04)
    world.price(world.away(3))
    assert world.algo(row).status is AlgoStatus.FINISHED
    assert abs(world.amount) == money(0.06)


@SIDES
@MODES
def test_close_position_takes_what_is_there_at_the_trigger(side: Side, hedge: bool) -> None:
    world = World(side, hedge=hedge)
    world.enter(0.1)
    row = world.floor(-3)
    world.enter(0.2)
    world.price(world.away(-3))
    assert world.child(row).executed == money(0.3) and world.amount == 0


@SIDES
def test_close_position_has_no_market_lot_limit_and_quantity_has(side: Side) -> None:
    world = World(side, balance=50_000_000)
    world.ex.set_leverage(world.account, BTC, 20)
    for _ in range(2):
        world.enter(100)
    with refused(-4005):
        world.stop(-1, quantity=121)
    row = world.floor(-1)
    world.price(world.away(-1))
    assert world.child(row).executed == money(200)


@SIDES
def test_one_close_position_order_per_family(side: Side) -> None:
    world = World(side)
    world.enter()
    first = world.floor(-3)
    with refused(-4130):
        world.floor(-2)
    target = world.target(5, quantity=None, close_position=True, reduce_only=None)
    assert target.close_position
    world.ex.cancel_algo(world.account, algo_id=first.algo_id)
    assert world.floor(-2).status is AlgoStatus.NEW


@SIDES
def test_the_slot_lags_a_cancel(side: Side) -> None:
    world = World(side, replace(EXACT, slot_lag_ms=800))
    world.enter()
    first = world.floor(-3)
    world.ex.cancel_algo(world.account, algo_id=first.algo_id)
    with refused(-4130):
        world.floor(-2)
    world.ex.advance(world.ex.now_ms + 800)
    world.floor(-2)


@SIDES
def test_close_position_expires_with_the_position_and_quantity_orders_stay(side: Side) -> None:
    world = World(side)
    world.enter()
    floor, stop = world.floor(-3), world.stop(-2)
    world.leave()
    assert world.algo(floor).status is AlgoStatus.EXPIRED
    assert world.algo(stop).status is AlgoStatus.NEW
    world.price(world.away(-2))
    assert world.algo(stop).status is AlgoStatus.REJECTED and world.algo(stop).reason == "Reduce Only reject"
    assert world.amount == 0


@SIDES
def test_the_failure_of_an_orphan_is_a_rule(side: Side) -> None:
    world = World(side, replace(EXACT, reduce_only_failure=AlgoStatus.EXPIRED))
    row = world.stop(-2)
    world.price(world.away(-2))
    assert world.algo(row).status is AlgoStatus.EXPIRED


@SIDES
def test_an_orphan_clamps_to_the_next_position(side: Side) -> None:
    world = World(side)
    world.enter(0.1)
    row = world.stop(-2)
    world.leave(0.1)
    world.enter(0.05)
    world.price(world.away(-2))
    assert world.child(row).executed == money(0.05) and world.amount == 0


@SIDES
def test_a_flip_ends_the_old_sides_close_position_order(side: Side) -> None:
    world = World(side)
    world.enter(0.1)
    floor = world.floor(-3)
    world.submit(side=side.closing, quantity=0.3)
    assert world.algo(floor).status is AlgoStatus.EXPIRED and abs(world.amount) == money(0.2)


@SIDES
def test_shapes_of_close_position(side: Side) -> None:
    world = World(side)
    with refused(-4509):
        world.floor(-3)
    world.enter()
    with refused(-4137):
        world.stop(-2, close_position=True, reduce_only=None)
    with refused(-1106):
        world.stop(-2, quantity=None, close_position=True)
    with refused(-4138):
        world.stop(-2, quantity=None, close_position=True, reduce_only=False)
    with refused(-4136):
        world.conditional(OrderKind.TRAILING_STOP_MARKET, quantity=None, callback=Bps(100), close_position=True, reduce_only=None)
    hedged = World(side, hedge=True)
    hedged.enter()
    with refused(-2022):
        hedged.floor(3, side=side.opening)


@SIDES
def test_strange_rules_refuse_what_the_usual_ones_accept(side: Side) -> None:
    world = World(side, STRANGE)
    with refused(-4509):
        world.stop(-2)
    world.enter()
    floor = world.floor(-3)
    with refused(-4130):
        world.stop(-2)
    world.ex.cancel_algo(world.account, algo_id=floor.algo_id)
    world.stop(-2, quantity=0.06)
    with refused(-4130):
        world.floor(-3)
    with refused(-4118):
        world.stop(-1, quantity=0.06)
    world.stop(-1, quantity=0.04)
    assert world.target(2, quantity=0.1).status is AlgoStatus.NEW  # the other family
    usual = World(side)
    assert usual.stop(-2).status is AlgoStatus.NEW  # while flat
    usual.enter()
    usual.floor(-3)
    usual.stop(-1)
    usual.stop(-1.5)


@SIDES
def test_trailing_activates_follows_and_fires(side: Side) -> None:
    world = World(side)
    world.enter()
    row = world.trail(100, activation=world.away(2))
    world.price(world.away(1))
    world.price(world.away(-1))
    assert not world.algo(row).activated
    world.price(world.away(2))
    assert world.algo(row).activated and world.algo(row).peak == money(world.away(2))
    world.price(world.away(5))
    world.price(world.away(4.1))
    assert world.algo(row).status is AlgoStatus.NEW and world.algo(row).peak == money(world.away(5))
    world.price(world.away(3.9))
    assert world.algo(row).status is AlgoStatus.FINISHED and world.amount == 0


@SIDES
def test_the_peak_follows_every_tick(side: Side) -> None:
    world = World(side)
    world.enter()
    row = world.trail(100)
    for tenths in (1, 2, 3):
        world.price(100_000 + side.sign * tenths / 10)
        assert world.algo(row).peak == money(100_000 + side.sign * tenths / 10)


@SIDES
def test_trailing_without_activation_starts_at_once(side: Side) -> None:
    world = World(side)
    world.enter()
    row = world.trail(100)
    assert row.activated and row.peak == money(100_000)
    world.price(world.away(-1))
    assert world.algo(row).status is AlgoStatus.FINISHED


@SIDES
def test_trailing_refusals(side: Side) -> None:
    world = World(side)
    for bad in (9, 1010, 15):  # 10 % at most before 2026-10-23
        with refused(-2007):
            world.trail(bad)
    with refused(-2021):
        world.trail(100, activation=world.away(-1))
    with refused(-2021):
        world.trail(100, trigger=world.away(-1))
    with refused(-4135):
        world.trail(100, activation=0)
    assert world.trail(1000).status is AlgoStatus.NEW
    world.ex.advance(CALLBACK_MAX_SINCE_MS)
    with refused(-2007):
        world.trail(2010)
    assert world.trail(2000).status is AlgoStatus.NEW
    old = World(side, replace(EXACT, callback_max=Bps(2000)))
    assert old.trail(2000).status is AlgoStatus.NEW  # a tape of before, traded under the rules of today


@SIDES
def test_price_protect_fails_in_the_crash_it_is_for(side: Side) -> None:
    world = World(side)
    world.enter()
    guarded, plain = world.stop(-2, price_protect=True, quantity=0.05), world.stop(-2, quantity=0.05)
    world.price(world.away(-8), mark=world.away(-2.5))
    assert world.algo(guarded).status is AlgoStatus.EXPIRED
    assert world.algo(plain).status is AlgoStatus.REJECTED  # 5 % take bound
    assert world.amount
    calm = World(side)
    calm.enter()
    row = calm.stop(-2, price_protect=True)
    calm.price(calm.away(-3), mark=calm.away(-2.5))
    assert calm.algo(row).status is AlgoStatus.FINISHED


@SIDES
def test_stop_limit_leaves_a_resting_child(side: Side) -> None:
    world = World(side)
    world.enter()
    row = world.conditional(OrderKind.STOP, quantity=0.1, trigger=world.away(-2), price=world.away(-1.5))
    world.price(world.away(-2))
    assert world.algo(row).status is AlgoStatus.TRIGGERED
    child = world.child(row)
    assert child.status is OrderStatus.NEW and child.kind is OrderKind.LIMIT
    assert world.ex.open_algos(world.account) == () and len(world.ex.open_orders(world.account)) == 1
    world.price(world.away(-1.5))
    assert world.algo(row).status is AlgoStatus.FINISHED and world.amount == 0


@SIDES
def test_finished_may_mean_cancelled(side: Side) -> None:
    world = World(side)
    world.enter()
    row = world.conditional(OrderKind.STOP, quantity=0.1, trigger=world.away(-2), price=world.away(-1.5))
    world.price(world.away(-2))
    world.ex.cancel(world.account, BTC, client_id=row.client_id)
    assert world.algo(row).status is AlgoStatus.FINISHED and world.algo(row).actual_quantity == 0


@SIDES
def test_a_conditional_entry_needs_margin_only_at_its_trigger(side: Side) -> None:
    world = World(side, balance=1_000)
    row = world.conditional(OrderKind.STOP_MARKET, quantity=10, trigger=world.away(1), side=side.opening, reduce_only=None)
    world.price(world.away(1))
    assert world.algo(row).status is AlgoStatus.REJECTED and world.algo(row).reason == "Margin is insufficient."


@SIDES
def test_thin_book_fills_a_child_in_part(side: Side) -> None:
    world = World(side)
    world.enter()
    row = world.stop(-2)
    world.ex.set_liquidity(BTC, thin(round(0.03 * world.away(-2))))
    world.price(world.away(-2))
    assert world.child(row).status is OrderStatus.EXPIRED and world.child(row).executed == money(0.03)
    assert world.algo(row).status is AlgoStatus.FINISHED and abs(world.amount) == money(0.07)


@SIDES
def test_client_ids_and_limits(side: Side) -> None:
    world = World(side, replace(EXACT, max_conditional=3))
    world.enter()
    row = world.stop(-2, client_id="one")
    with refused(-4116):
        world.stop(-3, client_id="one")
    world.ex.cancel_algo(world.account, client_id="one")
    again = world.stop(-3, client_id="one")
    assert again.algo_id != row.algo_id and world.ex.algo(world.account, client_id="one") == again
    world.stop(-4), world.stop(-5)
    with refused(-4045):
        world.stop(-6)
    with refused(-4015):
        world.stop(-6, client_id="ü")
    with refused(-2011):
        world.ex.cancel_algo(world.account, client_id="two")
    with refused(-2013):
        world.ex.algo(world.account, client_id="two")
    assert len(world.ex.cancel_all_algos(world.account, BTC)) == 3
    with refused(-2011):
        world.ex.cancel_algo(world.account, algo_id=again.algo_id)


@SIDES
def test_read_lag_hides_a_new_order(side: Side) -> None:
    world = World(side, replace(EXACT, algo_read_lag_ms=3_000))
    world.enter()
    row = world.stop(-2, client_id="one")
    assert world.ex.open_algos(world.account) == ()
    with refused(-2013):
        world.ex.algo(world.account, client_id="one")
    with refused(-2011):
        world.ex.cancel_algo(world.account, client_id="one")
    with refused(-4116):
        world.stop(-2, client_id="one")
    world.ex.advance(world.ex.now_ms + 3_000)
    assert world.ex.open_algos(world.account) == (row,)


@SIDES
def test_stuck_triggering_protects_nothing(side: Side) -> None:
    world = World(side)
    world.enter()
    row = world.stop(-2)
    world.ex.hold_trigger = lambda algo: True
    world.price(world.away(-2))
    assert world.algo(row).status is AlgoStatus.TRIGGERING and world.algo(row).order_id == 0 and world.amount
    assert world.ex.open_algos(world.account) == (world.algo(row),)
    with refused(-2011):
        world.ex.cancel_algo(world.account, algo_id=row.algo_id)


@SIDES
@pytest.mark.parametrize("trade_first", [True, False])
def test_order_of_events(side: Side, trade_first: bool) -> None:
    world = World(side, replace(EXACT, trade_before_algo=trade_first))
    world.enter()
    floor, _ = world.floor(-3), world.stop(-2)
    world.events.clear()
    world.price(world.away(-2))
    told = [
        event.algo.status.value
        if isinstance(event, AlgoUpdate)
        else event.execution.value + "!"
        if isinstance(event, OrderUpdate)
        else "account"
        for event in world.events
        if not (isinstance(event, AlgoUpdate) and event.algo.algo_id == floor.algo_id)
    ]
    trade = ["NEW!", "account", "TRADE!"]
    assert told == (["TRIGGERING", *trade, "TRIGGERED", "FINISHED"] if trade_first else ["TRIGGERING", "TRIGGERED", *trade, "FINISHED"])
    (update,) = (event for event in world.events if isinstance(event, AccountUpdate))
    assert [row.amount for row in update.positions] == [0]
    fill = next(event for event in world.events if isinstance(event, OrderUpdate) and event.execution is Execution.TRADE)
    assert fill.trade is not None and fill.order.status is OrderStatus.FILLED
    assert isinstance(world.events[-1], AlgoUpdate) and world.events[-1].algo.status is AlgoStatus.EXPIRED  # the floor


@SIDES
def test_nearest_trigger_first_when_a_price_reaches_several(side: Side) -> None:
    world = World(side)
    world.enter(0.1)
    far, near = world.stop(-3, quantity=0.1), world.stop(-2, quantity=0.06)
    world.price(world.away(-4))
    assert world.child(near).executed == money(0.06) and world.child(far).executed == money(0.04)


@SIDES
def test_position_side_rules(side: Side) -> None:
    one_way, hedged = World(side), World(side, hedge=True)
    with refused(-4061):
        one_way.stop(-2, position_side=PositionSide.LONG)
    with refused(-4061):
        hedged.stop(-2, position_side=None)
    with refused(-1106):
        hedged.stop(-2, reduce_only=True)


@SIDES
def test_gte_ends_with_the_position(side: Side) -> None:
    world = World(side)
    with refused(-4509):
        world.stop(-2, time_in_force=TimeInForce.GTE_GTC)
    world.enter()
    row = world.stop(-2, time_in_force=TimeInForce.GTE_GTC)
    world.leave()
    assert world.algo(row).status is AlgoStatus.EXPIRED


def test_hedge_legs_do_not_see_each_other() -> None:
    world = World(Side.LONG, hedge=True)
    world.enter(0.1)
    other = World(Side.SHORT, hedge=True)
    other.ex, other.account = world.ex, world.account
    other.enter(0.2)
    long_floor, short_floor = world.floor(-3), other.floor(-3)
    world.price(97_000)
    assert world.algo(long_floor).status is AlgoStatus.FINISHED and world.algo(short_floor).status is AlgoStatus.NEW
    rows = world.ex.positions(world.account, BTC)
    assert [(row.position_side, row.amount) for row in rows] == [(PositionSide.SHORT, -2 * ONE // 10)]
