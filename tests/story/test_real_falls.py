"""Falls and squeezes that really happened, with the desk at work: no gap of cover, nobody liquidated, no stop loosened; long and short."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from qtkit.core.model import PolicyError, Side
from qtkit.paper.barpath import BarPath
from qtkit.sandbox.falls import MADE, RECORDED, Fall, Outcome, outcomes_table, play
from tests.story.rig import silence

WITHIN_MS = 4_000  # two passes


def played(fall: Fall, data: Path | None, **more: object) -> tuple[Outcome, ...]:
    with silence():
        outcomes, promises = asyncio.run(play(fall, data, **more))  # type: ignore[arg-type]
    broken = [f"{row.name}: {row.evidence}" for row in promises if not row.held]
    assert not broken, broken
    assert outcomes and all(one.sound and one.worst_gap_ms == 0 and one.naked_ms <= WITHIN_MS for one in outcomes)
    for one in outcomes:
        assert one.side.sign * (one.entry - one.stop) > 0, "the first stop lies on the loss side"
        assert one.closed_ms is None or one.exit_price is not None
        if one.reason == "stop":
            planned_bps = 10_000 * abs(one.entry - one.stop) / one.entry
            assert one.r >= -1 - ((one.slippage or 0) + 15) / planned_bps, "a stop costs what was planned, its slippage and fees"
    return outcomes


def by_side(outcomes: tuple[Outcome, ...]) -> dict[Side, Outcome]:
    return {one.side: one for one in outcomes}


@pytest.mark.parametrize("fall", RECORDED, ids=lambda fall: fall.name.partition(",")[0])
def test_a_real_fall_leaves_nobody_naked(market_data: Path, fall: Fall) -> None:
    found = by_side(played(fall, market_data))
    assert set(found) == set(Side)
    if "SOL" in fall.name:  # a fifth in an hour, or in a bar: the side that it is against is out, by its stop
        against = Side.SHORT if "up" in fall.name else Side.LONG
        assert found[against].reason.endswith("stop") and found[against].closed_ms is not None and found[against].pnl < 0
        assert found[Side(-against.value)].pnl > 0
    if "07:14" in fall.name:
        assert datetime.fromtimestamp((found[Side.SHORT].closed_ms or 0) / 1000, UTC).strftime("%Y-%m-%d %H:%M") == "2023-01-02 07:14"


@pytest.mark.night
@pytest.mark.timeout(900)
@pytest.mark.parametrize("side", list(Side), ids=lambda side: side.name.lower())
@pytest.mark.parametrize("fall", RECORDED, ids=lambda fall: fall.name.partition(",")[0])
def test_a_whole_day_of_it_on_the_worst_path_for_the_side(market_data: Path, fall: Fall, side: Side) -> None:
    path = BarPath.WORST_LONG if side is Side.LONG else BarPath.WORST_SHORT
    played(fall, market_data, hours=12.0, path=path, sides=(side,))


def test_made_ones_need_no_data_and_recorded_ones_say_that_they_do() -> None:
    found = by_side(played(MADE[0], None))
    assert found[Side.SHORT].pnl > 0 > found[Side.LONG].pnl
    text = str(outcomes_table(found.values()).frame.to_dicts())
    assert "made: crash" in text
    with pytest.raises(PolicyError, match="is recorded; name the folder of market data that holds perp_1m"):
        RECORDED[0].tape(None, BarPath.BRIDGE)
