"""Bars that do not tell what came first: the worst, the best and a sampled order side by side, and who can be ranked at all."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from qtkit.bars import BarsError
from qtkit.core.model import PolicyError
from qtkit.core.policy import ExitPolicy
from qtkit.lab.arguments import Ints
from qtkit.lab.asked import kind_of
from qtkit.lab.bridge import high_first
from qtkit.lab.costs import Costs
from qtkit.lab.entries import Entries
from qtkit.lab.finer import Finer, looked_up
from qtkit.lab.grid import Grid
from qtkit.lab.result import Floats, Result, places
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
    resolve: Finer | None = None,
) -> pl.DataFrame:
    """A row a policy, the best worst case first: net bps at the ``worst``, ``sampled`` and ``best`` order inside the bars.

    ``ambiguous`` outcomes, ``ambiguous_pct`` of all, and ``hangs_pct`` of the pnl (absolute), hang on bars in which a stop and a target
    could both have been first. Sampled: the favourable side came first as often as in a walk from the bar's open to its close
    (``bridge``); of an entry inside its bar it came after the entry as often as the adverse one came first in the bar. An entry is drawn
    once for all policies, ``samples`` times, of which ``spread_bps`` is the deviation; the targets of one bar go together, all or none.

    Policies whose bands touch are not ranked: ``rank_from`` and ``rank_to`` are the places that each may have. A band is not about
    chance: that is ``compare``.

    ``one_at_a_time`` passes over entries while the position before them is open, by the exits of each order: an early exit in one order
    lets in entries that another passes over. Means are then of different entries, so that ``sampled`` can lie outside of the other two
    and ``best`` below ``worst``; the share of outcomes and of pnl is of the entries that the worst order takes.

    ``resolve`` are bars of a finer step of the same symbol (of recorded trades: ``from_trades``), or a function of (from, until) in ms that
    gives them: where they are all of an ambiguous bar the order is read from them (``resolved`` outcomes), and what is still open is what
    their own order leaves open. Raises as ``sweep`` does, and ``BarsError`` for finer bars that do not fit.
    """
    if resolve is not None and not isinstance(resolve, Bars) and not callable(resolve):
        raise BarsError(f"resolve are finer bars (lab.load, lab.from_trades) or a function that gives them; got {kind_of(resolve)}")
    if samples < 1:
        raise PolicyError(f"samples is how often the order inside the bars is drawn, at least once; got {samples}")
    worst, best = (_swept(bars, entries, grid, costs, fill) for fill in ("worst", "best"))
    assert worst.outcomes is not None and best.outcomes is not None
    low, high, resolved = _read(worst, best, resolve)
    ends = worst.outcomes.bar, best.outcomes.bar
    begins = worst.entries.bar if one_at_a_time else None
    took, took_best = _took(begins, ends[0]), _took(begins, ends[1])
    chance = _favourable_first(worst, best)
    drawn = np.empty((samples, len(worst)))
    for number, path in enumerate(np.random.default_rng(seed).random((samples, len(low)))):
        lucky = path[:, None] < chance
        drawn[number] = _mean(np.where(lucky, high, low), _took(begins, np.where(lucky, ends[1], ends[0])))
    hangs, all_of_it = np.abs(high - low) * took, np.maximum(np.abs(low), np.abs(high)) * took
    columns = {
        "worst_bps": _mean(low, took), "sampled_bps": drawn.mean(0), "spread_bps": drawn.std(0), "best_bps": _mean(high, took_best),
        "ambiguous": (hangs > 0).sum(0), "ambiguous_pct": 100 * _mean(hangs > 0, took),
        "hangs_pct": 100 * hangs.sum(0) / np.maximum(all_of_it.sum(0), 1e-12), "resolved": (resolved & took).sum(0),
    }  # fmt: skip
    columns["rank_from"], columns["rank_to"] = places(columns["worst_bps"], columns["best_bps"])
    frame = worst.grid.frame().with_columns(pl.Series(name, values) for name, values in columns.items())
    return frame.sort("worst_bps", descending=True, maintain_order=True)


def _read(worst: Result, best: Result, resolve: Finer | None) -> tuple[Floats, Floats, Bools]:
    """Net bps of the worst and the best order, [entries, policies], as far as finer bars leave it open, and where they told it."""
    low, high = worst.net_bps, best.net_bps
    resolved = np.zeros(low.shape, np.bool_)
    if resolve is not None:
        rows, policies = np.nonzero((low != high) & _at_one_bar(worst, best))
        told = looked_up(worst, rows, policies, resolve)
        known = ~np.isnan(told[0])
        rows, policies = rows[known], policies[known]
        low[rows, policies], high[rows, policies], resolved[rows, policies] = told[0][known], told[1][known], True
    return low, high, resolved


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


def _at_one_bar(worst: Result, best: Result) -> Bools:
    """Outcomes that end in the same bar after that of the entry: what parts them is what came first there."""
    assert worst.outcomes is not None and best.outcomes is not None
    return np.asarray((worst.outcomes.bar == best.outcomes.bar) & (worst.outcomes.bar > worst.entries.bar[:, None]))


def _favourable_first(worst: Result, best: Result) -> Floats:
    """The chance of the best order, [entries, policies]; 0 where it is as the worst."""
    assert worst.outcomes is not None
    rows, policies = np.nonzero(worst.net != best.net)
    own = ~_at_one_bar(worst, best)[rows, policies]
    bar = np.where(own, worst.entries.bar[rows], worst.outcomes.bar[rows, policies])
    side, scan = (worst.entries.sign[rows] < 0).astype(np.int64), worst.bars.scan
    opened, close, low, high = (part[side, bar].astype(float) for part in (scan.open, scan.close, scan.adverse, scan.favour))
    chance = high_first(high - opened, opened - low, close - opened)
    made = np.zeros(worst.net.shape)
    made[rows, policies] = np.where(own, 1 - chance, chance)  # of an entry inside its bar the better extreme is the one that came last
    return made
