"""Who is told what, and when: a real desk on the paper exchange, targets on loopback; and what a target can do to the desk: nothing."""

import asyncio
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit import systemd
from qtkit.alerts import Alert, Kind, Phase, Seen, Weight, lasted, look, message, news, standing_also, tell
from qtkit.core.model import PolicyError, Side
from qtkit.desk import Desk, opened
from qtkit.herald import Herald
from qtkit.home import PaperKeys, Paths, Secret
from qtkit.ledger import Ledger, Line
from qtkit.messenger import KEPT, Heartbeat, Messenger, targets
from qtkit.paper.faults import Fault, FaultKind, Match, Verb
from qtkit.paper.gateway import PaperGateway
from qtkit.settings import Account, Alerts, Scope, Settings
from tests.cli_rig import ROOT, covered, environ, exchange, process, qtkit
from tests.cli_rig import until as until_logged
from tests.loopback import TOKEN, Target, listening, until
from tests.story.rig import RULES, SIDES, START_MS, World, story, traits_of

SYMBOL = "SOLUSDT"
UNIT = ROOT / "pipelines" / "deploy" / "qtkit-desk@.service"
TELLING = r"import .*\b(alerts|herald|messenger|systemd|apprise)\b|from qtkit\.(alerts|herald|messenger|systemd)\b"
REFUSED = Fault(kind=FaultKind.REFUSE, match=Match(verb=Verb.PLACE, conditional=True), times=None, code=-2010, message="no")
BLIND = Fault(kind=FaultKind.FAIL_503, match=Match(verb=Verb.POSITIONS), times=None)


@pytest.fixture
def target() -> Iterator[Target]:
    with listening() as found:
        yield found


def told(*targets: Target, **more: object) -> Settings:
    """Settings with these targets, messages unbounded unless said."""
    limits = {"per_minute": 60, "failed_passes": 3, **more}
    return replace(Settings(), alerts=Alerts(urls=tuple(Secret(target.url) for target in targets), **limits))  # type: ignore[arg-type]


@asynccontextmanager
async def running(world: World, settings: Settings) -> AsyncIterator[tuple[Desk, Herald]]:
    """A desk on the paper exchange, followed by its herald; it parts well."""
    paths = Paths.here()
    PaperKeys.create(paths.paper_keys())
    with Herald(settings, "paper", paths.of("paper").made().alerts, clock_ms=lambda: world.now_ms) as herald:
        gateway = PaperGateway(world.exchange, "paper", world.faults)
        async with opened(settings, gateway=gateway, traits=traits_of(world.rules), clock_ms=lambda: world.now_ms) as desk:
            herald.follow(desk)
            yield desk, herald
            herald.part("desk stopped; its stops rest")


async def passes(world: World, desk: Desk, count: int) -> None:
    """Passes as the loop makes them, a tick of time apart; one that fails is told and not raised."""
    for _ in range(count):
        world.pass_time(2_000)
        await desk.monitor._pass_or_tell()


# -- the trader's case


@pytest.mark.parametrize("side", SIDES)
async def test_a_stranger_stays_naked_while_stops_are_refused_and_is_covered_then(target: Target, side: Side) -> None:
    world = World()
    async with running(world, told(target)) as (desk, _):
        await passes(world, desk, 2)
        world.stranger(SYMBOL, side, 12)
        world.faults.add(REFUSED)
        await passes(world, desk, 8)
        until(lambda: len(target.lines) >= 2, "the alert")
        world.faults.clear()
        await passes(world, desk, 40)
    assert [line.partition(":")[0] for line in target.lines] == ["desk started", "gap opened", "gap closed", "desk stopped"]
    opened_, closed = target.lines[1], target.lines[2]
    assert f"gap opened: paper/{SYMBOL}" in opened_ and f"{side.name}, 12 of 12 without a stop of ours" in opened_
    since = re.search(r"since (2025-11-21 00:00:0\d UTC)", opened_)
    assert since and since[1] in closed and re.search(r"lasted \d+ s", closed)
    assert [row["type"] for row in target.messages] == ["info", "failure", "success", "failure"]
    assert target.messages[1]["title"] == "qtkit paper: gap opened"


@pytest.mark.parametrize("side", SIDES)
async def test_a_position_that_is_covered_in_two_passes_is_no_news(target: Target, side: Side) -> None:
    world = World()
    async with running(world, told(target)) as (desk, _):
        world.stranger(SYMBOL, side, 10)
        await passes(world, desk, 6)
        assert not desk.monitor.health.coverage[0].gap
    assert [line.partition(":")[0] for line in target.lines] == ["desk started", "desk stopped"]


async def test_passes_that_fail_are_told_once_and_when_they_complete_again(target: Target) -> None:
    world = World()
    async with running(world, told(target)) as (desk, _):
        await passes(world, desk, 2)
        world.faults.add(BLIND)
        await passes(world, desk, 10)
        world.faults.clear()
        await passes(world, desk, 2)
    words = [line.partition(":")[0] for line in target.lines]
    assert words == ["desk started", "no pass completes", "passes complete again", "desk stopped"]
    assert "3 in a row, because" in target.lines[1] and "lasted 22 s" in target.lines[2]


async def test_one_failed_pass_is_no_news_and_ends_nothing(target: Target) -> None:
    world = World()
    async with running(world, told(target)) as (desk, herald):
        world.stranger(SYMBOL, Side.SHORT, 10)
        world.faults.add(REFUSED)
        await passes(world, desk, 6)
        world.faults.add(BLIND)
        await passes(world, desk, 2)
        assert [condition.kind for condition in herald.seen.standing] == [Kind.GAP]
    assert [line.partition(":")[0] for line in target.lines] == ["desk started", "gap opened", "desk stopped"]


@pytest.mark.parametrize("side", SIDES)
@story
async def test_an_emergency_is_told(target: Target, side: Side) -> None:
    """Every stop of our own entry is refused, so it is closed at the market."""
    world = World(RULES["flat-refused"])
    async with running(world, told(target)) as (desk, _):
        await passes(world, desk, 1)
        world.faults.add(REFUSED)
        await desk.executor.place_order(SYMBOL, side.opening.value, 10)
        await passes(world, desk, 20)
        assert not world.held(SYMBOL)
    words = [line.partition(":")[0] for line in target.lines]
    assert words == ["desk started", "gap opened", "emergency", "gap closed", "emergency over", "desk stopped"], target.lines
    assert f"emergency: paper/{SYMBOL}: our own entry could not be protected in time" in target.lines[2]


async def test_a_lost_lease_is_told_and_that_it_was_taken_again(target: Target) -> None:
    world = World()
    async with running(world, told(target)) as (desk, _):
        await passes(world, desk, 1)
        desk.lease._seen_ms -= 60_000  # the process was halted for a minute
        stop = asyncio.Event()
        turn = asyncio.create_task(desk.run(stop))
        while desk.monitor.health.passes < 2:
            world.pass_time(100)
            await asyncio.sleep(0.01)
        stop.set()
        await turn
    assert [line.partition(":")[0] for line in target.lines] == ["desk started", "lease lost", "lease taken again", "desk stopped"]
    assert "stood still" in target.lines[1]


async def test_what_one_process_began_to_tell_the_next_one_ends(target: Target) -> None:
    """A desk fails over a gap; the next one closes it. That it was down is told, too."""
    world = World()
    with pytest.raises(RuntimeError):
        async with running(world, told(target)) as (desk, _):
            world.stranger(SYMBOL, Side.LONG, 10)
            world.faults.add(REFUSED)
            await passes(world, desk, 6)
            raise RuntimeError("a fault of ours")
    world.faults.clear()
    world.pass_time(60_000)
    async with running(world, told(target)) as (desk, _):
        await passes(world, desk, 8)
    words = [line.partition(":")[0] for line in target.lines]
    assert words == ["desk started", "gap opened", "desk stopped", "desk runs again", "gap closed", "desk stopped"]
    assert "it failed with RuntimeError: a fault of ours" in target.lines[2]


@pytest.mark.parametrize("side", SIDES)
async def test_order_lists_that_cannot_be_read_are_an_alarm_and_stop_the_heartbeat(target: Target, side: Side) -> None:
    """Positions are read and passes complete, but what covers them is only remembered."""
    world = World()
    async with running(world, told(target, heartbeat_url=Secret(target.heartbeat))) as (desk, herald):
        beats: list[int] = []
        assert herald._heartbeat is not None
        herald._heartbeat.beat = lambda: beats.append(world.now_ms)  # type: ignore[method-assign]
        world.stranger(SYMBOL, side, 10)
        await passes(world, desk, 5)
        world.faults.add(replace(BLIND, match=Match(verb=Verb.ORDERS)))
        await passes(world, desk, 60)
        assert f"orders of {SYMBOL} cannot be read" in (desk.monitor.health.fault or "") and beats[-1] < world.now_ms - 20_000
        world.faults.clear()
        await passes(world, desk, 30)
        assert beats[-1] == world.now_ms
    assert [text.partition(":")[0] for text in target.lines] == ["desk started", "alarm", "alarm over", "desk stopped"]
    assert f"the orders of {SYMBOL} cannot be read since" in target.lines[1]


@pytest.mark.parametrize("side", SIDES)
async def test_who_only_watches_is_told_of_what_nobody_covers(target: Target, side: Side) -> None:
    world = World()
    settings = replace(told(target), accounts={"paper": Account(scope=Scope.WATCH)})
    async with running(world, settings) as (desk, _):
        world.stranger(SYMBOL, side, 10)
        world.rests(SYMBOL, side, 5, coins=10)
        world.stranger("XRPUSDT", side, 100)
        await passes(world, desk, 6)
        assert not world.own()
    assert [line.partition(";")[0] for line in target.lines[1:-1]] == [
        f"gap opened: paper/XRPUSDT: {side.name}, 100 of 100 without a stop of ours"
    ]


# -- what a target can do to a desk: nothing


async def test_a_target_that_hangs_delays_neither_the_pass_nor_the_others(target: Target) -> None:
    world = World()
    with listening() as deaf:
        deaf.hangs = True
        begin = time.monotonic()
        async with running(world, told(deaf, target)) as (desk, _):
            until(lambda: desk is not None, "the desk")
            await passes(world, desk, 1)
            until(lambda: deaf.tried, "a request that hangs")
            world.stranger(SYMBOL, Side.SHORT, 10)
            before = time.monotonic()
            await passes(world, desk, 4)
            assert not desk.monitor.health.coverage[0].gap
            assert time.monotonic() - before < 2, "four passes beside a request that hangs"
            until(lambda: target.lines, "what the other target was told")
        assert time.monotonic() - begin < 20, "and the process ended"


async def test_a_raising_herald_costs_no_pass(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    async with running(world, told(target)) as (desk, herald):
        monkeypatch.setattr(herald, "_hear", None)  # whatever is wrong with it
        world.stranger(SYMBOL, Side.SHORT, 10)
        await passes(world, desk, 4)
        assert desk.monitor.health.fault is None and not desk.monitor.health.coverage[0].gap


def test_a_failed_send_is_repeated_and_told_in_the_log_once(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    target.status = 503
    (found,) = targets([Secret(target.url)])
    messenger = Messenger(found.name, found.send, "paper", 60, again_s=0.02)
    messenger.put([alert(1)])
    until(lambda: target.tried >= 4, "a repetition")
    messenger.put([alert(2)])
    target.status = 200
    until(lambda: target.lines, "what was not delivered")
    messenger.close()
    messenger.join(5)
    assert target.lines == [alert(1).line, alert(2).line]
    assert TOKEN not in caplog.text


def test_a_service_that_raises_is_a_message_not_delivered() -> None:
    class Raising:
        def notify(self, **what: object) -> bool:
            raise ValueError(TOKEN)

    (found,) = targets([Secret("json://127.0.0.1:9")])
    assert replace(found, service=Raising()).send(message([alert(1)], {}, "paper")) == "ValueError"


def test_never_more_than_so_many_messages_and_the_rest_is_counted(target: Target) -> None:
    (found,) = targets([Secret(target.url)])
    messenger = Messenger(found.name, found.send, "paper", 2)
    for number in range(1, 3):
        messenger.put([alert(number)])
        until(lambda number=number: len(target.lines) == number, "a message")  # type: ignore[misc]
    for number in range(3, 3 + KEPT + 7):
        messenger.put([alert(number)])
    assert messenger._pause_s() > 30, "two a minute were sent"
    messenger.close()
    messenger.join(5)
    assert len(target.messages) == 3
    assert target.lines[2:-1] == [alert(number).line for number in range(3, 3 + KEPT)]
    assert target.lines[-1] == "and 7 more that are not told one by one: 7 alarm; `qtkit check` shows what is so now"


def test_nothing_that_protects_knows_who_is_told() -> None:
    """Protection works with alerts removed: the desk calls whoever listens, and imports none of them."""
    rooms = [
        "core/*.py",
        "venue/*.py",
        "store/*.py",
        *(f"{name}.py" for name in "apply desk executor monitor observe router trailing".split()),
    ]
    found = [path.name for room in rooms for path in (ROOT / "qtkit").glob(room) if re.search(TELLING, path.read_text())]
    assert len(rooms) == 10 and not found


# -- what is told


def alert(number: int, kind: Kind = Kind.ALARM, phase: Phase = Phase.BEGAN) -> Alert:
    return Alert(kind=kind, phase=phase, key=f"paper/S{number}", text="something", at_ms=START_MS + 5_000, since_ms=START_MS)


def line(key: str, since_ms: int | None, *, foreign: tuple[str, ...] = ()) -> Line:
    return Line(
        key=key, symbol=key, position_side="BOTH", side="LONG", size="2", entry="1", mark="1", covered="0", orders=(), foreign=foreign,
        gap="0" if since_ms is None else "2", gap_since_ms=since_ms, stop=None, at_risk=None, plan="", strategy="", standing="adopted",
        faults=(),
    )  # fmt: skip


def ledger(at_ms: int, *lines: Line, complete: bool = True, before_ms: int = 0, **more: object) -> Ledger:
    return Ledger(
        account="paper", scope="full", running=True, at_ms=at_ms, tick_ms=2_000, lines=lines,
        last_pass_ms=at_ms if complete else before_ms, **more,
    )  # type: ignore[arg-type]  # fmt: skip


def seen(*ledgers: Ledger, before: Seen | None = None) -> list[Seen]:
    found = [before or Seen()]
    for it in ledgers:
        found.append(look(found[-1], it, gap_ms=4_000, failed_passes=3))
    return found


readings = st.lists(
    st.tuples(
        st.integers(100, 20_000),
        st.booleans(),
        st.sets(st.sampled_from(["a", "b"])),
        st.sets(st.sampled_from(["x: emergency: 1", "x: alarm 2", "x: alarm 33", "y: alarm"])),
        st.sampled_from([None, "the journal is full"]),
        st.sampled_from([None, Kind.LEASE, Kind.DESK]),
    ),
    max_size=40,
)


@given(readings)
def test_every_beginning_has_exactly_one_end(rows: list[tuple[int, bool, set[str], set[str], str | None, Kind | None]]) -> None:
    """Whatever passes see, begin and end of one thing alternate; and when all is quiet for a minute, everything has ended."""
    at_ms, last_ms, now, since = START_MS, START_MS, Seen(), dict[str, int]()
    told_: list[Alert] = []

    def step(after: Seen) -> None:
        nonlocal now
        told_.extend(news(now, after, remind_ms=60_000))
        now = after

    quiet = [(30_000, True, set[str](), set[str](), None, None)] * 3
    for wait_ms, complete, bare, alarms, fault, also in [*rows, *quiet]:
        at_ms += wait_ms
        last_ms = at_ms if complete else last_ms
        since = {key: since.get(key, at_ms) for key in bare}
        if also is not None:
            step(standing_also(now, also, "paper", "it", at_ms))
        lines = [line(key, at) for key, at in sorted(since.items())]
        it = ledger(at_ms, *lines, complete=complete, before_ms=last_ms, alarms=tuple(sorted(alarms)), fault=fault)
        step(look(now, it, gap_ms=4_000, failed_passes=3))
    assert not now.standing
    open_: Counter[tuple[Kind, str, str]] = Counter()
    for each in told_:
        name = each.kind, each.key, re.sub(r"\d+", "#", each.text) if each.kind in (Kind.ALARM, Kind.EMERGENCY) else ""
        open_[name] += {Phase.BEGAN: 1, Phase.ENDED: -1}.get(each.phase, 0)
        assert open_[name] in (0, 1), each.line
        assert each.phase is not Phase.GOES_ON or open_[name] == 1
        assert each.since_ms <= each.at_ms
    assert not +open_


def test_looking_twice_tells_nothing_new() -> None:
    _, first, second = seen(ledger(10_000, line("a", 1_000)), ledger(10_500, line("a", 1_000)))
    assert news(first, second, remind_ms=60_000) == ()


def test_a_gap_is_news_after_two_ticks_and_its_since_is_the_ledgers() -> None:
    _, young, old, closed = seen(ledger(3_000, line("a", 1_000)), ledger(5_000, line("a", 1_000)), ledger(65_000, line("a", None)))
    assert news(Seen(), young, remind_ms=60_000) == ()
    (began,) = news(young, old, remind_ms=60_000)
    assert (began.kind, began.phase, began.since_ms) == (Kind.GAP, Phase.BEGAN, 1_000)
    (ended,) = news(old, closed, remind_ms=60_000)
    assert ended.line == "gap closed: a; since 1970-01-01 00:00:01 UTC, lasted 64 s (was: LONG, 2 of 2 without a stop of ours)"


def test_what_lasts_is_told_again_after_a_while() -> None:
    stages = seen(*(ledger(at, line("a", 0)) for at in range(10_000, 200_000, 10_000)))
    said = [each for before, after in pairwise(stages) for each in news(before, after, remind_ms=60_000)]
    assert [(each.phase, each.at_ms) for each in said] == [
        (Phase.BEGAN, 10_000), (Phase.GOES_ON, 60_000), (Phase.GOES_ON, 120_000), (Phase.GOES_ON, 180_000),
    ]  # fmt: skip


def test_an_alarm_that_is_not_raised_in_every_pass_is_one_alarm() -> None:
    """A pass raises the alarms of the symbols that it read; numbers in them change."""
    raised = [("x: through 10",), (), ("x: through 11",), (), ()]
    stages = seen(*(ledger(at, alarms=texts) for at, texts in zip(range(2_000, 52_000, 10_000), raised, strict=True)))
    stages += seen(ledger(60_000), before=stages[-1])[1:]
    said = [each.phase for before, after in pairwise(stages) for each in news(before, after, remind_ms=600_000)]
    assert said == [Phase.BEGAN, Phase.ENDED]


def test_the_heaviest_of_several_gives_a_message_its_weight() -> None:
    assert message([alert(1, phase=Phase.ENDED), alert(2)], {}, "paper").weight is Weight.FAILURE
    assert message([alert(1, phase=Phase.ENDED)], {}, "paper").weight is Weight.SUCCESS
    assert message([alert(1), alert(2)], {Kind.GAP: 3}, "paper").title == "qtkit paper: 5 alerts"


@pytest.mark.parametrize(("ms", "text"), [(-5, "0 s"), (119_999, "119 s"), (120_000, "2 min"), (7_200_000, "2 h")])
def test_stretches_of_time(ms: int, text: str) -> None:
    assert lasted(ms) == text


# -- one thing, from any process


@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR], ids=["a desk", "a command"])
def test_tell_says_what_became_of_it(target: Target, level: int, own_logs: None) -> None:
    logging.getLogger().setLevel(level)
    logging.getLogger("apprise").setLevel(logging.NOTSET)
    with listening() as wrong:
        wrong.status = 401
        done = tell(Kind.CANARY, "paper", "a far stop was not listed", settings=told(target, wrong))
    assert [(row.target, row.delivered, row.why) for row in done] == [
        ("alerts.urls 1 (json)", True, ""), ("alerts.urls 2 (json)", False, "it answered HTTP 401"),
    ]  # fmt: skip
    assert target.lines == ["canary failed: paper: a far stop was not listed"]
    assert tell(Kind.CANARY, "paper", "x", settings=Settings()) == ()


def test_tell_does_not_wait_for_a_target_that_hangs() -> None:
    with listening() as deaf:
        deaf.hangs = True
        (done,) = tell(Kind.TEST, "paper", "x", settings=told(deaf), within_s=0.2)
    assert not done.delivered and done.why == "no answer within 0.2 s"


@pytest.mark.parametrize("url", [f"nosuch://{TOKEN}", TOKEN, f"tgram://{TOKEN}"])
def test_a_url_that_is_not_understood_is_refused_by_its_place_alone(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(PolicyError, match=r"alerts\.urls 2.*not a URL that apprise understands") as refusal:
        targets([Secret("json://127.0.0.1"), Secret(url)])
    assert TOKEN not in str(refusal.value) + caplog.text


# -- what is set


def load(place: Path, text: str, mode: int = 0o600, **environ_: str) -> Settings:
    file = place / "qtkit.toml"
    file.write_text(text)
    file.chmod(mode)
    return Settings.load(place, environ_)


def test_targets_are_secrets_from_the_file_or_a_variable(tmp_path: Path) -> None:
    text = f'[alerts]\nurls = ["json://{TOKEN}", "ntfy://{TOKEN}"]\nheartbeat_url = "https://{TOKEN}"\nper_minute = 3\n'
    settings = load(tmp_path, text)
    assert [url.reveal() for url in settings.alerts.urls] == [f"json://{TOKEN}", f"ntfy://{TOKEN}"]
    assert settings.alerts.heartbeat_url == Secret(f"https://{TOKEN}") and settings.alerts.per_minute == 3
    shown = repr(settings) + "".join(f"{row.name}{row.value}{row.source}" for row in settings.resolved())
    assert TOKEN not in shown and "Secret(...)" in shown
    more = load(tmp_path, "", QTKIT_ALERTS__URLS=f"json://a json://{TOKEN}", QTKIT_ALERTS__HEARTBEAT_URL="")
    assert [url.reveal() for url in more.alerts.urls] == ["json://a", f"json://{TOKEN}"] and more.alerts.heartbeat_url is None


@pytest.mark.parametrize(
    ("text", "message_"),
    [
        (f'alerts = "{TOKEN}"', "qtkit.toml:1: alerts should be"),
        (f'[alerts]\nurls = [["{TOKEN}"]]', "alerts.urls.0 should be a text"),
        (f'[alerts]\nheartbeat_url = ["{TOKEN}"]', "qtkit.toml:2: alerts.heartbeat_url should be a text"),
        (f'[alerts]\nheartbeat_url = "file:///{TOKEN}"', "qtkit.toml:2: alerts.heartbeat_url: must begin with http:// or https://"),
        ("[alerts]\nremind_seconds = 1", "alerts.remind_seconds: must be between 60 and 604800, got 1"),
        ('[alerts]\nurl = "x"', "no setting 'alerts.url'; did you mean 'urls'?"),
    ],
)
def test_what_is_set_wrongly_is_refused_without_showing_it(tmp_path: Path, text: str, message_: str) -> None:
    with pytest.raises(PolicyError) as refusal:
        load(tmp_path, text)
    assert message_ in str(refusal.value) and TOKEN not in str(refusal.value)


@pytest.mark.parametrize("name", ["urls", "heartbeat_url"])
def test_a_file_with_tokens_that_others_can_read_is_refused(tmp_path: Path, name: str) -> None:
    text = f"[alerts]\n{name} = " + (f'["json://{TOKEN}"]' if name == "urls" else f'"https://{TOKEN}"')
    with pytest.raises(PolicyError, match=rf"others than its owner can read alerts\.{name}; run `chmod 600 .*QTKIT_ALERTS__{name.upper()}"):
        load(tmp_path, text, 0o644)
    assert load(tmp_path, "[alerts]\nper_minute = 2\n", 0o644).alerts.per_minute == 2


# -- the heartbeat


async def test_the_heartbeat_is_asked_while_all_is_covered_and_not_else(target: Target) -> None:
    world = World()
    settings = told(heartbeat_url=Secret(target.heartbeat), heartbeat_seconds=1)
    async with running(world, settings) as (desk, herald):
        beats: list[int] = []
        assert herald._heartbeat is not None
        monkeypatch_beat = herald._heartbeat.beat
        herald._heartbeat.beat = lambda: (beats.append(world.now_ms), monkeypatch_beat())[0]  # type: ignore[method-assign,func-returns-value]
        await passes(world, desk, 1)
        until(lambda: target.asked, "the heartbeat")
        world.faults.add(BLIND)
        await passes(world, desk, 3)
        world.faults.clear()
        assert len(beats) == 1, "a pass with a fault does not beat"
        world.stranger(SYMBOL, Side.SHORT, 10)
        world.faults.add(REFUSED)
        await passes(world, desk, 4)
        young = len(beats)
        await passes(world, desk, 6)
        assert len(beats) - young <= 2, "a gap older than the patience does not beat"
        silent = len(beats)
        world.faults.clear()
        await passes(world, desk, 40)
        assert len(beats) > silent
    assert set(target.asked) == {f"/ping/{TOKEN}"}


def test_the_heartbeat_keeps_its_pace_and_tells_a_failure_once(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    heart = Heartbeat(Secret(target.heartbeat), 3_600)
    for _ in range(50):
        heart.beat()
    until(lambda: target.asked, "the heartbeat")
    heart.beat()
    assert len(target.asked) == 1
    target.status = 500
    often = Heartbeat(Secret(target.heartbeat), 0)
    for count in range(2, 5):
        often.beat()
        until(lambda count=count: len(target.asked) == count and not often._wake.is_set(), "an answer")  # type: ignore[misc]
    assert often._failing and TOKEN not in caplog.text


# -- the service manager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket where the service manager listens."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@qtkit-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield listener


def heard(listener: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(listener.recv(4_096).decode())
        except BlockingIOError:
            return found


async def test_the_service_manager_is_told_of_every_pass(manager: socket.socket) -> None:
    world = World()
    async with running(world, Settings()) as (desk, _):
        assert heard(manager) == []
        world.stranger(SYMBOL, Side.LONG, 10)
        await passes(world, desk, 4)
        states = heard(manager)
        assert [text.splitlines()[:2] for text in states] == [["READY=1", "WATCHDOG=1"]] * 4
        assert states[-1].splitlines()[2] == "STATUS=1 position, 0 with a gap"
        world.faults.add(BLIND)
        await passes(world, desk, 1)
        assert heard(manager) == ["WATCHDOG=1\nSTATUS=the last pass was not complete"], "alive, but not for the heartbeat URL"
    assert heard(manager)[0] == "STOPPING=1"


def test_a_manager_that_does_not_read_blocks_nobody(manager: socket.socket) -> None:
    sent = [systemd.notify("WATCHDOG=1") for _ in range(5_000)]
    assert sent[0] and not sent[-1]


@pytest.mark.parametrize("address", ["", "nonsense", "/nowhere/at/all", "@nobody-listens-here"])
def test_without_a_manager_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not systemd.notify(systemd.READY)


# -- as people run it


@pytest.fixture
def deployed(tmp_path: Path) -> Path:
    """The unit with a program that exists on this machine."""
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text(), flags=re.MULTILINE))
    return unit


def test_the_unit_watches_restarts_and_cancels_nothing(deployed: Path) -> None:
    rows = [text.split("=", 1) for text in UNIT.read_text().splitlines() if text and text[0] not in "#["]
    files = [value for name, value in rows if name == "EnvironmentFile"]
    assert files == ["-/etc/qtkit/desk.env", "-/etc/qtkit/%i.env"], "what all share, then what is this account's alone"
    unit = {name: value for name, value in rows}
    assert len(unit) == len(rows) - 1, "a name stands twice"
    assert (unit["Type"], unit["Restart"], unit["StartLimitIntervalSec"]) == ("notify", "always", "0")
    assert unit["WatchdogSec"] == "3min" and unit["KillSignal"] == "SIGTERM"
    assert unit["ExecStart"].endswith("qtkit desk --account %i") and unit["Description"].endswith("%i"), "the account is the instance"
    assert not any(name.startswith(("ExecStop", "ExecStopPost")) for name in unit), "stopping the service leaves the stops"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_unit(deployed: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", str(deployed)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_alerts_test_as_a_command(target: Target, tmp_path: Path) -> None:
    env = environ(tmp_path / "home")
    none = qtkit("alerts", "test", env=env)
    assert none.returncode == 1 and none.stderr.startswith("qtkit: no target is set; put apprise URLs into alerts.urls of qtkit.toml")
    env |= {"QTKIT_ALERTS__URLS": f"{target.url} json://127.0.0.1:9/{TOKEN}", "QTKIT_ALERTS__HEARTBEAT_URL": target.heartbeat}
    done = qtkit("alerts", "test", env=env)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "alerts.urls 1 (json): delivered",
        "alerts.urls 2 (json): not delivered, no answer, or not one that it understands",
        "alerts.heartbeat_url: delivered",
    ]
    assert target.lines == ["test: qtkit alerts test: this is how the desk's alerts arrive; nothing has happened"]
    assert target.asked == [f"/ping/{TOKEN}"]
    shown = qtkit("config", "show", env=env)
    assert "(Secret(...), Secret(...))" in shown.stdout and TOKEN not in shown.stdout


def test_a_desk_tells_its_targets_and_nobody_else_hears_the_token(target: Target, tmp_path: Path) -> None:
    """The process as the service runs it: started, told of every pass, killed by SIGTERM; no token in anything that it leaves."""
    line_ = tmp_path / "notify"
    with exchange(tmp_path, "--incident") as env, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(line_))
        listener.setblocking(False)
        home, log = Path(env["QTKIT_HOME"]), tmp_path / "desk.log"
        env |= {"QTKIT_ALERTS__URLS": f"{target.url} json://127.0.0.1:9/{TOKEN}", "QTKIT_ALERTS__HEARTBEAT_URL": target.heartbeat}
        with process("desk", "--tick", "0.5", env={**env, "NOTIFY_SOCKET": str(line_)}, log=log) as child:
            until_logged(lambda: covered(home) and target.asked, "cover and a heartbeat", log)
            child.send_signal(signal.SIGTERM)
            assert child.wait(30) == 0
        states = heard(listener)
    assert states[0].startswith("READY=1\nWATCHDOG=1\n") and any(text == "STOPPING=1" for text in states)
    assert [text.partition(":")[0] for text in target.lines] == ["desk started", "desk stopped"]
    assert "of ours rest on 5 positions and stay on the exchange" in target.lines[1]
    assert 'target="alerts.urls 2 (json)" outcome="not delivered"' in log.read_text()
    left = [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert not left
