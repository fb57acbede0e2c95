"""What a position brought: by its own fills, by those of the reference on the same coins, and what the difference is made of."""

from collections.abc import Iterator, Sequence

import polars as pl

from qtkit.core import arithmetic
from qtkit.core.model import ONE, Lots
from qtkit.core.plan import WHOLE
from qtkit.lab.costs import Costs
from qtkit.lab.lived import Lived
from qtkit.lab.replay import Leg

MONEYS = ("net", "reference_net", "slippage", "fee", "funding")


def dealt_of(it: Lived, trades: pl.DataFrame | None) -> pl.DataFrame | None:
    """The fills of a position: of its slot, from its plan until it was closed."""
    if trades is None:
        return None
    until_ms = it.closed_ms if it.closed_ms is not None else 2**60
    return trades.filter(
        (pl.col("symbol") == it.key.symbol)
        & (pl.col("position_side") == it.key.position_side.value)
        & pl.col("time").dt.epoch("ms").is_between(it.plan.created_ms, until_ms)
    )


def closing_of(it: Lived, dealt: pl.DataFrame) -> pl.DataFrame:
    """Those that made it smaller."""
    return dealt.filter(pl.col("side") == ("sell" if it.plan.side.sign > 0 else "buy"))


def paid_by(it: Lived, funding: pl.DataFrame | None) -> int:
    """Funding that the position paid, E8."""
    if funding is None:
        return 0
    until_ms = it.closed_ms if it.closed_ms is not None else 2**60
    mine = funding.filter(
        (pl.col("symbol") == it.key.symbol)
        & (pl.col("position_side") == it.key.position_side.value)
        & pl.col("time").dt.epoch("ms").is_between(it.plan.created_ms, until_ms)
    )
    return _e8(mine["paid"])


def money_of(it: Lived, legs: Sequence[Leg], dealt: pl.DataFrame, paid: int, costs: Costs) -> dict[str, int | None]:
    """Profit as it was and as the reference has it, on the same coins; their difference is slippage, fee and funding, and nothing else."""
    sign, tick, lot = it.plan.side.sign, it.plan.tick, it.plan.lot
    closing = closing_of(it, dealt)
    size = it.lots * lot
    if _e8(closing["size"]) != size or dealt["fee"].null_count():
        return dict.fromkeys(MONEYS)
    lived_gross = sign * (sum(_times(closing)) - it.entry * size) // ONE
    parts = list(_coins(it, legs))
    gross = sign * (sum(leg.price * tick * coins for leg, coins in parts) - it.plan.entry * size) // ONE
    fees = sum(arithmetic.fee_e8(leg.price * tick, leg.rate) * coins for leg, coins in parts) // ONE
    fees += arithmetic.fee_e8(it.plan.entry, costs.taker) * size // ONE if it.own else 0
    lived_fees = _e8(dealt["fee"]) if it.own else _e8(closing["fee"])
    return {
        "net": lived_gross - lived_fees - paid, "reference_net": gross - fees, "slippage": lived_gross - gross, "fee": fees - lived_fees,
        "funding": -paid,
    }  # fmt: skip


def _coins(it: Lived, legs: Sequence[Leg]) -> Iterator[tuple[Leg, int]]:
    """The legs of the reference with the coins (E8) that the desk's ladder gives them; the last one closes what is left."""
    left, targets = it.lots, iter(it.ladder)
    for number, leg in enumerate(legs):
        lots = left if number == len(legs) - 1 else next(targets)
        left = Lots(left - lots)
        yield leg, lots * it.plan.lot
    assert WHOLE == sum(leg.share for leg in legs) and left == 0


def _times(frame: pl.DataFrame) -> Iterator[int]:
    for price, size in frame.select("price", "size").iter_rows():
        yield int(price * ONE) * int(size * ONE)


def _e8(column: pl.Series) -> int:
    return sum(int(value * ONE) for value in column)
