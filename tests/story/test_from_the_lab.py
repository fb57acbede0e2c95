"""From the lab to live: a policy file makes new plans of its symbols, open positions only on request, and loosens nothing.

A desk on the paper exchange, with its own home; the exchange's own books judge.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from qtkit import policies as home_policies
from qtkit.core.context import MarketData
from qtkit.core.distance import AtPrice, InBps
from qtkit.core.model import E8, Bps, Instrument, Key, PolicyError, Scope, Side
from qtkit.core.policy import ExitPolicy, TargetRule, TrailRule
from qtkit.desk import Desk, opened
from qtkit.operate import PlanAnew, Said, operate
from qtkit.paper.gateway import PaperGateway
from qtkit.policies import Policies
from qtkit.policy_use import DropPolicy, PolicyWish, UsePolicy, carried_out, noted
from qtkit.policyfile import PolicyFile, write
from qtkit.router import ExitRouter
from qtkit.settings import PaperKeys, Paths, Settings
from qtkit.signals import Signal
from tests.story.rig import SIDES, Killed, World, judged, story

SYMBOL, OTHER = "SOLUSDT", "XRPUSDT"
both_sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name.lower())
both_modes = pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])

TIGHT = ExitPolicy(
    name="tight",
    stop=InBps(Bps(120)),
    targets=(TargetRule(at=InBps(Bps(400)), share=Bps(4_000)),),
    trail=TrailRule(activation=InBps(Bps(200)), callback=InBps(Bps(100)), share=Bps(6_000)),
)
WIDE = ExitPolicy(name="wide", stop=InBps(Bps(900)), targets=(TargetRule(at=InBps(Bps(500)), share=Bps(10_000)),))


def text(policy: ExitPolicy) -> str:
    return write(PolicyFile(policy=policy, provenance={"symbols": [SYMBOL]}))


def use(policy: ExitPolicy, *symbols: str, anew: bool = False) -> UsePolicy:
    return UsePolicy(file=text(policy), symbols=symbols, open=anew)


@asynccontextmanager
async def desk(world: World) -> AsyncIterator[Desk]:
    """A desk of this test's home, without its loop."""
    PaperKeys.create(Paths.here().paper_keys())
    gateway = PaperGateway(world.exchange, "paper", world.faults)
    async with opened(gateway=gateway, clock_ms=lambda: world.now_ms) as it:
        yield it


async def passes(it: Desk, count: int = 3) -> None:
    for _ in range(count):
        await it.monitor.pass_once()
        await asyncio.sleep(2)


def plan(it: Desk, symbol: str, world: World, side: Side) -> str:
    """The policy that a position's plan was made by."""
    return it.applier.book.episodes[Key("paper", symbol, world.slot(side))].plan.profile


def stop(world: World, symbol: str, side: Side) -> int:
    """The trigger of our working stop (E8), as it rests."""
    (row,) = world.stops(symbol, side)
    assert row.trigger is not None
    return row.trigger


async def do(it: Desk, wish: PolicyWish) -> Said:
    return await carried_out(it, wish, dry_run=False)


@both_sides
@both_modes
@story
async def test_new_plans_are_made_by_it_and_open_positions_keep_theirs(hedge: bool, side: Side) -> None:
    world = World(hedge=hedge)
    async with desk(world) as it:
        world.stranger(SYMBOL, side, 10)
        await passes(it)
        before, rests = plan(it, SYMBOL, world, side), stop(world, SYMBOL, side)
        foreseen = await carried_out(it, use(TIGHT, SYMBOL, OTHER), dry_run=True)
        assert f"{SYMBOL}: new plans by tight, instead of the profile of the market's regime" in foreseen.text
        assert "open positions keep" in foreseen.text and foreseen.steps == ()
        assert not Paths.here().policies.exists() and it.router.policies.used() == {}  # only shown
        await do(it, use(TIGHT, SYMBOL, OTHER))
        world.stranger(OTHER, side, 100)
        await passes(it)
        assert plan(it, OTHER, world, side) == "tight" and before != "tight"
        assert plan(it, SYMBOL, world, side) == before and stop(world, SYMBOL, side) == rests
        world.leaves(SYMBOL, side, 10)
        await passes(it)
        world.stranger(SYMBOL, side, 10)  # the next one of the symbol is a new one
        await passes(it)
        assert plan(it, SYMBOL, world, side) == "tight"
        judged(world)


@both_sides
@both_modes
@story
async def test_an_own_entry_goes_by_it_unless_its_signal_names_another(hedge: bool, side: Side) -> None:
    world = World(hedge=hedge)
    async with desk(world) as it:
        await passes(it)
        await do(it, use(TIGHT, SYMBOL, OTHER))
        await it.executor.execute(Signal(symbol=SYMBOL, side=side.name, quantity=Decimal(10)))
        await it.executor.execute(Signal(symbol=OTHER, side=side.name, quantity=Decimal(100), policy="staged"))
        await it.executor.execute(Signal(symbol="ADAUSDT", side=side.name, quantity=Decimal(1000), policy="tight"))
        await passes(it)
        assert [plan(it, symbol, world, side) for symbol in (SYMBOL, OTHER, "ADAUSDT")] == ["tight", "staged", "tight"]
        with pytest.raises(PolicyError, match="there is no exit policy 'tihgt': did you mean 'tight'"):
            await it.executor.execute(Signal(symbol="LTCUSDT", side=side.name, quantity=Decimal(10), policy="tihgt"))
        judged(world)


@both_sides
@both_modes
@pytest.mark.parametrize("profit", [0, 3], ids=["where it began", "trailing at once"])
@story
async def test_on_request_an_open_position_is_tightened(hedge: bool, side: Side, profit: int) -> None:
    world = World(hedge=hedge)
    async with desk(world) as it:
        world.stranger(SYMBOL, side, 10)
        world.stranger(OTHER, side, 100)
        await passes(it)
        world.move(SYMBOL, side, profit)
        await passes(it)
        rests, other = stop(world, SYMBOL, side), stop(world, OTHER, side)
        foreseen = await carried_out(it, use(TIGHT, SYMBOL, anew=True), dry_run=True)
        told = re.search(
            r"is planned anew by tight.*\n  now:  stop (\S+), .*\n  then: stop (\S+), targets \S+ \(40 %\), trail 1 % from", foreseen.text
        )
        assert told is not None and Decimal(told[1]) * 10**8 == rests
        assert {step.do for step in foreseen.steps} > {"replace"} and all(SYMBOL in step.key for step in foreseen.steps)
        assert stop(world, SYMBOL, side) == rests
        await do(it, use(TIGHT, SYMBOL, anew=True))
        await passes(it)
        assert Decimal(told[2]) * 10**8 == stop(world, SYMBOL, side)
        assert side.sign * (stop(world, SYMBOL, side) - rests) > 0 and plan(it, SYMBOL, world, side) == "tight"
        assert len(world.targets(SYMBOL, side)) == 1
        assert stop(world, OTHER, side) == other and plan(it, OTHER, world, side) != "tight"
        judged(world)


@both_sides
@both_modes
@story
async def test_on_request_nothing_is_loosened(hedge: bool, side: Side) -> None:
    world = World(hedge=hedge)
    async with desk(world) as it:
        world.stranger(SYMBOL, side, 10)
        await passes(it)
        rests, floor = stop(world, SYMBOL, side), [row.trigger for row in world.floors(SYMBOL, side)]
        said = await do(it, use(WIDE, SYMBOL, anew=True))
        await passes(it, 6)
        assert stop(world, SYMBOL, side) == rests and plan(it, SYMBOL, world, side) == "wide"
        assert [row.trigger for row in world.floors(SYMBOL, side)] == floor
        tick = it.monitor.gateway.instruments[SYMBOL].tick
        assert f"then: stop {Decimal(rests) / 10**8:f}".rstrip("0") in said.text, (said.text, rests, tick)
        world.stranger(OTHER, side, 100)
        await passes(it)
        judged(world)


@both_sides
@story
async def test_both_sides_of_a_hedged_symbol_are_planned_anew(side: Side) -> None:
    world = World(hedge=True)
    async with desk(world) as it:
        world.stranger(SYMBOL, side, 10)
        world.stranger(SYMBOL, Side(-side.value), 10)
        await passes(it)
        said = await do(it, use(TIGHT, SYMBOL, anew=True))
        await passes(it)
        assert said.text.count("is planned anew") == 2
        assert {plan(it, SYMBOL, world, one) for one in SIDES} == {"tight"}
        judged(world)


@both_sides
@story
async def test_what_cannot_be_planned_anew_is_said_and_the_rest_is_done(monkeypatch: pytest.MonkeyPatch, side: Side) -> None:
    world = World()
    async with desk(world) as it:
        world.stranger(SYMBOL, side, 10)
        world.stranger(OTHER, side, 100)
        await passes(it)
        inner = it.monitor.observer.position
        monkeypatch.setattr(it.monitor.observer, "position", lambda symbol, slot: None if symbol == SYMBOL else inner(symbol, slot))
        with pytest.raises(PolicyError, match=rf"{SYMBOL} {side.name.lower()} is not planned anew: paper/{SYMBOL} is being closed"):
            await do(it, use(TIGHT, SYMBOL, OTHER, anew=True))
        monkeypatch.undo()
        await passes(it)
        assert plan(it, OTHER, world, side) == "tight" and plan(it, SYMBOL, world, side) != "tight"
        assert set(it.router.policies.used()) == {SYMBOL, OTHER}


@both_sides
@story
async def test_a_restart_keeps_it_and_dropping_it_goes_back(side: Side) -> None:
    world = World()
    async with desk(world) as it:
        await passes(it)
        await do(it, use(TIGHT, SYMBOL, OTHER))
    async with desk(world) as it:
        world.stranger(SYMBOL, side, 10)
        await passes(it)
        assert plan(it, SYMBOL, world, side) == "tight"
        with pytest.raises(PolicyError, match="ADAUSDT does not use tight"):
            await do(it, DropPolicy(name="tight", symbols=("ADAUSDT",)))
        said = await do(it, DropPolicy(name="tight", symbols=(OTHER,)))
        assert said.text.startswith(f"{OTHER}: new plans by the profile of the market's regime again")
        world.stranger(OTHER, side, 100)
        await passes(it)
        assert plan(it, OTHER, world, side) != "tight" and plan(it, SYMBOL, world, side) == "tight"
        await operate(it.monitor, PlanAnew(symbol=OTHER, policy="tight"), dry_run=False)  # its name goes on being known
        await passes(it)
        assert plan(it, OTHER, world, side) == "tight"
        await do(it, DropPolicy(name="tight"))
        assert it.router.policies.used() == {}
        with pytest.raises(PolicyError, match="no symbol uses 'tight': none uses a policy of its own"):
            await do(it, DropPolicy(name="tight"))
        judged(world)


@both_sides
@story
async def test_noted_without_a_desk_a_running_one_goes_by_it(side: Side) -> None:
    """Files are the truth: a desk that began between the question and the writing goes by what was written."""
    world = World()
    async with desk(world) as it:
        await passes(it)
        paths, settings = Paths.here(), Settings.load()
        said = noted(settings, settings.accounts["paper"], Policies(paths, "paper"), use(TIGHT, SYMBOL), None, dry_run=False)
        assert "the next one goes by it" in said.text and "is not known" in said.text
        world.stranger(SYMBOL, side, 10)
        await passes(it)
        assert plan(it, SYMBOL, world, side) == "tight"


@pytest.mark.parametrize("step", range(6))
@story
async def test_killed_between_the_file_and_its_use_nothing_is_half_done(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    world = World()
    left = [step]

    def mortal(inner: object) -> object:
        def called(*args: object, **more: object) -> object:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return inner(*args, **more)  # type: ignore[operator]

        return called

    with monkeypatch.context() as patch:
        for name in ("fsync", "replace"):
            patch.setattr(home_policies.os, name, mortal(getattr(home_policies.os, name)))
        policies, settings = Policies(Paths.here(), "paper"), Settings.load()
        with pytest.raises(Killed):
            noted(settings, settings.accounts["paper"], policies, use(TIGHT, SYMBOL), None, dry_run=False)
    async with desk(world) as it:
        used = it.router.policies.used()
        assert it.router.policies.faults() == () and set(used) <= {SYMBOL}
        assert (SYMBOL in used) is (step == 5)  # the last step is the one that makes it survive a loss of power
        world.stranger(SYMBOL, Side.SHORT, 10)
        await passes(it)
        assert (plan(it, SYMBOL, world, Side.SHORT) == "tight") is (SYMBOL in used)
        await do(it, use(TIGHT, SYMBOL, anew=True))  # said again, it is done
        await passes(it)
        assert plan(it, SYMBOL, world, Side.SHORT) == "tight"
        judged(world)


DAMAGES = {
    "cut": lambda place: place.write_text(place.read_text()[:40]),
    "edited": lambda place: place.write_text(place.read_text().replace("1.2%", "12%")),
    "binary": lambda place: place.write_bytes(b"\xff\x00" * 50),
    "gone": lambda place: place.unlink(),
    "unreadable": lambda place: (place.unlink(), place.mkdir()),
    "another": lambda place: place.write_text(text(WIDE)),
}


@both_sides
@pytest.mark.parametrize("damage", [*DAMAGES, "list"])
@story
async def test_a_damaged_policy_leaves_nothing_unprotected_and_is_said_aloud(damage: str, side: Side) -> None:
    world = World()
    async with desk(world) as it:
        await passes(it)
        await do(it, use(TIGHT, SYMBOL))
    paths = Paths.here()
    if damage == "list":
        paths.of("paper").policies.write_text("{")
    else:
        DAMAGES[damage](paths.policies / "tight.toml")
    async with desk(world) as it:  # it starts
        world.stranger(SYMBOL, side, 10)
        world.stranger(OTHER, side, 100)
        await passes(it)
        assert plan(it, SYMBOL, world, side) == plan(it, OTHER, world, side) != "tight"
        assert all(line.gap == 0 for line in it.monitor.health.coverage) and len(it.monitor.health.coverage) == 2
        told = [text for text in it.monitor.health.alarms if "policies" in text]
        assert told and "qtkit policy use" in told[0], it.monitor.health.alarms
        assert told[0] in json.loads(it.places.heartbeat.read_text())["alarms"]
        judged(world)
        if damage == "list":
            paths.of("paper").policies.unlink()
        elif damage == "unreadable":
            (paths.policies / "tight.toml").rmdir()
        else:
            (paths.policies / "tight.toml").unlink(missing_ok=True)
        await do(it, use(TIGHT, SYMBOL))
        await passes(it, 1)
        assert it.monitor.health.alarms == ()


@both_sides
@story
async def test_settings_name_it_and_a_damaged_one_does_not_stop_the_desk(side: Side) -> None:
    world = World()
    paths = Paths.here()
    paths.policies.mkdir()
    place = paths.policies / "tight.toml"
    place.write_text(text(TIGHT))
    (paths.home / "qtkit.toml").write_text(
        '[profiles.one]\npolicy = "tight"\nsymbol = "SOLUSDT"\n[accounts.paper]\nguard_policy = "tight"\n'
    )
    async with desk(world) as it:
        world.stranger(SYMBOL, side, 10)
        await passes(it)
        assert plan(it, SYMBOL, world, side) == "tight"
    place.write_text("name = ")
    async with desk(world) as it:
        world.stranger(OTHER, side, 100)
        await passes(it)
        assert plan(it, OTHER, world, side) != "tight" and it.applier.book.episodes
        assert any("policy tight is not used where it is named" in text for text in it.monitor.health.alarms)
        judged(world)
    (paths.home / "qtkit.toml").write_text('[profiles.one]\npolicy = "tigt"\n')
    with pytest.raises(PolicyError, match=r"qtkit\.toml:2: profiles\.one\.policy: there is no exit policy 'tigt': did you mean 'tight'"):
        Settings.load()


class Facts:
    """What a router of another process asks an exchange for."""

    def __init__(self, it: Desk) -> None:
        self._instruments = it.monitor.gateway.instruments

    async def instrument(self, symbol: str) -> Instrument:
        return self._instruments[symbol]

    async def market(self, symbol: str) -> MarketData:
        return MarketData()


@both_sides
@story
async def test_a_router_of_another_process_plans_by_it_too(side: Side) -> None:
    world = World()
    async with desk(world) as it:
        await passes(it)
        await do(it, use(TIGHT, SYMBOL))
        told = {"symbol": SYMBOL, "positionAmt": str(10 * side.sign), "entryPrice": "142.4", "markPrice": "142.4"}
        assert (await ExitRouter(facts=Facts(it)).get_or_create_plan(told)).profile == "tight"


@story
async def test_a_file_under_a_built_in_name_is_said_aloud() -> None:
    world = World()
    paths = Paths.here()
    paths.policies.mkdir()
    (paths.policies / "staged.toml").write_text(text(ExitPolicy(name="staged")))
    async with desk(world) as it:
        await passes(it, 1)
        assert it.monitor.health.alarms[0].startswith("policy staged: a built-in policy has this name")


@story
async def test_in_scope_guard_its_stop_counts_and_its_targets_are_left_out() -> None:
    world = World()
    (Paths.here().home / "qtkit.toml").write_text('[accounts.paper]\nscope = "guard"\n')
    async with desk(world) as it:
        await passes(it)
        said = await do(it, use(TIGHT, SYMBOL))
        assert "instead of the profile of the market's regime (entries) and guard (adopted positions)" in said.text
        world.stranger(SYMBOL, Side.LONG, 10)
        await passes(it)
        assert plan(it, SYMBOL, world, Side.LONG) == "tight" and not world.targets(SYMBOL, Side.LONG)
        assert it.account.scope is Scope.GUARD


BAD = {
    "a preset's name": (text(ExitPolicy(name="staged")), (SYMBOL,), "'staged' is a built-in policy; give yours another name in the file"),
    "a preset's name in small": (text(ExitPolicy(name="trend")), (SYMBOL,), "'trend' is a built-in policy"),
    "a name that is a path": (text(ExitPolicy(name="../x")), (SYMBOL,), "'../x' cannot be installed"),
    "a symbol that is none": (text(TIGHT), ("SOLUSD",), "there is no symbol 'SOLUSD': did you mean 'SOLUSDT'"),
    "a symbol in another dialect": (text(TIGHT), ("SOL/USDT",), "a symbol is written as the exchange does"),
    "no symbol": (text(TIGHT), (), "no symbol is named"),
    "a price for two symbols": (
        text(ExitPolicy(name="fixed", stop=AtPrice(E8(10**10)))),
        (SYMBOL, OTHER),
        "a policy with a fixed price \\(@\\) is for one symbol",
    ),
    "another policy of that name": (text(ExitPolicy(name="known")), (SYMBOL,), "'known' is installed already and says something else"),
    "no policy": ("name = ", (SYMBOL,), "no TOML"),
}


@pytest.mark.parametrize("dry_run", [True, False], ids=["shown", "done"])
@pytest.mark.parametrize("bad", BAD)
@story
async def test_what_cannot_be_is_refused_in_one_sentence_and_changes_nothing(bad: str, dry_run: bool) -> None:
    world = World()
    async with desk(world) as it:
        await passes(it, 1)
        await do(it, use(ExitPolicy(name="known", stop=InBps(Bps(300))), OTHER))
        files = {path: path.read_bytes() for path in Paths.here().policies.iterdir()}
        used = it.router.policies.used()
        file, symbols, told = BAD[bad]
        with pytest.raises(PolicyError, match=told) as error:
            await carried_out(it, UsePolicy(file=file, symbols=symbols), dry_run=dry_run)
        assert "\n" not in str(error.value)
        assert it.router.policies.used() == used
        assert {path: path.read_bytes() for path in Paths.here().policies.iterdir()} == files


def test_a_disk_that_refuses_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    policies = Policies(Paths.here(), "paper")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(home_policies.os, "fsync", full)
    with pytest.raises(PolicyError, match=r"tight\.toml: cannot be written \(No space left on device\); nothing was changed"):
        policies.install(text(TIGHT).encode())
    assert policies.own() == ()
