"""The meter, judged by scenes whose seconds are known: the wall is a number that the scene moves, the exchange is the real engine.

Over 300 lines: each promise is shown kept and broken.
"""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtkit.core.model import E8, ONE, Key, OrderKind, OrderSide, PolicyError, PositionSide, Side, Ticks, TriggerBy
from qtkit.paper.actor import acting
from qtkit.paper.clock import Pump
from qtkit.paper.exchange import Exchange
from qtkit.paper.liquidity import Liquidity
from qtkit.paper.meter import LedgerLine, Meter, sweep
from qtkit.paper.rows import AlgoRow, NewOrder, TimeInForce
from qtkit.paper.rules import Rules
from qtkit.paper.synthetic import demo_tape

START = 1_767_571_200_000
SYMBOL, TICK, PRICE = "BTCUSDT", 10_000_000, 934_758
BOTH = (Side.LONG, Side.SHORT)
BTC = E8(ONE // 10)


class Scene:
    """One market, one account 'desk', a virtual wall. ``bps`` are in the position's favour, so a scene reads alike for both sides."""

    def __init__(self, side: Side, *, hedge: bool = False, rules: Rules | None = None, balance: int = 100_000) -> None:
        self.side = side
        self.wall = 100.0
        self.at_ms = START
        self.exchange = Exchange(rules=rules, start_ms=START)
        self.account = self.exchange.open_account("desk", balance=E8(balance * ONE), hedge=hedge)
        self.slot = PositionSide.BOTH if not hedge else PositionSide[side.name]
        self.price(0)
        self.meter = Meter(self.exchange, prefix="q1", strangers=("stranger",), clock=lambda: self.wall)

    def level(self, bps: int) -> int:
        return PRICE + self.side.sign * PRICE * bps // 10_000

    def price(self, bps: int, mark_off: int = 3_000_000) -> None:
        last = self.level(bps)
        self.exchange.tick(SYMBOL, Ticks(last), E8(last * TICK + mark_off), self.at_ms)

    def wait(self, seconds: float, exchange_seconds: float | None = None) -> None:
        self.wall += seconds
        self.at_ms += round(1000 * (seconds if exchange_seconds is None else exchange_seconds))
        self.exchange.advance(self.at_ms)

    def market(self, client_id: str, quantity: int = BTC, *, closing: bool = False) -> None:
        side = self.side.closing if closing else self.side.opening
        reduce_only = True if closing and self.slot is PositionSide.BOTH else None
        self.exchange.submit(
            self.account,
            NewOrder(
                symbol=SYMBOL,
                side=side,
                kind=OrderKind.MARKET,
                quantity=E8(quantity),
                position_side=self.slot,
                reduce_only=reduce_only,
                client_id=client_id,
            ),
        )

    def stop(self, client_id: str, bps: int, quantity: int | None = BTC, *, side: OrderSide | None = None, protect: bool = False) -> None:
        self.exchange.submit_algo(
            self.account,
            NewOrder(
                symbol=SYMBOL,
                side=side or self.side.closing,
                kind=OrderKind.STOP_MARKET,
                quantity=None if quantity is None else E8(quantity),
                trigger=E8(self.level(bps) * TICK),
                trigger_by=TriggerBy.MARK,
                position_side=self.slot,
                reduce_only=True if quantity is not None and self.slot is PositionSide.BOTH else None,
                close_position=quantity is None,
                price_protect=protect,
                client_id=client_id,
            ),
        )

    def cancel(self, client_id: str) -> None:
        self.exchange.cancel_algo(self.account, client_id=client_id)

    def line(self) -> LedgerLine:
        return self.meter.ledger()[-1]

    def broken(self, **limits: int) -> set[str]:
        return {promise.name for promise in self.meter.verdict(**limits) if not promise.held}


def _name(param: tuple[Side, bool]) -> str:
    return f"{param[0].name.lower()}-{'hedge' if param[1] else 'oneway'}"


@pytest.fixture(params=[(side, hedge) for side in BOTH for hedge in (False, True)], ids=_name)
def scene(request: pytest.FixtureRequest) -> Scene:
    side, hedge = request.param
    return Scene(side, hedge=hedge)


def test_adoption_time_is_from_the_opening_to_the_first_whole_cover(scene: Scene) -> None:
    scene.market("manual")
    scene.wait(2, 60)
    scene.stop("q1a", -200, BTC // 2)
    assert not scene.line().covered, "half the quantity is no cover"
    scene.wait(1, 30)
    scene.stop("q1b", -200, BTC // 2)
    scene.wait(50)
    line = scene.line()
    assert (line.adopted, line.covered) == (True, True)
    assert (line.adoption_wall_ms, line.adoption_ms) == (3_000, 90_000)
    assert (line.gaps, line.gap_wall_ms) == (0, 0)
    assert line.key == Key("desk", SYMBOL, scene.slot) and line.side is scene.side and not line.ours
    assert scene.broken() == set()
    assert scene.broken(adoption_wall_ms=2_000) == {"covered within 2000 ms"}


def test_a_stop_removed_for_three_seconds_is_a_gap_of_three_seconds(scene: Scene) -> None:
    scene.market("manual")
    scene.stop("q1a", -200)
    scene.wait(10)
    scene.cancel("q1a")
    scene.wait(3)
    assert scene.line().gap_wall_ms == 3_000 and not scene.line().covered
    scene.stop("q1b", -200)
    scene.wait(10)
    scene.cancel("q1b")
    scene.wait(1, 120)
    scene.stop("q1c", -200)
    line = scene.line()
    assert (line.gaps, line.gap_wall_ms, line.worst_gap_wall_ms) == (2, 4_000, 3_000)
    assert (line.gap_ms, line.worst_gap_ms) == (123_000, 120_000)
    assert (line.adoption_wall_ms, line.loosened) == (0, 0)
    assert scene.broken() == {"no gap over 0 ms after the first cover"}
    assert scene.broken(gap_wall_ms=3_000) == set()


def test_a_gap_of_no_time_is_still_a_gap(scene: Scene) -> None:
    scene.market("manual")
    scene.stop("q1a", -200)
    scene.cancel("q1a")
    scene.stop("q1b", -200)
    assert (scene.line().gaps, scene.line().gap_wall_ms) == (1, 0)
    assert scene.broken() == {"no gap over 0 ms after the first cover"}


def test_new_before_old_leaves_no_gap_and_may_only_tighten(scene: Scene) -> None:
    scene.market("manual")
    scene.stop("q1a", -300)
    for number, bps in enumerate((-250, -250, -100)):
        scene.wait(5)
        scene.stop(f"q1b{number}", bps)
        scene.wait(1)
        scene.cancel("q1a" if number == 0 else f"q1b{number - 1}")
    line = scene.line()
    assert (line.gaps, line.loosened) == (0, 0)
    assert line.standing.level == scene.level(-100) * TICK
    assert scene.broken() == set()


def test_a_loosened_stop_is_found(scene: Scene) -> None:
    scene.market("manual")
    scene.stop("q1a", -200)
    scene.stop("q1b", -210)
    assert scene.line().loosened == 0
    scene.cancel("q1a")
    assert (scene.line().loosened, scene.line().gaps) == (1, 0)
    scene.wait(60)
    scene.price(5)
    assert scene.line().loosened == 1, "one act counts once"
    assert scene.broken() == {"no stop was loosened"}


def test_a_stop_taken_away_and_put_back_looser_is_loosened(scene: Scene) -> None:
    scene.market("manual")
    scene.stop("q1a", -200)
    scene.cancel("q1a")
    scene.stop("q1b", -201)
    assert scene.line().loosened == 1


def test_what_a_stranger_takes_must_come_back_to_its_level_in_time(scene: Scene) -> None:
    scene.market("manual")
    scene.stop("q1floor", -400, None)
    scene.stop("q1a", -200)
    with acting("stranger"):
        scene.cancel("q1a")
    scene.wait(6)
    scene.price(1)
    scene.stop("q1b", -200)
    scene.wait(60)
    scene.price(2)
    assert scene.line().loosened == 0
    with acting("stranger"):
        scene.cancel("q1b")
    scene.wait(6)
    scene.price(3)
    assert scene.line().loosened == 0
    scene.wait(6)
    scene.price(4)
    assert scene.line().loosened == 1
    assert scene.line().gaps == 0, "the floor covered all the time"


def test_an_addition_is_held_apart_from_the_level_of_what_was_covered_before(scene: Scene) -> None:
    scene.market("manual")
    scene.stop("q1floor", -400, None)
    scene.stop("q1a", -200)
    scene.wait(5)
    scene.market("manual2")
    assert (scene.line().covered, scene.line().loosened) == (True, 0), "the floor covers the addition at once"
    assert scene.line().standing.level == scene.level(-400) * TICK
    scene.stop("q1b", -200, 2 * BTC)
    scene.cancel("q1a")
    assert (scene.line().loosened, scene.line().gaps) == (0, 0)
    scene.stop("q1c", -220, 2 * BTC)
    scene.cancel("q1b")
    assert scene.line().loosened == 1


def test_without_a_floor_an_addition_is_a_gap_until_the_stop_grows(scene: Scene) -> None:
    scene.market("manual")
    scene.stop("q1a", -200)
    scene.market("manual2")
    scene.wait(2)
    assert scene.line().standing.own == BTC
    scene.stop("q1b", -200)
    line = scene.line()
    assert (line.gaps, line.gap_wall_ms, line.loosened) == (1, 2_000, 0)


@pytest.mark.parametrize("side", BOTH)
def test_what_is_no_cover(side: Side) -> None:
    scene = Scene(side)
    scene.market("manual")
    scene.exchange.submit_algo(
        scene.account,
        NewOrder(
            symbol=SYMBOL,
            side=side.opening,
            kind=OrderKind.STOP_MARKET,
            quantity=BTC,
            trigger=E8(scene.level(200) * TICK),
            trigger_by=TriggerBy.MARK,
            reduce_only=False,
            client_id="q1wrong",
        ),
    )
    assert scene.line().standing.own == 0 and "q1wrong is on the opening side" in scene.line().standing.why
    scene.exchange.submit_algo(
        scene.account,
        NewOrder(
            symbol=SYMBOL,
            side=side.closing,
            kind=OrderKind.STOP_MARKET,
            quantity=BTC,
            trigger=E8(scene.level(-200) * TICK),
            trigger_by=TriggerBy.MARK,
            client_id="q1open",
        ),
    )
    assert scene.line().standing.own == 0 and "q1open may open a position" in scene.line().standing.why
    scene.stop("q1protect", -200, protect=True)
    assert scene.line().standing.own == 0 and "q1protect has price protection on" in scene.line().standing.why
    scene.stop("q1good", -200)
    assert scene.line().covered and scene.line().standing.why == ""


@pytest.mark.parametrize("side", BOTH)
def test_a_stop_beyond_liquidation_is_no_cover(side: Side) -> None:
    scene = Scene(side, balance=500)
    scene.market("manual")
    row = scene.exchange.positions(scene.account)[0]
    assert row.liquidation > 0
    away = -abs(row.liquidation - row.mark) * 10_000 // row.mark
    scene.stop("q1far", away - 100)
    assert not scene.line().covered and "q1far lies beyond liquidation" in scene.line().standing.why
    scene.stop("q1near", away + 100)
    assert scene.line().covered


@pytest.mark.parametrize("side", BOTH)
def test_liquidation_that_creeps_past_a_stop_uncovers_it(side: Side) -> None:
    scene = Scene(side, balance=500)
    scene.market("manual")
    row = scene.exchange.positions(scene.account)[0]
    away = -abs(row.liquidation - row.mark) * 10_000 // row.mark
    scene.stop("q1a", away + 5)
    assert scene.line().covered
    scene.wait(5)
    scene.exchange.deposit(scene.account, E8(-100 * ONE))
    scene.wait(2)
    scene.price(0)
    assert not scene.line().covered
    scene.exchange.deposit(scene.account, E8(100 * ONE))
    scene.price(0)
    assert scene.line().covered and scene.line().gaps == 1


def test_foreign_cover_is_counted_apart(scene: Scene) -> None:
    scene.market("manual")
    scene.stop("mine", -300)
    standing = scene.line().standing
    assert (standing.own, standing.foreign, standing.covered) == (0, BTC, False)
    scene.stop("q1a", -200)
    standing = scene.line().standing
    assert (standing.own, standing.foreign, standing.covered) == (BTC, BTC, True)


def test_a_foreign_order_may_be_touched_by_its_owner_only(scene: Scene) -> None:
    scene.market("manual")
    scene.stop("mine1", -300)
    scene.stop("mine2", -301)
    with acting("stranger"):
        scene.cancel("mine1")
    assert scene.meter.foreign_touched == ()
    with acting("desk"):
        scene.cancel("mine2")
    assert len(scene.meter.foreign_touched) == 1
    assert "mine2 cancelled by desk" in scene.meter.foreign_touched[0]
    assert "no foreign order was touched" in scene.broken()


def test_a_foreign_limit_that_is_amended_is_touched(scene: Scene) -> None:
    limit = NewOrder(
        symbol=SYMBOL,
        side=scene.side.opening,
        kind=OrderKind.LIMIT,
        quantity=BTC,
        price=E8(scene.level(-100) * TICK),
        time_in_force=TimeInForce.GTC,
        position_side=scene.slot,
        client_id="mine",
    )
    scene.exchange.submit(scene.account, limit)
    price = E8(scene.level(-110) * TICK)
    scene.exchange.amend(scene.account, SYMBOL, side=limit.side, quantity=BTC, price=price, client_id="mine")
    assert "mine amended by somebody unnamed" in scene.meter.foreign_touched[0]


def test_what_the_exchange_itself_removes_is_nobodys_touch(scene: Scene) -> None:
    scene.market("manual")
    scene.stop("mine", -200, None)
    scene.market("manual2", closing=True)
    assert scene.exchange.open_algos(scene.account) == ()
    assert scene.meter.foreign_touched == ()
    assert scene.line().closed_ms == START


def test_a_triggered_stop_ends_the_position_without_a_gap(scene: Scene) -> None:
    scene.market("manual")
    scene.stop("q1a", -200)
    scene.wait(7)
    scene.price(-210)
    line = scene.line()
    assert line.closed_ms == START + 7_000 and line.covered
    assert (line.gaps, line.loosened, line.trades_before_cover, line.market_closes, line.liquidated) == (0, 0, 0, 0, False)
    assert scene.broken() == set()


def test_a_stuck_stop_is_no_cover_and_no_loosening(scene: Scene) -> None:
    scene.market("manual")
    scene.stop("q1floor", -400, None)
    scene.stop("q1a", -200)
    held: Callable[[AlgoRow], bool] = lambda row: row.client_id == "q1a"  # noqa: E731
    scene.exchange.hold_trigger = held
    scene.price(-205)
    line = scene.line()
    assert line.standing.level == scene.level(-400) * TICK and line.loosened == 0
    scene.cancel("q1floor")
    scene.wait(2)
    assert not scene.line().covered and "q1a is TRIGGERING" in scene.line().standing.why
    assert scene.line().gap_wall_ms == 2_000


def test_every_leaving_of_flat_is_an_episode_of_its_own(scene: Scene) -> None:
    scene.market("manual")
    scene.wait(4)
    scene.market("manual2", closing=True)
    scene.wait(10)
    scene.market("q1entry")
    scene.stop("q1a", -200)
    first, second = scene.meter.ledger()
    assert (first.episode, first.adopted, first.adoption_wall_ms, first.closed_ms, first.ours) == (1, False, 4_000, START + 4_000, False)
    assert (second.episode, second.adopted, second.adoption_wall_ms, second.closed_ms, second.ours) == (2, True, 0, None, True)
    assert first.covered, "what is flat needs no cover"


def test_a_flip_is_the_end_and_a_beginning() -> None:
    for side in BOTH:
        scene = Scene(side)
        scene.market("manual")
        scene.stop("q1a", -200)
        order = NewOrder(symbol=SYMBOL, side=side.closing, kind=OrderKind.MARKET, quantity=E8(3 * BTC), client_id="flip")
        scene.exchange.submit(scene.account, order)
        first, second = scene.meter.ledger()
        assert first.closed_ms == START and first.side is side
        assert second.side is not side and second.closed_ms is None and not second.covered


def test_a_market_order_of_the_desk_before_the_first_cover_is_a_trade_of_adoption(scene: Scene) -> None:
    scene.market("manual", 2 * BTC)
    scene.market("q1close", closing=True)
    line = scene.line()
    assert (line.trades_before_cover, line.market_closes) == (1, 1)
    assert "adoption traded nothing" in scene.broken()
    scene.stop("q1a", -200)
    scene.market("q1close2", closing=True)
    line = scene.line()
    assert (line.trades_before_cover, line.market_closes) == (1, 2), "a close later on is counted, but is no trade of adoption"


def test_the_loss_if_all_stops_fill_now(scene: Scene) -> None:
    scene.market("manual", 2 * BTC)
    scene.stop("q1floor", -400, None)
    assert scene.line().standing.level == scene.level(-400) * TICK
    scene.stop("q1a", -200, BTC)
    entry = scene.exchange.positions(scene.account)[0].entry
    expected = sum(scene.side.sign * (entry - scene.level(bps) * TICK) * BTC for bps in (-200, -400))
    assert scene.line().standing.loss == pytest.approx(expected / ONE, abs=1)
    scene.price(500)
    scene.stop("q1b", 300, 2 * BTC)
    loss = scene.line().standing.loss
    assert loss is not None and loss < 0, "profit that is locked in is a negative loss"


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize("floor", (False, True))
def test_a_stop_that_fills_in_part_leaves_the_rest_to_the_floor(side: Side, floor: bool) -> None:
    scene = Scene(side)
    scene.market("manual")
    scene.stop("q1a", -200)
    if floor:
        scene.stop("q1floor", -400, None)
    a_quarter = scene.level(-201) * TICK * (BTC // 4) // ONE  # of the position, at the price that is to come
    scene.exchange.set_liquidity(SYMBOL, Liquidity(depth=a_quarter, level=0, recovery_ms=0))
    scene.price(-201)
    scene.wait(2)
    line = scene.line()
    assert line.standing.needed == 3 * BTC // 4
    assert (line.covered, line.gaps, line.gap_wall_ms) == ((True, 0, 0) if floor else (False, 1, 2_000))
    scene.wait(60)
    scene.price(-202)
    assert (scene.line().loosened, scene.line().market_closes) == (0, 0), "the stop did its work, it was not moved"


OPERATIONS = st.one_of(
    st.tuples(st.just("stop"), st.integers(1, 4), st.integers(-500, -100)),
    st.tuples(st.just("cancel"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("wait"), st.integers(1, 20), st.integers(1, 300)),
    st.tuples(st.just("add"), st.integers(1, 2), st.just(0)),
    st.tuples(st.just("reduce"), st.integers(1, 2), st.just(0)),
)


@given(st.sampled_from(BOTH), st.booleans(), st.lists(OPERATIONS, max_size=25))
@settings(max_examples=150)
def test_the_meter_equals_a_tally_by_hand(side: Side, hedge: bool, operations: list[tuple[str, int, int]]) -> None:
    scene = Scene(side, hedge=hedge, balance=10_000_000)
    scene.market("manual", BTC)
    held, stops, covered_once = 1, dict[str, int](), False
    naked, gap = [0, 0], [0, 0]
    for number, (verb, amount, detail) in enumerate(operations):
        if verb == "stop":
            scene.stop(f"q1-{number}", detail, amount * BTC)
            stops[f"q1-{number}"] = amount
        elif verb == "cancel" and stops:
            name = sorted(stops)[amount % len(stops)]
            scene.cancel(name)
            del stops[name]
        elif verb == "wait":
            tally = gap if covered_once else naked
            if sum(stops.values()) < held:
                tally[0] += 1000 * amount
                tally[1] += 1000 * detail
            scene.wait(amount, detail)
            scene.price(0)
        elif verb == "add":
            scene.market(f"manual{number}", amount * BTC)
            held += amount
        elif verb == "reduce" and held > amount:
            scene.market(f"manual{number}", amount * BTC, closing=True)
            held -= amount
        covered_once = covered_once or sum(stops.values()) >= held
        assert scene.line().covered is (sum(stops.values()) >= held)
    line = scene.line()
    assert [line.gap_wall_ms, line.gap_ms] == gap
    assert [line.adoption_wall_ms, line.adoption_ms] == naked
    assert len(scene.meter.ledger()) == 1


@pytest.mark.parametrize("side", BOTH)
async def test_the_story_runs_through_pump_exchange_and_meter(side: Side) -> None:
    tape = demo_tape(7, 1, start_ms=START, side=side)
    exchange = Exchange(start_ms=START)
    account = exchange.open_account("desk", balance=E8(1_000_000 * ONE))
    for symbol in tape.symbols:
        exchange.seed_bars(symbol, TriggerBy.LAST, tape.history(symbol))
    meter = Meter(exchange, prefix="q1")
    async with Pump(exchange, tape, speed=1_000_000) as pump:
        await pump.run_until(START)
        for symbol in tape.symbols:
            rules, mark = exchange.facts[symbol].instrument, exchange.book(symbol).mark
            quantity = E8(1_000 * ONE * ONE // mark // rules.lot * rules.lot)
            exchange.submit(
                account, NewOrder(symbol=symbol, side=side.opening, kind=OrderKind.MARKET, quantity=quantity, client_id=f"m{symbol}")
            )
            exchange.submit_algo(
                account,
                NewOrder(
                    symbol=symbol,
                    side=side.closing,
                    kind=OrderKind.STOP_MARKET,
                    trigger=E8(mark * (100 - 4 * side.sign) // 100 // rules.tick * rules.tick),
                    trigger_by=TriggerBy.MARK,
                    close_position=True,
                    client_id=f"q1{symbol}",
                ),
            )
        assert all(result.held for result in sweep(exchange))
        await pump.finish()
    ended = {line.key.symbol for line in meter.ledger() if line.closed_ms is not None}
    assert ended == {"ADAUSDT"}, "only the adverse one reaches a stop 4 % away"
    assert all(promise.held for promise in meter.verdict()), meter.verdict()
    assert exchange.now_ms == tape.end_ms


@pytest.mark.parametrize("side", BOTH)
def test_liquidation_breaks_a_promise(side: Side) -> None:
    scene = Scene(side, balance=500)
    scene.market("manual")
    for bps in range(-100, -1_500, -100):
        scene.price(bps)
    assert scene.line().liquidated and scene.line().closed_ms is not None
    assert "nothing was liquidated" in scene.broken()


@pytest.mark.parametrize("side", BOTH)
def test_a_meter_that_comes_later_takes_stock(side: Side) -> None:
    scene = Scene(side)
    scene.market("manual")
    scene.stop("q1a", -200)
    scene.wait(5)
    late = Meter(scene.exchange, prefix="q1", clock=lambda: scene.wall)
    line = late.ledger()[0]
    assert (line.covered, line.adoption_wall_ms, line.ours) == (True, 0, False)
    late.detach()
    scene.cancel("q1a")
    assert late.ledger()[0].gaps == 0
    assert scene.line().gaps == 1


def test_a_prefix_is_needed() -> None:
    with pytest.raises(PolicyError, match="needs the prefix"):
        Meter(Exchange(start_ms=START), prefix="")


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize("balance", (500, 100_000))
def test_the_sweep_finds_who_gets_out_before_liquidation(side: Side, balance: int) -> None:
    scene = Scene(side, balance=balance)
    scene.market("manual")
    before = scene.exchange.positions(scene.account)
    naked = sweep(scene.exchange)[0]
    assert (naked.held, naked.liquidated, naked.at is None) == (False, naked.liquidation is not None, naked.liquidation is None)
    scene.stop("q1a", -200)
    result = sweep(scene.exchange)[0]
    assert (result.held, result.liquidated, result.side) == (True, False, side)
    assert result.key == Key("desk", SYMBOL, PositionSide.BOTH)
    assert result.at is not None and abs(result.at - scene.level(-200) * TICK) <= PRICE * TICK * 12 // 10_000
    assert 0.018 < result.loss / (result.start * BTC // ONE) < 0.024
    assert scene.exchange.positions(scene.account) == before, "the exchange itself did not move"
    assert scene.line().closed_ms is None


def test_the_sweep_walks_both_sides_of_a_hedged_symbol() -> None:
    scene = Scene(Side.LONG, hedge=True)
    scene.market("long")
    scene.stop("q1long", -200)
    scene.side, scene.slot = Side.SHORT, PositionSide.SHORT
    scene.market("short")
    first, second = sweep(scene.exchange)
    assert {first.side, second.side} == {Side.LONG, Side.SHORT}
    assert {result.side: result.held for result in (first, second)} == {Side.LONG: True, Side.SHORT: False}
    assert {line.side: line.covered for line in scene.meter.ledger()} == {Side.LONG: True, Side.SHORT: False}
