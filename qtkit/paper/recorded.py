"""Real quotes and trades tick by tick, as frames to measure on; or a small made set of the same shape out of a known book."""

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from qtkit.core.model import ONE, OrderSide, PolicyError
from qtkit.paper.facts import FACTS
from qtkit.paper.liquidity import Liquidity, ladder, lots_for, still_eaten

FILES = {"quotes": "usdm_bbo.parquet", "trades": "usdm_trades.parquet"}
GAP_MS = 60_000  # a longer silence of the quotes parts two stretches
MADE_BOOKS = {
    "BTCUSDT": Liquidity(half_spread_ticks=1, half_spread=0, depth=40_000 * ONE, step=1_000, level=30_000 * ONE, recovery_ms=60),
    "ETHUSDT": Liquidity(half_spread_ticks=1, half_spread=0, depth=20_000 * ONE, step=1_000, level=15_000 * ONE, recovery_ms=120),
}
"""What the made set is made of, and what a fit has to find in it."""
_MADE_START_MS, _MADE_PRICES = 1_763_683_200_000, {"BTCUSDT": 934_758, "ETHUSDT": 350_000}
_MADE_STRETCHES, _MADE_MS, _QUOTE_MS, _SWEEP_EVERY = 3, 90_000, 10, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Quotes (``symbol, stretch, time_ms, bid, bid_size, ask, ask_size``) and trades (``symbol, stretch, time_ms, id, price, size, side``).

    ``side`` is the aggressor's. A stretch is a time without a gap; times are the exchange's. ``hashes`` are those of the files read.
    """

    quotes: pl.DataFrame
    trades: pl.DataFrame
    made: bool
    hashes: Mapping[str, str] = field(default_factory=dict)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols that have both quotes and trades."""
        return tuple(sorted(set(self.quotes["symbol"]) & set(self.trades["symbol"])))

    @property
    def period(self) -> list[str]:
        """First and last time of each stretch, UTC."""
        rows = self.quotes.group_by("stretch").agg(first=pl.col("time_ms").min(), last=pl.col("time_ms").max()).sort("first")
        return [f"{_clock(first)} - {_clock(last)}" for _, first, last in rows.iter_rows()]

    def __repr__(self) -> str:
        kind = "made from a seed, not recorded: what is fitted here says nothing of a market" if self.made else "recorded"
        counts = f"{self.quotes.height:,} quotes and {self.trades.height:,} trades of {', '.join(self.symbols)}"
        return "\n".join([f"{counts}, {kind}", *(f"  {line} UTC" for line in self.period)])


def _clock(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def read(folder: Path) -> Recording:
    """The recording in a folder. Raises ``PolicyError`` if a file is missing."""
    paths = {name: folder / file for name, file in FILES.items()}
    for path in paths.values():
        if not path.is_file():
            raise PolicyError(f"{path} is not there; a recording is {' and '.join(FILES.values())} in one folder")
    quotes, trades = (pl.read_parquet(path).with_columns(time_ms=pl.col("time").dt.epoch("ms")) for path in paths.values())
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths.values()}
    return _parted(quotes, trades.sort("symbol", "id"), made=False, hashes=hashes)


def find(folder: str, data: str, seed: int) -> Recording:
    """The recording in ``folder``, else in ``ticks`` under the folder ``data``; where neither is named, the made set of ``seed``."""
    if folder or data:
        return read(Path(folder).expanduser() if folder else Path(data).expanduser() / "ticks")
    return made(seed)


def _parted(quotes: pl.DataFrame, trades: pl.DataFrame, *, made: bool, hashes: Mapping[str, str] | None = None) -> Recording:
    """Stretches are numbered over all symbols: what was recorded at the same time has the same number."""
    starts = quotes.select("time_ms").sort("time_ms").with_columns(new=pl.col("time_ms").diff().fill_null(GAP_MS + 1) > GAP_MS)
    firsts = starts.filter("new").select("time_ms").with_row_index("stretch").with_columns(pl.col("stretch").cast(pl.Int64))
    parts = [
        frame.sort("time_ms", maintain_order=True).join_asof(firsts, on="time_ms", strategy="backward").drop_nulls("stretch")
        for frame in (quotes, trades)
    ]
    return Recording(quotes=parts[0], trades=parts[1], made=made, hashes=hashes or {})


def made(seed: int) -> Recording:
    """Minutes of quotes and sweeps out of ``MADE_BOOKS``, deterministic by seed: the same shape as a recording, for tests and trials."""
    quotes: list[tuple[str, int, float, float, float, float]] = []
    trades: list[tuple[str, int, int, float, float, str]] = []
    for symbol, book in MADE_BOOKS.items():
        pick = random.Random(f"{seed} {symbol}")
        for stretch in range(_MADE_STRETCHES):
            _play(symbol, book, _MADE_START_MS + stretch * 3_600_000, pick, quotes, trades)
    names = ["symbol", "time_ms", "bid", "bid_size", "ask", "ask_size"]
    return _parted(
        pl.DataFrame(quotes, schema=names, orient="row"),
        pl.DataFrame(trades, schema=["symbol", "time_ms", "id", "price", "size", "side"], orient="row"),
        made=True,
    )


def _play(
    symbol: str, book: Liquidity, start_ms: int, pick: random.Random,
    quotes: list[tuple[str, int, float, float, float, float]], trades: list[tuple[str, int, int, float, float, str]],
) -> None:  # fmt: skip
    """A stretch: the book is quoted every 10 ms as it recovers; now and then somebody sweeps it, seldom far."""
    rules = FACTS[symbol].instrument
    last, eaten = _MADE_PRICES[symbol], {side: (0, start_ms) for side in OrderSide}
    for at_ms in range(start_ms, start_ms + _MADE_MS, _QUOTE_MS):
        last += pick.choice((-1, 0, 0, 0, 1))
        sides = {}
        for side, (quantity, since) in eaten.items():
            missing = still_eaten(quantity, at_ms - since, book.recovery_ms, rules.lot)
            sides[side] = ladder(book, side, last * rules.tick, tick=rules.tick, lot=rules.lot, eaten=missing)
        (ask, ask_size), (bid, bid_size) = sides[OrderSide.BUY].quote(), sides[OrderSide.SELL].quote()
        quotes.append((symbol, at_ms, bid / ONE, bid_size / ONE, ask / ONE, ask_size / ONE))
        if pick.randrange(_SWEEP_EVERY):
            continue
        side = pick.choice(list(OrderSide))
        money = int(10 ** pick.uniform(2, 4.5) if pick.random() < 0.9 else 10 ** pick.uniform(4.5, 6.5))
        size = max(lots_for(money * ONE, last * rules.tick, rules.lot), rules.lot)
        fills = sides[side].sweep(size, last * rules.tick * (2 if side is OrderSide.BUY else 0))
        eaten[side] = sides[side].eaten + sum(held for _, held in fills), at_ms + 1
        for price, held in fills:
            trades.append((symbol, at_ms + 1, len(trades), price / ONE, held / ONE, side.value.lower()))
