"""How sure: intervals that hold the truth, p that rejects as often as it says, known answers, and effects that were planted."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from qtkit import lab
from qtkit.core.model import PolicyError
from qtkit.lab import resampling, significance
from qtkit.lab.entries import at_close
from qtkit.lab.resampling import block_length, centring, drawn_means, drawn_rows, flipped_means, interval, widening
from qtkit.lab.significance import deflated, effective
from tests.lab.rig import some_entries, walk


def swept(seed: int = 3, grid: lab.Grid | None = None) -> lab.Result:
    bars = walk(seed, 4_000, rough=4)
    return lab.sweep(bars, some_entries(bars, seed, 200), grid or lab.grid(stop_bps=(100, 200, 300), trail_bps=(60, 120), max_bars=60))


def held(count: int, bars: int, policies: int = 2) -> lab.Result:
    """So many longs, one every bar, each held so many bars by every policy."""
    series = walk(1, count + bars + 1, rough=0)
    entries = at_close(series, np.arange(count), np.ones(count, np.int64))
    made = lab.sweep(series, entries, lab.grid(stop_bps=range(5_000, 5_000 + policies), max_bars=bars), costs=None)
    assert (made.held == bars).all()
    return made


@pytest.fixture
def with_bps(monkeypatch: pytest.MonkeyPatch) -> Callable[[lab.Result, np.ndarray], None]:
    def swap(result: lab.Result, values: np.ndarray) -> None:
        monkeypatch.setattr(type(result), "net_bps", property(lambda _: values))

    return swap


def overlapping(seed: int, count: int, bars: int, columns: int = 1) -> np.ndarray:
    """Outcomes of positions that share ``bars`` - 1 of their bars with the next: a moving sum of noise with tails."""
    noise = np.random.default_rng(seed).standard_t(4, (count + bars - 1, columns)) * 30
    return np.stack([np.convolve(noise[:, c], np.ones(bars) / np.sqrt(bars), "valid") for c in range(columns)], axis=1)


# -- two policies


@pytest.mark.parametrize("shift", [0.0, 25.0])
def test_a_planted_difference_is_seen_and_none_is_not_made_up(shift: float, with_bps: Callable[..., None]) -> None:
    result = swept()
    values = np.random.default_rng(5).normal(0, 50, (200, len(result)))
    values[:, 1] += shift
    with_bps(result, values)
    found, back = lab.compare(result, 1, 0), lab.compare(result, 0, 1)
    assert found.low_bps < found.mean_bps < found.high_bps and found.entries == 200
    assert (found.p < 0.02 and found.low_bps > 0) if shift else (found.p > 0.02)
    assert (back.mean_bps, back.low_bps, back.p) == pytest.approx((-found.mean_bps, -found.high_bps, found.p))
    assert f"p {found.p:.3f}" in str(found) and "95 %" in str(found) and "significant" not in str(found)


@pytest.mark.parametrize(("count", "bars"), [(200, 1), (200, 6), (400, 10)])
def test_under_no_difference_interval_and_p_err_as_often_as_they_say(count: int, bars: int, with_bps: Callable[..., None]) -> None:
    """300 draws decide 5 % between 2 and 9; without blocks the overlapping ones would err in 30 to 50 %."""
    result, wrong, rejected = held(count, bars), 0, 0
    for seed in range(300):
        with_bps(result, np.hstack([overlapping(seed, count, bars), np.zeros((count, 1))]))
        found = lab.compare(result, 0, 1, samples=300, seed=seed)
        wrong += not found.low_bps <= 0 <= found.high_bps
        rejected += found.p < 0.05
    assert 0.02 < wrong / 300 < 0.10 and 0.015 < rejected / 300 < 0.09


def test_a_planted_difference_is_seen_more_often_the_larger_it_is(with_bps: Callable[..., None]) -> None:
    result, seen = held(300, 5), []
    for shift in (0, 10, 20, 30):
        rejected = 0
        for seed in range(40):
            with_bps(result, np.hstack([overlapping(seed, 300, 5) + shift, np.zeros((300, 1))]))
            rejected += lab.compare(result, 0, 1, samples=200, seed=seed).p < 0.05
        seen.append(rejected / 40)
    assert seen == sorted(seen) and seen[0] < 0.15 and seen[-1] > 0.9


def test_policies_that_do_the_same_do_not_differ(with_bps: Callable[..., None]) -> None:
    result = swept()
    found = lab.compare(result, 1, 1)
    assert (found.mean_bps, found.low_bps, found.high_bps, found.p) == (0, 0, 0, 1)
    assert lab.compare(result, 1, 2) == lab.compare(result, 1, 2), "by seed"


def test_a_policy_alone_is_compared_with_bringing_nothing(with_bps: Callable[..., None]) -> None:
    result = swept()
    values = np.random.default_rng(5).normal(0, 50, (200, len(result)))
    values[:100, 1] += 25
    with_bps(result, values)
    whole, early, late = (lab.compare(result, 1, rows=rows) for rows in (None, np.arange(100), np.arange(100, 200)))
    assert whole.mean_bps == pytest.approx(values[:, 1].mean()) and (early.entries, late.entries) == (100, 100)
    assert early.low_bps > 0 > late.low_bps and early.p < 0.02 < late.p
    with pytest.raises(PolicyError, match="19 entries are too few"):
        lab.compare(result, 1, rows=np.arange(19))


# -- blocks


def test_a_block_follows_itself_and_begins_anew_as_often_as_it_should() -> None:
    drawn = np.concatenate(list(drawn_rows(500, 10.0, 200, 1)))
    follows = ((drawn[:, 1:] - drawn[:, :-1]) % 500 == 1).mean()
    assert drawn.shape == (200, 500) and abs(follows - 0.9) < 0.01 and drawn.min() == 0 and drawn.max() == 499


def test_what_does_not_fit_in_memory_at_once_is_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(size=(50, 2))
    monkeypatch.setattr(resampling, "AT_ONCE", 170)
    parts = list(drawn_rows(50, 4, 10, 0))
    assert [len(part) for part in parts] == [3, 3, 3, 1]
    assert np.allclose(drawn_means(values, 4, 10, 0), np.concatenate([values[part].mean(1) for part in parts]))
    assert flipped_means(values[:, 0], 4, 31, 0).shape == (31,)


def test_the_length_of_a_block_is_that_of_what_overlaps() -> None:
    start = np.arange(1_000)
    assert block_length(start, start + 1) == pytest.approx(10), "the cube root, where nothing overlaps"
    assert block_length(start, start + 20) == pytest.approx(60, rel=0.02)
    assert block_length(start, start + 900) == 250, "not under four blocks"
    assert block_length(start * 50, start * 50 + 20) == pytest.approx(10)
    assert widening(10_000, 1) == pytest.approx(1, abs=1e-3) and widening(100, 1) < widening(100, 10) < widening(100, 25)


def test_signs_are_tossed_block_by_block() -> None:
    values = np.array([3.0, -1.0, 2.0, 4.0, -5.0])
    found = flipped_means(values, 2, 400, 1)
    want = {(a * 2 + b * 6 + c * -5) / 5 for a in (1, -1) for b in (1, -1) for c in (1, -1)}
    assert {round(float(it), 9) for it in found} == {round(it, 9) for it in want}


def test_an_interval_of_independent_draws_is_that_of_the_textbook() -> None:
    values = np.random.default_rng(8).normal(5, 40, 4_000)
    low, high = interval(values, 1.0, 4_000, 0)
    error = values.std() / np.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.1 * error)


def test_what_few_blocks_lose_of_the_spread_is_given_back() -> None:
    drawn = [drawn_means(np.random.default_rng(seed).normal(0, 1, (80, 1)), 10, 200, seed).var() for seed in range(400)]
    assert np.mean(drawn) * 80 < 0.85, "eight blocks spread too little"
    assert np.mean(drawn) * 80 * centring(80, 10) ** 2 == pytest.approx(1, abs=0.08)


def test_overlapping_positions_are_worth_what_they_have_for_themselves() -> None:
    start = np.arange(100)
    assert effective(start, start + 1) == 100
    assert effective(start, start + 10) == pytest.approx(100 / 10, rel=0.15)
    assert effective(np.zeros(7, np.int64), np.full(7, 5)) == pytest.approx(1)


# -- the best of many


def test_without_skill_the_best_of_many_is_believed_as_seldom_as_it_says(with_bps: Callable[..., None]) -> None:
    result, found = held(200, 4, 40), []
    for seed in range(200):
        with_bps(result, overlapping(seed, 200, 4, 40) + overlapping(seed + 9_999, 200, 4))
        found.append(lab.reality_check(result, samples=200, seed=seed))
    white, hansen = (np.array([getattr(it, name) for it in found]) for name in ("p", "p_spa"))
    assert 0.01 < np.mean(white < 0.05) < 0.10 and np.mean(hansen < 0.05) < 0.17
    assert np.mean([it.mean_bps > 0 for it in found]) > 0.8, "the best of many looks good though none is"
    for it in found:
        assert (it.at_least_bps > 1e-9) <= (it.p < 0.06) and (it.at_least_bps < -1e-9) <= (it.p > 0.04)


def test_a_planted_policy_is_found_among_many(with_bps: Callable[..., None]) -> None:
    result = held(300, 3, 40)
    values = overlapping(2, 300, 3, 40)
    values[:, 17] += 40
    with_bps(result, values)
    found = lab.reality_check(result)
    assert found.policy == 17 and found.p < 0.02 and found.p_spa < 0.02 and 0 < found.at_least_bps < found.mean_bps
    assert str(found).startswith("policy 17 brought +") and "of 40 on 300 entries" in str(found)
    against = lab.reality_check(result, benchmark=17)
    assert against.policy == 17 and against.mean_bps == 0 and against.p > 0.5 and against.p_spa > 0.5


def test_hopeless_policies_do_not_hide_a_good_one(with_bps: Callable[..., None]) -> None:
    """What White's check loses by a grid full of wild and losing policies, Hansen's does not."""
    result, seen = held(300, 1, 60), []
    for seed in range(20):
        values = overlapping(seed, 300, 1, 60)
        values[:, 1:] = values[:, 1:] * 8 - 400
        values[:, 0] += 8
        with_bps(result, values)
        found = lab.reality_check(result, samples=300, seed=seed)
        seen.append((found.p_spa, found.p))
    hansen, white = np.array(seen).T
    assert (hansen <= white).all() and np.mean(hansen < 0.1) > 0.6 and np.mean(white < 0.1) < 0.2


def test_a_thousand_policies_on_a_thousand_entries_take_seconds(with_bps: Callable[..., None]) -> None:
    result = held(1_000, 5, 1_000)
    with_bps(result, np.random.default_rng(1).normal(0, 50, (1_000, 1_000)))
    began = time.process_time()
    assert 0 < lab.reality_check(result).p <= 1
    assert time.process_time() - began < 10


def test_the_deflated_ratio_is_that_of_its_authors() -> None:
    """Their example: 2.5 a year over five years of days, 100 tries of variance 1/2, skew -3, kurtosis 10; and with 46 tries."""
    ratio, spread = 2.5 / np.sqrt(250), np.sqrt(0.5 / 250)
    assert deflated(ratio, 100, spread, 1_250, -3, 10) == pytest.approx(0.9004, abs=1e-4)
    assert deflated(ratio, 46, spread, 1_250, -3, 10) == pytest.approx(0.9505, abs=1e-4)
    assert deflated(0.0, 1, 0.0, 100, 0, 3) == 0.5


def test_the_deflated_ratio_of_the_best_without_skill_is_low_and_of_a_planted_one_high(with_bps: Callable[..., None]) -> None:
    result, sure = held(200, 1, 40), []
    for seed in range(60):
        values = overlapping(seed, 200, 1, 40)
        with_bps(result, values)
        sure.append(lab.deflated_sharpe(result))
    assert np.mean(np.array(sure) > 0.95) < 0.1
    values[:, 7] += 30
    with_bps(result, values)
    assert lab.deflated_sharpe(result) > 0.99 and lab.deflated_sharpe(result, 7) == lab.deflated_sharpe(result)
    longer = held(200, 20, 40)
    assert lab.deflated_sharpe(longer, 7) < lab.deflated_sharpe(result, 7), "overlapping positions are worth less"


def test_what_cannot_be_said_is_refused() -> None:
    result = swept()
    for asked in ((0, 6), (-1, 0)):
        with pytest.raises(PolicyError, match=r"there are 6 policies, numbered from 0; got"):
            lab.compare(result, *asked)
    few = lab.sweep(result.bars, result.entries.take(slice(0, 8)), result.grid)
    for ask in (lambda: lab.compare(few, 0, 1), lambda: lab.reality_check(few), lambda: lab.deflated_sharpe(few)):
        with pytest.raises(PolicyError, match=r"8 entries are too few .* give at least 20"):
            ask()
    with pytest.raises(PolicyError, match="a block is 1 to 100 of these 200 entries long, got 0; leave it out"):
        lab.compare(result, 0, 1, block=0)
    assert lab.compare(result, 0, 1, block=7).block == 7
    assert significance.LEAST == 20
