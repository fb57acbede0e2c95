"""The book of the paper exchange: what is shown is what an order gets; larger never fills better; both sides mirror each other."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtkit.core.model import E8, ONE, OrderSide, OrderStatus, PolicyError, Side, Ticks
from qtkit.paper import liquidity
from qtkit.paper.exchange import Exchange, Rules
from qtkit.paper.facts import FACTS
from qtkit.paper.liquidity import LEVELS, Ladder, Liquidity, ladder, still_eaten
from qtkit.paper.rows import Execution, OrderRow, OrderUpdate
from tests.paper.engine import BTC, SIDES, TimeInForce, World, money, refused, thin

TICK, LOT, LAST = FACTS[BTC].instrument.tick, FACTS[BTC].instrument.lot, 100_000 * ONE
STEPS = Liquidity(half_spread_ticks=1, half_spread=0, depth=10_000 * ONE, step=10_000, level=20_000 * ONE, recovery_ms=1_000)
"""At 100,000: 0.1 BTC one tick away, then 0.2 BTC every 10 dollars."""

MODELS = st.builds(
    Liquidity, half_spread_ticks=st.integers(0, 5), half_spread=st.integers(0, 100_000), depth=st.integers(0, 200_000 * ONE),
    step=st.integers(0, 50_000), level=st.integers(0, 200_000 * ONE), recovery_ms=st.integers(0, 5_000), queue_ticks=st.integers(0, 3),
)  # fmt: skip
LASTS = st.integers(1, 2_000_000).map(lambda ticks: ticks * TICK)
LOTS = st.integers(2, 5_000).map(lambda lots: lots * LOT)


def side_of(model: Liquidity, side: OrderSide, last: int = LAST, eaten: int = 0) -> Ladder:
    return ladder(model, side, last, tick=TICK, lot=LOT, eaten=eaten)


def book(side: Side = Side.LONG, model: Liquidity = STEPS, *, hedge: bool = False, balance: float = 100_000_000) -> World:
    return World(side, Rules(liquidity=model), hedge=hedge, balance=balance)


def fills(world: World, row: OrderRow) -> list[tuple[int, int]]:
    return [(trade.price, trade.quantity) for trade in world.ex.trades(world.account) if trade.order_id == row.order_id]


def beyond(side: Side, dollars: float) -> int:
    """A price that much worse than 100,000 for who opens this side."""
    return money(100_000 + side.sign * dollars)


# -- the ladder -----------------------------------------------------------------------------------------------------------------------


@given(MODELS, LASTS, st.sampled_from(OrderSide), st.lists(LOTS, min_size=2, max_size=6), st.integers(0, 3_000).map(lambda n: n * LOT))
def test_a_larger_order_never_fills_better(model: Liquidity, last: int, side: OrderSide, sizes: list[int], eaten: int) -> None:
    it = side_of(model, side, last, eaten)
    averages = [it.sign * it.average(size, TICK) for size in sorted(sizes)]
    assert averages == sorted(averages) and all(price % TICK == 0 for price in averages)
    assert averages[0] >= it.sign * it.quote()[0]


@given(MODELS, LASTS, st.sampled_from(OrderSide), LOTS, st.integers(-3_000, 3_000))
def test_levels_get_worse_lie_on_the_grid_and_stop_at_the_limit(model: Liquidity, last: int, side: OrderSide, size: int, off: int) -> None:
    it, limit = side_of(model, side, last), last + off * TICK
    found = it.sweep(size, limit)
    assert all(it.sign * (b[0] - a[0]) > 0 for a, b in pairwise(found))
    assert all(price > 0 and price % TICK == 0 and held > 0 and held % LOT == 0 for price, held in found)
    assert all(it.sign * (limit - price) >= 0 for price, _ in found)
    assert sum(held for _, held in found) == min(size, it.within(limit))


@given(MODELS, LASTS, LOTS, st.integers(0, 3_000).map(lambda n: n * LOT))
def test_both_sides_mirror_each_other(model: Liquidity, last: int, size: int, eaten: int) -> None:
    """Around the last price, but for the rounding of a share of the price, which goes against each taker, and for prices below a tick."""
    asks, bids = (list(side_of(model, side, last, eaten).levels()) for side in (OrderSide.BUY, OrderSide.SELL))
    if not model.half_spread and last > model.half_spread_ticks * TICK:
        assert [(last - price, held) for price, held in bids] == [(price - last, held) for price, held in asks][: len(bids)]
    assert [held for _, held in bids] == [held for _, held in asks][: len(bids)]
    assert len(bids) <= len(asks) <= LEVELS


@given(MODELS, LASTS, st.sampled_from(OrderSide), st.lists(LOTS, min_size=1, max_size=5))
def test_cut_into_parts_an_order_pays_the_same(model: Liquidity, last: int, side: OrderSide, parts: list[int]) -> None:
    far = liquidity.ENDLESS if side is OrderSide.BUY else 0
    whole = sum(price * held for price, held in side_of(model, side, last).sweep(sum(parts), far))
    cost = eaten = 0
    for part in parts:
        found = side_of(model, side, last, eaten).sweep(part, far)
        cost += sum(price * held for price, held in found)
        eaten += sum(held for _, held in found)
    assert cost == whole


@given(st.integers(0, 10**6).map(lambda n: n * LOT), st.integers(0, 10**6), st.integers(0, 10**5), st.integers(1, 10_000))
def test_what_was_taken_comes_back_and_never_more(quantity: int, elapsed: int, later: int, half: int) -> None:
    now, then = still_eaten(quantity, elapsed, half, LOT), still_eaten(quantity, elapsed + later, half, LOT)
    assert 0 <= then <= now <= quantity and now % LOT == 0
    assert still_eaten(quantity, 0, half, LOT) == quantity
    assert 0 <= still_eaten(quantity, half, half, LOT) - quantity // 2 < LOT
    assert still_eaten(quantity, 300 * half, half, LOT) == 0 == still_eaten(quantity, elapsed, 0, LOT)


def test_the_ladder_by_hand() -> None:
    asks = list(side_of(STEPS, OrderSide.BUY).levels())
    assert asks[:3] == [(money(100_000.1), money(0.1)), (money(100_010.1), money(0.2)), (money(100_020.1), money(0.2))]
    assert len(asks) == LEVELS
    partly = side_of(STEPS, OrderSide.SELL, eaten=money(0.25))
    assert partly.quote() == (money(99_989.9), money(0.05))
    assert side_of(replace(STEPS, level=0), OrderSide.BUY, eaten=money(0.1)).quote() == (money(100_000.1), 0)
    assert side_of(liquidity.EXACT, OrderSide.SELL).quote() == (LAST, liquidity.ENDLESS)
    assert [price for price, _ in side_of(STEPS, OrderSide.SELL, 2 * TICK).levels()] == [TICK], "no price is below a tick"


@pytest.mark.parametrize("wrong", [{"depth": -1}, {"step": ONE}, {"half_spread": ONE}, {"recovery_ms": -1}])
def test_a_book_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(PolicyError, match=next(iter(wrong))):
        Liquidity(**wrong)


# -- orders ---------------------------------------------------------------------------------------------------------------------------


@SIDES
def test_a_market_order_sweeps_what_was_shown(side: Side) -> None:
    world = book(side)
    shown = world.ex.depth(BTC, 3)
    row = world.enter(0.4)
    want = [(beyond(side, 0.1), money(0.1)), (beyond(side, 10.1), money(0.2)), (beyond(side, 20.1), money(0.1))]
    levels = shown.asks if side is Side.LONG else shown.bids
    assert fills(world, row) == want and [price for price, _ in levels] == [price for price, _ in want]
    assert row.status is OrderStatus.FILLED and row.quote == sum(price * held // ONE for price, held in want)
    told = [event for event in world.events if isinstance(event, OrderUpdate) and event.execution is Execution.TRADE]
    assert [event.order.status.name for event in told] == ["PARTIALLY_FILLED", "PARTIALLY_FILLED", "FILLED"]


@SIDES
def test_a_limit_takes_up_to_its_price_and_rests_with_the_rest(side: Side) -> None:
    world = book(side)
    row = world.limit(side.opening, 100_000 + side.sign * 10.1, 0.5)
    assert fills(world, row) == [(beyond(side, 0.1), money(0.1)), (beyond(side, 10.1), money(0.2))]
    assert row.status is OrderStatus.PARTIALLY_FILLED and row.remaining == money(0.2)
    now = world.limit(side.opening, 100_000 + side.sign * 20.1, 0.5, time_in_force=TimeInForce.IOC)
    assert fills(world, now) == [(beyond(side, 20.1), money(0.2))] and now.status is OrderStatus.EXPIRED
    with refused(-5021):
        world.limit(side.opening, 100_000 + side.sign * 30.1, 0.3, time_in_force=TimeInForce.FOK)
    whole = world.limit(side.opening, 100_000 + side.sign * 30.1, 0.2, time_in_force=TimeInForce.FOK)
    assert whole.status is OrderStatus.FILLED


@SIDES
def test_inside_the_spread_an_order_rests_and_is_filled_by_a_trade_through_it(side: Side) -> None:
    world = book(side, replace(STEPS, half_spread_ticks=5, queue_ticks=2))
    row = world.limit(side.opening, 100_000 + side.sign * 0.4, 0.05, time_in_force=TimeInForce.GTX)
    with refused(-5022):
        world.limit(side.opening, 100_000 + side.sign * 0.5, time_in_force=TimeInForce.GTX)
    world.price(100_000 + side.sign * 0.3)
    assert world.order(row).status is OrderStatus.NEW, "others stand in front"
    world.price(100_000 + side.sign * 0.2)
    assert world.order(row).status is OrderStatus.FILLED and world.order(row).average == beyond(side, 0.4)


@SIDES
def test_a_gap_through_a_resting_order_brings_more(side: Side) -> None:
    world = book(side, replace(STEPS, queue_ticks=0))
    near, far = world.limit(side.opening, world.away(-1), 0.5), world.limit(side.opening, world.away(-1.015), 0.5)
    world.price(world.away(-1.015))  # 98,985 and 101,015; the next level is 9.9 and 10.2 away, rounded up from 9.8985 and 10.1015
    top, level = {Side.LONG: (0.101, 0.202), Side.SHORT: (0.098, 0.199)}[side]
    assert world.order(far).executed == money(top), "what stands at the best price"
    assert world.order(near).executed == money(top) + money(level), "and on the level between the price and the limit"
    world.price(world.away(-1.02))
    assert world.order(near).status is OrderStatus.FILLED


@SIDES
def test_beyond_the_take_bound_the_rest_of_a_market_order_expires(side: Side) -> None:
    """``marketTakeBound`` of BTCUSDT is 5 %: 500 levels of 10 dollars, the last of them 10 cents beyond it."""
    world = book(side)
    row = world.enter(101)
    assert row.status is OrderStatus.EXPIRED and row.executed == money(0.1 + 499 * 0.2) and abs(world.amount) == row.executed
    assert all(abs(price - LAST) <= 5_000 * ONE for price, _ in fills(world, row))
    with refused(-4131):
        world.enter(0.1)
    free = World(side, Rules(liquidity=STEPS, take_bound=False), balance=100_000_000)
    assert free.enter(101).status is OrderStatus.FILLED


@SIDES
def test_with_nothing_left_a_market_order_expires_unfilled(side: Side) -> None:
    world = book(side, replace(STEPS, level=0))
    assert world.enter(0.3).executed == money(0.1)
    row = world.enter(0.1)
    assert row.status is OrderStatus.EXPIRED and row.executed == 0
    shown = world.ex.book(BTC)
    assert (shown.ask_size if side is Side.LONG else shown.bid_size) == 0
    assert world.leave(0.1).status is OrderStatus.FILLED, "the other side is as it was"


@SIDES
def test_the_book_recovers_by_halves(side: Side) -> None:
    world = book(side)
    world.enter(0.3)  # 0.1 and 0.2
    sizes = []
    for _ in range(3):
        quote = world.ex.book(BTC)
        sizes.append((quote.ask, quote.ask_size) if side is Side.LONG else (quote.bid, quote.bid_size))
        world.price(100_000, ms=1_000)
    assert sizes == [(beyond(side, 20.1), money(0.2)), (beyond(side, 10.1), money(0.15)), (beyond(side, 0.1), money(0.025))]


@SIDES
def test_a_stop_in_a_thin_book_pays_for_its_size(side: Side) -> None:
    small, large = book(side), book(side)
    for world, size in ((small, 0.1), (large, 5)):
        world.enter(size)
        world.stop(-2, quantity=size)
        world.price(world.away(-2), ms=60_000)
    cheap, dear = (world.ex.order_history(world.account)[-1] for world in (small, large))
    assert side.sign * (cheap.average - dear.average) > money(100), "25 levels of 10 dollars"
    assert small.amount == large.amount == 0


@SIDES
def test_a_liquidation_pays_for_its_size_at_one_price(side: Side) -> None:
    world = book(side, balance=30_000)
    world.enter(5)
    world.price(world.away(-6), ms=60_000)
    (trade,) = (trade for trade in world.ex.trades(world.account) if trade.client_id.startswith("autoclose-"))
    assert trade.quantity == money(5) and trade.price % TICK == 0
    assert side.sign * (money(world.away(-6)) - trade.price) > money(100)


@SIDES
def test_margin_is_asked_for_at_the_price_that_a_large_order_pays(side: Side) -> None:
    """5 BTC at 20 times need 25,000 and the loss against the mark at once: about 125 dollars each."""
    assert book(side, balance=25_800).enter(5).status is OrderStatus.FILLED
    with refused(-2019):
        book(side, balance=25_400).enter(5)


# -- the exchange ---------------------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(MODELS, st.sampled_from(Side), st.lists(st.tuples(LOTS, st.integers(0, 2_000), st.booleans()), min_size=1, max_size=6))
def test_what_is_shown_is_what_is_filled(model: Liquidity, side: Side, orders: list[tuple[int, int, bool]]) -> None:
    """Market and IOC orders of any size, one after another: fills are the shown levels, no more and no less, and never beyond a limit."""
    world = World(side, Rules(liquidity=model, take_bound=False), balance=50_000_000)
    world.ex.set_leverage(world.account, BTC, 20)
    for size, wait, limited in orders:
        world.price(100_000, ms=wait)
        depth = world.ex.depth(BTC, LEVELS)
        levels = depth.asks if side is Side.LONG else depth.bids
        limit = 100_000 + side.sign * 200 if limited else None
        shown, left = [], size
        for price, held in levels:
            if not left or (limit is not None and side.sign * (price - money(limit)) > 0):
                break
            shown.append((price, min(held, left)))
            left -= shown[-1][1]
        quantity = size / ONE
        row = world.enter(quantity) if limit is None else world.limit(side.opening, limit, quantity, time_in_force=TimeInForce.IOC)
        assert fills(world, row) == shown
        assert row.status is (OrderStatus.EXPIRED if left else OrderStatus.FILLED)


def test_each_symbol_has_its_own_book() -> None:
    ex = Exchange(Rules(liquidity=STEPS), start_ms=0)
    ex.set_liquidity("ETHUSDT", thin(500))
    for symbol, price in ((BTC, 1_000_000), ("ETHUSDT", 300_000)):
        ex.tick(symbol, Ticks(price), E8(price * ex.facts[symbol].instrument.tick), 1)
    assert ex.liquidity(BTC) == STEPS and ex.liquidity("ETHUSDT") == thin(500)
    assert ex.depth("ETHUSDT").asks == ((3_000 * ONE, E8(ONE * 166 // 1_000)),) and len(ex.depth(BTC).bids) == 500
    assert ex.book(BTC).bid == ex.depth(BTC, 1).bids[0][0] and ex.book(BTC).ask_size == ex.depth(BTC, 1).asks[0][1]


def test_a_copy_has_the_same_book_and_eats_its_own() -> None:
    world = book()
    world.enter(0.2)
    twin = world.ex.clone()
    assert twin.depth(BTC) == world.ex.depth(BTC)
    world.enter(0.2)
    assert twin.depth(BTC) != world.ex.depth(BTC) and twin.liquidity(BTC) == STEPS


def test_the_default_is_the_spread_of_before_for_orders_of_ordinary_size() -> None:
    """One tick and one basis point, rounded against the taker; beyond 100,000 USDT a basis point for each 25,000."""
    world = World(rules=Rules())
    quote = world.ex.book(BTC)
    assert (quote.bid, quote.ask) == (money(99_989.9), money(100_010.2)) and quote.ask_size == ONE
    assert [size for _, size in world.ex.depth(BTC, 2).asks] == [ONE, ONE // 4]
