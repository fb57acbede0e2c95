"""Where log lines go: one line of ``key=value`` pairs each, to stderr and to a file that rotates.

The text of a line is its ``event``; phrases that people search for stand there word by word.
"""

import logging
import re
import sys
from collections.abc import Iterable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import structlog

FILE_BYTES = 10 * 1024 * 1024
FILES = 5
_FIRST = ["timestamp", "level", "event"]
_TIMED: list[Any] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]


SETTLED_MS = 30_000  # a pass raises the alarms of the symbols that it read: one that was not raised for so long is over


class Alarms:
    """Logs an alarm when it begins and when it ends, not in every pass between."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._standing: dict[str, tuple[str, int]] = {}  # by the alarm without its numbers, which change while it stands

    def raised(self, alarms: Iterable[str], now_ms: int) -> None:
        """A complete pass raised these."""
        for alarm in alarms:
            name = re.sub(r"\d+", "#", alarm)
            if name not in self._standing:
                self._log.error("alarm", says=alarm)
            self._standing[name] = alarm, now_ms
        for name, (alarm, seen_ms) in tuple(self._standing.items()):
            if not 0 <= now_ms - seen_ms < SETTLED_MS:
                self._log.info("alarm", over=alarm)
                del self._standing[name]


def configure(file: Path | None = None, *, as_json: bool = False, level: int = logging.INFO) -> None:
    """Send all log lines to stderr, and to ``file`` if given (10 MB, five older ones kept). Raises ``OSError`` if it cannot be opened."""
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.processors.LogfmtRenderer(key_order=_FIRST, drop_missing=True)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_TIMED, structlog.processors.format_exc_info],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file is not None:
        handlers.append(RotatingFileHandler(file, maxBytes=FILE_BYTES, backupCount=FILES))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(level)
    logging.raiseExceptions = False  # a full disk must not fill stderr with tracebacks of the log itself
    structlog.configure(
        processors=[*_TIMED, structlog.processors.format_exc_info, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def quiet() -> None:
    """Only what went wrong, to stderr: stdout belongs to a command's answer."""
    configure(level=logging.ERROR)
