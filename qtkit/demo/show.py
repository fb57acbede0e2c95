"""The printed ledger."""

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from qtkit.demo.ledger import Ledger, Row
from qtkit.paper.clock import Stretch

COLUMNS: tuple[tuple[str, JustifyMethod], ...] = (
    ("position", "left"),
    ("side", "left"),
    ("opened by", "left"),
    ("now", "left"),
    ("naked before", "right"),
    ("under the desk", "right"),
    ("gaps after", "right"),
    ("worst", "right"),
    ("loosened", "right"),
    ("market closes", "right"),
    ("if stopped", "right"),
)


def show(console: Console, ledger: Ledger, stretches: tuple[Stretch, ...]) -> None:
    """Positions, stretches, promises and the sum, by the exchange's own books."""
    console.print()
    console.print(_positions(ledger.rows))
    _sum(console, ledger)
    for line in paces(stretches):
        console.print(Text(line, style="dim"), soft_wrap=True)
    console.print()
    promises = Table.grid(padding=(0, 1))
    promises.add_column(no_wrap=True)
    promises.add_column(overflow="fold")
    for promise in ledger.promises:
        mark = Text("kept", style="bold green") if promise.held else Text("BROKEN", style="bold white on red")
        promises.add_row(mark, Text.assemble(promise.name, ": ", (promise.evidence, "dim")))
    console.print(promises)
    kept = sum(promise.held for promise in ledger.promises)
    style = "bold green" if ledger.held else "bold red"
    console.print(Text(f"\n{kept} of {len(ledger.promises)} promises kept", style=style))


def _positions(rows: tuple[Row, ...]) -> Table:
    title = "Ledger, judged by the exchange's own books"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for name, justify in COLUMNS:
        table.add_column(name, justify=justify)
    for row in rows:
        at_stops = "" if row.at_stops is None else f"{row.at_stops:+,.2f}"
        worst = Text(f"{row.worst_gap_s:.1f} s", style="bold red" if row.gaps else "green")
        table.add_row(
            row.position,
            row.side,
            row.opened_by,
            row.state,
            f"{row.naked_s:,.1f} s",
            f"{row.exposed_ms / 1000:.2f} s",
            str(row.gaps),
            worst,
            str(row.loosened),
            str(row.market_closes),
            at_stops,
        )
    return table


def _sum(console: Console, ledger: Ledger) -> None:
    lost = float(ledger.figures["lost_if_all_stops_filled"])
    said = f"{lost:,.2f} USDT would be lost" if lost > 0 else f"{-lost:,.2f} USDT would be kept"
    console.print(f"if all stops filled now: {said}, against the entries", highlight=False, soft_wrap=True)
    touched = ledger.figures["foreign_orders_touched"]
    console.print(f"foreign orders touched: {touched}; worst gap: {ledger.figures['worst_gap_s']:g} s", highlight=False, soft_wrap=True)


def paces(stretches: tuple[Stretch, ...]) -> list[str]:
    """One line for each stretch of time at one speed that was long enough to matter, pauses apart."""
    return [
        f"{s.wall_ms / 1000:5.1f} s at {s.speed:.0f}x = {s.exchange_ms / 1000:,.0f} s on the exchange"
        for s in stretches
        if s.speed and s.wall_ms >= 100
    ]
