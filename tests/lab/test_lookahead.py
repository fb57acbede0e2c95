"""Entries of both sides at one time are two entries to the search for look-ahead."""

import numpy as np
import polars as pl
import pytest

from qtkit import lab
from tests.lab.rig import walk


def made(part: lab.Bars, peeking: str) -> pl.DataFrame:
    """A long and a short at every tenth bar; the one that peeks is there only where the close of 40 bars later is higher."""
    bar = np.arange(0, len(part), 10)
    higher = part.close[np.minimum(bar + 40, len(part) - 1)] > part.close[bar]
    time = part.frame().select("time")
    sides = [time[bar[higher] if side == peeking else bar].with_columns(side=pl.lit(side)) for side in ("long", "short")]
    return pl.concat(sides).sort("time", maintain_order=True)


@pytest.mark.parametrize("peeking", ["long", "short"])
def test_an_entry_that_peeks_is_found_beside_an_honest_one_of_the_same_time(peeking: str) -> None:
    bars = walk(4, 1_500)
    found = lab.first_lookahead(bars, lambda part: made(part, peeking))
    assert found is not None and (found.was or found.became or {})["side"] == peeking
    assert lab.first_lookahead(bars, lambda part: made(part, "none")) is None
