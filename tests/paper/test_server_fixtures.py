"""Every recorded USD-M request of ccxt's own fixtures, re-signed with our key, is accepted."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from qtkit.core.model import E8, ONE
from qtkit.paper.facts import FACTS
from tests.paper.server_rig import HEDGE_KEY, HEDGE_SECRET, KEY, SECRET, Rig, rig

HOME = Path(os.environ.get("QTKIT_FIXTURES", Path(__file__).parents[3] / "shared" / "fixtures"))
FILES = ("request-binance-usdm.json", "request-binanceusdm.json")
VERBS = {"cancel": "DELETE", "fetch": "GET", "edit": "PUT", "create": "POST"}
STALE = re.compile(r"&?(timestamp|recvWindow|signature)=[^&]*")


def cases() -> list[dict[str, Any]]:
    found = []
    for name in FILES:
        path = HOME / name
        for rows in json.loads(path.read_text())["methods"].values() if path.exists() else ():
            found += rows
    return found


CASES = cases()
pytestmark = pytest.mark.skipif(not CASES, reason=f"no recorded fixtures in {HOME}; set QTKIT_FIXTURES")

# What must be true before a recorded request can be accepted: last price, and orders to edit, read or cancel.
PRICES = {"BTCUSDT": "96000", "ETHUSDT": "3000", "LTCUSDT": "83"}
OWN_PRICE = {
    "Swap limit sell": "98",
    "Swap limit sell with takeProfitPrice (type 2)": "104",
    "Swap limit sell with stopLossPrice (type 2)": "53",
    "Swap limit buy with reduce only (closing short position)": "61",
    "swap trigger bbo order": "99",
    "Swap limit buy with triggerPrice": "99",
    "linear swap conditional createOrder": "98000",
    "edit swap order": "52",
    "edit  order with clientOrderId": "56",
}
# The recordings are of demo venues and older years, when the minimum notional was 5.
RECORDED_FACTS = {symbol: replace(facts, instrument=replace(facts.instrument, min_notional=E8(5 * ONE))) for symbol, facts in FACTS.items()}


def test_all_recordings_are_here() -> None:
    assert len(CASES) == 33


async def prepare(it: Rig, case: dict[str, Any], text: str, key: str, secret: str) -> str:
    """Bring the account to where the recorded request makes sense; the text with our order ids in it."""
    symbol = re.search(r"symbol=(\w+)", text)
    name = symbol.group(1) if symbol else "LTCUSDT"
    it.tick(name, OWN_PRICE.get(case["description"], PRICES[name]))
    what = case["description"]

    async def place(path: str, params: dict[str, Any]) -> Any:
        status, row = await it.call("POST", path, params, key=key, secret=secret)
        assert status == 200, row
        return row

    if "reduce only" in what or "reduceOnly" in what or "trailing" in what:
        opening = "BUY" if "side=SELL" in text else "SELL"
        market = {"symbol": name, "side": opening, "type": "MARKET", "quantity": "1"}
        await place("/fapi/v1/order", market if key == KEY else {**market, "positionSide": "LONG" if opening == "BUY" else "SHORT"})
    resting = {"symbol": name, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "2", "price": PRICES[name]}
    resting["price"] = str(float(OWN_PRICE.get(what, PRICES[name])) * 0.97 // 0.1 / 10)
    for known in re.findall(r"(?:orderId=|orderidlist=%5B)(\d+)", text):
        text = text.replace(known, str((await place("/fapi/v1/order", resting))["orderId"]))
    for known in re.findall(r"origClientOrderId=(\w+)", text) + re.findall(r"%22(id\d)%22", text):
        await place("/fapi/v1/order", {**resting, "newClientOrderId": known})
    for known in re.findall(r"algoId=(\d+)", text):
        stop = {"symbol": name, "side": "SELL", "type": "STOP_MARKET", "algoType": "CONDITIONAL", "triggerPrice": "90000", "quantity": "1"}
        text = text.replace(known, str((await place("/fapi/v1/algoOrder", stop))["algoId"]))
    return text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["description"])
async def test_recorded_request_is_accepted(case: dict[str, Any]) -> None:
    async with rig(facts=RECORDED_FACTS) as it:
        split = urlsplit(case["url"])
        verb = next(word for start, word in VERBS.items() if case["method"].startswith(start))
        text = STALE.sub("", split.query or case.get("output", "")).lstrip("&")
        hedged = "hedged" in case["description"]
        key, secret = (HEDGE_KEY, HEDGE_SECRET) if hedged else (KEY, SECRET)
        text = await prepare(it, case, text, key, secret)
        status, answer = await it.call(verb, split.path, text, key=key, secret=secret)
        assert status == 200, answer
        rows = answer if isinstance(answer, list) else [answer]
        assert all(int(row.get("code", 200)) == 200 for row in rows), rows
