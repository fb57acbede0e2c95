"""``qtkit init``: settings of one account more: where its exchange is and where its keys come from. It never sees a key."""

import os
import secrets
import string
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from qtkit.account import Account

KINDS = {"paper": "the embedded exchange, no money", "demo": "the exchange's own demo, no money", "live": "the exchange itself, money"}
HEAD = "# Settings of qtkit. `qtkit config show` lists all there are, with their values and where they come from."
SOURCES = {"env": "environment variables", "file": "a file that only you can read", "keyring": "the system's keyring"}


def init(
    name: Annotated[str, typer.Argument(help="Name of the account, 1 to 24 of a-z, 0-9 and _.")] = "",
    kind: Annotated[str, typer.Option(help="paper, demo or live.")] = "",
    keys: Annotated[str, typer.Option(help="Where its keys come from: env, file or keyring.")] = "",
) -> None:
    """Write qtkit.toml for one account, or add one to it, and say what comes next. Asks what is not given; changes nothing, takes no key.

    Keys lie in QTKIT_KEY_NAME and QTKIT_SECRET_NAME, in keys/NAME.json of the home folder (0600), or in the keyring under qtkit. A pair
    that only reads is enough for looking: QTKIT_READ_KEY_NAME and QTKIT_READ_SECRET_NAME, or keys/NAME.read.json.

    Examples: `qtkit init`, `qtkit init main --kind live --keys env`, `qtkit init rehearsal --kind demo --keys file`
    """
    from qtkit.home import FILE

    home, folder = _places()
    file = next((place for place in (home / FILE, folder / FILE) if place.exists()), folder / FILE)
    before = _text_of(file, home)
    kind = _chosen("--kind", "kind of account", kind, KINDS, "paper")
    default = "paper" if kind == "paper" else "main"
    name = name or (typer.prompt("name of the account", default=default) if sys.stdin.isatty() else default)
    keys = "" if kind == "paper" else _chosen("--keys", "where its keys come from", keys, SOURCES, "env")
    account = _account(name, kind, keys)
    if before is not None:
        _refuse_taken(file, before, account.name)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file.open("x" if before is None else "a") as out:
        out.write(f"{HEAD}\n{_tag()}\n\n{_section(account)}" if before is None else _below(before, account))
    done = "wrote" if before is None else "added to"
    print(f"{done} {file}: account {account.name}, {account.kind}, scope {account.scope.value}; state goes to {home}")
    print("\n".join(_next(account, home)))


def _text_of(file: Path, home: Path) -> str | None:
    """What is set already, None if nothing is. Raises ``PolicyError`` for settings that are refused: nothing is added to those."""
    from qtkit.settings import Settings

    if not file.exists():
        return None
    Settings.load(home, environ={})
    return file.read_text()


def _refuse_taken(file: Path, before: str, name: str) -> None:
    """Raise ``PolicyError`` for a name that the file has, or a file that a section cannot be added to."""
    import tomllib

    from qtkit.core.model import PolicyError

    if name in tomllib.loads(before).get("accounts", {}):
        raise PolicyError(f"{file}: account {name} is there already, and is not overwritten; give the new one another name")
    try:
        tomllib.loads(f"{before}\n[accounts.{name}]\n")
    except tomllib.TOMLDecodeError:
        raise PolicyError(
            f"{file}: accounts is written in one line there; write each as a section [accounts.NAME], then say it again"
        ) from None


def _places() -> tuple[Path, Path]:
    """The home, QTKIT_HOME or `.qtkit` in this folder, and the folder of its settings."""
    from qtkit.home import FOLDER

    chosen = os.environ.get("QTKIT_HOME", "")
    home = Path(chosen).expanduser().resolve() if chosen else Path.cwd() / FOLDER
    return home, home.parent if home.name == FOLDER else home


def _chosen(option: str, question: str, given: str, known: dict[str, str], default: str) -> str:
    from qtkit.core.names import suggestion

    if not given and sys.stdin.isatty():
        for word, meaning in known.items():
            print(f"  {word:<8} {meaning}")
        given = typer.prompt(question, default=default)
    if given not in known:
        said = f"there is no '{given}': {suggestion(given, known)}" if given else f"say one of {', '.join(known)}"
        raise typer.BadParameter(said, param_hint=option)
    return given


def _account(name: str, kind: str, keys: str) -> "Account":
    """The account as settings will read it; what they would refuse is refused here."""
    from qtkit.account import Account, KeySource, Kind

    kinds: dict[str, Kind] = {"paper": "paper", "demo": "demo", "live": "live"}
    sources: dict[str, KeySource] = {"env": "env", "file": "file", "keyring": "keyring"}
    return Account(name=name, kind=kinds[kind], keys=sources.get(keys))


def _below(before: str, account: "Account") -> str:
    """What is written after the text of a file, whose last line may not have ended."""
    return ("" if not before or before.endswith("\n") else "\n") + ("\n" if before else "") + _section(account)


def _section(account: "Account") -> str:
    rows = [("kind", f'"{account.kind}"', KINDS[account.kind])]
    if account.keys:
        rows.append(("keys", f'"{account.keys}"', f"{SOURCES[account.keys]}; a key never stands in this file"))
    if account.real:
        rows.append(("scope", '"watch"', "sends nothing; guard and full need a proof first: `qtkit canary`"))
    if account.kind == "live":
        rows.append(("symbols", "[]", 'where something may be sent one day, such as ["BTCUSDT"]'))
    return "\n".join([f"[accounts.{account.name}]", *(f"{f'{key} = {value}':<18} # {why}" for key, value, why in rows), ""])


def _tag() -> str:
    """Four letters and digits by chance: two desks that meet on one account by two keys of it stand back from each other's orders."""
    tag = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(4))
    return f'desk = "{tag}"      # marks the orders of this home, of no other; never change it while any rest'


def _next(account: "Account", home: Path) -> list[str]:
    """What to type now, up to the first audit."""
    from qtkit.keys import SERVICE, entries, variables

    check = f"  qtkit check --account {account.name}"
    if not account.real:
        return ["next, in another terminal: `qtkit paper --incident`; then", check]
    where = " made on demo.binance.com" if account.kind == "demo" else ""
    lines = [
        f"next, with an API key{where} that only reads (no futures trading, no withdrawals, no transfers), typed and not in the history:"
    ]
    first, second = variables(account.name, looks=True)
    if account.keys == "env":
        lines.append(f"  read -r {first} && read -rs {second} && export {first} {second}")
    elif account.keys == "file":
        lines.append(
            f'  install -D -m 600 /dev/stdin {home}/keys/{account.name}.read.json   # {{"api_key": "...", "secret": "..."}}, Ctrl-D'
        )
    else:
        lines.append("  " + " && ".join(f"keyring set {SERVICE} {entry}" for entry in entries(account.name, looks=True)))
    return [*lines, check]
