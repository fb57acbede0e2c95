"""The play: what a trader sees in a minute and a half, and what makes it hard for the desk.

Prices run fast only where nothing happens between processes. Adoption, signals, kills and restarts run at the wall clock's pace.
"""

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal

from qtkit.client import DeskSilent, NoDesk, send_signal
from qtkit.core.model import ONE, PolicyError, Side, Ticks
from qtkit.demo.cast import minute_after, price_text, size
from qtkit.demo.screen import Screen
from qtkit.demo.stage import Stage
from qtkit.demo.traps import Sprung, Trap, after_entry, between_stops
from qtkit.paper.adverse import SweepResult, sweep
from qtkit.signals import Execution, Signal

BEFORE_SPEED = 600.0  # while no desk runs
FAST_S = 16.0  # wall time of all fast stretches with a desk together, unless that is faster than a desk can follow
SLOWEST, FASTEST = 60.0, 120.0
START_WITHIN_S = 15.0
COVER_TICKS = 5  # how long the play waits for cover before it ends; the promise is two
FAR_BELOW = Decimal("0.5")  # of the price: where the stranger's limit order rests, out of reach of any hour
FAR_ABOVE = Decimal("1.3")


class Failed(Exception):
    """The play cannot go on: the ledger is drawn up as it stands."""


@dataclass(slots=True)
class Story:
    """One performance. ``kills`` are what the traps saw, ``sweeps`` the second judge's results, ``exit`` the desk's last exit status."""

    stage: Stage
    screen: Screen
    kills: list[Sprung] = field(default_factory=list)
    entries: list[Execution] = field(default_factory=list)
    sweeps: tuple[SweepResult, ...] = ()
    added: str = ""
    exit: int | None = None
    broken: str = ""

    def __post_init__(self) -> None:
        self.stage.recorder.on_exit = self.say

    async def play(self) -> None:
        """All acts, in order. What goes wrong in one is kept in ``broken``, and the play ends there."""
        acts = (
            ("a stranger opens positions without stops", self._stranger_opens),
            ("the desk comes", self._desk_comes),
            ("a signal opens another position", self._signal),
            ("stages and trails", self._first_stretch),
            ("the desk is killed between two stops", self._kill_between_stops),
            ("the market goes on", self._second_stretch),
            ("the desk is killed after an entry's fill", self._kill_after_entry),
            ("to the end of the tape", self._last_stretch),
            ("the judges", self._judge),
        )
        try:
            for number, (title, act) in enumerate(acts, 1):
                self.screen.act(number, len(acts), title)
                await act()
        except Failed as failure:
            self.broken = str(failure)
            self.say(f"the play ends here: {failure}")
            self.sweeps = sweep(self.stage.exchange)
        self.screen.done()

    def say(self, text: str) -> None:
        """Tell a moment on the screen and keep it."""
        self.stage.recorder.say(self.stage.now_ms, text)
        self.screen.say(text)

    # -- acts -------------------------------------------------------------------------------------------------------------------

    async def _stranger_opens(self) -> None:
        stage, play = self.stage, self.stage.cast
        for symbol in play.held:
            rules, first = play.instrument(symbol), play.first(symbol)
            await stage.stranger.opens(symbol, Side.SHORT, size(rules, first), _price(first, rules.tick))
        for track in play.tape.tracks:  # the price passes through the offers, and fills each at its own
            stage.exchange.tick(track.symbol, Ticks(track.lasts[0] + 1), stage.exchange.book(track.symbol).mark, track.times[0])
        entries = ", ".join(
            f"{line.key.symbol} {price_text(play.first(line.key.symbol) * play.instrument(line.key.symbol).tick)}" for line in stage.lines()
        )
        self.say(f"sold short by a ccxt client, no stops: {entries}")
        await self._leave_orders()
        await self._run(BEFORE_SPEED, stage.pump.now_ms + int(play.arrival * (play.tape.end_ms - play.tape.start_ms)))
        self.say(f"the market has moved: {', '.join(self._profits())}")

    async def _leave_orders(self) -> None:
        stage, play = self.stage, self.stage.cast
        resting, guarded = play.held[0], play.guarded
        low, high = Ticks(int(play.first(resting) * FAR_BELOW)), Ticks(int(play.first(guarded) * FAR_ABOVE))
        bid, stop = _price(low, play.instrument(resting).tick), _price(high, play.instrument(guarded).tick)
        await stage.stranger.rests(resting, Side.LONG, size(play.instrument(resting), low, 1_000), bid)
        await stage.stranger.guards(guarded, Side.SHORT, stop)
        self.say(f"it leaves a limit order to buy {resting} at {bid:f}, and a close-position stop of its own on {guarded} at {stop:f}")

    async def _desk_comes(self) -> None:
        await self._start_desk()
        await self._covered("adoption")

    async def _signal(self) -> None:
        await self._enter(self.stage.cast.sixth)
        await self._a_pass()

    async def _first_stretch(self) -> None:
        await self._run(self._fast, self._at(0.15))

    async def _kill_between_stops(self) -> None:
        stage = self.stage
        for _ in range(2):  # a trail moves with a minute's close, if the market gives it reason to
            await self._run(self._fast, minute_after(stage.now_ms + 5_000) - 1_000)
            with Trap(stage.exchange, between_stops(stage.account, tighter=True), stage.desk.kill) as trap:
                if await trap.wait(3.5):
                    break
        else:
            with Trap(stage.exchange, between_stops(stage.account, tighter=False), stage.desk.kill) as trap:
                await self._add(self._with_floor(), "so that its stop must be replaced")
                if not await trap.wait(8.0):
                    raise Failed("no working stop was replaced although a position had grown: the desk does not follow")
        await self._after_kill(trap)
        await self._add(self._with_floor(trap.sprung.symbol if trap.sprung else ""), "while no desk runs; the floor covers what was added")
        if stage.wish.hedge:
            rules, mark = stage.cast.instrument(self.added), stage.exchange.book(self.added).mark
            await stage.stranger.opens(self.added, Side.LONG, size(rules, Ticks(mark // rules.tick), 5_000))
            self.say(f"and opens {self.added} long beside its short")
        newcomer = stage.cast.newcomer
        await stage.stranger.opens(newcomer, Side.SHORT, size(stage.cast.instrument(newcomer), stage.cast.first(newcomer), 10_000))
        self.say(f"and opens {newcomer} short, while no desk runs")
        await asyncio.sleep(1.0)
        await self._start_desk()
        await self._covered("the restart")

    async def _second_stretch(self) -> None:
        await self._run(self._fast, self._at(0.45))

    async def _kill_after_entry(self) -> None:
        stage = self.stage
        with Trap(stage.exchange, after_entry(stage.account), stage.desk.kill) as trap:
            await self._enter(stage.cast.late, lost=True)
            if not await trap.wait(5.0):
                raise Failed(f"the signal in {stage.cast.late} led to no fill")
        await self._after_kill(trap)
        await asyncio.sleep(1.0)
        await self._start_desk()
        await self._covered("the restart")

    async def _last_stretch(self) -> None:
        pump = self.stage.pump
        pump.speed = self._fast
        await pump.finish()
        await self.stage.until(lambda: not self.stage.uncovered(), COVER_TICKS * self.stage.wish.tick)
        await self._a_pass()

    async def _judge(self) -> None:
        stage = self.stage
        self.exit = await stage.desk.stop()
        self.say("the desk is stopped; its orders stay. Each market is now walked against its positions, on a copy of the exchange")
        self.sweeps = await asyncio.to_thread(sweep, stage.exchange.clone())

    # -- what acts are made of --------------------------------------------------------------------------------------------------

    async def _run(self, speed: float, to_ms: int) -> None:
        """Prices at a multiple of the wall clock until a moment; then at its pace."""
        pump = self.stage.pump
        if to_ms > pump.now_ms:
            pump.speed = speed
            await pump.run_until(to_ms)
        pump.speed = 1.0
        pump.resume()

    @property
    def _fast(self) -> float:
        """Speed of the stretches between: the rest of the tape in about ``FAST_S``."""
        tape, arrival = self.stage.cast.tape, self.stage.cast.arrival
        return min(FASTEST, max(SLOWEST, (1 - arrival) * (tape.end_ms - tape.start_ms) / 1000 / FAST_S))

    async def _a_pass(self) -> None:
        """Time for one more pass: what was placed is read back, what it replaces goes."""
        await asyncio.sleep(self.stage.wish.tick + 0.2)

    def _at(self, part: float) -> int:
        """A moment between the desk's arrival and the end of the tape."""
        tape, arrival = self.stage.cast.tape, self.stage.cast.arrival
        return int(tape.start_ms + (arrival + (1 - arrival) * part) * (tape.end_ms - tape.start_ms))

    async def _start_desk(self) -> None:
        self.say("the desk is started, as a process of its own")
        self.stage.desk.start()

    async def _covered(self, why: str) -> None:
        stage = self.stage
        if not await stage.until(lambda: stage.mark_first_pass() or not stage.desk.alive, START_WITHIN_S) or not stage.mark_first_pass():
            raise Failed(
                f"the desk did not begin a pass within {START_WITHIN_S:g} s of its start: {stage.desk.words() or 'it said nothing'}"
            )
        if not await stage.until(lambda: not stage.uncovered(), COVER_TICKS * stage.wish.tick):
            raise Failed(f"{why} left without cover: {', '.join(stage.uncovered())}")
        first = stage.mark_first_pass() or 0
        took = max((line.covered_wall_ms or 0) - first for line in stage.lines())
        self.say(f"{why}: every position covered {max(0, took) / 1000:.2f} s after the first pass began")
        await self._a_pass()

    async def _after_kill(self, trap: Trap) -> None:
        stage = self.stage
        assert trap.sprung is not None
        await stage.desk.reap()
        self.kills.append(trap.sprung)
        stage.recorder.kills.append({"time_ms": trap.sprung.at_ms, "symbol": trap.sprung.symbol, "evidence": trap.sprung.evidence})
        self.say(f"SIGKILL. {trap.sprung.evidence}")

    async def _enter(self, symbol: str, *, lost: bool = False) -> None:
        """A signal to the running desk. ``lost``: it will be killed before it can answer."""
        stage = self.stage
        try:
            done = await send_signal(Signal(symbol=symbol, side="SELL"), dry_run=False)
        except PolicyError as refusal:
            raise Failed(f"the signal was refused: {refusal}") from None
        except (DeskSilent, NoDesk) as broken:
            if lost:
                return
            raise Failed(f"the signal got no answer: {broken}") from None
        self.entries.append(done)
        how = "its stop was armed before it" if stage.rules.stop_while_flat else "its stop was placed on the fill"
        self.say(f"signal: {done.symbol} {done.side.lower()} {done.quantity} coins, stop {done.stop}, {done.risk} USDT at risk; {how}")

    async def _add(self, symbol: str, why: str) -> None:
        stage = self.stage
        row = next(row for row in stage.exchange.positions(stage.account, symbol))
        side = Side.LONG if row.amount > 0 else Side.SHORT
        rules = stage.cast.instrument(symbol)
        coins = size(rules, Ticks(row.mark // rules.tick), max(1_000, abs(row.notional) // ONE // 4))
        await stage.stranger.opens(symbol, side, coins)
        self.added = symbol
        self.say(f"the stranger adds {coins} coins to {symbol}, {why}")

    def _with_floor(self, but: str = "") -> str:
        """An open position with our floor and our working stop."""
        stage = self.stage
        names = [line.key.symbol for line in stage.lines() if line.closed_ms is None]
        found = [name for name in names if all(stage.own_stops(name))]
        if not found:
            raise Failed("no open position has both a floor and a working stop of the desk")
        return next((name for name in found if name != but), found[0])

    def _profits(self) -> list[str]:
        rows = self.stage.exchange.positions(self.stage.account)
        return [f"{row.symbol} {100 * (row.entry - row.mark) / row.entry:+.1f} %" for row in rows]


def _price(ticks: Ticks, tick: int) -> Decimal:
    return (Decimal(ticks) * tick / ONE).normalize()
