"""A small market of each exchange as ccxt holds it, and ccxt's own client of it that notes what it would send."""

import json
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from qtkit.venue.ccxt_unified_client import make_client
from qtkit.venue.unified_rows import Listed, listed

VENUES = ("bybit", "okx", "bitget", "hyperliquid", "krakenfutures")
KEY, SECRET = "canary-key-8fd1", "Y2FuYXJ5LXNlY3JldC03N2Fi"  # Kraken's secrets are base64
WALLET = "0x" + "11" * 20
KEYS = {venue: (WALLET if venue == "hyperliquid" else KEY, f"{SECRET}:pass-5a1c") for venue in VENUES}

_OWN: dict[str, dict[str, Any]] = {
    "bybit": {"id": "BTCUSDT", "symbol": "BTC/USDT:USDT", "quote": "USDT", "contractSize": "1",
              "info": {"lotSizeFilter": {"maxMktOrderQty": "100"}}},
    "okx": {"id": "BTC-USDT-SWAP", "symbol": "BTC/USDT:USDT", "quote": "USDT", "contractSize": "0.01", "info": {"maxMktSz": "12000"}},
    "bitget": {"id": "BTCUSDT", "symbol": "BTC/USDT:USDT", "quote": "USDT", "contractSize": "1", "info": {"maxMarketOrderQty": "220"}},
    "hyperliquid": {"id": "0", "symbol": "BTC/USDC:USDC", "quote": "USDC", "contractSize": "1", "baseId": "0", "baseName": "BTC",
                    "info": {"name": "BTC"}},
    "krakenfutures": {"id": "PF_XBTUSD", "symbol": "BTC/USD:USD", "quote": "USD", "contractSize": "1", "info": {}},
}  # fmt: skip
LOT = {"okx": "0.01"}  # of contracts; 0.001 BTC elsewhere, 0.0001 BTC there


def market(venue: str) -> dict[str, Any]:
    """The perpetual on BTC: ticks of 0.1, lots of 0.001 contracts (OKX: 0.01)."""
    own = _OWN[venue]
    common = {
        "base": "BTC", "baseId": "BTC", "settle": own["quote"], "quoteId": own["quote"], "settleId": own["quote"], "type": "swap",
        "spot": False, "margin": False, "swap": True, "future": False, "option": False, "active": True, "contract": True, "linear": True,
        "inverse": False, "taker": "0.0005", "maker": "0.0002", "precision": {"amount": LOT.get(venue, "0.001"), "price": "0.1"},
        "limits": {"amount": {"min": LOT.get(venue, "0.001"), "max": "1000"}, "cost": {"min": "5"}, "price": {}, "leverage": {}},
    }  # fmt: skip
    return common | own


def contract(venue: str) -> Listed:
    """The same as we hold it."""
    found = listed(venue, market(venue))
    assert found.contract_size == Decimal(market(venue)["contractSize"])
    return found


class Wire:
    """ccxt's client of a venue whose network ends at ``fetch``; ``sent`` are method, path and fields of what it would have sent."""

    def __init__(self, venue: str) -> None:
        key, secret = KEYS[venue]
        self.venue = venue
        self.client = make_client(venue, base_url="http://127.0.0.1:9", demo=False, key=key, secret=secret, timeout_s=1.0)
        if venue == "hyperliquid":
            self.client.privateKey = "0x" + "22" * 32  # an order is signed before it is sent
        if venue == "bybit":
            self.client.options |= {"enableUnifiedMargin": False, "enableUnifiedAccount": True}
        self.client.enableRateLimit = False
        self.client.set_markets([market(venue)])
        self.client.fetch = self._fetch
        self.sent: list[tuple[str, str, dict[str, Any]]] = []

    async def _fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        parts = urlsplit(url)
        text = body or parts.query
        fields = json.loads(text) if text[:1] in ("{", "[") else dict(parse_qsl(text, keep_blank_values=True))
        self.sent.append((method, parts.path, fields[0] if isinstance(fields, list) else fields))
        return {
            "retCode": 0, "result": {"orderId": "7"} if self.venue != "krakenfutures" else "success", "code": "0", "status": "ok",
            "data": [{"ordId": "7"}] if self.venue == "okx" else {"orderId": "7"}, "sendStatus": {"status": "placed", "order_id": "7"},
            "response": {"data": {"statuses": [{"resting": {"oid": 7}}]}},
        }  # fmt: skip
