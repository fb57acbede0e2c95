"""A grid on given entries: what the kernel is told, and what is refused before it runs."""

from copy import copy
from dataclasses import replace

import numpy as np

from qtkit.core import arithmetic
from qtkit.core.distance import InAtr
from qtkit.core.model import ONE, PolicyError
from qtkit.core.shape import ATR_SANE, COSTS, NARROWEST_STOP, WIDEST_CALLBACK
from qtkit.lab.arguments import Begins, Ints, Lines
from qtkit.lab.costs import Costs
from qtkit.lab.entries import NONE, Entries
from qtkit.lab.grid import Grid
from qtkit.lab.kernels import ASKED, END, TIME
from qtkit.lab.lines import ATR, BPS, CURVE, OWN, R, Spec, drawn
from qtkit.lab.liquidation import furthest_stop
from qtkit.lab.ranges import callbacks
from qtkit.lab.series import Bars

BPS_WHOLE = 10_000
LARGEST = 9 * 10**18


class Problem:
    """A grid on given entries: the arrays of the kernel, all distances in bps, and the checks that the planner makes of an entry.

    ``distances`` is [1 or entries, distances] in bps: one row where they are the same for all. Raises ``PolicyError`` for what the
    desk would refuse too: a stop within noise and costs, a trail narrower than a tick or than the fees, a target at the entry, and
    with a ``leverage`` a stop too near the liquidation of an isolated position.
    """

    def __init__(self, bars: Bars, entries: Entries, grid: Grid, costs: Costs, leverage: int | None = None) -> None:
        self.bars, self.entries, self.grid, self.costs = bars, entries, grid, costs
        self.least = arithmetic.round_trip_bps(costs.taker)
        self.drawn = drawn(grid)
        self.lines = self._moved(self.drawn.lines)
        self.distances = self._resolved()
        self.begins = self._begins()
        self._refuse_unsafe()
        if leverage is not None:
            self._refuse_liquidated(leverage)

    def part(self, first: int, until: int) -> "Problem":
        """The same grid on the entries from ``first`` up to ``until``; what was checked is not checked again. Tags stay behind."""
        made, rows = copy(self), slice(first, until)
        made.entries = replace(self.entries, tag=None).take(rows)
        made.begins = Begins._make(array[rows] for array in self.begins)
        made.distances = self.distances[rows] if len(self.distances) > 1 else self.distances
        return made

    def _resolved(self) -> Ints:
        columns = [self._bps(spec) for spec in self.drawn.far]
        rows = max((np.size(column) for column in columns), default=1)
        return np.ascontiguousarray(np.stack([np.broadcast_to(column, rows) for column in columns], axis=1).astype(np.int64))

    def _moved(self, lines: Lines) -> Lines:
        """The lines, with the callbacks that move hour by hour where there are any."""
        if not len(lines.moving):
            return lines
        until, moved = callbacks(self.bars, [InAtr(*spec[1:]) for spec in self.drawn.moves])  # type: ignore[arg-type]
        return lines._replace(until=until, moved=moved)

    def _bps(self, spec: Spec) -> Ints | int:
        kind, *rest = spec
        if kind == BPS:
            return int(rest[0])  # type: ignore[arg-type]
        entry = self.entries.price
        if kind == ATR:
            milli, least, most, fallback = (int(part) for part in rest)  # type: ignore[arg-type]
            atr = self.entries.atr
            known = (atr * BPS_WHOLE >= ATR_SANE[0] * entry) & (atr * BPS_WHOLE <= ATR_SANE[1] * entry)
            measured: Ints = arithmetic.atr_bps(atr, milli, entry)  # type: ignore[arg-type,assignment]
            return np.where(known, np.clip(measured, least, most), fallback)
        if kind == R:
            unit = self._bps(tuple(rest[1:]))
            return np.asarray(np.maximum(1, arithmetic.multiple_bps(unit, int(rest[0]))))  # type: ignore[arg-type]
        if kind == CURVE:
            wide, narrowest = max(int(rest[0]), self.least), self._narrowest(entry)  # type: ignore[arg-type]
            return wide if (narrowest <= wide).all() else np.maximum(wide, narrowest)
        missing = np.flatnonzero(self.entries.stop == 0)
        if len(missing):
            raise PolicyError(
                f"own_stop: the entry at {self._when(int(missing[0]))} has no stop of its own; give the column 'stop' for all"
            )
        return np.asarray(arithmetic.distance_bps(entry, self.entries.stop))  # type: ignore[arg-type]

    def _narrowest(self, price: Ints) -> Ints:
        """The narrowest callback of a trail by entry price, bps: a tick and the cost of a round trip."""
        return np.maximum(-(-self.bars.tick * BPS_WHOLE // price), self.least)

    def _begins(self) -> Begins:
        entries, bars = self.entries, self.bars
        lasts = np.empty((len(entries), len(self.drawn.holds)), np.int64)
        whys = np.empty((len(entries), len(self.drawn.holds)), np.int8)
        for number, hold in enumerate(self.drawn.holds):
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

    def _refuse_unsafe(self) -> None:
        entry = self.entries.price
        cheapest, dearest = (int(entry.min()), int(entry.max())) if len(entry) else (1, 1)
        if dearest * self.costs.taker > LARGEST:
            raise PolicyError(f"a price of {dearest / ONE:g} at this fee does not fit 64 bits; use a larger unit of the coin")
        for spec, name in self.drawn.names.items():
            self._refuse_stop(spec, name)
        narrowest = self._narrowest(entry)
        for trail, name in self.drawn.trailing.items():
            callback = int(trail[1][2]) if trail[4] else self._bps_of(trail[1])  # type: ignore[arg-type]
            self._refuse_narrow(name, callback, narrowest)
        for spec, name in self.drawn.nearest.items():
            self._refuse_near(name, spec, cheapest)

    def _bps_of(self, spec: Spec) -> Ints:
        return self.distances[:, self.drawn.far[spec]]

    def _refuse_stop(self, spec: Spec, name: str) -> None:
        least, far = max(NARROWEST_STOP, COSTS * self.least), self._bps_of(spec)
        if far.min(initial=least) < least:
            whose = f"the stop of the entry at {self._when(int(far.argmin()))}" if spec[0] == OWN else f"{name}: its stop"
            raise PolicyError(f"{whose} is {far.min() / 100:g} % away, within noise and costs: at least {least / 100:g} %")

    def _refuse_narrow(self, name: str, callback: Ints | int, least: Ints) -> None:
        if least.max(initial=0) <= min(np.min(callback, initial=WIDEST_CALLBACK), WIDEST_CALLBACK):
            return
        far = np.broadcast_to(callback, least.shape)
        narrow = np.flatnonzero((far < least) | (least > WIDEST_CALLBACK))
        if len(narrow):
            trail, needed = (f"{bps[narrow[0]] / 100:g} %" for bps in (far, least))
            raise PolicyError(f"{name}: a trail of {trail} is within a tick or the cost of a round trip: at least {needed}")

    def _refuse_liquidated(self, leverage: int) -> None:
        """As the planner of an isolated entry; a buffer differs by policy, so each pair of stop and buffer is looked at once."""
        sign, entry, tick = self.entries.sign, self.entries.price, self.bars.tick
        stops = {(wanted, policy.liquidation_buffer): policy.name for wanted, policy in zip(self._stops(), self.grid.policies, strict=True)}
        for (column, buffer), name in stops.items():
            own = self.grid.own_stop
            level: Ints = arithmetic.stop_level(sign, entry, self.distances[:, column], tick)  # type: ignore[arg-type,assignment]
            stop = self.begins.stop if own else level
            furthest = furthest_stop(self.entries, leverage, buffer, tick)
            beyond = np.flatnonzero(sign * (furthest - stop) > 0)
            if len(beyond):
                row = int(beyond[0])
                whose = f"the stop of the entry at {self._when(row)}" if own else f"{name}: its stop"
                far, most = (abs(int(entry[row]) - int(at[row]) * tick) / int(entry[row]) for at in (stop, furthest))
                raise PolicyError(
                    f"{whose} is {far:.2%} away, beyond what a leverage of {leverage} allows before liquidation: at most {most:.2%}; "
                    "take a nearer stop or less leverage"
                )

    def _stops(self) -> list[int]:
        """The column of the distances that holds the stop of each policy."""
        lines = self.lines
        return [int(column) for column in lines.stop[lines.base[lines.policy[:, 0], 0]]]

    def _refuse_near(self, name: str, spec: Spec, cheapest: int) -> None:
        far = self._bps_of(spec)
        if int(far.min(initial=BPS_WHOLE)) * cheapest >= BPS_WHOLE * self.bars.tick:
            return
        sign, entry, tick = self.entries.sign, self.entries.price, self.bars.tick
        level = arithmetic.target_level(sign, entry, far, tick)  # type: ignore[arg-type]
        near = np.flatnonzero(sign * (level * tick - entry) <= 0)
        if len(near):
            raise PolicyError(f"{name}: its first target does not lie ahead of the entry at {self._when(int(near[0]))}; move it")
