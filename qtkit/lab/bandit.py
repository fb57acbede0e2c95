"""LinUCB: learning from outcomes which policy suits which market, each choice by what was known when it was made.

The disjoint linear model of Li, Chu, Langford and Schapire, *A contextual-bandit approach to personalized news article recommendation*
(2010), algorithm 1: a ridge regression for every arm, and a bonus for what an arm is still unsure of.
"""

import heapq

import numpy as np
import numpy.typing as npt

from qtkit.core.hints import UNKNOWN, VOLATILITIES
from qtkit.core.model import PolicyError
from qtkit.core.policy import Regime
from qtkit.lab.arguments import Ints
from qtkit.lab.cohorts import Labels
from qtkit.lab.result import Floats, Result

REGIMES = (*(regime.value for regime in Regime), UNKNOWN)
BUCKETS = (*VOLATILITIES, UNKNOWN)


class LinUcb:
    """Arms that are chosen by a context of ``features`` numbers; ``alpha`` is how much is tried, ``ridge`` how little believed at first."""

    def __init__(self, arms: int, features: int, *, alpha: float = 1.0, ridge: float = 1.0) -> None:
        if arms < 1 or features < 1 or alpha < 0 or ridge <= 0:
            raise PolicyError(
                f"a bandit needs arms, features and a ridge above zero and no negative alpha, got {arms}, {features}, {ridge}, {alpha}"
            )
        self.alpha = alpha
        self.inverse = np.tile(np.eye(features) / ridge, (arms, 1, 1))
        self.rewards = np.zeros((arms, features))

    @property
    def weights(self) -> Floats:
        """What each arm is believed to bring per unit of each feature, [arms, features]."""
        return np.asarray(np.einsum("aij,aj->ai", self.inverse, self.rewards))

    def expected(self, context: Floats) -> Floats:
        """What each arm is believed to bring."""
        return np.asarray(self.weights @ context)

    def unsure(self, context: Floats) -> Floats:
        """The standard deviation of that belief, in units of the noise."""
        return np.asarray(np.sqrt(np.einsum("i,aij,j->a", context, self.inverse, context)))

    def choose(self, context: Floats) -> int:
        """The arm that may be the best; of equal ones the first."""
        return int(np.argmax(self.expected(context) + self.alpha * self.unsure(context)))

    def learn(self, arm: int, context: Floats, reward: float) -> None:
        """An outcome of an arm (Sherman and Morrison, 1950: the inverse after one more row)."""
        known = self.inverse[arm]
        row = known @ context
        self.inverse[arm] = known - np.outer(row, row) / (1 + context @ row)
        self.rewards[arm] += reward * context


def contexts(regimes: Labels, volatilities: Labels) -> Floats:
    """What the bandit sees of each entry: one, its regime, its volatility, [entries, features]."""
    made = [np.ones(len(regimes)), *(regimes == name for name in REGIMES), *(volatilities == name for name in BUCKETS)]
    return np.stack(made, axis=1).astype(np.float64)


def train(result: Result, rows: Ints, seen: Floats, *, alpha: float = 1.0) -> tuple[LinUcb, npt.NDArray[np.int64]]:
    """Play some entries of a sweep in their order and learn from what the chosen policies brought.

    That is in percent of the price, not R, for policies with different stops; cut to 5 of either sign. ``seen`` are the contexts of all
    entries. An outcome is learnt when its position is left and not before: no choice knows what came after it. Gives the bandit and the
    policy that it chose for each of the rows.
    """
    bandit = LinUcb(len(result), seen.shape[1], alpha=alpha)
    reward = np.clip(np.nan_to_num(result.net_bps) / 100, -5, 5)
    assert result.outcomes is not None
    waiting: list[tuple[int, int, int]] = []  # bar of the exit, entry, policy
    chosen = np.empty(len(rows), np.int64)
    for number, row in enumerate(rows.tolist()):
        while waiting and waiting[0][0] <= result.entries.bar[row] - int(result.entries.inside[row]):
            _, before, arm = heapq.heappop(waiting)
            bandit.learn(arm, seen[before], float(reward[before, arm]))
        chosen[number] = bandit.choose(seen[row])
        heapq.heappush(waiting, (int(result.outcomes.bar[row, chosen[number]]), row, int(chosen[number])))
    for _, before, arm in sorted(waiting):
        bandit.learn(arm, seen[before], float(reward[before, arm]))
    return bandit, chosen
