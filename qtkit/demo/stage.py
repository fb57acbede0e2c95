"""The stage: exchange, server, pump and judge in this process, the desk in its own, all in a fresh home."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from qtkit.core.model import E8, ONE, Ticks, TriggerBy
from qtkit.demo.cast import Cast, Wish, cast
from qtkit.demo.process import DeskProcess, living_in, wall_ms
from qtkit.demo.record import Recorder
from qtkit.demo.stranger import NAME, Stranger
from qtkit.home import PaperKeys, Paths
from qtkit.paper.account import Account
from qtkit.paper.clock import Pump
from qtkit.paper.exchange import Exchange
from qtkit.paper.faults import Faults
from qtkit.paper.meter import LedgerLine, Meter
from qtkit.paper.rules import Rules
from qtkit.paper.server import PaperServer

ACCOUNT = "paper"
BALANCE = 20_000  # USDT: small enough that liquidation is a price and not a word
SHARE_BPS = 9_000  # of the request weight: the desk is alone on this address, and its minutes pass faster than the wall's
PREFIX = "q1qtk0"
POSITIONS = "/fapi/v3/positionRisk"
MINUTE_MS = 60_000

_SETTINGS = """\
tick_seconds = {tick}
budget_share_bps = {share}

[accounts.paper]
base_url = "http://127.0.0.1:{port}"
scope = "full"

[accounts.paper.traits]
floor_beside_stop = {floor_beside_stop}
conditional_reserves = {conditional_reserves}
stop_while_flat = {stop_while_flat}
max_conditional = {max_conditional}
"""


@dataclass(slots=True)
class Stage:
    """Everything the play needs. Built by ``built``; times are exchange ms unless they say wall."""

    home: Path
    wish: Wish
    cast: Cast
    rules: Rules
    exchange: Exchange
    account: Account
    server: PaperServer
    pump: Pump
    meter: Meter
    desk: DeskProcess
    stranger: Stranger
    recorder: Recorder

    @property
    def now_ms(self) -> int:
        """The exchange's time."""
        return self.exchange.now_ms

    def mark_first_pass(self) -> int | None:
        """When the desk's present life began its first pass (wall ms), None if it has not: its first reading of the positions."""
        life = self.desk.lives[-1]
        if life.first_pass_ms is None:
            asked = (row.at_ms for row in self.server.requests if row.path == POSITIONS and row.at_ms >= life.started_ms)
            life.first_pass_ms = next(asked, None)
        return life.first_pass_ms

    def lines(self) -> tuple[LedgerLine, ...]:
        """The ledger of the meter now."""
        return self.meter.ledger()

    def uncovered(self) -> list[str]:
        """Open positions that own stops do not cover whole."""
        return [str(line.key) for line in self.lines() if not line.covered]

    def own_stops(self, symbol: str) -> tuple[int, int]:
        """How many floors and working stops of ours rest on a symbol."""
        stops = [row for row in self.account.waiting(symbol) if row.client_id.startswith(PREFIX) and row.kind.value == "STOP_MARKET"]
        floors = sum(row.close_position for row in stops)
        return floors, len(stops) - floors

    async def until(self, condition: Callable[[], object], within_s: float) -> bool:
        """Wait for a condition, looking often; False if it did not come in time."""
        end = time.monotonic() + within_s
        while not condition():
            if time.monotonic() >= end:
                return False
            await asyncio.sleep(0.02)
        return True


@asynccontextmanager
async def built(wish: Wish, *, rules: Rules | None = None, faults: Faults | None = None) -> AsyncIterator[Stage]:
    """A stage in a fresh home under the home; the desk's process and the port are gone when this ends, however it ends."""
    home = _fresh_home()
    start_ms = wall_ms() // MINUTE_MS * MINUTE_MS
    rules = rules or Rules()
    play = await asyncio.to_thread(cast, wish, start_ms)
    exchange = Exchange(rules, seed=wish.seed, start_ms=start_ms)
    account = exchange.open_account(ACCOUNT, balance=E8(BALANCE * ONE), hedge=wish.hedge)
    _prepare(exchange, play)
    keys = {name: PaperKeys.create(Paths(home).paper_keys(name)) for name in (ACCOUNT, NAME)}
    meter = Meter(exchange, prefix=PREFIX, strangers=(keys[NAME].api_key,), clock=time.time)
    recorder = Recorder(exchange, meter)
    server = PaperServer(exchange, keys={pair.api_key: (pair.secret.reveal(), ACCOUNT) for pair in keys.values()}, faults=faults)
    port = await server.start()
    desk = DeskProcess(home)
    try:
        _write_settings(home, port, rules, wish)
        with living_in(home):
            async with Stranger(keys[NAME], port, hedge=wish.hedge) as stranger:
                pump = Pump(exchange, play.tape, 1.0)
                pump.pause()
                async with pump:
                    yield Stage(home, wish, play, rules, exchange, account, server, pump, meter, desk, stranger, recorder)
    finally:
        await desk.stop()
        await server.stop()


def _fresh_home() -> Path:
    shelf = Paths.here().home / "demo"
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    home = shelf / stamp
    number = 1
    while home.exists():
        number += 1
        home = shelf / f"{stamp}-{number}"
    home.mkdir(mode=0o700, parents=True)
    return home


def _prepare(exchange: Exchange, play: Cast) -> None:
    """History as bars of both series, and a price one tick under each symbol's first: the stranger's offers are not reached yet."""
    for track in play.tape.tracks:
        for by in (TriggerBy.LAST, TriggerBy.MARK):
            exchange.seed_bars(track.symbol, by, track.history, track.volumes)
        exchange.tick(track.symbol, Ticks(track.lasts[0] - 1), E8(track.marks[0]), track.times[0])


def _write_settings(home: Path, port: int, rules: Rules, wish: Wish) -> None:
    switches = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name in ("floor_beside_stop", "conditional_reserves", "stop_while_flat", "max_conditional")
        for value in (getattr(rules, name),)
    }
    (home / "qtkit.toml").write_text(_SETTINGS.format(tick=wish.tick, share=SHARE_BPS, port=port, **switches))
