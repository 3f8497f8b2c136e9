"""What every step of a run works with."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeVar

from tasks.core.errors import BadInput, RunIncomplete
from tasks.core.identity import remote_id
from tasks.core.journal import Journal
from tasks.core.progress import Progress
from tasks.core.records import Record
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder
from tasks.roboflow_api.platform import Platform
from tasks.roboflow_api.retrying import Timing
from tasks.roboflow_api.workflows import Workflow
from tasks.sources.base import Source
from tasks.steps.runs import Runs
from tasks.transfer.places import Place

R = TypeVar("R", bound=Record)

INGEST = "ingest"
WAIT = "wait"
Transfer = Literal["upload", "reference"]


@dataclass(frozen=True)
class Target:
    """Where a run goes and what it reads, known before anything is staged.

    Attributes:
        request: the inputs.
        platform: the platform, which has answered.
        workflow: the workflow, which is there.
        source: the media.
        runs: where the run's folder lies.
        destination: where results are published to, or ``None``.
        transfer: whether files are uploaded from here or fetched by the platform.
        transfer_note: why it is not as one might expect, or nothing.
        replay_note: why a replay may give other results, or nothing.
        asked: when it was asked for.
        url_hours: hours for which signed URLs are asked to be valid.
        webhook: gives the URL, a secret, under which a run is told of its job's end; empty where nobody listens.
    """

    request: RunRequest
    platform: Platform
    workflow: Workflow
    source: Source
    runs: Runs
    destination: Place | None = None
    transfer: Transfer = "upload"
    transfer_note: str = ""
    replay_note: str = ""
    url_hours: float = 24.0
    webhook: Callable[[str], str] = lambda _key: ""
    asked: datetime = field(default_factory=lambda: datetime.now(UTC))


def _nothing() -> None:
    """What is done where nobody wants to know."""


@dataclass(frozen=True)
class Run:
    """A staged run that this process holds.

    Attributes:
        target: where it goes and what it reads.
        folder: its folder.
        journal: what was done.
        progress: told how far a step is.
        timing: clock and sleep.
        tell: given warnings for the person who started the run.
        say: given news for that person.
        on_step: called when a step has left its record.
        resumed: the flow run goes on where it suspended itself.
        begun: when this process began with it, on the clock of ``timing``.
    """

    target: Target
    folder: RunFolder
    journal: Journal
    progress: Progress
    timing: Timing = field(default_factory=Timing)
    tell: Callable[[str], None] = logging.getLogger(__name__).warning
    say: Callable[[str], None] = logging.getLogger(__name__).info
    on_step: Callable[[], None] = _nothing
    resumed: bool = False
    begun: float = field(default_factory=time.monotonic)

    @property
    def platform(self) -> Platform:
        """Where the run goes."""
        return self.target.platform

    @property
    def remote_id(self) -> str:
        """Id of the run's batch and of its job."""
        return remote_id(self.folder.key)

    @property
    def notifications_url(self) -> str:
        """Where the platform tells of the job's end; empty: nowhere. It may hold a secret."""
        return self.webhook_url or self.target.request.job.notifications_url

    @property
    def webhook_url(self) -> str:
        """Where the receiver of notifications hears of this run; a secret, and empty where nobody waits for it."""
        return self.target.webhook(self.folder.key) if self.target.request.wait.mode == "suspend" else ""

    def once(self, step: str, record: type[R], work: Callable[[], R]) -> R:
        """The record of a step: the journal's, where an earlier process finished it, else that of ``work``."""
        known = self.journal.confirmed(step, "record")
        if known is not None:
            return record.model_validate(known["record"])
        made = work()
        self.journal.confirm(step, "record", record=made.model_dump(mode="json"))
        self.on_step()
        return made

    def record_of(self, step: str, record: type[R]) -> R:
        """The record that a step has left.

        Raises:
            BadInput: it has not been carried out.
        """
        known = self.journal.confirmed(step, "record")
        if known is None:
            raise BadInput(f"run {self.folder.key} has not gone through its step {step}: carry it out first")
        return record.model_validate(known["record"])


def gone(run: Run, what: str) -> RunIncomplete:
    """The error for a batch or job that this run made and that the platform does not have any more.

    Args:
        run: the run.
        what: ``batch`` or ``job``.
    """
    return RunIncomplete(
        f"{run.platform.name} has no {what} {run.remote_id} any more (data is kept for seven days): "
        "pass --rerun LABEL to do the work afresh"
    )
