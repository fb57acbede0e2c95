"""Nobody waits for a compiler: numpy answers while another process compiles."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from qtkit.lab import compiled

pytestmark = pytest.mark.skipif(not compiled.available(), reason="numba is not installed")

FIRST = """
import json, sys, time
from pathlib import Path
from qtkit import lab
from qtkit.lab.compiled import _folder, _digest, _begun

bars, grid = lab.example(days=2), lab.grid(stop_bps=(50, 100, 200), trail_bps=(40, 90), max_bars=300)
sweep = lambda: lab.sweep(bars, lab.every(bars, step=7), grid)
first = sweep()
meanwhile = "numba" not in sys.modules
began = list(_begun)
kept = (_folder(_digest()[0])[0] / "sweep_whole.compiled")
while not kept.exists() and _begun["sweep_whole"].poll() is None:
    time.sleep(0.1)
then = sweep()
same = all((a == b).all() for a, b in zip(first.outcomes, then.outcomes))
print(json.dumps([meanwhile, began, kept.exists(), "numba" in sys.modules, same]))
"""


def test_the_first_sweep_of_a_machine_is_answered_while_another_process_compiles(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", FIRST], env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, ["sweep_whole"], True, True, True]


def test_where_the_other_process_fails_it_is_compiled_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_folder", lambda digest: (tmp_path, True))
    monkeypatch.setattr(compiled, "_here", set())
    begun: dict[str, subprocess.Popen[bytes]] = {}
    monkeypatch.setattr(compiled, "_begun", begun)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert not compiled.prepared("sweep") or begun["sweep"].poll() is not None
    assert begun["sweep"].wait(10) != 0
    assert compiled.prepared("sweep")


def test_what_cannot_be_kept_is_compiled_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_folder", lambda digest: (tmp_path, False))
    monkeypatch.setattr(compiled, "_here", set())
    assert compiled.prepared("sweep")
