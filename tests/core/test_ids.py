"""Client order ids: pure, short, told apart, read back."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core.ids import client_order_id, parse_client_order_id, plan_uid
from qtkit.core.model import PolicyError, PositionSide, Side

UID = {"account": "paper", "symbol": "BTCUSDT", "position_side": PositionSide.BOTH, "side": Side.LONG, "episode": 1, "created_ms": 5}
WORD = "abcdefghijklmnopqrstuvwxyz0123456789"
TAGS, LEGS = st.text(WORD, min_size=4, max_size=4), st.text(WORD, min_size=2, max_size=2)


@given(TAGS, st.text(max_size=20), LEGS, st.integers(0, 36**6 - 1))
def test_an_id_is_short_plain_and_tells_its_tag_leg_and_revision(tag: str, uid: str, leg: str, revision: int) -> None:
    made = client_order_id(tag, uid, leg, revision)
    assert len(made) <= 32 and made == made.lower() and made.isalnum() and made.isascii()
    assert parse_client_order_id(made) == (tag, leg, revision)
    assert client_order_id(tag, uid, leg, revision) == made


def test_every_part_makes_another_id() -> None:
    base = client_order_id("qtk0", "a", "s0", 0)
    others = [("qtk1", "a", "s0", 0), ("qtk0", "b", "s0", 0), ("qtk0", "a", "s1", 0), ("qtk0", "a", "s0", 1)]
    assert len({base, *(client_order_id(*other) for other in others)}) == 5
    changes: list[dict[str, object]] = [{"account": "x"}, {"symbol": "x"}, {"position_side": PositionSide.LONG}, {"side": Side.SHORT}]
    changes += [{"episode": 2}, {"created_ms": 6}]
    assert len({plan_uid(**{**UID, **change}) for change in [{}, *changes]}) == 7  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_ids_are_equal_across_processes(seed: str) -> None:
    script = (
        "from qtkit.core.ids import *; from qtkit.core.model import *;"
        "uid = plan_uid(account='paper', symbol='BTCUSDT', position_side=PositionSide.BOTH, side=Side.LONG, episode=1, created_ms=5);"
        "print(client_order_id('qtk0', uid, 's0', 7), end='')"
    )
    made = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
    )
    assert made.stdout == client_order_id("qtk0", plan_uid(**UID), "s0", 7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "stranger",
    [
        "",
        "q1",
        "web_abcdef",
        "x-q1qtk0s0",
        "q1qtk0s0" + "a" * 18,
        "q1qtk0s0" + "a" * 18 + "001",
        "q1qtk0s0" + "1" * 18 + "00",
        "Q1qtk0s0" + "a" * 18 + "00",
        "q1qtk0s0" + "a" * 18 + "0" * 7,
        "q1qtk0s0" + "a" * 17 + "é00",
    ],
)
def test_ids_of_others_are_nobody_s(stranger: str) -> None:
    assert parse_client_order_id(stranger) is None


@pytest.mark.parametrize(
    "tag, leg, revision", [("QTK0", "s0", 0), ("qtk", "s0", 0), ("qtk0", "s", 0), ("qtk0", "s0", -1), ("qtk0", "s0", 36**6)]
)
def test_what_does_not_fit_is_refused(tag: str, leg: str, revision: int) -> None:
    with pytest.raises(PolicyError):
        client_order_id(tag, "uid", leg, revision)
