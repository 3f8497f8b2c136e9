import csv
import hashlib
import io
import json
from typing import Any

import pytest

from tests.deployments.batch_server.running import ServerClient, archive, job_body, unpacked
from tests.deployments.batch_server.small_engine import BAD

IMAGES = {f"{number:02d} é.jpg": f"image {number}".encode() for number in range(20)} | {"bad.jpg": BAD}


def run(server: ServerClient, batch: str, job: str, **changes: Any) -> dict[str, Any]:
    server.fill(batch, IMAGES)
    answer = server.jobs("POST", f"/{job}", json=job_body(batch, **changes), params={"name": "My job"})
    assert answer.status_code == 200, answer.text
    return server.finished(job)


def lines(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for _, content in sorted(files.items()) for line in content.splitlines()]


def test_job_gives_every_image_once_in_every_form(server: ServerClient, batch: str, job: str) -> None:
    found = run(server, batch, job, specification={"persistImagesOutputs": True})
    assert (found["error"], found["name"], found["currentStage"]) == (False, "My job", "export")
    assert found["lastNotification"] == "20 images processed, 1 failed"
    good = {name: content for name, content in IMAGES.items() if content != BAD}
    aggregated = server.files(f"{job}-export", "aggregated-results")
    assert list(aggregated) == [f"aggregated-results-{number:05d}.jsonl" for number in range(3)]
    results = lines(aggregated)
    assert [line["image"] for line in results] == list(good)
    assert all(line["sha256"] == hashlib.sha256(good[line["image"]]).hexdigest() for line in results)
    assert lines(server.files(f"{job}-processing", "results")) == results
    single = [unpacked(content) for content in server.files(f"{job}-export", "results-archives").values()]
    members = {name: json.loads(content) for archive in single for name, content in archive.items()}
    assert members == {f"{line['image']}/results.json": line for line in results}
    assert sum(map(len, single)) == 20
    for batch_id, part in ((f"{job}-export", "images-archives"), (f"{job}-processing", "images")):
        copies: dict[str, bytes] = {}
        for content in server.files(batch_id, part).values():
            copies |= unpacked(content)
        assert copies == {f"{name}/copy.jpg": content for name, content in good.items()}


def test_job_output_batches_tell_their_parts_and_counts(server: ServerClient, batch: str, job: str) -> None:
    run(server, batch, job, specification={"persistImagesOutputs": True})
    export = f"{job}-export"
    assert server.staging("GET", f"/{export}").json()["batch"]["batchType"] == "multipart-batch"
    parts = server.staging("GET", f"/{export}/parts").json()["batchParts"]
    told = [(part["partName"], part["contentType"], part.get("nestedContentType")) for part in parts]
    assert told == [
        ("aggregated-results", "metadata", None),
        ("results-archives", "archives", "metadata"),
        ("images-archives", "archives", "images"),
    ]
    counts = [server.count(export, partName=name) for name, _, _ in told]
    assert counts == [3, 10, 10]
    assert server.count(export) == 23
    unknown = server.staging("GET", f"/{export}/count", params={"partName": "other"})
    assert unknown.status_code == 404
    assert "images-archives" in unknown.json()["error"]
    assert server.upload(export, "a.jpg", b"one").status_code == 409


def test_job_without_image_outputs_has_no_part_for_them(server: ServerClient, batch: str, job: str) -> None:
    run(server, batch, job)
    names = [
        [part["partName"] for part in server.staging("GET", f"/{job}-{stage}/parts").json()["batchParts"]]
        for stage in ("processing", "export")
    ]
    assert names == [["results"], ["aggregated-results", "results-archives"]]


def test_job_aggregated_as_csv_has_json_in_nested_cells(server: ServerClient, batch: str, job: str) -> None:
    run(server, batch, job, specification={"aggregationFormat": "csv"})
    files = server.files(f"{job}-export", "aggregated-results")
    rows = [row for content in files.values() for row in csv.DictReader(io.StringIO(content.decode()))]
    assert len(rows) == 20
    assert list(rows[0]) == ["image", "size", "sha256", "nested", "copy"]
    assert json.loads(rows[0]["nested"]) == {"a": [1]}


def test_job_stages_and_tasks_tell_what_the_official_client_reads(server: ServerClient, batch: str, job: str) -> None:
    run(server, batch, job)
    processing, export = server.jobs("GET", f"/{job}/stages").json()["stages"]
    assert (processing["tasksNumber"], export["tasksNumber"]) == (11, 1)
    assert processing["outputBatches"] == [f"{job}-processing"]
    assert [stage["statusType"] for stage in (processing, export)] == ["success", "success"]
    page = server.jobs("GET", f"/{job}/stages/processing/tasks", params={"pageSize": "5"}).json()
    token = {"nextPageToken": page["nextPageToken"]}
    rest = server.jobs("GET", f"/{job}/stages/processing/tasks", params=token).json()
    tasks = page["tasks"] + rest["tasks"]
    assert rest["nextPageToken"] is None
    assert [task["taskId"] for task in tasks] == [f"chunk-{number:05d}" for number in range(11)]
    assert {(task["statusType"], task["progress"]) for task in tasks} == {("success", 1.0)}
    assert server.jobs("GET", f"/{job}/stages/other/tasks").status_code == 404


def test_job_logs_tell_failed_images_and_stages(server: ServerClient, batch: str, job: str) -> None:
    run(server, batch, job)
    (failure,) = server.jobs("GET", f"/{job}/logs", params={"severity": "error"}).json()["logs"]
    assert (failure["logType"], failure["reportingModule"]) == ("image-processing-failed", "workflows-engine")
    assert failure["payload"] == {"image": "bad.jpg", "reason": "cannot be decoded"}
    assert failure["taskId"] == "chunk-00010"
    told = server.jobs("GET", f"/{job}/logs", params={"severity": "info"}).json()["logs"]
    assert [log["logType"] for log in told] == [
        "job-started",
        "stage-started",
        "stage-finished",
        "stage-started",
        "stage-finished",
        "job-success",
    ]
    assert server.jobs("GET", f"/{job}/logs", params={"severity": "loud"}).status_code == 400


def test_job_in_which_every_image_fails_succeeds_with_empty_results(server: ServerClient, batch: str, job: str) -> None:
    server.fill(batch, {"a.jpg": BAD, "b.jpg": BAD})
    server.jobs("POST", f"/{job}", json=job_body(batch))
    assert not server.finished(job)["error"]
    assert server.files(f"{job}-export", "aggregated-results") == {"aggregated-results-00000.jsonl": b""}
    assert server.files(f"{job}-export", "results-archives") == {}


def test_job_over_its_failure_rate_fails_and_says_which_task(server: ServerClient, batch: str, job: str) -> None:
    found = run(server, batch, job, maxImageFailureRate=0.1)
    assert found["error"]
    assert found["lastNotification"].startswith("chunk-00010: 1 of 1 images failed")
    kinds = [log["logType"] for log in server.logs(job, severity="error")]
    assert kinds == ["image-processing-failed", "task-failed", "job-error"]
    assert len(lines(server.files(f"{job}-processing", "results"))) == 20


def test_job_over_its_machine_time_fails_and_leaves_tasks_out(server: ServerClient, batch: str, job: str) -> None:
    found = run(server, batch, job, processingTimeoutSeconds=1, maxParallelTasks=1)
    assert found["error"]
    assert "processingTimeoutSeconds" in found["lastNotification"]
    tasks = server.jobs("GET", f"/{job}/stages/processing/tasks").json()["tasks"]
    # Two of the engine's half seconds are all of it; the third task ends at its first image.
    assert [task["statusType"] for task in tasks] == ["success"] * 2 + ["error"] * 9


def test_job_whose_workflow_cannot_run_fails_at_once(server: ServerClient, batch: str, job: str) -> None:
    parameters = {"workflowParameters": {"color": "impossible"}}
    found = run(server, batch, job, specification=parameters)
    assert found["error"]
    assert "color is not a color" in found["lastNotification"]


def test_job_again_is_the_same_job_and_another_body_is_409(server: ServerClient, batch: str, job: str) -> None:
    run(server, batch, job)
    before = server.jobs("GET", f"/{job}").json()
    assert server.jobs("POST", f"/{job}", json=job_body(batch)).status_code == 200
    assert server.jobs("GET", f"/{job}").json() == before
    changed = server.jobs("POST", f"/{job}", json=job_body(batch, maxParallelTasks=1))
    assert changed.status_code == 409
    assert "another job id" in changed.json()["error"]


def test_job_waits_for_archives_that_are_still_being_indexed(server: ServerClient, batch: str, job: str) -> None:
    server.put(server.allocate(batch), archive({f"{number}.jpg": b"x" for number in range(400)}))
    assert server.jobs("POST", f"/{job}", json=job_body(batch)).status_code == 200
    assert server.finished(job)["lastNotification"] == "400 images processed, 0 failed"


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"type": "simple-video-processing-v1"}, 400, "simple-image-processing-v1"),
        ({"type": "trt-compilation-v1"}, 400, "modelId"),
        ({"type": "simple-audio-processing-v1"}, 400, "one of simple-image-processing-v1, simple-video-processing-v1"),
        ({"specification": {"workflowId": "other"}}, 404, "minimal, photo-audit"),
        ({"specification": {"workflowId": "../minimal"}}, 404, "minimal, photo-audit"),
        ({"specification": {"workspace": "other"}}, 404, "'local'"),
        ({"specification": {"imageInputName": "picture"}}, 400, "'image'"),
        ({"specification": {"workflowParameters": {"colour": "red"}}}, 400, "it has 'color', 'tolerance'"),
        ({"specification": {"imagesOutputsToBePersisted": ["other"]}}, 400, "it has: matching_pixels"),
        ({"specification": {"aggregationFormat": "xml"}}, 400, "aggregationFormat"),
        ({"maxImageFailureRate": 2}, 400, "from 0 to 1"),
        ({"maxParallelTasks": 0}, 400, "maxParallelTasks is at least 1"),
        ({"processingTimeoutSeconds": 0}, 400, "processingTimeoutSeconds is at least 1"),
        ({"computeConfiguration": {"workersPerMachine": 0}}, 400, "workersPerMachine is at least 1"),
        ({"computeConfiguration": {"machineType": "tpu"}}, 400, "'cpu' or 'gpu'"),
        ({"inferenceBackend": "other"}, 400, "'old-inference' or 'inference-models'"),
        ({"specification": {"maxVideoFPS": 5}}, 400, "maxVideoFPS is for videos"),
        ({"specification": {"imagesMetadataInputsMapping": {"a": "b"}}}, 400, "needs a part of metadata"),
        ({"jobInput": {"batchId": "one-image", "partName": "p"}}, 400, "leave partName and imagesMetadataPart out"),
        ({"jobInput": {"batchId": "one-image", "imagesMetadataPart": "p"}}, 400, "whole image batches"),
        ({"notificationsURL": "https://127.0.0.1/hook"}, 400, "notificationsURL: "),
        ({"notificationsURL": "no URL"}, 400, "notificationsURL: "),
        ({"jobInput": {"batchId": "not-there"}}, 404, "not-there"),
    ],
)
def test_job_request_that_cannot_be_run_is_refused(
    server: ServerClient, job: str, changes: dict[str, Any], status: int, says: str
) -> None:
    server.upload("one-image", "a.jpg", b"one")
    answer = server.jobs("POST", f"/{job}", json=job_body("one-image", **changes))
    assert answer.status_code == status
    assert says in answer.json()["error"]
    assert server.jobs("GET", f"/{job}").status_code == 404


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://127.0.0.1/notifications/0123456789abcdef/S3CRET?S3CRET", "https://127.0.0.1: its address is not"),
        ("http://hooks.example/S3CRET", "http://hooks.example: plain http is for hosts"),
        ("https://S3CRET@hooks.example/S3CRET", "it holds a user name"),
        ("https://[S3CRET/S3CRET", "it is no URL that can be read"),
        ("hooks.example/S3CRET", "only https is fetched"),
    ],
)
def test_notifications_url_that_is_refused_is_not_repeated(server: ServerClient, job: str, url: str, says: str) -> None:
    server.upload("one-image", "a.jpg", b"one")
    answer = server.jobs("POST", f"/{job}", json=job_body("one-image", notificationsURL=url))
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"notificationsURL: {says}")
    assert "s3cret" not in answer.text.lower()


def test_job_on_an_empty_batch_or_on_an_output_is_400(server: ServerClient, batch: str, job: str) -> None:
    server.allocate(batch)
    assert "no images" in server.jobs("POST", f"/{job}", json=job_body(batch)).json()["error"]
    run(server, f"{batch}-full", job)
    answer = server.jobs("POST", f"/{job}-2", json=job_body(f"{job}-export"))
    assert answer.status_code == 400


@pytest.mark.parametrize("job_id", ["Upper", "a" * 21, "a.b"])
def test_job_id_outside_the_pattern_is_400(server: ServerClient, job_id: str) -> None:
    assert server.jobs("POST", f"/{job_id}", json=job_body("b")).status_code == 400


def test_job_body_that_is_no_json_is_400(server: ServerClient, job: str) -> None:
    assert server.jobs("POST", f"/{job}", content=b"{").status_code == 400
    assert server.jobs("POST", f"/{job}", json=[1]).status_code == 400


def test_jobs_are_listed_newest_first_with_a_token(server: ServerClient, batch: str, job: str) -> None:
    server.upload(batch, "a.jpg", b"one")
    for suffix in ("-x", "-y"):
        server.jobs("POST", f"/{job}{suffix}", json=job_body(batch))
    page = server.jobs("GET", "", params={"pageSize": "1"}).json()
    assert [entry["jobId"] for entry in page["jobs"]] == [f"{job}-y"]
    following = server.jobs("GET", "", params={"pageSize": "1", "nextPageToken": page["nextPageToken"]}).json()
    assert [entry["jobId"] for entry in following["jobs"]] == [f"{job}-x"]


def test_job_unknown_is_404(server: ServerClient) -> None:
    for path in ("", "/stages", "/stages/processing/tasks", "/logs"):
        assert server.jobs("GET", f"/not-there{path}").status_code == 404
    assert server.jobs("POST", "/not-there/abort").status_code == 404
