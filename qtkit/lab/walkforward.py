"""Whether choosing serves: the best policy of what is past, tried on what follows, again and again."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from qtkit.core.model import PolicyError
from qtkit.core.names import suggestion
from qtkit.lab.arguments import Ints
from qtkit.lab.resampling import block_length, interval
from qtkit.lab.result import Floats, Result
from qtkit.lab.significance import effective

METRICS = ("net_bps", "gross_bps", "net_r", "bps_per_day", "win_pct")
"""Columns of a result's table by which a policy can be chosen: more of them is better."""


FIGURES = ("net_bps", "gross_bps", "fees_bps", "funding_bps", "net_r", "win_pct", "days_held")
COLUMNS = ("in_sample", "out_of_sample", "grid")
SAMPLES = 2_000


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WalkForward:
    """``folds``: a row a test, see ``walk_forward``. ``mean_bps``: mean net bps of all ``entries`` that chosen policies took in tests.

    ``low_bps`` to ``high_bps`` is its 95 % interval (stationary bootstrap of these entries in their order), ``effective`` how many entries
    that do not overlap they are worth.

    ``report`` is a row a figure, in sample and out of sample side by side: net, gross, and between them fees and funding (what was paid).
    ``in_sample`` are the chosen policies where they were chosen, each fold weighing as many entries as it was tested on, so that both
    columns are of the same policies in the same parts; ``grid`` is the average policy on the tested entries. In sample there is no
    interval: the best of many has no honest one there. ``metric`` and ``anchored`` are what was asked for.
    """

    folds: pl.DataFrame
    metric: str
    anchored: bool
    entries: int
    mean_bps: float
    low_bps: float
    high_bps: float
    effective: float
    report: pl.DataFrame

    def __str__(self) -> str:
        found = f"{self.mean_bps:+.1f} bps ({self.low_bps:+.1f} to {self.high_bps:+.1f}, 95 %) out of sample"
        return f"{found} on {self.entries} entries of {len(self.folds)} folds"

    def __repr__(self) -> str:
        from qtkit.lab import sheets

        return repr(sheets.walked(self))

    def _repr_html_(self) -> str:
        from qtkit.lab import sheets

        return sheets.walked(self)._repr_html_()


@dataclass(frozen=True, slots=True)
class _Fold:
    """Entries to choose on and to try, how many were purged, and the policy that was chosen."""

    begin: int
    end: int
    past: Ints
    then: Ints
    purged: int
    best: int
    learnt: Floats
    told: Floats


def walk_forward(result: Result, *, folds: int = 5, anchored: bool = True, metric: str = "net_bps", embargo_bars: int = 0) -> WalkForward:
    """Walk-forward analysis (Pardo, *The Evaluation and Optimization of Trading Strategies*, 2008) of one sweep, with purging.

    The time from the first to the last entry is cut into ``folds + 1`` equal stretches: each but the first is a test. The policy with
    the most of ``metric`` is chosen on all that is before the test (``anchored``), or on the one stretch before it. Entries that any
    policy still held when the test began, or ``embargo_bars`` before it, are left out of the choice, ``purged`` (López de Prado,
    *Advances in Financial Machine Learning*, 2018, ch. 7): their end was not known yet, or is near to what is tested.

    Columns: ``begin`` and ``end`` of the test, ``trained``, ``purged`` and ``tested`` entries, number of the ``policy``, its metric
    ``in_sample`` and ``out_of_sample``, the ``grid`` out of sample (mean of all policies), and the policy's ``rank`` there of ``of``
    (1 the best). Passed-over entries count for no policy. Raises ``PolicyError`` for a stretch without entries, or an unknown metric.
    """
    if metric not in METRICS:
        raise PolicyError(f"a policy cannot be chosen by '{metric}': {suggestion(metric, METRICS)}")
    if folds < 1:
        raise PolicyError(f"folds is how often a choice is tried, at least once; got {folds}")
    if embargo_bars < 0:
        raise PolicyError(f"embargo_bars is how long before a test nothing may have ended, from 0; got {embargo_bars}")
    at = result.entries.bar
    last = at + result.held.max(1, initial=0)  # refuses a sweep that kept statistics alone
    edges = _edges(result, folds)
    made: list[_Fold] = []
    for number, (begin, end) in enumerate(pairwise(edges[1:])):
        known = (at >= (0 if anchored else edges[number])) & (at < begin)
        past, then = np.flatnonzero(known & (last < begin - embargo_bars)), np.flatnonzero((at >= begin) & (at < end))
        learnt, told = _figures(result, past, metric), _figures(result, then, metric)
        if np.isnan(learnt).all() or np.isnan(told).all():
            raise PolicyError(
                f"fold {number + 1} of {folds} has {len(past)} entries to choose on and {len(then)} to try; ask for fewer folds"
            )
        purged = int(known.sum()) - len(past)
        made.append(_Fold(int(begin), int(end), past, then, purged, int(np.nanargmax(learnt)), learnt, told))
    return _told(result, made, metric, anchored)


def _told(result: Result, made: list[_Fold], metric: str, anchored: bool) -> WalkForward:
    net, at, held = result.net_bps, result.entries.bar, result.held
    tried = [fold.then[~np.isnan(net[fold.then, fold.best])] for fold in made]
    pairs = [(rows, np.full(len(rows), fold.best)) for rows, fold in zip(tried, made, strict=True)]
    rows, policies = (np.concatenate(part) for part in zip(*pairs, strict=True))
    pooled, mean, low, high, worth = net[rows, policies], *[float("nan")] * 4
    if len(pooled):
        start, end = at[rows], at[rows] + np.maximum(held[rows, policies], 1)
        mean, worth = float(pooled.mean()), effective(start, end)
        low, high = interval(pooled, block_length(start, end), SAMPLES, 0)
    weight = np.array([len(part) for part in tried])
    frame = pl.DataFrame([_row(result, fold, int(count)) for fold, count in zip(made, weight, strict=True)])
    return WalkForward(
        folds=frame.with_columns(pl.col("begin", "end").cast(pl.Datetime("ms", "UTC")), pl.col("rank").cast(pl.Int64)),
        metric=metric, anchored=anchored, entries=len(pooled), mean_bps=mean, low_bps=low, high_bps=high, effective=worth,
        report=_report(result, made, weight, {"low_bps": low, "high_bps": high, "effective": worth}),
    )  # fmt: skip


def _row(result: Result, fold: _Fold, tested: int) -> dict[str, object]:
    told, best = fold.told, fold.best
    return {
        "begin": result.bars.time_ms[fold.begin], "end": result.bars.closes_ms()[fold.end - 1], "trained": len(fold.past),
        "purged": fold.purged, "tested": tested, "policy": best, "in_sample": fold.learnt[best], "out_of_sample": told[best],
        "grid": float(np.nanmean(told)), "rank": None if np.isnan(told[best]) else 1 + int((told > told[best]).sum()),
        "of": int((~np.isnan(told)).sum()),
    }  # fmt: skip


def _report(result: Result, made: list[_Fold], weight: Ints, sure: dict[str, float]) -> pl.DataFrame:
    """The figures of the chosen policies where they were chosen and where they were tried, and of the whole grid there."""
    every = np.concatenate([fold.then for fold in made])
    used = [(fold, int(count)) for fold, count in zip(made, weight, strict=True) if count]
    shares = [count for _, count in used]
    sizes = float(np.mean([len(fold.past) for fold in made])), float(weight.mean()), len(every) / len(made)
    rows: list[tuple[str, float | None, float | None, float | None]] = [("entries a fold", *sizes)]
    for name in FIGURES if used else ():
        inside = [_costed(result, fold.past, name)[fold.best] for fold, _ in used]
        outside = [_costed(result, fold.then, name)[fold.best] for fold, _ in used]
        anyone = float(np.nanmean(_costed(result, every, name)))
        rows.append((name, float(np.average(inside, weights=shares)), float(np.average(outside, weights=shares)), anyone))
    rows += [(name, None, value, None) for name, value in sure.items()]
    return pl.DataFrame(rows, schema={"figure": pl.String, **dict.fromkeys(COLUMNS, pl.Float64)}, orient="row")


def _costed(result: Result, rows: Ints, name: str) -> Floats:
    """A figure of each policy on some entries, money as the outcomes hold it, to the last digit; NaN of a policy that took none."""
    out = result.outcomes
    assert out is not None
    took, price = out.why[rows] > 0, result.entries.price[rows, None]
    nothing = np.zeros_like(out.gross)
    money: dict[str, npt.NDArray[np.int64]] = {
        "net_bps": result.net, "gross_bps": out.gross, "fees_bps": out.fees if len(out.fees) else nothing,
        "funding_bps": out.paid if len(out.paid) else nothing,
    }  # fmt: skip
    if name not in money:
        return _figures(result, rows, name)
    count = took.sum(0)
    sums = np.where(took, money[name][rows] / price, 0.0).sum(0)
    return np.asarray(np.divide(sums, count, out=np.full(len(count), np.nan), where=count > 0))


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
