"""What research says of its own certainty: bands of ambiguous bars, paired differences, and the best of many without skill."""

import numpy as np
import polars as pl
import pytest

from qtkit import lab
from qtkit.core.model import PolicyError
from qtkit.lab import resampling
from tests.lab.rig import some_entries, walk


def swept(seed: int = 3, grid: lab.Grid | None = None) -> lab.Result:
    bars = walk(seed, 4_000, rough=4)
    return lab.sweep(bars, some_entries(bars, seed, 200), grid or lab.grid(stop_bps=(100, 200, 300), trail_bps=(60, 120), max_bars=60))


def with_bps(result: lab.Result, values: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(result), "net_bps", property(lambda _: values))


def test_a_band_holds_its_sample_and_is_as_wide_as_its_ambiguous_bars() -> None:
    bars = walk(8, 2_000, rough=30)
    grid = lab.grid(stop_bps=(60, 100), targets=[((60, 50), (90, 50)), ((250, 100),)], max_bars=200)
    entries = some_entries(bars, 2, 300)
    table = lab.bands(bars, entries, grid, costs=None)
    low, sampled, high = (table[name].to_numpy() for name in ("worst_bps", "sampled_bps", "best_bps"))
    assert ((low <= sampled + 1e-9) & (sampled <= high + 1e-9)).all() and (high > low).any()
    assert ((table["ambiguous_pct"].to_numpy() > 0) == (high > low)).all()
    assert table.equals(lab.bands(bars, entries, grid, costs=None)), "by seed"
    worst = lab.sweep(bars, entries, grid, costs=None)
    assert np.allclose(table.sort("policy")["worst_bps"].to_numpy(), worst.net_bps.mean(0))


def test_policies_whose_bands_touch_are_not_ranked() -> None:
    from qtkit.lab.bands import _tiers

    low, high = np.array([5.0, 1.0, 4.0, -3.0, 0.5]), np.array([6.0, 2.0, 5.5, -2.0, 1.0])
    assert _tiers(low, high).tolist() == [1, 2, 1, 3, 2]


@pytest.mark.parametrize("shift", [0.0, 25.0])
def test_a_planted_difference_is_seen_and_none_is_not_made_up(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    result = swept()
    rng = np.random.default_rng(5)
    values = rng.normal(0, 50, (200, len(result)))
    values[:, 1] += shift
    with_bps(result, values, monkeypatch)
    found = lab.compare(result, 1, 0)
    assert found.low_bps < found.mean_bps < found.high_bps and found.entries == 200
    assert (found.p < 0.01 and found.low_bps > 0) if shift else (found.p > 0.02)
    back = lab.compare(result, 0, 1)
    assert back.mean_bps == -found.mean_bps and abs(back.p - found.p) < 0.02


def test_the_interval_holds_the_truth_about_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Overlapping positions: a moving sum of noise. 95 % is what is said; 120 draws decide between that and a naive 70 %."""
    result = swept()
    held = 0
    for seed in range(120):
        noise = np.random.default_rng(seed).normal(0, 30, 205)
        values = np.zeros((200, len(result)))
        values[:, 1] = np.convolve(noise, np.ones(6) / 6, "valid")
        with_bps(result, values, monkeypatch)
        found = lab.compare(result, 1, 0, samples=400, seed=seed)
        held += found.low_bps <= 0 <= found.high_bps
    assert held / 120 > 0.84


def test_the_best_of_many_without_skill_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = lab.grid(stop_bps=range(60, 260, 10), trail_bps=(60, 120), max_bars=60)
    result, luck, sure = swept(3, grid), [], []
    for seed in range(40):
        values = np.random.default_rng(seed).normal(0, 50, (200, len(result)))
        with_bps(result, values, monkeypatch)
        luck.append(lab.reality_check(result, samples=300, seed=seed).p)
        sure.append(lab.deflated_sharpe(result))
    assert np.mean(np.array(luck) < 0.05) < 0.2 and np.mean(np.array(sure) > 0.95) < 0.2
    values[:, 7] += 30
    with_bps(result, values, monkeypatch)
    assert lab.reality_check(result, samples=300).p < 0.02 and lab.deflated_sharpe(result) > 0.99
    assert lab.deflated_sharpe(result, 7) == lab.deflated_sharpe(result)


def test_a_block_follows_itself_and_begins_anew_as_often_as_it_should() -> None:
    drawn = np.concatenate(list(resampling.drawn_rows(500, 10.0, 200, 1)))
    follows = ((drawn[:, 1:] - drawn[:, :-1]) % 500 == 1).mean()
    assert abs(follows - 0.9) < 0.01 and drawn.min() == 0 and drawn.max() == 499


def test_what_cannot_be_said_is_refused() -> None:
    result = swept()
    with pytest.raises(PolicyError, match=r"there are 6 policies, numbered from 0; got 6"):
        lab.compare(result, 0, 6)
    few = lab.sweep(result.bars, result.entries.take(slice(0, 8)), result.grid)
    with pytest.raises(PolicyError, match=r"8 entries are too few"):
        lab.compare(few, 0, 1)
    with pytest.raises(PolicyError, match="at least once"):
        lab.bands(result.bars, result.entries, result.grid, samples=0)


def rising(bars: lab.Bars, ahead: int) -> pl.DataFrame:
    """Long where the close is above that of ten bars ago; with ``ahead`` it peeks that many bars into the future."""
    close, n = bars.close, len(bars)
    later = np.minimum(np.arange(n) + ahead, n - 1)
    bar = np.flatnonzero(close[later] > close[np.maximum(np.arange(n) - 10, 0)])
    return bars.frame().select("time")[bar].with_columns(side=pl.lit("long"))


def test_entries_that_know_the_future_are_found_and_honest_ones_are_not() -> None:
    bars = walk(4, 1_500)
    assert lab.first_lookahead(bars, lambda part: rising(part, 0)) is None
    found = lab.first_lookahead(bars, lambda part: rising(part, 40))
    assert found is not None and found.time <= found.cut and (found.was is None) != (found.became is None)
    assert str(found).startswith(f"the entry of {found.time} knows what came after {found.cut}")
    with pytest.raises(PolicyError, match="column 'time'"):
        lab.first_lookahead(bars, lambda part: pl.DataFrame({"side": ["long"]}))


def test_a_sweep_knows_nothing_of_what_comes_after_an_exit() -> None:
    result = swept()
    assert result.outcomes is not None
    cut = 2_500
    ended = (result.outcomes.bar < cut - 1).all(1) & (result.entries.bar < cut - 1)
    part = result.bars.slice(0, cut)
    again = lab.sweep(part, result.entries.take(ended), result.grid)
    assert again.outcomes is not None and ended.sum() > 50
    assert (again.outcomes.bar == result.outcomes.bar[ended]).all() and (again.outcomes.gross == result.outcomes.gross[ended]).all()
