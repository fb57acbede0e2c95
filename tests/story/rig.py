"""A desk in this process on the embedded exchange, its time moved by hand: stories are told step by step, without sleeping.

Time is virtual: a story runs on a loop that never waits. When the desk sleeps, the exchange's time passes instead.
"""

import asyncio
import functools
import inspect
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import structlog

from qtkit.apply import Applier
from qtkit.core.decide import Desk
from qtkit.core.desired import Traits
from qtkit.core.events import IntentMade
from qtkit.core.ids import parse_client_order_id
from qtkit.core.model import E8, ONE, Bar, Key, OrderKind, PositionSide, Scope, Side, Ticks, TriggerBy
from qtkit.core.policy import STAGED, ExitPolicy
from qtkit.desk import EVENT_TYPES
from qtkit.executor import EventDrivenExecutor, Sizing
from qtkit.monitor import PositionMonitor
from qtkit.paper.actor import acting
from qtkit.paper.exchange import Exchange, NewOrder, Rules
from qtkit.paper.faults import Faults
from qtkit.paper.gateway import PaperGateway
from qtkit.paper.meter import Meter
from qtkit.paper.rows import AlgoRow
from qtkit.router import ExitRouter, Planning
from qtkit.signals import Gate
from qtkit.store.journal import Journal
from qtkit.store.register import PlanRegister
from qtkit.store.tape import Tape
from qtkit.trailing import Follows
from qtkit.venue.gateway import BarClosed, Nudge, Quote, Unavailable

START_MS = 1_763_683_200_000
INCIDENT = {"AVAXUSDT": "14.58", "ADAUSDT": "0.4693", "BTCUSDT": "93475.8", "SOLUSDT": "142.4", "DOTUSDT": "2.291"}
PRICES = {**INCIDENT, "XRPUSDT": "2.1", "ETHUSDT": "3500", "LTCUSDT": "80"}
NAMES = ("floor_beside_stop", "conditional_reserves", "stop_while_flat")
TAG = "qtk0"
OURS = "q1" + TAG
STRANGER = "stranger"
SIDES = tuple(Side)
RULES = {
    "plain": Rules(),
    "floor-alone": Rules(floor_beside_stop=False),
    "reserving": Rules(conditional_reserves=True),
    "flat-refused": Rules(stop_while_flat=False),
    "strict": Rules(
        floor_beside_stop=False, conditional_reserves=True, stop_while_flat=False, mark_truncated=False, take_bound_child=True,
        price_protect_ends=False, immediate_code=-4142, cancel_triggering_code=-4117, hedge_reduce_only_code=-4062, liquidation_ms=5_000,
    ),
}  # fmt: skip
"""Each unproven rule of the exchange turned the other way, alone and all together."""


def e8(number: str | float | Decimal) -> E8:
    """A decimal as E8."""
    return E8(int(Decimal(str(number)) * ONE))


def traits_of(rules: Rules) -> Traits:
    """What the desk is told of an exchange with these rules."""
    return Traits(**{name: getattr(rules, name) for name in NAMES}, max_conditional=rules.max_conditional)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that does not wait: where nothing is ready it jumps to the next timer and tells ``movers`` the seconds passed."""

    def __init__(self) -> None:
        super().__init__(selectors.SelectSelector())
        self._virtual = 0.0
        self.movers: list[Callable[[float], None]] = []

    def time(self) -> float:
        return self._virtual

    def _run_once(self) -> None:
        scheduled = self._scheduled  # type: ignore[attr-defined]
        live = min((handle.when() for handle in scheduled if not handle.cancelled()), default=None)
        if not self._ready and live is not None and live > self._virtual:  # type: ignore[attr-defined]
            passed, self._virtual = live - self._virtual, live
            for move in self.movers:
                move(passed)
        super()._run_once()  # type: ignore[misc]


def story(play: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A coroutine as a test: it runs on a virtual loop, quietly."""

    @functools.wraps(play)
    def told(*args: Any, **more: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner, silence():
            runner.run(play(*args, **more))

    told.__signature__ = inspect.signature(play)  # type: ignore[attr-defined]
    return told


@contextmanager
def silence() -> Iterator[None]:
    """No log lines: they cost more than the desk."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        yield
    finally:
        structlog.configure(**before)


@functools.cache
def _history() -> Exchange:
    """An exchange with twenty calm hours in every market, so that ATR is real: it swings by 1 % of the price within an hour."""
    exchange = Exchange(Rules(), start_ms=START_MS)
    for symbol, price in PRICES.items():
        tick = exchange.facts[symbol].instrument.tick
        base = e8(price) // tick
        bars = []
        for minute in range(20 * 60):
            level = Ticks(base + base * ((minute * 7) % 60 - 30) // 6000)
            at_ms = START_MS - (20 * 60 - minute) * 60_000
            bars.append(Bar(time_ms=at_ms, open=level, high=Ticks(level + 1), low=Ticks(level - 1), close=level))
        for by in (TriggerBy.LAST, TriggerBy.MARK):
            exchange.seed_bars(symbol, by, bars)
        exchange.tick(symbol, Ticks(base), e8(price), START_MS)
    return exchange


class World:
    """The exchange, a stranger with the account's own key, the judge, and time."""

    def __init__(
        self,
        rules: Rules | None = None,
        *,
        hedge: bool = False,
        faults: Faults | None = None,
        balance: int = 100_000,
        settle_ms: int = 10_000,
    ) -> None:
        self.rules = rules or Rules()
        self.exchange = _history().clone()
        self.exchange.rules = self.rules
        self.account = self.exchange.open_account("paper", balance=e8(balance), hedge=hedge)
        self.faults = faults or Faults()
        self.hedge = hedge
        self.now_ms = START_MS
        self.meter = Meter(self.exchange, prefix=OURS, strangers=(STRANGER,), clock=lambda: self.now_ms / 1000, settle_ms=settle_ms)
        with suppress(RuntimeError):
            loop = asyncio.get_running_loop()
            if isinstance(loop, VirtualLoop):
                loop.movers.append(lambda seconds: self.pass_time(round(seconds * 1000)))

    # -- time and prices

    def price(self, symbol: str, price: str | float | Decimal, mark: str | float | Decimal | None = None, *, ms: int = 0) -> None:
        """A price; time passes by ``ms``."""
        self.now_ms += ms
        tick = self.exchange.facts[symbol].instrument.tick
        self.exchange.tick(symbol, Ticks(e8(price) // tick), e8(price if mark is None else mark), self.now_ms)

    def move(self, symbol: str, side: Side, percent: float | str, *, ms: int = 500) -> None:
        """The price is this many percent away from where the world began, in favour of ``side`` (negative: against it)."""
        self.price(symbol, Decimal(PRICES[symbol]) * (100 + side.sign * Decimal(str(percent))) / 100, ms=ms)

    def pass_time(self, ms: int) -> None:
        """Time without prices."""
        self.now_ms += ms
        self.exchange.advance(self.now_ms)

    # -- the stranger

    def slot(self, side: Side) -> PositionSide:
        """Where a position of this side lies."""
        return PositionSide[side.name] if self.hedge else PositionSide.BOTH

    def stranger(self, symbol: str, side: Side, coins: str | float) -> None:
        """Somebody opens or adds at the market."""
        self._order(symbol, side, side.opening, coins, reduce_only=None)

    def leaves(self, symbol: str, side: Side, coins: str | float) -> None:
        """Somebody reduces or closes at the market."""
        self._order(symbol, side, side.closing, coins, reduce_only=None if self.hedge else True)

    def flips(self, symbol: str, side: Side, coins: str | float) -> None:
        """Somebody sells more than is held (one-way), or closes one side and opens the other (hedge)."""
        held = Decimal(self.held(symbol, side)) / ONE
        if self.hedge:
            self.leaves(symbol, side, str(held))
            self.stranger(symbol, Side(-side.value), coins)
        else:
            self._order(symbol, side, side.closing, str(held + Decimal(str(coins))), reduce_only=None)

    def _order(self, symbol: str, side: Side, way: Any, coins: str | float, *, reduce_only: bool | None) -> None:
        slot = self.slot(side) if self.hedge else None
        new = NewOrder(symbol=symbol, side=way, kind=OrderKind.MARKET, quantity=e8(coins), position_side=slot, reduce_only=reduce_only)
        with acting(STRANGER):
            self.exchange.submit(self.account, new)

    def rests(self, symbol: str, side: Side, percent: float, *, close: bool = False, coins: str | float = 1, name: str = "") -> AlgoRow:
        """Somebody's own stop against a position, ``percent`` away on the loss side; ``close`` takes the whole position."""
        tick = self.exchange.facts[symbol].instrument.tick
        price = e8(Decimal(PRICES[symbol]) * (100 - side.sign * Decimal(str(percent))) / 100) // tick * tick
        new = NewOrder(
            symbol=symbol, side=side.closing, kind=OrderKind.STOP_MARKET, quantity=None if close else e8(coins), trigger=E8(price),
            trigger_by=TriggerBy.MARK, position_side=self.slot(side) if self.hedge else None,
            reduce_only=None if close or self.hedge else True, close_position=close, client_id=name or f"web_{symbol}_{self.now_ms}",
        )  # fmt: skip
        with acting(STRANGER):
            return self.exchange.submit_algo(self.account, new)

    def takes_away(self, row: AlgoRow) -> None:
        """Somebody cancels a conditional order by hand."""
        with acting(STRANGER):
            self.exchange.cancel_algo(self.account, algo_id=row.algo_id)

    # -- the exchange's own books

    def own(self, symbol: str | None = None, side: Side | None = None) -> list[AlgoRow]:
        """Open conditional orders that bear the desk's tag."""
        rows = [row for row in self.account.waiting(symbol) if row.client_id.startswith(OURS)]
        return [row for row in rows if side is None or (row.side is side.closing and row.position_side is self.slot(side))]

    def stops(self, symbol: str, side: Side) -> list[AlgoRow]:
        """Own quantity stops of a position."""
        return [row for row in self.own(symbol, side) if row.kind is OrderKind.STOP_MARKET and not row.close_position]

    def floors(self, symbol: str, side: Side) -> list[AlgoRow]:
        """Own close-position stops."""
        return [row for row in self.own(symbol, side) if row.kind is OrderKind.STOP_MARKET and row.close_position]

    def targets(self, symbol: str, side: Side) -> list[AlgoRow]:
        """Own take-profits."""
        return [row for row in self.own(symbol, side) if row.kind is OrderKind.TAKE_PROFIT_MARKET]

    def foreign(self) -> list[AlgoRow]:
        """Open conditional orders of others."""
        return [row for row in self.account.waiting() if not row.client_id.startswith(OURS)]

    def sent(self, leg: str) -> list[AlgoRow]:
        """Every own conditional order of a leg that the exchange ever took, oldest first."""
        return [row for row in self.account.algos.values() if (parsed := parse_client_order_id(row.client_id)) and parsed[1] == leg]

    def held(self, symbol: str, side: Side | None = None) -> int:
        """Size of a symbol's position in E8 coins: signed, or that of one side, never negative."""
        rows = self.exchange.positions(self.account, symbol)
        if side is None:
            return sum(row.amount for row in rows)
        return sum(abs(row.amount) for row in rows if row.amount * side.sign > 0)

    def own_trades(self) -> list[Any]:
        """Fills of own orders, whatever the leg."""
        return [trade for trade in self.account.trades if trade.client_id.startswith(OURS)]


class Killed(BaseException):
    """The process was killed here."""


class Life:
    """Counts the steps of a desk; at step ``ends_at`` it dies, and nothing it does afterwards reaches the outside."""

    def __init__(self, ends_at: int | None = None) -> None:
        self.ends_at = ends_at
        self.steps: list[str] = []
        self.over = False

    def step(self, name: str) -> None:
        """One step; raises ``Killed`` if it is the last one, or is taken after the end."""
        if self.over:
            raise Killed(name)
        self.steps.append(name)
        if self.ends_at is not None and len(self.steps) > self.ends_at:
            self.over = True
            raise Killed(name)


class Mortal:
    """An object whose named methods are steps of a life: one before, one after."""

    def __init__(self, inner: Any, life: Life, names: tuple[str, ...]) -> None:
        self._inner, self._life, self._names = inner, life, names

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name not in self._names:
            return value
        return self._awaited(name, value) if inspect.iscoroutinefunction(value) else self._called(name, value)

    def _awaited(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        async def stepping(*args: Any, **more: Any) -> Any:
            self._life.step(f"before {name}")
            answer = await call(*args, **more)
            self._life.step(f"after {name}")
            return answer

        return stepping

    def _called(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*args: Any, **more: Any) -> Any:
            self._life.step(f"before {name}")
            answer = call(*args, **more)
            self._life.step(f"after {name}")
            return answer

        return stepping


REQUESTS = ("place", "cancel", "lookup", "positions", "orders")


class Rig:
    """A desk on a world. ``adopted`` is the policy of positions found open; prices move trails at once unless ``bars``."""

    def __init__(
        self, world: World, home: Path, *, scope: Scope = Scope.FULL, bars: bool = False, adopted: ExitPolicy | None = STAGED,
        life: Life | None = None, tag: str = TAG, traits: Traits | None = None, tape: Tape | None = None,
    ) -> None:  # fmt: skip
        home.mkdir(parents=True, exist_ok=True)
        self.world, self.home = world, home
        self.heard: list[Quote | BarClosed | Nudge] = []
        self.paper = PaperGateway(world.exchange, "paper", world.faults)
        self.journal = Journal.open(home / "journal.sqlite", EVENT_TYPES, account="paper")
        self.register = PlanRegister(home / "register.sqlite")
        self.gateway: Any = self.paper if life is None else Mortal(self.paper, life, REQUESTS)
        journal: Any = self.journal if life is None else Mortal(self.journal, life, ("append",))
        register: Any = self.register if life is None else Mortal(self.register, life, ("get_or_create", "confirm", "close"))
        self.settings = Desk(
            account="paper", tag=tag, instruments=self.paper.instruments, scope=scope, traits=traits or traits_of(world.rules)
        )
        self.applier = Applier(self.gateway, journal, clock_ms=lambda: world.now_ms)
        self.router = ExitRouter(register, account="paper", planning=Planning(adopted=adopted))
        self.monitor = PositionMonitor(
            self.settings, self.applier, self.router, follows=Follows(closed_bars=bars, series=TriggerBy.MARK), tape=tape
        )
        self.executor = EventDrivenExecutor(self.monitor, Sizing(max_notional=e8(50_000)), gate=Gate())

    async def passes(self, count: int = 1, *, ms: int = 2_000) -> None:
        """Passes of the desk, each a tick of time after the last, hearing first what the exchange told. What cannot be seen is let be."""
        for _ in range(count):
            self.world.pass_time(ms)
            self.hear()
            with suppress(Unavailable):
                await self.monitor.pass_once()

    async def live(self, seconds: float) -> None:
        """The desk's own loop, as it runs in production, for this long."""
        stop = asyncio.Event()
        running = asyncio.create_task(self.monitor.run(stop))
        await asyncio.sleep(seconds)
        stop.set()
        await running

    def hear(self) -> None:
        """Hand the waiting events to the monitor, as its listener does."""
        while self.paper._backlog:
            event = self.paper._backlog.popleft()
            self.heard.append(event)
            self.monitor.hear(event)

    def deaf(self) -> None:
        """Events are lost."""
        self.paper._backlog.clear()

    def gaps(self) -> dict[str, int]:
        """Lots not covered, by slot."""
        return {str(line.key): line.gap for line in self.monitor.health.coverage if line.gap}

    def key(self, symbol: str, slot: PositionSide = PositionSide.BOTH) -> Key:
        return Key("paper", symbol, slot)

    def intents(self) -> set[str]:
        """Client ids of all journaled intents."""
        return {row.event.order.client_id for row in self.journal.events() if isinstance(row.event, IntentMade)}

    async def kill(self) -> None:
        """The process is gone: nothing is finished, files are let go, resting orders stay."""
        await self.paper.close()
        self.journal.close()
        self.register.disconnect()


@asynccontextmanager
async def desk(world: World, home: Path, **more: Any) -> AsyncIterator[Rig]:
    """A desk that is ended in the end."""
    rig = Rig(world, home, **more)
    await rig.paper.start()
    try:
        yield rig
    finally:
        await rig.kill()


def faster(rig: Rig, **settings: Any) -> None:
    """Change the settings that the desk decides with."""
    rig.settings = replace(rig.settings, **settings)
    rig.monitor.desk = rig.settings


def judged(world: World, *, adoption_ms: int = 4_000, gap_ms: int = 0) -> None:
    """What must be true of any story, by the exchange's own books: the meter's promises, no order twice, nothing of ours added size.

    Where untriggered orders reserve quantity, a stop is replaced over the floor: for one round trip the floor is the level.
    """
    promises = world.meter.verdict(adoption_wall_ms=adoption_ms, gap_wall_ms=gap_ms)
    bridged = "no stop was loosened" if world.rules.conditional_reserves and world.rules.floor_beside_stop else ""
    broken = [f"{promise.name}: {promise.evidence}" for promise in promises if not promise.held and promise.name != bridged]
    assert not broken, broken
    sound(world)


def sound(world: World) -> None:
    """No id lives twice, no own order can open, and no own fill other than an entry's ever added to a position."""
    loose = [
        row.client_id for row in world.own() if not (row.reduce_only or row.close_position or row.position_side is not PositionSide.BOTH)
    ]
    assert not loose, f"orders that may open a position: {loose}"
    ids = [row.client_id for row in (*world.account.waiting(), *world.account.resting())]
    assert len(ids) == len(set(ids)), f"an id lives twice: {sorted(ids)}"
    entries = [trade for trade in world.own_trades() if (parse_client_order_id(trade.client_id) or ("", "", 0))[1][:1] == "e"]
    amounts: dict[tuple[str, PositionSide], int] = {}
    for trade in world.account.trades:
        slot = (trade.symbol, trade.position_side)
        before = amounts.get(slot, 0)
        amounts[slot] = before + (trade.quantity if trade.side.value == "BUY" else -trade.quantity)
        if trade.client_id.startswith(OURS) and trade not in entries:
            assert abs(amounts[slot]) <= abs(before) and amounts[slot] * before >= 0, f"{trade.client_id} added to the position"


def tidy(world: World, symbol: str, side: Side) -> None:
    """At rest: the stops add up to the position exactly, at most one floor, and without a position nothing of ours is left."""
    size, stops, floors = world.held(symbol, side), world.stops(symbol, side), world.floors(symbol, side)
    if not size:
        assert not world.own(symbol, side), f"orders on a flat slot: {[row.client_id for row in world.own(symbol, side)]}"
        return
    assert sum(row.quantity for row in stops) == size, f"stops of {[row.quantity for row in stops]} on a position of {size}"
    theirs = (row for row in world.foreign() if row.close_position and row.kind is OrderKind.STOP_MARKET)
    taken = any(row.symbol == symbol and row.side is side.closing for row in theirs)
    assert len(floors) == int(world.rules.floor_beside_stop and not taken), floors
    assert sum(row.quantity for row in world.targets(symbol, side)) <= size
