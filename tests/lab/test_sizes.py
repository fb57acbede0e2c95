"""What a sweep is told beside its grid: the series that fires, how positions are sized, their leverage."""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from qtkit import lab
from qtkit.bars import BarsError
from qtkit.core.model import Bps, PolicyError
from qtkit.lab import plots
from qtkit.lab.entries import NONE
from tests.lab.rig import case, funded, marked, some_entries, some_grid, walk
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
    of_risk, of_equal = (lab.sweep(bars, entries, grid, size=size) for size in ("risk", "equal"))  # type: ignore[arg-type]
    away = np.abs(entries.price - entries.stop) / entries.price
    for policy in range(len(grid)):
        ended = of_risk.trades(policy)["exit_time"].arg_sort()
        net = of_risk.net_bps[ended.to_numpy(), policy] / 10_000
        by_risk, by_equal = of_risk.equity(policy), of_equal.equity(policy)
        assert by_risk.columns == ["time", "net_r"] and by_equal.columns == ["time", "net_bps"]
        np.testing.assert_allclose(by_risk["net_r"], np.cumsum(net / away[ended.to_numpy()]), rtol=0.02)
        np.testing.assert_allclose(by_equal["net_bps"], np.cumsum(net) * 10_000)
        assert of_equal.equity(policy, unit="net_r").equals(by_risk)


QUANTITIES = (0.5, 2.0, 10.0, 0.001)


def given(seed: int, n: int = 40) -> tuple[lab.Bars, lab.Entries]:
    """Bars with funding, and entries of both sides that bring their quantities and tags."""
    bars = funded(walk(seed, 900), seed)
    made = some_entries(bars, seed, n)
    return bars, replace(made, size=np.resize(QUANTITIES, n), tag=pl.Series(np.resize(["calm", "wild", "calm"], n)))


def made_sizes(entries: lab.Entries) -> npt.NDArray[np.float64]:
    assert entries.size is not None
    return entries.size


@pytest.mark.parametrize("one_at_a_time", [False, True])
def test_a_given_size_is_the_quantity_of_the_coin(one_at_a_time: bool) -> None:
    """Long and short, against the reference: its money of one coin, times the quantity of the position."""
    bars, entries = given(3)
    grid = lab.grid(stop_bps=(150, 400), trail_bps=(80, 200))
    result = lab.sweep(bars, entries, grid, size="given", one_at_a_time=one_at_a_time)
    for policy in range(len(grid)):
        trades = result.trades(policy)
        took = np.flatnonzero(result.held[:, policy])
        ran = lab.replay(bars, entries.take(took), grid.policies[policy])
        assert trades.height == len(ran) and set(trades["side"]) == {"long", "short"}
        assert trades["size"].to_list() == made_sizes(entries)[took].tolist()
        np.testing.assert_allclose(trades["net_quote"], [(it.gross - it.fees - it.paid) / 1e12 for it in ran] * trades["size"].to_numpy())
        np.testing.assert_allclose(trades["net_quote"], trades["net_bps"] / 10_000 * trades["price"] * trades["size"])
        ordered = trades.sort("exit_time", maintain_order=True)
        equity = result.equity(policy)
        assert equity.columns == ["time", "net_quote"] and equity["time"].equals(ordered["exit_time"].alias("time"))
        np.testing.assert_allclose(equity["net_quote"], ordered["net_quote"].cum_sum())


def test_money_of_given_sizes_adds_up_in_every_table() -> None:
    bars, entries = given(5)
    grid = lab.grid(stop_bps=(150, 400), trail_bps=(80, 200))
    result = lab.sweep(bars, entries, grid, size="given")
    table = result.table().sort("policy")
    brought = [result.trades(policy)["net_quote"].sum() for policy in range(len(grid))]
    np.testing.assert_allclose(table["net_quote"], brought)
    np.testing.assert_allclose(result.cube("net_quote").ravel(), brought)
    assert result.best("net_quote") == int(np.argmax(brought))
    for group in ("tag", "side", "hour", "regime"):
        parts = result.by(group).group_by("policy").agg(pl.col("net_quote").sum()).sort("policy")
        np.testing.assert_allclose(parts["net_quote"], brought)
    assert "net_quote" not in lab.sweep(bars, entries, grid).table().columns


def test_tables_and_pictures_of_given_sizes_tell_money() -> None:
    bars, entries = given(5)
    result = lab.sweep(bars, entries, lab.grid(stop_bps=(150, 400), trail_bps=(80, 200)), size="given")
    assert "net money" in repr(result) and "net money" not in repr(lab.sweep(bars, entries, result.grid))
    drawn = plots.equity(result, [0, 1], unit="net_quote").svg
    assert "of the quote coin" in drawn and "each of its own size" in drawn
    assert "of the quote coin" in result.heatmap("net_quote").svg


def test_a_portfolio_of_given_sizes_counts_money() -> None:
    many = {f"S{seed}USDT": given(seed) for seed in (1, 2, 3)}
    bars, entries = {name: it[0] for name, it in many.items()}, {name: it[1] for name, it in many.items()}
    grid = lab.grid(stop_bps=(150, 400), trail_bps=(80, 200))
    them = lab.portfolio(bars, entries, grid, size="given")
    for policy in range(len(grid)):
        brought, days = them.trades(policy)["net_quote"].sum(), them.daily(policy)
        assert days.columns == ["day", "net_quote", "total_quote", "drawdown_quote", "stopped"]
        assert days["total_quote"][-1] == pytest.approx(brought)
        for group in ("symbol", "side", "tag"):
            assert them.by(group).filter(policy=policy)["net_quote"].sum() == pytest.approx(brought)
    table = them.table()
    assert {"net_quote_per_day", "worst_day_quote", "drawdown_quote"} <= set(table.columns)
    assert not [name for name in table.columns if name.endswith("_bps") or "bps_" in name]


def test_sweep_and_portfolio_know_the_same_words_for_sizes() -> None:
    bars, entries = given(1)
    for size in get_args(lab.Size):
        alone = lab.sweep(bars, entries, lab.grid(stop_bps=200), size=size, one_at_a_time=True)
        them = lab.portfolio({"X": bars}, {"X": entries}, lab.grid(stop_bps=200), size=size)
        assert them.results["X"].equity(0).equals(alone.equity(0))
    ask: tuple[Callable[[], object], ...] = (
        lambda: lab.sweep(bars, entries, lab.grid(stop_bps=200), size="equals"),  # type: ignore[arg-type]
        lambda: lab.portfolio({"X": bars}, {"X": entries}, lab.grid(stop_bps=200), size="equals"),  # type: ignore[arg-type]
    )
    for asked in ask:
        with pytest.raises(PolicyError, match=r"^there is no size='equals': did you mean 'equal'\?"):
            asked()


def test_given_sizes_that_are_not_there() -> None:
    bars, entries = given(1)
    grid = lab.grid(stop_bps=200)
    said = r"size='given' needs a column 'size' in the entries: how many coins each position has"
    for none in (replace(entries, size=None), "every bar", pl.DataFrame({"bar": [1], "side": ["long"]})):
        with pytest.raises(BarsError, match=f"^{said}"):
            lab.sweep(bars, none, grid, size="given")
    with pytest.raises(BarsError, match=f"^X: {said}"):
        lab.portfolio({"X": bars}, {"X": replace(entries, size=None)}, grid, size="given")
    with pytest.raises(PolicyError, match=r"size='given' weighs each position, and this sweep keeps statistics alone"):
        lab.sweep(bars, entries, grid, size="given", keep="statistics")
    with pytest.raises(PolicyError, match=r"only a sweep with size='given' counts in 'net_quote'"):
        lab.sweep(bars, entries, grid).equity(0, unit="net_quote")


def test_positions_of_ones_own_count_by_their_own_size() -> None:
    """A counterfactual knows how many coins each position had."""
    bars = lab.example(days=3)
    step = bars.step_ms
    rows = [
        (bars.time_ms[at] + step // 2, side, bars.price(int(bars.close[at])), coins)
        for at, side, coins in ((50, "buy", "0.5"), (90, "sell", "0.5"), (200, "sell", "2"), (260, "buy", "2"))
    ]
    own = lab.episodes(lab.fills(pl.DataFrame({
        "time": pl.Series([row[0] for row in rows]).cast(pl.Datetime("ms", "UTC")), "symbol": [bars.symbol] * 4,
        "side": [row[1] for row in rows], "price": [row[2] for row in rows], "size": [row[3] for row in rows],
    })))  # fmt: skip
    result = lab.counterfactual(own, {bars.symbol: bars}, lab.grid(stop_bps=200)).results[bars.symbol]
    assert result.trades(0)["size"].to_list() == [0.5, 2.0]
    assert result.equity(0).columns == ["time", "net_quote"]


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
