"""What is missing in a series: how often, how much, and the largest hole with its time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

MINUTE_MS = 60_000
FUNDING_STEP_MS = 8 * 60 * MINUTE_MS
"""The longest interval of fundings on Binance; shorter ones come and go, so that only what lies further apart is surely a gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """Rows of a series and its holes. ``missing`` counts rows, ``minutes`` their time; the largest hole begins at ``largest_at``."""

    rows: int = 0
    first: datetime | None = None
    last: datetime | None = None
    count: int = 0
    missing: int = 0
    minutes: int = 0
    largest_minutes: int = 0
    largest_at: datetime | None = None

    def __str__(self) -> str:
        if not self.count:
            return "no gaps"
        gaps = "1 gap" if self.count == 1 else f"{self.count:,} gaps"
        at = f"{self.largest_at:%Y-%m-%d %H:%M}" if self.largest_at else "?"
        return f"{gaps} of {self.minutes:,} min together, the largest {self.largest_minutes:,} min from {at}"


NONE = Gaps()
"""Of no rows."""


def gaps_of(rows: pl.LazyFrame, step_ms: int) -> Gaps:
    """The holes between rows that should be ``step_ms`` apart; ``time`` must rise. Read in passes, never held whole."""
    apart = pl.col("time").diff().dt.total_milliseconds()
    lost = (apart + step_ms // 2) // step_ms - 1  # a funding is told some milliseconds late
    found = (
        rows.select(
            pl.len().alias("rows"),
            pl.col("time").first().alias("first"),
            pl.col("time").last().alias("last"),
            (lost > 0).sum().alias("count"),
            lost.filter(lost > 0).sum().alias("missing"),
            lost.max().alias("largest"),
            pl.col("time").get(lost.arg_max(), null_on_oob=True).alias("next"),
        )
        .collect(engine="streaming")
        .row(0, named=True)
    )
    if not found["count"]:
        return Gaps(rows=found["rows"], first=found["first"], last=found["last"])
    largest_ms = found["largest"] * step_ms
    return Gaps(
        rows=found["rows"],
        first=found["first"],
        last=found["last"],
        count=found["count"],
        missing=found["missing"],
        minutes=found["missing"] * step_ms // MINUTE_MS,
        largest_minutes=largest_ms // MINUTE_MS,
        largest_at=found["next"] - timedelta(milliseconds=largest_ms),
    )


def step_of(rows: pl.LazyFrame) -> int | None:
    """The commonest distance of neighbours in ms, or None for fewer than two rows."""
    apart = pl.col("time").diff().dt.total_milliseconds().alias("apart")
    ranked = rows.select(apart).filter(pl.col("apart") > 0).group_by("apart").len().sort("len", "apart", descending=[True, False])
    found = ranked.head(1).collect(engine="streaming")
    return int(found["apart"][0]) if len(found) else None


def scanned(files: Sequence[Path], columns: Sequence[str]) -> pl.LazyFrame:
    """Files of one series in order as one lazy frame of ``columns``."""
    return pl.concat([pl.scan_parquet(path).select(*columns) for path in files])
