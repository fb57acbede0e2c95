"""JSON for frozen dataclasses, strict in both directions and driven by type hints alone.

Understood are ``int``, ``str``, ``bool`` and ``NewType`` of them, Enum (by value), ``tuple[X, ...]``, ``tuple[X, Y]``,
``Mapping[str, X]``, dataclasses, ``X | None`` and unions. In a union of several dataclasses each carries its class name under
``"@"``. Floats are refused: nothing that is stored is inexact. What was written can be read back and is equal; anything else
(unknown key, missing key, wrong type, a value that its class refuses) is a ``CorruptRecord`` that names the place. Only a field that is
marked as added (``metadata={"added": True}``) may be missing: it was not there when older records were written, and has its default.
"""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import cache
from typing import Any, NoReturn, TypeVar, overload

T = TypeVar("T")
TAG = "@"  # cannot be the name of a field
_LINE = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


class CorruptRecord(ValueError):
    """A record is not what its type says. ``path`` leads to the place, ``reason`` tells what is wrong there."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason

    def inside(self, step: str) -> "CorruptRecord":
        """The same fault, seen from one level further out."""
        joint = "" if not self.path or self.path.startswith("[") else "."
        return CorruptRecord(self.reason, f"{step}{joint}{self.path}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Codec:
    """How one type is written and read. ``shape`` is its JSON type, ``exact`` the JSON type that needs no conversion at all."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    shape: type
    exact: type | None = None


@overload
def decode(hint: type[T], raw: object) -> T: ...
@overload
def decode(hint: object, raw: object) -> Any: ...
def decode(hint: Any, raw: object) -> Any:
    """The value of type ``hint`` that ``raw`` (parsed JSON) stands for. Raises ``CorruptRecord``; ``TypeError`` for an unknown hint."""
    try:
        return _codec(hint).decode(raw)
    except CorruptRecord as error:
        raise error.inside(_name(hint)) from error.__cause__


def encode(hint: Any, value: object) -> Any:
    """``value`` as plain JSON data. Raises ``CorruptRecord`` if it is not of type ``hint``: it could not be read back."""
    try:
        return _codec(hint).encode(value)
    except CorruptRecord as error:
        raise error.inside(_name(hint)) from None


@overload
def loads(hint: type[T], text: str | bytes) -> T: ...
@overload
def loads(hint: object, text: str | bytes) -> Any: ...
def loads(hint: Any, text: str | bytes) -> Any:
    """``decode`` of a JSON text."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptRecord(f"not JSON ({error})", _name(hint)) from error
    return decode(hint, raw)


def dumps(hint: Any, value: object) -> str:
    """``encode`` as one line of ASCII JSON, equal values giving equal text."""
    return _LINE.encode(encode(hint, value))


@cache
def _codec(hint: Any) -> _Codec:
    if isinstance(hint, typing.NewType):
        return _codec(hint.__supertype__)
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _union(hint)
    if origin is tuple:
        return _tuple(typing.get_args(hint))
    if origin is Mapping:
        return _mapping(hint)
    if hint in (int, str, bool):
        return _scalar(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _record(hint)
    if hint is float:
        raise TypeError("float is not stored: use integers of 1e-8 (E8), ticks or bps")
    raise TypeError(f"{_name(hint)} is not stored: use int, str, bool, Enum, tuple, Mapping[str, ...], a dataclass or a union of them")


def _scalar(kind: type) -> _Codec:
    def check(value: object) -> object:
        if type(value) is not kind:
            _wrong(kind.__name__, value)
        return value

    return _Codec(check, check, kind, kind)


def _enum(kind: type[Enum]) -> _Codec:
    members = {member.value: member for member in kind}
    shapes = {type(value) for value in members}
    if len(shapes) != 1 or not shapes <= {int, str}:
        raise TypeError(f"{kind.__name__} is not stored: the values of an Enum must be all str or all int")
    shape = shapes.pop()

    def decode(raw: object) -> Enum:
        if type(raw) is not shape:
            _wrong(f"a value of {kind.__name__}", raw)
        member = members.get(raw)
        if member is None:
            raise CorruptRecord(f"{raw!r} is no value of {kind.__name__}{_nearest(str(raw), map(str, members))}")
        return member

    def encode(value: object) -> Any:
        if not isinstance(value, kind):
            _wrong(kind.__name__, value)
        return value.value

    return _Codec(encode, decode, shape)


def _tuple(items: tuple[Any, ...]) -> _Codec:
    if len(items) == 2 and items[1] is Ellipsis:
        return _sequence(lambda count: (_codec(items[0]),) * count)
    parts = tuple(_codec(item) for item in items)

    def exactly(count: int) -> tuple[_Codec, ...]:
        if count != len(parts):
            raise CorruptRecord(f"expected {len(parts)} items, found {count}")
        return parts

    return _sequence(exactly)


def _sequence(parts: Callable[[int], tuple[_Codec, ...]]) -> _Codec:
    def decode(raw: object) -> tuple[Any, ...]:
        if type(raw) is not list:
            _wrong("a list", raw)
        return tuple(_each(enumerate(raw), [part.decode for part in parts(len(raw))]))

    def encode(value: object) -> list[Any]:
        if type(value) is not tuple:
            _wrong("a tuple", value)
        return _each(enumerate(value), [part.encode for part in parts(len(value))])

    return _Codec(encode, decode, list)


def _mapping(hint: Any) -> _Codec:
    key, item = typing.get_args(hint)
    if _codec(key).exact is not str:
        raise TypeError(f"{_name(hint)} is not stored: the keys of a Mapping must be str")
    part = _codec(item)

    def decode(raw: object) -> dict[str, Any]:
        if type(raw) is not dict:
            _wrong("an object", raw)
        return dict(zip(raw, _each(raw.items(), [part.decode] * len(raw)), strict=True))

    def encode(value: object) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            _wrong("a Mapping", value)
        for name in value:
            if type(name) is not str:
                _wrong("a str key", name)
        return dict(zip(value, _each(value.items(), [part.encode] * len(value)), strict=True))

    return _Codec(encode, decode, dict)


def _each(items: Iterable[tuple[object, Any]], convert: list[Callable[[Any], Any]]) -> list[Any]:
    done = []
    for (step, item), function in zip(items, convert, strict=True):
        try:
            done.append(function(item))
        except CorruptRecord as error:
            raise error.inside(f"[{step!r}]") from error.__cause__
    return done


def _record(kind: type) -> _Codec:
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    for hidden in (field.name for field in fields if not field.init):
        raise TypeError(f"{kind.__name__} is not stored: its field {hidden!r} cannot be given to the constructor")
    parts = tuple((field.name, part.exact, part) for field in fields for part in [_codec(hints[field.name])])
    names = frozenset(field.name for field in fields)
    grown = (field for field in fields if field.metadata.get("added"))
    added = {field.name: _codec(hints[field.name]).encode(field.default) for field in grown}

    def decode(raw: object) -> Any:
        if type(raw) is not dict:
            _wrong(f"an object ({kind.__name__})", raw)
        if raw.keys() != names:
            raw = {**added, **raw}
        if raw.keys() != names:
            _wrong_keys(kind, raw.keys(), names)
        values = {}
        name = ""
        try:
            for name, exact, part in parts:
                value = raw[name]
                values[name] = value if type(value) is exact else part.decode(value)
        except CorruptRecord as error:
            raise error.inside(name) from error.__cause__
        try:
            return kind(**values)
        except ValueError as error:  # a class refuses nonsense with PolicyError or another ValueError
            raise CorruptRecord(f"refused by {kind.__name__}: {error}") from error

    def encode(value: object) -> dict[str, Any]:
        if type(value) is not kind:
            _wrong(kind.__name__, value)
        raw = {}
        name = ""
        try:
            for name, exact, part in parts:
                item = getattr(value, name)
                raw[name] = item if type(item) is exact else part.encode(item)
        except CorruptRecord as error:
            raise error.inside(name) from None
        return raw

    return _Codec(encode, decode, dict)


def _union(hint: Any) -> _Codec:
    members = [member for member in typing.get_args(hint) if member is not type(None)]
    optional = len(members) < len(typing.get_args(hint))
    chosen = _codec(members[0]) if len(members) == 1 else _choice(hint, members)
    if not optional:
        return chosen
    inner_decode, inner_encode = chosen.decode, chosen.encode
    return _Codec(
        lambda value: None if value is None else inner_encode(value),
        lambda raw: None if raw is None else inner_decode(raw),
        chosen.shape,
        chosen.exact,
    )


def _choice(hint: Any, members: list[Any]) -> _Codec:
    """Several members: told apart by their JSON type, and dataclasses among each other by their name under ``TAG``."""
    records: dict[str, Any] = {_name(member): member for member in members if dataclasses.is_dataclass(member)}
    plain = [member for member in members if not dataclasses.is_dataclass(member)]
    shapes = {_codec(member).shape: _codec(member) for member in plain}
    clash = len(shapes) < len(plain) or len(records) + len(plain) < len(members) or (records and dict in shapes)
    if clash:
        raise TypeError(f"{_name(hint)} is not stored: its members look the same in JSON")
    if records:
        shapes[dict] = _tagged(records) if len(records) > 1 else _codec(next(iter(records.values())))
    by_class = {_runtime(member): _codec(member) for member in plain} | {member: shapes[dict] for member in records.values()}

    def decode(raw: object) -> Any:
        codec = shapes.get(type(raw))
        if codec is None:
            _wrong(_name(hint), raw)
        return codec.decode(raw)

    def encode(value: object) -> Any:
        codec = by_class.get(type(value))
        if codec is None:
            _wrong(_name(hint), value)
        return codec.encode(value)

    return _Codec(encode, decode, dict if records else object)


def _tagged(records: dict[str, Any]) -> _Codec:
    codecs = {name: _codec(kind) for name, kind in records.items()}

    def decode(raw: dict[str, Any]) -> Any:
        name = raw.get(TAG)
        codec = codecs.get(name) if type(name) is str else None
        if codec is None:
            raise CorruptRecord(f"{name!r} under {TAG!r} is none of {', '.join(codecs)}{_nearest(str(name), codecs)}")
        try:
            return codec.decode({key: value for key, value in raw.items() if key != TAG})
        except CorruptRecord as error:
            raise error.inside(f"<{name}>") from error.__cause__

    def encode(value: object) -> dict[str, Any]:
        name = type(value).__name__
        return {TAG: name, **codecs[name].encode(value)}

    return _Codec(encode, decode, dict)


def _runtime(hint: Any) -> Any:
    """The class that values of a plain hint have."""
    if isinstance(hint, typing.NewType):
        return _runtime(hint.__supertype__)
    origin = typing.get_origin(hint)
    return dict if origin is Mapping else origin or hint


def _wrong(expected: str, found: object) -> NoReturn:
    shown = repr(found)
    raise CorruptRecord(f"expected {expected}, found {shown if len(shown) <= 60 else shown[:57] + '...'} ({type(found).__name__})")


def _wrong_keys(kind: type, found: Iterable[str], names: frozenset[str]) -> NoReturn:
    keys = set(found)
    missing = sorted(names - keys)
    unknown = sorted(keys - names)
    if unknown:
        raise CorruptRecord(f"unknown key {unknown[0]!r} in {kind.__name__}{_nearest(unknown[0], missing or names)}")
    raise CorruptRecord(f"key {missing[0]!r} of {kind.__name__} is missing")


def _nearest(word: str, words: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, sorted(words), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")
