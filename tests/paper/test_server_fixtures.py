"""Every recorded USD-M request of ccxt's own fixtures, re-signed with our key, is accepted; so is what no recording covers."""

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
recorded = pytest.mark.skipif(not CASES, reason=f"no recorded fixtures in {HOME}; set QTKIT_FIXTURES")

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


@recorded
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


@recorded
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


# What no recording covers: requests as ccxt 4.5.90 writes them, and what the answer must repeat of them.
ALGO = "symbol=BTCUSDT&newOrderRespType=RESULT&algoType=CONDITIONAL"
OWN = {
    "floor": f"{ALGO}&side=SELL&clientAlgoId=qtk-floor-1&type=STOP_MARKET&triggerPrice=90000&closePosition=true&workingType=MARK_PRICE",
    "floor, protected": f"{ALGO}&side=SELL&type=STOP_MARKET&triggerPrice=90000&closePosition=true&workingType=MARK_PRICE&priceProtect=true",
    "take all": f"{ALGO}&side=SELL&clientAlgoId=a:b/c.d_e-1&type=TAKE_PROFIT_MARKET&triggerPrice=99000&closePosition=true",
    "working stop": f"{ALGO}&side=SELL&type=STOP_MARKET&quantity=0.01&triggerPrice=95000&reduceOnly=true&workingType=MARK_PRICE",
    "stop with a limit": f"{ALGO}&side=SELL&type=STOP&quantity=0.01&price=94900&triggerPrice=95000&reduceOnly=true&timeInForce=GTC",
    "trailing": f"{ALGO}&side=SELL&type=TRAILING_STOP_MARKET&quantity=0.01&callbackRate=1.5&activatePrice=97000&reduceOnly=true",
    "trailing from here": f"{ALGO}&side=SELL&type=TRAILING_STOP_MARKET&quantity=0.01&callbackRate=0.1&workingType=MARK_PRICE",
    "hedge, long": f"{ALGO}&side=SELL&type=STOP_MARKET&triggerPrice=90000&closePosition=true&positionSide=LONG&workingType=MARK_PRICE",
}
SILENT = {"algoType", "newOrderRespType", "type"}


@pytest.mark.parametrize("what", OWN)
async def test_what_no_recording_covers_is_accepted_and_repeated(what: str) -> None:
    hedged = "positionSide" in OWN[what]
    keys = {"key": HEDGE_KEY, "secret": HEDGE_SECRET} if hedged else {"key": KEY, "secret": SECRET}
    async with rig() as it:
        market = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"} | ({"positionSide": "LONG"} if hedged else {})
        assert (await it.call("POST", "/fapi/v1/order", market, **keys))[0] == 200
        status, row = await it.call("POST", "/fapi/v1/algoOrder", OWN[what], **keys)
        assert status == 200, row
        sent = dict(pair.split("=") for pair in OWN[what].split("&"))
        assert row["orderType"] == sent["type"]
        for name in set(sent) - SILENT:
            told = str(row[name]).lower() if isinstance(row[name], bool) else row[name]
            assert told == sent[name] or float(told) == float(sent[name]), name
        assert row["priceProtect"] is ("priceProtect" in sent)
        status, gone = await it.call("DELETE", "/fapi/v1/algoOrder", {"symbol": "BTCUSDT", "clientAlgoId": row["clientAlgoId"]}, **keys)
        assert (status, gone["algoId"]) == (200, row["algoId"])
