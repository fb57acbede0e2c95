"""What a sweep costs, against a brute-force loop compiled by numba that gives the same answers in the same run.

    python -m tests.bench.research --json

T1: 1,000,000 made minutes, an entry every 1,000 bars by turns long and short, 10 stops x 10 callbacks, armed at +1 %, left after 1,000
bars. The brute force is one loop an entry and policy with a running extreme, an early exit and tick rounding, nothing else; below 0.8 G
bar-visits a second the run is void. No speed is told before bars and prices are equal. Times are those of the processor, best of several.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numba
import numpy as np

from qtkit import lab
from qtkit.lab.arguments import Ints
from qtkit.lab.compiled import warm
from qtkit.lab.entries import at_close
from tests.bench.live import Figure, load, told

BARS = 1_000_000
HOLD = 1_000
STOPS, CALLBACKS, ACTIVATION = range(50, 501, 50), range(30, 301, 30), 100
WIDE_STOPS, WIDE_CALLBACKS = range(400, 4_001, 400), range(240, 2_401, 240)
LADDERS = [((at, 30), (2 * at, 30), (3 * at, 40)) for at in range(60, 221, 20)][:8]
SEED = 20261120


def made_bars(count: int = BARS) -> lab.Bars:
    """A geometric walk, four steps of 0.04 % a bar, back to where it began, in ticks of 0.1."""
    steps = np.random.default_rng(SEED).standard_normal(4 * count) * 0.0004
    path = np.cumsum(steps)
    path -= path[-1] * np.arange(1, 4 * count + 1) / (4 * count)
    ticks = np.round(300_000 * np.exp(path)).astype(np.int64).reshape(count, 4)
    opened = np.concatenate(([300_000], ticks[:-1, 3]))
    high, low = np.maximum(opened, ticks.max(1)), np.minimum(opened, ticks.min(1))
    time_ms = np.arange(count, dtype=np.int64) * 60_000
    return lab.Bars(
        symbol="MADE", tick=10_000_000, step_ms=60_000, time_ms=time_ms, open=opened, high=high, low=low, close=ticks[:, 3].copy()
    )


@numba.njit(nogil=True)
def brute(o, h, l, c, entries, sides, stops, callbacks, activation, hold, bars, prices):  # type: ignore[no-untyped-def]  # noqa: E741
    """Every bar of every entry and policy; returns the bars visited. The levels are those of ``core.arithmetic``, written out."""
    visits, whole = 0, 10_000
    for e in range(len(entries)):
        first, side, price = entries[e], sides[e], c[entries[e]]
        last = min(first + hold, len(c) - 1)
        for p in range(len(stops) * len(callbacks)):
            stop, callback = stops[p // len(callbacks)], callbacks[p % len(callbacks)]
            best, bar, out = price, first + 1, False
            if side > 0:
                level, armed, keeps = -((-price * (whole - stop)) // whole), price * (whole + activation) // whole, whole - callback
            else:
                level, armed, keeps = price * (whole + stop) // whole, -((-price * (whole - activation)) // whole), whole + callback
            while bar <= last:
                if side > 0:
                    if l[bar] <= level:
                        bars[e, p], prices[e, p], out = bar, min(o[bar], level), True
                        break
                    if h[bar] > best:
                        best = h[bar]
                        if best >= armed:
                            level = max(level, -((-best * keeps) // whole))
                else:
                    if h[bar] >= level:
                        bars[e, p], prices[e, p], out = bar, max(o[bar], level), True
                        break
                    if l[bar] < best:
                        best = l[bar]
                        if best <= armed:
                            level = min(level, best * keeps // whole)
                bar += 1
            if not out:
                bars[e, p], prices[e, p], bar = last, c[last], last
            visits += bar - first
    return visits


def best_of(count: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """Least processor time of several runs, seconds, and what the last gave."""
    spent, made = [], None
    for _ in range(count):
        begun = time.process_time()
        made = work()
        spent.append(time.process_time() - begun)
    return min(spent), made


def brute_run(
    bars: lab.Bars, entries: lab.Entries, stops: range, callbacks: range, hold: int, count: int = 3
) -> tuple[float, int, Ints, Ints]:
    """Seconds, bars visited, exit bars and exit prices of the brute force."""
    shape = len(entries), len(stops) * len(callbacks)
    found, prices = np.empty(shape, np.int64), np.empty(shape, np.int64)
    grid = np.array(list(stops)), np.array(list(callbacks))

    def work() -> int:
        return int(brute(bars.open, bars.high, bars.low, bars.close, entries.bar, entries.sign, *grid, ACTIVATION, hold, found, prices))

    work()
    spent, visits = best_of(count, work)
    return spent, visits, found, prices


def entries_of(bars: lab.Bars) -> lab.Entries:
    """T1's entries: every 1,000 bars, by turns long and short."""
    bar = np.arange(0, len(bars) - 1, HOLD, dtype=np.int64)
    return at_close(bars, bar, np.where(np.arange(len(bar)) % 2 == 0, 1, -1).astype(np.int64))


def refuse_unequal(result: lab.Result, bars: Ints, prices: Ints) -> None:
    """No speed without equality."""
    assert result.outcomes is not None
    assert (result.outcomes.bar == bars).all() and (result.outcomes.price == prices).all(), "the sweep and the brute force differ"


def t1_figures(bars: lab.Bars) -> list[Figure]:
    """T1 to arrays, compiled and in numpy, against the brute force; and the frame of its 100,000 rows."""
    entries = entries_of(bars)
    grid = lab.grid(stop_bps=STOPS, trail_bps=CALLBACKS, activation_bps=ACTIVATION, step_bps=0, max_bars=HOLD)

    def sweep() -> lab.Result:
        return lab.sweep(bars, entries, grid, costs=None, threads=1, keep="outcomes")

    refuse_unequal(sweep(), *(slow := brute_run(bars, entries, STOPS, CALLBACKS, HOLD))[2:])
    spent, result = best_of(200, sweep)
    framed, trades = best_of(5, result.trades)
    assert trades.height == 100_000
    speed = slow[1] / slow[0] / 1e9
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    plain, other = best_of(5, sweep)
    del os.environ["NUMBA_DISABLE_JIT"]
    refuse_unequal(other, slow[2], slow[3])
    visited = f"{slow[0] * 1e3:.1f} ms, {slow[1] / 1e6:.1f} M visits"
    return [
        Figure("brute force, bar-visits", speed, "G/s", 0.8, visited, least=True),
        Figure("T1 to arrays", spent * 1e3, "ms", 3.0, "100,000 entry-policies, one core, warm, best of 200"),
        Figure("brute force / T1", slow[0] / spent, "x", 20.0, "equal; a stretch is 50", least=True),
        Figure("T1 without numba", plain * 1e3, "ms", 60.0, "equal"),
        Figure("a frame of 100,000 rows", framed * 1e3, "ms", 20.0, "trades of all policies, best of 5"),
    ]


def dense_figures(bars: lab.Bars) -> list[Figure]:
    """Every bar an entry, statistics by policy."""
    entries = lab.every(bars, "long")
    grid = lab.grid(stop_bps=STOPS, trail_bps=CALLBACKS, activation_bps=ACTIVATION, step_bps=0, max_bars=HOLD)

    def sweep(threads: int, made: lab.Entries = entries) -> lab.Result:
        return lab.sweep(bars, made, grid, costs=None, threads=threads, keep="statistics", progress=False)

    some = entries.take(slice(0, len(entries), 100))
    slow = brute_run(bars, some, STOPS, CALLBACKS, HOLD, 1)
    gross = np.array([(bars.tick * 10_000 * (slow[3][:, p] - bars.close[some.bar])) // some.price for p in range(len(grid))])
    swept = sweep(1, some).sums
    assert (np.abs(swept.points / 100 - gross.sum(1)) <= len(some)).all(), "the sums and the brute force differ"
    spent, one = best_of(8, lambda: sweep(1))
    walls = {threads: min(_wall(lambda threads=threads: sweep(threads)) for _ in range(3)) for threads in (1, 2)}
    two = sweep(2)
    assert all((getattr(one.sums, name) == getattr(two.sums, name)).all() for name in one.sums._fields), "threads differ"
    brute_s = slow[0] * len(entries) / len(some)
    note = f"brute force {brute_s:.1f} s, by every 100th entry"
    return [
        Figure("every bar an entry, 100 policies", spent, "s", 0.6, "statistics by policy, one core"),
        Figure("brute force / every bar an entry", brute_s / spent, "x", 50.0, note, least=True),
        Figure("two threads", walls[1] / walls[2], "x", 1.7, "equal; by the clock on the wall", least=True),
    ]


def _wall(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def ladder_figures(bars: lab.Bars) -> list[Figure]:
    """10 stops x 10 callbacks x 8 ladders x break-even or not, against the reference on a few of its outcomes."""
    entries = entries_of(bars)
    grid = lab.grid(
        stop_bps=STOPS, trail_bps=CALLBACKS, activation_bps=ACTIVATION, step_bps=0, max_bars=HOLD, targets=[rungs[:2] for rungs in LADDERS],
        break_even_after=(None, 1),
    )  # fmt: skip

    def sweep() -> lab.Result:
        return lab.sweep(bars, entries, grid, costs=None, threads=1, keep="outcomes")

    result = sweep()
    assert result.outcomes is not None
    for p in range(0, len(grid), 97):
        one = lab.replay(bars, entries.take(slice(p % 50, p % 50 + 1)), grid.policies[p], costs=None)[0]
        assert (one.end.bar, one.gross) == (result.outcomes.bar[p % 50, p], result.outcomes.gross[p % 50, p]), "sweep and reference differ"
    spent, _ = best_of(40, sweep)
    whole = brute_run(bars, entries, STOPS, CALLBACKS, HOLD, 1)[0] * len(grid) / 100
    speed = f"{len(grid) * len(entries) / spent / 1e6:.0f} M entry-policies a second"
    return [
        Figure("ladders and break-even, 1,600 policies", spent * 1e3, "ms", 15.0, speed),
        Figure("brute force / ladders", whole / spent, "x", 50.0, "brute force of the stops and trails alone, 16 times", least=True),
    ]


def wide_figures(bars: lab.Bars) -> list[Figure]:
    """No time stop and stops up to 40 %, on long entries."""
    entries = at_close(bars, np.arange(0, len(bars) - 1, HOLD), np.ones(len(bars) // HOLD, np.int64))
    grid = lab.grid(stop_bps=WIDE_STOPS, trail_bps=WIDE_CALLBACKS, activation_bps=ACTIVATION, step_bps=0)

    def sweep() -> lab.Result:
        return lab.sweep(bars, entries, grid, costs=None, threads=1, keep="outcomes")

    slow = brute_run(bars, entries, WIDE_STOPS, WIDE_CALLBACKS, BARS, 1)
    refuse_unequal(sweep(), *slow[2:])
    spent, _ = best_of(10, sweep)
    note = f"{spent * 1e3:.1f} ms against {slow[0]:.2f} s"
    return [Figure("brute force / no time stop, wide", slow[0] / spent, "x", 500.0, note, least=True)]


COLD = """
import time, sys
begun = time.perf_counter()
import qtkit
imported = time.perf_counter() - begun
import numpy as np
from qtkit import lab
n = 20_000
close = 300_000 + np.cumsum(np.random.default_rng(1).integers(-50, 51, n))
rows = dict(time_ms=np.arange(n) * 60_000, open=close, high=close + 40, low=close - 40, close=close)
bars = lab.Bars(symbol="X", tick=10**7, step_ms=60_000, **rows)
begun = time.perf_counter()
lab.sweep(bars, lab.every(bars, step=100), lab.grid(stop_bps=(100, 200), trail_bps=(50, 90)), costs=None)
print(imported, time.perf_counter() - begun)
"""


def cold_figures() -> list[Figure]:
    """Import, the first sweep of a machine, and the first of a process; each in a process of its own."""
    import tempfile

    with tempfile.TemporaryDirectory() as cache:
        first = _cold(cache)
        _run(cache, "from qtkit.lab.compiled import warm; warm('sweep_whole')")
        again = _cold(cache)
    return [
        Figure("import qtkit", min(first[0], again[0]), "s", 0.3, "in a process of its own"),
        Figure("first sweep on a machine", first[1], "s", 3.0, "by numpy, while another process compiles"),
        Figure("first sweep of a process", again[1], "s", 0.5, "compiled before, numba imported"),
    ]


def _cold(cache: str) -> tuple[float, float]:
    imported, swept = _run(cache, COLD).split()
    return float(imported), float(swept)


def _run(cache: str, code: str) -> str:
    """What a process of its own prints that keeps its kernels in ``cache``."""
    environment = {**os.environ, "XDG_CACHE_HOME": cache}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout


PEAK = """
from pathlib import Path
from qtkit import lab
from tests.bench.research import ACTIVATION, CALLBACKS, HOLD, STOPS, entries_of, made_bars
bars = made_bars()
grid = lab.grid(stop_bps=STOPS, trail_bps=CALLBACKS, activation_bps=ACTIVATION, step_bps=0, max_bars=HOLD)
lab.sweep(bars, entries_of(bars), grid, costs=None, threads=1, keep="outcomes")
print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024)
"""


def peak_figure() -> Figure:
    """Memory of T1, in a process of its own."""
    peak = float(subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout)
    return Figure("peak memory of T1", peak, "MB", 350.0, "in a process of its own, its bars made there")


def figures() -> list[Figure]:
    """All measurements."""
    warm()
    bars = made_bars()
    found = [*t1_figures(bars), peak_figure()]
    return [*found, *ladder_figures(bars), *wide_figures(bars), *dense_figures(bars), *cold_figures()]


def main(report: Callable[[str], object] = print) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    given = parser.parse_args()
    found = figures()
    if given.json:
        rows = [{**asdict(figure), "kept": figure.kept} for figure in found]
        about = {"python": sys.version.split()[0], "numba": numba.__version__, "cores": os.cpu_count(), "load": list(load())}
        report(json.dumps(about | {"figures": rows}))
    else:
        report("\n".join(told(figure) for figure in found))
    sys.exit(0 if all(figure.kept for figure in found) else 1)


if __name__ == "__main__":
    main()
