"""The desk side of a sandbox: the same monitor, router, executor and stores as in production, driven second by second."""

import asyncio
import logging
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path as Folder
from tempfile import TemporaryDirectory
from typing import Self

import polars as pl
import structlog

from qtkit import lab
from qtkit.apply import Applier
from qtkit.charts.story import Story
from qtkit.core.decide import Desk
from qtkit.core.events import EpisodeOpened, Event
from qtkit.core.model import ONE, Scope, Side
from qtkit.core.plan import ExitPlan
from qtkit.core.policy import ExitPolicy, named
from qtkit.desk import EVENT_TYPES, VENUE, traits_of
from qtkit.ledger import Ledger, Step, lines_of, orders_of, steps_of
from qtkit.monitor import PositionMonitor
from qtkit.paper.gateway import PaperGateway
from qtkit.paper.meter import Promise
from qtkit.paper.tape import Tape, Tick
from qtkit.recorded import Recorded, recorded
from qtkit.router import ExitRouter, Planning
from qtkit.sandbox.market import BALANCE, SECOND_MS, Market, Path
from qtkit.store.journal import Journal, JournalReader, Row
from qtkit.store.register import PlanRegister
from qtkit.store.tape import Tape as Seen
from qtkit.store.tape import TapeReader
from qtkit.trailing import Follows, TrailingStopManager

TAG = "box0"
PREFIX = f"q1{TAG}"  # of the client ids of this desk
TICK_S = 2
TURNS = 4  # of the event loop, until an event has reached its listener


class Sandbox:
    """An exchange, a stranger and a desk. Make one with ``open``; ``close`` ends it and removes its files.

    ``market`` is the exchange side; ``story()`` gives all that happened there as frames.
    """

    def __init__(
        self, market: Market, files: TemporaryDirectory[str], policy: ExitPolicy | None, scope: Scope, *, closed_bars: bool = False
    ) -> None:
        self.market, self.home, self._closed_bars = market, Folder(files.name), closed_bars
        self._files = files  # removed by close, or at the latest with this object
        self._policy, self._scope = policy, scope
        self._desk: _Desk | None = None
        self._quieted = False

    def __repr__(self) -> str:
        at = datetime.fromtimestamp(self.market.now_ms / 1000, UTC)
        held = len(self.market.exchange.positions(self.market.account))
        desk = "a desk runs" if self._desk is not None else "no desk runs"
        return f"sandbox at {at:%Y-%m-%d %H:%M:%S} UTC: {desk}, positions open: {held}, begun with {BALANCE:,} USDT"

    @classmethod
    async def open(
        cls,
        starts: Mapping[str, str],
        *,
        seed: int = 7,
        policy: str | None = None,
        scope: Scope = Scope.FULL,
        hedge: bool = False,
        tape: Tape | None = None,
        closed_bars: bool = False,
    ) -> Self:
        """A desk on an empty account with 100,000 USDT, at 2025-11-21 00:00 UTC. ``starts`` are the first prices by symbol; a
        ``tape`` gives prices, history and time instead, for ``replay``.

        ``policy`` names that of adopted positions (None: chosen by the market's regime); trails follow every price, or with
        ``closed_bars`` those alone. Raises ``PolicyError`` for unknown names.
        """
        market = Market(starts, seed=seed, hedge=hedge, prefix=PREFIX, tape=tape)
        chosen = None if policy is None else named(policy)
        files = TemporaryDirectory(prefix="qtkit-sandbox-", ignore_cleanup_errors=True)
        sandbox = cls(market, files, chosen, scope, closed_bars=closed_bars)
        sandbox._quiet()
        await sandbox.start()
        return sandbox

    async def close(self) -> None:
        """End the desk and remove its files."""
        await self._end()
        self._files.cleanup()
        if self._quieted:
            structlog.reset_defaults()

    def _quiet(self) -> None:
        """A notebook shows what it asks for, not the log; what went wrong still goes to stderr. Left alone where logs are configured."""
        if not structlog.is_configured():
            level = structlog.make_filtering_bound_logger(logging.ERROR)
            structlog.configure(wrapper_class=level, logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
            self._quieted = True

    # -- what happens -----------------------------------------------------------------------------------------------------------

    def stranger(self, symbol: str, side: Side, size: str) -> None:
        """Somebody with the account's own key opens or adds at the market, without a stop. ``size`` is in coins."""
        self.market.order(symbol, side, size, closes=False)

    def leaves(self, symbol: str, side: Side, size: str) -> None:
        """Somebody with the account's own key reduces or closes at the market."""
        self.market.order(symbol, side, size, closes=True)

    async def passes(self, count: int = 1) -> None:
        """Passes of the desk, each two seconds after the last. Without a desk only time passes."""
        for _ in range(count):
            self.market.pass_time(TICK_S * SECOND_MS)
            await self._pass()

    async def play(self, plays: Mapping[str, Path]) -> None:
        """Prices move through points (minute, percent away from the price now), one a second, the desk passing every two.

        ``{"AVAXUSDT": [(10, -2.5), (15, -1.0)]}``: in ten minutes 2.5 % down, five minutes later 1 % below where it began.
        """
        for second, ticks in enumerate(self.market.paths(plays), start=1):
            for tick in ticks:
                self.market.feed(tick)
            if second % TICK_S == 0:
                await self._pass()

    async def replay(self, ticks: Iterable[Tick]) -> None:
        """Prices of a tape as they come, the desk passing every two seconds of the exchange's time."""
        due = self.market.now_ms + TICK_S * SECOND_MS
        for tick in ticks:
            while tick.at_ms > due:
                self.market.exchange.advance(due)
                await self._pass()
                due += TICK_S * SECOND_MS
            self.market.feed(tick)

    async def kill(self) -> None:
        """The desk is gone, without a farewell; what rests on the exchange goes on resting."""
        await self._end()
        at = datetime.fromtimestamp(self.market.now_ms / 1000, UTC)
        kill = {"time_ms": self.market.now_ms, "symbol": "", "evidence": f"the desk was ended at {at:%H:%M:%S} UTC"}
        self.market.recorder.kills.append(kill)

    async def start(self) -> None:
        """A desk is started, from the journal and the register of the one before."""
        if self._desk is None:
            self._desk = await _Desk.begin(self.market, self.home, self._policy, self._scope, self._closed_bars)
            if kills := self.market.recorder.kills:
                kills[-1]["until_ms"] = self.market.now_ms

    async def _pass(self) -> None:
        if self._desk is not None:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            await self._desk.monitor.pass_once()

    async def _end(self) -> None:
        desk, self._desk = self._desk, None
        if desk is not None:
            await desk.end()

    # -- what can be asked ------------------------------------------------------------------------------------------------------

    @property
    def desk(self) -> "_Desk":
        """The living desk. Raises ``RuntimeError`` between ``kill`` and ``start``."""
        if self._desk is None:
            raise RuntimeError("no desk runs in this sandbox now; `await sandbox.start()` starts one")
        return self._desk

    def ledger(self) -> Ledger:
        """The newest pass: each position, what covers it, what it would cost, and every resting order, ours and foreign."""
        monitor = self.desk.monitor
        health, book, instruments = monitor.health, monitor.applier.book, monitor.gateway.instruments
        held = [line for line in health.coverage if line.key in book.episodes]
        return Ledger(
            account="paper", scope=self._scope.value, running=True, at_ms=self.market.now_ms, last_pass_ms=health.last_pass_ms,
            tick_ms=TICK_S * SECOND_MS, fault=health.fault, alarms=health.alarms, orders=orders_of(health.snapshots, instruments, TAG),
            lines=lines_of(held, book.episodes, health.snapshots, instruments, slips=book.slips),
        )  # fmt: skip

    async def preview(self) -> tuple[Step, ...]:
        """What the next pass would do; nothing is sent."""
        monitor = self.desk.monitor
        decision = await monitor.preview()
        return steps_of(decision.actions, decision.book, monitor.health.snapshots, monitor.gateway.instruments, TAG)

    def plans(self) -> tuple[ExitPlan, ...]:
        """The plans of all episodes so far, oldest first."""
        return tuple(row.event.plan for row in self.journal() if isinstance(row.event, EpisodeOpened))

    def journal(self, since: int = 0) -> tuple[Row[Event], ...]:
        """Rows of the journal with a sequence number above ``since``."""
        return tuple(self.desk.journal.events(since))

    def explain(self, symbol: str) -> str:
        """In plain words: where the stop of a position is, what has happened to it, which price moves it next."""
        return TrailingStopManager(self.desk.monitor.router, book=self.desk.monitor.applier.book.episodes).explain(symbol)

    def promises(self) -> tuple[Promise, ...]:
        """The judgement of the exchange's own books: which promises were held, with evidence. A killed desk is no excuse for a gap.

        A position that was opened while no desk ran cannot be covered within two passes; open it while one runs, or judge it apart.
        """
        return self.market.meter.verdict(adoption_wall_ms=2 * TICK_S * SECOND_MS)

    async def day(self) -> Recorded:
        """All that the desk has written down of what it saw and did, as ``lab.parity`` takes it. The desk is ended for it."""
        await self._end()
        reader: JournalReader[Event] = Journal.read(self.home / "journal.sqlite", EVENT_TYPES, account=self.market.account.name)
        with reader as journal:
            rows = tuple(journal.events())
        return recorded(TapeReader(self.home / "tape").between(0, self.market.now_ms + 1), rows, self.market.account.name)

    def fills(self) -> pl.DataFrame:
        """The account's own fills, as ``lab.fills`` makes them of any exchange's."""
        rows = [
            {
                "time": it.time_ms, "symbol": it.symbol, "position_side": it.position_side.value, "side": it.side.value,
                "price": Decimal(it.price) / ONE, "size": Decimal(it.quantity) / ONE, "fee": Decimal(it.commission) / ONE,
            }
            for it in self.market.account.trades
        ]  # fmt: skip
        return lab.fills(pl.DataFrame(rows))

    def story(self) -> Story:
        """All that happened so far, for pictures and tables."""
        recorder = self.market.recorder
        return Story(**recorder.frames(), about={"kills": recorder.kills, "promises": [asdict(row) for row in self.promises()]})


class _Desk:
    """One life of the desk: from ``begin`` to ``end``."""

    def __init__(self, gateway: PaperGateway, journal: Journal[Event], register: PlanRegister, monitor: PositionMonitor) -> None:
        self.gateway, self.journal, self.register, self.monitor = gateway, journal, register, monitor
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def begin(cls, market: Market, home: Folder, policy: ExitPolicy | None, scope: Scope, closed_bars: bool) -> Self:
        gateway = PaperGateway(market.exchange, market.account.name)
        journal: Journal[Event] = Journal.open(home / "journal.sqlite", EVENT_TYPES, account=market.account.name)
        register = PlanRegister(home / "register.sqlite")
        await gateway.start()
        applier = Applier(gateway, journal, clock_ms=lambda: market.now_ms)
        settings = Desk(
            account=market.account.name, tag=TAG, instruments=gateway.instruments, scope=scope, traits=traits_of(VENUE),
            grace_ms=5 * TICK_S * SECOND_MS, flat_after_ms=2 * TICK_S * SECOND_MS,
        )  # fmt: skip
        router = ExitRouter(register, account=market.account.name, planning=Planning(adopted=policy))
        follows, seen = Follows(closed_bars=closed_bars), Seen(home / "tape")
        monitor = PositionMonitor(settings, applier, router, tick_s=TICK_S, follows=follows, tape=seen)
        return cls(gateway, journal, register, monitor)

    async def end(self) -> None:
        self._listener.cancel()
        with suppress(asyncio.CancelledError):
            await self._listener
        await self.gateway.close()
        if self.monitor.tape is not None:
            self.monitor.tape.close()
        self.journal.close()
        self.register.disconnect()

    async def _listen(self) -> None:
        async for event in self.gateway.events():
            self.monitor.hear(event)
