"""The documented answers and events of Binance USD-M futures as data: every name and its JSON type.

Facts of developers.binance.com (read 2026-10) and of the models of its Python SDK 18.1; ``test_server_sdk.py`` holds both together.
``s`` text, ``i`` whole number, ``b`` flag, ``n`` number, ``z`` text or null; a name that ends with ``?`` comes in some cases only.
"""

from typing import Any

Shape = Any
"""A letter, a dict of names to shapes, a list with one shape for each element, or a tuple with one shape a place."""

_KINDS: dict[str, tuple[type, ...]] = {"s": (str,), "i": (int,), "b": (bool,), "n": (int, float), "z": (str, type(None))}


def of(text: str, **nested: Shape) -> dict[str, Shape]:
    """``name:kind`` pairs, and names whose shape is not a letter."""
    return {name: kind for name, _, kind in (pair.rpartition(":") for pair in text.split())} | nested


def wrong(value: Any, shape: Shape, at: str = "") -> list[str]:
    """Where a value is not of a shape: missing names, names too many, other types."""
    if isinstance(shape, str):
        return [] if type(value) in _KINDS[shape] else [f"{at}: {value!r} is no {shape}"]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{at}: {value!r} is no list"]
        return [each for number, row in enumerate(value) for each in wrong(row, shape[0], f"{at}[{number}]")]
    if isinstance(shape, tuple):
        if not isinstance(value, list) or len(value) != len(shape):
            return [f"{at}: {value!r} has not {len(shape)} places"]
        return [each for number, (row, kind) in enumerate(zip(value, shape, strict=True)) for each in wrong(row, kind, f"{at}[{number}]")]
    if not isinstance(value, dict):
        return [f"{at}: {value!r} is no object"]
    names = {name.removesuffix("?"): kind for name, kind in shape.items()}
    found = [f"{at}.{name}: not documented" for name in value if name not in names]
    found += [f"{at}.{name}: missing" for name in shape if not name.endswith("?") and name not in value]
    return found + [each for name, kind in names.items() if name in value for each in wrong(value[name], kind, f"{at}.{name}")]


_ORDER = of(
    "orderId:i symbol:s status:s clientOrderId:s price:s avgPrice:s origQty:s executedQty:s cumQuote:s timeInForce:s type:s reduceOnly:b "
    "closePosition:b side:s positionSide:s stopPrice:s workingType:s priceProtect:b origType:s priceMatch:s selfTradePreventionMode:s "
    "goodTillDate:i updateTime:i"
)
# avgPrice and cumQuote left the documents of these three in 2026-07; whether they left the answers too is not known.
PLACED = _ORDER | of("cumQty:s")
AMENDED = PLACED | of("pair:s modifyId?:i")
CANCELLED = PLACED
QUERIED = _ORDER | of("time:i")
REFUSED = of("code:i msg:s")
SUCCESS = of("code:i msg:s")
_ALGO = of(
    "algoId:i clientAlgoId:s algoType:s orderType:s symbol:s side:s positionSide:s timeInForce:s quantity:s algoStatus:s triggerPrice:s "
    "price:s icebergQuantity:z selfTradePreventionMode:s workingType:s priceMatch:s closePosition:b priceProtect:b reduceOnly:b "
    "activatePrice:s callbackRate:s createTime:i updateTime:i triggerTime:i goodTillDate:i"
)
ALGO_QUERIED = _ALGO | of(
    "actualOrderId:s actualPrice:s actualType:s actualQty:s tpTriggerPrice:s tpPrice:s slTriggerPrice:s slPrice:s tpOrderType:s"
)
_RISK = of(
    "symbol:s positionSide:s positionAmt:s entryPrice:s breakEvenPrice:s markPrice:s unRealizedProfit:s liquidationPrice:s "
    "isolatedMargin:s notional:s isolatedWallet:s updateTime:i"
)
_RISK_V3 = _RISK | of(
    "marginAsset:s initialMargin:s maintMargin:s positionInitialMargin:s openOrderInitialMargin:s adl:i bidNotional:s askNotional:s"
)
_RISK_V2 = _RISK | of("leverage:s marginType:s maxNotionalValue:s isAutoAddMargin:s")
_TOTALS = of(
    "totalInitialMargin:s totalMaintMargin:s totalWalletBalance:s totalUnrealizedProfit:s totalMarginBalance:s "
    "totalPositionInitialMargin:s totalOpenOrderInitialMargin:s totalCrossWalletBalance:s totalCrossUnPnl:s availableBalance:s "
    "maxWithdrawAmount:s"
)
_ASSET = of(
    "asset:s walletBalance:s unrealizedProfit:s marginBalance:s maintMargin:s initialMargin:s positionInitialMargin:s "
    "openOrderInitialMargin:s crossWalletBalance:s crossUnPnl:s availableBalance:s maxWithdrawAmount:s marginAvailable:b updateTime:i"
)
_SLOT_V3 = of(
    "symbol:s positionSide:s positionAmt:s unrealizedProfit:s isolatedMargin:s notional:s isolatedWallet:s initialMargin:s maintMargin:s "
    "updateTime:i"
)
_SLOT_V2 = of(
    "symbol:s initialMargin:s maintMargin:s unrealizedProfit:s positionInitialMargin:s openOrderInitialMargin:s leverage:s isolated:b "
    "entryPrice:s breakEvenPrice:s maxNotional:s bidNotional:s askNotional:s positionSide:s positionAmt:s notional:s isolatedWallet:s "
    "updateTime:i"
)
_BALANCE = of(
    "accountAlias:s asset:s balance:s crossWalletBalance:s crossUnPnl:s availableBalance:s maxWithdrawAmount:s marginAvailable:b "
    "updateTime:i"
)
_CONFIG = of("feeTier:i canTrade:b canDeposit:b canWithdraw:b updateTime:i multiAssetsMargin:b tradeGroupId:i")
_TRADE = of(
    "symbol:s id:i orderId:i side:s price:s qty:s realizedPnl:s quoteQty:s commission:s commissionAsset:s time:i positionSide:s "
    "maker:b buyer:b"
)
_LIMIT = of("rateLimitType:s interval:s intervalNum:i limit:i")
_FILTER = of(
    "filterType:s minPrice?:s maxPrice?:s tickSize?:s minQty?:s maxQty?:s stepSize?:s limit?:i notional?:s multiplierUp?:s "
    "multiplierDown?:s multiplierDecimal?:s"
)
_SYMBOL = of(
    "symbol:s pair:s contractType:s deliveryDate:i onboardDate:i status:s maintMarginPercent:s requiredMarginPercent:s baseAsset:s "
    "quoteAsset:s marginAsset:s pricePrecision:i quantityPrecision:i baseAssetPrecision:i quotePrecision:i underlyingType:s settlePlan:i "
    "triggerProtect:s liquidationFee:s marketTakeBound:s maxMoveOrderLimit:i",
    filters=[_FILTER], orderTypes=["s"], timeInForce=["s"], underlyingSubType=["s"],
)  # fmt: skip
_BRACKETS = of(
    "symbol:s notionalCoef:n",
    brackets=[of("bracket:i initialLeverage:i notionalCap:i notionalFloor:i maintMarginRatio:n cum:n")],
)
_KLINE = ("i", "s", "s", "s", "s", "s", "i", "s", "i", "s", "s", "s")
_PREMIUM = of(
    "symbol:s markPrice:s indexPrice:s estimatedSettlePrice:s lastFundingRate:s interestRate:s nextFundingTime:i time:i"
)  # fmt: skip
_DAY = of(
    "symbol:s priceChange:s priceChangePercent:s weightedAvgPrice:s lastPrice:s lastQty:s openPrice:s highPrice:s lowPrice:s volume:s "
    "quoteVolume:s openTime:i closeTime:i firstId:i lastId:i count:i"
)
_PRICE = of("symbol:s price:s time:i")
_BEST = of("symbol:s bidPrice:s bidQty:s askPrice:s askQty:s time:i lastUpdateId:i")
_PRINT = of("id:i price:s qty:s quoteQty:s time:i isBuyerMaker:b isRPITrade:b")
_KEY = of("listenKey:s")
_RIGHTS = of(
    "enableReading:b enableFutures:b enableWithdrawals:b permitsUniversalTransfer:b enableInternalTransfer:b ipRestrict:b enableMargin:b "
    "enableSpotAndMarginTrading:b enableVanillaOptions:b enablePortfolioMarginTrading:b createTime:i"
)

ANSWERS: dict[tuple[str, str], Shape] = {
    ("GET", "/fapi/v1/ping"): {},
    ("GET", "/fapi/v1/time"): of("serverTime:i"),
    ("GET", "/fapi/v1/exchangeInfo"): of(
        "timezone:s serverTime:i futuresType:s",
        rateLimits=[_LIMIT], exchangeFilters=["s"], assets=[of("asset:s marginAvailable:b autoAssetExchange:s")], symbols=[_SYMBOL],
    ),
    ("GET", "/fapi/v1/klines"): [_KLINE],
    ("GET", "/fapi/v1/markPriceKlines"): [_KLINE],
    ("GET", "/fapi/v1/indexPriceKlines"): [_KLINE],
    ("GET", "/fapi/v1/continuousKlines"): [_KLINE],
    ("GET", "/fapi/v1/trades"): [_PRINT],
    ("GET", "/fapi/v1/historicalTrades"): [_PRINT],
    ("GET", "/fapi/v1/aggTrades"): [of("a:i p:s q:s nq:s f:i l:i T:i m:b")],
    ("GET", "/fapi/v1/depth"): of("lastUpdateId:i E:i T:i", bids=[("s", "s")], asks=[("s", "s")]),
    ("GET", "/fapi/v1/ticker/24hr"): [_DAY],
    ("GET", "/fapi/v1/ticker/price"): [_PRICE],
    ("GET", "/fapi/v2/ticker/price"): [_PRICE],
    ("GET", "/fapi/v1/ticker/bookTicker"): [_BEST],
    ("GET", "/fapi/v1/premiumIndex"): [_PREMIUM],
    ("GET", "/fapi/v1/fundingRate"): [of("symbol:s fundingRate:s fundingTime:i markPrice:s rateType:s")],
    ("GET", "/fapi/v1/fundingInfo"): [
        of("symbol:s adjustedFundingRateCap:s adjustedFundingRateFloor:s fundingIntervalHours:i disclaimer:b updateTime:i")
    ],
    ("GET", "/fapi/v2/account"): _CONFIG | _TOTALS | of("feeBurn:b", assets=[_ASSET], positions=[_SLOT_V2]),
    ("GET", "/fapi/v3/account"): _TOTALS | {"assets": [_ASSET], "positions": [_SLOT_V3]},
    ("GET", "/fapi/v2/balance"): [_BALANCE],
    ("GET", "/fapi/v3/balance"): [_BALANCE],
    ("GET", "/fapi/v2/positionRisk"): [_RISK_V2],
    ("GET", "/fapi/v3/positionRisk"): [_RISK_V3],
    ("GET", "/sapi/v1/account/apiRestrictions"): _RIGHTS,
    ("GET", "/fapi/v1/accountConfig"): _CONFIG | of("dualSidePosition:b"),
    ("GET", "/fapi/v1/symbolConfig"): [of("symbol:s marginType:s isAutoAddMargin:b leverage:i maxNotionalValue:s")],
    ("GET", "/fapi/v1/leverageBracket"): [_BRACKETS],
    ("GET", "/fapi/v1/commissionRate"): of("symbol:s makerCommissionRate:s takerCommissionRate:s rpiCommissionRate:s"),
    ("GET", "/fapi/v1/income"): [of("symbol:s incomeType:s income:s asset:s info:s time:i tranId:i tradeId:s")],
    ("GET", "/fapi/v1/rateLimit/order"): [_LIMIT],
    ("GET", "/fapi/v1/multiAssetsMargin"): of("multiAssetsMargin:b"),
    ("POST", "/fapi/v1/multiAssetsMargin"): REFUSED,
    ("GET", "/fapi/v1/feeBurn"): of("feeBurn:b"),
    ("GET", "/fapi/v1/adlQuantile"): [of("symbol:s", adlQuantile=of("LONG?:i SHORT?:i BOTH?:i"))],
    ("GET", "/fapi/v1/positionSide/dual"): of("dualSidePosition:b"),
    ("POST", "/fapi/v1/positionSide/dual"): SUCCESS,
    ("POST", "/fapi/v1/leverage"): of("leverage:i maxNotionalValue:s symbol:s"),
    ("POST", "/fapi/v1/marginType"): SUCCESS,
    ("POST", "/fapi/v1/positionMargin"): of("amount:n code:i msg:s type:i"),
    ("GET", "/fapi/v1/positionMargin/history"): [of("symbol:s type:i deltaType:s amount:s asset:s time:i positionSide:s")],
    ("GET", "/fapi/v1/apiTradingStatus"): of("updateTime:i", indicators={}),
    ("GET", "/fapi/v1/orderAmendment"): [
        of(
            "amendmentId:i symbol:s pair:s orderId:i clientOrderId:s time:i",
            amendment=of("count:i modifyId?:i", price=of("before:s after:s"), origQty=of("before:s after:s")),
        )
    ],
    ("POST", "/fapi/v1/listenKey"): _KEY,
    ("PUT", "/fapi/v1/listenKey"): _KEY,
    ("DELETE", "/fapi/v1/listenKey"): {},
    ("POST", "/fapi/v1/order"): PLACED,
    ("POST", "/fapi/v1/order/test"): PLACED,
    ("PUT", "/fapi/v1/order"): AMENDED,
    ("GET", "/fapi/v1/order"): QUERIED,
    ("DELETE", "/fapi/v1/order"): CANCELLED,
    ("GET", "/fapi/v1/openOrder"): QUERIED,
    ("GET", "/fapi/v1/openOrders"): [QUERIED],
    ("GET", "/fapi/v1/allOrders"): [QUERIED],
    ("DELETE", "/fapi/v1/allOpenOrders"): SUCCESS,
    ("GET", "/fapi/v1/userTrades"): [_TRADE],
    ("GET", "/fapi/v1/forceOrders"): [QUERIED],
    ("POST", "/fapi/v1/countdownCancelAll"): of("symbol:s countdownTime:s"),
    ("POST", "/fapi/v1/batchOrders"): [PLACED],
    ("PUT", "/fapi/v1/batchOrders"): [AMENDED],
    ("DELETE", "/fapi/v1/batchOrders"): [CANCELLED],
    ("POST", "/fapi/v1/algoOrder"): _ALGO,
    ("GET", "/fapi/v1/algoOrder"): ALGO_QUERIED,
    ("DELETE", "/fapi/v1/algoOrder"): of("algoId:i clientAlgoId:s code:s msg:s"),
    ("DELETE", "/fapi/v1/algoOpenOrders"): SUCCESS,
    ("GET", "/fapi/v1/openAlgoOrders"): [ALGO_QUERIED],
    ("GET", "/fapi/v1/allAlgoOrders"): [ALGO_QUERIED],
}  # fmt: skip
ONE_OF_MANY = (
    "/fapi/v1/ticker/24hr", "/fapi/v1/ticker/price", "/fapi/v2/ticker/price", "/fapi/v1/ticker/bookTicker", "/fapi/v1/premiumIndex",
    "/fapi/v1/leverageBracket",
)  # fmt: skip
"""With a symbol these answer one object instead of a list."""

_MINI = of("e:s E:i s:s c:s o:s h:s l:s v:s q:s ps:s st:i")
_TICKER = _MINI | of("p:s P:s w:s Q:s O:i C:i F:i L:i n:i")
_MARK = of("e:s E:i s:s p:s ap:s i:s P:s r:s T:i st:i")
_BOOK = of("e:s u:i E:i T:i s:s b:s B:s a:s A:s ps:s st:i")
_DEPTH = of("e:s E:i T:i s:s U:i u:i pu:i ps:s st:i", b=[("s", "s")], a=[("s", "s")])
_BAR = of("t:i T:i i:s f:i L:i o:s c:s h:s l:s v:s n:i x:b q:s V:s Q:s B:s")
_FORCED = of("e:s E:i ps:s st:i", o=of("s:s S:s o:s f:s q:s p:s ap:s X:s l:s z:s T:i"))

STREAMS: dict[str, Shape] = {
    "btcusdt@markPrice": _MARK,
    "btcusdt@markPrice@1s": _MARK,
    "!markPrice@arr": [_MARK],
    "!markPrice@arr@1s": [_MARK],
    "btcusdt@miniTicker": _MINI,
    "!miniTicker@arr": [_MINI],
    "btcusdt@ticker": _TICKER,
    "!ticker@arr": [_TICKER],
    "btcusdt@bookTicker": _BOOK,
    "!bookTicker": _BOOK,
    "btcusdt@kline_1m": of("e:s E:i s:s", k=_BAR | of("s:s")),
    "btcusdt@kline_1h": of("e:s E:i s:s", k=_BAR | of("s:s")),
    "btcusdt@markPriceKline_1m": of("e:s E:i s:s", k=_BAR | of("s:s")),
    "btcusdt_perpetual@continuousKline_5m": of("e:s E:i ps:s ct:s", k=_BAR),
    "btcusdt@trade": of("e:s E:i T:i s:s t:i p:s q:s X:s m:b"),
    "btcusdt@aggTrade": of("e:s E:i s:s a:i p:s q:s nq:s f:i l:i T:i m:b st:i"),
    "btcusdt@depth": _DEPTH,
    "btcusdt@depth@100ms": _DEPTH,
    "btcusdt@depth5": _DEPTH,
    "btcusdt@depth10@500ms": _DEPTH,
    "btcusdt@depth20@100ms": _DEPTH,
    "btcusdt@forceOrder": _FORCED,
    "!forceOrder@arr": _FORCED,
}
NAMES = {
    "markPriceUpdate": "markPrice", "24hrMiniTicker": "miniTicker", "24hrTicker": "ticker", "bookTicker": "bookTicker", "kline": "kline",
    "markPrice_kline": "markPriceKline", "continuous_kline": "continuousKline", "trade": "trade", "aggTrade": "aggTrade",
    "depthUpdate": "depth", "forceOrder": "forceOrder",
}  # fmt: skip
"""Event names, and what the streams that carry them are called."""

EVENTS: dict[str, Shape] = {
    "ORDER_TRADE_UPDATE": of(
        "e:s E:i T:i",
        o=of(
            "s:s c:s S:s o:s f:s q:s p:s ap:s sp:s x:s X:s i:i M?:s l:s z:s L:s N?:s n?:s T:i t:i b:s a:s m:b R:b wt:s ot:s ps:s cp:b "
            "AP?:s cr?:s pP:b si:i ss:i rp:s V:s pm:s gtd:i er:s"
        ),
    ),
    "TRADE_LITE": of("e:s E:i T:i s:s q:s p:s m:b c:s S:s L:s l:s t:i i:i"),
    "ALGO_UPDATE": of(
        "e:s E:i T:i",
        o=of(
            "caid:s aid:i at:s o:s s:s S:s ps:s f:s q:s X:s ai:s ap?:s aq?:s act?:s tp:s p:s V:s wt:s pm:s cp:b pP:b R:b tt:i gtd:i rm:s "
            "ia?:b"
        ),
    ),
    "ACCOUNT_UPDATE": of(
        "e:s E:i T:i",
        a=of("m:s S?:s", B=[of("a:s wb:s cw:s bc:s")], P=[of("s:s pa:s ep:s bep:s cr:s up:s mt:s iw:s ps:s ma:s")]),
    ),
    "ACCOUNT_CONFIG_UPDATE": of("e:s E:i T:i", **{"ac?": of("s:s l:i"), "ai?": of("j:b")}),
    "MARGIN_CALL": of("e:s E:i cw?:s", p=[of("s:s ps:s pa:s mt:s iw:s mp:s up:s mm:s")]),
    "listenKeyExpired": of("e:s E:i listenKey:s"),
}  # fmt: skip
