"""Bands: between which results a policy lies, as the order of prices inside its bars is not known."""

import polars as pl

from qtkit.core.model import PolicyError
from qtkit.lab.plots.layers import WIDTH, axis, layer, layered, rule, signed, title
from qtkit.lab.plots.names import names_in
from qtkit.picture import ENTRY, FAINT, INK, Picture, padded

ROW = 24  # pixels
MOST = 16  # policies drawn


def bands(frame: pl.DataFrame, *, most: int = MOST) -> Picture:
    """A bar a policy from its worst to its best order, of the table that ``lab.bands`` gives, the first ``most`` of it.

    Blue are those that may be the best one. Raises ``PolicyError`` where there is none.
    """
    if frame.is_empty():
        raise PolicyError("there is no policy; nothing to draw")
    shown = frame.head(most).with_columns(meets=pl.col("rank_from") == 1)
    shown = shown.with_columns(pl.Series("name", names_in(shown)))
    domain = padded([*shown["worst_bps"], *shown["best_bps"]])
    x = axis("worst_bps", "net result, bps of the notional", form="+,.0f" if domain[1] - domain[0] > 8 else "+,.1f", domain=domain)
    order = shown["name"].to_list()
    y = {"field": "name", "type": "ordinal", "sort": order, "axis": {"title": None, "labelLimit": 320, "ticks": False, "domain": False}}
    colour = {"condition": {"test": "datum.meets", "value": ENTRY}, "value": FAINT}
    values = shown.select("name", "meets", "worst_bps", "sampled_bps", "best_bps").to_dicts()
    bar = {"type": "bar", "height": 9, "opacity": 0.85, "cornerRadius": 2}
    ends = {"type": "tick", "thickness": 2.5, "size": 15}  # so that a band of no width is seen too
    point = {"type": "point", "shape": "diamond", "filled": True, "size": 55, "color": INK}
    layers = [
        rule({"worst_bps": shown["worst_bps"][0]}, INK, x=x),
        layer(values, bar, x=x, x2={"field": "best_bps"}, y=y, color=colour),
        *(layer(values, ends, x=x | {"field": name}, y=y, color=colour) for name in ("worst_bps", "best_bps")),
        layer([row for row in values if row["worst_bps"] != row["best_bps"]], point, x=x | {"field": "sampled_bps"}, y=y),
    ]
    found, under = _found(frame, order[0])
    return layered(title(found, under), layers, found, width=WIDTH - 200, height=ROW * shown.height)


def _found(frame: pl.DataFrame, name: str) -> tuple[str, list[str]]:
    first, apart = frame.row(0, named=True), frame.filter(pl.col("rank_from") == pl.col("rank_to")).height
    met, ends = int((frame["rank_from"] == 1).sum()), [signed(first[it], "+.1f") for it in ("worst_bps", "best_bps")]
    most = max(frame["hangs_pct"].to_list())
    hangs = f"up to {most:.1f} % of a pnl hangs on it" if most else "nothing hangs on it"
    found = f"{frame.height - apart} of {frame.height} policies are not ranked: what came first inside their bars decides"
    if apart == frame.height:
        found = "What came first inside the bars decides no place here"
    return found, [
        f"{name}: {' to '.join(dict.fromkeys(ends))} bps, the best at its worst; {met if met > 1 else 'it alone'} may be the best (blue)",
        f"each from the worst order to the best, the diamond on sampled paths; {hangs}",
    ]
