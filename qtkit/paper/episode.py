"""One position from leaving flat to being flat again, as the meter accounts for it: time naked, time in gaps, moves of the stop, fills."""

from collections.abc import Sequence
from dataclasses import dataclass

from qtkit.core.model import Key, OrderKind, PositionSide, Side
from qtkit.paper.judge import Standing, level
from qtkit.paper.rows import AlgoRow, AlgoStatus, OrderRow, PositionRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """An instant on both clocks, ms: the exchange's and the wall's."""

    exchange_ms: int
    wall_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A duration on both clocks, ms."""

    exchange_ms: int = 0
    wall_ms: int = 0

    @staticmethod
    def between(start: Moment, end: Moment) -> "Span":
        """Time from one instant to a later one."""
        return Span(exchange_ms=end.exchange_ms - start.exchange_ms, wall_ms=end.wall_ms - start.wall_ms)

    def plus(self, other: "Span") -> "Span":
        """Both durations one after the other."""
        return Span(exchange_ms=self.exchange_ms + other.exchange_ms, wall_ms=self.wall_ms + other.wall_ms)

    def longest(self, other: "Span") -> "Span":
        """The longer on each clock by itself."""
        return Span(exchange_ms=max(self.exchange_ms, other.exchange_ms), wall_ms=max(self.wall_ms, other.wall_ms))


class Episode:
    """The account of one position, fed by the meter with every judgement and every fill."""

    def __init__(self, key: Key, number: int, side: Side, opened: Moment, standing: Standing) -> None:
        self.key = key
        self.number = number
        self.side = side
        self.opened = opened
        self.closed: Moment | None = None
        self.standing = standing
        self.first_cover: Moment | None = None
        self.gaps = 0
        self.loosened = 0
        self.trades_before_cover = 0
        self.market_closes = 0
        self.liquidated = False
        self._opened_by_us: bool | None = None
        self._gap_since: Moment | None = None
        self._past_gaps = Span()
        self._past_worst = Span()
        self._best: int | None = None  # tightest level seen, E8, and the quantity it covered
        self._best_quantity = 0
        self._below_since_ms: int | None = None
        self._dropped_by_desk = False

    @property
    def ours(self) -> bool:
        """True if an own order opened the position."""
        return self._opened_by_us is True

    def adoption(self, now: Moment) -> Span:
        """Time from the opening to the first full cover, or to the end or now if there was none."""
        return Span.between(self.opened, self.first_cover or self.closed or now)

    def gap(self, now: Moment) -> Span:
        """Time without full cover after the first cover, all gaps together."""
        return self._past_gaps.plus(self._open_gap(now))

    def worst_gap(self, now: Moment) -> Span:
        """The longest single gap after the first cover."""
        return self._past_worst.longest(self._open_gap(now))

    def close(self, now: Moment) -> None:
        """The position is flat."""
        self._end_gap(now)
        self.closed = now

    def observe(
        self, row: PositionRow, standing: Standing, own: Sequence[AlgoRow], now: Moment, *, moved: AlgoRow | None, settle_ms: int
    ) -> None:
        """Take a new judgement. ``own`` are all open own stops of the position, stuck ones too; ``moved`` is the one the desk just placed
        or cancelled, if that is what happened."""
        self.standing = standing
        if standing.covered:
            self.first_cover = self.first_cover or now
            self._end_gap(now)
        elif self.first_cover is not None and self._gap_since is None:
            self._gap_since = now
            self.gaps += 1
        self._watch_level(row, own, now, moved, settle_ms)

    def fill(self, order: OrderRow, *, own: bool, at_ms: int, liquidation: bool) -> None:
        """Take a fill in this position's slot."""
        closing = order.side is self.side.closing
        if self._opened_by_us is None and not closing:
            self._opened_by_us = own and at_ms == self.opened.exchange_ms
        self.liquidated = self.liquidated or liquidation
        if not own:
            return
        reducing = order.reduce_only or order.position_side is not PositionSide.BOTH
        if order.algo_id and closing:
            if order.origin is OrderKind.STOP_MARKET:
                self._best = None  # the stop has done its work; what is left of the position starts anew
        elif not (closing and reducing and order.kind is OrderKind.LIMIT):
            self.market_closes += closing
            self.trades_before_cover += self.first_cover is None

    def _open_gap(self, now: Moment) -> Span:
        return Span() if self._gap_since is None else Span.between(self._gap_since, now)

    def _end_gap(self, now: Moment) -> None:
        gap = self._open_gap(now)
        self._past_gaps, self._past_worst = self._past_gaps.plus(gap), self._past_worst.longest(gap)
        self._gap_since = None

    def _watch_level(self, row: PositionRow, own: Sequence[AlgoRow], now: Moment, moved: AlgoRow | None, settle_ms: int) -> None:
        # A stop's level is the one at which the whole position is covered; after an addition, the quantity that was covered before is held
        # to its level, and the rest joins when it is covered as well.
        needed = abs(row.amount)
        cancelled = moved is not None and moved.status is AlgoStatus.CANCELED
        if self._best is None:
            whole = level(row, own, needed)
            self._best, self._best_quantity, self._below_since_ms = whole, needed, None
            return
        quantity = min(needed, self._best_quantity)
        here = level(row, own, quantity)
        if here is None:  # naked: the gap is counted; remember whose doing it was
            self._dropped_by_desk = self._dropped_by_desk or cancelled
        elif self.side.sign * (here - self._best) >= 0:
            whole = level(row, own, needed)
            joined = whole is not None and self.side.sign * (whole - here) >= 0
            self._best, self._best_quantity = here, needed if joined else quantity
            self._below_since_ms, self._dropped_by_desk = None, False
        else:
            since = now.wall_ms if self._below_since_ms is None else self._below_since_ms
            by_the_act = self._dropped_by_desk or (cancelled and self._below_since_ms is None)
            self._below_since_ms = since
            if by_the_act or now.wall_ms - since > settle_ms:
                self.loosened += 1
                self._best, self._best_quantity, self._below_since_ms, self._dropped_by_desk = here, quantity, None, False
