"""The words of a policy file: its keys, its units, and the values that TOML can hold."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from qtkit.core.model import PolicyError, TriggerBy
from qtkit.core.policy import ExitPolicy

BREAK_EVEN = "break-even"
SPANS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
TRIGGERS = {"mark": TriggerBy.MARK, "last": TriggerBy.LAST}

KEYS = (
    "name", "strategy", "stop", "adopted_stop", "targets", "trail", "stages", "break_even_after", "max_hold", "liquidation_buffer",
    "trigger_by", "provenance",
)  # fmt: skip
TRAIL_KEYS = ("activation", "callback", "share", "min_step", "tightening", "moves")
ATR_KEYS = ("distance", "least", "most", "fallback")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFile:
    """What a policy file holds. ``provenance`` has free keys: text, numbers, true or false, dates, lists and tables of them."""

    policy: ExitPolicy
    provenance: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def located(where: str) -> Iterator[None]:
    """Tell an error with the place where it is."""
    try:
        yield
    except PolicyError as error:
        raise PolicyError(f"{where}: {error}") from None


def span(ms: int) -> str:
    """A time (ms) as a policy file says it: the largest unit that says it exactly, 36h."""
    unit = next(unit for unit, width in SPANS.items() if ms % width == 0)
    return f"{ms // SPANS[unit]}{unit}"


def quoted(text: str) -> str:
    """A TOML string: that of JSON, but for one control character that JSON lets through."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def key_text(key: object) -> str:
    if not isinstance(key, str):
        raise PolicyError(f"a key must be text, got {key!r}")
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else quoted(key)


def value_text(value: object) -> str:
    """A value of the provenance; what cannot be written and read back the same is refused."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return quoted(value)
        case int():
            return int.__repr__(value)
        case float() if math.isfinite(value):
            return float.__repr__(value)
        case date():  # a time of a day too
            return value.isoformat()
        case list() | tuple():
            return f"[{', '.join(value_text(one) for one in value)}]"
        case Mapping():
            return "{ " + ", ".join(f"{key_text(key)} = {value_text(one)}" for key, one in value.items()) + " }"
        case _:
            raise PolicyError(f"must be text, a finite number, true or false, a date, or a list or table of them, got {value!r}")
