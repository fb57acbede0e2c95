"""Hints from research: fitted, judged, written, and taken by the planner of the desk's entries, or refused with the reason."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest

from qtkit import lab
from qtkit.account import Account
from qtkit.bars import BarsError
from qtkit.core.context import ExitContext, MarketData, RLHints
from qtkit.core.distance import InAtr, InBps, InR
from qtkit.core.hints import DAY_MS, HintRow, HintTable, digest_of
from qtkit.core.model import E8, Bps, Lots, PolicyError, Position, PositionSide, Scope, Side
from qtkit.core.plan import ExitPlan
from qtkit.core.planner import ExitPlanner
from qtkit.core.policy import CHOP, HYBRID, RANGE, SCALED_TP, STAGED, TRAILING_TP, ExitPolicy, Regime, TargetRule, TightenRule, TrailRule
from qtkit.desk import opened
from qtkit.endpoint import cover_of
from qtkit.hints import HintsFile, hints_of
from qtkit.lab.bandit import BUCKETS, REGIMES
from qtkit.lab.hints import data_hash, hinted
from qtkit.lab.replay import _instrument, plan_of
from qtkit.paper.gateway import PaperGateway
from qtkit.settings import Hints, PaperKeys, Paths, Settings
from qtkit.signals import Signal
from tests.lab.rig import some_entries, walk
from tests.story.rig import START_MS, World, desk, story

TRAIL = TrailRule(
    activation=InR(1_000), callback=InBps(Bps(150)), share=Bps(3_000), tightening=(TightenRule(at=InR(2_000), callback=Bps(100)),)
)
BASE = ExitPolicy(
    name="base",
    stop=InBps(Bps(200)),
    targets=(TargetRule(at=InR(1_000), share=Bps(5_000)), TargetRule(at=InBps(Bps(700)), share=Bps(2_000))),
    trail=TRAIL,
)
NARROW = ExitPolicy(name="narrow", stop=InBps(Bps(100)), max_hold_ms=150 * 60_000)
HINTS = ((None, None, None), (120, None, None), (None, 450, None), (350, 900, 130), (50, 100, 60), (900, 2_000, 400))
NOW = 1_800_000_000_000


def row(**more: object) -> HintRow:
    told = {
        "symbol": "BTCUSDT", "regime": "NORMAL", "volatility": "middle", "sl": Bps(150), "tp": Bps(400), "trail": Bps(90),
        "confidence": Bps(8_000), "entries": 50, "in_points": 900, "out_entries": 40, "out_points": 700, "base_points": 100,
    }  # fmt: skip
    return HintRow(**{**told, **more})  # type: ignore[arg-type]


def table(*rows: HintRow, **more: object) -> HintTable:
    told = {
        "policy": "base", "learner": "cells", "from_ms": 0, "split_ms": 1, "until_ms": NOW - 5 * DAY_MS, "created_ms": NOW,
        "kit": version("qtkit"), "data": (("BTCUSDT", "00"),), "rows": rows or (row(),),
    }  # fmt: skip
    made = HintTable(**{**told, **more})  # type: ignore[arg-type]
    return replace(made, digest=digest_of(made))


# -- the policy that a hint makes


@pytest.mark.parametrize("side", [Side.LONG, Side.SHORT])
@pytest.mark.parametrize(
    "hint", [(None, None, None), (120, None, None), (None, 450, None), (350, 900, 130), (50, 100, 60), (900, 2_000, 400)]
)
@pytest.mark.parametrize("policy", [BASE, RANGE, CHOP, STAGED, SCALED_TP, TRAILING_TP], ids=lambda it: it.name)
def test_the_lab_tries_what_the_planner_makes_of_a_hint(policy: ExitPolicy, hint: tuple[int | None, ...], side: Side) -> None:
    """The plan of the hinted policy is that of the policy with the hint: the same stop, targets and trail to the tick."""
    sl, tp, trail = (None if it is None else Bps(it) for it in hint)
    if not isinstance(policy.stop, InBps):
        with pytest.raises(
            PolicyError, match=r"hints move a stop in percent and its stop is .*; fit them on a policy file|shaped by confidence"
        ):
            hinted(policy, (sl, tp, trail))
        return
    bars = walk(1, 50, price=90_000)
    entries = replace(some_entries(bars, 1, 1), sign=np.array([side.sign]))
    made = plan_of(bars, entries, 0, hinted(policy, (sl, tp, trail)), lab.Costs())
    context = ExitContext(
        account="lab", instrument=_instrument(bars, lab.Costs()), now_ms=made.created_ms, policy=policy,
        position=Position(
            symbol=bars.symbol, position_side=PositionSide.BOTH, side=side, lots=made.lots, entry=made.entry, mark=made.entry
        ),
        hints=RLHints(sl=sl, tp=tp, trail=trail, confidence=Bps(9_000)),
    )  # fmt: skip
    plan = ExitPlanner().plan(context, for_entry=True)
    assert (plan.stop, plan.targets, plan.stages) == (made.stop, made.targets, made.stages)
    assert (plan.trail is None) == (made.trail is None)
    if plan.trail is not None and made.trail is not None:
        assert (plan.trail.callback, plan.trail.activation) == (made.trail.callback, made.trail.activation)


@pytest.mark.parametrize("policy", [HYBRID, replace(BASE, stop=InAtr(3_000, Bps(100), Bps(500), Bps(250)))], ids=["hybrid", "atr"])
def test_what_no_hint_can_replace_is_refused(policy: ExitPolicy) -> None:
    with pytest.raises(
        PolicyError, match=r"hints move a stop in percent and its stop is .*; fit them on a policy file|shaped by confidence"
    ):
        hinted(policy, (100, None, None))


# -- fitting


def market(seed: int = 3, n: int = 6_000) -> lab.Bars:
    """A market that rises with noise: a long is better off with a stop that noise does not reach."""
    bars = walk(seed, n, rough=5)
    rise = np.arange(n, dtype=np.int64) // 3
    moved = {name: getattr(bars, name) + rise for name in ("open", "high", "low", "close")}
    return replace(bars, symbol="BTCUSDT", **moved)


def longs(bars: lab.Bars) -> lab.Entries:
    return lab.every(bars, "long", step=7)


@pytest.mark.parametrize("learner", ["cells", "linucb"])
def test_a_table_is_fitted_and_holds_where_it_was_judged(learner: Literal["cells", "linucb"]) -> None:
    bars = market()
    made, again = (
        lab.fit_hints(
            {"BTCUSDT": bars}, {"BTCUSDT": longs(bars)}, NARROW, sl_bps=(200, 300, 400), least=20, learner=learner,
            created=datetime(2026, 1, 1, tzinfo=UTC),
        )
        for _ in range(2)
    )  # fmt: skip
    assert again == made and made.digest == digest_of(made)
    assert (made.policy, made.learner, made.kit) == ("narrow", learner, version("qtkit"))
    assert made.rows and made.from_ms < made.split_ms < made.until_ms
    for it in made.rows:
        assert it.sl in (200, 300, 400) and (it.tp, it.trail) == (None, None)
        assert it.out_points > it.base_points and it.confidence > 5_000 and min(it.entries, it.out_entries) >= 20
    assert lab.hints_frame(made)["out_bps"].to_list() == [it.out_points / 100 for it in made.rows]


def test_what_judges_does_not_choose() -> None:
    """Other prices after the split change the figures there, and no choice and no figure before it."""
    bars = market()
    one = lab.fit_hints({"BTCUSDT": bars}, {"BTCUSDT": longs(bars)}, NARROW, sl_bps=(200, 300, 400), least=20)
    later = np.arange(len(bars)) >= int(np.searchsorted(bars.time_ms, one.split_ms))
    steeper = {name: getattr(bars, name) + np.cumsum(later) for name in ("open", "high", "low", "close")}
    other = replace(bars, **steeper)
    two = lab.fit_hints({"BTCUSDT": other}, {"BTCUSDT": longs(other)}, NARROW, sl_bps=(200, 300, 400), least=20)
    before = {(it.regime, it.volatility): (it.sl, it.in_points) for it in one.rows}
    shared = [it for it in two.rows if (it.regime, it.volatility) in before]
    assert shared and one.data != two.data
    for it in shared:
        assert before[it.regime, it.volatility] == (it.sl, it.in_points)


def test_what_cannot_be_fitted_is_refused() -> None:
    bars = {"BTCUSDT": market(n=400)}
    with pytest.raises(PolicyError, match="nothing to choose from"):
        lab.fit_hints(bars, "every bar", BASE, sl_bps=(150,))
    with pytest.raises(PolicyError, match="learner is 'cells' or 'linucb'"):
        lab.fit_hints(bars, "every bar", BASE, sl_bps=(150, 200), learner="deep")  # type: ignore[arg-type]


def test_the_bars_of_a_table_are_known_by_their_hash() -> None:
    bars = market(n=400)
    made = table(data=(("BTCUSDT", data_hash(bars)),))
    lab.require_data(made, [bars])
    changed = bars.close.copy()
    changed[7] += 1
    with pytest.raises(BarsError, match="BTCUSDT: the hints were fitted on others"):
        lab.require_data(made, [replace(bars, close=changed)])
    with pytest.raises(BarsError, match="fitted without it"):
        lab.require_data(made, [replace(bars, symbol="ETHUSDT")])


# -- the file


def entry(market: MarketData, symbol: str = "BTCUSDT", confidence: int | None = None) -> ExitContext:
    bars = replace(walk(1, 50), symbol=symbol)
    price = E8(int(bars.close[0]) * bars.tick)
    return ExitContext(
        account="lab", instrument=_instrument(bars, lab.Costs()), now_ms=NOW, market=market,
        hints=RLHints(confidence=None if confidence is None else Bps(confidence)),
        position=Position(symbol=symbol, position_side=PositionSide.BOTH, side=Side.LONG, lots=Lots(1), entry=price, mark=price),
    )  # fmt: skip


def test_a_written_table_is_read_as_it_was(tmp_path: Path) -> None:
    made = table(row(), row(regime="CHOP", tp=None))
    lab.write_hints(made, tmp_path / "hints.json")
    file = HintsFile(path=tmp_path / "hints.json")
    assert file.table(NOW) == made
    normal = MarketData(volatility=Bps(200), trend=Bps(4_000))
    found = RLHints(sl=Bps(150), tp=Bps(400), trail=Bps(90), confidence=Bps(8_000))
    assert file.of(entry(normal), BASE) == found
    assert file.of(entry(normal, confidence=6_000), BASE) == replace(found, confidence=Bps(6_000))
    assert file.of(entry(normal, confidence=9_000), BASE) == found
    assert file.of(entry(MarketData(), confidence=6_000), BASE) == RLHints(confidence=Bps(6_000))
    assert file.of(entry(normal, symbol="ETHUSDT"), BASE) == RLHints()
    assert file.of(entry(replace(normal, regime=Regime.CHOP)), BASE).tp is None
    assert file.of(entry(normal), STAGED) == RLHints()  # they were fitted on another policy
    assert HintsFile().of(entry(normal, confidence=6_000), BASE) == RLHints(confidence=Bps(6_000))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda it: {**it, "until_ms": NOW - 40 * DAY_MS}, "changed after"),
        (lambda it: {**it, "rows": [{**it["rows"][0], "sl": 99}]}, "changed after"),
        (lambda it: {**it, "rwos": []}, "rwos"),
        (lambda it: {**it, "kit": None}, "kit"),
        (lambda it: [], "HintTable"),
    ],
)
def test_a_file_that_was_changed_is_refused(change: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "hints.json"
    lab.write_hints(table(), path)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))  # type: ignore[operator]
    with pytest.raises(PolicyError, match=rf"hints .*hints.json: .*{said}.*leave hints.file out") as told:
        HintsFile(path=path).table(NOW)
    assert "\n" not in str(told.value)


def test_stale_hints_those_of_another_version_and_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "hints.json"
    lab.write_hints(table(), path)
    assert HintsFile(path=path, max_age_days=5).table(NOW)
    with pytest.raises(PolicyError, match="their data end 5 days ago, and 4 are allowed; fit them on newer bars"):
        HintsFile(path=path, max_age_days=4).table(NOW)
    lab.write_hints(table(kit="0.0.9"), path)
    with pytest.raises(PolicyError, match=r"fitted by qtkit 0\.0\.9 and this is"):
        HintsFile(path=path).table(NOW)
    with pytest.raises(PolicyError, match=r"give the right file in hints\.file"):
        HintsFile(path=tmp_path / "none.json").table(NOW)


KNOWN = ("base", "scaled_tp")
UNFIT: dict[str, tuple[dict[str, object], str]] = {
    "stale": ({"until_ms": NOW - 40 * DAY_MS}, "their data end 40 days ago, and 30 are allowed; fit them on newer bars, or leave"),
    "of another version": ({"kit": "0.0.9"}, "they were fitted by qtkit 0.0.9 and this is"),
    "of another policy": ({"policy": "narrow"}, "shape no entry: they were fitted on the policy 'narrow', which is not known here; fit"),
    "of other data": ({"data": (("DOGEUSDT", "00"),)}, "fitted on DOGEUSDT, and accounts.main.symbols names none of them; fit"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_hints_that_do_not_serve_are_told_in_one_line(name: str, tmp_path: Path) -> None:
    changed, said = UNFIT[name]
    file = HintsFile(path=tmp_path / "hints.json")
    full = Account(name="main", scope=Scope.FULL, symbols=("BTCUSDT", "ETHUSDT"))
    lab.write_hints(table(), tmp_path / "hints.json")
    assert file.notes(full, KNOWN, NOW) == () == HintsFile().notes(full, KNOWN, NOW)
    lab.write_hints(table(**changed), tmp_path / "hints.json")
    (note,) = file.notes(full, KNOWN, NOW)
    assert said in note and "\n" not in note
    assert note.startswith("entries without a stop of their own are refused: hints ") == (name in ("stale", "of another version"))
    assert file.notes(replace(full, scope=Scope.GUARD), KNOWN, NOW) == (), "there are no entries to be shaped"


@story
async def test_the_ledger_of_a_desk_shows_hints_that_do_not_serve() -> None:
    home = Paths.here()
    PaperKeys.create(home.paper_keys())
    world = World()
    lab.write_hints(table(until_ms=START_MS - 60 * DAY_MS), home.home / "hints.json")
    gateway = PaperGateway(world.exchange, "paper", world.faults)
    async with opened(replace(Settings(), hints=Hints(file="hints.json")), gateway=gateway, clock_ms=lambda: world.now_ms) as it:
        (note,) = cover_of(it).notes
    assert "are refused: hints " in note and "their data end 60 days ago, and 30 are allowed" in note


def test_the_file_is_set_in_qtkit_toml(tmp_path: Path) -> None:
    (tmp_path / "qtkit.toml").write_text('[hints]\nfile = "hints.json"\nmax_age_days = 7\n')
    assert hints_of(Settings.load(tmp_path, {}), tmp_path) == HintsFile(path=tmp_path / "hints.json", max_age_days=7)
    assert hints_of(Settings(), tmp_path).path is None
    with pytest.raises(PolicyError, match="max_age_days"):
        Settings.load(tmp_path, {"QTKIT_HINTS__MAX_AGE_DAYS": "0"})


# -- the desk


@story
async def entered(folder: Path, hints: HintsFile, said: list[object], stop: str | None = None) -> None:
    async with desk(World(), folder) as rig:
        rig.executor.hints = hints
        rig.executor.sizing = replace(rig.executor.sizing, policy=BASE)
        await rig.passes(2)
        try:
            said.append(await rig.executor.execute(Signal(symbol="BTCUSDT", side="BUY", quantity=Decimal("0.01"), stop=stop)))
        except PolicyError as error:
            said.append(str(error))
        said.append(rig.router.get_active_plan("BTCUSDT"))


def test_an_entry_is_planned_by_the_hints(tmp_path: Path) -> None:
    cells = [row(regime=regime, volatility=volatility) for regime in REGIMES for volatility in BUCKETS]
    lab.write_hints(table(*cells, until_ms=START_MS), tmp_path / "hints.json")
    with_hints: list[object] = []
    entered(tmp_path / "with", HintsFile(path=tmp_path / "hints.json"), with_hints)
    without: list[object] = []
    entered(tmp_path / "without", HintsFile(), without)
    asked: list[object] = []
    entered(tmp_path / "asked", HintsFile(path=tmp_path / "hints.json"), asked, "3%")
    hinted_plan, plain, told = with_hints[-1], without[-1], asked[-1]
    assert isinstance(hinted_plan, ExitPlan) and isinstance(plain, ExitPlan) and isinstance(told, ExitPlan)
    assert [round((it.entry - it.stop * it.tick) * 10_000 / it.entry) for it in (hinted_plan, plain, told)] == [150, 200, 300]
    assert hinted_plan.trail is not None and hinted_plan.trail.callback == 90
    assert (hinted_plan.confidence, plain.confidence) == (8_000, None)
    assert "shaped by the model's hints" in hinted_plan.reason


def test_with_stale_hints_no_entry_is_made_and_the_reason_is_told(tmp_path: Path) -> None:
    lab.write_hints(table(until_ms=START_MS - 60 * DAY_MS), tmp_path / "hints.json")
    said: list[object] = []
    entered(tmp_path / "home", HintsFile(path=tmp_path / "hints.json"), said)
    assert "their data end 60 days ago" in str(said[0]) and said[1] is None


@story
async def test_a_desk_takes_the_file_of_its_settings() -> None:
    home = Paths.here()
    PaperKeys.create(home.paper_keys())
    world = World()
    settings = replace(Settings(), hints=Hints(file="hints.json", max_age_days=7))
    gateway = PaperGateway(world.exchange, "paper", world.faults)
    async with opened(settings, gateway=gateway, clock_ms=lambda: world.now_ms) as it:
        assert it.executor.hints == HintsFile(path=home.home / "hints.json", max_age_days=7)


def test_frames_of_an_empty_table() -> None:
    assert lab.hints_frame(replace(table(), rows=())).is_empty() and isinstance(lab.hints_frame(table()), pl.DataFrame)
