"""The printed ledger."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qtkit.demo.ledger import Ledger, Row
from qtkit.paper.clock import Stretch


def show(console: Console, ledger: Ledger, stretches: tuple[Stretch, ...]) -> None:
    """Positions, stretches, promises and the sum, by the exchange's own books."""
    console.print()
    console.print(_positions(ledger.rows))
    _sum(console, ledger)
    for line in paces(stretches):
        console.print(Text(line, style="dim"), soft_wrap=True)
    console.print()
    for promise in ledger.promises:
        mark = Text("kept  ", style="bold green") if promise.held else Text("BROKEN", style="bold white on red")
        console.print(Text.assemble(mark, " ", promise.name, ": ", (promise.evidence, "dim")), soft_wrap=True)
    kept = sum(promise.held for promise in ledger.promises)
    style = "bold green" if ledger.held else "bold red"
    console.print(Text(f"\n{kept} of {len(ledger.promises)} promises kept", style=style))


def _positions(rows: tuple[Row, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Ledger, judged by the exchange's own books", title_justify="left", title_style="bold")
    columns = ("position", "side", "opened by", "now", "naked before", "under the desk", "gaps after", "worst", "loosened", "market closes", "at the stops")
    for name in columns:
        table.add_column(name, justify="left" if name in columns[:4] else "right")
    for row in rows:
        at_stops = "" if row.at_stops is None else f"{row.at_stops:+,.2f}"
        worst = Text(f"{row.worst_gap_s:.1f} s", style="bold red" if row.gaps else "green")
        table.add_row(
            row.position, row.side, row.opened_by, row.state, f"{row.naked_s:,.1f} s", f"{row.exposed_ms / 1000:.2f} s", str(row.gaps), worst,
            str(row.loosened), str(row.market_closes), at_stops,
        )  # fmt: skip
    return table


def _sum(console: Console, ledger: Ledger) -> None:
    lost = float(ledger.figures["lost_if_all_stops_filled"])
    said = f"{lost:,.2f} USDT would be lost" if lost > 0 else f"{-lost:,.2f} USDT would be kept"
    console.print(f"if all stops filled now: {said}, against the entries", highlight=False, soft_wrap=True)
    touched = ledger.figures["foreign_orders_touched"]
    console.print(f"foreign orders touched: {touched}; worst gap: {ledger.figures['worst_gap_s']:g} s", highlight=False, soft_wrap=True)


def paces(stretches: tuple[Stretch, ...]) -> list[str]:
    """One line for each stretch of time at one speed that was long enough to matter."""
    return [
        f"{s.wall_ms / 1000:5.1f} s at {s.speed:g}x = {s.exchange_ms / 1000:,.0f} s on the exchange" if s.speed else f"{s.wall_ms / 1000:5.1f} s held"
        for s in stretches
        if s.wall_ms >= 100
    ]
