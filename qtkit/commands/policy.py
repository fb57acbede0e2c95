"""``qtkit policy``: from the lab to live. A policy file is shown, put to use for symbols, and taken back."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtkit.commands.look import ACCOUNT, say
from qtkit.commands.operate import YES

if TYPE_CHECKING:
    from qtkit.operate import Said
    from qtkit.policies import Policies
    from qtkit.policy_use import PolicyWish

policy = typer.Typer(help="From the lab to live: which policies make new plans.", no_args_is_help=True, rich_markup_mode=None)

WHICH = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A policy by its name, or a policy file.")]


@policy.command()
def use(
    which: Annotated[str, typer.Argument(metavar="FILE", help="A policy file, or the name of one that was put to use before.")],
    symbols: Annotated[str, typer.Option(help="As the exchange writes them, with commas: BTCUSDT,ETHUSDT.")],
    everything: Annotated[bool, typer.Option("--open", help="Plan open positions of these symbols anew too; no stop loosens.")] = False,
    yes: YES = False,
    account: ACCOUNT = "",
) -> None:
    """Have new plans of these symbols made by a policy file. Shows what it comes to and asks.

    The file is kept in the home's folder `policies` under its policy's name, which profiles and `--policy` then know. A running desk goes
    by it at once. It comes before the account's policy and the profiles; a signal that names a policy comes before it.

    Examples: `qtkit policy use best.toml --symbols BTCUSDT,ETHUSDT`, `qtkit policy use best.toml --symbols BTCUSDT --open`
    """
    from qtkit.core.model import PolicyError
    from qtkit.policy_use import UsePolicy

    where = _place(which)
    if where is None:
        raise PolicyError(
            f"{which} is built in, no file; a profile of qtkit.toml names it: [profiles.NAME] policy = '{which}', symbol = ..."
        )
    _carry_out(UsePolicy(file=_text(where), symbols=_names(symbols), open=everything), account, yes)


@policy.command()
def drop(
    name: Annotated[str, typer.Argument(help="The policy's name.")],
    symbols: Annotated[str, typer.Option(help="Which symbols, with commas; default: all that use it.")] = "",
    yes: YES = False,
    account: ACCOUNT = "",
) -> None:
    """Have new plans of these symbols made by account and profiles again. Open positions keep the plans that they have, the file stays.

    Examples: `qtkit policy drop best`, `qtkit policy drop best --symbols BTCUSDT`
    """
    from qtkit.policy_use import DropPolicy

    _carry_out(DropPolicy(name=name, symbols=_names(symbols)), account, yes)


@policy.command("list")
def list_(account: ACCOUNT = "") -> None:
    """List the policies of this home and the symbols that use them, then the built-in ones.

    Examples: `qtkit policy list`
    """
    from qtkit.core.model import PolicyError
    from qtkit.core.policy import POLICIES

    policies = _policies(account)
    try:
        used = policies.used()
    except PolicyError:  # told below, as a fault
        used = {}
    for name in policies.own():
        symbols = [symbol for symbol, row in used.items() if row.policy == name]
        print(f"{name:<24} {', '.join(symbols) or 'used by no symbol'}")
    print(f"built in: {', '.join(POLICIES)}")
    for text in policies.faults():
        print(text)


@policy.command()
def show(which: WHICH) -> None:
    """Show a policy: what closes how much of a position where, the time stop, and where it comes from.

    Examples: `qtkit policy show best.toml`, `qtkit policy show trailing_tp`
    """
    from qtkit import policyfile
    from qtkit.core.describe import picture
    from qtkit.core.policy import named

    where = _place(which)
    if where is None:
        print("\n".join(picture(named(which))))
        return
    file = policyfile.load(where)
    print("\n".join(picture(file.policy)))
    for key, value in file.provenance.items():
        print(f"{key}: {policyfile.value_text(value)}")


def _policies(account: str = "") -> "Policies":
    from qtkit.policies import Policies
    from qtkit.settings import Paths

    return Policies(Paths.here(), account)


def _place(which: str) -> Path | None:
    """The file that is meant; None for a built-in policy. Raises ``PolicyError`` where there is neither."""
    from qtkit.core.model import PolicyError
    from qtkit.core.policy import POLICIES

    if which in POLICIES:
        return None
    policies = _policies()
    if which in policies.own():
        return policies.place(which)
    if not Path(which).is_file():
        if which.endswith(".toml"):
            raise PolicyError(f"{which}: there is no such file; `qtkit policy list` shows the policies that have a name here")
        return policies.place(which)
    return Path(which)


def _text(path: Path) -> str:
    """What a policy file says, read and found right, so that what is wrong is told with the file's name."""
    from qtkit import policyfile

    content = policyfile.content(path)
    policyfile.read(content, str(path))
    return content.decode()


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip().upper() for name in text.split(",") if name.strip()))


def _carry_out(wish: "PolicyWish", account: str, yes: bool) -> None:
    from qtkit import logs, show
    from qtkit.client import access

    logs.quiet()
    if not yes:
        foreseen = asyncio.run(_say(wish, account, dry_run=True))
        print(foreseen.text, flush=True)
        if foreseen.steps:
            show.steps(foreseen.steps)
        typer.confirm("Do it?", abort=True)
    said = asyncio.run(_say(wish, account, dry_run=False))
    print(f"done: {said.text}")
    say(access(account), False)


async def _say(wish: "PolicyWish", account: str, *, dry_run: bool) -> "Said":
    from qtkit.client import say_policy

    return await say_policy(wish, account=account, dry_run=dry_run)
