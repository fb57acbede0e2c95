"""What a proof unlocks and what it does not: age, edits, copies, other accounts, the paper exchange, arms and first limits."""

import json
import os
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from qtkit import proofs, sealed
from qtkit.account import Account
from qtkit.core.desired import Traits
from qtkit.core.model import PolicyError, Scope
from qtkit.home import Paths, Secret
from qtkit.keys import Keys
from qtkit.limits import require_first_limits
from qtkit.proofs import FRESH_MS, HOUR_MS, Answer, Observation, Proof

NOW = 1_763_683_200_000
KEYS = Keys("k" * 64, Secret("s" * 64))
OTHERS = Keys("o" * 64, Secret("t" * 64))


def account(**fields: Any) -> Account:
    """A live account at the exchange, in scope guard."""
    given = {"name": "main", "kind": "live", "scope": Scope.GUARD, "symbols": ("XRPUSDT",), "max_notional": Decimal(50), "leverage": 2}
    return Account(**(given | fields))


def proof(of: Account, keys: Keys = KEYS, **fields: Any) -> Proof:
    """A passed proof of an account, made an hour ago."""
    seen = Observation(item="working stop", answer=Answer.AGREES, text="placed, listed, moved and cancelled", ids=("q1",), at_ms=NOW)
    given = Proof(
        account=of.name, kind=of.kind, venue=of.venue, host=proofs.host_of(of), key=proofs.fingerprint(keys), symbol="XRPUSDT",
        hedge=False, with_position=True, at_ms=NOW - HOUR_MS, passed=True, sentence="as the desk assumes",
        traits=dict.fromkeys(proofs.TRAITS, True) | {"conditional_reserves": False}, observations=(seen,), versions={"qtkit": "0.1.0"},
    )  # fmt: skip
    return replace(given, **fields)


def unlock(of: Account, paths: Paths, keys: Keys = KEYS, *, hours: int = 24, now_ms: int = NOW, **fields: Any) -> None:
    """A proof and an arm, as a canary and its operator would have left them."""
    proofs.write_proof(proof(of, keys, **fields), keys, of, paths)
    if of.kind == "live":
        proofs.arm(of, keys, paths, hours=hours, now_ms=now_ms)


@pytest.fixture
def paths() -> Paths:
    return Paths.here()


def why_not(of: Account, paths: Paths, keys: Keys = KEYS, now_ms: int = NOW) -> str:
    """The sentence of the refusal."""
    with pytest.raises(PolicyError) as refusal:
        proofs.may_write(of, keys, paths, now_ms)
    return str(refusal.value)


# -- one proof after another


@pytest.mark.parametrize(
    ("before", "carried"),
    [
        ({}, True),
        ({"at_ms": NOW - proofs.FRESH_MS - 1}, False),
        ({"at_ms": NOW - HOUR_MS, "carried": {"floor_beside_stop": NOW - proofs.FRESH_MS - 1}}, False),
        ({"at_ms": NOW + 1}, False),
        ({"passed": False}, False),
        ({"hedge": True}, False),
        ({"host": "demo-fapi.binance.com"}, False),
        ({"key": proofs.fingerprint(OTHERS)}, False),
    ],
)
def test_a_lesser_proof_lets_stand_what_one_before_has_seen(paths: Paths, before: dict[str, Any], carried: bool) -> None:
    main = account()
    first = proof(main, **before)
    proofs.write_proof(first, KEYS, main, paths)
    lesser = proof(main, at_ms=NOW, with_position=False, traits={"stop_while_flat": True})
    after = proofs.with_earlier(lesser, main, KEYS, paths)
    assert ("floor_beside_stop" in after.traits) is carried
    assert after.traits["stop_while_flat"] and (after.carried or {}).get("floor_beside_stop") == (first.at_ms if carried else None)
    own = proof(main, at_ms=NOW, traits=dict.fromkeys(proofs.TRAITS, False))
    assert proofs.with_earlier(own, main, KEYS, paths) == own, "what a run sees itself is what counts"


# -- who needs what


def test_a_live_account_needs_a_proof_and_an_arm(paths: Paths) -> None:
    live = account()
    assert "no canary has proven its exchange; run `qtkit canary --account main`" in why_not(live, paths)
    proofs.write_proof(proof(live), KEYS, live, paths)
    assert "it is not armed; arm it with `qtkit desk --account main --arm 24h`" in why_not(live, paths)
    proofs.arm(live, KEYS, paths, hours=24, now_ms=NOW)
    proofs.may_write(live, KEYS, paths, NOW)
    proofs.may_write(live, KEYS, paths, NOW + 24 * HOUR_MS - 1)
    assert why_not(live, paths, now_ms=NOW + 26 * HOUR_MS).startswith(
        "account main (live) may not be written to: its arm ended 2.0 hours ago"
    )


def test_a_demo_account_needs_a_proof_only_and_paper_neither(paths: Paths) -> None:
    demo = account(kind="demo")
    assert "no canary has proven its exchange" in why_not(demo, paths)
    proofs.write_proof(proof(demo), KEYS, demo, paths)
    proofs.may_write(demo, KEYS, paths, NOW)
    proofs.may_write(account(kind="paper", scope=Scope.FULL), OTHERS, paths, NOW)


def test_scope_watch_sends_nothing_so_it_needs_nothing(paths: Paths) -> None:
    watching = account(scope=Scope.WATCH)
    proofs.may_write(watching, KEYS, paths, NOW)
    assert proofs.armed_until_ms(watching, KEYS, paths, NOW) is None


# -- proofs that prove nothing


def test_a_proof_counts_for_seven_days(paths: Paths) -> None:
    live = account()
    unlock(live, paths, hours=72)
    proofs.write_proof(proof(live, at_ms=NOW - FRESH_MS), KEYS, live, paths)
    proofs.may_write(live, KEYS, paths, NOW)
    proofs.write_proof(proof(live, at_ms=NOW - FRESH_MS - 1), KEYS, live, paths)
    assert "its proof is 7.0 days old, and counts for 7 days; run `qtkit canary --account main`" in why_not(live, paths)
    proofs.write_proof(proof(live, at_ms=NOW + HOUR_MS), KEYS, live, paths)
    assert "its proof is -1.0 hours old" in why_not(live, paths)


def test_an_edited_proof_is_refused(paths: Paths) -> None:
    live = account()
    unlock(live, paths, passed=True)
    place = proofs.proof_file(live, paths)
    row = json.loads(place.read_text())
    for name, value in (("passed", False), ("at_ms", NOW), ("sentence", "fine"), ("traits", {}), ("host", "x")):
        sealed.write_private(place, json.dumps(row | {"content": row["content"] | {name: value}}))
        assert "was edited, or made with another key" in why_not(live, paths)
    for text in ("", "{}", "[]", "null", '{"content": 1, "seal": 2}', json.dumps(row | {"seal": "0" * 64})):
        sealed.write_private(place, text)
        assert "was edited, or made with another key" in why_not(live, paths), text
    sealed.write_private(place, json.dumps(row))
    proofs.may_write(live, KEYS, paths, NOW)


def test_a_copied_proof_is_refused(paths: Paths, tmp_path: Path) -> None:
    """From another account of the same key, and from another key under the same name."""
    main, second = account(), account(name="second")
    unlock(main, paths)
    for ending in ("json", "arm"):
        (paths.home / "proofs" / f"second.{ending}").write_bytes((paths.home / "proofs" / f"main.{ending}").read_bytes())
        (paths.home / "proofs" / f"second.{ending}").chmod(0o600)
    assert "is the proof of account main" in why_not(second, paths)
    proofs.write_proof(proof(second), KEYS, second, paths)
    assert "is the arm of account main" in why_not(second, paths)
    assert "made with another key" in why_not(main, paths, OTHERS)


@pytest.mark.parametrize(
    ("made_on", "told"),
    [
        ({"kind": "paper"}, "at fapi.binance.com as paper"),
        ({"host": "127.0.0.1:8560"}, "at 127.0.0.1:8560 as live"),
        ({"kind": "paper", "host": "127.0.0.1:8560"}, "at 127.0.0.1:8560 as paper"),
        ({"kind": "demo", "host": "demo-fapi.binance.com"}, "at demo-fapi.binance.com as demo"),
        ({"venue": "bybit"}, "bybit at fapi.binance.com"),
    ],
)
def test_a_proof_of_another_exchange_never_unlocks_live(paths: Paths, made_on: dict[str, str], told: str) -> None:
    live = account()
    unlock(live, paths)
    proofs.write_proof(proof(live, **made_on), KEYS, live, paths)
    why = why_not(live, paths)
    assert told in why and "the account is on binanceusdm at fapi.binance.com as live" in why
    with pytest.raises(PolicyError, match="cannot be armed: its proof was made on"):
        proofs.arm(live, KEYS, paths, hours=1, now_ms=NOW)


def test_a_canary_that_did_not_pass_unlocks_nothing(paths: Paths) -> None:
    live = account()
    unlock(live, paths)
    proofs.write_proof(proof(live, passed=False, sentence="not as the desk needs it: working stop"), KEYS, live, paths)
    assert "its canary did not pass: not as the desk needs it: working stop" in why_not(live, paths)


@pytest.mark.parametrize("name", proofs.TRAITS)
def test_what_the_canary_saw_must_be_what_the_desk_assumes(paths: Paths, name: str) -> None:
    live = account()
    unlock(live, paths)
    seen = dict(proof(live).traits)
    other = proof(live, traits=seen | {name: not seen[name]})
    proofs.write_proof(other, KEYS, live, paths)
    why = why_not(live, paths)
    assert "[accounts.main.traits]; " in why and f"{name} = {str(not seen[name]).lower()}" in why
    told = account(traits=Traits(**other.traits))
    proofs.may_write(told, KEYS, paths, NOW)
    assert proofs.proposed(told, other) == ()


def test_what_was_not_asked_for_is_told_and_does_not_lock(paths: Paths) -> None:
    live = account()
    unlock(live, paths, traits={"stop_while_flat": True})
    proofs.may_write(live, KEYS, paths, NOW)
    found = proofs.read_proof(live, KEYS, paths)
    assert found is not None and found.unknown == ("floor_beside_stop", "conditional_reserves")


def test_files_are_the_owners_alone_and_hold_no_key(paths: Paths) -> None:
    live = account()
    unlock(live, paths)
    for place in (proofs.proof_file(live, paths), proofs.arm_file(live, paths)):
        assert place.stat().st_mode & 0o777 == 0o600
        assert KEYS.api_key not in place.read_text() and KEYS.secret.reveal() not in place.read_text()
    assert place.parent.stat().st_mode & 0o777 == 0o700
    os.chmod(place, 0o640)
    assert "others than its owner can reach this file" in why_not(live, paths)


# -- arms


def test_an_arm_is_given_for_its_terms(paths: Paths) -> None:
    live = account()
    unlock(live, paths)
    for changed in ({"scope": Scope.FULL}, {"max_notional": Decimal(5_000)}, {"leverage": 20}, {"symbols": ("XRPUSDT", "BTCUSDT")}):
        why = why_not(account(**changed), paths)
        assert "it was armed for scope guard on XRPUSDT, at most 50 USDT at 2x" in why and "--arm 24h" in why


@pytest.mark.parametrize("text", ["", "24", "0h", "73h", "24m", "-1h", "1.5h", "h", "1h2h", "٣h"])
def test_an_arm_lasts_one_hour_to_three_days(text: str) -> None:
    with pytest.raises(PolicyError, match="1h to 72h"):
        proofs.hours_of(text)


def test_hours_are_read() -> None:
    assert [proofs.hours_of(text) for text in ("1h", "24h", " 72H ")] == [1, 24, 72]


def test_until_when_something_new_is_taken_on(paths: Paths) -> None:
    live = account()
    assert proofs.armed_until_ms(account(kind="demo"), KEYS, paths, NOW) is None
    assert proofs.armed_until_ms(live, KEYS, paths, NOW) == NOW, "there was never an arm: nothing new from now on"
    unlock(live, paths, hours=2)
    until = NOW + 2 * HOUR_MS
    assert proofs.armed_until_ms(live, KEYS, paths, NOW, NOW - 5) == until, "armed again"
    assert proofs.armed_until_ms(live, KEYS, paths, until + 10_000, until) == until, "over, since it was"
    assert proofs.armed_until_ms(live, KEYS, paths, until + 10_000) == until
    assert proofs.armed_until_ms(account(scope=Scope.FULL), KEYS, paths, NOW + 1, until) == NOW + 1, "given for something else"
    proofs.arm_file(live, paths).write_text("what is this")
    assert proofs.armed_until_ms(live, KEYS, paths, NOW + 2, until) == NOW + 2, "what cannot be read is no arm, and no error in a pass"
    assert proofs.disarm(live, paths) and not proofs.disarm(live, paths)
    assert proofs.armed_until_ms(live, KEYS, paths, NOW + 9, NOW + 2) == NOW + 2, "an end once seen stays where it was"
    assert "it is not armed" in why_not(live, paths)


def test_a_clock_set_back_does_not_lengthen_an_arm(paths: Paths) -> None:
    live = account()
    unlock(live, paths, at_ms=NOW - 100 * HOUR_MS)
    assert "this clock has been set back" in why_not(live, paths, now_ms=NOW - 3 * HOUR_MS)


# -- first limits


@pytest.mark.parametrize(
    ("fields", "name"),
    [({"symbols": ()}, "symbols"), ({"max_notional": Decimal(10_000)}, "max_notional"), ({"leverage": 5}, "leverage")],
)
def test_a_live_account_begins_small(fields: dict[str, Any], name: str) -> None:
    require_first_limits(account(), {})
    big = account(**fields)
    with pytest.raises(PolicyError, match=rf"^accounts\.main\.{name}: a live "):
        require_first_limits(big, {})
    if name != "symbols":
        require_first_limits(big, {f"accounts.main.{name}": "qtkit.toml:3"})
    for lenient in ({"kind": "demo"}, {"scope": Scope.WATCH}):
        require_first_limits(account(**(fields | lenient)), {})
