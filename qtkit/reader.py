"""Reading an account from a notebook: what is covered, what rests, what was planned and done. It changes nothing and holds no key.

The running desk is asked. Without one a child process (`qtkit check --json`) reads the exchange: the keys are the child's, never the
kernel's. Journal and register are read from their files.
"""

import html
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_origin
from urllib.parse import urlsplit

import polars as pl

from qtkit.core.book import Episode
from qtkit.core.distance import decimal
from qtkit.core.model import PolicyError
from qtkit.core.names import default_account, suggestion
from qtkit.core.plan import ExitPlan
from qtkit.hindsight import Outcome
from qtkit.home import Paths, searched
from qtkit.keys import refuse_in_kernel
from qtkit.ledger import Ledger, Line, OrderLine, Step
from qtkit.recorded import Recorded, recorded
from qtkit.settings import Settings
from qtkit.show import ledger_html
from qtkit.store import codec
from qtkit.store.disk import StoreError
from qtkit.store.journal import Journal, JournalReader
from qtkit.store.register import PlanRegister
from qtkit.store.tape import TapeReader

DESK_WITHIN_S = 8.0
CHILD_WITHIN_S = 60.0
DAY_MS = 86_400_000
TAPE_WITHIN_S = 1_800.0  # two days of many symbols are minutes of telling
MONEY = pl.Decimal(38, 8)
TIME = pl.Datetime("ms", "UTC")
_LEVELS = ("entry", "mark", "stop", "stop_now", "trigger", "price", "floor", "break_even", "trail_from", "liquidation", "foreign_stop")
_MONEY = ("at_risk", "lost", "foreign_at_risk", "would", "did", "saved", "saved_r", "left", "held")
_SHARES = ("covered", "foreign_covered", "to_liquidation", "slip", "slip_median")
_NUMBERS = frozenset({"size", "gap", *_MONEY, *_SHARES, *_LEVELS})
_FAILURES = (PolicyError, StoreError, codec.CorruptRecord, OSError, subprocess.SubprocessError)


def open(account: str = "") -> "Reader":
    """An account for reading; without a name the only one, else `paper`. The home folder is looked for from here upward, once.

    Raises ``PolicyError`` for an unknown account, and in a notebook kernel that was given the trading key of a real one.

    In a notebook frames are then shown with all their columns and without trailing zeros, unless polars was told otherwise before.
    """
    if "ipykernel" in sys.modules and "POLARS_FMT_MAX_COLS" not in os.environ:
        pl.Config.set_tbl_cols(-1).set_fmt_str_lengths(60).set_trim_decimal_zeros(True)
    return Reader(account)


class Reader:
    """One account, read anew at each call."""

    def __init__(self, account: str = "") -> None:
        self._paths, self._searched = Paths.here(), searched()
        accounts = Settings.load(self._paths.home).accounts
        account = account or default_account(accounts)
        if account not in accounts:
            raise PolicyError(f"there is no account '{account}': {suggestion(account, accounts)}")
        refuse_in_kernel(accounts[account])
        self.account = account

    def ledger(self) -> Ledger:
        """Positions, their cover and all resting orders now."""
        told = self._ask("/cover")
        if told is None:
            told = self._child("check")
            told = {name: value for name, value in told.items() if name not in ("sentence", "ok", "late")}
        return codec.decode(Ledger, told)

    def cover(self) -> pl.DataFrame:
        """One row a position: size, entry, mark, percentage covered, by which orders, gap and since when, stop, money at risk, findings."""
        rows = [{**asdict(line), "findings": tuple(row.says for row in line.findings)} for line in self.ledger().lines]
        return _frame(Line, rows)

    def orders(self) -> pl.DataFrame:
        """Every resting order of both books, ours and foreign; ``size`` is null where all of the position is closed."""
        return _frame(OrderLine, [asdict(order) for order in self.ledger().orders])

    def preview(self) -> pl.DataFrame:
        """What the next pass would create, keep, replace and cancel. Nothing is sent."""
        rows = self._ask("/preview")
        return _frame(Step, self._child("preview") if rows is None else rows)

    def hindsight(self, symbol: str = "", since: str = "48h") -> pl.DataFrame:
        """What a desk that watched would have done, one row a position: what would have been filled, what did happen, the difference.

        ``since`` is how far to look back (``90m``, ``48h``, ``3d``). ``saved`` is negative where it would have cost, null where
        ``unknown`` says why. Raises ``PolicyError`` with the sentence of ``qtkit hindsight``.
        """
        told = self._child("hindsight", *([symbol] if symbol else []), "--since", since, within_s=TAPE_WITHIN_S)
        return _frame(Outcome, [{**row, **{name: _texts(row[name]) for name in ("moves", "fills", "deals")}} for row in told["outcomes"]])

    def plans(self) -> pl.DataFrame:
        """Active exit plans, one row each; ``stop`` is the planned level, ``stop_now`` the one in force (null: of no position yet).

        Raises ``RegisterError`` naming the places searched if no desk ever made one.
        """
        from qtkit.client import living

        with PlanRegister.read(self._paths.register, searched=self._searched) as register:
            plans = register.active_for(account=self.account, now_ms=int(datetime.now(UTC).timestamp() * 1000))
        found = living(self.account, self._paths.of(self.account).journal)
        return _numbers(pl.DataFrame([_plan_row(plan, found.get(plan.uid)) for plan in plans], schema=_PLAN, orient="row"))

    def journal(self, since: int | str | datetime = 0) -> pl.DataFrame:
        """Everything that was intended, answered and decided, oldest first.

        ``since`` is a sequence number (rows above it), or a time: datetime or ISO text, UTC unless it says otherwise. Raises
        ``JournalMissing`` naming the places searched.
        """
        from qtkit.core.events import Event

        after, from_ms = (since, 0) if isinstance(since, int) else (0, _ms(since))
        types: tuple[type, ...] = Event.__args__
        path = self._paths.of(self.account).journal
        reader: JournalReader[Event] = Journal.read(path, types, account=self.account, searched=self._searched)
        with reader:
            rows = [
                (row.seq, row.at_ms, type(row.event).__name__, _key(row.event), codec.dumps(type(row.event), row.event))
                for row in reader.events(after)
                if row.at_ms >= from_ms
            ]
        return pl.DataFrame(rows, schema=_JOURNAL, orient="row").with_columns(pl.col("at").cast(TIME))

    def day(self, since: str | datetime, until: str | datetime = "") -> Recorded:
        """What the desk recorded from ``since`` (UTC unless it says otherwise) to ``until``, by default for 24 hours; for ``lab.parity``.

        ``events`` are the whole journal's up to then: positions are known by how they began. Raises ``JournalMissing`` or
        ``FileNotFoundError`` naming the places searched.
        """
        from qtkit.core.events import Event

        from_ms = _ms(since)
        until_ms = _ms(until) if until else from_ms + DAY_MS
        places = self._paths.of(self.account)
        types: tuple[type, ...] = Event.__args__
        reader: JournalReader[Event] = Journal.read(places.journal, types, account=self.account, searched=self._searched)
        with reader:
            rows = [row for row in reader.events() if row.at_ms < until_ms]
        tape = TapeReader(places.tape, searched=self._searched)
        return recorded(tape.between(from_ms, until_ms), rows, self.account)

    def explain(self, symbol: str) -> str:
        """In plain words: where a position's stop is, why its trail has or has not armed, which price moves it next."""
        from qtkit.trailing import TrailingStopManager

        return TrailingStopManager(journal=self._paths.of(self.account).journal).explain(symbol.upper())

    def __repr__(self) -> str:
        return f"<{self._told()}>"

    def _repr_html_(self) -> str:
        try:
            it = self.ledger()
        except _FAILURES as error:  # a display shows what went wrong
            return f"<p>account {self.account}: {html.escape(str(error))}</p>"
        return f"<p>{html.escape(_covered(it))}</p>{ledger_html(it)}"

    def _told(self) -> str:
        try:
            return _covered(self.ledger())
        except _FAILURES as error:
            return f"account {self.account}: {error}"

    def _ask(self, path: str) -> Any:
        """The running desk's answer, or None if none answers. Raises ``PolicyError`` with its sentence if it refuses."""
        try:
            door = json.loads(self._paths.of(self.account).endpoint_token.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        wire = http.client.HTTPConnection(urlsplit(door["url"]).netloc, timeout=DESK_WITHIN_S)
        try:
            wire.request("GET", path, headers={"Authorization": f"Bearer {door['token']}"})
            answer = wire.getresponse()
            said = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):  # nobody, a halted desk, or another program on its old port
            return None
        finally:
            wire.close()
        if answer.status != 200:
            raise PolicyError(said["error"])
        return said

    def _child(self, command: str, *arguments: str, within_s: float = CHILD_WITHIN_S) -> Any:
        """A process that may hold the keys, of which the kernel has none, prints what it saw."""
        environ = {**os.environ, "QTKIT_HOME": str(self._paths.home)}
        line = [sys.executable, "-m", "qtkit", command, *arguments, "--json", "--account", self.account]
        done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=within_s, stdin=subprocess.DEVNULL)
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            said = done.stderr.strip().splitlines()
            raise PolicyError(said[-1].removeprefix("qtkit: ") if said else f"`qtkit {command}` said nothing") from None


def _covered(it: Ledger) -> str:
    whole = sum(not line.has_gap for line in it.lines)
    late = it.late()
    state = f"{whole} of {len(it.lines)} positions covered" if it.lines else "no position is open"
    return f"account {it.account}: {state}" + (f"; {late}" if late else "")


_JOURNAL: dict[str, type[pl.DataType]] = {"seq": pl.Int64, "at": pl.Int64, "kind": pl.String, "key": pl.String, "body": pl.String}
_PLAN: dict[str, pl.DataType | type[pl.DataType]] = {
    "key": pl.String, "side": pl.String, "strategy": pl.String, "size": pl.String, "entry": pl.String, "stop": pl.String,
    "stop_now": pl.String, "floor": pl.String, "break_even": pl.String, "targets": pl.List(pl.String), "trail": pl.String,
    "trail_from": pl.String, "standing": pl.String, "created": TIME, "ends": TIME, "episode": pl.Int64, "revision": pl.Int64,
    "uid": pl.String, "reason": pl.String, "warnings": pl.List(pl.String),
}  # fmt: skip


def _plan_row(plan: ExitPlan, living: Episode | None) -> Mapping[str, Any]:
    def price(ticks: int) -> str:
        return decimal(ticks * plan.tick, 8)

    return {
        "key": str(plan.key), "side": plan.side.name, "strategy": plan.strategy_id, "size": decimal(plan.lots * plan.lot, 8),
        "entry": decimal(plan.entry, 8), "stop": price(plan.stop),
        "stop_now": None if living is None else price(living.trail.stop), "floor": price(plan.floor), "break_even": price(plan.break_even),
        "targets": [f"{decimal(target.share, 2)} %@{price(target.price)}" for target in plan.targets],
        "trail": None if plan.trail is None else f"{decimal(plan.trail.callback, 2)} %",
        "trail_from": None if plan.trail is None else price(plan.trail.activation),
        "standing": "provisional" if plan.provisional else "adopted" if plan.adopted else "own",
        "created": _time(plan.created_ms), "ends": None if plan.deadline_ms is None else _time(plan.deadline_ms),
        "episode": plan.episode, "revision": plan.revision, "uid": plan.uid, "reason": plan.reason, "warnings": list(plan.warnings),
    }  # fmt: skip


def _texts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each of these in one text: its time, and what else it says."""
    return [
        " ".join((_time(row["at_ms"]).strftime("%m-%d %H:%M:%S"), *(str(row[name]) for name in row if name != "at_ms"))) for row in rows
    ]


def _frame(kind: type[Line] | type[OrderLine] | type[Step] | type[Outcome], rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows as a frame with the same columns also when there are none; numbers as exact decimals, times as UTC."""
    schema = {name: _type(name, hint) for name, hint in kind.__annotations__.items()}
    frame = _numbers(pl.DataFrame([{name: row[name] for name in schema} for row in rows], schema=schema, orient="row"))
    times = [name for name in schema if name.endswith("_ms")]
    return frame.with_columns(pl.col(name).cast(TIME) for name in times).rename({name: name.removesuffix("_ms") for name in times})


def _type(name: str, hint: object) -> pl.DataType:
    if hint is bool:
        return pl.Boolean()
    if get_origin(hint) is tuple:
        return pl.List(pl.String())
    return pl.Int64() if hint is int or name.endswith("_ms") else pl.String()


def _numbers(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(
        pl.Series(name, [None if text in (None, "all") else Decimal(text) for text in frame[name]], dtype=MONEY)
        for name in frame.columns
        if name in _NUMBERS
    )


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _ms(since: str | datetime) -> int:
    try:
        at = datetime.fromisoformat(since) if isinstance(since, str) else since
    except ValueError:
        raise PolicyError(f"since='{since}' is neither a sequence number nor a time such as 2025-11-21T12:00") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _key(event: object) -> str:
    """The position that an event is about, empty where it is about the account."""
    key = getattr(event, "key", None) or getattr(getattr(event, "plan", None), "key", None)
    return "" if key is None else str(key)
