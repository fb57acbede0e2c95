"""Finer bars inside a bar whose order decides: what was touched first is read from them instead of assumed."""

from collections.abc import Callable

import numpy as np

from qtkit.bars import BarsError
from qtkit.core import arithmetic
from qtkit.core.plan import ExitPlan
from qtkit.lab.arguments import Ints
from qtkit.lab.replay import Walk, level_of, plan_of
from qtkit.lab.result import Floats, Result
from qtkit.lab.series import Bars

Finer = Bars | Callable[[int, int], Bars | None]
"""Bars of a finer step, or what gives those from one time until another (ms, the open and the end of a bar), None where there are none."""


class FinerWalk(Walk):
    """A position that goes through its bar ``at`` part by part. The parts say the order; levels, fills and ratchet are the bar's."""

    def __init__(self, result: Result, row: int, plan: ExitPlan, at: int, parts: Bars, *, best_first: bool) -> None:
        super().__init__(result.bars, result.entries, row, plan, result.costs, best_first=best_first)
        self.at, self.parts = at, parts

    def _step(self, bar: int) -> None:
        opened, fires = int(self.bars.open[bar]), int(self.bars.watched.open[bar])
        if bar != self.at or arithmetic.stop_hit(self.sign, fires, self.state.stop):
            super()._step(bar)
            return
        self._targets(bar, opened, opened)
        for part in range(len(self.parts)):
            for worst, reach in self._moments(part):
                self._meet(bar, worst, reach)

    def _moments(self, part: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """What stops and what targets meet: the part's open, then its extremes."""
        parts, watched = self.parts, self.parts.watched
        return (int(watched.open[part]), int(parts.open[part])), (self._extremes(watched, part)[0], self._extremes(parts, part)[1])

    def _meet(self, bar: int, worst: int, reach: int) -> None:
        if self.best_first:
            self._targets(bar, reach, None)
        if self.left and arithmetic.stop_hit(self.sign, worst, self.state.stop):
            price = min(max(self.state.stop, int(self.bars.low[bar])), int(self.bars.high[bar]))
            self._leave(bar, price, self.left, level_of(self.plan, self.state, self.trailed), market=True)
        if self.left and not self.best_first:
            self._targets(bar, reach, None)


def looked_up(result: Result, rows: Ints, policies: Ints, finer: Finer) -> tuple[Floats, Floats]:
    """Net bps of some outcomes, each walked through its last bar on finer ones, the worst and the best order inside those.

    NaN where there are none, or where they do not reach the bar's high and low and so are not all of it. Costs a replay an outcome.
    """
    assert result.outcomes is not None
    worst, best = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    inside = _Parts(result.bars, finer)
    for number, (row, policy) in enumerate(zip(rows.tolist(), policies.tolist(), strict=True)):
        at = int(result.outcomes.bar[row, policy])
        parts = inside.of(at)
        if parts is None or at == result.entries.bar[row]:  # when in its own bar an entry was made nobody knows
            continue
        plan = plan_of(result.bars, result.entries, row, result.grid.policies[policy], result.costs, own_stop=result.grid.own_stop)
        for found, best_first in ((worst, False), (best, True)):
            walk = FinerWalk(result, row, plan, at, parts, best_first=best_first)
            walk.run()
            told = walk.told()
            found[number] = (told.gross - told.fees - told.paid) / int(result.entries.price[row])
    return worst, best


class _Parts:
    """The finer bars of each bar, looked for once."""

    def __init__(self, bars: Bars, finer: Finer) -> None:
        self.bars, self.finer = bars, finer
        self.known: dict[int, Bars | None] = {}
        if isinstance(finer, Bars):
            self._refuse_other(finer)

    def of(self, bar: int) -> Bars | None:
        """Those of one bar if they are all of it."""
        if bar not in self.known:
            self.known[bar] = self._whole(bar, self._found(int(self.bars.time_ms[bar])))
        return self.known[bar]

    def _found(self, begin: int) -> Bars | None:
        end = begin + self.bars.step_ms
        if isinstance(self.finer, Bars):
            first, until = np.searchsorted(self.finer.time_ms, (begin, end))
            return self.finer.slice(int(first), int(until)) if until > first else None
        found = self.finer(begin, end)
        if found is not None:
            self._refuse_other(found)
        return found

    def _whole(self, bar: int, parts: Bars | None) -> Bars | None:
        if parts is None or len(parts) == 0:
            return None
        pairs = ((parts, self.bars), (parts.watched, self.bars.watched))
        same = all(int(part.low.min()) == whole.low[bar] and int(part.high.max()) == whole.high[bar] for part, whole in pairs)
        return parts if same else None

    def _refuse_other(self, finer: Bars) -> None:
        bars = self.bars
        if finer.tick != bars.tick:
            raise BarsError(f'{finer.source}: its tick is not that of {bars.source}; load it with tick="{bars.price(1):.10g}"')
        if finer.step_ms >= bars.step_ms and len(finer) > 1:
            raise BarsError(f"{finer.source}: its bars are no finer than those of {bars.source}; give bars of a shorter step")
        if (finer.trigger is None) != (bars.trigger is None):
            raise BarsError(f"{finer.source}: the bars and the finer ones both need a trigger series, or neither; load both alike")
