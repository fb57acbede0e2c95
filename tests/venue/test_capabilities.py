"""The table of venues."""

import re
from pathlib import Path

import pytest

from qtkit.core.ids import client_order_id
from qtkit.core.model import PolicyError, TriggerBy
from qtkit.venue.capabilities import VENUES, Capabilities, Mark, capabilities


def test_binance_row() -> None:
    row = capabilities("binanceusdm")
    assert (row.close_position, row.amend, row.native_trailing, row.max_conditional) == (True, False, True, 200)
    assert (row.callback_min, row.callback_max, row.trigger_by) == (10, 2_000, (TriggerBy.MARK, TriggerBy.LAST))


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("binance", "mean 'binanceusdm'"),
        ("Binance-USDM", "did you mean"),
        ("kraken", "'krakenfutures'"),
        ("okex", "'okx'"),
        ("zzzz", "known: b"),
    ],
)
def test_unknown_venue_names_the_nearest(asked: str, hint: str) -> None:
    with pytest.raises(PolicyError, match=hint):
        capabilities(asked)


def test_names_are_the_keys() -> None:
    assert all(name == row.venue for name, row in VENUES.items())


ENTRIES = {
    "close_position", "floor_beside_stop", "stop_while_flat", "conditional_reserves", "amend", "native_trailing", "max_conditional",
    "trigger_by", "ids", "modes",
}  # fmt: skip
rows = pytest.mark.parametrize("row", VENUES.values(), ids=VENUES.keys())


@rows
def test_every_entry_has_its_evidence(row: Capabilities) -> None:
    assert row.evidence.keys() == ENTRIES
    assert all(len(evidence.source) > 10 for evidence in row.evidence.values())


@rows
def test_an_unproven_entry_is_the_one_that_leaves_nothing_naked(row: Capabilities) -> None:
    """Binance alone stands as the paper exchange does, which has each rule both ways."""
    if row.venue != "binanceusdm":
        unproven = {name for name, evidence in row.evidence.items() if evidence.mark is not Mark.DOCUMENTED}
        assert not (row.floor_beside_stop and "floor_beside_stop" in unproven)
        assert not (row.stop_while_flat and "stop_while_flat" in unproven)
        assert row.conditional_reserves or "conditional_reserves" not in unproven


@rows
def test_our_ids_fit_or_the_table_says_that_they_do_not(row: Capabilities) -> None:
    ours = client_order_id("qtk0", "a" * 16, "s0", 36**6 - 1)
    assert bool(re.fullmatch(row.ids.pattern, ours)) is row.ids.comes_back
    assert len(ours) <= row.ids.longest


@rows
def test_trails_have_bounds_where_they_exist(row: Capabilities) -> None:
    assert (0 < row.callback_min < row.callback_max) is row.native_trailing


@rows
def test_what_is_not_proven_is_read_only_in_one_sentence(row: Capabilities) -> None:
    why = row.read_only
    assert (why is None) is (row.venue == "binanceusdm")
    assert why is None or (row.venue in why and why.endswith("use scope watch") and ". " not in why)


@rows
def test_the_readme_tells_the_same(row: Capabilities) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    (line,) = re.findall(rf"^\| `{row.venue}`.*$", text, re.MULTILINE)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    words = {TriggerBy.MARK: "mark", TriggerBy.LAST: "last"}
    unproven = row.evidence["max_conditional"].mark is Mark.UNPROVEN
    floor = "yes" if row.close_modes == row.modes else " and ".join(row.close_modes) or "none"
    assert cells[1:4] == [", ".join(row.modes), ", ".join(words[by] for by in row.trigger_by), floor]
    assert cells[4].split()[0] == f"{row.max_conditional:,}" and ("unproven" in cells[4]) is unproven
    assert (cells[5] == "come back") is row.ids.comes_back
    assert cells[6].startswith("looks") is (row.read_only is not None)
