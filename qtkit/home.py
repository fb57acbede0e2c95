"""Where things are: the home folder, the files under it, key files, and the keys of the paper exchange."""

import errno
import hmac
import json
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from qtkit.core.model import PolicyError
from qtkit.store.disk import state_folder

FILE = "qtkit.toml"
FOLDER = ".qtkit"
LONGEST = 65_536  # bytes of a key file; those of RSA are the longest


def home() -> Path:
    """QTKIT_HOME, else the nearest `.qtkit/` (or `qtkit.toml`) upward, else the user's state folder."""
    chosen = os.environ.get("QTKIT_HOME", "")
    if chosen:
        return Path(chosen).expanduser().resolve()
    for folder in _upward():
        if (folder / FOLDER).is_dir() or (folder / FILE).is_file():
            return folder / FOLDER
    return state_folder()


def searched() -> list[Path]:
    """The places `home()` looks at, in its order: for the message of an error."""
    chosen = os.environ.get("QTKIT_HOME", "")
    if chosen:
        return [Path(chosen).expanduser().resolve()]
    return [folder / FOLDER for folder in _upward()] + [state_folder()]


def _upward() -> list[Path]:
    here = Path.cwd()
    return [here, *here.parents]


@dataclass(frozen=True, slots=True)
class Paths:
    """What lies where under a home."""

    home: Path

    @classmethod
    def here(cls) -> "Paths":
        """Paths of `home()`, the folder created (only its owner may enter) if it was missing."""
        place = home()
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(place)

    def of(self, account: str) -> "AccountPaths":
        """Paths of what one account's desk keeps, apart from that of every other account."""
        return AccountPaths(self.home / "accounts" / account)

    def accounts(self) -> tuple["AccountPaths", ...]:
        """Paths of every account that a desk has run here."""
        return tuple(AccountPaths(folder) for folder in sorted((self.home / "accounts").glob("*")) if folder.is_dir())

    @property
    def register(self) -> Path:
        """SQLite file of exit plans, shared by all processes and accounts."""
        return self.home / "register.sqlite"

    @property
    def runs(self) -> Path:
        """Folder of notebook runs, one folder each."""
        return self.home / "runs"

    @property
    def policies(self) -> Path:
        """Folder of the home's own exit policies, NAME.toml each."""
        return self.home / "policies"

    @property
    def keys(self) -> Path:
        """Folder of key files."""
        return self.home / "keys"

    def paper_keys(self, account: str = "paper") -> Path:
        """Key file (0600) of one account."""
        return self.keys / f"{account}.json"

    def read_keys(self, account: str) -> Path:
        """Key file (0600) of the pair that only looks."""
        return self.keys / f"{account}.read.json"


@dataclass(frozen=True, slots=True)
class AccountPaths:
    """What lies where of one account: a home may hold several, each with a desk of its own."""

    folder: Path

    def made(self) -> "AccountPaths":
        """The same, the folder created (only its owner may enter) if it was missing."""
        self.folder.parent.mkdir(mode=0o700, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        return self

    @property
    def journal(self) -> Path:
        """SQLite file of intents, outcomes and plan revisions."""
        return self.folder / "journal.sqlite"

    @property
    def tape(self) -> Path:
        """Folder of what was seen: rotating, unsynced."""
        return self.folder / "tape"

    @property
    def endpoint_token(self) -> Path:
        """File (0600) by which local clients find and enter the running desk."""
        return self.folder / "endpoint.token"

    @property
    def heartbeat(self) -> Path:
        """The desk's last beat: its ledger and the time of its last pass."""
        return self.folder / "heartbeat.json"

    @property
    def log(self) -> Path:
        """The desk's log lines."""
        return self.folder / "desk.log"

    @property
    def policies(self) -> Path:
        """Which own policies the new plans of its symbols use; `qtkit policy` writes it, and nobody else."""
        return self.folder / "policies.json"

    @property
    def alerts(self) -> Path:
        """What was told to people and has not ended yet."""
        return self.folder / "alerts.json"


class Secret:
    """A string that shows itself only when asked: `repr`, `str` and formatting are constant, pickling is refused."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]  # a hash of a secret is a trace of it

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


def read_pair(path: Path) -> tuple[str, Secret]:
    """API key and secret of a key file (`api_key` and `secret` as JSON, 0600, a plain file of ours).

    Raises `PolicyError` if it is damaged, a link, another user's, or readable by anybody but its owner, and `FileNotFoundError` if there
    is none.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PolicyError(f"{path}: a link where keys should be; put the file itself there") from None
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise PolicyError(f"{path}: not a key file (api_key and secret as JSON); remove it")
        if found.st_uid != os.geteuid():
            raise PolicyError(f"{path}: these keys belong to another user (number {found.st_uid}); make a file of your own")
        if found.st_mode & 0o077:
            raise PolicyError(f"{path}: others than its owner can read these keys; run `chmod 600 {path}`, or delete them for new ones")
        text = os.read(descriptor, LONGEST).decode(errors="replace")
    finally:
        os.close(descriptor)
    try:
        row = json.loads(text)
    except json.JSONDecodeError:
        row = None  # the error holds the text of the file: it must not travel as the context of ours
    pair = (row.get("api_key"), row.get("secret")) if isinstance(row, dict) else (None, None)
    if not (isinstance(pair[0], str) and isinstance(pair[1], str) and all(pair)):
        raise PolicyError(f"{path}: not a key file (api_key and secret as JSON); delete it, or write it anew")
    return pair[0], Secret(pair[1])


@dataclass(frozen=True, slots=True)
class PaperKeys:
    """Key pair that the paper exchange made for an account."""

    api_key: str
    secret: Secret

    @classmethod
    def read(cls, path: Path) -> "PaperKeys":
        """Read a key file. Raises `PolicyError` if it is missing, or as ``read_pair``."""
        try:
            return cls(*read_pair(path))
        except FileNotFoundError:
            raise PolicyError(f"{path}: no keys here; `qtkit paper` makes them") from None

    @classmethod
    def create(cls, path: Path) -> "PaperKeys":
        """The keys in this file, made on first use. Of several processes that create at once, all get the same keys."""
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
            row = {"api_key": secrets.token_hex(16), "secret": secrets.token_hex(32)}
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(row, file)
            try:
                os.link(draft, path)  # appears whole or not at all, and never over another one's keys
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return cls.read(path)
