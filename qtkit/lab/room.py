"""Room for the kernel to work in, made before it runs."""

import numpy as np

from qtkit.lab.arguments import Cross, Found, Lines, Room
from qtkit.lab.kernels import END, NEVER

FIELDS, BEST, WORST = 8, 6, 7  # of a corner, see ``Cross``
MOST = 2**62


def room_of(lines: Lines, times: int) -> Room:
    """Room for a grid with so many time stops."""
    ends = _found(len(lines.why) + times + 1)
    ends.bar[-1], ends.key[-1], ends.why[: len(lines.why)] = NEVER, np.iinfo(np.int64).max, lines.why
    return Room(
        ends=ends, acts=_found(len(lines.act)), targets=_found(len(lines.level)), made=_found(len(ends.bar)),
        curve=np.empty((len(lines.curve), 2), np.int64), ended=np.empty(len(lines.base), np.uint32), cross=_cross(*lines.cross.shape),
    )  # fmt: skip


def _found(size: int) -> Found:
    return Found(*np.zeros((len(Found._fields), size), np.int64))


def _cross(stops: int, trails: int) -> Cross:
    shapes = (stops, trails + 1), (trails, stops + 1), (END + 1, stops + 1, trails + 1)
    made = Cross(*(np.zeros((*shape, FIELDS), np.int64) for shape in shapes))
    for corners in made:
        corners[..., BEST], corners[..., WORST] = -MOST, MOST
    return made
