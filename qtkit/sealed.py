"""Small files of the owner's alone, sealed with the secret of an account: one that was edited, or made with another key, is refused."""

import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import TypeVar

from qtkit.core.model import PolicyError
from qtkit.home import Secret
from qtkit.store import codec
from qtkit.store.disk import sync_folder

T = TypeVar("T")


def write_private(place: Path, text: str) -> None:
    """A file that only its owner can reach (0600), appears whole or not at all, and is on the disk when this returns."""
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, place)
    sync_folder(place.parent)


def write(place: Path, kind: type[T], value: T, secret: Secret) -> None:
    """Keep a value, in place of what was there before."""
    row = codec.encode(kind, value)
    write_private(place, json.dumps({"content": row, "seal": _seal(row, secret)}, indent=1) + "\n")


def read(place: Path, kind: type[T], secret: Secret) -> T | None:
    """The value as it was written, None if there is no file. Raises ``PolicyError`` for anything else that lies there."""
    try:
        mode, text = place.stat().st_mode, place.read_text()
    except FileNotFoundError:
        return None
    if mode & 0o077:
        raise PolicyError(f"{place}: others than its owner can reach this file, so it proves nothing; delete it and make it anew")
    try:
        row = json.loads(text)
        if hmac.compare_digest(_seal(row["content"], secret), str(row["seal"])):
            return codec.decode(kind, row["content"])
    except (codec.CorruptRecord, ValueError, KeyError, TypeError):
        pass  # told below, as any other text that is not what was written
    advice = "it proves nothing here; give the key that it was made with, or delete it and make it anew"
    raise PolicyError(f"{place} was edited, or made with another key: {advice}")


def _seal(row: object, secret: Secret) -> str:
    """Only who has the secret can make it, and the secret cannot be had from it."""
    key = hashlib.blake2b(secret.reveal().encode(), digest_size=32, person=b"qtkit seal").digest()
    content = json.dumps(row, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, content.encode(), hashlib.sha256).hexdigest()
