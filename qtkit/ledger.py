"""The ledger: what is open, what covers it, what it would cost; the same for people, scripts and notebooks.

Numbers are exact decimal text. "Covered" is only what was read back from the exchange.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from qtkit import risk
from qtkit.core.book import Book, Episode
from qtkit.core.coverage import Coverage
from qtkit.core.distance import decimal
from qtkit.core.events import Choice
from qtkit.core.ids import parse_client_order_id
from qtkit.core.model import Action, Bps, Cancel, Instrument, Key, Order, Place, Position, Snapshot
from qtkit.core.names import of_account
from qtkit.core.risk import ours, risk_of, slip_of
from qtkit.risk import FindingLine

TICKS_LATE = 3  # passes that may fail to come before a desk is called stopped
LEAST_LATE_MS = 3_000  # a pass takes its time too, however short the tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One position. ``covered`` is the percentage that our own orders close, ``gap`` the size that they leave open.

    ``orders`` are our covering orders as leg@price, ``foreign`` those of others by id; ``stop`` the price at which our own have closed
    all of it. If they fill, slippage and taker fee included, ``at_risk`` is what the equity falls by from the mark and ``lost`` what is
    lost against the entry (negative: kept); None while there is a gap. ``slip`` is the slippage in bps, the 90 % quantile of
    ``slip_fills`` fills with ``slip_median``, or assumed where that is None. ``to_liquidation`` is the way there from the mark in
    percent, None if unknown. Foreign stops that count close ``foreign_covered`` percent of it, the last at ``foreign_stop``, and
    ``foreign_at_risk`` is theirs, no part of ours. ``standing`` of the plan: own (our entry), adopted, provisional, draft. Times in ms.
    """

    key: str
    symbol: str
    position_side: str
    side: str
    size: str
    entry: str
    mark: str
    covered: str
    orders: tuple[str, ...]
    foreign: tuple[str, ...]
    gap: str
    gap_since_ms: int | None
    stop: str | None
    at_risk: str | None
    plan: str
    strategy: str
    standing: str
    faults: tuple[str, ...]
    lost: str | None = None
    slip: str = "0"
    slip_median: str | None = None
    slip_fills: int = 0
    liquidation: str | None = None
    to_liquidation: str | None = None
    foreign_covered: str = "0"
    foreign_stop: str | None = None
    foreign_at_risk: str | None = None
    findings: tuple[FindingLine, ...] = ()

    @property
    def has_gap(self) -> bool:
        """True if our own orders do not close all of it."""
        return self.gap != "0"

    @property
    def naked(self) -> bool:
        """True if nothing closes any of it, neither ours nor another's."""
        return self.covered == "0" and not self.foreign


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLine:
    """One resting order. ``owner`` is ours, foreign or another desk; ``leg`` that of our plan; ``book`` conditional or regular."""

    symbol: str
    position_side: str
    owner: str
    leg: str
    id: str
    book: str
    kind: str
    side: str
    size: str
    trigger: str | None
    price: str | None
    trigger_by: str
    reduce_only: bool
    close_position: bool
    status: str
    venue_id: str
    time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of a preview: ``do`` is create, keep, replace or cancel."""

    do: str
    key: str
    leg: str
    kind: str
    side: str
    size: str
    trigger: str | None
    id: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """An account at one reading. ``running`` tells whether its desk gave it; ``last_pass_ms`` is the last complete pass, 0 if none.

    ``access`` says which account, kind, scope and key rights were used. ``owner`` names the process that holds the account and did not
    answer. ``fault`` says why the desk's newest pass was not complete, or what it could not read or hear; ``unread_ms`` is for how long
    already. ``released`` are the symbols that the operator took out of the desk's hands for a while: their gaps are told, no finding.
    """

    account: str
    scope: str
    running: bool
    at_ms: int
    last_pass_ms: int
    tick_ms: int
    access: str = ""
    owner: str = ""
    fault: str | None = None
    unread_ms: int = 0
    released: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    orders: tuple[OrderLine, ...] = field(default=(), repr=False)

    @property
    def sentence(self) -> str:
        """How much is covered, what is wrong, and the money at risk, in plain words."""
        positions = f"{len(self.lines)} position{'' if len(self.lines) == 1 else 's'}"
        if not self.lines:
            return f"{positions}, nothing to cover"
        naked = sum(line.naked for line in self.lines)
        wrong = risk.counts(finding for line in self.lines for finding in line.findings)
        untold = sum(line.has_gap and not line.naked and not any(map(risk.is_gap, line.findings)) for line in self.lines)
        gaps = () if wrong and not untold else (f"{untold} with a gap",)
        return ", ".join((positions, f"{naked} naked", *gaps, *wrong, risk.at_risk(self.lines)))

    @property
    def outlook(self) -> str:
        """What all stops would make of the account, by which slippage, and the nearest liquidation; empty without positions."""
        return risk.outlook(self.lines)

    @property
    def has_gap(self) -> bool:
        """True if any position is not wholly covered by our own orders."""
        return any(line.has_gap for line in self.lines if line.symbol not in self.released)

    def late(self) -> str | None:
        """Why nobody can be relied on to watch, or None while a desk passes in time."""
        age_ms = self.at_ms - self.last_pass_ms
        if self.running and age_ms <= self.late_after_ms:
            return self.fault if self.unread_ms > self.late_after_ms else None
        when = f"its last complete pass was {_age(age_ms)} ago" if self.last_pass_ms else "it has never passed"
        if self.running:
            return f"the desk is late: {when}" + (f", because {self.fault}" if self.fault else "")
        if self.owner:
            return f"{self.owner} and does not answer: {when}"
        return of_account(f"no desk runs for account {self.account}: {when}; start it with `qtkit desk`", self.account)

    @property
    def late_after_ms(self) -> int:
        """Age of the last pass above which the desk is called late: three ticks, above twenty positions three of its longer ones."""
        return max(LEAST_LATE_MS, TICKS_LATE * self.tick_ms * max(1, -(-len(self.lines) // 20)))


def said_of(book: Book, account: str, now_ms: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the operator has said and still holds: the symbols released, and all of it in plain words."""
    notes, released = [], []
    for symbol in sorted(book.choices):
        choice = book.choice(symbol, now_ms)
        if choice is not None and choice.until_ms is None:
            notes.append(f"{symbol}: adopted in scope {choice.scope.value}")
        elif choice is not None:
            notes.append(f"{symbol}: {released_until(choice)}, hands off")
            released.append(symbol)
    if book.paused_ms is not None:
        notes.append(f"paused since {utc(book.paused_ms)}: nothing new is taken on; {of_account('`qtkit resume`', account)} ends it")
    return tuple(released), tuple(notes)


def released_until(choice: Choice) -> str:
    """Until when the operator has taken a symbol out of the desk's hands, and why."""
    return f"released until {utc(choice.until_ms or 0)}" + (f" ({choice.reason})" if choice.reason else "")


def utc(at_ms: int) -> str:
    """A time (ms) as people read it, to the minute."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def ledger_line(line: Coverage, episode: Episode, now_ms: int) -> dict[str, object]:
    """The fixed keys of a position's line in the log and in the heartbeat."""
    gap_s = 0.0 if episode.gap_since_ms is None else max(0, now_ms - episode.gap_since_ms) / 1000
    return {
        "key": str(line.key), "side": episode.side.name, "lots": line.needed, "covered": line.covered, "foreign": line.foreign,
        "gap": line.gap, "gap_s": round(gap_s, 3), "stop": line.stop, "plan": episode.plan.uid, "faults": list(line.faults),
    }  # fmt: skip


def lines_of(
    coverage: Iterable[Coverage], episodes: Mapping[Key, Episode], snapshots: Mapping[str, Snapshot], instruments: Mapping[str, Instrument],
    *, drafts: frozenset[Key] = frozenset(), slips: Mapping[str, Sequence[Bps]] | None = None,
) -> tuple[Line, ...]:  # fmt: skip
    """One line a position; ``drafts`` are the slots whose plan no desk has kept, ``slips`` what its stops slipped by, by symbol."""
    lines = []
    for line in sorted(coverage, key=lambda line: line.key):
        episode, snapshot = episodes.get(line.key), snapshots.get(line.key.symbol)
        position = None if snapshot is None else _position(snapshot, line.key)
        if episode is not None and snapshot is not None and position is not None:
            standing = "draft" if line.key in drafts else _standing(episode)
            history = (slips or {}).get(line.key.symbol, ())
            lines.append(_line(line, episode, position, snapshot.orders, instruments[line.key.symbol], standing, history))
    return tuple(lines)


def _line(
    line: Coverage, episode: Episode, position: Position, listed: Sequence[Order], rules: Instrument, standing: str, slips: Sequence[Bps]
) -> Line:
    mine = ours(line)
    acknowledged = (leg.order for leg in episode.legs.values() if leg.order.client_id in mine)
    by_id = {order.client_id: order for order in (*acknowledged, *listed)}  # what is listed is newer than what was asked for
    plan = episode.plan
    money = risk_of(line, position, rules, by_id.values(), slip_of(slips), floor=plan.floor, trigger_by=plan.trigger_by)
    return Line(
        key=str(line.key), symbol=line.key.symbol, position_side=line.key.position_side.value, side=position.side.name,
        size=decimal(line.needed * rules.lot, 8), entry=decimal(position.entry, 8), mark=decimal(position.mark, 8),
        covered=decimal(line.covered * 10_000 // line.needed, 2),
        orders=tuple(_at(client_id, by_id, rules) for client_id in line.orders), foreign=line.foreign_orders,
        gap=decimal(line.gap * rules.lot, 8), gap_since_ms=episode.gap_since_ms if line.gap else None,
        stop=None if line.stop is None else _price(line.stop, rules),
        plan=plan.uid, strategy=plan.strategy_id, standing=standing, faults=line.faults, **risk.figures(money, line, rules),
    )  # fmt: skip


def _position(snapshot: Snapshot, key: Key) -> Position | None:
    return next((p for p in snapshot.positions if p.position_side is key.position_side), None)


def _standing(episode: Episode) -> str:
    return "provisional" if episode.plan.provisional else "own" if episode.own else "adopted"


def _at(client_id: str, by_id: Mapping[str, Order], rules: Instrument) -> str:
    """``s0@93400``: leg and trigger of one of our orders, also of one that is acknowledged and not listed yet."""
    parsed, order = parse_client_order_id(client_id), by_id.get(client_id)
    trigger = "?" if order is None or order.trigger is None else _price(order.trigger, rules)
    return f"{parsed[1] if parsed else '?'}@{trigger}"


def orders_of(snapshots: Mapping[str, Snapshot], instruments: Mapping[str, Instrument], tag: str) -> tuple[OrderLine, ...]:
    """Every resting order of both books, ours and foreign."""
    return tuple(
        _order(order, instruments[symbol], tag)
        for symbol, snapshot in sorted(snapshots.items())
        for order in sorted(snapshot.orders, key=lambda order: (order.position_side.value, order.client_id))
    )


def _order(order: Order, rules: Instrument, tag: str) -> OrderLine:
    parsed = parse_client_order_id(order.client_id)
    return OrderLine(
        symbol=order.symbol, position_side=order.position_side.value,
        owner="foreign" if parsed is None else "ours" if parsed[0] == tag else "another desk", leg=parsed[1] if parsed else "",
        id=order.client_id, book="conditional" if order.kind.conditional else "regular", kind=order.kind.value, side=order.side.value,
        size=_size(order, rules), trigger=None if order.trigger is None else _price(order.trigger, rules),
        price=None if order.price is None else _price(order.price, rules), trigger_by=order.trigger_by.value,
        reduce_only=order.reduce_only, close_position=order.close_position, status=order.status.value, venue_id=order.venue_id,
        time_ms=order.time_ms,
    )  # fmt: skip


def steps_of(
    actions: Iterable[Action], book: Book, snapshots: Mapping[str, Snapshot], instruments: Mapping[str, Instrument], tag: str
) -> tuple[Step, ...]:
    """The next pass order by order: what is created, kept, replaced (a new order for a leg that rests) and cancelled."""
    cancelled = {action.order.client_id for action in actions if isinstance(action, Cancel)}
    placed = {(action.key.symbol, action.key.position_side, action.leg) for action in actions if isinstance(action, Place)}
    resting = [
        ((order.symbol, order.position_side, parsed[1]), order)
        for _, snapshot in sorted(snapshots.items())
        for order in sorted(snapshot.orders, key=lambda order: order.client_id)
        if (parsed := parse_client_order_id(order.client_id)) is not None and parsed[0] == tag
    ]
    steps = []
    for action in actions:
        if isinstance(action, Place):
            old = any(leg == (action.key.symbol, action.key.position_side, action.leg) for leg, _ in resting)
            steps.append(_step("replace" if old else "create", action.key, action.order, action.reason, instruments))
        elif isinstance(action, Cancel):
            steps.append(_step("cancel", action.key, action.order, action.reason, instruments))
    keys = {(key.symbol, key.position_side): key for key in book.episodes}
    for leg, order in resting:
        key = keys.get(leg[:2])
        if key is not None and order.client_id not in cancelled:
            why = "until the new one is read back" if leg in placed else "as planned"
            why = why if _position(snapshots[key.symbol], key) is not None else "until it is sure that the position is flat"
            steps.append(_step("keep", key, order, why, instruments))
    return tuple(steps)


def _step(do: str, key: Key, order: Order, why: str, instruments: Mapping[str, Instrument]) -> Step:
    rules, parsed = instruments[key.symbol], parse_client_order_id(order.client_id)
    return Step(
        do=do, key=str(key), leg=parsed[1] if parsed else "", kind=order.kind.value, side=order.side.value, size=_size(order, rules),
        trigger=None if order.trigger is None else _price(order.trigger, rules), id=order.client_id, why=why,
    )  # fmt: skip


def _size(order: Order, rules: Instrument) -> str:
    return "all" if order.close_position else decimal(order.lots * rules.lot, 8)


def _price(ticks: int, rules: Instrument) -> str:
    return decimal(ticks * rules.tick, 8)


def _age(ms: int) -> str:
    seconds = max(0, ms) // 1000
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7_200 else f"{seconds // 3600} h"


def money(text: str | None) -> str:
    """Exact decimal text as people read money: two places, thousands apart."""
    return "" if text is None else f"{Decimal(text):,.2f}"
