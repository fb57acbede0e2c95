"""Money at risk: what a position loses if its stops fill, how far liquidation is, and what is wrong with the stops that rest.

Whether a stop counts is said by ``coverage`` alone. Every rounding goes toward more risk: fills worse, losses up, distances down.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from qtkit.core import coverage
from qtkit.core.coverage import Coverage, fault, lots_of
from qtkit.core.model import E8, ONE, Bps, Instrument, Lots, Order, OrderKind, PolicyError, Position, Ticks, TriggerBy

BPS = 10_000
ASSUMED = Bps(20)  # slippage of a stop where too few fills are known: twice what the system before this one warned of
LEAST = 10  # fills of a symbol below which its own history says too little
STOPS = (OrderKind.STOP_MARKET, OrderKind.TRAILING_STOP_MARKET, OrderKind.STOP)


class Wrong(Enum):
    """What can be wrong with a position's stops, worst first; the value is what a count of it is followed by."""

    NAKED = "naked"
    FOREIGN_ALONE = "covered by foreign stops alone"
    TOO_SMALL = "too small"
    BEYOND = "beyond liquidation"
    WRONG_SIDE = "on the wrong side"
    WRONG_TRIGGER = "on the wrong trigger price"
    PROTECTED = "with priceProtect on"
    LOOSE = "looser than the floor"
    NO_COVER = "that does not count"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: with the cover as a whole (``order`` None) or with one order, ours or ``foreign``.

    ``short`` is how much too small the stops are, bps of the position rounded up; ``why`` are ``coverage``'s words of an order.
    """

    wrong: Wrong
    foreign: bool = False
    short: Bps = Bps(0)
    order: Order | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slip:
    """What a stop's fill is expected to be worse than its trigger, bps of the trigger.

    ``used`` is the 90 % quantile of this desk's own ``fills`` of the symbol, never below zero; ``ASSUMED`` where there are fewer than
    ``LEAST``, and then ``median`` is None.
    """

    used: Bps
    median: Bps | None
    fills: int

    def __post_init__(self) -> None:
        if not 0 <= self.used < BPS:
            raise PolicyError(f"slippage must be at least 0 and below 100 %, got {self.used} bps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """What stops do if all of them fill, tightest first, each worse by the slippage and for the taker fee.

    ``lots`` leave, the last of them at ``level``; ``from_mark`` is what the equity falls by (E8, quote), ``from_entry`` what is lost
    against the entry: negative is profit that is kept.
    """

    lots: Lots
    level: Ticks
    from_mark: E8
    from_entry: E8


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """One position. ``own`` and ``foreign`` are the exits by our own and by other stops that count, None where there are none.

    ``liquidation`` (E8) is None where it is unknown or lies on the profit side (one leg of a cross hedge); ``away`` is the way there
    from the mark, bps of the mark.
    """

    needed: Lots
    slip: Slip
    own: Exit | None
    foreign: Exit | None
    liquidation: E8 | None
    away: Bps | None
    findings: tuple[Finding, ...]

    @property
    def bounded(self) -> Exit | None:
        """The exit by our own stops if they close all of it, else None: then they bound no loss."""
        return self.own if self.own is not None and self.own.lots == self.needed else None


def slip_of(history: Sequence[Bps]) -> Slip:
    """The slippage to expect after these fills of a symbol. Nearest rank, so that a quantile is a fill that happened."""
    count = len(history)
    if count < LEAST:
        return Slip(used=ASSUMED, median=None, fills=count)
    ranked = sorted(history)
    high = ranked[-(-count * 9 // 10) - 1]
    return Slip(used=Bps(min(max(high, 0), BPS - 1)), median=ranked[count // 2], fills=count)


def fill_price(sign: int, trigger: int, slip: Bps, tick: E8) -> int:
    """Where a stop at ``trigger`` (E8) is expected to fill (E8): worse by the slippage, and on the grid, rounded against the position."""
    return sign * ((sign * trigger * (BPS - sign * slip)) // (BPS * tick)) * tick


def exit_of(position: Position, instrument: Instrument, stops: Iterable[Order], slip: Slip) -> Exit | None:
    """The exit if these stops fill; None if none has a level. What a trailing order closes has no known price and is left out."""
    sign, left, level = position.side.sign, int(position.lots), None
    mark = entry = 0  # in 1e-24: exact until the one rounding at the end
    for order in sorted((o for o in stops if o.trigger is not None), key=lambda o: -sign * (o.trigger or 0)):
        lots = min(left, lots_of(order, position))
        if lots <= 0:
            break
        fill, size = fill_price(sign, (order.trigger or 0) * instrument.tick, slip.used, instrument.tick), lots * instrument.lot
        fee = fill * size * instrument.taker_fee
        mark += sign * (position.mark - fill) * size * ONE + fee
        entry += sign * (position.entry - fill) * size * ONE + fee
        left, level = left - lots, order.trigger
    if level is None:
        return None
    return Exit(lots=Lots(position.lots - left), level=level, from_mark=_up(mark), from_entry=_up(entry))


def _up(money: int) -> E8:
    return E8(-(-money // (ONE * ONE)))


def risk_of(
    cover: Coverage, position: Position, instrument: Instrument, orders: Iterable[Order], slip: Slip, *,
    floor: Ticks | None, trigger_by: TriggerBy,
) -> Risk:  # fmt: skip
    """The risk of a position whose cover was assessed from these orders; ``floor`` and ``trigger_by`` are its plan's."""
    stops = [order for order in orders if order.kind in STOPS and order.position_side is position.position_side]
    mine = ours(cover)
    own, foreign = [o for o in stops if o.client_id in mine], [o for o in stops if o.client_id not in mine]
    liquidation = coverage.liquidation_ahead(position)
    found = [_of_own(order, position, instrument, floor, trigger_by) for order in own]
    found += [_of_foreign(order, position, instrument) for order in foreign]
    findings = sorted((*_of_cover(cover), *(row for row in found if row is not None)), key=lambda row: _ORDER.index(row.wrong))
    return Risk(
        needed=cover.needed, slip=slip, liquidation=liquidation, findings=tuple(findings),
        own=exit_of(position, instrument, [o for o in own if o.client_id in cover.orders], slip),
        foreign=exit_of(position, instrument, [o for o in foreign if o.client_id in cover.foreign_orders], slip),
        away=None if liquidation is None else Bps(abs(position.mark - liquidation) * BPS // position.mark),
    )  # fmt: skip


def ours(cover: Coverage) -> frozenset[str]:
    """Client ids of our own stops: the cover names each of them, among its orders or among its faults."""
    return frozenset((*cover.orders, *(text.partition(":")[0] for text in cover.faults)))


def _of_cover(cover: Coverage) -> tuple[Finding, ...]:
    if cover.gap == 0:
        return ()
    if cover.covered == 0 and not cover.foreign_orders:
        return (Finding(wrong=Wrong.NAKED),)
    foreign = cover.covered == 0
    left = cover.needed - (cover.foreign if foreign else cover.covered)
    if left == 0:
        return (Finding(wrong=Wrong.FOREIGN_ALONE, foreign=True),)
    return (Finding(wrong=Wrong.TOO_SMALL, foreign=foreign, short=Bps(-(-left * BPS // cover.needed))),)


def _of_own(order: Order, position: Position, instrument: Instrument, floor: Ticks | None, trigger_by: TriggerBy) -> Finding | None:
    why = fault(order, position, instrument, floor, trigger_by=trigger_by)
    return None if why is None else Finding(wrong=_wrong(why), order=order, why=why)


def _of_foreign(order: Order, position: Position, instrument: Instrument) -> Finding | None:
    """What is wrong with another's stop. An order that only opens or adds is an entry of theirs and no stop of this position.

    One on the last price counts, but the position is liquidated by the mark price: in a crash it may come too late.
    """
    closes = order.side is position.side.closing
    if not closes and not (order.reduce_only or order.close_position):
        return None
    why = fault(order, position, instrument, None) or fault(order, position, instrument, None, trigger_by=TriggerBy.MARK)
    return None if why is None else Finding(wrong=_wrong(why), foreign=True, order=order, why=why)


def _wrong(why: str) -> Wrong:
    return next((wrong for words, wrong in _WORDS.items() if why.startswith(words)), Wrong.NO_COVER)


_ORDER = tuple(Wrong)
_WORDS = {
    coverage.BEYOND: Wrong.BEYOND,
    coverage.WRONG_SIDE: Wrong.WRONG_SIDE,
    coverage.WRONG_TRIGGER: Wrong.WRONG_TRIGGER,
    coverage.PROTECTED: Wrong.PROTECTED,
    coverage.LOOSER: Wrong.LOOSE,
}
