"""How sure research is where positions are taken one at a time: entries that a policy passed over count for nothing in it."""

import numpy as np
import pytest

from qtkit import lab
from qtkit.core.model import PolicyError
from tests.lab.rig import some_entries, walk


def swept(n: int = 300) -> lab.Result:
    bars = walk(3, 4_000, rough=4)
    entries = some_entries(bars, 3, n)
    assert set(entries.sign.tolist()) == {1, -1}
    return lab.sweep(bars, entries, lab.grid(stop_bps=(100, 200, 300), trail_bps=(60, 120), max_bars=60), one_at_a_time=True)


def test_a_comparison_is_of_the_entries_that_both_took() -> None:
    result = swept()
    gain = result.net_bps[:, 0] - result.net_bps[:, 1]
    found = lab.compare(result, 0, 1)
    assert found.entries == (~np.isnan(gain)).sum() < 300 and found.mean_bps == pytest.approx(np.nanmean(gain))
    assert 0 <= lab.deflated_sharpe(result) <= 1


@pytest.mark.parametrize("benchmark", [None, 2])
def test_the_best_of_many_is_found_where_each_took_its_own_and_luck_is_not(benchmark: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    result = swept()
    there, luck = ~np.isnan(result.net_bps), []
    assert not there.all()
    for seed in range(60):
        values = np.where(there, np.random.default_rng(seed).normal(0, 50, there.shape), np.nan)
        monkeypatch.setattr(type(result), "net_bps", property(lambda _, values=values: values))
        luck.append(lab.reality_check(result, benchmark=benchmark, samples=300, seed=seed).p)
    assert np.mean(np.array(luck) < 0.05) < 0.15
    values[:, 4] += 40
    assert lab.reality_check(result, benchmark=benchmark, samples=300).p < 0.02


def test_a_policy_that_took_too_few_is_refused() -> None:
    with pytest.raises(PolicyError, match="entries are too few"):
        lab.reality_check(swept(15))
