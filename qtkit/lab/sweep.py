"""Every policy of a grid on every entry, exactly."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import polars as pl

from qtkit.core.model import PolicyError
from qtkit.core.policy import ExitPolicy
from qtkit.lab import plain
from qtkit.lab.arguments import CostsOf, Ints, Outcomes, Sums
from qtkit.lab.compiled import available, compiled
from qtkit.lab.costs import Costs, costs_of
from qtkit.lab.entries import Entries, as_entries
from qtkit.lab.grid import Grid, as_grid
from qtkit.lab.problem import Problem
from qtkit.lab.result import Result
from qtkit.lab.series import Bars
from qtkit.lab.tables import NO_TABLES, tables_of

FITS = 20_000_000  # outcomes; above, statistics are streamed instead of kept
BLOCK = 512  # entries that a thread takes at a time


def sweep(
    bars: Bars,
    entries: "pl.DataFrame | Entries | str",
    grid: "Grid | ExitPolicy | list[ExitPolicy]",
    *,
    costs: Costs | str | None = "account",
    fill: Literal["worst", "best"] = "worst",
    one_at_a_time: bool = False,
    keep: Literal["outcomes", "statistics"] | None = None,
    threads: int | None = None,
) -> Result:
    """What became of every entry under every policy, by the rules of ``qtkit.lab.replay``, equal to it to the last digit.

    ``fill`` decides bars in which stop and target could both have been first. ``one_at_a_time`` passes over entries while the position
    before them is open. ``keep`` outcomes as arrays, entries by policies, or statistics by policy alone; by default whatever fits.
    Raises ``PolicyError`` for a policy that the desk would refuse, ``BarsError`` for entries that do not fit the bars.
    """
    if fill not in ("worst", "best"):
        raise PolicyError(f"fill is 'worst' or 'best', got {fill!r}")
    made = as_entries(bars, entries)
    asked = as_grid(grid)
    paid = costs_of(costs)
    problem = Problem(bars, made, asked, paid)
    size = len(made) * len(asked)
    if keep == "statistics" or (keep is None and size > FITS):
        sums = _streamed(problem, fill, one_at_a_time, threads)
        return Result(problem, None, sums, fill=fill)
    return Result(problem, _kept(problem, fill, one_at_a_time, threads), None, fill=fill)


def _kept(problem: Problem, fill: str, alone: bool, threads: int | None) -> Outcomes:
    shape = len(problem.entries), len(problem.grid)
    free = problem.costs.taker == problem.costs.maker == 0 and problem.bars.funding is None
    costly = (0, 0) if free else shape
    out = Outcomes(
        bar=np.empty(shape, np.int32), price=np.empty(shape, np.int32), why=np.empty(shape, np.int8), gross=np.empty(shape, np.int64),
        fees=np.empty(costly, np.int64), paid=np.empty(costly, np.int64),
    )  # fmt: skip
    if alone:
        for array in out:
            array.fill(0)
        out.bar.fill(-1)
    _in_blocks(problem, fill, alone, threads, lambda: (out, _sums(0)))
    return out


def _streamed(problem: Problem, fill: str, alone: bool, threads: int | None) -> Sums:
    none = np.empty((0, 0), np.int32)
    nothing = Outcomes(none, none, np.empty((0, 0), np.int8), none.astype(np.int64), none.astype(np.int64), none.astype(np.int64))
    return _total(_in_blocks(problem, fill, alone, threads, lambda: (nothing, _sums(len(problem.grid)))))


def _sums(policies: int) -> Sums:
    def zeros() -> Ints:
        return np.zeros(policies, np.int64)

    return Sums(
        entries=zeros(), points=zeros(), squares=zeros(), risks=zeros(), wins=zeros(), bars=zeros(), gross=zeros(),
        best=np.full(policies, np.iinfo(np.int64).min), worst=np.full(policies, np.iinfo(np.int64).max),
        whys=np.zeros((policies, 9), np.int64),
    )  # fmt: skip


def _total(parts: list[Sums]) -> Sums:
    """Sums of integers: whoever adds them up in whatever order gets the same."""
    added = {name: np.sum([getattr(part, name) for part in parts], axis=0) for name in Sums._fields if name not in ("best", "worst")}
    best, worst = np.max([part.best for part in parts], axis=0), np.min([part.worst for part in parts], axis=0)
    return Sums(**added, best=best, worst=worst)


def _in_blocks(problem: Problem, fill: str, alone: bool, threads: int | None, sinks: "Callable[[], tuple[Outcomes, Sums]]") -> list[Sums]:
    """Run the kernel over all entries, by as many threads as asked for; one position at a time is one thread's work."""
    fast = available()
    run = compiled().sweep if fast else plain.sweep
    total, workers = len(problem.entries), 1 if alone else threads or os.cpu_count() or 1
    workers = max(1, min(workers, -(-total // BLOCK)))
    bars, watched = problem.bars, problem.bars.watched
    arguments = (
        bars.scan, watched.scan, np.empty(0, np.int64) if bars.funding is None else bars.funding,
        problem.begins, problem.lines, problem.distances, _costs(problem.costs), bars.tick, fill == "best",
        np.full(len(problem.grid) if alone else 0, -1, np.int64), tables_of(problem) if fast else NO_TABLES,
    )  # fmt: skip

    def work(first: int, until: int) -> Sums:
        out, sums = sinks()
        run(*arguments, first, until, out, sums)
        return sums

    edges = [total * number // workers for number in range(workers + 1)]
    if workers == 1:
        return [work(0, total)]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, edges[:-1], edges[1:]))


def _costs(costs: Costs) -> CostsOf:
    limit, through = costs.targets != "market", costs.targets == "limit"
    return CostsOf(costs.taker, costs.maker, costs.slip_ppm, costs.slip_range_ppm, int(limit), int(through))
