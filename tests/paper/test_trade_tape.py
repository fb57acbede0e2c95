"""Recorded trades and quotes tick by tick, mark and last as they parted, and the path inside a bar: each is what it says it is."""

import gzip
from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core.model import E8, Bar, PolicyError, Side, Ticks
from qtkit.paper.barpath import BarPath, play
from qtkit.paper.basis import Course, FixedMarks, RecordedMarks, SeededMarks, parse_marks
from qtkit.paper.tape import INSTRUMENTS, Tape
from qtkit.paper.trade_tape import load_recording, recorded_tape
from qtkit.paper.window import WindowChoice, replay_tape

START = 1_767_571_200_000
BTC = INSTRUMENTS["BTCUSDT"]
ONE = 100_000_000
EIGHT_HOURS = 8 * 3_600_000


# -- the path inside a bar


@st.composite
def bars(draw: st.DrawFn) -> Bar:
    low, high = sorted((draw(st.integers(1, 10_000)), draw(st.integers(1, 10_000))))
    opened, closed = (Ticks(draw(st.integers(low, high))) for _ in range(2))
    return Bar(time_ms=START, open=opened, high=Ticks(high), low=Ticks(low), close=closed)


@given(bar=bars(), seed=st.text(max_size=4), count=st.integers(4, 240), path=st.sampled_from(BarPath))
def test_no_path_leaves_its_bar_and_each_meets_its_corners(bar: Bar, seed: str, count: int, path: BarPath) -> None:
    times, lasts = play([bar], seed, count, path)
    assert (lasts[0], max(lasts), min(lasts), lasts[-1]) == (bar.open, bar.high, bar.low, bar.close)
    assert len(times) == len(lasts) == count and times[-1] < START + 60_000
    assert (times, lasts) == play([bar], seed, count, path)


@pytest.mark.parametrize("side", list(Side), ids=lambda side: side.name.lower())
@given(bar=bars(), count=st.integers(8, 120))
def test_worst_meets_the_adverse_extreme_first_and_best_the_other(side: Side, bar: Bar, count: int) -> None:
    adverse, favourable = (bar.low, bar.high) if side is Side.LONG else (bar.high, bar.low)
    for name, first, then in (("worst", adverse, favourable), ("best", favourable, adverse)):
        lasts = list(play([bar], "x", count, BarPath.parse(f"{name}-{side.name}"))[1])
        if first != then and then not in (bar.open, bar.close) and first not in (bar.open, bar.close):
            assert lasts.index(first) < lasts.index(then)


@pytest.mark.parametrize("side", list(Side), ids=lambda side: side.name.lower())
def test_a_stop_and_a_target_in_one_bar_the_path_decides(side: Side) -> None:
    """The bar spans both levels of a position entered at its opening: worst is stopped first, best reaches its target first."""
    bar = Bar(time_ms=START, open=Ticks(1_000), high=Ticks(1_050), low=Ticks(950), close=Ticks(1_000))
    stop, target = 1_000 - 30 * side.sign, 1_000 + 30 * side.sign

    def first(path: str) -> str:
        for last in play([bar], "x", 60, BarPath.parse(f"{path}-{side.name}"))[1]:
            if side.sign * (last - stop) <= 0:
                return "stop"
            if side.sign * (last - target) >= 0:
                return "target"
        return "neither"

    assert (first("worst"), first("best")) == ("stop", "target")
    drawn = {play([bar], str(seed), 60)[1].index(950) < play([bar], str(seed), 60)[1].index(1_050) for seed in range(20)}
    assert drawn == {True, False}, "a bridge takes either order, by its seed"


def test_names_of_paths() -> None:
    assert BarPath.parse("Worst") is BarPath.WORST_LONG and BarPath.parse(" bridge ") is BarPath.BRIDGE
    with pytest.raises(PolicyError, match="did you mean 'worst-short'"):
        BarPath.parse("worst-shrot")
    with pytest.raises(PolicyError, match="known: best-long, best-short, bridge"):
        BarPath.parse("zz")


# -- trades and quotes


def write(path: Path, rows: list[tuple[object, ...]], columns: list[str]) -> Path:
    pl.DataFrame(rows, schema=columns, orient="row").with_columns(pl.col("time").cast(pl.Datetime("ms", "UTC"))).write_parquet(path)
    return path


@pytest.fixture
def trades(tmp_path: Path) -> Path:
    at = START + 7_250
    rows = [("BTCUSDT", at + ms, number, price) for number, (ms, price) in enumerate([(0, 100.0), (0, 100.1), (900, 99.9)])]
    rows += [("ETHUSDT", at + 100, 9, 50.0), ("BTCUSDT", at + 200_000, 5, 90.0), ("BTCUSDT", at + 200_500, 6, 90.1)]
    return write(tmp_path / "trades.parquet", rows, ["symbol", "time", "id", "price"])


@pytest.fixture
def quotes(tmp_path: Path) -> Path:
    at = START + 7_250
    rows = [("BTCUSDT", at - 5, 1.0, 2.0), ("BTCUSDT", at, 100.0, 100.1), ("BTCUSDT", at + 300, 99.8, 100.0)]
    return write(tmp_path / "quotes.parquet", rows, ["symbol", "time", "bid", "ask"])


def test_every_trade_is_a_tick_at_its_time_and_quotes_move_the_mark_alone(trades: Path, quotes: Path) -> None:
    begin = START + 86_400_000
    tape = recorded_tape(load_recording(trades, quotes), ["BTCUSDT"], at=datetime.fromtimestamp(START / 1000 + 7, UTC), start_ms=begin)
    told = [(tick.at_ms - begin, tick.last, tick.mark * 10 // ONE, tick.bid, tick.ask) for tick in tape]
    assert told == [
        (7_250, 1_000, 1_000, 0, 0),
        (7_250, 1_001, 1_001, 0, 0),
        (7_250, 1_001, 1_000, 1_000, 1_001),
        (7_550, 1_001, 999, 998, 1_000),
        (8_150, 999, 999, 998, 1_000),
    ], "a quote before the first trade has no last price to go with"
    assert [tick.mark for tick in tape][2] == 100_05 * ONE // 100, "the middle of bid and ask"
    assert len(tape.history("BTCUSDT")) > 15 * 60 and "history made" in tape.describe()[0]


def test_the_longest_stretch_that_all_share_is_played(trades: Path) -> None:
    recording = load_recording(trades)
    assert recorded_tape(recording, start_ms=START).symbols == ("BTCUSDT", "ETHUSDT")
    late = recorded_tape(recording, ["BTCUSDT"], at=datetime.fromtimestamp(START / 1000 + 180, UTC), start_ms=START)
    assert [tick.last for tick in late] == [900, 901]
    for symbols, at, words in (
        (["ETHUSDT", "BTCUSDT"], datetime(2020, 1, 1, tzinfo=UTC), "were not recorded together at 2020-01-01 00:00; there is 2026-01-05"),
        (["SOLUSDT"], None, "holds no trades of SOLUSDT; there are BTCUSDT, ETHUSDT"),
    ):
        with pytest.raises(PolicyError, match=words):
            recorded_tape(recording, symbols, at=at, start_ms=START)


LINE = '1 {"stream":"x","data":{"e":"trade","E":1,"T":%d,"s":"BTCUSDT","t":%d,"p":"%s","q":"1","X":"%s","m":false}}\n'
QUOTE = '1 {"stream":"x","data":{"e":"bookTicker","u":3,"s":"BTCUSDT","b":"%s","B":"1","a":"%s","A":"1","T":%d,"E":1}}\n'


def test_a_raw_capture_is_read_and_prints_that_are_no_market_are_not(tmp_path: Path) -> None:
    file = tmp_path / "raw.gz"
    with gzip.open(file, "wt") as out:
        out.write('0 {"lastUpdateId": 1, "bids": []}\n1 {"stream":"x","data":{"e":"depthUpdate"}}\n')
        out.write(LINE % (START, 1, "100.00", "MARKET") + QUOTE % ("99.9", "100.1", START) + LINE % (START + 5, 2, "1.0", "INSURANCE_FUND"))
    tape = recorded_tape(load_recording(file), start_ms=START)
    assert [(tick.last, tick.bid, tick.ask) for tick in tape] == [(1_000, 0, 0), (1_000, 999, 1_001)]
    for damaged in (file.read_bytes()[:-9], b"no gzip"):
        file.write_bytes(damaged)
        with pytest.raises(PolicyError, match="cannot be read as a gzipped capture"):
            load_recording(file)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b"x"), "cannot be read as parquet"),
        (lambda path: write(path, [("BTCUSDT", START, 1.0)], ["symbol", "time", "price"]), "holds no trades: there is no column 'id'"),
        (lambda path: write(path, [("BTCUSDT", START, None, 1.0)], ["symbol", "time", "id", "price"]), "1 rows have a null"),
        (
            lambda path: pl.DataFrame({"symbol": ["X"], "time": [1], "id": [1], "price": [1.0]}).write_parquet(path),
            "column 'time' is Int64",
        ),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    make(tmp_path / "t.parquet")
    with pytest.raises(PolicyError, match=words):
        load_recording(tmp_path / "t.parquet")


def minute_bars(tape: Tape) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for tick in tape:
        bar = found.setdefault(tick.at_ms // 60_000, [tick.last, tick.last, tick.last, tick.last])
        bar[1:] = [max(bar[1], tick.last), min(bar[2], tick.last), tick.last]
    return found


def test_the_recorded_capture_and_the_parquet_made_of_it_are_one_tape(market_data: Path) -> None:
    capture = recorded_tape(load_recording(market_data / "feed/usdm_btcusdt_20240808.gz"), start_ms=START)
    recording = load_recording(market_data / "ticks/usdm_trades.parquet", market_data / "ticks/usdm_bbo.parquet")
    tape = recorded_tape(recording, ["BTCUSDT"], at=datetime(2024, 8, 8, 23, 55, tzinfo=UTC), start_ms=START)
    assert list(capture) == list(tape) and len(tape.tracks[0].times) == 21_313 + 66_089 - 15
    quoted = [tick for tick in tape if tick.bid]
    assert all(tick.bid < tick.ask for tick in quoted), "never crossed"
    trades = recording.trades.filter((pl.col("symbol") == "BTCUSDT") & (pl.col("time") >= datetime(2024, 8, 8, tzinfo=UTC)))
    prices = [round(price / BTC.tick) for price in trades["price"]]
    assert (max(prices), min(prices)) == (
        max(bar[1] for bar in minute_bars(tape).values()),
        min(bar[2] for bar in minute_bars(tape).values()),
    )


# -- mark and last


def course(lasts: list[int], **more: object) -> Course:
    return Course("BTCUSDT", [START + 1_000 * i for i in range(len(lasts))], lasts, E8(BTC.tick), "s", **more)  # type: ignore[arg-type]


@given(lasts=st.lists(st.integers(1, 10**7), min_size=1, max_size=50), bps=st.integers(-2_000, 2_000))
def test_a_fixed_basis_is_what_was_asked_for(lasts: list[int], bps: int) -> None:
    for last, mark in zip(lasts, FixedMarks(ppm=bps * 100).along(course(lasts)), strict=True):
        price = last * BTC.tick
        assert mark == price + price * bps // 10_000


@given(bounds=st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)).map(sorted))
def test_a_seeded_basis_keeps_its_bounds(bounds: list[int]) -> None:
    marks = SeededMarks(least_ppm=bounds[0], most_ppm=bounds[1]).along(course([900_000] * 300))
    sizes = [abs(mark - 900_000 * BTC.tick) * 1_000_000 / (900_000 * BTC.tick) for mark in marks]
    assert bounds[0] - 0.001 <= min(sizes) and max(sizes) <= max(bounds[1], 0.001)


def test_recorded_marks_are_held_from_one_to_the_next(market_data: Path) -> None:
    file = market_data / "mark_funding/mark_1s_BTCUSDT_2023-04-04.parquet"
    recording = load_recording(market_data / "ticks/usdm_trades.parquet")
    when = datetime(2023, 4, 4, 23, 59, tzinfo=UTC)
    tape = recorded_tape(recording, ["BTCUSDT"], at=when, start_ms=START, marks=RecordedMarks(path=file))
    told = pl.read_parquet(file)
    shift = START - 1_680_652_680_000  # the recording begins within 2023-04-04 23:58
    times = [int(at) + shift for at in told["time"].dt.epoch("ms")]
    marks = [round(mark * ONE) for mark in told["mark"]]
    ticks = list(tape)
    assert len({tick.mark for tick in ticks}) > 200, "of 8.5 minutes"
    for tick in ticks[:: len(ticks) // 200]:
        assert tick.mark == marks[max(bisect_right(times, tick.at_ms) - 1, 0)]
    with pytest.raises(PolicyError, match="does not cover what is played of BTCUSDT"):
        recorded_tape(recording, ["BTCUSDT"], at=datetime(2024, 8, 8, 23, 55, tzinfo=UTC), start_ms=START, marks=RecordedMarks(path=file))


def test_mark_candles_give_the_basis_at_their_openings_and_a_line_between(market_data: Path) -> None:
    file = market_data / "mark_funding/mark_8h.parquet"
    choice = WindowChoice(symbol="SOLUSDT", start=datetime(2025, 6, 12, 23, tzinfo=UTC))
    tape = replay_tape(market_data / "perp_1m", [choice], 2, start_ms=START, marks=RecordedMarks(path=file))
    track = tape.tracks[0]
    at = track.times.index(START + 3_600_000)  # 2025-06-13 00:00, when a candle of the mark opens
    candle = pl.read_parquet(file).filter((pl.col("symbol") == "SOLUSDT") & (pl.col("time") == datetime(2025, 6, 13, tzinfo=UTC)))
    assert abs(track.marks[at] - round(candle["open"][0] * ONE)) <= track.lasts[at] * INSTRUMENTS["SOLUSDT"].tick // 1_000_000 + 1
    with pytest.raises(PolicyError, match="no mark candle that opens within the bars"):
        old = WindowChoice(symbol="DOTUSDT", start=datetime(2026, 2, 5, tzinfo=UTC))
        replay_tape(market_data / "perp_1m", [old], 1, start_ms=START, marks=RecordedMarks(path=file))


def test_a_basis_is_named_by_a_number_a_span_or_a_file(tmp_path: Path) -> None:
    assert parse_marks("0") == FixedMarks(ppm=0) and parse_marks("-35bps") == FixedMarks(ppm=-3_500)
    assert parse_marks("1..8bps") == SeededMarks() and parse_marks("0..20") == SeededMarks(least_ppm=0, most_ppm=2_000)
    file = write(tmp_path / "m.parquet", [(START, 1.0)], ["time", "price"])
    marks = parse_marks(str(file))
    with pytest.raises(PolicyError, match="holds no mark prices"):
        marks.along(course([1]))
    for wrong, words in (
        ("blue", "is no basis of mark and last"),
        ("9..3", "the smaller bound first"),
        ("99999", "at most 2000 bps"),
        ("nan", "is no"),
    ):
        with pytest.raises(PolicyError, match=words):
            parse_marks(wrong)
