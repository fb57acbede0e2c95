"""Asking the desk from another process: nobody takes the place of a desk that may have done what was asked."""

import asyncio
import json

import pytest

from qtkit.client import DeskSilent, NoDesk, send_signal
from qtkit.home import Paths
from qtkit.signals import Signal


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
