"""Exchange rules of one order and one price, for both sides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core.matching import (
    Bracket,
    Trail,
    bracket_of,
    fee,
    fold_trail,
    funding,
    gap_exceeds,
    liquidation_price,
    maintenance,
    notional,
    reached,
    reducible,
    rises,
    trail_trigger,
    unrealised,
)
from qtkit.core.model import ONE, OrderKind, OrderSide
from qtkit.paper.facts import FACTS

BRACKETS = FACTS["BTCUSDT"].brackets
PRICES = st.integers(min_value=1, max_value=10**15)


@pytest.mark.parametrize(
    ("kind", "side", "rising"),
    [
        (OrderKind.STOP_MARKET, OrderSide.BUY, True),
        (OrderKind.STOP_MARKET, OrderSide.SELL, False),
        (OrderKind.STOP, OrderSide.BUY, True),
        (OrderKind.TAKE_PROFIT_MARKET, OrderSide.BUY, False),
        (OrderKind.TAKE_PROFIT, OrderSide.SELL, True),
    ],
)
def test_direction_of_a_trigger(kind: OrderKind, side: OrderSide, rising: bool) -> None:
    assert rises(kind, side) is rising
    assert reached(100, 100, rising=rising)
    assert reached(101, 100, rising=rising) is rising
    assert reached(99, 100, rising=rising) is not rising


def walk(trail: Trail, prices: list[int]) -> int | None:
    """Index of the price that fires the trailing stop."""
    for i, price in enumerate(prices):
        trail, fired = fold_trail(trail, price)
        if fired:
            return i
    return None


def test_trailing_stop_selling() -> None:
    trail = Trail(side=OrderSide.SELL, callback=100, activation=10_500)
    assert trail_trigger(trail) is None
    assert walk(trail, [10_000, 9_000, 10_499, 9_000]) is None  # never activated
    assert walk(trail, [10_500, 11_000, 10_891, 10_890]) == 3  # 1 % below 11,000
    assert walk(trail, [10_600, 10_494]) == 1


def test_trailing_stop_buying() -> None:
    trail = Trail(side=OrderSide.BUY, callback=100, activation=9_500)
    assert walk(trail, [10_000, 9_501, 12_000]) is None
    assert walk(trail, [9_500, 9_000, 9_089, 9_090]) == 3  # 1 % above 9,000


@given(PRICES, st.integers(10, 2000), st.lists(PRICES, min_size=10, max_size=30), st.sampled_from(OrderSide))
def test_the_peak_only_moves_in_favour(start: int, callback: int, prices: list[int], side: OrderSide) -> None:
    trail = Trail(side=side, callback=callback, activation=start, peak=start)
    for price in prices:
        before = trail.peak
        trail, fired = fold_trail(trail, price)
        assert before is not None and trail.peak is not None
        assert trail.peak >= before if side is OrderSide.SELL else trail.peak <= before
        exact = price * 10_000 <= before * (10_000 - callback) if side is OrderSide.SELL else price * 10_000 >= before * (10_000 + callback)
        assert fired is exact


def test_bounds_and_clamps() -> None:
    assert not gap_exceeds(105, 100, 5_000_000)
    assert gap_exceeds(106, 100, 5_000_000) and gap_exceeds(94, 100, 5_000_000)
    assert reducible(5, OrderSide.SELL) == 5 and reducible(5, OrderSide.BUY) == 0
    assert reducible(-5, OrderSide.BUY) == 5 and reducible(-5, OrderSide.SELL) == 0
    assert reducible(0, OrderSide.BUY) == 0


def test_money() -> None:
    assert notional(100 * ONE, ONE // 2) == 50 * ONE
    assert fee(100 * ONE, 50_000) == 5_000_000  # 0.05 %
    assert fee(-100 * ONE, 50_000) == 5_000_000
    assert fee(1, 50_000) == 1  # against the trader
    assert unrealised(ONE, 100 * ONE, 110 * ONE) == 10 * ONE
    assert unrealised(-ONE, -100 * ONE, 110 * ONE) == -10 * ONE
    assert funding(ONE, 100 * ONE, 10_000) == -1_000_000  # longs pay a positive rate
    assert funding(-ONE, 100 * ONE, 10_000) == 1_000_000


def test_maintenance_is_continuous_over_the_brackets() -> None:
    for facts in FACTS.values():
        for low, high in zip(facts.brackets, facts.brackets[1:], strict=False):
            assert low.cap == high.floor and low.leverage > high.leverage
            assert low.cap * low.ratio - low.cum * ONE == high.floor * high.ratio - high.cum * ONE
    assert maintenance(-200_000 * ONE, BRACKETS) == 800 * ONE
    assert bracket_of(10**30, BRACKETS) is BRACKETS[-1]


@pytest.mark.parametrize("sign", [1, -1])
def test_liquidation_price_is_the_documented_one(sign: int) -> None:
    """P = (W + cum - side*qty*entry) / (qty*ratio - side*qty), bracket 1 of BTC: ratio 0.4 %, cum 0."""
    amount, cost = sign * ONE, sign * 100_000 * ONE
    price = liquidation_price([(amount, cost)], 5_000 * ONE, BRACKETS, 100_000 * ONE)
    expected = (5_000 - sign * 100_000) / (0.004 - sign)
    assert price is not None and abs(price / ONE - expected) < 1e-6


def test_no_liquidation_price_without_leverage() -> None:
    assert liquidation_price([(ONE, 100 * ONE)], 200 * ONE, BRACKETS, 100 * ONE) is None


@given(
    sign=st.sampled_from([1, -1]),
    quantity=st.integers(1, 10_000),
    entry=st.integers(10_000, 200_000),
    leverage=st.integers(1, 125),
)
def test_liquidation_is_where_equity_meets_maintenance(sign: int, quantity: int, entry: int, leverage: int) -> None:
    amount = sign * quantity * ONE // 1000
    cost = notional(entry * ONE, amount)
    collateral = abs(cost) // leverage + 7 * ONE
    price = liquidation_price([(amount, cost)], collateral, BRACKETS, entry * ONE)
    if price is None:
        assert sign > 0
        return

    def buffer(mark: int) -> int:
        return collateral + unrealised(amount, cost, mark) - maintenance(notional(mark, amount), BRACKETS)

    step = 4 * (ONE // abs(amount) + 2)
    assert buffer(price - sign * step) <= 4 and buffer(price + sign * step) >= -4


def test_hedged_legs_share_the_collateral() -> None:
    """Equal legs lose nothing to the price: only maintenance grows, so liquidation lies far above."""
    legs = [(ONE, 100_000 * ONE), (-ONE, -100_000 * ONE)]
    price = liquidation_price(legs, 10_000 * ONE, BRACKETS, 100_000 * ONE)
    assert price is not None and price > 150_000 * ONE
    both = sum(maintenance(notional(price, amount), BRACKETS) for amount, _ in legs)
    assert abs(both - 10_000 * ONE) <= 4


def test_bracket_is_plain_data() -> None:
    assert Bracket(leverage=1, floor=0, cap=1, ratio=0, cum=0) == Bracket(leverage=1, floor=0, cap=1, ratio=0, cum=0)
