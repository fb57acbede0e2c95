"""What a sweep is told beside its grid: the series that fires, how positions are sized, their leverage."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from qtkit import lab
from qtkit.bars import BarsError
from qtkit.core.model import Bps, PolicyError
from qtkit.lab.entries import NONE
from tests.lab.rig import case, marked, some_entries, some_grid, walk
from tests.lab.test_equality import same


def test_a_trigger_given_to_the_sweep_is_one_that_the_bars_have() -> None:
    bars = marked(walk(5), 5)
    assert bars.trigger is not None
    mark, alone = bars.trigger, replace(bars, trigger=None)
    entries, grid = some_entries(bars, 5), some_grid(5)
    known = lab.sweep(bars, entries, grid)
    same(lab.sweep(alone, entries, grid, trigger=mark), known)
    same(lab.sweep(alone, entries, grid, trigger=mark.frame().with_columns(volume=pl.lit(1.0))), known)
    plain = lab.sweep(alone, entries, grid)
    assert plain.outcomes is not None and known.outcomes is not None
    assert (plain.outcomes.bar != known.outcomes.bar).any(), "else the trigger is not shown to fire"


def test_a_finer_trigger_is_taken_at_the_nearest_tick() -> None:
    bars = walk(5)
    half = replace(bars, tick=bars.tick // 10, **{name: getattr(bars, name) * 10 + 4 for name in ("open", "high", "low", "close")})
    entries, grid = some_entries(bars, 5), some_grid(5)
    same(lab.sweep(bars, entries, grid, trigger=half), lab.sweep(bars, entries, grid, trigger=bars))


def test_a_trigger_with_a_hole_is_refused() -> None:
    bars = walk(5)
    holed = lab.load(bars.frame().with_columns(volume=pl.lit(1.0))[[*range(7), *range(8, 400)]])
    with pytest.raises(BarsError, match=r"mark: has no bar at 1970-01-01 00:07:00.*which bars has \(1 such\)"):
        lab.sweep(bars, "every bar", some_grid(5), trigger=replace(holed, source="mark"))


def test_equity_is_counted_as_positions_are_sized() -> None:
    """Of the same risk each, a position weighs one by the distance of its stop."""
    bars = walk(3, 600)
    entries = some_entries(bars, 3, 40, stops=True)
    grid = lab.grid(trail_bps=(80, 200), own_stop=True)
    of_risk, of_units = (lab.sweep(bars, entries, grid, size=size) for size in ("risk", "unit"))  # type: ignore[arg-type]
    away = np.abs(entries.price - entries.stop) / entries.price
    for policy in range(len(grid)):
        ended = of_risk.trades(policy)["exit_time"].arg_sort()
        net = of_risk.net_bps[ended.to_numpy(), policy] / 10_000
        by_risk, by_unit = of_risk.equity(policy), of_units.equity(policy)
        assert by_risk.columns == ["time", "net_r"] and by_unit.columns == ["time", "net_bps"]
        np.testing.assert_allclose(by_risk["net_r"], np.cumsum(net / away[ended.to_numpy()]), rtol=0.02)
        np.testing.assert_allclose(by_unit["net_bps"], np.cumsum(net) * 10_000)
        assert of_units.equity(policy, unit="net_r").equals(by_risk)


def test_what_the_desk_refuses_of_an_isolated_entry_the_sweep_refuses() -> None:
    """On both sides of the bound, long and short, with the policy's own buffer, to the tick."""
    refused = allowed = 0
    for seed in range(120):
        bars, entries, _, costs, _ = case(seed)
        leverage = (1, 3, 5, 10, 20)[seed % 5]
        bound = min(6_000 // leverage, 9_000)
        near = bound - 40 * (seed % 3 == 0) + seed % 7 - 3
        policy = replace(lab.grid(stop_bps=near).policies[0], liquidation_buffer=Bps((0, 25, 900)[seed % 3]))
        for row in range(len(entries)):
            one = replace(entries.take(slice(row, row + 1)), last=np.array([NONE]))
            try:
                lab.sweep(bars, one, policy, costs=costs, leverage=leverage)
                said = True
            except PolicyError as error:
                assert "p0: its stop is" in str(error) and f"a leverage of {leverage} allows" in str(error)
                said = False
            try:
                lab.replay(bars.slice(0, int(one.bar[0]) + 2), one, policy, costs=costs, leverage=leverage)
                planned = True
            except PolicyError:
                planned = False
            assert said == planned, (seed, row, near, leverage)
            refused, allowed = refused + (not said), allowed + said
    assert refused > 100 and allowed > 100


@pytest.mark.parametrize("leverage", [0, -3, 2.5, "10", True])
def test_a_leverage_that_is_none(leverage: object) -> None:
    with pytest.raises(PolicyError, match="leverage is a whole number from 1"):
        lab.sweep(walk(1), "every bar", lab.grid(stop_bps=100), leverage=leverage)  # type: ignore[arg-type]


def test_an_own_stop_beyond_liquidation_is_named_by_its_entry() -> None:
    bars = walk(1)
    entries = some_entries(bars, 1, 4, stops=True)
    with pytest.raises(
        PolicyError, match=r"the stop of the entry at 1970-01-01 .* beyond what a leverage of 100 allows before liquidation"
    ):
        lab.sweep(bars, entries, lab.grid(own_stop=True), leverage=100)
