"""Commands by which the exchange itself acts: deleverages, restricts an account, halts a symbol, gives it another book, cuts off."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from qtkit.core.model import E8, PolicyError, Side
from qtkit.core.names import suggestion
from qtkit.paper import control_words as words
from qtkit.paper.deed import Deed, account_of, facts_of, held, on_grid
from qtkit.paper.liquidity import EXACT, THIN, Liquidity
from qtkit.paper.market_file import fields_of
from qtkit.paper.rules import Rules
from qtkit.paper.server import PaperServer
from qtkit.paper.session import Session
from qtkit.paper.truth import text

SWITCHES = {name: TypeAdapter[Any](kind) for name, kind in get_type_hints(Rules).items() if name not in ("liquidity", "funding_hours")}
"""Rules by name, and what each may be. Books are changed by ``market``, hours of funding by ``funding``: both are of a symbol."""
BOOKS = {"default": Liquidity(), "thin": THIN, "exact": EXACT}


async def deleverage(session: Session, asked: words.Deleverage) -> str:
    """Close a position for somebody's bankruptcy (ADL)."""
    account, facts, side = account_of(session, asked.account), facts_of(session, asked.symbol), Side[asked.side]
    slot, _ = held(account, asked.symbol, side)
    rules, quantity, price = facts.instrument, None, None
    if asked.quantity is not None:
        quantity = E8(on_grid(asked.quantity, rules.lot, "quantity", "lot"))
    if asked.price is not None:
        price = E8(on_grid(asked.price, rules.tick, "price", "tick"))
    done = session.exchange.deleverage(account, asked.symbol, quantity=quantity, price=price, side=slot)
    return f"deleveraged {asked.side} {text(done)} {asked.symbol} at {text(account.trades[-1].price)}"


async def restrict(session: Session, asked: words.Restrict) -> str:
    """Let an account only reduce."""
    session.exchange.restrict(account_of(session, asked.account), asked.code)
    return f"{asked.account} may do everything" if asked.code is None else f"{asked.account} may only reduce ({asked.code})"


async def halt(session: Session, asked: words.Halt) -> str:
    """Let a symbol only be reduced."""
    facts_of(session, asked.symbol)
    session.exchange.halt(asked.symbol, halted=asked.halted)
    return f"{asked.symbol} may only be reduced (-4140)" if asked.halted else f"{asked.symbol} trades"


async def market(session: Session, asked: words.Market) -> str:
    """Give a symbol, or all, another book."""
    names = tuple(session.exchange.facts) if asked.symbol is None else (facts_of(session, asked.symbol).symbol,)
    changed = fields_of(asked.model_dump(exclude={"symbol", "like"}, exclude_unset=True))
    for name in names:
        base = session.exchange.liquidity(name) if asked.like is None else BOOKS[asked.like]
        session.exchange.set_liquidity(name, replace(base, **changed))
    return f"{asked.symbol or f'all {len(names)} symbols'}: another book, nothing of it taken yet"


async def rule(session: Session, asked: words.Rule) -> str:
    """Turn a switch where nobody knows what the real exchange does."""
    if asked.name not in SWITCHES:
        raise PolicyError(f"there is no rule {asked.name!r}: {suggestion(asked.name, SWITCHES)}")
    try:
        value = SWITCHES[asked.name].validate_python(asked.value, strict=not isinstance(asked.value, str))
    except ValidationError as wrong:
        said = wrong.errors(include_url=False)[0]["msg"]
        raise PolicyError(f"{asked.name}: {said[0].lower()}{said[1:]}, got {asked.value!r}") from None
    session.exchange.rules = replace(session.exchange.rules, **{asked.name: value})
    return f"{asked.name} is {str(getattr(value, 'value', value)).lower()} from now on"


async def cut(session: Session, asked: words.Cut) -> str:
    """Close websockets."""
    hub = _server(session).hub
    before = len(hub.sockets)
    if asked.account is None:
        hub.close_all(asked.code)
        return f"{before} websockets closed with {asked.code}"
    hub.close_user(account_of(session, asked.account).name, asked.code)
    return f"user streams of {asked.account} closed with {asked.code}"


async def expire(session: Session, asked: words.Expire) -> str:
    """Let a listen key run out."""
    _server(session).expire_key(account_of(session, asked.account).name)
    return f"the listen key of {asked.account} has run out: its streams say so once, stay open and carry nothing more"


def _server(session: Session) -> PaperServer:
    if session.server is None:
        raise PolicyError("this exchange is not served; nobody is connected")
    return session.server


DECREES: Mapping[str, Deed] = {
    "deleverage": Deed(words.Deleverage, deleverage),
    "restrict": Deed(words.Restrict, restrict),
    "halt": Deed(words.Halt, halt),
    "market": Deed(words.Market, market),
    "rule": Deed(words.Rule, rule),
    "cut": Deed(words.Cut, cut),
    "expire": Deed(words.Expire, expire),
}
