"""Trying again: how often, how long apart, and for how long in all."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from tasks.core.errors import DarkroomError, is_transient

T = TypeVar("T")

logger = logging.getLogger(__name__)

TELL_AFTER = 6
"""Failed tries of one call after which a person should know; fewer are the weather."""


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff with jitter, under a cap on attempts and on total time.

    Attributes:
        attempts: most tries, the first included.
        first: seconds before the second try, on average.
        factor: growth from one pause to the next.
        longest: longest pause, in seconds; a ``Retry-After`` may ask for more.
        total: seconds after which no further try is begun.
    """

    attempts: int = 12
    first: float = 0.2
    factor: float = 2.0
    longest: float = 15.0
    total: float = 300.0

    def pause(self, tried: int, asked: float | None, jitter: float) -> float:
        """Seconds to wait after ``tried`` tries.

        Args:
            tried: tries so far, at least 1.
            asked: the service's ``Retry-After`` in seconds, or ``None``; never undercut.
            jitter: a number from 0 to 1 that spreads the pause over 50 to 150 %.
        """
        backoff = min(self.longest, self.first * self.factor ** (tried - 1)) * (0.5 + jitter)
        return max(backoff, asked or 0.0)


ONCE = RetryPolicy(attempts=1)
"""For calls of which a second one would do something else than the first."""


@dataclass(frozen=True)
class Timing:
    """Clock, sleep and chance, passed in so that tests need not wait."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = field(default=random.random)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def retry(
    call: Callable[[], T],
    policy: RetryPolicy,
    timing: Timing,
    again: Callable[[DarkroomError], bool] = is_transient,
) -> T:
    """``call`` until it returns, fails for good, or the policy is used up; then its last error is raised.

    Args:
        call: one try.
        policy: how often and for how long.
        timing: clock, sleep and chance.
        again: whether the same call may fare better after that error.
    """
    started = timing.clock()
    tried = 0
    while True:
        try:
            return call()
        except DarkroomError as error:
            tried += 1
            if not again(error) or tried >= policy.attempts:
                raise
            pause = policy.pause(tried, error.retry_after, timing.chance())
            if timing.clock() - started + pause > policy.total:
                raise
            if tried == TELL_AFTER:
                what = f"status {error.status}" if error.status else "no connection"
                logger.warning("a service keeps failing (%s): trying again for up to %.0f s", what, policy.total)
            timing.sleep(pause)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a ``Retry-After`` header asks for: a number or an HTTP date; ``None`` when it says nothing."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (TypeError, ValueError):
        return None
