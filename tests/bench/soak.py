"""The long run: a desk at its default tick beside 20 held positions. How much request weight does it use, and is it ever refused?

    python -m tests.bench.soak --minutes 30 --symbols 20 --json

The desk is the command `qtkit desk` in its own process, over ccxt, against the paper exchange's server; the exchange's own counters are
read, minute by minute of the wall clock. The first minute (start, adoption of all positions at once) is told apart from the others.
"""

import argparse
import asyncio
import json
import re
import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

from qtkit.home import Paths
from qtkit.paper.rest import RequestRecord
from qtkit.paper.server import PaperServer
from tests.bench.rig import MINUTE_MS, Market, environment, process, served

BOUND = 600  # request weight a minute: a quarter of what Binance allows an address
SWEEP_WEIGHT = 80  # both lists of the whole account
WAIT_S = 30.0


@dataclass
class Soak:
    """What was counted. ``weight`` is of whole minutes of the clock in order, the first one apart.

    ``dearest_sixty_s`` is over any 60 seconds, ``last_sixty_s`` over the last ones; ``longest_blind_s`` lies between two completed passes;
    ``gaps`` lists positions uncovered at the end, ``uncovered_s`` is the longest gap that the desk told.
    """

    symbols: int
    seconds: float = 0.0
    first_minute: int = 0
    dearest_sixty_s: int = 0
    last_sixty_s: int = 0
    weight: list[int] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)
    http: dict[str, int] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    passes: int = 0
    longest_blind_s: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    uncovered_s: float = 0.0
    desk_cpu_percent: float = 0.0
    desk_memory_mb: list[float] = field(default_factory=list)

    @property
    def most(self) -> int:
        """The dearest minute, the first one included."""
        return max([self.first_minute, self.dearest_sixty_s, *self.weight])

    @property
    def expected(self) -> int:
        """What no minute of a longer run should exceed, from a short one: its last 60 s, which hold a sweep and lists of every symbol,
        and one more of each, as the rhythms may meet in a minute."""
        return self.last_sixty_s + SWEEP_WEIGHT + 2 * self.symbols

    @property
    def refused(self) -> int:
        """Answers that mean too many requests or orders."""
        return sum(self.http.get(status, 0) for status in ("429", "418"))

    def told(self) -> dict[str, object]:
        """All figures, with what follows from them."""
        typical = statistics.median(self.weight) if self.weight else None
        derived = {"most": self.most, "median": typical, "expected": self.expected, "refused": self.refused}
        return {**asdict(self), "bound": BOUND, **derived}


class Watcher:
    """Counts what the server answered and what the desk's heartbeat says, once a second."""

    def __init__(self, soak: Soak, server: PaperServer, paths: Paths, pid: int) -> None:
        self.soak, self.server, self.paths, self.pid = soak, server, paths, pid
        self._seen = 0
        self._codes: Counter[str] = Counter()
        self._http: Counter[str] = Counter()
        self._paths: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._beat_ms = self._pass_ms = 0

    def look(self) -> None:
        """One look."""
        requests = list(self.server.requests)
        for record in requests[self._seen :]:
            self._count(record)
        self._seen = len(requests)
        self._read_heartbeat()
        self.soak.codes, self.soak.http = dict(self._codes), dict(self._http)
        self.soak.requests, self.soak.faults = dict(self._paths.most_common()), dict(self._faults)

    def _count(self, record: RequestRecord) -> None:
        self._codes[str(record.code)] += 1
        self._http[str(record.status)] += 1
        every = "" if "symbol" in record.params else " (whole account)"
        self._paths[f"{record.method} {record.path}{every}"] += record.weight

    def _read_heartbeat(self) -> None:
        try:
            beat = json.loads(self.paths.of("paper").heartbeat.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return
        if self._pass_ms and beat["last_pass_ms"] > self._pass_ms:
            self.soak.longest_blind_s = max(self.soak.longest_blind_s, (beat["last_pass_ms"] - self._pass_ms) / 1000)
        if beat["at_ms"] > self._beat_ms and beat["fault"]:
            self._faults[re.sub(r"[\d.]+", "n", beat["fault"])] += 1
        self._beat_ms, self._pass_ms = beat["at_ms"], beat["last_pass_ms"]
        self.soak.passes = beat["passes"]
        open_gaps = [line for line in beat["positions"] if line["gap"]]
        self.soak.gaps = [line["key"] for line in open_gaps]
        self.soak.uncovered_s = max([self.soak.uncovered_s, *(line["gap_s"] for line in open_gaps)])

    def resources(self) -> tuple[float, float]:
        """CPU seconds and resident memory (MB) of the desk."""
        import psutil

        child = psutil.Process(self.pid)
        times = child.cpu_times()
        return times.user + times.system, child.memory_info().rss / 1e6


async def soak(home: Path, *, symbols: int = 20, seconds: float = 1_800.0, seed: int = 7) -> Soak:
    """Run the desk for so long beside so many held symbols."""
    result = Soak(symbols)
    market = Market(symbols, seed=seed)
    market.hold_all()
    async with served(market, home) as server:
        log = home / "desk.out"
        with process(["-m", "qtkit", "desk"], environment(home, server.port), log) as child:
            watcher = Watcher(result, server, Paths(home), child.pid)
            await _until_it_reads(server, watcher, log)
            first_minute, began = time.time_ns() // 1_000_000 // MINUTE_MS, time.monotonic()
            cpu, memory = watcher.resources()
            result.desk_memory_mb.append(round(memory, 1))
            while time.monotonic() - began < seconds:
                if child.poll() is not None:
                    raise RuntimeError(f"the desk ended by itself:\n{log.read_text()[-2_000:]}")
                watcher.look()
                market.hold_all()
                await asyncio.sleep(1.0)
            result.seconds = time.monotonic() - began
            after, memory = watcher.resources()
            result.desk_cpu_percent = round((after - cpu) * 100 / result.seconds, 1)
            result.desk_memory_mb.append(round(memory, 1))
            last_minute = time.time_ns() // 1_000_000 // MINUTE_MS
            result.first_minute = max(server.weight_used(first_minute), server.weight_used(first_minute + 1))
            result.dearest_sixty_s, result.last_sixty_s = _rolling(list(server.requests))
            result.weight = [server.weight_used(minute) for minute in range(first_minute + 2, last_minute)]
    return result


def _rolling(requests: list[RequestRecord]) -> tuple[int, int]:
    """Weight of the dearest and of the last 60 seconds."""
    window: deque[RequestRecord] = deque()
    weight = dearest = 0
    for record in requests:
        window.append(record)
        weight += record.weight
        while window[0].at_ms <= record.at_ms - MINUTE_MS:
            weight -= window.popleft().weight
        dearest = max(dearest, weight)
    return dearest, weight


async def _until_it_reads(server: PaperServer, watcher: Watcher, log: Path) -> None:
    end = time.monotonic() + WAIT_S
    while not server.requests:
        if time.monotonic() > end:
            raise RuntimeError(f"the desk did not begin within {WAIT_S:.0f} s:\n{log.read_text()[-2_000:]}")
        await asyncio.sleep(0.1)
    watcher.look()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--symbols", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qtkit-soak-") as place:
        result = asyncio.run(soak(Path(place), symbols=given.symbols, seconds=given.minutes * 60, seed=given.seed))
    told = result.told()
    print(json.dumps(told) if given.json else "\n".join(f"{name}: {value}" for name, value in told.items()))
    sys.exit(0 if result.most <= BOUND and not result.refused and not result.gaps else 1)


if __name__ == "__main__":
    main()
