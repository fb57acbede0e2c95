"""Hints from research: by symbol, regime and volatility the stop, target and trail that did best, judged where they were not chosen."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from importlib.metadata import version
from itertools import product
from math import erf, sqrt
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from qtkit.bars import PRICES, BarsError
from qtkit.core.distance import InBps, InR, bps_of, format_distance
from qtkit.core.hints import HintRow, HintTable, digest_of
from qtkit.core.model import E8, ONE, Bps, PolicyError
from qtkit.core.plan import WHOLE
from qtkit.core.policy import ExitPolicy
from qtkit.core.shape import STOP_CLAMP, TARGET_CLAMP
from qtkit.lab import cohorts
from qtkit.lab.arguments import Ints
from qtkit.lab.asked import is_whole
from qtkit.lab.bandit import contexts, train
from qtkit.lab.costs import Costs
from qtkit.lab.entries import Entries
from qtkit.lab.grid import Grid
from qtkit.lab.portfolio import portfolio, uniqueness
from qtkit.lab.result import Floats, Result
from qtkit.lab.series import Bars

Of = Mapping[str, "pl.DataFrame | Entries | str"]

Hint = tuple[int | None, int | None, int | None]
"""Stop, target and trail in bps, None for the policy's own."""


def hinted(policy: ExitPolicy, hint: Hint) -> ExitPolicy:
    """The policy that the desk's planner makes of a policy and such a hint: stop and target within their bounds, ladder in proportion.

    Raises ``PolicyError`` for a policy whose distances no hint replaces (by ATR, at a price), or that is shaped by confidence (hybrid).
    """
    sl, tp, trail = hint
    if policy.name == "hybrid":
        raise PolicyError("hybrid: it is shaped by confidence and not by a table of hints; fit them on another policy")
    if not isinstance(policy.stop, InBps):
        raise PolicyError(
            f"{policy.name}: hints move a stop in percent and its stop is {format_distance(policy.stop)}; fit them on a policy file with "
            'stop = "2.5%", or a policy of lab.grid(stop_bps=...)'
        )
    stop = policy.stop if sl is None else InBps(Bps(min(max(sl, STOP_CLAMP[0]), STOP_CLAMP[1])))
    targets = policy.targets
    if tp is not None and targets:
        far = [bps_of(at, unit=stop.bps, atr=None, price=E8(ONE)) for target in targets if isinstance(at := target.at, InBps | InR)]
        if len(far) < len(targets):
            raise PolicyError(f"{policy.name}: a target by ATR or at a price cannot be moved by a hint; give it in percent or R")
        wanted = min(max(tp, TARGET_CLAMP[0]), TARGET_CLAMP[1])
        moved = (InBps(Bps(max(1, bps * wanted // max(far)))) for bps in far)
        targets = tuple(replace(target, at=at) for target, at in zip(targets, moved, strict=True))
    rule = policy.trail
    if rule is not None and trail is not None:
        kept = tuple(step for step in rule.tightening if step.callback < trail)
        rule = replace(rule, callback=InBps(Bps(trail)), tightening=kept, moves=False)
    return replace(policy, stop=stop, adopted_stop=None, targets=targets, trail=rule)


@dataclass(frozen=True, eq=False)
class _Judged:
    """The entries of a symbol, by which policies are chosen (``before``) and judged (``after``), and what each policy brought (points)."""

    symbol: str
    result: Result
    regimes: cohorts.Labels
    volatilities: cohorts.Labels
    points: Ints
    before: Ints
    after: Ints


def fit_hints(
    bars: Mapping[str, Bars],
    entries: "pl.DataFrame | Of | str",
    policy: ExitPolicy,
    *,
    sl_bps: Sequence[int] = (),
    tp_bps: Sequence[int] = (),
    trail_bps: Sequence[int] = (),
    costs: Costs | str | None = "account",
    learner: Literal["cells", "linucb"] = "cells",
    split: float = 0.7,
    least: int = 30,
    created: datetime | None = None,
) -> HintTable:
    """Fit a table of hints on the policy that the account uses, for ``write_hints`` and the desk's ``hints.file``.

    Every combination of stops, targets and trails (bps; none given: the policy's own) is swept. The first ``split`` of the time chooses,
    the rest judges; a position that was open across the split does neither. In each cell of symbol, regime and volatility with at least
    ``least`` entries on both sides ``learner`` chooses the best mean, or what a LinUCB bandit believes best, which shares between cells.
    A row is written only if it brought more than the policy without hints where it was judged, on the same entries; its ``confidence``
    is how likely that is more than luck (one-sided, normal, overlapping positions counted for what they have for themselves), not
    corrected for how many were tried. ``created`` is now unless told.
    """
    if learner not in ("cells", "linucb") or not 0 < split < 1:
        raise PolicyError(f"learner is 'cells' or 'linucb' and split between 0 and 1, got {learner!r} and {split}")
    if not isinstance(policy, ExitPolicy):
        raise PolicyError(f"hints are fitted on one policy, as grid.policies[0]; got {type(policy).__name__}")
    for name, values in (("sl_bps", sl_bps), ("tp_bps", tp_bps), ("trail_bps", trail_bps)):
        if wrong := next((repr(bps) for bps in values if not is_whole(bps)), ""):
            raise PolicyError(f"{name} is a whole number of basis points (250 is 2.5 %), got {wrong}")
    hints = [(None, None, None), *product(sl_bps or (None,), tp_bps or (None,), trail_bps or (None,))]
    if len(hints) < 3:
        raise PolicyError("there is nothing to choose from; give at least two stops, targets or trails (sl_bps, tp_bps, trail_bps)")
    grid = Grid(tuple(replace(hinted(policy, hint), name=f"h{number}") for number, hint in enumerate(hints)))
    them = portfolio(bars, entries, grid, costs=costs, one_at_a_time=False)
    first = min(int(it.bars.time_ms[0]) for it in them.results.values())
    until = max(int(it.bars.time_ms[-1]) + it.bars.step_ms for it in them.results.values())
    split_ms = first + round((until - first) * split)
    rows = [row for symbol, it in them.results.items() for row in _rows(_judged(symbol, it, split_ms), hints, learner, least)]
    table = HintTable(
        policy=policy.name, learner=learner, from_ms=first, split_ms=split_ms, until_ms=until,
        created_ms=round((created or datetime.now(UTC)).timestamp() * 1000), kit=version("qtkit"),
        data=tuple((symbol, data_hash(it.bars)) for symbol, it in them.results.items()), rows=tuple(rows),
    )  # fmt: skip
    return replace(table, digest=digest_of(table))


def _judged(symbol: str, it: Result, split_ms: int) -> _Judged:
    assert it.outcomes is not None
    begins = it.bars.closes_ms()[it.entries.bar]
    ends = it.bars.closes_ms()[it.outcomes.bar.max(1)]
    regimes, volatilities = cohorts.regimes(it.bars, it.entries), cohorts.volatilities(it.bars, it.entries)
    points = np.rint(100 * it.net_bps).astype(np.int64)
    return _Judged(symbol, it, regimes, volatilities, points, np.flatnonzero(ends <= split_ms), np.flatnonzero(begins > split_ms))


def _rows(it: _Judged, hints: Sequence[Hint], learner: str, least: int) -> Iterator[HintRow]:
    cells = sorted(set(zip(it.regimes.tolist(), it.volatilities.tolist(), strict=True)))
    seen = contexts(it.regimes, it.volatilities)
    bandit = train(it.result, it.before, seen)[0] if learner == "linucb" else None
    for regime, volatility in cells:
        inside = (it.regimes == regime) & (it.volatilities == volatility)
        before, after = it.before[inside[it.before]], it.after[inside[it.after]]
        if min(len(before), len(after)) < least:
            continue
        means: Floats = it.points[before].mean(0)
        best = int(np.argmax(means if bandit is None else bandit.expected(seen[before[0]])))
        confidence = _sure(it.points[after, best] - it.points[after, 0], _independent(it.result, after, best))
        if best == 0 or confidence <= WHOLE // 2:
            continue
        sl, tp, trail = (None if bps is None else Bps(bps) for bps in hints[best])
        yield HintRow(
            symbol=it.symbol, regime=regime, volatility=volatility, sl=sl, tp=tp, trail=trail, confidence=Bps(confidence),
            entries=len(before), in_points=round(float(means[best])), out_entries=len(after),
            out_points=round(float(it.points[after, best].mean())), base_points=round(float(it.points[after, 0].mean())),
        )  # fmt: skip


def _independent(it: Result, rows: Ints, best: int) -> float:
    """How many independent positions these are, of which many are open at once: the longer of two policies counts."""
    assert it.outcomes is not None
    times = it.bars.time_ms
    ends = times[np.maximum(it.outcomes.bar[rows, 0], it.outcomes.bar[rows, best])]
    starts = times[it.entries.bar[rows]]
    return float(uniqueness(starts, np.maximum(ends, starts + it.bars.step_ms)).sum())


def _sure(more: Ints, independent: float) -> int:
    """How likely a mean difference is above zero (bps): normal, with so many independent positions."""
    mean, error = float(more.mean()), float(more.std(ddof=1)) / sqrt(independent)
    if error == 0:
        return WHOLE if mean > 0 else 0
    return round(WHOLE * (1 + erf(mean / error / sqrt(2))) / 2)


# -- files


def data_hash(bars: Bars) -> str:
    """A hash of a symbol's bars, of its mark bars and its funding where it has them."""
    digest = blake2b(f"{bars.symbol} {bars.tick} {bars.step_ms}".encode(), digest_size=16)
    for series in (bars, *(() if bars.trigger is None else (bars.trigger,))):
        for name in ("time_ms", *PRICES):
            digest.update(np.ascontiguousarray(getattr(series, name)).tobytes())
    if bars.funding is not None:
        digest.update(np.ascontiguousarray(bars.funding).tobytes())
    return digest.hexdigest()


def require_data(table: HintTable, bars: Iterable[Bars]) -> None:
    """Raise ``BarsError`` if a table was not fitted on these very bars: then its figures are not to be had from them."""
    fitted = dict(table.data)
    for it in bars:
        if fitted.get(it.symbol) != data_hash(it):
            known = "on others" if it.symbol in fitted else "without it"
            raise BarsError(f"{it.symbol}: the hints were fitted {known}; load the bars that they were fitted on, or fit them anew")


def write_hints(table: HintTable, path: Path | str) -> None:
    """Write a table as the file that ``hints.file`` in qtkit.toml names, whole or not at all."""
    place = Path(path)
    draft = place.with_name(f".{place.name}.new")
    draft.write_text(json.dumps(asdict(table), indent=1) + "\n")
    draft.replace(place)


def hints_frame(table: HintTable) -> pl.DataFrame:
    """A table as people look at it: a row a cell, figures in bps, confidence in percent."""
    rows = [asdict(row) for row in table.rows]
    schema = {name: pl.String if kind is str else pl.Int64 for name, kind in HintRow.__annotations__.items()}
    points = [(pl.col(name) / 100).alias(name.replace("points", "bps")) for name in ("in_points", "out_points", "base_points")]
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col("confidence") / 100, *points)
    return frame.drop("in_points", "out_points", "base_points")
