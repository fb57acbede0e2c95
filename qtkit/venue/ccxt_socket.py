"""One websocket of a ccxt.pro client: its dialling, pings and closing, without its parsing."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from qtkit.venue.gateway import Unavailable


class CcxtSocket:
    """One websocket of the client, held open by a future that only its loss can settle."""

    def __init__(self, client: Any, url: str, on_message: Callable[[Any], None]) -> None:
        self._exchange, self._url = client, url
        client.listeners[url] = on_message
        # Pauses between dials are ours; ccxt's own would sleep inside a task that cannot be ended.
        (getattr(client, "ws_dial_backoff", None) or {}).pop(url, None)
        self._lost: asyncio.Future[Any] = client.watch(url, "lost", None, "linear")
        self._client = client.clients[url]

    async def opened(self) -> None:
        """Wait for the handshake; raises ``Unavailable`` if it fails."""
        await asyncio.wait({self._lost, self._client.connected}, return_when=asyncio.FIRST_COMPLETED)
        await self.wait(0)

    async def send(self, frame: Mapping[str, Any]) -> None:
        """Send a frame; raises ``Unavailable`` on a closed socket."""
        try:
            await self._client.send(dict(frame))
        except (ConnectionError, RuntimeError):
            raise Unavailable("the websocket closed while sending") from None

    async def wait(self, seconds: float) -> None:
        """Let time pass; raises ``Unavailable`` as soon as the socket is lost."""
        if not self._lost.done():
            await asyncio.wait({self._lost}, timeout=seconds)
        if self._lost.done():
            reason = "" if self._lost.cancelled() else type(self._lost.exception()).__name__
            raise Unavailable(f"the websocket is lost {reason}".rstrip())

    async def close(self) -> None:
        """Close; nothing of the socket runs on afterwards."""
        self._exchange.listeners.pop(self._url, None)
        while self._client.connecting and self._client.error is None:  # a dial cannot be cancelled, it ends by its timeout
            await asyncio.sleep(0.01)
        if self._exchange.clients.get(self._url) is self._client:
            del self._exchange.clients[self._url]
        await self._client.close()
        if not self._lost.cancel() and not self._lost.cancelled():
            self._lost.exception()  # read, or asyncio would report it as never retrieved
