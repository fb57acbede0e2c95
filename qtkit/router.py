"""The exit router: the durable register of exit plans, one per position episode, shared by all processes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import structlog

from qtkit.apply import wall_ms
from qtkit.core import arithmetic
from qtkit.core.context import ExitContext, MarketData, RiskContext, RLHints
from qtkit.core.ids import plan_uid
from qtkit.core.model import Instrument, Key, PolicyError, Position, PositionSide, Snapshot
from qtkit.core.plan import ExitPlan
from qtkit.core.planner import ExitPlanner
from qtkit.core.policy import HYBRID, ExitPolicy
from qtkit.home import Paths
from qtkit.inputs import exchange_symbol, hints_from_dict, market_from_dict, position_from_dict, risk_from_dict
from qtkit.policies import Policies
from qtkit.settings import Settings, meant
from qtkit.store.register import PlanRegister, RegisterError

log = structlog.get_logger("qtkit.router")

SAME_ENTRY = 50  # bps between the entry that was told and the entry that is
PROVISIONAL_MS = 24 * 3_600_000  # a plan made from a caller's word ends after a day, as the original's did


class Facts(Protocol):
    """Where a router learns what a caller's dict does not say: trading rules of a symbol, and its market now."""

    async def instrument(self, symbol: str) -> Instrument:
        """Trading rules. Raises ``PolicyError`` for an unknown symbol, naming the nearest."""

    async def market(self, symbol: str) -> MarketData:
        """Volatility, trend, ATR and regime from bars; unknown where they are too few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """How an account's positions are planned where their symbol uses no policy of its own; None lets the profiles choose."""

    adopted: ExitPolicy | None = None


class ExitRouter:
    """Plans by position: made once, kept, found again by every process. An object made without arguments uses this home's register."""

    def __init__(
        self,
        register: PlanRegister | None = None,
        facts: Facts | None = None,
        *,
        account: str = "",
        planner: ExitPlanner | None = None,
        planning: Planning | None = None,
        policies: Policies | None = None,
    ) -> None:
        self._register = register
        self._facts = facts
        self._account = account
        if planner is not None or register is not None:
            self.planner = planner or ExitPlanner()
        if policies is not None or register is not None:
            self.policies = policies or Policies()
        self.planning = planning or Planning()
        self._kept: set[str] = set()  # plans that are surely in the register
        self._unseen: dict[str, int] = {}  # plans made from a caller's word, and when a reading first showed no position of them

    @property
    def account(self) -> str:
        """Whose plans these are: of the account that was named, else of the one that is meant without a name."""
        self._account = meant(self._account)
        return self._account

    @property
    def register(self) -> PlanRegister:
        """The register, opened at first use."""
        if self._register is None:
            self._register = PlanRegister(Paths.here().register)
        return self._register

    @cached_property
    def planner(self) -> ExitPlanner:
        """What makes plans; without one given, as the desk of this home has it: by the profiles that are set here."""
        return ExitPlanner(profiles=Settings.load().profiles_of(self.policies))

    @cached_property
    def policies(self) -> Policies:
        """The policies that may be named, and those that symbols of the account use."""
        return Policies(Paths.here(), self.account)

    @property
    def facts(self) -> Facts:
        """Where trading rules and markets come from; without a desk's own, the configured exchange is asked."""
        if self._facts is None:
            from qtkit.client import ExchangeFacts

            self._facts = ExchangeFacts(self.account)
        return self._facts

    async def get_or_create_plan(
        self,
        position: Mapping[str, Any] | Position,
        rl_hints: Mapping[str, Any] | RLHints | None = None,
        risk_context: Mapping[str, Any] | RiskContext | None = None,
        market_data: Mapping[str, Any] | MarketData | None = None,
    ) -> ExitPlan:
        """The plan of a position: the active one, or a new one made from these inputs.

        Takes Binance's raw position dicts and ccxt's unified ones. Missing inputs are unknown, except market data, which are computed
        from the exchange's bars. A plan made from a caller's dict is provisional until a snapshot shows the position; one that
        contradicts what a snapshot showed is a draft, kept nowhere. Raises ``PolicyError`` for unknown keys, wrong values or a flat
        position.
        """
        if isinstance(position, Position):
            instrument, held = await self.facts.instrument(position.symbol), position
        else:
            instrument = await self.facts.instrument(_symbol(position))
            held = position_from_dict(position, instrument)
        key = Key(self.account, held.symbol, held.position_side)
        context = ExitContext(
            account=self.account,
            instrument=instrument,
            position=held,
            now_ms=wall_ms(),
            policy=self.policies.of(held.symbol),
            hints=hints_from_dict(rl_hints),
            risk=risk_from_dict(risk_context),
            provisional=True,
            expires_ms=wall_ms() + PROVISIONAL_MS,
        )
        told = None if market_data is None else market_from_dict(market_data)
        active = self.register.active(key, context.now_ms)
        if active is not None and active.side is held.side:
            return active
        context = replace(context, market=told or await self.facts.market(held.symbol))
        if active is not None and not active.provisional:
            # A reading showed the other side. Only a reading ends what it confirmed: the next one shows a flip, and plans it for good.
            log.warning("plan", key=str(key), says=f"told as {held.side.name}, read as {active.side.name}: the plan that was read stays")
            return self.draft(replace(context, episode=active.episode + 1))
        return self._planned(context, provisional=True)

    def get_active_plan(self, symbol: str, position_side: PositionSide | str | None = None, account: str | None = None) -> ExitPlan | None:
        """The active plan of a symbol, or None. In hedge mode name the side when both are open, else ``PolicyError``."""
        slot = None if position_side is None else PositionSide(position_side)
        plans = self.register.active_for(symbol, slot, account or self.account, now_ms=wall_ms())
        if len(plans) > 1:
            raise PolicyError(f"{symbol} has a long and a short plan; say which: position_side='LONG' or 'SHORT'")
        return plans[0] if plans else None

    def invalidate_plan(self, symbol: str, position_side: PositionSide | str | None = None, account: str | None = None) -> bool:
        """End the active plan: an open position gets a new one in the next pass, its resting stop stays and never loosens."""
        plan = self.get_active_plan(symbol, position_side, account)
        return plan is not None and self.register.close(plan.key, plan.episode, wall_ms(), "invalidated")

    def plan_for(
        self, key: Key, position: Position, instrument: Instrument, *, market: MarketData, time_ms: int, over: str | None = None
    ) -> ExitPlan:
        """The plan of a position that a snapshot shows. Total: there is always one. A provisional plan is confirmed by this.

        ``over`` is the plan whose position has just ended in this slot: it is not the plan of the one that followed.
        """
        try:
            return self._registered(key, position, instrument, market=market, time_ms=time_ms, over=over)
        except RegisterError as error:  # a position is not left without orders because a file is locked
            log.error("register", outcome="could not be used, the plan is kept in the journal alone", why=str(error))
            return self.draft(self.adoption(position, instrument, market=market, time_ms=time_ms))

    def _registered(
        self, key: Key, position: Position, instrument: Instrument, *, market: MarketData, time_ms: int, over: str | None
    ) -> ExitPlan:
        active = self.register.active(key, time_ms)
        if active is not None and active.uid == over:
            self.register.close(key, active.episode, time_ms, "its position ended, and another one began")
        elif active is not None and active.side is position.side:
            if not active.provisional:
                return active
            if _fits(active, position, instrument):
                return self.register.confirm(key, active.uid)
            self.register.close(key, active.episode, time_ms, "made for a position that is not this one")
        return self._planned(self.adoption(position, instrument, market=market, time_ms=time_ms), provisional=False)

    def is_invalidated(self, plan: ExitPlan) -> bool:
        """True if somebody ended this plan while its position lives. A register that cannot be read ends none."""
        try:
            ended = [row.closed_ms is not None for row in self.register.history(plan.key) if row.plan.uid == plan.uid]
        except RegisterError as error:
            log.error("register", outcome="could not be read", why=str(error))
            return False
        return bool(ended) and ended[-1]

    def keep(self, plan: ExitPlan, time_ms: int) -> None:
        """See to it that the register knows a plan that is worked by: it may have been out of use when the plan was made."""
        if plan.uid in self._kept:
            return
        try:
            if all(row.plan.uid != plan.uid for row in self.register.history(plan.key)):
                self.register.get_or_create(plan.key, plan.side, lambda episode: replace(plan, episode=episode), time_ms)
            self._kept.add(plan.uid)
        except RegisterError as error:
            log.error("register", outcome="could not be written", why=str(error))

    def confirm(self, plan: ExitPlan) -> None:
        """A snapshot shows the position that this plan was made for before it was there."""
        try:
            self.register.confirm(plan.key, plan.uid)
        except RegisterError as error:  # the plan is in the book and is worked by; only readers still see it as provisional
            log.error("register", outcome="could not be written", why=str(error))

    def end(self, key: Key, but: str | None, at_ms: int, reason: str) -> None:
        """End the active plan of a slot whose episode is over, unless it is ``but``, the one that lives on."""
        try:
            plan = self.register.active(key, at_ms)
            if plan is not None and plan.uid != but:
                self.register.close(key, plan.episode, at_ms, reason)
        except RegisterError as error:  # a plan that outlives its position is found out by its side and entry
            log.error("register", outcome="could not be written", why=str(error))

    def end_unseen(self, snapshots: Iterable[Snapshot], apart_ms: int) -> frozenset[str]:
        """End plans made from a caller's word whose position two complete readings ``apart_ms`` do not show.

        Gives the symbols that have to be read for it: where nobody reads, nothing is known and no plan ends.
        """
        try:
            told = self.register.told(self.account)
            read = {snapshot.symbol: snapshot for snapshot in snapshots if snapshot.stable}
            self._unseen = {plan.uid: self._unseen[plan.uid] for plan in told if plan.uid in self._unseen}
            for plan in told:
                snapshot = read.get(plan.key.symbol)
                if snapshot is None or any(held.position_side is plan.key.position_side for held in snapshot.positions):
                    continue
                if snapshot.at_ms - self._unseen.setdefault(plan.uid, snapshot.at_ms) >= apart_ms:
                    self.register.close(plan.key, plan.episode, snapshot.at_ms, "two readings showed no position of it")
        except RegisterError as error:
            log.error("register", outcome="could not be read", why=str(error))
            return frozenset()
        return frozenset(plan.key.symbol for plan in told)

    def adoption(self, position: Position, instrument: Instrument, *, market: MarketData, time_ms: int) -> ExitContext:
        """The context in which somebody else's position is planned."""
        policy = self.policies.of(position.symbol) or self.planning.adopted
        return ExitContext(
            account=self.account, instrument=instrument, position=position, now_ms=time_ms, policy=policy, adopted=True, market=market
        )

    def draft(self, context: ExitContext, *, for_entry: bool = False) -> ExitPlan:
        """The plan of a context, not kept. With ``for_entry``, ``PolicyError`` refuses an unsafe policy.

        A planner that fails (not one that refuses) is replaced by the hybrid policy of our own planner: that plan rests orders too.
        """
        try:
            return self.planner.plan(context, for_entry=for_entry)
        except PolicyError:
            raise
        except Exception:  # a planner may be a strategy's code: whatever it raises, the position must have an exit
            log.exception(f"[EXIT BRAIN V3] {context.position.symbol}: Failed to create plan. Falling back to hybrid")
            return ExitPlanner().plan(replace(context, policy=HYBRID), for_entry=for_entry)

    def plan_entry(self, context: ExitContext) -> ExitPlan:
        """The plan of a position about to be opened, kept. Raises ``PolicyError`` if the policy would be unsafe for it."""
        self._end_active(context, "an entry was planned anew")
        return self._planned(context, provisional=True, for_entry=True)

    def plan_anew(self, context: ExitContext) -> ExitPlan:
        """End the active plan of an open position and keep the one of this context."""
        self._end_active(context, "planned anew by the operator")
        return self._planned(context, provisional=False)

    def _end_active(self, context: ExitContext, reason: str) -> None:
        before = self.register.active(context.key, context.now_ms)
        if before is not None:
            self.register.close(context.key, before.episode, context.now_ms, reason)

    def _planned(self, context: ExitContext, *, provisional: bool, for_entry: bool = False) -> ExitPlan:
        first = self.draft(context, for_entry=for_entry)

        def make(episode: int) -> ExitPlan:
            uid = plan_uid_of(context, episode)
            return replace(first, episode=episode, uid=uid)

        plan, created = self.register.get_or_create(context.key, context.position.side, make, context.now_ms, provisional=provisional)
        if created:
            log.info(f"[EXIT BRAIN V3] {plan.key.symbol}: Created exit plan with {len(plan.legs)} legs (strategy={plan.strategy_id})")
        return plan


def plan_uid_of(context: ExitContext, episode: int) -> str:
    """The name of the plan of this context in this episode."""
    position = context.position
    return plan_uid(
        account=context.account, symbol=position.symbol, position_side=position.position_side, side=position.side, episode=episode,
        created_ms=context.now_ms,
    )  # fmt: skip


def _fits(plan: ExitPlan, position: Position, instrument: Instrument) -> bool:
    """True if a plan made from somebody's word fits the position that is there: its entry, and a stop that can rest."""
    near = arithmetic.distance_bps(position.entry, plan.entry) <= SAME_ENTRY
    return near and not arithmetic.stop_hit_e8(position.side.sign, position.mark, plan.stop, instrument.tick)


def _symbol(position: Mapping[str, Any]) -> str:
    symbol = position.get("symbol")
    if not isinstance(symbol, str) or not symbol:
        raise PolicyError("the position has no 'symbol'; give Binance's raw position dict or ccxt's unified one")
    return exchange_symbol(symbol)
