"""Bars and entries to try things on: made by a seed, the same on every machine, and no market."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from qtkit.bars import BarsError
from qtkit.core.model import ONE
from qtkit.lab.arguments import Ints
from qtkit.lab.asked import refuse_count, refuse_words
from qtkit.lab.entries import SIDES, Entries, at_close
from qtkit.lab.series import Bars, load, refuse_no_bars

MINUTE_MS = 60_000
DAY = 1_440  # minutes
FUNDING_MINUTES = 480
MINUTES_2024 = 1_704_067_200_000  # 2024-01-01 00:00 UTC
TICK = 10_000_000  # 0.1
START = 400_000  # ticks: 40,000.0
LOWEST = START // 5
STEP = 110  # ticks that a leg moves in the usual mood: 0.03 % of the price, about 2 % a day
LEGS = 4  # moves inside a minute
MOODS = (240, 2_880)  # minutes between changes of volatility, and of drift
SWING, DRIFT = (500, 1_900), 18  # thousandths of the usual volatility, from and how much more; tenths of a tick a leg at most


def example(seed: int = 7, days: int = 30, *, symbol: str = "EXAMPLEUSDT") -> Bars:
    """Minute bars of a made market, with funding: volatility comes in clusters, drift lasts for days, prices lie on a tick of 0.1.

    Whole numbers all the way, so that a seed means the same bars on every machine. What an exit earns here says how the lab reckons,
    and nothing of a market. Raises ``BarsError`` for less than a day.
    """
    if days < 1:
        raise BarsError(f"an example needs at least one day of bars, got {days}")
    n = days * DAY
    noise = sum(_draws(seed, lane, n * LEGS, 2_001).astype(np.int64) - 1_000 for lane in range(3))
    swing = SWING[0] + np.repeat(_draws(seed, 3, n // MOODS[0] + 1, SWING[1]).astype(np.int64), MOODS[0])[:n]
    drift = np.repeat(_draws(seed, 4, n // MOODS[1] + 1, 2 * DRIFT + 1).astype(np.int64) - DRIFT, MOODS[1])[:n]
    moves = (noise * np.repeat(swing, LEGS) * STEP + 500_000) // 1_000_000  # to nearest: rounded down they would make a drift
    path = np.maximum(START + np.cumsum(moves) + np.cumsum(np.repeat(drift, LEGS)) // 10, LOWEST)
    return load(_frame(path, n), symbol=symbol, tick=TICK / ONE, funding=_funding(seed, n))


def _draws(seed: int, lane: int, n: int, below: int) -> npt.NDArray[np.uint64]:
    """Whole numbers from 0 up to, not including, ``below``: a counter, mixed (splitmix64), which no version of a library changes."""
    with np.errstate(over="ignore"):
        state = np.arange(1, n + 1, dtype=np.uint64) + np.uint64((seed * 64 + lane) % 2**40 << 24)
        state *= np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (state ^ (state >> np.uint64(31))) % np.uint64(below)


def _frame(path: Ints, n: int) -> pl.DataFrame:
    legs = path.reshape(n, LEGS)
    opened = np.concatenate(([START], legs[:-1, -1]))
    whole = np.column_stack((opened, legs))
    prices = {"open": opened, "high": whole.max(1), "low": whole.min(1), "close": legs[:, -1]}
    columns = {name: values * TICK / ONE for name, values in prices.items()}
    return pl.DataFrame({"time": _times(n, 1), **columns, "volume": np.ones(n)}).with_columns(_as_time())


def _funding(seed: int, n: int) -> pl.DataFrame:
    count = n // FUNDING_MINUTES
    rates = (_draws(seed, 5, count, 301).astype(np.int64) - 50) / 1_000_000  # -0.5 to +2.5 bp
    return pl.DataFrame({"time": _times(count, FUNDING_MINUTES), "rate": rates}).with_columns(_as_time())


def _times(n: int, minutes: int) -> Ints:
    return MINUTES_2024 + np.arange(n, dtype=np.int64) * minutes * MINUTE_MS


def _as_time() -> pl.Expr:
    return pl.col("time").cast(pl.Datetime("ms", "UTC"))


def breakouts(bars: Bars, *, bars_back: int = DAY, side: Literal["long", "short", "both"] = "both") -> Entries:
    """Entries at the close of bars that close beyond all of the ``bars_back`` before them, the first after as many that did not.

    The plainest entry that follows the market; exits are compared on it, nothing is recommended. Raises ``BarsError`` if there is none.
    """
    refuse_no_bars(bars)
    refuse_words(side=(side, ("long", "short", "both")))
    refuse_count("bars_back", bars_back, "bars")
    close, high, low = pl.Series(bars.close), pl.Series(bars.high), pl.Series(bars.low)
    beyond = {
        "long": (close > high.rolling_max(bars_back).shift(1)).fill_null(False),
        "short": (close < low.rolling_min(bars_back).shift(1)).fill_null(False),
    }
    sign = np.zeros(len(bars), np.int64)
    for name, broke in beyond.items():
        if side in (name, "both"):
            before = broke.cast(pl.Int8).rolling_max(bars_back, min_samples=1).shift(1).fill_null(0)
            sign[(broke & (before == 0)).to_numpy()] = SIDES[name]
    bar = np.flatnonzero(sign)
    if not len(bar):
        raise BarsError(f"{bars.source}: no bar closes beyond the {bars_back} before it; give more bars, or look back over fewer")
    return at_close(bars, bar, sign[bar])
