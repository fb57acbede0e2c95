"""Bars: what is wrong with a file is said with its column, its row and what to do; what is right becomes exact ticks."""

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.bars import BarsError, check_bars, find_bars, load_bars, moment, scan_bars, to_ticks

START = datetime(2025, 1, 1, tzinfo=UTC)


def bars(count: int = 5) -> pl.DataFrame:
    """Rising bars, one a minute."""
    return pl.DataFrame(
        {
            "time": pl.Series([START + timedelta(minutes=n) for n in range(count)]).cast(pl.Datetime("ms", "UTC")),
            "open": [100.0 + n for n in range(count)],
            "high": [102.0 + n for n in range(count)],
            "low": [99.5 + n for n in range(count)],
            "close": [101.0 + n for n in range(count)],
            "volume": [0.0 + n for n in range(count)],
        }
    )


def with_value(column: str, row: int, value: object) -> pl.DataFrame:
    """Bars with one value changed."""
    frame = bars()
    values = frame[column].to_list()
    values[row] = value
    return frame.with_columns(pl.Series(column, values, dtype=frame.schema[column]))


def test_a_good_file_is_loaded_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT.parquet"
    bars().with_columns(trades=pl.lit(7)).select("trades", *reversed(bars().columns)).write_parquet(path)
    assert load_bars(path).equals(bars())


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("close", 3, None, "close is null in row 3, 2025-01-01 00:03:00"),
        ("close", 3, float("nan"), "close is not a finite number in row 3"),
        ("high", 2, float("inf"), "high is not a finite number in row 2"),
        ("low", 2, 0.0, "low is not positive in row 2"),
        ("open", 0, -1.0, "open is not positive in row 0"),
        ("volume", 1, -0.5, "volume is negative in row 1"),
        ("volume", 1, None, "volume is null in row 1"),
        ("time", 2, None, "time is null in row 2"),
        ("time", 2, START, "time does not rise in row 2"),
        ("time", 3, START + timedelta(minutes=2), "time does not rise in row 3"),
        ("high", 4, 104.9, "high is below open, close or low in row 4"),
        ("low", 4, 104.1, "low is above open or close in row 4"),
    ],
)
def test_the_first_wrong_value_is_named(tmp_path: Path, column: str, row: int, value: object, message: str) -> None:
    path = tmp_path / "BTCUSDT.parquet"
    with_value(column, row, value).write_parquet(path)
    with pytest.raises(BarsError) as caught:
        load_bars(path)
    assert f"{path}: {message}" in str(caught.value) and "; " in str(caught.value)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (bars().drop("close"), "bars has no column 'close'; bars need time, open, high, low, close, volume"),
        (bars().rename({"volume": "Volume"}), "no column 'volume'; did you mean 'Volume'?"),
        (bars().with_columns(pl.col("open").cast(pl.Float32)), "column 'open' is Float32, not Float64; convert it with .cast"),
        (bars().with_columns(pl.col("time").dt.epoch("ms")), "column 'time' is Int64, .*counts milliseconds since 1970"),
        (bars().with_columns(pl.col("time").dt.cast_time_unit("us")), r"write it with \.dt\.cast_time_unit"),
        (bars().with_columns(pl.col("time").dt.replace_time_zone(None)), "has no time zone"),
        (bars().with_columns(pl.col("time").dt.convert_time_zone("Asia/Tokyo")), "convert_time_zone"),
        (bars().clear(), "holds no bars"),
    ],
)
def test_a_wrong_column_is_named_with_its_cure(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(BarsError, match=message):
        check_bars(frame)


def test_a_cure_cures() -> None:
    unix = bars().with_columns(pl.col("time").dt.epoch("ms"))
    assert check_bars(unix.with_columns(pl.col("time").cast(pl.Datetime("ms", "UTC")))).equals(bars())
    doubled = pl.concat([bars(), bars()])
    with pytest.raises(BarsError, match="does not rise in row 5") as caught:
        check_bars(doubled)
    assert '.unique(subset="time").sort("time")' in str(caught.value)
    assert check_bars(doubled.unique(subset="time").sort("time")).equals(bars())


def test_a_file_that_is_not_there_or_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "BTCUSDT_2025.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(BarsError, match=r"BTCUSDT_2024\.parquet is not there; did you mean 'BTCUSDT_2025.parquet'\?"):
        load_bars(tmp_path / "BTCUSDT_2024.parquet")
    with pytest.raises(BarsError, match="cannot be read as parquet"):
        load_bars(tmp_path / "BTCUSDT_2025.parquet")


def test_files_are_found_by_symbol(tmp_path: Path) -> None:
    for name in ("BTCUSDT_2025.parquet", "BTCUSDT_2024.parquet", "1000PEPEUSDT.parquet", "quotes.parquet", "ETHUSDT.csv"):
        (tmp_path / name).touch()
    (tmp_path / "SOLUSDT.parquet").mkdir()
    found = find_bars(tmp_path)
    assert {symbol: [path.name for path in paths] for symbol, paths in found.items()} == {
        "1000PEPEUSDT": ["1000PEPEUSDT.parquet"],
        "BTCUSDT": ["BTCUSDT_2024.parquet", "BTCUSDT_2025.parquet"],
    }
    with pytest.raises(BarsError, match="is no folder"):
        find_bars(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BarsError, match=r"holds no bars; name the files SYMBOL\.parquet"):
        find_bars(tmp_path / "empty")


def months(folder: Path) -> pl.DataFrame:
    """Forty days of hours on disk, a file a month, and as one frame; a month in between is empty."""
    whole = bars(40 * 24).with_columns(time=pl.lit(START).cast(pl.Datetime("ms", "UTC")) + pl.duration(hours=pl.int_range(40 * 24)))
    folder.mkdir(parents=True)
    for name in ("2024-12", "2025-01", "2025-02"):
        whole.filter(pl.col("time").dt.strftime("%Y-%m") == name).write_parquet(folder / f"{name}.parquet")
    (folder / ".2025-02.parquet.part").write_bytes(b"a killed download")
    return whole


def test_a_folder_of_months_is_one_series(tmp_path: Path) -> None:
    folder = tmp_path / "bars" / "BTCUSDT"
    whole = months(folder)
    assert load_bars(folder).equals(whole) and scan_bars(folder).collect().equals(whole)
    february = whole.filter(pl.col("time") >= datetime(2025, 2, 1, tzinfo=UTC))
    for part in (load_bars(folder, "2025-02"), load_bars(folder, "2025-02", "2025-02"), scan_bars(folder, start="2025-02").collect()):
        assert part.equals(february)
    day = load_bars(folder, "2025-01-31", "2025-01-31")
    assert len(day) == 24 and day["time"][0] == datetime(2025, 1, 31, tzinfo=UTC)
    assert len(load_bars(folder, "2025-01-31T12:00", datetime(2025, 1, 31, 13, tzinfo=UTC))) == 1
    assert load_bars(folder / "2025-02.parquet", "2025-02-02")["time"][0] == datetime(2025, 2, 2, tzinfo=UTC)
    assert list(find_bars(tmp_path / "bars").items()) == [("BTCUSDT", [folder / "2025-01.parquet", folder / "2025-02.parquet"])]


def test_only_the_months_that_are_asked_for_are_read(tmp_path: Path) -> None:
    whole = months(tmp_path / "BTCUSDT")
    (tmp_path / "BTCUSDT" / "2025-01.parquet").write_bytes(b"PAR1 and nothing else")
    assert load_bars(tmp_path / "BTCUSDT", "2025-02").equals(whole.filter(pl.col("time").dt.month() == 2))
    for read in (load_bars, scan_bars):
        with pytest.raises(BarsError, match=r"2025-01\.parquet cannot be read as parquet"):
            read(tmp_path / "BTCUSDT")


def test_a_folder_that_is_no_series_is_told(tmp_path: Path) -> None:
    months(tmp_path / "BTCUSDT")
    with pytest.raises(BarsError, match="holds no months; it holds the folders BTCUSDT: give one of a symbol"):
        load_bars(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BarsError, match=r"holds no months; give a folder of files named as 2024-01\.parquet"):
        scan_bars(tmp_path / "empty")
    for read in (load_bars, scan_bars):
        with pytest.raises(BarsError, match="holds no bars from 2026-01-01 00:00; widen the time, or download those months"):
            read(tmp_path / "BTCUSDT", "2026-01")
    bars().drop("close").write_parquet(tmp_path / "BTCUSDT" / "2025-03.parquet")
    for read in (load_bars, scan_bars):
        with pytest.raises(BarsError, match=r"2025-03\.parquet has no column 'close'"):
            read(tmp_path / "BTCUSDT")
    bars().write_parquet(tmp_path / "BTCUSDT" / "2025-03.parquet")
    with pytest.raises(BarsError, match="BTCUSDT: time does not rise in row 960"):
        load_bars(tmp_path / "BTCUSDT")


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        ("2024-02", "2024-02-01T00:00:00+00:00", "2024-03-01T00:00:00+00:00"),
        ("2024-12", "2024-12-01T00:00:00+00:00", "2025-01-01T00:00:00+00:00"),
        ("2024-02-28", "2024-02-28T00:00:00+00:00", "2024-02-29T00:00:00+00:00"),
        ("2024-02-28T06:30", "2024-02-28T06:30:00+00:00", "2024-02-28T06:30:00+00:00"),
        ("2024-02-28T06:30+02:00", "2024-02-28T04:30:00+00:00", "2024-02-28T04:30:00+00:00"),
    ],
)
def test_times_as_people_write_them(text: str, begins: str, ends: str) -> None:
    assert moment(text).isoformat() == begins and moment(text, end=True).isoformat() == ends


@pytest.mark.parametrize("text", ["2024", "2024-13", "24-01", "yesterday", "", "2024-02-30", "2024-1"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BarsError, match=r"is no time; write 2024-01, 2024-01-15 or 2024-01-15T12:00"):
        moment(text)


@given(st.lists(st.integers(1, 10**15), min_size=1, max_size=20), st.integers(1, 10**7))
def test_ticks_are_the_nearest_ones_exactly(prices_e8: list[int], tick: int) -> None:
    prices = [price + tick for price in prices_e8 if price + tick < 10**15] or [tick]
    exact = [int((Decimal(price) / tick).quantize(Decimal(1), ROUND_HALF_UP)) for price in prices]
    values = [price / 1e8 for price in prices]
    time = pl.Series([START + timedelta(minutes=n) for n in range(len(values))]).cast(pl.Datetime("ms", "UTC"))
    frame = pl.DataFrame({"time": time, "open": values, "high": values, "low": values, "close": values, "volume": values})
    ticks = to_ticks(frame, tick)
    assert ticks.columns == ["time_ms", "open", "high", "low", "close"] and set(ticks.dtypes) == {pl.Int64}
    for column in ticks.columns[1:]:
        assert ticks[column].to_list() == exact
    assert ticks["time_ms"].to_list() == [int(START.timestamp() * 1000) + 60_000 * n for n in range(len(values))]


def test_a_tick_that_cannot_be_right_is_refused() -> None:
    with pytest.raises(BarsError, match="the tick must be positive, got 0"):
        to_ticks(bars(), 0)
    with pytest.raises(BarsError, match=r"row 0: the price 99\.5 is less than half a tick of 1000"):
        to_ticks(bars(), 1000 * 10**8)
    with pytest.raises(BarsError, match="too large to be held to 1e-8; the limit is 90,071,992"):
        to_ticks(bars().with_columns(pl.col(pl.Float64) * 1e6), 1)


@pytest.mark.parametrize(("folder", "off"), [("perp_1m", 0.001), ("spot_1m", 0.001), ("bitfinex_1m", 0.501)])
def test_recorded_bars_pass_and_lie_on_their_grid(market_data: Path, folder: str, off: float) -> None:
    """1e-6 divides the tick of every recorded Binance symbol; Bitfinex has no tick, only significant digits."""
    for paths in find_bars(market_data / folder).values():
        for path in paths:
            frame = load_bars(path)
            ticks = to_ticks(frame, 100)
            for column in ("open", "high", "low", "close"):
                assert (ticks[column] - frame[column] * 1e6).abs().max() < off  # type: ignore[operator]
