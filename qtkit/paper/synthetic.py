"""Seeded synthetic tapes: regimes (trend, range, crash, squeeze, gap, thin) and the story of the demonstration.

A path is a list of ``Waypoint``: straight lines between levels given in bps of the start price, with a mean-reverting wiggle around them,
one price a second. A seed means the same ticks on every machine: uniform draws, then integer arithmetic.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import cycle
from random import Random

from qtkit.core.model import Bar, Instrument, PolicyError, Side, Ticks
from qtkit.core.names import suggestion
from qtkit.paper.tape import INSTRUMENTS, MINUTE_MS, PPM, Tape, Track, excursion_note, known_instrument, mark_path

WHOLE = 10_000
SECOND_MS = 1_000
HISTORY_MINUTES = 26 * 60  # ATR(14, 1h) needs 15 whole hours
HISTORY_STEP_PPM = 900  # a minute's step; makes an hourly ATR near 0.7 %


@dataclass(frozen=True, slots=True, kw_only=True)
class Waypoint:
    """After ``seconds`` the path is ``level`` bps away from the start price, wiggling by at most ``wiggle`` ppm on the way.

    ``longest_s`` above 1: trades come 1 to so many seconds apart, and the price stands still between them.
    """

    seconds: int
    level: int
    wiggle: int = 600
    longest_s: int = 1


class Regime(Enum):
    """Kinds of market. CRASH falls and SQUEEZE rises within minutes; GAP jumps in one second; THIN trades seldom, with jumps between."""

    TREND = "trend"
    RANGE = "range"
    CRASH = "crash"
    SQUEEZE = "squeeze"
    GAP = "gap"
    THIN = "thin"

    @staticmethod
    def parse(text: str) -> "tuple[Regime, ...]":
        """Regimes by name, with commas. Raises ``PolicyError`` with the nearest name."""
        names = [regime.value for regime in Regime]
        words = [word.strip().lower() for word in text.split(",") if word.strip()]
        for word in words:
            if word not in names:
                raise PolicyError(f"{word!r} is no regime: {suggestion(word, names)}")
        return tuple(Regime(word) for word in words)


# seconds (least, most), size of the move in bps (least, most), direction (0: either), wiggle in ppm
_SHAPES: Mapping[Regime, tuple[tuple[int, int], tuple[int, int], int, int]] = {
    Regime.TREND: ((900, 3600), (60, 250), 0, 800),
    Regime.RANGE: ((900, 3600), (0, 25), 0, 1500),
    Regime.CRASH: ((60, 300), (300, 800), -1, 2500),
    Regime.SQUEEZE: ((60, 300), (300, 800), 1, 2500),
    Regime.GAP: ((1, 1), (100, 300), 0, 800),
    Regime.THIN: ((900, 3600), (20, 200), 0, 4000),
}
SELDOM_S = 40  # seconds between two trades of a thin market, at most
_MIX = (Regime.RANGE, Regime.TREND, Regime.RANGE, Regime.TREND, Regime.CRASH, Regime.SQUEEZE, Regime.GAP)
LOWEST, HIGHEST = -6_000, 15_000  # a long tape turns round here instead of drifting to nothing

# What the demonstration shows, told for a position of the chosen side that was entered at the start price:
# (minute, bps in the position's favour). Stages of the trail are at +150, +300 and +500 bps, then 100 bps behind the best price.
_STAIRS = ((4, 20), (11, 185), (16, 150), (23, 340), (28, 265), (37, 560), (43, 720), (48, 560), (60, 590))
_ADVERSE = ((7, -60), (13, 40), (22, -180), (28, -120), (36, -1150), (45, -980), (60, -1020))
_BREAK_EVEN = ((6, 40), (18, 180), (24, 110), (31, -45), (44, 60), (60, 240))
_CRASH = ((8, 120), (19, 230), (22, 930), (24, 980), (31, 640), (42, 720), (60, 690))
_GAP_UP = ((9, 110), (15, 190), (15.02, 380), (26, 550), (35, 640), (35.02, 470), (47, 520), (60, 480))
_HELD = ((12, 50), (20, -40), (33, 130), (44, 345), (52, 300), (60, 335))
_STORIES: tuple[tuple[str, tuple[tuple[float, int], ...]], ...] = (
    ("through every stage, retrace, trail stop-out", _STAIRS),
    ("adverse move, initial stop-out", _ADVERSE),
    ("first stage, retrace, break-even stop-out", _BREAK_EVEN),
    ("crash through the targets, rebound", _CRASH),
    ("gap in favour, last stage, gap against the trail", _GAP_UP),
    ("slow gain to the second stage, still open at the end", _HELD),
)

# entries of the incident in ticks: 14.58, 0.4693, 93475.8, 142.4, 2.291; and a sixth symbol at 2.204
DEMO_STARTS: Mapping[str, Ticks] = {
    "AVAXUSDT": Ticks(14_580),
    "ADAUSDT": Ticks(4_693),
    "BTCUSDT": Ticks(934_758),
    "SOLUSDT": Ticks(14_240),
    "DOTUSDT": Ticks(2_291),
    "XRPUSDT": Ticks(22_040),
}


def demo_tape(seed: int, hours: float = 1.0, *, start_ms: int, side: Side = Side.SHORT) -> Tape:
    """The demonstration: six symbols from the incident's entry prices, each with its own story for positions of ``side``.

    In one hour there are falls through all stages with a trail stop-out, a break-even stop-out, targets hit in a crash, a gap through the
    trail, an adverse stop-out and a position that lives on. A shorter tape tells the same story compressed; a longer one goes on with
    seeded regimes. ``start_ms`` must be a whole minute.
    """
    story_s = round(3600 * min(hours, 1.0))
    rest_s = round(3600 * hours) - story_s

    def told(index: int, symbol: str) -> tuple[str, list[Waypoint]]:
        name, points = _STORIES[index % len(_STORIES)]
        waypoints = _story(points, story_s, side.sign)
        return name, [*waypoints, *_regimes(Random(f"rest:{seed}:{symbol}"), rest_s, waypoints[-1].level)]

    return _tape(DEMO_STARTS, INSTRUMENTS, start_ms, seed, told)


def synthetic_tape(
    seed: int,
    hours: float,
    *,
    start_ms: int,
    starts: Mapping[str, Ticks],
    instruments: Mapping[str, Instrument] = INSTRUMENTS,
    regimes: Sequence[Regime] = (),
) -> Tape:
    """Seeded regimes from the given start prices (ticks): in the order of ``regimes``, repeated, or drawn by the seed if none are named.

    ``start_ms`` must be a whole minute. Raises ``PolicyError`` for a missing instrument or a length that is not positive.
    """

    def drawn(_: int, symbol: str) -> tuple[str, list[Waypoint]]:
        name = ", ".join(regime.value for regime in regimes) or "mixed regimes"
        return name, list(_regimes(Random(f"regimes:{seed}:{symbol}"), round(3600 * hours), 0, regimes))

    return _tape(starts, instruments, start_ms, seed, drawn)


def walk(start: Ticks, waypoints: Iterable[Waypoint], seed: str) -> Sequence[int]:
    """The path through the waypoints: one last price (ticks) a second, the start price first. Never under one tick."""
    draw = Random(f"walk:{seed}").random
    lasts = array("q", [start])
    level, wiggle, still = 0, 0, 0
    for point in waypoints:
        step = max(point.wiggle // 6, 1)
        for second in range(1, point.seconds + 1):
            line = level * 100 + (point.level - level) * 100 * second // point.seconds
            wiggle = wiggle * 97 // 100 + int(draw() * (2 * step + 1)) - step
            wiggle = min(max(wiggle, -point.wiggle), point.wiggle)
            if still and second < point.seconds:
                still -= 1
                lasts.append(lasts[-1])
                continue
            still = int(draw() * point.longest_s) if point.longest_s > 1 else 0
            lasts.append(_price(start, line + wiggle))
        level = point.level
    return lasts


def history_bars(start: Ticks, start_ms: int, seed: str) -> tuple[Bar, ...]:
    """Minute bars of the 26 hours before ``start_ms``, closing at the start price: a seeded random walk."""
    draw = Random(f"history:{seed}").randint
    step, bars, level = HISTORY_STEP_PPM, [], 0
    for number in range(1, HISTORY_MINUTES + 1):
        before = level - draw(-step, step)
        high, low = max(before, level) + draw(0, step // 2), min(before, level) - draw(0, step // 2)
        opened, top, bottom, closed = (_price(start, ppm) for ppm in (before, high, low, level))
        bars.append(Bar(time_ms=start_ms - number * MINUTE_MS, open=opened, high=top, low=bottom, close=closed))
        level = before
    return tuple(reversed(bars))


def _price(start: Ticks, ppm: int) -> Ticks:
    # rounded to nearest: rounding down would make a coarse tick drift
    return Ticks(max((start * (PPM + ppm) + PPM // 2) // PPM, 1))


def _tape(
    starts: Mapping[str, Ticks],
    instruments: Mapping[str, Instrument],
    start_ms: int,
    seed: int,
    plot: Callable[[int, str], tuple[str, list[Waypoint]]],
) -> Tape:
    if start_ms % MINUTE_MS:
        raise PolicyError(f"a tape starts on a whole minute, so that its bars line up; got {start_ms} ms")
    tracks = []
    for index, (symbol, start) in enumerate(starts.items()):
        tick = known_instrument(instruments, symbol).tick
        name, waypoints = plot(index, symbol)
        if not waypoints:
            raise PolicyError(f"{symbol}: a tape must last at least one second; give more hours")
        own = f"{seed}:{symbol}"
        lasts = walk(start, waypoints, own)
        times, lasts = _trades(range(start_ms, start_ms + len(lasts) * SECOND_MS, SECOND_MS), lasts, waypoints)
        tracks.append(
            Track(
                symbol=symbol,
                times=times,
                lasts=lasts,
                marks=mark_path(lasts, tick, own),
                history=history_bars(start, start_ms, own),
                note=excursion_note(symbol, f"synthetic (seed {seed}), {name}", lasts),
            )
        )
    return Tape(tracks=tuple(tracks))


def _trades(times: Sequence[int], lasts: Sequence[int], waypoints: Iterable[Waypoint]) -> tuple[Sequence[int], Sequence[int]]:
    """Leave out the seconds in which a thin market stood still; the first and the last stay."""
    seldom = [False]
    for point in waypoints:
        seldom += [point.longest_s > 1] * point.seconds
    if not any(seldom):
        return times, lasts
    end = len(lasts) - 1
    kept = [at for at in range(end + 1) if at in (0, end) or not seldom[at] or lasts[at] != lasts[at - 1]]
    return array("q", (times[at] for at in kept)), array("q", (lasts[at] for at in kept))


def _story(points: Iterable[tuple[float, int]], story_s: int, sign: int) -> list[Waypoint]:
    waypoints = []
    before = 0
    for minute, favour in points:
        at = max(round(minute * story_s / 60), before + 1)
        waypoints.append(Waypoint(seconds=at - before, level=sign * favour))
        before = at
    return waypoints


def _regimes(rng: Random, seconds: int, level: int, order: Sequence[Regime] = ()) -> Iterator[Waypoint]:
    names = cycle(order) if order else iter(lambda: rng.choice(_MIX), None)
    while seconds > 0:
        regime = next(names)
        (shortest, longest), (least, most), direction, wiggle = _SHAPES[regime]
        lasting = min(rng.randint(shortest, longest), seconds)
        move = rng.randint(least, most) * (direction or rng.choice((-1, 1)))
        reached = level + (WHOLE + level) * move // WHOLE
        if not LOWEST <= reached <= HIGHEST:
            reached = level - (WHOLE + level) * move // WHOLE
        level = reached
        seconds -= lasting
        yield Waypoint(seconds=lasting, level=level, wiggle=wiggle, longest_s=SELDOM_S if regime is Regime.THIN else 1)
