"""What a policy may say, how distances are written, and which profile is chosen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core.distance import AtPrice, InAtr, InBps, InR, describe, format_distance, parse_distance
from qtkit.core.model import E8, Bps, PolicyError, Side
from qtkit.core.policy import (
    GUARD_STOP,
    OWN_STOP,
    POLICIES,
    SCALED_TP,
    ExitPolicy,
    ProfileRule,
    Profiles,
    Regime,
    StageRule,
    TargetRule,
    TightenRule,
    TrailRule,
    hybrid,
    named,
)
from tests.core.planning_kit import e8, instrument

HALF = Bps(5_000)


@pytest.mark.parametrize(
    "text, distance",
    [
        ("2.5%", InBps(Bps(250))),
        ("250bps", InBps(Bps(250))),
        (" 0.01 % ", InBps(Bps(1))),
        (".5%", InBps(Bps(50))),
        ("2R", InR(2_000)),
        ("1.5r", InR(1_500)),
        ("3atr", InAtr(3_000)),
        ("2.5 ATR", InAtr(2_500)),
        ("@91000", AtPrice(e8(91_000))),
        ("@0.00001234", AtPrice(E8(1_234))),
        ("@91_000.50", AtPrice(e8("91000.5"))),
    ],
)
def test_distances_are_read_as_people_write_them(text: str, distance: object) -> None:
    assert parse_distance(text) == distance


@pytest.mark.parametrize(
    "text", ["", "2.5", "%", "abc%", "-1%", "0%", "2,5%", "1e3%", "2.555%", "2.5bps", "@", "@-1", "R", "1.2.3%", "1.0001R", "²%", "0atr"]
)
def test_other_distances_are_refused_with_the_five_forms_or_the_limit(text: str) -> None:
    with pytest.raises(PolicyError, match=r"2\.5%, 250bps, 2R, 3atr or @91000|at most|above zero|needs a multiple"):
        parse_distance(text)


@given(
    st.one_of(
        st.integers(1, 10**6).map(lambda n: InBps(Bps(n))),
        st.integers(1, 10**6).map(InR),
        st.integers(1, 10**6).map(InAtr),
        st.integers(1, 10**14).map(lambda n: AtPrice(E8(n))),
    )
)
def test_a_written_distance_reads_back_as_itself(distance: InBps | InR | InAtr | AtPrice) -> None:
    assert parse_distance(format_distance(distance)) == distance


@pytest.mark.parametrize("side, price, target", [(Side.LONG, "3412.5", "3675"), (Side.SHORT, "3587.5", "3325")])
def test_a_distance_is_shown_with_its_price_and_the_money(side: Side, price: str, target: str) -> None:
    given_ = {"side": side, "entry": e8(3_500), "instrument": instrument(), "lots": 1_000, "unit": Bps(250)}
    assert describe(InBps(Bps(250)), **given_) == f"2.5% = @{price}, 87.5 at risk"  # type: ignore[arg-type]
    assert describe(InAtr(3_000), **given_) == f"3atr = 2.5% = @{price}, 87.5 at risk"  # type: ignore[arg-type]
    assert describe(InR(2_000), target=True, **given_) == f"2R = 5% = @{target}, 175 to win"  # type: ignore[arg-type]
    assert describe(AtPrice(e8(price)), **given_) == f"@{price} = 2.5%, 87.5 at risk"  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_presets_close_the_whole_position(policy: ExitPolicy) -> None:
    shares = sum(target.share for target in policy.targets) + (policy.trail.share if policy.trail else 0)
    assert shares == (0 if policy.name == "guard" else 10_000)


def test_the_defaults_are_the_measured_ones() -> None:
    assert (OWN_STOP.milli, OWN_STOP.least, OWN_STOP.most) == (3_000, 100, 500)
    assert (GUARD_STOP.milli, GUARD_STOP.least, GUARD_STOP.most) == (6_000, 300, 1_000)


@pytest.mark.parametrize(
    "wrong, reason",
    [
        ({"targets": (TargetRule(at=InR(1_000), share=HALF),)}, "must make 100 % exactly"),
        ({"targets": (TargetRule(at=InR(2_000), share=HALF), TargetRule(at=InR(1_000), share=HALF))}, "nearest to the farthest"),
        ({"stop": InBps(Bps(10_000))}, "nearer than 100 %"),
        ({"break_even_after": 1}, "there are 0 targets"),
        ({"max_hold_ms": 0}, "time stop"),
        ({"liquidation_buffer": Bps(2_000)}, "liquidation buffer"),
        ({"stages": (StageRule(at=Bps(300), to=Bps(150)), StageRule(at=Bps(150), to=None))}, "nearest to the farthest"),
        ({"name": ""}, "needs a name"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(wrong: dict[str, object], reason: str) -> None:
    with pytest.raises(PolicyError, match=reason):
        ExitPolicy(**{"name": "mine", **wrong})  # type: ignore[arg-type]


def test_parts_that_mean_nothing_are_refused() -> None:
    for make in (
        lambda: TargetRule(at=InR(1), share=Bps(0)),
        lambda: StageRule(at=Bps(100), to=Bps(100)),
        lambda: TrailRule(activation=InR(1), callback=InBps(Bps(100)), share=Bps(0)),
        lambda: TrailRule(activation=InR(1), callback=InBps(Bps(10_000)), share=HALF),
        lambda: TrailRule(activation=InR(1), callback=InBps(Bps(100)), share=HALF, moves=True),
        lambda: TrailRule(activation=InR(1), callback=InBps(Bps(100)), share=HALF, tightening=(TightenRule(at=InR(1), callback=Bps(100)),)),
        lambda: InAtr(1_000, Bps(300), Bps(100), Bps(200)),
    ):
        with pytest.raises(PolicyError):
            make()


def test_a_wrong_name_is_answered_with_the_nearest_right_one() -> None:
    with pytest.raises(PolicyError, match="did you mean 'scaled_tp'"):
        named("scaledtp")
    with pytest.raises(PolicyError, match=r"known: .*trailing_tp"):
        named("zzzzzzzzzz")
    assert named("trailing_tp").name == "trailing_tp"


@pytest.mark.parametrize(
    "confidence, stop, targets, callback",
    [
        (None, 250, (300,), None),
        (1_999, 250, (300,), None),
        (2_000, 250, (300,), 75),
        (7_999, 250, (300,), 75),
        (8_000, 225, (300, 600), 150),
    ],
)
def test_the_hybrid_s_bands(confidence: int | None, stop: int, targets: tuple[int, ...], callback: int | None) -> None:
    made = hybrid(sl=Bps(250), tp=Bps(300), ai_tp=Bps(600), ai_trail=Bps(150), confidence=None if confidence is None else Bps(confidence))
    assert made.stop == InBps(Bps(stop))
    assert tuple(target.at for target in made.targets) == tuple(InBps(Bps(bps)) for bps in targets)
    assert (made.trail.callback if made.trail else None) == (None if callback is None else InBps(Bps(callback)))


def test_the_hybrid_keeps_its_callback_in_bounds_and_a_nearer_model_target_out() -> None:
    made = hybrid(sl=Bps(250), tp=Bps(300), ai_tp=Bps(200), ai_trail=Bps(2_000), confidence=Bps(9_000))
    assert len(made.targets) == 1 and made.trail is not None
    assert made.trail.callback == InBps(Bps(500)) and made.trail.activation == InBps(Bps(1_000))


def test_the_strongest_profile_wins_and_of_equals_the_first() -> None:
    own, by_symbol, by_strategy = (ExitPolicy(name=name) for name in ("own", "symbol", "strategy"))
    profiles = Profiles().overriding(
        ProfileRule(policy=by_strategy, strategy="momentum"),
        ProfileRule(policy=by_symbol, symbol="BTCUSDT"),
        ProfileRule(policy=own, regime=Regime.TREND),
    )
    assert profiles.lookup("BTCUSDT", "momentum", Regime.CHOP) is by_symbol
    assert profiles.lookup("ETHUSDT", "momentum", Regime.TREND) is by_strategy
    assert profiles.lookup("ETHUSDT", None, Regime.TREND) is own
    assert profiles.lookup("ETHUSDT", None, Regime.CHOP) is named("CHOP")
    assert profiles.lookup("ETHUSDT") is SCALED_TP
