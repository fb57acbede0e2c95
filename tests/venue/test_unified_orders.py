"""Order building for the exchanges besides Binance, against what ccxt itself would put on the wire."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core.model import Lots, Order, OrderKind, OrderSide, PolicyError, PositionSide, Ticks, TriggerBy
from qtkit.venue.capabilities import capabilities
from qtkit.venue.unified_orders import SLIPPAGE, Terms, cloid, unified_request

from .unified_kit import VENUES, Wire, contract, market

ID = "q1qtk0s0abcdefghijklmnopqr00"
STOP, TARGET, MARKET = OrderKind.STOP_MARKET, OrderKind.TAKE_PROFIT_MARKET, OrderKind.MARKET
BUY, SELL = OrderSide.BUY, OrderSide.SELL
BOTH, LONG, SHORT = PositionSide.BOTH, PositionSide.LONG, PositionSide.SHORT
MARK, LAST = TriggerBy.MARK, TriggerBy.LAST
SLOTS = {"long": (SELL, BOTH), "short": (BUY, BOTH), "hedge-long": (SELL, LONG), "hedge-short": (BUY, SHORT)}
TRIGGER = Ticks(900_000)  # of 0.1
HEDGED = ("bybit", "okx", "bitget")
CASES = [(venue, name) for venue in VENUES for name in SLOTS if venue in HEDGED or not name.startswith("hedge")]
cases = pytest.mark.parametrize(("venue", "name"), CASES, ids=[f"{venue}-{name}" for venue, name in CASES])


def order(kind: OrderKind, name: str, *, lots: int = 10, by: TriggerBy = MARK, **fields: Any) -> Order:
    side, slot = SLOTS[name]
    asked = Order(
        symbol="BTC", client_id=ID, kind=kind, side=side, position_side=slot, lots=Lots(lots), trigger_by=by,
        trigger=TRIGGER if kind.conditional else None, reduce_only=slot is BOTH,
    )  # fmt: skip
    return replace(asked, **fields)


def floor(name: str) -> Order:
    return order(STOP, name, lots=0, close_position=True, reduce_only=False)


def sent(venue: str, asked: Order, terms: Terms) -> tuple[str, dict[str, Any]]:
    """Path and body of the one request that ccxt makes of an order."""
    wire, request = wire_of(venue), unified_request(venue, asked, contract(venue).rules, terms)
    wire.sent.clear()
    arguments = (market(venue)["symbol"], request.type, request.side, request.amount, request.price, dict(request.params))
    asyncio.run(wire.client.create_order(*arguments))
    ((method, path, body),) = wire.sent
    assert method == "POST"
    return path, body


@cache
def wire_of(venue: str) -> Wire:
    """One client for all: it opens no socket."""
    return Wire(venue)


def terms(venue: str, *, isolated: bool = False) -> Terms:
    return Terms(contract_size=contract(venue).contract_size, isolated=isolated, price="91000")


def side_of(name: str) -> str:
    return SLOTS[name][0].value


def hedge_of(name: str) -> bool:
    return SLOTS[name][1] is not BOTH


# --- the whole body, by exchange -----------------------------------------------------------------------------------


def bybit(kind: str, name: str) -> tuple[str, dict[str, Any]]:
    side, up = side_of(name), (side_of(name) == "BUY") == (kind != "target")
    body: dict[str, Any] = {"symbol": "BTCUSDT", "category": "linear", "side": side.title(), "orderType": "Market", "orderLinkId": ID,
            "qty": "0.01", "reduceOnly": True, "triggerPrice": "90000",
            "triggerDirection": 1 if up else 2, "triggerBy": "MarkPrice"}  # fmt: skip
    if hedge_of(name):
        body["positionIdx"] = 1 if side == "SELL" else 2
    if kind == "floor":
        body |= {"qty": "0", "closeOnTrigger": True}
    if kind == "target":
        body["triggerBy"] = "LastPrice"
    if kind == "close":
        body = {key: value for key, value in body.items() if not key.startswith("trigger")}
        if hedge_of(name):
            del body["reduceOnly"]  # the slot does it: ccxt leaves the flag out
    return "/v5/order/create", body


def okx(kind: str, name: str) -> tuple[str, dict[str, Any]]:
    slot = {"hedge-long": "long", "hedge-short": "short"}.get(name, "net")
    body: dict[str, Any] = {"instId": "BTC-USDT-SWAP", "side": side_of(name).lower(), "posSide": slot, "tdMode": "cross", "clOrdId": ID,
            "reduceOnly": True, "sz": "0.1"}  # fmt: skip
    if kind == "close":
        return "/api/v5/trade/batch-orders", body | {"ordType": "market"}
    word, by = ("tp", "last") if kind == "target" else ("sl", "mark")
    body |= {"ordType": "conditional", "algoClOrdId": ID, f"{word}TriggerPx": "90000", f"{word}OrdPx": "-1", f"{word}TriggerPxType": by}
    if kind == "floor":
        del body["sz"]
        body["closeFraction"] = "1"
    return "/api/v5/trade/order-algo", body


def bitget(kind: str, name: str) -> tuple[str, dict[str, Any]]:
    """Hold side and side: of the position in hedge mode, of the order in one-way mode (documents of Place TP/SL and Place Order)."""
    side, hedge = side_of(name).lower(), hedge_of(name)
    body: dict[str, Any] = {"symbol": "BTCUSDT", "productType": "USDT-FUTURES", "marginCoin": "USDT", "orderType": "market", "size": "0.01",
            "clientOid": ID, "force": "GTC"}  # fmt: skip
    if kind == "close":
        own = {"side": "buy" if side == "sell" else "sell", "tradeSide": "Close"} if hedge else {"side": side, "reduceOnly": "YES"}
        return "/api/v2/mix/order/place-order", body | {"marginMode": "crossed"} | own
    held = ("long", "short") if hedge else ("buy", "sell")
    plan, by = {"floor": ("pos_loss", "mark_price"), "stop": ("loss_plan", "mark_price"), "target": ("profit_plan", "fill_price")}[kind]
    body |= {"planType": plan, "triggerType": by, "triggerPrice": "90000", "holdSide": held[side == "buy"]}
    if kind == "floor":
        body["size"] = None  # the exchange asks for none
    return "/api/v2/mix/order/place-tpsl-order", body


def hyperliquid(kind: str, name: str) -> tuple[str, dict[str, Any]]:
    buys = side_of(name) == "BUY"
    price, trigger = {"close": ("100100", None) if buys else ("81900", None)}.get(kind, ("99000" if buys else "81000", "90000"))
    word = "tp" if kind == "target" else "sl"
    how = {"limit": {"tif": "Ioc"}} if trigger is None else {"trigger": {"isMarket": True, "triggerPx": trigger, "tpsl": word}}
    one = {"a": 0, "b": buys, "p": price, "s": "0" if kind == "floor" else "0.01", "r": True, "t": how, "c": cloid(ID)}
    return "/exchange", {"type": "order", "orders": [one], "grouping": "positionTpsl" if kind == "floor" else "na"}


def kraken(kind: str, name: str) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {"symbol": "PF_XBTUSD", "side": side_of(name).lower(), "size": "0.01", "cliOrdId": ID, "reduceOnly": "true"}
    if kind == "close":
        return "/derivatives/api/v3/sendorder", body | {"orderType": "mkt"}
    own = {"stop": ("stp", "mark"), "target": ("take_profit", "last")}[kind]
    return "/derivatives/api/v3/sendorder", body | {"orderType": own[0], "triggerSignal": own[1], "stopPrice": "90000"}


EXPECTED = {"bybit": bybit, "okx": okx, "bitget": bitget, "hyperliquid": hyperliquid, "krakenfutures": kraken}


def body_of(venue: str, asked: Order) -> tuple[str, dict[str, Any]]:
    path, body = sent(venue, asked, terms(venue))
    return path, body["action"] if venue == "hyperliquid" else body


@cases
def test_working_stop(venue: str, name: str) -> None:
    assert body_of(venue, order(STOP, name)) == EXPECTED[venue]("stop", name)


@cases
def test_target(venue: str, name: str) -> None:
    by = LAST if LAST in capabilities(venue).trigger_by else MARK
    assert body_of(venue, order(TARGET, name, by=by)) == EXPECTED[venue]("target", name)


@cases
def test_market_close(venue: str, name: str) -> None:
    assert body_of(venue, order(MARKET, name)) == EXPECTED[venue]("close", name)


@cases
def test_floor(venue: str, name: str) -> None:
    modes = capabilities(venue).close_modes
    if ("hedge" if hedge_of(name) else "one-way") not in modes:
        why = "in one-way mode alone" if modes else "has no order that closes whatever the position is"
        with pytest.raises(PolicyError, match=why):
            unified_request(venue, floor(name), contract(venue).rules, terms(venue))
        return
    assert body_of(venue, floor(name)) == EXPECTED[venue]("floor", name)


# --- what ccxt does on its own -------------------------------------------------------------------------------------


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("kind", [STOP, MARKET])
def test_nothing_else_is_sent(venue: str, kind: OrderKind) -> None:
    """No fee approved for a builder, no referral, no broker's id or tag: one request, and our id alone in it."""
    _, body = sent(venue, order(kind, "long"), terms(venue))
    assert not {"builder", "tag", "vaultAddress"} & (body.keys() | body.get("action", {}).keys())


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize(
    ("venue", "kind", "field", "words"),
    [("okx", STOP, "tdMode", ("cross", "isolated")), ("okx", MARKET, "tdMode", ("cross", "isolated")),
     ("bitget", MARKET, "marginMode", ("crossed", "isolated"))],
)  # fmt: skip
def test_margin_mode_is_that_of_the_position(venue: str, kind: OrderKind, field: str, words: tuple[str, str], isolated: bool) -> None:
    _, body = sent(venue, order(kind, "short"), terms(venue, isolated=isolated))
    assert body[field] == words[isolated]


@pytest.mark.parametrize("venue", [venue for venue in VENUES if LAST in capabilities(venue).trigger_by])
@pytest.mark.parametrize("name", ["long", "short"])
def test_a_stop_on_the_last_price_says_so(venue: str, name: str) -> None:
    _, on_last = sent(venue, order(STOP, name, by=LAST), terms(venue))
    _, on_mark = sent(venue, order(STOP, name, by=MARK), terms(venue))
    different = {key for key in on_last if on_last[key] != on_mark[key]}
    assert (len(different) == 1 and "Type" in next(iter(different))) or different <= {"triggerBy", "triggerSignal"}


def test_a_price_is_not_moved_on_the_way_to_hyperliquid() -> None:
    """Five significant figures: ccxt would round 90000.1 to 90000 without a word."""
    for trigger in (Ticks(900_001), Ticks(123_456_7)):
        with pytest.raises(PolicyError, match="significant figures, and would be moved"):
            unified_request("hyperliquid", order(STOP, "long", trigger=trigger), contract("hyperliquid").rules, terms("hyperliquid"))
    for trigger, text in ((Ticks(12_345), "1234.5"), (Ticks(1_234_560), "123456")):
        _, body = sent("hyperliquid", order(STOP, "long", trigger=trigger), terms("hyperliquid"))
        assert body["action"]["orders"][0]["t"]["trigger"]["triggerPx"] == text
    assert SLIPPAGE == "0.1"


def test_an_id_on_hyperliquid_is_our_own_hashed() -> None:
    assert cloid(ID) == cloid(ID) != cloid(ID + "1")
    assert len(cloid(ID)) == capabilities("hyperliquid").ids.longest


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (order(STOP, "long", trigger=None), "it needs a trigger price"),
        (order(STOP, "short", lots=0), "at least one lot"),
        (order(MARKET, "long", reduce_only=False), "entries are not built"),
        (order(OrderKind.LIMIT, "long"), "only STOP_MARKET, TAKE_PROFIT_MARKET, MARKET are built"),
        (order(OrderKind.TRAILING_STOP_MARKET, "long"), "only STOP_MARKET"),
        (order(STOP, "long", client_id=""), "client id must match"),
        (order(MARKET, "long", client_id="x" * 101), "client id must match"),
    ],
)
def test_what_an_exchange_has_no_words_for_is_refused(venue: str, asked: Order, why: str) -> None:
    if venue == "hyperliquid" and asked.client_id.startswith("x"):
        return  # any id can be hashed
    with pytest.raises(PolicyError, match=why) as refused:
        unified_request(venue, asked, contract(venue).rules, terms(venue))
    assert venue in str(refused.value)


@pytest.mark.parametrize("venue", ["hyperliquid", "krakenfutures"])
@pytest.mark.parametrize("name", ["hedge-long", "hedge-short"])
def test_hedge_mode_where_there_is_none(venue: str, name: str) -> None:
    with pytest.raises(PolicyError, match=f"{venue} has no hedge mode"):
        unified_request(venue, order(STOP, name), contract(venue).rules, terms(venue))


@pytest.mark.parametrize("venue", HEDGED)
@pytest.mark.parametrize(("side", "slot"), [(BUY, LONG), (SELL, SHORT)])
def test_an_order_that_would_open_is_refused(venue: str, side: OrderSide, slot: PositionSide) -> None:
    with pytest.raises(PolicyError, match=f"opens a {slot.value} position"):
        unified_request(venue, order(STOP, "long", side=side, position_side=slot), contract(venue).rules, terms(venue))


@pytest.mark.parametrize("venue", [venue for venue in VENUES if capabilities(venue).close_position])
def test_a_floor_is_a_stop_without_a_size(venue: str) -> None:
    for asked, why in ((replace(floor("long"), lots=Lots(1)), "set lots to 0"), (replace(floor("long"), kind=TARGET), "only STOP_MARKET")):
        with pytest.raises(PolicyError, match=why):
            unified_request(venue, asked, contract(venue).rules, terms(venue))


def test_hyperliquid_knows_the_mark_price_alone_and_needs_one_for_the_market() -> None:
    rules = contract("hyperliquid").rules
    with pytest.raises(PolicyError, match="triggers on MARK_PRICE alone"):
        unified_request("hyperliquid", order(TARGET, "long", by=LAST), rules, terms("hyperliquid"))
    with pytest.raises(PolicyError, match="give the mark"):
        unified_request("hyperliquid", order(MARKET, "long"), rules)


def test_an_exchange_that_is_built_elsewhere_or_nowhere() -> None:
    with pytest.raises(PolicyError, match="not built here"):
        unified_request("binanceusdm", order(STOP, "long"), contract("bybit").rules)
    with pytest.raises(PolicyError, match="did you mean 'bybit'"):
        unified_request("bibit", order(STOP, "long"), contract("bybit").rules)


@given(venue=st.sampled_from(VENUES), lots=st.integers(1, 10**7), trigger=st.integers(1, 99_999), name=st.sampled_from(["long", "short"]))
def test_sizes_and_prices_are_exact(venue: str, lots: int, trigger: int, name: str) -> None:
    """What leaves times the contract's size is what was asked for, to the last digit."""
    listed = contract(venue)
    request = unified_request(venue, order(STOP, name, lots=lots, trigger=Ticks(trigger)), listed.rules, terms(venue))
    assert request.amount is not None
    assert Decimal(request.amount) * listed.contract_size == Decimal(lots * listed.rules.lot) / 10**8
    assert Decimal(request.params["stopLossPrice"]) == Decimal(trigger * listed.rules.tick) / 10**8
