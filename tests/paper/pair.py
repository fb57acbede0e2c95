"""The engine and its slow model side by side: asked the same, compared after every act."""

from collections.abc import Callable

from qtkit.core.model import E8, OrderSide, OrderStatus, PositionSide, Ticks
from qtkit.paper import margin
from qtkit.paper.account import Account
from qtkit.paper.admission import CALLBACK_MAX_SINCE_MS
from qtkit.paper.exchange import FACTS, Exchange, ExchangeError, NewOrder, Rules
from qtkit.paper.rows import AccountEvent, IncomeKind, OrderRow, OrderUpdate
from tests.paper.engine import BTC, START, money
from tests.paper.reference import Client, Reference, Refusal
from tests.paper.reference import Order as RefOrder

DOGE = "DOGEUSDT"
FIRST = {BTC: 1_000_000, DOGE: 20_000}  # ticks: 100,000 and 0.2
BALANCES = {"one-way": 3_000, "apart": 3_000, "hedge": 300_000}  # the last one's positions reach the higher brackets
NAMES = tuple(BALANCES)


class Pair:
    """The engine and the model, asked the same things."""

    def __init__(self, rules: Rules, *, late: bool = False) -> None:
        start = CALLBACK_MAX_SINCE_MS - 5_000 if late else START
        facts = {symbol: FACTS[symbol] for symbol in (BTC, DOGE)}
        self.engine, self.model = Exchange(rules, start_ms=start, facts=facts), Reference(rules, facts, start)
        self.ends: dict[int, OrderStatus] = {}
        self.codes: set[int] = set()
        self.engine.listeners.append(self.hear)
        for name in NAMES:
            self.engine.open_account(name, balance=money(BALANCES[name]), hedge=name == "hedge")
            client = self.model.clients[name] = Client(name, name == "hedge")
            client.book("TRANSFER", money(BALANCES[name]))
        for symbol, ticks in FIRST.items():
            self.tick(symbol, ticks, ticks * facts[symbol].instrument.tick)
        self.ask(lambda: self.engine.set_margin_mode(self.account("apart"), BTC, isolated=True),
                 lambda: self.model.set_isolated(self.client("apart"), BTC, True))  # fmt: skip
        self.equity: dict[str, int] = {name: money(BALANCES[name]) for name in NAMES}
        self.floating = dict.fromkeys(NAMES, 0)
        self.told = dict.fromkeys(NAMES, 1)

    def account(self, name: str) -> Account:
        return self.engine.accounts[name]

    def client(self, name: str) -> Client:
        return self.model.clients[name]

    def hear(self, event: AccountEvent) -> None:
        """No order lives after its end, so none is both filled and cancelled."""
        if isinstance(event, OrderUpdate):
            assert event.order.order_id not in self.ends, f"{event.order} was told after its end"
            if event.order.status.terminal:
                self.ends[event.order.order_id] = event.order.status

    # acts

    def ask(self, engine: Callable[[], object], model: Callable[[], object]) -> None:
        """Both do it, or both refuse it under the same code."""
        codes = []
        for do in (engine, model):
            try:
                do()
                codes.append(0)
            except (ExchangeError, Refusal) as refusal:
                codes.append(refusal.code)
        assert codes[0] == codes[1], f"the engine answers {codes[0]}, the model {codes[1]}"
        self.codes.add(codes[0])

    def tick(self, symbol: str, last: int, mark: int, ms: int = 1_000) -> None:
        last, mark = max(last, 100), max(mark, 100 * self.engine.facts[symbol].instrument.tick)
        at = self.engine.now_ms + ms
        self.engine.tick(symbol, Ticks(last), E8(mark), at)
        self.model.tick(symbol, last, mark, at)

    def send(self, name: str, new: NewOrder) -> None:
        account, client = self.account(name), self.client(name)
        if new.kind.conditional:
            self.ask(lambda: self.engine.submit_algo(account, new), lambda: self.model.submit_algo(client, new))
        else:
            self.ask(lambda: self.engine.submit(account, new), lambda: self.model.submit(client, new))

    # what must be equal, and what must hold

    def compare(self) -> None:
        for name in NAMES:
            account, client = self.account(name), self.client(name)
            assert account.wallet == client.wallet, name
            held = {slot: (leg.amount, leg.cost, leg.isolated_wallet, leg.isolated) for slot, leg in account.legs.items() if leg.amount}
            assert held == {slot: (leg.amount, leg.cost, leg.margin, leg.isolated) for slot, leg in client.legs.items() if leg.amount}
            assert [self.order(row) for row in account.orders.values()] == [self.same(order) for order in client.orders]
            assert [(row.status.value, row.activated, row.peak, row.actual_quantity) for row in account.algos.values()] == [
                (algo.status, algo.best is not None, algo.best or 0, algo.done) for algo in client.algos
            ]
            assert [
                (t.symbol, t.side is OrderSide.BUY, t.price, t.quantity, t.commission, t.realised, t.maker) for t in account.trades
            ] == client.trades
            assert [(row.kind.value, row.symbol, row.amount) for row in account.incomes] == client.incomes
            assert margin.available(account, self.engine._markets) == self.model.free(client)
            self.conserved(name)
            self.only_reduced(account)

    @staticmethod
    def order(row: OrderRow) -> tuple[object, ...]:
        return row.symbol, row.side is OrderSide.BUY, row.kind, row.quantity, row.price, row.status.value, row.executed, row.quote

    @staticmethod
    def same(order: RefOrder) -> tuple[object, ...]:
        return order.symbol, order.buys, order.kind, order.quantity, order.price, order.status, order.done, order.quote

    def conserved(self, name: str) -> None:
        """Realised + change of the unrealised + commission + funding + transfers + insurance = change of equity, to the last 1e-8."""
        account, wallet = self.account(name), self.engine.wallet(self.account(name))
        rows = account.incomes[self.told[name]:]  # fmt: skip
        self.told[name] = len(account.incomes)
        booked = {kind: sum(row.amount for row in rows if row.kind is kind) for kind in IncomeKind}
        before, self.equity[name] = self.equity[name], wallet.equity
        floating = sum(row.unrealised for row in self.engine.positions(account))
        assert wallet.equity - wallet.wallet == floating == wallet.unrealised
        assert wallet.equity - before == sum(booked.values()) + floating - self.floating[name]
        self.floating[name] = floating
        cash = sum((-1 if trade.side is OrderSide.BUY else 1) * trade.quote for trade in account.trades)
        assert cash + sum(row.notional for row in self.engine.positions(account)) == sum(t.realised for t in account.trades) + floating

    def only_reduced(self, account: Account) -> None:
        """Played again from the trades: an order that may only reduce never enlarged a position and never turned it."""
        amounts: dict[tuple[str, PositionSide], int] = {}
        for trade in account.trades:
            slot, order = (trade.symbol, trade.position_side), account.orders[trade.order_id]
            before = amounts.get(slot, 0)
            amounts[slot] = after = before + (trade.quantity if trade.side is OrderSide.BUY else -trade.quantity)
            closing = (trade.position_side is PositionSide.LONG) is (trade.side is OrderSide.SELL)
            if order.reduce_only or order.close_position or (closing and trade.position_side is not PositionSide.BOTH):
                assert abs(after) < abs(before) and after * before >= 0, order
        for (symbol, side), amount in amounts.items():
            assert account.amount(symbol, side) == amount
            assert side is PositionSide.BOTH or (amount >= 0) is (side is PositionSide.LONG) or not amount
