"""What stops paid beyond their level, fitted as the sweep takes it off: a part of the price and a part of the bar's range."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from qtkit.bars import BarsError
from qtkit.core.events import Event, StopFilled
from qtkit.core.model import ONE
from qtkit.core.plan import WHOLE
from qtkit.core.risk import ASSUMED, LEAST
from qtkit.lab.costs import PPM, Costs
from qtkit.lab.result import Floats
from qtkit.lab.series import Bars

BPS_PPM = 100  # one bp is so many millionths
SLIPS: dict[str, pl.DataType] = {
    "time": pl.Datetime("ms", "UTC"), "symbol": pl.String(), "side": pl.String(), "wanted": pl.Float64(), "filled": pl.Float64(),
    "range_bps": pl.Float64(), "slip_bps": pl.Float64(),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Slippage:
    """The fit: ``slip_ppm`` of the price plus ``slip_range_ppm`` of the range of the bar, on so many ``fills``.

    ``error_bps`` is what a fill is off from it in the mean, ``flat_bps`` from one cost for all: the range explains what lies between.
    """

    slip_ppm: int
    slip_range_ppm: int
    fills: int
    error_bps: float
    flat_bps: float

    def costs(self, like: Costs | None = None) -> Costs:
        """``like`` (the fees of a regular account by default) with this slippage."""
        base = like or Costs()
        return Costs(taker=base.taker, maker=base.maker, targets=base.targets, slip_ppm=self.slip_ppm, slip_range_ppm=self.slip_range_ppm)


def slips(events: Iterable[tuple[int, Event]], bars: Mapping[str, Bars]) -> pl.DataFrame:
    """What each stop of a journal was filled at, and what the sweep would have filled it at without slippage, columns as ``SLIPS``.

    ``events`` are the journal's with their times (``qtkit.open().day(since).events``), ``bars`` those of the symbols. ``wanted`` is the
    stop's level within what the bar traded, or its open where that was through it already; ``slip_bps`` is positive where the fill was
    worse. Fills of other symbols and times are left out.
    """
    rows = [row for _, event in events if isinstance(event, StopFilled) for row in _row(event, bars.get(event.key.symbol))]
    return pl.DataFrame(rows, schema=SLIPS, orient="row")


def _row(event: StopFilled, bars: Bars | None) -> Iterator[tuple[object, ...]]:
    if bars is None:
        return
    at = int(np.searchsorted(bars.time_ms, event.at_ms, side="right")) - 1
    if at < 0 or event.at_ms >= int(bars.time_ms[at]) + bars.step_ms:
        return
    sign, level, worst = event.side.sign, int(event.trigger), bars.low if event.side.sign > 0 else bars.high
    # It is heard of some seconds after it was filled, which may be in the bar before.
    bar = next((bar for bar in (at, max(at - 1, 0)) if sign * (int(worst[bar]) * bars.tick - level) <= 0), at)
    opened, low, high = (int(ends[bar]) * bars.tick for ends in (bars.open, bars.low, bars.high))
    wanted = opened if sign * (opened - level) <= 0 else min(max(level, low), high)
    slip = sign * (wanted - event.average) / wanted * WHOLE
    yield (
        event.at_ms, event.key.symbol, event.side.name.lower(), wanted / ONE, event.average / ONE, (high - low) / wanted * WHOLE, slip
    )  # fmt: skip


def fit_slippage(slips: pl.DataFrame) -> Slippage:
    """The least squares of ``slip_bps`` on one and ``range_bps``, neither part below zero: slippage is never a gain.

    Raises ``BarsError`` for fewer than ten fills, and for a frame without those two columns.
    """
    for column in ("range_bps", "slip_bps"):
        if column not in slips.columns:
            raise BarsError(f"slips: column '{column}' is missing; lab.slips(events, bars) makes both")
    if slips.height < LEAST:
        raise BarsError(
            f"slippage is fitted on at least {LEAST} fills of stops, got {slips.height}; "
            f"until then take Costs(slip_ppm={ASSUMED * BPS_PPM}), {ASSUMED} bps as the desk assumes"
        )
    paid, ranged = slips["slip_bps"].to_numpy(), slips["range_bps"].to_numpy()
    flat, part = _least(paid, ranged)
    return Slippage(
        slip_ppm=round(flat * BPS_PPM), slip_range_ppm=round(part * PPM), fills=slips.height,
        error_bps=float(np.abs(paid - flat - part * ranged).mean()), flat_bps=float(np.abs(paid - paid.mean()).mean()),
    )  # fmt: skip


def _least(paid: Floats, ranged: Floats) -> tuple[float, float]:
    """Least squares of ``paid = flat + part * ranged`` with both at least zero: at an edge where the free solution lies beyond it."""
    free, *_ = np.linalg.lstsq(np.column_stack((np.ones_like(ranged), ranged)), paid, rcond=None)
    if (free >= 0).all():
        return float(free[0]), float(free[1])
    weight = float(ranged @ ranged)
    edges = (max(float(paid.mean()), 0.0), 0.0), (0.0, max(float(paid @ ranged) / weight, 0.0) if weight else 0.0)
    return min(edges, key=lambda at: float(((paid - at[0] - at[1] * ranged) ** 2).sum()))
