"""What an answer of Binance USD-M means for us: decided by status and numeric code, never by an exception class.

On any but Binance's own address ccxt degrades most error classes to ``ExchangeError``, and -1021 arrives as a network
error: classes cannot be trusted, codes can.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qtkit.venue.gateway import GatewayError, Refused, Unavailable, Unknown

# Execution status unknown (-1000, -1001, -1006, -1007), or the id exists but nobody has seen its order (-4116).
UNKNOWN = frozenset({-1000, -1001, -1006, -1007, -4116})
# Surely not executed, and not a verdict on the request: bans, order rate, throttling, shutdown, clock.
UNAVAILABLE = frozenset({-1003, -1008, -1015, -1016, -1021, -5028})
CLOCK = frozenset({-1021, -5028})
MODE = -4061  # order's position side does not match the account's position mode
NOT_FOUND = frozenset({-2011, -2013})

_SECRETS = re.compile(r"((?:signature|api-?key|x-mbx-apikey|listenKey)[\"']?\s*[=:]\s*[\"']?)[^&\s\"',}]+", re.IGNORECASE)
_BANNED_UNTIL = re.compile(r"banned until (\d{13})")
_NEVER_SENT = frozenset({"ClientConnectorError", "ConnectionTimeoutError", "gaierror"})


@dataclass(slots=True)
class Reply:
    """What came back for one request; ``status`` is None while nothing has. Filled by the client's response hook."""

    status: int | None = None
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        """A response header, whatever its case."""
        return next((v for k, v in self.headers.items() if k.lower() == name.lower()), None)

    def error(self) -> tuple[int | None, str]:
        """Numeric code and message of an error body; (None, text) where it has no code."""
        parsed: Any
        try:
            parsed = json.loads(self.body)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            return None, self.body.strip()
        try:
            code = int(parsed["code"])
        except (KeyError, TypeError, ValueError):
            code = None
        return (code if code is not None and code < 0 else None), str(parsed.get("msg", self.body))


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """``text`` without keys and signatures, at most 300 characters."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return _SECRETS.sub(r"\1***", text)[:300]


def never_sent(failure: BaseException) -> bool:
    """True if the connection was refused or not made in time: no byte of the request left."""
    cause = failure.__cause__
    return cause is not None and any(kind.__name__ in _NEVER_SENT for kind in type(cause).__mro__)


def classify(reply: Reply, *, what: str, write: bool, unsent: bool, secrets: tuple[str, ...] = ()) -> GatewayError:
    """The error for a failed request. ``what`` names the request; ``unsent`` is ``never_sent`` of the failure.

    Texts of the exchange are freed of ``secrets``. For reads nothing is ``Unknown``: what could not be read is ``Unavailable``.
    """
    doubt = Unknown if write else Unavailable
    if reply.status is None:
        if unsent:
            return Unavailable(f"{what}: no connection to the exchange, nothing was sent; check the address and the network")
        return doubt(f"{what}: the connection broke or timed out after the request was sent; look the order up by its id")
    code, raw = reply.error()
    message = redact(raw, secrets)
    text = f"{what}: HTTP {reply.status}{f', code {code}' if code is not None else ''}: {message or 'empty answer'}"
    if reply.status in (418, 429):
        return Unavailable(text)
    if code in UNKNOWN:
        return doubt(text)
    if code in UNAVAILABLE:
        return Unavailable(text, code)
    if code is not None and reply.status < 500:
        return Refused(code, f"{message} ({what})")
    # 503 comes in three texts: "Service Unavailable." failed, "Unknown error, ..." unknown, -1008 above.
    if reply.status == 503 and "unknown error" not in message.lower() and "service unavailable" in message.lower():
        return Unavailable(text)
    if reply.status >= 500 or reply.status in (200, 408):
        return doubt(text)
    return Unavailable(text)


def pause(reply: Reply, now_ms: int) -> tuple[float, bool] | None:
    """Seconds to stay silent after this answer, and whether only new orders are meant; None if it asks for no pause.

    Binance futures send no Retry-After; a ban names its end in the -1003 text, without it two minutes (the shortest
    ban) are kept. -1015 speaks of the order counters alone.
    """
    code, message = reply.error()
    if reply.status not in (418, 429) and code not in (-1003, -1015):
        return None
    if code == -1015:
        return 10.0, True
    until, retry = _BANNED_UNTIL.search(message), reply.header("Retry-After")
    if until:
        return max(0.0, (int(until.group(1)) - now_ms) / 1000), False
    if retry and retry.isdigit():
        return float(retry), False
    return (120.0 if reply.status == 418 else 60.0), False
