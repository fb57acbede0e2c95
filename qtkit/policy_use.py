"""Putting a policy of the home to use and taking it back: shown before it is done, for new plans, and for open positions on request.

Open positions go the way of ``qtkit set SYMBOL --policy``: planned anew, journaled, and never looser than what rests.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass

from qtkit import policyfile
from qtkit.account import Account
from qtkit.core.distance import AtPrice
from qtkit.core.model import PolicyError
from qtkit.core.names import suggestion
from qtkit.core.policy import Profiles, Regime
from qtkit.desk import Desk
from qtkit.ledger import Step
from qtkit.operate import PlanAnew, Said, operate
from qtkit.policies import Policies
from qtkit.settings import Settings

SYMBOL = re.compile(r"[A-Z0-9_-]{2,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UsePolicy:
    """Have new plans of these symbols made by the policy of a file (its text), with ``open`` those of open positions too."""

    file: str
    symbols: tuple[str, ...]
    open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DropPolicy:
    """Have new plans of these symbols (none named: of all that use it) made by account and profiles again."""

    name: str
    symbols: tuple[str, ...] = ()


PolicyWish = UsePolicy | DropPolicy


async def carried_out(desk: Desk, wish: PolicyWish, *, dry_run: bool) -> Said:
    """Carry a wish out at a desk, or with ``dry_run`` say what it comes to. Raises ``PolicyError`` with the reason if it cannot be."""
    said = noted(
        desk.settings, desk.account, desk.router.policies, wish, desk.monitor.gateway.instruments, dry_run=dry_run, running=True
    )  # fmt: skip
    if isinstance(wish, DropPolicy) or not wish.open:
        return said
    lines, steps, refused = [said.text], list[Step](), list[str]()
    for anew in _open(desk, wish):
        try:
            one = await operate(desk.monitor, anew, dry_run=dry_run)
            lines.append(one.text)
            steps += one.steps
        except PolicyError as error:  # the others are planned anew all the same
            refused.append(f"{anew.symbol} {anew.side} is not planned anew: {error}")
    if not lines[1:] and not refused:
        lines.append("none of these symbols has an open position")
    if refused and not dry_run:
        raise PolicyError("; ".join((*(line.replace("\n", ";") for line in lines), *refused)))
    return Said(text="\n".join((*lines, *refused)), steps=tuple(steps))


def _open(desk: Desk, wish: UsePolicy) -> Iterator[PlanAnew]:
    """What plans the open positions of these symbols anew, both sides of a symbol in hedge mode."""
    for key, episode in sorted(desk.applier.book.episodes.items()):
        if episode.opened and key.symbol in wish.symbols:
            yield PlanAnew(symbol=key.symbol, side=episode.side.name.lower(), file=wish.file)


def noted(
    settings: Settings, account: Account, policies: Policies, wish: PolicyWish, traded: Collection[str] | None, *, dry_run: bool,
    running: bool = False,
) -> Said:  # fmt: skip
    """The same for new plans alone: files are written, a desk goes by them. ``traded`` are the exchange's symbols, None if not known."""
    profiles = settings.profiles_of(policies)
    if isinstance(wish, DropPolicy):
        symbols = _dropped(policies, wish)
        lines = [f"{symbol}: new plans by {_else(policies, profiles, account, symbol)} again" for symbol in symbols]
        if not dry_run:
            policies.drop(symbols)
        return Said(text="\n".join((*lines, "open positions keep the plans that they have")), steps=())
    file = policyfile.read(wish.file)
    policies.require_new(file, wish.file.encode())
    _check_symbols(wish, file.policy, traded)
    name, now = file.policy.name, {symbol: _now(policies, profiles, account, symbol) for symbol in wish.symbols}
    lines = [f"{symbol}: new plans by {name}, {'as now' if was == name else f'instead of {was}'}" for symbol, was in now.items()]
    if not dry_run:
        policies.install(wish.file.encode())  # first: a name is never in use before its policy is there
        policies.use(name, wish.symbols)
    return Said(text="\n".join((*lines, *_notes(wish, traded, running=running))), steps=())


def _notes(wish: UsePolicy, traded: Collection[str] | None, *, running: bool) -> Iterator[str]:
    if not wish.open:
        yield "open positions keep the plans that they have; --open plans them anew"
    if not running and not wish.open:
        yield "no desk runs: the next one goes by it"
    if traded is None:
        yield "whether the exchange trades these symbols is not known: it does not answer"


def _check_symbols(wish: UsePolicy, policy: object, traded: Collection[str] | None) -> None:
    if not wish.symbols:
        raise PolicyError("no symbol is named; say which: --symbols BTCUSDT,ETHUSDT")
    for symbol in wish.symbols:
        if not SYMBOL.fullmatch(symbol):
            raise PolicyError(f"a symbol is written as the exchange does, BTCUSDT, got '{symbol}'")
        if traded is not None and symbol not in traded:
            raise PolicyError(f"there is no symbol '{symbol}': {suggestion(symbol, traded)}")
    if len(wish.symbols) > 1 and _has_price(policy):
        raise PolicyError("a policy with a fixed price (@) is for one symbol: name one, or write its distances as 2.5%, 2R or 3atr")


def _has_price(node: object) -> bool:
    """True if a level of a policy is a fixed price."""
    if isinstance(node, tuple):
        return any(_has_price(one) for one in node)
    if not is_dataclass(node):
        return False
    return isinstance(node, AtPrice) or any(_has_price(getattr(node, one.name)) for one in fields(node))


def _dropped(policies: Policies, wish: DropPolicy) -> Sequence[str]:
    """The symbols that are meant. Raises ``PolicyError`` for one that does not use the policy."""
    used = policies.used()
    users = [symbol for symbol, row in used.items() if row.policy == wish.name]
    if not users:
        names = sorted({row.policy for row in used.values()})
        raise PolicyError(f"no symbol uses '{wish.name}': {suggestion(wish.name, names) if names else 'none uses a policy of its own'}")
    for symbol in wish.symbols:
        if symbol not in users:
            raise PolicyError(f"{symbol} does not use {wish.name}: {suggestion(symbol, users)}")
    return wish.symbols or users


def _now(policies: Policies, profiles: Profiles, account: Account, symbol: str) -> str:
    """What makes new plans of a symbol, in words."""
    own = policies.of(symbol)
    return own.name if own is not None else _else(policies, profiles, account, symbol)


def _else(policies: Policies, profiles: Profiles, account: Account, symbol: str) -> str:
    """What makes new plans of a symbol that uses no policy of its own: the account's policies, else the profiles."""
    entries, adopted = policies.sound(account.policy), policies.adopted(account.guard_policy, account.scope)
    chosen = {profiles.lookup(symbol, None, regime).name for regime in (None, *Regime)}
    profile = chosen.pop() if len(chosen) == 1 else "the profile of the market's regime"
    names = (entries.name if entries else profile, adopted.name if adopted else profile)
    return names[0] if names[0] == names[1] else f"{names[0]} (entries) and {names[1]} (adopted positions)"
