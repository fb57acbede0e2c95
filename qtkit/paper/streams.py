"""Websocket hub: market streams by name, user streams by account, and what clients may ask of a connection."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from qtkit.paper import stream_names
from qtkit.paper.sockets import PING, PONG, Socket, StreamRules, dumps, frame
from qtkit.paper.stream_names import ALL

TOO_MANY = b"Too many requests"


class Hub:
    """All open sockets, by stream and by account.

    ``account_of`` says whose a listen key is; ``on_first`` is told each stream that gets its first reader.
    """

    def __init__(self, rules: StreamRules | None = None) -> None:
        self.rules = rules or StreamRules()
        self.sockets: set[Socket] = set()
        self.account_of: Callable[[str], str | None] = lambda key: None
        self.on_first: Callable[[str], None] = lambda stream: None
        self._streams: dict[str, set[Socket]] = {}
        self._symbols: dict[str, tuple[str, ...]] = {}
        self._accounts: dict[str, dict[Socket, str]] = {}
        self._pulse: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ping."""
        self._pulse = asyncio.create_task(self._ping(), name="paper-pings")

    async def stop(self) -> None:
        """Close every socket with 1001 and wait until they are gone."""
        if self._pulse is not None:
            self._pulse.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pulse
            self._pulse = None
        self.close_all(WSCloseCode.GOING_AWAY, b"server stops")
        await self.drained()

    async def drained(self, timeout_s: float = 2.0) -> None:
        """Wait until the sockets that were told to close are gone."""
        end = asyncio.get_running_loop().time() + timeout_s
        while any(socket.closing for socket in self.sockets) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)

    async def _ping(self) -> None:
        """Ping everybody; who has not answered for too long is closed."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(self.rules.ping_s)
            ping = frame(str(time.time_ns() // 1_000_000).encode(), PING)
            for socket in self.sockets:
                if clock() - socket.heard > self.rules.pong_s:
                    socket.close(WSCloseCode.POLICY_VIOLATION, b"Pong timeout")
                else:
                    socket.put(ping)

    # publishing

    def wanted(self, stream: str) -> bool:
        """True if anybody listens: nothing is computed for streams without a reader."""
        return stream in self._streams

    def streams_of(self, symbol: str) -> tuple[str, ...]:
        """Names of the streams of a symbol (lower case) that somebody listens to."""
        return self._symbols.get(symbol, ())

    @property
    def has_arrays(self) -> bool:
        """True if somebody listens to a stream of all symbols."""
        return "" in self._symbols

    def has_user(self, account: str) -> bool:
        """True if a user stream of the account is open."""
        return bool(self._accounts.get(account))

    def publish(self, stream: str, row: object) -> None:
        """Send a row to everybody who listens to the stream."""
        sockets = self._streams.get(stream)
        if not sockets:
            return
        text = dumps(row)
        plain = wrapped = b""
        for socket in sockets:
            if socket.combined:
                wrapped = wrapped or _wrapped(stream, text)
                socket.put(wrapped)
            else:
                plain = plain or frame(text.encode())
                socket.put(plain)

    def publish_user(self, account: str, row: dict[str, Any]) -> None:
        """Send an event to every user stream of an account that wants its kind."""
        sockets = self._accounts.get(account)
        if not sockets:
            return
        text = dumps(row)
        plain = frame(text.encode())
        for socket, key in sockets.items():
            if not socket.events or row["e"] in socket.events:
                socket.put(_wrapped(key, text) if socket.combined else plain)

    def silence(self, account: str) -> None:
        """Detach the user streams of an account: they stay open and carry nothing more, as after ``listenKeyExpired``."""
        for socket in self._accounts.pop(account, {}):
            _forget(socket, account)

    def close_user(self, account: str, code: int) -> None:
        """Close the user streams of an account."""
        for socket in self._accounts.pop(account, {}):
            socket.close(code)

    def close_all(self, code: int, reason: bytes = b"") -> None:
        """Close every socket; 1006 cuts the connections."""
        for socket in tuple(self.sockets):
            socket.close(code, reason)

    # one connection

    async def serve(
        self, request: web.BaseRequest, *, categories: frozenset[str] = ALL, combined: bool = False,
        streams: Iterable[str] = (), key: str = "", events: frozenset[str] = frozenset(), refuse: bytes = b"",
    ) -> web.WebSocketResponse:  # fmt: skip
        """Take one connection through its life. ``key`` is a living listen key; ``refuse`` closes with 1008 right after the handshake."""
        ws = web.WebSocketResponse(autoping=False, autoclose=False, compress=False)
        await ws.prepare(request)
        loop = asyncio.get_running_loop()
        assert request.transport is not None
        socket = Socket(ws=ws, transport=request.transport, rules=self.rules, categories=categories, combined=combined, events=events)
        socket.heard = loop.time()
        self.sockets.add(socket)
        refuse = refuse or self._attach(socket, tuple(streams), key)
        if refuse:
            socket.close(WSCloseCode.POLICY_VIOLATION, refuse)
        cut = loop.call_later(self.rules.life_s, socket.close, WSCloseCode.GOING_AWAY)
        try:
            await self._read(socket)
        finally:
            cut.cancel()
            self._detach(socket)
            if socket.closing:  # the close frame is written, and answered or not; nothing more goes out
                socket.transport.close()
        return ws

    async def _read(self, socket: Socket) -> None:
        loop = asyncio.get_running_loop()
        message: WSMessage
        async for message in socket.ws:
            if socket.floods(int(loop.time())):
                socket.close(WSCloseCode.POLICY_VIOLATION, TOO_MANY)
            elif message.type is WSMsgType.TEXT:
                socket.put(frame(dumps(self._answer(socket, message.data)).encode()))
            elif message.type is WSMsgType.PING:
                socket.put(frame(bytes(message.data), PONG))
            elif message.type is WSMsgType.PONG:
                socket.heard = loop.time()

    def _answer(self, socket: Socket, text: str) -> dict[str, Any]:
        """Carry out one request frame."""
        try:
            asked = json.loads(text)
        except (ValueError, RecursionError) as error:
            return _error(3, f"Invalid JSON: {error}", None)
        if not isinstance(asked, dict) or not isinstance(asked.get("method"), str):
            return _error(2, "Invalid request: missing field `method`", None)
        method, number, names = asked["method"], asked.get("id"), asked.get("params", [])
        if method in ("SET_PROPERTY", "GET_PROPERTY"):
            return _property(socket, names, number, change=method == "SET_PROPERTY")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return _error(2, "Invalid request: `params` must be a list of stream names", number)
        match method:
            case "SUBSCRIBE":
                return self._subscribe(socket, names, number)
            case "UNSUBSCRIBE":
                for name in names:
                    self._drop(socket, name)
                return {"result": None, "id": number}
            case "LIST_SUBSCRIPTIONS":
                return {"result": sorted([*socket.streams, *socket.users]), "id": number}
            case other:
                return _error(2, f"Invalid request: unknown variant `{other}`", number)

    def _subscribe(self, socket: Socket, names: list[str], number: object) -> dict[str, Any]:
        """All of the names, or none of them and the reason."""
        for name in names:
            why = self._refusal(socket, name)
            if why is not None:
                return _error(2, f"Invalid request: {why}", number)
        if len(socket.streams | set(names)) > self.rules.max_streams:
            return _error(2, f"Invalid request: more than {self.rules.max_streams} streams", number)
        for name in names:
            self._add(socket, name)
        return {"result": None, "id": number}

    def _refusal(self, socket: Socket, name: str) -> str | None:
        """Why this socket cannot carry a stream, if it cannot. Named in the URL, such a stream is silent."""
        if stream_names.is_listen_key(name):
            return None if self.account_of(name) is not None else "Invalid listenKey"
        if not stream_names.known(name):
            return f"no stream is called `{name}`"
        category = stream_names.category(name)
        return None if category in socket.categories else f"`{name}` is served under /{category}/"

    # who listens to what

    def _attach(self, socket: Socket, streams: tuple[str, ...], key: str) -> bytes:
        """Give a new socket what its URL asked for; the reason if that is too much."""
        if len(streams) > self.rules.max_streams:
            return b"Too many streams"
        for name in (*streams, key) if key else streams:
            if self._refusal(socket, name) is None:
                self._add(socket, name)
        return b""

    def _detach(self, socket: Socket) -> None:
        self.sockets.discard(socket)
        for name in (*socket.streams, *socket.users):
            self._drop(socket, name)

    def _add(self, socket: Socket, name: str) -> None:
        account = self.account_of(name) if stream_names.is_listen_key(name) else None
        if account is not None:
            socket.users[name] = account
            self._accounts.setdefault(account, {})[socket] = name
            return
        socket.streams.add(name)
        readers = self._streams.get(name)
        if readers is None:
            readers = self._streams[name] = set()
            symbol = stream_names.symbol_of(name)
            self._symbols[symbol] = (*self._symbols.get(symbol, ()), name)
            self.on_first(name)
        readers.add(socket)

    def _drop(self, socket: Socket, name: str) -> None:
        account = socket.users.pop(name, None)
        if account is not None:
            self._accounts.get(account, {}).pop(socket, None)
            return
        socket.streams.discard(name)
        readers = self._streams.get(name)
        if readers is None:
            return
        readers.discard(socket)
        if not readers:
            del self._streams[name]
            symbol = stream_names.symbol_of(name)
            left = tuple(other for other in self._symbols[symbol] if other != name)
            if left:
                self._symbols[symbol] = left
            else:
                del self._symbols[symbol]


def _wrapped(stream: str, text: str) -> bytes:
    """A frame of a combined stream."""
    return frame(f'{{"stream":"{stream}","data":{text}}}'.encode())


def _forget(socket: Socket, account: str) -> None:
    socket.users = {key: owner for key, owner in socket.users.items() if owner != account}


def _property(socket: Socket, params: object, number: object, *, change: bool) -> dict[str, Any]:
    """``combined``: whether events come wrapped with the name of their stream."""
    if not isinstance(params, list) or params[:1] != ["combined"]:
        return _error(0, "Unknown property", number)
    if not change:
        return {"result": socket.combined, "id": number}
    if len(params) != 2 or not isinstance(params[1], bool):
        return _error(1, "Invalid value type: expected Boolean", number)
    socket.combined = params[1]
    return {"result": None, "id": number}


def _error(code: int, message: str, number: object) -> dict[str, Any]:
    return {"error": {"code": code, "msg": message}, "id": number}
