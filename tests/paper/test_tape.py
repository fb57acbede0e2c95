"""Tapes: what a price path promises, whatever its source; and the story the demonstration needs, for both sides."""

from decimal import Decimal
from itertools import groupby, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtkit.core.model import E8, ONE, PolicyError, Side, Ticks
from qtkit.paper.synthetic import Regime, Waypoint, demo_tape, synthetic_tape, walk
from qtkit.paper.tape import BASIS_PPM, INSTRUMENTS, PPM, Tape, Track, mark_path

START = 1_767_571_200_000


@pytest.fixture(scope="module", params=list(Side), ids=lambda side: side.name.lower())
def story(request: pytest.FixtureRequest) -> tuple[Side, Tape]:
    side: Side = request.param
    return side, demo_tape(7, 1, start_ms=START, side=side)


def gains(tape: Tape, side: Side, symbol: str) -> list[float]:
    """Gain of a position entered at the start price, in %, second by second."""
    lasts = next(track.lasts for track in tape.tracks if track.symbol == symbol)
    return [side.sign * 100 * (last / lasts[0] - 1) for last in lasts]


def test_ticks_come_in_order_one_a_second_and_symbol(story: tuple[Side, Tape]) -> None:
    _, tape = story
    ticks = list(tape)
    assert [tick.at_ms for tick in ticks] == sorted(tick.at_ms for tick in ticks)
    for at, group in groupby(ticks, key=lambda tick: tick.at_ms):
        assert tuple(tick.symbol for tick in group) == tape.symbols, at
    assert len(ticks) == 6 * 3601
    assert (tape.start_ms, tape.end_ms) == (START, START + 3_600_000)
    assert list(tape) == ticks, "a tape can be played again"


def test_the_story_starts_at_the_entries_of_the_incident(story: tuple[Side, Tape]) -> None:
    _, tape = story
    first = {tick.symbol: tick.last * INSTRUMENTS[tick.symbol].tick for tick in reversed(list(tape)) if tick.at_ms == START}
    entries = {"AVAXUSDT": "14.58", "ADAUSDT": "0.4693", "BTCUSDT": "93475.8", "SOLUSDT": "142.4", "DOTUSDT": "2.291"}
    assert {symbol: first[symbol] for symbol in entries} == {symbol: int(Decimal(price) * ONE) for symbol, price in entries.items()}


def test_the_story_shows_every_kind_of_end(story: tuple[Side, Tape]) -> None:
    side, tape = story
    stairs = gains(tape, side, "AVAXUSDT")
    assert all(any(gain >= stage for gain in stairs) for stage in (1.5, 3, 5))
    peak = stairs.index(max(stairs))
    assert min(stairs[peak:]) < (100 + max(stairs)) * 0.99 - 100, "the trail's 1 % is given back after the peak"
    assert min(stairs[:peak]) > -0.5, "and the stop is not met on the way"
    assert min(gains(tape, side, "ADAUSDT")) < -11 and max(gains(tape, side, "ADAUSDT")) < 1.5
    break_even = gains(tape, side, "BTCUSDT")
    met = next(i for i, gain in enumerate(break_even) if gain >= 1.5)
    assert min(break_even[met:]) < 0 and max(break_even[: met + 400]) < 3
    assert max(gains(tape, side, "SOLUSDT")) > 9
    assert max(abs(b - a) for a, b in pairwise(gains(tape, side, "DOTUSDT"))) > 1
    held = gains(tape, side, "XRPUSDT")
    assert max(held) > 3 and min(held[held.index(max(held)) :]) > 2.5


def test_history_gives_an_hourly_range_and_joins_the_tape(story: tuple[Side, Tape]) -> None:
    _, tape = story
    for track in tape.tracks:
        bars = tape.history(track.symbol)
        assert len(bars) >= 24 * 60
        assert [bar.time_ms for bar in bars] == list(range(START - len(bars) * 60_000, START, 60_000))
        assert bars[-1].close == track.lasts[0]
        assert all(bar.low <= min(bar.open, bar.close) and bar.high >= max(bar.open, bar.close) and bar.low > 0 for bar in bars)
        hours = [bars[i : i + 60] for i in range(len(bars) - 14 * 60, len(bars), 60)]
        ranges = [(max(b.high for b in hour) - min(b.low for b in hour)) / hour[0].open for hour in hours]
        assert 0.003 < sum(ranges) / len(ranges) < 0.02, track.symbol


def test_a_longer_tape_goes_on_and_a_shorter_one_tells_the_same_faster() -> None:
    longer = demo_tape(7, 2.5, start_ms=START)
    assert longer.end_ms == START + 9_000_000
    hour = demo_tape(7, 1, start_ms=START)
    assert longer.tracks[0].lasts[:3601] == hour.tracks[0].lasts
    shorter = demo_tape(7, 0.2, start_ms=START)
    assert shorter.end_ms == START + 720_000
    assert max(gains(shorter, Side.SHORT, "AVAXUSDT")) > 7


def test_a_seed_is_a_path() -> None:
    one, two, other = (demo_tape(seed, 0.1, start_ms=START) for seed in (7, 7, 8))
    assert list(one) == list(two)
    assert list(one) != list(other)
    assert one.tracks[0].marks[:3] == mark_path(one.tracks[0].lasts[:3], E8(100_000), "7:AVAXUSDT")


@given(st.integers(0, 10**6), st.integers(1, 10**7), st.sampled_from([1, 100, 10_000_000]))
@settings(max_examples=50, deadline=None)
def test_mark_never_equals_last_and_stays_near(seed: int, price: int, tick: int) -> None:
    lasts = [price] * 500
    marks = mark_path(lasts, E8(tick), str(seed))
    low, high = BASIS_PPM
    assert all(mark != price * tick for mark in marks)
    if price * tick > 10**6:
        assert all(low - 2 <= abs(mark - price * tick) * PPM // (price * tick) <= high for mark in marks)


def test_the_basis_takes_both_signs() -> None:
    marks = mark_path([100_000] * 20_000, E8(1_000), "x")
    assert {mark > 100_000_000 for mark in marks} == {True, False}


@pytest.mark.parametrize("regime", list(Regime))
def test_every_regime_moves_as_its_name_says(regime: Regime) -> None:
    tape = synthetic_tape(3, 0.5, start_ms=START, starts={"BTCUSDT": Ticks(934_758)}, regimes=(regime,))
    lasts = tape.tracks[0].lasts
    change = lasts[-1] / lasts[0] - 1
    steps = [abs(b / a - 1) for a, b in pairwise(lasts)]
    assert regime.value in tape.describe()[0]
    if regime is Regime.CRASH:
        assert change < -0.1
    elif regime is Regime.SQUEEZE:
        assert change > 0.1
    elif regime is Regime.GAP:
        assert max(steps) > 0.008
    elif regime is Regime.RANGE:
        assert max(lasts) / min(lasts) - 1 < 0.02
    else:
        assert max(steps) < 0.005


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.lists(st.tuples(st.integers(1, 90), st.integers(-9_999, 20_000)), max_size=5))
@settings(max_examples=60, deadline=None)
def test_a_walk_passes_its_waypoints(seed: int, start: int, points: list[tuple[int, int]]) -> None:
    lasts = walk(Ticks(start), [Waypoint(seconds=s, level=level, wiggle=500) for s, level in points], str(seed))
    assert lasts[0] == start and min(lasts) >= 1
    at = 0
    for seconds, level in points:
        at += seconds
        assert abs(lasts[at] - max(start * (10_000 + level) / 10_000, 1)) <= start * 0.0005 + 1
    assert len(lasts) == at + 1


def test_a_long_mixed_tape_keeps_a_price() -> None:
    tape = synthetic_tape(11, 30, start_ms=START, starts={"ADAUSDT": Ticks(4_693)})
    lasts = tape.tracks[0].lasts
    assert min(lasts) > 4_693 * 0.35 and max(lasts) < 4_693 * 2.6


def test_what_cannot_be_a_tape_is_refused() -> None:
    with pytest.raises(PolicyError, match="whole minute"):
        demo_tape(1, 1, start_ms=START + 1)
    with pytest.raises(PolicyError, match=r"BTCUSD: no instrument.*did you mean BTCUSDT"):
        synthetic_tape(1, 1, start_ms=START, starts={"BTCUSD": Ticks(1)})
    with pytest.raises(PolicyError, match=r"BTCUSDT: no instrument.*known: none"):
        synthetic_tape(1, 1, start_ms=START, starts={"BTCUSDT": Ticks(1)}, instruments={})
    with pytest.raises(PolicyError, match="at least one second"):
        synthetic_tape(1, 0, start_ms=START, starts={"BTCUSDT": Ticks(1)})
    track = Track(symbol="BTCUSDT", times=[1], lasts=[1], marks=[2], history=(), note="")
    with pytest.raises(PolicyError, match="may be on a tape once"):
        Tape(tracks=(track, track))
    with pytest.raises(PolicyError, match="at least one symbol"):
        Tape(tracks=())
    with pytest.raises(PolicyError, match="as many times as prices"):
        Track(symbol="BTCUSDT", times=[1], lasts=[1, 2], marks=[2], history=(), note="")
    with pytest.raises(PolicyError, match="ETHUSDT is not on this tape; it holds BTCUSDT"):
        Tape(tracks=(track,)).history("ETHUSDT")


def test_a_thin_market_trades_seldom_and_jumps() -> None:
    tape = synthetic_tape(3, 1, start_ms=START, starts={"DOGEUSDT": Ticks(20_000)}, regimes=(Regime.THIN,))
    track = tape.tracks[0]
    waits = [(two - one) // 1000 for one, two in pairwise(track.times)]
    assert (track.times[0], track.times[-1]) == (START, START + 3_600_000)
    assert max(waits) > 20 and 5 < sum(waits) / len(waits) < 40
    busy = synthetic_tape(3, 1, start_ms=START, starts={"DOGEUSDT": Ticks(20_000)}, regimes=(Regime.RANGE,)).tracks[0]
    jumps = [max(abs(two - one) for one, two in pairwise(of.lasts)) for of in (track, busy)]
    assert jumps[0] > 3 * jumps[1]


def test_regimes_are_named() -> None:
    assert Regime.parse("crash, THIN") == (Regime.CRASH, Regime.THIN)
    with pytest.raises(PolicyError, match="did you mean 'squeeze'"):
        Regime.parse("sqeeze")
