"""Bars longer than a day: three days, a week from Monday, a month of the calendar, in UTC."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from qtkit.core.model import E8
from qtkit.paper.rows import Candle

LONG = ("3d", "1w", "1M")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def bounds(time_ms: int, interval: str) -> tuple[int, int]:
    """Where the bar that a day belongs to begins, and where the next one does. Three days are counted from the epoch."""
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


def merged(days: Iterable[Candle], interval: str) -> list[tuple[Candle, int]]:
    """Daily bars, oldest first, gathered into longer ones, each with the time at which it ends."""
    found: list[tuple[Candle, int]] = []
    for day in days:
        start, end = bounds(day.time_ms, interval)
        if not found or found[-1][1] != end:
            found.append((Candle(time_ms=start, open=day.open, high=day.high, low=day.low, close=day.close, ticks=day.ticks), end))
            continue
        bar = found[-1][0]
        high, low = E8(max(bar.high, day.high)), E8(min(bar.low, day.low))
        found[-1] = Candle(time_ms=start, open=bar.open, high=high, low=low, close=day.close, ticks=bar.ticks + day.ticks), end
    return found


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
