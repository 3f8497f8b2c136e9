"""Real answers of a real server, field by field, against the schemas that the vendor published.

The tables below repeat the required and the optional fields of the documents "Data Staging" and "Batch Processing",
version 1.0.0. An answer has all required fields, no field that the documents do not know, and values of their types.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from tests.deployments.batch_server.running import ServerClient, archive, job_body, settings_for, thread_server
from tests.deployments.batch_server.small_engine import BAD, SmallEngine

Check = Callable[[Any], bool]


def of(*types: type) -> Check:
    return lambda value: type(value) in types


def one_of(*values: str) -> Check:
    return lambda value: value in values


def is_time(value: Any) -> bool:
    return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None


@dataclass(frozen=True)
class Shape:
    required: dict[str, Any]
    optional: dict[str, Any] = field(default_factory=dict)


TEXT, NUMBER, TRUTH, OBJECT, NOTICE = of(str), of(int), of(bool), of(dict), of(str, dict)
# The documents of data staging give no null; the official client fails where the field is left out instead.
TOKEN = {"nextPageToken": of(str, type(None))}

BATCH = Shape(
    {
        "displayName": TEXT,
        "batchId": TEXT,
        "batchType": one_of("simple-batch", "sharded-batch", "multipart-batch"),
        "batchContentType": one_of("images", "videos", "metadata", "archives", "mixed"),
        "createdDate": is_time,
        "expiryDate": is_time,
    }
)
PART = Shape(
    {"partName": TEXT, "partType": TEXT, "contentType": TEXT}, {"partDescription": TEXT, "nestedContentType": TEXT}
)
FILE = Shape(
    {"downloadURL": TEXT, "fileName": TEXT, "contentType": TEXT},
    {"partName": TEXT, "shardId": TEXT, "nestedContentType": TEXT},
)
SHARD = Shape(
    {
        "shardId": TEXT,
        "statusName": TEXT,
        "statusType": TEXT,
        "eventTimestamp": is_time,
        "shardObjectsCount": NUMBER,
    },
    {"statusMetadata": OBJECT},
)
SIGNED_URL = Shape(
    {"uploadURL": TEXT, "extensionHeaders": OBJECT},
    {"method": TEXT, "maxArchiveImages": NUMBER, "maxArchiveBytes": NUMBER},
)
JOB = Shape(
    {"jobId": TEXT, "name": TEXT, "jobDefinition": OBJECT, "createdAt": is_time, "lastUpdate": is_time},
    {
        "currentStage": TEXT,
        "plannedStages": of(list),
        "error": TRUTH,
        "isTerminal": TRUTH,
        "lastNotification": NOTICE,
        "restartParametersOverride": of(list),
    },
)
STAGE = Shape(
    {
        "processingStageId": TEXT,
        "processingStageName": TEXT,
        "tasksNumber": NUMBER,
        "outputBatches": of(list),
        "startTimestamp": is_time,
        "notification": NOTICE,
        "statusType": TEXT,
        "lastEventTimestamp": is_time,
    }
)
TASK = Shape(
    {"taskId": TEXT, "notification": NOTICE, "statusType": TEXT, "eventTimestamp": is_time},
    {"progress": of(int, float)},
)
LOG = Shape(
    {
        "createdAt": is_time,
        "severity": one_of("info", "error", "warning"),
        "reportingModule": TEXT,
        "logType": TEXT,
        "payload": OBJECT,
    },
    {"processingStageId": TEXT, "taskId": TEXT},
)
STAGING, JOBS = "/data-staging/v1/external/local/batches", "/batch-processing/v1/external/local/jobs"
CALLS = {
    STAGING: Shape({"batches": [BATCH]}, TOKEN),
    f"{STAGING}/simple": Shape({"batch": BATCH}),
    f"{STAGING}/simple/list": Shape({"filesMetadata": [FILE]}, TOKEN),
    f"{STAGING}/shards/list": Shape({"filesMetadata": [FILE]}, TOKEN),
    f"{STAGING}/job-export/list": Shape({"filesMetadata": [FILE]}, TOKEN),
    f"{STAGING}/shards/count": Shape({"count": NUMBER}),
    f"{STAGING}/shards/shards": Shape({"shards": [SHARD]}, TOKEN),
    f"{STAGING}/job-export/parts": Shape({"batchParts": [PART]}, TOKEN),
    JOBS: Shape({"jobs": [JOB]}, TOKEN),
    f"{JOBS}/job": Shape({"job": JOB}),
    f"{JOBS}/refused": Shape({"job": JOB}),
    f"{JOBS}/compiled": Shape({"job": JOB}),
    f"{JOBS}/refused/logs": Shape({"logs": [LOG]}, TOKEN),
    f"{JOBS}/job/stages": Shape({"stages": [STAGE]}),
    f"{JOBS}/job/stages/processing/tasks": Shape({"tasks": [TASK]}, TOKEN),
    f"{JOBS}/job/logs": Shape({"logs": [LOG]}, TOKEN),
    "/": Shape({"workspace": TEXT}),
}


def problems(value: Any, wanted: Any, where: str = "answer") -> Iterator[str]:
    """What does not fit."""
    if isinstance(wanted, list):
        if not isinstance(value, list) or not value:
            yield f"{where} is no list with entries: {value!r}"
            return
        for index, entry in enumerate(value):
            yield from problems(entry, wanted[0], f"{where}[{index}]")
    elif isinstance(wanted, Shape):
        known = wanted.required | wanted.optional
        yield from (f"{where} lacks {name}" for name in wanted.required.keys() - value.keys())
        yield from (f"{where} has {name}, which is not published" for name in value.keys() - known.keys())
        for name in known.keys() & value.keys():
            yield from problems(value[name], known[name], f"{where}.{name}")
    elif not wanted(value):
        yield f"{where} is {value!r}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerClient]:
    """A server with batches of every kind, a job that ended well and one that failed."""
    with thread_server(settings_for(tmp_path_factory.mktemp("shapes"), chunk_limit=2), SmallEngine()) as client:
        client.upload("simple", "a.jpg", b"one")
        client.put(client.allocate("shards"), b"no archive")
        client.put(client.allocate("shards"), archive({"a.jpg": b"one", "b.jpg": b"two", "bad.jpg": BAD, "x/y": b""}))
        client.shards("shards")
        client.jobs("POST", "/job", json=job_body("shards", specification={"persistImagesOutputs": True}))
        impossible = {"workflowId": "minimal", "workflowParameters": {"color": "impossible"}}
        client.jobs("POST", "/refused", json=job_body("simple", specification=impossible))
        client.jobs("POST", "/compiled", json={"type": "trt-compilation-v1", "modelId": "m/1"})
        client.finished("job")
        client.finished("refused")
        client.restarted("refused", maxParallelTasks=1)
        client.finished("refused")
        yield client


@pytest.mark.parametrize("path", CALLS)
def test_answer_has_the_published_shape(server: ServerClient, path: str) -> None:
    answer = server.http.get(path)
    assert answer.status_code == 200
    assert list(problems(answer.json(), CALLS[path])) == []


def test_signed_url_has_the_published_shape(server: ServerClient) -> None:
    answer = server.staging("POST", "/shards/bulk-upload/image-files").json()
    assert list(problems(answer, Shape({"signedURLDetails": SIGNED_URL}))) == []


@pytest.mark.parametrize(
    ("method", "path", "params", "status"),
    [
        ("GET", f"{STAGING}/none", {}, 404),
        ("GET", f"{STAGING}/simple/count", {"partName": "x"}, 400),
        ("GET", f"{JOBS}/none", {}, 404),
        ("POST", f"{JOBS}/job", {}, 400),
        ("POST", f"{STAGING}/shards/upload/image", {"fileName": "a.jpg"}, 400),
        ("GET", "/data-staging/v1/external/other/batches", {}, 404),
        ("GET", STAGING, {"api_key": "wrong"}, 401),
        ("GET", "/blobs/images/1", {}, 403),
    ],
)
def test_error_has_the_published_shape(
    server: ServerClient, method: str, path: str, params: dict[str, str], status: int
) -> None:
    answer = server.http.request(method, path, params=params, json={} if method == "POST" else None)
    assert answer.status_code == status
    assert list(problems(answer.json(), Shape({"error": TEXT}))) == []


def test_problems_are_seen() -> None:
    wrong = {"jobs": [{"jobId": 1, "name": "n", "jobDefinition": {}, "createdAt": "2026-01-01T00:00:00Z", "other": 1}]}
    assert sorted(problems(wrong, Shape({"jobs": [JOB]}))) == [
        "answer.jobs[0] has other, which is not published",
        "answer.jobs[0] lacks lastUpdate",
        "answer.jobs[0].jobId is 1",
    ]
