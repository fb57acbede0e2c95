"""Every trail of every account against prices, looking only at those that a price can change.

A price is compared with two numbers of its symbol: between them nothing can happen, however many positions there are. Only beyond them
are positions touched, and only those whose own threshold was passed. The stops are those of folding every price into every position.
"""

from collections.abc import Iterable
from heapq import heappush, heapreplace

from qtkit.core import arithmetic
from qtkit.core.book import Episode
from qtkit.core.model import Key, Ticks
from qtkit.core.plan import ExitPlan
from qtkit.core.trail import TrailState, advance, callback_at, step_of

FAR = 1 << 100  # no price


class _Watched:
    """A position under watch: its plan and the running numbers of its trail, plain for speed.

    ``best``, ``stop`` (ticks) and ``rank``, the next price (E8) at which something happens, are so signed that more is better for a short
    as for a long. Once nothing but the trail can move the stop, ``keeps`` is what it leaves of the best price (bps); until then it is 0.
    ``step`` is the grid on which the trail moves the stop (ticks).
    """

    __slots__ = ("armed", "best", "done", "keeps", "key", "outdated", "plan", "rank", "sign", "stage", "step", "stop", "tick")

    def __init__(self, episode: Episode) -> None:
        plan, state = episode.plan, episode.trail
        self.key, self.plan, self.sign, self.tick = episode.key, plan, plan.side.sign, plan.tick
        self.done, self.outdated = episode.targets_done, episode.outdated
        self.best, self.stop = self.sign * state.best, self.sign * state.stop
        self.stage, self.armed = state.stage, state.armed
        self.rank = -FAR
        self.keeps = 0
        self.step = step_of(plan, plan.trail) if plan.trail is not None else 1

    def __lt__(self, other: "_Watched") -> bool:
        return False  # of two that wait for the same price either may be asked first

    def state(self, at_ms: int) -> TrailState:
        best, stop = Ticks(self.sign * self.best), Ticks(self.sign * self.stop)
        return TrailState(best=best, stop=stop, stage=self.stage, armed=self.armed, at_ms=at_ms)

    def see(self, price: int) -> bool:
        """Fold a price (E8) in, and find the next one that matters. True if the stop moved."""
        keeps = self.keeps
        if not keeps:
            return self._see_all(price)
        # ``advance`` and ``next_price`` in one, as nearly every price that matters finds only the trail left. A price at ``rank`` or
        # beyond gives a level at ``goal`` or beyond, so there is nothing to compare.
        tick, step = self.tick, self.step
        best = self.sign * price // tick
        stop = -(-best * keeps // arithmetic.BPS) // step * step
        self.best, self.stop = best, stop
        self.rank = ((stop + step - 1) * arithmetic.BPS // keeps + 1) * tick
        return True

    def _see_all(self, price: int) -> bool:
        plan, sign, before = self.plan, self.sign, self.stop
        extreme = arithmetic.favourable_ticks(sign, price, plan.tick)
        best, stop, self.stage, self.armed = advance(
            plan, sign, sign * self.best, sign * before, self.stage, self.armed, extreme, targets_done=self.done
        )
        self.best, self.stop = sign * best, sign * stop
        self._aim()
        return self.stop != before

    def wait(self) -> None:
        """Find the next price that matters before one came."""
        plan = self.plan
        after = plan.break_even_after
        if after is not None and self.done >= after and self.stop < self.sign * plan.break_even:
            self.rank = -FAR  # a target was filled: the next price, whatever it is, brings the stop to break-even
        else:
            self._aim()

    def _aim(self) -> None:
        plan, sign, trail = self.plan, self.sign, self.plan.trail
        if trail is not None and trail.moves is not None:
            self.rank = (self.best + 1) * self.tick  # once its callback is narrower, every new best price will have counted
            return
        if trail is None or trail.tightening or not self.armed or self.stage < len(plan.stages):
            self.rank = sign * next_price(plan, sign, sign * self.best, sign * self.stop, self.stage, self.armed) * plan.tick
            return
        self.keeps = arithmetic.BPS - sign * trail.callback
        goal = (self.stop // self.step + 1) * self.step
        self.rank = max(self.best, (goal - 1) * arithmetic.BPS // self.keeps + 1) * plan.tick


class _Band:
    """The positions on one symbol. ``high`` and ``low`` (E8) bound the prices at which nothing happens to any of them."""

    __slots__ = ("falling", "high", "low", "rising")

    def __init__(self) -> None:
        self.high, self.low = FAR, -FAR
        self.rising: list[_Waiting] = []  # longs by their next price, lowest first
        self.falling: list[_Waiting] = []  # shorts by their next price, highest first (negated)

    def add(self, waiting: "_Waiting") -> None:
        if waiting[1].sign > 0:
            heappush(self.rising, waiting)
            self.high = self.rising[0][0]
        else:
            heappush(self.falling, waiting)
            self.low = -self.falling[0][0]


_Waiting = tuple[int, _Watched]
"""Signed next price (E8), the position."""


class PriceWatch:
    """All trails of all accounts against prices."""

    def __init__(self) -> None:
        self._bands: dict[str, _Band] = {}
        self._watched: dict[Key, _Watched] = {}

    def follow(self, episodes: Iterable[Episode]) -> None:
        """Watch exactly these episodes, keeping the running state of those already watched."""
        before, self._watched, self._bands = self._watched, {}, {}
        for episode in episodes:
            if not episode.opened:
                continue
            watched = _Watched(episode)
            running = before.get(episode.key)
            if running is not None and running.plan is episode.plan and running.outdated == episode.outdated:
                _resume(watched, running)
            watched.wait()
            self._watched[episode.key] = watched
            self._bands.setdefault(episode.key.symbol, _Band()).add((watched.rank, watched))

    def state(self, key: Key, at_ms: int = 0) -> TrailState | None:
        """The running trail state of a watched position, after the prices up to ``at_ms`` (exchange time)."""
        watched = self._watched.get(key)
        return None if watched is None else watched.state(at_ms)

    def on_price(self, symbol: str, price: int) -> list[Key] | tuple[()]:
        """The positions whose stop this price (E8) moves: an empty tuple nearly always. ``state`` tells where it is now."""
        band = self._bands.get(symbol)
        if band is None or band.low < price < band.high:
            return ()
        moved: list[Key] = []
        if price >= band.high:
            _see(band.rising, price, price, moved)
            band.high = band.rising[0][0]
        if price <= band.low:
            _see(band.falling, -price, price, moved)
            band.low = -band.falling[0][0]
        return moved


def _see(waiting: list[_Waiting], reach: int, price: int, moved: list[Key]) -> None:
    """Show the price to those that it has reached, and let them wait for their next one."""
    while waiting[0][0] <= reach:
        watched = waiting[0][1]
        if watched.see(price):
            moved.append(watched.key)
        heapreplace(waiting, (watched.rank, watched))


def _resume(watched: _Watched, running: _Watched) -> None:
    """Take over what prices have done since the book was written; the stop stays the tighter of both."""
    watched.stop = max(watched.stop, running.stop)
    if running.best >= watched.best:
        watched.best = running.best
        watched.stage, watched.armed = max(watched.stage, running.stage), watched.armed or running.armed


def next_price(plan: ExitPlan, sign: int, best: int, stop: int, stage: int, armed: bool) -> int:
    """The nearest favourable price (ticks) at which the stop moves: the next stage, or the trail's next step."""
    trail, stages = plan.trail, plan.stages
    if trail is None:
        return stages[stage].at if stage < len(stages) else sign * FAR
    grid = step_of(plan, trail)
    level = sign * (sign * stop // grid + 1) * grid
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
