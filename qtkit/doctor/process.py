"""The desk's process: who holds the account, does it live, does it pass, does it answer."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from qtkit.doctor.finding import Finding, Limits, Unread, age, fine, graded, look, size, unread, wrong
from qtkit.ledger import LEAST_LATE_MS, TICKS_LATE
from qtkit.limits import carried
from qtkit.settings import Account, Settings
from qtkit.store.lease import Holder

AT_ONCE = 20  # positions above which the desk's tick lengthens


class Door(Enum):
    """The desk's endpoint: no file tells of it, it answers, or nothing comes from where it is said to be."""

    ABSENT = "absent"
    ANSWERS = "answers"
    SILENT = "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process as the system tells of it: its state in the system's words, and the memory it holds (bytes)."""

    pid: int
    status: str
    memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The desk's last heartbeat. Times in ms; ``positions`` is how many it looked after."""

    scope: str
    pid: int
    tick_s: float
    at_ms: int
    last_pass_ms: int
    fault: str | None
    alarms: tuple[str, ...]
    positions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskFacts:
    """What tells of a desk. ``process`` is the holder's, else that of the last beat, None if there is none (any more).

    ``held`` is how many positions are open on the exchange, None where that is not known; ``writes`` tells whether a desk is to protect
    them, or only looks on (scope watch).
    """

    home: Path
    now_ms: int
    holder: Holder | Unread | None
    beat: Beat | Unread | None
    process: Process | None
    door: Door
    held: int | None
    writes: bool

    @property
    def runs(self) -> bool:
        """True if a process holds the account."""
        return isinstance(self.holder, Holder)


def beat_of(told: dict[str, Any] | None) -> Beat | Unread | None:
    """A heartbeat file's content as a type."""
    if told is None:
        return None
    try:
        return Beat(
            scope=str(told["scope"]), pid=int(told["pid"]), tick_s=float(told["tick_s"]),
            at_ms=int(told["at_ms"]), last_pass_ms=int(told["last_pass_ms"]), fault=told["fault"], alarms=tuple(told["alarms"]),
            positions=len(told["positions"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        return Unread(why=f"the heartbeat cannot be read ({type(error).__name__}: {error})")


def read_process(pid: int) -> Process | None:
    """A living process, or None if it is gone. Another user's process shows no memory: 0."""
    import psutil

    try:
        process = psutil.Process(pid)
        status = process.status()
        if status == psutil.STATUS_ZOMBIE:
            return None
        return Process(pid=pid, status=status, memory=process.memory_info().rss)
    except psutil.AccessDenied:
        return Process(pid=pid, status="another user's", memory=0)
    except psutil.NoSuchProcess:
        return None


def lease(facts: DeskFacts) -> Finding:
    """Who holds the account."""
    name, holder = "lease", facts.holder
    if isinstance(holder, Unread):
        return unread(name, holder)
    if holder is None:
        if facts.door is Door.ABSENT:
            return fine(name, "nobody holds the account")
        left = "nobody holds the account; endpoint.token is left of a desk that was killed"
        return look(name, left, "`qtkit desk` takes the account over and replaces it")
    told = f"held by process {holder.pid} since {holder.since}, epoch {holder.epoch}"
    where = f", from {holder.home}" if holder.home else ""
    if facts.process is None:
        remedy = f"find who keeps it (`lsof {_of(holder)}`) and end that process; it may run in another container"
        return wrong(name, f"{told}{where}; that process is gone here, and something else keeps its lock", remedy)
    if holder.home and Path(holder.home) != facts.home:
        remedy = f"QTKIT_HOME={holder.home} qtkit check, or `kill {holder.pid}` and `qtkit desk` here"
        return wrong(name, f"{told}{where}: not from this home, whose journal and plans it does not use", remedy)
    return fine(name, told)


def _of(holder: Holder) -> str:
    from qtkit.store.lease import lease_folder

    return f"{lease_folder()}/*{holder.account.rpartition('-')[2]}*"


def heartbeat(facts: DeskFacts) -> Finding:
    """Does the desk pass in time; without a desk, does anything need one."""
    name, beat = "heartbeat", facts.beat
    if isinstance(beat, Unread):
        return wrong(name, beat.why, "rm heartbeat.json beside its journal; a desk that runs writes it anew after each pass")
    if isinstance(facts.holder, Holder) and (beat is None or beat.pid != facts.holder.pid):
        return look(name, f"process {facts.holder.pid} holds the account and has not passed yet", "`qtkit doctor` again in some seconds")
    if beat is None:
        return _without_desk(name, "no desk of this account ever passed", facts)
    passed = f"last pass {age(facts.now_ms - beat.last_pass_ms)} ago" if beat.last_pass_ms else "never a complete pass"
    told = f"last beat {age(facts.now_ms - beat.at_ms)} ago, {passed}, tick {beat.tick_s:g} s"
    if not facts.runs and not isinstance(facts.holder, Unread):
        return _without_desk(name, told, facts)
    if facts.now_ms - beat.last_pass_ms > late_after_ms(beat):
        why = f", because {beat.fault}" if beat.fault else ""
        return wrong(name, f"{told}: late{why}", "`qtkit check` reads the exchange itself; desk.log tells what holds the desk up")
    if beat.fault or beat.alarms:
        why = "; ".join(filter(None, (beat.fault, *beat.alarms)))
        return wrong(name, f"{told}; {why}", "`qtkit check`, and desk.log beside its journal")
    return fine(name, told)


def _without_desk(name: str, told: str, facts: DeskFacts) -> Finding:
    if facts.held == 0:
        return look(name, f"{told}; no desk runs, and no position is open", "`qtkit desk` when one is to be opened")
    if not facts.writes:
        return look(name, f"{told}; no desk watches", "`qtkit desk` tells what it would do, and sends nothing in scope watch")
    held = "whether a position is open is not known" if facts.held is None else f"{facts.held} open and nobody watches"
    return wrong(name, f"{told}; no desk runs, {held}", "`qtkit desk`")


def late_after_ms(beat: Beat) -> int:
    """Age of the last pass from which on the desk is late: the same as the ledger's."""
    return max(LEAST_LATE_MS, int(TICKS_LATE * beat.tick_s * 1_000) * max(1, -(-beat.positions // AT_ONCE)))


def process(facts: DeskFacts, limits: Limits) -> Finding:
    """Does the desk's process live, is it running, does it answer."""
    name, found = "desk process", facts.process
    if isinstance(facts.holder, Unread):
        return unread(name, facts.holder)
    if not facts.runs:
        told = "none runs" if found is None else f"none runs; process {found.pid} of the last beat lives, and holds no account"
        return fine(name, told) if found is None else look(name, told, f"`ps -p {found.pid}` tells what it is; a desk holds its account")
    if found is None:
        return wrong(name, "the process that holds the account is not there", "see the lease above")
    told = f"process {found.pid}, {found.status}, {size(found.memory)} of memory, endpoint {facts.door.value}"
    if found.status in ("stopped", "tracing-stop"):
        return wrong(name, f"{told}: halted from outside, nothing is watched", f"kill -CONT {found.pid}")
    if facts.door is Door.SILENT:
        return wrong(
            name, f"{told}: it holds the account and does not answer", f"desk.log tells why; `kill {found.pid}`, then `qtkit desk`"
        )
    if facts.door is Door.ABSENT:
        return look(name, f"{told}: it serves no commands (a command in a desk's place, or one that just starts)", "`qtkit doctor` again")
    remedy = f"`kill {found.pid}` and `qtkit desk`: the stops stay, and the memory is given back"
    return graded(name, told, remedy, is_wrong=False, is_look=found.memory > limits.memory_bytes)


def settings_of_desk(facts: DeskFacts, settings: Settings, account: Account) -> str | None:
    """How the running desk was set otherwise than the settings say now, or None."""
    beat = facts.beat
    if not facts.runs or not isinstance(beat, Beat):
        return None
    pairs = (("scope", beat.scope, account.scope.value), ("tick_seconds", f"{beat.tick_s:g}", f"{carried(settings).tick_seconds:g}"))
    return ", ".join(f"{what} {then} (now set: {now})" for what, then, now in pairs if then != now) or None
