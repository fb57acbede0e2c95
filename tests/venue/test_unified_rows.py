"""Laws of reading rows: whatever an exchange sends, a row is read or refused, and doubt never becomes cover."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core.model import Order, OrderKind, PositionSide
from qtkit.venue import unified_open, unified_rows
from qtkit.venue.ccxt_wire import WireError

from .unified_kit import VENUES, contract, market

REFUSALS = (ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError)  # as the gateway takes them
KEYS = (
    "orderType", "stopOrderType", "triggerPrice", "triggerDirection", "triggerBy", "tpslMode", "closeOnTrigger", "reduceOnly", "qty",
    "price", "positionIdx", "orderLinkId", "orderStatus", "ordType", "slTriggerPx", "slOrdPx", "slTriggerPxType", "tpTriggerPx",
    "tpOrdPx", "tpTriggerPxType", "triggerPx", "ordPx", "last", "moveTriggerPx", "callbackRatio", "activePx", "posSide",
    "closeFraction", "algoClOrdId", "state", "planType", "executePrice", "triggerType", "posMode", "tradeSide", "clientOid",
    "isTrigger", "triggerPxType", "limitPx", "isPositionTpsl", "origSz", "sz", "cloid", "coin", "limitPrice", "stopPrice",
    "triggerSignal", "cliOrdId", "status",
)  # fmt: skip
WORDS = (
    "", "0", "-1", "1", "2", "88000.05", "0.5", "1e400", "much", "Market", "Limit", "Stop", "StopLoss", "TakeProfit", "TrailingStop",
    "Full", "true", "True", "false", "long", "short", "net", "conditional", "oco", "trigger", "move_order_stop", "market", "limit",
    "loss_plan", "pos_loss", "profit_plan", "normal_plan", "track_plan", "mark_price", "MarkPrice", "mark", "hedge_mode", "close",
    "open", "Stop Market", "Take Profit Limit", "stop", "take_profit", "trailing_stop", "lmt", "live", "effective", "canceled",
)  # fmt: skip
values = st.sampled_from(WORDS) | st.none() | st.booleans() | st.integers(-5, 5)
infos = st.dictionaries(st.sampled_from(KEYS), values, max_size=20)


def read(venue: str, info: dict[str, Any], side: str) -> tuple[Order, ...]:
    row = {"info": info, "side": side, "amount": "2", "filled": "0", "id": "7", "symbol": market(venue)["symbol"]}
    try:
        return unified_open.orders(venue, row, contract(venue))
    except REFUSALS:
        return ()


@given(venue=st.sampled_from(VENUES), info=infos, side=st.sampled_from(["buy", "sell"]))
def test_a_row_is_read_or_refused(venue: str, info: dict[str, Any], side: str) -> None:
    for order in read(venue, info, side):
        assert order.client_id and order.venue_id == "7"
        assert order.lots >= 0 and (order.lots == 0) is order.close_position
        assert not (order.close_position and order.reduce_only)


@given(venue=st.sampled_from(VENUES), info=infos, side=st.sampled_from(["buy", "sell"]))
def test_what_does_not_say_that_it_reduces_does_not(venue: str, info: dict[str, Any], side: str) -> None:
    said = {"reduceOnly", "closeOnTrigger", "closeFraction", "planType", "tradeSide", "tpslMode", "isPositionTpsl"}
    for order in read(venue, {key: value for key, value in info.items() if key not in said}, side):
        assert not (order.reduce_only or order.close_position)


@given(venue=st.sampled_from(VENUES), info=infos, side=st.sampled_from(["buy", "sell"]))
def test_a_trailing_order_without_its_trigger_is_not_activated(venue: str, info: dict[str, Any], side: str) -> None:
    for order in read(venue, info, side):
        assert not order.activated or (order.kind is OrderKind.TRAILING_STOP_MARKET and order.trigger)


@pytest.mark.parametrize("venue", ["hyperliquid", "krakenfutures"])
@given(info=infos)
def test_one_way_exchanges_have_one_slot(venue: str, info: dict[str, Any]) -> None:
    assert {order.position_side for order in read(venue, info, "sell")} <= {PositionSide.BOTH}


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("grid", [{"price": None, "amount": "0.001"}, {"price": "0.1", "amount": None}, {"price": "0", "amount": "0.001"}])
def test_a_contract_without_a_grid_is_refused(venue: str, grid: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        unified_rows.listed(venue, market(venue) | {"precision": grid})


@given(size=st.sampled_from(["0.0001", "0.001", "0.01", "0.1", "1", "10", "100"]), step=st.sampled_from(["0.001", "0.01", "1", "5"]))
def test_lots_are_of_the_base_coin(size: str, step: str) -> None:
    """A contract of any size: a lot is the step times the size, exactly, and the smallest order is a whole number of them."""
    own = market("okx") | {"contractSize": size, "precision": {"price": "0.1", "amount": step}, "limits": {"amount": {"min": step}}}
    listed = unified_rows.listed("okx", own)
    assert Decimal(listed.rules.lot) / 10**8 == Decimal(size) * Decimal(step)
    assert (listed.rules.min_lots, listed.contract_size) == (1, Decimal(size))
