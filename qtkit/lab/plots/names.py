"""How policies are called in pictures and tables."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from qtkit.core.distance import Distance, InAtr, format_distance
from qtkit.core.policy import ExitPolicy
from qtkit.lab.plots.layers import spaced

if TYPE_CHECKING:
    from qtkit.lab.result import Result

SHORT = {"break_even_after": "break-even after target", "max_bars": "bars at most", "activation": "trail from"}
HOUR_MS = 3_600_000


def policy_names(result: "Result", policies: Sequence[int]) -> list[str]:
    """Some policies by that in which they differ from one another."""
    frame = result.grid.frame()[list(policies)]
    same = {name for name in result.grid.axes if frame[name].n_unique() == 1} if len(policies) > 1 else set()
    return [policy_name(result, policy, apart_from=same) for policy in policies]


def policy_name(result: "Result", policy: int, *, apart_from: Collection[str] = ()) -> str:
    """A policy by its place on the axes of its grid: ``stop 1.5 %, trail 2.5 %``."""
    axes = result.grid.axes
    where = np.unravel_index(policy, result.grid.shape)
    labels = {name: spaced(axes[name][int(at)]) for name, at in zip(axes, where, strict=True)}
    if list(labels) == ["policy"]:
        return labels["policy"]
    return ", ".join(f"{SHORT.get(name, name)} {label}" for name, label in labels.items() if name not in apart_from)


def names_in(frame: pl.DataFrame) -> list[str]:
    """The policies of a table that begins as that of a grid does, each by its place on the axes."""
    axes = frame.columns[1 : frame.columns.index("worst_bps")]
    if not axes:
        return [str(name) for name in frame["policy"]]
    return [", ".join(f"{SHORT.get(name, name)} {spaced(row[name])}" for name in axes) for row in frame.select(axes).to_dicts()]


def after_what(result: "Result") -> str:
    """Which costs are taken off."""
    fees = bool(result.costs.taker or result.costs.maker)
    parts = [name for name, there in (("fees", fees), ("funding", result.bars.funding is not None)) if there]
    return f"after {' and '.join(parts)}" if parts else "without costs"


def policy_words(policy: ExitPolicy) -> str:
    """All of a policy in one line: ``stop 2 %, 30 % at 1R, trail 1 % from 1R, break-even after target 1, 24 h at most``."""
    said = [f"stop {_said(policy.stop)}"]
    said += [f"{target.share / 100:g} % at {_said(target.at)}" for target in policy.targets]
    if policy.trail is not None:
        tighter = "".join(f", {step.callback / 100:g} % from {_said(step.at)}" for step in policy.trail.tightening)
        moves = " moving every hour" if policy.trail.moves else ""
        said.append(f"trail {_said(policy.trail.callback)}{moves} from {_said(policy.trail.activation)}{tighter}")
    for stage in policy.stages:
        to = "break-even" if stage.to is None else f"{stage.to / 100:+g} %"
        said.append(f"stop to {to} at {stage.at / 100:+g} %")
    said += [f"break-even after target {policy.break_even_after}"] if policy.break_even_after is not None else []
    said += [f"{policy.max_hold_ms / HOUR_MS:g} h at most"] if policy.max_hold_ms is not None else []
    return ", ".join(said)


def _said(distance: Distance) -> str:
    text = spaced(format_distance(distance))
    return f"{text} ({distance.least / 100:g}-{distance.most / 100:g} %)" if isinstance(distance, InAtr) else text
