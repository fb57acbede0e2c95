"""What can go wrong between a client and the exchange, by script or by seed; consulted at one point by server and gateway.

A fault is data. ``Faults.decide`` is asked once per request, per event to be told and per trigger, and answers the fault to commit,
or None. Whoever asked commits it as the kind's comment says; the engine itself stays honest, except for STUCK_TRIGGERING.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from random import Random

from qtkit.core.model import OrderKind


class Verb(Enum):
    """What is being asked. EVENT: a user-stream event about to be told. TRIGGER: a conditional order about to fire."""

    PLACE = "place"
    CANCEL = "cancel"
    CANCEL_ALL = "cancel_all"
    AMEND = "amend"
    LOOKUP = "lookup"
    POSITIONS = "positions"
    ORDERS = "orders"
    BALANCE = "balance"
    PRICES = "prices"
    BARS = "bars"
    SETTING = "setting"
    EVENT = "event"
    TRIGGER = "trigger"


class FaultKind(Enum):
    """How it goes wrong. Each kind was seen in the field (protocol notes, section 4.2)."""

    ACCEPT_TIMEOUT = "accept_timeout"  # carried out; answered with HTTP 408 and -1007, status unknown
    ACCEPT_DROP = "accept_drop"  # carried out; the connection is cut instead of an answer
    ACCEPT_503 = "accept_503"  # carried out; HTTP 503 "Unknown error, please check your request or try again later."
    DROP = "drop"  # not carried out; the connection is cut: the client cannot tell it from ACCEPT_DROP
    FAIL_503 = "fail_503"  # not carried out; HTTP 503 "Service Unavailable."
    TIMEOUT = "timeout"  # not carried out; HTTP 408 and -1007: the client cannot tell it from ACCEPT_TIMEOUT
    REFUSE = "refuse"  # not carried out; refused with ``code`` and ``message``
    NOT_FOUND = "not_found"  # not carried out; -2011 for a cancel, -2013 for a lookup, although the order lives
    READ_LAG = "read_lag"  # orders younger than ``delay_ms`` are missing from the list or the lookup
    EMPTY = "empty"  # a list answers empty although it is not
    PARTIAL = "partial"  # one of the two order lists fails, the other one answers
    DUPLICATE = "duplicate"  # a request or an event is delivered twice
    STUCK_TRIGGERING = "stuck_triggering"  # a conditional order triggers, its child never comes, cancelling it says -2011
    LOSE_EVENT = "lose_event"  # the event is never told
    SILENT_STREAM = "silent_stream"  # the event is never told and the stream stays open; also every later one while it lasts


ACCEPTED = frozenset({FaultKind.ACCEPT_TIMEOUT, FaultKind.ACCEPT_DROP, FaultKind.ACCEPT_503, FaultKind.DUPLICATE})
"""Kinds under which the exchange carries the request out."""

WRITES = frozenset({Verb.PLACE, Verb.CANCEL, Verb.CANCEL_ALL, Verb.AMEND, Verb.SETTING})
REQUESTS = frozenset(Verb) - {Verb.EVENT, Verb.TRIGGER}
STRIKES = {
    FaultKind.ACCEPT_TIMEOUT: WRITES,
    FaultKind.ACCEPT_DROP: WRITES,
    FaultKind.ACCEPT_503: WRITES,
    FaultKind.DROP: REQUESTS,
    FaultKind.FAIL_503: REQUESTS,
    FaultKind.TIMEOUT: REQUESTS,
    FaultKind.REFUSE: REQUESTS,
    FaultKind.NOT_FOUND: frozenset({Verb.CANCEL, Verb.LOOKUP}),
    FaultKind.READ_LAG: frozenset({Verb.ORDERS, Verb.LOOKUP}),
    FaultKind.EMPTY: frozenset({Verb.ORDERS, Verb.POSITIONS}),
    FaultKind.PARTIAL: frozenset({Verb.ORDERS}),
    FaultKind.DUPLICATE: WRITES | {Verb.EVENT},
    FaultKind.STUCK_TRIGGERING: frozenset({Verb.TRIGGER}),
    FaultKind.LOSE_EVENT: frozenset({Verb.EVENT}),
    FaultKind.SILENT_STREAM: frozenset({Verb.EVENT}),
}
"""Which verbs a kind can strike; a line never strikes, and is never used up by, any other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One thing asked of the exchange, as far as faults can tell it apart. ``conditional`` is the order book it speaks of."""

    verb: Verb
    account: str = ""
    symbol: str | None = None
    conditional: bool | None = None
    kind: OrderKind | None = None
    client_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which calls a fault strikes: every field given must agree; times are the exchange's, ``until_ms`` excluded."""

    verb: Verb | None = None
    account: str | None = None
    symbol: str | None = None
    conditional: bool | None = None
    kinds: frozenset[OrderKind] = frozenset()
    client_prefix: str = ""
    from_ms: int = 0
    until_ms: int | None = None

    def strikes(self, call: Call, at_ms: int) -> bool:
        """True if this call at this time is meant."""
        return (
            self.verb in (None, call.verb)
            and self.account in (None, call.account)
            and self.symbol in (None, call.symbol)
            and self.conditional in (None, call.conditional)
            and (not self.kinds or call.kind in self.kinds)
            and call.client_id.startswith(self.client_prefix)
            and self.from_ms <= at_ms
            and (self.until_ms is None or at_ms < self.until_ms)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One line of a fault script. ``times`` None: as often as it matches; ``skip``: let the first ones pass.

    ``per_mille`` is the chance of each match, drawn from the seed. ``code`` and ``message`` belong to REFUSE,
    ``delay_ms`` to READ_LAG.
    """

    kind: FaultKind
    match: Match = Match()
    times: int | None = 1
    skip: int = 0
    per_mille: int = 1000
    code: int = -1008
    message: str = "Request throttled by system-level protection. Reduce-only/close-position orders are exempt. Please try again."
    delay_ms: int = 0


class Faults:
    """A script of faults, worked off in order: the first line that strikes is committed.

    ``fired`` counts the faults committed by kind, so that a test can prove that it was not blind. The same seed, script and calls
    give the same faults.
    """

    def __init__(self, script: Iterable[Fault] = (), seed: int = 0) -> None:
        self.fired: Counter[FaultKind] = Counter()
        self._lines = list(script)
        self._random = Random(seed)

    @property
    def lines(self) -> tuple[Fault, ...]:
        """What is left of the script."""
        return tuple(self._lines)

    def add(self, fault: Fault) -> None:
        """Append a line to the script."""
        self._lines.append(fault)

    def clear(self) -> None:
        """Drop the rest of the script: from now on nothing goes wrong."""
        self._lines.clear()

    def become(self, other: "Faults") -> None:
        """Take over script, counts and chance of another one, which must not be used again."""
        self.fired, self._lines, self._random = other.fired, other._lines, other._random

    def decide(self, call: Call, at_ms: int) -> Fault | None:
        """The fault to commit on this call, or None. Uses up one of the line's ``times``."""
        for i, line in enumerate(self._lines):
            if call.verb not in STRIKES[line.kind] or not line.match.strikes(call, at_ms):
                continue
            if line.skip:
                self._lines[i] = replace(line, skip=line.skip - 1)
                continue
            if line.per_mille < 1000 and self._random.randrange(1000) >= line.per_mille:
                continue
            self._use(i)
            self.fired[line.kind] += 1
            return line
        return None

    def _use(self, i: int) -> None:
        line = self._lines[i]
        if line.times is None:
            return
        if line.times <= 1:
            del self._lines[i]
        else:
            self._lines[i] = replace(line, times=line.times - 1)
