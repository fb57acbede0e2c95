"""Bands: between which results a policy lies, as the order of prices inside its bars is not known."""

import polars as pl

from qtkit.core.model import PolicyError
from qtkit.lab.plots.layers import WIDTH, axis, layer, layered, rule, signed, title
from qtkit.picture import ENTRY, FAINT, INK, Picture, padded

ROW = 24  # pixels
MOST = 24  # policies drawn


def bands(frame: pl.DataFrame, *, unit: str = "bps of the notional", most: int = MOST) -> Picture:
    """A bar a policy from its worst to its best, the best policies on top; those whose bands meet the first's are not ranked against it.

    ``frame`` has ``name``, ``worst``, ``best`` and, where it was sampled, ``mid``. Raises ``PolicyError`` where it is empty.
    """
    if frame.is_empty():
        raise PolicyError("there is no policy; nothing to draw")
    rows = frame.sort("worst", descending=True).head(most)
    first = rows.row(0, named=True)
    met = frame.filter(pl.col("best") >= first["worst"]).height - 1
    shown = rows.with_columns(meets=pl.col("best") >= first["worst"])
    domain = padded([*shown["worst"], *shown["best"]])
    x = axis("worst", f"net result, {unit}", form="+,.0f" if domain[1] - domain[0] > 8 else "+,.1f", domain=domain)
    order = shown["name"].to_list()
    y = {"field": "name", "type": "ordinal", "sort": order, "axis": {"title": None, "labelLimit": 320, "ticks": False, "domain": False}}
    colour = {"condition": {"test": "datum.meets", "value": ENTRY}, "value": FAINT}
    values = shown.to_dicts()
    bar = {"type": "bar", "height": 9, "opacity": 0.85, "cornerRadius": 2}
    ends = {"type": "tick", "thickness": 2.5, "size": 15}  # so that a band of no width is seen too
    layers = [
        rule({"worst": first["worst"]}, INK, x=x),
        layer(values, bar, x=x, x2={"field": "best"}, y=y, color=colour),
        *(layer(values, ends, x=x | {"field": name}, y=y, color=colour) for name in ("worst", "best")),
    ]
    if "mid" in shown.columns:
        point = {"type": "point", "shape": "diamond", "filled": True, "size": 55, "color": INK}
        layers.append(layer(values, point, x=x | {"field": "mid"}, y=y))
    found = "The order of prices inside the bars does not touch the best"
    if met:
        found = f"{met} of {frame.height - 1} policies are not ranked against the best: inside its bars either may be first"
    first_said = f"{first['name']}: {signed(first['worst'], '+.1f')} to {signed(first['best'], '+.1f')}, the best at its worst"
    under = [first_said, "each from worst to best, as the order of prices inside a bar decides; blue meets the band of the first"]
    under[1] += "; the diamond is on sampled paths" if "mid" in shown.columns else ""
    return layered(title(found, under), layers, found, width=WIDTH - 200, height=ROW * shown.height)
