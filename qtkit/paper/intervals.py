"""Lengths of bars by Binance's names: aligned to the epoch up to a day, then three days, a week from Monday, a month, in UTC."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from qtkit.core.model import TriggerBy
from qtkit.paper.candles import Candle, joined

MINUTE_MS = 60_000
DAY_MINUTES, MOST_DAYS = 1_440, 10_000
INTERVALS: Mapping[str, int] = {
    "1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "6h": 360, "8h": 480, "12h": 720, "1d": DAY_MINUTES,
}  # fmt: skip
"""Minutes of those that divide a day."""
LONG = ("3d", "1w", "1M")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Charted(Protocol):
    """What is needed of an exchange."""

    def candles(
        self, symbol: str, by: TriggerBy, *, minutes: int = 1, limit: int = 500, start_ms: int | None = None, end_ms: int | None = None
    ) -> tuple[Candle, ...]: ...


def bounds(time_ms: int, interval: str) -> tuple[int, int]:
    """Where the bar that a moment belongs to begins, and where the next one does. Three days are counted from the epoch."""
    if interval in INTERVALS:
        span = INTERVALS[interval] * MINUTE_MS
        start_ms = time_ms // span * span
        return start_ms, start_ms + span
    day = _EPOCH + timedelta(milliseconds=time_ms)
    midnight = day.replace(hour=0, minute=0, second=0, microsecond=0)
    if interval == "1M":
        start = midnight.replace(day=1)
        end = (start + timedelta(days=32)).replace(day=1)
    elif interval == "1w":
        start = midnight - timedelta(days=midnight.weekday())
        end = start + timedelta(days=7)
    else:
        start = midnight - timedelta(days=(midnight - _EPOCH).days % 3)
        end = start + timedelta(days=3)
    return _ms(start), _ms(end)


def bars(
    exchange: Charted, symbol: str, by: TriggerBy, interval: str, *, limit: int, start_ms: int | None = None, end_ms: int | None = None
) -> tuple[Candle, ...]:
    """Bars of an interval, oldest first, the running one last: the first ``limit`` from ``start_ms`` on, else the newest."""
    if interval in INTERVALS:
        return exchange.candles(symbol, by, minutes=INTERVALS[interval], limit=limit, start_ms=start_ms, end_ms=end_ms)
    days = exchange.candles(symbol, by, minutes=DAY_MINUTES, limit=MOST_DAYS)
    rows = [bar for bar in gathered(days, interval) if (start_ms or 0) <= bar.time_ms and (end_ms is None or bar.time_ms <= end_ms)]
    return tuple(rows[-limit:] if start_ms is None else rows[:limit])


def gathered(shorter: Iterable[Candle], interval: str) -> list[Candle]:
    """Bars, oldest first, as bars of a longer interval."""
    found: list[Candle] = []
    for bar in shorter:
        start_ms, _ = bounds(bar.time_ms, interval)
        if found and found[-1].time_ms == start_ms:
            found[-1] = joined(found[-1], bar)
        else:
            found.append(replace(bar, time_ms=start_ms))
    return found


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
