"""Commands around the desk: ``run`` for notebooks, ``demo``, ``config``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from qtkit.runs import RunResult


def run(
    name: Annotated[str, typer.Argument(metavar="NOTEBOOK|DEFINITION", help="Name or path: notebooks/NAME.ipynb or pipelines/NAME.toml.")],
    parameter: Annotated[list[str] | None, typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="May be repeated.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds the run may take; default: the definition's, else 600.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Run a notebook or a definition and keep its evidence. Evidence: executed notebook, report, verdict.

    Exit status 0: all checks hold; 1: it failed; 2: wrong parameters, nothing was started; 3: a check does not hold; 124: time was up.

    Examples: `qtkit run tour`, `qtkit run sweep -p bars=500 -p symbol=BTCUSDT`, `qtkit run pipelines/nightly.toml`
    """
    from qtkit.core.model import PolicyError

    try:
        result = _run(name, _parameters(parameter or []), timeout)
    except PolicyError as error:
        raise typer.BadParameter(str(error), param_hint=name) from None
    if as_json:
        figures = {"figures": dict(result.figures), "parameters": dict(result.parameters)}
        told = {"id": result.id, "notebook": result.notebook, "exit": int(result.exit), "reason": result.reason}
        print(json.dumps({**told, "seconds": result.seconds, "folder": str(result.folder), **figures}, indent=1))
    else:
        print(f"{result.notebook}: {result.reason} ({result.seconds:.1f} s)")
        for figure, value in result.figures.items():
            print(f"  {figure} = {value}")
        print(f"evidence: {result.folder}")
    raise typer.Exit(int(result.exit))


def _parameters(given: list[str]) -> dict[str, object]:
    from qtkit.core.model import PolicyError

    for text in given:
        if "=" not in text:
            raise PolicyError(f"a parameter is NAME=VALUE, got '{text}'")
    return {name: value for name, _, value in (text.partition("=") for text in given)}


def _run(name: str, given: dict[str, object], timeout: float | None) -> "RunResult":
    """A notebook; of a name that no notebook has, or of a .toml file, the definition with its parameters overridden."""
    from qtkit.core.model import PolicyError
    from qtkit.runs import find_notebook, pipeline, run_notebook
    from qtkit.runs.runner import TIMEOUT

    if not name.endswith(".toml"):
        try:
            notebook = find_notebook(name)
        except PolicyError as missing:
            if name.endswith(".ipynb"):
                raise
            try:
                pipeline(name)
            except PolicyError as second:
                raise PolicyError(f"{missing}; {second}") from None
        else:
            return run_notebook(notebook, given, timeout or TIMEOUT)
    chosen = pipeline(name)
    return run_notebook(chosen.notebook, {**chosen.parameters, **given}, timeout or chosen.timeout)


def demo(
    data: Annotated[Path | None, typer.Option(help="Folder of parquet bars to replay instead of made prices.")] = None,
    window: Annotated[str, typer.Option(help="Stretch of --data: fall, rise, range or a time; default: falls and two rises.")] = "",
    hours: Annotated[float, typer.Option(min=0.1, max=24.0, help="Length of the story on the exchange's clock.")] = 1.0,
    hedge: Annotated[bool, typer.Option("--hedge", help="Hedge mode.")] = False,
    symbols: Annotated[str, typer.Option(help="Symbols of --data, with commas.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the made prices.")] = 7,
    tick: Annotated[float | None, typer.Option(help="Seconds between passes of the desk.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ledger as JSON.")] = False,
) -> None:
    """Show the whole thing in minutes. The incident's positions, the desk that covers them, what an hour of prices does.

    Needs no keys and no network. Examples: `qtkit demo`, `qtkit demo --data bars --window fall --hours 6`, `qtkit demo --json`
    """
    from qtkit.demo import main

    given = tuple(name.strip().upper() for name in symbols.split(",") if name.strip())
    raise typer.Exit(main(data=data, window=window, hours=hours, hedge=hedge, symbols=given, seed=seed, tick=tick, as_json=as_json))


config = typer.Typer(help="What is set, and where.", no_args_is_help=True, rich_markup_mode=None)


@config.command("show")
def config_show(as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False) -> None:
    """Show every setting with its value and where it came from: default, qtkit.toml with its line, or a variable.

    Examples: `qtkit config show`, `QTKIT_TICK_SECONDS=1 qtkit config show --json`
    """
    from qtkit.settings import Paths, Settings

    paths = Paths.here()
    rows = [(row.name, "" if row.value is None else str(row.value), row.source) for row in Settings.load(paths.home).resolved()]
    if as_json:
        settings = [{"name": name, "value": value, "source": source} for name, value, source in rows]
        print(json.dumps({"home": str(paths.home), "settings": settings}, indent=1))
        return
    print(f"home {paths.home}")
    wide = max(len(name) for name, _, _ in rows), max(len(value) for _, value, _ in rows)
    for name, value, source in rows:
        print(f"{name:<{wide[0]}}  {value:<{wide[1]}}  {source}")
