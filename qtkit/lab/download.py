"""Public history of an exchange into parquet: bars, mark price bars, fundings, by symbol and month; continued where it stopped.

The only file of the lab that imports ccxt, and that when a download starts. No key is used.
"""

import ipaddress
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from qtkit.bars import moment
from qtkit.core.model import PolicyError
from qtkit.core.names import nearest, suggestion
from qtkit.lab.loading import BINANCE, Loaded, Loading, Step
from qtkit.lab.months import SCHEMAS, Series, Span
from qtkit.lab.pages import PAGE_ROWS, Answer, Asking, DownloadError, Pace

__all__ = ["DownloadError", "Loaded", "Pace", "Step", "download"]

TIMEFRAMES = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")


def download(
    symbols: Sequence[str],
    start: datetime | str,
    end: datetime | str | None = None,
    *,
    folder: Path | str,
    kinds: Sequence[str] = ("bars",),
    exchange: str = BINANCE,
    timeframe: str = "1m",
    base_url: str | None = None,
    tell: Callable[[Step], None] = lambda step: None,
    pace: Pace | None = None,
) -> tuple[Loaded, ...]:
    """Load what of the time from ``start`` until ``end`` (default: now) is not in ``folder`` yet; every series with its gaps.

    Times are read as ``qtkit.bars.moment`` does: an end of ``2024-03`` includes March. ``kinds`` are of ``bars``, ``mark``, ``funding``;
    other exchanges than Binance USD-M give ``bars`` alone, with volumes in the exchange's own unit. ``base_url`` is a paper exchange on
    loopback. ``tell`` hears after every page, and why is waited.
    Whatever ends a download, also a kill, a later one goes on behind the last page that was written. An unclosed bar is never
    written, missing ones stay missing.

    Raises ``PolicyError`` and ``BarsError`` for a wrong question, ``DownloadError`` if the exchange refuses or stays silent.
    """
    span = _asked(start, end)
    _refuse_wrong(symbols, kinds, exchange, timeframe)
    place = Path(folder)
    _refuse_unwritable(place)
    answer = Answer()
    advice = f"see whether `qtkit paper` runs at {base_url}" if base_url else "look at the network"
    ask = Asking(_client(exchange, answer, base_url), answer, pace or Pace(), partial(_told_before, tell, exchange), advice)
    ask("load_markets")
    names = [_named(ask.client, symbol) for symbol in symbols]
    whose = exchange if base_url is None else f"paper {exchange}"  # made prices must not come between real ones
    done = []
    for name, unified in dict(names).items():
        for kind in dict.fromkeys(kinds):
            source = whose if kind == "funding" else f"{whose} {timeframe}"
            done.append(Loading(Series(place, kind, name, source), unified, timeframe, ask, tell).run(span))
    return tuple(done)


def _told_before(tell: Callable[[Step], None], exchange: str, note: str) -> None:
    tell(Step(symbol=exchange, kind="contracts", done_ms=0, total_ms=1, note=note))


def _asked(start: datetime | str, end: datetime | str | None) -> Span:
    first = moment(start)
    last = datetime.now(UTC) + timedelta(days=36_500) if end is None else moment(end, end=True)
    if last <= first:
        raise PolicyError(f"the time to load begins {first:%Y-%m-%d %H:%M} and ends {last:%Y-%m-%d %H:%M}; give a --to after --from")
    return int(first.timestamp() * 1000), int(last.timestamp() * 1000)


def _refuse_wrong(symbols: Sequence[str], kinds: Sequence[str], exchange: str, timeframe: str) -> None:
    if not symbols or not kinds:
        raise PolicyError("name at least one symbol, as BTCUSDT, and one kind: bars, mark or funding")
    if exchange not in PAGE_ROWS:
        longer = next((name for name in PAGE_ROWS if exchange and name.startswith(exchange.lower())), exchange)  # binance, kraken
        raise PolicyError(f"nothing is downloaded from '{exchange}': {suggestion(longer, PAGE_ROWS)}")
    for kind in kinds:
        if kind not in SCHEMAS:
            raise PolicyError(f"there is no kind '{kind}': {suggestion(kind, SCHEMAS)}")
        if kind != "bars" and exchange != BINANCE:
            raise PolicyError(f"{kind} is downloaded from {BINANCE} only; of {exchange} ask for bars")
    if timeframe not in TIMEFRAMES:
        raise PolicyError(f"there are no bars of '{timeframe}': {suggestion(timeframe, TIMEFRAMES)}")


def _refuse_unwritable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        why = "" if os.access(folder, os.W_OK | os.X_OK) else "permission denied"
    except OSError as error:
        why = (error.strerror or str(error)).lower()
    if why:
        raise PolicyError(f"{folder} cannot be written ({why}); give a folder of your own with --folder")


def _named(client: Any, symbol: str) -> tuple[str, str]:
    """Our name of a contract and ccxt's. Raises ``PolicyError`` with the nearest name for one that the exchange does not have."""
    own = "baseName" if client.id == "hyperliquid" else "id"  # its ids are numbers
    known = {str(row[own]).upper(): row for row in client.markets.values() if row.get("contract") and row.get("linear")}
    word = symbol.upper()
    found = known.get(word) or next((row for row in known.values() if row["symbol"].upper() == word), None)
    if found is None:
        near = nearest(word, known) or next((name for name in sorted(known) if name.startswith(word)), None)
        hint = f"did you mean '{near}'?" if near else f"it has {len(known)} contracts, such as {', '.join(sorted(known)[:5])}"
        raise PolicyError(f"{client.id} has no contract '{symbol}': {hint}")
    return str(found[own]), str(found["symbol"])


def _client(exchange: str, answer: Answer, base_url: str | None) -> Any:
    """ccxt's client of an exchange, without keys, which keeps how it was answered last."""
    import ccxt

    if exchange not in ccxt.exchanges:
        raise PolicyError(f"this version of ccxt does not know {exchange}; run `make setup`")

    class Client(getattr(ccxt, exchange)):  # type: ignore[misc]  # ccxt is not typed
        def on_rest_response(self, code: int, reason: str, url: str, method: str, headers: Any, body: str, *rest: Any) -> str:
            answer.status, answer.text = code, body
            answer.headers = {name.lower(): value for name, value in headers.items()}
            return body.strip()

    kinds = ["linear"] if exchange == BINANCE else ["linear", "inverse"] if exchange == "bybit" else ["swap"]
    options = {"fetchMarkets": {"types": kinds}, "fetchCurrencies": False, "fetchMargins": False, "defaultType": "swap"}
    client = Client({"enableRateLimit": True, "timeout": 20_000, "options": options})
    client.has["fetchCurrencies"] = False
    if base_url is not None:
        client.urls["api"] = _redirected(client.urls["api"], base_url)
        client.enableRateLimit = False  # the paper exchange counts as Binance does; what is this computer's own needs no pause besides
    return client


def _redirected(urls: Any, base_url: str) -> Any:
    """Every address of ccxt's nested table at another host. Raises ``PolicyError`` for one that is not this computer."""
    to = urlsplit(base_url)
    with suppress(ValueError):
        if to.hostname == "localhost" or ipaddress.ip_address(to.hostname or "").is_loopback:
            return _moved(urls, to.scheme, to.netloc)
    raise PolicyError(f"{base_url} is no loopback address; leave it out to load from the exchange itself")


def _moved(urls: Any, scheme: str, netloc: str) -> Any:
    if isinstance(urls, dict):
        return {name: _moved(url, scheme, netloc) for name, url in urls.items()}
    parts = urlsplit(urls)
    return urlunsplit((scheme, netloc, parts.path, parts.query, ""))
