"""``qtkit data check``: recorded files pass, and each thing that can be wrong with one is a line with file, row and rule."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core.model import PolicyError
from qtkit.lab.checks import Checked, check_files, tick_e8
from qtkit.lab.gaps import gaps_of, step_of
from tests.cli_rig import Run
from tests.test_bars import bars, with_value
from tests.test_cli import one_sentence

TIME = pl.Datetime("ms", "UTC")
NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)


def one(path: Path, tick: str | None = None) -> Checked:
    (checked,) = check_files([path], tick)
    return checked


# What the notes beside the recorded files say of their gaps and of bars without volume.
RECORDED = {
    "spot_1m/BTCUSDT_2022-2023": (1_051_120, 1, 80, 72, "0.01"),
    "spot_1m/ETHUSDT_2022-2023": (1_051_120, 1, 80, 72, "0.01"),
    "spot_1m/SOLUSDT_2022-2023": (1_051_119, 2, 81, 267, "0.01"),
    "bitfinex_1m/LTCUSD_2018": (427_263, 56_326, 98_337, 0, "0.00000002"),
    "perp_1m/BTCUSDT_2025-05_2025-06": (73_139, 0, 0, 0, "0.1"),
    "perp_1m/AVAXUSDT_2026-02": (40_320, 0, 0, 0, "0.001"),
}


def test_every_recorded_file_passes(run: Run, market_data: Path) -> None:
    folders = [market_data / name for name in ("spot_1m", "perp_1m", "bitfinex_1m")]
    status, out, _ = run("data", "check", *map(str, folders), "--json")
    found = {row["name"]: row for row in json.loads(out)}
    assert status == 0 and len(found) == sum(1 for folder in folders for _ in folder.glob("*.parquet"))
    assert not [row for row in found.values() if row["problems"]]
    for name, expected in RECORDED.items():
        row = found[str(market_data / f"{name}.parquet")]
        assert (row["rows"], row["gaps"], row["minutes"], row["zero_volume"], row["grid"]) == expected
    (hint,) = found[str(market_data / "perp_1m" / "SOLUSDT_2025-05_2025-06.parquet")]["notes"]
    assert hint.startswith("2 prices lie off the grid 0.01 of all others, the first in row 72905, 2025-06-24 06:38:00")


def test_recorded_fundings_pass_symbol_by_symbol(run: Run, market_data: Path) -> None:
    status, out, _ = run("data", "check", str(market_data / "mark_funding" / "funding_binance.parquet"))
    assert status == 0 and len(out.splitlines()) == 11 and "BTCUSDT: 529 fundings, 2025-03-06 16:00 to 2026-03-20 00:00, 1 gap of" in out


def test_another_schema_is_told(run: Run, market_data: Path) -> None:
    status, out, _ = run("data", "check", str(market_data / "ticks" / "usdm_trades.parquet"))
    assert status == 1 and "usdm_trades.parquet has no column 'open'" in out and out.endswith("1 problem in 1 series\n")


TAMPERED = [
    ("close", 3, None, "close is null in row 3, 2025-01-01 00:03:00"),
    ("time", 2, None, "time is null in row 2"),
    ("volume", 1, None, "volume is null in row 1"),
    ("close", 3, float("nan"), "close is not a finite number in row 3"),
    ("high", 2, float("inf"), "high is not a finite number in row 2"),
    ("low", 2, 0.0, "low is not positive in row 2"),
    ("volume", 1, -0.5, "volume is negative in row 1"),
    ("time", 3, datetime(2025, 1, 1, 0, 2, tzinfo=UTC), "time does not rise in row 3, 2025-01-01 00:02:00"),
    ("time", 2, datetime(2025, 1, 1, tzinfo=UTC), "time does not rise in row 2, 2025-01-01 00:00:00"),
    ("time", 4, datetime(2025, 1, 1, 0, 4, 30, tzinfo=UTC), "time is no multiple of 60 s, as its neighbours are in row 4"),
    ("time", 4, datetime(2025, 2, 1, tzinfo=UTC), "time is not of the month that the file is named for in row 4, 2025-02-01"),
    ("high", 4, 104.5, "high is below open, close or low in row 4"),
    ("low", 4, 104.5, "low is above open or close in row 4"),
    ("high", 1, 103.01, "high is off the tick 0.5 in row 1, 2025-01-01 00:01:00+00:00: 103.01; give the tick of that time"),
]


@pytest.mark.parametrize(("column", "row", "value", "message"), TAMPERED)
def test_each_rule_is_a_line_with_file_row_and_rule(run: Run, tmp_path: Path, column: str, row: int, value: object, message: str) -> None:
    path = tmp_path / "bars" / "BTCUSDT" / "2025-01.parquet"
    path.parent.mkdir(parents=True)
    bars().write_parquet(path)
    assert run("data", "check", str(tmp_path), "--tick", "0.5")[0] == 0
    with_value(column, row, value).write_parquet(path)
    status, out, _ = run("data", "check", str(tmp_path), "--tick", "0.5")
    assert status == 1 and f"  wrong: {path}: {message}" in out
    assert message in " ".join(json.loads(run("data", "check", str(path), "--tick", "0.5", "--json")[1])[0]["problems"])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (bars().drop("close"), "has no column 'close'; bars need time, open"),
        (bars().with_columns(pl.col("open").cast(pl.Float32)), "column 'open' is Float32, not Float64"),
        (bars().with_columns(pl.col("time").dt.replace_time_zone(None)), "has no time zone"),
        (bars().clear(), "holds no rows; delete it, or write it again"),
        (pl.concat([bars(), bars()]), "time does not rise in row 5"),
        (pl.DataFrame({"symbol": ["A"], "time": [NOON], "rate": [0.5]}), "column 'time' is Datetime"),
    ],
)
def test_each_wrong_schema_is_a_line(tmp_path: Path, frame: pl.DataFrame, message: str) -> None:
    path = tmp_path / "BTCUSDT.parquet"
    frame.write_parquet(path)
    (problem,) = one(path).problems
    assert str(path) in problem and message in problem and "; " in problem


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ([0.0001, None], "rate is null in row 1"),
        ([0.0001, 1.5], "rate is no fraction of the notional in row 1, 2025-01-01 20:00:00+00:00: 1.5; write 0.01 % as 0.0001"),
        ([float("nan"), 0.1], "rate is no fraction of the notional in row 0"),
    ],
)
def test_each_rule_of_fundings_is_a_line(tmp_path: Path, rates: list[float | None], message: str) -> None:
    times = pl.Series([NOON + timedelta(hours=8 * n) for n in range(2)]).cast(TIME)
    frame = pl.DataFrame({"symbol": ["BTCUSDT"] * 2, "time": times, "rate": rates}, schema_overrides={"rate": pl.Float64})
    frame.write_parquet(tmp_path / "funding.parquet")
    (problem,) = one(tmp_path / "funding.parquet").problems
    assert message in problem
    frame.with_columns(rate=0.1).reverse().write_parquet(tmp_path / "funding.parquet")
    assert "time does not rise in row 1" in one(tmp_path / "funding.parquet").problems[0]


def test_a_damaged_file_does_not_hide_its_neighbours(run: Run, tmp_path: Path) -> None:
    (tmp_path / "A.parquet").write_bytes(b"PAR1 and nothing else")
    with_value("high", 4, 104.5).write_parquet(tmp_path / "B.parquet")
    bars().write_parquet(tmp_path / "C.parquet")
    status, out, _ = run("data", "check", str(tmp_path))
    assert status == 1 and "A.parquet cannot be read as parquet" in out and "B.parquet: high is below" in out
    assert "C.parquet: 5 bars of 1m, 2025-01-01 00:00 to 2025-01-01 00:04, no gaps, prices on 0.5, 1 bar without volume" in out
    assert out.endswith("2 problems in 3 series\n")


def test_months_are_one_series_with_gaps_over_their_borders(tmp_path: Path) -> None:
    start = datetime(2025, 1, 31, 23, 50, tzinfo=UTC)
    times = pl.Series([start + timedelta(minutes=n) for n in (0, 1, 2, 3, 14, 15, 16)]).cast(TIME)
    frame = bars(7).with_columns(time=times)
    for month, part in (("2025-01", frame[:4]), ("2025-02", frame[4:])):
        part.write_parquet(tmp_path / f"{month}.parquet")
    checked = one(tmp_path)
    assert checked.problems == () and (checked.gaps.count, checked.gaps.missing) == (1, 10)
    assert checked.gaps.largest_at == datetime(2025, 1, 31, 23, 54, tzinfo=UTC)


def test_wrong_questions_are_one_sentence(run: Run, tmp_path: Path) -> None:
    one_sentence(
        run("data", "check", str(tmp_path / "none")), f"{tmp_path / 'none'} is not there; give a parquet file, or a folder of them"
    )
    one_sentence(run("data", "check", str(tmp_path)), "holds no parquet files; give the folder that `qtkit data download` wrote to")
    bars().write_parquet(tmp_path / "A.parquet")
    for tick in ("0", "-1", "x", "nan", "inf", "0.000000001"):
        one_sentence(run("data", "check", str(tmp_path), "--tick", tick), "--tick is a price step of at least 0.00000001, as 0.1, got")
    with pytest.raises(PolicyError):
        tick_e8("")
    assert tick_e8("0.1") == 10_000_000


@given(st.integers(1, 5_000), st.lists(st.integers(1, 10**8), min_size=2, max_size=30))
def test_the_grid_is_the_greatest_that_holds_every_price(tmp_path_factory: pytest.TempPathFactory, grid: int, steps: list[int]) -> None:
    from math import gcd

    prices = [grid * step / 1e8 for step in steps]
    time = pl.Series([NOON + timedelta(minutes=n) for n in range(len(prices))]).cast(TIME)
    frame = pl.DataFrame({"time": time, **{name: prices for name in ("open", "high", "low", "close", "volume")}})
    path = tmp_path_factory.mktemp("grid") / "A.parquet"
    frame.write_parquet(path)
    found = one(path)
    assert found.grid is not None and round(float(found.grid) * 1e8) == grid * gcd(*steps) and found.problems == ()


@given(st.sets(st.integers(0, 300), min_size=3, max_size=120), st.sampled_from([60_000, 900_000, 3_600_000]))
def test_gaps_are_counted_as_by_hand(minutes: set[int], step: int) -> None:
    times = sorted(minutes)
    frame = pl.LazyFrame({"time": pl.Series([at * step for at in times]).cast(TIME)})
    gaps = gaps_of(frame, step)
    missing = set(range(times[0], times[-1] + 1)) - minutes
    starts = [at for at in missing if at - 1 in minutes]
    assert (gaps.rows, gaps.missing, gaps.count) == (len(times), len(missing), len(starts))
    assert gaps.minutes == len(missing) * step // 60_000
    if starts:
        longest = max(next(n for n in range(1, 400) if at + n in minutes) for at in starts)
        assert gaps.largest_minutes == longest * step // 60_000 and gaps.largest_at is not None
    assert step_of(frame) in {(later - at) * step for at, later in zip(times, times[1:], strict=False)}  # noqa: RUF007
