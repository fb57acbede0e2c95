"""How far mark and last price part on a tape: by parameter, by seed, or as it was recorded.

Mark prices are E8 and lie where they lie, mostly off the tick. A recorded file is one of two kinds, told apart by its columns: marks as
they were told (``time``, ``mark``, optionally ``symbol``), held from one row to the next, as the exchange does; or candles of the mark
(``time``, ``open``, ...), from which the basis at each candle's opening is taken and drawn straight to the next.
"""

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from qtkit.core.model import E8, Bar, PolicyError
from qtkit.paper.tape import BASIS_PPM, PPM, mark_path

ONE = 100_000_000
BPS_PPM = 100
WIDEST_BPS = 2_000


@dataclass(frozen=True, slots=True)
class Course:
    """What a mark price goes along with: last prices (in units of ``tick``, E8) at ``times`` (tape ms), the seed of the symbol's path.

    ``shift_ms`` is what was added to the recorded times to make the tape's; ``bars`` are all minute bars known of the symbol, in tape time.
    """

    symbol: str
    times: Sequence[int]
    lasts: Sequence[int]
    tick: E8
    seed: str
    shift_ms: int = 0
    bars: Sequence[Bar] = ()


class Marks(Protocol):
    """A rule by which mark prices follow."""

    def along(self, course: Course) -> Sequence[int]:
        """One mark price (E8) for each last price. Raises ``PolicyError`` where a record does not cover the course."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededMarks:
    """A mean-reverting parting of either sign, its size between two bounds (ppm), never zero."""

    least_ppm: int = BASIS_PPM[0]
    most_ppm: int = BASIS_PPM[1]

    def __post_init__(self) -> None:
        if not 0 <= self.least_ppm <= self.most_ppm <= WIDEST_BPS * BPS_PPM:
            raise PolicyError(f"mark and last part by 0 to {WIDEST_BPS} bps, the smaller bound first; got {self}")

    def along(self, course: Course) -> Sequence[int]:
        """See ``Marks``."""
        return mark_path(course.lasts, course.tick, course.seed, (self.least_ppm, self.most_ppm))


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedMarks:
    """The mark is the last price plus so many ppm, rounded down to 1e-8; negative: below it; 0: they agree."""

    ppm: int

    def __post_init__(self) -> None:
        if abs(self.ppm) > WIDEST_BPS * BPS_PPM:
            raise PolicyError(f"mark and last part by at most {WIDEST_BPS} bps, got {self.ppm / BPS_PPM:g}")

    def along(self, course: Course) -> Sequence[int]:
        """See ``Marks``."""
        return array("q", (last * course.tick + last * course.tick * self.ppm // PPM for last in course.lasts))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMarks:
    """Marks or mark candles of a parquet file; see the module."""

    path: Path

    def along(self, course: Course) -> Sequence[int]:
        """See ``Marks``."""
        frame = self._rows(course.symbol)
        times = [int(at) + course.shift_ms for at in frame["time"].dt.epoch("ms")]
        if "mark" in frame.columns:
            return self._held(course, times, [round(mark * ONE) for mark in frame["mark"]])
        return self._drawn(course, times, [round(mark * ONE) for mark in frame["open"]])

    def _rows(self, symbol: str) -> pl.DataFrame:
        try:
            frame = pl.read_parquet(self.path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise PolicyError(f"{self.path} cannot be read as parquet ({str(error).splitlines()[0]})") from error
        if "time" not in frame.columns or not {"mark", "open"} & set(frame.columns):
            raise PolicyError(f"{self.path} holds no mark prices; it needs the columns time and mark, or time and open of mark candles")
        if "symbol" in frame.columns:
            frame = frame.filter(pl.col("symbol") == symbol)
        if frame.is_empty():
            raise PolicyError(f"{self.path} holds no mark prices of {symbol}")
        return frame.sort("time")

    def _held(self, course: Course, times: Sequence[int], marks: Sequence[int]) -> Sequence[int]:
        if course.times[0] < times[0] - 60_000 or course.times[-1] > times[-1] + 60_000:
            raise PolicyError(f"{self.path} does not cover what is played of {course.symbol}; name the basis by a number instead")
        return array("q", (marks[max(bisect_right(times, at) - 1, 0)] for at in course.times))

    def _drawn(self, course: Course, times: Sequence[int], marks: Sequence[int]) -> Sequence[int]:
        opens = {bar.time_ms: bar.open * course.tick for bar in course.bars}
        known = [(at, (mark - opens[at]) * PPM // opens[at]) for at, mark in zip(times, marks, strict=True) if at in opens]
        if not known:
            raise PolicyError(f"{self.path} has no mark candle that opens within the bars of {course.symbol}; name the basis by a number")
        whens = [at for at, _ in known]
        return array(
            "q", (_parted(last * course.tick, _line(known, whens, at)) for at, last in zip(course.times, course.lasts, strict=True))
        )


def _line(known: Sequence[tuple[int, int]], whens: Sequence[int], at: int) -> int:
    """The basis (ppm) at a time: on the line between two known ones, held before the first and after the last."""
    after = bisect_right(whens, at)
    if after in (0, len(known)):
        return known[min(after, len(known) - 1)][1]
    (start, one), (end, other) = known[after - 1], known[after]
    return one + (other - one) * (at - start) // (end - start)


def _parted(price: int, ppm: int) -> int:
    return price + price * ppm // PPM


def parse_marks(text: str) -> Marks:
    """``0`` (they agree), ``35bps`` or ``-35bps`` (fixed), ``1..8bps`` (seeded within), or a parquet file. Raises ``PolicyError``."""
    word = text.strip().lower().removesuffix("bps")
    bounds = [_ppm(part) for part in word.split("..")]
    match bounds:
        case [int(ppm)]:
            return FixedMarks(ppm=ppm)
        case [int(least), int(most)]:
            return SeededMarks(least_ppm=least, most_ppm=most)
    path = Path(text).expanduser()
    if path.is_file():
        return RecordedMarks(path=path)
    raise PolicyError(f"{text!r} is no basis of mark and last: give 0, 35bps, -35bps, 1..8bps, or a parquet file of mark prices")


def _ppm(text: str) -> int | None:
    """Basis points as ppm, None if the text is no finite number."""
    try:
        return round(float(text) * BPS_PPM)
    except (ValueError, OverflowError):
        return None
