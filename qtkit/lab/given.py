"""What a notebook of the lab is given: bars and entries from files, or the example."""

import numpy as np
import polars as pl

from qtkit.bars import BarsError
from qtkit.lab.entries import Entries, as_entries
from qtkit.lab.example import breakouts, example
from qtkit.lab.ranges import with_atr
from qtkit.lab.series import Bars, load

MINUTE_MS = 60_000
DAY_MS = 86_400_000
FOUR_HOURS_MS = 14_400_000


def given(data: str = "", entries: str = "", *, funding: str = "", seed: int = 7, days: int = 0, minutes: int = 0) -> tuple[Bars, Entries]:
    """Bars of ``data`` (a parquet file, or a folder of months as ``qtkit data download`` writes it) and entries of the file ``entries``.

    Without ``data`` they are the example by ``seed``; without ``entries``, breakouts of the last four hours. ``days`` is the length of the
    example (60 where it is 0), and of files takes the last so many. ``minutes`` puts the bars together to longer ones (0: as they are).
    The entries know the average true range, where there is one yet. Raises ``BarsError`` that names file, row and rule.
    """
    bars = load(data) if data else example(seed, days or 60)
    if data and days:
        bars = bars.slice(int(np.searchsorted(bars.time_ms, int(bars.time_ms[-1]) - days * DAY_MS, side="right")), len(bars))
    bars = bars.with_funding(funding) if data and funding else bars
    bars = bars.coarser(minutes * MINUTE_MS) if minutes else bars
    if not entries:
        return bars, with_atr(bars, breakouts(bars, bars_back=max(2, FOUR_HOURS_MS // bars.step_ms)))
    frame = pl.read_parquet(entries)
    if "time" in frame.columns and days:
        frame = frame.filter(pl.col("time").dt.epoch("ms") >= int(bars.time_ms[0]))
        if frame.is_empty():
            raise BarsError(f"{entries}: none of its entries lies within the last {days} days of {bars.source}; give more days")
    made = as_entries(bars, frame)
    return bars, made if "atr" in frame.columns else with_atr(bars, made)


def content(bars: Bars, entries: Entries) -> bytes:
    """Both as bytes: what a run notes the hash of, so that it can be told later on what its answer rests."""
    columns = (bars.time_ms, bars.open, bars.high, bars.low, bars.close, entries.bar, entries.sign, entries.price)
    return b"".join(np.ascontiguousarray(column, np.int64).tobytes() for column in columns)
