"""What the book holds around the last price: spread, depth, impact and recovery, as a ladder of levels that an order sweeps.

One mechanism answers the quote, the depth that is shown and the fills, so they agree: an order gets, level by level, what was shown.
Both sides mirror each other around the last price of the tape, which a fill does not move. Integers only; every rounding goes against
the taker. A larger order never fills better, and an order cut into parts at one moment pays what the whole one pays.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from qtkit.core.model import E8, ONE, OrderSide, PolicyError

LEVELS = 1_000  # Binance's deepest REST snapshot; what lies beyond is not there
ENDLESS = 1 << 120  # a quantity that no order has


@dataclass(frozen=True, slots=True, kw_only=True)
class Liquidity:
    """The book of one symbol. Money is quote money, E8; shares of a price are E8 fractions (1 bp is 10,000).

    [fitted] is what ``slippage.ipynb`` found for BTCUSDT and ETHUSDT in 22 minutes of 2023 and 2024; the defaults are for symbols of
    which nothing is known, and dearer: a basis point away stand 100,000 USDT, where 410,000 and 217,000 stood.

    Attributes:
        half_spread_ticks: the best prices lie this many ticks from the last price, and besides
        half_spread: this share of the price, rounded away from it to the tick, so that a spread of one tick becomes two.
            [fitted: 0.012 and 0.017 bp]
        depth: money at each best price; None: without end, everything fills there. [fitted: 26,000 and 48,000]
        step: distance of the levels beyond the best, a share of the price, rounded up to the tick; 0: a tick
        level: impact: the price moves by ``step`` for each ``level`` of money beyond ``depth``. [fitted: 385,000 and 169,000 a bp]
        recovery_ms: time in which half of what was taken is offered again; 0: all of it at once. [fitted: over 5,000]
        queue_ticks: the last price must go this many ticks beyond a resting limit order before it fills: at the limit itself
            others stand in front. [inferred]
    """

    half_spread_ticks: int = 1
    half_spread: int = 10_000
    depth: int | None = 100_000 * ONE
    step: int = 10_000
    level: int = 25_000 * ONE
    recovery_ms: int = 5_000
    queue_ticks: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and value < 0:
                raise PolicyError(f"{field.name} of a book is at least 0, not {value}")
        if self.half_spread >= ONE or self.step >= ONE:
            raise PolicyError("half_spread and step of a book are shares of the price below 100 %")


EXACT = Liquidity(half_spread_ticks=0, half_spread=0, depth=None, queue_ticks=0)
"""Everything fills at the last price: numbers can be checked by hand."""
THIN = Liquidity(half_spread_ticks=2, half_spread=50_000, depth=2_000 * ONE, step=20_000, level=1_000 * ONE, recovery_ms=60_000)
"""A book that hardly anybody quotes in: 10 bp of spread, 2,000 USDT at each best price, 500 a basis point behind it. [inferred]"""


@dataclass(frozen=True, slots=True)
class Ladder:
    """One side of the book at one moment: what an order of the other side sweeps.

    ``sign`` is +1 for asks, -1 for bids; level k costs ``best + sign * k * step`` and held ``top`` (k = 0) or ``level`` before
    ``eaten`` of it was taken from the best on. Quantities are whole lots, so every fill is.
    """

    sign: int
    best: int
    step: int
    top: int
    level: int
    eaten: int = 0

    def levels(self) -> Iterator[tuple[E8, E8]]:
        """(price, quantity) from the best on, none of them empty."""
        number, left = self._first()
        while number < LEVELS and left > 0:
            price = self.best + self.sign * number * self.step
            if price <= 0:
                return
            yield E8(price), E8(left)
            number, left = number + 1, self.level

    def sweep(self, quantity: int, limit: int) -> list[tuple[E8, E8]]:
        """(price, quantity) of the fills of a taker, nearest first, none beyond ``limit``; may be less than asked for."""
        found: list[tuple[E8, E8]] = []
        for price, held in self.levels():
            if quantity <= 0 or self.sign * (price - limit) > 0:
                break
            found.append((price, E8(min(held, quantity))))
            quantity -= held
        return found

    def within(self, limit: int) -> int:
        """Quantity up to a limit price."""
        return sum(held for _, held in self.sweep(ENDLESS, limit))

    def quote(self) -> tuple[E8, E8]:
        """Best price and its quantity; 0 where nothing is left."""
        return next(self.levels(), (E8(max(self.best, 0)), E8(0)))

    def average(self, quantity: int, tick: int) -> int:
        """The price of all of a quantity, rounded against the taker to the tick; what the book does not hold costs its last price."""
        fills = self.sweep(quantity, ENDLESS if self.sign > 0 else 0)
        if not fills:
            return self.best
        missing = quantity - sum(held for _, held in fills)
        cost = sum(price * held for price, held in fills) + fills[-1][0] * missing
        return -self.sign * (-self.sign * cost // (quantity * tick)) * tick

    def _first(self) -> tuple[int, int]:
        """Number of the first level that holds something, and what it holds."""
        if self.eaten < self.top:
            return 0, self.top - self.eaten
        if not self.level:
            return LEVELS, 0
        passed, part = divmod(self.eaten - self.top, self.level)
        return passed + 1, self.level - part


def ladder(model: Liquidity, side: OrderSide, last: int, *, tick: int, lot: int, eaten: int = 0) -> Ladder:
    """The side of the book that an order of ``side`` takes from. ``last``, ``tick`` and ``lot`` are E8."""
    sign = 1 if side is OrderSide.BUY else -1
    away = model.half_spread_ticks * tick
    best = -sign * (-sign * (last + sign * away) * (ONE + sign * model.half_spread) // (ONE * tick)) * tick
    step, top, level = _rungs(model, last, tick, lot)
    return Ladder(sign, max(best, tick), step, top, level, eaten)


def brought(model: Liquidity, side: OrderSide, last: int, limit: int, *, tick: int, lot: int) -> int:
    """Quantity that a price beyond the limit of a resting order of ``side`` fills of it: what stands between that price and the limit."""
    return Ladder(1 if side is OrderSide.BUY else -1, last, *_rungs(model, last, tick, lot)).within(limit)


def _rungs(model: Liquidity, last: int, tick: int, lot: int) -> tuple[int, int, int]:
    """Distance of the levels, and the quantities at the best price and at each further one. A distance rounded up to the tick holds more
    in proportion, so that the money a basis point does not depend on the tick."""
    exact = last * model.step
    step = max(-(-exact // (ONE * tick)), 1) * tick
    level = model.level * step * ONE // exact if exact else model.level
    return step, ENDLESS if model.depth is None else lots_for(model.depth, last, lot), lots_for(level, last, lot)


def lots_for(money: int, price: int, lot: int) -> int:
    """Quantity for money at a price (all E8), rounded down to whole lots."""
    return money * ONE // (price * lot) * lot


def still_eaten(quantity: int, elapsed_ms: int, half_ms: int, lot: int) -> int:
    """What is still missing of a quantity that was taken so long ago, rounded up to whole lots: half of it each ``half_ms``."""
    if not half_ms:
        return 0
    halved, part = divmod(elapsed_ms, half_ms)
    left = (quantity >> min(halved, 256)) * (2 * half_ms - part) // (2 * half_ms)
    return -(-left // lot) * lot
