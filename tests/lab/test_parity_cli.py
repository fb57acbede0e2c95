"""``qtkit parity`` as people use it: a day of the home told again, what differs, where the money went, and wrong questions."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from qtkit.core.events import EpisodeClosed, EpisodeOpened
from qtkit.core.policy import STAGED
from qtkit.desk import EVENT_TYPES
from qtkit.home import AccountPaths, Paths
from qtkit.store.journal import Journal
from qtkit.store.tape import Tape
from tests.cli_rig import Run
from tests.lab.test_parity import Played, changed, play
from tests.story.rig import START_MS
from tests.test_cli import one_sentence

BEGUN = datetime.fromtimestamp(START_MS / 1000, UTC)
DAY = ("--since", f"{BEGUN:%Y-%m-%dT%H:%M}", "--until", f"{BEGUN + timedelta(hours=2):%Y-%m-%dT%H:%M}")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    them = Played(tmp_path_factory.mktemp("played"), STAGED)
    play(them, 40)
    yield them


@pytest.fixture
def home(played: Played, own_home: Path) -> AccountPaths:
    """The home of the desk that lived the day."""
    places = Paths.here().of("paper").made()
    places.tape.symlink_to(played.folder / "tape")
    for file in played.folder.glob("journal.sqlite*"):
        (places.folder / file.name.replace("journal.sqlite", places.journal.name)).write_bytes(file.read_bytes())
    return places


def test_a_day_of_the_home_is_told_again(run: Run, home: AccountPaths) -> None:
    status, out, err = run("parity", *DAY)
    first, head, *rows = out.splitlines()
    assert (status, err) == (0, "") and first.endswith(": every decision is the same")
    assert head.split()[:3] == ["position", "side", "opened"] and "slippage" not in head
    told = json.loads(run("parity", *DAY, "--json")[1])
    assert told["sentence"] == first and told["first"] is None and told["differences"] == []
    compared = [row for row in told["positions"] if not row["note"]]
    assert len(compared) == len(told["positions"]) == len(rows) - 1 and {row["side"] for row in compared} == {"LONG", "SHORT"}
    assert rows[-1] == "money is not compared: give the account's fills with --trades FILE"
    assert len(rows) > 4


def test_the_difference_of_money_is_split(run: Run, home: AccountPaths, played: Played, tmp_path: Path) -> None:
    played.trades().with_columns(pl.col("price", "size", "fee").cast(pl.String)).write_csv(tmp_path / "fills.csv")
    status, out, _ = run("parity", *DAY, "--trades", str(tmp_path / "fills.csv"))
    assert status == 0 and "slippage" in out.splitlines()[1] and "money is not compared" not in out
    told = json.loads(run("parity", *DAY, "--trades", str(tmp_path / "fills.csv"), "--json")[1])["positions"]
    known = next(row for row in told if row["net"] is not None)
    (tmp_path / "funding.csv").write_text(f"time,symbol,paid\n{known['exit_bar']},{known['key'].rpartition('/')[2]},1.25\n")
    more = ("--trades", str(tmp_path / "fills.csv"), "--funding", str(tmp_path / "funding.csv"), "--json")
    again = json.loads(run("parity", *DAY, *more)[1])["positions"][told.index(known)]
    for row in (known, again):
        net, reference, *parts = (float(row[name]) for name in ("net", "reference_net", "slippage", "fee", "funding"))
        assert net - reference == pytest.approx(sum(parts))
    assert float(again["funding"]) == -1.25 and float(known["funding"]) == 0


def test_a_difference_is_exit_status_1(run: Run, home: AccountPaths, played: Played) -> None:
    for file in home.folder.glob(f"{home.journal.name}*"):
        file.unlink()
    with Journal.open(home.journal, EVENT_TYPES, account="paper") as journal:
        for at_ms, event in changed(played.day(), 3):
            journal.append([event], at_ms)
    status, out, _ = run("parity", *DAY)
    assert status == 1 and ": 1 differ, first 2025-11-21 00:" in out and ": the desk had its stop at " in out
    told = json.loads(run("parity", *DAY, "--json")[1])
    assert (
        told["first"] == told["differences"][0]
        and told["first"]["key"].startswith("paper/")
        and "the reference" not in told["first"]["desk"]
    )


def test_a_day_of_which_nothing_can_be_compared_is_no_success(run: Run, home: AccountPaths) -> None:
    late = f"{BEGUN + timedelta(minutes=38):%Y-%m-%dT%H:%M}"
    status, out, _ = run("parity", "--since", late, "--until", f"{BEGUN + timedelta(minutes=39):%Y-%m-%dT%H:%M}")
    assert status == 1 and out.startswith("no position could be compared, ") and "it was open when the recording began" in out


def test_what_had_ended_before_is_not_of_the_day(run: Run, home: AccountPaths) -> None:
    whole = json.loads(run("parity", *DAY, "--json")[1])["positions"]
    since = f"{BEGUN + timedelta(minutes=20):%Y-%m-%dT%H:%M}"
    told = json.loads(run("parity", "--since", since, "--until", DAY[-1], "--json")[1])["positions"]
    assert 0 < len(told) < len(whole)
    assert {row["note"] for row in told if row["opened"] < since.replace("T", " ")} == {"it was open when the recording began"}


def test_a_wrong_question_is_one_sentence(run: Run, own_home: Path, tmp_path: Path) -> None:
    journal = Paths(own_home).of("paper").journal
    one_sentence(run("parity"), f"the journal {journal}", f"looked in: {own_home}", "start the desk once")
    one_sentence(run("parity", "--account", "papre"), "there is no account 'papre': did you mean 'paper'?")
    Paths.here().of("paper").made()
    Journal.open(journal, EVENT_TYPES, account="paper").close()
    one_sentence(run("parity"), "there is no tape in", f"looked in: {own_home}", "start the desk once")
    Tape(Paths(own_home).of("paper").tape).close()
    for since in ("yesterday", "0h", ""):
        one_sentence(
            run("parity", "--since", since),
            f"--since is a time in UTC (2026-01-02, 2026-01-02T14:00) or how far back (30m, 2h, 1d), got '{since}'",
        )
    one_sentence(run("parity", "--since", "1h", "--until", "2h"), "--until lies before --since")


def test_a_window_without_positions(run: Run, home: AccountPaths, tmp_path: Path) -> None:
    one_sentence(
        run("parity", "--since", "2024-01-01", "--until", "2024-01-01"),
        "of account paper no position was recorded from 2024-01-01 00:00 to 2024-01-02 00:00 UTC; the positions of its journal were opened "
        "from 2025-11-21 00:", "; give another --since and --until",
    )  # fmt: skip
    one_sentence(run("parity", "--since", "1h"), "no position was recorded from ", "; give another --since and --until")
    one_sentence(run("parity", *DAY, "--trades", str(tmp_path / "fills.csv")), "fills.csv is not there")
    (tmp_path / "fills.csv").write_text("time,symbol,paid\n2025-11-21T00:00,BTCUSDT,abc\n")
    one_sentence(run("parity", *DAY, "--trades", str(tmp_path / "fills.csv")), "fills.csv: column 'paid' is not known")
    one_sentence(run("parity", *DAY, "--funding", str(tmp_path / "fills.csv")), "funding: row 0 has the paid 'abc'; it must be a number")


def test_a_day_at_another_speed_is_not_told_again_and_says_why(run: Run, home: AccountPaths, played: Played) -> None:
    """The prices of `qtkit paper --speed 60` have its time, the journal that of the computer."""
    for file in home.folder.glob(f"{home.journal.name}*"):
        file.unlink()
    with Journal.open(home.journal, EVENT_TYPES, account="paper") as journal:
        opened = next(event for _, event in played.day()["events"] if isinstance(event, EpisodeOpened))
        begun, ended = START_MS - 7_200_000, START_MS - 7_100_000
        journal.append([opened], begun)
        journal.append([EpisodeClosed(key=opened.plan.key, at_ms=ended, reason="flat")], ended)
    one_sentence(
        run("parity", "--since", f"{BEGUN - timedelta(hours=3):%Y-%m-%dT%H:%M}", *DAY[2:]),
        "of account paper positions were opened from 2025-11-20 22:00 to 2025-11-20 22:00, but the prices on its tape are of ",
        "a paper exchange at another speed than that of the clock cannot be told again: let it run at --speed 1",
    )


def test_the_help_has_examples(run: Run) -> None:
    status, out, _ = run("parity", "--help")
    assert status == 0 and "Examples:" in out and "--json" in out
