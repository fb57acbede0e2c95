"""Whether a desk may take something new on: asked when it starts and before each pass, of proof, arm, first limits, modes and clock.

What is lacking ends entries and adoption, never protection: what this desk has sent orders for goes on being covered, also by a desk that
starts when its arm is over. One that has nothing to protect is not let in then.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import structlog

from qtkit import proofs
from qtkit.account import Account
from qtkit.core import events
from qtkit.core.book import Book, fold_all
from qtkit.core.desired import Traits
from qtkit.core.model import PolicyError, Scope
from qtkit.home import Paths
from qtkit.keys import Keys
from qtkit.ledger import utc
from qtkit.limits import require_first_limits, require_isolated
from qtkit.store.journal import Journal, JournalMissing, JournalReader
from qtkit.venue.gateway import Gateway, GatewayError

log = structlog.get_logger("qtkit.desk")

CLOCK_OFF_MS = 1_000  # Binance refuses what is stamped a second ahead of its own time (-1021)
CLOCK_EVERY_S = 300.0


class Permit:
    """What a desk may do on its account, and what it lacks for more. ``alarm`` says aloud why nothing new is taken on, None if it is.

    Raises ``PolicyError`` where something is lacking and nothing of this desk's is to be protected. ``closing``: only to protect and to
    close what there is, which lacks nothing.
    """

    def __init__(
        self, account: Account, keys: Keys, paths: Paths, sources: Mapping[str, str], clock_ms: Callable[[], int], *, closing: bool = False
    ) -> None:
        self.account, self.keys, self.paths, self.clock_ms, self.closing = account, keys, paths, clock_ms, closing
        self.asks = account.real and account.scope is not Scope.WATCH
        self.alarm: str | None = None
        self._gateway: Gateway | None = None
        self._began_ms = clock_ms()
        self._clock: str | None = None
        self._until_ms: int | None = None
        self._lacking = "this desk is here for one act" if closing and self.asks else None
        try:
            if not closing:
                require_first_limits(account, sources)
                proofs.may_write(account, keys, paths, self._began_ms)
        except PolicyError as error:
            self._lack(error)

    async def enter(self, gateway: Gateway) -> None:
        """What only the exchange can tell: margin mode, position mode, clock. Raises ``PolicyError`` as the beginning does."""
        self._gateway = gateway
        if not self.asks or self.closing:
            return
        try:
            await require_isolated(gateway, self.account)
            proofs.require_mode(self.account, self.keys, self.paths, hedge=gateway.hedge)
        except PolicyError as error:
            self._lack(error)
        await self._ask_clock()

    def _lack(self, error: PolicyError) -> None:
        if not self._held_ms():
            raise error
        self._lacking = self._lacking or str(error)

    def _held_ms(self) -> int:
        """Up to when (ms) came what is ours to protect, by the journal; 0 if nothing is.

        That is what orders were sent for: a desk that only watched has planned what it never wrote on. And it needs a proof, of whatever
        age, for this exchange: what was sent on a demo account protects nothing on a live one of the same name.
        """
        if not proofs.is_proven_here(self.account, self.keys, self.paths):
            return 0
        episodes = _book(self.paths, self.account.name).episodes.values()
        return max((episode.since_ms + 1 for episode in episodes if episode.own or episode.legs), default=0)

    def first_ms(self) -> int | None:
        """Until when something new may be taken on by a desk that starts; None for ever. What it may not take on now, it had not before."""
        return self.until_ms(self._held_ms() if self._lacking or self._unfit() else None)

    def until_ms(self, before: int | None) -> int | None:
        """The same of a running desk, from what it was told last; it says aloud when that changes."""
        now_ms = self.clock_ms()
        arm = proofs.arm_now(self.account, self.keys, self.paths, now_ms)
        until = self._until_ms = proofs.armed_until_ms(self.account, self.keys, self.paths, now_ms, before)
        if arm is not None and arm.from_ms >= self._began_ms and not self.closing:
            self._lacking = None  # it was looked into all of it again before that word was given
        over = None if until is None or until > now_ms else f"its arm ended at {utc(until)}"
        why = self._lacking or self._unfit() or over
        self._say(why)
        return until if why is None else min(at for at in (until, before, now_ms) if at is not None)

    def _unfit(self) -> str | None:
        """What may change while a desk runs."""
        if self._gateway is None or not self.asks or self.closing:
            return None
        return self._clock or proofs.mode_changed(self.account, self.keys, self.paths, hedge=self._gateway.hedge)

    def _say(self, why: str | None) -> None:
        text = why and f"{self.account.name}: nothing new is taken on, what is held goes on being protected: {why}"
        if text != self.alarm and not self.closing:
            log.warning("permit", says=text or "something new is taken on again")
        self.alarm = None if self.closing else text

    async def keep_time(self) -> None:
        """Ask for the clock again every few minutes, until cancelled."""
        while self.asks:
            await asyncio.sleep(CLOCK_EVERY_S)
            await self._ask_clock()

    async def _ask_clock(self) -> None:
        """How far this computer's clock is off; what is not known changes nothing. It takes what the reserve for protection leaves."""
        try:
            off_ms = 0 if self._gateway is None else await self._gateway.clock_off_ms()
        except (GatewayError, PolicyError) as error:
            log.warning("clock", outcome="not known", why=str(error))
            return
        how = "switch time synchronisation on (`timedatectl set-ntp true`)"
        self._clock = f"the clock of this computer is off the exchange's by {off_ms:,} ms; {how}" if off_ms >= CLOCK_OFF_MS else None

    @property
    def traits(self) -> Traits:
        """What the desk goes by at this exchange."""
        return proofs.traits_for(self.account, self.keys, self.paths)

    def notes(self) -> tuple[str, ...]:
        """Until when it is armed, and what it does without for want of a proof, in plain words."""
        return tuple(_notes(self.account, self.traits, self._until_ms if self.alarm is None else None))


def notes_of(account: Account, keys: Keys, paths: Paths, now_ms: int) -> tuple[str, ...]:
    """The same without a desk."""
    arm = proofs.arm_now(account, keys, paths, now_ms)
    return tuple(_notes(account, proofs.traits_for(account, keys, paths), None if arm is None else arm.until_ms))


def _notes(account: Account, traits: Traits, until_ms: int | None) -> Iterator[str]:
    if until_ms is not None:
        yield f"armed until {utc(until_ms)}"
    if proofs.traits_used(account).floor_beside_stop and not traits.floor_beside_stop:
        yield f"no floor is placed, the working stop rests alone: {proofs.FLOOR_UNPROVEN}"


def _book(paths: Paths, account: str) -> Book:
    """What the desk before has left, read beside whoever writes there now."""
    try:
        reader: JournalReader[events.Event] = Journal.read(paths.of(account).journal, events.Event.__args__)
    except JournalMissing:
        return Book()
    with reader:
        return fold_all(Book(), (row.event for row in reader.events()))
