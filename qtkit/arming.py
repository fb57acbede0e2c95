"""Arming a live account: its operator is shown what a desk would be let to do, and gives the word for some hours."""

from collections.abc import Callable
from dataclasses import dataclass

from qtkit import proofs
from qtkit.access import enter
from qtkit.account import Account
from qtkit.apply import wall_ms
from qtkit.checklist import Clock
from qtkit.core.model import PolicyError, Scope
from qtkit.desk import gateway_of
from qtkit.home import Paths
from qtkit.keys import Keys, keys_of, require_own_key
from qtkit.limits import require_first_limits, require_isolated
from qtkit.settings import Settings, account_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the operator sees before the word is given: names and values, in order."""

    rows: tuple[tuple[str, str], ...]


def _floor(account: Account, keys: Keys, paths: Paths) -> tuple[tuple[str, str], ...]:
    """What the desk does without, where the floor is not proven."""
    if proofs.traits_for(account, keys, paths) == proofs.traits_used(account):
        return ()
    return (("floor", f"none is placed, the working stop rests alone: {proofs.FLOOR_UNPROVEN}"),)


async def arm(settings: Settings, name: str, hours: int, clock: Clock, agreed: Callable[[Shown], bool]) -> proofs.Arm | None:
    """Arm a live account for some hours, if ``agreed`` to what is shown; None if not.

    Raises ``PolicyError`` where there is nothing to arm: no proof that unlocks it, a first limit not kept, a clock that is wrong, or a key
    that may do too much or too little.
    """
    paths, account = Paths.here(), account_of(settings, name)
    if account.kind != "live" or account.scope is Scope.WATCH:
        state = "scope watch, which sends nothing" if account.kind == "live" else f"kind {account.kind}"
        raise PolicyError(f"account {name} is of {state}, and needs no arm; leave --arm out")
    require_first_limits(account, settings.sources)
    keys = keys_of(account, paths)
    require_own_key(account, settings.accounts, paths)
    proof = proofs.require_proof(account, keys, paths, wall_ms())
    gateway = gateway_of(account, keys, settings, writes=False)
    try:
        access = await enter(gateway, account, keys, writes=True)
        await require_isolated(gateway, account)
        if why := proofs.mode_changed(account, keys, paths, hedge=gateway.hedge):
            raise PolicyError(f"account {name} cannot be armed: {why}")
        mode = "hedge" if gateway.hedge else "one-way"
    finally:
        await gateway.close()
    if not clock.right:
        raise PolicyError(f"account {name} cannot be armed: the clock of this computer is {clock.text}")
    shown = Shown(
        rows=(
            ("account", access), ("mode", mode), ("armed for", f"{hours} h: {proofs.terms(account)}"), ("clock", clock.text),
            ("proof", f"{proofs.age(wall_ms() - proof.at_ms)} old, {proof.symbol}: {proof.sentence}"),
            ("not proven", ", ".join(proof.unknown) or "nothing"), *_floor(account, keys, paths),
            ("when it ends", "no entry and no adoption any more; what is planned goes on being protected"),
        )
    )  # fmt: skip
    return proofs.arm(account, keys, paths, hours=hours, now_ms=wall_ms()) if agreed(shown) else None
