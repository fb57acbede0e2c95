"""What the kernel takes, array by array. A kernel compiled earlier is taken up again only while this file is what it was."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int32]
Rows = npt.NDArray[np.uint32]


class Scan(NamedTuple):
    """What a search looks at, so signed that more is better for a short as for a long; row 0 long, row 1 short.

    ``open``, ``close``, ``adverse`` and ``favour`` are the bars' ends and extremes (ticks); ``low`` and ``high`` sum up the extremes of
    blocks of 16, 256 and 4,096 bars.
    """

    open: Small
    close: Small
    adverse: Small
    favour: Small
    low: tuple[Small, Small, Small]
    high: tuple[Small, Small, Small]


class Lines(NamedTuple):
    """What the kernel is told of a grid. Numbers in ``stop``, ``act``, ``level`` and the columns named *far* are columns of the distances.

    ``stop`` [S]; ``act`` [A]; ``trail`` [T, 5]: number of the activation, far callback, step in bps, first and last step of the curve;
    ``moving`` [M, 5]: the same of trails whose callback moves, but for the callback a row of ``moved`` [rows, hours], in bps of each
    stretch of bars between which ATR is measured anew; ``until`` [hours]: the last bar of each. ``curve`` [C, 2]: far price, far callback;
    ``level`` [L]: targets; ``be`` [B]: the target after which the stop is at break-even; ``stage`` [G, 2]: far price, far stop or -1 for
    break-even. All stops are numbered through: initial, trailed, moving, staged, break-even; ``why`` of each; then come the time stops,
    then one that never is. ``stages`` lists the staged stops of each base; ``base`` [N, 5]: initial stop, first and last of its stages,
    trailed stop, time stop; ``rung`` [R]: targets, ``share`` [R] of each in bps; ``ladder`` [K, 5]: first and last rung, break-even stop
    (or the one that never is), where its policies begin and end in ``order`` [P, 2], policy and base ladder by ladder; ``policy`` [P, 2]:
    base, ladder. ``cross`` [S, T]: the policy of a stop and a trail where the policies are no more than their product, else empty.
    ``own_stop`` is 1 when each entry has its own. What numbers a row is unsigned: an index that cannot be negative is not looked at twice.
    """

    stop: Ints
    act: Ints
    trail: Ints
    moving: Ints
    moved: Ints
    until: Ints
    curve: Ints
    level: Ints
    be: Ints
    stage: Ints
    why: Ints
    stages: Rows
    base: Rows
    rung: Rows
    share: Ints
    ladder: Rows
    policy: Rows
    order: Rows
    cross: Rows
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


class Tables(NamedTuple):
    """Trails armed in any bar, for dense entries. ``bar`` and ``level`` [tables, bars]: the bar that hits it, and the stop there.

    ``step`` (ticks) and ``side`` [tables] say of which; those of trail t are the ones from ``begin[t]`` to ``begin[t + 1]``.
    """

    begin: Ints
    step: Ints
    side: Ints
    bar: Small
    level: Small


class CostsOf(NamedTuple):
    """``Costs`` as the kernel takes them."""

    taker: int
    maker: int
    slip_ppm: int
    slip_range_ppm: int
    limit: int
    through: int


class Outcomes(NamedTuple):
    """Arrays of entries by policies. ``bar`` of the exit (-1: passed over), ``price`` of the last fill in ticks, ``why`` (see ``WHYS``).

    ``gross``, ``fees`` and funding ``paid`` are money of one unit, in 1e-12 of the quote coin (E8 money times bps of the position).
    Where nothing costs anything ``fees`` and ``paid`` are empty.
    """

    bar: Small
    price: Small
    why: npt.NDArray[np.int8]
    gross: Ints
    fees: Ints
    paid: Ints


class Sums(NamedTuple):
    """Statistics by policy as whole numbers: ``points`` are net hundredths of a bp of the entry, rounded down, ``squares`` theirs.

    ``bars`` held; ``gross`` before costs, in points; ``whys`` [policies, reasons] counts. ``risks`` are net ten-thousandths of R, summed
    where the distance to the stop differs by entry; where it does not, they follow from the points.
    """

    entries: Ints
    points: Ints
    squares: Ints
    risks: Ints
    wins: Ints
    bars: Ints
    gross: Ints
    best: Ints
    worst: Ints
    whys: Ints


class Found(NamedTuple):
    """What was found for each of some levels: the bar (``NEVER``), the level and its fill (signed ticks), and what leaving there brings.

    ``sure`` is 1 where the open decided: it was through the stop, or at the target. ``gross``, ``fee`` and funding ``paid`` are money of
    one unit (E8). The ends of a position are its stops (initial, trailed, staged, break-even), then its time stops, then one that never is;
    the one of least ``key``, bar * 2**32 - level, comes first.
    """

    why: Ints
    bar: Ints
    level: Ints
    fill: Ints
    sure: Ints
    gross: Ints
    fee: Ints
    paid: Ints
    key: Ints


class Cross(NamedTuple):
    """Sums at corners: ``stop`` [stops, trails + 1, fields], ``trail`` [trails, stops + 1, fields], ``time`` [reasons, stops + 1,
    trails + 1, fields]. The fields are entries, points, squares, wins, bars, gross, best, worst.
    """

    stop: Ints
    trail: Ints
    time: Ints


class Room(NamedTuple):
    """What the kernel writes while it works at an entry: nothing is allocated in it, so that nothing there is counted either.

    ``curve`` [C, 2] are the steps of tightening trails as prices and callbacks, ``ended`` [N] what ends each base, ``made`` what follows
    from each end and one ladder.
    """

    ends: Found
    acts: Found
    targets: Found
    made: Found
    curve: Ints
    ended: Rows
    cross: Cross
