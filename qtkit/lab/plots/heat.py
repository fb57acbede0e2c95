"""One figure of a grid of policies over two of its axes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qtkit.core.model import PolicyError
from qtkit.core.names import suggestion
from qtkit.lab.plots.layers import AXES, METRICS, Layer, layer, layered, signed, spaced, title
from qtkit.lab.plots.names import after_what
from qtkit.picture import INK, Picture

if TYPE_CHECKING:
    from qtkit.lab.result import Result

CELL, HIGH = 62, 34  # pixels of a cell
WIDEST, HIGHEST = 720, 480
MOST_WRITTEN = 18, 20  # cells across and up that numbers can be read in
EARNS, LOSES, NEITHER = "#2166ac", "#b35806", "#f7f7f7"  # told apart by the colour-blind; light and dark say the same in grey
TOLD_APART = 2.0  # standard errors


def heatmap(
    result: "Result", metric: str = "net_bps", *, x: str | None = None, y: str | None = None, at: Mapping[str, str] | None = None
) -> Picture:
    """``metric`` over the axes ``x`` and ``y`` of the grid, by default the first two that vary; the others stand at the best policy, or
    where ``at`` says. Framed is the best cell; a dot marks policies that the entries do not tell apart from it.

    Raises ``PolicyError`` for a grid of one axis and for names that the grid has not.
    """
    cube, axes = result.cube(metric), result.grid.axes
    x, y = _chosen(axes, x, y)
    place = _place(result, metric, x, y, at or {})
    names = list(axes)
    like = alike(result, metric).reshape(result.grid.shape)
    cells = [
        {
            "x": spaced(right), "y": spaced(up), "value": None if np.isnan(cube[index]) else float(cube[index]),
            "like": bool(like[index]), "best": index == _argbest(cube, place, names, x, y),
        }
        for i, right in enumerate(axes[x])
        for j, up in enumerate(axes[y])
        if (index := tuple(i if name == x else j if name == y else place[name] for name in names))
    ]  # fmt: skip
    return _drawn(result, metric, (x, y), place, cells)


def alike(result: "Result", metric: str = "net_bps") -> npt.NDArray[np.bool_]:
    """Which policies the entries do not tell apart from the best: the mean of the paired differences lies within two standard errors."""
    none = np.zeros(len(result), np.bool_)
    if metric not in ("net_bps", "net_r") or result.outcomes is None:
        return none
    values, best = result.net_bps if metric == "net_bps" else result.r, result.best(metric)
    behind = values[:, [best]] - values
    count = np.maximum((~np.isnan(behind)).sum(0), 1)
    mean = np.nansum(behind, 0) / count
    error = np.sqrt(np.nansum((behind - mean) ** 2, 0) / count / count)
    none[:] = mean < TOLD_APART * error
    none[best] = False
    return none


def _chosen(axes: Mapping[str, tuple[str, ...]], x: str | None, y: str | None) -> tuple[str, str]:
    for name in (x, y):
        if name is not None and name not in axes:
            raise PolicyError(f"the grid has no axis '{name}': {suggestion(name, axes)}")
    if len(axes) < 2:
        raise PolicyError("a heatmap needs two axes and this grid varies one; give a second range, or look at the table")
    free = [name for name in axes if name not in (x, y)]
    x = x or free.pop(0)
    y = y or free.pop(0)
    if x == y:
        raise PolicyError(f"a heatmap needs two different axes, got '{x}' twice")
    return x, y


def _place(result: "Result", metric: str, x: str, y: str, at: Mapping[str, str]) -> dict[str, int]:
    """Where the axes that are not drawn stand."""
    axes = result.grid.axes
    best = np.unravel_index(result.best(metric), result.grid.shape)
    place = {name: int(number) for name, number in zip(axes, best, strict=True)}
    for name, label in at.items():
        if name not in axes or name in (x, y):
            raise PolicyError(f"at: '{name}' is drawn or no axis of the grid; it may hold {', '.join(set(axes) - {x, y}) or 'nothing'}")
        if label not in axes[name]:
            raise PolicyError(f"at: the axis '{name}' has no '{label}': {suggestion(label, axes[name])}")
        place[name] = axes[name].index(label)
    return place


def _argbest(cube: npt.NDArray[np.float64], place: Mapping[str, int], names: list[str], x: str, y: str) -> tuple[int, ...]:
    part = cube[tuple(slice(None) if name in (x, y) else place[name] for name in names)]
    found = list(np.unravel_index(int(np.nanargmax(part)), part.shape))
    return tuple(int(found.pop(0)) if name in (x, y) else place[name] for name in names)


def _drawn(result: "Result", metric: str, axes: tuple[str, str], place: Mapping[str, int], cells: list[Layer]) -> Picture:
    what, unit, form = _metric(metric)
    labels = [[spaced(label) for label in result.grid.axes[name]] for name in axes]
    width, height = min(WIDEST, CELL * len(labels[0])), min(HIGHEST, HIGH * len(labels[1]))
    x, y = (_ordinal(name, axes[number], labels[number], angle=0) for number, name in enumerate(("x", "y")))
    written = len(labels[0]) <= MOST_WRITTEN[0] and len(labels[1]) <= MOST_WRITTEN[1]
    colour, dark = _colours(cells, form, what, unit, written=written)
    layers = [layer(cells, {"type": "rect", "stroke": "#ffffff", "strokeWidth": 1}, x=x, y=y, color=colour)]
    if written:
        value = {"field": "value", "type": "quantitative", "format": form}
        ink = {"condition": {"test": f"abs(datum.value - {dark[0]}) > {dark[1]}", "value": "#ffffff"}, "value": INK}
        layers.append(layer(cells, {"type": "text", "fontSize": 11.5}, x=x, y=y, text=value, color=ink))
    close = [cell for cell in cells if cell["like"]]
    dot = {
        "type": "circle",
        "size": 18,
        "opacity": 1,
        "xOffset": width / len(labels[0]) / 2 - 7,
        "yOffset": 7 - height / len(labels[1]) / 2,
        "color": INK,
    }
    layers += [layer(close, dot, x=x, y=y)] if close else []
    best = [cell for cell in cells if cell["best"]]
    layers.append(layer(best, {"type": "rect", "filled": False, "stroke": INK, "strokeWidth": 2.5}, x=x, y=y))
    head = _said(result, metric, axes, place, best[0], written=written, close=bool(close))
    return layered(title(*head), layers, head[0], width=width, height=height)


def _said(
    result: "Result", metric: str, axes: tuple[str, str], place: Mapping[str, int], top: Layer, *, written: bool, close: bool
) -> tuple[str, list[str]]:
    """The finding, and what it rests on."""
    what, unit, form = _metric(metric)
    word = "highest" if metric in ("error_bps", "days_held") or metric.endswith(" %") else "best"
    said = ", ".join(f"{name.replace('_', ' ')} {top[channel]}" for name, channel in zip(axes, ("x", "y"), strict=True))
    found = f"{what[0].upper()}{what[1:]}: {word} with {said}: {signed(top['value'], form)} {unit}"
    lines = [_of(result) + (f"; {unit} in the cells, blue earns" if form.startswith("+") and written else "")]
    fixed = [f"{AXES.get(name, name)} {spaced(result.grid.axes[name][at])}" for name, at in place.items() if name not in axes]
    lines += [f"fixed: {', '.join(fixed)}"] if fixed else []
    lines += [f"dots: not told apart from the best by {len(result.entries):,} entries (two standard errors, paired)"] if close else []
    return found, lines


def _metric(metric: str) -> tuple[str, str, str]:
    """What a column is, its unit, and how it is written."""
    return METRICS.get(metric, (metric.removesuffix(" %"), "%" if metric.endswith(" %") else "", ".1f"))


def _ordinal(channel: str, name: str, labels: list[str], angle: int) -> Layer:
    order = labels if channel == "x" else labels[::-1]  # upwards is more
    axis = {
        "title": AXES.get(name, name),
        "labelAngle": angle,
        "domain": False,
        "ticks": False,
        "labelLimit": 220,
        "labelPadding": 6,
        "labelOverlap": True,
        "grid": False,
    }
    return {"field": channel, "type": "ordinal", "sort": order, "scale": {"domain": order, "padding": 0}, "axis": axis}


def _colours(cells: list[Layer], form: str, what: str, unit: str, *, written: bool) -> tuple[Layer, tuple[float, float]]:
    """Blue earns and orange loses; what has no sign goes from light to dark. And from which value, so far away, a cell is dark."""
    values = [cell["value"] for cell in cells if cell["value"] is not None]
    most = max((abs(value) for value in values), default=1.0) or 1.0
    scale: Layer = {"domain": [-most, 0, most], "range": [LOSES, NEITHER, EARNS], "interpolate": "rgb"}
    dark = (0.0, 0.6 * most)
    if not form.startswith("+"):
        least = min(values, default=0.0)
        scale, dark = {"domain": [least, most], "range": [NEITHER, EARNS], "interpolate": "rgb"}, (least, 0.6 * (most - least))
    # squares, and no gradient: its id in the SVG would count the pictures that a process has drawn
    squares = {
        "type": "symbol", "symbolType": "square", "symbolSize": 140, "title": f"{what}, {unit}", "format": form, "orient": "right",
        "direction": "vertical", "titleOrient": "top", "offset": 18, "labelExpr": "datum.value == 0 ? '0' : datum.label",
    }  # fmt: skip
    legend = None if written else squares
    return {"field": "value", "type": "quantitative", "scale": scale, "legend": legend}, dark


def _of(result: "Result") -> str:
    """Which entries, of what, when."""
    days = result.bars.slice(0, 1).frame()["time"][0], result.bars.slice(len(result.bars) - 1, len(result.bars)).frame()["time"][0]
    return f"{len(result.entries):,} entries of {result.bars.symbol}, {days[0]:%Y-%m-%d} to {days[1]:%Y-%m-%d}, {after_what(result)}"
