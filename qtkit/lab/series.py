"""Bars of one symbol as the lab computes with them: whole ticks in arrays, checked once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from qtkit.bars import PRICES, BarsError, check_bars, load_bars, read_parquet, refuse_columns, refuse_rows, to_ticks
from qtkit.core import matching
from qtkit.core.model import ONE
from qtkit.core.names import suggestion
from qtkit.lab.arguments import Ints, Scan, Small
from qtkit.lab.asked import kind_of
from qtkit.lab.checks import FUNDING_RULES
from qtkit.lab.gaps import FUNDING_STEP_MS
from qtkit.lab.months import FUNDING
from qtkit.lab.ticks import OffGrid, tick_of

MOST_UNPAID_MS = 86_400_000  # funding comes at least three times a day

UNNAMED = "bars"  # symbol of bars from a frame that nobody named
FURTHEST = 1.25  # how many times as high as the last prices the mark may be in the middle of all bars
BLOCKS = (16, 256, 4096)  # bars that one entry of the index sums up


def _scan(open_: Ints, high: Ints, low: Ints, close: Ints) -> Scan:
    """Both sides of a series; costs a pass over the bars."""
    opens, closes = _both(open_, open_), _both(close, close)
    adverse, favour = _both(low, high), _both(high, low)
    low16, low256, low4096 = (_summed(np.minimum, adverse, size) for size in BLOCKS)
    high16, high256, high4096 = (_summed(np.maximum, favour, size) for size in BLOCKS)
    return Scan(opens, closes, adverse, favour, (low16, low256, low4096), (high16, high256, high4096))


def _both(long: Ints, short: Ints) -> Small:
    made = np.empty((2, len(long)), np.int32)
    made[0], made[1] = long, np.negative(short)
    return made


def _summed(how: np.ufunc, values: Small, size: int) -> Small:
    starts = np.arange(0, values.shape[1], size)
    return np.ascontiguousarray(how.reduceat(values, starts, axis=1))


@dataclass(frozen=True, eq=False, repr=False)
class Bars:
    """Bars of one symbol. ``time_ms`` is the open time; prices are whole ticks of ``tick`` (E8); ``step_ms`` is the length of a bar.

    ``trigger`` are the bars of another series of the same symbol (mark price) that fires stops and is trailed, while these fill.
    ``funding`` is what a long of one unit has paid from the first bar to the end of each (E8 money). A missing bar is missing.
    """

    symbol: str
    tick: int
    step_ms: int
    time_ms: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    trigger: "Bars | None" = None
    funding: Ints | None = None
    source: str = "bars"

    def __len__(self) -> int:
        return len(self.time_ms)

    def __repr__(self) -> str:
        said = f"{len(self):,} bars of {self.symbol}"
        if not len(self):
            return said
        has = ", with a trigger" * (self.trigger is not None)
        if self.funding is not None:
            paid = np.flatnonzero(np.diff(self.funding))
            has += f", with funding of {self._from_to(paid[0] + 1, paid[-1] + 1)}" if len(paid) else ", with funding of nothing"
        return f"{said} of {self.step_ms / 1000:g} s, {self._from_to(0, -1)} UTC, tick {self.price(1):.10g}{has}"

    def _from_to(self, first: int, last: int) -> str:
        times = pl.Series(self.time_ms[[first, last]]).cast(pl.Datetime("ms"))
        return " to ".join(times.dt.strftime("%Y-%m-%d %H:%M"))

    @cached_property
    def scan(self) -> Scan:
        """The bars as a sweep scans them; made when first asked for and kept."""
        return _scan(self.open, self.high, self.low, self.close)

    @property
    def watched(self) -> "Bars":
        """The series that fires stops and is trailed."""
        return self.trigger or self

    def closes_ms(self) -> Ints:
        """Time at which each bar is complete."""
        return self.time_ms + self.step_ms

    def price(self, ticks: int) -> float:
        """A price in ticks as people read it."""
        return ticks * self.tick / ONE

    def frame(self) -> pl.DataFrame:
        """The bars as polars holds them: ``time`` and the four prices."""
        prices = {name: getattr(self, name) * self.tick / ONE for name in PRICES}
        return pl.DataFrame({"time": self.time_ms, **prices}).with_columns(pl.col("time").cast(pl.Datetime("ms", "UTC")))

    def slice(self, start: int, stop: int) -> "Bars":
        """The bars from ``start`` up to, not including, ``stop``."""
        part = slice(start, stop)
        columns = {name: getattr(self, name)[part] for name in ("time_ms", *PRICES)}
        trigger = None if self.trigger is None else self.trigger.slice(start, stop)
        funding = None if self.funding is None else self.funding[part]
        return replace(self, **columns, trigger=trigger, funding=funding)

    def with_funding(self, source: Path | str | pl.DataFrame) -> "Bars":
        """The same with the funding of a file or frame (``time``, ``rate``), as ``load`` takes it: for bars that were cut to its time."""
        return replace(self, funding=_paid(self, source))

    def coarser(self, step_ms: int) -> "Bars":
        """The same as bars of ``step_ms``, as they look to whoever has only those; they begin at whole multiples of it.

        Raises ``BarsError`` for a step that is no multiple of that of these bars.
        """
        if step_ms <= 0 or step_ms % self.step_ms:
            raise BarsError(f"{self.source}: bars of {self.step_ms} ms make none of {step_ms} ms; ask for a multiple of their step")
        first = np.flatnonzero(np.diff(self.time_ms // step_ms, prepend=-1))
        last = np.append(first[1:], len(self)) - 1
        return replace(
            self, step_ms=step_ms, time_ms=self.time_ms[first] // step_ms * step_ms, open=self.open[first],
            high=np.maximum.reduceat(self.high, first), low=np.minimum.reduceat(self.low, first), close=self.close[last],
            trigger=None if self.trigger is None else self.trigger.coarser(step_ms),
            funding=None if self.funding is None else self.funding[last],
        )  # fmt: skip


def load(
    source: Path | str | pl.DataFrame,
    *,
    symbol: str = "",
    tick: str | float | None = None,
    off_grid: OffGrid = "refuse",
    trigger: Path | str | pl.DataFrame | None = None,
    funding: Path | str | pl.DataFrame | None = None,
) -> Bars:
    """Bars from a parquet file or a frame (``time``, ``open``, ``high``, ``low``, ``close``, ``volume``), checked.

    ``tick`` is the price grid, by default the widest that every price lies on; a price off the told one is refused, or with
    ``off_grid="nearest"`` taken at its nearest tick. ``trigger`` are the mark-price bars, of which every
    minute of the bars is needed; ``funding`` has ``time`` and ``rate`` (fraction paid by longs; ``symbol`` where it holds several).
    Raises ``BarsError`` that names file, row and rule: disorder, duplicates, nulls, high below low, prices off the grid,
    a day or more of the bars of which no funding is known.
    """
    frame, name = _read(source)
    symbol = symbol or name.rpartition("/")[2].partition("_")[0].removesuffix(".parquet")
    grid = tick_of(frame, name, tick, off_grid)
    bars = _bars(frame, symbol, grid, name)
    if trigger is not None:
        bars = triggered(bars, trigger)
    if funding is not None:
        bars = bars.with_funding(funding)
    return bars


def triggered(bars: Bars, trigger: "Bars | Path | str | pl.DataFrame") -> Bars:
    """``bars`` with a series that fires stops and is trailed: bars, a frame or a file with every minute of them.

    Its prices are taken at the nearest tick of ``bars``. Raises ``BarsError`` for a bar that it does not have, and for one of another
    symbol: by its name where it is ``Bars``, by its prices in any case.
    """
    if isinstance(trigger, Bars) and trigger.symbol != bars.symbol and UNNAMED not in (trigger.symbol, bars.symbol):
        raise BarsError(
            f"the trigger is of {trigger.symbol} and the bars are of {bars.symbol}; give the mark price of {bars.symbol}, or load it with "
            f"symbol='{bars.symbol}' if it is"
        )
    frame, name = (trigger.frame(), trigger.source) if isinstance(trigger, Bars) else _read(trigger, "trigger")
    return replace(bars, trigger=_aligned(bars, frame, name))


def _read(source: Path | str | pl.DataFrame, what: str = UNNAMED) -> tuple[pl.DataFrame, str]:
    """Checked bars and their name: the file's, or ``what`` they are."""
    if isinstance(source, pl.DataFrame):
        return check_bars(source, what), what
    _refuse_kind(source, what)
    return load_bars(source), str(source)


def _refuse_kind(source: object, what: str) -> None:
    if not isinstance(source, Path | str | pl.DataFrame):
        verb = "are" if what == "bars" else "is"
        raise BarsError(f"{what} {verb} a parquet file or a polars frame, got {kind_of(source)}")


def refuse_no_bars(bars: object) -> None:
    """Raise ``BarsError`` for what ``load`` did not make."""
    if not isinstance(bars, Bars):
        several = "; of several symbols lab.portfolio takes them" if isinstance(bars, Mapping) else ""
        raise BarsError(f"bars are what lab.load gives of a file or a frame; got {type(bars).__name__}{several}")


def _bars(frame: pl.DataFrame, symbol: str, tick: int, name: str) -> Bars:
    ticks = to_ticks(frame, tick)
    columns = {column: np.ascontiguousarray(ticks[column].to_numpy()) for column in ("time_ms", *PRICES)}
    steps = np.diff(columns["time_ms"])
    step = int(steps.min()) if len(steps) else 60_000
    return Bars(symbol=symbol, tick=tick, step_ms=step, source=name, **columns)  # type: ignore[arg-type]


def _aligned(bars: Bars, frame: pl.DataFrame, name: str) -> Bars:
    """The trigger's bars at the times of ``bars``, each price at the nearest of their ticks."""
    ticks = to_ticks(frame, bars.tick)
    times = ticks["time_ms"].to_numpy()
    where = np.searchsorted(times, bars.time_ms)
    there = where < len(times)
    there[there] = times[where[there]] == bars.time_ms[there]
    if not there.all():
        row = int(np.flatnonzero(~there)[0])
        raise BarsError(
            f"{name}: has no bar at {bars.frame()['time'][row]}, which {bars.source} has ({int((~there).sum())} such); a stop cannot be "
            "fired by a series with holes: leave those bars out of both, or out of none"
        )
    columns = {column: np.ascontiguousarray(ticks[column].to_numpy()[where]) for column in ("time_ms", *PRICES)}
    times_as_high = float(np.median(columns["close"] / bars.close))
    if not 1 / FURTHEST < times_as_high < FURTHEST:
        raise BarsError(
            f"{name}: its closes are {times_as_high:.2g} times those of {bars.source}; a mark price is never so far away: give that of the "
            "same symbol"
        )
    return replace(bars, source=name, trigger=None, funding=None, **columns)  # type: ignore[arg-type]


def _paid(bars: Bars, source: Path | str | pl.DataFrame) -> Ints:
    """What a long of one unit has paid in funding by the end of each bar (E8 money), at the open of the bar of each funding time."""
    paid = np.zeros(len(bars), np.int64)
    for time_ms, rate in _fundings(bars, source).iter_rows():
        bar = int(np.searchsorted(bars.time_ms, time_ms, side="right")) - 1
        paid[bar] -= matching.funding(ONE, int(bars.open[bar]) * bars.tick, rate)
    return np.cumsum(paid)


def _fundings(bars: Bars, source: Path | str | pl.DataFrame) -> pl.DataFrame:
    """Times (ms) and rates (E8) within the bars, in order. Refuses a file of something else, or of other symbols or times."""
    _refuse_kind(source, "funding")
    frame, name = (source, "funding") if isinstance(source, pl.DataFrame) else (read_parquet(source), str(source))
    wanted = {column: kind for column, kind in FUNDING.items() if column != "symbol" or column in frame.columns}
    refuse_columns(frame.schema, name, wanted)
    if "symbol" in wanted:
        known = frame["symbol"].unique().drop_nulls().sort().to_list()
        if not known:
            raise BarsError(f"{name} holds no funding; give the file of these bars, or none to leave funding out")
        if bars.symbol not in known:
            raise BarsError(f"{name} has no funding of {bars.symbol or 'bars without a symbol'}: {suggestion(bars.symbol, known)}")
        frame = frame.filter(pl.col("symbol") == bars.symbol)
    for rule in FUNDING_RULES:
        if rule.column in wanted:
            refuse_rows(frame, f"{name}, {bars.symbol}" if "symbol" in wanted else name, rule)
    first, last = int(bars.time_ms[0]), int(bars.time_ms[-1]) + bars.step_ms
    rows = frame.select(pl.col("time").dt.epoch("ms"), (pl.col("rate") * ONE).round().cast(pl.Int64))
    within = rows.filter(pl.col("time").is_between(first, last, closed="left"))
    if within.is_empty() and last - first > FUNDING_STEP_MS:
        raise BarsError(
            f"{name} has no funding of {bars.symbol} between {bars.frame()['time'][0]} and {bars.frame()['time'][-1]}; "
            "give the file of that time, or none to leave funding out"
        )
    _refuse_unpaid(bars, name, [first, *within["time"], last])
    return within


def _refuse_unpaid(bars: Bars, name: str, known: list[int]) -> None:
    """Where no funding is known it would be counted as free: ``known`` are its times (ms) between the first and the end of the bars."""
    at = int(np.argmax(np.diff(known))) if len(known) > 2 else 0
    if known[at + 1] - known[at] > MOST_UNPAID_MS:
        begin, end = (datetime.fromtimestamp(ms / 1000, UTC) for ms in known[at : at + 2])
        raise BarsError(
            f"{name} has no funding of {bars.symbol} from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, which would count as free; "
            "give what is missing, cut the bars to what it covers (bars.slice, then bars.with_funding), or leave funding out"
        )
