"""Journal and register: do they open, hold together and take rows. Read without leaving a trace beside them.

SQLite's own read-only mode makes a log and an index beside a journal that nobody has open, and they stay. So a journal without a log is
read as a file that does not change, one with a log as its readers do. A register is opened for reading only, which undoes nothing.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from qtkit.core.plan import ExitPlan
from qtkit.desk import EVENT_TYPES
from qtkit.doctor.finding import Finding, Limits, Unread, age, count, fine, look, size, wrong
from qtkit.store.disk import Fault, StoreError, connect, sentence, translated
from qtkit.store.journal import SCHEMA, JournalReader
from qtkit.store.register import PlanRegister
from qtkit.store.side import RESERVE_BYTES, SideFile

BUSY_MS = 1_000
_REBUILT = "the desk rebuilds its book from the exchange"
_PLANNED_ANEW = "the desk makes its plans anew from the positions on the exchange"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalFacts:
    """A journal as it lies there. Sizes in bytes; ``side`` is what waits in side files, ``reserve`` the room kept for them.

    ``last_at_ms`` is the time of its newest row, None without rows.
    """

    path: Path
    size: int
    log: int
    side: int
    reserve: int
    last_seq: int
    last_at_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed(Unread):
    """A store that does not open, by its fault."""

    fault: Fault


def read_journal(path: Path, account: str) -> JournalFacts | Closed | None:
    """Every row read as a desk's start would read it; None if there is no journal, ``Closed`` with the reason if it does not open."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        seq, at_ms = _rows_of(path, account)
    except StoreError as error:
        return Closed(why=str(error), fault=error.fault)
    return JournalFacts(
        path=path, size=_size(path), log=_size(_beside(path, "-wal")), side=SideFile(path).size(), reserve=_size(_beside(path, ".reserve")),
        last_seq=seq, last_at_ms=at_ms,
    )  # fmt: skip


def _rows_of(path: Path, account: str) -> tuple[int, int | None]:
    log = _beside(path, "-wal")
    if log.exists():
        return _checked(path, account, shared=True)
    try:
        return _checked(path, account, shared=False)
    except StoreError:
        if log.exists():  # a desk started meanwhile, and what was read changed underneath
            return _checked(path, account, shared=True)
        raise


def _checked(path: Path, account: str, *, shared: bool) -> tuple[int, int | None]:
    """The newest row's number and time, after all were read. Raises ``StoreError``."""
    with _opened("journal", path, "ro" if shared else "immutable", _REBUILT) as connection:
        schema = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        if schema != (SCHEMA,):
            found = schema[0] if schema else "missing"
            raise _error("journal", path, _REBUILT)(Fault.MISMATCH, f"its schema is {found!r}, this version reads {SCHEMA!r}")
        reader: JournalReader[object] = JournalReader(path, connection, EVENT_TYPES)
        if reader.account != account:
            raise _error("journal", path, _REBUILT)(Fault.MISMATCH, f"it belongs to account {reader.account!r}, not {account!r}")
        newest = deque(reader.events(), maxlen=1)
        return (newest[0].seq, newest[0].at_ms) if newest else (0, None)


def journal(facts: JournalFacts | Closed | None, path: Path, limits: Limits, now_ms: int) -> Finding:
    """Does the journal open, is it whole, is what protects it there."""
    name = "journal"
    if facts is None:
        return look(name, f"{path} does not exist: no desk ever ran from this home", "`qtkit desk` makes it")
    if isinstance(facts, Closed):
        return wrong(name, facts.why, _remedy(facts, f"mv {path}{{,-wal,-shm}} to another folder, then `qtkit desk`: {_REBUILT}"))
    newest = "" if facts.last_at_ms is None else f" of {age(now_ms - facts.last_at_ms)} ago"
    found = f"opens whole; last row {facts.last_seq:,}{newest}, {size(facts.size)}, log {size(facts.log)}, reserve {size(facts.reserve)}"
    if facts.side:
        waiting = f"{size(facts.side)} of rows wait in a side file: the journal could not take them"
        return wrong(name, f"{found}; {waiting}", "free some space on that disk; the desk merges them at its next write or start")
    if facts.log > limits.log_bytes:
        remedy = "close notebooks and other readers of the journal; the log shrinks when the last old reader ends"
        return look(name, f"{found}; a log this long is held by a reader", remedy)
    if facts.size > limits.journal_bytes:
        remedy = f"stop the desk while no position is open, mv {facts.path} to an archive, then `qtkit desk`"
        return look(name, f"{found}; it is replayed whole at start", remedy)
    if facts.reserve < RESERVE_BYTES:
        remedy = "free some space, then start the desk again: `qtkit desk` makes the reserve"
        return look(name, f"{found}; nothing is kept free for intents on a full disk", remedy)
    return fine(name, found)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterFacts:
    """A register as it lies there: its size in bytes and its active plans."""

    size: int
    plans: tuple[ExitPlan, ...]


def read_register(path: Path, account: str, now_ms: int) -> RegisterFacts | Closed | None:
    """All active plans; None if there is no register, ``Closed`` with the reason if it does not open or a plan cannot be read."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        # First read-only: opening it as its readers do would undo a transaction that was killed, which is a write.
        with _opened("plan register", path, "ro", _PLANNED_ANEW) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        with PlanRegister.read(path) as register:
            plans = register.active_for(account=account, now_ms=now_ms)
    except StoreError as error:
        return Closed(why=str(error), fault=error.fault)
    return RegisterFacts(size=_size(path), plans=plans)


def register(facts: RegisterFacts | Closed | None, path: Path) -> Finding:
    """Does the register open, and can its plans be read."""
    name = "register"
    if facts is None:
        return look(name, f"{path} does not exist: no plan was ever made in this home", "`qtkit desk` makes it")
    if isinstance(facts, Closed):
        if _beside(path, "-journal").exists():
            return look(name, f"{facts.why}; a change was cut short", "`qtkit check` opens it for writing, which undoes that change")
        return wrong(name, facts.why, _remedy(facts, f"mv {path} to another folder, then `qtkit desk`: {_PLANNED_ANEW}"))
    return fine(name, f"opens whole; {count(len(facts.plans), 'active plan')}, {size(facts.size)}")


def _remedy(closed: Closed, aside: str) -> str:
    """What to do about a store by its fault; ``aside`` begins a new one."""
    ways = {
        Fault.LOCKED: "end the program that holds it (`lsof` names it), then `qtkit doctor` again",
        Fault.READ_ONLY: "give this user the right to read and write there: `ls -l` shows whose it is",
        Fault.FULL: "free some space on that disk",
        Fault.MISMATCH: "give this account a home of its own: another folder in QTKIT_HOME",
    }
    return ways.get(closed.fault, aside)


@contextmanager
def _opened(what: str, path: Path, mode: str, recovery: str) -> Iterator[sqlite3.Connection]:
    """A connection that passed SQLite's own check. Raises ``StoreError``."""
    raises = _error(what, path, recovery)
    with translated(raises, path):
        frozen = f"{path.absolute().as_uri()}?immutable=1"
        opening = sqlite3.connect(frozen, uri=True, isolation_level=None) if mode == "immutable" else connect(path, mode, BUSY_MS)
        with closing(opening) as connection:
            connection.execute("PRAGMA query_only = ON")
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise raises(Fault.CORRUPT, f"quick_check says: {verdict}")
            yield connection


def _error(what: str, path: Path, recovery: str) -> Callable[[Fault, str], StoreError]:
    return lambda fault, detail: StoreError(fault, sentence(fault, what, path, detail, recovery))


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
