"""How what is told gets out: one thread a target, so that a target that hangs, fails or is slow delays nobody, least of all the pass.

Targets are apprise URLs and hold tokens: a target is known by its place in the settings and its scheme, and of what apprise logs only
the HTTP status is kept.
"""

import logging
import re
import threading
import time
import urllib.error
import urllib.request
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from qtkit.alerts import Alert, Kind, Message, message
from qtkit.core.model import PolicyError
from qtkit.home import Secret

log = structlog.get_logger("qtkit.alerts")

KEPT = 15  # alerts a message holds; what comes beyond is counted in it
AGAIN_S, AGAIN_AT_MOST_S = 5.0, 300.0  # after a message that was not delivered, doubled each time
ANSWER_WITHIN_S = 10.0
LOOSE = ("apprise", "requests", "requests_oauthlib", "oauthlib", "urllib3")  # their log lines may hold URLs
_STATUS = re.compile(r"error=(\d{3})\b")  # how apprise's plugins log what a service answered


class _Answers(logging.Handler):
    """Keeps of apprise's log lines the HTTP status alone, by thread: a line may hold a token."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        if found := _STATUS.search(str(record.msg) if not record.args else record.getMessage()):
            self.seen.status = found[1]


_ANSWERS = _Answers()


@dataclass(frozen=True, slots=True)
class Target:
    """One apprise URL that was understood. ``name`` says which, without its token."""

    name: str
    service: Any

    def send(self, what: Message) -> str:
        """Send it now, in this thread. Nothing if it was delivered, else why not."""
        _ANSWERS.seen.status = ""
        try:
            done = self.service.notify(title=what.title, body=what.body, notify_type=what.weight.value, body_format="text")
        except Exception as error:  # noqa: BLE001 - a service's own plugin, of a hundred and more: whatever it raises is one message not delivered
            return type(error).__name__
        if done:
            return ""
        return f"it answered HTTP {_ANSWERS.seen.status}" if _ANSWERS.seen.status else "no answer, or not one that it understands"


def targets(urls: Iterable[Secret]) -> tuple[Target, ...]:
    """The targets of these apprise URLs. Raises ``PolicyError`` naming, by its place, one that apprise does not understand.

    The first call loads apprise and its services: about a second, which is why it is done before a desk begins.
    """
    urls = tuple(urls)
    if not urls:
        return ()
    import apprise

    for name in LOOSE:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_ANSWERS], False
        logger.setLevel(logging.WARNING)  # a status is told at this level, and commands log errors alone
    found = []
    for number, url in enumerate(urls, 1):
        scheme = re.match(r"[a-z0-9]{1,20}(?=://)", url.reveal(), re.IGNORECASE)
        name = f"alerts.urls {number}" + (f" ({scheme[0].lower()})" if scheme else "")
        service = apprise.Apprise()
        if not service.add(url.reveal()):
            raise PolicyError(f"{name}: not a URL that apprise understands, as in discord://ID/TOKEN or mailto://USER:PASSWORD@HOST")
        found.append(Target(name, service))
    return tuple(found)


class Messenger:
    """Delivers alerts to one target, from a thread of its own that the process never waits for longer than it says.

    At most ``per_minute`` messages a minute: what is told meanwhile goes together into the next one. What was not delivered is tried
    again, later each time, together with what came since; the log is told once when that begins and once when it ends.
    """

    def __init__(self, name: str, send: Callable[[Message], str], account: str, per_minute: int, *, again_s: float = AGAIN_S) -> None:
        self.name = name
        self._send, self._account, self._per_minute, self._again_s = send, account, per_minute, again_s
        self._ready = threading.Condition()
        self._waiting: list[Alert] = []
        self._more: Counter[Kind] = Counter()
        self._sent: deque[float] = deque(maxlen=per_minute)
        self._failures, self._not_before, self._closing = 0, 0.0, False
        self._thread = threading.Thread(target=self._run, name=f"qtkit {name}", daemon=True)
        self._thread.start()

    def put(self, alerts: Sequence[Alert]) -> None:
        """Have these delivered. Returns at once."""
        if alerts:
            with self._ready:
                self._keep([*self._waiting, *alerts])
                self._ready.notify()

    def close(self) -> None:
        """Deliver what waits now, once, and end."""
        with self._ready:
            self._closing = True
            self._ready.notify()

    def join(self, within_s: float) -> None:
        """Wait for the end, this long at most."""
        self._thread.join(within_s)

    def _keep(self, alerts: list[Alert]) -> None:
        self._waiting = alerts[:KEPT]
        self._more.update(alert.kind for alert in alerts[KEPT:])

    def _run(self) -> None:
        while self._wait():
            with self._ready:
                batch, more = self._waiting, self._more
                self._waiting, self._more = [], Counter()
                self._sent.append(time.monotonic())
            try:
                why = self._send(message(batch, more, self._account))
            except Exception as error:  # noqa: BLE001 - whatever it is, the next message is tried: this thread is the only one that tells
                why = type(error).__name__
            with self._ready:
                self._learn(why, batch, more)

    def _wait(self) -> bool:
        """Until something may be sent; False when there is nothing more to do."""
        with self._ready:
            while not self._closing:
                wait_s = self._pause_s()
                if self._waiting and wait_s <= 0:
                    return True
                self._ready.wait(wait_s if self._waiting else None)
            return bool(self._waiting)

    def _pause_s(self) -> float:
        """Seconds until another message may be sent."""
        full = self._sent[0] + 60 if len(self._sent) == self._per_minute else 0.0
        return max(full, self._not_before) - time.monotonic()

    def _learn(self, why: str, batch: list[Alert], more: Counter[Kind]) -> None:
        if not why:
            if self._failures:
                log.info("alerts", target=self.name, outcome="delivered again")
            self._failures = 0
            return
        self._failures += 1
        if self._failures == 1:
            log.error("alerts", target=self.name, outcome="not delivered", why=why)
        if self._closing:
            log.error("alerts", target=self.name, outcome="given up", alerts=len(batch) + more.total())
            self._waiting = []
            return
        self._not_before = time.monotonic() + min(AGAIN_AT_MOST_S, self._again_s * 2 ** min(self._failures - 1, 10))
        self._more.update(more)
        self._keep([*batch, *self._waiting])


def ask(url: Secret) -> str:
    """GET a heartbeat URL. Nothing if it answered well, else why not."""
    try:
        with urllib.request.urlopen(url.reveal(), timeout=ANSWER_WITHIN_S):
            return ""
    except urllib.error.HTTPError as error:
        return f"it answered HTTP {error.code}"
    except Exception as error:  # noqa: BLE001 - its text may hold the URL, and no failure of it is of more interest than its kind
        return type(error).__name__


class Heartbeat:
    """A dead man's switch: while ``beat`` is called it asks a URL, every so often; the service behind it raises the alarm when it stops."""

    def __init__(self, url: Secret, every_s: float) -> None:
        self._url, self._every_s, self._due, self._failing = url, every_s, 0.0, False
        self._wake = threading.Event()
        threading.Thread(target=self._run, name="qtkit heartbeat", daemon=True).start()

    def beat(self) -> None:
        """All is well now. Returns at once; while an answer is still awaited, nothing more is asked."""
        if not self._wake.is_set() and time.monotonic() >= self._due:
            self._due = time.monotonic() + self._every_s
            self._wake.set()

    def _run(self) -> None:
        while self._wake.wait():
            why = ask(self._url)
            if bool(why) is not self._failing:
                self._failing = bool(why)
                log.log(logging.ERROR if why else logging.INFO, "heartbeat", target="alerts.heartbeat_url", outcome=why or "answered again")
            self._wake.clear()
