"""What an exchange does with one order and one price, or with one position and its margin: pure rules, plain integers.

Prices are integers of any one unit unless a function says E8; quantities and money are E8 (1e-8), rates E8 fractions, callbacks
basis points. Amounts are signed: positive long, negative short; ``cost`` is the signed notional paid for them.
Source: Binance USD-M documents, 2026-10.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from qtkit.core.model import ONE, OrderKind, OrderSide

BPS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """One leverage bracket: notional from ``floor`` to ``cap`` (E8 money), ``ratio`` of maintenance (E8), ``cum`` (E8 money).

    Maintenance margin is ``notional * ratio - cum``: continuous over the brackets.
    """

    leverage: int
    floor: int
    cap: int
    ratio: int
    cum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """A native trailing stop. ``peak`` is the best price since activation; None before.

    SELL activates at or above ``activation`` and fires at or below ``peak`` less the callback; BUY mirrored.
    """

    side: OrderSide
    callback: int
    activation: int
    peak: int | None = None


def nearest(numerator: int, denominator: int) -> int:
    """Quotient rounded to the nearest integer, halves up; the denominator is positive."""
    return (2 * numerator + denominator) // (2 * denominator)


def rises(kind: OrderKind, side: OrderSide) -> bool:
    """True if the order fires when the price rises to its trigger: a buying stop, a selling take-profit."""
    take_profit = kind in (OrderKind.TAKE_PROFIT, OrderKind.TAKE_PROFIT_MARKET)
    return (side is OrderSide.BUY) is not take_profit


def reached(price: int, trigger: int, *, rising: bool) -> bool:
    """True if this price fires that trigger; equality fires. True at placement means refusal with -2021."""
    return price >= trigger if rising else price <= trigger


def trail_trigger(trail: Trail) -> int | None:
    """The price at which an activated trailing stop fires, or None. Rounded to the last integer price that fires."""
    if trail.peak is None:
        return None
    if trail.side is OrderSide.SELL:
        return trail.peak * (BPS - trail.callback) // BPS
    return -(-trail.peak * (BPS + trail.callback) // BPS)


def fold_trail(trail: Trail, price: int) -> tuple[Trail, bool]:
    """The trailing stop after one more price, and whether that price fires it. The peak only moves in favour."""
    selling = trail.side is OrderSide.SELL
    if trail.peak is None:
        if not reached(price, trail.activation, rising=selling):
            return trail, False
        return replace(trail, peak=price), False
    trigger = trail_trigger(trail)
    if trigger is not None and reached(price, trigger, rising=not selling):
        return trail, True
    peak = max(trail.peak, price) if selling else min(trail.peak, price)
    return (trail if peak == trail.peak else replace(trail, peak=peak)), False


def gap_exceeds(price: int, mark: int, bound: int) -> bool:
    """True if a price lies further from the mark than ``bound`` (E8 fraction): priceProtect, marketTakeBound."""
    return abs(price - mark) * ONE > bound * mark


def reducible(amount: int, side: OrderSide) -> int:
    """How much of a position an order of this side can close; 0 if it would add to it or there is none."""
    return max(amount, 0) if side is OrderSide.SELL else max(-amount, 0)


def notional(price: int, quantity: int) -> int:
    """Money of a quantity at a price (all E8, sign of the quantity); exact for prices and quantities on the grid."""
    return nearest(price * quantity, ONE)


def fee(quote: int, rate: int) -> int:
    """Commission on a filled notional, rounded up to 1e-8; negative rates are rebates."""
    return -(-abs(quote) * rate // ONE)


def unrealised(amount: int, cost: int, mark: int) -> int:
    """Profit of an open position at the mark price."""
    return notional(mark, amount) - cost


def funding(amount: int, mark: int, rate: int) -> int:
    """Money a position receives at a funding time; negative is paid. Longs pay a positive rate."""
    return -nearest(amount * mark * rate, ONE * ONE)


def bracket_of(quote: int, brackets: Sequence[Bracket]) -> Bracket:
    """The bracket of a notional; above the last cap the last one."""
    size = abs(quote)
    for bracket in brackets:
        if size <= bracket.cap:
            return bracket
    return brackets[-1]


def maintenance(quote: int, brackets: Sequence[Bracket]) -> int:
    """Maintenance margin of a notional (E8), rounded up."""
    size = abs(quote)
    bracket = bracket_of(size, brackets)
    return -(-(size * bracket.ratio - bracket.cum * ONE) // ONE)


def liquidation_price(legs: Sequence[tuple[int, int]], collateral: int, brackets: Sequence[Bracket], mark: int) -> int | None:
    """Mark price (E8) at which equity falls to the maintenance margin, nearest to the present mark; None if there is none.

    ``legs`` are (amount, cost) of one symbol that share the collateral: one leg in one-way mode or isolated, up to two in
    cross hedge mode. ``collateral`` is the isolated wallet, or for cross the wallet plus the other symbols' unrealised profit
    less their maintenance. This is Binance's formula ``(W + cum - side*qty*entry) / (qty*ratio - side*qty)`` with the bracket
    of the notional at that price, so it is the price at which the liquidation happens; rounded toward the mark.
    """
    found: list[int] = []
    for choice in product(brackets, repeat=len(legs)):
        above = collateral + sum(b.cum - cost for b, (_, cost) in zip(choice, legs, strict=True))
        slope = sum(abs(amount) * b.ratio - amount * ONE for b, (amount, _) in zip(choice, legs, strict=True))
        if slope == 0 or above * slope <= 0:
            continue
        price = above * ONE * ONE // slope if slope > 0 else -(above * ONE * ONE // -slope)
        if price > 0 and all(_within(amount, price, b, brackets) for b, (amount, _) in zip(choice, legs, strict=True)):
            found.append(price)
    return min(found, key=lambda price: abs(price - mark), default=None)


def _within(amount: int, price: int, bracket: Bracket, brackets: Sequence[Bracket]) -> bool:
    """True if the notional at the price belongs to the bracket (edges to both, a unit of rounding allowed)."""
    size = abs(amount) * price // ONE
    return bracket.floor - ONE <= size and (size <= bracket.cap + ONE or bracket is brackets[-1])
