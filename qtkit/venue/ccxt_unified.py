"""The ``Gateway`` to Bybit, OKX, Bitget, Hyperliquid and Kraken futures over ccxt's unified calls: it reads, it never writes.

The desk may look there (`check`, `preview`, scope watch) with the same contract as on Binance: complete, or ``Unavailable``. What would
change something is refused here in one sentence, and once more where requests leave: ccxt signs and sends on its own (Hyperliquid's
client approves a fee for somebody and sets a referrer as soon as it has a private key), and nothing of that may pass.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NoReturn

from qtkit.core.model import Bar, Instrument, Order, PolicyError, Position, PositionSide, TriggerBy
from qtkit.venue import unified_open, unified_rows
from qtkit.venue.capabilities import capabilities
from qtkit.venue.ccxt_unified_client import Reader, make_client
from qtkit.venue.ccxt_wire import INTERVALS, WireError, decimal_of, last_ticks, to_e8
from qtkit.venue.gateway import Ack, Balance, BarClosed, Event, KeyRights, Margin, Nudge, Quote, Refused, Unavailable
from qtkit.venue.unified_books import BOOKS
from qtkit.venue.unified_rows import Listed

POLL_S = 2.0  # how often prices are asked for while somebody listens


class NotProven(Refused):
    """Nothing was sent: this version does not write to this exchange, and the sentence says why."""

    def __init__(self, sentence: str) -> None:
        super().__init__(0, sentence)
        self.args = (sentence,)


class CcxtUnifiedGateway:
    """One account of an exchange besides Binance, to look at.

    ``base_url`` is for loopback; without it the exchange's own addresses are used, those of its demo with ``demo``. Keys live in private
    objects alone. ``poll_s`` is for tests.
    """

    __slots__ = (
        "_books", "_contracts", "_hedge", "_instruments", "_offset_ms", "_others", "_poll_s", "_reader", "_watched",
        "account", "venue",
    )  # fmt: skip

    def __init__(
        self, account: str, *, venue: str, api_key: str, secret: str, demo: bool = False, base_url: str | None = None,
        timeout_s: float = 10.0, poll_s: float = POLL_S,
    ) -> None:  # fmt: skip
        capabilities(venue)  # the nearest right name, if it is unknown
        if venue not in BOOKS:
            raise PolicyError(f"{venue} is not read through ccxt's unified calls")
        self.account, self.venue = account, venue
        self._books = BOOKS[venue]
        client = make_client(venue, base_url=base_url, demo=demo, key=api_key, secret=secret, timeout_s=timeout_s)
        self._reader = Reader(venue, client, tuple(part for part in (api_key, secret, *secret.split(":")) if len(part) > 3))
        self._contracts: Mapping[str, Listed] = MappingProxyType({})  # by ccxt's name
        self._others: frozenset[str] = frozenset()  # ccxt's names of contracts that are not linear
        self._instruments: Mapping[str, Instrument] = MappingProxyType({})
        self._hedge = False
        self._offset_ms = 0
        self._poll_s = poll_s
        self._watched: tuple[frozenset[str], TriggerBy] = (frozenset(), TriggerBy.MARK)

    def __repr__(self) -> str:
        return f"CcxtUnifiedGateway({self.account!r}, {self.venue}, read-only)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a gateway holds keys and sockets: it cannot be pickled or copied")

    # --- life ---

    async def start(self) -> None:
        """Measure the clock, load the contracts and, where an account has one mode, the position mode."""
        sent = self._reader.client.milliseconds()
        if (server := await self.time_ms()) is not None:
            self._offset_ms = server - (sent + self._reader.client.milliseconds()) // 2
            self._reader.client.options["timeDifference"] = -self._offset_ms  # ccxt's sign of it; it dates what is signed
        if self.venue == "bitget":
            await self._refuse_unified_account()
        await self.load()
        if self.venue == "okx":
            self._hedge = bool((await self._reader.read("fetch_position_mode"))[0]["hedged"])

    async def time_ms(self) -> int | None:
        """The exchange's time, asked without a key; None where it has no call for that (Kraken)."""
        if not self._reader.client.has.get("fetchTime"):
            return None
        server, _ = await self._reader.read("fetch_time")
        if not isinstance(server, int):
            raise Unavailable(f"{self.venue}: fetch_time was answered without a time")
        return server

    async def close(self) -> None:
        """Release the sockets. Resting orders stay."""
        self._reader.closed = True
        await self._reader.client.close()

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """Trading rules of the linear contracts by the exchange's name (``BTC`` on Hyperliquid), as last loaded."""
        return self._instruments

    @property
    def hedge(self) -> bool:
        """True if the account, or any position of it that was seen, is in hedge mode. Bybit sets it by symbol and tells it by positions."""
        return self._hedge

    async def _refuse_unified_account(self) -> None:
        """Bitget's unified accounts have other endpoints and other rows; ccxt takes any failure of this question for a classic account."""
        self._reader.client.options["uta"] = False
        with contextlib.suppress(Unavailable):  # a classic account is refused here; whether it can be read is shown by the first reading
            await self._reader.read("privateUtaGetV3AccountSettings")
            raise PolicyError("this is a unified account of Bitget, which this version cannot read: only classic accounts")

    async def load(self) -> None:
        """Read the contracts, which needs no key. Raises ``Unavailable`` if none came."""
        markets, _ = await self._reader.read("load_markets", True)
        found: dict[str, Listed] = {}
        others = set()
        for market in markets.values():
            if not market.get("contract") or market.get("option"):
                continue
            if not market.get("linear"):
                others.add(market["symbol"])
                continue
            with contextlib.suppress(WireError, KeyError):  # a contract without a grid is not traded here; held, it fails the reading
                found[market["symbol"]] = unified_rows.listed(self.venue, market)
        if not found:
            raise Unavailable(f"{self.venue}: load_markets was answered without a contract")
        self._contracts, self._others = MappingProxyType(found), frozenset(others)
        self._instruments = MappingProxyType({contract.name: contract.rules for contract in found.values()})

    # --- readings ---

    async def positions(self) -> tuple[Position, ...]:
        """All open positions in linear contracts. A held one of another kind makes it ``Unavailable``: its risk cannot be counted."""
        pages = await _together(
            self._reader.pages("fetch_positions", None, params, self._books.position_rows) for params in self._books.positions
        )
        rows = [row for page in pages for row in page]
        with self._reader.readable("positions"):
            held = [row for row in rows if not unified_rows.is_flat(self.venue, row)]
        contracts = [await self._contract(row) for row in held]
        marks = await self._marks([str(row["symbol"]) for row in held if not row.get("markPrice")])
        with self._reader.readable("positions"):
            found = tuple(
                unified_rows.position(self.venue, row, contract, marks.get(contract.unified))
                for row, contract in zip(held, contracts, strict=True)
            )
        if found and self.venue != "okx":
            self._hedge = any(position.position_side is not PositionSide.BOTH for position in found)
        return found

    async def orders(self, symbol: str | None = None) -> tuple[Order, ...]:
        """All open orders of every book and page, of a symbol or of the account; an order in two books counts as the later one saw it.

        Orders in contracts that are not linear are left out: a position there would have failed the reading of positions.
        """
        name = None if symbol is None else self._known(symbol).unified
        whole = name is None or not self._books.by_symbol
        places = self._books.everywhere if whole else ({},)
        found: dict[str, Order] = {}
        for params in ({**place, **kind} for kind in self._books.kinds for place in places):
            # One after the other: what triggers meanwhile is then seen in both books rather than in neither.
            for row in await self._reader.pages("fetch_open_orders", None if whole else name, params, self._books.order_rows):
                if row.get("symbol") in self._others or unified_open.is_spot(self.venue, row):
                    continue
                contract = await self._contract(row)
                with self._reader.readable("orders"):
                    for order in unified_open.orders(self.venue, row, contract):
                        found[f"{order.symbol} {order.venue_id} {order.client_id}"] = order
        return tuple(order for order in found.values() if symbol in (None, order.symbol) and not order.status.terminal)

    async def lookup(self, symbol: str, client_id: str, *, conditional: bool) -> Order | None:
        """An open order by its client id. What is not open cannot be told here: ``Unavailable``, for absence proves nothing."""
        found = next((order for order in await self.orders(symbol) if order.client_id == client_id), None)
        if found is None:
            raise Unavailable(f"{client_id} is not among the open orders of {symbol}; what became of it cannot be read on {self.venue}")
        return found

    async def balance(self) -> Balance:
        """Not read: the exchanges mean five things by it, and only an entry asks."""
        raise Unavailable(f"the equity of an account is not read on {self.venue}: it is for entries, and there are none")

    async def account_code(self) -> str:
        """Not asked: the desk only looks here, and two that look fight over nothing."""
        return ""

    async def rights(self) -> KeyRights:
        """What the key may do, where the exchange tells it (Bybit, OKX); Hyperliquid is read by an address, without a key."""
        if self.venue == "hyperliquid":
            return KeyRights(read=True, trade=False, withdraw=False, transfer=False)
        question = {"bybit": "privateGetV5UserQueryApi", "okx": "privateGetAccountConfig"}.get(self.venue)
        if question is None:
            return KeyRights()
        answer, _ = await self._reader.read(question)
        with self._reader.readable("rights of the key"):
            return unified_rows.key_rights(self.venue, answer)

    async def clock_off_ms(self) -> int:
        """Not asked: it is for what a desk takes on, and here it only looks."""
        return 0

    async def margin(self, symbol: str) -> Margin:
        """Margin mode and leverage of a held symbol, from its position; of others it is not read: ``Unavailable``."""
        held = next((position for position in await self.positions() if position.symbol == symbol), None)
        if held is None or held.leverage is None:
            raise Unavailable(f"margin mode and leverage of {symbol} are told by {self.venue} of a held position alone")
        return Margin(isolated=held.isolated, leverage=held.leverage)

    async def prices(self, symbol: str) -> Quote:
        """Mark and last price now."""
        contract = self._known(symbol)
        row, _ = await self._reader.read("fetch_ticker", contract.unified)
        mark = row if self.venue != "okx" else (await self._reader.read("fetch_mark_price", contract.unified))[0]
        with self._reader.readable(f"prices of {symbol}"):
            last = decimal_of(row, "last", default=Decimal(0))
            return Quote(
                symbol=symbol,
                mark=to_e8(_mark(mark)),
                last=last_ticks(last, contract.rules) if last > 0 else None,
                time_ms=int(row.get("timestamp") or self._now_ms()),
            )

    async def bars(self, symbol: str, *, limit: int, by: TriggerBy, minutes: int = 1, since_ms: int | None = None) -> tuple[Bar, ...]:
        """Bars of the last or mark price, oldest first: the newest ``limit``, or the first ``limit`` from ``since_ms`` on.

        A bar is closed if it had ended before it was asked for. Hyperliquid has none of the mark price: ``Unavailable``.
        """
        contract, width = self._known(symbol), minutes * 60_000
        page = self._books.candles[by is TriggerBy.MARK]
        if minutes not in INTERVALS or INTERVALS[minutes] not in self._reader.client.timeframes or limit < 1:
            raise PolicyError(f"{limit} bars of {minutes} minutes cannot be read on {self.venue}")
        if not page:
            raise Unavailable(f"{self.venue} has no bars of the mark price; set trail_series = 'last' to follow those of the last price")
        now_ms = self._now_ms()
        start = now_ms - now_ms % width - (limit - 1) * width if since_ms is None else since_ms - since_ms % width
        out: dict[int, Bar] = {}
        params = {"price": "mark"} if by is TriggerBy.MARK else {}
        while start <= now_ms and len(out) < limit:
            size = min(page, limit - len(out))
            rows, _ = await self._reader.read("fetch_ohlcv", contract.unified, INTERVALS[minutes], start, size, params)
            with self._reader.readable(f"bars of {symbol}"):
                out |= {bar.time_ms: bar for row in rows if (bar := _bar(row, contract.rules, width, now_ms)).time_ms >= start}
            start += size * width
        return tuple(bar for _, bar in sorted(out.items()))[:limit]

    # --- writes ---

    async def place(self, order: Order) -> Ack:
        """Refused: see ``NotProven``."""
        raise self._refusal()

    async def cancel(self, order: Order) -> None:
        """Refused: see ``NotProven``."""
        raise self._refusal()

    async def set_leverage(self, symbol: str, leverage: int) -> None:
        """Refused: see ``NotProven``."""
        raise self._refusal()

    def _refusal(self) -> NotProven:
        return NotProven(capabilities(self.venue).read_only or f"this version does not write to {self.venue}: use scope watch")

    # --- events ---

    def watch(self, symbols: frozenset[str], *, by: TriggerBy) -> None:
        """Choose the symbols of ``events``; their bars are of the price ``by``. Raises ``PolicyError`` for unknown ones."""
        for symbol in symbols:
            self._known(symbol)
        self._watched = symbols, by

    async def events(self) -> AsyncIterator[Event]:
        """Prices every ``poll_s`` and bars of a minute as they close, asked for, not streamed; after a failure ``Nudge(symbol=None)``."""
        told: dict[str, int] = {}
        failed = False
        while not self._reader.closed:
            symbols, by = self._watched
            for symbol in sorted(symbols):
                try:
                    heard = await self._hear(symbol, by, told)
                except Unavailable:  # asked again the next time; the pass itself says what could not be read
                    failed = True
                    continue
                if failed:
                    failed = False
                    yield Nudge(symbol=None)
                for event in heard:
                    yield event
            await asyncio.sleep(self._poll_s)

    async def _hear(self, symbol: str, by: TriggerBy, told: dict[str, int]) -> list[Event]:
        heard: list[Event] = [await self.prices(symbol)]
        minute = self._now_ms() // 60_000
        if self._books.candles[by is TriggerBy.MARK] and told.get(symbol) != minute:
            bars = await self.bars(symbol, limit=2, by=by)
            heard += [BarClosed(symbol=symbol, bar=bar) for bar in bars if bar.closed and told.get(symbol) is not None]
            told[symbol] = minute
        return heard

    # --- requests ---

    def _now_ms(self) -> int:
        return int(self._reader.client.milliseconds()) + self._offset_ms

    def _known(self, symbol: str) -> Listed:
        """The contract of a name of ours."""
        found = next((contract for contract in self._contracts.values() if contract.name == symbol), None)
        if found is None:
            raise PolicyError(f"{symbol} is no linear contract of {self.venue}")
        return found

    async def _contract(self, row: Mapping[str, Any]) -> Listed:
        """The contract that a row speaks of, loaded again once if it is not known (new listings)."""
        name = row.get("symbol")
        if name in self._others:
            raise Unavailable(f"{self.venue} holds {name}, a coin-margined contract: its risk cannot be counted by this version")
        if name not in self._contracts:
            await self.load()
        if name not in self._contracts:
            raise Unavailable(f"{self.venue} gives no readable trading rules for {name}")
        return self._contracts[str(name)]

    async def _marks(self, names: Sequence[str]) -> dict[str, Decimal]:
        """Mark prices of contracts whose positions come without one."""
        if not names:
            return {}
        tickers, _ = await self._reader.read("fetch_tickers", sorted(set(names)))
        with self._reader.readable("mark prices"):
            return {name: _mark(tickers[name]) for name in set(names)}


def _mark(row: Mapping[str, Any]) -> Decimal:
    """The mark price of a ticker; Hyperliquid's is in its own row alone."""
    return decimal_of(row, "markPrice") if row.get("markPrice") else decimal_of(row.get("info") or {}, "markPx")


def _bar(row: Sequence[Any], rules: Instrument, width: int, now_ms: int) -> Bar:
    time_ms = int(row[0])
    o, h, l, c = (last_ticks(decimal_of({"price": row[i]}, "price"), rules) for i in range(1, 5))  # noqa: E741
    return Bar(time_ms=time_ms, open=o, high=h, low=l, close=c, closed=time_ms + width <= now_ms)


async def _together(readings: Iterator[Awaitable[list[dict[str, Any]]]]) -> list[list[dict[str, Any]]]:
    """All results, or the first error once all have ended: no request is left running."""
    results = await asyncio.gather(*readings, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
