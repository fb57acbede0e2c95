"""Who sent a request: API key, signature and timestamp, as Binance checks them.

The signature is HMAC-SHA256 over the raw query and the raw body joined without a separator, never re-encoded
(``batchOrders`` travels unescaped). A timestamp is good if it is less than 1,000 ms ahead of the server and at most
``recvWindow`` behind it. Only HMAC keys are known; RSA and Ed25519 are not.
"""

import hmac
import re
from collections.abc import Mapping
from urllib.parse import unquote_plus

from qtkit.paper.params import invalid, missing, whole
from qtkit.paper.rows import ExchangeError
from qtkit.venue.gateway import KeyRights

AHEAD_MS = 1_000
RECV_WINDOW_MS = 5_000
LONGEST_WINDOW_MS = 60_000
_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")

Keys = Mapping[str, tuple[str, str]]
"""API key -> (secret, account name)."""


WHOLE = KeyRights(read=True, trade=True, withdraw=False, transfer=False, ip_restricted=False)
"""What a key of the paper exchange may do, unless a test says otherwise."""


def parse(raw: str) -> tuple[dict[str, str], str]:
    """Decode a query or form: the parameters, and one that came twice, empty if none did."""
    params: dict[str, str] = {}
    twice = ""
    for pair in raw.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            if name in params:
                twice = name
            params[name] = unquote_plus(value) if "%" in value or "+" in value else value
    return params, twice


def account_of(api_key: str | None, keys: Keys) -> tuple[str, str]:
    """Secret and account of a key. Raises -2014 (no key, or none that could be one) and -2015 (not known)."""
    if not api_key or not _KEY.fullmatch(api_key):
        raise ExchangeError(-2014, "API-key format invalid.", 401)
    found = keys.get(api_key)
    if found is None:
        raise forbidden()
    return found


def forbidden() -> ExchangeError:
    """-2015: one text for a key that is not known, comes from a wrong address, or may not do this."""
    return ExchangeError(-2015, "Invalid API-key, IP, or permissions for action.", 401)


def check_rights(rights: KeyRights, *, writes: bool) -> None:
    """Raises -2015 if a key may not read, or not trade where something is to change."""
    if not (rights.trade if writes else rights.read):
        raise forbidden()


def check_time(params: Mapping[str, str], now_ms: int) -> None:
    """Raises -1102 without a timestamp, -1130 for an impossible window, -1021 outside of it."""
    sent = whole(params.get("timestamp"))
    if sent is None:
        raise missing("timestamp")
    window = whole(params.get("recvWindow") or str(RECV_WINDOW_MS))
    if window is None or not 0 < window <= LONGEST_WINDOW_MS:
        raise invalid("recvWindow")
    if sent >= now_ms + AHEAD_MS:
        raise ExchangeError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms - sent > window:
        raise ExchangeError(-1021, "Timestamp for this request is outside of the recvWindow.")


def check_signature(secret: str, query: str, body: str, signature: str | None) -> None:
    """Raises -1102 without a signature, -1022 if it is not that of this text."""
    if not signature:
        raise missing("signature")
    expected = hmac.digest(secret.encode(), (_unsigned(query) + _unsigned(body)).encode(errors="surrogateescape"), "sha256").hex()
    if not hmac.compare_digest(expected, signature.lower()):
        raise ExchangeError(-1022, "Signature for this request is not valid.")


def _unsigned(raw: str) -> str:
    """The text that was signed: everything but the signature itself."""
    if "signature=" not in raw:
        return raw
    return "&".join(pair for pair in raw.split("&") if not pair.startswith("signature="))
