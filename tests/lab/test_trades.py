"""The trades of a sweep, of one policy or of all, against the outcomes one by one."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from qtkit import lab
from qtkit.core.model import ONE
from qtkit.lab.result import WHYS
from tests.lab.rig import MINUTE, case, some_entries, walk


def one_by_one(result: lab.Result) -> list[dict[str, object]]:
    """What the frame of all trades has to hold, spelt out."""
    out, made, bars = result.outcomes, result.entries, result.bars
    assert out is not None
    rows: list[dict[str, object]] = []
    for e in range(len(made)):
        for p in range(len(result)):
            if out.why[e, p] == 0:
                continue
            fees, paid = (int(out.fees[e, p]), int(out.paid[e, p])) if len(out.fees) else (0, 0)
            net, price = int(out.gross[e, p]) - fees - paid, int(made.price[e])
            rows.append(
                {
                    "policy": p, "time": int(bars.time_ms[made.bar[e]]), "side": "long" if made.sign[e] > 0 else "short",
                    "price": price / ONE, "exit_time": int(bars.time_ms[out.bar[e, p]]) + bars.step_ms,
                    "exit_price": float(out.price[e, p]) * (bars.tick / ONE), "why": WHYS[out.why[e, p]],
                    "bars_held": int(out.bar[e, p] - made.bar[e]), "net_bps": net / price, "gross_bps": int(out.gross[e, p]) / price,
                    "fees_bps": fees / price, "funding_bps": paid / price, "net_r": float(result.r[e, p]),
                }
            )  # fmt: skip
    return rows


def as_told(frame: pl.DataFrame) -> list[dict[str, object]]:
    return frame.with_columns(pl.col("time", "exit_time").dt.epoch("ms"), pl.col("why").cast(pl.String)).to_dicts()


@pytest.mark.parametrize("one_at_a_time", [False, True])
def test_all_trades_are_a_row_an_entry_and_policy_that_took_it(one_at_a_time: bool) -> None:
    passed = 0
    for seed in range(12):
        bars, entries, grid, costs, fill = case(seed)
        result = lab.sweep(bars, entries, grid, costs=costs, fill=fill, one_at_a_time=one_at_a_time)  # type: ignore[arg-type]
        every = result.trades()
        assert as_told(every) == one_by_one(result)
        passed += len(entries) * len(grid) - every.height
        for policy in range(len(grid)):
            assert every.filter(policy=policy).drop("policy").equals(result.trades(policy))
    assert (passed > 0) == one_at_a_time


def test_the_reason_is_one_of_a_few_words_and_the_policy_is_that_of_the_table() -> None:
    bars = walk(1, 900)
    result = lab.sweep(bars, replace(some_entries(bars, 1), tag=pl.Series(["a", "b"] * 6)), lab.grid(stop_bps=(100, 200)))
    every = result.trades()
    assert every.schema["why"] == pl.Enum(WHYS) and every.schema["policy"] == result.table().schema["policy"]
    counted = every.group_by("policy").agg(pl.col("net_bps").mean()).join(result.table(), on="policy", suffix="_table")
    np.testing.assert_allclose(counted["net_bps"], counted["net_bps_table"], atol=0.01)
    assert every["tag"].to_list() == [tag for tag in ["a", "b"] * 6 for _ in range(2)]


def test_trades_without_costs_and_of_a_portfolio() -> None:
    bars = {f"S{seed}": walk(seed, 600) for seed in (1, 2)}
    them = lab.portfolio(bars, {name: some_entries(it, 3) for name, it in bars.items()}, lab.grid(stop_bps=(100, 200)), costs=None)
    every = them.trades()
    assert every.height == sum(them.trades(policy).height for policy in range(2))
    assert every.filter(policy=1).drop("policy").equals(them.trades(1)) and every["fees_bps"].sum() == 0
    assert (every["exit_time"] - every["time"]).min() >= pl.Series([MINUTE]).cast(pl.Duration("ms"))[0]
