"""The pump that feeds an exchange from a tape, at a chosen multiple of wall time.

Time is real (speed 1), accelerated, or stepped by hand while it is paused. Speed 1 is for what happens between processes (adoption, kills,
restarts), where a second must be a second; stretches in which only prices matter run faster. What was measured at which speed is kept in
``stretches``, so that a ledger can give every duration on both clocks.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from qtkit.core.model import E8, PolicyError, Ticks
from qtkit.paper.tape import Tick

BATCH_S = 0.005  # the loop serves desks and sockets too: never keep it longer at a time
SLIP_S = 1.0  # further behind than this (host asleep, speed beyond the machine) the clock gives way instead of bursting


class PricedExchange(Protocol):
    """What a source of prices needs of an exchange."""

    def tick(self, symbol: str, last: Ticks, mark: E8, at_ms: int, traded: E8 | None = None) -> object:
        """Take a new price: last in ticks, mark in E8, at exchange time ``at_ms``, and what was ``traded`` at it (see ``Tick``)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A stretch of time at one speed: where it began on the exchange's clock, and how long it was on both clocks (ms).

    ``speed`` is the one asked for, 0 while paused or stepped by hand; what was reached is ``exchange_ms / wall_ms``.
    """

    from_ms: int
    speed: float
    wall_ms: int
    exchange_ms: int


class Pump:
    """Feeds ``exchange.tick`` from a tape. ``async with pump:`` runs it; leaving stops it.

    Exchange time is monotone: a tape that goes back in time raises ``PolicyError`` out of the pump's task, hence out of ``run_until``,
    ``finish`` and the ``async with``. Time stands still while paused and is frozen when the tape ends. ``on_quote`` is called with each
    tick that knows bid and ask, before its price goes to the exchange. ``fed`` counts the ticks that went out, ``newest`` is the
    last of them. Time begins at the first tick, or at ``start_ms`` where a tape goes on: it may be between two ticks, or after the last.
    """

    def __init__(
        self,
        exchange: PricedExchange,
        tape: Iterable[Tick],
        speed: float = 1.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_quote: Callable[[Tick], None] | None = None,
        start_ms: int | None = None,
    ) -> None:
        self._exchange = exchange
        self._on_quote = on_quote
        self.fed = 0
        self.newest: Tick | None = None
        self._ticks: Iterator[Tick] = iter(tape)
        self._next = next(self._ticks, None)
        if self._next is None and start_ms is None:
            raise PolicyError("the tape is empty: nothing to feed")
        self._clock = clock
        self._speed = _positive(speed)
        self._paused = False
        self._over = False
        self._limit: int | None = None
        times = [at for at in (start_ms, self._next.at_ms if self._next is not None else None) if at is not None]
        self._fed_ms = min(times)
        self._anchor = (clock(), float(self._fed_ms))
        self._stretch = (clock(), float(self._fed_ms), self._speed)
        self._stretches: list[Stretch] = []
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Pump":
        if self._task is not None:
            raise PolicyError("this pump is running already; one tape feeds one exchange once")
        self._anchor = (self._clock(), self._anchor[1])
        self._stretch = (self._clock(), self._anchor[1], 0.0 if self._paused else self._speed)
        self._task = asyncio.create_task(self._run(), name="paper-pump")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._close_stretch()
        self._anchor = (self._clock(), float(self.now_ms))
        self._paused = self._over = True
        if not self._task.done():
            self._task.cancel()
        try:
            await self._task
        except asyncio.CancelledError:
            if not self._task.cancelled():
                raise

    @property
    def now_ms(self) -> int:
        """Exchange time now: between two ticks it goes on, never backwards, never past a tick that is still to come."""
        if self._next is None:
            return self._fed_ms
        return max(self._fed_ms, min(int(self._target_ms()), self._next.at_ms))

    @property
    def finished(self) -> bool:
        """True when the tape has been fed to its end."""
        return self._next is None

    @property
    def speed(self) -> float:
        """Exchange seconds in a wall second; may be set at any time and holds from that moment on."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        _positive(speed)
        self._turn(speed, self._paused)

    def pause(self) -> None:
        """Hold exchange time where it is; no price goes out until ``resume``."""
        self._turn(self._speed, True)

    def resume(self) -> None:
        """Let exchange time go on from where it was held."""
        self._turn(self._speed, False)

    @property
    def paused(self) -> bool:
        """True while time is held."""
        return self._paused

    async def step(self, *, ticks: int | None = None, ms: int | None = None) -> int:
        """Feed the next ``ticks``, or ``ms`` of exchange time, at once, while time is held; answers how many ticks went out.

        Raises ``PolicyError`` while time runs, and unless exactly one of the two is given and positive.
        """
        if not self._paused:
            raise PolicyError("time runs; pause it, then step")
        if (ticks is None) is (ms is None) or (ticks or 0) + (ms or 0) <= 0:
            raise PolicyError("a step is a number of ticks, or of milliseconds, above zero")
        before, goal = self.fed, None if ms is None else self.now_ms + ms
        until = self._clock() + BATCH_S
        while (tick := self._next) is not None and self._paused and not self._over:
            if tick.at_ms > goal if goal is not None else self.fed - before >= (ticks or 0):
                break
            self._feed(tick)
            if self._clock() > until:
                await asyncio.sleep(0)
                until = self._clock() + BATCH_S
        here = self._fed_ms if goal is None or self._next is None else max(goal, self._fed_ms)
        self._anchor = (self._clock(), float(max(here, self._anchor[1])))
        return self.fed - before

    async def run_until(self, exchange_ms: int) -> None:
        """Feed every tick up to and including ``exchange_ms`` at the present speed, then pause there.

        Raises ``PolicyError`` when that moment has passed or the pump is not running; returns early when the tape ends before it.
        """
        if exchange_ms < self._fed_ms:
            raise PolicyError(f"exchange time is {self._fed_ms} ms already; {exchange_ms} ms has passed and time does not go back")
        self._limit = exchange_ms
        self._settled.clear()
        self.resume()
        await self._wait_settled()

    async def finish(self) -> None:
        """Feed the rest of the tape at the present speed."""
        self._limit = None
        self._settled.clear()
        self.resume()
        await self._wait_settled()

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """What was run at which speed, oldest first, the running stretch last."""
        if self._over:
            return tuple(self._stretches)
        running = self._open_stretch()
        return (*self._stretches, running) if running.wall_ms or running.exchange_ms else tuple(self._stretches)

    async def _wait_settled(self) -> None:
        if self._task is None:
            raise PolicyError("the pump is not running; enter it first: async with pump: ...")
        waiter = asyncio.create_task(self._settled.wait())
        await asyncio.wait((waiter, self._task), return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if self._task.done():
            self._task.result()

    def _target_ms(self) -> float:
        wall, exchange = self._anchor
        if self._paused or self._task is None:
            return exchange
        reached = exchange + (self._clock() - wall) * self._speed * 1000
        return reached if self._limit is None else min(reached, self._limit)

    def _turn(self, speed: float, paused: bool) -> None:
        if (speed, paused) == (self._speed, self._paused):
            return
        here = float(self.now_ms)
        self._close_stretch()
        self._anchor = (self._clock(), here)
        self._speed, self._paused = speed, paused
        self._stretch = (self._clock(), here, 0.0 if paused else speed)
        self._changed.set()

    def _open_stretch(self) -> Stretch:
        wall, exchange, speed = self._stretch
        elapsed = round((self._clock() - wall) * 1000) if self._task is not None else 0
        return Stretch(from_ms=int(exchange), speed=speed, wall_ms=elapsed, exchange_ms=self.now_ms - int(exchange))

    def _close_stretch(self) -> None:
        stretch = self._open_stretch()
        if stretch.wall_ms or stretch.exchange_ms:
            self._stretches.append(stretch)
        self._stretch = (self._clock(), float(self.now_ms), self._stretch[2])

    async def _run(self) -> None:
        while (tick := self._next) is not None:
            self._changed.clear()
            goal = tick.at_ms if self._limit is None else min(tick.at_ms, self._limit)
            behind_s = (self._target_ms() - goal) / 1000 / self._speed
            if self._paused:
                await self._changed.wait()
            elif behind_s < 0:
                await self._sleep(-behind_s)
            elif goal < tick.at_ms:
                self._hold_at_limit()
            else:
                if behind_s > SLIP_S:
                    self._anchor = (self._clock(), float(tick.at_ms))
                self._feed_batch()
                await asyncio.sleep(0)
        self._turn(self._speed, True)
        self._settled.set()

    def _hold_at_limit(self) -> None:
        self.pause()
        self._limit = None
        self._settled.set()

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return

    def _feed_batch(self) -> None:
        target = self._target_ms()
        until = self._clock() + BATCH_S
        while (tick := self._next) is not None and tick.at_ms <= target and self._clock() <= until:
            self._feed(tick)

    def _feed(self, tick: Tick) -> None:
        if tick.at_ms < self._fed_ms:
            raise PolicyError(f"the tape goes back in time at {tick.symbol}: {tick.at_ms} ms after {self._fed_ms} ms")
        self._fed_ms = tick.at_ms
        self._next = next(self._ticks, None)
        self.fed += 1
        self.newest = tick
        if tick.ask and self._on_quote is not None:
            self._on_quote(tick)
        self._exchange.tick(tick.symbol, tick.last, tick.mark, tick.at_ms, tick.traded)


def _positive(speed: float) -> float:
    if not 0 < speed < float("inf"):
        raise PolicyError(f"speed must be a positive number of exchange seconds in a wall second, got {speed}; to hold time, pause()")
    return speed
