"""Keys, signatures, timestamps, weights and bans of the paper server, without a socket."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.paper import signing
from qtkit.paper.limits import MINUTE_MS, PATIENCE, Limits, Weight
from qtkit.paper.listen_keys import ListenKeys
from qtkit.paper.params import Params
from qtkit.paper.rest import ROUTES
from qtkit.paper.rows import ExchangeError
from qtkit.paper.stream_names import category

NOW = 1_700_000_000_000
SECRET = "s" * 64


def sign(text: str) -> str:
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


def code_of(call: object, *args: object) -> int:
    with pytest.raises(ExchangeError) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.code


@pytest.mark.parametrize(
    ("sent", "window", "code"),
    [(NOW + 999, "", 0), (NOW + 1_000, "", -1021), (NOW - 5_000, "", 0), (NOW - 5_001, "", -1021), (NOW - 10_000, "10000", 0),
     (NOW, "60001", -1130), (NOW, "0", -1130)],
)  # fmt: skip
def test_timestamp_rule(sent: int, window: str, code: int) -> None:
    params = {"timestamp": str(sent), "recvWindow": window}
    if code:
        assert code_of(signing.check_time, params, NOW) == code
    else:
        signing.check_time(params, NOW)


def test_timestamp_missing() -> None:
    assert code_of(signing.check_time, {}, NOW) == -1102


def test_keys() -> None:
    keys = {"k" * 64: (SECRET, "main")}
    assert signing.account_of("k" * 64, keys) == (SECRET, "main")
    assert code_of(signing.account_of, None, keys) == -2014
    assert code_of(signing.account_of, "bad key", keys) == -2014
    assert code_of(signing.account_of, "other", keys) == -2015


@given(st.text(alphabet='abcXYZ019=%[]{}":,._-', max_size=60), st.text(alphabet="abc=%5B", max_size=30))
def test_signature_covers_raw_query_and_body(query: str, body: str) -> None:
    query, body = f"timestamp=1&x={query}", f"y={body}"
    good = sign(query + body)
    signing.check_signature(SECRET, query, f"{body}&signature={good}", good)
    signing.check_signature(SECRET, f"{query}&signature={good}", body, good)
    assert code_of(signing.check_signature, SECRET, query + "1", body, good) == -1022
    assert code_of(signing.check_signature, SECRET, query, body, None) == -1102


def test_parse_keeps_raw_json() -> None:
    raw = 'timestamp=1&batchOrders=[{"a":"b=c"}]&x=%5B1%5D'
    assert signing.parse(raw) == ({"timestamp": "1", "batchOrders": '[{"a":"b=c"}]', "x": "[1]"}, "")
    assert signing.parse("a=1&b=2&a=1") == ({"a": "1", "b": "2"}, "a")


def test_weight_429_then_418_then_freedom() -> None:
    limits = Limits(100)
    assert [limits.charge(40, NOW) for _ in range(2)] == [40, 80]
    with pytest.raises(ExchangeError) as caught:
        limits.charge(40, NOW)
    assert (caught.value.code, caught.value.http_status) == (-1003, 429)
    statuses = []
    for _ in range(PATIENCE + 1):
        with pytest.raises(ExchangeError) as caught:
            limits.charge(1, NOW)
        statuses.append(caught.value.http_status)
    assert statuses[-1] == 418
    assert str(limits.banned_until_ms) in caught.value.message
    assert limits.charge(1, limits.banned_until_ms) == 1
    assert limits.weight_used(NOW // MINUTE_MS) == 120 + PATIENCE


def test_order_counters() -> None:
    limits = Limits(orders=(2, 3))
    one = Weight(one=0, orders_10s=1, orders_1m=1)
    start = NOW // MINUTE_MS * MINUTE_MS
    assert limits.count_orders("a", one, start) == (1, 1)
    assert limits.count_orders("a", one, start) == (2, 2)
    assert code_of(limits.count_orders, "a", one, start) == -1015
    assert limits.count_orders("b", one, start) == (1, 1)
    assert code_of(limits.count_orders, "a", one, start + 10_000) == -1015
    assert limits.count_orders("a", one, start + MINUTE_MS) == (1, 1)


def test_weights_by_limit_and_symbol() -> None:
    klines = Weight(by="klines")
    assert [klines.of({"limit": n}) for n in ("99", "100", "500", "1000", "1500")] == [1, 2, 5, 5, 10]
    lists = Weight(one=1, every=40)
    assert (lists.of({"symbol": "BTCUSDT"}), lists.of({})) == (1, 40)


def test_listen_keys_live_and_die() -> None:
    keys = ListenKeys(1_000)
    key = keys.create("a", 0)
    assert keys.create("a", 500) == key
    assert keys.account_of(key, 1_499) == "a"
    assert keys.extend("a", 1_400) == key
    assert keys.account_of(key, 2_400) is None
    assert code_of(keys.extend, "a", 2_400) == -1125
    assert keys.expired(2_400) == (("a", key),)
    assert keys.create("a", 2_500) != key


@pytest.mark.parametrize(
    ("stream", "expected"),
    [("btcusdt@markPrice@1s", "market"), ("btcusdt@kline_1m", "market"), ("btcusdt@bookTicker", "public"), ("btcusdt@trade", "public"),
     ("btcusdt@depth@100ms", "public"), ("btcusdt@depth5", "public"), ("btcusdt@aggTrade", "market"), ("!bookTicker", "public")],
)  # fmt: skip
def test_category(stream: str, expected: str) -> None:
    assert category(stream) == expected


def test_params_refuse_by_number() -> None:
    params = Params({"price": "1.5", "quantity": "x", "fine": "0.000000001", "reduceOnly": "TRUE", "limit": "5000"})
    assert params.e8("price") == 150_000_000
    assert params.flag("reduceOnly")
    assert code_of(params.e8, "quantity") == -1100
    assert code_of(params.e8, "fine") == -1111
    assert code_of(params.required, "symbol") == -1102
    assert code_of(params.limit, 500, 1_000) == -1130
    monstrous = Params({"orderId": "9" * 5_000, "price": "1e999999", "quantity": "NaN", "stopPrice": "9" * 20})
    assert code_of(monstrous.integer, "orderId") == -1100
    assert code_of(monstrous.e8, "price") == -1100
    assert code_of(monstrous.e8, "quantity") == -1100
    assert code_of(monstrous.e8, "stopPrice") == -1130
    assert code_of(Params({"price": "1e-05"}).e8, "price") == -1100
    assert code_of(signing.check_time, {"timestamp": "9" * 5_000}, NOW) == -1102


# Weight on the address with and without a symbol, as the documents and the docstrings of the official SDK 18.1 give it.
WEIGHTS = {
    "GET v1/ping": (1, 1), "GET v1/time": (1, 1), "GET v1/exchangeInfo": (1, 1), "GET v1/trades": (5, 5),
    "GET v1/historicalTrades": (200, 200),
    "GET v1/aggTrades": (20, 20), "GET v1/premiumIndex": (1, 10), "GET v1/fundingRate": (0, 0), "GET v1/fundingInfo": (0, 0),
    "GET v1/ticker/24hr": (1, 40), "GET v1/ticker/price": (1, 2), "GET v2/ticker/price": (1, 2), "GET v1/ticker/bookTicker": (2, 5),
    "GET v2/account": (5, 5), "GET v3/account": (5, 5), "GET v2/balance": (5, 5), "GET v3/balance": (5, 5), "GET v2/positionRisk": (5, 5),
    "GET v3/positionRisk": (5, 5), "GET v1/accountConfig": (5, 5), "GET v1/symbolConfig": (5, 5), "GET v1/leverageBracket": (1, 1),
    "GET v1/commissionRate": (20, 20), "GET v1/income": (30, 30), "GET v1/rateLimit/order": (1, 1), "GET v1/multiAssetsMargin": (30, 30),
    "POST v1/multiAssetsMargin": (1, 1), "GET v1/feeBurn": (30, 30), "GET v1/adlQuantile": (5, 5), "GET v1/positionSide/dual": (30, 30),
    "POST v1/positionSide/dual": (1, 1), "POST v1/leverage": (1, 1), "POST v1/marginType": (1, 1), "POST v1/positionMargin": (1, 1),
    "GET v1/positionMargin/history": (1, 1), "GET v1/apiTradingStatus": (1, 10), "POST v1/listenKey": (1, 1), "PUT v1/listenKey": (1, 1),
    "DELETE v1/listenKey": (1, 1), "POST v1/order": (0, 0), "PUT v1/order": (0, 0), "GET v1/order": (1, 1), "DELETE v1/order": (1, 1),
    "GET v1/openOrder": (1, 1), "GET v1/openOrders": (1, 40), "GET v1/allOrders": (5, 5), "DELETE v1/allOpenOrders": (1, 1),
    "GET v1/orderAmendment": (1, 1), "GET v1/userTrades": (5, 5), "GET v1/forceOrders": (20, 50), "POST v1/countdownCancelAll": (10, 10),
    "POST v1/batchOrders": (5, 5), "PUT v1/batchOrders": (5, 5), "DELETE v1/batchOrders": (1, 1), "POST v1/algoOrder": (0, 0),
    "GET v1/algoOrder": (1, 1), "DELETE v1/algoOrder": (1, 1), "DELETE v1/algoOpenOrders": (1, 1), "GET v1/openAlgoOrders": (1, 40),
    "GET v1/allAlgoOrders": (5, 5),
}  # fmt: skip
COUNTED = {"POST v1/order": (1, 1), "PUT v1/order": (1, 1), "POST v1/algoOrder": (1, 1), "POST v1/batchOrders": (5, 1),
           "PUT v1/batchOrders": (5, 1)}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTS)
def test_documented_weights(name: str) -> None:
    method, _, path = name.partition(" ")
    weight = ROUTES[method, f"/fapi/{path}"].weight
    assert (weight.of({"symbol": "BTCUSDT"}), weight.of({})) == WEIGHTS[name]
    assert (weight.orders_10s, weight.orders_1m) == COUNTED.get(name, (0, 0))


def test_weights_that_grow_with_the_limit() -> None:
    depth = ROUTES["GET", "/fapi/v1/depth"].weight
    assert [depth.of({"limit": n}) for n in ("5", "50", "100", "500", "1000")] == [2, 2, 5, 10, 20]
    for name in ("klines", "markPriceKlines", "indexPriceKlines", "continuousKlines"):
        bars = ROUTES["GET", f"/fapi/v1/{name}"].weight
        assert [bars.of({"limit": n}) for n in ("99", "100", "499", "500", "1000", "1500")] == [1, 2, 2, 5, 5, 10]
