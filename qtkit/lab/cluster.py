"""A sweep on Dask distributed: chunks of entries, each by the same kernel, put together in their order. Equal to a local one."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TypeVar

from qtkit.core.model import PolicyError
from qtkit.lab.problem import Problem
from qtkit.lab.series import Bars

CHUNKS = 4  # a core: a slow machine holds up the others by no more than a chunk

T = TypeVar("T")


def spread(cluster: Any, problem: Problem, run: Callable[[Problem], T], *, whole: bool, done: Callable[[int], None]) -> list[T]:
    """``run`` on parts of the problem, by the workers of ``cluster`` (address, cluster or ``Client``); what they found, in order.

    The bars go to every worker once. ``whole`` leaves the entries in one part, for one worker. ``done`` is told how many entries are
    done. Raises ``PolicyError`` without the extra ``scale``, and for a cluster that does not answer or has no workers.
    """
    with _client(cluster) as client:
        cores = sum(client.ncores().values())
        if not cores:
            raise PolicyError(f"the cluster {client.scheduler.address} has no workers; start one with `dask worker`")
        edges = _edges(len(problem.entries), 1 if whole else CHUNKS * cores)
        parts = [_bare(problem, first, until) for first, until in pairwise(edges)]
        bars = client.scatter(problem.bars, broadcast=True, hash=False)
        futures = client.map(_work, client.scatter(parts, hash=False), bars=bars, run=run, pure=False)
        numbers = {future.key: number for number, future in enumerate(futures)}
        for future in _distributed().as_completed(futures, loop=client.loop):
            future.result()
            done(len(parts[numbers[future.key]].entries))
        return list(client.gather(futures))


def _edges(total: int, wanted: int) -> list[int]:
    """No part of one entry alone: what differs by entry is known by there being several rows of it."""
    count = max(1, min(wanted, total // 2))
    return [total * number // count for number in range(count + 1)]


def _bare(problem: Problem, first: int, until: int) -> Problem:
    part = problem.part(first, until)
    part.bars = problem.bars.slice(0, 0)
    return part


def _work(part: Problem, bars: Bars, run: Callable[[Problem], T]) -> T:
    part.bars = bars
    return run(part)


def _distributed() -> Any:
    if importlib.util.find_spec("distributed") is None:
        raise PolicyError('cluster= needs Dask distributed; install it with: pip install "qtkit[scale]"')
    import distributed

    return distributed


@contextmanager
def _client(cluster: Any) -> Iterator[Any]:
    """The client handed in, which stays open, or one of our own."""
    distributed = _distributed()
    if isinstance(cluster, distributed.Client):
        yield cluster
        return
    try:
        client = distributed.Client(cluster, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # TimeoutError is an OSError
        raise PolicyError(f"no cluster answers at {cluster!r} ({error}); start one with `dask scheduler`, or give a Client") from error
    with client:
        yield client
