"""From the lab to live on the command line, against a real exchange and a real desk process: shown, asked, done, kept, taken back."""

import json
from pathlib import Path

import pytest

from qtkit.core.distance import InBps
from qtkit.core.model import Bps
from qtkit.core.policy import ExitPolicy, StageRule, TargetRule, TightenRule, TrailRule
from qtkit.policyfile import PolicyFile, save
from tests.cli_rig import Run, desk, exchange, qtkit
from tests.test_cli import ledger

SYMBOL = "SOLUSDT"
BEST = ExitPolicy(
    name="best",
    stop=InBps(Bps(120)),
    targets=(TargetRule(at=InBps(Bps(400)), share=Bps(4_000)),),
    trail=TrailRule(
        activation=InBps(Bps(200)),
        callback=InBps(Bps(100)),
        share=Bps(6_000),
        tightening=(TightenRule(at=InBps(Bps(600)), callback=Bps(50)),),
    ),
    stages=(StageRule(at=Bps(150), to=None),),
    break_even_after=1,
    max_hold_ms=36 * 3_600_000,
)


@pytest.fixture
def best(tmp_path: Path) -> str:
    save(tmp_path / "best.toml", PolicyFile(policy=BEST, provenance={"period": "2022-2023", "out_of_sample": {"net_bps": 12.5}}))
    return str(tmp_path / "best.toml")


def strategy(run: Run, symbol: str) -> str:
    return next(line["strategy"] for line in ledger(run)["lines"] if line["symbol"] == symbol)  # type: ignore[attr-defined]


def test_from_a_file_to_a_running_desk_and_through_a_restart(run: Run, tmp_path: Path, best: str) -> None:
    with exchange(tmp_path, "--incident") as env:
        with desk(env):
            for _ in range(100):
                if run("check", env=env)[0] == 0:
                    break
            before = strategy(run, SYMBOL)
            asked = qtkit("policy", "use", best, "--symbols", f"{SYMBOL},XRPUSDT", "--open", env=env)
            assert asked.returncode == 1 and "Do it?" in asked.stdout and "Abort" in asked.stderr
            assert f"{SYMBOL}: new plans by best, instead of the profile of the market's regime" in asked.stdout
            assert f"{SYMBOL} SHORT is planned anew by best" in asked.stdout and "create" in asked.stdout
            assert "used by no symbol" not in run("policy", "list")[1] and strategy(run, SYMBOL) == before

            status, out, _ = run("policy", "use", best, "--symbols", f"{SYMBOL.lower()}, XRPUSDT", "--yes")
            assert status == 0 and out.startswith("done: SOLUSDT: new plans by") and "account paper: paper" in out
            assert strategy(run, SYMBOL) == before
            assert run("signal", "XRPUSDT", "--side", "long", "--dry-run")[1].count("policy best")
            status, out, _ = run("policy", "list")
            assert status == 0 and out.splitlines()[0].split(maxsplit=1) == ["best", f"{SYMBOL}, XRPUSDT"] and "scaled_tp" in out
            assert run("set", "ADAUSDT", "--policy", "best", "--yes")[0] == 0
        with desk(env):
            assert run("signal", "XRPUSDT", "--side", "short", "--dry-run")[1].count("policy best")
            status, out, _ = run("policy", "use", "best", "--symbols", SYMBOL, "--open", "--yes")
            assert status == 0 and "new plans by best, as now" in out
            for _ in range(100):
                if strategy(run, SYMBOL) == "best":
                    break
            assert strategy(run, SYMBOL) == strategy(run, "ADAUSDT") == "best"
            assert run("policy", "drop", "best", "--symbols", "XRPUSDT", "--yes")[0] == 0
            assert "policy best" not in run("signal", "XRPUSDT", "--side", "long", "--dry-run")[1]
            status, _, err = run("policy", "drop", "bets", "--yes")
            assert status == 1 and "did you mean 'best'" in err


def test_without_a_desk_it_counts_from_the_next_one(run: Run, tmp_path: Path, best: str) -> None:
    with exchange(tmp_path, "--incident") as env:
        status, _, err = run("policy", "use", best, "--symbols", "SOLUSD", "--yes", env=env)
        assert status == 1 and "did you mean 'SOLUSDT'" in err
        status, out, _ = run("policy", "use", best, "--symbols", SYMBOL, "--yes")
        assert status == 0 and "no desk runs: the next one goes by it" in out and "not known" not in out
        assert not (tmp_path / "home" / "accounts" / "paper" / "journal.sqlite").exists(), "nothing was traded or journaled for it"
        with desk(env):
            assert strategy(run, SYMBOL) == "best" != strategy(run, "ADAUSDT")
        status, out, _ = run("policy", "use", "best", "--symbols", "ADAUSDT", "--open", "--yes")
        assert status == 0 and "ADAUSDT SHORT is planned anew by best" in out and "no desk runs" not in out
        assert strategy(run, "ADAUSDT") == "best"
        (tmp_path / "home" / "policies" / "best.toml").write_text("name = ")
        status, out, _ = run("check")
        assert f"{SYMBOL}: new plans go by its profile, not by best" in out
        status, out, _ = run("policy", "list")
        assert status == 0 and f"{SYMBOL}: new plans go by its profile, not by best" in out
        with desk(env):
            assert all(line["gap"] == "0" for line in ledger(run)["lines"])  # type: ignore[attr-defined]
            assert f"{SYMBOL}: new plans go by its profile" in "".join(json.loads(run("check", "--json")[1])["alarms"])
        assert run("policy", "drop", "best", "--yes")[0] == 0


def test_without_an_exchange_it_is_noted_and_says_what_it_does_not_know(run: Run, best: str) -> None:
    status, out, _ = run("policy", "use", best, "--symbols", SYMBOL, "--yes")
    assert status == 0 and "whether the exchange trades these symbols is not known" in out
    assert run("policy", "use", best, "--symbols", SYMBOL, "--open", "--yes")[0] == 1


def test_a_policy_is_shown(run: Run, best: str) -> None:
    status, out, _ = run("policy", "show", best)
    assert status == 0
    assert out.splitlines() == [
        "best",
        "     6% | trail 0.5 % behind the best price",
        "     4% | target 1: close 40 %, then stop to break-even",
        "     2% | trail 1 % behind the best price, 60 %, in steps of 0.1 %",
        "   1.5% | stop to break-even",
        "  entry |",
        "  -1.2% | stop: all of the position",
        "  closed after 36 h; stops trigger by the mark price and stay 0.25 % away from liquidation",
        'period: "2022-2023"',
        "out_of_sample: { net_bps = 12.5 }",
    ]
    assert "-6atr (3-10 %, else 5 %) | stop of a position that somebody else opened" in run("policy", "show", "staged")[1]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["show", "stagd"], "there is no exit policy 'stagd': did you mean 'staged'?"),
        (["show", "none.toml"], "none.toml: there is no such file"),
        (["use", "staged", "--symbols", SYMBOL, "--yes"], "staged is built in, no file; a profile of qtkit.toml names it"),
        (["use", "BAD", "--symbols", SYMBOL, "--yes"], "bad.toml: stopp: there is no such key; did you mean 'stop'?"),
        (["use", "BEST", "--symbols", ",", "--yes"], "no symbol is named; say which: --symbols BTCUSDT,ETHUSDT"),
        (["drop", "best", "--yes"], "no symbol uses 'best': none uses a policy of its own"),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_one_sentence(run: Run, tmp_path: Path, best: str, command: list[str], told: str) -> None:
    (tmp_path / "bad.toml").write_text('name = "bad"\nstopp = "2%"\n')
    given = {"BAD": str(tmp_path / "bad.toml"), "BEST": best}
    status, out, err = run("policy", *(given.get(word, word) for word in command))
    assert status == 1 and told in err and err.count("\n") == 1 and out == ""
    assert not (tmp_path / "home" / "policies").exists()
