"""A served session with its control endpoint, for tests: the exchange is in this process, ``Remote`` asks it over the wire."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from qtkit.core.model import E8, ONE
from qtkit.paper import scene
from qtkit.paper.control import ControlDoor
from qtkit.paper.exchange import Exchange
from qtkit.paper.recipe import Recipe
from qtkit.paper.remote import Remote
from qtkit.paper.server import PaperServer
from qtkit.paper.session import Session
from qtkit.paper.tape import Tape
from tests.paper.server_rig import KEY, SECRET

START = 1_767_571_200_000
TOKEN = "t" * 32


@dataclass
class Held:
    """A session whose time is held, and who asks it."""

    session: Session
    server: PaperServer
    remote: Remote

    async def ask(self, call: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """A call of the blocking client, beside the server."""
        return await asyncio.to_thread(call, *args, **more)

    async def do(self, command: str, **particulars: object) -> str:
        """A command."""
        said: str = await asyncio.to_thread(lambda: self.remote.do(command, **particulars))
        return said


@cache
def tape_of(recipe: Recipe) -> Tape:
    """A tape, made once."""
    return recipe.tape()


def session_of(folder: Path, *, hedge: bool = False, speed: float = 1.0, **more: Any) -> Session:
    """A session on made prices, time held, one account."""
    recipe = Recipe(start_ms=START, **more)
    exchange = Exchange(seed=recipe.seed, start_ms=START)
    exchange.open_account("paper", balance=E8(100_000 * ONE), hedge=hedge)
    tape = tape_of(recipe)
    scene.prepare(exchange, tape)
    session = Session(exchange, recipe, tape=tape, speed=speed, folder=folder / "snapshots", strangers=("stranger",), prefix="q1qtk0")
    session.pump.pause()
    return session


@asynccontextmanager
async def held(folder: Path, *, hedge: bool = False, **more: Any) -> AsyncIterator[Held]:
    """A served session whose time is held."""
    session = session_of(folder, hedge=hedge, **more)
    server = PaperServer(session.exchange, keys={KEY: (SECRET, "paper")}, faults=session.faults)
    session.server, server.control = server, ControlDoor(session, TOKEN)
    await server.start()
    try:
        async with session:
            yield Held(session, server, Remote(f"http://127.0.0.1:{server.port}", TOKEN))
    finally:
        await server.stop()
