"""``qtkit doctor``: one look at everything that a desk stands on."""

import asyncio
import json
from typing import TYPE_CHECKING

import typer

from qtkit.commands.look import JSON, NAMED

if TYPE_CHECKING:
    from qtkit.doctor import Examination

COLUMNS = ("what", "state", "found")
STYLES = {"fine": "", "look": "yellow", "wrong": "bold red"}


def doctor(account: NAMED = "", as_json: JSON = False) -> None:
    """Look at clock, key, modes, filters, limits, stores, disk, desk, kernel and versions. Exit status 1 if anything is wrong.

    It works with and without a desk and with the exchange down; it changes nothing.

    Examples: `qtkit doctor`, `qtkit doctor --json | jq '.findings[] | select(.state != "fine")'`
    """
    from qtkit import logs
    from qtkit.doctor import examine

    logs.quiet()
    it = asyncio.run(examine(account))
    if as_json:
        print(json.dumps(_row(it), indent=1))
    else:
        _show(it)
    raise typer.Exit(0 if it.is_well else 1)


def _row(it: "Examination") -> dict[str, object]:
    findings = [{"name": f.name, "state": f.state.value, "found": f.found, "remedy": f.remedy} for f in it.findings]
    return {"sentence": it.sentence, "ok": it.is_well, "account": it.account, "kind": it.kind, "scope": it.scope, "findings": findings}


def _show(it: "Examination") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from qtkit import show

    out = show.console()
    out.print(it.sentence, style="bold" if it.is_well else "bold red", markup=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, overflow="fold", no_wrap=name != "found")
    for finding in it.findings:
        told = finding.found + (f"\n-> {finding.remedy}" if finding.remedy else "")
        table.add_row(Text(finding.name), Text(finding.state.value), Text(told), style=STYLES[finding.state.value])
    out.print(table)
