"""One websocket connection: what it asked for, how much it has not read, when it was last heard.

A frame of the server is the same for every client (RFC 6455 masks only what clients send, and no compression is agreed on), so an event
is framed once and the same bytes go to each transport. What a client does not read waits in its transport; beyond a bound the client is
closed rather than awaited, because one slow reader must not delay another's stop event.
"""

import asyncio
import json
from dataclasses import dataclass, field

from aiohttp import WSCloseCode, web

from qtkit.paper.stream_names import ALL

ABNORMAL = 1006
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRules:
    """Limits of websocket connections (developers.binance.com, USD-M futures, websocket market streams, read 2026-10).

    Attributes:
        ping_s: the server pings this often. [doc: 3 minutes]
        pong_s: a connection without a pong for this long is closed. [doc: 10 minutes]
        life_s: every connection is closed at this age. [doc: 24 hours]
        max_streams: streams of one connection. [doc: 1,024]
        frames_per_second: what a client may send, pings and pongs included; more disconnects it. [doc: 10]
        unread_bytes: what may wait for a client that does not read. [inferred]
        grace_s: how long a client that is closed has to answer the close frame. [inferred]
    """

    ping_s: float = 180.0
    pong_s: float = 600.0
    life_s: float = 24 * 3_600.0
    max_streams: int = 1_024
    frames_per_second: int = 10
    unread_bytes: int = 1_000_000
    grace_s: float = 1.0


dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
"""Compact JSON, as on the wire; one encoder for all, and rows are trees."""


def frame(payload: bytes, kind: int = TEXT) -> bytes:
    """One unmasked websocket frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | kind, size)) + payload
    if size < 65_536:
        return bytes((0x80 | kind, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | kind, 127)) + size.to_bytes(8, "big") + payload


@dataclass(eq=False, slots=True)
class Socket:
    """One connection. ``users`` are the listen keys it carries and whose they are; ``events``: the only user events it wants."""

    ws: web.WebSocketResponse
    transport: asyncio.Transport
    rules: StreamRules
    categories: frozenset[str] = ALL
    combined: bool = False
    events: frozenset[str] = frozenset()
    streams: set[str] = field(default_factory=set)
    users: dict[str, str] = field(default_factory=dict)
    heard: float = 0.0
    closing: bool = False
    second: int = 0
    frames: int = 0

    @property
    def account(self) -> str | None:
        """Whose events it carries, if anybody's."""
        return next(iter(self.users.values()), None)

    def put(self, data: bytes) -> None:
        """Write a frame; a client that has too much to read is closed with 1008."""
        transport = self.transport
        if self.closing or transport.is_closing():
            return
        transport.write(data)
        if transport.get_write_buffer_size() > self.rules.unread_bytes:
            self.close(WSCloseCode.POLICY_VIOLATION, b"reads too slowly")

    def close(self, code: int, reason: bytes = b"") -> None:
        """Close after what was written; 1006 drops the connection without a close frame.

        The connection stays until the client has answered, ``grace_s`` at most: were it gone before, a client would report 1006.
        """
        if code == ABNORMAL:
            self.transport.abort()
        elif not self.closing:
            self.closing = True
            self.transport.write(frame(code.to_bytes(2, "big") + reason, CLOSE))
            asyncio.get_running_loop().call_later(self.rules.grace_s, self.transport.abort)

    def floods(self, second: int) -> bool:
        """Count an inbound frame; True above 10 in one second, which Binance answers with a disconnect."""
        if second != self.second:
            self.second, self.frames = second, 0
        self.frames += 1
        return self.frames > self.rules.frames_per_second
