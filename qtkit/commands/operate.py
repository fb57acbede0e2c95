"""What the operator tells the desk: ``adopt``, ``release``, ``set``, ``pause``, ``resume``. Shown before it is done, and journaled."""

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from qtkit.commands.look import ACCOUNT, JSON, say, seconds_of

if TYPE_CHECKING:
    from qtkit.core.model import Scope
    from qtkit.operate import Said, Wish

SYMBOL = Annotated[str, typer.Argument(help="As the exchange writes it, BTCUSDT.")]
SIDE = Annotated[str, typer.Option(help="long or short, where both are open (hedge mode).")]
YES = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def adopt(
    symbol: SYMBOL,
    scope: Annotated[str, typer.Option(help="How far the desk goes there: watch, guard or full; default: as far as the account.")] = "",
    yes: YES = False,
    account: ACCOUNT = "",
    as_json: JSON = False,
) -> None:
    """Take a symbol over, whoever trades it, in this scope; it stays so until it is released or adopted otherwise.

    What is open there is adopted as it stands, and nothing of it is traded. On a demo or live account no further than the account's scope.

    Examples: `qtkit adopt BTCUSDT --scope guard`
    """
    from qtkit.core.model import PolicyError, Scope
    from qtkit.core.names import suggestion
    from qtkit.operate import Adopt

    names = [one.value for one in Scope]
    scope = scope or furthest(account).value
    if scope not in names:
        raise PolicyError(f"there is no scope '{scope}': {suggestion(scope, names)}")
    _carry_out(Adopt(symbol=symbol.upper(), scope=Scope(scope)), account, yes, as_json)


def furthest(account: str) -> "Scope":
    """How far an adoption may go on an account."""
    from qtkit.core.model import Scope
    from qtkit.settings import Paths, Settings, account_of

    held = account_of(Settings.load(Paths.here().home), account)
    return held.scope if held.real else Scope.FULL


def release(
    symbol: SYMBOL,
    keep: Annotated[bool, typer.Option("--keep", help="Our orders there rest as they are.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Our orders there are taken away.")] = False,
    span: Annotated[str, typer.Option("--for", help="For how long: 30m, 2h, 1d; then the desk comes back.")] = "2h",
    reason: Annotated[str, typer.Option(help="Why, for the journal and for `qtkit check`.")] = "",
    yes: YES = False,
    account: ACCOUNT = "",
    as_json: JSON = False,
) -> None:
    """Hands off a symbol for a while: nothing is placed, moved or closed there. `qtkit check` lists it until it is over.

    Examples: `qtkit release BTCUSDT --keep --for 2h`, `qtkit release BTCUSDT --cancel --for 30m --reason "trading it by hand"`
    """
    from qtkit.operate import Release

    if keep is cancel:
        raise typer.BadParameter("say --keep or --cancel: what becomes of our orders there", param_hint="--keep")
    wish = Release(symbol=symbol.upper(), cancel=cancel, seconds=seconds_of(span, "--for"), reason=reason)
    _carry_out(wish, account, yes, as_json)


def change(
    symbol: SYMBOL,
    stop: Annotated[str, typer.Option(help="Where the stop goes: @91000, or 2.5% from the entry.")] = "",
    policy: Annotated[str, typer.Option(help="Plan it anew by this policy; its stop does not loosen by that.")] = "",
    trail: Annotated[str, typer.Option(help="Callback of its trail: 1%.")] = "",
    side: SIDE = "",
    loosen: Annotated[bool, typer.Option("--loosen", help="Let the stop go further away; needs --reason.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the journal.")] = "",
    yes: YES = False,
    account: ACCOUNT = "",
    as_json: JSON = False,
) -> None:
    """Set a position's stop, or plan it anew. Shows what it comes to and asks.

    Examples: `qtkit set BTCUSDT --stop @91000`, `qtkit set ETHUSDT --policy trailing_tp --trail 1%`
    """
    from qtkit.operate import PlanAnew, SetStop

    if bool(stop) is bool(policy or trail):
        raise typer.BadParameter("say either --stop, or --policy and --trail", param_hint="--stop")
    wish: Wish = (
        SetStop(symbol=symbol.upper(), stop=stop, side=side, loosen=loosen, reason=reason)
        if stop
        else PlanAnew(symbol=symbol.upper(), policy=policy, trail=trail, side=side)
    )
    _carry_out(wish, account, yes, as_json)


def pause(
    reason: Annotated[str, typer.Option(help="Why, for the journal and for `qtkit check`.")] = "",
    yes: YES = False,
    account: ACCOUNT = "",
    as_json: JSON = False,
) -> None:
    """Take nothing new on: no entries, no adoptions. What is held goes on being protected, trailed and closed by its plan.

    Examples: `qtkit pause --reason "news at 14:30"`
    """
    from qtkit.operate import Pause

    _carry_out(Pause(reason=reason), account, yes, as_json)


def resume(yes: YES = False, account: ACCOUNT = "", as_json: JSON = False) -> None:
    """Take new positions on again, those that came meanwhile too.

    Examples: `qtkit resume`
    """
    from qtkit.operate import Resume

    _carry_out(Resume(), account, yes, as_json)


def _carry_out(wish: "Wish", account: str, yes: bool, as_json: bool) -> None:
    from qtkit import logs, show
    from qtkit.client import access

    logs.quiet()
    if not yes:
        foreseen = asyncio.run(_say(wish, account, dry_run=True))
        print(foreseen.text, flush=True)
        show.steps(foreseen.steps)
        typer.confirm("Do it?", abort=True)
    said = asyncio.run(_say(wish, account, dry_run=False))
    print(json.dumps(asdict(said), indent=1) if as_json else f"done: {said.text}")
    say(access(account), as_json)


async def _say(wish: "Wish", account: str, *, dry_run: bool) -> "Said":
    from qtkit.client import say

    return await say(wish, account=account, dry_run=dry_run)
