"""How far a sweep is, shown where somebody looks and only when it lasts."""

import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from qtkit import lab
from qtkit.lab import progress
from qtkit.lab.progress import Progress
from tests.lab.rig import some_entries, some_grid, walk
from tests.lab.test_equality import same

SWEEP = sys.modules["qtkit.lab.sweep"]


class Screen(io.StringIO):
    """An error stream that is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Each look is so many seconds later."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    made = Screen()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=made, modules={}))
    monkeypatch.setenv("TERM", "xterm")
    return made


def counted(step: float, wanted: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "time", Clock(step))
    with Progress(1_000, wanted) as shown:
        for _ in range(4):
            shown.add(250)


def test_a_terminal_shows_what_lasts(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    counted(1.1, None, monkeypatch)
    assert "1000/1000" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[2K"), "the line is gone when all is done"


@pytest.mark.parametrize(("step", "wanted"), [(0.1, None), (9.0, False)], ids=["soon done", "not wanted"])
def test_nothing_is_shown(screen: Screen, step: float, wanted: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    counted(step, wanted, monkeypatch)
    assert screen.getvalue() == ""


def test_nothing_is_shown_where_nobody_looks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    counted(9.0, None, monkeypatch)
    assert capsys.readouterr() == ("", "")


def test_what_is_done_in_one_go_is_not_shown(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "time", Clock(9.0))
    with Progress(1_000) as shown:
        shown.add(1_000)
    assert screen.getvalue() == ""


def test_a_notebook_moves_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, str]] = []
    handle = SimpleNamespace(update=lambda told, raw: said.append(told))

    def display(told: dict[str, str], *, raw: bool, display_id: bool) -> object:
        assert raw and display_id
        said.append(told)
        return handle

    monkeypatch.setattr(progress, "_in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", display)
    counted(1.1, None, monkeypatch)
    assert [told["text/plain"].split(" of ")[0] for told in said] == ["0", "500", "750", "1,000"]
    assert said[-1]["text/plain"] == "1,000 of 1,000 entries"
    assert said[-1]["text/html"].startswith('<progress value="1000" max="1000">')


@pytest.mark.parametrize("jit", ["0", "1"], ids=["numba", "numpy"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("alone", [False, True], ids=["all", "one at a time"])
def test_blocks_change_nothing(jit: str, threads: int, alone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, told of one after the other: the same outcomes, and in the end all entries are done."""
    monkeypatch.setenv("NUMBA_DISABLE_JIT", jit)
    bars, grid = walk(3, 600), some_grid(4)
    entries = some_entries(bars, 3, 80)
    whole = lab.sweep(bars, entries, grid, one_at_a_time=alone, threads=threads)
    done: list[int] = []
    add = Progress.add

    def heard(self: Any, number: int) -> None:
        done.append(number)
        add(self, number)

    monkeypatch.setattr(Progress, "add", heard)
    for name, value in (("BLOCK", 8), ("TOLD", 7), ("TOLD_PLAIN", 7)):
        monkeypatch.setattr(SWEEP, name, value)
    same(lab.sweep(bars, entries, grid, one_at_a_time=alone, threads=threads), whole)
    assert sum(done) == 80 and len(done) >= 10 and min(done) >= 7
