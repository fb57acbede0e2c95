"""What came first inside a bar: the chance that its price touched one level before another, as of a walk between open and close."""

import numpy as np

from qtkit.lab.result import Floats

TERMS = 200
PARKINSON = 4 * np.log(2)


def favourable_first(up: Floats, down: Floats, close: Floats, span: Floats) -> Floats:
    """The chance that a bar touched a level ``up`` above its open before one ``down`` below it, given that it touched both.

    All in one unit, measured from the open: ``up`` and ``down`` at or above 0, ``close`` signed, ``span`` the bar's high less its low.
    The price is taken for a Brownian bridge from open to close whose variance is what the range tells (Parkinson, *The Extreme Value
    Method for Estimating the Variance of the Rate of Return*, Journal of Business 53, 1980: range squared over 4 ln 2). By reflection
    (Borodin and Salminen, *Handbook of Brownian Motion*, part II, 1.3) a walk that touches levels in turn is one that ends as far away
    as the way is long; those that touch the other level first are taken off, and put back, in turn.

    Why this rule: open and close are what tells the order. Of a bar that closed near its high most went low first; of one that closed at
    its open the nearer level came first, as often as the other is farther. That high and low lie beyond the levels tells how far the
    price moved, and no more is made of it: over many bars the chance is right on average, of a single bar it may be off.
    """
    unit = np.sqrt(np.maximum(span, 1e-12) ** 2 / PARKINSON)
    up, down, close = (np.asarray(part / unit, float) for part in (np.maximum(up, 0), np.maximum(down, 0), close))
    far_up, far_down = np.abs(close - up), np.abs(close + down)
    first_up, first_down = _ways(up, down, far_down), _ways(down, up, far_up)
    total = first_up + first_down
    even = np.where(up + down > 0, down / np.maximum(up + down, 1e-300), 0.5)
    return np.clip(np.where(total > 1e-290, first_up / np.maximum(total, 1e-300), even), 0.0, 1.0)


def _ways(first: Floats, second: Floats, rest: Floats) -> Floats:
    """Weight of the walks that touch the level at ``first``, then that at ``second`` the other way, and end ``rest`` from it."""
    width = first + second
    total = np.zeros_like(width)
    for turn in range(1, TERMS + 1):
        less = _weight(second + 2 * turn * width + rest)
        total += _weight(first + (2 * turn - 1) * width + rest) - less
        if not (less > 1e-12 * np.maximum(total, 1e-300)).any():
            break
    return np.maximum(total, 0.0)


def _weight(way: Floats) -> Floats:
    return np.asarray(np.exp(-(way**2) / 2))
