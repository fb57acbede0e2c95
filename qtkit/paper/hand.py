"""A stranger's hand on an account of the paper exchange: what one client of it asks for, under client ids of its own.

It asks as people and bots do: what the exchange refuses is noted and let be. What it knows of the account it reads there, so that a client
that was stopped goes on from what rests.
"""

from collections import Counter
from collections.abc import Callable

from qtkit.core.model import E8, ONE, Bps, OrderKind, OrderSide, PositionSide, Side, TriggerBy
from qtkit.paper.account import Account
from qtkit.paper.actor import acting
from qtkit.paper.exchange import Exchange
from qtkit.paper.rows import AlgoRow, ExchangeError, NewOrder, OrderRow, TimeInForce

WHOLE = 10_000  # bps of a price
UNIT = 2_000  # USDT of one unit of size


class Hand:
    """One client of an account: ``name`` is the actor of its requests, ``prefix`` begins its client ids.

    Sizes are in units of about 2,000 USDT, distances in bps of the last price, positive in favour of a position of ``side``. ``refused``
    counts the exchange's refusals by code. In one-way mode what closes is sent reduce-only, unless ``plain``.
    """

    def __init__(self, exchange: Exchange, account: str, name: str, prefix: str) -> None:
        self.exchange, self.name, self.prefix = exchange, name, prefix
        self.refused: Counter[int] = Counter()
        self._account = account
        self._asked: Counter[str] = Counter()

    @property
    def account(self) -> Account:
        """The books of its account."""
        return self.exchange.accounts[self._account]

    # -- what it sees

    def held(self, symbol: str, side: Side) -> int:
        """Size (E8) of the position of this side, 0 if there is none."""
        return max(0, side.sign * self.account.amount(symbol, self._slot(side)))

    def size(self, symbol: str, units: int) -> E8:
        """So many units of a symbol at its price, on the lot."""
        lot = self.exchange.facts[symbol].instrument.lot
        return E8(max(1, units * UNIT * ONE * ONE // (self.exchange.book(symbol).last * lot)) * lot)

    def resting(self, symbol: str) -> list[OrderRow | AlgoRow]:
        """Its own open orders of both books, oldest first."""
        rows: list[OrderRow | AlgoRow] = [*self.account.resting(symbol), *self.account.waiting(symbol)]
        return [row for row in rows if row.client_id.startswith(self.prefix)]

    def away(self, symbol: str, side: Side, bps: int) -> E8:
        """The price ``bps`` away in favour of ``side``, on the tick."""
        tick = self.exchange.facts[symbol].instrument.tick
        return E8(self.exchange.book(symbol).last * (WHOLE + side.sign * bps) // WHOLE // tick * tick)

    # -- what it asks for: True if the exchange took it

    def buys_in(self, symbol: str, side: Side, size: E8) -> bool:
        """Opens or adds at the market."""
        return self._sends(symbol, side, side.opening, OrderKind.MARKET, size)

    def gets_out(self, symbol: str, side: Side, size: E8, *, plain: bool = False) -> bool:
        """Reduces or closes at the market. A plain order of more than is held turns a one-way position over."""
        return self._sends(symbol, side, side.closing, OrderKind.MARKET, size, plain=plain)

    def rests(self, symbol: str, side: Side, size: E8, bps: int) -> bool:
        """A limit order that opens or adds, ``bps`` away against the position."""
        return self._sends(symbol, side, side.opening, OrderKind.LIMIT, size, price=self.away(symbol, side, -bps))

    def offers(self, symbol: str, side: Side, size: E8, bps: int, *, plain: bool = False) -> bool:
        """A limit order that closes, ``bps`` away in favour of the position."""
        return self._sends(symbol, side, side.closing, OrderKind.LIMIT, size, price=self.away(symbol, side, bps), plain=plain)

    def stops(self, symbol: str, side: Side, size: E8 | None, bps: int) -> bool:
        """A stop ``bps`` away against the position; ``size`` None closes the whole position."""
        trigger = self.away(symbol, side, -bps)
        return self._sends(symbol, side, side.closing, OrderKind.STOP_MARKET, size, trigger=trigger, trigger_by=TriggerBy.MARK)

    def aims(self, symbol: str, side: Side, size: E8 | None, bps: int) -> bool:
        """A conditional target ``bps`` away in favour of the position; ``size`` None closes the whole position."""
        return self._sends(symbol, side, side.closing, OrderKind.TAKE_PROFIT_MARKET, size, trigger=self.away(symbol, side, bps))

    def trails(self, symbol: str, side: Side, size: E8, callback: Bps) -> bool:
        """A trailing order of the exchange's own."""
        return self._sends(symbol, side, side.closing, OrderKind.TRAILING_STOP_MARKET, size, callback=callback)

    def cancels(self, row: OrderRow | AlgoRow) -> bool:
        """Takes an order of its own away."""
        if isinstance(row, AlgoRow):
            return self._asks(lambda: self.exchange.cancel_algo(self.account, algo_id=row.algo_id))
        return self._asks(lambda: self.exchange.cancel(self.account, row.symbol, order_id=row.order_id))

    def moves(self, row: OrderRow, bps: int) -> bool:
        """Amends a limit order of its own: its price by ``bps`` of itself."""
        tick = self.exchange.facts[row.symbol].instrument.tick
        price = E8(row.price * (WHOLE + bps) // WHOLE // tick * tick)
        return self._asks(
            lambda: self.exchange.amend(
                self.account, row.symbol, side=row.side, quantity=row.quantity, price=price, order_id=row.order_id
            )
        )  # fmt: skip

    def _slot(self, side: Side) -> PositionSide:
        return PositionSide[side.name] if self.account.hedge else PositionSide.BOTH

    def _sends(
        self, symbol: str, side: Side, way: OrderSide, kind: OrderKind, size: E8 | None, *, price: E8 | None = None,
        trigger: E8 | None = None, trigger_by: TriggerBy = TriggerBy.LAST, callback: Bps | None = None, plain: bool = False,
    ) -> bool:  # fmt: skip
        hedge = self.account.hedge
        closes = way is side.closing and not plain and not hedge and size is not None
        self._asked[symbol] += 1
        new = NewOrder(
            symbol=symbol, side=way, kind=kind, quantity=size, price=price, trigger=trigger, trigger_by=trigger_by, callback=callback,
            position_side=self._slot(side) if hedge else None, reduce_only=True if closes else None, close_position=size is None,
            time_in_force=TimeInForce.GTC if kind is OrderKind.LIMIT else None, client_id=f"{self.prefix}{symbol}-{self._asked[symbol]}",
        )  # fmt: skip
        submit = self.exchange.submit_algo if kind.conditional else self.exchange.submit
        return self._asks(lambda: submit(self.account, new))

    def _asks(self, request: Callable[[], object]) -> bool:
        with acting(self.name):
            try:
                request()
            except ExchangeError as refusal:
                self.refused[refusal.code] += 1
                return False
        return True
