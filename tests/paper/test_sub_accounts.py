"""Several accounts of one `qtkit paper`: money, orders and keys of each are its own, also after it was saved and resumed."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from qtkit.commands import paper as command
from qtkit.core.model import PolicyError
from qtkit.paper.recipe import Recipe
from qtkit.paper.remote import Remote

START = 1_767_571_200_000


@asynccontextmanager
async def running(home: Path, *, snapshot: Path | None = None, resume: Path | None = None) -> AsyncIterator[Any]:
    """`qtkit paper --accounts second`; call(account, method, path, **params) asks as the account."""
    recipe = Recipe(start_ms=START)
    asked = command._Asked(0, recipe, None, 1.0, True, snapshot, resume, False, None, () if resume else ("second",))
    task, file = asyncio.create_task(command._run(asked)), home / "paper.token"
    while not file.exists() and not task.done():
        await asyncio.sleep(0.02)
    url = json.loads(file.read_text())["url"]
    async with aiohttp.ClientSession() as http:

        async def call(account: str, method: str, path: str, **params: object) -> Any:
            keys = json.loads((home / "keys" / f"{account}.json").read_text())
            query = urlencode(params | {"timestamp": time.time_ns() // 1_000_000})
            sign = hmac.new(keys["secret"].encode(), query.encode(), hashlib.sha256).hexdigest()
            headers = {"X-MBX-APIKEY": keys["api_key"]}
            async with http.request(method, f"{url}/fapi/{path}?{query}&signature={sign}", headers=headers) as answer:
                return json.loads(await answer.text())

        yield call
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(("side", "sign"), [("BUY", 1), ("SELL", -1)])
async def test_each_account_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str, sign: int) -> None:
    monkeypatch.setenv("QTKIT_HOME", str(tmp_path))
    order = {"symbol": "BTCUSDT", "side": side, "type": "MARKET", "quantity": "0.01"}
    async with running(tmp_path) as call:
        assert (await call("second", "POST", "v1/order", **order))["status"] in ("NEW", "FILLED")
        held = {name: await call(name, "GET", "v3/positionRisk") for name in ("paper", "second", "stranger")}
        assert [float(row["positionAmt"]) for row in held["second"]] == [sign * 0.01] and not held["paper"] and not held["stranger"]
        balances = {name: float((await call(name, "GET", "v2/balance"))[0]["balance"]) for name in held}
        assert balances["paper"] == balances["stranger"] == 100_000 > balances["second"], "the fee is paid by who traded"
        (trade,) = await call("second", "GET", "v1/userTrades", symbol="BTCUSDT")
        assert not await call("paper", "GET", "v1/userTrades", symbol="BTCUSDT")
        assert (await call("paper", "GET", "v1/order", symbol="BTCUSDT", orderId=trade["orderId"]))["code"] == -2013


async def test_a_resumed_exchange_knows_all_its_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QTKIT_HOME", str(tmp_path))
    async with running(tmp_path) as call:
        await call("second", "POST", "v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")
        await asyncio.to_thread(Remote.at(tmp_path).save, "a")
    async with running(tmp_path, resume=tmp_path / "snapshots" / "a") as call:
        assert [row["positionAmt"] for row in await call("second", "GET", "v3/positionRisk")] == ["0.010"]
        assert not await call("paper", "GET", "v3/positionRisk")


@pytest.mark.parametrize("name", ["paper", "stranger", "reader", "../x", "Second", "a b", "9", "x" * 33])
def test_a_name_that_is_taken_or_no_name_of_a_file_is_refused(name: str) -> None:
    with pytest.raises(PolicyError, match="cannot be an account's name: small letters, digits and -"):
        command._named(f"fine,{name}")


def test_names_are_taken_once() -> None:
    assert command._named(" second, third,second,") == ("second", "third") and command._named("") == ()
