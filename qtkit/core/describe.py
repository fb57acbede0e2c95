"""A plan in plain words: every level with its distance from the entry, its size and the money it means."""

from qtkit.core.book import Episode
from qtkit.core.distance import decimal
from qtkit.core.ladder import split
from qtkit.core.model import ONE
from qtkit.core.plan import WHOLE, ExitPlan


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


def describe_plan(plan: ExitPlan, episode: Episode | None = None) -> tuple[str, ...]:
    """Lines for a preview: stop, floor, targets, trail, stages, break-even, time stop, warnings; money before fees.

    With the ``episode`` that lives by the plan, the stop is the one in force, and the money that of what is left of the position.
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
    if plan.trail is not None:
        lines.append(f"trail by {decimal(plan.trail.callback, 2)} % from {_level(plan, plan.trail.activation)}")
        lines += [f"trail by {decimal(step.callback, 2)} % from {_level(plan, step.at)}" for step in plan.trail.tightening]
    lines += [f"at {_level(plan, stage.at)} stop to {_level(plan, stage.to)}" for stage in plan.stages]
    if plan.break_even_after is not None:
        lines.append(f"after target {plan.break_even_after} stop to break-even {_level(plan, plan.break_even)}")
    if plan.deadline_ms is not None:
        lines.append(f"closed after {(plan.deadline_ms - plan.created_ms) // 60_000} min")
    return (*lines, *(f"warning: {warning}" for warning in plan.warnings))
