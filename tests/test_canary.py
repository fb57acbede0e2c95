"""The canary against the real paper exchange over its real protocol, on paper and posing as live; and what it unlocks."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from qtkit import arming, proofs
from qtkit.apply import wall_ms as now_ms
from qtkit.canary import Wish, canary
from qtkit.checklist import Clock
from qtkit.core.ids import parse_client_order_id
from qtkit.core.model import OrderKind, PolicyError, Scope, Side
from qtkit.desk import Desk, identity, opened
from qtkit.limits import FIRST_NOTIONAL
from qtkit.paper.faults import Fault, FaultKind, Faults, Match, Verb
from qtkit.paper.rules import Rules
from qtkit.probes import LEGS, STOP
from qtkit.proofs import Answer, Proof
from qtkit.runs import Exit, run_notebook, run_pipeline
from qtkit.store.lease import Lease
from tests.canary_rig import NAMES, PRICES, House, e8, house, traits_of

ROOT = Path(__file__).parents[1]
RULES = {
    "plain": Rules(),
    "floor-alone": Rules(floor_beside_stop=False),
    "reserving": Rules(conditional_reserves=True),
    "flat-refused": Rules(stop_while_flat=False),
    "floor-while-flat": Rules(close_position_while_flat=True),
    "late-lists": Rules(algo_read_lag_ms=400, slot_lag_ms=300),
    "strict": Rules(floor_beside_stop=False, conditional_reserves=True, stop_while_flat=False),
}
SLOTS = [(Side.LONG, False), (Side.SHORT, False), (Side.LONG, True), (Side.SHORT, True)]
slots = pytest.mark.parametrize(("side", "hedge"), SLOTS, ids=["long", "short", "hedge-long", "hedge-short"])
LIVE: dict[str, Any] = {"kind": "live", "max_notional": FIRST_NOTIONAL, "leverage": 2}


def answers(proof: Proof) -> dict[str, Answer]:
    return {row.item: row.answer for row in proof.observations}


def left_behind(it: House) -> tuple[list[str], list[tuple[str, int]]]:
    return it.resting(), it.positions()


# -- the user's case: from a live account that may not be written to, to one that may


async def test_the_road_to_live_rehearsed() -> None:
    """Refused without a proof; a canary; refused without an arm; armed; the desk runs; the arm ends, and a new desk is refused."""
    async with house(**LIVE) as it:
        with pytest.raises(PolicyError, match="no canary has proven its exchange; run `qtkit canary --account main`"):
            await _open(it)
        proof = await canary(it.settings, "main", Wish())
        assert proof.passed and left_behind(it) == ([], [])
        with pytest.raises(PolicyError, match="it is not armed; arm it with `qtkit desk --account main --arm 24h`"):
            await _open(it)
        given = proofs.arm(it.account, it.pair, it.paths, hours=1, now_ms=now_ms())
        async with opened(it.settings, "main") as desk:
            assert desk.monitor.desk.takes_on_until_ms == given.until_ms
        with pytest.raises(PolicyError, match=r"its arm ended 1\.0 hours ago"):
            async with opened(it.settings, "main", clock_ms=lambda: given.until_ms + proofs.HOUR_MS):
                pass


async def _open(it: House) -> None:
    async with opened(it.settings, "main"):
        raise AssertionError("a desk was let in")


# -- every item of the checklist, under both settings of each rule


@pytest.mark.parametrize(("name", "kind"), [*((name, "paper") for name in RULES), ("plain", "live"), ("strict", "live")])
async def test_each_rule_of_the_exchange_is_seen_as_it_is(name: str, kind: str) -> None:
    rules = RULES[name]
    async with house(rules, **(LIVE | {"kind": kind})) as it:
        proof = await canary(it.settings, "main", Wish(position=True))
        assert proof.passed, proof.sentence
        assert proof.traits == {name: getattr(rules, name) for name in NAMES}
        seen = answers(proof)
        assert not [item for item, answer in seen.items() if answer is Answer.FAILED]
        for item in ("working stop", "floor", "target", "limit order", "reduce-only kept", "read lag"):
            assert seen[item] is Answer.AGREES, item
        items = {
            "stop while flat": "stop_while_flat",
            "what stops reserve": "conditional_reserves",
            "floor beside stop": "floor_beside_stop",
        }
        for item, trait in items.items():
            assert seen[item] is (Answer.AGREES if getattr(Rules(), trait) is getattr(rules, trait) else Answer.DIFFERS), item
        if rules.stop_while_flat:
            assert seen["id taken"] is Answer.AGREES and seen["id used again"] is Answer.SEEN
            assert seen["stop triggers while flat"] is Answer.AGREES
        assert left_behind(it) == ([], [])
        told = proofs.proposed(it.account, proof)
        assert bool(told) is (traits_of(rules) != traits_of(Rules()))
        it.with_account(traits=traits_of(rules))
        assert proofs.proposed(it.account, proof) == ()


@slots
async def test_both_sides_in_both_modes(side: Side, hedge: bool) -> None:
    async with house(hedge=hedge) as it:
        proof = await canary(it.settings, "main", Wish(side=side, position=True))
        assert proof.passed and proof.hedge is hedge, proof.sentence
        seen = answers(proof)
        assert seen["working stop"] is seen["floor"] is seen["target"] is Answer.AGREES
        assert ("reduce-only kept" in seen) is not hedge  # hedge mode has no such flag: the slot does it
        assert left_behind(it) == ([], [])
        traded = [trade for trade in it.exchange.trades(it.its)]
        assert len(traded) >= 2 and {trade.symbol for trade in traded} == {"XRPUSDT"}


@slots
async def test_without_a_position_nothing_is_ever_opened(side: Side, hedge: bool) -> None:
    async with house(hedge=hedge) as it:
        proof = await canary(it.settings, "main", Wish(side=side))
        assert proof.passed and not proof.with_position
        assert it.exchange.trades(it.its) == () and left_behind(it) == ([], [])
        seen = answers(proof)
        assert seen["floor"] is seen["floor beside stop"] is seen["what stops reserve"] is Answer.NOT_ASKED
        assert proof.unknown == ("floor_beside_stop", "conditional_reserves")


async def test_an_exchange_that_takes_no_stop_while_flat_is_not_proven_without_a_position() -> None:
    async with house(Rules(stop_while_flat=False)) as it:
        proof = await canary(it.settings, "main", Wish())
        assert not proof.passed and "run it with --position" in proof.sentence
        assert answers(proof)["working stop"] is Answer.NOT_ASKED


async def test_each_answer_has_its_evidence() -> None:
    async with house(RULES["strict"]) as it:
        began = now_ms()
        proof = await canary(it.settings, "main", Wish(position=True))
        by_item = {row.item: row for row in proof.observations}
        assert [by_item[item].code for item in ("stop while flat", "what stops reserve", "floor beside stop")] == [-4509, -4118, -4130]
        for row in proof.observations:
            assert began <= row.at_ms <= now_ms()
            for client_id in row.ids:
                parsed = parse_client_order_id(client_id)
                assert parsed is not None and parsed[0] == it.settings.desk and parsed[1] in LEGS
        assert len(by_item["working stop"].ids) == 2
        kept = proofs.read_proof(it.account, it.pair, it.paths)
        assert kept == proof and proof.symbol == "XRPUSDT" and proof.host == proofs.host_of(it.account)


# -- what it may not touch, and when it may not begin


async def test_what_others_hold_and_rest_is_neither_used_nor_touched() -> None:
    async with house(symbols=("XRPUSDT", "ADAUSDT", "BTCUSDT")) as it:
        it.stranger("XRPUSDT", "100")
        it.stranger("ADAUSDT", "100", price="0.3")
        proof = await canary(it.settings, "main", Wish(position=True))
        assert proof.passed and proof.symbol == "BTCUSDT"
        assert it.resting() == ["stranger-1"] and [symbol for symbol, _ in it.positions()] == ["XRPUSDT"]
        for symbol in ("XRPUSDT", "ADAUSDT"):
            with pytest.raises(PolicyError, match=f"needs a symbol that nobody trades.*{symbol} has a position or orders"):
                await canary(it.settings, "main", Wish(symbol=symbol))


async def test_a_proof_is_renewed_while_all_that_is_allowed_is_held() -> None:
    """Far orders on a symbol that the operator names; what is not allowed is not opened."""
    async with house(**LIVE) as it:
        it.stranger("XRPUSDT", "100")
        with pytest.raises(PolicyError, match="XRPUSDT has a position or orders; name another with --symbol, any that nobody trades"):
            await canary(it.settings, "main", Wish())
        proof = await canary(it.settings, "main", Wish(symbol="ADAUSDT"))
        assert proof.passed and proof.symbol == "ADAUSDT" and answers(proof)["symbol"] is Answer.SEEN
        assert [symbol for symbol, _ in it.positions()] == ["XRPUSDT"] and it.resting() == []
        proofs.arm(it.account, it.pair, it.paths, hours=1, now_ms=now_ms())
        with pytest.raises(PolicyError, match="a position is opened on those alone"):
            await canary(it.settings, "main", Wish(symbol="ADAUSDT", position=True))


async def test_it_is_refused_while_a_desk_owns_the_account() -> None:
    async with house() as it:
        with (
            Lease.acquire(identity(it.account, it.pair), home="elsewhere"),
            pytest.raises(PolicyError, match=r"needs account main to itself: .* run by process .*; a desk has to be stopped for it"),
        ):
            await canary(it.settings, "main", Wish())
        assert it.its.algos == {}


@pytest.mark.parametrize(
    ("fields", "wish", "told"),
    [
        ({"scope": Scope.WATCH}, Wish(), "scope is watch, which sends nothing"),
        ({"kind": "live", "symbols": ()}, Wish(), "the canary asks on an allowed symbol only"),
        (
            {},
            Wish(symbol="BTCUSDT", position=True),
            r"BTCUSDT is not among accounts.main.symbols, .* on those alone: did you mean 'XRPUSDT'",
        ),
        ({"symbols": None}, Wish(symbol="XRPUSD"), r"there is no symbol 'XRPUSD'.*XRPUSDT"),
        ({"symbols": ("BTCUSDT",), "max_notional": Decimal(50)}, Wish(), r"comes to more than max_notional: BTCUSDT 1\d\d"),
    ],
)
async def test_it_does_not_begin_where_it_may_not(fields: dict[str, Any], wish: Wish, told: str) -> None:
    async with house(**fields) as it:
        with pytest.raises(PolicyError, match=told):
            await canary(it.settings, "main", wish)
        assert it.its.algos == {} and it.its.orders == {}


async def test_a_clock_that_is_wrong_proves_nothing_and_arms_nothing() -> None:
    off = Clock(right=False, text="2,000 ms ahead of the exchange's")
    async with house(**LIVE) as it:
        proof = await canary(it.settings, "main", Wish(), clock=off)
        assert not proof.passed and proof.sentence == "not as the desk needs it: clock"
        assert (await canary(it.settings, "main", Wish())).passed
        with pytest.raises(PolicyError, match="cannot be armed: the clock of this computer is 2,000 ms ahead"):
            await arming.arm(it.settings, "main", 1, off, lambda shown: True)
        right = Clock(right=True, text="1 ms behind the exchange's")
        assert await arming.arm(it.settings, "main", 1, right, lambda shown: False) is None
        assert not proofs.arm_file(it.account, it.paths).exists()
        assert await arming.arm(it.settings, "main", 1, right, lambda shown: True) is not None
        proofs.may_write(it.account, it.pair, it.paths, now_ms())


@pytest.mark.parametrize("fields", [{"kind": "paper"}, {"kind": "demo"}, {"kind": "live", "scope": Scope.WATCH}])
async def test_only_a_live_desk_that_writes_is_armed(fields: dict[str, Any]) -> None:
    async with house(**(LIVE | fields)) as it:
        with pytest.raises(PolicyError, match="and needs no arm; leave --arm out"):
            await arming.arm(it.settings, "main", 1, Clock(right=True, text=""), lambda shown: True)


# -- when it goes wrong halfway


STRUCK = [
    Fault(kind=FaultKind.REFUSE, match=Match(verb=Verb.PLACE, conditional=True), times=None, skip=1, code=-1013, message="no"),
    Fault(kind=FaultKind.ACCEPT_TIMEOUT, match=Match(verb=Verb.PLACE), times=2, skip=1),
    Fault(kind=FaultKind.ACCEPT_503, match=Match(verb=Verb.PLACE, kinds=frozenset({OrderKind.LIMIT})), times=1),
    Fault(kind=FaultKind.NOT_FOUND, match=Match(verb=Verb.CANCEL), times=3),
    Fault(kind=FaultKind.FAIL_503, match=Match(verb=Verb.ORDERS), times=6, skip=6),
    Fault(kind=FaultKind.ACCEPT_DROP, match=Match(verb=Verb.PLACE, kinds=frozenset({OrderKind.MARKET})), times=1),
]


@pytest.mark.parametrize("fault", STRUCK, ids=lambda fault: fault.kind.value)
async def test_whatever_fails_halfway_nothing_stays(fault: Fault) -> None:
    async with house(faults=Faults([fault])) as it:
        proof = await canary(it.settings, "main", Wish(position=True))
        assert left_behind(it) == ([], []), proof.sentence
        if fault.kind is not FaultKind.NOT_FOUND:
            assert not proof.passed and any(row.answer is Answer.FAILED for row in proof.observations)
            with pytest.raises(PolicyError, match="cannot be armed: its canary did not pass"):
                proofs.require_proof(it.account, it.pair, it.paths, now_ms())


# -- killed


def toml(it: House) -> None:
    """The account as a process of its own reads it."""
    of = it.account
    rows = {
        "kind": f'"{of.kind}"', "scope": f'"{of.scope.value}"', "base_url": f'"{of.base_url}"', "symbols": list(of.symbols or ()),
        "max_notional": of.max_notional, "leverage": of.leverage,
    }  # fmt: skip
    it.paths.home.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{name} = {value}\n" for name, value in rows.items())
    (it.paths.home / "qtkit.toml").write_text(f"[accounts.main]\n{text}")


async def command(*arguments: str, kill_at: int = 0, by: signal.Signals = signal.SIGKILL, it: House) -> tuple[int, str, str, int]:
    """`qtkit ...` in a process of its own, killed at the n-th thing that happens to the account. Exit status, output, events seen."""
    toml(it)
    seen = 0
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "qtkit", *arguments, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip

    def happened(event: object) -> None:
        nonlocal seen
        seen += 1
        if seen == kill_at and child.returncode is None:
            os.kill(child.pid, by)

    it.exchange.listeners.append(happened)
    try:
        out, err = await asyncio.wait_for(child.communicate(), 60)
    finally:
        it.exchange.listeners.remove(happened)
        if child.returncode is None:
            child.kill()
    return child.returncode or 0, out.decode(), err.decode(), seen


async def killed_at(event: int, *options: str, **fields: Any) -> None:
    """Kill a canary at the n-th thing that happens to its account, look at what it left, and let the next one come."""
    async with house(**fields) as it:
        side = Side.SHORT if "short" in options else Side.LONG
        status, _, err, _ = await command("canary", "--account", "main", "--position", "--yes", *options, kill_at=event, it=it)
        assert status == -signal.SIGKILL, err
        for row in (*it.its.waiting(), *it.its.resting()):
            parsed = parse_client_order_id(row.client_id)
            assert parsed is not None and parsed[0] == it.settings.desk and parsed[1] in LEGS
            far = abs(int(row.trigger or row.price) - MARK) * 5 > MARK
            assert far or (event >= FIRES and parsed[1] == STOP), "far from the price, but for the one that is to fire while flat"
        if it.positions():
            assert any(row.reduce_only or row.position_side.value != "BOTH" for row in it.its.waiting()), "it was opened with a stop"
        proof = await canary(it.settings, "main", Wish(side=side))
        assert proof.passed and left_behind(it) == ([], []), proof.sentence
        assert not list((it.paths.home / "proofs").glob("*.run"))


MARK = int(e8(PRICES["XRPUSDT"]))
FIRES = 35  # of 37 events: the stop that is to fire while flat
GATE = (9, 20, 22, 25, 35)


@pytest.mark.parametrize("event", GATE)
async def test_a_killed_canary_leaves_far_orders_and_the_next_one_takes_them_away(event: int) -> None:
    await killed_at(event)


@pytest.mark.night
@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])
@pytest.mark.parametrize("event", range(1, 38))
async def test_killed_anywhere_on_both_sides_in_both_modes(event: int, side: str, hedge: bool) -> None:
    await killed_at(event, "--side", side, hedge=hedge)


async def test_what_others_have_opened_since_is_not_closed_with_the_canarys_own() -> None:
    """The position of a killed canary is closed, and no more: a stranger has added to it."""
    async with house() as it:
        await command("canary", "--account", "main", "--position", "--yes", kill_at=22, it=it)
        ((symbol, own),) = it.positions()
        it.stranger("XRPUSDT", "50")
        with pytest.raises(PolicyError, match="XRPUSDT has a position or orders"):
            await canary(it.settings, "main", Wish())
        assert it.positions() == [(symbol, e8("50"))] and own > 0 and it.resting() == []


@pytest.mark.parametrize(("event", "by"), [(5, signal.SIGTERM), (24, signal.SIGINT)], ids=["flat, SIGTERM", "with a position, Ctrl-C"])
async def test_an_interrupted_canary_takes_everything_away_itself(event: int, by: signal.Signals) -> None:
    async with house() as it:
        status, out, err, _ = await command("canary", "--account", "main", "--position", "--yes", kill_at=event, by=by, it=it)
        assert status == 130 and "Traceback" not in err and not out
        assert left_behind(it) == ([], []) and proofs.read_proof(it.account, it.pair, it.paths) is None


async def test_a_desk_that_comes_after_a_killed_canary_covers_what_it_left() -> None:
    async with house() as it:
        await command("canary", "--account", "main", "--position", "--yes", kill_at=24, it=it)
        left = it.resting()
        assert len(it.positions()) == 1 and left
        async with opened(it.settings, "main") as desk:
            await passes(desk, 4)
            (line,) = desk.monitor.health.coverage
            assert line.gap == 0
        assert len(it.positions()) == 1, "covered, not traded"


# -- the command


async def test_the_command_tells_the_checklist_and_what_to_write() -> None:
    async with house(RULES["strict"]) as it:
        status, out, err, _ = await command("canary", "--account", "main", "--position", "--yes", it=it)
        assert status == 0, err
        assert "canary of account main passed: the desk has to be told of: stop while flat, what stops reserve, floor beside stop" in out
        lines = ("[accounts.main.traits]", "floor_beside_stop = false", "conditional_reserves = true", "stop_while_flat = false")
        assert all(line in out for line in lines) and "-4130" in out and "it counts for 7 days" in out
        status, out, _, _ = await command("canary", "--account", "main", "--json", it=it)
        told = json.loads(out)
        assert status == 1 and told["passed"] is False and "run it with --position" in told["sentence"]
        assert it.keys.secret.reveal() not in out and it.keys.api_key not in out


async def test_a_position_is_asked_for() -> None:
    async with house() as it:
        status, _, err, seen = await command("canary", "--account", "main", "--position", it=it)
        assert status == 1 and "opens a long position of the smallest size on account main (paper)" in err and seen == 0


async def test_a_live_desk_is_armed_after_its_terms_were_shown() -> None:
    async with house(**LIVE) as it:
        assert (await canary(it.settings, "main", Wish())).passed
        status, _, err, _ = await command("desk", "--account", "main", it=it)
        assert status == 1 and "it is not armed; arm it with `qtkit desk --account main --arm 24h`" in err
        status, _, err, _ = await command("desk", "--account", "main", "--arm", "24h", it=it)
        assert status == 1 and "Type yes" in err and not proofs.arm_file(it.account, it.paths).exists(), "nobody said yes"
        for shown in ("live (rehearsed at", "scope guard", "24 h: scope guard on XRPUSDT, at most 50 USDT at 2x", "clock", "old"):
            assert shown in err
        proofs.arm(it.account, it.pair, it.paths, hours=1, now_ms=now_ms())
        status, out, _, _ = await command("disarm", "--account", "main", it=it)
        assert status == 0 and "account main is disarmed; resting orders stay" in out


# -- the notebook


async def test_the_notebook_proves_the_exchange_through_a_child_process() -> None:
    async with house(RULES["strict"], **LIVE) as it:
        toml(it)
        asked = {"account": "main", "symbol": "XRPUSDT", "position": True, "require": True}
        result = await asyncio.to_thread(run_notebook, "canary", asked)
        assert result.passed, result.reason
        assert result.figures["proven"] and result.figures["passed"]
        assert result.figures["traits"] == {name: getattr(RULES["strict"], name) for name in sorted(NAMES)}
        assert result.figures["lines_to_write"][0] == "[accounts.main.traits]" and left_behind(it) == ([], [])
        assert proofs.read_proof(it.account, it.pair, it.paths) is not None
        for place in result.folder.iterdir():
            assert it.keys.secret.reveal() not in place.read_text() and it.keys.api_key not in place.read_text(), place.name


def test_the_notebook_is_not_green_where_nothing_could_be_proven() -> None:
    scheduled = run_pipeline("weekly_canary")
    assert scheduled.exit is Exit.CHECK and "Nothing was proven, for the canary could not run" in scheduled.reason


# -- a desk whose arm ends


async def test_an_ended_arm_takes_nothing_new_on_and_goes_on_protecting() -> None:
    """A running desk: covered before, protected after; what comes after the end is left alone, by the desk that comes after it, too."""
    async with house(**(LIVE | {"symbols": ("XRPUSDT", "ADAUSDT")})) as it:
        assert (await canary(it.settings, "main", Wish(position=True))).passed
        proofs.arm(it.account, it.pair, it.paths, hours=1, now_ms=now_ms())
        async with opened(it.settings, "main") as desk:
            it.stranger("XRPUSDT", "100")
            await passes(desk, 3)
            before = it.resting()
            assert len(before) >= 2 and all(client_id.startswith(f"q1{it.settings.desk}") for client_id in before)
            assert proofs.disarm(it.account, it.paths)
            await passes(desk, 1)
            it.stranger("ADAUSDT", "100")
            it.stranger("XRPUSDT", "50")  # what is planned already grows: its stop does too
            await passes(desk, 4)
            assert {row.symbol for row in it.its.waiting()} == {"XRPUSDT"}
            assert max(int(row.quantity) for row in it.its.waiting()) == e8("150")
            assert any("nothing new is taken on" in alarm for alarm in desk.monitor.health.alarms)
        resting = it.resting()
        async with opened(it.settings, "main") as desk:
            await passes(desk, 4)
        assert it.resting() == resting


async def passes(desk: Desk, number: int) -> None:
    for _ in range(number):
        await desk.monitor.pass_once()
        await asyncio.sleep(0.05)


async def test_closing_needs_no_arm() -> None:
    async with house(**LIVE) as it:
        it.stranger("XRPUSDT", "100")
        async with opened(it.settings, "main", closing=True) as desk:
            await passes(desk, 1)
            keys = tuple(desk.applier.book.episodes)
            assert await desk.flatten(keys) == () and keys
        assert it.positions() == []


async def test_full_on_a_live_account_opens_on_isolated_margin_only() -> None:
    async with house(**(LIVE | {"scope": Scope.FULL})) as it:
        assert (await canary(it.settings, "main", Wish())).passed
        proofs.arm(it.account, it.pair, it.paths, hours=1, now_ms=now_ms())
        with pytest.raises(PolicyError, match="XRPUSDT is on cross margin; a live account opens on isolated margin only"):
            await _open(it)
        it.exchange.set_margin_mode(it.its, "XRPUSDT", isolated=True)
        async with opened(it.settings, "main") as desk:
            assert desk.account.scope is Scope.FULL
