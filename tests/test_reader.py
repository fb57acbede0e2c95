"""Reading from a notebook: the desk is asked, a child is asked, files are read; no key is ever opened, nothing is changed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

import qtkit
from qtkit.core.model import Key, Lots, PositionSide, Side
from qtkit.core.plan import ExitPlan
from qtkit.home import Paths
from qtkit.ledger import Ledger, Line, Step
from qtkit.show import ledger_html, summary
from qtkit.store.journal import JournalMissing
from qtkit.store.register import PlanRegister, RegisterError
from tests.cli_rig import ROOT, desk, exchange

COLUMNS = ["key", "symbol", "position_side", "side", "size", "entry", "mark", "covered", "orders", "foreign", "gap", "gap_since", "stop",
           "at_risk", "plan", "strategy", "standing", "faults", "lost", "slip", "slip_median", "slip_fills", "liquidation",
           "to_liquidation", "foreign_covered", "foreign_stop", "foreign_at_risk", "findings"]  # fmt: skip

LOOK = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import qtkit
paper = qtkit.open("paper")
print(repr(paper))
print(paper.cover()["symbol"].to_list())
print("keys opened:", [name for name in opened if "/keys/" in name])
"""


@pytest.fixture(scope="module")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a desk that covers the incident's positions, and its environment beside it."""
    folder = tmp_path_factory.mktemp("reader")
    with exchange(folder, "--incident") as env, desk(env):
        (folder / "environ.json").write_text(json.dumps(env))
        yield folder


@pytest.fixture
def paper(at_work: Path, monkeypatch: pytest.MonkeyPatch) -> "qtkit.Reader":
    """A reader of that home, in this process."""
    for name, value in json.loads((at_work / "environ.json").read_text()).items():
        if name.startswith(("QTKIT_", "XDG_")):
            monkeypatch.setenv(name, value)
    return qtkit.open("paper")


def test_cover_and_orders_are_exact(paper: "qtkit.Reader") -> None:
    cover, orders = paper.cover(), paper.orders()
    assert cover.columns == COLUMNS
    assert cover["entry"].to_list() == [Decimal(text) for text in ("0.4693", "14.58", "93475.8", "2.291", "142.4")]
    assert cover["covered"].to_list() == [Decimal(100)] * 5 and cover["gap"].sum() == 0
    assert cover["lost"].null_count() == 0 and (cover["at_risk"] > 0).all() and cover["slip"].to_list() == [Decimal(20)] * 5
    assert cover["findings"].list.len().sum() == 0 and cover.schema["findings"] == pl.List(pl.String)
    assert cover.schema["gap_since"] == pl.Datetime("ms", "UTC") and isinstance(cover.schema["size"], pl.Decimal)
    floors = orders.filter(pl.col("leg") == "f0")
    assert len(floors) == 5 and floors["close_position"].all() and floors["size"].null_count() == 5
    assert set(orders["owner"]) == {"ours"} and orders.schema["time"] == pl.Datetime("ms", "UTC")


def test_plans_journal_explanation(paper: "qtkit.Reader") -> None:
    plans = paper.plans()
    assert set(plans["key"]) == set(paper.cover()["key"]) and set(plans["standing"]) == {"adopted"}
    journal = paper.journal()
    assert journal["seq"].is_sorted() and journal["at"][0].tzinfo is not None
    assert set(journal["kind"]) >= {"EpisodeOpened", "IntentMade", "OutcomeSeen", "LegSeen", "GapChanged"}
    assert set(journal["key"]) >= {"paper/BTCUSDT"}
    middle = journal["seq"][len(journal) // 2]
    assert paper.journal(since=middle)["seq"][0] == middle + 1
    assert len(paper.journal(since="2001-01-01")) >= len(journal)
    assert paper.journal(since=datetime(2999, 1, 1, tzinfo=UTC)).is_empty()
    assert "stop at" in paper.explain("btcusdt")
    with pytest.raises(qtkit.PolicyError, match="neither a sequence number nor a time"):
        paper.journal(since="yesterday")


def test_it_says_in_one_sentence_how_many_are_covered(paper: "qtkit.Reader") -> None:
    assert repr(paper) == "<account paper: 5 of 5 positions covered>"
    page = paper._repr_html_()
    assert page.startswith("<p>account paper: 5 of 5 positions covered</p>") and page.count("<tr>") == 6
    assert "keep" in set(paper.preview()["do"])


def test_no_key_is_opened_with_a_desk_nor_without(at_work: Path) -> None:
    env = json.loads((at_work / "environ.json").read_text())
    token = Path(env["QTKIT_HOME"], "accounts", "paper", "endpoint.token")
    for hidden in (False, True):
        if hidden:
            token.rename(token.with_suffix(".hidden"))
        try:
            done = subprocess.run([sys.executable, "-c", LOOK], env=env, cwd=ROOT, capture_output=True, text=True)
        finally:
            if hidden:
                token.with_suffix(".hidden").rename(token)
        assert done.returncode == 0, done.stderr
        said, symbols, keys = done.stdout.splitlines()
        assert said.startswith("<account paper: 5 of 5 positions covered")
        assert ("holds account paper" in said) is hidden
        assert symbols == "['ADAUSDT', 'AVAXUSDT', 'BTCUSDT', 'DOTUSDT', 'SOLUSDT']"
        assert keys == "keys opened: []"


def test_a_failed_child_is_one_sentence(at_work: Path, own_home: Path) -> None:
    keyless = qtkit.open("paper")
    with pytest.raises(qtkit.PolicyError, match="no keys here; `qtkit paper` makes them"):
        keyless.cover()
    assert "no keys here" in repr(keyless) and "no keys here" in keyless._repr_html_()


def test_a_refusing_desk_is_one_sentence(paper: "qtkit.Reader", at_work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "copy"
    home.mkdir()
    door = json.loads(Paths(at_work / "home").of("paper").endpoint_token.read_text())
    Paths(home).of("paper").made().endpoint_token.write_text(json.dumps({**door, "token": "wrong"}))
    monkeypatch.setenv("QTKIT_HOME", str(home))
    with pytest.raises(qtkit.PolicyError, match="the token is wrong"):
        qtkit.open().cover()


def test_nothing_there_names_the_places_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QTKIT_HOME")
    monkeypatch.chdir(tmp_path)
    reader = qtkit.open()
    failing = ((reader.journal, JournalMissing), (reader.plans, RegisterError), (lambda: reader.explain("BTCUSDT"), JournalMissing))
    for read, error in failing:
        with pytest.raises(error, match="looked in") as caught:
            read()
        assert str(tmp_path / ".qtkit") in str(caught.value) and str(tmp_path / "state" / "qtkit") in str(caught.value)


def test_unknown_account() -> None:
    with pytest.raises(qtkit.PolicyError, match="there is no account 'papre': did you mean 'paper'"):
        qtkit.open("papre")


@pytest.mark.parametrize("side", list(Side))
def test_a_kernel_in_notebooks_and_a_shell_in_the_root_share_the_register(tmp_path: Path, side: Side) -> None:
    root = tmp_path / "project"
    (root / ".qtkit").mkdir(parents=True)
    (root / "notebooks").mkdir()
    env = {name: value for name, value in os.environ.items() if name != "QTKIT_HOME"} | {"PYTHONPATH": str(ROOT)}
    write = f"""
from qtkit.core.model import *
from qtkit.home import Paths
from qtkit.store.register import PlanRegister
from tests.test_reader import plan
made = plan(Side.{side.name})
with PlanRegister(Paths.here().register) as register:
    register.get_or_create(made.key, made.side, lambda episode: made, 0)
"""
    read = """
import qtkit
print(qtkit.open().plans().select("key", "side", "stop").rows(), qtkit.ExitRouter().get_active_plan("BTCUSDT").uid)
"""
    subprocess.run([sys.executable, "-c", write], cwd=root / "notebooks", env=env, check=True)
    for place in (root, root / "notebooks"):
        done = subprocess.run([sys.executable, "-c", read], cwd=place, env=env, capture_output=True, text=True, check=True)
        stop = "90000" if side is Side.LONG else "110000"
        assert done.stdout == f"[('paper/BTCUSDT', '{side.name}', Decimal('{stop}.00000000'))] abcdefghijklmnop\n"
    assert Paths.here().home != root / ".qtkit"


def plan(side: Side) -> ExitPlan:
    """A plan of a bitcoin position from 100,000 with a stop 10 % behind."""
    start, behind = 1_000_000, side.sign * 100_000
    return ExitPlan(
        uid="abcdefghijklmnop", key=Key("paper", "BTCUSDT", PositionSide.BOTH), side=side, episode=1, revision=0, strategy_id="scaled_tp",
        entry=100_000 * 10**8, lots=Lots(1), tick=10**7, lot=10**5, stop=start - behind, floor=start - 2 * behind, break_even=start,
        start=start, created_ms=0,
    )  # type: ignore[arg-type]  # fmt: skip


def line(**changed: object) -> Line:
    """A covered line, and what is different about it."""
    usual: dict[str, object] = {
        "key": "paper/BTCUSDT", "symbol": "BTCUSDT", "position_side": "BOTH", "side": "LONG", "size": "1", "entry": "100", "mark": "101",
        "covered": "100", "orders": ("s0@99",), "foreign": (), "gap": "0", "gap_since_ms": None, "stop": "99", "at_risk": "1240",
        "plan": "abc", "strategy": "scaled_tp", "standing": "own", "faults": (),
    }  # fmt: skip
    return Line(**{**usual, **changed})  # type: ignore[arg-type]


def book(*lines: Line, **changed: object) -> Ledger:
    usual = {"account": "paper", "scope": "full", "running": True, "at_ms": 100_000, "last_pass_ms": 99_000, "tick_ms": 2_000}
    return Ledger(**{**usual, "lines": lines, **changed})  # type: ignore[arg-type]


def test_the_ledgers_sentence() -> None:
    naked = line(covered="0", gap="1", orders=(), stop=None, at_risk=None)
    foreign = line(covered="0", gap="1", orders=(), foreign=("x",), stop=None, at_risk=None)
    part = line(covered="40", gap="0.6", at_risk=None)
    assert book(line(), line()).sentence == "2 positions, 0 naked, 0 with a gap, 2,480.00 USDT at risk if every stop fills"
    assert book(line(), naked, foreign, part).sentence == (
        "4 positions, 1 naked, 2 with a gap, 1,240.00 USDT at risk if every stop of the covered ones fills"
    )
    assert book(naked).sentence == "1 position, 1 naked, 0 with a gap, no stop bounds the loss"
    assert book().sentence == "0 positions, nothing to cover"
    assert not book(line()).has_gap and book(line(), part).has_gap and book(foreign).has_gap


def test_when_a_desk_is_late() -> None:
    assert book(line()).late() is None
    assert book(line(), last_pass_ms=94_001).late() is None
    assert book(line(), last_pass_ms=93_000).late() == "the desk is late: its last complete pass was 7 s ago"
    assert "because banned" in (book(line(), last_pass_ms=1, fault="banned").late() or "")
    assert book(*[line()] * 41, last_pass_ms=83_000).late() is None  # above twenty positions its ticks are longer
    assert book(last_pass_ms=0, running=False).late() == ("no desk runs for account paper: it has never passed; start it with `qtkit desk`")
    assert "process 7 holds" in (book(running=False, owner="process 7 holds account paper").late() or "")


def test_html_is_escaped_and_previews_are_summed_up() -> None:
    page = ledger_html(book(line(strategy="<b>mine</b>"), alarms=("a < b",)))
    assert "&lt;b&gt;mine&lt;/b&gt;" in page and "a &lt; b" in page
    step = Step(do="create", key="k", leg="s0", kind="STOP_MARKET", side="SELL", size="1", trigger="99", id="q", why="missing")
    assert summary([step, step]) == "the next pass: create 2, keep 0, replace 0, cancel 0; nothing was sent"


def test_reading_needs_no_writing(paper: "qtkit.Reader", at_work: Path, tmp_path: Path) -> None:
    home = at_work / "home"
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(home / "register.sqlite", copy)
    before = (copy / "register.sqlite").read_bytes()
    with PlanRegister.read(copy / "register.sqlite") as register:
        assert len(register.active_for(now_ms=0)) == 5
    assert (copy / "register.sqlite").read_bytes() == before
