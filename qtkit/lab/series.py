"""Bars of one symbol as the lab computes with them: whole ticks in arrays, checked once."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from qtkit.bars import PRICES, BarsError, check_bars, load_bars, to_ticks
from qtkit.core import matching
from qtkit.core.model import ONE
from qtkit.lab.arguments import Ints, Scan, Small

HIGHEST = 2**31 - 2  # ticks; a price above it does not fit the 32 bits that the sweeps scan
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


@dataclass(frozen=True, eq=False)
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


def load(
    source: Path | str | pl.DataFrame,
    *,
    symbol: str = "",
    tick: str | float | None = None,
    trigger: Path | str | pl.DataFrame | None = None,
    funding: Path | str | pl.DataFrame | None = None,
) -> Bars:
    """Bars from a parquet file or a frame (``time``, ``open``, ``high``, ``low``, ``close``, ``volume``), checked.

    ``tick`` is the price grid, by default the widest that every price lies on. ``trigger`` are the mark-price bars, of which every
    minute of the bars is needed; ``funding`` has ``time`` and ``rate`` (fraction paid by longs; ``symbol`` where it holds several).
    Raises ``BarsError`` that names file, row and rule: disorder, duplicates, nulls, high below low, prices off the grid.
    """
    frame, name = _read(source)
    symbol = symbol or name.rpartition("/")[2].partition("_")[0].removesuffix(".parquet")
    grid = _grid(frame, name, tick)
    bars = _bars(frame, symbol, grid, name)
    if trigger is not None:
        bars = replace(bars, trigger=_aligned(bars, *_read(trigger)))
    if funding is not None:
        bars = replace(bars, funding=_paid(bars, funding))
    return bars


def _read(source: Path | str | pl.DataFrame) -> tuple[pl.DataFrame, str]:
    if isinstance(source, pl.DataFrame):
        return check_bars(source), "bars"
    return load_bars(source), str(source)


def _grid(frame: pl.DataFrame, name: str, tick: str | float | None) -> int:
    """The tick in E8: the one told, on which every price must lie, or the greatest that all prices are multiples of."""
    exact = frame.select((pl.col(column) * ONE).round().cast(pl.Int64) for column in PRICES)
    if tick is None:
        return int(np.gcd.reduce(exact.to_numpy().ravel()))
    told = round(float(tick) * ONE)
    if told <= 0:
        raise BarsError(f"the tick must be above zero, got {tick}; take it from the instrument's price filter")
    for column in PRICES:
        off = exact.select(pl.arg_where(pl.col(column) % told != 0)).to_series()
        if len(off):
            row = int(off[0])
            raise BarsError(
                f"{name}: {column} is off the grid of {tick} in row {row}, {frame['time'][row]}: {frame[column][row]} ({len(off)} such "
                "rows); give the tick of this symbol at that time, or none to take the one that fits"
            )
    return told


def _bars(frame: pl.DataFrame, symbol: str, tick: int, name: str) -> Bars:
    ticks = to_ticks(frame, tick)
    columns = {column: np.ascontiguousarray(ticks[column].to_numpy()) for column in ("time_ms", *PRICES)}
    if int(columns["high"].max()) > HIGHEST:
        raise BarsError(
            f"{name}: a price of {columns['high'].max()} ticks does not fit; the tick {tick / ONE:g} is too fine for this symbol"
        )
    steps = np.diff(columns["time_ms"])
    step = int(steps.min()) if len(steps) else 60_000
    return Bars(symbol=symbol, tick=tick, step_ms=step, source=name, **columns)  # type: ignore[arg-type]


def _aligned(bars: Bars, frame: pl.DataFrame, name: str) -> Bars:
    """The trigger's bars at the times of ``bars``, on their grid toward the adverse side of both."""
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
    return replace(bars, source=name, trigger=None, funding=None, **columns)  # type: ignore[arg-type]


def _paid(bars: Bars, source: Path | str | pl.DataFrame) -> Ints:
    """What a long of one unit has paid in funding by the end of each bar (E8 money), at the open of the bar of each funding time."""
    frame = source if isinstance(source, pl.DataFrame) else pl.read_parquet(source)
    name = "funding" if isinstance(source, pl.DataFrame) else str(source)
    for column in ("time", "rate"):
        if column not in frame.columns:
            raise BarsError(f"{name} has no column '{column}'; funding needs time and rate (and symbol where it holds several)")
    if "symbol" in frame.columns:
        frame = frame.filter(pl.col("symbol") == bars.symbol)
    first, last = int(bars.time_ms[0]), int(bars.time_ms[-1]) + bars.step_ms
    rows = frame.sort("time").select(pl.col("time").dt.epoch("ms"), (pl.col("rate") * ONE).round().cast(pl.Int64))
    paid = np.zeros(len(bars), np.int64)
    for time_ms, rate in rows.filter(pl.col("time").is_between(first, last, closed="left")).iter_rows():
        bar = int(np.searchsorted(bars.time_ms, time_ms, side="right")) - 1
        paid[bar] -= matching.funding(ONE, int(bars.open[bar]) * bars.tick, rate)
    return np.cumsum(paid)
