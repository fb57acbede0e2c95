"""The demonstration: the incident played against the desk, on the embedded exchange, in a minute and a half."""

import asyncio
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from qtkit.demo.ledger import Ledger
    from qtkit.paper.faults import Faults
    from qtkit.paper.rules import Rules

NOTEBOOK = "integration_verification"
NOTEBOOK_WITHIN_S = 90.0
LINE = 150  # columns where no terminal says how many there are


def main(
    *,
    data: Path | None = None,
    window: str = "",
    hours: float = 1.0,
    symbols: tuple[str, ...] = (),
    hedge: bool = False,
    seed: int = 7,
    tick: float | None = None,
    as_json: bool = False,
    rules: "Rules | None" = None,
    faults: "Faults | None" = None,
) -> int:
    """Play, judge and print. Returns 0 only if every promise was kept, 1 otherwise; ``as_json`` prints the ledger as the last line.

    ``data`` is a folder of parquet bars to play instead of the made tape. ``rules`` and ``faults`` are the paper exchange's.
    Raises ``PolicyError`` where what was asked for cannot be played.
    """
    from rich.console import Console

    from qtkit.demo.cast import Wish

    console = Console()
    if not console.is_terminal:
        console = Console(width=LINE)
    wish = Wish(data=data, window=window, hours=hours, symbols=symbols, hedge=hedge, seed=seed, tick=tick or 2.0)
    ledger = asyncio.run(_until_told_to_end(perform(wish, console, rules=rules, faults=faults)))
    if as_json:
        print(json.dumps(ledger.to_dict()), flush=True)
    return 0 if ledger.held else 1


async def perform(wish: Any, console: "Console", *, rules: "Rules | None" = None, faults: "Faults | None" = None) -> "Ledger":
    """One performance with its ledger printed; its tables and its notebook's run lie in the demonstration's home."""
    from qtkit.demo.ledger import drawn_up
    from qtkit.demo.screen import Animated, Plain
    from qtkit.demo.show import show
    from qtkit.demo.stage import built
    from qtkit.demo.story import Story

    async with built(wish, rules=rules, faults=faults) as stage:
        _introduce(console, stage)
        if console.is_terminal:
            async with Animated(console, stage) as animated:
                story = Story(stage, animated)
                await story.play()
        else:
            story = Story(stage, Plain(console))
            await story.play()
        ledger = drawn_up(story)
        stage.recorder.write(stage.home, _story(stage, ledger))
        stretches = stage.pump.stretches
        with console.status("the notebook draws each position and judges again"):
            promise = await asyncio.to_thread(_verify, stage.home, story.broken)
        ledger = replace(ledger, promises=(*ledger.promises, promise))
    show(console, ledger, stretches)
    console.print(f"evidence: {stage.home}", highlight=False, soft_wrap=True)
    return ledger


def _introduce(console: "Console", stage: Any) -> None:
    console.print(f"home of this demonstration: {stage.home}", highlight=False, soft_wrap=True)
    source = "recorded bars" if stage.wish.data else "made prices"
    mode = "hedge" if stage.wish.hedge else "one-way"
    basis = "mark = last plus a seeded basis of 1 to 8 bps, never equal to it"
    console.print(f"{source}, {mode} mode, all symbols on one clock; {basis}", highlight=False, soft_wrap=True)
    for line in stage.cast.tape.describe():
        console.print(f"  {line}", highlight=False, soft_wrap=True)


def _story(stage: Any, ledger: "Ledger") -> dict[str, Any]:
    """What the notebook reads beside the tables."""
    play, tape = stage.cast, stage.cast.tape
    lives = [
        {"started_ms": life.started_ms, "first_pass_ms": life.first_pass_ms, "ended_ms": life.ended_ms, "killed": life.killed}
        for life in stage.desk.lives
    ]
    roles = {"held": list(play.held), "sixth": play.sixth, "late": play.late, "newcomer": play.newcomer, "guarded": play.guarded}
    return {
        "start_ms": tape.start_ms, "end_ms": tape.end_ms, "arrival": play.arrival, "hedge": stage.wish.hedge, "seed": stage.wish.seed,
        "data": str(stage.wish.data) if stage.wish.data else "", "roles": roles, "lives": lives, "ledger": ledger.to_dict(),
    }  # fmt: skip


def _verify(home: Path, broken: str) -> Any:
    """The notebook, run by papermill; a notebook that is missing or fails breaks the promise."""
    from qtkit.core.model import PolicyError
    from qtkit.paper.meter import Promise
    from qtkit.runs import run_notebook

    name = f"the notebook {NOTEBOOK} agrees"
    if broken:
        return Promise(name=name, held=False, evidence="it was not run: the play was not played to its end")
    try:
        run = run_notebook(NOTEBOOK, {"story": str(home)}, timeout=NOTEBOOK_WITHIN_S)
    except PolicyError as missing:
        return Promise(name=name, held=False, evidence=f"it did not run: {missing}")
    return Promise(name=name, held=run.passed, evidence=f"{run.reason}; {run.folder}")


async def _until_told_to_end(performance: Any) -> "Ledger":
    """The performance; SIGTERM ends it as Ctrl-C does, so that nothing it started stays behind."""
    loop = asyncio.get_running_loop()
    task: asyncio.Task[Any] = asyncio.ensure_future(performance)
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        ledger: Ledger = await task
        return ledger
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
