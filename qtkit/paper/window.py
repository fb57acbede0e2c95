"""Recorded bars played again as a tape: which stretch of which file, re-timed to one exchange clock, each bar as a path of ticks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import Enum
from pathlib import Path

import polars as pl

from qtkit.bars import find_bars, load_bars, to_ticks
from qtkit.core.model import E8, ONE, Bar, Instrument, PolicyError, Ticks
from qtkit.paper.barpath import BarPath, play
from qtkit.paper.basis import Course, Marks, SeededMarks
from qtkit.paper.tape import INSTRUMENTS, MINUTE_MS, PPM, Tape, Track, excursion_note, known_instrument, signed

HISTORY_WANTED = 15 * 60  # minutes: ATR(14, 1h) needs fifteen whole hours
HISTORY_KEPT = 3 * 24 * 60


class Pick(Enum):
    """Which stretch of a symbol's bars: the steepest fall or rise from first open to last close, or the one with the least spread."""

    FALL = "fall"
    RISE = "rise"
    RANGE = "range"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowChoice:
    """The stretch wanted for a symbol: a ``Pick`` over all its files, or the time (UTC) at which it starts."""

    symbol: str
    start: Pick | datetime = Pick.FALL

    def __post_init__(self) -> None:
        if isinstance(self.start, datetime) and self.start.tzinfo is None:
            raise PolicyError(f"{self.symbol}: the start {self.start} names no time zone; bars are in UTC, add tzinfo=UTC")

    @staticmethod
    def parse(symbol: str, text: str) -> "WindowChoice":
        """``fall``, ``rise``, ``range`` or an ISO time, UTC unless it names its zone. Raises ``PolicyError`` for anything else."""
        word = text.strip().lower()
        if word in (pick.value for pick in Pick):
            return WindowChoice(symbol=symbol, start=Pick(word))
        try:
            at = datetime.fromisoformat(text.strip())
        except ValueError:
            near = get_close_matches(word, [pick.value for pick in Pick], 1)
            hint = f"did you mean {near[0]}?" if near else "use fall, rise, range or a time such as 2025-06-20T12:00"
            raise PolicyError(f"{symbol}: {text!r} names no window; {hint}") from None
        return WindowChoice(symbol=symbol, start=at if at.tzinfo else at.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of bars: ``bars`` (columns of ``to_ticks``, and ``volume``) holds the history and then the window.

    The window begins at row ``first``. ``score`` tells how far it is what was picked, ppm, the smaller the better.
    """

    symbol: str
    path: Path
    bars: pl.DataFrame
    first: int
    score: int = 0

    @property
    def start_ms(self) -> int:
        """Original time of the window's first bar."""
        return int(self.bars["time_ms"][self.first])

    @property
    def short_of_history(self) -> bool:
        """True if fewer than 15 hours of bars come before the window, too few for an hourly ATR(14)."""
        return self.first < HISTORY_WANTED


def replay_tape(
    folder: Path | str,
    choices: Sequence[WindowChoice],
    hours: float,
    *,
    start_ms: int,
    seed: int = 0,
    per_minute: int = 60,
    path: BarPath = BarPath.BRIDGE,
    marks: Marks | None = None,
    instruments: Mapping[str, Instrument] = INSTRUMENTS,
) -> Tape:
    """A tape of recorded bars from the parquet files of ``folder``; each symbol's window begins at ``start_ms`` (a whole minute).

    Every bar becomes ``per_minute`` ticks within its minute (at least 4), on the ``path`` that is chosen; never outside, so the bars of
    the tape are the bars of the file, volumes and gaps between them included. Missing minutes stay silent. The bars before the window are
    its history (up to three days). ``marks`` says how far mark and last part. Raises ``PolicyError`` where no window fits or marks are
    missing, ``BarsError`` where a file is wrong.
    """
    if start_ms % MINUTE_MS:
        raise PolicyError(f"a tape starts on a whole minute, so that its bars line up; got {start_ms} ms")
    if not 4 <= per_minute <= MINUTE_MS:
        raise PolicyError(f"a bar needs at least 4 ticks to be open, low, high and close, and at most one a millisecond; got {per_minute}")
    files = find_bars(folder)
    tracks = []
    for choice in choices:
        rules = known_instrument(instruments, choice.symbol)
        window = find_window(files, choice, hours, rules.tick)
        tracks.append(_track(window, rules, start_ms, seed, per_minute, path, marks or SeededMarks()))
    return Tape(tracks=tuple(tracks))


def find_window(files: Mapping[str, Sequence[Path]], choice: WindowChoice, hours: float, tick: E8) -> Window:
    """The stretch of ``hours`` that was chosen, over all files of the symbol; one with 15 hours of history before it is preferred.

    Raises ``PolicyError`` if the symbol has no file or none holds such a stretch, naming what there is.
    """
    minutes = round(hours * 60)
    if minutes < 1:
        raise PolicyError(f"{choice.symbol}: a window lasts at least a minute, got {hours} hours")
    if choice.symbol not in files:
        near = get_close_matches(choice.symbol, files, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(files))}"
        raise PolicyError(f"{choice.symbol}: no bars of that symbol; {hint}")
    loaded = [(path, _in_ticks(load_bars(path), tick)) for path in files[choice.symbol]]
    windows = [window for path, bars in loaded for window in _windows(path, bars, choice, minutes)]
    if not windows:
        spans = "; ".join(f"{path.name} {_utc(bars['time_ms'][0])} to {_utc(bars['time_ms'][-1])}" for path, bars in loaded)
        wanted = f"from {choice.start:%Y-%m-%d %H:%M} " if isinstance(choice.start, datetime) else ""
        raise PolicyError(f"{choice.symbol}: no file covers {minutes} minutes {wanted}without a break; there is {spans}")
    return min(windows, key=lambda window: (window.short_of_history, window.score))


def _in_ticks(frame: pl.DataFrame, tick: E8) -> pl.DataFrame:
    return to_ticks(frame, tick).with_columns(frame["volume"])


def _windows(path: Path, bars: pl.DataFrame, choice: WindowChoice, minutes: int) -> Iterator[Window]:
    """At most two candidates of one file: the best with enough history before it, and the best of all."""
    if isinstance(choice.start, datetime):
        at_ms = int(choice.start.timestamp() * 1000) // MINUTE_MS * MINUTE_MS
        first = bars["time_ms"].search_sorted(at_ms)
        covers = bars["time_ms"][0] <= at_ms and at_ms + (minutes - 1) * MINUTE_MS <= bars["time_ms"][-1]
        if covers and bars["time_ms"][first] == at_ms:
            yield _cut(path, bars, choice.symbol, first, minutes, 0)
        return
    scores = _scores(bars, choice.start, minutes)
    for rows in (scores.filter(pl.col("row") >= HISTORY_WANTED), scores):
        if not rows.is_empty():
            best = rows["score"].arg_min()
            assert best is not None
            yield _cut(path, bars, choice.symbol, int(rows["row"][best]), minutes, int(rows["score"][best]))


def _scores(bars: pl.DataFrame, pick: Pick, minutes: int) -> pl.DataFrame:
    """``row`` and ``score`` (ppm, smaller is better) of every stretch of ``minutes`` whole minutes without a missing one."""
    ahead = 1 - minutes
    change = (pl.col("close").shift(ahead) - pl.col("open")) * PPM // pl.col("open")
    highest, lowest = pl.col("high").rolling_max(minutes).shift(ahead), pl.col("low").rolling_min(minutes).shift(ahead)
    score = {Pick.FALL: change, Pick.RISE: -change, Pick.RANGE: (highest - lowest) * PPM // pl.col("open")}[pick]
    whole = pl.col("time_ms").shift(ahead) - pl.col("time_ms") == (minutes - 1) * MINUTE_MS
    return bars.with_row_index("row").select("row", score.alias("score"), whole.alias("whole")).filter(pl.col("whole"))


def _cut(path: Path, bars: pl.DataFrame, symbol: str, row: int, minutes: int, score: int) -> Window:
    first = max(row - HISTORY_KEPT, 0)
    end_ms = bars["time_ms"][row] + minutes * MINUTE_MS
    kept = bars[first : row + minutes].filter(pl.col("time_ms") < end_ms)
    return Window(symbol=symbol, path=path, bars=kept, first=row - first, score=score)


def _track(window: Window, rules: Instrument, start_ms: int, seed: int, per_minute: int, path: BarPath, marks: Marks) -> Track:
    shift = start_ms - window.start_ms
    bars = tuple(_bars(window.bars, shift))
    lots = [round(volume * ONE / rules.lot) for volume in window.bars["volume"]]
    own = f"{seed}:{window.symbol}"
    times, lasts = play(bars[window.first :], own, per_minute, path)
    scarce = f"; only {window.first} minutes of history, too few for an hourly ATR(14)" if window.short_of_history else ""
    taken = "" if path is BarPath.BRIDGE else f", {path.value}"
    source = f"{window.path.name} from {_utc(window.start_ms)} played from {_utc(start_ms)}{taken}{scarce}"
    return Track(
        symbol=window.symbol,
        times=times,
        lasts=lasts,
        marks=marks.along(Course(window.symbol, times, lasts, rules.tick, own, shift, bars)),
        history=bars[: window.first],
        note=excursion_note(window.symbol, source, lasts),
        traded=signed(lasts, (part * rules.lot for part in _parts(lasts, lots[window.first :], per_minute))),
        volumes=[lot * rules.lot for lot in lots[: window.first]],
    )


def _parts(lasts: Sequence[int], lots: Sequence[int], per_minute: int) -> Iterator[int]:
    """The lots of each bar, spread evenly over its prices; a price that moves trades at least one."""
    before = lasts[0]
    for number, last in enumerate(lasts):
        bar, place = divmod(number, per_minute)
        share, more = divmod(lots[bar], per_minute)
        yield max(share + (place < more), int(last != before))
        before = last


def _bars(frame: pl.DataFrame, shift: int) -> Iterator[Bar]:
    for time_ms, opened, high, low, close in frame.select("time_ms", "open", "high", "low", "close").iter_rows():
        yield Bar(time_ms=time_ms + shift, open=Ticks(opened), high=Ticks(high), low=Ticks(low), close=Ticks(close))


def _utc(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M}"
