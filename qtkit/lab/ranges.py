"""How far the market moves: the average true range that the desk would have known at each entry."""

from dataclasses import replace

import numpy as np

from qtkit.lab.arguments import Ints
from qtkit.lab.entries import Entries
from qtkit.lab.series import Bars

HOUR_MS = 3_600_000


def with_atr(bars: Bars, entries: Entries, *, hours: int = 14) -> Entries:
    """The entries with the hourly average true range known at each (Wilder's, as ``qtkit.market.atr`` counts it from the first bar on).

    Entries before there are enough whole hours have none, and policies take the distance that they name for that case.
    """
    ends, averages = _averages(bars, hours)
    known = np.searchsorted(ends, bars.closes_ms()[entries.bar], side="right") - 1
    return replace(entries, atr=np.where(known >= 0, averages[np.maximum(known, 0)], 0) if len(ends) else entries.atr)


def _averages(bars: Bars, hours: int) -> tuple[Ints, Ints]:
    """Times at which an hour was complete, and the average true range then (E8)."""
    hour = bars.time_ms // HOUR_MS
    first = np.flatnonzero(np.diff(hour, prepend=hour[0] - 1))
    first = first[1:] if bars.time_ms[0] % HOUR_MS else first  # its high and low are not known
    if len(first) <= hours:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    high, low = np.maximum.reduceat(bars.high, first), np.minimum.reduceat(bars.low, first)
    close = bars.close[np.append(first[1:], len(bars)) - 1]
    ranges = (np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])) * bars.tick
    average = int(ranges[:hours].sum()) // hours
    found = [average]
    for true_range in ranges[hours:].tolist():
        average = (average * (hours - 1) + true_range) // hours
        found.append(average)
    return (hour[first][hours:] + 1) * HOUR_MS, np.array(found, np.int64)
