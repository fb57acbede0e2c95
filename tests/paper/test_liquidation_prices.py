"""Liquidation prices by Binance's published formula, written anew here, over every bracket; and the tick at which it happens.

Formula: "How to calculate liquidation price of USDS-M futures contracts", binance.com/en/support/faq/b3c689c1f50a44cabb3a84e663b81d93.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import ceil, floor
from pathlib import Path
from random import Random

import pytest

from qtkit.core.model import E8, ONE, OrderKind, OrderSide, PositionSide, Side, Ticks
from qtkit.paper.account import Account
from qtkit.paper.exchange import FACTS, Exchange, NewOrder
from tests.paper.engine import EXACT, SIDES, START, money

PRICES = {
    "BTCUSDT": 100_000, "ETHUSDT": 3_500, "SOLUSDT": 150, "ADAUSDT": 0.5, "DOTUSDT": 5, "AVAXUSDT": 20, "XRPUSDT": 2, "BNBUSDT": 600,
    "LTCUSDT": 90, "LINKUSDT": 15, "DOGEUSDT": 0.2,
}  # fmt: skip


@dataclass(frozen=True)
class Tier:
    """One bracket of the file; fractions of whole units."""

    leverage: int
    floor: Fraction
    cap: Fraction
    rate: Fraction
    cum: Fraction


@dataclass(frozen=True)
class Held:
    """One leg: ``side`` +1 or -1, size and entry in whole units."""

    side: int
    size: Fraction
    entry: Fraction


@pytest.fixture(scope="module")
def tiers(market_data: Path) -> dict[str, list[Tier]]:
    """The recorded brackets, read with exact decimals."""
    path = market_data / "exchange" / "leverage_brackets_usdm_2026-09.json"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    rows = json.loads(path.read_text(), parse_float=Fraction)
    return {
        symbol: [
            Tier(
                i["initialLeverage"], Fraction(i["notionalFloor"]), Fraction(i["notionalCap"]), Fraction(i["maintMarginRatio"]),
                Fraction(i["cum"]),
            )
            for i in (row["info"] for row in brackets)
        ]
        for symbol, brackets in rows.items()
    }  # fmt: skip


def tier_of(notional: Fraction, tiers: list[Tier]) -> Tier:
    return next((tier for tier in tiers if notional <= tier.cap), tiers[-1])


def formula(legs: list[Held], tiers: list[Tier], balance: Fraction, others: Fraction, mark: Fraction) -> Fraction | None:
    """LP = (WB - TMM + UPNL + sum cum - sum side*size*entry) / sum(size*MMR - side*size), each MMR that of the notional at LP.

    ``others`` is UPNL - TMM of the other contracts. Of several prices that agree with their own brackets, the nearest to the mark; what
    is beyond the last bracket counts to it.
    """
    found = []
    for chosen in product(tiers, repeat=len(legs)):
        pairs = list(zip(chosen, legs, strict=True))
        below = sum(leg.size * tier.rate - leg.side * leg.size for tier, leg in pairs)
        if below:
            price = Fraction(balance + others + sum(tier.cum - leg.side * leg.size * leg.entry for tier, leg in pairs), below)
            if price > 0 and all(
                tier.floor <= leg.size * price and (leg.size * price <= tier.cap or tier is tiers[-1]) for tier, leg in pairs
            ):
                found.append(price)
    return min(found, key=lambda price: abs(price - mark), default=None)


def toward(price: Fraction, mark: Fraction) -> int:
    """In 1e-8, rounded to where the mark is: no price is told that lies beyond the real one."""
    return ceil(price * ONE) if price < mark else floor(price * ONE)


def tick(ex: Exchange, symbol: str, ticks: int) -> None:
    ex.tick(symbol, Ticks(ticks), E8(ticks * FACTS[symbol].instrument.tick), ex.now_ms + 1)


def open_position(ex: Exchange, account: Account, symbol: str, side: Side, lots: int, slot: PositionSide | None = None) -> None:
    """At the last price, in as many orders as the filter asks."""
    rules = FACTS[symbol].instrument
    price = ex.book(symbol).last
    while lots:
        part = min(lots, rules.max_lots)
        new = NewOrder(
            symbol=symbol, side=side.opening, kind=OrderKind.LIMIT, quantity=E8(part * rules.lot), price=E8(price), position_side=slot
        )
        ex.submit(account, new)
        lots -= part


def world(balance: Fraction, *, hedge: bool = False) -> tuple[Exchange, Account]:
    ex = Exchange(EXACT, start_ms=START)
    return ex, ex.open_account("main", balance=E8(ceil(balance * ONE)), hedge=hedge)


def whole(value: int) -> Fraction:
    return Fraction(value, ONE)


def test_the_tables_are_those_of_the_file(tiers: dict[str, list[Tier]]) -> None:
    assert tiers.keys() == FACTS.keys() == PRICES.keys()
    for symbol, rows in tiers.items():
        assert [(b.leverage, whole(b.floor), whole(b.cap), whole(b.ratio), whole(b.cum)) for b in FACTS[symbol].brackets] == [
            (row.leverage, row.floor, row.cap, row.rate, row.cum) for row in rows
        ]


def amounts(row: Tier, price: Fraction, lot: Fraction) -> Iterator[int]:
    """Lots just inside both ends of a bracket and in its middle."""
    for notional in (row.floor + (row.cap - row.floor) / 50, (row.floor + row.cap) / 2, row.cap):
        yield floor(notional / price / lot)


@SIDES
@pytest.mark.parametrize("isolated", [False, True], ids=["cross", "isolated"])
@pytest.mark.parametrize("symbol", PRICES)
def test_one_position_in_every_bracket(symbol: str, isolated: bool, side: Side, tiers: dict[str, list[Tier]]) -> None:
    rules = FACTS[symbol].instrument
    size, told = whole(rules.lot), 0
    start = money(PRICES[symbol]) // rules.tick
    for row in tiers[symbol]:
        for lots in amounts(row, whole(start * rules.tick), size):
            entry = whole(start * rules.tick)
            ex, account = world(lots * size * entry * Fraction(5, 4) / row.leverage + lots * size * entry / 1_000)
            tick(ex, symbol, start)
            ex.set_leverage(account, symbol, row.leverage)
            if isolated:
                ex.set_margin_mode(account, symbol, isolated=True)
            open_position(ex, account, symbol, side, lots)
            (held,) = ex.positions(account)
            balance = whole(held.isolated_wallet if isolated else account.wallet)
            price = formula([Held(side.sign, lots * size, entry)], tiers[symbol], balance, Fraction(0), entry)
            assert held.liquidation == (0 if price is None else toward(price, entry)), (row, lots)
            if price is not None:
                told += 1
                happens(ex, account, symbol, price, entry)
    assert told >= len(tiers[symbol])


def happens(ex: Exchange, account: Account, symbol: str, price: Fraction, mark: Fraction) -> None:
    """One tick before the price the positions are there, at the first tick that reaches it they are not."""
    unit = whole(FACTS[symbol].instrument.tick)
    at = floor(price / unit) if price < mark else ceil(price / unit)
    before = at + 1 if price < mark else at - 1
    slots = {(row.symbol, row.position_side) for row in ex.positions(account, symbol)}
    if before * unit != mark:
        tick(ex, symbol, before)
    assert slots == {(row.symbol, row.position_side) for row in ex.positions(account, symbol)}
    if at > 0:
        tick(ex, symbol, at)
        assert slots != {(row.symbol, row.position_side) for row in ex.positions(account, symbol)}
        assert any(row.client_id.startswith("autoclose-") for row in account.orders.values())


@pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])
def test_several_positions_share_a_cross_wallet(hedge: bool, tiers: dict[str, list[Tier]]) -> None:
    """The formula with the other contracts' unrealised profit and maintenance, and in hedge mode both legs of one contract."""
    told = 0
    for seed in range(90):
        rng = Random(seed)
        symbols = rng.sample(sorted(PRICES), 3)
        ex, account = world(Fraction(rng.randrange(20_000, 400_000)), hedge=hedge)
        legs: dict[str, list[Held]] = {symbol: [] for symbol in symbols}
        for symbol in symbols:
            rules = FACTS[symbol].instrument
            start = money(PRICES[symbol]) // rules.tick
            tick(ex, symbol, start)
            for side in rng.sample(list(Side), 2 if hedge and rng.random() < 0.7 else 1):
                lots = floor(Fraction(rng.randrange(2_000, 120_000)) / whole(start * rules.tick) / whole(rules.lot))
                open_position(ex, account, symbol, side, lots, PositionSide[side.name] if hedge else None)
                legs[symbol].append(Held(side.sign, lots * whole(rules.lot), whole(start * rules.tick)))
        for symbol in symbols:
            ticks = money(PRICES[symbol]) // FACTS[symbol].instrument.tick
            tick(ex, symbol, ticks * rng.randrange(990, 1_010) // 1_000)
        if {row.symbol for row in ex.positions(account)} != set(symbols):
            continue
        first = symbols[0]
        others = sum((carried(legs[other], tiers[other], whole(ex.book(other).mark)) for other in symbols[1:]), Fraction(0))
        mark = whole(ex.book(first).mark)
        price = formula(legs[first], tiers[first], whole(account.wallet), others, mark)
        for row in ex.positions(account, first):
            assert row.liquidation == (0 if price is None else toward(price, mark)), seed
        if price is not None and abs(price - mark) > 2 * whole(FACTS[first].instrument.tick):
            told += 1
            falls(ex, account, first, price, mark)
    assert told > 30


def carried(legs: list[Held], tiers: list[Tier], mark: Fraction) -> Fraction:
    """UPNL - TMM of another contract; maintenance margin is kept in whole 1e-8, rounded up."""
    profit = sum((leg.side * leg.size * (mark - leg.entry) for leg in legs), Fraction(0))
    for leg in legs:
        tier = tier_of(leg.size * mark, tiers)
        profit -= Fraction(ceil((leg.size * mark * tier.rate - tier.cum) * ONE), ONE)
    return profit


def falls(ex: Exchange, account: Account, symbol: str, price: Fraction, mark: Fraction) -> None:
    """As above, for a wallet with several positions: whichever goes first, it is at this price that one does."""
    unit = whole(FACTS[symbol].instrument.tick)
    at = floor(price / unit) if price < mark else ceil(price / unit)
    tick(ex, symbol, at + 1 if price < mark else at - 1)
    count = len(ex.positions(account))
    assert not any(row.client_id.startswith("autoclose-") for row in account.orders.values())
    tick(ex, symbol, at)
    assert len(ex.positions(account)) < count


def test_the_short_side_of_an_order_opens_short() -> None:
    """The helper above does what it says."""
    ex, account = world(Fraction(1_000))
    tick(ex, "BTCUSDT", 1_000_000)
    open_position(ex, account, "BTCUSDT", Side.SHORT, 2)
    assert account.trades[0].side is OrderSide.SELL and ex.positions(account)[0].amount == -2 * FACTS["BTCUSDT"].instrument.lot
