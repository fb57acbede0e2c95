"""Hindsight: what a desk that only watched would have done, what that would have cost or saved, and what nobody can know.

Numbers are exact decimal text; money is the quote coin's, profit positive. The same for people, scripts and notebooks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

SHOWN = 6  # moves of a stop that are told in words; all of them are in the data
RECOMMENDED_MS = 48 * 3_600_000  # the step "watch" of the road to live


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The working stop would have moved to ``stop``, because of ``why``: break-even, stage n, trail, liquidation, the operator."""

    at_ms: int
    stop: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """An order of ours would have been filled: its leg, its trigger ``level`` (None: at the market), the price with slippage, the fee.

    ``why`` is what its level came from: initial stop, break-even, stage n, trail, target n, floor, or why it was closed at the market.
    """

    at_ms: int
    leg: str
    level: str | None
    price: str
    size: str
    fee: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deal:
    """The trader added (positive) or took away: by how much, and the last price when that was read."""

    at_ms: int
    size: str
    price: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """A time of which the tape has nothing: of the whole account, or where ``symbol`` is not empty, of its ``what``."""

    from_ms: int
    to_ms: int
    symbol: str
    what: str

    @property
    def lasted_ms(self) -> int:
        """How long nothing was seen."""
        return self.to_ms - self.from_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One position from when it was first seen: its plan, what would have happened, what did.

    ``first_ms`` is when the desk first saw it; of one that was open when the window began is told from ``told_ms`` on, with its stop where
    it stood. ``size`` and ``entry`` are as they were then; ``stop``, ``floor`` and ``targets`` as planned; ``resting`` what would rest at
    the end as leg@level. ``left`` is the size that would still be open, ``held`` what is, at ``price``, or was at the end. ``did`` is the
    profit as it happened and ``would`` as it would have been, both against the entry, open sizes at ``price``; ``saved`` is ``would``
    less ``did`` and ``saved_r`` the same in the money between entry and planned stop. All four are None where ``unknown`` says why.
    """

    key: str
    symbol: str
    position_side: str
    side: str
    size: str
    entry: str
    first_ms: int
    told_ms: int
    last_ms: int
    plan: str
    strategy: str
    stop: str
    floor: str
    targets: tuple[str, ...]
    moves: tuple[Move, ...]
    fills: tuple[Fill, ...]
    deals: tuple[Deal, ...]
    resting: tuple[str, ...]
    left: str
    held: str
    price: str
    slip: str
    slip_fills: int
    slip_assumed: bool
    would: str | None
    did: str | None
    saved: str | None
    saved_r: str | None
    unknown: str = ""

    @property
    def known(self) -> bool:
        """True if what would have happened can be told."""
        return not self.unknown

    @property
    def stopped(self) -> bool:
        """True if a stop would have fired."""
        return self.known and any(fill.leg[0] in "fsx" for fill in self.fills)

    @property
    def verdict(self) -> str:
        """``would have saved 312.40``, ``would have cost 41.20``, or what else is to be said."""
        if self.saved is None:
            return "not known"
        if not self.fills:
            return "nothing would have been filled"
        return f"would have {'cost' if Decimal(self.saved) < 0 else 'saved'} {abs(Decimal(self.saved)):,.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindsight:
    """An account over a window. ``watched_ms`` is for how long passes came; ``acted`` are scopes other than watch that the desk was in,
    ``unplanned`` positions that no desk had a plan for, ``asked_ms`` is how far back was asked for.
    """

    account: str
    since_ms: int
    until_ms: int
    watched_ms: int
    holes: tuple[Hole, ...]
    outcomes: tuple[Outcome, ...]
    acted: tuple[str, ...] = ()
    unplanned: tuple[str, ...] = ()
    asked_ms: int = RECOMMENDED_MS

    @property
    def holes_ms(self) -> int:
        """For how long nothing of the account was seen between two passes."""
        return sum(hole.lasted_ms for hole in self.holes if not hole.symbol)

    @property
    def short_ms(self) -> int:
        """How much is left to the recommended 48 hours; 0 if nothing is, or if less was asked for."""
        return max(0, RECOMMENDED_MS - self.watched_ms) if self.asked_ms >= RECOMMENDED_MS else 0

    @property
    def sentence(self) -> str:
        """Positions, stops that would have fired, saved, cost, net."""
        known = [it for it in self.outcomes if it.known]
        saved, cost = _sum(known, 1), _sum(known, -1)
        said = [f"{_count(len(self.outcomes), 'position')}", f"{_count(sum(it.stopped for it in known), 'stop')} would have fired"]
        said += [f"saved {saved:,.2f}, cost {-cost:,.2f}, net {saved + cost:+,.2f} USDT"] if known else []
        unknown = len(self.outcomes) - len(known)
        return ", ".join(said) + (f"; {unknown} not known and not counted" if unknown else "")

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known with it: how fills were priced, holes, scopes, what had no plan."""
        said = [slip] if (slip := _slippage(self.outcomes)) else []
        said += [
            f"hole: {_when(h.from_ms)} to {_when(h.to_ms)}, {hours(h.lasted_ms)}: {h.symbol + ': ' if h.symbol else ''}{h.what}"
            for h in self.holes
        ]
        if self.acted:
            said.append(
                f"the desk was in scope {' and '.join(self.acted)} for a part of it: what its own orders did counts as what happened"
            )
        return (*said, *(f"{key}: no desk had a plan for it, so nothing can be said" for key in self.unplanned))

    @property
    def watched(self) -> str:
        """For how long it was watched, of which how much is holes, and what is left to the recommended 48 hours."""
        holes = f", {hours(self.holes_ms)} of holes" if self.holes_ms else ", without a hole"
        left = f"; {hours(self.short_ms)} left to the recommended {RECOMMENDED_MS // 3_600_000} h" if self.short_ms else ""
        between = f"between {_when(self.since_ms)} and {_when(self.until_ms)} UTC"
        return f"watched for {hours(self.watched_ms)} {between}{holes}{left}"


def _sum(them: Iterable[Outcome], sign: int) -> Decimal:
    return sum((money for it in them if sign * (money := Decimal(it.saved or 0)) > 0), Decimal(0))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def hours(ms: int) -> str:
    """``47 h 58 min``, ``3 min 20 s``: a length of time as people say it."""
    seconds = round(ms / 1000)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min" + (f" {seconds} s" if seconds else "")
    whole, minutes = divmod(minutes, 60)
    return f"{whole} h" + (f" {minutes} min" if minutes else "")


def _slippage(outcomes: Sequence[Outcome]) -> str:
    """How the price of a fill was found, empty where nothing would have been filled."""
    filled = {it.symbol: it for it in outcomes if it.fills}
    measured = sorted(symbol for symbol, it in filled.items() if not it.slip_assumed)
    said = [f"{filled[symbol].slip} bps on {symbol} ({filled[symbol].slip_fills} fills of the desk)" for symbol in measured]
    assumed = next((it.slip for it in filled.values() if it.slip_assumed), None)
    said += [f"{assumed} bps assumed{' on the others' if measured else ''}"] if assumed is not None else []
    if not said:
        return ""
    return f"fills are taken at the last price less slippage ({', '.join(said)}), with taker fees; what is open counts at the last price"


def _when(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%m-%d %H:%M:%S}"


def in_words(it: Outcome) -> tuple[str, ...]:
    """One position: what was planned, what would have happened, what did, and the difference; a line each."""
    slot = "" if it.position_side == "BOTH" else f":{it.position_side}"
    planned = f"{it.strategy}: stop {it.stop}, floor {it.floor}" + (f", targets {' '.join(it.targets)}" if it.targets else "")
    later = f", told from {_when(it.told_ms)} on" if it.told_ms != it.first_ms else ""
    said = [f"{it.symbol}{slot} {it.side} {it.size} at {it.entry}, first seen {_when(it.first_ms)}{later}; {planned}"]
    if it.moves:
        said.append(f"  stop path: {', '.join(_path(it.moves))}")
    would = [f"{_when(f.at_ms)} {_at(f)} {f.size} filled at {f.price} ({f.why})" for f in it.fills]
    if it.left != "0":
        would.append(f"{it.left} open behind {' '.join(it.resting) or 'nothing: no order would rest'}")
    said.append(f"  would have: {'; '.join(would) or 'nothing'}")
    did = [f"{_when(d.at_ms)} {'added' if d.size[0] != '-' else 'took away'} {d.size.lstrip('-')} at {d.price}" for d in it.deals]
    did += [f"{it.held} open at {it.price}"] if it.held != "0" else []
    said.append(f"  did: {'; '.join(did) or 'nothing'}")
    if it.unknown:
        return (*said, f"  not known: {it.unknown}")
    r = f" ({Decimal(it.saved_r):+.2f} R)" if it.saved_r is not None and it.fills else ""
    return (*said, f"  {it.verdict}{' USDT' if it.fills else ''}{r}")


def _path(moves: Sequence[Move]) -> list[str]:
    """The moves of a stop, of a long path its ends."""
    told = [f"{_when(move.at_ms)} {move.stop} {move.why}" for move in moves]
    return told if len(told) <= SHOWN else [*told[: SHOWN // 2], f"{len(told) - SHOWN} more", *told[-(SHOWN // 2) :]]


def _at(fill: Fill) -> str:
    return fill.leg if fill.level is None else f"{fill.leg}@{fill.level}"
