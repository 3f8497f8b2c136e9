"""Judging the body of a job request before anything is written."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from deployments.batch_server.engine.inputs import InputsInvalid, check_parameters, find_image_input
from deployments.batch_server.refusals import BadRequest, NotFound
from deployments.batch_server.registry import WorkflowRegistry, check_outputs
from tasks.roboflow_api.models import ProcessingSpecification, WorkflowProcessingJob


@dataclass(frozen=True)
class JobRequest:
    """A job that can be run here."""

    body: WorkflowProcessingJob
    workflow: dict[str, Any]
    """The workflow's specification as it was when the job was asked for."""
    image_input: str


def parse_job(content: Any) -> WorkflowProcessingJob:
    """The body as a model, or BadRequest that names the first field that is wrong."""
    try:
        job = WorkflowProcessingJob.model_validate(content)
        job.wire()
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(step) for step in first["loc"]) or "the body"
        raise BadRequest(f"job request: {field}: {first['msg']}") from None
    except ValueError:
        raise BadRequest("job request: its values are nested too deeply") from None
    return job


def judge_job(body: WorkflowProcessingJob, workspace: str, registry: WorkflowRegistry) -> JobRequest:
    """See that a job can be run: known workflow, one image input, known parameters and outputs.

    Args:
        body: The request.
        workspace: The server's workspace.
        registry: Where workflow definitions lie.

    Raises:
        NotFound: The workflow or its workspace is not known.
        BadRequest: Something else about it is wrong; says what.
    """
    _check_kind(body)
    specification = body.processing_specification
    if specification.workspace != workspace:
        raise NotFound(f"workspace {specification.workspace!r} is not known here; this server's is {workspace!r}")
    definition = registry.get(specification.workflow_id)
    try:
        name = find_image_input(definition, specification.image_input_name)
        check_parameters(definition, specification.workflow_parameters or {})
    except InputsInvalid as error:
        raise BadRequest(str(error)) from None
    check_outputs(definition, specification.images_outputs_to_be_persisted or [])
    return JobRequest(body, definition, name)


def keeps_images(specification: ProcessingSpecification) -> bool:
    """Whether the job keeps image outputs; naming those to keep is asking for it."""
    if specification.persist_images_outputs is not None:
        return specification.persist_images_outputs
    return bool(specification.images_outputs_to_be_persisted)


def _check_kind(body: WorkflowProcessingJob) -> None:
    if body.type != "simple-image-processing-v1":
        raise BadRequest(f"this server runs jobs of type simple-image-processing-v1, not {body.type}")
    if body.job_input.part_name is not None or body.job_input.images_metadata_part is not None:
        raise BadRequest("this server reads whole image batches: leave partName and imagesMetadataPart out")
    rate = body.max_image_failure_rate
    if rate is not None and not 0 <= rate <= 1:
        raise BadRequest(f"maxImageFailureRate is a fraction from 0 to 1, not {rate:g}")
    for name, value in (
        ("maxParallelTasks", body.max_parallel_tasks),
        ("processingTimeoutSeconds", body.processing_timeout_seconds),
    ):
        if value is not None and value < 1:
            raise BadRequest(f"{name} is at least 1, not {value}")
