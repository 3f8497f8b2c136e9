"""What a receiver is set up with, and what it meets of the pipeline."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

from flows.notifications import Outcome


@dataclass(frozen=True)
class ReceiverSettings:
    """Everything the application reads about its surroundings."""

    data: Path
    """Folder of the events."""
    publishable_key: SecretStr | None = None
    """The one key that senders present; `None`: any that looks like one."""


class Runs(Protocol):
    """The runs that notifications are for."""

    def allows(self, key: str, token: str) -> bool:
        """Whether a token is the one for the run of that key."""

    def job_of(self, key: str) -> str:
        """The id of a run's job."""

    def follow_up(self, key: str) -> Outcome:
        """Acts on the claim that a run's job has ended; raises `TryAgain` where it cannot yet."""

    def tell(self, event: str, key: str, payload: dict[str, Any]) -> None:
        """Emits an event about a run; raises `TryAgain` where nobody listens now."""
