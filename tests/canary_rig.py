"""A served paper exchange whose time and prices go on by themselves, and an account of it in the home of the test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from qtkit.account import Account
from qtkit.apply import wall_ms as now_ms
from qtkit.core.desired import Traits
from qtkit.core.model import E8, ONE, OrderKind, PositionSide, Scope, Side, Ticks
from qtkit.home import PaperKeys, Paths
from qtkit.keys import Keys, keys_of
from qtkit.paper.actor import acting
from qtkit.paper.exchange import Exchange
from qtkit.paper.facts import FACTS
from qtkit.paper.faults import Faults
from qtkit.paper.rows import NewOrder
from qtkit.paper.rules import Rules
from qtkit.paper.server import PaperServer
from qtkit.settings import Settings

NAMES = ("floor_beside_stop", "conditional_reserves", "stop_while_flat")
PRICES = {"XRPUSDT": "2.1", "BTCUSDT": "93475.8", "ADAUSDT": "0.4693"}
TICK_S = 0.02


def traits_of(rules: Rules) -> Traits:
    """What a desk is told of an exchange with these rules."""
    return Traits(**{name: getattr(rules, name) for name in NAMES}, max_conditional=rules.max_conditional)


def e8(text: str) -> E8:
    whole, _, part = text.partition(".")
    return E8(int(whole) * ONE + int((part + "0" * 8)[:8]))


@dataclass(eq=False)
class House:
    """The exchange, its server, and the account ``main`` as this home knows it."""

    exchange: Exchange
    server: PaperServer
    keys: PaperKeys
    settings: Settings
    account: Account
    faults: Faults = field(default_factory=Faults)

    @property
    def paths(self) -> Paths:
        return Paths.here()

    @property
    def pair(self) -> Keys:
        """The account's keys, as the desk has them."""
        return keys_of(self.account, self.paths)

    @property
    def its(self) -> Any:
        """The account on the exchange."""
        return self.exchange.accounts["main"]

    def resting(self) -> list[str]:
        """Client ids of all orders that rest, of both books."""
        return sorted([row.client_id for row in self.its.waiting()] + [row.client_id for row in self.its.resting()])

    def positions(self) -> list[tuple[str, int]]:
        return [(leg.symbol, int(leg.amount)) for leg in self.its.open_legs()]

    def stranger(self, symbol: str, coins: str, *, price: str = "", side: Side = Side.LONG) -> None:
        """Somebody else opens at the market, or rests a limit order."""
        kind = OrderKind.LIMIT if price else OrderKind.MARKET
        slot = PositionSide[side.name] if self.its.hedge else None
        with acting("stranger"):
            limit = e8(price) if price else None
            new = NewOrder(
                symbol=symbol, side=side.opening, kind=kind, quantity=e8(coins), position_side=slot, price=limit,
                client_id="stranger-1" if price else "",
            )  # fmt: skip
            self.exchange.submit(self.its, new)

    def with_account(self, **fields: Any) -> Settings:
        """The settings with the account changed."""
        self.account = replace(self.account, **fields)
        self.settings = replace(self.settings, accounts=MappingProxyType({"main": self.account}))
        return self.settings

    async def go_on(self) -> None:
        """Prices swing by 0.1 %, a little wider each time, and time passes, until cancelled."""
        step = 0
        while True:
            step += 1
            for symbol, price in PRICES.items():
                base = e8(price) * (10_000 + (step % 20 - 10) * (100 + step) // 100) // 10_000
                self.exchange.tick(symbol, Ticks(base // FACTS[symbol].instrument.tick), E8(base), now_ms())
            await asyncio.sleep(TICK_S)


@asynccontextmanager
async def house(
    rules: Rules | None = None, *, kind: str = "paper", hedge: bool = False, faults: Faults | None = None, **fields: Any
) -> AsyncIterator[House]:
    """A house in the home of the test. ``fields`` are the account's."""
    keys = PaperKeys.create(Paths.here().paper_keys("main"))
    exchange = Exchange(rules or Rules(), seed=3, start_ms=now_ms())
    exchange.open_account("main", balance=E8(10_000 * ONE), hedge=hedge)
    faults = faults or Faults()
    server = PaperServer(exchange, keys={keys.api_key: (keys.secret.reveal(), "main")}, faults=faults)
    port = await server.start()
    given = {"scope": Scope.GUARD, "symbols": ("XRPUSDT",), **fields}
    account = Account(name="main", kind=kind, base_url=f"http://127.0.0.1:{port}", **given)  # type: ignore[arg-type]
    settings = Settings(accounts=MappingProxyType({"main": account}))
    it = House(exchange, server, keys, settings, account, faults)
    prices = asyncio.create_task(it.go_on())
    await asyncio.sleep(0)
    try:
        yield it
    finally:
        prices.cancel()
        await asyncio.gather(prices, return_exceptions=True)
        await server.stop()
