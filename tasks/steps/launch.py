"""Launch: one job for the run, under an id that is fixed before the platform hears of it."""

from __future__ import annotations

from typing import Any

from tasks.core.errors import Conflict, NotFound
from tasks.core.records import Launched
from tasks.roboflow_api.models import (
    ComputeConfiguration,
    JobMetadata,
    ProcessingSpecification,
    StagingBatchInput,
    WorkflowProcessingJob,
)
from tasks.steps.context import Run

STEP = "launch"


def launch(run: Run) -> Launched:
    """Posts the job, or attaches to the one that is there.

    A lost answer cannot start a second job: the id is the run's own, and the platform is asked before and after.

    Raises:
        Conflict: a job of that id is there and does something else.
        Terminal: the platform refused the job.
    """
    return run.once(STEP, Launched, lambda: _launch(run))


def describe_job(run: Run) -> WorkflowProcessingJob:
    """The job as the contract wants it."""
    request, options = run.target.request, run.target.request.options
    return WorkflowProcessingJob(
        type="simple-image-processing-v1",
        job_input=StagingBatchInput(batch_id=run.remote_id),
        compute_configuration=ComputeConfiguration(),
        max_image_failure_rate=options.max_image_failure_rate,
        processing_specification=ProcessingSpecification(
            workspace=run.platform.workspace,
            workflow_id=run.target.workflow.id,
            workflow_parameters=request.parameters or None,
            image_input_name=options.image_input,
            persist_images_outputs=options.keep_images,
            images_outputs_to_be_persisted=options.image_outputs,
            aggregation_format="jsonl",
        ),
    )


def _launch(run: Run) -> Launched:
    begun, job = run.timing.clock(), describe_job(run)
    there = _find(run)
    if there is None:
        run.journal.intend(STEP, run.remote_id)
        try:
            run.platform.processing.create(run.remote_id, job, name=run.remote_id)
        except Conflict:
            there = run.platform.processing.job(run.remote_id)
    if there is not None and not agrees(job.wire(), there.job_definition):
        raise Conflict(
            f"job {run.remote_id} is on the platform already and does something else: "
            "pass --rerun LABEL for a run of its own"
        )
    return Launched(job_id=run.remote_id, attached=there is not None, seconds=run.timing.clock() - begun)


def _find(run: Run) -> JobMetadata | None:
    try:
        return run.platform.processing.job(run.remote_id)
    except NotFound:
        return None


def agrees(wanted: Any, found: Any) -> bool:
    """Whether ``found`` holds everything that ``wanted`` does; a platform may add fields of its own."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(agrees(value, found.get(name)) for name, value in wanted.items())
    return bool(wanted == found)
