"""A receiver on loopback whose runs do as a test says."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import httpx
from pydantic import SecretStr

from deployments.webhooks.app import create_app
from deployments.webhooks.settings import ReceiverSettings
from flows.notifications import Outcome
from tasks.core.identity import remote_id
from tasks.core.tokens import RunTokens
from tests.deployments.batch_server.running import served
from tests.fake_time import FakeTime
from tests.waiting import wait_for

SECRET = "a secret for the tests of webhooks"
TOKENS = RunTokens(SecretStr(SECRET))
RUN, OTHER_RUN = "0123456789abcdef", "fedcba9876543210"
SENDER = {"Authorization": "Bearer rf_workspace"}
Step = Outcome | Exception
"""What asking about a run gives, once."""


@dataclass
class ScriptedRuns:
    """Runs that answer as a script says, and remember what was asked and told."""

    script: dict[str, list[Step]] = field(default_factory=dict)
    """By run; after its last step a run gives that it was resumed."""
    deaf: list[Exception] = field(default_factory=list)
    """What telling raises, one after the other, before it succeeds."""
    asked: list[str] = field(default_factory=list)
    told: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    held: Event | None = None
    """What asking waits for, once it has been noted."""

    def allows(self, key: str, token: str) -> bool:
        return TOKENS.check(key, token)

    def job_of(self, key: str) -> str:
        return remote_id(key)

    def follow_up(self, key: str) -> Outcome:
        self.asked.append(key)
        assert self.held is None or self.held.wait(20)
        step = (self.script.get(key) or [Outcome.RESUMED]).pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def tell(self, event: str, key: str, payload: dict[str, Any]) -> None:
        if self.deaf:
            raise self.deaf.pop(0)
        self.told.append((event, key, payload))


@dataclass(frozen=True)
class Receiver:
    """A running receiver."""

    url: str
    http: httpx.Client

    def address(self, run: str = RUN) -> str:
        """Where the platform is told to send notifications of a run."""
        return TOKENS.url(self.url, run)

    def post(self, event: Any, run: str = RUN, **options: Any) -> httpx.Response:
        """A notification of the platform."""
        return self.http.post(self.address(run), **{"json": event, "headers": SENDER, **options})

    def pending(self) -> int:
        answer = self.http.get(f"{self.url}/health").json()
        assert answer["status"] == "ok"
        return int(answer["pending"])

    def settle(self) -> None:
        """Waits until nothing is pending."""
        wait_for(lambda: self.pending() == 0, "the end of all events")


@contextmanager
def receiver(
    data: Path, runs: ScriptedRuns, time: FakeTime | None = None, publishable_key: str | None = None
) -> Iterator[Receiver]:
    """A receiver in a thread of this process."""
    data.mkdir(exist_ok=True)
    key = None if publishable_key is None else SecretStr(publishable_key)
    clock = time or FakeTime()
    app = create_app(ReceiverSettings(data, key), runs, lambda: clock.seconds)
    with served(app) as client:
        yield Receiver(client.url, client.bare)


def rows(data: Path, columns: str) -> list[tuple[Any, ...]]:
    """Columns of all events that a receiver keeps."""
    with closing(sqlite3.connect(data / "events.sqlite3")) as connection:
        return connection.execute(f"SELECT {columns} FROM events ORDER BY seq").fetchall()


def job_event(event_id: str = "e-1", run: str = RUN, **changes: Any) -> dict[str, Any]:
    """That the job of a run has ended."""
    return {
        "type": "roboflow-batch-job-notification-v1",
        "event_id": event_id,
        "job_id": remote_id(run),
        "job_state": "success",
        "delivery_attempt": 1,
        **changes,
    }


def ingest_event(notification: dict[str, Any], event_id: str = "i-1") -> dict[str, Any]:
    """That something of an ingest has ended."""
    return {
        "type": "roboflow-data-staging-notification-v1",
        "event_id": event_id,
        "ingest_id": "ingest",
        "batch_id": remote_id(RUN),
        "shard_id": None,
        "notification": notification,
        "delivery_attempt": 1,
    }
