"""What was set: `qtkit.toml` and `QTKIT_*` variables -> one frozen settings object.

A variable beats the file, the file beats the default; what contradicts itself is refused before anything starts. pydantic parses the
values and is imported only by `Settings.load`, so that importing this module, and with it the command line, stays fast.
The places (`qtkit.home`) are offered here too.
"""

import ipaddress
import os
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

from qtkit.core.desired import Scope, Traits
from qtkit.core.model import PolicyError, TriggerBy
from qtkit.core.names import suggestion
from qtkit.home import FILE, FOLDER, PaperKeys, Paths, Secret, home, searched

__all__ = [
    "Account",
    "BarMode",
    "Emergency",
    "PaperKeys",
    "Paths",
    "Resolved",
    "Scope",
    "Secret",
    "Series",
    "Settings",
    "home",
    "searched",
]

PREFIX = "QTKIT_"
RESERVED = frozenset({"QTKIT_HOME", "QTKIT_LEASES", "QTKIT_DATA", "QTKIT_FIXTURES", "QTKIT_RUN_DIR"})
"""Variables of ours that are places, not settings."""


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise PolicyError(f"{name}: must be between {low} and {high}, got {value}")


def _is_near(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        return parts.scheme == "http" and (ipaddress.ip_address(host).is_private)
    except ValueError:
        return parts.scheme == "http" and bool(re.fullmatch(r"[a-z0-9-]+", host))


class BarMode(Enum):
    """What the trail folds over."""

    CLOSED = "closed bars"
    TICKS = "ticks"


class Series(Enum):
    """Which price triggers stops and moves trails."""

    MARK = "mark"
    LAST = "last"

    @property
    def trigger_by(self) -> TriggerBy:
        """The same as an order says it."""
        return TriggerBy.MARK if self is Series.MARK else TriggerBy.LAST


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account the desk looks after. `max_notional` is in the quote coin; `None` policies are the planner's own defaults.

    `traits` say what its exchange allows, where that is known to differ from the capability table.
    """

    name: str = field(default="paper", metadata={"hidden": True})
    kind: Literal["paper"] = "paper"
    base_url: str = "http://127.0.0.1:8560"
    scope: Scope = Scope.FULL
    policy: str | None = None
    guard_policy: str | None = None
    risk_per_trade_bps: int = 25
    max_notional: Decimal = Decimal(10_000)
    leverage: int = 5
    traits: Traits | None = None

    def __post_init__(self) -> None:
        _within(f"accounts.{self.name}.risk_per_trade_bps", self.risk_per_trade_bps, 1, 1_000)
        _within(f"accounts.{self.name}.leverage", self.leverage, 1, 125)
        if not re.fullmatch(r"[a-z0-9_]{1,24}", self.name):
            raise PolicyError(f"accounts.{self.name}: a name of an account is 1 to 24 of a-z, 0-9 and _")
        if not (self.max_notional.is_finite() and self.max_notional > 0):
            raise PolicyError(f"accounts.{self.name}.max_notional: must be above zero, got {self.max_notional}")
        if self.scope is Scope.WATCH and (self.policy or self.guard_policy):
            raise PolicyError(f"accounts.{self.name}: scope watch sends nothing, so it has no policy; remove it, or choose guard or full")
        if not _is_near(self.base_url):
            raise PolicyError(
                f"accounts.{self.name}.base_url: {self.base_url} is not where a paper exchange is: http on loopback or the local network"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Emergency:
    """When an own fresh entry that cannot be protected is closed, and how often a day at most."""

    patience_seconds: int = 10
    closes_per_day: int = 2

    def __post_init__(self) -> None:
        _within("emergency.patience_seconds", self.patience_seconds, 1, 60)
        _within("emergency.closes_per_day", self.closes_per_day, 0, 20)


@dataclass(frozen=True, slots=True)
class Resolved:
    """One setting, its value and where it came from: `default`, `qtkit.toml:12` or the name of a variable."""

    name: str
    value: object
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that was set. `budget_share_bps` is our share of the address's request weight; port 0 lets the system choose."""

    desk: str = "qtk0"
    tick_seconds: float = 2.0
    bar_mode: BarMode = BarMode.CLOSED
    trigger_series: Series = Series.MARK
    budget_share_bps: int = 2_500
    endpoint_port: int = 0
    emergency: Emergency = Emergency()
    accounts: Mapping[str, Account] = field(default_factory=lambda: MappingProxyType({"paper": Account()}))
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), compare=False, repr=False, metadata={"hidden": True})

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]{4}", self.desk):
            raise PolicyError(f"desk: the tag that marks our orders is 4 of a-z and 0-9, got {self.desk!r}")
        if not 0.1 <= self.tick_seconds <= 60:
            raise PolicyError(f"tick_seconds: must be between 0.1 and 60, got {self.tick_seconds}")
        _within("budget_share_bps", self.budget_share_bps, 100, 10_000)
        _within("endpoint_port", self.endpoint_port, 0, 65_535)
        if not self.accounts:
            raise PolicyError("accounts: at least one is needed, as in [accounts.paper]")
        for account in self.accounts.values():
            if self.endpoint_port and urlsplit(account.base_url).port == self.endpoint_port:
                raise PolicyError(f"endpoint_port: {self.endpoint_port} is already the port of accounts.{account.name}.base_url")

    @classmethod
    def load(cls, place: Path | None = None, environ: Mapping[str, str] | None = None) -> "Settings":
        """Settings of a home (default `home()`) and the environment. Raises `PolicyError` naming file and line, or the variable."""
        place = home() if place is None else place
        file = _file_of(place)
        text = file.read_text() if file else ""
        try:
            data = tomllib.loads(text, parse_float=Decimal)
        except tomllib.TOMLDecodeError as error:
            raise PolicyError(f"{file}: {error}") from None
        sources = {name: f"{FILE}:{_line(text, name)}" for name in _leaves(data)}
        for variable, value in (os.environ if environ is None else environ).items():
            if variable.startswith(PREFIX) and variable not in RESERVED:
                name = variable.removeprefix(PREFIX).lower().replace("__", ".")
                _put(data, name, value, variable)
                sources[name] = variable
        _refuse_unknown(data, cls, "", sources)
        return replace(_parse(data, sources), sources=MappingProxyType(sources))

    def resolved(self) -> tuple[Resolved, ...]:
        """Every setting with its source, for `qtkit config show`."""
        return tuple(Resolved(name, value, self.sources.get(name, "default")) for name, value in _walk(self, ""))


def _file_of(place: Path) -> Path | None:
    candidates = [place / FILE] + ([place.parent / FILE] if place.name == FOLDER else [])
    found = [path for path in candidates if path.is_file()]
    if len(found) > 1:
        raise PolicyError(f"two settings files for one home: {found[0]} and {found[1]}; keep one")
    return found[0] if found else None


def _line(text: str, name: str) -> int:
    """Line of a dotted name in a TOML text; its table's line, or 1, if it is written in a shape that we do not follow."""
    table, best = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = re.sub(r"[\s\"']", "", header[1]) + "."
            best = number if f"{name}.".startswith(table) else best
        elif (key := re.match(r"\s*([\w.\"'-]+)\s*=", line)) and f"{name}.".startswith(f"{table}{key[1].strip(chr(34))}."):
            return number
    return best


def _leaves(data: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}"


def _put(data: dict[str, Any], name: str, value: str, variable: str) -> None:
    *tables, key = name.split(".")
    for table in tables:
        data = data.setdefault(table, {})
        if not isinstance(data, dict):
            raise PolicyError(f"{variable}: {table} is a value in {FILE}, not a table")
    data[key] = value


def _refuse_unknown(data: Mapping[str, Any], kind: type, before: str, sources: Mapping[str, str]) -> None:
    """Names first, so that a typing error is told as such before any value is looked at."""
    known = {f.name: f for f in fields(kind) if not f.metadata.get("hidden")}
    for key, value in data.items():
        name = f"{before}{key}"
        if key not in known:
            source = next((s for n, s in sources.items() if f"{n}.".startswith(f"{name}.")), FILE)
            raise PolicyError(f"{source}: no setting {name!r}; {suggestion(key, known)}")
        if isinstance(value, bool) and known[key].type is not bool:
            raise PolicyError(f"{sources[name]}: {name} is no yes-or-no setting, got {str(value).lower()}")
        if name == "accounts" and isinstance(value, Mapping):
            for account, row in value.items():
                if isinstance(row, Mapping):
                    _refuse_unknown(row, Account, f"{name}.{account}.", sources)
        elif isinstance(value, Mapping) and (table := _table(known[key].type)) is not None:
            _refuse_unknown(value, table, f"{name}.", sources)


def _table(kind: object) -> type | None:
    """The dataclass that a setting holds, also one that may be left out."""
    return next((option for option in (kind, *typing.get_args(kind)) if isinstance(option, type) and is_dataclass(option)), None)


def _parse(data: dict[str, Any], sources: Mapping[str, str]) -> Settings:
    from pydantic import TypeAdapter, ValidationError

    accounts = data.get("accounts")
    if isinstance(accounts, dict):
        data = data | {"accounts": {name: row | {"name": name} if isinstance(row, dict) else row for name, row in accounts.items()}}
    try:
        parsed: Settings = TypeAdapter(Settings).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(cause := first.get("ctx", {}).get("error"), PolicyError):
            name = str(cause).partition(":")[0]
            raise PolicyError(f"{sources[name]}: {cause}" if name in sources else str(cause)) from None
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].replace("Input should", "should")
        raise PolicyError(f"{sources.get(name, FILE)}: {name} {message}, got {first['input']!r}") from None
    return replace(parsed, accounts=MappingProxyType(dict(parsed.accounts)))


def _walk(node: object, before: str) -> Iterator[tuple[str, object]]:
    if is_dataclass(node) and not isinstance(node, type):
        for f in fields(node):
            if not f.metadata.get("hidden"):
                yield from _walk(getattr(node, f.name), f"{before}.{f.name}" if before else f.name)
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _walk(value, f"{before}.{key}")
    else:
        yield before, node.value if isinstance(node, Enum) else node
