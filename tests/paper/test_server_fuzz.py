"""Whatever a client sends is answered: any route with any parameters, signed or not, never fails inside the server."""

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qtkit.core.model import E8, ONE, Ticks
from qtkit.paper.exchange import Exchange
from qtkit.paper.rest import ROUTES
from qtkit.paper.server import PaperServer
from tests.paper import shapes

KEY, SECRET = "k" * 64, "s" * 64
NOW = 1_700_000_000_000
NUMBERS = ["0", "1", "-1", "0.001", "0.010", "95000", "96000.1", "1e5", "NaN", "9" * 30, "", "abc", "0.0000000001", "10", "1000", "1001"]
VALUES: dict[str, list[str]] = {
    "symbol": ["BTCUSDT", "ETHUSDT", "XRPUSDT", "NOPE", "btcusdt", "", "BTC/USDT", "é"],
    "pair": ["BTCUSDT", "NOPE"],
    "side": ["BUY", "SELL", "buy", ""],
    "type": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET", "1", "2", "X"],
    "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTE_GTC", "GTD", ""],
    "algoType": ["CONDITIONAL", "VP"],
    "positionSide": ["BOTH", "LONG", "SHORT", "UP"],
    "workingType": ["MARK_PRICE", "CONTRACT_PRICE", "X"],
    "interval": ["1m", "1h", "1w", "1M", "7m"],
    "contractType": ["PERPETUAL", "X"],
    "marginType": ["ISOLATED", "CROSSED", "X"],
    "incomeType": ["COMMISSION", "X"],
    "priceMatch": ["NONE", "OPPONENT", "QUEUE_5", "X"],
    "newOrderRespType": ["ACK", "RESULT", "X"],
    "batchOrders": ["[]", "[{}]", "[1]", "{", '[{"symbol":"BTCUSDT","side":"BUY","type":"MARKET","quantity":"0.01"}]', "[" * 5_000, "null"],
    "orderIdList": ["[1,2]", "[]", '["x"]', "[1.5]", "[null]", "x"],
    "origClientOrderIdList": ['["a"]', "[null]", "7"],
    **{name: ["true", "false", "TRUE", "maybe", ""] for name in ("reduceOnly", "closePosition", "priceProtect", "dualSidePosition",
                                                                  "multiAssetsMargin")},
    **{name: ["a", "a", "b", "é", "x" * 40, ""] for name in ("newClientOrderId", "clientAlgoId", "origClientOrderId")},
    **{name: NUMBERS for name in (
        "quantity", "price", "triggerPrice", "stopPrice", "activatePrice", "callbackRate", "orderId", "algoId", "limit", "startTime",
        "endTime", "fromId", "leverage", "amount", "modifyId", "recvWindow",
    )},
}  # fmt: skip
PARAMS = st.dictionaries(st.sampled_from(sorted(VALUES)), st.integers(0, 63), max_size=12)


def server() -> PaperServer:
    exchange = Exchange(start_ms=NOW)
    exchange.open_account("main", balance=E8(1_000_000 * ONE))
    tick = exchange.facts["BTCUSDT"].instrument.tick
    exchange.tick("BTCUSDT", Ticks(96_000 * ONE // tick), E8(96_000 * ONE), NOW)
    return PaperServer(exchange, keys={KEY: (SECRET, "main")}, weight_limit=10**9, order_limits=(10**9, 10**9))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(sorted(ROUTES)), PARAMS, st.booleans()), min_size=1, max_size=25))
def test_every_request_is_answered(requests: list[tuple[tuple[str, str], dict[str, int], bool]]) -> None:
    it = server()
    for (method, path), picked, mandatory in requests:
        if path.endswith("countdownCancelAll"):
            continue  # needs a running loop
        sent: dict[str, Any] = {name: VALUES[name][number % len(VALUES[name])] for name, number in picked.items()}
        if mandatory:
            sent = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010", "interval": "1m"} | sent
        text = "&".join(f"{name}={quote(value)}" for name, value in sent.items()) + f"&timestamp={NOW}"
        text += "&signature=" + hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
        in_body = method in ("POST", "PUT")
        answer = it._rest.answer(method, path if in_body else f"{path}?{text}", text if in_body else "", KEY, NOW)
        assert answer.status in (200, 400), (answer.status, answer.text)
        row = json.loads(answer.text)
        if answer.status == 400:
            assert shapes.wrong(row, shapes.REFUSED) == []


SERVER = server()


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_raw_text_is_answered(query: str, body: str) -> None:
    it = SERVER
    for path in ("/fapi/v1/order", "/fapi/v1/batchOrders", "/fapi/v1/listenKey"):
        answer = it._rest.answer("POST", f"{path}?{query}", body, KEY, NOW)
        assert answer.status in (200, 400)
