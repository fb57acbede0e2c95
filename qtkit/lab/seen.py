"""What a desk saw of a position's market, minute by minute, as bars of the reference."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from qtkit.core.model import Bps, Instrument, Side
from qtkit.core.trail import fold
from qtkit.lab.costs import Costs
from qtkit.lab.entries import Entries, at_close
from qtkit.lab.lived import LATE, Lived
from qtkit.lab.replay import Walk
from qtkit.lab.series import Bars

MINUTE_MS = 60_000
ENDS = ("open", "high", "low", "close")
HOWS = ("first", "max", "min", "last")
PRICES = {"at": pl.Int64(), "symbol": pl.String(), "mark": pl.Int64(), "last": pl.Int64()}
"""Prices as they came: time (ms), mark (E8) and last (ticks), null where one carried none."""
BARS = {
    "at": pl.Int64(), "symbol": pl.String(), "high": pl.Int64(), "low": pl.Int64(), "close": pl.Int64(), "missed": pl.Boolean(),
}  # fmt: skip
"""Bars that the desk's trails took: opened at (ms), prices in ticks; one ``missed`` was asked for later, its close the price then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A position's market: ``bars`` whose ``trigger`` holds what fired stops and moved the trail; bar 0 is the moment of the plan.

    ``late`` are the bars that were folded with the price then in hand, by their number: high, low and that price.
    """

    bars: Bars
    late: dict[int, tuple[int, int, int]]

    def number(self, at_ms: int) -> int:
        """The bar of a moment."""
        return int(np.searchsorted(self.bars.time_ms, at_ms, side="right")) - 1


def view_of(it: Lived, prices: pl.DataFrame, bars: pl.DataFrame, rules: Instrument, until_ms: int, *, exact: bool) -> View | None:
    """What the desk saw of a position from its plan to ``until_ms``; None where no price of it is known.

    Stops fire where the mark is at their level or beyond. An exchange may cut the mark to the tick first, and so fire a long's stop within
    the tick above it: ``exact`` is that it does not. The favourable extreme is the one of the bar that the trail took, or of the marks
    where none came.
    """
    plan, long = it.plan, it.plan.side is Side.LONG
    since_ms, tick = plan.created_ms, rules.tick
    first = since_ms // MINUTE_MS * MINUTE_MS
    known = prices.filter((pl.col("symbol") == plan.key.symbol) & (pl.col("at") <= until_ms)).select(list(PRICES))
    mine = known.filter(pl.col("at") > since_ms)
    if mine.is_empty():
        return None
    cut = -(-pl.col("mark") // tick) if exact and long else pl.col("mark") // tick
    took = _taken(it, bars, first)
    moments = (*range(first + MINUTE_MS, until_ms, MINUTE_MS), until_ms)
    in_hand = {at + MINUTE_MS: close * tick for at, close in took.filter("late").select("at", "close").iter_rows()}
    held: list[tuple[int, str, int | None, int | None]] = [(since_ms, plan.key.symbol, plan.start * tick, plan.start)]
    held += [(at, plan.key.symbol, in_hand.get(at), None) for at in moments]
    # at the beginning of a minute the price then in force, the last one before, counts: a stop that moves there is held against it
    told = pl.concat([pl.DataFrame(held, schema=PRICES, orient="row"), mine]).sort("at", maintain_order=True)
    marks = told.with_columns(mark=cut).with_columns(pl.col("mark", "last").forward_fill())
    minutes = marks.group_by(minute=pl.col("at") // MINUTE_MS * MINUTE_MS, maintain_order=True).agg(
        *(getattr(pl.col(name), how)().alias(f"{name}_{end}") for name in ("mark", "last") for end, how in zip(ENDS, HOWS, strict=True))
    )
    seen = minutes.join(
        took.select("at", "high", "low", "close", "late"), left_on="minute", right_on="at", how="left", maintain_order="left"
    )
    return _as_bars(it, seen, tick, first)


def _taken(it: Lived, bars: pl.DataFrame, first: int) -> pl.DataFrame:
    """The bars as the position's trail took them. One may be on the tape twice, as it came and as it was asked for by another trail."""
    late = [state.at_ms - MINUTE_MS for state, reason in it.states if reason == LATE]
    mine = bars.filter((pl.col("symbol") == it.key.symbol) & (pl.col("at") >= first)).with_columns(late=pl.col("at").is_in(late))
    return mine.sort(pl.col("missed") == pl.col("late"), maintain_order=True).unique("at", keep="last", maintain_order=True)


def _as_bars(it: Lived, seen: pl.DataFrame, tick: int, first: int) -> View:
    best = "high" if it.plan.side is Side.LONG else "low"
    late = {number: (row["high"], row["low"], row["close"]) for number, row in enumerate(seen.iter_rows(named=True), 1) if row["late"]}
    marks = {name: seen[f"mark_{name}"] for name in ENDS}
    marks[best] = seen.select(pl.coalesce(best, f"mark_{best}")).to_series()
    bars = _bars(it, seen, tick, first, {name: seen[f"last_{name}"] for name in ENDS})
    watched = _bars(it, seen, tick, first, marks)
    for number in late:
        getattr(watched, best)[number] = it.plan.start  # its extreme is folded apart
    return View(bars=replace(bars, trigger=watched), late=late)


def _bars(it: Lived, seen: pl.DataFrame, tick: int, first: int, columns: dict[str, pl.Series]) -> Bars:
    """Bars after one at the moment of the plan, in which nothing happens."""
    time = np.r_[first - MINUTE_MS, seen["minute"].to_numpy()]
    prices = {name: np.r_[it.plan.start, column.to_numpy()].astype(np.int64) for name, column in columns.items()}
    return Bars(symbol=it.key.symbol, tick=tick, step_ms=MINUTE_MS, time_ms=time, **prices)


class Retold(Walk):
    """The reference on what a desk saw: bars that were folded late are folded as the desk does it, clamped to the price then in hand."""

    def __init__(self, view: View, it: Lived, costs: Costs, *, best_first: bool, asked: int) -> None:
        super().__init__(view.bars, _entry(view, it, asked), 0, it.plan, costs, best_first=best_first)
        self.late = view.late
        self.callbacks = {view.number(at_ms - 1): callback for at_ms, callback in it.callbacks.items()}
        self.states = [self.state]

    def _sides(self, bar: int, fires: int | None, worst: int, best: int, opened: int | None, reach: int) -> None:
        super()._sides(bar, fires, worst, best, opened, reach)
        if self.left:
            self.states.append(self.state)

    def _ratchet(self, bar: int, best: int) -> None:
        super()._ratchet(bar, best)
        if bar in self.late:
            high, low, close = self.late[bar]
            extreme = high if self.sign > 0 else low
            self.state = fold(self.plan, self.state, extreme, int(self.bars.time_ms[bar]), targets_done=self.done, price=close)  # type: ignore[arg-type]

    def _callback_after(self, bar: int) -> Bps | None:
        """Where the desk's own callback moved: what it read of the hours is not on its tape."""
        return self.callbacks.get(bar)


def _entry(view: View, it: Lived, asked: int) -> Entries:
    made = at_close(view.bars, np.zeros(1, np.int64), np.array([it.plan.side.sign], np.int64))
    return replace(made, price=np.array([it.plan.entry], np.int64), last=np.array([asked], np.int64))
