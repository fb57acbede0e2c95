"""Recorded trades as the finest bars there are: replayed, swept, and the order inside coarser ones."""

from pathlib import Path

import polars as pl
import pytest

from qtkit import lab
from qtkit.bars import BarsError
from qtkit.core.model import PolicyError

GRID = lab.grid(stop_bps=(50, 60), targets=[((50, 100),), ((80, 100),)])


def tape(*rows: tuple[int, float], symbol: str = "ADAUSDT") -> pl.DataFrame:
    """Trades: milliseconds since 2024, price."""
    frame = pl.DataFrame({"time": [1_704_067_200_000 + at for at, _ in rows], "price": [price for _, price in rows]})
    return frame.with_columns(pl.col("time").cast(pl.Datetime("ms", "UTC")), symbol=pl.lit(symbol), id=pl.int_range(pl.len()))


def test_trades_become_the_bars_that_they_make() -> None:
    trades = tape((0, 1.0), (0, 1.2), (0, 1.1), (999, 0.9), (1000, 1.3), (7500, 1.0))
    bars = lab.from_trades(trades.sample(fraction=1, shuffle=True, seed=3), tick="0.1", step_ms=1000)
    assert (bars.symbol, bars.step_ms, bars.tick) == ("ADAUSDT", 1000, 10_000_000)
    assert (bars.time_ms - bars.time_ms[0]).tolist() == [0, 1000, 7000], "a second without a trade is missing"
    assert [getattr(bars, name).tolist() for name in ("open", "high", "low", "close")] == [
        [10, 13, 10],
        [12, 13, 10],
        [9, 13, 10],
        [9, 13, 10],
    ]
    assert len(lab.from_trades(trades, tick="0.1")) == 4 and lab.from_trades(trades[:1], tick="0.1").step_ms == 1


def test_of_several_symbols_one_is_taken(tmp_path: Path) -> None:
    both = pl.concat([tape((0, 1.0), (5, 1.1)), tape((1, 7.0), symbol="SOLUSDT")])
    both.write_parquet(tmp_path / "trades.parquet")
    assert len(lab.from_trades(tmp_path / "trades.parquet", symbol="SOLUSDT")) == 1
    assert len(lab.from_trades(both.filter(symbol="ADAUSDT").drop("symbol", "id"), symbol="XUSDT")) == 2


@pytest.mark.parametrize(
    ("trades", "asked", "said"),
    [
        (pl.concat([tape((0, 1.0)), tape((1, 7.0), symbol="SOLUSDT")]), {}, "trades hold ADAUSDT, SOLUSDT; say which with symbol="),
        (tape((0, 1.0)), {"symbol": "ADAUSD"}, "trades have none of ADAUSD: did you mean 'ADAUSDT'?"),
        (tape((0, 1.0)).drop("price"), {}, "trades has no column 'price'"),
        (tape((0, 1.0), (1, -1.0)), {}, "trades: price is not a positive number in row 1"),
        (tape((0, 1.0), (1, float("nan"))), {}, "trades: price is not a positive number in row 1"),
        (tape((0, 1.0)).with_columns(price=pl.lit(None, pl.Float64)), {}, "trades: price is not a positive number in row 0"),
        (tape((5, 1.0), (0, 1.0)).drop("id"), {}, "trades: time falls in row 1"),
        (tape((0, 1.0))[:0], {}, "trades hold none"),
        (tape((0, 1.0)), {"step_ms": 0}, "step_ms is a whole number of milliseconds from 1, got 0"),
        ("nowhere.parquet", {}, "nowhere.parquet is not there"),
        (7, {}, "trades are a parquet file or a polars frame, got"),
    ],
)
def test_what_are_no_trades_is_refused(trades: object, asked: dict[str, object], said: str) -> None:
    with pytest.raises((BarsError, PolicyError)) as error:
        lab.from_trades(trades, **asked)  # type: ignore[arg-type]
    assert said in str(error.value)


def test_recorded_trades_are_replayed_swept_and_tell_the_order(market_data: Path) -> None:
    trades = pl.read_parquet(market_data / "ticks/spot_XRPETH_aggtrades_2019-10.parquet")
    finest = lab.from_trades(trades, tick="0.00000001")
    assert finest.symbol == "XRPETH" and len(finest) > 5_000
    entries = lab.every(finest, step=400)
    result = lab.sweep(finest, entries, GRID)
    assert result.outcomes is not None
    for policy, it in enumerate(GRID.policies):
        told = [(one.end.bar, one.end.price, one.gross, one.fees) for one in lab.replay(finest, entries, it)]
        out = result.outcomes
        assert told == list(zip(*(x[:, policy].tolist() for x in (out.bar, out.price, out.gross, out.fees)), strict=True))
    coarse = lab.from_trades(trades, tick="0.00000001", step_ms=14_400_000)
    wide, read = (lab.bands(coarse, lab.every(coarse), GRID, resolve=finer).sort("policy") for finer in (None, finest))
    assert read["resolved"].sum() == wide["ambiguous"].sum() > 5 and read["ambiguous"].sum() < wide["ambiguous"].sum()
    assert (read["best_bps"] - read["worst_bps"] <= wide["best_bps"] - wide["worst_bps"] + 1e-9).all()


def test_trades_as_they_are_resolve_nothing() -> None:
    bars = lab.example(days=2)
    with pytest.raises(
        BarsError, match=r"resolve are finer bars \(lab.load, lab.from_trades\) or a function that gives them; got .*DataFrame"
    ):
        lab.bands(bars, lab.every(bars, step=60), GRID, resolve=tape((0, 1.0)))  # type: ignore[arg-type]
