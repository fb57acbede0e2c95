"""The side file: where intents go when the journal cannot take them, so that stops and closes still can be sent.

One JSON object per line, appended and fsynced, first beside the journal, else in the user's state folder. The journal merges it
by id at its next chance; a row that reached both is kept once. Nothing is ever rewritten: a torn line (a crash during the write,
so never acknowledged) is left behind its newline, and a file with such a line is kept aside after the merge, not deleted.
"""

import hashlib
import heapq
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from qtkit.store.disk import state_folder, sync_folder

RESERVE_BYTES = 256 * 1024  # room for about 400 intents on a disk that is full otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One journal row in transit: ``row_id`` makes merging idempotent, ``body`` is the event as JSON text, ``kind`` its class name."""

    row_id: str
    at_ms: int
    kind: str
    body: str


def row_id(ordinal: str, at_ms: int, kind: str, body: str) -> str:
    """Id of a row: equal for the same event offered again at the same place, whether journal or side file took it."""
    return hashlib.blake2b(f"{ordinal}|{at_ms}|{kind}|{body}".encode(), digest_size=12).hexdigest()


class SideFile:
    """The side files that belong to one journal."""

    def __init__(self, journal: Path) -> None:
        journal = journal.absolute()
        mark = hashlib.blake2b(str(journal).encode(), digest_size=6).hexdigest()
        self.places = (
            journal.with_name(journal.name + ".side.jsonl"),
            state_folder() / "side" / f"{journal.stem}-{mark}.side.jsonl",
        )
        self._reserve = journal.with_name(journal.name + ".reserve")

    def size(self) -> int:
        """Bytes now in all side files."""
        return sum(place.stat().st_size for place in self.places if place.exists())

    def append(self, entries: Sequence[Entry]) -> Path:
        """Writes and syncs all entries to the first place that takes them. Raises the last ``OSError`` if none does."""
        text = "".join("\n" + json.dumps([entry.row_id, entry.at_ms, entry.kind, entry.body]) + "\n" for entry in entries)
        beside, elsewhere = self.places
        for _ in range(2):  # the second time without the reserve
            try:
                _append(beside, text.encode())
                return beside
            except OSError:
                self._give_up_reserve()
        _append(elsewhere, text.encode())
        return elsewhere

    def keep_reserve(self) -> None:
        """Holds some disk space, to be given up when the disk is full. Without it only the second place is left then."""
        if self._reserve.exists():
            return
        with suppress(OSError):  # a convenience: the journal works without it
            self._reserve.write_bytes(bytes(RESERVE_BYTES))

    def read(self) -> Iterator[Entry]:
        """All readable entries, each file in its own order, both merged by time."""
        return heapq.merge(*(list(_entries(place)) for place in self.places), key=lambda entry: entry.at_ms)

    def retire(self, *, keep: bool) -> None:
        """Takes the side files away after a merge. One that holds unreadable lines, or all if ``keep``, is renamed, not deleted."""
        for place in self.places:
            if not place.exists():
                continue
            lines = sum(1 for line in place.read_bytes().splitlines() if line)
            if keep or lines > sum(1 for _ in _entries(place)):
                place.rename(free_name(place, "unreadable"))
            else:
                place.unlink()
            sync_folder(place.parent)

    def _give_up_reserve(self) -> None:
        with suppress(OSError):  # on a read-only disk there is nothing to gain
            self._reserve.unlink(missing_ok=True)


def free_name(path: Path, word: str) -> Path:
    """The first free name ``path.word-N``."""
    names = (path.with_name(f"{path.name}.{word}-{number}") for number in count(1))
    return next(name for name in names if not name.exists())


def _append(place: Path, data: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    new = not place.exists()
    handle = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        while data:
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    if new:
        sync_folder(place.parent)


def _entries(place: Path) -> Iterator[Entry]:
    """The entries of a file; unreadable lines are passed over, ``retire`` counts them."""
    if not place.exists():
        return
    for line in place.read_bytes().splitlines():
        try:
            match json.loads(line) if line else None:
                case [str(ident), int(at_ms), str(kind), str(body)]:
                    yield Entry(row_id=ident, at_ms=at_ms, kind=kind, body=body)
        except ValueError:
            continue
