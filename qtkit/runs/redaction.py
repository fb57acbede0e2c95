"""Proof that no secret lies in the artefacts of a run: every file is searched for every secret we know of."""

import html
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from qtkit.account import KEY_VARIABLE
from qtkit.core.model import PolicyError
from qtkit.settings import PaperKeys, Paths

TELLING = re.compile(r"(KEY|SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE)S?(_ID)?$", re.IGNORECASE)
SHORTEST = 8  # a shorter value is found everywhere by chance
MARK = b"[redacted]"


@dataclass(frozen=True, slots=True)
class Proof:
    """What was searched for how many secrets, and the files in which one was found (and overwritten)."""

    files: int
    secrets: int
    leaks: tuple[str, ...]


def is_secret(variable: str) -> bool:
    """True if the name of an environment variable tells that its value is a secret."""
    return bool(TELLING.search(variable) or KEY_VARIABLE.fullmatch(variable))


def may_enter(variable: str) -> bool:
    """True if a kernel may have an environment variable: no secret, or the key pair of an account that only looks."""
    return not is_secret(variable) or bool(KEY_VARIABLE.fullmatch(variable) and variable.startswith("QTKIT_READ_"))


def secrets_of(paths: Paths, environ: Mapping[str, str]) -> frozenset[str]:
    """Every secret we know of: the keys of accounts, the endpoint's token, telling variables, passwords in addresses."""
    found = {value for name, value in environ.items() if is_secret(name) and not os.path.exists(value)}
    for value in environ.values():
        if "://" in value and "@" in value:
            found.add(_password(value))
    for path in paths.keys.glob("*.json"):
        try:
            keys = PaperKeys.read(path)
        except PolicyError:
            found.add(path.read_text().strip())  # damaged, or open to others: all of it is a secret
            continue
        found |= {keys.api_key, keys.secret.reveal()}
    for places in paths.accounts():
        if places.endpoint_token.is_file():
            found |= set(re.findall(r"[\w+/=-]{16,}", places.endpoint_token.read_text()))
    return frozenset(value for value in found if len(value) >= SHORTEST)


def redact(folder: Path, secrets: frozenset[str]) -> Proof:
    """Search all files of a folder, in the spellings of JSON, HTML and addresses; overwrite what is found."""
    forms = {form.encode() for secret in secrets for form in _spellings(secret)}
    ordered = sorted(forms, key=len, reverse=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    leaks = []
    for path in files:
        content = before = path.read_bytes()
        for form in ordered:
            content = content.replace(form, MARK)
        if content != before:
            path.write_bytes(content)
            leaks.append(str(path.relative_to(folder)))
    return Proof(len(files), len(secrets), tuple(leaks))


def _spellings(secret: str) -> tuple[str, ...]:
    return secret, json.dumps(secret)[1:-1], html.escape(secret), html.escape(secret, quote=False), quote(secret, safe="")


def _password(address: str) -> str:
    try:
        return urlsplit(address).password or ""
    except ValueError:
        return ""
