"""The planner: total on positions, strict on entries, safe on both sides."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core import arithmetic
from qtkit.core.book import Episode
from qtkit.core.context import MarketData, RiskContext, RiskMode, RLHints
from qtkit.core.describe import describe_plan
from qtkit.core.distance import AtPrice, InAtr, InBps, InR, decimal
from qtkit.core.ladder import split
from qtkit.core.model import E8, Bps, Instrument, Lots, PolicyError, Position, Side, Ticks
from qtkit.core.plan import ExitPlan, LegKind
from qtkit.core.planner import ExitPlanner, plan_for
from qtkit.core.policy import POLICIES, ExitPolicy, ProfileRule, Profiles, Regime, TargetRule, TrailRule, named
from qtkit.core.trail import begin
from tests.core.planning_kit import BOTH_SIDES, any_market, any_position, context, e8, instrument, mirrored, position

PLANNER = ExitPlanner()
both = pytest.mark.parametrize("side", BOTH_SIDES)


def at(side: Side, percent: str, entry: str = "3500") -> int:
    """Level ``percent`` in the side's favour, ticks of 0.01."""
    return int(e8(mirrored(side, entry, percent))) // 1_000_000


def plan(
    side: Side, profit: str = "0", *, for_entry: bool = False, liquidation: str | None = None, lots: int = 1_000, **given: Any
) -> ExitPlan:
    """Plan of a position from 3500 that is ``profit`` percent in its favour; ``liquidation`` likewise."""
    where = None if liquidation is None else mirrored(side, "3500", liquidation)
    pos = position(side, mark=mirrored(side, "3500", profit), liquidation=where, lots=lots)
    return PLANNER.plan(context(pos, **given), for_entry=for_entry)


# --- the incident -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adopted", [True, False])
def test_the_incident_s_long_gets_a_stop_a_target_and_a_trail_from_nothing_but_the_position(adopted: bool) -> None:
    made = PLANNER.plan(context(position(mark="3600"), adopted=adopted))
    kinds = [leg.kind for leg in made.legs]
    assert made.strategy_id == "scaled_tp" and LegKind.SL in kinds and LegKind.TP in kinds
    assert made.trail is not None and made.trail.callback > 0 and made.trail.share == 7_500
    assert arithmetic.reached(1, made.start, made.trail.activation)
    assert any("lie behind the price" in warning for warning in made.warnings)


@pytest.mark.parametrize(
    "symbol, entry",
    [("AVAXUSDT", "14.58"), ("ADAUSDT", "0.4693"), ("BTCUSDT", "93475.8"), ("SOLUSDT", "142.4"), ("DOTUSDT", "2.291")],
)
@pytest.mark.parametrize("profit", ["-0.45", "1.58", "3.17", "3.88", "38.8"])
def test_the_five_shorts_are_all_planned_with_stop_and_trail(symbol: str, entry: str, profit: str) -> None:
    rules = instrument(symbol, tick="0.0001")
    pos = position(Side.SHORT, symbol=symbol, entry=entry, mark=mirrored(Side.SHORT, entry, profit))
    made = plan_for(pos, instrument=rules, account="paper", now_ms=1)
    assert made.trail is not None
    assert made.stop * rules.tick > pos.mark
    assert arithmetic.reached(-1, made.start, made.trail.activation) == (float(profit) >= 2.5)


CHANDELIER = ExitPolicy(
    name="chandelier",
    trail=TrailRule(activation=InR(1_000), callback=InAtr(3_000, Bps(5), Bps(400), Bps(200)), share=Bps(10_000), moves=True),
)


# --- totality and safety ----------------------------------------------------------------------------------------------------------


@given(any_position(), st.sampled_from([*POLICIES.values(), CHANDELIER, None]), st.booleans(), st.data())
def test_every_position_gets_a_plan_that_does_no_harm(
    pair: tuple[Instrument, Position], policy: ExitPolicy | None, adopted: bool, data: st.DataObject
) -> None:
    rules, pos = pair
    market = data.draw(any_market(pos.entry))
    made = plan_for(pos, instrument=rules, account="a", now_ms=1, policy=policy, market=market, adopted=adopted)
    sign, low = pos.side.sign, max(1, rules.min_price)
    if sign < 0 or pos.mark > (low + 1) * rules.tick:
        assert not arithmetic.stop_hit_e8(sign, pos.mark, made.stop, rules.tick), "a stop that would trigger at once"
        if made.trail is not None and arithmetic.reached(sign, made.start, made.trail.activation):
            assert not arithmetic.stop_hit_e8(sign, pos.mark, arithmetic.trail_level(sign, made.start, made.trail.callback), rules.tick)
    room = abs(pos.mark - pos.liquidation) // rules.tick if pos.liquidation else 0
    if pos.liquidation and sign * (pos.mark - pos.liquidation) > 0 and room >= 3 and (sign < 0 or pos.mark > (low + 2) * rules.tick):
        assert sign * (made.stop * rules.tick - pos.liquidation) > 0
        assert sign * (made.floor * rules.tick - pos.liquidation) > 0
    assert all(not arithmetic.reached(sign, made.start, target.price) or pos.mark % rules.tick for target in made.targets)
    shares = [target.share for target in made.targets] + ([made.trail.share] if made.trail else [])
    if shares and sum(shares) == 10_000:
        parts = split(pos.lots, shares, rules.min_lots)
        assert sum(parts) == pos.lots
        assert all(part >= rules.min_lots for part in parts) or len([part for part in parts if part]) == 1
    if policy is CHANDELIER and made.trail is not None:
        assert made.trail.moves is not None and made.trail.moves.least <= made.trail.callback <= made.trail.moves.most
    assert describe_plan(made)


@given(
    st.integers(1, 10**6),
    st.integers(-3_000, 3_000),
    st.sampled_from([*POLICIES.values(), CHANDELIER]),
    st.booleans(),
    st.one_of(st.none(), st.integers(10, 9_000)),
)
def test_long_and_short_mirror_each_other(lots: int, drift: int, policy: ExitPolicy, adopted: bool, liquidation: int | None) -> None:
    policy = replace(policy, liquidation_buffer=Bps(0))  # a part of the mark, which differs between the sides
    made = []
    for side in BOTH_SIDES:  # entry 10,000,000 ticks: every bps is whole ticks, so that the mirror is exact
        price = E8(10_000_000 * 1_000_000)
        mark = price + side.sign * drift * price // 10_000
        liq = None if liquidation is None else E8(mark - side.sign * liquidation * price // 10_000)
        pos = replace(position(side, lots=lots), entry=price, mark=E8(mark), liquidation=liq)
        made.append(PLANNER.plan(context(pos, policy=policy, adopted=adopted, rules=instrument(fee=0))))
    long, short = made
    axis = 20_000_000
    # "Too near the mark" is a part of the mark, which differs too: at its edge one side is measured from there and the other is not.
    by_mark = any("measured from the mark" in warning for warning in (*long.warnings, *short.warnings))
    assert by_mark or (abs(axis - long.stop - short.stop) <= 1 and abs(axis - long.floor - short.floor) <= 1)
    assert [axis - t.price for t in long.targets] == [t.price for t in short.targets]
    assert [t.share for t in long.targets] == [t.share for t in short.targets]
    assert (long.trail is None) == (short.trail is None)
    if long.trail and short.trail:
        assert axis - long.trail.activation == short.trail.activation
        assert (long.trail.callback, long.trail.share) == (short.trail.callback, short.trail.share)
    assert [(axis - s.at, axis - s.to) for s in long.stages] == [(s.at, s.to) for s in short.stages]


@both
def test_the_stop_is_three_atr_within_its_clamps(side: Side) -> None:
    for atr, percent in (("20", -6000), ("1", -3500), ("200", -17500)):
        made = plan(side, market=MarketData(atr=e8(atr)))
        assert abs(side.sign * (made.stop - 350_000) - percent) <= 100, "3 x ATR, at least 1 %, at most 5 %"
        assert not any("ATR" in warning for warning in made.warnings)


@both
def test_guarding_is_six_atr_and_wider_while_r_stays_the_policy_s_own(side: Side) -> None:
    made = plan(side, adopted=True, market=MarketData(atr=e8("35")))
    assert made.stop == at(side, "-6") and made.targets[0].price == at(side, "3")


@both
def test_an_unknown_atr_is_said_and_never_guessed(side: Side) -> None:
    made = plan(side)
    assert made.stop == at(side, "-2.5")
    assert any("ATR is not known: the policy's fixed 2.5 %" in warning for warning in made.warnings)
    wrong = plan(side, market=MarketData(atr=E8(1_000_000)))
    assert wrong.stop == made.stop and any("taken as unknown" in warning for warning in wrong.warnings)


@both
@pytest.mark.parametrize("hints", [RLHints(), RLHints(sl=Bps(200))], ids=["policy", "hint"])
@pytest.mark.parametrize("adopted", [True, False], ids=["adopted", "own"])
def test_of_an_unknown_atr_only_the_distance_that_holds_is_told(side: Side, adopted: bool, hints: RLHints) -> None:
    made = plan(side, adopted=adopted, hints=hints)
    told = [warning for warning in made.warnings if "ATR is not known" in warning]
    wide = "ATR is not known: the policy's fixed 5 % instead of 6 x ATR"
    own = "ATR is not known: the policy's fixed 2.5 % instead of 3 x ATR"
    assert told == ([] if hints.sl else [wide if adopted else own])


@both
@pytest.mark.parametrize("stop, floor", [("1", "3"), ("4", "6"), ("6", "9")])
def test_the_floor_is_half_again_as_wide_but_at_least_two_percent_more(side: Side, stop: str, floor: str) -> None:
    policy = ExitPolicy(name="mine", stop=InBps(Bps(int(stop) * 100)))
    made = plan(side, policy=policy)
    assert (made.stop, made.floor) == (at(side, "-" + stop), at(side, "-" + floor))


# --- liquidation ------------------------------------------------------------------------------------------------------------------


@both
def test_both_stops_are_moved_before_liquidation_on_a_position_and_refused_before_an_entry(side: Side) -> None:
    policy = ExitPolicy(name="mine", stop=InBps(Bps(500)))
    made = plan(side, liquidation="-4", policy=policy)
    assert (made.stop, made.floor) == (at(side, "-2.4"), at(side, "-3"))
    assert any("too near liquidation" in warning and "moved to" in warning for warning in made.warnings)
    with pytest.raises(PolicyError, match="too near liquidation"):
        plan(side, liquidation="-4", policy=policy, for_entry=True)


@both
def test_the_buffer_is_kept_where_it_is_more(side: Side) -> None:
    wide = ExitPolicy(name="mine", stop=InBps(Bps(500)), liquidation_buffer=Bps(200))
    made = plan(side, liquidation="-4", policy=wide)
    assert side.sign * (made.stop - at(side, "-2.1")) > 0


@both
def test_a_missing_or_absurd_liquidation_price_is_unknown(side: Side) -> None:
    assert plan(side).stop == plan(side, liquidation="2").stop == at(side, "-2.5")
    assert any("wrong side" in warning for warning in plan(side, liquidation="2").warnings)


@both
def test_an_isolated_entry_cannot_lose_more_than_its_margin(side: Side) -> None:
    pos = position(side, leverage=25, isolated=True)
    with pytest.raises(PolicyError, match="too near liquidation"):
        PLANNER.plan(context(pos), for_entry=True)
    assert PLANNER.plan(context(replace(pos, leverage=10)), for_entry=True).stop == at(side, "-2.5")
    assert PLANNER.plan(context(pos)).stop == at(side, "-2.5"), "on a position the exchange's own number counts, or none"


@both
def test_without_room_the_stop_lies_one_tick_behind_the_mark(side: Side) -> None:
    made = plan(side, liquidation="-0.0002")
    assert made.stop == 350_000 - side.sign and any("no room" in warning for warning in made.warnings)


# --- adoption ---------------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("loss", ["-5", "-20", "-4.95"])
def test_a_breached_stop_is_measured_from_the_mark(side: Side, loss: str) -> None:
    made = plan(side, loss, adopted=True)
    mark = e8(mirrored(side, "3500", loss))
    assert made.stop == arithmetic.stop_level(side.sign, mark, 500, 1_000_000)
    assert any("measured from the mark" in warning for warning in made.warnings)


@both
def test_a_stop_not_breached_stays_where_the_entry_puts_it(side: Side) -> None:
    assert plan(side, "-4", adopted=True).stop == at(side, "-5")


@both
def test_targets_behind_the_price_are_dropped_and_their_share_trails(side: Side) -> None:
    made = plan(side, "3", adopted=True)
    assert [(t.price, t.share) for t in made.targets] == [(at(side, "5"), 2_500)]
    assert made.trail is not None and made.trail.share == 7_500
    assert made.start == at(side, "3")
    assert [(s.at, s.to) for s in made.stages] == [(at(side, "2.5"), made.break_even)], "the target that was passed left its break-even"
    gone = plan(side, "30", adopted=True)
    assert gone.targets == () and gone.trail is not None and gone.trail.share == 10_000


@both
def test_a_policy_without_a_trail_trails_what_dropped_targets_leave_from_now_on(side: Side) -> None:
    made = plan(side, "1.2", adopted=True, policy=named("RANGE"))
    assert [t.share for t in made.targets] == [3_000]
    assert made.trail is not None and (made.trail.share, made.trail.activation, made.trail.callback) == (7_000, made.start, 150)


@both
def test_the_start_is_the_adverse_tick_of_the_mark(side: Side) -> None:
    pos = position(side, mark="3500.005")
    assert PLANNER.plan(context(pos)).start == (350_000 if side is Side.LONG else 350_001)


# --- break-even, stages, time -----------------------------------------------------------------------------------------------------


@both
def test_break_even_pays_for_both_ways_and_for_funding(side: Side) -> None:
    plain = plan(side).break_even
    assert abs(plain - (350_000 + side.sign * 351)) <= 1
    paid = plan(side, market=MarketData(funding_paid=e8("7"))).break_even
    assert abs(side.sign * (paid - plain) - 700) <= 1
    assert plan(side, market=MarketData(funding_paid=e8("-7"))).break_even == plain


@both
def test_the_original_s_stages(side: Side) -> None:
    made = plan(side, policy=named("staged"))
    assert [(s.at, s.to) for s in made.stages] == [(at(side, "1.5"), made.break_even), (at(side, "3"), at(side, "1.5"))]
    assert made.trail is not None and (made.trail.activation, made.trail.callback, made.trail.share) == (at(side, "5"), 100, 10_000)


@both
def test_a_break_even_beyond_what_would_move_to_it_is_left_out(side: Side) -> None:
    dear = MarketData(funding_paid=e8("90"))
    staged = plan(side, policy=named("staged"), market=dear)
    assert len(staged.stages) == 1 and any("left out" in warning for warning in staged.warnings)
    scaled = plan(side, market=dear)
    assert scaled.break_even_after is None and any("no break-even" in warning for warning in scaled.warnings)


@both
def test_the_time_stop_counts_from_the_plan(side: Side) -> None:
    made = plan(side, policy=replace(named("scaled_tp"), max_hold_ms=60_000))
    assert made.deadline_ms == made.created_ms + 60_000


# --- lots -------------------------------------------------------------------------------------------------------------------------


@both
def test_with_too_few_lots_the_nearest_targets_go_and_stop_and_trail_stay(side: Side) -> None:
    one = plan(side, lots=1)
    assert one.targets == () and one.trail is not None and one.trail.share == 10_000
    assert [(s.at, s.to) for s in one.stages] == [(at(side, "2.5"), one.break_even)]
    assert any("too few" in warning for warning in one.warnings)
    ranged = plan(side, lots=2, policy=named("RANGE"))
    assert [t.share for t in ranged.targets] == [10_000] and ranged.targets[0].price == at(side, "1.75")


# --- entries ----------------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    "policy, reason",
    [
        (ExitPolicy(name="p", stop=InBps(Bps(49))), "within noise and costs"),
        (
            ExitPolicy(name="p", trail=TrailRule(activation=InR(1_000), callback=InBps(Bps(9)), share=Bps(10_000))),
            "within a tick or the cost",
        ),
        (ExitPolicy(name="p", stop=AtPrice(e8(3_500))), "behind the entry"),
        (
            ExitPolicy(name="p", targets=(TargetRule(at=AtPrice(e8(3_500)), share=Bps(10_000)),)),
            "does not lie ahead of the entry",
        ),
    ],
)
def test_an_unsafe_policy_is_refused_before_an_entry_and_mended_on_a_position(side: Side, policy: ExitPolicy, reason: str) -> None:
    with pytest.raises(PolicyError, match=reason):
        plan(side, policy=policy, for_entry=True)
    assert plan(side, policy=policy).warnings


@both
def test_an_entry_whose_stop_is_reached_already_is_refused(side: Side) -> None:
    with pytest.raises(PolicyError, match="reached by the mark price already"):
        plan(side, "-3", for_entry=True)


@both
def test_dear_fees_ask_for_a_wider_stop(side: Side) -> None:
    made = PLANNER.plan(context(position(side), rules=instrument(fee=100_000), policy=ExitPolicy(name="p", stop=InBps(Bps(55)))))
    assert made.stop == at(side, "-0.6")


@both
def test_a_target_inside_costs_is_a_warning(side: Side) -> None:
    made = plan(side, for_entry=True, policy=named("CHOP"), market=MarketData(atr=e8("11.7")))
    assert any("under 3 x the cost" in warning for warning in made.warnings)


@both
def test_a_fixed_stop_price_is_kept_to_the_tick(side: Side) -> None:
    policy = ExitPolicy(name="p", stop=AtPrice(e8(mirrored(side, "3500", "-3"))))
    made = plan(side, policy=policy, for_entry=True)
    assert (made.stop, made.floor) == (at(side, "-3"), at(side, "-5"))
    locked = plan(side, "10", policy=replace(policy, stop=AtPrice(e8(mirrored(side, "3500", "4")))))
    assert locked.stop == at(side, "4"), "a stop in profit is a stop"


# --- hints, risk, regime ----------------------------------------------------------------------------------------------------------


@both
def test_hints_move_stop_and_targets_within_their_clamps(side: Side) -> None:
    made = plan(side, hints=RLHints(tp=Bps(600), sl=Bps(200), trail=Bps(120), confidence=Bps(8_000)))
    assert made.stop == at(side, "-2") and [t.price for t in made.targets] == [at(side, "3"), at(side, "6")]
    assert made.trail is not None and made.trail.callback == 120 and made.confidence == 8_000
    wild = plan(side, hints=RLHints(tp=Bps(5_000), sl=Bps(10)))
    assert wild.stop == at(side, "-1") and wild.targets[-1].price == at(side, "15")


@both
def test_a_model_that_is_not_half_sure_gets_the_default_target(side: Side) -> None:
    made = plan(side, hints=RLHints(tp=Bps(600), confidence=Bps(4_999)))
    assert [t.price for t in made.targets] == [at(side, "2.5"), at(side, "5")]
    assert any("below 0.5" in warning for warning in made.warnings)


@both
@pytest.mark.parametrize(
    "mode, percent",
    [(RiskMode.CONSERVATIVE, "1.75"), (RiskMode.CRITICAL, "1.25"), (RiskMode.ESS_ACTIVE, "1"), (RiskMode.NORMAL, "2.5")],
)
def test_risk_narrows_new_plans_and_leaves_what_is_open_alone(side: Side, mode: RiskMode, percent: str) -> None:
    risk = RiskContext(mode=mode)
    made = plan(side, risk=risk)
    assert made.stop == at(side, "-" + percent) and made.targets[0].price == at(side, percent)
    assert plan(side, risk=risk, adopted=True) == replace(plan(side, adopted=True), reason=plan(side, risk=risk, adopted=True).reason)
    assert plan(side, risk=risk, revision=1).stop == at(side, "-2.5")


@both
def test_the_largest_loss_allowed_bounds_a_new_stop(side: Side) -> None:
    assert plan(side, risk=RiskContext(max_loss=Bps(150))).stop == at(side, "-1.5")
    assert plan(side, risk=RiskContext(max_loss=Bps(150)), adopted=True).stop == at(side, "-5")
    with pytest.raises(PolicyError, match="within noise"):
        plan(side, risk=RiskContext(max_loss=Bps(20)), for_entry=True)


@pytest.mark.parametrize(
    "regime, strategy",
    [(Regime.TREND, "trailing_tp"), (Regime.NORMAL, "scaled_tp"), (Regime.RANGE, "scaled_tp"), (Regime.VOLATILE, "scaled_tp")],
)
def test_the_regime_chooses_the_profile_unless_a_policy_is_named(regime: Regime, strategy: str) -> None:
    market = MarketData(regime=regime)
    made = plan(Side.SHORT, market=market)
    assert (made.strategy_id, made.profile, made.regime) == (strategy, regime.value, regime.value)
    assert plan(Side.SHORT, market=market, policy=named("staged")).strategy_id == "staged"


def test_the_original_s_eleven_every_regime_has_stop_and_target_and_trends_trail() -> None:
    for regime in Regime:
        for side in BOTH_SIDES:
            made = plan(side, market=MarketData(regime=regime))
            kinds = {leg.kind for leg in made.legs}
            assert {LegKind.SL, LegKind.TP} <= kinds
            assert (LegKind.TRAIL in kinds) == (regime not in (Regime.RANGE, Regime.CHOP))


def test_own_profiles_are_used() -> None:
    planner = ExitPlanner(profiles=Profiles().overriding(ProfileRule(policy=named("staged"), strategy="swing")))
    assert planner.plan(context(strategy="swing")).strategy_id == "staged"
    assert planner.plan(context(strategy="other")).strategy_id == "scaled_tp"


@both
def test_the_hybrid_is_made_from_the_hints(side: Side) -> None:
    made = plan(side, policy=named("hybrid"), hints=RLHints(tp=Bps(600), trail=Bps(200), confidence=Bps(9_000)))
    assert made.stop == at(side, "-2.25") and [(t.price, t.share) for t in made.targets] == [(at(side, "3"), 5_000), (at(side, "6"), 2_500)]
    assert made.trail is not None and (made.trail.callback, made.trail.share) == (200, 2_500)


# --- identity ---------------------------------------------------------------------------------------------------------------------


def test_the_same_context_makes_the_same_plan_and_an_episode_another_id() -> None:
    assert plan(Side.LONG) == plan(Side.LONG)
    assert plan(Side.LONG).uid != plan(Side.LONG, episode=2).uid != plan(Side.SHORT).uid


def test_an_atr_trail_is_fixed_when_the_plan_is_made() -> None:
    rule = TrailRule(activation=InR(1_000), callback=InAtr(2_000, Bps(50), Bps(400), Bps(200)), share=Bps(10_000))
    policy = ExitPolicy(name="p", trail=rule)
    known, unknown = plan(Side.LONG, policy=policy, market=MarketData(atr=e8("35"))), plan(Side.LONG, policy=policy)
    assert known.trail is not None and known.trail.callback == 200
    assert unknown.trail is not None and any("trail's fixed" in warning for warning in unknown.warnings)


@both
def test_an_atr_trail_that_moves_is_measured_in_parts_of_the_hour_s_close_and_says_by_what_it_moves(side: Side) -> None:
    rule = TrailRule(activation=InR(1_000), callback=InAtr(2_000, Bps(50), Bps(400), Bps(200)), share=Bps(10_000), moves=True)
    policy = ExitPolicy(name="p", trail=rule)
    made = plan(side, policy=policy, market=MarketData(atr=e8("35"), close=e8("2800")))
    assert made.trail is not None and (made.trail.callback, made.trail.moves) == (250, rule.callback)
    told = plan(side, policy=policy, market=MarketData(atr=e8("35")))
    assert told.trail is not None and told.trail.callback == 200, "without a close, in parts of the entry"
    unknown = plan(side, policy=policy).trail
    assert unknown is not None and (unknown.callback, unknown.moves) == (200, rule.callback)
    assert any("moving every hour with 2 x ATR(14, 1h) within 0.5-4 %" in line for line in describe_plan(made))
    hinted = plan(side, policy=policy, hints=RLHints(trail=Bps(120))).trail
    assert hinted is not None and (hinted.callback, hinted.moves) == (120, None), "what the model advises stays"


@both
def test_an_atr_trail_never_moves_down_to_a_round_trip(side: Side) -> None:
    rule = TrailRule(activation=InR(1_000), callback=InAtr(2_000, Bps(2), Bps(400), Bps(200)), share=Bps(10_000), moves=True)
    policy = ExitPolicy(name="p", trail=rule)
    made = plan(side, policy=policy)
    assert made.trail is not None and made.trail.moves == InAtr(2_000, Bps(10), Bps(400), Bps(200)) and made.warnings
    with pytest.raises(PolicyError, match=r"moves down to 0\.02 % would be within a tick or the cost of a round trip"):
        plan(side, policy=policy, for_entry=True)


@both
def test_a_plan_reads_as_plain_words(side: Side) -> None:
    lines = describe_plan(plan(side))
    assert any(line.startswith("stop ") and "(-2.5 %)" in line and "-87.5" in line for line in lines)
    assert any(line.startswith("target 1 ") and "(+2.5 %)" in line and "+21.87" in line for line in lines)
    assert any(line.startswith("trail by 1.5 %") for line in lines)


@both
def test_a_plan_reads_with_the_stop_that_is_in_force_and_its_money(side: Side) -> None:
    made = plan(side)
    trail = replace(begin(made), stop=Ticks(at(side, "1")))
    episode = Episode(key=made.key, side=side, number=1, plan=made, trail=trail, opened=True, own=False, since_ms=1, expected=made.lots)
    told = next(line for line in describe_plan(made, episode) if line.startswith("stop "))
    now, planned = (decimal(level * made.tick, 8) for level in (trail.stop, made.stop))
    assert told == f"stop now {now} (+1 %), all of 1, +35; planned at {planned} (-2.5 %)"
    half = replace(episode, expected=Lots(made.lots // 2))  # a target was filled
    assert "all of 0.5, +17.5; planned" in "\n".join(describe_plan(made, half))
    assert describe_plan(made, replace(episode, trail=replace(trail, stop=made.stop))) == describe_plan(made)
