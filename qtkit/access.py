"""What a key may do with an account: who is let in with which rights, and what a refusal of the exchange means, in one sentence."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

import structlog

from qtkit.account import Account
from qtkit.core.model import PolicyError
from qtkit.keys import Keys
from qtkit.venue.gateway import Gateway, KeyRights, Unavailable

log = structlog.get_logger("qtkit.access")

RIGHTS_EVERY_S = 300.0  # a key that was given more rights is found out within this time

_CLOCK = "the clock of this computer does not agree with the exchange's; switch time synchronisation on (`timedatectl set-ntp true`)"

MEANINGS: Mapping[int, str] = MappingProxyType(
    {
        -1021: _CLOCK,
        -5028: _CLOCK,
        -1022: "the secret does not belong to the API key; copy both again",
        -2014: "it is not an API key as the exchange makes them; copy it again, whole",
        -4061: "the position mode of the account (one-way or hedge) is not the one the order was made for, somebody switched it; "
        "the desk reads it anew before its next order",
    }
)
"""What Binance's codes say of keys, clock and mode, with what to do. What -2015 means depends on the account: ``meaning``."""
_NOT_LET_IN = (-2015, -2008)  # futures and wallet: unknown key, wrong address or not permitted, in one code


async def enter(gateway: Gateway, account: Account, keys: Keys, *, writes: bool) -> str:
    """Start an account's gateway, ask what the key may do, and say it in one sentence.

    Raises ``Unavailable`` if the exchange cannot be reached or refuses the key, and ``PolicyError`` if the key may do too much, or
    too little for one that ``writes``.
    """
    try:
        await gateway.start()
        rights = await _rights_if_told(gateway)
    except Unavailable as error:
        raise Unavailable(_why(account, keys, error), error.code) from None
    require(account, keys, rights, writes=writes)
    return told(account, keys, rights)


async def _rights_if_told(gateway: Gateway) -> KeyRights:
    """What the key may do; all unknown if the exchange cannot be asked now: a look at what is open must not wait for that."""
    try:
        return await gateway.rights()
    except Unavailable as error:
        if error.code is not None:
            raise
        return KeyRights()


def require(account: Account, keys: Keys, rights: KeyRights, *, writes: bool) -> None:
    """Raise ``PolicyError`` unless a key fits its account: no withdrawals, no transfers, and no more or less than it is for.

    The paper exchange has nothing to lose. Where the exchange does not tell, looking is let in; writing to a live account is not.
    """
    if not account.real:
        return
    if much := _too_much(keys, rights):
        raise PolicyError(f"account {account.name}: {much}")
    if keys.looks and rights.trade:
        raise PolicyError(
            f"account {account.name}: {keys} may trade, and is given for looking; "
            "switch off Enable Futures for it in the exchange's API management, or give it as the key that trades"
        )
    if writes and rights.trade is False:
        raise PolicyError(
            f"account {account.name}: {keys} only reads, and scope {account.scope.value} sends orders; "
            'switch on Enable Futures for it in the exchange\'s API management, or set scope = "watch"'
        )
    if writes and account.kind == "live" and None in (rights.trade, rights.withdraw, rights.transfer):
        raise PolicyError(f"account {account.name}: what {keys} may do is not known, so nothing is sent with it; try again in a minute")


def _too_much(keys: Keys, rights: KeyRights) -> str:
    """What a key allows that could empty the account, with what to do about it; nothing if it does not."""
    off = [name for name, on in (("withdrawals", rights.withdraw), ("transfers", rights.transfer)) if on]
    if not off:
        return ""
    switches = {"withdrawals": "Enable Withdrawals", "transfers": "Permits Universal Transfer and Enable Internal Transfer"}
    return (
        f"{keys} allows {' and '.join(off)}, which a desk never needs; "
        f"switch off {' and '.join(switches[name] for name in off)} in the exchange's API management"
    )


class RightsWatch:
    """Asks every few minutes what the key of a running desk may do: what is given to it meanwhile is an alarm, and ends entries.

    Protection goes on whatever it finds. The question leaves alone what is reserved for stops, and no pass waits for it.
    """

    def __init__(self, gateway: Gateway, account: Account, keys: Keys) -> None:
        self._gateway, self._account, self._keys = gateway, account, keys
        self.why = ""
        """What the key allows and should not, empty while all is well."""

    @property
    def alarms(self) -> tuple[str, ...]:
        """As an alarm of the account: it stands until the right is taken back."""
        return (f"{self._account.name}: {self.why}; no entries until then, what is open goes on being protected",) if self.why else ()

    async def run(self) -> None:
        """Until cancelled. On paper there is nothing to lose, and nothing is asked."""
        while self._account.real:
            await asyncio.sleep(RIGHTS_EVERY_S)
            try:
                self._learn(await self._gateway.rights())
            except Exception as error:  # noqa: BLE001 - a watch that ends over one answer would leave what comes after it unseen
                log.warning("rights", outcome="could not be asked, it is tried again", why=f"{type(error).__name__}: {error}")

    def _learn(self, rights: KeyRights) -> None:
        """What is not told neither raises the alarm nor takes it back."""
        before, much = self.why, _too_much(self._keys, rights)
        self.why = much or (before if None in (rights.withdraw, rights.transfer) else "")
        if self.why and not before:
            log.error("rights", outcome="the key was given more than a desk needs", why=self.why)
        elif before and not self.why:
            log.info("rights", outcome="taken back, entries are allowed again")


def told(account: Account, keys: Keys | None = None, rights: KeyRights | None = None) -> str:
    """Which account, kind, scope and key rights a command used, in one line. Without keys it asked nobody."""
    where = f" (rehearsed at {urlsplit(account.base_url).netloc})" if account.rehearsal else ""
    used = "no key used" if keys is None or rights is None else f"{_doing(rights)}, from {keys.source}"
    return f"account {account.name}: {account.kind}{where}, scope {account.scope.value}, {used}"


def _doing(rights: KeyRights) -> str:
    if rights.read is None and rights.trade is None:
        return "key rights unknown"
    does = [word for word, on in (("trades", rights.trade), ("withdraws", rights.withdraw), ("transfers", rights.transfer)) if on]
    return f"key {' and '.join(does)}" if does else "key reads only" if rights.read else "key may do nothing"


def _why(account: Account, keys: Keys, error: Unavailable) -> str:
    """Why an account's exchange did not let us in, and what to do."""
    if error.code is None:
        hint = "`qtkit paper` starts a paper exchange there" if account.on_paper else "check the network, and the exchange's status page"
        return f"{account.base_url}: {error}; {hint}"
    found = meaning(account, error.code)
    if found is None:
        return f"{account.base_url}: {error}"
    return f"account {account.name}: the exchange at {urlsplit(account.base_url).netloc} refuses {keys} with {error.code}: {found}"


def coded(code: int | None) -> str:
    """An exchange's code, with what it means where that is about key, clock or mode."""
    found = None if code is None else MEANINGS.get(code)
    return f"{code}: {found}" if found else str(code)


def meaning(account: Account, code: int) -> str | None:
    """What an exchange's code says of this account's key, clock or mode, and what to do; None for a code about something else."""
    if code not in _NOT_LET_IN:
        return MEANINGS.get(code)
    if not account.real:
        return "it is not one of this paper exchange; `qtkit paper` lets those in that lie in its own home folder"
    other = "demo" if account.kind == "live" else "live"
    return (
        f"it is unknown there, may not be used from this address (IP), or may not read futures; a key of the {other} exchange is unknown "
        f'on the {account.kind} one, then set kind = "{other}" or make a key there'
    )
