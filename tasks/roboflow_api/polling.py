"""Waiting for something elsewhere to be done, without losing a run to one bad look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tasks.core.errors import Transient
from tasks.roboflow_api.retrying import Timing

T = TypeVar("T")


@dataclass(frozen=True)
class Pace:
    """How often to look: from quick to patient.

    Attributes:
        first: seconds before the second look.
        factor: growth of the interval from one look to the next.
        longest: longest interval in seconds.
        bad_looks: failed looks in a row that are borne.
    """

    first: float = 0.1
    factor: float = 1.25
    longest: float = 15.0
    bad_looks: int = 10


def poll_until(
    look: Callable[[], T],
    done: Callable[[T], bool],
    *,
    deadline: float,
    pace: Pace,
    timing: Timing,
    on_change: Callable[[T], None] = lambda _state: None,
) -> T | None:
    """Looks again and again until what it sees is done.

    Whether it is done is asked before the deadline is: a job that ended just in time counts as ended, and only a look
    that succeeded can end the wait. The clock is monotonic. A look that fails in passing is not the end; several in a
    row are; between them the service's ``Retry-After`` is honoured.

    Args:
        look: gives the present state; compared with ``==``.
        done: whether that state is the last.
        deadline: seconds from now after which waiting ends.
        pace: the intervals.
        timing: clock and sleep.
        on_change: called with every state that differs from the one before.

    Returns:
        The state that is done, or ``None`` when the deadline passed first.

    Raises:
        Transient: too many looks failed in a row.
    """
    end = timing.clock() + deadline
    interval, bad, last = pace.first, 0, None
    while True:
        try:
            state = look()
        except Transient as error:
            bad += 1
            if bad > pace.bad_looks:
                raise
            asked = error.retry_after or 0.0
        else:
            bad, asked = 0, 0.0
            if state != last:
                on_change(state)
                last = state
            if done(state):
                return state
        left = end - timing.clock()
        if left <= 0 and not bad:
            return None
        pause = max(interval, asked)
        timing.sleep(min(pause, left) if left > 0 else pause)
        interval = min(interval * pace.factor, pace.longest)
