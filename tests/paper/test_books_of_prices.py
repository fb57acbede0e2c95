"""Which books go with which prices: shallow ones in a thin market, those of a file before them, and positions at their entries in any."""

from dataclasses import replace
from pathlib import Path

import pytest

from qtkit.commands import paper as command
from qtkit.core.model import ONE, PolicyError
from qtkit.paper import market_file, scene
from qtkit.paper.liquidity import THIN, Liquidity
from qtkit.paper.recipe import Recipe
from qtkit.paper.session import Session

START = 1_767_571_200_000
GIVEN = Liquidity(half_spread_ticks=3, depth=1_000 * ONE)


def session(tmp_path: Path, market: Path | None, **more: object) -> Session:
    recipe = replace(Recipe(start_ms=START, seed=3), **more)  # type: ignore[arg-type]
    asked = command._Asked(0, recipe, None, 1.0, True, None, None, False, market)
    return command._session(asked, "q1qtk0", (), tmp_path)[0]


@pytest.fixture
def market(tmp_path: Path) -> Path:
    path = tmp_path / "market.json"
    path.write_text(market_file.written({"BTCUSDT": GIVEN}, {}))
    return path


def test_a_thin_market_has_shallow_books(tmp_path: Path) -> None:
    usual, thin = (session(tmp_path, None, regimes=regimes).exchange for regimes in (("crash",), ("crash", "thin")))
    assert (usual.liquidity("BTCUSDT"), thin.liquidity("BTCUSDT"), thin.liquidity("SOLUSDT")) == (Liquidity(), THIN, THIN)
    asks = [exchange.depth("BTCUSDT", 1_000).asks for exchange in (usual, thin)]
    near = [sum(size for price, size in rows if price < asks[1][0][0] * 1_001 // 1_000) for rows in asks]
    assert asks[1][0][0] > asks[0][0][0] and near[0] > 20 * near[1]


def test_a_file_of_books_goes_before(tmp_path: Path, market: Path) -> None:
    exchange = session(tmp_path, market, regimes=("thin",)).exchange
    assert (exchange.liquidity("BTCUSDT"), exchange.liquidity("SOLUSDT")) == (GIVEN, THIN)


def test_the_incident_is_the_same_in_any_book(tmp_path: Path, market: Path) -> None:
    exchange = session(tmp_path, market, incident=True).exchange
    rows = exchange.positions(exchange.accounts["paper"])
    assert {row.symbol: row.entry for row in rows} == {
        symbol: ticks * exchange.facts[symbol].instrument.tick for symbol, ticks in scene.incident_entries().items()
    }
    assert not exchange.accounts["paper"].resting() and exchange.liquidity("BTCUSDT") == GIVEN


def test_what_is_resumed_keeps_its_books(tmp_path: Path, market: Path) -> None:
    before = session(tmp_path, market)
    before.save(tmp_path / "a")
    assert Session.resumed(tmp_path / "a").exchange.liquidity("BTCUSDT") == GIVEN
    with pytest.raises(PolicyError, match="chooses prices, books, accounts and positions"):
        command.paper(resume=tmp_path / "a", market=market)
