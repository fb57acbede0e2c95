"""An object graph of the paper exchange as plain data that JSON can hold, and back: no code of the file's choosing ever runs.

Only classes that ``qtkit.paper`` and ``qtkit.core`` define are written or made, and they are made without their constructors, field by
field. What is shared stays shared: a second meeting with an object is a reference. The table of classes goes with the data, so that a
file of another version is refused by the name of the field that differs.

Written as: numbers, texts, None and truth as they are; everything else as a list whose first item is its kind: ``t`` tuple, ``l`` list,
``d`` dict, ``c`` counter, ``s`` set, ``f`` frozenset, ``q`` deque, ``a`` array, ``r`` random generator, ``e`` member of an enumeration,
``o`` object, ``@`` reference to the so-many-th thing with an identity.
"""

import sys
from array import array
from collections import Counter, deque
from dataclasses import fields, is_dataclass
from enum import Enum
from random import Random
from types import MappingProxyType
from typing import Any

from qtkit.core.model import PolicyError

ROOMS = ("qtkit.paper.", "qtkit.core.")
Table = dict[str, list[str]]
_SCALARS = (bool, int, str, float)


def pack(root: object) -> tuple[Any, Table]:
    """Plain data of a graph, and the classes in it with their fields. Raises ``PolicyError`` for what has no plain form (a function)."""
    packer = _Packer()
    return packer.put(root, type(root).__name__), packer.table


def unpack(data: Any, table: Table) -> Any:
    """The graph again. Raises ``PolicyError`` where a class or a field is not that of this version, or the data is none of ours."""
    try:
        return _Unpacker(table).get(data)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, RecursionError) as error:
        raise PolicyError(f"its data is not in order ({type(error).__name__}: {error})") from error


def fields_of(kind: type, thing: object | None = None) -> list[str]:
    """Names of what an object of this class holds: dataclass fields, slots of all its bases, or the names in its ``__dict__``."""
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    slots = [name for base in reversed(kind.__mro__) for name in _slots(base) if name != "__weakref__"]
    return slots + sorted(vars(thing) if hasattr(thing, "__dict__") else ())


def _slots(base: type) -> tuple[str, ...]:
    slots = vars(base).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


class _Packer:
    def __init__(self) -> None:
        self.table: Table = {}
        self._seen: dict[int, int] = {}
        self._alive: list[object] = []  # an id is one thing's only while that thing lives

    def put(self, thing: object, where: str) -> Any:
        if thing is None or type(thing) in _SCALARS:
            return thing
        if isinstance(thing, Enum):
            return ["e", _name(type(thing), where), thing.name]
        if type(thing) is tuple:
            return ["t", *(self.put(item, where) for item in thing)]
        if id(thing) in self._seen:
            return ["@", self._seen[id(thing)]]
        self._seen[id(thing)] = len(self._seen)
        self._alive.append(thing)
        return self._container(thing, where) or self._object(thing, where)

    def _container(self, thing: object, where: str) -> list[Any] | None:
        match thing:
            case list():
                return ["l", *(self.put(item, where) for item in thing)]
            case Counter():
                return ["c", *([self.put(key, where), count] for key, count in thing.items())]
            case dict() | MappingProxyType():
                return ["d", *([self.put(key, where), self.put(value, f"{where}[{key}]")] for key, value in thing.items())]
            case set() | frozenset():
                kind = "s" if isinstance(thing, set) else "f"
                return [kind, *sorted((self.put(item, where) for item in thing), key=repr)]
            case deque():
                return ["q", thing.maxlen, *(self.put(item, where) for item in thing)]
            case array():
                return ["a", thing.typecode, *thing]
            case Random():
                return ["r", self.put(thing.getstate(), where)]
            case _:
                return None

    def _object(self, thing: object, where: str) -> list[Any]:
        name = _name(type(thing), where)
        names = self.table.setdefault(name, fields_of(type(thing), thing))
        if names != fields_of(type(thing), thing):
            raise PolicyError(f"{where} cannot be saved: not every {name} holds the same fields")
        return ["o", name, *(self.put(getattr(thing, field), f"{where}.{field}") for field in names)]


def _name(kind: type, where: str) -> str:
    name = f"{kind.__module__}.{kind.__qualname__}"
    if not name.startswith(ROOMS) or "<" in name:
        raise PolicyError(f"{where} cannot be saved: it is a {kind.__module__}.{kind.__qualname__}")
    return name


class _Unpacker:
    def __init__(self, table: Table) -> None:
        self._classes = {name: _class(name) for name in table}
        self._table = table
        self._things: list[Any] = []
        for name, names in table.items():
            self._check(name, names)

    def _check(self, name: str, names: list[str]) -> None:
        kind = self._classes[name]
        here = fields_of(kind)
        if any(field.startswith("__") for field in names):
            raise PolicyError(f"its data is not in order: {name} has no such fields")
        if is_dataclass(kind) or here:
            other = sorted(set(here) ^ set(names))
            if other or here != names:
                raise PolicyError(f"it is of another version: {name} differs in {', '.join(other) or 'the order of its fields'}")

    def get(self, data: Any) -> Any:
        if data is None or type(data) in _SCALARS:
            return data
        kind, *rest = data
        match kind:
            case "e":
                return _class(rest[0], Enum)[rest[1]]  # type: ignore[index]
            case "t":
                return tuple(self.get(item) for item in rest)
            case "@":
                return self._things[rest[0]]
            case "o":
                return self._object(rest[0], rest[1:])
            case _:
                return self._container(kind, rest)

    def _container(self, kind: str, rest: list[Any]) -> Any:
        made: Any = None
        place = len(self._things)
        match kind:
            case "l":
                made = []
                self._things.append(made)
                made.extend(self.get(item) for item in rest)
            case "c" | "d":
                made = Counter() if kind == "c" else {}
                self._things.append(made)
                for key, value in rest:
                    made[self.get(key)] = self.get(value)
            case "s" | "f":
                self._things.append(None)
                made = set(map(self.get, rest)) if kind == "s" else frozenset(map(self.get, rest))
                self._things[place] = made
            case "q":
                made = deque(maxlen=rest[0])
                self._things.append(made)
                made.extend(self.get(item) for item in rest[1:])
            case "a":
                made = array(rest[0], rest[1:])
                self._things.append(made)
            case "r":
                made = Random()
                self._things.append(made)
                made.setstate(self.get(rest[0]))
            case _:
                raise ValueError(f"there is no kind {kind!r}")
        return made

    def _object(self, name: str, values: list[Any]) -> Any:
        names = self._table[name]
        if len(values) != len(names):
            raise ValueError(f"{name} has {len(values)} values for {len(names)} fields")
        made: Any = object.__new__(self._classes[name])
        self._things.append(made)
        for field, value in zip(names, values, strict=True):
            object.__setattr__(made, field, self.get(value))
        return made


def _class(name: str, kind: type = object) -> type:
    """A class of ours by its full name, already loaded. Raises ``PolicyError`` for any other name."""
    module, _, word = name.rpartition(".")
    found = vars(sys.modules[module]).get(word) if name.startswith(ROOMS) and module in sys.modules else None
    if not isinstance(found, type) or found.__module__ != module or not issubclass(found, kind):
        raise PolicyError(f"it is of another version: there is no {name} here")
    return found
