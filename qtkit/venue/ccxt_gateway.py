"""The ``Gateway`` to Binance USD-M over ccxt: requests out, readings in, errors by numeric code.

ccxt signs, sends and keeps the sockets; this file decides what is asked, and ``ccxt_wire`` what the answers mean.
Unified parsing is not used where it loses what matters (positions with entry price 0, close-position flags, exact
decimals): lists are read raw. Only this file of the desk imports ccxt, when a gateway is made. It is longer than most
because the protocol has eighteen methods; each is a few lines.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NoReturn
from urllib.parse import urlsplit

from qtkit.core.model import Bar, Instrument, Order, OrderStatus, PolicyError, Position, TriggerBy
from qtkit.venue import ccxt_calls as calls
from qtkit.venue import ccxt_wire as wire
from qtkit.venue.budget import Budget
from qtkit.venue.ccxt_errors import MODE, NOT_FOUND
from qtkit.venue.ccxt_requests import order_request, reduces
from qtkit.venue.ccxt_session import Session, record
from qtkit.venue.ccxt_socket import CcxtSocket
from qtkit.venue.ccxt_streams import KEEP_ALIVE_S, QUIET_S, Streams
from qtkit.venue.gateway import Ack, Balance, Event, KeyRights, Margin, Quote, Refused, Unavailable, Unknown

VENUE = "binanceusdm"
MAX_WATCHED = 300  # Binance: 1,024 streams a connection, three a symbol
_PAGE = 1_000


@functools.cache
def _client_class() -> Any:
    """ccxt.pro's client with three documented hooks used: raw websocket messages, every HTTP answer as it came, and its printing."""
    import ccxt.pro

    class Client(ccxt.pro.binanceusdm):  # type: ignore[misc]  # ccxt is not typed
        def handle_message(self, client: Any, message: Any) -> None:
            listener = self.listeners.get(client.url)
            if listener is not None:
                listener(message)

        def on_rest_response(self, code: int, reason: str, url: str, method: str, headers: Any, body: str, *rest: Any) -> str:
            record(code, headers, body)
            return body.strip()

        def log(self, *args: Any) -> None:
            """Nothing: what ccxt prints when it is verbose holds the key and signatures."""

    return Client


def _make_client(base_url: str, key: str, secret: str, timeout_s: float) -> tuple[Any, bool]:
    """The client of an address, and whether that is loopback."""
    timeout_ms = int(timeout_s * 1000)
    options = {
        "fetchMarkets": {"types": ["linear"]},
        "fetchCurrencies": False,
        "fetchMargins": False,
        "warnOnFetchOpenOrdersWithoutSymbol": False,
        "maxRetriesOnFailure": 0,
        # An order that arrives after we gave up waiting for it is refused by the exchange (-1021).
        "recvWindow": timeout_ms,
    }
    client = _client_class()({"apiKey": key, "secret": secret, "enableRateLimit": False, "timeout": timeout_ms, "options": options})
    loopback, client.urls["api"] = calls.addresses(client.urls, base_url)
    client.logger = logging.Logger("ccxt", logging.WARNING)  # its debug lines hold the key and signatures
    client.verify = base_url.startswith("https:")  # without TLS there is nothing to verify, and reading the authorities takes 0.1 s
    client.listeners = {}
    return client, loopback


class CcxtGateway:
    """One account of Binance USD-M (or of a paper exchange that speaks its protocol).

    ``base_url`` is loopback or Binance's own, live or demo. Without ``writes`` no request leaves that could change something; None
    allows them on loopback alone. ``timeout_s`` bounds each request and is the exchange's receive window too. ``keep_alive_s`` and
    ``quiet_s`` are for tests of the streams. Keys live in private objects alone: not in repr, errors, logs or pickles. Calls are bought
    from ``budget``; those that keep positions safe (reading positions, orders and the bars that trails follow, listen keys, exits,
    cancels, look-ups) may use its reserve; what is left are the questions around an entry.
    """

    __slots__ = (
        "_client", "_hedge", "_instruments", "_keep_alive_s", "_netloc", "_quiet_s", "_session", "_streams", "_watched", "account",
    )  # fmt: skip

    def __init__(
        self,
        account: str,
        *,
        base_url: str,
        api_key: str,
        secret: str,
        budget: Budget,
        writes: bool | None = None,
        timeout_s: float = 4.0,
        keep_alive_s: float = KEEP_ALIVE_S,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._netloc = urlsplit(base_url).netloc
        self.account = account
        self._client, loopback = _make_client(base_url, api_key, secret, timeout_s)
        writes = loopback if writes is None else writes
        self._session = Session(self._client, budget, (api_key, secret), name=repr(self), writes=writes)
        self._hedge: bool | None = None
        self._instruments: Mapping[str, Instrument] = MappingProxyType({})
        self._keep_alive_s, self._quiet_s = keep_alive_s, quiet_s
        self._streams: list[Streams] = []
        self._watched: tuple[frozenset[str], TriggerBy] = (frozenset(), TriggerBy.MARK)

    def __repr__(self) -> str:
        return f"CcxtGateway({self.account!r}, {VENUE} at {self._netloc})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a gateway holds keys and sockets: it cannot be pickled or copied")

    # --- life ---

    async def start(self) -> None:
        """Measure the clock, load the trading rules and the position mode. May be called again to re-read the rules."""
        await self._session.measure_clock()
        await self._load_rules()
        await self._read_mode()

    async def close(self) -> None:
        """End the streams and release the sockets. Resting orders stay."""
        if self._session.closed:
            return
        self._session.closed = True
        for streams in tuple(self._streams):
            await streams.stop()
        await self._client.close()

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """Trading rules by the exchange's symbol, as last loaded; symbols whose filters cannot be read are left out."""
        return self._instruments

    @property
    def hedge(self) -> bool:
        """True in hedge mode, as last seen; raises ``Unavailable`` before ``start``."""
        if self._hedge is None:
            raise Unavailable("the position mode is not known yet: await start() first")
        return self._hedge

    async def _load_rules(self) -> None:
        markets = await self._session.read(calls.MARKETS, True)
        rules: dict[str, Instrument] = {}
        for market in markets.values():
            with contextlib.suppress(wire.WireError):
                rules[market["id"]] = wire.instrument(market["info"])
        self._instruments = MappingProxyType(rules)

    async def _read_mode(self) -> None:
        answer = await self._session.read(calls.MODE_OF_ACCOUNT, {})
        mode = answer.get("dualSidePosition") if isinstance(answer, dict) else None
        if not isinstance(mode, bool):
            raise Unavailable("the answer about the position mode could not be read")
        self._hedge = mode

    async def _rules(self, symbol: str) -> Instrument:
        """Rules of a symbol, loaded again once if it is not known (new listings)."""
        if symbol not in self._instruments:
            await self._load_rules()
        if symbol not in self._instruments:
            raise Unavailable(f"the exchange gives no readable trading rules for {symbol}")
        return self._instruments[symbol]

    # --- readings ---

    async def positions(self) -> tuple[Position, ...]:
        """All open positions of the account, from raw v3 ``positionRisk``; also notices a change of the position mode."""
        rows = _rows(await self._session.read(calls.POSITIONS, {}, protective=True), "positions")
        mode = wire.hedge_of(rows)
        self._hedge = self._hedge if mode is None else mode
        with _readable("positions"):
            open_rows = [row for row in rows if not wire.is_flat(row)]
        found = [(row, await self._rules(str(row.get("symbol")))) for row in open_rows]
        with _readable("positions"):
            return tuple(wire.position(row, rules) for row, rules in found)

    async def orders(self, symbol: str | None = None) -> tuple[Order, ...]:
        """All open orders of both books; a row that cannot be read makes the whole list ``Unavailable``.

        The conditional book is read first: an order that triggers between the two readings is then seen in both
        rather than in neither.
        """
        params = {} if symbol is None else {"symbol": symbol}
        out: list[Order] = []
        for call, parse in ((calls.ALGO_ORDERS, wire.algo_order), (calls.ORDERS, wire.regular_order)):
            rows = _rows(await self._session.read(call, params, protective=True), "orders")
            found = [(row, await self._rules(str(row.get("symbol")))) for row in rows]
            with _readable("orders"):
                # Rows of other symbols have been seen in answers about one: they are nobody's here.
                out += [parse(row, rules) for row, rules in found if symbol in (None, rules.symbol)]
        return tuple(out)

    async def lookup(self, symbol: str, client_id: str, *, conditional: bool) -> Order | None:
        """The present state of one of our ids, or None if the exchange does not know it (-2013)."""
        rules = await self._rules(symbol)
        params = {"clientAlgoId": client_id} if conditional else {"symbol": symbol, "origClientOrderId": client_id}
        row = await self._find(calls.ALGO_ORDER if conditional else calls.ORDER, params)
        if row is None:
            return None
        if str(row.get("symbol")) != symbol:
            raise Unavailable(f"the exchange shows {client_id} under {row.get('symbol')}, not {symbol}")
        with _readable(client_id):
            order = (wire.algo_order if conditional else wire.regular_order)(row, rules)
        if not conditional or order.status is not OrderStatus.TRIGGERED:
            return order
        child = wire.child_id(row)
        placed = await self._find(calls.ORDER, {"symbol": symbol, "orderId": child}) if child else None
        if placed is None:
            raise Unavailable(f"{client_id} was triggered, but the order it placed cannot be seen yet; ask again")
        with _readable(client_id):
            return wire.with_child(order, wire.regular_order(placed, rules))

    async def _find(self, call: calls.Call, params: dict[str, str]) -> wire.Row | None:
        refusal: Refused
        try:
            row = await self._session.call(call, params, protective=True)
            if isinstance(row, dict):
                return row
            raise Unavailable(f"{call.method}: the answer is not an order")
        except Refused as fault:
            if fault.code in NOT_FOUND:
                return None
            refusal = fault
        raise Unavailable(f"{call.method} could not be read: {refusal}")

    async def balance(self) -> Balance:
        """Equity and free margin from v3 ``account``."""
        row = await self._session.read(calls.ACCOUNT, {})
        with _readable("balance"):
            return wire.balance(row)

    async def account_code(self) -> str:
        """Binance's own name of the account (``accountAlias``), the same for each of its keys; empty if it does not tell."""
        rows = _rows(await self._session.read(calls.BALANCE, {}), "balances")
        return str(rows[0].get("accountAlias") or "") if rows else ""

    async def rights(self) -> KeyRights:
        """What the key may do; all unknown on Binance's demo, which has no such endpoint (nor has ccxt an address for it)."""
        if "sapi" not in self._client.urls["api"]:
            return KeyRights()
        row = await self._session.read(calls.RIGHTS, {})
        with _readable("rights of the key"):
            return wire.key_rights(row)

    async def clock_off_ms(self) -> int:
        """By how much this computer's clock is surely off the exchange's."""
        return await self._session.clock_off_ms()

    async def margin(self, symbol: str) -> Margin:
        """Margin mode and leverage of a symbol from ``symbolConfig``."""
        rows = _rows(await self._session.read(calls.SYMBOL, {"symbol": symbol}), "margin mode")
        with _readable(f"margin mode of {symbol}"):
            row = {row["symbol"]: row for row in rows}[symbol]
            return Margin(isolated=str(row["marginType"]).upper() == "ISOLATED", leverage=int(row["leverage"]))

    async def prices(self, symbol: str) -> Quote:
        """Mark and last price now, asked for side by side; a price of nought is none: the market does not trade yet."""
        rules, params = await self._rules(symbol), {"symbol": symbol}
        mark, last = await _together(*(self._session.read(call, params, protective=True) for call in (calls.MARK, calls.LAST)))
        with _readable(f"prices of {symbol}"):
            return Quote(
                symbol=symbol,
                mark=wire.to_e8(wire.decimal_of(mark, "markPrice")) or None,
                last=wire.last_ticks(wire.decimal_of(last, "price"), rules) or None,
                time_ms=int(wire.decimal_of(mark, "time")),
            )

    async def bars(self, symbol: str, *, limit: int, by: TriggerBy, minutes: int = 1, since_ms: int | None = None) -> tuple[Bar, ...]:
        """Bars of the last or mark price, oldest first: the newest ``limit``, or the first ``limit`` from ``since_ms`` on.

        The running bar comes last, with ``closed`` False. ``minutes`` is one of the exchange's intervals up to a day.
        """
        if minutes not in wire.INTERVALS or limit < 1:
            known = ", ".join(map(str, wire.INTERVALS))
            raise PolicyError(f"{limit} bars of {minutes} minutes cannot be read: minutes is one of {known}, limit at least 1")
        rules, width = await self._rules(symbol), minutes * 60_000
        # A bar is closed if it had ended before the bars were asked for; the market's own time, not the wall clock, says so.
        now_ms = await self._market_time(symbol)
        if since_ms is None and limit > _PAGE:
            since_ms = now_ms - now_ms % width - (limit - 1) * width
        elif since_ms is not None:  # no more than there can be: the weight grows with what is asked for
            limit = min(limit, max(1, (now_ms - since_ms) // width + 2))
        out: tuple[Bar, ...] = ()
        while len(out) < limit:
            size = min(_PAGE, limit - len(out))
            params = {"symbol": symbol, "interval": wire.INTERVALS[minutes], "limit": size}
            page = await self._page(params if since_ms is None else params | {"startTime": since_ms}, rules, by, now_ms)
            out += page
            if len(page) < size or since_ms is None:
                break
            since_ms = page[-1].time_ms + width
        return out

    async def _market_time(self, symbol: str) -> int:
        row = await self._session.read(calls.MARK, {"symbol": symbol}, protective=True)
        with _readable(f"market time of {symbol}"):
            return int(wire.decimal_of(row, "time"))

    async def _page(self, params: dict[str, Any], rules: Instrument, by: TriggerBy, now_ms: int) -> tuple[Bar, ...]:
        size = int(params["limit"])
        weight = 1 if size < 100 else 2 if size < 500 else 5
        rows = await self._session.read(calls.KLINES if by is TriggerBy.LAST else calls.MARK_KLINES, params, weight=weight, protective=True)
        if not isinstance(rows, list):
            raise Unavailable(f"the bars of {rules.symbol} could not be read: the answer is not a list")
        with _readable(f"bars of {rules.symbol}"):
            return wire.bars(rows, rules, now_ms)

    # --- writes ---

    async def place(self, order: Order) -> Ack:
        """Send an order through ccxt's ``create_order``. An acknowledgement that cannot be read is ``Unknown``."""
        rules = await self._rules(order.symbol)
        request = order_request(order, rules)
        arguments = (self._market(order.symbol), request.type, request.side, request.amount, request.price, dict(request.params))
        try:
            answer = await self._session.call(calls.PLACE, *arguments, protective=reduces(order))
        except Refused as refusal:
            if refusal.code == MODE:
                with contextlib.suppress(Unavailable):  # somebody switched the position mode: notice it, the refusal stands
                    await self._read_mode()
            raise
        info = answer.get("info") if isinstance(answer, dict) else None
        row = info if isinstance(info, dict) else {}
        doubt = f"the acknowledgement of {order.client_id} could not be read: look it up by its id"
        try:
            acked = (wire.algo_order if order.kind.conditional else wire.regular_order)(row, rules)
        except wire.WireError as fault:
            raise Unknown(f"{doubt} ({fault})") from None
        if acked.client_id != order.client_id or acked.symbol != order.symbol:
            raise Unknown(f"{doubt} (it names {acked.client_id})")
        return Ack(order=acked)

    async def cancel(self, order: Order) -> None:
        """Cancel by client id, in the conditional book for conditional kinds. "Unknown order" is ``Refused`` (-2011)."""
        if order.kind.conditional:
            answer = await self._session.call(calls.CANCEL_ALGO, {"clientAlgoId": order.client_id}, protective=True)
        else:
            answer = await self._session.call(calls.CANCEL, {"symbol": order.symbol, "origClientOrderId": order.client_id}, protective=True)
        if not isinstance(answer, dict):
            raise Unknown(f"the answer to the cancel of {order.client_id} could not be read: look it up by its id")

    async def set_leverage(self, symbol: str, leverage: int) -> None:
        """Set the leverage for new positions of a symbol (1 to 125)."""
        answer = await self._session.call(calls.LEVERAGE, {"symbol": symbol, "leverage": leverage})
        if not isinstance(answer, dict) or str(answer.get("leverage")) != str(leverage):
            raise Unknown(f"the answer to setting the leverage of {symbol} to {leverage} could not be read: read it back before an entry")

    def _market(self, symbol: str) -> str:
        """ccxt's name of a symbol."""
        return str(self._client.safe_symbol(symbol, None, None, "swap"))

    # --- events ---

    def watch(self, symbols: frozenset[str], *, by: TriggerBy) -> None:
        """Choose the symbols of ``events``; their bars are of the price ``by``. Raises ``PolicyError`` for unknown ones."""
        unknown = sorted(symbols - self._instruments.keys())
        if unknown:
            raise PolicyError(f"{unknown[0]} is not a symbol of {VENUE}, it cannot be watched")
        if len(symbols) > MAX_WATCHED:
            raise PolicyError(f"{len(symbols)} symbols are watched, one connection carries {MAX_WATCHED}")
        self._watched = symbols, by
        for streams in self._streams:
            streams.watch(*self._watched)

    async def events(self) -> AsyncIterator[Event]:
        """Prices, closed bars and nudges, until the gateway is closed. Sockets live as long as the iteration."""
        if self._session.closed:
            return
        streams = Streams(self, keep_alive_s=self._keep_alive_s, quiet_s=self._quiet_s)
        streams.watch(*self._watched)
        self._streams.append(streams)
        streams.start()
        try:
            while (event := await streams.outbox.get()) is not None:
                yield event
        finally:
            self._streams.remove(streams)
            await streams.stop()

    # --- what the streams need ---

    async def listen_key(self) -> str:
        """A new key of the user stream."""
        answer = await self._session.read(calls.NEW_KEY, {}, protective=True)
        key = answer.get("listenKey") if isinstance(answer, dict) else None
        if not key:
            raise Unavailable("the exchange gave no listen key")
        return str(key)

    async def keep_alive(self) -> None:
        """Renew the key of the user stream."""
        await self._session.read(calls.KEEP_KEY, {}, protective=True)

    async def open_socket(self, key: str | None, on_message: Callable[[Any], None]) -> CcxtSocket:
        """An open websocket: of the account whose listen key is given, else of the prices."""
        client = self._client
        if self._session.closed:
            raise Unavailable(f"{self!r} is closed")
        url = f"{client.get_ws_url('linear', 'market')}/0" if key is None else client.get_private_ws_url("linear", key)
        socket = CcxtSocket(client, url, on_message)
        try:
            await socket.opened()
        except BaseException:  # whatever it was, what was opened is let go
            await socket.close()
            raise
        return socket


def _rows(answer: Any, what: str) -> list[wire.Row]:
    if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
        raise Unavailable(f"the {what} could not be read: the answer is not a list of rows")
    return answer


@contextlib.contextmanager
def _readable(what: str) -> Iterator[None]:
    """A row that cannot be read makes the whole reading unavailable: a partial answer would look like absence."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError) as fault:
        raise Unavailable(f"{what} could not be read: {fault}") from None


async def _together(*readings: Awaitable[Any]) -> list[Any]:
    """All results, or the first error once all have ended: no request is left running."""
    results = await asyncio.gather(*readings, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
