"""Public prices of Binance USD-M over ccxt.pro, without keys: for whoever wants live prices and no account.

Last prices are those of trades, marks those of the mark price stream, a second apart. Only public streams are opened.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any

from qtkit.core.model import Instrument, PolicyError
from qtkit.venue import ccxt_calls as calls
from qtkit.venue.ccxt_wire import last_ticks, to_e8
from qtkit.venue.gateway import Quote

PAUSE_S = 1.0
LIVE = "https://fapi.binance.com"
_log = logging.getLogger(__name__)


class CcxtPrices:
    """Quotes of some symbols, endless; a lost connection is dialled again.

    ``instruments`` are the trading rules of the symbols wanted. ``base_url`` is Binance's own, live or demo, or loopback. Raises
    ``PolicyError`` for another address.
    """

    def __init__(self, instruments: Mapping[str, Instrument], *, base_url: str = LIVE, pause_s: float = PAUSE_S) -> None:
        if not instruments:
            raise PolicyError("prices need the symbols that they are for")
        import ccxt.pro

        self._instruments, self._pause_s = instruments, pause_s
        options = {"fetchMarkets": {"types": ["linear"]}, "fetchCurrencies": False, "fetchMargins": False}
        self._client: Any = ccxt.pro.binanceusdm({"options": options})
        _, self._client.urls["api"] = calls.addresses(self._client.urls, base_url)
        self._lost: type[Exception] = ccxt.pro.NetworkError
        self._names = {f"{symbol.removesuffix('USDT')}/USDT:USDT": symbol for symbol in instruments}
        self._queue: asyncio.Queue[Quote | Exception] = asyncio.Queue()

    async def prices(self) -> AsyncIterator[Quote]:
        """Quotes as they come: a trade tells the last price, the mark price stream the mark. Raises what ccxt raises; dials again."""
        tasks = [asyncio.create_task(self._forever(watch)) for watch in (self._trades, self._marks)]
        try:
            while True:
                told = await self._queue.get()
                if isinstance(told, Exception):
                    raise told
                yield told
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.close()

    async def close(self) -> None:
        """Release the sockets."""
        with contextlib.suppress(asyncio.CancelledError):
            await self._client.close()

    async def _forever(self, watch: Callable[[], Awaitable[list[Quote]]]) -> None:
        told = False  # an outage is told once
        while True:
            try:
                for quote in await watch():
                    self._queue.put_nowait(quote)
                told = False
            except self._lost as lost:
                if not told:
                    _log.warning("live prices are lost and dialled again: %s", type(lost).__name__)
                told = True
                await asyncio.sleep(self._pause_s)
            except Exception as error:  # noqa: BLE001 - told to whoever reads the prices
                self._queue.put_nowait(error)
                return

    async def _trades(self) -> list[Quote]:
        told = []
        for trade in await self._client.watch_trades_for_symbols(list(self._names)):
            symbol, row = self._names[trade["symbol"]], trade["info"]
            price = last_ticks(Decimal(row["p"]), self._instruments[symbol])
            told.append(Quote(symbol=symbol, mark=None, last=price, time_ms=int(row["T"])))
        return told

    async def _marks(self) -> list[Quote]:
        rows = [ticker["info"] for ticker in (await self._client.watch_mark_prices(list(self._names))).values()]
        return [Quote(symbol=row["s"], mark=to_e8(Decimal(row["p"])), last=None, time_ms=int(row["E"])) for row in rows]
