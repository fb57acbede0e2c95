"""Series, entries and grids by seed, and the comparison of a sweep with the reference."""

import random
from dataclasses import replace

import numpy as np

from qtkit.core.model import E8, ONE, PolicyError
from qtkit.lab.costs import Costs
from qtkit.lab.entries import Entries, at_close
from qtkit.lab.grid import Grid, grid
from qtkit.lab.replay import plan_of, replay_one
from qtkit.lab.result import WHYS, Result
from qtkit.lab.series import Bars

MINUTE = 60_000


def walk(
    seed: int, n: int = 400, *, price: int = 3_000, tick: int = ONE // 10, holes: bool = False, rough: int = 6, step: int = MINUTE
) -> Bars:
    """A coarse walk in ticks: gaps, flat bars, bars of one tick, equal highs and lows in plenty."""
    rng = np.random.default_rng(seed)
    moves = rng.integers(-rough, rough + 1, (n, 4))
    moves[rng.random(n) < 0.1] = 0
    gaps = np.where(rng.random(n) < 0.05, rng.integers(-4 * rough, 4 * rough + 1, n), 0)
    moves[:, 0] = np.where(rng.random(n) < 0.5, 0, moves[:, 0] // 2) + gaps
    path = price + np.cumsum(moves.reshape(-1)).reshape(n, 4)
    path = np.maximum(path, price // 3)
    time = np.arange(n, dtype=np.int64) * step
    if holes:
        time += np.cumsum(np.where(rng.random(n) < 0.05, rng.integers(1, 60, n), 0)) * step
    return Bars(
        symbol="TESTUSDT", tick=tick, step_ms=step, time_ms=time, open=path[:, 0].astype(np.int64), high=path.max(1).astype(np.int64),
        low=path.min(1).astype(np.int64), close=path[:, 3].astype(np.int64),
    )  # fmt: skip


def marked(bars: Bars, seed: int) -> Bars:
    """The bars with a mark price beside them that is never quite equal."""
    shift = np.random.default_rng(seed).integers(-3, 4, len(bars))
    mark = replace(
        bars,
        open=bars.open + shift,
        close=bars.close + shift,
        high=bars.high + np.maximum(shift, 0) + 1,
        low=bars.low + np.minimum(shift, 0),
    )
    return replace(bars, trigger=mark)


def funded(bars: Bars, seed: int) -> Bars:
    """The bars with funding every 97 bars."""
    rng = np.random.default_rng(seed)
    paid = np.where(np.arange(len(bars)) % 97 == 0, rng.integers(-30_000, 30_000, len(bars)) * bars.open, 0)
    return replace(bars, funding=np.cumsum(paid.astype(np.int64)))


def some_entries(bars: Bars, seed: int, n: int = 12, *, inside: bool = False, stops: bool = False, asked: bool = False) -> Entries:
    """Random entries of both sides."""
    rng = np.random.default_rng(seed)
    bar = np.sort(rng.integers(0, len(bars) - 1, n))
    sign = rng.choice(np.array([1, -1]), n)
    made = at_close(bars, bar, sign)
    atr = np.where(rng.random(n) < 0.8, rng.integers(20, 200, n) * bars.tick, 0)
    made = replace(made, atr=atr)
    if inside:
        within = rng.random(n) < 0.5
        spot = bars.low[bar] + ((bars.high[bar] - bars.low[bar]) * rng.random(n)).astype(np.int64)
        price = np.where(within, spot * bars.tick + rng.integers(0, 2, n) * (spot < bars.high[bar]) * (bars.tick // 3), made.price)
        made = replace(made, inside=within, price=price)
    if stops:
        away = rng.integers(120, 600, n)
        made = replace(made, stop=made.price - sign * made.price * away // 10_000)
    if asked:
        later = np.minimum(bar + 1 + rng.integers(0, 200, n), len(bars) - 1)
        made = replace(made, last=np.where((rng.random(n) < 0.5) & (later > bar), later, -1))
    return made


LADDERS = (
    (("1R", 25), ("2R", 25)),
    ((120, 40), (300, 40)),
    (("0.5R", 50), ("1R", 30)),
    (("1atr", 30), ("2atr", 30)),
)
WHOLE_LADDERS = ((("0.5R", 40), ("1.5R", 60)), ((90, 50), (150, 50)))


def some_grid(seed: int, *, own_stop: bool = False) -> Grid:
    """A small random grid that has a bit of everything."""
    rng = random.Random(seed)
    curves = ((), (("2R", 45), ("4R", 40)), ((400, 40),))  # wider than a tick of the cheapest series
    rises = ((), ((150, None), (300, 150)), ((100, 0),))
    bare = rng.random() < 0.25
    laddered = rng.random() < 0.6
    ladders = [rng.choice(WHOLE_LADDERS if bare else LADDERS)] if laddered else [()]
    return grid(
        stop_bps=() if own_stop else sorted(rng.sample(range(60, 700), 2)),
        stop=("3atr",) if not own_stop and rng.random() < 0.4 else (),
        trail_bps=() if bare else sorted(rng.sample(range(50, 400), 2)),
        trail=() if bare or rng.random() < 0.7 else ("2atr",),
        moving_trail=() if bare else rng.choice(((), ("2atr",), ("1.5atr", "4atr"))),
        activation_bps=rng.choice(((50,), (100, 200))),
        activation=rng.choice(((), ("1R",))),
        step_bps=rng.choice((0, 10, 40)),
        tightening=[rng.choice(curves)],
        targets=ladders,
        break_even_after=[None, 1] if laddered else None,
        stages=[rng.choice(rises)],
        max_bars=rng.choice((None, 150, (20, 300))),
        own_stop=own_stop,
    )


def differences(result: Result, fill: str) -> list[str]:
    """Every place where a sweep and the reference part, in words."""
    assert result.outcomes is not None
    found: list[str] = []
    out = result.outcomes
    for p, policy in enumerate(result.grid.policies):
        for e in range(len(result.entries)):
            one = replay_one(result.bars, result.entries, e, policy, result.costs, fill=fill, own_stop=result.grid.own_stop)
            fees, paid = (int(out.fees[e, p]), int(out.paid[e, p])) if len(out.fees) else (0, 0)
            swept = int(out.bar[e, p]), int(out.price[e, p]), WHYS[out.why[e, p]], int(out.gross[e, p]), fees, paid
            wanted = one.end.bar, one.end.price, one.end.why, one.gross, one.fees, one.paid
            if swept != wanted:
                found.append(f"entry {e}, policy {p} {policy}: sweep {swept}, reference {wanted}")
    return found


def planned(bars: Bars, entries: Entries, grid: Grid, costs: Costs) -> bool:
    """Whether the planner takes every entry under every policy."""
    try:
        for policy in grid.policies:
            for row in range(len(entries)):
                plan_of(bars, entries, row, policy, costs, own_stop=grid.own_stop)
    except PolicyError:
        return False
    return True


ALL_COSTS = (
    Costs(taker=E8(20_000), maker=E8(5_000)),
    Costs(taker=E8(20_000), slip_ppm=200, slip_range_ppm=50_000),
    Costs(taker=E8(20_000), targets="limit"),
    Costs(taker=E8(0), maker=E8(-5_000), targets="touch", slip_ppm=90),
)


def case(seed: int) -> tuple[Bars, Entries, Grid, Costs, str]:
    """One random comparison: every kind of series, entry, grid, cost and order of a bar comes up within a few dozen seeds."""
    step = (10 * MINUTE, MINUTE)[seed % 8 // 3 % 2]  # of ten minutes ATR is known from a quarter of the series on
    bars = walk(seed, holes=seed % 3 == 0, rough=2 + seed % 11, price=(3_000, 800, 20_000)[seed % 7 % 3], step=step)
    if seed % 4 == 1:
        bars = marked(bars, seed)
    if seed % 5 == 1:
        bars = funded(bars, seed)
    own_stop = seed % 6 == 2
    entries = some_entries(bars, seed, inside=seed % 2 == 0, stops=own_stop, asked=seed % 3 == 1)
    return bars, entries, some_grid(seed, own_stop=own_stop), ALL_COSTS[seed // 2 % 4], ("worst", "best")[seed // 3 % 2]
