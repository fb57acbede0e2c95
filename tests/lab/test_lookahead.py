"""What look-ahead looks like, and what only looks like it; and a sweep knows nothing of what comes after an exit."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from qtkit import lab
from qtkit.core.model import PolicyError
from tests.lab.rig import case, funded, marked, some_entries, some_grid, walk


def rising(bars: lab.Bars, ahead: int = 0, side: str = "long") -> pl.DataFrame:
    """Where the close is above that of ten bars ago; with ``ahead`` it peeps that many bars into the future."""
    close, n = bars.close, len(bars)
    later = np.minimum(np.arange(n) + ahead, n - 1)
    bar = np.flatnonzero(close[later] > close[np.maximum(np.arange(n) - 10, 0)])
    return bars.frame().select("time")[bar].with_columns(side=pl.lit(side))


@pytest.mark.parametrize("side", ["long", "short"])
def test_entries_that_know_the_future_are_found_and_honest_ones_are_not(side: str) -> None:
    bars = walk(4, 1_500)
    assert lab.first_lookahead(bars, lambda part: rising(part, side=side)) is None
    for ahead in (1, 40):
        found = lab.first_lookahead(bars, lambda part, ahead=ahead: rising(part, ahead, side))
        assert found is not None and found.time < found.cut and (found.was is None) != (found.became is None)
        assert str(found).startswith(f"the entry of {found.time} knows what came after {found.cut}")


def test_one_bar_too_many_is_seen_where_entries_are_rare() -> None:
    """A handful of entries that know the close after their own: evenly cut, the series would hardly ever end right after one."""
    bars = walk(4, 3_000)

    def make(part: lab.Bars) -> pl.DataFrame:
        bar = np.arange(101, len(part), 307)
        rises = part.close[np.minimum(bar + 1, len(part) - 1)] - part.close[bar]
        return part.frame().select("time")[bar].with_columns(side=pl.Series(np.where(rises > 0, "long", "short")))

    found = lab.first_lookahead(bars, make)
    assert found is not None and found.cut - found.time == timedelta(minutes=1)


def test_the_first_is_told_with_what_it_was_and_became() -> None:
    """The stop is that of the whole series' lowest price: every entry changes, and by how much is told."""
    bars = walk(4, 600)

    def make(part: lab.Bars) -> pl.DataFrame:
        return rising(part).with_columns(stop=pl.lit(float(part.low.min() * part.tick / 1e8)) - 1)

    found = lab.first_lookahead(bars, make)
    assert found is not None and found.was is not None and found.became is not None
    assert found.was["stop"] > found.became["stop"] and found.was["time"] == found.became["time"] == found.time  # type: ignore[operator]
    changed = make(bars).filter(pl.col("time") < found.cut)["time"][0]
    assert found.time == changed, "no earlier entry changed at that cut"


def test_an_entry_that_is_taken_back_later_is_found() -> None:
    """It is there while its bar is the last one, and gone when the next ones are known."""
    bars = walk(4, 400)

    def make(part: lab.Bars) -> pl.DataFrame:
        return pl.concat([rising(part)[:200:9], part.frame().select("time")[-1:].with_columns(side=pl.lit("long"))]).unique().sort("time")

    found = lab.first_lookahead(bars, make)
    assert found is not None and found.was is not None and found.became is None
    assert found.cut - found.time == timedelta(minutes=1)


def test_entries_by_bar_and_both_sides_at_one_time_are_told_apart() -> None:
    bars = walk(6, 500)

    def make(part: lab.Bars, ahead: int = 0) -> pl.DataFrame:
        up = rising(part, ahead)
        both = pl.concat([up, up.with_columns(side=pl.lit("short"))])
        bar = np.searchsorted(part.time_ms, both["time"].dt.epoch("ms").to_numpy())
        return both.drop("time").with_columns(bar=pl.Series(bar))

    assert lab.first_lookahead(bars, make) is None
    found = lab.first_lookahead(bars, lambda part: make(part, 3))
    assert found is not None and {"side", "bar"} <= (found.was or found.became or {}).keys()


def test_an_exit_that_lies_in_the_future_is_no_knowledge_of_it() -> None:
    bars = walk(6, 500)

    def make(part: lab.Bars, hours: int = 0) -> pl.DataFrame:
        frame = rising(part)[::7]
        exits = (pl.col("time") + pl.duration(minutes=45)).cast(pl.Datetime("ms", "UTC"))
        last = part.frame()["time"][-1]
        return frame.with_columns(exit_at=pl.when(exits <= last).then(exits) + pl.duration(hours=hours * (len(part) == len(bars))))

    assert lab.first_lookahead(bars, make) is None
    assert lab.first_lookahead(bars, lambda part: make(part, -1)) is not None, "an exit that moves in the past is"


def test_a_last_digit_is_no_change_and_a_missing_number_is_itself() -> None:
    bars = walk(6, 500)

    def make(part: lab.Bars) -> pl.DataFrame:
        return rising(part)[::7].with_columns(atr=pl.lit(1 + 1e-13 * (len(part) % 2)), price=pl.lit(float("nan")))

    assert lab.first_lookahead(bars, make) is None


def test_what_cannot_be_looked_at_is_refused() -> None:
    bars = walk(4, 300)
    makers: tuple[Callable[[lab.Bars], pl.DataFrame], ...] = (lambda _: pl.DataFrame({"side": ["long"]}), lambda part: rising(part)[:0])
    for make in makers:
        with pytest.raises(PolicyError, match="column 'time' or 'bar', at least one"):
            lab.first_lookahead(bars, make)
    with pytest.raises(PolicyError, match="at least once; got 0"):
        lab.first_lookahead(bars, rising, cuts=0)


def made(part: lab.Bars, peeking: str) -> pl.DataFrame:
    """A long and a short at every tenth bar; the one that peeks is there only where the close of 40 bars later is higher."""
    bar = np.arange(0, len(part), 10)
    higher = part.close[np.minimum(bar + 40, len(part) - 1)] > part.close[bar]
    time = part.frame().select("time")
    sides = [time[bar[higher] if side == peeking else bar].with_columns(side=pl.lit(side)) for side in ("long", "short")]
    return pl.concat(sides).sort("time", maintain_order=True)


@pytest.mark.parametrize("peeking", ["long", "short"])
def test_an_entry_that_peeks_is_found_beside_an_honest_one_of_the_same_time(peeking: str) -> None:
    bars = walk(4, 1_500)
    found = lab.first_lookahead(bars, lambda part: made(part, peeking))
    assert found is not None and (found.was or found.became or {})["side"] == peeking
    assert lab.first_lookahead(bars, lambda part: made(part, "none")) is None


# -- the sweep itself


@pytest.mark.parametrize("seed", range(24))
def test_a_sweep_knows_nothing_of_what_comes_after_an_exit(seed: int) -> None:
    """Every kind of series, entry, grid, cost and order: cut the series, and what was left before is what it was."""
    bars, entries, grid, costs, fill = case(seed)
    whole = lab.sweep(bars, entries, grid, costs=costs, fill=fill, keep="outcomes")  # type: ignore[arg-type]
    assert whole.outcomes is not None
    for cut in (len(bars) // 3, len(bars) // 2, len(bars) - 20):
        ended = (whole.outcomes.bar < cut - 1).all(1) & (entries.last < cut)
        if not ended.any():
            continue
        again = lab.sweep(bars.slice(0, cut), entries.take(ended), grid, costs=costs, fill=fill, keep="outcomes")  # type: ignore[arg-type]
        assert again.outcomes is not None
        for name, then, now in zip(again.outcomes._fields, again.outcomes, whole.outcomes, strict=True):
            assert np.array_equal(then, now[ended] if len(now) else now), name


@pytest.mark.parametrize("sign", [1, -1])
def test_a_future_that_is_another_one_changes_nothing(sign: int) -> None:
    """Not cut but turned upside down after the cut, with mark and funding: what had ended has ended so."""
    bars = marked(funded(walk(7, 1_200, rough=4), 3), 3)
    cut, mirror = 800, 2 * int(bars.close[799])
    entries = some_entries(bars, 5, 120)
    entries = replace(entries, sign=np.full(120, sign))

    def turned(series: lab.Bars) -> lab.Bars:
        later = np.arange(len(series)) >= cut
        pairs = {"open": "open", "close": "close", "high": "low", "low": "high"}
        other = {name: np.where(later, mirror - getattr(series, of), getattr(series, name)) for name, of in pairs.items()}
        return replace(series, **other)

    assert bars.trigger is not None and bars.funding is not None
    future = replace(turned(bars), trigger=turned(bars.trigger), funding=np.where(np.arange(1_200) >= cut, 0, bars.funding))
    one, other = (lab.sweep(it, entries, some_grid(2)) for it in (bars, future))
    assert one.outcomes is not None and other.outcomes is not None
    ended = one.outcomes.bar < cut
    assert ended.sum() > 100 and not np.array_equal(one.net, other.net)
    assert np.array_equal(one.outcomes.bar[ended], other.outcomes.bar[ended]) and np.array_equal(one.net[ended], other.net[ended])


def test_the_entries_of_the_lab_pass_as_they_are() -> None:
    bars = lab.example(days=20)
    assert lab.first_lookahead(bars, lambda part: lab.breakouts(part, bars_back=240)) is None
    assert lab.first_lookahead(bars, lambda part: lab.exit_at_opposite(part, lab.breakouts(part, bars_back=240))) is None
    assert lab.first_lookahead(bars, lambda part: lab.breakouts(part, bars_back=240).frame(part)) is None, "before the first there is none"


def test_a_peep_shows_in_all_that_entries_of_the_lab_know() -> None:
    bars = lab.example(days=20)

    def make(part: lab.Bars, of: Callable[[lab.Entries, lab.Bars], lab.Entries]) -> lab.Entries:
        made = of(lab.breakouts(part, bars_back=240, side="long"), part)
        return replace(made, size=np.ones(len(made)))

    def stopped(made: lab.Entries, part: lab.Bars) -> lab.Entries:
        return replace(made, stop=made.price * int(part.low.min()) // (2 * int(bars.high.max())))

    def ranged(made: lab.Entries, part: lab.Bars) -> lab.Entries:
        return replace(made, atr=np.full(len(made), int(part.close[-1])))

    def left(made: lab.Entries, part: lab.Bars) -> lab.Entries:
        return replace(made, last=np.minimum(made.bar + (5 if len(part) == len(bars) else 6), len(part) - 1))

    assert lab.first_lookahead(bars, lambda part: make(part, lambda made, part: made)) is None
    for of in (stopped, ranged, left):
        assert lab.first_lookahead(bars, lambda part, of=of: make(part, of)) is not None
