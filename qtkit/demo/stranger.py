"""The stranger: an unmodified ccxt client with a key of its own on the same account, who knows nothing of the desk."""

from typing import Any

from qtkit.core.model import Side
from qtkit.home import PaperKeys
from qtkit.venue.ccxt_calls import redirect

NAME = "stranger"


class Stranger:
    """Trades by hand. ``orders`` are the ids of what it left resting. Use as an async context; leaving closes its connections."""

    def __init__(self, keys: PaperKeys, port: int, *, hedge: bool) -> None:
        import ccxt.async_support as ccxt

        options = {"fetchCurrencies": False, "fetchMargins": False, "fetchMarkets": {"types": ["linear"]}}
        self._client = ccxt.binanceusdm(
            {"apiKey": keys.api_key, "secret": keys.secret.reveal(), "enableRateLimit": False, "options": options}
        )
        self._client.urls["api"] = redirect(self._client.urls["api"], "http", f"127.0.0.1:{port}")
        self._hedge = hedge
        self.orders: list[str] = []

    async def __aenter__(self) -> "Stranger":
        await self._client.load_markets()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def opens(self, symbol: str, side: Side, coins: object, price: object = None) -> None:
        """Open or add, at the market or with a limit."""
        kind = "market" if price is None else "limit"
        await self._send(symbol, kind, side.opening.value, coins, price, self._slot(side))

    async def rests(self, symbol: str, side: Side, coins: object, price: object) -> None:
        """A limit order that would open a position far away, and stays."""
        row = await self._send(symbol, "limit", side.opening.value, coins, price, self._slot(side))
        self.orders.append(str(row["clientOrderId"]))

    async def guards(self, symbol: str, side: Side, stop: object) -> None:
        """A stop of its own that closes the whole position: it takes the exchange's one slot for such stops."""
        params = {"stopPrice": str(stop), "closePosition": True, "workingType": "MARK_PRICE", **self._slot(side)}
        row = await self._send(symbol, "STOP_MARKET", side.closing.value, None, None, params)
        self.orders.append(str(row["clientOrderId"]))

    def _slot(self, side: Side) -> dict[str, str]:
        return {"positionSide": side.name} if self._hedge else {}

    async def _send(self, symbol: str, kind: str, side: str, coins: object, price: object, params: dict[str, Any]) -> Any:
        amount, limit = (
            None if number is None else float(str(number)) for number in (coins, price)
        )  # ccxt's own signature; it rounds to the lot
        return await self._client.create_order(f"{symbol.removesuffix('USDT')}/USDT:USDT", kind, side, amount, limit, params)
