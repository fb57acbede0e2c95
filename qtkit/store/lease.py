"""The lease: one process owns an account on a host.

An OS file lock in the user's state folder, the same whatever QTKIT_HOME is, so that two desks in two folders still meet. The kernel
releases it when the process dies, also by kill -9. Each owner gets a fencing epoch, strictly higher than any before, synced before
it is used. Two users of one host, or two hosts, do not see each other's locks: there only equal order ids and the exchange's
receive window protect.
"""

import fcntl
import hashlib
import os
import re
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from qtkit.store import codec
from qtkit.store.disk import Fault, StoreError, sentence, state_folder, sync_folder, translated

GAP_MS = 10_000  # five passes: what lies longer between two checks was a stop or a suspend, and the exchange must be read anew
_TRIES, _PAUSE_S = 10, 0.02  # a reader that asks who holds the lock takes it for some microseconds itself
_RECORD = 2_048  # the record is written at its full width in one write: a reader never sees two halves
_RECOVERY = "start the desk again, with the highest epoch of its journal"


class LeaseError(StoreError):
    """The lease file could not be used: what is wrong, where, what to do next."""


class LeaseHeld(LeaseError):
    """Another process owns the account; ``holder`` tells which."""

    def __init__(self, account: str, holder: "Holder") -> None:
        alias = f" as account {holder.name}" if holder.name not in ("", account) else ""
        where = f" in {holder.home}" if holder.home else ""
        ask = f", reachable at {holder.endpoint}" if holder.endpoint else ""
        super().__init__(
            Fault.LOCKED,
            f"account {account} is run by process {holder.pid}{alias} since {holder.since}{where}{ask}; "
            f"talk to that desk, or end it with `kill {holder.pid}` and start again",
        )
        self.account = account
        self.holder = holder


class LeaseLost(LeaseError):
    """This process may no longer write: read the exchange anew, then ``renew``, or end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who owns an account: its process, since when (UTC), its home folder, the URL where it answers, its fencing epoch.

    ``account`` is what the lease is taken on, ``name`` what the owner's settings call it.
    """

    account: str
    pid: int
    since: str
    epoch: int
    home: str = ""
    endpoint: str = ""
    name: str = ""


def loop_clock_ms() -> int:
    """A clock that never steps and, where the system has one (Linux), goes on while the computer sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock) // 1_000_000


def lease_folder() -> Path:
    """``$QTKIT_LEASES`` if set (tests), else ``leases`` in the user's state folder."""
    given = os.environ.get("QTKIT_LEASES")
    return Path(given) if given else state_folder() / "leases"


def holder(account: str) -> Holder | None:
    """Who owns the account now, or None if nobody does. Changes nothing. Raises ``LeaseError`` if the lease file cannot be read."""
    path = _path(account)
    with translated(_error(path), path):
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            if _locked(handle, fcntl.LOCK_SH):
                return None
            return _read(handle) or Holder(account=account, pid=0, since="an unknown time", epoch=0)
        finally:
            os.close(handle)


class Lease:
    """An account owned by this process. Call ``check`` in every pass and before every write to the exchange."""

    def __init__(self, path: Path, handle: int, holder: Holder, gap_ms: int, clock_ms: Callable[[], int]) -> None:
        self._path = path
        self._handle = handle
        self._inode = os.fstat(handle).st_ino
        self._gap_ms = gap_ms
        self._clock_ms = clock_ms
        self._seen_ms = clock_ms()
        self._lost = ""
        self.holder = holder
        _OWNED.add(self)

    @classmethod
    def acquire(
        cls,
        account: str,
        endpoint: str | None = None,
        *,
        name: str = "",
        home: Path | str = "",
        above: int = 0,
        gap_ms: int = GAP_MS,
        clock_ms: Callable[[], int] = loop_clock_ms,
    ) -> "Lease":
        """Takes the account, or raises ``LeaseHeld``. ``above`` is the highest epoch in the caller's journal.

        ``name`` is how texts call the account, where that is not what the lease is taken on.
        ``gap_ms`` is the longest time between two checks after which this process still trusts what it knows.
        """
        path = _path(account)
        with translated(_error(path), path), ExitStack() as undo:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = _take(path, account, name or account)
            undo.callback(os.close, handle)
            before = _read(handle)
            epoch = 1 + max(above, before.epoch if before is not None else 0)
            since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            owner = Holder(
                account=account, name=name or account, pid=os.getpid(), since=since, epoch=epoch, home=str(home),
                endpoint=endpoint or "",
            )  # fmt: skip
            _write(handle, owner)
            sync_folder(path.parent)
            undo.pop_all()  # all went well: the lock is kept
        return cls(path, handle, owner, gap_ms, clock_ms)

    @property
    def epoch(self) -> int:
        """The fencing epoch of this ownership; what an owner wrote under a lower one is history."""
        return self.holder.epoch

    def check(self) -> int:
        """The epoch, if this process may write now. Raises ``LeaseLost`` after a gap in the loop, a fork, or the loss of the lock file.

        A process that was stopped raises at its first check afterwards, and at each one until ``renew``. What is stopped between this
        check and its write is left to the exchange: sign with a time taken before the check, and a short receive window.
        """
        now = self._clock_ms()
        gap, self._seen_ms = now - self._seen_ms, now
        if not self._lost:
            self._lost = self._why_lost(gap)
        if self._lost:
            advice = "nothing may be sent until the exchange was read anew under a new epoch"
            raise LeaseLost(Fault.LOCKED, f"account {self.holder.name}: {self._lost}; {advice}")
        return self.epoch

    def renew(self) -> int:
        """A new epoch after a gap, while the lock is still ours; then read everything anew. Raises ``LeaseLost`` if the lock is gone."""
        self._seen_ms = self._clock_ms()
        self._lost = ""
        self.check()
        self._rewrite(replace(self.holder, epoch=self.epoch + 1))
        return self.epoch

    def announce(self, endpoint: str) -> None:
        """Tells others the URL where this owner answers."""
        self._rewrite(replace(self.holder, endpoint=endpoint))

    def release(self) -> None:
        """Gives the account up. Twice does no harm."""
        handle, self._handle = self._handle, -1
        self._lost = self._lost or "the lease was released"
        if handle >= 0:
            os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _rewrite(self, owner: Holder) -> None:
        with translated(_error(self._path), self._path):
            _write(self._handle, owner)
        self.holder = owner

    def _why_lost(self, gap: int) -> str:
        if self._handle < 0:
            return "the lease was released"
        if gap > self._gap_ms:
            return f"the loop stood still for {gap / 1000:.1f} s (limit {self._gap_ms / 1000:.1f} s)"
        try:
            same = os.stat(self._path).st_ino == self._inode
        except OSError:
            same = False
        return "" if same else f"the lock file {self._path} was deleted or replaced"


_OWNED: "weakref.WeakSet[Lease]" = weakref.WeakSet()


def _leave_to_parent() -> None:
    """A forked child would keep its parent's lock alive after the parent was killed, and must not write under it."""
    for lease in list(_OWNED):
        lease.release()


os.register_at_fork(after_in_child=_leave_to_parent)


def _path(account: str) -> Path:
    mark = hashlib.blake2b(account.encode(), digest_size=6).hexdigest()
    return lease_folder() / f"{re.sub(r'[^A-Za-z0-9]+', '-', account)[:60]}-{mark}.lease"


def _take(path: Path, account: str, name: str) -> int:
    owner = None
    for _ in range(_TRIES):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _locked(handle, fcntl.LOCK_EX):
            owner = _read(handle)
            os.close(handle)
            time.sleep(_PAUSE_S)
            continue
        if path.exists() and path.stat().st_ino == os.fstat(handle).st_ino:
            return handle
        os.close(handle)  # somebody deleted the file between opening and locking it
    raise LeaseHeld(name, owner or Holder(account=account, pid=0, since="an unknown time", epoch=0))


def _locked(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(handle: int) -> Holder | None:
    """The record, or None if there is none that can be read: then only ``above`` keeps the epoch rising."""
    try:
        return codec.loads(Holder, os.pread(handle, _RECORD, 0))
    except codec.CorruptRecord:
        return None


def _write(handle: int, owner: Holder) -> None:
    record = codec.dumps(Holder, owner).encode().ljust(_RECORD)
    if len(record) > _RECORD or os.pwrite(handle, record, 0) != _RECORD:
        raise OSError(f"the record of {owner.name} could not be written whole")
    os.fsync(handle)


def _error(path: Path) -> Callable[[Fault, str], LeaseError]:
    return lambda fault, detail: LeaseError(fault, sentence(fault, "lease file", path, detail, _RECOVERY))
