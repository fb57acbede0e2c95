"""A small world for engine tests: one exchange, one account, and orders written from a side's point of view."""

from dataclasses import replace
from typing import Any

import pytest

from qtkit.core.model import E8, ONE, Bps, OrderKind, OrderSide, PositionSide, Side, Ticks, TriggerBy
from qtkit.paper import liquidity
from qtkit.paper.account import Account
from qtkit.paper.exchange import Exchange, ExchangeError, NewOrder, Rules
from qtkit.paper.liquidity import Liquidity
from qtkit.paper.rows import AccountEvent, AlgoRow, OrderRow, TimeInForce, Wallet

START = 1_700_000_000_000
BTC = "BTCUSDT"
EXACT = Rules(liquidity=liquidity.EXACT)  # fills at last: numbers can be checked by hand


def money(value: float | int) -> E8:
    """Test numbers only: a decimal with at most 4 digits as E8."""
    return E8(round(value * 10_000) * (ONE // 10_000))


def thin(money: int) -> Liquidity:
    """A book that holds this much money (USDT) at the last price and nothing beyond, and holds it again at once."""
    return replace(liquidity.EXACT, depth=money * ONE, level=0, recovery_ms=0)


class World:
    """An exchange at a price of 100,000 with one account; ``side`` is the direction of the position under test."""

    def __init__(self, side: Side = Side.LONG, rules: Rules | None = None, *, hedge: bool = False, balance: float = 100_000) -> None:
        self.side = side
        self.hedge = hedge
        self.ex = Exchange(rules or EXACT, start_ms=START)
        self.account: Account = self.ex.open_account("main", balance=money(balance), hedge=hedge)
        self.events: list[AccountEvent] = []
        self.ex.listeners.append(self.events.append)
        self.price(100_000)

    @property
    def slot(self) -> PositionSide | None:
        """Position side that requests name."""
        return None if not self.hedge else PositionSide[self.side.name]

    def price(self, last: float, mark: float | None = None, symbol: str = BTC, ms: int = 100) -> None:
        """One tick; the mark follows unless said otherwise."""
        tick = self.ex.facts[symbol].instrument.tick
        self.ex.tick(symbol, Ticks(money(last) // tick), money(last if mark is None else mark), self.ex.now_ms + ms)

    def away(self, percent: float) -> float:
        """A price this many percent in the position's favour (negative: against it) from 100,000."""
        return 100_000 + self.side.sign * 1_000 * percent

    def enter(self, quantity: float = 0.1, symbol: str = BTC) -> OrderRow:
        """Open or add to the position at the market."""
        return self.submit(side=self.side.opening, quantity=quantity, symbol=symbol)

    def leave(self, quantity: float = 0.1, **more: Any) -> OrderRow:
        """Reduce-only market order against the position."""
        return self.submit(side=self.side.closing, quantity=quantity, reduce_only=None if self.hedge else True, **more)

    def submit(self, *, side: OrderSide, quantity: float, kind: OrderKind = OrderKind.MARKET, symbol: str = BTC, **more: Any) -> OrderRow:
        """Any regular order; prices as decimals."""
        return self.ex.submit(self.account, self.new(side, kind, quantity, symbol, **more))

    def limit(self, side: OrderSide, price: float, quantity: float = 0.1, **more: Any) -> OrderRow:
        """A limit order."""
        return self.submit(side=side, kind=OrderKind.LIMIT, quantity=quantity, price=price, **more)

    def stop(self, percent: float, quantity: float | None = 0.1, **more: Any) -> AlgoRow:
        """A reducing stop that far away (negative: on the loss side)."""
        return self.conditional(OrderKind.STOP_MARKET, trigger=self.away(percent), quantity=quantity, **more)

    def floor(self, percent: float, **more: Any) -> AlgoRow:
        """A close-position stop on the mark."""
        return self.conditional(
            OrderKind.STOP_MARKET, trigger=self.away(percent), quantity=None, close_position=True, reduce_only=None, **more
        )

    def target(self, percent: float, quantity: float | None = 0.1, **more: Any) -> AlgoRow:
        """A reducing take-profit on the last price."""
        more.setdefault("trigger_by", TriggerBy.LAST)
        return self.conditional(OrderKind.TAKE_PROFIT_MARKET, trigger=self.away(percent), quantity=quantity, **more)

    def trail(self, callback: int, quantity: float = 0.1, **more: Any) -> AlgoRow:
        """A native trailing stop; callback in bps."""
        return self.conditional(OrderKind.TRAILING_STOP_MARKET, quantity=quantity, callback=Bps(callback), **more)

    def conditional(self, kind: OrderKind, *, quantity: float | None, symbol: str = BTC, **more: Any) -> AlgoRow:
        """Any conditional order against the position, on the mark unless said otherwise."""
        more.setdefault("trigger_by", TriggerBy.MARK)
        more.setdefault("reduce_only", None if self.hedge else True)
        side = more.pop("side", self.side.closing)
        return self.ex.submit_algo(self.account, self.new(side, kind, quantity, symbol, **more))

    def new(self, side: OrderSide, kind: OrderKind, quantity: float | None, symbol: str = BTC, **more: Any) -> NewOrder:
        """The request; decimals become E8."""
        for name in ("price", "trigger", "activation"):
            if more.get(name) is not None:
                more[name] = money(more[name])
        more.setdefault("position_side", self.slot)
        amount = None if quantity is None else money(quantity)
        return NewOrder(symbol=symbol, side=side, kind=kind, quantity=amount, **more)

    @property
    def amount(self) -> int:
        """Signed amount of the position in BTC, E8."""
        return sum(row.amount for row in self.ex.positions(self.account, BTC))

    @property
    def wallet(self) -> Wallet:
        """The account's money."""
        return self.ex.wallet(self.account)

    def algo(self, row: AlgoRow) -> AlgoRow:
        """The row as it is now."""
        return self.ex.algo(self.account, algo_id=row.algo_id)

    def order(self, row: OrderRow) -> OrderRow:
        """The row as it is now."""
        return self.ex.order(self.account, row.symbol, order_id=row.order_id)

    def child(self, row: AlgoRow) -> OrderRow:
        """The order that a triggered one became."""
        return self.ex.order(self.account, row.symbol, order_id=self.algo(row).order_id)


class refused:  # noqa: N801 - reads as a word in a test: with refused(-2021)
    """Context in which the exchange must refuse with this code."""

    def __init__(self, code: int) -> None:
        self.code = code
        self._raises = pytest.raises(ExchangeError)

    def __enter__(self) -> None:
        self._info = self._raises.__enter__()

    def __exit__(self, *args: Any) -> bool:
        caught = bool(self._raises.__exit__(*args))
        assert self._info.value.code == self.code, self._info.value
        return caught


SIDES = pytest.mark.parametrize("side", list(Side), ids=lambda side: side.name.lower())
MODES = pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])

__all__ = ["BTC", "EXACT", "MODES", "SIDES", "START", "TimeInForce", "World", "money", "refused", "thin"]
