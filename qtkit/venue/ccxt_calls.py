"""Endpoints of Binance USD-M by ccxt's method names, what they cost, and where their addresses may lead."""

import contextlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from qtkit.core.model import PolicyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One endpoint: ccxt's method for it and what it costs (with and without a symbol)."""

    method: str
    weight: int
    weight_all: int | None = None
    orders: int = 0
    write: bool = False

    def cost(self, params: Mapping[str, Any]) -> int:
        return self.weight if self.weight_all is None or "symbol" in params else self.weight_all


TIME = Call(method="fetch_time", weight=1)
MARKETS = Call(method="load_markets", weight=1)
MODE_OF_ACCOUNT = Call(method="fapiPrivateGetPositionSideDual", weight=30)
POSITIONS = Call(method="fapiPrivateV3GetPositionRisk", weight=5)
ACCOUNT = Call(method="fapiPrivateV3GetAccount", weight=5)
BALANCE = Call(method="fapiPrivateV3GetBalance", weight=5)
RIGHTS = Call(method="sapiGetAccountApiRestrictions", weight=1)  # the spot host's own weight; the smallest of ours is charged
SYMBOL = Call(method="fapiPrivateGetSymbolConfig", weight=5)
ORDERS = Call(method="fapiPrivateGetOpenOrders", weight=1, weight_all=40)
ALGO_ORDERS = Call(method="fapiPrivateGetOpenAlgoOrders", weight=1, weight_all=40)
ORDER = Call(method="fapiPrivateGetOrder", weight=1)
ALGO_ORDER = Call(method="fapiPrivateGetAlgoOrder", weight=1)
PLACE = Call(method="create_order", weight=0, orders=1, write=True)
CANCEL = Call(method="fapiPrivateDeleteOrder", weight=1, write=True)
CANCEL_ALGO = Call(method="fapiPrivateDeleteAlgoOrder", weight=1, write=True)
LEVERAGE = Call(method="fapiPrivatePostLeverage", weight=1, write=True)
MARK = Call(method="fapiPublicGetPremiumIndex", weight=1)
LAST = Call(method="fapiPublicV2GetTickerPrice", weight=1)
KLINES = Call(method="fapiPublicGetKlines", weight=5)
MARK_KLINES = Call(method="fapiPublicGetMarkPriceKlines", weight=5)
NEW_KEY = Call(method="fapiPrivatePostListenKey", weight=1)
KEEP_KEY = Call(method="fapiPrivatePutListenKey", weight=1)


def addresses(urls: Mapping[str, Any], base_url: str) -> tuple[bool, Any]:
    """Whether an address is loopback, and the client's table of addresses for it.

    Binance's own addresses (``api`` and ``demo`` of ccxt's table) are taken as ccxt has them, for their hosts differ by purpose; of
    loopback every address is sent there. Raises ``PolicyError`` for any other.
    """
    parts = urlsplit(base_url)
    for name in ("api", "demo"):
        if f"{parts.scheme}://{parts.netloc}/fapi/v1" == urls[name]["fapiPublic"]:
            return False, urls[name]
    host = parts.hostname or ""
    with contextlib.suppress(ValueError):
        if parts.scheme in ("http", "https") and (host == "localhost" or ipaddress.ip_address(host).is_loopback):
            return True, redirect(urls["api"], parts.scheme, parts.netloc)
    raise PolicyError(
        f"{host or base_url!r} is neither Binance's futures exchange (live or demo) nor a loopback address, where the paper exchange is, "
        "such as http://127.0.0.1:8560"
    )


def redirect(urls: Any, scheme: str, netloc: str) -> Any:
    """Every address in ccxt's nested table sent to one host, paths kept, websockets by the fitting scheme."""
    if isinstance(urls, dict):
        return {name: redirect(url, scheme, netloc) for name, url in urls.items()}
    parts = urlsplit(urls)
    if parts.scheme in ("ws", "wss"):
        scheme = "ws" if scheme == "http" else "wss"
    return urlunsplit((scheme, netloc, parts.path, parts.query, ""))
