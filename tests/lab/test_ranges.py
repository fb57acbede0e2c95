"""ATR in the lab is the number that the desk would have measured."""

import pytest

from qtkit import lab
from qtkit.core.model import E8
from qtkit.lab.cohorts import hours_of
from qtkit.market import ATR_HOURS, market_data


@pytest.mark.parametrize("days", [1, 9])
def test_atr_of_an_entry_is_what_the_desk_would_have_measured(days: int) -> None:
    """However long the series is: the desk asks for the newest hours alone."""
    bars = lab.example(days=days)
    entries = lab.with_atr(bars, lab.every(bars, step=97))
    known = hours_of(bars)
    wanted = []
    for bar in entries.bar:
        count = int(known.closed[bar])
        measured = market_data(known.bars[max(0, count - ATR_HOURS) : count], E8(bars.tick)).atr
        wanted.append(measured or 0)
    assert entries.atr.tolist() == wanted
    assert 0 < sum(value > 0 for value in wanted) < len(wanted)
