"""How actions reach the exchange: journaled before they are sent, sent in order, answers classified, never assumed.

The rules differ by what is at stake: a stop or a close is repeated under the same id by the next pass, an entry is never sent again
without proof of its absence. There is no retry here: the next pass is the retry.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from qtkit.core.book import Book, fold_all
from qtkit.core.events import CancelMade, Event, IntentMade, LegResolved, LegSeen, LegStatus, OutcomeSeen, StopFilled
from qtkit.core.model import E8, Action, Cancel, Key, Lookup, Lots, Order, OrderKind, OrderStatus, Place, Side
from qtkit.store.journal import Journal, JournalError
from qtkit.venue.gateway import Gateway, GatewayError, Refused, Unavailable, Unknown

log = structlog.get_logger("qtkit.apply")


def wall_ms() -> int:
    """Wall-clock time in ms: the desk's own time, which its journal carries over restarts."""
    return time.time_ns() // 1_000_000


class Applier:
    """The one writer of an account: of its journal, its book and its orders.

    ``fence`` is asked before each request and raises when this process no longer owns the account. ``fault`` says why the journal
    cannot be written; then stops and closes still go out (noted in the side file) and entries are refused.
    """

    def __init__(
        self,
        gateway: Gateway,
        journal: Journal[Event],
        *,
        fence: Callable[[], object] = lambda: None,
        clock_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self.gateway = gateway
        self.journal = journal
        self.fence = fence
        self.clock_ms = clock_ms
        self.fault: str | None = None
        self.book = fold_all(Book(), (row.event for row in journal.events()))

    def record(self, events: Iterable[Event]) -> None:
        """Write the events in one synced commit and fold them into the book."""
        batch = tuple(events)
        if not batch:
            return
        at_ms = self.clock_ms()
        try:
            self.journal.append(batch, at_ms)
            self.fault = None
        except JournalError as error:
            self._record_aside(batch, at_ms, error)
        self.book = fold_all(self.book, batch)

    def _record_aside(self, batch: tuple[Event, ...], at_ms: int, error: JournalError) -> None:
        self.fault = str(error)
        log.error("journal", fault=self.fault)
        try:
            self.journal.append_fallback(batch, at_ms)
        except JournalError as second:
            # Protection goes on from memory: an order without a note is better than a position without an order.
            log.error("side journal", fault=str(second))

    async def apply(self, actions: Sequence[Action]) -> bool:
        """Carry the actions out: cover and closes first, each slot in its order. True if the exchange may have changed by it."""
        if not actions:
            return False
        self.record(intent for action in actions for intent in self._intents(action))
        changed = any(isinstance(action, Cancel) for action in actions)
        first = next((i for i, action in enumerate(actions) if not _covers(action)), len(actions))
        for phase in (actions[:first], actions[first:]):
            lanes: dict[Key, list[Action]] = {}
            for action in phase:
                lanes.setdefault(action.key, []).append(action)
            outcomes = await asyncio.gather(*(self._lane(lane) for lane in lanes.values()))
            events = [event for lane_events in outcomes for event in lane_events]
            self.record(events)
            changed |= any(isinstance(event, OutcomeSeen) and event.status is not LegStatus.REFUSED for event in events)
        return changed

    def _intents(self, action: Action) -> tuple[Event, ...]:
        at_ms = self.clock_ms()
        match action:
            case Place(key=key, leg=leg, revision=revision, order=order, reason=reason):
                return (IntentMade(key=key, leg=leg, revision=revision, order=order, at_ms=at_ms, reason=reason),)
            case Cancel(key=key, order=order, reason=reason):
                return (CancelMade(key=key, client_id=order.client_id, at_ms=at_ms, reason=reason),)
            case Lookup():
                return ()

    async def _lane(self, actions: Sequence[Action]) -> list[Event]:
        events: list[Event] = []
        for action in actions:
            self.fence()
            try:
                events += await self._carry_out(action)
            except Exception as error:  # a fault of ours in one order must not keep the others from being sent; the next pass repeats it
                log.exception("action", key=str(action.key), action=type(action).__name__)
                if isinstance(action, Place):
                    events.append(self._answered(action, LegStatus.UNKNOWN, text=f"{type(error).__name__}: {error}"))
        return events

    async def _carry_out(self, action: Action) -> list[Event]:
        match action:
            case Place():
                return await self._place(action)
            case Cancel():
                await self._cancel(action)
                return []
            case Lookup():
                return await self._lookup(action)

    def _answered(self, action: Place, status: LegStatus, code: int | None = None, text: str = "") -> OutcomeSeen:
        at_ms = self.clock_ms()
        return OutcomeSeen(
            key=action.key, leg=action.leg, client_id=action.order.client_id, status=status, at_ms=at_ms, code=code, text=text
        )

    async def _place(self, action: Place) -> list[Event]:
        client_id = action.order.client_id
        status, code, text = LegStatus.ACKED, None, ""
        filled: list[Event] = []
        try:
            ack = await self.gateway.place(action.order)
            if ack.order.status.terminal:
                filled = [self._resolved(action.key, action.leg, client_id, ack.order.status, ack.order.filled)]
        except Refused as refusal:
            status, code, text = LegStatus.REFUSED, refusal.code, refusal.message
        except (Unknown, Unavailable) as error:
            status, text = LegStatus.UNKNOWN, str(error)
        log.info(
            "order", key=str(action.key), leg=action.leg, kind=action.order.kind.value, lots=action.order.lots,
            trigger=action.order.trigger,
            id=client_id, outcome=status.value, code=code, why=action.reason, text=text,
        )  # fmt: skip
        return [self._answered(action, status, code, text), *filled]

    async def _cancel(self, action: Cancel) -> None:
        outcome = "accepted"
        try:
            await self.gateway.cancel(action.order)
        except GatewayError as error:  # the next reading tells whether it still rests
            outcome = str(error)
        log.info("cancel", key=str(action.key), id=action.order.client_id, trigger=action.order.trigger, outcome=outcome, why=action.reason)

    async def _lookup(self, action: Lookup) -> list[Event]:
        try:
            order = await self.gateway.lookup(action.key.symbol, action.client_id, conditional=action.conditional)
        except GatewayError as error:
            log.info("lookup", key=str(action.key), id=action.client_id, outcome=str(error))
            return []
        if order is None:
            return [self._resolved(action.key, action.leg, action.client_id, OrderStatus.REJECTED, Lots(0))] if self._absent(action) else []
        if order.status.terminal:
            resolved = self._resolved(action.key, action.leg, action.client_id, order.status, order.filled)
            return [resolved, *self._stop_filled(action.key, order)]
        if order.status.working:
            return [LegSeen(key=action.key, leg=action.leg, client_id=action.client_id, status=LegStatus.LIVE, at_ms=self.clock_ms())]
        return []

    def _stop_filled(self, key: Key, order: Order) -> tuple[Event, ...]:
        """Where a stop of ours was filled: from this, slippage is learnt."""
        if order.kind is not OrderKind.STOP_MARKET or order.trigger is None or order.average is None or order.filled <= 0:
            return ()
        side = next(side for side in Side if side.closing is order.side)
        trigger = E8(order.trigger * self.gateway.instruments[key.symbol].tick)
        filled = StopFilled(key=key, side=side, client_id=order.client_id, trigger=trigger, average=order.average, at_ms=self.clock_ms())
        return (filled,)

    def _absent(self, action: Lookup) -> bool:
        """True if "does not exist" can be believed: the order is older than any lag between a write and its reading."""
        episode = self.book.episodes.get(action.key)
        leg = episode.legs.get(action.leg) if episode is not None else None
        return leg is None or self.clock_ms() - leg.at_ms >= READ_LAG_MS

    def _resolved(self, key: Key, leg: str, client_id: str, status: OrderStatus, filled: Lots) -> LegResolved:
        return LegResolved(key=key, leg=leg, client_id=client_id, status=status, filled=filled, at_ms=self.clock_ms())


READ_LAG_MS = 10_000


def _covers(action: Action) -> bool:
    return isinstance(action, Place) and action.leg[0] in "fsxe"
