"""Public history of one exchange, page by page, with patience: over lost connections, throttling and bans, within its limits."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl

from qtkit.bars import COLUMNS, PRICES, TIME, check_bars
from qtkit.lab.months import FUNDING, Span

PAGE_ROWS: Mapping[str, int] = {
    "binanceusdm": 1_000,  # weight 5; 1,500 would weigh 10
    "bybit": 1_000,
    "okx": 100,
    "bitget": 200,
    "hyperliquid": 5_000,
    "krakenfutures": 2_000,
}
"""Bars a request by ccxt's id of the exchange: never more than it sends of its oldest history."""
FUNDING_ROWS = 1_000
USED = "x-mbx-used-weight-1m"
_AGAIN = frozenset({-1000, -1001, -1003, -1006, -1007, -1008, -1015, -1016, -1021})  # Binance's codes that are no verdict on the question
_CODE, _UNTIL = re.compile(r'"code"\s*:\s*(-?\d+)'), re.compile(r"banned until (\d{13})")


class DownloadError(ConnectionError):
    """The exchange did not give what was asked: why, and what to do. What was loaded before is on disk."""


@dataclass(slots=True)
class Answer:
    """How the exchange answered last: HTTP status (None: not at all), headers with small names, text."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How patiently is asked. Seconds throughout.

    tries    requests for one page before it is given up; between them ``backoff``, doubled each time, at most a minute
    longest  the longest ban that is waited for
    weight   Binance counts requests for the whole address: at this used weight of a minute (the limit is 2,400) the rest of the minute is
             left to the desks and bots that share it
    """

    tries: int = 6
    backoff: float = 1.0
    longest: float = 900.0
    weight: int = 1_200
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time


@dataclass(slots=True)
class Asking:
    """A ccxt client that is asked until it answers.

    ``told`` hears why is waited; ``answer`` is filled by the client's response hook; ``advice`` is what to do where
    nothing answers; ``minute`` is that of the last request, for the used weight that its answer tells counts in no other.
    """

    client: Any
    answer: Answer
    pace: Pace
    told: Callable[[str], None]
    advice: str = "look at the network"
    minute: int = 0

    def __call__(self, method: str, *arguments: Any) -> Any:
        """What the client's method answers. Raises ``DownloadError`` for a refusal, or when patience ends."""
        for attempt in range(1, self.pace.tries + 1):
            self._leave_room()
            self.answer.status, self.answer.headers, self.answer.text = None, {}, ""
            self.minute = int(self.pace.now() // 60)
            try:
                return getattr(self.client, method)(*arguments)
            except Exception as fault:  # ccxt raises anything while it parses; what it means is told by the answer
                why = self._why(fault)
                if not self._passes(fault):
                    raise DownloadError(f"{self.client.id} refused {method}: {why}; what was loaded before is kept") from fault
                if attempt == self.pace.tries:
                    raise DownloadError(
                        f"{self.client.id} did not answer {method} in {attempt} tries ({why}); {self.advice}, and run the same "
                        "again: it goes on where this ended"
                    ) from fault
                self._wait(self._pause(attempt), why)
        raise AssertionError("a loop over tries ends with an answer or an error")

    def _why(self, fault: BaseException) -> str:
        if self.answer.status is None:
            return f"{type(fault).__name__}: {fault}"[:200]
        return f"HTTP {self.answer.status}: {' '.join(self.answer.text.split())[:160] or 'empty answer'}"

    def _passes(self, fault: BaseException) -> bool:
        """True if asking again may help. ccxt's classes tell only where there was no answer: by other hosts it degrades them."""
        status = self.answer.status
        if status is None:
            return any(kind.__name__ == "NetworkError" for kind in type(fault).__mro__)
        code = _CODE.search(self.answer.text)
        return status in (200, 403, 408, 418, 429) or status >= 500 or (code is not None and int(code[1]) in _AGAIN)

    def _pause(self, attempt: int) -> float:
        """Seconds until the next try: as the exchange says, else doubled from try to try."""
        status, headers = self.answer.status, self.answer.headers
        if status not in (418, 429):
            return min(self.pace.backoff * 2.0 ** (attempt - 1), 60.0)
        until, retry = _UNTIL.search(self.answer.text), headers.get("retry-after", "")
        if until:
            return max(1.0, int(until[1]) / 1000 - self.pace.now() + 1)
        if retry.isdigit():
            return float(retry)
        return 120.0 if status == 418 else self._to_next_minute()

    def _wait(self, seconds: float, why: str) -> None:
        if seconds > self.pace.longest:
            until = datetime.fromtimestamp(self.pace.now() + seconds, UTC)
            raise DownloadError(f"{self.client.id} bans this address until {until:%H:%M:%S} UTC ({why}); run the same command again then")
        self.told(f"waiting {seconds:.0f} s: {why}")
        self.pace.sleep(seconds)

    def _leave_room(self) -> None:
        used = self.answer.headers.get(USED, "")
        if used.isdigit() and int(used) >= self.pace.weight and self.minute == self.pace.now() // 60:
            self._wait(self._to_next_minute(), f"{used} of request weight used this minute, the rest is left to others on this address")

    def _to_next_minute(self) -> float:
        return 60.5 - self.pace.now() % 60


def bar_pages(ask: Asking, symbol: str, timeframe: str, span: Span, *, mark: bool) -> Iterator[tuple[int, pl.DataFrame]]:
    """Bars of a stretch: each time until when all is known (ms), and the bars up to there. ``symbol`` is ccxt's unified one."""
    step, page = int(ask.client.parse_timeframe(timeframe)) * 1000, PAGE_ROWS[ask.client.id]
    at, end = span
    while at < end:
        rows = ask("fetch_ohlcv", symbol, timeframe, at, page, {"price": "mark"} if mark else {})
        bars = _bars(rows, mark=mark)
        last = rows[-1][0] if rows else None
        # After a hole the page may begin far later; what lies before its last bar is then known to be missing.
        upto = min(end, last + step if last is not None and last >= at else at + page * step)
        when = pl.col("time").dt.epoch("ms")
        bars = bars.filter(when >= at, when < upto)
        yield upto, bars if bars.is_empty() else check_bars(bars, f"an answer of {ask.client.id} for {symbol}")
        at = upto


def _bars(rows: list[list[Any]], *, mark: bool) -> pl.DataFrame:
    columns = {name: [row[place] for row in rows] for place, name in enumerate(COLUMNS)}
    if mark:
        columns["volume"] = [0.0] * len(rows)
    frame = pl.DataFrame(columns, schema={"time": pl.Int64, **dict.fromkeys((*PRICES, "volume"), pl.Float64)})
    return frame.with_columns(pl.col("time").cast(TIME)).unique(subset="time", keep="last").sort("time")


def funding_pages(ask: Asking, symbol: str, name: str, span: Span) -> Iterator[tuple[int, pl.DataFrame]]:
    """Fundings of a stretch, as ``bar_pages``; ``name`` is what the symbol is called in the rows."""
    at, end = span
    while at < end:
        rows = ask("fetch_funding_rate_history", symbol, at, FUNDING_ROWS, {"until": end - 1})
        upto = end if len(rows) < FUNDING_ROWS else min(end, int(rows[-1]["timestamp"]) + 1)
        told = [(name, row["timestamp"], row["fundingRate"]) for row in rows if at <= row["timestamp"] < upto]
        frame = pl.DataFrame(told, schema={"symbol": pl.String, "time": pl.Int64, "rate": pl.Float64}, orient="row")
        yield upto, frame.with_columns(pl.col("time").cast(TIME)).select(*FUNDING)
        at = upto
