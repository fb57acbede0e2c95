"""Trail state: a fold over the prices of an episode. It needs no memory of its own and never loosens the stop."""

from dataclasses import dataclass

from qtkit.core import arithmetic
from qtkit.core.model import Bps, Ticks
from qtkit.core.plan import ExitPlan, Trail


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailState:
    """Where a plan stands: best price so far (ticks), effective stop (ticks), stages passed, whether the trail is armed.

    ``at_ms`` is the exchange time up to which prices were folded in.
    """

    best: Ticks
    stop: Ticks
    stage: int = 0
    armed: bool = False
    at_ms: int = 0


def begin(plan: ExitPlan) -> TrailState:
    """The state before any price: the plan's own stop, measured from the plan's starting price."""
    return fold(plan, TrailState(best=plan.start, stop=plan.stop, at_ms=plan.created_ms), plan.start, plan.created_ms, price=plan.start)


def callback_at(plan: ExitPlan, trail: Trail, best: int) -> Bps:
    """Callback in force at the best price: the tightest of the curve that was reached."""
    callback = trail.callback
    for step in trail.tightening:
        if arithmetic.reached(plan.side.sign, best, step.at):
            callback = min(callback, step.callback)
    return callback


def step_of(plan: ExitPlan, trail: Trail) -> int:
    """The grid on which the trail moves the stop, ticks."""
    return arithmetic.stop_step(plan.entry // plan.tick, trail.min_step)


def fold(plan: ExitPlan, state: TrailState, extreme: Ticks, at_ms: int, *, targets_done: int = 0, price: Ticks | None = None) -> TrailState:
    """The state after a bar (its favourable extreme) or a tick.

    With ``price`` the prices are being caught up after an outage or at adoption: a level that the price has passed meanwhile is
    clamped to the price less the callback, so that a missed moment never sells at once; and the best price begins anew at the price,
    so that the next bar does not sell either. Without it the level stands, and a price beyond it means that the stop was hit.
    """
    sign = plan.side.sign
    best, stop, stage, armed = advance(
        plan, sign, state.best, state.stop, state.stage, state.armed, extreme, targets_done=targets_done, price=price
    )
    return TrailState(best=Ticks(best), stop=Ticks(stop), stage=stage, armed=armed, at_ms=max(at_ms, state.at_ms))


def moved(plan: ExitPlan, state: TrailState, *, targets_done: int = 0, price: Ticks | None = None) -> TrailState:
    """The state after the trail's callback has moved with its ATR to that of ``plan``: a narrower one tightens without a new best price.

    ``price`` clamps as in ``fold``, where the hour's close was missed.
    """
    return fold(plan, state, state.best, state.at_ms, targets_done=targets_done, price=price)


def advance(
    plan: ExitPlan,
    sign: int,
    best: int,
    stop: int,
    stage: int,
    armed: bool,
    extreme: int,
    *,
    targets_done: int = 0,
    price: int | None = None,
) -> tuple[int, int, int, bool]:
    """``fold`` on plain numbers: best, stop, stage and armed after ``extreme``. Who looks at every price keeps no objects."""
    missed = False
    if sign * (extreme - best) > 0:
        best = extreme
    stages = plan.stages
    while stage < len(stages) and arithmetic.reached(sign, best, stages[stage].at):
        if price is not None and arithmetic.stop_hit(sign, price, stages[stage].to):
            missed = True
            break
        stop, stage = arithmetic.tighter(sign, stop, stages[stage].to), stage + 1
    after = plan.break_even_after
    if after is not None and targets_done >= after and (price is None or not arithmetic.stop_hit(sign, price, plan.break_even)):
        stop = arithmetic.tighter(sign, stop, plan.break_even)
    trail = plan.trail
    if trail is not None and (armed or arithmetic.reached(sign, best, trail.activation)):
        armed = True
        callback = callback_at(plan, trail, best) if trail.tightening else trail.callback
        step = step_of(plan, trail)
        level = arithmetic.trail_stop(sign, best, callback, step)
        if price is not None and arithmetic.stop_hit(sign, price, level):
            level, missed = arithmetic.trail_stop(sign, price, callback, step), True
        stop = arithmetic.tighter(sign, stop, level)
    if missed and price is not None:
        best = price
    return best, stop, stage, armed
