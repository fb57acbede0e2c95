"""What an account's owner allows it. A live one begins small: named symbols, 50 USDT, 2x, isolated margin, until that is raised."""

import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from qtkit.account import Account
from qtkit.core.context import RiskContext
from qtkit.core.model import Bps, PolicyError, Scope
from qtkit.settings import Settings
from qtkit.signals import Gate
from qtkit.venue.budget import WEIGHT_A_MINUTE
from qtkit.venue.ccxt_calls import POSITIONS
from qtkit.venue.gateway import Gateway

FIRST_NOTIONAL = Decimal(50)
FIRST_LEVERAGE = 2


def gate_of(account: Account) -> Gate:
    """The risk gate before an account's entries."""
    limits = account.gate
    most = None if limits.max_loss_bps is None else Bps(limits.max_loss_bps)
    risk = RiskContext(mode=limits.risk_mode, max_loss=most)
    return Gate(risk=risk, max_positions=limits.max_positions, min_confidence=Bps(limits.min_confidence_bps))


def require_first_limits(account: Account, sources: Mapping[str, str]) -> None:
    """A live account begins small. Raises ``PolicyError`` for each limit that nobody has raised in so many words.

    ``sources`` tell which settings were set (``Settings.sources``): what is written there was meant, a default was not.
    """
    if account.kind != "live" or account.scope is Scope.WATCH:
        return
    here = f"accounts.{account.name}"
    if not account.symbols:
        raise PolicyError(f'{here}.symbols: a live desk writes on named symbols only; name them, as in symbols = ["BTCUSDT"]')
    if account.max_notional > FIRST_NOTIONAL and f"{here}.max_notional" not in sources:
        raise PolicyError(
            f"{here}.max_notional: a live account begins with {FIRST_NOTIONAL} USDT; write max_notional, {FIRST_NOTIONAL} or what you mean"
        )
    if account.leverage > FIRST_LEVERAGE and f"{here}.leverage" not in sources:
        raise PolicyError(
            f"{here}.leverage: a live account begins with {FIRST_LEVERAGE}x; write leverage, {FIRST_LEVERAGE} or what you mean"
        )


async def require_isolated(gateway: Gateway, account: Account) -> None:
    """What a live desk opens can lose no more than its own margin. Raises ``PolicyError`` naming a symbol that is on cross margin.

    Only for scope full: in guard nothing is opened, and what is held must be protected whatever its mode.
    """
    if account.kind != "live" or account.scope is not Scope.FULL:
        return
    cross = [symbol for symbol in account.symbols or () if not (await gateway.margin(symbol)).isolated]
    if cross:
        raise PolicyError(
            f"account {account.name}: {', '.join(cross)} is on cross margin; a live account opens on isolated margin only: set it on the "
            'exchange while nothing rests there, or set scope = "guard"'
        )


def carried(settings: Settings) -> Settings:
    """The same with passes no closer together than the request budget carries; else a desk would be blind for a part of each minute.

    Reading positions may take a third of it: lists, prices where the streams are silent, and whatever happens need the rest.
    """
    weight_a_second = WEIGHT_A_MINUTE * settings.budget_share_bps / 10_000 / 60
    least = math.ceil(20 * POSITIONS.weight / (weight_a_second / 3)) / 20
    return settings if settings.tick_seconds >= least else replace(settings, tick_seconds=least)
