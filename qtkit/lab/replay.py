"""The slow, obvious reference: one position, one policy, bar after bar, by the planner and the trail of the desk.

The rules of a bar, in this order:

1. An entry is at the close of its bar and is subject to prices from the next bar on. An entry inside its bar (it has a price of its own)
   may have met any part of that bar: the worst case takes the adverse extreme and the close, the best case the favourable one and
   the close.
2. What the open decides: a stop that the open is through is filled at the open; a target that the open has reached is filled (at the open,
   a resting limit at its price).
3. Then the adverse side before the favourable one (``worst``), or the reverse (``best``): a stop is filled at its level, a target at its
   own. A market target is filled when touched, a limit when traded through. A stop ends the position.
4. Then the ratchet: the stop takes this bar's favourable extreme, stages, trail, and break-even after targets. It is in force from the
   next bar on. Where the bar is the last of its hour, a callback that moves with ATR takes its new value then, and the trail with it.
5. Then time: at the first close at or after the deadline, at the entry's own ``exit_at``, or at the end of the data, the rest is left at
   the close.

Stop and trail lie on the tick toward less risk, a target toward the sooner fill; a trailed stop moves on the grid of its minimum step.
With a trigger series (mark price) its bars fire stops and move the ratchet, while these fill: a stop that it fires is filled at its level
within what the bar traded. Fees and slippage are those of ``Costs``, funding that of the bars.
"""

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Literal

import polars as pl

from qtkit.core import arithmetic
from qtkit.core.context import ExitContext, MarketData
from qtkit.core.distance import AtPrice, InAtr
from qtkit.core.model import E8, ONE, Bps, Instrument, Lots, PolicyError, Position, PositionSide, Side, Ticks
from qtkit.core.plan import WHOLE, ExitPlan, Trail
from qtkit.core.planner import ExitPlanner
from qtkit.core.policy import ExitPolicy
from qtkit.core.shape import moving_callback
from qtkit.core.trail import TrailState, begin, callback_at, fold, moved, step_of
from qtkit.lab.asked import refuse_words
from qtkit.lab.cohorts import hours_of
from qtkit.lab.costs import PPM, Costs, costs_of
from qtkit.lab.entries import NONE, Entries, as_entries
from qtkit.lab.liquidation import checked
from qtkit.lab.series import Bars
from qtkit.market import ATR_HOURS, market_data

FILLS = ("worst", "best")
"""Which side of a bar is told first where both could have been."""
MANY = Lots(1_000_000)  # lots of the position that is planned: enough for every leg, as shares are what the lab counts in


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One fill: the bar, its price (ticks), the share of the position (bps), why (a word of ``result.WHYS``), and the fee's rate (E8)."""

    bar: int
    price: int
    share: int
    why: str
    rate: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Replayed:
    """A position from its entry to its end: plan (as it was then), fills, the stop in force after each bar (ticks), and money of one unit
    in 1e-12.
    """

    plan: ExitPlan
    legs: tuple[Leg, ...]
    stops: tuple[int, ...]
    gross: int
    fees: int
    paid: int

    def __repr__(self) -> str:
        tick, price = self.plan.tick / ONE, self.plan.entry / ONE
        fills = ", ".join(f"{leg.share / 100:g} % at {leg.price * tick:.10g} ({leg.why}, bar {leg.bar})" for leg in self.legs)
        net = (self.gross - self.fees - self.paid) / self.plan.entry
        return f"{self.plan.side.name.lower()} at {price:.10g}: {fills}; {net:+.1f} bps net"

    @property
    def end(self) -> Leg:
        """The last fill."""
        return self.legs[-1]


def plan_of(
    bars: Bars, entries: Entries, row: int, policy: ExitPolicy, costs: Costs, *, own_stop: bool = False, leverage: int | None = None
) -> ExitPlan:
    """The plan that the desk would make of an entry, with a ``leverage`` of an isolated one. ``PolicyError`` where it would refuse."""
    sign, price = int(entries.sign[row]), E8(int(entries.price[row]))
    side = Side.LONG if sign > 0 else Side.SHORT
    if own_stop:
        policy = replace(policy, stop=AtPrice(E8(int(entries.stop[row]))))
    atr = int(entries.atr[row])
    context = ExitContext(
        account="lab",
        instrument=_instrument(bars, costs),
        position=Position(
            symbol=bars.symbol,
            position_side=PositionSide.BOTH,
            side=side,
            lots=MANY,
            entry=price,
            mark=price,
            leverage=leverage,
            isolated=leverage is not None,
        ),
        now_ms=int(bars.time_ms[entries.bar[row]]) + bars.step_ms,
        policy=policy,
        market=MarketData(atr=E8(atr) if atr else None),
    )
    plan = ExitPlanner().plan(context, for_entry=True)
    known = int(entries.bar[row]) + 1 - int(entries.inside[row])  # inside its bar an entry knows the bars before it alone
    return plan if plan.trail is None or plan.trail.moves is None else plan.with_callback(callback_in(bars, plan.trail.moves, known))


def callback_in(bars: Bars, moves: InAtr, bar: int) -> Bps:
    """The callback in force in a bar: that of the newest hour known at its open, of an older one where that has no ATR."""
    closed = int(hours_of(bars).closed[bar - 1]) if bar else 0
    known = (found for count in range(closed, 0, -1) if (found := _measured(bars, moves, count)) is not None)
    return next(known, moves.fallback)


@lru_cache(maxsize=4_096)
def _measured(bars: Bars, moves: InAtr, count: int) -> Bps | None:
    """The callback that is measured once ``count`` hours of the series are closed, None where their ATR is not known."""
    return moving_callback(moves, market_data(hours_of(bars).bars[max(0, count - ATR_HOURS) : count], E8(bars.tick)))


def _instrument(bars: Bars, costs: Costs) -> Instrument:
    return Instrument(
        symbol=bars.symbol, tick=E8(bars.tick), lot=E8(1), min_lots=Lots(1), max_lots=MANY, market_max_lots=MANY, min_notional=E8(0),
        min_price=Ticks(1), max_price=Ticks(0), percent_up=Bps(0), percent_down=Bps(0), taker_fee=costs.taker, maker_fee=costs.maker,
    )  # fmt: skip


def replay_one(
    bars: Bars, entries: Entries, row: int, policy: ExitPolicy, costs: Costs, *, fill: str = "worst", own_stop: bool = False,
    leverage: int | None = None,
) -> Replayed:  # fmt: skip
    """One entry under one policy."""
    plan = plan_of(bars, entries, row, policy, costs, own_stop=own_stop, leverage=leverage)
    walk = Walk(bars, entries, row, plan, costs, best_first=fill == "best")
    walk.run()
    return walk.told()


def level_of(plan: ExitPlan, state: TrailState, trailed: int | None = None) -> str:
    """Which level the stop in force is, as a word of ``result.WHYS``: of equal ones the first of initial, stage, trail, break-even.

    ``trailed`` is the tightest that the trail has asked for; without it, by the plan's callback, or what is left where that has moved.
    """
    if state.stop == plan.stop:
        return "stop"
    if any(stage.to == state.stop for stage in plan.stages[: state.stage]):
        return "stage"
    trail = plan.trail
    if trail is not None and state.armed:
        moved_there = trailed is None and trail.moves is not None and state.stop != plan.break_even
        if moved_there or state.stop == (_trailed(plan, trail, state.best) if trailed is None else trailed):
            return "trail"
    return "break-even"


def _trailed(plan: ExitPlan, trail: Trail, best: int) -> int:
    """The stop that the trail asks for behind the best price, ticks."""
    return arithmetic.trail_stop(plan.side.sign, best, callback_at(plan, trail, best), step_of(plan, trail))


class Walk:
    """A position on its way. ``left`` is what is still open, bps of the position; ``trailed`` the tightest that its trail has asked for."""

    def __init__(self, bars: Bars, entries: Entries, row: int, plan: ExitPlan, costs: Costs, *, best_first: bool) -> None:
        self.bars, self.plan, self.costs, self.best_first = bars, plan, costs, best_first
        self.sign, self.bar, self.inside = plan.side.sign, int(entries.bar[row]), bool(entries.inside[row])
        self.asked = int(entries.last[row])
        self.state: TrailState = begin(plan)
        self.trailed: int | None = None
        self._note()
        self.legs: list[Leg] = []
        self.stops: list[int] = []
        self.left = WHOLE
        self.done = 0

    def run(self) -> None:
        if self.inside:
            self._own_bar()
        bar = self.bar
        while self.left:
            if bar > self.bar:
                self._step(bar)
            if self.left and (why := self._due(bar)):
                self._leave(bar, int(self.bars.close[bar]), self.left, why, market=True)
            bar += 1

    def _due(self, bar: int) -> str | None:
        """Why the rest is left at this bar's close, if it is."""
        if bar == self.asked and self.asked != NONE:
            return "asked"
        deadline = self.plan.deadline_ms
        if deadline is not None and int(self.bars.time_ms[bar]) + self.bars.step_ms >= deadline and bar > self.bar:
            return "time"
        return "end of data" if bar == len(self.bars) - 1 else None

    def _own_bar(self) -> None:
        bars, watched, bar = self.bars, self.bars.watched, self.bar
        worst, best = self._extremes(watched, bar)
        reach = self._extremes(bars, bar)[1]
        if self.best_first:
            worst = int(watched.close[bar])
        else:
            best, reach = int(watched.close[bar]), int(bars.close[bar])
        self._sides(bar, None, worst, best, None, reach)

    def _step(self, bar: int) -> None:
        worst, best = self._extremes(self.bars.watched, bar)
        reach = self._extremes(self.bars, bar)[1]
        self._sides(bar, int(self.bars.watched.open[bar]), worst, best, int(self.bars.open[bar]), reach)

    def _extremes(self, series: Bars, bar: int) -> tuple[int, int]:
        """Adverse and favourable extreme."""
        low, high = int(series.low[bar]), int(series.high[bar])
        return (low, high) if self.sign > 0 else (high, low)

    def _sides(self, bar: int, fires: int | None, worst: int, best: int, opened: int | None, reach: int) -> None:
        if fires is not None and opened is not None:
            if arithmetic.stop_hit(self.sign, fires, self.state.stop):
                self._leave(bar, opened, self.left, level_of(self.plan, self.state, self.trailed), market=True)
                return
            self._targets(bar, opened, opened)
        if self.best_first:
            self._targets(bar, reach, None)
        if self.left and arithmetic.stop_hit(self.sign, worst, self.state.stop):
            low, high = int(self.bars.low[bar]), int(self.bars.high[bar])
            self._leave(bar, min(max(self.state.stop, low), high), self.left, level_of(self.plan, self.state, self.trailed), market=True)
        if self.left and not self.best_first:
            self._targets(bar, reach, None)
        if self.left:
            self._ratchet(bar, best)
            callback = self._callback_after(bar)
            if callback is not None:
                self.plan = self.plan.with_callback(callback)
                self.state = moved(self.plan, self.state, targets_done=self.done)
                self._note()
            self.stops.append(self.state.stop)

    def _ratchet(self, bar: int, best: int) -> None:
        self.state = fold(self.plan, self.state, Ticks(best), int(self.bars.time_ms[bar]), targets_done=self.done)
        self._note()

    def _callback_after(self, bar: int) -> Bps | None:
        """Where the trail's callback moves at the close of a bar."""
        moves = None if self.plan.trail is None else self.plan.trail.moves
        return None if moves is None else callback_in(self.bars, moves, bar + 1)

    def _note(self) -> None:
        trail = self.plan.trail
        if trail is not None and self.state.armed:
            level = _trailed(self.plan, trail, self.state.best)
            self.trailed = level if self.trailed is None else arithmetic.tighter(self.sign, self.trailed, level)

    def _targets(self, bar: int, reach: int, opened: int | None) -> None:
        """Fill the targets that a price has reached; ``opened`` is the open when it is what reached them."""
        limit = self.costs.targets != "market"
        through = self.sign if self.costs.targets == "limit" else 0
        while self.left and self.done < len(self.plan.targets):
            target = self.plan.targets[self.done]
            if not arithmetic.reached(self.sign, reach, target.price + through):
                return
            price = target.price if limit or opened is None else opened
            self.done += 1
            self._leave(bar, price, int(target.share), "target", market=not limit)

    def _leave(self, bar: int, price: int, share: int, why: str, *, market: bool) -> None:
        costs = self.costs
        if market and (costs.slip_ppm or costs.slip_range_ppm):
            span = int(self.bars.high[bar]) - int(self.bars.low[bar])
            price -= self.sign * -(-(price * costs.slip_ppm + span * costs.slip_range_ppm) // PPM)
        self.left -= share
        self.legs.append(Leg(bar=bar, price=price, share=share, why=why, rate=costs.taker if market else costs.maker))

    def told(self) -> Replayed:
        tick, entry, funding = self.bars.tick, self.plan.entry, self.bars.funding
        gross = sum(leg.share * self.sign * (leg.price * tick - entry) for leg in self.legs)
        fees = WHOLE * arithmetic.fee_e8(entry, self.costs.taker)
        fees += sum(leg.share * arithmetic.fee_e8(leg.price * tick, leg.rate) for leg in self.legs)
        paid = 0
        if funding is not None:
            paid = sum(leg.share * self.sign * int(funding[leg.bar] - funding[self.bar]) for leg in self.legs)
        return Replayed(plan=self.plan, legs=tuple(self.legs), stops=tuple(self.stops), gross=gross, fees=fees, paid=paid)


def replay(
    bars: Bars,
    entries: "pl.DataFrame | Entries | str",
    policy: ExitPolicy,
    *,
    costs: Costs | str | None = "account",
    fill: Literal["worst", "best"] = "worst",
    own_stop: bool = False,
    leverage: int | None = None,
) -> list[Replayed]:
    """What became of every entry under one policy: the specification that ``sweep`` is equal to. Costs a few microseconds a bar held."""
    if not isinstance(policy, ExitPolicy):
        raise PolicyError(f"replay takes one policy, as grid.policies[0]; got {type(policy).__name__}")
    refuse_words(fill=(fill, FILLS))
    made, paid = as_entries(bars, entries), costs_of(costs)
    one = partial(replay_one, bars, made, policy=policy, costs=paid, fill=fill, own_stop=own_stop, leverage=checked(leverage))
    return [one(row) for row in range(len(made))]
