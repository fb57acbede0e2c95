"""Which account is meant where none is named: the only one, else `paper`; nobody guesses between several."""

import json
import os
from pathlib import Path

import pytest

import qtkit
from qtkit import alerts
from qtkit.cli import main
from qtkit.client import access, read_book, running, say, send_signal
from qtkit.core.model import PolicyError
from qtkit.core.names import default_account, of_account
from qtkit.desk import opened
from qtkit.doctor import examine
from qtkit.home import PaperKeys, Paths
from qtkit.keys import keys_of
from qtkit.operate import Resume
from qtkit.settings import Settings, account_of, meant
from qtkit.signals import Signal
from qtkit.store.journal import JournalMissing
from tests.cli_rig import Run, environ, exchange

NOWHERE = 'base_url = "http://127.0.0.1:9"\n'
COMMANDS = [
    ("desk",), ("check",), ("preview",), ("plan", "BTCUSDT"), ("signal", "BTCUSDT", "--side", "long"), ("flatten", "--all", "--yes"),
    ("adopt", "BTCUSDT", "--yes"), ("release", "BTCUSDT", "--keep", "--yes"), ("set", "BTCUSDT", "--stop", "@9", "--yes"),
    ("pause", "--yes"), ("resume", "--yes"), ("hindsight",), ("parity",), ("canary",), ("disarm",), ("doctor",),
]  # fmt: skip
commands = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])


def settle(home: Path, *names: str) -> None:
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "qtkit.toml").write_text("\n".join(f"[accounts.{name}]\n{NOWHERE}" for name in names))


def test_the_rule() -> None:
    assert default_account(["fut"]) == "fut" and default_account(["paper"]) == "paper" == default_account(["main", "paper", "fut"])
    with pytest.raises(PolicyError, match=r"several accounts are set, and none is called paper; say which with --account: fut, main$"):
        default_account(["main", "fut"])


@commands
def test_the_only_account_is_meant(command: tuple[str, ...], own_home: Path, run: Run) -> None:
    settle(own_home, "fut")
    status, out, err = run(*command)
    assert "paper'" not in err and "known:" not in err and "account paper" not in out + err
    if command[0] not in ("hindsight", "parity", "disarm", "doctor"):
        assert (status, str(Paths(own_home).paper_keys("fut")) in err) == (1, True), err
    assert not (own_home / "accounts" / "paper").exists()


@commands
def test_of_several_one_must_be_named(command: tuple[str, ...], own_home: Path, run: Run) -> None:
    settle(own_home, "main", "fut")
    status, out, err = run(*command)
    assert (status, out) == (1, "")
    assert err == "qtkit: several accounts are set, and none is called paper; say which with --account: fut, main\n"
    settle(own_home, "main", "paper")
    assert "several accounts" not in run(*command)[2]


def test_the_doctor_looks_at_settings_that_are_refused(own_home: Path, run: Run) -> None:
    own_home.mkdir()
    (own_home / "qtkit.toml").write_text("tick_secnods = 2\n")
    status, out, _ = run("doctor")
    assert status == 1 and out.startswith("account paper: ") and "tick_secnods" in out
    assert run("check")[2].startswith("qtkit: qtkit.toml:1: no setting 'tick_secnods'")


async def test_the_python_api_goes_by_the_same_rule(own_home: Path) -> None:
    settle(own_home, "fut")
    assert qtkit.open().account == "fut" == qtkit.ExitRouter().account == meant("") and meant("other") == "other"
    assert account_of(Settings.load(), "").name == "fut"
    assert qtkit.PositionMonitor().router.account == qtkit.TrailingStopManager().router.account == "fut"
    assert (await examine()).account == "fut"
    with pytest.raises(JournalMissing, match="accounts/fut"):
        read_book()
    missing = str(Paths(own_home).paper_keys("fut"))
    for act in (send_signal(Signal(symbol="BTCUSDT", side="BUY"), dry_run=True), say(Resume(), dry_run=True)):
        with pytest.raises(PolicyError, match=missing):
            await act
    with pytest.raises(PolicyError, match=missing):
        async with opened():
            raise AssertionError("it has no keys")
    with pytest.raises(PolicyError, match=missing):
        await qtkit.EventDrivenExecutor().place_order("BTCUSDT", "BUY", "1")
    assert access() == ""
    PaperKeys.create(Paths(own_home).paper_keys("fut"))
    assert running() is False and keys_of(account_of(Settings.load(), ""), Paths(own_home)).source == "file"
    settle(own_home, "main", "fut")
    for none in (qtkit.open, lambda: qtkit.ExitRouter().account, access, read_book, running, lambda: meant("")):
        with pytest.raises(PolicyError, match="none is called paper"):
            none()


def test_advice_is_good_for_the_account_that_was_meant(own_home: Path, run: Run) -> None:
    """What is advised works as it is written: without --account it means the same as the command that was typed."""
    assert of_account("`qtkit check`, `qtkit set X --account a`, `qtkit paper`", "a") == (
        "`qtkit check --account a`, `qtkit set X --account a`, `qtkit paper`"
    )
    assert of_account("`qtkit check`", "paper") == "`qtkit check`"
    more = {kind: 1 for kind in (alerts.Kind.GAP,)}
    said = alerts.message(
        [alerts.Alert(kind=alerts.Kind.TEST, phase=alerts.Phase.ONCE, key="a", text="x", at_ms=0, since_ms=0)], more, "fut"
    )
    assert "`qtkit check --account fut` shows what is so now" in said.body


def test_sentences_beside_errors_name_the_account(tmp_path: Path, run: Run) -> None:
    with exchange(tmp_path, "--incident") as env:
        home = Path(env["QTKIT_HOME"])
        base = env.pop("QTKIT_ACCOUNTS__PAPER__BASE_URL")  # an account more would be one with the same key
        (home / "qtkit.toml").write_text(f'[accounts.second]\nbase_url = "{base}"\n')
        keys = (home / "keys" / "paper.json").read_text()
        Paths(home).paper_keys("second").write_text(keys)
        Paths(home).paper_keys("second").chmod(0o600)
        _, out, _ = run("check", "--account", "second", env=env)
        assert f"no journal yet; looked in: {home / 'accounts' / 'second'}" in out
        status, out, err = run("signal", "XRPUSDT", "--side", "long", "--quantity", "100", "--account", "second")
        assert status == 0, err
        assert "`qtkit plan XRPUSDT --account second` shows it" in out
        _, out, _ = run("disarm", "--account", "second")
        assert out.endswith("account second: paper, scope full, no key used\n")


# -- all accounts


def test_check_all_tells_one_ledger_after_another(tmp_path: Path, run: Run) -> None:
    with exchange(tmp_path, "--incident") as env:
        home = Path(env["QTKIT_HOME"])
        (home / "qtkit.toml").write_text(f"[accounts.paper]\n[accounts.dead]\n{NOWHERE}[accounts.bare]\n{NOWHERE}")
        PaperKeys.create(Paths(home).paper_keys("dead"))
        status, out, err = run("check", "--all", env=env)
        assert status == 1 and err == ""
        bare, dead, paper = (out.index(f"account {name}") for name in ("bare", "dead", "paper"))
        assert bare < dead < paper and "5 positions, 5 naked" in out[dead:] and "Cannot connect" not in out.splitlines()[0]
        status, out, _ = run("check", "--all", "--json")
        told = json.loads(out)
        assert status == 1 and [row["account"] for row in told] == ["bare", "dead", "paper"]
        assert [row["ok"] for row in told] == [False] * 3 and "no keys here" in told[0]["sentence"]
        assert told[2]["sentence"].startswith("5 positions") and len(told[2]["lines"]) == 5
        assert run("check", "--all", "--account", "paper")[0] == 2


def test_check_all_needs_no_account_called_paper(own_home: Path, run: Run) -> None:
    settle(own_home, "main", "fut")
    status, out, _ = run("check", "--all")
    assert status == 1 and out.index("fut") < out.index("main")


def test_without_settings_paper_is_meant(tmp_path: Path, run: Run) -> None:
    os.environ.pop("QTKIT_ACCOUNTS__PAPER__BASE_URL", None)
    assert main(["check"]) == 1
    assert environ(tmp_path / "home")["QTKIT_HOME"]
    assert Settings.load().accounts.keys() == {"paper"}
