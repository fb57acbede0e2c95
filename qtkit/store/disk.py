"""What a disk can do to us, in one vocabulary for SQLite and plain files: faults, sentences, folders, connections."""

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path


class Fault(Enum):
    """Why a store could not be used."""

    MISSING = "missing"
    LOCKED = "locked"
    READ_ONLY = "read-only"
    FULL = "full"
    CORRUPT = "corrupt"
    MISMATCH = "mismatch"
    BROKEN = "broken"


class StoreError(Exception):
    """A store could not be used; ``fault`` tells why, the message says where and what to do next."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


_ADVICE = {
    Fault.MISSING: "is not there ({detail}); if it was moved or deleted, stop the desk, put it back or start without it: {recovery}",
    Fault.LOCKED: "is in use by another process ({detail}); end that process or close the program that holds it, then try again",
    Fault.READ_ONLY: "cannot be written, the file or its folder is read-only ({detail}); give this user write permission there",
    Fault.FULL: "cannot grow, the disk or quota is full ({detail}); free some space on that disk, nothing committed is lost",
    Fault.CORRUPT: "is damaged ({detail}); nothing was deleted: move it aside together with its -wal file and start again, {recovery}",
    Fault.MISMATCH: "is not what was asked for ({detail}); give the right file, or move this one aside",
    Fault.BROKEN: "could not be read or written ({detail}); check the disk, then start the desk again",
}

_SQLITE = {
    sqlite3.SQLITE_BUSY: Fault.LOCKED,
    sqlite3.SQLITE_LOCKED: Fault.LOCKED,
    sqlite3.SQLITE_PROTOCOL: Fault.LOCKED,
    sqlite3.SQLITE_READONLY: Fault.READ_ONLY,
    sqlite3.SQLITE_PERM: Fault.READ_ONLY,
    sqlite3.SQLITE_FULL: Fault.FULL,
    sqlite3.SQLITE_CORRUPT: Fault.CORRUPT,
    sqlite3.SQLITE_NOTADB: Fault.CORRUPT,
    sqlite3.SQLITE_SCHEMA: Fault.CORRUPT,
    sqlite3.SQLITE_CONSTRAINT: Fault.MISMATCH,
}

_OS = {
    errno.ENOENT: Fault.MISSING,
    errno.EACCES: Fault.READ_ONLY,
    errno.EPERM: Fault.READ_ONLY,
    errno.EROFS: Fault.READ_ONLY,
    errno.ENOSPC: Fault.FULL,
    errno.EDQUOT: Fault.FULL,
    errno.EFBIG: Fault.FULL,
}

_DB_MOVED = 1032  # SQLITE_READONLY_DBMOVED: the file was renamed or deleted under an open connection
_ERROR = 1  # SQLITE_ERROR: a statement that our own schema would accept, so this is another schema


def sentence(fault: Fault, what: str, path: Path, detail: str, recovery: str) -> str:
    """One sentence: which file, what is wrong with it, what to do. ``recovery`` says what happens when it is gone."""
    return f"the {what} {path} " + _ADVICE[fault].format(detail=" ".join(detail.split()), recovery=recovery)


def fault_of(error: sqlite3.Error | OSError, path: Path) -> Fault:
    """The fault behind an error of SQLite or of the operating system."""
    if isinstance(error, OSError):
        return _OS.get(error.errno or 0, Fault.BROKEN)
    code = getattr(error, "sqlite_errorcode", None)  # absent when Python, not SQLite, refused
    if code is None:
        return Fault.BROKEN
    if code == _DB_MOVED:
        return Fault.MISSING
    if code & 0xFF == sqlite3.SQLITE_CANTOPEN:
        return _cannot_open(path)
    if code == _ERROR:
        return Fault.MISMATCH
    return _SQLITE.get(code & 0xFF, Fault.BROKEN)


def _cannot_open(path: Path) -> Fault:
    if not path.exists() and not path.parent.is_dir():
        return Fault.MISSING
    both = os.R_OK | os.W_OK
    effective = os.access in os.supports_effective_ids
    allowed = all(os.access(place, both, effective_ids=effective) for place in (path.parent, path) if place.exists())
    return Fault.BROKEN if allowed else Fault.READ_ONLY


@contextmanager
def translated(raises: Callable[[Fault, str], StoreError], path: Path) -> Iterator[None]:
    """Turns errors of SQLite and of the operating system into the error that ``raises`` builds from a fault and its detail."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise raises(fault_of(error, path), str(error)) from error


def connect(path: Path, mode: str, busy_ms: int) -> sqlite3.Connection:
    """A connection in autocommit mode; ``mode`` is SQLite's ro, rw or rwc. Waits at most ``busy_ms`` for another process's lock."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=busy_ms / 1000, isolation_level=None, check_same_thread=False
    )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE ... COMMIT, undone on any error, also of the COMMIT itself."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:  # a kill between two statements too: all of it or nothing
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_there(what: str, path: Path, searched: Sequence[Path | str], raises: Callable[[Fault, str], StoreError]) -> None:
    """For a reader: raises, naming all ``searched`` places, if nothing was ever written to ``path``."""
    if path.exists() and path.stat().st_size > 0:
        return
    found = "is empty" if path.exists() else "does not exist"
    places = f"; looked in: {', '.join(str(place) for place in searched)}" if searched else ""
    raise raises(Fault.MISSING, f"the {what} {path} {found}{places}; start the desk once, or give the folder it runs in (QTKIT_HOME)")


def check_same_file(path: Path, inode: int) -> None:
    """Raises ``OSError`` if an open database file was deleted or replaced: commits would vanish without a word."""
    if os.stat(path).st_ino != inode:
        raise FileNotFoundError(errno.ENOENT, "another file took its place while it was open")


def sync_folder(folder: Path) -> None:
    """Makes the creation or removal of a file in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def state_folder() -> Path:
    """The user's state folder of qtkit: ``$XDG_STATE_HOME/qtkit``, else ``~/.local/state/qtkit``. It does not depend on QTKIT_HOME."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "qtkit"
