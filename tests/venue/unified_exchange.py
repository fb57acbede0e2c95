"""An exchange besides Binance on loopback: the shapes that ccxt's source documents, filled with positions and orders of a test."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from qtkit.core.model import Order, OrderKind, PositionSide, Side, TriggerBy

from .unified_kit import WALLET

OWN = {"bybit": "BTCUSDT", "okx": "BTC-USDT-SWAP", "bitget": "BTCUSDT", "hyperliquid": "BTC", "krakenfutures": "PF_XBTUSD"}
MARK, LAST, ENTRY, LIQUIDATION = "91000.05", "90990.5", "90000.12", "80000.5"
STOPS = (OrderKind.STOP_MARKET, OrderKind.STOP)
READABLE = ("GET", "POST /info")  # what a reading may be


@dataclass(frozen=True, slots=True)
class Held:
    """A position of 0.02 BTC as it is told; ``slot`` BOTH is one-way mode."""

    side: Side
    slot: PositionSide = PositionSide.BOTH
    liquidation: str = LIQUIDATION
    size: str = "0.02"


def number(ticks: int | None) -> str:
    return "" if ticks is None else f"{ticks / 10:.1f}"


@dataclass(slots=True)
class Exchange:
    """Answers of one venue. ``spoil`` may change an answer before it leaves: (path or type, body) -> body."""

    venue: str
    held: list[Held] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    spoil: Callable[[str, Any], Any] = lambda name, body: body
    hedge: bool = False
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    port: int = 0
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> "Exchange":
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _answer(self, request: web.Request) -> web.Response:
        asked = dict(request.query) if request.method == "GET" else await request.json()
        self.requests.append((f"{request.method} {request.path}", asked))
        assert request.method == "GET" or f"{request.method} {request.path}" in READABLE, "a reader changed something"
        name = asked["type"] if self.venue == "hyperliquid" else request.path
        body = self.spoil(name, _ANSWERS[self.venue](self, name, asked))
        status = 200
        if isinstance(body, tuple):
            status, body = body
        return web.json_response(body, status=status)

    @property
    def conditional(self) -> list[Order]:
        return [order for order in self.orders if order.kind.conditional]

    @property
    def regular(self) -> list[Order]:
        return [order for order in self.orders if not order.kind.conditional]


# --- Bybit ---------------------------------------------------------------------------------------------------------


def _bybit_order(order: Order) -> dict[str, Any]:
    up = (order.side.value == "BUY") == (order.kind in STOPS)
    conditional = order.kind.conditional
    return {
        "symbol": OWN["bybit"], "orderType": "Limit" if order.price else "Market", "orderLinkId": order.client_id, "slLimitPrice": "0",
        "orderId": f"id-{order.client_id}", "cancelType": "UNKNOWN", "avgPrice": "", "stopOrderType": "Stop" if conditional else "",
        "lastPriceOnCreated": "91000", "orderStatus": "Untriggered" if conditional else "New", "takeProfit": "", "cumExecValue": "0",
        "tpslMode": "UNKNOWN", "triggerDirection": (1 if up else 2) if conditional else 0, "rejectReason": "EC_NoError",
        "price": number(order.price) or "0", "createdTime": "1757837618905",
        "positionIdx": {"BOTH": 0, "LONG": 1, "SHORT": 2}[order.position_side.value], "timeInForce": "IOC", "leavesQty": "0",
        "updatedTime": "1757837618909", "side": order.side.value.title(), "triggerPrice": number(order.trigger), "cumExecQty": "0",
        "closeOnTrigger": order.close_position, "reduceOnly": True, "qty": "0" if order.close_position else f"{order.lots / 1000:.3f}",
        "stopLoss": "", "triggerBy": ("MarkPrice" if order.trigger_by is TriggerBy.MARK else "LastPrice") if conditional else "",
    }  # fmt: skip


def _bybit_position(held: Held) -> dict[str, Any]:
    return {
        "symbol": OWN["bybit"], "leverage": "10", "avgPrice": ENTRY, "liqPrice": held.liquidation, "riskLimitValue": "200000",
        "takeProfit": "", "positionValue": "1800", "tpslMode": "Full", "riskId": 41, "trailingStop": "0", "unrealisedPnl": "1.83",
        "markPrice": MARK, "cumRealisedPnl": "0.48", "positionMM": "0.38", "createdTime": "1672121182216", "positionIM": "180",
        "positionIdx": {"BOTH": 0, "LONG": 1, "SHORT": 2}[held.slot.value], "updatedTime": "1672279322668",
        "side": "Buy" if held.side is Side.LONG else "Sell", "bustPrice": "", "size": held.size, "positionStatus": "Normal",
        "stopLoss": "", "tradeMode": 0,
    }  # fmt: skip


_BYBIT_MARKET = {
    "symbol": OWN["bybit"], "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": "BTC", "quoteCoin": "USDT",
    "launchTime": "1585526400000", "deliveryTime": "0", "deliveryFeeRate": "", "priceScale": "2", "settleCoin": "USDT",
    "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
    "priceFilter": {"minPrice": "0.10", "maxPrice": "999999.00", "tickSize": "0.10"},
    "lotSizeFilter": {"maxOrderQty": "1190.000", "minOrderQty": "0.001", "qtyStep": "0.001", "maxMktOrderQty": "120.000",
                      "minNotionalValue": "5"},
    "unifiedMarginTrade": True, "fundingInterval": 480,
}  # fmt: skip
BYBIT_KEY = {
    "id": "13770661", "note": "readonly", "readOnly": 1, "ips": ["*"], "type": 1, "unified": 0, "uta": 1,
    "permissions": {"ContractTrade": ["Order", "Position"], "Spot": [], "Wallet": ["AccountTransfer", "Withdraw"], "Derivatives": []},
}  # fmt: skip
BYBIT_INVERSE = _BYBIT_MARKET | {"symbol": "BTCUSD", "contractType": "InversePerpetual", "quoteCoin": "USD", "settleCoin": "BTC"}


def _bybit(exchange: Exchange, path: str, asked: dict[str, Any]) -> Any:
    def result(rows: list[dict[str, Any]], cursor: str = "") -> dict[str, Any]:
        found = {"category": asked.get("category", "linear"), "list": rows, "nextPageCursor": cursor}
        return {"retCode": 0, "retMsg": "OK", "result": found, "retExtInfo": {}, "time": now_ms()}

    linear = asked.get("category") == "linear"
    mine = asked.get("symbol") == OWN["bybit"] or asked.get("settleCoin") == "USDT"
    if path == "/v5/market/time":
        return result([]) | {"result": {"timeSecond": str(now_ms() // 1000), "timeNano": str(now_ms() * 10**6)}}
    if path == "/v5/user/query-api":
        return result([]) | {"result": exchange.rows["key"][0] if "key" in exchange.rows else BYBIT_KEY}
    if path == "/v5/account/info":
        return result([]) | {"result": {"unifiedMarginStatus": 6}}
    if path == "/v5/market/instruments-info":
        return result([] if asked.get("status") else [_BYBIT_MARKET if linear else BYBIT_INVERSE])
    if path == "/v5/position/list":
        rows = [_bybit_position(held) for held in exchange.held] if linear and mine else []
        rows += exchange.rows.get(f"positions {asked.get('category')} {asked.get('settleCoin', '')}".strip(), [])
        return result([] if asked.get("cursor") else rows, "0%3A1657711949945" if rows else "")
    if path == "/v5/order/realtime":
        stops = asked.get("orderFilter") == "StopOrder"
        rows = [_bybit_order(order) for order in exchange.orders if order.kind.conditional or not stops] if mine else []
        first = 50 * int(asked.get("cursor") or 0)
        return result(rows[first : first + 50], str(first // 50 + 1) if rows[first:] else "")
    if path == "/v5/market/tickers":
        return result([{"symbol": OWN["bybit"], "lastPrice": LAST, "markPrice": MARK, "indexPrice": "91001"}])
    assert path in ("/v5/market/mark-price-kline", "/v5/market/kline")
    return result([[*row, "1", "1"] for row in reversed(candles(int(asked["start"]), int(asked["limit"])))])


# --- OKX -----------------------------------------------------------------------------------------------------------


def _okx_order(order: Order) -> dict[str, Any]:
    slot = {"BOTH": "net", "LONG": "long", "SHORT": "short"}[order.position_side.value]
    common = {
        "cTime": "1649119897778", "uTime": "1649119897779", "ccy": "", "instId": OWN["okx"], "instType": "SWAP", "lever": "10",
        "posSide": slot, "side": order.side.value.lower(), "state": "live", "tag": "", "tdMode": "cross", "tgtCcy": "",
        "reduceOnly": "true", "sz": "" if order.close_position else f"{order.lots / 10:.2f}",
    }  # fmt: skip
    if not order.kind.conditional:
        return common | {"accFillSz": "0", "avgPx": "", "category": "normal", "clOrdId": order.client_id, "ordId": f"id-{order.client_id}",
                         "ordType": "limit", "px": number(order.price), "fee": "0", "feeCcy": "USDT", "algoId": "",
                         "algoClOrdId": ""}  # fmt: skip
    word = "sl" if order.kind in STOPS else "tp"
    own = {f"{word}TriggerPx": number(order.trigger), f"{word}OrdPx": "-1",
           f"{word}TriggerPxType": "mark" if order.trigger_by is TriggerBy.MARK else "last"}  # fmt: skip
    empty = {"slOrdPx": "", "slTriggerPx": "", "slTriggerPxType": "", "tpOrdPx": "", "tpTriggerPx": "", "tpTriggerPxType": "",
             "triggerPx": "", "triggerPxType": "", "moveTriggerPx": "", "callbackRatio": "", "activePx": "", "ordPx": ""}  # fmt: skip
    return common | empty | own | {
        "actualPx": "", "actualSide": "", "actualSz": "0", "algoId": f"id-{order.client_id}", "algoClOrdId": order.client_id, "clOrdId": "",
        "ctVal": "0.01", "last": "91000", "ordId": "", "ordType": "conditional", "triggerTime": "", "uly": "BTC-USDT",
        "closeFraction": "1" if order.close_position else "",
    }  # fmt: skip


def _okx_position(held: Held) -> dict[str, Any]:
    sign = "-" if held.slot is PositionSide.BOTH and held.side is Side.SHORT else ""
    return {
        "adl": "3", "availPos": "2", "avgPx": ENTRY, "cTime": "1627227626502", "ccy": "USDT", "imr": "170.66", "instId": OWN["okx"],
        "instType": "SWAP", "interest": "0", "last": LAST, "lever": "10", "liab": "", "liabCcy": "", "liqPx": held.liquidation,
        "markPx": MARK, "margin": "", "mgnMode": "cross", "mgnRatio": "140.49", "mmr": "1.36", "notionalUsd": "1820", "optVal": "",
        "pos": f"{sign}{float(held.size) * 100:g}", "posCcy": "", "posId": "339552508062380036", "tradeId": "98617799",
        "posSide": {"BOTH": "net", "LONG": "long", "SHORT": "short"}[held.slot.value], "uTime": "1627227626502", "upl": "0.01",
        "uplRatio": "0.00006",
    }  # fmt: skip


_OKX_MARKET = {
    "alias": "", "baseCcy": "", "category": "1", "ctMult": "1", "ctType": "linear", "ctVal": "0.01", "ctValCcy": "BTC", "expTime": "",
    "instId": OWN["okx"], "instType": "SWAP", "instFamily": "BTC-USDT", "lever": "100", "listTime": "1606468572000", "lotSz": "0.01",
    "minSz": "0.01", "maxLmtSz": "100000000", "maxMktSz": "12000", "optType": "", "quoteCcy": "", "settleCcy": "USDT", "state": "live",
    "stk": "", "tickSz": "0.1", "uly": "BTC-USDT",
}  # fmt: skip
OKX_INVERSE = _OKX_MARKET | {"instId": "BTC-USD-SWAP", "settleCcy": "BTC", "ctType": "inverse", "uly": "BTC-USD", "ctVal": "100"}


def _okx(exchange: Exchange, path: str, asked: dict[str, Any]) -> Any:
    def data(rows: list[Any]) -> dict[str, Any]:
        return {"code": "0", "msg": "", "data": rows}

    mine = asked.get("instType") == "SWAP" or asked.get("instId") == OWN["okx"]
    if path == "/api/v5/public/time":
        return data([{"ts": str(now_ms())}])
    if path == "/api/v5/public/instruments":
        return data([_OKX_MARKET, OKX_INVERSE] if mine else [])
    if path == "/api/v5/account/config":
        mode = "long_short_mode" if exchange.hedge else "net_mode"
        perm = exchange.rows["key"][0]["perm"] if "key" in exchange.rows else "read_only"
        return data([{"uid": "44705892343619584", "posMode": mode, "perm": perm, "ip": "", "acctLv": "2", "type": "0"}])
    if path == "/api/v5/account/positions":
        return data([*map(_okx_position, exchange.held), *exchange.rows.get("positions", [])] if mine else [])
    if path in ("/api/v5/trade/orders-pending", "/api/v5/trade/orders-algo-pending"):
        algo, kind = path.endswith("algo-pending"), asked.get("ordType")
        own = exchange.conditional if kind == "conditional" else [] if algo else exchange.regular
        rows = [_okx_order(order) for order in own] + exchange.rows.get(f"orders {kind}", [])
        ids = [row["algoId"] or row["ordId"] for row in rows]
        first = ids.index(asked["after"]) + 1 if "after" in asked else 0
        return data(rows[first : first + int(asked.get("limit", 100))] if mine else [])
    if path == "/api/v5/market/ticker":
        return data([{"instId": OWN["okx"], "instType": "SWAP", "last": LAST, "ts": str(now_ms()), "bidPx": "1", "askPx": "2"}])
    if path == "/api/v5/public/mark-price":
        return data([{"instId": OWN["okx"], "instType": "SWAP", "markPx": MARK, "ts": str(now_ms())}])
    assert path in ("/api/v5/market/mark-price-candles", "/api/v5/market/candles"), path
    return data([[*row, "1", "1", "1", "1"] for row in reversed(candles(int(asked["before"]) + 1, int(asked["limit"])))])


# --- Bitget --------------------------------------------------------------------------------------------------------


def _bitget_order(order: Order) -> dict[str, Any]:
    hedged = order.position_side is not PositionSide.BOTH
    side = order.side.value.lower()
    if hedged:  # the side of the position
        side = "buy" if order.position_side is PositionSide.LONG else "sell"
    row = {
        "symbol": OWN["bitget"], "size": "0" if order.close_position else f"{order.lots / 1000:.3f}", "orderId": f"id-{order.client_id}",
        "clientOid": order.client_id, "side": side, "posSide": order.position_side.value.lower() if hedged else "net",
        "tradeSide": "close" if hedged else "sell_single", "posMode": "hedge_mode" if hedged else "one_way_mode", "marginCoin": "USDT",
        "marginMode": "crossed", "enterPointSource": "API", "leverage": "20", "reduceOnly": "NO" if hedged else "YES",
        "cTime": "1700725524378", "uTime": "1700725524379",
    }  # fmt: skip
    if not order.kind.conditional:
        return row | {"baseVolume": "0", "fee": "0", "price": number(order.price), "priceAvg": "", "status": "live", "force": "gtc",
                      "totalProfits": "0", "quoteVolume": "0", "orderType": "limit", "orderSource": "normal",
                      "presetStopSurplusPrice": "", "presetStopLossPrice": ""}  # fmt: skip
    plan = "pos_loss" if order.close_position else "loss_plan" if order.kind in STOPS else "profit_plan"
    return row | {
        "planType": plan, "price": "0", "executePrice": "0", "callbackRatio": "", "triggerPrice": number(order.trigger),
        "triggerType": "mark_price" if order.trigger_by is TriggerBy.MARK else "fill_price", "planStatus": "live", "orderType": "market",
        "stopSurplusTriggerPrice": "", "stopLossTriggerPrice": "", "stopLossTriggerType": "fill_price",
    }  # fmt: skip


def _bitget_position(held: Held) -> dict[str, Any]:
    return {
        "marginCoin": "USDT", "symbol": OWN["bitget"], "holdSide": held.side.name.lower(), "openDelegateSize": "0", "marginSize": "3.73",
        "available": held.size, "locked": "0", "total": held.size, "leverage": "10", "achievedProfits": "0", "openPriceAvg": ENTRY,
        "marginMode": "isolated", "posMode": "hedge_mode" if held.slot is not PositionSide.BOTH else "one_way_mode",
        "unrealizedPL": "0.03", "liquidationPrice": held.liquidation, "keepMarginRate": "0.004", "markPrice": MARK,
        "marginRatio": "0.0295", "cTime": "1700807507275",
    }  # fmt: skip


_BITGET_MARKET = {
    "symbol": OWN["bitget"], "baseCoin": "BTC", "quoteCoin": "USDT", "buyLimitPriceRatio": "0.01", "sellLimitPriceRatio": "0.01",
    "feeRateUpRatio": "0.005", "makerFeeRate": "0.0002", "takerFeeRate": "0.0006", "openCostUpRatio": "0.01", "minTradeNum": "0.001",
    "supportMarginCoins": ["USDT"], "priceEndStep": "1", "volumePlace": "3", "pricePlace": "1", "sizeMultiplier": "0.001",
    "symbolType": "perpetual", "minTradeUSDT": "5", "maxSymbolOrderNum": "200", "maxProductOrderNum": "400", "maxPositionNum": "150",
    "symbolStatus": "normal", "offTime": "-1", "limitOpenTime": "-1", "deliveryTime": "", "deliveryStartTime": "", "launchTime": "",
    "fundInterval": "8", "minLever": "1", "maxLever": "125", "posLimit": "0.05", "maintainTime": "", "maxMarketOrderQty": "220",
    "maxOrderQty": "1200",
}  # fmt: skip


def _bitget(exchange: Exchange, path: str, asked: dict[str, Any]) -> Any:
    def data(rows: Any) -> dict[str, Any]:
        return {"code": "00000", "msg": "success", "requestTime": now_ms(), "data": rows}

    mine = asked.get("productType") == "USDT-FUTURES"
    if path == "/api/v2/public/time":
        return data({"serverTime": str(now_ms())})
    if path == "/api/v3/account/settings":
        return 400, {"code": "40085", "msg": "You are in Classic Account mode, and the Unified Account API is not supported", "data": None}
    if path == "/api/v2/mix/market/contracts":
        return data([_BITGET_MARKET] if mine else [])
    if path == "/api/v2/mix/position/all-position":
        return data([_bitget_position(held) for held in exchange.held] if mine else [])
    if path in ("/api/v2/mix/order/orders-pending", "/api/v2/mix/order/orders-plan-pending"):
        plan = asked.get("planType")
        own = exchange.regular if plan is None else exchange.conditional if plan == "profit_loss" else []
        rows = [_bitget_order(order) for order in own] + exchange.rows.get(f"orders {plan}", []) if mine else []
        ids = [row["orderId"] for row in rows]
        first = ids.index(asked["idLessThan"]) + 1 if "idLessThan" in asked else 0
        page = rows[first : first + int(asked.get("limit", 100))]
        return data({"entrustedList": page or None, "endId": page[-1]["orderId"] if page else None})
    if path == "/api/v2/mix/market/ticker":
        return data([{"symbol": OWN["bitget"], "lastPr": LAST, "markPrice": MARK, "ts": str(now_ms()), "bidPr": "1", "askPr": "2"}])
    assert path in ("/api/v2/mix/market/candles", "/api/v2/mix/market/history-mark-candles", "/api/v2/mix/market/history-candles"), path
    return data([[*row, "1", "1"] for row in candles(int(asked["startTime"]), int(asked["limit"]))])


# --- Hyperliquid ---------------------------------------------------------------------------------------------------


def _hyperliquid_order(order: Order) -> dict[str, Any]:
    word = {True: "Stop", False: "Take Profit"}[order.kind in STOPS]
    return {
        "children": [], "cloid": order.client_id, "coin": "BTC", "isPositionTpsl": order.close_position,
        "isTrigger": order.kind.conditional,
        "limitPx": number(order.price) or "80000.0", "oid": f"id-{order.client_id}", "reduceOnly": True, "timestamp": 1715523663687,
        "orderType": f"{word} Market" if order.kind.conditional else "Limit", "origSz": f"{order.lots / 1000:.3f}",
        "side": "A" if order.side.value == "SELL" else "B", "sz": f"{order.lots / 1000:.3f}", "tif": None,
        "triggerCondition": "Price below 88000", "triggerPx": number(order.trigger) or "0.0",
    }  # fmt: skip


def _hyperliquid_position(held: Held) -> dict[str, Any]:
    size = float(held.size) * held.side.sign
    own = {
        "coin": "BTC", "cumFunding": {"allTime": "0.0", "sinceChange": "0.0", "sinceOpen": "0.0"}, "entryPx": ENTRY,
        "leverage": {"rawUsd": "-475.23904", "type": "isolated", "value": 10}, "liquidationPx": held.liquidation or None,
        "marginUsed": "24.88097", "maxLeverage": 50, "positionValue": str(float(MARK) * abs(size)), "returnOnEquity": "0.0",
        "szi": f"{size:g}", "unrealizedPnl": "0.0",
    }  # fmt: skip
    return {"position": own, "type": "oneWay"}


def _hyperliquid(exchange: Exchange, kind: str, asked: dict[str, Any]) -> Any:
    if kind == "exchangeStatus":
        return {"specialStatuses": None, "time": now_ms()}
    if kind == "metaAndAssetCtxs":
        context = {"dayNtlVlm": "9450588.2273", "funding": "0.0000198", "impactPxs": ["1", "2"], "markPx": MARK, "midPx": LAST,
                   "openInterest": "10764.48", "oraclePx": "91001", "premium": "0.0005", "prevDayPx": "90000"}  # fmt: skip
        return [{"universe": [{"maxLeverage": 50, "name": "BTC", "onlyIsolated": False, "szDecimals": 3}]}, [context]]
    if kind == "candleSnapshot":
        rows = candles(int(asked["req"]["startTime"]), 5_000)
        return [{"t": int(t), "T": int(t) + 59_999, "s": "BTC", "i": "1m", "o": o, "h": h, "l": lo, "c": c, "v": "1", "n": 1}
                for t, o, h, lo, c in rows]  # fmt: skip
    assert asked["user"] == WALLET
    if kind == "clearinghouseState":
        summary = {"accountValue": "100.0", "totalMarginUsed": "0.0", "totalNtlPos": "0.0", "totalRawUsd": "100.0"}
        return {"assetPositions": [_hyperliquid_position(held) for held in exchange.held], "marginSummary": summary, "time": now_ms()}
    assert kind == "frontendOpenOrders"
    return [_hyperliquid_order(order) for order in exchange.orders] + exchange.rows.get("orders", [])


# --- Kraken --------------------------------------------------------------------------------------------------------


def _kraken_order(order: Order) -> dict[str, Any]:
    kind = "lmt" if not order.kind.conditional else "stop" if order.kind in STOPS else "take_profit"
    row = {
        "order_id": f"id-{order.client_id}", "cliOrdId": order.client_id, "symbol": OWN["krakenfutures"], "side": order.side.value.lower(),
        "orderType": kind, "unfilledSize": order.lots / 1000, "filledSize": 0, "receivedTime": "2019-09-05T17:01:17.410Z",
        "status": "untouched", "reduceOnly": True, "lastUpdateTime": "2019-09-05T17:01:17.410Z",
    }  # fmt: skip
    if order.price is not None:
        row["limitPrice"] = order.price / 10
    if order.trigger is not None:
        row |= {"stopPrice": order.trigger / 10, "triggerSignal": "mark" if order.trigger_by is TriggerBy.MARK else "last"}
    return row


def _kraken_position(held: Held) -> dict[str, Any]:
    return {
        "side": held.side.name.lower(), "symbol": OWN["krakenfutures"], "price": float(ENTRY), "fillTime": "2022-03-03T22:51:16.566Z",
        "size": float(held.size), "unrealizedFunding": -0.0018, "pnlCurrency": "USD", "maxFixedLeverage": 10.0,
    }  # fmt: skip


_KRAKEN_MARKET = {
    "symbol": OWN["krakenfutures"], "type": "flexible_futures", "tickSize": 0.1, "contractSize": 1, "tradeable": True,
    "contractValueTradePrecision": 3, "impactMidSize": 1, "maxPositionSize": 1000000, "openingDate": "2022-01-01T00:00:00.000Z",
    "marginLevels": [], "tags": [],
}  # fmt: skip
KRAKEN_INVERSE = _KRAKEN_MARKET | {"symbol": "PI_XBTUSD", "type": "futures_inverse", "contractValueTradePrecision": 0}


def _kraken(exchange: Exchange, path: str, asked: dict[str, Any]) -> Any:
    said = {"result": "success", "serverTime": "2022-03-03T22:51:16.566Z"}
    if path == "/derivatives/api/v3/instruments":
        return said | {"instruments": [_KRAKEN_MARKET, KRAKEN_INVERSE]}
    if path == "/derivatives/api/v3/openpositions":
        return said | {"openPositions": [*map(_kraken_position, exchange.held), *exchange.rows.get("positions", [])]}
    if path == "/derivatives/api/v3/openorders":
        return said | {"openOrders": [*map(_kraken_order, exchange.orders), *exchange.rows.get("orders", [])]}
    ticker = {"tag": "perpetual", "pair": "XBT:USD", "symbol": OWN["krakenfutures"], "markPrice": float(MARK), "bid": 1, "ask": 2,
              "last": float(LAST), "lastTime": "2026-09-02T17:52:21.057577Z", "suspended": False}  # fmt: skip
    if path == "/derivatives/api/v3/tickers":
        return said | {"tickers": [ticker]}
    if path.startswith("/derivatives/api/v3/tickers/"):
        return said | {"ticker": ticker}
    assert path.startswith(("/api/charts/v1/mark/", "/api/charts/v1/trade/")), path
    keys = ("time", "open", "high", "low", "close")
    count = (int(asked["to"]) - int(asked["from"])) // 60 + 1
    return {"candles": [dict(zip(keys, [int(row[0]), *row[1:]], strict=True)) | {"volume": 0}
                        for row in candles(int(asked["from"]) * 1000, count)], "more_candles": False}  # fmt: skip


def now_ms() -> int:
    return int(time.time() * 1000)


def candles(start_ms: int, limit: int) -> list[list[str]]:
    """Bars of a minute that have begun, with prices that tell their minute."""
    first = -(-start_ms // 60_000)
    last = min(first + limit - 1, now_ms() // 60_000)
    return [[str(minute * 60_000), *(f"{90_000 + minute % 1000 + step}.05" for step in (0, 2, -1, 1))] for minute in range(first, last + 1)]


_ANSWERS: dict[str, Callable[[Exchange, str, dict[str, Any]], Any]] = {
    "bybit": _bybit, "okx": _okx, "bitget": _bitget, "hyperliquid": _hyperliquid, "krakenfutures": _kraken,
}  # fmt: skip
