"""The measurements of the lab, printed; that a sweep gives what brute force gives, by day."""

import numpy as np
import pytest

from qtkit import lab
from tests.bench import research


def test_a_sweep_gives_what_brute_force_gives() -> None:
    bars = research.made_bars(30_000)
    entries = research.entries_of(bars)
    grid = lab.grid(stop_bps=research.STOPS, trail_bps=research.CALLBACKS, activation_bps=100, step_bps=0, max_bars=research.HOLD)
    slow = research.brute_run(bars, entries, research.STOPS, research.CALLBACKS, research.HOLD, 1)
    result = lab.sweep(bars, entries, grid, costs=None)
    research.refuse_unequal(result, *slow[2:])
    assert len(np.unique(slow[2])) > 100, "nothing happened"


@pytest.mark.bench
def test_research() -> None:
    found = research.figures()
    print("", *(research.told(figure) for figure in found), f"load {research.load()}", sep="\n")
    values = {figure.name: figure for figure in found}
    for name in ("brute force / T1", "brute force / every bar an entry", "brute force / ladders", "brute force / no time stop, wide"):
        assert values[name].kept, name
