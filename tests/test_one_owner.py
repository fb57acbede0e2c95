"""One desk to an account of the exchange, whatever it is called and from whatever home: by the lease, the settings and the tag."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

import pytest

from qtkit import arming
from qtkit.account import Account
from qtkit.canary import Wish, canary
from qtkit.checklist import Clock
from qtkit.core.model import PolicyError, Scope
from qtkit.desk import Desk, identity, opened
from qtkit.doctor.setup import set_up
from qtkit.home import PaperKeys, Paths
from qtkit.paper.faults import Fault, FaultKind, Match, Verb
from qtkit.settings import Settings
from qtkit.store.lease import LeaseHeld
from tests.canary_rig import House, house

RIGHT = Clock(right=True, text="1 ms behind the exchange's")


def named(it: House, name: str, *more: str) -> Settings:
    """Settings that call the account of the house by these names."""
    accounts = {word: replace(it.account, name=word) for word in (name, *more)}
    return replace(it.settings, accounts=MappingProxyType(accounts))


def same_key(name: str) -> None:
    """The house's key under another name."""
    paths = Paths.here()
    paths.paper_keys(name).write_bytes(paths.paper_keys("main").read_bytes())
    paths.paper_keys(name).chmod(0o600)


async def test_two_names_of_one_key_are_one_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In two homes, under two names: the second desk is told who has the account, by the names that people know."""
    async with house() as it:
        pair = it.paths.paper_keys("main").read_bytes()
        async with opened(it.settings, "main"):
            monkeypatch.setenv("QTKIT_HOME", str(tmp_path / "second"))
            place = Paths.here().paper_keys("swing")
            place.parent.mkdir(mode=0o700)
            place.write_bytes(pair)
            place.chmod(0o600)
            with pytest.raises(
                LeaseHeld, match=rf"^account swing is run by process \d+ as account main since .* in {it.paths.home.parent}"
            ):
                async with opened(named(it, "swing"), "swing"):
                    raise AssertionError("two desks run one account")


def test_what_a_lease_is_taken_on() -> None:
    keys = PaperKeys.create(Paths.here().paper_keys("main"))
    other = PaperKeys.create(Paths.here().paper_keys("other"))
    main, swing = Account(name="main", kind="live"), Account(name="swing", kind="live")
    assert identity(main, keys) == identity(swing, keys)  # type: ignore[arg-type]
    assert identity(main, keys) != identity(main, other)  # type: ignore[arg-type]
    assert identity(main, keys) != identity(Account(name="main", kind="demo"), keys)  # type: ignore[arg-type]


async def test_one_key_under_two_names_of_one_home_is_refused_at_use() -> None:
    async with house(kind="live", max_notional=Decimal(50), leverage=2) as it:
        settings = named(it, "main", "swing")
        same_key("swing")
        told = (
            "accounts main and swing of qtkit.toml have the same API key: they are one account of the exchange, .*; remove one of the two"
        )
        with pytest.raises(PolicyError, match=told):
            async with opened(settings, "main"):
                raise AssertionError("a desk was let in")
        with pytest.raises(PolicyError, match=told):
            await canary(settings, "main", Wish())
        with pytest.raises(PolicyError, match=told):
            await arming.arm(settings, "main", 1, RIGHT, lambda shown: True)
        watching = replace(
            settings, accounts=MappingProxyType({**settings.accounts, "swing": replace(it.account, name="swing", scope=Scope.WATCH)})
        )
        async with opened(watching, "swing"):
            pass  # it sends nothing
        Paths.here().paper_keys("swing").unlink()
        assert (await canary(settings, "main", Wish())).passed, "an account without keys is nobody's"


def test_the_doctor_tells_of_one_key_under_two_names(own_home: Path) -> None:
    PaperKeys.create(Paths.here().paper_keys("main"))
    same_key("swing")
    (own_home / "qtkit.toml").write_text("[accounts.main]\n[accounts.swing]\n")
    assert "have the same API key" in (set_up("main", Paths.here()).fault or "")


async def passes(desk: Desk, number: int) -> None:
    for _ in range(number):
        await desk.monitor.pass_once()
        await asyncio.sleep(0.05)


def second_key(it: House, name: str) -> None:
    """Another key of the house's account, under this name in the home of now."""
    keys = PaperKeys.create(Paths.here().paper_keys(name))
    it.server._rest._keys = {**it.server._rest._keys, keys.api_key: (keys.secret.reveal(), "main")}


async def test_two_keys_of_one_account_in_one_home_are_one_account() -> None:
    """They share the tag, so nothing but the exchange's own name of the account can tell: the second never starts."""
    async with house(symbols=None, scope=Scope.FULL) as it:
        settings = named(it, "main", "swing")
        second_key(it, "swing")
        it.stranger("XRPUSDT", "100")
        told = r"^account swing is run by process \d+ as account main since .* talk to that desk"
        async with opened(settings, "main") as first:
            await passes(first, 3)
            before = it.resting()
            with pytest.raises(LeaseHeld, match=told):
                async with opened(settings, "swing"):
                    raise AssertionError("two desks run one account")
            with pytest.raises(LeaseHeld, match=told):
                await canary(settings, "swing", Wish())
            assert it.resting() == before != {}
        async with opened(settings, "swing") as again:
            await passes(again, 1)  # it is free again


async def test_one_that_only_watches_may_stand_beside() -> None:
    async with house(symbols=None, scope=Scope.FULL) as it:
        watching = replace(it.account, name="swing", kind="demo", scope=Scope.WATCH)
        settings = replace(it.settings, accounts=MappingProxyType({"main": it.account, "swing": watching}))
        second_key(it, "swing")
        async with opened(settings, "main"), opened(settings, "swing") as other:
            await passes(other, 1)


async def test_two_keys_of_one_account_in_two_homes_differ_in_tag_and_the_second_stands_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the exchange does not tell its name of the account: whose orders come second sends nothing until the others are gone."""
    async with house(symbols=None, scope=Scope.FULL) as it:
        it.stranger("XRPUSDT", "100")
        async with opened(replace(it.settings, desk="ab12"), "main") as first:
            await passes(first, 3)
            before = it.resting()
            assert before and all(client_id.startswith("q1ab12") for client_id in before)
            monkeypatch.setenv("QTKIT_HOME", str(tmp_path / "second"))
            second_key(it, "main")
            it.faults.add(Fault(kind=FaultKind.FAIL_503, match=Match(verb=Verb.BALANCE), times=1))
            async with opened(replace(it.settings, desk="cd34"), "main") as second:
                await passes(second, 3)
                assert any("another desk's orders rest on this account" in alarm for alarm in second.monitor.health.alarms)
                with pytest.raises(PolicyError, match="no entry while another desk's orders rest"):
                    await second.executor.place_order("ADAUSDT", "BUY", 20)
                assert it.resting() == before
