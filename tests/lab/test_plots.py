"""Pictures and tables of the lab: they say what they show, ask nothing of the network, and are the same again."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from qtkit import lab
from qtkit.bars import BarsError
from qtkit.core.model import PolicyError
from qtkit.core.policy import TREND, named
from qtkit.lab import plots, sheets
from qtkit.picture import Picture


@cache
def swept() -> lab.Result:
    bars = lab.example(3, 20)
    return lab.sweep(bars, lab.breakouts(bars, bars_back=240), GRID)


GRID = lab.grid(stop_bps=[100, 200, 300], trail_bps=[100, 200], activation_bps=[100, 200], max_bars=1440)


@cache
def laddered() -> lab.Result:
    bars = lab.example(3, 20)
    entries = lab.with_atr(bars, lab.breakouts(bars, bars_back=240))
    return lab.sweep(bars, entries, [TREND, named("staged"), named("scaled_tp")])


def texts(picture: Picture) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture.svg)


ALL = {
    "heatmap": lambda: swept().heatmap(),
    "position": lambda: plots.position(laddered(), 0, 3),
    "equity": lambda: plots.equity(swept(), [0, 1, 2]),
    "outcomes": lambda: plots.outcomes(laddered(), 2),
    "plan": lambda: plots.plan(laddered(), 0, 5),
    "excursions": lambda: plots.excursions(lab.excursions(swept(), 0).frame),
    "bands": lambda: plots.bands(bands()),
    "forward": lambda: plots.forward(swept(), lab.walk_forward(swept(), folds=3)),
}


@cache
def bracketed() -> lab.Result:
    """A stop and a target on bars of four hours: which of them came first the bars often do not tell."""
    bars = lab.example(3, 60).coarser(240 * 60_000)
    grid = lab.grid(stop_bps=(100, 150), targets=[((bps, 100),) for bps in (100, 150, 200)])
    return lab.sweep(bars, lab.every(bars), grid)


@cache
def bands() -> pl.DataFrame:
    return lab.bands(bracketed().bars, bracketed().entries, bracketed().grid)


@pytest.mark.parametrize("name", ALL)
def test_a_picture_asks_nothing_of_the_network_and_is_the_same_again(name: str) -> None:
    first, second = ALL[name](), ALL[name]()
    assert first.svg == second.svg and repr(first)
    assert set(re.findall(r"https?://[^\"' ]+", first.svg)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"<script|<image|href=", first.svg)
    first.altair()


# -- the heatmap


def test_a_heatmap_frames_the_best_and_says_where_the_other_axes_stand() -> None:
    result = swept()
    said = result.heatmap("net_bps").svg
    best = result.table().row(0, named=True)
    stop, trail = best["stop"].replace("%", " %"), best["trail"].replace("%", " %")
    assert f"Net result: best with stop {stop}, trail {trail}: " in said
    assert f"fixed: trail from {best['activation'].replace('%', ' %')}" in said
    assert "initial stop" in said and "trail, behind the best price" in said


def test_axes_and_places_of_a_heatmap_can_be_chosen() -> None:
    said = swept().heatmap("win_pct", x="activation", y="trail", at={"stop": "3%"}).svg
    assert "trail from" in said and "fixed: initial stop 3 %" in said and "Winners: best with" in said


@pytest.mark.parametrize(
    "chosen, words",
    [
        ({"x": "stopp"}, "no axis 'stopp'.*'stop'"),
        ({"metric": "net"}, "no 'net'"),
        ({"at": {"activation": "9%"}}, "'activation' has no '9%'"),
        ({"at": {"stop": "1%"}}, "'stop' is drawn"),
        ({"x": "stop", "y": "stop"}, "two different axes"),
    ],
)
def test_a_heatmap_refuses_what_the_grid_has_not(chosen: dict[str, object], words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        swept().heatmap(**chosen)  # type: ignore[arg-type]


def test_a_grid_of_one_axis_is_a_table() -> None:
    result = lab.sweep(swept().bars, swept().entries, lab.grid(stop_bps=[100, 200]))
    with pytest.raises(PolicyError, match="look at the table"):
        result.heatmap()


def test_policies_that_do_the_same_are_not_told_apart() -> None:
    result = lab.sweep(swept().bars, swept().entries, lab.grid(stop_bps=[200, 200], trail_bps=[100, 100]))
    assert plots.alike(result).sum() == 0, "they differ by nothing at all, and by no chance"
    assert plots.alike(swept()).sum() < len(swept()) and not plots.alike(swept())[swept().best()]


# -- one position


@pytest.mark.parametrize("fill", ["worst", "best"])
def test_the_stop_that_is_drawn_is_the_one_of_the_reference(fill: str) -> None:
    bars = lab.example(5, 10)
    entries = lab.breakouts(bars, bars_back=240)
    result = lab.sweep(bars, entries, named("staged"), fill=fill)  # type: ignore[arg-type]
    for row in range(len(entries)):
        picture = plots.position(result, 0, row)
        told = lab.replay(bars, entries, named("staged"), fill=fill)[row]  # type: ignore[arg-type]
        lines = [one for one in picture.spec["layer"] if one["mark"].get("strokeWidth") == 2.2]
        drawn = [point["price"] for point in lines[0]["data"]["values"]]
        path = [told.plan.stop, *told.stops][: told.end.bar - int(entries.bar[row])]
        assert drawn[0] == bars.price(path[0]) and drawn[-1] == bars.price(path[-1])
        assert sorted({bars.price(level) for level in path}) == sorted(set(drawn))


def test_a_position_tells_how_it_was_left() -> None:
    trades = laddered().trades(0)
    row = trades["why"].to_list().index("trail")
    said = texts(plots.position(laddered(), 0, row))
    assert any("left by its trail after" in text for text in said) and any(text.startswith("target 1 ") for text in said)
    with pytest.raises(PolicyError, match="numbered from 0; got entry 9999"):
        plots.position(laddered(), 0, 9999)


def test_an_entry_inside_its_bar_is_drawn_too() -> None:
    bars, entries = swept().bars, swept().entries
    inside = replace(entries, inside=np.ones(len(entries), np.bool_))
    assert plots.position(lab.sweep(bars, inside, GRID), 0, 0).svg


# -- the others


def test_a_few_lines_are_told_apart_and_more_are_refused() -> None:
    said = texts(plots.equity(swept(), [0, 1]))
    assert sum(text.startswith("activation 1 %: ") or "trail from 1 %: " in text for text in said) == 1, "only what differs is said"
    with pytest.raises(PolicyError, match="one to 5"):
        plots.equity(swept(), range(6))


def test_endings_are_counted_by_reason() -> None:
    said = texts(plots.outcomes(swept(), 0))
    trades = swept().trades(0)
    share = 100 * (trades["why"] == "stop").sum() / trades.height
    assert f"stop: {share:.0f} %" in said


def test_bands_that_meet_are_not_ranked() -> None:
    table = bands()
    met, apart = int((table["rank_from"] == 1).sum()), table.filter(pl.col("rank_from") < pl.col("rank_to")).height
    assert met > 1 and f"{apart} of 6 policies are not ranked" in plots.bands(table).svg
    assert f"{met} may be the best" in plots.bands(table).svg
    assert f"up to {table['hangs_pct'].max():.1f} % of a pnl hangs on it" in plots.bands(table).svg
    sure = lab.bands(swept().bars, swept().entries, GRID)
    assert "decides no place here" in plots.bands(sure).svg and "it alone may be the best" in plots.bands(sure).svg
    with pytest.raises(PolicyError, match="no policy"):
        plots.bands(table.clear())
    rows = sheets.bands(table).frame
    assert rows["rank"][0] == f"1-{table['rank_to'][0]}" and rows["policy"][0].startswith("stop ") and rows["of the pnl"][0].endswith(" %")


@pytest.mark.parametrize("anchored", [True, False])
def test_a_walk_forward_is_told_with_both_sides_and_its_costs(anchored: bool) -> None:
    found = lab.walk_forward(swept(), folds=3, anchored=anchored)
    told = found.report.rows_by_key("figure", named=True, unique=True)
    picture = plots.forward(swept(), found)
    said = texts(picture) + re.findall(r"<tspan[^>]*>([^<]*)</tspan>", picture.svg)
    inside, outside = (f"{told['net_bps'][side]:+.1f}".replace("-", "−") for side in ("in_sample", "out_of_sample"))
    assert f"Out of sample the choice brought {outside} bps, where it was made {inside}" in said
    assert any(text.startswith("each time chosen on " + ("all" if anchored else "the stretch")) for text in said)
    rows = sheets.forward(here=found).frame.rows_by_key("", named=True, unique=True)
    assert (rows["net bps"]["here, in sample"], rows["net bps"]["here, out of sample"]) == (inside, outside)
    assert rows["net bps"]["the grid"] == f"{told['net_bps']['grid']:+.1f}".replace("-", "−")
    assert rows["fees"]["here, out of sample"] == "−10.0" and rows["at least, 95 %"]["here, in sample"] == ""


def test_the_words_of_a_policy() -> None:
    assert plots.policy_words(TREND) == (
        "stop 3atr (1-5 %), 15 % at 0.5R, 20 % at 1R, 30 % at 2R, trail 2 % from 1.5R, 1.5 % from 3R, 1 % from 5R"
    )
    assert plots.policy_words(GRID.policies[0]) == "stop 1 %, trail 1 % from 1 %, 24 h at most"


def test_a_result_shows_itself() -> None:
    shown = swept()._repr_html_()
    assert "12 policies on" in shown and "<table" in shown and "EXAMPLEUSDT" in shown and "2 more in .table()" in shown
    assert repr(swept()).count("\n") == 11


def test_costs_are_told_apart() -> None:
    row = sheets.costs(swept(), [0]).frame.row(0, named=True)
    assert row["fees"] == "−10.0"
    told, trades = sheets.by(laddered(), "side", 2).frame, laddered().trades(2).filter(pl.col("side") == "short")
    short = told.row(by_predicate=pl.col("side") == "short", named=True)
    assert told.height == 2 and short["entries"] == str(trades.height) and short["fees"] == "−10.0"
    sure = lab.compare(laddered(), 2, rows=np.flatnonzero(laddered().entries.sign < 0))
    assert short["95 %"] == f"{sure.low_bps:+.0f} to {sure.high_bps:+.0f}".replace("-", "−") and sure.entries == trades.height
    assert short["net bps"] == f"{sure.mean_bps:+.1f}".replace("-", "−")
    assert "" in sheets.by(laddered(), "hour").frame["95 %"].to_list(), "too few for an interval"


# -- the example


def test_an_example_is_the_same_everywhere() -> None:
    bars = lab.example(7, 2)
    assert (len(bars), bars.tick, int(bars.close[-1]), int(bars.high.max()), int(bars.low.min())) == EXAMPLE
    assert (lab.example(7, 2).close == bars.close).all() and (lab.example(8, 2).close != bars.close).any()
    with pytest.raises(BarsError, match="at least one day"):
        lab.example(7, 0)


EXAMPLE = (2880, 10_000_000, 400_216, 422_354, 394_995)


def test_breakouts_look_back_and_never_ahead() -> None:
    bars = lab.example(7, 4)
    whole, part = lab.breakouts(bars, bars_back=120), lab.breakouts(bars.slice(0, 3000), bars_back=120)
    assert (whole.bar[whole.bar < 2999] == part.bar).all()
    for bar, sign in zip(whole.bar, whole.sign, strict=True):
        past = slice(bar - 120, bar)
        assert bars.close[bar] > bars.high[past].max() if sign > 0 else bars.close[bar] < bars.low[past].min()
    with pytest.raises(BarsError, match="no bar closes beyond"):
        lab.breakouts(bars, bars_back=len(bars))


def test_what_is_given_are_files_or_the_example(tmp_path: Path) -> None:
    bars, entries = lab.given(days=5)
    assert bars.symbol == "EXAMPLEUSDT" and len(bars) == 5 * 1440 and len(entries)
    path = f"{tmp_path}/BTCUSDT_2024.parquet"
    bars.frame().with_columns(volume=pl.lit(1.0)).write_parquet(path)
    again, same = lab.given(path)
    assert again.symbol == "BTCUSDT" and (again.close == bars.close).all() and (same.bar == entries.bar).all()
    assert lab.content(bars, entries) == lab.content(again, same)
    last, _ = lab.given(path, days=2)
    assert len(last) == 2 * 1440 and last.close[-1] == bars.close[-1]
    paid = pl.DataFrame({"time": last.frame()["time"].gather_every(480), "rate": [0.0001] * (len(last) // 480)})
    paid.write_parquet(f"{tmp_path}/paid.parquet")
    assert lab.given(path, days=2, funding=f"{tmp_path}/paid.parquet")[0].funding is not None, "of the days that are asked for"
    told = f"{tmp_path}/entries.parquet"
    entries.frame(bars).select("time", "side").head(1).write_parquet(told)
    with pytest.raises(BarsError, match="last 2 days"):
        lab.given(path, told, days=2)


def test_the_code_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    section = (Path(__file__).parents[2] / "README.md").read_text().partition("\n## The lab\n")[2].partition("\n## ")[0]
    code = section.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "bars" / "BTCUSDT"
    folder.mkdir(parents=True)
    lab.example(7, 60).frame().with_columns(volume=pl.lit(1.0)).write_parquet(folder / "2024-01.parquet")
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["bars"].symbol == "BTCUSDT" and len(names["result"]) == 42
    notebooks = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert all((Path(__file__).parents[2] / "notebooks" / f"{name}.ipynb").is_file() for name in notebooks) and len(notebooks) >= 4


@pytest.mark.parametrize("names", [["a"], ["a stop of 2 %, a trail of 1.5 % and half at 3 %"]])
def test_an_equity_curve_is_no_wider_than_a_page(names: list[str]) -> None:
    """What is wider loses its label in a report."""
    drawn = re.search(r'<svg [^>]*width="([\d.]+)"', plots.equity(swept(), [0], names=names).svg)
    assert drawn is not None and float(drawn[1]) <= 940
