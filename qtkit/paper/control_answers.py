"""What a running paper exchange answers beside its market. Decimals are texts (coins, prices, USDT); times are exchange milliseconds."""

from typing import Literal

from qtkit.paper.control_words import Word


class Done(Word):
    """What was done, in a sentence."""

    done: str


class MarketSaid(Word):
    """One symbol's prices; ``change`` in percent since the first bar that is known, at most a day back. ``halted``: only to be reduced."""

    symbol: str
    last: str
    mark: str
    change: str
    funding_rate: str
    funding_ms: int
    by_hand: bool
    halted: bool


class AccountSaid(Word):
    """One account's money, USDT. ``restricted``: the code under which it may only reduce."""

    account: str
    hedge: bool
    wallet: str
    equity: str
    available: str
    maintenance: str
    restricted: int | None


class State(Word):
    """The running exchange: its time and prices. ``clock`` is live, running, held or ended; ``faults`` are the lines left of the script.

    ``rules`` are the switches that are not as they were made.
    """

    now_ms: int
    clock: Literal["live", "running", "held", "ended"]
    speed: float
    fed: int
    tape: tuple[str, ...]
    fault: str | None
    markets: tuple[MarketSaid, ...]
    accounts: tuple[AccountSaid, ...]
    faults: tuple[str, ...]
    fired: dict[str, int]
    rules: dict[str, str]


class PositionSaid(Word):
    """An open position and what covers it, by the exchange's own books; ``covered`` and ``foreign`` in percent of its size.

    ``why`` says what is wrong with stops that do not count.
    """

    account: str
    symbol: str
    position_side: str
    side: str
    quantity: str
    entry: str
    mark: str
    unrealised: str
    liquidation: str
    covered: int
    foreign: int
    stop: str | None
    why: str


class OrderSaid(Word):
    """An open order of either book. ``whose`` is desk or stranger; ``price`` is the trigger of a conditional one."""

    account: str
    symbol: str
    position_side: str
    side: str
    type: str
    quantity: str
    price: str
    by: str
    status: str
    client_id: str
    whose: str
    reduce_only: bool
    close_position: bool


class FillSaid(Word):
    """One fill."""

    at_ms: int
    account: str
    symbol: str
    side: str
    price: str
    quantity: str
    realised: str
    whose: str


class EpisodeSaid(Word):
    """A line of the judge's ledger: one position from leaving flat to being flat, times in exchange ms."""

    key: str
    episode: int
    side: str
    ours: bool
    opened_ms: int
    closed_ms: int | None
    covered: bool
    naked_before_ms: int
    gaps: int
    worst_gap_ms: int
    loosened: int
    market_closes: int
    liquidated: bool


class PromiseSaid(Word):
    """A promise of the judge."""

    name: str
    held: bool
    evidence: str


class Truth(Word):
    """What is so, by the exchange's own books, whatever a client believes. The newest hundred fills, newest first."""

    now_ms: int
    positions: tuple[PositionSaid, ...]
    orders: tuple[OrderSaid, ...]
    fills: tuple[FillSaid, ...]
    ledger: tuple[EpisodeSaid, ...]
    promises: tuple[PromiseSaid, ...]
