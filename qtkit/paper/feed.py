"""From the engine's listeners to the websocket hub.

A price costs nothing for streams that nobody reads. Every tick of the tape is told at once, also on streams that Binance
thins out to one message a second: on a tape played fast a second of wall time would hide minutes.
"""

from collections.abc import Callable
from dataclasses import dataclass

from qtkit.core.matching import notional
from qtkit.core.model import E8, Ticks, TriggerBy
from qtkit.paper import stream_names, wire_events, wire_market, wire_streams
from qtkit.paper.candles import Book, Candle, joined
from qtkit.paper.depth import Depths
from qtkit.paper.exchange import Exchange
from qtkit.paper.facts import Facts
from qtkit.paper.faults import Call, Fault, FaultKind, Faults, Verb
from qtkit.paper.intervals import MINUTE_MS, bars, bounds
from qtkit.paper.rest_market import day_of
from qtkit.paper.route import Desk
from qtkit.paper.rows import LIQUIDATION, AccountEvent, AccountUpdate, AlgoRow, AlgoUpdate, ConfigUpdate, Execution, MarginCall, OrderUpdate
from qtkit.paper.streams import Hub
from qtkit.paper.wire import Row

_SERIES = {"kline": TriggerBy.LAST, "continuousKline": TriggerBy.LAST, "markPriceKline": TriggerBy.MARK}


@dataclass(slots=True)
class _Running:
    """A bar kept up to date tick by tick, so that a tick does not cost a walk through the history.

    ``ticks`` counts the symbol's prices; a gap in it means that nobody listened for a while and the bar must be read again.
    """

    bar: Candle
    end_ms: int
    ticks: int

    def follow(self, then: Candle, ticks: int) -> bool:
        """Take in the next price; False if the bar is over, has no trade yet, or a price was missed."""
        if ticks != self.ticks + 1 or then.time_ms >= self.end_ms or not self.bar.ticks:
            return False
        self.bar, self.ticks = joined(self.bar, then), ticks
        return True


def _moment(book: Book, by: TriggerBy, traded: E8) -> Candle:
    """The newest price as a bar of its own."""
    last = by is TriggerBy.LAST
    price, traded = (book.last, traded) if last else (book.mark, E8(0))
    quote, buys = E8(notional(price, abs(traded))), traded > 0
    return Candle(
        time_ms=book.time_ms, open=price, high=price, low=price, close=price, ticks=int(bool(traded) or not last), volume=E8(abs(traded)),
        quote=quote, bought=traded if buys else E8(0), bought_quote=quote if buys else E8(0),
    )  # fmt: skip


class Feed:
    """Listens to one exchange and publishes to one hub from ``start`` to ``stop``."""

    def __init__(self, desk: Desk, faults: Faults | None) -> None:
        self._desk = desk
        self._exchange: Exchange = desk.exchange
        self._hub: Hub = desk.hub
        self._faults = faults
        self._held_before: Callable[[AlgoRow], bool] | None = None
        self._prints = desk.prints
        self._depths = Depths(desk.exchange, desk.prints)
        self._running: dict[tuple[str, TriggerBy, str], _Running] = {}

    def start(self) -> None:
        """Hook into the engine."""
        self._exchange.listeners.append(self.on_event)
        self._exchange.price_listeners.append(self.on_price)
        self._exchange.bar_listeners.append(self.on_bar)
        self._hub.on_first = self.on_first
        if self._faults is not None:
            self._held_before, self._exchange.hold_trigger = self._exchange.hold_trigger, self.hold_trigger

    def stop(self) -> None:
        """Take the hooks out again."""
        self._exchange.listeners.remove(self.on_event)
        self._exchange.price_listeners.remove(self.on_price)
        self._exchange.bar_listeners.remove(self.on_bar)
        if self._exchange.hold_trigger == self.hold_trigger:
            self._exchange.hold_trigger = self._held_before

    def hold_trigger(self, row: AlgoRow) -> bool:
        """True if the fault script leaves this conditional order stuck in TRIGGERING."""
        assert self._faults is not None
        call = Call(verb=Verb.TRIGGER, account=row.account, symbol=row.symbol, conditional=True, kind=row.kind, client_id=row.client_id)
        fault = self._faults.decide(call, self._exchange.now_ms)
        return fault is not None and fault.kind is FaultKind.STUCK_TRIGGERING

    # user streams

    def on_event(self, event: AccountEvent) -> None:
        """Tell an account's event to its user streams, unless the fault script takes it; a liquidation is told to everybody."""
        copies = 1
        if self._faults is not None:
            copies = _copies(self._faults.decide(_event_call(event), self._exchange.now_ms))
        if copies and self._hub.has_user(event.account):
            for row in self._told(event) * copies:
                self._hub.publish_user(event.account, row)
        if isinstance(event, OrderUpdate) and event.execution is Execution.CALCULATED and event.order.client_id.startswith(LIQUIDATION):
            self._force_order(event)

    def _told(self, event: AccountEvent) -> list[Row]:
        facts = self._exchange.facts
        match event:
            case OrderUpdate(order=order):
                rows = [wire_events.order_event(event, facts[order.symbol])]
                # The lite event of a fill has the shorter way, so it comes first.
                return [wire_events.trade_lite(event, facts[order.symbol]), *rows] if event.execution is Execution.TRADE else rows
            case AlgoUpdate():
                return [wire_events.algo_event(event, facts[event.algo.symbol])]
            case AccountUpdate():
                return [wire_events.account_event(event)]
            case ConfigUpdate():
                return [wire_events.config_event(event)]
            case MarginCall():
                return [wire_events.margin_call(event)]

    def _force_order(self, event: OrderUpdate) -> None:
        symbol = event.order.symbol
        for name in (f"{symbol.lower()}@forceOrder", "!forceOrder@arr"):
            if self._hub.wanted(name):
                self._hub.publish(name, wire_events.force_order(event, self._exchange.facts[symbol]))

    # market streams

    def on_first(self, stream: str) -> None:
        """A stream gets its first reader: differences of a book count from now."""
        symbol = stream_names.symbol_of(stream).upper()
        if "@depth" in stream and symbol in self._exchange.facts:
            self._depths.begin(symbol)

    def on_price(self, symbol: str, last: Ticks, mark: E8, at_ms: int) -> None:
        """Publish a tick to every stream of its symbol that has a reader, and to the all-symbol streams."""
        facts = self._exchange.facts[symbol]
        self._prints.add(symbol, E8(last * facts.instrument.tick), self._exchange.traded(symbol), at_ms)
        names = self._hub.streams_of(symbol.lower())
        if not names and not self._hub.has_arrays:
            return
        book = self._exchange.book(symbol)
        rows: dict[str, Row | None] = {}  # streams that differ only in their speed carry the same
        for name in names:
            kind = name.partition("@")[2]
            kind = kind.partition("@")[0]
            if kind not in rows:
                rows[kind] = self._row(kind, book, facts)
            row = rows[kind]
            if row is not None:
                self._hub.publish(name, row)
        if self._hub.has_arrays:
            self._arrays(book, facts)

    def on_bar(self, symbol: str, by: TriggerBy, bar: Candle) -> None:
        """Publish a closed minute, and the longer bars that end with it."""
        end_ms = bar.time_ms + MINUTE_MS
        for name in self._hub.streams_of(symbol.lower()):
            kind, _, interval = name.partition("@")[2].partition("_")
            if _SERIES.get(kind) is not by:
                continue
            start_ms, ends_ms = bounds(bar.time_ms, interval)
            if ends_ms != end_ms:
                continue
            closed = (bar,) if interval == "1m" else bars(self._exchange, symbol, by, interval, limit=1, start_ms=start_ms)
            for row in closed:
                event = wire_streams.kline(symbol, row, interval, by, end_ms, closed=True)
                self._hub.publish(name, wire_streams.continuous(event) if kind == "continuousKline" else event)

    def _row(self, stream: str, book: Book, facts: Facts) -> Row | None:
        kind, _, detail = stream.partition("_")
        symbol = book.symbol
        match kind:
            case "markPrice":
                return wire_streams.mark_price(book)
            case "bookTicker":
                return wire_streams.book_ticker(book, facts, self._prints.update_id(symbol))
            case "miniTicker" | "ticker":
                ticker = wire_market.ticker_24h(book, self._day(book), facts, self._prints)
                return wire_streams.mini_ticker(ticker) if kind == "miniTicker" else wire_streams.ticker(ticker)
            case "trade" | "aggTrade" if not self._exchange.traded(symbol):
                return None  # a quote or the mark moved
            case "trade":
                return wire_streams.trade(symbol, self._prints.last(symbol), facts)
            case "aggTrade":
                return wire_streams.aggregated(symbol, self._prints.last(symbol), facts)
            case "kline" | "markPriceKline":
                return self._running_bar(book, _SERIES[kind], detail)
            case "continuousKline":
                return wire_streams.continuous(self._running_bar(book, TriggerBy.LAST, detail))
            case "depth":
                return self._depths.changes(symbol)
            case "depth5" | "depth10" | "depth20":
                return self._depths.top(symbol, int(kind.removeprefix("depth")))
            case _:
                return None

    def _running_bar(self, book: Book, by: TriggerBy, interval: str) -> Row:
        key, then = (book.symbol, by, interval), _moment(book, by, self._exchange.traded(book.symbol))
        running, number = self._running.get(key), self._prints.number(book.symbol)
        if running is None or not running.follow(then, number):
            bar = bars(self._exchange, book.symbol, by, interval, limit=1)[-1]
            running = self._running[key] = _Running(bar, bounds(bar.time_ms, interval)[1], number)
        return wire_streams.kline(book.symbol, running.bar, interval, by, book.time_ms, closed=False)

    def _day(self, book: Book) -> Candle:
        """The last 24 hours as one bar, read again every minute."""
        key, then = (book.symbol, TriggerBy.LAST, "24h"), _moment(book, TriggerBy.LAST, self._exchange.traded(book.symbol))
        running, number = self._running.get(key), self._prints.number(book.symbol)
        if running is None or not running.follow(then, number):
            bar = day_of(self._exchange, book.symbol)
            assert bar is not None, "a symbol that has a price has a bar"
            running = self._running[key] = _Running(bar, bounds(book.time_ms, "1m")[1], number)
        return running.bar

    def _arrays(self, book: Book, facts: Facts) -> None:
        """The all-symbol streams carry the symbols that changed: here the one of the tick."""
        for name in ("!markPrice@arr", "!markPrice@arr@1s", "!markPrice@arr@3s"):
            if self._hub.wanted(name):
                self._hub.publish(name, [wire_streams.mark_price(book)])
        if self._hub.wanted("!bookTicker"):
            self._hub.publish("!bookTicker", self._row("bookTicker", book, facts))
        for name, kind in (("!miniTicker@arr", "miniTicker"), ("!ticker@arr", "ticker")):
            if self._hub.wanted(name):
                self._hub.publish(name, [self._row(kind, book, facts)])


def _event_call(event: AccountEvent) -> Call:
    match event:
        case OrderUpdate(order=row):
            return Call(
                verb=Verb.EVENT, account=event.account, symbol=row.symbol, conditional=False, kind=row.kind, client_id=row.client_id
            )
        case AlgoUpdate(algo=algo):
            return Call(
                verb=Verb.EVENT, account=event.account, symbol=algo.symbol, conditional=True, kind=algo.kind, client_id=algo.client_id
            )
        case AccountUpdate(positions=rows) | MarginCall(positions=rows):
            return Call(verb=Verb.EVENT, account=event.account, symbol=rows[0].symbol if rows else None)
        case ConfigUpdate(symbol=symbol):
            return Call(verb=Verb.EVENT, account=event.account, symbol=symbol)


def _copies(fault: Fault | None) -> int:
    """How often an event is told."""
    if fault is None:
        return 1
    if fault.kind in (FaultKind.LOSE_EVENT, FaultKind.SILENT_STREAM):
        return 0
    return 2 if fault.kind is FaultKind.DUPLICATE else 1
