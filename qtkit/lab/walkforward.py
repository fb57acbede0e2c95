"""Whether choosing serves: the best policy of what is past, tried on what follows, again and again."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from qtkit.core.model import PolicyError
from qtkit.core.names import suggestion
from qtkit.lab.arguments import Ints
from qtkit.lab.result import Floats, Result

METRICS = ("net_bps", "gross_bps", "net_r", "bps_per_day", "win_pct")
"""Columns of a result's table by which a policy can be chosen: more of them is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkForward:
    """``folds``: a row a test, see ``walk_forward``. ``mean_bps``: mean net bps of all ``entries`` that chosen policies took in tests."""

    folds: pl.DataFrame
    entries: int
    mean_bps: float

    def __str__(self) -> str:
        return f"{self.mean_bps:+.1f} bps out of sample on {self.entries} entries of {len(self.folds)} folds"


def walk_forward(result: Result, *, folds: int = 5, anchored: bool = True, metric: str = "net_bps") -> WalkForward:
    """Walk-forward analysis (Pardo, *The Evaluation and Optimization of Trading Strategies*, 2008) of one sweep, with purging.

    The time from the first to the last entry is cut into ``folds + 1`` equal stretches: each but the first is a test. The policy with
    the most of ``metric`` is chosen on all that is before the test (``anchored``), or on the one stretch before it. Entries that any
    policy still held when the test began are left out of the choice, ``purged`` (López de Prado, *Advances in Financial Machine
    Learning*, 2018, ch. 7): their end was not known yet.

    Columns: ``begin`` and ``end`` of the test, ``trained``, ``purged`` and ``tested`` entries, number of the ``policy``, its metric
    ``in_sample`` and ``out_of_sample``, the ``grid`` out of sample (mean of all policies), and the policy's ``rank`` there of ``of``
    (1 the best). Passed-over entries count for no policy. Raises ``PolicyError`` for a stretch without entries, or an unknown metric.
    """
    if metric not in METRICS:
        raise PolicyError(f"a policy cannot be chosen by '{metric}': {suggestion(metric, METRICS)}")
    if folds < 1:
        raise PolicyError(f"folds is how often a choice is tried, at least once; got {folds}")
    net, at = result.net_bps, result.entries.bar  # refuses a sweep that kept statistics alone
    last = at + result.held.max(1, initial=0)
    edges = _edges(result, folds)
    rows: list[dict[str, object]] = []
    brought: list[Floats] = []
    for number, (begin, end) in enumerate(pairwise(edges[1:])):
        known = (at >= (0 if anchored else edges[number])) & (at < begin)
        past, then = np.flatnonzero(known & (last < begin)), np.flatnonzero((at >= begin) & (at < end))
        learnt, told = _figures(result, past, metric), _figures(result, then, metric)
        if np.isnan(learnt).all() or np.isnan(told).all():
            raise PolicyError(
                f"fold {number + 1} of {folds} has {len(past)} entries to choose on and {len(then)} to try; ask for fewer folds"
            )
        best = int(np.nanargmax(learnt))
        own = net[then, best]
        brought.append(own[~np.isnan(own)])
        rows.append({
            "begin": result.bars.time_ms[begin], "end": result.bars.closes_ms()[end - 1], "trained": len(past),
            "purged": int(known.sum()) - len(past), "tested": len(brought[-1]), "policy": best, "in_sample": learnt[best],
            "out_of_sample": told[best], "grid": float(np.nanmean(told)),
            "rank": None if np.isnan(told[best]) else 1 + int((told > told[best]).sum()), "of": int((~np.isnan(told)).sum()),
        })  # fmt: skip
    pooled = np.concatenate(brought)
    frame = pl.DataFrame(rows).with_columns(pl.col("begin", "end").cast(pl.Datetime("ms", "UTC")), pl.col("rank").cast(pl.Int64))
    return WalkForward(folds=frame, entries=len(pooled), mean_bps=float(pooled.mean()) if len(pooled) else float("nan"))


def _edges(result: Result, folds: int) -> Ints:
    """The bars at which the stretches begin, and the one after the last entry: by time, so that a hole is as long as it was."""
    time, at = result.bars.time_ms, result.entries.bar
    if not len(at):
        raise PolicyError("there are no entries to choose on")
    first, last = int(time[at.min()]), int(time[at.max()])
    return np.asarray(np.searchsorted(time, np.linspace(first, last + 1, folds + 2).astype(np.int64)), np.int64)


def _figures(result: Result, rows: Ints, metric: str) -> Floats:
    """A metric of each policy on some entries; NaN of a policy that took none of them."""
    sums = result.sums_of(rows)
    values = np.asarray(result.table_of(sums)[metric].to_numpy(), float)
    return np.where(sums.entries > 0, values, np.nan)
