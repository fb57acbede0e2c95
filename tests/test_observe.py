"""What is read when: within the request budget, and without one reading's trouble stopping the others."""

from collections import Counter

import pytest

from qtkit.core.model import Order, Side
from qtkit.observe import LISTS_EVERY_MS, SWEEP_EVERY_MS, Observer
from qtkit.paper.gateway import PaperGateway
from qtkit.venue.gateway import Unavailable
from tests.story.rig import World

SYMBOLS = ("AVAXUSDT", "BTCUSDT", "LTCUSDT")


class Counted(PaperGateway):
    """A gateway that counts what is asked, and cannot read the whole account, or some symbols, while told so."""

    asked: Counter[str]
    blind = False
    dark: tuple[str, ...] = ()

    async def orders(self, symbol: str | None = None) -> tuple[Order, ...]:
        self.asked[symbol or "all"] += 1
        if (symbol is None and self.blind) or symbol in self.dark:
            raise Unavailable("not now")
        return await super().orders(symbol)


def observed(side: Side) -> tuple[World, Counted, Observer]:
    world = World()
    for symbol in SYMBOLS:
        world.stranger(symbol, side, 1)
    gateway = Counted(world.exchange, "paper")
    gateway.asked = Counter()
    return world, gateway, Observer(gateway)


@pytest.mark.parametrize("side", Side)
async def test_one_reading_of_the_account_stands_for_those_of_its_symbols(side: Side) -> None:
    _, gateway, observer = observed(side)
    first = await observer.observe((), 1_000_000, 0)
    assert {snapshot.symbol for snapshot in first} == set(SYMBOLS) and all(snapshot.stable for snapshot in first)
    assert gateway.asked == {"all": 1}
    await observer.observe((), 1_000_000 + LISTS_EVERY_MS - 1, 0)
    assert gateway.asked == {"all": 1}
    await observer.observe((), 1_000_000 + LISTS_EVERY_MS, 0)
    assert gateway.asked == {"all": 1, **dict.fromkeys(SYMBOLS, 1)}
    await observer.observe((), 1_000_000 + SWEEP_EVERY_MS, 0)
    assert gateway.asked == {"all": 2, **dict.fromkeys(SYMBOLS, 1)}


@pytest.mark.parametrize("side", Side)
async def test_positions_are_seen_while_the_whole_account_cannot_be_read(side: Side) -> None:
    _, gateway, observer = observed(side)
    gateway.blind = True
    seen = await observer.observe((), 1_000_000, 0)
    assert {snapshot.symbol for snapshot in seen} == set(SYMBOLS)
    await observer.observe((), 1_002_000, 0)
    assert gateway.asked["all"] == 1, "not again in the next pass"
    gateway.blind = False
    await observer.observe((), 1_000_000 + LISTS_EVERY_MS, 0)
    await observer.observe((), 1_000_000 + LISTS_EVERY_MS + 2_000, 0)
    assert gateway.asked["all"] == 2


@pytest.mark.parametrize("side", Side)
async def test_lists_that_had_to_be_read_and_could_not_are_not_current(side: Side) -> None:
    _, gateway, observer = observed(side)
    assert all(snapshot.current for snapshot in await observer.observe((), 1_000_000, 0))
    gateway.dark = SYMBOLS[:1]
    for at_ms, old in ((1_001_000, set()), (1_001_000 + LISTS_EVERY_MS, set(SYMBOLS[:1]))):
        seen = await observer.observe((), at_ms, 0)
        assert {snapshot.symbol for snapshot in seen if not snapshot.current} == old, "only what was due and could not be read"
    observer.due(SYMBOLS[1:2])
    gateway.dark = SYMBOLS[1:2]
    seen = await observer.observe((), 1_002_000 + LISTS_EVERY_MS, 0)
    assert {snapshot.symbol for snapshot in seen if not snapshot.current} == set(SYMBOLS[1:2])


@pytest.mark.parametrize("side", Side)
async def test_as_much_at_another_entry_brings_the_lists_of_its_symbol_forward(side: Side) -> None:
    world, gateway, observer = observed(side)
    await observer.observe((), 1_000_000, 0)
    world.leaves(SYMBOLS[0], side, 1)
    world.move(SYMBOLS[0], side, 1)
    world.stranger(SYMBOLS[0], side, 1)
    await observer.observe((), 1_000_001, 0)
    assert gateway.asked == {"all": 1, SYMBOLS[0]: 1}
