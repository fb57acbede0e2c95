"""How sure a difference is: two exits on the same entries, and the best of many.

Positions overlap, so their outcomes hang together: they are drawn again in blocks (``qtkit.lab.resampling``), and beside how many entries
there are it is told how many they are worth.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from qtkit.core.model import PolicyError
from qtkit.lab.arguments import Ints
from qtkit.lab.asked import refuse_policy
from qtkit.lab.portfolio import uniqueness
from qtkit.lab.resampling import LEVEL, block_length, centring, drawn_means, flipped_means, interval, student, widening
from qtkit.lab.result import Floats, Result

EULER = 0.5772156649015329
LEAST = 20  # entries below which nothing is said


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Policy ``a`` less policy ``b``, or less nothing, on the entries that both took: mean net bps, its 95 % interval, and the p of a
    difference by chance.

    ``effective`` is how many entries that do not overlap these are worth. ``p`` is two-sided; ``block`` the mean length of the blocks in
    entries, of which there are ``entries / block``: with five of them p cannot fall below 1 in 16.
    """

    entries: int
    effective: float
    mean_bps: float
    low_bps: float
    high_bps: float
    p: float
    block: float

    def __str__(self) -> str:
        worth = f"{self.entries} entries worth {self.effective:.0f} apart"
        return f"{self.mean_bps:+.1f} bps ({self.low_bps:+.1f} to {self.high_bps:+.1f}, 95 %) on {worth}, p {self.p:.3f}"


def compare(
    result: Result,
    a: int,
    b: int | None = None,
    *,
    rows: Ints | None = None,
    block: float | None = None,
    samples: int = 2_000,
    seed: int = 0,
) -> Comparison:
    """Paired comparison of two policies of a sweep, entry by entry; without ``b``, of one with bringing nothing.

    ``rows`` are the numbers of the entries that count, in their order; None: all. The interval is by stationary bootstrap (Politis and
    Romano 1994), p by tossing the sign of whole blocks of differences, which under no difference are as likely one as the other. ``block``
    is the length of a block in entries; None: by the overlap of the holding periods. Raises ``PolicyError`` for an unknown policy, under
    20 shared entries, or a block that is none.
    """
    policies = [a] if b is None else [a, b]
    for policy in policies:
        refuse_policy(policy, len(result))
    gain = result.net_bps[:, a] - (0.0 if b is None else result.net_bps[:, b])
    shared = np.flatnonzero(~np.isnan(gain))
    shared = shared if rows is None else np.intersect1d(shared, rows)
    start, end = _spans(result, shared, np.array(policies))
    gain, length = gain[shared], _block(start, end, block)
    low, high = interval(gain, length, samples, seed)
    beyond = np.abs(flipped_means(gain, length, samples, seed)) >= abs(float(gain.mean())) - 1e-12
    return Comparison(
        entries=len(gain), effective=effective(start, end), mean_bps=float(gain.mean()), low_bps=low, high_bps=high,
        p=float((beyond.sum() + 1) / (samples + 1)), block=length,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfMany:
    """The best ``policy`` of ``policies``, and whether that is more than the luck of so many tries.

    ``mean_bps`` is what it brought more than the benchmark a position, ``at_least_bps`` what is left of that once the best of many is
    allowed for (95 %, one-sided, all policies at once); it is below zero where ``p``, White's, is above 0.05. ``p_spa`` is Hansen's: it
    sees more, for hopeless and wild policies in the grid do not dull it, and says too much where blocks are few. Without skill it was
    below 0.05 in 7 to 8 % of the cases with 30 blocks or more and in 12 % with 12 of them; White's in 4 to 6 %.
    """

    policy: int
    policies: int
    entries: int
    effective: float
    mean_bps: float
    at_least_bps: float
    p: float
    p_spa: float
    block: float

    def __str__(self) -> str:
        found = f"policy {self.policy} brought {self.mean_bps:+.1f} bps, at least {self.at_least_bps:+.1f} (95 %)"
        worth = f"{self.entries} entries worth {self.effective:.0f} apart"
        return f"{found} as the best of {self.policies} on {worth}, p {self.p:.3f} (Hansen's {self.p_spa:.3f})"


def reality_check(
    result: Result, *, benchmark: int | None = None, block: float | None = None, samples: int = 1_000, seed: int = 0
) -> BestOfMany:
    """Whether the best policy of a sweep beats one of them (None: bringing nothing) by more than the luck of many tries.

    White, *A Reality Check for Data Snooping* (Econometrica 68, 2000), on mean net bps, and Hansen, *A Test for Superior Predictive
    Ability* (JBES 23, 2005, the consistent p), on means in units of their spread, both by one stationary bootstrap. Each
    policy counts by the entries that it took itself, all drawn again together; one that passed over nearly all of them is noisy, and makes
    White's p greater. Raises ``PolicyError`` where a policy took under 20, for an unknown benchmark, or a block that is none.
    """
    if benchmark is not None:
        refuse_policy(benchmark, len(result))
    net = result.net_bps
    rows = np.flatnonzero(~np.isnan(net).all(1))
    took = ~np.isnan(net[rows])
    _refuse_few(int(took.sum(0).min()))
    start, end = _spans(result, rows, np.array([int(result.held.mean(0).argmax())]))
    length = _block(start, end, block)
    means, luck = _drawn_around(np.where(took, net[rows], 0.0), took, length, (samples, seed))
    if benchmark is not None:
        means, luck = means - means[benchmark], luck - luck[:, [benchmark]]
    best, luckiest = int(means.argmax()), luck.max(1) * widening(len(rows), length)
    return BestOfMany(
        policy=best, policies=len(result), entries=len(rows), effective=effective(start, end), mean_bps=float(means[best]),
        at_least_bps=float(means[best] - np.quantile(luckiest, LEVEL)), p=_as_often(luckiest, float(means[best])),
        p_spa=_superior(means, luck, len(rows), length), block=length,
    )  # fmt: skip


def _drawn_around(gain: Floats, took: npt.NDArray[np.bool_], block: float, drawing: tuple[int, int]) -> tuple[Floats, Floats]:
    """Mean of each policy over what it took, and drawn means around it, [samples, policies]."""
    part = took.mean(0)
    means = gain.mean(0) / part
    if took.all():
        return means, drawn_means(gain, block, *drawing) - means
    both = drawn_means(np.hstack([gain, took]), block, *drawing)
    sums, parts = both[:, : gain.shape[1]], both[:, gain.shape[1] :]
    return means, sums / np.maximum(parts, 1 / len(gain)) - means


def _superior(means: Floats, luck: Floats, count: int, block: float) -> float:
    """Hansen's consistent p. ``luck`` [samples, policies] are drawn means around their own.

    The spreads are estimates too, and the best of many is one whose spread came out small: luck is set against it as Student's.
    """
    spread = luck.std(0)
    there = spread > 1e-9 * max(float(spread.max()), 1e-300)  # a policy that is as the benchmark on every entry is no try
    if not there.any():
        return 1.0
    units = means[there] / (spread[there] * centring(count, block))
    hopeless = units < -math.sqrt(2 * math.log(math.log(count)))  # so far below that luck cannot lift them: they do not count
    lifted = (luck[:, there] / spread[there] + np.where(hopeless, units, 0.0)).max(1)
    return _as_often(student(np.maximum(lifted, 0), count, block), max(0.0, float(units.max())))


def _as_often(luck: Floats, found: float) -> float:
    """How often luck is as good as what was found."""
    return float(((luck >= found - 1e-12).sum() + 1) / (len(luck) + 1))


def deflated_sharpe(result: Result, policy: int | None = None) -> float:
    """The probability that a policy's Sharpe ratio a position is above what the best of as many without skill would show.

    Bailey and López de Prado, *The Deflated Sharpe Ratio* (Journal of Portfolio Management 40, 2014): corrected for the number of policies
    tried, and for skew and tails of the outcomes. ``policy`` None is the one with the best ratio. Overlapping entries count for what they
    are worth apart. Raises ``PolicyError`` for an unknown policy or under 20 entries.
    """
    values = result.net_bps
    mean, spread = np.nanmean(values, 0), np.nanstd(values, 0)
    ratios = np.divide(mean, spread, out=np.zeros_like(mean), where=spread > 0)
    chosen = int(ratios.argmax()) if policy is None else policy
    refuse_policy(chosen, len(result))
    rows = np.flatnonzero(~np.isnan(values[:, chosen]))
    start, end = _spans(result, rows, np.array([chosen]))
    own = values[rows, chosen]
    scaled = (own - own.mean()) / (own.std() or 1.0)
    skew, tails = float((scaled**3).mean()), float((scaled**4).mean())
    return deflated(float(ratios[chosen]), len(result), float(ratios.std()), effective(start, end), skew, tails)


def deflated(ratio: float, tries: int, spread: float, count: float, skew: float, tails: float) -> float:
    """The deflated Sharpe ratio from its parts: ratio a position, tries and the spread of their ratios, positions, skew and kurtosis."""
    hurdle, normal = 0.0, NormalDist()
    if tries > 1:
        hurdle = spread * ((1 - EULER) * normal.inv_cdf(1 - 1 / tries) + EULER * normal.inv_cdf(1 - 1 / (tries * math.e)))
    width = math.sqrt(max(1 - skew * ratio + (tails - 1) / 4 * ratio**2, 1e-12))
    return normal.cdf((ratio - hurdle) * math.sqrt(max(count - 1, 0.0)) / width)


def effective(start: Ints, end: Ints) -> float:
    """How many positions that do not overlap those from ``start`` to ``end`` are worth: the sum of what each has for itself.

    Average uniqueness times their number (López de Prado, *Advances in Financial Machine Learning*, 2018, ch. 4).
    """
    return float(uniqueness(start, end).sum())


def _spans(result: Result, rows: Ints, policies: Ints) -> tuple[Ints, Ints]:
    """Bars of entry and of the latest exit under some policies. Refuses too few of them."""
    _refuse_few(len(rows))
    start = result.entries.bar[rows]
    return start, start + np.maximum(result.held[np.ix_(rows, policies)].max(1), 1)


def _block(start: Ints, end: Ints, asked: float | None) -> float:
    if asked is None:
        return block_length(start, end)
    if not 1 <= asked <= len(start) / 2:
        raise PolicyError(
            f"a block is 1 to {len(start) // 2} of these {len(start)} entries long, got {asked}; leave it out to go by overlap"
        )
    return float(asked)


def _refuse_few(count: int) -> None:
    if count < LEAST:
        raise PolicyError(f"{count} entries are too few to say how sure a difference is; give at least {LEAST} that the policies share")
