"""What the exchange does of its own accord: auto-deleveraging, an account that may only reduce, a symbol that may not be opened."""

from qtkit.core.matching import reducible
from qtkit.core.model import E8, OrderSide, PositionSide
from qtkit.paper.account import Account
from qtkit.paper.conditional import ConditionalBook
from qtkit.paper.filters import RESTRICTIONS


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
        self._autoclose(account, leg, "adl_autoclose-", part, at)
        self._done()
        return E8(part)

    def restrict(self, account: Account, code: int | None) -> None:
        """Let an account only reduce, under -4087, -4192 (cooling-off), -4400 (quantitative rules) or -4401; None lifts it."""
        if code is not None and code not in RESTRICTIONS:
            raise ValueError(f"an account is restricted under one of {sorted(RESTRICTIONS)}, got {code}")
        account.restricted = code or 0

    def halt(self, symbol: str, *, halted: bool = True) -> None:
        """Let a symbol's positions only be reduced (-4140), as before a delisting; or lift it."""
        self._market(symbol)
        (self.halted.add if halted else self.halted.discard)(symbol)
