"""Refusals that need no book: symbol filters, the standing of an account and the shape of a request, in Binance's codes and messages."""

import re

from qtkit.core.model import E8, ONE, OrderKind, OrderSide, PositionSide
from qtkit.paper.account import Account
from qtkit.paper.facts import Facts
from qtkit.paper.rows import ExchangeError, NewOrder, TimeInForce

RESTRICTIONS = {
    -4087: "User can only place reduce only order.",
    -4192: "Trade forbidden due to Cooling-off Period.",
    -4400: "Futures Trading Quantitative Rules violated, only reduceOnly order is allowed, please try again later.",
    -4401: "Futures Trading Risk Control Rules of large position holding violated, only reduceOnly order is allowed.",
}
"""Why an account may only reduce (Binance error codes, 2026-10)."""
KEPT_UNFILLED_MS, KEPT_MS = 3 * 86_400_000, 90 * 86_400_000
CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")


def text(value: int) -> str:
    """An E8 integer as the shortest decimal string."""
    whole, rest = divmod(abs(value), ONE)
    digits = f"{rest:08d}".rstrip("0")
    return f"{'-' if value < 0 else ''}{whole}{'.' + digits if digits else ''}"


def missing(parameter: str) -> ExchangeError:
    """The refusal of a request without a parameter it needs."""
    return ExchangeError(-1102, f"Mandatory parameter '{parameter}' was not sent, was empty/null, or malformed.")


def unneeded(parameter: str) -> ExchangeError:
    """The refusal of a request with a parameter that its kind does not take."""
    return ExchangeError(-1106, f"Parameter '{parameter}' sent when not required.")


def standing(account: Account, now_ms: int) -> None:
    """An account that was just liquidated has its orders refused: -2023."""
    if account.liquidating_until_ms > now_ms:
        raise ExchangeError(-2023, "User in liquidation mode now.")


def may_open(account: Account, *, halted: bool) -> None:
    """What may only reduce: a symbol on its way out (-4140), an account told so (``RESTRICTIONS``)."""
    if halted:
        raise ExchangeError(-4140, "Invalid symbol status for opening position.")
    if account.restricted:
        raise ExchangeError(account.restricted, RESTRICTIONS[account.restricted])


def forgotten(age_ms: int, *, filled: bool) -> bool:
    """An order that ended is lost three days after its creation, one that filled after ninety (Binance, GET order and algoOrder)."""
    return age_ms > (KEPT_MS if filled else KEPT_UNFILLED_MS)


def good_till(new: NewOrder, now_ms: int) -> int:
    """The date of a GTD order in whole seconds, ms; 0 for others: -1102 without, -5040 not later than ten minutes from now."""
    if new.time_in_force is not TimeInForce.GTD:
        return 0
    if new.good_till_ms is None:
        raise missing("goodtilldate")
    if not now_ms + 600_000 < new.good_till_ms < 253_402_300_799_000:
        raise ExchangeError(-5040, "The goodTillDate timestamp must be greater than the current time plus 600 seconds.")
    return new.good_till_ms // 1_000 * 1_000


def client_id(new: NewOrder) -> None:
    """An id given must be well formed: -4015."""
    if new.client_id and not CLIENT_ID.fullmatch(new.client_id):
        raise ExchangeError(-4015, "Client order id is not valid.")


def position_side(new: NewOrder, hedge: bool, reduce_only_code: int) -> PositionSide:
    """The position slot that the request means; -4061 if it does not fit the account's mode, a code for reduceOnly in hedge mode."""
    side = new.position_side or PositionSide.BOTH
    if hedge is (side is PositionSide.BOTH):
        raise ExchangeError(-4061, "Order's position side does not match user's setting.")
    if hedge and new.reduce_only is not None:
        raise unneeded("reduceonly") if reduce_only_code == -1106 else ExchangeError(reduce_only_code, "reduceOnly is invalid.")
    return side


def quantity(facts: Facts, amount: E8 | None, *, market: bool) -> int:
    """Quantity on the lot grid within LOT_SIZE or MARKET_LOT_SIZE: -1102, -4003, -1111, -4023, -4004, -4005."""
    if amount is None:
        raise missing("quantity")
    if amount <= 0:
        raise ExchangeError(-4003, "Quantity less than or equal to zero.")
    rules = facts.instrument
    if amount % rules.lot:
        _precision(amount, facts.quantity_precision)
        raise ExchangeError(-4023, "Quantity not increased by step size.")
    lots = amount // rules.lot
    if lots < rules.min_lots:
        raise ExchangeError(-4004, "Quantity less than min quantity.")
    if lots > (rules.market_max_lots if market else rules.max_lots):
        raise ExchangeError(-4005, "Quantity greater than max quantity.")
    return amount


def price(facts: Facts, value: E8 | None, parameter: str, *, stop: bool = False) -> int:
    """Price on the tick grid within PRICE_FILTER: -1102, -4001, -1111, -4014, -4013, -4002; a stop price has -4006 and -4007."""
    if value is None:
        raise missing(parameter)
    if value <= 0:
        raise ExchangeError(-4006, "Stop price less than zero.") if stop else ExchangeError(-4001, "Price less than 0.")
    rules = facts.instrument
    if value % rules.tick:
        _precision(value, facts.price_precision)
        raise ExchangeError(-4014, "Price not increased by tick size.")
    ticks = value // rules.tick
    if ticks < rules.min_price:
        raise ExchangeError(-4013, "Price less than min price.")
    if ticks > rules.max_price:
        raise ExchangeError(-4007, "Stop price greater than max price.") if stop else ExchangeError(-4002, "Price greater than max price.")
    return value


def percent_price(facts: Facts, side: OrderSide, limit: int, mark: int) -> None:
    """PERCENT_PRICE of a limit price against the mark: -4016 for a buy too high, -4024 for a sell too low."""
    _percent(facts, side, limit, mark, codes=(-4016, -4024))


def percent_of_stop(facts: Facts, side: OrderSide, limit: int, stop: int) -> None:
    """The same of the limit price of a conditional order against its trigger price: -4183, -4184."""
    _percent(facts, side, limit, stop, codes=(-4183, -4184))


def _percent(facts: Facts, side: OrderSide, limit: int, base: int, *, codes: tuple[int, int]) -> None:
    rules = facts.instrument
    cap, bottom = base * rules.percent_up // 10_000, -(-base * rules.percent_down // 10_000)
    if side is OrderSide.BUY and limit > cap:
        raise ExchangeError(codes[0], f"Limit price can't be higher than {text(cap // rules.tick * rules.tick)}.")
    if side is OrderSide.SELL and limit < bottom:
        raise ExchangeError(codes[1], f"Limit price can't be lower than {text(-(-bottom // rules.tick) * rules.tick)}.")


def trigger_band(facts: Facts, trigger: int, mark: int, band: int) -> None:
    """A trigger price further than ``band`` (bps) from the mark: -4210 above, -4211 below; 0 is no band."""
    if band and trigger > mark * (10_000 + band) // 10_000:
        raise ExchangeError(-4210, f"Stop price can't be higher than {text(mark * (10_000 + band) // 10_000)}.")
    if band and trigger < -(-mark * (10_000 - band) // 10_000):
        raise ExchangeError(-4211, f"Stop price can't be lower than {text(-(-mark * (10_000 - band) // 10_000))}.")


def min_notional(facts: Facts, quote: int) -> None:
    """MIN_NOTIONAL: -4164; reducing orders are exempt and do not ask."""
    least = facts.instrument.min_notional
    if quote < least:
        raise ExchangeError(-4164, f"Order's notional must be no smaller than {text(least)} (unless you choose reduce only).")


def close_position(new: NewOrder, hedge: bool) -> None:
    """Shape of a close-position request: -4136, -4137, -4138, -1106."""
    if not new.close_position:
        return
    if new.kind not in (OrderKind.STOP_MARKET, OrderKind.TAKE_PROFIT_MARKET):
        raise ExchangeError(-4136, f"Target strategy invalid for orderType '{new.kind.value}',closePosition 'true'.")
    if new.quantity:
        raise ExchangeError(-4137, "Quantity must be zero with closePosition equals true.")
    if new.reduce_only is True:
        raise unneeded("reduceonly")
    if new.reduce_only is False:
        raise ExchangeError(-4138, "Reduce only must be true with closePosition equals true.")
    if not hedge or new.position_side in (None, PositionSide.BOTH):
        return  # in hedge mode that is -4061
    if (new.position_side is PositionSide.LONG) is not (new.side is OrderSide.SELL):
        raise ExchangeError(-2022, "ReduceOnly Order is rejected.")


def amended(facts: Facts, quote: int | None, *, halted: bool) -> None:
    """What may not be amended: orders of a halted symbol (-5024), to less than the minimum notional (-5029; None: exempt)."""
    if halted:
        raise ExchangeError(-5024, "Symbol is not in trading status. Order amendment is not permitted.")
    if quote is not None and quote < facts.instrument.min_notional:
        raise ExchangeError(-5029, f"Order's notional must be no smaller than {text(facts.instrument.min_notional)}.")


def _precision(value: int, digits: int) -> None:
    if value % (ONE // 10**digits):
        raise ExchangeError(-1111, "Precision is over the maximum defined for this asset.")
