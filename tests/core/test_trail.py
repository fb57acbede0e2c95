"""The trail's fold when prices are caught up: what was missed may tighten the stop, and never sells, now or with the next bar."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtkit.core import arithmetic
from qtkit.core.book import Book, fold_all
from qtkit.core.distance import InAtr
from qtkit.core.events import EpisodeOpened, Event, Ratcheted
from qtkit.core.model import E8, ONE, Bps, Key, Lots, PositionSide, Side, Ticks
from qtkit.core.plan import ExitPlan, Stage, Tightening, Trail
from qtkit.core.trail import begin, fold, moved
from qtkit.store.codec import decode, encode

SIDES = pytest.mark.parametrize("side", list(Side), ids=lambda side: side.name.lower())


def plan(side: Side, *, trail: Trail | None = None, stages: tuple[Stage, ...] = ()) -> ExitPlan:
    """Entry at 1,000 ticks, stop 50 behind it."""
    sign = side.sign
    return ExitPlan(
        uid="a" * 16, key=Key("paper", "SOLUSDT", PositionSide.BOTH), side=side, episode=1, revision=0, strategy_id="x", entry=E8(10 * ONE),
        lots=Lots(5), tick=E8(ONE // 100), lot=E8(ONE), stop=Ticks(1_000 - sign * 50), floor=Ticks(1_000 - sign * 80),
        break_even=Ticks(1_000 + sign), trail=trail, stages=stages, start=Ticks(1_000), created_ms=0,
    )  # fmt: skip


@SIDES
def test_a_trail_level_missed_in_an_outage_sells_neither_now_nor_with_the_next_bar(side: Side) -> None:
    sign = side.sign
    made = plan(side, trail=Trail(activation=Ticks(1_000 + sign * 20), callback=Bps(150), share=Bps(10_000)))
    price = Ticks(1_000 + sign * 10)
    caught_up = fold(made, begin(made), Ticks(1_000 + sign * 100), 60_000, price=price)
    assert caught_up.armed and caught_up.stop == arithmetic.trail_level(sign, price, 150)
    after = fold(made, caught_up, Ticks(price + sign * 2), 120_000)
    assert not arithmetic.stop_hit(sign, price, after.stop)
    assert arithmetic.tighter(sign, after.stop, caught_up.stop) == after.stop


@SIDES
def test_a_stage_missed_in_an_outage_waits_until_its_price_comes_again(side: Side) -> None:
    sign = side.sign
    made = plan(side, stages=(Stage(at=Ticks(1_000 + sign * 15), to=Ticks(1_000 + sign)),))
    price = Ticks(1_000 - sign * 5)
    missed = fold(made, begin(made), Ticks(1_000 + sign * 20), 60_000, price=price)
    assert (missed.stop, missed.stage) == (made.stop, 0)
    quiet = fold(made, missed, Ticks(1_000), 120_000)
    assert quiet.stop == made.stop
    assert fold(made, quiet, Ticks(1_000 + sign * 15), 180_000).stop == 1_000 + sign


@SIDES
def test_what_was_caught_up_and_not_passed_counts_as_if_it_had_been_seen(side: Side) -> None:
    sign = side.sign
    made = plan(side, trail=Trail(activation=Ticks(1_000 + sign * 20), callback=Bps(150), share=Bps(10_000)))
    extreme = Ticks(1_000 + sign * 100)
    seen, caught_up = fold(made, begin(made), extreme, 60_000), fold(made, begin(made), extreme, 60_000, price=Ticks(1_000 + sign * 95))
    assert seen == caught_up


@SIDES
def test_a_narrower_callback_tightens_a_wider_one_loosens_nothing_and_one_that_came_late_does_not_sell(side: Side) -> None:
    sign = side.sign
    trail = Trail(activation=Ticks(1_000 + sign * 20), callback=Bps(500), share=Bps(10_000), min_step=Bps(0), moves=InAtr(3_000))
    made = plan(side, trail=trail)
    assert moved(made.with_callback(Bps(300)), begin(made)) == begin(made), "not armed: nothing to tighten"
    armed = fold(made, begin(made), Ticks(1_000 + sign * 100), 60_000)
    tight = moved(made.with_callback(Bps(200)), armed)
    assert tight.stop == arithmetic.trail_level(sign, armed.best, 200) and (tight.best, tight.at_ms) == (armed.best, armed.at_ms)
    assert moved(made.with_callback(Bps(450)), tight) == tight
    price = Ticks(1_000 + sign * 85)
    narrow = made.with_callback(Bps(100))
    late = moved(narrow, armed, price=price)
    assert late.stop == arithmetic.trail_level(sign, price, 100) and late.best == price
    assert moved(narrow, armed).stop == arithmetic.trail_level(sign, armed.best, 100), "on time it stands where it stands"


@settings(max_examples=300)
@given(
    steps=st.lists(st.tuples(st.sampled_from(("price", "move", "late move")), st.integers(-400, 600), st.integers(20, 900)), max_size=40),
    curve=st.booleans(),
)
def test_whatever_a_trail_that_moves_lives_through(steps: list[tuple[str, int, int]], curve: bool) -> None:
    """Its stop never loosens, a late move does not sell, moving twice changes nothing, the book is its journal, both sides arm alike."""
    seen = []
    for side in (Side.LONG, Side.SHORT):
        sign = side.sign
        step = (Tightening(at=Ticks(100_000 + sign * 300), callback=Bps(40)),) if curve else ()
        trail = Trail(
            activation=Ticks(100_000 + sign * 100),
            callback=Bps(300),
            share=Bps(10_000),
            min_step=Bps(0),
            tightening=step,
            moves=InAtr(3_000),
        )
        first = replace(
            plan(side), trail=trail, entry=E8(1_000 * ONE), start=Ticks(100_000), stop=Ticks(100_000 - sign * 900),
            floor=Ticks(100_000 - sign * 1_900), break_even=Ticks(100_000 + sign * 90),
        )  # fmt: skip
        opened = EpisodeOpened(plan=first, trail=begin(first), own=False, at_ms=0, ladder=(), lots=first.lots, entry=first.entry)
        events: list[Event] = [opened]
        made, state, price, states = first, begin(first), Ticks(100_000), []
        for what, at, callback in steps:
            if what == "price":
                price = Ticks(100_000 + sign * at)
                after, told = fold(made, state, price, 0), None
            else:
                made, told = made.with_callback(Bps(callback)), Bps(callback)
                after = moved(made, state, price=price if what == "late move" else None)
                assert moved(made, after, price=price if what == "late move" else None).stop == after.stop
                if what == "late move" and not arithmetic.stop_hit(sign, price, state.stop):
                    assert not arithmetic.stop_hit(sign, price, after.stop)
            assert arithmetic.reached(sign, after.stop, state.stop)
            state = after
            events.append(Ratcheted(key=made.key, trail=state, reason="test", callback=told))
            states.append(state.armed)
        book = fold_all(Book(), [decode(type(event), encode(type(event), event)) for event in events])
        assert (book.episodes[made.key].plan, book.episodes[made.key].trail) == (made, state)
        seen.append(states)
    assert seen[0] == seen[1]


@SIDES
def test_a_journal_from_before_callbacks_moved_is_read(side: Side) -> None:
    made = plan(side, trail=Trail(activation=Ticks(1_000 + side.sign * 20), callback=Bps(150), share=Bps(10_000)))
    opened = EpisodeOpened(plan=made, trail=begin(made), own=False, at_ms=0, ladder=(), lots=made.lots, entry=made.entry)
    old, ratchet = encode(EpisodeOpened, opened), encode(Ratcheted, Ratcheted(key=made.key, trail=begin(made), reason="price"))
    assert old["plan"]["trail"].pop("moves", 1) is None and ratchet.pop("callback", 1) is None
    assert decode(EpisodeOpened, old) == opened and decode(Ratcheted, ratchet).callback is None
