"""The price grid of a series: the one told, or the widest that every price lies on; what lies off it is refused or moved, never guessed."""

from decimal import Decimal, InvalidOperation
from typing import Literal

import numpy as np
import polars as pl

from qtkit.bars import ONE, PRICES, BarsError
from qtkit.core.names import suggestion
from qtkit.lab.arguments import Ints

OffGrid = Literal["refuse", "nearest"]
HIGHEST = 2**31 - 2  # ticks; a price above it does not fit the 32 bits that the sweeps scan
FEW = 1_000  # if at most one price in so many lies off a coarser grid, those are strays
MULTIPLES = tuple(digit * 10**power for power in range(9) for digit in (2, 5, 10))


def tick_of(frame: pl.DataFrame, name: str, told: str | float | None, off_grid: OffGrid) -> int:
    """The tick of checked bars in E8. ``told`` is a price step as the exchange writes it (``"0.001"``), None to find the widest.

    Raises ``BarsError`` for prices off the told grid, unless ``off_grid`` is ``"nearest"``, and where the widest grid is so fine that a
    price does not fit 32 bits: then a few strays are to blame, and the first of them is named.
    """
    if off_grid not in ("refuse", "nearest"):
        raise BarsError(f"there is no off_grid={off_grid!r}: {suggestion(str(off_grid), ('refuse', 'nearest'))}")
    exact = _exact(frame)
    if told is None:
        if off_grid == "nearest":
            raise BarsError("off_grid='nearest' needs the grid that prices are taken to: give tick= from the instrument's price filter")
        return _fitting(frame, name, exact, int(np.gcd.reduce(exact, axis=None)))
    tick = _told(told)
    if off_grid == "refuse" and (exact % tick).any():
        raise BarsError(f"{name}: {_strays(frame, exact, tick)}; give the tick of that time, or {_advice(tick)}")
    return _fitting(frame, name, exact, tick)


def shown(e8: int) -> str:
    """A price step as it is written: no exponent, no zeros behind it."""
    return f"{(Decimal(e8) / ONE).normalize():f}"


def _exact(frame: pl.DataFrame) -> Ints:
    """The prices in E8, [bars, 4]."""
    return frame.select((pl.col(column) * ONE).round().cast(pl.Int64) for column in PRICES).to_numpy()


def _told(tick: str | float) -> int:
    try:
        exact = Decimal(str(tick)) * ONE
        whole = int(exact)
    except (InvalidOperation, ValueError, OverflowError):
        exact, whole = Decimal(0), 0
    if whole <= 0 or whole != exact:
        raise BarsError(
            f"the tick is a price step above zero in whole 1e-8, as '0.1', got {tick!r}; take it from the instrument's price filter"
        )
    return whole


def _fitting(frame: pl.DataFrame, name: str, exact: Ints, tick: int) -> int:
    """The tick, if the highest price fits 32 bits in it."""
    highest = int(exact.max())
    if highest // tick <= HIGHEST:
        return tick
    fine = f"{name}: a price of {shown(highest)} does not fit 32 bits in ticks of {shown(tick)}"
    coarser = _coarser(exact, tick)
    if coarser is None:
        raise BarsError(f"{fine}; give the tick of this symbol with off_grid='nearest'")
    raise BarsError(f"{fine}, for {_strays(frame, exact, coarser)}; give {_advice(coarser)}")


def _coarser(exact: Ints, tick: int) -> int | None:
    """The widest grid that all but a few prices lie on, None if there is none."""
    few = exact.size // FEW
    steps = [tick * many for many in MULTIPLES]
    nearly = [step for step in steps if np.count_nonzero(exact % step) <= few]
    if not nearly:
        return None
    return int(np.gcd.reduce(exact[exact % nearly[-1] == 0]))


def _strays(frame: pl.DataFrame, exact: Ints, tick: int) -> str:
    """How many prices lie off a grid, and the first of them."""
    off = exact % tick != 0
    row, column = divmod(int(off.argmax()), len(PRICES))
    count = int(off.sum())
    lie = "1 price lies" if count == 1 else f"{count:,} prices lie"
    where = f"{PRICES[column]} in row {row}, {frame['time'][row]}: {shown(int(exact[row, column]))}"
    return f"{lie} off the grid of {shown(tick)}, the first {where}"


def _advice(tick: int) -> str:
    return f'tick="{shown(tick)}", off_grid="nearest" to take each at its nearest tick'
