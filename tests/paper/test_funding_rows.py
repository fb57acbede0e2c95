"""Funding over recorded rates and marks, to the last digit of an exact computation of its own."""

from decimal import Decimal
from fractions import Fraction
from math import floor
from pathlib import Path

import polars as pl
import pytest

from qtkit.core.model import E8, ONE, OrderKind, OrderSide, PositionSide, Side, Ticks
from qtkit.paper.exchange import FACTS, Exchange, NewOrder
from qtkit.paper.rows import IncomeKind
from tests.paper.engine import EXACT, money

FASTER = 480
DAY_MS = 86_400_000


def e8(value: float) -> int:
    """A recorded number, whose shortest decimal is what was recorded."""
    exact = Decimal(repr(value)) * ONE
    assert exact == int(exact), f"{value!r} has more than eight digits"
    return int(exact)


@pytest.fixture(scope="module")
def rows(market_data: Path) -> list[tuple[str, int, int, int]]:
    """(symbol, time, rate, mark) of every recorded funding; where no mark was recorded for the time, the last one that was.

    Time runs 480 times faster, a minute for eight hours: flat candles of years prove nothing here.
    """
    folder = market_data / "mark_funding"
    paths = [folder / "funding_binance.parquet", folder / "mark_8h.parquet"]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"{folder} lacks {[path.name for path in paths]}")
    funding, marks = (pl.read_parquet(path).sort("time", maintain_order=True) for path in paths)
    prices = {(symbol, int(time.timestamp() * 1_000)): mark for symbol, time, mark in marks.select("symbol", "time", "open").iter_rows()}
    latest: dict[str, float] = {symbol: mark for (symbol, _), mark in reversed(prices.items())}
    found = []
    for symbol, time, rate in funding.select("symbol", "time", "rate").iter_rows():
        at = round(time.timestamp() * 1_000)
        latest[symbol] = prices.get((symbol, at // 3_600_000 * 3_600_000), latest[symbol])
        found.append((symbol, at // FASTER, e8(rate), int(Decimal(repr(latest[symbol])) * ONE)))
    return found


@pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])
@pytest.mark.parametrize("isolated", [False, True], ids=["cross", "isolated"])
def test_every_recorded_funding(rows: list[tuple[str, int, int, int]], hedge: bool, isolated: bool) -> None:
    ex = Exchange(EXACT, start_ms=rows[0][1] - DAY_MS)
    accounts = {side: ex.open_account(side.name, balance=money(10_000_000), hedge=hedge) for side in Side}
    expected: dict[Side, list[tuple[str, int]]] = {side: [] for side in Side}
    amounts: dict[str, int] = {}
    for number, (symbol, at, rate, mark) in enumerate(rows):
        rules = FACTS[symbol].instrument
        if symbol not in amounts:
            ex.tick(symbol, Ticks(mark // rules.tick), E8(mark), ex.now_ms)
            amounts[symbol] = max((2_000 + 37 * number) * ONE * ONE // (mark * rules.lot), 1) * rules.lot
            for side, account in accounts.items():
                if isolated:
                    ex.set_margin_mode(account, symbol, isolated=True)
                slot = PositionSide[side.name] if hedge else PositionSide.BOTH
                new = NewOrder(symbol=symbol, side=side.opening, kind=OrderKind.MARKET, quantity=E8(amounts[symbol]), position_side=slot)
                ex.submit(account, new)
                if isolated:
                    ex.add_position_margin(account, symbol, money(50_000), slot)
        ex.set_funding(symbol, E8(rate), at)
        ex.tick(symbol, Ticks(mark // rules.tick), E8(mark), at)
        for side in Side:
            owed = side.sign * Fraction(amounts[symbol], ONE) * Fraction(mark, ONE) * Fraction(rate, ONE)
            paid = floor(owed * ONE + Fraction(1, 2))  # nearest; a half goes to the exchange
            if paid:
                expected[side].append((symbol, -paid))
    for side, account in accounts.items():
        told = [(row.symbol, row.amount) for row in account.incomes if row.kind is IncomeKind.FUNDING_FEE]
        assert told == expected[side] and len(told) > 4_000
        assert account.totals[IncomeKind.FUNDING_FEE] == sum(amount for _, amount in expected[side])
        for symbol in amounts if isolated else ():
            (row,) = ex.positions(account, symbol)
            trade = next(t for t in account.trades if t.symbol == symbol)
            paid = sum(amount for name, amount in told if name == symbol)
            assert row.isolated_wallet == money(50_000) + -(-trade.quote // 20) + paid
    assert len(ex.funding_history("BTCUSDT")) >= sum(symbol == "BTCUSDT" for symbol, *_ in rows)


def test_funding_waits_for_its_time_and_skips_none() -> None:
    """Three times pass in one silence: three are paid, at the mark that was known."""
    ex = Exchange(EXACT, start_ms=0)
    account = ex.open_account("main", balance=money(10_000))
    ex.tick("BTCUSDT", Ticks(1_000_000), money(100_000), 1)
    ex.submit(account, NewOrder(symbol="BTCUSDT", side=OrderSide.BUY, kind=OrderKind.MARKET, quantity=money(0.1)))
    ex.set_funding("BTCUSDT", E8(10_000), 3_600_000, hours=4)
    ex.advance(3_599_999)
    assert IncomeKind.FUNDING_FEE not in account.totals
    ex.advance(3_600_000 + 2 * 4 * 3_600_000)
    assert account.totals[IncomeKind.FUNDING_FEE] == -3 * money(1)
    assert [row.time_ms for row in ex.funding_history("BTCUSDT")] == [3_600_000, 18_000_000, 32_400_000]
