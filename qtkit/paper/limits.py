"""Request weights and order counters of Binance USD-M futures, and the ban that follows ignoring them.

Rules (developers.binance.com, general info, read 2026-10): 2,400 weight a minute for an address, 300 orders in 10 s and
1,200 in a minute for an account; windows are aligned to the clock. Over the limit is 429 with -1003 or -1015; carrying
on is 418 with "banned until". The server is loopback only, so all its clients share one address, as bots on one host do.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from qtkit.paper.params import whole
from qtkit.paper.rows import ExchangeError

MINUTE_MS = 60_000
TEN_SECONDS_MS = 10_000
ORDERS_PER_10S = 300
ORDERS_PER_MINUTE = 1_200
PATIENCE = 20
"""Refused requests of one minute after which 429 becomes 418 (Binance gives no number: "failing to back off")."""
FIRST_BAN_MS = 120_000
LONGEST_BAN_MS = 3 * 24 * 3_600_000
HISTORY_MINUTES = 3 * 24 * 60


def kline_weight(params: Mapping[str, str]) -> int:
    """Weight of klines by ``limit``: under 100 one, under 500 two, to 1,000 five, above ten."""
    limit = _limit(params, 500)
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1_000 else 10


def depth_weight(params: Mapping[str, str]) -> int:
    """Weight of depth by ``limit``: to 50 two, to 100 five, to 500 ten, above twenty."""
    limit = _limit(params, 500)
    return 2 if limit <= 50 else 5 if limit <= 100 else 10 if limit <= 500 else 20


def _limit(params: Mapping[str, str], default: int) -> int:
    return whole(params.get("limit")) or default


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """Weight of a call on the address, and what it counts in the account's two order counters."""

    one: int = 1
    """With a symbol."""
    every: int | None = None
    """Without a symbol; None when it makes no difference."""
    orders_10s: int = 0
    orders_1m: int = 0
    by: str = ""
    """``klines`` or ``depth``: the weight grows with ``limit``."""

    def of(self, params: Mapping[str, str]) -> int:
        """Weight of this very request."""
        if self.by == "klines":
            return kline_weight(params)
        if self.by == "depth":
            return depth_weight(params)
        return self.one if self.every is None or params.get("symbol") else self.every


@dataclass(slots=True)
class _Counter:
    """A count in the window that the clock is in."""

    width_ms: int
    window: int = -1
    count: int = 0

    def add(self, now_ms: int, amount: int) -> int:
        window = now_ms // self.width_ms
        if window != self.window:
            self.window, self.count = window, 0
        self.count += amount
        return self.count


class Limits:
    """Counters of one server. ``orders`` are the limits for 10 s and for a minute of each account."""

    def __init__(self, weight_limit: int = 2_400, orders: tuple[int, int] = (ORDERS_PER_10S, ORDERS_PER_MINUTE)) -> None:
        self.weight_limit = weight_limit
        self.orders = orders
        self.banned_until_ms = 0
        self._weight = _Counter(MINUTE_MS)
        self._refused = _Counter(MINUTE_MS)
        self._ban_ms = FIRST_BAN_MS
        self._accounts: dict[str, tuple[_Counter, _Counter]] = {}
        self._history: dict[int, int] = {}

    def charge(self, weight: int, now_ms: int) -> int:
        """Count a request and return the weight used this minute. Raises -1003 with 429, then with 418."""
        if now_ms < self.banned_until_ms:
            raise self._banned()
        used = self._weight.add(now_ms, weight)
        self._remember(now_ms // MINUTE_MS, used)
        if used > self.weight_limit:
            if self._refused.add(now_ms, 1) > PATIENCE:
                self.banned_until_ms = now_ms + self._ban_ms
                self._ban_ms = min(self._ban_ms * 2, LONGEST_BAN_MS)
                raise self._banned()
            raise ExchangeError(
                -1003,
                f"Too many requests; current limit of IP(127.0.0.1) is {self.weight_limit} requests per minute. "
                "Please use the websocket for live updates to avoid polling the API.",
                http_status=429,
            )
        return used

    @property
    def used(self) -> int:
        """Weight used in the window of the last request."""
        return self._weight.count

    def ban(self, until_ms: int) -> None:
        """Ban the address until this wall time, as a fault."""
        self.banned_until_ms = until_ms

    def count_orders(self, account: str, weight: Weight, now_ms: int) -> tuple[int, int]:
        """Count new orders of an account and return both counters. Raises -1015 with 429 when one is full."""
        pair = self._pair(account)
        counts = pair[0].add(now_ms, weight.orders_10s), pair[1].add(now_ms, weight.orders_1m)
        for count, limit, words in zip(counts, self.orders, ("10 SECOND", "1 MINUTE"), strict=True):
            if count > limit:
                raise ExchangeError(-1015, f"Too many new orders; current limit is {limit} orders per {words}.", http_status=429)
        return counts

    def order_counts(self, account: str, now_ms: int) -> tuple[int, int]:
        """Both order counters of an account now."""
        pair = self._pair(account)
        return pair[0].add(now_ms, 0), pair[1].add(now_ms, 0)

    def weight_used(self, minute: int) -> int:
        """Weight used in a minute, numbered as wall milliseconds // 60,000; 0 for a minute without requests."""
        return self._history.get(minute, 0)

    @property
    def history(self) -> Mapping[int, int]:
        """Weight by minute number, oldest first, of the last three days."""
        return self._history

    def _pair(self, account: str) -> tuple[_Counter, _Counter]:
        pair = self._accounts.get(account)
        if pair is None:
            pair = self._accounts[account] = (_Counter(TEN_SECONDS_MS), _Counter(MINUTE_MS))
        return pair

    def _remember(self, minute: int, used: int) -> None:
        self._history[minute] = used
        if len(self._history) > HISTORY_MINUTES:
            del self._history[next(iter(self._history))]

    def _banned(self) -> ExchangeError:
        return ExchangeError(
            -1003,
            f"Way too many requests; IP(127.0.0.1) banned until {self.banned_until_ms}. "
            "Please use the websocket for live updates to avoid bans.",
            http_status=418,
        )
