"""The ground truth of protection, taken from the exchange's own books: the judge of the desk.

Shares no code with what it judges: of ``core`` it uses the words of ``model`` only, and it never asks the desk. It is called by the
exchange inside the call that changed something, so it misses no moment between two reads, and keeps every duration on two clocks: exchange
time and wall time. A price alone changes cover only by moving the liquidation price of a cross position; so prices make it look again at
most every five seconds of exchange time.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from qtkit.core.model import E8, Key, PolicyError, PositionSide, Side, Ticks
from qtkit.paper.actor import actor
from qtkit.paper.adverse import SweepResult, sweep
from qtkit.paper.candles import Book
from qtkit.paper.episode import Episode, Moment
from qtkit.paper.judge import Standing, shape_flaw, sign_of, stands
from qtkit.paper.rows import (
    LIQUIDATION,
    AccountEvent,
    AccountUpdate,
    AlgoRow,
    AlgoStatus,
    AlgoUpdate,
    ConfigUpdate,
    Execution,
    OrderUpdate,
    PositionRow,
)

__all__ = ["LedgerLine", "Meter", "Promise", "SweepResult", "sweep"]


RECHECK_MS = 5_000


class Books(Protocol):
    """What the meter reads of an account."""

    def waiting(self, symbol: str | None = None) -> list[AlgoRow]: ...


class Watched(Protocol):
    """What the meter reads of an exchange."""

    now_ms: int

    @property
    def accounts(self) -> Mapping[str, Books]: ...
    @property
    def listeners(self) -> list[Callable[[AccountEvent], None]]: ...
    @property
    def price_listeners(self) -> list[Callable[[str, Ticks, E8, int], None]]: ...
    def book(self, symbol: str) -> Book: ...
    def positions(self, account: Any, symbol: str | None = None) -> tuple[PositionRow, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """One position from leaving flat to being flat again. Times in ms, on the exchange's clock and on the wall's; money and prices E8.

    ``opened_wall_ms`` and ``covered_wall_ms`` (of the first cover, None if there was none) are readings of the meter's own clock.
    ``closed_ms`` is None while it is open. ``adoption_*`` is the time without full own cover before it was first covered (all its life if
    ``adopted`` is False); ``gap_*`` the time without it afterwards, ``worst_gap_*`` the longest single one, ``gaps`` their number (a gap of
    0 ms counts). ``loosened`` counts moves of the level that covers the whole position to a worse place. ``trades_before_cover`` are fills
    of own orders, other than triggered or resting exits, in a position somebody else opened, before it was covered;
    ``market_closes`` the own closing fills that no stop or target made, at any time. ``standing`` is the last judgement while it was open.
    """

    key: Key
    episode: int
    side: Side
    ours: bool
    opened_ms: int
    opened_wall_ms: int
    covered_wall_ms: int | None
    closed_ms: int | None
    liquidated: bool
    adopted: bool
    adoption_ms: int
    adoption_wall_ms: int
    gaps: int
    gap_ms: int
    gap_wall_ms: int
    worst_gap_ms: int
    worst_gap_wall_ms: int
    loosened: int
    trades_before_cover: int
    market_closes: int
    standing: Standing

    @property
    def covered(self) -> bool:
        """True if the position is flat or own stops cover it whole."""
        return self.closed_ms is not None or self.standing.covered


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One promise, whether it was kept, and the evidence in a sentence."""

    name: str
    held: bool
    evidence: str


class Meter:
    """Watches an exchange from now on; own orders are those whose client id starts with ``prefix``.

    ``clock`` is the wall, in seconds. A foreign order that is cancelled or amended by request (not by the exchange) counts as touched
    unless the request was made inside ``acting(name)`` with a name in ``strangers``: who stays unnamed is suspected. ``settle_ms`` (wall)
    is how long the desk may take to bring a stop back to its level after the exchange or a stranger took it away.
    """

    def __init__(
        self,
        exchange: Watched,
        *,
        prefix: str,
        strangers: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
        settle_ms: int = 10_000,
    ) -> None:
        if not prefix:
            raise PolicyError("the meter needs the prefix of own client ids; an empty one would call every order own")
        self._exchange = exchange
        self._prefix = prefix
        self._strangers = frozenset(strangers)
        self._clock = clock
        self._settle_ms = settle_ms
        self._latest: dict[Key, Episode] = {}
        self._open: dict[str, dict[str, int]] = {}  # symbol -> account -> exchange time of the last look
        self._episodes: list[Episode] = []
        self._touched: list[str] = []
        for name, account in exchange.accounts.items():
            for symbol in {position.symbol for position in exchange.positions(account)}:
                self._judge(name, symbol)
        exchange.listeners.append(self._on_event)
        exchange.price_listeners.append(self._on_price)

    def detach(self) -> None:
        """Stop watching; the ledger stays as it is."""
        self._exchange.listeners.remove(self._on_event)
        self._exchange.price_listeners.remove(self._on_price)

    @property
    def foreign_touched(self) -> tuple[str, ...]:
        """Foreign orders that somebody else cancelled or amended, one line each."""
        return tuple(self._touched)

    def ledger(self) -> tuple[LedgerLine, ...]:
        """Every position seen, in the order in which they were opened; open times count up to now."""
        now = self._now()
        return tuple(_line(episode, now) for episode in self._episodes)

    def verdict(self, *, adoption_wall_ms: int = 10_000, gap_wall_ms: int = 0) -> tuple[Promise, ...]:
        """The promises and whether each was held. ``gap_wall_ms`` is the gap that the faults at work allow; 0 allows no gap at all."""
        lines = self.ledger()
        slow = [line for line in lines if line.adoption_wall_ms > adoption_wall_ms]
        gaps = [line for line in lines if line.gaps and (not gap_wall_ms or line.worst_gap_wall_ms > gap_wall_ms)]
        worst_adoption = max((line.adoption_wall_ms for line in lines), default=0)
        worst_gap = max((line.worst_gap_wall_ms for line in lines), default=0)
        return (
            _promise("every open position is covered", [line for line in lines if not line.covered], f"{len(lines)} positions seen"),
            _promise(f"covered within {adoption_wall_ms} ms", slow, f"slowest {worst_adoption} ms"),
            _promise(f"no gap over {gap_wall_ms} ms after the first cover", gaps, f"worst {worst_gap} ms"),
            _promise("no stop was loosened", [line for line in lines if line.loosened], "0 moves"),
            _promise("adoption traded nothing", [line for line in lines if line.trades_before_cover], "0 fills"),
            _promise("nothing was liquidated", [line for line in lines if line.liquidated], "0 liquidations"),
            Promise(name="no foreign order was touched", held=not self._touched, evidence="; ".join(self._touched) or "0 orders"),
        )

    def _now(self) -> Moment:
        return Moment(exchange_ms=self._exchange.now_ms, wall_ms=round(self._clock() * 1000))

    def _on_price(self, symbol: str, last: Ticks, mark: E8, at_ms: int) -> None:
        accounts = self._open.get(symbol)
        if accounts:
            for account in [name for name, seen_ms in accounts.items() if at_ms - seen_ms >= RECHECK_MS]:
                self._judge(account, symbol)

    def _on_event(self, event: AccountEvent) -> None:
        match event:
            case AlgoUpdate(account=account, algo=algo):
                self._suspect(account, algo.client_id, algo.status is AlgoStatus.CANCELED, "cancelled")
                self._judge(account, algo.symbol, moved=self._moved_by_desk(algo))
            case OrderUpdate(account=account, order=order):
                self._suspect(account, order.client_id, event.execution is Execution.CANCELED, "cancelled")
                self._suspect(account, order.client_id, event.execution is Execution.AMENDMENT, "amended")
                self._judge(account, order.symbol)
                self._count_fill(event)
            case AccountUpdate(account=account, positions=positions):
                held = {symbol for symbol, accounts in self._open.items() if account in accounts}  # their liquidation may have moved
                for symbol in sorted(held | {position.symbol for position in positions}):
                    self._judge(account, symbol)
            case ConfigUpdate(account=account, symbol=symbol):
                self._judge(account, symbol)

    def _moved_by_desk(self, algo: AlgoRow) -> AlgoRow | None:
        acted = algo.status in (AlgoStatus.NEW, AlgoStatus.CANCELED) and actor() not in self._strangers
        return algo if acted and algo.client_id.startswith(self._prefix) else None

    def _suspect(self, account: str, client_id: str, happened: bool, what: str) -> None:
        if happened and not client_id.startswith(self._prefix) and actor() not in self._strangers:
            self._touched.append(f"{account}: {client_id} {what} by {actor() or 'somebody unnamed'} at {self._exchange.now_ms}")

    def _judge(self, account: str, symbol: str, moved: AlgoRow | None = None) -> None:
        now, books = self._now(), self._exchange.accounts[account]
        rows = {row.position_side: row for row in self._exchange.positions(books, symbol)}
        for position_side in PositionSide:
            episode, row = self._latest.get(Key(account, symbol, position_side)), rows.get(position_side)
            if episode and episode.closed is None and (row is None or sign_of(row) != episode.side.sign):
                episode.close(now)
        accounts = self._open.setdefault(symbol, {})
        accounts[account] = now.exchange_ms
        if not rows:
            del accounts[account]
            return
        algos, last = books.waiting(symbol), self._exchange.book(symbol).last
        for position_side, row in rows.items():
            standing = stands(row, algos, last, self._prefix)
            own = [algo for algo in algos if algo.client_id.startswith(self._prefix) and not shape_flaw(row, algo)]
            acted = moved if moved is not None and not shape_flaw(row, moved) else None
            episode = self._episode(Key(account, symbol, position_side), row, now, standing)
            episode.observe(row, standing, own, now, moved=acted, settle_ms=self._settle_ms)

    def _episode(self, key: Key, row: PositionRow, now: Moment, standing: Standing) -> Episode:
        episode = self._latest.get(key)
        if episode is None or episode.closed is not None:
            episode = Episode(key, 1 if episode is None else episode.number + 1, Side(sign_of(row)), now, standing)
            self._latest[key] = episode
            self._episodes.append(episode)
        return episode

    def _count_fill(self, event: OrderUpdate) -> None:
        order, trade = event.order, event.trade
        episode = self._latest.get(Key(event.account, order.symbol, order.position_side))
        if trade is None or episode is None:
            return
        episode.fill(
            order,
            own=order.client_id.startswith(self._prefix),
            at_ms=trade.time_ms,
            liquidation=event.execution is Execution.CALCULATED or order.client_id.startswith(LIQUIDATION),
        )


def _line(episode: Episode, now: Moment) -> LedgerLine:
    adoption, gap, worst = episode.adoption(now), episode.gap(now), episode.worst_gap(now)
    return LedgerLine(
        key=episode.key,
        episode=episode.number,
        side=episode.side,
        ours=episode.ours,
        opened_ms=episode.opened.exchange_ms,
        opened_wall_ms=episode.opened.wall_ms,
        covered_wall_ms=None if episode.first_cover is None else episode.first_cover.wall_ms,
        closed_ms=None if episode.closed is None else episode.closed.exchange_ms,
        liquidated=episode.liquidated,
        adopted=episode.first_cover is not None,
        adoption_ms=adoption.exchange_ms,
        adoption_wall_ms=adoption.wall_ms,
        gaps=episode.gaps,
        gap_ms=gap.exchange_ms,
        gap_wall_ms=gap.wall_ms,
        worst_gap_ms=worst.exchange_ms,
        worst_gap_wall_ms=worst.wall_ms,
        loosened=episode.loosened,
        trades_before_cover=0 if episode.ours else episode.trades_before_cover,
        market_closes=episode.market_closes,
        standing=episode.standing,
    )


def _promise(name: str, broken: list[LedgerLine], evidence: str) -> Promise:
    where = ", ".join(f"{line.key} #{line.episode}" for line in broken)
    return Promise(name=name, held=not broken, evidence=f"{evidence}; broken by {where}" if broken else evidence)
