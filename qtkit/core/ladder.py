"""Split a position's lots over the legs of its plan."""

from collections.abc import Sequence

from qtkit.core.model import Lots, PolicyError

WHOLE = 10_000


def split(lots: int, shares_bps: Sequence[int], min_lots: int = 1) -> tuple[Lots, ...]:
    """Lots of each leg, nearest first; a leg that cannot have ``min_lots`` gets 0 and the last leg what it would have got.

    For shares of 100 % in all the lots sum to the position exactly; for less, to that part of it rounded down. Dust goes to the
    last leg that has a share. Nearest legs are dropped first, until that one has ``min_lots``; it alone may have less, when the
    whole position has. Raises ``PolicyError`` for negative input or shares above 100 %.
    """
    if lots < 0 or any(share < 0 for share in shares_bps) or sum(shares_bps) > WHOLE:
        raise PolicyError(f"cannot split {lots} lots by shares {tuple(shares_bps)} bps: none negative, at most {WHOLE} in all")
    least = max(min_lots, 1)
    parts = [part if part >= least else 0 for part in (lots * share // WHOLE for share in shares_bps)]
    final = max((index for index, share in enumerate(shares_bps) if share > 0), default=None)
    if final is None:
        return tuple(Lots(0) for _ in parts)
    last = lots * sum(shares_bps) // WHOLE - sum(parts[:final])
    for index in range(final):
        if last >= least:
            break
        last, parts[index] = last + parts[index], 0
    parts[final] = last
    return tuple(Lots(part) for part in parts)
