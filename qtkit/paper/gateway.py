"""The ``Gateway`` protocol over the embedded exchange, in process: the same answers and errors as over the wire, without sockets.

Nothing here sleeps: a call is carried out at once, at the exchange's own time. Faults strike where the server's would.
Over 300 lines: one protocol, each of its methods a few lines.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import NoReturn, TypeVar

from qtkit.core.model import E8, Bar, Instrument, Order, OrderKind, PolicyError, Position, Ticks, TriggerBy
from qtkit.paper.account import Account
from qtkit.paper.candles import Candle
from qtkit.paper.convert import algo_order, bar, classified, nudges, position, regular_order, subject, ticks
from qtkit.paper.exchange import Exchange
from qtkit.paper.faults import ACCEPTED, Call, Fault, FaultKind, Faults, Verb
from qtkit.paper.market import MINUTE_MS
from qtkit.paper.rows import AccountEvent, AccountUpdate, AlgoRow, ExchangeError, NewOrder, OrderRow
from qtkit.paper.signing import WHOLE
from qtkit.venue.gateway import Ack, Balance, BarClosed, Event, GatewayError, KeyRights, Margin, Nudge, Quote, Refused, Unavailable, Unknown

NOT_SENT = frozenset({FaultKind.FAIL_503, FaultKind.PARTIAL})
MAX_EVENTS = 100_000  # then the backlog is dropped and everything is to be read again

T = TypeVar("T")
R = TypeVar("R", OrderRow, AlgoRow)


class PaperGateway:
    """One account of an ``Exchange`` as the desk sees it. ``faults`` is consulted on every call, event and trigger of the account."""

    def __init__(self, exchange: Exchange, account: str, faults: Faults | None = None) -> None:
        if account not in exchange.accounts:
            known = ", ".join(exchange.accounts) or "none"
            raise PolicyError(f"the paper exchange has no account {account!r} (open: {known}); open it with open_account first")
        self.account = account
        self._exchange = exchange
        self._faults = faults or Faults()
        self._watched: frozenset[str] = frozenset()
        self._series = TriggerBy.LAST
        self._backlog: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._held_before: Callable[[AlgoRow], bool] | None = None
        self._started = False
        self._closed = False

    async def start(self) -> None:
        """Begin to listen. Twice is once."""
        if self._started:
            return
        self._started = True
        self._exchange.listeners.append(self._on_account)
        self._exchange.price_listeners.append(self._on_price)
        self._exchange.bar_listeners.append(self._on_bar)
        self._held_before, self._exchange.hold_trigger = self._exchange.hold_trigger, self._hold_trigger

    async def close(self) -> None:
        """Stop listening and end ``events``; resting orders stay."""
        self._closed = True
        self._arrived.set()
        if not self._started:
            return
        self._started = False
        self._exchange.listeners.remove(self._on_account)
        self._exchange.price_listeners.remove(self._on_price)
        self._exchange.bar_listeners.remove(self._on_bar)
        if self._exchange.hold_trigger == self._hold_trigger:
            self._exchange.hold_trigger = self._held_before

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """Trading rules by symbol."""
        return {symbol: row.instrument for symbol, row in self._exchange.facts.items()}

    @property
    def hedge(self) -> bool:
        """True in hedge mode."""
        return self._own.hedge

    async def positions(self) -> tuple[Position, ...]:
        """All open positions of the account."""
        rows = self._list(Call(verb=Verb.POSITIONS, account=self.account), lambda: self._exchange.positions(self._own))
        return tuple(position(row, self._rules(row.symbol)) for row in rows)

    async def orders(self, symbol: str | None = None) -> tuple[Order, ...]:
        """All open orders of both books; the conditional book is read first, as on the wire."""
        algos = self._fresh(self._call(Verb.ORDERS, symbol, conditional=True), lambda: self._exchange.open_algos(self._own, symbol))
        regular = self._fresh(self._call(Verb.ORDERS, symbol, conditional=False), lambda: self._exchange.open_orders(self._own, symbol))
        return (
            *(algo_order(row, self._rules(row.symbol)) for row in algos),
            *(regular_order(row, self._rules(row.symbol)) for row in regular),
        )

    async def place(self, order: Order) -> Ack:
        """Send an order; raises ``Refused``, ``Unknown`` or ``Unavailable`` as the exchange or the faults say."""
        rules = self._rules(order.symbol)
        new = NewOrder.of(order, rules)
        call = self._call(Verb.PLACE, order.symbol, conditional=order.kind.conditional, kind=order.kind, client_id=order.client_id)
        if order.kind.conditional:
            acked = algo_order(self._write(call, lambda: self._exchange.submit_algo(self._own, new)), rules)
        else:
            acked = regular_order(self._write(call, lambda: self._exchange.submit(self._own, new)), rules)
        return Ack(order=acked)

    async def cancel(self, order: Order) -> None:
        """Cancel by client id in the book of the order's kind. "Unknown order" is ``Refused`` (-2011)."""
        exchange, client_id = self._exchange, order.client_id
        call = self._call(Verb.CANCEL, order.symbol, conditional=order.kind.conditional, kind=order.kind, client_id=client_id)
        if order.kind.conditional:
            self._write(call, lambda: exchange.cancel_algo(self._own, client_id=client_id))
        else:
            self._write(call, lambda: exchange.cancel(self._own, order.symbol, client_id=client_id))

    async def lookup(self, symbol: str, client_id: str, *, conditional: bool) -> Order | None:
        """The present state of one of our ids; of a triggered conditional order its child's. None if it is not known (-2013)."""
        call = self._call(Verb.LOOKUP, symbol, conditional=conditional, client_id=client_id)
        try:
            if not conditional:
                row = self._read(call, lambda: self._exchange.order(self._own, symbol, client_id=client_id))
                return regular_order(row, self._rules(symbol))
            algo = self._read(call, lambda: self._exchange.algo(self._own, client_id=client_id))
        except Refused as refusal:
            if refusal.code in (-2011, -2013):
                return None
            raise Unavailable(f"{client_id} could not be looked up: {refusal}") from None
        child = self._own.orders.get(algo.order_id)
        if algo.symbol != symbol:
            raise Unavailable(f"the exchange shows {client_id} under {algo.symbol}, not {symbol}")
        return algo_order(algo, self._rules(symbol), child)

    async def balance(self) -> Balance:
        """Equity and free margin."""
        row = self._reading(self._call(Verb.BALANCE, None), lambda: self._exchange.wallet(self._own))
        return Balance(equity=row.equity, available=row.available)

    async def account_code(self) -> str:
        """An account of this process has no key, so there is no second one."""
        return ""

    async def rights(self) -> KeyRights:
        """An account of this process has no key; what it may do is what a key of the paper exchange may."""
        return WHOLE

    async def clock_off_ms(self) -> int:
        """The exchange is in this process, and its time is its own."""
        return 0

    async def margin(self, symbol: str) -> Margin:
        """Margin mode and leverage of a symbol."""
        found = self._reading(
            Call(verb=Verb.BALANCE, account=self.account, symbol=symbol), lambda: self._exchange.config(self._own, symbol)
        )
        return Margin(isolated=found.isolated, leverage=found.leverage)

    async def prices(self, symbol: str) -> Quote:
        """Mark and last price now; neither before the first tick."""
        book = self._reading(self._call(Verb.PRICES, symbol), lambda: self._exchange.quote(symbol))
        return Quote(symbol=symbol, mark=book.mark or None, last=ticks(book.last, self._rules(symbol)) or None, time_ms=book.time_ms)

    async def bars(self, symbol: str, *, limit: int, by: TriggerBy, minutes: int = 1, since_ms: int | None = None) -> tuple[Bar, ...]:
        """Bars of the last or mark price, oldest first: the newest ``limit``, or the first ``limit`` from ``since_ms`` on."""
        rules, now_ms = self._rules(symbol), self._exchange.now_ms
        call = self._call(Verb.BARS, symbol)
        rows = self._reading(call, lambda: self._exchange.candles(symbol, by, minutes=minutes, limit=limit, start_ms=since_ms))
        return tuple(bar(row, rules, closed=row.time_ms + minutes * MINUTE_MS <= now_ms) for row in rows)

    async def set_leverage(self, symbol: str, leverage: int) -> None:
        """Set the leverage for new positions of a symbol."""
        self._write(self._call(Verb.SETTING, symbol), lambda: self._exchange.set_leverage(self._own, symbol, leverage))

    def watch(self, symbols: frozenset[str], *, by: TriggerBy) -> None:
        """Say which symbols' prices and bars ``events`` carries from now on."""
        self._watched, self._series = symbols, by

    async def events(self) -> AsyncIterator[Event]:
        """Prices and bars of the watched symbols and nudges of the account, in order, until ``close``."""
        while not self._closed:
            while self._backlog:
                yield self._backlog.popleft()
            self._arrived.clear()
            await self._arrived.wait()

    # what the exchange tells

    def _push(self, event: Event) -> None:
        if len(self._backlog) >= MAX_EVENTS:
            self._backlog.clear()
            event = Nudge(symbol=None)
        self._backlog.append(event)
        self._arrived.set()

    def _on_price(self, symbol: str, last: Ticks, mark: E8, at_ms: int) -> None:
        if symbol in self._watched:
            self._push(Quote(symbol=symbol, mark=mark, last=last, time_ms=at_ms))

    def _on_bar(self, symbol: str, by: TriggerBy, candle: Candle) -> None:
        if symbol in self._watched and by is self._series:
            self._push(BarClosed(symbol=symbol, bar=bar(candle, self._rules(symbol), closed=True)))

    def _on_account(self, event: AccountEvent) -> None:
        if event.account != self.account:
            return
        symbol, client_id, conditional = subject(event)
        call = self._call(Verb.EVENT, symbol, conditional=conditional, client_id=client_id)
        fault = self._faults.decide(call, self._exchange.now_ms)
        if fault is not None and fault.kind in (FaultKind.LOSE_EVENT, FaultKind.SILENT_STREAM):
            return
        hints = nudges(event) if isinstance(event, AccountUpdate) else [Nudge(symbol=symbol)]
        for _ in range(2 if fault is not None and fault.kind is FaultKind.DUPLICATE else 1):
            for nudge in hints:
                self._push(nudge)

    def _hold_trigger(self, row: AlgoRow) -> bool:
        if self._held_before is not None and self._held_before(row):
            return True
        if row.account != self.account:
            return False
        call = self._call(Verb.TRIGGER, row.symbol, conditional=True, kind=row.kind, client_id=row.client_id)
        fault = self._faults.decide(call, self._exchange.now_ms)
        return fault is not None and fault.kind is FaultKind.STUCK_TRIGGERING

    # asking, and what can go wrong with it

    @property
    def _own(self) -> Account:
        return self._exchange.accounts[self.account]

    def _rules(self, symbol: str) -> Instrument:
        facts = self._exchange.facts.get(symbol)
        if facts is None:
            raise Refused(-1121, "Invalid symbol.")
        return facts.instrument

    def _call(
        self, verb: Verb, symbol: str | None, *, conditional: bool | None = None, kind: OrderKind | None = None, client_id: str = ""
    ) -> Call:
        return Call(verb=verb, account=self.account, symbol=symbol, conditional=conditional, kind=kind, client_id=client_id)

    def _write(self, call: Call, act: Callable[[], T]) -> T:
        """Carry a request out, or fail as a fault says."""
        fault = self._faults.decide(call, self._exchange.now_ms)
        what = f"{call.verb.value} {call.client_id or call.symbol}"
        if fault is None or fault.kind is FaultKind.DUPLICATE:
            try:
                answer = act()
            except ExchangeError as refusal:
                raise classified(refusal, what) from None
            if fault is not None:
                with suppress(ExchangeError):  # the second delivery's answer reaches nobody
                    act()
            return answer
        if fault.kind in ACCEPTED:
            with suppress(ExchangeError):  # nobody hears the refusal either
                act()
        _fail(fault, call, what, Unknown)

    def _read(self, call: Call, act: Callable[[], R]) -> R:
        """One row. A fault hides it or makes the reading fail."""
        fault = self._faults.decide(call, self._exchange.now_ms)
        what = f"{call.verb.value} {call.client_id}"
        if fault is not None and fault.kind is not FaultKind.READ_LAG:
            _fail(fault, call, what, Unavailable)
        try:
            row = act()
        except ExchangeError as refusal:
            raise classified(refusal, what) from None
        if fault is not None and row.created_ms > self._exchange.now_ms - fault.delay_ms:
            raise Refused(-2013, "Order does not exist.")
        return row

    def _reading(self, call: Call, act: Callable[[], T]) -> T:
        """Something that is always there: any failure is ``Unavailable``, except an unknown symbol."""
        fault = self._faults.decide(call, self._exchange.now_ms)
        if fault is not None:
            _fail(fault, call, call.verb.value, Unavailable)
        try:
            return act()
        except ExchangeError as refusal:
            if refusal.code == -1121:
                raise Refused(refusal.code, refusal.message) from None
            raise Unavailable(f"{call.verb.value} {call.symbol}: {refusal}") from None

    def _list(self, call: Call, act: Callable[[], tuple[T, ...]], since: Callable[[T], int] | None = None) -> tuple[T, ...]:
        """A list. Faults empty it, leave out its youngest rows or make the reading fail."""
        fault = self._faults.decide(call, self._exchange.now_ms)
        if fault is not None and fault.kind not in (FaultKind.EMPTY, FaultKind.READ_LAG):
            _fail(fault, call, call.verb.value, Unavailable)
        try:
            rows = act()
        except ExchangeError as refusal:
            raise classified(refusal, call.verb.value) from None
        if fault is None:
            return rows
        if fault.kind is FaultKind.EMPTY:
            return ()
        oldest = self._exchange.now_ms - fault.delay_ms
        return rows if since is None else tuple(row for row in rows if since(row) <= oldest)

    def _fresh(self, call: Call, act: Callable[[], tuple[R, ...]]) -> tuple[R, ...]:
        return self._list(call, act, lambda row: row.created_ms)


def _fail(fault: Fault, call: Call, what: str, doubt: type[GatewayError]) -> NoReturn:
    """Raise what a fault makes of a call; ``doubt`` is what an answer that never came means to the caller."""
    if fault.kind is FaultKind.REFUSE:
        error = classified(ExchangeError(fault.code, fault.message), what)
        raise doubt(str(error)) if isinstance(error, Unknown) else error
    if fault.kind is FaultKind.NOT_FOUND:
        code = -2013 if call.verb is Verb.LOOKUP else -2011
        raise Refused(code, "Order does not exist." if code == -2013 else "Unknown order sent.")
    if fault.kind in NOT_SENT:
        raise Unavailable(f"{what}: Service Unavailable.")
    raise doubt(f"{what}: no answer came ({fault.kind.value}); look the order up by its id")
