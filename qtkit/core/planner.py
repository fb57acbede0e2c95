"""The exit planner: a context becomes an exit plan in ticks.

Total on a position: it never returns None and never raises, for a position without a plan is the accident this project exists for.
What is unsafe there is made safe and the plan's ``warnings`` say so. In front of an entry the same things are refused.
"""

from dataclasses import dataclass, field, replace

from qtkit.core import arithmetic
from qtkit.core.context import ExitContext, MarketData
from qtkit.core.desired import FLOOR_WITHIN, WORKING_WITHIN
from qtkit.core.distance import AtPrice, decimal
from qtkit.core.ids import plan_uid
from qtkit.core.ladder import split
from qtkit.core.model import E8, Bps, Instrument, PolicyError, Position, Ticks
from qtkit.core.plan import WHOLE, ExitPlan, Stage, Target, Tightening, Trail
from qtkit.core.policy import ExitPolicy, Profiles
from qtkit.core.shape import Notes, Shape, TrailShape, funding_per_unit, narrowest_callback, pct, shape_of

BUFFER_WITHIN = 5_000  # the policy's buffer never brings a stop nearer the mark than half of the way
NEAR_MARK = 10  # bps: a level so near the mark counts as breached
RUNNER_CALLBACK = 150  # bps: trail of what dropped targets leave, where the policy has none


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitPlanner:
    """Makes plans; ``profiles`` chooses the policy where the context names none."""

    profiles: Profiles = field(default_factory=Profiles)

    def policy_of(self, context: ExitContext) -> ExitPolicy:
        """The policy named by the context, else the one of its symbol, strategy and regime."""
        if context.policy is not None:
            return context.policy
        return self.profiles.lookup(context.position.symbol, context.strategy, context.market.known_regime)

    def plan(self, context: ExitContext, *, for_entry: bool = False) -> ExitPlan:
        """The plan of a position. With ``for_entry`` the position is the one to be opened, and ``PolicyError`` refuses an unsafe policy."""
        position = context.position
        notes = Notes(f"{position.symbol} {position.side.name}", for_entry=for_entry)
        shape = shape_of(self.policy_of(context), context, notes)
        grid = _Grid(context)
        stop, floor = _stops(context, shape, grid, notes)
        break_even = _break_even(context, grid)
        exits = _exits(context, shape, grid, notes, break_even)
        policy, regime = shape.policy, context.market.known_regime
        return ExitPlan(
            uid=_uid(context),
            key=context.key,
            side=position.side,
            episode=context.episode,
            revision=context.revision,
            strategy_id=policy.strategy_id,
            profile=policy.name,
            regime=regime.value if regime else "",
            entry=position.entry,
            lots=position.lots,
            tick=context.instrument.tick,
            lot=context.instrument.lot,
            stop=stop,
            floor=floor,
            break_even=break_even,
            targets=exits.targets,
            trail=exits.trail,
            stages=exits.stages,
            break_even_after=exits.break_even_after,
            deadline_ms=None if policy.max_hold_ms is None else context.now_ms + policy.max_hold_ms,
            trigger_by=policy.trigger_by,
            start=grid.start,
            adopted=context.adopted,
            provisional=context.provisional,
            expires_ms=context.expires_ms,
            created_ms=context.now_ms,
            confidence=context.hints.confidence,
            reason=_reason(context, shape),
            warnings=tuple(notes.said),
        )


def plan_for(
    position: Position,
    *,
    instrument: Instrument,
    account: str,
    now_ms: int,
    episode: int = 1,
    adopted: bool = True,
    policy: ExitPolicy | None = None,
    market: MarketData | None = None,
    planner: ExitPlanner | None = None,
) -> ExitPlan:
    """The plan of an open position. Total: every well-formed position gets one."""
    context = ExitContext(
        account=account,
        instrument=instrument,
        position=position,
        now_ms=now_ms,
        episode=episode,
        adopted=adopted,
        policy=policy,
        market=market or MarketData(),
    )
    return (planner or ExitPlanner()).plan(context)


def _uid(context: ExitContext) -> str:
    position = context.position
    return plan_uid(
        account=context.account, symbol=position.symbol, position_side=position.position_side, side=position.side, episode=context.episode,
        created_ms=context.now_ms,
    )  # fmt: skip


class _Grid:
    """The price grid of one position: its direction, its starting price, and the limits of the exchange."""

    def __init__(self, context: ExitContext) -> None:
        instrument, position = context.instrument, context.position
        self.sign = position.side.sign
        self.mark = position.mark
        self.tick = instrument.tick
        self.low = max(1, instrument.min_price)
        self.high = instrument.max_price  # Binance PRICE_FILTER: 0 means no limit
        start = arithmetic.favourable_ticks(self.sign, position.mark, instrument.tick)
        self.start = Ticks(max(1, start))

    def clamp(self, ticks: int) -> Ticks:
        """Within the exchange's lowest and highest price."""
        level = max(ticks, self.low)
        return Ticks(min(level, self.high) if self.high > 0 else level)

    def passed(self, ticks: int) -> bool:
        """True if the mark is at the level or beyond it in the position's favour."""
        return self.sign * (self.mark - ticks * self.tick) >= 0

    def breached(self, ticks: int) -> bool:
        """True if the mark is beyond a stop, at it or nearer than 0.1 %."""
        return self.sign * (self.mark - ticks * self.tick) * WHOLE <= NEAR_MARK * self.mark

    def shown(self, ticks: int) -> str:
        """Price of a level as text."""
        return decimal(ticks * self.tick, 8)


def _break_even(context: ExitContext, grid: _Grid) -> Ticks:
    fee, tick = context.instrument.taker_fee, context.instrument.tick
    return grid.clamp(arithmetic.break_even_level(grid.sign, context.position.entry, fee, funding_per_unit(context), tick))


def _stops(context: ExitContext, shape: Shape, grid: _Grid, notes: Notes) -> tuple[Ticks, Ticks]:
    """Initial working stop and the floor behind it, both before liquidation and strictly behind the mark."""
    sign, tick, base = grid.sign, grid.tick, context.position.entry
    distance: int = shape.stop
    if shape.stop_price is not None:
        stop = sign * -((-sign * shape.stop_price) // tick)
        if sign * (base - shape.stop_price) <= 0:  # locks in profit: the floor is measured from the mark
            base = grid.mark
        distance = max(1, arithmetic.distance_bps(base, stop * tick))
    else:
        stop = arithmetic.stop_level(sign, base, distance, tick)
    if grid.breached(stop):
        if notes.for_entry:
            raise PolicyError(f"{notes.subject}: the stop {grid.shown(stop)} is reached by the mark price already; nothing was planned")
        base, distance = grid.mark, shape.stop
        notes.tell(f"stop {grid.shown(stop)} is breached by the mark {decimal(grid.mark, 8)}: measured from the mark, {pct(distance)}")
        stop = arithmetic.stop_level(sign, base, distance, tick)
    floor = arithmetic.stop_level(sign, base, max(-(-3 * distance // 2), distance + 200), tick)
    stop, floor = _before_liquidation(context, shape, grid, notes, stop, floor)
    tightest = arithmetic.behind(sign, grid.mark, tick)
    if sign * (stop - tightest) > 0:
        notes.tell(f"no room for a safe stop: it lies one tick behind the mark, {grid.shown(tightest)}")
        stop = tightest
    return grid.clamp(stop), grid.clamp(arithmetic.looser(sign, stop, floor))


def _before_liquidation(context: ExitContext, shape: Shape, grid: _Grid, notes: Notes, stop: int, floor: int) -> tuple[int, int]:
    """Both levels moved before liquidation: within 60 % and 75 % of the way from the mark, and the policy's buffer."""
    liquidation = _liquidation(context, grid, notes)
    if liquidation is None:
        return stop, floor
    sign = grid.sign
    kept_e8 = liquidation - sign * (-grid.mark * shape.policy.liquidation_buffer // WHOLE)
    half = arithmetic.level_between(sign, grid.mark, liquidation, BUFFER_WITHIN, grid.tick)
    buffered = arithmetic.looser(sign, half, sign * -((-sign * kept_e8) // grid.tick))
    near = arithmetic.tighter(sign, buffered, arithmetic.level_between(sign, grid.mark, liquidation, WORKING_WITHIN, grid.tick))
    far = arithmetic.tighter(sign, buffered, arithmetic.level_between(sign, grid.mark, liquidation, FLOOR_WITHIN, grid.tick))
    if sign * (near - stop) > 0:
        notes.mend(
            f"stop {grid.shown(stop)} is too near liquidation at {decimal(liquidation, 8)}, or beyond it",
            f"moved to {grid.shown(near)}",
        )
        stop = near
    return stop, arithmetic.tighter(sign, floor, far)


def _liquidation(context: ExitContext, grid: _Grid, notes: Notes) -> E8 | None:
    """Liquidation price, None where it is not known.

    An isolated entry that does not exist yet has none, but cannot lose more than its margin: where that is gone is the bound.
    """
    position, sign = context.position, grid.sign
    price = position.liquidation
    if price is None and notes.for_entry and position.isolated and position.leverage:
        price = E8(position.entry - sign * (position.entry // position.leverage))
    if price is None or price <= 0:
        return None
    if sign * (grid.mark - price) <= 0:
        notes.tell(f"liquidation price {decimal(price, 8)} lies on the wrong side of the mark: taken as unknown")
        return None
    return price


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exits:
    """What of a plan lies in profit."""

    targets: tuple[Target, ...]
    trail: Trail | None
    stages: tuple[Stage, ...]
    break_even_after: int | None


def _exits(context: ExitContext, shape: Shape, grid: _Grid, notes: Notes, break_even: Ticks) -> _Exits:
    """Targets ahead of the price and large enough to be orders, the trail of the rest, stages, break-even."""
    wished = _targets(context, shape, grid)
    ahead = [target for target in wished if not grid.passed(target.price)]
    if notes.for_entry and any(grid.sign * (target.price * grid.tick - context.position.entry) <= 0 for target in wished):
        raise PolicyError(f"{notes.subject}: a target does not lie ahead of the entry {decimal(context.position.entry, 8)}; move it")
    if len(ahead) < len(wished):
        notes.tell(f"{len(wished) - len(ahead)} of {len(wished)} targets lie behind the price: their share is trailed")
    trail = _trail(context, shape, grid, shape.trail, sum(target.share for target in wished) - sum(target.share for target in ahead))
    kept, trail = _fit(context, ahead, trail, notes)
    stages = _stages(context, shape, grid, break_even, notes)
    after, extra = _break_even_after(shape, wished, kept, grid, break_even, notes)
    return _Exits(
        targets=tuple(kept),
        trail=trail,
        break_even_after=after,
        stages=tuple(sorted((*stages, *extra), key=lambda stage: grid.sign * stage.at)),
    )


def _targets(context: ExitContext, shape: Shape, grid: _Grid) -> list[Target]:
    """All targets of the policy as prices, nearest first."""
    targets = []
    for rung in shape.rungs:
        if isinstance(rung.at, AtPrice):
            level = grid.sign * ((grid.sign * rung.at.price) // grid.tick)
        else:
            level = arithmetic.target_level(grid.sign, context.position.entry, rung.at.bps, grid.tick)
        targets.append(Target(price=grid.clamp(level), share=rung.share))
    return sorted(targets, key=lambda target: grid.sign * target.price)


def _trail(context: ExitContext, shape: Shape, grid: _Grid, wish: TrailShape | None, freed: int) -> Trail | None:
    """The trail with the share of dropped targets. Without one in the policy it runs from now, by half of R but at least 1.5 %."""
    entry = context.position.entry
    if wish is None:
        if freed == 0:
            return None
        callback = Bps(max(RUNNER_CALLBACK, shape.unit // 2, narrowest_callback(context)))
        return Trail(activation=grid.start, callback=callback, share=Bps(freed)) if callback < WHOLE // 2 else None
    return Trail(
        activation=grid.clamp(arithmetic.target_level(grid.sign, entry, wish.activation, grid.tick)),
        callback=wish.callback,
        share=Bps(wish.share + freed),
        min_step=wish.min_step,
        tightening=tuple(
            Tightening(at=grid.clamp(arithmetic.target_level(grid.sign, entry, at, grid.tick)), callback=callback)
            for at, callback in wish.tightening
        ),
        moves=wish.moves,
    )


def _fit(context: ExitContext, targets: list[Target], trail: Trail | None, notes: Notes) -> tuple[list[Target], Trail | None]:
    """Targets that get at least the smallest order; the share of the others goes to the last leg."""
    shares = [int(target.share) for target in targets] + ([int(trail.share)] if trail else [])
    parts = split(context.position.lots, shares, context.instrument.min_lots)
    small = [index for index, lots in enumerate(parts[: len(shares) - 1]) if lots == 0]
    if not small:
        return targets, trail
    notes.tell(f"{context.position.lots} lots are too few for {len(shares)} legs: the nearest {len(small)} targets are dropped")
    freed = sum(shares[index] for index in small)
    kept = [target for index, target in enumerate(targets) if index not in small]
    if trail is not None:
        return kept, replace(trail, share=Bps(trail.share + freed))
    kept[-1] = Target(price=kept[-1].price, share=Bps(kept[-1].share + freed))
    return kept, None


def _stages(context: ExitContext, shape: Shape, grid: _Grid, break_even: Ticks, notes: Notes) -> list[Stage]:
    """Stages as prices; one whose stop would not lie behind the price that moves it is left out."""
    stages = []
    entry = context.position.entry
    for rule in shape.policy.stages:
        at = grid.clamp(arithmetic.target_level(grid.sign, entry, rule.at, grid.tick))
        to = break_even if rule.to is None else grid.clamp(arithmetic.stop_level(grid.sign, entry, -rule.to, grid.tick))
        if grid.sign * (at - to) > 0:
            stages.append(Stage(at=at, to=to))
        else:
            notes.tell(f"stage at {grid.shown(at)} left out: its stop {grid.shown(to)} does not lie behind it")
    return stages


def _break_even_after(
    shape: Shape, wished: list[Target], kept: list[Target], grid: _Grid, break_even: Ticks, notes: Notes
) -> tuple[int | None, tuple[Stage, ...]]:
    """After how many of the targets left the stop goes to break-even. A target that was dropped leaves a stage at its price."""
    wish = shape.policy.break_even_after
    if wish is None:
        return None, ()
    price = wished[wish - 1].price
    if grid.sign * (price - break_even) <= 0:
        notes.tell(f"no break-even at target {wish}: {grid.shown(price)} does not pay for {grid.shown(break_even)}")
        return None, ()
    left = [index for index, target in enumerate(kept, start=1) if target.price == price]
    if left:
        return left[0], ()
    return None, (Stage(at=price, to=break_even),)


def _reason(context: ExitContext, shape: Shape) -> str:
    """Why this plan, in a line."""
    if context.policy is not None:
        chosen = "named"
    elif context.market.known_regime is None:
        chosen = "chosen by profile, regime not known"
    else:
        chosen = f"chosen by profile, regime {context.market.known_regime.value}"
    parts = [
        f"policy {shape.policy.name} {chosen}",
        "position adopted" if context.adopted else "",
        "shaped by the model's hints" if (context.hints.tp, context.hints.sl) != (None, None) else "",
        f"risk mode {context.risk.mode.value}" if context.risk.mode is not None and not context.adopted else "",
    ]
    return "; ".join(part for part in parts if part)
