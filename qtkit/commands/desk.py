"""``qtkit desk``: the process that owns an account and keeps its positions covered."""

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from qtkit.desk import Desk

ACCOUNT = Annotated[str, typer.Option(help="Account of qtkit.toml.")]


def desk(
    account: ACCOUNT = "paper",
    tick: Annotated[float | None, typer.Option(help="Seconds between passes, 0.1 to 60; default: tick_seconds of qtkit.toml.")] = None,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log JSON instead of key=value pairs.")] = False,
) -> None:
    """Run the desk of an account until Ctrl-C or SIGTERM. Stopping it leaves the stops resting on the exchange.

    Log lines go to stderr and to desk.log in the home folder. Start `qtkit paper` first.

    Examples: `qtkit desk`, `qtkit desk --tick 0.5`, `qtkit desk --json-logs`
    """
    asyncio.run(_run(account, tick, json_logs))


async def _run(account: str, tick: float | None, json_logs: bool) -> None:
    from dataclasses import replace

    import structlog

    from qtkit import logs
    from qtkit.desk import opened
    from qtkit.endpoint import served
    from qtkit.settings import Paths, Settings

    paths = Paths.here()
    settings = Settings.load(paths.home)
    settings = settings if tick is None else replace(settings, tick_seconds=tick)
    logs.configure(paths.home / "desk.log", as_json=json_logs)
    log = structlog.get_logger("qtkit.desk")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with opened(settings, account) as running, served(running) as url:
        scope = running.account.scope.value
        log.info("desk runs", account=account, scope=scope, tick_s=settings.tick_seconds, home=str(paths.home), url=url)
        await running.run(stop)
        log.info(farewell(running))


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
