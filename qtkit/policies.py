"""The exit policies that may be named: the built-in ones, and those of the home's folder `policies`; and which symbols use which.

People write qtkit.toml, `qtkit policy` alone writes what lies here: NAME.toml, a policy as it was shown, and per account policies.json,
which symbols use it. Both are read anew whenever they are asked for, so a running desk goes by them without being told.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import structlog

from qtkit import policyfile
from qtkit.core.model import PolicyError, Scope
from qtkit.core.names import of_account, suggestion
from qtkit.core.policy import GUARD, POLICIES, ExitPolicy
from qtkit.home import Paths
from qtkit.policyfile import PolicyFile
from qtkit.store import codec
from qtkit.store.disk import sync_folder

log = structlog.get_logger("qtkit.policies")

BUILT_IN = frozenset(name.lower() for name in POLICIES)
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


class DamagedPolicy(PolicyError):
    """A policy, or the list of those in use, is there and cannot be used as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """The policy that new plans of a symbol use, by name, and the digest of the file that was shown when it was put to use."""

    policy: str
    digest: str


class Policies:
    """The policies of a home, and of an account those in use. Without a home the built-in ones alone."""

    def __init__(self, paths: Paths | None = None, account: str = "") -> None:
        self._folder = None if paths is None else paths.policies
        self._account = account
        self._told: tuple[str, ...] = ()
        self._list = None if paths is None or not account else paths.of(account).policies

    # -- by name

    def own(self) -> tuple[str, ...]:
        """Names of the home's own policies, damaged ones too."""
        try:
            return () if self._folder is None else tuple(sorted(path.stem for path in self._folder.glob("*.toml")))
        except OSError:  # a folder that cannot be read has no names; what uses them is told by ``faults``
            return ()

    def names(self) -> tuple[str, ...]:
        """Every name that may be used."""
        return (*POLICIES, *self.own())

    def place(self, name: str) -> Path:
        """The file of an own policy. Raises ``PolicyError`` where there is no such policy, or it is a built-in one."""
        if self._folder is None or name not in self.own():
            raise PolicyError(f"there is no exit policy '{name}': {suggestion(name, self.names())}")
        return self._folder / f"{name}.toml"

    def named(self, name: str) -> ExitPolicy:
        """A policy by its name. Raises ``PolicyError`` with the nearest right name, ``DamagedPolicy`` for a file that cannot be used."""
        return POLICIES[name] if name in POLICIES else self.file(name).policy

    def sound(self, name: str | None) -> ExitPolicy | None:
        """The same where a name is given; None for a damaged one, of which ``faults`` tells: what is open must be planned all the same."""
        try:
            return self.named(name) if name else None
        except DamagedPolicy:
            return None

    def adopted(self, guard_policy: str | None, scope: Scope) -> ExitPolicy | None:
        """That of adopted positions where their symbol uses none: the account's, the guard in scope guard, None: the profiles choose."""
        return self.sound(guard_policy) or (GUARD if scope is Scope.GUARD else None)

    def file(self, name: str) -> PolicyFile:
        """An own policy with its provenance. Raises as ``named`` does."""
        return _file(name, self.place(name))[0]

    # -- in use

    def used(self) -> Mapping[str, Used]:
        """Policies in use, by symbol. Raises ``DamagedPolicy``."""
        try:
            found: Mapping[str, Used] = {} if self._list is None else codec.loads(Mapping[str, Used], self._list.read_bytes())
            return found
        except FileNotFoundError:
            return {}
        except (codec.CorruptRecord, OSError) as error:
            why = "new plans go by the profiles; move it aside and say anew what is used: `qtkit policy use NAME --symbols ...`"
            raise DamagedPolicy(f"{self._list}: cannot be read ({error}); {why}") from None

    def of(self, symbol: str) -> ExitPolicy | None:
        """The policy that a new plan of a symbol uses before account and profiles are asked; None where there is none, or a damaged one."""
        try:
            used = self.used().get(symbol)
            return None if used is None else self._as_shown(used)
        except PolicyError as error:
            log.error("policy", symbol=symbol, outcome="its profile is used instead", why=str(error))
            return None

    def _as_shown(self, used: Used) -> ExitPolicy:
        assert self._folder is not None
        place = self._folder / f"{used.policy}.toml"
        file, digest = _file(used.policy, place)
        if digest != used.digest:
            raise DamagedPolicy(f"{place} is not the file that was shown when it was put to use")
        return file.policy

    def faults(self) -> tuple[str, ...]:
        """What cannot be used, one sentence each, with what to do. Never raises."""
        told = {}
        try:
            for symbol, used in self.used().items():
                if why := self._fault(used):
                    again = f"put it back, or say `qtkit policy use FILE --symbols {symbol}` with the right one"
                    told[used.policy, symbol] = f"{symbol}: new plans go by its profile, not by {used.policy}: {why}; {again}"
        except PolicyError as error:
            told["", ""] = str(error)
        for name in self.own():
            if name.lower() in BUILT_IN:
                told[name, ""] = (
                    f"policy {name}: a built-in policy has this name; give the one in {self._folder} another name, in it and of it"
                )
            elif all(name != other for other, _ in told) and self.sound(name) is None:
                told[name, ""] = f"policy {name} is not used where it is named: its file cannot be read; put the right one in its place"
        return tuple(of_account(text, self._account) for text in told.values())

    def alarms(self) -> tuple[str, ...]:
        """The same for a desk, which logs each when it begins and ends."""
        before, self._told = self._told, self.faults()
        for text in self._told:
            if text not in before:
                log.error("alarm", says=text)
        for text in before:
            if text not in self._told:
                log.info("alarm", over=text)
        return self._told

    def _fault(self, used: Used) -> str:
        try:
            self._as_shown(used)
            return ""
        except PolicyError as error:
            return str(error)

    # -- written by `qtkit policy` alone

    def require_new(self, file: PolicyFile, content: bytes) -> None:
        """Raise ``PolicyError`` if this file cannot be installed: a name that is none, or that means another policy already."""
        name = file.policy.name
        if not NAME.fullmatch(name):
            raise PolicyError(
                f"name: '{name}' cannot be installed; a name is up to 40 of a-z, 0-9, _ and -, and begins with a letter or digit"
            )
        if name in BUILT_IN:
            raise PolicyError(f"name: '{name}' is a built-in policy; give yours another name in the file, {name}_2")
        if name in self.own() and self.sound(name) is not None and self.place(name).read_bytes() != content:
            raise PolicyError(
                f"name: '{name}' is installed already and says something else; give this one another name in the file, {name}_2"
            )

    def install(self, content: bytes) -> None:
        """Keep a policy file, as it is, under its policy's name. The same one again does no harm. Raises ``PolicyError``."""
        file = policyfile.read(content)
        assert self._folder is not None
        with _alone(self._folder):
            self.require_new(file, content)
            _put(self._folder / f"{file.policy.name}.toml", content)

    def use(self, name: str, symbols: Iterable[str]) -> None:
        """Have new plans of these symbols use an own policy as its file says it now. Raises ``PolicyError``."""
        used = Used(policy=name, digest=_file(name, self.place(name))[1])
        self._change(lambda before: {**before, **{symbol: used for symbol in symbols}})

    def drop(self, symbols: Iterable[str]) -> None:
        """Have new plans of these symbols made by account and profiles again. Raises ``PolicyError``."""
        left = frozenset(symbols)
        self._change(lambda before: {symbol: used for symbol, used in before.items() if symbol not in left})

    def _change(self, change: Callable[[Mapping[str, Used]], Mapping[str, Used]]) -> None:
        assert self._list is not None
        with _alone(self._list.parent):
            used = dict(sorted(change(self.used()).items()))
            _put(self._list, codec.dumps(Mapping[str, Used], used).encode())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process changes this folder's files meanwhile. Raises ``PolicyError`` if it cannot be made."""
    with _told(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the disk refuses, as a sentence."""
    try:
        yield
    except OSError as error:
        raise PolicyError(f"{path}: cannot be written ({error.strerror}); nothing was changed there") from None


@lru_cache(maxsize=64)
def _read(content: bytes, source: str) -> PolicyFile:
    return policyfile.read(content, source)


def _file(name: str, place: Path) -> tuple[PolicyFile, str]:
    """A policy file of the home and its digest. Raises ``DamagedPolicy``."""
    try:
        content = policyfile.content(place)
        file = _read(content, str(place))
    except PolicyError as error:
        raise DamagedPolicy(str(error)) from None
    except OSError as error:
        raise DamagedPolicy(f"{place}: {error.strerror}") from None
    if file.policy.name != name:
        raise DamagedPolicy(f"{place}: name: says '{file.policy.name}', and a policy's file bears its name")
    return file, hashlib.blake2b(content, digest_size=16).hexdigest()


def _put(path: Path, content: bytes) -> None:
    """The whole file or the one before, whenever the process ends. Raises ``PolicyError`` if the disk refuses."""
    draft = path.with_name(f".{path.name}.new")
    with _told(path):
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        sync_folder(path.parent)
