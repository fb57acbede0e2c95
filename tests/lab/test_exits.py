"""Exits by condition, against the same said entry by entry."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from qtkit import lab
from qtkit.bars import BarsError
from qtkit.lab.entries import NONE
from tests.lab.rig import differences, funded, some_entries, some_grid, walk

START = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("seed", range(6))
def test_the_next_of_the_other_side(seed: int) -> None:
    bars = walk(seed, holes=seed % 2 == 0)
    entries = some_entries(bars, seed, 60)
    last = lab.exit_at_opposite(bars, entries).last
    for row in range(len(entries)):
        later = [int(b) for b, s in zip(entries.bar, entries.sign, strict=True) if s != entries.sign[row] and b > entries.bar[row]]
        assert last[row] == min(later, default=NONE)


@pytest.mark.parametrize("minutes", [0, 5, 200])
@pytest.mark.parametrize("seed", range(4))
def test_before_the_next_funding(seed: int, minutes: int) -> None:
    """It is the last close in time for a funding that is not yet too near; without minutes, nobody who leaves so has paid one."""
    bars = funded(walk(seed, holes=seed % 2 == 0), seed)
    entries = some_entries(bars, seed, 60)
    made = lab.before_funding(bars, entries, minutes)
    assert bars.funding is not None
    times = [int(bars.time_ms[bar]) for bar in np.flatnonzero(np.diff(bars.funding, prepend=0))]
    closes = bars.closes_ms()
    for row, bar in enumerate(entries.bar):
        in_time = [int(np.flatnonzero(closes <= at - minutes * 60_000).max(initial=-1)) for at in times]
        assert made.last[row] == min((leave for leave in in_time if leave > bar), default=NONE)
    if not minutes:
        result = lab.sweep(bars, made, lab.grid(stop_bps=5_000))
        assert result.outcomes is not None
        direct = (made.last != NONE) & [bars.funding[last] == bars.funding[bar] for bar, last in zip(made.bar, made.last, strict=True)]
        assert direct.sum() > 40 and not result.outcomes.paid[direct & (result.outcomes.why[:, 0] == 7)].any()


@pytest.mark.parametrize("hour", [0, 3, 23])
@pytest.mark.parametrize("seed", range(4))
def test_the_end_of_the_session(seed: int, hour: int) -> None:
    bars = walk(seed, 3_000, holes=seed % 2 == 0)
    entries = some_entries(bars, seed, 60)
    last = lab.session_end(bars, entries, hour).last
    closes = [START + timedelta(milliseconds=int(at)) for at in bars.closes_ms()]
    for row, bar in enumerate(entries.bar):
        end = closes[bar].replace(hour=hour, minute=0)
        end += timedelta(days=1) if end <= closes[bar] else timedelta()
        in_time = [number for number in range(bar + 1, len(closes)) if closes[number] <= end]
        wanted = in_time[-1] if in_time else bar + 1
        assert last[row] == (NONE if end > closes[-1] else wanted)


def test_the_soonest_holds_and_the_reference_agrees() -> None:
    bars = funded(walk(8, 2_000), 8)
    entries = some_entries(bars, 8, 30, asked=True)
    made = lab.session_end(bars, lab.before_funding(bars, lab.exit_at_opposite(bars, entries), 3), 4)
    each = [entries.last, *(it.last for it in (lab.exit_at_opposite(bars, replace(entries, last=entries.last * 0 + NONE)),))]
    for known in each:
        assert ((known == NONE) | ((made.last <= known) & (made.last != NONE))).all()
    assert not differences(lab.sweep(bars, made, some_grid(3)), "worst")


def test_frames_are_taken_as_a_sweep_takes_them() -> None:
    bars = walk(2, 100)
    frame = pl.DataFrame({"bar": [3, 10, 10, 40], "side": ["long", "short", "long", "short"]})
    assert lab.exit_at_opposite(bars, frame).last.tolist() == [10, NONE, 40, NONE]


def test_what_is_refused() -> None:
    bars = walk(2, 100)
    with pytest.raises(BarsError, match="bars has no funding; load the bars with funding="):
        lab.before_funding(bars, "every bar")
    with pytest.raises(BarsError, match="minutes are counted back from the funding, 0 or more; got -1"):
        lab.before_funding(funded(bars, 1), "every bar", -1)
    with pytest.raises(BarsError, match="the hour of a session's end is 0 to 23 in UTC, got 24"):
        lab.session_end(bars, "every bar", 24)
