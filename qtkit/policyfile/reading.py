"""A policy file read: strict, and every error names file, key and rule."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from qtkit.core.distance import AtPrice, Distance, InAtr, InBps, InR, parse_distance
from qtkit.core.model import Bps, PolicyError, TriggerBy
from qtkit.core.names import suggestion
from qtkit.core.policy import ExitPolicy, StageRule, TargetRule, TightenRule, TrailRule
from qtkit.policyfile.words import ATR_KEYS, BREAK_EVEN, KEYS, SPANS, TRAIL_KEYS, TRIGGERS, PolicyFile, located, value_text

T = TypeVar("T")
LONGEST = 65_536  # bytes; a policy takes one or two thousand
LONGEST_DISTANCE = 1_000  # signs; Python refuses to read numbers of some thousand digits
FORMS: Mapping[type, str] = {InBps: "2.5% or 250bps", InR: "2R", InAtr: "3atr", AtPrice: "@91000"}


def load(path: Path | str) -> PolicyFile:
    """The policy of a file. Raises ``PolicyError`` naming file, key and rule, ``OSError`` if it cannot be read at all."""
    return read(content(Path(path)), str(path))


def content(path: Path) -> bytes:
    """The bytes of a policy file. Raises ``PolicyError`` for what is too large to be one, and ``OSError``."""
    with path.open("rb") as file:
        found = file.read(LONGEST + 1)
    if len(found) > LONGEST:
        raise PolicyError(f"{path}: no policy file, it has more than {LONGEST:,} bytes")
    return found


def read(text: str | bytes, source: str = "policy") -> PolicyFile:
    """The policy that a text holds; ``source`` names it in errors. Raises ``PolicyError`` naming source, key and rule."""
    with located(source):
        data = _tables(text)
        _refuse_unknown(data, KEYS)
        provenance = data.get("provenance", {})
        with located("provenance"):
            value_text(_rows(provenance))
        return PolicyFile(policy=_policy(data), provenance=provenance)


def _tables(text: str | bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(text if isinstance(text, str) else text.decode())
    except UnicodeDecodeError as error:
        raise PolicyError(f"no text in UTF-8: byte {error.start} is {error.object[error.start]:#x}") from None
    except ValueError as error:  # a number with thousands of digits too
        raise PolicyError(f"no TOML: {error}") from None
    except RecursionError:
        raise PolicyError("no TOML: its tables are nested too deeply") from None


def _policy(data: Mapping[str, Any]) -> ExitPolicy:
    """Built up key by key, so that what a rule refuses is told with its key."""
    policy = _get(data, "name", lambda value: ExitPolicy(name=_text(value)))
    for key, change in _changes(data):
        with located(key):
            policy = replace(policy, **change)
    return policy


def _changes(data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each key changes. Targets and trail share the position: they come together."""
    yield "strategy", {"strategy": _get({"strategy": "", **data}, "strategy", _text)}
    for key, name, reader in REQUIRED:
        yield key, {name: _get(data, key, reader)}
    targets = _listed(data, "targets", _target)
    yield "targets and trail", {"targets": targets, "trail": _get(data, "trail", _trail) if "trail" in data else None}
    yield "stages", {"stages": _listed(data, "stages", _stage)}
    for key, name, reader in OPTIONAL:
        if key in data:
            yield key, {name: _get(data, key, reader)}


def _target(row: Mapping[str, Any]) -> TargetRule:
    _refuse_unknown(row, ("at", "share"))
    at, share = _get(row, "at", _any_distance), _get(row, "share", _part)
    with located("share"):
        return TargetRule(at=at, share=share)


def _stage(row: Mapping[str, Any]) -> StageRule:
    _refuse_unknown(row, ("at", "to"))
    at, to = _get(row, "at", _part), _get(row, "to", lambda value: None if value == BREAK_EVEN else _part(value))
    with located("to"):
        return StageRule(at=at, to=to)


def _tightening(row: Mapping[str, Any]) -> TightenRule:
    _refuse_unknown(row, ("at", "callback"))
    return TightenRule(at=_get(row, "at", _profit), callback=_get(row, "callback", _part))


def _trail(value: object) -> TrailRule:
    row = _rows(value)
    _refuse_unknown(row, TRAIL_KEYS)
    return TrailRule(
        activation=_get(row, "activation", _profit),
        callback=_get(row, "callback", lambda value: _distance(value, InBps, InAtr)),
        share=_get(row, "share", _part),
        min_step=_get(row, "min_step", _part),
        tightening=_listed(row, "tightening", _tightening),
        moves=_get(row, "moves", _truth) if "moves" in row else False,
    )


def _listed(data: Mapping[str, Any], key: str, one: Any) -> tuple[Any, ...]:
    """The rows of a list of tables, read one by one; none where the key is left out."""
    rows = data.get(key, [])
    if not isinstance(rows, list):
        raise PolicyError(f"{key}: must be a list of tables, got {rows!r}")
    found = []
    for number, row in enumerate(rows, start=1):
        with located(f"{key}[{number}]"):
            found.append(one(_rows(row)))
    return tuple(found)


def _distance(value: object, *kinds: type) -> Any:
    """A distance of one of these kinds: a text, or of ATR a table with its clamps."""
    if isinstance(value, dict) and InAtr in kinds:
        _refuse_unknown(value, ATR_KEYS)
        multiple = _get(value, "distance", lambda text: _distance(_text(text), InAtr))
        least, most, fallback = (_get(value, key, _part) for key in ATR_KEYS[1:])
        return InAtr(multiple.milli, least=least, most=most, fallback=fallback)
    text = _text(value)
    if len(text) > LONGEST_DISTANCE:
        raise PolicyError(f"no distance is that long, {len(text):,} signs; write 2.5%, 250bps, 2R, 3atr or @91000")
    found = parse_distance(text)
    if not isinstance(found, kinds):
        raise PolicyError(f"'{value}' cannot stand here; write {' or '.join(FORMS[kind] for kind in kinds)}")
    return found


def _any_distance(value: object) -> Distance:
    found: Distance = _distance(value, InBps, InR, InAtr, AtPrice)
    return found


def _stop(value: object) -> InBps | InAtr | AtPrice:
    found: InBps | InAtr | AtPrice = _distance(value, InBps, InAtr, AtPrice)
    return found


def _profit(value: object) -> InR | InBps:
    found: InR | InBps = _distance(value, InR, InBps)
    return found


def _part(value: object) -> Bps:
    """A part of the price or of the position, which may be none."""
    text = _text(value)
    if text in ("0%", "0bps"):
        return Bps(0)
    found: InBps = _distance(text, InBps)
    return found.bps


def _span(value: object) -> int:
    match = re.fullmatch(r"([0-9]{1,15})(ms|[dhms])", _text(value))
    if match is None:
        raise PolicyError(f"a time is a number of days, hours, minutes, seconds or ms: 2d, 36h, 90m, 30s or 500ms, got '{value}'")
    return int(match[1]) * SPANS[match[2]]


def _trigger(value: object) -> TriggerBy:
    text = _text(value)
    if text not in TRIGGERS:
        raise PolicyError(f"there is no price '{text}' to trigger by; {suggestion(text, TRIGGERS)}")
    return TRIGGERS[text]


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise PolicyError(f"must be true or false, got {value!r}")
    return value


def _count(value: object) -> int:
    if type(value) is not int:
        raise PolicyError(f"must be a whole number, got {value!r}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise PolicyError(f'must be text in quotes, as "2.5%", got {value!r}')
    return value


def _rows(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(f"must be a table, got {value!r}")
    return value


def _get(row: Mapping[str, Any], key: str, reader: Callable[[object], T]) -> T:
    """What stands at a key, read; errors are told with the key."""
    with located(key):
        if key not in row:
            raise PolicyError("must be given; a policy file leaves nothing to defaults")
        return reader(row[key])


def _refuse_unknown(row: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in row:
        if key not in known:
            raise PolicyError(f"{key}: there is no such key; {suggestion(key, known)}")


Readers = tuple[tuple[str, str, Callable[[object], object]], ...]
REQUIRED: Readers = (("stop", "stop", _stop), ("liquidation_buffer", "liquidation_buffer", _part), ("trigger_by", "trigger_by", _trigger))
OPTIONAL: Readers = (
    ("adopted_stop", "adopted_stop", _stop),
    ("break_even_after", "break_even_after", _count),
    ("max_hold", "max_hold_ms", _span),
)
"""Keys, the fields that they are, and how they are read."""
