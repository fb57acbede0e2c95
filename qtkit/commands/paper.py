"""``qtkit paper``: the embedded exchange alone, on a port of this computer, for the desk and for any unmodified client."""

import asyncio
import signal
import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qtkit.home import Paths
    from qtkit.paper.exchange import Exchange
    from qtkit.paper.tape import Tape, Tick

BALANCE = 100_000
READER = "reader"
MINUTE_MS = 60_000


def paper(
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port; default: that of accounts.paper.base_url, 8560.")] = None,
    incident: Annotated[bool, typer.Option("--incident", help="Open the incident's five short positions, without stops.")] = False,
    data: Annotated[list[Path] | None, typer.Option(help="Folder of parquet bars to replay instead of made prices; repeatable.")] = None,
    symbols: Annotated[str, typer.Option(help="Symbols to replay from --data, with commas; default: all that are known.")] = "",
    window: Annotated[str, typer.Option(help="Which stretch of --data: fall, rise, range, or a time such as 2025-06-20T12:00.")] = "fall",
    hours: Annotated[float, typer.Option(min=0.02, help="Length of the stretch of --data.")] = 24.0,
    hedge: Annotated[bool, typer.Option("--hedge", help="Hedge mode: a long and a short position in one symbol.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the made prices.")] = 7,
    market: Annotated[Path | None, typer.Option(help="Books of the symbols: a market.json that `qtkit run slippage` wrote.")] = None,
) -> None:
    """Run a paper exchange (Binance USD-M) on this computer. Nothing is kept when it ends.

    Account "paper" holds 100,000 USDT. Its keys are made in the home folder: paper.json for the desk, stranger.json for anybody else who
    trades on the same account, reader.json for one that may only read.

    Examples: `qtkit paper`, `qtkit paper --incident`, `qtkit paper --port 8570 --data bars --window fall --hours 6`
    """
    given = [name.strip().upper() for name in symbols.split(",") if name.strip()]
    asyncio.run(_run(port, incident, data or [], given, window, hours, hedge, seed, market))


async def _run(
    port: int | None, incident: bool, data: list[Path], symbols: list[str], window: str, hours: float, hedge: bool, seed: int,
    market: Path | None,
) -> None:  # fmt: skip
    from qtkit.core.model import E8, ONE
    from qtkit.paper import market_file, scene
    from qtkit.paper.clock import Pump
    from qtkit.paper.exchange import Exchange
    from qtkit.paper.server import PaperServer
    from qtkit.paper.signing import WHOLE
    from qtkit.settings import PaperKeys, Paths, Settings

    paths = Paths.here()
    configured = _port_of(Settings.load(paths.home))
    start_ms = time.time_ns() // 1_000_000 // MINUTE_MS * MINUTE_MS
    books = market_file.read(market) if market else {}
    if books:
        print(f"the books of {', '.join(books)} are those of {market}; the others keep the default")
    tape, ticks = _prices(data, symbols, window, hours, seed, start_ms, incident)
    keys = {name: PaperKeys.create(paths.paper_keys(name)) for name in ("paper", scene.STRANGER, READER)}
    exchange = Exchange(seed=seed, start_ms=start_ms)
    account = exchange.open_account("paper", balance=E8(BALANCE * ONE), hedge=hedge)
    for symbol, book in books.items():
        exchange.set_liquidity(symbol, book)
    scene.prepare(exchange, tape)
    entries = scene.first_prices(tape, scene.incident_entries()) if data else scene.incident_entries()
    opened = scene.open_incident(exchange, account, entries) if incident else ()
    server = PaperServer(exchange, keys={pair.api_key: (pair.secret.reveal(), "paper") for pair in keys.values()})
    server.rights[keys[READER].api_key] = replace(WHOLE, trade=False)
    listening = await server.start(port=configured if port is None else port)
    try:
        _tell(paths, listening, configured, tape, opened)
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with Pump(exchange, ticks) as pump:
            while not stop.is_set():
                _status(exchange, ended=pump.finished)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 1.0)
    finally:
        await server.stop()
    print("\npaper exchange stopped; its positions and orders are gone", flush=True)


def _port_of(settings: object) -> int:
    from qtkit.settings import Settings

    assert isinstance(settings, Settings)
    account = settings.accounts.get("paper")
    return (urlsplit(account.base_url).port if account else None) or 8560


def _prices(
    data: list[Path], symbols: list[str], window: str, hours: float, seed: int, start_ms: int, incident: bool
) -> "tuple[Tape, Iterable[Tick]]":
    """The tape that begins now, and the ticks to feed: its own where bars are replayed, prices without end where they are made."""
    from qtkit.core.model import PolicyError
    from qtkit.paper import scene
    from qtkit.paper.synthetic import DEMO_STARTS, synthetic_tape

    if data:
        tape = _replay(data, symbols, window, hours, seed, start_ms)
        return tape, tape
    if symbols:
        raise PolicyError("--symbols chooses from --data; made prices are of the six symbols of the demonstration")
    starts = scene.incident_starts() if incident else DEMO_STARTS
    tape = synthetic_tape(seed, scene.HOURS, start_ms=start_ms, starts=starts)
    return tape, scene.endless(tape, seed)


def _replay(folders: list[Path], symbols: list[str], window: str, hours: float, seed: int, start_ms: int) -> "Tape":
    from qtkit.bars import find_bars
    from qtkit.core.model import PolicyError
    from qtkit.core.names import suggestion
    from qtkit.paper.tape import INSTRUMENTS, Tape
    from qtkit.paper.window import WindowChoice, replay_tape

    found = {symbol: folder for folder in folders for symbol in find_bars(folder)}
    known = [symbol for symbol in found if symbol in INSTRUMENTS]
    for symbol in symbols:
        if symbol not in known:
            raise PolicyError(f"no bars of {symbol} in {', '.join(map(str, folders))}: {suggestion(symbol, known)}")
    chosen = symbols or known
    if not chosen:
        raise PolicyError(f"{', '.join(map(str, folders))}: bars of {', '.join(sorted(found))}, none of which the paper exchange knows")
    tapes = [
        replay_tape(folder, [WindowChoice.parse(s, window) for s in chosen if found[s] == folder], hours, start_ms=start_ms, seed=seed)
        for folder in folders
        if any(found[s] == folder for s in chosen)
    ]
    return Tape(tracks=tuple(track for tape in tapes for track in tape.tracks))


def _tell(paths: "Paths", port: int, configured: int, tape: "Tape", opened: tuple[str, ...]) -> None:
    base = f"http://127.0.0.1:{port}"
    print(f"paper exchange (Binance USD-M protocol) listens on {base}; account paper, {BALANCE:,} USDT")
    if port != configured:
        print(f"a desk finds it with QTKIT_ACCOUNTS__PAPER__BASE_URL={base}, or base_url under [accounts.paper] in qtkit.toml")
    print("\nccxt as a stranger on the same account, in three lines after `import ccxt, json`:")
    options = '"options": {"fetchCurrencies": False, "fetchMarkets": {"types": ["linear"]}}'
    print(f'  keys = json.load(open("{paths.paper_keys("stranger")}"))')
    print(f'  ex = ccxt.binanceusdm({{"apiKey": keys["api_key"], "secret": keys["secret"], {options}}})')
    here = f'u.replace("https://fapi.binance.com", "{base}")'
    print(f'  ex.urls["api"] = {{k: {here} for k, u in ex.urls["api"].items() if "fapi" in k}}\n')
    print("prices to come (made ones for the first hour):")
    for line in tape.describe():
        print(f"  {line}")
    if opened:
        print(f"\nopened by a stranger, short, without stops: {', '.join(opened)}; `qtkit desk` covers them")
    print("Ctrl-C ends it", flush=True)


def _status(exchange: "Exchange", *, ended: bool) -> None:
    """One line that is written over and over; only on a terminal."""
    from qtkit.core.model import ONE

    if not sys.stdout.isatty():
        return
    account = exchange.accounts["paper"]
    wallet = exchange.wallet(account)
    at = datetime.fromtimestamp(exchange.now_ms / 1000, UTC)
    state = "the tape has ended, prices stand still" if ended else f"{at:%Y-%m-%d %H:%M:%S} UTC"
    held, resting = len(tuple(account.open_legs())), len(account.resting()) + len(account.waiting())
    line = f"{state}  positions {held}  orders {resting}  equity {wallet.equity / ONE:,.2f} USDT"
    print(f"\r{line:<100}", end="", flush=True)
