"""What the exchange does of its own accord: it lets dated orders expire, deleverages, restricts an account, halts a symbol."""

from heapq import heappop

from qtkit.core.matching import reducible
from qtkit.core.model import E8, OrderSide, OrderStatus, PositionSide
from qtkit.paper.account import Account
from qtkit.paper.conditional import ConditionalBook
from qtkit.paper.filters import RESTRICTIONS
from qtkit.paper.rows import ADL, AlgoStatus

NEVER_MS = 1 << 62


class Authority(ConditionalBook):
    """Acts of the exchange upon its clients; a rehearsal's operator calls them. See ``Exchange`` for the whole."""

    def deleverage(
        self, account: Account, symbol: str, *, quantity: E8 | None = None, price: E8 | None = None, side: PositionSide = PositionSide.BOTH
    ) -> E8:
        """Auto-deleverage a position: the counterparty of a bankrupt loses it, whole or in part, at the bankrupt's price.

        ``price`` None is the mark on the tick against the position. The order's client id begins ``adl_autoclose``, it is told as
        CALCULATED and costs no commission (Binance, user data streams and FAQ on ADL). Answers the quantity closed.
        """
        market = self._market(symbol)
        leg = account.legs.get((symbol, side))
        if leg is None or not leg.amount:
            return E8(0)
        closing = OrderSide.SELL if leg.amount > 0 else OrderSide.BUY
        held = reducible(leg.amount, closing)
        part = held if quantity is None else min(quantity, held)
        sign = 1 if leg.amount > 0 else -1
        at = sign * (sign * market.mark // market.tick) * market.tick if price is None else price
        self._autoclose(account, leg, ADL, part, at)
        self._done()
        return E8(part)

    def _expire(self, symbol: str) -> int:
        """Orders of a symbol whose date has come (GTD) expire; answers the next date."""
        heap = self._deadlines.get(symbol)
        while heap and heap[0][0] <= self.now_ms:
            _, name, conditional, number = heappop(heap)
            account = self.accounts[name]
            if conditional and account.algos[number].status is AlgoStatus.NEW:
                self._end(account, account.algos[number], AlgoStatus.EXPIRED)
            elif not conditional and not account.orders[number].status.terminal:
                self._close_order(account, account.orders[number], OrderStatus.EXPIRED)
        return heap[0][0] if heap else NEVER_MS

    def restrict(self, account: Account, code: int | None) -> None:
        """Let an account only reduce, under -4087, -4192 (cooling-off), -4400 (quantitative rules) or -4401; None lifts it."""
        if code is not None and code not in RESTRICTIONS:
            raise ValueError(f"an account is restricted under one of {sorted(RESTRICTIONS)}, got {code}")
        account.restricted = code or 0

    def halt(self, symbol: str, *, halted: bool = True) -> None:
        """Let a symbol's positions only be reduced (-4140), as before a delisting; or lift it."""
        self._market(symbol)
        (self.halted.add if halted else self.halted.discard)(symbol)
