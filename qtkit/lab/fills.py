"""Fills and fundings as people have them, from an exchange through ccxt, a CSV file or a frame, in one shape: exact, each as it was."""

import json
from collections.abc import Collection, Mapping, Sequence
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
PAID: dict[str, pl.DataType] = {"time": TIME, "symbol": pl.String(), "position_side": pl.String(), "paid": MONEY}
"""Fundings of an account: ``paid`` in the quote coin, negative what it received."""
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
    if isinstance(source, str | Path | pl.DataFrame):
        rows = _rows(source, "fills", FILLS, NEEDED)
    elif not isinstance(source, list | tuple):
        known = "a CSV or parquet file, a polars frame, or the list that fetch_my_trades returned"
        raise BarsError(f"fills are {known}; got {type(source).__name__}")
    else:
        rows = [_of_ccxt(row, number) for number, row in enumerate(source)]
    made = [_checked(row, f"fills: row {number}") for number, row in enumerate(rows)]
    return pl.DataFrame(made, schema=FILLS, orient="row").sort("time", maintain_order=True)


def funding_paid(source: "Path | str | pl.DataFrame") -> pl.DataFrame:
    """What an account paid for funding, in the order of time, columns as ``PAID``, for ``parity``.

    ``source`` is a CSV or parquet file or a frame of time (ISO or ms, UTC), symbol, paid (negative: received) and in hedge mode
    position_side. Raises ``BarsError`` that names row and rule.
    """
    rows = _rows(source, "funding", PAID, ("time", "symbol", "paid"))
    made = []
    for number, row in enumerate(rows):
        where = f"funding: row {number}"
        made.append((_time(row["time"], where), _symbol(row, where), _slot(row, where), _number(row["paid"], "paid", where)))
    return pl.DataFrame(made, schema=PAID, orient="row").sort("time", maintain_order=True)


def _rows(source: "Path | str | pl.DataFrame", what: str, known: Collection[str], needed: Sequence[str]) -> list[Raw]:
    """The rows of a file or frame that has the columns it needs and none that is not known."""
    frame, name = (source, what) if isinstance(source, pl.DataFrame) else (_read(Path(source), what), str(source))
    for column in frame.columns:
        if column not in known:
            raise BarsError(f"{name}: column '{column}' is not known: {suggestion(column, known)}; rename or drop it")
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        raise BarsError(f"{name}: column '{missing[0]}' is missing; {what} need {', '.join(needed)}")
    return list(frame.iter_rows(named=True))


def _read(path: Path, what: str) -> pl.DataFrame:
    if not path.is_file():
        raise BarsError(f"{path} is not there; give a CSV or parquet file of {what}")
    try:
        return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        kind = "parquet" if path.suffix == ".parquet" else "CSV"
        raise BarsError(f"{path} cannot be read as {kind} ({str(error).splitlines()[0]}); write it again") from error


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
        "fee": sum((_number(fee["cost"], "fee", f"fills: row {number}") for fee in fees), Decimal(0)) if known else None,
    }  # fmt: skip


def _checked(row: Raw, where: str) -> tuple[object, ...]:
    side = str(row["side"]).lower()
    if side not in SIDES:
        raise BarsError(f"{where} has the side {side!r}: {suggestion(side, SIDES)}")
    price, size = _number(row["price"], "price", where), _number(row["size"], "size", where)
    if price <= 0 or size <= 0:
        raise BarsError(f"{where} has price {price} and size {size}; both must be above zero, the side says the direction")
    fee = None if row.get("fee") in (None, "") else _number(row["fee"], "fee", where)
    tag = None if row.get("tag") is None else str(row["tag"])
    return _time(row["time"], where), _symbol(row, where), _slot(row, where), side, price, size, fee, tag


def _symbol(row: Raw, where: str) -> str:
    if not row["symbol"]:
        raise BarsError(f"{where} has no symbol")
    return str(row["symbol"])


def _slot(row: Raw, where: str) -> str:
    slot = str(row.get("position_side") or "BOTH").upper()
    if slot not in SLOTS:
        raise BarsError(f"{where} has the position_side {slot!r}: {suggestion(slot, SLOTS)}")
    return slot


def _number(value: object, what: str, where: str) -> Decimal:
    try:
        made = Decimal(str(value))
    except InvalidOperation:
        made = Decimal("NaN")
    if not made.is_finite():
        raise BarsError(f"{where} has the {what} {value!r}; it must be a number")
    return made.quantize(Decimal("1e-8"))


def _time(value: object, where: str) -> datetime:
    """A moment in UTC, from a datetime, ISO text, or milliseconds."""
    try:
        if isinstance(value, datetime):
            at = value
        elif str(value).lstrip("-").isdigit():
            at = datetime.fromtimestamp(int(str(value)) / 1000, UTC)
        else:
            at = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        raise BarsError(f"{where} has the time {json.dumps(str(value))}; it must be ISO text or milliseconds, UTC") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
