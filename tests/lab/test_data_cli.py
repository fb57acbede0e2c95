"""``qtkit data download`` as people type it: what it prints, and one sentence for each wrong word."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli_rig import ROOT, Run, environ, qtkit
from tests.lab.data_rig import exchange_with, made_bars, serving
from tests.test_cli import one_sentence

BTC = "BTCUSDT"


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a home whose paper account is a served exchange with three days of bars."""
    with serving(exchange_with({BTC: made_bars(BTC)})) as server:
        yield environ(tmp_path_factory.mktemp("data") / "home", server.base)


def test_a_line_for_each_series(run: Run, env: dict[str, str], tmp_path: Path) -> None:
    line = ("data", "download", "btcusdt", "--from", "2026-01", "--kind", "bars,mark", "--account", "paper", "--folder", str(tmp_path))
    status, out, err = run(*line, env=env)
    assert status == 0 and err == ""
    first, second = out.splitlines()
    assert first == (
        "BTCUSDT bars: 4,476 rows, 4,476 new, 2026-01-30 06:00 to 2026-02-02 11:59, 3 gaps of 204 min together, the largest 200 min from "
        f"2026-01-31 15:20; it begins later than asked (2026-01-01 00:00); in {tmp_path / 'bars' / BTC}"
    )
    assert second.startswith("BTCUSDT mark: 4,476 rows")
    (told, _) = json.loads(run(*line, "--json")[1])
    assert (told["rows"], told["new_rows"], told["gaps"], told["missing"], told["largest_minutes"]) == (4_476, 0, 3, 204, 200)
    assert told["first"] == "2026-01-30 06:00:00+00:00" and told["folder"] == str(tmp_path / "bars" / BTC)
    status, out, _ = run("data", "check", str(tmp_path), "--tick", "0.1")
    assert status == 0 and f"{tmp_path / 'bars' / BTC}: 4,476 bars of 1m" in out and "prices on 0.1" in out
    status, out, _ = run(*line[:3], "--from", "2026-01-02", "--to", "2026-01-03", *line[7:])
    assert status == 0 and out == "BTCUSDT bars: the exchange has none from 2026-01-02 00:00 to 2026-01-04 00:00\n"


WRONG = [
    (("BTCUSD", "--from", "2026-01"), "binanceusdm has no contract 'BTCUSD': did you mean 'BTCUSDT'?"),
    (("btc", "--from", "2026-01"), "binanceusdm has no contract 'btc': did you mean 'BTCUSDT'?"),
    (("XYZQ", "--from", "2026-01"), "binanceusdm has no contract 'XYZQ': it has 11 contracts, such as ADAUSDT, AVAXUSDT, "),
    ((BTC, "--from", "2026-13"), "'2026-13' is no time; write 2024-01, 2024-01-15 or 2024-01-15T12:00"),
    ((BTC, "--from", "last week"), "'last week' is no time"),
    ((BTC, "--from", "2026-02", "--to", "2026-01"), "begins 2026-02-01 00:00 and ends 2026-02-01 00:00; give a --to after --from"),
    ((BTC, "--from", "2026-03"), "BTCUSDT: nothing is over yet from 2026-03-01 00:00 UTC on; give an earlier --from"),
    ((BTC, "--from", "2026-01", "--kind", "bar"), "there is no kind 'bar': did you mean 'bars'?"),
    ((BTC, "--from", "2026-01", "--kind", ""), "name at least one symbol, as BTCUSDT, and one kind: bars, mark or funding"),
    ((BTC, "--from", "2026-01", "--timeframe", "1min"), "there are no bars of '1min': did you mean '1m'?"),
    ((BTC, "--from", "2026-01", "--exchange", "bybit"), "account paper is on binanceusdm, not on bybit; give --exchange or --account"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_a_wrong_word_is_one_sentence(run: Run, env: dict[str, str], tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    one_sentence(run("data", "download", *words, "--account", "paper", "--folder", str(tmp_path / "out"), env=env), message)
    assert not list(tmp_path.rglob("*.parquet"))


def test_what_needs_no_exchange_to_be_wrong(run: Run, tmp_path: Path) -> None:
    """None of these asks the network: they are told at once."""
    line = ("data", "download", BTC, "--from", "2026-01")
    one_sentence(run(*line, "--exchange", "binance"), "nothing is downloaded from 'binance': did you mean 'binanceusdm'?")
    one_sentence(run(*line, "--exchange", "okx", "--kind", "bars,mark"), "mark is downloaded from binanceusdm only; of okx ask for bars")
    one_sentence(run(*line, "--account", "papre"), "there is no account 'papre': did you mean 'paper'?")
    one_sentence(
        run(*line, "--account", "trial", env={"QTKIT_ACCOUNTS__TRIAL__KIND": "demo"}),
        "account trial is a demo, whose prices are its own; leave --account out to load those of binanceusdm",
    )
    (tmp_path / "file").touch()
    for folder in ("file", "file/below"):
        one_sentence(run(*line, "--folder", str(tmp_path / folder)), "; give a folder of your own with --folder")


def test_a_folder_without_permission(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: mode == os.R_OK)
    message = f"{tmp_path} cannot be written (permission denied); give a folder of your own with --folder"
    one_sentence(run("data", "download", BTC, "--from", "2026-01", "--folder", str(tmp_path)), message)


def test_nothing_heavy_is_imported_for_the_help() -> None:
    """The help of every command comes at once: neither the client library nor the frames are loaded for it."""
    heavy = "print(sorted({'ccxt', 'polars', 'rich.progress'} & set(sys.modules)))"
    code = f"import sys; from qtkit.cli import main; main(['data', 'download', '--help']); {heavy}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_silence_of_the_exchange_is_told_while_it_is_waited_for(tmp_path: Path) -> None:
    code = (
        "import sys; from qtkit.lab import download, pages; from qtkit.cli import main\n"
        "download.Pace = lambda: pages.Pace(sleep=lambda seconds: None)\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    line = ("data", "download", BTC, "--from", "2026-01", "--account", "paper", "--folder", str(tmp_path / "out"))
    done = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, timeout=60, env=environ(tmp_path / "home"))
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and len(lines) == 6 and lines[0].startswith("binanceusdm contracts: waiting 1 s: NetworkError")
    assert lines[-1].endswith("see whether `qtkit paper` runs at http://127.0.0.1:9, and run the same again: it goes on where this ended")


def test_the_readme_names_options_that_there_are(run: Run) -> None:
    section = (ROOT / "README.md").read_text().partition("\n## Data for research\n")[2].partition("\n## ")[0]
    helps = " ".join(run("data", command, "--help")[1] for command in ("download", "check")) + run("paper", "--help")[1]
    options = set(re.findall(r"--[a-z]+", section))
    assert len(options) >= 6 and not {option for option in options if option not in helps}


def test_help_says_what_to_type(tmp_path: Path) -> None:
    done = qtkit("data", "--help", env=environ(tmp_path / "home"))
    assert done.returncode == 0 and "download" in done.stdout and "check" in done.stdout
