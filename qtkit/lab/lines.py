"""A grid as the arrays that a sweep searches: every distinct level once, and the policies as combinations of them."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qtkit.core import arithmetic
from qtkit.core.distance import Distance, InAtr, InBps, InR
from qtkit.core.model import PolicyError
from qtkit.core.policy import ExitPolicy
from qtkit.core.shape import ATR_SANE, COSTS, NARROWEST_STOP, WIDEST_CALLBACK
from qtkit.lab.costs import Costs
from qtkit.lab.entries import NONE, Entries
from qtkit.lab.grid import Grid
from qtkit.lab.kernels import ASKED, BREAK_EVEN, END, STAGE, STOP, TIME, TRAIL
from qtkit.lab.series import Bars, Ints

Rows = npt.NDArray[np.uint32]


class Lines(NamedTuple):
    """What the kernel is told of a grid. Numbers in ``stop``, ``act``, ``level`` and the columns named *far* are columns of the distances.

    ``stop`` [S]; ``act`` [A]; ``trail`` [T, 5]: number of the activation, far callback, step in bps, first and last step of the curve;
    ``curve`` [C, 2]: far price, far callback; ``level`` [L]: targets; ``be`` [B]: the target after which the stop is at break-even;
    ``stage`` [G, 2]: far price, far stop or -1 for break-even. All stops are numbered through: initial, trailed, staged, break-even;
    ``why`` of each; then come the time stops, then one that never is. ``lines`` lists the stops of each base, the initial one first;
    ``base`` [N, 3]: first and last of its lines, its time stop; ``rung`` [R]: targets, ``share`` [R] of each in bps; ``ladder`` [K, 3]:
    first and last rung, break-even stop (or the one that never is); ``policy`` [P, 2]: base, ladder. ``own_stop`` is 1 when each entry
    has its own. What numbers a row is unsigned: an index that cannot be negative is not looked at twice.
    """

    stop: Ints
    act: Ints
    trail: Ints
    curve: Ints
    level: Ints
    be: Ints
    stage: Ints
    why: Ints
    lines: Rows
    base: Rows
    rung: Rows
    share: Ints
    ladder: Rows
    policy: Rows
    own_stop: int


class Begins(NamedTuple):
    """The entries as the kernel takes them: ``price`` in E8, own ``stop`` in ticks; ``lasts`` and ``whys`` [E, time stops]."""

    bar: Ints
    sign: Ints
    price: Ints
    inside: npt.NDArray[np.bool_]
    stop: Ints
    lasts: Ints
    whys: npt.NDArray[np.int8]


Spec = tuple[int | tuple[int, ...], ...]
"""A distance that can be sorted: ``(BPS, bps)``, ``(ATR, milli, least, most, fallback)``, ``(R, milli, *stop)`` or ``(OWN,)``, the entry's."""
BPS, ATR, R, OWN = range(4)
_Trail = tuple[Spec, Spec, int, tuple[tuple[Spec, Spec], ...]]
_Stage = tuple[Spec, Spec | None]


class _Wanted:
    """A policy in distances that can be compared."""

    def __init__(self, policy: ExitPolicy, own_stop: bool, least: int) -> None:
        self.stop: Spec = (OWN,) if own_stop else _spec(policy.stop)
        self.rungs = tuple((self._far(target.at), int(target.share)) for target in policy.targets)
        self.after = policy.break_even_after
        self.hold = policy.max_hold_ms
        self.stages: tuple[_Stage, ...] = tuple(
            ((BPS, rule.at), None if rule.to is None else (BPS, rule.to)) for rule in policy.stages
        )
        self.trail: _Trail | None = None
        if policy.trail is not None:
            rule = policy.trail
            steps = ((self._far(step.at), (BPS, max(step.callback, least))) for step in rule.tightening)
            self.trail = (self._far(rule.activation), _spec(rule.callback), int(rule.min_step), tuple(steps))

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
            raise PolicyError(f"{distance}: the lab measures exits from the entry; a fixed price serves one entry only, give it as its own stop")


def _numbered(values: set[Spec] | set[_Trail] | set[_Stage] | set[tuple[_Stage, ...]]) -> dict[object, int]:
    """Sorted, so that the search of the next level begins where the one before it ended."""
    return {value: number for number, value in enumerate(sorted(values, key=lambda it: (str(type(it)), _key(it))))}


def _key(value: object) -> tuple[object, ...]:
    return tuple(_key(part) if isinstance(part, tuple) else ((-1,) if part is None else (part,)) for part in value)  # type: ignore[attr-defined]


class Problem:
    """A grid on given entries: the arrays of the kernel, all distances in bps, and the checks that the planner makes of an entry.

    ``distances`` is [1 or entries, distances] in bps: one row where they are the same for all. Raises ``PolicyError`` for what the
    desk would refuse too: a stop within noise and costs, a trail narrower than a tick or than the fees, a target at the entry.
    """

    def __init__(self, bars: Bars, entries: Entries, grid: Grid, costs: Costs) -> None:
        self.bars, self.entries, self.grid, self.costs = bars, entries, grid, costs
        self.least = arithmetic.round_trip_bps(costs.taker)
        wanted = [_Wanted(policy, grid.own_stop, self.least) for policy in grid.policies]
        self._far: dict[Spec, int] = {}
        self.holds = sorted({it.hold for it in wanted}, key=lambda hold: -1 if hold is None else hold)
        self.lines = self._lines(wanted)
        self.distances = self._resolved()
        self.begins = self._begins()
        self._refuse_unsafe(wanted)

    def _column(self, spec: Spec) -> int:
        return self._far.setdefault(spec, len(self._far))

    def _lines(self, wanted: list[_Wanted]) -> Lines:
        trails_wanted = {it.trail for it in wanted if it.trail is not None}
        stops = _numbered({it.stop for it in wanted})
        acts = _numbered({trail[0] for trail in trails_wanted})
        trails = _numbered(trails_wanted)
        levels = _numbered({at for it in wanted for at, _ in it.rungs})
        stages = _numbered({stage for it in wanted for stage in it.stages})
        breaks: dict[int, int] = {}
        bases: dict[tuple[int, int, tuple[_Stage, ...], int], int] = {}
        ladders: dict[tuple[tuple[tuple[Spec, int], ...], int | None], int] = {}
        policy = []
        for it in wanted:
            trail = -1 if it.trail is None else trails[it.trail]
            base = bases.setdefault((stops[it.stop], trail, it.stages, self.holds.index(it.hold)), len(bases))
            policy.append((base, ladders.setdefault((it.rungs, it.after), len(ladders))))
        curve: list[tuple[int, int]] = []
        trail_rows = []
        for act, callback, step, steps in trails:  # type: ignore[misc]
            first = len(curve)
            curve += [(self._column(at), self._column(to)) for at, to in steps]
            trail_rows.append((acts[act], self._column(callback), step, first, len(curve)))
        rungs = [(levels[at], share) for ladder_rungs, _ in ladders for at, share in ladder_rungs]
        firsts = np.cumsum([0, *(len(ladder_rungs) for ladder_rungs, _ in ladders)])
        evens = [
            None if after is None else breaks.setdefault(levels[ladder_rungs[after - 1][0]], len(breaks)) for ladder_rungs, after in ladders
        ]
        before = len(stops) + len(trails) + len(stages)
        times = before + len(breaks)
        never = times + len(self.holds)
        listed: list[int] = []
        base_rows = []
        for stop, trail, raised, hold in bases:
            first = len(listed)
            listed += [stop, *(len(stops) + len(trails) + stages[stage] for stage in raised)]
            listed += [] if trail < 0 else [len(stops) + trail]
            base_rows.append((first, len(listed), times + hold))
        whys = [STOP] * len(stops) + [TRAIL] * len(trails) + [STAGE] * len(stages) + [BREAK_EVEN] * len(breaks)
        ladder_rows = [
            (int(firsts[k]), int(firsts[k + 1]), never if even is None else before + even) for k, even in enumerate(evens)
        ]
        return Lines(
            stop=_array([self._column(spec) for spec in stops]),  # type: ignore[arg-type]
            act=_array([self._column(spec) for spec in acts]),  # type: ignore[arg-type]
            trail=_array(trail_rows, 5),
            curve=_array(curve, 2),
            level=_array([self._column(spec) for spec in levels]),  # type: ignore[arg-type]
            be=_array(list(breaks)),
            stage=_array([(self._column(at), -1 if to is None else self._column(to)) for at, to in stages], 2),  # type: ignore[misc]
            why=_array(whys),
            lines=_rows(listed),
            base=_rows(base_rows, 3),
            rung=_rows([v for v, _ in rungs]),
            share=_array([share for _, share in rungs]),
            ladder=_rows(ladder_rows, 3),
            policy=_rows(policy, 2),
            own_stop=int(self.grid.own_stop),
        )

    def _resolved(self) -> Ints:
        columns = [self._bps(spec) for spec in self._far]
        rows = max((np.size(column) for column in columns), default=1)
        return np.ascontiguousarray(np.stack([np.broadcast_to(column, rows) for column in columns], axis=1).astype(np.int64))

    def _bps(self, spec: Spec) -> Ints | int:
        kind, *rest = spec
        if kind == BPS:
            return int(rest[0])  # type: ignore[arg-type]
        entry = self.entries.price
        if kind == ATR:
            milli, least, most, fallback = (int(part) for part in rest)  # type: ignore[arg-type]
            atr = self.entries.atr
            known = (atr * BPS_WHOLE >= ATR_SANE[0] * entry) & (atr * BPS_WHOLE <= ATR_SANE[1] * entry)
            return np.where(known, np.clip(arithmetic.atr_bps(atr, milli, entry), least, most), fallback)  # type: ignore[call-overload]
        if kind == R:
            return np.maximum(1, arithmetic.multiple_bps(self._bps(tuple(rest[1:])), int(rest[0])))  # type: ignore[arg-type]
        missing = np.flatnonzero(self.entries.stop == 0)
        if len(missing):
            raise PolicyError(f"own_stop: the entry at {self._when(int(missing[0]))} has no stop of its own; give the column 'stop' for all")
        return np.asarray(arithmetic.distance_bps(entry, self.entries.stop))  # type: ignore[arg-type]

    def _begins(self) -> Begins:
        entries, bars = self.entries, self.bars
        lasts = np.empty((len(entries), len(self.holds)), np.int64)
        whys = np.empty((len(entries), len(self.holds)), np.int8)
        for number, hold in enumerate(self.holds):
            lasts[:, number], whys[:, number] = self._lasts(hold)
        sign = entries.sign
        own = sign * -((-sign * entries.stop) // bars.tick)
        return Begins(bar=entries.bar, sign=sign, price=entries.price, inside=entries.inside, stop=own, lasts=lasts, whys=whys)

    def _lasts(self, hold: int | None) -> tuple[Ints, Ints]:
        """The last bar of each entry under a time stop, and why it is the last."""
        bars, entries = self.bars, self.entries
        final = len(bars) - 1
        if hold is None:
            due = np.full(len(entries), final + 1, np.int64)
        elif int(bars.time_ms[-1] - bars.time_ms[0]) == final * bars.step_ms:
            due = entries.bar - (-hold // bars.step_ms)
        else:
            due = np.searchsorted(bars.closes_ms(), bars.time_ms[entries.bar] + bars.step_ms + hold)
        why = np.where(due > final, END, TIME)
        last = np.minimum(due, final)
        asked = (entries.last != NONE) & (entries.last <= last)
        return np.where(asked, entries.last, last), np.where(asked, ASKED, why)

    # -- what the planner would refuse

    def _when(self, row: int) -> object:
        bar = int(self.entries.bar[row])
        return self.bars.slice(bar, bar + 1).frame()["time"][0]

    def _refuse_unsafe(self, wanted: list[_Wanted]) -> None:
        entry, tick = self.entries.price, self.bars.tick
        cheapest = int(entry.min()) if len(entry) else 1
        if int(entry.max(initial=1)) * self.costs.taker > 9 * 10**18:
            raise PolicyError(f"a price of {entry.max() / 1e8:g} at this fee does not fit 64 bits; use a larger unit of the coin")
        least = max(NARROWEST_STOP, COSTS * self.least)
        narrow = max(-(-tick * BPS_WHOLE // cheapest), self.least)
        for policy, it in zip(self.grid.policies, wanted, strict=True):
            stop = self.distances[:, self._far[it.stop]]
            if stop.min() < least:
                row = int(stop.argmin())
                whose = f"the stop of the entry at {self._when(row)}" if it.stop[0] == OWN else f"{policy.name}: its stop"
                raise PolicyError(f"{whose} is {stop.min() / 100:g} % away, within noise and costs: at least {least / 100:g} %")
            if it.trail is not None:
                callback = self.distances[:, self._far[it.trail[1]]]
                tightest = min([int(callback.min()), *(int(to[1]) for _, to in it.trail[3])])  # type: ignore[arg-type]
                if tightest < narrow or narrow > WIDEST_CALLBACK:
                    raise PolicyError(
                        f"{policy.name}: a trail of {tightest / 100:g} % is within a tick or the cost of a round trip: at least {narrow / 100:g} %"
                    )
            if it.rungs:
                self._refuse_near(policy, it.rungs[0][0], cheapest)

    def _refuse_near(self, policy: ExitPolicy, spec: Spec, cheapest: int) -> None:
        far = self.distances[:, self._far[spec]]
        if int(far.min()) * cheapest >= BPS_WHOLE * self.bars.tick:
            return
        sign, entry, tick = self.entries.sign, self.entries.price, self.bars.tick
        level = arithmetic.target_level(sign, entry, far, tick)  # type: ignore[arg-type]
        near = np.flatnonzero(sign * (level * tick - entry) <= 0)
        if len(near):
            raise PolicyError(f"{policy.name}: its first target does not lie ahead of the entry at {self._when(int(near[0]))}; move it")


BPS_WHOLE = 10_000


def _rows(rows: list[int] | list[tuple[int, int]] | list[tuple[int, int, int]], width: int = 1) -> Rows:
    return _array(rows, width).astype(np.uint32)


def _array(rows: list[int] | list[tuple[int, int]] | list[tuple[int, int, int]] | list[tuple[int, ...]], width: int = 1) -> Ints:
    made = np.array(rows, np.int64)
    return made.reshape(-1, width) if width > 1 else made.reshape(-1)

