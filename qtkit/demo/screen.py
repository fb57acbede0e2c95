"""What is seen: a live table on a terminal, plain lines elsewhere."""

import asyncio
import time
from collections import deque
from typing import Protocol

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from qtkit.core.model import ONE
from qtkit.demo.cast import price_text
from qtkit.demo.record import slot_name
from qtkit.demo.stage import PREFIX, Stage
from qtkit.paper.meter import LedgerLine
from qtkit.paper.rows import PositionRow

FRAMES_A_S = 5
TOLD = 9
WIDE = 112  # columns that the whole table needs
NAMES = ("position", "by", "USDT", "entry", "mark", "profit", "stop", "if stopped", "orders", "cover")
NARROW = (0, 4, 5, 6, 9)  # those shown where there are fewer


class Screen(Protocol):
    """Where the play is told."""

    def act(self, number: int, of: int, title: str) -> None:
        """An act begins."""
        ...

    def say(self, text: str) -> None:
        """Something worth a line happened."""
        ...

    def done(self) -> None:
        """The last act is over."""
        ...


class Plain:
    """One line for each thing told, with the seconds since the start."""

    def __init__(self, console: Console) -> None:
        self._console, self._since = console, time.monotonic()

    def act(self, number: int, of: int, title: str) -> None:
        """A heading."""
        self._console.print(
            f"[{time.monotonic() - self._since:5.1f} s] {number}/{of} {title}", markup=False, highlight=False, soft_wrap=True
        )

    def say(self, text: str) -> None:
        """An indented line."""
        self._console.print(f"[{time.monotonic() - self._since:5.1f} s]     {text}", markup=False, highlight=False, soft_wrap=True)

    def done(self) -> None:
        """Nothing is left to draw."""


class Animated:
    """A table of all positions, drawn five times a second from the exchange's books; use as an async context."""

    def __init__(self, console: Console, stage: Stage) -> None:
        self._stage, self._since = stage, time.monotonic()
        self._told: deque[tuple[float, str]] = deque(maxlen=TOLD)
        self._act, self._title = (0, 1), ""
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Animated":
        self._live.start()
        self._task = asyncio.create_task(self._draw(), name="demo-screen")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._live.stop()

    def act(self, number: int, of: int, title: str) -> None:
        """A new heading; the bar moves on."""
        self._act, self._title = (number, of), title

    def say(self, text: str) -> None:
        """A line under the table; the oldest goes."""
        self._told.append((time.monotonic() - self._since, text))

    def done(self) -> None:
        """The bar is full."""
        self._act = (self._act[1] + 1, self._act[1])

    async def _draw(self) -> None:
        while True:
            self._live.update(self._picture(), refresh=True)
            await asyncio.sleep(1 / FRAMES_A_S)

    def _picture(self) -> RenderableType:
        number, of = self._act
        head = Table.grid(expand=True, padding=(0, 1))
        head.add_column(ratio=1, no_wrap=True)
        head.add_column(justify="right", no_wrap=True)
        head.add_row(Text(f"{min(number, of)}/{of}  {self._title}", style="bold"), self._clock())
        table = positions(self._stage, wide=self._live.console.width >= WIDE)
        told = Table.grid(padding=(0, 1))
        told.add_column(justify="right", style="dim", no_wrap=True)
        told.add_column(overflow="fold")
        for at_s, text in self._told:
            told.add_row(f"{at_s:.0f} s", Text(text, style="bold red" if text.startswith("SIGKILL") else ""))
        return Panel(
            Group(head, ProgressBar(total=of, completed=number - 1, complete_style="cyan", finished_style="green"), table, told),
            box=box.ROUNDED,
            border_style="cyan",
        )

    def _clock(self) -> Text:
        stage = self._stage
        at = time.strftime("%H:%M:%S", time.gmtime(stage.now_ms / 1000))
        lives = stage.desk.lives
        if stage.desk.alive:
            desk = Text("desk runs", style="green") if stage.mark_first_pass() else Text("desk starts", style="yellow")
        else:
            desk = Text("desk killed", style="bold red") if lives and lives[-1].killed else Text("no desk", style="yellow")
        return Text.assemble(desk, f"  prices {stage.pump.speed:.0f}x  exchange {at}")


def positions(stage: Stage, *, wide: bool = True) -> Table:
    """Every position as it stands on the exchange's books; fewer columns where there is no room."""
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    chosen = range(len(NAMES)) if wide else NARROW
    for name in (NAMES[index] for index in chosen):
        table.add_column(name, justify="left" if name in ("position", "by", "cover") else "right", no_wrap=True)
    rows = {(row.symbol, row.position_side): row for row in stage.exchange.positions(stage.account)}
    for line in stage.lines():
        row = rows.get((line.key.symbol, line.key.position_side)) if line.closed_ms is None else None
        cells = _cells(stage, line, row)
        table.add_row(*(cells[index] for index in chosen), style="dim" if row is None else "")
    return table


def _cells(stage: Stage, line: LedgerLine, row: PositionRow | None) -> tuple[RenderableType, ...]:
    name = f"{slot_name(line.key.symbol, line.key.position_side)} {line.side.name.lower()}"
    who = "desk" if line.ours else "stranger"
    if row is None:
        end = "liquidated" if line.liquidated else "closed"
        return name, who, *[""] * 7, Text(f"{end}, {_gap(line)}", style="red" if line.liquidated or line.gaps else "dim")
    profit = 100 * line.side.sign * (row.mark - row.entry) / row.entry
    level, loss = line.standing.level, line.standing.loss
    waiting = (algo for algo in stage.account.waiting(line.key.symbol) if algo.position_side is line.key.position_side)
    own = sum(algo.client_id.startswith(PREFIX) for algo in waiting)
    tick = stage.cast.instrument(line.key.symbol).tick
    return (
        name,
        who,
        f"{abs(row.notional) // ONE:,}",
        price_text(row.entry // tick * tick),
        price_text(row.mark // tick * tick),
        Text(f"{profit:+.2f} %", style="green" if profit >= 0 else "red"),
        "" if level is None else price_text(level),
        Text("") if loss is None else Text(f"{-loss / ONE:+,.0f}", style="green" if loss <= 0 else "red"),
        str(own),
        _cover(line),
    )


def _cover(line: LedgerLine) -> Text:
    if line.standing.covered:
        return Text(f"covered, {_gap(line)}", style="red" if line.gaps else "green")
    since = line.gap_ms if line.adopted else line.adoption_ms
    return Text(f"NAKED for {since / 1000:.0f} s", style="bold white on red")


def _gap(line: LedgerLine) -> str:
    return f"{line.gap_ms / 1000:.1f} s of gap" if line.gaps else "no gap"
