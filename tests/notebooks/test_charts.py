"""Pictures and tables: what they say is true of the frames, in both directions, and they ask nothing of the network."""

import asyncio
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.charts import Story, cover_table, orders_table, positions_table, price_chart, promises_table, risk_table, steps_table, table
from qtkit.charts.story import COLUMNS, thin
from qtkit.core.model import PolicyError, Side
from qtkit.ledger import Ledger, Line, Step
from qtkit.picture import Label, apart
from qtkit.risk import FindingLine
from qtkit.sandbox import short_play

MINUTE = 60_000
BASE, UNIT = 100.0, 0.5
BOTH = pytest.mark.parametrize("side", [Side.LONG, Side.SHORT], ids=lambda side: side.name.lower())


@pytest.fixture(scope="module")
def play() -> Story:
    return asyncio.run(short_play())


class Writer:
    """Writes a story of one position. Levels are in steps of half a coin in favour of the position."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in COLUMNS}
        for minute in range(31):
            self.rows["prices"].append((minute * MINUTE, "XRPUSDT", self.at(minute / 10), self.at(minute / 10)))

    def at(self, favour: float) -> float:
        return BASE + self.side.sign * UNIT * favour

    def fill(self, minute: float, size: float, favour: float, *, opens: bool, who: str = "stranger", leg: str = "") -> "Writer":
        way = self.side.opening if opens else self.side.closing
        row = (int(minute * MINUTE), "XRPUSDT", who, leg, self.at(favour), size, 0.0, way.value)
        self.rows["fills"].append(row)
        return self

    def level(self, minute: float, favour: float | None) -> "Writer":
        self.rows["stops"].append((int(minute * MINUTE), "XRPUSDT", None if favour is None else self.at(favour)))
        return self

    def stop(self, minute: float, favour: float, status: str = "NEW", *, leg: str = "stop") -> "Writer":
        name = f"q1{leg}{minute}{favour}"
        self.rows["orders"].append((int(minute * MINUTE), "XRPUSDT", "desk", leg, name, self.at(favour), 3.0, status))
        return self

    @property
    def story(self) -> Story:
        frames = {name: pl.DataFrame(self.rows[name], schema=dict(COLUMNS[name]), orient="row") for name in COLUMNS}
        return Story(**frames, about={"promises": []})


def opened(side: Side) -> Writer:
    """A stranger opens; two seconds later it is covered; the stop is tightened once."""
    it = Writer(side).fill(1, 3, 0, opens=True).level(1, None)
    return it.stop(1.03, -4).level(1.03, -4).stop(10, -2).level(10, -2)


@BOTH
def test_the_entry_is_the_one_it_was_opened_at_whatever_the_targets_leave(side: Side) -> None:
    it = Writer(side).fill(1, 250.1, 0, opens=True)
    for minute, size in enumerate((83.4, 83.3, 83.4), start=2):  # in floats these leave 2.8e-14 of the other side
        it.fill(minute, size, minute, opens=False, who="desk", leg="target")
    one = it.story.of("XRPUSDT")
    assert one.signed["entry"].to_list() == [BASE] * 4 and one.signed["held"].to_list()[-1] == 0.0
    again = it.fill(6, 0.1, 1, opens=True).fill(7, 0.2, 4, opens=True).fill(8, 0.4, 6, opens=False).story.of("XRPUSDT")
    assert again.signed["entry"].to_list()[-3:] == pytest.approx([it.at(1), it.at(3), it.at(6)])  # opened anew, added, flipped
    assert again.signed["held"].to_list()[-3:] == [side.sign * held for held in (0.1, 0.3, -0.1)]


# -- the story ------------------------------------------------------------------------------------------------------------------------


@BOTH
def test_a_position_that_was_kept_well_has_no_flaw(side: Side) -> None:
    it = opened(side).fill(20, 3, -2, opens=False, who="desk", leg="stop").level(20, None).story.of("XRPUSDT")
    assert it.flaws == ()
    assert (it.side, it.naked_ms, it.moves, it.is_open) == (side, 1_800, 1, False)
    assert it.bare == ((MINUTE, MINUTE + 1_800),)
    assert "closed at its stop" in it.result


@BOTH
@pytest.mark.parametrize(
    ("break_it", "flaw"),
    [
        (lambda it: it.level(12, None).level(13, -2), "uncovered for 60 s after"),
        (lambda it: it.stop(12, -3), "looser than before"),
        (lambda it: it.fill(1.01, 1, 0, opens=False, who="desk", leg="close"), "adoption traded"),
        (lambda it: it.fill(12, 1, 0, opens=True, who="desk", leg="stop"), "added to it"),
        (lambda it: it.fill(12, 9, 0, opens=False, who="desk", leg="stop"), "added to it"),
        (lambda it: it.fill(12, 3, -9, opens=False, who="exchange"), "liquidated"),
    ],
    ids=["naked again", "loosened", "adoption traded", "added", "turned it round", "liquidated"],
)
def test_each_flaw_is_found(side: Side, break_it: Any, flaw: str) -> None:
    it = opened(side)
    break_it(it)
    it.rows["fills"].sort(key=lambda row: row[0])
    assert any(flaw in found for found in it.story.of("XRPUSDT").flaws)


@BOTH
def test_a_position_that_was_never_covered_is_a_flaw(side: Side) -> None:
    it = Writer(side).fill(1, 3, 0, opens=True).level(1, None).story
    assert it.of("XRPUSDT").flaws == ("own stops never covered it",)
    assert repr(positions_table(it)).count("never") == 1


@BOTH
def test_what_is_realised_and_what_the_stop_would_give_are_toldapart(side: Side) -> None:
    it = opened(side)
    it.fill(12, 1, 4, opens=False, who="desk", leg="target").level(20, 2)
    one = it.story.of("XRPUSDT")
    assert one.at_stop == pytest.approx(2 * 2 * UNIT), "two coins, two steps of half a coin in favour"
    told = positions_table(it.story)
    row = told.frame.row(0, named=True)
    assert (row["realised (USDT)"], row["at stop (USDT)"], row["result"]) == ("+0.00", "+2.00", "still open")
    assert told.caption == "1 position, before fees: +0.00 USDT realised, +2.00 USDT more at the stops"
    assert one.result == "+0.00 USDT realised before fees, 2 coins still open, +2.00 USDT at the stop"
    bare = it.level(25, None).story
    assert bare.of("XRPUSDT").at_stop is None and positions_table(bare).frame["at stop (USDT)"].item() == "no stop"
    assert positions_table(bare).caption.endswith("+0.00 USDT realised, unknown at the stops")
    closed = it.fill(26, 2, 2, opens=False).story
    assert closed.of("XRPUSDT").at_stop == 0 and positions_table(closed).frame["at stop (USDT)"].item() == ""
    assert positions_table(closed).caption == "1 position, before fees: +0.00 USDT realised"


@BOTH
def test_the_stop_of_a_new_stay_may_be_wider_than_that_of_the_last(side: Side) -> None:
    it = opened(side).fill(12, 3, 1, opens=False).level(12, None)
    it.fill(14, 3, 0, opens=True).level(14, None).stop(14.02, -5).level(14.02, -5)
    assert it.story.of("XRPUSDT").flaws == ()


@BOTH
def test_an_add_changes_the_average_entry_and_a_reduction_does_not(side: Side) -> None:
    it = opened(side).fill(11, 1, 4, opens=True).fill(12, 2, 3, opens=False).story.of("XRPUSDT")
    held, entry = it.signed["held"], it.signed["entry"]
    assert list(held) == [side.sign * 3, side.sign * 4, side.sign * 2]
    assert entry[1] == entry[2] == pytest.approx((3 * it.story.of("XRPUSDT").fills["price"][0] + 1 * (BASE + side.sign * UNIT * 4)) / 4)


def test_a_story_is_read_as_it_was_written(tmp_path: Path, play: Story) -> None:
    for name in COLUMNS:
        getattr(play, name).write_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "story.json").write_text(json.dumps(dict(play.about)))
    again = Story.read(tmp_path)
    assert all(getattr(again, name).equals(getattr(play, name)) for name in COLUMNS)
    assert again.positions == play.positions and len(again.promises) == 7 and len(again.kills) == 1


def test_promises_of_a_demonstration_stand_in_its_ledger(play: Story) -> None:
    promise = {"name": "kept", "held": False, "evidence": "none"}
    it = Story(**{name: getattr(play, name) for name in COLUMNS}, about={"ledger": {"promises": [promise]}})
    assert it.promises == (promise,) and "0 of 1 promise held" in repr(promises_table(it.promises))


def test_what_is_missing_is_named(tmp_path: Path, play: Story) -> None:
    with pytest.raises(PolicyError, match=r"holds no story: story.json is missing; `qtkit demo`"):
        Story.read(tmp_path)
    with pytest.raises(PolicyError, match="no position 'DOGEUSDT' in this story; it has AVAXUSDT"):
        play.of("DOGEUSDT")
    with pytest.raises(PolicyError, match="the story's fills have no column 'leg'"):
        Story(prices=play.prices, stops=play.stops, orders=play.orders, fills=play.fills.drop("leg"), about={})


def test_the_short_play_kept_its_promises_and_has_both_sides_and_a_kill(play: Story) -> None:
    assert all(promise["held"] for promise in play.promises) and not any(play.of(name).flaws for name in play.positions)
    assert {play.of(name).side for name in play.positions} == {Side.LONG, Side.SHORT}
    assert {play.of(name).naked_ms for name in play.positions} == {2_000}


# -- the picture ----------------------------------------------------------------------------------------------------------------------


def test_the_picture_says_what_it_is(play: Story) -> None:
    picture = price_chart(play.of("AVAXUSDT"))
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", picture.svg)
    for wanted in ("AVAXUSDT short", "UTC, 21 Nov 2025", "kill 1", "entry 14.577", "target 1 14.289", "floor 15.447", "opened", "stop"):
        assert wanted in texts, texts
    assert any(re.fullmatch(r"\+1,\d{3}\.\d\d USDT realised before fees, closed at its stop", text) for text in texts)
    assert all(re.fullmatch(r"\d\d\.\d{3}", text) for text in texts if text.startswith("1") and "." in text), "the exchange's precision"
    assert repr(picture).startswith("AVAXUSDT short: +1,")


def test_a_picture_asks_nothing_of_the_network_and_is_the_same_again(play: Story) -> None:
    first, second = price_chart(play.of("BTCUSDT")), price_chart(play.of("BTCUSDT"))
    assert first.svg == second.svg
    assert set(re.findall(r"https?://[^\"' ]+", first.svg)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"<script|<image|href=", first.svg)
    bundle = first._repr_mimebundle_()
    assert bundle["image/svg+xml"] == first.svg and bundle["text/plain"] == repr(first) and set(bundle) == {
        "image/svg+xml", "image/png", "text/plain"
    }  # fmt: skip
    assert first.png().startswith(b"\x89PNG")


def test_a_picture_is_an_altair_chart_too(play: Story) -> None:
    picture = price_chart(play.of("AVAXUSDT"))
    assert len(picture.altair().layer) == len(picture.spec["layer"]), "altair's schema accepts it"


@BOTH
def test_time_without_cover_is_shaded_and_a_long_one_alone(side: Side) -> None:
    long = Writer(side).fill(1, 3, 0, opens=True).level(1, None).stop(12, -4).level(12, -4).story
    assert "not covered" in price_chart(long.of("XRPUSDT")).svg
    assert "not covered" not in price_chart(opened(side).story.of("XRPUSDT")).svg


@BOTH
def test_levels_far_from_the_price_are_named_below_the_title(side: Side) -> None:
    it = opened(side).stop(1.05, 60, leg="target").stop(1.06, 1, leg="target").story.of("XRPUSDT")
    svg = price_chart(it).svg
    assert f"beyond the picture: target 2 {it.orders.filter(pl.col('leg') == 'target')['trigger'][0]:,.2f}" in svg
    assert "target 1 " in svg


def test_a_day_of_seconds_is_drawn_with_few_points() -> None:
    it = opened(Side.LONG)
    it.rows["prices"] = [(second * 1_000, "XRPUSDT", 100 + second % 977 / 100, 100.0) for second in range(86_400)]
    values = [len(layer["data"]["values"]) for layer in price_chart(it.story.of("XRPUSDT")).spec["layer"]]
    assert sum(values) < 5_000


@given(st.lists(st.floats(1, 1_000), min_size=1, max_size=400), st.integers(4, 80))
def test_thinning_keeps_the_ends_and_the_extremes(prices: list[float], most: int) -> None:
    frame = pl.DataFrame({"time_ms": range(len(prices)), "last": prices})
    thinned = thin(frame, "last", most)
    assert thinned.height <= max(most, 4)
    assert thinned["time_ms"].is_sorted() and {0, len(prices) - 1} <= set(thinned["time_ms"])
    assert (thinned["last"].min(), thinned["last"].max()) == (min(prices), max(prices))


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8))
def test_labels_never_overlap_and_keep_their_order(prices: list[float]) -> None:
    labels = sorted((Label(price, "", "") for price in prices), key=lambda label: label.price)
    places = [place for _, place in apart(labels, 5, 0, 100)]
    assert all(after - before >= 5 - 1e-9 for before, after in pairwise(places))
    assert 0 <= places[0] and places[-1] <= 100


# -- tables ---------------------------------------------------------------------------------------------------------------------------


def line(**more: Any) -> Line:
    bare: dict[str, Any] = {
        "key": "paper/XRPUSDT", "symbol": "XRPUSDT", "position_side": "BOTH", "side": "SHORT", "size": "100", "entry": "2.2",
        "mark": "2.19871234",
        "covered": "0", "orders": (), "foreign": (), "gap": "100", "gap_since_ms": 1_000, "stop": None, "at_risk": None, "plan": "p",
        "strategy": "staged", "standing": "adopted", "faults": (),
    }  # fmt: skip
    return Line(**bare | more)


def ledger(*lines: Line) -> Ledger:
    return Ledger(account="paper", scope="full", running=True, at_ms=5_000, last_pass_ms=5_000, tick_ms=2_000, lines=lines)


def test_naked_is_said_aloud_and_since_when() -> None:
    told = repr(cover_table(ledger(line(), line(symbol="ADAUSDT", covered="100", gap="0", gap_since_ms=None, orders=("s0@2.3",)))))
    assert "NAKED for 4 s" in told and "100 %" in told and "s0@2.3" in told and "2.198712" in told
    assert told.startswith("2 positions, 1 naked")


def test_money_at_risk_is_told_with_what_is_wrong_and_foreign_coverapart() -> None:
    naked = FindingLine(wrong="naked", foreign=False, short="0", order="", says="naked: nothing closes any of it")
    safe = line(
        covered="100", gap="0", stop="2.3", at_risk="10.4", lost="-3.1", slip="4", slip_median="1", slip_fills=12, to_liquidation="21.4",
        foreign=("web_1",), foreign_covered="60", foreign_stop="2.4", foreign_at_risk="12",
    )  # fmt: skip
    told = risk_table(ledger(line(slip="20", findings=(naked,)), safe)).frame.rows(named=True)
    assert (told[0]["at risk (USDT)"], told[0]["what is wrong"]) == ("unbounded", "naked: nothing closes any of it")
    assert (told[0]["slippage (bps)"], told[0]["to liquidation"]) == ("20 assumed", "unknown")
    assert (told[1]["at risk (USDT)"], told[1]["if stopped (USDT)"], told[1]["slippage (bps)"]) == ("10.40", "+3.10", "4 of 12 fills")
    assert (told[1]["to liquidation"], told[1]["foreign stops"]) == ("21.4 %", "60 % to 2.4, 12.00")


def test_the_two_sides_of_a_hedge_are_toldapart() -> None:
    told = cover_table(ledger(line(position_side="LONG", side="LONG"), line(position_side="SHORT"))).frame
    assert list(told["position"]) == ["XRPUSDT:LONG", "XRPUSDT:SHORT"]


def test_html_is_escaped_and_needs_no_style_sheet() -> None:
    shown = table([{"a": "<script>", "b": None}], columns=("a", "b"), right=("b",), caption="x & y")._repr_html_()
    assert "&lt;script&gt;" in shown and "x &amp; y" in shown and "<script" not in shown and "<style" not in shown
    assert "text-align:right" in shown


def test_a_long_text_wraps_and_a_number_never_does() -> None:
    """A page is about 1,100 pixels wide, and what lies beyond it is cut off on paper and in a picture."""
    rows = [
        {"what": "short", "why": "one word after the other until the page is full", "id": "q1" + 30 * "a", "n": "-1,234,567.89012345678"}
    ]
    cells = table(rows, columns=("what", "why", "id", "n"), right=("n",))._repr_html_().split("<td ")[1:]
    assert ["white-space:nowrap" in cell for cell in cells] == [True, False, False, True]
    assert all("overflow-wrap:anywhere" in cell for cell in cells[1:3])


def test_a_preview_is_told_from_steps_and_from_a_readers_rows() -> None:
    step = Step(
        do="create", key="paper/XRPUSDT", leg="s0", kind="STOP_MARKET", side="BUY", size="all", trigger="2.3", id="q1", why="missing"
    )
    row = {"do": "keep", "key": "k", "leg": "f0", "kind": "STOP_MARKET", "side": "BUY", "size": None, "trigger": None, "why": "as planned"}
    told = steps_table([step, row])
    assert "create 1, keep 1, replace 0, cancel 0; nothing was sent" in repr(told)
    assert list(told.frame["size"]) == ["all", "all"]


def test_no_rows_are_a_table_too() -> None:
    assert "0 positions, nothing to cover" in repr(cover_table(ledger())) and "0 resting orders" in repr(orders_table(()))
