"""Desired against actual: the ordered actions that lead from one to the other, new before old.

The law: at every price level, the lots closed by our own read-back stops at or before that level never fall below what they were, or
below the position, whichever is less. Placing never lowers them; so a stop is cancelled only when the orders that remain, as read
back, already hold the law without it. Where two full stops cannot rest together, the floor is the bridge.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from qtkit.core import arithmetic
from qtkit.core.book import Episode
from qtkit.core.coverage import fault, lots_of
from qtkit.core.desired import Traits, Wanted, closing_market
from qtkit.core.events import Leg, LegStatus
from qtkit.core.ids import client_order_id, parse_client_order_id
from qtkit.core.model import Action, Cancel, Instrument, Lots, Order, OrderKind, Place, Position, PositionSide

WOULD_TRIGGER = -2021  # Binance: the trigger price is reached already
REACHED = frozenset({WOULD_TRIGGER, -4142})  # Binance lists both codes for it; -2021 was seen
REFUSALS = 5  # equal refusals in a row before we pause
PAUSE_MS = 30_000
_MISSING = LegStatus.MISSING
STOPS = (OrderKind.STOP_MARKET, OrderKind.TRAILING_STOP_MARKET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """An action and its turn: 0 cover, 1 closes, 2 bridged replacements, 3 cancels of stops, 4 targets, 5 questions."""

    rank: int
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What reconcile looks at: one position, its episode, our own working orders by snapshot, and the time (ms)."""

    episode: Episode
    position: Position
    instrument: Instrument
    own: Sequence[Order]
    stable: bool
    now_ms: int
    grace_ms: int
    tag: str
    traits: Traits


def same(order: Order, want: Order) -> bool:
    """True if an order does what is wanted, whatever its id."""
    return (
        order.kind is want.kind
        and order.side is want.side
        and order.position_side is want.position_side
        and order.remaining == want.lots
        and order.trigger == want.trigger
        and order.price == want.price
        and order.trigger_by is want.trigger_by
        and order.reduce_only == want.reduce_only
        and order.close_position == want.close_position
        and order.price_protect == want.price_protect
    )


def reconcile(now: Situation, wanted: Sequence[Wanted]) -> tuple[Ranked, ...]:
    """Actions that lead to the wanted orders. Deciding again on what they lead to gives none."""
    missing, surplus = _match(wanted, now.own)
    stops = [want for want in missing if want.leg[0] in "fs"]
    targets = [want for want in missing if want.leg[0] == "t"]
    actions: list[Ranked] = []
    bridged = _bridge(now, stops, surplus) if now.traits.conditional_reserves else ()
    if bridged:
        actions += bridged
        surplus = [order for order in surplus if all(r.action != _cancel(now, order) for r in bridged)]
    else:
        room = _room(now, wanted) if now.traits.conditional_reserves else None
        actions += [Ranked(rank=0, action=place) for want in _fitting(stops, room) if (place := place_leg(now, want)) is not None]
    actions += _cancels(now, surplus)
    if now.stable and not any(leg.status is _MISSING for leg in now.episode.legs.values()):
        reached = [_taken(now, want) for want in targets]
        actions += [Ranked(rank=4, action=place) for want in reached if (place := place_leg(now, want)) is not None]
    return tuple(actions)


def _room(now: Situation, wanted: Sequence[Wanted]) -> int | None:
    """Lots that stops may still reserve (Binance -4118), None where nothing is reserved: hedge mode knows no reduce-only orders."""
    if now.position.position_side is not PositionSide.BOTH:
        return None
    reserved = sum(order.remaining for order in now.own if order.kind in STOPS and order.reduce_only)
    return max(0, sum(want.order.lots for want in wanted if want.leg[0] == "s") - reserved)


def _fitting(stops: Sequence[Wanted], room: int | None) -> list[Wanted]:
    """The stops that can be placed beside those that rest: what was added to a position gets a stop of its own."""
    fitting = []
    for want in stops:
        lots = want.order.lots if room is None else min(want.order.lots, room)
        if want.order.close_position:
            fitting.append(want)
        elif lots > 0:
            fitting.append(Wanted(leg=want.leg, order=replace(want.order, lots=Lots(lots))))
            room = None if room is None else room - lots
    return fitting


def _taken(now: Situation, want: Wanted) -> Wanted:
    """A target that the exchange refuses because the price is there is taken at the market. Not one that was passed before adoption."""
    leg = now.episode.legs.get(want.leg)
    if leg is None or (leg.code not in REACHED and leg.order.kind is not OrderKind.MARKET):
        return want
    if leg.status is LegStatus.DONE or (leg.revision == 1 and not now.episode.own):
        return want
    return Wanted(leg=want.leg, order=closing_market(now.position, want.order.lots))


def _match(wanted: Sequence[Wanted], own: Sequence[Order]) -> tuple[list[Wanted], list[Order]]:
    """What is wanted and not there, and what is there and not wanted."""
    surplus, missing = list(own), []
    for want in wanted:
        found = next((order for order in surplus if same(order, want.order)), None)
        if found is None:
            missing.append(want)
        else:
            surplus.remove(found)
    return missing, surplus


def place_leg(now: Situation, want: Wanted, reason: str = "") -> Place | None:
    """The order to send for a leg now, or None if one is on its way or the exchange keeps refusing it.

    The same order is repeated under the same id until it is read back; the revision rises only when what is wanted has changed, or
    when the order of that revision has been seen to end.
    """
    leg = now.episode.legs.get(want.leg)
    if leg is None:
        return _place(now, want, 1 + _highest_live(now.own, want.leg), reason or "missing")
    if not asks(leg, want.order):
        return _place(now, want, leg.revision + 1, reason or "changed")
    age = now.now_ms - leg.at_ms
    if leg.order.kind is OrderKind.MARKET and leg.status not in (LegStatus.DONE, LegStatus.REFUSED):
        return None  # ids are unique among open orders only: a market order is looked up, never sent again
    match leg.status:
        case LegStatus.ACKED if 0 <= age < now.grace_ms:
            return None
        case LegStatus.REFUSED if leg.refusals >= REFUSALS and 0 <= age < PAUSE_MS:
            return None
        case LegStatus.LIVE | LegStatus.MISSING | LegStatus.DONE:
            return _place(now, want, leg.revision + 1, reason or "the last one ended")
        case _:
            return _place(now, want, leg.revision, reason or "repeated until it is read back")


def _highest_live(own: Iterable[Order], leg: str) -> int:
    """Highest revision of a leg that rests: after a lost journal its id must not be taken again."""
    parsed = (parse_client_order_id(order.client_id) for order in own)
    return max((found[2] for found in parsed if found is not None and found[1] == leg), default=0)


def asks(leg: Leg, want: Order) -> bool:
    """True if the leg's last order asked for exactly this."""
    return replace(leg.order, client_id="") == want


def _place(now: Situation, want: Wanted, revision: int, reason: str) -> Place:
    client_id = client_order_id(now.tag, now.episode.plan.uid, want.leg, revision)
    order = replace(want.order, client_id=client_id)
    return Place(key=now.episode.key, leg=want.leg, revision=revision, order=order, reason=reason)


def _cancel(now: Situation, order: Order) -> Cancel:
    return Cancel(key=now.episode.key, order=order, reason="replaced" if order.kind in STOPS else "not wanted any more")


def _cancels(now: Situation, surplus: Sequence[Order]) -> list[Ranked]:
    """Surplus orders that may go now. Nothing is cancelled on an unstable reading."""
    if not now.stable:
        return []
    remaining, actions = list(now.own), []
    for order in surplus:
        if order.kind not in STOPS:
            actions.append(Ranked(rank=4, action=_cancel(now, order)))
        elif _superseded(now, order, remaining) or may_cancel(order, remaining, now.position, now.instrument):
            remaining.remove(order)
            actions.append(Ranked(rank=3, action=_cancel(now, order)))
    return actions


def _superseded(now: Situation, order: Order, remaining: Sequence[Order]) -> bool:
    """True for an order that the operator's looser stop replaces, once the others close the whole position at that stop or tighter."""
    episode = now.episode
    if order.client_id not in episode.outdated:
        return False
    others = [other for other in remaining if other.client_id not in episode.outdated and other.trigger is not None]
    sound = [other for other in others if fault(other, now.position, now.instrument, episode.trail.stop) is None]
    return sum(lots_of(other, now.position) for other in sound) >= now.position.lots


def may_cancel(order: Order, own: Iterable[Order], position: Position, instrument: Instrument) -> bool:
    """True if without this order the others still close, at its level or tighter, what was closed there, or the whole position.

    A stop beyond the plan's floor is not what is wanted, but it is cover until a better one was read back: no floor is asked here.
    """
    sign = position.side.sign
    closes = order.side is position.side.closing and order.trigger is not None
    if closes and arithmetic.stop_hit_e8(sign, position.mark, order.trigger or 0, instrument.tick):
        return False  # it is about to fire
    if fault(order, position, instrument, None) is not None or order.trigger is None:
        return True
    as_tight = [
        other
        for other in own
        if other.trigger is not None
        and arithmetic.tighter(sign, other.trigger, order.trigger) == other.trigger
        and fault(other, position, instrument, None) is None
    ]
    before = sum(lots_of(other, position) for other in as_tight)
    after = before - lots_of(order, position)
    return after >= min(before, position.lots)


def _bridge(now: Situation, stops: Sequence[Wanted], surplus: Sequence[Order]) -> tuple[Ranked, ...]:
    """Exclusive replacement: while the floor covers all, take the old working stops away and place the new ones."""
    replaced = [order for order in surplus if order.kind in STOPS and not order.close_position]
    working = [want for want in stops if want.leg[0] == "s"]
    if not replaced or not working or not now.stable:
        return ()
    floors = (order for order in now.own if order.close_position)
    if not any(fault(order, now.position, now.instrument, now.episode.plan.floor) is None for order in floors):
        return ()
    places = [place for want in working if (place := place_leg(now, want)) is not None]
    if len(places) < len(working):
        return ()
    actions: list[Action] = [*(_cancel(now, order) for order in replaced), *places]
    return tuple(Ranked(rank=2, action=action) for action in actions)
