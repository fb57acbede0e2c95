"""The ledger, previews and stories as tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from qtkit.charts.story import PositionStory, Story
from qtkit.core.model import PositionSide
from qtkit.ledger import Ledger, OrderLine, Step, money
from qtkit.paper.meter import Promise
from qtkit.table import BAD, GOOD, QUIET, Table, table


def _short(price: str) -> str:
    """A mark price, which lies off the grid, in seven figures."""
    return f"{Decimal(format(Decimal(price), '.7g')):f}"


def _age(ms: int) -> str:
    return f"{ms / 1000:.1f} s" if ms < 120_000 else f"{ms / 60_000:.1f} min"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def cover_table(it: Ledger) -> Table:
    """The ledger: what is open, what covers it, by which of our orders and whose else, since when there is a gap, and the money at risk."""

    def rows() -> Iterable[dict[str, object]]:
        for line in it.lines:
            gap_s = 0 if line.gap_since_ms is None else (it.at_ms - line.gap_since_ms) // 1000
            since = f" for {gap_s} s" if gap_s > 0 else ""
            yield {
                "position": line.symbol if line.position_side == PositionSide.BOTH.value else f"{line.symbol}:{line.position_side}",
                "side": line.side.lower(), "size": line.size, "entry": line.entry, "mark": _short(line.mark),
                "covered": "NAKED" + since if line.naked else f"{line.covered} %" + since,
                "by our orders": ", ".join(line.orders) or "none", "by others": ", ".join(line.foreign),
                "stop": line.stop, "at risk (USDT)": money(line.at_risk), "plan": f"{line.strategy}, {line.standing}",
            }  # fmt: skip

    def tone(row: Mapping[str, Any], name: str) -> str:
        return (GOOD if row["covered"] == "100 %" else BAD) if name == "covered" else ""

    columns = ("position", "side", "size", "entry", "mark", "covered", "by our orders", "by others", "stop", "at risk (USDT)", "plan")
    right = ("size", "entry", "mark", "covered", "stop", "at risk (USDT)")
    return table(rows(), columns=columns, right=right, caption=it.sentence, tone=tone)


def risk_table(it: Ledger) -> Table:
    """Money at risk, position by position: what our stops lose from the mark and against the entry, slippage and fee included, the way to
    liquidation, what foreign stops would do, which are no part of ours, and what is wrong.
    """

    def rows() -> Iterable[dict[str, object]]:
        for line in it.lines:
            theirs = f"{line.foreign_covered} % to {line.foreign_stop or 'an unknown price'}, {money(line.foreign_at_risk)}"
            yield {
                "position": line.symbol if line.position_side == PositionSide.BOTH.value else f"{line.symbol}:{line.position_side}",
                "side": line.side.lower(), "mark": _short(line.mark), "stop": line.stop,
                "slippage (bps)": f"{line.slip} assumed" if line.slip_median is None else f"{line.slip} of {line.slip_fills} fills",
                "at risk (USDT)": money(line.at_risk) or "unbounded",
                "if stopped (USDT)": "" if line.lost is None else f"{-Decimal(line.lost):+,.2f}",
                "to liquidation": "unknown" if line.to_liquidation is None else f"{line.to_liquidation} %",
                "foreign stops": theirs if line.foreign else "", "what is wrong": "; ".join(row.says for row in line.findings),
            }  # fmt: skip

    def tone(row: Mapping[str, Any], name: str) -> str:
        return BAD if name == "what is wrong" or row[name] == "unbounded" else ""

    columns = (
        "position", "side", "mark", "stop", "slippage (bps)", "at risk (USDT)", "if stopped (USDT)", "to liquidation", "foreign stops",
        "what is wrong",
    )  # fmt: skip
    right = ("mark", "stop", "slippage (bps)", "at risk (USDT)", "if stopped (USDT)", "to liquidation")
    return table(rows(), columns=columns, right=right, caption="if every stop fills", tone=tone)


def orders_table(orders: Iterable[OrderLine], *, ids: bool = True) -> Table:
    """Resting orders, ours and foreign, and since when; ``ids`` adds the client order ids."""
    rows = [
        {
            "symbol": order.symbol, "owner": order.owner, "leg": order.leg, "type": order.kind, "side": order.side, "size": order.size,
            "trigger": order.trigger, "price": order.price, "on": order.trigger_by if order.trigger else "",
            "since (UTC)": _at(order.time_ms),
            "client order id": order.id,
        }
        for order in orders
    ]  # fmt: skip
    columns = ("symbol", "owner", "leg", "type", "side", "size", "trigger", "price", "on", "since (UTC)", "client order id")
    chosen = columns if ids else columns[:-1]
    return table(
        rows, columns=chosen, right=("size", "trigger", "price"), caption=_count(len(rows), "resting order"),
        tone=lambda row, name: QUIET if name == "client order id" else "",
    )  # fmt: skip


def _at(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}" if time_ms else ""


def steps_table(steps: Iterable[Step | Mapping[str, Any]]) -> Table:
    """What the next pass would do: steps, or the rows of a reader's preview."""
    colours = {"create": GOOD, "replace": GOOD, "cancel": BAD, "keep": QUIET}
    plain = [asdict(step) if isinstance(step, Step) else step for step in steps]
    rows = [{**row, "position": row["key"], "type": row["kind"], "size": "all" if row["size"] is None else row["size"]} for row in plain]
    counts = ", ".join(f"{word} {sum(row['do'] == word for row in rows)}" for word in ("create", "keep", "replace", "cancel"))
    return table(
        rows, columns=("do", "position", "leg", "type", "side", "size", "trigger", "why"), right=("size", "trigger"),
        caption=f"the next pass: {counts}; nothing was sent", tone=lambda row, name: colours[row["do"]] if name == "do" else "",
    )  # fmt: skip


def positions_table(it: Story) -> Table:
    """Every position of a story: how long it was naked, how often its stop was tightened, and what came of it."""
    found = [it.of(name) for name in it.positions]
    rows = [
        {
            "position": one.name, "side": one.side.name.lower(), "opened by": one.fills["who"][0],
            "entry": f"{one.signed['entry'][-1]:,.{one.digits}f}",
            "covered after": "never" if one.naked_ms is None else _age(one.naked_ms),
            "stop tightened": f"{one.moves} x", "fills": one.fills.height,
            "stop": "" if not one.is_open or one.stops["level"][-1] is None else f"{one.stops['level'][-1]:,.{one.digits}f}",
            "realised (USDT)": f"{one.realised:+,.2f}",
            "at stop (USDT)": "" if not one.is_open else "no stop" if one.at_stop is None else f"{one.at_stop:+,.2f}",
            "result": one.result.partition(", ")[2] if not one.is_open else "still open",
        }
        for one in found
    ]  # fmt: skip

    def tone(row: Mapping[str, Any], name: str) -> str:
        if name == "covered after":
            return BAD if row[name] == "never" else GOOD
        if name == "at stop (USDT)":
            return BAD if row[name].startswith(("-", "no")) else GOOD
        return (GOOD if not row[name].startswith("-") else BAD) if name == "realised (USDT)" else ""

    right = ("entry", "covered after", "stop tightened", "fills", "stop", "realised (USDT)", "at stop (USDT)")
    columns = ("position", "side", "opened by", *right, "result")
    return table(rows, columns=columns, right=right, caption=f"{_count(len(rows), 'position')}, before fees: {_sum(found)}", tone=tone)


def _sum(them: Sequence[PositionStory]) -> str:
    """What positions have realised, and what more there is if the stops of those still open fill."""
    realised = f"{sum(one.realised for one in them):+,.2f} USDT realised"
    if not any(one.is_open for one in them):
        return realised
    open_ = [one.at_stop for one in them if one.is_open]
    known = sum(more for more in open_ if more is not None)
    return f"{realised}, " + ("unknown at the stops" if None in open_ else f"{known:+,.2f} USDT more at the stops")


def promises_table(promises: Iterable[Promise | Mapping[str, Any]]) -> Table:
    """Promises, whether each was held, and the evidence."""
    plain = [(p.name, p.held, p.evidence) if isinstance(p, Promise) else (p["name"], p["held"], p["evidence"]) for p in promises]
    rows = [{"promise": name, "held": "yes" if held else "NO", "evidence": evidence} for name, held, evidence in plain]
    held = sum(row["held"] == "yes" for row in rows)
    return table(
        rows, columns=("promise", "held", "evidence"), caption=f"{held} of {_count(len(rows), 'promise')} held",
        tone=lambda row, name: (GOOD if row["held"] == "yes" else BAD) if name == "held" else "",
    )  # fmt: skip
