"""Bands: what the order inside the bars leaves open, one position at a time too, and who is ranked at all."""

from importlib import import_module
from typing import Literal

import numpy as np
import pytest

from qtkit import lab
from qtkit.core.model import PolicyError
from qtkit.lab.result import places
from tests.lab.rig import some_entries, walk

module = import_module("qtkit.lab.bands")  # the name in qtkit.lab is the function
GRID = lab.grid(stop_bps=(60, 100), targets=[((60, 50), (90, 50)), ((250, 100),)], max_bars=200)


def test_a_band_holds_its_sample_and_is_as_wide_as_its_ambiguous_bars() -> None:
    bars = walk(8, 2_000, rough=30)
    entries = some_entries(bars, 2, 300)
    table = lab.bands(bars, entries, GRID, costs=None)
    low, sampled, high = (table[name].to_numpy() for name in ("worst_bps", "sampled_bps", "best_bps"))
    assert ((low <= sampled + 1e-9) & (sampled <= high + 1e-9)).all() and (high > low).any()
    assert ((table["ambiguous_pct"].to_numpy() > 0) == (high > low)).all()
    assert table.equals(lab.bands(bars, entries, GRID, costs=None)), "by seed"
    with pytest.raises(PolicyError, match="at least once"):
        lab.bands(bars, entries, GRID, samples=0)
    worst = lab.sweep(bars, entries, GRID, costs=None)
    assert np.allclose(table.sort("policy")["worst_bps"].to_numpy(), worst.net_bps.mean(0))


@pytest.mark.parametrize("seed", [2, 5, 8])
def test_the_worst_and_the_best_order_take_what_a_sweep_takes(seed: int) -> None:
    bars = walk(8, 2_000, rough=30)
    entries = some_entries(bars, seed, 300)
    assert set(entries.sign.tolist()) == {1, -1}
    table = lab.bands(bars, entries, GRID, costs=None, one_at_a_time=True).sort("policy")
    for fill, name in (("worst", "worst_bps"), ("best", "best_bps")):
        alone = lab.sweep(bars, entries, GRID, costs=None, fill=fill, one_at_a_time=True)
        assert np.isnan(alone.net_bps).any() and np.allclose(table[name].to_numpy(), np.nanmean(alone.net_bps, 0))
        whole = lab.sweep(bars, entries, GRID, costs=None, fill=fill)
        assert whole.outcomes is not None
        assert (module._took(entries.bar, whole.outcomes.bar) == ~np.isnan(alone.net_bps)).all()
    assert table.drop_nulls().height == 4 and (table["ambiguous_pct"] > 0).any() and (table["hangs_pct"] <= 200).all()
    assert table.equals(lab.bands(bars, entries, GRID, costs=None, one_at_a_time=True).sort("policy")), "by seed"


@pytest.mark.parametrize(("lucky", "name"), [(0.0, "worst_bps"), (1.0, "best_bps")])
@pytest.mark.parametrize("alone", [True, False])
def test_a_sample_that_is_sure_is_the_order_it_is_sure_of(lucky: float, name: str, alone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = walk(8, 2_000, rough=30)
    monkeypatch.setattr(module, "_favourable_first", lambda result, _: np.full(result.net_bps.shape, lucky))
    table = lab.bands(bars, some_entries(bars, 2, 300), GRID, costs=None, one_at_a_time=alone)
    assert np.allclose(table["sampled_bps"].to_numpy(), table[name].to_numpy())


# -- who is ranked

CLOSE = lab.grid(stop_bps=(60, 61, 62, 150), targets=[((60, 50), (90, 50)), ((60, 50), (92, 50))], max_bars=200)


def test_policies_whose_bands_touch_are_not_ranked() -> None:
    first, last = places(np.array([5.0, 1.0, 4.0, -3.0, 0.5]), np.array([6.0, 2.0, 5.5, -2.0, 1.0]))
    assert (first.tolist(), last.tolist()) == ([1, 3, 1, 5, 3], [2, 4, 2, 5, 4])


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("fill", ["worst", "best"])
@pytest.mark.parametrize("keep", ["outcomes", "statistics"])
def test_the_table_says_who_is_not_ranked(fill: Literal["worst", "best"], alone: bool, keep: Literal["outcomes", "statistics"]) -> None:
    bars = walk(8, 2_000, rough=30)
    entries = some_entries(bars, 2, 300)
    table = lab.sweep(bars, entries, CLOSE, fill=fill, one_at_a_time=alone, keep=keep).table()
    told = lab.bands(bars, entries, CLOSE, one_at_a_time=alone).sort("policy")
    again, by_policy = (
        (lab.sweep(bars, entries, CLOSE, fill=order, one_at_a_time=alone) for order in ("best", "worst")),
        table.sort("policy"),
    )
    best, worst = (it.table_of(it.sums)["net_bps"] for it in again)
    width = (best - worst) * (1 if fill == "worst" else -1)
    assert by_policy["band_bps"].to_list() == pytest.approx(width.to_list()) and (width != 0).any()
    assert by_policy.select("rank_from", "rank_to").equals(told.select("rank_from", "rank_to"))
    assert (table["rank_to"] > table["rank_from"]).any(), "some are not told apart here"


def test_where_no_order_can_decide_every_policy_is_ranked_without_a_second_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = walk(8, 2_000, rough=30)
    grid = lab.grid(stop_bps=(60, 100, 200), trail_bps=(30, 60))
    result = lab.sweep(bars, some_entries(bars, 2, 300), grid)
    assert (result.net == lab.sweep(bars, some_entries(bars, 2, 300), grid, fill="best").net).all(), "the order decides nothing"
    monkeypatch.setattr(result, "_other", lambda: pytest.fail("it was swept again"))
    table = result.table()
    assert table["band_bps"].to_list() == [0] * 6 and table["rank_from"].to_list() == table["rank_to"].to_list() == [1, 2, 3, 4, 5, 6]


def test_entries_inside_their_bars_make_bands_too() -> None:
    bars = walk(8, 2_000, rough=30)
    result = lab.sweep(bars, some_entries(bars, 2, 300, inside=True), lab.grid(stop_bps=(60, 100, 200), trail_bps=(30, 60)))
    assert (result.table()["band_bps"] != 0).any()


def test_a_result_shows_who_is_not_ranked() -> None:
    bars = walk(8, 2_000, rough=30)
    shown = lab.sweep(bars, some_entries(bars, 2, 300), CLOSE)
    first = shown.table().row(0, named=True)
    assert f"the first {first['rank_to']} are not ranked" in repr(shown) and f"1-{first['rank_to']}" in shown._repr_html_()
    sure = lab.sweep(bars, some_entries(bars, 2, 300), lab.grid(stop_bps=(60, 100)))
    assert "not ranked" not in repr(sure) and "other order" not in repr(sure)
