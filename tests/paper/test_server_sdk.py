"""Binance's own typed SDK for Python against the paper server: strict models, REST and streams; and its models against our shapes."""

import asyncio
import logging
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from qtkit.core.model import E8, ONE
from qtkit.paper.sockets import StreamRules
from tests.paper import shapes
from tests.paper.server_rig import KEY, SECRET, Rig, rig, to_thread

common = pytest.importorskip("binance_common.configuration", reason="needs the extra `dev`")
rest = pytest.importorskip("binance_sdk_derivatives_trading_usds_futures.rest_api")
rest_models = pytest.importorskip("binance_sdk_derivatives_trading_usds_futures.rest_api.models")
streams = pytest.importorskip("binance_sdk_derivatives_trading_usds_futures.websocket_streams")
stream_models = pytest.importorskip("binance_sdk_derivatives_trading_usds_futures.websocket_streams.models")

V1 = "/fapi/v1/"
MODELS = {
    ("GET", V1 + "time"): "CheckServerTimeResponse",
    ("GET", V1 + "exchangeInfo"): "ExchangeInformationResponse",
    ("GET", V1 + "trades"): "RecentTradesListResponseInner",
    ("GET", V1 + "historicalTrades"): "OldTradesLookupResponseInner",
    ("GET", V1 + "aggTrades"): "CompressedAggregateTradesListResponseInner",
    ("GET", V1 + "depth"): "OrderBookResponse",
    ("GET", V1 + "ticker/24hr"): "Ticker24hrPriceChangeStatisticsResponse1",
    ("GET", V1 + "ticker/price"): "SymbolPriceTickerResponse1",
    ("GET", "/fapi/v2/ticker/price"): "SymbolPriceTickerV2Response1",
    ("GET", V1 + "ticker/bookTicker"): "SymbolOrderBookTickerResponse1",
    ("GET", V1 + "premiumIndex"): "MarkPriceResponse1",
    ("GET", V1 + "fundingRate"): "GetFundingRateHistoryResponseInner",
    ("GET", V1 + "fundingInfo"): "GetFundingRateInfoResponseInner",
    ("GET", "/fapi/v2/account"): "AccountInformationV2Response",
    ("GET", "/fapi/v3/account"): "AccountInformationV3Response",
    ("GET", "/fapi/v2/balance"): "FuturesAccountBalanceV2ResponseInner",
    ("GET", "/fapi/v3/balance"): "FuturesAccountBalanceV2ResponseInner",
    ("GET", "/fapi/v2/positionRisk"): "PositionInformationV2ResponseInner",
    ("GET", "/fapi/v3/positionRisk"): "PositionInformationV3ResponseInner",
    ("GET", V1 + "accountConfig"): "FuturesAccountConfigurationResponse",
    ("GET", V1 + "symbolConfig"): "SymbolConfigurationResponseInner",
    ("GET", V1 + "leverageBracket"): "NotionalAndLeverageBracketsResponse2",
    ("GET", V1 + "commissionRate"): "UserCommissionRateResponse",
    ("GET", V1 + "income"): "GetIncomeHistoryResponseInner",
    ("GET", V1 + "rateLimit/order"): "QueryUserRateLimitResponseInner",
    ("GET", V1 + "multiAssetsMargin"): "GetCurrentMultiAssetsModeResponse",
    ("GET", V1 + "feeBurn"): "GetBnbBurnStatusResponse",
    ("GET", V1 + "adlQuantile"): "PositionAdlQuantileEstimationResponseInner",
    ("GET", V1 + "positionSide/dual"): "GetCurrentPositionModeResponse",
    ("POST", V1 + "positionSide/dual"): "ChangePositionModeResponse",
    ("POST", V1 + "leverage"): "ChangeInitialLeverageResponse",
    ("POST", V1 + "marginType"): "ChangeMarginTypeResponse",
    ("POST", V1 + "positionMargin"): "ModifyIsolatedPositionMarginResponse",
    ("GET", V1 + "positionMargin/history"): "GetPositionMarginChangeHistoryResponseInner",
    ("GET", V1 + "orderAmendment"): "GetOrderModifyHistoryResponseInner",
    ("POST", V1 + "listenKey"): "StartUserDataStreamResponse",
    ("PUT", V1 + "listenKey"): "KeepaliveUserDataStreamResponse",
    ("POST", V1 + "order"): "NewOrderResponse",
    ("POST", V1 + "order/test"): "TestOrderResponse",
    ("PUT", V1 + "order"): "ModifyOrderResponse",
    ("GET", V1 + "order"): "QueryOrderResponse",
    ("DELETE", V1 + "order"): "CancelOrderResponse",
    ("GET", V1 + "openOrder"): "QueryCurrentOpenOrderResponse",
    ("GET", V1 + "openOrders"): "CurrentAllOpenOrdersResponseInner",
    ("GET", V1 + "allOrders"): "AllOrdersResponseInner",
    ("DELETE", V1 + "allOpenOrders"): "CancelAllOpenOrdersResponse",
    ("GET", V1 + "userTrades"): "AccountTradeListResponseInner",
    ("GET", V1 + "forceOrders"): "UsersForceOrdersResponseInner",
    ("POST", V1 + "countdownCancelAll"): "AutoCancelAllOpenOrdersResponse",
    ("POST", V1 + "batchOrders"): "PlaceMultipleOrdersResponseInner",
    ("PUT", V1 + "batchOrders"): "ModifyMultipleOrdersResponseInner",
    ("DELETE", V1 + "batchOrders"): "CancelMultipleOrdersResponseInner",
    ("POST", V1 + "algoOrder"): "NewAlgoOrderResponse",
    ("GET", V1 + "algoOrder"): "QueryAlgoOrderResponse",
    ("DELETE", V1 + "algoOrder"): "CancelAlgoOrderResponse",
    ("DELETE", V1 + "algoOpenOrders"): "CancelAllAlgoOpenOrdersResponse",
    ("GET", V1 + "openAlgoOrders"): "CurrentAllAlgoOpenOrdersResponseInner",
    ("GET", V1 + "allAlgoOrders"): "QueryAllAlgoOrdersResponseInner",
}
STREAM_MODELS = {
    "btcusdt@markPrice": "MarkPriceStreamResponse",
    "!markPrice@arr": "MarkPriceStreamForAllMarketResponseInner",
    "btcusdt@miniTicker": "IndividualSymbolMiniTickerStreamResponse",
    "!miniTicker@arr": "AllMarketMiniTickersStreamResponseInner",
    "btcusdt@ticker": "IndividualSymbolTickerStreamsResponse",
    "!ticker@arr": "AllMarketTickersStreamsResponseInner",
    "btcusdt@bookTicker": "IndividualSymbolBookTickerStreamsResponse",
    "!bookTicker": "AllBookTickersStreamResponse",
    "btcusdt@kline_1m": "KlineCandlestickStreamsResponse",
    "btcusdt_perpetual@continuousKline_5m": "ContinuousContractKlineCandlestickStreamsResponse",
    "btcusdt@aggTrade": "AggregateTradeStreamsResponse",
    "btcusdt@depth": "DiffBookDepthStreamsResponse",
    "btcusdt@depth5": "PartialBookDepthStreamsResponse",
    "!forceOrder@arr": "AllMarketLiquidationOrderStreamsResponse",
}
EVENT_MODELS = {
    "ORDER_TRADE_UPDATE": "OrderTradeUpdate", "TRADE_LITE": "TradeLite", "ALGO_UPDATE": "AlgoUpdate", "ACCOUNT_UPDATE": "AccountUpdate",
    "ACCOUNT_CONFIG_UPDATE": "AccountConfigUpdate", "listenKeyExpired": "ListenKeyExpired",
    "MARGIN_CALL": "MarginCall",
}  # fmt: skip
# Names of the models that belong to coin-margined contracts, to an old trailing order of the regular book, or to other answers of a list.
FOREIGN = {"baseQty", "marginAsset", "pair", "cumBase", "activatePrice", "priceRate", "code", "msg", "HEDGE", "additional_properties"}


def letters(annotation: Any) -> tuple[str, Any]:
    """What a model's annotation allows as a letter of the shapes, or the model that is nested in it."""
    for part in typing.get_args(annotation) or (annotation,):
        origin = typing.get_origin(part)
        if hasattr(part, "model_fields"):
            return "", part
        if origin is list:
            return "list", typing.get_args(part)[0]
        base = typing.get_args(part)[0] if origin is typing.Annotated else part
        if base in (str, int, bool, float):
            return {"str": "s", "int": "i", "bool": "b", "float": "n"}[base.__name__], None
        if origin is typing.Union:
            return letters(part)
    raise AssertionError(annotation)


def differences(model: Any, shape: Any, at: str) -> Iterator[str]:
    """Where a model knows a name or a type that the shape does not."""
    if isinstance(shape, list):
        shape = shape[0]
    names = {name.removesuffix("?"): kind for name, kind in shape.items()}
    for name, field in model.model_fields.items():
        name = field.alias or name
        if name not in names:
            if name not in FOREIGN:
                yield f"{at}.{name}: not in our shape"
            continue
        letter, inner = letters(field.annotation)
        ours = names[name]
        if hasattr(inner, "model_fields"):
            yield from differences(inner, ours, f"{at}.{name}")
        elif letter != "list" and ours != letter and (ours, letter) not in (("z", "s"), ("n", "i")):
            yield f"{at}.{name}: {ours} here, {letter} there"


@pytest.mark.parametrize("route", MODELS, ids=" ".join)
def test_our_shape_has_what_the_model_has(route: tuple[str, str]) -> None:
    assert list(differences(getattr(rest_models, MODELS[route]), shapes.ANSWERS[route], route[1])) == []


@pytest.mark.parametrize("name", [*STREAM_MODELS, *EVENT_MODELS])
def test_our_event_has_what_the_model_has(name: str) -> None:
    found, shape = {**STREAM_MODELS, **EVENT_MODELS}[name], {**shapes.STREAMS, **shapes.EVENTS}[name]
    assert list(differences(getattr(stream_models, found), shape, name)) == []


def client(it: Rig, key: str = KEY) -> Any:
    made = common.ConfigurationRestAPI(api_key=key, api_secret=SECRET, base_path=it.base, timeout=5_000, retries=0)
    return rest.DerivativesTradingUsdsFuturesRestAPI(made)


def calls(sdk: Any) -> list[tuple[str, dict[str, Any]]]:
    """A session in the order in which it makes sense, each method once or oftener."""
    one = {"symbol": "BTCUSDT"}
    limit = one | {"side": "BUY", "type": "LIMIT", "time_in_force": "GTC", "quantity": 0.01, "price": 95_000.0}
    stop = one | {
        "algo_type": "CONDITIONAL",
        "side": "SELL",
        "type": "STOP_MARKET",
        "trigger_price": 95_900.0,
        "working_type": "MARK_PRICE",
    }
    wire_limit = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "94000"}
    batch = [wire_limit | {"newClientOrderId": f"b{number}"} for number in range(2)] + [wire_limit | {"price": "94000.05"}]
    bars = {"interval": "1m", "limit": 5}
    return [
        ("test_connectivity", {}), ("check_server_time", {}), ("exchange_information", {}), ("order_book", one | {"limit": 5}),
        ("recent_trades_list", one), ("old_trades_lookup", one), ("compressed_aggregate_trades_list", one),
        ("kline_candlestick_data", one | bars), ("mark_price_kline_candlestick_data", one | bars),
        ("index_price_kline_candlestick_data", {"pair": "BTCUSDT"} | bars),
        ("continuous_contract_kline_candlestick_data", {"pair": "BTCUSDT", "contract_type": "PERPETUAL"} | bars),
        *((name, params) for params in ({}, one) for name in (
            "mark_price", "ticker24hr_price_change_statistics", "symbol_price_ticker", "symbol_price_ticker_v2",
            "symbol_order_book_ticker", "notional_and_leverage_brackets",
        )),
        ("get_funding_rate_history", {}), ("get_funding_rate_info", {}),
        ("change_margin_type", one | {"margin_type": "ISOLATED"}), ("change_initial_leverage", one | {"leverage": 10}),
        ("test_order", limit), ("new_order", one | {"side": "BUY", "type": "MARKET", "quantity": 0.01, "new_order_resp_type": "RESULT"}),
        ("new_order", limit | {"new_client_order_id": "rests"}), ("query_order", one | {"orig_client_order_id": "rests"}),
        ("query_current_open_order", one | {"orig_client_order_id": "rests"}), ("current_all_open_orders", {}),
        ("modify_order", one | {"orig_client_order_id": "rests", "side": "BUY", "quantity": 0.02, "price": 94_000.0, "modify_id": 7}),
        ("place_multiple_orders", {"batch_orders": batch}),
        ("modify_multiple_orders", {"batch_orders": [
            {"symbol": "BTCUSDT", "side": "BUY", "origClientOrderId": "b0", "quantity": "0.02", "price": "93000"}]}),
        ("cancel_multiple_orders", one | {"orig_client_order_id_list": ["b0", "b1", "none"]}),
        ("cancel_order", one | {"orig_client_order_id": "rests"}), ("all_orders", one),
        ("new_algo_order", stop | {"close_position": "true", "client_algo_id": "floor"}),
        ("new_algo_order", stop | {"quantity": 0.01, "reduce_only": "true", "client_algo_id": "work"}),
        ("new_algo_order", one | {
            "algo_type": "CONDITIONAL", "side": "SELL", "type": "TRAILING_STOP_MARKET", "quantity": 0.01, "callback_rate": 1.5,
            "activate_price": 97_000.0, "reduce_only": "true"}),
        ("query_algo_order", {"client_algo_id": "floor"}), ("current_all_algo_open_orders", {}),
        ("cancel_algo_order", {"client_algo_id": "work"}), ("query_all_algo_orders", one), ("account_trade_list", one),
        ("modify_isolated_position_margin", one | {"amount": 10.0, "type": 1}), ("get_position_margin_change_history", one),
        ("get_order_modify_history", one), ("futures_trading_quantitative_rules_indicators", {}),
        *((name, {}) for name in (
            "account_information_v2", "account_information_v3", "futures_account_balance_v2", "futures_account_balance_v3",
            "position_information_v2", "position_information_v3", "futures_account_configuration", "symbol_configuration",
            "get_income_history", "query_user_rate_limit", "get_current_multi_assets_mode", "get_bnb_burn_status",
            "position_adl_quantile_estimation", "get_current_position_mode", "users_force_orders", "start_user_data_stream",
            "keepalive_user_data_stream",
        )),
        ("user_commission_rate", one), ("auto_cancel_all_open_orders", one | {"countdown_time": 60_000}),
        ("cancel_all_algo_open_orders", one), ("cancel_all_open_orders", one), ("close_user_data_stream", {}),
    ]  # fmt: skip


async def test_the_sdk_parses_every_answer_strictly(caplog: pytest.LogCaptureFixture) -> None:
    async with rig() as it:
        it.exchange.set_funding("BTCUSDT", E8(ONE // 10_000), it.at_ms + 500)
        it.tick("BTCUSDT", "96000")
        sdk = client(it)
        with caplog.at_level(logging.WARNING):  # the SDK warns of an answer that its models do not take, and goes on
            for name, params in calls(sdk):
                answer = await to_thread(getattr(sdk, name), **params)
                data = answer.data()
                assert data is None or not isinstance(data, dict) or name.endswith("user_data_stream") or name.startswith("test"), name
        assert caplog.messages == []
        assert {record.path for record in it.server.requests} >= {path for _, path in MODELS if "positionSide" not in path}
        assert [record.path for record in it.server.requests if record.code] == []


async def test_the_sdk_knows_our_refusals() -> None:
    errors = pytest.importorskip("binance_common.errors")
    async with rig(weight_limit=100) as it:
        sdk = client(it)
        with pytest.raises(errors.BadRequestError) as caught:
            await to_thread(sdk.query_order, symbol="BTCUSDT", order_id=1)
        assert (caught.value.status_code, caught.value.error_message) == (-2013, "Order does not exist.")
        answer = await to_thread(sdk.position_information_v3)
        (limit,) = answer.rate_limits
        assert (limit.rateLimitType, limit.interval, limit.intervalNum) == ("REQUEST_WEIGHT", "MINUTE", 1)
        assert limit.count in (5, 6)  # a minute may end between the two calls
        with pytest.raises(errors.UnauthorizedError):
            await to_thread(client(it, "x" * 64).position_information_v3)
        with pytest.raises((errors.TooManyRequestsError, errors.RateLimitBanError)):
            for _ in range(8):  # more than two minutes' worth: one may end meanwhile
                await to_thread(sdk.current_all_open_orders)


async def test_the_sdk_streams() -> None:
    async with rig(stream_rules=StreamRules(ping_s=0.2)) as it:
        made = common.ConfigurationWebSocketStreams(stream_url=it.base.replace("http", "ws"), reconnect_delay=100)
        sdk = streams.DerivativesTradingUsdsFuturesWebSocketStreams(made)
        await sdk.create_connection()
        seen: dict[str, list[Any]] = {}
        subscribed = {
            "mark_price_stream": {"symbol": "btcusdt", "update_speed": "1s"},
            "diff_book_depth_streams": {"symbol": "btcusdt", "update_speed": "100ms"},
            "all_market_tickers_streams": {},
        }  # fmt: skip
        for name, params in subscribed.items():
            handle = await getattr(sdk, name)(**params)
            handle.on("message", lambda row, name=name: seen.setdefault(name, []).append(row))
        _, key = await it.call("POST", "/fapi/v1/listenKey", sign=False)
        (await sdk.user_data(key["listenKey"])).on("message", lambda row: seen.setdefault("user", []).append(row))
        try:
            for _ in range(100):
                if len(it.server.hub.sockets) == 3 and it.server.hub.has_user("main") and len(it.server.hub._streams) == len(subscribed):
                    break
                await asyncio.sleep(0.02)
            await it.call("POST", "/fapi/v1/order", {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"})
            for price in ("96010", "96020.5"):
                it.tick("BTCUSDT", price)
            await asyncio.sleep(0.4)
            assert {name: len(rows) for name, rows in seen.items()} == dict.fromkeys(subscribed, 2) | {"user": 4}
            kinds = [type(getattr(row, "actual_instance", row)).__name__ for row in seen["user"]]
            assert sorted(kinds) == ["AccountUpdate", "OrderTradeUpdate", "OrderTradeUpdate", "TradeLite"]
            assert seen["diff_book_depth_streams"][1].pu == seen["diff_book_depth_streams"][0].u
        finally:
            await sdk.close_connection(close_session=True)
