"""What the operator says: adopt, release, set, pause, resume. Journaled, and shown beforehand by the decision that carries it out."""

from dataclasses import dataclass, replace

from qtkit import policyfile
from qtkit.core import arithmetic
from qtkit.core.book import Book, Episode
from qtkit.core.context import ExitContext, MarketData
from qtkit.core.decide import Decision
from qtkit.core.describe import levels
from qtkit.core.desired import WORKING_WITHIN, safe_stop
from qtkit.core.distance import AtPrice, InBps, decimal, parse_distance
from qtkit.core.events import Choice, EpisodeClosed, Event, Paused, ScopeChosen, StopSet
from qtkit.core.ids import parse_client_order_id
from qtkit.core.model import Instrument, Key, PolicyError, Position, Scope, Side, Ticks
from qtkit.core.names import suggestion
from qtkit.core.plan import ExitPlan
from qtkit.core.policy import ExitPolicy
from qtkit.core.reconcile import STOPS
from qtkit.core.trail import fold
from qtkit.ledger import Step, steps_of, utc
from qtkit.monitor import PositionMonitor
from qtkit.policies import Policies
from qtkit.venue.budget import asked

LONGEST_RELEASE_S = 7 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Go as far as ``scope`` on a symbol, whatever the account's own scope and list say, until released."""

    symbol: str
    scope: Scope = Scope.FULL


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Hands off a symbol for ``seconds``: our orders there rest as they are, or with ``cancel`` are taken away."""

    symbol: str
    cancel: bool
    seconds: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetStop:
    """Put the stop of a position at ``stop`` (``@91000``, ``2.5%`` from the entry). A looser one needs ``loosen`` and a reason."""

    symbol: str
    stop: str
    side: str = ""
    loosen: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanAnew:
    """Plan a position anew by a policy (by name; empty: the one it has) and a callback of its trail (``1%``; empty: the policy's).

    ``file`` is the text of a policy file, in the place of a name.
    """

    symbol: str
    policy: str = ""
    file: str = ""
    trail: str = ""
    side: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Take nothing new on, neither entries nor adoptions, until resumed. What is held goes on being protected."""

    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Take new positions on again."""


Wish = Adopt | Release | SetStop | PlanAnew | Pause | Resume


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a wish comes to: ``text`` in plain words, ``steps`` that the next pass would take (or took) because of it."""

    text: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class _Deed:
    """A wish made concrete: what is to be journaled, and the plan that is to be kept with it."""

    text: str
    events: tuple[Event, ...]
    context: ExitContext | None = None
    plan: ExitPlan | None = None


def sends(wish: Wish) -> bool:
    """True for what makes a desk send where it only watched."""
    return isinstance(wish, Adopt) and wish.scope is not Scope.WATCH


async def operate(monitor: PositionMonitor, wish: Wish, *, dry_run: bool) -> Said:
    """Carry a wish out, or with ``dry_run`` say what it would come to.

    Raises ``PolicyError`` with the reason if it cannot be, ``Unavailable`` also while what is left of the request budget is kept for
    protection.
    """
    with asked():
        await monitor.pass_once()  # what is said about is what is there now
        market = await _market(monitor, wish)
        deed = _deed(monitor, wish, market)
        foreseen = await monitor.preview(deed.events, deed.plan)
        steps = _steps(monitor, foreseen, wish)
        change = "" if deed.plan is None else _change(monitor.applier.book, foreseen.book, deed.plan.key)
        if not dry_run:
            if not isinstance(wish, Pause | Resume):
                monitor.observer.due([wish.symbol])
            deed = await _done(monitor, wish, market)
    text = deed.text + change
    if isinstance(wish, SetStop) and all(step.do == "keep" for step in steps):
        text += "; the order cannot be replaced here without a naked moment: it rests, and the desk itself closes at the new stop"
    return Said(text=text, steps=steps)


async def _market(monitor: PositionMonitor, wish: Wish) -> MarketData:
    if not isinstance(wish, PlanAnew):
        return MarketData()
    _held(monitor, wish.symbol, wish.side)  # what cannot be meant is said before anything is asked
    return await monitor.market(wish.symbol)


async def _done(monitor: PositionMonitor, wish: Wish, market: MarketData) -> _Deed:
    """Carry it out as it is now: since it was shown a price may have moved the stop, or the position may be gone."""
    deeds: list[_Deed] = []

    def now() -> tuple[Event, ...]:
        deeds.append(deed := _deed(monitor, wish, market))
        if deed.context is not None:
            monitor.router.plan_anew(deed.context)
        return deed.events

    await monitor.told(now)
    return deeds[-1]


def _steps(monitor: PositionMonitor, foreseen: Decision, wish: Wish) -> tuple[Step, ...]:
    steps = steps_of(foreseen.actions, foreseen.book, monitor.health.snapshots, monitor.gateway.instruments, monitor.desk.tag)
    if isinstance(wish, Pause | Resume):
        return steps
    return tuple(step for step in steps if f"/{wish.symbol}" in step.key)


def _change(now: Book, then: Book, key: Key) -> str:
    """A position's plan and the stop in force, as they are and as they will be."""
    rows = (("now: ", now.episodes.get(key)), ("then:", then.episodes.get(key)))
    return "".join(f"\n  {word} {levels(one.plan, one.trail.stop)}" for word, one in rows if one is not None)


def _deed(monitor: PositionMonitor, wish: Wish, market: MarketData) -> _Deed:
    now_ms = monitor.applier.clock_ms()
    match wish:
        case Adopt():
            _check_adoption(monitor, wish, now_ms)
            choice = Choice(scope=wish.scope, until_ms=None, cancel=False, reason="adopted")
            text = f"{wish.symbol} is adopted in scope {wish.scope.value}"
            return _Deed(text, (ScopeChosen(symbol=wish.symbol, choice=choice, at_ms=now_ms),))
        case Release():
            return _release(monitor, wish, now_ms)
        case SetStop():
            return _set_stop(monitor, wish, now_ms)
        case PlanAnew():
            return _plan_anew(monitor, wish, market)
        case Pause():
            return _pause(monitor, wish, now_ms)
        case Resume():
            return _Deed("new positions are taken on again", (_paused(None, now_ms, "resumed"),))


def _pause(monitor: PositionMonitor, wish: Pause, now_ms: int) -> _Deed:
    """A pause that holds already stays as it is: one that began anew would let in what has come since the first."""
    since_ms = monitor.applier.book.paused_ms
    if since_ms is not None:
        return _Deed(f"it is paused since {utc(since_ms)} already; `qtkit resume` ends it", ())
    return _Deed("nothing new is taken on; what is held goes on being protected", (_paused(now_ms, now_ms, wish.reason),))


def _paused(since_ms: int | None, now_ms: int, reason: str) -> Paused:
    return Paused(since_ms=since_ms, at_ms=now_ms, reason=reason)


def _check_symbol(monitor: PositionMonitor, symbol: str) -> None:
    instruments = monitor.gateway.instruments
    if symbol not in instruments:
        raise PolicyError(f"there is no symbol '{symbol}': {suggestion(symbol, instruments)}")


def _check_adoption(monitor: PositionMonitor, wish: Adopt, now_ms: int) -> None:
    """An adoption goes as far as the account does, and takes nothing on while nothing new is."""
    _check_symbol(monitor, wish.symbol)
    desk, book = monitor.desk, monitor.applier.book
    if wish.scope.narrower(desk.most) is not wish.scope:
        raise PolicyError(f"account {desk.account} goes no further than scope {desk.most.value}: adopt {wish.symbol} in that, or raise it")
    since_ms = desk.nothing_new(book)
    if wish.scope is not Scope.WATCH and since_ms is not None and since_ms <= now_ms:
        remedy = "`qtkit resume` ends the pause" if book.paused_ms is not None else "arm the account again: `qtkit desk --arm 24h`"
        raise PolicyError(f"nothing new is taken on; {remedy}")


def _release(monitor: PositionMonitor, wish: Release, now_ms: int) -> _Deed:
    _check_symbol(monitor, wish.symbol)
    if not 0 < wish.seconds <= LONGEST_RELEASE_S:
        raise PolicyError(
            f"a symbol is released for up to {LONGEST_RELEASE_S // 86_400} days, got {wish.seconds} s; say it again when it ends"
        )
    until_ms = now_ms + wish.seconds * 1000
    choice = Choice(scope=Scope.WATCH, until_ms=until_ms, cancel=wish.cancel, reason=wish.reason)
    orders = "its orders of ours are cancelled" if wish.cancel else "its orders of ours rest as they are"
    after = "then the desk takes what is open over as it stands, with a new plan from the price of that moment"
    text = f"{wish.symbol} is released for {_span(wish.seconds)}: {orders}, nothing is placed, moved or closed there; {after}"
    return _Deed(text, (ScopeChosen(symbol=wish.symbol, choice=choice, at_ms=now_ms),))


def _span(seconds: int) -> str:
    """A time as people say it."""
    for unit, width in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= width and seconds % width == 0:
            return f"{seconds // width} {unit}"
    return f"{seconds} s"


def _held(monitor: PositionMonitor, symbol: str, side: str) -> tuple[Episode, Position]:
    """The open position that is meant. Raises ``PolicyError`` naming those that are open, or asking which side."""
    if side and side.upper() not in Side.__members__:
        raise PolicyError(f"side '{side}' is not a side of a position: {suggestion(side.lower(), ('long', 'short'))}")
    episodes = [e for e in monitor.applier.book.episodes.values() if e.opened and e.key.symbol == symbol]
    found = [e for e in episodes if side.upper() in ("", e.side.name)]
    if not found:
        names = {e.key.symbol for e in monitor.applier.book.episodes.values() if e.opened}
        raise PolicyError(f"no position is open in {symbol}: {suggestion(symbol, names) if names else 'nothing is open'}")
    if len(found) > 1:
        raise PolicyError(f"{symbol} has a long and a short position; say which: --side long or --side short")
    position = monitor.observer.position(symbol, found[0].key.position_side)
    if position is None:
        raise PolicyError(f"{found[0].key} is being closed; `qtkit check` shows what is left of it")
    return found[0], position


def _set_stop(monitor: PositionMonitor, wish: SetStop, now_ms: int) -> _Deed:
    episode, position = _held(monitor, wish.symbol, wish.side)
    instrument = monitor.gateway.instruments[wish.symbol]
    level = _level(wish.stop, episode, position, instrument)
    sign, before = episode.side.sign, episode.trail.stop
    shown, old = _price(level, instrument), _price(before, instrument)
    _check_level(level, episode, position, instrument)
    if level == before:
        raise PolicyError(f"the stop of {episode.key} is at {old} already")
    outdated: tuple[str, ...] = ()
    loosens = arithmetic.tighter(sign, level, before) == before
    if loosens:
        _check_loosening(wish, level, episode, position, instrument)
        outdated = _tighter_ones(monitor, episode, level)
    how = "loosened" if loosens else "tightened"
    reason = wish.reason or f"{how} by the operator"
    event = StopSet(key=episode.key, stop=level, outdated=outdated, at_ms=now_ms, reason=reason, loosens=loosens)
    return _Deed(f"the stop of {episode.key} {episode.side.name} is {how} from {old} to {shown}", (event,))


def _level(text: str, episode: Episode, position: Position, instrument: Instrument) -> Ticks:
    """The level that was asked for, rounded toward the price."""
    sign = episode.side.sign
    match parse_distance(text):
        case AtPrice(price):
            return Ticks(sign * -((-sign * price) // instrument.tick))
        case InBps(bps):
            return Ticks(arithmetic.stop_level(sign, position.entry, bps, instrument.tick))
        case _:
            raise PolicyError(
                f"the stop of an open position is set as a price or by its distance from the entry: @91000, 2.5% or 250bps, got '{text}'"
            )


def _check_level(level: Ticks, episode: Episode, position: Position, instrument: Instrument) -> None:
    sign, plan, shown = episode.side.sign, episode.plan, _price(level, instrument)
    if arithmetic.stop_hit_e8(sign, position.mark, level, instrument.tick):
        mark = decimal(position.mark, 8)
        raise PolicyError(
            f"a stop at {shown} would fire at once, the mark is {mark}; `qtkit flatten {position.symbol}` closes the position"
        )
    if arithmetic.looser(sign, level, plan.floor) == level != plan.floor:
        raise PolicyError(f"{shown} lies beyond the floor of the plan, {_price(plan.floor, instrument)}; no stop goes further")
    safe = safe_stop(episode, position, instrument, WORKING_WITHIN, level)
    if safe != level:
        raise PolicyError(f"{shown} is too near to liquidation; the loosest stop that is safe is {_price(safe, instrument)}")


def _check_loosening(wish: SetStop, level: Ticks, episode: Episode, position: Position, instrument: Instrument) -> None:
    old, shown = _price(episode.trail.stop, instrument), _price(level, instrument)
    if not wish.loosen or not wish.reason:
        raise PolicyError(
            f"{shown} is looser than the stop at {old}; a stop is loosened only with --loosen and --reason, which are journaled"
        )
    trail = replace(episode.trail, stop=level)
    after = fold(episode.plan, trail, trail.best, trail.at_ms, targets_done=episode.targets_done)
    if after.stop != level:
        back = _price(after.stop, instrument)
        raise PolicyError(f"the plan itself would bring the stop back to {back}; `qtkit set {wish.symbol} --policy` changes the plan")


def _tighter_ones(monitor: PositionMonitor, episode: Episode, level: Ticks) -> tuple[str, ...]:
    """Our own stops of the position, resting or on their way, that are tighter than the level."""
    snapshot = monitor.health.snapshots.get(episode.key.symbol)
    listed = () if snapshot is None else tuple(o for o in snapshot.orders if o.position_side is episode.key.position_side)
    orders = (*listed, *(leg.order for leg in episode.legs.values()))
    ours = [o for o in orders if (parsed := parse_client_order_id(o.client_id)) is not None and parsed[0] == monitor.desk.tag]
    sign = episode.side.sign
    return tuple(dict.fromkeys(o.client_id for o in ours if o.kind in STOPS and o.trigger is not None and sign * (o.trigger - level) > 0))


def _plan_anew(monitor: PositionMonitor, wish: PlanAnew, market: MarketData) -> _Deed:
    episode, position = _held(monitor, wish.symbol, wish.side)
    policy = _policy(wish, episode.plan, monitor.router.policies)
    context = monitor.router.adoption(position, monitor.gateway.instruments[wish.symbol], market=market, time_ms=monitor.trails.now_ms())
    context = replace(context, policy=policy, adopted=episode.plan.adopted)
    plan = monitor.router.draft(context)
    text = (
        f"{episode.key} {episode.side.name} is planned anew by {policy.name}; its stop stays where it is unless the new plan's is tighter"
        f"{_left_out(monitor, plan)}"
    )
    closed = EpisodeClosed(key=episode.key, at_ms=monitor.applier.clock_ms(), reason=f"planned anew by the operator: {policy.name}")
    return _Deed(text, (closed,), context, plan)


def _left_out(monitor: PositionMonitor, plan: ExitPlan) -> str:
    """What of a plan is not placed in the scope of its symbol."""
    scope = monitor.desk.scope_of(monitor.applier.book, plan.key.symbol, monitor.applier.clock_ms())
    return "; in scope guard its targets are not placed, its stops alone" if plan.targets and scope is Scope.GUARD else ""


def _policy(wish: PlanAnew, plan: ExitPlan, policies: Policies) -> ExitPolicy:
    policy = policyfile.read(wish.file).policy if wish.file else policies.named(wish.policy or plan.profile)
    if not wish.trail:
        return policy
    callback = parse_distance(wish.trail)
    if not isinstance(callback, InBps):
        raise PolicyError(f"a trail is set by its callback, 1% or 100bps, got '{wish.trail}'")
    if policy.trail is None:
        raise PolicyError(f"policy {policy.name} does not trail; choose one that does: --policy trailing_tp")
    return replace(policy, trail=replace(policy.trail, callback=callback, tightening=(), moves=False))


def _price(ticks: int, instrument: Instrument) -> str:
    return decimal(ticks * instrument.tick, 8)
