"""The status page of a running paper exchange: one page that loads nothing else, runs no script, and comes anew every two seconds.

Everything on it is text that was escaped; the policy that goes with it (CSP) allows its one style sheet and nothing else.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape

from aiohttp import web

from qtkit.paper.control_answers import MarketSaid, PositionSaid, State, Truth
from qtkit.paper.session import Session
from qtkit.paper.truth import state, truth

REFRESH_S = 2
ROWS = 14  # of orders and fills; the rest is counted
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #7f8694; --good: #1a8a5a; --bad: #d0342c; --warn: #b7791f; --card: #8881; }
* { box-sizing: border-box; }
body { font: 14px/1.45 system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif; }
body { margin: 0 auto; padding: 18px 24px; max-width: 1280px; }
header { display: flex; align-items: baseline; gap: 14px; flex-wrap: wrap; border-bottom: 2px solid var(--line); padding-bottom: 10px; }
h1 { font-size: 15px; font-weight: 600; margin: 0; color: var(--soft); }
.time { font-size: 26px; font-weight: 650; font-variant-numeric: tabular-nums; }
.badge { padding: 2px 10px; border-radius: 999px; font-weight: 600; font-size: 12.5px; color: #fff; background: var(--good); }
.badge.held { background: var(--warn); } .badge.ended { background: var(--soft); } .badge.fault { background: var(--bad); }
.right { margin-left: auto; color: var(--soft); font-size: 12.5px; }
h2 { font-size: 13px; margin: 18px 0 6px; text-transform: uppercase; letter-spacing: .05em; color: var(--soft); }
h2 b { color: inherit; font-weight: 600; text-transform: none; letter-spacing: 0; }
.cards { display: flex; gap: 12px; flex-wrap: wrap; margin-top: 14px; }
.card { background: var(--card); border-radius: 8px; padding: 8px 14px; min-width: 150px; }
.card span { display: block; font-size: 11.5px; color: var(--soft); } .card b { font-size: 17px; font-variant-numeric: tabular-nums; }
.columns { display: grid; grid-template-columns: 1fr 1fr; gap: 0 28px; align-items: start; }
@media (max-width: 900px) { .columns { grid-template-columns: 1fr; } }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; font-size: 11.5px; color: var(--soft); }
th, td { padding: 3px 10px 3px 0; border-bottom: 1px solid var(--line); white-space: nowrap; vertical-align: top; }
td.n, th.n { text-align: right; } td.n + td:not(.n), th.n + th:not(.n) { padding-left: 10px; } td.w { white-space: normal; }
.good { color: var(--good); } .loss { color: var(--bad); } .bad { color: var(--bad); font-weight: 600; } .soft { color: var(--soft); }
.none { color: var(--soft); margin: 2px 0; }
meter { width: 64px; height: 9px; vertical-align: middle; margin-right: 6px; }
.card .bad { color: var(--bad); }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 12px; }
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": "; ".join(
        ("default-src 'none'", f"style-src 'sha256-{_HASH}'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'")
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
Cell = str | tuple[str, str]  # text, or text and its class; text is escaped here and nowhere else


def answer(session: Session) -> web.Response:
    """The page as it is now."""
    return web.Response(text=page(state(session), truth(session)), content_type="text/html", headers=HEADERS)


def page(now: State, so: Truth) -> str:
    """The page of a state and of what is so."""
    title = f"{len(so.positions)} open, {sum(row.covered < 100 for row in so.positions)} naked"
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="{REFRESH_S}">',
        f"<title>qtkit paper: {escape(title)}</title><style>{STYLE}</style></head><body>",
        _head(now),
        _accounts(now),
        _positions(so),
        '<div class="columns"><div>',
        _prices(now),
        _fills(so),
        "</div><div>",
        _orders(so),
        _faults(now),
        _rules(now),
        _promises(so),
        "</div></div>",
        _tape(now),
        "</body></html>",
    ]
    return "".join(parts)


def _head(now: State) -> str:
    kind = "fault" if now.fault else now.clock
    said = f"running, {now.speed:g}×" if now.clock == "running" else now.clock
    return (
        f'<header><h1>qtkit paper exchange</h1><span class="time">{_utc(now.now_ms)}</span>'
        f'<span class="badge {kind}">{escape(now.fault or said)}</span>'
        f'<span class="right">{now.fed:,} prices fed</span></header>'
    )


def _accounts(now: State) -> str:
    cards = []
    for row in now.accounts:
        mode = "hedge" if row.hedge else "one-way"
        only = f'<span class="bad">may only reduce ({row.restricted})</span>' if row.restricted else ""
        figures = (("equity", row.equity), ("wallet", row.wallet), ("available", row.available), ("maintenance", row.maintenance))
        cards += [f'<div class="card"><span>account</span><b>{escape(row.account)}</b><span>{mode} mode, USDT</span>{only}</div>']
        cards += [f'<div class="card"><span>{name}</span><b>{_money(value)}</b></div>' for name, value in figures]
    return f'<div class="cards">{"".join(cards)}</div>'


def _positions(so: Truth) -> str:
    naked = sum(row.covered < 100 for row in so.positions)
    said = f"{len(so.positions)} open, {naked} without whole cover of the desk" if so.positions else ""
    columns = (
        "position",
        "side",
        "#size",
        "#entry",
        "#mark",
        "#profit",
        "cover by the desk's stops",
        "#stop",
        "#others'",
        "#liquidation",
        "why",
    )

    def rows() -> Iterable[Sequence[Cell]]:
        for row in so.positions:
            profit = float(row.unrealised)
            yield (
                f"{row.account}/{row.symbol}", row.side.lower(), row.quantity, row.entry, _short(row.mark),
                (f"{profit:+,.2f}", "good" if profit >= 0 else "loss"), _cover(row), row.stop or "none",
                f"{row.foreign} %" if row.foreign else ("none", "soft"),
                _short(row.liquidation) if row.liquidation != "0" else ("none", "soft"), (row.why, "soft w"),
            )  # fmt: skip

    return _table("Positions", said, columns, rows(), "nothing is open")


def _cover(row: PositionSaid) -> Cell:
    whole = row.covered >= 100
    return f"{row.covered} %" if whole else f"{row.covered} % NAKED" if not row.covered else f"{row.covered} % PARTLY NAKED", (
        "good" if whole else "bad"
    )


def _prices(now: State) -> str:
    columns = ("symbol", "#last", "#mark", "#change", "#funding", "")

    def rows() -> Iterable[Sequence[Cell]]:
        for row in now.markets:
            tone = "loss" if row.change.startswith("-") else "good"
            funding = f"{float(row.funding_rate) * 100:.4f} % at {datetime.fromtimestamp(row.funding_ms / 1000, UTC):%H:%M}"
            yield row.symbol, row.last, _short(row.mark), (f"{row.change} %", tone), (funding, "soft"), _marked(row)

    return _table("Prices", "", columns, rows(), "no price yet")


def _marked(row: MarketSaid) -> Cell:
    said = [word for word, so in (("only to be reduced", row.halted), ("set by hand", row.by_hand)) if so]
    return ", ".join(said), "bad" if row.halted else ""


def _orders(so: Truth) -> str:
    columns = ("order", "#size", "#price", "by", "whose", "id")

    def rows() -> Iterable[Sequence[Cell]]:
        for row in so.orders[:ROWS]:
            kind = row.type.replace("_MARKET", "").replace("_", " ").lower()
            size = "all" if row.close_position else row.quantity
            state = "" if row.status == "NEW" else f" ({row.status.lower()})"
            yield (
                f"{row.symbol} {row.side.lower()} {kind}{state}", size, row.price, row.by,
                (row.whose, "good" if row.whose == "desk" else ""), (row.client_id, "soft"),
            )  # fmt: skip

    return _table("Orders", _of(len(so.orders)), columns, rows(), "none rests")


def _fills(so: Truth) -> str:
    columns = ("time", "fill", "#size", "#price", "#realised", "whose")

    def rows() -> Iterable[Sequence[Cell]]:
        for row in so.fills[:ROWS]:
            won = float(row.realised)
            gain = (f"{won:+,.2f}", "good" if won > 0 else "loss") if won else ("", "")
            yield _utc(row.at_ms)[11:19], f"{row.symbol} {row.side.lower()}", row.quantity, row.price, gain, (row.whose, "")

    return _table("Fills", _of(len(so.fills)), columns, rows(), "none yet")


def _faults(now: State) -> str:
    fired = ", ".join(f"{kind} {count}" for kind, count in now.fired.items())
    rows: list[Sequence[Cell]] = [((line, "w"),) for line in now.faults]
    return _table("Faults", f"committed so far: {fired}" if fired else "", ("what will go wrong",), rows, "nothing is set to go wrong")


def _rules(now: State) -> str:
    rows: list[Sequence[Cell]] = list(now.rules.items())
    return _table("Rules", "otherwise than by default", ("rule", "is"), rows, "") if rows else ""


def _promises(so: Truth) -> str:
    rows: list[Sequence[Cell]] = [
        ((("kept", "good") if row.held else ("BROKEN", "bad")), row.name, (row.evidence, "soft w")) for row in so.promises
    ]
    return _table("The judge", "by the exchange's own books", ("", "promise", "evidence"), rows, "")


def _tape(now: State) -> str:
    return _table("Tape", "", ("where the prices come from",), [((line, "soft w"),) for line in now.tape], "no tape")


def _table(title: str, said: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], nothing: str) -> str:
    head = f"<h2>{escape(title)}{f' <b>{escape(said)}</b>' if said else ''}</h2>"
    body = ["".join(_cell(cell, name.startswith("#")) for cell, name in zip(row, columns, strict=True)) for row in rows]
    if not body:
        return f'{head}<p class="none">{escape(nothing)}</p>'
    names = "".join(f"<th{' class=n' if name.startswith('#') else ''}>{escape(name.lstrip('#'))}</th>" for name in columns)
    return f"{head}<table><tr>{names}</tr>{''.join(f'<tr>{row}</tr>' for row in body)}</table>"


def _cell(cell: Cell, number: bool) -> str:
    text, tone = (cell, "") if isinstance(cell, str) else cell
    names = f"{'n ' if number else ''}{tone}".strip()
    return f'<td class="{names}">{escape(text)}</td>' if names else f"<td>{escape(text)}</td>"


def _of(count: int) -> str:
    return f"{count}" if count <= ROWS else f"{ROWS} of {count}"


def _utc(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _money(number: str) -> str:
    return f"{float(number):,.2f}"


def _short(price: str) -> str:
    """A price off the grid, in seven figures."""
    return f"{float(price):.7g}"
