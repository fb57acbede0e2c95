"""Tables of the lab as people read them: rounded, with units, the best on top."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl

from qtkit.lab.plots.layers import METRICS, signed, spaced
from qtkit.lab.plots.names import SHORT, after_what, policy_names
from qtkit.table import BAD, GOOD, QUIET, Table, table

if TYPE_CHECKING:
    from qtkit.lab.parity import Parity
    from qtkit.lab.result import Result

TOP = 10
HEADS = {
    "net_bps": "net bps", "error_bps": "± bps", "gross_bps": "before costs", "net_r": "net R", "net_quote": "net money",
    "bps_per_day": "bps a day held", "win_pct": "won %", "days_held": "days held", "best_bps": "best bps", "worst_bps": "worst bps",
}  # fmt: skip
FORMS = {name: form for name, (_, _, form) in METRICS.items()} | {"net_bps": "+.1f", "gross_bps": "+.1f", "best_bps": "+,.0f"}


def headline(result: "Result") -> str:
    """What was tried, on what, and what came out best."""
    bars = result.bars
    ends = [bars.slice(at, at + 1).frame()["time"][0] for at in (0, len(bars) - 1)]
    said = f"{_count(len(result), 'policy', 'policies')} on {_count(len(result.entries), 'entry', 'entries')} of {bars.symbol}, "
    said += f"{ends[0]:%Y-%m-%d} to {ends[1]:%Y-%m-%d}"
    best = result.table().row(0, named=True)
    return f"{said}: best {signed(best['net_bps'], '+.1f')} ± {best['error_bps']:.1f} bps net a position"


def top(result: "Result", most: int = TOP) -> Table:
    """The best policies by net bps. The error is that of a mean of independent positions: entries that overlap know less."""
    found = result.table()
    ended = [name for name in found.columns if name.endswith(" %")]
    names = [*result.grid.axes, *(name for name in HEADS if name in found.columns), *ended]
    heads = {name: HEADS.get(name) or SHORT.get(name, name) for name in names}
    rows = [
        {heads[name]: spaced(row[name]) if name in result.grid.axes else signed(row[name], FORMS.get(name, ".0f")) for name in names}
        for row in found.head(most).to_dicts()
    ]
    left = len(result) - len(rows)
    caption = headline(result) + (f" ({left:,} more in .table())" if left else "")
    return table(rows, columns=[heads[name] for name in names], right=[heads[n] for n in names if n not in result.grid.axes],
                 caption=caption, tone=_tone)  # fmt: skip


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


def by(result: "Result", group: str) -> Table:
    """One policy by ``month``, ``side``, ``hour`` or ``tag`` of its entries. Each group stands on its own; few entries know little."""
    names = ("net_bps", "error_bps", "gross_bps", "net_r", "win_pct", "days_held", "best_bps", "worst_bps")
    rows = [
        {group: row[group], "entries": row["entries"], **{HEADS[name]: signed(row[name], FORMS[name]) for name in names}}
        for row in result.by(group).to_dicts()
    ]
    caption = f"by {group} of the entry, {after_what(result)}"
    return table(rows, columns=tuple(rows[0]), right=tuple(rows[0])[1:], caption=caption, tone=_tone)


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
