"""How far a position went for and against its trader before it was left, what it gave back, and what the price did after a stop.

MAE and MFE are those of Sweeney, *Maximum Adverse Excursion* (1996); the edge ratio is that of Faith, *Way of the Turtle* (2007).
Of the bar of the exit only its fill counts, and of the bar of an entry inside it only its close: what else these bars traded may have
come after, or before. A position left at the close has seen the whole bar.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from qtkit.core.model import PolicyError
from qtkit.core.names import suggestion
from qtkit.lab.arguments import Ints, Small
from qtkit.lab.asked import refuse_policy
from qtkit.lab.entries import Entries, as_entries
from qtkit.lab.kernels import BREAK_EVEN, STOP, TIME
from qtkit.lab.result import WHOLE, Result
from qtkit.lab.series import Bars

AT_ONCE = 1 << 21  # prices that are looked at together
NEVER = -1
LOWEST = -(2**31)


@dataclass(frozen=True, eq=False)
class Excursions:
    """The excursions of the entries that one policy took: ``frame`` has a row each.

    ``mae_bps``, ``mfe_bps`` of the entry's price and ``mae_r``, ``mfe_r`` of the distance to the initial stop, none below zero;
    ``mae_bars`` and ``mfe_bars`` from the entry to the first bar that went so far, 0 where none did. ``giveback_r`` is from the best
    price to what was realised, before costs. Of entries left by a stop at a loss (``stopped``): ``after_r`` is how far from the entry the
    price went in the trader's favour within the bars looked at after it (negative: it did not come back), ``back_bars`` and
    ``one_r_bars`` after how many of them it was at the entry and at 1 R, null if at none.
    """

    frame: pl.DataFrame

    def by(self, group: str) -> pl.DataFrame:
        """The summary for each ``tag``, ``side`` or ``why``. Raises ``PolicyError`` for another group."""
        known = [name for name in ("side", "why", "tag") if name in self.frame.columns]
        if group not in known:
            raise PolicyError(f"excursions cannot be grouped by '{group}': {suggestion(group, known)}")
        return self.frame.group_by(group).agg(_SUMMARY).sort(group)

    def summary(self) -> pl.DataFrame:
        """One row: medians, the MAE that 90 % of the winners stayed within, the edge ratio, and what came after a stop.

        ``edge_ratio`` is mean MFE by mean MAE in R; ``back_pct`` and ``one_r_pct`` are of the stopped, ``back_bars`` the median.
        """
        return self.frame.select(_SUMMARY)


_STOPPED = pl.col("stopped")
_SUMMARY = [
    pl.len().alias("entries"),
    *(pl.col(name).median() for name in ("mae_bps", "mfe_bps", "mae_r", "mfe_r", "mae_bars", "mfe_bars")),
    pl.col("mae_r").filter(pl.col("net_bps") > 0).quantile(0.9, "higher").alias("winners_mae_r_90"),
    (pl.col("mfe_r").mean() / pl.col("mae_r").mean()).alias("edge_ratio"),
    pl.col("giveback_r").mean(),
    _STOPPED.sum(),
    (100 * pl.col("back_bars").is_not_null().filter(_STOPPED).mean()).alias("back_pct"),
    pl.col("back_bars").median(),
    (100 * pl.col("one_r_bars").is_not_null().filter(_STOPPED).mean()).alias("one_r_pct"),
]


def excursions(result: Result, policy: int, *, after: int = 240) -> Excursions:
    """The excursions of the entries under one policy of a sweep; ``after`` is how many bars after a stop are looked at.

    Exact in ticks. Raises ``PolicyError`` where the sweep kept statistics alone.
    """
    if not isinstance(result, Result):
        raise PolicyError(f"excursions are of what lab.sweep gave, got {type(result).__name__}")
    refuse_policy(policy, len(result))
    trades = result.trades(policy)
    out, bars = result.outcomes, result.bars
    assert out is not None  # trades has asked for it
    if after < 1:
        raise PolicyError(f"after={after}: at least one bar after the stop has to be looked at")
    took = np.flatnonzero(out.why[:, policy] > 0)
    it, why = result.entries.take(took), out.why[took, policy]
    one_r, price = result.stop_bps[took if len(result.stop_bps) > 1 else 0, policy], out.price[took, policy] * it.sign
    fill = price * bars.tick - it.sign * it.price
    last = out.bar[took, policy].astype(np.int64)
    against, against_bars, best, best_bars = _both(bars, it, last, why >= TIME, fill)
    stopped = (why >= STOP) & (why <= BREAK_EVEN) & (fill < 0)
    columns = {
        "mae_bps": -against * WHOLE / it.price, "mfe_bps": best * WHOLE / it.price, "mae_r": -against * WHOLE / it.price / one_r,
        "mfe_r": best * WHOLE / it.price / one_r,
        "mae_bars": against_bars, "mfe_bars": best_bars,
        "giveback_r": (best * WHOLE - out.gross[took, policy]) / it.price / one_r, "stopped": stopped,
        **_afterwards(bars, it, last, one_r, stopped, after),
    }  # fmt: skip
    return Excursions(trades.with_columns(pl.Series(name, values) for name, values in columns.items()).with_columns(_NULLS))


_NULLS = [
    *(pl.when(pl.col(name) != NEVER).then(pl.col(name)).alias(name) for name in ("back_bars", "one_r_bars")),
    pl.when(pl.col("after_r").is_nan()).then(None).otherwise(pl.col("after_r")).alias("after_r"),
]


def _both(bars: Bars, it: Entries, last: Ints, whole: npt.NDArray[np.bool_], fill: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """The worst and best move from the entry (E8, worst not above 0, best not below) and after how many bars each was first."""
    side = (it.sign < 0).astype(np.int64)
    until = np.where(whole & (last > it.bar), last + 1, last)
    moves = []
    for scan, sign in ((bars.scan.adverse, -1), (bars.scan.favour, 1)):
        top, at = _highest(scan, side, sign, it.bar + 1, until)
        seen = np.where(at == NEVER, 0, sign * (sign * top * bars.tick - it.sign * it.price))
        bar = np.where(at == NEVER, it.bar, at)
        own = np.where(it.inside, sign * (it.sign * (bars.close[it.bar] * bars.tick - it.price)), 0)
        own = np.where(it.inside & (last == it.bar), 0, own)
        for other, when in ((own, it.bar), (sign * fill, last)):  # the bar's own close comes before all others, the fill after them
            further = (other > seen) | ((other == seen) & (when < bar))
            seen, bar = np.where(further, other, seen), np.where(further, when, bar)
        seen, bar = np.where(seen > 0, seen, 0), np.where(seen > 0, bar, it.bar)
        moves += [sign * seen, bar - it.bar]
    return moves[0], moves[1], moves[2], moves[3]


def _afterwards(
    bars: Bars, it: Entries, last: Ints, one_r: Ints, stopped: npt.NDArray[np.bool_], after: int
) -> dict[str, npt.NDArray[np.float64] | Ints]:
    """How far and how soon the price came back in the bars after the exit, for those that were stopped."""
    n, rows = len(it), np.flatnonzero(stopped & (last + 1 < len(bars)))
    far, back, one = np.full(n, np.nan), np.full(n, NEVER, np.int64), np.full(n, NEVER, np.int64)
    some, start = it.take(rows), last[rows] + 1
    side, until = (some.sign < 0).astype(np.int64), np.minimum(start + after, len(bars))
    r = (one_r + np.zeros(n, np.int64))[rows]
    entry = some.sign * some.price
    far[rows] = (_highest(bars.scan.favour, side, 1, start, until)[0] * bars.tick - entry) * WHOLE / some.price / r
    for found, wanted in ((back, entry * WHOLE), (one, entry * WHOLE + some.price * r)):
        at = _first(bars.scan.favour, side, -(-wanted // (WHOLE * bars.tick)), start, until)
        found[rows] = np.where(at == NEVER, NEVER, at - start + 1)
    return {"after_r": far, "back_bars": back, "one_r_bars": one}


# -- many windows of different lengths


def _windows(start: Ints, until: Ints) -> Iterator[tuple[Ints, Ints, npt.NDArray[np.bool_]]]:
    """Windows by length, as many at once as fit: their rows, the bars of each padded to the longest, and which of these are in it."""
    length = np.maximum(until - start, 0)
    order = np.argsort(length, kind="stable")
    order = order[length[order] > 0]
    while len(order):
        some = length[order[: max(1, AT_ONCE // length[order[0]])]]
        rows = order[: max(1, int(np.searchsorted(some * np.arange(1, len(some) + 1), AT_ONCE, "right")))]
        steps = np.arange(length[rows[-1]])
        inside = steps < length[rows, None]
        yield rows, np.where(inside, start[rows, None] + steps, start[rows, None]), inside
        order = order[len(rows) :]


def _highest(values: Small, side: Ints, sign: int, start: Ints, until: Ints) -> tuple[Ints, Ints]:
    """The highest of ``sign`` times the values in each window and the bar where it is first; an empty window has its bar ``NEVER``."""
    top, at = np.full(len(start), LOWEST, np.int64), np.full(len(start), NEVER, np.int64)
    for rows, index, inside in _windows(start, until):
        seen = np.where(inside, sign * values[side[rows, None], index].astype(np.int64), LOWEST)
        where = seen.argmax(1)
        top[rows], at[rows] = seen[np.arange(len(rows)), where], start[rows] + where
    return top, at


def _first(values: Small, side: Ints, level: Ints, start: Ints, until: Ints) -> Ints:
    """The first bar of each window at its level or above, ``NEVER`` if none."""
    at = np.full(len(start), NEVER, np.int64)
    for rows, index, inside in _windows(start, until):
        hit = inside & (values[side[rows, None], index] >= level[rows, None])
        at[rows] = np.where(hit.any(1), start[rows] + hit.argmax(1), NEVER)
    return at


# -- entries without an exit


def edge_ratio(
    bars: Bars,
    entries: "pl.DataFrame | Entries | str",
    horizons: Sequence[int] = (5, 15, 60, 240, 1440),
    *,
    unit: Literal["bps", "atr"] = "bps",
) -> pl.DataFrame:
    """Mean MFE by mean MAE of the first bars after the entries, whatever the exit: above 1 the entries have an edge over that horizon.

    A row a horizon (bars) and side: ``entries`` that have so many bars before the data ends, ``mfe`` and ``mae`` in bps of the price or in
    the entry's ATR, by which Faith makes quiet and wild markets comparable. Of random entries the ratio is near 1.
    """
    made = as_entries(bars, entries)
    if unit not in ("bps", "atr"):
        raise PolicyError(f"the edge ratio is counted in 'bps' or 'atr', got '{unit}'")
    if unit == "atr" and not (made.atr > 0).all():
        raise PolicyError("an entry has no ATR; give the entries a column 'atr', or count in unit='bps'")
    if not horizons or min(horizons) < 1:
        raise PolicyError(f"horizons are numbers of bars of at least 1, got {list(horizons)}")
    rows = [row for horizon in sorted(set(horizons)) for row in _edges(bars, made, horizon, unit)]
    return pl.DataFrame(rows, schema=["horizon", "side", "entries", "mfe", "mae", "edge_ratio"], orient="row")


def _edges(bars: Bars, made: Entries, horizon: int, unit: str) -> Iterator[tuple[int, str, int, float, float, float]]:
    for side, sign, name in ((0, 1, "long"), (1, -1, "short")):
        rows = (made.sign == sign) & (made.bar + horizon < len(bars))
        if not rows.any():
            continue
        it = made.take(rows)
        best, worst = _ahead(bars.scan.favour[side], horizon), -_ahead(-bars.scan.adverse[side], horizon)
        entry, scale = sign * it.price, it.atr if unit == "atr" else it.price / WHOLE
        mfe = float((np.maximum(best[it.bar + 1].astype(np.int64) * bars.tick - entry, 0) / scale).mean())
        mae = float((np.maximum(entry - worst[it.bar + 1].astype(np.int64) * bars.tick, 0) / scale).mean())
        yield horizon, name, int(rows.sum()), mfe, mae, mfe / mae if mae else float("inf") if mfe else float("nan")


def _ahead(values: Small, length: int) -> Small:
    """The highest of each value and those after it, ``length`` in all: of two overlapping windows, each made of two half as long."""
    span, top = 1, values
    while 2 * span <= length:
        top = np.maximum(top[:-span], top[span:])
        span *= 2
    return np.maximum(top[: len(values) - length + 1], top[length - span : len(values) - span + 1])
