"""Prices over time for several symbols on one exchange clock.

A ``Tape`` is finished data: it can be iterated any number of times and always gives the same ticks. Where the prices come from is
said in ``synthetic`` (seeded stories and regimes), ``window`` (recorded bars, played again) and ``trade_tape`` (trades and quotes).
How far mark and last part is said in ``basis``; unless told otherwise by a seeded 1 to 8 bps of either sign, so that they never agree and
code that reads the wrong one is found out (on Binance USD-M 44 % of mark prices lie off the tick).
"""

import heapq
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from itertools import chain, repeat
from random import Random

from qtkit.core.model import E8, Bar, Instrument, PolicyError, Ticks
from qtkit.paper.facts import FACTS

MINUTE_MS = 60_000
PPM = 1_000_000
BASIS_PPM = (100, 800)  # 1 and 8 bps
UNQUOTED = Ticks(0)
INSTRUMENTS: Mapping[str, Instrument] = {symbol: row.instrument for symbol, row in FACTS.items()}


@dataclass(frozen=True, slots=True)
class Tick:
    """One price event: at ``at_ms`` (exchange time) ``symbol`` last traded at ``last`` (ticks) and its mark price is ``mark`` (E8).

    ``bid`` and ``ask`` (ticks) are the best quotes where the tape knows them, else 0. ``traded`` is what changed hands, coins in E8,
    below 0 where a seller took; 0: nothing, a quote or the mark moved; None: not known.
    """

    at_ms: int
    symbol: str
    last: Ticks
    mark: E8
    bid: Ticks = UNQUOTED
    ask: Ticks = UNQUOTED
    traded: E8 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """The path of one symbol: times (exchange ms, rising), last prices (ticks) and mark prices (E8), all of one length.

    ``history`` holds the minute bars before the first time, oldest first; ``note`` says in one line what the path is. ``bids`` and
    ``asks`` (ticks) are as long as the times, or empty where no quotes are known; so is ``traded`` (E8, see ``Tick``). ``volumes`` (E8)
    are those of the history's bars, or empty.
    """

    symbol: str
    times: Sequence[int]
    lasts: Sequence[int]
    marks: Sequence[int]
    history: tuple[Bar, ...]
    note: str
    bids: Sequence[int] = ()
    asks: Sequence[int] = ()
    traded: Sequence[int] = ()
    volumes: Sequence[int] = ()

    def __post_init__(self) -> None:
        if not self.times or not len(self.times) == len(self.lasts) == len(self.marks):
            raise PolicyError(
                f"{self.symbol}: a track needs at least one price and as many times as prices,"
                f" got {len(self.times)} times, {len(self.lasts)} last and {len(self.marks)} mark prices"
            )
        if not len(self.bids) == len(self.asks) or (self.bids and len(self.bids) != len(self.times)):
            raise PolicyError(f"{self.symbol}: quotes are as many as times or none, got {len(self.bids)} bids, {len(self.asks)} asks")
        if len(self.traded) not in (0, len(self.times)) or len(self.volumes) not in (0, len(self.history)):
            raise PolicyError(f"{self.symbol}: what was traded is told of every price, or of none, and so are volumes of the history")

    def __iter__(self) -> Iterator[Tick]:
        bids, asks, traded = self.bids or repeat(0), self.asks or repeat(0), self.traded or repeat(None)
        return map(partial(_tick, self.symbol), self.times, self.lasts, self.marks, bids, asks, traded)


def _tick(symbol: str, at_ms: int, last: int, mark: int, bid: int, ask: int, traded: int | None) -> Tick:
    return Tick(at_ms, symbol, Ticks(last), E8(mark), Ticks(bid), Ticks(ask), None if traded is None else E8(traded))


def signed(lasts: Sequence[int], quantities: Iterable[int]) -> Sequence[int]:
    """Quantities with the side that took them: a price that fell was sold at, one that rose was bought at, one that stood is as before."""
    found, sign = array("q"), 1
    for before, last, quantity in zip(chain(lasts[:1], lasts), lasts, quantities, strict=False):
        sign = sign if last == before else 1 if last > before else -1
        found.append(sign * quantity)
    return found


def _time(tick: Tick) -> int:
    return tick.at_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Tape:
    """Several tracks on one clock; iterating yields every ``Tick`` in order of time, symbols of one instant in the tape's order."""

    tracks: tuple[Track, ...]

    def __post_init__(self) -> None:
        if not self.tracks:
            raise PolicyError("a tape needs at least one symbol")
        symbols = [track.symbol for track in self.tracks]
        if len(set(symbols)) != len(symbols):
            raise PolicyError(f"each symbol may be on a tape once, got {', '.join(symbols)}")

    def __iter__(self) -> Iterator[Tick]:
        return heapq.merge(*self.tracks, key=_time)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols, in the tape's order."""
        return tuple(track.symbol for track in self.tracks)

    @property
    def start_ms(self) -> int:
        """Exchange time of the first tick."""
        return min(track.times[0] for track in self.tracks)

    @property
    def end_ms(self) -> int:
        """Exchange time of the last tick."""
        return max(track.times[-1] for track in self.tracks)

    def history(self, symbol: str) -> tuple[Bar, ...]:
        """Minute bars of the last price before the tape starts, oldest first. Raises ``PolicyError`` for a symbol that is not on it."""
        for track in self.tracks:
            if track.symbol == symbol:
                return track.history
        raise PolicyError(f"{symbol} is not on this tape; it holds {', '.join(self.symbols)}")

    def describe(self) -> tuple[str, ...]:
        """One line for each symbol: what its path is."""
        return tuple(track.note for track in self.tracks)


def mark_path(lasts: Sequence[int], tick: E8, seed: str, sizes: tuple[int, int] = BASIS_PPM) -> Sequence[int]:
    """Mark prices (E8) for last prices (ticks): a seeded, mean-reverting basis of either sign, within ``sizes`` (ppm), never zero.

    A seed means the same path on every machine: one multiplication of a uniform number, then integers.
    """
    draw = Random(f"basis:{seed}").random
    low, high = sizes
    step = max(high * 90 // 800, 1)
    state = int(draw() * (2 * high + 1)) - high
    marks = array("q")
    for last in lasts:
        state = state * 99 // 100 + int(draw() * (2 * step + 1)) - step
        size = min(max(abs(state), low), high)
        price = last * tick
        basis = max(price * size // PPM, 1)
        marks.append(price + basis if state >= 0 else price - basis)
    return marks


def excursion_note(symbol: str, source: str, lasts: Sequence[int]) -> str:
    """One line on a path: where it comes from, its change, and how far it went against a short and against a long."""
    first = lasts[0]
    change, up, down = (100 * (price / first - 1) for price in (lasts[-1], max(lasts), min(lasts)))
    return f"{symbol}: {source}; change {change:+.2f} %, worst against a short {up:+.2f} %, against a long {down:+.2f} %"


def known_instrument(instruments: Mapping[str, Instrument], symbol: str) -> Instrument:
    """Trading rules of a symbol. Raises ``PolicyError`` with the nearest known symbol if there are none."""
    if symbol in instruments:
        return instruments[symbol]
    near = get_close_matches(symbol, instruments, 1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(instruments)) or 'none'}"
    raise PolicyError(f"{symbol}: no instrument with that symbol, so its tick is unknown; {hint}")
