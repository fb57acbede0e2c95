"""How the ledger, a preview and a hindsight look on a terminal and in a notebook."""

import html
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from qtkit.hindsight import Hindsight, Outcome, in_words
from qtkit.ledger import Ledger, Line, Step, money

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPED_WIDTH = 200  # a pipe has no width, and a wrapped row is no row

COVER = (
    "position", "side", "size", "entry", "mark", "covered", "by", "gap since", "stop", "at risk", "if stopped", "liquidation", "plan"
)  # fmt: skip
PAST = ("position", "side", "size", "entry", "plan", "would have", "would", "did", "difference", "R")
STEPS = ("do", "position", "leg", "kind", "side", "size", "trigger", "id", "why")
_RIGHT = frozenset(
    {"would", "did", "difference", "R", "size", "entry", "mark", "covered", "stop", "at risk", "if stopped", "liquidation", "trigger"}
)
_STYLE = {"create": "green", "replace": "yellow", "cancel": "red", "keep": "dim"}


def console() -> "Console":
    """The terminal, or a pipe wide enough for a row."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)


def ledger(it: Ledger) -> None:
    """The sentence, the outlook, who watches, one row a position, and each finding."""
    out = console()
    out.print(it.sentence, style="bold red" if it.has_gap else "bold", markup=False)
    if it.outlook:
        out.print(it.outlook, markup=False)
    for text in (it.late(), *it.alarms):
        if text is not None:
            out.print(text, style="red", markup=False)
    for text in it.notes:
        out.print(text, markup=False)
    if it.lines:
        rows = [(_cover_row(line), "red" if line.has_gap else "") for line in it.lines]
        out.print(_table(COVER, rows))
    for text in _findings(it):
        out.print(text, markup=False)


def steps(them: Sequence[Step]) -> None:
    """How many of each, and one row an order."""
    out = console()
    out.print(summary(them), style="bold", markup=False)
    if them:
        out.print(_table(STEPS, [(_step_row(step), _STYLE.get(step.do, "")) for step in them]))


def hindsight(it: Hindsight) -> None:
    """The sentence, how long was watched, one row a position, each in words, and what is to be known with it."""
    out = console()
    out.print(it.sentence, style="bold", markup=False)
    out.print(it.watched, markup=False)
    if it.outcomes:
        out.print(_table(PAST, [(_past_row(one), "" if one.known else "yellow") for one in it.outcomes]))
    for text in (*(line for one in it.outcomes for line in in_words(one)), *it.notes):
        out.print(text, markup=False)


def _past_row(it: Outcome) -> tuple[str, ...]:
    slot = "" if it.position_side == "BOTH" else f":{it.position_side}"
    gone = ", ".join(dict.fromkeys(fill.why for fill in it.fills)) or "stayed open"
    profits = (_profit(it.would), _profit(it.did), _profit(it.saved))
    return (
        f"{it.symbol}{slot}",
        it.side,
        it.size,
        it.entry,
        it.strategy,
        gone if it.known else "not known",
        *profits,
        _profit(it.saved_r) if it.fills else "",
    )


def _profit(text: str | None) -> str:
    return "" if text is None else f"{Decimal(text):+,.2f}"


def summary(them: Iterable[Step]) -> str:
    """What the next pass does, in plain words."""
    counts = {word: 0 for word in ("create", "keep", "replace", "cancel")}
    for step in them:
        counts[step.do] += 1
    told = ", ".join(f"{word} {number}" for word, number in counts.items())
    return f"the next pass: {told}; nothing was sent"


def ledger_html(it: Ledger) -> str:
    """The same as a table for notebooks."""
    said = "".join(f"<br>{html.escape(text)}" for text in (it.outlook, it.late(), *it.alarms, *it.notes, *_findings(it)) if text)
    head = "".join(f"<th>{name}</th>" for name in COVER)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cover_row(line)) + "</tr>" for line in it.lines)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if it.lines else ""
    return f"<p><b>{html.escape(it.sentence)}</b>{said}</p>{table}"


def _findings(it: Ledger) -> Iterator[str]:
    return (f"{line.key}: {finding.says}" for line in it.lines for finding in line.findings)


def _cover_row(line: Line) -> tuple[str, ...]:
    slot = "" if line.position_side == "BOTH" else f":{line.position_side}"
    foreign = () if not line.foreign else (*(f"foreign {client_id}" for client_id in line.foreign), f"({line.foreign_covered} %)")
    by = " ".join((*line.orders, *foreign)) or "nothing"
    since = "" if line.gap_since_ms is None else f"{datetime.fromtimestamp(line.gap_since_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    return (
        f"{line.symbol}{slot}", line.side, line.size, line.entry, line.mark, f"{line.covered} %", by, since, line.stop or "",
        money(line.at_risk), _outcome(line.lost), "" if line.to_liquidation is None else f"{line.to_liquidation} %",
        f"{line.strategy}, {line.standing}",
    )  # fmt: skip


def _outcome(lost: str | None) -> str:
    """Profit with its sign: what is kept against the entry, or lost."""
    return "" if lost is None else f"{-Decimal(lost):+,.2f}"


def _step_row(step: Step) -> tuple[str, ...]:
    return (step.do, step.key, step.leg, step.kind, step.side, step.size, step.trigger or "", step.id, step.why)


def _table(names: Sequence[str], rows: Iterable[tuple[Sequence[str], str]]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, justify="right" if name in _RIGHT else "left", overflow="fold")
    for cells, style in rows:
        table.add_row(*(Text(cell) for cell in cells), style=style)
    return table
