"""The kernel in numpy, for where numba is not installed: the same arguments, the same answers.

Levels are searched in windows of bars, all entries of one side at once. What a trail leaves is turned round: of each bar the widest
callback that it would hit, so that one division serves all callbacks. The rules stand in ``qtkit.lab.kernels``; here they are only laid out
in other loops, and the tests hold both to the reference.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qtkit.core import arithmetic
from qtkit.lab.arguments import Begins, CostsOf, Ints, Lines, Outcomes, Room, Scan, Sums, Tables
from qtkit.lab.kernels import NEVER, TARGET, TIME, WHOLE

BLOCK = 256  # entries at a time
WINDOW = 1024  # bars at a time
Bools = npt.NDArray[np.bool_]


class _Levels:
    """What was found of some levels for some entries, each [entries, levels]; see ``kernels.Found``."""

    def __init__(self, entries: int, levels: int) -> None:
        def room() -> Ints:
            return np.zeros((entries, levels), np.int64)

        self.bar, self.level, self.fill, self.gross, self.fee, self.paid = room(), room(), room(), room(), room(), room()
        self.sure = np.zeros((entries, levels), np.bool_)
        self.why = room()


class _Task(NamedTuple):
    """One call of the kernel."""

    scan: Scan
    watch: Scan
    funding: Ints
    begins: Begins
    grid: Lines
    distances: Ints
    costs: CostsOf
    tick: int
    best_first: bool


def sweep(
    scan: Scan, watch: Scan, funding: Ints, begins: Begins, grid: Lines, distances: Ints, costs: CostsOf, tick: int, best_first: bool,
    busy: Ints, tables: Tables, room: Room, first: int, until: int, out: Outcomes, sums: Sums,
) -> None:  # fmt: skip
    """``kernels.sweep``, equal to it; it has no use for ``tables`` and ``room``."""
    task = _Task(scan, watch, funding, begins, grid, distances, costs, tick, best_first)
    for start in range(first, until, BLOCK):
        rows = np.arange(start, min(start + BLOCK, until))
        ends, targets = _Levels(len(rows), len(grid.why) + begins.lasts.shape[1] + 1), _Levels(len(rows), len(grid.level))
        for side, sign in ((0, 1), (1, -1)):
            mine = np.flatnonzero(begins.sign[rows] == sign)
            if len(mine):
                _Block(task, rows[mine], side).search(mine, ends, targets)
        _settle(task, rows, ends, targets, busy, out, sums)


class _Block:
    """Entries of one side."""

    def __init__(self, task: _Task, rows: Ints, side: int) -> None:
        self.task, self.rows, self.side = task, rows, side
        begins = task.begins
        self.sign, self.price, self.bar, self.inside = 1 - 2 * side, begins.price[rows], begins.bar[rows], begins.inside[rows]
        self.start, self.end = self.bar + 1, begins.lasts[rows].max(1)
        self.far = task.distances[rows] if len(task.distances) > 1 else np.repeat(task.distances, len(rows), axis=0)
        self.begin = self.sign * np.asarray(arithmetic.favourable_ticks(self.sign, self.price, task.tick))  # type: ignore[arg-type]
        watch, scan = task.watch, task.scan
        self.own_low = self.own_high = _wide(watch.close[side, self.bar])
        self.own_reach = _wide(scan.close[side, self.bar])
        if task.best_first:
            self.own_high, self.own_reach = _wide(watch.favour[side, self.bar]), _wide(scan.favour[side, self.bar])
        else:
            self.own_low = _wide(watch.adverse[side, self.bar])

    def search(self, mine: Ints, ends: _Levels, targets: _Levels) -> None:
        """Find every level and write it to the rows ``mine``."""
        grid = self.task.grid
        level, bar, fill, sure = self._targets()
        for name, value in (("level", level), ("bar", bar), ("fill", fill), ("sure", sure)):
            getattr(targets, name)[mine] = value
        self._price(mine, targets, self.task.costs.maker if self.task.costs.limit else self.task.costs.taker)
        reached = self._reached(self._level(grid.act))
        columns = [self._stops(), self._trails(*reached), self._moving(*reached), self._stages(), self._evens(level, bar)]
        stops = len(grid.why)
        ends.level[mine, :stops] = np.concatenate([column[0] for column in columns], axis=1)
        ends.bar[mine, :stops] = np.concatenate([column[1] for column in columns], axis=1)
        ends.why[mine, :stops] = grid.why
        self._fill_stops(mine, ends, stops)
        self._fill_times(mine, ends, stops)
        ends.bar[:, -1] = NEVER
        self._price(mine, ends, self.task.costs.taker)

    # -- levels

    def _level(self, columns: Ints) -> Ints:
        """Signed levels in the position's favour at the distances of some columns, [entries, columns]."""
        far, price = self.far[:, columns], self.price[:, None]
        level = arithmetic.target_level(self.sign, price, far, self.task.tick)  # type: ignore[arg-type]
        return np.asarray(self.sign * np.maximum(1, level))

    def _behind(self, columns: Ints, sign: int = 1) -> Ints:
        """Signed stops at the distances of some columns; ``sign`` -1 puts them in profit."""
        far, price = sign * self.far[:, columns], self.price[:, None]
        level = arithmetic.stop_level(self.sign, price, far, self.task.tick)  # type: ignore[arg-type]
        return np.asarray(self.sign * np.maximum(1, level))

    def _stops(self) -> tuple[Ints, Ints]:
        grid, begins = self.task.grid, self.task.begins
        level = self._behind(grid.stop)
        if grid.own_stop:
            level = np.repeat(self.sign * begins.stop[self.rows][:, None], len(grid.stop), axis=1)
        found = _first(self.task.watch.adverse[self.side], level, self.start, self.end, below=True)
        return level, np.where(self.inside[:, None] & (self.own_low[:, None] <= level), self.bar[:, None], found)

    def _above(self, level: Ints, start: Ints) -> Ints:
        return _first(self.task.watch.favour[self.side], level, start, self.end, below=False)

    def _reached(self, level: Ints) -> tuple[Ints, Bools]:
        """The bar in which each level in favour was reached (``start - 1``: at the entry), and whether it was at the entry."""
        at_entry = level <= self.begin[:, None]
        own = self.inside[:, None] & (self.own_high[:, None] >= level)
        found = np.where(own, self.bar[:, None], self._above(level, self.start))
        return np.where(at_entry, self.bar[:, None], found), at_entry

    def _trails(self, act_bar: Ints, at_entry: Bools) -> tuple[Ints, Ints]:
        grid = self.task.grid
        count = len(grid.trail)
        bar, level = np.full((len(self.rows), count), NEVER, np.int64), np.full((len(self.rows), count), -NEVER, np.int64)
        for act, step_bps in sorted({(int(row[0]), int(row[2])) for row in grid.trail}):
            armed = np.flatnonzero(act_bar[:, act] != NEVER)
            step = np.array([arithmetic.stop_step(int(price) // self.task.tick, step_bps) for price in self.price[armed]], np.int64)
            first, peak, own = self._armed(armed, act_bar[armed, act], at_entry[armed, act])
            mine = [t for t in range(count) if grid.trail[t, 0] == act and grid.trail[t, 2] == step_bps]
            self._trail_from(armed, mine, first, peak, own, step, bar, level)
        return level, bar

    def _armed(self, armed: Ints, first: Ints, at_entry: Bools) -> tuple[Ints, Ints, Bools]:
        """Of trails armed in bar ``first``: that bar, the best price then, and whether the rest of the entry's own bar counts."""
        peak = np.where(at_entry, self.begin[armed], _wide(self.task.watch.favour[self.side, first]))
        own = self.inside[armed] & (first == self.bar[armed])
        return first, np.where(own & ~at_entry, self.own_high[armed], peak), own & at_entry

    def _moving(self, act_bar: Ints, at_entry: Bools) -> tuple[Ints, Ints]:
        grid = self.task.grid
        count = len(grid.moving)
        bar, level = np.full((len(self.rows), count), NEVER, np.int64), np.full((len(self.rows), count), -NEVER, np.int64)
        for m, (act, row, step_bps, *_) in enumerate(grid.moving):
            armed = np.flatnonzero(act_bar[:, act] != NEVER)
            if not len(armed):
                continue
            step = np.array([arithmetic.stop_step(int(price) // self.task.tick, int(step_bps)) for price in self.price[armed]], np.int64)
            first, peak, own = self._armed(armed, act_bar[armed, act], at_entry[armed, act])
            curve = self._curve(armed, grid.moving[m])
            by_bar = grid.moved[row][np.searchsorted(grid.until, np.arange(len(self.task.watch.close[0])))]
            callback = by_bar[np.minimum(first + ((first == self.bar[armed]) & ~self.inside[armed]), self.end[armed])]
            stop = _trailed(self.sign, peak, callback, step, curve)
            hit = own & (self.own_low[armed] <= stop)
            peak = np.where(own, np.maximum(peak, self.own_high[armed]), peak)
            adverse, favour = self.task.watch.adverse[self.side], self.task.watch.favour[self.side]
            found, there = _first_moved(adverse, favour, self.sign, peak, callback, by_bar, step, curve, first + 1, self.end[armed])
            bar[armed, m], level[armed, m] = np.where(hit, self.bar[armed], found), np.where(hit, stop, there)
        return level, bar

    def _trail_from(self, armed: Ints, mine: list[int], first: Ints, peak: Ints, own: Bools, step: Ints, bar: Ints, level: Ints) -> None:
        """Trails of one activation and one step, armed in bar ``first`` with the best price ``peak``."""
        grid, sign = self.task.grid, self.sign
        callback = self.far[armed][:, grid.trail[mine, 1]]
        curves = [self._curve(armed, grid.trail[t]) for t in mine]
        hit = np.zeros(callback.shape, np.bool_)
        for k, curve in enumerate(curves):  # armed at the entry, inside its bar: the rest of that bar counts
            stop = _trailed(sign, peak, callback[:, k], step, curve)
            hit[:, k] = own & (self.own_low[armed] <= stop)
            level[armed, mine[k]] = np.where(hit[:, k], stop, level[armed, mine[k]])
        peak = np.where(own, np.maximum(peak, self.own_high[armed]), peak)
        adverse, favour = self.task.watch.adverse[self.side], self.task.watch.favour[self.side]
        found, best = _first_trailed(adverse, favour, sign, peak, callback, step, curves, first + 1, self.end[armed])
        for k, curve in enumerate(curves):
            stop = _trailed(sign, best[:, k], callback[:, k], step, curve)
            there = ~hit[:, k] & (found[:, k] != NEVER)
            level[armed, mine[k]] = np.where(there, stop, level[armed, mine[k]])
            bar[armed, mine[k]] = np.where(hit[:, k], self.bar[armed], found[:, k])

    def _curve(self, armed: Ints, trail: Ints) -> list[tuple[Ints, Ints]]:
        steps = self.task.grid.curve[trail[3] : trail[4]]
        return [(self._level(step[:1])[armed, 0], self.far[armed, step[1]]) for step in steps]

    def _targets(self) -> tuple[Ints, Ints, Ints, Bools]:
        scan, costs = self.task.scan, self.task.costs
        level = self._level(self.task.grid.level)
        asked = level + costs.through
        found = _first(scan.favour[self.side], asked, self.start, self.end, below=False)
        bar = np.where(self.inside[:, None] & (self.own_reach[:, None] >= asked), self.bar[:, None], found)
        at = np.where(bar == NEVER, 0, bar)
        opened = _wide(scan.open[self.side, at])
        sure = (bar != NEVER) & (bar > self.bar[:, None]) & (opened >= asked)
        fill = level
        if not costs.limit:
            fill = _slipped(np.where(sure, opened, level), _wide(scan.adverse[self.side, at]), _wide(scan.favour[self.side, at]), costs)
        return level, bar, fill, sure

    def _even(self) -> Ints:
        level = arithmetic.break_even_level(self.sign, self.price, self.task.costs.taker, 0, self.task.tick)  # type: ignore[arg-type]
        return np.asarray(self.sign * np.maximum(1, level))

    def _stages(self) -> tuple[Ints, Ints]:
        grid = self.task.grid
        if not len(grid.stage):
            return np.zeros((len(self.rows), 0), np.int64), np.zeros((len(self.rows), 0), np.int64)
        at = self._level(grid.stage[:, 0])
        to = np.where(grid.stage[:, 1] >= 0, self._behind(np.maximum(grid.stage[:, 1], 0), -1), self._even()[:, None])
        reached, at_entry = self._reached(at)
        bar = np.full(at.shape, NEVER, np.int64)
        for g in range(len(grid.stage)):
            mine = np.flatnonzero((at[:, g] > to[:, g]) & (reached[:, g] != NEVER))
            later = self._below_after(to[:, g], reached[:, g], mine)
            own = self.inside & at_entry[:, g] & (self.own_low <= to[:, g])
            bar[mine, g] = np.where(own[mine], self.bar[mine], later)
        return to, bar

    def _evens(self, target_level: Ints, target_bar: Ints) -> tuple[Ints, Ints]:
        grid = self.task.grid
        shape = len(self.rows), len(grid.be)
        bar = np.full(shape, NEVER, np.int64)
        if not len(grid.be):
            return bar.copy(), bar
        even = self._even()
        for number, after in enumerate(grid.be):
            mine = np.flatnonzero((target_bar[:, after] != NEVER) & (target_level[:, after] > even))
            bar[mine, number] = self._below_after(even, target_bar[:, after], mine)
        return np.repeat(even[:, None], len(grid.be), axis=1), bar

    def _below_after(self, level: Ints, bar: Ints, mine: Ints) -> Ints:
        start = np.maximum(self.start[mine], bar[mine] + 1)
        return _first(self.task.watch.adverse[self.side], level[mine, None], start, self.end[mine], below=True)[:, 0]

    # -- fills

    def _fill_stops(self, mine: Ints, ends: _Levels, stops: int) -> None:
        scan, watch, side = self.task.scan, self.task.watch, self.side
        bar, level = ends.bar[mine, :stops], ends.level[mine, :stops]
        at = np.where(bar == NEVER, 0, bar)
        sure = (bar != NEVER) & (bar > self.bar[:, None]) & (watch.open[side, at] <= level)
        low, high = _wide(scan.adverse[side, at]), _wide(scan.favour[side, at])
        fill = np.where(sure, scan.open[side, at], np.minimum(np.maximum(level, low), high))
        ends.sure[mine, :stops], ends.fill[mine, :stops] = sure, _slipped(fill, low, high, self.task.costs)

    def _fill_times(self, mine: Ints, ends: _Levels, stops: int) -> None:
        scan, begins, side = self.task.scan, self.task.begins, self.side
        last = begins.lasts[self.rows]
        times = slice(stops, stops + last.shape[1])
        low, high = _wide(scan.adverse[side, last]), _wide(scan.favour[side, last])
        ends.why[mine, times], ends.bar[mine, times], ends.level[mine, times] = begins.whys[self.rows], last, -NEVER
        ends.fill[mine, times] = _slipped(_wide(scan.close[side, last]), low, high, self.task.costs)

    def _price(self, mine: Ints, levels: _Levels, rate: int) -> None:
        tick, funding = self.task.tick, self.task.funding
        fill, bar = levels.fill[mine], levels.bar[mine]
        levels.gross[mine] = fill * tick - self.sign * self.price[:, None]
        if rate:
            levels.fee[mine] = arithmetic.fee_e8(np.abs(fill) * tick, rate)  # type: ignore[arg-type]
        if len(funding):
            levels.paid[mine] = self.sign * (funding[np.where(bar == NEVER, 0, bar)] - funding[self.bar][:, None])


def _wide(values: npt.NDArray[Any]) -> Ints:
    return np.asarray(values, np.int64)


def _slipped(fill: Ints, low: Ints, high: Ints, costs: CostsOf) -> Ints:
    return np.asarray(fill - -(-(np.abs(fill) * costs.slip_ppm + (high - low) * costs.slip_range_ppm) // 1_000_000))


def _trailed(sign: int, best: Ints, callback: Ints, step: Ints, curve: list[tuple[Ints, Ints]]) -> Ints:
    for at, tighter in curve:
        callback = np.where(best >= at, np.minimum(callback, tighter), callback)
    return np.asarray(sign * arithmetic.trail_stop(sign, sign * best, callback, step))  # type: ignore[arg-type]


def _first(extreme: npt.NDArray[Any], level: Ints, start: Ints, end: Ints, *, below: bool) -> Ints:
    """First bar from ``start`` to ``end`` [entries] whose extreme is at each level [entries, levels] or beyond, ``NEVER`` if none."""
    run = np.minimum.accumulate if below else np.maximum.accumulate
    found = np.full(level.shape, NEVER, np.int64)
    rows, offset = np.flatnonzero(start <= end) if level.shape[1] else np.zeros(0, np.int64), 0
    while len(rows):
        furthest = run(_window(extreme, start[rows] + offset), axis=1)
        for k in range(level.shape[1]):
            asked = level[rows, k, None]
            passed = np.count_nonzero(furthest > asked if below else furthest < asked, axis=1)
            bar = start[rows] + offset + passed
            new = (found[rows, k] == NEVER) & (passed < WINDOW) & (bar <= end[rows])
            found[rows[new], k] = bar[new]
        offset += WINDOW
        rows = rows[(start[rows] + offset <= end[rows]) & (found[rows] == NEVER).any(1)]
    return found


def _window(series: npt.NDArray[Any], start: Ints) -> npt.NDArray[Any]:
    """``WINDOW`` bars from each start, [starts, bars]; what lies behind the last bar is the last bar again."""
    if int(start.max()) + WINDOW <= len(series):
        return np.lib.stride_tricks.sliding_window_view(series, WINDOW)[start]
    return np.asarray(series[np.minimum(start[:, None] + np.arange(WINDOW), len(series) - 1)])


def _first_trailed(
    adverse: npt.NDArray[Any], favour: npt.NDArray[Any], sign: int, peak: Ints, callback: Ints, step: Ints,
    curves: list[list[tuple[Ints, Ints]]], start: Ints, end: Ints,
) -> tuple[Ints, Ints]:  # fmt: skip
    """First bar that hits each trail [entries, trails], ``NEVER`` if none, and the best price before it."""
    found, best = np.full(callback.shape, NEVER, np.int64), np.repeat(peak[:, None], callback.shape[1], axis=1)
    rows, offset, peak = np.flatnonzero(start <= end), 0, peak.copy()
    while len(rows):
        begun = start[rows] + offset
        after = np.maximum.accumulate(np.concatenate((peak[rows, None], _window(favour, begun)), axis=1), axis=1)
        before = after[:, :-1]
        widest = _widest(sign, _wide(_window(adverse, begun)), before, step[rows, None])
        shared = np.maximum.accumulate(widest, axis=1)
        for k, curve in enumerate(curves):
            if curve:
                asked = np.broadcast_to(callback[rows, k, None], widest.shape)
                for at, tighter in curve:
                    asked = np.where(before >= at[rows, None], np.minimum(asked, tighter[rows, None]), asked)
                passed = np.where((widest >= asked).any(1), (widest >= asked).argmax(1), WINDOW)
            else:
                passed = np.count_nonzero(shared < callback[rows, k, None], axis=1)
            bar = start[rows] + offset + passed
            new = (found[rows, k] == NEVER) & (passed < WINDOW) & (bar <= end[rows])
            found[rows[new], k] = bar[new]
            best[rows[new], k] = before[np.flatnonzero(new), passed[new]]
        peak[rows] = after[:, -1]
        offset += WINDOW
        rows = rows[(start[rows] + offset <= end[rows]) & (found[rows] == NEVER).any(1)]
    return found, best


def _first_moved(
    adverse: npt.NDArray[Any], favour: npt.NDArray[Any], sign: int, peak: Ints, known: Ints, callback: Ints, step: Ints,
    curve: list[tuple[Ints, Ints]], start: Ints, end: Ints,
) -> tuple[Ints, Ints]:  # fmt: skip
    """First bar that hits a trail whose ``callback`` [bars] moves, for each entry, ``NEVER`` if none, and the stop there.

    ``known`` is the callback when the best price was ``peak``. Between two bars both have asked for a stop: the narrower one counts.
    """
    found, stop = np.full(len(peak), NEVER, np.int64), np.full(len(peak), -NEVER, np.int64)
    rows, offset, peak = np.flatnonzero(start <= end), 0, peak.copy()
    narrow = np.minimum(callback, np.r_[callback[:1], callback[:-1]])
    while len(rows):
        bars = np.minimum(start[rows, None] + np.arange(offset, offset + WINDOW), len(adverse) - 1)
        after = np.maximum.accumulate(np.concatenate((peak[rows, None], favour[bars]), axis=1), axis=1)
        asked = narrow[bars]
        if not offset:
            asked[:, 0] = np.minimum(callback[bars[:, 0]], known[rows])
        levels = _trailed(sign, after[:, :-1], asked, step[rows, None], [(at[rows, None], tighter[rows, None]) for at, tighter in curve])
        levels = np.maximum(stop[rows, None], np.maximum.accumulate(levels, axis=1))
        hit = adverse[bars] <= levels
        passed = np.where(hit.any(1), hit.argmax(1), WINDOW - 1)
        bar = start[rows] + offset + passed
        new = hit.any(1) & (bar <= end[rows])
        found[rows[new]] = bar[new]
        stop[rows], peak[rows] = levels[np.arange(len(rows)), passed], after[:, -1]
        offset += WINDOW
        rows = rows[(start[rows] + offset <= end[rows]) & (found[rows] == NEVER)]
    return found, stop


def _widest(sign: int, adverse: Ints, best: Ints, step: Ints) -> Ints:
    """The widest callback (bps) whose trail each bar would hit, given the best price before it.

    ``adverse <= floor_step(ceil(best * keeps / BPS))`` solved for the callback, ``keeps = BPS - sign * callback``.
    """
    on_grid = adverse if (step == 1).all() else -(-adverse // step) * step
    over = (on_grid - 1) * arithmetic.BPS
    if sign > 0:
        return arithmetic.BPS - over // best - 1
    return -(-over // best) - 1 - arithmetic.BPS


# -- outcomes


def _settle(task: _Task, rows: Ints, ends: _Levels, targets: _Levels, busy: Ints, out: Outcomes, sums: Sums) -> None:
    """Every policy of some entries."""
    grid, entry = task.grid, np.arange(len(rows))[:, None]
    ended = _ended(grid, ends, entry)[:, grid.policy[:, 0]]
    ladder = grid.ladder[grid.policy[:, 1]].astype(np.int64)
    ended = _sooner(ends, entry, ladder[:, 2], ended)
    bar, fill, why = ends.bar[entry, ended], ends.fill[entry, ended], ends.why[entry, ended]
    left, alive = np.full(ended.shape, WHOLE, np.int64), np.ones(ended.shape, np.bool_)
    gross, paid = np.zeros(ended.shape, np.int64), np.zeros(ended.shape, np.int64)
    paid_in = np.asarray(arithmetic.fee_e8(task.begins.price[rows], task.costs.taker), np.int64)  # type: ignore[arg-type]
    fees = np.repeat(WHOLE * paid_in[:, None], ended.shape[1], axis=1)
    stopped, sure = why < TIME, ends.sure[entry, ended]
    for number in range(int((ladder[:, 1] - ladder[:, 0]).max(initial=0))):
        rung = ladder[:, 0] + number
        there = rung < ladder[:, 1]
        v = np.broadcast_to(grid.rung[np.where(there, rung, 0)], ended.shape)
        at, share = targets.bar[entry, v], grid.share[np.where(there, rung, 0)]
        first = stopped & (sure | ~(task.best_first | targets.sure[entry, v]))
        alive &= there & (left > 0) & ~((at > bar) | ((at == bar) & first))
        part: Ints = np.where(alive, share, 0)
        left -= part
        gross += part * targets.gross[entry, v]
        fees += part * targets.fee[entry, v]
        paid += part * targets.paid[entry, v]
        whole = alive & (left == 0)
        bar, fill, why = np.where(whole, at, bar), np.where(whole, targets.fill[entry, v], fill), np.where(whole, TARGET, why)
    gross += left * ends.gross[entry, ended]
    fees += left * ends.fee[entry, ended]
    paid += left * ends.paid[entry, ended]
    took = _took(task, rows, bar, busy)
    _write(task, rows, took, (bar, fill, why, gross, fees, paid), out, sums)


def _ended(grid: Lines, ends: _Levels, entry: Ints) -> Ints:
    """What ends each base, [entries, bases]."""
    base = grid.base.astype(np.int64)
    never = ends.bar.shape[1] - 1
    best = _sooner(ends, entry, base[:, 0], np.broadcast_to(base[:, 4], (len(entry), len(base))))
    for number in range(int((base[:, 2] - base[:, 1]).max())):
        there = base[:, 1] + number < base[:, 2]
        best = _sooner(ends, entry, np.where(there, grid.stages[np.where(there, base[:, 1] + number, 0)], never), best)
    return _sooner(ends, entry, base[:, 3], best)


def _sooner(ends: _Levels, entry: Ints, row: Ints, best: Ints) -> Ints:
    """``kernels.sooner`` for [entries, columns] at once."""
    row = np.broadcast_to(row, best.shape)
    bar, than = ends.bar[entry, row], ends.bar[entry, best]
    tighter = (bar == than) & (ends.level[entry, row] > ends.level[entry, best])
    return np.where((bar < than) | tighter, row, best)


def _took(task: _Task, rows: Ints, bar: Ints, busy: Ints) -> Bools:
    """Which entries are taken: all, or those after the exit of the one before."""
    took = np.ones(bar.shape, np.bool_)
    if len(busy):
        for number, row in enumerate(rows):
            took[number] = task.begins.bar[row] >= busy
            busy[:] = np.where(took[number], bar[number], busy)
    return took


def _write(task: _Task, rows: Ints, took: Bools, found: tuple[Ints, ...], out: Outcomes, sums: Sums) -> None:
    bar, fill, why, gross, fees, paid = found
    sign = task.begins.sign[rows, None]
    if not len(out.bar):
        _tally(task, rows, took, (bar, why, gross, gross - fees - paid), sums)
        return
    written = (out.bar, bar), (out.price, sign * fill), (out.why, why), (out.gross, gross)
    for array, values in (*written, *(((out.fees, fees), (out.paid, paid)) if len(out.fees) else ())):
        array[rows] = np.where(took, values, array[rows])


def _tally(task: _Task, rows: Ints, took: Bools, found: tuple[Ints, ...], sums: Sums) -> None:
    """``kernels.tally`` of some entries at once."""
    bar, why, gross, net = found
    grid, price = task.grid, task.begins.price[rows, None]
    far = task.distances[rows] if len(task.distances) > 1 else task.distances
    points = net // price * 100 + net % price * 100 // price
    risks = points * 100 // far[:, grid.stop[grid.base[grid.policy[:, 0], 0]]] if len(task.distances) > 1 else np.zeros_like(points)
    sums.entries[:] += took.sum(0)
    sums.points[:] += (points * took).sum(0)
    sums.squares[:] += (points * points * took).sum(0)
    sums.risks[:] += (risks * took).sum(0)
    sums.wins[:] += ((net > 0) & took).sum(0)
    sums.bars[:] += ((bar - task.begins.bar[rows, None]) * took).sum(0)
    sums.gross[:] += ((gross // price * 100 + gross % price * 100 // price) * took).sum(0)
    sums.best[:] = np.maximum(sums.best, np.where(took, points, sums.best).max(0))
    sums.worst[:] = np.minimum(sums.worst, np.where(took, points, sums.worst).min(0))
    for number in range(sums.whys.shape[1]):
        sums.whys[:, number] += ((why == number) & took).sum(0)
