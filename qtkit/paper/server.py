"""The paper exchange on a port: Binance USD-M REST and websockets for unmodified clients, loopback only.

Signatures, timestamps, listen keys and ``/time`` go by the wall clock; rows and events carry the exchange's time.
"""

import asyncio
import contextlib
import errno
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from urllib.parse import parse_qs, unquote

from aiohttp import web

from qtkit.core.model import PolicyError
from qtkit.paper import stream_names
from qtkit.paper.exchange import Exchange
from qtkit.paper.faults import Faults
from qtkit.paper.feed import Feed
from qtkit.paper.limits import ORDERS_PER_10S, ORDERS_PER_MINUTE, Limits
from qtkit.paper.listen_keys import ListenKeys
from qtkit.paper.prints import Prints
from qtkit.paper.rest import RequestRecord, Rest
from qtkit.paper.route import Desk
from qtkit.paper.sockets import StreamRules
from qtkit.paper.stream_names import ALL
from qtkit.paper.streams import Hub
from qtkit.venue.gateway import KeyRights

KEY_CHECK_S = 1.0
CONTROL = "/qtkit/"
RESTARTED = 1012  # close code of a websocket: connect anew
Control = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""Answers what is asked under ``CONTROL``: no path of Binance's, and none of these rules."""
_CATEGORY = {"market": frozenset({"market"}), "public": frozenset({"public"}), "private": frozenset[str]()}


class PortInUse(OSError):
    """The port is taken by another process."""


class PaperServer:
    """Serves one ``Exchange``. ``keys`` are API key -> (secret, account name); every account must be open.

    ``control``, if set, answers the paths under ``/qtkit/``. ``requests`` holds the last requests as they were answered; ``limits`` the
    weights and bans; ``hub`` the sockets, which live by ``stream_rules``.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        keys: Mapping[str, tuple[str, str]],
        faults: Faults | None = None,
        weight_limit: int = 2_400,
        order_limits: tuple[int, int] = (ORDERS_PER_10S, ORDERS_PER_MINUTE),
        listen_key_ttl_ms: int = 3_600_000,
        stream_rules: StreamRules | None = None,
    ) -> None:
        unknown = sorted({name for _, name in keys.values()} - set(exchange.accounts))
        if unknown:
            raise PolicyError(f"no account is called {', '.join(unknown)}; open it on the exchange before serving it")
        self.limits = Limits(weight_limit, order_limits)
        self.hub = Hub(stream_rules)
        self._listen_keys = ListenKeys(listen_key_ttl_ms)
        self.hub.account_of = lambda key: self._listen_keys.account_of(key, wall_ms())
        prints = Prints(exchange.now_ms)
        desk = Desk(exchange=exchange, limits=self.limits, listen_keys=self._listen_keys, hub=self.hub, prints=prints)
        self._desk = desk
        self._faults = faults
        self._rest = Rest(desk, keys, faults)
        self._feed = Feed(desk, faults)
        self.control: Control | None = None
        self._runner: web.ServerRunner | None = None
        self._expiry: asyncio.Task[None] | None = None
        self.port = 0

    @property
    def requests(self) -> deque[RequestRecord]:
        """The last requests, oldest first."""
        return self._rest.requests

    @property
    def rights(self) -> dict[str, KeyRights]:
        """What API keys may do, where that is not to read and to trade. May be changed while serving."""
        return self._desk.rights

    @property
    def elsewhere(self) -> set[str]:
        """API keys that are bound to other addresses than the caller's. May be changed while serving."""
        return self._desk.elsewhere

    def weight_used(self, minute: int) -> int:
        """Weight used in a minute of the wall clock, numbered as milliseconds // 60,000."""
        return self.limits.weight_used(minute)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen, and return the port (0 asks for a free one).

        Raises ``PolicyError`` for a host that is not loopback and ``PortInUse`` if the port is taken.
        """
        if not _loopback(host):
            raise PolicyError(f"the paper exchange serves loopback only, not {host!r}; use 127.0.0.1")
        runner = web.ServerRunner(web.Server(self._serve, access_log=None), shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            if error.errno != errno.EADDRINUSE:
                raise
            raise PortInUse(errno.EADDRINUSE, f"port {port} on {host} is in use; choose another or stop who holds it") from None
        self._runner = runner
        self.port = runner.addresses[0][1]
        self._feed.start()
        self.hub.start()
        self._expiry = asyncio.create_task(self._expire_keys(), name="paper-listen-keys")
        return self.port

    async def stop(self) -> None:
        """Close sockets with 1001 and the port. Does nothing if the server is not running."""
        if self._runner is None:
            return
        self._feed.stop()
        assert self._expiry is not None
        self._expiry.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._expiry
        for timer in self._desk.countdowns.values():
            timer.cancel()
        await self.hub.stop()
        await self._runner.cleanup()
        self._runner = None

    def renew(self) -> None:
        """The exchange has become another one (a snapshot was restored): sockets are cut off with 1012, and all is read anew."""
        if self._runner is None:
            return
        self._feed.stop()
        self._desk.forget()
        self._feed = Feed(self._desk, self._faults)
        self._feed.start()
        self.hub.close_all(RESTARTED, b"restored")

    def expire_key(self, account: str) -> None:
        """The account's listen key runs out now; its streams are told so within a second."""
        self._listen_keys.run_out(account, wall_ms())

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.control is not None and request.path.startswith(CONTROL):
            return await self.control(request)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        body = (await request.read()).decode(errors="replace") if request.body_exists else ""
        answer = self._rest.answer(request.method, request.raw_path, body, request.headers.get("X-MBX-APIKEY"), wall_ms())
        if answer.drop and request.transport is not None:
            request.transport.abort()
        headers = {**answer.headers, "Content-Type": answer.content_type}
        return web.Response(status=answer.status, body=answer.text.encode(), headers=headers)

    async def _socket(self, request: web.BaseRequest) -> web.StreamResponse:
        """``[/market|/public|/private]/ws[/name]`` and ``.../stream?streams=a/b``; a listen key may be the name or a parameter."""
        path, _, query = request.raw_path.partition("?")
        first, *rest = unquote(path).strip("/").split("/")
        categories = _CATEGORY.get(first)
        mode, *names = rest if categories is not None and rest else [first, *rest]
        if mode not in ("ws", "stream"):
            return web.Response(status=404, text="404 Not Found")
        asked = {name: [part for part in "/".join(values).split("/") if part] for name, values in parse_qs(query).items()}
        streams = [name for name in (*asked.get("streams", ()), *names) if name and not name.isdecimal()]
        key = next((name for name in [*asked.get("listenKey", ()), *streams] if first == "private" or not _is_stream(name)), "")
        lost = bool(key) and self.hub.account_of(key) is None
        return await self.hub.serve(
            request, categories=categories if categories is not None else ALL, combined=mode == "stream",
            streams=[name for name in streams if name != key], key=key, events=frozenset(asked.get("events", ())),
            refuse=b"Invalid listenKey" if lost else b"",
        )  # fmt: skip

    async def _expire_keys(self) -> None:
        """End the user streams whose key ran out: one event, then silence on an open socket, as Binance does."""
        while True:
            await asyncio.sleep(min(KEY_CHECK_S, self._listen_keys.ttl_ms / 4_000))
            for account, key in self._listen_keys.expired(wall_ms()):
                event = {"e": "listenKeyExpired", "E": self._desk.exchange.now_ms, "listenKey": key}
                self.hub.publish_user(account, event)
                self.hub.silence(account)


def _is_stream(name: str) -> bool:
    """True if a name of a URL is meant as a market stream, served or not; else it is a listen key."""
    return "@" in name or name.startswith("!") or stream_names.known(name)


def wall_ms() -> int:
    """The wall clock in milliseconds."""
    return time.time_ns() // 1_000_000


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
