"""The whole exchange in a file, and back: accounts, positions, orders, bars, ids, time; what was to come comes just the same.

The file is text: one line that says what it is (format, version, length and SHA-256 of what follows), then one line of JSON. It is
written beside its place and moved there, so that a file is whole or is not there. What listens to an exchange is not part of it.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qtkit.core.model import PolicyError
from qtkit.paper.exchange import Exchange
from qtkit.paper.plain import pack, unpack

FORMAT = "qtkit paper snapshot"
VERSION = 1
HOOKS: Mapping[str, Any] = {"listeners": list, "price_listeners": list, "bar_listeners": list, "hold_trigger": lambda: None}
LONGEST_HEADER = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An exchange as it was saved, without listeners, and ``about``: what else was to be remembered, plain data or our classes."""

    exchange: Exchange
    about: dict[str, Any] = field(default_factory=dict)


def save(path: Path, exchange: Exchange, about: Mapping[str, object] | None = None) -> int:
    """Write a snapshot (0600), atomically; answers its size in bytes.

    Raises ``PolicyError`` while the exchange tells events (a listener may not save it) and where the file cannot be written.
    """
    if exchange._telling or exchange._pending:
        raise PolicyError("the exchange is telling events just now; save it after the call that caused them")
    state = {name: value for name, value in vars(exchange).items() if name not in HOOKS}
    data, classes = pack({"state": state, "about": dict(about or {})})
    body = json.dumps({"classes": classes, "data": data}, separators=(",", ":"), allow_nan=False).encode()
    head = {"format": FORMAT, "version": VERSION, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    whole = json.dumps(head).encode() + b"\n" + body + b"\n"
    try:
        _write(path, whole)
    except OSError as error:
        raise PolicyError(f"{path} cannot be written ({error.strerror or error})") from error
    return len(whole)


def load(path: Path) -> Snapshot:
    """Read a snapshot. Raises ``PolicyError`` with one sentence for a file that is missing, foreign, damaged or of another version."""
    try:
        whole = path.read_bytes()
    except OSError as error:
        raise PolicyError(f"{path} cannot be read ({error.strerror or error})") from error
    try:
        parts = unpack(*_checked(whole))
        _require_whole(parts["state"])
    except PolicyError as wrong:
        raise PolicyError(f"{path} cannot be restored: {wrong}") from None
    exchange = Exchange.__new__(Exchange)
    vars(exchange).update({name: make() for name, make in HOOKS.items()} | parts["state"])
    return Snapshot(exchange=exchange, about=parts["about"])


def become(exchange: Exchange, other: Exchange) -> None:
    """The exchange takes over all that the other one holds; who listens to it goes on listening. The other must not be used again.

    Account objects held from before are those of the past: take ``exchange.accounts[name]`` anew.
    """
    state = {name: value for name, value in vars(other).items() if name not in HOOKS}
    for name in set(vars(exchange)) - set(HOOKS):
        del vars(exchange)[name]
    vars(exchange).update(state)


def _require_whole(state: Mapping[str, Any]) -> None:
    """An exchange of another version is refused by the name of what differs, as its parts are."""
    other = sorted((set(vars(Exchange(facts={}))) - set(HOOKS)) ^ set(state))
    if other:
        raise PolicyError(f"it is of another version: the exchange differs in {', '.join(other)}")


def _checked(whole: bytes) -> tuple[Any, dict[str, list[str]]]:
    line, _, _ = whole[: LONGEST_HEADER + 1].partition(b"\n")
    try:
        head = json.loads(line)
        told, version, length, digest = head["format"], head["version"], head["bytes"], head["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        told = version = length = digest = None
    if told != FORMAT:
        raise PolicyError("it is no snapshot of a paper exchange")
    if version != VERSION:
        raise PolicyError(f"it is a snapshot of version {version}, this qtkit reads version {VERSION}")
    body = whole[len(line) + 1 :].removesuffix(b"\n")
    if len(body) != length or hashlib.sha256(body).hexdigest() != digest:
        raise PolicyError(f"it is damaged: {len(body)} bytes where {length} were written, or changed since")
    try:
        said = json.loads(body)
        return said["data"], said["classes"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PolicyError(f"its data is not in order ({type(error).__name__})") from error


def _write(path: Path, whole: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(whole)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
