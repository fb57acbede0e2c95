"""MARGIN_CALL: told when positions come near liquidation, once until they were further away; for both sides, cross and isolated."""

from pathlib import Path

import pytest

from qtkit.core.model import E8, ONE, OrderKind, Side, Ticks
from qtkit.paper import margin
from qtkit.paper.exchange import Exchange, NewOrder, Rules
from qtkit.paper.liquidity import EXACT
from qtkit.paper.rows import AccountEvent, MarginCall
from qtkit.paper.snapshot import load, save
from qtkit.paper.wire_events import margin_call

BTC, ETH, START = "BTCUSDT", "ETHUSDT", 1_767_571_200_000
SIDES = pytest.mark.parametrize("side", list(Side), ids=lambda side: side.name.lower())
ISOLATED = pytest.mark.parametrize("isolated", [False, True], ids=["cross", "isolated"])


class Held:
    """A position of 0.1 BTC at 100,000 with 1,000 USDT of margin, and the calls that were told."""

    def __init__(self, side: Side, *, isolated: bool = False, rules: Rules | None = None) -> None:
        self.side = side
        self.ex = Exchange(rules or Rules(liquidity=EXACT), start_ms=START)
        self.account = self.ex.open_account("a", balance=E8((1_000 if not isolated else 5_000) * ONE))
        self.calls: list[MarginCall] = []
        self.ex.listeners.append(self.hear)
        self.at(0)
        self.ex.set_leverage(self.account, BTC, 10)
        if isolated:
            self.ex.set_margin_mode(self.account, BTC, isolated=True)
        self.open()

    def hear(self, event: AccountEvent) -> None:
        if isinstance(event, MarginCall):
            self.calls.append(event)

    def open(self) -> None:
        # the entry fee leaves just under 1,000 USDT, so a little less than 0.1 is bought
        quantity = E8(ONE * 99 // 1_000)
        self.ex.submit(self.account, NewOrder(symbol=BTC, side=self.side.opening, kind=OrderKind.MARKET, quantity=quantity))

    def at(self, percent: float, ms: int = 100) -> None:
        """A price so far against the position."""
        price = round(100_000 - self.side.sign * 1_000 * percent)
        self.ex.tick(BTC, Ticks(price * 10), E8(price * ONE), self.ex.now_ms + ms)

    def near(self) -> float:
        """Prices against the position until maintenance is four fifths of its margin; how far that is, in percent."""
        percent = 9.0
        while self.ratio < 0.8:
            percent += 0.01
            self.at(percent)
        return percent

    @property
    def ratio(self) -> float:
        """Maintenance by margin."""
        (row,) = self.ex.positions(self.account)
        wallet = self.ex.wallet(self.account)
        equity = row.isolated_margin if row.isolated else wallet.cross_wallet + row.unrealised
        return row.maintenance_margin / equity


@SIDES
@ISOLATED
def test_it_is_told_once_before_the_liquidation_and_again_after_it_was_away(side: Side, isolated: bool) -> None:
    held = Held(side, isolated=isolated)
    percent = 8.0
    while not held.calls:
        percent += 0.01
        held.at(percent)
        assert (held.ratio >= 0.8) is bool(held.calls), "at the very price"
    (call,) = held.calls
    (row,) = call.positions
    assert row == held.ex.positions(held.account)[0] and call.at_ms == held.ex.now_ms
    assert call.cross_wallet == (None if isolated else held.account.wallet)
    held.at(percent + 0.05)
    held.at(percent)
    assert len(held.calls) == 1 and not any(trade.client_id.startswith("autoclose") for trade in held.account.trades)
    held.at(percent - 2, ms=60_000)
    held.at(percent + 0.02)
    assert len(held.calls) == 2, "it was further away for a minute"
    held.at(12)
    assert held.account.trades[-1].client_id.startswith("autoclose") and len(held.calls) == 2 and not held.account.called


@SIDES
def test_a_gap_through_both_liquidates_without_a_call(side: Side) -> None:
    held = Held(side)
    held.at(12)
    assert not held.calls and not list(held.account.open_legs())


@SIDES
def test_margin_that_comes_in_ends_it_and_what_leaves_begins_it(side: Side) -> None:
    held = Held(side)
    held.near()
    assert len(held.calls) == 1
    held.ex.deposit(held.account, E8(500 * ONE))
    assert not held.account.called
    held.ex.deposit(held.account, E8(-500 * ONE))
    assert len(held.calls) == 2


@SIDES
def test_a_cross_account_is_called_for_all_its_cross_positions_by_any_price(side: Side) -> None:
    held = Held(side)
    held.ex.deposit(held.account, E8(1_000 * ONE))
    held.ex.tick(ETH, Ticks(200_000), E8(2_000 * ONE), held.ex.now_ms)
    held.ex.set_leverage(held.account, ETH, 50)
    held.ex.submit(held.account, NewOrder(symbol=ETH, side=side.opening, kind=OrderKind.MARKET, quantity=E8(10 * ONE)))
    price = 2_000
    while not held.calls:
        price -= side.sign
        held.ex.tick(ETH, Ticks(price * 100), E8(price * ONE), held.ex.now_ms + 100)
    assert [row.symbol for row in held.calls[0].positions] == [BTC, ETH]
    assert margin.cross_buffer(held.account, held.ex._markets) > 0, "before it is liquidated"


@SIDES
def test_it_can_be_left_away(side: Side) -> None:
    held = Held(side, rules=Rules(liquidity=EXACT, margin_call=0))
    held.near()
    assert not held.calls and not held.account.called


@SIDES
def test_a_copy_and_a_saved_exchange_have_told_it_already(side: Side, tmp_path: Path) -> None:
    held = Held(side)
    held.near()
    save(tmp_path / "a", held.ex)
    for again in (held.ex.clone(), load(tmp_path / "a").exchange):
        told: list[AccountEvent] = []
        again.listeners.append(told.append)
        book = again.book(BTC)
        again.tick(BTC, Ticks(book.last * 10 // ONE), book.mark, again.now_ms + 60_000)
        assert again.accounts["a"].called == held.account.called != () and not told


@SIDES
@ISOLATED
def test_on_the_wire(side: Side, isolated: bool) -> None:
    held = Held(side, isolated=isolated)
    held.near()
    row = margin_call(held.calls[0])
    assert (row["e"], row["E"], "cw" in row) == ("MARGIN_CALL", held.ex.now_ms, not isolated)
    (inner,) = row["p"]
    assert (inner["s"], inner["ps"], inner["mt"]) == (BTC, "BOTH", "ISOLATED" if isolated else "CROSSED")
    assert inner["pa"] == f"{'-' if side is Side.SHORT else ''}0.099" and float(inner["up"]) < 0 < float(inner["mm"])
    assert (float(inner["iw"]) > 0) is isolated
