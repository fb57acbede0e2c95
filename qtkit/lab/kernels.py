"""The sweep, one entry at a time: first passages of every level of a grid, then every policy from them.

Plain Python over integers: ``qtkit.lab.compiled`` compiles this source and ``core.arithmetic`` as they stand; uncompiled it gives the same
answers slowly. Prices are so signed that more is better for a short as for a long (``Scan``): a stop is hit when the adverse extreme of
a bar is at its level or below, a target is reached when the favourable extreme is at its level or above.

Why a grid may be searched level by level: a position leaves at the first bar that hits the tightest of the stops in force, which is the
first bar that hits any of them. When that is depends on each stop alone; a trailed stop depends on the bar of its activation alone, for
the extreme of that bar is the best price since the entry. ``lines`` are all stops of a grid: initial, staged, break-even, trailed.
"""

from typing import NamedTuple

import numpy as np

from qtkit.core import arithmetic

WHOLE = 10_000
NEVER = 2**31 - 1
STOP, TRAIL, STAGE, BREAK_EVEN, TARGET, TIME, ASKED, END = 1, 2, 3, 4, 5, 6, 7, 8


class Entry(NamedTuple):
    """One entry: its ``side`` (0 long, 1 short), ``price`` (E8), its first tick as the trail counts it, the bars in which it may end.

    Of an entry inside a bar the order of that bar's prices is not known: ``own_low``, ``own_high`` (of what is watched) and ``own_reach``
    (of what fills) are how far the bar is taken to have gone after it. Its close came after it for certain.
    """

    row: int
    side: int
    sign: int
    price: int
    bar: int
    inside: bool
    begin: int
    start: int
    end: int
    own_low: int
    own_high: int
    own_reach: int


# -- first passages


def first_below(scan, side, level, start, end):
    """First bar from ``start`` to ``end`` whose adverse extreme is at the level or below, ``NEVER`` if none; skips blocks above it."""
    low16, low256, low4096 = scan.low
    bar = start
    while bar <= end:
        if bar & 15 == 0 and low16[side, bar >> 4] > level:
            if bar & 255 == 0 and low256[side, bar >> 8] > level:
                bar += 4096 if bar & 4095 == 0 and low4096[side, bar >> 12] > level else 256
            else:
                bar += 16
            continue
        if scan.adverse[side, bar] <= level:
            return bar
        bar += 1
    return NEVER


def first_above(scan, side, level, start, end):
    """First bar from ``start`` to ``end`` whose favourable extreme is at the level or above, ``NEVER`` if none."""
    high16, high256, high4096 = scan.high
    bar = start
    while bar <= end:
        if bar & 15 == 0 and high16[side, bar >> 4] < level:
            if bar & 255 == 0 and high256[side, bar >> 8] < level:
                bar += 4096 if bar & 4095 == 0 and high4096[side, bar >> 12] < level else 256
            else:
                bar += 16
            continue
        if scan.favour[side, bar] >= level:
            return bar
        bar += 1
    return NEVER


def trailed(sign, best, callback, step, curve):
    """The trailed stop behind the best price, signed: by the tightest callback of the curve that was reached."""
    for row in range(curve.shape[0]):
        if best >= curve[row, 0]:
            callback = min(callback, curve[row, 1])
    return sign * arithmetic.trail_stop(sign, sign * best, callback, step)


def first_trailed(scan, side, sign, best, callback, step, curve, start, end):
    """First bar from ``start`` to ``end`` that hits the trail of ``best``, the stop there, and the best price before it.

    A block is skipped when its adverse extreme stays above the stop that its favourable extreme would give: then no bar of it is hit.
    """
    low16, low256, low4096 = scan.low
    high16, high256, high4096 = scan.high
    level = trailed(sign, best, callback, step, curve)
    bar = start
    while bar <= end:
        if bar & 15 == 0 and low16[side, bar >> 4] > level:
            if bar & 255 == 0 and low256[side, bar >> 8] > level:
                size, low, high = 256, low256[side, bar >> 8], high256[side, bar >> 8]
                if bar & 4095 == 0 and low4096[side, bar >> 12] > level:
                    size, low, high = 4096, low4096[side, bar >> 12], high4096[side, bar >> 12]
                raised = level if high <= best else trailed(sign, high, callback, step, curve)
                if low > raised:
                    best, level = max(best, high), raised
                    bar += size
                    continue
            high = high16[side, bar >> 4]
            raised = level if high <= best else trailed(sign, high, callback, step, curve)
            if low16[side, bar >> 4] > raised:
                best, level = max(best, high), raised
                bar += 16
                continue
        if scan.adverse[side, bar] <= level:
            return bar, level, best
        if scan.favour[side, bar] > best:
            best = scan.favour[side, bar]
            level = trailed(sign, best, callback, step, curve)
        bar += 1
    return NEVER, level, best


def stretch_of(until, bar):
    """The stretch in which a bar lies; ``until`` is the last bar of each."""
    low, high = 0, len(until) - 1
    while low < high:
        middle = (low + high) // 2
        if until[middle] < bar:
            low = middle + 1
        else:
            high = middle
    return low


def first_moved(scan, side, sign, best, moved, until, hour, step, curve, start, end):
    """First bar from ``start`` to ``end`` that hits a trail whose callback moves, and the stop there.

    Of each ``hour`` ``moved`` is the callback and ``until`` the last bar; the first is the one in which ``best`` was. Where it ends, both
    callbacks have asked for a stop: the narrower one counts. Blocks are skipped as in ``first_trailed``, within an hour.
    """
    bar, level, fresh = start, np.int64(-NEVER), True
    while bar <= end:
        callback = moved[hour]
        if bar > until[hour]:
            hour, fresh = hour + 1, True
            callback = min(callback, moved[hour])
        if fresh:
            level, fresh = max(level, trailed(sign, best, callback, step, curve)), False
        if bar & 15 == 0 and bar + 15 <= until[hour]:
            high = max(best, scan.high[0][side, bar >> 4])
            raised = max(level, trailed(sign, high, moved[hour], step, curve))
            if scan.low[0][side, bar >> 4] > raised:
                best, level = high, raised
                bar += 16
                continue
        if scan.adverse[side, bar] <= level:
            return bar, level
        if scan.favour[side, bar] > best:
            best, fresh = scan.favour[side, bar], True
        bar += 1
    return NEVER, level


def trail_table(scan, side, sign, callback, step, no_curve, window, bars, levels):
    """The bar that hits the trail armed in each bar, and the stop there: what ``first_trailed`` finds, for all bars in one pass.

    A later activation is never hit earlier, so the search of a bar goes on where that of the bar before it ended. ``window`` (room for
    all bars) holds the bars that may still be its best, best first.
    """
    adverse, favour = scan.adverse[side], scan.favour[side]
    head = tail = ahead = 0
    level = np.int64(0)
    for bar in range(len(bars)):
        if ahead <= bar:
            head, tail, ahead = 0, 1, bar + 1
            window[0] = bar
            level = trailed(sign, np.int64(favour[bar]), callback, step, no_curve)
        elif window[head] < bar:
            head += 1
            level = trailed(sign, np.int64(favour[window[head]]), callback, step, no_curve)
        while ahead < len(bars) and adverse[ahead] > level:
            while tail > head and favour[window[tail - 1]] <= favour[ahead]:
                tail -= 1
            window[tail] = ahead
            if tail == head:
                level = trailed(sign, np.int64(favour[ahead]), callback, step, no_curve)
            tail += 1
            ahead += 1
        bars[bar], levels[bar] = ahead if ahead < len(bars) else NEVER, level


# -- the levels of a grid for one entry


def find_stops(grid, far, own, it, scan, tick, ends):
    """Initial stops, the nearest first: each search goes on where the one before it ended."""
    for s in range(len(grid.stop)):
        ticks = own if grid.own_stop else max(1, arithmetic.stop_level(it.sign, it.price, far[grid.stop[s]], tick))
        level = it.sign * ticks
        start = it.start
        if s > 0 and level <= ends.level[s - 1]:
            start = max(start, ends.bar[s - 1])
        ends.level[s] = level
        ends.bar[s] = it.bar if it.inside and it.own_low <= level else first_below(scan, it.side, level, start, it.end)


def find_activations(grid, far, it, scan, tick, acts):
    """The bar in which each trail is armed (``start - 1``: at the entry); ``level`` is the best price then."""
    for a in range(len(grid.act)):
        level = it.sign * max(1, arithmetic.target_level(it.sign, it.price, far[grid.act[a]], tick))
        if level <= it.begin:
            acts.bar[a], acts.level[a] = it.start - 1, it.begin
        elif it.inside and it.own_high >= level:
            acts.bar[a], acts.level[a] = it.bar, it.own_high
        else:
            bar = first_above(scan, it.side, level, it.start, it.end)
            acts.bar[a], acts.level[a] = bar, level if bar == NEVER else scan.favour[it.side, bar]


def find_trails(grid, far, it, scan, tick, acts, curve, tables, ends):
    """Trailed stops. Those of one activation and step come by callback, and none is hit before a tighter one."""
    first, best, before = len(grid.stop), 0, -1
    step, stepped = np.int64(1), np.int64(-1)
    for t in range(len(grid.trail)):
        act, callback, step_bps = grid.trail[t, 0], far[grid.trail[t, 1]], grid.trail[t, 2]
        line, armed, peak = first + t, acts.bar[act], acts.level[act]
        if armed == NEVER:
            ends.bar[line], ends.level[line], before = NEVER, -NEVER, -1
            continue
        steps = curve[grid.trail[t, 3] : grid.trail[t, 4]]
        set_steps(grid, far, it, tick, grid.trail[t, 3], steps)
        if step_bps != stepped:
            step, stepped = arithmetic.stop_step(it.price // tick, step_bps), step_bps
        start = max(it.start, armed + 1)
        slot = table_of(tables, t, it.side, step)
        if slot >= 0 and armed > it.bar:
            ends.bar[line], ends.level[line], before = tables.bar[slot, armed], tables.level[slot, armed], -1
            continue
        if it.inside and armed == it.bar and peak == it.begin:  # armed at the entry: the rest of its own bar counts
            level = trailed(it.sign, peak, callback, step, steps)
            if it.own_low <= level:
                ends.bar[line], ends.level[line], before = it.bar, level, -1
                continue
            peak = max(peak, it.own_high)
        follows = before >= 0 and grid.trail[before, 0] == act and grid.trail[before, 2] == step_bps and len(steps) == 0
        if follows and grid.trail[before, 3] == grid.trail[before, 4] and callback >= far[grid.trail[before, 1]]:
            start, peak = ends.bar[first + before], best
        ends.bar[line], ends.level[line], best = first_trailed(scan, it.side, it.sign, peak, callback, step, steps, start, it.end)
        before = t


def set_steps(grid, far, it, tick, first, steps):
    """Write the steps of a trail's curve, from row ``first`` of the grid's on, for one entry: from which signed price which callback."""
    for c in range(len(steps)):
        row = grid.curve[first + c]
        steps[c, 0] = it.sign * max(1, arithmetic.target_level(it.sign, it.price, far[row[0]], tick))
        steps[c, 1] = far[row[1]]


def table_of(tables, trail, side, step):
    """The table of a trail on a side that moves by a step, -1 if there is none."""
    for k in range(tables.begin[trail], tables.begin[trail + 1]):
        if (tables.step[k] == step) & (tables.side[k] == side):
            return k
    return -1


def look_trails_up(grid, it, tick, acts, tables, ends):
    """``find_trails`` of a product, whose trails share activation and step: all of them from the tables, or none. Tells which."""
    armed = acts.bar[0]
    if (armed <= it.bar) | (armed == NEVER) | (len(tables.step) == 0):
        return False
    slot = table_of(tables, 0, it.side, arithmetic.stop_step(it.price // tick, grid.trail[0, 2]))
    if slot < 0:
        return False
    for t in range(len(grid.trail)):
        row, line = tables.begin[t] + slot, len(grid.stop) + t
        ends.bar[line], ends.level[line] = tables.bar[row, armed], tables.level[row, armed]
    return True


def find_moving(grid, far, it, scan, tick, acts, curve, ends):
    """Trailed stops whose callback moves with ATR: the tightest of what each bar's extreme and each hour's callback have asked for."""
    first = len(grid.stop) + len(grid.trail)
    for m in range(len(grid.moving)):
        act, moved, line = grid.moving[m, 0], grid.moved[grid.moving[m, 1]], first + m
        armed, peak = acts.bar[act], acts.level[act]
        if armed == NEVER:
            ends.bar[line], ends.level[line] = NEVER, -NEVER
            continue
        steps = curve[grid.moving[m, 3] : grid.moving[m, 4]]
        set_steps(grid, far, it, tick, grid.moving[m, 3], steps)
        step = arithmetic.stop_step(it.price // tick, grid.moving[m, 2])
        at = armed if (armed > it.bar) | it.inside else it.start  # an entry at its bar's close knows the callback of the next
        hour = stretch_of(grid.until, min(at, it.end))
        if it.inside and armed == it.bar and peak == it.begin:  # armed at the entry: the rest of its own bar counts
            level = trailed(it.sign, peak, moved[hour], step, steps)
            if it.own_low <= level:
                ends.bar[line], ends.level[line] = it.bar, level
                continue
            peak = max(peak, it.own_high)
        start = max(it.start, armed + 1)
        ends.bar[line], ends.level[line] = first_moved(scan, it.side, it.sign, peak, moved, grid.until, hour, step, steps, start, it.end)


def find_targets(grid, far, it, scan, funding, costs, tick, targets):
    """Targets, the nearest first, and where each is filled."""
    for v in range(len(grid.level)):
        level = it.sign * max(1, arithmetic.target_level(it.sign, it.price, far[grid.level[v]], tick))
        asked, start = level + costs.through, it.start
        if v > 0 and level >= targets.level[v - 1]:
            start = max(start, targets.bar[v - 1])
        bar = it.bar if it.inside and it.own_reach >= asked else first_above(scan, it.side, asked, start, it.end)
        targets.bar[v], targets.level[v], targets.fill[v], targets.sure[v] = bar, level, level, 0
        if bar == NEVER:
            continue
        targets.sure[v] = 1 if bar > it.bar and scan.open[it.side, bar] >= asked else 0
        if not costs.limit:
            fill = scan.open[it.side, bar] if targets.sure[v] else level
            targets.fill[v] = slipped(fill, scan.adverse[it.side, bar], scan.favour[it.side, bar], costs)
        price(it, v, costs.maker if costs.limit else costs.taker, funding, tick, targets)


def find_later(grid, far, it, scan, tick, taker, targets, ends):
    """Stops that begin with a price: stages, and break-even after a target. Each is in force from the next bar on."""
    if len(grid.stage) + len(grid.be) == 0:
        return
    even = it.sign * max(1, arithmetic.break_even_level(it.sign, it.price, taker, 0, tick))
    line = len(grid.stop) + len(grid.trail) + len(grid.moving)
    for g in range(len(grid.stage)):
        at = it.sign * max(1, arithmetic.target_level(it.sign, it.price, far[grid.stage[g, 0]], tick))
        to = even
        if grid.stage[g, 1] >= 0:
            to = it.sign * max(1, arithmetic.stop_level(it.sign, it.price, -far[grid.stage[g, 1]], tick))
        ends.bar[line + g], ends.level[line + g] = NEVER, to
        if at <= to:
            continue
        if at <= it.begin:
            bar = it.start - 1
            if it.inside and it.own_low <= to:
                ends.bar[line + g] = it.bar
                continue
        else:
            bar = it.bar if it.inside and it.own_high >= at else first_above(scan, it.side, at, it.start, it.end)
        if bar != NEVER:
            ends.bar[line + g] = first_below(scan, it.side, to, max(it.start, bar + 1), it.end)
    line += len(grid.stage)
    for b in range(len(grid.be)):
        bar, after = NEVER, grid.be[b]
        if targets.bar[after] != NEVER and targets.level[after] > even:
            bar = first_below(scan, it.side, even, max(it.start, targets.bar[after] + 1), it.end)
        ends.bar[line + b], ends.level[line + b] = bar, even


# -- fills


def slipped(fill, low, high, costs):
    """A signed fill at the market after slippage, whole ticks rounded up."""
    if costs.slip_ppm == 0 and costs.slip_range_ppm == 0:
        return fill
    return fill - -(-(abs(fill) * costs.slip_ppm + (high - low) * costs.slip_range_ppm) // 1_000_000)


def price(it, row, rate, funding, tick, levels):
    """What leaving one unit at a fill brings."""
    fill, bar = levels.fill[row], levels.bar[row]
    levels.gross[row] = fill * tick - it.sign * it.price
    levels.fee[row] = arithmetic.fee_e8(abs(fill) * tick, rate) if rate else 0
    levels.paid[row] = it.sign * (funding[bar] - funding[it.bar]) if len(funding) else 0


def fill_stop(row, it, scan, watch, funding, costs, tick, ends):
    """Where a stop is filled: at the open if that is through it already, else at its level, within what the bar traded."""
    bar, level = ends.bar[row], ends.level[row]
    ends.sure[row] = 1 if bar > it.bar and watch.open[it.side, bar] <= level else 0
    low, high = scan.adverse[it.side, bar], scan.favour[it.side, bar]
    fill = scan.open[it.side, bar] if ends.sure[row] else min(max(level, low), high)
    ends.fill[row] = slipped(fill, low, high, costs)
    price(it, row, costs.taker, funding, tick, ends)


def fill_stops(stops, it, scan, watch, funding, costs, tick, ends):
    """When each stop ends a position (``key``), and where those that are hit are filled."""
    for row in range(stops):
        ends.key[row] = (ends.bar[row] << 32) - ends.level[row]
        if ends.bar[row] != NEVER:
            fill_stop(row, it, scan, watch, funding, costs, tick, ends)


def fill_times(stops, entries, it, scan, funding, costs, tick, ends):
    """Where each time stop is filled: at the close of its bar, after everything else in it."""
    for number in range(entries.lasts.shape[1]):
        row, bar = stops + number, entries.lasts[it.row, number]
        low, high = scan.adverse[it.side, bar], scan.favour[it.side, bar]
        ends.why[row], ends.bar[row], ends.level[row], ends.sure[row] = entries.whys[it.row, number], bar, -NEVER, 0
        ends.key[row] = (bar << 32) + NEVER
        ends.fill[row] = slipped(scan.close[it.side, bar], low, high, costs)
        price(it, row, costs.taker, funding, tick, ends)


def end_bases(grid, ends, ended):
    """What ends each base: the first of its stops that is hit, of those of one bar the tightest, or its time stop if none is by then."""
    for b in range(len(grid.base)):
        best = sooner(ends.key, grid.base[b, 0], grid.base[b, 4])
        for number in range(grid.base[b, 1], grid.base[b, 2]):
            best = sooner(ends.key, grid.stages[number], best)
        ended[b] = sooner(ends.key, grid.base[b, 3], best)


def sooner(key, row, best):
    """The one of two ends that comes first; in one bar the tighter level, of equal ones the second. Without a branch: nothing to guess."""
    return row if key[row] < key[best] else best


# -- outcomes


def sweep(scan, watch, funding, entries, grid, distances, costs, tick, best_first, busy, tables, room, first, until, out, sums):
    """All policies of the grid on the entries from ``first`` up to ``until``; writes ``out`` by entry and policy, or adds to ``sums``.

    ``scan`` fills, ``watch`` fires stops and is trailed. With ``busy`` (a bar a policy, else empty) an entry before the exit of the one
    before it is passed over. ``tables`` hold the trails armed in any bar. ``qtkit.lab.arguments`` has the shape of the rest. The two
    below are for grids of stops and trails alone: what a compiler can see at once is quick.
    """
    stops, ends, acts, curve, targets = len(grid.why), room.ends, room.acts, room.curve, room.targets
    for row in range(first, until):
        far = distances[row if distances.shape[0] > 1 else 0]
        it = entry_of(entries, row, scan, watch, tick, best_first)
        find_stops(grid, far, entries.stop[row], it, watch, tick, ends)
        find_activations(grid, far, it, watch, tick, acts)
        find_trails(grid, far, it, watch, tick, acts, curve, tables, ends)
        find_moving(grid, far, it, watch, tick, acts, curve, ends)
        find_targets(grid, far, it, scan, funding, costs, tick, targets)
        find_later(grid, far, it, watch, tick, costs.taker, targets, ends)
        fill_stops(stops, it, scan, watch, funding, costs, tick, ends)
        fill_times(stops, entries, it, scan, funding, costs, tick, ends)
        end_bases(grid, ends, room.ended)
        own = far if distances.shape[0] > 1 else far[:0]
        settle(grid, own, it, costs, best_first, busy, targets, ends, room.ended, room.made, out, sums)


def sweep_whole(scan, watch, funding, entries, grid, distances, costs, tick, best_first, busy, tables, room, first, until, out, sums):
    """``sweep`` into ``out`` where no policy has targets or stages: a position ends in one piece."""
    stops, ends, acts, curve = len(grid.why), room.ends, room.acts, room.curve
    for row in range(first, until):
        far = distances[row if distances.shape[0] > 1 else 0]
        it = entry_of(entries, row, scan, watch, tick, best_first)
        find_stops(grid, far, entries.stop[row], it, watch, tick, ends)
        find_activations(grid, far, it, watch, tick, acts)
        find_trails(grid, far, it, watch, tick, acts, curve, tables, ends)
        fill_stops(stops, it, scan, watch, funding, costs, tick, ends)
        fill_times(stops, entries, it, scan, funding, costs, tick, ends)
        settle_whole(grid, it, costs, ends, out)


def sweep_crossed(scan, watch, funding, entries, grid, distances, costs, tick, best_first, busy, tables, room, first, until, out, sums):
    """``sweep`` into ``sums`` where the policies are a product of stops and trails (``grid.cross``)."""
    stops, ends, acts, curve = len(grid.why), room.ends, room.acts, room.curve
    for row in range(first, until):
        it = entry_of(entries, row, scan, watch, tick, best_first)
        find_stops(grid, distances[0], entries.stop[row], it, watch, tick, ends)
        find_activations(grid, distances[0], it, watch, tick, acts)
        if not look_trails_up(grid, it, tick, acts, tables, ends):
            find_trails(grid, distances[0], it, watch, tick, acts, curve, tables, ends)
        fill_times(stops, entries, it, scan, funding, costs, tick, ends)
        settle_crossed(grid, it, scan, watch, funding, costs, tick, ends, room.cross)
    add_crossed(grid, room.cross, sums)


def entry_of(entries, row, scan, watch, tick, best_first):
    """An entry, and how far its own bar is taken to have gone after it if it is inside that bar."""
    sign, price, bar, inside = entries.sign[row], entries.price[row], entries.bar[row], entries.inside[row]
    side = 0 if sign > 0 else 1
    own_low = own_high = np.int64(watch.close[side, bar])
    own_reach = np.int64(scan.close[side, bar])
    if inside and best_first:
        own_high, own_reach = np.int64(watch.favour[side, bar]), np.int64(scan.favour[side, bar])
    elif inside:
        own_low = np.int64(watch.adverse[side, bar])
    begin = sign * arithmetic.favourable_ticks(sign, price, tick)
    end = bar
    for number in range(entries.lasts.shape[1]):
        end = max(end, entries.lasts[row, number])
    return Entry(row, side, sign, price, bar, inside, begin, bar + 1, end, own_low, own_high, own_reach)


def settle_whole(grid, it, costs, ends, out):
    """``settle`` where a position ends in one piece."""
    bars, prices, whys, gross = out.bar[it.row], out.price[it.row], out.why[it.row], out.gross[it.row]
    costly = len(out.fees) > 0
    paid_in = arithmetic.fee_e8(it.price, costs.taker)
    for p in range(len(grid.policy)):
        b = grid.policy[p, 0]
        row = sooner(ends.key, grid.base[b, 3], sooner(ends.key, grid.base[b, 0], grid.base[b, 4]))
        bars[p], prices[p], whys[p], gross[p] = ends.bar[row], it.sign * ends.fill[row], ends.why[row], WHOLE * ends.gross[row]
        if costly:
            out.fees[it.row, p], out.paid[it.row, p] = WHOLE * (paid_in + ends.fee[row]), WHOLE * ends.paid[row]


def settle(grid, far, it, costs, best_first, busy, targets, ends, ended, made, out, sums):
    """Every policy of one entry, ladder by ladder: what follows from an end and a ladder is reckoned once, for all that share both."""
    kept, costly, alone = len(out.bar) > 0, len(out.fees) > 0, len(busy) > 0
    at_row, counted, per = it.row if kept else 0, costly or not kept, 100.0 / it.price
    for ladder in range(len(grid.ladder)):
        even, stamp = grid.ladder[ladder, 2], it.row * len(grid.ladder) + ladder + 1
        for k in range(grid.ladder[ladder, 3], grid.ladder[ladder, 4]):
            p, b = grid.order[k, 0], grid.order[k, 1]
            if alone and it.bar < busy[p]:
                continue
            end = sooner(ends.key, even, ended[b])
            if made.sure[end] != stamp:
                made.sure[end] = stamp
                climb(grid, ladder, end, it, costs, best_first, counted, targets, ends, made)
            if alone:
                busy[p] = made.bar[end]
            if kept:
                out.bar[at_row, p], out.price[at_row, p] = made.bar[end], it.sign * made.fill[end]
                out.why[at_row, p], out.gross[at_row, p] = made.why[end], made.gross[end]
                if costly:
                    out.fees[at_row, p], out.paid[at_row, p] = made.fee[end], made.paid[end]
            else:
                net = made.gross[end] - made.fee[end] - made.paid[end]
                stop_bps = far[grid.stop[grid.base[b, 0]]] if len(far) else 0
                tally(sums, p, it, per, made.bar[end], made.why[end], made.gross[end], net, stop_bps)


def climb(grid, ladder, end, it, costs, best_first, counted, targets, ends, made):
    """The targets of a ladder until an end: what the whole position brings, and where its last part is filled."""
    bar, fill, why = ends.bar[end], ends.fill[end], ends.why[end]
    # A target of the last bar is filled by what comes before its end: a time stop, or a stop that the open was not through.
    sure = (ends.sure[end] == 1) & (why < TIME)
    last, taken, left, total = bar, 0, WHOLE, np.int64(0)
    for r in range(grid.ladder[ladder, 0], grid.ladder[ladder, 1]):
        v = grid.rung[r]
        first = (why >= TIME) | ((not sure) & (best_first | (targets.sure[v] == 1)))
        if targets.bar[v] >= last + first:
            break
        left -= grid.share[r]
        total += grid.share[r] * targets.gross[v]
        taken += 1
    if left == 0:
        v = grid.rung[np.int64(grid.ladder[ladder, 0]) + taken - 1]
        bar, fill, why = targets.bar[v], targets.fill[v], np.int64(TARGET)
    made.bar[end], made.fill[end], made.why[end], made.gross[end] = bar, fill, why, total + left * ends.gross[end]
    if not counted:
        return
    fees, funded = WHOLE * arithmetic.fee_e8(it.price, costs.taker) + left * ends.fee[end], left * ends.paid[end]
    for number in range(taken):
        r = np.int64(grid.ladder[ladder, 0]) + number
        fees += grid.share[r] * targets.fee[grid.rung[r]]
        funded += grid.share[r] * targets.paid[grid.rung[r]]
    made.fee[end], made.paid[end] = fees, funded


def points_of(money, price, per):
    """Money of one unit (1e-12) as hundredths of a bp of the price (E8), rounded down: by floats (``per`` = 100 / price), put right."""
    points = np.int64(np.floor(money * per))
    whole = points // 100
    rest = (money - whole * price) * 100 - (points - whole * 100) * price
    if rest < 0:
        return points - 1
    return points + 1 if rest >= price else points


def tally(sums, policy, it, per, bar, why, gross, net, stop_bps):
    """Add one outcome to the statistics of its policy."""
    points = points_of(net, it.price, per)
    sums.entries[policy] += 1
    sums.points[policy] += points
    sums.squares[policy] += points * points
    sums.risks[policy] += points * 100 // stop_bps if stop_bps else 0
    sums.wins[policy] += 1 if net > 0 else 0
    sums.bars[policy] += bar - it.bar
    sums.gross[policy] += points_of(gross, it.price, per)
    sums.best[policy] = max(sums.best[policy], points)
    sums.worst[policy] = min(sums.worst[policy], points)
    sums.whys[policy, why] += 1


# -- statistics of a product of stops and trails
#
# Of one entry the nearer stops come first and the tighter trails come first. So for a trail the stops that beat it are the first of
# them, and for a stop the trails that it beats are the last: an outcome is the same for all policies from one corner of the table on. It is
# added at that corner alone, and the table is summed up once, at the end.


def put(cell, it, per, paid_in, row, ends):
    """Add one outcome at a corner."""
    gross = WHOLE * ends.gross[row]
    net = gross - paid_in - WHOLE * (ends.fee[row] + ends.paid[row])
    points = points_of(net, it.price, per)
    cell[0] += 1
    cell[1] += points
    cell[2] += points * points
    cell[3] += 1 if net > 0 else 0
    cell[4] += ends.bar[row] - it.bar
    cell[5] += points if net == gross else points_of(gross, it.price, per)
    cell[6] = max(cell[6], points)
    cell[7] = min(cell[7], points)


def settle_crossed(grid, it, scan, watch, funding, costs, tick, ends, cross):
    """Every stop, every trail and the time stop of one entry, each at its corner; those that end nothing are not filled."""
    stops, trails, time = len(grid.stop), len(grid.trail), len(grid.why)
    last, paid_in = ends.bar[time], WHOLE * arithmetic.fee_e8(it.price, costs.taker)
    in_time, done, beaten, per = 0, 0, 0, 100.0 / it.price
    while in_time < stops and ends.bar[in_time] <= last:
        in_time += 1
    for t in range(trails):
        row = stops + t
        if ends.bar[row] > last:
            break
        while beaten < in_time and (
            ends.bar[beaten] < ends.bar[row] or (ends.bar[beaten] == ends.bar[row] and ends.level[beaten] >= ends.level[row])
        ):
            fill_stop(beaten, it, scan, watch, funding, costs, tick, ends)
            put(cross.stop[beaten, t], it, per, paid_in, beaten, ends)
            beaten += 1
        fill_stop(row, it, scan, watch, funding, costs, tick, ends)
        put(cross.trail[t, beaten], it, per, paid_in, row, ends)
        done = t + 1
    while beaten < in_time:
        fill_stop(beaten, it, scan, watch, funding, costs, tick, ends)
        put(cross.stop[beaten, done], it, per, paid_in, beaten, ends)
        beaten += 1
    if in_time < stops and done < trails:
        put(cross.time[ends.why[time], in_time, done], it, per, paid_in, time, ends)


def add_crossed(grid, cross, sums):
    """Sum the corners up into the statistics of the policies."""
    stops, trails = len(grid.stop), len(grid.trail)
    for s in range(stops):
        for t in range(trails):
            policy = grid.cross[s, t]
            for t0 in range(t + 1):
                add_cell(cross.stop[s, t0], policy, STOP, sums)
            for s0 in range(s + 1):
                add_cell(cross.trail[t, s0], policy, TRAIL, sums)
            for why in range(TIME, END + 1):
                for s0 in range(s + 1):
                    for t0 in range(t + 1):
                        add_cell(cross.time[why, s0, t0], policy, why, sums)


def add_cell(cell, policy, why, sums):
    """Add a corner to the statistics of a policy."""
    sums.entries[policy] += cell[0]
    sums.points[policy] += cell[1]
    sums.squares[policy] += cell[2]
    sums.wins[policy] += cell[3]
    sums.bars[policy] += cell[4]
    sums.gross[policy] += cell[5]
    sums.best[policy] = max(sums.best[policy], cell[6])
    sums.worst[policy] = min(sums.worst[policy], cell[7])
    sums.whys[policy, why] += cell[0]
