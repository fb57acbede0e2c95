"""What the pictures of the lab are made of: Vega-Lite in the style of the house."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qtkit.picture import CONFIG, ENTRY, FAINT, FLOOR, INK, KILL, STOP, TARGET, Label, Picture, apart

Layer = dict[str, Any]
WIDTH, HEIGHT = 760, 320
LABEL_GAP = 15  # pixels between two labels at the right edge

WHYS: dict[str, tuple[str, str]] = {  # how a position ended -> colour and shape of its fill
    "stop": (STOP, "square"),
    "trail": (ENTRY, "triangle-up"),
    "stage": (KILL, "triangle-right"),
    "break-even": (FLOOR, "triangle-left"),
    "target": (TARGET, "diamond"),
    "time": (INK, "cross"),
    "asked": (FAINT, "cross"),
    "end of data": (FAINT, "stroke"),
}

AXES = {  # axes of a grid as people say them
    "stop": "initial stop",
    "trail": "trail, behind the best price",
    "activation": "trail from",
    "break_even_after": "break-even after target",
    "max_bars": "time stop, bars",
}

METRICS = {  # columns of a table of policies: what they are, in which unit, and how they are written
    "net_bps": ("net result", "bps", "+.0f"),
    "gross_bps": ("result before costs", "bps", "+.0f"),
    "net_r": ("net result", "R", "+.2f"),
    "net_quote": ("net result", "of the quote coin", "+,.2f"),
    "bps_per_day": ("net result", "bps a day of capital held", "+.0f"),
    "error_bps": ("standard error of the net result", "bps", ".1f"),
    "win_pct": ("winners", "%", ".0f"),
    "days_held": ("time held", "days", ".2f"),
    "best_bps": ("best position", "bps", "+.0f"),
    "worst_bps": ("worst position", "bps", "+.0f"),
}


def axis(field: str, title: str | None, *, form: str = "~g", domain: Sequence[float] | None = None, grid: bool = True) -> Layer:
    """A measured axis; ``domain`` are its ends."""
    scale: Layer = {"zero": False, "nice": False} | ({"domain": list(domain)} if domain else {})
    shown: Layer = {"title": title, "format": form, "grid": grid, "tickCount": 6}
    if form.startswith("+"):
        shown["labelExpr"] = "datum.value == 0 ? '0' : datum.label"
    return {"field": field, "type": "quantitative", "scale": scale, "axis": shown}


def times(field: str, ends: Sequence[int], title: str, form: str = "%d %b") -> Layer:
    """A time axis, UTC, in ms."""
    scale = {"type": "utc", "domain": list(ends), "nice": False}
    return {"field": field, "type": "temporal", "scale": scale, "axis": {"format": form, "title": title, "grid": False, "tickCount": 6}}


def layer(rows: Iterable[Mapping[str, Any]], mark: Layer, **encoding: Layer) -> Layer:
    """Rows drawn by one mark."""
    return {"data": {"values": [dict(row) for row in rows]}, "mark": mark, "encoding": encoding}


def line(rows: Iterable[Mapping[str, Any]], colour: str, x: Layer, y: Layer, **more: Any) -> Layer:
    """A line; ``more`` are properties of the mark."""
    return layer(rows, {"type": "line", "color": colour, "strokeWidth": 2, **more}, x=x, y=y)


def rule(row: Mapping[str, Any], colour: str, *, dash: Sequence[int] = (4, 3), **encoding: Layer) -> Layer:
    """A straight rule across the picture."""
    return layer([row], {"type": "rule", "color": colour, "strokeWidth": 1.3, "strokeDash": list(dash)}, **encoding)


def words(rows: Iterable[Mapping[str, Any]], colour: str, x: Layer, y: Layer, **more: Any) -> Layer:
    """Texts (field ``text``) at places."""
    mark = {"type": "text", "align": "left", "dx": 5, "fontSize": 11.5, "color": colour, **more}
    return layer(rows, mark, x=x, y=y, text={"field": "text"})


def labels(them: Iterable[Label], y: Layer, *, x: int = WIDTH, height: int = HEIGHT) -> list[Layer]:
    """Names at the right edge, each in the colour of what it names, pushed apart where they would overlap."""
    low, high = y["scale"]["domain"]
    gap = LABEL_GAP * (high - low) / height
    placed = apart(sorted(them, key=lambda label: label.price), gap, low, high)
    plain = {"field": "at", "type": "quantitative", "scale": y["scale"], "axis": y["axis"]}
    return [words([{"at": at, "text": label.text}], label.colour, {"value": x}, plain, dx=8) for label, at in placed]


def title(text: str, lines: Sequence[str] = (), *, size: int = 15) -> Layer:
    """The finding or the question, and under it what the picture shows."""
    return {
        "text": text, "subtitle": list(lines), "anchor": "start", "frame": "group", "offset": 12, "fontSize": size, "color": INK,
        "subtitleColor": FAINT, "subtitleFontSize": 12, "subtitlePadding": 5, "subtitleLineHeight": 15,
    }  # fmt: skip


def picture(head: Layer, body: Layer, said: str) -> Picture:
    """The whole: ``body`` is a layer list or a concatenation, ``said`` what it shows in words."""
    return Picture(
        {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json", "description": said, "padding": 8, "background": "#ffffff",
            "autosize": "pad", "title": head, "config": CONFIG, **body,
        },
        said,
    )  # fmt: skip


def layered(head: Layer, layers: Iterable[Layer], said: str, *, width: int = WIDTH, height: int = HEIGHT) -> Picture:
    """A picture of one panel."""
    return picture(head, {"width": width, "height": height, "layer": [one for one in layers if one]}, said)


def spaced(text: str) -> str:
    """A label of a grid as the house writes it: ``2.5%`` is told as ``2.5 %``, ``30%@1R 30%@2R`` as ``30 % at 1R, 30 % at 2R``."""
    if "@" in text[1:] or "->" in text:
        text = text.replace(" ", ", ").replace("@", " at ").replace("->", " → ")
    return re.sub(r"(?<=\d)%", " %", text)


def signed(value: float, form: str = "+,.0f") -> str:
    """A number as the axes write it: a minus that is one, and nought without a sign."""
    text = f"{value:{form}}"
    return text.replace("-", "−") if any(digit in text for digit in "123456789") else text.lstrip("+-")
