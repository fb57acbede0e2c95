"""``qtkit paper``: the embedded exchange alone, on a port of this computer, for the desk and for any unmodified client.

Its command is over 40 lines long: each of its options is one.
"""

import asyncio
import json
import os
import re
import secrets
import signal
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from qtkit.core.model import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qtkit.home import Paths
    from qtkit.paper.live import PriceSource
    from qtkit.paper.recipe import Recipe
    from qtkit.paper.server import PaperServer
    from qtkit.paper.session import Session

BALANCE = 100_000
READER = "reader"
KEYED = ("paper", "stranger", READER)
"""Whose keys there always are, all of one account."""
MINUTE_MS = 60_000


def paper(
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port; default: that of accounts.paper.base_url, 8560.")] = None,
    incident: Annotated[bool, typer.Option("--incident", help="Open the incident's five short positions, without stops.")] = False,
    data: Annotated[list[Path] | None, typer.Option(help="Folder of parquet bars to replay instead of made prices; repeatable.")] = None,
    symbols: Annotated[str, typer.Option(help="Symbols of --data, --trades or --live, with commas; default: all that are known.")] = "",
    window: Annotated[str, typer.Option(help="Which stretch of --data: fall, rise, range, or a time such as 2025-06-20T12:00.")] = "fall",
    hours: Annotated[float, typer.Option(min=0.02, help="Length of the stretch of --data.")] = 24.0,
    path: Annotated[str, typer.Option(help="Way through a bar: bridge, worst[-long|-short], best[-long|-short].")] = "bridge",
    trades: Annotated[Path | None, typer.Option(help="Recorded trades (parquet, or a raw capture .gz) to replay tick by tick.")] = None,
    quotes: Annotated[Path | None, typer.Option(help="Recorded quotes (parquet) that go with --trades.")] = None,
    at: Annotated[str, typer.Option(help="A time (UTC) in the wanted stretch of --trades; default: the longest.")] = "",
    basis: Annotated[str, typer.Option(help="How far mark and last part: 0, 35bps, 1..8bps, or a parquet file of marks.")] = "",
    regime: Annotated[str, typer.Option(help="Regimes of made prices: trend, range, crash, squeeze, gap, thin; with commas.")] = "",
    live: Annotated[bool, typer.Option("--live", help="Trade on Binance's public prices of now (needs a network).")] = False,
    speed: Annotated[float, typer.Option(min=0.001, max=100_000, help="Exchange seconds in a wall second.")] = 1.0,
    step: Annotated[bool, typer.Option("--step", help="Begin with time held: it is stepped by the control endpoint.")] = False,
    snapshot: Annotated[Path | None, typer.Option(help="File to save everything to when it ends.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on from a saved file: exchange, tape position and faults.")] = None,
    hedge: Annotated[bool, typer.Option("--hedge", help="Hedge mode: a long and a short position in one symbol.")] = False,
    accounts: Annotated[str, typer.Option(help="Accounts beside paper, with commas: as much money, keys of their own.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the made prices.")] = 7,
    market: Annotated[Path | None, typer.Option(help="Books of the symbols: a market.json that `qtkit run slippage` wrote.")] = None,
) -> None:
    """Run a paper exchange (Binance USD-M) on this computer. Nothing is kept when it ends, unless --snapshot says where.

    Account "paper" holds 100,000 USDT. Its keys are made in the home folder: paper.json for the desk, stranger.json for anybody else who
    trades on the same account, reader.json for one that may only read; NAME.json for each of --accounts. The status page is at /qtkit/,
    the control endpoint under it.

    Examples: `qtkit paper`, `qtkit paper --incident`, `qtkit paper --regime crash --speed 10 --step --snapshot a.snapshot`,
    `qtkit paper --data bars --window fall --hours 6 --path worst`, `qtkit paper --trades trades.parquet`
    """
    from qtkit.paper.recipe import Recipe

    given = tuple(name.strip().upper() for name in symbols.split(",") if name.strip())
    made = any((data, trades, regime, incident, basis))
    if resume is not None and (made or live or any((at, quotes, symbols, hedge, market, accounts))):
        raise PolicyError("--resume goes on with what was saved; leave away what chooses prices, books, accounts and positions")
    if live and (made or step or snapshot or speed != 1):
        raise PolicyError("--live takes the prices and the time of now; leave away what makes, steps, hurries or saves them")
    start_ms = time.time_ns() // 1_000_000 // MINUTE_MS * MINUTE_MS
    recipe = Recipe(
        start_ms=start_ms, seed=seed, symbols=() if live else given, folders=tuple(str(folder) for folder in data or ()), window=window,
        hours=hours, path=path, trades=str(trades or ""), quotes=str(quotes or ""), at=at, basis=basis, incident=incident,
        regimes=tuple(word.strip().lower() for word in regime.split(",") if word.strip()),
    )  # fmt: skip
    others = _named(accounts)
    asyncio.run(_run(_Asked(port, recipe, given if live else None, speed, step, snapshot, resume, hedge, market, others)))


def _named(text: str) -> tuple[str, ...]:
    """Names of accounts, each of which is the name of a file of keys."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name in KEYED or not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", name):
            raise PolicyError(f"{name!r} cannot be an account's name: small letters, digits and -, but not {', '.join(KEYED)}")
    return names


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for. ``live`` are the symbols of live prices (empty: some), None without them."""

    port: int | None
    recipe: "Recipe"
    live: tuple[str, ...] | None
    speed: float
    step: bool
    snapshot: Path | None
    resume: Path | None
    hedge: bool
    market: Path | None
    others: tuple[str, ...] = ()


async def _run(asked: _Asked) -> None:
    from qtkit.paper import scene
    from qtkit.paper.server import PaperServer
    from qtkit.paper.signing import WHOLE
    from qtkit.settings import PaperKeys, Paths, Settings

    paths = Paths.here()
    settings = Settings.load(paths.home)
    configured = _port_of(settings)
    keys = {name: PaperKeys.create(paths.paper_keys(name)) for name in KEYED}
    strangers = (scene.STRANGER, keys[scene.STRANGER].api_key)
    session, opened = _session(asked, f"q1{settings.desk}", strangers, paths.home / "snapshots")
    known = {pair.api_key: (pair.secret.reveal(), "paper") for pair in keys.values()}
    for name in set(session.exchange.accounts) - {"paper"}:
        pair = PaperKeys.create(paths.paper_keys(name))
        known[pair.api_key] = pair.secret.reveal(), name
    server = PaperServer(session.exchange, keys=known, faults=session.faults)
    server.rights[keys[READER].api_key] = replace(WHOLE, trade=False)
    session.server = server
    port = await server.start(port=configured if asked.port is None else asked.port)
    try:
        with _controlled(session, server, paths, port):
            async with session:
                if session.live is not None:
                    await session.live.wait()
                _tell(paths, port, configured, session, opened)
                await _until_told_to_end(session)
                if asked.snapshot is not None:
                    session.save(asked.snapshot)
    finally:
        await server.stop()
    kept = f"saved in {asked.snapshot}" if asked.snapshot is not None else "gone"
    print(f"\npaper exchange stopped; its positions and orders are {kept}", flush=True)


def _session(asked: _Asked, prefix: str, strangers: tuple[str, ...], folder: Path) -> "tuple[Session, tuple[str, ...]]":
    """The session that was asked for, and the symbols of positions that were opened on it."""
    from qtkit.core.model import E8, ONE
    from qtkit.paper import market_file, scene
    from qtkit.paper.exchange import Exchange
    from qtkit.paper.session import Session

    if asked.resume is not None:
        session = Session.resumed(asked.resume, prefix=prefix, strangers=strangers, folder=folder)
        if "paper" not in session.exchange.accounts:
            raise PolicyError(f"{asked.resume} has no account 'paper', which the keys of this home are for")
        return _begun(session, asked), ()
    books = market_file.read(asked.market) if asked.market else {}
    if books:
        print(f"the books of {', '.join(books)} are those of {asked.market}; the others keep the default")
    recipe = asked.recipe
    exchange = Exchange(seed=recipe.seed, start_ms=recipe.start_ms)
    account, *_ = (exchange.open_account(name, balance=E8(BALANCE * ONE), hedge=asked.hedge) for name in ("paper", *asked.others))
    if asked.live is not None:
        source, names = _live(asked.live)
        scene.give_books(exchange, books)
        return Session(exchange, recipe, source=source, symbols=names, prefix=prefix, strangers=strangers, folder=folder), ()
    tape = recipe.tape()
    scene.prepare(exchange, tape)
    opened = scene.open_incident(exchange, account, recipe.starts(tape)) if recipe.incident else ()
    scene.give_books(exchange, recipe.books() | books)  # afterwards: the incident's positions fill at their entries in any book
    session = Session(exchange, recipe, tape=tape, prefix=prefix, strangers=strangers, folder=folder)
    return _begun(session, asked), opened


def _begun(session: "Session", asked: _Asked) -> "Session":
    if asked.speed != 1:
        session.pump.speed = asked.speed
    if asked.step:
        session.pump.pause()
    elif asked.resume is not None:
        session.pump.resume()
    return session


def _live(wanted: tuple[str, ...]) -> "tuple[PriceSource, tuple[str, ...]]":
    """Binance's public prices of some symbols (default: those of the demonstration)."""
    from qtkit.core.names import suggestion
    from qtkit.paper.synthetic import DEMO_STARTS
    from qtkit.paper.tape import INSTRUMENTS
    from qtkit.venue.ccxt_prices import CcxtPrices

    names = wanted or tuple(DEMO_STARTS)
    for name in names:
        if name not in INSTRUMENTS:
            raise PolicyError(f"{name} is not traded here: {suggestion(name, INSTRUMENTS)}")
    return CcxtPrices({name: INSTRUMENTS[name] for name in names}), names


@contextmanager
def _controlled(session: "Session", server: "PaperServer", paths: "Paths", port: int) -> "Iterator[None]":
    """The control endpoint is open, and its token lies in a file that only the owner can read."""
    from qtkit.paper.control import ControlDoor
    from qtkit.paper.remote import TOKEN

    token, file = secrets.token_urlsafe(32), paths.home / TOKEN
    server.control = ControlDoor(session, token)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump({"url": f"http://127.0.0.1:{port}", "token": token}, out)
    os.replace(draft, file)
    try:
        yield
    finally:
        with suppress(OSError, ValueError):  # another exchange of this home may have put its own there
            if json.loads(file.read_text())["token"] == token:
                file.unlink()


async def _until_told_to_end(session: "Session") -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    while not stop.is_set():
        _status(session)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)


def _port_of(settings: object) -> int:
    from qtkit.settings import Settings

    assert isinstance(settings, Settings)
    account = settings.accounts.get("paper")
    return (urlsplit(account.base_url).port if account else None) or 8560


def _tell(paths: "Paths", port: int, configured: int, session: "Session", opened: tuple[str, ...]) -> None:
    base = f"http://127.0.0.1:{port}"
    names = ", ".join(session.exchange.accounts)
    said = f"account paper, {BALANCE:,} USDT" if names == "paper" else f"accounts {names}, each with keys of its own"
    print(f"paper exchange (Binance USD-M protocol) listens on {base}; {said}")
    if port != configured:
        print(f"a desk finds it with QTKIT_ACCOUNTS__PAPER__BASE_URL={base}, or base_url under [accounts.paper] in qtkit.toml")
    print("\nccxt as a stranger on the same account, in three lines after `import ccxt, json`:")
    options = '"options": {"fetchCurrencies": False, "fetchMarkets": {"types": ["linear"]}}'
    print(f'  keys = json.load(open("{paths.paper_keys("stranger")}"))')
    print(f'  ex = ccxt.binanceusdm({{"apiKey": keys["api_key"], "secret": keys["secret"], {options}}})')
    here = f'u.replace("https://fapi.binance.com", "{base}")'
    print(f'  ex.urls["api"] = {{k: {here} for k, u in ex.urls["api"].items() if "fapi" in k}}\n')
    if session.live is not None:
        print(f"live prices of {', '.join(sorted(session.live.known))}")
    else:
        pump = session.pump
        at = datetime.fromtimestamp(session.now_ms / 1000, UTC)
        held = "time is held: step it by the control endpoint" if pump.paused else f"speed {pump.speed:g}"
        print(f"it is {at:%Y-%m-%d %H:%M:%S} UTC on the exchange, {held}; prices to come (made ones for the first hour):")
    for line in session.described:
        print(f"  {line}")
    print(f"\nstatus page {base}/qtkit/, control by `qtkit.paper.remote.Remote.at({str(paths.home)!r})`")
    if opened:
        print(f"\nopened by a stranger, short, without stops: {', '.join(opened)}; `qtkit desk` covers them")
    print("Ctrl-C ends it", flush=True)


def _status(session: "Session") -> None:
    """One line that is written over and over; only on a terminal."""
    from qtkit.core.model import ONE

    if not sys.stdout.isatty():
        return
    exchange = session.exchange
    account = exchange.accounts["paper"]
    wallet = exchange.wallet(account)
    at = datetime.fromtimestamp(exchange.now_ms / 1000, UTC)
    state = "the tape has ended, prices stand still" if session.finished else f"{at:%Y-%m-%d %H:%M:%S} UTC"
    held, resting = len(tuple(account.open_legs())), len(account.resting()) + len(account.waiting())
    line = f"{state}  positions {held}  orders {resting}  equity {wallet.equity / ONE:,.2f} USDT"
    print(f"\r{line:<100}", end="", flush=True)
