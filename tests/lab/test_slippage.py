"""Slippage fitted on the fills of one's own stops: what the sweep takes off is what they paid."""

import random

import numpy as np
import polars as pl
import pytest

from qtkit import lab
from qtkit.bars import BarsError
from qtkit.core.events import StopFilled
from qtkit.core.model import E8, ONE, Key, PositionSide, Side
from tests.lab.rig import walk

KEY = Key("paper", "BTCUSDT", PositionSide.BOTH)


def filled(bars: lab.Bars, bar: int, side: Side, trigger: int, fill: float, number: int = 0) -> tuple[int, StopFilled]:
    at_ms = int(bars.time_ms[bar]) + 30_000
    event = StopFilled(
        key=KEY, side=side, client_id=f"{number}", trigger=E8(trigger * bars.tick), average=E8(round(fill * bars.tick)), at_ms=at_ms
    )
    return at_ms, event


def some_fills(bars: lab.Bars, ppm: int, range_ppm: int, count: int, noise: float = 0.0) -> list[tuple[int, StopFilled]]:
    """Stops that were hit inside a bar and paid ``ppm`` of the price and ``range_ppm`` of the bar's range."""
    rnd, made = random.Random(3), []
    for number in range(count):
        bar, side = rnd.randrange(1, len(bars) - 1), rnd.choice((Side.LONG, Side.SHORT))
        low, high = int(bars.low[bar]), int(bars.high[bar])
        opened = int(bars.open[bar])
        trigger = low if side is Side.LONG else high
        if trigger == opened:
            continue
        cost = trigger * ppm / 1e6 + (high - low) * range_ppm / 1e6 + rnd.gauss(0, noise)
        made.append(filled(bars, bar, side, trigger, trigger - side.sign * cost, number))
    return made


@pytest.mark.parametrize(("ppm", "range_ppm"), [(150, 60_000), (0, 90_000), (300, 0)])
def test_what_stops_paid_is_found_again(ppm: int, range_ppm: int) -> None:
    bars = walk(5, 2_000, rough=3, price=90_000)
    slips = lab.slips(some_fills(bars, ppm, range_ppm, 400, noise=0.02), {"BTCUSDT": bars})
    fit = lab.fit_slippage(slips)
    assert fit.slip_ppm == pytest.approx(ppm, abs=15) and fit.slip_range_ppm == pytest.approx(range_ppm, abs=6_000)
    assert fit.fills == slips.height > 200
    assert fit.error_bps <= fit.flat_bps
    costs = fit.costs()
    assert (costs.slip_ppm, costs.slip_range_ppm) == (fit.slip_ppm, fit.slip_range_ppm)


@pytest.mark.parametrize("side", [Side.LONG, Side.SHORT])
def test_a_stop_that_the_open_was_through_is_measured_from_the_open(side: Side) -> None:
    """As the sweep fills it: the gap is the market's, what is worse than the open is slippage."""
    bars = walk(5, 400, rough=3, price=90_000)
    bar = 100
    opened = int(bars.open[bar])
    trigger = opened + side.sign * 50  # a long's stop above the open: the price fell past it between the bars
    rows = lab.slips([filled(bars, bar, side, trigger, opened - side.sign * 9)], {"BTCUSDT": bars})
    tick = bars.tick / ONE
    assert rows.select("wanted", "filled").row(0) == (pytest.approx(opened * tick), pytest.approx((opened - side.sign * 9) * tick))
    assert rows["slip_bps"][0] == pytest.approx(9 / opened * 10_000)


def test_better_than_wanted_counts_too_but_never_makes_a_gain_of_slippage() -> None:
    bars = walk(5, 2_000, rough=3, price=90_000)
    fit = lab.fit_slippage(lab.slips(some_fills(bars, -200, 0, 200), {"BTCUSDT": bars}))
    assert (fit.slip_ppm, fit.slip_range_ppm) == (0, 0)


@pytest.mark.parametrize("side", [Side.LONG, Side.SHORT])
def test_a_fill_that_was_heard_of_in_the_next_bar_belongs_to_the_one_that_reached_its_stop(side: Side) -> None:
    bars = walk(5, 400, rough=3, price=90_000)
    worst = bars.low if side is Side.LONG else bars.high
    bar = next(n for n in range(50, 399) if side.sign * (int(worst[n + 1]) - int(worst[n])) > 0)
    level = int(worst[bar])
    rows = lab.slips([filled(bars, bar + 1, side, level, level - side.sign * 7)], {"BTCUSDT": bars})
    assert rows["range_bps"][0] == pytest.approx((int(bars.high[bar]) - int(bars.low[bar])) / rows["wanted"][0] * bars.tick / ONE * 10_000)


def test_fills_outside_the_bars_are_left_out_and_told() -> None:
    bars = walk(5, 2_000, rough=3, price=90_000)
    events = some_fills(bars, 100, 0, 50)
    assert lab.slips(events, {"ETHUSDT": bars}).height == 0
    assert lab.slips(events, {"BTCUSDT": bars.slice(0, 1_000)}).height < len(events)


def test_too_few_fills_are_refused() -> None:
    bars = walk(5, 2_000, rough=3, price=90_000)
    slips = lab.slips(some_fills(bars, 100, 0, 6), {"BTCUSDT": bars})
    with pytest.raises(BarsError, match=r"at least 10 fills of stops, got \d; until then take Costs\(slip_ppm=2000\)"):
        lab.fit_slippage(slips)


def test_a_frame_without_what_is_fitted_names_the_column() -> None:
    with pytest.raises(BarsError, match="slips: column 'range_bps' is missing"):
        lab.fit_slippage(pl.DataFrame({"slip_bps": np.ones(20)}))
