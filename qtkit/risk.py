"""Money at risk as people and scripts read it: figures and findings of a position's ledger line, and what they add up to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from qtkit.core.coverage import Coverage
from qtkit.core.distance import decimal
from qtkit.core.ids import parse_client_order_id
from qtkit.core.model import Instrument, Order, OrderKind, TriggerBy
from qtkit.core.risk import LEAST, Exit, Finding, Risk, Wrong

if TYPE_CHECKING:
    from qtkit.ledger import Line

NAMED = 3  # symbols whose slippage is told in the outlook; each line of the ledger has its own
_PRICE = {TriggerBy.MARK: "mark price", TriggerBy.LAST: "last price"}
_OF_COVER = (Wrong.NAKED, Wrong.FOREIGN_ALONE, Wrong.TOO_SMALL)  # said of the position, not of one order
_OF_STOPS = tuple(wrong for wrong in Wrong if wrong not in (Wrong.NAKED, Wrong.FOREIGN_ALONE, Wrong.NO_COVER))


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingLine:
    """One thing that is wrong with the stops of a position, told by ``says``.

    ``wrong`` is one of naked, foreign_alone, too_small, beyond, wrong_side, wrong_trigger, protected, loose, no_cover; ``short`` the
    percentage of the position that the stops are too small by; ``order`` the client id of the order it is about, empty if it is the cover.
    """

    wrong: str
    foreign: bool
    short: str
    order: str
    says: str


def figures(it: Risk, cover: Coverage, rules: Instrument) -> dict[str, Any]:
    """What a ledger line says of the money, the way to liquidation, foreign cover and the findings."""
    slip, own, foreign = it.slip, it.bounded, it.foreign
    return {
        "at_risk": None if own is None else decimal(own.from_mark, 8),
        "lost": None if own is None else decimal(own.from_entry, 8),
        "slip": str(slip.used),
        "slip_median": None if slip.median is None else str(slip.median),
        "slip_fills": slip.fills,
        "liquidation": None if it.liquidation is None else decimal(it.liquidation, 8),
        "to_liquidation": None if it.away is None else decimal(it.away, 2),
        "foreign_covered": decimal(cover.foreign * 10_000 // cover.needed, 2),
        "foreign_stop": None if foreign is None else _level(foreign, rules),
        "foreign_at_risk": None if foreign is None else decimal(foreign.from_mark, 8),
        "findings": tuple(_finding(row, it, cover, rules) for row in it.findings),
    }


def _finding(row: Finding, it: Risk, cover: Coverage, rules: Instrument) -> FindingLine:
    says = _of_cover(row, it, cover, rules) if row.order is None else f"{_name(row.order, row, rules)}: {_fault(row, row.order, it)}"
    return FindingLine(
        wrong=row.wrong.name.lower(), foreign=row.foreign, short=decimal(row.short, 2),
        order="" if row.order is None else row.order.client_id, says=says,
    )  # fmt: skip


def _of_cover(row: Finding, it: Risk, cover: Coverage, rules: Instrument) -> str:
    if row.wrong is Wrong.NAKED:
        where = "" if it.liquidation is None else f" before liquidation at {decimal(it.liquidation, 8)}, {decimal(it.away or 0, 2)} % away"
        return f"naked: nothing closes any of it{where}"
    if row.wrong is Wrong.FOREIGN_ALONE:
        return "foreign stops alone close it" + ("" if it.foreign is None else f", the last of it at {_level(it.foreign, rules)}")
    closed = cover.foreign if row.foreign else cover.covered
    whose, left = "foreign stops" if row.foreign else "our stops", decimal((cover.needed - closed) * rules.lot, 8)
    beside = f"; foreign stops close {decimal(cover.foreign * 10_000 // cover.needed, 2)} %" if cover.foreign and not row.foreign else ""
    closes = f"{whose} close {decimal(closed * 10_000 // cover.needed, 2)} % of it"
    return f"{closes}: {decimal(row.short, 2)} % too small, {left} stays open{beside}"


def _name(order: Order, row: Finding, rules: Instrument) -> str:
    """``our stop s0@95.2 (0.5)`` or ``foreign stop web_1@95.2 (all)``."""
    parsed = None if row.foreign else parse_client_order_id(order.client_id)
    name = parsed[1] if parsed else order.client_id
    at = "" if order.trigger is None else f"@{decimal(order.trigger * rules.tick, 8)}"
    size = "all" if order.close_position else decimal(order.remaining * rules.lot, 8)
    return f"{'foreign' if row.foreign else 'our'} stop {name}{at} ({size})"


def _fault(row: Finding, order: Order, it: Risk) -> str:
    if row.wrong is Wrong.BEYOND:
        return f"beyond liquidation at {decimal(it.liquidation or 0, 8)}, or too near it"
    if row.wrong is Wrong.WRONG_TRIGGER:
        meant = "while liquidation goes by the mark price" if row.foreign else f"its plan on the {_PRICE[_other(order.trigger_by)]}"
        return f"triggers on the {_PRICE[order.trigger_by]}, {meant}"
    if row.wrong is Wrong.WRONG_SIDE:
        return f"on the wrong side: {order.side.value} closes nothing here"
    if order.kind is OrderKind.STOP:
        return "a stop-limit order may not fill, so it does not count"
    return row.why


def _other(price: TriggerBy) -> TriggerBy:
    return TriggerBy.LAST if price is TriggerBy.MARK else TriggerBy.MARK


def _level(way_out: Exit, rules: Instrument) -> str:
    return decimal(way_out.level * rules.tick, 8)


def counts(findings: Iterable[FindingLine]) -> tuple[str, ...]:
    """What is wrong on an account, worst first: ``1 stop 40 % too small``, ``2 beyond liquidation (foreign)``. Not what is naked."""
    by_kind: dict[str, list[FindingLine]] = {}
    for row in findings:
        by_kind.setdefault(row.wrong, []).append(row)
    said = []
    if alone := by_kind.pop("foreign_alone", None):
        said.append(f"{len(alone)} {Wrong.FOREIGN_ALONE.value}")
    noun = "stop"  # said of the first of them, meant of all
    for wrong in _OF_STOPS:
        if them := by_kind.get(wrong.name.lower()):
            noun = f" {noun}{'' if len(them) == 1 else 's'}" if noun else ""
            said.append(f"{len(them)}{noun} {_short(them) if wrong is Wrong.TOO_SMALL else wrong.value}{_whose(them)}")
            noun = ""
    return tuple(said)


def _short(them: Sequence[FindingLine]) -> str:
    worst = max(Decimal(row.short) for row in them).to_integral_value(ROUND_CEILING)
    return f"{worst} % too small" if len(them) == 1 else f"too small, the worst by {worst} %"


def _whose(them: Sequence[FindingLine]) -> str:
    foreign = sum(row.foreign for row in them)
    return "" if not foreign else " (foreign)" if foreign == len(them) else f" ({foreign} foreign)"


def is_gap(finding: FindingLine) -> bool:
    """True if the finding tells why our own orders do not close all of a position."""
    return Wrong[finding.wrong.upper()] in _OF_COVER


def at_risk(lines: Sequence["Line"]) -> str:
    """How much the equity falls by if every stop fills, over the positions that our own stops close; the others by foreign stops apart."""
    known = [Decimal(line.at_risk) for line in lines if line.at_risk is not None]
    others = [Decimal(line.foreign_at_risk) for line in lines if line.at_risk is None and line.foreign_at_risk is not None]
    foreign = f"{sum(others, Decimal(0)):,.2f} USDT"
    if not known:
        return f"no stop of ours, {foreign} at risk if every foreign stop fills" if others else "no stop bounds the loss"
    partly = "" if len(known) == len(lines) else " of the covered ones"
    more = f", {foreign} more on the others by foreign stops" if others else ""
    return f"{sum(known, Decimal(0)):,.2f} USDT at risk if every stop{partly} fills{more}"


def outlook(lines: Sequence["Line"]) -> str:
    """What the stops make of the account against the entries, by which slippage, and the nearest liquidation; empty without positions."""
    known = [Decimal(line.lost) for line in lines if line.lost is not None]
    said = []
    if known:
        lost = sum(known, Decimal(0))
        said.append(f"if all stops filled now: {abs(lost):,.2f} USDT would be {'lost' if lost > 0 else 'kept'}, against the entries")
    if stopped := [line for line in lines if line.at_risk is not None or line.foreign_at_risk is not None]:
        said.append(f"slippage {', '.join(_slippage(stopped))}")
    near = min(
        (line for line in lines if line.to_liquidation is not None), key=lambda line: Decimal(line.to_liquidation or 0), default=None
    )
    if near is not None:
        said.append(f"nearest liquidation: {near.symbol} {near.side.lower()}, {near.to_liquidation} % away")
    return "; ".join(said)


def _slippage(lines: Sequence["Line"]) -> list[str]:
    """The measured ones by symbol, the worst first; the assumed one once."""
    measured = {line.symbol: line for line in lines if line.slip_median is not None}
    worst = sorted(measured.values(), key=lambda line: -int(line.slip))[:NAMED]
    said = [f"{line.slip} bps on {line.symbol} (median {line.slip_median}, {line.slip_fills} fills)" for line in worst]
    said += [f"less on {len(measured) - NAMED} more"] if len(measured) > NAMED else []
    assumed = next((line.slip for line in lines if line.slip_median is None), None)
    where = " on the others" if measured else ""
    return said if assumed is None else [*said, f"{assumed} bps assumed{where}, for fewer than {LEAST} fills are known"]
