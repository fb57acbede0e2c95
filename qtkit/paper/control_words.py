"""What can be asked of a running paper exchange beside its market, word by word: the commands. ``control_answers`` holds the answers.

Decimals are texts or numbers on the way in (coins, prices, USDT); times are exchange milliseconds. Unknown names are refused, not passed
over.
"""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from qtkit.paper.faults import FaultKind, Verb

Positive = Annotated[Decimal, Field(gt=0, lt=Decimal(10) ** 12, decimal_places=8)]
Number = Annotated[Decimal, Field(gt=-(Decimal(10) ** 12), lt=Decimal(10) ** 12, decimal_places=8)]
NotNegative = Annotated[Decimal, Field(ge=0, lt=Decimal(10) ** 12, decimal_places=8)]
Share = Annotated[Decimal, Field(ge=0, lt=10_000, decimal_places=4)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Symbol = Annotated[str, Field(min_length=3, max_length=32, pattern=r"^[A-Z0-9]+$")]
Slot = Literal["BOTH", "LONG", "SHORT"]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class Word(BaseModel):
    """Base of all: nothing unknown, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Word):
    """A command without particulars."""


class Speed(Word):
    """Exchange seconds in a wall second, from now on."""

    speed: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)]


class Step(Word):
    """Time by hand, while it is held: so many ticks of the tape, or milliseconds."""

    ticks: Annotated[int, Field(gt=0, le=10_000_000)] | None = None
    ms: Annotated[int, Field(gt=0, le=366 * 86_400_000)] | None = None

    @model_validator(mode="after")
    def _one(self) -> "Step":
        if (self.ticks is None) is (self.ms is None):
            raise ValueError("give ticks or ms, one of them")
        return self


class Price(Word):
    """A price set by hand. ``mark`` absent: it keeps its distance. ``stays``: the tape goes on from here, in proportion."""

    symbol: Symbol
    last: Positive
    mark: Positive | None = None
    stays: bool = True


class Trade(Word):
    """A stranger opens, reduces or closes at the market. ``quantity`` in coins, absent only to close."""

    symbol: Symbol
    side: Literal["LONG", "SHORT"]
    action: Literal["open", "reduce", "close"] = "open"
    quantity: Positive | None = None
    account: Name = "paper"

    @model_validator(mode="after")
    def _sized(self) -> "Trade":
        if (self.quantity is None) is not (self.action == "close"):
            raise ValueError("opening and reducing need a quantity in coins, closing takes none")
        return self


class Order(Word):
    """A stranger's order, regular or conditional, by Binance's words. ``callback`` in percent."""

    symbol: Symbol
    side: Literal["BUY", "SELL"]
    type: Literal["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]
    quantity: Positive | None = None
    price: Positive | None = None
    trigger: Positive | None = None
    trigger_by: Literal["last", "mark"] = "last"
    callback: Annotated[Decimal, Field(gt=0, le=100, decimal_places=2)] | None = None
    activation: Positive | None = None
    position_side: Slot = "BOTH"
    reduce_only: bool | None = None
    close_position: bool = False
    price_protect: bool = False
    time_in_force: Literal["GTC", "IOC", "FOK", "GTX"] | None = None
    client_id: Annotated[str, Field(pattern=r"^[.A-Z:/a-z0-9_-]{0,36}$")] = ""
    account: Name = "paper"


class Cancel(Word):
    """A stranger cancels the order with this client id, or all orders of a symbol."""

    symbol: Symbol
    client_id: Annotated[str, Field(min_length=1, max_length=36)] | None = None
    all: bool = False
    account: Name = "paper"

    @model_validator(mode="after")
    def _one(self) -> "Cancel":
        if (self.client_id is None) is not self.all:
            raise ValueError("give a client_id, or all = true")
        return self


class NewFault(Word):
    """A line of the fault script (see ``paper.faults``). ``times`` null: as often as it matches; ``for_ms`` ends it."""

    kind: FaultKind
    verb: Verb | None = None
    account: Name | None = None
    symbol: Symbol | None = None
    conditional: bool | None = None
    client_prefix: Annotated[str, Field(max_length=36)] = ""
    times: Annotated[int, Field(gt=0)] | None = 1
    skip: Annotated[int, Field(ge=0)] = 0
    per_mille: Annotated[int, Field(gt=0, le=1000)] = 1000
    for_ms: Annotated[int, Field(gt=0)] | None = None
    code: int | None = None
    message: Annotated[str, Field(max_length=500)] | None = None
    delay_ms: Annotated[int, Field(ge=0)] = 0


class Funding(Word):
    """The rate (a fraction: 0.0001 is one basis point) paid at the next funding time, or at ``at_ms``, and every ``hours`` after it."""

    symbol: Symbol
    rate: Annotated[Decimal, Field(gt=-1, lt=1, decimal_places=8)]
    at_ms: Annotated[int, Field(gt=0)] | None = None
    hours: Annotated[int, Field(gt=0, le=24)] | None = None


class Deposit(Word):
    """USDT that come in, or leave if negative."""

    amount: Number
    account: Name = "paper"


class Deleverage(Word):
    """A position is closed, whole or in part (coins), at the bankrupt's ``price``; absent: at the mark."""

    symbol: Symbol
    side: Literal["LONG", "SHORT"]
    quantity: Positive | None = None
    price: Positive | None = None
    account: Name = "paper"


class Restrict(Word):
    """The code under which an account may only reduce; null lifts it. -4087, -4192 (cooling-off), -4400 (quantitative rules), -4401."""

    code: Literal[-4087, -4192, -4400, -4401] | None
    account: Name = "paper"


class Halt(Word):
    """A symbol's positions may only be reduced, as before a delisting; or no longer so."""

    symbol: Symbol
    halted: bool = True


class Market(Word):
    """The book of a symbol, or of all: the values of a ``market.json``; those not given stay as they are, or as in ``like``.

    ``depth`` null: without end. See ``paper.liquidity`` for what each means.
    """

    symbol: Symbol | None = None
    like: Literal["default", "thin", "exact"] | None = None
    half_spread_ticks: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    half_spread_bps: Share = Decimal(0)
    depth: NotNegative | None = None
    step_bps: Share = Decimal(0)
    level: NotNegative = Decimal(0)
    recovery_ms: Annotated[int, Field(ge=0, le=366 * 86_400_000)] = 0
    queue_ticks: Annotated[int, Field(ge=0, le=1_000_000)] = 0

    @model_validator(mode="after")
    def _some(self) -> "Market":
        if not self.model_fields_set - {"symbol"}:
            raise ValueError("give like, or what of the book is to be otherwise")
        return self


class Rule(Word):
    """A switch of the exchange, by its name in ``paper.rules.Rules``: true or false, a number, a word, or null."""

    name: Name
    value: bool | int | str | None


class Cut(Word):
    """Close all websockets, or the user streams of an account, with this code; 1006 drops the connections without a word."""

    code: Literal[1001, 1006, 1008, 1011, 1012, 1013] = 1006
    account: Name | None = None


class Expire(Word):
    """The account's listen key runs out, as an hour after its last extension."""

    account: Name = "paper"


class File(Word):
    """A snapshot's name, in the folder of snapshots."""

    file: FileName
