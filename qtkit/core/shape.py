"""A policy in numbers for one position: every distance in bps of the entry, shaped by the model's hints and the risk mode.

Where a policy is unsafe, a new entry is refused; on an open position the number is made safe and the note says so.
"""

from dataclasses import dataclass, replace

from qtkit.core import arithmetic
from qtkit.core.context import ExitContext, MarketData, RiskMode
from qtkit.core.distance import AtPrice, Distance, InAtr, InBps, bps_of, decimal
from qtkit.core.model import E8, ONE, Bps, PolicyError
from qtkit.core.policy import ExitPolicy, TargetRule, TrailRule, hybrid

RISK_PARTS = {None: 10_000, RiskMode.NORMAL: 10_000, RiskMode.CONSERVATIVE: 7_000, RiskMode.CRITICAL: 5_000, RiskMode.ESS_ACTIVE: 3_000}
"""Part of target and stop that the risk mode leaves to a new plan, bps (the original's 1.0, 0.7, 0.5, 0.3)."""
STOP_CLAMP = (100, 500)
TARGET_CLAMP = (150, 1_500)
CONFIDENT = 5_000
NARROWEST_STOP = 50
COSTS = 3  # a stop is wider, a target should be farther, than so many round trips
ATR_SANE = (1, 5_000)  # bps of the price; outside, the number is in another unit
WIDEST_CALLBACK = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A target: at ``bps`` from the entry, or at a fixed price."""

    at: InBps | AtPrice
    share: Bps


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailShape:
    """A trail in bps: activation and curve from the entry. ``moves`` is what its callback moves by, None where it stays."""

    activation: Bps
    callback: Bps
    share: Bps
    min_step: Bps
    tightening: tuple[tuple[Bps, Bps], ...] = ()
    moves: InAtr | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """``stop`` is the distance of the initial stop, ``stop_price`` its fixed price if the policy has one; ``unit`` is R; all bps."""

    policy: ExitPolicy
    stop: Bps
    stop_price: E8 | None
    unit: Bps
    rungs: tuple[Rung, ...]
    trail: TrailShape | None


def pct(bps: int) -> str:
    """Bps as people read them."""
    return f"{decimal(bps, 2)} %"


class Notes:
    """What had to be changed. In front of an entry nothing is changed: what would be, is refused."""

    def __init__(self, subject: str, *, for_entry: bool) -> None:
        self.subject = subject
        self.for_entry = for_entry
        self.said: list[str] = []

    def tell(self, text: str) -> None:
        """Something to know: a warning in the plan."""
        if text not in self.said:
            self.said.append(text)

    def mend(self, text: str, done: str) -> None:
        """Something unsafe: refuse the entry, or say what was done instead."""
        if self.for_entry:
            raise PolicyError(f"{self.subject}: {text}; change the policy, the size or the leverage")
        self.tell(f"{text}: {done}")


def shape_of(policy: ExitPolicy, context: ExitContext, notes: Notes) -> Shape:
    """The policy for one position. Raises ``PolicyError`` only for an entry."""
    hinted = policy.name != "hybrid"  # whose bands have used the hints already
    if not hinted:
        policy = _hybrid_by_hints(policy, context)
    atr = _plausible_atr(context, notes)
    part = _risk_part(context)
    unit = _unit(policy, context, atr, part, notes, hinted=hinted)
    stop, price = _stop(policy, context, atr, unit, notes)
    rungs = _rungs(policy, context, atr, unit, part, notes, hinted=hinted)
    trail = _trail(policy.trail, context, atr, unit, notes, hinted=hinted) if policy.trail else None
    return Shape(policy=policy, stop=stop, stop_price=price, unit=unit, rungs=rungs, trail=trail)


def _hybrid_by_hints(policy: ExitPolicy, context: ExitContext) -> ExitPolicy:
    """The hybrid of the model's hints: its own base stop and target, the model's target, trail and confidence."""
    hints = context.hints
    if hints.confidence is None or not isinstance(policy.stop, InBps) or not policy.targets or not isinstance(policy.targets[0].at, InBps):
        return policy
    made = hybrid(
        sl=policy.stop.bps if hints.sl is None else min(policy.stop.bps, hints.sl),
        tp=policy.targets[0].at.bps,
        ai_tp=hints.tp,
        ai_trail=hints.trail,
        confidence=hints.confidence,
    )
    return replace(
        made,
        adopted_stop=policy.adopted_stop,
        trigger_by=policy.trigger_by,
        liquidation_buffer=policy.liquidation_buffer,
        max_hold_ms=policy.max_hold_ms,
    )


def _plausible_atr(context: ExitContext, notes: Notes) -> E8 | None:
    """ATR, unless its size says that it is not in price: it once was, and made a stop of 96 million."""
    atr, entry = context.market.atr, context.position.entry
    if atr is None or _is_sane(atr, entry):
        return atr
    notes.tell(f"ATR {decimal(atr, 8)} cannot be a price distance at an entry of {decimal(entry, 8)}: taken as unknown")
    return None


def _is_sane(atr: E8, price: E8) -> bool:
    return ATR_SANE[0] * price <= atr * 10_000 <= ATR_SANE[1] * price


def moving_callback(rule: InAtr | None, market: MarketData) -> Bps | None:
    """The callback that moves with ATR, as of the newest full hour: the multiple in parts of that hour's close.

    None where that is not known, and of a trail that does not move (``rule`` None).
    """
    if rule is None or market.atr is None or market.close is None or not _is_sane(market.atr, market.close):
        return None
    return bps_of(rule, unit=0, atr=market.atr, price=market.close)


def _risk_part(context: ExitContext) -> int:
    """Risk shapes new plans of our own entries and never what is open already."""
    if context.adopted or context.revision > 0:
        return RISK_PARTS[None]
    return RISK_PARTS[context.risk.mode]


def _floor_of_stops(context: ExitContext) -> Bps:
    return Bps(max(NARROWEST_STOP, COSTS * arithmetic.round_trip_bps(context.instrument.taker_fee)))


def _measured(stop: InBps | InAtr | AtPrice, context: ExitContext, atr: E8 | None) -> Bps:
    """Distance of a stop from the entry, bps; of a fixed price its distance on the losing side, 0 where it lies in profit."""
    entry = context.position.entry
    if isinstance(stop, AtPrice):
        behind = context.position.side.sign * (entry - stop.price)
        return Bps(arithmetic.distance_bps(entry, stop.price)) if behind > 0 else Bps(0)
    return bps_of(stop, unit=0, atr=atr, price=entry)


def _unit(policy: ExitPolicy, context: ExitContext, atr: E8 | None, part: int, notes: Notes, *, hinted: bool) -> Bps:
    """R: the distance of the policy's own stop, by the model's hint where there is one, narrowed by the risk mode."""
    unit: int = _measured(policy.stop, context, atr)
    shaped = part != RISK_PARTS[None]
    most = None if context.adopted or context.revision > 0 else context.risk.max_loss
    if isinstance(policy.stop, AtPrice):
        if most is not None and unit > most:
            notes.mend(f"stop @{decimal(policy.stop.price, 8)} loses more than the {pct(most)} that the risk service allows", "kept")
        return Bps(unit or _floor_of_stops(context))
    if hinted and context.hints.sl is not None:
        unit, shaped = context.hints.sl, True
    if shaped:
        unit = min(max(unit * part // 10_000, STOP_CLAMP[0]), STOP_CLAMP[1])
    if most is not None and unit > most:
        notes.tell(f"stop {pct(unit)} narrowed to the {pct(most)} that the risk service allows")
        unit = most
    return Bps(unit)


def _stop(policy: ExitPolicy, context: ExitContext, atr: E8 | None, unit: Bps, notes: Notes) -> tuple[Bps, E8 | None]:
    """Distance of the initial stop and its fixed price; never narrower than costs and noise allow."""
    wish = policy.adopted_stop if context.adopted and policy.adopted_stop is not None else policy.stop
    distance = unit if wish is policy.stop or context.hints.sl is not None else _measured(wish, context, atr)
    if isinstance(wish, InAtr) and atr is None and context.hints.sl is None:  # told of the stop alone: R has another number
        notes.tell(f"ATR is not known: the policy's fixed {pct(wish.fallback)} instead of {decimal(wish.milli, 3)} x ATR")
    least = _floor_of_stops(context)
    if isinstance(wish, AtPrice):
        if notes.for_entry and _measured(wish, context, atr) < least:
            raise PolicyError(f"{notes.subject}: stop @{decimal(wish.price, 8)} must lie at least {pct(least)} behind the entry")
        return Bps(max(distance, least)), wish.price
    if distance < least:
        notes.mend(f"stop {pct(distance)} is within noise and costs", f"widened to {pct(least)}")
        distance = least
    return distance, None


def _rungs(
    policy: ExitPolicy, context: ExitContext, atr: E8 | None, unit: Bps, part: int, notes: Notes, *, hinted: bool
) -> tuple[Rung, ...]:
    """Targets in bps. The model's target moves the farthest one there and the others in proportion, if it is at least half sure."""
    entry = context.position.entry
    rungs = [Rung(at=_flat(target, unit, atr, entry), share=target.share) for target in policy.targets]
    measured = [rung.at.bps for rung in rungs if isinstance(rung.at, InBps)]
    hints = context.hints
    aim = hints.tp if hinted and measured else None
    if aim is not None and hints.confidence is not None and hints.confidence < CONFIDENT:
        notes.tell(f"the model's target {pct(aim)} is not used: its confidence {decimal(hints.confidence, 4)} is below 0.5")
        aim = None
    if aim is not None:
        wanted = min(max(aim * part // 10_000, TARGET_CLAMP[0]), TARGET_CLAMP[1])
        rungs = [_moved(rung, wanted, max(measured)) for rung in rungs]
    elif part != RISK_PARTS[None]:
        fixed = [isinstance(target.at, InBps) for target in policy.targets]  # those in R shrink with the stop
        rungs = [_moved(rung, part, 10_000) if bps else rung for rung, bps in zip(rungs, fixed, strict=True)]
    cost = COSTS * arithmetic.round_trip_bps(context.instrument.taker_fee)
    for rung in rungs:
        if isinstance(rung.at, InBps) and rung.at.bps < cost:
            notes.tell(f"target {pct(rung.at.bps)} is under {COSTS} x the cost of a round trip ({pct(cost)})")
    return tuple(rungs)


def _flat(target: TargetRule, unit: Bps, atr: E8 | None, entry: E8) -> InBps | AtPrice:
    at: Distance = target.at
    return at if isinstance(at, AtPrice) else InBps(bps_of(at, unit=unit, atr=atr, price=entry))


def _moved(rung: Rung, wanted: int, of: int) -> Rung:
    if isinstance(rung.at, AtPrice):
        return rung
    return replace(rung, at=InBps(Bps(max(1, rung.at.bps * wanted // of))))


def _trail(rule: TrailRule, context: ExitContext, atr: E8 | None, unit: Bps, notes: Notes, *, hinted: bool) -> TrailShape | None:
    """Trail in bps; its callback is wider than a tick and than the cost of a round trip."""
    position = context.position
    if isinstance(rule.callback, InAtr) and atr is None:
        notes.tell(f"ATR is not known: the trail's fixed {pct(rule.callback.fallback)} instead")
    least = narrowest_callback(context)
    if least > WIDEST_CALLBACK:
        notes.mend("a tick is too large a part of the price for a trail", "no trail")
        return None
    callback, moves = bps_of(rule.callback, unit=unit, atr=atr, price=position.entry), None
    if hinted and context.hints.trail is not None:
        callback = context.hints.trail
    elif rule.moves and isinstance(rule.callback, InAtr):
        moves = _within_reason(rule.callback, least, notes)
        market = context.market if context.market.close is not None else replace(context.market, close=position.entry)
        callback = moving_callback(moves, market) or moves.fallback
    if callback < least:
        notes.mend(f"trail of {pct(callback)} is within a tick or the cost of a round trip", f"widened to {pct(least)}")
        callback = least
    curve = tuple((bps_of(step.at, unit=unit, atr=atr, price=position.entry), Bps(max(step.callback, least))) for step in rule.tightening)
    kept = tuple(step for step in curve if step[1] < (callback if moves is None else moves.most))
    activation = bps_of(rule.activation, unit=unit, atr=atr, price=position.entry)
    return TrailShape(activation=activation, callback=callback, share=rule.share, min_step=rule.min_step, tightening=kept, moves=moves)


def _within_reason(moves: InAtr, least: Bps, notes: Notes) -> InAtr:
    """A callback that moves is never narrower than one that stays may be."""
    if moves.least >= least:
        return moves
    notes.mend(f"trail that moves down to {pct(moves.least)} would be within a tick or the cost of a round trip", f"down to {pct(least)}")
    fallback, most = Bps(max(moves.fallback, least)), Bps(max(moves.most, least))
    return replace(moves, least=least, fallback=fallback, most=most)


def narrowest_callback(context: ExitContext) -> Bps:
    """A trail is at least one tick wide and pays for a round trip."""
    position, instrument = context.position, context.instrument
    tick = -(-instrument.tick * 10_000 // min(position.entry, position.mark))
    return Bps(max(tick, arithmetic.round_trip_bps(instrument.taker_fee)))


def funding_per_unit(context: ExitContext) -> int:
    """Funding paid per unit of size, price E8, rounded up; what was received is left out: it stays a gain."""
    paid = context.market.funding_paid
    if paid is None or paid <= 0:
        return 0
    size = context.position.lots * context.instrument.lot
    return -(-paid * ONE // size)
