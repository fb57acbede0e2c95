"""Several accounts in one home, as on the road from demo to money: each has a desk of its own, and none sees the other's state."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import qtkit
from qtkit.core.model import Side
from qtkit.home import Paths
from tests.story.venue import DeskProcess, Venue

NAMES = ("paper", "second")


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Venue, Venue]]:
    """Two exchanges with a short of somebody's on the first and a long on the second, and one home that names an account on each."""
    first, second = Venue(tmp_path / "one"), Venue(tmp_path / "two")
    shutil.copy(Paths(second.home).paper_keys(), Paths(first.home).paper_keys("second"))
    with (first.home / "qtkit.toml").open("a") as settings:
        settings.write(f'[accounts.second]\nbase_url = "http://127.0.0.1:{second.server.port}"\n')
    first.opened("SOLUSDT", Side.SHORT, "10")
    second.opened("ETHUSDT", Side.LONG, "1")
    yield first, second
    for venue in (first, second):
        venue.stop()


def _qtkit(venue: Venue, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "qtkit", *arguments], env=venue.environment, capture_output=True, text=True, timeout=60)


def test_two_desks_of_one_home(both: tuple[Venue, Venue], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = both
    desks = [DeskProcess(first, name) for name in NAMES]
    try:
        for desk, venue in zip(desks, both, strict=True):
            desk.wait_for(lambda venue=venue: venue.naked() == [])
            desk.wait_for(lambda desk=desk: Paths(first.home).of(desk.account).heartbeat.exists())
        for name, symbol in zip(NAMES, ("SOLUSDT", "ETHUSDT"), strict=True):
            told = json.loads(_qtkit(first, "check", "--account", name, "--json").stdout)
            assert told["ok"] and told["running"] and [line["symbol"] for line in told["lines"]] == [symbol]
            assert f"paper/{symbol}" in desks[NAMES.index(name)].log or f"second/{symbol}" in desks[NAMES.index(name)].log
        monkeypatch.setenv("QTKIT_HOME", str(first.home))
        assert {key.split("/")[0] for key in qtkit.open("second").journal()["key"] if key} == {"second"}
        desks[0].kill()
        assert _qtkit(first, "check", "--account", "paper").returncode == 1, "a desk of another account watches nothing here"
        assert _qtkit(first, "check", "--account", "second").returncode == 0
        closed = _qtkit(first, "flatten", "ETHUSDT", "--account", "second", "--yes")
        assert closed.returncode == 0, closed.stderr
        assert second.held("ETHUSDT") == 0 and first.held("SOLUSDT") == -10
    finally:
        for desk in desks:
            desk.kill()


def test_advice_names_the_account(both: tuple[Venue, Venue]) -> None:
    first, _ = both
    told = json.loads(_qtkit(first, "check", "--account", "second", "--json").stdout)
    assert told["late"].endswith("start it with `qtkit desk --account second`")
    found = json.loads(_qtkit(first, "doctor", "--account", "second", "--json").stdout)["findings"]
    assert next(f for f in found if f["name"] == "heartbeat")["remedy"] == "`qtkit desk --account second`"
    refused = _qtkit(first, "plan", "BTCUSDT", "--account", "second")
    assert refused.returncode == 1 and "`qtkit signal BTCUSDT --side long --dry-run --account second`" in refused.stderr + refused.stdout
