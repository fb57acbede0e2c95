"""Exits by condition: the bar at whose close an entry is left at the latest, whatever its policy.

Each takes entries as ``sweep`` does and gives them back with the exit; of several the soonest holds, so they are put one into another:
``session_end(bars, exit_at_opposite(bars, entries), hour=16)``. What is left this way ends as ``asked``.
"""

from dataclasses import replace

import numpy as np
import polars as pl

from qtkit.bars import BarsError
from qtkit.lab.arguments import Ints
from qtkit.lab.asked import is_whole
from qtkit.lab.entries import NONE, Entries, as_entries
from qtkit.lab.series import Bars

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MINUTE_MS = 60_000


def exit_at_opposite(bars: Bars, entries: "pl.DataFrame | Entries | str") -> Entries:
    """Left at the close of the bar of the next entry of the other side, in a later bar than its own; never, where there is none."""
    made = as_entries(bars, entries)
    last = np.full(len(made), NONE, np.int64)
    for sign in (1, -1):
        mine, others = made.sign == sign, made.bar[made.sign == -sign]
        next_one = np.searchsorted(others, made.bar[mine], side="right")
        last[mine] = np.append(others, NONE)[next_one]
    return _sooner(made, last)


def before_funding(bars: Bars, entries: "pl.DataFrame | Entries | str", minutes: int = 0) -> Entries:
    """Left at the last close that lies at least so many minutes before the next funding, whoever would pay it.

    An entry that has no later close before its next funding is held through that one, until before the one after. A funding of nothing
    is none. Raises ``BarsError`` for bars without funding, and for minutes below 0.
    """
    if bars.funding is None:
        raise BarsError(f"{bars.source} has no funding; load the bars with funding=, a file with time and rate")
    if not is_whole(minutes) or minutes < 0:
        raise BarsError(f"minutes are counted back from the funding, 0 or more; got {minutes!r}")
    made = as_entries(bars, entries)
    paid = np.flatnonzero(np.diff(bars.funding, prepend=0))
    leave = _last_close(bars, bars.time_ms[paid] - minutes * MINUTE_MS)
    return _sooner(made, np.append(leave, NONE)[np.searchsorted(leave, made.bar, side="right")])


def session_end(bars: Bars, entries: "pl.DataFrame | Entries | str", hour: int) -> Entries:
    """Left at the last close at or before the next time it is ``hour`` o'clock UTC after the entry's bar.

    Where the bars have a hole from the entry until then, it is left at the first close after the hole. Raises ``BarsError`` for an hour
    that is none.
    """
    if not is_whole(hour) or not 0 <= hour < 24:
        raise BarsError(f"the hour of a session's end is 0 to 23 in UTC, got {hour!r}")
    made = as_entries(bars, entries)
    closed = bars.time_ms[made.bar] + bars.step_ms
    end = closed + DAY_MS - (closed - hour * HOUR_MS) % DAY_MS
    last = np.maximum(_last_close(bars, end), made.bar + 1)
    return _sooner(made, np.where(end > bars.time_ms[-1] + bars.step_ms, NONE, last))


def _last_close(bars: Bars, moments: Ints) -> Ints:
    """The last bar that is complete at each moment, -1 where there is none."""
    return np.searchsorted(bars.closes_ms(), moments, side="right") - 1


def _sooner(made: Entries, last: Ints) -> Entries:
    """The entries with another exit, unless their own is sooner."""
    known = np.where(made.last == NONE, last, np.minimum(made.last, np.where(last == NONE, made.last, last)))
    return replace(made, last=known)
