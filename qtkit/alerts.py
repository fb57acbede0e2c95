"""What is told to people, and when: once when something begins, once when it ends, again only after a long while.

What lasts (a gap, an alarm, a desk that is down) is a ``Condition``. ``look`` finds those that stand after a pass, ``news`` is the
difference of two looks: both are pure. ``qtkit.herald`` carries news out of a running desk; ``tell`` is for any other process.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from qtkit.core.names import of_account
from qtkit.ledger import Ledger

if TYPE_CHECKING:
    from qtkit.settings import Settings

SETTLED_MS = 30_000  # an alarm is over when it was not raised for so long: a pass raises those of the symbols that it read
LONGEST = 400  # characters of one alert: services cut long messages off


class Kind(Enum):
    """What it is about."""

    GAP = "gap"
    EMERGENCY = "emergency"
    ALARM = "alarm"
    PASSES = "passes"
    LEASE = "lease"
    DESK = "desk"
    CANARY = "canary"
    TEST = "test"


class Phase(Enum):
    """Where in its life the thing that is told stands; ``ONCE`` has none."""

    BEGAN = "began"
    GOES_ON = "goes on"
    ENDED = "ended"
    ONCE = "once"


class Weight(Enum):
    """How it is shown, in apprise's words."""

    FAILURE = "failure"
    WARNING = "warning"
    SUCCESS = "success"
    INFO = "info"


_WORDS: Mapping[Kind, tuple[str, str, str]] = MappingProxyType(
    {
        Kind.GAP: ("gap opened", "gap still open", "gap closed"),
        Kind.EMERGENCY: ("emergency", "emergency goes on", "emergency over"),
        Kind.ALARM: ("alarm", "alarm goes on", "alarm over"),
        Kind.PASSES: ("no pass completes", "still no pass completes", "passes complete again"),
        Kind.LEASE: ("lease lost", "lease still lost", "lease taken again"),
        Kind.DESK: ("desk stopped", "desk still stopped", "desk runs again"),
        Kind.CANARY: ("canary failed", "canary still fails", "canary passes again"),
        Kind.TEST: ("test", "test", "test"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that lasts. ``key`` says where, ``mark`` tells two of one kind at one place apart; times in ms."""

    kind: Kind
    key: str
    text: str
    since_ms: int
    seen_ms: int
    mark: str = ""

    @property
    def id(self) -> tuple[str, str, str]:
        """What makes it the same one at the next look."""
        return self.kind.value, self.key, self.mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What stood at one look. ``failed`` counts the passes since the last complete one."""

    at_ms: int = 0
    last_pass_ms: int = 0
    failed: int = 0
    standing: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One thing to be told."""

    kind: Kind
    phase: Phase
    key: str
    text: str
    at_ms: int
    since_ms: int

    @property
    def line(self) -> str:
        """It in one line, with since when and for how long."""
        began, goes_on, ended = _WORDS[self.kind]
        text = self.text if len(self.text) <= LONGEST else f"{self.text[:LONGEST]}..."
        match self.phase:
            case Phase.ONCE:
                return f"{began if self.kind is not Kind.DESK else 'desk started'}: {self.key}: {text}"
            case Phase.BEGAN:
                return f"{began}: {self.key}: {text}; since {_utc(self.since_ms)}"
            case Phase.GOES_ON:
                return f"{goes_on}: {self.key}: {text}; since {_utc(self.since_ms)}, for {lasted(self.at_ms - self.since_ms)}"
            case Phase.ENDED:
                return f"{ended}: {self.key}; since {_utc(self.since_ms)}, lasted {lasted(self.at_ms - self.since_ms)} (was: {text})"

    @property
    def weight(self) -> Weight:
        """How it is shown."""
        if self.phase is Phase.ONCE:
            return Weight.INFO if self.kind in (Kind.TEST, Kind.DESK) else Weight.FAILURE
        return {Phase.BEGAN: Weight.FAILURE, Phase.GOES_ON: Weight.WARNING}.get(self.phase, Weight.SUCCESS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one target is sent at once."""

    title: str
    body: str
    weight: Weight


def lasted(ms: int) -> str:
    """A stretch of time as people say it."""
    seconds = max(0, ms) // 1000
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7_200 else f"{seconds // 3600} h"


def _utc(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def message(alerts: Sequence[Alert], more: Mapping[Kind, int], account: str) -> Message:
    """Several alerts as one message; ``more`` are those beyond, which are only counted."""
    lines = [alert.line for alert in alerts]
    if more:
        counted = ", ".join(f"{number} {kind.value}" for kind, number in sorted(more.items(), key=lambda row: row[0].value))
        shown = of_account("`qtkit check` shows what is so now", account)
        lines.append(f"and {sum(more.values())} more that are not told one by one: {counted}; {shown}")
    about = lines[0].partition(":")[0] if len(lines) == 1 else f"{len(alerts) + sum(more.values())} alerts"
    weight = min((alert.weight for alert in alerts), key=list(Weight).index, default=Weight.INFO)
    return Message(title=f"qtkit {account}: {about}", body="\n".join(lines), weight=weight)


# -- what stands, and what is new


def look(before: Seen, it: Ledger, *, gap_ms: int, failed_passes: int) -> Seen:
    """What stands by this ledger. A gap stands from ``gap_ms`` of age on: cover takes two passes, that is no news.

    Nothing ends by not being seen: while passes fail, what stood stands.
    """
    complete = it.last_pass_ms not in (0, before.last_pass_ms)
    failed = 0 if complete else before.failed + 1
    stood = {condition.id: condition for condition in before.standing}
    found = {condition.id: condition for condition in (*_gaps(it, gap_ms, stood), *_alarms(it, complete=complete))}
    if failed >= failed_passes:
        text = f"{failed} in a row, because {it.fault}"
        blind = Condition(kind=Kind.PASSES, key=it.account, text=text, since_ms=before.last_pass_ms or it.at_ms, seen_ms=it.at_ms)
        found[blind.id] = blind
    for old in before.standing:
        if old.id in found:
            found[old.id] = replace(found[old.id], since_ms=min(old.since_ms, found[old.id].since_ms))
        elif not complete or (old.kind in (Kind.ALARM, Kind.EMERGENCY) and 0 <= it.at_ms - old.seen_ms < SETTLED_MS):
            found[old.id] = old
    standing = tuple(found[name] for name in sorted(found))
    return Seen(at_ms=it.at_ms, last_pass_ms=it.last_pass_ms or before.last_pass_ms, failed=failed, standing=standing)


def _gaps(it: Ledger, gap_ms: int, stood: Mapping[tuple[str, str, str], Condition]) -> Iterator[Condition]:
    for line in it.lines:
        since_ms = it.at_ms if line.gap_since_ms is None else line.gap_since_ms
        gap = Condition(
            kind=Kind.GAP, key=line.key, since_ms=since_ms, seen_ms=it.at_ms,
            text=f"{line.side}, {line.gap} of {line.size} without a stop of ours" + (f" ({'; '.join(line.faults)})" if line.faults else ""),
        )  # fmt: skip
        if line.has_gap and (it.at_ms - since_ms >= gap_ms or gap.id in stood):
            yield gap


def _alarms(it: Ledger, *, complete: bool) -> Iterator[Condition]:
    """What the decision told aloud, and what a complete pass had to complain of (a journal that cannot be written)."""
    told = [(Kind.EMERGENCY if "emergency" in text else Kind.ALARM, *text.partition(": ")[::2]) for text in it.alarms]
    if complete and it.fault:
        told.append((Kind.ALARM, it.account, it.fault))
    for kind, key, text in told:
        mark = re.sub(r"\d+", "#", text)  # a number in it changes from pass to pass, the alarm does not
        yield Condition(kind=kind, key=key, text=text.removeprefix("emergency: "), mark=mark, since_ms=it.at_ms, seen_ms=it.at_ms)


def news(before: Seen, after: Seen, *, remind_ms: int) -> tuple[Alert, ...]:
    """What began, what goes on since another ``remind_ms``, what ended. Every beginning has exactly one end."""
    was, now = {c.id: c for c in before.standing}, {c.id: c for c in after.standing}
    began = [_alert(c, Phase.BEGAN, after.at_ms) for name, c in now.items() if name not in was]
    going = [_alert(c, Phase.GOES_ON, after.at_ms) for name, c in now.items() if name in was and _due(c, before, after, remind_ms)]
    return (*began, *going, *(_alert(c, Phase.ENDED, after.at_ms) for name, c in was.items() if name not in now))


def _due(condition: Condition, before: Seen, after: Seen, remind_ms: int) -> bool:
    return (after.at_ms - condition.since_ms) // remind_ms > max(0, before.at_ms - condition.since_ms) // remind_ms


def _alert(condition: Condition, phase: Phase, at_ms: int) -> Alert:
    return Alert(kind=condition.kind, phase=phase, key=condition.key, text=condition.text, at_ms=at_ms, since_ms=condition.since_ms)


def standing_also(seen: Seen, kind: Kind, key: str, text: str, at_ms: int) -> Seen:
    """The same with one condition more, until a complete pass; one that stands already stays as it is."""
    new = Condition(kind=kind, key=key, text=text, since_ms=at_ms, seen_ms=at_ms)
    return seen if any(c.id == new.id for c in seen.standing) else replace(seen, at_ms=at_ms, standing=(*seen.standing, new))


# -- telling


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What became of a message at one target; ``why`` it was not delivered."""

    target: str
    delivered: bool
    why: str = ""


def tell(kind: Kind, key: str, text: str, *, settings: "Settings | None" = None, within_s: float = 15.0) -> tuple[Delivery, ...]:
    """Tell every target one thing now, from a process that is no desk; ``key`` says where (account, symbol). Waits ``within_s`` at most.

    Gives what became of it, target by target, nothing where none is set. Raises ``PolicyError`` for settings that cannot be read or
    understood, and for nothing that a target does. From a coroutine: ``await asyncio.to_thread(tell, ...)``.
    """
    from threading import Thread

    from qtkit.messenger import targets
    from qtkit.settings import Settings

    at_ms = time.time_ns() // 1_000_000
    said = message([Alert(kind=kind, phase=Phase.ONCE, key=key, text=text, at_ms=at_ms, since_ms=at_ms)], {}, key)
    found = targets((settings or Settings.load()).alerts.urls)
    answers: dict[str, str] = {}
    threads = [Thread(target=lambda target=target: answers.update({target.name: target.send(said)}), daemon=True) for target in found]
    end = time.monotonic() + within_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    why = {target.name: answers.get(target.name, f"no answer within {within_s:g} s") for target in found}
    return tuple(Delivery(target=name, delivered=not said, why=said) for name, said in why.items())
