"""The tape: what the decision saw, so that any moment can be rebuilt and yesterday replayed.

Snapshots when they changed, prices, closed bars, trading rules and passes, one JSON line each, in files that rotate, are gzipped and
are bounded in total. Nothing is synced: a power loss may take the last lines, a kill takes none that were handed in (a desk hands
prices in by the pass). Every file can be read by itself.
"""

import gzip
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from qtkit.core.model import E8, ONE, Instrument, Snapshot, Ticks
from qtkit.store import codec
from qtkit.store.seen import BarMissed, BarSeen, PassSeen, PriceSeen, RulesSeen, Seen, TapeEvent

FILE_BYTES = 8 * 1024 * 1024
TOTAL_BYTES = 512 * 1024 * 1024
PAUSE_MS = 10_000  # after a failed write: a full disk is not asked at every price
STEP_BACK_MS = 3_600_000  # a file is passed over only if it ends this long before the time asked for: clocks are set back

_NAME = re.compile(r"tape-(\d{8})-(\d+)\.jsonl(\.gz)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Again:
    """A snapshot that differs from the last one of its symbol in times and mark prices only; ``marks`` are those of its positions."""

    account: str
    symbol: str
    at_ms: int
    time_ms: int
    marks: tuple[E8, ...]


_Line = Snapshot | PriceSeen | BarSeen | BarMissed | RulesSeen | PassSeen | _Again


class Tape:
    """The writing end. It never raises and never waits for the disk to sync: a full disk must not cost a stop.

    What could not be written is counted in ``drops`` by its reason, for health to show; the journal, not the tape, is the record
    that positions depend on. Files are gzipped by a thread of their own.
    """

    def __init__(self, folder: Path | str, *, file_bytes: int = FILE_BYTES, total_bytes: int = TOTAL_BYTES) -> None:
        self.drops: Counter[str] = Counter()
        self._folder = Path(folder)
        self._file_bytes = file_bytes
        self._total_bytes = total_bytes
        self._mutex = Lock()
        self._packer: Thread | None = None
        self._handle = -1
        self._written = 0
        self._number = 0
        self._reason = ""
        self._failed_ms = 0
        self._path = self._folder
        self._last: dict[tuple[str, str], Snapshot] = {}
        self._heads: dict[tuple[str, str], str] = {}
        self._rules: dict[tuple[str, str], Instrument] = {}

    def prices(self, account: str, prices: Iterable[tuple[int, str, E8 | None, Ticks | None]]) -> None:
        """Puts prices (time, symbol, mark, last: as ``PriceSeen``) on the tape at once, or counts why not."""
        lines = [(at_ms, self._price_line(account, at_ms, symbol, mark, last)) for at_ms, symbol, mark, last in prices]
        if lines:
            with self._mutex:
                self._attempt(lambda: self._put(lines[0][0], "".join(line for _, line in lines).encode()), lines[-1][0], len(lines))

    def write(self, event: TapeEvent, at_ms: int) -> None:
        """Puts one event on the tape, or counts why not."""
        with self._mutex:
            self._attempt(lambda: self._write(event, at_ms), at_ms, 1)

    def rules(self, account: str, rules: Instrument, at_ms: int) -> None:
        """Puts the trading rules of a symbol on the tape, unless its present file has them."""
        if self._rules.get((account, rules.symbol)) != rules:
            self.write(RulesSeen(account=account, rules=rules), at_ms)
            self._rules[account, rules.symbol] = rules

    def _attempt(self, act: Callable[[], None], at_ms: int, events: int) -> None:
        if self._reason and 0 <= at_ms - self._failed_ms < PAUSE_MS:
            self.drops[self._reason] += events
            return
        try:
            act()
            self._reason = ""
        except OSError as error:
            self._reason, self._failed_ms = error.strerror or str(error), at_ms
            self.drops[self._reason] += events
            self._abandon()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the tape, the pass that protects positions goes on
            self.drops[type(error).__name__] += events
            self._last.clear()

    def _write(self, event: TapeEvent, at_ms: int) -> None:
        self._begin(at_ms)
        self._put(at_ms, f"[{int(at_ms)},{codec.dumps(_Line, self._shortened(event))}]\n".encode())

    def _price_line(self, account: str, at_ms: int, symbol: str, mark: int | None, last: int | None) -> str:
        """The line of a ``PriceSeen``, as the codec writes it: there are too many of them to build each from its parts."""
        head = self._heads.get((account, symbol))
        if head is None:
            seen = codec.dumps(_Line, PriceSeen(account=account, symbol=symbol, mark=None, last=None))
            head = self._heads[account, symbol] = seen.removesuffix('"mark":null,"last":null}')
        return f'[{at_ms},{head}"mark":{"null" if mark is None else mark},"last":{"null" if last is None else last}}}]\n'

    def _begin(self, at_ms: int) -> None:
        if self._handle < 0 or self._written >= self._file_bytes:
            self._next_file(at_ms)

    def _put(self, at_ms: int, lines: bytes) -> None:
        self._begin(at_ms)
        if os.write(self._handle, lines) != len(lines):
            raise OSError("the line was cut off")
        self._written += len(lines)

    def close(self) -> None:
        """Ends the file and waits for the gzipping of earlier ones."""
        with self._mutex:
            self._abandon()
        if self._packer is not None:
            self._packer.join()

    def _shortened(self, event: TapeEvent) -> _Line:
        if not isinstance(event, Snapshot):
            return event
        slot = (event.account, event.symbol)
        before, self._last[slot] = self._last.get(slot), event
        if before is None or _still(before) != _still(event):
            return event
        marks = tuple(position.mark for position in event.positions)
        return _Again(account=event.account, symbol=event.symbol, at_ms=event.at_ms, time_ms=event.time_ms, marks=marks)

    def _next_file(self, at_ms: int) -> None:
        self._abandon()
        self._folder.mkdir(parents=True, exist_ok=True)
        files = _files(self._folder)
        self._number = 1 + max([self._number, *(file.number for file in files)])
        self._path = self._folder / f"tape-{self._number:08d}-{at_ms}.jsonl"
        self._handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        self._written = 0
        if self._packer is None or not self._packer.is_alive():
            self._packer = Thread(target=_pack, args=(self._folder, self._number, self._total_bytes), daemon=True)
            self._packer.start()

    def _abandon(self) -> None:
        """The next event begins a file, and with it whole snapshots and the rules."""
        self._last.clear()
        self._rules.clear()
        if self._handle < 0:
            return
        with suppress(OSError):  # nothing can be done about it
            os.close(self._handle)
            if self._written == 0:
                self._path.unlink()
        self._handle = -1


class TapeReader:
    """The reading end, also while the desk writes. ``skipped`` counts lines that could not be read, such as one cut off by a power loss."""

    def __init__(self, folder: Path | str, *, searched: Sequence[Path | str] = ()) -> None:
        """Raises ``FileNotFoundError`` naming the places that were ``searched`` if the folder holds no tape."""
        self.folder = Path(folder)
        self.skipped = 0
        if not self.folder.is_dir() or not _files(self.folder):
            places = f"; looked in: {', '.join(str(place) for place in searched)}" if searched else ""
            raise FileNotFoundError(f"there is no tape in {self.folder}{places}; start the desk once, or give the folder it runs in")

    def between(self, since_ms: int, until_ms: int) -> Iterator[Seen]:
        """All that was seen from ``since_ms`` on and before ``until_ms``, in the order of writing; snapshots are whole again.

        Trading rules that were seen shortly before ``since_ms`` are given too: what comes after is counted in them.
        """
        files = _files(self.folder)
        for file, after in zip(files, [*files[1:], None], strict=True):
            if after is not None and after.first_ms + STEP_BACK_MS < since_ms:
                continue
            for seen in self._file(file.path):
                if seen.at_ms < until_ms and (seen.at_ms >= since_ms or isinstance(seen.event, RulesSeen)):
                    yield seen

    def _file(self, path: Path) -> Iterator[Seen]:
        last: dict[tuple[str, str], Snapshot] = {}
        for at_ms, line in self._lines(path):
            event = _whole(last, line) if isinstance(line, _Again) else line
            if event is None:
                self.skipped += 1
                continue
            if isinstance(event, Snapshot):
                last[event.account, event.symbol] = event
            yield Seen(at_ms, event)

    def _lines(self, path: Path) -> Iterator[tuple[int, Any]]:
        for text in _texts(path):
            try:
                match json.loads(text):
                    case [int(at_ms), raw]:
                        yield at_ms, codec.decode(_Line, raw)
                    case _:
                        self.skipped += 1
            except ValueError:
                self.skipped += 1


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _File:
    number: int
    first_ms: int
    path: Path


def _files(folder: Path) -> list[_File]:
    """The files of a tape, oldest first; of a file that is plain and gzipped at once the plain one."""
    found: dict[int, _File] = {}
    for path in sorted(folder.iterdir(), reverse=True):
        match = _NAME.fullmatch(path.name)
        if match:
            found[int(match[1])] = _File(number=int(match[1]), first_ms=int(match[2]), path=path)
    return sorted(found.values())


def _texts(path: Path) -> Iterator[bytes]:
    """The lines of a file; one that is gzipped between listing and reading is read gzipped, one deleted by then is passed over."""
    for candidate in (path, path.with_name(path.name + ".gz")):
        with suppress(FileNotFoundError):
            with gzip.open(candidate) if candidate.suffix == ".gz" else candidate.open("rb") as handle:
                yield from handle
            return


def _still(snapshot: Snapshot) -> Snapshot:
    """The snapshot without what moves all the time."""
    positions = tuple(replace(position, mark=E8(ONE)) for position in snapshot.positions)
    return replace(snapshot, at_ms=0, time_ms=0, positions=positions)


def _whole(last: dict[tuple[str, str], Snapshot], line: _Again) -> Snapshot | None:
    before = last.get((line.account, line.symbol))
    if before is None or len(before.positions) != len(line.marks):
        return None
    positions = tuple(replace(position, mark=mark) for position, mark in zip(before.positions, line.marks, strict=True))
    return replace(before, at_ms=line.at_ms, time_ms=line.time_ms, positions=positions)


def _pack(folder: Path, current: int, total_bytes: int) -> None:
    """Deletes the oldest files beyond the bound and gzips those that are finished."""
    with suppress(OSError):  # tried again at the next rotation
        _trim(folder, total_bytes)
        for file in _files(folder):
            if file.number < current and file.path.suffix != ".gz":
                _gzip(file.path)
        _trim(folder, total_bytes)


def _trim(folder: Path, total_bytes: int) -> None:
    files = _files(folder)
    size = sum(file.path.stat().st_size for file in files)
    for file in files[:-1]:
        if size <= total_bytes:
            break
        size -= file.path.stat().st_size
        file.path.unlink()


def _gzip(path: Path) -> None:
    draft = path.with_name(path.name + ".draft")
    try:
        with path.open("rb") as source, gzip.open(draft, "wb", compresslevel=6) as target:
            shutil.copyfileobj(source, target)
        draft.rename(path.with_name(path.name + ".gz"))
    finally:
        draft.unlink(missing_ok=True)
    path.unlink()
