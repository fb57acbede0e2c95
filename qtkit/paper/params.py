"""Request parameters: text of the wire -> types, with Binance's own refusals.

Codes (developers.binance.com, USD-M futures, error codes, read 2026-10): -1102 missing, -1100 not a number or not a symbol, -1111 too
many decimals, -1118 and -1119 empty client ids, one code each for the enumerations below, -1130 the rest. Of the documented ones -1103,
-1104 and -1105 never come: recorded requests carry parameters that the endpoint does not read, and ``orderId`` without a value.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import TypeVar

from qtkit.core.model import ONE
from qtkit.paper.rows import ExchangeError

LARGEST_EXPONENT = 12
_E = TypeVar("_E", bound=Enum)
_CODES = {
    "type": (-1116, "Invalid orderType."),
    "side": (-1117, "Invalid side."),
    "timeInForce": (-1115, "Invalid timeInForce."),
    "newOrderRespType": (-1136, "Invalid newOrderRespType."),
    "workingType": (-4031, "Invalid parameter working type."),
    "positionSide": (-4060, "Invalid position side."),
    "priceMatch": (-5037, "Invalid price match"),
    "selfTradePreventionMode": (-5039, "Invalid self trade prevention mode"),
}
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
_SYMBOL = re.compile(r"[A-Za-z0-9_.-]{1,20}")


class ResponseType(Enum):
    """``newOrderRespType``."""

    ACK = "ACK"
    RESULT = "RESULT"


class SelfTrade(Enum):
    """``selfTradePreventionMode``. Nobody trades with himself here: it is read and has no effect."""

    NONE = "NONE"
    EXPIRE_TAKER = "EXPIRE_TAKER"
    EXPIRE_MAKER = "EXPIRE_MAKER"
    EXPIRE_BOTH = "EXPIRE_BOTH"


def whole(text: str | None) -> int | None:
    """A whole number of at most 18 digits, else None."""
    return int(text) if text and len(text) <= 18 and text.isdecimal() else None


def missing(name: str) -> ExchangeError:
    """-1102: a mandatory parameter was not sent."""
    return ExchangeError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def invalid(name: str) -> ExchangeError:
    """-1130: a value that this parameter cannot have."""
    return ExchangeError(-1130, f"Data sent for parameter '{name}' is not valid.")


def illegal(name: str, legal: str) -> ExchangeError:
    """-1100: characters that this parameter cannot have."""
    return ExchangeError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def refuse_symbol(symbol: str) -> ExchangeError:
    """Why a symbol is not known: -1100 if it cannot be one, else -1121."""
    return ExchangeError(-1121, "Invalid symbol.") if _SYMBOL.fullmatch(symbol) else illegal("symbol", "^[A-Z0-9-_.]{1,20}$")


class Params:
    """Typed view of one request's parameters; an empty text is one that was not sent."""

    __slots__ = ("raw",)

    def __init__(self, raw: Mapping[str, str]) -> None:
        self.raw = raw

    def has(self, name: str) -> bool:
        """True if it was sent and is not empty."""
        return bool(self.raw.get(name))

    def text(self, name: str, default: str = "") -> str:
        """The text, or the default."""
        return self.raw.get(name) or default

    def new_id(self, name: str) -> str:
        """The client id of a new order, empty if none was sent; -1118 if an empty one was."""
        if self.raw.get(name) == "":
            raise ExchangeError(-1118, "New client order ID was empty.")
        return self.raw.get(name, "")

    def required(self, name: str) -> str:
        """The text; -1102 without one."""
        value = self.raw.get(name)
        if not value:
            raise missing(name)
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """``true`` or ``false``, in any case; -1130 else."""
        value = self.raw.get(name)
        if not value:
            return default
        lower = value.lower()
        if lower not in ("true", "false"):
            raise invalid(name)
        return lower == "true"

    def integer(self, name: str, default: int | None = None, *, least: int = 0, most: int | None = None) -> int | None:
        """A whole number (else -1100) within bounds (else -1130); a number above ``most`` is refused, not cut."""
        text = self.raw.get(name)
        if not text:
            return default
        value = whole(text)
        if value is None:
            raise illegal(name, "^[0-9]{1,20}$")
        if value < least or (most is not None and value > most):
            raise invalid(name)
        return value

    def limit(self, default: int, most: int) -> int:
        """The ``limit`` of a list."""
        value = self.integer("limit", default, least=1, most=most)
        assert value is not None
        return value

    def choice(self, name: str, kind: type[_E], default: _E | None = None) -> _E:
        """A member of an enumeration by its wire text."""
        value = self.raw.get(name)
        if not value:
            if default is None:
                raise missing(name)
            return default
        try:
            return kind(value)
        except ValueError:
            code, message = _CODES.get(name, (-1130, f"Data sent for parameter '{name}' is not valid."))
            raise ExchangeError(code, message) from None

    def e8(self, name: str) -> int | None:
        """A decimal as an integer of 1e-8; None if it was not sent.

        -1100 if it is not plain digits (``1e-05`` is not: clients that print floats fail here as they do there), -1130 if it is too large,
        -1111 below 1e-8.
        """
        value = self.raw.get(name)
        if not value:
            return None
        if not _NUMBER.fullmatch(value):
            raise illegal(name, r"^([0-9]{1,20})(\.[0-9]{1,20})?$")
        number = Decimal(value)
        if number.adjusted() > LARGEST_EXPONENT:
            raise invalid(name)
        scaled = number * ONE
        if scaled != scaled.to_integral_value():
            raise ExchangeError(-1111, "Precision is over the maximum defined for this asset.")
        return int(scaled)
