"""Asking Prefect's server again when it is busy: its SQLite lets one write at a time, and answers 503 under a burst."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

LONGEST = 60.0
POLL_SECONDS = 0.3


class Patient(httpx.HTTPTransport):
    """Asks again until the server is no longer busy, or has been for too long; then its refusal is the answer.

    Args:
        longest: seconds that it may be busy.
        clock: gives seconds, monotonic.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        longest: float = LONGEST,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__()
        self._longest = longest
        self._clock = clock
        self._sleep = sleep

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Called by the client for each request, whose body is in memory."""
        deadline = self._clock() + self._longest
        while True:
            answer = super().handle_request(request)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or self._clock() >= deadline:
                return answer
            answer.close()
            self._sleep(POLL_SECONDS)
