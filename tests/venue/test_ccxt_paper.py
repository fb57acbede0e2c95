"""The gateway end to end: unmodified protocol over real sockets against the paper exchange's server."""

import asyncio
import dataclasses
import gc
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from qtkit.core.model import (
    E8,
    ONE,
    Bps,
    Lots,
    Order,
    OrderKind,
    OrderSide,
    OrderStatus,
    PolicyError,
    PositionSide,
    Side,
    Ticks,
    TriggerBy,
)
from qtkit.paper.exchange import Exchange
from qtkit.paper.faults import Fault, FaultKind, Faults, Match, Verb
from qtkit.paper.server import PaperServer
from qtkit.venue.budget import Budget
from qtkit.venue.ccxt_gateway import CcxtGateway
from qtkit.venue.gateway import BarClosed, Event, Nudge, Quote, Refused, Unavailable, Unknown

BTC, MINUTE = "BTCUSDT", 60_000
START = 1_700_000_000_000 // MINUTE * MINUTE
PRICE = 900_000  # ticks of 0.1
BOTH, LONG, SHORT = PositionSide.BOTH, PositionSide.LONG, PositionSide.SHORT
SLOTS = [(Side.LONG, BOTH), (Side.SHORT, BOTH), (Side.LONG, LONG), (Side.SHORT, SHORT)]
slots = pytest.mark.parametrize(("side", "slot"), SLOTS, ids=["long", "short", "hedge-long", "hedge-short"])


class Paper:
    """An exchange on a port, its prices moved by hand, and a gateway on it."""

    def __init__(self, *, hedge: bool, ttl_ms: int = 3_600_000, quiet_s: float = 30.0, keep_alive_s: float = 1200.0) -> None:
        self.exchange = Exchange(start_ms=START)
        self.account = self.exchange.open_account("main", balance=E8(100_000 * ONE), hedge=hedge)
        self.faults = Faults()
        self.server = PaperServer(self.exchange, keys={"key": ("secret", "main")}, faults=self.faults, listen_key_ttl_ms=ttl_ms)
        self.settings: dict[str, Any] = {"quiet_s": quiet_s, "keep_alive_s": keep_alive_s}
        self.tick(PRICE)

    def tick(self, last: int, *, mark: int | None = None, after_ms: int = 0) -> None:
        price = last if mark is None else mark
        self.exchange.tick(BTC, Ticks(last), E8(price * 10_000_000 + 1), self.exchange.now_ms + after_ms)

    async def gateway(self) -> CcxtGateway:
        port = self.server.port
        gateway = CcxtGateway(
            "main", base_url=f"http://127.0.0.1:{port}", api_key="key", secret="secret", budget=Budget(100), timeout_s=2.0, **self.settings
        )
        gateway._client.timeout_on_exit = 10
        await gateway.start()
        return gateway


@asynccontextmanager
async def paper(slot: PositionSide = BOTH, **settings: Any) -> AsyncIterator[tuple[Paper, CcxtGateway]]:
    house = Paper(hedge=slot is not BOTH, **settings)
    await house.server.start()
    gateway = await house.gateway()
    try:
        yield house, gateway
    finally:
        await gateway.close()
        await house.server.stop()


def order(kind: OrderKind, side: OrderSide, slot: PositionSide, client_id: str, lots: int = 10, **fields: Any) -> Order:
    return Order(symbol=BTC, client_id=client_id, kind=kind, side=side, position_side=slot, lots=Lots(lots), **fields)


async def enter(gateway: CcxtGateway, side: Side, slot: PositionSide, lots: int = 10) -> None:
    ack = await gateway.place(order(OrderKind.MARKET, side.opening, slot, "entry", lots))
    assert (ack.order.status, ack.order.filled) == (OrderStatus.FILLED, lots)
    assert ack.order.average


async def test_start_reads_rules_and_mode() -> None:
    for slot in (BOTH, LONG):
        async with paper(slot) as (house, gateway):
            assert gateway.hedge is (slot is LONG)
            for symbol, facts in house.exchange.facts.items():
                true = facts.instrument
                assert dataclasses.replace(gateway.instruments[symbol], taker_fee=true.taker_fee, maker_fee=true.maker_fee) == true


@slots
async def test_positions(side: Side, slot: PositionSide) -> None:
    async with paper(slot) as (_, gateway):
        assert await gateway.positions() == ()
        await gateway.set_leverage(BTC, 7)
        await enter(gateway, side, slot)
        (position,) = await gateway.positions()
        assert (position.side, position.position_side, position.lots, position.leverage) == (side, slot, 10, 7)
        assert position.mark == PRICE * 10_000_000 + 1
        assert abs(position.entry - PRICE * 10_000_000) < PRICE * 10_000


async def test_two_legs_of_one_symbol() -> None:
    async with paper(LONG) as (_, gateway):
        await enter(gateway, Side.LONG, LONG, 10)
        await enter(gateway, Side.SHORT, SHORT, 7)
        assert {(p.position_side, p.side, p.lots) for p in await gateway.positions()} == {(LONG, Side.LONG, 10), (SHORT, Side.SHORT, 7)}


def protection(side: Side, slot: PositionSide) -> list[Order]:
    """One order of each kind around a position."""

    def away(bps: int) -> Ticks:
        """A price ``bps`` in favour (negative: against) of the position."""
        return Ticks(PRICE + side.sign * PRICE * bps // 10_000)

    close, one_way = side.closing, slot is BOTH
    floor = order(OrderKind.STOP_MARKET, close, slot, "floor", 0, trigger=away(-500), close_position=True)
    stop = order(OrderKind.STOP_MARKET, close, slot, "stop", trigger=away(-200), reduce_only=one_way)
    return [
        floor,
        stop,
        order(OrderKind.STOP, close, slot, "stop-limit", trigger=away(-300), price=away(-310), reduce_only=one_way),
        order(OrderKind.TAKE_PROFIT_MARKET, close, slot, "target", 4, trigger=away(200), trigger_by=TriggerBy.LAST, reduce_only=one_way),
        order(OrderKind.TAKE_PROFIT, close, slot, "target-limit", 3, trigger=away(300), price=away(290), reduce_only=one_way),
        order(OrderKind.TRAILING_STOP_MARKET, close, slot, "trail", callback=Bps(120), activation=away(100), reduce_only=one_way),
        order(OrderKind.LIMIT, close, slot, "limit", 2, price=away(400), reduce_only=one_way),
    ]


@slots
async def test_orders_come_back_as_they_were_placed(side: Side, slot: PositionSide) -> None:
    async with paper(slot) as (_, gateway):
        await enter(gateway, side, slot)
        asked = {o.client_id: o for o in protection(side, slot)}
        acks = {name: await gateway.place(o) for name, o in asked.items()}
        for symbol in (BTC, None):
            read = {o.client_id: o for o in await gateway.orders(symbol)}
            assert read.keys() == asked.keys()
            for name, got in read.items():
                assert _same(got) == _same(asked[name]), name
                assert got.venue_id == acks[name].order.venue_id
                assert got.status is OrderStatus.NEW
        assert await gateway.orders("ETHUSDT") == ()
        for name, o in asked.items():
            found = await gateway.lookup(BTC, name, conditional=o.kind.conditional)
            assert found is not None
            assert _same(found) == _same(o)
            await gateway.cancel(o)
            with pytest.raises(Refused) as refusal:
                await gateway.cancel(o)
            assert refusal.value.code == -2011
            gone = await gateway.lookup(BTC, name, conditional=o.kind.conditional)
            assert gone is not None
            assert gone.status is OrderStatus.CANCELED
        assert await gateway.orders() == ()


def _same(o: Order) -> Order:
    """What was asked for, without what the exchange adds: ids, times, and reduce-only where the slot or close-position implies it."""
    implied = o.reduce_only or o.close_position or o.position_side is not BOTH
    by = TriggerBy.MARK if not o.kind.conditional else o.trigger_by
    return dataclasses.replace(o, venue_id="", time_ms=0, reduce_only=implied, trigger_by=by)


async def test_unknown_ids_are_none() -> None:
    async with paper() as (_, gateway):
        assert await gateway.lookup(BTC, "nobody", conditional=True) is None
        assert await gateway.lookup(BTC, "nobody", conditional=False) is None


@slots
async def test_triggered_stop_tells_its_child(side: Side, slot: PositionSide) -> None:
    async with paper(slot) as (house, gateway):
        await enter(gateway, side, slot)
        floor, stop, *_ = protection(side, slot)
        await gateway.place(stop)
        assert stop.trigger is not None
        house.tick(stop.trigger - side.sign * 50, after_ms=1_000)
        found = await gateway.lookup(BTC, "stop", conditional=True)
        assert found is not None
        assert (found.kind, found.status, found.filled, found.trigger) == (OrderKind.STOP_MARKET, OrderStatus.FILLED, 10, stop.trigger)
        assert found.average
        assert await gateway.positions() == ()
        assert await gateway.orders() == ()
        with pytest.raises(Refused):
            await gateway.cancel(stop)
        await enter_again(gateway, side, slot)
        await gateway.place(dataclasses.replace(floor, trigger=Ticks(stop.trigger - side.sign * 20_000)))
        house.tick(stop.trigger - side.sign * 20_100, after_ms=1_000)
        closed = await gateway.lookup(BTC, "floor", conditional=True)
        assert closed is not None
        assert (closed.status, closed.filled, closed.lots, closed.close_position) == (OrderStatus.FILLED, 10, 0, True)


async def enter_again(gateway: CcxtGateway, side: Side, slot: PositionSide) -> None:
    await gateway.place(order(OrderKind.MARKET, side.opening, slot, "entry-2"))


@slots
async def test_refusals_carry_their_code(side: Side, slot: PositionSide) -> None:
    async with paper(slot) as (_, gateway):
        await enter(gateway, side, slot)
        floor, stop, *_ = protection(side, slot)
        through = dataclasses.replace(stop, trigger=Ticks(PRICE + side.sign * 1000))
        await gateway.place(floor)
        for asked, code in ((through, -2021), (dataclasses.replace(floor, client_id="floor-2"), -4130)):
            with pytest.raises(Refused) as refusal:
                await gateway.place(asked)
            assert refusal.value.code == code
        other = dataclasses.replace(stop, position_side=BOTH if slot is not BOTH else LONG, reduce_only=False, side=OrderSide.SELL)
        with pytest.raises(Refused) as refusal:
            await gateway.place(other)
        assert refusal.value.code == -4061


async def test_duplicate_id_is_unknown_until_read() -> None:
    async with paper() as (_, gateway):
        await enter(gateway, Side.LONG, BOTH)
        stop = protection(Side.LONG, BOTH)[1]
        await gateway.place(stop)
        with pytest.raises(Unknown, match="-4116"):
            await gateway.place(stop)
        assert [o.client_id for o in await gateway.orders(BTC)] == ["stop"]


@pytest.mark.parametrize(
    ("kind", "error", "placed"),
    [
        (FaultKind.ACCEPT_TIMEOUT, Unknown, True),
        (FaultKind.ACCEPT_DROP, Unknown, True),
        (FaultKind.ACCEPT_503, Unknown, True),
        (FaultKind.DROP, Unknown, False),
        (FaultKind.TIMEOUT, Unknown, False),
        (FaultKind.FAIL_503, Unavailable, False),
        (FaultKind.REFUSE, Unavailable, False),
    ],
)
async def test_faults_of_a_stop(kind: FaultKind, error: type[Exception], placed: bool) -> None:
    async with paper() as (house, gateway):
        await enter(gateway, Side.SHORT, BOTH)
        stop = protection(Side.SHORT, BOTH)[1]
        house.faults.add(Fault(kind=kind, match=Match(verb=Verb.PLACE)))
        with pytest.raises(error):
            await gateway.place(stop)
        assert house.faults.fired[kind] == 1
        assert (await gateway.lookup(BTC, "stop", conditional=True) is not None) is placed


async def test_partial_lists_are_no_lists() -> None:
    async with paper() as (house, gateway):
        house.faults.add(Fault(kind=FaultKind.PARTIAL, match=Match(verb=Verb.ORDERS)))
        with pytest.raises(Unavailable):
            await gateway.orders(BTC)
        assert await gateway.orders(BTC) == ()


async def test_stuck_triggering_is_seen_as_such() -> None:
    async with paper() as (house, gateway):
        await enter(gateway, Side.LONG, BOTH)
        stop = protection(Side.LONG, BOTH)[1]
        await gateway.place(stop)
        house.faults.add(Fault(kind=FaultKind.STUCK_TRIGGERING, match=Match(verb=Verb.TRIGGER)))
        house.tick(PRICE * 97 // 100, after_ms=1000)
        found = await gateway.lookup(BTC, "stop", conditional=True)
        assert found is not None
        assert found.status is OrderStatus.TRIGGERING
        assert [o.status for o in await gateway.orders(BTC)] in ([OrderStatus.TRIGGERING], [])


async def test_balance_and_prices() -> None:
    async with paper() as (house, gateway):
        balance = await gateway.balance()
        assert (balance.equity, balance.available) == (100_000 * ONE, 100_000 * ONE)
        house.tick(PRICE + 5, mark=PRICE - 3)
        quote = await gateway.prices(BTC)
        assert (quote.last, quote.mark, quote.time_ms) == (PRICE + 5, (PRICE - 3) * 10_000_000 + 1, START)


async def test_bars_of_both_prices() -> None:
    async with paper() as (house, gateway):
        for i in range(1, 6):
            house.tick(PRICE + i, mark=PRICE - i, after_ms=MINUTE)
        last = await gateway.bars(BTC, limit=3, by=TriggerBy.LAST)
        assert [(b.time_ms, b.close, b.closed) for b in last] == [(START + i * MINUTE, PRICE + i, i < 5) for i in (3, 4, 5)]
        mark = await gateway.bars(BTC, limit=2, by=TriggerBy.MARK, since_ms=START + MINUTE)
        assert [(b.time_ms, b.close, b.closed) for b in mark] == [(START + i * MINUTE, PRICE - i, True) for i in (1, 2)]
        (five, running) = await gateway.bars(BTC, limit=2, by=TriggerBy.LAST, minutes=5, since_ms=START - START % (5 * MINUTE))
        assert (five.closed, running.closed) == (True, False)
        with pytest.raises(PolicyError, match="minutes is one of"):
            await gateway.bars(BTC, limit=1, by=TriggerBy.LAST, minutes=7)


async def test_many_bars_are_paged() -> None:
    async with paper() as (house, gateway):
        for i in range(1, 2_205):
            house.tick(PRICE + i % 7, after_ms=MINUTE)
        bars = await gateway.bars(BTC, limit=2_200, by=TriggerBy.LAST)
        assert [b.time_ms for b in bars] == [house.exchange.now_ms - i * MINUTE for i in reversed(range(2_200))]
        assert [b.closed for b in bars] == [True] * 2_199 + [False]


class Ear:
    """Collects what ``events`` yields."""

    def __init__(self, gateway: CcxtGateway) -> None:
        self.heard: list[Event] = []
        self._task = asyncio.create_task(self._listen(gateway))

    async def _listen(self, gateway: CcxtGateway) -> None:
        async for event in gateway.events():
            self.heard.append(event)

    async def until(self, wanted: Any, seconds: float = 8.0) -> Any:
        """The first event for which ``wanted`` is true, from now on or from before."""
        for _ in range(int(seconds / 0.02)):
            for event in self.heard:
                if wanted(event):
                    return event
            await asyncio.sleep(0.02)
        raise AssertionError(f"not heard within {seconds} s: {self.heard[-5:]}")

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def listening(house: Paper, gateway: CcxtGateway, by: TriggerBy) -> AsyncIterator[Ear]:
    """An ear on BTC whose two sockets are up."""
    gateway.watch(frozenset({BTC}), by=by)
    ear = Ear(gateway)
    await settled(house)
    try:
        yield ear
    finally:
        await ear.stop()


async def settled(house: Paper, sockets: int = 2) -> None:
    for _ in range(400):
        hub = house.server.hub
        if len(hub.sockets) == sockets and hub.has_user("main") and len(hub.streams_of("btcusdt")) == 3:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the sockets did not come up")


@pytest.mark.parametrize("by", TriggerBy)
async def test_prices_and_closed_bars_are_heard(by: TriggerBy) -> None:
    async with paper() as (house, gateway), listening(house, gateway, by) as ear:
        house.tick(PRICE + 1, mark=PRICE - 1, after_ms=1_000)
        await ear.until(lambda e: isinstance(e, Quote) and e.last == PRICE + 1 and e.mark is None)
        await ear.until(lambda e: isinstance(e, Quote) and e.mark == (PRICE - 1) * 10_000_000 + 1 and e.last is None)
        house.tick(PRICE + 2, mark=PRICE - 2, after_ms=MINUTE)
        first = await ear.until(lambda e: isinstance(e, BarClosed))
        close = PRICE + 1 if by is TriggerBy.LAST else PRICE - 1
        assert (first.bar.time_ms, first.bar.close, first.bar.closed) == (START, close, True)
        house.tick(PRICE + 3, mark=PRICE - 3, after_ms=3 * MINUTE)
        await ear.until(lambda e: isinstance(e, BarClosed) and e.bar.time_ms == START + 3 * MINUTE)
        times = [e.bar.time_ms for e in ear.heard if isinstance(e, BarClosed)]
        assert times == [START + i * MINUTE for i in range(4)], "each minute once, in order"


@slots
async def test_nudges_name_the_symbol_and_the_end(side: Side, slot: PositionSide) -> None:
    async with paper(slot) as (house, gateway), listening(house, gateway, TriggerBy.MARK) as ear:
        await ear.until(lambda e: e == Nudge(symbol=None))
        await enter(gateway, side, slot)
        await ear.until(lambda e: e == Nudge(symbol=BTC))
        assert Nudge(symbol=BTC, flat=slot) not in ear.heard
        await gateway.place(order(OrderKind.MARKET, side.closing, slot, "exit", reduce_only=True))
        await ear.until(lambda e: e == Nudge(symbol=BTC, flat=slot))


@pytest.mark.parametrize("code", [1001, 1006, 1008])
async def test_lost_sockets_come_back_and_bars_are_made_up(code: int) -> None:
    async with paper() as (house, gateway), listening(house, gateway, TriggerBy.LAST) as ear:
        house.tick(PRICE + 1, after_ms=MINUTE)
        await ear.until(lambda e: isinstance(e, BarClosed) and e.bar.time_ms == START)
        ear.heard.clear()
        house.server.hub.close_all(code)
        await house.server.hub.drained()
        for i in range(2, 5):
            house.tick(PRICE + i, after_ms=MINUTE)
        await ear.until(lambda e: e == Nudge(symbol=None))
        await settled(house)
        house.tick(PRICE + 9, after_ms=MINUTE)
        await ear.until(lambda e: isinstance(e, BarClosed) and e.bar.time_ms == START + 4 * MINUTE)
        assert [e.bar.time_ms for e in ear.heard if isinstance(e, BarClosed)] == [START + i * MINUTE for i in (1, 2, 3, 4)]


async def test_one_dead_stream_leaves_the_other() -> None:
    async with paper() as (house, gateway), listening(house, gateway, TriggerBy.MARK) as ear:
        house.server.hub.close_user("main", 1001)
        house.tick(PRICE + 4)
        await ear.until(lambda e: isinstance(e, Quote) and e.last == PRICE + 4)
        await settled(house)


async def test_listen_key_is_kept_alive() -> None:
    async with paper(ttl_ms=1_200, keep_alive_s=0.3) as (house, gateway), listening(house, gateway, TriggerBy.MARK) as ear:

        def asked() -> list[str]:
            return [r.method for r in house.server.requests if r.path == "/fapi/v1/listenKey"]

        async with asyncio.timeout(20):
            while asked().count("PUT") < 5:  # longer than the key would live by itself
                await asyncio.sleep(0.1)
        await enter(gateway, Side.LONG, BOTH)
        await ear.until(lambda e: e == Nudge(symbol=BTC))
        assert asked().count("POST") == 1


async def test_expired_listen_key_is_replaced() -> None:
    async with paper(ttl_ms=700) as (house, gateway), listening(house, gateway, TriggerBy.MARK) as ear:
        await ear.until(lambda e: e == Nudge(symbol=None))
        ear.heard.clear()
        await ear.until(lambda e: e == Nudge(symbol=None))
        await settled(house)
        await enter(gateway, Side.LONG, BOTH)
        await ear.until(lambda e: e == Nudge(symbol=BTC))


async def test_silent_prices_are_dialled_again() -> None:
    async with paper(quiet_s=0.5) as (house, gateway), listening(house, gateway, TriggerBy.MARK) as ear:
        await ear.until(lambda e: e == Nudge(symbol=None))
        before = set(house.server.hub.sockets)
        await asyncio.sleep(1.5)
        await settled(house)
        assert len(set(house.server.hub.sockets) & before) == 1, "the user's socket stays, the prices' is new"


async def test_watched_symbols_change_on_the_open_socket() -> None:
    async with paper() as (house, gateway), listening(house, gateway, TriggerBy.MARK) as ear:
        sockets = set(house.server.hub.sockets)
        gateway.watch(frozenset({"ETHUSDT"}), by=TriggerBy.MARK)
        for _ in range(200):
            if house.server.hub.streams_of("ethusdt") and not house.server.hub.streams_of("btcusdt"):
                break
            await asyncio.sleep(0.02)
        house.exchange.tick("ETHUSDT", Ticks(200_000), E8(2_000 * ONE), START + 5_000)
        await ear.until(lambda e: isinstance(e, Quote) and e.symbol == "ETHUSDT")
        assert set(house.server.hub.sockets) == sockets
        with pytest.raises(PolicyError, match="BTCUSD "):
            gateway.watch(frozenset({"BTCUSD"}), by=TriggerBy.MARK)


async def test_closing_ends_the_reader_and_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = asyncio.all_tasks()
        house = Paper(hedge=False)
        await house.server.start()
        gateway = await house.gateway()
        gateway.watch(frozenset({BTC}), by=TriggerBy.LAST)
        ear = Ear(gateway)
        await settled(house)
        await gateway.close()
        await asyncio.wait_for(ear._task, 2)
        with pytest.raises(Unavailable, match="closed"):
            await gateway.positions()
        await gateway.close()
        await house.server.stop()
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == before
        del gateway, ear, house
        gc.collect()
    assert [r.message for r in caplog.records if r.name.startswith(("asyncio", "aiohttp.client", "ccxt"))] == []


async def test_reader_survives_a_restart_of_the_exchange() -> None:
    async with paper() as (house, gateway), listening(house, gateway, TriggerBy.MARK) as ear:
        port = house.server.port
        await house.server.stop()
        with pytest.raises(Unavailable, match="nothing was sent"):
            await gateway.positions()
        ear.heard.clear()
        await asyncio.sleep(0.5)
        await house.server.start(port=port)
        await settled(house)
        house.tick(PRICE + 7)
        await ear.until(lambda e: isinstance(e, Quote) and e.last == PRICE + 7)
        await ear.until(lambda e: e == Nudge(symbol=None))


@pytest.mark.parametrize("together", [False, True], ids=["one after the other", "at once"])
async def test_two_desks_of_one_address_both_go_by_the_exchanges_count(together: bool) -> None:
    """Each may take all of the limit, and neither knows the other's requests but by the header: the exchange has no reason to ban them."""
    async with paper() as (house, first):
        house.exchange.open_account("other", balance=E8(100_000 * ONE), hedge=False)
        house.server._rest._keys = {**house.server._rest._keys, "key2": ("secret2", "other")}
        url = f"http://127.0.0.1:{house.server.port}"
        second = CcxtGateway("other", base_url=url, api_key="key2", secret="secret2", budget=Budget(100), timeout_s=2.0)
        try:
            await second.start()
            ends: list[str] = []

            async def reads(gateway: CcxtGateway) -> None:
                try:
                    for _ in range(40):  # as a pass does, 85 each: more than the address has
                        await gateway.positions()
                        await gateway.orders()
                except Unavailable as error:
                    ends.append(str(error))

            if together:
                await asyncio.gather(reads(first), reads(second))
            else:
                for gateway in (first, second):
                    await reads(gateway)
            budgets = [gateway._session._budget for gateway in (first, second)]
            assert len(ends) == 2 and all("by the whole address" in end for end in ends), ends
            assert all(budget.banned_for == 0 and budget.used_by_address > 2_200 for budget in budgets)
            assert sum(budget.used_last_minute for budget in budgets) <= 2_400, "none was sent that the exchange would refuse"
        finally:
            await second.close()
