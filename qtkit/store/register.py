"""The plan register: one active exit plan for each position, shared by every process, with its history.

A small SQLite file of its own. Several processes write it, so it keeps a rollback journal (SQLite's write-ahead log may lose data
with several writers before 3.51.3) and every change is one immediate transaction: creators that race get the same plan.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, Self

from qtkit.core.model import Key, PositionSide, Side
from qtkit.core.plan import ExitPlan
from qtkit.store import codec
from qtkit.store.disk import Fault, StoreError, check_same_file, check_there, connect, sentence, sync_folder, transaction, translated

BUSY_MS = 5_000
SCHEMA = 1

_SLOT = "account = ? AND symbol = ? AND position_side = ?"
_TABLES = (
    "CREATE TABLE episodes (account TEXT NOT NULL, symbol TEXT NOT NULL, position_side TEXT NOT NULL, episode INTEGER NOT NULL,"
    " uid TEXT NOT NULL UNIQUE, closed_ms INTEGER, reason TEXT, PRIMARY KEY (account, symbol, position_side, episode)) STRICT",
    # The database itself refuses a second open episode of one slot.
    "CREATE UNIQUE INDEX one_open ON episodes (account, symbol, position_side) WHERE closed_ms IS NULL",
    "CREATE TABLE plans (uid TEXT NOT NULL, revision INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (uid, revision)) STRICT",
)
_NEWEST = "SELECT body FROM plans WHERE plans.uid = episodes.uid ORDER BY revision DESC LIMIT 1"
_RECOVERY = "the desk makes its plans anew from the positions on the exchange"


class RegisterError(StoreError):
    """The register could not be used: what is wrong, where, what to do next."""


class StalePlan(RegisterError):
    """A plan that is to be stored is older than, or contradicts, what the register holds: read it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One revision of a plan; ``closed_ms`` and ``reason`` tell when and why its episode ended, None while it is open."""

    plan: ExitPlan
    closed_ms: int | None
    reason: str | None


class PlanRegister:
    """The register at ``path``, created if it is not there. Methods may be called from any thread and any process."""

    def __init__(self, path: Path | str) -> None:
        """Raises ``RegisterError``: damaged, locked, read-only, full, or written by another version."""
        path = Path(path)
        with translated(_error(path), path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._begin(path, connect(path, "rwc", BUSY_MS), writes=True)

    @classmethod
    def read(cls, path: Path | str, *, searched: Sequence[Path | str] = ()) -> "PlanRegister":
        """Opens an existing register to read; ``searched`` are the places where the caller looked, named if there is nothing.

        The file is opened for writing if it can be, because a transaction that was killed is undone by the next one to open.
        """
        path = Path(path)
        register = cls.__new__(cls)
        with translated(_error(path), path):
            check_there("plan register", path, searched, RegisterError)
            register._begin(path, connect(path, "rw", BUSY_MS), writes=False)
        return register

    def get_or_create(
        self, key: Key, side: Side, make: Callable[[int], ExitPlan], now_ms: int, *, provisional: bool = False
    ) -> tuple[ExitPlan, bool]:
        """The active plan of a slot and False, or the plan that ``make`` builds for the next episode number and True.

        An expired episode, or one of the other side (the position was flipped), is closed and a new one begun. ``make`` is called
        at most once, inside the transaction: keep it short. The new plan is ``provisional`` as asked here. Raises ``StalePlan`` if
        ``make`` built a plan of another slot, side or episode.
        """
        with self._change():
            row = self._open_episode(key)
            if row is not None:
                plan = self._decode(row["body"])
                if plan.side is side and not _expired(plan, now_ms):
                    return plan, False
                self._close(key, plan.episode, now_ms, "expired" if _expired(plan, now_ms) else "flipped")
            episode = 1 + self._rows(f"SELECT coalesce(max(episode), 0) AS n FROM episodes WHERE {_SLOT}", _slot(key))[0]["n"]
            plan = make(episode)
            if (plan.key, plan.side, plan.episode) != (key, side, episode):
                made = f"{plan.key} {plan.side.name} episode {plan.episode}"
                raise StalePlan(Fault.MISMATCH, f"a plan was asked for {key} {side.name} episode {episode}, the one made is of {made}")
            plan = replace(plan, provisional=provisional)
            self._db.execute("INSERT INTO episodes VALUES (?, ?, ?, ?, ?, NULL, NULL)", (*_slot(key), episode, plan.uid))
            self._db.execute("INSERT INTO plans VALUES (?, ?, ?)", (plan.uid, plan.revision, codec.dumps(ExitPlan, plan)))
            return plan, True

    def active(self, key: Key, now_ms: int) -> ExitPlan | None:
        """The newest revision of the slot's open, unexpired plan."""
        with self._query():
            row = self._open_episode(key)
            plan = None if row is None else self._decode(row["body"])
        return None if plan is None or _expired(plan, now_ms) else plan

    def active_for(
        self, symbol: str | None = None, position_side: PositionSide | None = None, account: str | None = None, *, now_ms: int
    ) -> tuple[ExitPlan, ...]:
        """All active plans, narrowed by symbol, slot and account where given, in the order of their keys."""
        query = f"SELECT ({_NEWEST}) AS body FROM episodes WHERE closed_ms IS NULL ORDER BY account, symbol, position_side"
        with self._query():
            plans = [self._decode(row["body"]) for row in self._rows(query, ())]
        return tuple(
            plan
            for plan in plans
            if not _expired(plan, now_ms)
            and symbol in (None, plan.key.symbol)
            and position_side in (None, plan.key.position_side)
            and account in (None, plan.key.account)
        )

    def told(self, account: str) -> tuple[ExitPlan, ...]:
        """Open plans of an account that were made from a caller's word and are not confirmed."""
        open_plans = f"SELECT ({_NEWEST}) AS body FROM episodes WHERE closed_ms IS NULL AND account = ?"
        only = "json_extract(body, '$.provisional') AND json_extract(body, '$.expires_ms') IS NOT NULL"
        with self._query():
            return tuple(self._decode(row["body"]) for row in self._rows(f"SELECT body FROM ({open_plans}) WHERE {only}", (account,)))

    def confirm(self, key: Key, uid: str) -> ExitPlan:
        """A snapshot shows the position: the provisional plan is one for good and no longer expires. Twice does no harm.

        The revision stays, because order ids hang on it. Raises ``StalePlan`` if ``uid`` is not the slot's open plan.
        """
        with self._change():
            row = self._open_episode(key)
            if row is None or row["uid"] != uid:
                now = "no plan is open" if row is None else f"the open plan is {row['uid']}"
                raise StalePlan(Fault.MISMATCH, f"{key}: {uid} is not the open plan of this slot, {now}; read the register again")
            plan = self._decode(row["body"])
            confirmed = replace(plan, provisional=False, expires_ms=None)
            body = codec.dumps(ExitPlan, confirmed)
            self._db.execute("UPDATE plans SET body = ? WHERE uid = ? AND revision = ?", (body, uid, plan.revision))
            return confirmed

    def close(self, key: Key, episode: int, at_ms: int, reason: str) -> bool:
        """Ends an episode; True if it was open. A plan that is closed is never active again."""
        with self._change():
            return self._close(key, episode, at_ms, reason)

    def history(self, key: Key) -> tuple[Registered, ...]:
        """Every revision of every episode of a slot, oldest first."""
        query = f"SELECT body, closed_ms, reason FROM episodes JOIN plans USING (uid) WHERE {_SLOT} ORDER BY episode, revision"
        with self._query():
            rows = self._rows(query, _slot(key))
            return tuple(Registered(plan=self._decode(row["body"]), closed_ms=row["closed_ms"], reason=row["reason"]) for row in rows)

    def disconnect(self) -> None:
        """Closes the file; ``close`` ends an episode."""
        with self._mutex:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    def _begin(self, path: Path, connection: sqlite3.Connection, *, writes: bool) -> None:
        self.path = path
        self._mutex = Lock()
        self._db = connection
        self._inode = os.stat(path).st_ino
        with ExitStack() as undo:
            undo.callback(connection.close)
            connection.row_factory = sqlite3.Row
            # EXTRA also syncs the folder: a commit cannot be undone by a rollback journal that a power loss brings back.
            connection.execute("PRAGMA synchronous = EXTRA")
            if writes:
                _prepare(path, connection)
            else:
                connection.execute("PRAGMA query_only = ON")
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found != SCHEMA:
                raise _error(path)(Fault.MISMATCH, f"its schema is {found}, this version reads {SCHEMA}")
            undo.pop_all()

    @contextmanager
    def _query(self) -> Iterator[None]:
        """One thread at a time; errors of the disk come out as ``RegisterError``."""
        with self._mutex, translated(_error(self.path), self.path):
            check_same_file(self.path, self._inode)
            yield

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self._query(), transaction(self._db):
            yield

    def _rows(self, query: str, values: tuple[object, ...]) -> list[Any]:
        return self._db.execute(query, values).fetchall()

    def _open_episode(self, key: Key) -> Any:
        query = f"SELECT uid, ({_NEWEST}) AS body FROM episodes WHERE closed_ms IS NULL AND {_SLOT}"
        rows = self._rows(query, _slot(key))
        return rows[0] if rows else None

    def _close(self, key: Key, episode: int, at_ms: int, reason: str) -> bool:
        query = f"UPDATE episodes SET closed_ms = ?, reason = ? WHERE closed_ms IS NULL AND {_SLOT} AND episode = ?"
        return self._db.execute(query, (at_ms, reason, *_slot(key), episode)).rowcount == 1

    def _decode(self, body: str) -> ExitPlan:
        try:
            return codec.loads(ExitPlan, body)
        except codec.CorruptRecord as error:
            raise _error(self.path)(Fault.CORRUPT, str(error)) from error


def _error(path: Path) -> Callable[[Fault, str], RegisterError]:
    return lambda fault, detail: RegisterError(fault, sentence(fault, "plan register", path, detail, _RECOVERY))


def _slot(key: Key) -> tuple[str, str, str]:
    return key.account, key.symbol, key.position_side.value


def _expired(plan: ExitPlan, now_ms: int) -> bool:
    return plan.expires_ms is not None and plan.expires_ms <= now_ms


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    """Checks what is there, then makes what is missing; of several processes that start together one makes it."""
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise _error(path)(Fault.CORRUPT, f"quick_check says: {verdict}")
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        return
    with transaction(connection):
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            return
        for table in _TABLES:
            connection.execute(table)
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
    sync_folder(path.parent)
