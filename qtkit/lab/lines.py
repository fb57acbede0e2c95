"""A grid as the arrays that a sweep searches: every distinct level once, and the policies as combinations of them."""

from functools import lru_cache
from typing import TypeVar

import numpy as np

from qtkit.core import arithmetic
from qtkit.core.distance import Distance, InAtr, InBps, InR
from qtkit.core.model import PolicyError
from qtkit.core.policy import ExitPolicy
from qtkit.lab.arguments import Ints, Lines, Rows
from qtkit.lab.grid import Grid
from qtkit.lab.kernels import BREAK_EVEN, STAGE, STOP, TRAIL

Spec = tuple[int | tuple[int, ...], ...]
"""A distance that sorts: ``(BPS, bps)``, ``(ATR, milli, least, most, fallback)``, ``(R, milli, *stop)``, ``(OWN,)``, the entry's own, or
``(CURVE, bps)``, the callback of a step of a curve, which the planner widens where a tick or a round trip is wider."""
BPS, ATR, R, OWN, CURVE = range(5)
Trailed = tuple[Spec, Spec, int, tuple[tuple[Spec, Spec], ...], bool]
"""Activation, callback, step in bps, curve, and whether the callback moves."""
_Stage = tuple[Spec, Spec | None]
_Base = tuple[int, int, tuple[_Stage, ...], int]
_Ladder = tuple[tuple[tuple[Spec, int], ...], int | None]
T = TypeVar("T")


class _Wanted:
    """A policy in distances that can be compared."""

    def __init__(self, policy: ExitPolicy, own_stop: bool) -> None:
        self.stop: Spec = (OWN,) if own_stop else _spec(policy.stop)
        self.rungs = tuple((self._far(target.at), int(target.share)) for target in policy.targets)
        self.after = policy.break_even_after
        self.hold = policy.max_hold_ms
        self.stages: tuple[_Stage, ...] = tuple(((BPS, rule.at), None if rule.to is None else (BPS, rule.to)) for rule in policy.stages)
        self.trail: Trailed | None = None
        if policy.trail is not None:
            rule = policy.trail
            steps = ((self._far(step.at), (CURVE, step.callback)) for step in rule.tightening)
            self.trail = (self._far(rule.activation), _spec(rule.callback), int(rule.min_step), tuple(steps), rule.moves)

    def _far(self, distance: Distance) -> Spec:
        if not isinstance(distance, InR):
            return _spec(distance)
        if self.stop[0] == BPS:
            return (BPS, max(1, arithmetic.multiple_bps(int(self.stop[1]), distance.milli)))  # type: ignore[arg-type]
        return (R, distance.milli, *self.stop)


def _spec(distance: Distance) -> Spec:
    match distance:
        case InBps(bps):
            return (BPS, bps)
        case InAtr(milli, least, most, fallback):
            return (ATR, milli, least, most, fallback)
        case _:
            raise PolicyError(
                f"{distance}: the lab measures exits from the entry; a fixed price serves one entry only, give it as its own stop"
            )


def _numbered(values: set[T]) -> dict[T, int]:
    """Sorted, so that the search of the next level begins where the one before it ended."""
    return {value: number for number, value in enumerate(sorted(values, key=_key))}


def _key(value: object) -> tuple[object, ...]:
    """Any distance, or a tuple of them, in an order; None before all."""
    return tuple(_key(part) for part in value) if isinstance(value, tuple) else (-1 if value is None else value,)


class Drawn:
    """A grid as ``lines``, with what its columns of distances mean: ``far`` numbers them, ``holds`` are the time stops (ms or None)."""

    def __init__(self, grid: Grid) -> None:
        wanted = [_Wanted(policy, grid.own_stop) for policy in grid.policies]
        self.far: dict[Spec, int] = {}
        self.holds = sorted({it.hold for it in wanted}, key=lambda hold: -1 if hold is None else hold)
        trails = {it.trail for it in wanted if it.trail is not None}
        self.stops = _numbered({it.stop for it in wanted})
        self.acts = _numbered({trail[0] for trail in trails})
        self.trails = _numbered({trail for trail in trails if not trail[4]})
        self.moving = _numbered({trail for trail in trails if trail[4]})
        self.moves = _numbered({trail[1] for trail in self.moving})
        self.levels = _numbered({at for it in wanted for at, _ in it.rungs})
        self.stages = _numbered({stage for it in wanted for stage in it.stages})
        self.nearest = {it.rungs[0][0]: policy.name for it, policy in zip(wanted, grid.policies, strict=True) if it.rungs}
        self.names = {it.stop: policy.name for it, policy in zip(wanted, grid.policies, strict=True)}
        self.trailing = {it.trail: policy.name for it, policy in zip(wanted, grid.policies, strict=True) if it.trail is not None}
        self.lines = self._lines(wanted, grid.own_stop)

    def column(self, spec: Spec) -> int:
        """Number of a distance."""
        return self.far.setdefault(spec, len(self.far))

    def _lines(self, wanted: list[_Wanted], own_stop: bool) -> Lines:
        bases: dict[_Base, int] = {}
        ladders: dict[_Ladder, int] = {}
        policy = [(bases.setdefault(self._base(it), len(bases)), ladders.setdefault((it.rungs, it.after), len(ladders))) for it in wanted]
        curve: list[tuple[int, int]] = []
        trail = [self._trailed(row, self.column(row[1]), curve) for row in self.trails]
        moving = [self._trailed(row, self.moves[row[1]], curve) for row in self.moving]
        rungs = [(self.levels[at], share) for ladder, _ in ladders for at, share in ladder]
        breaks = _numbered({ladder[after - 1][0] for ladder, after in ladders if after is not None})
        listed, base_rows = self._bases(bases, len(breaks))
        stops, trails, stages = len(self.stops), len(self.trails) + len(self.moving), len(self.stages)
        return Lines(
            stop=_array([self.column(spec) for spec in self.stops]),
            act=_array([self.column(spec) for spec in self.acts]),
            trail=_array(trail, 5),
            moving=_array(moving, 5),
            moved=np.empty((len(self.moves), 0), np.int64),
            until=np.empty(0, np.int64),
            curve=_array(curve, 2),
            level=_array([self.column(spec) for spec in self.levels]),
            be=_array([self.levels[spec] for spec in breaks]),
            stage=_array([(self.column(at), -1 if to is None else self.column(to)) for at, to in self.stages], 2),
            why=_array([STOP] * stops + [TRAIL] * trails + [STAGE] * stages + [BREAK_EVEN] * len(breaks)),
            stages=_rows(listed),
            base=_rows(base_rows, 5),
            rung=_rows([v for v, _ in rungs]),
            share=_array([share for _, share in rungs]),
            ladder=_rows(self._ladders(ladders, breaks, np.bincount([number for _, number in policy])), 5),
            policy=_rows(policy, 2),
            order=_rows([(p, policy[p][0]) for p in sorted(range(len(policy)), key=lambda p: policy[p][1])], 2),
            cross=self._cross(wanted),
            own_stop=int(own_stop),
        )

    def _cross(self, wanted: list[_Wanted]) -> Rows:
        """The policies by stop and trail, if they are no more than that: one activation, one step, fixed distances."""
        alone = not self.moving and len(self.acts) == 1 and len(self.holds) == 1 and len({trail[2] for trail in self.trails}) == 1
        fixed = all(spec[0] == BPS for spec in (*self.stops, *(trail[1] for trail in self.trails)))
        plain = all(it.trail is not None and not it.trail[3] and not it.rungs and not it.stages for it in wanted)
        product = {(it.stop, it.trail): number for number, it in enumerate(wanted)}
        if not (alone and fixed and plain and len(product) == len(wanted) == len(self.stops) * len(self.trails)):
            return np.empty((0, 0), np.uint32)
        return np.array([[product[stop, trail] for trail in self.trails] for stop in self.stops], np.uint32)

    def _base(self, it: _Wanted) -> _Base:
        trail = -1
        if it.trail is not None:
            trail = len(self.trails) + self.moving[it.trail] if it.trail[4] else self.trails[it.trail]
        return self.stops[it.stop], trail, it.stages, self.holds.index(it.hold)

    def _trailed(self, trail: Trailed, callback: int, curve: list[tuple[int, int]]) -> tuple[int, ...]:
        """The row of a trail; the steps of its curve are put after those of the others."""
        first = len(curve)
        curve += [(self.column(at), self.column(to)) for at, to in trail[3]]
        return self.acts[trail[0]], callback, trail[2], first, len(curve)

    def _bases(self, bases: dict[_Base, int], breaks: int) -> tuple[list[int], list[tuple[int, ...]]]:
        """The staged stops of each base one after the other, and the rows of the bases."""
        staged = len(self.stops) + len(self.trails) + len(self.moving)
        times = staged + len(self.stages) + breaks
        never = times + len(self.holds)
        listed: list[int] = []
        rows: list[tuple[int, ...]] = []
        for stop, trail, raised, hold in bases:
            first = len(listed)
            listed += [staged + self.stages[stage] for stage in raised]
            rows.append((stop, first, len(listed), never if trail < 0 else len(self.stops) + trail, times + hold))
        return listed, rows

    def _ladders(self, ladders: dict[_Ladder, int], breaks: dict[Spec, int], used: Ints) -> list[tuple[int, ...]]:
        """First and last rung of each ladder, its break-even stop or the one that never is, first and last of the policies that use it."""
        before = len(self.stops) + len(self.trails) + len(self.moving) + len(self.stages)
        never = before + len(breaks) + len(self.holds)
        rows: list[tuple[int, ...]] = []
        first = begun = 0
        for (rungs, after), number in ladders.items():
            even = never if after is None else before + breaks[rungs[after - 1][0]]
            ended = begun + int(used[number])
            rows.append((first, first + len(rungs), even, begun, ended))
            first, begun = first + len(rungs), ended
        return rows


@lru_cache(maxsize=16)
def drawn(grid: Grid) -> Drawn:
    """A grid as lines, kept: sweeping it again costs nothing here."""
    return Drawn(grid)


def _rows(rows: list[int] | list[tuple[int, int]] | list[tuple[int, int, int]] | list[tuple[int, ...]], width: int = 1) -> Rows:
    return _array(rows, width).astype(np.uint32)


def _array(rows: list[int] | list[tuple[int, int]] | list[tuple[int, int, int]] | list[tuple[int, ...]], width: int = 1) -> Ints:
    made = np.array(rows, np.int64)
    return made.reshape(-1, width) if width > 1 else made.reshape(-1)
