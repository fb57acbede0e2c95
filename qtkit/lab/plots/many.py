"""Many positions under a few policies: what they have brought over time, and how one policy's positions ended."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from qtkit.core.model import PolicyError
from qtkit.lab.plots.layers import WHYS, WIDTH, Layer, axis, labels, layer, layered, line, picture, rule, signed, times, title
from qtkit.lab.plots.names import after_what, policy_names, policy_words
from qtkit.picture import ENTRY, FAINT, FLOOR, INK, KILL, STOP, TARGET, Label, Picture, padded

if TYPE_CHECKING:
    from qtkit.lab.result import Result

# told apart by colour and by dash
LINES: tuple[tuple[str, list[int]], ...] = (
    (ENTRY, []),
    (STOP, [7, 3]),
    (TARGET, [2, 2]),
    (KILL, [9, 2, 2, 2]),
    (FLOOR, [4, 4]),
)  # told apart by colour and dash
UNITS = {
    "net_bps": ("bps of the notional, summed", "+,.0f", "bps", "one unit of capital each"),
    "net_r": ("R, summed", "+,.1f", "R", "the same risk each"),
    "net_quote": ("money, summed", "+,.2f", "of the quote coin", "each of its own size"),
}
PAGE, NARROWEST, LETTER, AXIS = 940, 460, 7, 70  # pixels: of a page, of a picture beside long names, of a letter, of the left axis
POINTS = 500  # of a line
ROW, BINS = 62, 60  # pixels of a row of the distribution; columns across it


def equity(result: "Result", policies: Sequence[int], *, unit: str = "net_bps", names: Sequence[str] = ()) -> Picture:
    """What a few policies have brought by the time of each exit; ``unit`` as ``Result.equity`` has it; ``names`` in their order.

    Raises ``PolicyError`` for none or more than five: more lines are not told apart.
    """
    if not 1 <= len(policies) <= len(LINES):
        raise PolicyError(f"one to {len(LINES)} lines are told apart, got {len(policies)} policies; choose fewer")
    said = list(names) or policy_names(result, policies)
    ends = int(result.bars.time_ms[0]), int(result.bars.time_ms[-1]) + result.bars.step_ms
    curves = [_thin(result.equity(policy, unit=unit), unit, ends) for policy in policies]
    every = [row["value"] for rows in curves for row in rows]
    what, form, short, sized = UNITS[unit]
    x, y = times("at", ends, "UTC"), axis("value", what, form=form, domain=padded([*every, 0.0]))
    lasts = [rows[-1]["value"] if rows else 0.0 for rows in curves]
    layers = [rule({"value": 0}, FAINT, dash=[2, 3], y=y)]
    for rows, (colour, dash) in zip(curves, LINES, strict=False):
        mark = {"strokeDash": dash} if dash else {}
        layers.append(line([{"at": ends[0], "value": 0.0}, *rows], colour, x, y, interpolate="step-after", **mark))
    brought = [f"{signed(last, form)} {short}" for last in lasts]
    tags = [Label(last, f"{name}: {told}", LINES[n][0]) for n, (name, last, told) in enumerate(zip(said, lasts, brought, strict=True))]
    top = int(np.argmax(lasts))
    how = "brought most" if lasts[top] >= 0 else "lost least"
    found = f"{said[top]} {how}: {brought[top]} in all" if len(policies) > 1 else f"{said[0]}: {brought[0]} in all"
    found = found[0].upper() + found[1:]
    under = f"{result.bars.symbol}, {len(result.entries):,} entries, {sized}, {after_what(result)}, at the time of exit"
    width = max(NARROWEST, PAGE - AXIS - LETTER * max(len(tag.text) for tag in tags))
    return layered(title(found, [under]), [*layers, *labels(tags, y, x=width)], found, width=width)


def _thin(curve: pl.DataFrame, unit: str, ends: tuple[int, int]) -> list[Layer]:
    """Of what was left within one pixel the last."""
    pixel = max(1, (ends[1] - ends[0]) // POINTS)
    rows = curve.select(at=pl.col("time").dt.epoch("ms"), value=pl.col(unit))
    return rows.group_by((pl.col("at") // pixel).alias("pixel"), maintain_order=True).last().select("at", "value").to_dicts()


def outcomes(result: "Result", policy: int) -> Picture:
    """How the positions of one policy ended: for each reason how many, and how their net results are spread.

    Raises ``PolicyError`` where it took no position.
    """
    trades = result.trades(policy)
    if trades.is_empty():
        raise PolicyError("this policy took no position; there is nothing to draw")
    low, high = float(trades["net_bps"].min()), float(trades["net_bps"].max())  # type: ignore[arg-type]
    width = _round(max(high - low, 1.0) / BINS)
    first = np.floor(low / width) * width
    domain = first, np.ceil(high / width) * width + width * 0.001
    counted = trades.with_columns(bin=((pl.col("net_bps") - first) / width).floor().cast(pl.Int64))
    present = [why for why in WHYS if (trades["why"] == why).any()]
    rows = [counted.filter(pl.col("why") == why) for why in present]
    panels = [_row(own, trades.height, (first, width, domain), own is rows[-1]) for own in rows]
    mean, won = float(result.cube("net_bps").ravel()[policy]), float(result.cube("win_pct").ravel()[policy])
    found = f"{won:.0f} % of {trades.height:,} positions won; on average {signed(mean, '+.1f')} bps net"
    under = [policy_words(result.grid.policies[policy])]
    under += [f"how many by net result, columns of {width:g} bps, each row to its own height; the mark is its mean"]
    return picture(title(found, under), {"vconcat": panels, "spacing": 4}, found)


def _row(own: pl.DataFrame, whole: int, bins: tuple[float, float, tuple[float, float]], last: bool) -> Layer:
    """The positions that ended for one reason."""
    first, width, domain = bins
    why = str(own["why"][0])
    colour, mean = WHYS[why][0], float(own["net_bps"].mean())  # type: ignore[arg-type]
    rows = [
        {"from": first + number * width, "to": first + (number + 1) * width, "count": count}
        for number, count in own.group_by("bin").len().sort("bin").iter_rows()
    ]
    x = axis("from", "net result, bps of the notional" if last else None, form="+,.0f", domain=domain)
    x["axis"] |= {} if last else {"labels": False, "ticks": False, "domain": False}
    y = axis("count", None, domain=[0, 1.15 * max(row["count"] for row in rows)]) | {"axis": None}
    bar = {"type": "rect", "color": colour, "opacity": 0.85, "stroke": "#ffffff", "strokeWidth": 0.5}
    zero = rule({"from": 0}, FAINT, dash=[2, 3], x=x) if domain[0] < 0 < domain[1] else {}
    place = {"type": "point", "shape": "triangle-up", "filled": True, "size": 60, "color": INK, "opacity": 1, "yOffset": -3}
    drawn = layer(rows, bar, x=x, x2={"field": "to"}, y=y, y2={"datum": 0})
    middle = layer([{"from": mean}], place, x=x, y={"value": ROW})
    heads = [
        _head(f"{why}: {100 * own.height / whole:.0f} %", 24, colour, bold=True), _head(f"{signed(mean)} bps", 40, FAINT, bold=False)
    ]  # fmt: skip
    return {"width": WIDTH - 60, "height": ROW, "layer": [one for one in (zero, drawn, middle, *heads) if one]}


def _head(text: str, at: int, colour: str, *, bold: bool) -> Layer:
    """A text on the left of a row."""
    mark = {"type": "text", "align": "right", "fontSize": 12, "color": colour, "fontWeight": "bold" if bold else "normal"}
    return layer([{}], mark, x={"value": -12}, y={"value": at}, text={"value": text})


def _round(width: float) -> float:
    """A width that people count in."""
    power = 10.0 ** np.floor(np.log10(width))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= width))
