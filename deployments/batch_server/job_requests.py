"""Judging the body of a job request before anything is written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from deployments.batch_server.engine.inputs import InputsInvalid, check_parameters, find_image_input
from deployments.batch_server.plan import Feature
from deployments.batch_server.reference_requests import notifications_url
from deployments.batch_server.refusals import BadRequest, NotFound
from deployments.batch_server.registry import WorkflowRegistry, check_outputs
from deployments.batch_server.settings import ServerSettings
from tasks.roboflow_api.models import (
    ComputeConfiguration,
    JobType,
    ProcessingSpecification,
    RestartParameters,
    TrtCompilationJob,
    WireModel,
    WorkflowProcessingJob,
)

IMAGES = "simple-image-processing-v1"
COMPILATION = "trt-compilation-v1"
NO_GPU = "leave machineType out, or ask its operator"
NO_COMPILATION = "have the model compiled elsewhere, or ask its operator"
M = TypeVar("M", bound=WireModel)


@dataclass(frozen=True)
class JobRequest:
    """A job that can be run here."""

    body: WorkflowProcessingJob
    workflow: dict[str, Any]
    """The workflow's specification as it was when the job was asked for."""
    image_input: str


@dataclass(frozen=True)
class JobLimits:
    """What a job may take at most; `None`: what there is."""

    tasks: int | None
    """At once: this server is one machine, so its workers are the job's tasks."""
    seconds: float | None
    """Of machine time, over all workers."""
    failure_rate: float | None
    """The fraction of a task's images that may fail, from 0 to 1."""


def parse_job(content: Any) -> WorkflowProcessingJob | TrtCompilationJob:
    """The body as a model, or BadRequest that names the first field that is wrong."""
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == COMPILATION:
        job = _parse(TrtCompilationJob, content, "job request")
        # The official client gives them in an order of chance, and the same request must be the same job.
        devices = None if job.compilation_devices is None else sorted(set(job.compilation_devices))
        return job.model_copy(update={"compilation_devices": devices})
    known = [*get_args(JobType), COMPILATION]
    if isinstance(content, dict) and kind not in known:
        raise BadRequest(f"job request: type is one of {', '.join(known)}, not {kind!r}")
    return _parse(WorkflowProcessingJob, content, "job request")


def parse_restart(content: Any) -> RestartParameters | None:
    """The body of a restart as a model, `None` where it changes nothing.

    Raises:
        BadRequest: It is wrong; names the first field that is.
    """
    overrides = RestartParameters() if content is None else _parse(RestartParameters, content, "restart request")
    return None if overrides == RestartParameters() else overrides


def judge_job(body: WorkflowProcessingJob, settings: ServerSettings, registry: WorkflowRegistry) -> JobRequest:
    """See that a job can be run: known workflow, one image input, known parameters and outputs.

    Args:
        body: The request.
        settings: The server's workspace and plan.
        registry: Where workflow definitions lie.

    Raises:
        NotFound: The workflow or its workspace is not known.
        NotIncluded: The plan does not include it.
        BadRequest: Something else about it is wrong; says what.
    """
    _check_kind(body)
    _check_limits(body)
    _check_machine(body.compute_configuration, settings)
    notifications_url(body.notifications_url)
    specification = body.processing_specification
    if specification.workspace != settings.workspace:
        known = settings.workspace
        raise NotFound(f"workspace {specification.workspace!r} is not known here; this server's is {known!r}")
    definition = registry.get(specification.workflow_id)
    try:
        name = find_image_input(definition, specification.image_input_name)
        check_parameters(definition, specification.workflow_parameters or {})
    except InputsInvalid as error:
        raise BadRequest(str(error)) from None
    check_outputs(definition, specification.images_outputs_to_be_persisted or [])
    return JobRequest(body, definition, name)


def judge_compilation(body: TrtCompilationJob, settings: ServerSettings) -> None:
    """See that a compilation can be asked for.

    Raises:
        NotIncluded: The plan does not include it.
        BadRequest: Something else about it is wrong; says what.
    """
    settings.require(Feature.COMPILATION, NO_COMPILATION)
    notifications_url(body.notifications_url)
    if not body.model_id:
        raise BadRequest("modelId is empty: name the model, as in my-project/3")
    if body.compilation_devices == []:
        raise BadRequest("compilationDevices is empty: name at least one device, or leave it out")


def judge_restart(overrides: RestartParameters | None, settings: ServerSettings) -> None:
    """See that what a restart changes can be had.

    Raises:
        NotIncluded: The plan does not include it.
        BadRequest: A value is out of its range; says which.
    """
    if overrides is not None:
        _check_limits(overrides)
        if overrides.compute_configuration is not None:
            _check_machine(overrides.compute_configuration, settings)


def limits_of(body: WorkflowProcessingJob, overrides: Iterable[Mapping[str, Any]]) -> JobLimits:
    """What a job may take after its restarts: of each limit, the latest value."""
    workers = body.compute_configuration.workers_per_machine
    tasks, seconds, rate = body.max_parallel_tasks, body.processing_timeout_seconds, body.max_image_failure_rate
    limits: dict[str, Any] = {"workers": workers, "tasks": tasks, "seconds": seconds, "rate": rate}
    for override in map(RestartParameters.model_validate, overrides):
        compute = override.compute_configuration or ComputeConfiguration()
        latest = {
            "workers": compute.workers_per_machine,
            "tasks": override.max_parallel_tasks,
            "seconds": override.processing_timeout_seconds,
            "rate": override.max_image_failure_rate,
        }
        limits |= {name: value for name, value in latest.items() if value is not None}
    at_once = [value for value in (limits["workers"], limits["tasks"]) if value is not None]
    return JobLimits(min(at_once, default=None), limits["seconds"], limits["rate"])


def keeps_images(specification: ProcessingSpecification) -> bool:
    """Whether the job keeps image outputs; naming those to keep is asking for it."""
    if specification.persist_images_outputs is not None:
        return specification.persist_images_outputs
    return bool(specification.images_outputs_to_be_persisted)


def _parse(model: type[M], content: Any, what: str) -> M:
    try:
        parsed = model.model_validate(content)
        parsed.wire()
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(step) for step in first["loc"]) or "the body"
        raise BadRequest(f"{what}: {field}: {first['msg']}") from None
    except ValueError:
        raise BadRequest(f"{what}: its values are nested too deeply") from None
    return parsed


def _check_kind(body: WorkflowProcessingJob) -> None:
    if body.type != IMAGES:
        raise BadRequest(f"this server runs jobs of type {IMAGES}, not {body.type}: it processes no videos")
    if body.job_input.part_name is not None or body.job_input.images_metadata_part is not None:
        raise BadRequest("this server reads whole image batches: leave partName and imagesMetadataPart out")
    if body.processing_specification.images_metadata_inputs_mapping is not None:
        raise BadRequest("imagesMetadataInputsMapping needs a part of metadata, which batches on this server have not")
    if body.processing_specification.max_video_fps is not None:
        raise BadRequest("maxVideoFPS is for videos: leave it out of a job on images")


def _check_machine(compute: ComputeConfiguration, settings: ServerSettings) -> None:
    if compute.machine_type == "gpu":
        settings.require(Feature.GPU, NO_GPU)


def _check_limits(body: WorkflowProcessingJob | RestartParameters) -> None:
    rate = body.max_image_failure_rate
    if rate is not None and not 0 <= rate <= 1:
        raise BadRequest(f"maxImageFailureRate is a fraction from 0 to 1, not {rate:g}")
    compute = body.compute_configuration
    for name, value in (
        ("maxParallelTasks", body.max_parallel_tasks),
        ("processingTimeoutSeconds", body.processing_timeout_seconds),
        ("workersPerMachine", None if compute is None else compute.workers_per_machine),
    ):
        if value is not None and value < 1:
            raise BadRequest(f"{name} is at least 1, not {value:g}")
