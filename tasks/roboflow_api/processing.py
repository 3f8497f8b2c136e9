"""Batch processing: jobs, their stages, tasks and logs."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from tasks.roboflow_api.models import (
    Acknowledged,
    JobAnswer,
    JobLog,
    JobLogsPage,
    JobMetadata,
    JobStage,
    Severity,
    StagesAnswer,
    TasksPage,
    TaskStatus,
    WorkflowProcessingJob,
)
from tasks.roboflow_api.transport import Transport


class ProcessingApi:
    """The calls below ``/batch-processing/v1/external/{workspace}``; errors as in :class:`Transport`.

    Args:
        transport: where the requests go.
        workspace: whose jobs.
    """

    def __init__(self, transport: Transport, workspace: str) -> None:
        self._transport = transport
        self._root = f"/batch-processing/v1/external/{quote(workspace, safe='')}/jobs"

    def create(self, job_id: str, job: WorkflowProcessingJob, name: str) -> None:
        """Starts a job under an id of the caller's choice.

        Raises:
            Conflict: the id is taken.
        """
        self._transport.post(f"{self._root}/{job_id}", Acknowledged, json=job.wire(), name=name)

    def job(self, job_id: str) -> JobMetadata:
        """The job's state."""
        return self._transport.get(f"{self._root}/{job_id}", JobAnswer).job

    def stages(self, job_id: str) -> list[JobStage]:
        """The stages that have begun, in the order of their start."""
        stages = self._transport.get(f"{self._root}/{job_id}/stages", StagesAnswer).stages
        return sorted(stages, key=lambda stage: stage.start_timestamp)

    def tasks(self, job_id: str, stage_id: str) -> Iterator[TaskStatus]:
        """The tasks of one stage."""
        path = f"{self._root}/{job_id}/stages/{quote(stage_id, safe='')}/tasks"
        for page in self._transport.pages(path, TasksPage):
            yield from page.tasks

    def logs(self, job_id: str, severity: Severity | None = None) -> Iterator[JobLog]:
        """The job's logs, of one severity or of all."""
        for page in self._transport.pages(f"{self._root}/{job_id}/logs", JobLogsPage, severity=severity):
            yield from page.logs
