"""The lab: which exits would have served, over years of bars, by the arithmetic that runs live."""

from qtkit.lab.bandit import LinUcb
from qtkit.lab.bands import bands
from qtkit.lab.costs import FREE, Costs
from qtkit.lab.counterfactual import Counterfactual, counterfactual
from qtkit.lab.entries import Entries, as_entries, every
from qtkit.lab.episodes import episodes, journal_fills
from qtkit.lab.example import breakouts, example
from qtkit.lab.excursions import Excursions, edge_ratio, excursions
from qtkit.lab.exits import before_funding, exit_at_opposite, session_end
from qtkit.lab.fills import fills, funding_paid
from qtkit.lab.given import content, given
from qtkit.lab.grid import Grid, grid
from qtkit.lab.hints import fit_hints, hints_frame, require_data, write_hints
from qtkit.lab.lookahead import Lookahead, first_lookahead
from qtkit.lab.parity import Difference, Parity, parity
from qtkit.lab.portfolio import Portfolio, portfolio
from qtkit.lab.ranges import with_atr
from qtkit.lab.replay import Replayed, replay
from qtkit.lab.result import Result
from qtkit.lab.series import Bars, load
from qtkit.lab.significance import BestOfMany, Comparison, compare, deflated_sharpe, reality_check
from qtkit.lab.sizes import Size
from qtkit.lab.slippage import Slippage, fit_slippage, slips
from qtkit.lab.sweep import sweep
from qtkit.lab.tape import from_trades
from qtkit.lab.walkforward import WalkForward, walk_forward

__all__ = [
    "FREE",
    "Bars",
    "BestOfMany",
    "Comparison",
    "Costs",
    "Counterfactual",
    "Difference",
    "Entries",
    "Excursions",
    "Grid",
    "LinUcb",
    "Lookahead",
    "Parity",
    "Portfolio",
    "Replayed",
    "Result",
    "Size",
    "Slippage",
    "WalkForward",
    "as_entries",
    "bands",
    "before_funding",
    "breakouts",
    "compare",
    "content",
    "counterfactual",
    "deflated_sharpe",
    "edge_ratio",
    "episodes",
    "every",
    "example",
    "excursions",
    "exit_at_opposite",
    "fills",
    "first_lookahead",
    "fit_hints",
    "fit_slippage",
    "from_trades",
    "funding_paid",
    "given",
    "grid",
    "hints_frame",
    "journal_fills",
    "load",
    "parity",
    "portfolio",
    "reality_check",
    "replay",
    "require_data",
    "session_end",
    "slips",
    "sweep",
    "walk_forward",
    "with_atr",
    "write_hints",
]
