"""Splitting a position over legs: nothing is lost, nothing is sold twice, no order is too small."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core.ladder import WHOLE, split
from qtkit.core.model import PolicyError

SHARES = st.lists(st.integers(1, WHOLE), min_size=1, max_size=8).map(lambda parts: _whole(parts))


def _whole(parts: list[int]) -> list[int]:
    shares = [part * WHOLE // sum(parts) for part in parts]
    shares[-1] += WHOLE - sum(shares)
    return shares


@given(st.integers(0, 10**9), SHARES, st.integers(1, 50))
def test_the_parts_sum_to_the_position(lots: int, shares: list[int], least: int) -> None:
    parts = split(lots, shares, least)
    assert sum(parts) == lots
    assert len(parts) == len(shares)


@given(st.integers(1, 10**6), SHARES, st.integers(1, 50))
def test_no_leg_is_under_the_minimum_unless_the_position_is(lots: int, shares: list[int], least: int) -> None:
    parts = split(lots, shares, least)
    small = [part for part in parts if 0 < part < least]
    assert not small or (lots < least and small == [lots])


@given(st.integers(1, 10**6), SHARES, st.integers(1, 50))
def test_dropped_shares_given_to_the_last_leg_split_to_the_same_lots(lots: int, shares: list[int], least: int) -> None:
    parts = split(lots, shares, least)
    final = max(index for index, share in enumerate(shares) if share)
    moved = [0 if index != final and parts[index] == 0 else share for index, share in enumerate(shares)]
    moved[final] += WHOLE - sum(moved)
    assert split(lots, moved, least) == parts


@pytest.mark.parametrize(
    "lots, shares, parts",
    [
        (1_000, (2_500, 2_500, 5_000), (250, 250, 500)),
        (3, (2_500, 2_500, 5_000), (0, 0, 3)),
        (4, (2_500, 2_500, 5_000), (1, 1, 2)),
        (1, (10_000,), (1,)),
        (7, (3_333, 3_333, 3_334), (2, 2, 3)),
        (10, (5_000, 5_000, 0), (5, 5, 0)),
        (100, (3_000, 2_000), (30, 20)),
    ],
)
def test_examples(lots: int, shares: tuple[int, ...], parts: tuple[int, ...]) -> None:
    assert split(lots, shares) == parts


def test_the_nearest_is_dropped_first() -> None:
    assert split(12, (4_500, 4_500, 1_000), 5) == (0, 5, 7)


@pytest.mark.parametrize("lots, shares", [(-1, (10_000,)), (1, (-1, 10_001)), (1, (6_000, 6_000))])
def test_nonsense_is_refused(lots: int, shares: tuple[int, ...]) -> None:
    with pytest.raises(PolicyError, match="cannot split"):
        split(lots, shares)


def test_no_legs_is_no_parts() -> None:
    assert split(5, ()) == ()
    assert split(5, (0, 0)) == (0, 0)
