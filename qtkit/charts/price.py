"""One position in a picture: price, entry, the path of the stop, targets, fills, and the moments at which the desk was killed."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from qtkit.charts.story import PositionStory, thin
from qtkit.core.model import Side
from qtkit.picture import CONFIG, ENTRY, FAINT, FLOOR, INK, KILL, PRICE, STOP, TARGET, Label, Picture, apart, padded, span

WIDTH, HEIGHT = 760, 340
LABEL_GAP = 15  # pixels between two labels at the right edge
FAR = 0.6  # levels farther from the price than this part of its range are named below the picture instead of drawn

SHAPES = {  # what a fill was -> its colour and shape
    "opened": (ENTRY, "circle"),
    "added": (ENTRY, "triangle-right"),
    "target": (TARGET, "diamond"),
    "stop": (STOP, "square"),
    "floor": (FLOOR, "square"),
    "closed": (INK, "cross"),
    "liquidated": ("#000000", "triangle-down"),
}


def price_chart(it: PositionStory, *, width: int = WIDTH, height: int = HEIGHT) -> Picture:
    """The picture of one position of a story."""
    prices, entry = thin(it.prices.select("time_ms", "last"), "last"), it.signed
    levels = _levels(it)
    low, high = span([*prices["last"], *it.stops["level"].drop_nulls(), *entry["entry"], *it.fills["price"]])
    near = [row for row in levels if low - FAR * (high - low) <= row["level"] <= high + FAR * (high - low)]
    domain = padded([low, high, *(row["level"] for row in near)])
    times = (int(prices["time_ms"].min()), it.end_ms)  # type: ignore[arg-type]
    draw = _Layers(it, domain, times, width, height)
    layers = [
        *draw.bare(), *draw.kills(), *draw.levels(near), draw.price(prices), draw.entry(entry),
        draw.stop([row["level"] for row in levels if row["leg"] == "floor"]), draw.fills(entry),
        *draw.labels([*_edge(it, entry), *_names(near, it.digits)]),
    ]  # fmt: skip
    side = it.side.name.lower()
    beyond = [f"{row['name']} {row['level']:,.{it.digits}f}" for row in levels if row not in near]
    words = f"{it.name} {side}: {it.result}; the stop moved {it.moves} times in its favour, {it.fills.height} fills"
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": words,
        "width": width, "height": height, "padding": 8, "autosize": "pad",
        "background": "#ffffff",
        "title": {
            "text": f"{it.name} {side}", "subtitle": [it.result, *([f"beyond the picture: {', '.join(beyond)}"] if beyond else [])],
            "anchor": "start", "frame": "group", "offset": 10, "fontSize": 15, "color": INK, "subtitleColor": FAINT, "subtitleFontSize": 12,
            "subtitlePadding": 4,
        },
        "layer": [layer for layer in layers if layer],
        "config": CONFIG,
    }  # fmt: skip
    return Picture(spec, words)


class _Layers:
    """The layers of a picture, as Vega-Lite."""

    def __init__(self, it: PositionStory, domain: tuple[float, float], times: tuple[int, int], width: int, height: int) -> None:
        self.it, self.domain, self.times, self.width, self.height = it, domain, times, width, height
        day = datetime.fromtimestamp(times[0] / 1000, UTC)
        scale = {"type": "utc", "domain": list(times), "nice": False}
        self.x = {
            "field": "time_ms", "type": "temporal", "scale": scale,
            "axis": {"format": "%H:%M", "title": f"UTC, {day:%d %b %Y}", "grid": False, "tickCount": 8},
        }  # fmt: skip
        self.y = self._y("price")

    def _y(self, field: str) -> dict[str, Any]:
        axis = {"format": f",.{self.it.digits}f", "title": None, "tickCount": 6}
        return {"field": field, "type": "quantitative", "scale": {"domain": list(self.domain), "zero": False, "nice": False}, "axis": axis}

    def price(self, prices: pl.DataFrame) -> dict[str, Any]:
        rows = prices.rename({"last": "price"}).to_dicts()
        mark = {"type": "line", "color": PRICE, "strokeWidth": 1.2, "strokeJoin": "round"}
        return {"data": {"values": rows}, "mark": mark, "encoding": {"x": self.x, "y": self.y}}

    def entry(self, signed: pl.DataFrame) -> dict[str, Any]:
        rows = signed.select("time_ms", price=pl.when(pl.col("held") != 0).then(pl.col("entry"))).to_dicts()
        mark = {"type": "line", "interpolate": "step-after", "color": ENTRY, "strokeWidth": 1.5, "strokeDash": [6, 3]}
        return {"data": {"values": self._steps(rows)}, "mark": mark, "encoding": {"x": self.x, "y": self.y}}

    def stop(self, floors: Sequence[float]) -> dict[str, Any]:
        """The level at which own stops close all of it; where only the floor does (somebody has just added), the line is broken."""
        rows = self.it.stops.select("time_ms", price=pl.when(~pl.col("level").is_in(floors)).then(pl.col("level"))).to_dicts()
        mark = {"type": "line", "interpolate": "step-after", "color": STOP, "strokeWidth": 2.2}
        return {"data": {"values": self._steps(rows)}, "mark": mark, "encoding": {"x": self.x, "y": self.y}}

    def _steps(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """A level as a stair: of what happened within one pixel the last, each held until the next, the last to the end."""
        pixel = max(1, (self.times[1] - self.times[0]) // self.width)
        last = list({row["time_ms"] // pixel: row for row in rows}.values())
        stair: list[dict[str, Any]] = []
        for row in last:
            if row["price"] is None and stair and stair[-1]["price"] is not None:
                stair.append({"time_ms": row["time_ms"], "price": stair[-1]["price"]})
            stair.append(row)
        return [*stair, stair[-1] | {"time_ms": self.times[1]}] if stair else []

    def levels(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Targets and floor, each from its placing to its end."""
        found = []
        for leg, colour, dash in (("target", TARGET, [2, 2]), ("floor", FLOOR, [1, 3])):
            values = [{"time_ms": row["from_ms"], "to_ms": row["to_ms"], "price": row["level"]} for row in rows if row["leg"] == leg]
            mark = {"type": "rule", "color": colour, "strokeWidth": 1.4, "strokeDash": dash}
            if values:
                found.append({"data": {"values": values}, "mark": mark, "encoding": {"x": self.x, "x2": {"field": "to_ms"}, "y": self.y}})
        return found

    def fills(self, signed: pl.DataFrame) -> dict[str, Any]:
        rows = [
            {"time_ms": row["time_ms"], "price": row["price"], "what": what}
            for row, what in zip(signed.to_dicts(), _what(signed), strict=True)
        ]
        names = [name for name in SHAPES if any(row["what"] == name for row in rows)]
        colours, shapes = [SHAPES[name][0] for name in names], [SHAPES[name][1] for name in names]
        encoding = {
            "x": self.x, "y": self.y,
            "color": {"field": "what", "type": "nominal", "scale": {"domain": names, "range": colours}, "legend": {"title": "fills"}},
            "shape": {"field": "what", "type": "nominal", "scale": {"domain": names, "range": shapes}, "legend": {"title": "fills"}},
        }  # fmt: skip
        mark = {"type": "point", "filled": True, "size": 90, "opacity": 1, "stroke": "#ffffff", "strokeWidth": 1}
        return {"data": {"values": rows}, "mark": mark, "encoding": encoding}

    def bare(self) -> list[dict[str, Any]]:
        """The time in which it was open and not covered, where that is wide enough to see."""
        least = 3 * (self.times[1] - self.times[0]) / self.width
        rows = [{"time_ms": since, "to_ms": to, "name": "not covered"} for since, to in self.it.bare if to - since >= least]
        if not rows:
            return []
        x2, data = {"field": "to_ms"}, {"values": rows}
        text = {"type": "text", "color": STOP, "align": "left", "dx": 4, "fontSize": 11}
        return [
            {"data": data, "mark": {"type": "rect", "color": STOP, "opacity": 0.08}, "encoding": {"x": self.x, "x2": x2}},
            {"data": data, "mark": text, "encoding": {"x": self.x, "y": {"value": self.height - 8}, "text": {"field": "name"}}},
        ]

    def kills(self) -> list[dict[str, Any]]:
        rows = [
            {"time_ms": kill["time_ms"], "to_ms": kill.get("until_ms") or kill["time_ms"], "name": f"kill {number}"}
            for number, kill in enumerate(self.it.story.kills, start=1)
        ]
        if not rows:
            return []
        x2, data = {"field": "to_ms"}, {"values": rows}
        band = {"type": "rect", "color": KILL, "opacity": 0.12}
        rule = {"type": "rule", "color": KILL, "strokeWidth": 1.2, "strokeDash": [4, 2]}
        text = {"type": "text", "color": KILL, "align": "left", "dx": 4, "fontSize": 11}
        return [
            {"data": data, "mark": band, "encoding": {"x": self.x, "x2": x2}},
            {"data": data, "mark": rule, "encoding": {"x": self.x}},
            {"data": data, "mark": text, "encoding": {"x": self.x, "y": {"value": 8}, "text": {"field": "name"}}},
        ]

    def labels(self, labels: Iterable[Label]) -> list[dict[str, Any]]:
        """Names at the right edge, each in its level's colour, pushed apart where they would overlap."""
        low, high = self.domain
        per_pixel = (high - low) / self.height
        found = []
        for label, price in apart(sorted(labels, key=lambda label: label.price), LABEL_GAP * per_pixel, low, high):
            mark = {"type": "text", "align": "left", "dx": 6, "fontSize": 11.5, "color": label.colour}
            encoding = {"x": {"value": self.width}, "y": self.y, "text": {"field": "text"}}
            found.append({"data": {"values": [{"price": price, "text": label.text}]}, "mark": mark, "encoding": encoding})
        return found


def _levels(it: PositionStory) -> list[dict[str, Any]]:
    """Targets and floors that ever rested, from placing to end; those of one price are one line."""
    ended = ("CANCELED", "FINISHED", "EXPIRED", "REJECTED", "TRIGGERED")
    own = it.orders.filter((pl.col("who") == "desk") & pl.col("leg").is_in(["target", "floor"]) & (pl.col("trigger") > 0))
    if not own.height:
        return []
    life = own.group_by("client_id", maintain_order=True).agg(
        pl.col("leg").first(), pl.col("trigger").last().alias("level"), pl.col("time_ms").min().alias("from_ms"),
        pl.col("time_ms").filter(pl.col("status").is_in(ended)).min().alias("ended_ms"),
    )  # fmt: skip
    whole = life.with_columns(to_ms=pl.col("ended_ms").fill_null(it.end_ms))
    merged = whole.group_by("leg", "level", maintain_order=True).agg(pl.col("from_ms").min(), pl.col("to_ms").max())
    rows = merged.sort("level", descending=it.side is Side.SHORT).to_dicts()
    targets = [row for row in rows if row["leg"] == "target"]
    for number, row in enumerate(targets, start=1):
        row["name"] = f"target {number}" if len(targets) > 1 else "target"
    return [row | {"name": row.get("name", row["leg"])} for row in rows]


def _what(signed: pl.DataFrame) -> list[str]:
    """What each fill was: an opening or an adding, or the leg that closed."""
    found, held = [], 0.0
    for size, way, leg, who in signed.select("size", "side", "leg", "who").iter_rows():
        change = size if way == "BUY" else -size
        opening = "" if held * change < 0 else "added" if held else "opened"
        closing = "liquidated" if who == "exchange" else leg if leg in SHAPES else "closed"
        found.append(opening or closing)
        held = 0.0 if abs(held + change) < 1e-9 else held + change
    return found


def _edge(it: PositionStory, signed: pl.DataFrame) -> list[Label]:
    digits = it.digits
    last = float(it.prices["last"][-1])
    labels = [Label(float(signed["entry"][-1]), f"entry {signed['entry'][-1]:,.{digits}f}", ENTRY)]
    labels.append(Label(last, f"last {last:,.{digits}f}", PRICE))
    levels = it.stops["level"].drop_nulls()
    if levels.len():
        labels.append(Label(float(levels[-1]), f"{'stop' if it.is_open else 'last stop'} {levels[-1]:,.{digits}f}", STOP))
    return labels


def _names(rows: Iterable[dict[str, Any]], digits: int) -> list[Label]:
    colours = {"target": TARGET, "floor": FLOOR}
    return [Label(row["level"], f"{row['name']} {row['level']:,.{digits}f}", colours[row["leg"]]) for row in rows]
