"""What is wrong with files of bars or fundings, and what they hold: rules, gaps, price grid. Read in passes, never held whole."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from itertools import groupby
from math import gcd
from pathlib import Path
from typing import Any

import polars as pl

from qtkit.bars import COLUMNS, EXACT, ONE, PRICES, RULES, BarsError, Rule, broken, moment, refuse_columns
from qtkit.core.model import PolicyError
from qtkit.lab.gaps import FUNDING_STEP_MS, NONE, Gaps, gaps_of, step_of
from qtkit.lab.months import FUNDING, note_of

FEW = 1_000
"""If at most one price in so many lies off a coarser grid, those are said to be suspect."""
_MULTIPLES = tuple(digit * 10**power for power in range(9) for digit in (2, 5, 10))
_AT = pl.col("time").dt.epoch("ms")
_FUNDING_RULES = (
    *(Rule(name, pl.col(name).is_null(), "is null", "drop that row") for name in FUNDING),
    Rule("rate", ~(pl.col("rate").abs() < 1), "is no fraction of the notional", "write 0.01 % as 0.0001"),
    Rule("time", pl.col("time").diff() <= pl.duration(), "does not rise", 'use .unique(subset="time").sort("time")'),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a series (a file, a folder of months, or one symbol of a file) holds, and a sentence for each thing that is wrong with it.

    ``step_ms`` is the commonest distance of its rows, ``grid`` the greatest number of which every price is a multiple (None for fundings).
    ``notes`` are worth a look and no faults.
    """

    name: str
    kind: str
    gaps: Gaps = NONE
    step_ms: int | None = None
    grid: str | None = None
    zero_volume: int = 0
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """The same as one flat row, for JSON."""
        gaps = asdict(self.gaps)
        told = {"name": self.name, "kind": self.kind, "rows": gaps.pop("rows"), "gaps": gaps.pop("count"), **gaps}
        rest = {"step_ms": self.step_ms, "grid": self.grid, "zero_volume": self.zero_volume}
        return told | rest | {"notes": list(self.notes), "problems": list(self.problems)}


def tick_e8(text: str) -> int:
    """A tick size as typed, in 1e-8. Raises ``PolicyError`` for one that is not positive or finer than that."""
    try:
        tick = Decimal(text) * ONE
        whole = int(tick)
    except (InvalidOperation, OverflowError, ValueError):
        tick, whole = Decimal(0), 0
    if whole <= 0 or whole != tick:
        raise PolicyError(f"--tick is a price step of at least 0.00000001, as 0.1, got '{text}'")
    return whole


def check_files(paths: Sequence[Path | str], tick: str | None = None) -> Iterator[Checked]:
    """Every series of files and folders (searched to the bottom), one after the other; prices against ``tick`` if one is given.

    Raises ``BarsError`` for a path that is not there, or a folder without parquet files.
    """
    step = None if tick is None else tick_e8(tick)
    for path in map(Path, paths):
        if path.is_dir():
            files = sorted(path.rglob("*.parquet"), key=lambda file: (file.parent, file.name))
            if not files:
                raise BarsError(f"{path} holds no parquet files; give the folder that `qtkit data download` wrote to")
        elif path.is_file():
            files = [path]
        else:
            raise BarsError(f"{path} is not there; give a parquet file, or a folder of them")
        for _, together in groupby(files, key=lambda file: file.parent if _month(file) else file):
            yield from _series(list(together), step)


def _month(file: Path) -> bool:
    return re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", file.stem) is not None


def _series(files: Sequence[Path], tick: int | None) -> Iterator[Checked]:
    """One series of the files together; of a file with several symbols one for each."""
    name = str(files[0].parent if _month(files[0]) and len(files) > 1 else files[0])
    problems, good, kind, empty = [], [], "bars", 0
    for file in files:
        try:
            note = note_of(file)
            schema = pl.scan_parquet(file).collect_schema()
            kind = str(note["kind"]) if note else "funding" if "rate" in schema and "close" not in schema else "bars"
            refuse_columns(schema, str(file), FUNDING if kind == "funding" else COLUMNS)
        except BarsError as error:
            problems.append(str(error))
            continue
        if pl.scan_parquet(file).select(pl.len()).collect().item():
            good.append(file)
        elif note:
            empty += 1
        else:
            problems.append(f"{file} holds no rows; delete it, or write it again")
    notes = [f"{empty} {'month' if empty == 1 else 'months'} in which the exchange had nothing"] if empty else []
    if not good:
        yield Checked(name=name, kind=kind, notes=tuple(notes), problems=tuple(problems))
        return
    symbols: list[str | None] = [None]
    if "symbol" in pl.scan_parquet(good[0]).collect_schema():
        symbols = pl.scan_parquet(good[0]).select(pl.col("symbol").unique().sort()).collect()["symbol"].to_list()
    for symbol in symbols:
        called = name if len(symbols) == 1 else f"{name} {symbol}"
        yield _checked(called, kind, [(file, _of(file, kind, symbol)) for file in good], tick, notes, problems)
        notes, problems = [], []


def _of(file: Path, kind: str, symbol: str | None) -> pl.LazyFrame:
    """The rows of a symbol, each with its number in the file."""
    rows = pl.scan_parquet(file).with_row_index("row")
    if symbol is not None:
        rows = rows.filter(pl.col("symbol") == symbol)
    return rows.select("row", *(FUNDING if kind == "funding" else COLUMNS))


def _checked(
    name: str, kind: str, parts: Sequence[tuple[Path, pl.LazyFrame]], tick: int | None, notes: Sequence[str], problems: Sequence[str]
) -> Checked:
    whole = pl.concat([rows for _, rows in parts])
    step = step_of(whole)
    rules = _FUNDING_RULES if kind == "funding" else (*RULES, *_on_step(step), *(_on_tick(tick) if tick and kind == "bars" else ()))
    found = [*problems]
    for file, rows in parts:
        found += _broken(str(file), rows, (*rules, *(_in_month(file) if _month(file) else ())))
    gaps = gaps_of(whole, FUNDING_STEP_MS if kind == "funding" else step or 1)
    if kind == "funding":
        return Checked(name=name, kind=kind, gaps=gaps, step_ms=step, notes=tuple(notes), problems=tuple(found))
    grid, suspect = _grid(whole)
    empty = whole.filter(pl.col("volume") == 0).select(pl.len()).collect(engine="streaming").item() if kind == "bars" else 0
    return Checked(
        name=name,
        kind=kind,
        gaps=gaps,
        step_ms=step,
        grid=f"{Decimal(grid) / ONE:f}" if grid else None,
        zero_volume=empty,
        notes=(*notes, *suspect),
        problems=tuple(found),
    )


def _broken(name: str, rows: pl.LazyFrame, rules: Sequence[Rule]) -> list[str]:
    """A sentence for every rule that a row breaks; the first such row is named."""
    counts = rows.select(rule.wrong.sum().alias(str(place)) for place, rule in enumerate(rules)).collect(engine="streaming").row(0)
    out = []
    for rule, count in zip(rules, counts, strict=True):
        if count:
            marked = rows.with_columns(rule.wrong.alias("wrong")).filter(pl.col("wrong"))
            first = marked.select("row", "time", pl.col(rule.column).alias("value")).head(1).collect().row(0, named=True)
            out.append(broken(name, rule, first["row"], first["time"], first["value"], count))
    return out


def _on_step(step: int | None) -> tuple[Rule, ...]:
    if step is None:
        return ()
    return (Rule("time", _AT % step != 0, f"is no multiple of {step // 1000:,} s, as its neighbours are", "check how the bars were built"),)


def _on_tick(tick: int) -> Iterator[Rule]:
    what = f"is off the tick {Decimal(tick) / ONE:f}"
    for column in PRICES:
        yield Rule(column, _e8(column) % tick != 0, what, "give the tick of that time, or download the file again")


def _in_month(file: Path) -> tuple[Rule, ...]:
    start, end = moment(file.stem), moment(file.stem, end=True)
    wrong = (pl.col("time") < start) | (pl.col("time") >= end)
    return (Rule("time", wrong, "is not of the month that the file is named for", "move that row to the file of its month"),)


def _e8(column: str) -> pl.Expr:
    """A price in 1e-8; null where it is none."""
    price = pl.col(column)
    return pl.when(price.is_between(0, EXACT / ONE, closed="none")).then(price * ONE).round().cast(pl.Int64)


def _grid(rows: pl.LazyFrame) -> tuple[int, list[str]]:
    """The greatest common divisor of all prices in 1e-8 (0 without prices), and a note if all but a few lie on a coarser grid.

    Found by looking for a price off the grid so far, so that each pass at least halves it.
    """
    prices = pl.concat([rows.select(_e8(column).alias("price"), "row", "time") for column in PRICES]).drop_nulls("price")
    first = prices.head(1).collect()
    grid = int(first["price"][0]) if len(first) else 0
    while grid > 1:
        off = prices.filter(pl.col("price") % grid != 0).head(1).collect()
        if off.is_empty():
            break
        grid = gcd(grid, int(off["price"][0]))
    return grid, _suspect(prices, grid) if grid else []


def _suspect(prices: pl.LazyFrame, grid: int) -> list[str]:
    tried = {grid * many: (pl.col("price") % (grid * many) != 0).sum() for many in _MULTIPLES}
    counts = prices.select(pl.len().alias("all"), *(off.alias(str(step)) for step, off in tried.items())).collect(engine="streaming")
    most = counts["all"][0] // FEW
    coarser = [(step, counts[str(step)][0]) for step in tried if 0 < counts[str(step)][0] <= most]
    if not coarser:
        return []
    step, count = coarser[-1]
    row, at = prices.filter(pl.col("price") % step != 0).select("row", "time").head(1).collect().row(0)
    tick = f"{Decimal(step) / ONE:f}"
    lie = "1 price lies" if count == 1 else f"{count:,} prices lie"
    return [f"{lie} off the grid {tick} of all others, the first in row {row}, {at}: look at them with --tick {tick}"]
