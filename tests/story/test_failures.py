"""The failures of the system that this one replaces, each as a short play that must not end as it did there.

The judge is the exchange: its order books, its fills, and the meter that reads them. Numbers in the docstrings are those of the list in
the design, "twenty failures a rebuild must make impossible".
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from qtkit.core.context import RiskContext, RiskMode
from qtkit.core.distance import InBps
from qtkit.core.model import ONE, Bps, OrderKind, PolicyError, PositionSide, Scope, Side
from qtkit.core.plan import LegKind
from qtkit.core.policy import POLICIES, STAGED, ExitPolicy
from qtkit.ledger import Ledger, lines_of
from qtkit.paper.faults import Fault, FaultKind, Match, Verb
from qtkit.paper.liquidity import Liquidity
from qtkit.paper.meter import sweep
from qtkit.settings import Account
from qtkit.signals import Gate, Signal
from tests.story.rig import INCIDENT, PRICES, SIDES, World, desk, e8, judged, sound, story, tidy

SYMBOL = "SOLUSDT"
SIZE = 10 * ONE
COINS = {"AVAXUSDT": "100", "ADAUSDT": "3000", "BTCUSDT": "0.05", "SOLUSDT": "10", "DOTUSDT": "500"}

both_sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name.lower())
both_modes = pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])


@both_sides
@both_modes
@story
async def test_positions_that_nobody_planned_are_found_and_protected_whoever_opened_them(home: Path, hedge: bool, side: Side) -> None:
    """1. The flag was on, the executor was not wired, the monitor stood down: five positions in profit without a stop."""
    world = World(hedge=hedge)
    for symbol, coins in COINS.items():
        world.stranger(symbol, side, coins)
        world.move(symbol, side, 7, ms=100)
    async with desk(world, home) as rig:
        await rig.passes(2)
        judged(world)
        for symbol in INCIDENT:
            tidy(world, symbol, side)
            assert rig.register.active_for(symbol, now_ms=world.now_ms), f"{symbol} has no plan"
        await rig.passes(3)
        for symbol, price in INCIDENT.items():
            level = world.stops(symbol, side)[0].trigger
            assert side.sign * (level - e8(price)) > 0, f"{symbol}: the profit is not locked in"
        assert all(episode.trail.armed for episode in rig.applier.book.episodes.values())
        assert all(result.held for result in sweep(world.exchange))


@both_sides
@pytest.mark.parametrize("name", POLICIES)
@story
async def test_every_policy_ends_in_orders_on_the_exchange_and_a_trail_that_moves_them(home: Path, name: str, side: Side) -> None:
    """2. The fix made plans without a trail and without orders, and was signed off on its own tests."""
    world = World()
    async with desk(world, home, adopted=POLICIES[name]) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        judged(world)
        tidy(world, SYMBOL, side)
        plan = rig.register.active(rig.key(SYMBOL), world.now_ms)
        assert plan is not None and plan.legs[0].kind is LegKind.SL
        assert len(world.targets(SYMBOL, side)) == len(plan.targets)
        before = world.stops(SYMBOL, side)[0].trigger
        for percent in range(1, 31):
            world.move(SYMBOL, side, percent)
            await rig.passes(1)
        await rig.passes(3)
        judged(world)
        if plan.trail is not None:
            assert side.sign * (world.stops(SYMBOL, side)[0].trigger - before) > 0, "the trail did not reach the exchange"


@both_sides
@story
async def test_a_desk_that_only_watches_says_so_and_is_never_green(home: Path, side: Side) -> None:
    """3. No process ran any protection, two flags contradicted each other, seven positions stood naked."""
    world = World()
    world.stranger(SYMBOL, side, 10)
    async with desk(world, home, scope=Scope.WATCH) as watching:
        await watching.passes(3)
        assert not world.own() and watching.gaps() == {"paper/SOLUSDT": 10}
    async with desk(world, home) as rig:
        await rig.passes(2)
        tidy(world, SYMBOL, side)
        assert world.meter.ledger()[-1].covered
    with pytest.raises(PolicyError, match="watch"):
        Account(scope=Scope.WATCH, policy="staged")


@both_sides
@both_modes
@story
async def test_many_callers_at_once_make_one_plan_and_one_set_of_orders(home: Path, hedge: bool, side: Side) -> None:
    """4. Three modules raced: -4130, a target cancelled, a stop refused for its precision, six hours unprotected."""
    world = World(hedge=hedge)
    async with desk(world, home, adopted=None) as rig:
        for symbol, coins in COINS.items():
            world.stranger(symbol, side, coins)
        world.rests("DOTUSDT", side, 20, close=True)
        raw = {"symbol": SYMBOL, "positionAmt": str(side.sign * 10), "entryPrice": "142.4", "markPrice": "142.4", "unrealizedProfit": "0"}
        raw |= {"positionSide": world.slot(side).value}
        rig.router._facts = _Facts(rig)
        calls = [rig.monitor.pass_once() for _ in range(4)] + [rig.router.get_or_create_plan(raw) for _ in range(4)]
        plans = (await asyncio.gather(*calls))[4:]
        assert len({plan.uid for plan in plans}) == 1
        await rig.passes(4)
        judged(world)
        for symbol in COINS:
            tidy(world, symbol, side)
            tick = world.exchange.facts[symbol].instrument.tick
            assert all(row.trigger % tick == 0 for row in world.own(symbol))
        assert all(row.status.open for row in world.account.algos.values()), "somebody cancelled"


class _Facts:
    """Trading rules and market, from the desk itself."""

    def __init__(self, rig: object) -> None:
        self._rig = rig

    async def instrument(self, symbol: str) -> object:
        return self._rig.paper.instruments[symbol]  # type: ignore[attr-defined]

    async def market(self, symbol: str) -> object:
        return await self._rig.monitor.market(symbol)  # type: ignore[attr-defined]


@both_sides
@both_modes
@pytest.mark.parametrize("verb", [Verb.POSITIONS, Verb.ORDERS])
@story
async def test_an_empty_answer_deletes_no_stop(home: Path, verb: Verb, hedge: bool, side: Side) -> None:
    """5. Orphan cleanup believed an empty answer and deleted live stops."""
    world = World(hedge=hedge)
    async with desk(world, home) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        ids = {row.client_id for row in world.own()}
        for times in (1, 2, 4):
            rig.monitor.observer.everything_due()
            world.faults.add(Fault(kind=FaultKind.EMPTY, match=Match(verb=verb), times=times))
            await rig.passes(3)
            world.faults.clear()
            assert ids <= {row.client_id for row in world.own()}, "a live stop was deleted"
            await rig.passes(6)
        assert world.faults.fired[FaultKind.EMPTY] > 0
        assert {row.client_id for row in world.own()} == ids
        judged(world)


@both_sides
@both_modes
@story
async def test_no_order_of_ours_can_turn_a_position_around(home: Path, hedge: bool, side: Side) -> None:
    """6. A missing reduceOnly was read as false: queued closes flipped positions for eleven minutes."""
    world = World(hedge=hedge)
    async with desk(world, home, adopted=None) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        rows = world.own()
        assert rows and all(row.reduce_only or row.close_position or row.position_side is not PositionSide.BOTH for row in rows)
        stop = world.stops(SYMBOL, side)[0].trigger
        world.leaves(SYMBOL, side, 6)  # and before the desk can look, the price runs through every stop
        world.price(SYMBOL, stop * (100 - 5 * side.sign) / 100 / ONE, ms=200)
        world.move(SYMBOL, side, 0, ms=200)
        assert world.held(SYMBOL) == 0
        world.stranger(SYMBOL, side, 3)
        await rig.monitor.close_now(tuple(rig.applier.book.episodes))
        await rig.monitor.close_now(tuple(rig.applier.book.episodes))
        await rig.passes(4)
        assert world.held(SYMBOL) in (0, side.sign * 3 * ONE)
        sound(world)


@both_sides
@both_modes
@story
async def test_an_entry_is_never_reduce_only_and_opens(home: Path, hedge: bool, side: Side) -> None:
    """7. Then a missing reduceOnly was read as true and every entry was blocked."""
    world = World(hedge=hedge)
    async with desk(world, home) as rig:
        await rig.passes(1)
        execution = await rig.executor.place_order(SYMBOL, side.opening.value, 10)
        await rig.passes(2)
        assert world.held(SYMBOL) == side.sign * SIZE and execution.side == side.name
        entry = [row for row in world.account.orders.values() if row.client_id.startswith("q1qtk0e0")]
        assert len(entry) == 1 and not entry[0].reduce_only and entry[0].side is side.opening
        judged(world)
        line = world.meter.ledger()[-1]
        assert line.ours and line.adoption_ms == 0, "the stop rested before the entry was sent"


@both_sides
@both_modes
@story
async def test_a_stop_lies_on_the_losing_side_and_closes_there(home: Path, hedge: bool, side: Side) -> None:
    """8. The formula for longs was used for shorts, twice: a loss of more than the margin without a trigger."""
    world = World(hedge=hedge)
    async with desk(world, home) as rig:
        for symbol, coins in COINS.items():
            world.stranger(symbol, side, coins)
        await rig.passes(3)
        for symbol, price in INCIDENT.items():
            stops = [*world.stops(symbol, side), *world.floors(symbol, side)]
            assert all(-20 < side.sign * (row.trigger - e8(price)) * 100 / e8(price) < -2 for row in stops), symbol
        results = sweep(world.exchange)
        assert len(results) == len(COINS) and all(result.held for result in results)
        stop = world.stops(SYMBOL, side)[0].trigger
        world.price(SYMBOL, (stop - side.sign * ONE // 100) / ONE, ms=200)
        assert world.held(SYMBOL) == 0
        loss = -sum(trade.realised for trade in world.account.trades)
        assert 0 < loss < SIZE // ONE * e8(PRICES[SYMBOL]) // 9, "the loss is that of the plan"


@both_sides
@pytest.mark.parametrize("atr", ["96000000", "0.000001", "0.02"])
@story
async def test_an_atr_in_a_wrong_unit_makes_no_wild_stop(home: Path, atr: str, side: Side) -> None:
    """9. ATR in price units was read as a fraction: a stop at 96 million, a negative target."""
    world = World()
    async with desk(world, home) as rig:
        rig.router._facts = _Facts(rig)
        raw = {"symbol": "BTCUSDT", "positionAmt": str(side.sign), "entryPrice": "93475.8", "markPrice": "93475.8", "unrealizedProfit": "0"}
        plan = await rig.router.get_or_create_plan(raw, None, None, {"atr": atr})
        entry = e8(PRICES["BTCUSDT"])
        for price in (plan.stop, plan.floor, *(target.price for target in plan.targets)):
            assert abs(price * plan.tick - entry) * 5 < entry, f"{price * plan.tick / ONE} for an entry of 93475.8"
        with pytest.raises(PolicyError, match="atr"):
            await rig.router.get_or_create_plan(raw, None, None, {"atr_pct": "0.02"})


@both_sides
@both_modes
@story
async def test_the_position_side_of_every_order_fits_the_account_and_closes_it(home: Path, hedge: bool, side: Side) -> None:
    """10. The position side was wrong for the account's mode: a position that could not be closed, -4061 and then -1106."""
    world = World(hedge=hedge)
    async with desk(world, home, adopted=None) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        assert all(row.position_side is world.slot(side) for row in world.own())
        assert all(not (hedge and row.reduce_only) for row in world.own())
        await rig.monitor.close_now(tuple(rig.applier.book.episodes))
        await rig.passes(4)
        assert world.held(SYMBOL) == 0
        tidy(world, SYMBOL, side)
        answers = [leg.code for episode in rig.applier.book.episodes.values() for leg in episode.legs.values()]
        assert not set(answers) & {-4061, -1106}


@story
async def test_a_long_and_a_short_of_one_symbol_are_two_positions(home: Path) -> None:
    """11. Nobody noticed hedge mode: equal long and short in one symbol."""
    world = World(hedge=True)
    async with desk(world, home) as rig:
        for side in SIDES:
            world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        judged(world)
        for side in SIDES:
            tidy(world, SYMBOL, side)
        rig.router.register.active_for(SYMBOL, now_ms=world.now_ms)
        with pytest.raises(PolicyError, match="long and a short"):
            rig.router.get_active_plan(SYMBOL)
        long, short = (rig.router.get_active_plan(SYMBOL, side.name) for side in SIDES)
        assert long is not None and short is not None and long.stop < short.stop
        world.leaves(SYMBOL, Side.LONG, 10)
        await rig.passes(4)
        tidy(world, SYMBOL, Side.LONG)
        tidy(world, SYMBOL, Side.SHORT)
        judged(world)


@both_sides
@pytest.mark.parametrize("code", [-4120, -4045])
@story
async def test_a_refused_move_to_break_even_is_not_told_as_done(home: Path, code: int, side: Side) -> None:
    """12. Conditional orders were refused while the log announced break-even."""
    world = World()
    async with desk(world, home) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        stops = Match(verb=Verb.PLACE, kinds=frozenset({OrderKind.STOP_MARKET}))
        world.faults.add(Fault(kind=FaultKind.REFUSE, match=stops, times=None, code=code))
        old = world.stops(SYMBOL, side)[0]
        world.move(SYMBOL, side, 1.6)
        await rig.passes(5)
        line = rig.monitor.health.coverage[0]
        tick = world.exchange.facts[SYMBOL].instrument.tick
        assert world.stops(SYMBOL, side) == [old], "the old stop is kept until the new one rests"
        assert line.stop is not None and line.stop * tick == old.trigger, "the ledger tells what rests, not what is wished"
        judged(world)
        world.move(SYMBOL, side, 0.01)  # back through the level that no order holds: the desk closes there itself
        await rig.passes(2)
        assert world.held(SYMBOL) == 0
        sound(world)


@both_sides
@both_modes
@story
async def test_what_was_filled_is_what_is_covered_not_what_was_asked_for(home: Path, hedge: bool, side: Side) -> None:
    """13. NEW was logged as FILLED with price 0, and the monitor ignored the position."""
    world = World(hedge=hedge)
    four = 4 * world.exchange.book(SYMBOL).last  # what stands at the best price, and nothing behind it
    world.exchange.set_liquidity(SYMBOL, Liquidity(depth=four, level=0, recovery_ms=0))
    async with desk(world, home) as rig:
        await rig.passes(1)
        await rig.executor.place_order(SYMBOL, side.opening.value, 10)
        await rig.passes(4)
        assert 0 < world.held(SYMBOL, side) < SIZE, "the book was not thin"
        judged(world)
        tidy(world, SYMBOL, side)
        episode = rig.applier.book.episodes[rig.key(SYMBOL, world.slot(side))]
        assert episode.opened and episode.entry > 0 and episode.expected == 4


@story
async def test_a_renamed_field_is_refused_in_a_sentence_and_nothing_is_tried_a_thousand_times(home: Path) -> None:
    """14. One renamed field made every close fail for eighteen hours, more than a thousand times."""
    with pytest.raises(PolicyError, match="side"):
        Signal.from_dict({"symbol": SYMBOL, "action": "BUY", "quantity": "1"})
    with pytest.raises(PolicyError, match="symbol"):
        Signal.from_dict({"ticker": SYMBOL, "side": "BUY"})
    world = World()
    async with desk(world, home) as rig:
        rig.router._facts = _Facts(rig)
        with pytest.raises(PolicyError, match="positionAmt"):
            await rig.router.get_or_create_plan({"symbol": SYMBOL, "amount": "1", "entryPrice": "142", "markPrice": "142"})
        world.stranger(SYMBOL, Side.LONG, 10)
        await rig.passes(2)
        closing = Match(verb=Verb.PLACE, kinds=frozenset({OrderKind.MARKET}))
        world.faults.add(Fault(kind=FaultKind.REFUSE, match=closing, times=None, code=-1102, message="Mandatory 'side' was not sent"))
        stop = world.stops(SYMBOL, Side.LONG)[0]
        world.faults.add(Fault(kind=FaultKind.STUCK_TRIGGERING, match=Match(verb=Verb.TRIGGER), times=None))
        world.price(SYMBOL, stop.trigger * 90 / 100 / ONE)
        await rig.passes(100)
        assert world.faults.fired[FaultKind.REFUSE] < 60, "the same request was refused without end"


@both_sides
@story
async def test_every_covering_order_that_is_told_of_is_on_the_exchange_s_books(home: Path, side: Side) -> None:
    """15. Levels were computed and logged for every trade, and no order was found."""
    world = World()
    lag = Fault(kind=FaultKind.READ_LAG, match=Match(verb=Verb.ORDERS), times=8, delay_ms=6_000)
    lost = Fault(kind=FaultKind.DROP, match=Match(verb=Verb.PLACE, conditional=True), times=9)
    world.faults.add(lag)
    world.faults.add(lost)
    async with desk(world, home, adopted=None) as rig:
        for symbol, coins in COINS.items():
            world.stranger(symbol, side, coins)
        for _ in range(12):
            await rig.passes(1)
            living = {row.client_id for row in world.account.waiting()}
            for line in rig.monitor.health.coverage:
                assert set(line.orders) <= living, f"{line.key}: told of orders that do not exist"
                assert line.gap == 0 or set(line.orders) == set() or line.covered < line.needed
        assert len(rig.monitor.health.coverage) == len(COINS) and rig.gaps() == {}
        judged(world, adoption_ms=14_000)


@both_sides
@both_modes
@story
async def test_the_exchange_holds_the_stops_when_no_process_is_left(home: Path, hedge: bool, side: Side) -> None:
    """16. Conditional orders were banned at the gateway: stops lived in the memory of one loop."""
    world = World(hedge=hedge)
    async with desk(world, home) as rig:
        for symbol, coins in COINS.items():
            world.stranger(symbol, side, coins)
        await rig.passes(2)
    for symbol in COINS:
        for percent in range(1, 16):
            world.move(symbol, side, -percent, ms=1_000)
        assert world.held(symbol) == 0, f"{symbol} is still open after 15 % against it, and no desk runs"
    assert not any(line.liquidated for line in world.meter.ledger())
    sound(world)


@both_sides
@story
async def test_no_gate_for_entries_holds_an_exit_back(home: Path, side: Side) -> None:
    """17. A gate meant for entries froze exits: old data denied every close."""
    world = World()
    async with desk(world, home) as rig:
        rig.executor.gate = Gate(risk=RiskContext(mode=RiskMode.ESS_ACTIVE), max_positions=0)
        for verb in (Verb.BARS, Verb.PRICES, Verb.BALANCE):
            world.faults.add(Fault(kind=FaultKind.FAIL_503, match=Match(verb=verb), times=None))
        with pytest.raises(PolicyError):
            await rig.executor.place_order("ETHUSDT", side.opening.value, 1)
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        judged(world)
        tidy(world, SYMBOL, side)
        world.move(SYMBOL, side, 1.6)
        await rig.passes(3)
        assert side.sign * (world.stops(SYMBOL, side)[0].trigger - e8(PRICES[SYMBOL])) > 0, "the trail stood still"
        await rig.monitor.close_now(tuple(rig.applier.book.episodes))
        await rig.passes(3)
        assert world.held(SYMBOL) == 0
        judged(world)


@both_sides
@both_modes
@story
async def test_missing_risk_data_leaves_no_position_out_and_lifts_no_limit(home: Path, hedge: bool, side: Side) -> None:
    """18. Missing risk data made the exit engine skip every position, while a cap on their number was not enforced."""
    world = World(hedge=hedge)
    async with desk(world, home, adopted=None) as rig:
        rig.executor.gate = Gate(risk=RiskContext(), max_positions=len(COINS))
        for symbol, coins in COINS.items():
            world.stranger(symbol, side, coins)
        for verb in (Verb.BARS, Verb.BALANCE, Verb.PRICES):
            world.faults.add(Fault(kind=FaultKind.FAIL_503, match=Match(verb=verb), times=None))
        await rig.passes(3)
        assert len(rig.monitor.health.coverage) == len(COINS) and rig.gaps() == {}
        for symbol in COINS:
            tidy(world, symbol, side)
        world.faults.clear()
        with pytest.raises(PolicyError, match=f"{len(COINS)} positions are open, and at most {len(COINS)} are allowed"):
            await rig.executor.place_order("ETHUSDT", side.opening.value, 1)
        judged(world)


@both_sides
@story
async def test_a_stop_inside_the_costs_is_refused_for_an_entry_and_widened_on_a_position(home: Path, side: Side) -> None:
    """19. Target and stop lay inside fees, funding and spread: more than sixty losses that were built in."""
    tight = replace(STAGED, name="tight", stop=InBps(Bps(40)), adopted_stop=InBps(Bps(40)))
    assert isinstance(tight, ExitPolicy)
    world = World()
    async with desk(world, home, adopted=tight) as rig:
        await rig.passes(1)
        with pytest.raises(PolicyError, match="stop"):
            await rig.executor.execute(Signal(symbol=SYMBOL, side=side.opening.value, stop="0.2%"))
        assert not world.account.trades and not world.own()
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        entry, stop = world.exchange.positions(world.account, SYMBOL)[0].entry, world.stops(SYMBOL, side)[0].trigger
        assert side.sign * (entry - stop) * 10_000 >= 49 * entry, "a stop within half a percent was left there"


@both_sides
@story
async def test_break_even_pays_for_the_fees_of_both_ways(home: Path, side: Side) -> None:
    """19. The same: a stop at the bare entry price is a loss by design."""
    world = World()
    async with desk(world, home) as rig:
        before = world.exchange.wallet(world.account).wallet
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        world.move(SYMBOL, side, 1.6)
        await rig.passes(3)
        world.price(SYMBOL, world.stops(SYMBOL, side)[0].trigger / ONE)
        assert world.held(SYMBOL) == 0
        after, notional = world.exchange.wallet(world.account).wallet, 10 * e8(PRICES[SYMBOL])
        assert (after - before) * 10_000 > -4 * notional, "more was lost than the spread and the slippage of the way out"


@both_sides
@pytest.mark.parametrize("verb", [Verb.POSITIONS, Verb.ORDERS, Verb.PLACE], ids=lambda verb: verb.value)
@story
async def test_health_is_never_green_while_protection_is_dead(home: Path, verb: Verb, side: Side) -> None:
    """20. Green health, dead protection: a muted dependency, a service that was up and stuck for ten days."""
    world = World()
    async with desk(world, home) as rig:

        def ledger() -> Ledger:
            health, now_ms = rig.monitor.health, world.now_ms
            lines = lines_of(health.coverage, rig.applier.book.episodes, health.snapshots, rig.paper.instruments, slips={})
            return Ledger(
                account="paper", scope="full", running=True, at_ms=now_ms, last_pass_ms=health.last_pass_ms, tick_ms=2_000,
                fault=health.fault, unread_ms=now_ms - min((*health.unread.values(), now_ms)), lines=lines,
            )  # fmt: skip

        await rig.passes(1)
        world.stranger(SYMBOL, side, 10)
        if verb is not Verb.PLACE:
            await rig.passes(3)
        assert ledger().late() is None
        world.faults.add(Fault(kind=FaultKind.FAIL_503, match=Match(verb=verb), times=None))
        running = asyncio.create_task(rig.monitor.run(stop := asyncio.Event()))
        for _ in range(10):
            await asyncio.sleep(60)
            assert ledger().late() or ledger().has_gap, "it says that all is well"
        world.faults.clear()
        await asyncio.sleep(60)
        assert ledger().late() is None and not ledger().has_gap, "what is well again is said as well"
        stop.set()
        await running
        tidy(world, SYMBOL, side)


@both_sides
@both_modes
@story
async def test_a_position_closed_and_opened_again_gets_a_plan_of_its_own(home: Path, hedge: bool, side: Side) -> None:
    """Found by a wandering: between two looks a position ended and another began; it inherited the levels of the first one's entry."""
    world = World(hedge=hedge)
    async with desk(world, home) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        first = rig.register.active_for(SYMBOL, now_ms=world.now_ms)[0]
        world.leaves(SYMBOL, side, 10)
        world.move(SYMBOL, side, 9)
        world.stranger(SYMBOL, side, 10)
        rig.deaf()
        await rig.passes(6)
        second = rig.register.active_for(SYMBOL, now_ms=world.now_ms)[0]
        assert second.uid != first.uid and second.entry == world.exchange.positions(world.account, SYMBOL)[0].entry
        distance = side.sign * (second.entry - world.stops(SYMBOL, side)[0].trigger) * 100 / second.entry
        assert 2 < distance < 11
        judged(world)
        tidy(world, SYMBOL, side)
