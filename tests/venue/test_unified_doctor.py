"""`qtkit doctor`, and what else asks for the exchange's clock, on the exchanges besides Binance."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qtkit import cli
from qtkit.canary import Wish, canary
from qtkit.commands.canary import clock_of
from qtkit.core.model import PolicyError, PositionSide, Side
from qtkit.desk import opened
from qtkit.doctor import Finding, State, examine
from qtkit.settings import Settings, account_of
from qtkit.venue.capabilities import capabilities

from .test_unified import resting
from .test_unified_account import home, settle, unhurried, venues
from .unified_exchange import Exchange, Held

__all__ = ["home", "unhurried"]  # fixtures
FINE, LOOK, WRONG = State.FINE, State.LOOK, State.WRONG
TELL_TIME = ("bybit", "okx", "bitget", "hyperliquid")


async def findings() -> dict[str, Finding]:
    return {finding.name: finding for finding in (await examine("main")).findings}


@venues
@pytest.mark.parametrize("side", Side)
async def test_each_exchange_is_asked_in_its_own_way(venue: str, side: Side, home: Path) -> None:
    orders = resting(venue, side, PositionSide.BOTH)
    async with Exchange(venue, [Held(side)], orders) as exchange:
        settle(home, exchange)
        found = await findings()
        assert found["exchange"].state is FINE and found["exchange"].found.startswith(f"{exchange.url} answers in "), found["exchange"]
        most = capabilities(venue).max_conditional
        conditional = sum(order.kind.conditional for order in orders)
        assert found["order slots"].found.startswith(f"{conditional} of {most} conditional orders rest"), found["order slots"]
        assert "request weight" not in found, "only Binance tells how much of it was used"
        for name in ("position mode", "margin mode", "filters", "settings", "right to write"):
            assert found[name].state is not WRONG and "not known" not in found[name].found, found[name]
        assert "/fapi" not in str(exchange.requests)
        if venue == "hyperliquid":  # read by an address that anybody may know
            assert found["key rights"].state is FINE, found["key rights"]
        clock = await clock_of(account_of(Settings.load(home), "main"))
    assert clock.right
    if venue in TELL_TIME:
        assert found["clock"].state is FINE, found["clock"]
    else:
        assert found["clock"].state is LOOK and f"{venue} does not tell its time" in found["clock"].found
        assert "`timedatectl`" in found["clock"].remedy


@pytest.mark.parametrize("venue", TELL_TIME)
async def test_a_clock_that_is_wrong_is_found_out(venue: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from . import unified_exchange

    true = unified_exchange.now_ms
    async with Exchange(venue) as exchange:
        settle(home, exchange)
        monkeypatch.setattr(unified_exchange, "now_ms", lambda: true() - 5_000)
        found = (await findings())["clock"]
        assert found.state is WRONG and "ms ahead of the exchange's" in found.found, found
        assert not (await clock_of(account_of(Settings.load(home), "main"))).right


@venues
async def test_without_keys_the_exchange_answers_all_the_same(venue: str, home: Path) -> None:
    async with Exchange(venue) as exchange:
        settle(home, exchange)
        (home / "keys" / "main.json").unlink()
        found = await findings()
    assert found["exchange"].state is FINE, found["exchange"]
    assert found["order slots"].state is LOOK and "the account has no keys" in found["order slots"].found


def answer(instead: Any, name: str, body: Any) -> Any:
    return 404, instead


@venues
async def test_somebody_else_at_the_address_is_no_exchange(venue: str, home: Path) -> None:
    other: Any = ({"message": "not found"}, [], 7, None, "<html>" + "x" * 10_000)
    for body in other:
        async with Exchange(venue) as exchange:
            exchange.spoil = partial(answer, body)
            settle(home, exchange)
            found = await findings()
        assert found["exchange"].state is WRONG, found["exchange"]
        assert found["exchange"].found.startswith(f"{exchange.url} does not answer as an exchange: "), found["exchange"]
        assert "\n" not in found["exchange"].found and len(found["exchange"].found) < 300
        assert "qtkit paper" not in found["exchange"].remedy, "the paper exchange speaks Binance's protocol alone"
    found = await findings()  # nobody is there any more
    assert found["exchange"].state is WRONG and found["clock"].state is LOOK


@venues
async def test_the_canary_says_that_it_is_for_binance_alone(
    venue: str, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No circle: it neither asks for a scope that is refused for want of a canary, nor the other way about."""
    why = capabilities(venue).read_only
    assert why is not None and "no canary" not in why
    async with Exchange(venue, [Held(Side.LONG)]) as exchange:
        settle(home, exchange)
        with pytest.raises(PolicyError) as refused:
            await canary(Settings.load(home), "main", Wish())
        assert str(refused.value).startswith(f"account main: {why}") and "guard" not in str(refused.value)
        assert exchange.requests == [], "it is not even asked for its time"
        async with opened(Settings.load(home), "main") as desk:
            with pytest.raises(PolicyError) as sends:
                desk.must_write()
        assert why in str(sends.value) and "guard" not in str(sends.value)
    monkeypatch.setattr("qtkit.commands.canary.clock_of", lambda account: pytest.fail("it was asked"))
    assert cli.main(["canary", "--account", "main", "--position"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"qtkit: account main: {why}") and "Open it?" not in told
    if venue != "hyperliquid":
        assert f"the canary exists for Binance only so far, so {venue} can be looked at only: use scope watch" in told


@venues
def test_the_command_tells_it_as_json(venue: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "qtkit.toml").write_text(f'[accounts.main]\nvenue = "{venue}"\nkind = "live"\nbase_url = "http://127.0.0.1:9"\n')
    assert cli.main(["doctor", "--account", "main", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert "exchange" in told["sentence"] and len(told["findings"]) == 21
