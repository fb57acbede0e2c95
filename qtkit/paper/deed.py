"""What a command on a running paper exchange is, and how what it names is found: accounts, symbols, numbers on their grids."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from qtkit.core.model import E8, ONE, PolicyError, PositionSide, Side
from qtkit.core.names import suggestion
from qtkit.paper import control_words as words
from qtkit.paper.account import Account
from qtkit.paper.facts import Facts
from qtkit.paper.session import Session
from qtkit.paper.truth import text


@dataclass(frozen=True, slots=True)
class Deed:
    """A command: the words that it takes, and what it does."""

    takes: type[words.Word]
    does: Callable[[Session, Any], Awaitable[str]]


def account_of(session: Session, name: str) -> Account:
    """An open account. Raises ``PolicyError`` with the nearest name."""
    accounts = session.exchange.accounts
    if name not in accounts:
        raise PolicyError(f"there is no account {name!r}: {suggestion(name, accounts)}")
    return accounts[name]


def facts_of(session: Session, symbol: str) -> Facts:
    """A symbol that is traded. Raises ``PolicyError`` with the nearest name."""
    if symbol not in session.exchange.facts:
        raise PolicyError(f"{symbol} is not traded here: {suggestion(symbol, session.exchange.facts)}")
    return session.exchange.facts[symbol]


def e8(number: Decimal) -> E8:
    """A decimal of at most eight places as E8."""
    return E8(int(number * ONE))


def maybe(number: Decimal | None) -> E8 | None:
    """The same, of what may be absent."""
    return None if number is None else e8(number)


def on_grid(number: Decimal, step: int, what: str, grid: str) -> int:
    """E8 on the grid. Raises ``PolicyError`` with the nearest right number."""
    value = e8(number)
    if value % step:
        near = max((2 * value + step) // (2 * step), 1) * step
        raise PolicyError(f"{what} {number} is not on the {grid} of {text(step)}; the nearest is {text(near)}")
    return value


def held(account: Account, symbol: str, side: Side) -> tuple[PositionSide, int]:
    """Slot of a position and its size (E8). Raises ``PolicyError`` if there is none."""
    slot = slot_of(account, side)
    amount = side.sign * account.amount(symbol, slot)
    if amount <= 0:
        raise PolicyError(f"{account.name} holds no {side.name} position in {symbol}")
    return slot, amount


def slot_of(account: Account, side: Side) -> PositionSide:
    """The slot that a position of this side lies in."""
    return PositionSide[side.name] if account.hedge else PositionSide.BOTH
