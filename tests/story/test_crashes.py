"""kill -9 at every step of a desk's work, and a disk that fails: the next desk, or the same one, protects what is open and repeats nothing.

A step is the moment before and the moment after each request to the exchange, each commit of the journal and of the register. A play is
run once whole to count its steps, then once for every step at which the process dies; a new desk starts on the same home.
"""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qtkit.core.distance import InBps
from qtkit.core.model import ONE, Bps, PolicyError, Side
from qtkit.core.policy import GUARD
from qtkit.paper.faults import Fault as DropFault
from qtkit.paper.faults import FaultKind, Match, Verb
from qtkit.paper.rows import AlgoRow
from qtkit.store.disk import Fault
from qtkit.store.lease import LeaseLost
from tests.story.rig import RULES, SIDES, Killed, Life, Mortal, Rig, World, desk, judged, sound, story, tidy

SYMBOL, OTHER = "SOLUSDT", "XRPUSDT"
SIZE = 10 * ONE
Play = Callable[[World, Rig, Side], Awaitable[None]]

both_sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name.lower())
both_modes = pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])


# -- kill -9 --------------------------------------------------------------------------------------------------------------------------


async def nothing(world: World, rig: Rig, side: Side) -> None:
    """Before the play: a desk on an empty account."""
    await rig.passes(1)


async def guarded(world: World, rig: Rig, side: Side) -> None:
    """Before the play: a position that is covered."""
    world.stranger(SYMBOL, side, 10)
    await rig.passes(3)


async def adopts(world: World, rig: Rig, side: Side) -> None:
    """A stranger's position is found and covered."""
    if not world.held(SYMBOL):
        world.stranger(SYMBOL, side, 10)
    await rig.passes(2)


async def trails(world: World, rig: Rig, side: Side) -> None:
    """A stop moves to break-even: the new one is placed and read back, the old one cancelled."""
    await rig.passes(1)
    world.move(SYMBOL, side, 1.6)
    await rig.passes(3)


async def ends(world: World, rig: Rig, side: Side) -> None:
    """The position is closed by hand, its orders go."""
    if world.held(SYMBOL):
        world.leaves(SYMBOL, side, 10)
    await rig.passes(3)


async def enters(world: World, rig: Rig, side: Side) -> None:
    """Our own entry."""
    await rig.executor.place_order(SYMBOL, side.opening.value, 10)
    await rig.passes(2)


async def flattens(world: World, rig: Rig, side: Side) -> None:
    """The operator closes the position."""
    await rig.passes(1)
    await rig.monitor.close_now(tuple(rig.applier.book.episodes))
    await rig.passes(2)


PLAYS: dict[str, tuple[Play, Play]] = {
    "adopts": (nothing, adopts), "trails": (guarded, trails), "ends": (guarded, ends), "enters": (nothing, enters),
    "flattens": (guarded, flattens),
}  # fmt: skip
BY_DAY = [("plain", False, Side.LONG), ("plain", True, Side.SHORT), ("reserving", False, Side.SHORT)]
BY_NIGHT = [
    ("flat-refused", False, Side.LONG), ("floor-alone", False, Side.SHORT), ("strict", False, Side.LONG), ("strict", True, Side.SHORT),
]  # fmt: skip


def _case(name: str, rules: str, hedge: bool, side: Side) -> Any:
    """By day all plays under the plain rules, and the one in which a fill comes before any stop can rest."""
    by_day = (rules, hedge, side) in BY_DAY or (name, rules) == ("enters", "flat-refused")
    mode = "hedge" if hedge else "one-way"
    return pytest.param(
        name, rules, hedge, side, id=f"{name}-{rules}-{mode}-{side.name.lower()}", marks=() if by_day else pytest.mark.night
    )


CASES = [_case(name, *case) for name in PLAYS for case in (*BY_DAY, *BY_NIGHT)]


async def lived(home: Path, rules: str, hedge: bool, side: Side, play: tuple[Play, Play], life: Life) -> World:
    """The play with a desk that dies when its life ends, then ten passes of the next desk."""
    world = World(RULES[rules], hedge=hedge)
    async with desk(world, home) as first:
        await play[0](world, first, side)
    try:
        async with desk(world, home, life=life) as rig:
            await play[1](world, rig, side)
    except Killed:
        pass
    async with desk(world, home) as after:
        await after.passes(10)
        intents = after.intents()
        unknown = [row.client_id for row in world.own() if row.client_id not in intents]
        assert not unknown, f"orders without a journaled intent: {unknown}"
        assert after.gaps() == {}
    return world


def shape(rows: list[AlgoRow]) -> list[tuple[str, int, bool]]:
    """Orders apart from their ids and levels: a plan made a moment later may have other levels."""
    return sorted((row.kind.value, row.quantity, row.close_position) for row in rows)


@pytest.mark.parametrize(("name", "rules", "hedge", "side"), CASES)
@story
async def test_killed_at_every_step(home: Path, name: str, rules: str, hedge: bool, side: Side) -> None:
    whole = Life()
    unharmed = await lived(home / "whole", rules, hedge, side, PLAYS[name], whole)
    assert len(whole.steps) > 10
    for step in range(len(whole.steps)):
        world = await lived(home / str(step), rules, hedge, side, PLAYS[name], Life(step))
        where = f"killed {whole.steps[step]}, step {step} of {len(whole.steps)}"
        try:
            judged(world, adoption_ms=24_000)
            tidy(world, SYMBOL, side)
            if name != "enters" and name != "flattens":
                assert world.held(SYMBOL, side) == unharmed.held(SYMBOL, side) and not world.own_trades()
                assert shape(world.own()) == shape(unharmed.own())
            assert world.held(SYMBOL, side) in (0, SIZE), "the entry was sent twice, or a close was"
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error


@both_sides
@story
async def test_a_restart_keeps_every_order_under_its_id(home: Path, side: Side) -> None:
    world = World()
    async with desk(world, home, adopted=None) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        before = {row.client_id for row in world.own()}
    for _ in range(3):
        async with desk(world, home, adopted=None) as rig:
            await rig.passes(5)
    assert {row.client_id for row in world.own()} == before
    assert len(before) == len([row for row in world.account.algos.values()]), "a restart placed something"


@both_sides
@story
async def test_a_lost_home_is_rebuilt_from_the_exchange_and_loosens_nothing(home: Path, side: Side) -> None:
    world = World()
    async with desk(world, home / "old") as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        world.move(SYMBOL, side, 1.6)
        await rig.passes(4)
        tight = world.stops(SYMBOL, side)[0].trigger
    world.move(SYMBOL, side, 0.5)  # back: what the price says now would allow a looser stop
    async with desk(world, home / "new") as rig:
        await rig.passes(8)
        judged(world)
        tidy(world, SYMBOL, side)
        assert side.sign * (world.stops(SYMBOL, side)[0].trigger - tight) >= 0


@both_sides
@both_modes
@story
async def test_cover_beyond_the_new_plan_s_floor_is_kept_until_better_cover_is_read_back(home: Path, hedge: bool, side: Side) -> None:
    """Found by a wandering: after a lost home the new plan was tighter, and what rested was cancelled before its replacement was there."""
    world = World(hedge=hedge)
    async with desk(world, home / "old") as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
    tight = replace(GUARD, name="tight", stop=InBps(Bps(100)), adopted_stop=InBps(Bps(100)))
    async with desk(world, home / "new", adopted=tight) as rig:
        world.faults.add(DropFault(kind=FaultKind.DROP, match=Match(verb=Verb.PLACE), times=3))
        await rig.passes(10)
        judged(world)
        tidy(world, SYMBOL, side)


@both_sides
@story
async def test_a_lost_home_with_a_larger_position_ends_in_one_stop_at_one_level(home: Path, side: Side) -> None:
    """Found by a wandering: a stop of the smaller position, tighter than the new plan's, stayed beside the new one for ever."""
    world = World()
    async with desk(world, home / "old") as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
    world.move(SYMBOL, side, -1.2)
    world.stranger(SYMBOL, side, 10)
    async with desk(world, home / "new") as rig:
        await rig.passes(10)
        judged(world)
        tidy(world, SYMBOL, side)


@both_sides
@both_modes
@story
async def test_no_entry_is_made_onto_a_position_that_the_desk_has_not_seen_yet(home: Path, hedge: bool, side: Side) -> None:
    """Found by a wandering: a signal that came before the first pass doubled a stranger's position."""
    world = World(hedge=hedge)
    async with desk(world, home) as rig:
        world.stranger(SYMBOL, side, 10)
        with pytest.raises(PolicyError, match="open already"):
            await rig.executor.place_order(SYMBOL, side.opening.value, 10)
        assert world.held(SYMBOL, side) == SIZE
        await rig.passes(2)
        judged(world)
        tidy(world, SYMBOL, side)


# -- the disk -------------------------------------------------------------------------------------------------------------------------


def full(rig: Rig) -> Callable[[], None]:
    """The journal's disk is full; the answer frees it."""
    pages = rig.journal._db.execute("PRAGMA page_count").fetchone()[0]
    rig.journal._db.execute(f"PRAGMA max_page_count = {pages}")
    return lambda: rig.journal._db.execute("PRAGMA max_page_count = 1000000") and None


def read_only(rig: Rig) -> Callable[[], None]:
    """The journal cannot be written."""
    rig.journal._db.execute("PRAGMA query_only = ON")
    return lambda: rig.journal._db.execute("PRAGMA query_only = OFF") and None


def locked(rig: Rig) -> Callable[[], None]:
    """Another process holds the journal."""
    rig.journal._db.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(rig.home / "journal.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other.close


@both_sides
@pytest.mark.parametrize("fails", [full, read_only, locked])
@story
async def test_without_a_journal_stops_still_go_out_and_entries_are_refused(
    home: Path, fails: Callable[[Rig], Callable[[], None]], side: Side
) -> None:
    world = World()
    async with desk(world, home) as rig:
        world.stranger(SYMBOL, side, 10)
        await rig.passes(3)
        heal = fails(rig)
        world.move(SYMBOL, side, 1.6)
        world.stranger(OTHER, side, 1_000)
        for _ in range(12):  # a full journal has room for some rows yet
            world.move(SYMBOL, side, 1.6 + _ / 100)
            await rig.passes(1)
        assert rig.applier.fault is not None and "journal" in rig.applier.fault
        judged(world)
        for symbol in (SYMBOL, OTHER):
            tidy(world, symbol, side)
        with pytest.raises(PolicyError, match="journal"):
            await rig.executor.place_order("ETHUSDT", "BUY", 1)
        heal()
        world.leaves(OTHER, side, 1_000)
        await rig.passes(4)
        assert rig.applier.fault is None
        assert {row.client_id for row in world.account.algos.values() if row.client_id.startswith("q1")} <= rig.intents()
        judged(world)
    async with desk(world, home) as again:
        await again.passes(3)
        judged(world)
        tidy(world, SYMBOL, side)


@both_sides
@both_modes
@story
async def test_a_locked_register_still_gives_a_plan_that_protects(home: Path, hedge: bool, side: Side) -> None:
    world = World(hedge=hedge)
    async with desk(world, home) as rig:
        await rig.passes(1)
        rig.register._db.execute("PRAGMA busy_timeout = 1")
        with closing(sqlite3.connect(home / "register.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            world.stranger(SYMBOL, side, 10)
            await rig.passes(4)
            judged(world)
            tidy(world, SYMBOL, side)
            before = {row.client_id for row in world.own()}
        await rig.passes(4)
        judged(world)
        tidy(world, SYMBOL, side)
        assert {row.client_id for row in world.own()} == before
    async with desk(world, home) as again:
        await again.passes(4)
        judged(world)
        tidy(world, SYMBOL, side)
        assert again.router.register.active_for(SYMBOL, now_ms=world.now_ms), "no process can see the plan"


# -- one process, one symbol ----------------------------------------------------------------------------------------------------------


@both_sides
@story
async def test_one_symbol_whose_decision_raises_does_not_unprotect_the_others(
    home: Path, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtkit.core import decide

    real = decide.wanted

    def broken(episode: object, position: object, *args: object, **more: object) -> object:
        if position.symbol == "ADAUSDT":  # type: ignore[attr-defined]
            raise ZeroDivisionError("a fault of our own")
        return real(episode, position, *args, **more)  # type: ignore[arg-type]

    world = World()
    monkeypatch.setattr(decide, "wanted", broken)
    async with desk(world, home) as rig:
        world.stranger("ADAUSDT", side, 1_000)
        world.stranger(SYMBOL, side, 10)
        await rig.live(10)
        tidy(world, SYMBOL, side)
        world.move(SYMBOL, side, 1.6)
        await rig.live(10)
        tidy(world, SYMBOL, side)
        assert len(world.sent("s0")) == 2, "the trail stood still"
        assert any("ADAUSDT" in alarm for alarm in rig.monitor.health.alarms), "nobody was told"
        monkeypatch.setattr(decide, "wanted", real)
        await rig.live(10)
        tidy(world, "ADAUSDT", side)


@both_sides
@story
async def test_one_symbol_whose_requests_raise_does_not_unprotect_the_others(
    home: Path, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    async with desk(world, home) as rig:
        real = rig.paper.place

        async def broken(order: object) -> object:
            if order.symbol == "ADAUSDT":  # type: ignore[attr-defined]
                raise KeyError("a fault of our own")
            return await real(order)  # type: ignore[arg-type]

        monkeypatch.setattr(rig.paper, "place", broken)
        world.stranger("ADAUSDT", side, 1_000)
        world.stranger(SYMBOL, side, 10)
        await rig.live(10)
        tidy(world, SYMBOL, side)
        world.move(SYMBOL, side, 1.6)
        await rig.live(10)
        tidy(world, SYMBOL, side)
        assert len(world.sent("s0")) == 2, "the trail stood still"
        monkeypatch.setattr(rig.paper, "place", real)
        await rig.live(14)
        tidy(world, "ADAUSDT", side)


@both_sides
@story
async def test_a_desk_that_lost_its_lease_sends_nothing_more(home: Path, side: Side) -> None:
    world = World()
    async with desk(world, home) as rig:
        world.stranger(SYMBOL, side, 10)
        asked, whole = 0, 0

        def fence() -> None:
            nonlocal asked
            asked += 1
            if whole and asked >= whole:
                raise LeaseLost(Fault.LOCKED, "the loop stood still")

        rig.applier.fence = fence
        whole = 3  # the pass itself, the floor, and then no more
        with pytest.raises(LeaseLost):
            await rig.passes(1)
        sent = len(world.account.algos)
        assert sent <= 1 and not world.stops(SYMBOL, side)
        for _ in range(3):
            with pytest.raises(LeaseLost):
                await rig.passes(1)
        assert len(world.account.algos) == sent
        whole = 0
        rig.monitor.forget()
        await rig.passes(3)
        judged(world, adoption_ms=14_000)
        tidy(world, SYMBOL, side)


@both_sides
@story
async def test_two_desks_with_one_journal_would_send_the_same_ids(home: Path, side: Side) -> None:
    """A desk that was halted and goes on beside its successor repeats ids: the exchange refuses the second, or shows one order."""
    world = World()
    async with desk(world, home / "a") as one:
        world.stranger(SYMBOL, side, 10)
        await one.passes(1)
        ids = {row.client_id for row in world.own()}
        one.journal.close()
        copied = (home / "a" / "journal.sqlite").read_bytes()
        (home / "b").mkdir()
        (home / "b" / "journal.sqlite").write_bytes(copied)
        async with desk(world, home / "b") as two:
            await two.passes(4)
            assert {row.client_id for row in world.own()} == ids
            sound(world)


def test_mortals_are_transparent() -> None:
    """The instrument of these tests does not change what it carries."""
    life = Life(1)
    carrier = Mortal({"a": 1}, life, ("keys",))
    assert carrier.get("a") == 1 and not life.steps
    with pytest.raises(Killed):
        carrier.keys()
    assert life.steps == ["before keys", "after keys"] and life.over
