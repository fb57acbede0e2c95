"""Runs of real notebooks in real kernels: parameters, verdicts, evidence, and every way a run can end badly."""

import base64
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from qtkit import runs
from qtkit.core.model import PolicyError
from qtkit.runs import Exit, begin, history, parameters_of, pipeline, resolve, run_notebook, run_pipeline, runner
from qtkit.settings import PaperKeys, Paths

PARAMETERS = """
    symbol: str = "BTCUSDT"  # which contract
    bars: int = 200  # how many
    dry_run: bool = True
    quantity: "Decimal" = "0.10"  # exact
    step: float = 1
    side: "Literal['long', 'short']" = "long"
    symbols: list[str] = ["BTCUSDT", "ETHUSDT"]
    limit: int | None = None
    shares: dict[str, int] = {"a": 1}
"""
PASS = "run = qtkit.runs.begin()\nrun.check(True, 'two is two')\nrun.record('answer', 42)\nrun.verdict()"
FAIL = "run = qtkit.runs.begin()\nrun.check(True, 'a')\nrun.check(1 > 2, 'every position is covered')\nrun.verdict()"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a notebook: a parameters cell, then `import qtkit.runs`, then the cells given."""

    def write(*cells: str, parameters: str = "", name: str = "specimen") -> Path:
        sources = [parameters, "import qtkit.runs", *cells]
        rows = [
            {
                "cell_type": "code",
                "execution_count": None,
                "id": f"c{number}",
                "metadata": {"tags": ["parameters"]} if number == 0 else {},
                "outputs": [],
                "source": textwrap.dedent(source).strip(),
            }
            for number, source in enumerate(sources)
        ]
        path = tmp_path / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"cells": rows, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
        return path

    return write


def read(result: runs.RunResult, name: str) -> Any:
    return json.loads((result.folder / name).read_text())


def refused(call: Callable[[], object]) -> str:
    """The sentence of a refusal, after which no run folder exists."""
    with pytest.raises(PolicyError) as refusal:
        call()
    assert not list(Paths.here().runs.glob("*/*"))
    return str(refusal.value)


def processes_of(folder: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("QTKIT_RUN_DIR") == str(folder):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_a_run_leaves_evidence(write: Write) -> None:
    show = """
        from IPython.display import display
        from decimal import Decimal
        display({"image/svg+xml": "<svg id='mine'/>", "text/html": "<b>table</b>", "text/plain": "x"}, raw=True)
        (dry_run, bars, Decimal(quantity), step, symbols, limit)
    """
    record = """
        run = qtkit.runs.begin()
        run.data("bars", b"1,2,3")
        run.check(bars == 500, "bars were given")
        run.check(dry_run is False, "text was parsed by its type")
        run.record("quantity", Decimal(quantity))
        run.verdict()
    """
    notebook = write(show, record, parameters=PARAMETERS)
    result = run_notebook(notebook, {"dry_run": "false", "bars": 500, "step": 1e-05})
    assert (result.exit, result.reason, result.passed) == (Exit.OK, "all 2 checks hold", True)
    assert sorted(p.name for p in result.folder.iterdir()) == [
        "manifest.json", "params.json", "report.html", "run.ipynb", "stderr.log", "verdict.json",
    ]  # fmt: skip
    assert result.folder == Paths.here().runs / "specimen" / result.id and re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{4}", result.id)
    verdict = read(result, "verdict.json")
    assert verdict["passed"] and verdict["figures"] == {"quantity": "0.10"} and len(verdict["data"]["bars"]) == 64
    assert verdict["parameters"] == read(result, "params.json") == dict(result.parameters)
    assert result.parameters["step"] == 1e-05 and result.parameters["symbol"] == "BTCUSDT"
    assert {"python", "qtkit", "papermill"} <= verdict["versions"].keys()
    assert verdict["redaction"]["leaks"] == [] and verdict["redaction"]["files"] == 5
    assert history() == history("specimen") == (result,) and history("other") == ()
    report = (result.folder / "report.html").read_text()
    assert "default-src 'none'" in report and "id='mine'" in report and "<b>table</b>" not in report
    assert not re.search(r"""(src|href)=["']?(https?:)?//|import\(|@import""", report)


BAD_ENDS = [
    (FAIL, Exit.CHECK, "does not hold: every position is covered"),
    ("qtkit.runs.begin().verdict()", Exit.CHECK, "the notebook made no check"),
    ("1 + 1", Exit.ERROR, "the notebook gave no verdict: its last cell calls run.verdict()"),
    (f"{PASS}\nraise LookupError('no bars')", Exit.ERROR, "code cell 3: LookupError: no bars"),
    (f"{PASS}\nimport sys; sys.exit(0)", Exit.ERROR, "the notebook ended itself before its last cell"),
    (f"{PASS}\nimport os, signal; os.kill(os.getpid(), signal.SIGKILL)", Exit.KERNEL, "the kernel died"),
]


def test_how_a_run_can_end_badly(write: Write) -> None:
    notebooks = [write(cell, "'last cell'", name=f"bad{number}") for number, (cell, _, _) in enumerate(BAD_ENDS)]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run_notebook, notebooks))
    for result, (_, exit_, reason) in zip(results, BAD_ENDS, strict=True):
        assert (result.exit, result.passed) == (exit_, False), result.reason
        assert result.reason.startswith(reason)
        assert read(result, "verdict.json")["passed"] is False
        assert read(result, "manifest.json")["exit"] == exit_ == history(result.notebook)[0].exit
        assert processes_of(result.folder) == []


def test_a_hanging_run_is_ended(write: Write) -> None:
    result = run_notebook(write("import time; time.sleep(600)"), timeout=4)
    assert (result.exit, result.reason) == (Exit.TIMEOUT, "stopped: it was still running after 4 s")
    assert read(result, "verdict.json")["reason"] == result.reason
    assert processes_of(result.folder) == []


def test_what_a_run_started_ends_with_it_however_stubborn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "GRACE", 0.2)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    parent = f"""
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", {stubborn!r}], start_new_session=True, stdout=subprocess.PIPE)
        print(child.stdout.readline(), flush=True)
    """
    environ = os.environ | {"QTKIT_RUN_DIR": str(tmp_path)}
    command = [sys.executable, "-c", textwrap.dedent(parent)]
    with runner._child(command, tmp_path, stdout=subprocess.PIPE, env=environ) as child:
        assert child.stdout is not None and b"deaf" in child.stdout.readline()
        assert child.wait(30) == 0 and len(processes_of(tmp_path)) == 1
    assert processes_of(tmp_path) == []


def test_a_displayed_secret_is_overwritten_and_fails_the_run(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = PaperKeys.create(Paths.here().paper_keys())
    monkeypatch.setenv("VENUE_API_SECRET", 'venue"secret&value')
    monkeypatch.setenv("STORE_ADDRESS", "store://desk:password-of-the-store@localhost/book")
    leak = """
        import json, os, pathlib
        row = json.loads((pathlib.Path(os.environ["QTKIT_HOME"]) / "keys" / "paper.json").read_text())
        print(row, os.environ["STORE_ADDRESS"], 'venue"secret' + '&value', "VENUE_API_SECRET" in os.environ)
    """
    result = run_notebook(write(leak, PASS))
    assert result.exit is Exit.ERROR and result.reason.startswith("a secret was displayed; it was overwritten in ")
    text = b"".join(path.read_bytes() for path in result.folder.iterdir()).decode()
    for secret in (keys.api_key, keys.secret.reveal(), "password-of-the-store", 'venue\\"secret&value', 'venue"secret&amp;value'):
        assert secret not in text
    assert "[redacted] False" in text  # the kernel does not even see telling variables
    verdict = read(result, "verdict.json")
    assert not verdict["passed"] and {"run.ipynb", "report.html"} <= set(verdict["redaction"]["leaks"])


def test_a_secret_is_no_parameter(write: Write) -> None:
    keys = PaperKeys.create(Paths.here().paper_keys())
    notebook = write(PASS, parameters=PARAMETERS)
    assert "parameter symbol holds a secret" in refused(lambda: run_notebook(notebook, {"symbol": keys.api_key}))


def test_parameters_are_read_without_running_the_cell(write: Write) -> None:
    found = parameters_of(write(parameters=PARAMETERS))
    assert [(p.name, p.annotation, p.help) for p in found][:4] == [
        ("symbol", "str", "which contract"), ("bars", "int", "how many"), ("dry_run", "bool", ""), ("quantity", "Decimal", "exact"),
    ]  # fmt: skip
    assert resolve(found, {}) == {
        "symbol": "BTCUSDT", "bars": 200, "dry_run": True, "quantity": "0.10", "step": 1, "side": "long",
        "symbols": ["BTCUSDT", "ETHUSDT"], "limit": None, "shares": {"a": 1},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "given_", "value"),
    [
        ("dry_run", "false", False), ("dry_run", "True", True), ("symbol", "007", "007"), ("symbol", "1e5", "1e5"),
        ("bars", "12", 12), ("quantity", "0.10", "0.10"), ("quantity", Decimal("0.10"), "0.10"), ("quantity", 1, "1"),
        ("step", "1e5", 100_000.0), ("step", 2, 2.0), ("side", "short", "short"), ("symbols", "A, B", ["A", "B"]),
        ("symbols", '["A"]', ["A"]), ("symbols", ("A",), ["A"]), ("symbols", "", []), ("limit", "none", None), ("limit", "5", 5),
        ("limit", None, None), ("shares", '{"b": 2}', {"b": 2}), ("shares", {"b": "2"}, {"b": 2}),
    ],
)  # fmt: skip
def test_values_are_parsed_by_the_annotated_type(write: Write, name: str, given_: object, value: object) -> None:
    found = resolve(parameters_of(write(parameters=PARAMETERS)), {name: given_})[name]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"simbol": "X"}, "no parameter 'simbol'; did you mean 'symbol'?"),
        ({"symbol = 1; evil": "X"}, "no parameter 'symbol = 1; evil'"),
        ({"dry_run": "0"}, "parameter dry_run is bool, got '0'"),
        ({"dry_run": 0}, "parameter dry_run is bool, got 0"),
        ({"bars": True}, "parameter bars is int, got True"),
        ({"bars": "1e5"}, "parameter bars is int, got '1e5'"),
        ({"bars": 2.0}, "parameter bars is int, got 2.0"),
        ({"symbol": 7}, "parameter symbol is str, got 7"),
        ({"quantity": 0.1}, "an exact decimal is written in quotes"),
        ({"quantity": "NaN"}, "parameter quantity is Decimal, got 'NaN'"),
        ({"step": "inf"}, "parameter step is float, got 'inf'"),
        ({"side": "both"}, "parameter side is Literal['long', 'short'], got 'both'"),
        ({"symbols": [1]}, "parameter symbols is list[str], got [1]"),
        ({"symbols": 3}, "parameter symbols is list[str], got 3"),
        ({"limit": "soon"}, "parameter limit is int | None, got 'soon'"),
        ({"shares": "[1]"}, "parameter shares is dict[str, int]"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_starts(write: Write, given_: dict[str, object], message: str) -> None:
    notebook = write(PASS, parameters=PARAMETERS)
    assert message in refused(lambda: run_notebook(notebook, given_))


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("x = 1", "line 1 of the parameters cell is not of the form"),
        ("x: int = 1\nprint(x)", "line 2 of the parameters cell is not of the form"),
        ("x: int", "is not of the form"),
        ("x: int = 1 + y", "a literal is needed"),
        ("x: set = {1}", "a literal is needed, and as its type one of bool"),
        ("x: int | str = 1", "a literal is needed, and as its type one of bool"),
        ("x: int = '1'", "the default of parameter x is '1', its type is int"),
        ("x: bool = 'false'", "the default of parameter x is 'false', its type is bool"),
        ("x: 'Decimal' = 1", "an exact decimal is written in quotes"),
        ("x: str = 1", "parameter x is str, got 1"),
        ("x: int = (", "does not parse"),
    ],
)
def test_a_parameters_cell_is_annotated_literals_only(write: Write, cell: str, message: str) -> None:
    assert message in refused(lambda: run_notebook(write(PASS, parameters=cell)))


def test_what_is_no_notebook_is_refused(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = write(PASS)
    rows = json.loads(notebook.read_text())
    rows["cells"][1]["metadata"]["tags"] = ["parameters"]
    notebook.write_text(json.dumps(rows))
    assert "2 code cells have the tag 'parameters'" in refused(lambda: run_notebook(notebook))
    notebook.write_text("{}")
    assert "not a notebook" in refused(lambda: run_notebook(notebook))
    monkeypatch.chdir(tmp_path)
    assert "did you mean 'specimen'?" in refused(lambda: run_notebook("specimne"))


@given(st.dictionaries(st.sampled_from("abc"), st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.integers()))
def test_yaml_carries_every_value_unchanged(values: dict[str, object]) -> None:
    encoded = base64.b64encode(yaml.safe_dump(values).encode())
    assert yaml.safe_load(base64.b64decode(encoded)) == values


def test_a_pipeline_runs_its_notebook(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(PASS, parameters=PARAMETERS).parent)
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "nightly.toml").write_text('notebook = "specimen"\ntimeout = 60\n[parameters]\nquantity = "0.20"\n')
    assert pipeline("nightly").timeout == 60
    result = run_pipeline("nightly")
    assert result.passed and result.parameters["quantity"] == "0.20" and result.figures == {"answer": 42}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("notebok = 'specimen'", "bad.toml: no field 'notebok'; did you mean 'notebook'?"),
        ("timeout = 3", "bad.toml: it needs notebook"),
        ("notebook = 'specimen'\ntimeout = 0", "bad.toml: timeout is whole seconds"),
        ("notebook = 'specimen'\n[parameters]\nbarz = 3", "bad.toml: no parameter 'barz'; did you mean 'bars'?"),
        ("notebook = 'specimen'\n[parameters]\nbars = 0.1", "bad.toml: parameter bars is int"),
        ("notebook = ", "bad.toml: "),
    ],
)
def test_a_wrong_pipeline_is_refused(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    monkeypatch.chdir(write(parameters=PARAMETERS).parent)
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "bad.toml").write_text(text)
    assert message in refused(lambda: run_pipeline("bad"))


def test_outside_a_run_the_verdict_is_only_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = begin()
    assert repr(run.check(True, "covered")) == "ok     covered"
    run.record("gap", Decimal("0.0"))
    assert repr(run.verdict()) == "PASS: 1 of 1 checks hold\n  ok     covered\n  gap = 0.0"
    run.check(False, "trailing")
    assert repr(run.verdict()).startswith("FAIL: 1 of 2 checks hold")
    assert not begin().verdict().passed
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"x"])
def test_a_figure_is_what_json_carries(value: object) -> None:
    with pytest.raises(PolicyError, match="figure 'x'"):
        begin().record("x", [value])


def test_one_figure_one_value_and_no_text_for_truth() -> None:
    run = begin()
    run.record("x", 1)
    with pytest.raises(PolicyError, match="recorded already"):
        run.record("x", 2)
    with pytest.raises(PolicyError, match="True or False is needed, got 'false'"):
        run.check("false", "covered")
