"""Jobs as clients see them: created, listed, looked into, aborted."""

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from deployments.batch_server.database import Database, JobRow, LogRow, ShardRow, StageRow, TaskRow
from deployments.batch_server.job_requests import JobRequest
from deployments.batch_server.refusals import BadRequest, Conflict, NotFound
from deployments.batch_server.store.batches import MULTIPART, BatchStore, count_images, find_batch
from deployments.batch_server.store.uploads import PENDING

STAGES = ("processing", "export")
SUCCESS, ERROR, ABORTED = "success", "error", "aborted"


class JobStore:
    """What the job routes read and write."""

    def __init__(self, database: Database, batches: BatchStore, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._batches = batches
        self._clock = clock

    def exists(self, job_id: str, definition: dict[str, Any]) -> bool:
        """Whether the job is there already.

        Raises:
            Conflict: It is there with another definition.
        """
        with self._database.read() as session:
            return _same_job(session, job_id, definition)

    def create(self, job_id: str, name: str, request: JobRequest) -> None:
        """Make a job and its output batches; a job that is there with the same definition is left alone.

        Raises:
            NotFound: The batch is not known.
            BadRequest: The batch is empty, or none of images.
            Conflict: The id is taken, by another job or by an output batch.
        """
        definition = request.body.wire()
        batch_id = request.body.job_input.batch_id
        with self._database.write() as session:
            if _same_job(session, job_id, definition):
                return
            _check_input(session, batch_id)
            for stage in STAGES:
                title = f"Job {job_id}: {stage}"
                self._batches.create(session, output_batch(job_id, stage), MULTIPART, title, "mixed")
            now = self._clock()
            session.add(
                JobRow(
                    job_id=job_id,
                    name=name,
                    batch_id=batch_id,
                    definition=definition,
                    workflow=request.workflow,
                    image_input=request.image_input,
                    notification="waiting for the batch to be indexed",
                    created_at=now,
                    updated_at=now,
                )
            )

    def get(self, job_id: str) -> JobRow:
        """The job, or NotFound."""
        with self._database.read() as session:
            return find_job(session, job_id)

    def page(self, before: int | None, limit: int) -> list[JobRow]:
        """Jobs from the newest to the oldest, from before a sequence number on."""
        query = select(JobRow).order_by(JobRow.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(JobRow.seq < before)
        with self._database.read() as session:
            return list(session.scalars(query))

    def stages(self, job_id: str) -> list[StageRow]:
        """The stages that have begun."""
        with self._database.read() as session:
            find_job(session, job_id)
            return list(session.scalars(select(StageRow).where(StageRow.job_id == job_id).order_by(StageRow.seq)))

    def tasks(self, job_id: str, stage_id: str, after: int, limit: int) -> list[TaskRow]:
        """The tasks of a stage, from after a sequence number on."""
        with self._database.read() as session:
            find_job(session, job_id)
            stage = (StageRow.job_id == job_id) & (StageRow.stage_id == stage_id)
            if session.scalar(select(StageRow.seq).where(stage)) is None:
                raise NotFound(f"job {job_id} has no stage {stage_id!r} yet; stages are {', '.join(STAGES)}")
            query = select(TaskRow).where(TaskRow.job_id == job_id, TaskRow.stage_id == stage_id, TaskRow.seq > after)
            return list(session.scalars(query.order_by(TaskRow.seq).limit(limit)))

    def logs(self, job_id: str, severity: str | None, after: int, limit: int) -> list[LogRow]:
        """The job's log, oldest first, from after a sequence number on."""
        with self._database.read() as session:
            find_job(session, job_id)
            query = select(LogRow).where(LogRow.job_id == job_id, LogRow.seq > after)
            if severity is not None:
                query = query.where(LogRow.severity == severity)
            return list(session.scalars(query.order_by(LogRow.seq).limit(limit)))

    def abort(self, job_id: str) -> None:
        """End a job now; one that has ended is left alone."""
        with self._database.write() as session:
            end_job(session, job_id, ABORTED, "aborted on request", self._clock())


def output_batch(job_id: str, stage: str) -> str:
    """The id of the batch that a stage of a job fills."""
    return f"{job_id}-{stage}"


def find_job(session: Session, job_id: str) -> JobRow:
    """The job, or NotFound."""
    row = session.scalar(select(JobRow).where(JobRow.job_id == job_id))
    if row is None:
        raise NotFound(f"job {job_id} is not known here")
    return row


def end_job(session: Session, job_id: str, outcome: str, notification: str, now: float) -> None:
    """Write a job's end, and that of the stage under way, unless the job has ended before."""
    job = find_job(session, job_id)
    if job.outcome is not None:
        return
    job.outcome, job.notification, job.updated_at = outcome, notification, now
    running = (StageRow.job_id == job_id) & (StageRow.state == "info")
    for stage in session.scalars(select(StageRow).where(running)):
        stage.state = SUCCESS if outcome == SUCCESS else ERROR
        stage.notification, stage.event_at = notification, now
    left = (TaskRow.job_id == job_id) & (TaskRow.state == "info")
    session.execute(update(TaskRow).where(left).values(state=ERROR, notification="not run", event_at=now))
    severity = "info" if outcome == SUCCESS else ERROR
    add_log(session, job_id, now, severity, f"job-{outcome}", {"message": notification}, job.current_stage)


def add_log(
    session: Session,
    job_id: str,
    now: float,
    severity: str,
    log_type: str,
    payload: dict[str, Any],
    stage_id: str | None = None,
    task_id: str | None = None,
    module: str = "batch-server",
) -> None:
    """Write one line into a job's log."""
    session.add(
        LogRow(
            job_id=job_id,
            stage_id=stage_id,
            task_id=task_id,
            severity=severity,
            module=module,
            log_type=log_type,
            payload=payload,
            created_at=now,
        )
    )


def _same_job(session: Session, job_id: str, definition: dict[str, Any]) -> bool:
    row = session.scalar(select(JobRow).where(JobRow.job_id == job_id))
    if row is not None and row.definition != definition:
        raise Conflict(f"job {job_id} exists with another definition: choose another job id")
    return row is not None


def _check_input(session: Session, batch_id: str) -> None:
    batch = find_batch(session, batch_id)
    if batch.batch_type == MULTIPART:
        raise BadRequest(f"batch {batch_id} is a job's output: a job reads a batch of images")
    indexing = select(ShardRow.seq).where(ShardRow.batch_id == batch_id, ShardRow.state.in_(PENDING))
    if not count_images(session, batch_id) and session.scalar(indexing.limit(1)) is None:
        raise BadRequest(f"batch {batch_id} holds no images: upload some before starting a job")
