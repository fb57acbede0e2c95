"""The event-driven executor: signal -> validation -> risk gate -> size by risk -> entry together with its stop.

No call here opens a position without a policy. Where the exchange takes a stop before there is a position, it rests before the entry is
sent; elsewhere it is placed on the fill. Then the same pass that protects everything else goes on with the position.
"""

import asyncio
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Decimal

import structlog

from qtkit.access import coded
from qtkit.core.context import ExitContext
from qtkit.core.events import EntryBegun, EntryFailed, LegStatus
from qtkit.core.ids import client_order_id, parse_client_order_id
from qtkit.core.model import (
    E8,
    ONE,
    Cancel,
    Instrument,
    Key,
    Lots,
    Order,
    OrderKind,
    Place,
    PolicyError,
    Position,
    PositionSide,
    Scope,
)  # fmt: skip
from qtkit.core.names import suggestion
from qtkit.core.plan import ExitPlan
from qtkit.core.policy import ExitPolicy
from qtkit.core.trail import begin
from qtkit.hints import HintsFile
from qtkit.ledger import released_until
from qtkit.market import MINUTE_MS
from qtkit.monitor import PositionMonitor
from qtkit.policies import Policies
from qtkit.signals import Execution, Gate, Signal
from qtkit.venue.gateway import Balance, Margin, Refused

log = structlog.get_logger("qtkit.executor")

ENTRY_WITHIN_MS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """How large an entry may be: ``risk`` is bps of the equity lost at the stop, ``max_notional`` money in the quote coin (E8).

    ``leverage`` is the one asked for and the highest one accepted; ``isolated``: on cross margin nothing is opened.
    """

    risk: int = 25
    max_notional: E8 = E8(10_000 * ONE)
    leverage: int = 5
    isolated: bool = False
    policy: ExitPolicy | None = None


class EventDrivenExecutor:
    """Opens positions on signals, each with its plan and its stop. Without arguments it is the running desk's client."""

    def __init__(
        self,
        monitor: PositionMonitor | None = None,
        sizing: Sizing | None = None,
        *,
        gate: Gate | None = None,
        hints: HintsFile | None = None,
    ) -> None:
        self._monitor = monitor
        self.sizing = sizing or Sizing()
        self.gate = gate or Gate()
        self.hints = hints or HintsFile()
        self._one = asyncio.Lock()  # two entries at once would each be measured against an account without the other
        self._margins: dict[str, tuple[int, Margin]] = {}

    async def place_order(self, symbol: str, side: str, quantity: str | int | float | Decimal, *, policy: str | None = None) -> Execution:
        """Open ``quantity`` coins of a symbol at the market, side BUY or SELL, with its plan and its stop."""
        return await self.execute(Signal(symbol=symbol, side=side, quantity=Decimal(str(quantity)), policy=policy))

    async def execute(self, signal: Signal, *, dry_run: bool = False) -> Execution:
        """Carry a signal out, or say what would be done. Raises ``PolicyError`` when the signal, the gate or the policy forbids it."""
        if self._monitor is None:
            from qtkit.client import send_signal

            return await send_signal(signal, dry_run=dry_run)
        async with self._one:
            return await self._enter(self._monitor, signal, dry_run=dry_run)

    async def _enter(self, monitor: PositionMonitor, signal: Signal, *, dry_run: bool) -> Execution:
        """All that waits comes first; then, without waiting, what was allowed is asked once more, and the entry is written down."""
        instrument, key = self._allowed(monitor, signal)
        held = await monitor.gateway.positions()  # not what was read last: somebody may just have opened one
        if any((p.symbol, p.position_side) == (key.symbol, key.position_side) for p in held):
            raise _open_already(key)
        margin = await self._margin(monitor, key.symbol, dry_run=dry_run)
        context, draft, lots = await self._planned(monitor, signal, instrument, key.position_side, margin)
        if dry_run:
            return _execution(draft, lots, instrument, "dry run: nothing was sent")
        self._allowed(monitor, signal)  # a pass may have adopted a position meanwhile, or found one uncovered
        plan, now_ms = monitor.router.plan_entry(context), monitor.applier.clock_ms()
        monitor.applier.record([EntryBegun(plan=plan, trail=begin(plan), at_ms=now_ms, deadline_ms=now_ms + ENTRY_WITHIN_MS)])
        return await self._send(monitor, plan, lots, instrument)

    def _allowed(self, monitor: PositionMonitor, signal: Signal) -> tuple[Instrument, Key]:
        """Validation and the risk gate. It stands before entries only; what is open is never held back by it."""
        instruments = monitor.gateway.instruments
        instrument = instruments.get(signal.symbol.upper())
        if instrument is None:
            raise PolicyError(f"there is no symbol '{signal.symbol}': {suggestion(signal.symbol.upper(), instruments)}")
        if signal.policy:
            monitor.router.policies.named(signal.policy)  # a wrong name is refused before anything is asked or sent
        desk, book, now_ms = monitor.desk, monitor.applier.book, monitor.applier.clock_ms()
        slot = PositionSide[signal.direction.name] if monitor.gateway.hedge else PositionSide.BOTH
        key = Key(desk.account, instrument.symbol, slot)
        scope = desk.scope_of(book, instrument.symbol, now_ms)
        choice = book.choice(instrument.symbol, now_ms)
        if choice is not None and choice.until_ms is not None:
            symbol = instrument.symbol
            raise PolicyError(f"{symbol} is {released_until(choice)}, nothing is opened there; `qtkit adopt {symbol}` ends that")
        if scope is not Scope.FULL:
            raise PolicyError(f"account {desk.account} is in scope {scope.value} on {instrument.symbol}: it opens no positions")
        if self.sizing.isolated and desk.symbols is not None and instrument.symbol not in desk.symbols:
            raise PolicyError(f"{instrument.symbol} is adopted, not listed: what is open there is protected, and nothing is opened")
        since_ms = desk.nothing_new(book)
        if since_ms is not None and now_ms >= since_ms:
            why = (
                "`qtkit resume` ends the pause"
                if book.paused_ms is not None
                else "`qtkit check` says what is lacking: arm, proof, mode, clock"
            )
            raise PolicyError(f"no entry while nothing new is taken on; {why}")
        if key in book.episodes:
            raise _open_already(key)
        if any((made := parse_client_order_id(order.client_id)) is not None and made[0] != desk.tag for order in monitor.observer.resting):
            raise PolicyError("no entry while another desk's orders rest on this account; stop one of the two, and cancel what it left")
        if monitor.applier.fault is not None:
            raise PolicyError(f"no entry while the journal cannot be written: {monitor.applier.fault}")
        uncovered = [str(line.key) for line in monitor.health.coverage if line.gap > 0]
        if uncovered:
            raise PolicyError(f"no entry while a position is not covered: {', '.join(uncovered)}")
        free = monitor.desk.traits.max_conditional - monitor.observer.open_conditional
        if free < 8:
            raise PolicyError(f"no entry: only {free} conditional orders are left on the account, and a plan needs up to 8")
        self.gate.check(signal, open_positions=len(book.episodes))
        return instrument, key

    async def _margin(self, monitor: PositionMonitor, symbol: str, *, dry_run: bool) -> Margin:
        """Margin mode and leverage that the entry will have. With a position or an order on the symbol the exchange may keep what is set.

        A dry run takes what was read within the running minute, and the leverage that would be asked for.
        """
        wanted, minute = self.sizing.leverage, monitor.applier.clock_ms() // MINUTE_MS
        if not dry_run or self._margins.get(symbol, (0,))[0] != minute:
            self._margins[symbol] = minute, await monitor.gateway.margin(symbol)
        found = self._margins[symbol][1]
        if self.sizing.isolated and not found.isolated:
            raise PolicyError(f"{symbol} is on cross margin, and entries are made on isolated margin only; set it on the exchange")
        if not dry_run and found.leverage != wanted:
            try:
                await monitor.gateway.set_leverage(symbol, wanted)
            except Refused as refusal:
                found = await monitor.gateway.margin(symbol)
                if found.leverage > wanted:
                    kept = f"the exchange keeps {symbol} at {found.leverage}x, above the {wanted}x that is set"
                    raise PolicyError(f"no entry: {kept} ({coded(refusal.code)}); lower it there, or set leverage higher") from None
                log.warning("leverage", symbol=symbol, kept=found.leverage, why=str(refusal))
                return found
        return replace(found, leverage=wanted)

    async def _planned(
        self, monitor: PositionMonitor, signal: Signal, instrument: Instrument, slot: PositionSide, margin: Margin
    ) -> tuple[ExitContext, ExitPlan, Lots]:
        """What the entry's plan is made from, that plan as a draft, and the size that it loses the risk with."""
        quote, balance = await asyncio.gather(monitor.gateway.prices(instrument.symbol), monitor.gateway.balance())
        if quote.mark is None or quote.last is None:
            raise PolicyError(f"{instrument.symbol} has no price yet; try again when it trades")
        entry = E8(quote.last * instrument.tick)
        one = Position(
            symbol=instrument.symbol, position_side=slot, side=signal.direction, lots=Lots(1), entry=entry, mark=quote.mark,
            leverage=margin.leverage, isolated=margin.isolated,
        )  # fmt: skip
        context = ExitContext(
            account=monitor.desk.account, instrument=instrument, position=one, now_ms=quote.time_ms,
            policy=_policy(monitor.router.policies, signal) or self.sizing.policy, strategy=signal.strategy,
            hints=signal.hints, risk=self.gate.risk, market=await monitor.market(instrument.symbol),
        )  # fmt: skip
        if signal.stop:
            context = replace(context, policy=signal.with_stop(monitor.router.planner.policy_of(context)))
        else:  # a stop that was asked for is not research's to move
            context = replace(context, hints=self.hints.of(context, monitor.router.planner.policy_of(context)))
        draft = monitor.router.draft(context, for_entry=True)
        lots = self._size(signal, instrument, draft, balance, margin.leverage)
        context = replace(context, position=replace(one, lots=lots))
        return context, monitor.router.draft(context, for_entry=True), lots

    def _size(self, signal: Signal, instrument: Instrument, plan: ExitPlan, balance: Balance, leverage: int) -> Lots:
        """Lots whose loss at the stop is the risk, within the largest notional and the free margin; the exchange's limits hold."""
        value = plan.entry * instrument.lot // ONE  # of one lot
        if signal.quantity is not None:
            lots = int((signal.quantity * ONE / instrument.lot).to_integral_value(rounding=ROUND_DOWN))
        else:
            loss = max(1, abs(plan.entry - plan.stop * instrument.tick) * instrument.lot // ONE)
            risk = balance.equity * (signal.risk_bps or self.sizing.risk) // 10_000
            lots = min(risk // loss, self.sizing.max_notional // value)
        coins = f"{instrument.symbol}: {_coins(lots, instrument)} coins, {lots * value / ONE:,.2f} USDT,"
        if lots < instrument.min_lots or lots * value < instrument.min_notional:
            raise PolicyError(
                f"{coins} are below the exchange's minimum of {instrument.min_notional / ONE:g} USDT; ask for more, or risk more"
            )
        if lots * value > self.sizing.max_notional:
            raise PolicyError(
                f"{coins} are above max_notional {self.sizing.max_notional / ONE:,.2f}; ask for less, or raise it in qtkit.toml"
            )
        if lots > instrument.market_max_lots:
            raise PolicyError(f"{coins} are above the largest market order, {_coins(instrument.market_max_lots, instrument)} coins")
        if lots * value > balance.available * leverage * 9 // 10:
            raise PolicyError(f"{coins} need more margin than is free at {leverage}x: {balance.available / ONE:,.2f} USDT")
        return Lots(lots)

    async def _send(self, monitor: PositionMonitor, plan: ExitPlan, lots: Lots, instrument: Instrument) -> Execution:
        """Stop first where it may rest while flat, then the entry; the pass after it protects the actual fill."""
        applier, key = monitor.applier, plan.key
        if monitor.desk.traits.stop_while_flat:
            await applier.apply(_stop_of(monitor.desk.tag, plan, lots, instrument, "armed before its entry"))
            episode = applier.book.episodes[key]
            refused = [leg for name, leg in episode.legs.items() if name[0] == "s" and leg.status is LegStatus.REFUSED]
            if refused:
                await self._give_up(monitor, plan, f"the exchange refused its stop with {coded(refused[0].code)}")
        await applier.apply(_entry(monitor.desk.tag, plan, lots, instrument))
        leg = applier.book.episodes[key].legs["e0"]
        if leg.status is LegStatus.REFUSED:
            await self._give_up(monitor, plan, f"the exchange refused it with {coded(leg.code)}")
        if not monitor.desk.traits.stop_while_flat and leg.filled == lots:
            # At once, not after the readings with which the pass begins.
            await applier.apply(_stop_of(monitor.desk.tag, plan, lots, instrument, "its entry filled"))
        await monitor.protect(key)
        return _execution(plan, lots, instrument, f"entry {leg.status.value.lower()}")

    async def _give_up(self, monitor: PositionMonitor, plan: ExitPlan, why: str) -> None:
        applier, key = monitor.applier, plan.key
        legs = applier.book.episodes[key].legs
        resting = [leg.order for name, leg in legs.items() if name[0] == "s" and leg.status is not LegStatus.REFUSED]
        await applier.apply([Cancel(key=key, order=order, reason="its entry was given up") for order in resting])
        applier.record([EntryFailed(key=key, at_ms=applier.clock_ms(), reason=why)])
        monitor.router.register.close(key, plan.episode, applier.clock_ms(), f"entry given up: {why}")
        raise PolicyError(f"{key}: no position was opened, {why}")


def _policy(policies: Policies, signal: Signal) -> ExitPolicy | None:
    """The policy that a signal names, else the one that its symbol uses. Raises ``PolicyError`` for a name that cannot be used."""
    return policies.named(signal.policy) if signal.policy else policies.of(signal.symbol.upper())


def _open_already(key: Key) -> PolicyError:
    return PolicyError(f"{key} is open already; the desk manages it, and a second entry would change its risk")


def _entry(tag: str, plan: ExitPlan, lots: Lots, instrument: Instrument) -> list[Place]:
    """The entry, at the market."""
    order = Order(
        symbol=instrument.symbol, client_id=client_order_id(tag, plan.uid, "e0", 1), kind=OrderKind.MARKET, side=plan.side.opening,
        position_side=plan.key.position_side, lots=lots,
    )  # fmt: skip
    return [Place(key=plan.key, leg="e0", revision=1, order=order, reason="signal")]


def _stop_of(tag: str, plan: ExitPlan, lots: Lots, instrument: Instrument, reason: str) -> list[Place]:
    """The working stop of an entry, by its plan."""
    order = Order(
        symbol=instrument.symbol, client_id=client_order_id(tag, plan.uid, "s0", 1), kind=OrderKind.STOP_MARKET, side=plan.side.closing,
        position_side=plan.key.position_side, lots=Lots(min(lots, instrument.market_max_lots)), trigger=begin(plan).stop,
        trigger_by=plan.trigger_by, reduce_only=plan.key.position_side is PositionSide.BOTH,
    )  # fmt: skip
    return [Place(key=plan.key, leg="s0", revision=1, order=order, reason=reason)]


def _execution(plan: ExitPlan, lots: Lots, instrument: Instrument, outcome: str) -> Execution:
    risk = abs(plan.entry - plan.stop * instrument.tick) * lots * instrument.lot // ONE
    return Execution(
        symbol=plan.key.symbol, side=plan.side.name, quantity=_coins(lots, instrument), stop=_price(plan.stop, instrument),
        risk=f"{Decimal(risk) / ONE:.2f}", plan=plan.uid, strategy=plan.strategy_id, outcome=outcome, warnings=plan.warnings,
    )  # fmt: skip


def _coins(lots: int, instrument: Instrument) -> str:
    return f"{(Decimal(lots) * instrument.lot / ONE).normalize():f}"


def _price(ticks: int, instrument: Instrument) -> str:
    return f"{(Decimal(ticks) * instrument.tick / ONE).normalize():f}"
