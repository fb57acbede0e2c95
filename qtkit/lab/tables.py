"""Tables of trails: for dense entries every trail of every bar is searched once, in one pass, and looked up by each entry."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from qtkit.core import arithmetic
from qtkit.lab.arguments import Ints, Tables
from qtkit.lab.compiled import compiled
from qtkit.lab.lines import BPS
from qtkit.lab.problem import Problem

DENSE = 0.4  # entries a bar above which a table costs less than the searches that it saves
MOST = 1 << 29  # bytes of tables


def no_tables(problem: Problem) -> Tables:
    """No table for any trail."""
    none, flat = np.zeros(0, np.int64), np.zeros((0, 0), np.int32)
    return Tables(np.zeros(len(problem.lines.trail) + 1, np.int64), none, none, flat, flat)


def tables_of(problem: Problem, threads: int) -> Tables:
    """The tables that pay: of fixed callbacks without a curve, for the sides and steps that enough entries have."""
    bars, lines = problem.bars, problem.lines
    wanted = _wanted(problem) if len(problem.begins.bar) >= DENSE * len(bars) else []
    if 8 * len(wanted) * len(bars) > MOST:
        wanted = []
    trails, sides, steps = (np.array(column, np.int64) for column in (zip(*wanted, strict=True) if wanted else ((), (), ())))
    bar, level = np.empty((len(wanted), len(bars)), np.int32), np.empty((len(wanted), len(bars)), np.int32)

    def fill(row: int) -> None:
        trail, side, step = wanted[row]
        window, no_curve = np.empty(len(bars) + 1, np.int32), np.empty((0, 2), np.int64)
        callback = int(problem.distances[0, lines.trail[trail, 1]])
        compiled().trail_table(bars.watched.scan, side, 1 - 2 * side, callback, step, no_curve, window, bar[row], level[row])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, range(len(wanted))))
    return Tables(np.searchsorted(trails, np.arange(len(lines.trail) + 1)), steps, sides, bar, level)


def _wanted(problem: Problem) -> list[tuple[int, int, int]]:
    """Trail, side and step of each table, trail by trail."""
    dense = {step_bps: _dense(problem, step_bps) for step_bps in {int(bps) for bps in problem.lines.trail[:, 2]}}
    fixed = [number for number, trail in enumerate(problem.drawn.trails) if trail[1][0] == BPS and not trail[3]]
    return [(number, side, step) for number in fixed for side, step in dense[int(problem.lines.trail[number, 2])]]


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
