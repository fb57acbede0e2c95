"""A desk keeps enough of its request budget to protect: no tick is too short for it, and a script that asks every second costs no pass."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qtkit.core.model import Side
from qtkit.limits import carried
from qtkit.operate import Pause, Resume, SetStop, operate
from qtkit.paper.gateway import PaperGateway
from qtkit.settings import Settings
from qtkit.venue import ccxt_calls as calls
from qtkit.venue.budget import Budget, asked
from qtkit.venue.gateway import Unavailable
from tests.story.rig import INCIDENT, PRICES, Rig, World, desk, story

WEIGHTS: dict[str, Callable[..., int]] = {
    "positions": lambda: calls.POSITIONS.weight,
    "orders": lambda symbol=None: sum(call.cost({"symbol": symbol} if symbol else {}) for call in (calls.ALGO_ORDERS, calls.ORDERS)),
    "prices": lambda symbol: calls.MARK.weight + calls.LAST.weight,
    "bars": lambda symbol, **more: calls.MARK.weight + 2,
}


@contextmanager
def bought(world: World, monkeypatch: pytest.MonkeyPatch, percent: int = 25) -> Iterator[Budget]:
    """What the desk reads is charged as Binance does, to its share of the address's limit; nothing waits, for a pass has a deadline."""
    budget = Budget(percent, patience_s=0.0, clock=lambda: world.now_ms / 1000)

    def charged(name: str, read: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def reading(gateway: PaperGateway, *args: Any, **more: Any) -> Any:
            await budget.take(WEIGHTS[name](*args, **more), protective=True)
            return await read(gateway, *args, **more)

        return reading

    with monkeypatch.context() as patch:
        for name in WEIGHTS:
            patch.setattr(PaperGateway, name, charged(name, getattr(PaperGateway, name)))
        yield budget


async def asks(rig: Rig, number: int, side: Side) -> None:
    """One of the things that a person, a notebook or another program asks for."""
    episode = rig.monitor.applier.book.episodes[rig.key("BTCUSDT")]
    level = (episode.trail.stop + side.sign * 10) * episode.plan.tick // 10**8 + (side is Side.LONG)
    wishes = (Pause(), Resume(), SetStop(symbol="BTCUSDT", stop=f"@{level}"))
    if number % 4 == 3:
        with asked():
            await rig.monitor.preview()
    else:
        await operate(rig.monitor, wishes[number % 4], dry_run=bool(number % 2))


@pytest.mark.parametrize("side", tuple(Side))
@story
async def test_no_pass_fails_however_often_somebody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: Side) -> None:
    world = World()
    async with desk(world, tmp_path / "desk") as rig:
        for symbol in INCIDENT:
            world.stranger(symbol, side, "100" if symbol != "BTCUSDT" else "0.1")
        await rig.passes(1)
        with bought(world, monkeypatch) as budget:
            refused: list[str] = []
            for number in range(180):
                if number % 2 == 0:
                    rig.hear()
                    await rig.monitor.pass_once()
                try:
                    await asks(rig, number, side)
                except Unavailable as error:
                    refused.append(str(error))
                world.pass_time(1_000)
            assert 0 < len(refused) < 180 and rig.gaps() == {}
            assert all(f"of {budget.limit} weight" in text and "is kept for protection; ask again in" in text for text in refused), refused[
                0
            ]
            assert rig.monitor.observer.unread == {}, "what was refused was refused before anything was read"


@pytest.mark.parametrize(("wished", "percent", "goes"), [(0.1, 25, 1.5), (0.5, 25, 1.5), (2.0, 25, 2.0), (0.1, 90, 0.45)])
@pytest.mark.parametrize("side", tuple(Side))
@story
async def test_no_tick_is_too_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: Side, wished: float, percent: int, goes: float
) -> None:
    settings = carried(Settings(tick_seconds=wished, budget_share_bps=percent * 100))
    assert settings.tick_seconds == goes
    world = World()
    async with desk(world, tmp_path / "desk") as rig:
        for symbol in PRICES:
            world.stranger(symbol, side, "100" if symbol not in ("BTCUSDT", "ETHUSDT") else "0.1")
        faults: set[str | None] = set()
        rig.monitor.tick_s, rig.monitor.on_pass = settings.tick_seconds, lambda health: faults.add(health.fault)
        with bought(world, monkeypatch, percent):
            await rig.live(150)
        assert not [fault for fault in faults if fault and "budget" in fault]
        assert rig.gaps() == {} and rig.monitor.health.passes > 0.9 * 150 / goes
