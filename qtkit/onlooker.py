"""Looking at an account without owning it: the exchange is read, the journal is read, decisions are made, nothing is sent or written."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from qtkit.access import enter
from qtkit.apply import Applier, wall_ms
from qtkit.core.book import Book, fold
from qtkit.core.decide import Decision
from qtkit.core.events import Event
from qtkit.core.model import Action, Key
from qtkit.core.plan import ExitPlan
from qtkit.desk import decisions_of, followed_by, gateway_of, identity, read_heartbeat, router_of
from qtkit.hints import hints_of
from qtkit.home import Paths, searched
from qtkit.keys import keys_of, owner_keys
from qtkit.ledger import Ledger, Step, lines_of, orders_of, said_of, steps_of
from qtkit.monitor import PositionMonitor
from qtkit.permit import notes_of
from qtkit.proofs import traits_for
from qtkit.settings import Account, Settings, account_of
from qtkit.store.journal import JournalMissing
from qtkit.store.lease import holder
from qtkit.store.register import PlanRegister
from qtkit.venue.gateway import Gateway


class _Reader(Applier):
    """The writer's place, taken by one that writes nothing: events change the book in memory alone, actions go nowhere."""

    def __init__(self, gateway: Gateway, book: Book) -> None:  # without the journal: there is none to write
        self.gateway = gateway
        self.fence = lambda: None
        self.clock_ms = wall_ms
        self.fault = None
        self.book = book

    def record(self, events: Iterable[Event]) -> None:
        for event in events:
            self.book = fold(self.book, event)

    async def apply(self, actions: Sequence[Action]) -> bool:
        raise AssertionError("an onlooker sends nothing")


@dataclass(frozen=True, slots=True)
class Onlooker:
    """What an onlooker sees. ``notes`` say what could not be had, ``access`` which account it is and what the key may do there."""

    settings: Settings
    account: Account
    paths: Paths
    monitor: PositionMonitor
    notes: tuple[str, ...]
    access: str

    async def decision(self) -> Decision:
        """What a pass would decide now."""
        return await self.monitor.preview()

    async def ledger(self) -> Ledger:
        """The account as the exchange shows it, by the plans of the register, or by drafts where there are none."""
        decision = await self.decision()
        beat = read_heartbeat(self.paths.of(self.account.name)) or {}
        last = beat.get("last_pass_ms")
        health, instruments = self.monitor.health, self.monitor.gateway.instruments
        episodes = decision.book.episodes
        alarms = (*decision.alarms, *self.monitor.router.policies.faults())
        now_ms = wall_ms()
        released, said = said_of(decision.book, self.account.name, now_ms)
        hints = hints_of(self.settings, self.paths.home).notes(self.account, self.monitor.router.policies.names(), now_ms)
        notes = (*self.notes, *said, *notes_of(self.account, owner_keys(self.account, self.paths), self.paths, now_ms), *hints)
        return Ledger(
            account=self.account.name, scope=self.account.scope.value, running=False, at_ms=now_ms,
            last_pass_ms=last if isinstance(last, int) else 0, tick_ms=int(self.settings.tick_seconds * 1000),
            access=self.access, owner=self.owner(), alarms=alarms, released=released, notes=notes,
            orders=orders_of(health.snapshots, instruments, self.settings.desk),
            lines=lines_of(
                decision.coverage, episodes, health.snapshots, instruments, drafts=self.drafts(decision), slips=decision.book.slips
            ),
        )  # fmt: skip

    async def steps(self) -> tuple[Step, ...]:
        """What a desk would do in its first pass."""
        decision = await self.decision()
        return steps_of(
            decision.actions, decision.book, self.monitor.health.snapshots, self.monitor.gateway.instruments, self.settings.desk
        )

    def owner(self) -> str:
        """The process that holds the account, or nothing."""
        held = holder(identity(self.account, owner_keys(self.account, self.paths)))
        return "" if held is None else f"process {held.pid} holds account {self.account.name} since {held.since}"

    def drafts(self, decision: Decision) -> frozenset[Key]:
        """Slots whose plan no desk has kept."""
        return frozenset(key for key, episode in decision.book.episodes.items() if not self.is_kept(episode.plan))

    def is_kept(self, plan: ExitPlan) -> bool:
        """True if the register holds this plan as the active one of its slot."""
        active = self.monitor.router.register.active(plan.key, self.monitor.applier.clock_ms())
        return active is not None and active.uid == plan.uid


@asynccontextmanager
async def onlooker(account: str = "") -> AsyncIterator[Onlooker]:
    """Look at an account. Raises ``PolicyError``, ``JournalError``, ``RegisterError`` or ``Unavailable``; a missing journal is a note."""
    from qtkit.client import read_book

    paths = Paths.here()
    settings = Settings.load(paths.home)
    held = account_of(settings, account)
    keys = keys_of(held, paths, looking=True)
    notes: tuple[str, ...] = ()
    try:
        book = read_book(held.name)
    except JournalMissing:
        book, notes = Book(), (f"no journal yet; looked in: {', '.join(str(Paths(place).of(held.name).folder) for place in searched())}",)
    register = PlanRegister.read(paths.register) if paths.register.exists() else PlanRegister(paths.register)
    gateway = gateway_of(held, keys, settings, writes=False)
    try:
        access = await enter(gateway, held, keys, writes=False)
        router = router_of(settings, held, register)
        decisions = decisions_of(settings, held, gateway, traits_for(held, owner_keys(held, paths), paths))
        monitor = PositionMonitor(decisions, _Reader(gateway, book), router, follows=followed_by(settings))
        yield Onlooker(settings, held, paths, monitor, notes, access)
    finally:
        await gateway.close()
        register.disconnect()
