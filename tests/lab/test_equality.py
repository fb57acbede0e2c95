"""A sweep is equal to the reference, compiled, in numpy and uncompiled, by any number of threads, to the last digit."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtkit import lab
from qtkit.core.model import PolicyError
from qtkit.lab import compiled as compiling
from qtkit.lab import kernels, plain
from qtkit.lab.arguments import Outcomes, Sums
from qtkit.lab.compiled import available, compiled
from qtkit.lab.result import Result
from qtkit.lab.series import Bars
from tests.lab.rig import case, differences, some_entries, some_grid, walk

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
    """About 1,000,000 of them over the parts: 64 x 95 series of about 165."""
    for seed in range(1_000 + 95 * part, 1_000 + 95 * (part + 1)):
        result, fill = swept(seed)
        assert not differences(result, fill), seed


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


def test_what_the_desk_refuses_the_sweep_refuses() -> None:
    """The planner is asked the same: on every seed either both plan all entries or both refuse."""
    from qtkit.lab.replay import plan_of

    refused = 0
    for seed in range(400, 460):
        bars, entries, _, costs, _ = case(seed)
        costs = replace(costs, taker=costs.taker * 6)
        grid = lab.grid(stop_bps=(40 + seed % 50 * 4,), trail_bps=(5 + seed % 17 * 8,), targets=[((1 + seed % 7, 50),)])

        def planned(bars: Bars = bars, entries: lab.Entries = entries, costs: lab.Costs = costs, grid: lab.Grid = grid) -> bool:
            try:
                for row in range(len(entries)):
                    plan_of(bars, entries, row, grid.policies[0], costs)
            except PolicyError:
                return False
            return True

        try:
            lab.sweep(bars, entries, grid, costs=costs)
            assert planned(), seed
        except PolicyError:
            refused += 1
            assert not planned(), seed
    assert 5 < refused < 55
