"""Ids as pure functions: the same plan, leg and revision give the same client order id in every process, so a retry is a repeat.

``q1`` + desk tag (4) + leg (2) + hash (18) + revision (2 or more, base 36): at most 32 lower-case alphanumerics, which fits
Binance (36, ``^[\\.A-Z\\:/a-z0-9_-]{1,36}$``) and OKX (32 alphanumerics).
"""

from base64 import b32encode
from functools import lru_cache
from hashlib import blake2b

from qtkit.core.model import PolicyError, PositionSide, Side

PREFIX = "q1"
_TAG, _LEG, _HASH = 4, 2, 18
_HEAD = len(PREFIX) + _TAG + _LEG + _HASH
_LONGEST = 32
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def _hash(*parts: object) -> str:
    digest = blake2b("\x1f".join(str(part) for part in parts).encode(), digest_size=20).digest()
    return b32encode(digest).decode().lower()


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text.rjust(2, "0")


def _word(text: str, length: int, what: str) -> str:
    if len(text) != length or any(letter not in _DIGITS for letter in text):
        raise PolicyError(f"{what} '{text}' must be {length} lower-case letters or digits")
    return text


def plan_uid(*, account: str, symbol: str, position_side: PositionSide, side: Side, episode: int, created_ms: int) -> str:
    """Name of a plan: 16 letters and digits from what makes it unique."""
    return _hash(account, symbol, position_side.value, side.name, episode, created_ms)[:16]


def client_order_id(tag: str, plan_uid: str, leg: str, revision: int) -> str:
    """Client order id of one revision of one leg (``f0``, ``s0``, ``t1``, ``x0``, ``e0``...) of a plan.

    Raises ``PolicyError`` when the tag has not 4 or the leg not 2 lower-case alphanumerics, or the revision is negative or too high.
    """
    _word(tag, _TAG, "desk tag")
    _word(leg, _LEG, "leg")
    number = _base36(revision) if revision >= 0 else ""
    if not number or _HEAD + len(number) > _LONGEST:
        raise PolicyError(f"revision {revision} of leg '{leg}' does not fit a client order id: use 0 to {36**6 - 1}")
    return PREFIX + tag + leg + _hash(tag, plan_uid, leg, revision)[:_HASH] + number


@lru_cache(maxsize=4_096)  # every pass meets the ids of all resting orders again
def parse_client_order_id(client_id: str) -> tuple[str, str, int] | None:
    """Desk tag, leg and revision of an id made by ``client_order_id``; None for anybody else's.

    Whose plan it is, is asked by making the id again from the plan's uid and comparing.
    """
    number = client_id[_HEAD:]
    if not client_id.startswith(PREFIX) or not 2 <= len(number) <= _LONGEST - _HEAD:
        return None
    tag, leg = client_id[2:6], client_id[6:8]
    if any(letter not in _DIGITS for letter in tag + leg + number) or any(letter not in _BASE32 for letter in client_id[8:_HEAD]):
        return None
    revision = int(number, 36)
    return (tag, leg, revision) if _base36(revision) == number else None
