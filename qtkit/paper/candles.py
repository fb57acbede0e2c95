"""A market in numbers, E8: its bars, its quote, its book as it is shown, its fundings."""

from dataclasses import dataclass

from qtkit.core.model import E8

NOTHING = E8(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """One bar of last or mark prices; ``ticks`` counts the trades in it, of mark prices the prices.

    ``volume`` changed hands in it, in coins, for ``quote`` in money; of that takers ``bought`` for ``bought_quote``. A mark trades nothing.
    """

    time_ms: int
    open: E8
    high: E8
    low: E8
    close: E8
    ticks: int = 0
    volume: E8 = NOTHING
    quote: E8 = NOTHING
    bought: E8 = NOTHING
    bought_quote: E8 = NOTHING


def joined(bar: Candle, then: Candle) -> Candle:
    """A bar and the one after it as one, which begins where the first did."""
    return Candle(
        time_ms=bar.time_ms,
        open=bar.open,
        high=max(bar.high, then.high),
        low=min(bar.low, then.low),
        close=then.close,
        ticks=bar.ticks + then.ticks,
        volume=E8(bar.volume + then.volume),
        quote=E8(bar.quote + then.quote),
        bought=E8(bar.bought + then.bought),
        bought_quote=E8(bar.bought_quote + then.bought_quote),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The market as the paper exchange quotes it, E8. ``funding_ms`` is the next funding time, ``funding_rate`` E8.

    ``bid_size`` and ``ask_size`` are quantities at the best prices; 0: nothing is left on that side.
    """

    symbol: str
    last: E8
    mark: E8
    bid: E8
    bid_size: E8
    ask: E8
    ask_size: E8
    funding_rate: E8
    funding_ms: int
    time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """The book as it is shown: (price, quantity) of the nearest levels, E8, the best first. An order gets what is shown here."""

    symbol: str
    bids: tuple[tuple[E8, E8], ...]
    asks: tuple[tuple[E8, E8], ...]
    time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingRow:
    """One settled funding of a symbol."""

    symbol: str
    rate: E8
    mark: E8
    time_ms: int
