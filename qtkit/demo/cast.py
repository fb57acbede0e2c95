"""Who is in the demonstration: which symbols, how large, at which prices, and the tape that moves them."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from qtkit.core.model import E8, ONE, Instrument, PolicyError, Side, Ticks
from qtkit.paper.synthetic import Regime, demo_tape, synthetic_tape
from qtkit.paper.tape import INSTRUMENTS, MINUTE_MS, Tape, known_instrument
from qtkit.paper.window import WindowChoice, replay_tape

INCIDENT = ("AVAXUSDT", "ADAUSDT", "BTCUSDT", "SOLUSDT", "DOTUSDT")
OTHERS = ("XRPUSDT", "ETHUSDT", "LTCUSDT")
RISING = ("ADAUSDT", "AVAXUSDT")  # of a replay: a rise is a short's danger
NOTIONAL = 30_000  # USDT of each position that the stranger opens
FEWEST = 4
MADE_EXTRA = {"ETHUSDT": Ticks(310_000), "LTCUSDT": Ticks(8_400)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for on the command line. ``window`` empty: the steepest fall, and for two symbols the steepest rise.
    ``tick`` is the desk's, in seconds."""

    data: Path | None = None
    window: str = ""
    hours: float = 1.0
    symbols: tuple[str, ...] = ()
    hedge: bool = False
    seed: int = 7
    tick: float = 2.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.hours <= 24:
            raise PolicyError(f"the demonstration plays 0.1 to 24 hours, got {self.hours:g}")
        if self.data is None and (self.symbols or self.window):
            raise PolicyError("--symbols and --window choose from --data; the made tape has its own eight symbols")
        if self.symbols and not FEWEST <= len(set(self.symbols)) == len(self.symbols) <= 11:
            raise PolicyError(
                f"--symbols needs at least {FEWEST} different symbols: the last three are entered later, the others held before"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """The roles. ``held`` are opened by the stranger before the desk comes, ``newcomer`` later; ``sixth`` and ``late`` by signals.

    ``guarded`` of the held ones bears the stranger's own close-position stop. ``arrival`` is the part of the tape before the desk comes.
    """

    tape: Tape
    held: tuple[str, ...]
    sixth: str
    late: str
    newcomer: str
    arrival: float

    @property
    def guarded(self) -> str:
        """The position with the stranger's own close-position stop, which takes the slot of our floor."""
        return self.held[min(2, len(self.held) - 1)]

    def instrument(self, symbol: str) -> Instrument:
        """Trading rules of a symbol."""
        return known_instrument(INSTRUMENTS, symbol)

    def first(self, symbol: str) -> Ticks:
        """Price at which the tape of a symbol begins."""
        return next(Ticks(track.lasts[0]) for track in self.tape.tracks if track.symbol == symbol)


def cast(wish: Wish, start_ms: int) -> Cast:
    """The tape and the roles on it. Raises ``PolicyError`` where the data has not what was asked for."""
    if wish.data is None:
        return _roles(_made(wish, start_ms), (*INCIDENT, *OTHERS), arrival=30.2 / 60 * min(1.0, 1 / wish.hours))
    symbols = wish.symbols or _found(wish.data)
    choices = [_choice(symbol, wish, symbols) for symbol in symbols]
    return _roles(replay_tape(wish.data, choices, wish.hours, start_ms=start_ms, seed=wish.seed), symbols, arrival=0.3)


def _made(wish: Wish, start_ms: int) -> Tape:
    story = demo_tape(wish.seed, wish.hours, start_ms=start_ms, side=Side.SHORT)
    extra = synthetic_tape(wish.seed, wish.hours, start_ms=start_ms, starts=MADE_EXTRA, regimes=(Regime.TREND,))
    return Tape(tracks=(*story.tracks, *extra.tracks))


def _found(folder: Path) -> tuple[str, ...]:
    """The incident's symbols and three more, as far as the folder has them; else others that it has."""
    from qtkit.bars import find_bars

    there = [symbol for symbol in find_bars(folder) if symbol in INSTRUMENTS]
    wanted = [symbol for symbol in (*INCIDENT, *OTHERS) if symbol in there]
    wanted += [symbol for symbol in there if symbol not in wanted]
    if len(wanted) < FEWEST:
        raise PolicyError(
            f"{folder}: bars of {len(wanted)} known symbols, the demonstration needs {FEWEST}; known: {', '.join(INSTRUMENTS)}"
        )
    return tuple(wanted[: len(INCIDENT) + len(OTHERS)])


def _choice(symbol: str, wish: Wish, symbols: Sequence[str]) -> WindowChoice:
    rising = [name for name in RISING if name in symbols] or list(symbols[:2])
    return WindowChoice.parse(symbol, wish.window or ("rise" if symbol in rising else "fall"))


def _roles(tape: Tape, symbols: Sequence[str], *, arrival: float) -> Cast:
    *held, sixth, late, newcomer = symbols
    return Cast(tape=tape, held=tuple(held), sixth=sixth, late=late, newcomer=newcomer, arrival=arrival)


def size(instrument: Instrument, price: Ticks, notional: int = NOTIONAL) -> Decimal:
    """Coins for about ``notional`` USDT, on the lot."""
    lots = notional * ONE * ONE // (price * instrument.tick * instrument.lot)
    return Decimal(max(lots, instrument.min_lots)) * instrument.lot / ONE


def price_text(price: E8 | int) -> str:
    """An E8 price as people read it."""
    return f"{(Decimal(price) / ONE).normalize():f}"


def minute_after(at_ms: int) -> int:
    """The next whole minute."""
    return (at_ms // MINUTE_MS + 1) * MINUTE_MS
