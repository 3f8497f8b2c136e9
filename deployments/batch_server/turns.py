"""Work that waits, taken by turns of those it belongs to."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """A queue in which nobody waits behind all that somebody else has put in; to be used in one event loop.

    Args:
        each: Most items of one owner that are worked on at once.
    """

    def __init__(self, each: int) -> None:
        self._each = each
        self._waiting: OrderedDict[int, deque[T]] = OrderedDict()
        self._running: Counter[int] = Counter()
        self._changed = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def put(self, owner: int, item: T) -> None:
        """Have an item worked on after the earlier ones of its owner."""
        self._waiting.setdefault(owner, deque()).append(item)
        self._changed.set()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[tuple[int, T]]:
        """Wait for an item and give it with its owner; it is being worked on inside the block."""
        while (found := self._next()) is None:
            self._changed.clear()
            await self._changed.wait()
        owner, _ = found
        self._running[owner] += 1
        try:
            yield found
        finally:
            self._running -= Counter([owner])
            self._changed.set()

    def _next(self) -> tuple[int, T] | None:
        owner = next((owner for owner in self._waiting if self._running[owner] < self._each), None)
        if owner is None:
            return None
        items = self._waiting[owner]
        item = items.popleft()
        self._waiting.move_to_end(owner)
        if not items:
            del self._waiting[owner]
        return owner, item
