"""Runs as definitions: `pipelines/<name>.toml` names a notebook, its parameters and the time it may take."""

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from qtkit.core.model import PolicyError
from qtkit.core.names import suggestion
from qtkit.runs.parameters import parameters_of, resolve
from qtkit.runs.runner import TIMEOUT, RunResult, run_notebook
from qtkit.runs.shelves import find, find_notebook

FIELDS = ("notebook", "parameters", "timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """One scheduled run. ``timeout`` is in seconds of wall time; ``parameters`` is the full set, defaults included."""

    name: str
    notebook: Path
    parameters: dict[str, Any]
    timeout: int


def pipeline(name_or_path: str | Path) -> Pipeline:
    """Read and check a definition, against the notebook that it names. Raises `PolicyError`; nothing is started."""
    path = find("pipelines", name_or_path, ".toml")
    try:
        row = tomllib.loads(path.read_text(), parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{path.name}: {error}") from None
    for key in row:
        if key not in FIELDS:
            raise PolicyError(f"{path.name}: no field {key!r}; {suggestion(key, FIELDS)}")
    notebook, given, timeout = row.get("notebook"), row.get("parameters", {}), row.get("timeout", TIMEOUT)
    if not isinstance(notebook, str) or not isinstance(given, dict):
        raise PolicyError(f'{path.name}: it needs notebook = "name", and its parameters in a table [parameters]')
    if type(timeout) is not int or timeout < 1:
        raise PolicyError(f"{path.name}: timeout is whole seconds, at least 1, got {timeout!r}")
    found = find_notebook(notebook)
    try:
        parameters = resolve(parameters_of(found), given)
    except PolicyError as error:
        raise PolicyError(f"{path.name}: {error}") from None
    return Pipeline(name=path.stem, notebook=found, parameters=parameters, timeout=timeout)


def run_pipeline(name_or_path: str | Path) -> RunResult:
    """Run a definition once."""
    chosen = pipeline(name_or_path)
    return run_notebook(chosen.notebook, chosen.parameters, chosen.timeout)
