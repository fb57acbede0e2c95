"""A picture that shows itself in Lab, in executed notebooks and in reports, and asks nothing of the network."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"

# The colours of the house mean the same in every picture and are told apart by the colour-blind (Okabe and Ito, 2008).
INK, FAINT, GRID = "#333333", "#767676", "#ececec"
PRICE, ENTRY, STOP, TARGET, FLOOR, KILL = "#555555", "#0072b2", "#d55e00", "#009e73", "#b07800", "#a14f86"

CONFIG: dict[str, Any] = {
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": FAINT, "titleColor": FAINT, "titleFontWeight": "normal", "gridColor": GRID, "domainColor": "#cccccc",
        "tickColor": "#cccccc", "labelFontSize": 11, "titleFontSize": 11,
    },
    "legend": {
        "labelColor": INK, "labelFontSize": 11, "symbolSize": 70, "orient": "bottom", "direction": "horizontal", "titleOrient": "left",
        "titleColor": FAINT, "titleFontWeight": "normal", "titleFontSize": 11, "offset": 6,
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Label:
    """A level named at the right edge of a picture."""

    price: float
    text: str
    colour: str


class Picture:
    """A drawing from a Vega-Lite specification, rendered in this process. ``words`` say what it shows, for those who cannot see it.

    In a notebook it is SVG, and PNG where a notebook that is not trusted shows no SVG.
    """

    def __init__(self, spec: Mapping[str, Any], words: str) -> None:
        self.spec = dict(spec)
        self.words = words

    def __repr__(self) -> str:
        return self.words

    @cached_property
    def svg(self) -> str:
        """The picture as SVG text."""
        import vl_convert

        return str(vl_convert.vegalite_to_svg(self.spec))

    def png(self, scale: float = 1.0) -> bytes:
        """The picture as PNG; ``scale`` 2 is for print."""
        import vl_convert

        return bytes(vl_convert.svg_to_png(self.svg, scale=scale))

    def altair(self) -> Any:
        """The same as an altair chart, to change it or to set it beside others."""
        import altair as alt

        return alt.Chart.from_dict(self.spec)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"image/svg+xml": self.svg, "image/png": base64.b64encode(self.png()).decode(), "text/plain": self.words}


def span(values: Iterable[float]) -> tuple[float, float]:
    """The least and the greatest value, never the same."""
    found = list(values)
    low, high = min(found), max(found)
    return (low, high) if high > low else (low * 0.999, high * 1.001)


def padded(values: Iterable[float]) -> tuple[float, float]:
    """The same with room around it: the domain of an axis."""
    low, high = span(values)
    room = 0.05 * (high - low)
    return low - room, high + room


def apart(labels: Sequence[Label], gap: float, low: float, high: float) -> list[tuple[Label, float]]:
    """Places for labels in rising order of price, at least ``gap`` apart: pushed up from below, then down from the upper edge."""
    places: list[float] = []
    for label in labels:
        places.append(max(label.price, places[-1] + gap) if places else max(label.price, low))
    ceiling = high
    for index in range(len(places) - 1, -1, -1):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - gap
    return list(zip(labels, places, strict=True))
