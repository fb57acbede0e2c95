"""Prices of a real market, handed in: whoever can read them (see ``PriceSource``) feeds the paper exchange, in real time.

The exchange trades them with its own accounts and its own rules; nothing goes back to where they come from. A price counts when both last
and mark of its symbol are known: neither stands in for the other. Times are the source's and never run back.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from typing import Protocol

from qtkit.core.model import E8, PolicyError, Ticks
from qtkit.paper.clock import PricedExchange
from qtkit.venue.gateway import Quote


class PriceSource(Protocol):
    """Where live prices come from. It connects anew by itself; an error that it raises ends the prices, and its text is kept."""

    def prices(self) -> AsyncIterator[Quote]:
        """Quotes as they come, endless; last (ticks) or mark (E8) may be missing in each."""
        ...


class LivePump:
    """Feeds ``exchange.tick`` from a source. ``async with pump:`` runs it; leaving stops it.

    ``fed`` counts the prices that went out, ``passed_over`` quotes of symbols that are not in ``symbols``. ``fault`` says why no more come,
    None while they do; ``silent_s`` how long none came (wall).
    """

    def __init__(
        self, exchange: PricedExchange, source: PriceSource, symbols: Collection[str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not symbols:
            raise PolicyError("live prices need the symbols that they are for")
        self._exchange, self._source, self._clock = exchange, source, clock
        self._symbols = frozenset(symbols)
        self._lasts: dict[str, Ticks] = {}
        self._marks: dict[str, E8] = {}
        self._task: asyncio.Task[None] | None = None
        self._heard = clock()
        self.known: set[str] = set()
        self.now_ms = 0
        self.fed = self.passed_over = 0
        self.fault: str | None = None

    async def __aenter__(self) -> "LivePump":
        self._heard = self._clock()
        self._task = asyncio.create_task(self._run(), name="paper-live-prices")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait((self._task,))

    @property
    def finished(self) -> bool:
        """True when the source has ended."""
        return self.fault is not None

    @property
    def silent_s(self) -> float:
        """Wall seconds since the last price."""
        return self._clock() - self._heard

    async def wait(self, within_s: float = 20.0) -> None:
        """Until every symbol has a price. Raises ``PolicyError`` naming those that have none."""
        end = self._clock() + within_s
        while self._symbols - self.known:
            if self.fault is not None or self._clock() > end:
                missing = ", ".join(sorted(self._symbols - self.known))
                why = f": {self.fault}" if self.fault else "; is there a way to the network?"
                raise PolicyError(f"no live price of {missing} came within {within_s:g} s{why}")
            await asyncio.sleep(0.02)

    async def _run(self) -> None:
        try:
            async for quote in self._source.prices():
                self._take(quote)
            self.fault = "the source of live prices has ended"
        except Exception as error:  # noqa: BLE001 - whatever a source raises is told, and the exchange goes on without prices
            self.fault = f"the source of live prices failed ({type(error).__name__}: {error})"

    def _take(self, quote: Quote) -> None:
        symbol = quote.symbol
        if symbol not in self._symbols:
            self.passed_over += 1
            return
        if quote.last is not None and quote.last > 0:
            self._lasts[symbol] = quote.last
        if quote.mark is not None and quote.mark > 0:
            self._marks[symbol] = quote.mark
        last, mark = self._lasts.get(symbol), self._marks.get(symbol)
        if last is None or mark is None:
            return
        self.now_ms = max(self.now_ms, quote.time_ms)
        self.fed += 1
        self._heard = self._clock()
        self.known.add(symbol)
        # A quote with a last price is a trade of a size that is not told; one without moves the mark only.
        self._exchange.tick(symbol, last, mark, self.now_ms, None if quote.last is not None else E8(0))
