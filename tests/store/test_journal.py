"""The journal: nothing acknowledged is lost, nobody blocks the writer, every fault of the disk has its own clear error."""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtkit.core.book import Book, fold
from qtkit.core.events import EpisodeClosed, EpisodeOpened, Event, GapChanged
from qtkit.core.model import E8, Lots, Side
from qtkit.core.trail import begin
from qtkit.store import codec
from qtkit.store import journal as journal_module
from qtkit.store.codec import CorruptRecord
from qtkit.store.disk import Fault
from qtkit.store.journal import (
    Journal,
    JournalBroken,
    JournalCorrupt,
    JournalError,
    JournalFull,
    JournalLocked,
    JournalMismatch,
    JournalMissing,
    JournalReadOnly,
)
from qtkit.store.side import Entry, SideFile, row_id
from tests.store.conftest import fill
from tests.store.making import BTC, child, exit_plan, intent, intents, killed, said

EVENTS: tuple[Any, ...] = get_args(Event)


def opened(path: Path) -> Journal[Event]:
    return Journal.open(path, EVENTS, account="main")


def held(path: Path) -> list[Event]:
    with Journal.read(path, EVENTS) as reader:
        return [row.event for row in reader.events()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "desk" / "journal.db"


def side_of(path: Path) -> Path:
    return path.with_name(path.name + ".side.jsonl")


def aside(path: Path, events: list[Event], at_ms: int) -> Path:
    """What a journal that nobody can open has in its side file."""
    rows = [(type(event).__name__, codec.dumps(type(event), event)) for event in events]
    entries = [
        Entry(row_id=row_id(f"{at_ms}.{n}", at_ms, kind, body), at_ms=at_ms, kind=kind, body=body) for n, (kind, body) in enumerate(rows)
    ]
    return SideFile(path).append(entries)


def test_rows_come_back_in_order_and_from_any_point(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "PIECE", 3)
    with opened(path) as journal:
        assert journal.append(intents(1, 5), 100) == 5
        assert journal.append([], 150) == 5
        assert journal.append(intents(6, 5), 200) == 10
        rows = list(journal.events())
    assert [row.seq for row in rows] == list(range(1, 11))
    assert [row.at_ms for row in rows] == [100] * 5 + [200] * 5
    assert [row.event for row in rows] == intents(1, 10)
    with Journal.read(path, EVENTS, account="main") as reader:
        assert [row.seq for row in reader.events(since=7)] == [8, 9, 10]
        assert reader.account == "main" and reader.last_seq == 10
    with opened(path) as journal:
        assert journal.append([intent(11)], 300) == 11


def test_a_refused_event_writes_nothing_of_its_batch(path: Path) -> None:
    with opened(path) as journal:
        with pytest.raises(CorruptRecord, match="dict is no event of this journal"):
            journal.append([intent(1), {}], 1)  # type: ignore[list-item]
        assert journal.last_seq == 0


@settings(max_examples=15)
@given(side=st.sampled_from(Side), cuts=st.lists(st.integers(0, 4), max_size=12), flags=st.lists(st.booleans(), min_size=12, max_size=12))
def test_the_fold_of_the_journal_is_the_book(side: Side, cuts: list[int], flags: list[bool]) -> None:
    """However the events were cut into commits, whichever of them went to the side file."""
    book, number = Book(), 0
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        journal = opened(path)
        for cut, aside in zip(cuts, flags, strict=False):
            events = [_story(number + index, side) for index in range(cut)]
            number += cut
            book = reduce(fold, events, book)
            (journal.append_fallback if aside and events else journal.append)(events, number)
        journal.close()
        with opened(path) as again:
            rows = list(again.events())
    assert reduce(fold, (row.event for row in rows), Book()) == book
    assert len(rows) == number


def _story(number: int, side: Side) -> Event:
    plan = exit_plan(side=side, episode=1 + number // 7)
    match number % 7:
        case 0:
            return EpisodeOpened(
                plan=plan, trail=begin(plan), ladder=(Lots(3), Lots(2)), lots=Lots(5), entry=E8(1000), own=True, at_ms=number
            )
        case 5:
            return GapChanged(key=BTC, since_ms=number, at_ms=number, reason="gone")
        case 6:
            return EpisodeClosed(key=BTC, at_ms=number, reason="flat")
        case _:
            return intent(number, side)


APPEND_FOREVER = """
import sys
from typing import get_args
from qtkit.core.events import Event
from qtkit.store.journal import Journal
from tests.store.making import intents
journal = Journal.open(sys.argv[1], get_args(Event), account="main")
number = journal.last_seq
while True:
    events = intents(number + 1, 3)
    number += 3
    if sys.argv[2] == "side":
        journal.append_fallback(events, number)
    else:
        assert journal.append(events, number) == number
    print(number, flush=True)
"""


@pytest.mark.parametrize("mode", ["main", "side"])
def test_kill_during_append_loses_no_acknowledged_row_and_splits_no_commit(path: Path, mode: str) -> None:
    for acknowledged in (1, 4, 9, 30):
        process = child(APPEND_FOREVER, path, mode)
        for _ in range(acknowledged):
            last = said(process)
        last = [line for line in (last, *killed(process)) if line.strip()][-1]  # the kill may have cut the last line short
        with opened(path) as journal:
            rows = list(journal.events())
        assert len(rows) >= int(last)
        assert mode == "side" or len(rows) % 3 == 0
        assert [row.event for row in rows] == intents(1, len(rows))
        if mode == "side":  # the next round starts from what was merged, whole or not
            assert not side_of(path).exists()


def test_a_reader_that_stays_open_does_not_stop_the_writer(path: Path) -> None:
    with opened(path) as journal:
        journal.append(intents(1, 500), 1)
        slow = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        cursor = slow.execute("SELECT seq FROM events ORDER BY seq")
        assert cursor.fetchone() == (1,)
        with Journal.read(path, EVENTS) as reader:
            rows = reader.events()
            assert next(rows).seq == 1
            for number in range(501, 560):
                journal.append([intent(number)], number)
            assert [row.seq for row in rows] == list(range(2, 560))
        assert cursor.fetchall()[-1] == (500,)
        slow.close()


READ_FOREVER = """
import sys
from typing import get_args
from qtkit.core.events import Event
from qtkit.store.journal import Journal
from tests.store.making import intents
reader = Journal.read(sys.argv[1], get_args(Event))
print("ready", flush=True)
while True:
    events = [row.event for row in reader.events()]
    assert events == intents(1, len(events)) and len(events) % 2 == 0
    print(len(events), flush=True)
    if len(events) == 400:
        break
"""


def test_a_reader_in_another_process_sees_whole_commits_only(path: Path) -> None:
    with opened(path) as journal:
        process = child(READ_FOREVER, path)
        assert said(process) == "ready"
        for number in range(1, 400, 2):
            journal.append(intents(number, 2), number)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    counts = [int(line) for line in out.split()]
    assert counts == sorted(counts) and counts[-1] == 400


def test_a_reader_cannot_write_and_names_the_places_searched(path: Path) -> None:
    with pytest.raises(JournalMissing, match=r"does not exist; looked in: /a, /b; start the desk once"):
        Journal.read(path, EVENTS, searched=["/a", "/b"])
    opened(path).close()
    with Journal.read(path, EVENTS) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._db.execute("DELETE FROM events")
    path.write_bytes(b"")
    with pytest.raises(JournalMissing, match="is empty"):
        Journal.read(path, EVENTS)


def test_a_second_writer_is_kept_out_until_the_first_ends(path: Path) -> None:
    process = child(APPEND_FOREVER, path, "main")
    said(process)
    with pytest.raises(JournalLocked, match="it has a writer already"):
        opened(path)
    killed(process)
    with opened(path) as journal, pytest.raises(JournalLocked):
        opened(path)
    assert journal.path == path
    opened(path).close()


def test_what_a_locked_journal_cannot_take_goes_aside_and_comes_back_in_order(path: Path) -> None:
    with opened(path) as journal:
        journal.append([intent(1)], 1)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for number in (2, 3):
            with pytest.raises(JournalLocked, match="in use by another process"):
                journal.append([intent(number)], number)
            assert journal.append_fallback([intent(number)], number) == side_of(path)
        assert held(path) == intents(1, 1)
        other.execute("ROLLBACK")
        other.close()
        assert journal.append([intent(4)], 4) == 4
        assert held(path) == intents(1, 4)
    assert not side_of(path).exists()


def test_a_row_that_reached_journal_and_side_file_is_kept_once(path: Path) -> None:
    """A commit whose answer was an error may be found done after a crash."""
    with opened(path) as journal:
        journal.append_fallback(intents(1, 2), 7)
        twice = side_of(path).read_bytes()
    for _ in range(2):
        with opened(path) as journal:
            assert [row.event for row in journal.events()] == intents(1, 2)
        side_of(path).write_bytes(twice)
    with opened(path) as journal:
        journal.append_fallback([intent(3), intent(3)], 7)  # equal events of one call are two rows
    with opened(path) as journal:
        assert journal.last_seq == 4


def test_torn_and_foreign_lines_are_passed_over_and_kept(path: Path) -> None:
    aside(path, intents(1, 2), 1)
    with side_of(path).open("ab") as file:
        file.write(b'["torn", 1, "IntentMa')
    aside(path, [intent(3)], 2)
    with side_of(path).open("ab") as file:
        file.write(json.dumps(["x", 1, "Nonsense", "{}"]).encode() + b"\n")
    with opened(path) as journal:
        assert [row.event for row in journal.events()] == intents(1, 3)
    assert not side_of(path).exists()
    assert b"torn" in path.with_name(path.name + ".side.jsonl.unreadable-1").read_bytes()


def test_a_damaged_journal_is_left_and_the_desk_goes_on_with_a_new_one(path: Path) -> None:
    with opened(path) as journal:
        journal.append(intents(1, 300), 1)
    damaged = bytearray(path.read_bytes())
    damaged[8192:40960] = os.urandom(32768)
    path.write_bytes(damaged)
    with pytest.raises(JournalCorrupt, match=r"is damaged .*nothing was deleted: move it aside") as caught:
        opened(path)
    assert caught.value.fault is Fault.CORRUPT
    assert path.read_bytes() == damaged
    aside(path, [intent(1)], 5)
    for part in path.parent.glob("journal.db*"):  # by hand, with its log
        if not part.name.endswith(".jsonl"):
            part.rename(part.with_name(f"{part.name}.damaged"))
    with opened(path) as journal:
        assert [row.event for row in journal.events()] == [intent(1)]
    assert path.with_name("journal.db.damaged").read_bytes() == damaged


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"\x00" * 4096])
def test_a_file_that_is_no_journal_is_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    for attempt in (opened, held):
        with pytest.raises(JournalError):
            attempt(path)
    assert path.read_bytes() == content


def test_another_programs_database_and_another_account_are_refused(path: Path, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE trades (id INTEGER)")
    other.close()
    with pytest.raises(JournalMismatch, match="another program's database"):
        opened(tmp_path / "other.db")
    opened(path).close()
    with pytest.raises(JournalMismatch, match="belongs to account 'main', not 'second'"):
        Journal.open(path, EVENTS, account="second")
    with pytest.raises(JournalMismatch, match="belongs to account 'main'"):
        Journal.read(path, EVENTS, account="second")


def test_a_row_that_cannot_be_read_is_named(path: Path) -> None:
    with opened(path) as journal:
        journal.append(intents(1, 3), 1)
        journal._db.execute("UPDATE events SET body = '{}' WHERE seq = 2")
    with (
        Journal.read(path, EVENTS) as reader,
        pytest.raises(JournalCorrupt, match="row 2: IntentMade: key 'at_ms' of IntentMade is missing"),
    ):
        list(reader.events())
    with Journal.read(path, (EpisodeClosed,)) as closed, pytest.raises(JournalMismatch, match="row 1 is of the unknown kind 'IntentMade'"):
        list(closed.events())


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_deleted_or_replaced_under_the_writer_is_noticed(path: Path, replaced: bool) -> None:
    with opened(path) as journal:
        journal.append([intent(1)], 1)
        path.unlink()
        if replaced:
            path.write_bytes(b"")
        with pytest.raises(JournalMissing, match="is not there"):
            journal.append([intent(2)], 2)
        journal.append_fallback([intent(2)], 2)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with opened(path) as journal:
        assert [row.event for row in journal.events()] == [intent(2)]


def test_a_full_journal_says_so_and_goes_on_when_there_is_room(path: Path) -> None:
    with opened(path) as journal:
        journal.append([intent(1)], 1)
        pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
        journal._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(JournalFull, match=r"the disk or quota is full .*free some space"):
            journal.append(intents(2, 200), 2)
        assert journal.last_seq == 1
        journal.append_fallback(intents(2, 200), 2)
        journal._db.execute("PRAGMA max_page_count = 1000000")
        assert journal.append([intent(202)], 3) == 202
    assert held(path) == intents(1, 202)


def test_on_a_full_disk_the_reserve_takes_the_intents(small_disk: Path) -> None:
    path = small_disk / "journal.db"
    with opened(path) as journal:
        fill(small_disk)
        number = 1
        with pytest.raises(JournalFull):
            while True:  # until the log needs a new page
                number = journal.append([intent(number)], number) + 1
        assert journal.append_fallback([intent(number)], number) == side_of(path)
        (small_disk / "ballast").unlink()
        journal.append([intent(number + 1)], number)
        assert held(path) == intents(1, number + 1)


def test_on_a_read_only_disk_the_state_folder_takes_the_intents(
    small_disk: Path, read_only: Callable[[Path], None], tmp_path: Path
) -> None:
    path = small_disk / "journal.db"
    opened(path).close()
    read_only(small_disk)
    with pytest.raises(JournalReadOnly, match="cannot be written"):
        opened(path)
    place = aside(path, [intent(1)], 1)
    assert place.is_relative_to(tmp_path / "state" / "qtkit" / "side")


@pytest.fixture
def as_nobody(path: Path) -> Iterator[None]:
    """The rights of an ordinary user, who owns the desk's folder: root may write everything."""
    path.parent.mkdir()
    if os.geteuid() != 0:
        yield
        return
    for folder in path.parents:
        if folder == Path(gettempdir()):
            break
        folder.chmod(0o755)
    os.chown(path.parent, 65534, 65534)
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.usefixtures("as_nobody")
def test_a_read_only_file_or_folder_says_so_and_can_be_read(path: Path) -> None:
    with opened(path) as journal:
        journal.append(intents(1, 3), 1)
    path.chmod(0o400)
    with pytest.raises(JournalReadOnly, match="give this user write permission"):
        opened(path)
    assert held(path) == intents(1, 3)
    path.chmod(0o000)
    for attempt in (opened, held):
        with pytest.raises(JournalReadOnly):
            attempt(path)
    path.parent.chmod(0o000)
    for attempt in (opened, held):
        with pytest.raises(JournalReadOnly):
            attempt(path)


def test_if_no_place_takes_a_row_it_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    with opened(path) as journal:
        side_of(path).symlink_to("/dev/full")
        with pytest.raises(JournalError) as caught:
            journal.append_fallback([intent(1)], 1)
    assert str(side_of(path)) in str(caught.value)


def test_after_a_failed_write_nothing_more_is_written_through_this_connection(path: Path) -> None:
    """A failed sync may have dropped pages of the log: what the connection believes no longer holds."""
    with opened(path) as journal:
        journal.append([intent(1)], 1)
        journal._db.close()
        with pytest.raises(JournalBroken, match="check the disk"):
            journal.append([intent(2)], 2)
        with pytest.raises(JournalBroken, match="an earlier write failed"):
            journal.append([intent(2)], 2)
        journal.append_fallback([intent(2)], 2)
    with opened(path) as again:
        assert [row.event for row in again.events()] == intents(1, 2)


def test_two_event_types_of_one_name_are_refused(path: Path) -> None:
    twin = type("IntentMade", (), {})
    with pytest.raises(TypeError, match="same class name"):
        Journal.open(path, (*EVENTS, twin), account="main")
    opened(path).close()
