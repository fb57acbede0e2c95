"""The embedded exchange: accounts and orders under Binance USD-M's rules, moved only by the prices and times handed in.

Synchronous, single-threaded, integers only, no clock and no randomness of its own: every price, rest and refusal repeats exactly.
Over 300 lines: what a client may ask of the exchange beside orders stands in one place.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from qtkit.core.matching import notional
from qtkit.core.model import E8, Bar, PositionSide, Ticks, TriggerBy
from qtkit.paper import margin
from qtkit.paper.account import Account, Leg
from qtkit.paper.authority import Authority
from qtkit.paper.candles import Book, Candle, Depth, FundingRow
from qtkit.paper.facts import FACTS, Facts
from qtkit.paper.ledger import BarListener, PriceListener
from qtkit.paper.liquidity import Liquidity
from qtkit.paper.market import HOUR_MS, MINUTE_MS, Market, Token, merge
from qtkit.paper.rows import (
    AccountEvent,
    AlgoRow,
    ConfigUpdate,
    ExchangeError,
    Income,
    IncomeKind,
    NewOrder,
    OrderRow,
    PositionRow,
    Reason,
    SymbolConfig,
    Trade,
    Wallet,
)
from qtkit.paper.rules import Rules


class Exchange(Authority):
    """Binance USD-M in process. Orders: see ``submit``, ``submit_algo`` and their neighbours in the two books.

    ``listeners`` get account events at the end of the call that caused them, in order, for all accounts;
    ``price_listeners`` (symbol, last, mark, time) every tick after it was worked off; ``bar_listeners`` (symbol, series, candle)
    every minute that closed. ``hold_trigger``, if set, is asked when a conditional order triggers: True leaves it stuck in TRIGGERING.
    All methods raise ``ExchangeError`` with Binance's code where the exchange would refuse. ``seed`` sets where ids begin.
    """

    def __init__(self, rules: Rules | None = None, seed: int = 0, start_ms: int = 0, facts: Mapping[str, Facts] = FACTS) -> None:
        super().__init__(rules or Rules(), seed, start_ms, facts)

    # time and prices

    def tick(self, symbol: str, last: Ticks, mark: E8, at_ms: int, traded: E8 | None = None) -> None:
        """The market moves: last price in ticks, mark price in E8. Time never runs back. Raises -1121.

        ``traded`` at that last price, coins in E8, below 0 where a seller took; 0: only the mark or a quote moved; None: not known, which
        counts as one lot.
        """
        market = self._markets.get(symbol) or self._market(symbol)
        price = last * market.tick
        if at_ms > self.now_ms:
            self.now_ms = at_ms
        if self.now_ms >= market.wake_ms:
            self._wake(market, price, mark)
        market.time_ms = self.now_ms
        market.observe(price, mark, traded)
        if self.now_ms >= market.funding_ms:
            self._fund(market)
        by_last, by_mark, guards = market.last_waits, market.mark_waits, market.guards
        if (
            price >= by_last.ceiling
            or price <= by_last.floor
            or mark >= by_mark.ceiling
            or mark <= by_mark.floor
            or mark >= guards.ceiling
            or mark <= guards.floor
        ):
            self._react(market)
        if self._pending or self._dirty:
            self._done()
        for listener in self.price_listeners:
            listener(symbol, last, mark, self.now_ms)

    def advance(self, at_ms: int) -> None:
        """Time passes without a price: minutes close, orders with a date expire, funding is paid."""
        if at_ms <= self.now_ms:
            return
        self.now_ms = at_ms
        for market in self._markets.values():
            if market.last and at_ms >= market.wake_ms:
                self._roll(market)
                market.wake_ms = min(at_ms, market.funding_ms, self._expire(market.symbol))
            if at_ms >= market.funding_ms:
                self._fund(market)
        self._done()

    def _wake(self, market: Market, price: int, mark: int) -> None:
        """A minute's first tick: close the minute before, open this one. Also the date of an order."""
        minute = self.now_ms // MINUTE_MS
        self._roll(market)
        if market.last_series.minute < minute or not market.mark_series.count:
            market.restart(minute, price, mark)
        market.wake_ms = min((minute + 1) * MINUTE_MS, self._expire(market.symbol))
        self._dirty.update((name, None) for name, account in self.accounts.items() if account.called)

    def _roll(self, market: Market) -> None:
        minute = self.now_ms // MINUTE_MS
        for by, series in ((TriggerBy.LAST, market.last_series), (TriggerBy.MARK, market.mark_series)):
            for candle in series.roll(minute):
                for listener in self.bar_listeners:
                    listener(market.symbol, by, candle)

    def _react(self, market: Market) -> None:
        """Work off what this price reaches: each order once, the nearest first; the order of liquidation is a rule.

        An account that this very tick funded is looked at as well: its guards were set before it paid.
        """
        guarded = {name: None for name, _, _ in market.guards.reached(market.mark)} | self._dirty
        if self.rules.liquidation_first:
            for name in guarded:
                self._check_margin(self.accounts[name])
        tokens: list[Token] = [*market.last_waits.reached(market.last), *market.mark_waits.reached(market.mark)]
        for kind, name, number in tokens:
            account = self.accounts[name]
            if kind == "order":
                self._fill_resting(account, market, number)
            elif kind == "algo":
                self._trigger_algo(account, market, number)
            else:
                self._trail(account, market, number)
        self._dirty.update(guarded)

    def book(self, symbol: str) -> Book:
        """Last, mark, bid, ask and funding. Raises -1121, and -4131 before the first tick."""
        return self._market(symbol).book(self.now_ms)

    def depth(self, symbol: str, limit: int = 500) -> Depth:
        """The nearest levels of the book, at most ``limit`` a side: what an order would get; none before the first tick. Raises -1121."""
        return self._market(symbol).depth(limit, self.now_ms)

    def quote(self, symbol: str) -> Book:
        """The same, its prices nought before the first tick. Raises -1121."""
        quote = self._market(symbol).quote(self.now_ms)
        return quote if quote.last else replace(quote, time_ms=self.now_ms)

    def candles(
        self,
        symbol: str,
        by: TriggerBy,
        *,
        minutes: int = 1,
        limit: int = 500,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> tuple[Candle, ...]:
        """Candles of a series, oldest first, the running one last: the first ``limit`` from ``start_ms`` on, else the newest."""
        market = self._market(symbol)
        span = minutes * MINUTE_MS
        merged = merge(market.candles(by), minutes)
        first = -span if start_ms is None else start_ms
        chosen = [c for c in merged if c.time_ms >= first and (end_ms is None or c.time_ms <= end_ms)]
        return tuple(chosen[-limit:] if start_ms is None else chosen[:limit])

    def traded(self, symbol: str) -> E8:
        """What changed hands with the last price, below 0 where a seller took; 0: nothing. Raises -1121."""
        return E8(self._market(symbol).traded)

    def seed_bars(self, symbol: str, by: TriggerBy, bars: Iterable[Bar], volumes: Iterable[int] = ()) -> None:
        """Hand in one-minute history, oldest first, before the symbol's first tick; ``volumes`` in coins, E8, where they are known."""
        self._market(symbol).seed(by, bars, volumes)

    def set_funding(self, symbol: str, rate: E8, next_ms: int, *, hours: int | None = None) -> None:
        """Set the rate that is paid at ``next_ms`` and, until set again, every ``hours`` (default: as before) after it."""
        market = self._market(symbol)
        market.funding_rate, market.funding_ms = rate, next_ms
        market.funding_hours = hours or market.funding_hours

    def funding_history(self, symbol: str) -> tuple[FundingRow, ...]:
        """Settled fundings of a symbol, oldest first."""
        return tuple(self._market(symbol).fundings)

    def funding_hours(self, symbol: str) -> int:
        """Hours between two fundings."""
        return self._market(symbol).funding_hours

    def liquidity(self, symbol: str) -> Liquidity:
        """The model of a symbol's book."""
        return self._market(symbol).liquidity

    def set_liquidity(self, symbol: str, liquidity: Liquidity) -> None:
        """Give a symbol another book; what was taken from the old one is forgotten."""
        market = self._market(symbol)
        market.liquidity = liquidity
        market.eaten.clear()

    # accounts

    def open_account(self, name: str, *, balance: E8, hedge: bool = False) -> Account:
        """Open an account with money in it; one-way mode unless ``hedge``. Raises ``ValueError`` if the name is taken."""
        if name in self.accounts:
            raise ValueError(f"an account named {name!r} is open already; choose another name")
        account = self.accounts[name] = Account(name=name, hedge=hedge, updated_ms=self.now_ms)
        self._income(account, "", IncomeKind.TRANSFER, balance)
        return account

    def deposit(self, account: Account, amount: E8) -> None:
        """Money comes in (or leaves, if negative)."""
        self._income(account, "", IncomeKind.TRANSFER, amount)
        self._dirty[account.name] = None
        self._tell_account(account, Reason.DEPOSIT, (), amount)
        self._done()

    def wallet(self, account: Account) -> Wallet:
        """The account's money."""
        return margin.wallet(account, self._markets)

    def positions(self, account: Account, symbol: str | None = None, *, flat: bool = False) -> tuple[PositionRow, ...]:
        """Open positions; with ``flat`` every slot of every symbol, also the empty ones."""
        if symbol is not None:
            self._market(symbol)
        symbols = self._markets if symbol is None else (symbol,)
        sides = (PositionSide.LONG, PositionSide.SHORT) if account.hedge else (PositionSide.BOTH,)
        rows = []
        for name in symbols:
            for side in sides:
                leg = account.legs.get((name, side)) or Leg(name, side)
                if flat or leg.amount:
                    rows.append(margin.position_row(account, leg, self._markets))
        return tuple(rows)

    def config(self, account: Account, symbol: str) -> SymbolConfig:
        """Leverage and margin mode of a symbol."""
        facts = self._market(symbol).facts
        setting = account.setting(symbol)
        most = facts.max_notional(setting.leverage)
        return SymbolConfig(symbol=symbol, leverage=setting.leverage, isolated=setting.isolated, max_notional=most)

    def trades(self, account: Account, symbol: str | None = None) -> tuple[Trade, ...]:
        """Fills, oldest first."""
        return tuple(trade for trade in account.trades if symbol in (None, trade.symbol))

    def income(self, account: Account, symbol: str | None = None) -> tuple[Income, ...]:
        """Changes of the wallet, oldest first; their sum is the wallet."""
        return tuple(row for row in account.incomes if symbol in (None, row.symbol))

    def set_leverage(self, account: Account, symbol: str, leverage: int) -> SymbolConfig:
        """Leverage of a symbol. Raises -4028 (not allowed), -4161 (cut with an isolated position), -2027, -2028, -2019."""
        market = self._market(symbol)
        setting = account.setting(symbol)
        if not 1 <= leverage <= market.facts.max_leverage:
            raise ExchangeError(-4028, f"Leverage {leverage} is not valid")
        legs = [leg for leg in account.open_legs() if leg.symbol == symbol]
        if leverage < setting.leverage and any(leg.isolated for leg in legs):
            raise ExchangeError(-4161, "Leverage reduction is not supported in Isolated Margin Mode with open positions.")
        most = market.facts.max_notional(leverage)
        if any(abs(notional(market.mark, leg.amount)) > most for leg in legs):
            raise ExchangeError(-2027, "Exceeded the maximum allowable position at current leverage.")
        before, setting.leverage = setting.leverage, leverage
        if leverage < before and (legs or account.resting(symbol)) and not margin.available(account, self._markets):
            setting.leverage = before
            raise ExchangeError(-2028, "Leverage is smaller than permitted: insufficient margin balance.")
        self._tell(ConfigUpdate(account=account.name, symbol=symbol, leverage=leverage, at_ms=self.now_ms))
        self._done()
        return self.config(account, symbol)

    def set_margin_mode(self, account: Account, symbol: str, *, isolated: bool) -> None:
        """Cross or isolated. Raises -4046 (unchanged), -4047 (open orders), -4048 (open position)."""
        self._market(symbol)
        setting = account.setting(symbol)
        if setting.isolated is isolated:
            raise ExchangeError(-4046, "No need to change margin type.")
        if account.resting(symbol) or account.waiting(symbol):
            raise ExchangeError(-4047, "Margin type cannot be changed if there exists open orders.")
        if any(leg.symbol == symbol for leg in account.open_legs()):
            raise ExchangeError(-4048, "Margin type cannot be changed if there exists position.")
        setting.isolated = isolated
        slots = (PositionSide.LONG, PositionSide.SHORT) if account.hedge else (PositionSide.BOTH,)
        self._tell_account(account, Reason.MARGIN_TYPE_CHANGE, tuple(Leg(symbol, side, isolated=isolated) for side in slots))
        self._done()

    def set_position_mode(self, account: Account, *, hedge: bool) -> None:
        """One-way or hedge. Raises -4059 (unchanged), -4067 (open orders), -4068 (open positions)."""
        if account.hedge is hedge:
            raise ExchangeError(-4059, "No need to change position side.")
        if account.open_orders or account.open_algos:
            raise ExchangeError(-4067, "Position side cannot be changed if there exists open orders.")
        if any(account.open_legs()):
            raise ExchangeError(-4068, "Position side cannot be changed if there exists position.")
        account.hedge = hedge

    def add_position_margin(self, account: Account, symbol: str, amount: E8, side: PositionSide = PositionSide.BOTH) -> None:
        """Move margin into (or, negative, out of) an isolated position.

        Raises -4055 (nothing), -4054 (there is none), -4049 (it is cross), -4050 (more than is free), -4051 (needed there).
        """
        self._market(symbol)
        leg = account.legs.get((symbol, side))
        if not amount:
            raise ExchangeError(-4055, "Amount must be positive.")
        if leg is None or not leg.amount:
            raise ExchangeError(-4054, "Cannot add position margin: position is 0.")
        if not leg.isolated:
            raise ExchangeError(-4049, "Add margin only support for isolated position.")
        if amount > margin.available(account, self._markets):
            raise ExchangeError(-4050, "Cross balance insufficient.")
        kept = leg.isolated_wallet + amount + min(margin.unrealised(leg, self._markets), 0)
        if amount < 0 and kept < margin.position_margin(account, leg, self._markets):
            raise ExchangeError(-4051, "Isolated balance insufficient.")
        leg.isolated_wallet += amount
        self._dirty[account.name] = None
        self._tell_account(account, Reason.MARGIN_TRANSFER, (leg,))
        self._done()

    # copies

    def clone(self) -> "Exchange":
        """An independent copy with the same state and the same future: no listeners, no ``hold_trigger``.

        Accounts are copied too: use ``clone.accounts[name]``, not the original's account objects.
        """
        twin = Exchange(self.rules, 0, self.now_ms, {})
        twin.facts = self.facts
        twin.accounts = {name: account.clone() for name, account in self.accounts.items()}
        twin._markets = {symbol: market.clone() for symbol, market in self._markets.items()}
        twin._last_id, twin.halted = self._last_id, self.halted.copy()
        twin._deadlines = {symbol: heap.copy() for symbol, heap in self._deadlines.items()}
        return twin


__all__ = [
    "FACTS",
    "HOUR_MS",
    "Account",
    "AccountEvent",
    "AlgoRow",
    "BarListener",
    "Exchange",
    "ExchangeError",
    "Facts",
    "NewOrder",
    "OrderRow",
    "PriceListener",
    "Rules",
]
