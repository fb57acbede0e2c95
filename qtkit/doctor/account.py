"""What the exchange says of the account: key rights, modes, filters, order slots. Read through a gateway that sends nothing."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from qtkit.access import MEANINGS, meaning, require
from qtkit.account import Account
from qtkit.core.distance import decimal
from qtkit.core.model import Instrument, Order, PolicyError, Position, PositionSide, Scope
from qtkit.core.plan import ExitPlan
from qtkit.doctor.finding import Finding, Limits, Unread, age, count, fine, look, told_by, unread, wrong
from qtkit.keys import Keys
from qtkit.limits import require_isolated
from qtkit.venue.gateway import Gateway, GatewayError, KeyRights, Unavailable

T = TypeVar("T")

KEY_REFUSED = frozenset({-2015, *MEANINGS}) - {-4061}  # what Binance says of keys and clocks; the other is about an order
KEPT_FREE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """What was read. ``barred`` is why a desk would not open anything in the margin mode of its symbols, None where it would.

    ``desk_rules`` are the filters that the running desk works with, of the symbols held; empty without one. ``loaded_ms`` is when it
    loaded them, None without a desk.
    """

    rights: KeyRights | Unread
    hedge: bool | Unread
    instruments: Mapping[str, Instrument] | Unread
    positions: tuple[Position, ...] | Unread
    orders: tuple[Order, ...] | Unread
    barred: str | Unread | None
    desk_rules: Mapping[str, Instrument]
    loaded_ms: int | None

    @property
    def held(self) -> int | None:
        """Open positions, None if they could not be read."""
        return None if isinstance(self.positions, Unread) else len(self.positions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal(Unread):
    """The exchange did not take the key: its code."""

    code: int


def nothing(why: Unread) -> AccountFacts:
    """The facts of an account that was not asked for."""
    return AccountFacts(rights=why, hedge=why, instruments=why, positions=why, orders=why, barred=why, desk_rules={}, loaded_ms=None)


async def read_account(gateway: Gateway, account: Account) -> AccountFacts:
    """Everything that is read from the exchange with the key; what fails is ``Unread``, the rest goes on. Closes the gateway."""
    try:
        began = await _tried(gateway.start())
        rights = await _tried(gateway.rights())
        positions = await _tried(gateway.positions())
        orders = await _tried(gateway.orders())
        barred = await _barred(gateway, account)
        hedge: bool | Unread = began if isinstance(began, Unread) else gateway.hedge
        rules = gateway.instruments or (began if isinstance(began, Unread) else Unread(why="the exchange gives no trading rules"))
    finally:
        await gateway.close()
    return AccountFacts(
        rights=rights, hedge=hedge, instruments=rules, positions=positions, orders=orders, barred=barred, desk_rules={}, loaded_ms=None
    )  # fmt: skip


async def _barred(gateway: Gateway, account: Account) -> str | Unread | None:
    try:
        await require_isolated(gateway, account)
    except PolicyError as error:
        return str(error)
    except GatewayError as error:
        return Unread(why=str(error))
    return None


async def _tried(reading: Awaitable[T]) -> T | Unread:
    try:
        return await reading
    except Unavailable as error:
        refused = error.code in KEY_REFUSED and error.code is not None
        return Refusal(why=str(error), code=error.code or 0) if refused else Unread(why=str(error))
    except (GatewayError, PolicyError) as error:
        return Unread(why=str(error))


# -- what was found -------------------------------------------------------------------------------------------------------------


def key_rights(facts: AccountFacts, account: Account, keys: Keys | Unread) -> Finding:
    """May the key do what the desk needs, and nothing that empties the account."""
    name, rights, api = "key rights", facts.rights, "the exchange's API management"
    if isinstance(keys, Unread):
        return unread(name, keys)
    refusal = next((f for f in (rights, facts.hedge, facts.positions, facts.orders) if isinstance(f, Refusal)), None)
    if refusal is not None:
        why = meaning(account, refusal.code) or refusal.why
        remedy = f"compare {keys}, its list of addresses and its rights with {api}"
        return wrong(name, f"the exchange refuses {keys} with {refusal.code}: {why}", remedy)
    if isinstance(rights, Unread):
        return unread(name, rights)
    told = _told(rights)
    try:
        require(account, keys, rights, writes=account.scope is not Scope.WATCH)
    except PolicyError as error:
        found, remedy = told_by(error)
        return wrong(name, f"{told}; {found}", remedy)
    if not account.real:
        return fine(name, told)
    if None in (rights.withdraw, rights.transfer):
        return look(name, f"{told}; whether it can empty the account is not told", f"look at its rights in {api}")
    if rights.ip_restricted is not True and (rights.ip_restricted, rights.trade) != (None, False):
        return look(name, f"{told}; whoever gets it can use it", f"bind it to this computer's address in {api}")
    if account.scope is Scope.WATCH and rights.trade:
        return look(name, f"{told}; scope watch sends nothing", f"make a key without Enable Futures in {api}: it suffices for looking")
    return fine(name, told)


def _told(rights: KeyRights) -> str:
    pairs = (("read", rights.read), ("trade futures", rights.trade), ("withdraw", rights.withdraw), ("transfer", rights.transfer))
    may = ", ".join(word for word, said in pairs if said)
    unknown = ", ".join(word for word, said in pairs if said is None)
    bound = {True: "from chosen addresses only", False: "from any address", None: "addresses not told"}[rights.ip_restricted]
    return f"may {may or 'do nothing known'}{f'; not told: {unknown}' if unknown else ''}; {bound}"


def position_mode(facts: AccountFacts, plans: tuple[ExitPlan, ...]) -> Finding:
    """Is the account in the mode that open plans were made in: in the other one their orders are refused (-4061)."""
    name = "position mode"
    if isinstance(facts.hedge, Unread):
        return unread(name, facts.hedge)
    mode = "hedge (a long and a short side)" if facts.hedge else "one-way"
    strange = [plan for plan in plans if (plan.key.position_side is PositionSide.BOTH) is facts.hedge]
    if strange:
        keys = ", ".join(f"{plan.key.symbol} {plan.key.position_side.value}" for plan in strange)
        other = "one-way" if facts.hedge else "hedge"
        remedy = f"if their positions are closed, `qtkit desk` ends these plans; if not, set {other} mode again on the exchange"
        return wrong(name, f"{mode}, but made in {other} mode: {keys}; orders for them are refused (-4061)", remedy)
    return fine(name, f"{mode}; {count(len(plans), 'active plan')} made in it")


def margin_mode(facts: AccountFacts, account: Account) -> Finding:
    """How far a loss of one position reaches, and whether its liquidation is known."""
    name = "margin mode"
    if isinstance(facts.barred, str):
        return wrong(name, *told_by(facts.barred))
    if isinstance(facts.positions, Unread):
        return unread(name, facts.positions)
    if isinstance(facts.barred, Unread):
        return unread(name, facts.barred)
    if not facts.positions:
        return fine(name, "no position is open")
    told = ", ".join(map(_margin, facts.positions))
    blind = [p.symbol for p in facts.positions if p.liquidation is None and p.isolated]
    high = [p.symbol for p in facts.positions if p.leverage is not None and p.leverage > account.leverage]
    reasons = (
        (
            bool(blind),
            f"no liquidation price of {', '.join(blind)}",
            "`qtkit check`: a stop cannot be compared with what is not told",
        ),
        (
            bool(high),
            f"above the {account.leverage}x that is set",
            f"lower it on the exchange, or raise accounts.{account.name}.leverage in qtkit.toml",
        ),
        (
            not all(p.isolated for p in facts.positions),
            "with cross margin liquidation moves with all the rest of the account",
            "isolated margin on the exchange bounds it, from the next position on; the desk re-reads liquidation in each pass",
        ),
    )
    holding = [(why, remedy) for holds, why, remedy in reasons if holds]
    return look(name, "; ".join((told, *(why for why, _ in holding))), holding[0][1]) if holding else fine(name, told)


def _margin(position: Position) -> str:
    slot = "" if position.position_side is PositionSide.BOTH else f":{position.position_side.value}"
    lever = "" if position.leverage is None else f" {position.leverage}x"
    return f"{position.symbol}{slot} {'isolated' if position.isolated else 'cross'}{lever}"


def filters(facts: AccountFacts, plans: tuple[ExitPlan, ...], limits: Limits, now_ms: int) -> Finding:
    """Do open plans and the running desk work with the exchange's trading rules of today."""
    name, rules = "filters", facts.instruments
    if isinstance(rules, Unread):
        return unread(name, rules)
    gone = sorted({plan.key.symbol for plan in plans if plan.key.symbol not in rules})
    if gone:
        return wrong(name, f"{', '.join(gone)} is not traded any more", "see what the exchange made of the position: `qtkit check`")
    old = [symbol for symbol, used in facts.desk_rules.items() if used != rules.get(symbol)]
    if old:
        told = ", ".join(_differs(facts.desk_rules[symbol], rules.get(symbol)) for symbol in sorted(old))
        return wrong(name, f"the desk works with old ones: {told}", "end the desk and start it again: `qtkit desk` loads them")
    changed = [told for plan in plans if (told := _regridded(plan, rules.get(plan.key.symbol)))]
    if changed and not facts.desk_rules:
        found = f"changed since open plans were made: {', '.join(changed)}"
        return look(name, found, "`qtkit desk`: it keeps the price of every level on the new grid")
    held = count(len(plans), "active plan")
    age_ms = None if facts.loaded_ms is None else now_ms - facts.loaded_ms
    loaded = "" if age_ms is None else f"; the desk loaded them {age(age_ms)} ago"
    found = f"{count(len(rules), 'symbol')} read now; {held} on their grid{loaded}"
    if age_ms is not None and age_ms > limits.filters_age_ms:
        return look(name, found, "start the desk again at a quiet time: `qtkit desk` loads them; stops rest meanwhile")
    return fine(name, found)


def _regridded(plan: ExitPlan, now: Instrument | None) -> str:
    """How the grid of a plan differs from the exchange's, or nothing."""
    if now is None:
        return ""
    pairs = (("tick", plan.tick, now.tick), ("lot", plan.lot, now.lot))
    return ", ".join(f"{plan.key.symbol} {what} {decimal(was, 8)} is now {decimal(there, 8)}" for what, was, there in pairs if was != there)


def _differs(used: Instrument, now: Instrument | None) -> str:
    if now is None:
        return f"{used.symbol} is not traded any more"
    names = [name for name in Instrument.__slots__ if getattr(used, name) != getattr(now, name)]
    return f"{used.symbol} {', '.join(names)}"


def order_slots(facts: AccountFacts, limits: Limits, most: int) -> Finding:
    """How many conditional orders can still be placed: all symbols and all bots of the account share the number."""
    name = "order slots"
    if isinstance(facts.orders, Unread):
        return unread(name, facts.orders)
    resting = [order for order in facts.orders if order.kind.conditional]
    left = most - len(resting)
    busiest = max({order.symbol for order in resting}, key=lambda symbol: sum(o.symbol == symbol for o in resting), default="")
    most_of = f", most of them in {busiest}" if len(resting) > limits.slots_look else ""
    found = f"{len(resting)} of {most} conditional orders rest{most_of}, {left} left, {KEPT_FREE} of these kept for replacing"
    if left < limits.slots_wrong:
        return wrong(
            name,
            f"{found}: no stop can be replaced new before old",
            "cancel conditional orders that nobody needs; `qtkit check` lists positions",
        )
    if left < limits.slots_look:
        return look(name, found, "cancel conditional orders that nobody needs; entries are refused at the limit")
    return fine(name, found)
