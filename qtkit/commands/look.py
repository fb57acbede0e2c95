"""Commands that only look: ``check``, ``preview``, ``plan``. They need no desk: without one the exchange is read here, and nothing sent."""

import asyncio
import json
import re
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from qtkit.core.book import Episode
    from qtkit.core.plan import ExitPlan
    from qtkit.ledger import Ledger, Step
    from qtkit.router import ExitRouter

ANSWER_WITHIN_S = 8.0
SECONDS = {"m": 60, "h": 3_600, "d": 86_400}
JSON = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
_WHICH = "Account of qtkit.toml; default: the only one, else paper."


def _meant(account: str) -> str:
    from qtkit.settings import meant

    return meant(account)


NAMED = Annotated[str, typer.Option(help=_WHICH)]
"""The account as it was typed, empty if it was not."""
ACCOUNT = Annotated[str, typer.Option(help=_WHICH, callback=_meant)]
"""The account that is meant."""


def check(
    account: NAMED = "",
    everything: Annotated[bool, typer.Option("--all", help="Every account of qtkit.toml, one after another; the worst counts.")] = False,
    as_json: JSON = False,
) -> None:
    """Show what is open and what covers it. Exit status 0: all covered and a desk passes in time; 1: a gap, or nobody watches.

    Asks the running desk; without one it reads the exchange itself and says so.

    Examples: `qtkit check`, `qtkit check --json | jq .sentence`, `qtkit check --all || mail -s "not covered" me@example.com`
    """
    from qtkit import show

    if everything:
        if account:
            raise typer.BadParameter("say --account NAME or --all", param_hint="--all")
        raise typer.Exit(0 if _check_all(as_json) else 1)
    it = asyncio.run(ledger_now(_meant(account)))
    if as_json:
        print(json.dumps(_row(it), indent=1))
    else:
        show.ledger(it)
    say(it.access, as_json)
    raise typer.Exit(0 if _is_well(it) else 1)


def _is_well(it: "Ledger") -> bool:
    return not it.has_gap and it.late() is None


def _row(it: "Ledger") -> dict[str, object]:
    return {"sentence": it.sentence, "ok": _is_well(it), "late": it.late(), **asdict(it)}


def _check_all(as_json: bool) -> bool:
    """Show every account, also those behind one that cannot be looked at. True if all is well with all."""
    from qtkit import show
    from qtkit.core.model import PolicyError
    from qtkit.core.names import of_account
    from qtkit.settings import Settings
    from qtkit.store.codec import CorruptRecord
    from qtkit.store.disk import StoreError
    from qtkit.venue.gateway import GatewayError

    rows: list[dict[str, object]] = []
    for name in sorted(Settings.load().accounts):
        try:
            it = asyncio.run(ledger_now(name))
            rows.append(_row(it))
        except (PolicyError, GatewayError, StoreError, CorruptRecord, OSError) as error:
            rows.append({"account": name, "sentence": of_account(str(error), name), "ok": False})
            it = None
        if not as_json:
            print(f"{'' if len(rows) == 1 else chr(10)}account {name}", flush=True)
            if it is None:
                print(rows[-1]["sentence"])
            else:
                show.ledger(it)
                say(it.access, as_json)
    if as_json:
        print(json.dumps(rows, indent=1))
    return all(row["ok"] for row in rows)


def say(access: str, as_json: bool) -> None:
    """Which account, kind, scope and key rights a command used: below its answer, or on stderr where the answer is for scripts."""
    if access:
        print(access, file=sys.stderr if as_json else sys.stdout)


def seconds_of(text: str, option: str) -> int:
    """``30m``, ``2h`` or ``1d`` in seconds. Raises ``PolicyError`` naming the option."""
    from qtkit.core.model import PolicyError

    match = re.fullmatch(r"([0-9]{1,6})([mhd])", text.strip())
    if match is None or not int(match[1]):
        raise PolicyError(f"{option} is a number of minutes, hours or days: 30m, 2h or 1d, got '{text}'")
    return int(match[1]) * SECONDS[match[2]]


async def ledger_now(account: str) -> "Ledger":
    """The ledger of the running desk, or what an onlooker sees."""
    from qtkit import logs
    from qtkit.client import DeskSilent, NoDesk, call
    from qtkit.ledger import Ledger
    from qtkit.onlooker import onlooker
    from qtkit.settings import Paths, Settings, account_of
    from qtkit.store import codec

    logs.quiet()
    account_of(Settings.load(Paths.here().home), account)
    try:
        return codec.decode(Ledger, await call("GET", "/cover", account=account, timeout_s=ANSWER_WITHIN_S))
    except (NoDesk, DeskSilent):
        pass  # what it does not tell is seen below
    async with onlooker(account) as looking:
        return await looking.ledger()


def preview(account: ACCOUNT = "", as_json: JSON = False) -> None:
    """Show what the next pass would create, keep, replace and cancel. Sends nothing.

    Examples: `qtkit preview`, `qtkit preview --json`
    """
    from qtkit import show

    steps, access = asyncio.run(steps_now(account))
    if as_json:
        print(json.dumps([asdict(step) for step in steps], indent=1))
    else:
        show.steps(steps)
    say(access, as_json)


async def steps_now(account: str) -> "tuple[tuple[Step, ...], str]":
    """What the next pass would do, and by which access that was found."""
    from qtkit import logs
    from qtkit.client import NoDesk, access, call
    from qtkit.ledger import Step
    from qtkit.onlooker import onlooker
    from qtkit.settings import Paths, Settings, account_of
    from qtkit.store import codec

    logs.quiet()
    account_of(Settings.load(Paths.here().home), account)
    try:
        return tuple(codec.decode(Step, row) for row in await call("GET", "/preview", account=account)), access(account)
    except NoDesk:
        async with onlooker(account) as looking:
            return await looking.steps(), looking.access


def plan(
    symbol: Annotated[str, typer.Argument(help="As the exchange writes it, BTCUSDT.")],
    side: Annotated[str, typer.Option(help="long or short, where both are open (hedge mode).")] = "",
    account: ACCOUNT = "",
    as_json: JSON = False,
) -> None:
    """Show a position's exit plan leg by leg. Price, distance from the entry, size and money; the stop as planned and as it is now.

    Without a kept plan: the draft that a desk would make of the open position.

    Examples: `qtkit plan BTCUSDT`, `qtkit plan ETHUSDT --side short`
    """
    from qtkit.core.describe import describe_plan
    from qtkit.core.distance import decimal
    from qtkit.core.plan import ExitPlan
    from qtkit.store import codec

    found, living, kept, access = asyncio.run(_plan(symbol.upper(), side.upper(), account))
    text = describe_plan(found, living)
    if as_json:
        now = None if living is None else decimal(living.trail.stop * found.tick, 8)
        print(json.dumps({"kept": kept, "stop_now": now, "plan": codec.encode(ExitPlan, found), "text": text}, indent=1))
    else:
        if not kept:
            print("no desk has planned this position yet; the draft that it would make:")
        elif found.provisional:
            print("provisional: made from a caller's word, not yet confirmed by a reading of the position")
        print("\n".join(text))
    say(access, as_json)


async def _plan(symbol: str, side: str, account: str) -> "tuple[ExitPlan, Episode | None, bool, str]":
    """The plan of a symbol's position, what lives by it, whether it is kept, and by which access it was found."""
    from qtkit import logs
    from qtkit.access import told
    from qtkit.client import living
    from qtkit.core.model import PolicyError, Side
    from qtkit.core.names import suggestion
    from qtkit.onlooker import onlooker
    from qtkit.router import ExitRouter
    from qtkit.settings import Paths, Settings, account_of

    logs.quiet()
    if side and side not in Side.__members__:
        raise PolicyError(f"side '{side.lower()}' is not a side of a position: {suggestion(side.lower(), ('long', 'short'))}")
    paths = Paths.here()
    held = account_of(Settings.load(paths.home), account)
    active = _kept(ExitRouter(account=account), symbol, side)
    if active is not None:
        return active, living(account).get(active.uid), True, told(held)
    async with onlooker(account) as looking:
        instruments = looking.monitor.gateway.instruments
        if symbol not in instruments:
            raise PolicyError(f"there is no symbol '{symbol}': {suggestion(symbol, instruments)}")
        episodes, access = (await looking.decision()).book.episodes, looking.access
    found = [e for key, e in sorted(episodes.items()) if key.symbol == symbol and side in ("", e.side.name)]
    if not found:
        raise PolicyError(
            f"no {side.lower() + ' ' if side else ''}position is open in {symbol}, so there is nothing to plan; "
            f"`qtkit signal {symbol} --side long --dry-run` shows what an entry would get"
        )
    if len(found) > 1:
        raise PolicyError(f"{symbol} has a long and a short position; say which: --side long or --side short")
    return found[0].plan, found[0], False, access


def _kept(router: "ExitRouter", symbol: str, side: str) -> "ExitPlan | None":
    from qtkit.apply import wall_ms
    from qtkit.core.model import PolicyError

    plans = [p for p in router.register.active_for(symbol, None, router.account, now_ms=wall_ms()) if side in ("", p.side.name)]
    if len(plans) > 1:
        raise PolicyError(f"{symbol} has a long and a short plan; say which: --side long or --side short")
    return plans[0] if plans else None
