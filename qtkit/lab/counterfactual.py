"""The trader's own positions under other exits: each as it was, beside what every policy would have made of the same entry."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from qtkit.bars import BarsError
from qtkit.core.model import ONE
from qtkit.core.policy import ExitPolicy
from qtkit.lab.arguments import Ints
from qtkit.lab.asked import refuse_policy
from qtkit.lab.costs import Costs, costs_of
from qtkit.lab.entries import Entries, at_close
from qtkit.lab.episodes import EPISODES
from qtkit.lab.grid import Grid, as_grid
from qtkit.lab.result import WHOLE, WHYS, Floats, Result
from qtkit.lab.series import Bars
from qtkit.lab.sweep import sweep


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """Real positions beside what policies would have made of them.

    ``episodes`` are those that were compared, with their real ``gross_bps`` and ``net_bps`` of the entry's notional, ``left_out`` the
    others, with why (``note``); ``results`` the sweeps by symbol, whose entries are the rows of that symbol in the same order.
    """

    episodes: pl.DataFrame
    left_out: pl.DataFrame
    results: Mapping[str, Result]
    grid: Grid

    @cached_property
    def unit(self) -> str:
        """What is compared: ``net_bps``, or ``gross_bps`` where a fee that was paid is not known."""
        return "gross_bps" if self.episodes["net_bps"].null_count() else "net_bps"

    @cached_property
    def would(self) -> Floats:
        """What every policy would have brought in ``unit``, [episodes, policies]."""
        made = np.empty((self.episodes.height, len(self.grid)))
        for symbol, it in self.results.items():
            assert it.outcomes is not None
            rows = (self.episodes["symbol"] == symbol).to_numpy()
            made[rows] = it.net_bps if self.unit == "net_bps" else it.outcomes.gross / it.entries.price[:, None]
        return made

    def table(self) -> pl.DataFrame:
        """A row a policy, the best first: what it would have brought on average, how much more than the own exits, how sure that is.

        ``better`` is the mean over the same positions of would less did (bps), ``error`` its standard error, ``better_pct`` in how
        many it would have done better. Of many policies the best looks better than it is.
        """
        did = self.episodes[self.unit].to_numpy()
        more = self.would - did[:, None]
        n = max(len(did), 1)
        spread = more.std(0, ddof=1) if n > 1 else np.full(len(self.grid), np.nan)
        columns = {
            "positions": np.full(len(self.grid), len(did)), "would": self.would.mean(0), "did": np.full(len(self.grid), did.mean()),
            "better": more.mean(0), "error": spread / np.sqrt(n), "better_pct": 100 * (more > 0).mean(0),
        }  # fmt: skip
        told = self.grid.frame().with_columns(pl.Series(name, values) for name, values in columns.items())
        return told.sort("better", descending=True, maintain_order=True)

    def frame(self, policy: int) -> pl.DataFrame:
        """Every position under one policy: what it ``would`` have brought, how much ``better``, and how it would have ended."""
        refuse_policy(policy, len(self.grid))
        would_end = {symbol: iter(_ends(it, policy)) for symbol, it in self.results.items()}
        ends = [next(would_end[symbol]) for symbol in self.episodes["symbol"]]
        return self.episodes.with_columns(
            pl.Series("would", self.would[:, policy]),
            pl.Series("would_close", [at for at, _ in ends], pl.Int64).cast(EPISODES["closed"]),
            pl.Series("would_why", [why for _, why in ends], pl.String),
        ).with_columns((pl.col("would") - pl.col(self.unit)).alias("better"))


def _ends(it: Result, policy: int) -> list[tuple[int, str]]:
    assert it.outcomes is not None
    times = it.bars.time_ms[it.outcomes.bar[:, policy]] + it.bars.step_ms
    return list(zip(times.tolist(), (WHYS[why] for why in it.outcomes.why[:, policy]), strict=True))


def counterfactual(
    episodes: pl.DataFrame,
    bars: Mapping[str, Bars],
    grid: "Grid | ExitPolicy | list[ExitPolicy]",
    *,
    costs: Costs | str | None = "account",
) -> Counterfactual:
    """What other exits would have made of the trader's own positions (``lab.episodes``).

    A position enters the lab when its last opening fill had come, at its average price, inside that bar. Left out, with the reason: what is
    open, what was added to after a part of it was closed, what has no bars. Raises ``BarsError`` if nothing is left to compare.
    """
    if tuple(episodes.columns) != tuple(EPISODES):
        raise BarsError("these are no episodes; make them with lab.episodes(lab.fills(...))")
    asked, paid = as_grid(grid), costs_of(costs)
    rows = episodes.with_columns(note=pl.Series([_note(row, bars) for row in episodes.iter_rows(named=True)], dtype=pl.String))
    kept, left_out = rows.filter(pl.col("note") == "").drop("note"), rows.filter(pl.col("note") != "")
    if kept.is_empty():
        why = f"{left_out['note'][0]}" if left_out.height else "there is none"
        raise BarsError(f"no episode can be compared: {why}; load the bars of that time, and give them by symbol")
    kept = kept.sort("complete", maintain_order=True).with_columns(_bps("gross"), _bps("net"))
    results = {}
    for (symbol,), part in kept.group_by("symbol", maintain_order=True):
        series = bars[str(symbol)]
        results[str(symbol)] = sweep(series, _entries(series, part), asked, costs=paid, size="given", keep="outcomes")
    return Counterfactual(kept, left_out, results, asked)


def _bps(money: str) -> pl.Expr:
    notional = pl.col("entry").cast(pl.Float64) * pl.col("size").cast(pl.Float64)
    return (pl.col(money).cast(pl.Float64) * WHOLE / notional).alias(f"{money}_bps")


def _bar_of(series: Bars, at: object) -> int:
    """The bar of a moment, -1 if it is in none."""
    at_ms = round(at.timestamp() * 1000)  # type: ignore[attr-defined]
    bar = int(np.searchsorted(series.time_ms, at_ms, side="right")) - 1
    return bar if bar >= 0 and at_ms - int(series.time_ms[bar]) < series.step_ms else -1


def _note(row: Mapping[str, object], bars: Mapping[str, Bars]) -> str:
    if row["closed"] is None:
        return "it is open"
    if row["mixed"]:
        return "it was added to after a part of it was closed"
    series = bars.get(str(row["symbol"]))
    if series is None:
        return f"there are no bars of {row['symbol']}"
    bar = _bar_of(series, row["complete"])
    return "" if 0 <= bar < len(series) - 1 else f"its entry at {row['complete']} lies in no bar of {series.source} that one follows"


def _entries(series: Bars, part: pl.DataFrame) -> Entries:
    bar: Ints = np.array([_bar_of(series, at) for at in part["complete"]], np.int64)
    made = at_close(series, bar, np.where((part["side"] == "long").to_numpy(), 1, -1))
    price = np.array([int(value * ONE) for value in part["entry"]], np.int64)
    return Entries(
        bar=bar, sign=made.sign, price=price, inside=np.ones(len(bar), np.bool_), stop=made.stop, atr=made.atr, last=made.last,
        size=part["size"].cast(pl.Float64).to_numpy(), tag=part["tag"],
    )  # fmt: skip
