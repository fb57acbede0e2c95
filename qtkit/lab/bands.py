"""Bars that do not tell what came first: the worst, the best and a sampled order side by side, and who can be ranked at all."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from qtkit.core.model import PolicyError
from qtkit.core.policy import ExitPolicy
from qtkit.lab.arguments import Ints
from qtkit.lab.costs import Costs
from qtkit.lab.entries import Entries
from qtkit.lab.grid import Grid
from qtkit.lab.result import Floats, Result
from qtkit.lab.series import Bars
from qtkit.lab.sweep import sweep

Bools = npt.NDArray[np.bool_]


def bands(
    bars: Bars,
    entries: "pl.DataFrame | Entries | str",
    grid: "Grid | ExitPolicy | list[ExitPolicy]",
    *,
    costs: Costs | str | None = "account",
    samples: int = 16,
    seed: int = 0,
    one_at_a_time: bool = False,
) -> pl.DataFrame:
    """A row a policy, the best worst case first: net bps at the ``worst``, ``sampled`` and ``best`` order inside the bars.

    ``ambiguous_pct`` of the outcomes, and ``hangs_pct`` of the pnl (absolute), hang on bars in which a stop and a target could both have
    been first. Sampled: a walk without drift from the bar's open reaches the nearer extreme first as often as the other one is farther.
    ``tier`` 1 is the best: policies whose bands touch share one, for the bars do not rank them. Raises as ``sweep`` does.

    ``one_at_a_time`` passes over entries while the position before them is open, by the exits of each order: an early exit in one order
    lets in entries that another passes over. Means are then of different entries, so that ``sampled`` can lie outside of the other two
    and ``best`` below ``worst``; the share of outcomes and of pnl is of the entries that the worst order takes.
    """
    if samples < 1:
        raise PolicyError(f"samples is how often the order inside the bars is drawn, at least once; got {samples}")
    worst, best = (_swept(bars, entries, grid, costs, fill) for fill in ("worst", "best"))
    assert worst.outcomes is not None and best.outcomes is not None
    low, high = worst.net_bps, best.net_bps
    ends = worst.outcomes.bar, best.outcomes.bar
    begins = worst.entries.bar if one_at_a_time else None
    took, took_best = _took(begins, ends[0]), _took(begins, ends[1])
    apart = (low != high) & took
    chance = _favourable_first(worst)
    rng = np.random.default_rng(seed)
    drawn = np.zeros(len(worst))
    for _ in range(samples):
        lucky = rng.random(low.shape) < chance
        drawn += _mean(np.where(lucky, high, low), _took(begins, np.where(lucky, ends[1], ends[0]))) / samples
    hangs, all_of_it = np.abs(high - low), np.maximum(np.abs(low), np.abs(high))
    frame = worst.grid.frame().with_columns(
        pl.Series("worst_bps", _mean(low, took)),
        pl.Series("sampled_bps", drawn),
        pl.Series("best_bps", _mean(high, took_best)),
        pl.Series("ambiguous_pct", 100 * _mean(apart, took)),
        pl.Series("hangs_pct", 100 * (hangs * took).sum(0) / np.maximum((all_of_it * took).sum(0), 1e-12)),
    )
    lowest = np.minimum(frame["worst_bps"].to_numpy(), frame["best_bps"].to_numpy())
    highest = np.maximum(frame["worst_bps"].to_numpy(), frame["best_bps"].to_numpy())
    return frame.with_columns(pl.Series("tier", _tiers(lowest, highest))).sort("tier", "worst_bps", descending=[False, True])


def _swept(
    bars: Bars, entries: "pl.DataFrame | Entries | str", grid: "Grid | ExitPolicy | list[ExitPolicy]", costs: Costs | str | None, fill: str
) -> Result:
    order: Literal["worst", "best"] = "worst" if fill == "worst" else "best"
    return sweep(bars, entries, grid, costs=costs, fill=order, keep="outcomes")


def _took(begins: Ints | None, ends: npt.NDArray[np.int32]) -> Bools:
    """Which entries are taken, [entries, policies]: all, or with the bars of their beginnings those after the exit of the one before."""
    took = np.ones(ends.shape, np.bool_)
    if begins is not None:
        busy = np.full(ends.shape[1], -1, np.int64)
        for row, begin in enumerate(begins):
            took[row] = begin >= busy
            busy = np.where(took[row], ends[row], busy)
    return took


def _mean(values: Floats | Bools, took: Bools) -> Floats:
    """Mean of a policy's entries that are taken, [policies]."""
    return np.asarray(np.where(took, values, 0).sum(0) / np.maximum(took.sum(0), 1), float)


def _favourable_first(result: Result) -> Floats:
    """Chance that the bar of each worst exit went to its favourable extreme first, [entries, policies]."""
    assert result.outcomes is not None
    bars, bar = result.bars, np.maximum(result.outcomes.bar, 0)
    up, down = bars.high[bar] - bars.open[bar], bars.open[bar] - bars.low[bar]
    long = result.entries.sign[:, None] > 0
    favour, adverse = np.where(long, up, down), np.where(long, down, up)
    return np.where(favour + adverse > 0, adverse / np.maximum(favour + adverse, 1), 0.5)


def _tiers(low: Floats, high: Floats) -> Ints:
    """Number of the group of bands that touch one another, the highest first."""
    tiers = np.zeros(len(low), np.int64)
    number, reach = 0, np.inf
    for row in np.argsort(-high, kind="stable"):
        if high[row] < reach:
            number += 1
            reach = low[row]
        tiers[row], reach = number, min(reach, low[row])
    return tiers
