"""Engine rows -> Binance's JSON of the market streams.

Shapes: developers.binance.com, USD-M futures, websocket market streams, read 2026-10: since the migration of coin-margined futures most
carry the pair (``ps``) and the kind of contract (``st``, 1 for USD-M).
"""

from qtkit.core.model import TriggerBy
from qtkit.paper.candles import Book, Candle
from qtkit.paper.facts import Facts
from qtkit.paper.intervals import bounds
from qtkit.paper.prints import Print
from qtkit.paper.wire import Row, decimal, money
from qtkit.paper.wire_market import aggregate


def mark_price(book: Book) -> Row:
    """markPriceUpdate."""
    return {
        "e": "markPriceUpdate", "E": book.time_ms, "s": book.symbol, "p": money(book.mark), "ap": money(book.mark),
        "P": money(book.mark), "i": money(book.mark), "r": money(book.funding_rate), "T": book.funding_ms, "st": 1,
    }  # fmt: skip


def mini_ticker(row: Row) -> Row:
    """24hrMiniTicker from a row of ticker/24hr."""
    return {
        "e": "24hrMiniTicker", "E": row["closeTime"], "s": row["symbol"], "c": row["lastPrice"], "o": row["openPrice"],
        "h": row["highPrice"], "l": row["lowPrice"], "v": row["volume"], "q": row["quoteVolume"], "ps": row["symbol"], "st": 1,
    }  # fmt: skip


def ticker(row: Row) -> Row:
    """24hrTicker from a row of ticker/24hr."""
    return mini_ticker(row) | {
        "e": "24hrTicker", "p": row["priceChange"], "P": row["priceChangePercent"], "w": row["weightedAvgPrice"], "Q": row["lastQty"],
        "O": row["openTime"], "C": row["closeTime"], "F": row["firstId"], "L": row["lastId"], "n": row["count"],
    }  # fmt: skip


def kline(symbol: str, bar: Candle, interval: str, by: TriggerBy, at_ms: int, *, closed: bool) -> Row:
    """kline or markPrice_kline."""
    body: Row = {
        "t": bar.time_ms, "T": bounds(bar.time_ms, interval)[1] - 1, "s": symbol, "i": interval, "f": 0, "L": 0, "o": decimal(bar.open),
        "c": decimal(bar.close), "h": decimal(bar.high), "l": decimal(bar.low), "v": decimal(bar.volume), "n": bar.ticks, "x": closed,
        "q": decimal(bar.quote), "V": decimal(bar.bought), "Q": decimal(bar.bought_quote), "B": "0",
    }  # fmt: skip
    kind = "kline" if by is TriggerBy.LAST else "markPrice_kline"
    return {"e": kind, "E": at_ms, "s": symbol, "k": body}


def continuous(row: Row) -> Row:
    """continuous_kline from a kline: the perpetual is the only contract of its pair."""
    body = {name: value for name, value in row["k"].items() if name != "s"}
    return {"e": "continuous_kline", "E": row["E"], "ps": row["s"], "ct": "PERPETUAL", "k": body}


def book_ticker(book: Book, facts: Facts, update_id: int) -> Row:
    """bookTicker."""
    digits = facts.quantity_precision
    return {
        "e": "bookTicker", "u": update_id, "E": book.time_ms, "T": book.time_ms, "s": book.symbol,
        "b": decimal(book.bid), "B": decimal(book.bid_size, digits), "a": decimal(book.ask), "A": decimal(book.ask_size, digits),
        "ps": book.symbol, "st": 1,
    }  # fmt: skip


def trade(symbol: str, row: Print, facts: Facts) -> Row:
    """trade."""
    price, quantity = decimal(row.price, facts.price_precision), decimal(row.quantity, facts.quantity_precision)
    return {
        "e": "trade", "E": row.time_ms, "T": row.time_ms, "s": symbol, "t": row.number, "p": price, "q": quantity, "X": "MARKET",
        "m": row.sold,
    }  # fmt: skip


def aggregated(symbol: str, row: Print, facts: Facts) -> Row:
    """aggTrade."""
    return {"e": "aggTrade", "E": row.time_ms, "s": symbol} | aggregate(row, facts) | {"st": 1}
