"""The orders that the exchange should hold now for one position."""

from collections.abc import Sequence
from dataclasses import dataclass

from qtkit.core import arithmetic
from qtkit.core.book import Episode
from qtkit.core.model import (
    E8,
    Instrument,
    Lots,
    Order,
    OrderKind,
    Position,
    PositionSide,
    Scope,
    Ticks,
    TriggerBy,
)

_STOP, _TARGET, _BOTH, _LAST = OrderKind.STOP_MARKET, OrderKind.TAKE_PROFIT_MARKET, PositionSide.BOTH, TriggerBy.LAST
WORKING_WITHIN = 6_000  # bps of the way from price to liquidation within which the working stop lies
FLOOR_WITHIN = 7_500  # the same for the floor
_STOPS = (OrderKind.STOP_MARKET, OrderKind.STOP, OrderKind.TRAILING_STOP_MARKET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What the exchange allows where exchanges differ, or where its rules are not proven.

    ``floor_beside_stop``: a close-position stop and quantity stops of one side coexist. ``conditional_reserves``: untriggered
    reduce-only orders reserve quantity, so that two full-size stops cannot rest together. ``stop_while_flat``: a reduce-only stop is
    accepted before there is a position. ``max_conditional``: conditional orders on the whole account.
    """

    floor_beside_stop: bool = True
    conditional_reserves: bool = False
    stop_while_flat: bool = True
    max_conditional: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An order the exchange should hold, under the name of its leg (f0 floor, s0.. working stop, t1.. targets)."""

    leg: str
    order: Order


def safe_stop(episode: Episode, position: Position, instrument: Instrument, within: int, level: Ticks) -> Ticks:
    """The level, moved before liquidation if it is not: within ``within`` bps of the way from the price to it.

    The price is the less favourable of the plan's start and the mark, so that a rising price does not drag the stop along.
    An unknown liquidation price moves nothing.
    """
    sign = episode.side.sign
    start: int = episode.plan.start * instrument.tick
    price = E8(arithmetic.looser(sign, start, position.mark))
    if position.liquidation is None or sign * (price - position.liquidation) <= 0:
        return level
    safe = arithmetic.level_between(sign, price, position.liquidation, within, instrument.tick)
    return Ticks(arithmetic.tighter(sign, level, safe))


def floor_level(episode: Episode, position: Position, instrument: Instrument) -> Ticks:
    """Where the floor lies now: the plan's, before liquidation, and never tighter than the working stop."""
    safe = safe_stop(episode, position, instrument, FLOOR_WITHIN, episode.plan.floor)
    return Ticks(arithmetic.looser(episode.side.sign, safe, episode.trail.stop))


def wanted(
    episode: Episode,
    position: Position,
    instrument: Instrument,
    *,
    scope: Scope,
    traits: Traits,
    working: Ticks | None,
    foreign: Sequence[Order],
) -> tuple[Wanted, ...]:
    """Floor, working stop and targets. ``working`` is the level at which the stop can rest now (None: none can)."""
    if scope is Scope.WATCH:
        return ()
    held = _held_by_others(position, foreign) if traits.conditional_reserves else 0
    legs = [*_floor(episode, position, instrument, traits, foreign), *_stops(episode, position, instrument, working, held)]
    if scope is Scope.FULL and not traits.conditional_reserves:
        legs += _targets(episode, position, instrument, foreign)
    return tuple(legs)


def _floor(episode: Episode, position: Position, instrument: Instrument, traits: Traits, foreign: Sequence[Order]) -> tuple[Wanted, ...]:
    """The close-position stop, unless its slot is taken by somebody else's (Binance -4130) or it cannot rest beside the stop."""
    taken = any(o.close_position and o.kind in (OrderKind.STOP_MARKET, OrderKind.STOP) for o in _closers(position, foreign))
    level = floor_level(episode, position, instrument)
    if taken or not traits.floor_beside_stop or arithmetic.stop_hit_e8(position.side.sign, position.mark, level, instrument.tick):
        return ()
    return (Wanted(leg="f0", order=_closing(episode, position, _STOP, lots=0, trigger=level)),)


def _closers(position: Position, foreign: Sequence[Order]) -> list[Order]:
    """Orders of others that make the position smaller."""
    return [o for o in foreign if o.side is position.side.closing and o.position_side is position.position_side]


def _held_by_others(position: Position, foreign: Sequence[Order]) -> int:
    """Lots that the stops of others keep from ours where reduce-only orders reserve quantity (Binance -4118)."""
    return sum(o.remaining for o in _closers(position, foreign) if o.kind in _STOPS and o.reduce_only)


def _stops(episode: Episode, position: Position, instrument: Instrument, working: Ticks | None, held: int) -> tuple[Wanted, ...]:
    """The working stop over the whole position but what others hold, split by the maximum market lot."""
    if working is None:
        return ()
    legs: list[Wanted] = []
    left = position.lots - held
    while left > 0:
        lots = min(left, instrument.market_max_lots)
        legs.append(Wanted(leg=f"s{len(legs)}", order=_closing(episode, position, _STOP, lots=lots, trigger=working)))
        left -= lots
    return tuple(legs)


def yielding(episode: Episode, position: Position, foreign: Sequence[Order]) -> tuple[Lots, ...]:
    """The ladder without the lots that others mean to take: both together never close more than there is. The nearest are kept.

    Else a bot's plain limit order, reached after a target of ours, would turn a one-way position over. A fill of ours that is still to
    be told has left the size already but not the ladder: until then the larger size counts.
    """
    size = max(position.lots, episode.expected)
    theirs = sum(size if o.close_position else o.remaining for o in _closers(position, foreign) if o.kind not in _STOPS)
    if theirs == 0:
        return episode.ladder
    room, ladder = max(0, size - theirs), []
    for lots in episode.ladder:
        ladder.append(Lots(min(lots, room)))
        room -= ladder[-1]
    return tuple(ladder)


def _targets(episode: Episode, position: Position, instrument: Instrument, foreign: Sequence[Order]) -> tuple[Wanted, ...]:
    legs = []
    ladder = yielding(episode, position, foreign)
    for index, (target, lots) in enumerate(zip(episode.plan.targets, ladder, strict=True), start=1):
        if lots >= instrument.min_lots:
            legs.append(Wanted(leg=f"t{index}", order=_closing(episode, position, _TARGET, lots=lots, trigger=target.price)))
    return tuple(legs)


def _closing(episode: Episode, position: Position, kind: OrderKind, *, lots: int, trigger: Ticks) -> Order:
    """A conditional order that can only reduce. Hedge mode takes no reduceOnly (Binance -1106): the position side does it."""
    whole = lots == 0
    return Order(
        symbol=position.symbol,
        client_id="",
        kind=kind,
        side=position.side.closing,
        position_side=position.position_side,
        lots=Lots(lots),
        trigger=trigger,
        trigger_by=_LAST if kind is _TARGET else episode.plan.trigger_by,
        reduce_only=not whole and position.position_side is _BOTH,
        close_position=whole,
        price_protect=False,
    )


def closing_market(position: Position, lots: Lots) -> Order:
    """A market order that reduces the position by ``lots``."""
    return Order(
        symbol=position.symbol,
        client_id="",
        kind=OrderKind.MARKET,
        side=position.side.closing,
        position_side=position.position_side,
        lots=lots,
        reduce_only=position.position_side is PositionSide.BOTH,
    )
