"""Fitting the book: what was put into a made recording is found in it, and the real one says what it said."""

import json
from pathlib import Path

import polars as pl
import pytest

from qtkit.core.model import ONE, PolicyError
from qtkit.paper import fitting, market_file, recorded
from qtkit.paper.fitting import Fit
from qtkit.paper.liquidity import LEVELS, Liquidity
from qtkit.paper.recorded import MADE_BOOKS, Recording


def fits_of(it: Recording) -> list[Fit]:
    orders = fitting.sweeps(it)
    watched = fitting.recovery(it, orders)
    return [fitting.fit(it, symbol, orders, watched) for symbol in it.symbols]


@pytest.fixture(scope="module")
def made() -> Recording:
    return recorded.made(7)


@pytest.fixture(scope="module")
def found(made: Recording) -> list[Fit]:
    return fits_of(made)


def test_the_books_of_a_made_recording_are_found_again(found: list[Fit]) -> None:
    assert [fit.symbol for fit in found] == sorted(MADE_BOOKS)
    for fit in found:
        true = MADE_BOOKS[fit.symbol]
        assert true.depth is not None and fit.book.depth is not None
        assert abs(fit.per_bp / (true.level * 10 / ONE) - 1) < 0.02, "impact"
        assert abs(fit.book.depth / true.depth - 1) < 0.25, "depth, within a step of the search"
        assert fit.back_ms is not None and 0.8 * true.recovery_ms <= fit.back_ms <= 2 * true.recovery_ms
        assert fit.error_in < 0.01 * fit.paid and fit.error_out is not None and fit.error_out < 0.01 * fit.paid < fit.error_flat
        assert fit.stretches == 3 and fit.sweeps > 300


def test_the_same_seed_makes_the_same_recording_and_another_does_not(made: Recording) -> None:
    again, other = recorded.made(7), recorded.made(8)
    assert again.quotes.equals(made.quotes) and again.trades.equals(made.trades)
    assert not other.trades.equals(made.trades)
    assert "made from a seed" in repr(made) and len(made.period) == 3


# -- sweeps -----------------------------------------------------------------------------------------------------------------------------

QUOTE = {"symbol": "BTCUSDT", "stretch": 0, "bid": 99.0, "bid_size": 2.0, "ask": 100.0, "ask_size": 1.0}


def tape(*trades: tuple[int, float, float, str]) -> Recording:
    rows = [
        {"symbol": "BTCUSDT", "stretch": 0, "time_ms": ms, "id": number, "price": price, "size": size, "side": side}
        for number, (ms, price, size, side) in enumerate(trades)
    ]
    quotes = [QUOTE | {"time_ms": 1_000}, QUOTE | {"time_ms": 1_010, "ask": 101.0}]
    return Recording(quotes=pl.DataFrame(quotes), trades=pl.DataFrame(rows), made=True)


def test_trades_of_one_hand_in_one_millisecond_are_one_sweep() -> None:
    it = fitting.sweeps(tape((1_005, 100, 1, "buy"), (1_005, 102, 1, "buy"), (1_005, 99, 2, "sell"), (1_006, 98, 4, "sell")))
    rows = it.sort("time_ms", "sign", descending=[False, True]).to_dicts()
    assert [(row["sign"], row["money"], row["share"]) for row in rows] == [(1, 202, 2), (-1, 198, 1), (-1, 392, 2)]
    assert [round(row["cost"], 6) for row in rows] == [100, 0, round(10_000 / 99, 6)], "of the average price, against the best before"
    assert [round(row["far"], 6) for row in rows] == [200, 0, round(10_000 / 99, 6)], "of the last price"


def test_a_sweep_is_measured_from_the_quote_that_stood_before_its_millisecond() -> None:
    """What is quoted in the same millisecond may be what the sweep left behind."""
    assert [row["best"] for row in fitting.sweeps(tape((1_010, 100, 1, "buy"), (1_011, 101, 1, "buy"))).sort("time_ms").to_dicts()] == [
        100,
        101,
    ]
    assert fitting.sweeps(tape((900, 100, 1, "buy"), (5_000, 100, 1, "buy"))).height == 0, "no quote before it, or an old one"


@pytest.mark.parametrize(
    ("rows", "rest", "half"),
    [
        ([(0, 1.0), (10, 4.0), (50, 3.0), (100, 2.0), (200, 1.0)], 0.0, 100),
        ([(0, 4.0), (100, 3.0)], 0.0, None),
        ([(0, 5.0), (50, 3.0)], 1.0, 50),
        ([(0, 0.5), (50, 0.1)], 1.0, None),
        ([(0, 1.0), (100, 9.0), (200, 0.5)], 0.0, 200),
        ([], 0.0, None),
    ],
)
def test_half_life(rows: list[tuple[int, float]], rest: float, half: int | None) -> None:
    assert fitting.half_life(rows, rest) == half


def test_a_recording_without_costs_cannot_be_fitted(made: Recording) -> None:
    orders = fitting.sweeps(made).with_columns(cost=pl.lit(0.0))
    with pytest.raises(PolicyError, match="depth and impact cannot be fitted"):
        fitting.depth_and_impact(orders)


def test_the_model_is_the_exchanges_ladder(made: Recording) -> None:
    orders = fitting.sweeps(made).filter(pl.col("symbol") == "BTCUSDT").head(40)
    endless = fitting.modelled(orders, Liquidity(half_spread=0, half_spread_ticks=0, depth=None))
    assert endless["model"].to_list() == [0.0] * 40
    dear = fitting.modelled(orders, Liquidity(half_spread=0, half_spread_ticks=0, depth=0, step=10_000, level=10_000_000 * ONE))
    assert all(0.99 < cost < 1.02 for cost in dear["model"]), "all of it a basis point away"
    assert LEVELS == 1_000


def test_the_spread_is_weighed_by_time() -> None:
    quotes = [QUOTE | {"time_ms": 0}, QUOTE | {"time_ms": 300, "ask": 101.0}, QUOTE | {"time_ms": 400}]
    rows = fitting.spreads(Recording(quotes=pl.DataFrame(quotes), trades=tape((1, 1, 1, "buy")).trades, made=True)).to_dicts()
    assert [(row["ticks"], row["share"]) for row in rows] == [(10, 0.75), (20, 0.25)]
    quotes[0]["bid_size"] = 10.0
    assert fitting.quoted(Recording(quotes=pl.DataFrame(quotes), trades=pl.DataFrame(), made=True), "BTCUSDT") == 101


# -- places -----------------------------------------------------------------------------------------------------------------------------


def test_where_the_recording_comes_from(tmp_path: Path) -> None:
    assert recorded.find("", "", 7).made
    with pytest.raises(PolicyError, match=r"usdm_bbo\.parquet is not there; a recording is"):
        recorded.find("", str(tmp_path), 7)
    with pytest.raises(PolicyError, match=r"usdm_bbo\.parquet is not there"):
        recorded.find(str(tmp_path), "", 7)


def test_the_real_recording(market_data: Path, tmp_path: Path) -> None:
    """What README and docstrings quote of it."""
    it = recorded.find("", str(market_data), 7)
    assert not it.made and len(it.period) == 3 and set(it.hashes) == set(recorded.FILES.values())
    btc, eth = fits_of(it)
    assert (btc.sweeps, eth.sweeps) == (12_939, 6_935)
    assert 380_000 < btc.per_bp < 390_000 and 165_000 < eth.per_bp < 175_000
    assert 4 < btc.quoted / (btc.book.depth or 0) * ONE < 15 and 1.5 < eth.quoted / (eth.book.depth or 0) * ONE < 4
    assert btc.half_bps < 0.02 and eth.half_bps < 0.02 and (btc.back_ms, eth.back_ms) == (None, None)
    for fit in (btc, eth):
        assert fit.error_in < 0.25 * fit.paid and fit.error_out is not None and fit.error_out < 0.6 * fit.error_flat
    path = tmp_path / "market.json"
    path.write_text(market_file.written({fit.symbol: fit.book for fit in (btc, eth)}, {"fits": fitting.told([btc, eth])}))
    assert market_file.read(path)["ETHUSDT"] == eth.book
    assert json.loads(path.read_text())["provenance"]["fits"]["BTCUSDT"]["sweeps"] == 12_939
