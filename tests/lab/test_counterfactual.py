"""Fills of many shapes, their episodes, and the trader's positions under other exits."""

import random
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from qtkit import lab
from qtkit.bars import BarsError
from qtkit.core.model import ONE
from qtkit.lab.fills import FILLS
from tests.lab.rig import MINUTE, walk

T = datetime(2026, 1, 2, tzinfo=UTC).timestamp() * 1000


def made(*rows: tuple[int, str, str, str], symbol: str = "BTCUSDT", slot: str = "BOTH", fee: str | None = "0.1") -> pl.DataFrame:
    """Fills by (minute, side, price, size)."""
    return lab.fills(
        pl.DataFrame(
            [
                (round(T) + minute * MINUTE, symbol, side, price, size, fee, slot)
                for minute, side, price, size in rows
            ],
            orient="row",
            schema={"time": pl.Int64, **dict.fromkeys(("symbol", "side", "price", "size", "fee", "position_side"), pl.String)},
        )
    )  # fmt: skip


def mirrored(side: str) -> str:
    return "sell" if side == "buy" else "buy"


# -- reading


TRADE = {
    "timestamp": round(T), "symbol": "BTC/USDT:USDT", "side": "buy", "price": 100.1, "amount": 0.3,
    "fee": {"cost": 0.012, "currency": "USDT"}, "info": {"positionSide": "LONG"}, "order": "7", "id": "1",
}  # fmt: skip


def test_trades_of_ccxt_and_a_file_are_the_same_fills(tmp_path: Path) -> None:
    one = lab.fills([TRADE])
    assert one.row(0) == (
        datetime(2026, 1, 2, tzinfo=UTC),
        "BTCUSDT",
        "LONG",
        "buy",
        Decimal("100.1"),
        Decimal("0.3"),
        Decimal("0.012"),
        None,
    )
    assert dict(one.schema) == FILLS
    file = tmp_path / "fills.csv"
    file.write_text("time,symbol,side,price,size,fee,position_side\n2026-01-02T00:00:00,BTCUSDT,BUY,100.1,0.3,0.012,long\n")
    assert lab.fills(file).equals(one)
    one.write_parquet(tmp_path / "fills.parquet")
    assert lab.fills(tmp_path / "fills.parquet").equals(one)
    assert lab.fills([{**TRADE, "timestamp": round(T) + 5}, TRADE])["time"].is_sorted()


@pytest.mark.parametrize("fee", [{"cost": 0.001, "currency": "BNB"}, None, {"cost": None, "currency": "USDT"}])
def test_a_fee_in_another_coin_is_not_known(fee: object) -> None:
    assert lab.fills([{**TRADE, "fee": fee}])["fee"].to_list() == [None]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"side": "byu"}, "row 0 has the side 'byu'.*buy"),
        ({"price": "nan"}, "row 0 has the price 'nan'"),
        ({"size": "0"}, "both must be above zero"),
        ({"time": "yesterday"}, 'row 0 has the time "yesterday"'),
        ({"position_side": "LNG"}, "position_side 'LNG'.*LONG"),
        ({"symbol": ""}, "row 0 has no symbol"),
        ({"pirce": "1"}, "column 'pirce' is not known.*price"),
    ],
)
def test_what_is_no_fill_is_refused(change: dict[str, str], said: str) -> None:
    row = {"time": "2026-01-02T00:00:00", "symbol": "BTCUSDT", "side": "buy", "price": "1", "size": "1", **change}
    with pytest.raises(BarsError, match=said):
        lab.fills(pl.DataFrame([row]))


def test_what_is_no_trade_of_ccxt_is_refused() -> None:
    with pytest.raises(BarsError, match="no trade of ccxt"):
        lab.fills([{"price": 1}])
    with pytest.raises(BarsError, match="column 'size' is missing"):
        lab.fills(pl.DataFrame({"time": [1], "symbol": ["A"], "side": ["buy"], "price": [1.0]}))


# -- pairing


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_built_in_two_fills_and_taken_down_in_two(side: str) -> None:
    back = mirrored(side)
    sign = 1 if side == "buy" else -1
    rows = lab.episodes(made((0, side, "100", "1"), (1, side, "110", "3"), (5, back, "120", "2"), (9, back, "130", "2")))
    (row,) = rows.to_dicts()
    assert (row["side"], row["entry"], row["exit"], row["size"]) == ("long" if sign > 0 else "short", Decimal("107.5"), 125, 4)
    assert (row["gross"], row["fees"], row["net"]) == (sign * 70, Decimal("0.4"), sign * 70 - Decimal("0.4"))
    assert (row["opening"], row["closing"], row["mixed"]) == (2, 2, False)
    assert [row[name].minute for name in ("opened", "complete", "closed")] == [0, 1, 9]


def test_a_fill_that_turns_a_position_around_is_both_an_end_and_a_beginning() -> None:
    first, second = lab.episodes(made((0, "buy", "100", "1"), (1, "sell", "90", "3"), (2, "buy", "80", "2"), fee="0.3")).to_dicts()
    assert (first["side"], first["gross"], first["fees"]) == ("long", -10, Decimal("0.4"))
    assert (second["side"], second["gross"], second["fees"], second["size"]) == ("short", 20, Decimal("0.5"), 2)
    assert first["closed"] == second["opened"]


def test_hedge_sides_and_symbols_are_apart() -> None:
    long = made((0, "buy", "100", "1"), (3, "sell", "101", "1"), slot="LONG")
    short = made((1, "sell", "100", "1"), (2, "buy", "99", "1"), slot="SHORT")
    other = made((1, "buy", "5", "1"), symbol="ETHUSDT")
    begun = made((0, "buy", "1", "9"), symbol="SOLUSDT", slot="SHORT")  # it closes what was there before
    rows = lab.episodes(pl.concat([long, short, other, begun]).sort("time"))
    assert rows["symbol"].to_list() == ["BTCUSDT", "BTCUSDT", "ETHUSDT"]
    assert rows["gross"].to_list() == [1, 1, None] and rows["closed"].to_list()[2] is None


def test_added_to_after_a_part_was_closed() -> None:
    rows = lab.episodes(made((0, "buy", "100", "2"), (1, "sell", "110", "1"), (2, "buy", "120", "1"), (3, "sell", "130", "2")))
    assert rows["mixed"].to_list() == [True] and rows["gross"].to_list() == [50]


@pytest.mark.parametrize("seed", range(20))
def test_episodes_bring_what_the_fills_bring(seed: int) -> None:
    """Money in and out of all closed episodes is the money of their fills, whatever their order; no coin is lost."""
    rnd = random.Random(seed)
    rows = [(n, rnd.choice(("buy", "sell")), f"{rnd.randint(9000, 11000) / 100}", f"{rnd.randint(1, 5)}") for n in range(60)]
    position = sum(int(size) * (1 if side == "buy" else -1) for _, side, _, size in rows)
    if position:
        rows.append((99, "sell" if position > 0 else "buy", "100", str(abs(position))))
    cash = sum(Decimal(price) * Decimal(size) * (-1 if side == "buy" else 1) for _, side, price, size in rows)
    told = lab.episodes(made(*rows))
    assert told["closed"].null_count() == 0
    assert told["gross"].sum() == cash and told["fees"].sum() == Decimal("0.1") * len(rows)
    assert told["opened"].to_list()[1:] >= told["closed"].to_list()[:-1]


# -- other exits


def dealt(bars: lab.Bars, seed: int, n: int = 12, symbol: str = "TESTUSDT") -> pl.DataFrame:
    """Positions taken and left at prices that were traded, one after the other."""
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.choice(np.arange(5, len(bars) - 5), 2 * n, replace=False))
    rows = []
    for first, last in edges.reshape(-1, 2):
        side = rng.choice(["buy", "sell"])
        for bar, way in ((first, side), (last, mirrored(side))):
            ticks = int(rng.integers(bars.low[bar], bars.high[bar] + 1))
            rows.append((int(bars.time_ms[bar]) + 30_000, symbol, way, Decimal(ticks * bars.tick) / ONE, 2, Decimal("0.01"), "mine"))
    return lab.fills(pl.DataFrame(rows, schema=["time", "symbol", "side", "price", "size", "fee", "tag"], orient="row"))


GRID = lab.grid(stop_bps=(150, 300), trail_bps=(None, 120), max_bars=80)


def test_every_policy_is_what_the_reference_makes_of_the_same_entry() -> None:
    bars = {"TESTUSDT": walk(1, 600), "OTHERUSDT": walk(2, 600, rough=25)}  # the second stops some in the bar that they were entered in
    own = lab.episodes(pl.concat([dealt(it, 3, symbol=symbol) for symbol, it in bars.items()]).sort("time"))
    it = lab.counterfactual(own, bars, GRID)
    assert it.left_out.is_empty() and it.unit == "net_bps" and it.episodes.height == 24
    for policy in range(len(GRID)):
        for row, would in zip(it.frame(policy).iter_rows(named=True), it.would[:, policy], strict=True):
            entry = pl.DataFrame({"time": [row["complete"]], "side": [row["side"]], "price": [float(row["entry"])]})
            (again,) = lab.replay(bars[row["symbol"]], entry, GRID.policies[policy])
            assert would == pytest.approx((again.gross - again.fees - again.paid) / again.plan.entry)
            assert row["would_why"] == again.end.why and row["would"] == would
            assert row["better"] == pytest.approx(would - float(row["net"]) * 10_000 / float(row["entry"] * row["size"]))
    best = it.table().to_dicts()[0]
    assert best["better"] == pytest.approx(best["would"] - best["did"]) and best["positions"] == 24


def test_what_is_left_out_says_why() -> None:
    bars = walk(1, 300)
    known = dealt(bars, 1, 3)
    late = made((0, "buy", "300", "1"), (1, "sell", "300", "1"), symbol="TESTUSDT")
    other = made((0, "buy", "300", "1"), (1, "sell", "300", "1"), symbol="XUSDT")
    open_ = made((2, "buy", "300", "1"), symbol="YUSDT")
    it = lab.counterfactual(lab.episodes(pl.concat([known, late, other, open_]).sort("time")), {"TESTUSDT": bars}, GRID)
    assert it.episodes.height == 3
    notes = dict(zip(it.left_out["symbol"], it.left_out["note"], strict=True))
    assert "lies in no bar" in notes["TESTUSDT"] and notes["XUSDT"] == "there are no bars of XUSDT" and notes["YUSDT"] == "it is open"
    with pytest.raises(BarsError, match="no episode can be compared: there are no bars"):
        lab.counterfactual(lab.episodes(other), {}, GRID)
    with pytest.raises(BarsError, match="no episodes"):
        lab.counterfactual(other, {}, GRID)


def test_without_fees_the_gross_is_compared() -> None:
    bars = walk(1, 300)
    own = lab.episodes(dealt(bars, 1, 3).with_columns(fee=pl.lit(None, pl.Decimal(38, 8))))
    it = lab.counterfactual(own, {"TESTUSDT": bars}, GRID)
    assert it.unit == "gross_bps" and own["net"].null_count() == 3
    free = lab.counterfactual(own, {"TESTUSDT": bars}, GRID, costs=None)
    assert it.would.tolist() == free.would.tolist()
