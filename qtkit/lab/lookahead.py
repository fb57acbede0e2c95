"""Whether entries know the future: they are made again on series that end earlier, and must come out the same."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from qtkit.bars import BarsError
from qtkit.core.model import PolicyError
from qtkit.lab.arguments import Ints
from qtkit.lab.entries import NONE, Entries
from qtkit.lab.series import Bars

ROUNDING = 1e-9  # relative; sums of a shorter series may end in another last digit
Row = dict[str, object]
Make = Callable[[Bars], "pl.DataFrame | Entries"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookahead:
    """The first entry that came out differently: its time, what it was on bars until ``cut``, and on all of them (None: not there)."""

    time: datetime
    cut: datetime
    was: Row | None
    became: Row | None

    def __str__(self) -> str:
        return f"the entry of {self.time} knows what came after {self.cut}: {self.was} until then, {self.became} with all bars"


def first_lookahead(bars: Bars, make: Make, *, cuts: int = 32) -> Lookahead | None:
    """The first entry of ``make(bars)`` that changes when the bars end earlier; None if none does.

    ``make`` gives a frame with ``time`` or ``bar``, or what the lab makes: ``lab.first_lookahead(bars, lab.breakouts)``. On bars that are
    too few it may raise ``BarsError``, which counts as no entry.

    The series is cut right after the bars of ``cuts`` entries, where knowing one bar more than there was shows, and at as many places
    evenly between; entries until each cut must be those of the whole series. An ``exit_at`` after the cut counts as none: an exit by
    condition may lie in the future. Only what is cut is seen: a rare peep wants more ``cuts``, which each make the entries once.

    Raises ``PolicyError`` without a column ``time`` or ``bar``, where nothing was made, or for no cut.
    """
    if cuts < 1:
        raise PolicyError(f"cuts is how often the series is cut, at least once; got {cuts}")
    whole = _timed(bars, make(bars))
    found = [it for count in _places(bars, whole, cuts) if (it := _changed(bars.slice(0, count), make, whole)) is not None]
    return min(found, key=lambda it: (it.time, it.cut), default=None)


def _places(bars: Bars, whole: pl.DataFrame, cuts: int) -> list[int]:
    """How many bars are left at each cut: up to the bars of some entries, and some evenly spread."""
    at: Ints = np.unique(np.searchsorted(bars.time_ms, whole["time"].dt.epoch("ms").to_numpy(), side="right"))
    mine = at[np.unique(np.linspace(0, len(at) - 1, cuts).astype(int))]
    even = np.linspace(0, len(bars), cuts + 2)[1:-1].astype(int)
    return [int(count) for count in np.unique([*mine, *even]) if 0 < count < len(bars)]


def _changed(part: Bars, make: Make, whole: pl.DataFrame) -> Lookahead | None:
    """The first entry until the end of ``part`` that is another one there than on the whole series."""
    cut = part.frame()["time"][-1] + timedelta(milliseconds=part.step_ms)
    was, became = (_rows(frame, cut) for frame in (_timed(part, _made(part, make), least=0), whole))
    for key in sorted(was.keys() | became.keys()):
        if not _same(was.get(key), became.get(key)):
            return Lookahead(time=key[0], cut=cut, was=was.get(key), became=became.get(key))
    return None


def _made(part: Bars, make: Make) -> "pl.DataFrame | Entries":
    try:
        return make(part)
    except BarsError:
        return pl.DataFrame(schema={"time": pl.Datetime("ms", "UTC")})


def _timed(bars: Bars, made: "pl.DataFrame | Entries", least: int = 1) -> pl.DataFrame:
    """Entries with their time, by which those of two series are laid side by side."""
    frame = _known(bars, made) if isinstance(made, Entries) else made
    if frame.height < least or not {"time", "bar"} & set(frame.columns):
        raise PolicyError("look-ahead is looked for in entries with a column 'time' or 'bar', at least one of them")
    if "time" in frame.columns:
        return frame
    return frame.with_columns(bars.frame()["time"][frame["bar"].to_numpy()].alias("time"))


def _known(bars: Bars, made: Entries) -> pl.DataFrame:
    """All that entries of the lab know."""
    exits = pl.Series(bars.time_ms[np.maximum(made.last, 0)]).cast(pl.Datetime("ms", "UTC"))
    frame = made.frame(bars).with_columns(inside=made.inside, stop=made.stop, atr=made.atr, exit_at=exits, left=made.last != NONE)
    frame = frame.with_columns(exit_at=pl.when("left").then("exit_at")).drop("left")
    return frame if made.size is None else frame.with_columns(size=made.size)


def _rows(frame: pl.DataFrame, cut: datetime) -> dict[tuple[datetime, str, int], Row]:
    """The entries before ``cut`` by their time, their side, and which of those of one time and side they are."""
    found: dict[tuple[datetime, str, int], Row] = {}
    for row in frame.filter(pl.col("time") < cut).sort("time", maintain_order=True).iter_rows(named=True):
        later = row.get("exit_at")
        if isinstance(later, datetime) and later >= cut:
            row["exit_at"] = None
        side, number = str(row.get("side")), 0
        while (row["time"], side, number) in found:
            number += 1
        found[row["time"], side, number] = row
    return found


def _same(one: Row | None, other: Row | None) -> bool:
    if one is None or other is None or one.keys() != other.keys():
        return one is other
    return all(_equal(one[name], other[name]) for name in one)


def _equal(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=ROUNDING) or (math.isnan(one) and math.isnan(other))
    return one == other
