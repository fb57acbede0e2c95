"""What the desk asks of an exchange, and the four ways an exchange can fail to answer.

The error tree::

    PolicyError        (core.model) we were asked nonsense; nothing was sent
    GatewayError
    |- Refused         the exchange said no, with its numeric code; nothing happened
    |- Unknown         the outcome is not known: it may have happened; look up by client id, never assume
    `- Unavailable     we could not see (incomplete answer, ban, maintenance, no network); conclude nothing
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from qtkit.core.model import E8, Bar, Instrument, Order, Position, PositionSide, Ticks, TriggerBy


class GatewayError(Exception):
    """Base of what an exchange can answer besides what was asked."""


class Refused(GatewayError):
    """The exchange refused the request; ``code`` is its numeric code (Binance, negative)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"refused by the exchange with {code}: {message}")
        self.code = code
        self.message = message


class Unknown(GatewayError):
    """The request may or may not have been carried out."""


class Unavailable(GatewayError):
    """The exchange could not be read, or not completely; ``code`` is its numeric code, None where it gave none."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """The exchange accepted an order. Accepted is not working: cover is what is read back."""

    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Margin account in the quote coin, E8: wallet plus unrealised profit, and what is free for new margin."""

    equity: E8
    available: E8


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRights:
    """What an API key may do, as the exchange tells it; None is not known. ``ip_restricted``: it works from chosen addresses alone."""

    read: bool | None = None
    trade: bool | None = None
    withdraw: bool | None = None
    transfer: bool | None = None
    ip_restricted: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """What a symbol is set to for its next position: isolated or cross margin, and the leverage."""

    isolated: bool
    leverage: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A price event: mark (E8) and last (ticks); either is None where the stream did not carry it."""

    symbol: str
    mark: E8 | None
    last: Ticks | None
    time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BarClosed:
    """A bar of the watched series closed."""

    symbol: str
    bar: Bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Nudge:
    """Something happened to an account's symbol (an order, a fill, a reconnect): read it soon. Never a fact.

    ``symbol`` is None when everything should be read again; ``flat`` names a position slot that the exchange reported as empty,
    which is positive evidence of the end of an episode; ``held`` one that holds something, which takes the evidence back.
    """

    symbol: str | None
    flat: PositionSide | None = None
    held: PositionSide | None = None


Event = Quote | BarClosed | Nudge


class Gateway(Protocol):
    """One account at one exchange. All methods raise ``Unavailable`` when nothing reliable was read.

    Orders come back from both books (regular and conditional), all pages. Prices and sizes are snapped to the
    instrument's grid by the caller; the gateway converts units and classifies errors, it decides nothing.
    """

    account: str

    async def start(self) -> None:
        """Load the instruments and the position mode; must be called first."""

    async def close(self) -> None:
        """Release sockets. Resting orders stay."""

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """Trading rules by symbol (exchange's own id, e.g. ``BTCUSDT``)."""

    @property
    def hedge(self) -> bool:
        """True in hedge mode."""

    async def positions(self) -> tuple[Position, ...]:
        """All open positions of the account."""

    async def orders(self, symbol: str | None = None) -> tuple[Order, ...]:
        """All open orders, regular and conditional, of a symbol or of the whole account."""

    async def place(self, order: Order) -> Ack:
        """Send an order. Raises ``Refused``, ``Unknown`` or ``Unavailable`` (surely not sent)."""

    async def cancel(self, order: Order) -> None:
        """Cancel by client id, in the book where the order rests. Raises as ``place``."""

    async def lookup(self, symbol: str, client_id: str, *, conditional: bool) -> Order | None:
        """What the exchange says of one of our ids: the order in its present state, or None if it does not know it.

        For a triggered conditional order ``status`` and ``filled`` are those of its child."""

    async def balance(self) -> Balance:
        """Equity and free margin."""

    async def account_code(self) -> str:
        """The exchange's own name of the account, the same whichever of its keys asks; empty where it does not tell."""

    async def rights(self) -> KeyRights:
        """What the key of this gateway may do. All unknown where the exchange does not tell."""

    async def clock_off_ms(self) -> int:
        """By how much this computer's clock is surely off the exchange's; 0 where the exchange does not tell."""

    async def margin(self, symbol: str) -> Margin:
        """Margin mode and leverage of a symbol, held or not."""

    async def prices(self, symbol: str) -> Quote:
        """Mark and last price now."""

    async def bars(self, symbol: str, *, limit: int, by: TriggerBy, minutes: int = 1, since_ms: int | None = None) -> tuple[Bar, ...]:
        """Newest bars of the last or mark price, oldest first, the running bar last (``closed`` False).

        Prices off the tick are rounded to the nearest tick."""

    async def set_leverage(self, symbol: str, leverage: int) -> None:
        """Set the leverage for new positions of a symbol."""

    def watch(self, symbols: frozenset[str], *, by: TriggerBy) -> None:
        """Say which symbols' prices and bars ``events`` should carry from now on."""

    def events(self) -> AsyncIterator[Event]:
        """Prices, closed bars and nudges; endless; reconnects by itself and then yields ``Nudge(symbol=None)``."""
