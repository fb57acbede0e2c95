"""Binance USD-M streams -> events. Hints only: the next complete reading decides, whatever was or was not heard here.

Two sockets: one for the prices of all watched symbols, one for the account. Each lives, dies and comes back alone,
and each time one comes up everything is to be read again (``Nudge(symbol=None)``), because nothing is replayed.
Messages are read raw: ccxt's own parsing turns prices into floats, loses whether a bar is closed, drops
``listenKeyExpired``, and an exception inside it stops the socket silently. For the same reason the listen key is
kept alive here (ccxt 4.5.84-4.5.90 renews it once only), and a new one is asked for at every connection.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from qtkit.core.model import Bar, Instrument, PositionSide, TriggerBy
from qtkit.venue.ccxt_wire import WireError, decimal_of, last_ticks, to_e8
from qtkit.venue.gateway import BarClosed, Event, GatewayError, Nudge, Quote, Unavailable

MINUTE_MS = 60_000
MAX_BARS = 10_000  # closed bars waiting for the reader; beyond it the oldest go and everything is read again
KEEP_ALIVE_S = 1_200.0  # a listen key lives 60 minutes; Binance advises to renew it about every 30
QUIET_S = 30.0  # marks come every second; a market socket silent for so long is dead
_TICK_S = 0.25
_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_BAR_TRIES = 6
_PATIENCE_S = 3.0  # a closed bar of the last price is told within this time, if it is told

Message = Mapping[str, Any]
_log = logging.getLogger(__name__)


class Socket(Protocol):
    """One open websocket; ``wait`` raises ``Unavailable`` once it is lost."""

    async def send(self, frame: Message) -> None: ...

    async def wait(self, seconds: float) -> None: ...

    async def close(self) -> None: ...


class Wire(Protocol):
    """What the streams need of the gateway."""

    @property
    def instruments(self) -> Mapping[str, Instrument]: ...

    async def listen_key(self) -> str: ...

    async def keep_alive(self) -> None: ...

    async def open_socket(self, key: str | None, on_message: Callable[[Any], None]) -> Socket: ...

    async def bars(self, symbol: str, *, limit: int, by: TriggerBy, since_ms: int) -> tuple[Bar, ...]: ...


class Outbox:
    """What waits for the reader, bounded: of prices the newest per symbol and series, of nudges one of a kind."""

    def __init__(self) -> None:
        self._nudges: dict[Nudge, None] = {}
        self._bars: deque[BarClosed] = deque()
        self._quotes: dict[tuple[str, bool], Quote] = {}
        self._ready = asyncio.Event()
        self._ended = False

    def end(self) -> None:
        """Let the reader go."""
        self._ended = True
        self._ready.set()

    def put(self, event: Event) -> None:
        """Add an event; nudges leave first, then bars, then prices."""
        match event:
            case Quote():
                self._quotes[event.symbol, event.mark is not None] = event
            case BarClosed():
                self._bars.append(event)
                if len(self._bars) > MAX_BARS:
                    self._bars.popleft()
                    self._nudges[Nudge(symbol=None)] = None
            case Nudge():
                self._nudges[event] = None
        self._ready.set()

    async def get(self) -> Event | None:
        """The next event, waiting for one if there is none; None after the end."""
        while not self._ended:
            if self._nudges:
                nudge = next(iter(self._nudges))
                del self._nudges[nudge]
                return nudge
            if self._bars:
                return self._bars.popleft()
            if self._quotes:
                return self._quotes.pop(next(iter(self._quotes)))
            self._ready.clear()
            await self._ready.wait()
        return None


@dataclass(frozen=True, slots=True)
class _Due:
    """Bars of a symbol to be asked for, up to the one that opened at ``newest_ms``, not before ``after_s`` (monotonic)."""

    newest_ms: int
    after_s: float = 0.0
    tries: int = 0


class Streams:
    """The sockets behind one reader of ``events``."""

    def __init__(self, wire: Wire, *, keep_alive_s: float, quiet_s: float) -> None:
        self._wire, self._keep_alive_s, self._quiet_s = wire, keep_alive_s, quiet_s
        self.outbox = Outbox()
        self._tasks: list[asyncio.Task[None]] = []
        self._symbols: frozenset[str] = frozenset()
        self._by = TriggerBy.MARK
        self._heard = 0.0
        self._expired = False
        self._marks: dict[str, int] = {}  # open time of the minute of the newest mark, by symbol
        self._bars: dict[tuple[str, TriggerBy], int] = {}  # open time of the newest bar given out
        self._due: dict[str, _Due] = {}
        self._requests = 0

    def watch(self, symbols: frozenset[str], by: TriggerBy) -> None:
        """Change what the market socket carries; done on the open socket within a moment."""
        self._symbols, self._by = symbols, by

    def start(self) -> None:
        """Begin; each of the three works ends with ``stop`` only."""
        works = {"market stream": self._market, "user stream": self._user, "bars": self._fill}
        self._tasks = [asyncio.create_task(self._forever(once), name=f"qtkit {name}") for name, once in works.items()]

    async def stop(self) -> None:
        """Close the sockets and let the reader go; may be called twice."""
        self.outbox.end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _forever(self, once: Callable[[], Awaitable[None]]) -> None:
        """Run ``once`` again and again, with a growing pause while it fails soon after its start."""
        failures = 0
        while True:
            started = time.monotonic()
            try:
                await once()
            except GatewayError as lost:
                _log.info("stream lost: %s", lost)
            except Exception as fault:  # noqa: BLE001 - a stream that ended silently would be missed by nobody: begin anew
                _log.warning("stream failed with %s, it is opened again", type(fault).__name__)
            failures = failures + 1 if time.monotonic() - started < 30.0 else 0
            await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S)) - 1] if failures else 0.0)

    # --- account ---

    async def _user(self) -> None:
        self._expired = False
        key = await self._wire.listen_key()
        socket = await self._wire.open_socket(key, self._on_user)
        try:
            self.outbox.put(Nudge(symbol=None))
            renew = time.monotonic() + self._keep_alive_s
            while not self._expired:
                await socket.wait(min(_TICK_S, self._keep_alive_s))
                if time.monotonic() >= renew:
                    await self._wire.keep_alive()
                    renew = time.monotonic() + self._keep_alive_s
        finally:
            await socket.close()

    def _on_user(self, message: Any) -> None:
        try:
            for nudge in nudges(message):
                self.outbox.put(nudge)
            self._expired = self._expired or message.get("e") == "listenKeyExpired"
        except (AttributeError, KeyError, TypeError, ValueError):
            self.outbox.put(Nudge(symbol=None))  # something happened that cannot be read here: read everything

    # --- market ---

    async def _market(self) -> None:
        while not self._symbols:
            await asyncio.sleep(_TICK_S)
        socket = await self._wire.open_socket(None, self._on_market)
        try:
            self.outbox.put(Nudge(symbol=None))
            self._heard, carried = time.monotonic(), frozenset[str]()
            while True:
                carried = await self._subscribe(socket, carried)
                await socket.wait(_TICK_S)
                if carried and time.monotonic() - self._heard > self._quiet_s:
                    raise Unavailable(f"no price for {self._quiet_s:.0f} s")
        finally:
            await socket.close()

    async def _subscribe(self, socket: Socket, carried: frozenset[str]) -> frozenset[str]:
        """Bring the socket to the streams that are wanted now."""
        wanted = frozenset(name for symbol in self._symbols for name in stream_names(symbol))
        for method, names in (("UNSUBSCRIBE", carried - wanted), ("SUBSCRIBE", wanted - carried)):
            if names:
                self._requests += 1
                await socket.send({"method": method, "params": sorted(names), "id": self._requests})
        return wanted

    def _on_market(self, message: Any) -> None:
        self._heard = time.monotonic()
        try:
            if "error" in message:
                _log.warning("the exchange refused a price stream: %s", message["error"])
                return
            self._market_event(message)
        except (AttributeError, KeyError, TypeError, ValueError) as fault:
            _log.warning("a price message could not be read: %s", type(fault).__name__)

    def _market_event(self, message: Message) -> None:
        symbol = message.get("s", "")
        if symbol not in self._symbols:
            return
        rules, at = self._wire.instruments[symbol], int(message["E"])
        match message.get("e"):
            case "markPriceUpdate":
                self.outbox.put(Quote(symbol=symbol, mark=to_e8(decimal_of(message, "p")), last=None, time_ms=at))
                self._minute(symbol, at - at % MINUTE_MS)
            case "24hrMiniTicker":
                self.outbox.put(Quote(symbol=symbol, mark=None, last=last_ticks(decimal_of(message, "c"), rules), time_ms=at))
            case "kline" if message["k"]["x"] and self._by is TriggerBy.LAST:
                self._last_bar(symbol, message["k"], rules)

    def _minute(self, symbol: str, minute: int) -> None:
        """A mark of a new minute: the bar before it is closed.

        Mark price bars have no stream, they are asked for. Last price bars are, if none came: without a trade nothing is told.
        """
        before = self._marks.get(symbol, minute)
        self._marks[symbol] = max(before, minute)
        if minute > before:
            patience = 0.0 if self._by is TriggerBy.MARK else _PATIENCE_S
            self._due.setdefault(symbol, _Due(minute - MINUTE_MS, time.monotonic() + patience))

    def _last_bar(self, symbol: str, kline: Message, rules: Instrument) -> None:
        at = int(kline["t"])
        before = self._bars.get((symbol, TriggerBy.LAST), at - MINUTE_MS)
        if at > before + MINUTE_MS:  # bars were missed while the socket was down
            self._due[symbol] = _Due(at)
            return
        o, h, l, c = (last_ticks(decimal_of(kline, key), rules) for key in "ohlc")  # noqa: E741
        self._give(symbol, TriggerBy.LAST, Bar(time_ms=at, open=o, high=h, low=l, close=c))

    def _give(self, symbol: str, by: TriggerBy, bar: Bar) -> None:
        if bar.closed and bar.time_ms > self._bars.get((symbol, by), -1):
            self._bars[symbol, by] = bar.time_ms
            self.outbox.put(BarClosed(symbol=symbol, bar=bar))

    # --- bars that must be asked for ---

    async def _fill(self) -> None:
        while True:
            for symbol, due in tuple(self._due.items()):
                if time.monotonic() >= due.after_s:
                    del self._due[symbol]
                    await self._fill_one(symbol, due)
            await asyncio.sleep(_TICK_S)

    async def _fill_one(self, symbol: str, due: _Due) -> None:
        by, newest = self._by, max(due.newest_ms, self._marks.get(symbol, 0) - MINUTE_MS)
        since = self._bars.get((symbol, by), newest - MINUTE_MS) + MINUTE_MS
        if since > newest or symbol not in self._symbols:
            return
        try:
            for bar in await self._wire.bars(symbol, limit=min(1_000, (newest - since) // MINUTE_MS + 1), by=by, since_ms=since):
                self._give(symbol, by, bar)
        except GatewayError as lost:
            _log.info("bars of %s: %s", symbol, lost)
        # The exchange shows a closed bar a moment late; what is still missing then comes with the next minute.
        if self._bars.get((symbol, by), -1) < newest and due.tries < _BAR_TRIES:
            self._due.setdefault(symbol, _Due(newest, time.monotonic() + 2 * _TICK_S, due.tries + 1))


def stream_names(symbol: str) -> tuple[str, ...]:
    """Streams of one symbol: mark every second, last price, one-minute bars of the last price."""
    name = symbol.lower()
    return f"{name}@markPrice@1s", f"{name}@miniTicker", f"{name}@kline_1m"


def nudges(message: Message) -> tuple[Nudge, ...]:
    """What a message of the user stream asks us to read again.

    An ``ACCOUNT_UPDATE`` that shows a slot with amount 0 is positive evidence of its end. An event that says nothing
    about orders or positions (funding without positions, trade summaries) asks for nothing.
    """
    match message.get("e"):
        case "ORDER_TRADE_UPDATE" | "ALGO_UPDATE":
            return (Nudge(symbol=message["o"]["s"]),)
        case "ACCOUNT_UPDATE":
            data = message["a"]
            rows = data.get("P") or ()
            if not rows and data.get("m") != "FUNDING_FEE":
                return (Nudge(symbol=None),)  # margin moved: liquidation prices of cross positions moved with it
            return tuple(_of_position(row) for row in rows)
        case "ACCOUNT_CONFIG_UPDATE" | "MARGIN_CALL":
            return (Nudge(symbol=message.get("ac", {}).get("s")),)
    return ()


def _of_position(row: Message) -> Nudge:
    held = decimal_of(row, "pa") != 0
    try:
        slot = PositionSide(row["ps"])
        return Nudge(symbol=row["s"], flat=None if held else slot, held=slot if held else None)
    except ValueError:
        raise WireError(f"position side {row['ps']} is unknown to this version") from None
