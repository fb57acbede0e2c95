"""The trailing stop manager: trailing state of every position against prices, and why a trail has or has not armed.

A price is compared with two numbers of its symbol: between them nothing can happen, however many positions there are. Only beyond them
are positions touched, and only those whose own threshold was passed. A price can tighten a stop, never loosen it; what it decides is
recorded and placed by the next pass, which it wakes.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from heapq import heappush, heapreplace
from pathlib import Path

import structlog

from qtkit.core import arithmetic
from qtkit.core.book import Book, Episode
from qtkit.core.context import to_trailing_config
from qtkit.core.model import Key, PolicyError, PositionSide, Ticks
from qtkit.core.names import suggestion
from qtkit.core.plan import ExitPlan
from qtkit.core.trail import TrailState, advance, callback_at
from qtkit.router import ExitRouter

log = structlog.get_logger("qtkit.trailing")

FAR = 1 << 100  # no price


class _Watched:
    """A position under watch: its plan and the running numbers of its trail (ticks), plain for speed.

    ``rank`` is the next price (E8) at which something happens, so signed that the nearest is the least.
    """

    __slots__ = ("armed", "at_ms", "best", "done", "key", "plan", "rank", "sign", "stage", "stop")

    def __init__(self, key: Key, plan: ExitPlan, state: TrailState, done: int) -> None:
        self.key, self.plan, self.sign, self.done = key, plan, plan.side.sign, done
        self.best: int = state.best
        self.stop: int = state.stop
        self.stage, self.armed, self.at_ms = state.stage, state.armed, state.at_ms
        self.rank = -FAR

    @property
    def state(self) -> TrailState:
        return TrailState(best=Ticks(self.best), stop=Ticks(self.stop), stage=self.stage, armed=self.armed, at_ms=self.at_ms)

    def see(self, price: int, at_ms: int) -> bool:
        """Fold a price (E8) in, and find the next one that matters. True if the stop moved."""
        plan, sign, before = self.plan, self.sign, self.stop
        extreme = arithmetic.favourable_ticks(sign, price, plan.tick)
        best, stop, stage, armed = advance(plan, sign, self.best, before, self.stage, self.armed, extreme, targets_done=self.done)
        self.best, self.stop, self.stage, self.armed = best, stop, stage, armed
        if at_ms > self.at_ms:
            self.at_ms = at_ms
        self.rank = sign * next_price(plan, sign, best, stop, stage, armed) * plan.tick
        return stop != before

    def wait(self) -> None:
        """Find the next price that matters before one came."""
        plan, sign = self.plan, self.sign
        after = plan.break_even_after
        if after is not None and self.done >= after and arithmetic.tighter(sign, self.stop, plan.break_even) != self.stop:
            self.rank = -FAR  # a target was filled: the next price, whatever it is, brings the stop to break-even
        else:
            self.rank = sign * next_price(plan, sign, self.best, self.stop, self.stage, self.armed) * plan.tick


class _Band:
    """The positions on one symbol. ``high`` and ``low`` (E8) bound the prices at which nothing happens to any of them."""

    __slots__ = ("falling", "high", "low", "rising")

    def __init__(self) -> None:
        self.high, self.low = FAR, -FAR
        self.rising: list[_Waiting] = []  # longs by their next price, lowest first
        self.falling: list[_Waiting] = []  # shorts by their next price, highest first (negated)

    def add(self, waiting: "_Waiting") -> None:
        heappush(self.rising if waiting[2].sign > 0 else self.falling, waiting)
        self.bound()

    def bound(self) -> None:
        self.high = self.rising[0][0] if self.rising else FAR
        self.low = -self.falling[0][0] if self.falling else -FAR


_Waiting = tuple[int, int, _Watched]
"""Signed next price (E8), a number that keeps the order, the position."""


class PriceWatch:
    """All trails of all accounts against prices."""

    def __init__(self) -> None:
        self._bands: dict[str, _Band] = {}
        self._watched: dict[Key, _Watched] = {}

    def follow(self, episodes: Iterable[Episode]) -> None:
        """Watch exactly these episodes, keeping the running state of those already watched."""
        before, self._watched, self._bands = self._watched, {}, {}
        for number, episode in enumerate(episode for episode in episodes if episode.opened):
            watched = _Watched(episode.key, episode.plan, episode.trail, episode.targets_done)
            running = before.get(episode.key)
            if running is not None and running.plan is episode.plan:
                _resume(watched, running)
            watched.wait()
            self._watched[episode.key] = watched
            self._bands.setdefault(episode.key.symbol, _Band()).add((watched.rank, number, watched))

    def state(self, key: Key) -> TrailState | None:
        """The running trail state of a watched position."""
        watched = self._watched.get(key)
        return None if watched is None else watched.state

    def on_price(self, symbol: str, price: int, at_ms: int = 0) -> list[Key] | tuple[()]:
        """The positions whose stop this price (E8) moves: an empty tuple nearly always. ``state`` tells where it is now."""
        band = self._bands.get(symbol)
        if band is None or band.low < price < band.high:
            return ()
        moved: list[Key] = []
        for heap, reach in ((band.rising, price), (band.falling, -price)):
            while heap and heap[0][0] <= reach:
                _, number, watched = heap[0]
                if watched.see(price, at_ms):
                    moved.append(watched.key)
                heapreplace(heap, (watched.rank, number, watched))
        band.bound()
        return moved


def _resume(watched: _Watched, running: _Watched) -> None:
    """Take over what prices have done since the book was written; the stop stays the tighter of both."""
    sign = watched.sign
    watched.stop = arithmetic.tighter(sign, watched.stop, running.stop)
    if arithmetic.reached(sign, running.best, watched.best):
        watched.best, watched.at_ms = running.best, running.at_ms
        watched.stage, watched.armed = max(watched.stage, running.stage), watched.armed or running.armed


def next_price(plan: ExitPlan, sign: int, best: int, stop: int, stage: int, armed: bool) -> int:
    """The nearest favourable price (ticks) at which the stop moves: the next stage, or the trail's next step."""
    trail, stages = plan.trail, plan.stages
    if trail is None:
        return stages[stage].at if stage < len(stages) else sign * FAR
    level = stop + sign * max(1, -(-trail.min_step * stop // arithmetic.BPS))
    callback = callback_at(plan, trail, best) if trail.tightening else trail.callback
    step = _price_for(sign, level, callback)
    if not armed:
        step = arithmetic.tighter(sign, step, trail.activation)
    for curve in trail.tightening:
        if sign * (curve.at - best) > 0:
            step = arithmetic.looser(sign, step, arithmetic.tighter(sign, curve.at, _price_for(sign, level, curve.callback)))
    if sign * (step - best) <= 0:
        step = best + sign
    return arithmetic.looser(sign, stages[stage].at, step) if stage < len(stages) else step


def _price_for(sign: int, level: int, callback: int) -> int:
    """The nearest price whose trail level is ``level`` or better: at most one tick early, never late."""
    return sign * (sign * level * arithmetic.BPS // (arithmetic.BPS - sign * callback))


class TrailingStopManager:
    """What trails, where it stands and why. An object made without arguments reads this home's register and journal."""

    def __init__(self, router: ExitRouter | None = None, *, book: Mapping[Key, Episode] | None = None, journal: Path | None = None) -> None:
        self.router = router or ExitRouter()
        self._book = book
        self._journal = journal

    def get_trail_config_from_plan(self, symbol: str, position_side: PositionSide | str | None = None) -> dict[str, float | bool]:
        """Trail of the active plan: ``enabled``, ``callback_pct``, ``activation_pct``, ``size_pct`` (fractions of price and size).

        A plan without a trail says ``enabled`` False with zeros. Raises ``PolicyError`` if there is no plan.
        """
        plan = self.router.get_active_plan(symbol, position_side)
        if plan is None:
            raise PolicyError(f"{symbol} has no exit plan: no desk has seen a position in it; `qtkit check` shows what is open")
        off: dict[str, float | bool] = {"enabled": False, "callback_pct": 0.0, "activation_pct": 0.0, "size_pct": 0.0}
        return to_trailing_config(plan) or off

    def episodes(self) -> Mapping[Key, Episode]:
        """Living episodes: the desk's own, or those of this home's journal."""
        if self._book is not None:
            return self._book
        from qtkit.client import read_book

        book: Book = read_book(self._journal)
        return book.episodes

    def explain(self, symbol: str) -> str:
        """In plain words: where the stop is, what has happened to it, and which price moves it next."""
        found = [episode for key, episode in sorted(self.episodes().items()) if key.symbol == symbol]
        if not found:
            known = {key.symbol for key in self.episodes()}
            raise PolicyError(f"{symbol} has no open position here: {suggestion(symbol, known) if known else 'nothing is open'}")
        return "\n".join(told(episode) for episode in found)


def told(episode: Episode) -> str:
    """One position's trail in plain words."""
    plan, state = episode.plan, episode.trail
    name = f"{plan.key.symbol} {plan.side.name.lower()}"
    stop = (
        f"{name}: stop at {_price(plan, state.stop)}, planned at {_price(plan, plan.stop)}, entry {_price(plan, plan.entry // plan.tick)}."
    )
    if plan.trail is None:
        moves = f"Plan {plan.strategy_id} ({plan.profile or 'no profile'}) does not trail by choice of policy."
    elif state.armed:
        callback = callback_at(plan, plan.trail, state.best) / 100
        moves = f"The trail is armed: {callback:g} % behind the best price {_price(plan, state.best)}."
    else:
        left = abs(plan.trail.activation - state.best) * 100 / state.best
        begins, best = _price(plan, plan.trail.activation), _price(plan, state.best)
        moves = f"The trail is not armed: it begins at {begins}, {left:.2f} % beyond the best price {best}."
    step = next_price(plan, plan.side.sign, state.best, state.stop, state.stage, state.armed)
    after = "No further price moves the stop." if abs(step) >= FAR else f"The stop moves next at {_price(plan, step)}."
    passed = f"Stages passed: {state.stage} of {len(plan.stages)}." if plan.stages else ""
    return " ".join(part for part in (stop, moves, passed, after) if part)


def _price(plan: ExitPlan, ticks: int) -> str:
    return f"{Decimal(ticks * plan.tick) / 100_000_000:f}"


def phrases(before: TrailState, after: TrailState, plan: ExitPlan, price: int) -> list[str]:
    """The log lines that people know from the original, for what has just happened to a trail."""
    profit = plan.side.sign * (price * plan.tick - plan.entry) * 100 / plan.entry
    lines = []
    for stage in plan.stages[before.stage : after.stage]:
        goal = "BREAKEVEN" if stage.to == plan.break_even else _price(plan, stage.to)
        lines.append(f"{plan.key.symbol}: {profit:+.2f}% profit -> Moving SL to {goal}")
    if after.armed and not before.armed and plan.trail is not None:
        lines.append(f"{plan.key.symbol}: {profit:+.2f}% profit -> ACTIVATING TRAILING STOP ({plan.trail.callback / 100:g}% trail)")
    if plan.break_even_after is not None and after.stop == plan.break_even != before.stop and after.stage == before.stage:
        lines.append(f"{plan.key.symbol}: {profit:+.2f}% profit -> Moving SL to BREAKEVEN")
    return lines
