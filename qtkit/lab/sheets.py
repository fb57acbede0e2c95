"""Tables of the lab as people read them: rounded, with units, the best on top."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from qtkit.lab.arguments import Ints
from qtkit.lab.plots.layers import METRICS, signed, spaced
from qtkit.lab.plots.names import SHORT, names_in, policy_name, policy_names
from qtkit.table import BAD, GOOD, QUIET, Table, table

if TYPE_CHECKING:
    from qtkit.lab.parity import Parity
    from qtkit.lab.portfolio import Portfolio
    from qtkit.lab.result import Result
    from qtkit.lab.walkforward import WalkForward

TOP = 10
HEADS = {
    "net_bps": "net bps", "band_bps": "other order", "error_bps": "± bps", "gross_bps": "before costs", "net_r": "net R",
    "net_quote": "net money", "bps_per_day": "bps a day held", "win_pct": "won %", "days_held": "days held", "best_bps": "best bps",
    "worst_bps": "worst bps",
}  # fmt: skip
FORMS = {name: form for name, (_, _, form) in METRICS.items()} | {
    "net_bps": "+.1f", "gross_bps": "+.1f", "band_bps": "+.1f", "best_bps": "+,.0f"
}  # fmt: skip


ORDERS = {"worst_bps": "worst", "sampled_bps": "sampled", "best_bps": "best"}
MEANS = {  # columns of the trades: how their means are called and written, and minus for what is paid
    "net_bps": ("net bps", "+.1f", 1), "gross_bps": ("before costs", "+.1f", 1), "fees_bps": ("fees", "+.1f", -1),
    "funding_bps": ("funding", "+.1f", -1), "net_r": ("net R", "+.2f", 1),
}  # fmt: skip
FORWARD = {  # figures of a walk-forward: how they are called and written, and minus for what is paid
    "net_bps": ("net bps", "+.1f", 1), "low_bps": ("at least, 95 %", "+.1f", 1), "high_bps": ("at most, 95 %", "+.1f", 1),
    "gross_bps": ("before costs", "+.1f", 1), "fees_bps": ("fees", "+.1f", -1), "funding_bps": ("funding", "+.1f", -1),
    "net_r": ("net R", "+.2f", 1), "win_pct": ("won %", ".0f", 1), "days_held": ("days held", ".2f", 1),
    "entries a fold": ("entries a fold", ".0f", 1), "effective": ("worth apart, in all", ".0f", 1),
}  # fmt: skip


def headline(result: "Result") -> str:
    """What was tried, on what, and what came out best."""
    bars = result.bars
    ends = [bars.slice(at, at + 1).frame()["time"][0] for at in (0, len(bars) - 1)]
    said = f"{_count(len(result), 'policy', 'policies')} on {_count(len(result.entries), 'entry', 'entries')} of {bars.symbol}, "
    said += f"{ends[0]:%Y-%m-%d} to {ends[1]:%Y-%m-%d}"
    best = result.table().row(0, named=True)
    return f"{said}: best {signed(best['net_bps'], '+.1f')} ± {best['error_bps']:.1f} bps net a position"


def top(result: "Result", most: int = TOP) -> Table:
    """The best policies by net bps, and which of them are not ranked. The error is that of a mean of independent positions: entries that
    overlap know less.
    """
    found = result.table()
    axes, ended = list(result.grid.axes), [name for name in found.columns if name.endswith(" %")]
    told = [name for name in HEADS if name in found.columns and (name != "band_bps" or (found["band_bps"] != 0).any())]
    names = ["rank", *axes, *told, *ended]
    heads = {name: HEADS.get(name) or SHORT.get(name, name) for name in names}
    said = dict.fromkeys(axes, spaced) | {"rank": str}
    rows = [
        {heads[name]: said[name](row[name]) if name in said else signed(row[name], FORMS.get(name, ".0f")) for name in names}
        for row in ({**row, "rank": _places(row)} for row in found.head(most).to_dicts())
    ]
    left = len(result) - len(rows)
    caption = headline(result) + _unranked(found) + (f" ({left:,} more in .table())" if left else "")
    return table(rows, columns=[heads[name] for name in names], right=[heads[n] for n in names if n not in axes], caption=caption,
                 tone=_tone)  # fmt: skip


def _places(row: Mapping[str, Any]) -> str:
    first, last = row["rank_from"], row["rank_to"]
    return str(first) if first == last else f"{first}-{last}"


def _unranked(found: pl.DataFrame) -> str:
    """That the order inside the bars, or nothing at all, parts the first ones."""
    met = found["rank_to"][0]
    return f"; the first {met} are not ranked, for their bands touch" if met > 1 else ""


def bands(frame: pl.DataFrame, most: int = TOP) -> Table:
    """The first policies of ``lab.bands``: net bps by the order inside the bars, what hangs on it, and which places they may have."""
    rows = [
        {
            "rank": _places(row), "policy": name, **{head: signed(row[column], "+.1f") for column, head in ORDERS.items()},
            "ambiguous": row["ambiguous"], "of the pnl": f"{row['hangs_pct']:.1f} %", "read from finer bars": row["resolved"],
        }
        for name, row in zip(names_in(frame.head(most)), frame.head(most).to_dicts(), strict=True)
    ]  # fmt: skip
    caption = "net bps by the order of prices inside the bars, and how many exits and how much of the pnl hang on it"
    return table(rows, columns=tuple(rows[0]), right=[name for name in rows[0] if name != "policy"], caption=caption)


def forward(**found: "WalkForward") -> Table:
    """Walk-forwards of one sweep side by side, in sample beside out of sample: net, fees and funding apart, bps a position."""
    reports = {name: dict(zip(it.report["figure"], it.report.drop("figure").to_dicts(), strict=True)) for name, it in found.items()}
    columns = {f"{name}, {side}": (name, side.replace(" ", "_")) for name in found for side in ("in sample", "out of sample")}
    columns["the grid"] = (next(iter(found)), "grid")
    rows = []
    for figure, (head, form, sign) in FORWARD.items():
        told = {column: reports[name].get(figure, {}).get(side) for column, (name, side) in columns.items()}
        rows.append({"": head} | {column: "" if it is None else signed(sign * it, form) for column, it in told.items()})
    caption = "the chosen policies where they were chosen and on what followed; all of the grid, on average, on what followed"
    return table(rows, columns=("", *columns), right=columns, caption=caption)


def walked(it: "WalkForward") -> Table:
    """One walk-forward as it shows itself."""
    made = forward(**{"anchored" if it.anchored else "rolling": it})
    return replace(made, caption=str(it))


def together(it: "Portfolio", most: int = TOP) -> Table:
    """The best policies of several symbols together, as they show themselves."""
    found = it.table().drop("policy")
    left = f" ({len(it) - most:,} more in .table())" if len(it) > most else ""
    caption = f"{_count(len(it), 'policy', 'policies')} on {_count(len(it.results), 'symbol', 'symbols')}, all of them together{left}"
    names = {name: name.replace("_", " ") for name in found.columns}
    return plain(found.head(most).rename(names), caption)


def folds(result: "Result", found: "WalkForward") -> Table:
    """A walk-forward fold by fold: on how many entries was chosen and tried, what was chosen, and its place among all of them then."""
    form = METRICS[found.metric][2]
    rows = [
        {
            "tried on": f"{row['begin']:%d %b %Y} to {row['end']:%d %b %Y}", "chosen on": row["trained"], "left out": row["purged"],
            "entries": row["tested"], "chosen": policy_name(result, row["policy"]), "in sample": signed(row["in_sample"], form),
            "out of sample": signed(row["out_of_sample"], form), "the grid": signed(row["grid"], form),
            "place": f"{row['rank']} of {row['of']}",
        }
        for row in found.folds.to_dicts()
    ]  # fmt: skip
    right = [name for name in rows[0] if name not in ("tried on", "chosen")]
    return table(rows, columns=tuple(rows[0]), right=right, caption=f"{METRICS[found.metric][0]}, {METRICS[found.metric][1]}")


def costs(result: "Result", policies: Sequence[int]) -> Table:
    """Where the money of a few policies went: before costs, fees, funding, and what was left, bps of the notional a position."""
    rows = []
    for policy, name in zip(policies, policy_names(result, policies), strict=True):
        gross, fees, funding = result.trades(policy).select(pl.col("gross_bps", "fees_bps", "funding_bps").mean()).row(0)
        net = float(result.cube("net_bps").ravel()[policy])
        rows.append({
            "policy": name, "before costs": signed(gross, "+.1f"), "fees": signed(-fees, "+.1f"), "funding": signed(-funding, "+.1f"),
            "net bps": signed(net, "+.1f"),
        })  # fmt: skip
    caption = "bps of the notional a position; slippage, where it is reckoned with, is in the prices"
    return table(rows, columns=tuple(rows[0]), right=tuple(rows[0])[1:], caption=caption, tone=_tone)


def by(result: "Result", group: str, policy: int = 0) -> Table:
    """One policy by ``month``, ``side``, ``hour`` or ``tag`` of its entries, fees and funding apart. Each group stands on its own entries:
    the interval is empty where they are too few for one.
    """
    labels = result.labels(group)
    took = ~np.isnan(result.net_bps[:, policy])
    trades = result.trades(policy).with_columns(pl.Series("group", labels[took]))
    rows = []
    for name in np.unique(labels[took]):
        part = trades.filter(pl.col("group") == name)
        means = {head: signed(sign * float(part[column].to_numpy().mean()), form) for column, (head, form, sign) in MEANS.items()}
        rows.append({
            group: name, "entries": part.height, "95 %": _interval(result, policy, np.flatnonzero(labels == name)), **means,
            "won %": f"{100 * float((part['net_bps'] > 0).to_numpy().mean()):.0f}", "worst bps": signed(min(part["net_bps"].to_list())),
        })  # fmt: skip
    columns = (group, "entries", "net bps", "95 %", *(head for head, _, _ in MEANS.values() if head != "net bps"), "won %", "worst bps")
    return table(rows, columns=columns, right=columns[1:], caption=f"by {group} of the entry, bps of the notional a position", tone=_tone)


def _interval(result: "Result", policy: int, rows: Ints) -> str:
    """Between what the mean of some entries lies, if they are enough to say it."""
    from qtkit.lab.significance import LEAST, compare

    if np.isfinite(result.net_bps[rows, policy]).sum() < LEAST:
        return ""
    found = compare(result, policy, rows=rows)
    return f"{signed(found.low_bps)} to {signed(found.high_bps)}"


def parity(it: "Parity") -> Table:
    """Position by position: how the desk left it and how the reference does, and where the difference of money comes from."""
    rows = [
        {
            "position": row["key"].rpartition("/")[2], "side": row["side"].lower(), "opened (UTC)": f"{row['opened']:%d %b %H:%M}",
            "the desk": _left(row["exit_bar"], row["why"]), "the reference": _left(row["reference_bar"], row["reference_why"]),
            "net": _money(row["net"]), "reference": _money(row["reference_net"]), "slippage": _money(row["slippage"]),
            "fee": _money(row["fee"]), "funding": _money(row["funding"]), "note": row["note"],
        }
        for row in it.frame.to_dicts()
    ]  # fmt: skip
    columns = ("position", "side", "opened (UTC)", "the desk", "the reference", "net", "reference", "slippage", "fee", "funding", "note")
    money = it.frame["net"].null_count() < it.frame.height
    shown = [name for name in columns if (money or name not in columns[5:-1]) and (name != "note" or any(row["note"] for row in rows))]

    def tone(row: Mapping[str, Any], name: str) -> str:
        return "" if name != "the reference" or row.get("note") else GOOD if row[name] == row["the desk"] else BAD

    return table(rows, columns=shown, right=columns[5:-1], caption=it.sentence, tone=tone)


def _left(minute: datetime | None, why: str) -> str:
    return "still open" if minute is None or why == "end of data" else f"{why} at {minute:%H:%M}"


def _money(value: Decimal | None) -> str:
    return "" if value is None else signed(float(value), "+,.2f")


def plain(frame: pl.DataFrame, caption: str = "", *, forms: Mapping[str, str] | None = None) -> Table:
    """Any frame as a table of the house, numbers in three figures; ``forms`` say for a column how else."""
    told = forms or {}
    right = [name for name, kind in frame.schema.items() if kind.is_numeric()]
    rows = [
        {name: signed(value, told.get(name) or _form(value)) if isinstance(value, float) else value for name, value in row.items()}
        for row in frame.to_dicts()
    ]
    return table(rows, columns=frame.columns, right=right, caption=caption)


def _form(value: float) -> str:
    """Three figures are what a trader reads."""
    return ",.0f" if abs(value) >= 100 else ".1f" if abs(value) >= 10 else ".2f"


def _tone(row: Mapping[str, Any], name: str) -> str:
    if name == "± bps":
        return QUIET
    return "" if name != "net bps" else BAD if row[name].startswith("−") else GOOD


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
