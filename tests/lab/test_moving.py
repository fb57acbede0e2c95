"""A trail whose callback moves with ATR: the stop of a position long and short, hour by hour, in the reference and in a sweep."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from qtkit import lab
from qtkit.core.distance import InAtr
from qtkit.core.model import E8, ONE, Bps, PolicyError, Ticks
from qtkit.core.policy import ExitPolicy
from qtkit.core.shape import moving_callback
from qtkit.lab.cohorts import hours_of
from qtkit.lab.entries import at_close
from qtkit.lab.ranges import callbacks
from qtkit.lab.replay import callback_in, replay_one
from qtkit.lab.series import Bars
from qtkit.market import market_data
from tests.lab.rig import MINUTE, differences, some_entries, walk

FREE = lab.Costs(taker=E8(0))
SIDES = pytest.mark.parametrize("sign", [1, -1], ids=["long", "short"])


def flat(n: int) -> Bars:
    """A price that stands, with room to draw in."""
    level = np.full(n, 10_000, np.int64)
    time = np.arange(n, dtype=np.int64) * MINUTE
    return Bars(
        symbol="T", tick=ONE // 100, step_ms=MINUTE, time_ms=time, open=level, high=level.copy(), low=level.copy(), close=level.copy()
    )


def swinging(sign: int, swings: Callable[[int], int]) -> Bars:
    """Forty hours at 10,000 ticks; each swings once by ``swings(hour)`` ticks against the side. In hour 20 comes the best price."""
    bars = flat(40 * 60)
    adverse = bars.low if sign > 0 else bars.high
    favour = bars.high if sign > 0 else bars.low
    for hour in range(40):
        adverse[60 * hour + 30] -= sign * swings(hour)
    favour[20 * 60 + 1] += sign * 300
    return bars


def policy(callback: str = "2atr", least: int = 20, **more: object) -> ExitPolicy:
    made = lab.grid(stop_bps=900, moving_trail=callback, activation_bps=250, step_bps=0, **more).policies[0]  # type: ignore[arg-type]
    assert made.trail is not None and isinstance(made.trail.callback, InAtr)
    moves = replace(made.trail.callback, least=Bps(least), most=Bps(1_200), fallback=Bps(600))
    return replace(made, trail=replace(made.trail, callback=moves))


@SIDES
def test_a_narrower_callback_tightens_the_stop_without_a_new_best_price_and_a_wider_one_does_not_loosen_it(sign: int) -> None:
    bars = swinging(sign, lambda hour: 150 if hour < 20 else 60 if hour < 30 else 110)
    for column in (bars.open, bars.high, bars.low, bars.close):
        column[20 * 60 + 2 :] += sign * 299  # the price stays up there
    entries = at_close(bars, np.array([20 * 60]), np.array([sign]))
    stops = replay_one(bars, entries, 0, policy(), FREE).stops
    best = 10_000 + sign * 300
    hour = {at: stops[60 * (at - 20) - 2] for at in range(21, 31)}  # in force when it begins
    first = best - sign * (best * callback_in(bars, InAtr(2_000, Bps(20), Bps(1_200), Bps(600)), 20 * 60 + 1) // 10_000)
    assert abs(hour[21] - first) <= 1
    assert all(sign * (hour[at + 1] - hour[at]) > 0 for at in range(24, 30)), "below what it was: the stop follows"
    steps = np.flatnonzero(np.diff(stops)) + 1 + 20 * 60 + 1
    assert set((steps[1:] + 1) % 60) == {0}, "it moves when an hour closes, and at no other time"
    wider = [sign * stop for stop in stops[60 * 10 :]]
    assert wider == sorted(wider)


@SIDES
def test_a_trail_that_moves_past_the_price_is_left_at_the_next_open(sign: int) -> None:
    bars = swinging(sign, lambda hour: 250 if hour < 21 else 1)
    entries = at_close(bars, np.array([20 * 60]), np.array([sign]))
    one = replay_one(bars, entries, 0, policy("3atr"), FREE)
    assert one.end.why == "trail" and one.end.price == 10_000
    assert bars.time_ms[one.end.bar] % (60 * MINUTE) == 0, "the first bar after an hour's close"


@pytest.mark.parametrize("holes", [False, True])
def test_the_callbacks_are_those_that_the_desk_measures(holes: bool) -> None:
    bars = walk(3, 1_200, holes=holes, step=10 * MINUTE)
    rule = InAtr(1_500, least=Bps(30), most=Bps(900), fallback=Bps(333))
    until, moved = callbacks(bars, [rule, replace(rule, milli=500)])
    assert len(until) > 150 and len(set(moved[0])) > 50 and until[-1] == len(bars) - 1
    for bar in range(0, len(bars), 7):
        assert moved[0][np.searchsorted(until, bar)] == callback_in(bars, rule, bar)
    known = hours_of(bars)
    for count in (16, 47, 48, 90, 150):  # the desk asks for 48 hours, the last of which is running
        hours = known.bars[max(0, count - 47) : count]
        running = replace(hours[-1], time_ms=hours[-1].time_ms + 3_600_000, high=Ticks(99_999), closed=False)
        bar = int(np.searchsorted(known.closed, count)) + 1
        assert moving_callback(rule, market_data((*hours, running), E8(bars.tick))) == moved[0][np.searchsorted(until, bar)]


@pytest.mark.parametrize("jit", ["0", "1"], ids=["numba", "numpy"])
@pytest.mark.parametrize("seed", range(4))
def test_a_sweep_over_minutes_is_equal_to_the_reference(seed: int, jit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours of sixty bars, whose quiet parts are skipped by blocks."""
    monkeypatch.setenv("NUMBA_DISABLE_JIT", jit)
    bars = walk(seed, 1_700, price=20_000, rough=3 + seed, holes=seed % 2 == 1)
    curve = [("2R", 60)] if seed % 3 == 0 else []
    grid = lab.grid(
        stop_bps=(150, 400), trail_bps=120, moving_trail=("1.2atr", "2.5atr"), activation_bps=(30, 110), tightening=[curve],
        step_bps=(0, 10, 40)[seed % 3], stages=[[(60, None)]] if seed % 2 else [[]], targets=[[(150, 40)]] if seed > 1 else [[]],
    )  # fmt: skip
    entries = some_entries(bars, seed, 24, inside=True, asked=True)
    for fill in ("worst", "best"):
        result = lab.sweep(bars, entries, grid, fill=fill, costs=FREE)  # type: ignore[arg-type]
        assert not differences(result, fill)


@pytest.mark.parametrize("jit", ["0", "1"], ids=["numba", "numpy"])
def test_a_trail_armed_at_the_entry_begins_with_the_callback_known_then(jit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an entry at an hour's close it is that of the hour just closed, of one inside its bar that of the hour before."""
    monkeypatch.setenv("NUMBA_DISABLE_JIT", jit)
    bars = walk(2, 600, price=9_000, rough=25, step=10 * MINUTE)
    grid = lab.grid(stop_bps=900, moving_trail=("1.5atr", "3atr"), activation_bps=1, step_bps=0)
    bar = np.arange(101, 590, 2)  # every third the last of its hour
    sign = np.where(np.arange(len(bar)) % 2, 1, -1)
    closing, rng = at_close(bars, bar, sign), np.random.default_rng(2)
    within = bars.low[bar] + rng.integers(0, bars.high[bar] - bars.low[bar] + 1)
    inside = replace(closing, price=within * bars.tick, inside=np.ones(len(bar), np.bool_))
    for entries in (closing, inside):
        result = lab.sweep(bars, entries, grid, costs=FREE)
        assert not differences(result, "worst")
        assert result.sums.whys[:, 2].sum() > len(entries)


def test_the_atr_of_an_entry_has_no_say_in_a_callback_that_moves() -> None:
    bars = walk(5, 900, step=10 * MINUTE)
    entries, grid = some_entries(bars, 5, 30), lab.grid(stop_bps=300, moving_trail="2atr", activation_bps=60)
    one, other = lab.sweep(bars, entries, grid), lab.sweep(bars, replace(entries, atr=entries.atr * 2), grid)
    assert one.outcomes is not None and other.outcomes is not None
    np.testing.assert_array_equal(one.outcomes.gross, other.outcomes.gross)


def test_a_grid_holds_both_kinds_side_by_side() -> None:
    grid = lab.grid(stop_bps=200, trail=("2atr",), moving_trail=("2atr", "3atr"))
    assert grid.axes == {"trail": ("2atr", "2atr moving", "3atr moving")}
    assert [it.trail is not None and it.trail.moves for it in grid.policies] == [False, True, True]
    with pytest.raises(PolicyError, match=r"only a callback of ATR moves \(3atr\), 1.5 % does not"):
        lab.grid(stop_bps=200, moving_trail="1.5%")


def test_a_callback_that_may_move_within_the_cost_of_a_round_trip_is_refused() -> None:
    bars = walk(1)
    narrow = policy(least=5)
    with pytest.raises(PolicyError, match="within a tick or the cost of a round trip"):
        lab.sweep(bars, some_entries(bars, 1), narrow)
    with pytest.raises(PolicyError, match=r"moves down to 0\.05 %"):
        replay_one(bars, some_entries(bars, 1), 0, narrow, lab.Costs())


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_market_that_stood_still_for_months_has_the_last_callback_that_was_known(side: str) -> None:
    """More hours without a range than a stack is deep: the reference looks back as far as it has to."""
    hours, moved = 1_500, 60
    price = 90_000 + np.concatenate([np.arange(moved) % 7 * 40, np.zeros(hours, np.int64), np.arange(40) % 5 * 30]).astype(np.int64)
    time_ms = np.arange(len(price)) * 3_600_000
    bars = Bars(symbol="S", tick=10_000_000, step_ms=3_600_000, time_ms=time_ms, open=price, high=price + 1, low=price - 1, close=price)
    still = slice(moved, moved + hours)
    bars.high[still], bars.low[still] = price[still], price[still]
    entries = lab.as_entries(bars, pl.DataFrame({"bar": [moved + hours - 2], "side": [side]}))
    grid = lab.grid(stop_bps=500, moving_trail="3atr", activation_bps=1, max_bars=30, bar_ms=3_600_000)
    result = lab.sweep(bars, entries, grid)
    assert result.outcomes is not None
    told = lab.replay(bars, entries, grid.policies[0])[0]
    assert (told.end.bar, told.gross) == (result.outcomes.bar[0, 0], result.outcomes.gross[0, 0])
