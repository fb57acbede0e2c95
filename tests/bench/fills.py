"""From the fill of an entry to its resting stop, over ccxt against the paper exchange's server, by the exchange's own times.

The desk runs in a process of its own (this file as a script), the exchange in the caller's, on loopback. Each entry is made by the
desk's executor, with a real journal. What is timed lies between two events of the exchange: the entry's fill, and the first stop of the
position that it took. An armed stop that rested before the fill counts 0. The request budget is lifted: what it would hold back is not what
is measured; the exchange's own limits are lifted as well.
"""

import argparse
import asyncio
import json
import os
import time
from pathlib import Path

from qtkit.core.model import ONE, OrderKind, OrderStatus
from qtkit.home import Paths
from qtkit.paper.exchange import AccountEvent
from qtkit.paper.rows import AlgoStatus, AlgoUpdate, OrderUpdate
from qtkit.paper.rules import Rules
from tests.bench.rig import Market, environment, process, served

SYMBOLS = 8
BOUND_MS = 50.0
NO_LIMIT = 10_000_000
NOTIONAL = 500
WAIT_S = 600.0

Row = tuple[str, float, str, float | None, str]


class Times:
    """When the exchange filled our entries and took our stops, by its own clock (ns), by symbol and direction of the position."""

    def __init__(self) -> None:
        self.spent: list[int] = []
        self.armed = 0
        self.unprotected = 0
        self._filled: dict[str, int] = {}
        self._stops: dict[str, str] = {}

    def hear(self, event: AccountEvent) -> None:
        """An event of the exchange, in the moment in which it happens."""
        now = time.perf_counter_ns()
        if isinstance(event, OrderUpdate) and event.order.client_id[6:8] == "e0" and event.order.status is OrderStatus.FILLED:
            if event.order.symbol in self._stops:
                self.armed += 1
                self.spent.append(0)
            else:
                self._filled[event.order.symbol] = now
        elif isinstance(event, AlgoUpdate) and event.algo.kind is OrderKind.STOP_MARKET:
            self._hear_stop(event, now)

    def _hear_stop(self, event: AlgoUpdate, now: int) -> None:
        symbol, client_id = event.algo.symbol, event.algo.client_id
        if event.algo.status is AlgoStatus.NEW:
            self._stops.setdefault(symbol, client_id)
            filled = self._filled.pop(symbol, None)
            if filled is not None:
                self.spent.append(now - filled)
        elif self._stops.get(symbol) == client_id:
            del self._stops[symbol]


async def measured(place: Path, entries: int) -> list[Row]:
    """Rows of ``live``: armed before the entry, and placed on the fill."""
    return [row for flat in (True, False) for row in await _rows(place / ("armed" if flat else "placed"), entries, stop_while_flat=flat)]


async def _rows(home: Path, entries: int, *, stop_while_flat: bool) -> list[Row]:
    home.mkdir(parents=True)
    market = Market(SYMBOLS, rules=Rules(stop_while_flat=stop_while_flat))
    times = Times()
    market.exchange.listeners.append(times.hear)
    async with served(market, home, weight_limit=NO_LIMIT) as server:
        arguments = ["-m", "tests.bench.fills", "--entries", str(entries), *([] if stop_while_flat else ["--on-fill"])]
        log = home / "desk.out"
        with process(arguments, environment(home, server.port), log) as child:
            end = time.monotonic() + WAIT_S
            while child.poll() is None and time.monotonic() < end:
                await asyncio.sleep(0.1)
            if child.returncode != 0:
                raise RuntimeError(f"the desk that makes the entries ended with {child.returncode}:\n{log.read_text()[-3_000:]}")
    spent = sorted(times.spent)
    if len(spent) < entries:
        raise RuntimeError(f"of {entries} entries {len(spent)} were seen with a stop")
    name = "fill to resting stop, armed before" if stop_while_flat else "fill to resting stop, placed on the fill"
    note = f"{len(spent)} entries, {times.armed} with a stop that rested before the fill; longest {spent[-1] / 1e6:.1f} ms"
    return [
        (f"{name}, p50", spent[len(spent) // 2] / 1e6, "ms", None, note),
        (f"{name}, p99", spent[min(len(spent) - 1, int(len(spent) * 0.99))] / 1e6, "ms", BOUND_MS, ""),
    ]


async def enter(entries: int, *, on_fill: bool) -> None:
    """The desk's side: open and close positions one after another."""
    from dataclasses import replace

    from qtkit import logs
    from qtkit.core.model import PolicyError
    from qtkit.desk import gateway_of, opened, traits_of
    from qtkit.home import PaperKeys
    from qtkit.settings import Settings, account_of
    from qtkit.venue.budget import Budget

    logs.configure()

    class Lifted(Budget):
        """A budget that holds nothing back."""

        async def take(self, weight: int, *, protective: bool, orders: int = 0) -> None:
            return

    paths = Paths.here()
    settings = Settings.load(paths.home)
    account = account_of(settings, "paper")
    gateway = gateway_of(account, PaperKeys.read(paths.paper_keys("paper")), settings)
    gateway._session._budget = Lifted()  # type: ignore[attr-defined]
    traits = replace(traits_of("binanceusdm"), stop_while_flat=not on_fill)
    stop = asyncio.Event()
    async with opened(settings, "paper", gateway=gateway, traits=traits) as desk:
        running = asyncio.create_task(desk.run(stop))
        symbols = sorted(gateway.instruments)
        for number in range(entries):
            symbol = symbols[number % len(symbols)]
            price = (await gateway.prices(symbol)).last or 1
            instrument = gateway.instruments[symbol]
            coins = max(1, NOTIONAL * ONE * ONE // (price * instrument.tick) // instrument.lot) * instrument.lot / ONE
            try:
                await desk.executor.place_order(symbol, ("BUY", "SELL")[number // len(symbols) % 2], coins)
            except PolicyError as error:
                raise SystemExit(f"entry {number} of {symbol}: {error}") from error
            left = await desk.flatten(tuple(desk.applier.book.episodes))
            if left:
                raise SystemExit(f"entry {number} of {symbol} could not be closed again")
        stop.set()
        await running
    print(json.dumps({"entries": entries, "pid": os.getpid()}))


def main() -> None:
    """The desk's process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=50)
    parser.add_argument("--on-fill", action="store_true", help="the exchange takes no stop while flat: it is placed on the fill")
    given = parser.parse_args()
    asyncio.run(enter(given.entries, on_fill=given.on_fill))


if __name__ == "__main__":
    main()
