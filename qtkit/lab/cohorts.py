"""What was known of the market when a position was entered: its regime, its volatility, who paid funding.

By ``qtkit.market``, as the desk would have told them then: from the bars that were complete, so that no label knows what came later.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qtkit import market
from qtkit.core.context import MarketData, classify
from qtkit.core.hints import UNKNOWN, bucket
from qtkit.core.model import Bar, Ticks
from qtkit.lab.arguments import Ints
from qtkit.lab.entries import Entries
from qtkit.lab.series import Bars

Labels = npt.NDArray[np.str_]


class Hours(NamedTuple):
    """The hourly bars of a series, and how many of them were closed when each of its bars was complete."""

    bars: tuple[Bar, ...]
    closed: Ints


@lru_cache(maxsize=2)
def hours_of(bars: Bars) -> Hours:
    """``market.resample`` of every beginning of the series at once: an hour is closed by its last bar, or by a bar of a later hour."""
    hour = bars.time_ms // market.HOUR_MS
    starts = np.flatnonzero(np.r_[True, hour[1:] != hour[:-1]])
    ends = np.r_[starts[1:], len(bars)] - 1
    number = np.repeat(np.arange(len(starts)), ends - starts + 1)
    complete = bars.time_ms + bars.step_ms >= (hour + 1) * market.HOUR_MS
    late = int(bars.time_ms[0] % market.HOUR_MS != 0)  # a first hour that is cut off is left out
    columns = (
        hour[starts] * market.HOUR_MS, bars.open[starts], np.maximum.reduceat(bars.high, starts),
        np.minimum.reduceat(bars.low, starts), bars.close[ends],
    )  # fmt: skip
    made = (
        Bar(time_ms=at, open=Ticks(open_), high=Ticks(high), low=Ticks(low), close=Ticks(close))
        for at, open_, high, low, close in zip(*(column[late:].tolist() for column in columns), strict=True)
    )
    return Hours(tuple(made), np.maximum(number + complete - late, 0))


def markets(bars: Bars, entries: Entries) -> list[MarketData]:
    """Volatility, trend and regime at each entry; an entry inside its bar knows the bars before it alone."""
    hours = hours_of(bars)
    last = entries.bar - entries.inside
    closed = np.where(last >= 0, hours.closed[np.maximum(last, 0)], 0)
    told: dict[int, MarketData] = {}
    for count in np.unique(closed).tolist():
        known = hours.bars[max(0, count - market.DAY_HOURS - 1) : count]
        swing, direction = market.volatility(known), market.trend(known)
        told[count] = MarketData(volatility=swing, trend=direction, regime=classify(swing, direction))
    return [told[count] for count in closed.tolist()]


def regimes(bars: Bars, entries: Entries) -> Labels:
    """The regime at each entry."""
    return np.array([UNKNOWN if it.regime is None else it.regime.value for it in markets(bars, entries)], str)


def volatilities(bars: Bars, entries: Entries) -> Labels:
    """The volatility at each entry, as a bucket."""
    return np.array([bucket(it.volatility) for it in markets(bars, entries)], str)


def fundings(bars: Bars, entries: Entries) -> Labels:
    """Who paid at the last funding known at each entry: ``longs pay``, ``shorts pay``, or ``unknown``."""
    if bars.funding is None:
        return np.full(len(entries), UNKNOWN)
    paid = np.diff(bars.funding, prepend=0)
    newest = np.maximum.accumulate(np.where(paid != 0, np.arange(len(bars)), -1))
    known = entries.bar - entries.inside
    last = np.where(known >= 0, newest[np.maximum(known, 0)], -1)
    sign = np.where(last >= 0, np.sign(paid[last]), 0)
    return np.asarray(np.array(["shorts pay", UNKNOWN, "longs pay"])[sign + 1], np.str_)


OF_MARKET = {"regime": regimes, "volatility": volatilities, "funding": fundings}
"""The groups that are told from the bars."""
