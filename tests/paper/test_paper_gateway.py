"""The in-process gateway: the protocol's answers, its error tree, and every fault a desk must survive."""

import asyncio

import pytest

from qtkit.core.model import Bps, Lots, Order, OrderKind, OrderStatus, PolicyError, PositionSide, Side, Ticks, TriggerBy
from qtkit.paper.faults import Call, Fault, FaultKind, Faults, Match, Verb
from qtkit.paper.gateway import PaperGateway
from qtkit.venue.gateway import BarClosed, Gateway, Nudge, Quote, Refused, Unavailable, Unknown
from tests.paper.engine import BTC, SIDES, World, money


def order(world: World, kind: OrderKind = OrderKind.MARKET, client_id: str = "a", *, opening: bool = False, **more: object) -> Order:
    """An order as the desk writes it; by default one that reduces."""
    side = world.side.opening if opening else world.side.closing
    fields = {"lots": Lots(100), "position_side": PositionSide.BOTH, "reduce_only": not opening} | more
    return Order(symbol=BTC, client_id=client_id, kind=kind, side=side, **fields)  # type: ignore[arg-type]


def stop(world: World, percent: float = -2, client_id: str = "s") -> Order:
    """A reducing stop on the mark."""
    return order(world, OrderKind.STOP_MARKET, client_id, trigger=Ticks(round(world.away(percent) * 10)))


async def opened(side: Side, *faults: Fault) -> tuple[World, PaperGateway, Faults]:
    """A started gateway with a position of 0.1."""
    world, script = World(side), Faults()
    gateway = PaperGateway(world.ex, "main", script)
    protocol: Gateway = gateway
    await protocol.start()
    world.enter(0.1)
    for fault in faults:
        script.add(fault)
    return world, gateway, script


@SIDES
async def test_a_stop_is_placed_read_back_and_followed_to_its_fill(side: Side) -> None:
    world, gateway, _ = await opened(side)
    asked = stop(world)
    ack = await gateway.place(asked)
    (seen,) = await gateway.orders(BTC)
    assert seen == ack.order and seen.venue_id
    assert (seen.trigger, seen.lots, seen.kind, seen.side, seen.trigger_by) == (
        asked.trigger,
        asked.lots,
        asked.kind,
        asked.side,
        TriggerBy.MARK,
    )
    (position,) = await gateway.positions()
    assert (position.side, position.lots, position.entry) == (side, 100, money(100_000))
    world.price(world.away(-3))
    assert await gateway.orders() == () and await gateway.positions() == ()
    done = await gateway.lookup(BTC, "s", conditional=True)
    assert done is not None and done.status is OrderStatus.FILLED and done.filled == 100 and done.average == money(world.away(-3))
    child = await gateway.lookup(BTC, "s", conditional=False)
    assert child is not None and child.kind is OrderKind.MARKET
    assert await gateway.lookup(BTC, "none", conditional=True) is None
    assert await gateway.lookup(BTC, "none", conditional=False) is None


@SIDES
async def test_entries_limits_trails_and_cancels(side: Side) -> None:
    world, gateway, _ = await opened(side)
    ack = await gateway.place(order(world, OrderKind.LIMIT, "l", opening=True, price=Ticks(round(world.away(-1) * 10))))
    assert ack.order.status is OrderStatus.NEW and ack.order.price == round(world.away(-1) * 10)
    trail = order(world, OrderKind.TRAILING_STOP_MARKET, "t", callback=Bps(100), activation=Ticks(round(world.away(2) * 10)))
    sent = await gateway.place(trail)
    assert not sent.order.activated and sent.order.callback == 100 and sent.order.trigger is None
    world.price(world.away(2))
    assert [o.activated for o in await gateway.orders(BTC) if o.client_id == "t"] == [True]
    for each in await gateway.orders():
        await gateway.cancel(each)
    assert await gateway.orders() == ()
    with pytest.raises(Refused) as info:
        await gateway.cancel(trail)
    assert info.value.code == -2011
    cancelled = await gateway.lookup(BTC, "l", conditional=False)
    assert cancelled is not None and cancelled.status is OrderStatus.CANCELED


@SIDES
async def test_refusals_keep_their_code_and_duplicates_are_unknown(side: Side) -> None:
    world, gateway, _ = await opened(side)
    with pytest.raises(Refused) as info:
        await gateway.place(stop(world, 1))
    assert info.value.code == -2021
    await gateway.place(stop(world))
    with pytest.raises(Unknown, match="-4116"):
        await gateway.place(stop(world))
    with pytest.raises(Refused):
        await gateway.set_leverage(BTC, 200)
    await gateway.set_leverage(BTC, 50)
    assert (await gateway.positions())[0].leverage == 50
    assert (await gateway.balance()).equity == world.wallet.equity
    assert not gateway.hedge and gateway.instruments[BTC].tick == 10_000_000


PLACE = Match(verb=Verb.PLACE, conditional=True)


@SIDES
@pytest.mark.parametrize(
    ("kind", "error", "arrived"),
    [
        (FaultKind.ACCEPT_TIMEOUT, Unknown, True),
        (FaultKind.ACCEPT_DROP, Unknown, True),
        (FaultKind.ACCEPT_503, Unknown, True),
        (FaultKind.TIMEOUT, Unknown, False),
        (FaultKind.DROP, Unknown, False),
        (FaultKind.FAIL_503, Unavailable, False),
        (FaultKind.REFUSE, Unavailable, False),  # -1008 by default
    ],
)
async def test_faults_of_placing(side: Side, kind: FaultKind, error: type[Exception], arrived: bool) -> None:
    world, gateway, script = await opened(side, Fault(kind=kind, match=PLACE))
    with pytest.raises(error):
        await gateway.place(stop(world))
    assert bool(await gateway.orders(BTC)) is arrived and script.fired[kind] == 1
    if not arrived:
        await gateway.place(stop(world))


@SIDES
async def test_a_generic_refusal_and_a_double_delivery(side: Side) -> None:
    world, gateway, _ = await opened(
        side, Fault(kind=FaultKind.REFUSE, match=PLACE, code=-2021, message="Order would immediately trigger.")
    )
    with pytest.raises(Refused) as info:
        await gateway.place(stop(world))
    assert info.value.code == -2021
    world, gateway, _ = await opened(side, Fault(kind=FaultKind.DUPLICATE, match=PLACE))
    await gateway.place(stop(world))
    assert len(await gateway.orders()) == 1


@SIDES
async def test_faults_of_cancelling(side: Side) -> None:
    world, gateway, _ = await opened(
        side,
        Fault(kind=FaultKind.NOT_FOUND, match=Match(verb=Verb.CANCEL)),
        Fault(kind=FaultKind.ACCEPT_TIMEOUT, match=Match(verb=Verb.CANCEL)),
    )
    await gateway.place(stop(world))
    with pytest.raises(Refused) as info:
        await gateway.cancel(stop(world))
    assert info.value.code == -2011 and len(await gateway.orders()) == 1
    with pytest.raises(Unknown):
        await gateway.cancel(stop(world))
    assert await gateway.orders() == ()


@SIDES
async def test_faults_of_reading(side: Side) -> None:
    lists = Match(verb=Verb.ORDERS, conditional=True)
    world, gateway, script = await opened(side)
    await gateway.place(stop(world))
    script.add(Fault(kind=FaultKind.PARTIAL, match=lists))
    with pytest.raises(Unavailable):
        await gateway.orders()
    script.add(Fault(kind=FaultKind.READ_LAG, match=lists, delay_ms=3_000))
    assert await gateway.orders() == ()
    assert len(await gateway.orders()) == 1
    script.add(Fault(kind=FaultKind.READ_LAG, match=Match(verb=Verb.LOOKUP), delay_ms=3_000))
    assert await gateway.lookup(BTC, "s", conditional=True) is None
    script.add(Fault(kind=FaultKind.EMPTY, match=Match(verb=Verb.POSITIONS)))
    assert await gateway.positions() == ()
    assert len(await gateway.positions()) == 1
    for verb, read in (
        (Verb.POSITIONS, gateway.positions),
        (Verb.BALANCE, gateway.balance),
        (Verb.PRICES, lambda: gateway.prices(BTC)),
        (Verb.LOOKUP, lambda: gateway.lookup(BTC, "s", conditional=True)),
        (Verb.BARS, lambda: gateway.bars(BTC, limit=1, by=TriggerBy.LAST)),
    ):
        for kind in (FaultKind.TIMEOUT, FaultKind.DROP, FaultKind.FAIL_503, FaultKind.REFUSE):
            script.add(Fault(kind=kind, match=Match(verb=verb), code=-1007))
            with pytest.raises(Unavailable):
                await read()


@SIDES
async def test_a_stop_stuck_in_triggering(side: Side) -> None:
    world, gateway, _ = await opened(side, Fault(kind=FaultKind.STUCK_TRIGGERING, match=Match(verb=Verb.TRIGGER, client_prefix="s")))
    await gateway.place(stop(world))
    world.price(world.away(-3))
    (seen,) = await gateway.orders()
    assert seen.status is OrderStatus.TRIGGERING and not seen.status.working and len(await gateway.positions()) == 1
    with pytest.raises(Refused) as info:
        await gateway.cancel(seen)
    assert info.value.code == -2011


async def test_prices_and_bars() -> None:
    world = World()
    gateway = PaperGateway(world.ex, "main")
    quote = await gateway.prices(BTC)
    assert (quote.last, quote.mark) == (1_000_000, money(100_000))
    unpriced = await gateway.prices("ETHUSDT")
    assert (unpriced.last, unpriced.mark, unpriced.time_ms) == (None, None, world.ex.now_ms)
    with pytest.raises(Refused):
        await gateway.prices("XYZUSDT")
    world.price(100_100, ms=60_000)
    closed, running = await gateway.bars(BTC, limit=10, by=TriggerBy.MARK)
    assert closed.closed and not running.closed and running.close == 1_001_000
    assert await gateway.bars(BTC, limit=10, by=TriggerBy.MARK, since_ms=running.time_ms) == (running,)


@SIDES
async def test_events(side: Side) -> None:
    world, gateway, script = await opened(side)
    gateway.watch(frozenset({BTC}), by=TriggerBy.MARK)
    stream = gateway.events()
    await gateway.place(stop(world))
    told = [await anext(stream) for _ in range(len(gateway._backlog))]
    assert Nudge(symbol=BTC) in told
    world.price(world.away(-1), ms=60_000)
    world.price(world.away(-3))
    told = [await anext(stream) for _ in range(len(gateway._backlog))]
    assert any(isinstance(event, BarClosed) and event.bar.closed for event in told)
    assert sum(isinstance(event, Quote) for event in told) == 2
    assert Nudge(symbol=BTC, flat=PositionSide.BOTH) in told
    script.add(Fault(kind=FaultKind.SILENT_STREAM, match=Match(verb=Verb.EVENT), times=None))
    world.enter(0.1)
    assert not gateway._backlog
    script.clear()
    script.add(Fault(kind=FaultKind.DUPLICATE, match=Match(verb=Verb.EVENT)))
    world.limit(side.opening, world.away(-4))
    assert len(gateway._backlog) == 2
    waiting = asyncio.ensure_future(_drain(stream))
    await asyncio.sleep(0)
    await gateway.close()
    assert await waiting == 2
    world.price(world.away(-3))
    assert not gateway._backlog and world.ex.hold_trigger is None


async def _drain(stream: object) -> int:
    return len([event async for event in stream])  # type: ignore[attr-defined]


async def test_two_accounts_do_not_see_each_other() -> None:
    world, first, _ = await opened(Side.LONG)
    world.ex.open_account("second", balance=money(10_000), hedge=True)
    second = PaperGateway(world.ex, "second", Faults([Fault(kind=FaultKind.STUCK_TRIGGERING, times=None)]))
    await second.start()
    await first.place(stop(world))
    assert second.hedge and await second.positions() == () and await second.orders() == () and not second._backlog
    world.price(97_000)
    assert await first.positions() == ()  # the other account's faults are not ours


def test_an_unknown_account_is_named() -> None:
    with pytest.raises(PolicyError, match="open: main"):
        PaperGateway(World().ex, "mian")


def test_calls_are_plain_values() -> None:
    assert Call(verb=Verb.BALANCE) == Call(verb=Verb.BALANCE)
