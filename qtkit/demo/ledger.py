"""The printed ledger and the promises, judged by the exchange's own books and nothing else."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from qtkit.core.model import ONE
from qtkit.demo.process import Life
from qtkit.demo.record import slot_name
from qtkit.demo.stage import Stage
from qtkit.demo.story import Story
from qtkit.paper.meter import LedgerLine, Promise
from qtkit.venue.budget import WEIGHT_A_MINUTE

PASSES = 2  # within which a position is adopted and covered


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One position of the ledger. Seconds are the exchange's; ``exposed_ms`` (wall) is how long a running desk let it stand bare."""

    position: str
    side: str
    opened_by: str
    state: str
    naked_s: float
    exposed_ms: int
    gaps: int
    gap_s: float
    worst_gap_s: float
    loosened: int
    market_closes: int
    at_stops: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Rows, promises and figures of one performance."""

    rows: tuple[Row, ...]
    promises: tuple[Promise, ...]
    figures: dict[str, Any]

    @property
    def held(self) -> bool:
        """True if every promise was kept."""
        return all(promise.held for promise in self.promises)

    def to_dict(self) -> dict[str, Any]:
        """The ledger as JSON; money is exact text."""
        rows = [{name: _plain(getattr(row, name)) for name in Row.__dataclass_fields__} for row in self.rows]
        promises = [{"name": promise.name, "held": promise.held, "evidence": promise.evidence} for promise in self.promises]
        return {"held": self.held, "positions": rows, "promises": promises, **self.figures}


def drawn_up(story: Story) -> Ledger:
    """The ledger of a performance as it stands."""
    stage, lines = story.stage, story.stage.lines()
    rows = tuple(_row(line, stage.desk.lives) for line in lines)
    promises = (
        _ran(story),
        _adopted(rows, stage.desk.lives, int(PASSES * stage.wish.tick * 1000)),
        _no_gap(lines, rows),
        _kills(story),
        _monotone(lines),
        _nothing_traded(lines),
        _untouched(stage),
        _covered(lines),
        _second_judge(story, lines),
        _budget(stage),
    )
    lost = sum((row.at_stops for row in rows if row.at_stops is not None), Decimal(0))
    figures = {
        "lost_if_all_stops_filled": f"{-lost:.2f}",
        "foreign_orders_touched": len(stage.meter.foreign_touched),
        "worst_gap_s": max((row.worst_gap_s for row in rows), default=0.0),
        "kills": [sprung.evidence for sprung in story.kills],
        "stretches": [
            {"from_ms": s.from_ms, "speed": s.speed, "wall_s": s.wall_ms / 1000, "exchange_s": s.exchange_ms / 1000}
            for s in stage.pump.stretches
        ],
        "weight_by_path": _weights(stage),
        "tape": list(stage.cast.tape.describe()),
        "home": str(stage.home),
    }
    return Ledger(rows=rows, promises=promises, figures=figures)


def exposed_ms(line: LedgerLine, lives: Iterable[Life], now_ms: int) -> int:
    """Wall time that the position stood without full cover before its first cover while a desk ran, counted from that desk's first pass."""
    until = line.covered_wall_ms
    if until is None:
        until = line.opened_wall_ms + line.adoption_wall_ms
    spans = ((life.first_pass_ms, now_ms if life.ended_ms is None else life.ended_ms) for life in lives if life.first_pass_ms is not None)
    return sum(max(0, min(until, end) - max(line.opened_wall_ms, begun)) for begun, end in spans)


def _row(line: LedgerLine, lives: list[Life]) -> Row:
    done = "liquidated" if line.liquidated else "closed" if line.closed_ms is not None else "open"
    loss = line.standing.loss if line.closed_ms is None else None
    number = f" #{line.episode}" if line.episode > 1 else ""
    return Row(
        position=slot_name(line.key.symbol, line.key.position_side) + number,
        side=line.side.name.lower(),
        opened_by="desk" if line.ours else "stranger",
        state=done,
        naked_s=line.adoption_ms / 1000,
        exposed_ms=exposed_ms(line, lives, line.opened_wall_ms + line.adoption_wall_ms),
        gaps=line.gaps,
        gap_s=line.gap_ms / 1000,
        worst_gap_s=line.worst_gap_ms / 1000,
        loosened=line.loosened,
        market_closes=line.market_closes,
        at_stops=None if loss is None else Decimal(-loss) / ONE,
    )


def _promise(name: str, evidence: str, broken: Iterable[str] = ()) -> Promise:
    faults = list(broken)
    return Promise(name=name, held=not faults, evidence=f"{evidence}; broken by {', '.join(faults)}" if faults else evidence)


def _ran(story: Story) -> Promise:
    faults = [story.broken] if story.broken else []
    if story.exit not in (0, None):
        faults.append(f"the desk ended with status {story.exit}")
    return _promise("the play was played to its end", f"{len(story.stage.desk.lives)} lives of the desk", faults)


def _adopted(rows: tuple[Row, ...], lives: Iterable[Life], within_ms: int) -> Promise:
    slowest = max((row.exposed_ms for row in rows), default=0)
    late = [f"{row.position} ({row.exposed_ms} ms)" for row in rows if row.exposed_ms > within_ms]
    late += [] if rows else ["no position"]
    starts = ", ".join(
        "never" if life.first_pass_ms is None else f"{(life.first_pass_ms - life.started_ms) / 1000:.1f} s" for life in lives
    )
    return _promise(
        f"every position covered within two passes ({within_ms / 1000:g} s) of a running desk",
        f"{len(rows)} positions, the slowest after {slowest / 1000:.2f} s, counted from the first pass; it began {starts} after the start",
        late,
    )


def _no_gap(lines: Iterable[LedgerLine], rows: tuple[Row, ...]) -> Promise:
    broken = [f"{row.position} ({row.gaps} gaps, worst {row.worst_gap_s:g} s)" for row in rows if row.gaps]
    covered = sum(line.covered_wall_ms is not None for line in lines)
    return _promise(
        "no gap after the first cover, through both kills", f"{covered} positions covered once, 0 s without cover afterwards", broken
    )


def _kills(story: Story) -> Promise:
    missing = [] if len(story.kills) == 2 else [f"{2 - len(story.kills)} kills missing"]
    return _promise("killed twice at the worst moment", "; ".join(sprung.evidence for sprung in story.kills) or "no kill", missing)


def _monotone(lines: tuple[LedgerLine, ...]) -> Promise:
    return _promise("no stop was ever loosened", f"{len(lines)} positions", [str(line.key) for line in lines if line.loosened])


def _nothing_traded(lines: tuple[LedgerLine, ...]) -> Promise:
    traded = [f"{line.key} ({line.trades_before_cover} fills)" for line in lines if line.trades_before_cover]
    strange = sum(not line.ours for line in lines)
    return _promise("adoption traded nothing", f"{strange} positions taken over, 0 own fills before their cover", traded)


def _untouched(stage: Stage) -> Promise:
    """The meter's suspicion, and what the stranger's orders are now: resting, or ended by the exchange itself with their position."""
    states = {row.client_id: row.status.value for row in stage.account.orders.values()}
    states |= {row.client_id: row.status.value for row in stage.account.algos.values()}
    states = {client_id: states[client_id] for client_id in stage.stranger.orders}
    told = ", ".join(f"{client_id} {state if state != 'EXPIRED' else 'EXPIRED with its position'}" for client_id, state in states.items())
    broken = [*stage.meter.foreign_touched, *(client_id for client_id, state in states.items() if state == "CANCELED")]
    return _promise("foreign orders were not touched", f"{len(states)} left by the stranger: {told or 'none'}", broken)


def _covered(lines: tuple[LedgerLine, ...]) -> Promise:
    open_ = [line for line in lines if line.closed_ms is None]
    broken = [str(line.key) for line in open_ if not line.covered] + [f"{line.key} liquidated" for line in lines if line.liquidated]
    return _promise("every open position is covered, none was liquidated", f"{len(open_)} of {len(lines)} still open", broken)


def _second_judge(story: Story, lines: tuple[LedgerLine, ...]) -> Promise:
    open_ = {line.key for line in lines if line.closed_ms is None}
    broken = [f"{result.key} ({'liquidated' if result.liquidated else 'not flat'})" for result in story.sweeps if not result.held]
    broken += [f"{key} not judged" for key in open_ - {result.key for result in story.sweeps}]
    worst = max((result.loss for result in story.sweeps), default=0)
    return _promise(
        "each market walked against its positions: all flat before liquidation",
        f"{len(story.sweeps)} positions, the largest loss on the way out {max(0, worst) / ONE:.2f} USDT",
        broken,
    )


def _budget(stage: Stage) -> Promise:
    requests = stage.server.requests
    minutes = {row.at_ms // 60_000 for row in requests}
    peak = max((stage.server.weight_used(minute) for minute in minutes), default=0)
    refused = [f"{row.path} {row.status}" for row in requests if row.status in (418, 429)]
    return _promise(
        "requests stayed within the exchange's limits",
        f"{len(requests)} requests, at most {peak} of {WEIGHT_A_MINUTE} weight a minute",
        refused,
    )


def _weights(stage: Stage) -> dict[str, int]:
    """Request weight of the whole performance by path, the heaviest first."""
    spent: Counter[str] = Counter()
    for row in stage.server.requests:
        spent[row.path] += row.weight
    return dict(spent.most_common())


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value
