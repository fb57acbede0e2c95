"""The demonstration holds, and would say so if it did not: kills, restarts and signals over the wire, judged by the exchange's books."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import psutil
import pytest
from rich.console import Console

from qtkit.core.model import OrderKind, PolicyError
from qtkit.demo import main
from qtkit.demo.cast import Wish, cast
from qtkit.demo.ledger import Ledger, drawn_up, exposed_ms
from qtkit.demo.process import Life, environment
from qtkit.demo.screen import Plain
from qtkit.demo.show import show
from qtkit.demo.stage import built
from qtkit.demo.story import Story
from qtkit.paper.faults import Fault, FaultKind, Faults, Match, Verb
from qtkit.paper.meter import LedgerLine
from qtkit.paper.rules import Rules

START = 1_767_571_200_000
SHORT = Wish(hours=0.2, tick=0.5)


async def performed(wish: Wish, rules: Rules | None = None) -> tuple[Ledger, Path, str]:
    """A performance without its notebook: the ledger, the home and what was printed."""
    console = Console(file=io.StringIO(), width=150)
    async with built(wish, rules=rules) as stage:
        story = Story(stage, Plain(console))
        await story.play()
        ledger = drawn_up(story)
        stage.recorder.write(stage.home, {})
        show(console, ledger, stage.pump.stretches)
    assert isinstance(console.file, io.StringIO)
    return ledger, stage.home, console.file.getvalue()


def of_home(home: Path) -> list[psutil.Process]:
    """Processes that live in a home."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get("QTKIT_HOME", "").startswith(str(home))
                and process.pid != os.getpid()
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_every_promise_is_kept(own_home: Path) -> None:
    ledger, home, printed = asyncio.run(performed(SHORT))
    assert ledger.held, printed
    assert len(ledger.figures["kills"]) == 2 and "armed stop rests" in ledger.figures["kills"][1]
    assert {row.opened_by for row in ledger.rows} == {"stranger", "desk"} and len(ledger.rows) >= 8
    assert home.parent == own_home / "demo" and not of_home(own_home)
    orders, fills, stops = (pl.read_parquet(home / f"{name}.parquet") for name in ("orders", "fills", "stops"))
    assert {"floor", "stop", "target"} <= set(orders["leg"]) and "entry" in set(fills["leg"]) and stops["level"].drop_nulls().len() > 8
    assert json.loads((home / "story.json").read_text())["kills"]
    assert "promises kept" in printed and "SIGKILL" in printed


@pytest.mark.parametrize(
    ("wish", "rules"),
    [
        pytest.param(replace(SHORT, hedge=True), Rules(stop_while_flat=False), id="hedge-not-armed"),
        pytest.param(SHORT, Rules(stop_while_flat=False), id="not-armed", marks=pytest.mark.night),
        pytest.param(replace(SHORT, hedge=True), Rules(), id="hedge", marks=pytest.mark.night),
    ],
)
def test_it_holds_under_the_other_settings(wish: Wish, rules: Rules) -> None:
    ledger, _, printed = asyncio.run(performed(wish, rules))
    assert ledger.held, printed
    assert ("its stop is not sent yet" in ledger.figures["kills"][1]) is not rules.stop_while_flat
    if wish.hedge:
        assert {row.side for row in ledger.rows} == {"long", "short"}


@pytest.mark.night
@pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])
def test_it_holds_on_recorded_bars(market_data: Path, hedge: bool) -> None:
    ledger, _, printed = asyncio.run(performed(Wish(data=market_data / "perp_1m", hours=0.5, tick=0.5, hedge=hedge)))
    assert ledger.held, printed


def test_without_stops_it_exits_with_1(own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = Match(verb=Verb.PLACE, kinds=frozenset({OrderKind.STOP_MARKET}), client_prefix="q1")
    faults = Faults([Fault(kind=FaultKind.REFUSE, match=blocked, times=None)])
    assert main(hours=0.2, tick=0.5, as_json=True, faults=faults) == 1
    printed = capsys.readouterr().out
    told = json.loads(printed.splitlines()[-1])
    broken = {promise["name"] for promise in told["promises"] if not promise["held"]}
    assert not told["held"] and "every open position is covered, none was liquidated" in broken
    assert any(name.startswith("every position covered within") for name in broken) and "adoption left without cover" in printed
    assert faults.fired[FaultKind.REFUSE] and not of_home(own_home)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_what_ends_it_leaves_nothing_behind(own_home: Path, number: signal.Signals) -> None:
    call = "import sys; from qtkit.demo import main\ntry: main(hours=0.2)\nexcept KeyboardInterrupt: sys.exit(130)"
    child = subprocess.Popen([sys.executable, "-c", call], env=environment(own_home, os.environ), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not any("desk" in process.cmdline() for process in of_home(own_home)):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.05)
    child.send_signal(number)
    assert child.wait(30) == 130
    assert not of_home(own_home)


def test_a_wish_that_cannot_be_played_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"0\.1 to 24 hours"):
        Wish(hours=0.01)
    with pytest.raises(PolicyError, match="from --data"):
        Wish(symbols=("BTCUSDT",))
    with pytest.raises(PolicyError, match="at least 4"):
        Wish(data=tmp_path, symbols=("BTCUSDT", "BTCUSDT", "ETHUSDT", "SOLUSDT"))


def test_recorded_bars_fall_and_two_rise(market_data: Path) -> None:
    play = cast(Wish(data=market_data / "perp_1m", hours=0.5), START)
    changes = {track.symbol: track.lasts[-1] / track.lasts[0] - 1 for track in play.tape.tracks}
    assert {symbol for symbol, change in changes.items() if change > 0} == {"ADAUSDT", "AVAXUSDT"} and len(changes) == 8
    assert play.held == ("AVAXUSDT", "ADAUSDT", "BTCUSDT", "SOLUSDT", "DOTUSDT")
    few = cast(Wish(data=market_data / "perp_1m", hours=0.5, symbols=("LINKUSDT", "BTCUSDT", "ETHUSDT", "SOLUSDT"), window="rise"), START)
    assert (few.held, few.sixth, few.late, few.newcomer, few.guarded) == (("LINKUSDT",), "BTCUSDT", "ETHUSDT", "SOLUSDT", "LINKUSDT")


def test_only_the_time_under_a_running_desk_counts_against_it() -> None:
    line = object.__new__(LedgerLine)
    for name, value in {"opened_wall_ms": 1_000, "covered_wall_ms": 9_000, "adoption_wall_ms": 8_000}.items():
        object.__setattr__(line, name, value)
    first = Life(0, first_pass_ms=500, ended_ms=1_200, killed=True)
    never = Life(2_000, first_pass_ms=None, ended_ms=3_000, killed=True)
    second = Life(4_000, first_pass_ms=8_400)
    assert exposed_ms(line, [first, never, second], 9_000) == 200 + 600
