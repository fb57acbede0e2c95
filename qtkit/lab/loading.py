"""The download of one series: what of the time is lacking, page by page onto disk, and what is there in the end."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from qtkit.core.model import PolicyError
from qtkit.lab.gaps import FUNDING_STEP_MS, Gaps, gaps_of, scanned
from qtkit.lab.months import Series, Span
from qtkit.lab.pages import Asking, bar_pages, funding_pages

BINANCE = "binanceusdm"
SETTLED_MS, FUNDING_SETTLED_MS = 5_000, 60_000
"""How long after its time a bar, or a funding, is taken for final."""
WIDEST_ERROR_MS = 60_000
"""What a wall clock may be off, where the exchange does not tell the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far a series is: milliseconds of its time done, of how many. ``note`` says why is waited, empty otherwise."""

    symbol: str
    kind: str
    done_ms: int
    total_ms: int
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One series after a download: what of the stretch that was asked for is on disk, and what of that is new."""

    symbol: str
    kind: str
    folder: Path
    start: datetime
    end: datetime
    rows: int
    new_rows: int
    gaps: Gaps

    def row(self) -> dict[str, Any]:
        """The same as one flat row, for tables and JSON."""
        gaps = asdict(self.gaps)
        named = {"gaps": gaps.pop("count"), "rows": gaps.pop("rows"), "new_rows": self.new_rows}
        return {"symbol": self.symbol, "kind": self.kind, "folder": str(self.folder), "start": self.start, "end": self.end, **named, **gaps}


@dataclass(slots=True)
class Loading:
    """The download of one series; ``unified`` is ccxt's name of the symbol."""

    series: Series
    unified: str
    timeframe: str
    ask: Asking
    tell: Callable[[Step], None]
    done_ms: int = 0
    total_ms: int = 0

    def run(self, span: Span) -> Loaded:
        """Load what is lacking of a stretch, as far as it is over. Raises what ``download`` does."""
        self.ask.told = self._told
        start, end = self._whole((span[0], min(span[1], self._settled_ms())))
        if start >= end:
            raise PolicyError(f"{self.series.symbol}: nothing is over yet from {_utc(span[0])} on; give an earlier --from")
        self.total_ms, new = end - start, 0
        with self.series.alone():
            lacking = self.series.lacks((start, end))
            self.done_ms = self.total_ms - sum(until - at for at, until in lacking)
            self._told("")
            for at, until in lacking:
                for upto, rows in self._pages((at, until)):
                    new += self.series.add(rows, (at, upto))
                    self.done_ms += upto - at
                    at = upto
                    self._told("")
        return self._loaded((start, end), new)

    def _told(self, note: str) -> None:
        step = Step(symbol=self.series.symbol, kind=self.series.kind, done_ms=self.done_ms, total_ms=self.total_ms, note=note)
        self.tell(step)

    def _pages(self, span: Span) -> Iterator[tuple[int, pl.DataFrame]]:
        if self.series.kind == "funding":
            return funding_pages(self.ask, self.unified, self.series.symbol, span)
        return bar_pages(self.ask, self.unified, self.timeframe, span, mark=self.series.kind == "mark")

    def _settled_ms(self) -> int:
        """Until when what happened is final, by the exchange's own clock; a paper exchange's may run fast or stand still."""
        client = self.ask.client
        if client.id == BINANCE:
            now = int(self.ask("fetch_mark_price", self.unified)["timestamp"])
        else:
            now = int(self.ask("fetch_time")) if client.has.get("fetchTime") else client.milliseconds() - WIDEST_ERROR_MS
        return now - (FUNDING_SETTLED_MS if self.series.kind == "funding" else SETTLED_MS)

    def _whole(self, span: Span) -> Span:
        """Whole bars: the one in which the stretch begins, but none that ends after it."""
        step = 1 if self.series.kind == "funding" else self._step_ms
        return span[0] // step * step, span[1] // step * step

    @property
    def _step_ms(self) -> int:
        return FUNDING_STEP_MS if self.series.kind == "funding" else int(self.ask.client.parse_timeframe(self.timeframe)) * 1000

    def _loaded(self, span: Span, new: int) -> Loaded:
        at = pl.col("time").dt.epoch("ms")
        rows = scanned(self.series.files(span), ["time"]).filter(at >= span[0], at < span[1])
        gaps = gaps_of(rows, self._step_ms)
        start, end = (datetime.fromtimestamp(ms / 1000, UTC) for ms in span)
        series = self.series
        return Loaded(
            symbol=series.symbol, kind=series.kind, folder=series.place, start=start, end=end, rows=gaps.rows, new_rows=new, gaps=gaps
        )


def _utc(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
