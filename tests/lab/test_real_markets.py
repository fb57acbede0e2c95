"""Excursions, portfolio and hints on recorded markets: equal to the slow way there too."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from qtkit import lab
from qtkit.core.distance import InBps
from qtkit.core.hints import digest_of
from qtkit.core.model import Bps
from qtkit.core.policy import ExitPolicy
from tests.lab.test_excursions import AFTER, walked

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "LTCUSDT")
GRID = lab.grid(stop_bps=(150, 300), trail_bps=(None, 150), max_bars=1_440)


@pytest.fixture(scope="module")
def bars(market_data: Path) -> dict[str, lab.Bars]:
    return {symbol: lab.load(market_data / f"perp_1m/{symbol}_2025-05_2025-06.parquet") for symbol in SYMBOLS}


def test_excursions_are_those_of_the_walk(bars: dict[str, lab.Bars]) -> None:
    one = bars["SOLUSDT"]
    result = lab.sweep(one, lab.every(one, step=3_000), GRID)
    for policy in range(len(GRID)):
        rows = range(len(result.entries))
        table = lab.excursions(result, policy, after=AFTER).frame.select(list(walked(result, 0, policy)))
        assert table.to_dicts() == [walked(result, row, policy) for row in rows]


def test_one_market_follows_another(bars: dict[str, lab.Bars]) -> None:
    """Coins fall together: longs of all are stopped on the same days more often than independent ones would be."""
    them = lab.portfolio(bars, {symbol: lab.every(it, "long", step=240) for symbol, it in bars.items()}, GRID)
    row = them.table(joint=4).filter(stop="3%", trail="none").to_dicts()[0]
    assert row["joint_stops"] > 2 * row["joint_expected"] > 0
    assert row["effective_at_least"] < row["effective"] <= row["entries"]
    assert them.by("regime").filter(policy=0)["entries"].sum() == them.sums.entries[0]


def test_hints_that_are_written_held_where_they_were_judged(bars: dict[str, lab.Bars]) -> None:
    policy = ExitPolicy(name="narrow", stop=InBps(Bps(100)), max_hold_ms=86_400_000)
    entries = {symbol: lab.every(it, step=60) for symbol, it in bars.items()}
    made = lab.fit_hints(bars, entries, policy, sl_bps=(200, 300, 500), created=datetime(2026, 1, 1, tzinfo=UTC))
    assert made.digest == digest_of(made)
    lab.require_data(made, bars.values())
    for it in made.rows:
        assert it.out_points > it.base_points and it.confidence > 5_000
    assert np.all(lab.hints_frame(made)["confidence"].to_numpy() <= 100)
