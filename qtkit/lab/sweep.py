"""Every policy of a grid on every entry, exactly."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import polars as pl

from qtkit.core.model import PolicyError
from qtkit.core.policy import ExitPolicy
from qtkit.lab import plain
from qtkit.lab.arguments import CostsOf, Ints, Outcomes, Sums
from qtkit.lab.asked import refuse_count, refuse_unsure, refuse_words
from qtkit.lab.cluster import spread
from qtkit.lab.compiled import available, compiled, keep, prepared
from qtkit.lab.costs import Costs, costs_of
from qtkit.lab.entries import Entries, as_entries
from qtkit.lab.grid import Grid, as_grid
from qtkit.lab.liquidation import checked
from qtkit.lab.problem import Problem
from qtkit.lab.progress import Progress
from qtkit.lab.replay import FILLS
from qtkit.lab.result import Result
from qtkit.lab.room import room_of
from qtkit.lab.series import Bars, refuse_no_bars, triggered
from qtkit.lab.sizes import SIZES, Size, refuse_unsized
from qtkit.lab.tables import no_tables, tables_of

if TYPE_CHECKING:
    from qtkit.lab.portfolio import Portfolio

Done = Callable[[int], None]
FITS = 20_000_000  # outcomes; above, statistics are streamed instead of kept
MEANWHILE = 2_000_000  # outcomes that numpy is done with sooner than a compiler
BLOCK = 512  # entries that are worth a thread
TOLD = 50_000  # entries between two looks at the progress; a block costs some microseconds to begin
TOLD_PLAIN = 4_096  # the same without numba
KEEPS = ("outcomes", "statistics")
OTHER = {"worst": "best", "best": "worst"}  # order inside the bars


@overload
def sweep(
    bars: Bars,
    entries: "pl.DataFrame | Entries | str",
    grid: "Grid | ExitPolicy | Sequence[ExitPolicy]",
    *,
    trigger: "Bars | pl.DataFrame | Path | str | None" = ...,
    costs: Costs | str | None = ...,
    size: Size = ...,
    one_at_a_time: bool = ...,
    leverage: int | None = ...,
    fill: Literal["worst", "best"] = ...,
    keep: Literal["outcomes", "statistics"] | None = ...,
    threads: int | None = ...,
    cluster: Any = ...,
    progress: bool | None = ...,
) -> Result: ...


@overload
def sweep(
    bars: Mapping[str, Bars], entries: "pl.DataFrame | Mapping[str, pl.DataFrame | Entries | str] | str",
    grid: "Grid | ExitPolicy | Sequence[ExitPolicy]", *, trigger: Mapping[str, Bars] | None = ..., costs: Costs | str | None = ...,
    size: Size = ..., one_at_a_time: bool = ..., leverage: int | None = ..., fill: Literal["worst", "best"] = ..., keep: None = ...,
    threads: int | None = ..., cluster: Any = ..., progress: bool | None = ...,
) -> "Portfolio": ...  # fmt: skip


def sweep(
    bars: "Bars | Mapping[str, Bars]",
    entries: Any,
    grid: "Grid | ExitPolicy | Sequence[ExitPolicy]",
    *,
    trigger: "Bars | pl.DataFrame | Path | str | Mapping[str, Bars] | None" = None,
    costs: Costs | str | None = "account",
    size: Size = "risk",
    one_at_a_time: bool = False,
    leverage: int | None = None,
    fill: Literal["worst", "best"] = "worst",
    keep: Literal["outcomes", "statistics"] | None = None,
    threads: int | None = None,
    cluster: Any = None,
    progress: bool | None = None,
) -> "Result | Portfolio":
    """What became of every entry under every policy, by the rules of ``qtkit.lab.replay``, equal to it to the last digit.

    ``trigger`` are mark-price bars that fire stops, as ``load`` takes them; given there, they are aligned once for many sweeps. ``size``
    is how positions are sized where they are added up (``Result.equity``): each the same ``"risk"`` to its initial stop, each the same
    notional (``"equal"``), or each as many coins as its entry's own ``size`` (``"given"``), which tells money in the quote coin.
    ``one_at_a_time`` passes over entries while the position before them is open. ``leverage`` refuses stops that the desk would not
    send with an isolated position of it. ``fill`` decides bars in which stop and target could both have been first; ``Result.table``
    says what hangs on it. ``keep`` outcomes as arrays, entries by policies, or statistics by policy alone; by default whatever fits.

    ``cluster`` (the address of a Dask scheduler, a cluster or a ``Client``; extra ``scale``) spreads the entries over its workers; with
    ``one_at_a_time`` one worker does all. ``progress`` is shown by default once a sweep takes more than two seconds, in a terminal or a
    notebook; True from the beginning, False never.

    ``bars`` may be a dict by symbol: then the answer is a ``Portfolio``, and ``entries`` and ``trigger`` are by symbol too, as
    ``lab.portfolio`` takes them.

    Raises ``PolicyError`` for a policy that the desk would refuse, ``BarsError`` for entries that do not fit the bars.
    """
    if isinstance(bars, Mapping):
        return _of_several(
            bars, entries, grid, keep=keep, trigger=trigger, costs=costs, size=size, one_at_a_time=one_at_a_time, leverage=leverage,
            fill=fill, threads=threads, cluster=cluster, progress=progress,
        )  # fmt: skip
    refuse_words(fill=(fill, FILLS), size=(size, SIZES), keep=(keep, (None, *KEEPS)))
    refuse_unsure(one_at_a_time=one_at_a_time)
    if progress is not None:
        refuse_unsure(progress=progress)
    if threads is not None:
        refuse_count("threads", threads, "threads")
    refuse_no_bars(bars)
    bars = bars if trigger is None else triggered(bars, trigger)  # type: ignore[arg-type]
    made = as_entries(bars, entries)
    asked = as_grid(grid)
    problem = Problem(bars, made, asked, costs_of(costs), checked(leverage))
    streamed = keep == "statistics" or (keep is None and len(made) * len(asked) > FITS)
    refuse_unsized(size, made, streamed=streamed)
    run = partial(_swept, problem, alone=one_at_a_time, threads=threads, cluster=cluster, progress=progress)
    found = run(fill, streamed=streamed)
    outcomes, sums = (None, found) if isinstance(found, Sums) else (found, None)
    return Result(problem, outcomes, sums, fill=fill, other=partial(run, OTHER[fill], streamed=True), size=size)


def _of_several(bars: "Mapping[str, Bars]", entries: Any, grid: Any, *, keep: str | None, **asked: Any) -> "Portfolio":
    from qtkit.lab.portfolio import portfolio

    if keep == "statistics":
        raise PolicyError("keep='statistics' is for one symbol: what symbols do together is told from their outcomes; leave it out")
    return portfolio(bars, entries, grid, **asked)


def _swept(
    problem: Problem, fill: str, *, streamed: bool, alone: bool, threads: int | None, cluster: Any, progress: bool | None
) -> Outcomes | Sums:
    """The outcomes or, streamed, the statistics of one order inside the bars."""
    run: Callable[..., Outcomes | Sums] = _streamed if streamed else _kept
    with Progress(len(problem.entries), progress) as shown:
        if cluster is None:
            return run(problem, fill, alone, threads, shown.add)
        work = partial(run, fill=fill, alone=alone, threads=1, done=_nobody)
        return _joined(spread(cluster, problem, work, whole=alone, done=shown.add))


def _nobody(entries: int) -> None:
    """Tells nobody: what a worker has done is told by who asked it."""


def _joined(parts: Sequence[Outcomes | Sums]) -> Outcomes | Sums:
    """The parts of a sweep as one: outcomes below one another, statistics added."""
    sums = [part for part in parts if isinstance(part, Sums)]
    if sums:
        return _total(sums)
    return Outcomes(*map(np.concatenate, zip(*parts, strict=True)))


def _kept(problem: Problem, fill: str, alone: bool, threads: int | None, done: Done) -> Outcomes:
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
    _in_blocks(problem, fill, alone, threads, lambda: (out, _sums(0)), done)
    return out


def _streamed(problem: Problem, fill: str, alone: bool, threads: int | None, done: Done) -> Sums:
    none = np.empty((0, 0), np.int32)
    nothing = Outcomes(none, none, np.empty((0, 0), np.int8), none.astype(np.int64), none.astype(np.int64), none.astype(np.int64))
    return _total(_in_blocks(problem, fill, alone, threads, lambda: (nothing, _sums(len(problem.grid))), done))


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


def _in_blocks(
    problem: Problem, fill: str, alone: bool, threads: int | None, sinks: Callable[[], tuple[Outcomes, Sums]], done: Done
) -> list[Sums]:
    """Run the kernel over all entries, by as many threads as asked for; one position at a time is one thread's work."""
    loop = _loop(problem, alone, sinks()[0])
    fast = available() and (prepared(loop) or len(problem.entries) * len(problem.grid) > MEANWHILE)
    run = getattr(compiled(), loop) if fast else plain.sweep
    total, workers = len(problem.entries), 1 if alone else threads or os.cpu_count() or 1
    workers = max(1, min(workers, -(-total // BLOCK)))
    bars, watched = problem.bars, problem.bars.watched
    arguments = (
        bars.scan, watched.scan, np.empty(0, np.int64) if bars.funding is None else bars.funding,
        problem.begins, problem.lines, problem.distances, _costs(problem.costs), bars.tick, fill == "best",
        np.full(len(problem.grid) if alone else 0, -1, np.int64), tables_of(problem, workers) if fast else no_tables(problem),
    )  # fmt: skip

    def work(first: int, until: int) -> Sums:
        out, sums = sinks()
        run(*arguments, room_of(problem.lines, len(problem.drawn.holds)), first, until, out, sums)
        return sums

    found = []
    edges = _edges(total, workers, TOLD if fast else TOLD_PLAIN)
    for first, until, sums in zip(edges[:-1], edges[1:], _mapped(work, edges, workers), strict=True):
        done(until - first)
        found.append(sums)
    if fast:
        keep(loop)
    return found


def _loop(problem: Problem, alone: bool, out: Outcomes) -> str:
    """Which of the kernel's loops serves a grid."""
    lines = problem.lines
    if alone or len(lines.rung) or len(lines.stage) or len(lines.moving):
        return "sweep"
    if len(out.bar):
        return "sweep_whole"
    return "sweep_crossed" if len(lines.cross) and len(problem.distances) == 1 else "sweep"


def _edges(total: int, workers: int, block: int) -> list[int]:
    """As many blocks for each worker, none smaller than ``block`` where there are several for it."""
    count = workers * max(1, total // (workers * block))
    return [total * number // count for number in range(count + 1)]


def _mapped(work: Callable[[int, int], Sums], edges: list[int], workers: int) -> Iterator[Sums]:
    """The blocks in their order, each as soon as it and those before it are done."""
    if workers == 1:
        yield from map(work, edges[:-1], edges[1:])
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(work, edges[:-1], edges[1:])


def _costs(costs: Costs) -> CostsOf:
    limit, through = costs.targets != "market", costs.targets == "limit"
    return CostsOf(costs.taker, costs.maker, costs.slip_ppm, costs.slip_range_ppm, int(limit), int(through))
