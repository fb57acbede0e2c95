"""The report of a walk-forward: figures are those of the trades, net is gross less costs, an embargo drops more."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from qtkit import lab
from qtkit.core.model import PolicyError
from tests.lab.rig import funded, some_entries, walk

GRID = lab.grid(stop_bps=(100, 200, 300), trail_bps=(60, 120), max_bars=90)


def swept(*, inside: bool = False, alone: bool = False, costs: str | None = "account") -> lab.Result:
    bars = walk(3, 6_000, rough=4)
    bars = bars if costs is None else funded(bars, 3)
    return lab.sweep(bars, some_entries(bars, 3, 500, inside=inside), GRID, costs=costs, one_at_a_time=alone)


def figures(found: lab.WalkForward) -> dict[str, dict[str, float]]:
    return {row["figure"]: row for row in found.report.iter_rows(named=True)}


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_out_of_sample_is_what_the_trades_of_the_chosen_say(inside: bool, alone: bool) -> None:
    result = swept(inside=inside, alone=alone)
    found = lab.walk_forward(result)
    parts = []
    for begin, end, policy in found.folds.select("begin", "end", "policy").iter_rows():
        parts.append(result.trades(policy).filter(pl.col("time").is_between(begin, end, closed="left")))
    trades, told = pl.concat(parts, how="diagonal_relaxed"), figures(found)
    assert len(trades) == found.entries
    for name in ("net_bps", "gross_bps", "fees_bps", "funding_bps"):
        assert told[name]["out_of_sample"] == pytest.approx(trades[name].mean())
    assert told["win_pct"]["out_of_sample"] == pytest.approx(100 * (trades["net_bps"] > 0).mean())  # type: ignore[operator]
    assert told["net_bps"]["out_of_sample"] == pytest.approx(found.mean_bps)


@pytest.mark.parametrize("alone", [True, False])
def test_net_is_gross_less_fees_and_funding_in_every_column(alone: bool) -> None:
    told = figures(lab.walk_forward(swept(alone=alone)))
    for column in ("in_sample", "out_of_sample", "grid"):
        costs = told["fees_bps"][column] + told["funding_bps"][column]
        assert told["net_bps"][column] == pytest.approx(told["gross_bps"][column] - costs) and told["fees_bps"][column] > 5
    free = figures(lab.walk_forward(swept(costs=None)))
    assert [free[name][column] for name in ("fees_bps", "funding_bps") for column in ("in_sample", "out_of_sample", "grid")] == [0] * 6


def test_in_sample_is_where_it_was_chosen_each_fold_by_what_was_tried() -> None:
    result = swept()
    found = lab.walk_forward(result)
    told = figures(found)
    want = np.average(found.folds["in_sample"], weights=found.folds["tested"])
    assert told["net_bps"]["in_sample"] == pytest.approx(want, abs=0.01)
    assert told["low_bps"]["in_sample"] is None and told["entries a fold"]["in_sample"] == found.folds["trained"].mean()


def test_the_interval_holds_the_mean_and_counts_what_overlaps() -> None:
    found = lab.walk_forward(swept())
    assert found.low_bps < found.mean_bps < found.high_bps and 0 < found.effective < found.entries
    told = figures(found)
    assert [told[name]["out_of_sample"] for name in ("low_bps", "high_bps", "effective")] == [
        found.low_bps,
        found.high_bps,
        found.effective,
    ]
    again = lab.walk_forward(swept())
    assert again.report.equals(found.report) and again.folds.equals(found.folds) and str(again) == str(found)


@pytest.mark.parametrize("anchored", [True, False])
def test_an_embargo_drops_what_ended_shortly_before_a_test(anchored: bool) -> None:
    result = swept()
    purged = [lab.walk_forward(result, anchored=anchored, embargo_bars=bars).folds["purged"].sum() for bars in (0, 60, 240)]
    assert purged == sorted(set(purged)) and result.outcomes is not None
    found = lab.walk_forward(result, anchored=anchored, embargo_bars=240)
    last = result.outcomes.bar.max(1)
    for row in found.folds.iter_rows(named=True):
        begin = int(np.searchsorted(result.bars.time_ms, row["begin"].timestamp() * 1000))
        assert row["trained"] <= int((last < begin - 240).sum())
    with pytest.raises(PolicyError, match="from 0; got -1"):
        lab.walk_forward(result, embargo_bars=-1)


def test_on_a_recorded_market_what_is_chosen_brings_less_than_it_promised(market_data: Path) -> None:
    bars = lab.load(market_data / "perp_1m/SOLUSDT_2025-05_2025-06.parquet")
    grid = lab.grid(stop_bps=(100, 150, 200, 300, 400), trail_bps=(50, 100, 200, 300), max_bars=1_440)
    told = figures(lab.walk_forward(lab.sweep(bars, lab.every(bars, step=240), grid)))
    assert told["net_bps"]["out_of_sample"] < told["net_bps"]["in_sample"]
    assert told["fees_bps"]["out_of_sample"] == pytest.approx(10, abs=0.1)
