"""Bars from parquet, checked before anybody computes with them.

A bars file holds ``time`` (datetime, ms, UTC, the OPEN time of the bar), ``open``, ``high``, ``low``, ``close`` and ``volume``
(Float64). Missing bars are left missing, never filled. Other columns are passed over.
"""

import difflib
import re
from pathlib import Path

import polars as pl

TIME = pl.Datetime("ms", "UTC")
PRICES = ("open", "high", "low", "close")
COLUMNS: dict[str, pl.DataType] = {"time": TIME, **dict.fromkeys((*PRICES, "volume"), pl.Float64())}
ONE = 100_000_000  # 1.0 in E8
EXACT = 2**53  # up to here a float holds every integer, so a price times 1e8 is rounded to the right one

_NAME = re.compile(r"([A-Z0-9]{2,})(?:_[^/]*)?\.parquet")


class BarsError(ValueError):
    """Bars that cannot be used: which file, column and row, what is wrong, what to do."""


def load_bars(path: Path | str) -> pl.DataFrame:
    """The bars of a parquet file, its six columns in order. Raises ``BarsError`` for the first thing that is wrong with it."""
    path = Path(path)
    if not path.is_file():
        raise BarsError(f"{path} is not there{_nearest(path.name, _siblings(path))}; give the path of a parquet file")
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BarsError(f"{path} cannot be read as parquet ({str(error).splitlines()[0]}); download or write it again") from error
    return check_bars(frame, str(path))


def check_bars(frame: pl.DataFrame, name: str = "bars") -> pl.DataFrame:
    """The six columns of ``frame`` if they are right, else ``BarsError``; ``name`` says in the message whose they are."""
    _check_columns(frame, name)
    bars = frame.select(*COLUMNS)
    if bars.is_empty():
        raise BarsError(f"{name} holds no bars; give a file with at least one")
    for column in COLUMNS:
        _refuse(bars, name, column, pl.col(column).is_null(), "is null", "drop that row, a missing bar is left missing")
    for column in (*PRICES, "volume"):
        _refuse(bars, name, column, ~pl.col(column).is_finite(), "is not a finite number", "drop that row or download the file again")
    for column in PRICES:
        _refuse(bars, name, column, pl.col(column) <= 0, "is not positive", "drop that row or download the file again")
    _refuse(bars, name, "volume", pl.col("volume") < 0, "is negative", "drop that row or download the file again")
    advice = 'use .unique(subset="time").sort("time")'
    _refuse(bars, name, "time", pl.col("time").diff() <= pl.duration(), "does not rise", advice)
    top, bottom = pl.max_horizontal("open", "close", "low"), pl.min_horizontal("open", "close")
    _refuse(bars, name, "high", pl.col("high") < top, "is below open, close or low", "check how the bars were built")
    _refuse(bars, name, "low", pl.col("low") > bottom, "is above open or close", "check how the bars were built")
    return bars


def find_bars(folder: Path | str) -> dict[str, list[Path]]:
    """Parquet files of a folder by symbol, for names ``SYMBOL.parquet`` and ``SYMBOL_anything.parquet``, each list by name.

    Raises ``BarsError`` if there is no such folder, or nothing in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BarsError(f"{folder} is no folder{_nearest(folder.name, _siblings(folder))}; give the folder that holds the bars")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match and path.is_file():
            found.setdefault(match[1], []).append(path)
    if not found:
        raise BarsError(f"{folder} holds no bars; name the files SYMBOL.parquet or SYMBOL_anything.parquet, as in BTCUSDT_2025.parquet")
    return found


def to_ticks(frame: pl.DataFrame, tick_e8: int) -> pl.DataFrame:
    """``time_ms`` and the four prices in whole ticks, all Int64: each price goes to the nearest tick, a half upwards.

    ``tick_e8`` is the tick size in E8. Raises ``BarsError`` if the tick is not positive, if a price lies under half a tick (the
    tick is too wide for this symbol) or above 90 million, where a float no longer holds 1e-8.
    """
    if tick_e8 <= 0:
        raise BarsError(f"the tick must be positive, got {tick_e8} of 1e-8; take it from the instrument's price filter")
    largest = max((float(frame[column].max() or 0) for column in PRICES), default=0.0)  # type: ignore[arg-type]
    if largest * ONE >= EXACT:
        raise BarsError(f"a price of {largest:g} is too large to be held to 1e-8; the limit is {EXACT // ONE:,}")
    ticks = frame.select(
        pl.col("time").dt.epoch("ms").alias("time_ms"),
        *(((pl.col(column) * ONE).round().cast(pl.Int64) + tick_e8 // 2) // tick_e8 for column in PRICES),
    )
    lost = ticks.select(pl.arg_where(pl.col("low") < 1)).to_series()
    if len(lost):
        row = int(lost[0])
        low = frame["low"][row]
        raise BarsError(f"row {row}: the price {low:g} is less than half a tick of {tick_e8 / ONE:g}; take the tick of this symbol")
    return ticks


def _check_columns(frame: pl.DataFrame, name: str) -> None:
    for column, wanted in COLUMNS.items():
        if column not in frame.columns:
            raise BarsError(f"{name} has no column {column!r}{_nearest(column, frame.columns)}; bars need {', '.join(COLUMNS)}")
        found = frame.schema[column]
        if found != wanted:
            raise BarsError(f"{name}: column {column!r} is {found}, not {wanted}; {_cast(column, found)}")


def _cast(column: str, found: pl.DataType) -> str:
    if column != "time":
        return f"convert it with .cast({{{column!r}: pl.Float64}})"
    if isinstance(found, pl.Datetime) and found.time_zone is None:
        return 'it has no time zone: if it is UTC, write it with .dt.cast_time_unit("ms").dt.replace_time_zone("UTC")'
    if isinstance(found, pl.Datetime):
        return 'write it with .dt.cast_time_unit("ms").dt.convert_time_zone("UTC")'
    return 'if it counts milliseconds since 1970, write it with .cast(pl.Datetime("ms", "UTC"))'


def _refuse(bars: pl.DataFrame, name: str, column: str, wrong: pl.Expr, what: str, advice: str) -> None:
    rows = bars.select(pl.arg_where(wrong)).to_series()
    if len(rows):
        row = int(rows[0])
        more = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
        raise BarsError(f"{name}: {column} {what} in row {row}, {bars['time'][row]}: {bars[column][row]}{more}; {advice}")


def _siblings(path: Path) -> list[str]:
    return [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []


def _nearest(word: str, words: list[str]) -> str:
    lower = {other.lower(): other for other in words}
    close = difflib.get_close_matches(word.lower(), lower, n=1)
    return f"; did you mean {lower[close[0]]!r}?" if close else ""
