"""From the engine's listeners to the websocket hub.

A price costs nothing for streams that nobody reads. Every tick of the tape is told at once, also on streams that Binance
thins out to one message a second: on a tape played fast a second of wall time would hide minutes.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from qtkit.core.model import E8, Ticks, TriggerBy
from qtkit.paper import wire, wire_market
from qtkit.paper.exchange import Exchange
from qtkit.paper.facts import Facts
from qtkit.paper.faults import Call, Fault, FaultKind, Faults, Verb
from qtkit.paper.rest_market import day_of
from qtkit.paper.route import Desk
from qtkit.paper.rows import AccountEvent, AccountUpdate, AlgoRow, AlgoUpdate, Book, Candle, ConfigUpdate, OrderUpdate
from qtkit.paper.streams import Hub
from qtkit.paper.wire import Row

_SERIES = {"kline": TriggerBy.LAST, "markPriceKline": TriggerBy.MARK}


@dataclass(slots=True)
class _Running:
    """A bar kept up to date tick by tick, so that a tick does not cost a walk through the history.

    ``ticks`` counts the symbol's prices; a gap in it means that nobody listened for a while and the bar must be read again.
    """

    bar: Candle
    end_ms: int
    ticks: int

    def follow(self, price: E8, at_ms: int, ticks: int) -> bool:
        """Take in the next price; False if the bar is over or a price was missed."""
        if ticks != self.ticks + 1 or at_ms >= self.end_ms:
            return False
        bar = self.bar
        self.bar = replace(bar, high=max(bar.high, price), low=min(bar.low, price), close=price, ticks=bar.ticks + 1)
        self.ticks = ticks
        return True


class Feed:
    """Listens to one exchange and publishes to one hub from ``start`` to ``stop``."""

    def __init__(self, desk: Desk, faults: Faults | None) -> None:
        self._desk = desk
        self._exchange: Exchange = desk.exchange
        self._hub: Hub = desk.hub
        self._faults = faults
        self._held_before: Callable[[AlgoRow], bool] | None = None
        self._ticks: Counter[str] = Counter()
        self._running: dict[tuple[str, TriggerBy, int], _Running] = {}

    def start(self) -> None:
        """Hook into the engine."""
        self._exchange.listeners.append(self.on_event)
        self._exchange.price_listeners.append(self.on_price)
        self._exchange.bar_listeners.append(self.on_bar)
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
        """Tell an account's event to its user streams, unless the fault script takes it."""
        if self._faults is None:
            if self._hub.has_user(event.account):
                self._hub.publish_user(event.account, self._told(event))
            return
        fault = self._faults.decide(_event_call(event), self._exchange.now_ms)
        for _ in range(_copies(fault)):
            self._hub.publish_user(event.account, self._told(event))

    def _told(self, event: AccountEvent) -> Row:
        facts = self._exchange.facts
        match event:
            case OrderUpdate():
                return wire.order_event(event, facts[event.order.symbol])
            case AlgoUpdate():
                return wire.algo_event(event, facts[event.algo.symbol])
            case AccountUpdate():
                return wire.account_event(event)
            case ConfigUpdate():
                return wire.config_event(event)

    # market streams

    def on_price(self, symbol: str, last: Ticks, mark: E8, at_ms: int) -> None:
        """Publish a tick to every stream of its symbol that has a reader, and to the all-symbol streams."""
        self._ticks[symbol] += 1
        names = self._hub.streams_of(symbol.lower())
        if not names and not self._hub.has_arrays:
            return
        book, facts = self._exchange.book(symbol), self._exchange.facts[symbol]
        for name in names:
            row = self._row(name.partition("@")[2], book, facts)
            if row is not None:
                self._hub.publish(name, row)
        if self._hub.has_arrays:
            self._arrays(book, facts)

    def on_bar(self, symbol: str, by: TriggerBy, bar: Candle) -> None:
        """Publish a closed minute, and the longer bars that end with it."""
        end_ms = bar.time_ms + wire_market.MINUTE_MS
        for name in self._hub.streams_of(symbol.lower()):
            kind, _, interval = name.partition("@")[2].partition("_")
            minutes = wire_market.INTERVALS.get(interval, 0)
            if _SERIES.get(kind) is not by or not minutes or end_ms % (minutes * wire_market.MINUTE_MS):
                continue
            start_ms = end_ms - minutes * wire_market.MINUTE_MS
            closed = (bar,) if minutes == 1 else self._exchange.candles(symbol, by, minutes=minutes, limit=1, start_ms=start_ms)
            for row in closed:
                self._hub.publish(name, wire_market.kline_event(symbol, row, interval, by, end_ms, closed=True))

    def _row(self, stream: str, book: Book, facts: Facts) -> Row | None:
        kind, _, detail = stream.partition("_")
        match kind:
            case "markPrice" | "markPrice@1s":
                return wire_market.mark_price_event(book)
            case "bookTicker":
                return wire_market.book_ticker_event(book, facts)
            case "miniTicker" | "ticker":
                ticker = wire_market.ticker_24h(book, self._day(book), facts)
                return wire_market.mini_ticker_event(ticker) if kind == "miniTicker" else wire_market.ticker_event(ticker)
            case "trade" | "aggTrade":
                return wire_market.trade_event(book, facts, self._ticks[book.symbol], aggregated=kind == "aggTrade")
            case "kline" | "markPriceKline":
                return self._running_bar(book, _SERIES[kind], detail)
            case _:
                return None

    def _running_bar(self, book: Book, by: TriggerBy, interval: str) -> Row | None:
        minutes = wire_market.INTERVALS.get(interval)
        if minutes is None:
            return None
        key, price = (book.symbol, by, minutes), book.last if by is TriggerBy.LAST else book.mark
        running = self._running.get(key)
        if running is None or not running.follow(price, book.time_ms, self._ticks[book.symbol]):
            bar = self._exchange.candles(book.symbol, by, minutes=minutes, limit=1)[-1]
            end_ms = bar.time_ms + minutes * wire_market.MINUTE_MS
            running = self._running[key] = _Running(bar, end_ms, self._ticks[book.symbol])
        return wire_market.kline_event(book.symbol, running.bar, interval, by, book.time_ms, closed=False)

    def _day(self, book: Book) -> tuple[Candle, ...]:
        """The last 24 hours as one bar, read again every minute."""
        key = (book.symbol, TriggerBy.LAST, 0)
        running = self._running.get(key)
        if running is None or not running.follow(book.last, book.time_ms, self._ticks[book.symbol]):
            bars = day_of(self._desk, book.symbol)
            whole = replace(
                bars[0], high=max(bar.high for bar in bars), low=min(bar.low for bar in bars), close=bars[-1].close,
                ticks=sum(bar.ticks for bar in bars),
            )  # fmt: skip
            end_ms = (book.time_ms // wire_market.MINUTE_MS + 1) * wire_market.MINUTE_MS
            running = self._running[key] = _Running(whole, end_ms, self._ticks[book.symbol])
        return (running.bar,)

    def _arrays(self, book: Book, facts: Facts) -> None:
        """The all-symbol streams carry the symbols that changed: here the one of the tick."""
        for name in ("!markPrice@arr", "!markPrice@arr@1s"):
            if self._hub.wanted(name):
                self._hub.publish(name, [wire_market.mark_price_event(book)])
        if self._hub.wanted("!bookTicker"):
            self._hub.publish("!bookTicker", wire_market.book_ticker_event(book, facts))
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
        case AccountUpdate(positions=rows):
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
