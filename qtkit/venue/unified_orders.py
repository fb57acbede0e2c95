"""Our orders -> the arguments of ccxt's ``create_order`` on the exchanges besides Binance. Pure; nothing here is sent.

ccxt's unified words do not reach: it translates no trigger price type (Bybit, OKX and Kraken would trigger on the last price), knows no
close-position order, and rounds a price off the grid without a word. So each exchange's own fields are given beside the unified ones;
tests let ccxt build the request and compare what it would send.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

from qtkit.core.model import Instrument, Order, OrderKind, OrderSide, PolicyError, PositionSide, TriggerBy
from qtkit.venue.capabilities import Capabilities, capabilities
from qtkit.venue.ccxt_wire import to_text

_STOP, _TARGET, _MARKET = OrderKind.STOP_MARKET, OrderKind.TAKE_PROFIT_MARKET, OrderKind.MARKET
KINDS = (_STOP, _TARGET, _MARKET)
SLIPPAGE = "0.1"  # Hyperliquid: a market order is a limit so far behind its price; 10 % is what it gives its own TP/SL
FIGURES = 5  # Hyperliquid: significant figures of a price that is no whole number


@dataclass(frozen=True, slots=True, kw_only=True)
class UnifiedRequest:
    """Arguments of ccxt's ``create_order`` after the symbol: decimal strings, so that no float touches a price or a size."""

    type: str
    side: str
    amount: str | None
    price: str | None
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a request needs besides the order: the contract's size (lots are of the base coin), the margin mode, and a price now.

    ``price`` is the mark price as text, of which Hyperliquid measures a market order; ``isolated`` is the position's margin mode.
    """

    contract_size: Decimal = Decimal(1)
    isolated: bool = False
    price: str | None = None


def unified_request(venue: str, order: Order, rules: Instrument, terms: Terms | None = None) -> UnifiedRequest:
    """How an order that reduces a position is asked for on ``venue``.

    Raises ``PolicyError`` with one sentence for what the exchange, or this version, has no words for; nothing is then to be sent.
    """
    row, terms = capabilities(venue), terms or Terms()
    if venue not in _BUILDERS:
        raise PolicyError(f"orders for {venue} are not built here")
    _check(row, order)
    return _BUILDERS[venue](order, rules, terms)


def cloid(client_id: str) -> str:
    """The 128 bits that Hyperliquid keeps of an id. The id cannot be had back from them."""
    return "0x" + blake2b(client_id.encode(), digest_size=16).hexdigest()


def _check(row: Capabilities, order: Order) -> None:
    hedge = order.position_side is not PositionSide.BOTH
    opens = OrderSide.BUY if order.position_side is PositionSide.LONG else OrderSide.SELL
    known = re.fullmatch(row.ids.pattern, order.client_id if row.ids.comes_back else cloid(order.client_id))
    faults = {
        f"only {', '.join(kind.value for kind in KINDS)} are built for it": order.kind not in KINDS,
        f"its client id must match {row.ids.pattern}": not order.client_id or known is None,
        "it does not reduce: entries are not built for it": not (order.reduce_only or order.close_position or hedge),
        f"{row.venue} has no hedge mode": hedge and "hedge" not in row.modes,
        f"{order.side.value} opens a {order.position_side.value} position, it cannot reduce it": hedge and order.side is opens,
        f"{row.venue} has no order that closes whatever the position is": order.close_position and not row.close_modes,
        f"{row.venue} has one that closes whatever the position is in {' and '.join(row.close_modes)} mode alone": (
            order.close_position and ("hedge" if hedge else "one-way") not in row.close_modes
        ),
        "only STOP_MARKET closes whatever the position is": order.close_position and order.kind is not _STOP,
        "a close-position order has no size, set lots to 0": order.close_position and order.lots != 0,
        "it needs a size of at least one lot": order.lots <= 0 and not order.close_position,
        "it needs a trigger price": order.kind.conditional and (order.trigger or 0) <= 0,
        f"{row.venue} triggers on {' or '.join(by.value for by in row.trigger_by)} alone": (
            order.kind.conditional and order.trigger_by not in row.trigger_by
        ),
    }
    for fault, present in faults.items():
        if present:
            raise PolicyError(f"{order.symbol} {order.kind.value} {order.client_id} was not built for {row.venue}: {fault}")


def _amount(order: Order, rules: Instrument, terms: Terms) -> str | None:
    """Size in the exchange's contracts, None for the whole position."""
    if order.close_position:
        return None
    contracts = Decimal(order.lots * rules.lot).scaleb(-8) / terms.contract_size
    text = f"{contracts:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _trigger(order: Order, rules: Instrument) -> dict[str, Any]:
    if not order.kind.conditional:
        return {}
    return {"stopLossPrice" if order.kind is _STOP else "takeProfitPrice": to_text(int(order.trigger or 0), rules.tick)}


def _request(order: Order, rules: Instrument, terms: Terms, params: dict[str, Any]) -> UnifiedRequest:
    params = {"reduceOnly": True} | _trigger(order, rules) | params
    return UnifiedRequest(
        type="market", side=order.side.value.lower(), amount=_amount(order, rules, terms), price=None, params=MappingProxyType(params)
    )


def _bybit(order: Order, rules: Instrument, terms: Terms) -> UnifiedRequest:
    """``hedged`` makes ccxt send the slot (positionIdx). A position's own stop (trading-stop) has no id of ours: it is not used."""
    params: dict[str, Any] = {"clientOrderId": order.client_id}
    if order.position_side is not PositionSide.BOTH:
        params["hedged"] = True
    if order.kind.conditional:
        params["triggerBy"] = "MarkPrice" if order.trigger_by is TriggerBy.MARK else "LastPrice"
    if order.close_position:
        params |= {"qty": "0", "closeOnTrigger": True}
    return _request(order, rules, terms, params)


def _okx(order: Order, rules: Instrument, terms: Terms) -> UnifiedRequest:
    """The id is given twice: ccxt knows only ``clOrdId``, and without it sends a broker's id and tag; the algo book has its own field."""
    params: dict[str, Any] = {"clOrdId": order.client_id, "tdMode": "isolated" if terms.isolated else "cross"}
    slot = order.position_side
    params["positionSide"] = "net" if slot is PositionSide.BOTH else slot.value.lower()
    if order.kind.conditional:
        field = "slTriggerPxType" if order.kind is _STOP else "tpTriggerPxType"
        params |= {"algoClOrdId": order.client_id, field: "mark" if order.trigger_by is TriggerBy.MARK else "last"}
    if order.close_position:
        params["closeFraction"] = "1"
    return _request(order, rules, terms, params)


def _bitget(order: Order, rules: Instrument, terms: Terms) -> UnifiedRequest:
    """Classic account. ccxt asks for the stop of the whole position (pos_loss), whatever size it is given, unless the plan type is told."""
    params: dict[str, Any] = {"clientOrderId": order.client_id, "uta": False}
    if order.position_side is not PositionSide.BOTH:
        params["hedged"] = True
    if not order.kind.conditional:
        return _request(order, rules, terms, params | {"marginMode": "isolated" if terms.isolated else "cross"})
    plan = "pos_loss" if order.close_position else "loss_plan" if order.kind is _STOP else "profit_plan"
    params |= {"triggerType": "mark_price" if order.trigger_by is TriggerBy.MARK else "fill_price", "planType": plan}
    return _request(order, rules, terms, params)


def _hyperliquid(order: Order, rules: Instrument, terms: Terms) -> UnifiedRequest:
    """There are no market orders: a limit at the price less the slippage. A position's stop is asked for as ccxt does, beside no order.

    ccxt's form of that names the side of the entry, and its own order is left out of what is sent.
    """
    price = to_text(int(order.trigger or 0), rules.tick) if order.kind.conditional else terms.price
    if price is None:
        raise PolicyError(
            f"{order.symbol} {order.client_id} was not built for hyperliquid: a market order there needs a price, give the mark"
        )
    if order.kind.conditional and Decimal(price) % 1 and len(Decimal(price).normalize().as_tuple().digits) > FIGURES:
        raise PolicyError(
            f"{order.symbol} {order.client_id} was not built for hyperliquid: {price} has more than {FIGURES} significant figures, "
            "and would be moved on the way"
        )
    params: dict[str, Any] = {"clientOrderId": cloid(order.client_id), "slippage": SLIPPAGE}
    if order.close_position:
        entry = "sell" if order.side is OrderSide.BUY else "buy"
        params |= {"grouping": "positionTpsl", "stopLoss": {"triggerPrice": price, "type": "market"}}
        return UnifiedRequest(type="market", side=entry, amount="0", price=price, params=MappingProxyType(params))
    request = _request(order, rules, terms, params)
    return UnifiedRequest(type="market", side=request.side, amount=request.amount, price=price, params=request.params)


def _kraken(order: Order, rules: Instrument, terms: Terms) -> UnifiedRequest:
    """A stop without a limit price becomes a market order, which this exchange holds within 1 % (its ``mkt``)."""
    params: dict[str, Any] = {"clientOrderId": order.client_id}
    if order.kind.conditional:
        params["triggerSignal"] = "mark" if order.trigger_by is TriggerBy.MARK else "last"
    return _request(order, rules, terms, params)


_BUILDERS: Mapping[str, Callable[[Order, Instrument, Terms], UnifiedRequest]] = MappingProxyType(
    {"bybit": _bybit, "okx": _okx, "bitget": _bitget, "hyperliquid": _hyperliquid, "krakenfutures": _kraken}
)
