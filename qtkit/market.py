"""Bars -> the market data that the planner asks for, in integers. Too few bars mean "not known", never a guess.

Bars are oldest first, prices in ticks; a running bar (``closed`` False) is left out everywhere.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import isqrt

from qtkit.core.context import MarketData, classify
from qtkit.core.model import E8, Bar, Bps, PolicyError

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
DAY_HOURS = 24
ATR_HOURS = 47
"""Hours whose bars an ATR is reckoned from: whoever knows more of them (the lab) gets the same as the desk."""
_FINE = 100_000_000  # returns are kept in 1e-8


def resample(bars: Sequence[Bar], minutes: int = 60) -> tuple[Bar, ...]:
    """Bars of ``minutes`` from finer ones. Holes stay holes; the last bar is closed when a later one began or its last minute is in.

    A first bar that begins late is left out: its high and low are not known. Raises ``PolicyError`` when bars are out of order.
    """
    span = minutes * MINUTE_MS
    groups: list[list[Bar]] = []
    for bar in bars:
        if groups and bar.time_ms <= groups[-1][-1].time_ms:
            raise PolicyError(f"bars must be oldest first, each once: {bar.time_ms} follows {groups[-1][-1].time_ms}")
        if groups and bar.time_ms // span == groups[-1][0].time_ms // span:
            groups[-1].append(bar)
        else:
            groups.append([bar])
    if groups and groups[0][0].time_ms % span:
        groups = groups[1:]
    step = min((b.time_ms - a.time_ms for a, b in pairwise(bars)), default=MINUTE_MS)
    return tuple(_merged(group, span, step, last=group is groups[-1]) for group in groups)


def _merged(group: Sequence[Bar], span: int, step: int, *, last: bool) -> Bar:
    start = group[0].time_ms // span * span
    complete = group[-1].closed and group[-1].time_ms + step >= start + span
    return Bar(
        time_ms=start,
        open=group[0].open,
        high=max(bar.high for bar in group),
        low=min(bar.low for bar in group),
        close=group[-1].close,
        closed=complete or not last,
    )


def _closed(bars: Sequence[Bar]) -> list[Bar]:
    return [bar for bar in bars if bar.closed]


def atr(bars: Sequence[Bar], tick: E8, n: int = 14) -> E8 | None:
    """Wilder's average true range in price (E8): the mean of the first ``n`` true ranges, then ``(n - 1) / n`` old and ``1 / n`` new.

    Rounded down at each step, by less than 1e-8 of the quote coin. None below ``n + 1`` closed bars.
    """
    closed = _closed(bars)
    if n < 1 or len(closed) < n + 1:
        return None
    ranges = [(max(bar.high, before.close) - min(bar.low, before.close)) * tick for before, bar in pairwise(closed)]
    average = sum(ranges[:n]) // n
    for true_range in ranges[n:]:
        average = (average * (n - 1) + true_range) // n
    return E8(average) if average > 0 else None


def volatility(bars: Sequence[Bar], hours: int = DAY_HOURS) -> Bps | None:
    """Realised volatility of hourly closes, scaled to a day, bps of the price: root of the mean squared return times 24.

    None below ``hours + 1`` closed hourly bars.
    """
    closed = _closed(bars)[-hours - 1 :]
    if len(closed) < hours + 1:
        return None
    squares = sum(((b.close - a.close) * _FINE // a.close) ** 2 for a, b in pairwise(closed))
    return Bps(isqrt(squares * DAY_HOURS // hours) * 10_000 // _FINE)


def trend(bars: Sequence[Bar], hours: int = DAY_HOURS) -> Bps | None:
    """Trend strength over ``hours`` hourly closes, -10,000 to 10,000 bps: the way made good by the way walked (Kaufman's efficiency).

    None below ``hours + 1`` closed bars; 0 where the price did not move.
    """
    closed = _closed(bars)[-hours - 1 :]
    if len(closed) < hours + 1:
        return None
    walked = sum(abs(b.close - a.close) for a, b in pairwise(closed))
    made = closed[-1].close - closed[0].close
    part = abs(made) * 10_000 // walked if walked else 0
    return Bps(part if made >= 0 else -part)


def market_data(bars: Sequence[Bar], tick: E8, *, funding_paid: E8 | None = None) -> MarketData:
    """ATR(14, 1h), volatility, trend and regime from bars of an hour or finer; what the bars are too few for stays unknown."""
    hourly = resample(bars, 60)
    swing, direction, closed = volatility(hourly), trend(hourly), _closed(hourly)[-ATR_HOURS:]
    return MarketData(
        volatility=swing, trend=direction, atr=atr(closed, tick), regime=classify(swing, direction), funding_paid=funding_paid,
        close=E8(closed[-1].close * tick) if closed else None,
    )  # fmt: skip
