"""The frames of a play: prices, the level of the stops, orders and fills by the exchange's own books, and what happened to the desk."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from qtkit.core.model import PolicyError, Side

SETTLING_MS = 10_000  # a position that lived shorter may have come and gone between two passes
MOST_POINTS = 2_000  # of one line of a picture: more than it has pixels
COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "prices": {"time_ms": pl.Int64, "symbol": pl.String, "last": pl.Float64, "mark": pl.Float64},
    "stops": {"time_ms": pl.Int64, "position": pl.String, "level": pl.Float64},
    "orders": {
        "time_ms": pl.Int64, "position": pl.String, "who": pl.String, "leg": pl.String, "client_id": pl.String, "trigger": pl.Float64,
        "size": pl.Float64, "status": pl.String,
    },
    "fills": {
        "time_ms": pl.Int64, "position": pl.String, "who": pl.String, "leg": pl.String, "price": pl.Float64, "size": pl.Float64,
        "realised": pl.Float64, "side": pl.String,
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A play in frames; times in exchange ms, prices and sizes as floats, for pictures and statistics only.

    ``prices`` (time_ms, symbol, last, mark); ``stops`` (time_ms, position, level): the level at which own stops close all of it, null where
    they do not; ``orders`` (time_ms, position, who, leg, client_id, trigger, size, status), one row a change; ``fills`` (time_ms, position,
    who, leg, price, size, realised, side). ``about`` is the rest of `story.json`: kills, promises, and what else was told.
    """

    prices: pl.DataFrame
    stops: pl.DataFrame
    orders: pl.DataFrame
    fills: pl.DataFrame
    about: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name, columns in COLUMNS.items():
            frame: pl.DataFrame = getattr(self, name)
            if missing := [column for column in columns if column not in frame.columns]:
                raise PolicyError(f"the story's {name} have no column {missing[0]!r}; they have {', '.join(frame.columns) or 'none'}")
            typed = frame.select(pl.col(column).cast(kind) for column, kind in columns.items())
            object.__setattr__(self, name, typed.sort("time_ms", maintain_order=True))

    @classmethod
    def read(cls, folder: Path | str) -> "Story":
        """The story in a folder: `story.json` and four parquet files. Raises ``PolicyError`` naming what is missing."""
        folder = Path(folder).expanduser()
        missing = [name for name in ("story.json", *(f"{name}.parquet" for name in COLUMNS)) if not (folder / name).is_file()]
        if missing:
            raise PolicyError(f"{folder} holds no story: {missing[0]} is missing; `qtkit demo` writes one and names its folder")
        frames = {name: pl.read_parquet(folder / f"{name}.parquet") for name in COLUMNS}
        return cls(**frames, about=json.loads((folder / "story.json").read_text()))

    @property
    def positions(self) -> tuple[str, ...]:
        """The positions that were ever open, in the order in which they were opened."""
        return tuple(self.fills["position"].unique(maintain_order=True))

    @property
    def kills(self) -> Sequence[Mapping[str, Any]]:
        """When the desk was killed (``time_ms``), and what was seen of it (``evidence``)."""
        return tuple(self.about.get("kills", ()))

    @property
    def promises(self) -> Sequence[Mapping[str, Any]]:
        """What was promised (``name``), whether it was ``held``, and the ``evidence``: the judgement made during the play."""
        return tuple(self.about.get("promises") or self.about.get("ledger", {}).get("promises", ()))

    def of(self, position: str) -> "PositionStory":
        """One position. Raises ``PolicyError`` if it was never open."""
        if position not in self.positions:
            raise PolicyError(f"no position {position!r} in this story; it has {', '.join(self.positions) or 'none'}")
        return PositionStory(story=self, name=position)


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionStory:
    """One position of a story, with what can be computed of it. ``name`` is the symbol, in hedge mode with its side."""

    story: Story
    name: str

    def _own(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.filter(pl.col("position") == self.name)

    @property
    def symbol(self) -> str:
        """Its symbol."""
        return self.name.partition(":")[0]

    @property
    def prices(self) -> pl.DataFrame:
        """Prices of its symbol."""
        return self.story.prices.filter(pl.col("symbol") == self.symbol)

    @property
    def stops(self) -> pl.DataFrame:
        """Level at which own stops close all of it, whenever it changed."""
        return self._own(self.story.stops)

    @property
    def orders(self) -> pl.DataFrame:
        """Changes of conditional orders."""
        return self._own(self.story.orders)

    @property
    def fills(self) -> pl.DataFrame:
        """Fills."""
        return self._own(self.story.fills)

    @property
    def end_ms(self) -> int:
        """Time of the story's last price of this symbol."""
        return int(self.prices["time_ms"].max() or self.fills["time_ms"][-1])  # type: ignore[arg-type]

    @property
    def side(self) -> Side:
        """Direction in which it was first opened."""
        return Side.LONG if self.fills["side"][0] == "BUY" else Side.SHORT

    @property
    def signed(self) -> pl.DataFrame:
        """The fills with ``held``, the signed size after each, and ``entry``, the average entry price while open."""
        held, entry, rows = Decimal(0), Decimal(0), []
        for row in self.fills.select("price", "size", "side").iter_rows():
            price, size = (Decimal(str(number)) for number in row[:2])  # exact: a residue of floats would pass for a flip
            change = size if row[2] == "BUY" else -size
            after = held + change
            if held * change >= 0:
                entry = (entry * abs(held) + price * size) / (abs(held) + size)
            elif held * after < 0:
                entry = price
            held = after
            rows.append((float(held), float(entry)))
        return self.fills.with_columns(pl.DataFrame(rows, schema={"held": pl.Float64, "entry": pl.Float64}, orient="row"))

    @property
    def opened_ms(self) -> int:
        """Time of the first fill."""
        return int(self.fills["time_ms"][0])

    @property
    def is_open(self) -> bool:
        """True if some of it is left at the end."""
        return bool(self.signed["held"][-1] != 0)

    @property
    def realised(self) -> float:
        """Realised profit of all its fills, before fees (USDT)."""
        return float(self.fills["realised"].sum())

    @property
    def at_stop(self) -> float | None:
        """Profit of what is open at the end if its stop fills at its level, before fees (USDT): 0 if nothing is, None without a stop."""
        held, entry = self.signed.select("held", "entry").row(-1)
        level = self.stops["level"][-1] if self.stops.height else None
        return 0.0 if not held else None if level is None else float(held * (level - entry))

    @property
    def stays(self) -> tuple[tuple[int, int | None, int], ...]:
        """From flat to flat: time of opening, time of being flat again (None: still open), and the sign of its side."""
        stays: list[tuple[int, int | None, int]] = []
        before = 0.0
        for time_ms, held in self.signed.select("time_ms", "held").iter_rows():
            if stays and before and held * before <= 0:
                stays[-1] = (stays[-1][0], time_ms, stays[-1][2])
            if held and held * before <= 0:
                stays.append((time_ms, None, 1 if held > 0 else -1))
            before = held
        return tuple(stays)

    @property
    def bare(self) -> tuple[tuple[int, int], ...]:
        """Stretches of time (from, to) in which it was open and own stops did not close all of it."""
        found = []
        for opened_ms, flat_ms, _ in self.stays:
            end = self.end_ms + 1 if flat_ms is None else flat_ms
            rows = self.stops.filter((pl.col("time_ms") >= opened_ms) & (pl.col("time_ms") < end)).select("time_ms", "level").rows()
            since: int | None = opened_ms
            for time_ms, level in rows:
                if level is not None and since is not None:
                    found.append((since, time_ms))
                since = None if level is not None else time_ms if since is None else since
            found += [(since, end)] if since is not None else []
        return tuple(span for span in found if span[1] > span[0])

    @property
    def naked_ms(self) -> int | None:
        """Exchange time from its opening to the first cover of all of it by own stops; None if it was never covered."""
        covered = self.stops.filter(pl.col("level").is_not_null() & (pl.col("time_ms") >= self.opened_ms))
        return int(covered["time_ms"][0]) - self.opened_ms if covered.height else None

    @property
    def moves(self) -> int:
        """How often the covering level moved to a better place within one stay open."""
        better = (pl.col("level") - pl.col("level").shift(1)) * self.side.sign > 0
        return int(self.stops.select(better.sum())[0, 0])

    @property
    def flaws(self) -> tuple[str, ...]:
        """What is wrong with it, judged anew from the frames alone; nothing if every promise to it was kept.

        Never covered, or naked again after its first cover; a working stop of ours placed looser than the one before; a fill of ours before
        the first cover of a position that somebody else opened; a fill of ours, other than an entry's, that added to it; a liquidation.
        """
        return tuple(self._unseen() + self._naked_again() + self._loosened() + self._own_fills())

    def _unseen(self) -> list[str]:
        found = ["it was liquidated"] if (self.fills["who"] == "exchange").any() else []
        if self.naked_ms is None and (self.is_open or self.end_ms - self.opened_ms > SETTLING_MS):
            return [*found, "own stops never covered it"]
        return found

    def _naked_again(self) -> list[str]:
        opened = {stay[0] for stay in self.stays}
        again = [span for span in self.bare if span[0] not in opened]
        return [f"own stops left it uncovered for {(to - since) / 1000:g} s after they had covered it" for since, to in again]

    def _loosened(self) -> list[str]:
        found = []
        new = self.orders.filter((pl.col("who") == "desk") & (pl.col("leg") == "stop")).unique(
            "client_id", keep="first", maintain_order=True
        )
        begin = 0
        for _, flat_ms, sign in self.stays:
            end = self.end_ms + 1 if flat_ms is None else flat_ms
            triggers = new.filter((pl.col("time_ms") > begin) & (pl.col("time_ms") <= end))["trigger"]
            worse = int((triggers.diff() * sign < 0).sum())
            found += [f"its stop was placed looser than before, {worse} times"] if worse else []
            begin = end
        return found

    def _own_fills(self) -> list[str]:
        held = self.signed.with_columns(before=pl.col("held").shift(1, fill_value=0.0))
        own = held.filter((pl.col("who") == "desk") & (pl.col("leg") != "entry"))
        added = own.filter((pl.col("held").abs() > pl.col("before").abs()) | (pl.col("held") * pl.col("before") < 0)).height
        found = [f"{added} own fills added to it"] if added else []
        if self.fills["who"][0] != "desk" and self.naked_ms is not None:
            early = own.filter(pl.col("time_ms") < self.opened_ms + self.naked_ms).height
            found += [f"{early} own fills before it was covered: adoption traded"] if early else []
        return found

    @property
    def digits(self) -> int:
        """Decimals of its last prices, which lie on the exchange's grid."""
        texts = self.prices["last"].unique().cast(pl.String)
        decimals = texts.str.split(".").list.get(1, null_on_oob=True).fill_null("").str.strip_chars_end("0").str.len_chars()
        return int(decimals.max() or 0)  # type: ignore[arg-type]

    @property
    def result(self) -> str:
        """What came of it, in a few words; profits before fees."""
        money = f"{self.realised:+,.2f} USDT realised before fees"
        if self.is_open:
            then = "no stop" if self.at_stop is None else f"{self.at_stop:+,.2f} USDT at the stop"
            return f"{money}, {abs(self.signed['held'][-1]):g} coins still open, {then}"
        last = self.fills.row(-1, named=True)
        how = {"stop": "closed at its stop", "floor": "closed at its floor", "target": "closed at its last target"}
        return f"{money}, {how.get(last['leg'], 'closed by ' + str(last['who']))}"


def thin(frame: pl.DataFrame, column: str, most: int = MOST_POINTS) -> pl.DataFrame:
    """At most about ``most`` rows that draw the same line: first, lowest, highest and last of each stretch of time."""
    if frame.height <= most:
        return frame
    rows = pl.int_range(pl.len())
    numbered = frame.with_columns(rows.alias("_row"), (rows * max(1, most // 4) // frame.height).alias("_bucket"))
    picked = numbered.group_by("_bucket").agg(
        pl.col("_row").first().alias("a"), pl.col("_row").last().alias("b"),
        pl.col("_row").sort_by(column).first().alias("c"), pl.col("_row").sort_by(column).last().alias("d"),
    )  # fmt: skip
    keep = pl.concat([picked["a"], picked["b"], picked["c"], picked["d"]]).unique().sort()
    return frame[keep]
