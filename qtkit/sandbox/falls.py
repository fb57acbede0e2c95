"""Falls and squeezes that really happened, played again with a desk at work: what became of a long and of a short position in each.

A stranger opens both before it begins, without stops; the desk takes them over. The exchange keeps the times of the record. What can be
judged is judged by the exchange's own books: gaps, loosened stops, liquidations are the meter's, fills and fees the account's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qtkit.core.model import ONE, OrderKind, PolicyError, Side
from qtkit.demo.record import whose
from qtkit.paper.barpath import BarPath
from qtkit.paper.meter import LedgerLine, Promise
from qtkit.paper.rows import AlgoRow, Trade
from qtkit.paper.synthetic import Regime, synthetic_tape
from qtkit.paper.tape import INSTRUMENTS, Tape
from qtkit.paper.window import WindowChoice, replay_tape
from qtkit.sandbox.market import START_MS, Market
from qtkit.sandbox.sandbox import Sandbox
from qtkit.table import BAD, GOOD, Table, table

NOTIONAL = 20_000  # USDT of each position
PER_MINUTE = 30  # prices of a bar: one a pass; a bar of a fifth needs more, or each step of its path is a gap


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """One stretch: recorded bars of ``symbol`` in ``folder`` from ``at`` (UTC), or a made one of ``regimes`` by ``seed``."""

    name: str
    symbol: str
    at: str = ""
    folder: str = ""
    regimes: tuple[Regime, ...] = ()
    hours: float = 1.0
    seed: int = 7
    per_minute: int = PER_MINUTE

    def tape(self, data: Path | None, path: BarPath, hours: float | None = None) -> Tape:
        """Its prices. Raises ``PolicyError`` where a recorded one has no data."""
        lasting = hours or self.hours
        if self.regimes:
            starts = {self.symbol: MADE_STARTS[self.symbol]}
            return synthetic_tape(self.seed, lasting, start_ms=START_MS, starts=starts, regimes=self.regimes)  # type: ignore[arg-type]
        if data is None:
            raise PolicyError(f"{self.name} is recorded; name the folder of market data that holds {self.folder}")
        start = int(datetime.fromisoformat(self.at).replace(tzinfo=UTC).timestamp() * 1000)
        choice = WindowChoice.parse(self.symbol, self.at)
        return replay_tape(data / self.folder, [choice], lasting, start_ms=start, per_minute=self.per_minute, path=path, seed=self.seed)


RECORDED = (
    Fall(name="DOT 2025-11-03, a tenth in an hour", symbol="DOTUSDT", at="2025-11-03T14:25", folder="perp_1m", hours=1.1),
    Fall(name="AVAX 2026-02-05, a tenth in an hour", symbol="AVAXUSDT", at="2026-02-05T23:15", folder="perp_1m", hours=1.1),
    Fall(name="SOL 2022-11-09, a fifth in an hour", symbol="SOLUSDT", at="2022-11-09T17:40", folder="spot_1m", hours=1.1),
    Fall(
        name="SOL 2023-01-02 07:14, a fifth up in one bar",
        symbol="SOLUSDT",
        at="2023-01-02T07:00",
        folder="spot_1m",
        hours=0.5,
        per_minute=300,
    ),
)
MADE_STARTS = {"DOTUSDT": 2_291, "SOLUSDT": 14_240}
MADE = (
    Fall(name="made: crash upon crash", symbol="DOTUSDT", regimes=(Regime.CRASH,), hours=0.25),
    Fall(name="made: squeeze upon squeeze", symbol="SOLUSDT", regimes=(Regime.SQUEEZE,), hours=0.25),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one position. Prices and money as decimals for people; times in exchange ms.

    ``exit_price`` is the average of its exits and ``reason`` what they were, in order; both empty while nothing was closed. ``pnl`` is net
    of fees, what is still open at the last mark. ``r`` is that in units of the first planned stop's loss. ``slippage`` is the worst of its
    stops and targets, in bps of the trigger, positive against the position. ``naked_ms`` is the time before the first cover.
    """

    fall: str
    symbol: str
    side: Side
    entry: float
    stop: float
    exit_price: float | None
    closed_ms: int | None
    reason: str
    pnl: float
    r: float
    naked_ms: int
    gaps: int
    worst_gap_ms: int
    loosened: int
    liquidated: bool
    slippage: float | None

    @property
    def sound(self) -> bool:
        """No gap after the first cover, no stop loosened, not liquidated."""
        return not self.gaps and not self.loosened and not self.liquidated


async def play(
    fall: Fall, data: Path | None = None, *, path: BarPath = BarPath.BRIDGE, hours: float | None = None, sides: Sequence[Side] = tuple(Side)
) -> tuple[tuple[Outcome, ...], tuple[Promise, ...]]:
    """Play it with a position of each side, in hedge mode; answers what became of them, and the meter's verdict."""
    tape = fall.tape(data, path, hours)
    sandbox = await Sandbox.open({}, seed=fall.seed, hedge=True, tape=tape)
    try:
        market = sandbox.market
        rules, last = INSTRUMENTS[fall.symbol], tape.tracks[0].lasts[0]
        lots = NOTIONAL * ONE * ONE // (last * rules.tick * rules.lot)
        for side in sides:
            sandbox.stranger(fall.symbol, side, f"{lots * rules.lot / ONE:.8f}")
        await sandbox.replay(tape)
        await sandbox.passes(2)
        stops = {plan.side: plan.stop * plan.tick for plan in reversed(sandbox.plans())}
        outcomes = tuple(_outcome(fall, market, line, stops.get(line.side, 0)) for line in market.meter.ledger())
        return outcomes, sandbox.promises()
    finally:
        await sandbox.close()


def _outcome(fall: Fall, market: Market, line: LedgerLine, stop: int) -> Outcome:
    trades = [row for row in market.trades(fall.symbol) if row.position_side is line.key.position_side]
    trades = [row for row in trades if line.opened_ms <= row.time_ms <= (line.closed_ms or market.now_ms)]
    entry, *rest = trades
    exits = [row for row in rest if row.side is line.side.closing]
    closed = sum(row.quantity for row in exits)
    open_profit = sum(
        row.unrealised for row in market.exchange.positions(market.account, fall.symbol) if row.position_side is line.key.position_side
    )
    net = sum(row.realised - row.commission for row in trades) + (open_profit if line.closed_ms is None else 0)
    risk = abs(entry.price - stop) * entry.quantity // ONE if stop else 0
    return Outcome(
        fall=fall.name, symbol=fall.symbol, side=line.side, entry=entry.price / ONE, stop=stop / ONE,
        exit_price=sum(row.price * row.quantity for row in exits) / closed / ONE if closed else None,
        closed_ms=line.closed_ms, reason=_reason(exits, open_=line.closed_ms is None), pnl=net / ONE, r=net / risk if risk else 0.0,
        naked_ms=line.adoption_ms, gaps=line.gaps, worst_gap_ms=line.worst_gap_ms, loosened=line.loosened, liquidated=line.liquidated,
        slippage=_slippage(market, exits),
    )  # fmt: skip


def _reason(exits: Iterable[Trade], *, open_: bool) -> str:
    """The legs that closed it, in order, alike ones counted."""
    legs: list[list[Any]] = []
    for row in exits:
        who, leg = whose(row.client_id)
        name = leg or ("liquidation" if who == "exchange" else "by a stranger")
        if legs and legs[-1][0] == name:
            legs[-1][1] += 1
        else:
            legs.append([name, 1])
    said = [name if count == 1 else f"{count} {name}s" for name, count in legs]
    return ", ".join([*said, "still open"] if open_ else said)


def _slippage(market: Market, exits: Iterable[Trade]) -> float | None:
    """The worst distance of a fill from its trigger, in bps, positive against the position; None without triggered exits."""
    algos: Mapping[int, AlgoRow] = {row.order_id: row for row in market.account.algos.values() if row.order_id}
    found = []
    for trade in exits:
        algo = algos.get(trade.order_id)
        if algo is not None and algo.trigger and algo.kind is not OrderKind.TRAILING_STOP_MARKET:
            sold = 1 if trade.side.name == "SELL" else -1
            found.append(10_000 * sold * (algo.trigger - trade.price) / algo.trigger)
    return max(found, default=None)


def outcomes_table(outcomes: Iterable[Outcome]) -> Table:
    """The outcomes, a row for each position; ``stop`` is the first one, ``closed`` day and time (UTC)."""
    found = tuple(outcomes)
    rows = [
        {
            "fall": one.fall.partition(",")[0], "side": one.side.name.lower(), "entry": f"{one.entry:g}", "stop": f"{one.stop:g}",
            "exit": "" if one.exit_price is None else f"{one.exit_price:.6g}", "closed": _utc(one.closed_ms), "by": one.reason,
            "USDT": f"{one.pnl:+,.2f}", "R": f"{one.r:+.2f}", "naked": f"{one.naked_ms / 1000:g} s",
            "gap": f"{one.worst_gap_ms / 1000:g} s", "slip (bps)": "" if one.slippage is None else f"{one.slippage:.1f}",
            "sound": "yes" if one.sound else "NO",
        }
        for one in found
    ]  # fmt: skip

    def tone(row: Mapping[str, Any], name: str) -> str:
        if name == "sound":
            return GOOD if row[name] == "yes" else BAD
        good = not str(row[name]).startswith("-")
        return (GOOD if good else BAD) if name in ("USDT", "R") else ""

    columns = (
        "fall", "side", "entry", "stop", "exit", "closed", "by", "USDT", "R", "naked", "gap",
        "slip (bps)", "sound",
    )  # fmt: skip
    right = frozenset(columns) - {"fall", "side", "closed", "by", "sound"}
    caption = (
        f"{len(found)} positions, {sum(one.pnl for one in found):+,.2f} USDT after fees; {sum(not one.sound for one in found)} not sound"
    )
    return table(rows, columns=columns, right=right, caption=caption, tone=tone)


def _utc(ms: int | None) -> str:
    return "open" if ms is None else f"{datetime.fromtimestamp(ms / 1000, UTC):%d %H:%M:%S}"
