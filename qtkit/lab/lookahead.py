"""Whether entries know the future: they are made again on series that end earlier, and must come out the same."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from qtkit.core.model import PolicyError
from qtkit.lab.series import Bars


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookahead:
    """The first entry that came out differently: its time, what it was on bars up to ``cut``, and on all of them (None: not there)."""

    time: datetime
    cut: datetime
    was: dict[str, object] | None
    became: dict[str, object] | None

    def __str__(self) -> str:
        return f"the entry of {self.time} knows what came after {self.cut}: {self.was} until then, {self.became} with all bars"


def first_lookahead(bars: Bars, make: Callable[[Bars], pl.DataFrame], *, cuts: int = 8) -> Lookahead | None:
    """The first entry of ``make(bars)`` (a frame with ``time``) that changes when the bars end earlier; None if none does.

    The series is cut at ``cuts`` places. Entries up to each cut must be those of the whole series. Raises ``PolicyError`` without
    a column ``time``, or where nothing was made.
    """
    whole = make(bars)
    if "time" not in whole.columns or whole.is_empty():
        raise PolicyError("look-ahead is looked for in entries with a column 'time', at least one of them")
    found: list[Lookahead] = []
    for count in np.linspace(len(bars) // (cuts + 1), len(bars) - 1, cuts).astype(int):
        part = bars.slice(0, int(count))
        until = part.frame()["time"][-1]
        was, became = (_rows(frame.filter(pl.col("time") <= until)) for frame in (make(part), whole))
        changed = [key for key in was.keys() | became.keys() if was.get(key) != became.get(key)]
        if changed:
            first = min(changed)
            found.append(Lookahead(time=first[0], cut=until, was=was.get(first), became=became.get(first)))
    return min(found, key=lambda it: it.time, default=None)


def _rows(frame: pl.DataFrame) -> dict[tuple[datetime, str, int], dict[str, object]]:
    """The entries by their time, their side, and which of those of one time and side they are."""
    rows: dict[tuple[datetime, str, int], dict[str, object]] = {}
    for row in frame.sort("time", maintain_order=True).iter_rows(named=True):
        side, number = str(row.get("side")), 0
        while (row["time"], side, number) in rows:
            number += 1
        rows[row["time"], side, number] = row
    return rows
