"""A target of alerts on loopback, in a thread of its own: it takes what apprise's json:// sends, and can refuse, hang and hear GETs."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "t0k3nOfTheTarget"


@dataclass
class Target:
    """What arrived. ``status`` is what it answers with; while ``hangs`` it takes a request and never answers."""

    port: int = 0
    status: int = 200
    hangs: bool = False
    messages: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    tried: int = 0

    @property
    def url(self) -> str:
        """As apprise wants it; the token is its path."""
        return f"json://127.0.0.1:{self.port}/{TOKEN}?rto=2"

    @property
    def heartbeat(self) -> str:
        """What a heartbeat asks."""
        return f"http://127.0.0.1:{self.port}/ping/{TOKEN}"

    @property
    def lines(self) -> list[str]:
        """Every line of every message, in order."""
        return [line for row in self.messages for line in row["message"].splitlines()]

    async def take(self, request: web.Request) -> web.Response:
        """Any request."""
        self.tried += 1
        body = await request.text()
        if self.hangs:
            await asyncio.sleep(30)
        if request.method == "GET":
            self.asked.append(request.path)
        elif self.status == 200:
            self.messages.append(json.loads(body))
        return web.Response(status=self.status)


@contextmanager
def listening() -> Iterator[Target]:
    """A target that listens until the end of the block."""
    target, loop, ready = Target(), asyncio.new_event_loop(), threading.Event()

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", target.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def begin() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        target.port = runner.addresses[0][1]
        ready.set()

    def serve() -> None:
        loop.create_task(begin())
        loop.run_forever()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield target
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


def until(ready: Callable[[], object], what: str) -> None:
    """Wait for a truth that a thread brings about."""
    end = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.01)
