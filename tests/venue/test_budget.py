"""The request budget on a hand-moved clock."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtkit.core.model import PolicyError
from qtkit.venue.budget import Budget, asked
from qtkit.venue.gateway import Unavailable


class Clock:
    """Seconds that pass by sleeping only."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def budget(percent: int = 25, patience_s: float = 1e9) -> tuple[Budget, Clock]:
    clock = Clock()
    return Budget(percent, patience_s=patience_s, clock=clock, sleep=clock.sleep), clock


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


@given(
    calls=st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.integers(0, 2), st.floats(0, 30)), max_size=80),
    percent=st.integers(10, 100),
)
def test_no_window_is_ever_exceeded(calls: list[tuple[int, bool, int, float]], percent: int) -> None:
    b, clock = budget(percent)
    log: list[tuple[float, int, int]] = []

    async def work() -> None:
        for weight, protective, orders, pause in calls:
            await b.take(weight, protective=protective, orders=orders)
            log.append((clock.now, weight, orders))
            clock.now += pause

    run(work())
    for end, _, _ in log:
        recent = [(at, w, o) for at, w, o in log if end - 60 < at <= end]
        assert sum(w for _, w, _ in recent) <= 2400 * percent // 100
        assert sum(o for at, _, o in recent if at > end - 10) <= 300 * percent // 100
        assert sum(o for _, _, o in recent) <= 1200 * percent // 100


def test_protection_never_waits_while_its_reserve_is_there() -> None:
    b, clock = budget()

    async def work() -> None:
        for _ in range(10):
            await b.take(42, protective=False)
        start = clock.now
        for _ in range(6):
            await b.take(30, protective=True)
        assert clock.now == start
        assert b.used_last_minute == b.limit == 600
        await b.take(1, protective=False)
        assert clock.now > start + 50

    run(work())


def test_others_wait_for_the_window_and_not_longer() -> None:
    b, clock = budget()

    async def work() -> None:
        await b.take(400, protective=False)
        clock.now += 10
        await b.take(40, protective=False)  # 20 fit beside the first, 40 only after it left the window
        assert clock.now == 1061

    run(work())


def test_a_wait_beyond_patience_is_unavailable() -> None:
    b, clock = budget(patience_s=5)

    async def work() -> None:
        await b.take(420, protective=False)
        with pytest.raises(Unavailable, match=r"420 of 600 weight.*fits in 61\.0 s"):
            await b.take(1, protective=False)
        assert clock.now == 1000
        await b.take(1, protective=True)

    run(work())


def test_the_exchanges_own_count_rules() -> None:
    b, clock = budget(patience_s=5)

    async def work() -> None:
        b.seen(2_200)  # other bots on the address
        with pytest.raises(Unavailable, match="2200 of 2400 by the whole address"):
            await b.take(5, protective=False)
        await b.take(5, protective=True)
        b.seen(2_399)
        with pytest.raises(Unavailable):
            await b.take(5, protective=True)
        clock.now += 60
        assert b.used_by_address == 0
        await b.take(5, protective=False)

    run(work())


def test_a_ban_silences_everything_at_once() -> None:
    b, clock = budget()

    async def work() -> None:
        b.ban(120)
        b.ban(5)  # a shorter one does not end it
        assert b.banned_for == 120
        for protective in (True, False):
            with pytest.raises(Unavailable, match="another 120 s"):
                await b.take(0, protective=protective)
        clock.now += 120
        await b.take(1, protective=False)

    run(work())


def test_an_order_rate_ban_leaves_readings_alone() -> None:
    b, _ = budget()

    async def work() -> None:
        b.ban(10, orders_only=True)
        await b.take(1, protective=False)
        with pytest.raises(Unavailable):
            await b.take(0, protective=True, orders=1)

    run(work())


@pytest.mark.parametrize("percent", [0, 101, -3])
def test_shares_are_percentages(percent: int) -> None:
    with pytest.raises(PolicyError, match="percentage"):
        Budget(percent)


# -- several processes of one address


@pytest.mark.parametrize(
    ("looks", "protective", "used", "goes"),
    [
        (False, False, 2_150, True), (False, False, 2_160, False),  # the last tenth is for what protects
        (False, True, 2_160, True), (False, True, 2_299, True), (False, True, 2_300, False),
        (True, True, 2_150, True), (True, True, 2_160, False),  # one that only looks protects nothing: it leaves it, too
    ],
)  # fmt: skip
def test_what_all_processes_of_the_address_used_counts(looks: bool, protective: bool, used: int, goes: bool) -> None:
    """Nothing of it is ours: the exchange's own count is obeyed, whoever made it, and forgotten after a minute."""
    clock = Clock()
    b = Budget(100, patience_s=1.0, clock=clock, sleep=clock.sleep, looks=looks)
    b.seen(used)
    if goes:
        run(b.take(5, protective=protective))
        return
    with pytest.raises(Unavailable, match=rf"{used} of 2400 by the whole address"):
        run(b.take(5, protective=protective))
    run(b.take(0, protective=protective, orders=1))  # an order weighs nothing, and is never held back by this
    clock.now += 60
    run(b.take(5, protective=protective))


CALL = st.tuples(st.integers(0, 4), st.integers(1, 40), st.booleans(), st.floats(0, 3))


@settings(max_examples=30)
@given(calls=st.lists(CALL, min_size=200, max_size=300))
def test_however_many_processes_the_exchange_is_never_asked_beyond_its_limit(calls: list[tuple[int, int, bool, float]]) -> None:
    """Five desks of one address, each with the whole limit as its share; the exchange counts by the minute and tells it in its answers."""
    clock = Clock()
    desks = [Budget(100, patience_s=120.0, clock=clock, sleep=clock.sleep) for _ in range(5)]
    counted: dict[int, int] = {}

    async def work() -> None:
        for number, weight, protective, pause in calls:
            for desk in desks:  # each asks for its prices meanwhile: it has heard how much was used
                desk.seen(counted.get(int(clock.now // 60), 0))
            await desks[number].take(weight, protective=protective)
            minute = int(clock.now // 60)
            counted[minute] = counted.get(minute, 0) + weight
            clock.now += pause

    run(work())
    assert max(counted.values()) <= 2_400


def test_who_asks_takes_no_more_than_is_reserved_and_is_refused_at_once() -> None:
    b, clock = budget()

    async def look() -> None:
        with asked():
            await b.take(50, protective=True)
            await b.take(30, protective=True)  # what was let in is completed

    async def work() -> None:
        for _ in range(2):
            await look()
        before = clock.now
        with pytest.raises(Unavailable, match=r"160 of 600 weight.*is kept for protection; ask again in 61 s"):
            await look()
        await b.take(440, protective=True)
        assert clock.now == before and b.used_last_minute == b.limit, "protection has all the rest"

    run(work())


def test_who_asks_leaves_the_reserve() -> None:
    b, clock = budget()

    async def work() -> None:
        await b.take(400, protective=True)
        with pytest.raises(Unavailable, match="kept for protection"), asked():
            await b.take(30, protective=True)
        assert (b.used_last_minute, clock.now) == (400, 1000.0)

    run(work())
