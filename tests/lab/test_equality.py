"""A sweep is equal to the reference, compiled, in numpy and uncompiled, by any number of threads, to the last digit."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtkit import lab
from qtkit.core.model import E8, ONE, PolicyError
from qtkit.lab import compiled as compiling
from qtkit.lab import kernels, plain
from qtkit.lab.arguments import Outcomes, Sums
from qtkit.lab.compiled import available, compiled
from qtkit.lab.entries import at_close
from qtkit.lab.result import Result
from qtkit.lab.series import Bars
from tests.lab.rig import case, differences, planned, some_entries, some_grid, walk

DATA = os.environ.get("QTKIT_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="QTKIT_DATA names no folder of real bars")
HERE = "qtkit.lab.sweep"


def swept(seed: int, **asked: object) -> tuple[Result, str]:
    bars, entries, grid, costs, fill = case(seed)
    return lab.sweep(bars, entries, grid, costs=costs, fill=fill, **asked), fill  # type: ignore[arg-type]


def same(one: Result, other: Result) -> None:
    assert one.outcomes is not None and other.outcomes is not None
    for name in Outcomes._fields:
        np.testing.assert_array_equal(getattr(one.outcomes, name), getattr(other.outcomes, name), err_msg=name)


def same_sums(one: Sums, other: Sums) -> None:
    for name in Sums._fields:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("seed", range(48))
def test_a_sweep_is_equal_to_the_reference(seed: int) -> None:
    result, fill = swept(seed)
    assert not differences(result, fill)


@pytest.mark.night
@pytest.mark.parametrize("part", range(64))
def test_a_million_outcomes_are_equal_to_the_reference(part: int) -> None:
    """15,625 of them in each of 64 parts, from about 95 series; where the sweep refuses, the planner must."""
    compared, seed = 0, 1_000 * (part + 1)
    while compared < 1_000_000 // 64:
        compared += equal_outcomes(seed)
        seed += 1


def equal_outcomes(seed: int) -> int:
    """How many outcomes were compared; none where sweep and planner refuse the case alike."""
    try:
        result, fill = swept(seed)
    except PolicyError:
        bars, entries, grid, costs, _ = case(seed)
        assert not planned(bars, entries, grid, costs), seed
        return 0
    assert not differences(result, fill), seed
    return len(result.entries) * len(result.grid)


@pytest.mark.parametrize("seed", range(100, 180))
def test_numpy_is_equal_to_numba(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, _ = swept(seed)
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    same(fast, swept(seed)[0])


@pytest.mark.parametrize("seed", range(200, 212))
def test_the_kernel_is_equal_to_itself_uncompiled(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, _ = swept(seed)
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    monkeypatch.setattr(plain, "sweep", kernels.sweep)
    same(fast, swept(seed)[0])


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("seed", [0, 7, 11])
def test_threads_change_nothing(seed: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys.modules[HERE], "BLOCK", 2)
    same(swept(seed, threads=1)[0], swept(seed, threads=threads)[0])
    same_sums(swept(seed, threads=1, keep="statistics")[0].sums, swept(seed, threads=threads, keep="statistics")[0].sums)


@pytest.mark.parametrize("jit", ["0", "1"], ids=["numba", "numpy"])
@pytest.mark.parametrize("seed", range(300, 320))
def test_statistics_are_those_of_the_outcomes(seed: int, jit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", jit)
    same_sums(swept(seed, keep="statistics")[0].sums, swept(seed)[0].sums)


@pytest.mark.parametrize("jit", ["0", "1"], ids=["numba", "numpy"])
@pytest.mark.parametrize("sides", ["long", "short", "both"])
@pytest.mark.parametrize("step_bps", [0, 10])
def test_dense_entries_of_a_product_are_summed_at_corners(jit: str, sides: str, step_bps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bar an entry: trails from tables, statistics from the corners of stops and trails."""
    monkeypatch.setenv("NUMBA_DISABLE_JIT", jit)
    bars = walk(5, 3_000, rough=3, price=9_000)
    grid = lab.grid(stop_bps=range(50, 351, 60), trail_bps=range(12, 120, 25), activation_bps=40, step_bps=step_bps, max_bars=90)
    entries = lab.every(bars, sides)  # type: ignore[arg-type]
    streamed = lab.sweep(bars, entries, grid, costs=None, keep="statistics")
    kept = lab.sweep(bars, entries, grid, costs=None, keep="outcomes")
    assert not len(kept.problem.lines.rung) and kept.problem.lines.cross.size == len(grid)
    assert (kept.sums.whys[:, [1, 2, 6]].sum(0) > 0).all(), "stops, trails and times, else nothing is shown"
    same_sums(streamed.sums, kept.sums)


@pytest.mark.parametrize("jit", ["0", "1"], ids=["numba", "numpy"])
def test_one_at_a_time_passes_over_entries_while_one_is_open(jit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", jit)
    bars, grid = walk(3, 600), some_grid(4)
    entries = some_entries(bars, 3, 80)
    every = lab.sweep(bars, entries, grid)
    alone = lab.sweep(bars, entries, grid, one_at_a_time=True)
    assert every.outcomes is not None and alone.outcomes is not None
    for p in range(len(grid)):
        free = -1
        for e in range(len(entries)):
            took = entries.bar[e] >= free
            assert (alone.outcomes.why[e, p] > 0) == took
            if took:
                free = every.outcomes.bar[e, p]
                assert alone.outcomes.bar[e, p] == free and alone.outcomes.gross[e, p] == every.outcomes.gross[e, p]
    assert 0 < alone.sums.entries.max() < len(entries)
    same_sums(lab.sweep(bars, entries, grid, one_at_a_time=True, keep="statistics").sums, alone.sums)


@pytest.mark.skipif(not available(), reason="numba is not installed")
def test_an_edited_rule_is_another_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop rounded away from the price: the compiled sweep follows the source, whatever numba has kept on disk."""
    bars, grid = walk(9, 500), lab.grid(stop_bps=(133, 211))
    entries = lab.every(bars, step=20)
    before = lab.sweep(bars, entries, grid)
    source = Path(str(kernels.arithmetic.__file__)).read_text()
    rule = "return sign * -((-sign * price_e8 * (BPS - sign * distance_bps)) // (BPS * tick_e8))"
    assert rule in source
    edited = tmp_path / "arithmetic.py"
    edited.write_text(source.replace(rule, "return sign * ((sign * price_e8 * (BPS - sign * distance_bps)) // (BPS * tick_e8))"))
    monkeypatch.setattr(kernels.arithmetic, "__file__", str(edited))
    other = compiling.compiled.__wrapped__()
    monkeypatch.setattr(compiled(), "sweep_whole", other.sweep_whole)
    after = lab.sweep(bars, entries, grid)
    assert before.outcomes is not None and after.outcomes is not None
    assert (before.outcomes.price != after.outcomes.price).any()


@needs_data
@pytest.mark.parametrize(
    ("name", "first", "grid"),
    [
        ("spot_1m/BTCUSDT_2022-2023.parquet", 640_000, {}),
        ("spot_1m/SOLUSDT_2022-2023.parquet", 527_000, {}),
        ("bitfinex_1m/LTCUSD_2018.parquet", 9_000, {"tick": "0.001", "off_grid": "nearest"}),
    ],
)
def test_real_series_are_equal_to_the_reference(name: str, first: int, grid: dict[str, Any]) -> None:
    bars = lab.load(Path(str(DATA)) / name, **grid).slice(first, first + 6_000)
    entries = some_entries(bars, 8, 40, inside=True, asked=True)
    for seed in (0, 2, 3):
        policies = some_grid(seed)
        assert not differences(lab.sweep(bars, entries, policies, fill="worst"), "worst")


def prices(*ticks: int) -> Bars:
    """Bars that stand still for 10 minutes at each of some prices and end one lower, then one higher."""
    close = np.repeat(np.array(ticks, np.int64), 10)
    close[9::10] -= 1
    low, high = close - 1, close + 3
    return Bars(
        symbol="TESTUSDT",
        tick=ONE // 10,
        step_ms=60_000,
        time_ms=np.arange(len(close)) * 60_000,
        open=close,
        high=high,
        low=low,
        close=close,
    )


@pytest.mark.parametrize("jit", ["0", "1"], ids=["numba", "numpy"])
@pytest.mark.parametrize("fee", [0, 20_000, 200_000])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_step_of_a_curve_is_at_least_a_tick_and_a_round_trip_wide(jit: str, fee: int, sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the planner makes it, by the price of each entry: 0.3 % is under a tick at 266 ticks, over one at 400."""
    monkeypatch.setenv("NUMBA_DISABLE_JIT", jit)
    bars = walk(2, 900, price=330, rough=2)
    assert bars.close.min() < 280 and bars.close.max() > 380, "one tick is not 0.3 % of both"
    entries = at_close(bars, np.arange(0, 890, 9), np.full(99, sign))
    grid = lab.grid(stop_bps=(600, 900), trail_bps=(250,), activation_bps=50, step_bps=0, tightening=[((100, 30),), (("1R", 20),)])
    result = lab.sweep(bars, entries, grid, costs=lab.Costs(taker=E8(fee)))
    assert not differences(result, "worst")


def test_a_trail_is_held_to_the_tick_at_its_own_entry() -> None:
    """A tick is 1.12 % at 90 ticks, where the trail by ATR is 4 % wide; where it is 1 % wide a tick is nothing."""
    bars = prices(90, 9_000)
    entries = at_close(bars, np.array([3, 13]), np.array([1, -1]))
    grid = lab.grid(stop_bps=(600,), trail=("2atr",), activation_bps=50)
    far, near = (replace(entries, atr=entries.price * np.array(bps) // 10_000) for bps in ((200, 40), (40, 200)))
    assert planned(bars, far, grid, lab.FREE) and not differences(lab.sweep(bars, far, grid, costs=None), "worst")
    assert not planned(bars, near, grid, lab.FREE)
    with pytest.raises(PolicyError, match=r"p0: a trail of 1 % is within a tick .*: at least 1.12 %"):
        lab.sweep(bars, near, grid, costs=None)


def test_what_the_desk_refuses_the_sweep_refuses() -> None:
    """The planner is asked the same: on every seed either both plan all entries or both refuse."""
    refused = 0
    for seed in range(400, 460):
        bars, entries, _, costs, _ = case(seed)
        costs = replace(costs, taker=costs.taker * 6)
        grid = lab.grid(stop_bps=(40 + seed % 50 * 4,), trail_bps=(5 + seed % 17 * 8,), targets=[((1 + seed % 7, 50),)])

        try:
            lab.sweep(bars, entries, grid, costs=costs)
            assert planned(bars, entries, grid, costs), seed
        except PolicyError:
            refused += 1
            assert not planned(bars, entries, grid, costs), seed
    assert 5 < refused < 55
