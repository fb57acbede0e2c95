"""Engine rows -> Binance's JSON of instruments, prices, bars and trades.

Volumes are those of the tape, where it knows none one lot a price. The book is the engine's own (what is shown is what an order gets),
and the index price is the mark price.
"""

from collections.abc import Container, Iterable, Mapping

from qtkit.core.matching import notional
from qtkit.core.model import ONE
from qtkit.paper.candles import Book, Candle, Depth, FundingRow
from qtkit.paper.facts import Facts
from qtkit.paper.intervals import bounds
from qtkit.paper.prints import Print, Prints
from qtkit.paper.wire import Row, decimal, money

ORDER_TYPES = ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]
_NO_END_MS = 4_133_404_800_000


def rate_limits(weight: int, orders: tuple[int, int]) -> list[Row]:
    """The ``rateLimits`` of exchangeInfo."""
    return [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight},
        *order_limits(orders),
    ]


def order_limits(orders: tuple[int, int]) -> list[Row]:
    """Answer of rateLimit/order."""
    return [
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": orders[0]},
        {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": orders[1]},
    ]


def exchange_info(facts: Mapping[str, Facts], halted: Container[str], limits: list[Row], max_orders: int, now_ms: int) -> Row:
    """Answer of exchangeInfo. A halted symbol is on its way out (PRE_SETTLE): any status but TRADING opens no position (-4140)."""
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": limits,
        "exchangeFilters": [],
        "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": [_symbol(row, max_orders, "PRE_SETTLE" if symbol in halted else "TRADING") for symbol, row in facts.items()],
    }


def _symbol(row: Facts, max_orders: int, status: str) -> Row:
    first = row.brackets[0]
    return {
        "symbol": row.symbol,
        "pair": row.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": _NO_END_MS,
        "onboardDate": row.onboard_ms,
        "status": status,
        "maintMarginPercent": decimal(first.ratio * 100, 4),
        "requiredMarginPercent": decimal(100 * ONE // first.leverage, 4),
        "baseAsset": row.base,
        "quoteAsset": row.quote,
        "marginAsset": row.quote,
        "pricePrecision": row.price_precision,
        "quantityPrecision": row.quantity_precision,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [row.underlying_kind],
        "settlePlan": 0,
        "triggerProtect": decimal(row.trigger_protect, 4),
        "liquidationFee": decimal(row.liquidation_fee, 6),
        "marketTakeBound": decimal(row.market_take_bound, 2),
        "maxMoveOrderLimit": 10_000,
        "filters": _filters(row, max_orders),
        "orderTypes": ORDER_TYPES,
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }


def _filters(row: Facts, max_orders: int) -> list[Row]:
    rules = row.instrument
    price, lot = decimal(rules.tick), decimal(rules.lot)
    return [
        {"filterType": "PRICE_FILTER", "minPrice": decimal(rules.min_price * rules.tick),
         "maxPrice": decimal(rules.max_price * rules.tick), "tickSize": price},
        {"filterType": "LOT_SIZE", "minQty": decimal(rules.min_lots * rules.lot), "maxQty": decimal(rules.max_lots * rules.lot),
         "stepSize": lot},
        {"filterType": "MARKET_LOT_SIZE", "minQty": decimal(rules.min_lots * rules.lot),
         "maxQty": decimal(rules.market_max_lots * rules.lot), "stepSize": lot},
        {"filterType": "MAX_NUM_ORDERS", "limit": max_orders},
        {"filterType": "MIN_NOTIONAL", "notional": decimal(rules.min_notional)},
        {"filterType": "PERCENT_PRICE", "multiplierUp": decimal(rules.percent_up * ONE // 10_000, 4),
         "multiplierDown": decimal(rules.percent_down * ONE // 10_000, 4), "multiplierDecimal": "4"},
    ]  # fmt: skip


def _number(e8: int) -> int | float:
    """A JSON number, as leverageBracket alone sends them; whole ones as integers."""
    return e8 // ONE if e8 % ONE == 0 else e8 / ONE


def leverage_bracket(row: Facts) -> Row:
    """One symbol of leverageBracket."""
    brackets = [
        {
            "bracket": number,
            "initialLeverage": bracket.leverage,
            "notionalCap": _number(bracket.cap),
            "notionalFloor": _number(bracket.floor),
            "maintMarginRatio": _number(bracket.ratio),
            "cum": _number(bracket.cum),
        }
        for number, bracket in enumerate(row.brackets, start=1)
    ]
    return {"symbol": row.symbol, "notionalCoef": 1, "brackets": brackets}


def commission_rate(row: Facts) -> Row:
    """Answer of commissionRate."""
    maker, taker = decimal(row.instrument.maker_fee, 6), decimal(row.instrument.taker_fee, 6)
    return {"symbol": row.symbol, "makerCommissionRate": maker, "takerCommissionRate": taker, "rpiCommissionRate": maker}


def kline(bar: Candle, interval: str) -> list[object]:
    """One row of klines and markPriceKlines."""
    prices = [decimal(bar.open), decimal(bar.high), decimal(bar.low), decimal(bar.close)]
    bought = [decimal(bar.bought), decimal(bar.bought_quote)]
    return [bar.time_ms, *prices, decimal(bar.volume), bounds(bar.time_ms, interval)[1] - 1, decimal(bar.quote), bar.ticks, *bought, "0"]


def premium_index(book: Book) -> Row:
    """One symbol of premiumIndex."""
    return {
        "symbol": book.symbol,
        "markPrice": money(book.mark),
        "indexPrice": money(book.mark),
        "estimatedSettlePrice": money(book.mark),
        "lastFundingRate": money(book.funding_rate),
        "interestRate": "0.00010000",
        "nextFundingTime": book.funding_ms,
        "time": book.time_ms,
    }


def funding_rate(row: FundingRow) -> Row:
    """One row of fundingRate."""
    rate: Row = {"symbol": row.symbol, "fundingTime": row.time_ms, "fundingRate": money(row.rate), "markPrice": money(row.mark)}
    return rate | {"rateType": "Regular"}


def funding_info(symbol: str, hours: int) -> Row:
    """One row of fundingInfo."""
    cap = {"adjustedFundingRateCap": "0.02000000", "adjustedFundingRateFloor": "-0.02000000"}
    return {"symbol": symbol, **cap, "fundingIntervalHours": hours, "disclaimer": False, "updateTime": 0}


def ticker_price(book: Book) -> Row:
    """One symbol of ticker/price."""
    return {"symbol": book.symbol, "price": decimal(book.last), "time": book.time_ms}


def book_ticker(book: Book, facts: Facts, update_id: int) -> Row:
    """One symbol of ticker/bookTicker."""
    digits = facts.quantity_precision
    return {
        "symbol": book.symbol, "bidPrice": decimal(book.bid), "bidQty": decimal(book.bid_size, digits),
        "askPrice": decimal(book.ask), "askQty": decimal(book.ask_size, digits), "time": book.time_ms, "lastUpdateId": update_id,
    }  # fmt: skip


def levels(rows: Iterable[tuple[int, int]], facts: Facts) -> list[list[str]]:
    """One side of a book: price and quantity of each level."""
    return [[decimal(price, facts.price_precision), decimal(size, facts.quantity_precision)] for price, size in rows]


def depth(shown: Depth, facts: Facts, update_id: int) -> Row:
    """Answer of depth."""
    bids, asks = levels(shown.bids, facts), levels(shown.asks, facts)
    return {"lastUpdateId": update_id, "E": shown.time_ms, "T": shown.time_ms, "bids": bids, "asks": asks}


def trade(row: Print, facts: Facts) -> Row:
    """One row of trades and historicalTrades."""
    return {
        "id": row.number, "price": decimal(row.price, facts.price_precision), "qty": decimal(row.quantity, facts.quantity_precision),
        "quoteQty": decimal(notional(row.price, row.quantity), 2), "time": row.time_ms, "isBuyerMaker": row.sold, "isRPITrade": False,
    }  # fmt: skip


def aggregate(row: Print, facts: Facts) -> Row:
    """One row of aggTrades: every trade is its own aggregate."""
    quantity = decimal(row.quantity, facts.quantity_precision)
    return {
        "a": row.number, "p": decimal(row.price, facts.price_precision), "q": quantity, "nq": quantity, "f": row.number, "l": row.number,
        "T": row.time_ms, "m": row.sold,
    }  # fmt: skip


def ticker_24h(book: Book, day: Candle | None, facts: Facts, prints: Prints) -> Row:
    """One symbol of ticker/24hr; ``day`` are the last 24 hours as one bar."""
    day = day or Candle(time_ms=book.time_ms, open=book.last, high=book.last, low=book.last, close=book.last)
    change, last_id = book.last - day.open, prints.last_id(book.symbol)
    digits, lots = facts.price_precision, facts.quantity_precision
    return {
        "symbol": book.symbol,
        "priceChange": decimal(change, digits),
        "priceChangePercent": decimal(change * 100 * ONE // (day.open or 1) // 100_000 * 100_000, 3),
        "weightedAvgPrice": decimal(day.quote * ONE // day.volume if day.volume else book.last, digits),
        "lastPrice": decimal(book.last, digits),
        "lastQty": decimal(prints.last_quantity(book.symbol), lots),
        "openPrice": decimal(day.open, digits),
        "highPrice": decimal(day.high, digits),
        "lowPrice": decimal(day.low, digits),
        "volume": decimal(day.volume, lots),
        "quoteVolume": decimal(day.quote, 2),
        "openTime": day.time_ms,
        "closeTime": book.time_ms,
        "firstId": max(0, last_id - day.ticks + 1),
        "lastId": last_id,
        "count": day.ticks,
    }
