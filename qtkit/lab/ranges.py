"""How far the market moves: the average true range that the desk would have known at each entry."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl

from qtkit.core.model import Bar
from qtkit.lab.asked import refuse_count
from qtkit.lab.cohorts import hours_of
from qtkit.lab.entries import Entries, as_entries
from qtkit.lab.series import Bars


def with_atr(bars: Bars, entries: "pl.DataFrame | Entries | str", *, hours: int = 14) -> Entries:
    """The entries with the hourly average true range known at each: Wilder's, as ``qtkit.market.atr`` counts it from the first bar on.

    Entries before there are enough whole hours have none, and policies take the distance that they name for that case.
    """
    refuse_count("hours", hours, "hours")
    made = as_entries(bars, entries)
    known = hours_of(bars)
    averages = np.array(list(_wilder(known.bars, bars.tick, hours)), np.int64)
    last = made.bar - made.inside  # inside its bar an entry knows the bars before it alone
    count = np.where(last >= 0, known.closed[np.maximum(last, 0)], 0)
    return replace(made, atr=averages[count])


def _wilder(bars: tuple[Bar, ...], tick: int, n: int) -> Iterator[int]:
    """The average (E8) after no bar, one bar, and so on; 0 while there are too few."""
    ranges = [(max(bar.high, before.close) - min(bar.low, before.close)) * tick for before, bar in pairwise(bars)]
    yield from [0] * min(n + 1, len(bars) + 1)
    average = sum(ranges[:n]) // n
    for number in range(n, len(ranges) + 1):
        if number > n:
            average = (average * (n - 1) + ranges[number - 1]) // n
        yield average
