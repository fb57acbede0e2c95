"""The nearest that an initial stop may come to liquidation: what the planner refuses of an isolated entry, for many entries at once."""

import numpy as np

from qtkit.core import arithmetic
from qtkit.core.desired import WORKING_WITHIN
from qtkit.core.model import PolicyError
from qtkit.core.planner import BUFFER_WITHIN
from qtkit.lab.arguments import Ints
from qtkit.lab.entries import Entries

WHOLE = 10_000
NOWHERE = -(2**62)  # signed ticks: behind every stop


def checked(leverage: int | None) -> int | None:
    """The leverage, if it is one. Raises ``PolicyError`` for anything but a whole number from 1."""
    if leverage is not None and (isinstance(leverage, bool) or not isinstance(leverage, int) or leverage < 1):
        raise PolicyError(f"leverage is a whole number from 1, as the exchange sets it, or None for none; got {leverage!r}")
    return leverage


def furthest_stop(entries: Entries, leverage: int, buffer_bps: int, tick: int) -> Ints:
    """The furthest stop of each entry that the desk would send, ticks.

    An isolated position cannot lose more than its margin, entry / leverage. The stop lies within 60 % of the way there, and
    ``buffer_bps`` of the price before it, which leaves room for the maintenance margin. A long without leverage has no bound.
    """
    sign, entry = entries.sign, entries.price
    liquidation = entry - sign * (entry // leverage)
    kept = liquidation - sign * (-entry * buffer_bps // WHOLE)
    half = _between(entries, liquidation, BUFFER_WITHIN, tick)
    buffered = sign * np.minimum(sign * half, -((-sign * kept) // tick))
    near = np.maximum(sign * buffered, sign * _between(entries, liquidation, WORKING_WITHIN, tick))
    return sign * np.where(liquidation > 0, near, NOWHERE)


def _between(entries: Entries, liquidation: Ints, part: int, tick: int) -> Ints:
    level = arithmetic.level_between(entries.sign, entries.price, liquidation, part, tick)  # type: ignore[arg-type]
    return np.asarray(level)
