"""Walk-forward: what was chosen on one stretch of time, and what it brought on the next."""

import polars as pl

from qtkit.core.model import PolicyError
from qtkit.lab.plots.layers import Layer, axis, layer, layered, rule, signed, title, words
from qtkit.picture import ENTRY, FAINT, INK, Picture, padded

WIDE, ROW = 560, 44
LOOKS = {
    "learnt: the best there": (FAINT, "diamond"),
    "then: the same policy": (ENTRY, "circle"),
    "then: the grid on average": (INK, "stroke"),
}


def forward(frame: pl.DataFrame) -> Picture:
    """A row a step: the net result of the best policy where it was chosen, of the same policy on the stretch that followed (with its
    standard error), and of the grid's policies there on average.

    ``frame`` has ``then`` (the stretch), ``chosen`` (the policy's name), ``entries`` of the stretch, ``learnt``, ``tested``, ``error`` and
    ``any`` (bps). Raises ``PolicyError`` where it is empty.
    """
    if frame.is_empty():
        raise PolicyError("there is no step; give more entries, or fewer steps")
    rows = frame.with_columns(low=pl.col("tested") - pl.col("error"), high=pl.col("tested") + pl.col("error")).to_dicts()
    ends = [row[name] for row in rows for name in ("learnt", "low", "high", "any")]
    x = axis("value", "net result, bps of the notional a position", form="+,.0f", domain=padded([*ends, 0.0]))
    order = [row["then"] for row in rows]
    y: Layer = {
        "field": "then",
        "type": "ordinal",
        "sort": order,
        "axis": {"title": None, "ticks": False, "domain": False, "labelPadding": 8},
    }
    points = [
        {"then": row["then"], "value": row[name], "what": what}
        for row in rows
        for name, what in zip(("learnt", "tested", "any"), LOOKS, strict=True)
    ]
    lines = [{"then": row["then"], "value": row["learnt"], "to": row["tested"]} for row in rows]
    errors = [{"then": row["then"], "value": row["low"], "to": row["high"]} for row in rows]
    names = [{"then": row["then"], "text": row["chosen"]} for row in rows]
    layers = [
        rule({"value": 0}, FAINT, dash=[2, 3], x=x),
        layer(lines, {"type": "rule", "color": FAINT, "strokeWidth": 1, "strokeDash": [2, 2]}, x=x, x2={"field": "to"}, y=y),
        layer(errors, {"type": "rule", "color": ENTRY, "strokeWidth": 4, "opacity": 0.3}, x=x, x2={"field": "to"}, y=y),
        _points(points, x, y),
        words(names, INK, {"value": WIDE}, y, dx=10),
    ]
    return layered(title(*_found(frame)), layers, _found(frame)[0], width=WIDE, height=ROW * len(rows))


def _points(rows: list[Layer], x: Layer, y: Layer) -> Layer:
    def look(index: int) -> Layer:
        scale = {"domain": list(LOOKS), "range": [it[index] for it in LOOKS.values()]}
        return {"field": "what", "type": "nominal", "scale": scale, "legend": {"title": None}}

    mark = {"type": "point", "filled": True, "size": 90, "opacity": 1, "strokeWidth": 2}
    return layer(rows, mark, x=x, y=y, color=look(0), shape=look(1), stroke=look(0) | {"legend": None})


def _found(frame: pl.DataFrame) -> tuple[str, list[str]]:
    learnt, tested, error, any_ = mean_of(frame)
    found = (
        f"On what it had not seen the choice brought {signed(tested, '+.1f')} ± {error:.1f} bps, where it was made {signed(learnt, '+.1f')}"
    )
    return found, [
        f"the grid brought on average {signed(any_, '+.1f')} bps then; the bars are standard errors",
        "on the right what was chosen",
    ]


def mean_of(frame: pl.DataFrame) -> tuple[float, float, float, float]:
    """Means over all steps, by their entries: learnt, tested and its error, any."""
    weight = frame["entries"] / frame["entries"].sum()
    learnt, tested, any_ = (float((frame[name] * weight).sum()) for name in ("learnt", "tested", "any"))
    return learnt, tested, float(((frame["error"] * weight) ** 2).sum()) ** 0.5, any_
