"""Batch processing: jobs, their stages, tasks and logs."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from tasks.core.errors import NotFound
from tasks.roboflow_api.models import (
    Acknowledged,
    JobAnswer,
    JobLog,
    JobLogsPage,
    JobMetadata,
    JobsPage,
    JobStage,
    RestartParameters,
    Severity,
    StagesAnswer,
    TasksPage,
    TaskStatus,
    TrtCompilationJob,
    WorkflowProcessingJob,
)
from tasks.roboflow_api.retrying import ONCE, RetryPolicy
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

    def create(self, job_id: str, job: WorkflowProcessingJob | TrtCompilationJob, name: str) -> None:
        """Starts a job under an id of the caller's choice: a workflow on a batch, or the compilation of a model.

        Raises:
            Conflict: the id is taken.
        """
        self._transport.post(f"{self._root}/{job_id}", Acknowledged, json=job.wire(), name=name)

    def abort(self, job_id: str, policy: RetryPolicy | None = None) -> None:
        """Has a job end now; one that has ended already is left as it is.

        Args:
            job_id: the job.
            policy: how often it is tried; ``None``: as often as any call.

        Raises:
            NotFound: there is no such job.
        """
        self._transport.post(f"{self._root}/{job_id}/abort", Acknowledged, policy=policy)

    def restart(self, job_id: str, overrides: RestartParameters | None = None) -> None:
        """Has a job that failed or was aborted go on with what it has not done; asked once, whatever comes of it.

        A second call could restart the job a second time: where an answer was lost, look at the job.

        Args:
            job_id: the job.
            overrides: what is different from now on; ``None``: nothing.

        Raises:
            Conflict: the job is under way, or has ended well.
            NotFound: there is no such job.
        """
        body = None if overrides is None else overrides.wire()
        self._transport.post(f"{self._root}/{job_id}/restart", Acknowledged, json=body, policy=ONCE)

    def jobs(self) -> Iterator[JobMetadata]:
        """All jobs of the workspace."""
        for page in self._transport.pages(self._root, JobsPage):
            yield from page.jobs

    def job(self, job_id: str, policy: RetryPolicy | None = None) -> JobMetadata:
        """The job's state.

        Args:
            job_id: the job.
            policy: how often it is tried; ``None``: as often as any call.
        """
        return self._transport.get(f"{self._root}/{job_id}", JobAnswer, policy).job

    def find(self, job_id: str, policy: RetryPolicy | None = None) -> JobMetadata | None:
        """The job's state, or ``None`` where there is no such job; arguments as for :meth:`job`."""
        try:
            return self.job(job_id, policy)
        except NotFound:
            return None

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
