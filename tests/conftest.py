"""Every test has a home of its own; properties have no deadline, for nothing here is timed."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

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
