"""Keys of the paper exchange with less than whole rights: what `apiRestrictions` tells of them, and what they may not do."""

from dataclasses import replace

import pytest

from qtkit.paper.signing import WHOLE
from qtkit.venue.gateway import KeyRights
from tests.paper.server_rig import HEDGE_KEY, HEDGE_SECRET, KEY, rig

WHERE = "/sapi/v1/account/apiRestrictions"
ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}


async def test_a_key_reads_and_trades_unless_told_otherwise() -> None:
    async with rig() as it:
        status, row = await it.call("GET", WHERE)
        assert status == 200
        assert {name for name, value in row.items() if value is True} == {"enableReading", "enableFutures"}
        assert isinstance(row["createTime"], int)


@pytest.mark.parametrize(
    ("rights", "on"),
    [
        (replace(WHOLE, trade=False), {"enableReading"}),
        (replace(WHOLE, withdraw=True), {"enableReading", "enableFutures", "enableWithdrawals"}),
        (replace(WHOLE, transfer=True), {"enableReading", "enableFutures", "permitsUniversalTransfer", "enableInternalTransfer"}),
        (replace(WHOLE, ip_restricted=True), {"enableReading", "enableFutures", "ipRestrict"}),
    ],
)
async def test_rights_are_told_per_key(rights: KeyRights, on: set[str]) -> None:
    async with rig() as it:
        it.server.rights[KEY] = rights
        _, row = await it.call("GET", WHERE)
        assert {name for name, value in row.items() if value is True} == on
        _, other = await it.call("GET", WHERE, key=HEDGE_KEY, secret=HEDGE_SECRET)
        assert other["enableFutures"] is True and other["enableWithdrawals"] is False


async def test_a_key_that_only_reads_changes_nothing() -> None:
    async with rig() as it:
        it.server.rights[KEY] = replace(WHOLE, trade=False)
        for method, path, params in (
            ("POST", "/fapi/v1/order", ORDER),
            ("POST", "/fapi/v1/leverage", {"symbol": "BTCUSDT", "leverage": 3}),
            ("DELETE", "/fapi/v1/allOpenOrders", {"symbol": "BTCUSDT"}),
        ):
            status, row = await it.call(method, path, params)
            assert (status, row["code"]) == (401, -2015)
        assert (await it.call("GET", "/fapi/v3/positionRisk")) == (200, [])
        status, row = await it.call("POST", "/fapi/v1/listenKey", sign=False)
        assert status == 200 and row["listenKey"], "listening changes nothing"


async def test_a_key_from_a_wrong_address_gets_nothing() -> None:
    async with rig() as it:
        it.server.elsewhere.add(KEY)
        for path in (WHERE, "/fapi/v3/positionRisk"):
            status, row = await it.call("GET", path)
            assert (status, row["code"]) == (401, -2015)
        assert (await it.call("GET", "/fapi/v1/time", sign=False))[0] == 200
        it.server.elsewhere.clear()
        assert (await it.call("GET", WHERE))[0] == 200
