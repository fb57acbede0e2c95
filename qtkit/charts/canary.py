"""The canary in a notebook: run by a child process, which alone holds the keys; its checklist as a table."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from qtkit.core.model import PolicyError
from qtkit.home import Paths
from qtkit.proofs import Answer, Proof
from qtkit.store import codec
from qtkit.table import BAD, GOOD, QUIET, Table, table

WITHIN_S = 240.0
_TONES = {Answer.AGREES: GOOD, Answer.DIFFERS: BAD, Answer.FAILED: BAD, Answer.NOT_ASKED: QUIET}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A proof, and the lines of qtkit.toml by which the desk is told what it assumes otherwise."""

    proof: Proof
    settings: tuple[str, ...]


def run_canary(account: str, *, symbol: str = "", side: str = "long", position: bool = False) -> Told:
    """Run `qtkit canary` in a process of its own. Raises ``PolicyError`` with its sentence where it could not begin.

    With ``position`` it opens and closes the smallest one: who asks for that here has said yes.
    """
    line = [sys.executable, "-m", "qtkit", "canary", "--json", "--yes", "--account", account, "--side", side]
    line += ["--symbol", symbol] if symbol else []
    line += ["--position"] if position else []
    environ = {**os.environ, "QTKIT_HOME": str(Paths.here().home)}
    done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=WITHIN_S, stdin=subprocess.DEVNULL)
    try:
        row = json.loads(done.stdout)
    except json.JSONDecodeError:
        said = done.stderr.strip().splitlines()
        raise PolicyError(said[-1].removeprefix("qtkit: ") if said else "`qtkit canary` said nothing") from None
    return Told(proof=codec.decode(Proof, row["proof"]), settings=tuple(row["settings"]))


def checklist_table(proof: Proof) -> Table:
    """What was asked of the exchange, what it answered, and the evidence: its code, the time and the ids of the orders."""

    def rows() -> Iterable[dict[str, object]]:
        for row in proof.observations:
            yield {
                "item": row.item, "answer": row.answer.value, "what was seen": row.text, "code": row.code,
                "at (UTC)": f"{datetime.fromtimestamp(row.at_ms / 1000, UTC):%H:%M:%S}", "orders": " ".join(row.ids),
            }  # fmt: skip

    def tone(row: Mapping[str, Any], name: str) -> str:
        return _TONES.get(Answer(row["answer"]), "") if name == "answer" else ""

    columns = ("item", "answer", "what was seen", "code", "at (UTC)", "orders")
    mode = "hedge" if proof.hedge else "one-way"
    caption = f"account {proof.account} ({proof.kind}), {proof.venue} at {proof.host}, {proof.symbol}, {mode} mode: {proof.sentence}"
    return table(rows(), columns=columns, right=("code",), caption=caption, tone=tone)
