"""Live public prices over ccxt.pro, from the paper server as the network, into another paper exchange."""

import asyncio

import pytest

from qtkit.core.model import E8, PolicyError, Ticks
from qtkit.paper.exchange import Exchange
from qtkit.paper.live import LivePump
from qtkit.paper.tape import INSTRUMENTS
from qtkit.venue.ccxt_prices import CcxtPrices
from qtkit.venue.gateway import Quote
from tests.paper.server_rig import rig

WANTED = {symbol: INSTRUMENTS[symbol] for symbol in ("BTCUSDT", "LTCUSDT")}


async def until(true: object, within_s: float = 10.0) -> None:
    for _ in range(int(within_s / 0.02)):
        if true():  # type: ignore[operator]
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to that")


async def test_a_paper_exchange_lives_on_the_prices_of_another() -> None:
    async with rig() as network:
        here = Exchange(start_ms=0)
        source = CcxtPrices(WANTED, base_url=network.base, pause_s=0.05)
        async with LivePump(here, source, WANTED) as pump:
            waiting = asyncio.create_task(pump.wait(20))
            while not waiting.done():
                network.tick("BTCUSDT", "96001.5", "96010.25")
                network.tick("LTCUSDT", "83.12", "83.1")
                network.tick("ETHUSDT", "3001")
                await asyncio.sleep(0.05)
            await waiting
            assert (here.book("BTCUSDT").last, here.book("BTCUSDT").mark) == (9_600_150_000_000, 9_601_025_000_000)
            network.tick("BTCUSDT", "95000", "95100")
            await until(lambda: here.book("BTCUSDT").mark == 9_510_000_000_000 and here.book("BTCUSDT").last == 9_500_000_000_000)
            assert here.now_ms == network.at_ms and pump.fault is None and not pump.finished
            network.server.hub.close_all(1012)
            await asyncio.sleep(0.3)

            def again() -> bool:
                network.tick("LTCUSDT", "84", "84.05")
                return here.book("LTCUSDT").mark == 8_405_000_000

            await until(again)


async def test_nothing_but_the_exchange_or_loopback_is_asked() -> None:
    with pytest.raises(PolicyError, match="neither Binance's futures exchange"):
        CcxtPrices(WANTED, base_url="https://example.org")
    with pytest.raises(PolicyError, match="need the symbols"):
        CcxtPrices({})


class Told:
    """A source that tells these quotes and then ends, or fails."""

    def __init__(self, quotes: list[Quote], failure: Exception | None = None) -> None:
        self.quotes, self.failure = quotes, failure

    async def prices(self):  # type: ignore[no-untyped-def]
        for quote in self.quotes:
            yield quote
        if self.failure:
            raise self.failure


def quote(symbol: str, last: int | None, mark: int | None, at: int) -> Quote:
    return Quote(symbol=symbol, last=None if last is None else Ticks(last), mark=None if mark is None else E8(mark), time_ms=at)


async def test_a_price_counts_when_last_and_mark_are_known_and_time_never_runs_back() -> None:
    fed: list[tuple[str, int, int, int]] = []

    class Taker:
        def tick(self, symbol: str, last: Ticks, mark: E8, at_ms: int, traded: E8 | None = None) -> None:
            fed.append((symbol, last, mark, at_ms))

    told = [quote("BTCUSDT", 5, None, 10), quote("BTCUSDT", None, 7, 12), quote("ETHUSDT", 1, 1, 12), quote("BTCUSDT", 6, None, 11)]
    async with LivePump(Taker(), Told([*told, quote("BTCUSDT", 0, -3, 13)]), ["BTCUSDT"]) as pump:
        await until(lambda: pump.finished)
    assert fed == [("BTCUSDT", 5, 7, 12), ("BTCUSDT", 6, 7, 12), ("BTCUSDT", 6, 7, 13)]
    assert (pump.fed, pump.passed_over, pump.fault) == (3, 1, "the source of live prices has ended")


async def test_a_source_that_fails_is_told_and_what_waits_for_it_does_not_wait_on() -> None:
    source = Told([quote("BTCUSDT", 5, None, 10)], RuntimeError("no route"))
    async with LivePump(Exchange(), source, ["BTCUSDT"]) as pump:
        with pytest.raises(PolicyError, match=r"no live price of BTCUSDT came within 5 s: .* failed \(RuntimeError: no route\)"):
            await pump.wait(5)
