"""Tables of trails: for dense entries every trail of every bar is searched once, in one pass, and looked up by each entry."""

import numpy as np

from qtkit.core import arithmetic
from qtkit.lab.arguments import Ints, Small, Tables
from qtkit.lab.compiled import compiled
from qtkit.lab.lines import BPS
from qtkit.lab.problem import Problem

DENSE = 0.4  # entries a bar above which a table costs less than the searches that it saves
MOST = 1 << 29  # bytes of tables

_NONE = np.zeros(0, np.int64)
NO_TABLES = Tables(_NONE, _NONE, _NONE, np.zeros((0, 0), np.int32), np.zeros((0, 0), np.int32))


def tables_of(problem: Problem) -> Tables:
    """The tables that pay: of fixed callbacks without a curve, for the sides and steps that enough entries have."""
    bars, begins, lines = problem.bars, problem.begins, problem.lines
    wanted: list[tuple[int, int, int]] = []
    if len(begins.bar) < DENSE * len(bars):
        return NO_TABLES
    for number, trail in enumerate(problem.drawn.trails):
        if trail[1][0] != BPS or trail[3]:
            continue
        for side, step in _dense(problem, int(lines.trail[number, 2])):
            wanted.append((side, step, number))
    if 8 * len(wanted) * len(bars) > MOST:
        return NO_TABLES
    bar, level = np.empty((len(wanted), len(bars)), np.int32), np.empty((len(wanted), len(bars)), np.int32)
    for row, (side, step, number) in enumerate(wanted):
        _fill(problem, side, step, number, bar[row], level[row])
    sides, steps, trails = (np.array(column, np.int64) for column in (zip(*wanted, strict=True) if wanted else ((), (), ())))
    return Tables(steps, sides, trails, bar, level)


def _dense(problem: Problem, step_bps: int) -> list[tuple[int, int]]:
    """Sides and steps (ticks) that so many entries have that a table pays."""
    begins, bars = problem.begins, problem.bars
    found = []
    for side, sign in ((0, 1), (1, -1)):
        ticks = begins.price[begins.sign == sign] // bars.tick
        if len(ticks) < DENSE * len(bars):
            continue
        low, high = arithmetic.stop_step(int(ticks.min()), step_bps), arithmetic.stop_step(int(ticks.max()), step_bps)
        found += [(side, low)] if low == high else [(side, step) for step in _steps(low, high) if _share(ticks, step, step_bps) > DENSE / 4]
    return found


def _steps(low: int, high: int) -> list[int]:
    steps = [scale * 10**power for power in range(len(str(high))) for scale in (1, 2, 5)]
    return [step for step in steps if low <= step <= high]


def _share(ticks: Ints, step: int, step_bps: int) -> float:
    """Part of the entries that move their stops by this step."""
    some = ticks[:: max(1, len(ticks) // 1_000)]
    return sum(arithmetic.stop_step(int(entry), step_bps) == step for entry in some) / len(some)


def _fill(problem: Problem, side: int, step: int, number: int, bar: Small, level: Small) -> None:
    callback = int(problem.distances[0, problem.lines.trail[number, 1]])
    window, no_curve = np.empty(len(bar) + 1, np.int32), np.empty((0, 2), np.int64)
    compiled().trail_table(problem.bars.watched.scan, side, 1 - 2 * side, callback, step, no_curve, window, bar, level)
