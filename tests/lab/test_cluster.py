"""A sweep on a cluster is equal to one at home, bit for bit."""

import importlib.util
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from qtkit import lab
from qtkit.core.model import PolicyError
from qtkit.lab.cluster import CHUNKS
from qtkit.lab.progress import Progress
from qtkit.lab.result import Result
from tests.lab.rig import case, some_entries, some_grid, walk
from tests.lab.test_equality import same, same_sums

pytest.importorskip("distributed", reason="the extra scale is not installed")


HOME: dict[str, Any] = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
"""On this machine alone. A scheduler serves http whether it has a page to look at or not, so that gets a free port of loopback too."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two processes on this machine, and no page to look at them."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, processes=True, threads_per_worker=1, **HOME) as made:
        yield made


def swept(seed: int, **asked: Any) -> Result:
    bars, entries, grid, costs, fill = case(seed)
    return lab.sweep(bars, entries, grid, costs=costs, fill=fill, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(0, 24, 3))
def test_a_cluster_changes_nothing(cluster: Any, seed: int) -> None:
    """Holes, mark price, funding, own stops and exits come up within these seeds; each entry or two is a chunk."""
    same(swept(seed, cluster=cluster), swept(seed))
    there, here = swept(seed, cluster=cluster, keep="statistics"), swept(seed, keep="statistics")
    same_sums(there.sums, here.sums)
    assert there.table().equals(here.table()), "the other order inside the bars is swept there too"


def test_dense_entries_are_summed_alike(cluster: Any) -> None:
    """Trails from tables and sums at corners, each worker with its own part."""
    bars = walk(5, 1_500, rough=3, price=9_000)
    grid = lab.grid(stop_bps=range(50, 351, 60), trail_bps=range(12, 120, 25), activation_bps=40, max_bars=90)
    for asked in ({"keep": "statistics"}, {"keep": "outcomes"}):
        here: Any = lab.sweep(bars, "every bar", grid, costs=None, **asked)  # type: ignore[arg-type]
        there: Any = lab.sweep(bars, "every bar", grid, costs=None, cluster=cluster, **asked)  # type: ignore[arg-type]
        same_sums(here.sums, there.sums)
    same(here, there)


def test_one_position_at_a_time_is_one_workers_work(cluster: Any) -> None:
    bars, grid = walk(3, 600), some_grid(4)
    entries = some_entries(bars, 3, 80)
    same(lab.sweep(bars, entries, grid, one_at_a_time=True, cluster=cluster), lab.sweep(bars, entries, grid, one_at_a_time=True))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_few_entries(cluster: Any, number: int) -> None:
    """Fewer entries than chunks, each with its own stop: a chunk of one would count R otherwise."""
    bars, entries, grid, costs, _ = case(2)
    few = entries.take(slice(0, number))
    same_sums(lab.sweep(bars, few, grid, costs=costs, cluster=cluster, keep="statistics").sums,
              lab.sweep(bars, few, grid, costs=costs, keep="statistics").sums)  # fmt: skip


def test_a_client_stays_open_and_bars_are_sent_once(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client

    sent: list[object] = []
    scatter = Client.scatter

    def counted(self: Any, data: Any, **how: Any) -> Any:
        sent.append(data)
        return scatter(self, data, **how)

    monkeypatch.setattr(Client, "scatter", counted)
    with Client(cluster, set_as_default=False) as client:
        same(swept(5, cluster=client), swept(5))
        assert client.status == "running"
    assert [isinstance(data, lab.Bars) for data in sent] == [True, False]
    parts: Any = sent[1]
    assert 2 < len(parts) <= 2 * CHUNKS and all(len(part.bars) == 0 for part in parts)


def test_what_is_done_is_told(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(Progress, "add", lambda self, entries: told.append(entries))
    result = swept(5, cluster=cluster)
    assert sum(told) == len(result.entries) and len(told) > 2


def test_a_cluster_without_workers(cluster: Any) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, processes=True, **HOME) as empty:
        with pytest.raises(PolicyError, match=r"the cluster .* has no workers; start one with `dask worker`"):
            swept(5, cluster=empty)


def test_by_address(cluster: Any) -> None:
    same(swept(7, cluster=cluster.scheduler_address), swept(7))


def test_what_is_refused_is_refused_at_home(cluster: Any) -> None:
    with pytest.raises(PolicyError, match=r"p0: its stop is 0\.1 % away"):
        lab.sweep(walk(1), "every bar", lab.grid(stop_bps=10), cluster=cluster)


def test_an_address_without_a_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "300ms"}):
        with pytest.raises(PolicyError, match=r"no cluster answers at 'tcp://127.0.0.1:9'.*dask scheduler"):
            swept(1, cluster="tcp://127.0.0.1:9")
        with pytest.raises(PolicyError, match="no cluster answers at 'nonsense://x'"):
            swept(1, cluster="nonsense://x")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "distributed" else known(name, *rest))
    with pytest.raises(PolicyError, match=r'cluster= needs Dask distributed; install it with: pip install "qtkit\[scale\]"'):
        swept(1, cluster="tcp://127.0.0.1:9")


def test_a_sweep_at_home_does_not_load_it() -> None:
    import subprocess

    code = "import sys; from qtkit import lab; print('distributed' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
