"""Several symbols in one call, and cohorts that know nothing of what came later."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from qtkit.bars import BarsError
from qtkit.core.context import classify
from qtkit.core.hints import bucket
from qtkit.core.model import Bar, PolicyError, Ticks
from qtkit.lab import Bars, Portfolio, grid, portfolio, sweep
from qtkit.lab.cohorts import OF_MARKET, markets
from qtkit.lab.portfolio import uniqueness
from qtkit.market import HOUR_MS, market_data
from tests.lab.rig import MINUTE, funded, some_entries, walk

DAY = 1440
GRID = grid(stop_bps=(150, 400), trail_bps=(None, 120), max_bars=300)


def some(n: int = 3, bars: int = 3 * DAY) -> dict[str, Bars]:
    return {f"S{number}USDT": replace(walk(number, bars, rough=3), symbol=f"S{number}USDT") for number in range(n)}


def entered(bars: dict[str, Bars], n: int = 40, **more: bool) -> Portfolio:
    return portfolio(bars, {symbol: some_entries(it, 7, n) for symbol, it in bars.items()}, GRID, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("one_at_a_time", [True, False])
@pytest.mark.parametrize("size", ["equal", "risk"])
def test_the_days_are_the_sums_of_the_trades(size: str, one_at_a_time: bool) -> None:
    bars = some()
    them = portfolio(
        bars, {symbol: some_entries(it, 7, 40) for symbol, it in bars.items()}, GRID, size=size, risk_bps=30, one_at_a_time=one_at_a_time  # type: ignore[arg-type]
    )  # fmt: skip
    for policy in range(len(GRID)):
        days = them.daily(policy)
        want: dict[object, list[float]] = {day: [0.0] for day in days["day"]}
        stopped: dict[object, set[str]] = {day: set() for day in days["day"]}
        for symbol, it in bars.items():
            alone = sweep(it, some_entries(it, 7, 40), GRID, one_at_a_time=one_at_a_time)
            for row in alone.trades(policy).iter_rows(named=True):
                day = pl.Series([row["exit_time"]]).dt.offset_by("-1m").dt.date()[0]  # of the bar in which it was left
                want[day].append(row["net_r"] * 30 if size == "risk" else row["net_bps"] / 3)
                if row["why"] in ("stop", "trail", "stage", "break-even") and row["net_bps"] < 0:
                    stopped[day].add(symbol)
        assert days["net_bps"].to_list() == pytest.approx([sum(parts) for parts in want.values()])
        assert days["stopped"].to_list() == [len(symbols) for symbols in stopped.values()]
        top = worst = total = 0.0
        for net in days["net_bps"]:
            total += net
            top, worst = max(top, total), max(worst, max(top, total) - total)
        row = them.table().filter(pl.all_horizontal(pl.col(name) == GRID.frame()[name][policy] for name in GRID.frame().columns))
        assert row["drawdown_bps"][0] == pytest.approx(worst) and row["worst_day_bps"][0] == days["net_bps"].min()
        assert row["entries"][0] == len(them.trades(policy)) and row["joint_stops"][0] == sum(len(it) >= 2 for it in stopped.values())


def test_a_frame_with_a_column_symbol_is_the_same_as_a_frame_a_symbol() -> None:
    bars = some(2)
    rows = {symbol: pl.DataFrame({"bar": [5, 900, 2000], "side": ["long", "short", "long"]}) for symbol in bars}
    frame = pl.concat([part.with_columns(symbol=pl.lit(symbol)) for symbol, part in rows.items()]).sample(fraction=1, shuffle=True, seed=1)
    assert portfolio(bars, frame, GRID).table().equals(portfolio(bars, rows, GRID).table())


def test_cohorts_over_all_symbols_add_up() -> None:
    them = entered(some())
    for group in ("symbol", "side", "hour", "regime", "volatility", "funding"):
        told = them.by(group).group_by("policy").agg(pl.col("entries").sum()).sort("policy")
        assert told["entries"].to_list() == list(them.sums.entries)
    alone = them.results["S1USDT"].table().sort("policy")
    assert them.by("symbol").filter(symbol="S1USDT")["net_bps"].to_list() == pytest.approx(alone["net_bps"].to_list())


def test_a_cohort_in_which_nothing_was_stopped_has_none_stopped() -> None:
    bars = walk(1, 60)
    made = sweep(bars, pl.DataFrame({"bar": [1, 2], "side": ["long", "long"], "tag": ["calm", "tight"]}), GRID)
    out = made.outcomes
    assert out is not None
    out.why[0], out.why[1] = 6, 1
    rows = made.by("tag").filter(policy=0).to_dicts()
    assert [(row["tag"], row["stop %"], row["time %"]) for row in rows] == [("calm", 0, 100), ("tight", 100, 0)]


def test_stops_are_joint_as_often_as_expected_where_symbols_are_independent() -> None:
    """Of coins that are thrown independently about as many days as expected; of one market under many names all."""
    rng = np.random.default_rng(5)
    them = entered(some(4, DAY), 4)
    often = np.array([0.2, 0.4, 0.1, 0.3])
    them.__dict__["days"] = np.arange(4000)
    them.__dict__["traded"] = np.ones((4000, 4), bool)
    them.__dict__["stopped"] = np.repeat((rng.random((4000, 4)) < often)[:, :, None], len(GRID), axis=2)
    for joint in (1, 2, 3):
        found = (them.stopped.sum(1) >= joint).sum(0)[0]
        assert abs(found - them._expected(joint)[0]) < 4 * np.sqrt(found)
    p = them.stopped[:, :, 0].mean(0)
    none = np.prod(1 - p)
    one = sum(p[i] * np.prod(np.delete(1 - p, i)) for i in range(4))
    assert them._expected(1)[0] == pytest.approx(4000 * (1 - none))
    assert them._expected(2)[0] == pytest.approx(4000 * (1 - none - one))


def test_one_market_under_many_names_is_stopped_together() -> None:
    one = walk(3, 6 * DAY, rough=3)
    bars = {name: one for name in ("A", "B", "C")}
    them = portfolio(bars, {name: some_entries(one, 9, 30) for name in bars}, GRID)
    row = them.table(joint=3).to_dicts()[0]
    assert row["joint_stops"] >= row["joint_expected"]
    assert row["effective"] == pytest.approx(3 * row["effective_at_least"])


def test_uniqueness_is_that_of_a_clock_that_ticks() -> None:
    rng = np.random.default_rng(1)
    start = rng.integers(0, 50, 30)
    end = start + rng.integers(1, 40, 30)
    open_at = [int(((start <= t) & (t < end)).sum()) for t in range(100)]
    want = [np.mean([1 / open_at[t] for t in range(a, b)]) for a, b in zip(start, end, strict=True)]
    assert uniqueness(start, end) == pytest.approx(want)
    assert uniqueness(np.array([0, 10]), np.array([10, 20])).tolist() == [1, 1]
    assert uniqueness(np.array([0, 0]), np.array([10, 10])).sum() == 1


def test_what_does_not_fit_is_refused() -> None:
    bars = some(2, 200)
    row = pl.DataFrame({"bar": [1], "side": ["long"]})
    with pytest.raises(BarsError, match=r"S2USDT, of which there are no bars.*S0USDT"):
        portfolio(bars, {"S2USDT": row}, GRID)
    with pytest.raises(BarsError, match="column 'symbol'"):
        portfolio(bars, row, GRID)
    with pytest.raises(BarsError, match="S1USDT: entries: row 0"):
        portfolio(bars, {"S1USDT": row.with_columns(bar=999)}, GRID)
    with pytest.raises(PolicyError, match=r"S0USDT: .*within noise"):
        portfolio(bars, {"S0USDT": row}, grid(stop_bps=1))
    with pytest.raises(PolicyError, match="1 to 1 symbols"):
        portfolio(bars, {"S0USDT": row}, GRID).table(joint=2)
    with pytest.raises(BarsError, match="one length"):
        portfolio({**bars, "S1USDT": replace(bars["S1USDT"], step_ms=5 * MINUTE)}, "every bar", GRID)
    with pytest.raises(PolicyError, match="regime"):
        portfolio(bars, {"S0USDT": row}, GRID).by("regmie")


# -- cohorts


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("begins_ms", [0, 17 * MINUTE])
def test_a_label_is_what_the_desk_would_have_said_then(holes: bool, begins_ms: int) -> None:
    """For every entry the whole of ``market_data`` is made anew from the bars before it alone."""
    bars = walk(4, 2200, holes=holes, rough=4)
    bars = replace(bars, time_ms=bars.time_ms + begins_ms)
    entries = some_entries(bars, 2, 60, inside=True)
    rows = [
        Bar(time_ms=int(t), open=Ticks(int(o)), high=Ticks(int(h)), low=Ticks(int(low)), close=Ticks(int(c)))
        for t, o, h, low, c in zip(bars.time_ms, bars.open, bars.high, bars.low, bars.close, strict=True)
    ]
    told = markets(bars, entries)
    for number, it in enumerate(told):
        known = rows[: int(entries.bar[number]) + (not entries.inside[number])]
        want = market_data(known, bars.tick) if known else None  # type: ignore[arg-type]
        assert (it.volatility, it.trend, it.regime) == ((want.volatility, want.trend, want.regime) if want else (None, None, None))
    assert {it.regime for it in told} - {None}


def test_labels_do_not_change_when_the_future_does() -> None:
    bars, entries = funded(walk(4, 2000), 1), some_entries(walk(4, 2000), 2, 30)
    cut = int(entries.bar[15]) + 1
    early = entries.take(np.arange(16))
    for group, labels in OF_MARKET.items():
        assert labels(bars, entries)[:16].tolist() == labels(bars.slice(0, cut), early).tolist(), group


def test_buckets_and_funding_signs() -> None:
    assert [bucket(it) for it in (None, 149, 150, 400, 401)] == ["unknown", "low", "middle", "middle", "high"]
    assert classify(401, 0) is not None and HOUR_MS == 3_600_000
    bars = walk(1, 10)
    paid = np.cumsum([0, 0, 5, 0, 0, -2, 0, 0, 0, 0])
    entries = some_entries(bars, 1, 9)
    entries = replace(entries, bar=np.arange(9), inside=np.arange(9) == 5)
    said = OF_MARKET["funding"](replace(bars, funding=paid), entries).tolist()
    assert said == ["unknown"] * 2 + ["longs pay"] * 4 + ["shorts pay"] * 3
    assert set(OF_MARKET["funding"](bars, entries).tolist()) == {"unknown"}


def test_a_sweep_of_a_dict_is_a_portfolio() -> None:
    bars = {f"S{n}USDT": walk(n, 600) for n in range(3)}
    entries = {symbol: some_entries(it, 7, 40) for symbol, it in bars.items()}
    mark = {"S0USDT": bars["S0USDT"]}
    them = sweep(bars, entries, GRID, one_at_a_time=True, size="equal", fill="best", trigger=mark)
    assert isinstance(them, Portfolio)
    assert them.table().equals(portfolio(bars, entries, GRID, fill="best", trigger=mark).table())
    alone = sweep(bars["S1USDT"], entries["S1USDT"], GRID, one_at_a_time=True, fill="best")
    assert (them.results["S1USDT"].net == alone.net).all()
    with pytest.raises(PolicyError, match="keep='statistics' is for one symbol"):
        sweep(bars, entries, GRID, keep="statistics")
    with pytest.raises(BarsError, match="trigger names S9USDT, of which there are no bars"):
        sweep(bars, entries, GRID, trigger={"S9USDT": bars["S0USDT"]})
