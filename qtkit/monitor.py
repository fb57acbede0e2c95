"""The position monitor: the pass. Observe, decide, apply, read back; adopt what has no plan; tell what is not covered.

Events only bring a pass forward. Who opened a position, when, and whether we were alive does not matter: the position is the trigger.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NoReturn

import structlog

from qtkit.apply import Applier
from qtkit.core import arithmetic
from qtkit.core.book import Book, fold_all
from qtkit.core.context import MarketData
from qtkit.core.coverage import Coverage
from qtkit.core.decide import Decision, Desk, decide
from qtkit.core.desired import closing_market
from qtkit.core.events import EntryFailed, EpisodeClosed
from qtkit.core.events import Event as BookEvent
from qtkit.core.ids import client_order_id, parse_client_order_id
from qtkit.core.model import Cancel, Key, Lookup, Lots, Place, Position, Snapshot, Ticks, TriggerBy
from qtkit.core.plan import ExitPlan
from qtkit.core.roll import entered_elsewhere
from qtkit.core.shape import moving_callback
from qtkit.ledger import ledger_line
from qtkit.logs import Alarms
from qtkit.market import HOUR_MS, MINUTE_MS, market_data
from qtkit.observe import Observer
from qtkit.router import ExitRouter
from qtkit.store.lease import LeaseLost
from qtkit.store.seen import PassSeen
from qtkit.store.tape import Tape
from qtkit.trailing import Follows, Trails
from qtkit.venue.gateway import BarClosed, Event, Gateway, GatewayError, Nudge, Quote, Unavailable

log = structlog.get_logger("qtkit.monitor")

MARKET_WITHIN_S = 1.5  # a plan does not wait longer for its market data
COMFORTABLE_SYMBOLS = 20  # above this the tick lengthens, to stay within the request budget
WAKES = 5  # passes that events may bring forward at once ...
WAKE_EVERY_S = 6.0  # ... and how soon another one may: the request budget is for the rhythm first
SYMBOLS_OF_A_WAKE = 6  # reading the lists of so many symbols costs as much again as the pass itself
PASS_AGAIN_S = 0.05
MISSED_AFTER_MS = 3 * MINUTE_MS  # an hour's ATR that comes so long after its close was missed: as with bars, it does not sell


@dataclass(slots=True)
class Health:
    """The heartbeat: computed from what was read, never set by hand. Times in ms; ``snapshots`` are the newest, by symbol.

    ``unread`` are the symbols whose orders cannot be read, and since when: what covers them is as old as that. ``silent_ms`` is since
    when no prices are heard that the exchange has.
    """

    passes: int = 0
    last_pass_ms: int = 0
    coverage: tuple[Coverage, ...] = ()
    alarms: tuple[str, ...] = ()
    fault: str | None = None
    unread: Mapping[str, int] = field(default_factory=dict)
    silent_ms: int | None = None
    since_ms: Mapping[Key, int] = field(default_factory=dict)
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)


class _Absent:
    """What only the desk's own monitor has, in the place of it in a client."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError("this monitor is the client of a desk; only the desk itself reads the exchange, decides and sends")


_ABSENT: Any = _Absent()


class PositionMonitor:
    """Keeps every open position of an account covered. Without arguments it is the running desk's client."""

    def __init__(
        self,
        desk: Desk | None = None,
        applier: Applier | None = None,
        router: ExitRouter | None = None,
        *,
        tick_s: float = 2.0,
        follows: Follows | None = None,
        tape: Tape | None = None,
    ) -> None:
        self.tick_s = tick_s
        self.tape = tape
        self.on_pass: Callable[[Health], None] = lambda health: None
        self.health = Health()
        self._alarms = Alarms(log)
        self.desk: Desk = desk or _ABSENT
        self.router = router or ExitRouter()
        """The register of plans."""
        self._flat: dict[Key, bool] = {}  # slots told to be empty, and whether that was the last word of them
        self._said: dict[Key, tuple[Coverage, int]] = {}
        self._markets: dict[str, MarketData] = {}
        self._asked: dict[str, tuple[int, MarketData]] = {}
        self._moved_minute = 0
        self._wakes = float(WAKES)
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self.applier: Applier = _ABSENT
        self.gateway: Gateway = _ABSENT
        self.observer: Observer = _ABSENT
        self.trails: Trails = _ABSENT
        if applier is not None:
            self.applier, self.gateway = applier, applier.gateway
            self.observer = Observer(applier.gateway)
            self.trails = Trails(applier, follows or Follows(), tape, self._wake.set)

    # -- the pass ---------------------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Passes until told to stop; prices and nudges are heard all the while. Resting orders stay."""
        listener = asyncio.create_task(self._listen())
        try:
            while not stop.is_set():
                await self._pass_or_tell()
                if listener.done():
                    listener = self._listen_again(listener)
                await self._rest(stop)
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    async def _pass_or_tell(self) -> None:
        try:
            await self.pass_once()
        except LeaseLost:
            raise
        except Unavailable as error:
            self._could_not(str(error))
        except Exception as error:  # whatever one pass trips over, the next one must come: this loop is what protects
            log.exception("pass")
            self._could_not(f"{type(error).__name__}: {error}")

    def _could_not(self, why: str) -> None:
        self.health.fault = why
        log.warning("pass", outcome="not completed", why=why)
        self.on_pass(self.health)

    def _listen_again(self, ended: "asyncio.Task[None]") -> "asyncio.Task[None]":
        log.error("events", outcome="ended", why=str(ended.exception() if not ended.cancelled() else "cancelled"))
        self.on_nudge(Nudge(symbol=None))
        return asyncio.create_task(self._listen())

    async def _rest(self, stop: asyncio.Event) -> None:
        """Wait for the next tick, or for an event while events may still bring passes forward."""
        ticks = max(1, -(-self.observer.held // COMFORTABLE_SYMBOLS))
        seconds = self.tick_s * ticks
        self._wakes = min(float(WAKES), self._wakes + seconds / WAKE_EVERY_S)
        waits = [asyncio.ensure_future(stop.wait())]
        if self._wakes >= 1:
            waits.append(asyncio.ensure_future(self._wake.wait()))
        done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if done and not stop.is_set():
            await asyncio.sleep(PASS_AGAIN_S)  # what happens together is read together
            self.observer.due(key.symbol for key in self.trails.tightened)
            self._wakes -= 1 + self.observer.waiting / SYMBOLS_OF_A_WAKE
        self._wake.clear()

    async def pass_once(self) -> tuple[Coverage, ...]:
        """One pass: observe, decide, apply. Raises ``Unavailable`` when the exchange could not be read; then nothing was concluded."""
        async with self._lock:
            self.applier.fence()
            snapshots = await self._observe(self.applier.book)
            self.trails.record()
            await self._learn_markets({key.symbol for key in self._end_invalidated()})
            self.observer.due(self.router.end_unseen(snapshots, self.desk.flat_after_ms) & self.gateway.instruments.keys())
            now_ms = self.applier.clock_ms()
            if self.tape is not None:
                self.tape.write(PassSeen(account=self.desk.account, scope=self.desk.scope), now_ms)
            flat, self._flat = self._flat, {}
            decision = decide(self.applier.book, snapshots, self.desk, now_ms, self._plan_for, flat=flat)
            self._tell_adopted(decision)
            self.applier.record(decision.events)
            self._close_plans(decision)
            changed = await self.applier.apply(decision.actions)
            # Also after a refusal: it says that what was read is not what is (Binance -4130, -4118, -2022).
            self.observer.due(action.key.symbol for action in decision.actions if not isinstance(action, Lookup))
            if changed:
                self._wake.set()
            self.observer.due(key.symbol for key, episode in self.applier.book.episodes.items() if episode.flat_since_ms is not None)
            self._tell(decision, now_ms)
            self.trails.watch.follow(self.applier.book.episodes.values())
            await self._move_trails()
            return decision.coverage

    async def preview(self, events: Iterable[BookEvent] = (), plan: ExitPlan | None = None) -> Decision:
        """What a pass would do now, if these events had happened and ``plan`` were kept. Nothing is sent and nothing is remembered."""

        def plan_for(key: Key, position: Position) -> ExitPlan:
            return plan if plan is not None and plan.key == key else self._plan_without_keeping(key, position)

        async with self._lock:
            book = fold_all(self.applier.book, events)
            snapshots = await self._observe(book)
            return decide(book, snapshots, self.desk, self.applier.clock_ms(), plan_for)

    async def told(self, events: Callable[[], Iterable[BookEvent]]) -> None:
        """The operator's word: write down what it comes to once all that has happened until now is known, and do what it asks for."""
        async with self._lock:
            self.trails.record()
            self.applier.record(events())
            self.trails.watch.follow(self.applier.book.episodes.values())
        await self.pass_once()

    async def _observe(self, book: Book) -> tuple[Snapshot, ...]:
        """Read what is due, and what a decision on this book needs besides and cannot fetch itself."""
        known = {key.symbol for key in self.applier.book.episodes}
        if known:
            await self.trails.keep_time(min(known))
        self.observer.due(key.symbol for key in self.trails.tightened)
        snapshots = await self.observer.observe(known, self.applier.clock_ms(), self.trails.now_ms())
        self.gateway.watch(frozenset(snapshot.symbol for snapshot in snapshots), by=self.trails.follows.series)
        await self._prepare(snapshots, known, book)
        self.trails.write_prices()
        if self.tape is not None:
            for snapshot in snapshots:
                if snapshot.positions:
                    self.tape.rules(self.desk.account, self.gateway.instruments[snapshot.symbol], snapshot.at_ms)
                self.tape.write(snapshot, snapshot.at_ms)
        self.health.snapshots = {**self.health.snapshots, **{snapshot.symbol: snapshot for snapshot in snapshots}}
        return snapshots

    async def protect(self, key: Key) -> None:
        """Pass until the position is covered and read back, or the desk's patience is over; the loop goes on with it then."""
        deadline = asyncio.get_running_loop().time() + self.desk.patience_ms / 1000
        while asyncio.get_running_loop().time() < deadline:
            self.observer.due([key.symbol])
            lines = await self.pass_once()
            if any(line.key == key and line.gap == 0 for line in lines):
                return
            await asyncio.sleep(PASS_AGAIN_S)

    # -- plans ------------------------------------------------------------------------------------------------------------------

    async def _prepare(self, snapshots: Iterable[Snapshot], known: AbstractSet[str], book: Book) -> None:
        """What the decision needs and cannot fetch itself: market data of positions to be planned, bars missed in an outage."""
        held = (position for snapshot in snapshots for position in snapshot.positions)
        new = {position.symbol for position in held if self._is_to_be_planned(position, book)}
        if new and not known:
            await self.trails.keep_time(min(new))
        await self._learn_markets(new)
        await self.trails.catch_up()

    def _is_to_be_planned(self, position: Position, book: Book) -> bool:
        """True if a decision may ask for a plan: a new position, another one in its place, one that is taken over from watching."""
        episode = book.episodes.get(Key(self.desk.account, position.symbol, position.position_side))
        if episode is None or episode.side is not position.side or entered_elsewhere(episode, position):
            return True
        return self.desk.takes_over(book, episode, self.applier.clock_ms())

    async def _learn_markets(self, symbols: AbstractSet[str]) -> None:
        await asyncio.gather(*(self._learn_market(symbol) for symbol in sorted(symbols)))

    async def _learn_market(self, symbol: str) -> None:
        try:
            self._markets[symbol] = await asyncio.wait_for(self.market(symbol), MARKET_WITHIN_S)
        except (GatewayError, TimeoutError) as error:
            self._markets[symbol] = MarketData()
            log.warning("market", symbol=symbol, outcome="unknown", why=str(error) or "no answer in time")

    async def market(self, symbol: str) -> MarketData:
        """Volatility, trend, ATR and regime of a symbol from hourly bars, asked for once a minute: no hour ends within one."""
        minute = self.applier.clock_ms() // MINUTE_MS
        if self._asked.get(symbol, (0,))[0] != minute:
            bars = await self.gateway.bars(symbol, limit=48, by=TriggerBy.LAST, minutes=60)
            self._asked[symbol] = minute, market_data(bars, self.gateway.instruments[symbol].tick)
        return self._asked[symbol][1]

    async def _move_trails(self) -> None:
        """Once a minute, bring trails that move to the ATR of the newest full hour: last in a pass, for what protects does not wait."""
        minute, episodes = self.applier.clock_ms() // MINUTE_MS, self.applier.book.episodes
        moving = [(key, it.plan.trail) for key, it in episodes.items() if it.opened and it.plan.trail is not None and it.plan.trail.moves]
        if minute == self._moved_minute or not moving:
            return
        self._moved_minute = minute
        await self._learn_markets({key.symbol for key, _ in moving})
        missed = self.trails.behind or self.trails.now_ms() % HOUR_MS >= MISSED_AFTER_MS
        for key, trail in moving:
            callback = None if trail.moves is None else moving_callback(trail.moves, self._markets[key.symbol])
            held = self.observer.position(key.symbol, key.position_side)
            if callback is not None and callback != trail.callback and held is not None:
                price = arithmetic.favourable_ticks(held.side.sign, held.mark, self.gateway.instruments[key.symbol].tick)
                self.trails.move(key, callback, Ticks(price) if missed else None)

    def _plan_for(self, key: Key, position: Position) -> ExitPlan:
        instrument = self.gateway.instruments[key.symbol]
        market = self._markets.get(key.symbol, MarketData())
        return self.router.plan_for(key, position, instrument, market=market, time_ms=self.trails.now_ms(), over=self._plan_that_ended(key))

    def _plan_that_ended(self, key: Key) -> str | None:
        """A plan is asked for where the book has one: then the position of that one has ended."""
        before = self.applier.book.episodes.get(key)
        return None if before is None else before.plan.uid

    def _plan_without_keeping(self, key: Key, position: Position) -> ExitPlan:
        instrument, market = self.gateway.instruments[key.symbol], self._markets.get(key.symbol, MarketData())
        now_ms = self.trails.now_ms()
        active = self.router.register.active(key, now_ms)
        if active is not None and active.side is position.side and active.uid != self._plan_that_ended(key):
            return active
        return self.router.draft(self.router.adoption(position, instrument, market=market, time_ms=now_ms))

    def _end_invalidated(self) -> list[Key]:
        """A plan that somebody ended is made anew, what rests keeps it from loosening; one that the register lacks is put in.

        Returns the slots that are to be planned again.
        """
        open_keys = [key for key, episode in self.applier.book.episodes.items() if episode.opened]
        for key in open_keys:
            self.router.keep(self.applier.book.episodes[key].plan, self.trails.now_ms())
        ended = [key for key in open_keys if self.router.is_invalidated(self.applier.book.episodes[key].plan)]
        self.applier.record(EpisodeClosed(key=key, at_ms=self.applier.clock_ms(), reason="plan invalidated") for key in ended)
        return ended

    def _close_plans(self, decision: Decision) -> None:
        before = self.applier.book.episodes
        for event in decision.events:
            if isinstance(event, EpisodeClosed | EntryFailed):
                living = before.get(event.key)
                self.router.end(event.key, living.plan.uid if living is not None else None, event.at_ms, event.reason)
                # What a lagging list does not show yet must not stay behind on a flat slot.
                self.observer.keep_reading(event.key.symbol, event.at_ms + self.desk.grace_ms + self.desk.flat_after_ms)

    def _tell_adopted(self, decision: Decision) -> None:
        known = self.applier.book.episodes
        for key, episode in decision.book.episodes.items():
            if episode.opened and (key not in known or not known[key].opened or known[key].plan.uid != episode.plan.uid):
                who = "own entry" if episode.own else "watched" if episode.watched else "adopted"
                log.info(
                    "position", key=str(key), who=who, side=episode.side.name, plan=episode.plan.uid, strategy=episode.plan.strategy_id
                )
                if episode.own:
                    self.router.confirm(episode.plan)
                for warning in episode.plan.warnings:
                    log.warning("plan", key=str(key), says=warning)

    # -- events -----------------------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        async for event in self.gateway.events():
            self.hear(event)

    def hear(self, event: Event) -> None:
        """What the exchange tells by itself: prices and closed bars go to the trails, a nudge has a slot read now."""
        match event:
            case Quote():
                self.trails.on_quote(event)
            case BarClosed():
                self.trails.on_bar(event.symbol, event.bar)
            case Nudge():
                self.on_nudge(event)

    def on_nudge(self, nudge: Nudge) -> None:
        """Something happened: read it now."""
        if nudge.symbol is None:
            self.observer.everything_due()
            self.trails.behind = True
        else:
            self.observer.due([nudge.symbol])
            if nudge.flat is not None:
                self._flat[Key(self.desk.account, nudge.symbol, nudge.flat)] = True
            if nudge.held is not None and (key := Key(self.desk.account, nudge.symbol, nudge.held)) in self._flat:
                self._flat[key] = False
        self._wake.set()

    # -- what is told -----------------------------------------------------------------------------------------------------------

    def _tell(self, decision: Decision, now_ms: int) -> None:
        """One line per position with the same keys always, when it changes and once a minute, and the heartbeat."""
        seen = {line.key: line for line in decision.coverage}
        kept = [line for line in self.health.coverage if line.key not in seen and line.key in self.applier.book.episodes]
        self.health.coverage = tuple(sorted((*seen.values(), *kept), key=lambda line: line.key))
        for line in decision.coverage:
            episode = self.applier.book.episodes[line.key]
            if self._said.get(line.key) != (said := (line, now_ms // MINUTE_MS)):
                self._said[line.key] = said
                log.info("cover", **ledger_line(line, episode, now_ms))
        self._alarms.raised(decision.alarms, now_ms)
        self.health.alarms = decision.alarms
        self.health.unread = self.observer.unread
        self.health.silent_ms = self.trails.silent_ms
        patience_ms = self.desk.patience_ms
        self.health.fault = (
            self.applier.fault or unread_fault(self.health.unread, now_ms, patience_ms) or self.trails.fault(now_ms, patience_ms)
        )
        self.health.passes += 1
        self.health.last_pass_ms = now_ms
        self.health.since_ms = {key: episode.since_ms for key, episode in self.applier.book.episodes.items()}
        self.on_pass(self.health)

    async def should_adjust_tpsl(self, position: Mapping[str, Any]) -> bool:
        """The one inherited question that acts: make sure the position has a plan, and its orders on the way if it is real.

        True if its orders were not as its plan wants them, False if nothing had to be done.
        """
        from qtkit.client import adjust

        plan = await self.router.get_or_create_plan(position)
        return await adjust(plan) if self.applier is _ABSENT else await self.adjust(plan.key)

    async def adjust(self, key: Key) -> bool:
        """Read the slot anew and make its orders what its plan wants. True if they were not."""
        self.observer.due([key.symbol])
        wanted = await self.preview()
        await self.pass_once()
        return any(action.key == key for action in wanted.actions)

    async def close_now(self, keys: Iterable[Key]) -> None:
        """Send a reduce-only market order for each of these positions, and read them back."""
        places = []
        for key in keys:
            episode, held = self.applier.book.episodes.get(key), self.observer.position(key.symbol, key.position_side)
            if episode is not None and held is not None:
                leg = episode.legs.get("x0")
                lots = Lots(min(held.lots, self.gateway.instruments[key.symbol].market_max_lots))
                revision = 1 if leg is None else leg.revision + 1
                client_id = client_order_id(self.desk.tag, episode.plan.uid, "x0", revision)
                order = replace(closing_market(held, lots), client_id=client_id)
                places.append(Place(key=key, leg="x0", revision=revision, order=order, reason="flattened by the operator"))
        async with self._lock:
            await self.applier.apply(places)
        self.observer.due(place.key.symbol for place in places)
        await self.pass_once()

    async def clear(self, keys: Iterable[Key]) -> bool:
        """Take away what rests of ours in these slots if they are flat, also where hands are off. False if nothing rested there.

        The operator had their positions closed: what stays would hit the next one, which is not ours.
        """
        async with self._lock:
            empty = [key for key in keys if key not in self.applier.book.episodes]
            slots = {(k.symbol, k.position_side): k for k in empty if self.observer.position(k.symbol, k.position_side) is None}
            made = ((order, parse_client_order_id(order.client_id)) for order in self.observer.resting)
            ours = [order for order, parsed in made if parsed is not None and parsed[0] == self.desk.tag]
            found = [(key, order) for order in ours if (key := slots.get((order.symbol, order.position_side))) is not None]
            await self.applier.apply([Cancel(key=key, order=order, reason="flattened by the operator") for key, order in found])
        if found:
            self.observer.due(key.symbol for key, _ in found)
            await self.pass_once()
        return bool(found)

    def forget(self) -> None:
        """Believe nothing that was read before: the process was halted."""
        self.observer.forget()
        self.trails.behind = True


def unread_fault(unread: Mapping[str, int], now_ms: int, patience_ms: int) -> str | None:
    """What could not be read for longer than the desk's patience, in one sentence, or None."""
    old = {symbol: since_ms for symbol, since_ms in unread.items() if now_ms - since_ms >= patience_ms}
    if not old:
        return None
    since = f"{datetime.fromtimestamp(min(old.values()) / 1000, UTC):%H:%M:%S} UTC"
    return f"the orders of {', '.join(sorted(old))} cannot be read since {since}; what covers them is not known"
