"""The canary: a short run of far orders on a real account, which proves what the desk assumes of its exchange, or disproves it.

It owns the account while it runs (the desk's own lease), takes away what it placed whatever happens, by id and read back, and first of
all what a canary that was killed has left. It opens nothing, unless it is asked for a position.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from qtkit import sealed
from qtkit.access import enter
from qtkit.account import Account
from qtkit.apply import wall_ms
from qtkit.checklist import Checklist, Clock
from qtkit.core.model import ONE, Instrument, PolicyError, PositionSide, Scope, Side
from qtkit.core.names import suggestion
from qtkit.desk import gateway_of, identity, waits_of
from qtkit.home import Paths
from qtkit.keys import Keys, keys_of, require_own_key
from qtkit.probes import STOP, Hands, NotListed, is_ours, take_away
from qtkit.proofs import Answer, Observation, Proof, fingerprint, host_of, traits_used, with_earlier, write_proof
from qtkit.settings import Settings, account_of
from qtkit.sole import sole_owner
from qtkit.store.lease import Lease, LeaseHeld, LeaseLost
from qtkit.venue.capabilities import capabilities
from qtkit.venue.gateway import Gateway, GatewayError, Quote

PREFERRED = ("XRPUSDT", "ADAUSDT", "LTCUSDT", "ETHUSDT", "BTCUSDT")
"""Liquid markets with a small least order, where the account names no symbols."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What a killed canary leaves for the next one. Its orders are known by their ids, its position only by ``entry``, the entry's id."""

    uid: str
    symbol: str
    side: Side
    position_side: PositionSide
    entry: str
    lots: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a run is asked for. An empty symbol is chosen: the first of the account's that nobody trades."""

    symbol: str = ""
    side: Side = Side.LONG
    position: bool = False


async def canary(settings: Settings, name: str, wish: Wish, *, clock: Clock | None = None, gateway: Gateway | None = None) -> Proof:
    """Run the checklist on an account, keep the proof and return it. ``clock`` is what its caller has measured.

    Raises ``PolicyError`` where it may not even begin (a desk runs, scope watch, no symbol to ask on), ``GatewayError`` if the exchange
    cannot be read.
    """
    paths, account = Paths.here(), account_of(settings, name)
    may_ask(account, wish)
    keys = keys_of(account, paths)
    require_own_key(account, settings.accounts, paths)
    try:
        lease = Lease.acquire(identity(account, keys), name=name, home=paths.home)
    except LeaseHeld as held:
        advice = "a desk has to be stopped for it: what it planned rests meanwhile, and no longer trails"
        raise PolicyError(f"the canary needs account {name} to itself: {held}; {advice}") from None
    with lease:
        gateway = gateway or gateway_of(account, keys, settings, writes=True)
        try:
            access = await enter(gateway, account, keys, writes=True)
            run = _Run(settings, account, keys, paths, lease, gateway, wish, access, clock)
            with await sole_owner(gateway, account, paths.home, writes=True):
                proof = with_earlier(await run.through(), account, keys, paths)
        finally:
            await gateway.close()
    write_proof(proof, keys, account, paths)
    return proof


def may_ask(account: Account, wish: Wish) -> None:
    """Raise ``PolicyError`` where the canary may not begin.

    It is for Binance alone, and the account's own limits hold for it too: scope watch sends nothing, nothing is opened on symbols that are
    not allowed. Far orders may rest on any symbol that the operator names: where all that is allowed is held, no proof could be renewed
    otherwise.
    """
    if why := capabilities(account.venue).read_only:
        raise PolicyError(f"account {account.name}: {why}; `qtkit check` and a desk look at it")
    if account.scope is Scope.WATCH:
        raise PolicyError(
            f"accounts.{account.name}.scope is watch, which sends nothing; set guard or full for the canary to place its orders"
        )
    if account.symbols is None:
        return
    if not account.symbols:
        raise PolicyError(
            f'accounts.{account.name}.symbols: the canary asks on an allowed symbol only; name one, as in symbols = ["XRPUSDT"]'
        )
    if wish.position and wish.symbol and wish.symbol not in account.symbols:
        near = suggestion(wish.symbol, account.symbols)
        raise PolicyError(f"{wish.symbol} is not among accounts.{account.name}.symbols, and a position is opened on those alone: {near}")


@dataclass(slots=True)
class _Run:
    """One run, from taking away what was left behind to the verdict."""

    settings: Settings
    account: Account
    keys: Keys
    paths: Paths
    lease: Lease
    gateway: Gateway
    wish: Wish
    access: str
    clock: Clock | None

    async def through(self) -> Proof:
        await self._after_a_crash()
        instrument, quote = await self._symbol()
        at_ms = wall_ms()
        hands = self._hands(instrument, quote, f"canary-{self.account.name}-{at_ms}")
        record = RunRecord(
            uid=hands.uid, symbol=instrument.symbol, side=self.wish.side, position_side=hands.slot, entry="", lots=0, at_ms=at_ms
        )  # fmt: skip
        self._keep(record)
        questions = Checklist(
            hands, traits_used(self.account), waits_of(self.settings.tick_seconds).grace_ms, wall_ms,
            on_position=lambda entry, lots: self._keep(replace(record, entry=entry, lots=lots)),
        )  # fmt: skip
        questions.begin(self.access, self.clock)
        if self.account.symbols is not None and instrument.symbol not in self.account.symbols:
            questions.seen("symbol", f"{instrument.symbol} is none of the account's symbols: far orders only, named by the operator")
        try:
            await self._ask(questions)
        finally:
            left = await self._clean(hands)
        questions.finish(position=self.wish.position)
        return self._proof(questions, left)

    async def _ask(self, questions: Checklist) -> None:
        await questions.flat()
        if self.wish.position:
            try:
                await questions.held()
            except (GatewayError, NotListed) as error:
                questions.failed("position", str(error))

    async def _symbol(self) -> tuple[Instrument, Quote]:
        """A symbol on which nobody holds or rests anything, with its price."""
        known = self.gateway.instruments
        if self.wish.symbol and self.wish.symbol not in known:
            raise PolicyError(f"there is no symbol '{self.wish.symbol}': {suggestion(self.wish.symbol, known)}")
        busy = {p.symbol for p in await self.gateway.positions()} | {o.symbol for o in await self.gateway.orders()}
        asked = (self.wish.symbol,) if self.wish.symbol else self.account.symbols or PREFERRED
        free = [symbol for symbol in asked if symbol in known and symbol not in busy]
        dear = []
        for symbol in free:
            hands = self._hands(known[symbol], await self.gateway.prices(symbol), "")
            if hands.quote.mark and hands.cost <= self.account.max_notional * ONE:
                return known[symbol], hands.quote
            dear.append(f"{symbol} {hands.cost / ONE:,.2f} USDT" if hands.quote.mark else f"{symbol} has no price")
        why = (
            f"the smallest order comes to more than max_notional: {', '.join(dear)}"
            if dear
            else f"{' '.join(asked)} has a position or orders"
        )
        advice = "name another with --symbol" + ("" if self.wish.position else ", any that nobody trades: only far orders are sent there")
        raise PolicyError(f"the canary needs a symbol that nobody trades, within max_notional: {why}; {advice}")

    def _hands(self, instrument: Instrument, quote: Quote, uid: str) -> Hands:
        slot = PositionSide[self.wish.side.name] if self.gateway.hedge else PositionSide.BOTH
        return Hands(self.gateway, self.settings.desk, uid, instrument, self.wish.side, slot, quote, self.lease.check)

    # -- what is left behind

    @property
    def _record_file(self) -> Path:
        return self.paths.home / "proofs" / f"{self.account.name}.run"

    def _keep(self, record: RunRecord) -> None:
        """On the disk before anything that it tells of is sent."""
        sealed.write(self._record_file, RunRecord, record, self.keys.secret)

    async def _after_a_crash(self) -> None:
        """Close the position and take away the orders of a canary that was killed. Raises ``PolicyError`` if something stays."""
        record = sealed.read(self._record_file, RunRecord, self.keys.secret)
        if record is not None and record.entry:
            await self._close_left(record, self.lease.check)
        left = {order.client_id: (order, 0.0) for order in await self.gateway.orders() if is_ours(order, self.settings.desk)}
        still = await take_away(self.gateway, left, self.lease.check)
        if still:
            raise PolicyError(f"orders of a canary that was killed could not be taken away: {', '.join(still)}; cancel them by hand")
        self._record_file.unlink(missing_ok=True)

    async def _close_left(self, record: RunRecord, fence: Callable[[], object]) -> None:
        """Close what the entry of a run has filled, if its position is still there."""
        if record.symbol not in self.gateway.instruments:
            return
        entry = await self.gateway.lookup(record.symbol, record.entry, conditional=False)
        if entry is None or not entry.filled:
            return
        rules, quote = self.gateway.instruments[record.symbol], await self.gateway.prices(record.symbol)
        uid = f"{record.uid}-after-{wall_ms()}"
        hands = Hands(self.gateway, self.settings.desk, uid, rules, record.side, record.position_side, quote, fence)
        held = await hands.position()
        if held is not None and held.side is record.side:
            await hands.close(entry.filled)

    async def _clean(self, hands: Hands) -> tuple[str, ...]:
        """Whatever happened: no position and no order of this run stays. Returns the ids of what does."""
        left = await self._close_own()
        left += await take_away(self.gateway, dict(hands.sent), self._fence)
        left += await self._close_own()  # an entry whose answer was lost has shown by now whether it came
        if not left:
            self._record_file.unlink(missing_ok=True)
        return tuple(dict.fromkeys(left))

    async def _close_own(self) -> list[str]:
        """Close what this run opened. Returns why it is not closed, if it is not."""
        try:
            record = sealed.read(self._record_file, RunRecord, self.keys.secret)
            if record is not None and record.entry:
                await self._close_left(record, self._fence)
        except (GatewayError, PolicyError) as error:
            return [str(error)]
        return []

    def _fence(self) -> None:
        """While cleaning: a loop that stood still takes a new epoch, for what is taken away is ours under any."""
        with suppress(LeaseLost):
            self.lease.check()
            return
        self.lease.renew()

    # -- the verdict

    def _proof(self, questions: Checklist, left: tuple[str, ...]) -> Proof:
        seen = tuple(questions.observations)
        passed, sentence = verdict(seen, questions.shown, left)
        return Proof(
            account=self.account.name, kind=self.account.kind, venue=self.account.venue, host=host_of(self.account),
            key=fingerprint(self.keys),
            symbol=questions.hands.instrument.symbol, hedge=self.gateway.hedge, with_position=self.wish.position, at_ms=wall_ms(),
            passed=passed, sentence=sentence, traits=dict(sorted(questions.traits.items())), observations=seen,
            versions={name: _version(name) for name in ("qtkit", "ccxt")},
        )  # fmt: skip


def verdict(seen: tuple[Observation, ...], shown: set[str], left: tuple[str, ...]) -> tuple[bool, str]:
    """Whether the desk could work here, and one sentence. What differs fails nothing: the desk can be told."""
    failed = [row.item for row in seen if row.answer is Answer.FAILED]
    if left:
        return False, f"something could not be taken away: {', '.join(left)}; look at once, and cancel by hand"
    if failed:
        return False, f"not as the desk needs it: {', '.join(failed)}"
    if STOP not in shown:
        return False, "the exchange takes no stop without a position, so the stop itself was not shown; run it with --position"
    differs = [row.item for row in seen if row.answer is Answer.DIFFERS]
    open_ = [row.item for row in seen if row.answer is Answer.NOT_ASKED]
    told = f"the desk has to be told of: {', '.join(differs)}" if differs else "as the desk assumes"
    return True, f"{told}; not asked: {', '.join(open_)}" if open_ else told


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout that nobody installed
        return "not installed"
