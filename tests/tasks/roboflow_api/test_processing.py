import pytest

from tasks.core.errors import Conflict
from tasks.roboflow_api.models import RestartParameters, TrtCompilationJob, WorkflowProcessingJob
from tasks.roboflow_api.processing import ProcessingApi
from tasks.roboflow_api.transport import Transport
from tests.scripted import Reply, Scripted
from tests.tasks.roboflow_api.conftest import KEY
from tests.tasks.roboflow_api.test_models import COMPILATION, JOB, LOG, METADATA, RESTART, STAGE, TASK

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


def test_create_posts_a_compilation_in_the_same_way(server: Scripted, processing: ProcessingApi) -> None:
    server.answers({"jobId": "dr-1"})
    processing.create("dr-1", TrtCompilationJob.model_validate(COMPILATION), name="n")
    assert (server.seen[0].path, server.seen[0].json()) == (ROOT, COMPILATION)


def test_abort_posts_no_body(server: Scripted, processing: ProcessingApi) -> None:
    server.answers({"jobId": "dr-1", "aborted": True})
    processing.abort("dr-1")
    seen = server.seen[0]
    assert (seen.method, seen.path, seen.body) == ("POST", f"{ROOT}/abort", b"")


def test_restart_posts_overrides_or_no_body(server: Scripted, processing: ProcessingApi) -> None:
    server.answers({"jobId": "dr-1"}, {"jobId": "dr-1"})
    processing.restart("dr-1")
    processing.restart("dr-1", RestartParameters.model_validate(RESTART))
    assert [(seen.method, seen.path) for seen in server.seen] == [("POST", f"{ROOT}/restart")] * 2
    assert (server.seen[0].body, server.seen[1].json()) == (b"", RESTART)


def test_restart_tells_a_job_that_is_not_at_rest(server: Scripted, processing: ProcessingApi) -> None:
    server.replies([Reply(409, b'{"error": "job dr-1 is under way"}')])
    with pytest.raises(Conflict, match="is under way"):
        processing.restart("dr-1")


def test_jobs_come_from_all_pages(server: Scripted, processing: ProcessingApi) -> None:
    server.answers({"jobs": [METADATA], "nextPageToken": "2"}, {"jobs": [METADATA | {"jobId": "k"}]})
    assert [job.job_id for job in processing.jobs()] == ["j", "k"]
    assert [seen.path for seen in server.seen] == [ROOT.removesuffix("/dr-1")] * 2
    assert server.seen[1].query["nextPageToken"] == "2"


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
