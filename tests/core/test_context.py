"""Typed inputs, callers' dicts, positions of two dialects, and the plan in the old integration's words."""

from decimal import Decimal
from typing import Any

import pytest

from qtkit.core.context import (
    ExitContext,
    MarketData,
    RiskContext,
    RiskMode,
    RLHints,
    classify,
    to_dynamic_tpsl,
    to_partial_exit_config,
    to_trailing_config,
)
from qtkit.core.model import E8, Bps, Key, PolicyError, PositionSide, Side
from qtkit.core.planner import ExitPlanner
from qtkit.core.policy import Regime, named
from qtkit.inputs import build_context_from_position, hints_from_dict, market_from_dict, position_from_dict, risk_from_dict
from tests.core.planning_kit import BOTH_SIDES, context, e8, instrument, mirrored, position

ETH = {"symbol": "ETHUSDT", "positionAmt": "1.0", "entryPrice": "3500", "markPrice": "3600", "unrealizedProfit": "100"}


def test_hints_of_the_incident_s_keys() -> None:
    assert hints_from_dict({"tp_pct": 0.03, "sl_pct": "0.025", "trail_pct": Decimal("0.015"), "confidence": 0.75}) == RLHints(
        tp=Bps(300), sl=Bps(250), trail=Bps(150), confidence=Bps(7_500)
    )
    assert hints_from_dict(None) == hints_from_dict({}) == hints_from_dict({"tp_pct": None}) == RLHints()
    assert hints_from_dict(RLHints(tp=Bps(1))) == RLHints(tp=Bps(1))


def test_risk_and_market_of_the_incident_s_keys() -> None:
    assert risk_from_dict({"mode": "critical", "max_loss": 0.025}) == RiskContext(mode=RiskMode.CRITICAL, max_loss=Bps(250))
    assert market_from_dict({"volatility": 0.02, "trend": -0.65, "atr": "12.5", "regime": "RANGE_BOUND", "funding_paid": -1}) == MarketData(
        volatility=Bps(200), trend=Bps(-6_500), atr=e8("12.5"), regime=Regime.RANGE, funding_paid=E8(-100_000_000)
    )
    assert risk_from_dict({}) == RiskContext() and market_from_dict(None) == MarketData()
    assert risk_from_dict({"mode": RiskMode.NORMAL}).mode is RiskMode.NORMAL


@pytest.mark.parametrize(
    "read, raw, answer",
    [
        (hints_from_dict, {"tp_target_pct": 0.03}, "use 'tp_pct'"),
        (hints_from_dict, {"sl_target_pct": 0.03}, "use 'sl_pct'"),
        (hints_from_dict, {"trail_callback_pct": 0.03}, "use 'trail_pct'"),
        (hints_from_dict, {"confidance": 0.5}, "did you mean 'confidence'"),
        (risk_from_dict, {"risk_mode": "ESS_ACTIVE"}, "use 'mode'"),
        (risk_from_dict, {"position_count": 3}, "risk gate"),
        (risk_from_dict, {"mode": "CAUTIOUS"}, "not known"),
        (market_from_dict, {"current_price": 1}, "markPrice"),
        (market_from_dict, {"volatilty": 1}, "did you mean 'volatility'"),
        (market_from_dict, {"regime": "TRENDY"}, "did you mean 'TREND'"),
        (market_from_dict, {"trend": 2}, "between -1 and 1"),
        (market_from_dict, {"atr": 0}, "above zero"),
    ],
)
def test_other_dialects_are_refused_with_the_right_word(read, raw, answer) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PolicyError, match=answer):
        read(raw)


@pytest.mark.parametrize("value", [3, 0, -0.01, "three", float("nan"), float("inf"), True, 0.00001, [1]])
def test_a_percentage_in_another_unit_is_refused(value: object) -> None:
    with pytest.raises(PolicyError, match=r"fraction|number"):
        hints_from_dict({"tp_pct": value})


@pytest.mark.parametrize(
    "volatility, trend, regime",
    [
        (401, None, Regime.VOLATILE),
        (401, 9_000, Regime.VOLATILE),
        (400, 6_001, Regime.TREND),
        (100, -6_001, Regime.TREND),
        (149, 0, Regime.RANGE),
        (150, 1_999, Regime.CHOP),
        (150, -2_000, Regime.NORMAL),
        (150, 6_000, Regime.NORMAL),
        (None, 9_000, None),
        (200, None, None),
        (None, None, None),
    ],
)
def test_regimes_have_stated_thresholds_and_may_be_unknown(volatility: int | None, trend: int | None, regime: Regime | None) -> None:
    assert classify(volatility, trend) is regime


def test_a_regime_that_was_told_beats_the_computed_one() -> None:
    assert MarketData(volatility=Bps(900), regime=Regime.CHOP).known_regime is Regime.CHOP
    assert MarketData(volatility=Bps(900)).known_regime is Regime.VOLATILE


@pytest.mark.parametrize(
    "amount, slot, side",
    [
        ("1.0", "BOTH", Side.LONG),
        ("-1.0", "BOTH", Side.SHORT),
        ("-1", "SHORT", Side.SHORT),
        ("1", "SHORT", Side.SHORT),
        ("1", "LONG", Side.LONG),
    ],
)
def test_binance_s_raw_position(amount: str, slot: str, side: Side) -> None:
    raw = {**ETH, "positionAmt": amount, "positionSide": slot, "liquidationPrice": "0", "leverage": "10", "marginType": "isolated"}
    read = position_from_dict(raw, instrument())
    assert (read.side, read.lots, read.position_side) == (side, 1_000, PositionSide(slot))
    assert (read.entry, read.mark, read.liquidation, read.leverage, read.isolated) == (e8(3_500), e8(3_600), None, 10, True)


@pytest.mark.parametrize(
    "side, hedged, slot", [("long", False, "BOTH"), ("short", False, "BOTH"), ("long", True, "LONG"), ("short", True, "SHORT")]
)
def test_ccxt_s_unified_position(side: str, hedged: bool, slot: str) -> None:
    raw = {
        "symbol": "ETH/USDT:USDT",
        "contracts": 1.5,
        "contractSize": 1.0,
        "side": side,
        "hedged": hedged,
        "entryPrice": 3500.0,
        "markPrice": None,
        "liquidationPrice": 3000.5,
        "leverage": None,
        "marginMode": "cross",
        "info": {"markPrice": "3600.12345678"},
    }
    read = position_from_dict(raw, instrument())
    assert read.side is Side[side.upper()] and read.position_side is PositionSide(slot)
    assert (read.lots, read.mark, read.liquidation, read.isolated) == (1_500, e8("3600.12345678"), e8("3000.5"), False)


@pytest.mark.parametrize(
    "change, answer",
    [
        ({"positionAmt": "0"}, "flat"),
        ({"positionAmt": "0.000"}, "flat"),
        ({"positionAmt": None}, "size is unknown"),
        ({"markPrice": None}, "markPrice"),
        ({"entryPrice": "0.0"}, "entryPrice"),
        ({"symbol": "BTCUSDT"}, "rules of ETHUSDT"),
        ({"positionAmt": "-1", "positionSide": "LONG"}, "negative amount"),
        ({"positionSide": "LNG"}, "did you mean 'LONG'"),
        ({"positionAmt": None, "contracts": 1}, "no 'side'"),
        ({"positionAmt": "x"}, "must be a number"),
    ],
)
def test_a_position_that_cannot_be_read_is_refused(change: dict[str, object], answer: str) -> None:
    with pytest.raises(PolicyError, match=answer):
        position_from_dict({**ETH, **change}, instrument())


def test_a_size_off_the_lot_is_covered_whole() -> None:
    assert position_from_dict({**ETH, "positionAmt": "0.0105"}, instrument()).lots == 11


def test_the_context_of_the_incident_s_call() -> None:
    made = build_context_from_position(ETH, {"tp_pct": 0.05}, None, {"trend": 0.1}, instrument=instrument(), account="paper", now_ms=7)
    assert made == ExitContext(
        account="paper",
        instrument=instrument(),
        position=position(mark="3600"),
        now_ms=7,
        hints=RLHints(tp=Bps(500)),
        market=MarketData(trend=Bps(1_000)),
    )
    assert made.key == Key("paper", "ETHUSDT", PositionSide.BOTH)
    with pytest.raises(PolicyError, match="planned with the rules of"):
        context(position(symbol="BTCUSDT"))


@pytest.mark.parametrize("side", BOTH_SIDES)
def test_the_plan_in_the_old_words_is_in_fractions_of_the_price(side: Side) -> None:
    made = context(position(side, lots=100_000), policy=named("scaled_tp"), hints=RLHints(confidence=Bps(6_000)))
    plan = ExitPlanner().plan(made)
    assert to_trailing_config(plan, made) == {
        "enabled": True,
        "callback_pct": 0.015,
        "activation_pct": pytest.approx(0.025),
        "size_pct": 0.5,
    }
    assert to_dynamic_tpsl(plan, made) == {
        "tp_percent": pytest.approx(0.025),
        "sl_percent": pytest.approx(0.025),
        "trail_percent": 0.015,
        "partial_tp": True,
        "rationale": plan.reason,
        "confidence": 0.6,
    }
    rows: list[dict[str, Any]] = [dict(row) for row in to_partial_exit_config(plan, made)]
    assert [(row["kind"], row["trigger_pct"], row["size_pct"], row["trail_callback"]) for row in rows] == [
        ("TP", pytest.approx(0.025), 0.25, None),
        ("TRAIL", pytest.approx(0.025), 0.5, 0.015),
        ("TP", pytest.approx(0.05), 0.25, None),
    ]


@pytest.mark.parametrize("side", BOTH_SIDES)
def test_no_trail_is_none_and_nothing_is_invented(side: Side) -> None:
    plan = ExitPlanner().plan(context(position(side, mark=mirrored(side, "3500", "1")), policy=named("guard")))
    assert to_trailing_config(plan) is None
    words = to_dynamic_tpsl(plan)
    assert (words["tp_percent"], words["trail_percent"], words["confidence"], words["partial_tp"]) == (None, None, None, False)
    assert to_partial_exit_config(plan) == []
