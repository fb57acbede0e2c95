"""What a route of the paper server is: its handler, who may call it, what it weighs, what it means to the fault script."""

from asyncio import TimerHandle
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from qtkit.paper.exchange import Account, Exchange
from qtkit.paper.facts import Facts
from qtkit.paper.faults import Verb
from qtkit.paper.limits import Limits, Weight
from qtkit.paper.listen_keys import ListenKeys
from qtkit.paper.params import Params, refuse_symbol
from qtkit.paper.prints import Prints
from qtkit.paper.streams import Hub
from qtkit.paper.wire import Row
from qtkit.venue.gateway import KeyRights


class Security(Enum):
    """What a call must carry: nothing, an API key, or a key and a signature."""

    NONE = "none"
    KEY = "key"
    SIGNED = "signed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What handlers work with. ``rights`` of API keys, where they are not whole; ``elsewhere``: keys that are bound to other addresses.

    ``amendments`` and ``margin_moves``: what accounts did since the server began, as the wire tells it; the engine keeps no such history.
    """

    exchange: Exchange
    limits: Limits
    listen_keys: ListenKeys
    hub: Hub
    prints: Prints
    countdowns: dict[tuple[str, str], TimerHandle] = field(default_factory=dict)
    rights: dict[str, KeyRights] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    amendments: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    margin_moves: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))

    def forget(self) -> None:
        """The exchange has become another one: what was told of it has not happened, and no countdown runs."""
        for timer in self.countdowns.values():
            timer.cancel()
        for told in (self.countdowns, self.amendments, self.margin_moves):
            told.clear()
        self.prints.forget()

    def facts(self, symbol: str) -> Facts:
        """Facts of a symbol; -1121 for one that is not traded here, -1100 for what cannot be one."""
        found = self.exchange.facts.get(symbol)
        if found is None:
            raise refuse_symbol(symbol)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, known to come from an account (None for public calls); ``now_ms`` is the wall clock, ``api_key`` what it came with."""

    params: Params
    account: Account | None
    now_ms: int
    api_key: str = ""

    @property
    def owner(self) -> Account:
        """The account of a call that needs one."""
        assert self.account is not None
        return self.account


LIGHT = Weight()
Handler = Callable[[Desk, Request], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method and path. ``conditional`` names the order book it speaks of, None if neither or both."""

    handler: Handler
    security: Security = Security.SIGNED
    weight: Weight = LIGHT
    verb: Verb = Verb.SETTING
    conditional: bool | None = None


Routes = Mapping[tuple[str, str], Route]


def symbol_of(desk: Desk, request: Request) -> Facts:
    """Facts of the mandatory ``symbol``."""
    return desk.facts(request.params.required("symbol"))


def some_symbols(desk: Desk, request: Request) -> Iterable[Facts]:
    """Facts of ``symbol`` if it was sent, else of all symbols."""
    return (desk.facts(request.params.text("symbol")),) if request.params.has("symbol") else desk.exchange.facts.values()


def optional_symbol(desk: Desk, request: Request) -> str | None:
    """The ``symbol`` if it was sent, checked."""
    return desk.facts(request.params.text("symbol")).symbol if request.params.has("symbol") else None
