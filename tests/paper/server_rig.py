"""A paper server on a free port with prices near the recorded fixtures, a raw signed client, and ccxt pointed at it."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
import yarl

from qtkit.core.model import E8, ONE, Ticks
from qtkit.paper.exchange import Exchange
from qtkit.paper.facts import FACTS, Facts
from qtkit.paper.faults import Faults
from qtkit.paper.rules import Rules
from qtkit.paper.server import PaperServer

KEY, SECRET = "k" * 64, "s" * 64
HEDGE_KEY, HEDGE_SECRET = "h" * 64, "t" * 64
PRICES = {"BTCUSDT": "96000", "LTCUSDT": "83", "ETHUSDT": "3000"}


def e8(text: str) -> E8:
    whole, _, part = text.partition(".")
    return E8(int(whole) * ONE + int((part + "0" * 8)[:8]))


@dataclass(eq=False)
class Rig:
    exchange: Exchange
    server: PaperServer
    session: aiohttp.ClientSession
    at_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def tick(self, symbol: str, last: str, mark: str | None = None, step_ms: int = 1_000) -> None:
        """The next price, a second later."""
        self.at_ms += step_ms
        self.exchange.tick(symbol, Ticks(e8(last) // FACTS[symbol].instrument.tick), e8(mark or last), self.at_ms)

    async def call(
        self,
        method: str,
        path: str,
        params: dict[str, Any] | str = "",
        *,
        key: str = KEY,
        secret: str = SECRET,
        sign: bool = True,
        **extra: Any,
    ) -> tuple[int, Any]:
        """One raw request: status and JSON (text if it is none)."""
        text = params if isinstance(params, str) else urlencode(params)
        if sign:
            text += f"{'&' if text else ''}timestamp={extra.get('timestamp', time.time_ns() // 1_000_000)}&recvWindow=5000"
            text += "&signature=" + hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        headers = {"X-MBX-APIKEY": key} if key else {}
        in_body = method in ("POST", "PUT")
        url = f"{self.base}{path}" + (f"?{text}" if text and not in_body else "")
        if in_body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        async with self.session.request(method, yarl.URL(url, encoded=True), data=text if in_body else None, headers=headers) as answer:
            body = await answer.text()
            try:
                return answer.status, json.loads(body)
            except ValueError:
                return answer.status, body


@asynccontextmanager
async def rig(
    *, faults: Faults | None = None, rules: Rules | None = None, facts: Mapping[str, Facts] = FACTS,
    start_ms: int | None = None, **options: Any,
) -> AsyncIterator[Rig]:  # fmt: skip
    """A running server with two accounts: ``main`` one-way and ``hedge``; the exchange's time begins now unless told."""
    start = time.time_ns() // 1_000_000 if start_ms is None else start_ms
    exchange = Exchange(rules=rules, seed=1, start_ms=start, facts=facts)
    exchange.open_account("main", balance=E8(1_000_000 * ONE))
    exchange.open_account("hedge", balance=E8(1_000_000 * ONE), hedge=True)
    keys = {KEY: (SECRET, "main"), HEDGE_KEY: (HEDGE_SECRET, "hedge")}
    server = PaperServer(exchange, keys=keys, faults=faults, **options)
    await server.start()
    async with aiohttp.ClientSession() as session:
        it = Rig(exchange, server, session, at_ms=start)
        for symbol, price in PRICES.items():
            it.tick(symbol, price)
        try:
            yield it
        finally:
            await server.stop()


def config(base: str, key: str = KEY, secret: str = SECRET, **options: Any) -> dict[str, Any]:
    """ccxt constructor arguments that keep every call at the paper server."""
    return {
        "apiKey": key,
        "secret": secret,
        "enableRateLimit": False,
        "timeout": 5_000,
        "options": {
            "fetchMarkets": {"types": ["linear"]}, "fetchCurrencies": False, "fetchMargins": False, "defaultType": "swap",
            "defaultSubType": "linear", "fetchOpenOrders": {"warnWithoutSymbol": False}, "warnOnFetchOpenOrdersWithoutSymbol": False,
            **options,
        },
    }  # fmt: skip


def redirect(client: Any, base: str) -> Any:
    """Point every leaf of the client's urls at the server; nothing can reach the real exchange."""
    api = client.urls["api"]
    for name in list(api):
        if name == "ws":
            continue
        path = api[name].partition("://")[2].partition("/")[2] if isinstance(api[name], str) else ""
        api[name] = f"{base}/{path}"
    socket = base.replace("http://", "ws://")
    api["ws"] = {name: f"{socket}/ws" for name in ("spot", "margin", "linear", "linear-private", "inverse", "future", "delivery")}
    api["ws"]["ws-api"] = {"linear": f"{socket}/ws-fapi/v1"}
    client.exceptions["exact"] = {**client.exceptions["exact"], **client.exceptions["linear"]["exact"]}
    assert "binance.com" not in json.dumps(api)
    return client


async def to_thread(call: Any, *args: Any, **kwargs: Any) -> Any:
    """Run a call of the synchronous client beside the server."""
    return await asyncio.to_thread(call, *args, **kwargs)
