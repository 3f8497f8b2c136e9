"""Jobs as clients see them: created, listed, looked into, aborted, restarted."""

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from deployments.batch_server.database import Database, JobRow, LogRow, ShardRow, StageRow, TaskRow
from deployments.batch_server.job_requests import JobRequest
from deployments.batch_server.refusals import BadRequest, Conflict, NotFound, TooMany
from deployments.batch_server.store.batches import MULTIPART, BatchStore, count_images, find_batch
from deployments.batch_server.store.ends import ABORTED, ERROR, end_job, find_job
from deployments.batch_server.store.restarts import check_restart, restart_job
from deployments.batch_server.store.stages import STAGES, output_batch
from deployments.batch_server.store.uploads import PENDING
from tasks.roboflow_api.models import RestartParameters, TrtCompilationJob

NO_COMPILER = "this server compiles no models: it has no TensorRT; have them compiled on Roboflow's cloud"


class JobStore:
    """What the job routes read and write.

    Args:
        database: Where jobs lie.
        batches: Where their output batches are made.
        most_jobs: Most jobs under way at once; `None`: any number.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        batches: BatchStore,
        most_jobs: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._batches = batches
        self._most_jobs = most_jobs
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
            TooMany: As many jobs are under way as may be.
        """
        definition = request.body.wire()
        batch_id = request.body.job_input.batch_id
        with self._database.write() as session:
            if _same_job(session, job_id, definition):
                return
            _check_input(session, batch_id)
            self._check_room(session)
            for stage in STAGES:
                title = f"Job {job_id}: {stage}"
                self._batches.create(session, output_batch(job_id, stage), MULTIPART, title, "mixed")
            job = self._new(job_id, name, definition)
            job.batch_id, job.workflow, job.image_input = batch_id, request.workflow, request.image_input
            session.add(job)

    def create_compilation(self, job_id: str, name: str, body: TrtCompilationJob) -> None:
        """Make a job that compiles a model, and end it: nothing here can compile one.

        Raises:
            Conflict: The id is taken by another job.
        """
        with self._database.write() as session:
            if _same_job(session, job_id, body.wire()):
                return
            session.add(self._new(job_id, name, body.wire()))
            session.flush()
            end_job(session, job_id, ERROR, NO_COMPILER, self._clock())

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

    def abort(self, job_id: str) -> bool:
        """End a job now; one that has ended is left alone. Gives whether it was ended by being aborted."""
        with self._database.write() as session:
            end_job(session, job_id, ABORTED, "aborted on request", self._clock())
            return find_job(session, job_id).outcome == ABORTED

    def restart(self, job_id: str, overrides: RestartParameters | None) -> None:
        """Have a job that failed or was aborted go on with what it has not done.

        Raises:
            NotFound: There is no such job.
            Conflict: It is under way, has ended well, or could not go on as the same job.
            TooMany: As many jobs are under way as may be.
        """
        with self._database.write() as session:
            job = find_job(session, job_id)
            check_restart(session, job)
            self._check_room(session)
            restart_job(session, job, overrides, self._clock())

    def _new(self, job_id: str, name: str, definition: dict[str, Any]) -> JobRow:
        now = self._clock()
        waiting = "waiting for the batch to be indexed"
        return JobRow(
            job_id=job_id, name=name, definition=definition, notification=waiting, created_at=now, updated_at=now
        )

    def _check_room(self, session: Session) -> None:
        under_way = session.scalar(select(func.count()).select_from(JobRow).where(JobRow.outcome.is_(None))) or 0
        if self._most_jobs is not None and under_way >= self._most_jobs:
            raise TooMany(f"as many jobs are under way ({under_way}) as this server takes at once: try again later")


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
