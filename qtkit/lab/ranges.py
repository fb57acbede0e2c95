"""How far the market moves: the average true range that the desk would have known at each entry, and in each bar."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl

from qtkit.core import arithmetic
from qtkit.core.distance import InAtr
from qtkit.core.model import Bar
from qtkit.core.shape import ATR_SANE
from qtkit.lab.arguments import Ints
from qtkit.lab.cohorts import hours_of
from qtkit.lab.entries import Entries, as_entries
from qtkit.lab.series import Bars
from qtkit.market import ATR_HOURS


def with_atr(bars: Bars, entries: "pl.DataFrame | Entries | str") -> Entries:
    """The entries with ATR(14, 1h) as the desk would have measured it at each: Wilder's, of the newest full hours that it asks for.

    Entries before there are enough whole hours have none, and policies take the distance that they name for that case.
    """
    made = as_entries(bars, entries)
    known = hours_of(bars)
    last = made.bar - made.inside  # inside its bar an entry knows the bars before it alone
    count = np.where(last >= 0, known.closed[np.maximum(last, 0)], 0)
    return replace(made, atr=_newest(known.bars, bars.tick)[count])


def _wilder(bars: tuple[Bar, ...], tick: int, n: int) -> Iterator[int]:
    """The average (E8) after no bar, one bar, and so on; 0 while there are too few."""
    ranges = [(max(bar.high, before.close) - min(bar.low, before.close)) * tick for before, bar in pairwise(bars)]
    yield from [0] * min(n + 1, len(bars) + 1)
    average = sum(ranges[:n]) // n
    for number in range(n, len(ranges) + 1):
        if number > n:
            average = (average * (n - 1) + ranges[number - 1]) // n
        yield average


def callbacks(bars: Bars, moves: Sequence[InAtr]) -> tuple[Ints, Ints]:
    """Callbacks that move with ATR: the last bar of each stretch in which they are the same [hours], and they (bps) [moves, hours].

    As the desk takes them, from the hours that were closed when a bar began: ATR by ``market_data``, in parts of the newest close. Where it
    is not known the one before stays, and the fallback before the first.
    """
    hours = hours_of(bars)
    count = np.r_[0, hours.closed[:-1]]
    until = np.flatnonzero(np.r_[count[1:] != count[:-1], True])
    atr = _newest(hours.bars, bars.tick)[count[until]]
    close = np.array([1, *(bar.close * bars.tick for bar in hours.bars)], np.int64)[count[until]]
    known = (atr * 10_000 >= ATR_SANE[0] * close) & (atr * 10_000 <= ATR_SANE[1] * close)
    newest = np.maximum.accumulate(np.where(known, np.arange(len(until)), -1))
    rows = []
    for it in moves:
        measured: Ints = arithmetic.atr_bps(atr, it.milli, close)  # type: ignore[assignment]
        rows.append(np.where(newest >= 0, np.clip(measured, it.least, it.most)[newest], it.fallback))
    return until, np.array(rows, np.int64).reshape(len(moves), len(until))


def _newest(bars: tuple[Bar, ...], tick: int, n: int = 14) -> Ints:
    """The average (E8) of the newest hours that the desk asks for, after no bar, one bar, and so on; 0 while there are too few."""
    first = list(_wilder(bars[:ATR_HOURS], tick, n))
    high, low, close = (np.array([getattr(bar, name) for bar in bars], np.int64) for name in ("high", "low", "close"))
    ranges = (np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])) * tick
    starts = np.arange(1, len(bars) - ATR_HOURS + 1)
    sums = np.r_[0, np.cumsum(ranges)]
    average = (sums[starts + n] - sums[starts]) // n
    for later in range(n, ATR_HOURS - 1):
        average = (average * (n - 1) + ranges[starts + later]) // n
    return np.concatenate((np.array(first, np.int64), average))
