"""The sandbox: the same seed tells the same story, and what it answers is true of the exchange it holds."""

import pytest
import structlog

from qtkit import lab
from qtkit.core.model import PolicyError, Side
from qtkit.lab import sheets
from qtkit.sandbox import Sandbox, paper_day


@pytest.fixture(autouse=True)
def unconfigured() -> None:
    structlog.reset_defaults()


BOTH = pytest.mark.parametrize("side", [Side.LONG, Side.SHORT], ids=lambda side: side.name.lower())
START = {"AVAXUSDT": "14.58"}


async def told(seed: int, side: Side) -> str:
    sandbox = await Sandbox.open(START, seed=seed)
    sandbox.stranger("AVAXUSDT", side, "200")
    await sandbox.passes(2)
    await sandbox.play({"AVAXUSDT": [(3, side.sign * 2.5), (6, side.sign * 1.0)]})
    rows = "\n".join(f"{row.at_ms} {row.event}" for row in sandbox.journal())
    await sandbox.close()
    return rows


@BOTH
async def test_a_seed_tells_the_same_story(side: Side) -> None:
    first = await told(7, side)
    assert first == await told(7, side)
    assert first != await told(8, side)


@BOTH
async def test_two_passes_cover_and_a_preview_sends_nothing(side: Side) -> None:
    sandbox = await Sandbox.open(START, policy="staged")
    sandbox.stranger("AVAXUSDT", side, "200")
    await sandbox.passes(1)
    assert sandbox.ledger().lines[0].naked
    await sandbox.passes(1)
    assert not sandbox.ledger().has_gap and sandbox.ledger().late() is None
    resting = sandbox.ledger().orders
    assert {step.do for step in await sandbox.preview()} == {"keep"}
    await sandbox.passes(1)
    assert sandbox.ledger().orders == resting and len(sandbox.plans()) == 1
    assert f"AVAXUSDT {side.name.lower()}: stop at" in sandbox.explain("AVAXUSDT")
    await sandbox.close()


async def test_both_sides_in_hedge_mode() -> None:
    sandbox = await Sandbox.open(START, hedge=True)
    for side in Side:
        sandbox.stranger("AVAXUSDT", side, "200")
    await sandbox.passes(2)
    assert [line.covered for line in sandbox.ledger().lines] == ["100", "100"]
    sandbox.leaves("AVAXUSDT", Side.LONG, "200")
    await sandbox.passes(4)
    assert [line.side for line in sandbox.ledger().lines] == ["SHORT"]
    assert all(promise.held for promise in sandbox.promises())
    await sandbox.close()


@BOTH
async def test_a_kill_leaves_the_orders_and_a_start_goes_on(side: Side) -> None:
    sandbox = await Sandbox.open(START, policy="staged")
    sandbox.stranger("AVAXUSDT", side, "200")
    await sandbox.passes(2)
    await sandbox.kill()
    with pytest.raises(RuntimeError, match=r"no desk runs in this sandbox now; `await sandbox.start\(\)`"):
        sandbox.ledger()
    await sandbox.play({"AVAXUSDT": [(2, side.sign * 0.4)]})
    await sandbox.start()
    await sandbox.passes(2)
    assert not sandbox.ledger().has_gap and len(sandbox.plans()) == 1, "the plan is the one from before the kill"
    (kill,) = sandbox.story().kills
    assert kill["until_ms"] - kill["time_ms"] == 120_000
    await sandbox.close()
    assert not sandbox.home.exists() and not structlog.is_configured(), "nothing is left behind"


@pytest.mark.parametrize("price", ["", "0", "-1", "nan", "fourteen"])
async def test_a_price_that_is_none_is_refused(price: str) -> None:
    with pytest.raises(PolicyError, match="the first price of AVAXUSDT is a number above zero"):
        await Sandbox.open({"AVAXUSDT": price})


async def test_an_unknown_symbol_is_refused_with_the_nearest() -> None:
    with pytest.raises(PolicyError, match="did you mean AVAXUSDT"):
        await Sandbox.open({"AVAXUSD": "14"})
    with pytest.raises(PolicyError, match="there is no exit policy 'stagd'"):
        await Sandbox.open(START, policy="stagd")


async def test_a_day_can_be_told_again_by_the_reference() -> None:
    day, fills = await paper_day(seed=3, minutes=30)
    told = lab.parity(**day, trades=fills)
    assert told.frame.height >= 3 and told.differences == (), told.sentence
    assert set(told.frame["note"]) == {""} and fills.height >= 3
    assert sheets.parity(told).frame["the desk"].to_list() == sheets.parity(told).frame["the reference"].to_list()
    assert day["bars"].height and day["prices"].height
