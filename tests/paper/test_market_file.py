"""The file of books: what was written is read, and what is wrong in it is named."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from qtkit.core.model import PolicyError
from qtkit.paper import market_file
from qtkit.paper.liquidity import EXACT, Liquidity
from tests.paper.test_liquidity import MODELS


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MODELS)
def test_what_was_written_is_read(tmp_path: Path, model: Liquidity) -> None:
    path = tmp_path / "market.json"
    books = {"BTCUSDT": model, "ETHUSDT": EXACT}
    path.write_text(market_file.written(books, {"period": "a day"}))
    assert market_file.read(path) == books
    assert json.loads(path.read_text())["provenance"] == {"period": "a day"}


def test_values_are_told_in_units_of_people() -> None:
    row = json.loads(market_file.written({"BTCUSDT": Liquidity()}, {}))["symbols"]["BTCUSDT"]
    assert row == {
        "half_spread_ticks": "1", "half_spread_bps": "1", "depth": "100000", "step_bps": "1", "level": "25000",
        "recovery_ms": "5000", "queue_ticks": "1",
    }  # fmt: skip


GOOD = json.loads(market_file.written({"BTCUSDT": Liquidity()}, {}))


def changed(**values: Any) -> dict[str, Any]:
    return {**GOOD, "symbols": {"BTCUSDT": {**GOOD["symbols"]["BTCUSDT"], **values}}}


@pytest.mark.parametrize(
    ("whole", "told"),
    [
        ("{", "cannot be read as JSON"),
        ([], "is no market of the paper exchange"),
        ({**GOOD, "version": 2}, '"version": 1'),
        ({**GOOD, "symbols": {}}, 'has no "symbols"'),
        ({**GOOD, "symbols": {"BTCUSD": {}}}, "did you mean 'BTCUSDT'"),
        ({**GOOD, "symbols": {"BTCUSDT": {}}}, "BTCUSDT has no half_spread_ticks"),
        ({**GOOD, "symbols": {"BTCUSDT": 1}}, "no table of values"),
        (changed(dept="1"), "unknown value 'dept': did you mean 'depth'"),
        (changed(depth=1), "depth is a decimal text"),
        (changed(depth="much"), "depth is a decimal text"),
        (changed(level="-1"), "level of a book is at least 0"),
        (changed(recovery_ms="1.5"), "recovery_ms is a decimal text"),
        (changed(level="NaN"), "level is a decimal text"),
        (changed(level=None), "level is a decimal text"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, whole: object, told: str) -> None:
    path = tmp_path / "market.json"
    path.write_text(whole if isinstance(whole, str) else json.dumps(whole))
    with pytest.raises(PolicyError) as refusal:
        market_file.read(path)
    assert told in str(refusal.value) and "market.json" in str(refusal.value)


def test_a_file_that_is_not_there_names_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="qtkit run slippage"):
        market_file.read(tmp_path / "market.json")
