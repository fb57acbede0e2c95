"""Request parameters: text of the wire -> types, with Binance's own refusals.

-1102 missing, -1111 too many decimals, -1117 side, -1116 type, -1115 time in force, -1130 the rest.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
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
}


def whole(text: str | None) -> int | None:
    """A whole number of at most 18 digits, else None."""
    return int(text) if text and len(text) <= 18 and text.isdecimal() else None


def missing(name: str) -> ExchangeError:
    """-1102: a mandatory parameter was not sent."""
    return ExchangeError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def invalid(name: str) -> ExchangeError:
    """-1130: a value that this parameter cannot have."""
    return ExchangeError(-1130, f"Data sent for parameter '{name}' is not valid.")


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
        """A whole number within bounds, else -1130; a number above ``most`` is refused, not cut."""
        text = self.raw.get(name)
        if not text:
            return default
        value = whole(text)
        if value is None or value < least or (most is not None and value > most):
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
        """A decimal as an integer of 1e-8; None if it was not sent, -1102 if it is no number, -1111 below 1e-8."""
        value = self.raw.get(name)
        if not value:
            return None
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise missing(name) from None
        if not number.is_finite():
            raise missing(name)
        if number.adjusted() > LARGEST_EXPONENT:
            raise invalid(name)
        scaled = number * ONE
        if scaled != scaled.to_integral_value():
            raise ExchangeError(-1111, "Precision is over the maximum defined for this asset.")
        return int(scaled)
