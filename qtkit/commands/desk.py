"""``qtkit desk``: the process that owns an account and keeps its positions covered."""

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer

from qtkit.commands.look import ACCOUNT

if TYPE_CHECKING:
    from qtkit.desk import Desk

ASKED_AGAIN = 5  # ticks in which a running desk hears of a new arm


def desk(
    account: ACCOUNT = "",
    tick: Annotated[float | None, typer.Option(help="Seconds between passes, 0.1 to 60; default: tick_seconds of qtkit.toml.")] = None,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log JSON instead of key=value pairs.")] = False,
    arm: Annotated[str, typer.Option(metavar="HOURS", help="Let a live account be written to, 1h to 72h, after showing its terms.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, with --arm.")] = False,
) -> None:
    """Run the desk of an account until Ctrl-C or SIGTERM. Stopping it leaves the stops resting on the exchange.

    Log lines go to stderr and to accounts/NAME/desk.log in the home folder. Start `qtkit paper` first.

    A live account needs a proof (`qtkit canary`) and an arm. When the arm ends, nothing new is taken on; what is planned stays protected,
    also by a desk that starts then. --arm while a desk runs gives that one the new arm.

    Examples: `qtkit desk`, `qtkit desk --tick 0.5`, `qtkit desk --account main --arm 24h`
    """
    if arm and _is_followed(account, _arm(account, arm, yes)):
        return
    asyncio.run(_run(account, tick, json_logs))


def _arm(account: str, text: str, yes: bool) -> str:
    """Show what a live desk would be let to do, and take the operator's word. Gives the end of it; ends the command without one."""
    from qtkit import arming
    from qtkit.commands.canary import clock_of
    from qtkit.core.names import of_account
    from qtkit.ledger import utc
    from qtkit.proofs import hours_of
    from qtkit.settings import Paths, Settings, account_of

    hours, settings = hours_of(text), Settings.load(Paths.here().home)
    clock = asyncio.run(clock_of(account_of(settings, account)))

    def agreed(shown: arming.Shown) -> bool:
        for name, value in shown.rows:
            typer.echo(f"{name:<13} {value}", err=True)
        return yes or typer.prompt("Arm it? Type yes", default="no", err=True).strip().lower() == "yes"

    given = asyncio.run(arming.arm(settings, account, hours, clock, agreed))
    if given is None:
        typer.echo(f"account {account} was not armed", err=True)
        raise typer.Exit(1)
    until = f"armed until {utc(given.until_ms)}"
    typer.echo(of_account(f"account {account} is {until}; `qtkit disarm` takes it back", account), err=True)
    return until


def _is_followed(account: str, until: str) -> bool:
    """True if a desk of this home runs already and goes on under the new arm, as it says itself; False if none runs.

    Raises ``PolicyError`` for one that was started with other settings than the arm was given for.
    """
    from qtkit.client import NoDesk, call
    from qtkit.core.model import PolicyError

    given_ms = time.time_ns() // 1_000_000
    for _ in range(ASKED_AGAIN):
        try:
            told = asyncio.run(call("GET", "/cover", account=account))
        except NoDesk:
            return False
        if told["last_pass_ms"] > given_ms:  # what it says it has looked at since
            break
        time.sleep(told["tick_ms"] / 1000)
    if until in told["notes"]:
        typer.echo("the running desk goes on under the new arm", err=True)
        return True
    why = "; ".join(told["alarms"]) or told["fault"] or "it does not pass"
    raise PolicyError(f"the running desk does not go by the new arm: {why}; end it and start it again: stops rest meanwhile")


async def _run(account: str, tick: float | None, json_logs: bool) -> None:
    from dataclasses import replace

    import structlog

    from qtkit import logs
    from qtkit.desk import opened
    from qtkit.endpoint import served
    from qtkit.herald import Herald
    from qtkit.limits import carried
    from qtkit.settings import Paths, Settings, account_of

    paths = Paths.here()
    settings = Settings.load(paths.home)
    wished = settings if tick is None else replace(settings, tick_seconds=tick)
    settings = carried(wished)
    account_of(settings, account)
    places = paths.of(account).made()
    logs.configure(places.log, as_json=json_logs)
    log = structlog.get_logger("qtkit.desk")
    if settings is not wished:
        slower = f"a pass comes every {settings.tick_seconds:g} s, not every {wished.tick_seconds:g} s"
        log.warning("tick", says=f"{slower}: the request budget carries no more; raise budget_share_bps if this address has room for it")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with Herald(settings, account, places.alerts) as herald:
        async with opened(settings, account) as running, served(running) as url:
            herald.follow(running)
            scope = running.account.scope.value
            log.info(running.access)
            for note in _standing(running):
                log.info(note)
            log.info("desk runs", account=account, scope=scope, tick_s=settings.tick_seconds, home=str(paths.home), url=url)
            await running.run(stop)
            said = farewell(running)
            herald.part(said)
    log.info(said)


def _standing(running: "Desk") -> tuple[str, ...]:
    """What holds from before, in plain words: arm, pause, what is adopted and released, hints; a desk that is paused looks idle else."""
    from qtkit.ledger import said_of

    now_ms = running.applier.clock_ms()
    hints = running.executor.hints.notes(running.account, running.router.policies.names(), now_ms)
    return (*running.permit.notes(), *said_of(running.applier.book, running.account.name, now_ms)[1], *hints)


def farewell(running: "Desk") -> str:
    """What a stopped desk leaves behind, in one sentence."""
    open_ = [key for key, episode in running.applier.book.episodes.items() if episode.opened]
    resting = {line.key: len(line.orders) for line in running.monitor.health.coverage if line.orders and line.key in open_}
    if not open_:
        return "desk stopped; no position is open"
    stops, held = _count(sum(resting.values()), "stop"), _count(len(resting), "position")
    bare = sorted(str(key) for key in open_ if key not in resting)
    rest = f"desk stopped; {stops} of ours {'rests' if sum(resting.values()) == 1 else 'rest'} on {held} and stay on the exchange"
    return f"{rest}, NOTHING of ours rests on {', '.join(bare)}" if bare else f"{rest}; they no longer trail until a desk runs"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
