"""A recorded day of a desk as frames, for research: what its journal tells, and the prices, bars and trading rules on its tape."""

from collections.abc import Iterable, Sequence
from typing import TypedDict

import polars as pl

from qtkit.core.events import Event
from qtkit.core.model import Instrument
from qtkit.store.journal import Row
from qtkit.store.seen import BarMissed, BarSeen, PriceSeen, RulesSeen, Seen

PRICE = {"at": pl.Int64(), "symbol": pl.String(), "mark": pl.Int64(), "last": pl.Int64()}
BAR = {"at": pl.Int64(), "symbol": pl.String(), "high": pl.Int64(), "low": pl.Int64(), "close": pl.Int64(), "missed": pl.Boolean()}


class Recorded(TypedDict):
    """What ``lab.parity`` takes: events with their times (ms); prices, mark in E8, last in ticks; closed bars in ticks; rules by symbol."""

    events: tuple[tuple[int, Event], ...]
    prices: pl.DataFrame
    bars: pl.DataFrame
    rules: dict[str, Instrument]


def recorded(seen: Iterable[Seen], rows: Sequence[Row[Event]], account: str) -> Recorded:
    """The day of one account. A symbol whose rules changed has its newest: what spans the change is not to be compared."""
    prices, bars, rules = [], [], {}
    for one in seen:
        match one.event:
            case PriceSeen() as it if it.account == account:
                prices.append((one.at_ms, it.symbol, it.mark, it.last))
            case BarSeen() | BarMissed() as it if it.account == account:
                missed = isinstance(it, BarMissed)
                bars.append((it.bar.time_ms, it.symbol, it.bar.high, it.bar.low, it.bar.close, missed))
            case RulesSeen() as it if it.account == account:
                rules[it.rules.symbol] = it.rules
            case _:
                pass
    return Recorded(
        events=tuple((row.at_ms, row.event) for row in rows),
        prices=pl.DataFrame(prices, schema=PRICE, orient="row"),
        bars=pl.DataFrame(bars, schema=BAR, orient="row"),
        rules=rules,
    )
