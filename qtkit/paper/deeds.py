"""Commands on a running paper exchange, carried out: each checks what it needs, does one thing and says in a sentence what it did.

Positions and orders are a stranger's, whom nobody takes for the desk. What the exchange refuses is refused with its code and words.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtkit.core.model import E8, Bps, OrderKind, OrderSide, PolicyError, PositionSide, Side, Ticks, TriggerBy
from qtkit.core.names import suggestion
from qtkit.paper import control_words as words
from qtkit.paper.actor import acting
from qtkit.paper.decrees import DECREES
from qtkit.paper.deed import Deed, account_of, e8, facts_of, held, maybe, on_grid, slot_of
from qtkit.paper.faults import STRIKES, Fault, Match
from qtkit.paper.rows import NewOrder, TimeInForce
from qtkit.paper.session import Session
from qtkit.paper.truth import say_fault, text

STRANGER = "stranger"


async def pause(session: Session, _: words.Nothing) -> str:
    """Hold time."""
    session.pump.pause()
    return f"time is held at {session.pump.now_ms}"


async def resume(session: Session, _: words.Nothing) -> str:
    """Let time go on."""
    session.pump.resume()
    return f"time goes on at speed {session.pump.speed:g}"


async def speed(session: Session, asked: words.Speed) -> str:
    """Set the speed."""
    session.pump.speed = asked.speed
    return f"speed is {asked.speed:g}" + (", as soon as time goes on" if session.pump.paused else "")


async def step(session: Session, asked: words.Step) -> str:
    """Step time by hand."""
    fed = await session.step(ticks=asked.ticks, ms=asked.ms)
    return f"{fed} prices fed, it is {session.now_ms}" + (" and the tape has ended" if session.finished else "")


async def price(session: Session, asked: words.Price) -> str:
    """Set last and mark."""
    facts = facts_of(session, asked.symbol)
    last = on_grid(asked.last, facts.instrument.tick, "last", "tick")
    mark = None if asked.mark is None else e8(asked.mark)
    session.set_price(asked.symbol, Ticks(last // facts.instrument.tick), mark, stays=asked.stays)
    book = session.exchange.book(asked.symbol)
    return f"{asked.symbol}: last {text(book.last)}, mark {text(book.mark)}"


async def trade(session: Session, asked: words.Trade) -> str:
    """Open, reduce or close as a stranger."""
    account, facts, side = account_of(session, asked.account), facts_of(session, asked.symbol), Side[asked.side]
    opens = asked.action == "open"
    slot, size = (slot_of(account, side), 0) if opens else held(account, asked.symbol, side)
    quantity = E8(size) if asked.quantity is None else E8(on_grid(asked.quantity, facts.instrument.lot, "quantity", "lot"))
    new = NewOrder(
        symbol=asked.symbol, side=side.opening if opens else side.closing, kind=OrderKind.MARKET, quantity=quantity,
        position_side=slot if account.hedge else None, reduce_only=None if opens or account.hedge else True,
    )  # fmt: skip
    with acting(STRANGER):
        row = session.exchange.submit(account, new)
    did = {"open": "opened", "reduce": "reduced", "close": "closed"}[asked.action]
    return f"{did} {asked.side} {text(row.executed)} {asked.symbol} at {text(row.average)}"


async def order(session: Session, asked: words.Order) -> str:
    """Place an order as a stranger."""
    account, facts = account_of(session, asked.account), facts_of(session, asked.symbol)
    kind, given = OrderKind(asked.type), asked.position_side
    new = NewOrder(
        symbol=asked.symbol, side=OrderSide(asked.side), kind=kind, quantity=maybe(asked.quantity), price=maybe(asked.price),
        trigger=maybe(asked.trigger), trigger_by=TriggerBy[asked.trigger_by.upper()], activation=maybe(asked.activation),
        callback=None if asked.callback is None else Bps(int(asked.callback * 100)),
        position_side=PositionSide(given) if account.hedge or given != "BOTH" else None, reduce_only=asked.reduce_only,
        close_position=asked.close_position, price_protect=asked.price_protect, client_id=asked.client_id,
        time_in_force=_time_in_force(asked, kind),
    )  # fmt: skip
    with acting(STRANGER):
        if kind.conditional:
            algo = session.exchange.submit_algo(account, new)
            return f"{algo.client_id}: {kind.value} {facts.symbol} is {algo.status.value}"
        row = session.exchange.submit(account, new)
    return f"{row.client_id}: {kind.value} {facts.symbol} is {row.status.value}"


def _time_in_force(asked: words.Order, kind: OrderKind) -> TimeInForce | None:
    if asked.time_in_force is not None:
        return TimeInForce(asked.time_in_force)
    return TimeInForce.GTC if kind is OrderKind.LIMIT else None


async def cancel(session: Session, asked: words.Cancel) -> str:
    """Cancel as a stranger."""
    account, exchange = account_of(session, asked.account), session.exchange
    facts_of(session, asked.symbol)
    waiting, resting = account.waiting(asked.symbol), account.resting(asked.symbol)
    with acting(STRANGER):
        if asked.all:
            exchange.cancel_all_algos(account, asked.symbol)
            exchange.cancel_all(account, asked.symbol)
            return f"{len(waiting) + len(resting)} orders of {asked.symbol} cancelled"
        if any(row.client_id == asked.client_id for row in waiting):
            exchange.cancel_algo(account, client_id=asked.client_id)
        elif any(row.client_id == asked.client_id for row in resting):
            exchange.cancel(account, asked.symbol, client_id=asked.client_id)
        else:
            there = [row.client_id for row in waiting] + [row.client_id for row in resting]
            said = suggestion(asked.client_id or "", there) if there else "none is open"
            raise PolicyError(f"no open order of {asked.symbol} has the id {asked.client_id!r}: {said}")
    return f"{asked.client_id} cancelled"


async def fault(session: Session, asked: words.NewFault) -> str:
    """Add a line to the fault script."""
    if asked.verb is not None and asked.verb not in STRIKES[asked.kind]:
        struck = ", ".join(sorted(verb.value for verb in STRIKES[asked.kind]))
        raise PolicyError(f"{asked.kind.value} cannot strike {asked.verb.value}; it strikes {struck}")
    if asked.account is not None:
        account_of(session, asked.account)
    if asked.symbol is not None:
        facts_of(session, asked.symbol)
    match = Match(
        verb=asked.verb, account=asked.account, symbol=asked.symbol, conditional=asked.conditional, client_prefix=asked.client_prefix,
        until_ms=None if asked.for_ms is None else session.now_ms + asked.for_ms,
    )  # fmt: skip
    given: dict[str, Any] = {name: value for name in ("code", "message") if (value := getattr(asked, name)) is not None}
    line = Fault(
        kind=asked.kind, match=match, times=asked.times, skip=asked.skip, per_mille=asked.per_mille, delay_ms=asked.delay_ms, **given
    )
    session.faults.add(line)
    return f"from now on: {say_fault(line)}"


async def clear_faults(session: Session, _: words.Nothing) -> str:
    """Drop the fault script."""
    count = len(session.faults.lines)
    session.faults.clear()
    return f"{count} faults dropped: nothing goes wrong any more"


async def funding(session: Session, asked: words.Funding) -> str:
    """Set rate and time of the next funding."""
    facts_of(session, asked.symbol)
    at_ms = session.exchange.book(asked.symbol).funding_ms if asked.at_ms is None else asked.at_ms
    if at_ms <= session.now_ms:
        raise PolicyError(f"it is {session.now_ms} already; give a later at_ms")
    session.exchange.set_funding(asked.symbol, e8(asked.rate), at_ms, hours=asked.hours)
    return f"{asked.symbol} pays {text(e8(asked.rate))} at {at_ms} and every {session.exchange.funding_hours(asked.symbol)} h"


async def deposit(session: Session, asked: words.Deposit) -> str:
    """Money in or out."""
    account = account_of(session, asked.account)
    session.exchange.deposit(account, e8(asked.amount))
    return f"{asked.account} has {text(session.exchange.wallet(account).wallet)} USDT"


async def save(session: Session, asked: words.File) -> str:
    """Write a snapshot."""
    file = _place(session, asked)
    return f"{file}: {session.save(file):,} bytes at {session.now_ms}"


async def restore(session: Session, asked: words.File) -> str:
    """Become what was saved."""
    file = _place(session, asked)
    if not file.is_file():
        saved = sorted(path.name for path in file.parent.iterdir() if path.is_file())
        raise PolicyError(f"there is no snapshot {asked.file!r}: {suggestion(asked.file, saved) if saved else 'none was saved'}")
    await session.restore(file)
    return f"it is {session.now_ms} again; who was connected is cut off and reads anew"


DEEDS: Mapping[str, Deed] = {
    "pause": Deed(words.Nothing, pause),
    "resume": Deed(words.Nothing, resume),
    "speed": Deed(words.Speed, speed),
    "step": Deed(words.Step, step),
    "price": Deed(words.Price, price),
    "trade": Deed(words.Trade, trade),
    "order": Deed(words.Order, order),
    "cancel": Deed(words.Cancel, cancel),
    "fault": Deed(words.NewFault, fault),
    "clear-faults": Deed(words.Nothing, clear_faults),
    "funding": Deed(words.Funding, funding),
    "deposit": Deed(words.Deposit, deposit),
    "save": Deed(words.File, save),
    "restore": Deed(words.File, restore),
    **DECREES,
}


def _place(session: Session, asked: words.File) -> Path:
    if session.folder is None:
        raise PolicyError("this exchange was started without a folder for snapshots")
    session.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return session.folder / asked.file
