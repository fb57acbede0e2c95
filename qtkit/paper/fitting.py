"""Fit the book of the paper exchange on quotes and trades: what the spread is, what sweeps cost by size, how soon the book is back.

Statistics, so floats; what comes out is a ``Liquidity`` of integers, and its error is that of the exchange's own ladder.
Costs are basis points of the best price that was quoted before; money is quote money.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from qtkit.core.model import ONE, OrderSide, PolicyError
from qtkit.paper.facts import FACTS
from qtkit.paper.liquidity import EXACT, Liquidity, ladder
from qtkit.paper.recorded import Recording

STEP_BPS = 0.1  # distance of the fitted ladder's levels
STALE_MS = 2_000  # a sweep without a quote that young before it says nothing
LARGE_BPS = 1.0  # a sweep that went so far is one whose recovery is watched
HORIZONS_MS = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000)
PEAK_MS = 20  # the quotes follow a sweep within that time
DEPTHS = tuple(round(10 ** (3 + i / 10)) for i in range(31))  # 1,000 to 1,000,000
_BPS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What was found for one symbol.

    ``quoted`` is the money that stood at a best price half of the time, ``per_bp`` that on each basis point beyond it; ``paid`` is the
    average cost of a USDT swept. The errors are how far the cost by size is off, weighted by money: of the fit on its own data, of each
    stretch by a fit on the others (None with one stretch), and of one cost for all sizes. ``back_ms``: half of the price move of large
    sweeps is gone, ``healed_ms``: half of the excess spread is; None: not within the time watched.
    """

    symbol: str
    book: Liquidity
    half_bps: float
    quoted: float
    per_bp: float
    back_ms: int | None
    healed_ms: int | None
    sweeps: int
    large: int
    stretches: int
    paid: float
    error_in: float
    error_out: float | None
    error_flat: float


def sweeps(it: Recording) -> pl.DataFrame:
    """Trades of one aggressor within a millisecond as one order, beside the quote that stood before it.

    Columns: ``symbol, stretch, time_ms, sign, money, cost`` (of the average price), ``far`` (of the last price), ``best, best_money``,
    ``share`` of the best size. A cost is negative where the price moved in the order's favour after the quote.
    """
    signed = it.trades.with_columns(sign=pl.when(pl.col("side") == "buy").then(1).otherwise(-1), money=pl.col("price") * pl.col("size"))
    orders = signed.group_by("symbol", "stretch", "time_ms", "sign", maintain_order=True).agg(
        pl.col("money").sum(), pl.col("size").sum(), far_price=(pl.col("price") * pl.col("sign")).max().abs()
    )
    before = it.quotes.select("symbol", "bid", "bid_size", "ask", "ask_size", time_ms=pl.col("time_ms") + 1).sort("time_ms")
    joined = orders.sort("time_ms").join_asof(before, on="time_ms", by="symbol", tolerance=STALE_MS, check_sortedness=False)
    buying = pl.col("sign") == 1
    best = joined.drop_nulls("bid").with_columns(
        best=pl.when(buying).then(pl.col("ask")).otherwise(pl.col("bid")),
        best_size=pl.when(buying).then(pl.col("ask_size")).otherwise(pl.col("bid_size")),
    )
    return best.select(
        "symbol", "stretch", "time_ms", "sign", "money", "best",
        cost=(pl.col("money") / pl.col("size") - pl.col("best")) * pl.col("sign") / pl.col("best") * _BPS,
        far=(pl.col("far_price") - pl.col("best")) * pl.col("sign") / pl.col("best") * _BPS,
        best_money=pl.col("best_size") * pl.col("best"), share=pl.col("size") / pl.col("best_size"),
    )  # fmt: skip


def spreads(it: Recording) -> pl.DataFrame:
    """For how long which spread stood: ``symbol, ticks`` of the spread, ``bps``, ``share`` of the time."""
    following = pl.col("time_ms").shift(-1).over("symbol", "stretch")
    ticks = pl.DataFrame([(symbol, FACTS[symbol].instrument.tick / ONE) for symbol in it.symbols], schema=["symbol", "tick"], orient="row")
    stood = it.quotes.with_columns(ms=(following - pl.col("time_ms")).fill_null(0)).join(ticks, on="symbol")
    wide = stood.with_columns(
        ticks=((pl.col("ask") - pl.col("bid")) / pl.col("tick")).round().cast(pl.Int64),
        bps=(pl.col("ask") - pl.col("bid")) * 2 / (pl.col("ask") + pl.col("bid")) * _BPS,
    )
    rows = wide.group_by("symbol", "ticks").agg(bps=(pl.col("bps") * pl.col("ms")).sum() / pl.col("ms").sum(), ms=pl.col("ms").sum())
    shares = rows.filter(pl.col("ms") > 0).with_columns(share=pl.col("ms") / pl.col("ms").sum().over("symbol"))
    return shares.select("symbol", "ticks", "bps", "share").sort("symbol", "ticks")


def quoted(it: Recording, symbol: str) -> float:
    """The money that stood at a best price, of either side, for half of the time."""
    following = pl.col("time_ms").shift(-1).over("stretch")
    stood = it.quotes.filter(pl.col("symbol") == symbol).with_columns(ms=(following - pl.col("time_ms")).fill_null(0))
    sides = [stood.select("ms", money=pl.col(side) * pl.col(f"{side}_size")) for side in ("bid", "ask")]
    rows = pl.concat(sides).sort("money").with_columns(part=pl.col("ms").cum_sum() / pl.col("ms").sum())
    return float(rows.filter(pl.col("part") >= 0.5)["money"][0])


def by_size(orders: pl.DataFrame, value: str = "money", *, every: float = 2.0) -> pl.DataFrame:
    """Sweeps in bins of ``value``, each ``every`` times the last: ``size`` is its mean, ``cost`` and ``model`` are those of a USDT."""
    costs = [name for name in ("cost", "model") if name in orders.columns]
    bins = orders.filter(pl.col(value) > 0).with_columns(bin=pl.col(value).log(every).floor())
    return (
        bins.group_by("symbol", "bin")
        .agg(
            *[(pl.col(name) * pl.col("money")).sum() / pl.col("money").sum() for name in costs],
            size=pl.col(value).mean(), count=pl.len(), paid=pl.col("money").sum(),
        )
        .rename({"paid": "money"})
        .sort("symbol", "bin")
    )  # fmt: skip


def error(orders: pl.DataFrame) -> float:
    """How far ``model`` is off ``cost`` by size, in basis points, weighted by money."""
    rows = by_size(orders)
    return _by_money(rows.with_columns(cost=(pl.col("cost") - pl.col("model")).abs()))


def _by_money(rows: pl.DataFrame) -> float:
    """Mean ``cost`` of a USDT."""
    return float(rows.select((pl.col("cost") * pl.col("money")).sum() / pl.col("money").sum()).item())


def modelled(orders: pl.DataFrame, book: Liquidity) -> pl.DataFrame:
    """The orders with ``model``: what the paper exchange's ladder takes for each, the spread apart."""
    found = []
    for symbol, sign, money, best in orders.select("symbol", "sign", "money", "best").iter_rows():
        rules = FACTS[symbol].instrument
        price = round(best * ONE / rules.tick) * rules.tick
        size = max(round(money * ONE) * ONE // (price * rules.lot), 1) * rules.lot
        side = OrderSide.BUY if sign > 0 else OrderSide.SELL
        rungs = ladder(book, side, price, tick=rules.tick, lot=rules.lot)
        fills = rungs.sweep(size, price * (1 + sign))
        lost = sum(abs(level - price) * held for level, held in fills)
        found.append(lost * _BPS / (price * sum(held for _, held in fills)) if fills else 0.0)
    return orders.with_columns(model=pl.Series(found, dtype=pl.Float64))


def depth_and_impact(orders: pl.DataFrame) -> tuple[float, float]:
    """(money at the best price, money a basis point beyond). An order of m pays (m - depth)^2 / (2 * m * per_bp) beyond its depth.

    For each depth the money a basis point is what makes all orders together pay what they did pay; taken is the depth whose cost
    by size is nearest to the true one.
    """
    best: tuple[float, float, float] | None = None
    for depth in DEPTHS:
        reach = (pl.col("money") - depth).clip(0) ** 2 / (2 * pl.col("money"))
        paid, reached = orders.select((pl.col("money") * pl.col("cost")).sum(), reach=(pl.col("money") * reach).sum()).row(0)
        if paid <= 0 or reached <= 0:
            continue
        off = error(orders.with_columns(model=reach * (paid / reached)))
        if best is None or off < best[0]:
            best = off, float(depth), reached / paid
    if best is None:
        raise PolicyError("no order of this recording went beyond the best price: depth and impact cannot be fitted")
    return best[1], best[2]


def recovery(it: Recording, orders: pl.DataFrame) -> pl.DataFrame:
    """After large sweeps, averaged: ``symbol, after_ms, moved`` (the swept side's best price, bps from before) and ``spread`` (bps)."""
    quotes = it.quotes.select("symbol", "time_ms", "bid", "ask").sort("time_ms")
    large = orders.filter(pl.col("far") >= LARGE_BPS).select("symbol", "stretch", "sign", "best", swept_ms="time_ms")
    frames = []
    for after in HORIZONS_MS:
        seen = large.with_columns(time_ms=pl.col("swept_ms") + after).sort("time_ms")
        seen = seen.join_asof(quotes, on="time_ms", by="symbol", tolerance=STALE_MS, check_sortedness=False).drop_nulls("bid")
        now = pl.when(pl.col("sign") == 1).then(pl.col("ask")).otherwise(pl.col("bid"))
        frames.append(
            seen.group_by("symbol").agg(
                after_ms=pl.lit(after), moved=((now - pl.col("best")) * pl.col("sign") / pl.col("best") * _BPS).mean(),
                spread=((pl.col("ask") - pl.col("bid")) / pl.col("best") * _BPS).mean(),
            )
        )  # fmt: skip
    return pl.concat(frames).sort("symbol", "after_ms")


def half_life(rows: Iterable[tuple[int, float]], rest: float = 0.0) -> int | None:
    """First time (ms) at which an excess over ``rest`` is half its peak or less; None if it is not. The peak is looked for early."""
    seen = [(after, value - rest) for after, value in rows]
    peak_ms, peak = max(((after, value) for after, value in seen if after <= PEAK_MS), key=lambda row: row[1], default=(0, 0.0))
    return next((after for after, value in seen if after > peak_ms and value <= peak / 2), None) if peak > 0 else None


def fit(it: Recording, symbol: str, orders: pl.DataFrame, watched: pl.DataFrame) -> Fit:
    """Spread, depth, impact and recovery of one symbol, and how well they foretell; ``orders`` and ``watched`` are those of all symbols."""
    own, seen, spread = (frame.filter(pl.col("symbol") == symbol) for frame in (orders, watched, spreads(it)))
    half = float(spread.select((pl.col("bps") * pl.col("share")).sum()).item()) / 2
    depth, per_bp = depth_and_impact(own)
    back = half_life(seen.select("after_ms", "moved").iter_rows())
    book = book_of(half, depth, per_bp, back or HORIZONS_MS[-1])
    stretches, paid = own["stretch"].n_unique(), _by_money(own)
    return Fit(
        symbol=symbol, book=book, half_bps=half, quoted=quoted(it, symbol), per_bp=per_bp, back_ms=back,
        healed_ms=half_life(seen.select("after_ms", "spread").iter_rows(), rest=2 * half),
        sweeps=own.height, large=own.filter(pl.col("far") >= LARGE_BPS).height, stretches=stretches,
        paid=paid, error_in=error(modelled(own, bare(book))), error_out=error(foretold(own)) if stretches > 1 else None,
        error_flat=error(own.with_columns(model=pl.lit(paid))),
    )  # fmt: skip


def foretold(orders: pl.DataFrame) -> pl.DataFrame:
    """The orders of one symbol with ``model``: each stretch by a book that was fitted on the others. Raises with a single stretch."""
    told = []
    for number in sorted(orders["stretch"].unique()):
        depth, per_bp = depth_and_impact(orders.filter(pl.col("stretch") != number))
        told.append(modelled(orders.filter(pl.col("stretch") == number), bare(book_of(0.0, depth, per_bp, 0))))
    return pl.concat(told)


def book_of(half_bps: float, depth: float, per_bp: float, recovery_ms: int) -> Liquidity:
    """The integers: the spread to 1e-8 of the price, money to a USDT.

    Half a level is added to the depth, for the ladder goes by steps where the fitted cost rises evenly.
    """
    level = per_bp * STEP_BPS
    return Liquidity(
        half_spread_ticks=0, half_spread=round(half_bps * ONE / _BPS), depth=round(depth + level / 2) * ONE,
        step=round(STEP_BPS * ONE / _BPS), level=round(level) * ONE, recovery_ms=recovery_ms,
    )  # fmt: skip


def bare(book: Liquidity) -> Liquidity:
    """The same book without its spread: costs are measured from the best price."""
    return Liquidity(
        half_spread_ticks=EXACT.half_spread_ticks, half_spread=EXACT.half_spread, depth=book.depth, step=book.step, level=book.level,
        recovery_ms=book.recovery_ms,
    )  # fmt: skip


def told(fits: Iterable[Fit]) -> dict[str, dict[str, float | int | None]]:
    """The figures of each symbol for a record: what was counted, what was measured, and the errors."""
    names = (
        "half_bps",
        "quoted",
        "per_bp",
        "back_ms",
        "healed_ms",
        "sweeps",
        "large",
        "stretches",
        "paid",
        "error_in",
        "error_out",
        "error_flat",
    )
    return {fit.symbol: {name: _rounded(getattr(fit, name)) for name in names} for fit in fits}


def _rounded(value: float | int | None) -> float | int | None:
    return round(value, 4) if isinstance(value, float) else value
