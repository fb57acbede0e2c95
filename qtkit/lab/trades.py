"""The trades of a sweep as a table, made in whole columns: all policies on all entries may be millions of rows."""

from typing import Any

import numpy as np
import polars as pl

from qtkit.core.model import ONE
from qtkit.lab.arguments import Ints, Outcomes
from qtkit.lab.result import COIN, WHYS, Result

_WORDS = pl.Series(WHYS, dtype=pl.Enum(WHYS))


def trades_of(result: Result, out: Outcomes, policies: Ints) -> pl.DataFrame:
    """A row a position, in the order of the entries and for each of them of the policies; see ``Result.trades``."""
    entry, place = np.nonzero(out.why[:, policies])
    at = entry, policies[place]
    bars, bar, made = result.bars, out.bar[at], result.entries
    columns: dict[str, Any] = {
        "policy": at[1],
        **made.frame(bars)[entry].to_dict(),
        "exit_time": pl.Series(bars.time_ms[bar] + bars.step_ms).cast(pl.Datetime("ms", "UTC")),
        "exit_price": out.price[at] * (bars.tick / ONE),
        "why": _WORDS[out.why[at]],
        "bars_held": bar - made.bar[entry],
        **_money(result, out, at),
    }
    return pl.DataFrame(columns)


def _money(result: Result, out: Outcomes, at: tuple[Ints, Ints]) -> dict[str, Any]:
    entry, policy = at
    price, gross, size = result.entries.price[entry], out.gross[at], result.entries.size
    fees, paid = (out.fees[at], out.paid[at]) if len(out.fees) else (np.zeros_like(gross), np.zeros_like(gross))
    net = gross - fees - paid
    told: dict[str, Any] = {
        "net_bps": net / price, "gross_bps": gross / price, "fees_bps": fees / price, "funding_bps": paid / price,
        "net_r": net / price / result.stop_bps[entry if len(result.stop_bps) > 1 else 0, policy],
    }  # fmt: skip
    if result.size == "given" and size is not None:
        told |= {"size": size[entry], "net_quote": net / COIN * size[entry]}
    return told
