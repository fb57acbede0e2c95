"""The watch that looks only at what a price can change gives what folding every price into every position gives, and never loosens."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtkit.core import arithmetic
from qtkit.core.book import Episode
from qtkit.core.distance import InAtr
from qtkit.core.model import E8, ONE, Bps, Key, Lots, PositionSide, Side, Ticks
from qtkit.core.plan import ExitPlan, Stage, Tightening, Trail
from qtkit.core.trail import TrailState, begin, fold
from qtkit.core.watch import PriceWatch

TICK = ONE // 100
START = 10_000
SIDES = (Side.LONG, Side.SHORT)
SYMBOLS = ("AUSDT", "BUSDT")


def level(side: Side, bps: int) -> Ticks:
    return Ticks(arithmetic.target_level(side.sign, START * TICK, bps, TICK))


def plan(side: Side, key: Key, *, trail: Trail | None, stages: tuple[Stage, ...] = (), after: int | None = None) -> ExitPlan:
    return ExitPlan(
        uid=str(key), key=key, side=side, episode=1, revision=1, strategy_id="t", entry=E8(START * TICK), lots=Lots(100), tick=E8(TICK),
        lot=E8(ONE), stop=level(side, -250), floor=level(side, -450), break_even=level(side, 11), trail=trail, stages=stages,
        break_even_after=after, start=Ticks(START), created_ms=0,
    )  # fmt: skip


def episode(made: ExitPlan, *, done: int = 0, trail: TrailState | None = None) -> Episode:
    return Episode(
        key=made.key, side=made.side, number=1, plan=made, trail=trail or begin(made), opened=True, own=False, since_ms=0, targets_done=done
    )


@st.composite
def plans(draw: st.DrawFn, number: int) -> Episode:
    """A position with any mixture of stages, trail, curve and break-even; each on an account of its own, so that many share a symbol."""
    side = draw(st.sampled_from(SIDES))
    key = Key(f"a{number}", draw(st.sampled_from(SYMBOLS)), draw(st.sampled_from(PositionSide)))
    ats = sorted(draw(st.lists(st.integers(20, 900), max_size=3, unique=True)))
    stages = tuple(Stage(at=level(side, at), to=level(side, at // 2)) for at in ats)
    callback = draw(st.integers(15, 400))
    curve = sorted(draw(st.lists(st.tuples(st.integers(50, 1_200), st.integers(10, callback)), max_size=3)))
    trail = Trail(
        activation=level(side, draw(st.integers(0, 700))), callback=Bps(callback), share=Bps(5_000),
        min_step=Bps(draw(st.sampled_from((0, 1, 10, 40)))),
        tightening=tuple(Tightening(at=level(side, at), callback=Bps(c)) for at, c in curve),
        moves=draw(st.sampled_from((None, InAtr(3_000)))),
    )  # fmt: skip
    made = plan(side, key, trail=trail if draw(st.booleans()) else None, stages=stages, after=draw(st.sampled_from((None, 1, 2))))
    return episode(made, done=draw(st.integers(0, 2)))


@st.composite
def markets(draw: st.DrawFn) -> tuple[list[Episode], list[tuple[str, int]]]:
    held = [draw(plans(number)) for number in range(draw(st.integers(1, 12)))]
    prices, at = [], dict.fromkeys(SYMBOLS, START * TICK)
    for symbol, move in draw(st.lists(st.tuples(st.sampled_from(SYMBOLS), st.integers(-150, 150)), max_size=80)):
        at[symbol] = max(TICK, at[symbol] + at[symbol] * move // 10_000 + draw(st.integers(-TICK, TICK)))
        prices.append((symbol, at[symbol]))
    return held, prices


def folded(one: Episode, state: TrailState, price: int, at_ms: int) -> TrailState:
    """The specification: every price into every position."""
    extreme = Ticks(arithmetic.favourable_ticks(one.side.sign, price, one.plan.tick))
    return fold(one.plan, state, extreme, at_ms, targets_done=one.targets_done)


@settings(max_examples=200)
@given(market=markets())
def test_the_watch_equals_folding_every_price_into_every_position(market: tuple[list[Episode], list[tuple[str, int]]]) -> None:
    held, prices = market
    watch = PriceWatch()
    watch.follow(held)
    states = {one.key: one.trail for one in held}
    for at_ms, (symbol, price) in enumerate(prices):
        expected = set()
        for one in held:
            if one.key.symbol == symbol:
                after = folded(one, states[one.key], price, at_ms)
                assert arithmetic.reached(one.side.sign, after.stop, states[one.key].stop)
                if after.stop != states[one.key].stop:
                    expected.add(one.key)
                states[one.key] = after
        moves = watch.on_price(symbol, price)
        assert set(moves) == expected and len(moves) == len(expected)
        for one in held:
            seen, true = watch.state(one.key), states[one.key]
            assert seen is not None and (seen.stop, seen.stage) == (true.stop, true.stage)
            if one.plan.trail is not None and one.plan.trail.moves is not None:
                assert seen.best == true.best, "a narrower callback will be measured from it"


@settings(max_examples=100)
@given(market=markets(), passes=st.sets(st.integers(0, 79)))
def test_a_pass_between_prices_changes_nothing_and_loosens_nothing(
    market: tuple[list[Episode], list[tuple[str, int]]], passes: set[int]
) -> None:
    """A pass hands in the book again, which may know of the last moves or not yet."""
    held, prices = market
    watch, again = PriceWatch(), PriceWatch()
    watch.follow(held)
    again.follow(held)
    for at_ms, (symbol, price) in enumerate(prices):
        if at_ms in passes:
            known = [replace(one, trail=again.state(one.key) or one.trail) if at_ms % 2 else one for one in held]
            again.follow(known)
        assert set(watch.on_price(symbol, price)) == set(again.on_price(symbol, price))
        assert all((a := watch.state(one.key)) is not None and (b := again.state(one.key)) is not None and a.stop == b.stop for one in held)


@pytest.mark.parametrize("side", SIDES)
def test_a_price_off_the_tick_reaches_no_level_before_it_is_there(side: Side) -> None:
    made = plan(side, Key("a", "AUSDT", PositionSide.BOTH), trail=None, stages=(Stage(at=level(side, 150), to=level(side, 10)),))
    watch = PriceWatch()
    watch.follow([episode(made)])
    at = level(side, 150) * TICK
    assert watch.on_price("AUSDT", at - side.sign) == ()
    assert watch.on_price("AUSDT", at) == [made.key]


@pytest.mark.parametrize("side", SIDES)
def test_after_its_target_any_price_brings_the_stop_to_break_even(side: Side) -> None:
    made = plan(side, Key("a", "AUSDT", PositionSide.BOTH), trail=None, after=1)
    watch = PriceWatch()
    watch.follow([episode(made)])
    assert watch.on_price("AUSDT", START * TICK) == ()
    watch.follow([episode(made, done=1)])
    assert watch.on_price("AUSDT", level(side, 20) * TICK) == [made.key]
    state = watch.state(made.key)
    assert state is not None and state.stop == made.break_even
    assert watch.on_price("AUSDT", level(side, 30) * TICK) == ()


@pytest.mark.parametrize("side", SIDES)
def test_another_plan_begins_anew_and_what_is_gone_is_not_watched(side: Side) -> None:
    key = Key("a", "AUSDT", PositionSide.BOTH)
    first = plan(side, key, trail=None, stages=(Stage(at=level(side, 150), to=level(side, 10)),))
    watch = PriceWatch()
    watch.follow([episode(first)])
    watch.on_price("AUSDT", level(side, 160) * TICK)
    second = replace(first, revision=2)
    watch.follow([episode(second)])
    state = watch.state(key)
    assert state is not None and state.stop == second.stop
    watch.follow([])
    assert watch.state(key) is None and watch.on_price("AUSDT", level(side, 200) * TICK) == ()
