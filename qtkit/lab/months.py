"""One series on disk: a parquet file a month, each with a note in it of the stretches of time that the exchange was asked for.

``<folder>/<kind>/<SYMBOL>/<YYYY-MM>.parquet``. A file replaces its forerunner by a rename, so that it is whole whenever the process dies;
what it covers stands in the file itself, so that rows and note cannot part. A month in which the exchange had nothing is a file without
rows: that it was asked is known too.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from qtkit.bars import COLUMNS, TIME, BarsError
from qtkit.core.model import PolicyError

FUNDING: Mapping[str, pl.DataType] = {"symbol": pl.String(), "time": TIME, "rate": pl.Float64()}
"""Columns of funding: ``rate`` is the fraction that longs pay at ``time``, which carries the exchange's few milliseconds of jitter."""
SCHEMAS: Mapping[str, Mapping[str, pl.DataType]] = {"bars": COLUMNS, "mark": COLUMNS, "funding": FUNDING}
"""What can be loaded, each with its columns: bars of trades, bars of the mark price (their volume is 0), fundings."""
NOTE = "qtkit.asked"

Span = tuple[int, int]
"""From and until, ms since 1970, the end excluded."""


def month_of(at_ms: int) -> Span:
    """The month (UTC) in which a moment lies."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    after = (at.year + 1, 1) if at.month == 12 else (at.year, at.month + 1)
    return _ms(at.year, at.month), _ms(*after)


def _ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1000)


def months(span: Span) -> Iterator[tuple[str, Span]]:
    """The months that a stretch touches, oldest first: name as ``2024-01``, and what of the stretch lies in it."""
    at = span[0]
    while at < span[1]:
        end = month_of(at)[1]
        yield f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m}", (at, min(end, span[1]))
        at = end


def union(spans: Iterable[Span]) -> list[Span]:
    """The same time in as few stretches as possible, in order."""
    out: list[Span] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], end)
        elif start < end:
            out.append((start, end))
    return out


def less(span: Span, taken: Iterable[Span]) -> list[Span]:
    """What of a stretch is left without the ``taken`` ones (in order, apart from each other)."""
    out, at = [], span[0]
    for start, end in taken:
        if start > at:
            out.append((at, min(start, span[1])))
        at = max(at, end)
    return [piece for piece in (*out, (at, span[1])) if piece[0] < piece[1]]


@dataclass(frozen=True, slots=True)
class Series:
    """The months of one symbol and kind. ``source`` says whose they are, as ``binanceusdm 1m``; one folder holds one source."""

    folder: Path
    kind: str
    symbol: str
    source: str

    @property
    def place(self) -> Path:
        """The folder of its months."""
        return self.folder / self.kind / self.symbol

    def path(self, month: str) -> Path:
        """The file of a month, there or not."""
        return self.place / f"{month}.parquet"

    def files(self, span: Span) -> list[Path]:
        """The files that hold rows of a stretch, oldest first."""
        return [path for month, _ in months(span) if (path := self.path(month)).is_file()]

    def lacks(self, span: Span) -> list[Span]:
        """What of a stretch was not asked for yet. Raises ``BarsError`` for a file that is damaged or of another source."""
        # Every month of the place is looked at, so that one folder never holds two sources in different months.
        asked = {path.stem: self._asked(path) for path in self.place.glob("????-??.parquet")}
        return union(piece for month, part in months(span) for piece in less(part, asked.get(month, [])))

    def add(self, rows: pl.DataFrame, span: Span) -> int:
        """Write all rows of a stretch that was asked for; returns how many are new. Raises ``OSError`` where that cannot be done."""
        new = 0
        for month, (start, end) in months(span):
            at = pl.col("time").dt.epoch("ms")
            new += self._extend(self.path(month), rows.filter(at >= start, at < end), (start, end))
        return new

    def _extend(self, path: Path, rows: pl.DataFrame, span: Span) -> int:
        asked = self._asked(path)
        old = pl.read_parquet(path).select(*SCHEMAS[self.kind]) if asked else pl.DataFrame(schema=SCHEMAS[self.kind])
        whole = pl.concat([old, rows.select(*SCHEMAS[self.kind])]).unique(subset="time", keep="first").sort("time")
        note = {"source": self.source, "symbol": self.symbol, "kind": self.kind, "spans": union([*asked, span])}
        self.place.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.part")
        with draft.open("wb") as file:
            whole.write_parquet(file, compression="zstd", metadata={NOTE: json.dumps(note)})
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        return len(whole) - len(old)

    def _asked(self, path: Path) -> list[Span]:
        """The stretches that a file covers; none if it is not there."""
        if not path.is_file():
            return []
        note = note_of(path)
        if note is None:
            raise BarsError(f"{path} was not written by `qtkit data download`; move it away, or give another --folder")
        if note["source"] != self.source:
            raise BarsError(f"{path} holds {note['source']}, not {self.source}; give another --folder for those")
        return [(int(start), int(end)) for start, end in note["spans"]]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else writes this series meanwhile. Raises ``PolicyError`` if somebody does; a killed process holds nothing."""
        self.place.mkdir(parents=True, exist_ok=True)
        with (self.place / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PolicyError(f"another download writes to {self.place}; wait for its end, or give another --folder") from None
            yield


def note_of(path: Path) -> dict[str, Any] | None:
    """What a file says of how it was loaded (source, symbol, kind, spans), or None for a file of another hand.

    Raises ``BarsError`` for a file that is no parquet.
    """
    try:
        text = pl.read_parquet_metadata(path).get(NOTE)
    except (pl.exceptions.PolarsError, OSError) as error:
        why = str(error).splitlines()[0]
        raise BarsError(f"{path} cannot be read as parquet ({why}); delete it and run the download again") from error
    return None if text is None else dict(json.loads(text))
