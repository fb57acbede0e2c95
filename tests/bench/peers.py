"""What T1 costs other engines, beside qtkit on the same bars in the same run.

    QTKIT_BENCH_PEERS=../shared/bench-peers python -m tests.bench.peers --json

T1 is that of ``tests.bench.research``: an entry every 1,000 bars by turns long and short, 10 stops x 10 callbacks, armed at +1 %, left
after 1,000 bars. The scripts in ``QTKIT_BENCH_PEERS`` run it on other engines, each in an environment of its own that is kept in the
user's cache. Here are the two quickest that run it whole; what is quicker than they lacks the initial stop beside the trail, the activation
or shorts, or tells signals and no exits. nautilus_trader runs the 100 policies at once, on fewer bars, and plays a bar as open, high, low
and close, so that a few of its exits are others. qtkit's are equal to the oracle of the scripts, or no speed is told. Times are those of
the processor, so that other work on the machine counts for neither: of a peer's, which its script takes by the clock, the part in which
its process ran.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.bench.live import Figure, load, told

SCRIPTS = "QTKIT_BENCH_PEERS"
TREE = Path(__file__).parents[2]
NEEDED = ("common.py", "data.py", "t1_reference.py")


class PeersError(Exception):
    """No comparison: what is missing, in a sentence."""


@dataclass(frozen=True)
class Peer:
    """Another engine: ``script`` with ``arguments`` runs T1 on ``bars`` bars in ``memory_gb``; ``bound`` is the promised ratio, if any."""

    name: str
    packages: tuple[str, ...]
    script: str
    arguments: tuple[str, ...]
    bars: int
    memory_gb: float
    bound: float | None = None


PEERS = (
    Peer(
        name="vectorbt",
        packages=("vectorbt==1.2.0", "numba==0.68.1", "numpy==2.4.6", "pandas==3.1.1"),
        script="vbt_t1.py",
        arguments=("exact", "numba"),
        bars=1_000_000,
        memory_gb=9,
        bound=2_000,
    ),
    Peer(
        name="nautilus_trader",
        packages=("nautilus_trader==1.221.0", "numba==0.68.1", "numpy==2.4.6", "pandas==2.3.3"),
        script="naut_t1.py",
        arguments=("100",),
        bars=200_000,
        memory_gb=1.5,
    ),
)


def scripts_of(peers: tuple[Peer, ...]) -> Path:
    """The folder of the scripts. Raises ``PeersError`` if it is not told or lacks one."""
    told_ = os.environ.get(SCRIPTS)
    if not told_:
        raise PeersError(f"{SCRIPTS} names no folder: set it to the one that holds {', '.join(peer.script for peer in peers)}")
    folder = Path(told_).resolve()
    for name in (*NEEDED, *(peer.script for peer in peers)):
        if not (folder / name).is_file():
            raise PeersError(f"{told_} holds no {name}: set {SCRIPTS} to the folder of the peers' scripts")
    return folder


def refuse_memory(peers: tuple[Peer, ...], free_gb: float) -> None:
    """Raises ``PeersError`` if a peer would not fit."""
    for peer in peers:
        if peer.memory_gb > free_gb:
            raise PeersError(f"{peer.name} takes {peer.memory_gb:g} GB on T1 and {free_gb:.1f} GB are free: end other work first")


def free_memory_gb() -> float:
    """Memory that a new process can have, by the kernel."""
    rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(rows["MemAvailable"].split()[0]) / 1e6


def python_of(peer: Peer) -> Path:
    """The Python of a peer's own environment, made when it is first asked for. Raises ``PeersError`` if its packages cannot be had."""
    key = sha256(" ".join((sys.version, *peer.packages)).encode()).hexdigest()[:8]
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qtkit" / "peers" / f"{peer.name}-{key}"
    python, ready = place / "bin" / "python", place / ".ready"
    if not ready.exists():
        print(f"installing {', '.join(peer.packages)}", file=sys.stderr)
        _uv(peer, "venv", "--clear", "--python", sys.executable, str(place))
        _uv(peer, "pip", "install", "--python", str(python), *peer.packages)
        ready.touch()
    return python


def _uv(peer: Peer, *arguments: str) -> None:
    done = subprocess.run([Path(sys.executable).with_name("uv"), *arguments], capture_output=True, text=True)
    if done.returncode:
        why = [line.strip() for line in done.stderr.splitlines() if line.strip().startswith(("error:", "cause:"))]
        raise PeersError(
            f"{peer.name} cannot be installed, it needs the package index that uv is set up for: {(why or ['no reason told'])[-1]}"
        )


def run(command: tuple[str | Path, ...], bars: int, scripts: Path, place: Path) -> tuple[dict[str, Any], str, float]:
    """What a script tells of its runs on so many bars, what it says beside, and the part of the time in which it ran, at most 1.

    The bars that scripts keep lie in ``place``. Raises ``PeersError`` for a script that fails.
    """
    environment = {**os.environ, "PYTHONPATH": str(scripts), "BENCH_N": str(bars), "TMPDIR": str(place)}
    print("running", *command, file=sys.stderr)
    begun, before = time.perf_counter(), _spent_by_children()
    done = subprocess.run(command, env=environment, cwd=TREE, capture_output=True, text=True)
    ran = (_spent_by_children() - before) / (time.perf_counter() - begun)
    lines = done.stdout.splitlines()
    found = [line for line in lines if line.startswith("{")]
    if done.returncode or not found:
        why = (done.stderr.splitlines() or ["nothing"])[-1]
        raise PeersError(f"{' '.join(str(part) for part in command[1:])} ended with code {done.returncode}: {why}")
    return json.loads(found[0]), " ".join(line for line in lines if not line.startswith("{")), min(1.0, ran)


def _spent_by_children() -> float:
    """Processor time of the processes that have ended, seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def figures_of(peer: Peer, scripts: Path, place: Path) -> list[Figure]:
    """A peer and qtkit on the same bars, and how often qtkit's time goes into the peer's."""
    slow, said, ran = run((python_of(peer), scripts / peer.script, *peer.arguments), peer.bars, scripts, place)
    own, _, _ = run((sys.executable, "-m", "tests.bench.t1"), peer.bars, scripts, place)
    spent = slow["median_s"] * ran
    clock = f"median of {slow['runs']}, {slow['median_s']:.2f} s by the clock"
    note = f"{peer.bars:,} bars, {clock}, {slow['maxrss_mb']:,} MB; {said}".removesuffix("; ")
    equal = f"{own['equal']:,} entry-policies equal to the oracle, one core, warm, median of {own['runs']}"
    return [
        Figure(f"{peer.name}, T1", spent, "s", note=note),
        Figure(f"qtkit, T1 on the bars of {peer.name}", own["median_s"] * 1e3, "ms", note=equal),
        Figure(f"{peer.name} / qtkit", spent / own["median_s"], "x", peer.bound, least=True),
    ]


def figures(peers: tuple[Peer, ...] = PEERS) -> list[Figure]:
    """All measurements. Raises ``PeersError`` for what is missing, before anything is measured where that can be known."""
    scripts = scripts_of(peers)
    refuse_memory(peers, free_memory_gb())
    for peer in peers:
        python_of(peer)
    with tempfile.TemporaryDirectory(prefix="qtkit-peers-") as place:
        return [figure for peer in peers for figure in figures_of(peer, scripts, Path(place))]


def main(report: Callable[[str], object] = print) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    given = parser.parse_args()
    try:
        found = figures()
    except PeersError as error:
        sys.exit(str(error))
    if given.json:
        rows = [{**asdict(figure), "kept": figure.kept} for figure in found]
        report(json.dumps({"python": sys.version.split()[0], "cores": os.cpu_count(), "load": list(load()), "figures": rows}))
    else:
        report("\n".join(told(figure) for figure in found))
    sys.exit(0 if all(figure.kept for figure in found) else 1)


if __name__ == "__main__":
    main()
