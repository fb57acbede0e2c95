"""Every test has a home of its own; properties have no deadline, for nothing here is timed."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from qtkit.cli import main

ROOT = Path(__file__).parents[1]

settings.register_profile("house", deadline=None, derandomize=os.environ.get("CI") == "true")  # the gate decides by the change, not by luck
settings.load_profile("house")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A test neither sees nor touches the user's home or state folder, nor settings in the environment."""
    places = ("QTKIT_DATA", "QTKIT_FIXTURES")
    for name in [n for n in os.environ if n.startswith("QTKIT_") and n not in places]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("QTKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "home"


def _shared(variable: str, name: str) -> Path:
    place = Path(os.environ.get(variable) or ROOT.parent / "shared" / name)
    if not place.is_dir():
        pytest.skip(f"{place} is missing; name the folder in {variable}")
    return place


@pytest.fixture(scope="session")
def market_data() -> Path:
    """Folder of recorded market data."""
    return _shared("QTKIT_DATA", "data")


@pytest.fixture(scope="session")
def recorded_requests() -> Path:
    """Folder of recorded requests."""
    return _shared("QTKIT_FIXTURES", "fixtures")


@pytest.fixture
def own_logs() -> Iterator[None]:
    """Commands configure logging for their process; here they share one with the other tests."""
    handlers, level, loud = logging.getLogger().handlers[:], logging.getLogger().level, logging.raiseExceptions
    yield
    logging.getLogger().handlers[:], logging.raiseExceptions = handlers, loud
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def run(own_logs: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """A command in this process: exit status, stdout, stderr. ``env`` is set for good."""

    def command(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
        for name, value in (env or {}).items():
            if name.startswith(("QTKIT_", "XDG_")):
                monkeypatch.setenv(name, value)
        capsys.readouterr()
        status = main(arguments)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, out, err

    return command
