"""Excursions by arrays are those of a loop that walks the bars."""

import sys

import numpy as np
import polars as pl
import pytest

from qtkit.bars import BarsError
from qtkit.core.model import ONE, PolicyError
from qtkit.lab import Bars, edge_ratio, excursions, grid, sweep
from qtkit.lab.result import WHYS, Result
from tests.lab.rig import MINUTE, some_entries, some_grid, walk

STOPS = ("stop", "trail", "stage", "break-even")
AFTER = 30


def of(*rows: tuple[int, int, int, int], price: int = 10_000) -> Bars:
    """Bars by (open, high, low, close), each a distance in ticks from a price of 10,000."""
    columns = (np.array(rows, np.int64) + price).T
    return Bars(
        symbol="TESTUSDT", tick=ONE // 100, step_ms=MINUTE, time_ms=np.arange(len(rows), dtype=np.int64) * MINUTE,
        open=columns[0], high=columns[1], low=columns[2], close=columns[3],
    )  # fmt: skip


def mirrored(bars: Bars) -> Bars:
    turn = 20_000
    return Bars(
        symbol="TESTUSDT", tick=bars.tick, step_ms=MINUTE, time_ms=bars.time_ms, open=turn - bars.open, high=turn - bars.low,
        low=turn - bars.high, close=turn - bars.close,
    )  # fmt: skip


def walked(result: Result, row: int, policy: int) -> dict[str, object]:
    """One entry, bar by bar, price by price."""
    bars, it, out = result.bars, result.entries, result.outcomes
    assert out is not None
    sign, entry, first, last = int(it.sign[row]), int(it.price[row]), int(it.bar[row]), int(out.bar[row, policy])
    why, r = WHYS[out.why[row, policy]], int(result.stop_bps[row if len(result.stop_bps) > 1 else 0, policy])
    seen: list[tuple[int, int]] = [(first, 0)]

    def met(bar: int, ticks: int) -> None:
        seen.append((bar, sign * (ticks * bars.tick - entry)))

    if it.inside[row] and last > first:
        met(first, int(bars.close[first]))
    for bar in range(first + 1, last + 1):
        if bar < last or why in ("time", "asked", "end of data"):
            met(bar, int(bars.high[bar]))
            met(bar, int(bars.low[bar]))
    met(last, int(out.price[row, policy]))
    worst, best = min(move for _, move in seen), max(move for _, move in seen)
    fill = seen[-1][1]
    stopped = why in STOPS and fill < 0
    after = range(last + 1, min(last + 1 + AFTER, len(bars))) if stopped else range(0)
    ends = [sign * int((bars.high if sign > 0 else bars.low)[bar]) * bars.tick - sign * entry for bar in after]
    return {
        "mae_bps": -worst * 10_000 / entry, "mfe_bps": best * 10_000 / entry, "mae_r": -worst * 10_000 / entry / r,
        "mfe_r": best * 10_000 / entry / r,
        "mae_bars": next(bar for bar, move in seen if move == worst) - first,
        "mfe_bars": next(bar for bar, move in seen if move == best) - first,
        "giveback_r": (best * 10_000 - int(out.gross[row, policy])) / entry / r, "stopped": stopped,
        "after_r": max(ends) * 10_000 / entry / r if ends else None,
        "back_bars": next((n for n, move in enumerate(ends, 1) if move >= 0), None),
        "one_r_bars": next((n for n, move in enumerate(ends, 1) if move * 10_000 >= entry * r), None),
    }  # fmt: skip


@pytest.mark.parametrize("fill", ["worst", "best"])
@pytest.mark.parametrize("seed", range(6))
def test_every_number_is_that_of_the_walk(seed: int, fill: str) -> None:
    bars = walk(seed, 500, holes=seed % 2 == 0)
    entries = some_entries(bars, seed + 50, 25, inside=True, asked=seed % 3 == 0)
    result = sweep(bars, entries, some_grid(seed), fill=fill, one_at_a_time=seed % 2 == 1)  # type: ignore[arg-type]
    assert result.outcomes is not None
    for policy in range(0, len(result), max(1, len(result) // 6)):
        rows = np.flatnonzero(result.outcomes.why[:, policy] > 0)
        table = excursions(result, policy, after=AFTER).frame.select(list(walked(result, int(rows[0]), policy)))
        assert table.to_dicts() == [walked(result, int(row), policy) for row in rows]


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_position_that_was_stopped_and_came_back(side: str) -> None:
    bars = of((0, 0, 0, 0), (0, 150, -50, 0), (0, 20, -300, -250), (-250, -10, -260, -20), (-20, 5, -20, 0), (0, 210, 0, 200), (0, 0, 0, 0))
    bars = bars if side == "long" else mirrored(bars)
    result = sweep(bars, pl.DataFrame({"bar": [0], "side": [side], "tag": ["a"]}), grid(stop_bps=200), costs=None)
    row = excursions(result, 0, after=4).frame.to_dicts()[0]
    assert (row["mae_bps"], row["mfe_bps"], row["mae_r"], row["mfe_r"]) == (200, 150, 1, 0.75)
    assert (row["mae_bars"], row["mfe_bars"], row["giveback_r"], row["stopped"]) == (2, 1, 1.75, True)
    assert (row["after_r"], row["back_bars"], row["one_r_bars"]) == (1.05, 2, 3)
    told = excursions(result, 0, after=2).summary().to_dicts()[0]
    assert (told["entries"], told["stopped"], told["back_pct"], told["one_r_pct"], told["back_bars"]) == (1, 1, 100, 0, 2)
    assert excursions(result, 0).by("tag")["tag"].to_list() == ["a"]


def test_of_the_bar_in_which_it_was_entered_and_left_the_fill_alone_counts() -> None:
    """The bar closed in favour of the position, after it had been stopped: nobody who was out had that."""
    bars = of((0, 150, -300, 120), (120, 130, 110, 120), (120, 130, 110, 120))
    entries = pl.DataFrame({"bar": [0], "side": ["long"], "price": [float(bars.price(10_000))]})
    row = excursions(sweep(bars, entries, grid(stop_bps=200), costs=None), 0).frame.to_dicts()[0]
    assert (row["why"], row["mae_bps"], row["mfe_bps"], row["mae_bars"], row["mfe_bars"]) == ("stop", 200, 0, 0, 0)


def test_windows_of_any_length_are_looked_at_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = walk(3, 600)
    result = sweep(bars, some_entries(bars, 4, 60), grid(stop_bps=(200, 900), trail_bps=200), costs=None)
    whole = excursions(result, 1).frame
    monkeypatch.setattr(sys.modules["qtkit.lab.excursions"], "AT_ONCE", 64)
    assert excursions(result, 1).frame.equals(whole)


@pytest.mark.parametrize("horizon", [1, 2, 3, 7, 16, 100])
@pytest.mark.parametrize("unit", ["bps", "atr"])
def test_the_edge_ratio_is_that_of_a_loop(horizon: int, unit: str) -> None:
    bars = walk(horizon, 300)
    made = some_entries(bars, 5, 40)
    made = type(made)(**{**made.__dict__, "atr": np.maximum(made.atr, bars.tick)})
    table = edge_ratio(bars, made, [horizon], unit=unit)  # type: ignore[arg-type]
    for row in table.iter_rows(named=True):
        sign = 1 if row["side"] == "long" else -1
        chosen = [e for e in range(len(made)) if made.sign[e] == sign and made.bar[e] + horizon < len(bars)]
        best, worst = [], []
        for e in chosen:
            entry, part = int(made.price[e]), slice(int(made.bar[e]) + 1, int(made.bar[e]) + 1 + horizon)
            moves = [sign * (int(ticks) * bars.tick - entry) for ticks in (*bars.high[part], *bars.low[part])]
            scale = int(made.atr[e]) if unit == "atr" else entry / 10_000
            best.append(max(0, *moves) / scale)
            worst.append(max(0, *(-move for move in moves)) / scale)
        assert row["entries"] == len(chosen)
        assert row["mfe"] == pytest.approx(np.mean(best)) and row["mae"] == pytest.approx(np.mean(worst))
        assert row["edge_ratio"] == pytest.approx(np.mean(best) / np.mean(worst))


def test_what_cannot_be_counted_is_refused() -> None:
    bars = walk(1)
    made = some_entries(bars, 1)
    result = sweep(bars, made, grid(stop_bps=200))
    with pytest.raises(PolicyError, match="sied"):
        excursions(result, 0).by("sied")
    with pytest.raises(PolicyError, match="at least one bar"):
        excursions(result, 0, after=0)
    with pytest.raises(PolicyError, match="column 'atr'"):
        edge_ratio(bars, made, unit="atr")
    with pytest.raises(PolicyError, match="kept statistics alone"):
        excursions(sweep(bars, made, grid(stop_bps=200), keep="statistics"), 0)
    with pytest.raises(BarsError):
        edge_ratio(bars, "every bra")
