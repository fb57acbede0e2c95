"""One request at a time of a ccxt client: bought from the budget, its answer kept as it came, its failure classified."""

import contextlib
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from qtkit.core.model import PolicyError
from qtkit.venue.budget import Budget
from qtkit.venue.ccxt_calls import TIME, Call
from qtkit.venue.ccxt_errors import CLOCK, Reply, classify, never_sent, pause, redact
from qtkit.venue.gateway import GatewayError, Refused, Unavailable, Unknown

_NAMES = ("symbol", "clientOrderId", "clientAlgoId", "origClientOrderId", "orderId")  # what an error text calls a request by
_reply: ContextVar[Reply] = ContextVar("qtkit_reply")


def record(status: int, headers: Mapping[str, str], body: str) -> None:
    """Keep an HTTP answer for the request of the running task; called by the client's response hook."""
    reply = _reply.get(None)
    if reply is not None:
        reply.status, reply.body, reply.headers = status, body, headers


class Session:
    """Sends the calls of one client. ``secrets`` are kept out of every error text; ``name`` tells whose requests they are.

    Without ``writes`` no request that could change something leaves, whoever asks for it.
    """

    __slots__ = ("_budget", "_client", "_name", "_secrets", "_writes", "closed")

    def __init__(self, client: Any, budget: Budget, secrets: tuple[str, ...], *, name: str, writes: bool = True) -> None:
        self._client, self._budget, self._secrets, self._name, self._writes = client, budget, secrets, name, writes
        self.closed = False

    async def measure_clock(self) -> None:
        """Set the client's clock offset, taken at the middle of the request."""
        self._client.options["timeDifference"], _ = await self._clock()

    async def clock_off_ms(self) -> int:
        """How far this computer's clock is off at least; the client's offset is left as it is, for a slow answer would spoil it."""
        off_ms, unsure_ms = await self._clock()
        return max(0, abs(off_ms) - unsure_ms)

    async def _clock(self) -> tuple[int, int]:
        """By how much this computer's clock is ahead at the middle of a request, and by how much that may be wrong (ms)."""
        sent = self._client.milliseconds()
        server = int(await self.read(TIME))
        got = self._client.milliseconds()
        return (sent + got) // 2 - server, (got - sent) // 2

    async def call(self, call: Call, *args: Any, protective: bool = False, weight: int | None = None) -> Any:
        """Send one request; raises ``Refused``, ``Unknown`` (writes) or ``Unavailable``, or ``PolicyError`` if ccxt itself refused."""
        if self.closed:
            raise Unavailable(f"{self._name} is closed")
        if call.write and not self._writes:
            raise PolicyError(f"{self._name} only reads: {call.method} was not sent")
        params = next((arg for arg in args if isinstance(arg, dict)), {})
        await self._budget.take(call.cost(params) if weight is None else weight, protective=protective, orders=call.orders)
        reply = Reply()
        token = _reply.set(reply)
        failure: BaseException | None = None
        try:
            return await getattr(self._client, call.method)(*args)
        except Exception as fault:  # noqa: BLE001 - ccxt raises anything while it parses; after the send nothing may escape unclassified
            failure = fault
        finally:
            _reply.reset(token)
            self._note(reply)
        # Raised outside of the handler: the caught error holds the signed address, it must not travel as context.
        raise await self._error(call, reply, failure, params)

    async def read(self, call: Call, *args: Any, protective: bool = False, weight: int | None = None) -> Any:
        """As ``call``, for readings: whatever went wrong, it could not be read."""
        refusal: GatewayError
        try:
            return await self.call(call, *args, protective=protective, weight=weight)
        except (Refused, Unknown) as fault:
            refusal = Unavailable(f"{call.method} could not be read: {fault}", getattr(fault, "code", None))
        raise refusal

    def _note(self, reply: Reply) -> None:
        """Tell the budget what the answer says of the limits."""
        used = reply.header("X-MBX-USED-WEIGHT-1M")
        if used and used.isdigit():
            self._budget.seen(int(used))
        silence = pause(reply, self._client.milliseconds() - self._client.options["timeDifference"]) if reply.status else None
        if silence:
            self._budget.ban(silence[0], orders_only=silence[1])

    async def _error(self, call: Call, reply: Reply, failure: BaseException, params: Mapping[str, Any]) -> Exception:
        what = " ".join([call.method, *(str(params[key]) for key in _NAMES if key in params)])
        if reply.status is None and _refused_by_client(failure):
            return PolicyError(redact(f"{what} was not sent, the exchange client refuses it: {failure}", self._secrets))
        error = classify(reply, what=what, write=call.write, unsent=never_sent(failure), secrets=self._secrets)
        code = reply.error()[0]
        with contextlib.suppress(GatewayError):  # what was noticed is repaired if possible; the error of the call stands
            if code in CLOCK and call is not TIME:
                await self.measure_clock()
        return error


def _refused_by_client(fault: BaseException) -> bool:
    """True for ccxt's own refusals before the send: an ``ExchangeError`` without a cause below it."""
    return fault.__cause__ is None and any(kind.__name__ == "ExchangeError" for kind in type(fault).__mro__)
