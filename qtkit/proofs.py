"""Proofs and arms: what must have been shown before a desk may write to a real account, and until when it may.

A proof is what the canary saw on one account at one venue; an arm is its operator's word, with an end. Both are files under
``<home>/proofs`` that only their owner can read, sealed with the account's own secret: an edited one, one of another account and one
made with another key are refused. Neither holds a key.
"""

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from qtkit import sealed
from qtkit.account import Account
from qtkit.core.desired import Traits
from qtkit.core.model import PolicyError, Scope
from qtkit.core.plan import ADDED
from qtkit.home import Paths
from qtkit.keys import Keys
from qtkit.store.disk import sync_folder
from qtkit.venue.capabilities import capabilities

HOUR_MS = 3_600_000
FRESH_MS = 7 * 24 * HOUR_MS
ARM_HOURS = (1, 72)
TRAITS = ("floor_beside_stop", "conditional_reserves", "stop_while_flat")
"""Rules of the exchange that nobody has proven: the canary asks for them, and the desk is told."""
FLOOR_UNPROVEN = "that both may rest together is not proven; `qtkit canary --position` asks for it"


class Answer(Enum):
    """What an observation says of what the desk assumes. FAILED: the desk could not work here; NOT_ASKED: nothing was learned."""

    AGREES = "agrees"
    DIFFERS = "differs"
    SEEN = "seen"
    NOT_ASKED = "not asked"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One item of the checklist: what was seen, with its evidence: the exchange's code if it refused, the time (ms), the order ids."""

    item: str
    answer: Answer
    text: str
    code: int | None = None
    ids: tuple[str, ...] = ()
    at_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a canary run saw. ``traits`` are the rules that are known, ``key`` names the API key without telling it.

    ``carried`` are those of them that this run could not ask for, and when (ms) the one that did was made.
    """

    account: str
    kind: str
    venue: str
    host: str
    key: str
    symbol: str
    hedge: bool
    with_position: bool
    at_ms: int
    passed: bool
    sentence: str
    traits: Mapping[str, bool]
    observations: tuple[Observation, ...]
    versions: Mapping[str, str]
    carried: Mapping[str, int] | None = field(default=None, metadata=ADDED)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Unproven rules that nobody could ask for."""
        return tuple(name for name in TRAITS if name not in self.traits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """The operator's word that a live desk may write: from when to when (ms), and for what it was given."""

    account: str
    key: str
    from_ms: int
    until_ms: int
    terms: str


def fingerprint(keys: Keys) -> str:
    """Name of an API key: the same for the same key, and the key cannot be had from it."""
    return hashlib.blake2b(keys.api_key.encode(), digest_size=8, person=b"qtkit proof").hexdigest()


def host_of(account: Account) -> str:
    """Host and port of the account's exchange."""
    return account.place[1]


def traits_used(account: Account) -> Traits:
    """What the desk assumes of this account's exchange: what was set, else the capability table."""
    row = capabilities(account.venue)
    return account.traits or Traits(**{name: getattr(row, name) for name in TRAITS}, max_conditional=row.max_conditional)


def traits_for(account: Account, keys: Keys, paths: Paths) -> Traits:
    """What a desk goes by that writes to this account: a floor beside the stop only where its canary has seen both rest together.

    If the exchange took only one of them, the floor, which comes first and lies far away, could keep the working stop out.
    """
    used = traits_used(account)
    if not account.real or account.scope is Scope.WATCH or keys.looks:  # who has only the key for looking cannot read what is proven
        return used
    proof = _proof_here(account, keys, paths)
    shown = proof is not None and proof.traits.get("floor_beside_stop", False)
    return replace(used, floor_beside_stop=used.floor_beside_stop and shown)


def is_proven_here(account: Account, keys: Keys, paths: Paths) -> bool:
    """True if a canary with this key ran on this account's exchange, however long ago and however it went."""
    return _proof_here(account, keys, paths) is not None


def _proof_here(account: Account, keys: Keys, paths: Paths) -> Proof | None:
    with suppress(PolicyError):
        proof = read_proof(account, keys, paths)
        if proof is not None and (proof.kind, proof.venue, proof.host) == (account.kind, account.venue, host_of(account)):
            return proof
    return None


def mode_changed(account: Account, keys: Keys, paths: Paths, *, hedge: bool) -> str | None:
    """Why the proof says nothing of the mode that the account is in now, None if it does: orders of the other mode were never shown."""
    proof = _proof_here(account, keys, paths)
    if proof is None or proof.hedge is hedge:
        return None
    then, now = (("hedge" if mode else "one-way") for mode in (proof.hedge, hedge))
    return f"its proof was made in {then} mode, and the account is in {now} mode; {_again(account)}"


def require_mode(account: Account, keys: Keys, paths: Paths, *, hedge: bool) -> None:
    """Raise ``PolicyError`` where the account's mode is not the one that its canary ran in."""
    if why := mode_changed(account, keys, paths, hedge=hedge):
        raise PolicyError(f"account {account.name} ({account.kind}) may not be written to: {why}; resting orders stay as they are")


def proof_file(account: Account, paths: Paths) -> Path:
    """Where the proof of an account lies."""
    return _folder(paths) / f"{account.name}.json"


def arm_file(account: Account, paths: Paths) -> Path:
    """Where the arm of an account lies."""
    return _folder(paths) / f"{account.name}.arm"


def write_proof(proof: Proof, keys: Keys, account: Account, paths: Paths) -> Path:
    """Keep a proof, in place of the one before."""
    place = proof_file(account, paths)
    sealed.write(place, Proof, proof, keys.secret)
    return place


def with_earlier(proof: Proof, account: Account, keys: Keys, paths: Paths) -> Proof:
    """The proof with what it could not ask for and the account's last one has seen: a lesser run is no news of that.

    It must have been seen here, in the same position mode, within the days for which a proof counts.
    """
    before = _proof_here(account, keys, paths)
    if before is None or not before.passed or before.hedge is not proof.hedge:
        return proof
    seen = {name: (before.carried or {}).get(name, before.at_ms) for name in before.traits if name not in proof.traits}
    carried = {name: at_ms for name, at_ms in seen.items() if 0 <= proof.at_ms - at_ms <= FRESH_MS}
    if not carried:
        return proof
    told = ", ".join(f"{name} ({'yes' if before.traits[name] else 'no'})" for name in carried)
    ago = age(proof.at_ms - min(carried.values()))
    note = Observation(item="seen before", answer=Answer.SEEN, text=f"{told}, {ago} ago: it counts on", at_ms=min(carried.values()))
    traits = {**proof.traits, **{name: before.traits[name] for name in carried}}
    return replace(proof, traits=dict(sorted(traits.items())), carried=carried, observations=(*proof.observations, note))


def read_proof(account: Account, keys: Keys, paths: Paths) -> Proof | None:
    """The account's proof as it was written, None if there is none. Raises ``PolicyError`` for one that was edited or copied here."""
    proof = sealed.read(proof_file(account, paths), Proof, keys.secret)
    if proof is not None and (proof.account, proof.key) != (account.name, fingerprint(keys)):
        raise PolicyError(f"{proof_file(account, paths)} is the proof of account {proof.account} with another key; {_again(account)}")
    return proof


def may_write(account: Account, keys: Keys, paths: Paths, now_ms: int) -> None:
    """Nothing, if a desk may write to this account now; else raises ``PolicyError`` with what is missing and how to get it.

    The paper exchange needs nothing, and scope watch writes nothing. A demo account needs a proof, a live one an arm that is not over
    besides. A proof counts only where it was made: same kind, venue and host, so that one made on a paper exchange unlocks nothing else.
    """
    if account.kind == "paper" or account.scope is Scope.WATCH:
        return
    why = _why_not_proven(account, keys, paths, now_ms)
    if why is None and account.kind == "live":
        why = _why_not_armed(account, keys, paths, now_ms)
    if why is not None:
        raise PolicyError(f"account {account.name} ({account.kind}) may not be written to: {why}; resting orders stay as they are")


def require_proof(account: Account, keys: Keys, paths: Paths, now_ms: int) -> Proof:
    """The proof that may unlock this account. Raises ``PolicyError`` with what is wrong with it: an arm is given on nothing else."""
    why = _why_not_proven(account, keys, paths, now_ms)
    proof = None if why else read_proof(account, keys, paths)
    if proof is None:
        raise PolicyError(f"account {account.name} ({account.kind}) cannot be armed: {why}")
    return proof


def _why_not_proven(account: Account, keys: Keys, paths: Paths, now_ms: int) -> str | None:
    proof = read_proof(account, keys, paths)
    if proof is None:
        return f"no canary has proven its exchange; {_again(account)}"
    made, here = f"{proof.venue} at {proof.host} as {proof.kind}", f"{account.venue} at {host_of(account)} as {account.kind}"
    if made != here:
        return f"its proof was made on {made}, and the account is on {here}; {_again(account)}"
    if not 0 <= now_ms - proof.at_ms <= FRESH_MS:
        return f"its proof is {age(now_ms - proof.at_ms)} old, and counts for 7 days; {_again(account)}"
    if not proof.passed:
        return f"its canary did not pass: {proof.sentence}; {_again(account)}"
    used = traits_used(account)
    wrong = [name for name, seen in proof.traits.items() if getattr(used, name) is not seen]
    if wrong:
        return f"the desk assumes what its canary saw to be otherwise; write in qtkit.toml: {'; '.join(proposed(account, proof))}"
    return None


def _why_not_armed(account: Account, keys: Keys, paths: Paths, now_ms: int) -> str | None:
    how = f"arm it with `qtkit desk --account {account.name} --arm 24h`"
    arm = sealed.read(arm_file(account, paths), Arm, keys.secret)
    if arm is None:
        return f"it is not armed; {how}"
    if (arm.account, arm.key) != (account.name, fingerprint(keys)):
        return f"{arm_file(account, paths)} is the arm of account {arm.account} with another key; {how}"
    if now_ms >= arm.until_ms:
        return f"its arm ended {age(now_ms - arm.until_ms)} ago; {how}"
    if now_ms < arm.from_ms - HOUR_MS:
        return f"its arm begins in {age(arm.from_ms - now_ms)}, so this clock has been set back; {how}"
    if arm.terms != terms(account):
        return f"it was armed for {arm.terms}, and is now set to {terms(account)}; {how}"
    return None


def proposed(account: Account, proof: Proof) -> tuple[str, ...]:
    """Lines for qtkit.toml that tell the desk what the canary saw, where it assumes otherwise; none if nothing differs.

    The table is written whole, for what is set there replaces the capability table.
    """
    used = traits_used(account)
    if all(getattr(used, name) is seen for name, seen in proof.traits.items()):
        return ()
    told = {name: proof.traits.get(name, getattr(used, name)) for name in TRAITS}
    return (f"[accounts.{account.name}.traits]", *(f"{name} = {str(value).lower()}" for name, value in told.items()))


# -- arming ---------------------------------------------------------------------------------------------------------------------


def hours_of(text: str) -> int:
    """``24h`` as hours, 1 to 72. Raises ``PolicyError``."""
    found = re.fullmatch(r"([0-9]{1,3})h", text.strip().lower())
    low, high = ARM_HOURS
    if found is None or not low <= int(found[1]) <= high:
        raise PolicyError(f"an arm lasts whole hours, {low}h to {high}h, as in --arm 24h; got '{text}'")
    return int(found[1])


def terms(account: Account) -> str:
    """What an arm is given for: a change of any of it asks for a new one."""
    symbols = "every symbol" if account.symbols is None else " ".join(sorted(account.symbols)) or "no symbol"
    return f"scope {account.scope.value} on {symbols}, at most {account.max_notional:f} USDT at {account.leverage}x at {host_of(account)}"


def arm(account: Account, keys: Keys, paths: Paths, *, hours: int, now_ms: int) -> Arm:
    """Arm an account from now on. Raises ``PolicyError`` without a proof that unlocks it."""
    require_proof(account, keys, paths, now_ms)
    given = Arm(
        account=account.name, key=fingerprint(keys), from_ms=now_ms, until_ms=now_ms + hours * HOUR_MS, terms=terms(account)
    )  # fmt: skip
    sealed.write(arm_file(account, paths), Arm, given, keys.secret)
    return given


def disarm(account: Account, paths: Paths) -> bool:
    """Take the arm back: a desk that runs takes nothing new on from its next decision. False if there was none."""
    place = arm_file(account, paths)
    if not place.exists():
        return False
    place.unlink()
    sync_folder(place.parent)
    return True


def arm_now(account: Account, keys: Keys, paths: Paths, now_ms: int) -> Arm | None:
    """The arm that holds now, None if there is none. Never raises: what cannot be read is no arm."""
    with suppress(PolicyError):
        if account.kind == "live" and _why_not_armed(account, keys, paths, now_ms) is None:
            return sealed.read(arm_file(account, paths), Arm, keys.secret)
    return None


def armed_until_ms(account: Account, keys: Keys, paths: Paths, now_ms: int, before: int | None = None) -> int | None:
    """Until when a running desk may take something new on (entries, adoption): None for ever; a time that is over, since then not.

    ``before`` is what it was told last: an end once seen stays where it was, for what was taken on before it goes on being protected. A
    proof that grows old while a desk runs ends nothing before the arm does. Never raises: what cannot be read is no arm.
    """
    if account.kind != "live" or account.scope is Scope.WATCH:
        return None
    found = None
    with suppress(PolicyError):
        found = sealed.read(arm_file(account, paths), Arm, keys.secret)
        if found is not None and _why_not_armed(account, keys, paths, now_ms) is None:
            return found.until_ms
    ended = now_ms if found is None else min(now_ms, found.until_ms)
    return ended if before is None else min(ended, before)


def _folder(paths: Paths) -> Path:
    return paths.home / "proofs"


def _again(account: Account) -> str:
    return f"run `qtkit canary --account {account.name}`"


def age(ms: int) -> str:
    """A time span in minutes, hours or days, as people read it."""
    hours = ms / HOUR_MS
    if abs(hours) < 1:
        return f"{ms // 60_000} minutes"
    return f"{hours / 24:.1f} days" if abs(hours) >= 48 else f"{hours:.1f} hours"
