"""The plan register: whoever comes first makes the plan, everybody gets the same one, whatever is killed."""

import json
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from qtkit.core.model import Key, PositionSide, Side
from qtkit.core.plan import ExitPlan
from qtkit.store.disk import Fault
from qtkit.store.register import PlanRegister, RegisterError, StalePlan
from tests.store.making import BTC, child, exit_plan, killed, said

SIDES = pytest.mark.parametrize("side", Side)


@pytest.fixture
def register(tmp_path: Path) -> PlanRegister:
    return PlanRegister(tmp_path / "desk" / "plans.db")


def created(register: PlanRegister, key: Key = BTC, side: Side = Side.LONG, now_ms: int = 0, *, expires_ms: int | None = None) -> ExitPlan:
    plan, new = register.get_or_create(key, side, lambda episode: exit_plan(key, side, episode, expires_ms=expires_ms), now_ms)
    assert new
    return plan


def never(episode: int) -> ExitPlan:
    raise AssertionError(f"episode {episode} was begun although a plan is active")


@SIDES
def test_the_first_makes_the_plan_and_others_get_it(register: PlanRegister, side: Side) -> None:
    plan = created(register, side=side)
    assert register.get_or_create(BTC, side, never, 5) == (plan, False)
    assert register.active(BTC, 5) == plan
    with PlanRegister.read(register.path) as reader:
        assert reader.active(BTC, 5) == plan


@SIDES
def test_a_closed_episode_is_never_active_again(register: PlanRegister, side: Side) -> None:
    first = created(register, side=side)
    assert register.close(BTC, first.episode, 10, "flat")
    assert not register.close(BTC, first.episode, 11, "flat again")
    assert register.active(BTC, 12) is None
    second = created(register, side=side)
    assert second.episode == 2
    assert not register.close(BTC, first.episode, 13, "late news of the first")
    assert register.active(BTC, 14) == second
    assert [(item.plan, item.closed_ms, item.reason) for item in register.history(BTC)] == [(first, 10, "flat"), (second, None, None)]


@SIDES
def test_a_flipped_position_begins_a_new_episode(register: PlanRegister, side: Side) -> None:
    other = Side.SHORT if side is Side.LONG else Side.LONG
    created(register, side=side)
    flipped = created(register, side=other, now_ms=7)
    assert (flipped.side, flipped.episode) == (other, 2)
    assert register.active(BTC, 8) == flipped
    assert [(item.closed_ms, item.reason) for item in register.history(BTC)] == [(7, "flipped"), (None, None)]


@SIDES
def test_a_provisional_plan_dies_unless_it_is_confirmed(register: PlanRegister, side: Side) -> None:
    plan, _ = register.get_or_create(BTC, side, lambda n: exit_plan(side=side, episode=n, expires_ms=100), 0, provisional=True)
    assert plan.provisional and register.active(BTC, 99) == plan and register.active(BTC, 100) is None
    assert register.active_for("BTCUSDT", now_ms=100) == ()
    second, new = register.get_or_create(BTC, side, lambda n: exit_plan(side=side, episode=n, expires_ms=200), 100, provisional=True)
    assert new and second.episode == 2 and register.history(BTC)[0].reason == "expired"
    with pytest.raises(StalePlan, match=r"main/BTCUSDT#1 is not the open plan of this slot, the open plan is main/BTCUSDT#2"):
        register.confirm(BTC, plan.uid)
    confirmed = register.confirm(BTC, second.uid)
    assert confirmed == register.confirm(BTC, second.uid) == replace(second, provisional=False, expires_ms=None)
    assert register.active(BTC, 10**9) == confirmed
    register.close(BTC, 2, 300, "flat")
    with pytest.raises(StalePlan, match="no plan is open"):
        register.confirm(BTC, second.uid)


def test_a_symbol_is_found_in_every_slot_and_account(register: PlanRegister) -> None:
    keys = [Key("a", "BTCUSDT", PositionSide.LONG), Key("a", "BTCUSDT", PositionSide.SHORT), Key("b", "BTCUSDT", PositionSide.BOTH)]
    plans = [created(register, key, Side.SHORT if key.position_side is PositionSide.SHORT else Side.LONG) for key in keys]
    created(register, Key("a", "ETHUSDT", PositionSide.BOTH))
    assert register.active_for("BTCUSDT", now_ms=0) == tuple(plans)
    assert register.active_for("BTCUSDT", PositionSide.SHORT, now_ms=0) == (plans[1],)
    assert register.active_for("BTCUSDT", account="b", now_ms=0) == (plans[2],)
    assert register.active_for("BTCUSDT", PositionSide.BOTH, "a", now_ms=0) == ()


def test_a_plan_for_something_else_is_refused_and_leaves_no_trace(register: PlanRegister) -> None:
    with pytest.raises(StalePlan, match=r"asked for main/BTCUSDT LONG episode 1, the one made is of main/BTCUSDT SHORT episode 1"):
        register.get_or_create(BTC, Side.LONG, lambda episode: exit_plan(side=Side.SHORT, episode=episode), 0)
    with pytest.raises(ZeroDivisionError):
        register.get_or_create(BTC, Side.LONG, lambda episode: exit_plan(episode=episode // 0), 0)
    assert register.history(BTC) == ()
    assert created(register).episode == 1


CREATE_MANY = """
import json, os, sys
from qtkit.core.model import Key, PositionSide, Side
from qtkit.store.register import PlanRegister
from tests.store.making import exit_plan
sys.stdin.readline()
register = PlanRegister(sys.argv[1])
made, uids = 0, []
def make(key, episode):
    global made
    made += 1
    return exit_plan(key, Side.SHORT, episode, uid=f"{key}#{episode} by {os.getpid()}")
for number in range(40):
    key = Key("main", f"S{number}", PositionSide.BOTH)
    before = made
    plan, created = register.get_or_create(key, Side.SHORT, lambda episode: make(key, episode), 0)
    assert made - before == int(created)
    uids.append(plan.uid)
print(json.dumps(uids))
"""


def test_creators_in_four_processes_get_the_same_plans(tmp_path: Path) -> None:
    path = tmp_path / "plans.db"
    children = [child(CREATE_MANY, path) for _ in range(4)]
    for process in children:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in children]
    assert len(answers[0]) == 40
    assert all(answer == answers[0] for answer in answers)
    with PlanRegister.read(path) as register:
        assert [register.active(Key("main", f"S{n}", PositionSide.BOTH), 0).uid for n in range(40)] == answers[0]  # type: ignore[union-attr]
        assert len(register.history(Key("main", "S0", PositionSide.BOTH))) == 1


CREATE_SLOWLY = """
import sys, time
from qtkit.core.model import Side
from qtkit.store.register import PlanRegister
from tests.store.making import BTC, exit_plan
register = PlanRegister(sys.argv[1])
def make(episode):
    register._db.execute("PRAGMA cache_size = 1")
    register._db.execute("CREATE TABLE junk AS SELECT randomblob(100000)")  # spills into the file, as a large transaction does
    print("making", flush=True)
    time.sleep(60)
register.get_or_create(BTC, Side.LONG, make, 0)
"""


@pytest.mark.parametrize("read_first", [False, True])
def test_kill_during_creation_leaves_a_usable_register(tmp_path: Path, read_first: bool) -> None:
    path = tmp_path / "plans.db"
    created(PlanRegister(path), Key("main", "ETHUSDT", PositionSide.BOTH))
    process = child(CREATE_SLOWLY, path)
    assert said(process) == "making"
    killed(process)
    assert path.with_name("plans.db-journal").exists()
    if read_first:
        with PlanRegister.read(path) as reader:
            assert reader.active(BTC, 0) is None
            assert reader.active_for("ETHUSDT", now_ms=0)
    register = PlanRegister(path)
    assert created(register).episode == 1
    assert register.active_for("ETHUSDT", now_ms=0)


CREATE_FOREVER = """
import sys
from qtkit.core.model import Side
from qtkit.store.register import PlanRegister
from tests.store.making import BTC, exit_plan
register = PlanRegister(sys.argv[1])
while True:
    plan, created = register.get_or_create(BTC, Side.LONG, lambda episode: exit_plan(episode=episode), 0)
    print(plan.episode, flush=True)
    register.close(BTC, plan.episode, 0, "flat")
"""


def test_kill_at_any_time_loses_no_plan_that_was_handed_out(tmp_path: Path) -> None:
    path = tmp_path / "plans.db"
    for answers in (1, 5, 20):
        process = child(CREATE_FOREVER, path)
        for _ in range(answers):
            last = said(process)
        last = [last, *killed(process)][-1]
        with PlanRegister.read(path) as register:
            episodes = [item.plan.episode for item in register.history(BTC)]
        assert episodes == list(range(1, len(episodes) + 1)) and len(episodes) >= int(last)


def test_a_reader_names_the_places_searched_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "plans.db"
    with pytest.raises(RegisterError, match=r"does not exist; looked in: /a, /b; start the desk once") as caught:
        PlanRegister.read(path, searched=["/a", "/b"])
    assert caught.value.fault is Fault.MISSING and not path.exists()
    PlanRegister(path).disconnect()
    with pytest.raises(RegisterError, match="read-only"):
        created(PlanRegister.read(path))


def test_every_fault_is_one_clear_sentence(tmp_path: Path, register: PlanRegister, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qtkit.store.register.BUSY_MS", 50)
    impatient = PlanRegister(register.path)
    other = sqlite3.connect(register.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RegisterError, match="in use by another process") as caught:
        created(impatient)
    assert caught.value.fault is Fault.LOCKED
    other.execute("ROLLBACK")
    other.execute("PRAGMA user_version = 9")
    other.close()
    with pytest.raises(RegisterError, match="its schema is 9, this version reads 1"):
        PlanRegister(register.path)
    broken = tmp_path / "broken.db"
    broken.write_bytes(os.urandom(8192))
    with pytest.raises(RegisterError, match="is damaged") as caught:
        PlanRegister(broken)
    assert caught.value.fault is Fault.CORRUPT and broken.stat().st_size == 8192


def test_a_register_deleted_while_open_is_noticed(register: PlanRegister) -> None:
    created(register)
    register.path.unlink()
    for attempt in (lambda: register.active(BTC, 0), lambda: created(register)):
        with pytest.raises(RegisterError, match="is not there") as caught:
            attempt()
        assert caught.value.fault is Fault.MISSING


def test_a_row_that_is_no_plan_is_named(register: PlanRegister) -> None:
    created(register)
    register._db.execute("UPDATE plans SET body = replace(body, '\"stop\":975', '\"stop\":1')")
    with pytest.raises(RegisterError, match=r"is damaged \(ExitPlan: refused by ExitPlan: .*behind the stop"):
        register.active(BTC, 0)
