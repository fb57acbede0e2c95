"""An open plan on the grid that the exchange uses now: when tick or lot change, every level keeps its price, toward less risk."""

from dataclasses import replace

from qtkit.core import arithmetic
from qtkit.core.book import Episode
from qtkit.core.events import Leg, Rebased
from qtkit.core.model import E8, Instrument, Lots, Ticks
from qtkit.core.plan import ExitPlan


def rebase_events(episode: Episode | None, instrument: Instrument) -> list[Rebased]:
    """The event that brings an episode to the instrument's grid, or none if its plan was made on it."""
    if episode is None or (episode.plan.tick, episode.plan.lot) == (instrument.tick, instrument.lot):
        return []
    grid = _Grid(episode.plan, instrument)
    trail = episode.trail
    return [
        Rebased(
            key=episode.key,
            plan=_plan(episode.plan, grid),
            trail=replace(trail, best=grid.sooner(trail.best), stop=grid.toward_price(trail.stop)),
            ladder=tuple(grid.lots(lots) for lots in episode.ladder),
            lots=grid.lots(episode.expected),
            legs={name: _leg(leg, grid) for name, leg in episode.legs.items()},
        )
    ]


class _Grid:
    """From the plan's grid to the instrument's. A stop is rounded toward the price, a target toward the sooner fill."""

    def __init__(self, plan: ExitPlan, instrument: Instrument) -> None:
        self.sign, self.old, self.old_lot = plan.side.sign, plan.tick, plan.lot
        self.tick, self.lot = instrument.tick, instrument.lot

    def toward_price(self, ticks: int) -> Ticks:
        return Ticks(self.sign * -((-self.sign * ticks * self.old) // self.tick))

    def sooner(self, ticks: int) -> Ticks:
        return Ticks(arithmetic.favourable_ticks(self.sign, E8(ticks * self.old), self.tick))

    def lots(self, lots: int) -> Lots:
        return Lots(lots * self.old_lot // self.lot)


def _plan(plan: ExitPlan, grid: _Grid) -> ExitPlan:
    trail = plan.trail
    if trail is not None:
        curve = tuple(replace(step, at=grid.sooner(step.at)) for step in trail.tightening)
        trail = replace(trail, activation=grid.sooner(trail.activation), tightening=curve)
    return replace(
        plan, tick=grid.tick, lot=grid.lot, lots=grid.lots(plan.lots), stop=grid.toward_price(plan.stop),
        floor=grid.toward_price(plan.floor), break_even=grid.toward_price(plan.break_even), start=grid.sooner(plan.start), trail=trail,
        targets=tuple(replace(target, price=grid.sooner(target.price)) for target in plan.targets),
        stages=tuple(replace(stage, at=grid.sooner(stage.at), to=grid.toward_price(stage.to)) for stage in plan.stages),
        warnings=(*plan.warnings, "brought to the exchange's new tick and lot"),
    )  # fmt: skip


def _leg(leg: Leg, grid: _Grid) -> Leg:
    order = leg.order
    trigger = None if order.trigger is None else grid.toward_price(order.trigger)
    price = None if order.price is None else grid.toward_price(order.price)
    return replace(leg, order=replace(order, lots=grid.lots(order.lots), trigger=trigger, price=price), filled=grid.lots(leg.filled))
