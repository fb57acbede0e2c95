"""Laws of the integer arithmetic: rounding goes toward less risk, long and short mirror each other, the limits are exact."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core import arithmetic

SIGNS = st.sampled_from((1, -1))
PRICES = st.integers(10**4, 450_000_000_000_000)
TICKS = st.sampled_from([10**n for n in range(5)] + [5 * 10**4, 25 * 10**5])
BPS = st.integers(1, 9_999)


@given(SIGNS, PRICES, BPS, TICKS)
def test_a_stop_is_rounded_toward_the_price_by_less_than_a_tick(sign: int, price: int, bps: int, tick: int) -> None:
    exact = Fraction(price * (10_000 - sign * bps), 10_000)
    level = arithmetic.stop_level(sign, price, bps, tick) * tick
    assert 0 <= sign * (level - exact) < tick


@given(SIGNS, PRICES, BPS, TICKS)
def test_a_target_is_rounded_toward_the_price_by_less_than_a_tick(sign: int, price: int, bps: int, tick: int) -> None:
    exact = Fraction(price * (10_000 + sign * bps), 10_000)
    level = arithmetic.target_level(sign, price, bps, tick) * tick
    assert 0 <= sign * (exact - level) < tick


@given(SIGNS, st.integers(1, 10**9), st.integers(1, 5_000))
def test_a_trail_is_rounded_toward_the_price(sign: int, best: int, callback: int) -> None:
    exact = Fraction(best * (10_000 - sign * callback), 10_000)
    assert 0 <= sign * (arithmetic.trail_level(sign, best, callback) - exact) < 1


@given(SIGNS, st.integers(10_000, 10**9), st.integers(1, 5_000))
def test_a_trail_wider_than_a_tick_is_never_reached_by_its_own_best_price(sign: int, best: int, callback: int) -> None:
    level = arithmetic.trail_level(sign, best, callback)
    assert not arithmetic.stop_hit(sign, best, level)


@given(SIGNS, PRICES, PRICES, st.integers(0, 10_000), TICKS)
def test_a_level_on_the_way_to_liquidation_is_rounded_toward_the_mark(sign: int, mark: int, away: int, part: int, tick: int) -> None:
    liquidation = mark - sign * min(away, mark - 1)
    exact = Fraction(mark * 10_000 + (liquidation - mark) * part, 10_000)
    assert 0 <= sign * (arithmetic.level_between(sign, mark, liquidation, part, tick) * tick - exact) < tick


@given(SIGNS, PRICES, TICKS)
def test_behind_is_the_tightest_tick_that_is_not_hit(sign: int, price: int, tick: int) -> None:
    level = arithmetic.behind(sign, price, tick)
    assert not arithmetic.stop_hit_e8(sign, price, level, tick)
    assert arithmetic.stop_hit_e8(sign, price, level + sign, tick)


@given(SIGNS, PRICES, TICKS)
def test_a_price_off_the_tick_counts_for_its_adverse_side(sign: int, price: int, tick: int) -> None:
    ticks = arithmetic.favourable_ticks(sign, price, tick)
    assert 0 <= sign * (price - ticks * tick) < tick


@given(SIGNS, PRICES, st.integers(0, 1_000_000))
def test_the_cost_of_a_round_trip_is_exact_and_rounded_up(sign: int, entry: int, fee: int) -> None:
    rate = Fraction(fee, 10**8)
    exact = entry * 2 * rate / (1 - sign * rate)
    assert 0 <= arithmetic.round_trip_cost(sign, entry, fee) - exact < 1


@given(SIGNS, PRICES, st.integers(0, 1_000_000), st.integers(0, 10**9), TICKS)
def test_leaving_at_break_even_loses_nothing(sign: int, entry: int, fee: int, funding: int, tick: int) -> None:
    leave = arithmetic.break_even_level(sign, entry, fee, funding, tick) * tick
    rate = Fraction(fee, 10**8)
    assert sign * (leave - entry) - rate * (entry + leave) - funding >= 0 or leave < 0
    before = leave - sign * tick
    assert sign * (before - entry) - rate * (entry + before) - funding < 2 + rate * funding


@given(PRICES, st.integers(0, 1_000_000))
def test_the_products_of_the_cost_fit_int64(entry: int, fee: int) -> None:
    part = 10**8 - fee
    high = entry // 10_000 * 2 * fee
    assert max(high, high % part * 10_000 + entry % 10_000 * 2 * fee) < 2**63


@pytest.mark.parametrize("fee, bps", [(0, 0), (50_000, 10), (45_000, 9), (45_001, 10)])
def test_the_fee_of_both_ways_in_bps_is_rounded_up(fee: int, bps: int) -> None:
    assert arithmetic.round_trip_bps(fee) == bps


@given(st.integers(1, 10**14), st.integers(1, 10_000), PRICES)
def test_multiples_are_rounded_toward_the_price(atr: int, milli: int, price: int) -> None:
    assert 0 <= Fraction(atr * milli * 10, price) - arithmetic.atr_bps(atr, milli, price) < 1
    assert 0 <= Fraction(milli * 250, 1_000) - arithmetic.multiple_bps(250, milli) < 1


@given(st.integers(1, 10**8), st.integers(0, 500))
def test_a_step_is_a_round_number_of_ticks_no_wider_than_asked(entry: int, step_bps: int) -> None:
    step = arithmetic.stop_step(entry, step_bps)
    assert str(step).rstrip("0") in ("1", "2", "5")
    assert step == 1 or step * 10_000 <= entry * step_bps
    assert step * 10_000 * 5 // 2 > entry * step_bps - 10_000 * 5 // 2  # the next round number would be too wide


@given(SIGNS, st.lists(st.integers(1_000, 10**6), min_size=1, max_size=20), st.integers(1, 3_000), st.sampled_from((1, 2, 5, 10, 50)))
def test_a_trailed_stop_is_a_function_of_the_best_price(sign: int, prices: list[int], callback: int, step: int) -> None:
    best = max(prices) if sign > 0 else min(prices)
    stops = [arithmetic.trail_stop(sign, price, callback, step) for price in prices]
    level = arithmetic.trail_stop(sign, best, callback, step)
    assert level == (max(stops) if sign > 0 else min(stops))
    assert level % step == 0
    behind = sign * (arithmetic.trail_level(sign, best, callback) - level)
    assert 0 <= behind < step
