"""How sure a difference is: two exits on the same entries, and the best of many.

Positions overlap, so their outcomes hang together: they are drawn again in blocks of random length (stationary bootstrap, Politis and
Romano, JASA 1994), long enough that what one position shares with the next stays together.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from qtkit.core.model import PolicyError
from qtkit.lab.arguments import Ints
from qtkit.lab.result import Floats, Result

EULER = 0.5772156649015329
LEAST = 20  # entries below which nothing is said


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Policy ``a`` less policy ``b`` on the entries that both took: mean net bps, its 95 % interval, and the p of a difference by chance.

    ``p`` is two-sided. ``block`` is the mean length of the blocks in entries.
    """

    entries: int
    mean_bps: float
    low_bps: float
    high_bps: float
    p: float
    block: float

    def __str__(self) -> str:
        return f"{self.mean_bps:+.1f} bps ({self.low_bps:+.1f} to {self.high_bps:+.1f}) on {self.entries} entries, p {self.p:.3f}"


def compare(result: Result, a: int, b: int, *, samples: int = 2_000, seed: int = 0) -> Comparison:
    """Paired comparison of two policies of a sweep. Raises ``PolicyError`` for an unknown policy or under 20 shared entries."""
    for policy in (a, b):
        _refuse_unknown(result, policy)
    gain = result.net_bps[:, a] - result.net_bps[:, b]
    rows = np.flatnonzero(~np.isnan(gain))
    _refuse_few(len(rows))
    block = _block(result, rows)
    means = gain[rows][_drawn(len(rows), block, samples, seed)].mean(1)
    mean = float(gain[rows].mean())
    low, high = np.quantile(means, (0.025, 0.975))
    beyond = np.abs(means - mean) >= abs(mean)
    return Comparison(
        entries=len(rows), mean_bps=mean, low_bps=float(low), high_bps=float(high), p=float((beyond.sum() + 1) / (samples + 1)), block=block
    )


def reality_check(result: Result, *, benchmark: int | None = None, samples: int = 1_000, seed: int = 0) -> float:
    """The p that the best of a grid beats a policy of it (None: bringing nothing) by the luck of many tries.

    White's reality check (Econometrica 2000) on mean net bps: how often the best of re-drawn, centred means is as good as the best found.
    Each policy counts by the entries that it took itself, all drawn again together; one that passed over nearly all of them is noisy,
    and makes the check stricter. Raises ``PolicyError`` where a policy took under 20.
    """
    if benchmark is not None:
        _refuse_unknown(result, benchmark)
    net = result.net_bps
    rows = np.flatnonzero(~np.isnan(net).all(1))
    took = ~np.isnan(net[rows])
    _refuse_few(int(took.sum(0).min()))
    gain = np.where(took, net[rows], 0.0)
    weights = _weights(_drawn(len(rows), _block(result, rows), samples, seed))
    found, drawn = gain.sum(0) / took.sum(0), (weights @ gain) / np.maximum(weights @ took, 1 / len(rows))
    if benchmark is not None:
        found, drawn = found - found[benchmark], drawn - drawn[:, [benchmark]]
    luck = (drawn - found).max(1)
    return float(((luck >= found.max()).sum() + 1) / (samples + 1))


def deflated_sharpe(result: Result, policy: int | None = None) -> float:
    """The probability that a policy's Sharpe ratio a position is above what the best of as many without skill would show.

    Bailey and López de Prado, *The Deflated Sharpe Ratio* (2014): corrected for the number of policies tried, and for skew and tails of
    the outcomes. ``policy`` None is the one with the best ratio. Overlapping entries count in full, so it flatters them.
    """
    values = result.net_bps
    ratios = np.nanmean(values, 0) / np.nanstd(values, 0)
    chosen = int(np.nanargmax(ratios)) if policy is None else policy
    _refuse_unknown(result, chosen)
    own = values[~np.isnan(values[:, chosen]), chosen]
    _refuse_few(len(own))
    tries, normal = len(result), NormalDist()
    hurdle = 0.0
    if tries > 1:
        spread = float(np.nanstd(ratios))
        hurdle = spread * ((1 - EULER) * normal.inv_cdf(1 - 1 / tries) + EULER * normal.inv_cdf(1 - 1 / (tries * math.e)))
    scaled = (own - own.mean()) / own.std()
    skew, tails, ratio = float((scaled**3).mean()), float((scaled**4).mean()), float(ratios[chosen])
    width = math.sqrt(max(1 - skew * ratio + (tails - 1) / 4 * ratio**2, 1e-12))
    return normal.cdf((ratio - hurdle) * math.sqrt(len(own) - 1) / width)


def _block(result: Result, rows: Ints) -> float:
    """Mean length of a block: how many entries begin while a position is held, at least the cube root of their number."""
    held = float(result.held[rows].mean(0).max())
    bars = result.entries.bar[rows]
    apart = float(bars[-1] - bars[0]) / max(len(rows) - 1, 1)
    overlap = 1.0 if apart <= 0 else held / apart
    return float(min(max(overlap, len(rows) ** (1 / 3), 1.0), len(rows) / 4))


def _drawn(count: int, block: float, samples: int, seed: int) -> Ints:
    """Rows drawn again, [samples, count]: each follows the one before it, or with the chance of ``1 / block`` begins anew."""
    rng = np.random.default_rng(seed)
    anew = rng.random((samples, count)) < 1 / block
    anew[:, 0] = True
    starts = rng.integers(0, count, (samples, count))
    place = np.arange(count)
    last = np.maximum.accumulate(np.where(anew, place, 0), axis=1)
    return np.asarray((np.take_along_axis(starts, last, axis=1) + place - last) % count, np.int64)


def _weights(drawn: Ints) -> Floats:
    """Share of each row in each sample."""
    samples, count = drawn.shape
    flat = drawn + np.arange(samples)[:, None] * count
    return np.asarray(np.bincount(flat.ravel(), minlength=samples * count).reshape(samples, count) / count)


def _refuse_unknown(result: Result, policy: int) -> None:
    if not 0 <= policy < len(result):
        raise PolicyError(f"there are {len(result)} policies, numbered from 0; got {policy}")


def _refuse_few(count: int) -> None:
    if count < LEAST:
        raise PolicyError(f"{count} entries are too few to say how sure a difference is; give at least {LEAST} that the policies share")
