"""Runs one notebook: parameters checked before the kernel starts, a child process of its own, an end to it, and evidence."""

import base64
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

from qtkit.core.model import PolicyError
from qtkit.runs.parameters import parameters_of, resolve
from qtkit.runs.record import VARIABLE, versions
from qtkit.runs.redaction import may_enter, redact, secrets_of
from qtkit.runs.report import write_report
from qtkit.runs.shelves import find_notebook
from qtkit.settings import Paths

TIMEOUT = 600  # seconds of wall time, unless the caller says otherwise
GRACE = 5  # seconds between SIGTERM and SIGKILL


class Exit(IntEnum):
    """How a run ended, as the exit code of the command. CHECK: the run worked, its finding is bad."""

    OK = 0
    ERROR = 1
    USAGE = 2
    CHECK = 3
    TIMEOUT = 124
    KERNEL = 138


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One finished run. ``reason`` is a sentence; ``figures`` are what the notebook recorded; ``folder`` holds the evidence."""

    id: str
    notebook: str
    folder: Path
    exit: Exit
    reason: str
    started: str
    seconds: float
    parameters: Mapping[str, Any]
    figures: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        """True if the notebook ran to its end and all its checks hold."""
        return self.exit is Exit.OK


def run_notebook(name_or_path: str | Path, parameters: Mapping[str, object] | None = None, timeout: float = TIMEOUT) -> RunResult:
    """Run a notebook once and keep what it leaves. Raises `PolicyError` (exit 2) before anything starts if the request is wrong.

    ``timeout`` is wall time in seconds for the whole run. The kernel's folder is the notebook's, its environment is ours without the
    variables whose names tell of a secret; key pairs that only look are left in it.
    """
    notebook = find_notebook(name_or_path)
    values = resolve(parameters_of(notebook), parameters or {})
    paths = Paths.here()
    known = secrets_of(paths, os.environ)
    if leaked := [name for name, value in values.items() if any(secret in json.dumps(value) for secret in known)]:
        raise PolicyError(f"parameter {leaked[0]} holds a secret, and parameters are written into the notebook; read it from settings")
    folder = _new_folder(paths.runs / notebook.stem)
    _write(folder / "params.json", values)
    started, clock = datetime.now(UTC), time.monotonic()
    code = _execute(notebook, folder, values, paths.home, timeout)
    seconds = round(time.monotonic() - clock, 3)
    exit_, reason = _judge(code, folder, timeout)
    exit_, reason = _finish(folder, exit_, reason, values, known)
    manifest = {
        "id": folder.name,
        "notebook": notebook.stem,
        "notebook_sha256": hashlib.sha256(notebook.read_bytes()).hexdigest(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": seconds,
        "timeout": timeout,
        "exit": int(exit_),
        "reason": reason,
        "versions": versions(),
    }
    _write(folder / "manifest.json", manifest)
    return _read(folder)


def history(notebook: str | None = None) -> tuple[RunResult, ...]:
    """Past runs under this home, of one notebook or of all, oldest first. A run without manifest is not finished and not listed."""
    manifests = Paths.here().runs.glob(f"{notebook or '*'}/*/manifest.json")
    return tuple(_read(path.parent) for path in sorted(manifests, key=lambda path: path.parent.name))


def _new_folder(shelf: Path) -> Path:
    folder = shelf / f"{datetime.now(UTC):%Y%m%dT%H%M%S}Z-{secrets.token_hex(2)}"
    folder.mkdir(parents=True)
    return folder


def _execute(notebook: Path, folder: Path, values: Mapping[str, Any], home: Path, timeout: float) -> int:
    """Exit code of papermill, or `Exit.TIMEOUT`. Whatever the run started is gone when this returns."""
    import yaml  # papermill reads YAML 1.1, in which JSON's 1e-05 would be text

    encoded = base64.b64encode(yaml.safe_dump(dict(values)).encode()).decode()
    command = [sys.executable, "-m", "papermill", str(notebook), str(folder / "run.ipynb"), "--parameters_base64", encoded]
    command += ["--kernel", "python3", "--language", "python", "--cwd", str(notebook.parent), "--no-progress-bar"]
    with tempfile.TemporaryDirectory() as profile, (folder / "stderr.log").open("wb") as log:
        environ = {name: value for name, value in os.environ.items() if may_enter(name)}
        environ |= {VARIABLE: str(folder), "QTKIT_HOME": str(home), "IPYTHONDIR": profile, "JUPYTER_PLATFORM_DIRS": "1"}
        with _child(command, folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ) as child:
            try:
                return child.wait(timeout)
            except subprocess.TimeoutExpired:
                return Exit.TIMEOUT


@contextmanager
def _child(command: list[str], folder: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A child in its own session; on leaving, all it started is ended: SIGTERM, a grace, SIGKILL."""
    child = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield child
    finally:
        _signal(folder, signal.SIGTERM)
        end = time.monotonic() + GRACE
        while _signal(folder, None) and time.monotonic() < end:
            child.poll()
            time.sleep(0.05)
        _signal(folder, signal.SIGKILL)
        child.wait()


def _signal(folder: Path, number: signal.Signals | None) -> int:
    """Send a signal to every process of the run, kernels in sessions of their own too: they bear its folder in their environment."""
    import psutil

    count = 0
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(VARIABLE) == str(folder) and process.pid != os.getpid():
                count += 1
                if number is not None:
                    process.send_signal(number)
        except psutil.Error:  # gone meanwhile, or another user's
            continue
    return count


def _judge(code: int, folder: Path, timeout: float) -> tuple[Exit, str]:
    if code == Exit.TIMEOUT:
        return Exit.TIMEOUT, f"stopped: it was still running after {timeout:g} s"
    if code == Exit.KERNEL:
        return Exit.KERNEL, "the kernel died; see stderr.log (out of memory is the common cause)"
    cells = _cells(folder / "run.ipynb")
    if code != 0:
        return Exit.ERROR, _failure(cells) or f"papermill ended with {code}; see stderr.log"
    if any(cell["metadata"].get("papermill", {}).get("status") != "completed" for cell in cells):
        return Exit.ERROR, "the notebook ended itself before its last cell"
    verdict = _json(folder / "verdict.json")
    if not verdict:
        return Exit.ERROR, "the notebook gave no verdict: its last cell calls run.verdict()"
    if not verdict["passed"]:
        failed = [check["text"] for check in verdict["checks"] if not check["passed"]]
        return Exit.CHECK, f"does not hold: {'; '.join(failed)}" if failed else "the notebook made no check"
    return Exit.OK, f"all {len(verdict['checks'])} checks hold"


def _failure(cells: list[dict[str, Any]]) -> str:
    for number, cell in enumerate(cells, 1):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                return f"code cell {number}: {output['ename']}: {output['evalue']}"
    return ""


def _finish(folder: Path, exit_: Exit, reason: str, values: Mapping[str, Any], known: frozenset[str]) -> tuple[Exit, str]:
    """Report, redaction proof and the completed verdict."""
    if _cells(folder / "run.ipynb"):
        write_report(folder / "run.ipynb", folder / "report.html")
    proof = redact(folder, known)
    if proof.leaks:
        exit_, reason = Exit.ERROR, f"a secret was displayed; it was overwritten in {', '.join(proof.leaks)}"
    bare = {"checks": [], "figures": {}, "data": {}, "versions": versions()}
    verdict = bare | _json(folder / "verdict.json") | {"passed": exit_ is Exit.OK, "exit": int(exit_), "reason": reason}
    _write(folder / "verdict.json", verdict | {"parameters": dict(values), "redaction": asdict(proof)})
    return exit_, reason


def _read(folder: Path) -> RunResult:
    manifest, verdict = _json(folder / "manifest.json"), _json(folder / "verdict.json")
    return RunResult(
        folder=folder,
        exit=Exit(manifest["exit"]),
        parameters=_json(folder / "params.json"),
        figures=verdict["figures"],
        **{name: manifest[name] for name in ("id", "notebook", "reason", "started", "seconds")},
    )


def _cells(notebook: Path) -> list[dict[str, Any]]:
    """Code cells of an executed notebook; none if it was never written, or cut short by the end of its process."""
    return [cell for cell in _json(notebook).get("cells", []) if cell["cell_type"] == "code"]


def _json(path: Path) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return row


def _write(path: Path, row: object) -> None:
    path.write_text(json.dumps(row, indent=1) + "\n")
