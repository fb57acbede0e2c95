"""On whose behalf the exchange is working just now.

The engine keeps no names of callers, as the real one tells none in its rows. Whoever hands a request in (server, in-process gateway, a
scenario playing the stranger) says so around the call; the meter, which is called inside it, reads it: a cancelled order is then laid at
the right door.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ACTOR: ContextVar[str] = ContextVar("qtkit-paper-actor", default="")


def actor() -> str:
    """Name of the present caller (an API key, or a word of the scenario), empty if nobody said."""
    return _ACTOR.get()


@contextmanager
def acting(name: str) -> Iterator[None]:
    """Requests made inside are made by ``name``."""
    token = _ACTOR.set(name)
    try:
        yield
    finally:
        _ACTOR.reset(token)
