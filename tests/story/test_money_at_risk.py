"""Money at risk on a real account: each fault of a stop is found and put in words, and the exchange takes no more than was said."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtkit.core.model import ONE, OrderKind, Scope, Side, TriggerBy
from qtkit.core.risk import ASSUMED, LEAST, exit_of, slip_of
from qtkit.ledger import Ledger, Line, lines_of
from qtkit.paper import convert
from qtkit.paper.actor import acting
from qtkit.paper.adverse import SweepResult, sweep
from qtkit.paper.exchange import NewOrder
from tests.story.rig import PRICES, RULES, SIDES, STRANGER, Rig, World, desk, e8, story

sides = pytest.mark.parametrize("side", SIDES)
modes = pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])


async def audit(rig: Rig) -> Ledger:
    """The ledger of a reading now, decided on as an onlooker does: nothing is sent."""
    rig.hear()
    rig.monitor.observer.everything_due()
    decision = await rig.monitor.preview()
    snapshots, book = rig.monitor.health.snapshots, decision.book
    lines = lines_of(decision.coverage, book.episodes, snapshots, rig.paper.instruments, slips=book.slips)
    return Ledger(account="paper", scope="full", running=True, at_ms=1, last_pass_ms=1, tick_ms=2_000, lines=lines)


def told(it: Ledger) -> list[str]:
    return [finding.says for line in it.lines for finding in line.findings]


def walked(world: World) -> dict[str, SweepResult]:
    """What the exchange's own engine makes of each position when its market is walked against it."""
    return {str(result.key): result for result in sweep(world.exchange)}


def within_what_was_said(line: Line, result: SweepResult) -> None:
    """The exchange took no more than the ledger said, and the ledger said no more than the slippage on top of that."""
    assert result.held and line.lost is not None
    said, taken = Decimal(line.lost), Decimal(result.loss) / ONE
    notional = Decimal(line.size) * max(Decimal(line.stop or 0), Decimal(line.mark)) * (1 + Decimal(line.slip) / 10_000)
    assert said - notional * Decimal(line.slip) / 10_000 <= taken <= said


def price_of(symbol: str, side: Side, percent: float) -> Decimal:
    """The price that many percent against a position from where the world began."""
    return Decimal(PRICES[symbol]) * (100 - side.sign * Decimal(str(percent))) / 100


# -- what is lost -------------------------------------------------------------------------------------------------------------------


@sides
@modes
@story
async def test_the_exchange_takes_what_was_said(home: Path, side: Side, hedge: bool) -> None:
    """Three positions, one deep in profit: per position and for the account, within the modelled slippage."""
    world = World(hedge=hedge)
    for symbol, coins in (("BTCUSDT", "0.3"), ("AVAXUSDT", "2000"), ("XRPUSDT", "5000")):
        world.stranger(symbol, side, coins)
    world.move("XRPUSDT", side, 8)
    async with desk(world, home) as rig:
        await rig.passes(3)
        it = await audit(rig)
        assert told(it) == [] and it.sentence.startswith("3 positions, 0 naked, 0 with a gap, ")
        results = walked(world)
        for line in it.lines:
            within_what_was_said(line, results[line.key])
            assert (line.slip, line.slip_median, line.slip_fills) == (str(ASSUMED), None, 0)
        lost = sum(Decimal(line.lost or 0) for line in it.lines)
        at_risk = sum(Decimal(line.at_risk or 0) for line in it.lines)
        assert f"{at_risk:,.2f} USDT at risk if every stop fills" in it.sentence
        assert f"{abs(lost):,.2f} USDT would be {'lost' if lost > 0 else 'kept'}, against the entries" in it.outlook
        assert sum(Decimal(result.loss) / ONE for result in results.values()) <= lost
        assert "slippage 20 bps assumed" in it.outlook


@sides
@story
async def test_profit_that_is_kept_is_told_as_kept(home: Path, side: Side) -> None:
    world = World()
    world.stranger("XRPUSDT", side, "5000")
    async with desk(world, home) as rig:
        await rig.passes(2)
        for percent in (2, 4, 6, 8, 10, 12):
            world.move("XRPUSDT", side, percent)
            await rig.passes(2)
        it = await audit(rig)
        (line,) = it.lines
        assert Decimal(line.lost or 0) < 0 < Decimal(line.at_risk or 0)
        assert f"{-Decimal(line.lost or 0):,.2f} USDT would be kept, against the entries" in it.outlook
        within_what_was_said(line, walked(world)[line.key])


@sides
@story
async def test_slippage_is_learnt_from_the_desks_own_fills(home: Path, side: Side) -> None:
    """Ten positions stopped out: from then on the symbol's own fills say what a stop costs, also to a desk that starts anew."""
    world = World()
    async with desk(world, home) as rig:
        for _ in range(LEAST):
            world.price("XRPUSDT", PRICES["XRPUSDT"], ms=1_000)
            world.stranger("XRPUSDT", side, "500")
            await rig.passes(2)
            (stop,) = world.stops("XRPUSDT", side)
            trigger = Decimal(stop.trigger) / ONE
            world.price("XRPUSDT", trigger - side.sign * trigger * 3 / 10_000, mark=trigger, ms=1_000)  # last runs ahead of mark
            await rig.passes(5)
            assert not world.held("XRPUSDT")
        world.price("XRPUSDT", PRICES["XRPUSDT"], ms=1_000)
        world.stranger("XRPUSDT", side, "500")
        await rig.passes(2)
        it = await audit(rig)
    async with desk(world, home) as rig:
        again = await audit(rig)
        (line,) = again.lines
        assert line.slip_fills == LEAST and (line.slip, line.slip_median) == (it.lines[0].slip, it.lines[0].slip_median)
        triggers = {row.client_id: row.trigger for row in world.sent("s0")}
        fills = [(triggers[trade.client_id], trade.price) for trade in world.own_trades()]
        worst = max(Decimal(side.sign * (trigger - price) * 10_000) / trigger for trigger, price in fills)
        assert len(fills) == LEAST and 3 <= worst <= int(line.slip) < worst + 1
        assert f"slippage {line.slip} bps on XRPUSDT (median {line.slip_median}, 10 fills)" in again.outlook


@given(
    side=st.sampled_from(SIDES), symbol=st.sampled_from(sorted(PRICES)), profit=st.integers(-3, 9),
    stops=st.lists(st.tuples(st.integers(10, 250), st.integers(5, 80)), min_size=1, max_size=4),
)  # fmt: skip
@settings(max_examples=40)
def test_whatever_stops_rest_the_exchange_takes_no_more_than_is_modelled(
    side: Side, symbol: str, profit: int, stops: list[tuple[int, int]]
) -> None:
    """Up to four stops of any size, in profit and in loss: what they close, the engine closes, and within the slippage for that money.

    A short of which less is closed is liquidated at the end of the walk, which is just beyond the liquidation of all of it.
    """
    world, rules = World(), World().exchange.facts[symbol].instrument
    lots = int(Decimal(20_000) / Decimal(PRICES[symbol]) * ONE / rules.lot)
    world.stranger(symbol, side, str(Decimal(lots * rules.lot) / ONE))
    world.move(symbol, side, profit)
    for number, (behind, share) in enumerate(stops):
        coins = Decimal(max(lots * share // 100, 1) * rules.lot) / ONE
        world.rests(symbol, side, Decimal(behind) / 10 - profit, coins=str(coins), name=f"web_{number}")
    (row,) = world.exchange.positions(world.account, symbol)
    orders = [convert.algo_order(algo, rules) for algo in world.foreign()]
    left = exit_of(convert.position(row, rules), rules, orders, slip_of(()))
    (result,) = sweep(world.exchange)
    assert left is not None and result.held is (left.lots == lots)
    slipped = left.lots * rules.lot * max(row.mark, left.level * rules.tick) * (ASSUMED + 1) // (10_000 * ONE)
    assert left.from_entry - slipped <= result.loss <= left.from_entry


# -- what is wrong ------------------------------------------------------------------------------------------------------------------


@sides
@modes
@story
async def test_our_stop_is_40_percent_too_small_after_somebody_added(home: Path, side: Side, hedge: bool) -> None:
    """Without a floor beside the stop, what is added by hand is open until the next pass: told by how much, and closed by that pass."""
    world = World(RULES["floor-alone"], hedge=hedge)
    world.stranger("AVAXUSDT", side, "600")
    world.stranger("BTCUSDT", side, "0.1")
    async with desk(world, home) as rig:
        await rig.passes(2)
        world.stranger("AVAXUSDT", side, "400")
        it = await audit(rig)
        assert it.sentence.startswith("2 positions, 0 naked, 1 stop 40 % too small, ")
        assert it.sentence.endswith(" USDT at risk if every stop of the covered ones fills")
        assert told(it) == ["our stops close 60 % of it: 40 % too small, 400 stays open"]
        assert it.has_gap and it.lines[0].at_risk is None
        await rig.passes(2)
        assert told(await audit(rig)) == []


@sides
@modes
@story
async def test_a_strangers_stop_that_is_too_small(home: Path, side: Side, hedge: bool) -> None:
    """Watched only: it is a foreign stop, how much it covers and at which price, and what it would lose; none of it is called ours."""
    world = World(hedge=hedge)
    world.stranger("AVAXUSDT", side, "1000")
    stop = world.rests("AVAXUSDT", side, 4, coins=600, name="web_1")
    async with desk(world, home, scope=Scope.WATCH) as rig:
        it = await audit(rig)
        assert it.sentence.startswith("1 position, 0 naked, 1 stop 40 % too small (foreign), no stop of ours, ")
        assert it.sentence.endswith(" USDT at risk if every foreign stop fills")
        (line,) = it.lines
        assert told(it) == ["foreign stops close 60 % of it: 40 % too small, 400 stays open"]
        assert (line.covered, line.foreign_covered, line.at_risk, line.lost) == ("0", "60", None, None)
        assert Decimal(line.foreign_stop or 0) == Decimal(stop.trigger) / ONE
        (result,) = sweep(world.exchange)
        assert result.at is None, "the rest of it stands when the market has gone 30 % against it"
        said = Decimal(line.foreign_at_risk or 0) + side.sign * (Decimal(line.entry) - Decimal(line.mark)) * 600
        slipped = 600 * Decimal(PRICES["AVAXUSDT"]) * Decimal("1.05") * Decimal(line.slip) / 10_000
        assert said - slipped <= Decimal(result.loss) / ONE <= said


@sides
@story
async def test_a_strangers_stop_beyond_liquidation(home: Path, side: Side) -> None:
    """It rests, it looks like a stop, and the exchange liquidates before it: the position is naked, and the engine says the same."""
    world = World(balance=2_000)
    world.stranger("BTCUSDT", side, "0.2")
    world.rests("BTCUSDT", side, 15, close=True, name="web_1")
    async with desk(world, home, scope=Scope.WATCH) as rig:
        it = await audit(rig)
        assert it.sentence == "1 position, 1 naked, 1 stop beyond liquidation (foreign), no stop bounds the loss"
        (line,) = it.lines
        liquidation = Decimal(line.liquidation or 0)
        assert f"naked: nothing closes any of it before liquidation at {liquidation}, {line.to_liquidation} % away" in told(it)
        assert any(text.startswith("foreign stop web_1@") and "(all): beyond liquidation at" in text for text in told(it))
        assert f"nearest liquidation: BTCUSDT {side.name.lower()}, {line.to_liquidation} % away" in it.outlook
        (result,) = sweep(world.exchange)
        assert result.liquidated and result.at is not None
        away = abs(result.at - result.start) * 100 / Decimal(result.start)
        assert Decimal(line.to_liquidation or 0) <= away <= Decimal(line.to_liquidation or 0) + Decimal("0.25")


@sides
@story
async def test_a_stop_that_a_flip_left_on_the_wrong_side(home: Path, side: Side) -> None:
    """A plain reduce-only stop outlives its position; for the one that follows it closes nothing."""
    world = World()
    world.stranger("AVAXUSDT", side, "1000")
    world.rests("AVAXUSDT", side, 4, coins=1000, name="web_1")
    world.flips("AVAXUSDT", side, "1000")
    async with desk(world, home, scope=Scope.WATCH) as rig:
        it = await audit(rig)
        assert it.sentence == "1 position, 1 naked, 1 stop on the wrong side (foreign), no stop bounds the loss"
        (row,) = world.foreign()
        name = f"foreign stop web_1@{(Decimal(row.trigger) / ONE).normalize():f} (1000)"
        assert f"{name}: on the wrong side: {side.closing.value} closes nothing here" in told(it)


@sides
@modes
@story
async def test_a_foreign_close_position_stop_on_the_last_price(home: Path, side: Side, hedge: bool) -> None:
    """It covers all of it, and is told as foreign, with its price; that it watches the last price is told too."""
    world = World(hedge=hedge)
    world.stranger("AVAXUSDT", side, "1000")
    trigger = e8(price_of("AVAXUSDT", side, 8).quantize(Decimal("0.001")))
    new = NewOrder(
        symbol="AVAXUSDT", side=side.closing, kind=OrderKind.STOP_MARKET, trigger=trigger, trigger_by=TriggerBy.LAST, close_position=True,
        position_side=world.slot(side) if hedge else None, client_id="web_1",
    )  # fmt: skip
    with acting(STRANGER):
        world.exchange.submit_algo(world.account, new)
    async with desk(world, home, scope=Scope.WATCH) as rig:
        it = await audit(rig)
        (line,) = it.lines
        assert (line.foreign, line.foreign_covered) == (("web_1",), "100") and Decimal(line.foreign_stop or 0) == Decimal(trigger) / ONE
        assert it.sentence == (
            "1 position, 0 naked, 1 covered by foreign stops alone, 1 stop on the wrong trigger price (foreign), "
            f"no stop of ours, {Decimal(line.foreign_at_risk or 0):,.2f} USDT at risk if every foreign stop fills"
        )
        assert told(it) == [
            f"foreign stops alone close it, the last of it at {line.foreign_stop}",
            f"foreign stop web_1@{line.foreign_stop} (all): triggers on the last price, while liquidation goes by the mark price",
        ]
    async with desk(world, home) as rig:
        await rig.passes(3)
        beside = await audit(rig)
        assert beside.sentence.startswith("1 position, 0 naked, 1 stop on the wrong trigger price (foreign), ")
        assert (beside.lines[0].covered, beside.lines[0].foreign_covered) == ("100", "100") and not beside.has_gap
        assert [row.client_id for row in world.foreign()] == ["web_1"]
        within_what_was_said(beside.lines[0], walked(world)[beside.lines[0].key])  # ours lies before theirs


@sides
@story
async def test_price_protect_does_not_count_as_cover(home: Path, side: Side) -> None:
    world = World()
    world.stranger("AVAXUSDT", side, "1000")
    trigger = e8(price_of("AVAXUSDT", side, 4).quantize(Decimal("0.001")))
    new = NewOrder(
        symbol="AVAXUSDT", side=side.closing, kind=OrderKind.STOP_MARKET, trigger=trigger, trigger_by=TriggerBy.MARK, close_position=True,
        price_protect=True, client_id="web_1",
    )  # fmt: skip
    with acting(STRANGER):
        world.exchange.submit_algo(world.account, new)
    async with desk(world, home, scope=Scope.WATCH) as rig:
        it = await audit(rig)
        assert it.sentence == "1 position, 1 naked, 1 stop with priceProtect on (foreign), no stop bounds the loss"


@sides
@story
async def test_seven_positions_as_a_trader_finds_them(home: Path, side: Side) -> None:
    """The first line of a check: two naked, one stop too small, one beyond liquidation, and what the rest would lose."""
    world = World(RULES["floor-alone"], balance=9_000)
    for symbol, coins in {"BTCUSDT": "0.04", "AVAXUSDT": "300", "ADAUSDT": "9000", "SOLUSDT": "30", "DOTUSDT": "2000"}.items():
        world.stranger(symbol, side, coins)
    async with desk(world, home) as rig:
        await rig.passes(3)
        world.stranger("AVAXUSDT", side, "200")
        world.stranger("ETHUSDT", side, "1")
        world.stranger("LTCUSDT", side, "400")
        world.rests("LTCUSDT", side, 60, close=True, name="web_far")
        it = await audit(rig)
        assert it.sentence.startswith("7 positions, 2 naked, 1 stop 40 % too small, 1 beyond liquidation (foreign), ")
        assert it.sentence.endswith(" USDT at risk if every stop of the covered ones fills")
        results = walked(world)
        for line in it.lines:
            if line.at_risk is not None:
                within_what_was_said(line, results[line.key])
