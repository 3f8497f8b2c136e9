"""Jobs that failed or were aborted, begun again with what they have not done."""

import hashlib

from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.orm import Session

from deployments.batch_server.database import FileRow, ImageRow, JobRow, LogRow, PartRow, StageRow, TaskRow
from deployments.batch_server.refusals import Conflict
from deployments.batch_server.store.ends import SUCCESS, add_log
from deployments.batch_server.store.stages import EXPORT, IMAGE_FAILED, PROCESSING, output_batch
from tasks.roboflow_api.models import RestartParameters


def check_restart(session: Session, job: JobRow) -> None:
    """See that there is something to begin again, and that it would still be the same job.

    Raises:
        Conflict: There is not.
    """
    if job.outcome is None:
        raise Conflict(f"job {job.job_id} is under way: wait for its end, or abort it first")
    if job.outcome == SUCCESS:
        raise Conflict(f"job {job.job_id} has ended well, so nothing of it is left to run: start another job")
    if job.batch_id is None:
        raise Conflict(f"job {job.job_id} compiles a model, which this server cannot do a second time either")
    if job.last_image is not None and images_digest(session, job) != job.images_digest:
        raise Conflict(f"images of batch {job.batch_id} were replaced after job {job.job_id}: start another job")


def restart_job(session: Session, job: JobRow, overrides: RestartParameters | None, now: float) -> None:
    """Begin a job's next run: tasks that ended well stay as they are, the others and the export are as new.

    The files and the logged images of tasks that run again go, for their next run tells of the same images. Machine
    time counts from nought, for a restart is a decision to spend as much again.
    """
    job.run += 1
    job.seconds = 0.0
    job.outcome, job.notification, job.updated_at = None, "restarted", now
    if overrides is not None:
        job.overrides = [*job.overrides, overrides.wire()]
    _forget_export(session, job)
    left = _begin_tasks(session, job, now)
    stage = session.scalar(select(StageRow).where(_of(job, StageRow, PROCESSING)))
    if stage is None:
        job.planned_at = job.current_stage = None
    else:
        stage.state, stage.notification, stage.event_at = "info", job.notification, now
        job.current_stage = PROCESSING
    told = {"tasks": left} if overrides is None else {"tasks": left, "overrides": overrides.wire()}
    add_log(session, job.job_id, now, "info", "job-restarted", told)


def images_digest(session: Session, job: JobRow) -> str:
    """What tells whether the images that a job was planned with are still there, and the same."""
    digest = hashlib.sha256()
    rows = select(ImageRow.seq, ImageRow.path, ImageRow.offset, ImageRow.size)
    known = rows.where(ImageRow.batch_id == job.batch_id, ImageRow.seq <= job.last_image).order_by(ImageRow.seq)
    for row in session.execute(known):
        digest.update(f"{tuple(row)}\n".encode())
    return digest.hexdigest()


def _begin_tasks(session: Session, job: JobRow, now: float) -> int:
    """Have the tasks that did not end well wait again; gives how many."""
    left = and_(_of(job, TaskRow, PROCESSING), TaskRow.state != SUCCESS)
    ids = select(TaskRow.task_id).where(left)
    batch_id = output_batch(job.job_id, PROCESSING)
    session.execute(delete(FileRow).where(FileRow.batch_id == batch_id, FileRow.task_id.in_(ids)))
    failures = and_(_of(job, LogRow, PROCESSING), LogRow.log_type == IMAGE_FAILED)
    session.execute(delete(LogRow).where(failures, LogRow.task_id.in_(ids)))
    number = session.scalar(select(func.count()).select_from(TaskRow).where(left)) or 0
    fresh = {"state": "info", "notification": "waiting", "processed": 0, "failed": 0, "run": job.run, "event_at": now}
    session.execute(update(TaskRow).where(left).values(fresh))
    return number


def _forget_export(session: Session, job: JobRow) -> None:
    batch_id = output_batch(job.job_id, EXPORT)
    session.execute(delete(PartRow).where(PartRow.batch_id == batch_id))
    for table in (TaskRow, StageRow):
        session.execute(delete(table).where(_of(job, table, EXPORT)))


def _of(job: JobRow, table: type[StageRow] | type[TaskRow] | type[LogRow], stage_id: str) -> ColumnElement[bool]:
    return and_(table.job_id == job.job_id, table.stage_id == stage_id)
