"""The command line as people use it: a paper exchange and a desk as processes of their own, commands in this one or another."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Run = Callable[..., tuple[int, str, str]]
"""A command in the process of the test: exit status, stdout, stderr."""
ROOT = Path(__file__).parents[1]
URL = re.compile(r"listens on (http://127\.0\.0\.1:\d+)")
SOON_S = 60.0


def environ(home: Path, base: str = "http://127.0.0.1:9") -> dict[str, str]:
    """The environment of a home whose exchange is at ``base``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QTKIT_")}
    state = {"XDG_STATE_HOME": str(home.parent / "state"), "PYTHONPATH": str(ROOT)}
    return {**kept, **state, "QTKIT_HOME": str(home), "QTKIT_ACCOUNTS__PAPER__BASE_URL": base}


def qtkit(*arguments: str, env: Mapping[str, str], cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """One command in a process of its own."""
    line = [sys.executable, "-m", "qtkit", *arguments]
    return subprocess.run(line, env=env, cwd=cwd, capture_output=True, text=True, timeout=SOON_S, stdin=subprocess.DEVNULL)


@contextmanager
def process(*arguments: str, env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs until the end of the block, or until it ended itself."""
    with log.open("wb") as out:
        child = subprocess.Popen([sys.executable, "-m", "qtkit", *arguments], env=env, cwd=ROOT, stdout=out, stderr=out)
        try:
            yield child
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGCONT)
                child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def until(ready: Any, what: str, log: Path) -> Any:
    """Wait for a truth; what the process said is in the failure."""
    end = time.monotonic() + SOON_S
    while time.monotonic() < end:
        if found := ready():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come; the process said: {log.read_text()[-2000:]}")


@contextmanager
def exchange(folder: Path, *options: str) -> Iterator[dict[str, str]]:
    """A paper exchange on a free port; gives the environment that finds it."""
    home, log = folder / "home", folder / "paper.log"
    with process("paper", "--port", "0", *options, env=environ(home), log=log):
        base = until(lambda: URL.search(log.read_text()), "the exchange", log)[1]
        yield environ(home, base)


@contextmanager
def desk(env: Mapping[str, str], *options: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A desk at work: it has passed and everything open is covered."""
    home = Path(env["QTKIT_HOME"])
    log = home.parent / "desk.log"
    with process("desk", "--tick", "0.5", *options, env=env, log=log) as child:
        until(lambda: covered(home) or child.poll() is not None, "cover", log)
        yield child, log


def covered(home: Path) -> bool:
    """True if the desk's last beat shows positions and no gap."""
    try:
        beat = json.loads((home / "accounts" / "paper" / "heartbeat.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    door = home / "accounts" / "paper" / "endpoint.token"
    return bool(beat["positions"]) and all(row["gap"] == 0 for row in beat["positions"]) and door.exists()
