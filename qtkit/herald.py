"""Carries a desk's news out: alerts to their targets, the heartbeat to its URL, signs of life to the service manager.

It hears every pass and may never delay, block or break one: nothing here waits, what is sent is sent by threads.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog

from qtkit import systemd
from qtkit.alerts import Alert, Kind, Phase, Seen, look, news, standing_also
from qtkit.apply import wall_ms
from qtkit.core.model import Scope
from qtkit.ledger import Ledger, lines_of
from qtkit.messenger import Heartbeat, Messenger, targets
from qtkit.store import codec
from qtkit.store.lease import LeaseHeld

if TYPE_CHECKING:
    from qtkit.desk import Desk
    from qtkit.monitor import Health
    from qtkit.settings import Settings

log = structlog.get_logger("qtkit.alerts")

RIPE_TICKS = 2  # cover takes two passes: a gap that is younger is no news
FLUSH_WITHIN_S = 5.0  # how long a desk that ends waits for its last messages


class Herald:
    """Tells what happens to an account from before its desk begins until after it ended.

    What stands is kept in ``file``, so that what one process told the beginning of, the next one tells the end of. Raises
    ``PolicyError`` for a target that is not understood.
    """

    def __init__(self, settings: "Settings", account: str, file: Path, *, clock_ms: Callable[[], int] = wall_ms) -> None:
        self.settings, self.account, self.clock_ms = settings, account, clock_ms
        self._file = file
        self._found = targets(settings.alerts.urls)
        self._messengers: tuple[Messenger, ...] = ()
        self._heartbeat: Heartbeat | None = None
        self._desk: Desk | None = None
        self._started = False
        self._passes = 0
        self._broken = False
        self._parting = ""
        self.seen = self._read()

    def __enter__(self) -> Self:
        limits = self.settings.alerts
        self._messengers = tuple(Messenger(target.name, target.send, self.account, limits.per_minute) for target in self._found)
        if limits.heartbeat_url is not None:
            self._heartbeat = Heartbeat(limits.heartbeat_url, limits.heartbeat_seconds)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """The desk has ended, or could not begin, for whatever reason. What waits is sent, a few seconds at most."""
        if self._desk is not None or (isinstance(error, Exception) and self._is_news(error)):
            systemd.notify(systemd.STOPPING)
            how = f"it failed with {type(error).__name__}" if self._desk is not None else "it could not start"
            why = self._parting if error is None else f"{how}: {error}; what rests on the exchange stays"
            self._quietly(lambda: self.stands(Kind.DESK, why))
        end = time.monotonic() + FLUSH_WITHIN_S
        for messenger in self._messengers:
            messenger.close()
        for messenger in self._messengers:
            messenger.join(max(0.0, end - time.monotonic()))

    def _is_news(self, error: Exception) -> bool:
        """True if somebody is to be told that a desk could not start: not where one of this very home runs, which tells the rest itself."""
        return bool(self._messengers) and not (isinstance(error, LeaseHeld) and Path(error.holder.home) == self._file.parents[2])

    def follow(self, desk: "Desk") -> None:
        """Hear this desk's passes, after what it does with them itself, and the loss of its lease."""
        self._desk, first = desk, desk.monitor.on_pass

        def heard(health: "Health") -> None:
            first(health)
            self.on_pass(health)

        desk.monitor.on_pass = heard
        desk.on_lease_lost = lambda why: self._quietly(lambda: self.stands(Kind.LEASE, why))

    def part(self, farewell: str) -> None:
        """What a desk that was told to stop leaves behind; it is told when everything is closed."""
        self._parting = farewell.removeprefix("desk stopped; ")
        systemd.notify(systemd.STOPPING)

    def stands(self, kind: Kind, text: str) -> None:
        """Something began that lasts until the next complete pass, of this process or of a later one."""
        self._change(standing_also(self.seen, kind, self.account, text, self.clock_ms()))

    def on_pass(self, health: "Health") -> None:
        """A pass has ended, complete or not."""
        complete, self._passes = health.passes != self._passes, health.passes
        self._live(health, complete=complete)
        if (desk := self._desk) is not None:
            self._quietly(lambda: self._hear(reading(desk, health), len(health.coverage), complete=complete))

    def _quietly(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception:  # a fault of ours in telling must not cost a pass; it is told in the log, once
            if not self._broken:
                log.exception("alerts")
            self._broken = True

    def _hear(self, it: Ledger, positions: int, *, complete: bool) -> None:
        limits, before = self.settings.alerts, self.seen
        if complete and not self._started:
            self._started = True
            if not any(condition.kind is Kind.DESK for condition in before.standing):
                self._put([self._once(Kind.DESK, f"scope {it.scope}, {_counted(positions)}, {len(it.lines)} not covered yet", it.at_ms)])
        self._change(look(before, it, gap_ms=RIPE_TICKS * it.tick_ms, failed_passes=limits.failed_passes))
        patience_ms = self.settings.emergency.patience_seconds * 1000
        old = any(it.at_ms - (line.gap_since_ms or it.at_ms) >= patience_ms for line in it.lines)
        if self._heartbeat is not None and complete and not it.fault and not old:
            self._heartbeat.beat()

    def _live(self, health: "Health", *, complete: bool) -> None:
        """A pass that failed is a sign of life, too: starting anew would not bring the exchange back, and would forget its ban."""
        gaps = sum(line.gap > 0 for line in health.coverage)
        status = f"{_counted(len(health.coverage))}, {gaps} with a gap" if complete else "the last pass was not complete"
        systemd.notify(*([systemd.READY] if complete else []), systemd.ALIVE, f"STATUS={status}")

    def _once(self, kind: Kind, text: str, at_ms: int) -> Alert:
        return Alert(kind=kind, phase=Phase.ONCE, key=self.account, text=text, at_ms=at_ms, since_ms=at_ms)

    def _change(self, after: Seen) -> None:
        before, self.seen = self.seen, after
        self._put(news(before, after, remind_ms=self.settings.alerts.remind_seconds * 1000))
        if [condition.id for condition in before.standing] != [condition.id for condition in after.standing]:
            self._write()

    def _put(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            log.info("alert", says=alert.line)
        for messenger in self._messengers:
            messenger.put(alerts)

    def _read(self) -> Seen:
        try:
            seen = codec.loads(Seen, self._file.read_bytes())
        except (OSError, codec.CorruptRecord):
            return Seen()
        return replace(seen, failed=0)

    def _write(self) -> None:
        try:
            draft = self._file.with_suffix(".new")
            draft.write_text(codec.dumps(Seen, self.seen))
            draft.replace(self._file)
        except OSError as error:  # a full disk must not stop protection; what it costs is the end of what was told before a restart
            log.warning("alerts", file=self._file.name, outcome="not written", why=error.strerror)


def _counted(positions: int) -> str:
    return f"{positions} position" if positions == 1 else f"{positions} positions"


def reading(desk: "Desk", health: "Health") -> Ledger:
    """The ledger of a pass as far as it is news: positions with a gap, alarms, faults.

    Where the desk only watches it has no stops of its own: what another's stops cover wholly is no gap to be told.
    """
    book, now_ms = desk.applier.book.episodes, desk.applier.clock_ms()
    watched = {key for key in book if desk.monitor.desk.scope_of(desk.applier.book, key.symbol, now_ms) is Scope.WATCH}
    bare = [line for line in health.coverage if line.gap and line.key in book and not (line.key in watched and line.foreign >= line.needed)]
    return Ledger(
        account=desk.account.name, scope=desk.account.scope.value, running=True, at_ms=now_ms,
        last_pass_ms=health.last_pass_ms, tick_ms=int(desk.settings.tick_seconds * 1000), alarms=health.alarms,
        fault=health.fault,
        lines=lines_of(bare, book, health.snapshots, desk.monitor.gateway.instruments),
    )  # fmt: skip
