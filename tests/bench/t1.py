"""qtkit on T1 as the scripts in ``QTKIT_BENCH_PEERS`` put it, in their form: one line of JSON, once its exits are those of their oracle.

    PYTHONPATH=../shared/bench-peers python -m tests.bench.t1

Prices are whole ticks of 0.0001, not of the data's 0.1: every stop and trail of T1 lies on that grid (a price in steps of 0.1, by
multiples of 0.5 % or 0.3 %). So nothing is rounded, and exits are equal to those of an oracle that does not round. Times are
those of the processor.
"""

import sys
import time
from collections.abc import Callable

import common  # type: ignore[import-not-found]
import data  # type: ignore[import-not-found]
import numpy as np
import polars as pl
import t1_reference  # type: ignore[import-not-found]

from qtkit import lab
from qtkit.lab.entries import at_close

TICK, SCALE = "0.0001", 10_000


def main() -> None:
    """Run from the command line."""
    opened, high, low, close = data.load()
    minutes = pl.Series(np.arange(len(close)) * 60_000).cast(pl.Datetime("ms", "UTC"))
    frame = pl.DataFrame({"time": minutes, "open": opened, "high": high, "low": low, "close": close, "volume": 1.0})
    bars = lab.load(frame, symbol="T1", tick=TICK)
    entries = at_close(bars, data.ENTRIES, data.SIDES.astype(np.int64))
    stops, callbacks = ([round(10_000 * part) for part in parts] for parts in (data.SL, data.TR))
    grid = lab.grid(stop_bps=stops, trail_bps=callbacks, activation_bps=round(10_000 * data.ACT), step_bps=0, max_bars=data.HOLD)

    def sweep() -> lab.Result:
        return lab.sweep(bars, entries, grid, costs=None, threads=1, keep="outcomes")

    found = sweep().outcomes
    exits, prices, _ = t1_reference.oracle(opened, high, low, close)
    if found is None or (found.bar != exits).any() or (found.price != np.round(prices * SCALE)).any():
        sys.exit("the sweep and the oracle of the scripts differ: no speed is told")
    common.report("qtkit T1", [spent_on(sweep) for _ in range(40)], equal=exits.size)


def spent_on(work: Callable[[], object]) -> float:
    """Processor time, seconds."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
