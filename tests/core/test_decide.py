"""The laws of the decision: cover never falls, a stop never loosens, deciding twice changes nothing, the book is a fold."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtkit.core import arithmetic
from qtkit.core.book import Book, fold, fold_all
from qtkit.core.coverage import fault, lots_of
from qtkit.core.decide import Decision, Desk, decide
from qtkit.core.desired import Traits
from qtkit.core.events import EpisodeClosed, IntentMade, LegResolved, LegSeen, LegStatus, OutcomeSeen, Ratcheted
from qtkit.core.ids import client_order_id
from qtkit.core.model import (
    E8,
    ONE,
    Bps,
    Cancel,
    Instrument,
    Key,
    Lookup,
    Lots,
    Order,
    OrderKind,
    OrderSide,
    OrderStatus,
    Place,
    Position,
    PositionSide,
    Scope,
    Side,
    Snapshot,
    Ticks,
)
from qtkit.core.plan import ExitPlan, Stage, Target, Trail

SYMBOL = "TESTUSDT"
KEY = Key("paper", SYMBOL, PositionSide.BOTH)
INSTRUMENT = Instrument(
    symbol=SYMBOL,
    tick=E8(ONE // 100),
    lot=E8(ONE // 10),
    min_lots=Lots(1),
    max_lots=Lots(100_000),
    market_max_lots=Lots(400),
    min_notional=E8(5 * ONE),
    min_price=Ticks(1),
    max_price=Ticks(10_000_000),
    percent_up=Bps(10_500),
    percent_down=Bps(9_500),
)
DESK = Desk(account="paper", tag="aaaa", instruments={SYMBOL: INSTRUMENT})
SIDES = (Side.LONG, Side.SHORT)


def level(side: Side, bps: int, price: int = 10_000) -> Ticks:
    """A price ``bps`` in the position's favour from 100.00."""
    return Ticks(arithmetic.target_level(side.sign, price * INSTRUMENT.tick, bps, INSTRUMENT.tick))


def plan(side: Side, *, key: Key = KEY, lots: int = 100, adopted: bool = True, start: int = 10_000) -> ExitPlan:
    return ExitPlan(
        uid="u" + side.name.lower(),
        key=key,
        side=side,
        episode=1,
        revision=1,
        strategy_id="scaled_tp",
        entry=E8(10_000 * INSTRUMENT.tick),
        lots=Lots(lots),
        tick=INSTRUMENT.tick,
        lot=INSTRUMENT.lot,
        stop=level(side, -250),
        floor=level(side, -450),
        break_even=level(side, 10),
        targets=(Target(price=level(side, 150), share=Bps(2_500)), Target(price=level(side, 300), share=Bps(2_500))),
        trail=Trail(activation=level(side, 500), callback=Bps(100), share=Bps(5_000)),
        stages=(Stage(at=level(side, 150), to=level(side, 10)), Stage(at=level(side, 300), to=level(side, 150))),
        start=Ticks(start),
        adopted=adopted,
        created_ms=0,
    )


def position(side: Side, lots: int = 100, *, mark: int = 10_000, liquidation_bps: int | None = -2_000) -> Position:
    liquidation = None if liquidation_bps is None else E8(level(side, liquidation_bps) * INSTRUMENT.tick)
    return Position(
        symbol=SYMBOL,
        position_side=PositionSide.BOTH,
        side=side,
        lots=Lots(lots),
        entry=E8(10_000 * INSTRUMENT.tick),
        mark=E8(mark * INSTRUMENT.tick + 7),
        liquidation=liquidation,
    )


def planner(key: Key, held: Position) -> ExitPlan:
    return plan(held.side, key=key, lots=held.lots)


def snapshot(at_ms: int, positions: tuple[Position, ...], orders: tuple[Order, ...] = (), *, stable: bool = True) -> Snapshot:
    return Snapshot(account="paper", symbol=SYMBOL, at_ms=at_ms, positions=positions, orders=orders, stable=stable, time_ms=at_ms)


def book_of(decision: Decision, at_ms: int, *, ack: bool = True) -> Book:
    """The book after the actions were sent and acknowledged."""
    book = decision.book
    for action in decision.actions:
        if isinstance(action, Place):
            book = fold(
                book, IntentMade(key=action.key, leg=action.leg, revision=action.revision, order=action.order, at_ms=at_ms, reason="")
            )
            if ack:
                outcome = OutcomeSeen(key=action.key, leg=action.leg, client_id=action.order.client_id, status=LegStatus.ACKED, at_ms=at_ms)
                book = fold(book, outcome)
    return book


def resting(orders: tuple[Order, ...], decision: Decision) -> tuple[Order, ...]:
    """The orders on the exchange after the actions."""
    held = list(orders)
    for action in decision.actions:
        if isinstance(action, Place) and action.order.kind.conditional:
            held.append(action.order)
        elif isinstance(action, Cancel):
            held = [order for order in held if order.client_id != action.order.client_id]
    return tuple(held)


def settle(held: Position, *, desk: Desk = DESK, book: Book | None = None, orders: tuple[Order, ...] = (), passes: int = 4):
    """Run passes until nothing is to be done; gives the book, the orders and the last decision."""
    book = book or Book()
    at_ms = 0
    for _ in range(passes):
        at_ms += 2_000
        decision = decide(book, [snapshot(at_ms, (held,), orders)], desk, at_ms, planner)
        book, orders = book_of(decision, at_ms), resting(orders, decision)
    return book, orders, decision


@pytest.mark.parametrize("side", SIDES)
def test_a_stranger_s_position_gets_floor_stop_and_targets_in_one_pass(side: Side) -> None:
    first = decide(Book(), [snapshot(0, (position(side),))], DESK, 0, planner)
    assert [action.leg for action in first.actions if isinstance(action, Place)] == ["f0", "s0", "t1", "t2"]
    assert all(
        a.order.side is side.closing and (a.order.reduce_only or a.order.close_position) for a in first.actions if isinstance(a, Place)
    )
    assert first.coverage[0].gap == 100
    second = decide(book_of(first, 0), [snapshot(2_000, (position(side),), resting((), first))], DESK, 2_000, planner)
    assert second.actions == () and second.coverage[0].protected and second.coverage[0].stop == level(side, -250)


@pytest.mark.parametrize("side", SIDES)
def test_a_position_over_the_market_maximum_gets_a_split_stop(side: Side) -> None:
    _, orders, last = settle(position(side, lots=1_000))
    assert sorted(o.lots for o in orders if o.kind is OrderKind.STOP_MARKET) == [0, 200, 400, 400]
    assert last.coverage[0].protected


@pytest.mark.parametrize("side", SIDES)
def test_a_trail_step_places_the_new_stop_and_cancels_the_old_only_when_the_new_is_read_back(side: Side) -> None:
    book, orders, _ = settle(position(side))
    tighter = replace(book.episodes[KEY].trail, stop=level(side, 10))
    book = fold(book, Ratcheted(key=KEY, trail=tighter, reason="stage"))
    held = position(side, mark=int(level(side, 200)))
    first = decide(book, [snapshot(20_000, (held,), orders)], DESK, 20_000, planner)
    assert [type(a) for a in first.actions] == [Place] and first.actions[0].order.trigger == level(side, 10)
    book, both = book_of(first, 20_000), resting(orders, first)
    second = decide(book, [snapshot(22_000, (held,), both)], DESK, 22_000, planner)
    assert [type(a) for a in second.actions] == [Cancel] and second.actions[0].order.trigger == level(side, -250)


@pytest.mark.parametrize("side", SIDES)
def test_an_acknowledged_order_that_no_list_shows_is_repeated_under_the_same_id_after_the_grace(side: Side) -> None:
    first = decide(Book(), [snapshot(0, (position(side),))], DESK, 0, planner)
    ids = {a.leg: a.order.client_id for a in first.actions if isinstance(a, Place)}
    book = book_of(first, 0)
    assert decide(book, [snapshot(2_000, (position(side),))], DESK, 2_000, planner).actions == ()
    late = decide(book, [snapshot(12_000, (position(side),))], DESK, 12_000, planner)
    assert {a.leg: a.order.client_id for a in late.actions if isinstance(a, Place)} == ids
    assert late.coverage[0].gap == 100


@pytest.mark.parametrize("side", SIDES)
def test_an_unknown_outcome_is_repeated_at_once_under_the_same_id(side: Side) -> None:
    first = decide(Book(), [snapshot(0, (position(side),))], DESK, 0, planner)
    again = decide(book_of(first, 0, ack=False), [snapshot(2_000, (position(side),))], DESK, 2_000, planner)
    assert [a.order.client_id for a in again.actions] == [a.order.client_id for a in first.actions]


@pytest.mark.parametrize("side", SIDES)
def test_a_stop_cancelled_by_hand_comes_back_under_a_new_revision(side: Side) -> None:
    book, orders, _ = settle(position(side))
    stop = next(o for o in orders if o.kind is OrderKind.STOP_MARKET and not o.close_position)
    decision = decide(book, [snapshot(20_000, (position(side),), tuple(o for o in orders if o != stop))], DESK, 20_000, planner)
    placed = [a for a in decision.actions if isinstance(a, Place)]
    assert [(a.leg, a.revision) for a in placed] == [("s0", 2)] and placed[0].order.client_id != stop.client_id
    assert [a.leg for a in decision.actions if isinstance(a, Lookup)] == ["s0"]


@pytest.mark.parametrize("side", SIDES)
def test_flat_is_believed_on_the_second_reading_and_own_orders_go(side: Side) -> None:
    book, orders, _ = settle(position(side))
    first = decide(book, [snapshot(20_000, (), orders)], DESK, 20_000, planner)
    assert not any(isinstance(a, Cancel) for a in first.actions)
    again = decide(first.book, [snapshot(22_000, (position(side),), orders)], DESK, 22_000, planner)
    assert again.book.episodes[KEY].flat_since_ms is None and again.actions == ()
    second = decide(first.book, [snapshot(24_000, (), orders)], DESK, 24_000, planner)
    assert {a.order.client_id for a in second.actions if isinstance(a, Cancel)} == {o.client_id for o in orders}
    assert KEY not in second.book.episodes


@pytest.mark.parametrize("flaw", ["stable", "current"])
@pytest.mark.parametrize("side", SIDES)
def test_nothing_is_cancelled_on_an_unstable_reading_or_an_old_one(side: Side, flaw: str) -> None:
    book, orders, _ = settle(position(side, lots=100))
    seen = snapshot(20_000, (position(side, lots=60),), orders)
    assert any(isinstance(a, Cancel) for a in decide(book, [seen], DESK, 20_000, planner).actions)
    decision = decide(book, [replace(seen, **{flaw: False})], DESK, 20_000, planner)
    assert not any(isinstance(a, Cancel) for a in decision.actions)


@pytest.mark.parametrize("side", SIDES)
def test_a_foreign_close_position_stop_leaves_a_quantity_stop_alone(side: Side) -> None:
    foreign = Order(
        symbol=SYMBOL,
        client_id="x-cvBPrNm9abc",
        kind=OrderKind.STOP_MARKET,
        side=side.closing,
        position_side=PositionSide.BOTH,
        lots=Lots(0),
        trigger=level(side, -800),
        close_position=True,
    )
    _, orders, last = settle(position(side), orders=(foreign,))
    assert foreign in orders and not any(o.close_position and o != foreign for o in orders)
    assert last.coverage[0].protected and last.coverage[0].foreign == 100


@pytest.mark.parametrize("side", SIDES)
def test_watch_sends_nothing_and_another_desk_s_tag_stops_writes(side: Side) -> None:
    watch = decide(Book(), [snapshot(0, (position(side),))], replace(DESK, scope=Scope.WATCH), 0, planner)
    assert watch.actions == () and watch.coverage[0].gap == 100
    other = Order(
        symbol=SYMBOL,
        client_id=client_order_id("bbbb", "u", "s0", 1),
        kind=OrderKind.STOP_MARKET,
        side=side.closing,
        position_side=PositionSide.BOTH,
        lots=Lots(100),
        trigger=level(side, -300),
        reduce_only=True,
    )
    blocked = decide(Book(), [snapshot(0, (position(side),), (other,))], DESK, 0, planner)
    assert blocked.actions == () and "another desk" in blocked.alarms[0]


@pytest.mark.parametrize("side", SIDES)
def test_guard_places_floor_and_stop_only(side: Side) -> None:
    decision = decide(Book(), [snapshot(0, (position(side),))], replace(DESK, scope=Scope.GUARD), 0, planner)
    assert [a.leg for a in decision.actions] == ["f0", "s0"]


@pytest.mark.parametrize("side", SIDES)
def test_a_flip_ends_the_episode_and_covers_the_new_side(side: Side) -> None:
    book, orders, _ = settle(position(side))
    other = Side(-side.value)
    decision = decide(book, [snapshot(20_000, (position(other),), orders)], DESK, 20_000, planner)
    assert decision.book.episodes[KEY].side is other
    assert [a.leg for a in decision.actions if isinstance(a, Place)][:2] == ["f0", "s0"]
    assert {a.order.client_id for a in decision.actions if isinstance(a, Cancel)} == {o.client_id for o in orders}


@pytest.mark.parametrize("side", SIDES)
def test_a_price_through_the_planned_stop_closes_a_covered_position_whose_stop_does_not_rest_there(side: Side) -> None:
    book, orders, _ = settle(position(side))
    book = fold(book, Ratcheted(key=KEY, trail=replace(book.episodes[KEY].trail, stop=level(side, 400)), reason="bar"))
    decision = decide(book, [snapshot(20_000, (position(side, mark=int(level(side, 390))),), orders)], DESK, 20_000, planner)
    closes = [a for a in decision.actions if isinstance(a, Place) and a.leg == "x0"]
    assert len(closes) == 1 and closes[0].order.kind is OrderKind.MARKET and closes[0].order.reduce_only and closes[0].order.lots == 100
    assert not any(isinstance(a, Cancel) for a in decision.actions)


@pytest.mark.parametrize("side", SIDES)
def test_a_stop_that_a_later_price_moved_is_not_held_against_an_older_mark(side: Side) -> None:
    book, orders, _ = settle(position(side))
    moved = replace(book.episodes[KEY].trail, stop=level(side, 400), best=level(side, 500), at_ms=20_001)
    book = fold(book, Ratcheted(key=KEY, trail=moved, reason="bar"))
    held = position(side, mark=int(level(side, 390)))  # read before the price went to +5 %
    early = decide(book, [snapshot(20_000, (held,), orders)], DESK, 20_050, planner)
    stops = [a.order for a in early.actions if isinstance(a, Place)]
    assert [(stop.kind, stop.trigger) for stop in stops] == [(OrderKind.STOP_MARKET, level(side, 400))] and early.alarms == ()
    late = decide(book, [snapshot(20_001, (held,), orders)], DESK, 20_050, planner)
    assert any(a.leg == "x0" for a in late.actions if isinstance(a, Place))


@pytest.mark.parametrize("side", SIDES)
def test_adoption_closes_nothing_even_when_the_price_runs_through_the_stop_at_once(side: Side) -> None:
    decision = decide(Book(), [snapshot(0, (position(side, mark=int(level(side, -300))),))], DESK, 0, planner)
    assert all(a.order.kind is not OrderKind.MARKET for a in decision.actions if isinstance(a, Place))
    assert any(a.leg == "s0" for a in decision.actions if isinstance(a, Place))


@pytest.mark.parametrize("side", SIDES)
def test_reserving_exchange_is_bridged_by_the_floor(side: Side) -> None:
    desk = replace(DESK, traits=Traits(conditional_reserves=True))
    book, orders, _ = settle(position(side), desk=desk)
    assert sorted(o.lots for o in orders) == [0, 100]
    book = fold(book, Ratcheted(key=KEY, trail=replace(book.episodes[KEY].trail, stop=level(side, 10)), reason="stage"))
    held = position(side, mark=int(level(side, 200)))
    decision = decide(book, [snapshot(20_000, (held,), orders)], desk, 20_000, planner)
    assert [type(a) for a in decision.actions] == [Cancel, Place] and decision.actions[1].order.trigger == level(side, 10)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("code", [-2021, -4142])
@pytest.mark.parametrize("covered_before", (True, False))
def test_a_target_that_the_price_has_reached_is_taken_but_not_by_adoption(side: Side, covered_before: bool, code: int) -> None:
    book, orders, _ = settle(position(side)) if covered_before else (Book(), (), None)
    orders = tuple(o for o in orders if o.trigger != level(side, 150))
    at_ms = 20_000
    for _ in range(2 if covered_before else 1):
        decision = decide(book, [snapshot(at_ms, (position(side),), orders)], DESK, at_ms, planner)
        book, at_ms = decision.book, at_ms + 2_000
        for action in decision.actions:  # the lookup says: it was cancelled by hand
            if isinstance(action, Lookup):
                gone = LegResolved(
                    key=KEY, leg=action.leg, client_id=action.client_id, status=OrderStatus.CANCELED, filled=Lots(0), at_ms=at_ms
                )
                book = fold(book, gone)
    placed = next(a for a in decision.actions if isinstance(a, Place) and a.leg == "t1")
    refused = replace(decision, actions=(placed,))
    book = fold(
        book_of(replace(refused, book=book), at_ms),
        OutcomeSeen(
            key=KEY,
            leg="t1",
            client_id=placed.order.client_id,
            status=LegStatus.REFUSED,
            at_ms=at_ms,
            code=code,
        ),
    )
    after = decide(book, [snapshot(at_ms + 2_000, (position(side),), orders)], DESK, at_ms + 2_000, planner)
    again = next(a for a in after.actions if isinstance(a, Place) and a.leg == "t1")
    assert again.order.kind is (OrderKind.MARKET if covered_before else OrderKind.TAKE_PROFIT_MARKET)
    assert again.order.lots == 25
    sent = book_of(replace(after, actions=(again,)), at_ms + 2_000, ack=False)
    unknown = decide(sent, [snapshot(at_ms + 4_000, (position(side),), orders)], DESK, at_ms + 4_000, planner)
    repeated = [a for a in unknown.actions if isinstance(a, Place) and a.leg == "t1"]
    assert (not repeated and any(isinstance(a, Lookup) for a in unknown.actions)) if covered_before else len(repeated) == 1


orders_strategy = st.lists(
    st.tuples(st.sampled_from(["s0", "s1", "f0", "t1"]), st.integers(1, 5), st.integers(-700, 400), st.integers(1, 150)), max_size=6
)


def own_orders(side: Side, drawn: list[tuple[str, int, int, int]]) -> tuple[Order, ...]:
    orders = {}
    for leg, revision, bps, lots in drawn:
        client_id = client_order_id("aaaa", "u" + side.name.lower(), leg, revision)
        orders[client_id] = Order(
            symbol=SYMBOL,
            client_id=client_id,
            kind=OrderKind.TAKE_PROFIT_MARKET if leg == "t1" else OrderKind.STOP_MARKET,
            side=side.closing,
            position_side=PositionSide.BOTH,
            lots=Lots(0 if leg == "f0" else lots),
            trigger=level(side, bps),
            reduce_only=leg != "f0",
            close_position=leg == "f0",
        )
    return tuple(orders.values())


def cover_at(side: Side, held: Position, orders: tuple[Order, ...], at: Ticks, floor: Ticks) -> int:
    good = (o for o in orders if o.trigger is not None and fault(o, held, INSTRUMENT, floor) is None)
    return sum(lots_of(o, held) for o in good if arithmetic.reached(side.sign, o.trigger or 0, at))


@settings(max_examples=300, deadline=None)
@given(
    side=st.sampled_from(SIDES),
    lots=st.integers(1, 900),
    mark=st.integers(-600, 600),
    drawn=orders_strategy,
    reserves=st.booleans(),
    stable=st.booleans(),
)
def test_cover_never_falls_in_any_prefix_of_the_actions(side, lots, mark, drawn, reserves, stable) -> None:
    held = position(side, lots=lots, mark=int(level(side, mark)))
    orders = own_orders(side, drawn)
    desk = replace(DESK, traits=Traits(conditional_reserves=reserves))
    decision = decide(Book(), [snapshot(0, (held,), orders, stable=stable)], desk, 0, planner)
    floor = decision.book.episodes[KEY].plan.floor
    levels = [floor] if reserves else sorted({o.trigger for o in orders} | {floor})
    for count in range(len(decision.actions) + 1):
        prefix = resting(orders, replace(decision, actions=decision.actions[:count]))
        for at in levels:
            before = cover_at(side, held, orders, at, floor)
            assert cover_at(side, held, prefix, at, floor) >= min(before, lots)


@settings(max_examples=200, deadline=None)
@given(side=st.sampled_from(SIDES), lots=st.integers(1, 900), mark=st.integers(-200, 400), drawn=orders_strategy, reserves=st.booleans())
def test_passes_settle_and_deciding_again_changes_nothing(side, lots, mark, drawn, reserves) -> None:
    held = position(side, lots=lots, mark=int(level(side, mark)))
    desk = replace(DESK, traits=Traits(conditional_reserves=reserves))
    orders = tuple(
        o
        for o in own_orders(side, drawn)
        if not arithmetic.stop_hit_e8(side.sign, held.mark, o.trigger, INSTRUMENT.tick) or o.kind is OrderKind.TAKE_PROFIT_MARKET
    )
    _, orders, last = settle(held, desk=desk, orders=orders, passes=8)
    assert last.actions == () or all(isinstance(a, Lookup) for a in last.actions)
    assert last.coverage[0].protected
    floors = [o for o in orders if o.close_position]
    assert len(floors) == 1


@settings(max_examples=200, deadline=None)
@given(
    side=st.sampled_from(SIDES),
    marks=st.lists(st.integers(-400, 800), min_size=1, max_size=12),
    lots=st.lists(st.integers(1, 200), min_size=12, max_size=12),
)
def test_the_stop_never_loosens_while_price_and_size_wander(side, marks, lots) -> None:
    book, orders, at_ms, best = Book(), (), 0, None
    for mark, size in zip(marks, lots, strict=False):
        at_ms += 2_000
        held = position(side, lots=size, mark=int(level(side, mark)))
        live = tuple(
            o
            for o in orders
            if not arithmetic.stop_hit_e8(side.sign, held.mark, o.trigger, INSTRUMENT.tick) or o.kind is OrderKind.TAKE_PROFIT_MARKET
        )
        if len(live) < len(orders):
            break
        decision = decide(book, [snapshot(at_ms, (held,), orders)], DESK, at_ms, planner)
        stop = decision.book.episodes[KEY].trail.stop
        assert best is None or arithmetic.reached(side.sign, stop, best)
        best = stop
        book, orders = book_of(decision, at_ms), resting(orders, decision)


@settings(max_examples=150, deadline=None)
@given(side=st.sampled_from(SIDES), lots=st.integers(1, 900), drawn=orders_strategy)
def test_the_book_is_the_fold_of_the_events(side, lots, drawn) -> None:
    decision = decide(Book(), [snapshot(0, (position(side, lots=lots),), own_orders(side, drawn))], DESK, 0, planner)
    book = Book()
    for event in decision.events:
        book = fold(book, event)
    assert book == decision.book


def test_long_mirrors_short() -> None:
    long, short = (decide(Book(), [snapshot(0, (position(side),))], DESK, 0, planner).actions for side in SIDES)
    assert [(a.leg, a.order.lots, a.order.kind) for a in long] == [(a.leg, a.order.lots, a.order.kind) for a in short]
    assert {a.order.side for a in long} == {OrderSide.SELL} and {a.order.side for a in short} == {OrderSide.BUY}


def test_a_seen_order_is_not_seen_twice() -> None:
    _, _, last = settle(position(Side.LONG))
    assert not any(isinstance(event, LegSeen) for event in last.events)


def test_both_slots_of_a_symbol_are_covered() -> None:
    held = tuple(replace(position(side), position_side=PositionSide[side.name]) for side in SIDES)
    book, orders = Book(), ()
    for at_ms in (0, 2_000):
        decision = decide(book, [snapshot(at_ms, held, orders)], DESK, at_ms, planner)
        assert not decision.alarms
        book, orders = book_of(decision, at_ms), resting(orders, decision)
    assert [(line.key.position_side, line.gap) for line in decision.coverage] == [(PositionSide.LONG, 0), (PositionSide.SHORT, 0)]


@pytest.mark.parametrize("side", SIDES)
def test_many_events_folded_at_once_are_folded_one_by_one(side: Side) -> None:
    decision = decide(Book(), [snapshot(0, (position(side),))], DESK, 0, planner)
    events = [
        *decision.events,
        *(
            IntentMade(key=a.key, leg=a.leg, revision=a.revision, order=a.order, at_ms=0, reason="")
            for a in decision.actions
            if isinstance(a, Place)
        ),
        Ratcheted(key=replace(KEY, symbol="GONE"), trail=decision.book.episodes[KEY].trail, reason="late news"),
    ]
    book = Book()
    for event in events:
        book = fold(book, event)
    assert fold_all(Book(), events) == book


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("floor", [True, False], ids=["floor rests", "no floor rests"])
def test_a_floor_that_rests_says_that_the_position_was_never_flat(side: Side, floor: bool) -> None:
    """As much as before at another entry: reduced and added to, or closed and opened again. With the latter its floor expires."""
    book, orders, _ = settle(position(side))
    held = replace(position(side), entry=E8(position(side).entry * 101 // 100))
    left = tuple(order for order in orders if floor or not order.close_position)
    decision = decide(book, [snapshot(20_000, (held,), left)], DESK, 20_000, planner)
    assert any(isinstance(event, EpisodeClosed) for event in decision.events) is not floor
    assert decision.book.episodes[KEY].entry == held.entry
