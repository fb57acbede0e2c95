"""The lab's tests ask for compiled loops: numpy answers meanwhile where nobody waits, and would be compared with itself."""

import pytest

from qtkit.lab.compiled import available, warm


@pytest.fixture(scope="session", autouse=True)
def compiled_loops() -> None:
    if available():
        warm()
