"""Fills as people have them, from an exchange through ccxt, from a CSV file or a frame, in one shape: exact, each as it was dealt."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import polars as pl

from qtkit.bars import BarsError
from qtkit.core.names import suggestion

MONEY = pl.Decimal(38, 8)
TIME = pl.Datetime("ms", "UTC")
FILLS: dict[str, pl.DataType] = {
    "time": TIME, "symbol": pl.String(), "position_side": pl.String(), "side": pl.String(), "price": MONEY, "size": MONEY, "fee": MONEY,
    "tag": pl.String(),
}  # fmt: skip
"""The one shape: ``side`` buy or sell, ``size`` in coins, ``fee`` in the quote coin (null: not known), ``position_side`` BOTH, LONG or
SHORT, ``tag`` what the trader calls it."""
NEEDED = ("time", "symbol", "side", "price", "size")
SIDES = ("buy", "sell")
SLOTS = ("BOTH", "LONG", "SHORT")

Raw = Mapping[str, object]


def fills(source: "Path | str | pl.DataFrame | Sequence[Raw]") -> pl.DataFrame:
    """Fills in the order of time, columns as ``FILLS``.

    ``source`` is a CSV or parquet file, a frame, or what ccxt's ``fetch_my_trades`` gave. A file or frame has time (ISO or ms, UTC),
    symbol, side, price, size (coins), and where it knows them fee, position_side and tag; ccxt's amounts are taken as coins, as they are
    on Binance. A fee in another coin than the quote is not known: null,
    never a guess. Raises ``BarsError`` that names row and rule.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
        rows = _named(frame, str(path))
    elif isinstance(source, pl.DataFrame):
        rows = _named(source, "fills")
    else:
        rows = [_of_ccxt(row, number) for number, row in enumerate(source)]
    made = [_checked(row, number) for number, row in enumerate(rows)]
    return pl.DataFrame(made, schema=FILLS, orient="row").sort("time", maintain_order=True)


def _named(frame: pl.DataFrame, name: str) -> list[Raw]:
    for column in frame.columns:
        if column not in FILLS:
            raise BarsError(f"{name}: column '{column}' is not known: {suggestion(column, FILLS)}; rename or drop it")
    missing = [column for column in NEEDED if column not in frame.columns]
    if missing:
        raise BarsError(f"{name}: column '{missing[0]}' is missing; fills need {', '.join(NEEDED)}")
    return list(frame.iter_rows(named=True))


def _of_ccxt(row: Raw, number: int) -> Raw:
    """A unified trade of ccxt; what the exchange itself said (``info``) knows the slot."""
    info = row.get("info")
    info = info if isinstance(info, Mapping) else {}
    symbol = str(row.get("symbol") or "")
    base, _, settled = symbol.partition(":")
    told = row.get("fees") or ([row["fee"]] if row.get("fee") else [])
    quote = settled.partition("-")[0] or base.partition("/")[2]
    fees = [fee for fee in told if isinstance(fee, Mapping)] if isinstance(told, Sequence) else []
    known = bool(fees) and all(fee.get("cost") is not None and fee.get("currency") in (quote, None) for fee in fees)
    if "timestamp" not in row or "amount" not in row:
        raise BarsError(f"fills: row {number} is no trade of ccxt (it has no timestamp or amount); give what fetch_my_trades returned")
    return {
        "time": row["timestamp"], "symbol": base.replace("/", ""), "side": row.get("side"), "price": row.get("price"),
        "size": row["amount"], "position_side": info.get("positionSide"),
        "fee": sum((_number(fee["cost"], "fee", number) for fee in fees), Decimal(0)) if known else None,
    }  # fmt: skip


def _checked(row: Raw, number: int) -> tuple[object, ...]:
    side, slot = str(row["side"]).lower(), str(row.get("position_side") or "BOTH").upper()
    for said, known, what in ((side, SIDES, "side"), (slot, SLOTS, "position_side")):
        if said not in known:
            raise BarsError(f"fills: row {number} has the {what} {said!r}: {suggestion(said, known)}")
    price, size = _number(row["price"], "price", number), _number(row["size"], "size", number)
    if price <= 0 or size <= 0:
        raise BarsError(f"fills: row {number} has price {price} and size {size}; both must be above zero, the side says the direction")
    symbol = str(row["symbol"] or "")
    if not symbol:
        raise BarsError(f"fills: row {number} has no symbol")
    fee = None if row.get("fee") in (None, "") else _number(row["fee"], "fee", number)
    tag = None if row.get("tag") is None else str(row["tag"])
    return _time(row["time"], number), symbol, slot, side, price, size, fee, tag


def _number(value: object, what: str, number: int) -> Decimal:
    try:
        made = Decimal(str(value))
    except InvalidOperation:
        made = Decimal("NaN")
    if not made.is_finite():
        raise BarsError(f"fills: row {number} has the {what} {value!r}; it must be a number")
    return made.quantize(Decimal("1e-8"))


def _time(value: object, number: int) -> datetime:
    """A moment in UTC, from a datetime, ISO text, or milliseconds."""
    try:
        if isinstance(value, datetime):
            at = value
        elif str(value).lstrip("-").isdigit():
            at = datetime.fromtimestamp(int(str(value)) / 1000, UTC)
        else:
            at = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        raise BarsError(f"fills: row {number} has the time {json.dumps(str(value))}; it must be ISO text or milliseconds, UTC") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
