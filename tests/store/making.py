"""Values for the tests of the store, and children that can be killed."""

import subprocess
import sys
from pathlib import Path

from qtkit.core.events import Event, IntentMade
from qtkit.core.model import E8, Key, Lots, Order, OrderKind, PositionSide, Side, Ticks
from qtkit.core.plan import ExitPlan

ROOT = Path(__file__).parents[2]
BTC = Key("main", "BTCUSDT", PositionSide.BOTH)


def intent(number: int, side: Side = Side.LONG) -> IntentMade:
    """The ``number``-th intent to place a stop."""
    order = Order(
        symbol="BTCUSDT",
        client_id=f"q1{number}",
        kind=OrderKind.STOP_MARKET,
        side=side.closing,
        position_side=PositionSide.BOTH,
        lots=Lots(5),
        trigger=Ticks(1000 - side.sign * 25),
        reduce_only=True,
    )
    return IntentMade(key=BTC, leg="s0", revision=number, order=order, at_ms=number, reason="cover")


def intents(first: int, count: int) -> list[Event]:
    """``count`` intents numbered from ``first`` on."""
    return [intent(number) for number in range(first, first + count)]


def exit_plan(
    key: Key = BTC, side: Side = Side.LONG, episode: int = 1, *, uid: str = "", revision: int = 1, expires_ms: int | None = None
) -> ExitPlan:
    """A plan with a stop 25 ticks behind 1,000 and a floor 40 ticks behind."""
    return ExitPlan(
        uid=uid or f"{key}#{episode}",
        key=key,
        side=side,
        episode=episode,
        revision=revision,
        strategy_id="test",
        entry=E8(1000),
        lots=Lots(5),
        tick=E8(1),
        lot=E8(1),
        stop=Ticks(1000 - side.sign * 25),
        floor=Ticks(1000 - side.sign * 40),
        break_even=Ticks(1000 + side.sign),
        start=Ticks(1000),
        expires_ms=expires_ms,
        created_ms=0,
    )


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process that runs ``code`` with the project importable."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    """The next line a child printed."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def killed(process: subprocess.Popen[str]) -> list[str]:
    """Kills a child at once and returns the whole lines it had printed but nobody had read."""
    process.kill()
    rest, _ = process.communicate()
    return [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
