"""The path of the price inside a minute bar: what a bar does not tell, chosen openly.

A bar says open, high, low and close, not their order. ``worst-long`` goes to the low first, then to the high: the adverse extreme of a
long position comes before its targets (``worst-short`` mirrored). ``best-*`` is the other order. Both go in straight lines, one order for
the whole tape, so a tape that is worst for longs is best for shorts. ``bridge`` draws the order by seed and walks at random between the
corners. None ever leaves the bar, so the bars of the tape are the bars of the file.
"""

from array import array
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise
from math import isqrt
from random import Random

from qtkit.core.model import Bar, PolicyError
from qtkit.core.names import suggestion

MINUTE_MS = 60_000


class BarPath(Enum):
    """Which way the price takes through a bar; see the module."""

    BRIDGE = "bridge"
    WORST_LONG = "worst-long"
    WORST_SHORT = "worst-short"
    BEST_LONG = "best-long"
    BEST_SHORT = "best-short"

    @staticmethod
    def parse(text: str) -> "BarPath":
        """A path by name; ``worst`` and ``best`` alone are those of a long position. Raises ``PolicyError`` with the nearest name."""
        word = text.strip().lower()
        word = f"{word}-long" if word in ("worst", "best") else word
        names = [path.value for path in BarPath]
        if word in names:
            return BarPath(word)
        raise PolicyError(f"{text!r} names no path inside a bar: {suggestion(word, names)}")

    @property
    def low_first(self) -> bool | None:
        """True if the low comes before the high, None if the seed decides."""
        return None if self is BarPath.BRIDGE else self in (BarPath.WORST_LONG, BarPath.BEST_SHORT)


def play(bars: Sequence[Bar], seed: str, per_minute: int, path: BarPath = BarPath.BRIDGE) -> tuple[Sequence[int], Sequence[int]]:
    """Times (ms) and last prices (ticks) of minute bars played as ``per_minute`` ticks each, evenly spaced in the minute."""
    rng = Random(f"play:{seed}")
    times, lasts = array("q"), array("q")
    for bar in bars:
        lasts.extend(_prices(bar, rng, per_minute, path))
        times.extend(bar.time_ms + number * MINUTE_MS // per_minute for number in range(per_minute))
    return times, lasts


def _prices(bar: Bar, rng: Random, count: int, path: BarPath) -> list[int]:
    """One bar as ``count`` prices through four corners: open, one extreme, the other, close."""
    low_first, middle = path.low_first, count // 2
    drawn = low_first is None
    if low_first is None:
        low_first = bool(rng.getrandbits(1))
    extremes = (bar.low, bar.high) if low_first else (bar.high, bar.low)
    early = rng.randint(1, middle - 1) if drawn else max(count // 4, 1)
    late = rng.randint(middle, count - 2) if drawn else max(middle, min(3 * count // 4, count - 2))
    corners = ((0, int(bar.open)), (early, int(extremes[0])), (late, int(extremes[1])), (count - 1, int(bar.close)))
    step = (bar.high - bar.low) // isqrt(count) if drawn else 0  # a walk of so many such steps spans about the bar's range
    prices = [int(bar.open)]
    for (start, price), (end, then) in pairwise(corners):
        prices.extend(_between(price, then, end - start, step, bar, rng))
    return prices


def _between(price: int, then: int, steps: int, noise: int, bar: Bar, rng: Random) -> list[int]:
    """A walk from one corner to the next that arrives: each step goes its share of what is left, and a seeded bit aside."""
    walked = []
    for left in range(steps, 1, -1):
        price += (2 * (then - price) + left) // (2 * left)
        if noise:
            price = min(max(price + rng.randint(-noise, noise), bar.low), bar.high)
        walked.append(price)
    return [*walked, then]
