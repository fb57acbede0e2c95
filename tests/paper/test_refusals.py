"""Every documented refusal that the engine can give, each provoked: code, book, and a request that nothing else is wrong with.

Source: Binance USD-M error codes, 2026-10. A refusal changes nothing: the account is compared with what it was.
Over 300 lines: one table.
"""

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import qtkit.paper
from qtkit.core.model import E8, Bps, Lots, OrderKind, OrderSide, PositionSide, Side, Ticks, TriggerBy
from qtkit.paper.account import Account
from qtkit.paper.exchange import FACTS, Exchange
from tests.paper.engine import BTC, EXACT, SIDES, START, TimeInForce, World, money, refused, thin

LIMIT, MARKET, STOP, STOP_MARKET = OrderKind.LIMIT, OrderKind.MARKET, OrderKind.STOP, OrderKind.STOP_MARKET
TRAILING = OrderKind.TRAILING_STOP_MARKET
Provoke = Callable[[World], object]
CASES: list[tuple[int, str, str, Provoke]] = []

BY_THE_WIRE = frozenset(
    {-1000, -1001, -1002, -1003, -1006, -1007, -1008, -1015, -1016, -1020, -1021, -1022, -1099, -1104, -1125, -1130, -2014, -2015,
     -5028}
)  # fmt: skip
"""Codes of transport, signature, limits and spelling: the server's, tested there."""
NO_OCCASION = frozenset({-2018, -2020, -2024, -2026})
"""Listed by Binance without a circumstance in which this kind of account would see them; the fault kind REFUSE tells them on request."""
DOCUMENTED = frozenset(
    {
        -1000, -1001, -1002, -1003, -1006, -1007, -1008, -1015, -1016, -1020, -1021, -1022, -1099, -1102, -1104, -1106, -1111, -1116, -1121,
        -1125, -1130, -2007, -2011, -2013, -2014, -2015, -2018, -2019, -2020, -2021, -2022, -2023, -2024, -2025, -2026, -2027, -2028, -4003,
        -4004, -4005, -4014, -4015, -4016, -4023, -4024, -4028, -4045, -4046, -4047, -4048, -4059, -4061, -4062, -4067, -4068, -4116, -4117,
        -4118, -4120, -4130, -4131, -4135, -4136, -4137, -4138, -4142, -4161, -4164, -4192, -4400, -5021, -5022, -5028,
    }
)  # fmt: skip
"""The error table that clients are known to map (ccxt 4.5.90, and Binance's own list)."""
RULED = replace(EXACT, max_conditional=2, max_orders=2)


def case(code: int, book: str, name: str, provoke: Provoke) -> None:
    """Add a line to the table."""
    CASES.append((code, book, name, provoke))


def order(world: World, kind: OrderKind = LIMIT, *, side: OrderSide | None = None, symbol: str = BTC, **more: Any) -> object:
    """A regular order that opens, right in everything that is not said otherwise."""
    if kind is LIMIT:
        more.setdefault("price", world.away(-1))
    quantity = more.pop("quantity", 0.1)
    return world.ex.submit(world.account, world.new(side or world.side.opening, kind, quantity, symbol, **more))


def algo(world: World, kind: OrderKind = STOP_MARKET, *, side: OrderSide | None = None, symbol: str = BTC, **more: Any) -> object:
    """A conditional order that closes, right in everything that is not said otherwise."""
    if kind is TRAILING:
        more.setdefault("callback", Bps(100))
    else:
        more.setdefault("trigger", world.away(-2))
    if kind is STOP:
        more.setdefault("price", world.away(-2))
    more.setdefault("trigger_by", TriggerBy.MARK)
    quantity = more.pop("quantity", 0.1)
    return world.ex.submit_algo(world.account, world.new(side or world.side.closing, kind, quantity, symbol, **more))


def both(code: int, name: str, **wrong: Any) -> None:
    """The same fault in either book."""
    case(code, "order", name, lambda world: order(world, **wrong))
    case(code, "algo", name, lambda world: algo(world, **wrong))


def held(world: World) -> World:
    """With a position of 0.1 BTC."""
    world.enter(0.1)
    return world


def hedged(world: World) -> World:
    """The same account in hedge mode."""
    world.ex.set_position_mode(world.account, hedge=True)
    world.hedge = True
    return world


def under(world: World, **rules: Any) -> World:
    """Under other rules."""
    world.ex.rules = replace(world.ex.rules, **rules)
    return world


def isolated(world: World) -> World:
    """Isolated on the symbol."""
    world.ex.set_margin_mode(world.account, BTC, isolated=True)
    return world


def also(world: World, *acts: object) -> World:
    """After those acts."""
    return world


# shape and symbol
case(-1102, "order", "a market order without quantity", lambda w: order(w, MARKET, quantity=None))
case(-1102, "order", "a limit order without price", lambda w: order(w, price=None))
case(-1102, "order", "cancel without an id", lambda w: w.ex.cancel(w.account, BTC))
case(-1102, "algo", "a stop without quantity", lambda w: algo(w, quantity=None))
case(-1102, "algo", "a stop without trigger", lambda w: algo(w, trigger=None))
case(-1102, "algo", "a stop-limit without price", lambda w: algo(w, STOP, price=None))
case(-1102, "algo", "a trailing stop without callback", lambda w: algo(w, TRAILING, callback=None))
case(-1102, "algo", "cancel without an id", lambda w: w.ex.cancel_algo(w.account))
case(-1106, "order", "reduceOnly in hedge mode", lambda w: order(hedged(w), reduce_only=True, position_side=w.slot))
case(-1106, "algo", "reduceOnly in hedge mode", lambda w: algo(hedged(w), reduce_only=False, position_side=w.slot))
case(-1106, "algo", "closePosition with reduceOnly", lambda w: algo(held(w), quantity=None, close_position=True, reduce_only=True))
case(-4062, "order", "reduceOnly in hedge mode, by rule", lambda w: order(hedged(under(w, hedge_reduce_only_code=-4062)), reduce_only=True))
case(-4062, "algo", "reduceOnly in hedge mode, by rule", lambda w: algo(hedged(under(w, hedge_reduce_only_code=-4062)), reduce_only=True))
case(-1116, "algo", "a limit order", lambda w: algo(w, LIMIT))
case(-4120, "order", "a stop", lambda w: order(w, STOP_MARKET, trigger=101_000))
both(-1121, "no such symbol", symbol="NOSUCHUSDT")
case(-1121, "account", "leverage of no such symbol", lambda w: w.ex.set_leverage(w.account, "NOSUCHUSDT", 5))
both(-4015, "client id with a space", client_id="my order")
both(-4015, "client id of 37 characters", client_id="x" * 37)
case(-4116, "order", "client id of an open order", lambda w: [order(w, client_id="x") for _ in range(2)])
case(-4116, "algo", "client id of an open order", lambda w: [algo(w, client_id="x") for _ in range(2)])
case(-4061, "order", "a position side in one-way mode", lambda w: order(w, position_side=PositionSide.LONG))
case(-4061, "order", "none in hedge mode", lambda w: order(hedged(w), position_side=None))
case(-4061, "algo", "a position side in one-way mode", lambda w: algo(w, position_side=PositionSide.SHORT))
case(-4061, "algo", "none in hedge mode", lambda w: algo(hedged(w), position_side=None))

# filters
both(-1111, "quantity of too many digits", quantity=0.1001)
case(-1111, "order", "price of too many digits", lambda w: order(w, price=99_000.001))
case(-1111, "algo", "trigger of too many digits", lambda w: algo(w, trigger=w.away(-2) + 0.001))
both(-4003, "quantity of zero", quantity=0)
both(-4003, "quantity below zero", quantity=-0.1)
both(-4004, "quantity below the minimum", quantity=0.002, symbol="STEPUSDT")
both(-4023, "quantity off the step", quantity=0.003, symbol="STEPUSDT")
both(-4005, "quantity above the maximum", quantity=1_000.001)
case(-4005, "order", "a market order above its own maximum", lambda w: order(w, MARKET, quantity=120.001))
case(-4001, "order", "price of zero", lambda w: order(w, price=0))
case(-4006, "algo", "trigger below zero", lambda w: algo(w, trigger=-1))
case(-4013, "order", "price below the minimum", lambda w: order(w, price=556.7))
case(-4013, "algo", "trigger below the minimum", lambda w: algo(w, trigger=556.7))
case(-4002, "order", "price above the maximum", lambda w: order(w, price=4_529_764.1))
case(-4007, "algo", "trigger above the maximum", lambda w: algo(w, trigger=4_529_764.1))
case(-4014, "order", "price off the tick", lambda w: order(w, price=99_000.05))
case(-4014, "algo", "trigger off the tick", lambda w: algo(w, trigger=w.away(-2) + 0.05))
case(-4014, "algo", "limit price off the tick", lambda w: algo(w, STOP, price=w.away(-2) + 0.05))
case(-4016, "order", "a buy above 105 % of the mark", lambda w: order(w, side=OrderSide.BUY, price=105_000.1))
case(-4024, "order", "a sell below 95 % of the mark", lambda w: order(w, side=OrderSide.SELL, price=94_999.9))
case(
    -4131,
    "order",
    "a market order beyond the take bound",
    lambda w: order(also(w, w.price(100_000, mark=94_000)), MARKET, side=OrderSide.BUY),
)
case(-4131, "order", "before the first price", lambda w: order(w, symbol="ETHUSDT", price=2_000))
case(-4131, "algo", "before the first price", lambda w: algo(w, symbol="ETHUSDT", trigger=2_000))
case(-4164, "order", "a notional of 99", lambda w: order(w, price=99_000, quantity=0.001))
case(
    -4164,
    "algo",
    "a notional of 98",
    lambda w: algo(w, side=OrderSide.BUY, kind=OrderKind.TAKE_PROFIT_MARKET, trigger=98_000, quantity=0.001),
)
case(
    -4210, "algo", "trigger above the band, by rule", lambda w: algo(under(w, trigger_band=Bps(500)), side=OrderSide.BUY, trigger=105_000.1)
)
case(
    -4211, "algo", "trigger below the band, by rule", lambda w: algo(under(w, trigger_band=Bps(500)), side=OrderSide.SELL, trigger=94_999.9)
)

# triggers
case(-2007, "algo", "callback of 0.05 %", lambda w: algo(w, TRAILING, callback=Bps(5)))
case(-2007, "algo", "callback of 0.15 %", lambda w: algo(w, TRAILING, callback=Bps(15)))
case(-2007, "algo", "callback of 10.1 % before 2026-10-23", lambda w: algo(w, TRAILING, callback=Bps(1_010)))
case(-4135, "algo", "activation price of zero", lambda w: algo(w, TRAILING, activation=0))
case(-4135, "algo", "activation price above the maximum", lambda w: algo(w, TRAILING, activation=4_529_764.1))
case(-4001, "algo", "limit price of zero", lambda w: algo(w, STOP, price=0))
case(-4002, "algo", "limit price above the maximum", lambda w: algo(w, STOP, price=4_529_764.1))
case(
    -4183,
    "algo",
    "a buy at 105 % of its trigger",
    lambda w: algo(w, OrderKind.TAKE_PROFIT, side=OrderSide.BUY, trigger=98_000, price=102_900.1),
)
case(-4184, "algo", "a sell at 95 % of its trigger", lambda w: algo(w, STOP, side=OrderSide.SELL, trigger=98_000, price=93_099.9))
case(-2021, "algo", "a stop that is reached", lambda w: algo(w, trigger=w.away(0)))
case(-2021, "algo", "a target that is passed", lambda w: algo(w, OrderKind.TAKE_PROFIT_MARKET, trigger=w.away(-1)))
case(-2021, "algo", "an activation that is passed", lambda w: algo(w, TRAILING, activation=w.away(-1)))
case(-2021, "algo", "a trailing stop with a trigger", lambda w: algo(w, TRAILING, trigger=w.away(-1)))
case(-4142, "algo", "a stop that is reached, by rule", lambda w: algo(under(w, immediate_code=-4142), trigger=w.away(0)))

# reduce-only and close-position
case(-2022, "order", "reduce-only while flat", lambda w: order(w, MARKET, reduce_only=True))
case(-2022, "order", "reduce-only that adds", lambda w: order(held(w), MARKET, reduce_only=True))
case(-2022, "order", "closing a flat leg in hedge mode", lambda w: order(hedged(w), MARKET, side=w.side.closing))
case(-2022, "algo", "close-position on the opening side in hedge mode",
     lambda w: algo(held(hedged(w)), side=w.side.opening, quantity=None, close_position=True))  # fmt: skip
case(-4118, "order", "beyond what resting reduce-only orders leave",
     lambda w: [held(w), w.limit(w.side.closing, w.away(1), reduce_only=True), w.leave(0.1)])  # fmt: skip
case(-4118, "algo", "beyond what other stops leave, by rule",
     lambda w: [held(under(w, conditional_reserves=True)), *(w.stop(-2) for _ in range(2))])  # fmt: skip
case(-4136, "order", "close-position", lambda w: order(held(w), MARKET, quantity=None, close_position=True))
case(-4136, "algo", "close-position by a trailing stop", lambda w: algo(held(w), TRAILING, quantity=None, close_position=True))
case(-4137, "algo", "close-position with quantity", lambda w: algo(held(w), close_position=True))
case(
    -4138, "algo", "close-position that is not reduce-only", lambda w: algo(held(w), quantity=None, close_position=True, reduce_only=False)
)
case(-4130, "algo", "a second close-position stop", lambda w: [held(w), w.floor(-2), w.floor(-3)])
case(-4130, "algo", "a stop beside it, by rule", lambda w: [held(under(w, floor_beside_stop=False)), w.floor(-2), w.stop(-3)])
case(-4130, "algo", "in the lag of a cancel",
     lambda w: [held(under(w, slot_lag_ms=800)), w.ex.cancel_algo(w.account, algo_id=w.floor(-2).algo_id), w.floor(-2)])  # fmt: skip
case(-4509, "algo", "close-position while flat", lambda w: algo(w, quantity=None, close_position=True))
case(-4509, "algo", "GTE while flat", lambda w: algo(w, time_in_force=TimeInForce.GTE_GTC))
case(-4509, "algo", "reduce-only while flat, by rule", lambda w: algo(under(w, stop_while_flat=False), reduce_only=True))

# time in force, change, cancel
case(-5021, "order", "FOK that does not cross", lambda w: order(w, time_in_force=TimeInForce.FOK))
case(-5021, "order", "FOK of more than the book holds",
     lambda w: order(also(w, w.ex.set_liquidity(BTC, thin(5_000))), price=w.away(1), time_in_force=TimeInForce.FOK))  # fmt: skip
case(-5022, "order", "post-only that takes", lambda w: order(w, price=w.away(1), time_in_force=TimeInForce.GTX))
case(-5022, "order", "post-only amended to take", lambda w: amend(w, price=w.away(1), time_in_force=TimeInForce.GTX))
case(-1102, "order", "GTD without a date", lambda w: order(w, time_in_force=TimeInForce.GTD))
case(-1102, "algo", "GTD without a date", lambda w: algo(w, STOP, time_in_force=TimeInForce.GTD))
case(-5040, "order", "GTD of ten minutes", lambda w: order(w, time_in_force=TimeInForce.GTD, good_till_ms=w.ex.now_ms + 600_000))
case(-5040, "order", "GTD after the year 9999", lambda w: order(w, time_in_force=TimeInForce.GTD, good_till_ms=253_402_300_799_000))
case(-5040, "algo", "GTD of ten minutes", lambda w: algo(w, STOP, time_in_force=TimeInForce.GTD, good_till_ms=w.ex.now_ms + 600_000))
case(-5029, "order", "an amendment to a notional of 99", lambda w: amend(w, price=99_000, first=w.away(-2), quantity=0.001))
case(-5024, "order", "an amendment on a halted symbol", lambda w: amend(w, price=w.away(-2), halted=True))
case(-5027, "order", "an amendment of nothing", lambda w: amend(w, price=w.away(-1)))
case(-2013, "order", "amend a filled order", lambda w: amend(w, price=w.away(-2), first=w.away(1)))
case(-2013, "order", "no such order", lambda w: w.ex.order(w.account, BTC, order_id=1))
case(-2013, "algo", "no such order", lambda w: w.ex.algo(w.account, client_id="none"))
case(-2011, "order", "cancel no such order", lambda w: w.ex.cancel(w.account, BTC, client_id="none"))
case(-2011, "order", "cancel a filled order", lambda w: w.ex.cancel(w.account, BTC, order_id=w.enter(0.1).order_id))
case(-2011, "algo", "cancel no such order", lambda w: w.ex.cancel_algo(w.account, algo_id=1))
case(-2011, "algo", "cancel an order that is triggering", lambda w: cancel_triggering(w))
case(-4117, "algo", "cancel an order that is triggering, by rule", lambda w: cancel_triggering(under(w, cancel_triggering_code=-4117)))

# numbers of orders
case(-2025, "order", "a third order of two", lambda w: [order(w) for _ in range(3)])
case(-4045, "algo", "a third order of two", lambda w: [algo(w) for _ in range(3)])

# margin, brackets, standing
case(-2019, "order", "more than there is money for", lambda w: order(w, MARKET, quantity=21))
case(-2019, "order", "amended to more than there is money for", lambda w: amend(w, price=w.away(-1), quantity=25))
case(-4050, "account", "more margin than there is", lambda w: w.ex.add_position_margin(*position_of(w), money(99_900)))
case(
    -2027,
    "order",
    "above the bracket of the leverage",
    lambda w: order(also(w, w.ex.set_leverage(w.account, BTC, 150)), MARKET, quantity=3.1),
)
case(-2027, "account", "leverage too high for the position", lambda w: w.ex.set_leverage(also(w, w.enter(10)).account, BTC, 150))
case(-2028, "account", "leverage too low for the money", lambda w: w.ex.set_leverage(also(w, w.enter(10)).account, BTC, 2))
case(-4028, "account", "leverage 0", lambda w: w.ex.set_leverage(w.account, BTC, 0))
case(-4028, "account", "leverage 151", lambda w: w.ex.set_leverage(w.account, BTC, 151))
case(-4161, "account", "less leverage on an isolated position", lambda w: w.ex.set_leverage(held(isolated(w)).account, BTC, 10))
case(-4046, "account", "the same margin mode", lambda w: w.ex.set_margin_mode(w.account, BTC, isolated=False))
case(-4047, "account", "margin mode with an order", lambda w: w.ex.set_margin_mode(also(w, order(w)).account, BTC, isolated=True))
case(-4047, "account", "margin mode with a stop", lambda w: w.ex.set_margin_mode(also(w, algo(w)).account, BTC, isolated=True))
case(-4048, "account", "margin mode with a position", lambda w: w.ex.set_margin_mode(held(w).account, BTC, isolated=True))
case(-4059, "account", "the same position mode", lambda w: w.ex.set_position_mode(w.account, hedge=False))
case(-4067, "account", "position mode with an order", lambda w: w.ex.set_position_mode(also(w, order(w)).account, hedge=True))
case(-4067, "account", "position mode with a stop", lambda w: w.ex.set_position_mode(also(w, algo(w)).account, hedge=True))
case(-4068, "account", "position mode with a position", lambda w: w.ex.set_position_mode(held(w).account, hedge=True))
case(-4054, "account", "margin of no position", lambda w: w.ex.add_position_margin(w.account, BTC, money(1)))
case(-4055, "account", "no margin", lambda w: w.ex.add_position_margin(*position_of(w), money(0)))
case(-4049, "account", "margin of a cross position", lambda w: w.ex.add_position_margin(held(w).account, BTC, money(1)))
case(-4051, "account", "margin that the position needs", lambda w: w.ex.add_position_margin(*position_of(w), money(-1)))
case(-4140, "order", "open on a halted symbol", lambda w: order(also(w, w.ex.halt(BTC))))
case(-4087, "order", "open without the permission", lambda w: order(also(w, w.ex.restrict(w.account, -4087)), MARKET))
case(-4401, "order", "open beside a large position", lambda w: order(also(w, w.ex.restrict(w.account, -4401)), MARKET))
case(-4192, "order", "open in a cooling-off period", lambda w: order(also(w, w.ex.restrict(w.account, -4192))))
case(-4400, "order", "open against the quantitative rules", lambda w: order(also(w, w.ex.restrict(w.account, -4400)), MARKET))
case(-2023, "order", "in liquidation", lambda w: order(ruined(w)))
case(-2023, "algo", "in liquidation", lambda w: algo(ruined(w)))


def amend(world: World, *, price: float, first: float | None = None, quantity: float = 0.1, halted: bool = False, **more: Any) -> object:
    """Rest a limit order, then change it."""
    row = world.limit(world.side.opening, world.away(-1) if first is None else first, **more)
    world.ex.halt(BTC, halted=halted)
    return world.ex.amend(
        world.account, BTC, side=row.side, quantity=money(quantity), price=money(price), order_id=row.order_id
    )  # fmt: skip


def cancel_triggering(world: World) -> object:
    row = held(world).stop(-2)
    world.ex.hold_trigger = lambda algo: True
    world.price(world.away(-2))
    return world.ex.cancel_algo(world.account, algo_id=row.algo_id)


def position_of(world: World) -> tuple[Account, str]:
    """An isolated position: whose, and where."""
    return held(isolated(world)).account, BTC


def ruined(world: World) -> World:
    """Just liquidated, with money again."""
    world.ex.rules = replace(world.ex.rules, liquidation_ms=60_000)
    isolated(world).enter(0.1)
    world.price(world.away(-6))
    world.price(100_000)
    return world


def state(account: Account) -> tuple[object, ...]:
    """What a refusal must leave as it is."""
    twin = account.clone()
    money = (twin.wallet, twin.hedge, twin.legs, twin.setting(BTC), twin.incomes, twin.restricted)
    return *money, twin.orders, twin.open_orders, twin.algos, twin.open_algos, twin.slots


@SIDES
@pytest.mark.parametrize(("code", "book", "name", "provoke"), CASES, ids=[f"{c}-{b}-{n}".replace(" ", "_") for c, b, n, _ in CASES])
def test_refused_with(code: int, book: str, name: str, provoke: Provoke, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(side, RULED)
    step = FACTS[BTC].instrument  # BTC by another name: two lots of 0.002 at least, and a precision finer than the lot
    coarse = replace(step, symbol="STEPUSDT", lot=E8(200_000), min_lots=Lots(2))
    facts = {**FACTS, "STEPUSDT": replace(FACTS[BTC], instrument=coarse)}
    world.ex = Exchange(RULED, start_ms=START, facts=facts)
    world.account = world.ex.open_account("main", balance=money(100_000))
    for symbol in (BTC, "STEPUSDT"):
        world.ex.tick(symbol, Ticks(1_000_000), money(100_000), START + 1)
    seen: list[tuple[object, ...]] = []

    def remember(call: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*args: Any, **more: Any) -> Any:
            seen.append(state(world.account))
            return call(*args, **more)

        return asked

    for call in ("submit", "submit_algo", "amend", "cancel", "cancel_algo", "set_leverage", "set_margin_mode", "set_position_mode",
                 "add_position_margin"):  # fmt: skip
        monkeypatch.setattr(world.ex, call, remember(getattr(world.ex, call)))
    with refused(code):
        provoke(world)
    assert not seen or state(world.account) == seen[-1]


def raised_in(path: Path) -> set[int]:
    """Negative literals in a source file that are codes: handed to an error, or named as one."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            value = node.operand.value
            if isinstance(value, int) and 1_000 <= value < 10_000:
                found.add(-value)
    return found


def test_the_table_names_every_code_of_the_engine() -> None:
    room = Path(qtkit.paper.__file__).parent
    engine = ("account", "admission", "authority", "conditional", "exchange", "filters", "ledger", "margin", "market", "regular", "rules")
    raised = set().union(*(raised_in(room / f"{name}.py") for name in engine))
    assert raised | {-4062, -4142} == {code for code, *_ in CASES}  # those two a rule may ask for


def test_the_table_names_every_documented_code_but_the_wires() -> None:
    provoked = {code for code, *_ in CASES}
    assert provoked.isdisjoint(BY_THE_WIRE | NO_OCCASION)
    assert DOCUMENTED <= provoked | BY_THE_WIRE | NO_OCCASION
