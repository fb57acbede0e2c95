"""What the README says of the paper exchange runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from qtkit.cli import app
from qtkit.commands import paper as command
from qtkit.paper.deeds import DEEDS
from tests.cli_rig import ROOT, exchange

SECTION = (ROOT / "README.md").read_text().partition("\n## The paper exchange\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
COMMANDS = sorted(set(re.findall(r"`(qtkit paper --[^`]+)`", SECTION)))


def test_the_examples_run_against_a_served_exchange(tmp_path: Path) -> None:
    assert len(BLOCKS) == 2
    with exchange(tmp_path) as env:
        base = env["QTKIT_ACCOUNTS__PAPER__BASE_URL"].removeprefix("http://")
        for block in BLOCKS:
            code = block.replace("127.0.0.1:8560", base).replace('".qtkit', f'"{env["QTKIT_HOME"]}')
            done = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            assert done.stdout
        assert "BTCUSDT SHORT 0.39 0 % by the desk's stops, 100 % by others'" in done.stdout and "it is 1" in done.stdout


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the README's commands name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bars").mkdir()
    time = pl.datetime_range(pl.datetime(2025, 6, 1), pl.datetime(2025, 6, 2), "1m", time_unit="ms", time_zone="UTC", eager=True)
    bars = pl.DataFrame({"time": time, **{name: [100.0] * len(time) for name in ("open", "high", "low", "close", "volume")}})
    bars.write_parquet(tmp_path / "bars" / "BTCUSDT.parquet")
    ticks = pl.DataFrame({"symbol": ["BTCUSDT"] * 2, "time": time[:2], "id": [1, 2], "price": [100.0, 100.1], "bid": [99.9, 100.0]})
    ticks.write_parquet(tmp_path / "trades.parquet")
    ticks.with_columns(ask=pl.col("price")).write_parquet(tmp_path / "quotes.parquet")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_are_understood_and_their_prices_are_there(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[command._Asked] = []

    async def taken(it: command._Asked) -> None:
        asked.append(it)

    monkeypatch.setattr(command, "_run", taken)
    done = CliRunner().invoke(app, line.removeprefix("qtkit ").split())
    assert done.exit_code == 0, done.output
    if asked[0].live is None and asked[0].resume is None:
        assert list(asked[0].recipe.ticks(asked[0].recipe.tape()))[:1] if asked[0].recipe.recorded else asked[0].recipe.tape().symbols


def test_every_command_of_the_control_endpoint_is_told() -> None:
    table = SECTION.partition("| command | particulars |")[2].partition("\n\n")[0]
    assert set(DEEDS) <= set(re.findall(r"`([a-z-]+)`", table))
    for name, deed in DEEDS.items():
        row = next(line for line in table.splitlines() if f"`{name}`" in line)
        if name not in ("order", "cancel"):
            assert all(f"`{field}`" in row for field in deed.takes.model_fields if field not in ("conditional", "client_prefix")), name
