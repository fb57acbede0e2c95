"""Our orders -> the arguments of ccxt's ``create_order``: exact decimal strings, Binance's rules checked before the wire."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from qtkit.core.model import Instrument, Order, OrderKind, OrderSide, PolicyError, PositionSide
from qtkit.venue.ccxt_wire import LIMITED, to_text

CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")  # Binance, New Order and New Algo Order
_CLOSE_ALL = (OrderKind.STOP_MARKET, OrderKind.TAKE_PROFIT_MARKET)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """Arguments of ccxt's ``create_order``: decimal strings, so that no float touches a price or a size."""

    type: str
    side: str
    amount: str | None
    price: str | None
    params: Mapping[str, str | bool]


def order_request(order: Order, rules: Instrument) -> OrderRequest:
    """How an order is asked for. Raises ``PolicyError`` for an order that Binance has no words for.

    In hedge mode (position side LONG or SHORT) the position side is always explicit and reduce-only is not sent
    (-1106, -4062): the slot gives the same protection. Neither is it sent beside close-position (-4138).
    """
    _check(order)
    params: dict[str, str | bool] = {"clientOrderId": order.client_id}
    if order.position_side is not PositionSide.BOTH:
        params["positionSide"] = order.position_side.value
    elif order.reduce_only and not order.close_position:
        params["reduceOnly"] = True
    if order.kind.conditional:
        params |= _condition(order, rules)
    price = to_text(order.price, rules.tick) if order.price is not None and order.kind in LIMITED else None
    amount = None if order.close_position else to_text(order.lots, rules.lot)
    return OrderRequest(type=order.kind.value, side=order.side.value.lower(), amount=amount, price=price, params=params)


def _condition(order: Order, rules: Instrument) -> dict[str, str | bool]:
    """Parameters of a conditional order; ccxt routes by their presence, and translates no trigger price type."""
    params: dict[str, str | bool] = {"workingType": order.trigger_by.value}
    if order.price_protect:
        params["priceProtect"] = True
    if order.close_position:
        params["closePosition"] = True
    if order.kind is not OrderKind.TRAILING_STOP_MARKET:
        return params | {"stopPrice": to_text(int(order.trigger or 0), rules.tick)}
    params["trailingPercent"] = to_text(int(order.callback or 0), 1_000_000)  # one bp is 0.01 percent
    if order.activation is not None:
        params["trailingTriggerPrice"] = to_text(order.activation, rules.tick)
    return params


def _check(order: Order) -> None:
    what = f"{order.symbol} {order.kind.value} {order.client_id}"
    trailing = order.kind is OrderKind.TRAILING_STOP_MARKET
    opens = "BUY" if order.position_side is PositionSide.LONG else "SELL"
    faults = {
        "the client id must match [.A-Z:/a-z0-9_-]{1,36}": not CLIENT_ID.fullmatch(order.client_id),
        "it needs a size of at least one lot": order.lots <= 0 and not order.close_position,
        "a close-position order has no size, set lots to 0 (-4137)": order.close_position and order.lots != 0,
        "only STOP_MARKET and TAKE_PROFIT_MARKET can close the position (-4136)": order.close_position and order.kind not in _CLOSE_ALL,
        "it needs a trigger price": order.kind.conditional and not trailing and (order.trigger or 0) <= 0,
        "it needs a limit price": order.kind in LIMITED and (order.price or 0) <= 0,
        "it needs a callback": trailing and (order.callback or 0) <= 0,
        f"{order.side.value} opens a {order.position_side.value} position, it cannot reduce it": (
            order.position_side is not PositionSide.BOTH and (order.reduce_only or order.close_position) and order.side.value == opens
        ),
    }
    for fault, present in faults.items():
        if present:
            raise PolicyError(f"{what} was not sent: {fault}")


def reduces(order: Order) -> bool:
    """True for an order that can only reduce a position."""
    closing = OrderSide.SELL if order.position_side is PositionSide.LONG else OrderSide.BUY
    return order.reduce_only or order.close_position or (order.position_side is not PositionSide.BOTH and order.side is closing)
