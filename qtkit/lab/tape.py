"""Recorded trades as bars: the finest that there are."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from qtkit.bars import TIME, BarsError, Rule, read_parquet, refuse_columns, refuse_rows
from qtkit.core.names import suggestion
from qtkit.lab.asked import kind_of, refuse_count
from qtkit.lab.series import Bars, load

_PRICE = pl.col("price")
_RULES = (
    Rule("time", pl.col("time").is_null(), "is null", "drop that row"),
    Rule("price", (_PRICE.is_finite() & (_PRICE > 0)).fill_null(False).not_(), "is not a positive number", "drop that row"),
)
_ORDERED = Rule("time", pl.col("time").diff() < pl.duration(), "falls", 'use .sort("time"), or give a column id to order by')


def from_trades(source: Path | str | pl.DataFrame, *, symbol: str = "", tick: str | float | None = None, step_ms: int = 1) -> Bars:
    """Bars of ``step_ms`` from recorded trades, a parquet file or a frame: ``time`` and ``price``, and ``symbol`` and ``id`` if known.

    Trades are taken by time, within it by ``id`` where they have one, else in their order. Of several symbols ``symbol`` says which. A bar
    in which nothing was traded is missing. Those of one millisecond are one bar, of which the order is no more known than of any other.
    They are replayed and swept as all bars are, and are the finer ones that ``lab.bands(..., resolve=)`` reads.

    Raises ``BarsError`` that names file, row and rule, and as ``load`` does.
    """
    refuse_count("step_ms", step_ms, "milliseconds")
    trades, name = _read(source)
    trades, symbol = _of_one(trades, name, symbol)
    for rule in _RULES:
        refuse_rows(trades, name, rule)
    if "id" in trades.columns:
        trades = trades.sort("time", "id")
    refuse_rows(trades, name, _ORDERED)
    bar = (pl.col("time").dt.epoch("ms") // step_ms * step_ms).cast(TIME)
    ends = {"open": _PRICE.first(), "high": _PRICE.max(), "low": _PRICE.min(), "close": _PRICE.last()}
    made = trades.group_by(bar.alias("time"), maintain_order=True).agg(**ends, volume=pl.lit(0.0))
    return replace(load(made, symbol=symbol, tick=tick), step_ms=step_ms, source=name)


def _read(source: Path | str | pl.DataFrame) -> tuple[pl.DataFrame, str]:
    if not isinstance(source, Path | str | pl.DataFrame):
        raise BarsError(f"trades are a parquet file or a polars frame, got {kind_of(source)}")
    frame, name = (source, "trades") if isinstance(source, pl.DataFrame) else (read_parquet(source), str(source))
    refuse_columns(frame.schema, name, {"time": TIME, "price": pl.Float64()})
    if frame.is_empty():
        raise BarsError(f"{name} hold none; give at least one")
    return frame, name


def _of_one(trades: pl.DataFrame, name: str, symbol: str) -> tuple[pl.DataFrame, str]:
    """The trades of one symbol, and which."""
    if "symbol" not in trades.columns:
        return trades, symbol
    known = trades["symbol"].unique().drop_nulls().sort().to_list()
    if not symbol and len(known) > 1:
        raise BarsError(f"{name} hold {', '.join(known)}; say which with symbol=")
    symbol = symbol or known[0]
    if symbol not in known:
        raise BarsError(f"{name} have none of {symbol}: {suggestion(symbol, known)}")
    return trades.filter(pl.col("symbol") == symbol), symbol
