"""Bars from parquet, checked before anybody computes with them.

A bars file holds ``time`` (datetime, ms, UTC, the OPEN time of the bar), ``open``, ``high``, ``low``, ``close`` and ``volume``
(Float64). Missing bars are left missing, never filled. Other columns are passed over. A folder with a file a month (``2024-01.parquet``,
as ``qtkit data download`` writes them) is one series.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import polars as pl

TIME = pl.Datetime("ms", "UTC")
PRICES = ("open", "high", "low", "close")
COLUMNS: dict[str, pl.DataType] = {"time": TIME, **dict.fromkeys((*PRICES, "volume"), pl.Float64())}
ONE = 100_000_000  # 1.0 in E8
EXACT = 2**53  # up to here a float holds every integer, so a price times 1e8 is rounded to the right one

_NAME = re.compile(r"([A-Z0-9]{2,})(?:_[^/]*)?\.parquet")
_MONTH = re.compile(r"\d{4}-\d{2}\.parquet")


class BarsError(ValueError):
    """Bars that cannot be used: which file, column and row, what is wrong, what to do."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What no row of bars may be: ``wrong`` is true of the rows that break it, ``what`` says it of ``column``, ``advice`` what to do."""

    column: str
    wrong: pl.Expr
    what: str
    advice: str


def _rules() -> tuple[Rule, ...]:
    again = "drop that row or download the file again"
    top, bottom = pl.max_horizontal("open", "close", "low"), pl.min_horizontal("open", "close")
    return (
        *(Rule(name, pl.col(name).is_null(), "is null", "drop that row, a missing bar is left missing") for name in COLUMNS),
        *(Rule(name, ~pl.col(name).is_finite(), "is not a finite number", again) for name in (*PRICES, "volume")),
        *(Rule(name, pl.col(name) <= 0, "is not positive", again) for name in PRICES),
        Rule("volume", pl.col("volume") < 0, "is negative", again),
        Rule("time", pl.col("time").diff() <= pl.duration(), "does not rise", 'use .unique(subset="time").sort("time")'),
        Rule("high", pl.col("high") < top, "is below open, close or low", "check how the bars were built"),
        Rule("low", pl.col("low") > bottom, "is above open or close", "check how the bars were built"),
    )


RULES = _rules()
"""Every rule that bars keep, in the order in which they are told."""


def load_bars(path: Path | str, start: datetime | str | None = None, end: datetime | str | None = None) -> pl.DataFrame:
    """The bars of a parquet file, or of a folder with a file a month: six columns in order, from ``start`` until ``end``.

    Times are read as ``moment`` does: ``end="2024-03"`` includes March, ``end="2024-03-01T12:00"`` ends with the bar before. Of a folder
    only the months that are asked for are read. Raises ``BarsError`` for the first thing that is wrong, or where no bars are left.
    """
    path, bounds = Path(path), _between(start, end)
    parts = []
    for file in _files(path, bounds):
        frame = read_parquet(file)
        if path.is_dir() and frame.is_empty():
            continue  # a month in which the exchange had nothing
        parts.append(_within(check_bars(frame, str(file)), bounds))
    bars = pl.concat(parts) if parts else pl.DataFrame(schema=COLUMNS)
    if bars.is_empty():
        raise BarsError(f"{path} holds no bars{_of_time(bounds)}; widen the time, or download those months")
    return check_bars(bars, str(path)) if len(parts) > 1 else bars


def scan_bars(path: Path | str, start: datetime | str | None = None, end: datetime | str | None = None) -> pl.LazyFrame:
    """As ``load_bars``, for what exceeds memory: nothing is read before it is collected, and only names and types are checked.

    ``qtkit data check`` checks the rows of such files.
    """
    path, bounds = Path(path), _between(start, end)
    frames = []
    for file in _files(path, bounds):
        with _readable(file):
            lazy = pl.scan_parquet(file)
            schema = lazy.collect_schema()
        refuse_columns(schema, str(file))
        frames.append(_within(lazy.select(*COLUMNS), bounds))
    if not frames:
        raise BarsError(f"{path} holds no bars{_of_time(bounds)}; widen the time, or download those months")
    return pl.concat(frames)


def check_bars(frame: pl.DataFrame, name: str = "bars") -> pl.DataFrame:
    """The six columns of ``frame`` if they are right, else ``BarsError``; ``name`` says in the message whose they are."""
    refuse_columns(frame.schema, name)
    if "symbol" in frame.columns and frame["symbol"].n_unique() > 1:
        first = frame["symbol"][0]
        raise BarsError(
            f"{name} hold {frame['symbol'].n_unique()} symbols, {first} and others; keep one, as with .filter(symbol={first!r})"
        )
    bars = frame.select(*COLUMNS)
    if bars.is_empty():
        raise BarsError(f"{name} holds no bars; give a file with at least one")
    for rule in RULES:
        refuse_rows(bars, name, rule)
    return bars


def find_bars(folder: Path | str) -> dict[str, list[Path]]:
    """Parquet files of a folder by symbol, each list by name: ``SYMBOL.parquet``, ``SYMBOL_anything.parquet``, ``SYMBOL/2024-01.parquet``.

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
        elif path.is_dir() and re.fullmatch(r"[A-Z0-9]{2,}", path.name):
            months = [file for file in sorted(path.iterdir()) if _MONTH.fullmatch(file.name) and _has_rows(file)]
            found.setdefault(path.name, []).extend(months)
    found = {symbol: paths for symbol, paths in found.items() if paths}
    if not found:
        raise BarsError(f"{folder} holds no bars; name the files SYMBOL.parquet or SYMBOL_anything.parquet, as in BTCUSDT_2025.parquet")
    return found


def _has_rows(file: Path) -> bool:
    with _readable(file):
        return bool(pl.scan_parquet(file).select(pl.len()).collect().item())


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


def refuse_columns(schema: Mapping[str, pl.DataType], name: str, wanted: Mapping[str, pl.DataType] = COLUMNS) -> None:
    """Raise ``BarsError`` for a column that is missing or of another type than wanted; ``name`` says whose."""
    who = "bars need" if wanted is COLUMNS else "needed are"
    for column, kind in wanted.items():
        if column not in schema:
            raise BarsError(f"{name} has no column {column!r}{_nearest(column, list(schema))}; {who} {', '.join(wanted)}")
        if schema[column] != kind:
            raise BarsError(f"{name}: column {column!r} is {schema[column]}, not {kind}; {_cast(column, schema[column])}")


def _cast(column: str, found: pl.DataType) -> str:
    if column != "time":
        return f"convert it with .cast({{{column!r}: pl.Float64}})"
    if isinstance(found, pl.Datetime) and found.time_zone is None:
        return 'it has no time zone: if it is UTC, write it with .dt.cast_time_unit("ms").dt.replace_time_zone("UTC")'
    if isinstance(found, pl.Datetime):
        return 'write it with .dt.cast_time_unit("ms").dt.convert_time_zone("UTC")'
    return 'if it counts milliseconds since 1970, write it with .cast(pl.Datetime("ms", "UTC"))'


def refuse_rows(bars: pl.DataFrame, name: str, rule: Rule) -> None:
    """Raise ``BarsError`` for the first row that breaks a rule; ``name`` says whose it is."""
    rows = bars.select(pl.arg_where(rule.wrong)).to_series()
    if len(rows):
        row = int(rows[0])
        raise BarsError(broken(name, rule, row, bars["time"][row], bars[rule.column][row], len(rows)))


def broken(name: str, rule: Rule, row: int, time: object, value: object, count: int) -> str:
    """The sentence for a broken rule: file, column, row, what is wrong, in how many rows, what to do."""
    more = f" ({count} such rows)" if count > 1 else ""
    return f"{name}: {rule.column} {rule.what} in row {row}, {time}: {value}{more}; {rule.advice}"


def moment(at: datetime | str, *, end: bool = False) -> datetime:
    """A moment in UTC (a time without a zone is UTC); of a month or a day its beginning, or with ``end`` where the next one begins.

    So an end of ``2024-03`` includes March. Raises ``BarsError`` for a text that is no time.
    """
    if isinstance(at, datetime):
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    month = bool(re.fullmatch(r"\d{4}-\d{2}", at))
    try:
        found = moment(datetime.fromisoformat(f"{at}-01" if month else at))
    except ValueError:
        raise BarsError(f"{at!r} is no time; write 2024-01, 2024-01-15 or 2024-01-15T12:00") from None
    if not end or len(at) > 10:
        return found
    return (found.replace(day=28) + timedelta(days=4)).replace(day=1) if month else found + timedelta(days=1)


def _between(start: datetime | str | None, end: datetime | str | None) -> "_Bounds":
    return None if start is None else moment(start), None if end is None else moment(end, end=True)


def _files(path: Path, bounds: "_Bounds") -> list[Path]:
    """The file itself, or the months of a folder that may hold something between the bounds."""
    if not path.is_dir():
        _refuse_missing(path)
        return [path]
    found = [file for file in sorted(path.iterdir()) if _MONTH.fullmatch(file.name)]
    if not found:
        inside = sorted(child.name for child in path.iterdir() if child.is_dir())
        hint = f"; it holds the folders {', '.join(inside[:5])}: give one of a symbol" if inside else ""
        raise BarsError(f"{path} holds no months{hint or '; give a folder of files named as 2024-01.parquet, or a parquet file'}")
    first = f"{bounds[0]:%Y-%m}" if bounds[0] else ""
    last = f"{bounds[1]:%Y-%m}" if bounds[1] else "9999"
    return [file for file in found if first <= file.stem <= last]


def read_parquet(file: Path | str) -> pl.DataFrame:
    """What a parquet file, or a folder of such, holds. Raises ``BarsError`` for one that is not there or holds something else."""
    file = Path(file)
    _refuse_missing(file)
    with _readable(file):
        return pl.read_parquet(file)


def _refuse_missing(path: Path) -> None:
    if not path.exists():
        raise BarsError(f"{path} is not there{_nearest(path.name, _siblings(path))}; give the path of a parquet file")


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BarsError(f"{file} cannot be read as parquet ({str(error).splitlines()[0]}); download or write it again") from error


_Frame = TypeVar("_Frame", pl.DataFrame, pl.LazyFrame)
_Bounds = tuple[datetime | None, datetime | None]


def _within(frame: _Frame, bounds: _Bounds) -> _Frame:
    start, end = bounds
    if start is not None:
        frame = frame.filter(pl.col("time") >= start)
    return frame if end is None else frame.filter(pl.col("time") < end)


def _of_time(bounds: _Bounds) -> str:
    start, end = (f" {word} {at:%Y-%m-%d %H:%M}" if at else "" for word, at in zip(("from", "until"), bounds, strict=True))
    return f"{start}{end}"


def _siblings(path: Path) -> list[str]:
    return [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []


def _nearest(word: str, words: list[str]) -> str:
    lower = {other.lower(): other for other in words}
    close = difflib.get_close_matches(word.lower(), lower, n=1)
    return f"; did you mean {lower[close[0]]!r}?" if close else ""
