"""What was set: `qtkit.toml` and `QTKIT_*` variables -> one frozen settings object.

A variable beats the file, the file beats the default; what contradicts itself is refused before anything starts. pydantic parses the
values and is imported only by `Settings.load`, so that importing this module, and with it the command line, stays fast.
The places (`qtkit.home`) are offered here too.
"""

import os
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar
from urllib.parse import urlsplit

from qtkit.account import KEY_VARIABLE, Account, GateLimits, within
from qtkit.core.model import PolicyError, Scope, TriggerBy
from qtkit.core.names import default_account, suggestion
from qtkit.core.policy import Profiles
from qtkit.home import FILE, FOLDER, PaperKeys, Paths, Secret, home, searched
from qtkit.policies import Policies
from qtkit.profiles import Profile

__all__ = [
    "Account",
    "Alerts",
    "BarMode",
    "Emergency",
    "GateLimits",
    "Hints",
    "PaperKeys",
    "Paths",
    "Profile",
    "Resolved",
    "Scope",
    "Secret",
    "Series",
    "Settings",
    "account_of",
    "home",
    "meant",
    "searched",
]

PREFIX = "QTKIT_"
RESERVED = frozenset({"QTKIT_HOME", "QTKIT_LEASES", "QTKIT_DATA", "QTKIT_FIXTURES", "QTKIT_RUN_DIR"})
"""Variables of ours that are places, not settings."""


class BarMode(Enum):
    """What the trail folds over."""

    CLOSED = "closed bars"
    TICKS = "ticks"


class Series(Enum):
    """Which price trails follow. Stops trigger on the mark price whatever this is, targets on the last."""

    MARK = "mark"
    LAST = "last"

    @property
    def trigger_by(self) -> TriggerBy:
        """The same as an order says it."""
        return TriggerBy.MARK if self is Series.MARK else TriggerBy.LAST


@dataclass(frozen=True, slots=True, kw_only=True)
class Emergency:
    """When an own fresh entry that cannot be protected is closed, and how often a day at most."""

    patience_seconds: int = 10
    closes_per_day: int = 2

    def __post_init__(self) -> None:
        within("emergency.patience_seconds", self.patience_seconds, 1, 60)
        within("emergency.closes_per_day", self.closes_per_day, 0, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """Who is told what happens, and how often. Each target is an apprise URL; it holds a token, so it is a secret.

    `heartbeat_url` is asked after a complete pass without an old gap, every `heartbeat_seconds` at most. What lasts is told again every
    `remind_seconds`; a target gets at most `per_minute` messages; that no pass completes is told after `failed_passes` of them.
    """

    urls: tuple[Secret, ...] = ()
    heartbeat_url: Secret | None = None
    heartbeat_seconds: int = 60
    remind_seconds: int = 3_600
    per_minute: int = 6
    failed_passes: int = 5
    __pydantic_config__: ClassVar[dict[str, bool]] = {"arbitrary_types_allowed": True}

    def __post_init__(self) -> None:
        within("alerts.heartbeat_seconds", self.heartbeat_seconds, 1, 3_600)
        within("alerts.remind_seconds", self.remind_seconds, 60, 604_800)
        within("alerts.per_minute", self.per_minute, 1, 60)
        within("alerts.failed_passes", self.failed_passes, 1, 1_000)
        if self.heartbeat_url is not None and urlsplit(self.heartbeat_url.reveal()).scheme not in ("http", "https"):
            raise PolicyError("alerts.heartbeat_url: must begin with http:// or https://; it is asked with GET and not shown here")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """The file of hints from research that shapes new entries, empty: none; and how old (days) the end of its data may be.

    A path that is not absolute lies in the home.
    """

    file: str = ""
    max_age_days: int = 30

    def __post_init__(self) -> None:
        within("hints.max_age_days", self.max_age_days, 1, 3_650)


@dataclass(frozen=True, slots=True)
class Resolved:
    """One setting, its value and where it came from: `default`, `qtkit.toml:12` or the name of a variable."""

    name: str
    value: object
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that was set. `budget_share_bps` is each process's share of the address's request weight; port 0: the system chooses."""

    desk: str = "qtk0"
    tick_seconds: float = 2.0
    bar_mode: BarMode = BarMode.CLOSED
    trail_series: Series = Series.MARK
    budget_share_bps: int = 2_500
    endpoint_port: int = 0
    emergency: Emergency = Emergency()
    alerts: Alerts = Alerts()
    hints: Hints = Hints()
    accounts: Mapping[str, Account] = field(default_factory=lambda: MappingProxyType({"paper": Account()}))
    profiles: Mapping[str, Profile] = field(default_factory=lambda: MappingProxyType({}))
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), compare=False, repr=False, metadata={"hidden": True})

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]{4}", self.desk):
            raise PolicyError(f"desk: the tag that marks our orders is 4 of a-z and 0-9, got {self.desk!r}")
        if not 0.1 <= self.tick_seconds <= 60:
            raise PolicyError(f"tick_seconds: must be between 0.1 and 60, got {self.tick_seconds}")
        within("budget_share_bps", self.budget_share_bps, 100, 10_000)
        within("endpoint_port", self.endpoint_port, 0, 65_535)
        if not self.accounts:
            raise PolicyError("accounts: at least one is needed, as in [accounts.paper]")
        for account in self.accounts.values():
            if self.endpoint_port and urlsplit(account.base_url).port == self.endpoint_port:
                raise PolicyError(f"endpoint_port: {self.endpoint_port} is already the port of accounts.{account.name}.base_url")
        for name, profile in self.profiles.items():
            profile.refuse_unknown(f"profiles.{name}")

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
            if variable.startswith(PREFIX) and variable not in RESERVED and not KEY_VARIABLE.fullmatch(variable):
                name = variable.removeprefix(PREFIX).lower().replace("__", ".")
                _put(data, name, value, variable)
                sources[name] = variable
        _refuse_unknown(data, cls, "", sources)
        _refuse_open(file, sources)
        parsed = replace(_parse(data, sources), sources=MappingProxyType(sources))
        _refuse_unknown_policy(parsed, Policies(Paths(place)).names())
        return parsed

    def profiles_of(self, policies: Policies) -> Profiles:
        """Which policy is used where none is named. A profile whose policy's file is damaged is left out; `Policies.faults` tells of it."""
        named = [(profile, policies.sound(profile.policy)) for profile in self.profiles.values()]
        return Profiles().overriding(*(profile.rule(policy) for profile, policy in named if policy is not None))

    def resolved(self) -> tuple[Resolved, ...]:
        """Every setting with its source, for `qtkit config show`."""
        return tuple(Resolved(name, value, self.sources.get(name, "default")) for name, value in _walk(self, ""))


NAMED_TABLES: Mapping[str, type] = MappingProxyType({"accounts": Account, "profiles": Profile})
"""Tables of tables whose names are the user's."""


def meant(account: str) -> str:
    """The account of that name, or where none is named the one that the settings of this home mean. Raises ``PolicyError``."""
    return account or default_account(Settings.load().accounts)


def account_of(settings: Settings, name: str) -> Account:
    """The account of that name, or the one that is meant without a name. Raises ``PolicyError`` naming the nearest."""
    name = name or default_account(settings.accounts)
    if name not in settings.accounts:
        raise PolicyError(f"there is no account '{name}': {suggestion(name, settings.accounts)}")
    return settings.accounts[name]


def _file_of(place: Path) -> Path | None:
    candidates = [place / FILE] + ([place.parent / FILE] if place.name == FOLDER else [])
    found = [path for path in candidates if path.is_file()]
    if len(found) > 1:
        raise PolicyError(f"two settings files for one home: {found[0]} and {found[1]}; keep one")
    return found[0] if found else None


def _refuse_open(file: Path | None, sources: Mapping[str, str]) -> None:
    """Tokens lie only where their owner alone can read them."""
    held = [name for name, source in sources.items() if name in ("alerts.urls", "alerts.heartbeat_url") and source.startswith(f"{FILE}:")]
    if file and held and file.stat().st_mode & 0o077:
        variable = PREFIX + held[0].upper().replace(".", "__")
        raise PolicyError(f"{file}: others than its owner can read {held[0]}; run `chmod 600 {file}`, or set {variable} instead")


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
            if re.search(r"secret|api_?key|token|passw", key, re.IGNORECASE):
                raise PolicyError(f"{source}: {name} is no setting: keys are not kept here; `qtkit init --help` says where they are")
            raise PolicyError(f"{source}: no setting {name!r}; {suggestion(key, known)}")
        if isinstance(value, bool) and known[key].type is not bool:
            raise PolicyError(f"{sources[name]}: {name} is no yes-or-no setting, got {str(value).lower()}")
        if name in NAMED_TABLES and isinstance(value, Mapping):
            for given, row in value.items():
                if isinstance(row, Mapping):
                    _refuse_unknown(row, NAMED_TABLES[name], f"{name}.{given}.", sources)
        elif isinstance(value, Mapping) and (table := _table(known[key].type)) is not None:
            _refuse_unknown(value, table, f"{name}.", sources)


def _refuse_unknown_policy(settings: Settings, known: Sequence[str]) -> None:
    """A policy is named by a profile as it is by a command."""
    for name, profile in settings.profiles.items():
        here = f"profiles.{name}.policy"
        if profile.policy not in known:
            told = f"there is no exit policy '{profile.policy}': {suggestion(profile.policy, known)}"
            raise PolicyError(f"{settings.sources.get(here, FILE)}: {here}: {told}")


def _table(kind: object) -> type | None:
    """The dataclass that a setting holds, also one that may be left out."""
    return next((option for option in (kind, *typing.get_args(kind)) if isinstance(option, type) and is_dataclass(option)), None)


def _parse(data: dict[str, Any], sources: Mapping[str, str]) -> Settings:
    from pydantic import TypeAdapter, ValidationError

    accounts = data.get("accounts")
    if isinstance(accounts, dict):
        data = data | {"accounts": {name: _named(name, row) if isinstance(row, dict) else row for name, row in accounts.items()}}
    if isinstance(alerts := data.get("alerts"), dict):
        data = data | {"alerts": _sealed(alerts)}
    try:
        parsed: Settings = TypeAdapter(Settings).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(cause := first.get("ctx", {}).get("error"), PolicyError):
            name = str(cause).partition(":")[0]
            raise PolicyError(f"{sources[name]}: {cause}" if name in sources else str(cause)) from None
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].replace("Input should", "should").replace("an instance of Secret", "a text")
        got = (
            "" if name.endswith(".keys") or name.startswith("alerts") else f", got {first['input']!r}"
        )  # what stands there by mistake may be a key
        raise PolicyError(f"{sources.get(name, FILE)}: {name} {message}{got}") from None
    return replace(parsed, accounts=MappingProxyType(dict(parsed.accounts)), profiles=MappingProxyType(dict(parsed.profiles)))


def _named(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """An account's table with its name; symbols from a variable come as one text with commas."""
    symbols = row.get("symbols")
    split = {"symbols": [word.strip() for word in symbols.split(",") if word.strip()]} if isinstance(symbols, str) else {}
    return row | {"name": name} | split


def _sealed(row: dict[str, Any]) -> dict[str, Any]:
    """The alerts' table with its URLs as secrets; those from a variable come as one text with spaces."""
    urls, heartbeat = row.get("urls"), row.get("heartbeat_url")
    urls = urls.split() if isinstance(urls, str) else urls
    sealed = {"urls": [Secret(url) if isinstance(url, str) else url for url in urls]} if isinstance(urls, list) else {}
    return row | sealed | ({"heartbeat_url": Secret(heartbeat) if heartbeat else None} if isinstance(heartbeat, str) else {})


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
