"""The course of one position: as it went, as it would have gone, and the money between the two.

What the trader does happens in both: an add adds to both, a reduction reduces both as far as there is something left. So what differs
is only what our orders would have closed and the trader still had; it is counted until the trader closes that too, or to the last price.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from qtkit.core import arithmetic
from qtkit.core.distance import decimal
from qtkit.core.events import EpisodeClosed, EpisodeOpened, Event
from qtkit.core.matching import fee, notional
from qtkit.core.model import E8, Instrument, Key, Lots, Order, Position
from qtkit.core.plan import ExitPlan
from qtkit.core.risk import slip_of
from qtkit.core.trail import TrailState
from qtkit.hindsight import Deal, Fill, Move, Outcome
from qtkit.shadow import Filled
from qtkit.store.journal import Row

ANEW = ("plan invalidated", "planned anew")  # an episode that ends so goes on under another plan


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan of a position from a time on; ``anew``: of the same position as before."""

    at_ms: int
    plan: ExitPlan
    anew: bool


@dataclass(slots=True)
class Course:
    """One position while its tape is told again. Sizes in lots, money E8.

    ``real`` is what the trader holds, ``shadow`` what would be held; ``apart`` of the difference is what our orders would have closed,
    ``aside`` what the trader added after they had closed all: a position of its own, of which nothing is said. ``plan`` is the first
    plan, ``present`` the one in force.
    """

    key: Key
    plan: ExitPlan
    present: ExitPlan
    rules: Instrument
    first_ms: int
    told_ms: int
    read_ms: int
    real: Position | None = None
    first: Position | None = None
    shadow: Lots = Lots(0)
    entry: E8 = E8(0)
    apart: int = 0
    aside: int = 0
    saved: int = 0
    did: int = 0
    last_ms: int = 0
    unknown: str = ""
    moves: list[tuple[Move, int]] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    deals: list[Deal] = field(default_factory=list)

    @property
    def held(self) -> int:
        """Lots that the trader holds."""
        return 0 if self.real is None else self.real.lots

    def in_doubt(self, why: str) -> None:
        """What would have happened cannot be told; the first reason counts."""
        self.unknown = self.unknown or why

    @property
    def out(self) -> bool:
        """True if our orders would have closed all of it."""
        return bool(self.fills) and not self.shadow

    # -- what did happen

    def added_to(self, now: Position, price: E8) -> bool:
        """True if the entry price tells rather of an add than of a position that was closed and opened again at about this price."""
        before = self.real
        if before is None or before.side is not now.side or now.lots <= before.lots:
            return False
        paid = (now.lots * now.entry - before.lots * before.entry) // (now.lots - before.lots)
        return abs(paid - price) < abs(now.entry - price)

    def read(self, position: Position | None, price: E8, at_ms: int) -> Position | None:
        """The position was read: what has changed, the trader did. Gives the position as it would be."""
        before, now = self.real, position
        added = (now.lots if now else 0) - self.held
        if added and before is not None:
            self.deals.append(Deal(at_ms=at_ms, size=decimal(added * self.rules.lot, 8), price=decimal(price, 8)))
        if added > 0 and now is not None:
            self._added(before, now, added)
        elif before is not None and added < 0:
            self._reduced(before, -added, price)
        elif before is not None and now is not None and self.shadow == self.held:
            self.entry = now.entry
        self.real, self.first = now, self.first or now
        self.read_ms = self.last_ms = at_ms
        return replace(now, lots=self.shadow, entry=self.entry) if now is not None and self.shadow else None

    def _added(self, before: Position | None, now: Position, added: int) -> None:
        if before is not None and self.out:
            self.aside += added
            return
        paid = now.lots * now.entry - (before.lots * before.entry if before else 0)
        self.entry = E8((self.shadow * self.entry + paid) // (self.shadow + added))
        self.shadow = Lots(self.shadow + added)

    def _reduced(self, before: Position, lots: int, price: E8) -> None:
        self.did += self._worth(lots, price - before.entry) - self._fee(lots, price)
        for name in ("aside", "shadow", "apart"):
            part = min(lots, getattr(self, name))
            setattr(self, name, getattr(self, name) - part)
            lots -= part
            if name == "apart":
                self.saved -= self._worth(part, price) - self._fee(part, price)

    # -- what would have happened

    def moved(self, before: TrailState, after: TrailState, why: str, at_ms: int) -> None:
        """The working stop would have moved."""
        cause = why if why in ("liquidation", "set by the operator") else cause_of(self.present, before, after)
        self.moves.append((Move(at_ms=at_ms, stop=self._level(after.stop), why=cause), after.stop))

    def filled(self, it: Filled, leg: str, why: str) -> None:
        """An order of ours would have been filled."""
        self.shadow, self.apart = Lots(self.shadow - it.lots), self.apart + it.lots
        self.saved += self._worth(it.lots, it.price) - it.fee
        level = it.order.trigger
        self.fills.append(
            Fill(
                at_ms=it.at_ms, leg=leg, level=None if level is None else self._level(level), price=decimal(it.price, 8),
                size=decimal(it.lots * self.rules.lot, 8), fee=decimal(it.fee, 8), why=why or self._why(leg, level),
            )
        )  # fmt: skip

    def _why(self, leg: str, level: int | None) -> str:
        if leg[0] == "t":
            return f"target {leg[1:]}"
        if leg[0] == "f":
            return "floor"
        return next((move.why for move, stop in reversed(self.moves) if stop == level), "initial stop")

    # -- money

    def _worth(self, lots: int, price: int) -> int:
        return self.plan.side.sign * notional(price, lots * self.rules.lot)

    def _fee(self, lots: int, price: int) -> int:
        return fee(notional(price, lots * self.rules.lot), self.rules.taker_fee)

    def _level(self, ticks: int) -> str:
        return decimal(ticks * self.rules.tick, 8)

    # -- what is told

    def outcome(self, price: E8, resting: Iterable[tuple[str, Order]], slips: tuple[int, ...]) -> Outcome:
        """All of it, open sizes valued at ``price``."""
        plan, rules, first, slip = self.plan, self.rules, self.first, slip_of(slips)  # type: ignore[arg-type]
        assert first is not None
        saved = self.saved - self._worth(self.apart, price)
        did = self.did + (self._worth(self.real.lots, price - self.real.entry) if self.real else 0)
        risked = notional(abs(first.entry - plan.stop * rules.tick), first.lots * rules.lot)
        known = not self.unknown
        return Outcome(
            key=str(self.key), symbol=self.key.symbol, position_side=self.key.position_side.value, side=plan.side.name,
            size=decimal(first.lots * rules.lot, 8), entry=decimal(first.entry, 8),
            first_ms=self.first_ms, told_ms=self.told_ms, last_ms=self.last_ms,
            plan=plan.uid, strategy=plan.strategy_id, stop=self._level(plan.stop), floor=self._level(plan.floor),
            targets=tuple(f"{decimal(target.share, 2)} %@{self._level(target.price)}" for target in plan.targets),
            moves=tuple(move for move, _ in self.moves), fills=tuple(self.fills), deals=tuple(self.deals),
            resting=tuple(f"{leg}@{self._level(order.trigger)}" for leg, order in resting if order.trigger is not None),
            left=decimal(self.shadow * rules.lot, 8), held=decimal(self.held * rules.lot, 8), price=decimal(price, 8),
            slip=str(slip.used), slip_fills=slip.fills, slip_assumed=slip.median is None,
            would=decimal(did + saved, 8) if known else None, did=decimal(did, 8) if known else None,
            saved=decimal(saved, 8) if known else None,
            saved_r=decimal(saved * 100 // risked, 2) if known and risked else None, unknown=self.unknown,
        )  # fmt: skip


def cause_of(plan: ExitPlan, before: TrailState, after: TrailState) -> str:
    """What moved the stop from one state of the trail to the next: a stage, break-even or the trail."""
    sign = plan.side.sign
    for number in range(after.stage, before.stage, -1):
        if plan.stages[number - 1].to == after.stop:
            return "break-even" if after.stop == plan.break_even else f"stage {number}"
    if after.stop == plan.break_even and plan.break_even_after is not None:
        return "break-even"
    return "trail" if arithmetic.improves(sign, before.stop, after.stop) else "a tighter stop rests"


def plans_of(rows: Iterable[Row[Event]]) -> dict[Key, list[Planned]]:
    """Every plan that the desk had, by position."""
    plans: dict[Key, list[Planned]] = {}
    anew: set[Key] = set()
    for row in rows:
        event = row.event
        if isinstance(event, EpisodeClosed):
            (anew.add if event.reason.startswith(ANEW) else anew.discard)(event.key)
        elif isinstance(event, EpisodeOpened):
            key = event.plan.key
            plans.setdefault(key, []).append(Planned(event.at_ms, event.plan, key in anew))
            anew.discard(key)
    return plans
