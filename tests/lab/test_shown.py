"""What the lab's objects say of themselves at the end of a cell: a line or a table, never a wall of numbers."""

from dataclasses import replace

import pytest

from qtkit import lab

GRID = lab.grid(stop_bps=(150, 300), trail_bps=(100, 200), targets=[(("2R", 50),)], max_bars=1440)


@pytest.fixture(scope="module")
def bars() -> lab.Bars:
    return lab.example(days=20)


def test_bars_entries_and_grids_say_in_a_line_what_they_are(bars: lab.Bars) -> None:
    entries = lab.breakouts(bars, bars_back=240)
    longs, shorts = (int((entries.sign == sign).sum()) for sign in (1, -1))
    told = "28,800 bars of EXAMPLEUSDT of 60 s, 2024-01-01 00:00 to 2024-01-20 23:59 UTC, tick 0.1"
    assert repr(bars) == f"{told}, with funding of 2024-01-01 08:00 to 2024-01-20 16:00"
    plain = replace(bars, funding=None, trigger=bars)
    assert repr(plain).endswith("tick 0.1, with a trigger") and repr(replace(plain, trigger=None)).endswith("tick 0.1")
    assert repr(bars.slice(0, 0)) == "0 bars of EXAMPLEUSDT"
    assert repr(entries) == f"{len(entries):,} entries, {longs:,} long, {shorts:,} short"
    assert repr(GRID) == "4 policies: 2 of stop x 2 of trail"


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_replayed_position_says_how_it_was_left(bars: lab.Bars, side: str) -> None:
    entries = lab.breakouts(bars, bars_back=240, side=side)  # type: ignore[arg-type]
    result = lab.sweep(bars, entries, GRID)
    trades = result.trades(0)
    for row, it in enumerate(lab.replay(bars, entries, GRID.policies[0])):
        told = trades.row(row, named=True)
        fills = ", ".join(f"{leg.share / 100:g} % at {bars.price(leg.price):.10g} ({leg.why}, bar {leg.bar})" for leg in it.legs)
        assert repr(it) == f"{side} at {told['price']:.10g}: {fills}; {told['net_bps']:+.1f} bps net"


def test_what_was_found_out_shows_itself_as_a_table(bars: lab.Bars) -> None:
    entries = lab.breakouts(bars, bars_back=240)
    forward = lab.walk_forward(lab.sweep(bars, entries, GRID), folds=3)
    assert str(forward) in repr(forward) and "out of sample" in forward._repr_html_() and "<table" in forward._repr_html_()
    together = lab.portfolio({"A": bars, "B": bars}, {"A": entries, "B": entries}, GRID)
    assert repr(together).startswith("4 policies on 2 symbols") and "worst day" in repr(together) and "<table" in together._repr_html_()
    assert repr(together).count("\n") == 1 + len(GRID)
    alone = lab.portfolio({"A": bars}, {"A": entries}, GRID)
    assert "on 1 symbol," in repr(alone) and alone.table().equals(alone.table(joint=1))
