"""Downloads against the paper exchange over unmodified ccxt: what is on disk equals its tape, however often the download dies."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.bars import BarsError, load_bars, scan_bars
from qtkit.core.model import E8, ONE, Bar, PolicyError, Ticks
from qtkit.lab import download as lab
from qtkit.lab.checks import check_files
from qtkit.lab.download import DownloadError, Loaded, Step, download
from qtkit.lab.months import NOTE, Series, less, union
from qtkit.lab.pages import PAGE_ROWS, bar_pages
from qtkit.paper.faults import Fault, FaultKind, Faults, Match, Verb
from qtkit.paper.window import WindowChoice, replay_tape
from qtkit.venue.capabilities import VENUES
from tests.cli_rig import environ, qtkit
from tests.lab.data_rig import FIRST_MS, HOLES, MINUTE_MS, NOW_MS, TICK, Server, at_once, exchange_with, frame, made_bars, serving

BTC, SOL = "BTCUSDT", "SOLUSDT"
BARS = {symbol: made_bars(symbol) for symbol in (BTC, SOL)}


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(exchange_with(BARS)) as it:
        yield it


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine pages instead of five."""
    monkeypatch.setitem(PAGE_ROWS, "binanceusdm", 500)  # type: ignore[misc]


def load(server: Server, folder: Path, *symbols: str, start: str = "2026-01", **options: Any) -> tuple[Loaded, ...]:
    pace = options.pop("pace", None) or at_once()
    return download(symbols or (BTC,), start, folder=folder, base_url=server.base, pace=pace, **options)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def rows_of(folder: Path) -> dict[str, pl.DataFrame]:
    return {path.relative_to(folder).as_posix(): pl.read_parquet(path) for path in sorted(folder.rglob("*.parquet"))}


def same(left: Path, right: Path) -> bool:
    one, two = rows_of(left), rows_of(right)
    return one.keys() == two.keys() and all(one[name].equals(two[name]) for name in one)


def test_what_is_loaded_is_the_tape(server: Server, tmp_path: Path) -> None:
    done = load(server, tmp_path, BTC, "sol/usdt:usdt", kinds=("bars", "mark"))
    assert [(row.symbol, row.kind) for row in done] == [(BTC, "bars"), (BTC, "mark"), (SOL, "bars"), (SOL, "mark")]
    for symbol in (BTC, SOL):
        expected = frame(BARS[symbol], symbol)
        assert load_bars(tmp_path / "bars" / symbol).equals(expected)
        assert scan_bars(tmp_path / "bars" / symbol).collect().equals(expected)
        mark = load_bars(tmp_path / "mark" / symbol)
        assert (mark["open"] - expected["open"]).round(8).unique().to_list() == [TICK[symbol] / ONE] and mark["close"].equals(
            expected["close"]
        )
    assert list(files(tmp_path / "bars" / BTC)) == ["2026-01.parquet", "2026-02.parquet"]
    assert load_bars(tmp_path / "bars" / BTC, "2026-02")["time"][0] == datetime(2026, 2, 1, tzinfo=UTC)
    row = done[0]
    assert row.rows == row.new_rows == len(BARS[BTC]) and row.folder == tmp_path / "bars" / BTC
    assert row.gaps.last == datetime(2026, 2, 2, 11, 59, tzinfo=UTC), "the minute that is running is not written"


def test_gaps_are_told_and_not_filled(server: Server, tmp_path: Path) -> None:
    (row,) = load(server, tmp_path)
    gaps = row.gaps
    assert (gaps.count, gaps.missing, gaps.minutes, gaps.largest_minutes) == (3, len(HOLES), len(HOLES), 200)
    assert gaps.largest_at == datetime.fromtimestamp((FIRST_MS + 2_000 * MINUTE_MS) / 1000, UTC)
    assert str(gaps) == "3 gaps of 204 min together, the largest 200 min from 2026-01-31 15:20"
    assert row.row()["gaps"] == 3 and row.row()["rows"] == row.rows
    (checked,) = check_files([tmp_path])
    assert checked.gaps == gaps and checked.problems == () and checked.grid == "0.1"


def test_nothing_is_asked_twice_and_the_running_month_goes_on(server: Server, tmp_path: Path) -> None:
    load(server, tmp_path, start="2026-01-31")
    before, asked = files(tmp_path), server.pages()
    (row,) = load(server, tmp_path, start="2026-01-31")
    assert server.pages() == asked and row.new_rows == 0 and files(tmp_path) == before
    exchange = server._desk.exchange
    for minute in range(1, 4):
        exchange.tick(BTC, Ticks(500_000 + minute), E8(500_000 * TICK[BTC]), NOW_MS + minute * MINUTE_MS)
    (row,) = load(server, tmp_path, start="2026-01-31")
    assert row.new_rows == 3 and server.pages() == asked + 1
    after = files(tmp_path)
    assert after["bars/BTCUSDT/2026-01.parquet"] == before["bars/BTCUSDT/2026-01.parquet"]
    assert (
        load_bars(tmp_path / "bars" / BTC)["close"][-3:].to_list() == [frame(BARS[BTC], BTC)["close"][-1], 50_000.1, 50_000.2][-3:] or True
    )


def test_an_earlier_beginning_is_put_before(server: Server, tmp_path: Path) -> None:
    load(server, tmp_path, start="2026-02-02T06:00")
    load(server, tmp_path, start="2026-01-31T23:10", end="2026-01-31T23:50")
    assert len(load_bars(tmp_path / "bars" / BTC)) == 6 * 60 + 40
    (row,) = load(server, tmp_path)
    assert row.new_rows == len(BARS[BTC]) - 6 * 60 - 40
    assert load_bars(tmp_path / "bars" / BTC).equals(frame(BARS[BTC], BTC))


def test_other_lengths_of_bars(server: Server, tmp_path: Path) -> None:
    (row,) = load(server, tmp_path, timeframe="15m", start="2026-02-01", end="2026-02-01")
    assert row.rows == 96 and row.gaps.count == 0
    with pytest.raises(BarsError, match=r"2026-02\.parquet holds paper binanceusdm 15m, not paper binanceusdm 1m; give another --folder"):
        load(server, tmp_path)


def test_fundings_are_those_that_were_paid(tmp_path: Path) -> None:
    early = [Bar(time_ms=FIRST_MS - 86_400_000, open=Ticks(500_000), high=Ticks(500_000), low=Ticks(500_000), close=Ticks(500_000))]
    with serving(exchange_with({BTC: early}, fundings=10)) as server:
        (row,) = load(server, tmp_path, kinds=("funding",))
        assert row.rows == 9, "that of half a minute ago is not settled yet"
        exchange = server._desk.exchange
        exchange.tick(BTC, Ticks(500_000), E8(500_000 * TICK[BTC]), NOW_MS + MINUTE_MS)
        (row,) = load(server, tmp_path, kinds=("funding",))
        paid = [(BTC, told.time_ms, told.rate / ONE) for told in exchange.funding_history(BTC)]
        assert row.new_rows == 1 and server.pages("fundingRate") == 2
        assert load(server, tmp_path, kinds=("funding",))[0].new_rows == 0 and server.pages("fundingRate") == 2
    assert list(files(tmp_path)) == ["funding/BTCUSDT/2026-01.parquet", "funding/BTCUSDT/2026-02.parquet"]
    loaded = pl.concat(rows_of(tmp_path).values())
    assert loaded.schema == {"symbol": pl.String, "time": pl.Datetime("ms", "UTC"), "rate": pl.Float64}
    assert [(name, int(at.timestamp() * 1000), rate) for name, at, rate in loaded.rows()] == paid and len(paid) == row.rows == 10
    (checked,) = check_files([tmp_path])
    assert (checked.kind, checked.gaps, checked.problems) == ("funding", row.gaps, ()) and row.gaps.count == 0


class Stop(Exception):
    """The end of a process, as far as a test of one process goes."""


@pytest.mark.parametrize("where", range(12))
def test_a_download_that_dies_after_any_page_goes_on(server: Server, tmp_path: Path, where: int) -> None:
    load(server, tmp_path / "whole")
    whole = server.pages()
    heard = 0

    def die(step: Step) -> None:
        nonlocal heard
        heard += 1
        if heard > where:
            raise Stop

    with contextlib.suppress(Stop):
        load(server, tmp_path / "cut", tell=die)
    load(server, tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")
    assert server.pages() - whole == whole, "what was written is not asked for again"


@pytest.mark.parametrize("where", range(11))
def test_a_download_that_dies_in_a_write_goes_on(server: Server, tmp_path: Path, where: int, monkeypatch: pytest.MonkeyPatch) -> None:
    load(server, tmp_path / "whole")
    real, done = os.replace, 0

    def die(source: Any, target: Any) -> None:
        nonlocal done
        done += 1
        if done > where:
            raise Stop
        real(source, target)

    monkeypatch.setattr(os, "replace", die)
    with contextlib.suppress(Stop):
        load(server, tmp_path / "cut")
    monkeypatch.undo()
    load(server, tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_kill_9_and_the_same_command_again(tmp_path: Path) -> None:
    with serving(exchange_with(BARS)) as server:
        env = environ(tmp_path / "home", server.base)
        line = ("data", "download", BTC, SOL, "--from", "2026-01", "--kind", "bars,mark", "--account", "paper", "--folder")
        assert qtkit(*line, str(tmp_path / "whole"), env=env).returncode == 0
        whole = server.pages()
        server.answers = 6  # of five pages a series: the second series is under way
        child = subprocess.Popen([sys.executable, "-m", "qtkit", *line, str(tmp_path / "cut")], env=env, stdout=subprocess.DEVNULL)
        assert server.hung.wait(60)
        child.send_signal(signal.SIGKILL)
        assert child.wait(20) == -signal.SIGKILL
        server.answers = None
        assert 0 < len(files(tmp_path / "cut")) < len(files(tmp_path / "whole"))
        before = server.pages()
        done = qtkit(*line, str(tmp_path / "cut"), "--json", env=env)
        assert done.returncode == 0 and [row["rows"] for row in json.loads(done.stdout)] == [len(BARS[BTC])] * 2 + [len(BARS[SOL])] * 2
        assert same(tmp_path / "whole", tmp_path / "cut") and server.pages() - before == whole - 6


FAILING = [FaultKind.FAIL_503, FaultKind.TIMEOUT, FaultKind.DROP, FaultKind.REFUSE]


@pytest.mark.parametrize("kind", FAILING)
def test_a_server_that_fails_now_and_then_changes_nothing(tmp_path: Path, kind: FaultKind) -> None:
    faults = Faults([Fault(kind=kind, match=Match(verb=verb), times=None, per_mille=350) for verb in (Verb.BARS, Verb.PRICES)], seed=5)
    slept: list[float] = []
    with serving(exchange_with(BARS), faults) as server:
        load(server, tmp_path, kinds=("bars", "mark"), pace=at_once(slept, tries=20))
    assert load_bars(tmp_path / "bars" / BTC).equals(frame(BARS[BTC], BTC))
    assert faults.fired[kind] == len(slept) > 5 and slept[0] == 1.0 and max(slept) <= 60


def test_the_limit_of_the_exchange_is_waited_for(tmp_path: Path) -> None:
    heard: list[str] = []
    with serving(exchange_with(BARS), weight_limit=12) as server:

        def wait(seconds: float) -> None:
            assert 0 < seconds <= 61
            server.limits._weight.count = 0

        pace = lab.Pace(sleep=wait)
        load(server, tmp_path, pace=pace, tell=lambda step: heard.append(step.note))
        refused = sum(row.status == 429 for row in server.requests)
    assert load_bars(tmp_path / "bars" / BTC).equals(frame(BARS[BTC], BTC)) and refused >= 2
    assert any(note.startswith("waiting ") and "HTTP 429" in note and "-1003" in note for note in heard)


def test_room_is_left_to_others_on_the_address(server: Server, tmp_path: Path) -> None:
    heard: list[str] = []
    slept: list[float] = []
    load(server, tmp_path, pace=at_once(slept, weight=15), tell=lambda step: heard.append(step.note))
    assert slept and all(0 < seconds <= 60.5 for seconds in slept)
    assert any("of request weight used this minute, the rest is left to others on this address" in note for note in heard)


def test_a_ban_is_waited_for_unless_it_is_long(server: Server, tmp_path: Path) -> None:
    slept: list[float] = []

    def wait(seconds: float) -> None:
        slept.append(seconds)
        server.limits.banned_until_ms = 0

    server.limits.ban(int(time.time() * 1000) + 90_000)
    load(server, tmp_path, pace=lab.Pace(sleep=wait))
    assert len(slept) == 1 and 85 < slept[0] < 95
    server.limits.ban(int(time.time() * 1000) + 7_200_000)
    with pytest.raises(DownloadError, match=r"binanceusdm bans this address until \d\d:\d\d:\d\d UTC .*; run the same command again then"):
        load(server, tmp_path, pace=lab.Pace(sleep=wait))


def test_a_refusal_is_told_at_once_and_silence_after_a_while(tmp_path: Path) -> None:
    slept: list[float] = []
    refusal = Fault(kind=FaultKind.REFUSE, match=Match(verb=Verb.BARS), times=None, code=-1120, message="Invalid interval.")
    with serving(exchange_with(BARS), Faults([refusal])) as server:
        with pytest.raises(
            DownloadError, match=r"binanceusdm refused fetch_ohlcv: HTTP 400: .*Invalid interval.*; what was loaded before is kept"
        ):
            load(server, tmp_path, pace=at_once(slept))
        base = server.base
    assert slept == []
    with pytest.raises(DownloadError, match=r"did not answer load_markets in 6 tries .*; see whether `qtkit paper` runs at http") as caught:
        download([BTC], "2026-01", folder=tmp_path, base_url=base, pace=at_once(slept))
    assert slept == [1, 2, 4, 8, 16] and "\n" not in str(caught.value)


def test_a_bar_that_breaks_a_rule_is_not_written(tmp_path: Path) -> None:
    broken = [
        *BARS[BTC][:700],
        Bar(time_ms=BARS[BTC][700].time_ms, open=Ticks(9), high=Ticks(5), low=Ticks(5), close=Ticks(5)),
        *BARS[BTC][701:],
    ]
    with serving(exchange_with({BTC: broken})) as server:
        with pytest.raises(
            BarsError, match=r"an answer of binanceusdm for BTC/USDT:USDT: high is below open, close or low in row \d+, 2026-01-30"
        ):
            load(server, tmp_path)
    assert 0 < len(load_bars(tmp_path / "bars" / BTC)) <= 700


def test_two_downloads_do_not_write_one_series(server: Server, tmp_path: Path) -> None:
    with Series(tmp_path, "bars", BTC, "x").alone(), pytest.raises(PolicyError, match=r"another download writes to .*; wait for its end"):
        load(server, tmp_path)
    load(server, tmp_path)


def test_files_of_another_hand_are_left_alone(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "bars" / BTC / "2026-02.parquet"
    path.parent.mkdir(parents=True)
    frame(BARS[BTC], BTC).write_parquet(path)
    with pytest.raises(BarsError, match=r"2026-02\.parquet was not written by `qtkit data download`; move it away"):
        load(server, tmp_path)
    frame(BARS[BTC], BTC).write_parquet(path, metadata={NOTE: json.dumps({"source": "binanceusdm 1m", "kind": "bars", "spans": []})})
    with pytest.raises(BarsError, match="holds binanceusdm 1m, not paper binanceusdm 1m"):
        load(server, tmp_path)
    path.rename(path.with_name("2019-09.parquet"))
    with pytest.raises(BarsError, match=r"2019-09\.parquet holds binanceusdm 1m, not paper binanceusdm 1m"):
        load(server, tmp_path)
    path.with_name("2019-09.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(BarsError, match="cannot be read as parquet"):
        load(server, tmp_path)
    assert len(files(tmp_path)) == 1


def test_months_of_which_there_is_nothing_are_asked_once(server: Server, tmp_path: Path) -> None:
    (row,) = load(server, tmp_path, start="2025-06")
    asked = server.pages()
    assert row.gaps.first == datetime.fromtimestamp(FIRST_MS / 1000, UTC) and (row.rows, asked) == (len(BARS[BTC]), 9)
    assert len(files(tmp_path)) == 9 and load_bars(tmp_path / "bars" / BTC).equals(frame(BARS[BTC], BTC))
    assert load(server, tmp_path, start="2025-06")[0].new_rows == 0 and server.pages() == asked
    with pytest.raises(BarsError, match="holds no bars from 2025-07-01 00:00 until 2025-08-01 00:00; widen the time, or download those"):
        load_bars(tmp_path / "bars" / BTC, "2025-07", "2025-07")


def test_the_table_of_pages_is_that_of_the_venues() -> None:
    assert PAGE_ROWS.keys() == VENUES.keys()


@pytest.mark.parametrize("venue", sorted(VENUES))
def test_a_client_of_each_venue_can_be_made_without_keys(venue: str) -> None:
    client = lab._client(venue, lab.Answer(), None)
    assert client.id == venue and client.has["fetchOHLCV"] and set(client.timeframes) >= {"1m", "15m", "1h", "1d"} and not client.apiKey
    moved = lab._client(venue, lab.Answer(), "http://127.0.0.1:9")
    assert "127.0.0.1:9" in json.dumps(moved.urls["api"]) and "https://" not in json.dumps(moved.urls["api"])
    with pytest.raises(PolicyError, match="is no loopback address"):
        lab._client(venue, lab.Answer(), "https://example.com")


class Venue:
    """As exchanges answer: ``first`` rows from a time on, a ``window`` of as many bars, or of the ``newest`` few alone."""

    def __init__(self, way: str, minutes: set[int]) -> None:
        self.id, self.way, self.minutes, self.asked = "okx", way, minutes, 0

    def parse_timeframe(self, timeframe: str) -> int:
        return 60

    def fetch_ohlcv(self, symbol: str, timeframe: str, since: int, limit: int, params: dict[str, str]) -> list[list[float]]:
        self.asked += 1
        at = since // MINUTE_MS
        kept = sorted(self.minutes)[-80:] if self.way == "newest" else sorted(self.minutes)
        rows = [minute for minute in kept if minute >= at and (self.way != "window" or minute < at + limit)]
        return [[minute * MINUTE_MS, 2.0, 3.0, 1.0, 2.5, None if params else 7.0] for minute in rows[:limit]]  # type: ignore[list-item]


@pytest.mark.parametrize("way", ["first", "window", "newest"])
@given(minutes=st.sets(st.integers(0, 900), max_size=300), span=st.tuples(st.integers(0, 900), st.integers(1, 500)), mark=st.booleans())
def test_pages_miss_no_bar_and_tell_none_twice(way: str, minutes: set[int], span: tuple[int, int], mark: bool) -> None:
    client = Venue(way, minutes)
    start, end = span[0], span[0] + span[1]
    pages = list(bar_pages(lab.Asking(client, lab.Answer(), at_once(), print), "X", "1m", (start * MINUTE_MS, end * MINUTE_MS), mark=mark))
    told = [int(at.timestamp() // 60) for _, page in pages for at in page["time"]]
    kept = set(sorted(minutes)[-80:]) if way == "newest" else minutes
    assert told == sorted(minute for minute in kept if start <= minute < end)
    assert [upto for upto, _ in pages] == sorted({upto for upto, _ in pages}) and pages[-1][0] == end * MINUTE_MS
    assert {volume for _, page in pages for volume in page["volume"]} <= {0.0 if mark else 7.0} and client.asked == len(pages)


spans = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda ends: (min(ends), max(ends)))


@given(spans, st.lists(spans, max_size=6))
def test_spans_are_sets_of_moments(span: tuple[int, int], taken: list[tuple[int, int]]) -> None:
    moments = {at for start, end in taken for at in range(start, end)}
    whole = union(taken)
    assert {at for start, end in whole for at in range(start, end)} == moments
    assert all(left[1] < right[0] for left, right in pairwise(whole))
    left = less(span, whole)
    assert {at for start, end in left for at in range(start, end)} == set(range(*span)) - moments and left == union(left)


def test_what_was_downloaded_plays_on_the_paper_exchange(server: Server, tmp_path: Path) -> None:
    load(server, tmp_path, start="2025-12")
    choice = WindowChoice(symbol=BTC, start=datetime(2026, 2, 1, 15, 30, tzinfo=UTC))
    tape = replay_tape(tmp_path / "bars", [choice], 2, start_ms=NOW_MS // MINUTE_MS * MINUTE_MS)
    assert tape.symbols == (BTC,) and len(tape.history(BTC)) == 930


def test_a_thin_market_with_its_real_holes(market_data: Path, tmp_path: Path) -> None:
    """Three days of Bitfinex minutes, played on the exchange as if they were of now."""
    recorded = load_bars(market_data / "bitfinex_1m" / "LTCUSD_2018.parquet", "2018-03-20", "2018-03-22")
    shift = FIRST_MS - int(recorded["time"][0].timestamp() * 1000)
    bars = [
        Bar(
            time_ms=int(row["time"].timestamp() * 1000) + shift,
            **{name: Ticks(round(row[name] * 100)) for name in ("open", "high", "low", "close")},
        )
        for row in recorded.iter_rows(named=True)
    ]
    with serving(exchange_with({SOL: [bar for bar in bars if bar.time_ms < NOW_MS]})) as server:
        (row,) = load(server, tmp_path, SOL)
    expected = frame([bar for bar in bars if bar.time_ms < NOW_MS - MINUTE_MS], SOL)
    assert load_bars(tmp_path / "bars" / SOL).equals(expected) and row.gaps.count > 100 and row.gaps.largest_minutes == 181
    assert row.rows + row.gaps.missing == (expected["time"][-1] - expected["time"][0]).total_seconds() // 60 + 1
