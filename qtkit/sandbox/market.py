"""The exchange side of a sandbox: prices by seed, a stranger who trades, the judge, and time that passes only when it is told to."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation

from qtkit.core.model import E8, ONE, OrderKind, PolicyError, PositionSide, Side, Ticks, TriggerBy
from qtkit.demo.record import Recorder
from qtkit.paper.actor import acting
from qtkit.paper.exchange import Exchange, NewOrder, Rules
from qtkit.paper.meter import Meter
from qtkit.paper.rows import Trade
from qtkit.paper.scene import prepare
from qtkit.paper.synthetic import Waypoint, history_bars, walk
from qtkit.paper.tape import INSTRUMENTS, Tape, Tick, known_instrument, mark_path

START_MS = 1_763_683_200_000  # 2025-11-21 00:00 UTC
BALANCE = 100_000  # USDT
STRANGER = "stranger"
SECOND_MS = 1_000
WIGGLE_PPM = 1_500

Path = Sequence[tuple[float, float]]  # (minute since the play began, percent away from the price at which it began)


class Market:
    """An exchange with one account, "paper". ``meter`` is the judge, on exchange time; ``recorder`` keeps what happened, as frames."""

    def __init__(self, starts: Mapping[str, str], *, seed: int, hedge: bool = False, prefix: str, tape: Tape | None = None) -> None:
        """``starts`` are first prices by symbol; instead a ``tape`` gives them, with its history.

        Raises ``PolicyError`` for a symbol that is not known, or a price that is none.
        """
        self.seed = seed
        self.exchange = Exchange(Rules(), seed=seed, start_ms=START_MS if tape is None else tape.start_ms)
        self.account = self.exchange.open_account("paper", balance=E8(BALANCE * ONE), hedge=hedge)
        self.meter = Meter(self.exchange, prefix=prefix, strangers=(STRANGER,), clock=lambda: self.now_ms / 1000)
        self.recorder = Recorder(self.exchange, self.meter)
        self._lasts: dict[str, Ticks] = {}
        self._plays = 0
        if tape is not None:
            prepare(self.exchange, tape)
        for symbol, price in starts.items():
            rules = known_instrument(INSTRUMENTS, symbol)
            first = Ticks(_e8(price, f"the first price of {symbol}") // rules.tick)
            for by in (TriggerBy.LAST, TriggerBy.MARK):
                self.exchange.seed_bars(symbol, by, history_bars(first, START_MS, f"{seed}:{symbol}"))
            self.feed(Tick(START_MS, symbol, first, E8(first * rules.tick)))

    @property
    def now_ms(self) -> int:
        """Exchange time."""
        return self.exchange.now_ms

    def feed(self, tick: Tick) -> None:
        """One price."""
        self._lasts[tick.symbol] = tick.last
        self.exchange.tick(tick.symbol, tick.last, tick.mark, tick.at_ms)

    def pass_time(self, ms: int) -> None:
        """Time without prices."""
        self.exchange.advance(self.now_ms + ms)

    def paths(self, plays: Mapping[str, Path]) -> Iterator[tuple[Tick, ...]]:
        """Prices of each following second, through the given points; symbols whose path ends earlier stand still."""
        self._plays += 1
        begin = self.now_ms
        tracks = []
        for symbol, path in plays.items():
            rules = known_instrument(INSTRUMENTS, symbol)
            name = f"{self.seed}:{symbol}:{self._plays}"
            lasts = walk(self._lasts[symbol], _waypoints(path), name)
            tracks.append((symbol, lasts, mark_path(lasts, rules.tick, name)))
        for second in range(1, max(len(lasts) for _, lasts, _ in tracks)):
            at_ms = begin + second * SECOND_MS
            yield tuple(
                Tick(at_ms, symbol, Ticks(lasts[second]), E8(marks[second])) for symbol, lasts, marks in tracks if second < len(lasts)
            )

    def order(self, symbol: str, side: Side, size: str, *, closes: bool) -> None:
        """A stranger trades at the market with the account's own key. Raises ``ExchangeError`` where the exchange refuses."""
        hedge = self.account.hedge
        new = NewOrder(
            symbol=symbol, side=side.closing if closes else side.opening, kind=OrderKind.MARKET, quantity=_e8(size, "the size"),
            position_side=PositionSide[side.name] if hedge else None, reduce_only=True if closes and not hedge else None,
        )  # fmt: skip
        with acting(STRANGER):
            self.exchange.submit(self.account, new)

    def trades(self, symbol: str) -> tuple[Trade, ...]:
        """Fills of a symbol, oldest first."""
        return self.exchange.trades(self.account, symbol)


def _e8(text: str, what: str) -> E8:
    """A positive decimal as E8."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal(0)
    if not (number.is_finite() and number > 0):
        raise PolicyError(f"{what} is a number above zero, in quotes; got {text!r}")
    return E8(int(number * ONE))


def _waypoints(path: Path) -> Iterator[Waypoint]:
    before = 0
    for minute, percent in path:
        at = max(round(minute * 60), before + 1)
        yield Waypoint(seconds=at - before, level=round(percent * 100), wiggle=WIGGLE_PPM)
        before = at
