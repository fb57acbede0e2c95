"""What came first inside a bar: the chance of it, and finer bars that tell it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from qtkit import lab
from qtkit.bars import BarsError
from qtkit.lab.arguments import Ints
from qtkit.lab.bands import _favourable_first, _read, _swept
from qtkit.lab.bridge import high_first
from qtkit.lab.entries import at_close
from qtkit.lab.finer import Finer
from tests.lab.rig import MINUTE, funded, some_entries, walk

GRID = lab.grid(stop_bps=(60, 100), targets=[((60, 50), (90, 50)), ((250, 100),)], max_bars=200)


def path_bars(seed: int, bars: int = 300, parts: int = 60, *, price: int = 2_400) -> tuple[lab.Bars, lab.Bars]:
    """Bars, and their parts of a single price each: of these the order is known."""
    rng = np.random.default_rng(seed)
    path = price + np.cumsum(rng.integers(-6, 7, bars * parts)).astype(np.int64)
    step = MINUTE // parts

    def of(rows: Ints, step_ms: int) -> lab.Bars:
        return lab.Bars(
            symbol="TESTUSDT", tick=10_000_000, step_ms=step_ms, time_ms=np.arange(len(rows), dtype=np.int64) * step_ms, open=rows[:, 0],
            high=rows.max(1), low=rows.min(1), close=rows[:, -1],
        )  # fmt: skip

    return of(path.reshape(bars, parts), MINUTE), of(path.reshape(-1, 1), step)


class Open:
    """Net bps of the two orders, [entries, policies], as far as finer bars leave them open, beside the table."""

    def __init__(self, bars: lab.Bars, entries: lab.Entries, grid: lab.Grid, costs: lab.Costs | str | None, finer: Finer | None) -> None:
        self.worst, self.best = (_swept(bars, entries, grid, costs, fill) for fill in ("worst", "best"))
        self.low, self.high, self.resolved = _read(self.worst, self.best, finer)
        self.table = lab.bands(bars, entries, grid, costs=costs, resolve=finer).sort("policy")
        self.sampled = self.table["sampled_bps"].to_numpy()


def test_bars_in_which_nothing_can_be_mistaken_have_no_width() -> None:
    bars = walk(3, 1_000, rough=2)
    table = lab.bands(bars, some_entries(bars, 1, 200), lab.grid(stop_bps=(200, 400), trail_bps=(80, 150)))
    assert table["hangs_pct"].max() == 0 and table["spread_bps"].max() < 1e-9
    assert table["worst_bps"].equals(table["best_bps"], check_names=False)


@pytest.mark.parametrize("costs", [None, "account", lab.Costs(slip_ppm=300, slip_range_ppm=40_000), lab.Costs(targets="limit")])
@pytest.mark.parametrize("side", ["long", "short"])
def test_finer_bars_of_one_price_settle_every_order(side: str, costs: lab.Costs | str | None) -> None:
    bars, parts = path_bars(4)
    entries = lab.every(bars, side, step=2)  # type: ignore[arg-type]
    wide = Open(bars, entries, GRID, costs, None)
    told = Open(bars, entries, GRID, costs, parts)
    apart = wide.low != wide.high
    assert apart.sum() > 20 and (told.resolved == apart).all() and np.array_equal(told.low, told.high)
    assert ((wide.low - 1e-9 <= told.low) & (told.low <= wide.high + 1e-9)).all(), "within what the bars allow"
    assert np.array_equal(told.low[~apart], wide.low[~apart])
    assert np.allclose(told.sampled, told.low.mean(0)) and told.table["hangs_pct"].max() == 0


@pytest.mark.parametrize("sign", [1, -1])
def test_what_the_parts_say_is_what_the_path_did(sign: int) -> None:
    """One stop and one target: which of the two the path met first is looked up in the path itself."""
    bars, parts = path_bars(9)
    bar = np.arange(0, 290, 2)
    entries = at_close(bars, bar, np.full(len(bar), sign))
    grid = lab.grid(stop_bps=70, targets=[((70, 100),)])
    told = Open(bars, entries, grid, None, parts)
    for row in np.flatnonzero(told.resolved[:, 0]):
        plan = lab.replay(bars, entries.take(np.array([row])), grid.policies[0], costs=None)[0].plan
        path = sign * parts.close[(bar[row] + 1) * 60 :]
        met = [int(np.argmax(hit)) for hit in (path <= sign * plan.stop, path >= sign * plan.targets[0].price)]
        won = told.low[row, 0] > 0
        assert won == (met[1] < met[0]) and min(met) // 60 == max(met) // 60


def test_the_sampled_middle_is_nearer_to_what_happened_than_either_end() -> None:
    errors = []
    for seed in range(6):
        bars, parts = path_bars(seed)
        entries = lab.every(bars, "both", step=5)
        wide, told = (Open(bars, entries, GRID, None, finer) for finer in (None, parts))
        truth = told.low.mean(0)
        ends = wide.low.mean(0), wide.high.mean(0)
        errors.append([np.abs(it - truth).mean() for it in (wide.sampled, *ends)])
    sampled, worst, best = np.mean(errors, axis=0)
    assert sampled < 0.25 * min(worst, best)


def test_the_chance_of_an_order_is_how_often_a_walk_has_it() -> None:
    path = np.cumsum(np.random.default_rng(1).normal(0, 1, (12_000, 600)).astype(np.float32), axis=1)
    path[:, 0] = 0
    up, down, close = path.max(1).astype(float), -path.min(1).astype(float), path[:, -1].astype(float)
    first, chance = path.argmax(1) < path.argmin(1), high_first(up, down, close)
    for least in np.arange(0, 1, 0.1):
        within = (chance >= least) & (chance < least + 0.1)
        assert within.sum() > 300 and abs(chance[within].mean() - first[within].mean()) < 0.06
    near = down / (up + down)
    assert np.mean((chance - first) ** 2) < 0.7 * np.mean((near - first) ** 2), "the close tells more than the extremes alone"


def test_the_chance_of_an_order_has_the_shape_it_must() -> None:
    rng = np.random.default_rng(2)
    up, down = rng.random(500), rng.random(500)
    close = up - (up + down) * rng.random(500)
    chance = high_first(up, down, close)
    assert ((chance >= 0) & (chance <= 1)).all()
    assert np.allclose(chance + high_first(down, up, -close), 1), "mirrored it is the other order"
    assert np.allclose(chance, high_first(up * 7, down * 7, close * 7)), "the unit does not matter"
    ends = high_first(np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0]), np.array([-0.5, 0.5, 0.0, 0.0]))
    assert ends.tolist() == pytest.approx([1, 0, 0.5, 0.5])
    assert high_first(*(np.array([value]) for value in (1.0, 1.0, 1.0)))[0] < 0.1, "a bar that closes on its high went low first"


def test_entries_inside_a_bar_are_sampled_and_not_looked_up() -> None:
    bars, parts = path_bars(5)
    entries = some_entries(bars, 3, 200, inside=True)
    made = Open(bars, entries, GRID, None, parts)
    own = (made.worst.outcomes.bar == entries.bar[:, None]) & (made.low != made.high)  # type: ignore[union-attr]
    assert own.any() and not (made.resolved & own).any()
    ends = np.minimum(made.low, made.high).mean(0), np.maximum(made.low, made.high).mean(0)
    assert ((ends[0] <= made.sampled + 1e-9) & (made.sampled <= ends[1] + 1e-9)).all()


def test_bars_put_together_are_those_that_were_taken_apart() -> None:
    bars, parts = path_bars(7)
    parts = replace(parts, trigger=parts, funding=np.arange(len(parts)))
    made = parts.coarser(MINUTE)
    for name in ("time_ms", "open", "high", "low", "close"):
        assert np.array_equal(getattr(made, name), getattr(bars, name)) and np.array_equal(getattr(made.watched, name), getattr(bars, name))
    assert made.step_ms == MINUTE and made.funding is not None and made.funding.tolist() == list(range(59, len(parts), 60))
    holed = bars.slice(3, 300).coarser(5 * MINUTE)
    assert holed.time_ms[0] == 0 and holed.open[0] == bars.open[3] and holed.close[0] == bars.close[4] and len(holed) == 60
    for step_ms in (90_000, 0, 1_000):
        with pytest.raises(BarsError, match=f"make none of {step_ms} ms; ask for a multiple"):
            bars.coarser(step_ms)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("inside", [True, False])
def test_a_bar_that_closed_where_it_is_good_most_likely_was_bad_first(sign: int, inside: bool) -> None:
    """A stop and a target in one bar; of an entry inside it, what came last is what it met."""
    chances = []
    for close in (95, -240):
        rows = [(0, 100, -250, close)] if inside else [(0, 0, 0, 0), (0, 100, -250, close)]
        rows += [(close, close, close, close)] * 3
        opened, good, bad, closed = (10_000 + sign * np.array(part) for part in zip(*rows, strict=True))
        bars = lab.Bars(
            symbol="TESTUSDT", tick=10_000_000, step_ms=MINUTE, time_ms=np.arange(len(rows), dtype=np.int64) * MINUTE, open=opened,
            high=np.maximum(good, bad), low=np.minimum(good, bad), close=closed,
        )  # fmt: skip
        entries = replace(at_close(bars, np.array([0]), np.array([sign])), price=np.array([10_000 * bars.tick]), inside=np.array([inside]))
        worst, best = (_swept(bars, entries, lab.grid(stop_bps=80, targets=[((80, 100),)]), None, fill) for fill in ("worst", "best"))
        assert worst.net[0, 0] < best.net[0, 0]
        chances.append(float(_favourable_first(worst, best)[0, 0]))
    good, bad = reversed(chances) if inside else chances
    assert good < 0.1 and bad > 0.9


def test_finer_bars_may_be_given_bar_by_bar_and_in_part() -> None:
    bars, parts = path_bars(4)
    entries = lab.every(bars, "long", step=2)
    asked: list[tuple[int, int]] = []

    def first_half(begin: int, end: int) -> lab.Bars | None:
        asked.append((begin, end))
        first, until = np.searchsorted(parts.time_ms, (begin, end))
        return parts.slice(int(first), int(until)) if begin < 150 * MINUTE else None

    whole, half = (Open(bars, entries, GRID, "account", finer) for finer in (parts, first_half))
    assert 0 < half.resolved.sum() < whole.resolved.sum() and {end - begin for begin, end in asked} == {MINUTE}
    assert max(asked.count(it) for it in asked) == 2, "each bar is asked for once a sweep"
    assert np.array_equal(half.low[half.resolved], whole.low[half.resolved])
    torn = parts.slice(0, len(parts))
    torn = replace(torn, high=np.minimum(torn.high, torn.high - 1), low=torn.low - 1)
    assert not Open(bars, entries, GRID, "account", torn).resolved.any(), "parts that are not those of the bar tell nothing"


def test_finer_bars_that_do_not_fit_are_refused() -> None:
    bars, parts = path_bars(4, 200)
    entries = lab.every(bars, "long", step=3)
    with pytest.raises(BarsError, match=r'its tick is not that of bars; load it with tick="0\.1"'):
        lab.bands(bars, entries, GRID, resolve=replace(parts, tick=1_000_000))
    with pytest.raises(BarsError, match="no finer"):
        lab.bands(bars, entries, GRID, resolve=bars)
    with pytest.raises(BarsError, match="both need a trigger"):
        lab.bands(bars, entries, GRID, resolve=replace(parts, trigger=parts))


def test_funding_and_a_trigger_series_stay_in_the_band() -> None:
    bars, parts = path_bars(6)
    bars, parts = replace(funded(bars, 1), trigger=bars), replace(parts, trigger=parts)
    entries = some_entries(bars, 4, 150)
    wide, told = (Open(bars, entries, GRID, "account", finer) for finer in (None, parts))
    assert told.resolved.any() and np.array_equal(told.low, told.high)
    assert ((wide.low - 1e-9 <= told.low) & (told.low <= wide.high + 1e-9)).all()


def test_recorded_trades_tell_the_order_inside_their_bars(market_data: Path) -> None:
    trades = pl.read_parquet(market_data / "ticks/spot_XRPETH_aggtrades_2019-10.parquet").sort("time", "id")

    def made(every: str) -> lab.Bars:
        price = pl.col("price")
        found = trades.group_by_dynamic("time", every=every).agg(
            open=price.first(), high=price.max(), low=price.min(), close=price.last(), volume=pl.col("size").sum()
        )
        return lab.load(found.with_columns(pl.col("time").cast(pl.Datetime("ms", "UTC"))), symbol="XRPETH", tick="0.00000001")

    bars, parts = made("4h"), made("1s")
    grid = lab.grid(stop_bps=(50, 60), targets=[((50, 100),), ((80, 100),)])
    wide, told = (Open(bars, lab.every(bars), grid, "account", finer) for finer in (None, parts))
    assert (wide.low != wide.high).sum() > 5 and told.resolved.sum() == (wide.low != wide.high).sum()
    assert (told.high - told.low).sum() < 0.2 * (wide.high - wide.low).sum()


def test_one_at_a_time_the_parts_tell_the_order_too() -> None:
    """Where every order is told, all three orders take the same entries and bring the same."""
    bars, parts = path_bars(4)
    entries = lab.every(bars, "long", step=2)
    told = lab.bands(bars, entries, GRID, resolve=parts, one_at_a_time=True).sort("policy")
    open_ = lab.bands(bars, entries, GRID, one_at_a_time=True).sort("policy")
    assert told["resolved"].sum() > 0 and told["ambiguous"].sum() == 0 < open_["ambiguous"].sum()
    for name in ("sampled_bps", "best_bps"):
        assert np.allclose(told[name].to_numpy(), told["worst_bps"].to_numpy())
    assert told["rank_from"].to_list() == told["rank_to"].to_list()


def test_samples_are_by_seed_and_as_many_as_asked() -> None:
    bars, _ = path_bars(4)
    entries = lab.every(bars, step=2)
    one, other, same = (lab.bands(bars, entries, GRID, seed=seed) for seed in (0, 1, 0))
    assert one.equals(same) and not one.equals(other) and one["spread_bps"].max() > 0  # type: ignore[operator]
