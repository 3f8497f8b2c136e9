"""Doing many blocking things at once, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from threading import Thread
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

GRACE_SECONDS = 3.0


def map_bounded(work: Callable[[T], R], items: Iterable[T], workers: int, grace: float = GRACE_SECONDS) -> Iterator[R]:
    """``work`` on every item, ``workers`` at a time; results come in the order of completion.

    An item is drawn only when a worker is free for it, so a long stream of items stays a stream. After the first error
    no further item is begun; what is under way ends, and the error is raised.

    Args:
        work: done in a thread of its own for each item.
        items: what to work on.
        workers: most items at a time.
        grace: seconds that what is under way gets to end after Ctrl-C; it may hang on a network for minutes.
    """
    running: set[Future[R]] = set()
    patience: float | None = None
    try:
        for item in items:
            if len(running) >= workers:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
            running.add(in_background(partial(work, item)))
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)
    except KeyboardInterrupt:
        patience = grace
        raise
    finally:
        wait(running, timeout=patience)


def in_background(work: Callable[[], R]) -> Future[R]:
    """Starts ``work`` in a thread that the process does not wait for at its end, as it would for a pool's."""
    future: Future[R] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller gets it
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future
