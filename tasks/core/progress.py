"""How a step says how far it is: ``advance(name, n, total=None, size=0)``, silent by default."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Progress(Protocol):
    """Takes what steps report; called from several threads."""

    def advance(self, name: str, n: int, total: int | None = None, size: int = 0) -> None:
        """``n`` more units of ``name`` are done, of ``total`` where that is known; they are ``size`` bytes together."""


class Silent:
    """Says nothing."""

    def advance(self, name: str, n: int, total: int | None = None, size: int = 0) -> None:
        """Ignores the report."""


class Counting:
    """Adds the reports up and hands the sums on, at most once an interval a name and always at the end.

    Args:
        publish: called with name, units done and total (``None`` where unknown).
        interval: least seconds between two calls for one name.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        publish: Callable[[str, int, int | None], None],
        interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publish = publish
        self._interval = interval
        self._clock = clock
        self._lock = threading.Lock()
        self._done: dict[str, int] = {}
        self._totals: dict[str, int | None] = {}
        self._last: dict[str, float] = {}

    def advance(self, name: str, n: int, total: int | None = None, size: int = 0) -> None:  # noqa: ARG002
        """Counts units, not bytes, and publishes when it is time to."""
        with self._lock:
            done = self._done[name] = self._done.get(name, 0) + n
            total = self._totals[name] = total if total is not None else self._totals.get(name)
            now = self._clock()
            due = now - self._last.get(name, -self._interval) >= self._interval
            if due or done == total:
                self._last[name] = now
                self._publish(name, done, total)


class Fanout:
    """Hands every report to several receivers."""

    def __init__(self, *receivers: Progress) -> None:
        self._receivers = receivers

    def advance(self, name: str, n: int, total: int | None = None, size: int = 0) -> None:
        """Passes the report on."""
        for receiver in self._receivers:
            receiver.advance(name, n, total, size)


_ambient: ContextVar[Progress | None] = ContextVar("darkroom_progress", default=None)


@contextmanager
def reporting_to(progress: Progress) -> Iterator[None]:
    """Steps that start inside report to ``progress``: how a terminal watches a flow that it cannot pass objects to."""
    token = _ambient.set(progress)
    try:
        yield
    finally:
        _ambient.reset(token)


def ambient() -> Progress:
    """The receiver set by :func:`reporting_to`, or a silent one."""
    return _ambient.get() or Silent()
