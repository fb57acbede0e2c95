"""A file that says what the book of each symbol holds: ``slippage.ipynb`` writes it, ``qtkit paper --market FILE`` reads it.

JSON with decimal texts, so that what was fitted, what is read and what is shown to people is the same number:

    {"kind": "qtkit paper market", "version": 1, "symbols": {"BTCUSDT": {"half_spread_bps": "0.02", "depth": "90000", ...}},
     "provenance": {...}}

A symbol that is not named keeps the default book; what is not said of a symbol is an error, as is what is not known.
"""

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from qtkit.core.model import ONE, PolicyError
from qtkit.core.names import suggestion
from qtkit.paper.facts import FACTS
from qtkit.paper.liquidity import Liquidity

KIND, VERSION = "qtkit paper market", 1
BPS = ONE // 10_000
_SCALES = {  # name in the file -> field of the book, and what one of its unit is there
    "half_spread_ticks": ("half_spread_ticks", 1),
    "half_spread_bps": ("half_spread", BPS),
    "depth": ("depth", ONE),
    "step_bps": ("step", BPS),
    "level": ("level", ONE),
    "recovery_ms": ("recovery_ms", 1),
    "queue_ticks": ("queue_ticks", 1),
}


def written(books: Mapping[str, Liquidity], provenance: Mapping[str, Any]) -> str:
    """The text of the file. ``provenance`` says where the numbers come from; it is carried, not read."""
    symbols = {symbol: _row(book) for symbol, book in sorted(books.items())}
    return json.dumps({"kind": KIND, "version": VERSION, "symbols": symbols, "provenance": dict(provenance)}, indent=2) + "\n"


def read(path: Path) -> dict[str, Liquidity]:
    """The books of a file. Raises ``PolicyError`` that names the file and what is wrong with it."""
    try:
        whole = json.loads(path.read_text())
    except FileNotFoundError:
        raise PolicyError(f"{path} is not there; `qtkit run slippage` writes one into its run folder, market.json") from None
    except (OSError, ValueError) as error:
        raise PolicyError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(whole, dict) or (whole.get("kind"), whole.get("version")) != (KIND, VERSION):
        raise PolicyError(f'{path} is no market of the paper exchange: it has to say "kind": "{KIND}" and "version": {VERSION}')
    symbols = whole.get("symbols")
    if not isinstance(symbols, dict) or not symbols:
        raise PolicyError(f'{path} has no "symbols"')
    for symbol in symbols:
        if symbol not in FACTS:
            raise PolicyError(f"{path}: the paper exchange does not know {symbol}: {suggestion(symbol, FACTS)}")
    return {symbol: _book(path, symbol, row) for symbol, row in symbols.items()}


def fields_of(values: Mapping[str, Decimal | int | None]) -> dict[str, Any]:
    """Values by their names in the file -> fields of a ``Liquidity``."""
    return {_SCALES[name][0]: None if value is None else int(value * _SCALES[name][1]) for name, value in values.items()}


def _row(book: Liquidity) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name, (field, unit) in _SCALES.items():
        value = getattr(book, field)
        found[name] = None if value is None else format((Decimal(value) / unit).normalize(), "f")
    return found


def _book(path: Path, symbol: str, row: object) -> Liquidity:
    if not isinstance(row, dict):
        raise PolicyError(f"{path}: {symbol} is no table of values")
    for name in row:
        if name not in _SCALES:
            raise PolicyError(f"{path}: {symbol} has an unknown value {name!r}: {suggestion(name, list(_SCALES))}")
    if missing := [name for name in _SCALES if name not in row]:
        raise PolicyError(f"{path}: {symbol} has no {missing[0]}")
    try:
        return Liquidity(**{field: _value(name, row[name], unit) for name, (field, unit) in _SCALES.items()})  # type: ignore[arg-type]
    except PolicyError as error:
        raise PolicyError(f"{path}: {symbol}: {error}") from None


def _value(name: str, text: object, unit: int) -> int | None:
    if text is None and name == "depth":
        return None
    try:
        value = Decimal(text) * unit if isinstance(text, str) else None
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite() or value != value.to_integral_value():
        raise PolicyError(f"{name} is a decimal text, as fine as 1e-8 of a price or of a USDT, not {text!r}")
    return int(value)
