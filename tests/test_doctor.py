"""`qtkit doctor`: each finding provoked by the real thing, and the same finding fine where nothing is the matter."""

import asyncio
import functools
import importlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import pytest

from qtkit import cli
from qtkit.core.hints import DAY_MS
from qtkit.core.model import ONE, Side
from qtkit.desk import EVENT_TYPES, Desk, identity, opened
from qtkit.doctor import Examination, Finding, Limits, State, examine, places, software
from qtkit.doctor.finding import age, size
from qtkit.endpoint import served
from qtkit.home import PaperKeys, Paths
from qtkit.keys import keys_of
from qtkit.lab.hints import write_hints
from qtkit.onlooker import onlooker
from qtkit.paper.server import PaperServer
from qtkit.proofs import write_proof
from qtkit.settings import Settings, account_of
from qtkit.store.journal import Journal
from qtkit.store.lease import Lease, lease_folder
from qtkit.store.register import PlanRegister
from qtkit.venue.gateway import KeyRights
from tests import cli_rig
from tests.lab.test_hints import table
from tests.story.rig import SIDES, World
from tests.test_proofs import proof

BTC, ETH = "BTCUSDT", "ETHUSDT"
FINE, LOOK, WRONG = State.FINE, State.LOOK, State.WRONG
sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name.lower())


@dataclass(slots=True)
class House:
    """A paper exchange on a port, and a home whose settings lead to it."""

    world: World
    server: PaperServer
    keys: PaperKeys
    paths: Paths

    def holds(self, symbol: str, side: Side, coins: str, *, isolated: bool = True, leverage: int = 5) -> None:
        """A stranger opens a position."""
        exchange, account = self.world.exchange, self.world.account
        if isolated:
            exchange.set_margin_mode(account, symbol, isolated=True)
        exchange.set_leverage(account, symbol, leverage)
        self.world.stranger(symbol, side, coins)

    def rules(self, symbol: str, **changed: int) -> None:
        """The exchange changes a symbol's filters."""
        exchange = self.world.exchange
        facts = exchange.facts[symbol]
        exchange.facts = MappingProxyType({**exchange.facts, symbol: replace(facts, instrument=replace(facts.instrument, **changed))})


@pytest.fixture(autouse=True)
def versions_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages do not change while tests run, and reading 150 of them takes longer than all the rest."""
    monkeypatch.setattr("qtkit.doctor.examination.software.read_software", _versions)


READ = software.read_software
_versions = functools.cache(READ)


@asynccontextmanager
async def house(monkeypatch: pytest.MonkeyPatch, *, hedge: bool = False) -> AsyncIterator[House]:
    world, paths = World(hedge=hedge), Paths.here()
    keys, demo = PaperKeys.create(paths.paper_keys()), PaperKeys.create(paths.paper_keys("demo"))
    server = PaperServer(world.exchange, keys={pair.api_key: (pair.secret.reveal(), "paper") for pair in (keys, demo)})
    await server.start()
    monkeypatch.setenv("QTKIT_ACCOUNTS__PAPER__BASE_URL", f"http://127.0.0.1:{server.port}")
    try:
        yield House(world, server, keys, paths)
    finally:
        await server.stop()


def rehearsed(monkeypatch: pytest.MonkeyPatch, kind: str, **more: str) -> None:
    """An account called demo, of this kind, on the same paper exchange."""
    settings = {"KIND": kind, "BASE_URL": os.environ["QTKIT_ACCOUNTS__PAPER__BASE_URL"], **more}
    for name, value in settings.items():
        monkeypatch.setenv(f"QTKIT_ACCOUNTS__DEMO__{name}", value)


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    """A desk of this process at work: it has passed, and its endpoint answers."""
    async with opened() as running, served(running):
        await running.monitor.pass_once()
        await running.monitor.pass_once()
        yield running


async def of(name: str, limits: Limits | None = None, *, account: str = "paper") -> Finding:
    """One finding of an examination."""
    return named(await examine(account, limits), name)


def named(it: Examination, name: str) -> Finding:
    return next(finding for finding in it.findings if finding.name == name)


def says(finding: Finding, state: State, *texts: str) -> None:
    """The finding is so, and says these things, in what was found or in what to do."""
    assert finding.state is state, finding
    assert bool(finding.remedy) is (state is not FINE)
    for text in texts:
        assert text in f"{finding.found} {finding.remedy}", finding


def traces(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file of a folder with its mode, size and time of change."""
    return {str(path.relative_to(folder)): (s.st_mode, s.st_size, s.st_mtime_ns) for path in folder.rglob("*") for s in [path.lstat()]}


# -- as a user comes to it ------------------------------------------------------------------------------------------------------


Told = Callable[[Mapping[str, str]], tuple[int, dict[str, tuple[str, str, str]]]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    """The command with an environment, in this process: its exit status, and state, found and remedy of each finding."""

    def tell(env: Mapping[str, str]) -> tuple[int, dict[str, tuple[str, str, str]]]:
        for name in ("QTKIT_HOME", "XDG_STATE_HOME", "QTKIT_ACCOUNTS__PAPER__BASE_URL", "QTKIT_TICK_SECONDS"):
            if name in env:
                monkeypatch.setenv(name, env[name])
        status = cli.main(["doctor", "--json"])
        row = json.loads(capsys.readouterr().out)
        assert row["ok"] is (status == 0) and row["account"] == "paper" and row["scope"] == "full"
        return status, {f["name"]: (f["state"], f["found"], f["remedy"]) for f in row["findings"]}

    return tell


def test_from_five_naked_shorts_to_a_desk_that_was_killed(tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """No desk, a desk, a halted one, a killed one: the doctor says each, and what to do."""
    monkeypatch.setattr("qtkit.doctor.examination.ANSWER_WITHIN_S", 1.0)
    with cli_rig.exchange(tmp_path, "--incident") as env:
        status, it = told(env)
        assert status == 1
        assert it["heartbeat"][:2] == ("wrong", "no desk of this account ever passed; no desk runs, 5 open and nobody watches")
        assert it["heartbeat"][2] == "`qtkit desk`" and it["journal"][0] == it["register"][0] == "look"

        env = {**env, "QTKIT_TICK_SECONDS": "0.5"}
        with cli_rig.desk(env) as (child, _):
            done = cli_rig.qtkit("doctor", env=env)
            assert done.returncode == 0 and done.stderr == "", done
            assert done.stdout.startswith("account paper (paper, scope full): 22 findings, 0 wrong"), done.stdout
            status, it = told(env)
            assert status == 0 and it["margin mode"][0] == "look", it
            assert f"held by process {child.pid} since " in it["lease"][1] and "endpoint answers" in it["desk process"][1]
            assert "5 active plans" in it["register"][1] and "the desk loaded them" in it["filters"][1]
            child.send_signal(signal.SIGSTOP)
            status, it = told(env)
            assert status == 1 and it["desk process"][2] == f"kill -CONT {child.pid}" and "halted" in it["desk process"][1]
            child.send_signal(signal.SIGKILL)
            child.wait()
        status, it = told(env)
        assert status == 1 and "5 open and nobody watches" in it["heartbeat"][1]
        assert it["lease"][0] == "look" and "endpoint.token is left of a desk that was killed" in it["lease"][1]
        assert it["journal"][0] == "fine"


def test_with_the_exchange_down_the_rest_goes_on(stores: Paths) -> None:
    it = asyncio.run(examine())
    says(named(it, "exchange"), WRONG, "Connection refused", "`qtkit paper` starts a paper exchange there")
    for name in ("clock", "key rights", "position mode", "margin mode", "filters", "request weight", "order slots"):
        says(named(it, name), LOOK, "not known: the exchange does not tell it", "`qtkit doctor` again")
    for name in ("settings", "keys file", "lease", "desk process", "journal", "register"):
        expected = LOOK if name == "desk process" else FINE  # the desk's last beat names this very process
        assert named(it, name).state is expected, named(it, name)
    says(named(it, "heartbeat"), WRONG, "whether a position is open is not known")


@sides
async def test_a_desk_at_work_is_well(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch) as it:
        it.holds(BTC, side, "0.1")
        async with desk():
            found = await examine()
    assert found.is_well
    surroundings = {"file system", "versions", "notebook kernel", "disk"}  # of the computer that runs the test
    assert {f.name for f in found.findings if f.state is not FINE} <= surroundings, found.findings
    assert found.sentence.startswith("account paper (paper, scope full): 22 findings, 0 wrong")


async def test_nothing_is_written_sent_or_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with house(monkeypatch) as it:
        it.holds(BTC, Side.SHORT, "0.1")
        async with desk():
            pass
        before, asked = traces(tmp_path), len(it.server.requests)
        found = await examine()
        assert traces(tmp_path) == before
        requests = list(it.server.requests)[asked:]
        assert requests and {request.method for request in requests} == {"GET"}
        assert it.keys.api_key not in str(found) and it.keys.secret.reveal() not in str(found)


async def test_an_unused_home_is_not_even_made(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    monkeypatch.setenv("QTKIT_ACCOUNTS__PAPER__BASE_URL", "http://127.0.0.1:9")
    found = await examine()
    assert not own_home.exists()
    says(named(found, "keys file"), WRONG, "no keys here", "`qtkit paper`")
    says(named(found, "lease"), LOOK, "not known: ")
    says(named(found, "journal"), LOOK, "does not exist", "`qtkit desk`")


def test_the_table_and_an_unknown_account(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QTKIT_ACCOUNTS__PAPER__BASE_URL", "http://127.0.0.1:9")
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("account paper (paper, scope full): 22 findings, ") and "notebook kernel" in out and "remedy" not in out
    assert cli.main(["doctor", "--account", "papre"]) == 1
    assert capsys.readouterr().err == "qtkit: there is no account 'papre': did you mean 'paper'?\n"


# -- the exchange ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ahead_ms", "state"), [(0, FINE), (400, LOOK), (-400, LOOK), (5_000, WRONG), (-5_000, WRONG)], ids=str)
async def test_clock(ahead_ms: int, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch):
        true = time.time_ns
        monkeypatch.setattr("qtkit.paper.server.wall_ms", lambda: true() // 1_000_000 - ahead_ms)
        found = await examine()
    finding = named(found, "clock")
    assert finding.state is state, finding
    if ahead_ms:
        assert ("ahead of" if ahead_ms > 0 else "behind") in finding.found and "timedatectl" in finding.remedy
    says(named(found, "position mode"), FINE)  # the gateway measures the clock itself, and goes on


async def test_exchange_answers_with_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        await writer.drain()
        writer.close()

    other = await asyncio.start_server(page, "127.0.0.1", 0)
    async with other:
        port = other.sockets[0].getsockname()[1]
        monkeypatch.setenv("QTKIT_ACCOUNTS__PAPER__BASE_URL", f"http://127.0.0.1:{port}")
        says(await of("exchange"), WRONG, "does not answer as an exchange", "`qtkit paper`")


@pytest.mark.parametrize(("used", "state"), [(10, FINE), (1_600, LOOK), (2_300, WRONG)], ids=str)
async def test_request_weight(used: int, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch) as it:
        it.server.limits.charge(used, time.time_ns() // 1_000_000)
        asked = len(it.server.requests)
        found = await examine()
        says(named(found, "request weight"), state, f"{used + 1:,} of 2,400 used", f"{2_400 - used - 1:,} left", "our share is 600")
        if state is WRONG:
            assert len(it.server.requests) == asked + 1  # what is left of the minute is the desk's
            says(named(found, "order slots"), LOOK, "nearly used up")
        else:
            says(named(found, "order slots"), FINE)


async def test_banned(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch) as it:
        it.server.limits.ban(time.time_ns() // 1_000_000 + 60_000)
        found = await examine()
        says(named(found, "exchange"), WRONG, "HTTP 418", "wait")
        assert len(it.server.requests) == 1
        says(named(found, "clock"), LOOK, "not known")


@pytest.mark.parametrize(("count", "state"), [(4, FINE), (185, LOOK), (198, LOOK), (199, WRONG)], ids=str)
async def test_order_slots(count: int, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch) as it:
        it.holds(ETH, Side.SHORT, "0.1")
        it.holds(BTC, Side.LONG, "0.1")
        for number in range(count):
            symbol, side = (ETH, Side.SHORT) if number < 60 else (BTC, Side.LONG)
            it.world.rests(symbol, side, 5 + number / 100, coins="0.1", name=f"bot{number}")
        busiest = (f"most of them in {BTC}",) if count > 20 else ()
        says(await of("order slots"), state, f"{count} of 200 conditional orders rest", f"{200 - count} left", *busiest)


# -- the account ----------------------------------------------------------------------------------------------------------------

WHOLE = KeyRights(read=True, trade=True, withdraw=False, transfer=False, ip_restricted=True)


@pytest.mark.parametrize(
    ("rights", "scope", "state", "text"),
    [
        (WHOLE, "full", FINE, "may read, trade futures; from chosen addresses only"),
        (replace(WHOLE, withdraw=True), "watch", WRONG, "Enable Withdrawals"),
        (replace(WHOLE, transfer=True), "guard", WRONG, "Enable Internal Transfer"),
        (replace(WHOLE, trade=False), "guard", WRONG, "sends orders"),
        (replace(WHOLE, trade=False), "watch", FINE, "may read; from chosen"),
        (replace(WHOLE, ip_restricted=False), "full", LOOK, "from any address"),
        (WHOLE, "watch", LOOK, "scope watch sends nothing"),
    ],
)
async def test_key_rights(rights: KeyRights, scope: str, state: State, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a demo account, rehearsed on the paper exchange."""
    async with house(monkeypatch) as it:
        it.server.rights[PaperKeys.read(it.paths.paper_keys("demo")).api_key] = rights
        rehearsed(monkeypatch, "demo", SCOPE=scope)
        says(await of("key rights", account="demo"), state, text)


async def test_a_key_that_the_exchange_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch) as it:
        says(await of("key rights"), FINE, "may read, trade futures")
        rehearsed(monkeypatch, "demo")
        demo = PaperKeys.read(it.paths.paper_keys("demo")).api_key
        it.server.elsewhere.add(demo)
        says(await of("key rights", account="demo"), WRONG, "-2015", "may not be used from this address (IP)")
        it.paths.paper_keys().unlink()
        PaperKeys.create(it.paths.paper_keys())
        found = await examine()
        says(named(found, "key rights"), WRONG, "-2015", "not one of this paper exchange")
        says(named(found, "exchange"), FINE)
        says(named(found, "margin mode"), LOOK, "not known")


@sides
@pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])
async def test_position_mode(side: Side, hedge: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans that a desk left behind, their positions closed by hand, and the mode switched: their orders would be refused."""
    async with house(monkeypatch, hedge=hedge) as it:
        it.holds(BTC, side, "0.1")
        async with desk():
            says(await of("position mode"), FINE, "hedge" if hedge else "one-way", "1 active plan made in it")
        it.world.leaves(BTC, side, "0.1")
        for row in it.world.own():
            it.world.takes_away(row)
        it.world.exchange.set_position_mode(it.world.account, hedge=not hedge)
        slot = side.name if hedge else "BOTH"
        says(await of("position mode"), WRONG, f"{BTC} {slot}", "-4061", "`qtkit desk`")


async def test_margin_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch) as it:
        says(await of("margin mode"), FINE, "no position is open")
        it.holds(BTC, Side.LONG, "0.1")
        says(await of("margin mode"), FINE, f"{BTC} isolated 5x")
        it.holds(ETH, Side.SHORT, "1", isolated=False, leverage=5)
        says(await of("margin mode"), LOOK, f"{ETH} cross 5x", "liquidation moves with all the rest")
        it.world.exchange.set_leverage(it.world.account, ETH, 20)
        says(await of("margin mode"), LOOK, f"{ETH} cross 20x", "above the 5x that is set", "accounts.paper.leverage")


async def test_margin_mode_of_a_live_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rehearsed: what a live desk opens must be isolated, whether something is held there or not."""
    async with house(monkeypatch) as it:
        rehearsed(monkeypatch, "live", SCOPE="full", SYMBOLS=BTC)
        says(await of("margin mode", account="demo"), WRONG, f"{BTC} is on cross margin", "set it on the exchange")
        it.world.exchange.set_margin_mode(it.world.account, BTC, isolated=True)
        says(await of("margin mode", account="demo"), FINE, "no position is open")


async def test_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch) as it:
        it.holds(BTC, Side.LONG, "0.1")
        it.holds(ETH, Side.SHORT, "1")
        async with desk():
            says(await of("filters"), FINE, "2 active plans on their grid", "the desk loaded them")
            says(await of("filters", Limits(filters_age_ms=-1)), LOOK, "the desk loaded them", "`qtkit desk` loads them")
            it.rules(BTC, min_notional=5 * ONE)
            says(await of("filters"), WRONG, f"the desk works with old ones: {BTC} min_notional", "`qtkit desk` loads them")
            it.rules(ETH, tick=it.world.exchange.facts[ETH].instrument.tick * 10)
            it.rules(BTC, lot=it.world.exchange.facts[BTC].instrument.lot * 10)
            says(await of("filters"), WRONG, "the desk works with old ones", "`qtkit desk` loads them")
        says(await of("filters"), LOOK, f"{BTC} lot 0.001 is now 0.01, {ETH} tick 0.01 is now 0.1", "keeps the price of every level")
        async with desk():  # what the remedy says
            says(await of("filters"), FINE, "2 active plans on their grid")


async def test_a_symbol_that_is_not_traded_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch) as it:
        it.holds(BTC, Side.LONG, "0.1")
        async with desk():
            pass
        it.world.exchange.facts = MappingProxyType({name: row for name, row in it.world.exchange.facts.items() if name != BTC})
        says(await of("filters"), WRONG, f"{BTC} is not traded any more")


async def test_right_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a demo account, which needs a canary's proof before a desk may write."""
    async with house(monkeypatch) as it:
        says(await of("right to write"), FINE, "a paper one")
        rehearsed(monkeypatch, "demo", SCOPE="watch")
        says(await of("right to write", account="demo"), FINE, "scope watch writes nothing")
        rehearsed(monkeypatch, "demo", SCOPE="guard")
        says(await of("right to write", account="demo"), WRONG, "no canary has proven its exchange", "`qtkit canary --account demo`")
        account = account_of(Settings.load(), "demo")
        keys = keys_of(account, it.paths)
        now_ms = time.time_ns() // 1_000_000
        write_proof(proof(account, keys, at_ms=now_ms), keys, account, it.paths)
        says(await of("right to write", account="demo"), FINE, "proven by its canary")
        write_proof(proof(account, keys, at_ms=now_ms - 8 * 24 * 3_600_000), keys, account, it.paths)
        says(await of("right to write", account="demo"), WRONG, "8.0 days old", "`qtkit canary --account demo`")
        with Lease.acquire(identity(account, keys), home=it.paths.home):
            says(await of("right to write", account="demo"), LOOK, "started again, it would take nothing new on")


# -- the desk -------------------------------------------------------------------------------------------------------------------


def _identity() -> str:
    paths = Paths.here()
    account = account_of(Settings.load(), "paper")
    return identity(account, keys_of(account, paths))


async def test_lease_from_another_home(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch):
        says(await of("lease"), FINE, "nobody holds")
        with Lease.acquire(_identity(), home="/elsewhere"):
            says(await of("lease"), WRONG, f"process {os.getpid()}", "from /elsewhere", "QTKIT_HOME=/elsewhere qtkit check")
        says(await of("lease"), FINE, "nobody holds")


KEEPER = """
import os, sys
sys.path.insert(0, sys.argv[2])
from qtkit.store.lease import Lease
lease = Lease.acquire(sys.argv[1])
os.set_inheritable(lease._handle, True)
child = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
print(child, flush=True)
os._exit(0)
"""


async def test_lease_kept_by_a_child_of_a_dead_process(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch):
        line = [sys.executable, "-c", KEEPER, _identity(), str(cli_rig.ROOT)]
        keeper = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        assert keeper.stdout is not None
        child = int(keeper.stdout.readline())
        keeper.wait()
        try:
            found = await examine()
            says(named(found, "lease"), WRONG, f"held by process {keeper.pid}", "gone here", "lsof")
            says(named(found, "desk process"), WRONG, "is not there")
        finally:
            os.kill(child, signal.SIGKILL)


async def test_lease_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch):
        with Lease.acquire(_identity()):
            pass
        (file,) = lease_folder().glob("*.lease")
        file.unlink()
        file.symlink_to(file.name)
        says(await of("lease"), LOOK, "not known: the lease file", str(file))


async def test_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch) as it:
        says(await of("heartbeat"), LOOK, "ever passed", "no position is open", "`qtkit desk`")
        it.holds(BTC, Side.SHORT, "0.1")
        says(await of("heartbeat"), WRONG, "1 open and nobody watches")
        async with desk() as running:
            says(await of("heartbeat"), FINE, "tick 2 s")
            beat = json.loads(it.paths.of("paper").heartbeat.read_text())
            beat["last_pass_ms"] -= 60_000
            it.paths.of("paper").heartbeat.write_text(json.dumps({**beat, "fault": "no network"}))
            says(await of("heartbeat"), WRONG, "last pass 60 s ago", "late, because no network", "desk.log")
            running.monitor.health.alarms = ("ETHUSDT cannot be protected",)
            running.heartbeat(running.monitor.health)
            says(await of("heartbeat"), WRONG, "cannot be protected")
            it.paths.of("paper").heartbeat.write_text(json.dumps({**beat, "pid": 1}))
            says(await of("heartbeat"), LOOK, f"process {os.getpid()} holds the account and has not passed yet")
            it.paths.of("paper").heartbeat.write_text(json.dumps({"pid": 1}))
            says(await of("heartbeat"), WRONG, "cannot be read", "rm heartbeat.json")
        running.heartbeat(running.monitor.health)
        says(await of("heartbeat"), WRONG, "no desk runs, 1 open and nobody watches")
        monkeypatch.setenv("QTKIT_ACCOUNTS__PAPER__SCOPE", "watch")
        says(await of("heartbeat"), LOOK, "no desk watches")


async def test_desk_process(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch) as it:
        says(await of("desk process"), FINE, "none runs")
        async with opened() as running:
            await running.monitor.pass_once()
            says(await of("desk process"), LOOK, f"process {os.getpid()}", "endpoint absent")
            async with served(running):
                says(await of("desk process"), FINE, "MiB of memory", "endpoint answers")
                says(await of("desk process", Limits(memory_bytes=1)), LOOK, "MiB of memory", f"kill {os.getpid()}")
                door = json.loads(it.paths.of("paper").endpoint_token.read_text())
                it.paths.of("paper").endpoint_token.write_text(json.dumps({**door, "url": "http://127.0.0.1:9"}))
                says(await of("desk process"), WRONG, "does not answer", "desk.log")
        says(await of("desk process"), LOOK, f"process {os.getpid()} of the last beat lives", "holds no account")


async def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch) as it:
        says(await of("settings"), FINE, "1 setting of your own")
        async with desk():
            monkeypatch.setenv("QTKIT_TICK_SECONDS", "5")
            monkeypatch.setenv("QTKIT_ACCOUNTS__PAPER__SCOPE", "guard")
            says(await of("settings"), LOOK, "scope full (now set: guard)", "tick_seconds 2 (now set: 5)")
        rehearsed(monkeypatch, "demo", SCOPE="full", SYMBOLS="BTCUSTD")
        says(await of("settings", account="demo"), WRONG, "accounts.demo.symbols names BTCUSTD", "did you mean 'BTCUSDT'?")
        rehearsed(monkeypatch, "demo", SYMBOLS=BTC, MAX_NOTIONAL="50")
        says(await of("settings", account="demo"), LOOK, f"max_notional 50 is below the exchange's minimum of {BTC}", "more than 100")
        rehearsed(monkeypatch, "demo", SCOPE="guard")
        says(await of("settings", account="demo"), FINE)
        (it.paths.home / "qtkit.toml").write_text('desk = "toolong"\n')
        found = await examine()
        says(named(found, "settings"), WRONG, "qtkit.toml:1", "got 'toolong'", "`qtkit config show`")
        says(named(found, "journal"), FINE)  # the rest goes on
        says(named(found, "exchange"), LOOK, "not known: the settings are refused")


# -- the stores -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that a desk left, with one plan."""
    folder = tmp_path_factory.mktemp("left")

    async def leave(patch: pytest.MonkeyPatch) -> None:
        async with house(patch) as it:
            it.holds(BTC, Side.LONG, "0.1")
            async with desk():
                says(await of("journal"), FINE, "opens whole; last row", "reserve 256.0 KiB")
                says(await of("register"), FINE, "1 active plan,")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("QTKIT_HOME", "XDG_STATE_HOME"):
            patch.setenv(name, str(folder / name))
        asyncio.run(leave(patch))
    return folder / "QTKIT_HOME"


@pytest.fixture
def stores(left: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Journal and register that a desk left, with an exchange that is gone."""
    shutil.copytree(left, own_home)
    monkeypatch.setenv("QTKIT_ACCOUNTS__PAPER__BASE_URL", "http://127.0.0.1:9")
    return Paths(own_home)


def of_store(name: str, limits: Limits | None = None) -> Finding:
    return asyncio.run(of(name, limits))


def test_journal_left_by_a_desk(stores: Paths) -> None:
    says(of_store("journal"), FINE, "opens whole", "log 0 bytes")
    says(of_store("journal", Limits(journal_bytes=1)), LOOK, "replayed whole", "archive")
    reserve = stores.of("paper").folder / "journal.sqlite.reserve"
    reserve.unlink()
    says(of_store("journal"), LOOK, "reserve 0 bytes", "nothing is kept free")


def test_journal_with_a_long_log(stores: Paths) -> None:
    journal: Journal[object] = Journal.open(stores.of("paper").journal, EVENT_TYPES, account="paper")
    try:
        events = [row.event for row in journal.events()]
        journal.append(events[:1], 1)
        says(of_store("journal"), FINE)
        says(of_store("journal", Limits(log_bytes=1)), LOOK, "held by a reader", "close notebooks")
    finally:
        journal.close()


def test_journal_with_rows_in_a_side_file(stores: Paths) -> None:
    journal: Journal[object] = Journal.open(stores.of("paper").journal, EVENT_TYPES, account="paper")
    events = [row.event for row in journal.events()]
    journal.append_fallback(events[:2], 1)
    journal.close()
    says(of_store("journal"), WRONG, "rows wait in a side file", "the desk merges them")


def _torn(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)


def _a_row(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE events SET body = '{\"key\": 1}' WHERE seq = 2")
    db.close()


def _another(path: Path) -> None:
    path.unlink()
    Journal.open(path, EVENT_TYPES, account="other").close()


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '9' WHERE name = 'schema'")
    db.close()


def _strange(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE cats (name)")
    db.close()


@pytest.mark.parametrize(
    ("harm", "texts"),
    [
        (_torn, ("is damaged", "to another folder, then `qtkit desk`")),
        (_a_row, ("row 2", "to another folder, then `qtkit desk`")),
        (_another, ("belongs to account 'other', not 'paper'", "QTKIT_HOME")),
        (_newer, ("its schema is '9'", "QTKIT_HOME")),
        (_strange, ("is not what was asked for", "QTKIT_HOME")),
    ],
    ids=["torn", "row", "account", "schema", "strange"],
)
def test_journal_that_does_not_open(harm: Callable[[Path], None], texts: tuple[str, ...], stores: Paths) -> None:
    harm(stores.of("paper").journal)
    before = traces(stores.home)
    says(of_store("journal"), WRONG, str(stores.of("paper").journal), *texts)
    assert traces(stores.home) == before


@pytest.mark.parametrize("harm", [_torn, _strange], ids=["torn", "strange"])
def test_register_that_does_not_open(harm: Callable[[Path], None], stores: Paths) -> None:
    harm(stores.register)
    before = traces(stores.home)
    says(of_store("register"), WRONG, str(stores.register))
    assert traces(stores.home) == before


def test_register_with_a_plan_that_cannot_be_read(stores: Paths) -> None:
    with sqlite3.connect(stores.register) as db:
        db.execute("UPDATE plans SET body = '{}'")
    db.close()
    says(of_store("register"), WRONG, "is damaged", "the desk makes its plans anew")


def test_register_whose_change_was_cut_short(stores: Paths, tmp_path: Path) -> None:
    """A process killed in the middle of a transaction: what it left is undone by who opens it to write, not by the doctor."""
    db = sqlite3.connect(stores.register, isolation_level=None)
    db.execute("PRAGMA cache_size = 1")
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO plans VALUES (?, 1, hex(zeroblob(4000)))", [(f"filler{number}",) for number in range(40)])
    names = [stores.register, stores.register.with_name("register.sqlite-journal")]
    for path in names:
        shutil.copy(path, tmp_path / path.name)  # as the kill leaves them
    db.execute("ROLLBACK")
    db.close()
    for path in names:
        shutil.copy(tmp_path / path.name, path)
    before = traces(stores.home)
    says(of_store("register"), LOOK, "cut short", "`qtkit check`")
    assert traces(stores.home) == before
    PlanRegister(stores.register).disconnect()
    says(of_store("register"), FINE, "1 active plan,")


# -- the computer ---------------------------------------------------------------------------------------------------------------


def test_disk(own_home: Path) -> None:
    own_home.mkdir()
    facts = places.read_disk(own_home)
    assert 0 < facts.free <= facts.total
    says(places.disk(facts, Limits(disk_look=1, disk_wrong=0)), FINE, "free under")
    says(places.disk(facts, Limits(disk_look=facts.total + 1)), LOOK, "free some space")
    says(places.disk(facts, Limits(disk_wrong=facts.total + 1)), WRONG, f"{size(facts.free)} of {size(facts.total)}", str(own_home))


def test_file_system(own_home: Path) -> None:
    own_home.mkdir()
    facts = places.read_disk(own_home)
    assert facts.kind and facts.synced is None
    says(places.file_system(replace(facts, kind="ext4")), FINE, "ext4")
    says(places.file_system(replace(facts, kind="tmpfs")), LOOK, "gone after a restart", "QTKIT_HOME")
    for kind in ("nfs4", "cifs", "fuse.sshfs", "9p"):
        says(places.file_system(replace(facts, kind=kind)), WRONG, f"is on {kind}", "QTKIT_HOME")


@pytest.mark.parametrize("name", ["Dropbox", "OneDrive - Firm", "Google Drive", "folder"])
def test_synchronised_folder(name: str, tmp_path: Path) -> None:
    home = tmp_path / name / "deep" / ".qtkit"
    home.mkdir(parents=True)
    if name == "folder":
        says(places.file_system(replace(places.read_disk(home), kind="ext4")), FINE)
        (tmp_path / name / ".stfolder").mkdir()
    says(places.file_system(replace(places.read_disk(home), kind="ext4")), WRONG, f"{tmp_path / name} is copied elsewhere")


def test_the_innermost_mount_counts() -> None:
    mounts = [(Path("/"), "ext4"), (Path("/mnt"), "NFS4"), (Path("/mnt/fast"), "xfs"), (Path("/mnt/fast"), "btrfs")]
    kinds = {place: places.kind_of(Path(place), mounts) for place in ("/someone/x", "/mnt/x", "/mnt/fast/x", "/mntfast")}
    assert kinds == {"/someone/x": "ext4", "/mnt/x": "nfs4", "/mnt/fast/x": "btrfs", "/mntfast": "ext4"}
    assert places.kind_of(Path("/x"), []) == ""


def test_keys_file(stores: Paths) -> None:
    says(of_store("keys file"), FINE, "for their owner alone")
    keys = stores.paper_keys()
    for mode in (0o640, 0o604, 0o666):
        keys.chmod(mode)
        says(of_store("keys file"), WRONG, f"({mode:04o})", f"chmod 600 {keys}")
    keys.chmod(0o600)
    stores.keys.chmod(0o777)
    says(of_store("keys file"), LOOK, "(0777)", f"chmod 700 {stores.keys}")
    stores.keys.chmod(0o700)
    keys.write_text("{}")
    says(of_store("keys file"), WRONG, "not a key file")


def test_versions(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    right = {name: READ().versions[name] for name in ("ccxt",)}
    lock.write_text(f"ccxt=={right['ccxt']} \\\n    --hash=sha256:00\nwinonly==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n")
    facts = READ(lock)
    assert facts.locked == 1 and facts.unmet == ()
    says(software.versions(facts), FINE, f"ccxt {right['ccxt']}", "all 1 package as locked", f"python {sys.version_info.major}.")
    lock.write_text("ccxt==0.0.1 \\\n    --hash=sha256:00\nnosuchpackage==1.0 \\\n    --hash=sha256:00\n")
    says(software.versions(READ(lock)), LOOK, "locked 0.0.1", "nosuchpackage is missing", "`make setup`")
    says(software.versions(READ(tmp_path / "none")), FINE, "no lock beside the package")
    says(software.versions(replace(facts, python=(3, 10, 12))), WRONG, "3.11 is needed")
    says(software.versions(replace(facts, sqlite=(3, 36, 0))), WRONG, "3.37 is needed")
    says(software.versions(replace(facts, unmet=("ccxt 4.0, needed >=4.5.90",))), WRONG, "needed >=4.5.90", "`make setup`")


async def test_a_desk_that_was_given_only_a_reading_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch) as it:
        it.paths.paper_keys("demo").rename(it.paths.read_keys("demo"))
        rehearsed(monkeypatch, "demo", SCOPE="guard")
        found = await examine("demo")
        says(named(found, "keys file"), WRONG, "has only a read-only key pair")
        says(named(found, "position mode"), FINE, "one-way")  # it suffices for looking
        rehearsed(monkeypatch, "demo", SCOPE="watch")
        says(await of("keys file", account="demo"), FINE, "the account uses the read-only key from file")


def _kernel(folder: Path, *argv: str) -> None:
    spec = folder / "kernels" / "python3"
    spec.mkdir(parents=True, exist_ok=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": list(argv), "display_name": "Python 3", "language": "python"}))


async def test_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(monkeypatch) as it:
        says(named(await examine(), "hints"), FINE, "none are set")
        monkeypatch.setenv("QTKIT_HINTS__FILE", "hints.json")
        says(named(await examine(), "hints"), WRONG, "entries without a stop of their own are refused", "No such file", "hints.file")
        now_ms = int(time.time() * 1000)
        write_hints(table(until_ms=now_ms - 3 * DAY_MS, policy="scaled_tp"), it.paths.home / "hints.json")
        says(named(await examine(), "hints"), FINE, "1 row", "scaled_tp", "their data end 3 days ago")
        write_hints(table(until_ms=now_ms), it.paths.home / "hints.json")
        says(named(await examine(), "hints"), LOOK, "shape no entry", "'base', which is not known here", "fit them on one that is")
        async with onlooker("paper") as seen:  # `qtkit check` without a desk
            assert "the hints shape no entry: they were fitted on the policy 'base'" in "".join((await seen.ledger()).notes)


def test_notebook_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    says(software.kernel(software.read_kernel()), FINE, sys.executable)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    _kernel(tmp_path, "python", "-m", "ipykernel_launcher", "-f", "{connection_file}")
    says(software.kernel(software.read_kernel()), FINE, sys.executable)
    _kernel(tmp_path, "/opt/other/bin/python3", "-m", "ipykernel_launcher", "-f", "{connection_file}")
    says(software.kernel(software.read_kernel()), WRONG, "/opt/other/bin/python3", str(tmp_path), "ipykernel install")
    (tmp_path / "kernels" / "python3" / "kernel.json").write_text("{")
    says(software.kernel(software.read_kernel()), WRONG, "kernel python3", "ipykernel install")


def test_papermill_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = software.read_plugins()
    says(software.plugins(here), FINE, f"{here.count} plug-in")
    made = tmp_path / "oldengine-1.0.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: oldengine\nVersion: 1.0\n")
    (made / "entry_points.txt").write_text("[papermill.engine]\nold = oldengine.engine:Engine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    says(software.plugins(software.read_plugins()), WRONG, "old of oldengine (ModuleNotFoundError", "pip uninstall oldengine")
    (tmp_path / "oldengine").mkdir()
    (tmp_path / "oldengine" / "engine.py").write_text("class Engine: ...\n")
    importlib.invalidate_caches()
    says(software.plugins(software.read_plugins()), FINE, f"{here.count + 1} plug-in")


# -- words ----------------------------------------------------------------------------------------------------------------------


def test_sizes_and_ages() -> None:
    assert [size(n) for n in (0, 1023, 1536, 5 << 20, 3 << 40)] == ["0 bytes", "1023 bytes", "1.5 KiB", "5.0 MiB", "3072.0 GiB"]
    assert [age(ms) for ms in (-5, 119_000, 120_000, 7_200_000, 172_800_000)] == ["0 s", "119 s", "2 min", "2 h", "2 d"]


def test_a_finding_says_what_to_do_or_is_fine() -> None:
    for state, remedy in ((FINE, "do"), (LOOK, ""), (WRONG, "")):
        with pytest.raises(ValueError):
            Finding(name="clock", state=state, found="", remedy=remedy)
