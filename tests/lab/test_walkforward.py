"""Choices on the past, tried on what follows: against a plain telling of the same, and against planted skill and none."""

from itertools import pairwise

import numpy as np
import pytest

from qtkit import lab
from qtkit.core.model import PolicyError
from tests.lab.rig import some_entries, walk


def swept(seed: int = 3, *, alone: bool = False, holes: bool = False) -> lab.Result:
    bars = walk(seed, 4_000, rough=4, holes=holes)
    entries = some_entries(bars, seed, 300)
    assert set(entries.sign.tolist()) == {1, -1}
    return lab.sweep(bars, entries, lab.grid(stop_bps=(100, 200, 300), trail_bps=(60, 120), max_bars=60), one_at_a_time=alone)


@pytest.mark.parametrize("anchored", [True, False])
@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("holes", [True, False])
def test_a_choice_knows_what_had_ended_and_is_judged_on_what_follows(anchored: bool, alone: bool, holes: bool) -> None:
    result = swept(alone=alone, holes=holes)
    found = lab.walk_forward(result, folds=4, anchored=anchored)
    assert result.outcomes is not None and len(found.folds) == 4
    time, at, net = result.bars.time_ms, result.entries.bar, result.net_bps
    cuts = np.linspace(time[at[0]], time[at[-1]] + 1, 6).astype(np.int64)
    pooled: list[float] = []
    for number, (row, (begin, end)) in enumerate(zip(found.folds.iter_rows(named=True), pairwise(cuts[1:]), strict=True)):
        train, test, purged = [], [], 0
        for entry, bar in enumerate(at):
            before = time[bar] < begin and (anchored or time[bar] >= cuts[number])
            open_yet = any(
                why and time[end_bar] >= begin for why, end_bar in zip(result.outcomes.why[entry], result.outcomes.bar[entry], strict=True)
            )
            purged += before and open_yet
            train += [entry] if before and not open_yet else []
            test += [entry] if begin <= time[bar] < end else []
        inside, outside = np.nanmean(net[train], 0), np.nanmean(net[test], 0)
        best = row["policy"]
        assert (row["trained"], row["purged"]) == (len(train), purged)
        assert inside[best] >= inside.max() - 0.011 and abs(row["in_sample"] - inside[best]) < 0.011, "the table rounds to 0.01 bps"
        assert abs(row["out_of_sample"] - outside[best]) < 0.011 and row["tested"] == (~np.isnan(net[test, best])).sum()
        assert 1 + (outside > outside[best] + 0.02).sum() <= row["rank"] <= 1 + (outside > outside[best] - 0.02).sum() and row["of"] == 6
        pooled += net[test, best][~np.isnan(net[test, best])].tolist()
    assert found.folds["purged"].sum() > 0 and found.entries == len(pooled)
    assert found.mean_bps == pytest.approx(np.mean(pooled))
    assert str(found).startswith(f"{found.mean_bps:+.1f} bps (") and str(found).endswith(f"on {found.entries} entries of 4 folds")


def planted(result: lab.Result, bps: np.ndarray) -> None:
    """Outcomes of a result replaced by made ones: money of a unit is the price times bps."""
    result.__dict__["net"] = (result.entries.price[:, None] * bps).astype(np.int64)


def test_skill_is_found_and_luck_is_not_believed() -> None:
    result, lucky, looked = swept(), [], []
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(0, 50, (300, 6))
        planted(result, noise)
        found = lab.walk_forward(result)
        looked.append(found.folds["in_sample"].mean())
        lucky.append(found.mean_bps)
    assert np.mean(looked) > 3, "the best of six in sample looks good"
    assert abs(np.mean(lucky)) < 3 * 50 / np.sqrt(20 * 250), "and brings nothing afterwards"
    noise[:, 4] += 40
    planted(result, noise)
    found = lab.walk_forward(result)
    assert found.folds["policy"].to_list() == [4] * 5 and found.folds["rank"].to_list() == [1] * 5 and found.mean_bps > 25


def test_what_cannot_be_tried_is_refused() -> None:
    result = swept()
    with pytest.raises(PolicyError, match=r"cannot be chosen by 'net_bp'.*net_bps"):
        lab.walk_forward(result, metric="net_bp")
    with pytest.raises(PolicyError, match="at least once; got 0"):
        lab.walk_forward(result, folds=0)
    with pytest.raises(PolicyError, match=r"fold 1 of 2000 has 0 entries to choose on"):
        lab.walk_forward(result, folds=2_000)
    streamed = lab.sweep(result.bars, result.entries, result.grid, keep="statistics")
    with pytest.raises(PolicyError, match="kept statistics alone"):
        lab.walk_forward(streamed)
    for metric in ("gross_bps", "net_r", "bps_per_day", "win_pct"):
        assert len(lab.walk_forward(result, metric=metric).folds) == 5
