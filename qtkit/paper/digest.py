"""A fingerprint of all that an exchange tells: two runs with the same seed have the same one, to the last event."""

import hashlib

from qtkit.core.model import E8, Ticks
from qtkit.paper.exchange import Exchange
from qtkit.paper.rows import AccountEvent


class Digest:
    """Listens from now on. Every account event and every price goes in, with its time."""

    def __init__(self, exchange: Exchange) -> None:
        self._sum = hashlib.sha256()
        self.count = 0
        exchange.listeners.append(self._event)
        exchange.price_listeners.append(self._price)

    def _event(self, event: AccountEvent) -> None:
        self.count += 1
        self._sum.update(repr(event).encode())

    def _price(self, symbol: str, last: Ticks, mark: E8, at_ms: int) -> None:
        self.count += 1
        self._sum.update(f"{symbol} {last} {mark} {at_ms}".encode())

    def __str__(self) -> str:
        return self._sum.hexdigest()
