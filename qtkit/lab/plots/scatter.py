"""Excursions: how far positions went against their trader and for him, and what became of them."""

import polars as pl

from qtkit.core.model import PolicyError
from qtkit.core.names import suggestion
from qtkit.lab.plots.layers import HEIGHT, Layer, axis, layer, layered, rule, title, words
from qtkit.picture import ENTRY, INK, STOP, Picture

SHARE = 0.9  # of the winners
POINTS = 1_500  # drawn at most; of more, every n-th
WIDE = 520


def excursions(frame: pl.DataFrame, *, unit: str = "r") -> Picture:
    """MAE across, MFE upwards, a point a position: filled where it won after costs, hollow where it lost.

    ``frame`` has ``mae_r`` and ``mfe_r`` (or ``_bps`` with ``unit="bps"``) and ``net_bps``, as ``lab.excursions(...).frame``.
    Raises ``PolicyError`` for columns that are missing.
    """
    across, up = f"mae_{unit}", f"mfe_{unit}"
    for name in (across, up, "net_bps"):
        if name not in frame.columns:
            raise PolicyError(f"the excursions have no '{name}': {suggestion(name, frame.columns)}")
    if frame.is_empty():
        raise PolicyError("there is no position; nothing to draw")
    won = frame.filter(pl.col("net_bps") > 0)
    said = {"r": "R", "bps": "bps"}[unit]
    x = axis(across, f"MAE: farthest against the entry, {said}", form=",.2~f", domain=(0, _top(frame, across)))
    y = axis(up, f"MFE: farthest in its favour, {said}", form=",.2~f", domain=(0, _top(frame, up)))
    layers = [_points(frame.filter(pl.col("net_bps") <= 0), x, y, won=False), _points(won, x, y, won=True)]
    found = f"{frame.height:,} positions, none of which won"
    if won.height:
        within = float(won[across].quantile(SHARE, "higher"))  # type: ignore[arg-type]
        found = f"{SHARE:.0%} of the winners never went more than {within:.2f} {said} against their trader".replace("%", " %")
        note = {across: within, "text": f"{SHARE * 100:.0f} % of the winners are left of this"}
        layers += [rule(note, INK, x=x), words([note], INK, x, {"value": 12}, align="right", dx=-6)]
    if unit == "r" and _top(frame, across) > 1:
        layers.append(rule({across: 1}, STOP, dash=[2, 2], x=x))
        layers.append(words([{across: 1, "text": "initial stop"}], STOP, x, {"value": 12}))
    under = f"{won.height:,} winners filled, {frame.height - won.height:,} losers hollow, by their net result"
    return layered(title(found, [under]), layers, found, width=WIDE, height=HEIGHT + 60)


def _top(frame: pl.DataFrame, column: str) -> float:
    """The end of an axis: a few far outliers do not press all others together, they are drawn at the edge."""
    most, nearly = float(frame[column].max()), float(frame[column].quantile(0.99, "higher"))  # type: ignore[arg-type]
    return 1.05 * (most if most < 1.5 * nearly else nearly) or 1.0


def _points(frame: pl.DataFrame, x: Layer, y: Layer, *, won: bool) -> Layer:
    some = frame.gather_every(max(1, -(-frame.height // POINTS)))
    rows = some.select(pl.col(it["field"]).clip(upper_bound=it["scale"]["domain"][1]).round(4) for it in (x, y)).to_dicts()
    colour, shape = (ENTRY, "circle") if won else (STOP, "diamond")
    mark = {"type": "point", "shape": shape, "filled": won, "size": 34, "color": colour, "opacity": 0.65, "strokeWidth": 1.2}
    return layer(rows, mark, x=x, y=y)
