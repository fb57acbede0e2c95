"""What the trader changes by hand on the exchange: one rule a case, each a row of the README's table and a test here.

Every case is told to a desk that hears of it at once, to one that no event reaches, and to one that was dead meanwhile; long and short,
one-way and hedge, under both settings of each unproven rule of the exchange. The judge is the exchange's own books.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from qtkit.core.ids import parse_client_order_id
from qtkit.core.model import E8, ONE, Bps, OrderKind, Scope, Side, TriggerBy
from qtkit.core.policy import POLICIES, STAGED, ExitPolicy
from qtkit.paper.actor import acting
from qtkit.paper.exchange import ExchangeError, NewOrder, OrderRow
from qtkit.paper.rows import AlgoRow
from tests.story.rig import OURS, PRICES, RULES, SIDES, STRANGER, Rig, World, e8, judged, sound, story, tidy
from tests.story.test_planted_bugs import Bug

SYMBOL, OTHER = "SOLUSDT", "XRPUSDT"
COINS = 10
SIZE = COINS * ONE
TWO_PASSES_MS = 4_000
UNHEARD_MS = 14_000  # order lists are read again after ten seconds at the latest, and two passes
DOWN_MS = 20_000
README = Path(__file__).parents[2] / "README.md"

AT_ONCE, UNHEARD, DEAD = "at-once", "unheard", "dead"
BY_DAY = {
    ("plain", "one-way", Side.SHORT): UNHEARD, ("plain", "hedge", Side.LONG): DEAD, ("floor-alone", "one-way", Side.LONG): UNHEARD,
    ("reserving", "one-way", Side.SHORT): DEAD, ("flat-refused", "hedge", Side.SHORT): UNHEARD, ("strict", "one-way", Side.LONG): DEAD,
}  # fmt: skip
"""By day what is not heard at once is told here, and so are the variants of a case. The night tells all."""


def _cases(
    *,
    by_day: Callable[[tuple[str, str, Side], str], bool],
    seen: tuple[str, ...] = (AT_ONCE, UNHEARD, DEAD),
    modes: tuple[str, ...] = ("one-way", "hedge"),
) -> Any:
    """The world that a case is told in: rules, mode, side, and how the desk comes to see it."""
    cases = [
        pytest.param(
            rules, mode == "hedge", side, sees, id=f"{rules}-{mode}-{side.name.lower()}-{sees}",
            marks=() if by_day((rules, mode, side), sees) else pytest.mark.night,
        )
        for rules in RULES for mode in modes for side in SIDES for sees in seen
    ]  # fmt: skip
    return pytest.mark.parametrize(("rules", "hedge", "side", "sees"), cases)


everywhere = _cases(by_day=lambda where, sees: sees == AT_ONCE or BY_DAY.get(where) == sees)
each_variant = _cases(by_day=lambda where, sees: where in BY_DAY and sees in (AT_ONCE, BY_DAY[where]))
while_dead = _cases(by_day=lambda where, sees: True, seen=(DEAD,))
in_hedge_mode = _cases(by_day=lambda where, sees: sees == AT_ONCE or BY_DAY.get(where) == sees, modes=("hedge",))
while_dead_by_day = _cases(by_day=lambda where, sees: where in BY_DAY, seen=(DEAD,))


class Scene:
    """One position that a desk guards, and the trader's hand at the exchange."""

    def __init__(self, world: World, home: Path, side: Side, sees: str, policy: ExitPolicy | None, scope: Scope = Scope.FULL) -> None:
        self.world, self.home, self.side, self.sees, self.policy, self.scope = world, home, side, sees, policy, scope
        self.rig: Rig = None  # type: ignore[assignment]

    async def start(self) -> None:
        self.rig = Rig(self.world, self.home, adopted=self.policy, scope=self.scope)
        await self.rig.paper.start()

    async def by_hand(self, act: Callable[[], Any], *, passes: int = 2) -> None:
        """The trader acts; the desk gets so many passes from when it can see it."""
        if self.sees == DEAD:
            await self.rig.kill()
            act()
            self.world.pass_time(DOWN_MS)
            await self.start()
        else:
            act()
        if self.sees == UNHEARD:
            self.rig.deaf()
            await self.rig.passes(5)
        await self.rig.passes(passes)

    @property
    def gap_ms(self) -> int:
        """How long what was taken away by hand may be missing."""
        return {AT_ONCE: TWO_PASSES_MS, UNHEARD: UNHEARD_MS, DEAD: DOWN_MS + TWO_PASSES_MS}[self.sees]

    # -- the trader's hand

    def order(self, kind: OrderKind, percent: float, **more: Any) -> NewOrder:
        """An order of the trader's own that closes, ``percent`` of the first price away in the position's favour."""
        symbol = more.pop("symbol", SYMBOL)
        tick = self.world.exchange.facts[symbol].instrument.tick
        price = E8(e8(Decimal(PRICES[symbol]) * (100 + self.side.sign * Decimal(str(percent))) / 100) // tick * tick)
        close, coins = more.pop("close", False), more.pop("coins", COINS)
        reduce_only = more.pop("reduce_only", True)
        return NewOrder(
            symbol=symbol, side=more.pop("way", self.side.closing), kind=kind, quantity=None if close else e8(coins),
            trigger=more.pop("trigger", price if kind.conditional else None),
            price=more.pop("price", None if kind.conditional else price), trigger_by=TriggerBy.MARK,
            position_side=self.world.slot(self.side) if self.world.hedge else None,
            reduce_only=None if close or self.world.hedge or not reduce_only else True, close_position=close,
            client_id=more.pop("name", "") or f"web_{len(self.world.account.algos)}_{len(self.world.account.orders)}", **more,
        )  # fmt: skip

    def rests(self, kind: OrderKind, percent: float, **more: Any) -> AlgoRow:
        """The trader places a conditional order."""
        with acting(STRANGER):
            return self.world.exchange.submit_algo(self.world.account, self.order(kind, percent, **more))

    def stop(self, percent: float, **more: Any) -> AlgoRow:
        """The trader places a stop, ``percent`` away on the loss side."""
        return self.rests(OrderKind.STOP_MARKET, -percent, **more)

    def limit(self, percent: float, **more: Any) -> OrderRow:
        """The trader rests a limit order."""
        with acting(STRANGER):
            return self.world.exchange.submit(self.world.account, self.order(OrderKind.LIMIT, percent, **more))

    def cancels(self, *rows: AlgoRow) -> None:
        for row in rows:
            self.world.takes_away(row)

    def cancels_all(self, *symbols: str) -> None:
        """The button "cancel all"."""
        with acting(STRANGER):
            for symbol in symbols:
                self.world.exchange.cancel_all_algos(self.world.account, symbol)
                self.world.exchange.cancel_all(self.world.account, symbol)

    # -- what is on the books

    @property
    def stops(self) -> list[AlgoRow]:
        return self.world.stops(SYMBOL, self.side)

    @property
    def floors(self) -> list[AlgoRow]:
        return self.world.floors(SYMBOL, self.side)

    @property
    def level(self) -> int:
        """Where our working stop rests, E8."""
        levels = {row.trigger for row in self.stops}
        assert len(levels) == 1, f"stops at {levels}"
        return levels.pop()

    @property
    def reserves(self) -> bool:
        """True where two full stops cannot rest together: reduce-only orders hold the quantity."""
        return self.world.rules.conditional_reserves and not self.world.hedge

    @property
    def stuck(self) -> bool:
        """True where, besides, no floor rests: the stop can then not be replaced without a naked moment."""
        return self.reserves and not self.world.rules.floor_beside_stop

    @property
    def floor_rests(self) -> bool:
        return self.world.rules.floor_beside_stop

    def untouched(self, *rows: AlgoRow | OrderRow) -> None:
        """The trader's orders are as they were made, and nothing of ours has traded."""
        for row in rows:
            books = self.world.account.algos if isinstance(row, AlgoRow) else self.world.account.orders
            assert books[row.algo_id if isinstance(row, AlgoRow) else row.order_id] == row, f"{row.client_id} is not what it was"
        assert self.world.meter.foreign_touched == ()
        assert not self.world.own_trades(), "something was traded"

    def orderly(self, *, size: int = SIZE, gap_ms: int = 0, adoption_ms: int = TWO_PASSES_MS) -> None:
        """The ledger of the exchange, and what rests now."""
        judged(self.world, gap_ms=gap_ms, adoption_ms=adoption_ms)
        assert self.world.held(SYMBOL, self.side) == size
        if self.stuck and size:
            assert sum(row.quantity for row in self.stops) >= size
        else:
            tidy(self.world, SYMBOL, self.side)
        assert self.rig.gaps() == {}


@asynccontextmanager
async def guarded(
    home: Path, rules: str, hedge: bool, side: Side, sees: str = AT_ONCE, *, policy: ExitPolicy | None = STAGED, scope: Scope = Scope.FULL,
    before: Callable[[Scene], Any] = lambda scene: None,
) -> AsyncIterator[Scene]:  # fmt: skip
    """A scene with a position of ten coins that has been covered. ``before``: what the trader does after opening it, at once."""
    scene = Scene(World(RULES[rules], hedge=hedge, settle_ms=60_000), home, side, sees, policy, scope)
    async with opened(scene, before):
        yield scene


@asynccontextmanager
async def opened(scene: Scene, before: Callable[[Scene], Any] = lambda scene: None) -> AsyncIterator[None]:
    """The trader opens the position, and the desk covers it."""
    await scene.start()
    try:
        scene.world.stranger(SYMBOL, scene.side, COINS)
        before(scene)
        await scene.rig.passes(4)
        yield
    finally:
        await scene.rig.kill()


# -- stops ----------------------------------------------------------------------------------------------------------------------------


@everywhere
@story
async def test_a_tighter_stop_of_yours_in_place_of_ours(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees) as scene:
        level, yours = scene.level, []

        def tightens() -> None:
            scene.cancels(*scene.stops)
            yours.append(scene.stop(2))

        await scene.by_hand(tightens)
        scene.untouched(*yours)
        assert scene.world.meter.ledger()[-1].standing.foreign == SIZE
        if scene.reserves:
            assert not scene.stops, "two full stops rest where reduce-only orders hold the quantity"
            scene.cancels(*yours)
            await scene.rig.passes(2)
        assert scene.level == level
        covered = scene.floor_rests  # else, where yours held the quantity, ours was missing until yours went
        scene.orderly(gap_ms=0 if covered else scene.gap_ms + scene.stuck * TWO_PASSES_MS)


@everywhere
@story
async def test_a_looser_stop_of_yours_in_place_of_ours(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees) as scene:
        level, yours = scene.level, []

        def loosens() -> None:
            scene.cancels(*scene.stops)
            yours.append(scene.stop(15))

        await scene.by_hand(loosens)
        scene.untouched(*yours)
        if not scene.reserves:
            assert scene.level == level, "our stop did not come back to its level"
            await scene.rig.passes(4)
            scene.orderly(gap_ms=0 if scene.floor_rests else scene.gap_ms)
            return
        assert not scene.stops and bool(scene.floors) == scene.floor_rests
        scene.world.price(SYMBOL, (level - side.sign * ONE // 100) / ONE, ms=500)
        await scene.rig.passes(2)
        assert scene.world.held(SYMBOL) == 0, "at the level that your order keeps ours from, the desk closes"
        sound(scene.world)


CANCELLED: dict[str, Callable[[Scene], None]] = {
    "working": lambda scene: scene.cancels(*scene.stops),
    "floor": lambda scene: scene.cancels(*scene.floors),
    "both": lambda scene: scene.cancels(*scene.stops, *scene.floors),
    "all-of-the-symbol": lambda scene: scene.cancels_all(SYMBOL),
    "all-of-the-account": lambda scene: scene.cancels_all(*PRICES),
}


@each_variant
@pytest.mark.parametrize("what", CANCELLED)
@story
async def test_a_stop_of_ours_cancelled(home: Path, what: str, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees) as scene:
        scene.world.stranger(OTHER, side, 700)
        await scene.rig.passes(3)
        level = scene.level
        await scene.by_hand(lambda: CANCELLED[what](scene))
        assert scene.level == level and bool(scene.floors) == scene.floor_rests
        assert scene.world.stops(OTHER, side)
        scene.untouched()
        await scene.rig.passes(3)
        covered = (scene.floor_rests and what in ("working", "floor")) or what == "floor"
        scene.orderly(gap_ms=0 if covered else scene.gap_ms)


@everywhere
@story
async def test_a_second_stop_beside_ours(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees) as scene:
        before, yours = {row.client_id for row in scene.world.own()}, []

        def adds() -> None:
            for percent, coins in ((2, 4), (15, COINS)):
                with suppress(ExchangeError):  # -4118: where ours hold the quantity, the exchange refuses yours
                    yours.append(scene.stop(percent, coins=coins))

        await scene.by_hand(adds)
        assert len(yours) == (0 if scene.reserves else 2)
        assert {row.client_id for row in scene.world.own()} == before
        scene.untouched(*yours)
        scene.orderly()
        scene.world.price(SYMBOL, Decimal(PRICES[SYMBOL]) * (1000 - 22 * side.sign) / 1000, ms=500)  # yours of four coins fires
        left = SIZE if scene.reserves else 6 * ONE
        assert scene.world.held(SYMBOL, side) == left
        await scene.rig.passes(6)
        assert not scene.world.own_trades()
        scene.orderly(size=left)


@each_variant
@pytest.mark.parametrize("scope", [Scope.GUARD, Scope.FULL], ids=["guard", "full"])
@story
async def test_the_price_passes_a_stop_that_you_cancelled(home: Path, scope: Scope, rules: str, hedge: bool, side: Side, sees: str) -> None:
    """Between the cancel and the next look the price went past the level: the exit was due."""
    async with guarded(home, rules, hedge, side, sees, scope=scope) as scene:
        level = scene.level

        def takes_away_and_falls() -> None:
            scene.cancels(*scene.stops, *scene.floors)
            scene.world.price(SYMBOL, (level - side.sign * ONE // 10) / ONE, ms=200)

        await scene.by_hand(takes_away_and_falls)
        if scope is Scope.FULL:
            assert scene.world.held(SYMBOL) == 0, "what its stop would have closed is open still"
        else:
            assert not scene.world.own_trades() and scene.world.held(SYMBOL, side) == SIZE, "guard trades nothing"
            assert side.sign * (level - scene.level) > 0 and abs(level - scene.level) * 100 < level, "no stop rests just behind the price"
            assert any("through the planned stop" in alarm for alarm in scene.rig.monitor.health.alarms)
        sound(scene.world)


STOPS_OF_OTHER_KINDS: dict[str, Callable[[Scene], AlgoRow]] = {
    "with-a-limit-price": lambda scene: scene.rests(OrderKind.STOP, -3, price=scene.order(OrderKind.LIMIT, -4).price),
    "trailing": lambda scene: scene.rests(OrderKind.TRAILING_STOP_MARKET, 0, trigger=None, callback=Bps(300)),
}


@each_variant
@pytest.mark.parametrize("kind", STOPS_OF_OTHER_KINDS)
@story
async def test_a_stop_of_yours_of_another_kind(home: Path, kind: str, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees) as scene:
        before, yours = {row.client_id for row in scene.world.own()}, []

        def adds() -> None:
            with suppress(ExchangeError):  # -4118, as for a second stop
                yours.append(STOPS_OF_OTHER_KINDS[kind](scene))

        await scene.by_hand(adds)
        assert len(yours) == (0 if scene.reserves else 1)
        assert {row.client_id for row in scene.world.own()} == before
        scene.untouched(*yours)
        assert scene.rig.monitor.health.coverage[0].foreign == (COINS if yours and kind == "trailing" else 0)
        scene.orderly()


@everywhere
@story
async def test_your_close_position_stop_before_our_floor(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    yours: list[AlgoRow] = []
    async with guarded(home, rules, hedge, side, sees, before=lambda scene: yours.append(scene.stop(12, close=True))) as scene:
        assert not scene.floors
        scene.untouched(*yours)
        if scene.floor_rests:
            assert sum(row.quantity for row in scene.stops) == SIZE
            scene.orderly()
        else:
            assert not scene.stops and scene.rig.monitor.health.coverage[0].foreign == COINS, "yours alone may rest, and is told of"
        await scene.by_hand(lambda: scene.cancels(*yours))
        await scene.rig.passes(2 if scene.floor_rests else 20)  # what was refused five times is sent again after half a minute
        assert bool(scene.floors) == scene.floor_rests
        scene.orderly(adoption_ms=TWO_PASSES_MS if scene.floor_rests else 90_000)


@everywhere
@story
async def test_your_close_position_stop_after_our_floor(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees) as scene:
        before, yours = {row.client_id for row in scene.world.own()}, []
        with pytest.raises(ExchangeError, match="closePosition"):  # -4130: our floor holds the slot; without one, our stop
            scene.stop(2, close=True)
        await scene.rig.passes(2)
        assert {row.client_id for row in scene.world.own()} == before
        scene.orderly()

        def takes_the_slot() -> None:
            scene.cancels(*(scene.floors if scene.floor_rests else scene.stops))
            yours.append(scene.stop(2, close=True))

        await scene.by_hand(takes_the_slot)
        scene.untouched(*yours)
        assert not scene.floors
        if scene.floor_rests:
            scene.orderly()
        else:
            assert not scene.stops
        scene.cancels(*yours)
        await scene.rig.passes(3 if scene.floor_rests else 20)
        scene.orderly(gap_ms=0 if scene.floor_rests else 90_000)


# -- targets --------------------------------------------------------------------------------------------------------------------------


def close_position_target(scene: Scene) -> AlgoRow:
    """Where a close-position order suffers no other beside it (-4130), the trader takes ours away first."""
    if not scene.floor_rests:
        scene.cancels(*scene.world.targets(SYMBOL, scene.side))
    return scene.rests(OrderKind.TAKE_PROFIT_MARKET, 30, close=True)


TARGETS: dict[str, Callable[[Scene], AlgoRow | OrderRow]] = {
    "half": lambda scene: scene.rests(OrderKind.TAKE_PROFIT_MARKET, 3, coins=5),
    "most": lambda scene: scene.rests(OrderKind.TAKE_PROFIT_MARKET, 30, coins=9),
    "close-position": lambda scene: close_position_target(scene),
    "reduce-only-limit": lambda scene: scene.limit(4, coins=8),
    "a-bot-s-plain-limit": lambda scene: scene.limit(4, coins=8, reduce_only=False),
}
PLAN = POLICIES["RANGE"]


def quantity(scene: Scene, rows: list[AlgoRow]) -> int:
    return sum(scene.world.held(SYMBOL, scene.side) if row.close_position else row.quantity for row in rows)


@each_variant
@pytest.mark.parametrize("kind", TARGETS)
@story
async def test_a_take_profit_of_yours(home: Path, kind: str, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees, policy=PLAN) as scene:
        rested = not scene.world.rules.conditional_reserves
        assert quantity(scene, scene.world.targets(SYMBOL, side)) == (SIZE if rested else 0)
        yours: list[AlgoRow | OrderRow] = []
        await scene.by_hand(lambda: yours.append(TARGETS[kind](scene)))
        theirs = SIZE if kind == "close-position" else yours[0].quantity
        scene.untouched(*yours)
        await scene.rig.passes(4)
        assert theirs + quantity(scene, scene.world.targets(SYMBOL, side)) <= SIZE
        scene.orderly()
        with acting(STRANGER):
            if isinstance(yours[0], AlgoRow):
                scene.world.exchange.cancel_algo(scene.world.account, algo_id=yours[0].algo_id)
            else:
                scene.world.exchange.cancel(scene.world.account, SYMBOL, order_id=yours[0].order_id)
        await scene.rig.passes(6)
        assert quantity(scene, scene.world.targets(SYMBOL, side)) == (SIZE if rested else 0), "ours did not come back"
        scene.orderly()
        assert not scene.world.own_trades()


@everywhere
@story
async def test_the_targets_of_both_run_into_a_rally(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    """A bot's plain limit order and our targets are reached one after the other: the position ends flat, it is not turned."""
    async with guarded(home, rules, hedge, side, sees, policy=PLAN) as scene:
        await scene.by_hand(lambda: scene.limit(4, coins=8, reduce_only=False), passes=6)
        for percent in range(1, 9):
            scene.world.move(SYMBOL, side, percent)
        assert scene.world.held(SYMBOL, Side(-side.value)) == 0, "both together sold more than there was"
        await scene.rig.passes(6)
        sound(scene.world)


@everywhere
@story
async def test_a_target_passed_while_your_take_profit_stood_in_its_place(
    home: Path, rules: str, hedge: bool, side: Side, sees: str
) -> None:
    """Yours is taken away when the price is beyond where ours stood: nothing is sold at the market for it."""
    async with guarded(home, rules, hedge, side, sees, policy=PLAN) as scene:
        yours = scene.rests(OrderKind.TAKE_PROFIT_MARKET, 30)
        await scene.rig.passes(4)
        assert not scene.world.targets(SYMBOL, side)
        scene.world.move(SYMBOL, side, 2.5)
        await scene.rig.passes(2)
        await scene.by_hand(lambda: scene.cancels(yours))
        await scene.rig.passes(8)
        assert not scene.world.own_trades()
        scene.orderly()


@everywhere
@story
async def test_a_target_of_ours_cancelled(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees, policy=PLAN) as scene:
        before = sorted((row.trigger, row.quantity) for row in scene.world.targets(SYMBOL, side))
        await scene.by_hand(lambda: scene.cancels(*scene.world.targets(SYMBOL, side)))
        await scene.rig.passes(2)  # what became of it is asked first: it might have been filled
        assert sorted((row.trigger, row.quantity) for row in scene.world.targets(SYMBOL, side)) == before
        scene.untouched()
        scene.orderly()


# -- the position ---------------------------------------------------------------------------------------------------------------------


@everywhere
@story
async def test_you_add_at_the_market(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees) as scene:
        level = scene.level
        await scene.by_hand(lambda: scene.world.stranger(SYMBOL, side, 5))
        assert scene.level == level and sum(row.quantity for row in scene.stops) >= SIZE + 5 * ONE
        await scene.rig.passes(4)
        scene.untouched()
        scene.orderly(size=SIZE + 5 * ONE, gap_ms=0 if scene.floor_rests else scene.gap_ms)


@everywhere
@story
async def test_you_add_at_a_limit(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees) as scene:
        before, yours = {row.client_id for row in scene.world.own()}, []
        await scene.by_hand(lambda: yours.append(scene.limit(-1, coins=5, way=side.opening, reduce_only=False)))
        scene.untouched(*yours)
        assert {row.client_id for row in scene.world.own()} == before, "an order that is not filled needs no stop"
        await scene.by_hand(lambda: scene.world.move(SYMBOL, side, -1.1))
        assert scene.world.held(SYMBOL, side) == SIZE + 5 * ONE
        await scene.rig.passes(4)
        scene.untouched()
        scene.orderly(size=SIZE + 5 * ONE, gap_ms=0 if scene.floor_rests else scene.gap_ms)


@everywhere
@story
async def test_you_reduce(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees, policy=PLAN) as scene:
        level = scene.level
        await scene.by_hand(lambda: scene.world.leaves(SYMBOL, side, 6))
        await scene.rig.passes(4)
        assert scene.level == level
        assert quantity(scene, scene.world.targets(SYMBOL, side)) <= 4 * ONE
        scene.untouched()
        scene.orderly(size=4 * ONE)


@everywhere
@story
async def test_you_close(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees, policy=PLAN) as scene:
        other = scene.limit(-3, coins=5, way=side.opening, reduce_only=False)
        await scene.by_hand(lambda: scene.world.leaves(SYMBOL, side, COINS), passes=3)
        assert not scene.world.own()
        scene.untouched(other)
        scene.orderly(size=0)


@everywhere
@story
async def test_you_turn_it_over(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees, policy=PLAN) as scene:
        against = Side(-side.value)
        old = {row.client_id for row in scene.world.own()}
        await scene.by_hand(lambda: scene.world.flips(SYMBOL, side, 5))
        judged(scene.world, adoption_ms=scene.gap_ms)
        await scene.rig.passes(4)
        assert not old & {row.client_id for row in scene.world.own()}
        assert scene.world.held(SYMBOL, side) == 0 and scene.world.held(SYMBOL, against) == 5 * ONE
        tidy(scene.world, SYMBOL, side)
        tidy(scene.world, SYMBOL, against)
        scene.untouched()


@in_hedge_mode
@story
async def test_you_open_the_other_side(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees) as scene:
        before, against = {row.client_id for row in scene.world.own()}, Side(-side.value)
        await scene.by_hand(lambda: scene.world.stranger(SYMBOL, against, 5))
        judged(scene.world, adoption_ms=scene.gap_ms)
        assert before <= {row.client_id for row in scene.world.own()}
        await scene.rig.passes(3)
        tidy(scene.world, SYMBOL, against)
        scene.untouched()
        scene.orderly(adoption_ms=scene.gap_ms)


@while_dead
@story
async def test_closed_while_the_desk_is_down(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees, policy=PLAN) as scene:
        await scene.by_hand(lambda: scene.world.leaves(SYMBOL, side, COINS), passes=3)
        assert not scene.world.own()
        scene.untouched()
        scene.orderly(size=0)


@while_dead
@pytest.mark.parametrize(
    ("percent", "coins"), [(8, 10), (-8, 10), (-20, 10), (-20, 6), (-4, 6)],
    ids=["higher", "lower", "far-lower", "far-lower-and-smaller", "somewhat-lower-and-smaller"],
)  # fmt: skip
@story
async def test_closed_and_opened_again_while_the_desk_is_down(
    home: Path, percent: int, coins: int, rules: str, hedge: bool, side: Side, sees: str
) -> None:
    """At prices that the old stop has long passed, or far from it, with the old size or another: it is not the old position."""
    async with guarded(home, rules, hedge, side, sees, policy=PLAN) as scene:

        def opens_again() -> None:
            scene.world.leaves(SYMBOL, side, COINS)
            scene.world.move(SYMBOL, side, percent)
            scene.world.stranger(SYMBOL, side, coins)

        await scene.by_hand(opens_again)
        assert not scene.world.own_trades(), "a position opened by hand was closed for the sake of one that is gone"
        await scene.rig.passes(8)
        scene.untouched()
        if scene.stuck and percent > 0:  # there the old stop, far behind, holds the quantity: the desk itself holds the nearer level
            judged(scene.world, adoption_ms=DOWN_MS + 2 * TWO_PASSES_MS)
            return
        entry = scene.world.exchange.positions(scene.world.account, SYMBOL)[0].entry
        nearest = 0 if percent == -4 else 2  # there our old stop rests, or is back before we know: it stays, being tighter
        assert nearest < side.sign * (entry - scene.level) * 100 / entry < 11, "the stop is that of the old position"
        scene.orderly(size=coins * ONE, adoption_ms=DOWN_MS + 2 * TWO_PASSES_MS)


# -- the account ----------------------------------------------------------------------------------------------------------------------


def liquidation(scene: Scene) -> int:
    """The liquidation price, E8."""
    rows = scene.world.exchange.positions(scene.world.account, SYMBOL)
    return next(row.liquidation for row in rows if row.amount * scene.side.sign > 0)


def takes_money_out(scene: Scene) -> None:
    """Cross margin: what backs the position is withdrawn."""
    with acting(STRANGER):
        scene.world.exchange.deposit(scene.world.account, E8(-320 * ONE))


def raises_leverage(scene: Scene) -> None:
    """Isolated margin: the leverage is raised, and the margin that this frees is taken out."""
    with acting(STRANGER):
        scene.world.exchange.set_leverage(scene.world.account, SYMBOL, 20)
        scene.world.exchange.add_position_margin(scene.world.account, SYMBOL, E8(-200 * ONE), scene.world.slot(scene.side))


MARGINS = {"cross-money-withdrawn": (takes_money_out, 400), "isolated-leverage-raised": (raises_leverage, 100_000)}


@each_variant
@pytest.mark.parametrize("how", MARGINS)
@story
async def test_liquidation_comes_nearer(home: Path, how: str, rules: str, hedge: bool, side: Side, sees: str) -> None:
    change, balance = MARGINS[how]
    scene = Scene(World(RULES[rules], hedge=hedge, balance=balance, settle_ms=60_000), home, side, sees, STAGED)
    if how.startswith("isolated"):
        scene.world.exchange.set_margin_mode(scene.world.account, SYMBOL, isolated=True)
        scene.world.exchange.set_leverage(scene.world.account, SYMBOL, 5)
    async with opened(scene):
        far = scene.level
        await scene.by_hand(lambda: change(scene), passes=3 if scene.stuck else 2)  # there the useless stop must go first
        ruin, mark = liquidation(scene), e8(PRICES[SYMBOL])
        within = abs(mark - scene.level) * 100 / abs(mark - ruin)
        assert side.sign * (far - ruin) < 0, "the old stop lay before liquidation still: the case shows nothing"
        assert within <= 61, f"the stop lies {within:.0f} % of the way to liquidation"
        scene.untouched()
        await scene.rig.passes(4)
        scene.orderly(gap_ms=scene.gap_ms + scene.stuck * TWO_PASSES_MS)
        near = scene.level
        with acting(STRANGER):
            scene.world.exchange.deposit(scene.world.account, E8(1_000 * ONE))
        await scene.rig.passes(4)
        assert scene.level == near, "money put in does not loosen a stop"
        with pytest.raises(ExchangeError, match="Margin type"):  # -4047, -4048: the mode itself cannot be changed under a position
            scene.world.exchange.set_margin_mode(scene.world.account, SYMBOL, isolated=not how.startswith("isolated"))


# -- orders that look like ours -------------------------------------------------------------------------------------------------------


@everywhere
@story
async def test_a_smaller_stop_in_place_of_ours(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    """Binance cannot change a stop's quantity: its page cancels ours and makes a new one, under an id of its own."""
    async with guarded(home, rules, hedge, side, sees) as scene:
        level, yours = scene.level, []

        def makes_smaller() -> None:
            scene.cancels(*scene.stops)
            yours.append(scene.stop(6, coins=4))

        await scene.by_hand(makes_smaller)
        scene.untouched(*yours)
        await scene.rig.passes(3)
        assert scene.level == level
        assert sum(row.quantity for row in scene.stops) == (6 * ONE if scene.reserves else SIZE), "what yours leave is ours to cover"
        covered = 0 if scene.floor_rests else scene.gap_ms
        if not scene.reserves:
            scene.orderly(gap_ms=covered)
        scene.cancels(*yours)
        await scene.rig.passes(3)
        assert sum(row.quantity for row in scene.stops) == SIZE and scene.level == level
        judged(scene.world, gap_ms=60_000 if scene.stuck else covered)


@everywhere
@story
async def test_our_stop_made_smaller_under_its_own_id(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    """As exchanges do that can change a resting stop: the id stays, the quantity does not."""
    async with guarded(home, rules, hedge, side, sees) as scene:
        level, ours = scene.level, scene.stops[0]

        def makes_smaller() -> None:
            scene.cancels(ours)
            scene.stop(6, coins=4, name=ours.client_id)

        await scene.by_hand(makes_smaller)
        await scene.rig.passes(6)
        assert {row.trigger for row in scene.stops} <= {level, *(row.trigger for row in scene.stops if row.client_id == ours.client_id)}
        assert not scene.world.own_trades()
        if not scene.stuck:
            tidy(scene.world, SYMBOL, side)
        assert sum(row.quantity for row in scene.stops) == SIZE
        judged(scene.world, gap_ms=0 if scene.floor_rests else scene.gap_ms)


SHAPES = {
    "prefix-alone": OURS,
    "too-short": OURS + "s0abc",
    "no-hash": OURS + "s0" + "9" * 18 + "01",
    "upper-case": OURS + "s0" + "A" * 18 + "01",
    "padded-revision": OURS + "s0" + "a" * 18 + "001",
}


@each_variant
@pytest.mark.parametrize("shape", SHAPES)
@story
async def test_an_order_whose_id_only_begins_like_ours(home: Path, shape: str, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees) as scene:
        ours, yours = {row.client_id for row in scene.world.own()}, []
        assert parse_client_order_id(SHAPES[shape]) is None
        kind = OrderKind.TAKE_PROFIT_MARKET if scene.reserves else OrderKind.STOP_MARKET
        percent = 12 if scene.reserves else -12
        await scene.by_hand(lambda: yours.append(scene.rests(kind, percent, coins=4, name=SHAPES[shape])))
        await scene.rig.passes(3)
        assert {row.client_id for row in scene.world.own()} == {*ours, SHAPES[shape]}
        scene.untouched(*yours)
        judged(scene.world)
        await scene.by_hand(lambda: scene.world.leaves(SYMBOL, side, COINS), passes=4)
        assert [row.client_id for row in scene.world.own()] == [SHAPES[shape]], "an order of yours went with the position"
        scene.untouched(*yours)


# -- the market -----------------------------------------------------------------------------------------------------------------------


@everywhere
@story
async def test_you_push_the_price_through_a_stop(home: Path, rules: str, hedge: bool, side: Side, sees: str) -> None:
    async with guarded(home, rules, hedge, side, sees, policy=PLAN) as scene:
        level = scene.level
        await scene.by_hand(lambda: scene.world.price(SYMBOL, (level - side.sign * ONE // 10) / ONE, ms=200), passes=4)
        assert scene.world.held(SYMBOL) == 0, "the stop did not close"
        (trade,) = scene.world.own_trades()
        assert parse_client_order_id(trade.client_id)[1] == "s0" and abs(trade.price - level) * 1_000 < level  # type: ignore[index]
        scene.world.move(SYMBOL, side, 0)
        await scene.rig.passes(6)
        assert scene.world.held(SYMBOL) == 0 and len(scene.world.own_trades()) == 1, "what its stop closed was opened again"
        assert not scene.world.own()
        judged(scene.world)


# -- who came first -------------------------------------------------------------------------------------------------------------------


def opens(scene: Scene) -> None:
    scene.world.stranger(SYMBOL, scene.side, COINS)


def protects(scene: Scene) -> None:
    """A stop of the trader's own over the whole position, where the exchange lets one rest."""
    with suppress(ExchangeError):
        scene.stop(12, close=True, name="web_own_stop")


def takes_profit(scene: Scene) -> None:
    scene.limit(4, coins=3, reduce_only=False, name="web_own_target")


def adds(scene: Scene) -> None:
    scene.world.stranger(SYMBOL, scene.side, 5)


def reduces(scene: Scene) -> None:
    scene.world.leaves(SYMBOL, scene.side, 3)


def opens_another(scene: Scene) -> None:
    scene.world.stranger(OTHER, scene.side, 700)


SESSION = (opens, protects, takes_profit, adds, reduces, opens_another)
"""An evening at the exchange's page."""


@pytest.mark.parametrize("start", range(len(SESSION) + 1), ids=lambda n: f"desk-after-{n}")
@while_dead_by_day
@story
async def test_your_session_before_during_and_after_the_desk_s(
    home: Path, start: int, rules: str, hedge: bool, side: Side, sees: str
) -> None:
    """The desk starts before, between or after the acts of a session, is killed two acts later and started again after one more."""
    scene = Scene(World(RULES[rules], hedge=hedge, settle_ms=60_000), home, side, sees, PLAN)
    running = False
    for number, act in enumerate((*SESSION, lambda scene: None)):
        if number in (start, start + 3):
            await scene.start()
            running = True
            await scene.rig.passes(4)
        if number == start + 2:
            await scene.rig.kill()
            running = False
        act(scene)
        await (scene.rig.passes(4) if running else asyncio.sleep(4))
    if not running:
        await scene.start()
        await scene.rig.passes(4)
    judge_session(scene)
    await scene.rig.kill()
    opens_another(scene)  # the trader comes back first, then the desk
    await scene.start()
    await scene.rig.passes(4)
    judge_session(scene)
    await scene.rig.kill()


def judge_session(scene: Scene) -> None:
    """Both positions are covered whole by ours or, where yours leaves no room, by yours; your orders rest as they were."""
    world = scene.world
    assert world.held(SYMBOL, scene.side) == 12 * ONE and not world.own_trades()
    assert world.meter.foreign_touched == ()
    assert world.account.resting(SYMBOL)[0].client_id == "web_own_target"
    for line in world.meter.ledger():
        assert line.standing.own == line.standing.needed or (not scene.floor_rests and line.standing.foreign == line.standing.needed)
    assert quantity(scene, world.targets(SYMBOL, scene.side)) + 3 * ONE <= 12 * ONE
    sound(world)


# -- are these tests awake? -----------------------------------------------------------------------------------------------------------

PLANTED: dict[str, tuple[Bug, Any, tuple[Any, ...]]] = {
    "our targets do not yield to yours": (
        Bug("qtkit.core.desired:yielding", "if theirs == 0", "if theirs >= 0"),
        test_the_targets_of_both_run_into_a_rally,
        ("plain", False, Side.LONG, AT_ONCE),
    ),
    "a close-position target of yours is not counted": (
        Bug("qtkit.core.desired:yielding", "size if o.close_position else o.remaining", "o.remaining"),
        test_a_take_profit_of_yours,
        ("close-position", "plain", True, Side.SHORT, AT_ONCE),
    ),
    "a target that yielded is sold at the market": (
        Bug("qtkit.core.roll:passed_events", "min(own, left) if gone else own", "own"),
        test_a_target_passed_while_your_take_profit_stood_in_its_place,
        ("plain", False, Side.SHORT, AT_ONCE),
    ),
    "the stop of a position that is gone closes the one that follows": (
        Bug("qtkit.core.roll:_another", "position.lots == episode.expected or (passed and not rests)", "False"),
        test_closed_and_opened_again_while_the_desk_is_down,
        (-20, 6, "plain", False, Side.LONG, DEAD),
    ),
    "what is added gets no stop where the rest holds its quantity": (
        Bug("qtkit.core.reconcile:_fitting", "min(want.order.lots, room)", "want.order.lots"),
        test_you_add_at_the_market,
        ("strict", False, Side.LONG, AT_ONCE),
    ),
    "ours asks for quantity that yours holds": (
        Bug("qtkit.core.desired:_stops", "left = position.lots - held", "left = int(position.lots)"),
        test_a_smaller_stop_in_place_of_ours,
        ("reserving", False, Side.LONG, AT_ONCE),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_caught_by_hand(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bug, check, case = PLANTED[name]
    check(home / "sound", *case)
    bug.plant(monkeypatch)
    try:
        check(home / "planted", *case)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - a bug may show itself in any way, as long as it shows itself
        return
    pytest.fail(f"nobody noticed: {name}")


# -- the table of the README ----------------------------------------------------------------------------------------------------------


def rows() -> list[list[str]]:
    """The cells of the table "What you change by hand"."""
    section = README.read_text().split("## What you change by hand")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_row_of_the_table_names_a_test_and_every_test_a_row() -> None:
    apart = (test_a_planted_bug_is_caught_by_hand.__name__, test_every_row_of_the_table_names_a_test_and_every_test_a_row.__name__)
    tests = {name for name in globals() if name.startswith("test_") and name not in apart}
    named = set()
    for row in rows():
        assert len(row) == 4, f"not four cells: {row}"
        found = re.fullmatch(r"`-k (\w+)`", row[3])
        assert found, f"no test is named by {row[3]!r}"
        matching = {name for name in tests if found[1] in name}
        assert matching, f"no test is called {found[1]}"
        named |= matching
    assert named == tests, f"without a row: {sorted(tests - named)}"
