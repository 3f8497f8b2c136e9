"""Working ahead of who takes the results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

WORKERS = 2


def map_ahead(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``work`` on every item, a few items ahead of who takes the results; these come in the items' order.

    Args:
        work: done in one of two threads; for work that leaves Python's lock to others most of the time.
        items: drawn only when a worker is about to be free.
    """
    running: deque[Future[R]] = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) > WORKERS:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
