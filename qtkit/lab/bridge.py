"""What came first inside a bar, its high or its low: the chance of it, as of a walk between open and close."""

import numpy as np

from qtkit.lab.result import Floats

ROUNDS = 40  # ways from end to end of a bar and back; what those after them weigh is in the fourth digit


def high_first(up: Floats, down: Floats, close: Floats) -> Floats:
    """The chance that a bar reached its high, ``up`` above its open, before its low, ``down`` below it; ``close`` from the open, signed.

    The price is taken for a Brownian motion, as wild as it may be. One that has just these ends goes to the first of them, from there to
    the other, from there to the close, and never beyond: each part has a known Laplace transform (Borodin and Salminen, *Handbook of
    Brownian Motion*, part II, 1.3), the whole is their product. What counts is the shape of the bar alone, over all volatilities alike.

    So a bar that closed near its high most likely went low first, and one that closed at its open went first to the end that is nearer.
    A flat bar has no order: 0.5.
    """
    span = up + down
    unit = 1 / np.where(span > 0, span, 1.0)
    up, down, close = up * unit, down * unit, close * unit
    high, low = _weight(down, up - close), _weight(up, close + down)
    total = high + low
    return np.where(total > 0, high / np.where(total > 0, total, 1.0), 0.5)


def _weight(opened: Floats, closed: Floats) -> Floats:
    """Weight of the ways of a bar one high: ``opened`` from the end that comes later it opens, ``closed`` from the one that came first it
    closes.

    The transform is k sinh(opened k) sinh(closed k) / sinh(k)^3, k the root of twice the Laplace variable: a sum of terms k exp(-way k).
    Each is inverted to (way^2 - 1) exp(-way^2 / 2), and that over all volatilities (uniform in their logarithm) to 1 / way^3.
    """
    number = np.arange(ROUNDS)[:, None]
    there, near, far = 3 + 2 * number, opened + closed, opened - closed
    terms = (there - near) ** -3 - (there - far) ** -3 - (there + far) ** -3 + (there + near) ** -3
    return np.asarray(((number + 1) * (number + 2) / 2 * terms).sum(0))
