"""A job's row, its log and its end: what clients' calls and the scheduler both write."""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from deployments.batch_server.database import JobRow, LogRow, StageRow, TaskRow
from deployments.batch_server.notifications import job_event
from deployments.batch_server.refusals import NotFound
from deployments.batch_server.store.outbox import enqueue

SUCCESS, ERROR, ABORTED = "success", "error", "aborted"
SEVERITIES = {SUCCESS: "info", ERROR: "error", ABORTED: "info"}


def find_job(session: Session, job_id: str) -> JobRow:
    """The job, or NotFound."""
    row = session.scalar(select(JobRow).where(JobRow.job_id == job_id))
    if row is None:
        raise NotFound(f"job {job_id} is not known here")
    return row


def end_job(session: Session, job_id: str, outcome: str, notification: str, now: float) -> None:
    """Write a job's end, that of the stage under way, and who is to be told; unless the job has ended before."""
    job = find_job(session, job_id)
    if job.outcome is not None:
        return
    job.outcome, job.notification, job.updated_at = outcome, notification, now
    running = (StageRow.job_id == job_id) & (StageRow.state == "info")
    for stage in session.scalars(select(StageRow).where(running)):
        stage.state = SUCCESS if outcome == SUCCESS else ERROR
        stage.notification, stage.event_at = notification, now
    left = (TaskRow.job_id == job_id) & (TaskRow.state == "info")
    session.execute(update(TaskRow).where(left).values(state=ERROR, notification="not finished", event_at=now))
    payload = {"message": notification}
    add_log(session, job_id, now, SEVERITIES[outcome], f"job-{outcome}", payload, job.current_stage)
    listener = job.definition.get("notificationsURL")
    if listener is not None:
        enqueue(session, listener, job_event(job_id, outcome == SUCCESS), now)


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
