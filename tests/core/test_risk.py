"""The laws of money at risk: exact, never too little, the same for long and short, and it adds up."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core.book import SLIPS_KEPT, Book, fold
from qtkit.core.coverage import assess
from qtkit.core.events import StopFilled
from qtkit.core.model import (
    E8,
    ONE,
    Bps,
    Key,
    Lots,
    Order,
    OrderKind,
    OrderStatus,
    PolicyError,
    Position,
    PositionSide,
    Side,
    Ticks,
    TriggerBy,
)
from qtkit.core.risk import ASSUMED, LEAST, Risk, Slip, Wrong, exit_of, fill_price, risk_of, slip_of
from tests.core.planning_kit import BOTH_SIDES, e8, instrument, position

KEY = Key("paper", "ETHUSDT", PositionSide.BOTH)
RULES = instrument(tick="0.01", lot="0.001", fee=50_000)
FREE = instrument(tick="0.01", lot="0.001", fee=0)
NONE = Slip(used=Bps(0), median=Bps(0), fills=LEAST)
SOME = Slip(used=Bps(20), median=None, fills=0)
MARK = 350_000  # ticks

both_sides = pytest.mark.parametrize("side", BOTH_SIDES)
sides = st.sampled_from(BOTH_SIDES)
distances = st.integers(1, 100_000)
slips = st.integers(0, 500).map(lambda bps: Slip(used=Bps(bps), median=Bps(0), fills=LEAST))


def stop(side: Side, behind: int, /, *, lots: int = 1_000, name: str = "q1ours", **more: object) -> Order:
    """A stop of a position, ``behind`` ticks on the loss side of the mark."""
    given = {
        "symbol": "ETHUSDT", "client_id": name, "kind": OrderKind.STOP_MARKET, "side": side.closing, "position_side": PositionSide.BOTH,
        "lots": Lots(lots), "trigger": Ticks(MARK - side.sign * behind), "reduce_only": True,
    }  # fmt: skip
    return Order(**{**given, **more})  # type: ignore[arg-type]


def at(side: Side, behind: int, *, lots: int = 1_000, slip: Slip = SOME, free: bool = False, entry: str = "3500") -> tuple[int, int]:
    """From the mark and from the entry, what one whole stop loses."""
    found = exit_of(position(side, lots=lots, entry=entry), FREE if free else RULES, [stop(side, behind, lots=lots)], slip)
    assert found is not None and found.lots == lots
    return found.from_mark, found.from_entry


def no_more(these: tuple[int, int], those: tuple[int, int]) -> bool:
    """True if neither loss of the first is above that of the second."""
    return these[0] <= those[0] and these[1] <= those[1]


def judged(pos: Position, own: Sequence[Order] = (), foreign: Sequence[Order] = (), *, floor: int | None = None) -> Risk:
    """The risk of a position from its orders, as the ledger asks for it; planned on mark."""
    level = None if floor is None else Ticks(MARK - pos.side.sign * floor)
    cover = assess(KEY, pos, RULES, own, foreign, floor=level, trigger_by=TriggerBy.MARK, since_ms=None)
    return risk_of(cover, pos, RULES, (*own, *foreign), SOME, floor=level, trigger_by=TriggerBy.MARK)


def wrongs(risk: Risk) -> list[tuple[Wrong, bool]]:
    return [(row.wrong, row.foreign) for row in risk.findings]


# -- money --------------------------------------------------------------------------------------------------------------------------


@both_sides
def test_one_stop_to_the_last_digit(side: Side) -> None:
    """1 ETH, stop 100.00 away: filled 0.2 % worse, 0.05 % fee on what it fills for."""
    fill = e8("3393.2") if side is Side.LONG else e8("3607.2")
    fee = fill * 50_000 // ONE
    assert fill_price(side.sign, e8(3_500 - side.sign * 100), Bps(20), E8(1)) == fill
    assert at(side, 10_000) == (abs(e8(3_500) - fill) + fee,) * 2
    assert at(side, 10_000, slip=NONE, free=True) == (e8(100),) * 2


@both_sides
def test_kept_profit_is_below_zero_against_the_entry_and_still_at_risk_from_the_mark(side: Side) -> None:
    entry = str(3_500 - side.sign * 300)
    from_mark, from_entry = at(side, 10_000, entry=entry)
    assert from_mark > e8(100) and from_entry == from_mark - e8(300) < 0


@given(side=sides, near=distances, further=distances, slip=slips, lots=st.integers(1, 10**6))
def test_at_risk_never_falls_when_a_stop_moves_away(side: Side, near: int, further: int, slip: Slip, lots: int) -> None:
    near, far = sorted((near, further))
    assert no_more(at(side, near, lots=lots, slip=slip), at(side, far, lots=lots, slip=slip))


@given(side=sides, behind=st.lists(distances, min_size=2, max_size=4), away=distances, slip=slips, data=st.data())
def test_nor_when_one_stop_of_several_moves_away(side: Side, behind: list[int], away: int, slip: Slip, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 600), min_size=len(behind), max_size=len(behind)))
    which = data.draw(st.integers(0, len(behind) - 1))
    stops = [stop(side, ticks, lots=lots, name=str(n)) for n, (ticks, lots) in enumerate(zip(behind, sizes, strict=True))]
    moved = [*stops[:which], replace(stops[which], trigger=Ticks((stops[which].trigger or 0) - side.sign * away)), *stops[which + 1 :]]
    before, after = (exit_of(position(side), RULES, them, slip) for them in (stops, moved))
    assert before is not None and after is not None and before.lots == after.lots
    assert no_more((before.from_mark, before.from_entry), (after.from_mark, after.from_entry))


@given(behind=distances, lots=st.integers(1, 10**6), entry=st.integers(-90_000, 90_000))
def test_a_short_is_the_mirror_of_a_long(behind: int, lots: int, entry: int) -> None:
    """Without what is a share of the price (slippage, fees), which a mirror does not keep."""
    long, short = (f"{(MARK + sign * entry) / 100:.2f}" for sign in (1, -1))
    assert at(Side.LONG, behind, lots=lots, slip=NONE, free=True, entry=long) == at(
        Side.SHORT, behind, lots=lots, slip=NONE, free=True, entry=short
    )


@given(side=sides, behind=distances, beyond=st.integers(0, 90_000), lots=st.integers(1, 10**6))
def test_a_stop_beyond_the_entry_loses_nothing_against_it(side: Side, behind: int, beyond: int, lots: int) -> None:
    """The stop lies at the entry or in profit: before slippage and fee the loss is zero or negative."""
    entry = MARK - side.sign * (behind + beyond)
    assert at(side, behind, lots=lots, slip=NONE, free=True, entry=f"{entry / 100:.2f}")[1] <= 0


@given(side=sides, behind=distances, slip=slips, worse=st.integers(0, 500), lots=st.integers(1, 10**6))
def test_more_slippage_is_never_less_risk(side: Side, behind: int, slip: Slip, worse: int, lots: int) -> None:
    more = replace(slip, used=Bps(slip.used + worse))
    assert no_more(at(side, behind, lots=lots, slip=slip), at(side, behind, lots=lots, slip=more))


@given(side=sides, behind=st.lists(distances, min_size=1, max_size=5), slip=slips)
def test_stops_one_by_one_add_up_to_all_of_them_but_for_the_rounding_up(side: Side, behind: list[int], slip: Slip) -> None:
    stops = [stop(side, ticks, lots=100, name=str(ticks)) for ticks in behind]
    whole = exit_of(position(side), RULES, stops, slip)
    parts = [exit_of(position(side), RULES, [one], slip) for one in stops]
    total = sum(part.from_mark for part in parts if part is not None)
    assert whole is not None and 0 <= total - whole.from_mark < len(stops)


@both_sides
def test_the_tightest_stops_fill_first_and_what_is_too_much_fills_nothing(side: Side) -> None:
    near, far = stop(side, 5_000, lots=700, name="near"), stop(side, 20_000, name="far", lots=0, close_position=True, reduce_only=False)
    both = exit_of(position(side), FREE, [far, near], NONE)
    assert both is not None and both.from_mark == e8(50) * 7 // 10 + e8(200) * 3 // 10 and both.level == far.trigger
    assert exit_of(position(side, lots=700), FREE, [far, near], NONE).level == near.trigger  # type: ignore[union-attr]
    assert exit_of(position(side), FREE, [], NONE) is None


@both_sides
def test_a_trailing_order_has_no_known_price(side: Side) -> None:
    """It may count as cover, but what it loses is not known: nothing is said to be bounded by it."""
    trailing = stop(side, 1, kind=OrderKind.TRAILING_STOP_MARKET, trigger=None, callback=Bps(100), activated=True)
    risk = judged(position(side), [trailing])
    assert risk.findings == () and risk.own is None and risk.bounded is None


# -- slippage -----------------------------------------------------------------------------------------------------------------------


def test_slippage_is_assumed_until_enough_fills_are_known() -> None:
    few = slip_of([Bps(1)] * (LEAST - 1))
    assert (few.used, few.median, few.fills) == (ASSUMED, None, LEAST - 1)
    enough = slip_of([Bps(bps) for bps in range(1, 11)])
    assert (enough.used, enough.median, enough.fills) == (9, 6, 10)
    assert slip_of([Bps(-3)] * 20).used == 0, "luck is not counted on"
    with pytest.raises(PolicyError, match="below 100 %"):
        Slip(used=Bps(10_000), median=None, fills=0)


@given(st.lists(st.integers(-100, 20_000), min_size=LEAST, max_size=60))
def test_at_least_nine_in_ten_fills_were_no_worse_than_what_is_modelled(history: list[int]) -> None:
    slip = slip_of([Bps(bps) for bps in history])
    assert sum(bps <= max(slip.used, 0) or slip.used == 9_999 for bps in history) * 10 >= len(history) * 9
    assert sorted(history)[len(history) // 2] == slip.median


@both_sides
def test_the_book_learns_slippage_from_fills(side: Side) -> None:
    """A fill 0.1 % beyond its trigger is 10 bps, 0.101 % is 11: rounded up; one on the good side is negative."""
    book = Book()
    for worse in ("3.5", "3.535", "-3.5"):
        fill = E8(e8(3_500) - side.sign * e8(worse))
        book = fold(book, StopFilled(key=KEY, side=side, client_id="x", trigger=e8(3_500), average=fill, at_ms=1))
    assert book.slips == {"ETHUSDT": (10, 11, -10)}
    for _ in range(SLIPS_KEPT):
        book = fold(book, StopFilled(key=KEY, side=side, client_id="x", trigger=e8(3_500), average=e8(3_500), at_ms=1))
    assert book.slips["ETHUSDT"] == (0,) * SLIPS_KEPT


@given(side=sides, trigger=st.integers(1, 10**9), bps=st.integers(0, 9_999), tick=st.sampled_from((1, 100, 10_000, 1_000_000)))
def test_a_fill_is_rounded_against_the_position_by_less_than_a_tick(side: Side, trigger: int, bps: int, tick: int) -> None:
    exact = trigger * tick * (10_000 - side.sign * bps)  # of 1e-12
    fill = fill_price(side.sign, trigger * tick, Bps(bps), E8(tick))
    assert fill % tick == 0 and 0 <= side.sign * (exact - fill * 10_000) < 10_000 * tick


# -- liquidation --------------------------------------------------------------------------------------------------------------------


@both_sides
def test_the_way_to_liquidation_is_rounded_down_and_unknown_is_not_far(side: Side) -> None:
    risk = judged(position(side, liquidation=str(3_500 - side.sign * 350 + side.sign)))
    assert risk.away == 997  # 349 of 3,500 are 9.97142 %
    for unknown in (None, str(3_500 + side.sign * 100)):  # a cross hedge shows one price for both legs
        assert judged(position(side, liquidation=unknown)).away is None


# -- findings -----------------------------------------------------------------------------------------------------------------------


@both_sides
def test_a_sound_stop_is_no_finding(side: Side) -> None:
    risk = judged(position(side, liquidation=str(3_500 - side.sign * 700)), [stop(side, 10_000)], floor=20_000)
    assert risk.findings == () and risk.bounded is not None


@both_sides
@pytest.mark.parametrize(
    ("wrong", "changed"),
    [
        (Wrong.BEYOND, {"trigger": 80_000}),
        (Wrong.LOOSE, {"trigger": 30_000}),
        (Wrong.WRONG_TRIGGER, {"trigger_by": TriggerBy.LAST}),
        (Wrong.PROTECTED, {"price_protect": True}),
        (Wrong.NO_COVER, {"status": OrderStatus.TRIGGERING}),
        (Wrong.NO_COVER, {"reduce_only": False}),
    ],
)
def test_what_is_wrong_with_our_own_stop(side: Side, wrong: Wrong, changed: dict[str, object]) -> None:
    more = {**changed, **({"trigger": Ticks(MARK - side.sign * int(str(changed["trigger"])))} if "trigger" in changed else {})}
    risk = judged(position(side, liquidation=str(3_500 - side.sign * 700)), [stop(side, 10_000, **more)], floor=20_000)
    assert wrongs(risk) == [(Wrong.NAKED, False), (wrong, False)] and risk.own is None


@both_sides
@pytest.mark.parametrize("foreign", [False, True])
def test_a_stop_of_the_other_side(side: Side, foreign: bool) -> None:
    wrong = stop(side, 10_000, side=side.opening, name="web_1" if foreign else "q1ours")
    risk = judged(position(side), *(((), (wrong,)) if foreign else ((wrong,), ())))
    assert wrongs(risk) == [(Wrong.NAKED, False), (Wrong.WRONG_SIDE, foreign)]


@both_sides
def test_somebodys_entry_is_no_stop_of_this_position(side: Side) -> None:
    """A stop order that opens or adds, by another program: it is their business."""
    entry = stop(side, -10_000, side=side.opening, name="web_1", reduce_only=False)
    assert wrongs(judged(position(side), [stop(side, 10_000)], [entry])) == []


@both_sides
@pytest.mark.parametrize("foreign", [False, True])
def test_too_small_is_told_in_bps_rounded_up(side: Side, foreign: bool) -> None:
    part = stop(side, 10_000, lots=600, name="web_1" if foreign else "q1ours")
    risk = judged(position(side, lots=1_000), *(((), (part,)) if foreign else ((part,), ())))
    assert wrongs(risk) == [(Wrong.TOO_SMALL, foreign)] and risk.findings[0].short == 4_000 and risk.bounded is None
    third = judged(position(side, lots=3), [stop(side, 10_000, lots=2)])
    assert third.findings[0].short == 3_334


@both_sides
def test_foreign_cover_is_counted_apart(side: Side) -> None:
    """Also where it covers all: it bounds nothing of ours, and its money is its own."""
    theirs = stop(side, 10_000, name="web_1", lots=0, close_position=True, reduce_only=False)
    alone = judged(position(side), (), [theirs])
    assert wrongs(alone) == [(Wrong.FOREIGN_ALONE, True)] and alone.bounded is None
    assert alone.foreign is not None and alone.foreign.lots == 1_000 and alone.foreign.level == theirs.trigger
    beside = judged(position(side), [stop(side, 5_000)], [theirs])
    assert beside.findings == () and beside.foreign == alone.foreign
    assert beside.bounded is not None and beside.bounded.from_mark < alone.foreign.from_mark


@both_sides
def test_a_foreign_stop_on_the_last_price_counts_and_is_told(side: Side) -> None:
    theirs = stop(side, 10_000, name="web_1", trigger_by=TriggerBy.LAST)
    assert wrongs(judged(position(side), (), [theirs])) == [(Wrong.FOREIGN_ALONE, True), (Wrong.WRONG_TRIGGER, True)]


@both_sides
def test_a_foreign_stop_limit_does_not_count_and_is_told(side: Side) -> None:
    theirs = stop(side, 10_000, name="web_1", kind=OrderKind.STOP, price=Ticks(MARK))
    assert wrongs(judged(position(side), (), [theirs])) == [(Wrong.NAKED, False), (Wrong.NO_COVER, True)]
