"""Traps: they watch the exchange's own events and kill the desk inside the very call that sets them off.

The desk has then sent the request and not yet read its answer: there is no narrower moment.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from qtkit.core.ids import parse_client_order_id
from qtkit.core.model import ONE, OrderKind
from qtkit.paper.account import Account
from qtkit.paper.exchange import Exchange
from qtkit.paper.rows import AccountEvent, AlgoRow, AlgoStatus, AlgoUpdate, Execution, OrderUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class Sprung:
    """What set a trap off: its symbol, the exchange's time (ms), a sentence of evidence, and the stop that was to be cancelled next."""

    symbol: str
    at_ms: int
    evidence: str
    old: str = ""


Bait = Callable[[AccountEvent], Sprung | None]


class Trap:
    """Kills by ``kill`` on the first event that ``bait`` answers, once, and tells through ``wait``."""

    def __init__(self, exchange: Exchange, bait: Bait, kill: Callable[[], None]) -> None:
        self._exchange, self._bait, self._kill = exchange, bait, kill
        self._set_off = asyncio.Event()
        self.sprung: Sprung | None = None

    def __enter__(self) -> "Trap":
        self._exchange.listeners.append(self._on_event)
        return self

    def __exit__(self, *_: object) -> None:
        self._exchange.listeners.remove(self._on_event)

    def _on_event(self, event: AccountEvent) -> None:
        if self.sprung is None and (found := self._bait(event)) is not None:
            self._kill()
            self.sprung = found
            self._set_off.set()

    async def wait(self, within_s: float) -> bool:
        """True if it was set off in time."""
        try:
            await asyncio.wait_for(self._set_off.wait(), within_s)
        except TimeoutError:
            return False
        return True


def between_stops(account: Account, *, tighter: bool) -> Bait:
    """A new working stop of ours is live, the one that it replaces as well. ``tighter``: only where its level moved, not its size."""

    def bait(event: AccountEvent) -> Sprung | None:
        if not isinstance(event, AlgoUpdate) or event.algo.status is not AlgoStatus.NEW or not _working(event.algo):
            return None
        new = event.algo
        if not account.amount(new.symbol, new.position_side):
            return None
        old = [
            row for row in account.waiting(new.symbol)
            if _working(row) and row.position_side is new.position_side and row.algo_id != new.algo_id and row.status is AlgoStatus.NEW
            and (not tighter or row.trigger != new.trigger)
        ]  # fmt: skip
        if not old:
            return None
        text = f"{new.symbol}: new stop {_told(new)} live, old one {_told(old[0])} not cancelled yet"
        return Sprung(symbol=new.symbol, at_ms=event.at_ms, evidence=text, old=old[0].client_id)

    return bait


def after_entry(account: Account) -> Bait:
    """An entry of ours has just been filled; what belongs behind it is not there yet."""

    def bait(event: AccountEvent) -> Sprung | None:
        if not isinstance(event, OrderUpdate) or event.execution is not Execution.TRADE or _leg(event.order.client_id) != "e0":
            return None
        order = event.order
        armed = any(_working(row) for row in account.waiting(order.symbol))
        rest = "its armed stop rests, its floor is not sent yet" if armed else "its stop is not sent yet"
        return Sprung(symbol=order.symbol, at_ms=event.at_ms, evidence=f"{order.symbol}: entry filled at {order.average / ONE:g}, {rest}")

    return bait


def _told(row: AlgoRow) -> str:
    return f"of {Decimal(row.quantity) / ONE:f} at {Decimal(row.trigger) / ONE:f}"


def _leg(client_id: str) -> str:
    parsed = parse_client_order_id(client_id)
    return "" if parsed is None else parsed[1]


def _working(row: AlgoRow) -> bool:
    return row.kind is OrderKind.STOP_MARKET and not row.close_position and _leg(row.client_id).startswith("s")
