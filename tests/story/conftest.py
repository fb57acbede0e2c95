"""Stories write journals by the thousand: where the system has a disk in memory, they lie there."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home folder for a desk of a story."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="qtkit-story-") as folder:
        yield Path(folder) / "home"
