"""ccxt's unified rows of open orders on the exchanges besides Binance -> the model. Pure, exact, without ccxt and without IO.

The unified form loses what cover depends on (trigger price type, close-position, position slot, ids of the conditional book), so each
exchange's own row, which ccxt hands along as ``info``, is read for these. Where a row leaves open whether an order is a stop, it is read
as one that covers nothing. Prices off the grid are rounded against us, as ``ccxt_wire`` does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from types import MappingProxyType

from qtkit.core.model import Bps, Instrument, Lots, Order, OrderKind, OrderSide, OrderStatus, PositionSide, Ticks, TriggerBy
from qtkit.venue.ccxt_wire import Row, WireError, on_grid, to_e8
from qtkit.venue.unified_rows import ZERO, Listed, hedged, number

_BOTH, _LONG, _SHORT = PositionSide.BOTH, PositionSide.LONG, PositionSide.SHORT
_MARK, _LAST = TriggerBy.MARK, TriggerBy.LAST


def _said(row: Row, key: str, word: str) -> bool:
    return str(row.get(key, "")).lower() == word


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What an exchange's own row says of an order beyond the unified one. ``stop``: True a stop, False a target, None not conditional."""

    client_id: str
    stop: bool | None = None
    limited: bool = False
    trigger: Decimal = ZERO
    price: Decimal = ZERO
    by: TriggerBy = _LAST
    slot: PositionSide = _BOTH
    reduces: bool = False
    closes_all: bool = False
    trails: bool = False
    callback: Bps | None = None
    activation: Decimal = ZERO
    activated: bool = False
    side: str | None = None


def _bybit(info: Row, row: Row) -> tuple[_Told, ...]:
    """Triggers that a position's own TP/SL made are told by ``stopOrderType``, those of plain orders by side and direction."""
    made, trigger = str(info.get("stopOrderType") or ""), number(info, "triggerPrice")
    full = _said(info, "tpslMode", "full") and made in ("StopLoss", "TakeProfit")
    stop: bool | None = None
    if "StopLoss" in made or "TakeProfit" in made:
        stop = "StopLoss" in made
    elif trigger > 0:
        stop = (str(info.get("triggerDirection")), row["side"]) in (("1", "buy"), ("2", "sell"))
    closing = _said(info, "closeOnTrigger", "true")
    slot = {"1": _LONG, "2": _SHORT}.get(str(info.get("positionIdx", "0")), _BOTH)
    told = _Told(
        client_id=str(info.get("orderLinkId") or ""),
        stop=stop,
        limited=_said(info, "orderType", "limit"),
        trigger=trigger,
        price=number(info, "price"),
        by=_MARK if _said(info, "triggerBy", "markprice") else _LAST,
        slot=slot,
        reduces=_said(info, "reduceOnly", "true") or closing,
        closes_all=full or (closing and number(info, "qty") == 0),
        trails=made == "TrailingStop",
    )
    return (told,)


def _okx(info: Row, row: Row) -> tuple[_Told, ...]:
    """An ``oco`` is both a stop and a target. A ``trigger`` order is a stop if it lay beyond the price when it was placed."""
    kind = str(info.get("ordType"))
    slot = {"long": _LONG, "short": _SHORT}.get(str(info.get("posSide")), _BOTH)
    told = _Told(
        client_id=str(info.get("algoClOrdId") or info.get("clOrdId") or ""),
        slot=slot,
        reduces=_said(info, "reduceOnly", "true"),
        closes_all=number(info, "closeFraction") == 1,
    )
    if kind == "move_order_stop":
        trigger, ratio = number(info, "moveTriggerPx"), number(info, "callbackRatio")
        callback = Bps(int((ratio * 10_000).to_integral_value(ROUND_CEILING))) if ratio else None
        return (replace(told, trails=True, trigger=trigger, callback=callback, activation=number(info, "activePx"), activated=trigger > 0),)
    if kind == "trigger":
        trigger, last = number(info, "triggerPx"), number(info, "last")
        stop = last > 0 and (trigger < last if row["side"] == "sell" else trigger > last)
        price = number(info, "ordPx")
        by = _MARK if _said(info, "triggerPxType", "mark") else _LAST
        return (replace(told, stop=stop, trigger=trigger, price=price, limited=price > 0, by=by),)
    if kind not in ("conditional", "oco"):
        return (replace(told, limited=kind not in ("market", "optimal_limit_ioc"), price=number(info, "px")),)
    out: list[_Told] = []
    for word, stop in (("sl", True), ("tp", False)):
        if (trigger := number(info, f"{word}TriggerPx")) > 0:
            price = number(info, f"{word}OrdPx")
            by = _MARK if _said(info, f"{word}TriggerPxType", "mark") else _LAST
            client_id = f"{told.client_id}/tp" if out else told.client_id
            out.append(replace(told, client_id=client_id, stop=stop, trigger=trigger, price=price, limited=price > 0, by=by))
    if not out:
        raise WireError(f"conditional order {info.get('algoId')} has no trigger price")
    return tuple(out)


def _bitget(info: Row, row: Row) -> tuple[_Told, ...]:
    """In hedge mode ``side`` is that of the position, not of the order: slot and ``tradeSide`` tell. Of a ``normal_plan``
    nothing says on which side of the price it was: it counts as no stop."""
    plan, own_slot = str(info.get("planType") or ""), hedged("bitget", info)
    slot = {"long": _LONG, "short": _SHORT}.get(str(info.get("posSide")), _BOTH) if own_slot else _BOTH
    closing = "close" in str(info.get("tradeSide", "")).lower() or plan in _TPSL
    side = None
    if slot is not _BOTH:
        side = "sell" if (slot is _LONG) is closing else "buy"
    price = number(info, "executePrice") or (number(info, "price") if plan not in _TPSL else ZERO)
    ratio = number(info, "callbackRatio")
    told = _Told(
        client_id=str(info.get("clientOid") or ""),
        stop=None if not plan else plan in ("loss_plan", "pos_loss"),
        limited=_said(info, "orderType", "limit") if plan not in _TPSL else price > 0,
        trigger=number(info, "triggerPrice"),
        price=price,
        by=_MARK if _said(info, "triggerType", "mark_price") else _LAST,
        slot=slot,
        reduces=_said(info, "reduceOnly", "yes") or closing,
        closes_all=plan in ("pos_loss", "pos_profit"),
        trails=plan in ("track_plan", "moving_plan"),
        callback=Bps(int((ratio * 100).to_integral_value(ROUND_CEILING))) if ratio else None,
        side=side,
    )
    return (told,)


_TPSL = ("profit_plan", "loss_plan", "pos_profit", "pos_loss", "moving_plan")


def _hyperliquid(info: Row, row: Row) -> tuple[_Told, ...]:
    """The ids that come back are the 128 bits of ours. Everything here triggers on the mark price."""
    words, conditional = str(info.get("orderType", "")).lower(), _said(info, "isTrigger", "true")
    told = _Told(
        client_id=str(info.get("cloid") or ""),
        stop="stop" in words if conditional else None,
        limited="limit" in words,
        trigger=number(info, "triggerPx"),
        price=number(info, "limitPx"),
        by=_MARK,
        reduces=_said(info, "reduceOnly", "true"),
        closes_all=_said(info, "isPositionTpsl", "true") and number(info, "origSz", "sz") == 0,
    )
    return (told,)


def _kraken(info: Row, row: Row) -> tuple[_Told, ...]:
    """``stop`` in the lists is what ``stp`` is in an order; the spot index triggers nothing of ours and is read as the last price."""
    kind, price = str(info.get("orderType", "")).lower(), number(info, "limitPrice")
    conditional = {"stop": True, "stp": True, "take_profit": False, "trailing_stop": True}
    told = _Told(
        client_id=str(info.get("cliOrdId") or ""),
        stop=conditional.get(kind),
        limited=price > 0,
        trigger=number(info, "stopPrice"),
        price=price,
        by=_MARK if _said(info, "triggerSignal", "mark") else _LAST,
        reduces=_said(info, "reduceOnly", "true"),
        trails=kind == "trailing_stop",
    )
    return (told,)


_READERS: Mapping[str, Callable[[Row, Row], tuple[_Told, ...]]] = MappingProxyType(
    {"bybit": _bybit, "okx": _okx, "bitget": _bitget, "hyperliquid": _hyperliquid, "krakenfutures": _kraken}
)
_BETWEEN = frozenset({"triggered", "effective", "executing"})  # fired, and what it placed is not in the lists yet
_OVER = frozenset({"cancelled", "canceled", "filled", "rejected", "deactivated", "order_failed", "fail_execute", "executed"})


def orders(venue: str, row: Row, contract: Listed) -> tuple[Order, ...]:
    """A row of ``fetch_open_orders``: one order, or two for one that holds a stop and a target (OKX ``oco``).

    An order without an id of its owner goes by the exchange's.
    """
    info, side = row["info"], str(row.get("side"))
    if side not in ("buy", "sell"):
        raise WireError(f"side {side} of an order in {contract.name} is unknown to this version")
    return tuple(_order(told, row, contract, _status(info)) for told in _READERS[venue](info, row))


def _status(info: Row) -> OrderStatus:
    words = {str(info.get(key, "")).lower() for key in ("orderStatus", "state", "status", "planStatus")}
    if words & _OVER:
        return OrderStatus.CANCELED
    return OrderStatus.TRIGGERING if words & _BETWEEN else OrderStatus.NEW


def _order(told: _Told, row: Row, contract: Listed, status: OrderStatus) -> Order:
    lot, kind = contract.rules.lot, _kind(told)
    side = OrderSide.SELL if (told.side or row["side"]) == "sell" else OrderSide.BUY
    lots = 0 if told.closes_all else on_grid(number(row, "amount") * contract.contract_size, lot, ROUND_FLOOR)
    filled = on_grid(number(row, "filled") * contract.contract_size, lot, ROUND_FLOOR)
    if status is OrderStatus.NEW and 0 < filled < lots:
        status = OrderStatus.PARTIALLY_FILLED
    average = to_e8(number(row, "average"))
    client_id = told.client_id if told.client_id not in ("", "/tp") else f"{row['id']}{told.client_id}"
    return Order(
        symbol=contract.name,
        client_id=client_id,
        kind=kind,
        side=side,
        position_side=told.slot,
        lots=Lots(lots),
        trigger=_ticks(told.trigger, contract.rules, down=(side is OrderSide.SELL) is (told.stop is not False)),
        price=_ticks(told.price, contract.rules, down=side is OrderSide.SELL) if told.limited else None,
        trigger_by=told.by,
        reduce_only=told.reduces and not told.closes_all,
        close_position=told.closes_all,
        callback=told.callback,
        activation=_ticks(told.activation, contract.rules, down=side is OrderSide.BUY),
        activated=told.activated,
        filled=Lots(filled),
        status=status,
        venue_id=str(row["id"]),
        time_ms=int(number(row, "lastUpdateTimestamp", "timestamp")),
        average=average or None,
    )


def _kind(told: _Told) -> OrderKind:
    if told.trails:
        return OrderKind.TRAILING_STOP_MARKET
    if told.stop is None:
        return OrderKind.LIMIT if told.limited else OrderKind.MARKET
    if told.stop:
        return OrderKind.STOP if told.limited else OrderKind.STOP_MARKET
    return OrderKind.TAKE_PROFIT if told.limited else OrderKind.TAKE_PROFIT_MARKET


def _ticks(value: Decimal, rules: Instrument, *, down: bool) -> Ticks | None:
    """A price on the grid, rounded against us; None for none."""
    return Ticks(on_grid(value, rules.tick, ROUND_FLOOR if down else ROUND_CEILING)) if value > 0 else None


def is_spot(venue: str, row: Row) -> bool:
    """True for a row of the spot market among those of futures: Hyperliquid has one list (``@107``, ``PURR/USDC``)."""
    return venue == "hyperliquid" and any(sign in str(row["info"].get("coin", "")) for sign in "@/")
