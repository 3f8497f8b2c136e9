"""Time that passes only when somebody sleeps, so that no test waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tasks.roboflow_api.retrying import Timing

START = datetime(2026, 9, 15, 12, 0, tzinfo=UTC)


class FakeTime:
    """A clock at 0 s, and the pauses that were asked for."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.seconds += seconds

    def timing(self) -> Timing:
        """Clock and sleep for the code under test; chance leaves every pause as it is."""
        return Timing(
            clock=lambda: self.seconds,
            sleep=self.sleep,
            chance=lambda: 0.5,
            now=lambda: START + timedelta(seconds=self.seconds),
        )
