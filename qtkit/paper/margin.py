"""Margin of an account: what is set aside, what is free, where it is liquidated. Functions that answer, changing nothing."""

from collections.abc import Mapping

from qtkit.core import matching
from qtkit.core.matching import maintenance, notional, reducible
from qtkit.core.model import E8, ONE, OrderKind, OrderSide, PositionSide
from qtkit.paper.account import Account, Leg, Slot
from qtkit.paper.market import Market
from qtkit.paper.rows import OrderRow, PositionRow, Wallet

Markets = Mapping[str, Market]
WHOLE = 1_000  # per mille


def initial(quote: int, leverage: int) -> int:
    """Initial margin of a notional, rounded up."""
    return -(-abs(quote) // leverage)


def unrealised(leg: Leg, markets: Markets) -> int:
    """Unrealised profit of a position at the mark price."""
    return matching.unrealised(leg.amount, leg.cost, markets[leg.symbol].mark)


def upkeep(leg: Leg, markets: Markets) -> int:
    """Maintenance margin of a position at the mark price."""
    market = markets[leg.symbol]
    return maintenance(notional(market.mark, leg.amount), market.facts.brackets)


def order_margin(account: Account, markets: Markets) -> int:
    """What resting orders hold beside the positions."""
    return _held(account, markets, _sides(account, 0))


def order_margins(account: Account, markets: Markets, plus: OrderRow, *, without: int) -> tuple[int, int]:
    """What resting orders hold, the one of the id ``without`` left out: as it is, and with ``plus`` as well."""
    sides = _sides(account, without)
    before = _held(account, markets, sides)
    _count(account, sides, plus)
    return before, _held(account, markets, sides)


def _sides(account: Account, without: int) -> dict[Slot, list[int]]:
    """Notional of the bids and the asks of every slot; orders that can only reduce are left out."""
    sides: dict[Slot, list[int]] = {}
    for row in account.resting():
        if row.order_id != without:
            _count(account, sides, row)
    return sides


def _count(account: Account, sides: dict[Slot, list[int]], row: OrderRow) -> None:
    if not reduces(account.hedge, row):
        sides.setdefault((row.symbol, row.position_side), [0, 0])[row.side is OrderSide.SELL] += notional(row.price, row.remaining)


def _held(account: Account, markets: Markets, sides: dict[Slot, list[int]]) -> int:
    """Margin of these orders beside the positions.

    A slot holds ``max(|position + bids|, |position - asks|) / leverage``, the position at the mark, orders at their price
    (Binance, "How to calculate the margin requirement", 2022-12-06).
    """
    held = 0
    for (symbol, position_side), (bids, asks) in sides.items():
        leverage = account.setting(symbol).leverage
        position = notional(markets[symbol].mark, account.amount(symbol, position_side))
        held += initial(max(abs(position + bids), abs(position - asks)), leverage) - initial(position, leverage)
    return held


def position_margin(account: Account, leg: Leg, markets: Markets) -> int:
    """Initial margin of a position at the mark price."""
    return initial(notional(markets[leg.symbol].mark, leg.amount), account.setting(leg.symbol).leverage)


def available(account: Account, markets: Markets, *, orders: int | None = None) -> int:
    """Free for new margin: cross wallet and cross profit less what positions and orders hold; never negative.

    ``orders`` is what orders hold, where that is known or is to be taken otherwise than it is.
    """
    free = account.cross_wallet - (order_margin(account, markets) if orders is None else orders)
    for leg in account.open_legs():
        if not leg.isolated:
            free += unrealised(leg, markets) - position_margin(account, leg, markets)
    return max(free, 0)


def wallet(account: Account, markets: Markets) -> Wallet:
    """The account's money in one row."""
    legs = list(account.open_legs())
    profit = sum(unrealised(leg, markets) for leg in legs)
    return Wallet(
        wallet=E8(account.wallet),
        cross_wallet=E8(account.cross_wallet),
        unrealised=E8(profit),
        equity=E8(account.wallet + profit),
        available=E8(available(account, markets)),
        position_margin=E8(sum(position_margin(account, leg, markets) for leg in legs)),
        order_margin=E8(order_margin(account, markets)),
        maintenance_margin=E8(sum(upkeep(leg, markets) for leg in legs)),
        updated_ms=account.updated_ms,
    )


def cross_legs(account: Account) -> list[Leg]:
    """Positions that share the cross wallet."""
    return [leg for leg in account.open_legs() if not leg.isolated]


def isolated_buffer(leg: Leg, markets: Markets, per_mille: int = WHOLE) -> int:
    """Isolated wallet and profit, or a share of them, above the maintenance margin; at or below 0 of all the position is liquidated."""
    return (leg.isolated_wallet + unrealised(leg, markets)) * per_mille // WHOLE - upkeep(leg, markets)


def cross_buffer(account: Account, markets: Markets, per_mille: int = WHOLE) -> int:
    """Cross wallet and cross profit, or a share, above the maintenance margin; at or below 0 of all cross positions are liquidated."""
    legs = cross_legs(account)
    equity = account.cross_wallet + sum(unrealised(leg, markets) for leg in legs)
    return equity * per_mille // WHOLE - sum(upkeep(leg, markets) for leg in legs)


def buffers(account: Account, markets: Markets, per_mille: int = WHOLE) -> dict[Slot, int]:
    """The buffer of every open position: its own if it is isolated, else the one that all cross positions share."""
    shared = cross_buffer(account, markets, per_mille)
    return {
        (leg.symbol, leg.position_side): isolated_buffer(leg, markets, per_mille) if leg.isolated else shared for leg in account.open_legs()
    }


def liquidation(account: Account, leg: Leg, markets: Markets) -> int:
    """Mark price (E8) at which the position is liquidated, other symbols standing still; 0 if there is none."""
    market = markets[leg.symbol]
    if leg.isolated:
        legs, collateral = [leg], leg.isolated_wallet
    else:
        cross = cross_legs(account)
        legs = [other for other in cross if other.symbol == leg.symbol]
        others = (other for other in cross if other.symbol != leg.symbol)
        collateral = account.cross_wallet + sum(unrealised(other, markets) - upkeep(other, markets) for other in others)
    price = matching.liquidation_price([(x.amount, x.cost) for x in legs], collateral, market.facts.brackets, market.mark)
    return price or 0


def guard(leg: Leg, buffer: int, sharers: int, market: Market) -> tuple[int, bool]:
    """(key, rising): while the mark has not reached the key, this position eats at most its share of the buffer.

    As long as no sharer's mark has reached its key there can be no liquidation, so a tick need not look. A long loses its amount per
    unit of price, a short that and the growing maintenance, at most doubling it. Two units a sharer are kept for rounding.
    """
    share = max(buffer - 4 * sharers, 0) * ONE // sharers
    if leg.amount > 0:
        return market.mark - share // leg.amount, False
    return market.mark + share // (-2 * leg.amount), True


def position_row(account: Account, leg: Leg, markets: Markets) -> PositionRow:
    """One position slot as told to the client."""
    market = markets[leg.symbol]
    setting = account.setting(leg.symbol)
    profit = unrealised(leg, markets)
    isolated = leg.isolated if leg.amount else setting.isolated
    return PositionRow(
        symbol=leg.symbol,
        position_side=leg.position_side,
        amount=E8(leg.amount),
        entry=E8(leg.entry),
        break_even=E8((leg.cost + leg.paid) * ONE // leg.amount if leg.amount else 0),
        mark=E8(market.mark),
        liquidation=E8(liquidation(account, leg, markets) if leg.amount else 0),
        unrealised=E8(profit),
        notional=E8(notional(market.mark, leg.amount)),
        isolated=isolated,
        isolated_wallet=E8(leg.isolated_wallet),
        isolated_margin=E8(leg.isolated_wallet + profit if isolated else 0),
        leverage=setting.leverage,
        max_notional=market.facts.max_notional(setting.leverage),
        initial_margin=E8(position_margin(account, leg, markets)),
        maintenance_margin=E8(upkeep(leg, markets)),
        realised_total=E8(leg.realised_total),
        updated_ms=leg.updated_ms,
    )


def opening(account: Account, row: OrderRow) -> int:
    """How much of an order's remaining quantity would add to the position.

    Resting orders of its side close before a limit order does; a market order does not wait for them.
    """
    if reduces(account.hedge, row):
        return 0
    closing = reducible(account.amount(row.symbol, row.position_side), row.side)
    if row.kind is OrderKind.LIMIT and closing:
        ahead = (each for each in account.resting(row.symbol) if each.order_id != row.order_id and not reduces(account.hedge, each))
        slot = (row.position_side, row.side)
        closing = max(closing - sum(each.remaining for each in ahead if (each.position_side, each.side) == slot), 0)
    return max(row.remaining - closing, 0)


def reduces(hedge: bool, row: OrderRow) -> bool:
    """True for an order that can only reduce: by its flag, or by its side in hedge mode."""
    return row.reduce_only or row.close_position or closes_leg(hedge, row.position_side, row.side)


def closes_leg(hedge: bool, position_side: PositionSide, side: OrderSide) -> bool:
    """True in hedge mode for an order that can only close its slot: SELL of LONG, BUY of SHORT."""
    return hedge and (position_side is PositionSide.LONG) is (side is OrderSide.SELL)
