"""What is refused at the start leaves what rests as it rests: one sentence that says what to do, and no request that changes anything."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from qtkit import proofs
from qtkit.apply import wall_ms as now_ms
from qtkit.canary import Wish, canary
from qtkit.core.model import PolicyError, Side
from qtkit.desk import opened
from qtkit.home import PaperKeys
from qtkit.paper.signing import WHOLE
from qtkit.venue.gateway import GatewayError
from tests.canary_rig import House, house
from tests.test_canary import LIVE, passes


def other_key(it: House) -> None:
    place = it.paths.paper_keys("main")
    place.unlink()
    PaperKeys.create(place)


def other_secret(it: House) -> None:
    place = it.paths.paper_keys("main")
    place.write_text(json.dumps({**json.loads(place.read_text()), "secret": "w" * 64}))


def may(**rights: bool) -> Callable[[House], None]:
    return lambda it: it.server.rights.update({it.keys.api_key: replace(WHOLE, **rights)})


def from_elsewhere(it: House) -> None:
    it.server.elsewhere.add(it.keys.api_key)


def edited_proof(it: House) -> None:
    place = proofs.proof_file(it.account, it.paths)
    place.write_text(place.read_text().replace('"hedge": false', '"hedge": true'))


OF_ANOTHER = r"was edited, or made with another key: it proves nothing here; give the key that it was made with, or delete it .* anew$"
CASES: dict[str, tuple[Callable[[House], Any], str]] = {
    "wrong key": (
        other_key,
        OF_ANOTHER,
    ),
    "wrong secret": (
        other_secret,
        OF_ANOTHER,
    ),
    "withdrawals": (may(withdraw=True), r"allows withdrawals, .*; switch off Enable Withdrawals in the exchange's API management$"),
    "transfers": (may(transfer=True), r"allows transfers, .*; switch off Permits Universal Transfer .* in the exchange's API management$"),
    "reads only": (may(trade=False), r"only reads, and scope guard sends orders; switch on Enable Futures .*, or set scope = \"watch\"$"),
    "another address": (
        from_elsewhere,
        r"refuses the key from file with -2015: .*, may not be used from this address \(IP\)",
    ),
    "edited proof": (
        edited_proof,
        OF_ANOTHER,
    ),
}


@pytest.mark.parametrize("side", tuple(Side), ids=lambda side: side.name.lower())
@pytest.mark.parametrize("case", CASES)
async def test_a_refused_start_leaves_what_rests(case: str, side: Side) -> None:
    harm, sentence = CASES[case]
    async with house(**LIVE) as it:
        assert (await canary(it.settings, "main", Wish(position=True))).passed
        proofs.arm(it.account, it.pair, it.paths, hours=1, now_ms=now_ms())
        it.stranger("XRPUSDT", "100", side=side)
        async with opened(it.settings, "main") as desk:
            await passes(desk, 4)
        before, sent = it.resting(), len(it.its.algos) + len(it.its.orders)
        assert len(before) == 2
        harm(it)
        for begins in (opened(it.settings, "main"), opened(it.settings, "main")):  # the second time as the first
            with pytest.raises((PolicyError, GatewayError), match=sentence) as refusal:
                async with begins:
                    raise AssertionError("it was let in")
            assert "\n" not in str(refusal.value)
        assert it.resting() == before and len(it.its.algos) + len(it.its.orders) == sent
