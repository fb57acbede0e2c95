"""Fills paired into episodes, flat to flat: what a position cost, what it brought, how it was built and taken down."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl

from qtkit.bars import BarsError
from qtkit.core.events import Event, LegResolved
from qtkit.core.model import ONE
from qtkit.lab.fills import FILLS, MONEY, TIME
from qtkit.lab.lived import Lived, lived

EPISODES: dict[str, pl.DataType] = {
    "symbol": pl.String(), "position_side": pl.String(), "side": pl.String(), "opened": TIME, "complete": TIME, "closed": TIME,
    "size": MONEY, "entry": MONEY, "exit": MONEY, "gross": MONEY, "fees": MONEY, "net": MONEY, "opening": pl.Int64(),
    "closing": pl.Int64(), "mixed": pl.Boolean(), "tag": pl.String(),
}  # fmt: skip
"""``complete`` is the last fill that opened or added; ``size`` all that was ever added, in coins; ``entry`` and ``exit`` average prices;
``opening`` and ``closing`` how many fills; ``mixed``: it was added to after a part was closed. Of an open one ``closed``, ``exit`` and
money are null, ``fees`` and ``net`` also where a fee is not known."""


@dataclass(slots=True)
class _Building:
    """An episode on its way; sizes and money in E8, values in E16."""

    symbol: str
    slot: str
    sign: int
    opened: datetime
    complete: datetime
    tag: str | None
    held: int = 0
    added: int = 0
    value_in: int = 0
    value_out: int = 0
    fees: int | None = 0
    opening: int = 0
    closing: int = 0
    mixed: bool = False

    def deal(self, at: datetime, price: int, size: int, fee: int | None, *, opens: bool) -> None:
        """One fill that is all of it opening or all of it closing."""
        self.fees = None if self.fees is None or fee is None else self.fees + fee
        if opens:
            self.mixed = self.mixed or self.closing > 0
            self.held, self.added, self.value_in = self.held + size, self.added + size, self.value_in + price * size
            self.complete, self.opening = at, self.opening + 1
        else:
            self.held, self.value_out, self.closing = self.held - size, self.value_out + price * size, self.closing + 1

    def row(self, closed: datetime | None) -> tuple[object, ...]:
        """The episode as ``EPISODES`` has it, closed then or, with None, still open."""
        side = "long" if self.sign > 0 else "short"
        gross = None if closed is None else self.sign * (self.value_out - self.value_in) // ONE
        fees = self.fees if closed is not None else None
        net = None if gross is None or fees is None else gross - fees
        exit_ = None if closed is None else self.value_out // self.added
        money = [None if it is None else Decimal(it) / ONE for it in (self.added, self.value_in // self.added, exit_, gross, fees, net)]
        return (
            self.symbol, self.slot, side, self.opened, self.complete, closed, *money, self.opening, self.closing, self.mixed, self.tag
        )  # fmt: skip


def episodes(fills: pl.DataFrame) -> pl.DataFrame:
    """The episodes of some ``lab.fills``, columns as ``EPISODES``, in the order in which they were opened.

    A fill that turns a position around ends one episode and begins the next, its fee shared by size; long and short side of hedge mode
    are apart. The account is taken to be flat before the first fill of a slot; in hedge mode what closes nothing known is left out.
    """
    if tuple(fills.columns) != tuple(FILLS):
        raise BarsError("these are no fills; make them with lab.fills(...)")
    rows = [row for _, part in fills.group_by("symbol", "position_side", maintain_order=True) for row in _paired(part)]
    return pl.DataFrame(rows, schema=EPISODES, orient="row").sort("opened", maintain_order=True)


def _paired(part: pl.DataFrame) -> Iterator[tuple[object, ...]]:
    it: _Building | None = None
    for row in part.sort("time", maintain_order=True).iter_rows(named=True):
        sign = 1 if row["side"] == "buy" else -1
        price, left = int(row["price"] * ONE), int(row["size"] * ONE)
        fee = None if row["fee"] is None else int(row["fee"] * ONE)
        if it is not None and sign != it.sign:
            part_size = min(left, it.held)
            paid = None if fee is None else fee * part_size // left
            it.deal(row["time"], price, part_size, paid, opens=False)
            left, fee = left - part_size, None if fee is None or paid is None else fee - paid
            if it.held == 0:
                yield it.row(row["time"])
                it = None
        if left == 0 or (it is None and not _may_open(row["position_side"], sign)):
            continue
        if it is None:
            it = _Building(row["symbol"], row["position_side"], sign, row["time"], row["time"], row["tag"])
        it.deal(row["time"], price, left, fee, opens=True)
    if it is not None:
        yield it.row(None)


def _may_open(slot: str, sign: int) -> bool:
    return slot == "BOTH" or (slot == "LONG") == (sign > 0)


def journal_fills(events: Iterable[tuple[int, Event]]) -> pl.DataFrame:
    """Fills as a desk's journal knows them, tagged with the policy that ran: entry and stops at their average, targets at their level.

    The journal knows no fee (null), and nothing of what others closed: positions that our orders did not close whole are left out; the
    exchange's own fills know them. ``events`` are a journal's with their times (ms), oldest first.
    """
    rows = [row for it in lived(events) for row in _of_lived(it)]
    return pl.DataFrame(rows, schema=FILLS, orient="row").sort("time", maintain_order=True)


def _of_lived(it: Lived) -> list[tuple[object, ...]]:
    exits = [(fill.at_ms, _price(it, fill), fill.filled) for fill in it.filled]
    if it.unfit or any(price is None for _, price, _ in exits) or sum(lots for _, _, lots in exits) != it.lots:
        return []
    opening, closing = ("buy", "sell") if it.plan.side.sign > 0 else ("sell", "buy")
    dealt = [(it.opened_ms, it.entry, it.lots, opening), *((at, price, lots, closing) for at, price, lots in exits)]
    slot, tag = it.key.position_side.value, it.plan.profile
    return [
        (
            datetime.fromtimestamp(at / 1000, UTC), it.key.symbol, slot, side, Decimal(price or 0) / ONE,
            Decimal(lots * it.plan.lot) / ONE, None, tag,
        )
        for at, price, lots, side in dealt
    ]  # fmt: skip


def _price(it: Lived, fill: LegResolved) -> int | None:
    if fill.leg[0] == "t":
        return it.plan.targets[int(fill.leg[1:]) - 1].price * it.plan.tick
    return it.averages.get(fill.client_id)
