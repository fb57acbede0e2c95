"""What is handed in of another kind, size, symbol or series than is meant is one sentence with what to do, never a traceback of ours."""

from collections.abc import Callable
from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from qtkit import lab
from qtkit.bars import BarsError
from qtkit.core.model import PolicyError
from tests.lab.rig import walk
from tests.lab.test_inputs import NAN, at, entries, frame, swept

W = walk(1, 60)
G = lab.grid(stop_bps=(200, 300))
NO_BARS = "bars are what lab.load gives of a file or a frame; got "


class Frame:
    """A frame of another library."""


Frame.__module__ = "pandas.core.frame"


def portfolio(**told: object) -> lab.Portfolio:
    asked = {"bars": {"A": W, "B": W}, "entries": "every bar", "grid": G, **told}
    return lab.portfolio(asked.pop("bars"), asked.pop("entries"), asked.pop("grid"), **asked)


CASES: dict[str, tuple[Callable[[], object], str]] = {
    # bars
    "bars of pandas": (
        lambda: lab.load(Frame()),
        "bars are a parquet file or a polars frame, got pandas.core.frame.Frame; make one of it with pl.from_pandas(...)",
    ),
    "bars not yet collected": (
        lambda: lab.load(frame().lazy()),
        "bars are a parquet file or a polars frame, got polars.lazyframe.frame.LazyFrame; .collect() it first",
    ),
    "bars of a list": (
        lambda: lab.load([1]),
        "bars are a parquet file or a polars frame, got builtins.list; make one of it with pl.DataFrame(...)",
    ),
    "bars of two symbols": (
        lambda: lab.load(frame().with_columns(symbol=pl.Series(["A", "B"] * 4))),
        "bars hold 2 symbols, A and others; keep one, as with .filter(symbol='A')",
    ),
    "funding of a number": (lambda: lab.load(frame(), funding=5), "funding is a parquet file or a polars frame, got builtins.int"),
    "a trigger of a number": (lambda: swept(trigger=5), "trigger is a parquet file or a polars frame, got builtins.int"),
    "a trigger of another length": (
        lambda: swept(bars=lab.load(frame()), trigger=frame()[:6]),
        "trigger: has no bar at 2024-01-02 12:06:00+00:00, which bars has (2 such)",
    ),
    "a trigger of another symbol": (
        lambda: swept(bars=lab.load(frame(), symbol="BTCUSDT"), trigger=lab.load(frame(), symbol="ETHUSDT")),
        "the trigger is of ETHUSDT and the bars are of BTCUSDT; give the mark price of BTCUSDT, or load it with symbol='BTCUSDT' if it is",
    ),
    "a trigger of other prices": (
        lambda: lab.load(frame(), trigger=frame().with_columns(pl.col("open", "high", "low", "close") / 16)),
        "trigger: its closes are 0.063 times those of bars; a mark price is never so far away: give that of the same symbol",
    ),
    # entries
    "times without a zone": (
        lambda: swept(entries=entries(time=[at(0).replace(tzinfo=None)] * 3)),
        "entries: 'time' has no time zone: if it is UTC, write it with .dt.replace_time_zone(\"UTC\")",
    ),
    "exits without a zone": (
        lambda: swept(bars=lab.load(frame()), entries=entries(exit_at=[at(60).replace(tzinfo=None)] * 3)),
        "entries: 'exit_at' has no time zone",
    ),
    "entries of pandas": (
        lambda: swept(entries=Frame()),
        "entries are a polars frame, or the words 'every bar', got pandas.core.frame.Frame; make one of it with pl.from_pandas(...)",
    ),
    "entries of several symbols": (
        lambda: swept(entries=entries(symbol=["A"] * 3)),
        "entries: column 'symbol' is for lab.portfolio, which takes bars by symbol; filter the rows of one",
    ),
    "an entry without a side": (
        lambda: swept(bars=lab.load(frame()), entries=entries(side=["long", None, "long"])),
        "entries: row 1 has no side (null): long or short",
    ),
    "a price of astronomers": (
        lambda: swept(bars=lab.load(frame()), entries=entries(price=[None, 1e30, None])),
        "entries: row 1 has the price 1e+30; it is beyond every price",
    ),
    "twice when": (
        lambda: swept(bars=lab.load(frame()), entries=entries(bar=[0, 1, 2])),
        "entries: 'time' and 'bar' both say when; drop one of them",
    ),
    "bars of two lengths": (
        lambda: portfolio(bars={"A": W, "B": replace(W, step_ms=300_000)}),
        "bars of one length are needed for all symbols, got A 60 s, B 300 s; load all of one timeframe",
    ),
    "entries that no symbol has": (
        lambda: portfolio(entries=entries()),
        "entries of several symbols need a column 'symbol'; or give a dict",
    ),
    "progress by word": (lambda: swept(progress="yes"), "progress is True or False, got 'yes'"),
    "no step": (lambda: lab.every(W, step=0), "step is a whole number of bars from 1, got 0"),
    "every bar of a frame": (lambda: lab.every(frame()), NO_BARS + "DataFrame"),
    "breakouts of a frame": (lambda: lab.breakouts(frame()), NO_BARS + "DataFrame"),
    "breakouts of nothing": (lambda: lab.breakouts(W, bars_back=0), "bars_back is a whole number of bars from 1, got 0"),
    "breakouts to no side": (lambda: lab.breakouts(W, side="lnog"), "there is no side='lnog': did you mean 'long'?"),
    "an hour of text": (lambda: lab.session_end(W, "every bar", "16"), "the hour of a session's end is 0 to 23 in UTC, got '16'"),
    "minutes of text": (
        lambda: lab.before_funding(replace(W, funding=W.open), "every bar", "5"),
        "minutes are counted back from the funding, 0 or more; got '5'",
    ),
    # grids
    "a stop of text": (lambda: lab.grid(stop_bps="250"), "stop_bps is a whole number of basis points (250 is 2.5 %), got '250'"),
    "a stop of truth": (lambda: lab.grid(stop_bps=True), "stop_bps is a whole number of basis points (250 is 2.5 %), got True"),
    "bps for words": (lambda: lab.grid(stop=250), "a distance is written 2.5%, 250bps, 2R or 3atr; got 250"),
    "a trail of bps for words": (lambda: lab.grid(stop_bps=200, trail=[90]), "a distance is written 2.5%, 250bps, 2R or 3atr; got 90"),
    "a share of text": (
        lambda: lab.grid(stop_bps=200, targets=[(("1R", "50"),)]),
        "a target takes more than 0 and at most 100 percent of the position, got '50'",
    ),
    "stages that are none": (
        lambda: lab.grid(stop_bps=200, stages=[5]),
        "stages are a list of choices, each a list of (at bps, stop to bps)",
    ),
    "curves that are none": (lambda: lab.grid(stop_bps=200, trail_bps=90, tightening=5), "tightening are a list of choices"),
    "own stops by word": (lambda: lab.grid(own_stop="yes"), "own_stop is True or False, got 'yes'"),
    "a grid of all": (
        lambda: lab.grid(stop_bps=range(1, 9_000), trail_bps=range(1, 9_000)),
        "80,982,001 policies are more than 1,000,000; give fewer values to an axis",
    ),
    # sweeps
    "no threads": (lambda: swept(threads=0), "threads is a whole number of threads from 1, got 0"),
    "threads of text": (lambda: swept(threads="2"), "threads is a whole number of threads from 1, got '2'"),
    "half a thread": (lambda: swept(threads=1.5), "threads is a whole number of threads from 1, got 1.5"),
    "one at a time by word": (lambda: swept(one_at_a_time="no"), "one_at_a_time is True or False, got 'no'"),
    "a policy of float": (lambda: swept().trades(0.0), "there are 2 policies, numbered from 0; got 0.0"),
    "a policy of truth": (lambda: swept().trades(True), "there are 2 policies, numbered from 0; got True"),
    "a policy by name": (lambda: swept().equity("p0"), "there are 2 policies, numbered from 0; got 'p0'"),
    "an equity of all": (lambda: swept().equity(None), "there are 2 policies, numbered from 0; got None"),
    "a group of None": (lambda: swept().by(None), "entries cannot be grouped by 'None': known: "),
    "a metric of None": (lambda: swept().cube(None), "the table has no 'None': known: "),
    "excursions of bars": (lambda: lab.excursions(W, 0), "excursions are of what lab.sweep gave, got Bars"),
    "replay of a grid": (lambda: lab.replay(W, "every bar", G), "replay takes one policy, as grid.policies[0]; got Grid"),
    "replay of a word": (lambda: lab.replay(W, "every bar", "staged"), "replay takes one policy, as grid.policies[0]; got str"),
    "replay of a frame": (lambda: lab.replay(frame(), "every bar", G.policies[0]), NO_BARS + "DataFrame"),
    "replay filled otherwise": (
        lambda: lab.replay(W, "every bar", G.policies[0], fill="wurst"),
        "there is no fill='wurst': did you mean 'worst'?",
    ),
    # portfolios and what rests on them
    "one symbol for several": (
        lambda: portfolio(bars=W),
        "bars of a portfolio are a dict by symbol, as {'BTCUSDT': lab.load(...)}; got Bars",
    ),
    "no symbols": (lambda: portfolio(bars={}), "bars of a portfolio are a dict by symbol, as {'BTCUSDT': lab.load(...)}; there is none"),
    "frames by symbol": (lambda: portfolio(bars={"A": W, "B": frame()}), "B: " + NO_BARS + "DataFrame"),
    "a symbol without bars": (
        lambda: portfolio(entries={"A": "every bar", "BB": "every bar"}),
        "entries name BB, of which there are no bars: did you mean 'B'?",
    ),
    "a row without a symbol": (
        lambda: portfolio(entries=entries(time=None, bar=[1, 2, 3], symbol=["A", None, "B"])),
        "entries: row 1 has no symbol (null)",
    ),
    "entries of no kind": (
        lambda: portfolio(entries=5),
        "entries of several symbols are a frame with a column 'symbol', a dict by symbol, or the words 'every bar'; got int",
    ),
    "no risk": (lambda: portfolio(size="risk", risk_bps=-5), "risk_bps is a number above zero, got -5"),
    "a risk of NaN": (lambda: portfolio(size="risk", risk_bps=NAN), "risk_bps is a number above zero, got nan"),
    "a day of a float": (lambda: portfolio().daily(1.5), "there are 2 policies, numbered from 0; got 1.5"),
    "hints of one symbol": (
        lambda: lab.fit_hints(W, "every bar", G.policies[0], sl_bps=(100, 200)),
        "bars of a portfolio are a dict by symbol",
    ),
    "hints of text": (
        lambda: lab.fit_hints({"A": W}, "every bar", G.policies[0], sl_bps=("100", "200")),
        "sl_bps is a whole number of basis points (250 is 2.5 %), got '100'",
    ),
    "hints on a word": (
        lambda: lab.fit_hints({"A": W}, "every bar", "staged", sl_bps=(100, 200)),
        "hints are fitted on one policy, as grid.policies[0]; got str",
    ),
    "fills of nothing": (
        lambda: lab.fills(None),
        "fills are a CSV or parquet file, a polars frame, or the list that fetch_my_trades returned; got NoneType",
    ),
    "episodes of bars": (lambda: lab.episodes(frame()), "these are no fills; make them with lab.fills(...)"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_sentence_says_what_is_wrong(name: str) -> None:
    ask, wanted = CASES[name]
    with pytest.raises((BarsError, PolicyError)) as error:
        ask()
    assert str(error.value).startswith(wanted) and "\n" not in str(error.value)


def test_a_moment_is_the_same_in_every_zone() -> None:
    """A time with a zone is exact, whichever it is."""
    bars = lab.load(frame())
    berlin = [moment.astimezone(ZoneInfo("Europe/Berlin")) for moment in (at(6.5), at(0.5), at(2))]
    known = lab.sweep(bars, entries(), G)
    told = pl.DataFrame({"time": pl.Series(berlin).dt.convert_time_zone("Europe/Berlin"), "side": ["long", "short", "long"]})
    assert told.schema["time"] == pl.Datetime("us", "Europe/Berlin")
    assert lab.sweep(bars, told, G).trades(0).equals(known.trades(0))


def test_whole_numbers_of_any_make_are_taken() -> None:
    result = swept()
    assert result.trades(np.int64(1)).equals(result.trades(1))
    assert lab.grid(stop_bps=np.arange(100, 300, 100)).shape == (2,)
    assert swept(threads=np.int64(1)).sums.entries.tolist() == result.sums.entries.tolist()


def test_a_mark_price_a_little_off_is_a_mark_price() -> None:
    off = frame().with_columns(pl.col("open", "high", "low", "close") * 1.05)
    assert lab.load(frame(), trigger=off).trigger is not None
    assert lab.load(frame(), trigger=lab.load(frame(), symbol="X").frame().with_columns(volume=pl.lit(1.0))).trigger is not None
