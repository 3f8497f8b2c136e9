"""The scheduler's side of jobs: planned, recorded task by task, ended.

Every write names the run of the job that it belongs to; what a run wants to write that was aborted, or succeeded by
another one, is left unwritten.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from deployments.batch_server.database import Database, FileRow, ImageRow, JobRow, PartRow, ShardRow, StageRow, TaskRow
from deployments.batch_server.engine.interface import ImageSlice
from deployments.batch_server.job_requests import JobLimits, keeps_images, limits_of
from deployments.batch_server.store.ends import ERROR, SUCCESS, add_log, end_job, find_job
from deployments.batch_server.store.restarts import images_digest
from deployments.batch_server.store.stages import (
    EXPORT,
    EXPORT_TASK,
    IMAGE_FAILED,
    IMAGES,
    PROCESSING,
    RESULTS,
    OutputFile,
    Part,
    TaskRecord,
    folder_name,
    output_batch,
)
from deployments.batch_server.store.uploads import PENDING
from tasks.roboflow_api.models import WorkflowProcessingJob

TASKS_A_WORKER = 8
"""Tasks that a small job is cut into for each worker: at its end, workers wait for the last task only."""


@dataclass(frozen=True)
class RunningJob:
    """What the scheduler needs to know of a job that has not ended."""

    job_id: str
    run: int
    body: WorkflowProcessingJob
    limits: JobLimits
    workflow: dict[str, Any]
    image_input: str
    planned: bool
    waiting: tuple[str, ...]
    """Processing tasks that have not ended."""
    seconds: float
    """Machine time that the run has taken so far."""

    @property
    def keeps_images(self) -> bool:
        """Whether image outputs are kept."""
        return keeps_images(self.body.processing_specification)


class ExecutionStore:
    """Writes a job's progress, one transaction an event."""

    def __init__(self, database: Database, data: Path, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._data = data
        self._clock = clock

    def unfinished(self) -> list[str]:
        """Ids of the jobs that have not ended, oldest first."""
        with self._database.read() as session:
            query = select(JobRow.job_id).where(JobRow.outcome.is_(None)).order_by(JobRow.seq)
            return list(session.scalars(query))

    def run_under_way(self, job_id: str) -> int | None:
        """The number of the job's present run, or `None` when the job has ended, by itself or by being aborted."""
        with self._database.read() as session:
            job = find_job(session, job_id)
            return job.run if job.outcome is None else None

    def load(self, job_id: str) -> RunningJob:
        """A job with a workflow, as it stands."""
        with self._database.read() as session:
            job = find_job(session, job_id)
            assert job.workflow is not None
            assert job.image_input is not None
            waiting = session.scalars(
                select(TaskRow.task_id)
                .where(TaskRow.job_id == job_id, TaskRow.stage_id == PROCESSING, TaskRow.state == "info")
                .order_by(TaskRow.seq)
            )
            body = WorkflowProcessingJob.model_validate(job.definition)
            return RunningJob(
                job_id,
                job.run,
                body,
                limits_of(body, job.overrides),
                job.workflow,
                job.image_input,
                job.planned_at is not None,
                tuple(waiting),
                job.seconds,
            )

    def plan(self, job_id: str, chunk_limit: int, workers: int) -> bool:
        """Divide a job's images into tasks, once everything uploaded is indexed and everything referred to is fetched.

        Args:
            job_id: The job.
            chunk_limit: Most images in a task.
            workers: How many tasks run at a time; small jobs make several tasks for each.

        Returns:
            Whether the job is planned; `False`: shards are still being indexed or fetched.
        """
        with self._database.write() as session:
            job = find_job(session, job_id)
            shards = (ShardRow.batch_id == job.batch_id) & (ShardRow.state.in_(PENDING))
            if session.scalar(select(ShardRow.seq).where(shards).limit(1)) is not None:
                return False
            images = session.scalars(
                select(ImageRow.seq).where(ImageRow.batch_id == job.batch_id).order_by(ImageRow.seq)
            ).all()
            job.planned_at = self._clock()
            if not images:
                end_job(session, job_id, ERROR, "none of the batch's files could be ingested", job.planned_at)
                return True
            job.last_image = images[-1]
            job.images_digest = images_digest(session, job)
            size = min(chunk_limit, math.ceil(len(images) / (workers * TASKS_A_WORKER)))
            chunks = [list(images[start : start + size]) for start in range(0, len(images), size)]
            tasks = [(f"chunk-{index:05d}", chunk) for index, chunk in enumerate(chunks)]
            kept = keeps_images(WorkflowProcessingJob.model_validate(job.definition).processing_specification)
            self._begin_stage(session, job, PROCESSING, tasks, [RESULTS, IMAGES] if kept else [RESULTS])
            return True

    def slices(self, job_id: str, task_id: str) -> tuple[ImageSlice, ...]:
        """The images of a task and where they lie."""
        with self._database.read() as session:
            wanted = _find_task(session, job_id, PROCESSING, task_id).images
            rows = session.scalars(select(ImageRow).where(ImageRow.seq.in_(wanted)).order_by(ImageRow.seq))
            return tuple(ImageSlice(row.name, self._data / row.path, row.offset, row.size) for row in rows)

    def record_task(self, job_id: str, run: int, task_id: str, record: TaskRecord, error: str | None) -> None:
        """Write the end of a processing task together with its files and failures.

        Args:
            job_id: The job.
            run: The run of it.
            task_id: The task; nothing is written when its end was written before.
            record: What it made.
            error: Why the task counts as failed all the same, if it does.
        """
        now = self._clock()
        with self._database.write() as session:
            job = _under_way(session, job_id, run)
            if job is None or (task := _find_task(session, job_id, PROCESSING, task_id)).state != "info":
                return
            failed = len(record.failures)
            task.state = SUCCESS if error is None else ERROR
            task.notification = error or f"{record.processed} images processed, {failed} failed"
            task.processed, task.failed, task.event_at = record.processed, failed, now
            job.seconds += record.seconds
            _add_files(session, output_batch(job_id, PROCESSING), record.files, task_id)
            for crash in record.crashes:
                add_log(session, job_id, now, "warning", "worker-crashed", {"message": crash}, PROCESSING, task_id)
            for failure in record.failures:
                add_log(session, job_id, now, ERROR, IMAGE_FAILED, failure, PROCESSING, task_id, "workflows-engine")
            if error is not None:
                add_log(session, job_id, now, ERROR, "task-failed", {"reason": error}, PROCESSING, task_id)
            self._tell_progress(session, job)

    def fail_task(self, job_id: str, run: int, task_id: str, reason: str) -> None:
        """Write that a processing task could not be run."""
        now = self._clock()
        with self._database.write() as session:
            if _under_way(session, job_id, run) is None:
                return
            task = _find_task(session, job_id, PROCESSING, task_id)
            task.state, task.notification, task.event_at = ERROR, reason, now
            add_log(session, job_id, now, ERROR, "task-failed", {"reason": reason}, PROCESSING, task_id)

    def note_retry(self, job_id: str, run: int, task_id: str, reason: str, seconds: float) -> None:
        """Write that a processing task is tried again, after an attempt that took machine time."""
        with self._database.write() as session:
            job = _under_way(session, job_id, run)
            if job is not None:
                job.seconds += seconds
                told = {"reason": reason}
                add_log(session, job_id, self._clock(), "warning", "task-retried", told, PROCESSING, task_id)

    def warn(self, job_id: str, run: int, log_type: str, message: str) -> None:
        """Write a warning into the job's log."""
        with self._database.write() as session:
            if _under_way(session, job_id, run) is not None:
                add_log(session, job_id, self._clock(), "warning", log_type, {"message": message}, PROCESSING)

    def failed_task(self, job_id: str) -> str | None:
        """What the first failed task says, or `None`."""
        with self._database.read() as session:
            failed = (TaskRow.job_id == job_id) & (TaskRow.state == ERROR)
            row = session.scalar(select(TaskRow).where(failed).order_by(TaskRow.seq).limit(1))
            return None if row is None else f"{row.task_id}: {row.notification}"

    def begin_export(self, job_id: str, run: int, parts: list[Part]) -> dict[str, str] | None:
        """End the processing stage, begin the export stage.

        Returns:
            The processing tasks in order, with the names of their folders; `None` when the job is not under way.
        """
        with self._database.write() as session:
            job = _under_way(session, job_id, run)
            if job is None:
                return None
            if job.current_stage != EXPORT:
                self._end_stage(session, job, PROCESSING, job.notification)
                self._begin_stage(session, job, EXPORT, [(EXPORT_TASK, [])], parts)
            tasks = (TaskRow.job_id == job_id) & (TaskRow.stage_id == PROCESSING)
            rows = session.execute(select(TaskRow.task_id, TaskRow.run).where(tasks).order_by(TaskRow.seq))
            return {task_id: folder_name(task_id, made_in) for task_id, made_in in rows}

    def finish(self, job_id: str, run: int, files: Iterable[OutputFile]) -> None:
        """Write the end of the export stage, and with it of the job, together with the exported files."""
        now = self._clock()
        with self._database.write() as session:
            job = _under_way(session, job_id, run)
            if job is None:
                return
            task = _find_task(session, job_id, EXPORT, EXPORT_TASK)
            task.state, task.notification, task.event_at = SUCCESS, "exported", now
            _add_files(session, output_batch(job_id, EXPORT), files)
            self._end_stage(session, job, EXPORT, "exported")
            processed, failed = _totals(session, job_id)
            summary = f"{processed} images processed, {failed} failed"
            end_job(session, job_id, SUCCESS, summary, self._clock())

    def fail(self, job_id: str, run: int, reason: str) -> None:
        """Write that the job failed, and why."""
        with self._database.write() as session:
            if _under_way(session, job_id, run) is not None:
                end_job(session, job_id, ERROR, reason, self._clock())

    def _begin_stage(
        self,
        session: Session,
        job: JobRow,
        stage_id: str,
        tasks: list[tuple[str, list[int]]],
        parts: list[Part],
    ) -> None:
        now = self._clock()
        job.current_stage, job.updated_at = stage_id, now
        job.notification = "waiting for a worker" if stage_id == PROCESSING else "exporting"
        common = {"job_id": job.job_id, "stage_id": stage_id, "state": "info", "event_at": now}
        notification = job.notification
        session.add(StageRow(**common, tasks=len(tasks), notification=notification, started_at=now))
        session.add_all(
            TaskRow(**common, task_id=task_id, images=images, notification="waiting", run=job.run)
            for task_id, images in tasks
        )
        batch_id = output_batch(job.job_id, stage_id)
        session.add_all(
            PartRow(
                batch_id=batch_id,
                name=part.name,
                content_type=part.content_type,
                nested_content_type=part.nested_content_type,
                description=part.description,
            )
            for part in parts
        )
        if stage_id == PROCESSING:
            images = sum(len(images) for _, images in tasks)
            add_log(session, job.job_id, now, "info", "job-started", {"images": images})
        add_log(session, job.job_id, now, "info", "stage-started", {"tasks": len(tasks)}, stage_id)

    def _end_stage(self, session: Session, job: JobRow, stage_id: str, notification: str) -> None:
        now = self._clock()
        rows = (StageRow.job_id == job.job_id) & (StageRow.stage_id == stage_id)
        for stage in session.scalars(select(StageRow).where(rows)):
            stage.state, stage.notification, stage.event_at = SUCCESS, notification, now
        add_log(session, job.job_id, now, "info", "stage-finished", {"message": notification}, stage_id)

    def _tell_progress(self, session: Session, job: JobRow) -> None:
        processed, failed = _totals(session, job.job_id)
        job.notification, job.updated_at = f"{processed} images processed, {failed} failed", self._clock()
        rows = (StageRow.job_id == job.job_id) & (StageRow.stage_id == PROCESSING)
        for stage in session.scalars(select(StageRow).where(rows)):
            stage.notification, stage.event_at = job.notification, job.updated_at


def _under_way(session: Session, job_id: str, run: int) -> JobRow | None:
    """The job, if this run of it has not ended."""
    job = find_job(session, job_id)
    return job if job.outcome is None and job.run == run else None


def _find_task(session: Session, job_id: str, stage_id: str, task_id: str) -> TaskRow:
    return session.scalars(
        select(TaskRow).where(TaskRow.job_id == job_id, TaskRow.stage_id == stage_id, TaskRow.task_id == task_id)
    ).one()


def _totals(session: Session, job_id: str) -> tuple[int, int]:
    query = select(func.sum(TaskRow.processed), func.sum(TaskRow.failed)).where(TaskRow.job_id == job_id)
    processed, failed = session.execute(query).one()
    return processed or 0, failed or 0


def _add_files(session: Session, batch_id: str, files: Iterable[OutputFile], task_id: str | None = None) -> None:
    session.add_all(
        FileRow(
            batch_id=batch_id,
            part=file.part,
            name=file.name,
            task_id=task_id,
            path=str(file.path),
            size=file.size,
            sha256=file.sha256,
        )
        for file in files
    )
