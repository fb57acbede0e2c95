"""Asking the desk from another process: nobody takes the place of a desk that may have done what was asked."""

import asyncio
import json

import pytest

from qtkit.client import DeskSilent, ExchangeFacts, NoDesk, send_signal
from qtkit.core.context import MarketData
from qtkit.core.model import E8, Instrument
from qtkit.home import Paths
from qtkit.signals import Signal
from qtkit.store import codec
from tests.core.planning_kit import instrument


async def _ask(door: int) -> None:
    Paths.here().of("paper").made().endpoint_token.write_text(json.dumps({"url": f"http://127.0.0.1:{door}", "token": "t"}))
    await send_signal(Signal(symbol="XRPUSDT", side="SELL"), dry_run=False)


def test_a_desk_that_ends_before_it_answers_may_have_done_it() -> None:
    async def ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async def story() -> None:
        async with await asyncio.start_server(ended, "127.0.0.1", 0) as server:
            with pytest.raises(DeskSilent, match=r"ended before it answered.*qtkit check"):
                await _ask(server.sockets[0].getsockname()[1])

    asyncio.run(story())


def test_a_door_that_nobody_holds_is_no_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        with pytest.raises(NoDesk):
            await _ask(port)

    def nobody(*_: object) -> None:
        raise NoDesk("no stand-in in this test")

    monkeypatch.setattr("qtkit.client.stand_in", nobody)
    asyncio.run(story())


def test_facts_are_asked_for_once_in_a_minute_and_are_never_older(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    now_ms = 1_763_683_200_000

    async def desk(method: str, path: str, *, account: str) -> dict[str, object]:
        asked.append(path)
        rules = codec.encode(Instrument, instrument("XRPUSDT"))
        return {"instrument": rules, "market": codec.encode(MarketData, MarketData(atr=E8(len(asked))))}

    async def story() -> None:
        nonlocal now_ms
        facts = ExchangeFacts("paper")
        for _ in range(3):
            assert (await facts.instrument("XRPUSDT")).symbol == "XRPUSDT" and (await facts.market("XRPUSDT")).atr == 1
        now_ms += 60_000
        assert (await facts.market("XRPUSDT")).atr == 2 and len(asked) == 2

    monkeypatch.setattr("qtkit.client.call", desk)
    monkeypatch.setattr("qtkit.client.wall_ms", lambda: now_ms)
    asyncio.run(story())
