"""What a price costs in the paper exchange, in process: with orders far from it, with many more of them, and with some that trigger.

    python -m tests.bench.paper --json

prints these figures and those of its server (``paper_server``).

No speed is quoted before the same exchange with a slow index, which asks all orders at every price, has given the same orders, fills,
incomes and events on the same prices in the same run. Prices are made before the clock starts. Times are those of the processor, for
nothing is waited for: what else the machine does counts as little as it can. The garbage collector is on, and in the figures.
"""

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import aiohttp

from qtkit.core.model import E8, ONE, Bps, OrderKind, OrderSide, Ticks, TriggerBy
from qtkit.paper.account import Account
from qtkit.paper.exchange import Exchange, NewOrder, Rules
from qtkit.paper.market import Token
from qtkit.paper.rows import AccountEvent, TimeInForce
from qtkit.paper.triggers import TriggerIndex
from tests.bench import paper_server
from tests.bench.live import Figure, load, told
from tests.bench.rig import start_price, symbols_of

START_MS = 1_763_683_200_000
TICKS = 200_000
SLOW_TICKS = 4_000
REPEATS = 5  # of each size, by turns with the others; medians are told
GAP_MS = 3  # between two ticks: 333 a second
AN_ACCOUNT = 500  # orders; more accounts for more orders
RULES = Rules(max_conditional=1_000_000, max_orders=1_000_000)
STEP = 0.0003  # standard deviation of a price's return; 200,000 ticks on 10 symbols wander by 4 %
FAR = (0.20, 0.30)  # how far from the first price the far orders rest
CLIMB = 0.10  # how far prices rise where orders trigger: never to the far ones
STOPS, TAKES = OrderKind.STOP_MARKET, OrderKind.TAKE_PROFIT_MARKET
Tick = tuple[str, Ticks, E8, int]


class AskAll(TriggerIndex[Token]):
    """The slow reference: no bounds and no heaps; each price is compared with the key of each token that waits."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[Token, tuple[int, int, bool]] = {}
        self.ceiling = -1  # every price is above it: the exchange always asks

    def add(self, token: Token, key: int, *, rising: bool) -> None:
        """Wait for the key; a token waits once, and under a new number when it is added again."""
        self._serial += 1
        self.waiting.pop(token, None)
        self.waiting[token] = (key, self._serial, rising)

    def discard(self, token: Token) -> None:
        """Stop waiting."""
        self.waiting.pop(token, None)

    def reached(self, price: int) -> list[Token]:
        """What rising prices reach and then what falling ones do, the nearest key first, then the oldest."""
        up = sorted((k, n, token) for token, (k, n, rising) in self.waiting.items() if rising and price >= k)
        down = sorted((-k, n, token) for token, (k, n, rising) in self.waiting.items() if not rising and price <= k)
        hits = [token for _, _, token in up + down]
        for token in hits:
            del self.waiting[token]
        return hits


@dataclass
class Rig:
    """An exchange with positions and orders, and the prices to come."""

    exchange: Exchange
    base: dict[str, int]
    seed: int = 5

    @staticmethod
    def make(symbols: int, *, slow: bool = False) -> "Rig":
        """One price of each symbol, and a position in it, long and short by turns, so that margins are watched as well."""
        facts = symbols_of(symbols)
        exchange = Exchange(RULES, start_ms=START_MS, facts=facts)
        base = {symbol: start_price(one) for symbol, one in facts.items()}
        if slow:
            for market in exchange._markets.values():
                market.last_waits, market.mark_waits = AskAll(), AskAll()
        for symbol, price in base.items():
            exchange.tick(symbol, Ticks(price), E8(price * facts[symbol].instrument.tick), START_MS)
        holder = exchange.open_account("holder", balance=E8(10_000_000 * ONE))
        for number, symbol in enumerate(base):
            side = (OrderSide.BUY, OrderSide.SELL)[number % 2]
            exchange.submit(holder, NewOrder(symbol=symbol, side=side, kind=OrderKind.MARKET, quantity=lots(exchange, symbol)))
        return Rig(exchange, base)

    def rest(self, count: int, near: float, far: float) -> None:
        """So many orders between these distances from the first price: stops and take-profits on both series, limits, trailing stops."""
        pick = random.Random(self.seed)
        names = list(self.base)
        for number in range(count):
            account = self.account(number // AN_ACCOUNT)
            symbol, side = names[number % len(names)], pick.choice(list(OrderSide))
            distance, kind = pick.uniform(near, far), number // len(names) % 5
            by = (TriggerBy.MARK, TriggerBy.LAST)[number // len(names) % 2]
            if kind == 4 and distance < 0.05:  # a limit further away than the filters allow is refused
                self.limit(account, symbol, side, distance)
            else:
                self.conditional(account, symbol, side, (STOPS, TAKES, STOPS, OrderKind.TRAILING_STOP_MARKET, TAKES)[kind], distance, by)

    def account(self, number: int) -> Account:
        """The account of that number, opened when first asked for."""
        name = f"a{number}"
        return self.exchange.accounts.get(name) or self.exchange.open_account(name, balance=E8(100_000_000 * ONE))

    def price(self, symbol: str, share: float) -> E8:
        """A price on the grid, so far from the first one."""
        return E8(max(1, round(self.base[symbol] * (1 + share))) * self.exchange.facts[symbol].instrument.tick)

    def limit(self, account: Account, symbol: str, side: OrderSide, distance: float) -> None:
        """A resting limit order."""
        price = self.price(symbol, -distance if side is OrderSide.BUY else distance)
        new = NewOrder(symbol=symbol, side=side, kind=OrderKind.LIMIT, quantity=lots(self.exchange, symbol), price=price)
        self.exchange.submit(account, replace(new, time_in_force=TimeInForce.GTC))

    def conditional(self, account: Account, symbol: str, side: OrderSide, kind: OrderKind, distance: float, by: TriggerBy) -> None:
        """A stop, a take-profit or a trailing stop that waits for its activation."""
        trailing = kind is OrderKind.TRAILING_STOP_MARKET
        above = (side is OrderSide.BUY) is (kind is STOPS)
        at = self.price(symbol, distance if above else -distance)
        self.exchange.submit_algo(
            account,
            NewOrder(
                symbol=symbol, side=side, kind=kind, quantity=lots(self.exchange, symbol), trigger=None if trailing else at,
                activation=at if trailing else None, callback=Bps(50) if trailing else None, trigger_by=by,
            ),
        )  # fmt: skip

    def ticks(self, count: int, drift: float = 0.0) -> list[Tick]:
        """So many prices, the symbols by turns, each a walk; the mark lies a little beside the last price."""
        pick, at = random.Random(self.seed + 1), {symbol: float(price) for symbol, price in self.base.items()}
        names, sizes = list(at), {symbol: one.instrument.tick for symbol, one in self.exchange.facts.items()}
        found = []
        for number in range(count):
            symbol = names[number % len(names)]
            at[symbol] *= 1 + drift + pick.gauss(0, STEP if not drift else drift)
            last = max(1, round(at[symbol]))
            found.append((symbol, Ticks(last), E8(round(at[symbol] * sizes[symbol])), START_MS + GAP_MS * (number + 1)))
        return found

    def play(self, ticks: list[Tick]) -> float:
        """Nanoseconds a tick."""
        tick = self.exchange.tick
        began = time.process_time_ns()
        for symbol, last, mark, at_ms in ticks:
            tick(symbol, last, mark, at_ms)
        return (time.process_time_ns() - began) / len(ticks)

    def state(self) -> list[object]:
        """All that an account can know of itself."""
        return [
            (a.name, a.orders, a.algos, a.trades, a.incomes, a.wallet, list(a.open_orders), list(a.open_algos))
            for a in self.exchange.accounts.values()
        ]

    def open_orders(self) -> int:
        """Orders that rest."""
        return sum(len(account.open_orders) + len(account.open_algos) for account in self.exchange.accounts.values())


def lots(exchange: Exchange, symbol: str) -> E8:
    """A quantity of about 1,000 USDT, or the least the filters take."""
    rules, last = exchange.facts[symbol].instrument, exchange.book(symbol).last
    return E8(max(rules.min_lots, 1_000 * ONE * ONE // last // rules.lot) * rules.lot)


def equal(symbols: int, resting: int, *, near: float, far: float) -> tuple[float, float, int]:
    """The exchange beside the one that asks all orders: (fast, slow) ns a tick, and events, which are the same, or no speed is quoted."""
    rigs, events, spent = [Rig.make(symbols), Rig.make(symbols, slow=True)], list[list[AccountEvent]](), []
    for rig in rigs:
        events.append([])
        rig.exchange.listeners.append(events[-1].append)
        rig.rest(resting, near, far)
        spent.append(rig.play(rig.ticks(SLOW_TICKS)))
    if events[0] != events[1] or rigs[0].state() != rigs[1].state():
        raise AssertionError("the exchange and the one that asks all orders disagree: no speed is quoted")
    return spent[0], spent[1], len(events[0])


def far_orders(sizes: tuple[int, ...], symbols: int, count: int) -> dict[int, list[float]]:
    """Nanoseconds a tick for so many resting orders that no price reaches, the sizes by turns."""
    found: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(REPEATS):
        for size in sizes:
            rig = Rig.make(symbols)
            rig.rest(size, *FAR)
            resting = rig.open_orders()
            found[size].append(rig.play(rig.ticks(count)))
            if rig.open_orders() != resting or resting != size:
                raise AssertionError(f"of {size} far orders {rig.open_orders()} rest")
    return found


def mixed(symbols: int, resting: int, count: int) -> tuple[float, float]:
    """Nanoseconds a tick where about one of a hundred triggers an order: (ns, share of ticks that triggered).

    Prices rise; above them wait buying stops and selling take-profits by turns, each a little above the last, 1,000 far ones beside them.
    """
    rig, drift = Rig.make(symbols), CLIMB * symbols / count
    rig.rest(resting, *FAR)
    waiting = count // 100 // symbols
    for number in range(waiting):
        kind, side = ((STOPS, OrderSide.BUY), (TAKES, OrderSide.SELL))[number % 2]
        for symbol in rig.base:
            at = 0.0003 + CLIMB * number / waiting
            rig.conditional(rig.account(1_000 + number // 50), symbol, side, kind, at, (TriggerBy.MARK, TriggerBy.LAST)[number // 2 % 2])
    ticks = rig.ticks(count, drift)
    spent = rig.play(ticks)
    filled = {row.triggered_ms for a in rig.exchange.accounts.values() for row in a.algos.values() if row.order_id}
    return spent, len(filled) / len(ticks)


def prices_figures(*, symbols: int = 10, count: int = TICKS, sizes: tuple[int, ...] = (100, 1_000, 10_000)) -> list[Figure]:
    """What prices cost; equality first."""
    busy = equal(symbols, 1_000, near=0.0005, far=0.02)
    quiet = equal(symbols, 1_000, near=FAR[0], far=FAR[1])
    rows = far_orders(sizes, symbols, count)
    mixes = [mixed(symbols, 1_000, count) for _ in range(3)]
    cost = {size: statistics.median(spent) for size, spent in rows.items()}
    growth = statistics.median(most / least for least, most in zip(rows[sizes[0]], rows[sizes[-1]], strict=True))
    quietest = min(rows[sizes[-1]]) / min(rows[sizes[0]])
    found = []
    for size in sizes:
        note = f"{1e9 / cost[size]:,.0f} ticks a second; quietest run {min(rows[size]) / 1e3:.2f} us; median of {REPEATS} x {count:,}"
        name = f"a tick, {size:,} far orders on {symbols} symbols"
        found.append(Figure(name, cost[size] / 1e3, "us", 5.0 if size == 1_000 else None, note))
    mix, share = statistics.median(one for one, _ in mixes), statistics.median(one for _, one in mixes)
    return [
        *found,
        Figure(f"growth, {sizes[0]:,} to {sizes[-1]:,} far orders", growth, "x", 1.5, f"median of pairs; quietest {quietest:.2f} x"),
        Figure("a tick, 1,000 far orders and some that trigger", mix / 1e3, "us", 5.0, f"{share:.1%} of ticks; {1e9 / mix:,.0f} a second"),
        Figure("a trigger with its fill", (mix - cost[1_000]) / share / 1e3 if share else 0.0, "us", None, "what such a tick costs more"),
        Figure("all orders asked / index, far orders", quiet[1] / quiet[0], "x", None, f"equal; asking all {quiet[1] / 1e3:.1f} us a tick"),
        Figure("all orders asked / index, near orders", busy[1] / busy[0], "x", None, f"equal, {busy[2]:,} events in {SLOW_TICKS:,} ticks"),
    ]  # fmt: skip


def figures() -> list[Figure]:
    """All measurements, in process and over the wire."""
    return prices_figures() + paper_server.figures()


def main(report: Callable[[str], object] = print) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    given = parser.parse_args()
    found = figures()
    if given.json:
        rows = [{**asdict(figure), "kept": figure.kept} for figure in found]
        about = {"python": sys.version.split()[0], "aiohttp": aiohttp.__version__, "cores": os.cpu_count(), "load": list(load())}
        report(json.dumps(about | {"figures": rows}))
    else:
        report("\n".join(told(figure) for figure in found))
    sys.exit(0 if all(figure.kept for figure in found) else 1)


if __name__ == "__main__":
    main()
