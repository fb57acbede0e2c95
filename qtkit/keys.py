"""Where the keys of an account come from: environment, file or the system's keyring; and who may hold which.

Each account may have two pairs: one that trades, and one that only reads, for looking. A notebook kernel never gets the first.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType

from qtkit.account import KEY_VARIABLE, Account, KeySource
from qtkit.core.model import PolicyError, Scope
from qtkit.core.names import suggestion
from qtkit.home import Paths, Secret, read_pair

SOURCES: Mapping[KeySource, str] = MappingProxyType({"env": "environment", "file": "file", "keyring": "keyring"})
"""Names of the sources in settings, and in sentences; in the order in which they are asked."""

SERVICE = "qtkit"  # the keyring's name for all that is ours


@dataclass(frozen=True, slots=True)
class Keys:
    """A key pair of an account. ``source`` says where it was found; ``looks``: it is the pair given for looking."""

    api_key: str = field(repr=False)
    secret: Secret
    source: str = "file"
    looks: bool = False

    def __str__(self) -> str:
        return f"the {'read-only ' if self.looks else ''}key from {self.source}"


def keys_of(account: Account, paths: Paths, *, looking: bool = False) -> Keys:
    """The keys of an account. ``looking`` takes the read-only pair where there is one.

    Raises ``PolicyError`` if there are none (saying where they may be put), if a place is not safe or holds half a pair, and in a
    notebook kernel for anything but the read-only pair of a real account.
    """
    in_kernel = account.real and kernel()
    found = next(_found(account, paths, looks=True), None) if looking or in_kernel else None
    if found is None and in_kernel:
        _refuse_kernel(account)
    found = found or next(_found(account, paths, looks=False), None)
    if found is None and looking is False and next(_found(account, paths, looks=True), None) is not None:
        raise PolicyError(
            f"account {account.name} has only a read-only key pair, and this needs one that trades; {_places(account, paths)}"
        )
    if found is None:
        raise PolicyError(_missing(account, paths, looking=looking))
    return found


def owner_keys(account: Account, paths: Paths) -> Keys:
    """The pair by which an account is known to its lease: the one that trades, else the one that reads. Raises as ``keys_of``."""
    pair = None if account.real and kernel() else next(_found(account, paths, looks=False), None)
    return pair or keys_of(account, paths, looking=True)


def require_own_key(account: Account, accounts: Mapping[str, Account], paths: Paths) -> None:
    """Raise ``PolicyError`` if another account of the settings has the same key: two desks would own one account of the exchange.

    A desk that only watches fights with nobody.
    """
    if account.real and account.scope is Scope.WATCH:
        return
    own = owner_keys(account, paths).api_key
    for other in accounts.values():
        if other.name != account.name and other.place == account.place and _known_key(other, paths) == own:
            raise PolicyError(
                f"accounts {account.name} and {other.name} of qtkit.toml have the same API key: they are one account of the exchange, "
                "and two desks would cancel each other's orders; remove one of the two"
            )


def _known_key(account: Account, paths: Paths) -> str | None:
    """The API key that an account is known by; None where there is none, or none that may be read: then no desk runs with it."""
    with suppress(PolicyError):
        return owner_keys(account, paths).api_key
    return None


def variables(account: str, *, looks: bool) -> tuple[str, str]:
    """Names of the two environment variables of a pair."""
    middle = "READ_" if looks else ""
    return f"QTKIT_{middle}KEY_{account.upper()}", f"QTKIT_{middle}SECRET_{account.upper()}"


def kernel() -> bool:
    """True in a notebook kernel."""
    shell = sys.modules.get("IPython")
    return getattr(shell.get_ipython() if shell is not None else None, "kernel", None) is not None


def refuse_in_kernel(account: Account) -> None:
    """Raise ``PolicyError`` in a notebook kernel that was given a real account's trading key: its cells could show and use it."""
    if account.real and kernel() and any(name in os.environ for name in variables(account.name, looks=False)):
        _refuse_kernel(account)


def _refuse_kernel(account: Account) -> None:
    given, read = variables(account.name, looks=False), variables(account.name, looks=True)
    had = [name for name in given if name in os.environ]
    first = f"it was given {' and '.join(had)}; start it without" if had else "it has no read-only key"
    raise PolicyError(
        f"account {account.name}: a notebook kernel holds no trading key, and {first}: "
        f"give it {read[0]} and {read[1]}, or let it ask the running desk (`qtkit desk --account {account.name}`)"
    )


def _found(account: Account, paths: Paths, *, looks: bool) -> Iterator[Keys]:
    """The pair from each source that has it, in order; only from the one that the settings name, if they name one."""
    readers: Mapping[KeySource, Callable[[], tuple[str, Secret] | None]] = {
        "env": lambda: _from_environment(account, looks=looks),
        "file": lambda: _from_file(account, paths, looks=looks),
        "keyring": lambda: _from_keyring(account, looks=looks),
    }
    for name in (account.keys,) if account.keys else tuple(SOURCES):
        pair = readers[name]()
        if pair is not None:
            yield Keys(*pair, source=SOURCES[name], looks=looks)


def _from_environment(account: Account, *, looks: bool) -> tuple[str, Secret] | None:
    names = variables(account.name, looks=looks)
    return _pair(os.environ.get(names[0], ""), os.environ.get(names[1], ""), names)


def _from_file(account: Account, paths: Paths, *, looks: bool) -> tuple[str, Secret] | None:
    try:
        return read_pair(paths.read_keys(account.name) if looks else paths.paper_keys(account.name))
    except FileNotFoundError:
        return None


def _from_keyring(account: Account, *, looks: bool) -> tuple[str, Secret] | None:
    try:
        keyring, errors = import_module("keyring"), import_module("keyring.errors")  # an extra, and slow to import
    except ModuleNotFoundError:
        if account.keys == "keyring":
            raise PolicyError(
                f'accounts.{account.name}.keys is "keyring", and the package keyring is not installed: '
                'run `pip install "qtkit[keyring]"`, or set keys = "env" or "file"'
            ) from None
        return None
    names = entries(account.name, looks=looks)
    try:
        return _pair(keyring.get_password(SERVICE, names[0]) or "", keyring.get_password(SERVICE, names[1]) or "", names)
    except errors.KeyringError as error:  # no backend, or it is locked: an answer only where it was asked for
        if account.keys == "keyring" and type(error).__name__ == "NoKeyringError":
            raise PolicyError(
                f'account {account.name}: this system has no keyring that could be asked; install one, or set keys = "env" or "file"'
            ) from None
        if account.keys == "keyring":
            raise PolicyError(f"account {account.name}: the keyring cannot be read ({type(error).__name__}); unlock it") from None
        return None


def entries(account: str, *, looks: bool) -> tuple[str, str]:
    """Names of the two keyring entries of a pair, under ``SERVICE``."""
    middle = ".read" if looks else ""
    return f"{account}{middle}.key", f"{account}{middle}.secret"


def _pair(api_key: str, secret: str, names: tuple[str, str]) -> tuple[str, Secret] | None:
    """Both halves without blanks around them, None if neither is there. Raises ``PolicyError`` for one half, or for text that is no key."""
    halves = api_key.strip(), secret.strip()
    if not any(halves):
        return None
    for name, other, half in zip(names, reversed(names), halves, strict=True):
        if not half:
            raise PolicyError(f"{other} is there, {name} is not; a key pair needs both")
    if not re.fullmatch(r"[\x21-\x7e]+", halves[0]):
        raise PolicyError(f"{names[0]} is no API key: it holds a blank or a letter that no key has; copy it again")
    return halves[0], Secret(halves[1])


def _missing(account: Account, paths: Paths, *, looking: bool) -> str:
    if not account.real:
        return f"{paths.paper_keys(account.name)}: no keys here; `qtkit paper` makes them"
    text = f"account {account.name} has no keys; {_places(account, paths, looks=looking)}"
    named = [name for name in os.environ if KEY_VARIABLE.fullmatch(name)]
    return f"{text}; {suggestion(variables(account.name, looks=looking)[0], named)}" if named else text


def _places(account: Account, paths: Paths, *, looks: bool = False) -> str:
    """Where a pair may be put, in one clause."""
    names, file = variables(account.name, looks=looks), paths.read_keys(account.name) if looks else paths.paper_keys(account.name)
    first, second = entries(account.name, looks=looks)
    ways = {
        "env": f"set {names[0]} and {names[1]}",
        "file": f"write {file} (0600, api_key and secret as JSON)",
        "keyring": f"run `keyring set {SERVICE} {first}` and `keyring set {SERVICE} {second}`",
    }
    return ways[account.keys] if account.keys else f"{ways['env']}, or {ways['file']}"
