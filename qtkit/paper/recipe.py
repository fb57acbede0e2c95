"""How the prices of a paper exchange are made, as plain data: the same recipe gives the same ticks, also when a snapshot is resumed."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from qtkit.core.model import PolicyError, Ticks
from qtkit.core.names import suggestion
from qtkit.paper import scene
from qtkit.paper.barpath import BarPath
from qtkit.paper.basis import Marks, parse_marks
from qtkit.paper.liquidity import THIN, Liquidity
from qtkit.paper.synthetic import DEMO_STARTS, Regime, synthetic_tape
from qtkit.paper.tape import INSTRUMENTS, Tape, Tick
from qtkit.paper.window import WindowChoice, replay_tape


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What was asked for. Prices come from ``trades`` (with ``quotes``), else from the bars in ``folders``, else they are made.

    ``window`` and ``hours`` choose the stretch of bars, ``at`` (ISO time, UTC) that of trades; ``regimes`` are those of made prices, drawn
    by ``seed`` if none are named; ``basis`` says how far mark and last part (see ``parse_marks``), empty: as is usual for the source.
    """

    start_ms: int
    seed: int = 7
    symbols: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    window: str = "fall"
    hours: float = 24.0
    path: str = "bridge"
    trades: str = ""
    quotes: str = ""
    at: str = ""
    regimes: tuple[str, ...] = ()
    basis: str = ""
    incident: bool = False

    def __post_init__(self) -> None:
        if self.trades and self.folders:
            raise PolicyError("prices come from trades or from bars, not from both")
        if self.quotes and not self.trades:
            raise PolicyError("quotes go with trades; name the file of trades too")
        if self.regimes and (self.trades or self.folders):
            raise PolicyError("regimes are those of made prices; leave recorded ones away")
        if self.path != "bridge" and not self.folders:
            raise PolicyError("a path inside the bar needs bars; name their folder")
        Regime.parse(",".join(self.regimes))

    @property
    def recorded(self) -> bool:
        """True if the prices were recorded: they begin at other levels than the incident's, and they end."""
        return bool(self.trades or self.folders)

    def tape(self) -> Tape:
        """The tape; of made prices its first hour. Raises ``PolicyError`` or ``BarsError`` where what was asked for is not there."""
        marks = parse_marks(self.basis) if self.basis else None
        if self.trades:
            return self._ticks(marks)
        if self.folders:
            return self._bars(marks)
        if self.symbols:
            raise PolicyError("--symbols chooses from --data; made prices are of the six symbols of the demonstration")
        if self.basis:
            raise PolicyError("a basis is chosen for recorded prices; made ones part by a seeded 1 to 8 bps")
        starts = scene.incident_starts() if self.incident else DEMO_STARTS
        regimes = Regime.parse(",".join(self.regimes))
        return synthetic_tape(self.seed, scene.HOURS, start_ms=self.start_ms, starts=starts, regimes=regimes)

    def books(self) -> dict[str, Liquidity]:
        """The books that go with the prices: shallow ones where a thin market is among the regimes."""
        return dict.fromkeys(DEMO_STARTS, THIN) if Regime.THIN in Regime.parse(",".join(self.regimes)) else {}

    def ticks(self, tape: Tape, fed: int = 0, newest: Tick | None = None) -> Iterator[Tick]:
        """The ticks after the first ``fed``; made prices have no end. Raises ``PolicyError`` if the last one before is not ``newest``."""
        endless: Iterable[Tick] = tape if self.recorded else self._endless(tape)
        ticks = iter(endless)
        passed = deque(islice(ticks, fed), maxlen=1)
        if newest is not None and newest not in passed:
            raise PolicyError("the tape is not the one that was saved: the files or the version changed, and its position is lost")
        return ticks

    def _endless(self, tape: Tape) -> Iterator[Tick]:
        return scene.endless(tape, self.seed, Regime.parse(",".join(self.regimes)))

    def _ticks(self, marks: Marks | None) -> Tape:
        from qtkit.paper.trade_tape import MARKS, load_recording, recorded_tape

        recording = load_recording(Path(self.trades), Path(self.quotes) if self.quotes else None)
        return recorded_tape(recording, self.symbols, at=_moment(self.at), start_ms=self.start_ms, seed=self.seed, marks=marks or MARKS)

    def _bars(self, marks: Marks | None) -> Tape:
        from qtkit.bars import find_bars

        folders, path = [Path(folder) for folder in self.folders], BarPath.parse(self.path)
        found = {symbol: folder for folder in folders for symbol in find_bars(folder)}
        known = [symbol for symbol in found if symbol in INSTRUMENTS]
        said = ", ".join(self.folders)
        for symbol in self.symbols:
            if symbol not in known:
                raise PolicyError(f"no bars of {symbol} in {said}: {suggestion(symbol, known)}")
        chosen = self.symbols or known
        if not chosen:
            raise PolicyError(f"{said}: bars of {', '.join(sorted(found))}, none of which the paper exchange knows")
        tracks = [
            track
            for folder in folders
            if (there := [WindowChoice.parse(symbol, self.window) for symbol in chosen if found[symbol] == folder])
            for track in replay_tape(folder, there, self.hours, start_ms=self.start_ms, seed=self.seed, path=path, marks=marks).tracks
        ]
        return Tape(tracks=tuple(tracks))

    def starts(self, tape: Tape) -> dict[str, Ticks]:
        """Entry prices of the incident's positions on this tape."""
        entries = scene.incident_entries()
        return scene.first_prices(tape, entries) if self.recorded else entries


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise PolicyError(f"{text!r} is no time; write 2024-08-08T23:55 (UTC)") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
