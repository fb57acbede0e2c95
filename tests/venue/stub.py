"""A gateway whose network ends at ccxt's ``fetch``: it notes every request and answers from a table."""

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from qtkit.venue.budget import Budget
from qtkit.venue.ccxt_gateway import CcxtGateway

TYPES = ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]
KEY, SECRET = "canary-key-8fd1", "canary-secret-77ab"
SIGNING = {"timestamp", "recvWindow", "signature"}


def symbol_info(symbol: str, *, tick: str, lot: str, notional: str = "5") -> dict[str, Any]:
    """A row of exchangeInfo with the filters that trading needs."""
    return {
        "symbol": symbol, "pair": symbol, "contractType": "PERPETUAL", "status": "TRADING", "onboardDate": 1569398400000,
        "deliveryDate": 4133404800000, "baseAsset": symbol.removesuffix("USDT"), "quoteAsset": "USDT", "marginAsset": "USDT",
        "pricePrecision": 2, "quantityPrecision": 3, "orderTypes": TYPES, "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": tick, "minPrice": "1.05", "maxPrice": "4529764"},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "1000", "stepSize": lot},
            {"filterType": "MARKET_LOT_SIZE", "minQty": lot, "maxQty": "120", "stepSize": lot},
            {"filterType": "MIN_NOTIONAL", "notional": notional},
            {"filterType": "PERCENT_PRICE", "multiplierUp": "1.0500", "multiplierDown": "0.9500", "multiplierDecimal": "4"},
        ],
    }  # fmt: skip


INFO = {
    "symbols": [
        symbol_info("BTCUSDT", tick="0.10", lot="0.001", notional="50"),
        symbol_info("LTCUSDT", tick="0.01", lot="0.001"),
        {"symbol": "ODDUSDT", "pair": "ODDUSDT", "contractType": "PERPETUAL", "status": "TRADING", "baseAsset": "ODD", "quoteAsset": "USDT",
         "marginAsset": "USDT", "filters": [], "orderTypes": TYPES},
    ]
}  # fmt: skip
ANSWERS = {"GET /fapi/v1/time": {"serverTime": 1_700_000_000_000}, "GET /fapi/v1/exchangeInfo": INFO}


class Exchange:
    """Answers by "METHOD /path"; a request without an answer fails the test."""

    def __init__(self, *, hedge: bool = False) -> None:
        self.answers: dict[str, Any] = ANSWERS | {"GET /fapi/v1/positionSide/dual": {"dualSidePosition": hedge}}
        self.requests: list[tuple[str, dict[str, str]]] = []

    async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        parts = urlsplit(url)
        assert parts.netloc == "127.0.0.1:9"
        params = dict(parse_qsl(parts.query or body or "", keep_blank_values=True))
        name = f"{method} {parts.path}"
        self.requests.append((name, {k: v for k, v in params.items() if k not in SIGNING}))
        answer = self.answers[name]
        return json.loads(json.dumps(answer(params) if callable(answer) else answer))


async def started(exchange: Exchange) -> CcxtGateway:
    """A started gateway on the stub."""
    gateway = CcxtGateway("main", base_url="http://127.0.0.1:9", api_key=KEY, secret=SECRET, budget=Budget())
    gateway._client.fetch = exchange.fetch
    gateway._client.timeout_on_exit = 0
    await gateway.start()
    exchange.requests.clear()
    return gateway
