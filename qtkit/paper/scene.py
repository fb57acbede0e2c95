"""What is set up on a paper exchange before it is served: prices without end, history, and the incident's positions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain

from qtkit.core.model import E8, ONE, OrderKind, PositionSide, Side, Ticks, TriggerBy
from qtkit.paper.account import Account
from qtkit.paper.actor import acting
from qtkit.paper.exchange import Exchange, NewOrder
from qtkit.paper.liquidity import Liquidity
from qtkit.paper.rows import TimeInForce
from qtkit.paper.synthetic import DEMO_STARTS, Regime, synthetic_tape
from qtkit.paper.tape import INSTRUMENTS, Tape, Tick

STRANGER = "stranger"
HOURS = 1.0  # of prices made at a time, in well under a tick
NEXT_SEED = 1_000_003


@dataclass(frozen=True, slots=True)
class Opened:
    """One position of the incident: entry price, and profit on margin in percent when it was found."""

    symbol: str
    entry: Decimal
    profit: Decimal


INCIDENT = tuple(
    Opened(symbol, Decimal(entry), Decimal(profit))
    for symbol, entry, profit in (
        ("AVAXUSDT", "14.58", "-4.5"),
        ("ADAUSDT", "0.4693", "15.8"),
        ("BTCUSDT", "93475.8", "31.7"),
        ("SOLUSDT", "142.4", "35.1"),
        ("DOTUSDT", "2.291", "38.8"),
    )
)
LEVERAGE = 20
NOTIONAL = Decimal(35_600)  # of each, so that together they are 2,081 USDT in profit


def incident_starts() -> dict[str, Ticks]:
    """Prices at which the incident's positions show the profits that were reported."""
    starts = dict(DEMO_STARTS)
    for row in INCIDENT:
        price = row.entry * (1 - row.profit / 100 / LEVERAGE)
        starts[row.symbol] = _ticks(row.symbol, price)
    return starts


def endless(first: Tape, seed: int, regimes: Sequence[Regime] = ()) -> Iterator[Tick]:
    """The first tape, and seeded prices that go on from its last ones, hour by hour, in these regimes (none: drawn by the seed)."""
    return chain(first, _after(first, seed, regimes))


def _after(tape: Tape, seed: int, regimes: Sequence[Regime]) -> Iterator[Tick]:
    while True:
        seed += NEXT_SEED
        starts = {track.symbol: Ticks(track.lasts[-1]) for track in tape.tracks}
        tape = synthetic_tape(seed, HOURS, start_ms=tape.end_ms, starts=starts, regimes=regimes)
        yield from tape


def prepare(exchange: Exchange, tape: Tape) -> None:
    """Hand in the tape's history as bars of both series, and show each symbol's first price, which is still to be traded."""
    for track in tape.tracks:
        for by in (TriggerBy.LAST, TriggerBy.MARK):
            exchange.seed_bars(track.symbol, by, track.history, track.volumes)
        exchange.tick(track.symbol, Ticks(track.lasts[0]), E8(track.marks[0]), track.times[0], E8(0))


def give_books(exchange: Exchange, books: Mapping[str, Liquidity]) -> None:
    """Give symbols books of their own."""
    for symbol, book in books.items():
        exchange.set_liquidity(symbol, book)


def open_incident(exchange: Exchange, account: Account, entries: Mapping[str, Ticks]) -> tuple[str, ...]:
    """A stranger sells the incident's symbols short at these prices, without stops; each fills exactly there. Returns the symbols."""
    opened = []
    for row in INCIDENT:
        if row.symbol not in entries:
            continue
        entry, instrument = entries[row.symbol], INSTRUMENTS[row.symbol]
        price = E8(entry * instrument.tick)
        lots = int(NOTIONAL * ONE / price * ONE / instrument.lot)
        with acting(STRANGER):
            _tick(exchange, row.symbol, entry - 5)
            exchange.submit(
                account,
                NewOrder(
                    symbol=row.symbol, side=Side.SHORT.opening, kind=OrderKind.LIMIT, quantity=E8(lots * instrument.lot), price=price,
                    time_in_force=TimeInForce.GTC, position_side=PositionSide.SHORT if account.hedge else None,
                ),
            )  # fmt: skip
            _tick(exchange, row.symbol, entry + 5)
        opened.append(row.symbol)
    return tuple(opened)


def incident_entries() -> dict[str, Ticks]:
    """Entry prices of the incident."""
    return {row.symbol: _ticks(row.symbol, row.entry) for row in INCIDENT}


def first_prices(tape: Tape, symbols: Iterable[str]) -> dict[str, Ticks]:
    """First price of each of these symbols that is on the tape."""
    wanted = frozenset(symbols)
    return {track.symbol: Ticks(track.lasts[0]) for track in tape.tracks if track.symbol in wanted}


def _tick(exchange: Exchange, symbol: str, last: int) -> None:
    exchange.tick(symbol, Ticks(last), E8(last * INSTRUMENTS[symbol].tick), exchange.now_ms)


def _ticks(symbol: str, price: Decimal) -> Ticks:
    return Ticks(int((price * ONE / INSTRUMENTS[symbol].tick).to_integral_value()))
