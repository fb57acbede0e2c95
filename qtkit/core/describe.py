"""Plans, policies and trails in plain words: every level with its distance, its size and, of a plan, the money it means."""

from collections.abc import Iterator

from qtkit.core.book import Episode
from qtkit.core.distance import AtPrice, Distance, InAtr, InBps, bps_of, decimal, format_distance
from qtkit.core.ladder import split
from qtkit.core.model import E8, ONE, TriggerBy
from qtkit.core.plan import WHOLE, ExitPlan, Trail
from qtkit.core.policy import ExitPolicy
from qtkit.core.trail import TrailState, callback_at
from qtkit.core.watch import FAR, next_price


def _money(plan: ExitPlan, ticks: int, lots: int) -> str:
    gain = plan.side.sign * (ticks * plan.tick - plan.entry) * lots * plan.lot // ONE
    return f"{'+' if gain >= 0 else '-'}{decimal(abs(gain) * 100 // ONE, 2)}"


def _level(plan: ExitPlan, ticks: int) -> str:
    away = plan.side.sign * (ticks * plan.tick - plan.entry) * WHOLE // plan.entry
    return f"{decimal(ticks * plan.tick, 8)} ({'+' if away >= 0 else ''}{decimal(away, 2)} %)"


def _stop(plan: ExitPlan, episode: Episode | None) -> str:
    if episode is None or episode.trail.stop == plan.stop:
        return f"stop {_level(plan, plan.stop)}, whole position, {_money(plan, plan.stop, plan.lots)}"
    now, lots = episode.trail.stop, episode.expected or plan.lots
    size = decimal(lots * plan.lot, 8)
    return f"stop now {_level(plan, now)}, all of {size}, {_money(plan, now, lots)}; planned at {_level(plan, plan.stop)}"


def levels(plan: ExitPlan, stop: int) -> str:
    """A plan in one line: the stop in force (``stop``, ticks), targets, trail, time stop."""
    targets = ", ".join(f"{decimal(row.price * plan.tick, 8)} ({decimal(row.share, 2)} %)" for row in plan.targets)
    said = [f"stop {decimal(stop * plan.tick, 8)}", f"targets {targets}" if targets else "no targets"]
    trail = plan.trail
    said.append(
        f"trail {decimal(trail.callback, 2)} % from {decimal(trail.activation * plan.tick, 8)}{_moving(trail)}" if trail else "no trail"
    )
    return ", ".join((*said, *_held(plan)))


def _moving(trail: Trail) -> str:
    """By what its callback moves."""
    if trail.moves is None:
        return ""
    least, most = decimal(trail.moves.least, 2), decimal(trail.moves.most, 2)
    return f", moving every hour with {decimal(trail.moves.milli, 3)} x ATR(14, 1h) within {least}-{most} %"


def _held(plan: ExitPlan) -> tuple[str, ...]:
    """The time stop."""
    return () if plan.deadline_ms is None else (f"closed after {(plan.deadline_ms - plan.created_ms) // 60_000} min",)


def describe_plan(plan: ExitPlan, episode: Episode | None = None) -> tuple[str, ...]:
    """Lines for a preview: stop, floor, targets, trail, stages, break-even, time stop, warnings; money before fees.

    With the ``episode`` that lives by the plan, stop and callback are those in force, and the money that of what is left of the position.
    """
    shares = [target.share for target in plan.targets] + ([plan.trail.share] if plan.trail else [])
    sizes = split(plan.lots, shares)
    size = decimal(plan.lots * plan.lot, 8)
    lines = [
        f"{plan.key} {plan.side.name} {size} from {decimal(plan.entry, 8)}: {plan.strategy_id} ({plan.reason})",
        _stop(plan, episode),
        f"floor {_level(plan, plan.floor)}, whole position, {_money(plan, plan.floor, plan.lots)}",
    ]
    for number, (target, lots) in enumerate(zip(plan.targets, sizes[: len(plan.targets)], strict=True), start=1):
        part = f"{decimal(lots * plan.lot, 8)} ({decimal(target.share, 2)} %)"
        lines.append(f"target {number} {_level(plan, target.price)}, {part}, {_money(plan, target.price, lots)}")
    trail = plan.trail if episode is None else episode.plan.trail
    if trail is not None:
        lines.append(f"trail by {decimal(trail.callback, 2)} % from {_level(plan, trail.activation)}{_moving(trail)}")
        lines += [f"trail by {decimal(step.callback, 2)} % from {_level(plan, step.at)}" for step in trail.tightening]
    lines += [f"at {_level(plan, stage.at)} stop to {_level(plan, stage.to)}" for stage in plan.stages]
    if plan.break_even_after is not None:
        lines.append(f"after target {plan.break_even_after} stop to break-even {_level(plan, plan.break_even)}")
    return (*lines, *_held(plan), *(f"warning: {warning}" for warning in plan.warnings))


def picture(policy: ExitPolicy) -> tuple[str, ...]:
    """A policy as lines from the farthest profit down to the stop, and below them what has no level. Levels lie in the order of their
    distances where R is the stop, an ATR stop its distance without ATR; a fixed price lies outermost.
    """
    family = f" (filed under {policy.strategy})" if policy.strategy else ""
    unit = _reach(policy.stop, WHOLE)
    above = sorted(_gains(policy), key=lambda row: -_reach(row[0], unit))
    below = [(policy.stop, "stop: all of the position")]
    if policy.adopted_stop is not None:
        below.append((policy.adopted_stop, "stop of a position that somebody else opened"))
    below.sort(key=lambda row: _reach(row[0], unit))
    rows = [(_written(at), what) for at, what in above] + [("entry", "")] + [(_written(at, "-"), what) for at, what in below]
    wide = max(len(at) for at, _ in rows)
    drawn = [f"  {at:>{wide}} | {what}".rstrip() for at, what in rows]
    return (f"{policy.name}{family}", *drawn, *_apart(policy))


def _gains(policy: ExitPolicy) -> Iterator[tuple[Distance, str]]:
    """What happens in profit, and where."""
    for number, target in enumerate(policy.targets, start=1):
        then = ", then stop to break-even" if number == policy.break_even_after else ""
        yield target.at, f"target {number}: close {decimal(target.share, 2)} %{then}"
    if policy.trail is not None:
        trail = policy.trail
        callback = f"{decimal(trail.callback.bps, 2)} %" if isinstance(trail.callback, InBps) else _written(trail.callback)
        step = f"in steps of {decimal(trail.min_step, 2)} %"
        moves = "; it moves with ATR every hour" if trail.moves else ""
        yield trail.activation, f"trail {callback} behind the best price, {decimal(trail.share, 2)} %, {step}{moves}"
        for row in trail.tightening:
            yield row.at, f"trail {decimal(row.callback, 2)} % behind the best price"
    for stage in policy.stages:
        to = "break-even" if stage.to is None else f"+{decimal(stage.to, 2)} %"
        yield InBps(stage.at), f"stop to {to}"


def _reach(distance: Distance, unit: int) -> int:
    """Distance (bps) by which levels are put in order; ``unit`` is R."""
    return WHOLE * WHOLE if isinstance(distance, AtPrice) else bps_of(distance, unit=unit, atr=None, price=E8(ONE))


def _written(distance: Distance, sign: str = "") -> str:
    """A distance with its clamps; a price has no sign."""
    if isinstance(distance, AtPrice):
        return format_distance(distance)
    if not isinstance(distance, InAtr):
        return sign + format_distance(distance)
    least, most, fallback = (decimal(bps, 2) for bps in (distance.least, distance.most, distance.fallback))
    return f"{sign}{format_distance(distance)} ({least}-{most} %, else {fallback} %)"


def _apart(policy: ExitPolicy) -> tuple[str, ...]:
    """What a policy says besides levels."""
    hours = "" if policy.max_hold_ms is None else f"closed after {decimal(policy.max_hold_ms * 1_000 // 3_600, 6)} h; "
    by = "mark" if policy.trigger_by is TriggerBy.MARK else "last"
    return (f"  {hours}stops trigger by the {by} price and stay {decimal(policy.liquidation_buffer, 2)} % away from liquidation",)


def describe_trail(episode: Episode) -> str:
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
        moves = f"The trail is armed: {callback:g} % behind the best price {_price(plan, state.best)}{_moving(plan.trail)}."
    else:
        left = abs(plan.trail.activation - state.best) * 100 / state.best
        begins, best = _price(plan, plan.trail.activation), _price(plan, state.best)
        moves = f"The trail is not armed: it begins at {begins}, {left:.2f} % beyond the best price {best}{_moving(plan.trail)}."
    step = next_price(plan, plan.side.sign, state.best, state.stop, state.stage, state.armed)
    after = "No further price moves the stop." if abs(step) >= FAR else f"The stop moves next at {_price(plan, step)}."
    passed = f"Stages passed: {state.stage} of {len(plan.stages)}." if plan.stages else ""
    return " ".join(part for part in (stop, moves, passed, after) if part)


def _price(plan: ExitPlan, ticks: int) -> str:
    return decimal(ticks * plan.tick, 8)


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
