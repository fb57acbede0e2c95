"""``qtkit hindsight``: what a desk that only watched would have done. It reads tape and journal of this home, and no key."""

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from qtkit.commands.look import ACCOUNT, JSON, seconds_of

BAR_EVERY = 500  # a look at the clock at each line would cost as much as the line

if TYPE_CHECKING:
    from rich.console import Console

    from qtkit.account import Account
    from qtkit.core.decide import Desk
    from qtkit.hindsight import Hindsight
    from qtkit.settings import Settings
    from qtkit.store.seen import Seen


def hindsight(
    symbol: Annotated[str, typer.Argument(help="As the exchange writes it, BTCUSDT; default: all.")] = "",
    account: ACCOUNT = "",
    since: Annotated[str, typer.Option(help="How far to look back: 90m, 48h, 3d.")] = "48h",
    as_json: JSON = False,
) -> None:
    """Show what a desk that watched would have done, and what that would have cost or saved against what happened.

    Told from the tape and the journal of this home by the very decisions that run live; no exchange is asked and nothing is sent.

    Examples: `qtkit hindsight --account main`, `qtkit hindsight BTCUSDT --since 12h`, `qtkit hindsight --json | jq .sentence`
    """
    from qtkit import show

    it = asyncio.run(looked_back(symbol.upper(), account, since))
    if as_json:
        told = {"sentence": it.sentence, "watched": it.watched, **asdict(it)}
        told["outcomes"] = [{**asdict(one), "verdict": one.verdict} for one in it.outcomes]
        print(json.dumps(told, indent=1))
    else:
        show.hindsight(it)


async def looked_back(symbol: str, account: str, since: str) -> "Hindsight":
    """The hindsight of an account of this home. Raises ``PolicyError`` where nothing was watched, ``FileNotFoundError`` without a tape."""
    from qtkit import logs
    from qtkit.apply import wall_ms
    from qtkit.core.events import Event
    from qtkit.core.model import PolicyError
    from qtkit.core.names import suggestion
    from qtkit.desk import EVENT_TYPES, followed_by
    from qtkit.home import searched
    from qtkit.retold import look_back
    from qtkit.settings import Paths, Settings, account_of
    from qtkit.store.journal import Journal, JournalReader
    from qtkit.store.tape import TapeReader

    logs.quiet()
    paths = Paths.here()
    settings = Settings.load(paths.home)
    held, places = account_of(settings, account), paths.of(account)
    seconds = seconds_of(since, "--since")
    tape = TapeReader(places.tape, searched=searched())
    journal: JournalReader[Event] = Journal.read(places.journal, EVENT_TYPES, searched=searched())
    with journal:
        rows = tuple(journal.events())
    now_ms = wall_ms()
    met: dict[str, None] = {}
    seen = _meeting(_with_progress(tape.between(now_ms - seconds * 1000, now_ms + 60_000), now_ms), met)
    it = await look_back(seen, rows, _decisions(settings, held), followed_by(settings), symbol=symbol)
    if not it.since_ms:
        raise PolicyError(
            f"account {account} was not watched in the last {since}, says the tape in {places.tape}; "
            "`qtkit desk` watches, in scope watch without sending anything"
        )
    if symbol and symbol not in met:
        known = suggestion(symbol, met) if met else "none was held in any symbol"
        raise PolicyError(f"no position in '{symbol}' was seen in the last {since}: {known}")
    return replace(it, asked_ms=seconds * 1000)


def _decisions(settings: "Settings", held: "Account") -> "Desk":
    """What a desk of this account decides with; the tape knows the instruments."""
    from typing import cast

    from qtkit.desk import decisions_of
    from qtkit.shadow import Shadow
    from qtkit.venue.gateway import Gateway

    return decisions_of(settings, held, cast(Gateway, Shadow(held.name, {})))


def _with_progress(seen: "Iterable[Seen]", until_ms: int, console: "Console | None" = None) -> "Iterator[Seen]":
    """The same; on a terminal a bar tells how much of the time up to ``until_ms`` is told: two days of many symbols take minutes."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield from seen
        return
    columns = (TextColumn("telling the tape again"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task, first_ms = bar.add_task(""), None
        for number, one in enumerate(seen):
            if number % BAR_EVERY == 0:
                first_ms = one.at_ms if first_ms is None else first_ms
                bar.update(task, completed=one.at_ms - first_ms, total=max(1, until_ms - first_ms))
            yield one


def _meeting(seen: "Iterable[Seen]", met: dict[str, None]) -> "Iterator[Seen]":
    """The same, noting in which symbols something was held."""
    from qtkit.core.model import Snapshot

    for one in seen:
        if isinstance(one.event, Snapshot) and one.event.positions:
            met[one.event.symbol] = None
        yield one
