"""Talking to the running desk from another process; where none runs, taking its place for one act."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from qtkit.access import enter
from qtkit.apply import wall_ms
from qtkit.core.book import Book, Episode, fold
from qtkit.core.context import MarketData
from qtkit.core.events import Event
from qtkit.core.model import Instrument, PolicyError, TriggerBy
from qtkit.core.names import of_account, suggestion
from qtkit.core.plan import ExitPlan
from qtkit.desk import EVENT_TYPES, Desk, gateway_of, identity, opened, read_heartbeat
from qtkit.home import Paths, searched
from qtkit.keys import keys_of, owner_keys
from qtkit.market import MINUTE_MS, market_data
from qtkit.operate import Pause, Release, Said, SetStop, Wish, operate, sends
from qtkit.policies import Policies
from qtkit.policy_use import PolicyWish, UsePolicy, carried_out, noted
from qtkit.settings import Account, Settings, account_of, meant
from qtkit.signals import Execution, Signal
from qtkit.store import codec
from qtkit.store.journal import Journal, JournalMissing, JournalReader
from qtkit.store.lease import holder
from qtkit.venue.gateway import GatewayError

TIMEOUT_S = 30


class NoDesk(Exception):
    """No desk runs from this home."""


class DeskSilent(Exception):
    """A desk took what was asked and did not answer: it hangs, is halted, or ended meanwhile. Nobody may take its place for it."""


async def call(method: str, path: str, body: dict[str, Any] | None = None, *, account: str, timeout_s: float = TIMEOUT_S) -> Any:
    """Ask the account's desk. Raises ``NoDesk`` if none is there, ``PolicyError`` with the desk's own sentence if it refuses.

    ``DeskSilent`` if it does not answer in time: what was asked for may or may not be done.
    """
    import aiohttp

    none = NoDesk(of_account(f"no desk of account {account} runs from this home; start it with `qtkit desk`", account))
    try:
        door = json.loads(Paths.here().of(account).endpoint_token.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        raise none from None
    headers = {"Authorization": f"Bearer {door['token']}"}
    try:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
            session.request(method, door["url"] + path, json=body) as answer,
        ):
            said = await answer.json()
    except TimeoutError:
        advice = "`qtkit check` reads the exchange itself"
        raise DeskSilent(f"the desk at {door['url']} did not answer within {timeout_s:g} s; {advice}") from None
    except aiohttp.ContentTypeError as error:
        if error.status == 500:
            raise DeskSilent(f"the desk at {door['url']} failed on this; desk.log beside its journal tells why") from None
        raise none from None  # somebody else, on the port of a desk that was killed
    except aiohttp.ClientConnectorError:
        raise none from None
    except aiohttp.ClientConnectionError:
        advice = "it may have done what was asked; start it again and see with `qtkit check`"
        raise DeskSilent(f"the desk at {door['url']} ended before it answered; {advice}") from None
    if answer.status != 200:
        raise PolicyError(said["error"])
    return said


@asynccontextmanager
async def stand_in(account: str = "", *, closing: bool = False) -> AsyncIterator[Desk]:
    """A desk of this process for one act, when none runs: it takes the lease, covers what is open, acts, and leaves the orders resting.

    ``closing``: the act closes, tightens or lets go, which a live account allows without proof and arm.
    """
    async with opened(account=account, closing=closing) as desk:
        if any(line.gap for line in await desk.monitor.pass_once()):
            await desk.monitor.pass_once()  # what the first one placed is counted now
        yield desk


def access(account: str = "") -> str:
    """Which account, kind, scope and key rights the account's desk used when it passed last, empty if it never did."""
    return str((read_heartbeat(Paths.here().of(meant(account))) or {}).get("access", ""))


async def send_signal(signal: Signal, *, account: str = "", dry_run: bool) -> Execution:
    """Carry a signal out through the running desk, or in its place."""
    account = meant(account)
    try:
        return codec.decode(Execution, await call("POST", "/signal", {**signal.to_dict(), "dry_run": dry_run}, account=account))
    except NoDesk:
        async with stand_in(account) as desk:
            return await desk.executor.execute(signal, dry_run=dry_run)


async def say(wish: Wish, *, account: str = "", dry_run: bool) -> Said:
    """Have the running desk, or one in its place, carry out what the operator says, or only say what it would come to."""
    account = meant(account)
    try:
        return codec.decode(Said, await call("POST", "/operate", {**codec.encode(Wish, wish), "dry_run": dry_run}, account=account))
    except NoDesk:
        async with stand_in(account, closing=_spares_the_arm(wish)) as desk:
            if sends(wish):
                desk.must_write()
            return await operate(desk.monitor, wish, dry_run=dry_run)


async def say_policy(wish: PolicyWish, *, account: str = "", dry_run: bool) -> Said:
    """Have a policy put to use or dropped by the running desk. Where none runs it is noted for the next one, open positions apart."""
    account = meant(account)
    try:
        return codec.decode(Said, await call("POST", "/policy", {**codec.encode(PolicyWish, wish), "dry_run": dry_run}, account=account))
    except NoDesk:
        if isinstance(wish, UsePolicy) and wish.open:
            async with stand_in(account) as desk:
                return await carried_out(desk, wish, dry_run=dry_run)
        paths = Paths.here()
        settings = Settings.load(paths.home)
        held = account_of(settings, account)
        return noted(settings, held, Policies(paths, held.name), wish, await _traded(settings, held), dry_run=dry_run)


async def _traded(settings: Settings, held: Account) -> frozenset[str] | None:
    """The symbols that an account's exchange trades; None where that cannot be asked now."""
    try:
        keys = keys_of(held, Paths.here(), looking=True)
        gateway = gateway_of(held, keys, settings, writes=False)
    except PolicyError:
        return None
    try:
        await enter(gateway, held, keys, writes=False)
        return frozenset(gateway.instruments)
    except (GatewayError, PolicyError):
        return None
    finally:
        await gateway.close()


def _spares_the_arm(wish: Wish) -> bool:
    """True for what takes nothing new on and loosens nothing: an arm that is over must not stand in its way."""
    return isinstance(wish, Release | Pause) or (isinstance(wish, SetStop) and not wish.loosen)


async def adjust(plan: ExitPlan) -> bool:
    """Make the orders of a plan's position what it wants; True if they were not."""
    body = {"symbol": plan.key.symbol, "position_side": plan.key.position_side.value}
    try:
        return bool((await call("POST", "/adjust", body, account=plan.key.account))["adjusted"])
    except NoDesk:
        async with opened(account=plan.key.account) as desk:
            return await desk.monitor.adjust(plan.key)


class ExchangeFacts:
    """Trading rules and market of a symbol: from the running desk, else from the exchange itself, asked for once in a minute."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._known: dict[str, tuple[int, Instrument, MarketData]] = {}

    async def instrument(self, symbol: str) -> Instrument:
        """Trading rules. Raises ``PolicyError`` for an unknown symbol."""
        return (await self._learn(symbol))[1]

    async def market(self, symbol: str) -> MarketData:
        """Volatility, trend, ATR and regime."""
        return (await self._learn(symbol))[2]

    async def _learn(self, symbol: str) -> tuple[int, Instrument, MarketData]:
        minute = wall_ms() // MINUTE_MS
        if self._known.get(symbol, (0,))[0] != minute:
            try:
                said = await call("GET", f"/facts/{symbol}", account=self._account)
                rules, market = codec.decode(Instrument, said["instrument"]), codec.decode(MarketData, said["market"])
            except NoDesk:
                rules, market = await self._ask_exchange(symbol)
            self._known[symbol] = minute, rules, market
        return self._known[symbol]

    async def _ask_exchange(self, symbol: str) -> tuple[Instrument, MarketData]:
        paths = Paths.here()
        settings = Settings.load(paths.home)
        account = account_of(settings, self._account)
        keys = keys_of(account, paths, looking=True)
        gateway = gateway_of(account, keys, settings, writes=False)
        try:
            await enter(gateway, account, keys, writes=False)
            if symbol not in gateway.instruments:
                raise PolicyError(f"there is no symbol '{symbol}': {suggestion(symbol, gateway.instruments)}")
            instrument = gateway.instruments[symbol]
            bars = await gateway.bars(symbol, limit=48, by=TriggerBy.LAST, minutes=60)
            return instrument, market_data(bars, instrument.tick)
        finally:
            await gateway.close()


def read_book(account: str = "", journal: Path | None = None) -> Book:
    """The book as the account's journal tells it. Raises ``JournalMissing`` naming the places that were searched."""
    book = Book()
    path = journal or Paths.here().of(meant(account)).journal
    reader: JournalReader[Event] = Journal.read(path, EVENT_TYPES, searched=searched())
    with reader:
        for row in reader.events():
            book = fold(book, row.event)
    return book


def living(account: str = "", journal: Path | None = None) -> dict[str, Episode]:
    """Living episodes by the names of their plans, as the journal tells them; none where no desk has written one."""
    try:
        return {episode.plan.uid: episode for episode in read_book(account, journal).episodes.values()}
    except JournalMissing:
        return {}


def running(account: str = "") -> bool:
    """True if a desk owns the account now."""
    paths = Paths.here()
    settings = Settings.load(paths.home)
    held = account_of(settings, account)
    return holder(identity(held, owner_keys(held, paths))) is not None
