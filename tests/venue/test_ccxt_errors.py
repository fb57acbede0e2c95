"""Answers -> Refused, Unknown, Unavailable; over real sockets against a server that misbehaves on purpose."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from qtkit.core.model import Lots, Order, OrderKind, OrderSide, PolicyError, PositionSide, Ticks
from qtkit.venue.budget import Budget
from qtkit.venue.ccxt_errors import Reply, classify, pause, redact
from qtkit.venue.ccxt_gateway import CcxtGateway
from qtkit.venue.gateway import GatewayError, Refused, Unavailable, Unknown

from .stub import ANSWERS, KEY, SECRET

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
STOP = Order(
    symbol="LTCUSDT", client_id="q1a", kind=OrderKind.STOP_MARKET, side=OrderSide.SELL, position_side=PositionSide.BOTH, lots=Lots(5),
    trigger=Ticks(500), reduce_only=True,
)  # fmt: skip
ALGO_ROW = {
    "algoId": 1, "clientAlgoId": "q1b", "orderType": "STOP_MARKET", "algoStatus": "NEW", "symbol": "LTCUSDT", "side": "SELL",
    "quantity": "1",
}  # fmt: skip
SERVER_TIME = 1_700_000_000_000


@asynccontextmanager
async def exchange(handler: Handler, *, timeout_s: float = 4.0) -> AsyncIterator[tuple[CcxtGateway, Budget, list[str]]]:
    """A server that answers start-up properly and everything else by ``handler``; the paths asked are noted."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        name = f"{request.method} {request.path}"
        seen.append(name)
        usual = ANSWERS | {"GET /fapi/v1/positionSide/dual": {"dualSidePosition": False}}
        return web.json_response(usual[name]) if name in usual else await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    budget = Budget()
    gateway = CcxtGateway("main", base_url=f"http://127.0.0.1:{port}", api_key=KEY, secret=SECRET, budget=budget, timeout_s=timeout_s)
    gateway._client.timeout_on_exit = 0
    try:
        await gateway.start()
        yield gateway, budget, seen
    finally:
        await gateway.close()
        await runner.cleanup()


def reply(status: int, code: int | None, message: str, **headers: str) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        body = message if code is None else json.dumps({"code": code, "msg": message})
        return web.Response(status=status, text=body, headers=headers, content_type="text/plain" if code is None else "application/json")

    return handler


CASES = [
    (400, -2021, "Order would immediately trigger.", Refused, Unavailable),
    (400, -4130, "An open stop ... is existing.", Refused, Unavailable),
    (400, -2011, "Unknown order sent.", Refused, Unavailable),
    (401, -2015, "Invalid API-key, IP, or permissions for action.", Refused, Unavailable),
    (400, -4061, "Order's position side does not match user's setting.", Refused, Unavailable),
    (400, -4116, "ClientOrderId is duplicated.", Unknown, Unavailable),
    (408, -1007, "Timeout waiting for response from backend server.", Unknown, Unavailable),
    (500, -1006, "An unexpected response was received.", Unknown, Unavailable),
    (500, -1000, "An unknown error occurred while processing the request.", Unknown, Unavailable),
    (503, None, "Unknown error, please check your request or try again later.", Unknown, Unavailable),
    (502, None, "<html>Bad Gateway</html>", Unknown, Unavailable),
    (503, None, "Service Unavailable.", Unavailable, Unavailable),
    (503, -1008, "Request throttled by system-level protection.", Unavailable, Unavailable),
    (400, -1021, "Timestamp for this request is outside of the recvWindow.", Unavailable, Unavailable),
    (400, -5028, "outside of matching engine recvWindow", Unavailable, Unavailable),
    (403, None, "Forbidden", Unavailable, Unavailable),
    (404, None, "Not found", Unavailable, Unavailable),
    (200, None, "not json at all", Unknown, Unavailable),
    (200, None, "{}", Unknown, Unavailable),
]


@pytest.mark.parametrize(("status", "code", "message", "written", "read"), CASES, ids=[f"{c[0]} {c[1]} {c[2][:12]}" for c in CASES])
async def test_answers(status: int, code: int | None, message: str, written: type[GatewayError], read: type[GatewayError]) -> None:
    async with exchange(reply(status, code, message)) as (gateway, _, seen):
        with pytest.raises(written) as failure:
            await gateway.place(STOP)
        if isinstance(failure.value, Refused):
            assert failure.value.code == code
        for reading in (gateway.positions, gateway.orders, gateway.balance):
            with pytest.raises(read):
                await reading()
        with pytest.raises(written):
            await gateway.set_leverage("LTCUSDT", 5)
        if code == -1021:
            assert seen.count("GET /fapi/v1/time") > 1, "the clock is measured again"
        if code == -4061:
            assert seen.count("GET /fapi/v1/positionSide/dual") > 1, "the position mode is read again"


@pytest.mark.parametrize(
    ("status", "code", "message", "headers", "silence"),
    [
        (429, -1003, "Too many requests.", {}, 60),
        (429, -1003, "Too many requests.", {"Retry-After": "7"}, 7),
        (418, -1003, "Way too many requests; IP(1.2.3.4) banned until {until}.", {}, 300),
        (418, None, "I'm a teapot", {}, 120),
    ],
)
async def test_bans_silence_the_budget(status: int, code: int | None, message: str, headers: dict[str, str], silence: int) -> None:
    until = SERVER_TIME + 300_000
    async with exchange(reply(status, code, message.format(until=until), **headers)) as (gateway, budget, seen):
        with pytest.raises(Unavailable):
            await gateway.place(STOP)
        assert silence - 5 <= budget.banned_for <= silence
        asked = len(seen)
        for call in (gateway.positions(), gateway.place(STOP)):
            with pytest.raises(Unavailable, match="banned"):
                await call
        assert len(seen) == asked, "a ban is not probed"


async def test_order_rate_is_not_a_ban_of_readings() -> None:
    async with exchange(reply(400, -1015, "Too many new orders.")) as (gateway, budget, _):
        with pytest.raises(Unavailable):
            await gateway.place(STOP)
        assert budget.banned_for == 0
        with pytest.raises(Unavailable, match="banned"):
            await gateway.place(STOP)


async def test_used_weight_header_reaches_the_budget() -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response([], headers={"x-mbx-used-weight-1m": "777"})

    async with exchange(handler) as (gateway, budget, _):
        assert await gateway.orders() == ()
        assert budget.used_by_address == 777


async def test_connection_lost_after_the_send_is_unknown() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with exchange(cut) as (gateway, _, _):
        with pytest.raises(Unknown, match="look the order up"):
            await gateway.place(STOP)
        with pytest.raises(Unknown):
            await gateway.cancel(STOP)
        with pytest.raises(Unavailable):
            await gateway.positions()


async def test_timeout_after_the_send_is_unknown() -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.5)
        return web.Response()

    async with exchange(never, timeout_s=0.2) as (gateway, _, _):
        with pytest.raises(Unknown, match="timed out"):
            await gateway.place(STOP)
        with pytest.raises(Unavailable):
            await gateway.orders("LTCUSDT")


async def test_refused_connection_sent_nothing() -> None:
    async with exchange(reply(500, None, "")) as (gateway, _, _):
        gateway._client.urls["api"]["fapiPrivate"] = "http://127.0.0.1:1/fapi/v1"  # nobody listens
        with pytest.raises(Unavailable, match="nothing was sent"):
            await gateway.place(STOP)


async def test_acknowledgement_of_another_order_is_unknown() -> None:
    async def other(_: web.Request) -> web.StreamResponse:
        return web.json_response(ALGO_ROW)

    async with exchange(other) as (gateway, _, _):
        with pytest.raises(Unknown, match="q1b"):
            await gateway.place(STOP)


async def test_one_unreadable_row_makes_the_list_unavailable() -> None:
    async def rows(request: web.Request) -> web.StreamResponse:
        return web.json_response([ALGO_ROW, ALGO_ROW | {"orderType": "NEW_THING"}] if request.path.endswith("openAlgoOrders") else [])

    async with exchange(rows) as (gateway, _, _):
        with pytest.raises(Unavailable, match="NEW_THING is unknown"):
            await gateway.orders("LTCUSDT")


async def test_second_book_failing_leaves_no_list() -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        return web.json_response([]) if request.path.endswith("openAlgoOrders") else web.Response(status=502, text="bad gateway")

    async with exchange(half) as (gateway, _, _):
        with pytest.raises(Unavailable):
            await gateway.orders()


async def test_symbol_without_rules_is_looked_for_once_more_and_then_unavailable() -> None:
    async def rows(_: web.Request) -> web.StreamResponse:
        return web.json_response([{"symbol": "ODDUSDT", "positionAmt": "5", "positionSide": "BOTH"}])

    async with exchange(rows) as (gateway, _, seen):
        with pytest.raises(Unavailable, match="ODDUSDT"):
            await gateway.positions()
        assert seen.count("GET /fapi/v1/exchangeInfo") == 2


async def test_keys_never_leave(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(status=400, text=f"rejected {request.path_qs} {await request.text()} {dict(request.headers)}")

    async with exchange(echo) as (gateway, budget, _):
        failures: list[BaseException] = []
        for call in (gateway.place(STOP), gateway.positions(), gateway.lookup("LTCUSDT", "q1a", conditional=True)):
            with pytest.raises(GatewayError) as failure:
                await call
            failures.append(failure.value)
        with pytest.raises(TypeError, match="pickled"):
            gateway.__reduce__()
        texts = [repr(gateway), repr(budget), caplog.text, *map(_whole, failures)]
    for text in texts:
        assert KEY not in text
        assert SECRET not in text
        assert "signature=" not in text.replace("signature=***", "")


def _whole(fault: BaseException | None) -> str:
    """An error with everything that hangs on it."""
    return "" if fault is None else f"{fault!r} {fault.args} {_whole(fault.__cause__)} {_whole(fault.__context__)}"


ELSEWHERE = (
    "https://api.binance.com", "http://fapi.binance.com", "https://fapi.binance.com.evil.org", "http://10.0.0.1:80",
    "http://127.0.0.1.evil.org", "ftp://127.0.0.1", "127.0.0.1:80", "",
)  # fmt: skip


@pytest.mark.parametrize("url", ELSEWHERE)
def test_only_loopback_and_the_exchange_are_reachable(url: str) -> None:
    with pytest.raises(PolicyError, match="loopback"):
        CcxtGateway("main", base_url=url, api_key=KEY, secret=SECRET, budget=Budget())


@pytest.mark.parametrize("url", ["http://127.0.0.1:81", "http://localhost:81", "http://[::1]:81", "https://127.0.0.1:81"])
def test_every_address_of_the_client_is_redirected(url: str) -> None:
    gateway = CcxtGateway("main", base_url=url, api_key=KEY, secret=SECRET, budget=Budget())
    host = url.split("//")[1]
    addresses = str(gateway._client.urls["api"])
    assert "binance.com" not in addresses
    assert f"'linear': '{'ws' if url.startswith('http:') else 'wss'}://{host}/ws'" in addresses
    assert f"'fapiPrivateV3': '{url}/fapi/v3'" in addresses


def test_client_refusal_is_told_as_nonsense() -> None:
    assert isinstance(classify(Reply(), what="x", write=True, unsent=True), Unavailable)
    assert isinstance(classify(Reply(), what="x", write=True, unsent=False), Unknown)


def test_pause_needs_a_reason() -> None:
    assert pause(Reply(status=400, body='{"code":-2021,"msg":"no"}'), 0) is None
    assert pause(Reply(status=400, body='{"code":-1015,"msg":"no"}'), 0) == (10.0, True)


def test_redaction() -> None:
    assert redact("a?x=1&signature=abc&apiKey=q", ()) == "a?x=1&signature=***&apiKey=***"
    assert redact("'X-MBX-APIKEY': 'k1', my s3", ("s3",)) == "'X-MBX-APIKEY': '***', my ***"
