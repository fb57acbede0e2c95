"""The comparison with other engines, on stand-ins of their scripts; what is missing is told in a sentence. The peers run by hand alone."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import peers
from tests.bench.peers import Peer, PeersError

QUICK = Peer(name="quick", packages=("quick==1.0",), script="quick.py", arguments=("exact",), bars=3_000, memory_gb=0.1, bound=2.0)

SCRIPTS = {
    "common.py": """
import json, statistics
def report(name, spent, **more):
    print(json.dumps(dict(bench=name, median_s=statistics.median(spent), runs=len(spent), maxrss_mb=1, **more)))
""",
    "data.py": """
import os
import numpy as np
HOLD, ACT, SL, TR = 100, 0.01, np.array([0.005, 0.01]), np.array([0.003, 0.006])
ENTRIES = np.arange(0, int(os.environ["BENCH_N"]) - 1, HOLD)
SIDES = np.where(np.arange(len(ENTRIES)) % 2 == 0, 1, -1).astype(np.int8)
def load():
    path = 30_000 + np.random.default_rng(1).integers(-300, 301, int(os.environ["BENCH_N"])).cumsum() / 10
    opened = np.concatenate(([30_000.0], path[:-1]))
    return opened, np.maximum(opened, path) + 5, np.minimum(opened, path) - 5, path
""",
    "t1_reference.py": """
import numpy as np
from data import ENTRIES, HOLD, SIDES
from tests.bench.research import brute
def oracle(*prices):
    exits = np.empty((len(ENTRIES), 4), np.int64)
    levels = exits.copy()
    ticks = [np.round(price * 10_000).astype(np.int64) for price in prices]
    brute(*ticks, ENTRIES, SIDES, np.array([50, 100]), np.array([30, 60]), 100, HOLD, exits, levels)
    return exits, levels / 10_000, 0
""",
    "quick.py": """
import sys
from common import report
report(" ".join(sys.argv[1:]), [9.0, 9.0, 9.0])
print("oracle match: all")
""",
}


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins of the scripts; the peer's Python is this one."""
    for name, text in SCRIPTS.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("QTKIT_BENCH_PEERS", str(tmp_path))
    monkeypatch.setattr(peers, "python_of", lambda peer: Path(sys.executable))
    return tmp_path


def test_a_peer_and_qtkit_stand_side_by_side(scripts: Path) -> None:
    slow, own, ratio = peers.figures((QUICK,))
    assert slow.name == "quick, T1" and 0 < slow.value <= 9.0
    assert slow.note == "3,000 bars, median of 3, 9.00 s by the clock, 1 MB; oracle match: all"
    assert own.note == "120 entry-policies equal to the oracle, one core, warm, median of 40"
    assert ratio.kept and ratio.value == pytest.approx(1_000 * slow.value / own.value) and (ratio.bound, ratio.least) == (2.0, True)


def test_other_work_on_the_machine_is_not_counted_against_a_peer(scripts: Path) -> None:
    (scripts / "quick.py").write_text("import time; time.sleep(3)\n" + (scripts / "quick.py").read_text())
    assert 0 < peers.figures((QUICK,))[0].value < 4.5


def test_no_speed_without_equality(scripts: Path) -> None:
    source = scripts / "t1_reference.py"
    source.write_text(source.read_text().replace("levels / 10_000", "levels / 10_000 + (levels == levels.max()) * 0.0001"))
    with pytest.raises(PeersError, match=r"-m tests.bench.t1 ended with code 1: the sweep and the oracle of the scripts differ"):
        peers.figures((QUICK,))


def test_a_script_that_fails_is_named_with_its_reason(scripts: Path) -> None:
    (scripts / "quick.py").write_text("import sys; sys.exit('out of breath')")
    with pytest.raises(PeersError, match=r"quick.py exact ended with code 1: out of breath"):
        peers.figures((QUICK,))


def test_missing_scripts_are_told(scripts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (scripts / "data.py").unlink()
    with pytest.raises(PeersError, match=r"holds no data.py: set QTKIT_BENCH_PEERS to the folder of the peers' scripts"):
        peers.figures((QUICK,))
    monkeypatch.delenv("QTKIT_BENCH_PEERS")
    monkeypatch.setattr(sys, "argv", ["peers"])
    with pytest.raises(SystemExit, match=r"QTKIT_BENCH_PEERS names no folder: set it to the one that holds vbt_t1.py, naut_t1.py"):
        peers.main()


def test_missing_memory_is_told(scripts: Path) -> None:
    assert 0.01 < peers.free_memory_gb() < 100_000
    with pytest.raises(PeersError, match=r"quick takes 1e\+06 GB on T1 and [\d.]+ GB are free: end other work first"):
        peers.figures((replace(QUICK, memory_gb=1e6),))


def test_missing_packages_are_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    for _ in range(2):
        with pytest.raises(PeersError, match=r"quick cannot be installed, it needs the package index .*: cause: .*quick==1.0"):
            peers.python_of(QUICK)


def test_figures_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["peers", "--json"])
    monkeypatch.setattr(peers, "figures", lambda: [peers.Figure("quick / qtkit", 1.5, "x", 2.0, least=True)])
    said: list[str] = []
    with pytest.raises(SystemExit, match="1"):
        peers.main(said.append)
    assert json.loads(said[0])["figures"][0] | {"note": ""} == {
        "name": "quick / qtkit", "value": 1.5, "unit": "x", "bound": 2.0, "note": "", "least": True, "kept": False,
    }  # fmt: skip
