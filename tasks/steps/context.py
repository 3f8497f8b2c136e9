"""What every step of a run works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tasks.core.errors import RunIncomplete
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

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Target:
    """Where a run goes and what it reads, known before anything is staged.

    Attributes:
        request: the inputs.
        platform: the platform, which has answered.
        workflow: the workflow, which is there.
        source: the media.
    """

    request: RunRequest
    platform: Platform
    workflow: Workflow
    source: Source


@dataclass(frozen=True)
class Run:
    """A staged run that this process holds."""

    target: Target
    folder: RunFolder
    journal: Journal
    progress: Progress
    timing: Timing = field(default_factory=Timing)

    @property
    def platform(self) -> Platform:
        """Where the run goes."""
        return self.target.platform

    @property
    def remote_id(self) -> str:
        """Id of the run's batch and of its job."""
        return remote_id(self.folder.key)

    def once(self, step: str, record: type[R], work: Callable[[], R]) -> R:
        """The record of a step: the journal's, where an earlier process finished it, else that of ``work``."""
        known = self.journal.confirmed(step, "record")
        if known is not None:
            return record.model_validate(known["record"])
        made = work()
        self.journal.confirm(step, "record", record=made.model_dump(mode="json"))
        return made


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
