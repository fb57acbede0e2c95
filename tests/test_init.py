"""From nothing to a first audit of an account, as a new user goes it; and what `qtkit init` refuses."""

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qtkit.account import Account
from qtkit.cli import main
from qtkit.settings import Settings
from tests.cli_rig import ROOT, SOON_S, exchange


def environ(folder: Path, **more: str) -> dict[str, str]:
    """A new user's environment: nothing of ours is set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QTKIT_")}
    return {**kept, "XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": str(ROOT), **more}


def qtkit(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "qtkit", *arguments]
    env = environ(folder, **more)
    return subprocess.run(line, env=env, cwd=folder, capture_output=True, text=True, timeout=SOON_S, stdin=subprocess.DEVNULL)


def test_from_nothing_to_a_first_audit_in_three_commands(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    with exchange(tmp_path, "--incident") as env:
        keys = json.loads((Path(env["QTKIT_HOME"]) / "keys" / "reader.json").read_text())
        began = time.monotonic()
        first = qtkit(folder, "init", "main", "--kind", "live", "--keys", "env")
        assert first.returncode == 0 and first.stdout.startswith(f"wrote {folder}/qtkit.toml: account main, live, scope watch")
        assert first.stdout.splitlines()[-1].strip() == "qtkit check --account main"
        second = {"QTKIT_READ_KEY_MAIN": keys["api_key"], "QTKIT_READ_SECRET_MAIN": keys["secret"]}
        assert all(name in first.stdout for name in second), "what to export is said"
        posing = env["QTKIT_ACCOUNTS__PAPER__BASE_URL"]  # the paper exchange stands where the real one would
        third = qtkit(folder, "check", "--account", "main", **second, QTKIT_ACCOUNTS__MAIN__BASE_URL=posing)
        assert time.monotonic() - began < 120
        assert third.returncode == 1 and third.stdout.startswith("5 positions, 5 naked"), third.stderr
        told = third.stdout.splitlines()[-1]
        assert told.startswith("account main: live (rehearsed at 127.0.0.1:")
        assert told.endswith("), scope watch, key reads only, from environment")
        as_json = qtkit(folder, "check", "--account", "main", "--json", **second, QTKIT_ACCOUNTS__MAIN__BASE_URL=posing)
        assert json.loads(as_json.stdout)["access"] == told == as_json.stderr.strip()
    assert sorted(path.name for path in folder.iterdir()) == [".qtkit", "qtkit.toml"]
    assert (folder / ".qtkit").stat().st_mode & 0o777 == 0o700
    assert not (folder / ".qtkit" / "accounts" / "main" / "journal.sqlite").exists(), "a look leaves no journal"


@pytest.mark.parametrize("keys", ["env", "file", "keyring"])
@pytest.mark.parametrize("kind", ["demo", "live"])
def test_what_is_written_is_what_was_asked_for(
    kind: str, keys: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("QTKIT_HOME")
    monkeypatch.chdir(tmp_path)
    assert main(["init", "swing", "--kind", kind, "--keys", keys]) == 0
    out = capsys.readouterr().out
    place = {"env": "QTKIT_READ_KEY_SWING", "file": ".qtkit/keys/swing.read.json", "keyring": "keyring set qtkit swing.read.key"}[keys]
    assert place in out and ("demo.binance.com" in out) is (kind == "demo")
    settings = Settings.load(environ={})
    assert settings.accounts == {"swing": Account(name="swing", kind=kind, keys=keys)}  # type: ignore[arg-type]
    text = (tmp_path / "qtkit.toml").read_text()
    assert len(text.splitlines()) <= 8 and all("#" in line for line in text.splitlines() if "=" in line)


def test_a_paper_account_asks_for_no_keys(own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--kind", "paper"]) == 0
    assert "qtkit paper --incident" in capsys.readouterr().out
    assert Settings.load(environ={}).accounts == {"paper": Account()}
    assert (own_home / "qtkit.toml").is_file() and own_home.stat().st_mode & 0o777 == 0o700


def test_each_home_gets_a_tag_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Desks of two homes that meet on one account know each other's orders from their own; without a file the tag is the default."""
    tags = {Settings.load(tmp_path, environ={}).desk}
    for number in range(5):
        home = tmp_path / str(number)
        monkeypatch.setenv("QTKIT_HOME", str(home))
        assert main(["init", "--kind", "paper"]) == 0
        tags.add(Settings.load(home, environ={}).desk)
    assert len(tags) == 6


BEFORE = [
    "desk = 'mine'\n",
    "desk = 'mine'  # no newline at the end",
    "[accounts.first]\nkind = 'demo'\n\n[accounts.first.traits]\nstop_while_flat = false\n",
    "[accounts]\nfirst = { kind = 'live' }\n",
]


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("kind", ["paper", "demo", "live"])
def test_another_account_is_written_below_what_is_there(before: str, kind: str, own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not a letter of the file changes, nor its mode; what it says of other accounts holds."""
    own_home.mkdir()
    file = own_home / "qtkit.toml"
    file.write_text(before)
    file.chmod(0o600)
    had = {name: row for name, row in Settings.load(environ={}).accounts.items() if name in before}
    assert main(["init", "second", "--kind", kind, "--keys", "env"]) == 0
    assert capsys.readouterr().out.startswith(f"added to {file}: account second, {kind}, scope ")
    assert file.read_text().startswith(before) and file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().count("# Settings of qtkit") == 0
    added = Account(name="second", kind=kind, keys=None if kind == "paper" else "env")  # type: ignore[arg-type]
    assert Settings.load(environ={}).accounts == {**had, "second": added}
    assert main(["init", "third", "--kind", "paper"]) == 0 and len(Settings.load(environ={}).accounts) == len(had) + 2


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("[accounts.main]\n", "account main is there already"),
        ("[accounts.main.traits]\nstop_while_flat = false\n", "account main is there already"),
        ("accounts = { first = { kind = 'live' } }\n", "accounts is written in one line there"),
        ("tick_secnods = 2\n", "no setting 'tick_secnods'"),
        ("desk = \n", "qtkit.toml: "),
    ],
)
def test_what_is_there_is_not_touched(before: str, told: str, own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_home.mkdir()
    (own_home / "qtkit.toml").write_text(before)
    assert main(["init", "main", "--kind", "live", "--keys", "env"]) == 1
    assert told in capsys.readouterr().err
    assert (own_home / "qtkit.toml").read_text() == before


def test_a_link_to_nowhere_is_not_followed(own_home: Path) -> None:
    own_home.mkdir()
    (own_home / "qtkit.toml").symlink_to(own_home / "nowhere")
    assert main(["init", "main", "--kind", "live", "--keys", "env"]) == 1
    assert not (own_home / "nowhere").exists()


def test_the_file_of_the_home_itself_is_the_one_that_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QTKIT_HOME")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".qtkit").mkdir()
    (tmp_path / ".qtkit" / "qtkit.toml").write_text("[accounts.paper]\n")
    assert main(["init", "main", "--kind", "live", "--keys", "env"]) == 0
    assert not (tmp_path / "qtkit.toml").exists() and Settings.load(environ={}).accounts.keys() == {"paper", "main"}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["main"], 2, "say one of paper, demo, live"),
        (["main", "--kind", "lvie", "--keys", "env"], 2, "there is no 'lvie': did you mean 'live'?"),
        (["main", "--kind", "live"], 2, "say one of env, file, keyring"),
        (["main", "--kind", "live", "--keys", "evn"], 2, "there is no 'evn'"),
        (["Main!", "--kind", "live", "--keys", "env"], 1, "a name of an account is 1 to 24 of a-z, 0-9 and _"),
    ],
)
def test_what_is_asked_wrongly(own_home: Path, arguments: list[str], status: int, message: str) -> None:
    done = qtkit(own_home.parent, "init", *arguments, QTKIT_HOME=str(own_home))
    assert done.returncode == status and message in " ".join(done.stderr.replace("│", " ").split())
    assert not own_home.exists()


def test_it_asks_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "qtkit", "init"]
    with subprocess.Popen(line, env=environ(tmp_path), cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs) as child:
        os.write(ours, b"demo\nplay\nfile\n")
        assert child.wait(SOON_S) == 0
    os.close(theirs)
    said = os.read(ours, 65_536).decode()
    os.close(ours)
    assert "kind of account [paper]" in said and "name of the account [main]" in said and "where its keys come from [env]" in said
    assert Settings.load(tmp_path, environ={}).accounts == {"play": Account(name="play", kind="demo", keys="file")}
