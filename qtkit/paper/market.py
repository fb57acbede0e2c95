"""One symbol's market: prices, one-minute bars, funding schedule, and the orders that wait for a price."""

from collections import deque
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import replace
from itertools import chain, islice, repeat

from qtkit.core.model import E8, ONE, Bar, OrderSide, TriggerBy
from qtkit.paper.candles import Book, Candle, Depth, FundingRow, joined
from qtkit.paper.facts import Facts
from qtkit.paper.liquidity import ENDLESS, Ladder, brought, ladder, still_eaten
from qtkit.paper.rows import ExchangeError
from qtkit.paper.rules import Rules
from qtkit.paper.triggers import TriggerIndex

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
MAX_CANDLES = 100_000  # 69 days of minutes
MAX_GAP = 1_440  # a longer gap of minutes without prices is left open instead of being filled with flat candles

Token = tuple[str, str, int]  # "order", "algo" or "peak"; account; id
Guard = tuple[str, str, str]  # account, symbol, position side


class Series:
    """One-minute candles of one price series; the running one is ``minute, open, high, low, close, count`` and what was traded."""

    __slots__ = ("bought", "bought_quote", "close", "closed", "count", "high", "low", "minute", "open", "sold", "sold_quote")

    def __init__(self) -> None:
        self.closed: deque[Candle] = deque(maxlen=MAX_CANDLES)
        self.start(-1, 0)

    def running(self) -> Candle | None:
        """The candle that is not closed yet; None before the first price."""
        if self.minute < 0:
            return None
        return Candle(
            time_ms=self.minute * MINUTE_MS,
            open=E8(self.open),
            high=E8(self.high),
            low=E8(self.low),
            close=E8(self.close),
            ticks=self.count,
            volume=E8(self.bought + self.sold),
            quote=E8(self.bought_quote + self.sold_quote),
            bought=E8(self.bought),
            bought_quote=E8(self.bought_quote),
        )

    def roll(self, minute: int) -> Iterator[Candle]:
        """Close the running candle and fill the minutes without prices before ``minute``; yields what closed."""
        candle = self.running()
        if candle is None or minute <= self.minute:
            return
        self.closed.append(candle)
        yield candle
        gap = range(self.minute + 1, minute)
        for empty in gap if len(gap) <= MAX_GAP else ():
            flat = Candle(time_ms=empty * MINUTE_MS, open=candle.close, high=candle.close, low=candle.close, close=candle.close)
            self.closed.append(flat)
            yield flat
        self.start(minute, candle.close)

    def start(self, minute: int, price: int) -> None:
        """Open the candle of a minute at a price."""
        self.minute = minute
        self.open = self.high = self.low = self.close = price
        self.count = self.bought = self.bought_quote = self.sold = self.sold_quote = 0

    def trade(self, price: int, traded: int) -> None:
        """So much was bought (sold, if negative) at a price; the first trade of a minute opens its candle."""
        if not self.count:
            self.open = self.high = self.low = price
        self.count += 1
        if traded > 0:
            self.bought += traded
            self.bought_quote += price * traded // ONE
        else:
            self.sold -= traded
            self.sold_quote += price * -traded // ONE

    def clone(self) -> "Series":
        """An independent copy."""
        twin = copy(self)
        twin.closed = self.closed.copy()
        return twin


class Market:
    """State of one symbol. ``last`` and ``mark`` are E8 and 0 before the first tick; ``wake_ms`` is the next minute or funding.

    ``traded`` is what changed hands with the last price, E8, below 0 where a seller took.
    """

    __slots__ = (
        "eaten", "facts", "funding_hours", "funding_ms", "funding_rate", "fundings", "guards", "last", "last_series", "last_waits",
        "liquidity", "lot", "mark", "mark_series", "mark_waits", "symbol", "tick", "time_ms", "traded", "wake_ms",
    )  # fmt: skip

    def __init__(self, facts: Facts, rules: Rules, start_ms: int) -> None:
        self.facts = facts
        self.symbol = facts.symbol
        self.tick: int = facts.instrument.tick
        self.lot: int = facts.instrument.lot
        self.last = self.mark = self.traded = 0
        self.time_ms = start_ms
        self.wake_ms = 0
        self.liquidity = rules.liquidity
        self.eaten: dict[OrderSide, tuple[int, int]] = {}  # by the takers' side: quantity, and when
        self.last_series, self.mark_series = Series(), Series()
        self.last_waits: TriggerIndex[Token] = TriggerIndex()
        self.mark_waits: TriggerIndex[Token] = TriggerIndex()
        self.guards: TriggerIndex[Guard] = TriggerIndex()
        self.funding_hours = rules.funding_hours
        self.funding_rate = 0
        period = rules.funding_hours * HOUR_MS
        self.funding_ms = (start_ms // period + 1) * period
        self.fundings: list[FundingRow] = []

    def waits(self, by: TriggerBy) -> TriggerIndex[Token]:
        """The index of the series that an order triggers by."""
        return self.mark_waits if by is TriggerBy.MARK else self.last_waits

    def price(self, by: TriggerBy) -> int:
        """Present price (E8) of a series."""
        return self.mark if by is TriggerBy.MARK else self.last

    def require_price(self) -> None:
        """Raises -4131 before the first tick: there is no best price to compare with."""
        if not self.last:
            raise ExchangeError(-4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit.")

    def ladder(self, side: OrderSide, now_ms: int) -> Ladder:
        """What an order of this side would sweep now."""
        quantity, at_ms = self.eaten.get(side, (0, 0))
        lot = self.facts.instrument.lot
        eaten = still_eaten(quantity, now_ms - at_ms, self.liquidity.recovery_ms, lot) if quantity else 0
        return ladder(self.liquidity, side, self.last, tick=self.tick, lot=lot, eaten=eaten)

    def take(self, side: OrderSide, quantity: int, limit: int, now_ms: int) -> list[tuple[E8, E8]]:
        """Sweep the book up to a limit price: (price, quantity) of the fills. What they took is missing until the book has recovered."""
        ladder = self.ladder(side, now_ms)
        fills = ladder.sweep(quantity, limit)
        if fills and self.liquidity.depth is not None:
            self.eaten[side] = ladder.eaten + sum(held for _, held in fills), now_ms
        return fills

    def brought(self, side: OrderSide, limit: int) -> int:
        """How much of a resting order the present price fills."""
        return brought(self.liquidity, side, self.last, limit, tick=self.tick, lot=self.facts.instrument.lot)

    def take_limit(self, side: OrderSide, *, bounded: bool) -> int:
        """The worst price (E8) at which a market order may fill: ``market_take_bound`` from the mark."""
        reach = self.facts.market_take_bound * self.mark // ONE
        if side is OrderSide.BUY:
            return self.mark + reach if bounded else ENDLESS
        return self.mark - reach if bounded else 0

    def book(self, now_ms: int) -> Book:
        """The present quote. Raises -4131 before the first tick."""
        self.require_price()
        return self.quote(now_ms)

    def quote(self, now_ms: int) -> Book:
        """The present quote; as in a market of Binance that does not trade yet, its prices are nought before the first tick."""
        nothing = (E8(0), E8(0))
        (ask, ask_size), (bid, bid_size) = (
            self._shown(self.ladder(side, now_ms).quote()) if self.last else nothing for side in (OrderSide.BUY, OrderSide.SELL)
        )
        return Book(
            symbol=self.symbol,
            last=E8(self.last),
            mark=E8(self.mark),
            bid=bid,
            bid_size=bid_size,
            ask=ask,
            ask_size=ask_size,
            funding_rate=E8(self.funding_rate),
            funding_ms=self.funding_ms,
            time_ms=self.time_ms,
        )

    def depth(self, limit: int, now_ms: int) -> Depth:
        """The nearest levels of both sides; none before the first tick."""
        if not self.last:
            return Depth(symbol=self.symbol, bids=(), asks=(), time_ms=self.time_ms)
        asks, bids = (islice(self.ladder(side, now_ms).levels(), limit) for side in (OrderSide.BUY, OrderSide.SELL))
        return Depth(symbol=self.symbol, bids=tuple(map(self._shown, bids)), asks=tuple(map(self._shown, asks)), time_ms=self.time_ms)

    def _shown(self, level: tuple[E8, E8]) -> tuple[E8, E8]:
        """A level without end is shown with the largest market order."""
        rules = self.facts.instrument
        return level[0], E8(rules.market_max_lots * rules.lot) if level[1] >= ENDLESS else level[1]

    def observe(self, last: int, mark: int, traded: int | None) -> None:
        """Take in one pair of prices (E8) of the running minute. ``traded`` None, not known: one lot, sold if the price falls."""
        if traded is None:
            falls = last < self.last or (last == self.last and self.traded < 0)
            traded = -self.lot if falls else self.lot
        self.last = last
        self.mark = mark
        self.traded = traded
        series = self.last_series
        series.close = last
        if traded:
            series.trade(last, traded)
        if last > series.high:
            series.high = last
        elif last < series.low:
            series.low = last
        series = self.mark_series
        series.close = mark
        series.count += 1
        if mark > series.high:
            series.high = mark
        elif mark < series.low:
            series.low = mark

    def restart(self, minute: int, last: int, mark: int) -> None:
        """Open the minute's candles with these prices; used for a minute's first tick."""
        self.last_series.start(minute, last)
        self.mark_series.start(minute, mark)

    def seed(self, by: TriggerBy, bars: Iterable[Bar], volumes: Iterable[int] = ()) -> None:
        """Append history before the first price. ``volumes`` (E8) of its bars; not known: a lot at each of a bar's four prices."""
        known = chain(volumes, repeat(None))
        for bar, volume in zip(bars, known, strict=False):
            traded = 4 * self.lot if volume is None else volume
            self._series(by).closed.append(self._told(bar, 0 if by is TriggerBy.MARK else traded))

    def _told(self, bar: Bar, volume: int) -> Candle:
        """A bar of history. Half of it was bought, all of it at the middle of its four prices: bars do not tell."""
        prices = (bar.open, bar.high, bar.low, bar.close)
        quote = volume * sum(prices) * self.tick // (4 * ONE)
        first, high, low, last = (E8(price * self.tick) for price in prices)
        return Candle(
            time_ms=bar.time_ms, open=first, high=high, low=low, close=last, ticks=4 if volume else 0, volume=E8(volume), quote=E8(quote),
            bought=E8(volume // 2), bought_quote=E8(quote // 2),
        )  # fmt: skip

    def _series(self, by: TriggerBy) -> Series:
        return self.mark_series if by is TriggerBy.MARK else self.last_series

    def candles(self, by: TriggerBy) -> list[Candle]:
        """All one-minute candles, oldest first, the running one last."""
        series = self._series(by)
        running = series.running()
        return [*series.closed, *(() if running is None else (running,))]

    def clone(self) -> "Market":
        """An independent copy."""
        twin = Market.__new__(Market)
        twin.facts, twin.symbol, twin.tick = self.facts, self.symbol, self.tick
        twin.liquidity, twin.eaten = self.liquidity, self.eaten.copy()
        twin.lot, twin.traded = self.lot, self.traded
        twin.last, twin.mark, twin.time_ms, twin.wake_ms = self.last, self.mark, self.time_ms, self.wake_ms
        twin.funding_rate, twin.funding_ms, twin.funding_hours = self.funding_rate, self.funding_ms, self.funding_hours
        twin.last_series, twin.mark_series = self.last_series.clone(), self.mark_series.clone()
        twin.last_waits, twin.mark_waits, twin.guards = self.last_waits.clone(), self.mark_waits.clone(), self.guards.clone()
        twin.fundings = self.fundings.copy()
        return twin


def merge(candles: list[Candle], minutes: int) -> list[Candle]:
    """One-minute candles gathered into candles of ``minutes``, aligned to the epoch."""
    if minutes == 1:
        return candles
    span = minutes * MINUTE_MS
    out: list[Candle] = []
    for candle in candles:
        start = candle.time_ms // span * span
        if out and out[-1].time_ms == start:
            out[-1] = joined(out[-1], candle)
        else:
            out.append(replace(candle, time_ms=start))
    return out
