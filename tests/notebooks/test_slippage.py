"""The pictures of slippage say in words what they show, and the notebook's books are read by the paper exchange."""

import json
from pathlib import Path

import polars as pl
import pytest

from qtkit.charts.slippage import cost_chart, fit_table, recovery_chart, share_chart, spread_chart, stretches_table
from qtkit.paper import fitting, market_file, recorded
from qtkit.paper.fitting import Fit
from qtkit.runs import run_notebook


@pytest.fixture(scope="module")
def it() -> recorded.Recording:
    return recorded.made(7)


@pytest.fixture(scope="module")
def orders(it: recorded.Recording) -> pl.DataFrame:
    return fitting.sweeps(it)


@pytest.fixture(scope="module")
def fits(it: recorded.Recording, orders: pl.DataFrame) -> list[Fit]:
    watched = fitting.recovery(it, orders)
    return [fitting.fit(it, symbol, orders, watched) for symbol in it.symbols]


def test_pictures_are_drawn_and_say_what_they_show(it: recorded.Recording, orders: pl.DataFrame, fits: list[Fit]) -> None:
    own = [orders.filter(pl.col("symbol") == fit.symbol) for fit in fits]
    modelled = pl.concat([fitting.modelled(frame, fitting.bare(fit.book)) for fit, frame in zip(fits, own, strict=True)])
    watched = fitting.recovery(it, orders)
    pictures = (spread_chart(fitting.spreads(it)), cost_chart(modelled), share_chart(orders), recovery_chart(watched, fits))
    for picture in pictures:
        assert picture.svg.startswith("<svg") and "NaN" not in picture.svg and len(picture.svg) > 10_000
    spread, cost, _, recovery = map(repr, pictures)
    assert spread.startswith("spread: BTCUSDT 2 ticks for 9") and "1 M USDT pay 1.6" in cost
    assert "BTCUSDT: half of the move is gone after 70 ms" in recovery


def test_tables_tell_the_fit_and_other_times(orders: pl.DataFrame, fits: list[Fit]) -> None:
    row = fit_table(fits).frame.row(0, named=True)
    assert (row["symbol"], row["recovery"], row["sweeps"]) == ("BTCUSDT", "70 ms", "437")
    told = stretches_table(pl.concat([fitting.foretold(orders.filter(pl.col("symbol") == fit.symbol)) for fit in fits])).frame
    assert told.height == 6 and told["from (UTC)"][0] == "2025-11-21 00:00"
    assert all(abs(float(paid) - float(model)) < 0.05 for paid, model in told.select("paid (bp)", "foretold (bp)").iter_rows())


def test_the_notebook_writes_books_that_the_paper_exchange_reads(fits: list[Fit], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QTKIT_DATA", raising=False)  # without recorded quotes it fits made ones
    result = run_notebook("slippage")
    assert result.passed and result.figures["made"] is True
    path = result.folder / "market.json"
    assert market_file.read(path) == {fit.symbol: fit.book for fit in fits}
    assert json.loads(path.read_text())["provenance"]["fits"]["ETHUSDT"]["sweeps"] == 453


@pytest.mark.night
def test_the_notebook_on_the_real_recording(market_data: Path) -> None:
    result = run_notebook("slippage", {"data": str(market_data / "ticks")})
    assert result.passed and result.figures["made"] is False
    assert set(market_file.read(result.folder / "market.json")) == {"BTCUSDT", "ETHUSDT"}
