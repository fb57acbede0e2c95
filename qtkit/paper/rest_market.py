"""Public routes: instruments, prices, bars."""

from collections.abc import Callable
from functools import reduce
from itertools import islice

from qtkit.core.model import TriggerBy
from qtkit.paper import wire_market as wire
from qtkit.paper.candles import Book, Candle, joined
from qtkit.paper.exchange import HOUR_MS, Exchange
from qtkit.paper.facts import Facts
from qtkit.paper.faults import Verb
from qtkit.paper.intake import span
from qtkit.paper.intervals import INTERVALS, LONG, bars
from qtkit.paper.limits import Weight
from qtkit.paper.params import Params
from qtkit.paper.route import LIGHT, Desk, Request, Route, Routes, Security, some_symbols, symbol_of
from qtkit.paper.rows import ExchangeError

DAY_BARS = 25
"""Hourly bars that cover the last 24 hours, the running one included."""


def day_of(exchange: Exchange, symbol: str) -> Candle | None:
    """The last 24 hours as one bar, made of hourly ones; None before the first price."""
    hours = exchange.candles(symbol, TriggerBy.LAST, minutes=60, limit=DAY_BARS)
    return reduce(joined, hours) if hours else None


def _books(desk: Desk, request: Request) -> list[tuple[Book, Facts]]:
    """The book of the symbol asked for, or those of all symbols that have a price."""
    one = request.params.has("symbol")
    rows = ((desk.exchange.quote(facts.symbol), facts) for facts in some_symbols(desk, request))
    return [(book, facts) for book, facts in rows if one or book.last]


def _each(tell: Callable[[Desk, Book, Facts], object]) -> Callable[[Desk, Request], object]:
    """A handler that answers one object with a symbol, else a list."""

    def handler(desk: Desk, request: Request) -> object:
        rows = [tell(desk, book, facts) for book, facts in _books(desk, request)]
        return rows[0] if request.params.has("symbol") else rows

    return handler


def _nothing(desk: Desk, request: Request) -> object:
    return {}


def _time(desk: Desk, request: Request) -> object:
    return {"serverTime": request.now_ms}


def _exchange_info(desk: Desk, request: Request) -> object:
    limits = wire.rate_limits(desk.limits.weight_limit, desk.limits.orders)
    exchange = desk.exchange
    return wire.exchange_info(exchange.facts, exchange.halted, limits, exchange.rules.max_orders, request.now_ms)


def _perpetual(desk: Desk, params: Params) -> str:
    """The one contract of a ``pair``. Raises -4144 (no such pair), -4104 (not a perpetual)."""
    pair = params.required("pair")
    if pair not in desk.exchange.facts:
        raise ExchangeError(-4144, "Invalid pair")
    if params.text("contractType", "PERPETUAL") != "PERPETUAL":
        raise ExchangeError(-4104, "Invalid contract type")
    return pair


def _klines(by: TriggerBy, name: str = "symbol") -> Callable[[Desk, Request], object]:
    def handler(desk: Desk, request: Request) -> object:
        params = request.params
        symbol = _perpetual(desk, params) if name == "pair" else symbol_of(desk, request).symbol
        interval, (start, end), limit = params.required("interval"), span(params), params.limit(500, 1_500)
        if interval not in INTERVALS and interval not in LONG:
            raise ExchangeError(-1120, "Invalid interval.")
        rows = bars(desk.exchange, symbol, by, interval, limit=limit, start_ms=start, end_ms=end)
        return [wire.kline(bar, interval) for bar in rows]

    return handler


def _depth(desk: Desk, request: Request) -> object:
    facts = symbol_of(desk, request)
    limit = request.params.limit(500, 1_000)
    if limit not in (5, 10, 20, 50, 100, 500, 1_000):
        raise ExchangeError(-4021, f"{limit} is not valid depth limit.")
    return wire.depth(desk.exchange.depth(facts.symbol, limit), facts, desk.prints.snapshot_id(facts.symbol))


def _trades(desk: Desk, request: Request) -> object:
    facts = symbol_of(desk, request)
    rows, limit = list(desk.prints.recent(facts.symbol)), request.params.limit(500, 1_000)
    first = request.params.integer("fromId")
    page = rows[-limit:] if first is None else [row for row in rows if row.number >= first][:limit]
    return [wire.trade(row, facts) for row in page]


def _aggregates(desk: Desk, request: Request) -> object:
    """From an id or a time on, else the newest; -1127 for more than an hour."""
    facts, params = symbol_of(desk, request), request.params
    (start, end), first, limit = span(params), params.integer("fromId"), params.limit(500, 1_000)
    if start is not None and end is not None and end - start > HOUR_MS:
        raise ExchangeError(-1127, "Lookup interval is too big. More than 1 hours between startTime and endTime.")
    rows = [
        row
        for row in desk.prints.recent(facts.symbol)
        if (first is None or row.number >= first) and (start is None or start <= row.time_ms) and (end is None or row.time_ms <= end)
    ]
    return [wire.aggregate(row, facts) for row in (rows[-limit:] if first is None and start is None else rows[:limit])]


def _funding_rate(desk: Desk, request: Request) -> object:
    params = request.params
    start, end = span(params)
    rows = [
        row
        for facts in some_symbols(desk, request)
        for row in desk.exchange.funding_history(facts.symbol)
        if (start is None or start <= row.time_ms) and (end is None or row.time_ms <= end)
    ]
    rows.sort(key=lambda row: row.time_ms)
    limit = params.limit(100, 1_000)
    return [wire.funding_rate(row) for row in (islice(rows, limit) if params.has("startTime") else rows[-limit:])]


def _funding_info(desk: Desk, request: Request) -> object:
    return [wire.funding_info(symbol, desk.exchange.funding_hours(symbol)) for symbol in desk.exchange.facts]


def _book_24h(desk: Desk, book: Book, facts: Facts) -> object:
    return wire.ticker_24h(book, day_of(desk.exchange, book.symbol), facts, desk.prints)


def _public(handler: Callable[[Desk, Request], object], weight: Weight = LIGHT, verb: Verb = Verb.PRICES) -> Route:
    return Route(handler=handler, security=Security.NONE, weight=weight, verb=verb)


_PRICE = _each(lambda desk, book, facts: wire.ticker_price(book))
_BOOK = _each(lambda desk, book, facts: wire.book_ticker(book, facts, desk.prints.update_id(book.symbol)))
_PREMIUM = _each(lambda desk, book, facts: wire.premium_index(book))

ROUTES: Routes = {
    ("GET", "/fapi/v1/ping"): _public(_nothing),
    ("GET", "/fapi/v1/time"): _public(_time),
    ("GET", "/fapi/v1/exchangeInfo"): _public(_exchange_info),
    ("GET", "/fapi/v1/klines"): _public(_klines(TriggerBy.LAST), Weight(by="klines"), Verb.BARS),
    ("GET", "/fapi/v1/markPriceKlines"): _public(_klines(TriggerBy.MARK), Weight(by="klines"), Verb.BARS),
    ("GET", "/fapi/v1/indexPriceKlines"): _public(_klines(TriggerBy.MARK, "pair"), Weight(by="klines"), Verb.BARS),
    ("GET", "/fapi/v1/continuousKlines"): _public(_klines(TriggerBy.LAST, "pair"), Weight(by="klines"), Verb.BARS),
    ("GET", "/fapi/v1/trades"): _public(_trades, Weight(one=5)),
    ("GET", "/fapi/v1/historicalTrades"): Route(handler=_trades, security=Security.KEY, weight=Weight(one=200), verb=Verb.PRICES),
    ("GET", "/fapi/v1/aggTrades"): _public(_aggregates, Weight(one=20)),
    ("GET", "/fapi/v1/depth"): _public(_depth, Weight(by="depth")),
    ("GET", "/fapi/v1/ticker/24hr"): _public(_each(_book_24h), Weight(one=1, every=40)),
    ("GET", "/fapi/v1/ticker/price"): _public(_PRICE, Weight(one=1, every=2)),
    ("GET", "/fapi/v2/ticker/price"): _public(_PRICE, Weight(one=1, every=2)),
    ("GET", "/fapi/v1/ticker/bookTicker"): _public(_BOOK, Weight(one=2, every=5)),
    ("GET", "/fapi/v1/premiumIndex"): _public(_PREMIUM, Weight(one=1, every=10)),
    ("GET", "/fapi/v1/fundingRate"): _public(_funding_rate, Weight(one=0)),
    ("GET", "/fapi/v1/fundingInfo"): _public(_funding_info, Weight(one=0)),
}
