"""Answers to questions about a running paper exchange, by its own books: state, positions with what covers them, orders, fills, ledger."""

from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal
from enum import Enum
from heapq import nlargest

from qtkit.core.model import ONE, TriggerBy
from qtkit.paper.account import Account
from qtkit.paper.control_answers import AccountSaid, EpisodeSaid, FillSaid, MarketSaid, OrderSaid, PositionSaid, PromiseSaid, State, Truth
from qtkit.paper.faults import Fault
from qtkit.paper.judge import stands
from qtkit.paper.meter import LedgerLine
from qtkit.paper.rows import ExchangeError, PositionRow, Trade
from qtkit.paper.rules import Rules
from qtkit.paper.session import Session

DAY_MINUTES = 1_440
FILLS = 100
GAP_MS = 0


def text(e8: int) -> str:
    """An E8 number as people write it."""
    return f"{(Decimal(e8) / ONE).normalize():f}" if e8 else "0"


def state(session: Session) -> State:
    """Time, prices, money and faults."""
    exchange = session.exchange
    paused, speed = (False, 1.0) if session.live is not None else (session.pump.paused, session.pump.speed)
    clock = "ended" if session.finished else "live" if session.live is not None else "held" if paused else "running"
    source = (f"live prices of {', '.join(sorted(session.live.known))}",) if session.live is not None else session.described
    return State(
        now_ms=exchange.now_ms, clock=clock, speed=speed, fed=session.fed, tape=source,
        fault=session.live.fault if session.live is not None else None,
        markets=tuple(_markets(session)),
        accounts=tuple(_account(session, account) for account in exchange.accounts.values()),
        faults=tuple(map(say_fault, session.faults.lines)),
        rules=dict(switched(exchange.rules)),
        fired={kind.value: count for kind, count in session.faults.fired.items()},
    )  # fmt: skip


def truth(session: Session) -> Truth:
    """All that is open, and the judge's ledger and verdict."""
    accounts = session.exchange.accounts
    fills = nlargest(FILLS, (trade for account in accounts.values() for trade in account.trades[-FILLS:]), key=lambda row: row.trade_id)
    names = {trade.trade_id: name for name, account in accounts.items() for trade in account.trades[-FILLS:]}
    return Truth(
        now_ms=session.exchange.now_ms,
        positions=tuple(row for account in accounts.values() for row in _positions(session, account)),
        orders=tuple(row for account in accounts.values() for row in _orders(session, account)),
        fills=tuple(_fill(session, names[trade.trade_id], trade) for trade in fills),
        ledger=tuple(map(_episode, session.meter.ledger())),
        promises=tuple(
            PromiseSaid(name=row.name, held=row.held, evidence=row.evidence) for row in session.meter.verdict(gap_wall_ms=GAP_MS)
        ),
    )


def switched(rules: Rules) -> Iterator[tuple[str, str]]:
    """The switches that are not as they are by default; a book is each symbol's own."""
    for field in fields(rules):
        value = getattr(rules, field.name)
        if value != field.default and field.name != "liquidity":
            yield field.name, value.value if isinstance(value, Enum) else str(value).lower()


def say_fault(fault: Fault) -> str:
    """A line of the script in words: what, on which calls, how often."""
    match = fault.match
    on = [part.value if hasattr(part, "value") else part for part in (match.verb, match.account, match.symbol) if part is not None]
    if match.conditional is not None:
        on.append("conditional" if match.conditional else "regular")
    if match.client_prefix:
        on.append(f"ids {match.client_prefix}...")
    often = "as often as it matches" if fault.times is None else "once" if fault.times == 1 else f"{fault.times} times"
    chance = "" if fault.per_mille == 1000 else f", {fault.per_mille} in 1000"
    until = "" if match.until_ms is None else f", until {match.until_ms}"
    return f"{fault.kind.value} on {' '.join(on) or 'every call'}, {often}{chance}{until}"


def _markets(session: Session) -> Iterator[MarketSaid]:
    exchange = session.exchange
    for symbol in exchange.facts:
        try:
            book = exchange.book(symbol)
        except ExchangeError:  # no price yet
            continue
        first = exchange.candles(symbol, TriggerBy.LAST, limit=DAY_MINUTES)[0].open
        yield MarketSaid(
            symbol=symbol, last=text(book.last), mark=text(book.mark), change=f"{100 * (book.last / first - 1):+.2f}",
            funding_rate=text(book.funding_rate), funding_ms=book.funding_ms, by_hand=symbol in session.scales,
            halted=symbol in exchange.halted,
        )  # fmt: skip


def _account(session: Session, account: Account) -> AccountSaid:
    wallet = session.exchange.wallet(account)
    return AccountSaid(
        account=account.name, hedge=account.hedge, wallet=text(wallet.wallet), equity=text(wallet.equity),
        available=text(wallet.available), maintenance=text(wallet.maintenance_margin),
        restricted=account.restricted or None,
    )  # fmt: skip


def _positions(session: Session, account: Account) -> Iterator[PositionSaid]:
    for row in session.exchange.positions(account):
        standing = stands(row, account.waiting(row.symbol), session.exchange.book(row.symbol).last, session.prefix)
        yield PositionSaid(
            account=account.name, symbol=row.symbol, position_side=row.position_side.value, side=_side(row),
            quantity=text(abs(row.amount)), entry=text(row.entry), mark=text(row.mark), unrealised=text(row.unrealised),
            liquidation=text(row.liquidation), covered=100 * standing.own // standing.needed,
            foreign=100 * standing.foreign // standing.needed,
            stop=None if standing.level is None else text(standing.level), why=standing.why.partition("; ")[2],
        )  # fmt: skip


def _side(row: PositionRow) -> str:
    return "LONG" if row.amount > 0 else "SHORT"


def _orders(session: Session, account: Account) -> Iterator[OrderSaid]:
    for row in sorted(account.waiting(), key=lambda row: row.symbol):
        yield OrderSaid(
            account=account.name, symbol=row.symbol, position_side=row.position_side.value, side=row.side.value, type=row.kind.value,
            quantity=text(row.quantity), price=text(row.trigger or row.activation), by=row.trigger_by.name.lower(),
            status=row.status.value, client_id=row.client_id, whose=session.whose(row.client_id), reduce_only=row.reduce_only,
            close_position=row.close_position,
        )  # fmt: skip
    for order in sorted(account.resting(), key=lambda row: row.symbol):
        yield OrderSaid(
            account=account.name, symbol=order.symbol, position_side=order.position_side.value, side=order.side.value,
            type=order.kind.value, quantity=text(order.remaining), price=text(order.price), by="book", status=order.status.value,
            client_id=order.client_id, whose=session.whose(order.client_id), reduce_only=order.reduce_only,
            close_position=order.close_position,
        )  # fmt: skip


def _fill(session: Session, account: str, trade: Trade) -> FillSaid:
    return FillSaid(
        at_ms=trade.time_ms, account=account, symbol=trade.symbol, side=trade.side.value, price=text(trade.price),
        quantity=text(trade.quantity), realised=text(trade.realised), whose=session.whose(trade.client_id),
    )  # fmt: skip


def _episode(line: LedgerLine) -> EpisodeSaid:
    return EpisodeSaid(
        key=str(line.key), episode=line.episode, side=line.side.name, ours=line.ours, opened_ms=line.opened_ms, closed_ms=line.closed_ms,
        covered=line.covered, naked_before_ms=line.adoption_ms, gaps=line.gaps, worst_gap_ms=line.worst_gap_ms,
        loosened=line.loosened, market_closes=line.market_closes, liquidated=line.liquidated,
    )  # fmt: skip
