"""What the official command line does with jobs and batches that are there, against a real server."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.official import call, needs_client
from tests.deployments.batch_server.running import ProcessServer, process_server
from tests.deployments.batch_server.small_engine import BAD
from tests.waiting import wait_for

HELD = "tests.deployments.batch_server.held_server"
IMAGES = {f"{number:02d} é.jpg": str(number).encode() for number in range(20)} | {"bad.jpg": BAD}

pytestmark = needs_client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessServer]:
    """A server with a batch, whose engine stands still after two tasks until it is told to go on."""
    with process_server(tmp_path_factory.mktemp("server"), "--hold-after", "2", module=HELD) as running:
        running.client.fill("b", IMAGES)
        yield running
        assert running.terminate() == ""


@pytest.fixture(scope="module")
def ended(server: ProcessServer) -> dict[str, Any]:
    """A job that the official client aborted and restarted, at its end."""
    server.client.started("j", "b")
    wait_for(lambda: server.client.count("j-processing") == 2, "two tasks")
    answer = json.loads(call(server, "batch-processing", "abort-job", "--job-id", "j"))
    assert answer == {"jobId": "j", "aborted": True}
    assert server.client.job("j")["isTerminal"]
    options = ("--max-runtime-seconds", "600", "--max-parallel-tasks", "1", "--max-image-failure-rate", "1.0")
    machine = ("--machine-type", "cpu", "--workers-per-machine", "2")
    answer = json.loads(call(server, "batch-processing", "restart-job", "--job-id", "j", *options, *machine))
    assert answer == {"jobId": "j", "restarted": True}
    server.process.send_signal(signal.SIGUSR1)
    return server.client.finished("j")


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_official_client_aborts_and_restarts_a_job(server: ProcessServer, ended: dict[str, Any]) -> None:
    assert (ended["error"], ended["lastNotification"]) == (False, "20 images processed, 1 failed")
    assert ended["restartParametersOverride"] == [
        {
            "type": "parameters-override-v1",
            "computeConfiguration": {"type": "compute-configuration-v2", "machineType": "cpu", "workersPerMachine": 2},
            "maxParallelTasks": 1,
            "processingTimeoutSeconds": 600,
            "maxImageFailureRate": 1.0,
        }
    ]
    shown = call(server, "batch-processing", "show-job-details", "--job-id", "j")
    assert "Restart parameters override" in shown
    assert "All Good" in shown
    assert server.client.exported("j") == list(IMAGES)[:-1]


def test_official_client_says_why_a_job_is_not_restarted(server: ProcessServer, ended: dict[str, Any]) -> None:
    told = call(server, "batch-processing", "restart-job", "--job-id", "j", status=1)
    assert "operation 409" in told
    assert "has ended well, so nothing of it is left to run" in told
    assert server.client.job("j") == ended


def test_official_client_fetches_logs(server: ProcessServer, ended: dict[str, Any], tmp_path: Path) -> None:
    target = tmp_path / "logs.jsonl"
    fetch = ("batch-processing", "fetch-logs", "--job-id", "j", "--output-file", str(target))
    call(server, *fetch)
    every = [line["log_type"] for line in read_lines(target)]
    assert [every[0], every[-1]] == ["job-started", "job-success"]
    assert every.index("job-aborted") < every.index("job-restarted")
    call(server, *fetch, "--log-severity", "error")
    (failed,) = read_lines(target)
    assert (failed["log_type"], failed["payload"]["image"]) == ("image-processing-failed", "bad.jpg")
    assert "job-restarted" in call(server, "batch-processing", "fetch-logs", "--job-id", "j", "--log-severity", "info")


def test_official_client_submits_a_compilation_and_sees_its_end(server: ProcessServer) -> None:
    options = ("--model-id", "my-project/3", "--device", "nvidia-t4", "--device", "nvidia-l40s")
    assert "ID: trt-1" in call(server, "batch-processing", "trt-compile", *options, "--job-id", "trt-1")
    assert server.client.finished("trt-1")["error"]
    listed = call(server, "batch-processing", "list-jobs")
    assert "trt-1" in listed
    shown = call(server, "batch-processing", "show-job-details", "--job-id", "trt-1")
    assert "this server compiles no models: it has no TensorRT" in shown
    assert "nvidia-l40s" in shown


def test_official_client_lists_jobs_page_by_page(server: ProcessServer, ended: dict[str, Any]) -> None:
    for number in range(11):  # a page of the client's holds ten
        server.client.started(f"listed-{number}", "b")
    first = call(server, "batch-processing", "list-jobs")
    assert ("listed-10" in first, "listed-0 " in first) == (True, False)
    assert "listed-0 " in call(server, "batch-processing", "list-jobs", "--max-pages", "2")


def test_official_client_lists_batches_page_by_page(server: ProcessServer, ended: dict[str, Any]) -> None:
    server.client.upload("newest", "a.jpg", b"one")
    first = call(server, "data-staging", "list-batches", "--page-size", "1")
    assert ("newest" in first, "j-export" in first) == (True, False)
    assert "j-export" in call(server, "data-staging", "list-batches", "--pages", "100", "--page-size", "5")


def test_official_client_lists_the_content_of_a_batch(
    server: ProcessServer, ended: dict[str, Any], tmp_path: Path
) -> None:
    target = tmp_path / "content.jsonl"
    listing = ("data-staging", "list-batch-content", "--output-file", str(target))
    call(server, *listing, "--batch-id", "b")
    assert sorted(line["file_name"] for line in read_lines(target)) == sorted(IMAGES)
    target.unlink()
    call(server, *listing, "--batch-id", "j-export", "--part-name", "aggregated-results")
    assert {line["part_name"] for line in read_lines(target)} == {"aggregated-results"}
    target.unlink()
    call(server, *listing, "--batch-id", "j-export", "--limit", "2")
    assert len(read_lines(target)) == 2


def test_official_client_lists_ingests(server: ProcessServer, tmp_path: Path) -> None:
    server.client.put(server.client.allocate("two"), b"no archive")
    server.client.shards("two")
    server.client.fill("two", {"a.jpg": b"one"})
    target = tmp_path / "ingest.jsonl"
    call(server, "data-staging", "list-ingest-details", "--batch-id", "two", "--output-file", str(target))
    told = [(line["status_type"], line["shard_objects_count"]) for line in read_lines(target)]
    assert sorted(told) == [("error", 0), ("success", 1)]


def test_official_client_is_told_what_is_refused(server: ProcessServer) -> None:
    start = ("batch-processing", "process-images-with-workflow", "--batch-id", "b", "--workflow-id", "minimal")
    told = call(server, *start, "--part-name", "p", status=1)
    assert "leave partName and imagesMetadataPart out" in told
    told = call(server, *start, "--notifications-url", "http://127.0.0.1/hook", status=1)
    assert "notificationsURL" in told
