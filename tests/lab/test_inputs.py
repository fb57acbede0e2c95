"""What cannot be computed with is refused in one sentence that names the file or table, the row and the rule, and what to do."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from qtkit import lab
from qtkit.bars import BarsError
from qtkit.core.model import E8, PolicyError
from qtkit.lab.ticks import HIGHEST
from tests.lab.rig import some_entries, walk

NAN = float("nan")
NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def frame(count: int = 8) -> pl.DataFrame:
    """Quiet bars on a grid of 0.1."""
    times = pl.Series([at(minute) for minute in range(count)], dtype=pl.Datetime("ms", "UTC"))
    columns = {"open": 100.0, "high": 100.2, "low": 99.9, "close": 100.1, "volume": 1.0}
    return pl.DataFrame({"time": times, **{name: [value] * count for name, value in columns.items()}})


def put(row: int, column: str, value: object, of: pl.DataFrame | None = None) -> pl.DataFrame:
    """The bars with one value changed."""
    table = frame() if of is None else of
    values = table[column].to_list()
    values[row] = value
    return table.with_columns(pl.Series(column, values, dtype=table[column].dtype))


def holed() -> pl.DataFrame:
    """The minutes 3 and 4 are not there."""
    return frame()[[0, 1, 2, 5, 6, 7]]


BARS: dict[str, tuple[Callable[[], pl.DataFrame], dict[str, Any], str]] = {
    "unordered": (lambda: frame()[[0, 2, 1, *range(3, 8)]], {}, "{}: time does not rise in row 2, 2024-01-02 12:01:00+00:00"),
    "a time twice": (lambda: frame()[[0, 1, 1, *range(2, 8)]], {}, "{}: time does not rise in row 2"),
    "null": (lambda: put(3, "close", None), {}, "{}: close is null in row 3, 2024-01-02 12:03:00+00:00"),
    "no time": (lambda: put(3, "time", None), {}, "{}: time is null in row 3"),
    "NaN": (lambda: put(4, "high", NAN), {}, "{}: high is not a finite number in row 4"),
    "infinite": (lambda: put(4, "high", float("inf")), {}, "{}: high is not a finite number in row 4"),
    "high below low": (lambda: put(5, "high", 99.0), {}, "{}: high is below open, close or low in row 5"),
    "low above open": (lambda: put(5, "low", 100.1), {}, "{}: low is above open or close in row 5"),
    "nothing paid": (lambda: put(5, "low", 0.0), {}, "{}: low is not positive in row 5"),
    "off the grid": (
        lambda: put(2, "high", 100.25),
        {"tick": "0.1"},
        '{}: 1 price lies off the grid of 0.1, the first high in row 2, 2024-01-02 12:02:00+00:00: 100.25; give the tick '
        'of that time, or tick="0.1", off_grid="nearest" to take each at its nearest tick',
    ),
    "no bars": (lambda: frame()[:0], {}, "{} holds no bars"),
    "fundings": (lambda: frame().select("time", rate="open"), {}, "{} has no column 'open'"),
    "a name with a slip": (lambda: frame().rename({"close": "Close"}), {}, "{} has no column 'close'; did you mean 'Close'?"),
    "text for prices": (lambda: frame().with_columns(pl.col("open").cast(pl.String)), {}, "{}: column 'open' is String, not Float64"),
    "times without a zone": (
        lambda: frame().with_columns(pl.col("time").dt.replace_time_zone(None)),
        {},
        "{}: column 'time' is Datetime",
    ),
    "no tick": (frame, {"tick": 0}, "the tick is a price step above zero in whole 1e-8, as '0.1', got 0"),
    "a tick of text": (frame, {"tick": "fine"}, "the tick is a price step above zero in whole 1e-8, as '0.1', got 'fine'"),
    "a tick of NaN": (frame, {"tick": NAN}, "the tick is a price step above zero in whole 1e-8, as '0.1', got nan"),
    "nearest of what": (frame, {"off_grid": "nearest"}, "off_grid='nearest' needs the grid that prices are taken to: give tick="),
    "off_grid with a slip": (frame, {"off_grid": "nearst", "tick": 1}, "there is no off_grid='nearst': did you mean 'nearest'?"),
}  # fmt: skip


@pytest.mark.parametrize("name", BARS)
@pytest.mark.parametrize("from_file", [True, False], ids=["file", "frame"])
def test_bars(name: str, from_file: bool, tmp_path: Path) -> None:
    make, told, wanted = BARS[name]
    path = tmp_path / "BTCUSDT_2024.parquet"
    make().write_parquet(path)
    with pytest.raises(BarsError) as error:
        lab.load(path if from_file else make(), **told)
    assert str(error.value).startswith(wanted.replace("{}", str(path) if from_file else "bars"))
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    frame().write_parquet(tmp_path / "BTCUSDT_2024.parquet")
    wrong = tmp_path / "BTCUSD_2024.parquet"
    for told in ({"source": wrong}, {"source": frame(), "funding": wrong}, {"source": frame(), "trigger": wrong}):
        with pytest.raises(BarsError, match=r"is not there; did you mean 'BTCUSDT_2024\.parquet'"):
            lab.load(**told)  # type: ignore[arg-type]
    wrong.write_bytes(b"text")
    for told in ({"source": wrong}, {"source": frame(), "funding": wrong}):
        with pytest.raises(BarsError, match=f"{wrong} cannot be read as parquet"):
            lab.load(**told)  # type: ignore[arg-type]


# -- strays


def thin() -> pl.DataFrame:
    """A market on 0.001 of a price that needs it, with two strays in one row and one in another."""
    made = frame(3_000).with_columns(pl.col("open", "high", "low", "close") * 3 + 0.001)
    for row, column, value in ((1_207, "low", 43.83999218), (1_207, "open", 43.83999218), (2_000, "close", 300.10000001)):
        made = put(row, column, value, made)
    return made


def test_strays_that_make_the_grid_too_fine_are_counted_and_the_first_is_named() -> None:
    with pytest.raises(BarsError) as error:
        lab.load(thin())
    assert str(error.value) == (
        "bars: a price of 300.601 does not fit 32 bits in ticks of 0.00000001, for 3 prices lie off the grid of 0.001, the first open in "
        'row 1207, 2024-01-03 08:07:00+00:00: 43.83999218; give tick="0.001", off_grid="nearest" to take each at its nearest tick'
    )


def test_nearest_takes_each_stray_at_its_nearest_tick() -> None:
    bars = lab.load(thin(), tick="0.001", off_grid="nearest")
    assert (bars.open[1_207], bars.low[1_207], bars.close[2_000]) == (43_840, 43_840, 300_100)
    clean = lab.load(frame(), tick="0.1", off_grid="nearest")
    known = lab.load(frame(), tick="0.1")
    assert all((getattr(clean, name) == getattr(known, name)).all() for name in ("open", "high", "low", "close"))


def test_a_market_that_has_no_coarser_grid() -> None:
    prices = 300.0 + np.arange(3_000) * 1.1e-7 + 1e-8
    fine = frame(3_000).with_columns(**{name: pl.Series(prices) for name in ("open", "high", "low", "close")})
    with pytest.raises(
        BarsError, match=r"does not fit 32 bits in ticks of 0.00000001; give the tick of this symbol with off_grid='nearest'"
    ):
        lab.load(fine)
    assert lab.load(fine, tick="0.01", off_grid="nearest").high.max() < HIGHEST


# -- trigger and funding


def test_a_trigger_with_holes() -> None:
    with pytest.raises(BarsError, match=r"trigger: has no bar at 2024-01-02 12:03:00\+00:00, which bars has \(2 such\)"):
        lab.load(frame(), trigger=holed())
    with pytest.raises(BarsError, match="trigger has no column 'open'"):
        lab.load(frame(), trigger=pl.DataFrame({"time": [NOON]}, schema={"time": pl.Datetime("ms", "UTC")}))


def fundings(**columns: object) -> pl.DataFrame:
    times = pl.Series([at(-480), at(1), at(481)], dtype=pl.Datetime("ms", "UTC"))
    return pl.DataFrame({"time": times, "rate": [0.0001, 0.0002, -0.0001], **columns})


FUNDINGS: dict[str, tuple[pl.DataFrame, str]] = {
    "bars": (frame(), "funding has no column 'rate'"),
    "a name with a slip": (fundings().rename({"rate": "rates"}), "funding has no column 'rate'; did you mean 'rates'?"),
    "text": (fundings().with_columns(pl.col("rate").cast(pl.String)), "funding: column 'rate' is String, not Float64"),
    "null": (put(1, "rate", None, fundings()), "funding: rate is null in row 1"),
    "NaN": (put(1, "rate", NAN, fundings()), "funding: rate is no fraction of the notional in row 1"),
    "percent": (put(2, "rate", 1.5, fundings()), "funding: rate is no fraction of the notional in row 2"),
    "unordered": (fundings()[[1, 0, 2]], "funding: time does not rise in row 1"),
    "no row": (fundings(symbol=["X"] * 3)[:0], "funding holds no funding; give the file of these bars, or none to leave funding out"),
    "another symbol": (fundings(symbol=["ETHUSDT"] * 3), "funding has no funding of ETHUSD: did you mean 'ETHUSDT'?"),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNDINGS)
def test_fundings(name: str) -> None:
    table, wanted = FUNDINGS[name]
    with pytest.raises(BarsError) as error:
        lab.load(frame(), symbol="ETHUSD", funding=table)
    assert str(error.value).startswith(wanted)


def test_funding_of_another_time_is_not_none() -> None:
    with pytest.raises(BarsError, match=r"funding has no funding of X between 2024-01-02 12:00:00.* and 2024-01-03 04:39:00"):
        lab.load(frame(1_000), symbol="X", funding=fundings().with_columns(pl.col("time") + pl.duration(days=9)))
    assert lab.load(frame(), symbol="X", funding=fundings()).funding is not None


@pytest.mark.parametrize(
    ("gone", "wanted"),
    [
        (lambda hour: hour < 40, "from 2024-01-02 12:00 to 2024-01-04 04:00 UTC"),
        (lambda hour: 24 < hour < 72, "from 2024-01-03 12:00 to 2024-01-05 12:00 UTC"),
        (lambda hour: hour > 48, "from 2024-01-04 12:00 to 2024-01-06 12:00 UTC"),
    ],
    ids=["before", "between", "behind"],
)
def test_funding_that_is_missing_for_a_day_is_not_counted_as_free(gone: Callable[[int], bool], wanted: str) -> None:
    hours = [hour for hour in range(0, 96, 8)]
    times = pl.Series([at(60 * hour) for hour in hours if not gone(hour)], dtype=pl.Datetime("ms", "UTC"))
    with pytest.raises(BarsError, match=f"funding has no funding of X {wanted}, which would count as free; give what is missing, cut"):
        lab.load(frame(96 * 60), symbol="X", funding=pl.DataFrame({"time": times, "rate": [0.0001] * len(times)}))


# -- entries


def entries(**columns: object) -> pl.DataFrame:
    """Three entries, not in order; a column replaces what is there, None takes it out."""
    whole: dict[str, object] = {"time": [at(6.5), at(0.5), at(2)], "side": ["long", "short", "long"], **columns}
    return pl.DataFrame({name: values for name, values in whole.items() if values is not None})


ENTRIES: dict[str, tuple[Any, str]] = {
    "before": (entries(time=[at(6), at(-1), at(2)]), "entries: row 1 has the time 2024-01-02 11:59:00+00:00, outside bars, which"),
    "after": (entries(time=[at(8), at(1), at(2)]), "entries: row 0 has the time 2024-01-02 12:08:00+00:00, outside bars"),
    "in a hole": (
        entries(time=[at(6), at(1), at(4.5)]),
        "entries: row 2 has the time 2024-01-02 12:04:30+00:00, in a hole of bars, which has nothing from the bar of "
        "2024-01-02 12:02:00+00:00 to that of 2024-01-02 12:05:00+00:00; leave that row out",
    ),
    "no moment": (entries(time=[at(6), None, at(2)]), "entries: row 1 has no time (null)"),
    "a text": (entries(time=["a", "b", "c"]), "entries: 'time' is String; it must be a datetime in UTC"),
    "bar outside": (entries(time=None, bar=[0, 1, 6]), "entries: row 2 names bar 6, but bars has 6 bars, 0 to 5"),
    "bar below": (entries(time=None, bar=[0, -1, 2]), "entries: row 1 names bar -1"),
    "no bar": (entries(time=None, bar=[0, None, 2]), "entries: row 1 has no bar (null)"),
    "half a bar": (entries(time=None, bar=[0.0, 0.5, 2.0]), "entries: 'bar' is Float64; it is the number of a bar"),
    "neither": (entries(time=None), "entries need a column 'time' (a moment in the bar) or 'bar' (its number)"),
    "no side": (entries(side=None), "entries need a column 'side': long or short"),
    "a side with a slip": (entries(side=["long", "shrt", "long"]), "entries: row 1 has the side 'shrt': did you mean 'short'?"),
    "a column with a slip": (entries(exit_att=[None] * 3), "entries: column 'exit_att' is not known: did you mean 'exit_at'?"),
    "a price not traded": (
        entries(price=[100.1, 100.3, None]),
        "entries: row 1, 2024-01-02 12:00:00+00:00: the entry's price was not traded in its bar; leave that row out or mend it",
    ),
    "a price of NaN": (entries(price=[100.1, None, NAN]), "entries: row 2 has the price nan; it must be a number above zero, or null"),
    "a price of text": (entries(price=["a", "b", "c"]), "entries: 'price' is String; it must be a number"),
    "a stop of NaN": (entries(stop=[NAN, None, 99.0]), "entries: row 0 has the stop nan"),
    "a stop ahead": (entries(stop=[90.0, 99.0, 99.0]), "entries: row 1, 2024-01-02 12:00:00+00:00: the entry's own stop lies on the"),
    "no size": (entries(size=[1.0, None, 1.0]), "entries: row 1 has no size (null); give how many coins it has, or leave the column out"),
    "a size of nothing": (entries(size=[1.0, 0.0, 1.0]), "entries: row 1 has the size 0.0; it must be a number above zero"),
    "a size below nothing": (entries(size=[1.0, 1.0, -2.0]), "entries: row 2 has the size -2.0; it must be a number above zero"),
    "a size of NaN": (entries(size=[NAN, 1.0, 1.0]), "entries: row 0 has the size nan; it must be a number above zero"),
    "an exit too early": (entries(exit_at=[None, None, at(1)]), "entries: row 2, 2024-01-02 12:02:00+00:00: exit_at does not lie after"),
    "an exit in a hole": (entries(exit_at=[None, at(3), None]), "entries: row 1 has the exit_at 2024-01-02 12:03:00+00:00, in a hole of"),
    "none": (entries()[:0], "entries: there is none"),
    "a word": ("every bars", "entries are a frame, or the words 'every bar', got 'every bars'"),
    "a list": ([1, 2], "entries are a polars frame, or the words 'every bar', got builtins.list; make one of it with pl.DataFrame(...)"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENTRIES)
def test_entries(name: str) -> None:
    given, wanted = ENTRIES[name]
    with pytest.raises(BarsError) as error:
        lab.sweep(lab.load(holed()), given, lab.grid(stop_bps=200))
    assert str(error.value).startswith(wanted)


def test_entries_are_put_in_order_with_all_they_have() -> None:
    told = entries(price=[100.1, None, 100.0], tag=["a", None, "c"], exit_at=[None, at(5), at(7)], size=[1.0, 2.5, 3.0])
    result = lab.sweep(lab.load(holed()), told, lab.grid(stop_bps=200))
    made = result.entries
    assert (made.bar.tolist(), made.sign.tolist()) == ([0, 2, 4], [-1, 1, 1])
    assert made.size is not None and made.size.tolist() == [2.5, 3.0, 1.0]
    assert (made.inside.tolist(), made.last.tolist()) == ([False, True, True], [3, 5, -1])
    assert made.tag is not None and made.tag.to_list() == [None, "c", "a"]


def test_entries_of_other_bars() -> None:
    grid, made = lab.grid(stop_bps=200), some_entries(walk(1, 500), 1)
    with pytest.raises(BarsError, match=r"entries: they name bars up to \d+, but bars has 20; make the entries of these bars"):
        lab.sweep(walk(1, 20), made, grid)
    with pytest.raises(BarsError, match="entries: entry 1 is of an earlier bar than the one before it"):
        lab.sweep(walk(1, 500), made.take(np.arange(len(made))[::-1]), grid)


# -- grids, words and results


GRIDS: dict[str, tuple[Callable[[], object], str]] = {
    "empty": (lambda: lab.grid(), "the grid is empty: give at least one value for each axis"),
    "an empty axis": (lambda: lab.grid(stop_bps=[], trail_bps=100), "the grid is empty"),
    "shares over 100 %": (
        lambda: lab.grid(stop_bps=200, targets=[(("1R", 70), ("2R", 50))]),
        "stop 2%, activation 1%, targets 70%@1R 50%@2R: targets and trail close 120 %",
    ),
    "a share over 100 %": (lambda: lab.grid(stop_bps=200, targets=[(("1R", 150),)]), "a target takes more than 0 and at most 100 percent"),
    "a share of NaN": (lambda: lab.grid(stop_bps=200, targets=[(("1R", NAN),)]), "a target takes more than 0 and at most 100"),
    "one ladder for several": (lambda: lab.grid(stop_bps=200, targets=(("1R", 50), ("2R", 50))), "targets are a list of choices"),  # type: ignore[arg-type]
    "a stage for several": (lambda: lab.grid(stop_bps=200, stages=[(100, None)]), "stages are a list of choices"),  # type: ignore[list-item]
    "NaN": (lambda: lab.grid(stop_bps=NAN), "stop_bps is a whole number of basis points (250 is 2.5 %), got nan"),  # type: ignore[arg-type]
    "half a bp": (lambda: lab.grid(stop_bps=200, trail_bps=[90, 90.5]), "trail_bps is a whole number"),  # type: ignore[list-item]
    "a stop beyond the price": (lambda: lab.grid(stop_bps=20_000), "stop 200%, activation 1%: a stop must be nearer than 100 %"),
    "targets out of order": (
        lambda: lab.grid(stop_bps=200, trail_bps=90, targets=[(("2R", 20), ("1R", 20))]),
        "stop 2%, trail 0.9%, activation 1%, targets 20%@2R 20%@1R: the targets of this policy must",
    ),
    "one of many that is none": (
        lambda: lab.grid(stop_bps=(200, 300), trail_bps=100, targets=[(("2R", 50),), ()], break_even_after=(None, 1), max_bars=60),
        "stop 2%, trail 1%, activation 1%, targets none, break_even_after 1, max_bars 60: break-even after target 1, but there are 0",
    ),
    "half a bar": (lambda: lab.grid(stop_bps=200, max_bars=2.5), "max_bars is a whole number of bars, got 2.5"),  # type: ignore[arg-type]
    "axes of another grid": (
        lambda: lab.Grid(lab.grid(stop_bps=(200, 300)).policies, {"stop": ("2%",)}),
        "axes of 1 values are not 2 policies; leave axes out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRIDS)
def test_grids(name: str) -> None:
    make, wanted = GRIDS[name]
    with pytest.raises(PolicyError) as error:
        make()
    assert str(error.value).startswith(wanted)


def swept(**told: object) -> lab.Result:
    asked = {"bars": walk(1, 60), "entries": "every bar", "grid": lab.grid(stop_bps=(200, 300)), **told}
    return lab.sweep(asked.pop("bars"), asked.pop("entries"), asked.pop("grid"), **asked)  # type: ignore[arg-type]


WORDS: dict[str, tuple[Callable[[], object], str]] = {
    "no policy": (lambda: swept(grid=[]), "the grid is empty"),
    "no policies": (lambda: swept(grid="2%"), "a grid is made with lab.grid(...), or is a list of policies; got str"),
    "a number for a grid": (lambda: swept(grid=5), "a grid is made with lab.grid(...), or is a list of policies; got int"),
    "a stop within costs": (lambda: swept(grid=lab.grid(stop_bps=20)), "p0: its stop is 0.2 % away, within noise and costs"),
    "a stop beyond liquidation": (
        lambda: swept(leverage=25),
        "p1: its stop is 2.99% away, beyond what a leverage of 25 allows before liquidation: at most 2.39%; take a nearer",
    ),
    "own stops of none": (lambda: swept(grid=lab.grid(own_stop=True)), "own_stop: the entry at 1970-01-01 00:00:00+00:00 has no stop"),
    "a fill": (lambda: swept(fill="worse"), "there is no fill='worse': did you mean 'worst'?"),
    "a size": (lambda: swept(size="gven"), "there is no size='gven': did you mean 'given'?"),
    "what to keep": (lambda: swept(keep="statistic"), "there is no keep='statistic': did you mean 'statistics'?"),
    "costs": (lambda: swept(costs="acount"), "costs are a Costs, 'account' for the fees of a regular account, or None"),
    "a fee as a fraction": (lambda: lab.Costs(taker=0.0005), "costs: taker is a whole number of 1e-8, as taker=E8(50_000) for 0.05 %"),  # type: ignore[arg-type]
    "a fee of 20 %": (lambda: lab.Costs(taker=E8(20_000_000)), "fees are fractions of the notional in 1e-8 below 10 %"),
    "a metric": (lambda: swept().cube("net_bp"), "the table has no 'net_bp': did you mean 'net_bps'?"),
    "a best": (lambda: swept().best("winpct"), "the table has no 'winpct': did you mean 'win_pct'?"),
    "a group": (lambda: swept().by("sides"), "entries cannot be grouped by 'sides': did you mean 'side'?"),
    "a unit": (lambda: swept().equity(0, unit="netbps"), "equity is not counted in 'netbps': did you mean 'net_bps'?"),
    "a policy": (lambda: swept().trades(2), "there are 2 policies, numbered from 0; got 2"),
    "outcomes not kept": (lambda: swept(keep="statistics").trades(0), "this sweep kept statistics alone"),
}  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_words(name: str) -> None:
    ask, wanted = WORDS[name]
    with pytest.raises(PolicyError) as error:
        ask()
    assert str(error.value).startswith(wanted)


def test_bars_that_are_a_frame() -> None:
    with pytest.raises(BarsError, match=r"bars are what lab\.load gives of a file or a frame; got DataFrame"):
        swept(bars=frame())


def test_a_price_beyond_64_bits() -> None:
    with pytest.raises(PolicyError, match="does not fit 64 bits; use a larger unit of the coin"):
        swept(bars=replace(walk(1, 60), tick=10**14))
