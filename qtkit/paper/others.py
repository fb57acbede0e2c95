"""Others on the account: a scripted human and a scripted bot who trade it by their own lights and know nothing of a desk.

The human does one thing now and then: opens, adds, reduces, closes, flips, leaves stops, targets, trailing orders and limits behind, moves
and cancels them. The bot keeps a grid and an exit of its own and sends all of it anew every few seconds. Seeded: the same seed, prices and
account give the same deeds. Each symbol has a random stream of its own, so that what happens to one changes nothing on another.

    others = Others(exchange, "paper", human=("SOLUSDT", "LTCUSDT"), bot=("ETHUSDT", "LTCUSDT"), seed=7)
    exchange.price_listeners.append(lambda *_: others.act())
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from random import Random

from qtkit.core.model import E8, Bps, Side
from qtkit.paper.exchange import Exchange
from qtkit.paper.hand import Hand
from qtkit.paper.rows import OrderRow

HUMAN, BOT = "human", "bot"
HUMAN_PREFIX, BOT_PREFIX = "web_", "x-grid-"
RESTING_AT_MOST = 6  # orders of the human on one symbol: then it tidies up
STOCK = 6  # units that the bot holds at most
GRID = (30, 70)  # bps from the price at which the bot's orders rest


class Deed(Enum):
    """What one of them did."""

    OPENS = "opens"
    ADDS = "adds"
    REDUCES = "reduces"
    CLOSES = "closes"
    FLIPS = "flips"
    STOP = "rests a stop"
    CLOSE_STOP = "rests a close-position stop"
    TARGET = "rests a conditional target"
    LIMIT = "rests a limit order"
    OFFER = "rests a limit order that closes"
    TRAILING = "rests a trailing order"
    MOVES = "moves a limit order"
    CANCELS = "cancels an order of its own"
    RENEWS = "sends its grid and its exit anew"
    TRADES = "trades at the market"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One deed: who did what where, when (exchange ms), and whether the exchange took it."""

    at_ms: int
    who: str
    deed: Deed
    symbol: str
    taken: bool


class _Actor:
    """Acts on its symbols, on each at times of its own. ``every_ms`` are the least and the most between two deeds on a symbol."""

    def __init__(self, hand: Hand, symbols: Iterable[str], seed: int, every_ms: tuple[int, int]) -> None:
        self.hand = hand
        self.done: list[Done] = []
        self.away = False
        self._every_ms = every_ms
        self._random = {symbol: Random(f"{seed}/{hand.name}/{symbol}") for symbol in sorted(set(symbols))}
        self._next_ms = {symbol: hand.exchange.now_ms + self._pause(symbol) for symbol in self._random}

    def act(self) -> None:
        """Do what is due by the exchange's time."""
        now_ms = self.hand.exchange.now_ms
        for symbol, at_ms in self._next_ms.items():
            if at_ms <= now_ms and not self.away:
                self._next_ms[symbol] = now_ms + self._pause(symbol)
                self._turn(symbol, self._random[symbol])

    def _pause(self, symbol: str) -> int:
        return self._random[symbol].randint(*self._every_ms)

    def _turn(self, symbol: str, random: Random) -> None:
        raise NotImplementedError

    def _note(self, deed: Deed, symbol: str, taken: bool) -> None:
        self.done.append(Done(at_ms=self.hand.exchange.now_ms, who=self.hand.name, deed=deed, symbol=symbol, taken=taken))

    def _side(self, symbol: str, random: Random) -> Side | None:
        """A position that is open, or None."""
        held = [side for side in Side if self.hand.held(symbol, side)]
        return random.choice(held) if held else None


_HOLDING = {
    Deed.ADDS: 4, Deed.REDUCES: 3, Deed.CLOSES: 2, Deed.FLIPS: 2, Deed.STOP: 3, Deed.CLOSE_STOP: 3, Deed.TARGET: 2, Deed.LIMIT: 2,
    Deed.OFFER: 2, Deed.TRAILING: 2, Deed.MOVES: 2, Deed.CANCELS: 4,
}  # fmt: skip
_FLAT = {Deed.OPENS: 6, Deed.LIMIT: 1, Deed.CANCELS: 2}


class Human(_Actor):
    """Trades by hand, without a plan that anybody could know."""

    def __init__(self, hand: Hand, symbols: Iterable[str], seed: int) -> None:
        super().__init__(hand, symbols, seed, (6_000, 30_000))

    def _turn(self, symbol: str, random: Random) -> None:
        side = self._side(symbol, random)
        chances = _FLAT if side is None else _HOLDING
        deed = Deed.CANCELS if len(self.hand.resting(symbol)) >= RESTING_AT_MOST else random.choices([*chances], [*chances.values()])[0]
        side = side or random.choice([*Side])
        self._note(deed, symbol, self._orders(deed, symbol, side, random) if deed in _ORDERS else self._trades(deed, symbol, side, random))

    def _trades(self, deed: Deed, symbol: str, side: Side, random: Random) -> bool:
        hand, units = self.hand, _units(self.hand, symbol, random)
        held = E8(hand.held(symbol, side))
        match deed:
            case Deed.OPENS | Deed.ADDS:
                return hand.buys_in(symbol, side, units)
            case Deed.REDUCES:
                return hand.gets_out(symbol, side, self._part(symbol, held, random.choice((2, 3, 4))))
            case Deed.CLOSES:
                return hand.gets_out(symbol, side, held)
            case Deed.FLIPS if hand.account.hedge:
                return hand.gets_out(symbol, side, held) and hand.buys_in(symbol, Side(-side.value), units)
            case _:
                return hand.gets_out(symbol, side, E8(held + units), plain=True)

    def _orders(self, deed: Deed, symbol: str, side: Side, random: Random) -> bool:
        hand, held = self.hand, E8(self.hand.held(symbol, side))
        part = self._part(symbol, held, random.choice((1, 2, 3))) if held else held
        match deed:
            case Deed.STOP:
                return hand.stops(symbol, side, part, random.randrange(150, 900))
            case Deed.CLOSE_STOP:
                return hand.stops(symbol, side, None, random.randrange(300, 1_500))
            case Deed.TARGET:
                return hand.aims(symbol, side, random.choice((part, part, None)), random.randrange(50, 500))
            case Deed.LIMIT:
                return hand.rests(symbol, side, _units(hand, symbol, random), random.randrange(60, 400))
            case Deed.OFFER:
                return hand.offers(symbol, side, part, random.randrange(60, 400), plain=random.random() < 0.5)
            case Deed.TRAILING:
                return hand.trails(symbol, side, part, Bps(random.randrange(50, 300, 10)))
            case _:
                return self._sees_to_its_own(deed, symbol, random)

    def _sees_to_its_own(self, deed: Deed, symbol: str, random: Random) -> bool:
        rows = self.hand.resting(symbol)
        limits = [row for row in rows if isinstance(row, OrderRow)]
        if deed is Deed.MOVES and limits:
            return self.hand.moves(random.choice(limits), random.choice((-40, -15, 15, 40)))
        return deed is Deed.CANCELS and bool(rows) and self.hand.cancels(random.choice(rows))

    def _part(self, symbol: str, held: E8, parts: int) -> E8:
        lot = self.hand.exchange.facts[symbol].instrument.lot
        return E8(max(lot, held // parts // lot * lot))


_ORDERS = frozenset(
    {Deed.STOP, Deed.CLOSE_STOP, Deed.TARGET, Deed.LIMIT, Deed.OFFER, Deed.TRAILING, Deed.MOVES, Deed.CANCELS}
)  # fmt: skip


class Bot(_Actor):
    """Keeps a grid of limit orders around the price and, while it holds something, a stop and a target; renews all of it."""

    def __init__(self, hand: Hand, symbols: Iterable[str], seed: int) -> None:
        super().__init__(hand, symbols, seed, (2_000, 7_000))

    def comes_back(self) -> None:
        """Started again: what its last life left resting goes first."""
        self.away = False
        for symbol in self._random:
            self._clears(symbol)

    def _clears(self, symbol: str) -> None:
        for row in self.hand.resting(symbol):
            self.hand.cancels(row)

    def _turn(self, symbol: str, random: Random) -> None:
        if random.random() < 0.12:
            self._note(Deed.TRADES, symbol, self._trades(symbol, random))
        self._clears(symbol)
        side = self._side(symbol, random) or (Side.LONG if self.hand.account.hedge else random.choice([*Side]))
        held, unit = E8(self.hand.held(symbol, side)), self.hand.size(symbol, 1)
        taken = [self.hand.rests(symbol, side, unit, bps) for bps in GRID] if held < STOCK * unit else []
        if held:
            taken += [self.hand.offers(symbol, side, E8(min(unit, held)), bps, plain=True) for bps in GRID]
            taken.append(self.hand.stops(symbol, side, held, 400))
            taken.append(self.hand.aims(symbol, side, E8(min(unit, held)), 200))
        self._note(Deed.RENEWS, symbol, any(taken))

    def _trades(self, symbol: str, random: Random) -> bool:
        side = self._side(symbol, random)
        if side is None or (random.random() < 0.5 and self.hand.held(symbol, side) < STOCK * self.hand.size(symbol, 1)):
            return self.hand.buys_in(symbol, side or random.choice([*Side]), self.hand.size(symbol, 1))
        return self.hand.gets_out(symbol, side, self.hand.size(symbol, 1), plain=random.random() < 0.3)


class Others:
    """Both of them on one account of an exchange. ``human`` and ``bot`` are the symbols of each; they may share some."""

    def __init__(self, exchange: Exchange, account: str, *, human: Iterable[str], bot: Iterable[str], seed: int = 0) -> None:
        self.human = Human(Hand(exchange, account, HUMAN, HUMAN_PREFIX), human, seed)
        self.bot = Bot(Hand(exchange, account, BOT, BOT_PREFIX), bot, seed)
        self._acting = False

    def act(self) -> None:
        """Do what is due. May be called as often as one likes, also by the exchange's own listeners."""
        if self._acting:
            return
        self._acting = True
        try:
            self.human.act()
            self.bot.act()
        finally:
            self._acting = False

    @property
    def done(self) -> tuple[Done, ...]:
        """What they have done, in order."""
        return tuple(sorted((*self.human.done, *self.bot.done), key=lambda done: done.at_ms))


def _units(hand: Hand, symbol: str, random: Random) -> E8:
    """One to three units."""
    return hand.size(symbol, random.randint(1, 3))
