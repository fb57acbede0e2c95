"""Rows of the exchange -> model: exact, both sides, both modes, and nothing guessed."""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core.model import OrderKind, OrderSide, OrderStatus, PositionSide, Side, TriggerBy
from qtkit.venue import ccxt_wire as wire

from .stub import symbol_info

RULES = wire.instrument(symbol_info("BTCUSDT", tick="0.10", lot="0.001", notional="50"))


def test_trading_rules() -> None:
    assert (RULES.tick, RULES.lot, RULES.min_lots, RULES.max_lots, RULES.market_max_lots) == (10_000_000, 100_000, 1, 1_000_000, 120_000)
    assert (RULES.min_price, RULES.max_price, RULES.min_notional) == (11, 45_297_640, 5_000_000_000)  # 1.05 is off the tick: 1.1
    assert (RULES.percent_up, RULES.percent_down) == (10_500, 9_500)


def test_rules_without_a_filter_are_refused() -> None:
    row = symbol_info("BTCUSDT", tick="0.1", lot="0.001")
    row["filters"] = row["filters"][:1]
    with pytest.raises(wire.WireError, match="LOT_SIZE is missing"):
        wire.instrument(row)


@given(units=st.integers(1, 10**12), grid=st.sampled_from([1, 100_000, 10_000_000, 12_500_000, 10**8, 10**9]))
def test_numbers_come_back_exactly(units: int, grid: int) -> None:
    text = wire.to_text(units, grid)
    assert Decimal(text) == Decimal(units * grid) / 10**8
    assert {wire.on_grid(Decimal(text), grid, mode) for mode in (ROUND_FLOOR, ROUND_CEILING, ROUND_HALF_EVEN)} == {units}


@given(value=st.decimals(min_value=0, max_value=10**7, places=9), grid=st.sampled_from([1, 100_000, 12_500_000]))
def test_rounding_keeps_its_direction(value: Decimal, grid: int) -> None:
    low, near, high = (wire.on_grid(value, grid, mode) for mode in (ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_CEILING))
    assert low <= near <= high <= low + 1
    assert low * grid <= value * 10**8 <= high * grid


def position_row(amount: str, slot: str = "BOTH", **fields: Any) -> dict[str, Any]:
    return {"symbol": "BTCUSDT", "positionSide": slot, "positionAmt": amount, "entryPrice": "90000.12345678", "breakEvenPrice": "90050.1",
            "markPrice": "91000.00000001", "liquidationPrice": "0", "isolatedMargin": "0", "notional": "910.0",
            "positionInitialMargin": "91.00000"} | fields  # fmt: skip


@pytest.mark.parametrize(
    ("amount", "slot", "side"),
    [("0.010", "BOTH", Side.LONG), ("-0.010", "BOTH", Side.SHORT), ("0.010", "LONG", Side.LONG), ("-0.010", "SHORT", Side.SHORT)],
)
def test_position(amount: str, slot: str, side: Side) -> None:
    got = wire.position(position_row(amount, slot), RULES)
    assert (got.side, got.position_side, got.lots) == (side, PositionSide(slot), 10)
    assert (got.entry, got.mark, got.liquidation) == (9_000_012_345_678, 9_100_000_000_001, None)
    assert (got.leverage, got.isolated) == (10, False)


def test_liquidation_and_isolated_margin_are_read() -> None:
    got = wire.position(position_row("0.01", liquidationPrice="80000.5", isolatedMargin="12.5"), RULES)
    assert (got.liquidation, got.isolated) == (8_000_050_000_000, True)


@pytest.mark.parametrize("amount", ["0.010", "-0.010"])
def test_a_position_with_entry_zero_is_seen(amount: str) -> None:
    assert wire.position(position_row(amount, entryPrice="0.0"), RULES).entry == 9_005_010_000_000
    assert wire.position(position_row(amount, entryPrice="0.0", breakEvenPrice="0.0"), RULES).entry == 9_100_000_000_001


def test_a_position_off_the_lot_is_read_as_larger() -> None:
    assert wire.position(position_row("-0.0101"), RULES).lots == 11


@pytest.mark.parametrize(("amount", "slot"), [("-0.01", "LONG"), ("0.01", "SHORT"), ("0.01", "UP")])
def test_contradictions_are_not_read(amount: str, slot: str) -> None:
    with pytest.raises(wire.WireError, match="positionSide"):
        wire.position(position_row(amount, slot), RULES)


@pytest.mark.parametrize(("slots", "mode"), [((), None), (("BOTH",), False), (("LONG", "SHORT"), True)])
def test_position_mode_shows_in_the_rows(slots: tuple[str, ...], mode: bool | None) -> None:
    assert wire.hedge_of([position_row("0", slot) for slot in slots]) is mode


def algo_row(kind: str = "STOP_MARKET", side: str = "SELL", **fields: Any) -> dict[str, Any]:
    return {"algoId": 12, "clientAlgoId": "q1x", "algoType": "CONDITIONAL", "orderType": kind, "symbol": "BTCUSDT", "side": side,
            "positionSide": "BOTH", "timeInForce": "GTC", "quantity": "0.010", "algoStatus": "NEW", "triggerPrice": "90000.1",
            "price": "0", "icebergQuantity": None, "workingType": "MARK_PRICE", "closePosition": False, "priceProtect": False,
            "reduceOnly": True, "activatePrice": "", "callbackRate": "", "createTime": 5, "updateTime": 6, "triggerTime": 0,
            "actualOrderId": "", "actualPrice": "0.00000", "actualQty": "0.000"} | fields  # fmt: skip


def test_conditional_order() -> None:
    got = wire.algo_order(algo_row(), RULES)
    assert (got.client_id, got.venue_id, got.kind, got.side, got.status) == (
        "q1x", "12", OrderKind.STOP_MARKET, OrderSide.SELL, OrderStatus.NEW,
    )  # fmt: skip
    assert (got.lots, got.trigger, got.price, got.trigger_by, got.reduce_only, got.time_ms) == (10, 900_001, None, TriggerBy.MARK, True, 6)


def test_close_position_has_no_size() -> None:
    assert wire.algo_order(algo_row(closePosition=True, quantity="0"), RULES).lots == 0


@pytest.mark.parametrize(("side", "stop", "target"), [("SELL", 900_000, 900_001), ("BUY", 900_001, 900_000)])
def test_prices_off_the_tick_are_read_against_us(side: str, stop: int, target: int) -> None:
    assert wire.algo_order(algo_row("STOP_MARKET", side, triggerPrice="90000.05"), RULES).trigger == stop
    assert wire.algo_order(algo_row("TAKE_PROFIT_MARKET", side, triggerPrice="90000.05"), RULES).trigger == target


@pytest.mark.parametrize("side", ["SELL", "BUY"])
def test_trailing_order_is_not_activated_unless_told(side: str) -> None:
    row = algo_row("TRAILING_STOP_MARKET", side, triggerPrice="", activatePrice="91000.0", callbackRate="1.2")
    got = wire.algo_order(row, RULES)
    assert (got.trigger, got.callback, got.activation, got.activated) == (None, 120, 910_000, False)
    assert wire.algo_order(row | {"ia": True}, RULES).activated


@pytest.mark.parametrize(
    ("status", "read"),
    [("TRIGGERING", OrderStatus.TRIGGERING), ("TRIGGERED", OrderStatus.TRIGGERED), ("FINISHED", OrderStatus.TRIGGERED),
     ("CANCELED", OrderStatus.CANCELED), ("EXPIRED", OrderStatus.EXPIRED), ("REJECTED", OrderStatus.REJECTED)],
)  # fmt: skip
def test_algo_status(status: str, read: OrderStatus) -> None:
    assert wire.algo_order(algo_row(algoStatus=status), RULES).status is read


@pytest.mark.parametrize("fields", [{"algoStatus": "SOMETHING"}, {"orderType": "VP"}, {"side": ""}, {"clientAlgoId": None}])
def test_unknown_words_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(wire.WireError):
        wire.algo_order(algo_row() | fields, RULES)


def regular_row(**fields: Any) -> dict[str, Any]:
    return {"orderId": 99, "clientOrderId": "q1y", "symbol": "BTCUSDT", "status": "FILLED", "type": "MARKET", "side": "SELL",
            "positionSide": "BOTH", "origQty": "0.010", "executedQty": "0.010", "avgPrice": "90000.5", "price": "0", "stopPrice": "0",
            "reduceOnly": True, "closePosition": False, "workingType": "CONTRACT_PRICE", "time": 3, "updateTime": 4} | fields  # fmt: skip


def test_regular_order_and_its_fill() -> None:
    got = wire.regular_order(regular_row(), RULES)
    assert (got.status, got.lots, got.filled, got.average, got.time_ms) == (OrderStatus.FILLED, 10, 10, 9_000_050_000_000, 4)
    assert wire.regular_order(regular_row(avgPrice=None, cumQuote="900.001"), RULES).average == 9_000_010_000_000
    assert wire.regular_order(regular_row(avgPrice=None), RULES).average is None


@pytest.mark.parametrize(("side", "price"), [("SELL", 900_000), ("BUY", 900_001)])
def test_limit_price_off_the_tick(side: str, price: int) -> None:
    assert wire.regular_order(regular_row(type="LIMIT", status="NEW", side=side, price="90000.05"), RULES).price == price


def test_child_tells_the_true_state() -> None:
    row = algo_row(algoStatus="FINISHED", actualOrderId="99")
    assert wire.child_id(row) == "99"
    assert wire.child_id(algo_row(actualOrderId="0")) == wire.child_id(algo_row()) == ""
    got = wire.with_child(wire.algo_order(row, RULES), wire.regular_order(regular_row(executedQty="0.004", status="EXPIRED"), RULES))
    assert (got.kind, got.client_id, got.status, got.filled) == (OrderKind.STOP_MARKET, "q1x", OrderStatus.EXPIRED, 4)


def test_bars_know_the_running_one() -> None:
    rows = [[0, "1.04", "2", "1", "1.5", "9", 59_999], [60_000, "1.06", "2", "1", "1.55", "9", 119_999]]
    old, new = wire.bars(rows, RULES, now_ms=90_000)
    assert (old.open, old.closed, new.open, new.close, new.closed) == (10, True, 11, 16, False)
    assert wire.bars(rows, RULES, now_ms=120_000)[-1].closed
    with pytest.raises(wire.WireError):
        wire.bars([[1, 2]], RULES, 0)


@pytest.mark.parametrize("value", [None, "", "x", "NaN", "Infinity"])
def test_missing_numbers_are_not_invented(value: object) -> None:
    with pytest.raises(wire.WireError, match="mark"):
        wire.decimal_of({"mark": value}, "mark")
