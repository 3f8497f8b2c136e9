"""Launch: one job for the run, under an id that is fixed before the platform hears of it."""

from __future__ import annotations

from typing import Any

from tasks.core.errors import Conflict
from tasks.core.records import Launched
from tasks.roboflow_api.models import (
    ComputeConfiguration,
    JobMetadata,
    ProcessingSpecification,
    RestartParameters,
    StagingBatchInput,
    WorkflowProcessingJob,
)
from tasks.roboflow_api.polling import poll_until
from tasks.roboflow_api.retrying import retry
from tasks.steps.context import WAIT, Run

STEP = "launch"
WORK = ("type", "jobInput", "processingSpecification", "inferenceBackend")
"""What of a job says which work it does; the rest says how, and may differ from one start of the run to the next."""
NOTIFICATIONS = "notificationsURL"
RESTART = "restart"


def launch(run: Run) -> Launched:
    """Posts the job, or attaches to the one that is there; one that failed or was aborted is restarted.

    A lost answer cannot start a second job: the id is the run's own, and the platform is asked before and after.

    Raises:
        Conflict: a job of that id is there and does something else.
        Terminal: the platform refused the job.
    """
    known = run.journal.confirmed(STEP, "record") is not None
    unheard = run.journal.pending(STEP, run.remote_id) is not None
    there = None if known else run.platform.processing.find(run.remote_id)
    launched = run.once(STEP, Launched, lambda: _launch(run, there))
    is_new = unheard or (not known and there is None)  # whatever it has come to by now, nobody was told of it
    if is_new or run.resumed or run.journal.confirmed(WAIT, "record"):
        return launched
    return launched.model_copy(update={"restarted": _restarted(run)})


def describe_job(run: Run) -> WorkflowProcessingJob:
    """The job as the contract wants it."""
    request, options, job = run.target.request, run.target.request.options, run.target.request.job
    return WorkflowProcessingJob(
        type="simple-image-processing-v1",
        job_input=StagingBatchInput(batch_id=run.remote_id, images_metadata_part=options.images_metadata_part or None),
        compute_configuration=_compute(run),
        processing_timeout_seconds=job.max_runtime_seconds,
        max_parallel_tasks=job.max_parallel_tasks,
        max_image_failure_rate=job.max_image_failure_rate,
        processing_specification=ProcessingSpecification(
            workspace=run.platform.workspace,
            workflow_id=run.target.workflow.id,
            workflow_parameters=request.parameters or None,
            image_input_name=options.image_input or None,
            persist_images_outputs=options.keep_images,
            images_outputs_to_be_persisted=options.image_outputs or None,
            aggregation_format=options.aggregation_format,
            images_metadata_inputs_mapping=options.images_metadata_mapping or None,
        ),
        notifications_url=run.notifications_url or None,
        inference_backend=None if options.inference_backend == "auto" else options.inference_backend,
    )


def _compute(run: Run) -> ComputeConfiguration:
    job = run.target.request.job
    return ComputeConfiguration(
        machine_type=None if job.machine_type == "auto" else job.machine_type,
        workers_per_machine=job.workers_per_machine,
    )


def _launch(run: Run, there: JobMetadata | None) -> Launched:
    begun, job = run.timing.clock(), describe_job(run)
    if there is None:
        run.journal.intend(STEP, run.remote_id)
        try:
            run.platform.processing.create(run.remote_id, job, name=run.remote_id)
        except Conflict:
            there = run.platform.processing.find(run.remote_id)
            if there is None:
                raise
    if there is not None:
        _check_same(run, job.wire(), there.job_definition)
    run.journal.confirm(STEP, run.remote_id)
    return Launched(job_id=run.remote_id, attached=there is not None, seconds=run.timing.clock() - begun)


def _check_same(run: Run, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    """Sees that the job that is there does this run's work; says where it goes about it in another way.

    Raises:
        Conflict: it does something else.
    """
    if not agrees({name: wanted[name] for name in WORK if name in wanted}, found):
        raise Conflict(
            f"job {run.remote_id} is on the platform already and does something else: "
            "pass --rerun LABEL for a run of its own"
        )
    other = [name for name, value in wanted.items() if not agrees(value, found.get(name))]
    if limits := [name for name in other if name != NOTIFICATIONS]:
        run.tell(
            f"job {run.remote_id} is on the platform already, with another {' and another '.join(limits)}: "
            "what is asked for now takes effect when it is restarted"
        )
    if NOTIFICATIONS in other:
        run.tell(f"job {run.remote_id} tells nobody here of its end: the flow reap-runs notices it")


def agrees(wanted: Any, found: Any) -> bool:
    """Whether ``found`` holds everything that ``wanted`` does; a platform may add fields of its own."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(agrees(value, found.get(name)) for name, value in wanted.items())
    return bool(wanted == found)


def _restarted(run: Run) -> bool:
    """Has a job that ended badly go on under the present options, once; whether it does.

    A second call would restart it a second time. So what the job was before the first one is written down: after a
    lost answer, in this process or a later one, the job itself says whether it was heard.
    """
    there = run.platform.processing.find(run.remote_id)
    if there is None or not _has_failed(there):
        return False
    before = run.journal.pending(STEP, RESTART)
    if before is not None and before["ended"] != there.last_update.isoformat():
        run.journal.confirm(STEP, RESTART)  # it was heard, and the job has failed again since
        return False
    run.tell(f"job {run.remote_id} had failed or was aborted: it is restarted, and goes on with what it has not done")
    run.journal.intend(STEP, RESTART, ended=there.last_update.isoformat())
    retry(lambda: _restart(run, there), run.platform.staging.transport.policy, run.timing)
    run.journal.confirm(STEP, RESTART)
    return True


def _restart(run: Run, ended: JobMetadata) -> None:
    """One try: sees that the job is still as it had ended, restarts it, and waits until that shows.

    Raises:
        Transient: it is not known whether the request was heard: look again.
    """
    processing, job = run.platform.processing, run.target.request.job
    if not _is_as(run, ended):
        return
    overrides = RestartParameters(
        compute_configuration=_compute(run),
        max_parallel_tasks=job.max_parallel_tasks,
        processing_timeout_seconds=job.max_runtime_seconds,
        max_image_failure_rate=job.max_image_failure_rate,
    )
    try:
        processing.restart(run.remote_id, overrides)
    except Conflict:
        if _is_as(run, ended):
            raise
    # Whoever looks at once may be shown the old end for a moment, and take it for the new one.
    poll_until(
        lambda: _is_as(run, ended),
        lambda old: not old,
        deadline=run.platform.settle,
        pace=run.platform.pace,
        timing=run.timing,
    )


def _is_as(run: Run, ended: JobMetadata) -> bool:
    """Whether the job is just as it had ended."""
    now = run.platform.processing.job(run.remote_id)
    return _has_failed(now) and now.last_update == ended.last_update


def _has_failed(job: JobMetadata) -> bool:
    return job.is_terminal and job.error
