"""What a finding is, and from which figures on something is looked at or wrong."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """How it stands: nothing to do, worth a look, or wrong."""

    FINE = "fine"
    LOOK = "look"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. ``found`` says what was found, with figures; ``remedy`` is the next command or step.

    Raises ``ValueError`` for a finding that is not fine and does not say what to do.
    """

    name: str
    state: State
    found: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if (self.state is State.FINE) is bool(self.remedy):
            raise ValueError(f"{self.name}: what is fine needs no remedy, and what is not needs one; got {self.remedy!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """In the place of a fact that could not be had: why."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From which figures on. Sizes in bytes, times in ms, shares of the exchange's own limit in percent."""

    clock_look_ms: int = 250
    clock_wrong_ms: int = 1_000  # Binance refuses a timestamp more than a second ahead of its own time (-1021)
    filters_age_ms: int = 24 * 3_600_000
    weight_look: int = 60
    weight_wrong: int = 90  # from here on the desk's budget lets only protective requests through
    slots_look: int = 20
    slots_wrong: int = 2  # kept free for replacing: with fewer left a stop cannot be replaced new before old
    journal_bytes: int = 1 << 30  # it is replayed whole at start
    log_bytes: int = 64 << 20  # SQLite is told to cut its log back to this: a longer one is held by a reader that does not end
    disk_look: int = 1 << 30
    disk_wrong: int = 100 << 20
    memory_bytes: int = 1 << 30


def fine(name: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(name=name, state=State.FINE, found=found)


def look(name: str, found: str, remedy: str) -> Finding:
    """Worth a look."""
    return Finding(name=name, state=State.LOOK, found=found, remedy=remedy)


def wrong(name: str, found: str, remedy: str) -> Finding:
    """Wrong."""
    return Finding(name=name, state=State.WRONG, found=found, remedy=remedy)


def unread(name: str, fact: Unread, remedy: str = "mend what is wrong above, then `qtkit doctor` again") -> Finding:
    """What could not be looked at is not fine."""
    return look(name, f"not known: {fact.why}", remedy)


def told_by(error: Exception | str) -> tuple[str, str]:
    """Our own error texts say what is wrong and, after a semicolon, what to do next: both."""
    found, _, remedy = str(error).partition("; ")
    return found, remedy or "`qtkit config show` tells every setting and where it came from"


def worst(findings: Iterable[Finding]) -> State:
    """The worst state of all; fine where there is none."""
    states = {finding.state for finding in findings}
    return next((state for state in (State.WRONG, State.LOOK) if state in states), State.FINE)


def graded(name: str, found: str, remedy: str, *, is_wrong: bool, is_look: bool) -> Finding:
    """Wrong, worth a look or fine by two conditions, with one text."""
    return wrong(name, found, remedy) if is_wrong else look(name, found, remedy) if is_look else fine(name, found)


def size(count: int) -> str:
    """Bytes as people read them: two or three digits and a unit."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{count} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable: the last unit returns")


def age(ms: int) -> str:
    """A time span as people read it; never negative."""
    seconds = max(0, ms) // 1000
    for limit, unit, width in ((120, "s", 1), (7_200, "min", 60), (172_800, "h", 3_600)):
        if seconds < limit:
            return f"{seconds // width} {unit}"
    return f"{seconds // 86_400} d"


def count(number: int, what: str) -> str:
    """A number and its noun."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
