"""``qtkit parity``: a day that a desk of this home lived, told again by the reference of the lab. It reads files alone, and no key."""

import json
import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtkit.commands.look import ACCOUNT, JSON, seconds_of

if TYPE_CHECKING:
    import polars as pl

    from qtkit.lab.parity import Parity

MINUTE = "%Y-%m-%d %H:%M"


def parity(
    account: ACCOUNT = "",
    since: Annotated[str, typer.Option(help="Beginning (UTC), as 2026-01-02 or 2026-01-02T14:00, or how far back: 90m, 48h, 3d.")] = "24h",
    until: Annotated[str, typer.Option(help="End (UTC), the day included if it is one; default: now.")] = "",
    trades: Annotated[Path | None, typer.Option(help="Its fills, CSV or parquet of time, symbol, side, price, size, fee.")] = None,
    funding: Annotated[Path | None, typer.Option(help="Funding it paid, CSV or parquet of time, symbol, paid.")] = None,
    as_json: JSON = False,
) -> None:
    """Tell a recorded day again by the lab's reference: the stop after every minute, each exit, and where the money differs.

    Reads journal and tape of this home; with --trades each difference of profit is split into slippage, fee and funding. Exit status 0:
    what was compared is decided alike; 1: something is not, or nothing could be compared.

    Examples: `qtkit parity`, `qtkit parity --account main --since 2026-01-02 --until 2026-01-02`,
    `qtkit parity --since 48h --trades fills.csv --json | jq .first`
    """
    from qtkit import lab
    from qtkit.lab import sheets
    from qtkit.reader import open

    begin, end = _window(since, until)
    day = open(account).day(begin, end)
    paid = None if funding is None else lab.funding_paid(funding)
    it = lab.parity(**day, trades=None if trades is None else lab.fills(trades), funding=paid)
    if day["prices"].is_empty() or it.frame.is_empty():
        raise _nothing(account, begin, end, day["prices"]["at"])
    if as_json:
        print(json.dumps(_row(it), indent=1, default=str))
    else:
        print(sheets.parity(it))
        if trades is None:
            print("money is not compared: give the account's fills with --trades FILE")
    raise typer.Exit(0 if it.compared and not it.differences else 1)


def _row(it: "Parity") -> dict[str, object]:
    first = None if it.first is None else asdict(it.first)
    return {
        "sentence": it.sentence,
        "first": first,
        "differences": [asdict(one) for one in it.differences],
        "positions": it.frame.to_dicts(),
    }


def _window(since: str, until: str) -> tuple[datetime, datetime]:
    """From when to when. Raises ``PolicyError`` for what is no time, and for an end before the beginning."""
    from qtkit.apply import wall_ms
    from qtkit.core.model import PolicyError

    now = _time(wall_ms())
    begin, end = _at(since, "--since", now), _at(until, "--until", now, end=True) if until else now
    if end <= begin:
        raise PolicyError(f"--until lies before --since: {end:{MINUTE}} before {begin:{MINUTE}} UTC")
    return begin, end


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _at(text: str, option: str, now: datetime, *, end: bool = False) -> datetime:
    from qtkit.bars import BarsError, moment
    from qtkit.core.model import PolicyError

    if re.fullmatch(r"[1-9][0-9]{0,5}[mhd]", text.strip()):
        return now - timedelta(seconds=seconds_of(text, option))
    try:
        return moment(text, end=end)
    except BarsError:
        said = "a time in UTC (2026-01-02, 2026-01-02T14:00) or how far back (30m, 2h, 1d)"
        raise PolicyError(f"{option} is {said}, got '{text}'") from None


def _nothing(account: str, begin: datetime, end: datetime, priced: "pl.Series") -> Exception:
    """Why there is nothing to tell again, and when there would be something."""
    from qtkit.core.events import EpisodeOpened, Event
    from qtkit.core.model import PolicyError
    from qtkit.desk import EVENT_TYPES
    from qtkit.home import Paths
    from qtkit.store.journal import Journal, JournalReader

    path = Paths.here().of(account).journal
    reader: JournalReader[Event] = Journal.read(path, EVENT_TYPES, account=account)
    with reader:
        opened = [_time(row.at_ms) for row in reader.events() if isinstance(row.event, EpisodeOpened)]
    within = [at for at in opened if begin <= at < end]
    if within and len(priced):
        prices = f"{_time(priced[0]):{MINUTE}} to {_time(priced[-1]):{MINUTE}}"
        return PolicyError(
            f"of account {account} positions were opened from {within[0]:{MINUTE}} to {within[-1]:{MINUTE}}, but the prices on its tape "
            f"are of {prices} UTC; a paper exchange at another speed than that of the clock cannot be told again: let it run at --speed 1"
        )
    held = (
        f"the positions of its journal were opened from {opened[0]:{MINUTE}} to {opened[-1]:{MINUTE}}" if opened else "its journal has none"
    )
    said = f"of account {account} no position was recorded from {begin:{MINUTE}} to {end:{MINUTE}} UTC"
    return PolicyError(f"{said}; {held}; give another --since and --until")
