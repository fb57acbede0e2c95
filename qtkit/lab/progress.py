"""How far long work is, shown where somebody looks: a line in a terminal, a bar in a notebook, nothing where it is soon done."""

import sys
import time
from types import TracebackType
from typing import Any, Protocol

WAIT = 2.0  # s that work may take without a word


class _Shown(Protocol):
    def to(self, done: int) -> None: ...

    def close(self) -> None: ...


class Progress:
    """Counts the entries done of ``total``.

    With ``wanted`` None they are shown in a terminal or a notebook once the work has taken two seconds and is not done; with True from
    the beginning and wherever it runs; with False never. To be used in a ``with``, so that nothing stays on the screen of a terminal.
    """

    def __init__(self, total: int, wanted: bool | None = None) -> None:
        self.total, self.done, self._since = total, 0, time.monotonic()
        self._silent = wanted is False or (wanted is None and not (_in_notebook() or sys.stderr.isatty()))
        self._shown: _Shown | None = _begin(total) if wanted else None

    def add(self, entries: int) -> None:
        """So many more are done."""
        self.done += entries
        late = time.monotonic() - self._since > WAIT
        if self._shown is None and late and not self._silent and self.done < self.total:
            self._shown = _begin(self.total)
        if self._shown is not None:
            self._shown.to(self.done)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._shown is not None:
            self._shown.close()


def _in_notebook() -> bool:
    """True in a kernel; a terminal's IPython is a terminal."""
    if "ipykernel" not in sys.modules or "IPython" not in sys.modules:
        return False
    return hasattr(sys.modules["IPython"].get_ipython(), "kernel")


def _begin(total: int) -> _Shown:
    return _Bar(total) if _in_notebook() else _Line(total)


class _Line:
    """A line of a terminal, on the error stream, gone when the work is done."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Line

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._line = Line(*columns, console=Console(file=sys.stderr), transient=True)
        self._task = self._line.add_task("entries", total=total)
        self._line.start()

    def to(self, done: int) -> None:
        self._line.update(self._task, completed=done)

    def close(self) -> None:
        self._line.stop()


class _Bar:
    """A bar in the output of a cell, moved in its place. What stays says only how many: a run of the same work leaves the same."""

    def __init__(self, total: int) -> None:
        from IPython.display import display

        self._total, self._done = total, 0
        self._handle: Any = display(self._told(), raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def _told(self) -> dict[str, str]:
        words = f"{self._done:,} of {self._total:,} entries"
        return {"text/plain": words, "text/html": f'<progress value="{self._done}" max="{self._total}"></progress> {words}'}

    def to(self, done: int) -> None:
        self._done = done
        self._handle.update(self._told(), raw=True)

    def close(self) -> None:
        """Nothing: the last state stands."""
