"""The same policies on several symbols: what they brought by day, how deep they fell, how often symbols were stopped together."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from math import inf
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt
import polars as pl

from qtkit.bars import BarsError
from qtkit.core.model import PolicyError
from qtkit.core.names import suggestion
from qtkit.core.policy import ExitPolicy
from qtkit.lab.arguments import Ints, Sums
from qtkit.lab.asked import refuse_policy, refuse_words
from qtkit.lab.costs import Costs, costs_of
from qtkit.lab.entries import Entries
from qtkit.lab.grid import Grid, as_grid
from qtkit.lab.kernels import BREAK_EVEN, STOP
from qtkit.lab.result import DAY_MS, Floats, Result, stacked
from qtkit.lab.series import Bars, refuse_no_bars
from qtkit.lab.sizes import SIZES, Size
from qtkit.lab.sweep import sweep

Of = Mapping[str, "pl.DataFrame | Entries | str"]


class Portfolio:
    """The answer of a sweep over symbols: ``results`` by symbol, and what they make together, policy by policy.

    The capital is split evenly among the symbols and a position takes the share of its symbol; or with ``size="risk"`` every position
    risks ``risk_bps`` of the whole capital between its entry and its policy's initial stop; or with ``size="given"`` it has as many coins
    as its entry says, and columns named ``quote`` in place of ``bps`` count the money. A position counts on the day (UTC) that it was left:
    what it lost or won on the way, in days before, is not marked.
    """

    def __init__(self, results: Mapping[str, Result], *, size: Size, risk_bps: float) -> None:
        self.results, self.size, self.risk_bps = dict(results), size, risk_bps
        self.grid = next(iter(self.results.values())).grid
        self.unit = "quote" if size == "given" else "bps"

    def __len__(self) -> int:
        return len(self.grid)

    def __repr__(self) -> str:
        from qtkit.lab import sheets

        return repr(sheets.together(self))

    def _repr_html_(self) -> str:
        from qtkit.lab import sheets

        return sheets.together(self)._repr_html_()

    @cached_property
    def days(self) -> Ints:
        """The days from the first bar of any symbol to the last, counted since 1970."""
        first = min(int(it.bars.time_ms[0]) for it in self.results.values())
        last = max(int(it.bars.time_ms[-1]) for it in self.results.values())
        return np.arange(first // DAY_MS, last // DAY_MS + 1)

    @cached_property
    def daily_net(self) -> Floats:
        """Net bps of the capital, or money of given sizes, [days, policies]."""
        return np.asarray(np.sum([self._by_day(it, self._earned(it)) for it in self.results.values()], axis=0))

    @cached_property
    def stopped(self) -> npt.NDArray[np.bool_]:
        """Whether a symbol left a position by a stop at a loss, [days, symbols, policies]."""
        return np.stack([self._by_day(it, _stopped(it)) > 0 for it in self.results.values()], axis=1)

    @cached_property
    def traded(self) -> npt.NDArray[np.bool_]:
        """Whether a symbol has bars, [days, symbols]."""
        return np.stack([np.isin(self.days, it.bars.time_ms // DAY_MS) for it in self.results.values()], axis=1)

    def _earned(self, it: Result) -> Floats:
        match self.size:
            case "risk":
                earned = it.r * self.risk_bps
            case "equal":
                earned = it.net_bps / len(self.results)
            case "given":
                earned = it.net_quote
            case _:
                assert_never(self.size)
        return np.nan_to_num(earned, nan=0.0)

    def _by_day(self, it: Result, values: Floats) -> Floats:
        """Sums by the day of the exit; what was passed over has nothing to add."""
        assert it.outcomes is not None  # portfolio keeps them
        day = it.bars.time_ms[np.maximum(it.outcomes.bar, 0)] // DAY_MS - self.days[0]
        cell = day * len(self) + np.arange(len(self))
        sums = np.bincount(cell.ravel(), values.ravel(), len(self.days) * len(self))
        return sums.astype(np.float64).reshape(len(self.days), len(self))

    # -- what is told

    def daily(self, policy: int) -> pl.DataFrame:
        """One policy day by day: ``net_bps`` of the capital (or ``net_quote``), what it comes to, how far that is below its best, and
        how many symbols were stopped."""
        refuse_policy(policy, len(self))
        net = self.daily_net[:, policy]
        total = np.cumsum(net)
        return pl.DataFrame(
            {
                "day": pl.Series(self.days, dtype=pl.Int32).cast(pl.Date),
                f"net_{self.unit}": net,
                f"total_{self.unit}": total,
                f"drawdown_{self.unit}": np.maximum(np.maximum.accumulate(total), 0) - total,
                "stopped": self.stopped[:, :, policy].sum(1),
            }
        )

    def table(self, *, joint: int | None = None) -> pl.DataFrame:
        """A row a policy, the best first: entries, net a day, worst day, greatest drawdown, joint stop-outs, effective entries.

        ``joint_stops`` are the days on which at least ``joint`` symbols were stopped (by default two, if there are two), ``joint_expected``
        how many there would be if the symbols were stopped as often, each independently of the others. ``effective`` counts overlapping
        entries of a symbol for as much as they have for themselves (average uniqueness: López de Prado, *Advances in Financial Machine
        Learning*, 2018, ch. 4); ``effective_at_least`` takes all symbols for one. How many independent entries there really were lies
        between the two.
        """
        joint = min(2, len(self.results)) if joint is None else joint
        if not 1 <= joint <= len(self.results):
            raise PolicyError(f"joint={joint}: stop-outs of 1 to {len(self.results)} symbols can be joint here")
        total = np.cumsum(self.daily_net, axis=0)
        drawdown = np.maximum(np.maximum.accumulate(total, axis=0), 0) - total
        worst = self.daily_net.argmin(0)
        own, together = self._effective()
        columns = {
            "entries": self.sums.entries, f"net_{self.unit}_per_day": self.daily_net.mean(0),
            f"worst_day_{self.unit}": self.daily_net.min(0), "worst_day": pl.Series(self.days[worst], dtype=pl.Int32).cast(pl.Date),
            f"drawdown_{self.unit}": drawdown.max(0),
            "joint_stops": (self.stopped.sum(1) >= joint).sum(0), "joint_expected": self._expected(joint), "effective": own,
            "effective_at_least": together,
        }  # fmt: skip
        told = self.grid.frame().with_columns(pl.Series(name, values) for name, values in columns.items())
        return told.sort(f"net_{self.unit}_per_day", descending=True, maintain_order=True)

    def by(self, group: str) -> pl.DataFrame:
        """The table of ``Result`` for each ``symbol``, or for what ``Result.by`` groups by, over all symbols."""
        found: dict[str, list[tuple[Sums, Floats | None]]] = {}
        for symbol, it in self.results.items():
            labels = np.full(len(it.entries), symbol) if group == "symbol" else it.labels(group)
            for name in np.unique(labels):
                rows = np.flatnonzero(labels == name)
                found.setdefault(str(name), []).append((it.sums_of(rows), it.quote_of(rows)))
        one = next(iter(self.results.values()))
        tables = {name: one.table_of(_added([sums for sums, _ in parts]), _paid(parts)) for name, parts in sorted(found.items())}
        return stacked([table.select(pl.lit(name).alias(group), pl.all()) for name, table in tables.items()])

    @cached_property
    def sums(self) -> Sums:
        """The statistics of all symbols together."""
        return _added([it.sums for it in self.results.values()])

    def trades(self, policy: int | None = None) -> pl.DataFrame:
        """The trades of one policy, or of all told apart by ``policy``, with their symbol, by the time of the entry."""
        parts = [it.trades(policy).select(pl.lit(symbol).alias("symbol"), pl.all()) for symbol, it in self.results.items()]
        return pl.concat(parts, how="diagonal").sort("time", "symbol", maintain_order=True)

    def _expected(self, joint: int) -> Floats:
        """Days on which at least ``joint`` symbols would be stopped if each were by itself: a Poisson-binomial count, day by day."""
        traded = self.traded[:, :, None]
        often = self.stopped.sum(0) / np.maximum(traded.sum(0), 1)
        some = np.zeros((len(self.days), joint, len(self)))  # the chance that exactly 0, 1, .. below ``joint`` are stopped
        some[:, 0] = 1
        for number in range(len(self.results)):
            chance = (traded[:, number] * often[number])[:, None]
            some = some * (1 - chance) + np.concatenate([np.zeros_like(some[:, :1]), some[:, :-1] * chance], axis=1)
        return np.asarray((1 - some.sum(1)).sum(0))

    def _effective(self) -> tuple[Floats, Floats]:
        own, together = np.zeros(len(self)), np.zeros(len(self))
        for policy in range(len(self)):
            spans = [_spans(it, policy) for it in self.results.values()]
            own[policy] = sum(uniqueness(start, end).sum() for start, end in spans)
            together[policy] = uniqueness(*(np.concatenate(ends) for ends in zip(*spans, strict=True))).sum()
        return own, together


def portfolio(
    bars: Mapping[str, Bars],
    entries: "pl.DataFrame | Of | str",
    grid: "Grid | ExitPolicy | list[ExitPolicy]",
    *,
    trigger: Mapping[str, Bars] | None = None,
    costs: Costs | str | None = "account",
    one_at_a_time: bool = True,
    size: Size = "equal",
    risk_bps: float = 25,
    **more: Any,
) -> Portfolio:
    """Sweep the same policies over several symbols, by default one position a symbol at a time.

    ``entries`` are a frame with a column ``symbol``, or what ``sweep`` takes by symbol, or ``"every bar"``; ``trigger`` are mark-price bars
    of some symbols or all. ``more`` is what ``sweep`` takes besides: ``fill``, ``leverage``, ``threads``, ``cluster``, ``progress``. Raises
    ``BarsError`` for a symbol without bars, bars of different length, and what ``sweep`` refuses, naming the symbol.
    """
    refuse_words(size=(size, SIZES))
    if isinstance(risk_bps, bool) or not isinstance(risk_bps, int | float) or not 0 < risk_bps < inf:
        raise PolicyError(f"risk_bps is a number above zero, got {risk_bps!r}")
    _refuse_other(bars)
    for symbol in trigger or ():
        if symbol not in bars:
            raise BarsError(f"trigger names {symbol}, of which there are no bars: {suggestion(symbol, bars)}")
    if len({it.step_ms for it in bars.values()}) != 1:
        lengths = ", ".join(f"{symbol} {it.step_ms // 1000} s" for symbol, it in bars.items())
        raise BarsError(f"bars of one length are needed for all symbols, got {lengths}; load all of one timeframe")
    asked, paid = as_grid(grid), costs_of(costs)
    results = {}
    for symbol, part in _by_symbol(bars, entries):
        try:
            results[symbol] = sweep(
                bars[symbol], part, asked, trigger=(trigger or {}).get(symbol), costs=paid, size=size, one_at_a_time=one_at_a_time,
                keep="outcomes", **more,
            )  # fmt: skip
        except (BarsError, PolicyError) as error:
            raise type(error)(f"{symbol}: {error}") from None
    return Portfolio(results, size=size, risk_bps=risk_bps)


def _refuse_other(bars: object) -> None:
    """Raise ``BarsError`` for what is no dict of bars by symbol."""
    if not isinstance(bars, Mapping) or not bars:
        found = "there is none" if isinstance(bars, Mapping) else f"got {type(bars).__name__}"
        raise BarsError(f"bars of a portfolio are a dict by symbol, as {{'BTCUSDT': lab.load(...)}}; {found}")
    for symbol, one in bars.items():
        try:
            refuse_no_bars(one)
        except BarsError as error:
            raise BarsError(f"{symbol}: {error}") from None


def _by_symbol(bars: Mapping[str, Bars], entries: "pl.DataFrame | Of | str") -> Iterator[tuple[str, "pl.DataFrame | Entries | str"]]:
    if isinstance(entries, str):
        yield from ((symbol, entries) for symbol in bars)
        return
    if isinstance(entries, pl.DataFrame):
        if "symbol" not in entries.columns:
            raise BarsError("entries of several symbols need a column 'symbol'; or give a dict of entries by symbol")
        if entries["symbol"].null_count():
            raise BarsError(f"entries: row {entries['symbol'].is_null().arg_max()} has no symbol (null); leave that row out")
        entries = {str(name): part.drop("symbol") for (name,), part in entries.group_by("symbol", maintain_order=True)}
    if not isinstance(entries, Mapping):
        known = "a frame with a column 'symbol', a dict by symbol, or the words 'every bar'"
        raise BarsError(f"entries of several symbols are {known}; got {type(entries).__name__}")
    if not entries:
        raise BarsError("entries: there is none; give at least one row with symbol, time and side")
    for symbol, part in entries.items():
        if symbol not in bars:
            raise BarsError(f"entries name {symbol}, of which there are no bars: {suggestion(symbol, bars)}")
        yield symbol, part


def _stopped(it: Result) -> Floats:
    assert it.outcomes is not None
    why = it.outcomes.why
    return ((why >= STOP) & (why <= BREAK_EVEN) & (it.net < 0)).astype(np.float64)


def _added(parts: list[Sums]) -> Sums:
    how = {"best": np.max, "worst": np.min}
    return Sums(**{name: how.get(name, np.sum)([getattr(part, name) for part in parts], axis=0) for name in Sums._fields})


def _paid(parts: "list[tuple[Sums, Floats | None]]") -> Floats | None:
    money = [quote for _, quote in parts if quote is not None]
    return np.sum(money, axis=0) if money else None


def _spans(it: Result, policy: int) -> tuple[Ints, Ints]:
    """From when to when each position was open (ms); one that was left in the bar it was entered in, a bar long."""
    assert it.outcomes is not None
    took = it.outcomes.why[:, policy] > 0
    start = it.bars.time_ms[it.entries.bar[took]]
    end = it.bars.time_ms[it.outcomes.bar[took, policy]]
    return start, np.maximum(end, start + it.bars.step_ms)


def uniqueness(start: Ints, end: Ints) -> Floats:
    """For each span of time the part that it has for itself: the mean over it of one by the number of spans open."""
    if len(start) == 0:
        return np.zeros(0)
    edges = np.unique(np.concatenate([start, end]))
    first, last = np.searchsorted(edges, start), np.searchsorted(edges, end)
    change = np.bincount(first, minlength=len(edges)) - np.bincount(last, minlength=len(edges))
    shares = np.diff(edges) / np.maximum(np.cumsum(change)[:-1], 1)
    before = np.r_[0.0, np.cumsum(shares)]
    return np.asarray((before[last] - before[first]) / (end - start))
