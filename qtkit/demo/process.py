"""The desk as its own process: started, killed, ended by its own id, never by a name."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qtkit.settings import PREFIX, RESERVED

END_S = 10.0


@dataclass(slots=True)
class Life:
    """One life of the desk, wall ms: process started, first pass begun (None before), ended (None while it lives)."""

    started_ms: int
    first_pass_ms: int | None = None
    ended_ms: int | None = None
    killed: bool = False


class DeskProcess:
    """Starts the desk of a home again and again; ``lives`` are all its lives, the present one last."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._child: subprocess.Popen[bytes] | None = None
        self.lives: list[Life] = []

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """A new life. What it prints goes to desk.out in its home, its log lines to desk.log as well."""
        with (self._home / "desk.out").open("ab") as out:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "qtkit", "desk"], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env=environment(self._home, os.environ), cwd=self._home, start_new_session=True,
            )  # fmt: skip
        self.lives.append(Life(wall_ms()))

    def kill(self) -> None:
        """SIGKILL, at once: no handler runs, nothing is finished."""
        if self._child is not None and self.alive:
            os.kill(self._child.pid, signal.SIGKILL)
            self.lives[-1].ended_ms, self.lives[-1].killed = wall_ms(), True

    async def stop(self) -> int | None:
        """SIGTERM and its exit status; SIGKILL if it does not end in time. None if it was not running."""
        if self._child is None or not self.alive:
            return None
        self._child.terminate()
        status = await asyncio.to_thread(self._wait, self._child)
        self.lives[-1].ended_ms = wall_ms()
        return status

    async def reap(self) -> None:
        """Wait until a killed process is gone."""
        if self._child is not None:
            await asyncio.to_thread(self._child.wait)

    @staticmethod
    def _wait(child: subprocess.Popen[bytes]) -> int:
        try:
            return child.wait(END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def words(self, lines: int = 4) -> str:
        """The last lines of what it printed: for the message when it could not start."""
        try:
            return "\n".join((self._home / "desk.out").read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""


def environment(home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """An environment in which only this home's settings hold."""
    kept = {name: value for name, value in environ.items() if not name.startswith(PREFIX) or name in RESERVED}
    package = str(Path(__file__).parents[2])
    path = [package, *filter(None, [kept.get("PYTHONPATH", "")])]
    return kept | {"QTKIT_HOME": str(home), "QTKIT_LEASES": str(home / "leases"), "PYTHONPATH": os.pathsep.join(path)}


@contextmanager
def living_in(home: Path) -> Iterator[None]:
    """This process too has this home, as long as it lasts: its signals and notebooks belong to the demonstration's desk."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment(home, before))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def wall_ms() -> int:
    """The wall clock in milliseconds."""
    return time.time_ns() // 1_000_000
