"""Where positions begin: the entries that exits are tried on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from qtkit.bars import BarsError
from qtkit.core.model import ONE
from qtkit.core.names import suggestion
from qtkit.lab.arguments import Ints
from qtkit.lab.asked import kind_of, refuse_count, refuse_words
from qtkit.lab.series import Bars, refuse_no_bars

SIDES = {"long": 1, "short": -1, "buy": 1, "sell": -1, "1": 1, "-1": -1}
COLUMNS = ("time", "bar", "side", "price", "size", "stop", "exit_at", "tag", "atr")
NONE = -1
HIGHEST = 1e10  # above, a number does not fit 64 bits in 1e-8


@dataclass(frozen=True, eq=False, repr=False)
class Entries:
    """Positions to be left. Arrays of one length, ordered by bar.

    ``bar`` is the bar of the entry: at its close, or ``inside`` it at ``price`` (E8); ``sign`` +1 long, -1 short. ``stop`` is the entry's
    own stop (E8) and ``atr`` the average true range known then (E8), 0 where there is none; ``last`` the bar at whose close it is left
    at the latest, by its ``exit_at``, -1 where there is none. ``size`` in coins and ``tag``, which names what rows have in common, are None
    where the entries have none.
    """

    bar: Ints
    sign: Ints
    price: Ints
    inside: npt.NDArray[np.bool_]
    stop: Ints
    atr: Ints
    last: Ints
    size: npt.NDArray[np.float64] | None = None
    tag: pl.Series | None = None

    def __len__(self) -> int:
        return len(self.bar)

    def __repr__(self) -> str:
        return f"{len(self):,} entries, {int((self.sign > 0).sum()):,} long, {int((self.sign < 0).sum()):,} short"

    def take(self, rows: Ints | slice | npt.NDArray[np.bool_]) -> "Entries":
        """Some of the entries."""
        tag = None if self.tag is None else self.tag[np.arange(len(self))[rows]]
        size = None if self.size is None else self.size[rows]
        names = ("bar", "sign", "price", "inside", "stop", "atr", "last")
        return Entries(**{name: getattr(self, name)[rows] for name in names}, size=size, tag=tag)

    def frame(self, bars: Bars) -> pl.DataFrame:
        """The entries as a table: time, side, price, and what else they have."""
        data: dict[str, object] = {
            "time": bars.time_ms[self.bar],
            "side": np.where(self.sign > 0, "long", "short"),
            "price": self.price / ONE,
        }
        if self.tag is not None:
            data["tag"] = self.tag
        return pl.DataFrame(data).with_columns(pl.col("time").cast(pl.Datetime("ms", "UTC")))


def at_close(bars: Bars, bar: Ints, sign: Ints) -> Entries:
    """Entries at the close of the given bars."""
    n = len(bar)
    zero = np.zeros(n, np.int64)
    return Entries(
        bar=bar.astype(np.int64), sign=sign.astype(np.int64), price=bars.close[bar] * bars.tick, inside=np.zeros(n, np.bool_),
        stop=zero, atr=zero, last=np.full(n, NONE, np.int64),
    )  # fmt: skip


def every(bars: Bars, side: Literal["long", "short", "both"] = "both", *, step: int = 1) -> Entries:
    """An entry at the close of every ``step``-th bar, the last one left out: what an exit does to entries that know nothing."""
    refuse_no_bars(bars)
    refuse_words(side=(side, ("long", "short", "both")))
    refuse_count("step", step, "bars")
    bar = np.arange(0, len(bars) - 1, step, dtype=np.int64)
    if side != "both":
        return at_close(bars, bar, np.full(len(bar), SIDES[side], np.int64))
    return at_close(bars, np.repeat(bar, 2), np.tile(np.array([1, -1], np.int64), len(bar)))


def as_entries(bars: Bars, entries: "pl.DataFrame | Entries | str") -> Entries:
    """Entries from a frame: ``time`` (in a bar) or ``bar`` (its number), ``side``, and optionally ``price``, ``size``, ``stop``,
    ``exit_at``, ``tag``, ``atr``. Without ``price`` the entry is at the close of its bar; with one it is inside the bar, whose order of
    prices is then unknown. ``"every bar"`` enters long and short at the close of every bar.

    Raises ``BarsError`` naming the row: outside the series, unknown side, a price that the bar did not trade, a stop on the wrong side.
    """
    refuse_no_bars(bars)
    if isinstance(entries, Entries):
        return _of_these(bars, entries)
    if isinstance(entries, str):
        if entries != "every bar":
            raise BarsError(f"entries are a frame, or the words 'every bar', got {entries!r}")
        return every(bars)
    if not isinstance(entries, pl.DataFrame):
        raise BarsError(f"entries are a polars frame, or the words 'every bar', got {kind_of(entries)}")
    if "symbol" in entries.columns:
        raise BarsError("entries: column 'symbol' is for lab.portfolio, which takes bars by symbol; filter the rows of one and drop it")
    for column in entries.columns:
        if column not in COLUMNS:
            raise BarsError(f"entries: column '{column}' is not known: {suggestion(column, COLUMNS)}")
    if entries.is_empty():
        raise BarsError("entries: there is none; give at least one row with time and side")
    made = at_close(bars, _bars_of(bars, entries), _signs(entries))
    made = _checked(bars, _told(bars, entries, made))
    return made.take(np.argsort(made.bar, kind="stable"))


def _of_these(bars: Bars, entries: Entries) -> Entries:
    """Entries made earlier, if they can be of these bars: the kernel does not look whether a bar is there."""
    if len(entries) and not (0 <= entries.bar[0] and entries.bar[-1] < len(bars) and (entries.last < len(bars)).all()):
        most = max(int(entries.bar[-1]), int(entries.last.max()))
        raise BarsError(f"entries: they name bars up to {most}, but {bars.source} has {len(bars)}; make the entries of these bars")
    if (np.diff(entries.bar) < 0).any():
        row = int(np.argmax(np.diff(entries.bar) < 0)) + 1
        raise BarsError(f"entries: entry {row} is of an earlier bar than the one before it; order them with .take(entries.bar.argsort())")
    return entries


def _bars_of(bars: Bars, frame: pl.DataFrame) -> Ints:
    if "bar" not in frame.columns:
        if "time" not in frame.columns:
            raise BarsError("entries need a column 'time' (a moment in the bar) or 'bar' (its number)")
        return _bar_at(bars, frame["time"], "time")
    if "time" in frame.columns:
        raise BarsError("entries: 'time' and 'bar' both say when; drop one of them")
    told = frame["bar"]
    if not told.dtype.is_integer():
        raise BarsError(f"entries: 'bar' is {told.dtype}; it is the number of a bar, a whole number from 0")
    if told.null_count():
        raise BarsError(f"entries: row {told.is_null().arg_max()} has no bar (null); leave that row out")
    bar = told.cast(pl.Int64).to_numpy()
    wrong = np.flatnonzero((bar < 0) | (bar >= len(bars)))
    if len(wrong):
        raise BarsError(f"entries: row {wrong[0]} names bar {bar[wrong[0]]}, but {bars.source} has {len(bars)} bars, 0 to {len(bars) - 1}")
    return bar


def _bar_at(bars: Bars, times: pl.Series, name: str) -> Ints:
    """The bar that each moment lies in, ``NONE`` for no moment where that may be (``exit_at``)."""
    if not isinstance(times.dtype, pl.Datetime):
        raise BarsError(f"entries: '{name}' is {times.dtype}; it must be a datetime in UTC")
    if times.dtype.time_zone is None:
        raise BarsError(f"entries: '{name}' has no time zone: if it is UTC, write it with .dt.replace_time_zone(\"UTC\")")
    if name == "time" and times.null_count():
        raise BarsError(f"entries: row {times.is_null().arg_max()} has no time (null); leave that row out")
    at_ms = times.dt.epoch("ms").fill_null(int(bars.time_ms[0])).to_numpy()
    bar = np.searchsorted(bars.time_ms, at_ms, side="right") - 1
    late = at_ms - bars.time_ms[np.maximum(bar, 0)]
    wrong = np.flatnonzero((bar < 0) | (late >= bars.step_ms))
    if len(wrong):
        raise BarsError(f"entries: row {wrong[0]} has the {name} {times[int(wrong[0])]}, {_nowhere(bars, int(bar[wrong[0]]))}")
    return np.where(times.is_null().to_numpy(), NONE, bar)


def _nowhere(bars: Bars, before: int) -> str:
    """Why a moment lies in no bar, and what to do; ``before`` is the last bar that began before it."""
    if not 0 <= before < len(bars) - 1:
        return f"outside {bars.source}, which goes from {_when(bars, 0)} until {_when(bars, len(bars) - 1)}; leave that row out"
    hole = f"from the bar of {_when(bars, before)} to that of {_when(bars, before + 1)}"
    return f"in a hole of {bars.source}, which has nothing {hole}; leave that row out or move it to a bar that is there"


def _when(bars: Bars, bar: int) -> object:
    return bars.slice(bar, bar + 1).frame()["time"][0]


def _signs(frame: pl.DataFrame) -> Ints:
    if "side" not in frame.columns:
        raise BarsError("entries need a column 'side': long or short")
    if frame["side"].null_count():
        raise BarsError(f"entries: row {frame['side'].is_null().arg_max()} has no side (null): long or short")
    said = [str(value).lower() for value in frame["side"]]
    for row, word in enumerate(said):
        if word not in SIDES:
            raise BarsError(f"entries: row {row} has the side {word!r}: {suggestion(word, ('long', 'short'))}")
    return np.array([SIDES[word] for word in said], np.int64)


def _numbers(frame: pl.DataFrame, column: str) -> pl.Series:
    """A column as floats. Refuses what is no number above zero; null stays."""
    if not frame[column].dtype.is_numeric() and frame[column].dtype != pl.Null:
        raise BarsError(f"entries: '{column}' is {frame[column].dtype}; it must be a number")
    values = frame[column].cast(pl.Float64)
    wrong = values.is_not_null() & ~(values.is_finite() & (values > 0))
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise BarsError(f"entries: row {row} has the {column} {values[row]}; it must be a number above zero, or null for none")
    if (values > HIGHEST).any():
        row = int((values > HIGHEST).arg_max() or 0)
        raise BarsError(f"entries: row {row} has the {column} {values[row]:g}; it is beyond every {column}, leave that row out or mend it")
    return values


def _e8(frame: pl.DataFrame, column: str, default: Ints) -> Ints:
    """A column of prices in E8; the default where it is absent or null."""
    if column not in frame.columns:
        return default
    exact = (_numbers(frame, column) * ONE).round().cast(pl.Int64)
    return np.where(exact.is_null().to_numpy(), default, exact.fill_null(0).to_numpy()).astype(np.int64)


def _sizes(frame: pl.DataFrame) -> npt.NDArray[np.float64]:
    values = _numbers(frame, "size")
    if values.null_count():
        row = values.is_null().arg_max()
        raise BarsError(f"entries: row {row} has no size (null); give how many coins it has, or leave the column out")
    return values.to_numpy()


def _told(bars: Bars, frame: pl.DataFrame, made: Entries) -> Entries:
    zero = np.zeros(len(made), np.int64)
    price = _e8(frame, "price", made.price)
    inside = frame["price"].is_not_null().to_numpy() if "price" in frame.columns else made.inside
    last = _bar_at(bars, frame["exit_at"], "exit_at") if "exit_at" in frame.columns else made.last
    return Entries(
        bar=made.bar, sign=made.sign, price=price, inside=inside, stop=_e8(frame, "stop", zero), atr=_e8(frame, "atr", zero), last=last,
        size=_sizes(frame) if "size" in frame.columns else None, tag=frame["tag"] if "tag" in frame.columns else None,
    )  # fmt: skip


def _checked(bars: Bars, made: Entries) -> Entries:
    def refuse(wrong: npt.NDArray[np.bool_], what: str) -> None:
        if wrong.any():
            row = int(wrong.argmax())
            more = f" ({int(wrong.sum())} such rows)" if wrong.sum() > 1 else ""
            raise BarsError(f"entries: row {row}, {_when(bars, int(made.bar[row]))}: {what}{more}; leave that row out or mend it")

    low, high = bars.low[made.bar] * bars.tick, bars.high[made.bar] * bars.tick
    refuse(made.inside & ((made.price < low) | (made.price > high)), "the entry's price was not traded in its bar")
    refuse((made.stop > 0) & (made.sign * (made.price - made.stop) <= 0), "the entry's own stop lies on the wrong side of its price")
    refuse((made.last != NONE) & (made.last <= made.bar), "exit_at does not lie after the entry's bar")
    return made
