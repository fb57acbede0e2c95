"""Notebook runs that leave evidence: strict parameters, one child process each, a verdict, a report that asks nothing of the network.

Outside: `run_notebook("tour", {"bars": 500})`. Inside the notebook: `run = qtkit.runs.begin()`, `run.check(...)`, `run.record(...)`,
`run.verdict()`. A run's folder is `<home>/runs/<notebook>/<utc-id>/` and holds run.ipynb, report.html, params.json, verdict.json,
manifest.json and stderr.log.
"""

from qtkit.runs.parameters import Parameter, parameters_of, resolve
from qtkit.runs.pipelines import Pipeline, pipeline, run_pipeline
from qtkit.runs.record import Check, Run, Verdict, begin
from qtkit.runs.runner import Exit, RunResult, history, run_notebook
from qtkit.runs.shelves import find_notebook

__all__ = [
    "Check",
    "Exit",
    "Parameter",
    "Pipeline",
    "Run",
    "RunResult",
    "Verdict",
    "begin",
    "find_notebook",
    "history",
    "parameters_of",
    "pipeline",
    "resolve",
    "run_notebook",
    "run_pipeline",
]
