"""One desk to an account of the exchange, also where two of its keys are used: by the exchange's own name of the account."""

import hashlib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import structlog

from qtkit.account import Account
from qtkit.store.lease import Lease
from qtkit.venue.gateway import Gateway, Unavailable

log = structlog.get_logger("qtkit.desk")


async def sole_owner(gateway: Gateway, account: Account, home: Path, *, writes: bool) -> AbstractContextManager[object]:
    """A second lease, on what the exchange calls the account, to be held while its desk writes. Raises ``LeaseHeld``.

    The first one is taken on the key, before anything is asked; it does not know that two keys open one account. Where the exchange does
    not tell, or cannot be asked now, there is none: protection does not wait for it, and the tags of two homes still tell them apart.
    """
    if not writes:
        return nullcontext()
    try:
        code = await gateway.account_code()
    except Unavailable as error:
        log.warning("account", outcome="its name at the exchange is not known", why=str(error))
        return nullcontext()
    if not code:
        return nullcontext()
    venue, host = account.place
    mark = hashlib.blake2b(code.encode(), digest_size=6, person=b"qtkit account").hexdigest()
    return Lease.acquire(f"{venue}-{host}-account-{mark}", name=account.name, home=home)
