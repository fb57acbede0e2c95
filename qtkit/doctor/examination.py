"""All findings of an account, one after another. What cannot be looked at is told as such, and the rest goes on.

It writes nothing, sends nothing that changes anything, and does not take the lease: files are opened for reading, the exchange is asked
through a gateway of its own, the desk through its endpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from qtkit.account import Account
from qtkit.apply import wall_ms
from qtkit.core.model import Instrument, PolicyError, Scope
from qtkit.core.names import DEFAULT_ACCOUNT, of_account
from qtkit.core.plan import ExitPlan
from qtkit.desk import VENUE, gateway_of, read_heartbeat, traits_of
from qtkit.doctor import account as accounts
from qtkit.doctor import knock, places, process, software, stores
from qtkit.doctor.finding import Finding, Limits, State, Unread, count, unread, worst
from qtkit.doctor.setup import NO_KEYS, UNSET, Setup, hints, permission, set_up, settings_hold
from qtkit.home import Paths, home
from qtkit.keys import Keys
from qtkit.store import codec
from qtkit.store.disk import StoreError
from qtkit.store.lease import Holder, holder

ANSWER_WITHIN_S = 4.0
SYMBOLS_ASKED = 20
"""Symbols whose filters the desk is asked for: each costs it a reading of bars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """All that was found. ``scope`` and ``kind`` are the account's, empty where the settings could not be read."""

    account: str
    kind: str
    scope: str
    findings: tuple[Finding, ...]

    @property
    def is_well(self) -> bool:
        """True if nothing is wrong."""
        return worst(self.findings) is not State.WRONG

    @property
    def sentence(self) -> str:
        """How many of each, in plain words."""
        names = {state: [finding.name for finding in self.findings if finding.state is state] for state in State}
        bad = f" ({', '.join(names[State.WRONG])})" if names[State.WRONG] else ""
        told = f"{len(names[State.WRONG])} wrong{bad}, {len(names[State.LOOK])} worth a look, {len(names[State.FINE])} fine"
        what = f" ({self.kind}, scope {self.scope})" if self.kind else ""
        return f"account {self.account}{what}: {count(len(self.findings), 'finding')}, {told}"


async def examine(name: str = "", limits: Limits | None = None) -> Examination:
    """Look at everything about an account. Raises ``PolicyError`` for an account that the settings do not name."""
    limits = limits or Limits()
    paths, now_ms = Paths(home()), wall_ms()
    setup = set_up(name, paths)
    name = setup.account.name if isinstance(setup.account, Account) else name or DEFAULT_ACCOUNT
    knocked, facts = await _outside(setup, limits)
    journal = stores.read_journal(paths.of(name).journal, name)
    register = stores.read_register(paths.register, name, now_ms)
    desk = await _desk(paths, setup, name, facts.held)
    if desk.runs and desk.door is process.Door.ANSWERS:
        facts = await _with_desk(name, facts, desk)
    plans = () if register is None or isinstance(register, Unread) else register.plans
    room = places.read_disk(paths.home)
    findings = (
        settings_hold(setup, desk, facts.instruments),
        places.key_files(places.read_key_files(paths), setup.fault, str(setup.keys) if isinstance(setup.keys, Keys) else ""),
        permission(setup, paths, desk, facts.hedge, now_ms),
        hints(setup, paths, now_ms),
        *_of_exchange(setup, knocked, facts, plans, limits, now_ms),
        process.lease(desk),
        process.heartbeat(desk),
        process.process(desk, limits),
        stores.journal(journal, paths.of(name).journal, limits, now_ms),
        stores.register(register, paths.register),
        places.disk(room, limits),
        places.file_system(room),
        software.versions(software.read_software()),
        software.kernel(software.read_kernel()),
        software.plugins(software.read_plugins()),
    )
    kind, scope = (setup.account.kind, setup.account.scope.value) if isinstance(setup.account, Account) else ("", "")
    told = tuple(replace(f, found=of_account(f.found, name), remedy=of_account(f.remedy, name)) for f in findings)
    return Examination(account=name, kind=kind, scope=scope, findings=told)


# -- the exchange ---------------------------------------------------------------------------------------------------------------


async def _outside(setup: Setup, limits: Limits) -> tuple[knock.Knock | Unread, accounts.AccountFacts]:
    """One request without a key, and if it is answered and the minute is not used up, everything that needs one."""
    if isinstance(setup.account, Unread):
        return UNSET, accounts.nothing(UNSET)
    knocked = await knock.knock(setup.account)
    if isinstance(knocked, Unread):
        return knocked, accounts.nothing(knock.NO_ANSWER)
    if knock.is_crowded(knocked, limits):
        return knocked, accounts.nothing(Unread(why="the request weight of this address is nearly used up, what is left is the desk's"))
    if isinstance(setup.keys, Unread):
        return knocked, accounts.nothing(NO_KEYS)
    try:
        gateway = gateway_of(setup.account, setup.keys, setup.settings, writes=False)
    except PolicyError as error:  # an address that settings take and the gateway does not
        return knocked, accounts.nothing(Unread(why=str(error)))
    return knocked, await accounts.read_account(gateway, setup.account)


def _of_exchange(
    setup: Setup, knocked: knock.Knock | Unread, facts: accounts.AccountFacts, plans: tuple[ExitPlan, ...], limits: Limits, now_ms: int
) -> tuple[Finding, ...]:
    account = setup.account if isinstance(setup.account, Account) else Account()
    start = "`qtkit paper` starts a paper exchange there" if account.on_paper else "check the network, and the exchange's status page"
    most = (account.traits or traits_of(account.venue)).max_conditional
    return (
        knock.exchange(knocked, start) if knocked is not UNSET else unread("exchange", UNSET),
        knock.clock(knocked, limits),
        accounts.key_rights(facts, account, setup.keys),
        accounts.position_mode(facts, plans),
        accounts.margin_mode(facts, account),
        accounts.filters(facts, plans, limits, now_ms),
        *([knock.weight(knocked, limits, setup.settings.budget_share_bps)] if account.venue == VENUE else []),
        accounts.order_slots(facts, limits, most),
    )


# -- the desk -------------------------------------------------------------------------------------------------------------------


async def _desk(paths: Paths, setup: Setup, name: str, held: int | None) -> process.DeskFacts:
    beat = process.beat_of(read_heartbeat(paths.of(name)))
    owner = setup.owner if isinstance(setup.owner, Unread) else _holder(setup.owner)
    pid = owner.pid if isinstance(owner, Holder) else beat.pid if isinstance(beat, process.Beat) else None
    return process.DeskFacts(
        home=paths.home, now_ms=wall_ms(), holder=owner, beat=beat, process=process.read_process(pid) if pid else None,
        door=await _door(paths, name), held=held, writes=not isinstance(setup.account, Account) or setup.account.scope is not Scope.WATCH,
    )  # fmt: skip


def _holder(identity: str) -> Holder | Unread | None:
    try:
        return holder(identity)
    except StoreError as error:
        return Unread(why=str(error))


async def _door(paths: Paths, name: str) -> process.Door:
    """Does the endpoint of this account's desk answer: to a question that costs the exchange nothing."""
    if not paths.of(name).endpoint_token.exists():
        return process.Door.ABSENT
    told = await _asked("/cover", name)
    if told is None:
        return process.Door.SILENT
    return process.Door.ANSWERS


async def _with_desk(name: str, facts: accounts.AccountFacts, desk: process.DeskFacts) -> accounts.AccountFacts:
    """The same, and the filters that the running desk works with."""
    positions = () if isinstance(facts.positions, Unread) else facts.positions
    rules: dict[str, Instrument] = {}
    for symbol in sorted({position.symbol for position in positions})[:SYMBOLS_ASKED]:
        told = await _asked(f"/facts/{symbol}", name)
        if told is None:  # what it does not tell of one in time, it will not tell of the others
            break
        rules[symbol] = codec.decode(Instrument, told["instrument"])
    return replace(facts, desk_rules=rules, loaded_ms=_since_ms(desk.holder))


async def _asked(path: str, account: str) -> Mapping[str, Any] | None:
    """The desk's answer, or None if none came or it refused."""
    from qtkit.client import DeskSilent, NoDesk, call

    try:
        told: Mapping[str, Any] = await call("GET", path, account=account, timeout_s=ANSWER_WITHIN_S)
        return told
    except (NoDesk, DeskSilent, PolicyError, OSError, KeyError, TypeError):  # the last three: an endpoint.token of another make
        return None


def _since_ms(owner: Holder | Unread | None) -> int | None:
    """When the desk took the account, which is when it loads the filters."""
    if not isinstance(owner, Holder):
        return None
    try:
        return int(datetime.strptime(owner.since, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return None
