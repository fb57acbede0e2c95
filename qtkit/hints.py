"""The hints file of a home: what research found (``qtkit.lab.fit_hints``), for the plans of new entries.

It shapes entries and nothing else: a file that is damaged, stale or of another version refuses an entry with its reason, and what is open
stays protected all the same.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from qtkit.account import Account
from qtkit.core.context import ExitContext, RLHints
from qtkit.core.hints import HintTable
from qtkit.core.model import PolicyError, Scope
from qtkit.core.policy import ExitPolicy
from qtkit.settings import Settings
from qtkit.store import codec

REFUSED = "entries without a stop of their own are refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class HintsFile:
    """Where the hints lie, None: there are none; and how old (days) the end of their data may be. Read anew at each entry."""

    path: Path | None = None
    max_age_days: int = 30

    def table(self, now_ms: int) -> HintTable | None:
        """The hints, None where none are set. Raises ``PolicyError`` naming the file if they are not to be used now."""
        if self.path is None:
            return None
        try:
            table = codec.loads(HintTable, self.path.read_bytes())
            table.require_fit(now_ms=now_ms, kit=version("qtkit"), max_age_days=self.max_age_days)
        except OSError as error:
            raise PolicyError(f"hints {self.path}: {error.strerror}; give the right file in hints.file, or leave that out") from None
        except (codec.CorruptRecord, PolicyError) as error:
            raise PolicyError(f"hints {self.path}: {error}, or leave hints.file out of qtkit.toml") from None
        return table

    def notes(self, account: Account, policies: Collection[str], now_ms: int) -> tuple[str, ...]:
        """Why these hints do not serve the entries of an account, one sentence with what to do; nothing if they do, or if it makes none.

        ``policies`` are the names that are known.
        """
        if account.scope is not Scope.FULL:
            return ()
        try:
            told = idle(self.table(now_ms), account, policies)
        except PolicyError as error:
            told = f"{REFUSED}: {error}"
        return (told,) if told else ()

    def of(self, context: ExitContext, policy: ExitPolicy) -> RLHints:
        """The hints for an entry by this policy; those of its signal where research found none, or found them on another policy.

        Of the confidence that the signal has and that of research the lower one counts. Raises as ``table`` does.
        """
        table, told = self.table(context.now_ms), context.hints
        if table is None or table.policy != policy.name:
            return told
        found = table.of(context.position.symbol, context.market)
        sure = [it.confidence for it in (found, told) if it.confidence is not None]
        return replace(found, confidence=min(sure, default=None))


def idle(table: HintTable | None, account: Account, policies: Collection[str]) -> str:
    """Why hints that are good shape no entry of an account, with what to do; empty if they may."""
    if table is None:
        return ""
    told = "the hints shape no entry: they were fitted on"
    if table.policy not in policies:
        return f"{told} the policy '{table.policy}', which is not known here; fit them on one that is"
    fitted = [symbol for symbol, _ in table.data]
    if account.symbols and not {*fitted} & {*account.symbols}:
        return f"{told} {', '.join(fitted)}, and accounts.{account.name}.symbols names none of them; fit them on those"
    return ""


def hints_of(settings: Settings, home: Path) -> HintsFile:
    """The hints file that is set; a path that is not absolute lies in the home."""
    told = settings.hints
    return HintsFile(path=home / told.file if told.file else None, max_age_days=told.max_age_days)
