"""Trails: what prices and bars do to the stops of open positions, and why a trail has or has not armed.

A price can tighten a stop, never loosen it; what it decides is written down and placed by the next pass.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from qtkit.apply import Applier
from qtkit.core import arithmetic
from qtkit.core.book import Book, Episode
from qtkit.core.context import to_trailing_config
from qtkit.core.describe import describe_trail, phrases
from qtkit.core.events import ATR_MOVED, Event, Ratcheted
from qtkit.core.model import E8, Bar, Bps, Key, PolicyError, PositionSide, Ticks, TriggerBy
from qtkit.core.names import suggestion
from qtkit.core.trail import fold, moved
from qtkit.core.watch import PriceWatch
from qtkit.router import ExitRouter
from qtkit.store.seen import BarMissed, BarSeen
from qtkit.store.tape import Tape
from qtkit.venue.gateway import GatewayError, Quote, Unavailable

log = structlog.get_logger("qtkit.trailing")

PRICES_AT_ONCE = 512
MINUTE_MS = 60_000
ANSWER_WITHIN_S = 1.5  # protection does not wait longer for the exchange's time
QUIET_MS = 5_000  # without a price for so long the exchange itself is asked; marks come every second (Binance, markPrice@1s)
LATE_MS = 15_000  # a closed bar that was not told by then is asked for
PAGE = 1_000  # bars of one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Follows:
    """What trails follow: closed bars or every price, of mark or last."""

    closed_bars: bool = True
    series: TriggerBy = TriggerBy.MARK
    by_mark: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_mark", self.series is TriggerBy.MARK)  # asked at every price, where looking an Enum up is dear


class Trails:
    """The trails of an account's positions against the prices and bars that come.

    ``tightened`` are the positions whose stop has moved since the last ``record``; ``time_ms`` is the exchange's time
    as its events tell it, 0 before the first; ``behind`` says that bars may have been missed: until they are caught up, with the price
    of now in hand, none is folded. ``silent_ms`` is since when (our clock) prices that the exchange has are not told, None while they
    are. ``wake`` is called when a stop has moved: a pass has to place it.
    """

    def __init__(self, applier: Applier, follows: Follows, tape: Tape | None, wake: Callable[[], None]) -> None:
        self.applier, self.follows, self.tape, self.wake = applier, follows, tape, wake
        self.watch = PriceWatch()
        self.tightened: list[Key] = []
        self.time_ms = 0
        self.behind = True
        self.silent_ms: int | None = None
        self._asked_ms = self._first_ms = 0  # the exchange's time as it was last and first asked for
        self._told = (0, 0)  # ``time_ms`` at the newest pass that found it changed, and our own clock then
        self._caught: dict[Key, int] = {}  # exchange time up to which a position's bars were asked for and folded
        self._account = applier.gateway.account
        self._heard: list[Quote] = []  # prices that wait for the tape

    def now_ms(self) -> int:
        """The exchange's time, our own clock's before it was ever told."""
        return max(self.time_ms, self._asked_ms) or self.applier.clock_ms()

    async def keep_time(self, symbol: str) -> None:
        """Ask for the exchange's time where its events do not tell it, or may not have: a pass must not decide by a clock that stands.

        A plan's trail begins there, bars are missed by it and time stops come by it. Our own clock may be another.
        """
        own_ms = self.applier.clock_ms()
        if self.time_ms != self._told[0]:
            self._told = (self.time_ms, own_ms)
        quiet = own_ms - self._told[1] >= QUIET_MS
        if not quiet:
            self.silent_ms = None
        if not (quiet or self.behind or not self.time_ms):
            return
        try:
            quote = await asyncio.wait_for(self.applier.gateway.prices(symbol), ANSWER_WITHIN_S)
        except (GatewayError, TimeoutError) as error:
            log.warning("time", symbol=symbol, outcome="not told", why=str(error) or "no answer in time")
            return
        self._asked_ms, self._first_ms = max(self._asked_ms, quote.time_ms), self._first_ms or quote.time_ms
        unheard = quiet and self._asked_ms - max(self.time_ms, self._first_ms) >= QUIET_MS
        self.silent_ms = (self.silent_ms or own_ms) if unheard else None

    def on_quote(self, quote: Quote) -> None:
        """A price. Trails that follow every price may tighten."""
        time_ms = quote.time_ms
        if time_ms > self.time_ms:
            self.time_ms = time_ms
        heard = self._heard
        heard.append(quote)
        if len(heard) >= PRICES_AT_ONCE:
            self.write_prices()
        follows = self.follows
        if follows.closed_bars:
            return
        price = quote.mark if follows.by_mark else self._last(quote)
        if price is None:
            return
        moved = self.watch.on_price(quote.symbol, price)
        if moved:
            self.tightened += moved
            self.wake()

    def write_prices(self) -> None:
        """Put the prices heard on the tape. Many at once: a system call for each would cost more than its decision."""
        heard, self._heard = self._heard, []
        if self.tape is not None:
            self.tape.prices(self._account, ((quote.time_ms, quote.symbol, quote.mark, quote.last) for quote in heard))

    def _last(self, quote: Quote) -> E8 | None:
        """The last price off its grid, as the mark price comes."""
        instrument = self.applier.gateway.instruments.get(quote.symbol)
        return None if quote.last is None or instrument is None else E8(quote.last * instrument.tick)

    def on_bar(self, symbol: str, bar: Bar) -> None:
        """A bar closed: trails that follow closed bars fold its favourable extreme.

        A bar that began before the plan holds prices from before it: they may tighten the stop, never sell. One that is not the next,
        or comes late, is not folded as it comes: its level may be one that the price has passed since.
        """
        closed_ms = bar.time_ms + MINUTE_MS
        late = self.now_ms() - closed_ms >= MINUTE_MS
        self.time_ms = max(self.time_ms, closed_ms)
        if self.tape is not None:
            self.write_prices()  # they came before it
            self.tape.write(BarSeen(account=self._account, symbol=symbol, bar=bar), closed_ms)
        if not self.follows.closed_bars:
            return
        for key, episode in list(self.applier.book.episodes.items()):
            if key.symbol != symbol or not episode.opened or closed_ms <= episode.trail.at_ms:
                continue
            if late or bar.time_ms > episode.trail.at_ms:
                self.behind = True
                self.wake()
            elif not self.behind:
                self._fold(key, episode, bar, catching_up=bar.time_ms < episode.plan.created_ms)

    def _fold(self, key: Key, episode: Episode, bar: Bar, *, catching_up: bool) -> None:
        if bar.time_ms + MINUTE_MS <= episode.trail.at_ms:
            return
        extreme = bar.high if episode.side.sign > 0 else bar.low
        after = fold(
            episode.plan, episode.trail, extreme, bar.time_ms + MINUTE_MS, targets_done=episode.targets_done,
            price=bar.close if catching_up else None,
        )  # fmt: skip
        for line in phrases(episode.trail, after, episode.plan, extreme):
            log.info(line)
        self.applier.record([Ratcheted(key=key, trail=after, reason="bars missed" if catching_up else "bar closed")])
        if after.stop != episode.trail.stop:
            self.tightened.append(key)
            self.wake()

    def move(self, key: Key, callback: Bps, price: Ticks | None) -> None:
        """Bring a trail's callback to where its ATR has moved; ``price`` is that of now where the hour's close was missed."""
        episode = self.applier.book.episodes[key]
        seen = None if self.follows.closed_bars else self.watch.state(key, self.now_ms())
        _, after = moved(episode.plan, seen or episode.trail, callback, targets_done=episode.targets_done, price=price)
        reason = ATR_MOVED if price is None else "ATR of a missed hour"
        self.applier.record([Ratcheted(key=key, trail=after, reason=reason, callback=callback)])
        self.watch.follow(self.applier.book.episodes.values())
        log.info(f"{key.symbol}: ATR moved -> trail {callback / 100:g}%", key=str(key))
        if after.stop != episode.trail.stop:
            self.tightened.append(key)
            self.wake()

    async def catch_up(self) -> None:
        """Fold the bars that were missed, clamped to the price, so that the stop is where it would have been.

        What cannot be read now is caught up by a later pass: this one places what is known.
        """
        owed = [key for key, episode in self.applier.book.episodes.items() if self._owes(key, episode)]
        done = await asyncio.gather(*(self._catch_up(key) for key in owed))
        self.behind = self.behind and not all(done)

    def _owes(self, key: Key, episode: Episode) -> bool:
        """True if a bar has closed that a position's trail does not know of, and will not be told by itself."""
        now_ms, known_ms = self.now_ms(), max(episode.trail.at_ms, self._caught.get(key, 0))
        if not episode.opened or known_ms // MINUTE_MS >= now_ms // MINUTE_MS:
            return False
        untold = self.follows.closed_bars and now_ms % MINUTE_MS >= LATE_MS
        return self.behind or untold or self.silent_ms is not None

    async def _catch_up(self, key: Key) -> bool:
        """Fold all missed bars of a position, read page by page up to the running one, whose close is the price now. False if it failed."""
        since_ms = max(self.applier.book.episodes[key].trail.at_ms, self._caught.get(key, 0)) - MINUTE_MS
        bars: list[Bar] = []
        try:
            while not bars or bars[-1].closed:
                limit = min(PAGE, max(2, (self.now_ms() - since_ms) // MINUTE_MS + 2))
                page = await self.applier.gateway.bars(key.symbol, limit=limit, by=self.follows.series, since_ms=since_ms)
                bars += page
                if len(page) < limit:
                    break
                since_ms = page[-1].time_ms + MINUTE_MS
        except Unavailable as error:
            log.warning("bars", symbol=key.symbol, outcome="not caught up", why=str(error))
            return False
        for bar in bars:
            if bar.closed and key in self.applier.book.episodes:
                self.caught_up(key, replace(bar, close=bars[-1].close))
                self._caught[key] = bar.time_ms + MINUTE_MS
        return True

    def caught_up(self, key: Key, bar: Bar) -> None:
        """Fold a bar that was missed into a position's trail; its close is the price now."""
        if self.tape is not None:
            self.tape.write(BarMissed(account=self._account, symbol=key.symbol, bar=bar), bar.time_ms + MINUTE_MS)
        self._fold(key, self.applier.book.episodes[key], bar, catching_up=True)

    def fault(self, own_ms: int, patience_ms: int) -> str | None:
        """That no prices are heard for longer than the desk's patience, in one sentence, or None."""
        if self.silent_ms is None or own_ms - self.silent_ms < patience_ms:
            return None
        since = f"{datetime.fromtimestamp(self.silent_ms / 1000, UTC):%H:%M:%S} UTC"
        return f"no prices are heard since {since}, although the exchange has them; trails move by the minute only"

    def record(self) -> None:
        """Write down what prices have decided since the last time. What bars decide is written down as they come."""
        moved, self.tightened = self.tightened, []
        if self.follows.closed_bars:
            return
        events: list[Event] = []
        for key in dict.fromkeys(moved):
            state, episode = self.watch.state(key, self.now_ms()), self.applier.book.episodes.get(key)
            if state is not None and episode is not None and arithmetic.improves(episode.side.sign, episode.trail.stop, state.stop):
                for line in phrases(episode.trail, state, episode.plan, state.best):
                    log.info(line)
                events.append(Ratcheted(key=key, trail=state, reason="price"))
        self.applier.record(events)


class TrailingStopManager:
    """What trails, where it stands and why. An object made without arguments reads this home's register and journal."""

    def __init__(self, router: ExitRouter | None = None, *, book: Mapping[Key, Episode] | None = None, journal: Path | None = None) -> None:
        self.router = router or ExitRouter()
        self._book = book
        self._journal = journal

    def get_trail_config_from_plan(self, symbol: str, position_side: PositionSide | str | None = None) -> dict[str, float | bool]:
        """Trail of the active plan: ``enabled``, ``callback_pct``, ``activation_pct``, ``size_pct`` (fractions of price and size).

        A plan without a trail says ``enabled`` False with zeros. Raises ``PolicyError`` if there is no plan.
        """
        plan = self.router.get_active_plan(symbol, position_side)
        if plan is None:
            raise PolicyError(f"{symbol} has no exit plan: no desk has seen a position in it; `qtkit check` shows what is open")
        off: dict[str, float | bool] = {"enabled": False, "callback_pct": 0.0, "activation_pct": 0.0, "size_pct": 0.0}
        return to_trailing_config(plan) or off

    def episodes(self) -> Mapping[Key, Episode]:
        """Living episodes: the desk's own, or those of this home's journal."""
        if self._book is not None:
            return self._book
        from qtkit.client import read_book

        book: Book = read_book(self.router.account, self._journal)
        return book.episodes

    def explain(self, symbol: str) -> str:
        """In plain words: where the stop is, what has happened to it, and which price moves it next."""
        found = [episode for key, episode in sorted(self.episodes().items()) if key.symbol == symbol]
        if not found:
            known = {key.symbol for key in self.episodes()}
            raise PolicyError(f"{symbol} has no open position here: {suggestion(symbol, known) if known else 'nothing is open'}")
        return "\n".join(describe_trail(episode) for episode in found)
