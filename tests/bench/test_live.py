"""The measurements of the live desk, printed; what does not depend on the machine is asserted."""

from pathlib import Path

import pytest

from qtkit import logs
from tests.bench import live


@pytest.mark.bench
def test_live(tmp_path: Path) -> None:
    logs.quiet()
    found = live.figures(tmp_path)
    print("", *(live.told(figure) for figure in found), f"load {live.load()}", sep="\n")
    values = {figure.name: figure for figure in found}
    assert all(figure.kept for figure in found if figure.unit not in ("us", "ms", "x")), "a figure that does not depend on the machine"
    assert values["1,000 positions on one symbol, loop / watch"].value >= 10
