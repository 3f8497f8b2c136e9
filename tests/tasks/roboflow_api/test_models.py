"""Every message as the vendor writes it, there and back."""

import inspect
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.roboflow_api import models
from tasks.roboflow_api.models import (
    ComputeConfiguration,
    ProcessingSpecification,
    RestartParameters,
    StagingBatchInput,
    TrtCompilationJob,
    WireModel,
    WorkflowProcessingJob,
)

TIME = "2026-09-15T12:00:00Z"
BATCH = {
    "displayName": "My batch",
    "batchId": "dr-1",
    "batchType": "sharded-batch",
    "batchContentType": "images",
    "createdDate": TIME,
    "expiryDate": TIME,
}
SIGNED = {
    "uploadURL": "https://host/x",
    "method": "PUT",
    "extensionHeaders": {"x-goog-content-length-range": "0,1"},
    "maxArchiveImages": 500,
    "maxArchiveBytes": 1000,
}
SHARD = {
    "shardId": "s",
    "statusName": "indexed",
    "statusType": "success",
    "eventTimestamp": TIME,
    "shardObjectsCount": 3,
    "statusMetadata": {"failedFiles": [{"file_name": "a", "left_alone": None}]},
}
PART = {
    "partName": "p",
    "partType": "simple-batch-part",
    "contentType": "archives",
    "partDescription": "d",
    "nestedContentType": "images",
}
FILE = {
    "downloadURL": "https://host/y",
    "fileName": "a.jpg",
    "partName": "p",
    "shardId": "s",
    "contentType": "archives",
    "nestedContentType": "images",
}
COMPUTE = {"type": "compute-configuration-v2", "machineType": "gpu", "workersPerMachine": 4}
INPUT = {"type": "staging-batch-input-v1", "batchId": "b", "partName": "p", "imagesMetadataPart": "m"}
SPECIFICATION = {
    "type": "workflows-processing-specification-v1",
    "workspace": "w",
    "workflowId": "audit",
    "workflowParameters": {"snake_case": 1, "none": None, "deep": {"a": [1]}},
    "imageInputName": "image",
    "persistImagesOutputs": True,
    "imagesOutputsToBePersisted": ["annotated"],
    "aggregationFormat": "jsonl",
    "maxVideoFPS": 5,
    "imagesMetadataInputsMapping": {"a_b": "c_d"},
}
JOB = {
    "type": "simple-image-processing-v1",
    "jobInput": INPUT,
    "computeConfiguration": COMPUTE,
    "processingTimeoutSeconds": 3600,
    "maxParallelTasks": 2,
    "maxImageFailureRate": 0.5,
    "processingSpecification": SPECIFICATION,
    "notificationsURL": "https://host/hook",
    "inferenceBackend": "inference-models",
}
COMPILATION = {
    "type": "trt-compilation-v1",
    "modelId": "my-project/3",
    "compilationDevices": ["nvidia-l40s"],
    "notificationsURL": "https://host/hook",
}
RESTART = {
    "type": "parameters-override-v1",
    "computeConfiguration": COMPUTE,
    "maxParallelTasks": 2,
    "processingTimeoutSeconds": 7200,
    "maxImageFailureRate": 0.25,
}
ENDED = {
    "type": "roboflow-batch-job-notification-v1",
    "event_id": "8f42708b-aeb7-4b73-9d83-cf18518b6d81",
    "job_id": "dr-1",
    "job_state": "fail",
    "delivery_attempt": 2,
}
METADATA = {
    "jobId": "j",
    "name": "n",
    "jobDefinition": {"type": "simple-image-processing-v1", "jobInput": {"batchId": "b"}},
    "currentStage": "processing",
    "plannedStages": ["processing", "export"],
    "error": False,
    "isTerminal": False,
    "lastNotification": "working",
    "createdAt": TIME,
    "lastUpdate": TIME,
    "restartParametersOverride": [{"maxParallelTasks": 3}],
}
STAGE = {
    "processingStageId": "s",
    "processingStageName": "processing",
    "tasksNumber": 3,
    "outputBatches": ["b"],
    "startTimestamp": TIME,
    "notification": {"text": "working"},
    "statusType": "info",
    "lastEventTimestamp": TIME,
}
TASK = {"taskId": "t", "notification": "n", "statusType": "info", "progress": 0.5, "eventTimestamp": TIME}
LOG = {
    "createdAt": TIME,
    "processingStageId": "s",
    "taskId": "t",
    "severity": "error",
    "reportingModule": "m",
    "logType": "l",
    "payload": {"image": "a.jpg", "reason": None},
}
WORKFLOW = {"name": "n", "url": "u", "config": '{"specification": {}}'}
TOKEN = {"nextPageToken": "t"}
REFERENCE = {"name": "a.jpg", "url": "https://h/a.jpg?s=1"}
INGEST = {"ingestId": "i-1", "notificationsURL": "https://h/hook"}
SAMPLES: dict[str, dict[str, Any]] = {
    "WireModel": {},
    "Page": TOKEN,
    "Acknowledged": {},
    "WorkspaceAnswer": {"workspace": "w"},
    "BatchMetadata": BATCH,
    "BatchAnswer": {"batch": BATCH},
    "BatchesPage": {"batches": [BATCH], **TOKEN},
    "SignedUrlDetails": SIGNED,
    "SignedUrlAnswer": {"signedURLDetails": SIGNED},
    "Reference": REFERENCE,
    "ImageReferencesIngest": {"imageReferences": [REFERENCE], **INGEST, "notificationCategories": ["files-status"]},
    "VideoReferencesIngest": {"videoReferencesURL": "https://h/v.jsonl?s=1", **INGEST},
    "RoboqlIngest": {"query": "class:cat", "displayName": "cats", **INGEST},
    "IngestAnswer": {"ingestId": "i-1", "shardIds": ["s-1"], "duplicated": True},
    "CountAnswer": {"count": 3},
    "ShardDetails": SHARD,
    "ShardsPage": {"shards": [SHARD], **TOKEN},
    "BatchPart": PART,
    "PartsAnswer": {"batchParts": [PART]},
    "FileMetadata": FILE,
    "FilesPage": {"filesMetadata": [FILE], **TOKEN},
    "StagingBatchInput": INPUT,
    "ComputeConfiguration": COMPUTE,
    "ProcessingSpecification": SPECIFICATION,
    "WorkflowProcessingJob": JOB,
    "TrtCompilationJob": COMPILATION,
    "RestartParameters": RESTART,
    "JobNotification": ENDED,
    "JobMetadata": METADATA,
    "JobAnswer": {"job": METADATA},
    "JobsPage": {"jobs": [METADATA], **TOKEN},
    "JobStage": STAGE,
    "StagesAnswer": {"stages": [STAGE]},
    "TaskStatus": TASK,
    "TasksPage": {"tasks": [TASK], **TOKEN},
    "JobLog": LOG,
    "JobLogsPage": {"logs": [LOG], **TOKEN},
    "WorkflowEntry": WORKFLOW,
    "WorkflowAnswer": {"workflow": WORKFLOW, "status": "ok"},
}
MODELS = [found for found in vars(models).values() if inspect.isclass(found) and issubclass(found, WireModel)]
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)


def strange(value: Any) -> Any:
    """The message with a field more in each of its objects, as a newer server may send it."""
    if isinstance(value, dict):
        return {name: strange(inner) for name, inner in value.items()} | {"brandNew": "x"}
    return [strange(inner) for inner in value] if isinstance(value, list) else value


@each_model
def test_model_writes_what_the_vendor_writes(model: type[WireModel]) -> None:
    sample = SAMPLES[model.__name__]
    assert model.model_validate(sample).wire() == sample


@each_model
def test_model_parses_its_own_dumps(model: type[WireModel]) -> None:
    made = model.model_validate(SAMPLES[model.__name__])
    assert model.model_validate(made.model_dump()) == made
    assert model.model_validate(made.wire()) == made
    assert model.model_validate_json(made.model_dump_json(by_alias=True)) == made


@each_model
def test_model_tolerates_unknown_fields(model: type[WireModel]) -> None:
    model.model_validate(strange(SAMPLES[model.__name__]))


@each_model
def test_model_needs_no_optional_field(model: type[WireModel]) -> None:
    needed = {field.alias or name for name, field in model.model_fields.items() if field.is_required()}
    sample = {name: value for name, value in SAMPLES[model.__name__].items() if name in needed}
    assert model.model_validate(sample).wire().keys() >= needed


def test_job_is_what_the_official_client_sends() -> None:
    job = WorkflowProcessingJob(
        type="simple-image-processing-v1",
        job_input=StagingBatchInput(batch_id="dr-1"),
        compute_configuration=ComputeConfiguration(),
        processing_specification=ProcessingSpecification(
            workspace="my-space",
            workflow_id="photo-audit",
            workflow_parameters={"threshold": 0.5},
            persist_images_outputs=True,
            aggregation_format="jsonl",
        ),
    )
    assert job.wire() == {
        "type": "simple-image-processing-v1",
        "jobInput": {"type": "staging-batch-input-v1", "batchId": "dr-1"},
        "computeConfiguration": {"type": "compute-configuration-v2"},
        "processingSpecification": {
            "type": "workflows-processing-specification-v1",
            "workspace": "my-space",
            "workflowId": "photo-audit",
            "workflowParameters": {"threshold": 0.5},
            "persistImagesOutputs": True,
            "aggregationFormat": "jsonl",
        },
    }


def test_compilation_is_what_the_official_client_sends() -> None:
    job = TrtCompilationJob(model_id="my-project/3", compilation_devices=["nvidia-t4", "nvidia-l4"])
    assert job.wire() == {
        "type": "trt-compilation-v1",
        "modelId": "my-project/3",
        "compilationDevices": ["nvidia-t4", "nvidia-l4"],
    }
    with pytest.raises(ValidationError):
        TrtCompilationJob.model_validate(COMPILATION | {"compilationDevices": ["nvidia-h100"]})


def test_restart_sends_what_is_different_only() -> None:
    assert RestartParameters(processing_timeout_seconds=1.5).wire() == {
        "type": "parameters-override-v1",
        "processingTimeoutSeconds": 1.5,
    }
    whole = RestartParameters.model_validate(RESTART).wire()["processingTimeoutSeconds"]
    assert (whole, type(whole)) == (7200, int)


def test_job_refuses_an_unknown_kind() -> None:
    with pytest.raises(ValidationError):
        WorkflowProcessingJob.model_validate(JOB | {"type": "simple-audio-processing-v1"})


def test_video_rate_stays_the_number_that_was_given() -> None:
    for rate, text in ((5, '"maxVideoFPS":5,'), (2.5, '"maxVideoFPS":2.5,')):
        made = ProcessingSpecification.model_validate(SPECIFICATION | {"maxVideoFPS": rate})
        assert text in made.model_dump_json(by_alias=True)


def test_notification_may_be_an_object_or_text() -> None:
    for notification in ({"type": "a", "b": [1]}, "text", None):
        sample = METADATA | {"lastNotification": notification}
        assert models.JobMetadata.model_validate(sample).last_notification == notification
