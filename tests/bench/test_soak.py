"""The desk beside 20 held positions: within a quarter of the exchange's request weight, never refused, everything covered."""

from pathlib import Path

import pytest

from tests.bench.soak import BOUND, Soak, soak


def held(result: Soak) -> None:
    """What must be true of any run."""
    print("", *(f"{name}: {value}" for name, value in result.told().items()), sep="\n")
    assert result.most <= BOUND and result.refused == 0 and not result.gaps
    assert result.http.keys() == {"200"}


@pytest.mark.night
async def test_half_an_hour_at_the_default_tick(tmp_path: Path) -> None:
    held(await soak(tmp_path, seconds=1_800))


@pytest.mark.bench
async def test_a_minute_and_a_half_at_the_default_tick(tmp_path: Path) -> None:
    result = await soak(tmp_path, seconds=95)
    held(result)
    assert result.expected <= BOUND
