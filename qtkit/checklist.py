"""The canary's questions: what of the desk's assumptions about an exchange can be asked of it, with far orders and a tiny position.

The questions are those that no document answers (floor beside stop, stops while flat, what resting stops reserve, ids used twice, how
late a list is). An answer is what was read back, never what was acknowledged.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from qtkit.core.desired import Traits
from qtkit.core.distance import decimal
from qtkit.core.model import Order, OrderStatus, PositionSide, Ticks
from qtkit.core.reconcile import same
from qtkit.probes import ENTRY, FLOOR, LIMIT, POLL_S, STOP, TARGET, Hands, NotListed, Reply, difference
from qtkit.proofs import Answer, Observation
from qtkit.venue.gateway import GatewayError

NEEDS_POSITION = frozenset({-4509, -2022})  # Binance: GTE without a position; reduce-only without one
RESERVED = frozenset({-4118, -2022})  # reduce-only beyond what is left of the position
SLOT_TAKEN = -4130  # a close-position order of this direction is open
NO_MARGIN = -2019
NAMES = {STOP: "working stop", FLOOR: "floor", TARGET: "target", LIMIT: "limit order"}
KINDS = {
    STOP: "quantity stop on mark, reduce-only",
    FLOOR: "close-position stop on mark",
    TARGET: "take-profit on last, reduce-only",
    LIMIT: "resting limit order",
}
FREE_WITHIN_S = 5.0  # Binance users report up to 1 s
FIRES_WITHIN_S = 15.0
FIRES_BPS = 2  # from the mark: a price that comes soon


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How this computer's clock stands to the exchange's: whether requests signed by it are taken, and by how much it is off."""

    right: bool
    text: str


@dataclass(slots=True)
class Checklist:
    """Questions asked and answered. ``assumed`` is what the desk goes by, ``grace_ms`` how long it waits for an acknowledged order.

    ``on_position`` is told the entry's id and size before it is sent, and nothing ("", 0) once it is closed, so that the position is known
    whatever happens in between.
    """

    hands: Hands
    assumed: Traits
    grace_ms: int
    clock_ms: Callable[[], int]
    on_position: Callable[[str, int], None]
    traits: dict[str, bool] = field(default_factory=dict)
    observations: list[Observation] = field(default_factory=list)
    shown: set[str] = field(default_factory=set)

    def begin(self, access: str, clock: Clock | None) -> None:
        """What was known before anything was sent: who asks with which rights, the clock, mode and trading rules."""
        hands, rules = self.hands, self.hands.instrument
        self._note("access", Answer.SEEN, access)
        if clock is not None:
            self._note("clock", Answer.AGREES if clock.right else Answer.FAILED, clock.text)
        mode = "one-way" if hands.slot is PositionSide.BOTH else f"hedge, asked for {hands.slot.value}"
        sizes = f"tick {decimal(rules.tick, 8)}, lot {decimal(rules.lot, 8)}, smallest order {decimal(hands.cost, 8)} USDT"
        self._note("mode and rules", Answer.SEEN, f"{mode}; {rules.symbol}: {sizes}")

    async def flat(self) -> None:
        """What can be asked without a position. Only the limit order could open one, and it is a quarter of the price away."""
        for leg in (STOP, TARGET, FLOOR, LIMIT):
            await self._asked(NAMES[leg], lambda leg=leg: self._kind(leg))  # type: ignore[misc]
        if "stop_while_flat" not in self.traits:
            self._note("stop while flat", Answer.NOT_ASKED, "the stop was refused for another reason")
        if self.traits.get("stop_while_flat"):
            await self._asked("id taken", self._id_taken)
            await self._asked("id used again", self._id_again)

    async def held(self) -> None:
        """What needs a position: a stop first, the smallest entry that the exchange takes, the questions, the close."""
        hands = self.hands
        armed = await self._stop() if self.traits.get("stop_while_flat") else None
        entry = hands.order(ENTRY)
        entry = replace(entry, client_id=hands.next_id(ENTRY))
        self.on_position(entry.client_id, entry.lots)
        reply = await hands.send(entry, listed=False)
        hands.sent.pop(entry.client_id, None)
        if not reply.accepted or not await hands.until_held(entry.lots):
            self._note("position", Answer.FAILED, f"no position came of the entry: {reply.text or 'it was not read back'}", reply)
            return
        self._note("position", Answer.SEEN, f"{entry.lots} lots opened at the market, to be closed again", reply)
        stop = await self._reserves(armed or await self._stop())
        await self._beside(stop)
        if TARGET not in self.shown:
            await self._asked(NAMES[TARGET], lambda: self._kind(TARGET))
        await hands.close(entry.lots)
        self.on_position("", 0)
        await hands.remove(*(order for order, _ in tuple(hands.sent.values())))
        if self.traits.get("stop_while_flat"):
            await self._asked("stop triggers while flat", self._fires_flat)

    def finish(self, *, position: bool) -> None:
        """The figures of the whole run, and what nobody can ask."""
        if self.hands.lags:
            worst = max(self.hands.lags)
            late = worst > self.grace_ms
            text = (
                f"an accepted order was listed after {worst} ms at most ({len(self.hands.lags)} times); the desk waits {self.grace_ms} ms"
            )
            self._note("read lag", Answer.DIFFERS if late else Answer.AGREES, text)
        if not position:
            for item in ("floor beside stop", "what stops reserve", "stop triggers while flat"):
                if all(seen.item != item for seen in self.observations):
                    self._note(item, Answer.NOT_ASKED, "it needs a position: --position opens a tiny one and closes it")
        self._note("margin mode", Answer.NOT_ASKED, "whether stops outlive a change of it: the desk never changes it while orders rest")
        self._note("maintenance", Answer.NOT_ASKED, "whether stops outlive it: nobody can ask for one; the desk reads every order back")

    def seen(self, item: str, text: str) -> None:
        """Something to be known with the answers."""
        self._note(item, Answer.SEEN, text)

    def failed(self, item: str, text: str) -> None:
        """Something went wrong on the way."""
        self._note(item, Answer.FAILED, text)

    # -- the questions

    async def _kind(self, leg: str) -> None:
        """Place, list, move and cancel one kind of order."""
        first, _ = await self._once_free(leg)
        if leg == STOP and "stop_while_flat" not in self.traits and (first.accepted or first.code in NEEDS_POSITION):
            self._trait("stop while flat", "stop_while_flat", first.accepted, first)
        if not first.accepted:
            self._refused(leg, first)
            return
        self._kept(leg, first)
        second, how = await self._moved(leg, first.order)
        await self.hands.remove(second)
        self._whole(leg, first, second, how)

    async def _moved(self, leg: str, old: Order) -> tuple[Order, str]:
        """The order at another price: new before old, or, where both cannot rest, old first."""
        second = await self.hands.place(leg, step=1)
        if second.accepted:
            await self.hands.remove(old)
            return second.order, "new before old"
        await self.hands.remove(old)
        again, waited = await self._once_free(leg, step=1)
        if not again.accepted:
            raise NotListed(f"moved, it was refused with {second.code} beside the old one, and with {again.code} after it: {again.text}")
        return again.order, f"old first, for beside it the new one is refused with {second.code}{waited}"

    async def _once_free(self, leg: str, *, step: int = 0) -> tuple[Reply, str]:
        """Place, and again for some seconds where a close-position slot is said to be taken by an order that is gone; with how long."""
        since = time.monotonic()
        while True:
            reply = await self.hands.place(leg, step=step)
            passed = time.monotonic() - since
            if reply.code != SLOT_TAKEN or passed > FREE_WITHIN_S:
                return reply, f", and for {passed:.1f} s after the old one's end" if passed > POLL_S else ""
            await asyncio.sleep(POLL_S)

    def _refused(self, leg: str, reply: Reply) -> None:
        if reply.code in NEEDS_POSITION:
            self._note(NAMES[leg], Answer.NOT_ASKED, f"refused without a position ({KINDS[leg]})", reply)
        elif leg == LIMIT and reply.code == NO_MARGIN:
            self._note(NAMES[leg], Answer.NOT_ASKED, "not enough free margin for the smallest one", reply)
        else:
            self._note(NAMES[leg], Answer.FAILED, f"refused ({KINDS[leg]}): {reply.text}", reply)

    def _whole(self, leg: str, first: Reply, second: Order, how: str) -> None:
        self.shown.add(leg)
        text = f"placed, listed, moved ({how}) and cancelled: {KINDS[leg]}"
        self._note(NAMES[leg], Answer.AGREES, text, first, second.client_id)

    def _kept(self, leg: str, reply: Reply) -> None:
        """What was asked for is what is listed: price, size, trigger price type, reduce-only."""
        asked = self.hands.order(leg)
        if not same(reply.order, asked):
            raise NotListed(f"{reply.order.client_id} is listed otherwise than asked for: {difference(reply.order, asked)}")
        if leg == STOP and asked.reduce_only:
            self._note("reduce-only kept", Answer.AGREES, "the conditional list shows it as reduce-only", reply)

    async def _id_taken(self) -> None:
        first = await self.hands.place(STOP)
        second = await self.hands.place(STOP, step=1, client_id=first.order.client_id)
        await self.hands.remove(first.order)
        answer = Answer.DIFFERS if second.accepted else Answer.AGREES
        self._note("id taken", answer, f"a second order under the id of a resting one is {_said(second)}", second)

    async def _id_again(self) -> None:
        first = await self.hands.place(STOP)
        await self.hands.remove(first.order)
        second = await self.hands.place(STOP, step=1, client_id=first.order.client_id)
        if second.accepted:
            await self.hands.remove(second.order)
        self._note(
            "id used again", Answer.SEEN, f"an order under the id of a cancelled one is {_said(second)}; the desk never does", second
        )

    async def _reserves(self, stop: Order) -> Order:
        """A second stop over the whole position beside the first. Returns the one that rests in the end."""
        second = await self.hands.place(STOP, step=1)
        if second.accepted or second.code in RESERVED:
            self._trait("what stops reserve", "conditional_reserves", not second.accepted, second)
        else:
            self._note("what stops reserve", Answer.FAILED, f"a second stop beside the first is {_said(second)}", second)
        if second.accepted:
            await self.hands.remove(stop)
            kept, how = second.order, "new before old"
        else:
            await self.hands.remove(stop)
            kept, how = await self._stop(step=1), f"old first, for beside it the new one is refused with {second.code}"
        if STOP not in self.shown:
            self._whole(STOP, second, kept, how)
        return kept

    async def _stop(self, *, step: int = 0) -> Order:
        """A stop that rests. Raises ``NotListed`` if it is refused."""
        reply = await self.hands.place(STOP, step=step)
        if not reply.accepted:
            raise NotListed(f"the stop is {_said(reply)}: {reply.text}")
        if step == 0 and STOP not in self.shown:
            self._kept(STOP, reply)
        return reply.order

    async def _beside(self, stop: Order) -> None:
        """The close-position stop beside a quantity stop, and by itself; a stop rests before and after."""
        floor = (await self._once_free(FLOOR))[0] if FLOOR in self.shown else await self.hands.place(FLOOR)
        if floor.accepted or floor.code == SLOT_TAKEN:
            self._trait("floor beside stop", "floor_beside_stop", floor.accepted, floor)
        else:
            self._note("floor beside stop", Answer.FAILED, f"the floor beside a stop is {_said(floor)}", floor)
        if floor.accepted:
            await self.hands.remove(floor.order)
        if FLOOR not in self.shown:
            if not floor.accepted:
                await self.hands.remove(stop)
            await self._asked(NAMES[FLOOR], lambda: self._kind(FLOOR))
            if not floor.accepted:
                await self._stop()

    async def _fires_flat(self) -> None:
        """What becomes of a stop whose price comes while there is nothing to close."""
        hands = self.hands
        quote = await hands.gateway.prices(hands.instrument.symbol)
        near = replace(hands, quote=quote).level(-FIRES_BPS)
        order = replace(hands.order(STOP), trigger=Ticks(near), client_id=hands.next_id(STOP))
        reply = await hands.send(order, listed=False)
        end, seen = time.monotonic() + FIRES_WITHIN_S, None
        while reply.accepted and time.monotonic() < end and not (seen and seen.terminal):
            await asyncio.sleep(0.2)
            hands.fence()
            with suppress(GatewayError):
                found = await hands.gateway.lookup(order.symbol, order.client_id, conditional=True)
                seen = None if found is None else found.status
        if await hands.position() is not None:
            await hands.close(hands.lots)
            self._note(
                "stop triggers while flat", Answer.FAILED, "it OPENED a position, which was closed; never rest a stop while flat", reply
            )
        elif reply.accepted and seen is not None and seen is not OrderStatus.NEW:
            self._note("stop triggers while flat", Answer.AGREES, f"it ended as {seen.value} and opened nothing", reply)
        else:
            self._note("stop triggers while flat", Answer.NOT_ASKED, f"its price did not come within {FIRES_WITHIN_S:.0f} s", reply)

    # -- what is noted

    async def _asked(self, item: str, question: Callable[[], Awaitable[None]]) -> None:
        """One question; that it could not be asked to its end is an observation too, and the next one is asked all the same."""
        try:
            await question()
        except (GatewayError, NotListed) as error:
            self._note(item, Answer.FAILED, str(error))

    def _trait(self, item: str, name: str, seen: bool, reply: Reply) -> None:
        """A rule that nobody has proven, as this exchange follows it."""
        self.traits[name] = seen
        agrees = getattr(self.assumed, name) is seen
        tail = "as the desk assumes" if agrees else f"and the desk assumes {name} = {str(not seen).lower()}"
        self._note(item, Answer.AGREES if agrees else Answer.DIFFERS, f"{_RULES[name][seen]}, {tail}", reply)

    def _note(self, item: str, answer: Answer, text: str, reply: Reply | None = None, *ids: str) -> None:
        """An answer takes the place of "not asked yet"."""
        found = () if reply is None else (reply.order.client_id,)
        code = None if reply is None else reply.code
        self.observations = [old for old in self.observations if (old.item, old.answer) != (item, Answer.NOT_ASKED)]
        self.observations.append(
            Observation(item=item, answer=answer, text=text, code=code, ids=(*found, *ids), at_ms=self.clock_ms())
        )  # fmt: skip


_RULES = {
    "stop_while_flat": ("a stop is refused while flat", "a stop is taken while flat"),
    "conditional_reserves": ("two stops over the whole position rest together", "a resting stop reserves the position"),
    "floor_beside_stop": ("the floor is refused beside a stop", "floor and stop rest together"),
}


def _said(reply: Reply) -> str:
    return "accepted" if reply.accepted else f"refused with {reply.code}"
