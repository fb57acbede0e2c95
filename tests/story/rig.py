"""A desk in this process on the embedded exchange, its time moved by hand: stories are told step by step, without sleeping."""


from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from qtkit.apply import Applier
from qtkit.core.decide import Desk
from qtkit.core.desired import Scope, Traits
from qtkit.core.model import E8, ONE, Bar, Key, OrderKind, PositionSide, Side, Ticks, TriggerBy
from qtkit.desk import EVENT_TYPES
from qtkit.executor import EventDrivenExecutor, Sizing
from qtkit.monitor import PositionMonitor, Rhythm
from qtkit.paper.exchange import Exchange, NewOrder, Rules
from qtkit.paper.faults import Faults
from qtkit.paper.gateway import PaperGateway
from qtkit.router import ExitRouter
from qtkit.signals import Gate
from qtkit.store.journal import Journal
from qtkit.store.register import PlanRegister

START_MS = 1_763_683_200_000
INCIDENT = {"AVAXUSDT": "14.58", "ADAUSDT": "0.4693", "BTCUSDT": "93475.8", "SOLUSDT": "142.4", "DOTUSDT": "2.291"}
NAMES = ("floor_beside_stop", "conditional_reserves", "stop_while_flat")


def e8(number: str | float) -> E8:
    """A decimal as E8."""
    from decimal import Decimal

    return E8(int(Decimal(str(number)) * ONE))


def traits_of(rules: Rules) -> Traits:
    """What the desk is told of an exchange with these rules."""
    return Traits(**{name: getattr(rules, name) for name in NAMES}, max_conditional=rules.max_conditional)


class World:
    """The exchange, a stranger with the account's own key, and time."""

    def __init__(self, rules: Rules | None = None, *, hedge: bool = False, faults: Faults | None = None) -> None:
        self.rules = rules or Rules()
        self.exchange = Exchange(self.rules, start_ms=START_MS)
        self.account = self.exchange.open_account("paper", balance=e8(100_000), hedge=hedge)
        self.faults = faults or Faults()
        self.hedge = hedge
        self.now_ms = START_MS
        for symbol, price in (*INCIDENT.items(), ("XRPUSDT", "2.1"), ("ETHUSDT", "3500"), ("LTCUSDT", "80")):
            self._seed(symbol, price)
            self.price(symbol, price)

    def _seed(self, symbol: str, price: str) -> None:
        """A day and a half of calm hours, so that ATR is real: it swings by 1 % of the price within an hour."""
        tick = self.exchange.facts[symbol].instrument.tick
        base = e8(price) // tick
        bars = []
        for minute in range(36 * 60):
            level = base + base * ((minute * 7) % 60 - 30) // 6000
            bars.append(Bar(time_ms=START_MS - (36 * 60 - minute) * 60_000, open=Ticks(level), high=Ticks(level + 1), low=Ticks(level - 1), close=Ticks(level)))
        for by in (TriggerBy.LAST, TriggerBy.MARK):
            self.exchange.seed_bars(symbol, by, bars)

    def price(self, symbol: str, price: str | float | int, mark: str | float | None = None, *, ms: int = 0) -> None:
        """A price; time passes by ``ms``."""
        self.now_ms += ms
        tick = self.exchange.facts[symbol].instrument.tick
        self.exchange.tick(symbol, Ticks(e8(price) // tick), e8(price if mark is None else mark), self.now_ms)

    def pass_time(self, ms: int) -> None:
        """Time without prices."""
        self.now_ms += ms
        self.exchange.advance(self.now_ms)

    def stranger(self, symbol: str, side: Side, coins: str | float) -> None:
        """Somebody opens or adds at the market."""
        slot = PositionSide[side.name] if self.hedge else None
        self.exchange.submit(self.account, NewOrder(symbol=symbol, side=side.opening, kind=OrderKind.MARKET, quantity=e8(coins), position_side=slot))

    def leaves(self, symbol: str, side: Side, coins: str | float) -> None:
        """Somebody reduces or closes at the market."""
        slot = PositionSide[side.name] if self.hedge else None
        self.exchange.submit(
            self.account,
            NewOrder(symbol=symbol, side=side.closing, kind=OrderKind.MARKET, quantity=e8(coins), position_side=slot, reduce_only=None if self.hedge else True),
        )

    def own(self, symbol: str | None = None) -> list[object]:
        """Open conditional orders that bear the desk's tag."""
        return [row for row in self.exchange.open_algos(self.account, symbol) if row.client_id.startswith("q1qtk0")]

    def held(self, symbol: str) -> int:
        """Size of a symbol's positions in E8 coins, signed."""
        return sum(row.amount for row in self.exchange.positions(self.account, symbol))


class Rig:
    """A desk on a world."""

    def __init__(self, world: World, home: Path, *, scope: Scope = Scope.FULL, bars: bool = False, gateway: PaperGateway | None = None) -> None:
        self.world, self.home = world, home
        self.gateway = gateway or PaperGateway(world.exchange, "paper", world.faults)
        self.journal = Journal.open(home / "journal.sqlite", EVENT_TYPES, account="paper")
        self.register = PlanRegister(home / "register.sqlite")
        desk = Desk(account="paper", tag="qtk0", instruments=self.gateway.instruments, scope=scope, traits=traits_of(world.rules))
        self.applier = Applier(self.gateway, self.journal, clock_ms=lambda: world.now_ms)
        self.router = ExitRouter(self.register, account="paper")
        self.monitor = PositionMonitor(desk, self.applier, self.router, rhythm=Rhythm(closed_bars=bars, series=TriggerBy.MARK))
        self.executor = EventDrivenExecutor(self.monitor, Sizing(max_notional=e8(50_000)), gate=Gate())

    async def passes(self, count: int = 1, *, ms: int = 2_000) -> None:
        """Passes of the desk, each a tick of time after the last, hearing first what the exchange told."""
        for _ in range(count):
            self.world.pass_time(ms)
            self.hear()
            await self.monitor.pass_once()

    def hear(self) -> None:
        """Hand the waiting events to the monitor, as its listener does."""
        from qtkit.venue.gateway import BarClosed, Nudge, Quote

        while self.gateway._backlog:
            event = self.gateway._backlog.popleft()
            match event:
                case Quote():
                    self.monitor.on_quote(event)
                case BarClosed():
                    self.monitor.on_bar(event.symbol, event.bar)
                case Nudge():
                    self.monitor.on_nudge(event)

    def gaps(self) -> dict[str, int]:
        """Lots not covered, by slot."""
        return {str(line.key): line.gap for line in self.monitor.health.coverage if line.gap}

    def key(self, symbol: str, slot: PositionSide = PositionSide.BOTH) -> Key:
        return Key("paper", symbol, slot)

    def kill(self) -> None:
        """The process is gone: nothing is finished, files are let go."""
        self.journal.close()
        self.register.disconnect()


@asynccontextmanager
async def desk(world: World, home: Path, **more: object) -> AsyncIterator[Rig]:
    """A desk that is ended in the end."""
    rig = Rig(world, home, **more)  # type: ignore[arg-type]
    await rig.gateway.start()
    try:
        yield rig
    finally:
        await rig.gateway.close()
        rig.kill()


