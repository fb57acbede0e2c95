"""Grids of exit policies: every combination of what is asked, each a policy that the desk can run."""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from math import prod
from typing import TypeVar

import polars as pl

from qtkit.core.distance import Distance, InAtr, InBps, InR, format_distance, parse_distance
from qtkit.core.model import Bps, PolicyError
from qtkit.core.policy import WHOLE, ExitPolicy, StageRule, TargetRule, TightenRule, TrailRule
from qtkit.lab.asked import is_whole, refuse_unsure

A = TypeVar("A")
B = TypeVar("B")
Rung = tuple[str | int, int | float]
"""A target: its distance (``"1R"``, ``"2.5%"``, or bps) and its share of the position in percent."""
MINUTE_MS = 60_000
ABSENT = ("none", "never")
MOST = 1_000_000  # policies are made one by one: more take minutes


@dataclass(frozen=True, eq=False, repr=False)
class Grid:
    """Policies to be compared, and the axes that they were made from.

    ``axes`` name what was varied, with a label for each value; the policies are their product, the last axis fastest. ``own_stop`` lets
    each entry's own stop take the place of the policy's.
    """

    policies: tuple[ExitPolicy, ...]
    axes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    own_stop: bool = False

    def __post_init__(self) -> None:
        if not self.policies:
            raise PolicyError("the grid is empty: give at least one value for each axis, and stop_bps, stop or own_stop")
        if self.axes and prod(self.shape) != len(self.policies):
            raise PolicyError(f"axes of {' x '.join(map(str, self.shape))} values are not {len(self.policies)} policies; leave axes out")
        if not self.axes:
            object.__setattr__(self, "axes", {"policy": tuple(policy.name for policy in self.policies)})

    def __len__(self) -> int:
        return len(self.policies)

    def __repr__(self) -> str:
        return f"{len(self):,} policies: {' x '.join(f'{len(labels):,} of {name}' for name, labels in self.axes.items())}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(len(labels) for labels in self.axes.values())

    def frame(self) -> pl.DataFrame:
        """A row a policy: its number and its place on each axis."""
        rows = list(product(*self.axes.values()))
        columns = {name: [row[index] for row in rows] for index, name in enumerate(self.axes)}
        return pl.DataFrame({"policy": range(len(self)), **columns})


def as_grid(policies: "Grid | ExitPolicy | Sequence[ExitPolicy]") -> Grid:
    """Any policies as a grid of one axis, by their names."""
    if isinstance(policies, Grid):
        return policies
    every = tuple(policies) if isinstance(policies, Sequence) else (policies,)
    for policy in every:
        if not isinstance(policy, ExitPolicy):
            raise PolicyError(f"a grid is made with lab.grid(...), or is a list of policies; got {type(policy).__name__}")
    return Grid(every)


def grid(
    *,
    stop_bps: int | Iterable[int] = (),
    stop: str | Iterable[str] = (),
    trail_bps: int | Iterable[int | None] | None = None,
    trail: str | Iterable[str] = (),
    moving_trail: str | Iterable[str] = (),
    activation_bps: int | Iterable[int] = (),
    activation: str | Iterable[str] = (),
    step_bps: int = 10,
    tightening: Sequence[Sequence[tuple[str | int, int]]] = ((),),
    targets: Sequence[Sequence[Rung]] = ((),),
    break_even_after: int | Iterable[int | None] | None = None,
    stages: Sequence[Sequence[tuple[int, int | None]]] = ((),),
    max_bars: int | Iterable[int | None] | None = None,
    bar_ms: int = MINUTE_MS,
    own_stop: bool = False,
) -> Grid:
    """Every combination of the values given; one value is a fixed choice.

    ``stop_bps`` or ``stop`` (``"2.5%"``, ``"3atr"``) is the initial stop; ``own_stop`` takes each entry's own instead. ``trail_bps`` or
    ``trail`` (``"2%"``, ``"2atr"``: of ATR at the entry) is the callback, None for no trail, ``moving_trail`` (``"2atr"``) one that is
    measured anew every hour. Trails are armed at ``activation_bps`` or ``activation`` (``"1R"``) and moved in steps of ``step_bps``;
    ``tightening`` are curves of (from where, callback in bps). ``targets`` are ladders of (distance, percent); what they leave is trailed.
    ``break_even_after`` n targets; ``stages`` are lists of (at bps, stop to bps or None for break-even).
    ``max_bars`` is the time stop in bars of ``bar_ms``; the desk counts it by the clock, so does the lab.

    Raises ``PolicyError`` when a combination is no policy (shares over 100 %, targets out of order) or nothing is given.
    """
    refuse_unsure(own_stop=own_stop)
    stops = [InBps(_bps(bps, "stop_bps")) for bps in _many(stop_bps)] + [_stop(text) for text in _many(stop)]
    if own_stop and not stops:
        stops = [InBps(Bps(WHOLE - 1))]
    callbacks: list[tuple[InBps | InAtr | None, bool]] = [(_stop(text), False) for text in _many(trail)]
    callbacks = callbacks or [(None if bps is None else InBps(_bps(bps, "trail_bps")), False) for bps in _many(trail_bps)]
    callbacks = callbacks + [(_stop(text), True) for text in _many(moving_trail)] or [(None, False)]
    arms = [InBps(_bps(bps, "activation_bps")) for bps in _many(activation_bps)] + [_distance(text) for text in _many(activation)]
    arms = arms or [InBps(Bps(100))]
    ladders = [tuple((_target(at), _share(share)) for at, share in rungs) for rungs in _lists(targets, "targets", "(distance, percent)")]
    curves = [tuple(_tighten(at, bps) for at, bps in curve) for curve in _lists(tightening, "tightening", "(from where, callback in bps)")]
    raised = [tuple(_stage(at, to) for at, to in steps) for steps in _lists(stages, "stages", "(at bps, stop to bps)")]
    afters = [None if it is None else _whole(it, "break_even_after", "targets") for it in _many(break_even_after) or [None]]
    holds = [None if it is None else _whole(it, "max_bars", "bars") for it in _many(max_bars) or [None]]
    axes = {
        "stop": ["own"] if own_stop else [format_distance(it) for it in stops],
        "trail": ["none" if it is None else format_distance(it) + " moving" * moves for it, moves in callbacks],
        "activation": [format_distance(it) for it in arms],
        "tightening": [_curve_label(curve) for curve in curves],
        "targets": [_ladder_label(ladder) for ladder in ladders],
        "break_even_after": ["never" if it is None else str(it) for it in afters],
        "stages": [_stages_label(steps) for steps in raised],
        "max_bars": ["none" if it is None else str(it) for it in holds],
    }
    count = prod(map(len, axes.values()))
    if count > MOST:
        raise PolicyError(f"{count:,} policies are more than {MOST:,}; give fewer values to an axis")
    step = _bps(step_bps, "step_bps")
    made = product(stops, callbacks, arms, curves, ladders, afters, raised, [None if it is None else it * bar_ms for it in holds])
    policies = []
    for number, parts in enumerate(made):
        name = f"p{number}"
        try:
            policies.append(_policy(name, step, *parts))
        except PolicyError as error:  # there is no grid yet in which its number would say anything
            why = str(error).removeprefix(f"{name}: ").replace(name, "this policy")
            raise PolicyError(f"{_combination(axes, number)}: {why}") from None
    varied = {name: tuple(labels) for name, labels in axes.items() if len(labels) > 1}
    return Grid(tuple(policies), varied or {"stop": tuple(axes["stop"])}, own_stop)


def _policy(
    name: str, step: Bps, stop: InBps | InAtr, trail: tuple[InBps | InAtr | None, bool], arm: InBps | InR, curve: tuple[TightenRule, ...],
    ladder: tuple[tuple[Distance, Bps], ...], after: int | None, stages: tuple[StageRule, ...], hold_ms: int | None,
) -> ExitPolicy:  # fmt: skip
    """One combination; what the targets leave is trailed."""
    (callback, moves), left = trail, Bps(WHOLE - sum(share for _, share in ladder))
    rule = None
    if callback is not None and left > 0:
        rule = TrailRule(activation=arm, callback=callback, share=left, min_step=step, tightening=curve, moves=moves)
    targets = tuple(TargetRule(at=at, share=share) for at, share in ladder)
    return ExitPolicy(name=name, stop=stop, targets=targets, trail=rule, stages=stages, break_even_after=after, max_hold_ms=hold_ms)


def _combination(axes: dict[str, list[str]], number: int) -> str:
    """One of the policies that were asked for, by what it is made of."""
    labels = next(islice(product(*axes.values()), number, None))
    told = [f"{name} {label}" for (name, many), label in zip(axes.items(), labels, strict=True) if len(many) > 1 or label not in ABSENT]
    return ", ".join(told)


def _many(values: object) -> list:  # type: ignore[type-arg]
    if values is None:
        return []
    if isinstance(values, str) or not isinstance(values, Iterable):
        return [values]
    return list(values)


def _whole(value: object, name: str, unit: str) -> int:
    if not is_whole(value):
        raise PolicyError(f"{name} is a whole number of {unit}, got {value!r}")
    return operator.index(value)  # type: ignore[arg-type]


def _bps(value: object, name: str) -> Bps:
    return Bps(_whole(value, name, "basis points (250 is 2.5 %)"))


def _share(percent: float) -> Bps:
    if not isinstance(percent, int | float) or not 0 < percent <= 100:
        raise PolicyError(f"a target takes more than 0 and at most 100 percent of the position, got {percent!r}")
    return Bps(round(percent * 100))


def _lists(choices: Sequence[Sequence[tuple[A, B]]], name: str, pair: str) -> Sequence[Sequence[tuple[A, B]]]:
    """The choices of an axis, each a list of pairs."""
    for choice in choices if isinstance(choices, Iterable) else [choices]:
        listed = isinstance(choice, Iterable) and not isinstance(choice, str)
        if not listed or not all(isinstance(it, tuple | list) and len(it) == 2 for it in choice):
            raise PolicyError(f"{name} are a list of choices, each a list of {pair}, as {name}=[[...], [...]]; got {choice!r} for a choice")
    return choices


def _tighten(at: str | int, callback: object) -> TightenRule:
    return TightenRule(at=_distance(at), callback=_bps(callback, "tightening"))


def _stage(at: object, to: object) -> StageRule:
    return StageRule(at=_bps(at, "stages"), to=None if to is None else _bps(to, "stages"))


def _parsed(text: object) -> Distance:
    if not isinstance(text, str):
        raise PolicyError(f"a distance is written 2.5%, 250bps, 2R or 3atr; got {text!r}")
    return parse_distance(text)


def _stop(text: str) -> InBps | InAtr:
    distance = _parsed(text)
    if isinstance(distance, InBps | InAtr):
        return distance
    raise PolicyError(f"'{text}': a stop or a callback in a grid is a part of the price (2.5%, 250bps) or of ATR (3atr)")


def _distance(text: str | int) -> InBps | InR:
    distance = InBps(_bps(text, "a distance")) if not isinstance(text, str) else parse_distance(text)
    if isinstance(distance, InBps | InR):
        return distance
    raise PolicyError(f"'{text}': an activation in a grid is a part of the price (2.5%, 250bps) or in R (1R)")


def _target(at: str | int) -> InBps | InR | InAtr:
    distance = InBps(_bps(at, "a target")) if not isinstance(at, str) else parse_distance(at)
    if isinstance(distance, InBps | InR | InAtr):
        return distance
    raise PolicyError(f"'{at}': a target in a grid is a distance (2R, 2.5%, 3atr), not a price")


def _ladder_label(ladder: Sequence[tuple[InBps | InR | InAtr, Bps]]) -> str:
    return " ".join(f"{share / 100:g}%@{format_distance(at)}" for at, share in ladder) or "none"


def _curve_label(curve: Sequence[TightenRule]) -> str:
    return " ".join(f"{format_distance(InBps(step.callback))}@{format_distance(step.at)}" for step in curve) or "none"


def _stages_label(steps: Sequence[StageRule]) -> str:
    said = [f"{step.at / 100:g}%->{'break-even' if step.to is None else f'{step.to / 100:g}%'}" for step in steps]
    return " ".join(said) or "none"
