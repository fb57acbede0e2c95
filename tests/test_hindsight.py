"""``qtkit hindsight`` as people use it: a desk in scope watch beside a paper exchange, and what is said where there is nothing to tell."""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

import qtkit
from qtkit.commands.hindsight import _with_progress
from qtkit.core.model import Scope
from qtkit.desk import EVENT_TYPES
from qtkit.hindsight import Fill, Hindsight, Hole, Move, Outcome, hours, in_words
from qtkit.home import Paths
from qtkit.store.journal import Journal
from qtkit.store.seen import PassSeen, Seen
from qtkit.store.tape import Tape
from tests.cli_rig import Run, exchange, process, until
from tests.test_cli import one_sentence

SYMBOLS = ["ADAUSDT", "AVAXUSDT", "BTCUSDT", "DOTUSDT", "SOLUSDT"]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a home whose desk has watched the incident's positions for some passes."""
    folder = tmp_path_factory.mktemp("watched")
    with exchange(folder, "--incident", "--speed", "0.1") as env:  # a price that moves might reach a target
        env = {**env, "QTKIT_ACCOUNTS__PAPER__SCOPE": "watch"}
        log, home = folder / "desk.log", Path(env["QTKIT_HOME"])
        with process("desk", "--tick", "0.5", env=env, log=log):
            until(lambda: _passes(home) >= 4, "a pass", log)
        yield env


def _passes(home: Path) -> int:
    try:
        return int(json.loads(Paths(home).of("paper").heartbeat.read_text())["passes"])
    except (FileNotFoundError, json.JSONDecodeError):
        return 0


def test_a_watching_desk_has_sent_nothing_and_tells_what_it_would_have(run: Run, watched: dict[str, str]) -> None:
    status, out, _ = run("hindsight", env=watched)
    assert status == 0
    assert out.startswith("5 positions, 0 stops would have fired, saved 0.00, cost 0.00, net +0.00 USDT\nwatched for ")
    assert "left to the recommended 48 h" in out and "BTCUSDT SHORT 0.38 at 93475.8, first seen " in out
    told = json.loads(run("hindsight", "--json")[1])
    assert [row["symbol"] for row in told["outcomes"]] == SYMBOLS and told["sentence"] in out
    for row in told["outcomes"]:
        assert row["unknown"] == "" and row["verdict"] == "nothing would have been filled" and row["left"] == row["held"] == row["size"]
        assert [leg.partition("@")[0] for leg in row["resting"]][:2] == ["f0", "s0"] and row["would"] == row["did"]
    only = json.loads(run("hindsight", "btcusdt", "--since", "1h", "--json")[1])
    assert [row["symbol"] for row in only["outcomes"]] == ["BTCUSDT"] and "left to" not in only["watched"]
    status, out, _ = run("check", "--json")
    assert json.loads(out)["orders"] == [], "the exchange was sent nothing"


def test_a_notebook_gets_a_frame(watched: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in watched.items():
        if name.startswith(("QTKIT_", "XDG_")):
            monkeypatch.setenv(name, value)
    reader = qtkit.open("paper")
    frame = reader.hindsight()
    assert frame["symbol"].to_list() == SYMBOLS and frame["saved"].to_list() == [Decimal(0)] * 5
    assert frame.schema["fills"] == pl.List(pl.String) and frame.schema["first"] == pl.Datetime("ms", "UTC")
    assert reader.hindsight("SOLUSDT", since="2h")["held"].to_list() == [Decimal(250)]
    with pytest.raises(qtkit.PolicyError, match="did you mean 'SOLUSDT'"):
        reader.hindsight("SOLUSD")


def test_a_wrong_question_is_one_sentence(run: Run, watched: dict[str, str]) -> None:
    one_sentence(run("hindsight", "BTCUSD", env=watched), "no position in 'BTCUSD' was seen in the last 48h: did you mean 'BTCUSDT'?")
    for since in ("yesterday", "0h", "-3h", "48", "1.5h", ""):
        one_sentence(run("hindsight", "--since", since), f"--since is a number of minutes, hours or days: 30m, 2h or 1d, got '{since}'")
    one_sentence(run("hindsight", "--account", "papre"), "there is no account 'papre': did you mean 'paper'?")
    one_sentence(
        run("hindsight", "--account", "other", env={"QTKIT_ACCOUNTS__OTHER__KIND": "paper"}),
        "there is no tape in", "accounts/other/tape", "start the desk once",
    )  # fmt: skip


def test_without_a_tape(run: Run, own_home: Path) -> None:
    missing = f"there is no tape in {Paths(own_home).of('paper').tape}"
    one_sentence(run("hindsight"), missing, f"looked in: {own_home}", "start the desk once")
    tape = Tape(Paths(own_home).of("paper").made().tape)
    tape.write(PassSeen(account="paper", scope=Scope.WATCH), 1)
    tape.close()
    one_sentence(run("hindsight"), "journal")
    Journal.open(Paths(own_home).of("paper").journal, EVENT_TYPES, account="paper").close()
    one_sentence(run("hindsight"), "account paper was not watched in the last 48h", "in scope watch without sending anything")


def test_an_account_without_positions_was_watched_all_the_same(run: Run, own_home: Path) -> None:
    Journal.open(Paths(own_home).of("paper").journal, EVENT_TYPES, account="paper").close()
    tape, now_ms = Tape(Paths(own_home).of("paper").made().tape), int(datetime.now(UTC).timestamp() * 1000)
    for ago_s in (7_200, 7_190, 3_600, 3_580, 3_560):
        tape.write(PassSeen(account="paper", scope=Scope.WATCH if ago_s > 7_000 else Scope.GUARD), now_ms - ago_s * 1000)
    tape.close()
    status, out, _ = run("hindsight")
    assert status == 0
    assert out.startswith("0 positions, 0 stops would have fired\nwatched for 50 s between ")
    assert " UTC, 59 min 50 s of holes; 47 h 59 min left to the recommended 48 h\n" in out
    assert "59 min 50 s: no pass" in out and "the desk was in scope guard for a part of it" in out
    one_sentence(run("hindsight", "BTCUSDT"), "no position in 'BTCUSDT' was seen in the last 48h: none was held in any symbol")


def outcome(**changed: object) -> Outcome:
    base: dict[str, object] = {
        "key": "paper/BTCUSDT", "symbol": "BTCUSDT", "position_side": "BOTH", "side": "LONG", "size": "2", "entry": "100",
        "first_ms": 0, "told_ms": 0, "last_ms": 9,
        "plan": "u", "strategy": "staged", "stop": "95", "floor": "90", "targets": (), "moves": (),
        "fills": (), "deals": (), "resting": (), "left": "0", "held": "2", "price": "80", "slip": "20", "slip_fills": 0,
        "slip_assumed": True, "would": "-10", "did": "-40", "saved": "30", "saved_r": "3",
    }  # fmt: skip
    return Outcome(**{**base, **changed})  # type: ignore[arg-type]


def test_in_words() -> None:
    stop = Fill(at_ms=5_000, leg="s0", level="95", price="94.8", size="2", fee="0.09", why="initial stop")
    moves = tuple(Move(at_ms=n * 1000, stop=str(95 + n), why="trail") for n in range(9))
    lost = outcome(fills=(stop,), saved="-41.2", saved_r="-4.12", moves=moves)
    blind = outcome(unknown="the price came to s0@95 between a and b", would=None, did=None, saved=None, saved_r=None)
    it = Hindsight(
        account="paper", since_ms=0, until_ms=9, watched_ms=47 * 3_600_000, outcomes=(outcome(fills=(stop,)), lost, blind),
        holes=(Hole(from_ms=0, to_ms=90_000, symbol="", what="no pass"), Hole(from_ms=0, to_ms=61_000, symbol="BTCUSDT", what="no price")),
    )  # fmt: skip
    assert it.sentence == "3 positions, 2 stops would have fired, saved 30.00, cost 41.20, net -11.20 USDT; 1 not known and not counted"
    assert it.watched == (
        "watched for 47 h between 01-01 00:00:00 and 01-01 00:00:00 UTC, 1 min 30 s of holes; 1 h left to the recommended 48 h"
    )
    assert in_words(it.outcomes[0])[-3:] == (
        "  would have: 01-01 00:00:05 s0@95 2 filled at 94.8 (initial stop)",
        "  did: 2 open at 80",
        "  would have saved 30.00 USDT (+3.00 R)",
    )
    assert in_words(lost)[-1] == "  would have cost 41.20 USDT (-4.12 R)" and "3 more, " in in_words(lost)[1]
    assert in_words(blind)[-1] == "  not known: the price came to s0@95 between a and b" and blind.verdict == "not known"
    assert any("20 bps assumed" in note for note in it.notes) and sum(note.startswith("hole: ") for note in it.notes) == 2
    assert [hours(ms) for ms in (0, 59_000, 60_000, 3_599_000, 3_600_000, 90_000_000)] == [
        "0 s",
        "59 s",
        "1 min",
        "59 min 59 s",
        "1 h",
        "25 h",
    ]


def test_a_bar_on_a_terminal_and_nowhere_else() -> None:
    """It leaves the tape as it is, and says how far it is; a pipe gets nothing of it."""
    tape = [Seen(1_000 * number, PassSeen(account="paper", scope=Scope.WATCH)) for number in range(1, 2_002)]
    for terminal in (True, False):
        out = io.StringIO()
        told = list(_with_progress(iter(tape), 2_001_000, Console(file=out, force_terminal=terminal, width=100)))
        assert told == tape and ("telling the tape again" in out.getvalue()) is terminal
    assert list(_with_progress(iter(()), 1, Console(file=io.StringIO(), force_terminal=True))) == []
