"""What an order costs beyond the best price, in pictures: how wide the spread is, cost by size, and how the book comes back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from qtkit.core.model import ONE
from qtkit.paper.fitting import HORIZONS_MS, Fit, by_size
from qtkit.picture import CONFIG, ENTRY, FAINT, INK, STOP, Picture
from qtkit.table import Table, table

WIDTH, HEIGHT = 350, 250
PAID = "paid beyond the best price, bp"
COLOURS, SHAPES = (INK, ENTRY, STOP, FAINT), ("circle", "diamond", "square", "triangle-up")  # of the symbols, in their order
COSTS = (0, 0.1, 0.3, 1, 3, 10, 30, 100)
MONEY = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
SHARES = (0.0001, 0.001, 0.01, 0.1, 1, 10, 100, 1_000)
TIMES = (1, 10, 100, 1_000, 5_000)
TICKS = (1, 3, 10, 30, 100, 300, 1_000)
PARTS = (1, 0.1, 0.01, 0.001, 0.0001, 0.00001)
Row = Mapping[str, Any]
Layer = dict[str, Any]

_POINT: Layer = {"type": "point", "filled": True, "color": INK, "opacity": 0.9, "stroke": "#ffffff", "strokeWidth": 1}


def spread_chart(spreads: pl.DataFrame) -> Picture:
    """For which part of the time the spread was wider than so many ticks."""
    x = _axis("ticks", "spread, ticks", TICKS, log=True)
    y = _axis("wider", "part of the time that it was wider", PARTS, log=True, form=".3~%")
    layers: list[Layer] = []
    said = []
    for (symbol, own), colour in zip(_each(spreads.sort("ticks")), COLOURS, strict=False):
        least, share = own.select("ticks", "share").row(0)
        said.append(f"{symbol} {least} tick{'s' if least > 1 else ''} for {share:.1%} of the time")
        rows = own.select("ticks", wider=1 - pl.col("share").cum_sum()).filter(pl.col("wider") > 1e-6).to_dicts()
        layers.append(_line(rows, x, y, colour, interpolate="step-after"))
        if rows:
            layers.append(_text(rows[len(rows) // 2] | {"text": symbol.removesuffix("USDT")}, x, y, colour, dx=6, dy=-8))
    told = "; ".join(said)
    return _picture([_panel("How wide the spread was", [told], layers, width=2 * WIDTH)], f"spread: {told}")


def cost_chart(orders: pl.DataFrame) -> Picture:
    """What an order paid beyond the best price, by its size: points are what happened, the line is the fitted book's ladder."""
    panels, words = [], []
    for symbol, own in _each(by_size(orders)):
        largest = _number(own["size"].max())
        said = ", ".join(f"{_money(size)} pay {_cost(own, size)} bp" for size in (100_000, 1_000_000) if largest >= size)
        words.append(f"{symbol}: {said}")
        rows = own.select("size", "cost", "model", "money").to_dicts()
        x, y = _axis("size", "order, USDT", MONEY, log=True, form="~s"), _axis("cost", PAID, COSTS, most=_most(own, "cost", "model"))
        area = {"field": "money", "type": "quantitative", "scale": {"range": [20, 260], "domainMin": 0}, "legend": None}
        end = rows[-1] | {"cost": rows[-1]["model"], "text": "fitted book"}
        panels.append(
            _panel(symbol, [said], [
                _line(rows, x, y | {"field": "model"}, ENTRY, interpolate="monotone"),
                {"data": {"values": rows}, "mark": _POINT, "encoding": {"x": x, "y": y, "size": area}},
                _text(end, x, y, ENTRY, dx=-16, dy=0, align="right"),
            ])
        )  # fmt: skip
    return _picture(panels, "; ".join(words), "Cost by size: points are the sweeps of the recording, the larger the more money")


def share_chart(orders: pl.DataFrame) -> Picture:
    """The same by size relative to what was quoted at the best price."""
    bins = by_size(orders, "share").filter(pl.col("count") >= 5)
    names, rows, most = sorted(bins["symbol"].unique()), bins.select("symbol", "size", "cost").to_dicts(), _most(bins, "cost")
    x, y = _axis("size", "order / quantity quoted at the best price", SHARES, log=True), _axis("cost", PAID, COSTS, most=most)
    named = {"field": "symbol", "type": "nominal", "legend": {"title": None}}
    encoding = {
        "x": x, "y": y, "shape": named | {"scale": {"domain": names, "range": list(SHAPES[: len(names)])}},
        "color": named | {"scale": {"domain": names, "range": list(COLOURS[: len(names)])}},
    }  # fmt: skip
    one = {"size": 1, "cost": most, "text": "all that was quoted"}
    said = "orders that fit into what is quoted pay next to nothing; beyond it the cost begins"
    layers = [
        {"data": {"values": [one]}, "mark": {"type": "rule", "color": STOP, "strokeDash": [4, 3]}, "encoding": {"x": x}},
        _text(one, x, y, STOP, dx=6, dy=8),
        {"data": {"values": rows}, "mark": _POINT | {"size": 90}, "encoding": encoding},
    ]
    return _picture([_panel("Cost by size relative to the quote", [said], layers, width=2 * WIDTH)], said)


def recovery_chart(watched: pl.DataFrame, fits: Sequence[Fit]) -> Picture:
    """After large sweeps, on average: where the best price of the swept side stands, and how wide the spread is."""
    panels, words = [], []
    for fit in fits:
        own = watched.filter((pl.col("symbol") == fit.symbol) & (pl.col("after_ms") > 0))
        peak = _number(own["moved"].max())
        back = f"half of the move is gone after {fit.back_ms} ms" if fit.back_ms else "more than half of the move is still there after 5 s"
        healed = f"half of the extra spread after {fit.healed_ms} ms" if fit.healed_ms else "the spread stays wide"
        words.append(f"{fit.symbol}: {back}; {healed}")
        x, y = _axis("after_ms", "after the sweep, ms", TIMES, log=True), _axis("bps", "bp", (), most=1.15 * peak)
        moved, spread = (own.select("after_ms", bps=name).to_dicts() for name in ("moved", "spread"))
        half = {"after_ms": 1, "bps": peak / 2, "text": "half of the move"}
        top = {"after_ms": HORIZONS_MS[-1], "bps": peak, "text": "best price of the swept side, moved"}
        layers = [
            {"data": {"values": [half]}, "mark": {"type": "rule", "color": FAINT, "strokeDash": [2, 3]}, "encoding": {"y": y}},
            _text(half, x, y, FAINT, dx=4, dy=-7),
            _line(moved, x, y, INK), _text(top, x, y, INK, dx=0, dy=-10, align="right"),
            _line(spread, x, y, ENTRY), _text(spread[-1] | {"text": "spread"}, x, y, ENTRY, dx=0, dy=-12, align="right"),
        ]  # fmt: skip
        panels.append(_panel(f"{fit.symbol}, {fit.large} large sweeps", [f"{back};", healed], layers))
    return _picture(panels, "; ".join(words), "How the book comes back")


def fit_table(fits: Sequence[Fit]) -> Table:
    """The parameters, and how well they foretell."""
    rows = [
        {
            "symbol": fit.symbol, "half spread": f"{fit.half_bps:.3f}", "quoted": f"{fit.quoted:,.0f}",
            "depth": f"{(fit.book.depth or 0) // ONE:,}",
            "a bp more": f"{fit.per_bp:,.0f}", "recovery": "over 5 s" if fit.back_ms is None else f"{fit.back_ms} ms",
            "sweeps": f"{fit.sweeps:,}", "paid": f"{fit.paid:.3f}", "off": f"{fit.error_in:.3f}",
            "at other times": "" if fit.error_out is None else f"{fit.error_out:.3f}", "one cost": f"{fit.error_flat:.3f}",
        }
        for fit in fits
    ]  # fmt: skip
    columns = tuple(rows[0]) if rows else ("symbol",)
    return table(
        rows,
        columns=columns,
        right=columns[1:],
        caption="the book of each symbol: money in USDT; spread, what was paid and how far each is off in bp",
    )


def stretches_table(told: pl.DataFrame) -> Table:
    """Each stretch: what was paid, and what a book that was fitted on the other stretches would have taken."""
    costs = [((pl.col(name) * pl.col("money")).sum() / pl.col("money").sum()).alias(name) for name in ("cost", "model")]
    whole = told.group_by("symbol", "stretch").agg(*costs, first=pl.col("time_ms").min(), count=pl.len(), paid=pl.col("money").sum())
    days = whole.sort("symbol", "stretch").with_columns(day=pl.from_epoch("first", time_unit="ms").dt.strftime("%Y-%m-%d %H:%M"))
    rows = [
        {
            "symbol": row["symbol"], "from (UTC)": row["day"], "sweeps": f"{row['count']:,}", "USDT": f"{row['paid']:,.0f}",
            "paid (bp)": f"{row['cost']:.3f}", "foretold (bp)": f"{row['model']:.3f}",
        }
        for row in days.to_dicts()
    ]  # fmt: skip
    columns = ("symbol", "from (UTC)", "sweeps", "USDT", "paid (bp)", "foretold (bp)")
    return table(rows, columns=columns, right=columns[2:], caption="foretold: by a book that was fitted on the other stretches")


# -- Vega-Lite -------------------------------------------------------------------------------------------------------------------------


def _each(frame: pl.DataFrame) -> Iterable[tuple[str, pl.DataFrame]]:
    return [(str(symbol), frame.filter(pl.col("symbol") == symbol)) for symbol in sorted(frame["symbol"].unique())]


def _axis(field: str, title: str, values: Sequence[float], *, log: bool = False, form: str = "~g", most: float | None = None) -> Layer:
    scale: Layer = {"type": "log"} if log else {"type": "symlog", "constant": 0.1} if values else {"zero": True}
    axis = {"title": title, "format": form, "grid": True} | ({"values": list(values)} if values else {"tickCount": 5})
    return {"field": field, "type": "quantitative", "scale": scale | {"nice": False} | ({"domainMax": most} if most else {}), "axis": axis}


def _most(frame: pl.DataFrame, *columns: str) -> float:
    """The top of an axis, with room for a label."""
    return 1.6 * max(_number(frame[column].max()) for column in columns)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 1.0


def _line(rows: Sequence[Row], x: Layer, y: Layer, colour: str, *, interpolate: str = "linear") -> Layer:
    mark = {"type": "line", "color": colour, "strokeWidth": 2, "interpolate": interpolate}
    return {"data": {"values": list(rows)}, "mark": mark, "encoding": {"x": x, "y": y}}


def _text(row: Row, x: Layer, y: Layer, colour: str, *, dx: int, dy: int, align: str = "left") -> Layer:
    mark = {"type": "text", "align": align, "dx": dx, "dy": dy, "fontSize": 11.5, "color": colour}
    return {"data": {"values": [row]}, "mark": mark, "encoding": {"x": x, "y": y, "text": {"field": "text"}}}


def _panel(title: str, lines: list[str], layers: list[Layer], *, width: int = WIDTH) -> Layer:
    head = {
        "text": title, "subtitle": lines, "anchor": "start", "frame": "group", "offset": 10, "fontSize": 14, "color": INK,
        "subtitleColor": FAINT, "subtitleFontSize": 12, "subtitlePadding": 4,
    }  # fmt: skip
    return {"width": width, "height": HEIGHT, "title": head, "layer": layers}


def _picture(panels: list[Layer], words: str, title: str = "") -> Picture:
    spec: Layer = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json", "description": words, "padding": 8, "background": "#ffffff",
        "hconcat": panels, "spacing": 40,
        "config": CONFIG,
    }  # fmt: skip
    if title:
        spec["title"] = {"text": title, "anchor": "start", "fontSize": 15, "color": INK, "offset": 12}
    return Picture(spec, words)


def _money(value: int) -> str:
    return f"{value // 1_000_000} M USDT" if value >= 1_000_000 else f"{value // 1_000:,} k USDT"


def _cost(own: pl.DataFrame, size: float) -> str:
    """The fitted cost at a size, between the bins around it."""
    below, above = own.filter(pl.col("size") <= size).tail(1), own.filter(pl.col("size") >= size).head(1)
    (x0, y0), (x1, y1) = (row.select("size", "model").row(0) for row in (below if below.height else above, above))
    return f"{y0 if x1 == x0 else y0 + (y1 - y0) * (size - x0) / (x1 - x0):.2f}"
