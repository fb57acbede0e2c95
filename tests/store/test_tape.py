"""The tape: what was seen can be rebuilt exactly, its size is bounded, and it never raises into the desk."""

import gzip
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qtkit.core.model import E8, Bar, Lots, Position, PositionSide, Scope, Side, Snapshot, Ticks
from qtkit.store.seen import BarMissed, BarSeen, PassSeen, PriceSeen, RulesSeen, Seen
from qtkit.store.tape import TOTAL_BYTES, Tape, TapeReader
from tests.core.planning_kit import instrument
from tests.store.conftest import fill
from tests.store.making import child, intent, killed, said

ALWAYS = (0, 10**15)


def snapshot(number: int, side: Side = Side.LONG, *, lots: int = 5, mark: int = 1000, symbol: str = "BTCUSDT") -> Snapshot:
    """What the exchange holds; flat if ``lots`` is 0."""
    size = Lots(max(lots, 1))
    position = Position(symbol=symbol, position_side=PositionSide.BOTH, side=side, lots=size, entry=E8(1000), mark=E8(mark))
    orders = (replace(intent(1, side).order, symbol=symbol),)
    return Snapshot(account="main", symbol=symbol, at_ms=number, positions=(position,) if lots else (), orders=orders, time_ms=number * 2)


def price(number: int) -> PriceSeen:
    return PriceSeen(account="main", symbol="BTCUSDT", mark=E8(number), last=None)


def read(folder: Path, since_ms: int = 0, until_ms: int = 10**15) -> list[Seen]:
    reader = TapeReader(folder)
    seen = list(reader.between(since_ms, until_ms))
    assert reader.skipped == 0
    return seen


BAR = Bar(time_ms=1, open=Ticks(1), high=Ticks(2), low=Ticks(1), close=Ticks(2))
RULES = instrument("BTCUSDT")
EVENTS = st.one_of(
    st.builds(
        snapshot,
        st.integers(0, 10**6),
        st.sampled_from(Side),
        lots=st.integers(0, 2),
        mark=st.integers(1, 99),
        symbol=st.sampled_from(["BTCUSDT", "ETHUSDT"]),
    ),
    st.builds(price, st.integers(1, 99)),
    st.sampled_from([kind(account="main", symbol="BTCUSDT", bar=BAR) for kind in (BarSeen, BarMissed)]),
    st.just(RulesSeen(account="main", rules=RULES)),
    st.builds(PassSeen, account=st.just("main"), scope=st.sampled_from(Scope)),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(EVENTS, max_size=40), file_bytes=st.sampled_from([1, 700, 10**6]))
def test_what_was_seen_comes_back_equal_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, events: list[object], file_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("tape")
    tape = Tape(folder, file_bytes=file_bytes)
    for number, event in enumerate([price(1), *events]):
        tape.write(event, number)  # type: ignore[arg-type]
    tape.close()
    assert not tape.drops
    assert read(folder) == [Seen(number, event) for number, event in enumerate([price(1), *events])]  # type: ignore[arg-type]
    rules = [seen for seen in read(folder) if isinstance(seen.event, RulesSeen) and seen.at_ms < 3]
    assert read(folder, 3, 6) == rules + [seen for seen in read(folder) if 3 <= seen.at_ms < 6], "rules are told whatever their time"


@pytest.mark.parametrize("side", Side)
def test_a_snapshot_that_did_not_change_costs_little(tmp_path: Path, side: Side) -> None:
    tape = Tape(tmp_path)
    for number in range(100):
        tape.write(snapshot(number, side, mark=1000 + number), number)
    tape.write(snapshot(100, side, lots=4), 100)
    tape.close()
    (file,) = tmp_path.iterdir()
    sizes = [len(line) for line in file.read_bytes().splitlines()]
    assert max(sizes[1:100]) < sizes[0] / 5 and sizes[100] > sizes[0] * 0.9
    assert read(tmp_path)[99].event == snapshot(99, side, mark=1099)


def test_files_rotate_are_gzipped_and_bounded_in_total(tmp_path: Path) -> None:
    tape = Tape(tmp_path, file_bytes=10_000, total_bytes=20_000)
    for number in range(20_000):
        tape.write(price(number + 1), number)
    tape.close()
    tape = Tape(tmp_path, file_bytes=10_000, total_bytes=20_000)
    tape.write(price(1), 30_000)
    tape.close()
    files = sorted(tmp_path.iterdir())
    assert [file.suffix for file in files[:-1]] == [".gz"] * (len(files) - 1) and files[-1].suffix == ".jsonl"
    assert sum(file.stat().st_size for file in files) <= 20_000
    seen = read(tmp_path)
    assert [item.at_ms for item in seen[:-1]] == list(range(seen[0].at_ms, 20_000)) and seen[-1].at_ms == 30_000


def test_reading_beside_the_writer_across_a_rotation(tmp_path: Path) -> None:
    tape = Tape(tmp_path, file_bytes=2_000)
    for number in range(30):
        tape.write(price(1), number)
    rows = TapeReader(tmp_path).between(*ALWAYS)
    seen = [next(rows).at_ms]
    for number in range(30, 200):
        tape.write(price(1), number)
    tape.close()
    seen += [item.at_ms for item in rows]
    assert seen[:30] == list(range(30))


def test_only_the_files_of_the_time_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hour = 3_600_000
    for number in range(10):
        tape = Tape(tmp_path)
        tape.write(price(1), number * hour)
        tape.close()
    opened: list[Path] = []
    original = TapeReader._lines
    monkeypatch.setattr(TapeReader, "_lines", lambda self, path: opened.append(path) or original(self, path))  # type: ignore[func-returns-value]
    assert [seen.at_ms for seen in read(tmp_path, 8 * hour, 10 * hour)] == [8 * hour, 9 * hour]
    assert len(opened) == 4


def test_a_fault_of_the_disk_is_counted_and_the_tape_goes_on_after_a_pause(tmp_path: Path) -> None:
    folder = tmp_path / "tape"
    folder.write_text("in the way")
    tape = Tape(folder)
    for number in range(3):
        tape.write(price(1), number)
    assert dict(tape.drops) == {"File exists": 3}
    folder.unlink()
    tape.write(snapshot(1), 9_999)
    tape.write(snapshot(2), 10_000)
    tape.close()
    assert tape.drops.total() == 4
    assert read(folder) == [Seen(10_000, snapshot(2))]


def test_an_event_that_cannot_be_written_is_counted_and_nothing_else_is_lost(tmp_path: Path) -> None:
    tape = Tape(tmp_path)
    tape.write(snapshot(1), 1)
    tape.write(replace(snapshot(2), time_ms=1.5), 2)  # type: ignore[arg-type]
    tape.write(None, 3)  # type: ignore[arg-type]
    tape.write(snapshot(4), 4)
    tape.close()
    assert dict(tape.drops) == {"CorruptRecord": 2}
    assert read(tmp_path) == [Seen(1, snapshot(1)), Seen(4, snapshot(4))]


def test_a_full_disk_is_counted_and_leaves_no_litter(small_disk: Path) -> None:
    tape = Tape(small_disk / "tape")
    tape.write(price(1), 0)
    fill(small_disk)
    number = 1
    while not tape.drops:
        tape.write(snapshot(number, lots=number), number)
        number += 1
    for later in range(5):
        tape.write(price(1), number + 20_000 * later)
    assert tape.drops.total() == 6 and tape.drops["No space left on device"] >= 4
    tape.close()
    assert len(list((small_disk / "tape").iterdir())) == 1


WRITE_FOREVER = """
import sys
from qtkit.store.seen import PriceSeen
from qtkit.store.tape import Tape
tape = Tape(sys.argv[1], file_bytes=5_000)
number = 0
while True:
    tape.write(PriceSeen(account="main", symbol="BTCUSDT", mark=number + 1, last=None), number)
    print(number, flush=True)
    number += 1
"""


def test_a_kill_takes_nothing_that_was_written(tmp_path: Path) -> None:
    process = child(WRITE_FOREVER, tmp_path)
    for _ in range(400):
        last = said(process)
    last = [last, *killed(process)][-1]
    seen = read(tmp_path)
    assert [item.at_ms for item in seen] == list(range(len(seen))) and len(seen) > int(last)
    Tape(tmp_path).write(price(1), 10**9)


def test_a_cut_line_is_counted_and_passed_over(tmp_path: Path) -> None:
    tape = Tape(tmp_path)
    tape.write(snapshot(1), 1)
    tape.close()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes() + b'[2,{"@":"Snapsh\n[3]\n[4,{"@":"_Again"}]\n')
    reader = TapeReader(tmp_path)
    assert list(reader.between(*ALWAYS)) == [Seen(1, snapshot(1))]
    assert reader.skipped == 3


def test_a_reader_without_a_tape_names_the_places(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no tape in .*; looked in: /a, /b; start the desk once"):
        TapeReader(tmp_path / "none", searched=["/a", "/b"])


def test_prices_handed_in_together_are_those_handed_in_one_by_one(tmp_path: Path) -> None:
    symbols = ("BTCUSDT", "币安人生USDT")
    given = [(n, symbols[n % 2], E8(n + 1) if n % 3 else None, Ticks(n) if n % 5 else None) for n in range(40)]
    tape = Tape(tmp_path / "together")
    tape.prices("main", given[:25])
    tape.write(snapshot(25), 25)
    tape.prices("main", given[25:])
    tape.prices("main", ())
    tape.close()
    assert not tape.drops
    single = Tape(tmp_path / "single")
    for number, (at_ms, symbol, mark, last) in enumerate(given):
        if number == 25:
            single.write(snapshot(25), 25)
        single.write(PriceSeen(account="main", symbol=symbol, mark=mark, last=last), at_ms)
    single.close()
    files = [next((tmp_path / name).iterdir()) for name in ("together", "single")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_prices_that_cannot_be_written_are_counted(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    tape = Tape(place)
    tape.prices("main", [(n, "BTCUSDT", E8(1), None) for n in range(7)])
    tape.prices("main", [(n, "BTCUSDT", E8(1), None) for n in range(7)])
    assert sum(tape.drops.values()) == 14


def test_trading_rules_are_told_once_a_file_and_when_they_changed(tmp_path: Path) -> None:
    tape, other = Tape(tmp_path), replace(RULES, tick=E8(5))
    for number, rules in enumerate([RULES, RULES, other, other, RULES]):
        tape.rules("main", rules, number)
    tape.close()
    tape.rules("main", RULES, 5)
    tape.close()
    assert [(seen.at_ms, seen.event) for seen in read(tmp_path)] == [
        (number, RulesSeen(account="main", rules=rules)) for number, rules in ((0, RULES), (2, other), (4, RULES), (5, RULES))
    ]


def test_two_days_of_twenty_symbols_fit_into_the_bound(tmp_path: Path) -> None:
    """The worst that is met: marks and last prices every second, readings every two in which liquidation always moves, orders of others."""
    random, minutes, tape = Random(7), 3, Tape(tmp_path / "tape", file_bytes=10**9)
    prices = {f"C{number:02d}USDT": 20.0 + 7 * number for number in range(20)}
    for second in range(minutes * 60):
        at_ms, seen = second * 1000, []
        for symbol, price in prices.items():
            prices[symbol] = price = price * (1 + random.gauss(0, 1e-4))
            mark = E8(int(price * (1 + random.gauss(0, 3e-5)) * 1e8))
            seen += [(at_ms, symbol, mark, None), (at_ms + random.randrange(900), symbol, None, Ticks(int(price * 1000)))]
            if second % 2 == 0:
                reading = snapshot(at_ms, mark=mark, symbol=symbol)
                (position,), (order,) = reading.positions, reading.orders
                moved = replace(position, liquidation=E8(int(price * 5e7 * random.gauss(1, 1e-3))))
                orders = tuple(replace(order, client_id=f"web_{symbol}_{number}") for number in range(4))
                tape.write(replace(reading, positions=(moved,), orders=orders), at_ms)
        tape.prices("main", seen)
        tape.write(PassSeen(account="main", scope=Scope.WATCH), at_ms)
    tape.close()
    (file,) = (tmp_path / "tape").iterdir()
    packed = len(gzip.compress(file.read_bytes(), 6))
    assert not tape.drops and packed / minutes * 60 * 48 < TOTAL_BYTES * 0.6
