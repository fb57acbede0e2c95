"""Recorded trades and quotes as a tape, tick by tick: parquet files of each, or the raw capture of an exchange's websocket.

A trade moves the last price, and its size is the volume. A quote moves no last price: the mark follows the middle of it, and the tick
carries bid and ask. Recordings are of stretches with nothing between, so one stretch is played: of those that all symbols share the one
asked for, else the longest.
"""

import gzip
import json
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from qtkit.core.model import E8, Instrument, PolicyError, Ticks
from qtkit.paper.basis import Course, FixedMarks, Marks
from qtkit.paper.synthetic import history_bars
from qtkit.paper.tape import INSTRUMENTS, MINUTE_MS, Tape, Track, excursion_note, known_instrument, signed

ONE = 100_000_000
HOLE_MS = 60_000  # a longer silence of all symbols ends a stretch
TRADE, QUOTE = 0, 1
MARKS = FixedMarks(ppm=0)
_TIME = pl.Datetime("ms", "UTC")
_TRADES: Mapping[str, pl.DataType] = {"symbol": pl.String(), "time": _TIME, "id": pl.Int64(), "price": pl.Int64(), "traded": pl.Int64()}
_QUOTES: Mapping[str, pl.DataType] = {"symbol": pl.String(), "time": _TIME, "id": pl.Int64(), "bid": pl.Int64(), "ask": pl.Int64()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Trades (``symbol, time, id, price, traded``) and quotes (``symbol, time, id, bid, ask``), E8; ``source`` names the files.

    ``traded`` is the size, below 0 where a seller took; null where the file does not tell sizes and sides.
    """

    source: str
    trades: pl.DataFrame
    quotes: pl.DataFrame


def load_recording(trades: Path, quotes: Path | None = None) -> Recording:
    """Two parquet files, or one raw capture (``.gz``) that holds both. Raises ``PolicyError`` naming what is wrong with a file.

    Trades may have the columns ``size`` (coins) and ``side`` (of the taker, buy or sell); without both, sizes are not known.
    """
    if trades.suffix == ".gz":
        if quotes is not None:
            raise PolicyError(f"{trades} is a raw capture and holds its own quotes; leave {quotes} away")
        return _capture(trades)
    told = _read(trades, ("symbol", "time", "id", "price"), "trades")
    known = told.select("symbol", "time", "id", _e8("price"), _signed_size(told))
    if quotes is None:
        return Recording(source=trades.name, trades=known, quotes=pl.DataFrame(schema=_QUOTES))
    asked = _read(quotes, ("symbol", "time", "bid", "ask"), "quotes").select("symbol", "time", _e8("bid"), _e8("ask"))
    rows = asked.with_row_index("id").select("symbol", "time", pl.col("id").cast(pl.Int64), "bid", "ask")
    return Recording(source=f"{trades.name} and {quotes.name}", trades=known, quotes=rows)


def recorded_tape(
    recording: Recording,
    symbols: Sequence[str] = (),
    *,
    at: datetime | None = None,
    start_ms: int,
    seed: int = 0,
    marks: Marks = MARKS,
    instruments: Mapping[str, Instrument] = INSTRUMENTS,
) -> Tape:
    """The stretch that holds ``at`` (UTC), or the longest, of these symbols (default: all that are known), begun at ``start_ms``.

    ``start_ms`` must be a whole minute; recorded seconds keep their place in it, so the minute bars are the recorded ones. There are no
    bars before a recording: the history is made by ``seed``, and the note says so. Raises ``PolicyError`` where there is no such stretch.
    """
    if start_ms % MINUTE_MS:
        raise PolicyError(f"a tape starts on a whole minute, so that its bars line up; got {start_ms} ms")
    there = recording.trades["symbol"].unique(maintain_order=True).to_list()
    chosen = list(symbols) or [name for name in there if name in instruments]
    for name in chosen:
        if name not in there:
            raise PolicyError(f"{recording.source} holds no trades of {name}; there are {', '.join(there)}")
    if not chosen:
        raise PolicyError(f"{recording.source} holds trades of {', '.join(there)}, none of which the paper exchange knows")
    first, last = _stretch(recording, chosen, at)
    shift = start_ms - first // MINUTE_MS * MINUTE_MS
    tracks = [_track(recording, known_instrument(instruments, name), first, last, shift, f"{seed}:{name}", marks) for name in chosen]
    return Tape(tracks=tuple(tracks))


def _stretch(recording: Recording, symbols: Sequence[str], at: datetime | None) -> tuple[int, int]:
    """First and last time (ms) of the stretch in which every symbol trades."""
    rows = recording.trades.filter(pl.col("symbol").is_in(symbols)).sort("time", maintain_order=True)
    rows = rows.with_columns(pl.col("time").dt.epoch("ms").alias("ms"))
    rows = rows.with_columns((pl.col("ms").diff().fill_null(0) > HOLE_MS).cum_sum().alias("stretch"))
    spans = rows.group_by("stretch").agg(
        pl.col("ms").min().alias("first"), pl.col("ms").max().alias("last"), pl.col("symbol").n_unique().alias("symbols")
    )
    whole = spans.filter(pl.col("symbols") == len(symbols)).sort(pl.col("first") - pl.col("last"), "first")
    said = "; ".join(f"{_utc(row['first'])} to {_utc(row['last'])}" for row in whole.sort("first").iter_rows(named=True))
    if at is not None:
        ms = int(at.timestamp() * 1000)
        whole = whole.filter((pl.col("first") // MINUTE_MS * MINUTE_MS <= ms) & (pl.col("last") >= ms))
    if whole.is_empty():
        when = f" at {at:%Y-%m-%d %H:%M}" if at else ""
        raise PolicyError(f"{recording.source}: {', '.join(symbols)} were not recorded together{when}; there is {said or 'nothing'}")
    row = whole.row(0, named=True)
    return int(row["first"]), int(row["last"])


def _track(recording: Recording, rules: Instrument, first: int, last: int, shift: int, seed: str, marks: Marks) -> Track:
    symbol, tick = rules.symbol, rules.tick
    times, lasts, middles, bids, asks, sizes = (array("q") for _ in range(6))
    price = bid = ask = 0
    for at, kind, one, other in _events(recording, symbol, first, last):
        if kind == TRADE:
            price = (one + tick // 2) // tick
        else:
            bid, ask = (one + tick // 2) // tick, (other + tick // 2) // tick
        if price:
            times.append(at + shift)
            lasts.append(price)
            bids.append(bid)
            asks.append(ask)
            middles.append((bid + ask) * tick // 2 if kind == QUOTE else price * tick)
            sizes.append(0 if kind == QUOTE else rules.lot if other is None else other)
    quoted, sized = not recording.quotes.is_empty(), not recording.trades["traded"].has_nulls()
    start_ms = times[0] // MINUTE_MS * MINUTE_MS
    source = f"{recording.source} from {_utc(first)}, tick by tick, history made (seed {seed.partition(':')[0]})"
    return Track(
        symbol=symbol, times=times, lasts=lasts, marks=marks.along(Course(symbol, times, middles, E8(1), seed, shift)),
        history=history_bars(Ticks(lasts[0]), start_ms, seed), note=excursion_note(symbol, source, lasts),
        bids=bids if quoted else (), asks=asks if quoted else (), traded=sizes if sized else signed(lasts, sizes),
    )  # fmt: skip


def _events(recording: Recording, symbol: str, first: int, last: int) -> Iterator[tuple[int, int, int, int]]:
    """Time, kind, and price and size or bid and ask of a symbol in order of time; of one millisecond the trades first, for they made the
    quotes after them."""
    parts = []
    for kind, frame, (one, other) in ((TRADE, recording.trades, ("price", "traded")), (QUOTE, recording.quotes, ("bid", "ask"))):
        rows = frame.filter(pl.col("symbol") == symbol)
        parts.append(
            rows.select(
                pl.col("time").dt.epoch("ms").alias("ms"),
                pl.lit(kind).alias("kind"),
                "id",
                pl.col(one).alias("a"),
                pl.col(other).alias("b"),
            )
        )
    rows = pl.concat(parts).filter(pl.col("ms").is_between(first, last)).sort("ms", "kind", "id")
    return rows.select("ms", "kind", "a", "b").iter_rows()


def _read(path: Path, columns: Sequence[str], what: str) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise PolicyError(f"{path} cannot be read as parquet ({str(error).splitlines()[0]})") from error
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise PolicyError(f"{path} holds no {what}: there is no column {missing[0]!r}; needed are {', '.join(columns)}")
    if frame.schema["time"] != _TIME:
        raise PolicyError(f"{path}: column 'time' is {frame.schema['time']}, not {_TIME}; cast it to ms in UTC")
    bad = frame.filter(pl.any_horizontal(pl.col(name).is_null() for name in columns))
    if not bad.is_empty():
        raise PolicyError(f"{path}: {bad.height} rows have a null in {', '.join(columns)}; drop them")
    return frame


def _signed_size(frame: pl.DataFrame) -> pl.Expr:
    if not {"size", "side"} <= set(frame.columns):
        return pl.lit(None, dtype=pl.Int64).alias("traded")
    return pl.when(pl.col("side") == "sell").then(-_e8("size")).otherwise(_e8("size")).alias("traded")


def _e8(column: str) -> pl.Expr:
    return (pl.col(column) * ONE).round().cast(pl.Int64).alias(column)


def _capture(path: Path) -> Recording:
    """A raw capture: one line a message, receive time (ns) and JSON; trade and bookTicker are taken, the rest passed over."""
    trades: list[tuple[str, int, int, int, int]] = []
    quotes: list[tuple[str, int, int, int, int]] = []
    try:
        with gzip.open(path, "rt") as lines:
            for number, line in enumerate(lines, start=1):
                _take(line, f"{path}, line {number}", trades, quotes)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise PolicyError(f"{path} cannot be read as a gzipped capture ({error})") from error
    if not trades:
        raise PolicyError(f"{path} holds no trades")
    time = pl.col("time").cast(_TIME)
    told = pl.DataFrame(trades, schema=["symbol", "time", "id", "price", "traded"], orient="row").with_columns(time)
    asked = pl.DataFrame(quotes, schema={name: kind if name != "time" else pl.Int64() for name, kind in _QUOTES.items()}, orient="row")
    return Recording(source=path.name, trades=told, quotes=asked.with_columns(time))


def _take(line: str, where: str, trades: list[tuple[str, int, int, int, int]], quotes: list[tuple[str, int, int, int, int]]) -> None:
    if '"e":"trade"' not in line and '"e":"bookTicker"' not in line:
        return
    try:
        row = json.loads(line.partition(" ")[2])["data"]
        if row["e"] == "bookTicker":
            quotes.append((row["s"], row["T"], row["u"], _exact(row["b"]), _exact(row["a"])))
        elif row.get("X", "MARKET") == "MARKET":  # insurance fund and ADL prints are no market
            sign = -1 if row["m"] else 1  # the buyer rested, so a seller took
            trades.append((row["s"], row["T"], row["t"], _exact(row["p"]), sign * _exact(row["q"])))
    except (ValueError, KeyError, TypeError) as error:
        raise PolicyError(f"{where}: no message of a capture ({type(error).__name__}: {error})") from error


def _exact(text: str) -> int:
    whole, _, part = text.partition(".")
    return int(whole) * ONE + int((part + "0" * 8)[:8])


def _utc(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
