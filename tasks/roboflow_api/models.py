"""The wire models of data staging and batch processing.

One base class turns ``snake_case`` fields into the vendor's ``camelCase``; where the vendor breaks that rule
(``downloadURL``, ``notificationsURL``, ``maxVideoFPS``) the alias is written out. Fields that a server adds are kept
out of the way, never refused. Absent is absent: requests are dumped with :meth:`WireModel.wire`, without nulls.

Source: the vendor's OpenAPI documents for "Data Staging" and "Batch Processing", version 1.0.0, and what the
official command line (inference-cli 1.8.3) sends and reads.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

BATCH_ID_PATTERN = r"^[a-z0-9_-]{1,64}$"
JOB_ID_PATTERN = r"^[a-z0-9_-]{1,20}$"
MAX_IMAGE_BYTES = 20 * 1024 * 1024
MAX_IMAGES_PER_SHARD = 500
MAX_REFERENCES = 20_000
"""Most image references in one request."""
MAX_VIDEO_REFERENCES = 5_000
"""Most video references in one request."""
ADVISED_VIDEOS = 1_000
"""Videos in one batch up to which it works best."""

BatchType = Literal["simple-batch", "sharded-batch", "multipart-batch"]
ContentType = Literal["images", "videos", "metadata", "archives", "mixed"]
NotificationCategory = Literal["ingest-status", "files-status"]
Severity = Literal["info", "warning", "error"]
JobType = Literal["simple-image-processing-v1", "simple-video-processing-v1"]
CompilationDevice = Literal["nvidia-t4", "nvidia-l4", "nvidia-l40s"]
Notification = dict[str, Any] | str


class WireModel(BaseModel):
    """Base of every message: camelCase outside, snake_case inside, unknown fields ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")

    def wire(self) -> dict[str, Any]:
        """The message as JSON-ready values under the vendor's names, absent fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Acknowledged(WireModel):
    """An answer in which nothing is of interest but that it came."""


class Page(WireModel):
    """Base of every paged answer; a null or missing token means the last page."""

    next_page_token: str | None = None


# --- data staging -----------------------------------------------------------------------------------------------


class WorkspaceAnswer(WireModel):
    """Answer of ``GET /``: whose key this is."""

    workspace: str


class BatchMetadata(WireModel):
    """What a batch is; it expires seven days after it was staged."""

    display_name: str
    batch_id: str
    batch_type: str
    batch_content_type: str
    created_date: datetime
    expiry_date: datetime


class BatchAnswer(WireModel):
    """Answer of ``GET /batches/{id}``."""

    batch: BatchMetadata


class BatchesPage(Page):
    """One page of ``GET /batches``."""

    batches: list[BatchMetadata]


class SignedUrlDetails(WireModel):
    """Where to PUT a shard or a video, with which headers, and what the server takes."""

    upload_url: str = Field(alias="uploadURL")
    method: str | None = None
    extension_headers: dict[str, str] = Field(default_factory=dict)
    max_archive_images: int | None = None
    """Most images the server takes in one archive, where it says so."""
    max_archive_bytes: int | None = None
    """Largest archive the server takes, in bytes, where it says so."""


class SignedUrlAnswer(WireModel):
    """Answer of ``POST …/bulk-upload/image-files`` and ``POST …/upload/video``."""

    signed_url_details: SignedUrlDetails = Field(alias="signedURLDetails")


class Reference(WireModel):
    """One file that the platform fetches by itself; names are unique in a batch, and signed URLs are secrets."""

    name: str
    url: str


class ImageReferencesIngest(WireModel):
    """Body of ``POST …/bulk-upload/image-references``: the references themselves, or where a JSONL file of them is.

    A request with an ``ingest_id`` that the batch has seen before is answered as ``duplicated`` and changes nothing.
    """

    image_references: list[Reference] | None = None
    image_references_url: str | None = Field(default=None, alias="imageReferencesURL")
    ingest_id: str | None = None
    notifications_url: str | None = Field(default=None, alias="notificationsURL")
    notification_categories: list[NotificationCategory] | None = None


class VideoReferencesIngest(WireModel):
    """Body of ``POST …/bulk-upload/video-references``, like that for images."""

    video_references: list[Reference] | None = None
    video_references_url: str | None = Field(default=None, alias="videoReferencesURL")
    ingest_id: str | None = None
    notifications_url: str | None = Field(default=None, alias="notificationsURL")
    notification_categories: list[NotificationCategory] | None = None


class RoboqlIngest(WireModel):
    """Body of ``POST …/roboql-ingest``: images picked from the platform's own library."""

    query: str
    display_name: str | None = None
    ingest_id: str | None = None
    notifications_url: str | None = Field(default=None, alias="notificationsURL")


class IngestAnswer(WireModel):
    """Answer of the calls that have the platform fetch files; ``shard_ids`` for images only."""

    ingest_id: str
    shard_ids: list[str] | None = None
    duplicated: bool = False


class CountAnswer(WireModel):
    """Answer of ``GET …/count``: what is ingested so far."""

    count: int


class ShardDetails(WireModel):
    """The state of one shard; ``status_type`` contains ``error`` once it has failed, ``info`` while it is indexed."""

    shard_id: str
    status_name: str
    status_type: str
    event_timestamp: datetime
    shard_objects_count: int
    status_metadata: dict[str, Any] | None = None
    """On this project's server: ``{"failedFiles": [{"type", "file_name", "reason"}]}``, the same entries that a
    ``files-status`` notification carries; for a shard that failed as a whole also its ``type`` and ``error``."""


class ShardsPage(Page):
    """One page of ``GET …/shards``."""

    shards: list[ShardDetails]


class BatchPart(WireModel):
    """One part of a multipart batch."""

    part_name: str
    part_type: str
    content_type: str
    part_description: str | None = None
    nested_content_type: str | None = None


class PartsAnswer(WireModel):
    """Answer of ``GET …/parts``."""

    batch_parts: list[BatchPart]


class FileMetadata(WireModel):
    """One file of a batch; the signed ``download_url`` expires, so list again rather than keep it."""

    download_url: str = Field(alias="downloadURL")
    file_name: str
    part_name: str | None = None
    shard_id: str | None = None
    content_type: str
    nested_content_type: str | None = None


class FilesPage(Page):
    """One page of ``GET …/list``."""

    files_metadata: list[FileMetadata]


# --- batch processing -------------------------------------------------------------------------------------------


class StagingBatchInput(WireModel):
    """Which batch a job reads."""

    type: Literal["staging-batch-input-v1"] = "staging-batch-input-v1"
    batch_id: str
    part_name: str | None = None
    images_metadata_part: str | None = None


class ComputeConfiguration(WireModel):
    """What a job runs on."""

    type: Literal["compute-configuration-v2"] = "compute-configuration-v2"
    machine_type: Literal["cpu", "gpu"] | None = None
    workers_per_machine: int | None = None


class ProcessingSpecification(WireModel):
    """Which workflow a job runs, with what parameters, and what it keeps."""

    type: Literal["workflows-processing-specification-v1"] = "workflows-processing-specification-v1"
    workspace: str
    workflow_id: str
    workflow_parameters: dict[str, Any] | None = None
    image_input_name: str | None = None
    persist_images_outputs: bool | None = None
    images_outputs_to_be_persisted: list[str] | None = None
    aggregation_format: Literal["csv", "jsonl"] | None = None
    max_video_fps: int | float | None = Field(default=None, alias="maxVideoFPS")
    images_metadata_inputs_mapping: dict[str, str] | None = None


class WorkflowProcessingJob(WireModel):
    """Body of ``POST /jobs/{id}``.

    ``processing_timeout_seconds`` is machine time over all parallel workers together; a failure rate left out means
    that ten images of a shard may fail.
    """

    type: JobType
    job_input: StagingBatchInput
    compute_configuration: ComputeConfiguration
    processing_timeout_seconds: int | None = None
    max_parallel_tasks: int | None = None
    max_image_failure_rate: float | None = None
    processing_specification: ProcessingSpecification
    notifications_url: str | None = Field(default=None, alias="notificationsURL")
    inference_backend: Literal["old-inference", "inference-models"] | None = None


class TrtCompilationJob(WireModel):
    """Body of ``POST /jobs/{id}`` that has a model compiled for devices; devices left out are the platform's choice."""

    type: Literal["trt-compilation-v1"] = "trt-compilation-v1"
    model_id: str
    compilation_devices: list[CompilationDevice] | None = None
    notifications_url: str | None = Field(default=None, alias="notificationsURL")


class RestartParameters(WireModel):
    """Body of ``POST /jobs/{id}/restart``: what is different from now on; what is left out stays as it was."""

    type: Literal["parameters-override-v1"] = "parameters-override-v1"
    compute_configuration: ComputeConfiguration | None = None
    max_parallel_tasks: int | None = None
    processing_timeout_seconds: int | float | None = None
    max_image_failure_rate: float | None = None


class JobNotification(WireModel):
    """What a job's ``notificationsURL`` is told at its end; the same event may come more than once."""

    model_config = ConfigDict(alias_generator=None, extra="ignore")
    type: Literal["roboflow-batch-job-notification-v1"] = "roboflow-batch-job-notification-v1"
    event_id: str
    job_id: str
    job_state: Literal["success", "fail"]
    delivery_attempt: int


class JobMetadata(WireModel):
    """What a job is and how far it has come."""

    job_id: str
    name: str
    job_definition: dict[str, Any]
    current_stage: str | None = None
    planned_stages: list[str] | None = None
    error: bool = False
    is_terminal: bool = False
    last_notification: Notification | None = None
    created_at: datetime
    last_update: datetime
    restart_parameters_override: list[dict[str, Any]] = Field(default_factory=list)


class JobAnswer(WireModel):
    """Answer of ``GET /jobs/{id}``."""

    job: JobMetadata


class JobsPage(Page):
    """One page of ``GET /jobs``."""

    jobs: list[JobMetadata]


class JobStage(WireModel):
    """One stage of a job, normally ``processing`` and then ``export``.

    ``status_type`` is ``info`` while it runs, else contains ``success`` or ``error``.
    """

    processing_stage_id: str
    processing_stage_name: str
    tasks_number: int
    output_batches: list[str]
    start_timestamp: datetime
    notification: Notification
    status_type: str
    last_event_timestamp: datetime


class StagesAnswer(WireModel):
    """Answer of ``GET /jobs/{id}/stages``."""

    stages: list[JobStage]


class TaskStatus(WireModel):
    """One task of a stage; ``progress`` is a fraction from 0 to 1, absent until the task was picked up."""

    task_id: str
    notification: Notification
    status_type: str
    progress: float | None = None
    event_timestamp: datetime


class TasksPage(Page):
    """One page of ``GET /jobs/{id}/stages/{stage}/tasks``."""

    tasks: list[TaskStatus]


class JobLog(WireModel):
    """One log line of a job."""

    created_at: datetime
    processing_stage_id: str | None = None
    task_id: str | None = None
    severity: Severity
    reporting_module: str
    log_type: str
    payload: dict[str, Any]
    """On this project's server an image that failed is a log of type ``image-processing-failed`` with the payload
    ``{"image": name, "reason": text}``."""


class JobLogsPage(Page):
    """One page of ``GET /jobs/{id}/logs``."""

    logs: list[JobLog]


# --- workflow definitions ---------------------------------------------------------------------------------------


class WorkflowEntry(WireModel):
    """A registered workflow; ``config`` is a JSON string that holds ``specification``."""

    model_config = ConfigDict(alias_generator=None, extra="ignore")

    name: str | None = None
    url: str | None = None
    config: str


class WorkflowAnswer(WireModel):
    """Answer of ``GET /{workspace}/workflows/{id}``."""

    workflow: WorkflowEntry
    status: str | None = None
