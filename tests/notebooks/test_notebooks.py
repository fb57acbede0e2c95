"""Every notebook of the project runs to a passing verdict with its defaults, and keeps the house style."""

import json
from pathlib import Path
from typing import Any

import pytest

from qtkit.runs import parameters_of, run_notebook

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
KEPT = {"tour"}  # fixed data: outputs are kept and compared

by_name = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def cells(notebook: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(notebook.read_text())["cells"]
    return rows


@by_name
def test_a_notebook_runs_to_a_passing_verdict(notebook: Path) -> None:
    result = run_notebook(notebook)
    assert result.passed, result.reason


@by_name
def test_a_notebook_keeps_the_house_style(notebook: Path) -> None:
    rows = cells(notebook)
    code = [cell for cell in rows if cell["cell_type"] == "code"]
    assert rows[0]["cell_type"] == "markdown", "the first cell tells question, inputs, artefacts and time"
    assert parameters_of(notebook) is not None and "parameters" in code[0]["metadata"].get("tags", []), "the parameters come first"
    for cell in code:
        source = "".join(cell["source"])
        assert len(source.splitlines()) <= 15, f"a cell has at most 15 lines: {source[:60]!r}"
        assert "class " not in source and "asyncio.run" not in source and "nest_asyncio" not in source
        assert "injected-parameters" not in cell["metadata"].get("tags", [])


@by_name
def test_outputs_are_kept_where_they_are_compared_and_nowhere_else(notebook: Path) -> None:
    """A notebook without outputs passes strict nbval, for nothing is compared."""
    with_outputs = any(cell.get("outputs") for cell in cells(notebook))
    assert with_outputs == (notebook.stem in KEPT)
