"""The operator's commands against a real exchange and a real desk process: shown, asked, done, refused in one sentence."""

import json
import re
from decimal import Decimal
from pathlib import Path

import polars as pl

from qtkit.reader import Reader
from tests.cli_rig import Run, desk, exchange, qtkit, until
from tests.test_cli import ledger

SYMBOL = "SOLUSDT"


def orders(run: Run) -> dict[str, list[dict[str, str]]]:
    """Resting orders of ours by symbol."""
    found: dict[str, list[dict[str, str]]] = {}
    for order in ledger(run)["orders"]:  # type: ignore[attr-defined]
        if order["owner"] == "ours":
            found.setdefault(order["symbol"], []).append(order)
    return found


def stop(run: Run) -> Decimal:
    return Decimal(next(order["trigger"] for order in orders(run)[SYMBOL] if order["leg"] == "s0"))


def test_an_operators_hour(run: Run, tmp_path: Path) -> None:
    with exchange(tmp_path, "--incident") as env, desk(env := {**env, "QTKIT_BUDGET_SHARE_BPS": "10000"}):  # an hour in seconds
        for _ in range(100):
            if run("check", env=env)[0] == 0:
                break
        old = stop(run)
        mark = next(Decimal(line["mark"]) for line in ledger(run)["lines"] if line["symbol"] == SYMBOL)  # type: ignore[attr-defined]
        nearer = (old + mark) / 2

        status, out, _ = run("set", SYMBOL, "--stop", f"@{nearer:.2f}", "--yes")
        assert status == 0 and "tightened" in out and stop(run) in (old, Decimal(f"{nearer:.2f}"))
        told = re.search(r"stop now (\S+) \(.*; planned at (\S+) \(", run("plan", SYMBOL)[1])
        assert told is not None and Decimal(told[1]) <= nearer + Decimal("0.01") < Decimal(told[2])
        assert Decimal(json.loads(run("plan", SYMBOL, "--json")[1])["stop_now"]) <= Decimal(told[1])
        planned, now = Reader().plans().filter(pl.col("key") == f"paper/{SYMBOL}").select("stop", "stop_now").row(0)
        assert planned == Decimal(told[2]) and now <= Decimal(told[1])
        status, _, err = run("set", SYMBOL, "--stop", f"@{old}", "--yes")
        assert status == 1 and "--loosen and --reason" in err
        status, _, err = run("set", SYMBOL, "--policy", "trailing", "--yes")
        assert status == 1 and "trailing_tp" in err
        assert run("set", SYMBOL)[0] == 2

        status, out, _ = run("release", SYMBOL, "--cancel", "--for", "30m", "--reason", "by hand", "--yes", "--json")
        assert status == 0 and "released for 30 min" in json.loads(out)["text"]
        for _ in range(100):
            if SYMBOL not in orders(run):
                break
        assert SYMBOL not in orders(run) and len(orders(run)) == 4
        status, out, _ = run("check")
        assert status == 0 and "1 naked" in out and f"{SYMBOL}: released until" in out and "(by hand)" in out
        status, _, err = run("release", SYMBOL, "--keep", "--for", "2 weeks", "--yes")
        assert status == 1 and "30m, 2h or 1d" in err
        assert run("release", SYMBOL)[0] == 2

        status, out, _ = run("adopt", SYMBOL, "--scope", "guard", "--yes")
        assert status == 0
        for _ in range(100):
            if {order["leg"] for order in orders(run).get(SYMBOL, ())} == {"f0", "s0"}:
                break
        assert {order["leg"] for order in orders(run)[SYMBOL]} == {"f0", "s0"}
        status, _, err = run("adopt", SYMBOL, "--scope", "ful", "--yes")
        assert status == 1 and "'full'" in err

        assert run("pause", "--reason", "news", "--yes")[0] == 0
        status, _, err = run("signal", "XRPUSDT", "--side", "long")
        assert status == 1 and "qtkit resume" in err
        assert run("resume", "--yes")[0] == 0
        status, _, err = run("signal", "XRPUSDT", "--side", "long", "--dry-run")
        assert status == 0, err


def test_without_an_answer_nothing_is_done(run: Run, tmp_path: Path) -> None:
    asked = (["adopt", SYMBOL], ["release", SYMBOL, "--keep"], ["set", SYMBOL, "--policy", "hybrid"], ["pause"], ["resume"])
    with exchange(tmp_path, "--incident") as env, desk(env):
        for _ in range(100):
            if run("check", env=env)[0] == 0:
                break
        before = json.dumps(orders(run), sort_keys=True)
        for command in asked:
            done = qtkit(*command, env=env)  # the question meets an empty standard input
            assert done.returncode == 1 and "Do it?" in done.stdout and "Abort" in done.stderr, done
        assert json.dumps(orders(run), sort_keys=True) == before


def test_a_desk_that_starts_says_what_was_said_before(run: Run, tmp_path: Path) -> None:
    """A pause outlives the desk: who starts it again and sees nothing happen is told why."""
    with exchange(tmp_path, "--incident") as env:
        with desk(env):
            assert run("pause", "--reason", "news", "--yes", env=env)[0] == 0
            assert run("release", SYMBOL, "--keep", "--yes", env=env)[0] == 0
        with desk(env) as (_, log):
            until(lambda: "desk runs" in log.read_text(), "the start", log)
            said = log.read_text()
            assert "paused since" in said and "`qtkit resume` ends it" in said and f"{SYMBOL}: released until" in said
