"""Batch processing: jobs are made, watched, ended and restarted.

Source: the vendor's OpenAPI document "Batch Processing", and what the official command line sends and reads.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from deployments.batch_server.database import JobRow, LogRow, StageRow, TaskRow
from deployments.batch_server.job_requests import (
    judge_compilation,
    judge_job,
    judge_restart,
    parse_job,
    parse_restart,
)
from deployments.batch_server.names import check_job_id
from deployments.batch_server.remote.listeners import check_listener
from deployments.batch_server.routes.bodies import JsonBody, OptionalJsonBody
from deployments.batch_server.routes.common import GUARDS, PageOf, ServicesOf, moment
from deployments.batch_server.services import Services
from deployments.batch_server.store.ends import SUCCESS
from deployments.batch_server.store.stages import STAGES, output_batch
from tasks.roboflow_api.models import (
    JobAnswer,
    JobLog,
    JobLogsPage,
    JobMetadata,
    JobsPage,
    JobStage,
    StagesAnswer,
    TasksPage,
    TaskStatus,
    TrtCompilationJob,
    WorkflowProcessingJob,
)

router = APIRouter(prefix="/batch-processing/v1/external/{workspace}/jobs", dependencies=GUARDS)


@router.get("")
def list_jobs(services: ServicesOf, page: PageOf) -> dict[str, Any]:
    """Jobs, newest first."""
    return page.answer(JobsPage, "jobs", services.jobs.page(page.last, page.limit), _job)


@router.post("/{job_id}")
def create_job(
    job_id: str,
    services: ServicesOf,
    body: JsonBody,
    name: Annotated[str | None, Query()] = None,
) -> dict[str, Any]:
    """Start a job; the same request again finds the job it made before."""
    check_job_id(job_id)
    wanted = parse_job(body)
    # Looked for first: a workflow that was changed meanwhile does not concern a job that is there.
    if not services.jobs.exists(job_id, wanted.wire()):
        _create(job_id, name or job_id, services, wanted)
        services.scheduler.look(job_id)
    return {"jobId": job_id}


@router.get("/{job_id}")
def get_job(job_id: str, services: ServicesOf) -> dict[str, Any]:
    """What a job is and how far it has come."""
    return JobAnswer(job=_job(services.jobs.get(job_id))).wire()


@router.post("/{job_id}/abort")
def abort_job(job_id: str, services: ServicesOf) -> dict[str, Any]:
    """End a job now; what its finished tasks made stays in its processing batch."""
    aborted = services.jobs.abort(job_id)
    services.scheduler.look(job_id)
    return {"jobId": job_id, "aborted": aborted}


@router.post("/{job_id}/restart")
def restart_job(job_id: str, services: ServicesOf, body: OptionalJsonBody) -> dict[str, Any]:
    """Have a job that failed or was aborted go on with what it has not done."""
    overrides = parse_restart(body)
    judge_restart(overrides, services.settings)
    services.jobs.restart(job_id, overrides)
    services.scheduler.look(job_id)
    return {"jobId": job_id, "restarted": True}


@router.get("/{job_id}/stages")
def list_stages(job_id: str, services: ServicesOf) -> dict[str, Any]:
    """The stages that have begun."""
    return StagesAnswer(stages=[_stage(row) for row in services.jobs.stages(job_id)]).wire()


@router.get("/{job_id}/stages/{stage_id}/tasks")
def list_tasks(job_id: str, stage_id: str, services: ServicesOf, page: PageOf) -> dict[str, Any]:
    """The tasks of a stage; one that waits has no progress."""
    rows = services.jobs.tasks(job_id, stage_id, page.last or 0, page.limit)
    return page.answer(TasksPage, "tasks", rows, lambda row: _task(row, services))


@router.get("/{job_id}/logs")
def list_logs(
    job_id: str,
    services: ServicesOf,
    page: PageOf,
    severity: Annotated[Literal["info", "warning", "error"] | None, Query()] = None,
) -> dict[str, Any]:
    """The job's log, oldest first."""
    rows = services.jobs.logs(job_id, severity, page.last or 0, page.limit)
    return page.answer(JobLogsPage, "logs", rows, _log)


def _create(job_id: str, name: str, services: Services, wanted: WorkflowProcessingJob | TrtCompilationJob) -> None:
    if isinstance(wanted, TrtCompilationJob):
        judge_compilation(wanted, services.settings)
        check_listener(services.guard, wanted.notifications_url)
        services.jobs.create_compilation(job_id, name, wanted)
    else:
        request = judge_job(wanted, services.settings, services.registry)
        check_listener(services.guard, wanted.notifications_url)
        services.jobs.create(job_id, name, request)


def _job(row: JobRow) -> JobMetadata:
    return JobMetadata(
        job_id=row.job_id,
        name=row.name,
        job_definition=row.definition,
        current_stage=row.current_stage,
        planned_stages=[] if row.workflow is None else list(STAGES),
        error=row.outcome not in (None, SUCCESS),
        is_terminal=row.outcome is not None,
        last_notification=row.notification,
        created_at=moment(row.created_at),
        last_update=moment(row.updated_at),
        restart_parameters_override=row.overrides,
    )


def _stage(row: StageRow) -> JobStage:
    return JobStage(
        processing_stage_id=row.stage_id,
        processing_stage_name=row.stage_id,
        tasks_number=row.tasks,
        output_batches=[output_batch(row.job_id, row.stage_id)],
        start_timestamp=moment(row.started_at),
        notification=row.notification,
        status_type=row.state,
        last_event_timestamp=moment(row.event_at),
    )


def _task(row: TaskRow, services: Services) -> TaskStatus:
    running = services.scheduler.progress(row.job_id, row.task_id)
    under_way = row.state == "info"
    return TaskStatus(
        task_id=row.task_id,
        notification="running" if under_way and running is not None else row.notification,
        status_type=row.state,
        progress=running if under_way else 1.0,
        event_timestamp=moment(row.event_at),
    )


def _log(row: LogRow) -> JobLog:
    return JobLog(
        created_at=moment(row.created_at),
        processing_stage_id=row.stage_id,
        task_id=row.task_id,
        severity=row.severity,
        reporting_module=row.module,
        log_type=row.log_type,
        payload=row.payload,
    )
