"""Parity: a day that a desk lived, told again by the reference: the same stops after every minute, the same exits, or where they part."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import product

import polars as pl

from qtkit.bars import BarsError
from qtkit.core import arithmetic
from qtkit.core.events import Event
from qtkit.core.model import ONE, Instrument, Ticks
from qtkit.lab.costs import Costs
from qtkit.lab.fills import FILLS, MONEY, PAID, TIME
from qtkit.lab.lived import Lived, lived
from qtkit.lab.replay import level_of
from qtkit.lab.seen import BARS, MINUTE_MS, PRICES, Retold, View, view_of
from qtkit.lab.settled import MONEYS, closing_of, dealt_of, money_of, paid_by

HOLE_MS = 60_000  # prices come every second: after a minute without one nobody knows which stop was hit
PASS_MS = 15_000  # what a pass does comes so late after the minute that called for it
TIME_STOP = "the time stop of the plan has come"
PAST_STOP = "the price is through the planned stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where desk and reference part: when, which position, what the desk decided and what the reference."""

    at_ms: int
    key: str
    desk: str
    reference: str

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.at_ms / 1000, UTC)
        return f"{when:%Y-%m-%d %H:%M} {self.key}: the desk {self.desk}, the reference {self.reference}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a position was left: in the minute that begins at ``bar_ms`` (None: it is open), why, and when exactly."""

    bar_ms: int | None
    why: str
    at_ms: int

    def __str__(self) -> str:
        return "held it" if self.bar_ms is None else f"left it by {self.why} at {_clock(self.at_ms)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """One position told both ways; money is E8 of the quote coin, None where no fills are known or they do not match."""

    key: str
    side: str
    policy: str
    opened: int
    exit_bar: int | None
    why: str
    reference_bar: int | None
    reference_why: str
    band: bool
    net: int | None
    reference_net: int | None
    slippage: int | None
    fee: int | None
    funding: int | None
    note: str


@dataclass(frozen=True, eq=False)
class Parity:
    """The answer. ``first`` is the first decision in which desk and reference differ, None if in none.

    ``differences`` are the first of each position. ``frame`` has a row a position: its exit both ways (``band``: in its minute the order of
    prices decides, or a part of a tick, which bars do not know), its profit ``net`` and ``reference_net``, whose difference is ``slippage``
    + ``fee`` + ``funding``; ``note`` says why one was not compared.
    """

    differences: tuple[Difference, ...]
    frame: pl.DataFrame

    @property
    def first(self) -> Difference | None:
        """The first differing decision."""
        return min(self.differences, key=lambda it: it.at_ms, default=None)

    @property
    def compared(self) -> int:
        """How many positions were told both ways."""
        return self.frame.filter(pl.col("note") == "").height

    @property
    def sentence(self) -> str:
        """How many positions were compared, and where they first differ."""
        compared, left = self.compared, self.frame.height - self.compared
        if not compared:
            return f"no position could be compared, {left} were there" if left else "there was no position to compare"
        said = f"{compared} positions compared" + (f", {left} not" if left else "")
        return f"{said}: " + (f"{len(self.differences)} differ, first {self.first}" if self.differences else "every decision is the same")

    def __repr__(self) -> str:
        return f"<{self.sentence}>"


def parity(
    events: Iterable[tuple[int, Event]],
    prices: pl.DataFrame,
    bars: pl.DataFrame,
    rules: Mapping[str, Instrument],
    *,
    trades: pl.DataFrame | None = None,
    funding: pl.DataFrame | None = None,
) -> Parity:
    """Tell a recorded day again by the reference, each position by the plan that it had.

    ``events`` are a journal's with their times (ms), ``prices`` and ``bars`` what the desk saw (``seen.PRICES``, ``seen.BARS``), ``rules``
    the trading rules by symbol: ``qtkit.open().day(since)`` reads them all. ``trades`` are the account's own ``fills``, which alone know
    when and at what price; ``funding`` what ``funding_paid`` gives. The desk has to trail on closed bars. Positions that were not closed
    before the first price are compared minute by minute: the stop in force after it, and the exit. Raises ``BarsError`` for frames of
    another shape.
    """
    _refuse_other(prices, PRICES, "prices")
    _refuse_other(bars, BARS, "bars")
    if trades is not None:
        _refuse_other(trades, FILLS, "trades", "make them with lab.fills(...)")
    if funding is not None:
        _refuse_other(funding, PAID, "funding", "make it with lab.funding_paid(...)")
    told, differences, begun_ms = [], [], int(prices["at"].min() or 0)  # type: ignore[arg-type]
    for it in lived(events):
        if it.closed_ms is not None and it.closed_ms < begun_ms:
            continue
        row, difference = _compared(it, prices, bars, rules, dealt_of(it, trades), paid_by(it, funding))
        told.append(row)
        differences += [] if difference is None else [difference]
    frame = pl.DataFrame([asdict(row) for row in told], schema=_SCHEMA, orient="row")
    shown = [pl.col(name).cast(TIME) for name in ("opened", "exit_bar", "reference_bar")]
    money = [(pl.col(name).cast(MONEY) / ONE).cast(MONEY) for name in MONEYS]
    return Parity(tuple(differences), frame.with_columns(*shown, *money))


_SCHEMA = {
    name: pl.String() if kind is str else pl.Boolean() if kind is bool else pl.Int64() for name, kind in _Told.__annotations__.items()
}  # fmt: skip


def _refuse_other(
    frame: pl.DataFrame, schema: Mapping[str, pl.DataType], name: str, remedy: str = "read them with qtkit.open().day(since)"
) -> None:
    for column, kind in schema.items():
        if frame.schema.get(column) != kind:
            raise BarsError(f"{name}: column '{column}' has to be {kind}, got {frame.schema.get(column)}; {remedy}")


def _compared(
    it: Lived, prices: pl.DataFrame, bars: pl.DataFrame, rules: Mapping[str, Instrument], dealt: pl.DataFrame | None, paid: int
) -> tuple[_Told, Difference | None]:
    until_ms = it.closed_ms if it.closed_ms is not None else int(prices["at"].max() or 0)  # type: ignore[arg-type]
    note = it.unfit or _unseen(it, prices, rules, until_ms)
    seen = [] if note else [view_of(it, prices, bars, rules[it.key.symbol], until_ms, exact=exact) for exact in (True, False)]
    views = [view for view in seen if view is not None]
    if not views:
        return _told(it, Exit(bar_ms=None, why="", at_ms=0), None, note or "no price of it was seen", dealt, paid), None
    left = _left(it, views[-1], dealt)
    by_hand = left.bar_ms is not None and left.why not in KNOWN
    asked = views[0].number(left.at_ms) if by_hand else -1
    tries = [(view, _again(view, it, rules[it.key.symbol], best_first=best, asked=asked)) for view, best in product(views, (False, True))]
    found = [(walk, _difference(it, view, left, walk, by_hand=by_hand)) for view, walk in tries]
    walk, difference = next((pair for pair in found if pair[1] is None), found[0])
    band = any(other.legs != walk.legs for _, other in tries)
    return _told(it, left, walk, "", dealt, paid, view=views[0], band=band), difference


KNOWN = ("stop", "trail", "stage", "break-even", "target", "time")


def _unseen(it: Lived, prices: pl.DataFrame, rules: Mapping[str, Instrument], until_ms: int) -> str:
    """Why what the desk saw of a position is not enough, empty if it is."""
    if it.key.symbol not in rules:
        return "no trading rules of it were seen"
    seen = prices.filter((pl.col("symbol") == it.key.symbol) & (pl.col("at") <= until_ms))["at"]
    known = seen.filter(seen <= it.plan.created_ms + MINUTE_MS)
    if known.is_empty():
        return "it was open when the recording began"
    life = pl.Series([max(int(known[-1]), it.plan.created_ms), *seen.filter(seen > it.plan.created_ms)])
    hole = life.diff().arg_max()
    if hole is None or int(life[hole]) - int(life[hole - 1]) <= HOLE_MS:
        return ""
    return f"no price of it was seen from {_clock(int(life[hole - 1]))} to {_clock(int(life[hole]))}"


def _clock(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%H:%M:%S}"


def _again(view: View, it: Lived, rules: Instrument, *, best_first: bool, asked: int) -> Retold:
    costs = Costs(taker=rules.taker_fee, maker=rules.maker_fee)
    walk = Retold(view, it, costs, best_first=best_first, asked=asked)
    walk.run()
    return walk


# -- what the desk did


def _left(it: Lived, view: View, dealt: pl.DataFrame | None) -> Exit:
    """How the desk's position was left. When exactly only its fills know; the journal knows the pass that found out."""
    if it.closed_ms is None:
        return Exit(bar_ms=None, why="open", at_ms=int(view.bars.time_ms[-1]))
    last = it.filled[-1] if it.filled else None
    at_ms = it.closed_ms if last is None else last.at_ms
    if dealt is not None and (closing := closing_of(it, dealt)).height:
        at_ms = int(closing["time"].dt.epoch("ms")[-1])
    return Exit(bar_ms=at_ms // MINUTE_MS * MINUTE_MS, why=_why(it, view, at_ms), at_ms=at_ms)


def _why(it: Lived, view: View, at_ms: int) -> str:
    """A word of ``result.WHYS``, ``the desk`` for what it closed for another reason, or ``hand`` for what no order of ours closed."""
    whole = bool(it.filled) and sum(fill.filled for fill in it.filled) >= it.lots
    last = it.filled[-1] if whole else None
    if last is None:  # gone before the desk asked: the stop that rested, if the price reached it
        return _level(it, it.sent.trigger, at_ms) if it.sent is not None and _reached(it, view, at_ms) else "hand"
    if last.leg[0] == "t":
        return "target"
    if last.leg[0] == "x":
        reason = it.closings[-1] if it.closings else ""
        return _level(it, None, at_ms) if reason == PAST_STOP else "time" if reason == TIME_STOP else "the desk"
    trigger = it.triggers.get(last.client_id)
    return _level(it, None if trigger is None else Ticks(trigger // it.plan.tick), at_ms)


def _level(it: Lived, trigger: Ticks | None, at_ms: int) -> str:
    """Which level a stop was that fired at ``trigger``, or that was in force."""
    before = [state for state, _ in it.states if state.at_ms <= at_ms]
    return level_of(it.plan, next((state for state in reversed(before) if state.stop == trigger), before[-1]))


def _reached(it: Lived, view: View, at_ms: int) -> bool:
    bar, sign = view.number(at_ms), it.plan.side.sign
    watched = view.bars.watched
    worst = int((watched.low if sign > 0 else watched.high)[bar])
    return it.sent is not None and it.sent.trigger is not None and arithmetic.stop_hit(sign, worst, it.sent.trigger)


# -- the comparison


def _difference(it: Lived, view: View, left: Exit, walk: Retold, *, by_hand: bool) -> Difference | None:
    """The first minute after which the stops differ, or the exit if it does."""
    end = walk.legs[-1]
    ended = None if end.why == "end of data" and left.bar_ms is None else int(view.bars.time_ms[end.bar])
    lived_bar = len(view.bars) if left.bar_ms is None else view.number(left.at_ms)
    for bar in range(1, min(end.bar, lived_bar)):
        closed_ms = int(view.bars.time_ms[bar]) + MINUTE_MS
        mine, theirs = it.state_at(closed_ms), walk.states[bar]
        if mine.stop != theirs.stop:
            return _parted(it, closed_ms, *(f"had its stop at {_price(it, s.stop)} ({level_of(it.plan, s)})" for s in (mine, theirs)))
    again = Exit(bar_ms=ended, why="hand" if end.why == "asked" else end.why, at_ms=ended or 0)
    if (again.bar_ms is None) == (left.bar_ms is None) and (
        again.bar_ms is None or (_same_bar(left, again) and (by_hand or left.why == again.why))
    ):
        return None
    return _parted(it, min(x.bar_ms for x in (left, again) if x.bar_ms is not None), str(left), str(again))


def _same_bar(left: Exit, again: Exit) -> bool:
    """The same minute, or for what waits for a pass a few seconds after it."""
    assert left.bar_ms is not None and again.bar_ms is not None
    return left.bar_ms == again.bar_ms or (left.why == "time" and 0 <= left.at_ms - again.bar_ms - MINUTE_MS < PASS_MS)


def _parted(it: Lived, at_ms: int, desk: str, reference: str) -> Difference:
    return Difference(at_ms=at_ms, key=str(it.key), desk=desk, reference=reference)


def _price(it: Lived, ticks: int) -> str:
    return f"{ticks * it.plan.tick / ONE:g}"


# -- the row


def _told(
    it: Lived,
    left: Exit,
    walk: Retold | None,
    note: str,
    dealt: pl.DataFrame | None,
    paid: int,
    *,
    view: View | None = None,
    band: bool = False,
) -> _Told:
    end = None if walk is None else walk.legs[-1]
    money = dict.fromkeys(MONEYS)
    if walk is not None and dealt is not None and left.bar_ms is not None:
        money = money_of(it, walk.legs, dealt, paid, walk.costs)
    return _Told(
        key=str(it.key), side=it.plan.side.name, policy=it.plan.profile, opened=it.opened_ms, exit_bar=left.bar_ms, why=left.why,
        reference_bar=None if end is None or view is None else int(view.bars.time_ms[end.bar]),
        reference_why="" if end is None else end.why, band=band, note=note, **money,
    )  # fmt: skip
