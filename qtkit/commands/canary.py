"""Commands on the road to live: ``canary`` proves an exchange to the desk, ``disarm`` takes back what ``qtkit desk --arm`` gave."""

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from qtkit.commands.look import ACCOUNT, say

if TYPE_CHECKING:
    from rich.table import Table

    from qtkit.account import Account
    from qtkit.canary import Wish
    from qtkit.checklist import Clock
    from qtkit.proofs import Proof
    from qtkit.settings import Settings

_STYLE = {"agrees": "green", "differs": "yellow", "failed": "red", "not asked": "dim"}
YES = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def canary(
    account: ACCOUNT = "",
    symbol: Annotated[str, typer.Option(help="A symbol that nobody trades, any without --position; default: of the account's.")] = "",
    side: Annotated[str, typer.Option(help="long or short: the side of the position that the orders would close.")] = "long",
    position: Annotated[bool, typer.Option("--position", help="Also open and close the smallest position, for what needs one.")] = False,
    yes: YES = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Prove what the desk assumes of an account's exchange. Places, lists, moves and cancels one far order of each kind.

    The proof is kept in the home, and counts for 7 days. Stop the desk first: what it planned rests meanwhile. What a killed canary left is
    taken away first. Exit status 0: passed; 1: not.

    Examples: `qtkit canary --account demo`, `qtkit canary --account main --symbol XRPUSDT --position`
    """
    from qtkit import alerts, logs
    from qtkit.canary import Wish, may_ask
    from qtkit.core.model import PolicyError, Side
    from qtkit.core.names import suggestion
    from qtkit.settings import Paths, Settings, account_of

    logs.quiet()
    if side.upper() not in Side.__members__:
        raise PolicyError(f"side '{side}' is not a side of a position: {suggestion(side.lower(), ('long', 'short'))}")
    settings = Settings.load(Paths.here().home)
    held = account_of(settings, account)
    wish = Wish(symbol=symbol.upper(), side=Side[side.upper()], position=position)
    may_ask(held, wish)
    if position and not yes:
        typer.echo(f"opens a {side.lower()} position of the smallest size on account {account} ({held.kind}) and closes it again", err=True)
        typer.confirm("Open it?", abort=True, err=True)
    proof = asyncio.run(_run(settings, account, wish))
    if not proof.passed:
        alerts.tell(alerts.Kind.CANARY, account, proof.sentence, settings=settings)
    _tell(held, proof, as_json=as_json)
    raise typer.Exit(0 if proof.passed else 1)


async def _run(settings: "Settings", account: str, wish: "Wish") -> "Proof":
    """The canary. Ctrl-C and SIGTERM end it as any failure does: what it placed is taken away first."""
    from qtkit.canary import canary
    from qtkit.settings import account_of

    clock = await clock_of(account_of(settings, account))
    task = asyncio.ensure_future(canary(settings, account, wish, clock=clock))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def clock_of(account: "Account") -> "Clock":
    """How this computer's clock stands to the exchange's, asked without a key. An exchange that does not tell is found out with a key."""
    from qtkit.checklist import Clock
    from qtkit.doctor.finding import Limits, State
    from qtkit.doctor.knock import clock, knock

    found = clock(await knock(account), Limits())
    wrong = found.state is State.WRONG
    return Clock(right=not wrong, text=f"{found.found}; {found.remedy}" if wrong else found.found)


def _tell(account: "Account", proof: "Proof", *, as_json: bool) -> None:
    from qtkit import show
    from qtkit.home import Paths
    from qtkit.proofs import Proof, proof_file, proposed
    from qtkit.store import codec

    lines, place = proposed(account, proof), proof_file(account, Paths.here())
    if as_json:
        told = {"sentence": proof.sentence, "passed": proof.passed, "settings": lines, "file": str(place)}
        print(json.dumps({**told, "proof": codec.encode(Proof, proof)}, indent=1))
        return
    out = show.console()
    state = "passed" if proof.passed else "did NOT pass"
    mode = "hedge" if proof.hedge else "one-way"
    out.print(f"canary of account {proof.account} {state}: {proof.sentence}", style="bold" if proof.passed else "bold red", markup=False)
    out.print(f"{proof.kind}, {proof.venue} at {proof.host}, {proof.symbol}, {mode} mode", markup=False)
    out.print(_checklist(proof))
    if lines:
        print("\nwrite in qtkit.toml, for the desk to be told:")
        print("\n".join(f"  {line}" for line in lines))
    print(f"\nproof: {place}; it counts for 7 days, for this account at {proof.host} alone")


def _checklist(proof: "Proof") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("item", "answer", "what was seen", "code"):
        table.add_column(name, overflow="fold")
    for row in proof.observations:
        cells = (row.item, row.answer.value, row.text, "" if row.code is None else str(row.code))
        table.add_row(*(Text(cell) for cell in cells), style=_STYLE.get(row.answer.value, ""))
    return table


def disarm(account: ACCOUNT = "") -> None:
    """Take the arm of a live account back. Stops rest and go on being kept; nothing new is taken on.

    Examples: `qtkit disarm --account main`
    """
    from qtkit.access import told
    from qtkit.proofs import disarm as take_back
    from qtkit.settings import Paths, Settings, account_of

    paths = Paths.here()
    held = account_of(Settings.load(paths.home), account)
    had = take_back(held, paths)
    print(f"account {account} is disarmed; resting orders stay" if had else f"account {account} was not armed")
    say(told(held), as_json=False)
