"""Bands of positions one at a time: each order inside the bars takes the entries that a sweep in that order takes."""

from importlib import import_module

import numpy as np
import pytest

from qtkit import lab
from tests.lab.rig import some_entries, walk

module = import_module("qtkit.lab.bands")  # the name in qtkit.lab is the function
GRID = lab.grid(stop_bps=(60, 100), targets=[((60, 50), (90, 50)), ((250, 100),)], max_bars=200)


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
