"""Walk-forward: what was chosen on one stretch of time, and what it brought on the next."""

from typing import TYPE_CHECKING

import polars as pl

from qtkit.lab.plots.layers import METRICS, Layer, axis, layer, layered, rule, signed, title, words
from qtkit.lab.plots.names import policy_name
from qtkit.picture import ENTRY, FAINT, INK, Picture, padded

if TYPE_CHECKING:
    from qtkit.lab.result import Result
    from qtkit.lab.walkforward import WalkForward

WIDE, ROW = 560, 44
LOOKS = {
    "in_sample": ("in sample, where it was chosen", FAINT, "diamond"),
    "out_of_sample": ("out of sample", ENTRY, "circle"),
    "grid": ("all of the grid then", INK, "stroke"),
}


def forward(result: "Result", found: "WalkForward") -> Picture:
    """A row a fold of ``lab.walk_forward``: what the best policy brought where it was chosen, what the same one brought on the stretch that
    followed, and the grid's policies there on average; on the right what was chosen.
    """
    folds = found.folds.to_dicts()
    names = [f"{fold['begin']:%d %b %Y} to {fold['end']:%d %b %Y}" for fold in folds]
    what, unit, form = METRICS[found.metric]
    x = axis("value", f"{what}, {unit}", form=form, domain=padded([0.0, *(fold[name] for fold in folds for name in LOOKS)]))
    y: Layer = {
        "field": "then", "type": "ordinal", "sort": names, "axis": {"title": None, "ticks": False, "domain": False, "labelPadding": 8}
    }  # fmt: skip
    rows = list(zip(names, folds, strict=True))
    points = [{"then": name, "value": fold[part], "what": LOOKS[part][0]} for name, fold in rows for part in LOOKS]
    lines = [{"then": name, "value": fold["in_sample"], "to": fold["out_of_sample"]} for name, fold in rows]
    chosen = [{"then": name, "text": policy_name(result, fold["policy"])} for name, fold in rows]
    layers = [
        rule({"value": 0}, FAINT, dash=[2, 3], x=x),
        layer(lines, {"type": "rule", "color": FAINT, "strokeWidth": 1, "strokeDash": [2, 2]}, x=x, x2={"field": "to"}, y=y),
        _points(points, x, y),
        words(chosen, INK, {"value": WIDE}, y, dx=10),
    ]
    said, under = _found(found)
    return layered(title(said, under), layers, said, width=WIDE, height=ROW * len(rows))


def _points(rows: list[Layer], x: Layer, y: Layer) -> Layer:
    def look(index: int) -> Layer:
        scale = {"domain": [it[0] for it in LOOKS.values()], "range": [it[index] for it in LOOKS.values()]}
        return {"field": "what", "type": "nominal", "scale": scale, "legend": {"title": None, "labelLimit": 240}}

    mark = {"type": "point", "filled": True, "size": 90, "opacity": 1, "strokeWidth": 2}
    return layer(rows, mark, x=x, y=y, color=look(1), shape=look(2), stroke=look(1) | {"legend": None})


def _found(found: "WalkForward") -> tuple[str, list[str]]:
    inside, outside, grid = found.report.row(by_predicate=pl.col("figure") == "net_bps")[1:]
    way = "all that was before it" if found.anchored else "the stretch before it"
    return f"Out of sample the choice brought {signed(outside, '+.1f')} bps, where it was made {signed(inside, '+.1f')}", [
        f"95 % between {signed(found.low_bps, '+.1f')} and {signed(found.high_bps, '+.1f')} bps: {found.entries} entries worth "
        f"{found.effective:.0f} apart; the grid brought {signed(grid, '+.1f')} on average",
        f"each time chosen on {way}; {found.folds['purged'].sum()} entries that were still open then were left out of the choices",
    ]
