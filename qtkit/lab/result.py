"""What a sweep found: outcomes by entry and policy, or statistics by policy."""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from qtkit.core.model import ONE, PolicyError
from qtkit.core.names import suggestion
from qtkit.lab import cohorts
from qtkit.lab.arguments import Ints, Outcomes, Sums
from qtkit.lab.asked import refuse_policy
from qtkit.lab.problem import Problem
from qtkit.lab.sizes import UNITS, Size

if TYPE_CHECKING:
    from qtkit.picture import Picture

Floats = npt.NDArray[np.float64]

WHYS = ("passed over", "stop", "trail", "stage", "break-even", "target", "time", "asked", "end of data")
"""Reasons by their number: 1 the initial stop, 7 the entry's own ``exit_at``, 0 an entry while the one before was open."""
WHOLE = 10_000
DAY_MS = 86_400_000
COIN = ONE * WHOLE
NOT_GIVEN = "only a sweep with size='given' counts in 'net_quote': sweep again with it"


class Result:
    """The answer of a sweep: ``outcomes`` by entry and policy (None where only statistics were kept), and ``sums`` by policy.

    Money is net of fees and funding unless it says gross. Bps are of the entry's notional; R is the distance to the policy's initial stop,
    so over a grid of stops it compares different bets: bps stand beside it, and bps a day of capital held. Of positions of given size there
    is ``net_quote``, the money of each or of all, in the quote coin.
    """

    def __init__(
        self,
        problem: Problem,
        outcomes: Outcomes | None,
        sums: Sums | None,
        *,
        fill: str,
        other: Callable[[], Outcomes | Sums],
        size: Size = "risk",
    ) -> None:
        self.problem, self.outcomes, self.fill, self.size = problem, outcomes, fill, size
        self._other = other
        self.bars, self.entries, self.grid, self.costs = problem.bars, problem.entries, problem.grid, problem.costs
        if sums is not None:
            self.__dict__["sums"] = sums

    def __len__(self) -> int:
        return len(self.grid)

    def __repr__(self) -> str:
        from qtkit.lab import sheets

        return repr(sheets.top(self))

    def _repr_html_(self) -> str:
        from qtkit.lab import sheets

        return sheets.top(self)._repr_html_()

    def heatmap(self, metric: str = "net_bps", **chosen: Any) -> "Picture":
        """A column of the table over two axes of the grid; see ``qtkit.lab.plots.heatmap`` for ``x``, ``y`` and ``at``."""
        from qtkit.lab import plots

        return plots.heatmap(self, metric, **chosen)

    # -- arrays

    @cached_property
    def net(self) -> Ints:
        """Money of one unit after fees and funding, [entries, policies], 1e-12 of the quote coin."""
        out = self._kept()
        return out.gross - out.fees - out.paid if len(out.fees) else out.gross

    @property
    def net_bps(self) -> Floats:
        """Net bps of the entry's notional, [entries, policies]; NaN where an entry was passed over."""
        return self._float(self.net / self.entries.price[:, None])

    @property
    def r(self) -> Floats:
        """Net R, [entries, policies]: by the distance to the policy's initial stop; NaN where an entry was passed over."""
        return self.net_bps / self.stop_bps

    @property
    def net_quote(self) -> Floats:
        """Net money of each position, [entries, policies], quote coin; NaN where an entry was passed over. Needs ``size="given"``."""
        if self.size != "given" or self.entries.size is None:
            raise PolicyError(NOT_GIVEN)
        return self._float(self.net / COIN * self.entries.size[:, None])

    @cached_property
    def stop_bps(self) -> Ints:
        """Distance of the initial stop, [1 or entries, policies], bps: one R."""
        lines = self.problem.lines
        return self.problem.distances[:, lines.stop[lines.base[lines.policy[:, 0], 0]]]

    @property
    def held(self) -> Ints:
        """Bars from entry to exit, [entries, policies]; 0 where passed over."""
        out = self._kept()
        return np.where(out.why > 0, out.bar - self.entries.bar[:, None], 0)

    def _kept(self) -> Outcomes:
        if self.outcomes is None:
            raise PolicyError("this sweep kept statistics alone; ask for fewer policies or entries, or for keep='outcomes'")
        return self.outcomes

    def _float(self, values: Floats) -> Floats:
        return np.where(self._kept().why > 0, values, np.nan)

    # -- statistics

    @cached_property
    def sums(self) -> Sums:
        """The statistics of all policies as whole numbers, as a sweep streams them."""
        return self.sums_of(np.arange(len(self.entries)))

    def sums_of(self, rows: Ints) -> Sums:
        """The statistics of some of the entries."""
        out = self._kept()
        price, there = self.entries.price[rows, None], out.why[rows] > 0
        points, gross = _points(self.net[rows], price), _points(out.gross[rows], price)
        risks = points * 100 // self.stop_bps[rows] * there if len(self.stop_bps) > 1 else np.zeros_like(points)
        least, most = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        return Sums(
            entries=there.sum(0), points=(points * there).sum(0), squares=(points * points * there).sum(0),
            risks=risks.sum(0), wins=((self.net[rows] > 0) & there).sum(0),
            bars=self.held[rows].sum(0), gross=(gross * there).sum(0),
            best=np.where(there, points, least).max(0, initial=least), worst=np.where(there, points, most).min(0, initial=most),
            whys=np.stack([(out.why[rows] == why).sum(0) for why in range(len(WHYS))], axis=1) * (np.arange(len(WHYS)) > 0),
        )  # fmt: skip

    def quote_of(self, rows: Ints) -> Floats | None:
        """The money that some of the entries brought, by policy; None unless positions are of given size."""
        return np.nansum(self.net_quote[rows], axis=0) if self.size == "given" else None

    @cached_property
    def _whole(self) -> pl.DataFrame:
        return self.table_of(self.sums, self.quote_of(np.arange(len(self.entries))))

    def table(self) -> pl.DataFrame:
        """A row a policy: what was varied, how many, net and gross bps, R, bps a day held, wins, days held, and how they ended; of given
        sizes also the money that all brought together.

        ``band_bps`` is what the other order inside the bars would add to ``net_bps``. Policies whose bands touch are not ranked:
        ``rank_from`` and ``rank_to`` are the places that each may have. ``lab.bands`` tells more of it.
        """
        found = self._whole
        net = found["net_bps"].to_numpy()
        first, last = places(net, net + self.band_bps)
        columns = {"band_bps": self.band_bps, "rank_from": first, "rank_to": last}
        return found.with_columns(pl.Series(name, values) for name, values in columns.items()).sort("net_bps", descending=True)

    @cached_property
    def band_bps(self) -> Floats:
        """Mean net bps of each policy if the other order inside the bars were so, less what it is here.

        Only a target, or an entry inside its bar, can meet a bar of which the order decides: then this is a second sweep, once.
        """
        if not (any(policy.targets for policy in self.grid.policies) or self.entries.inside.any()):
            return np.zeros(len(self))
        other = self._other()
        assert isinstance(other, Sums)
        there, here = (self.table_of(sums)["net_bps"].to_numpy() for sums in (other, self.sums))
        return np.asarray(there - here, float)

    def by(self, group: str) -> pl.DataFrame:
        """The table for each ``tag``, ``side``, ``hour`` or ``month`` of the entries, or for what was known of the market then: its
        ``regime``, its ``volatility``, and by the sign of the last ``funding`` who pays."""
        labels = self.labels(group)
        names, numbers = np.unique(labels, return_inverse=True)
        cohorts_ = [np.flatnonzero(numbers == number) for number in range(len(names))]
        tables = [self.table_of(self.sums_of(rows), self.quote_of(rows)) for rows in cohorts_]
        return stacked([table.select(pl.lit(name).alias(group), pl.all()) for name, table in zip(names, tables, strict=True)])

    def labels(self, group: str) -> npt.NDArray[np.str_]:
        """The cohort of each entry. Raises ``PolicyError`` for a group that is not known, or that the entries do not have."""
        if group in cohorts.OF_MARKET:
            return cohorts.OF_MARKET[group](self.bars, self.entries)
        when = pl.Series(self.bars.time_ms[self.entries.bar]).cast(pl.Datetime("ms", "UTC"))
        known = {
            "side": pl.Series(np.where(self.entries.sign > 0, "long", "short")),
            "hour": when.dt.strftime("%H"),
            "month": when.dt.strftime("%Y-%m"),
        }
        if self.entries.tag is not None:
            known["tag"] = self.entries.tag.cast(pl.String).fill_null("")
        if group not in known:
            raise PolicyError(f"entries cannot be grouped by '{group}': {suggestion(str(group), (*known, *cohorts.OF_MARKET))}")
        return np.asarray(known[group].to_numpy(), np.str_)

    def table_of(self, sums: Sums, quote: Floats | None = None) -> pl.DataFrame:
        """Statistics as a table, a row a policy in the order of the grid; ``quote`` the money beside them."""
        count = np.maximum(sums.entries, 1)
        mean, gross = sums.points / count / 100, sums.gross / count / 100
        spread = np.sqrt(np.maximum(sums.squares / count / 10_000 - mean**2, 0))
        days = sums.bars / count * self.bars.step_ms / DAY_MS
        columns = {
            "entries": sums.entries,
            "net_bps": mean,
            "error_bps": spread / np.sqrt(count),
            "gross_bps": gross,
            "net_r": mean / self.stop_bps[0] if len(self.stop_bps) == 1 else sums.risks / count / WHOLE,
            **({} if quote is None else {"net_quote": quote}),
            "bps_per_day": np.divide(mean, days, out=np.full(len(mean), np.nan), where=days > 0),
            "win_pct": 100 * sums.wins / count,
            "days_held": days,
            "best_bps": np.where(sums.entries > 0, sums.best / 100, np.nan),
            "worst_bps": np.where(sums.entries > 0, sums.worst / 100, np.nan),
        }
        ended = {f"{why} %": 100 * sums.whys[:, number] / count for number, why in enumerate(WHYS) if sums.whys[:, number].any() and number}
        return self.grid.frame().with_columns(pl.Series(name, values) for name, values in {**columns, **ended}.items())

    def cube(self, metric: str = "net_bps") -> Floats:
        """A column of the table laid out along the axes of the grid."""
        if metric not in self._whole.columns:
            raise PolicyError(f"the table has no '{metric}': {suggestion(str(metric), self._whole.columns)}")
        return np.asarray(self._whole[metric].to_numpy(), float).reshape(self.grid.shape)

    def best(self, metric: str = "net_bps") -> int:
        """Number of the policy that did best here; the luckiest of many looks better than it is."""
        return int(np.nanargmax(self.cube(metric)))

    # -- positions

    def trades(self, policy: int | None = None) -> pl.DataFrame:
        """A row a position: entry, exit, why, and what it brought; of all policies in one frame, told apart by ``policy``, their number
        in the table, or of one policy alone. Entries that were passed over have no row.

        ``time`` is when the bar of the entry opened, as entries name it, ``exit_time`` when that of the exit was over. ``exit_price`` is
        the last fill, where targets took a part before; ``net_bps`` and what follows are of all fills.
        """
        from qtkit.lab.trades import trades_of

        if policy is None:
            return trades_of(self, self._kept(), np.arange(len(self)))
        refuse_policy(policy, len(self))
        return trades_of(self, self._kept(), np.array([policy])).drop("policy")

    def equity(self, policy: int, *, unit: str | None = None) -> pl.DataFrame:
        """What one policy has brought by the time of each exit, by default as the sweep was told to size its positions.

        With ``size="risk"`` each position risks the same part of the capital between entry and initial stop, so that it weighs one by
        the distance of its stop: counted in ``net_r``, multiples of that part. With ``"equal"`` each is of the same notional, counted in
        ``net_bps`` of it; with ``"given"`` each has its own size, counted in ``net_quote``, money.
        """
        refuse_policy(policy, len(self))
        unit = unit or UNITS[self.size]
        if unit not in UNITS.values():
            raise PolicyError(f"equity is not counted in '{unit}': {suggestion(str(unit), UNITS.values())}")
        if unit == UNITS["given"] and self.size != "given":
            raise PolicyError(NOT_GIVEN)
        ordered = self.trades(policy).sort("exit_time", maintain_order=True)
        return ordered.select(pl.col("exit_time").alias("time"), pl.col(unit).cum_sum().alias(unit))


def places(one: Floats, other: Floats) -> tuple[Ints, Ints]:
    """The best and the worst place that each policy may have, 1 the best, whose results lie between ``one`` and ``other``."""
    low, high = np.minimum(one, other), np.maximum(one, other)
    above = len(low) - np.searchsorted(np.sort(low), high, side="right")
    return 1 + above, len(low) - np.searchsorted(np.sort(high), low, side="left")


def stacked(tables: list[pl.DataFrame]) -> pl.DataFrame:
    """Tables below one another; a reason for which nothing ended in one of them has 0 % there."""
    return pl.concat(tables, how="diagonal").with_columns(pl.col("^.* %$").fill_null(0.0))


def _points(money: Ints, price: Ints) -> Ints:
    """Money of one unit (1e-12) as hundredths of a bp of the price, rounded down: as the kernel does it, in 64 bits."""
    return money // price * 100 + money % price * 100 // price
