"""The command line against a real exchange and a real desk; and what it says to wrong input: one sentence, nothing sent, nothing lost."""

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from qtkit.desk import EVENT_TYPES, identity
from qtkit.home import PaperKeys, Paths
from qtkit.settings import Settings, account_of
from qtkit.store.journal import Journal
from qtkit.store.lease import Lease
from qtkit.venue.gateway import Unavailable
from tests.cli_rig import Run, desk, environ, exchange, qtkit

HEAVY = ("aiohttp", "apprise", "ccxt", "numba", "pandas", "polars", "pydantic", "rich", "structlog", "yaml")


def ledger(run: Run) -> dict[str, object]:
    """What `qtkit check --json` prints."""
    _, out, _ = run("check", "--json")
    told: dict[str, object] = json.loads(out)
    return told


# -- without a desk -------------------------------------------------------------------------------------------------------------


def test_without_a_desk_the_exchange_is_read_and_nothing_is_sent(run: Run, tmp_path: Path) -> None:
    with exchange(tmp_path, "--incident") as env:
        status, out, _ = run("check", env=env)
        assert status == 1
        assert out.startswith("5 positions, 5 naked, 0 with a gap, no stop bounds the loss")
        assert "no desk runs for account paper: it has never passed" in out
        assert f"looked in: {tmp_path / 'home'}" in out
        assert "AVAXUSDT" in out and "14.58" in out and "scaled_tp, draft" in out

        status, out, _ = run("preview")
        assert status == 0
        assert "keep 0, replace 0, cancel 0; nothing was sent" in out
        legs = [step["leg"] for step in json.loads(run("preview", "--json")[1])]
        assert legs.count("f0") == legs.count("s0") == 5

        status, out, _ = run("plan", "btcusdt")
        assert status == 0
        assert "no desk has planned this position yet" in out
        assert "paper/BTCUSDT SHORT" in out and "stop " in out and "floor " in out

        assert ledger(run)["orders"] == []
        assert [line["covered"] for line in ledger(run)["lines"]] == ["0"] * 5  # type: ignore[attr-defined]
        assert not Path(env["QTKIT_HOME"], "accounts", "paper", "journal.sqlite").exists()


@pytest.mark.parametrize("hedge", [False, True])
def test_incident_is_as_it_was_reported(run: Run, tmp_path: Path, hedge: bool) -> None:
    with exchange(tmp_path, "--incident", *(["--hedge"] if hedge else [])) as env:
        _, out, _ = run("check", "--json", env=env)
        lines = {line["symbol"]: line for line in json.loads(out)["lines"]}
        entries = {symbol: line["entry"] for symbol, line in lines.items()}
        assert entries == {"AVAXUSDT": "14.58", "ADAUSDT": "0.4693", "BTCUSDT": "93475.8", "SOLUSDT": "142.4", "DOTUSDT": "2.291"}
        assert {line["side"] for line in lines.values()} == {"SHORT"}
        assert {line["position_side"] for line in lines.values()} == {"SHORT" if hedge else "BOTH"}


# -- with a desk ----------------------------------------------------------------------------------------------------------------


def test_a_desk_at_work(run: Run, tmp_path: Path) -> None:
    with exchange(tmp_path, "--incident") as env, desk(env) as (_, log):
        status, out, _ = run("check", env=env)
        assert status == 0, out
        assert out.startswith("5 positions, 0 naked, 0 with a gap,")
        assert "scaled_tp, adopted" in out and "s0@" in out and "f0@" in out
        text = log.read_text()
        assert "[EXIT BRAIN V3] BTCUSDT: Created exit plan with" in text and "(strategy=scaled_tp)" in text
        assert (tmp_path / "home" / "accounts" / "paper" / "desk.log").read_text().startswith(text)

        told = ledger(run)
        assert told["running"] and told["ok"] and told["late"] is None
        assert {order["owner"] for order in told["orders"]} == {"ours"}  # type: ignore[attr-defined]

        steps = json.loads(run("preview", "--json")[1])
        assert {step["leg"] for step in steps if step["do"] == "keep"} >= {"f0", "s0", "t1"}
        assert all(step["leg"][0] == "t" for step in steps if step["do"] != "keep")
        status, out, _ = run("plan", "ETHUSDT")
        assert status == 1
        assert run("plan", "BTCUSDT")[1].startswith("paper/BTCUSDT SHORT")

        _refused_with_a_desk(run)
        _entry_and_exit(run)
        _second_desk(run)
        _wrong_token(run, Path(env["QTKIT_HOME"]))


def _refused_with_a_desk(run: Run) -> None:
    before = len(ledger(run)["orders"])  # type: ignore[arg-type]
    wrong = {
        "there is no symbol 'XRPUSTD': did you mean 'XRPUSDT'?": ("XRPUSTD", "--side", "long"),
        "must lie at least": ("XRPUSDT", "--side", "long", "--stop", "@9"),
        "stop @1 must lie": ("XRPUSDT", "--side", "short", "--stop", "@1"),
        "is open already": ("BTCUSDT", "--side", "long"),
        "above max_notional": ("XRPUSDT", "--side", "long", "--quantity", "90000"),
        "below the exchange's minimum": ("XRPUSDT", "--side", "short", "--quantity", "0.1"),
    }
    for text, arguments in wrong.items():
        status, out, err = run("signal", *arguments)
        assert (status, out) == (1, "") and text in err, (arguments, err)
        assert err.count("\n") == 1
    status, _, err = run("flatten", "XRPUSDT", "--yes")
    assert status == 1 and "no position is open in XRPUSDT; open: ADAUSDT" in err
    assert len(ledger(run)["lines"]) == 5 and len(ledger(run)["orders"]) == before  # type: ignore[arg-type]


def _entry_and_exit(run: Run) -> None:
    for side in ("long", "short"):
        status, out, err = run("signal", "xrpusdt", "--side", side, "--risk", "0.25%", "--confidence", "0.8", "--dry-run", "--json")
        assert status == 0, err
        assert json.loads(out)["outcome"] == "dry run: nothing was sent"
        assert len(ledger(run)["lines"]) == 5  # type: ignore[arg-type]
        status, out, err = run("signal", "XRPUSDT", "--side", side, "--quantity", "500", "--stop", "3%")
        assert status == 0, err
        assert f"XRPUSDT {side.upper()} 500" in out
        mine = next(line for line in ledger(run)["lines"] if line["symbol"] == "XRPUSDT")  # type: ignore[attr-defined]
        assert (mine["side"], mine["covered"], mine["standing"]) == (side.upper(), "100", "own")
        assert "provisional" not in run("plan", "XRPUSDT")[1]
        status, out, err = run("flatten", "xrpusdt", "--yes")
        assert status == 0, err
        assert "closed: paper/XRPUSDT" in out
    assert {line["symbol"] for line in ledger(run)["lines"]} >= {"BTCUSDT"}  # type: ignore[attr-defined]


def _second_desk(run: Run) -> None:
    status, _, err = run("desk")
    assert status == 1 and "is run by process" in err and "talk to that desk" in err


def _wrong_token(run: Run, home: Path) -> None:
    token = home / "accounts" / "paper" / "endpoint.token"
    right = token.read_text()
    token.write_text(json.dumps({**json.loads(right), "token": "wrong"}))
    for arguments in (("check",), ("preview",), ("signal", "XRPUSDT", "--side", "long"), ("flatten", "--all", "--yes")):
        status, out, err = run(*arguments)
        assert (status, out) == (1, "") and "the token is wrong" in err
    token.write_text(right)
    assert run("check")[0] == 0


def test_a_halted_desk_is_told_and_a_stopped_one_leaves_its_stops(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qtkit.commands.look.ANSWER_WITHIN_S", 0.5)
    with exchange(tmp_path, "--incident") as env, desk(env, "--json-logs") as (child, log):
        child.send_signal(signal.SIGSTOP)
        status, out, err = run("check", env=env)
        assert status == 1, err
        assert f"process {child.pid} holds account paper" in out and "does not answer: its last complete pass was" in out
        assert "0 naked, 0 with a gap" in out
        child.send_signal(signal.SIGCONT)
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0
        farewell = json.loads(log.read_text().splitlines()[-1])["event"]
        assert farewell.startswith("desk stopped; 10 stops of ours rest on 5 positions and stay on the exchange")
        assert "Traceback" not in log.read_text()

        status, out, _ = run("check")
        assert status == 1
        assert "5 positions, 0 naked, 0 with a gap" in out and "no desk runs for account paper: its last complete pass was" in out
        assert "adopted" in out and "draft" not in out

        status, out, err = run("flatten", "BTCUSDT", "--json")
        assert status == 1 and "closed" not in out  # nobody answered the question
        status, out, err = run("flatten", "--all", "--yes")
        assert status == 0, err
        assert "closed: paper/ADAUSDT, " in out
        assert ledger(run)["lines"] == []
        assert run("flatten", "--all")[1].endswith("nothing is open\n")


def test_without_a_desk_a_signal_takes_its_place(run: Run, tmp_path: Path) -> None:
    with exchange(tmp_path, "--incident", "--hedge") as env:
        for side in ("long", "short"):
            status, out, err = run("signal", "XRPUSDT", "--side", side, "--quantity", "100", env=env)
            assert status == 0, err
            assert f"XRPUSDT {side.upper()} 100" in out
        status, out, err = run("plan", "XRPUSDT")
        assert status == 1 and "XRPUSDT has a long and a short plan; say which: --side long or --side short" in err
        assert run("plan", "XRPUSDT", "--side", "short")[1].startswith("paper/XRPUSDT:SHORT SHORT 100 ")
        status, out, _ = run("check")
        assert status == 1 and "7 positions, 0 naked, 0 with a gap" in out and "no desk runs" in out
        assert run("flatten", "XRPUSDT", "--yes")[1].endswith("closed: paper/XRPUSDT:LONG, paper/XRPUSDT:SHORT\n")


def test_what_flatten_does_besides_without_a_desk_is_said_before_it_asks(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with exchange(tmp_path, "--incident") as env:
        asked = qtkit("flatten", "BTCUSDT", env=env)  # the question meets an empty standard input
        assert asked.returncode == 1 and "Close?" in asked.stdout
        said = asked.stdout.partition("Close?")[0]
        assert "no desk runs, so this takes its place, which also covers the rest:" in said
        assert "  create paper/SOLUSDT s0 " in said and "  create paper/ADAUSDT f0 " in said and "paper/BTCUSDT s0" not in said
        status, out, err = run("flatten", "BTCUSDT", "--yes", "--json", env=env)
        assert status == 0 and json.loads(out) == {"closed": ["paper/BTCUSDT"], "open": []}
        assert "  create paper/SOLUSDT s0 " in err
        rests = [
            (line["symbol"], order.partition("@")[0]) for line in json.loads(run("check", "--json")[1])["lines"] for order in line["orders"]
        ]
        assert ("SOLUSDT", "s0") in rests and ("ADAUSDT", "f0") in rests
        besides = run("flatten", "SOLUSDT", "--yes")[1]
        assert not any(f"create paper/{symbol} {leg} " in besides for symbol, leg in rests), "what rests already is not told again"

        async def unread(account: str) -> None:
            raise Unavailable("the orders could not be read")

        monkeypatch.setattr("qtkit.commands.act.steps_now", unread)
        status, out, err = run("flatten", "DOTUSDT", "--yes")
        assert status == 0 and "what that takes is not known: the orders could not be read" in out and "closed: paper/DOTUSDT" in out


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_signal_on_a_symbol_without_a_price_says_so(run: Run, tmp_path: Path, side: str) -> None:
    with exchange(tmp_path, "--incident") as env:
        for dry in (["--dry-run"], []):
            status, out, err = run("signal", "ETHUSDT", "--side", side, *dry, env=env)
            assert (status, out) == (1, "")
            assert err.startswith("qtkit: ETHUSDT has no price yet; try again when it trades") and err.count("\n") == 1


def test_paper_replays_bars(tmp_path: Path, run: Run) -> None:
    bars = tmp_path / "bars"
    bars.mkdir()
    _bars(300).write_parquet(bars / "BTCUSDT_1m.parquet")
    with exchange(tmp_path, "--data", str(bars), "--hours", "1", "--incident") as env:
        _, out, _ = run("check", "--json", env=env)
        assert [line["symbol"] for line in json.loads(out)["lines"]] == ["BTCUSDT"]
        assert "BTCUSDT_1m.parquet from" in (tmp_path / "paper.log").read_text()


def test_run_of_a_notebook_and_of_a_definition(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = [
        ("bars: int = 200  # how many", ["parameters"]),
        ("import qtkit\nrun = qtkit.runs.begin()\nrun.check(bars > 100, 'enough bars')\nrun.record('bars', bars)\nrun.verdict()", []),
    ]
    rows = [
        {"cell_type": "code", "execution_count": None, "id": f"c{number}", "metadata": {"tags": tags}, "outputs": [], "source": source}
        for number, (source, tags) in enumerate(cells)
    ]
    for shelf in ("notebooks", "pipelines"):
        (tmp_path / shelf).mkdir()
    (tmp_path / "notebooks" / "specimen.ipynb").write_text(json.dumps({"cells": rows, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    (tmp_path / "pipelines" / "nightly.toml").write_text('notebook = "specimen"\nparameters = { bars = 50 }\n')
    status, out, _ = run("run", "specimen", "-p", "bars=500")
    assert status == 0 and "specimen: all 1 checks hold" in out and "bars = 500" in out
    status, out, _ = run("run", "nightly", "--json")
    assert status == 3 and json.loads(out)["parameters"] == {"bars": 50}
    status, _, err = run("run", "nightly", "-p", "brs=1")
    assert status == 2 and "no parameter 'brs'" in err


# -- wrong input ----------------------------------------------------------------------------------------------------------------


def _bars(count: int) -> pl.DataFrame:
    time = pl.datetime_range(
        datetime(2025, 6, 1, tzinfo=UTC), datetime(2025, 6, 2, tzinfo=UTC), "1m", time_unit="ms", time_zone="UTC", eager=True
    )
    price = [100_000.0 + 10 * (row % 7) for row in range(count)]
    frame = pl.DataFrame({"time": time[:count], "open": price, "high": price, "low": price, "close": price, "volume": price})
    return frame


def one_sentence(answer: tuple[int, str, str], *texts: str, status: int = 1) -> None:
    """The command failed with one line on stderr that says these things, and printed nothing else."""
    code, out, err = answer
    assert code == status, err
    assert out == "" and err.startswith("qtkit: ") and err.count("\n") == 1
    for text in texts:
        assert text in err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--side", "lnog"), "side 'lnog' is not a side of a signal: did you mean 'LONG'?"),
        (("--side", "long", "--quantity", "-5"), "the size must be a number above zero, got -5"),
        (("--side", "short", "--quantity", "NaN"), "the size must be a number above zero, got NaN"),
        (("--side", "short", "--quantity", "inf"), "the size must be a number above zero"),
        (("--side", "long", "--quantity", "many"), "quantity must be a number, got 'many'"),
        (("--side", "long", "--policy", "scaled_pt"), "scaled_tp"),
        (("--side", "long", "--risk", "much"), "--risk is a percentage such as 0.25%, got 'much'"),
        (("--side", "long", "--risk", "0.001%"), "in whole basis points, got '0.001'"),
        (("--side", "long", "--risk", "50%"), "risk must be 0.01 % to 10 % of the equity"),
        (("--side", "long", "--confidence", "80"), "confidence is a fraction between 0 and 1"),
        (("--side", "long", "--stop", "soon"), "distance 'soon' has no unit: write 2.5%"),
        (("--side", "long", "--stop", "2R"), "the stop defines R"),
    ],
)
def test_a_wrong_signal_is_refused_before_anybody_is_asked(run: Run, arguments: tuple[str, ...], text: str) -> None:
    one_sentence(run("signal", "BTCUSDT", *arguments), text)


@pytest.mark.parametrize("command", ["check", "preview", "desk"])
def test_unknown_account(run: Run, command: str) -> None:
    one_sentence(run(command, "--account", "papre"), "there is no account 'papre': did you mean 'paper'?")


@pytest.mark.parametrize("command", ["check", "preview", "desk", "paper"])
def test_unknown_setting(run: Run, command: str) -> None:
    one_sentence(run(command, env={"QTKIT_TICK_SECOND": "1"}), "QTKIT_TICK_SECOND", "no setting 'tick_second'", "tick_seconds")


def test_unknown_setting_in_the_file(run: Run, own_home: Path) -> None:
    own_home.mkdir()
    (own_home / "qtkit.toml").write_text("\ntick_secs = 2\n")
    one_sentence(run("config", "show"), "qtkit.toml:2", "tick_secs")


@pytest.mark.parametrize("command", ["check", "preview", "desk"])
def test_keys_missing_damaged_or_open_to_others(run: Run, own_home: Path, command: str) -> None:
    keys = own_home / "keys" / "paper.json"
    one_sentence(run(command), str(keys), "no keys here; `qtkit paper` makes them")
    PaperKeys.create(keys)
    right = keys.read_text()
    keys.write_text("{}")
    one_sentence(run(command), str(keys), "not a key file")
    keys.write_text(right)
    keys.chmod(0o644)
    one_sentence(run(command), "others than its owner can read these keys", f"chmod 600 {keys}")


@pytest.mark.parametrize("command", ["check", "preview", "desk", "plan"])
def test_no_exchange(run: Run, command: str) -> None:
    PaperKeys.create(Paths.here().paper_keys())
    answer = run(command, *(["BTCUSDT"] if command == "plan" else []), env={"QTKIT_ACCOUNTS__PAPER__BASE_URL": "http://127.0.0.1:9"})
    assert answer[0] == 1
    assert "qtkit: http://127.0.0.1:9: " in answer[2] and "`qtkit paper` starts a paper exchange there" in answer[2]


def test_unknown_keys(run: Run, tmp_path: Path) -> None:
    with exchange(tmp_path) as env:
        keys = Path(env["QTKIT_HOME"], "keys", "paper.json")
        keys.unlink()
        PaperKeys.create(keys)
        for command in ("check", "desk"):
            status, _, err = run(command, env=env)
            told = [line for line in err.splitlines() if not line.startswith("timestamp=")]  # a desk that ends also tells its alarms
            assert status == 1 and len(told) == 1 and "refuses the key from file with -2015" in told[0]


@pytest.mark.parametrize("command", ["check", "preview", "desk"])
def test_damaged_journal(run: Run, own_home: Path, command: str) -> None:
    PaperKeys.create(Paths.here().paper_keys())
    journal = Paths(own_home).of("paper").made().journal
    journal.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    before = journal.read_bytes()
    one_sentence(run(command), f"the journal {journal} is damaged", "nothing was deleted", "move it aside")
    assert journal.read_bytes() == before


def test_locked_journal(run: Run, own_home: Path) -> None:
    PaperKeys.create(Paths.here().paper_keys())
    held: Journal[object] = Journal.open(own_home / "accounts" / "paper" / "journal.sqlite", EVENT_TYPES, account="paper")
    try:
        one_sentence(run("desk"), "is in use by another process", "end that process")
    finally:
        held.close()


def test_journal_of_another_account(run: Run, own_home: Path) -> None:
    PaperKeys.create(Paths.here().paper_keys())
    Journal.open(own_home / "accounts" / "paper" / "journal.sqlite", EVENT_TYPES, account="other").close()
    one_sentence(run("desk"), "it belongs to account 'other', not 'paper'")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_journal(run: Run, own_home: Path) -> None:
    PaperKeys.create(Paths.here().paper_keys())
    Journal.open(own_home / "accounts" / "paper" / "journal.sqlite", EVENT_TYPES, account="paper").close()
    (own_home / "accounts" / "paper" / "journal.sqlite").chmod(0o400)
    one_sentence(run("desk"), "cannot be written", "give this user write permission there")


def test_lease_held(run: Run) -> None:
    paths = Paths.here()
    keys = PaperKeys.create(paths.paper_keys())
    with Lease.acquire(identity(account_of(Settings.load(), "paper"), keys), home="/elsewhere"):
        one_sentence(run("desk"), f"is run by process {os.getpid()}", "in /elsewhere", f"`kill {os.getpid()}`")
        one_sentence(run("signal", "BTCUSDT", "--side", "long"), f"is run by process {os.getpid()}")


def test_port_in_use(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        one_sentence(run("paper", "--port", str(port)), f"port {port} on 127.0.0.1 is in use")


def test_endpoint_port_in_use(run: Run, tmp_path: Path) -> None:
    with exchange(tmp_path) as env, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, _, err = run("desk", env={**env, "QTKIT_ENDPOINT_PORT": str(port)})
        assert status == 1 and f"port {port} is in use; set endpoint_port = 0" in err


def test_wrong_bars(run: Run, tmp_path: Path) -> None:
    folder, path = tmp_path / "bars", tmp_path / "bars" / "BTCUSDT.parquet"
    one_sentence(run("paper", "--data", str(folder)), f"{folder} is no folder")
    folder.mkdir()
    one_sentence(run("paper", "--data", str(folder)), "holds no bars")
    _bars(300).rename({"close": "closed"}).write_parquet(path)
    one_sentence(run("paper", "--data", str(folder)), "has no column 'close'; did you mean 'closed'?")
    _bars(300).reverse().write_parquet(path)
    one_sentence(run("paper", "--data", str(folder)), "time does not rise in row 1")
    path.write_bytes(b"no parquet")
    one_sentence(run("paper", "--data", str(folder)), "cannot be read as parquet")
    _bars(300).write_parquet(path)
    one_sentence(run("paper", "--data", str(folder), "--symbols", "BTCUSD"), "no bars of BTCUSD in", "did you mean 'BTCUSDT'?")
    one_sentence(run("paper", "--data", str(folder), "--window", "fal"), "did you mean fall?")
    one_sentence(run("paper", "--data", str(folder), "--hours", "24"), "no file covers 1440 minutes")
    path.rename(folder / "ZZZUSDT.parquet")
    one_sentence(run("paper", "--data", str(folder)), "bars of ZZZUSDT, none of which the paper exchange knows")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("chekc",), "No such command 'chekc'"),
        (("check", "--jsn"), "--jsn"),
        (("desk", "--tick", "soon"), "'--tick'"),
        (("signal", "BTCUSDT"), "--side"),
        (("flatten",), "name a symbol, or --all"),
        (("flatten", "BTCUSDT", "--all"), "name a symbol, or --all"),
        (("run", "no_such_notebook"), "no no_such_notebook in"),
        (("run", "no_such.toml"), "no no_such.toml in"),
        (("run", "x", "-p", "bars"), "a parameter is NAME=VALUE, got 'bars'"),
    ],
)
def test_wrong_usage_is_status_2(run: Run, arguments: tuple[str, ...], text: str) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert text in err


def test_tick_out_of_range(run: Run) -> None:
    one_sentence(run("desk", "--tick", "0.01"), "tick_seconds: must be between 0.1 and 60, got 0.01")


def test_plan_of_a_wrong_side(run: Run) -> None:
    one_sentence(run("plan", "BTCUSDT", "--side", "shrot"), "side 'shrot' is not a side of a position: did you mean 'short'?")


def test_config_show(run: Run, own_home: Path) -> None:
    status, out, _ = run("config", "show", env={"QTKIT_TICK_SECONDS": "1.5"})
    assert status == 0
    assert out.startswith(f"home {own_home}\n")
    assert ["tick_seconds", "1.5", "QTKIT_TICK_SECONDS"] in [line.split() for line in out.splitlines()]
    told = json.loads(run("config", "show", "--json")[1])
    assert {"name": "accounts.paper.scope", "value": "full", "source": "default"} in told["settings"]


# -- the command itself ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["import qtkit", "import qtkit.cli", "from qtkit.cli import main; main(['--help'])"])
def test_nothing_heavy_is_imported_to_begin_with(code: str) -> None:
    asked = f"{code}\nimport sys\nprint('loaded:', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_every_command_has_help_with_an_example(run: Run) -> None:
    status, out, _ = run("--help")
    assert status == 0
    commands = [line.split()[0] for line in out.partition("Commands:")[2].splitlines() if line.startswith("  ") and line[2] != " "]
    for command in ("desk", "paper", "check", "preview", "plan", "signal", "flatten", "run", "demo"):
        assert command in commands
        assert f"`qtkit {command}" in " ".join(run(command, "--help")[1].split())


def test_public_names_are_there() -> None:
    import qtkit as package

    assert all(getattr(package, name) is not None for name in package.__all__)
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="has no attribute 'ExitRooter'"):
        _ = package.ExitRooter


def test_as_a_module_and_a_script_it_ends_with_its_status(tmp_path: Path) -> None:
    done = qtkit("check", "--account", "none", env=environ(tmp_path / "home"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "qtkit: there is no account 'none': known: paper\n"
