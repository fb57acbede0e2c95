"""Recorded bars played again: which stretch is chosen, and that the tape's bars are the file's bars."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.bars import BarsError, find_bars
from qtkit.core.model import E8, Bar, PolicyError, Ticks
from qtkit.paper.barpath import play
from qtkit.paper.tape import Tape
from qtkit.paper.window import HISTORY_KEPT, HISTORY_WANTED, Pick, WindowChoice, find_window, replay_tape

START = 1_767_571_200_000
FIRST = datetime(2025, 6, 1, tzinfo=UTC)
TICK = E8(10_000_000)  # BTCUSDT: 0.1


def write(path: Path, closes: Iterable[float], *, start: datetime = FIRST, skip: Iterable[int] = ()) -> None:
    """Minute bars that open at the close before, one unit of wick either way; minutes of ``skip`` are missing."""
    closes = list(closes)
    opens = [closes[0], *closes[:-1]]
    rows = [
        (start + timedelta(minutes=i), o, max(o, c) + 1, min(o, c) - 1, c, 1.0)
        for i, (o, c) in enumerate(zip(opens, closes, strict=True))
        if i not in set(skip)
    ]
    schema = ["time", "open", "high", "low", "close", "volume"]
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    frame.with_columns(pl.col("time").cast(pl.Datetime("ms", "UTC"))).write_parquet(path)


def path_of(*moves: tuple[int, float], start: float = 50_000.0) -> list[float]:
    """Closes through (minutes, change of the level) pieces."""
    closes = [start]
    for minutes, change in moves:
        closes += [closes[-1] + change * (i + 1) / minutes for i in range(minutes)]
    return [round(close, 1) for close in closes]


def bars_of(tape: Tape) -> list[tuple[int, int, int, int, int]]:
    """Minute bars (time, open, high, low, close) of the first track's ticks."""
    track = tape.tracks[0]
    minutes: dict[int, list[int]] = {}
    for at, last in zip(track.times, track.lasts, strict=True):
        minutes.setdefault(at // 60_000 * 60_000, []).append(last)
    return [(at, prices[0], max(prices), min(prices), prices[-1]) for at, prices in minutes.items()]


def minute(when: datetime) -> int:
    return round((when - FIRST) / timedelta(minutes=1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    quiet, fall, rise = (300, 5.0), (60, -900.0), (60, 700.0)
    write(tmp_path / "BTCUSDT_a.parquet", path_of((1000, 20.0), fall, (100, 300.0), rise, quiet))
    write(tmp_path / "BTCUSDT_b.parquet", path_of((1000, 10.0), (60, -400.0), (200, 30.0), (60, 900.0), (100, 40.0)))
    return tmp_path


def start_of(folder: Path, choice: WindowChoice, hours: float = 1) -> tuple[str, int]:
    window = find_window(find_bars(folder), choice, hours, TICK)
    return window.path.name, minute(datetime.fromtimestamp(window.start_ms / 1000, UTC))


@pytest.mark.parametrize(("text", "where"), [("fall", ("BTCUSDT_a.parquet", 1001)), ("rise", ("BTCUSDT_b.parquet", 1261))])
def test_the_steepest_stretch_over_all_files_is_found(folder: Path, text: str, where: tuple[str, int]) -> None:
    assert start_of(folder, WindowChoice.parse("BTCUSDT", text)) == where


def test_range_is_the_stretch_with_the_least_spread(folder: Path) -> None:
    name, row = start_of(folder, WindowChoice.parse("BTCUSDT", "RANGE"))
    assert name == "BTCUSDT_b.parquet" and HISTORY_WANTED <= row <= 1000 - 60 + 1, "it creeps by 10 in 1000 minutes there"


def test_a_start_is_taken_as_told_in_utc(folder: Path) -> None:
    assert start_of(folder, WindowChoice.parse("BTCUSDT", "2025-06-01T17:20")) == ("BTCUSDT_a.parquet", 1040)
    assert start_of(folder, WindowChoice.parse("BTCUSDT", "2025-06-01T19:20:30+02:00")) == ("BTCUSDT_a.parquet", 1040)


def test_enough_history_is_worth_more_than_a_steeper_fall(tmp_path: Path) -> None:
    write(tmp_path / "BTCUSDT.parquet", path_of((30, -2000.0), (1000, 10.0), (30, -500.0), (30, 10.0)))
    window = find_window(find_bars(tmp_path), WindowChoice(symbol="BTCUSDT"), 0.5, TICK)
    assert not window.short_of_history and window.first >= HISTORY_WANTED
    write(tmp_path / "BTCUSDT.parquet", path_of((30, -2000.0), (300, 10.0)))
    tape = replay_tape(tmp_path, [WindowChoice(symbol="BTCUSDT")], 0.5, start_ms=START)
    assert "only 1 minutes of history, too few for an hourly ATR(14)" in tape.describe()[0]
    assert len(tape.history("BTCUSDT")) == 1


def test_a_stretch_with_a_hole_is_not_chosen_but_may_be_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "BTCUSDT.parquet", path_of((1000, 1.0), (60, -900.0), (60, -300.0)), skip=(1030,))
    name, row = start_of(tmp_path, WindowChoice(symbol="BTCUSDT"))
    assert row >= 1031, name
    at = WindowChoice(symbol="BTCUSDT", start=FIRST + timedelta(minutes=1001))
    tape = replay_tape(tmp_path, [at], 1, start_ms=START)
    assert len(bars_of(tape)) == 59
    assert START + 29 * 60_000 not in {bar[0] for bar in bars_of(tape)}


@pytest.mark.parametrize("per_minute", (4, 12, 60))
def test_the_tapes_bars_are_the_files_bars(folder: Path, per_minute: int) -> None:
    choice = WindowChoice(symbol="BTCUSDT")
    tape = replay_tape(folder, [choice], 1, start_ms=START, seed=5, per_minute=per_minute)
    window = find_window(find_bars(folder), choice, 1, TICK)
    rows = window.bars[window.first :].select("time_ms", "open", "high", "low", "close").rows()
    shift = START - window.start_ms
    assert bars_of(tape) == [(at + shift, o, h, low, c) for at, o, h, low, c in rows]
    history = tape.history("BTCUSDT")
    assert len(history) == window.first <= HISTORY_KEPT
    assert history[-1].time_ms == START - 60_000
    assert len(tape.tracks[0].times) == 60 * per_minute
    assert (tape.start_ms, tape.end_ms < START + 3_600_000) == (START, True)


def test_a_seed_is_a_path_and_symbols_share_the_clock(folder: Path) -> None:
    write(folder / "ETHUSDT.parquet", path_of((1000, 3.0), (90, -50.0), start=2000.0), start=FIRST + timedelta(days=100))
    choices = [WindowChoice(symbol="BTCUSDT"), WindowChoice(symbol="ETHUSDT", start=Pick.RANGE)]
    one, two, other = (replay_tape(folder, choices, 1, start_ms=START, seed=seed) for seed in (1, 1, 2))
    assert list(one) == list(two) != list(other)
    assert one.symbols == ("BTCUSDT", "ETHUSDT")
    assert [track.times[0] for track in one.tracks] == [START, START]
    assert all(tick.mark != tick.last * {"BTCUSDT": TICK, "ETHUSDT": E8(1_000_000)}[tick.symbol] for tick in one)


def test_the_description_names_file_times_and_moves(folder: Path) -> None:
    (line,) = replay_tape(folder, [WindowChoice(symbol="BTCUSDT")], 1, start_ms=START).describe()
    assert line.startswith("BTCUSDT: BTCUSDT_a.parquet from 2025-06-01 16:41 played from 2026-01-05 00:00; change -1.8")
    assert "worst against a short +0.00 %" in line


@given(
    st.tuples(st.integers(1, 10**6), st.integers(0, 10**4), st.integers(0, 100), st.integers(0, 100)),
    st.integers(4, 90),
    st.integers(0, 10**6),
)
def test_a_bar_is_played_inside_itself_touching_both_ends(shape: tuple[int, int, int, int], count: int, seed: int) -> None:
    low, span, opened, closed = shape
    open_, close = low + span * opened // 100, low + span * closed // 100
    bar = Bar(time_ms=START, open=Ticks(open_), high=Ticks(low + span), low=Ticks(low), close=Ticks(close))
    times, lasts = play([bar], str(seed), count)
    assert (lasts[0], max(lasts), min(lasts), lasts[-1]) == (bar.open, bar.high, bar.low, bar.close)
    assert len(lasts) == len(times) == count and times[0] == START and times[-1] < START + 60_000
    assert list(times) == sorted(set(times))


def test_what_cannot_be_found_is_said(folder: Path) -> None:
    files = find_bars(folder)
    with pytest.raises(PolicyError, match=r"'fal' names no window; did you mean fall\?"):
        WindowChoice.parse("BTCUSDT", "fal")
    with pytest.raises(PolicyError, match=r"use fall, rise, range or a time such as"):
        WindowChoice.parse("BTCUSDT", "yesterday-ish")
    with pytest.raises(PolicyError, match="names no time zone"):
        WindowChoice(symbol="BTCUSDT", start=datetime(2025, 6, 1))  # noqa: DTZ001
    with pytest.raises(PolicyError, match=r"BTCUSD: no bars of that symbol; did you mean BTCUSDT\?"):
        find_window(files, WindowChoice(symbol="BTCUSD"), 1, TICK)
    with pytest.raises(PolicyError, match=r"from 2024-01-01 00:00 without a break; there is BTCUSDT_a.parquet 2025-06-01 00:00 to"):
        find_window(files, WindowChoice.parse("BTCUSDT", "2024-01-01"), 1, TICK)
    with pytest.raises(PolicyError, match=r"no file covers 6000 minutes without a break"):
        find_window(files, WindowChoice(symbol="BTCUSDT"), 100, TICK)
    with pytest.raises(PolicyError, match="at least a minute"):
        find_window(files, WindowChoice(symbol="BTCUSDT"), 0, TICK)
    with pytest.raises(PolicyError, match="at least 4 ticks"):
        replay_tape(folder, [WindowChoice(symbol="BTCUSDT")], 1, start_ms=START, per_minute=3)
    with pytest.raises(PolicyError, match="whole minute"):
        replay_tape(folder, [WindowChoice(symbol="BTCUSDT")], 1, start_ms=START + 1)
    pl.DataFrame({"time": [1], "open": [1.0]}).write_parquet(folder / "BTCUSDT_c.parquet")
    with pytest.raises(BarsError, match="BTCUSDT_c"):
        replay_tape(folder, [WindowChoice(symbol="BTCUSDT")], 1, start_ms=START)


def test_recorded_perpetuals_fall_and_rise(market_data: Path) -> None:
    folder = market_data / "perp_1m"
    choices = [WindowChoice(symbol="AVAXUSDT"), WindowChoice(symbol="DOTUSDT", start=Pick.RISE), WindowChoice.parse("BTCUSDT", "range")]
    tape = replay_tape(folder, choices, 2, start_ms=START, per_minute=12)
    fall, rise, calm = (track.lasts[-1] / track.lasts[0] - 1 for track in tape.tracks)
    assert fall < -0.03 and rise > 0.03 and abs(calm) < 0.005
    assert all(len(tape.history(symbol)) >= HISTORY_WANTED for symbol in tape.symbols)
