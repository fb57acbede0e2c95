"""What a desk may do when its arm, its proof, its mode or its clock is not as it must be: nothing new, and protection all the while."""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from qtkit import arming, permit, proofs
from qtkit.apply import wall_ms as now_ms
from qtkit.arming import Shown
from qtkit.canary import Wish, canary
from qtkit.checklist import Clock
from qtkit.client import say
from qtkit.core.events import EpisodeClosed
from qtkit.core.model import PolicyError, Scope
from qtkit.desk import Desk, opened
from qtkit.endpoint import cover_of, served
from qtkit.herald import Herald
from qtkit.home import Secret
from qtkit.operate import Adopt, Pause, Release, SetStop
from qtkit.paper import server
from qtkit.paper.actor import acting
from qtkit.settings import Alerts
from tests.canary_rig import House, house
from tests.loopback import Target, listening
from tests.test_canary import LIVE, command, passes, toml

BOTH = LIVE | {"symbols": ("XRPUSDT", "ADAUSDT")}
RIGHT = Clock(right=True, text="1 ms behind the exchange's")


@pytest.fixture
def target() -> Iterator[Target]:
    with listening() as found:
        yield found


async def armed(it: House, *, position: bool = True) -> None:
    assert (await canary(it.settings, "main", Wish(position=position))).passed
    proofs.arm(it.account, it.pair, it.paths, hours=1, now_ms=now_ms())


async def held(it: House, symbol: str = "XRPUSDT", coins: str = "100") -> None:
    """A position that a desk has taken over and left with its stops."""
    it.stranger(symbol, coins)
    async with opened(it.settings, "main") as desk:
        await passes(desk, 3)
    assert {row.symbol for row in it.its.waiting()} == {symbol}


def cancel_all(it: House, symbol: str) -> None:
    """Somebody takes all our stops of a symbol away."""
    with acting("stranger"):
        for row in tuple(it.its.waiting(symbol)):
            it.exchange.cancel_algo(it.its, client_id=row.client_id)


def stopped(it: House) -> set[str]:
    """Symbols where a stop of ours rests."""
    return {row.symbol for row in it.its.waiting()}


def told(desk: Desk) -> str:
    return " ".join(alarm for alarm in desk.monitor.health.alarms if "nothing new is taken on" in alarm)


# -- protection outlives the arm


@pytest.mark.parametrize("how", ["ended", "taken back"])
async def test_a_desk_that_starts_after_the_arm_protects_what_it_has_and_takes_nothing_new_on(how: str) -> None:
    async with house(**BOTH) as it:
        await armed(it)
        await held(it)
        later = proofs.HOUR_MS if how == "ended" else 0
        if how == "taken back":
            proofs.disarm(it.account, it.paths)
        it.stranger("ADAUSDT", "100")
        cancel_all(it, "XRPUSDT")
        async with opened(it.settings, "main", clock_ms=lambda: now_ms() + later) as desk:
            until = desk.monitor.desk.takes_on_until_ms
            assert until is not None and until < now_ms(), "nothing new, from before this desk"
            await passes(desk, 4)
            assert stopped(it) == {"XRPUSDT"}, "what was ours is covered again, what came since is not"
            assert "its arm ended" in told(desk) or "it is not armed" in told(desk)
            assert "what is held goes on being protected" in " ".join(cover_of(desk).alarms), "`qtkit check` says so"
            with pytest.raises(PolicyError, match=r"no entry|opens no positions"):
                await desk.executor.place_order("ADAUSDT", "BUY", 20)
            if how == "taken back":
                proofs.arm(it.account, it.pair, it.paths, hours=1, now_ms=now_ms())
                await passes(desk, 4)
                assert stopped(it) == {"XRPUSDT", "ADAUSDT"} and not told(desk), "armed anew while it runs"
                assert any(note.startswith("armed until") for note in cover_of(desk).notes)


async def test_what_came_after_the_end_is_not_taken_over_by_the_next_desk() -> None:
    """A desk without an arm has planned it and not written on it: neither does the next one."""
    async with house(**BOTH) as it:
        await armed(it)
        it.stranger("XRPUSDT", "100")
        async with opened(it.settings, "main") as desk:
            await passes(desk, 3)
            proofs.disarm(it.account, it.paths)
            await passes(desk, 1)
            it.stranger("ADAUSDT", "100")
            await passes(desk, 3)
        for _ in range(2):
            async with opened(it.settings, "main") as desk:
                await passes(desk, 3)
            assert stopped(it) == {"XRPUSDT"}


async def test_a_journal_with_nothing_of_ours_opens_no_door() -> None:
    """Nothing held any more; a desk that only watched; a demo account of the same name."""
    async with house(**LIVE) as it:
        await armed(it)
        await held(it)
        async with opened(it.settings, "main") as desk:
            desk.applier.record([EpisodeClosed(key=key, at_ms=now_ms(), reason="flat") for key in desk.applier.book.episodes])
        proofs.disarm(it.account, it.paths)
        await refused(it, "it is not armed")


async def test_plans_of_a_desk_that_watched_open_no_door() -> None:
    async with house(**(LIVE | {"scope": Scope.WATCH})) as it:
        it.stranger("XRPUSDT", "100")
        async with opened(it.settings, "main") as desk:
            await passes(desk, 3)
            assert desk.applier.book.episodes
        it.with_account(scope=Scope.GUARD)
        assert (await canary(it.settings, "main", Wish(symbol="ADAUSDT"))).passed
        await refused(it, "it is not armed")
        async with opened(it.settings, "main", closing=True) as desk:
            await passes(desk, 3)
        assert it.resting() == [], "closing covers nothing that was never ours, either"


async def test_what_was_sent_on_demo_opens_no_door_to_live() -> None:
    async with house(**(LIVE | {"kind": "demo"})) as it:
        assert (await canary(it.settings, "main", Wish())).passed
        await held(it)
        it.with_account(kind="live")
        await refused(it, "its proof was made on")


async def test_a_demo_desk_whose_proof_grew_old_protects_on() -> None:
    async with house(**(BOTH | {"kind": "demo"})) as it:
        proof = await canary(it.settings, "main", Wish(position=True))
        await held(it)
        proofs.write_proof(replace(proof, at_ms=proof.at_ms - 8 * 24 * proofs.HOUR_MS), it.pair, it.account, it.paths)
        it.stranger("ADAUSDT", "100")
        cancel_all(it, "XRPUSDT")
        async with opened(it.settings, "main") as desk:
            await passes(desk, 4)
            assert stopped(it) == {"XRPUSDT"} and "its proof is 8.0 days old" in told(desk)


async def refused(it: House, why: str) -> None:
    resting = it.resting()
    with pytest.raises(PolicyError, match=why):
        async with opened(it.settings, "main"):
            raise AssertionError("a desk was let in")
    assert it.resting() == resting


async def test_tightening_release_and_pause_need_no_arm_where_no_desk_runs() -> None:
    async with house(**LIVE) as it:
        toml(it)
        await armed(it)
        await held(it)
        proofs.disarm(it.account, it.paths)
        said = await say(SetStop(symbol="XRPUSDT", stop="1%"), account="main", dry_run=False)
        async with opened(it.settings, "main", closing=True) as desk:
            await passes(desk, 3)
        near = max(int(row.trigger) for row in it.its.waiting())
        assert "XRPUSDT" in said.text and near * 1000 > int(2.1e8) * 980, "its stop is where it was put"
        await say(Pause(reason="news"), account="main", dry_run=False)
        await say(Release(symbol="XRPUSDT", cancel=False, seconds=60), account="main", dry_run=False)
        proofs.proof_file(it.account, it.paths).unlink()
        for wish in (Adopt(symbol="XRPUSDT"), SetStop(symbol="XRPUSDT", stop="4%", loosen=True, reason="why")):
            with pytest.raises(PolicyError, match="no canary has proven"):
                await say(wish, account="main", dry_run=False)


# -- what is told to people


def alerting(it: House, *targets: Target) -> None:
    it.settings = replace(it.settings, alerts=Alerts(urls=tuple(Secret(one.url) for one in targets), per_minute=60))


async def test_a_desk_that_could_not_start_is_told_once(target: Target) -> None:
    async with house(**LIVE) as it:
        alerting(it, target)
        for _ in range(3):  # as a service manager does
            with pytest.raises(PolicyError, match="no canary"):
                await herald_of(it)
    assert [line.partition(";")[0] for line in target.lines] == [
        "desk stopped: main: it could not start: account main (live) may not be written to: no canary has proven its exchange"
    ]


async def test_an_arm_that_ends_is_told_once_and_when_it_is_given_again(target: Target) -> None:
    async with house(**LIVE) as it:
        alerting(it, target)
        await armed(it)
        with Herald(it.settings, "main", it.paths.of("main").made().alerts) as herald:
            async with opened(it.settings, "main") as desk:
                herald.follow(desk)
                await passes(desk, 2)
                proofs.disarm(it.account, it.paths)
                await passes(desk, 3)
                proofs.arm(it.account, it.pair, it.paths, hours=1, now_ms=now_ms())
                herald.seen = replace(herald.seen, standing=tuple(replace(c, seen_ms=0) for c in herald.seen.standing))
                await passes(desk, 2)
                herald.part("desk stopped; nothing is open")
    words = [line.partition(":")[0] for line in target.lines]
    assert words == ["desk started", "alarm", "alarm over", "desk stopped"], target.lines
    assert "alarm: main: nothing new is taken on, what is held goes on being protected: its arm ended at" in target.lines[1]


async def test_a_second_start_beside_a_running_desk_is_no_news(target: Target) -> None:
    async with house() as it:
        alerting(it, target)
        async with opened(it.settings, "main"):
            with pytest.raises(Exception, match="is run by process"):
                await herald_of(it)
    assert target.lines == []


async def herald_of(it: House) -> None:
    with Herald(it.settings, "main", it.paths.of("main").made().alerts):
        async with opened(it.settings, "main"):
            raise AssertionError("a desk was let in")


# -- mode


async def test_a_proof_of_one_mode_unlocks_nothing_in_the_other() -> None:
    async with house(**LIVE) as it:
        await armed(it)
        async with opened(it.settings, "main") as desk:
            it.exchange.set_position_mode(it.its, hedge=True)
            await desk.monitor.gateway.start()  # as after a -4061
            await passes(desk, 1)
            assert "its proof was made in one-way mode, and the account is in hedge mode; run `qtkit canary" in told(desk)
        await refused(it, "its proof was made in one-way mode, and the account is in hedge mode")
        with pytest.raises(PolicyError, match="cannot be armed: its proof was made in one-way mode"):
            await arming.arm(it.settings, "main", 1, RIGHT, lambda shown: True)
        assert (await canary(it.settings, "main", Wish())).hedge
        assert await arming.arm(it.settings, "main", 1, RIGHT, lambda shown: True) is not None
        async with opened(it.settings, "main") as desk:
            await passes(desk, 1)
            assert not told(desk)


# -- the floor


async def test_no_floor_is_placed_until_both_were_seen_to_rest_together() -> None:
    rows: list[dict[str, str]] = []

    def agreed(shown: Shown) -> bool:
        rows.append(dict(shown.rows))
        return True

    async with house(**LIVE) as it:
        assert (await canary(it.settings, "main", Wish())).passed
        await arming.arm(it.settings, "main", 1, RIGHT, agreed)
        assert "none is placed, the working stop rests alone" in rows[0]["floor"] and "`qtkit canary --position`" in rows[0]["floor"]
        it.stranger("XRPUSDT", "100")
        async with opened(it.settings, "main") as desk:
            await passes(desk, 4)
            assert legs(it) == ["s0"] and desk.monitor.health.coverage[0].gap == 0
            assert any("no floor is placed" in note for note in cover_of(desk).notes)
            await desk.flatten(tuple(desk.applier.book.episodes))
            await passes(desk, 4)
        assert (await canary(it.settings, "main", Wish(position=True))).passed
        await arming.arm(it.settings, "main", 1, RIGHT, agreed)
        assert "floor" not in rows[1]
        await held(it)
        assert legs(it) == ["f0", "s0"]
        await lesser_run(it, kept=True)
        await aged(it, 8)
        await lesser_run(it, kept=False)
        async with opened(it.settings, "main") as desk:
            for _ in range(5):
                assert "s0" in legs(it)
                await passes(desk, 1)
                assert desk.monitor.health.coverage[0].gap == 0
            assert legs(it) == ["s0"]


async def lesser_run(it: House, *, kept: bool) -> None:
    """A canary without a position lets stand what one with a position has seen, while that is fresh."""
    proof = await canary(it.settings, "main", Wish(symbol="ADAUSDT"))
    assert proof.passed and ("floor_beside_stop" in proof.traits) is kept
    assert ["floor_beside_stop (yes)" in row.text for row in proof.observations if row.item == "seen before"] == [True] * kept
    async with opened(it.settings, "main") as desk:
        await passes(desk, 3)
        assert (legs(it) == ["f0", "s0"]) is kept and desk.monitor.health.coverage[0].gap == 0


async def aged(it: House, days: int) -> None:
    """What a canary with a position has seen is this old; the lesser one after it is not."""
    proof = proofs.read_proof(it.account, it.pair, it.paths)
    assert proof is not None and proof.carried is not None and proof.carried.keys() == {"floor_beside_stop", "conditional_reserves"}
    carried = {name: at_ms - days * 24 * proofs.HOUR_MS for name, at_ms in proof.carried.items()}
    proofs.write_proof(replace(proof, carried=carried), it.pair, it.account, it.paths)


def legs(it: House) -> list[str]:
    return sorted(client_id[6:8] for client_id in it.resting())


# -- the clock


async def test_a_clock_that_is_wrong_ends_entries_and_adoption_and_no_protection(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead_ms = 30_000
    monkeypatch.setattr(server, "wall_ms", lambda: time.time_ns() // 1_000_000 + ahead_ms)
    monkeypatch.setattr(permit, "CLOCK_EVERY_S", 0.02)
    async with house(**BOTH) as it:
        await armed(it)
        ahead_ms = 0
        await held(it)
        ahead_ms = 30_000
        it.stranger("ADAUSDT", "100")
        cancel_all(it, "XRPUSDT")
        async with opened(it.settings, "main") as desk:
            await passes(desk, 4)
            assert stopped(it) == {"XRPUSDT"} and "the clock of this computer is off the exchange's by" in told(desk)
            with pytest.raises(PolicyError, match=r"no entry|opens no positions"):
                await desk.executor.place_order("ADAUSDT", "BUY", 20)
            stop = asyncio.Event()
            turn = asyncio.create_task(desk.run(stop))
            ahead_ms = 0
            await until(lambda: stopped(it) == {"XRPUSDT", "ADAUSDT"} and not told(desk))
            ahead_ms = -30_000
            await until(lambda: bool(told(desk)))
            stop.set()
            await turn


async def until(true: Any) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.05)


# -- armed again


async def test_arming_again_while_a_desk_runs() -> None:
    async with house(**LIVE) as it:
        await armed(it)
        async with opened(replace(it.settings, tick_seconds=0.2), "main") as desk, served(desk):
            stop = asyncio.Event()
            turn = asyncio.create_task(desk.run(stop))
            await asyncio.sleep(0.5)
            status, _, err, _ = await command("desk", "--account", "main", "--arm", "24h", "--yes", it=it)
            assert status == 0 and "the running desk goes on under the new arm" in err and "kill" not in err, err
            _, out, _, _ = await command("check", "--account", "main", "--json", it=it)
            shown = [note for note in json.loads(out)["notes"] if note.startswith("armed until")]
            assert shown and shown[0] in err
            it.with_account(max_notional=it.account.max_notional - 1)
            status, _, err, _ = await command("desk", "--account", "main", "--arm", "24h", "--yes", it=it)
            assert status == 1 and "the running desk does not go by the new arm" in err
            stop.set()
            await turn
        _, out, _, _ = await command("check", "--account", "main", "--json", it=it)
        assert any(note.startswith("armed until") for note in json.loads(out)["notes"]), "without a desk, too"
