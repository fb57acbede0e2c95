"""Every notebook of the project runs to a passing verdict with its defaults, and keeps the house style."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from qtkit.apply import wall_ms as now_ms
from qtkit.core.model import E8, ONE
from qtkit.desk import opened
from qtkit.endpoint import served
from qtkit.paper import scene
from qtkit.paper.clock import Pump
from qtkit.paper.exchange import Exchange
from qtkit.paper.server import PaperServer
from qtkit.paper.synthetic import synthetic_tape
from qtkit.runs import Exit, parameters_of, pipeline, run_notebook, run_pipeline
from qtkit.settings import PaperKeys, Paths
from qtkit.venue.gateway import Unavailable

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DEFINITIONS = sorted((ROOT / "pipelines").glob("*.toml"))
KEPT = {"tour", "exit_sweep", "excursions", "parity", "policy_card", "walk_forward"}  # fixed data: outputs are kept and compared
ASKS_OUTSIDE = r"""(src|href)=["']?(https?:)?//|import\(|@import|url\(["']?(https?:)?//"""

by_name = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def cells(notebook: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(notebook.read_text())["cells"]
    return rows


@by_name
def test_a_notebook_runs_to_a_passing_verdict(notebook: Path) -> None:
    result = run_notebook(notebook)
    assert result.passed, result.reason
    assert not re.search(ASKS_OUTSIDE, (result.folder / "report.html").read_text()), "the report asks something of the network"


@by_name
def test_a_notebook_keeps_the_house_style(notebook: Path) -> None:
    rows = cells(notebook)
    code = [cell for cell in rows if cell["cell_type"] == "code"]
    assert rows[0]["cell_type"] == "markdown", "the first cell tells question, inputs, artefacts and time"
    assert all(word in "".join(rows[0]["source"]) for word in ("**Question.**", "**Inputs.**", "**Artefacts.**", "**Time.**"))
    assert parameters_of(notebook) is not None and "parameters" in code[0]["metadata"].get("tags", []), "the parameters come first"
    assert all(parameter.help for parameter in parameters_of(notebook)), "the comment of a parameter is its help"
    assert "".join(code[-1]["source"]).endswith("run.verdict()"), "the last cell gives the verdict"
    for cell in code:
        source = "".join(cell["source"])
        assert len(source.splitlines()) <= 15, f"a cell has at most 15 lines: {source[:60]!r}"
        assert "class " not in source and "asyncio.run" not in source and "nest_asyncio" not in source
        assert "injected-parameters" not in cell["metadata"].get("tags", [])
        assert not re.search(r"ccxt|gateway|PaperKeys|api_key|secret|\.place\(", source), "a kernel holds no key and sends no order"


@by_name
def test_outputs_are_kept_where_they_are_compared_and_nowhere_else(notebook: Path) -> None:
    """A notebook without outputs passes strict nbval, for nothing is compared."""
    with_outputs = any(cell.get("outputs") for cell in cells(notebook))
    assert with_outputs == (notebook.stem in KEPT)


@by_name
def test_a_notebook_is_kept_without_what_changes_from_run_to_run(notebook: Path) -> None:
    whole = json.loads(notebook.read_text())
    assert whole["metadata"]["kernelspec"]["name"] == "python3" and set(whole["metadata"]) == {"kernelspec", "language_info"}
    for cell in whole["cells"]:
        assert set(cell["metadata"]) <= {"tags"}, "no timings"
        if cell["cell_type"] == "code":
            assert (cell["execution_count"] is not None) == (notebook.stem in KEPT), "strict nbval refuses outputs without a count"
            assert not any(output.get("name") == "stderr" or output["output_type"] == "error" for output in cell["outputs"])


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda path: path.stem)
def test_a_definition_names_a_notebook_and_fits_its_parameters(definition: Path) -> None:
    assert pipeline(definition).notebook in NOTEBOOKS
    assert definition.stem not in {notebook.stem for notebook in NOTEBOOKS}, "`qtkit run NAME` would run the notebook instead"


@pytest.mark.night
@pytest.mark.parametrize("name", [path.stem for path in DEFINITIONS if path.stem not in ("audit", "weekly_canary")])
def test_a_definition_runs_to_a_passing_verdict(name: str) -> None:
    result = run_pipeline(name)
    assert result.passed, result.reason


# -- the live check -------------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def incident(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A served paper exchange with the incident's five naked positions, and prices that go on."""
    paths = Paths.here()
    keys = PaperKeys.create(paths.paper_keys("paper"))
    start_ms = now_ms() // 60_000 * 60_000
    tape = synthetic_tape(7, scene.HOURS, start_ms=start_ms, starts=scene.incident_starts())
    exchange = Exchange(seed=7, start_ms=start_ms)
    account = exchange.open_account("paper", balance=E8(100_000 * ONE))
    scene.prepare(exchange, tape)
    scene.open_incident(exchange, account, scene.incident_entries())
    server = PaperServer(exchange, keys={keys.api_key: (keys.secret.reveal(), "paper")})
    port = await server.start()
    monkeypatch.setenv("QTKIT_ACCOUNTS__PAPER__BASE_URL", f"http://127.0.0.1:{port}")
    try:
        async with Pump(exchange, tape):
            yield
    finally:
        await server.stop()


async def audit(**parameters: object) -> Any:
    return await asyncio.to_thread(run_notebook, "live_check", parameters)


async def test_the_live_check_fails_on_naked_positions_and_passes_once_a_desk_has_covered_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async with incident(monkeypatch):
        bare = await audit()
        assert bare.exit is Exit.CHECK and bare.figures["naked"] == 5 and not bare.figures["desk_runs"]
        assert "AVAXUSDT: something covers it; nothing does" in bare.reason and "no desk runs for account paper" in bare.reason
        async with opened() as desk, served(desk):
            stop = asyncio.Event()
            running = asyncio.create_task(desk.run(stop))
            while len(lines := desk.monitor.health.coverage) < 5 or any(line.gap for line in lines):
                await asyncio.sleep(0.1)
            covered = await audit(require_desk=True)

            async def refuses() -> None:
                raise Unavailable("what is left of the request budget is kept for protection; ask again in 31 s")

            with monkeypatch.context() as patch:
                patch.setattr(desk.monitor, "preview", refuses)
                busy = await audit(require_desk=True)
            assert busy.passed, "a desk with much to do is no finding"
            assert "Not previewed: what is left of the request budget" in (busy.folder / "report.html").read_text()
            stop.set()
            await running
        assert covered.passed, covered.reason
        assert covered.figures["positions"] == 5 and covered.figures["naked"] == 0 and covered.figures["orders_ours"] >= 10
        assert float(covered.figures["at_risk_usdt"]) > 0


@pytest.mark.parametrize("name", ["live_check", "canary"])
def test_without_a_name_the_account_of_the_home_is_meant(name: str, own_home: Path) -> None:
    own_home.mkdir(mode=0o700, exist_ok=True)
    (own_home / "qtkit.toml").write_text('[accounts.fut]\nbase_url = "http://127.0.0.1:9"\n')
    result = run_notebook(name)
    report = (result.folder / "report.html").read_text()
    assert result.passed and "keys/fut.json" in report and "there is no account" not in report, result.reason


def test_a_scheduled_live_check_is_not_green_where_there_is_nothing_to_check() -> None:
    scheduled = run_pipeline("audit")
    assert scheduled.exit is Exit.CHECK and scheduled.figures["audited"] is False
    assert "Nothing was audited, for no desk runs here and the exchange could not be read" in scheduled.reason
