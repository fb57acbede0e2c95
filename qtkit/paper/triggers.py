"""A sorted index of trigger prices: a price asks only the orders that it reaches."""

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

NEVER_UP = 1 << 200  # above every price
NEVER_DOWN = -1  # below every price


class TriggerIndex(Generic[T]):
    """Tokens waiting for one price series to rise or to fall to their key.

    ``ceiling`` and ``floor`` are the nearest keys: while ``floor < price < ceiling`` nothing is reached, and a tick costs two
    comparisons. Removed tokens stay in the heaps until they come up or outnumber the live ones.
    """

    __slots__ = ("_down", "_live", "_serial", "_up", "ceiling", "floor")

    def __init__(self) -> None:
        self.ceiling = NEVER_UP
        self.floor = NEVER_DOWN
        self._up: list[tuple[int, int, T]] = []
        self._down: list[tuple[int, int, T]] = []
        self._live: dict[T, int] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._live)

    def add(self, token: T, key: int, *, rising: bool) -> None:
        """Wait for ``price >= key`` (rising) or ``price <= key``. A token waits once: adding it again moves it."""
        self._serial += 1
        self._live[token] = self._serial
        if rising:
            heappush(self._up, (key, self._serial, token))
            self.ceiling = min(self.ceiling, key)
        else:
            heappush(self._down, (-key, self._serial, token))
            self.floor = max(self.floor, key)
        if len(self._up) + len(self._down) > 2 * len(self._live) + 64:
            self._compact()

    def discard(self, token: T) -> None:
        """Stop waiting. The bounds may stay too narrow for a while: a price then asks once in vain."""
        self._live.pop(token, None)

    def reached(self, price: int) -> list[T]:
        """Take out and answer the tokens that this price reaches, the nearest key first, then the oldest."""
        hits: list[T] = []
        while self._up and self._up[0][0] <= price:
            self._take(self._up, hits)
        while self._down and -self._down[0][0] >= price:
            self._take(self._down, hits)
        self._bound()
        return hits

    def clone(self) -> "TriggerIndex[T]":
        """An independent copy."""
        twin: TriggerIndex[T] = TriggerIndex()
        twin.ceiling, twin.floor, twin._serial = self.ceiling, self.floor, self._serial
        twin._up, twin._down, twin._live = self._up.copy(), self._down.copy(), self._live.copy()
        return twin

    def _take(self, heap: list[tuple[int, int, T]], hits: list[T]) -> None:
        _, serial, token = heappop(heap)
        if self._live.get(token) == serial:
            del self._live[token]
            hits.append(token)

    def _bound(self) -> None:
        for heap in (self._up, self._down):
            while heap and self._live.get(heap[0][2]) != heap[0][1]:
                heappop(heap)
        self.ceiling = self._up[0][0] if self._up else NEVER_UP
        self.floor = -self._down[0][0] if self._down else NEVER_DOWN

    def _compact(self) -> None:
        self._up = [entry for entry in self._up if self._live.get(entry[2]) == entry[1]]
        self._down = [entry for entry in self._down if self._live.get(entry[2]) == entry[1]]
        heapify(self._up)
        heapify(self._down)
        self._bound()
