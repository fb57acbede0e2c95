"""The share of an exchange's request limits that this desk allows itself, with a reserve for protection.

Limits of Binance USD-M: 2,400 weight a minute per address (shared with every other bot on it), 300 orders per 10 s
and 1,200 a minute per account. Counted over rolling windows, which is never laxer than the exchange's fixed ones.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from qtkit.core.model import PolicyError
from qtkit.venue.gateway import Unavailable

WEIGHT_A_MINUTE = 2_400
ORDERS_A_10S = 300
ORDERS_A_MINUTE = 1_200
RESERVE_PERCENT = 30  # of our share, for protective calls alone
MINUTE_S = 61.0  # what is sent a minute apart may arrive a little closer together
ADDRESS_ROOM_PERCENT = 90  # of the exchange's limit, all bots of the address together; only protective calls go beyond
PROTECTION_ROOM_PERCENT = 96  # to here: what other processes ask at the same moment is not in the last answer yet, and a ban stops stops


_asking: ContextVar[list[bool] | None] = ContextVar("qtkit_asking", default=None)


@contextmanager
def asked() -> Iterator[None]:
    """What is bought within was asked for by somebody, and need not be done now.

    Its first request leaves the reserve alone and is refused instead of waiting; what was let in is completed. All of it together never
    takes more of a minute than the reserve is.
    """
    token = _asking.set([])
    try:
        yield
    finally:
        _asking.reset(token)


class _Window:
    """What was used in the last ``seconds``, at most ``limit``; others leave ``reserve`` of it to protective calls."""

    __slots__ = ("_log", "_sum", "limit", "reserve", "seconds")

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit, self.seconds = limit, seconds
        self.reserve = limit * RESERVE_PERCENT // 100
        self._log: deque[tuple[float, int]] = deque()
        self._sum = 0

    def used(self, now: float) -> int:
        while self._log and self._log[0][0] <= now - self.seconds:
            self._sum -= self._log.popleft()[1]
        return self._sum

    def add(self, now: float, amount: int) -> None:
        if amount:
            self._log.append((now, amount))
            self._sum += amount

    def wait(self, now: float, amount: int, protective: bool) -> float:
        """Seconds until ``amount`` fits; 0 if it does now, infinite if it never can."""
        excess = self.used(now) + amount - (self.limit if protective else self.limit - self.reserve)
        if amount == 0 or excess <= 0:
            return 0.0
        for at, spent in self._log:
            excess -= spent
            if excess <= 0:
                return at + self.seconds - now
        return float("inf")


class Budget:
    """Request budget of one process on one address and account. Protective calls never queue behind others, and own a reserve.

    ``percent`` is its share of the limits; what every process of the address used, ours and others', is known by the exchange's own count.
    One that only ``looks`` leaves the last of that to those that protect. ``clock`` is monotonic seconds, ``sleep`` waits; both are
    injected in tests. A call that would wait longer than ``patience_s`` raises ``Unavailable`` instead: a pass has a deadline.
    """

    def __init__(
        self,
        percent: int = 25,
        *,
        patience_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        looks: bool = False,
    ) -> None:
        if not 1 <= percent <= 100:
            raise PolicyError(f"the share of the request budget is a percentage from 1 to 100, got {percent}")
        self._weight = _Window(WEIGHT_A_MINUTE * percent // 100, MINUTE_S)
        self._orders = (_Window(ORDERS_A_10S * percent // 100, 10.0), _Window(ORDERS_A_MINUTE * percent // 100, MINUTE_S))
        self._askings = _Window(self._weight.reserve, MINUTE_S)
        self._patience, self._clock, self._sleep, self._looks = patience_s, clock, sleep, looks
        self._banned_until = self._orders_banned_until = float("-inf")
        self._seen: tuple[float, int] = (float("-inf"), 0)

    def __repr__(self) -> str:
        return f"Budget({self.used_last_minute} of {self._weight.limit} weight used in the last minute, banned for {self.banned_for:.0f} s)"

    @property
    def limit(self) -> int:
        """Weight a minute that we allow ourselves."""
        return self._weight.limit

    @property
    def used_last_minute(self) -> int:
        """Weight that we used in the last minute."""
        return self._weight.used(self._clock())

    @property
    def used_by_address(self) -> int:
        """Weight that the exchange counted for the whole address, from its last answer; 0 after a minute without one."""
        at, used = self._seen
        return used if self._clock() - at < 60.0 else 0

    @property
    def banned_for(self) -> float:
        """Seconds that a ban still lasts, 0 when there is none."""
        return max(0.0, self._banned_until - self._clock())

    def seen(self, used: int) -> None:
        """The exchange's own count for our address (``X-MBX-USED-WEIGHT-1M``): the truth, other bots included."""
        self._seen = (self._clock(), used)

    def ban(self, seconds: float, *, orders_only: bool = False) -> None:
        """The exchange asked for silence; a shorter ban never replaces a longer one."""
        until = self._clock() + seconds
        if orders_only:
            self._orders_banned_until = max(self._orders_banned_until, until)
        else:
            self._banned_until = max(self._banned_until, until)

    async def take(self, weight: int, *, protective: bool, orders: int = 0) -> None:
        """Take ``weight`` and ``orders`` order counts, waiting if need be.

        Raises ``Unavailable`` at once during a ban (asking would prolong it) and when the wait would outlast patience.
        """
        asking = _asking.get()
        knocks = asking == []
        deadline = self._clock() + (0.0 if knocks else self._patience)
        while True:
            now = self._clock()
            self._refuse_if_banned(now, orders)
            wait = self._wait(now, weight, orders, protective and not knocks)
            if knocks:
                wait = max(wait, self._askings.wait(now, weight, protective=True))
            if wait <= 0.0:
                self._weight.add(now, weight)
                for window in self._orders:
                    window.add(now, orders)
                if asking is not None:
                    asking.append(True)
                    self._askings.add(now, weight)
                return
            if now + wait > deadline:
                raise Unavailable(self._short(wait, asked=knocks))
            await self._sleep(wait)

    def _short(self, wait: float, *, asked: bool) -> str:
        address = f"{self.used_by_address} of {WEIGHT_A_MINUTE} by the whole address"
        used = f"({self.used_last_minute} of {self.limit} weight in the last minute, {address})"
        if asked:
            return f"what is left of the request budget {used} is kept for protection; ask again in {wait:.0f} s"
        return f"the request budget is used up {used}: the next request fits in {wait:.1f} s; read less often or raise the share"

    def _wait(self, now: float, weight: int, orders: int, protective: bool) -> float:
        wait = max(self._weight.wait(now, weight, protective), *(window.wait(now, orders, protective) for window in self._orders))
        room = WEIGHT_A_MINUTE * (PROTECTION_ROOM_PERCENT if protective and not self._looks else ADDRESS_ROOM_PERCENT) // 100
        if weight and self.used_by_address + weight > room:
            return max(wait, self._seen[0] + 60.0 - now)
        return wait

    def _refuse_if_banned(self, now: float, orders: int) -> None:
        until = max(self._banned_until, self._orders_banned_until) if orders else self._banned_until
        if now < until:
            raise Unavailable(f"the exchange banned us for another {until - now:.0f} s; nothing is sent until then")
