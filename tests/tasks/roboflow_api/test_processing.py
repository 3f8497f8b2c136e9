import pytest

from tasks.core.errors import Conflict
from tasks.roboflow_api.models import WorkflowProcessingJob
from tasks.roboflow_api.processing import ProcessingApi
from tasks.roboflow_api.transport import Transport
from tests.scripted import Reply, Scripted
from tests.tasks.roboflow_api.conftest import KEY
from tests.tasks.roboflow_api.test_models import JOB, LOG, METADATA, STAGE, TASK

ROOT = "/batch-processing/v1/external/w/jobs/dr-1"


@pytest.fixture
def processing(transport: Transport) -> ProcessingApi:
    return ProcessingApi(transport, "w")


def test_create_posts_the_job_under_its_id(server: Scripted, processing: ProcessingApi) -> None:
    server.replies([Reply(body=b"")])
    processing.create("dr-1", WorkflowProcessingJob.model_validate(JOB), name="my job")
    seen = server.seen[0]
    assert (seen.method, seen.path, seen.query) == ("POST", ROOT, {"name": "my job", "api_key": KEY})
    assert seen.json() == JOB


def test_create_tells_an_id_that_is_taken(server: Scripted, processing: ProcessingApi) -> None:
    server.replies([Reply(409, b'{"message": "exists"}')])
    with pytest.raises(Conflict, match="exists"):
        processing.create("dr-1", WorkflowProcessingJob.model_validate(JOB), name="n")


def test_job_is_read(server: Scripted, processing: ProcessingApi) -> None:
    server.answers({"job": METADATA})
    assert processing.job("dr-1").planned_stages == ["processing", "export"]
    assert server.seen[0].path == ROOT


def test_stages_come_in_the_order_of_their_start(server: Scripted, processing: ProcessingApi) -> None:
    late = STAGE | {"processingStageName": "export", "startTimestamp": "2026-09-15T14:00:00+01:00"}
    server.answers({"stages": [late, STAGE]})
    assert [stage.processing_stage_name for stage in processing.stages("dr-1")] == ["processing", "export"]


def test_tasks_come_from_all_pages(server: Scripted, processing: ProcessingApi) -> None:
    server.answers({"tasks": [TASK], "nextPageToken": "2"}, {"tasks": [TASK | {"progress": None}]})
    assert [task.progress for task in processing.tasks("dr-1", "stage/1")] == [0.5, None]
    assert server.seen[0].path == f"{ROOT}/stages/stage%2F1/tasks"


def test_logs_are_filtered_by_severity(server: Scripted, processing: ProcessingApi) -> None:
    server.answers({"logs": [LOG]}, {"logs": []})
    assert [log.payload["image"] for log in processing.logs("dr-1", "error")] == ["a.jpg"]
    assert list(processing.logs("dr-1")) == []
    assert [seen.query.get("severity") for seen in server.seen] == ["error", None]
