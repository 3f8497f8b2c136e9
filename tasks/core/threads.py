"""Doing many blocking things at once, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_bounded(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """``work`` on every item, ``workers`` at a time; results come in the order of completion.

    An item is drawn only when a worker is free for it, so a long stream of items stays a stream. After the first error
    no further item is begun; what is under way ends, and the error is raised.
    """
    with ThreadPoolExecutor(workers) as pool:
        running: set[Future[R]] = set()
        for item in items:
            if len(running) >= workers:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
            running.add(pool.submit(work, item))
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)
