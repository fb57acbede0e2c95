"""The table of venues."""

import pytest

from qtkit.core.model import PolicyError, TriggerBy
from qtkit.venue.capabilities import VENUES, capabilities


def test_binance_row() -> None:
    row = capabilities("binanceusdm")
    assert (row.close_position, row.amend, row.native_trailing, row.max_conditional) == (True, False, True, 200)
    assert (row.callback_min, row.callback_max, row.trigger_by) == (10, 2_000, (TriggerBy.MARK, TriggerBy.LAST))


@pytest.mark.parametrize(("asked", "hint"), [("binance", "mean binanceusdm"), ("Binance-USDM", "did you mean"), ("zzz", "known are")])
def test_unknown_venue_names_the_nearest(asked: str, hint: str) -> None:
    with pytest.raises(PolicyError, match=hint):
        capabilities(asked)


def test_names_are_the_keys() -> None:
    assert all(name == row.venue for name, row in VENUES.items())
