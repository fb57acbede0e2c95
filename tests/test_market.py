"""Bars -> ATR, volatility, trend, regime; too few bars are unknown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core.context import MarketData
from qtkit.core.model import E8, Bar, PolicyError, Ticks
from qtkit.core.policy import Regime
from qtkit.market import HOUR_MS, MINUTE_MS, atr, market_data, resample, trend, volatility

START = 1_700_002_800_000 // HOUR_MS * HOUR_MS


def bar(time_ms: int, open_: int, high: int, low: int, close: int, *, closed: bool = True) -> Bar:
    return Bar(time_ms=time_ms, open=Ticks(open_), high=Ticks(high), low=Ticks(low), close=Ticks(close), closed=closed)


def hours(closes: list[int], reach: int = 0) -> list[Bar]:
    opens = [closes[0], *closes[:-1]]
    return [
        bar(START + i * HOUR_MS, o, max(o, c) + reach, min(o, c) - reach, c) for i, (o, c) in enumerate(zip(opens, closes, strict=True))
    ]


def test_wilder_s_average() -> None:
    bars = hours([100, 102, 101, 105, 104], reach=1)
    # true ranges 4, 3, 6, 3; n = 2: (4 + 3) / 2 = 3.5; (3.5 + 6) / 2 = 4.75; (4.75 + 3) / 2 = 3.875
    assert atr(bars, E8(100_000_000), 2) == 387_500_000
    assert atr(bars[:3], E8(100_000_000), 2) == 350_000_000


def test_the_running_bar_is_left_out() -> None:
    bars = hours([100, 102, 101])
    running = bar(START + 3 * HOUR_MS, 101, 900, 1, 101, closed=False)
    assert atr([*bars, running], E8(1), 2) == atr(bars, E8(1), 2)


def test_a_gap_counts_in_the_true_range() -> None:
    assert atr([bar(START, 100, 101, 99, 100), bar(START + HOUR_MS, 110, 111, 109, 110)], E8(1), 1) == 11


@pytest.mark.parametrize("count", [0, 1, 14])
def test_too_few_bars_are_unknown(count: int) -> None:
    bars = hours([100 + i for i in range(count)]) if count else []
    assert atr(bars, E8(1)) is None and volatility(bars) is None and trend(bars) is None
    assert market_data(bars, E8(1)) == MarketData(close=E8(100 + count - 1) if count > 1 else None)


def test_a_still_market_has_no_atr_and_no_trend() -> None:
    still = hours([100] * 30)
    assert atr(still, E8(1)) is None and volatility(still) == 0 and trend(still) == 0


@pytest.mark.parametrize("sign", [1, -1])
def test_a_straight_way_is_the_strongest_trend(sign: int) -> None:
    assert trend(hours([100_000 + sign * 10 * i for i in range(25)])) == sign * 10_000


def test_volatility_is_scaled_to_a_day() -> None:
    closes = [100_000 if i % 2 else 101_000 for i in range(25)]  # about 1 % an hour: 1 % x sqrt(24) = 4.9 %
    found = volatility(hours(closes))
    assert found is not None and 485 <= found <= 492


@pytest.mark.parametrize(
    "closes, regime",
    [
        ([100_000 + (1_500 if i % 2 else 0) for i in range(26)], Regime.VOLATILE),
        ([100_000 + 300 * i for i in range(26)], Regime.TREND),
        ([100_000 + (50 if i % 2 else 0) for i in range(26)], Regime.RANGE),
        ([100_000 + (500 if i % 2 else 0) for i in range(26)], Regime.CHOP),
        ([100_000 + (500 if i % 2 else 0) + 120 * i for i in range(26)], Regime.NORMAL),
    ],
)
def test_regimes_from_bars(closes: list[int], regime: Regime) -> None:
    data = market_data(hours(closes, reach=20), E8(1_000_000), funding_paid=E8(5))
    assert data.regime is regime and data.atr is not None and data.funding_paid == 5


def test_an_hour_of_minutes_is_one_bar() -> None:
    minutes = [bar(START + i * MINUTE_MS, 100 + i, 105 + i, 95 + i, 101 + i) for i in range(90)]
    first, second = resample(minutes)
    assert first == bar(START, 100, 164, 95, 160)
    assert second == bar(START + HOUR_MS, 160, 194, 155, 190, closed=False)


def test_a_late_first_hour_is_left_out_and_the_running_minute_keeps_the_hour_open() -> None:
    minutes = [bar(START + i * MINUTE_MS, 1, 1, 1, 1, closed=i < 119) for i in range(30, 120)]
    (only,) = resample(minutes)
    assert only.time_ms == START + HOUR_MS and not only.closed


def test_bars_out_of_order_are_refused() -> None:
    with pytest.raises(PolicyError, match="oldest first"):
        resample([bar(START + HOUR_MS, 1, 1, 1, 1), bar(START, 1, 1, 1, 1)])


@given(st.lists(st.integers(1, 1_000), min_size=120, max_size=240))
def test_resampling_keeps_the_extremes_and_the_ends(prices: list[int]) -> None:
    minutes = [bar(START + i * MINUTE_MS, p, p + 3, p, p + 1) for i, p in enumerate(prices)]
    merged = resample(minutes)
    assert max(b.high for b in merged) == max(b.high for b in minutes) and min(b.low for b in merged) == min(b.low for b in minutes)
    assert (merged[0].open, merged[-1].close) == (minutes[0].open, minutes[-1].close)
    assert [b.closed for b in merged[:-1]] == [True] * (len(merged) - 1)
    assert resample(hourly := list(merged), 60) == tuple(hourly) or not merged[-1].closed
