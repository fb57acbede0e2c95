"""The desk: one process that owns an account, composed of gateway, journal, register, monitor and executor."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import structlog

from qtkit.access import RightsWatch, enter
from qtkit.account import Account
from qtkit.apply import Applier, wall_ms
from qtkit.core import events
from qtkit.core.decide import Desk as DeskSettings
from qtkit.core.desired import Traits
from qtkit.core.model import E8, ONE, Key, PolicyError, Scope
from qtkit.core.planner import ExitPlanner
from qtkit.executor import EventDrivenExecutor, Sizing
from qtkit.hints import hints_of
from qtkit.home import AccountPaths, Paths
from qtkit.keys import Keys, keys_of, owner_keys, require_own_key
from qtkit.ledger import ledger_line
from qtkit.limits import gate_of
from qtkit.monitor import Health, PositionMonitor
from qtkit.permit import Permit
from qtkit.policies import Policies
from qtkit.router import ExitRouter, Planning
from qtkit.settings import BarMode, Settings, account_of
from qtkit.sole import sole_owner
from qtkit.store.journal import Journal
from qtkit.store.lease import Lease, LeaseLost
from qtkit.store.register import PlanRegister
from qtkit.store.tape import Tape
from qtkit.trailing import Follows
from qtkit.venue.budget import Budget
from qtkit.venue.capabilities import capabilities
from qtkit.venue.gateway import Gateway

log = structlog.get_logger("qtkit.desk")

VENUE = "binanceusdm"
LONGEST_WAIT_MS = 15_000
EVENT_TYPES: tuple[type, ...] = events.Event.__args__


def gateway_of(account: Account, keys: Keys, settings: Settings, *, writes: bool | None = None) -> Gateway:
    """The exchange of an account, through ccxt. Without ``writes`` it only reads, as all do but Binance; None: it writes on loopback."""
    if account.venue != VENUE:
        from qtkit.venue.ccxt_unified import CcxtUnifiedGateway

        return CcxtUnifiedGateway(
            account.name, venue=account.venue, api_key=keys.api_key, secret=keys.secret.reveal(), demo=account.kind == "demo",
            base_url=account.base_url if account.rehearsal else None,
        )  # fmt: skip
    from qtkit.venue.ccxt_gateway import CcxtGateway

    budget = Budget(percent=settings.budget_share_bps // 100, looks=writes is False)
    return CcxtGateway(
        account.name, base_url=account.base_url, api_key=keys.api_key, secret=keys.secret.reveal(), budget=budget, writes=writes
    )


def traits_of(venue: str) -> Traits:
    """What a decision must know of a venue, from the capability table."""
    row = capabilities(venue)
    return Traits(
        floor_beside_stop=row.floor_beside_stop, conditional_reserves=row.conditional_reserves, stop_while_flat=row.stop_while_flat,
        max_conditional=row.max_conditional,
    )  # fmt: skip


def identity(account: Account, keys: Keys) -> str:
    """What the lease is taken on: the account at its exchange, whatever it is called here and whatever home it is run from."""
    venue, host = account.place
    return f"{venue}-{host}-{hashlib.blake2b(keys.api_key.encode(), digest_size=6).hexdigest()}"


class Waits(NamedTuple):
    """How long an acknowledgement counts before it is read back, and the time between two readings that prove flat (ms)."""

    grace_ms: int
    flat_after_ms: int


def waits_of(tick_s: float) -> Waits:
    """A few ticks, within bounds that are the exchange's: its readings lag by seconds however often it is asked, and no longer."""
    return Waits(int(min(max(5_000 * tick_s, 5_000), LONGEST_WAIT_MS)), int(min(max(2_000 * tick_s, 4_000), LONGEST_WAIT_MS)))


def decisions_of(settings: Settings, held: Account, gateway: Gateway, traits: Traits | None = None) -> DeskSettings:
    """What an account's decisions are made with."""
    waits = waits_of(settings.tick_seconds)
    return DeskSettings(
        account=held.name, tag=settings.desk, instruments=gateway.instruments, scope=held.scope,
        symbols=None if held.symbols is None else frozenset(held.symbols), most=held.scope if held.real else Scope.FULL,
        traits=traits or held.traits or traits_of(held.venue),
        grace_ms=waits.grace_ms, flat_after_ms=waits.flat_after_ms, patience_ms=settings.emergency.patience_seconds * 1000,
        emergencies_a_day=settings.emergency.closes_per_day,
    )  # fmt: skip


def router_of(settings: Settings, held: Account, register: PlanRegister) -> ExitRouter:
    """How an account's positions are planned, by its desk and by whoever looks at what that would do."""
    policies = Policies(Paths.here(), held.name)
    planner = ExitPlanner(profiles=settings.profiles_of(policies))
    planning = Planning(adopted=policies.adopted(held.guard_policy, held.scope))
    return ExitRouter(register, account=held.name, planner=planner, planning=planning, policies=policies)


def followed_by(settings: Settings) -> Follows:
    """Which prices trails follow."""
    return Follows(closed_bars=settings.bar_mode is BarMode.CLOSED, series=settings.trail_series.trigger_by)


@dataclass(slots=True)
class Desk:
    """A running desk. Use ``opened``: it takes the lease, reads the journal and starts the gateway, in this order."""

    settings: Settings
    account: Account
    places: AccountPaths
    lease: Lease
    applier: Applier
    router: ExitRouter
    monitor: PositionMonitor
    executor: EventDrivenExecutor
    journal: Journal[events.Event]
    access: str
    """Which account, kind, scope and key rights, in one line."""
    permit: Permit
    """Whether something new may be taken on. It may change while the desk runs."""
    rights: RightsWatch
    on_lease_lost: Callable[[str], None] = lambda why: None

    async def run(self, stop: asyncio.Event) -> None:
        """Passes until told to stop. A process that was halted too long takes a new epoch and reads everything anew."""
        watches = [asyncio.create_task(self.permit.keep_time()), asyncio.create_task(self.rights.run())]
        try:
            while not stop.is_set():
                try:
                    await self.monitor.run(stop)
                except LeaseLost as lost:
                    log.warning("lease", lost=str(lost))
                    self.on_lease_lost(str(lost))
                    self.lease.renew()
                    self.monitor.forget()
        finally:
            for watch in watches:
                watch.cancel()

    def passed(self, health: Health) -> None:
        """After every pass: whether it may still take something new on, what its key may do besides, and the beat."""
        self.monitor.desk = replace(self.monitor.desk, takes_on_until_ms=self.permit.until_ms(self.monitor.desk.takes_on_until_ms))
        lacking = () if self.permit.alarm is None else (self.permit.alarm,)
        health.alarms = tuple(dict.fromkeys((*self.rights.alarms, *health.alarms, *lacking, *self.router.policies.alarms())))
        self.heartbeat(health)

    def must_write(self) -> None:
        """Raise ``PolicyError`` where nothing is sent, whoever asks for it: in scope watch on a real account."""
        if self.account.real and self.account.scope is Scope.WATCH:
            why = capabilities(self.account.venue).read_only
            instead = f"; {why}" if why else ", or set guard or full first"
            raise PolicyError(f"accounts.{self.account.name}.scope is watch, which sends nothing; do it at the exchange{instead}")

    def heartbeat(self, health: Health) -> None:
        """What readers see of this desk, written after every pass; a beat older than three ticks is a stopped desk."""
        book = self.applier.book.episodes
        now_ms = self.applier.clock_ms()
        beat = {
            "account": self.account.name, "access": self.access, "scope": self.account.scope.value,
            "pid": os.getpid(), "tick_s": self.settings.tick_seconds,
            "at_ms": now_ms, "passes": health.passes, "last_pass_ms": health.last_pass_ms, "fault": health.fault,
            "alarms": list(health.alarms),
            "positions": [ledger_line(line, book[line.key], now_ms) for line in health.coverage if line.key in book],
        }  # fmt: skip
        draft = self.places.heartbeat.with_suffix(".new")
        with suppress(OSError):  # a full disk must not stop protection; readers then see an old beat, which is an alarm
            draft.write_text(json.dumps(beat, default=str))
            os.replace(draft, self.places.heartbeat)

    async def flatten(self, keys: tuple[Key, ...], *, within_s: float = 20.0) -> tuple[Key, ...]:
        """Close these positions at the market, reduce-only, stops last, also those of released symbols.

        Returns the slots that are still open when time is up.
        """
        self.must_write()
        end = asyncio.get_running_loop().time() + within_s
        left = keys
        while left and asyncio.get_running_loop().time() < end:
            await self.monitor.close_now(left)
            left = tuple(key for key in left if (episode := self.applier.book.episodes.get(key)) is not None and episode.opened)
            if left:
                await asyncio.sleep(0.2)
        closed = tuple(key for key in keys if key not in left)
        while await self.monitor.clear(closed) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.2)
        return left


@asynccontextmanager
async def opened(
    settings: Settings | None = None, account: str = "", *, gateway: Gateway | None = None, traits: Traits | None = None,
    clock_ms: Callable[[], int] = wall_ms, closing: bool = False,
) -> AsyncIterator[Desk]:  # fmt: skip
    """The desk of an account, closed in the end; resting orders stay. Raises ``LeaseHeld``, ``JournalError``, ``PolicyError``.

    What lacks a proof or an arm is refused, unless something of its own is to be protected: see ``Permit``. ``closing``: only to keep what
    is planned, to tighten and to close, which needs neither.
    """
    paths = Paths.here()
    settings = settings or Settings.load(paths.home)
    held = account_of(settings, account)
    writes = not held.real or held.scope is not Scope.WATCH
    keys = keys_of(held, paths, looking=not writes)
    if not closing:
        require_own_key(held, settings.accounts, paths)
    permit = Permit(held, keys, paths, settings.sources, clock_ms, closing=closing)
    with Lease.acquire(identity(held, owner_keys(held, paths)), name=held.name, home=paths.home) as lease:
        places = paths.of(held.name).made()
        journal: Journal[events.Event] = Journal.open(places.journal, EVENT_TYPES, account=held.name)
        register = PlanRegister(paths.register)
        tape = Tape(places.tape)
        gateway = gateway or gateway_of(held, keys, settings, writes=writes)
        try:
            access = await enter(gateway, held, keys, writes=writes)
            await permit.enter(gateway)
            watch = RightsWatch(gateway, held, keys)
            with await sole_owner(gateway, held, paths.home, writes=writes):
                yield _compose(settings, held, places, lease, journal, register, tape, gateway, traits, access, permit, watch)
        finally:
            await gateway.close()
            tape.close()
            register.disconnect()
            journal.close()


def _compose(
    settings: Settings, held: Account, places: AccountPaths, lease: Lease, journal: Journal[events.Event], register: PlanRegister,
    tape: Tape, gateway: Gateway, traits: Traits | None, access: str, permit: Permit, rights: RightsWatch,
) -> Desk:  # fmt: skip
    decisions = replace(decisions_of(settings, held, gateway, traits or permit.traits), takes_on_until_ms=permit.first_ms())
    applier = Applier(gateway, journal, fence=lease.check, clock_ms=permit.clock_ms)
    router = router_of(settings, held, register)
    monitor = PositionMonitor(decisions, applier, router, tick_s=settings.tick_seconds, follows=followed_by(settings), tape=tape)
    sizing = Sizing(
        risk=held.risk_per_trade_bps, max_notional=E8(int(held.max_notional * ONE)), leverage=held.leverage,
        isolated=held.kind == "live", policy=router.policies.sound(held.policy),
    )  # fmt: skip
    gate = replace(gate_of(held), closed=lambda: rights.why)
    executor = EventDrivenExecutor(monitor, sizing, gate=gate, hints=hints_of(settings, places.folder.parents[1]))
    desk = Desk(settings, held, places, lease, applier, router, monitor, executor, journal, access, permit, rights)
    monitor.on_pass = desk.passed
    return desk


def read_heartbeat(places: AccountPaths) -> dict[str, object] | None:
    """The desk's last beat, or None if there was never one."""
    try:
        beat: dict[str, object] = json.loads(places.heartbeat.read_text())
        return beat
    except (FileNotFoundError, json.JSONDecodeError):
        return None
