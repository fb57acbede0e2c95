"""The journal: every intent, outcome and change of an account's book, in order, synced before anything is sent.

One SQLite file per account, write-ahead log, ``synchronous=FULL``. ONE connection of ONE process writes, and it alone checkpoints:
SQLite 3.7.0-3.51.2 can lose the log when several connections write and checkpoint (fixed in 3.51.3, many Pythons ship older ones).
An OS lock keeps a second writer out. Readers open read-only, read in short pieces and never block the writer. Network file systems
are not supported by write-ahead logs. When the journal cannot take a row, ``append_fallback`` puts it into a side file (``side.py``)
that is merged by id before the next append or at the next open. A damaged journal is never deleted.

Reader, writer and their errors stand in one file because one schema and one set of rules about connections bind them.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Generic, Self, TypeVar

from qtkit.store import codec
from qtkit.store.disk import Fault, StoreError, check_same_file, check_there, connect, sentence, sync_folder, transaction, translated
from qtkit.store.side import Entry, SideFile, row_id

E = TypeVar("E")

SCHEMA = "1"
BUSY_MS = 250  # the desk's loop waits for nobody longer than this; then the side file takes the row
PIECE = 2_000  # rows per read transaction: a long one would keep the log from being reused

_RECOVERY = "the desk rebuilds its book from the exchange"
_TABLES = (
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, row_id TEXT NOT NULL UNIQUE, at_ms INTEGER NOT NULL,"
    " kind TEXT NOT NULL, body TEXT NOT NULL) STRICT",
)
_INSERT = "INSERT INTO events (row_id, at_ms, kind, body) VALUES (?, ?, ?, ?)"


class JournalError(StoreError):
    """The journal could not be used: what is wrong, where, what to do next."""


class JournalMissing(JournalError):
    """There is no such journal, or it was moved or deleted while open."""


class JournalLocked(JournalError):
    """Another process writes this journal."""


class JournalReadOnly(JournalError):
    """The file or its folder cannot be written."""


class JournalFull(JournalError):
    """No space is left on the disk."""


class JournalCorrupt(JournalError):
    """The file is damaged, is no journal, or holds a row that its type refuses."""


class JournalMismatch(JournalError):
    """The journal belongs to another account, or was written by another version."""


class JournalBroken(JournalError):
    """Reading or writing failed; nothing more is written through this object, open the journal again."""


_ERRORS: dict[Fault, type[JournalError]] = {
    Fault.MISSING: JournalMissing,
    Fault.LOCKED: JournalLocked,
    Fault.READ_ONLY: JournalReadOnly,
    Fault.FULL: JournalFull,
    Fault.CORRUPT: JournalCorrupt,
    Fault.MISMATCH: JournalMismatch,
    Fault.BROKEN: JournalBroken,
}


@dataclass(frozen=True, slots=True)
class Row(Generic[E]):
    """One event of the journal; ``seq`` rises by commit order, ``at_ms`` is the time its writer gave."""

    seq: int
    at_ms: int
    event: E


class JournalReader(Generic[E]):
    """A journal open for reading. ``event_types`` are the classes of the events, told apart by class name."""

    def __init__(self, path: Path, connection: sqlite3.Connection, event_types: Sequence[type[E]]) -> None:
        self.path = path
        self._db = connection
        self._types = _by_name(event_types)
        self._mutex = Lock()

    @property
    def account(self) -> str:
        """The account this journal belongs to."""
        return self._meta("account")

    @property
    def last_seq(self) -> int:
        """Sequence number of the newest row, 0 if there is none."""
        return int(self._rows("SELECT coalesce(max(seq), 0) FROM events", ())[0][0])

    def events(self, since: int = 0) -> Iterator[Row[E]]:
        """All rows with a sequence number above ``since``, oldest first. Raises ``JournalCorrupt`` naming the row that cannot be read."""
        query = "SELECT seq, at_ms, kind, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        while rows := self._rows(query, (since, PIECE)):
            for seq, at_ms, kind, body in rows:
                yield Row(seq, at_ms, self._event(seq, kind, body))
            since = rows[-1][0]

    def close(self) -> None:
        """Closes the connection; what was appended stays."""
        with self._mutex:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self, query: str, values: tuple[object, ...]) -> list[Any]:
        with self._mutex, translated(_error(self.path), self.path):
            return self._db.execute(query, values).fetchall()

    def _meta(self, name: str) -> str:
        rows = self._rows("SELECT value FROM meta WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else ""

    def _event(self, seq: int, kind: str, body: str) -> E:
        known = self._types.get(kind)
        if known is None:
            raise _error(self.path)(Fault.MISMATCH, f"row {seq} is of the unknown kind {kind!r}, known are {', '.join(self._types)}")
        try:
            return codec.loads(known, body)
        except codec.CorruptRecord as error:
            raise _error(self.path)(Fault.CORRUPT, f"row {seq}: {error}") from error

    def _check_schema(self, account: str | None) -> None:
        schema = self._meta("schema")
        if schema != SCHEMA:
            raise _error(self.path)(Fault.MISMATCH, f"its schema is {schema!r}, this version reads {SCHEMA!r}")
        if account is not None and self.account != account:
            raise _error(self.path)(Fault.MISMATCH, f"it belongs to account {self.account!r}, not {account!r}")


class Journal(JournalReader[E]):
    """The journal open for writing, by its one writer. Methods may be called from any thread."""

    def __init__(self, path: Path, connection: sqlite3.Connection, event_types: Sequence[type[E]], lock: int) -> None:
        super().__init__(path, connection, event_types)
        self._lock = lock
        self._inode = os.stat(path).st_ino
        self._side = SideFile(path)
        self._aside = False
        self._broken = False
        self._offered = 0

    @classmethod
    def open(cls, path: Path | str, event_types: Sequence[type[E]], *, account: str) -> "Journal[E]":
        """Opens or creates the journal of ``account``, checks it whole and merges the side file.

        Raises a ``JournalError``: locked by another writer, damaged, read-only, full, or of another account.
        """
        path = Path(path)
        with translated(_error(path), path), ExitStack() as undo:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = _lock(path)
            undo.callback(os.close, lock)
            connection = connect(path, "rwc", BUSY_MS)
            undo.callback(connection.close)
            _prepare(path, connection, account)
            journal = cls(path, connection, event_types, lock)
            journal._check_schema(account)
            journal._merge()
            journal._side.keep_reserve()
            undo.pop_all()  # all went well: what was opened stays open
        journal._offered = journal.last_seq
        return journal

    @classmethod
    def read(
        cls, path: Path | str, event_types: Sequence[type[E]], *, account: str | None = None, searched: Sequence[Path | str] = ()
    ) -> JournalReader[E]:
        """Opens read-only beside a running writer. ``searched`` are the places where the caller looked, named if there is nothing.

        Rows in a side file are not seen until the writer merged them. Raises a ``JournalError``.
        """
        path = Path(path)
        with translated(_error(path), path), ExitStack() as undo:
            check_there("journal", path, searched, JournalMissing)
            connection = connect(path, "ro", BUSY_MS)
            undo.callback(connection.close)
            reader = JournalReader(path, connection, event_types)
            connection.execute("PRAGMA query_only = ON")
            reader._check_schema(account)
            undo.pop_all()
        return reader

    def append(self, events: Sequence[E], at_ms: int) -> int:
        """Writes all events in one synced commit, or none; returns the last sequence number.

        Raises a ``JournalError``; then give the same events and the same ``at_ms`` to ``append_fallback``. An event that its own
        type refuses raises ``CorruptRecord`` and nothing is written.
        """
        with self._mutex:
            entries = self._entries(events, at_ms)
            with translated(self._note, self.path):
                self._check_usable()
                if self._aside:
                    self._merge()
                with transaction(self._db):
                    self._db.executemany(_INSERT, [(e.row_id, e.at_ms, e.kind, e.body) for e in entries])
                last = self._db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]
            self._offered += len(entries)
            return int(last)

    def append_fallback(self, events: Sequence[E], at_ms: int) -> Path:
        """Writes events that ``append`` could not take to the side file, synced, and returns that file.

        Raises a ``JournalError`` if that fails too.
        """
        with self._mutex:
            entries = self._entries(events, at_ms)
            with translated(_error(self._side.places[0]), self.path):
                place = self._side.append(entries)
            self._offered += len(entries)
            self._aside = True
            return place

    def close(self) -> None:
        """Closes the journal and lets another process write it."""
        super().close()
        with self._mutex:
            if self._lock >= 0:
                os.close(self._lock)
            self._lock = -1

    def _entries(self, events: Sequence[E], at_ms: int) -> list[Entry]:
        done = []
        for ordinal, event in enumerate(events, start=self._offered):
            kind = type(event).__name__
            if self._types.get(kind) is not type(event):
                raise codec.CorruptRecord(f"{kind} is no event of this journal, known are {', '.join(self._types)}")
            body = codec.dumps(type(event), event)
            done.append(Entry(row_id=row_id(str(ordinal), at_ms, kind, body), at_ms=at_ms, kind=kind, body=body))
        return done

    def _check_usable(self) -> None:
        if self._broken:
            raise self._note(Fault.BROKEN, "an earlier write failed")
        check_same_file(self.path, self._inode)

    def _note(self, fault: Fault, detail: str) -> JournalError:
        # After a failed write or sync the kernel may have dropped pages: what this connection believes is no longer to be trusted.
        self._broken = self._broken or fault in (Fault.BROKEN, Fault.CORRUPT)
        return _error(self.path)(fault, detail)

    def _merge(self) -> None:
        """Side rows first, then new ones: order is kept. Rows that the journal already has are passed over."""
        entries = list(self._side.read())
        good = [(e.row_id, e.at_ms, e.kind, e.body) for e in entries if self._readable(e)]
        if good:
            with transaction(self._db):
                self._db.executemany(f"{_INSERT} ON CONFLICT (row_id) DO NOTHING", good)
        self._side.retire(keep=len(good) < len(entries))
        self._aside = False

    def _readable(self, entry: Entry) -> bool:
        try:
            self._event(0, entry.kind, entry.body)
        except JournalError:
            return False
        return True


def _error(path: Path) -> Callable[[Fault, str], JournalError]:
    return lambda fault, detail: _ERRORS[fault](fault, sentence(fault, "journal", path, detail, _RECOVERY))


def _by_name(event_types: Sequence[type[E]]) -> dict[str, type[E]]:
    names = {kind.__name__: kind for kind in event_types}
    if len(names) < len(event_types):
        raise TypeError("two event types have the same class name; the journal tells them apart by it")
    return names


def _lock(path: Path) -> int:
    """The writer's OS lock, on a file of its own: closing any handle of the database file would drop SQLite's locks on it."""
    handle = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise _error(path)(Fault.LOCKED, "it has a writer already") from None
    return handle


def _prepare(path: Path, connection: sqlite3.Connection, account: str) -> None:
    """Checks what is there, then makes what is missing."""
    new = path.stat().st_size == 0
    if not new:
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise _error(path)(Fault.CORRUPT, f"quick_check says: {verdict}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    if connection.execute("SELECT count(*) FROM sqlite_schema WHERE name IN ('meta', 'events')").fetchone()[0] == 2:
        # A file that may not be written opens without a word and refuses only a change.
        connection.execute("UPDATE meta SET value = value WHERE name = 'schema'")
        return
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise _error(path)(Fault.MISMATCH, "it is another program's database")
    with transaction(connection):
        for table in _TABLES:
            connection.execute(table)
        connection.execute("INSERT INTO meta VALUES ('schema', ?), ('account', ?)", (SCHEMA, account))
    sync_folder(path.parent)
