"""Integer exit arithmetic: plain ints in, plain ints out, units in the names.

``sign`` is +1 for long and -1 for short; ``ticks``, ``bps`` and ``e8`` mean what they say. Nothing here knows of plans, orders or
modes, so live, paper, replay and the sweep kernels use this very source. The largest product is ``price_e8 * 20_000``: exact in int64
for prices up to 4.6 million quote units (Binance's highest ``maxPrice`` is 4,529,764).
Rounding goes toward less risk: a stop toward the price, a target toward the price.
"""

BPS = 10_000


def tighter(sign: int, a_ticks: int, b_ticks: int) -> int:
    """The stop that leaves less to lose: the higher for a long, the lower for a short."""
    if sign * (a_ticks - b_ticks) >= 0:
        return a_ticks
    return b_ticks


def looser(sign: int, a_ticks: int, b_ticks: int) -> int:
    """The stop that leaves more to lose."""
    if sign * (a_ticks - b_ticks) >= 0:
        return b_ticks
    return a_ticks


def reached(sign: int, price_ticks: int, level_ticks: int) -> bool:
    """True if the price is at the level or beyond it in the position's favour."""
    return sign * (price_ticks - level_ticks) >= 0


def stop_hit(sign: int, price_ticks: int, stop_ticks: int) -> bool:
    """True if the price is at the stop or beyond it to the position's harm."""
    return sign * (price_ticks - stop_ticks) <= 0


def stop_hit_e8(sign: int, price_e8: int, stop_ticks: int, tick_e8: int) -> bool:
    """``stop_hit`` for a price that need not lie on the tick (mark price)."""
    return sign * (price_e8 - stop_ticks * tick_e8) <= 0


def favourable_ticks(sign: int, price_e8: int, tick_e8: int) -> int:
    """A price off the tick as ticks, rounded to the adverse side, so that no level is taken for reached before it was."""
    return sign * ((sign * price_e8) // tick_e8)


def stop_level(sign: int, price_e8: int, distance_bps: int, tick_e8: int) -> int:
    """Stop ``distance_bps`` behind a price, ticks, rounded toward the price. A negative distance lies in profit."""
    return sign * -((-sign * price_e8 * (BPS - sign * distance_bps)) // (BPS * tick_e8))


def target_level(sign: int, price_e8: int, distance_bps: int, tick_e8: int) -> int:
    """Target ``distance_bps`` beyond a price in the position's favour, ticks, rounded toward the price."""
    return sign * ((sign * price_e8 * (BPS + sign * distance_bps)) // (BPS * tick_e8))


def trail_level(sign: int, best_ticks: int, callback_bps: int) -> int:
    """Stop ``callback_bps`` behind the best price, ticks, rounded toward the price."""
    return sign * -((-sign * best_ticks * (BPS - sign * callback_bps)) // BPS)


def stop_step(entry_ticks: int, step_bps: int) -> int:
    """The widest of 1, 2, 5, 10, 20, 50 ... ticks that is no wider than ``step_bps`` of the entry, at least one tick.

    A trailed stop moves on the multiples of it. They are the same for every position entered at about the same price, so a stop is
    a function of the best price alone, whatever stops came before it.
    """
    widest = entry_ticks * step_bps // BPS
    step = 1
    while step * 10 <= widest:
        step *= 10
    return step * (5 if step * 5 <= widest else 2 if step * 2 <= widest else 1)


def trail_stop(sign: int, best_ticks: int, callback_bps: int, step_ticks: int) -> int:
    """``trail_level`` on the grid of ``step_ticks``, rounded away from the price: the stop never runs ahead of its callback."""
    return sign * (sign * trail_level(sign, best_ticks, callback_bps) // step_ticks * step_ticks)


def level_between(sign: int, from_e8: int, to_e8: int, fraction_bps: int, tick_e8: int) -> int:
    """Level at a fraction of the way from one price to another, ticks, rounded toward the first (mark toward liquidation)."""
    e8_x_bps = from_e8 * BPS + (to_e8 - from_e8) * fraction_bps
    return sign * -((-sign * e8_x_bps) // (BPS * tick_e8))


def distance_bps(from_e8: int, to_e8: int) -> int:
    """Distance between two prices in bps of the first, rounded up."""
    return -((-abs(to_e8 - from_e8) * BPS) // from_e8)


def slippage_bps(sign: int, trigger_e8: int, fill_e8: int) -> int:
    """What a stop's fill was worse than its trigger, bps of the trigger, rounded up; negative where it was better."""
    return -((-sign * (trigger_e8 - fill_e8) * BPS) // trigger_e8)


def improves(sign: int, old_ticks: int, new_ticks: int) -> bool:
    """True if the new stop is tighter than the old one."""
    return sign * (new_ticks - old_ticks) > 0


def behind(sign: int, price_e8: int, tick_e8: int) -> int:
    """Nearest tick strictly behind a price: the tightest stop that the price has not reached."""
    return sign * (-((-sign * price_e8) // tick_e8) - 1)


def fee_e8(price_e8: int, rate_e8: int) -> int:
    """Fee on one unit at a price, rounded up. Exact in int64 while price x rate < 9e18 (a price of 1.8 million at 0.05 %)."""
    return -(-price_e8 * rate_e8 // 100_000_000)


def round_trip_bps(fee_e8: int) -> int:
    """Taker fee paid on the way in and on the way out, bps of the entry, rounded up."""
    return -((-2 * fee_e8) // 10_000)


def round_trip_cost(sign: int, entry_e8: int, fee_e8: int) -> int:
    """Move in the position's favour that pays the fee of both ways, per unit of size, rounded up.

    Solves ``exit - entry = fee * (entry + exit)`` (mirrored for a short). The product is taken in two halves to stay in int64.
    """
    part_e8 = 100_000_000 - sign * fee_e8
    high, low = entry_e8 // BPS * 2 * fee_e8, entry_e8 % BPS * 2 * fee_e8
    return high // part_e8 * BPS - (-(high % part_e8 * BPS + low)) // part_e8


def break_even_level(sign: int, entry_e8: int, fee_e8: int, funding_e8: int, tick_e8: int) -> int:
    """First tick at which leaving loses nothing: entry, fees of both ways and ``funding_e8`` paid per unit of size.

    The fee of the way out is also paid on what makes good for the funding; a short saves it, which is not counted.
    """
    fee_on_funding_e8 = -((-funding_e8 * fee_e8) // (100_000_000 - fee_e8)) if sign > 0 else 0
    price_e8 = entry_e8 + sign * (round_trip_cost(sign, entry_e8, fee_e8) + funding_e8 + fee_on_funding_e8)
    return sign * -((-sign * price_e8) // tick_e8)


def multiple_bps(unit_bps: int, milli: int) -> int:
    """Thousandths of a unit (R) as bps, rounded down: nearer the price."""
    return unit_bps * milli // 1000


def atr_bps(atr_e8: int, milli: int, price_e8: int) -> int:
    """Thousandths of an average true range as bps of a price, rounded down. Exact in int64 while ATR x milli < 9e17."""
    return atr_e8 * milli * 10 // price_e8
