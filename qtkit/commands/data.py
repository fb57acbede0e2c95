"""``qtkit data``: history for research. ``download`` writes it, ``check`` reads it; neither needs a key or a desk."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtkit.commands.look import JSON

if TYPE_CHECKING:
    from qtkit.lab.checks import Checked
    from qtkit.lab.download import Loaded, Step

data = typer.Typer(help="History for research: download it, check it.", no_args_is_help=True, rich_markup_mode=None)


@data.command("download")
def data_download(
    symbols: Annotated[list[str], typer.Argument(metavar="SYMBOL...", help="As the exchange writes them, BTCUSDT.")],
    since: Annotated[str, typer.Option("--from", help="Month, day or time (UTC): 2024-01, 2024-01-15, 2024-01-15T12:00.")],
    until: Annotated[str, typer.Option("--to", help="The same, included if a month or a day; default: now.")] = "",
    kind: Annotated[str, typer.Option(help="bars, mark (bars of the mark price), funding; with commas.")] = "bars",
    folder: Annotated[Path, typer.Option(help="Where to: <folder>/<kind>/<SYMBOL>/<YYYY-MM>.parquet.")] = Path("data"),
    timeframe: Annotated[str, typer.Option(help="Length of the bars, 1m to 1d.")] = "1m",
    exchange: Annotated[str, typer.Option(help="Where from; other exchanges than binanceusdm give bars only. Default: binanceusdm.")] = "",
    account: Annotated[str, typer.Option(help="Load from the exchange of this account instead, as paper; no key is used.")] = "",
    as_json: JSON = False,
) -> None:
    """Load public history of an exchange into parquet, a file a month, and report the gaps. Needs no key.

    Run it again and it goes on: what was loaded is not asked for again, also after a kill. Bars that are not over yet are not written,
    missing ones stay missing.

    Examples: `qtkit data download BTCUSDT ETHUSDT --from 2024-01`, `qtkit data download BTCUSDT --from 2024-01 --kind bars,mark,funding`,
    `qtkit data download BTCUSDT --from 2026-11-01 --account paper --folder papers`
    """
    from qtkit.lab.download import download

    exchange, base_url = _source(exchange, account)
    kinds = [word for word in kind.replace(" ", "").lower().split(",") if word]
    try:
        with _progress() as tell:
            asked = partial(download, symbols, since, until or None, folder=folder, kinds=kinds, exchange=exchange)
            done = asked(timeframe=timeframe, base_url=base_url, tell=tell)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps([one.row() for one in done], indent=1, default=str))
    else:
        for one in done:
            print(_loaded(one))


def _source(exchange: str, account: str) -> tuple[str, str | None]:
    """Exchange and, for a paper exchange, address. Raises ``PolicyError`` where the two options contradict each other."""
    from qtkit.core.model import PolicyError

    if not account:
        return exchange or "binanceusdm", None
    from qtkit.settings import Settings, account_of

    held = account_of(Settings.load(), account)
    if exchange and exchange != held.venue:
        raise PolicyError(f"account {account} is on {held.venue}, not on {exchange}; give --exchange or --account")
    if held.kind == "demo":
        raise PolicyError(f"account {account} is a demo, whose prices are its own; leave --account out to load those of {held.venue}")
    return held.venue, held.base_url if held.kind == "paper" else None


@contextmanager
def _progress() -> "Iterator[Callable[[Step], None]]":
    """A bar for each series on a terminal; elsewhere only why is waited, a line each."""
    if not sys.stderr.isatty():
        yield lambda step: print(f"{step.symbol} {step.kind}: {step.note}", file=sys.stderr) if step.note else None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column

    note = TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis"))
    columns = (TextColumn("{task.description}"), BarColumn(20), TaskProgressColumn(), TimeRemainingColumn(), note)
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def tell(step: "Step") -> None:
            key = (step.symbol, step.kind)
            if key not in tasks:
                tasks[key] = bars.add_task(" ".join(key), total=step.total_ms, note="")
            bars.update(tasks[key], completed=step.done_ms, note=step.note)

        yield tell


def _loaded(one: "Loaded") -> str:
    gaps = one.gaps
    if gaps.first is None or gaps.last is None:
        return f"{one.symbol} {one.kind}: the exchange has none from {one.start:%Y-%m-%d %H:%M} to {one.end:%Y-%m-%d %H:%M}"
    late = f"; it begins later than asked ({one.start:%Y-%m-%d %H:%M})" if (gaps.first - one.start).days else ""
    span = f"{gaps.first:%Y-%m-%d %H:%M} to {gaps.last:%Y-%m-%d %H:%M}"
    return f"{one.symbol} {one.kind}: {one.rows:,} rows, {one.new_rows:,} new, {span}, {gaps}{late}; in {one.folder}"


@data.command("check")
def data_check(
    paths: Annotated[list[Path], typer.Argument(metavar="FOLDER|FILE...", help="Parquet files, or folders that are searched for them.")],
    tick: Annotated[str, typer.Option(help="The price step that bars must lie on, as 0.1; default: theirs is found and shown.")] = "",
    as_json: JSON = False,
) -> None:
    """Check files of bars or fundings: names and types, order, duplicates, nulls, high under low, prices off the grid. Reports gaps.

    Gaps and bars without volume are no faults: they are told. Exit status 1: something is wrong, a line each with file, row and rule.

    Examples: `qtkit data check data`, `qtkit data check BTCUSDT_2025.parquet --tick 0.1`, `qtkit data check data --json`
    """
    from qtkit.lab.checks import check_files

    found: list[Checked] = []
    for one in check_files(paths, tick or None):
        found.append(one)
        if not as_json:
            _tell(one)
    if as_json:
        print(json.dumps([one.row() for one in found], indent=1, default=str))
    problems = sum(len(one.problems) for one in found)
    if problems and not as_json:
        print(f"{problems} {'problem' if problems == 1 else 'problems'} in {len(found)} series")
    raise typer.Exit(1 if problems else 0)


def _tell(one: "Checked") -> None:
    gaps = one.gaps
    if gaps.first is None or gaps.last is None:
        print(f"{one.name}: nothing in it")
    else:
        apart = f" of {_length(one.step_ms)}" if one.step_ms and one.kind != "funding" else ""
        grid = f", prices on {one.grid}" if one.grid else ""
        empty = f", {one.zero_volume:,} {'bar' if one.zero_volume == 1 else 'bars'} without volume" if one.zero_volume else ""
        word = "fundings" if one.kind == "funding" else "bars"
        print(f"{one.name}: {gaps.rows:,} {word}{apart}, {gaps.first:%Y-%m-%d %H:%M} to {gaps.last:%Y-%m-%d %H:%M}, {gaps}{grid}{empty}")
    for note in one.notes:
        print(f"  look: {note}")
    for problem in one.problems:
        print(f"  wrong: {problem}")


def _length(step_ms: int) -> str:
    for unit, ms in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)):
        if step_ms % ms == 0:
            return f"{step_ms // ms}{unit}"
    return f"{step_ms / 1000:g}s"
