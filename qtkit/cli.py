"""The `qtkit` command: which commands there are, and how their failures are told. Each command lives in ``qtkit.commands``."""

import sys
from collections.abc import Sequence
from itertools import pairwise

import typer

from qtkit.commands import act, alerts, canary, data, desk, doctor, hindsight, init, look, operate, paper, parity, policy, run
from qtkit.core.names import DEFAULT_ACCOUNT, of_account

app = typer.Typer(
    name="qtkit",
    help="The exit desk for crypto futures: every open position planned and protected by resting orders.",
    epilog="Start here: `qtkit paper --incident` in one terminal, `qtkit desk` in another, then `qtkit check`.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(init.init)
app.command()(desk.desk)
app.command()(paper.paper)
app.command()(look.check)
app.command()(doctor.doctor)
app.command()(look.preview)
app.command()(look.plan)
app.command()(hindsight.hindsight)
app.command()(parity.parity)
app.command()(act.signal)
app.command()(act.flatten)
app.command()(operate.adopt)
app.command()(operate.release)
app.command("set")(operate.change)
app.command()(operate.pause)
app.command()(operate.resume)
app.command()(canary.canary)
app.command()(canary.disarm)
app.command()(run.run)
app.command()(run.demo)
app.add_typer(run.config, name="config")
app.add_typer(data.data, name="data")
app.add_typer(alerts.alerts, name="alerts")
app.add_typer(policy.policy, name="policy")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0 well, 1 failed or not covered, 2 wrong usage, 130 interrupted.

    A failure of a known kind is one sentence on stderr, never a traceback.
    """
    try:
        app(args=arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # the one place where a failure becomes a sentence; what is not known is raised again
        text = sentence(error)
        if text is None:
            raise
        print(f"qtkit: {of_account(text, _account_in(sys.argv[1:] if arguments is None else arguments))}", file=sys.stderr)
        return 1
    return 0


def _account_in(arguments: Sequence[str]) -> str:
    """The account that a command line names."""
    for word, after in pairwise((*arguments, "")):
        if word == "--account":
            return after
        if word.startswith("--account="):
            return word.partition("=")[2]
    return DEFAULT_ACCOUNT


def sentence(error: BaseException) -> str | None:
    """A known failure in one sentence, or None for a fault of our own, whose traceback is wanted."""
    from qtkit.core.model import PolicyError
    from qtkit.store.codec import CorruptRecord
    from qtkit.store.disk import StoreError
    from qtkit.venue.gateway import GatewayError

    known: tuple[type[BaseException], ...] = (PolicyError, GatewayError, StoreError, CorruptRecord)
    # These two are heavy; who raises their errors has imported them.
    if client := sys.modules.get("qtkit.client"):
        known += (client.DeskSilent, client.NoDesk)
    if bars := sys.modules.get("qtkit.bars"):
        known += (bars.BarsError,)
    if isinstance(error, BaseExceptionGroup):
        return sentence(error.exceptions[0])
    if isinstance(error, known):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
    return None
