"""What a key may do is asked for again while a desk runs: a right given meanwhile is told aloud and ends entries, never protection."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from qtkit import proofs
from qtkit.apply import wall_ms as now_ms
from qtkit.canary import Wish, canary
from qtkit.core.model import PolicyError, Scope
from qtkit.desk import Desk, opened
from qtkit.endpoint import cover_of
from qtkit.herald import Herald
from qtkit.limits import FIRST_NOTIONAL
from qtkit.paper.signing import WHOLE
from qtkit.signals import Signal
from qtkit.venue.gateway import KeyRights, Unavailable
from tests.canary_rig import House, house

LIVE: dict[str, Any] = {
    "kind": "live",
    "max_notional": FIRST_NOTIONAL,
    "leverage": 2,
    "scope": Scope.FULL,
    "symbols": ("XRPUSDT", "ADAUSDT"),
}
ENTRY = Signal.from_dict({"symbol": "XRPUSDT", "side": "long", "quantity": "10", "stop": "3%"})
WORDS = {"withdraw": "withdrawals", "transfer": "transfers"}


@asynccontextmanager
async def armed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[House, Desk, Herald]]:
    """A live desk at work on the paper exchange; it asks for its rights every 50 ms."""
    monkeypatch.setattr("qtkit.access.RIGHTS_EVERY_S", 0.05)
    async with house(**LIVE) as it:
        for symbol in it.account.symbols or ():
            it.exchange.set_margin_mode(it.its, symbol, isolated=True)
        assert (await canary(it.settings, "main", Wish())).passed
        proofs.arm(it.account, it.pair, it.paths, hours=1, now_ms=now_ms())
        settings = replace(it.settings, tick_seconds=0.1)
        async with opened(settings, "main") as desk:
            with Herald(settings, "main", it.paths.of("main").alerts) as herald:
                herald.follow(desk)
                stop = asyncio.Event()
                running = asyncio.create_task(desk.run(stop))
                try:
                    yield it, desk, herald
                finally:
                    stop.set()
                    await running


async def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("right", WORDS)
async def test_a_right_given_to_a_running_desk_is_an_alarm_and_ends_entries_alone(right: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with armed(monkeypatch) as (it, desk, herald):
        await until(lambda: desk.monitor.health.passes > 1)
        assert desk.monitor.health.alarms == ()
        it.server.rights[it.keys.api_key] = replace(WHOLE, **{right: True})
        await until(lambda: desk.monitor.health.alarms)
        said = f"main: the key from file allows {WORDS[right]}, which a desk never needs"
        assert [alarm for alarm in cover_of(desk).alarms if alarm.startswith(said)], "`qtkit check` shows it"
        assert any(condition.text.startswith(said.removeprefix("main: ")) for condition in herald.seen.standing), "it is told to people"
        assert said in str(json.loads(desk.places.heartbeat.read_text())["alarms"])
        with pytest.raises(PolicyError, match=rf"no entry while the key from file allows {WORDS[right]}"):
            await desk.executor.execute(ENTRY)
        it.stranger("ADAUSDT", "100")
        await until(lambda: len([row for row in it.its.waiting() if row.symbol == "ADAUSDT"]) >= 2)  # also what came after it is covered
        it.server.rights[it.keys.api_key] = WHOLE
        await until(lambda: desk.monitor.health.alarms == ())
        await desk.executor.execute(ENTRY)
        assert "XRPUSDT" in dict(it.positions())


async def test_what_cannot_be_asked_or_is_not_told_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with armed(monkeypatch) as (_, desk, _):
        answers: list[KeyRights | Exception] = []

        async def rights() -> KeyRights:
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr("qtkit.venue.ccxt_gateway.CcxtGateway.rights", lambda self: rights())
        for answer in (Unavailable("the request budget is used up"), KeyRights(), RuntimeError("a fault of ours")):
            answers[:] = [answer]
            await asyncio.sleep(0.2)
            assert desk.rights.why == ""
        answers[:] = [replace(WHOLE, withdraw=True)]
        await until(lambda: desk.rights.why)
        for answer in (Unavailable("no network"), KeyRights(), replace(WHOLE, transfer=None)):
            answers[:] = [answer]
            await asyncio.sleep(0.2)
            assert desk.rights.why, "what is not known takes no alarm back"
        answers[:] = [WHOLE]
        await until(lambda: not desk.rights.why)


async def test_the_question_is_paid_from_what_stops_do_not_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reserve for protection stays untouched, and a pass does not wait for the answer."""
    async with armed(monkeypatch) as (_, desk, _):
        asked: list[bool] = []

        async def slow(self: object) -> KeyRights:
            asked.append(True)
            await asyncio.sleep(60)
            return WHOLE

        monkeypatch.setattr("qtkit.venue.ccxt_gateway.CcxtGateway.rights", slow)
        await until(lambda: asked)
        before = desk.monitor.health.passes
        await until(lambda: desk.monitor.health.passes > before + 2)
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if "RightsWatch" in str(task.get_coro())], "it ends with its desk"
