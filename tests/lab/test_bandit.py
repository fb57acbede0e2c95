"""LinUCB: its sums are those of a ridge regression, it finds the better arm, and no choice knows what came after it."""

from dataclasses import replace

import numpy as np
import pytest

from qtkit import lab
from qtkit.core.model import PolicyError
from qtkit.lab.bandit import contexts, train
from tests.lab.rig import some_entries, walk


@pytest.mark.parametrize("seed", range(5))
def test_what_it_believes_is_the_ridge_regression(seed: int) -> None:
    rng = np.random.default_rng(seed)
    it = lab.LinUcb(3, 4, ridge=0.7)
    rows: dict[int, list[tuple[np.ndarray, float]]] = {0: [], 1: [], 2: []}  # type: ignore[type-arg]
    for _ in range(200):
        arm, x, reward = int(rng.integers(3)), rng.normal(size=4), float(rng.normal())
        it.learn(arm, x, reward)
        rows[arm].append((x, reward))
    ask = rng.normal(size=4)
    for arm, seen in rows.items():
        design, rewards = np.array([x for x, _ in seen]), np.array([r for _, r in seen])
        inverse = np.linalg.inv(design.T @ design + 0.7 * np.eye(4))
        assert it.weights[arm] == pytest.approx(inverse @ design.T @ rewards)
        assert it.unsure(ask)[arm] == pytest.approx(np.sqrt(ask @ inverse @ ask))
        assert it.expected(ask)[arm] == pytest.approx(it.weights[arm] @ ask)


def test_it_learns_which_arm_suits_which_context() -> None:
    """Two kinds of market, each with its own best arm: regret stops growing, by chance it would be 0.5 a round."""
    rng = np.random.default_rng(1)
    it, regret = lab.LinUcb(3, 2), []
    best = np.array([[1.0, 0.0], [0.0, 1.0], [0.2, 0.2]])
    for _ in range(1_500):
        x = np.eye(2)[rng.integers(2)]
        arm = it.choose(x)
        it.learn(arm, x, best[arm] @ x + rng.normal() / 2)
        regret.append(1 - best[arm] @ x)
    assert np.mean(regret[-500:]) < 0.02 and np.mean(regret) < 0.1
    assert it.choose(np.array([1.0, 0])) == 0 and it.choose(np.array([0, 1.0])) == 1


def test_what_was_not_tried_is_tried() -> None:
    it = lab.LinUcb(4, 1)
    tried = []
    for _ in range(4):
        arm = it.choose(np.ones(1))
        it.learn(arm, np.ones(1), 0.0)
        tried.append(arm)
    assert tried == [0, 1, 2, 3]
    assert lab.LinUcb(4, 1, alpha=0).choose(np.ones(1)) == 0


@pytest.mark.parametrize("arguments", [(0, 1, 1.0, 1.0), (1, 0, 1.0, 1.0), (1, 1, -1.0, 1.0), (1, 1, 1.0, 0.0)])
def test_nonsense_is_refused(arguments: tuple[int, int, float, float]) -> None:
    arms, features, alpha, ridge = arguments
    with pytest.raises(PolicyError, match="a bandit needs"):
        lab.LinUcb(arms, features, alpha=alpha, ridge=ridge)


def test_no_choice_knows_what_came_after_it() -> None:
    """Whatever prices do after an entry, what was chosen up to it stays."""
    bars = walk(6, 900)
    entries = some_entries(bars, 7, 120)
    grid = lab.grid(stop_bps=(150, 300), trail_bps=(None, 150), max_bars=60)
    seen = contexts(np.array(["TREND"] * 60 + ["RANGE"] * 60), np.array(["low", "high"] * 60))
    chosen = train(lab.sweep(bars, entries, grid), np.arange(120), seen)[1]
    changed = 0
    for row in range(10, 110, 5):
        cut = int(entries.bar[row])
        turned = {name: getattr(bars, name).copy() for name in ("open", "high", "low", "close")}
        for name, other in (("open", "open"), ("high", "low"), ("low", "high"), ("close", "close")):
            turned[name][cut + 1 :] = 2 * bars.close[cut] - getattr(bars, other)[cut + 1 :]
        mirror = replace(bars, **turned)
        made = replace(entries, price=mirror.close[entries.bar] * mirror.tick)
        again = train(lab.sweep(mirror, made, grid), np.arange(120), seen)[1]
        assert again[: row + 1].tolist() == chosen[: row + 1].tolist()
        changed += again.tolist() != chosen.tolist()
    assert changed > 10
