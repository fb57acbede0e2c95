"""What was set for an account: settings, keys, and whether a desk would be let in with them."""

from collections.abc import Mapping
from dataclasses import dataclass

from qtkit.account import Account
from qtkit.core.hints import DAY_MS
from qtkit.core.model import ONE, Instrument, PolicyError, Scope
from qtkit.core.names import suggestion
from qtkit.desk import identity
from qtkit.doctor import process
from qtkit.doctor.finding import Finding, Unread, age, count, fine, look, told_by, unread, wrong
from qtkit.hints import REFUSED, hints_of, idle
from qtkit.home import Paths
from qtkit.keys import Keys, keys_of, owner_keys, require_own_key
from qtkit.limits import require_first_limits
from qtkit.policies import Policies
from qtkit.proofs import armed_until_ms, may_write, require_mode, traits_for, traits_used
from qtkit.settings import Settings, account_of

UNSET = Unread(why="the settings are refused")
NO_KEYS = Unread(why="the account has no keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What was set, as far as it can be read. The exchange is asked with ``keys``, those of the desk where they can be had.

    ``owner`` is the name that the lease knows the account by; ``fault`` says what the desk's keys lack, None if nothing.
    """

    settings: Settings
    account: Account | Unread
    keys: Keys | Unread
    owner: str | Unread
    fault: str | None = None


def set_up(name: str, paths: Paths) -> Setup:
    """Settings and keys as far as they can be read. Raises ``PolicyError`` for an account that the settings do not name."""
    try:
        settings = Settings.load(paths.home)
    except PolicyError as error:
        return Setup(settings=Settings(), account=Unread(why=str(error)), keys=UNSET, owner=UNSET)
    return _with_keys(settings, account_of(settings, name), paths)


def _with_keys(settings: Settings, account: Account, paths: Paths) -> Setup:
    """The desk's keys; where it could not have them, those that suffice for looking."""
    fault = None
    try:
        asks = keys_of(account, paths, looking=account.scope is Scope.WATCH)
        require_own_key(account, settings.accounts, paths)
    except PolicyError as error:
        fault = str(error)
    try:
        owner = owner_keys(account, paths)
    except PolicyError as error:
        return Setup(settings=settings, account=account, keys=NO_KEYS, owner=NO_KEYS, fault=fault or str(error))
    return Setup(settings=settings, account=account, keys=owner if fault else asks, owner=identity(account, owner), fault=fault)


def settings_hold(setup: Setup, desk: process.DeskFacts, rules: Mapping[str, Instrument] | Unread) -> Finding:
    """Do the settings hold together, also with what the exchange trades, and does the running desk go by them."""
    name = "settings"
    if isinstance(setup.account, Unread):
        return wrong(name, setup.account.why, "mend it there; `qtkit config show` tells every setting and where it came from")
    if not isinstance(rules, Unread) and (contradiction := _against(setup.account, rules)) is not None:
        return contradiction
    differs = process.settings_of_desk(desk, setup.settings, setup.account)
    if differs is not None:
        return look(name, f"the running desk goes by {differs}", "start it again to have it go by what is set now; stops rest meanwhile")
    chosen = sum(source != "default" for source in setup.settings.sources.values())
    return fine(name, f"{count(chosen, 'setting')} of your own, nothing contradicts; base_url {setup.account.base_url}")


def _against(account: Account, rules: Mapping[str, Instrument]) -> Finding | None:
    """What the settings of an account say against the exchange's trading rules."""
    here = f"accounts.{account.name}"
    symbols = account.symbols or ()
    if unknown := next((symbol for symbol in symbols if symbol not in rules), None):
        return wrong("settings", f"{here}.symbols names {unknown}, which the exchange does not trade", suggestion(unknown, rules))
    low = [symbol for symbol in symbols if account.max_notional * ONE < rules[symbol].min_notional]
    if low and account.scope is Scope.FULL:
        least = max(rules[symbol].min_notional for symbol in low) // ONE
        told = f"{here}.max_notional {account.max_notional:f} is below the exchange's minimum of {', '.join(low)}: no entry is possible"
        return look("settings", told, f"raise it to more than {least}, or leave these symbols out")
    return None


def hints(setup: Setup, paths: Paths, now_ms: int) -> Finding:
    """Do the hints from research that are set shape the entries of this account."""
    name, account = "hints", setup.account
    if isinstance(account, Unread):
        return unread(name, UNSET)
    try:
        table = hints_of(setup.settings, paths.home).table(now_ms)
    except PolicyError as error:
        found, remedy = told_by(error)
        return wrong(name, f"{REFUSED}: {found}", remedy)
    if table is None:
        return fine(name, "none are set")
    if told := idle(table, account, Policies(paths).names()):
        return look(name, *told_by(told))
    days = count((now_ms - table.until_ms) // DAY_MS, "day")
    return fine(name, f"{count(len(table.rows), 'row')} for entries by {table.policy}, their data end {days} ago")


def permission(setup: Setup, paths: Paths, desk: process.DeskFacts, hedge: bool | Unread, now_ms: int) -> Finding:
    """Would a desk be let in: proof, arm, first limits and position mode of a real account."""
    name, account = "right to write", setup.account
    if isinstance(account, Unread):
        return unread(name, UNSET)
    if account.kind == "paper" or account.scope is Scope.WATCH:
        return fine(
            name, "nothing is needed: " + ("the exchange is a paper one" if account.kind == "paper" else "scope watch writes nothing")
        )
    if isinstance(setup.keys, Unread):
        return unread(name, NO_KEYS)
    try:
        require_first_limits(account, setup.settings.sources)
        may_write(account, setup.keys, paths, now_ms)
        if not isinstance(hedge, Unread):
            require_mode(account, setup.keys, paths, hedge=hedge)
    except PolicyError as error:
        found, remedy = told_by(error)
        if desk.runs:
            return look(name, f"{found}; the desk that runs protects on; started again, it would take nothing new on", remedy)
        return wrong(name, found, remedy)
    until_ms = armed_until_ms(account, setup.keys, paths, now_ms)
    alone = traits_for(account, setup.keys, paths) != traits_used(account)
    proven = "proven by its canary" + (" but for the floor: the working stop rests alone" if alone else "")
    return fine(name, proven if until_ms is None else f"{proven}, armed for another {age(until_ms - now_ms)}")
