"""The pump: order, speed, pausing, the two clocks. Wall time is real but short."""

import asyncio
import time
from collections.abc import Iterable
from itertools import pairwise

import pytest

from qtkit.core.model import E8, PolicyError, Ticks
from qtkit.paper.clock import Pump
from qtkit.paper.tape import Tick

START = 1_767_571_200_000


class Recorder:
    def __init__(self) -> None:
        self.fed: list[int] = []

    def tick(self, symbol: str, last: Ticks, mark: E8, at_ms: int, traded: E8 | None = None) -> None:
        self.fed.append(at_ms - START)


def tape(seconds: Iterable[int]) -> list[Tick]:
    return [Tick(START + 1000 * second, "BTCUSDT", Ticks(100), E8(101)) for second in seconds]


async def test_everything_is_fed_in_order_and_time_freezes_at_the_end() -> None:
    exchange = Recorder()
    async with Pump(exchange, tape(range(100)), speed=10_000) as pump:
        await pump.finish()
        assert pump.finished
        assert pump.now_ms == START + 99_000
        await asyncio.sleep(0.01)
        assert pump.now_ms == START + 99_000
        await pump.finish()
    assert exchange.fed == [1000 * second for second in range(100)]


async def test_exchange_time_follows_wall_time_times_speed() -> None:
    exchange = Recorder()
    async with Pump(exchange, tape(range(1000)), speed=100) as pump:
        began = time.monotonic()
        await pump.run_until(START + 10_000)
        wall = time.monotonic() - began
    assert exchange.fed == [1000 * second for second in range(11)]
    assert wall >= 0.099


async def test_run_until_stops_between_two_ticks_and_goes_on_later() -> None:
    exchange = Recorder()
    async with Pump(exchange, tape((0, 10, 20)), speed=1000) as pump:
        await pump.run_until(START + 5_000)
        assert (exchange.fed, pump.now_ms) == ([0], START + 5_000)
        await asyncio.sleep(0.03)
        assert (exchange.fed, pump.now_ms) == ([0], START + 5_000), "paused"
        await pump.run_until(START + 20_000)
        assert exchange.fed == [0, 10_000, 20_000]
        with pytest.raises(PolicyError, match="time does not go back"):
            await pump.run_until(START + 1_000)


async def test_speed_changes_while_it_runs_and_time_never_leaps() -> None:
    now = [50.0]
    exchange = Recorder()
    async with Pump(exchange, tape((0, 1_000_000)), speed=1, clock=lambda: now[0]) as pump:
        await asyncio.sleep(0)
        now[0] += 3
        assert pump.now_ms == START + 3_000
        pump.speed = 1000
        assert pump.now_ms == START + 3_000
        now[0] += 2
        assert pump.now_ms == START + 2_003_000
        pump.pause()
        now[0] += 5
        pump.speed = 10
        assert pump.now_ms == START + 2_003_000
        pump.resume()
        now[0] += 1
        assert pump.now_ms == START + 2_013_000
        assert pump.speed == 10
    assert [(s.from_ms - START, s.speed, s.wall_ms, s.exchange_ms) for s in pump.stretches] == [
        (0, 1, 3_000, 3_000),
        (3_000, 1000, 2_000, 2_000_000),
        (2_003_000, 0, 5_000, 0),
        (2_003_000, 10, 1_000, 10_000),
    ]
    now[0] += 100
    assert pump.now_ms == START + 2_013_000 and len(pump.stretches) == 4, "what is over stands still"
    for one, two in pairwise(pump.stretches):
        assert two.from_ms == one.from_ms + one.exchange_ms


async def test_time_waits_for_the_next_tick_it_has_not_fed() -> None:
    now = [50.0]
    exchange = Recorder()
    async with Pump(exchange, tape((0, 10, 20)), speed=1, clock=lambda: now[0]) as pump:
        await asyncio.sleep(0)
        now[0] += 15
        assert pump.now_ms == START + 10_000, "nobody may see a time whose price has not come"


async def test_the_loop_is_never_held_longer_than_a_batch() -> None:
    now = [50.0]

    class Slow(Recorder):
        def tick(self, symbol: str, last: Ticks, mark: E8, at_ms: int, traded: E8 | None = None) -> None:
            super().tick(symbol, last, mark, at_ms, traded)
            now[0] += 0.001

    exchange, turns = Slow(), [0]
    async with Pump(exchange, tape(range(500)), speed=1_000_000, clock=lambda: now[0]) as pump:
        while not pump.finished:
            await asyncio.sleep(0)
            turns.append(len(exchange.fed))
    assert len(exchange.fed) == 500
    assert max(two - one for one, two in pairwise(turns)) <= 7, "5 ms at 1 ms each"


async def test_a_stall_makes_time_slip_instead_of_bursting() -> None:
    now = [0.0]
    exchange = Recorder()
    async with Pump(exchange, tape(range(100)), speed=1, clock=lambda: now[0]) as pump:
        await asyncio.sleep(0)
        assert exchange.fed == [0]
        now[0] = 30.0
        pump.pause()
        pump.resume()
        for _ in range(5):
            await asyncio.sleep(0.001)
        assert len(exchange.fed) <= 3
        assert pump.now_ms <= START + 2_000


async def test_a_tape_that_goes_back_in_time_is_refused() -> None:
    exchange = Recorder()
    with pytest.raises(PolicyError, match=r"goes back in time at BTCUSDT"):
        async with Pump(exchange, tape((0, 5, 4)), speed=10_000) as pump:
            await pump.finish()


async def test_nonsense_is_refused() -> None:
    exchange = Recorder()
    with pytest.raises(PolicyError, match="the tape is empty"):
        Pump(exchange, [])
    for speed in (0, -1, float("nan"), float("inf")):
        with pytest.raises(PolicyError, match="speed must be a positive number"):
            Pump(exchange, tape((0,)), speed=speed)
    pump = Pump(exchange, tape((0, 1)), speed=1000)
    with pytest.raises(PolicyError, match="not running"):
        await pump.finish()
    async with pump:
        with pytest.raises(PolicyError, match="running already"):
            await pump.__aenter__()


async def test_time_is_stepped_by_hand_while_it_is_held() -> None:
    exchange = Recorder()
    async with Pump(exchange, tape((0, 1, 2, 10, 20)), speed=1) as pump:
        with pytest.raises(PolicyError, match="time runs; pause it, then step"):
            await pump.step(ticks=1)
        pump.pause()
        held = list(exchange.fed)
        assert await pump.step(ticks=2) == 2
        assert exchange.fed == [*held, *(1000 * second for second in (0, 1, 2)[len(held) : len(held) + 2])]
        at = pump.now_ms
        assert await pump.step(ms=500) == 0 and pump.now_ms == at + 500, "time goes on between two ticks"
        assert await pump.step(ms=11_000 + START - pump.now_ms) >= 1
        assert (exchange.fed[-1], pump.now_ms) == (10_000, START + 11_000)
        await asyncio.sleep(0.02)
        assert pump.now_ms == START + 11_000
        for wrong in ({}, {"ticks": 1, "ms": 1}, {"ticks": 0}, {"ms": -5}):
            with pytest.raises(PolicyError, match="a step is a number of ticks, or of milliseconds, above zero"):
                await pump.step(**wrong)
        assert await pump.step(ticks=99) == 1 and pump.finished and pump.now_ms == START + 20_000
        assert await pump.step(ms=5) == 0 and pump.now_ms == START + 20_000
        await pump.finish()
    assert pump.fed == 5 and sum(stretch.exchange_ms for stretch in pump.stretches) == 20_000


async def test_time_runs_on_from_where_it_was_stepped_to() -> None:
    now = [0.0]
    exchange = Recorder()
    async with Pump(exchange, tape((0, 10, 20)), speed=1, clock=lambda: now[0]) as pump:
        await asyncio.sleep(0)
        pump.pause()
        await pump.step(ms=5_000)
        pump.resume()
        now[0] += 2
        assert pump.now_ms == START + 7_000 and exchange.fed == [0]


async def test_a_quote_is_told_before_its_price() -> None:
    told: list[object] = []

    class Taker:
        def tick(self, symbol: str, last: Ticks, mark: E8, at_ms: int, traded: E8 | None = None) -> None:
            told.append(last)

    ticks = [Tick(START, "BTCUSDT", Ticks(100), E8(1)), Tick(START, "BTCUSDT", Ticks(101), E8(1), Ticks(99), Ticks(102))]
    async with Pump(Taker(), ticks, 1000, on_quote=lambda tick: told.append((tick.bid, tick.ask))) as pump:
        await pump.finish()
    assert told == [100, (99, 102), 101]


async def test_a_tape_goes_on_between_two_ticks_or_after_its_last() -> None:
    async with Pump(Recorder(), tape((10, 20)), 1, start_ms=START + 4_000) as pump:
        pump.pause()
        assert START + 4_000 <= pump.now_ms < START + 5_000
        assert await pump.step(ms=6_000) == 1 and pump.now_ms < START + 11_000
    async with Pump(Recorder(), [], 1, start_ms=START + 4_000) as pump:
        assert pump.finished and pump.now_ms == START + 4_000
