"""Order building: what goes over the wire for our orders, against recorded requests and Binance's rules."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from qtkit.core.model import Bps, Lots, Order, OrderKind, OrderSide, PolicyError, PositionSide, Ticks, TriggerBy

from .stub import SIGNING, Exchange, started

ID = "q1abcdefgh"
MARKET, LIMIT, STOP, PROFIT = OrderKind.MARKET, OrderKind.LIMIT, OrderKind.STOP, OrderKind.TAKE_PROFIT
BUY, SELL = OrderSide.BUY, OrderSide.SELL
LTC, BTC = "LTCUSDT", "BTCUSDT"


def order(kind: OrderKind, side: OrderSide, lots: int, *, symbol: str = LTC, **fields: Any) -> Order:
    return Order(**({"position_side": PositionSide.BOTH} | fields), symbol=symbol, client_id=ID, kind=kind, side=side, lots=Lots(lots))


# Recorded cases that our orders can say, by description; prices in ticks of 0.01 (LTC) and 0.1 (BTC), sizes in lots of 0.001.
EXPRESSIBLE = {
    "spot limit buy with weird price/amount": order(LIMIT, BUY, 423, price=Ticks(5532)),
    "swap limit buy with weird price/amount": order(LIMIT, BUY, 132, price=Ticks(5023)),
    "Swap market buy order": order(MARKET, BUY, 100),
    "Swap limit buy order": order(LIMIT, BUY, 100, price=Ticks(5500)),
    "Swap limit buy with triggerPrice": order(STOP, BUY, 210, price=Ticks(5100), trigger=Ticks(10100)),
    "Swap limit sell": order(LIMIT, SELL, 200, price=Ticks(10000)),
    "Swap limit sell with takeProfitPrice (type 2)": order(PROFIT, SELL, 210, price=Ticks(10400), trigger=Ticks(10800)),
    "Swap limit sell with stopLossPrice (type 2)": order(STOP, SELL, 210, price=Ticks(5000), trigger=Ticks(5100)),
    "Swap limit buy with reduce only (closing short position)": order(LIMIT, BUY, 200, price=Ticks(6000), reduce_only=True),
    "Swap trailingPercent order": order(
        OrderKind.TRAILING_STOP_MARKET, SELL, 110, symbol=BTC, callback=Bps(500), reduce_only=True
    ),
    "swap hedged reduceOnly market sell order": order(MARKET, SELL, 10, symbol=BTC, position_side=PositionSide.LONG, reduce_only=True),
    "swap hedged reduceOnly market buy order": order(MARKET, BUY, 10, symbol=BTC, position_side=PositionSide.SHORT, reduce_only=True),
    "linear swap conditional createOrder": order(STOP, BUY, 2, symbol=BTC, price=Ticks(1020000), trigger=Ticks(1000000)),
}  # fmt: skip


def sent(asked: Order) -> tuple[str, dict[str, str]]:
    """Path and parameters of the request for an order, and that the acknowledgement is read."""

    def acknowledge(params: dict[str, str]) -> dict[str, Any]:
        if "clientAlgoId" in params:
            row = {"algoId": 7, "orderType": params["type"], "algoStatus": "NEW", "quantity": params.get("quantity", "0")}
        else:
            row = {"orderId": 7, "clientOrderId": params["newClientOrderId"], "status": "NEW", "origQty": params["quantity"]}
        return params | row

    async def run() -> tuple[str, dict[str, str]]:
        exchange = Exchange()
        exchange.answers |= {"POST /fapi/v1/order": acknowledge, "POST /fapi/v1/algoOrder": acknowledge}
        gateway = await started(exchange)
        try:
            ack = await gateway.place(asked)
        finally:
            await gateway.close()
        assert (ack.order.client_id, ack.order.venue_id, ack.order.kind, ack.order.side) == (ID, "7", asked.kind, asked.side)
        assert (ack.order.lots, ack.order.trigger, ack.order.price) == (asked.lots, asked.trigger, asked.price)
        (request,) = exchange.requests
        return request

    return asyncio.run(run())


def recorded(folder: Path) -> dict[str, tuple[str, dict[str, str]]]:
    cases = json.loads((folder / "request-binance-usdm.json").read_text())["methods"]["createOrder"]
    return {c["description"]: (urlsplit(c["url"]).path, dict(parse_qsl(c["output"]))) for c in cases}


@pytest.mark.parametrize("case", EXPRESSIBLE)
def test_recorded_request_is_ours(case: str, recorded_requests: Path) -> None:
    path, expected = recorded(recorded_requests)[case]
    name, params = sent(EXPRESSIBLE[case])
    ignored = SIGNING | {"newClientOrderId", "clientAlgoId"}
    conditional = EXPRESSIBLE[case].kind.conditional
    assert name == f"POST {path}"
    extra = {"workingType": "MARK_PRICE"} if conditional else {}
    assert {k: v for k, v in params.items() if k not in ignored} == {k: v for k, v in expected.items() if k not in ignored} | extra
    assert params["clientAlgoId" if conditional else "newClientOrderId"] == ID


BOTH, LONG, SHORT = PositionSide.BOTH, PositionSide.LONG, PositionSide.SHORT


@pytest.mark.parametrize("kind", [OrderKind.STOP_MARKET, OrderKind.TAKE_PROFIT_MARKET])
@pytest.mark.parametrize(("side", "slot"), [(SELL, BOTH), (BUY, BOTH), (SELL, LONG), (BUY, SHORT)])
@pytest.mark.parametrize("by", TriggerBy)
def test_close_position(kind: OrderKind, side: OrderSide, slot: PositionSide, by: TriggerBy) -> None:
    fields = {"position_side": slot, "trigger": Ticks(905001), "trigger_by": by, "close_position": True, "reduce_only": True}
    asked = order(kind, side, 0, symbol=BTC, **fields)
    slot_sent = {} if slot is BOTH else {"positionSide": slot.value}
    assert sent(asked) == (
        "POST /fapi/v1/algoOrder",
        {"symbol": BTC, "side": side.value, "type": kind.value, "triggerPrice": "90500.1", "closePosition": "true", "workingType": by.value,
         "algoType": "CONDITIONAL", "clientAlgoId": ID, "newOrderRespType": "RESULT"} | slot_sent,
    )  # fmt: skip


@pytest.mark.parametrize(("side", "slot"), [(SELL, BOTH), (BUY, BOTH), (SELL, LONG), (BUY, SHORT)])
def test_working_stop_with_price_protect(side: OrderSide, slot: PositionSide) -> None:
    asked = order(OrderKind.STOP_MARKET, side, 1, symbol=BTC, position_side=slot, trigger=Ticks(1), reduce_only=True, price_protect=True)
    name, params = sent(asked)
    assert (name, params["quantity"], params["triggerPrice"], params["priceProtect"]) == ("POST /fapi/v1/algoOrder", "0.001", "0.1", "true")
    assert (params.get("reduceOnly"), params.get("positionSide")) == (("true", None) if slot is BOTH else (None, slot.value))


@pytest.mark.parametrize(("side", "slot"), [(SELL, BOTH), (BUY, SHORT)])
@pytest.mark.parametrize(("callback", "text"), [(10, "0.1"), (120, "1.2"), (2000, "20")])
def test_trailing(side: OrderSide, slot: PositionSide, callback: int, text: str) -> None:
    asked = order(OrderKind.TRAILING_STOP_MARKET, side, 1500, position_side=slot, callback=Bps(callback), activation=Ticks(10050))
    _, params = sent(asked)
    assert (params["callbackRate"], params["activatePrice"], params["quantity"]) == (text, "100.5", "1.5")
    assert "triggerPrice" not in params


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (order(OrderKind.STOP_MARKET, SELL, 1), "trigger price"),
        (order(LIMIT, SELL, 1), "limit price"),
        (order(MARKET, SELL, 0), "at least one lot"),
        (order(OrderKind.TRAILING_STOP_MARKET, BUY, 1), "callback"),
        (order(OrderKind.TRAILING_STOP_MARKET, BUY, 0, callback=Bps(10), close_position=True), "-4136"),
        (order(OrderKind.STOP_MARKET, BUY, 1, trigger=Ticks(5), close_position=True), "-4137"),
        (order(OrderKind.STOP_MARKET, BUY, 1, trigger=Ticks(5), position_side=LONG, reduce_only=True), "opens a LONG"),
        (order(OrderKind.STOP_MARKET, SELL, 0, trigger=Ticks(5), position_side=SHORT, close_position=True), "opens a SHORT"),
    ],
)
def test_nonsense_is_refused_before_the_wire(asked: Order, reason: str) -> None:
    async def run() -> None:
        exchange = Exchange()
        gateway = await started(exchange)
        with pytest.raises(PolicyError, match=reason):
            await gateway.place(asked)
        await gateway.close()
        assert exchange.requests == []

    asyncio.run(run())


def test_cancels_go_to_the_book_of_the_order() -> None:
    async def run() -> None:
        exchange = Exchange()
        exchange.answers["DELETE /fapi/v1/algoOrder"] = {"algoId": 7, "clientAlgoId": ID, "code": "200", "msg": "success"}
        exchange.answers["DELETE /fapi/v1/order"] = {"orderId": 7, "clientOrderId": ID, "status": "CANCELED"}
        gateway = await started(exchange)
        await gateway.cancel(order(OrderKind.STOP_MARKET, SELL, 1, trigger=Ticks(5)))
        await gateway.cancel(order(LIMIT, SELL, 1, price=Ticks(5)))
        await gateway.close()
        assert exchange.requests == [
            ("DELETE /fapi/v1/algoOrder", {"clientAlgoId": ID}),
            ("DELETE /fapi/v1/order", {"symbol": LTC, "origClientOrderId": ID}),
        ]

    asyncio.run(run())
