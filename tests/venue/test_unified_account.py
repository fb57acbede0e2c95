"""A trader's account on an exchange besides Binance, as the trader uses it: `qtkit check`, and a desk in scope watch."""

import asyncio
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qtkit.account import Account
from qtkit.commands.look import ledger_now
from qtkit.core.model import Lots, PolicyError, PositionSide, Scope, Side
from qtkit.desk import gateway_of, opened, traits_of
from qtkit.home import Secret
from qtkit.keys import Keys
from qtkit.settings import Settings
from qtkit.venue.capabilities import ADDRESSES, VENUES
from qtkit.venue.ccxt_unified_client import make_client

from .test_unified import OWN, Exchange, Held, resting
from .test_unified import VENUES as UNIFIED
from .unified_kit import KEYS

venues = pytest.mark.parametrize("venue", UNIFIED)
BOTH = PositionSide.BOTH


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """ccxt paces its requests by the real exchanges' limits: the one on loopback has none."""

    def make(*arguments: Any, **settings: Any) -> Any:
        client = make_client(*arguments, **settings)
        client.enableRateLimit, client.timeout_on_exit = False, 0
        return client

    monkeypatch.setattr("qtkit.venue.ccxt_unified.make_client", make)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("QTKIT_")]:
        monkeypatch.delenv(name)
    place = tmp_path / ".qtkit"
    (place / "keys").mkdir(mode=0o700, parents=True)
    monkeypatch.setenv("QTKIT_HOME", str(place))
    monkeypatch.setenv("QTKIT_LEASES", str(tmp_path / "leases"))
    return place


def settle(home: Path, exchange: Exchange, **more: str) -> None:
    """An account of the exchange, and its keys."""
    lines = [f'venue = "{exchange.venue}"', 'kind = "live"', f'base_url = "{exchange.url}"', *(f'{k} = "{v}"' for k, v in more.items())]
    series = 'trail_series = "last"\n' if exchange.venue == "hyperliquid" else ""
    (home / "qtkit.toml").write_text(f"{series}[accounts.main]\n" + "\n".join(lines) + "\n")
    key, secret = KEYS[exchange.venue]
    file = home / "keys" / "main.json"
    file.write_text(json.dumps({"api_key": key, "secret": secret}))
    file.chmod(0o600)


@venues
@pytest.mark.parametrize("side", Side)
async def test_check_shows_what_is_open_and_that_a_strangers_stop_is_foreign(venue: str, side: Side, home: Path) -> None:
    (stop, *_) = resting(venue, side, BOTH)
    async with Exchange(venue, [Held(side)], [stop]) as exchange:
        settle(home, exchange)
        ledger = await ledger_now("main")
        (line,) = ledger.lines
        assert (line.symbol, line.side, line.covered, line.naked) == (OWN[venue], side.name, "0", False)
        assert (line.size, line.entry, line.mark) == ("0.02", "90000.12", "91000.05")
        assert line.foreign == (stop.client_id,)
        assert ledger.sentence.startswith("1 position, 0 naked, 1 covered by foreign stops alone")
        assert {name.split()[0] for name, _ in exchange.requests} <= {"GET", "POST"}  # of POST only /info is answered


@venues
async def test_a_naked_position_is_called_naked(venue: str, home: Path) -> None:
    async with Exchange(venue, [Held(Side.SHORT)]) as exchange:
        settle(home, exchange)
        assert (await ledger_now("main")).sentence.startswith("1 position, 1 naked")


@venues
async def test_a_desk_in_scope_watch_passes_and_sends_nothing(venue: str, home: Path) -> None:
    async with Exchange(venue, [Held(Side.LONG)], resting(venue, Side.LONG, BOTH)) as exchange:
        settle(home, exchange, scope="watch")
        async with opened(Settings.load(home), "main") as desk:
            for _ in range(3):
                (line,) = await desk.monitor.pass_once()
                assert line.covered == 0 and line.gap > 0
            exchange.held = [replace(exchange.held[0], size="0.05")]
            (line,) = await desk.monitor.pass_once()
            assert line.needed == Lots(line.needed) and line.needed * desk.monitor.gateway.instruments[OWN[venue]].lot == 5_000_000
        assert all(name.startswith("GET") or name == "POST /info" for name, _ in exchange.requests)


@pytest.mark.parametrize(
    ("venue", "key"),
    [("okx", {"perm": "read_only,withdraw"}),
     ("bybit", {"readOnly": 0, "permissions": {"Wallet": ["Withdraw"], "ContractTrade": []}, "ips": ["*"]})],
)  # fmt: skip
async def test_a_key_that_may_withdraw_is_refused_where_the_exchange_tells(venue: str, key: dict[str, Any], home: Path) -> None:
    async with Exchange(venue, [Held(Side.SHORT)], rows={"key": [key]}) as exchange:
        settle(home, exchange)
        with pytest.raises(PolicyError, match="allows withdrawals, which a desk never needs"):
            await ledger_now("main")


# --- settings ------------------------------------------------------------------------------------------------------


@venues
@pytest.mark.parametrize("scope", [Scope.GUARD, Scope.FULL])
def test_nothing_but_watch_where_no_canary_has_been(venue: str, scope: Scope) -> None:
    with pytest.raises(PolicyError, match=rf"accounts\.main\.scope: .*{venue}.*use scope watch"):
        Account(name="main", venue=venue, kind="live", scope=scope)
    assert Account(name="main", venue=venue, kind="live").scope is Scope.WATCH


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"venue": "bibit", "kind": "live"}, r"accounts\.main\.venue: venue 'bibit' is not supported; did you mean 'bybit'\?"),
        ({"venue": "kraken", "kind": "live"}, "did you mean 'krakenfutures'"),
        ({"venue": "okx"}, r"accounts\.main\.kind: the paper exchange speaks binanceusdm"),
        ({"venue": "bybit", "kind": "demo", "base_url": "https://api.bybit.com"}, "is the live exchange, the account is demo"),
        ({"venue": "bybit", "kind": "live", "base_url": "https://fapi.binance.com"}, "is not the live exchange, https://api.bybit.com"),
    ],
)
def test_a_venue_that_cannot_be_meant(fields: dict[str, str], why: str) -> None:
    with pytest.raises(PolicyError, match=why):
        Account(name="main", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("venue", VENUES)
def test_traits_are_those_of_the_table(venue: str) -> None:
    row, traits = VENUES[venue], traits_of(venue)
    assert (traits.floor_beside_stop, traits.conditional_reserves, traits.stop_while_flat, traits.max_conditional) == (
        row.floor_beside_stop, row.conditional_reserves, row.stop_while_flat, row.max_conditional,
    )  # fmt: skip


@venues
@pytest.mark.parametrize("kind", ["live", "demo"])
def test_addresses_are_those_of_the_client(venue: str, kind: str) -> None:
    key, secret = KEYS[venue]
    client: Any = make_client(venue, base_url=None, demo=kind == "demo", key=key, secret=secret, timeout_s=1.0)
    urls = {client.implode_hostname(url) for url in client.urls["api"].values()}
    assert all(url.startswith(ADDRESSES[venue][kind]) for url in urls)
    header = client.sign("v2/mix/order/x", ["private", "mix"], "GET", {})["headers"] if venue == "bitget" else client.headers
    if venue in ("okx", "bitget"):
        assert any(name.lower() in ("x-simulated-trading", "paptrading") for name in header) is (kind == "demo")
    asyncio.run(client.close())


@venues
def test_the_gateway_of_an_account_is_that_of_its_venue(venue: str) -> None:
    key, secret = KEYS[venue]
    account = Account(name="main", venue=venue, kind="demo")
    gateway = gateway_of(account, Keys(key, Secret(secret)), Settings(accounts={"main": account}))
    assert repr(gateway) == f"CcxtUnifiedGateway('main', {venue}, read-only)"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(gateway)
    asyncio.run(gateway.close())
