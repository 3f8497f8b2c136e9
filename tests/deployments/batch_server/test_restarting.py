"""Jobs that failed or were aborted, and go on."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deployments.batch_server.engine.interface import EngineFailure
from deployments.batch_server.indexing import ArchiveContent, read_archive
from tests.deployments.batch_server.running import (
    ProcessServer,
    ServerClient,
    archive,
    process_server,
    settings_for,
    thread_server,
)
from tests.deployments.batch_server.small_engine import BAD, SmallEngine
from tests.waiting import wait_for

HELD = "tests.deployments.batch_server.held_server"
IMAGES = {f"{number:02d}.jpg": str(number).encode() for number in range(44)}
CHUNK = 3
"""Images in each of fifteen tasks."""


@pytest.fixture
def engine() -> SmallEngine:
    return SmallEngine()


@pytest.fixture
def server(tmp_path: Path, engine: SmallEngine) -> Iterator[ServerClient]:
    with thread_server(settings_for(tmp_path / "data", chunk_limit=4), engine) as client:
        client.fill("b", IMAGES)
        yield client


def abort_after(server: ServerClient, engine: SmallEngine, tasks: int, **changes: Any) -> None:
    """Abort a job after some of its tasks; the engine is free again."""
    engine.hold_after(tasks)
    server.started("j", "b", **changes)
    wait_for(engine.holding.is_set, "the engine to hold")
    wait_for(lambda: server.count("j-processing") == tasks, "the records of its tasks")
    assert server.jobs("POST", "/j/abort").json() == {"jobId": "j", "aborted": True}
    engine.go_on()


def test_aborted_job_goes_on_with_what_it_has_not_done(server: ServerClient, engine: SmallEngine) -> None:
    abort_after(server, engine, 2)
    made = server.files("j-processing", "results")
    begun = len(engine.begun)
    found = server.restarted("j")
    assert (found["isTerminal"], found["error"], found["restartParametersOverride"]) == (False, False, [])
    found = server.finished("j")
    assert (found["error"], found["lastNotification"]) == (False, "44 images processed, 0 failed")
    assert server.exported("j") == list(IMAGES)
    assert made.items() <= server.files("j-processing", "results").items()
    again = set(engine.begun[begun:])
    assert not again & {"j/chunk-00000", "j/chunk-00001"}
    assert [stage["statusType"] for stage in server.jobs("GET", "/j/stages").json()["stages"]] == ["success"] * 2
    kinds = [log["logType"] for log in server.logs("j", severity="info")]
    assert kinds.index("job-aborted") < kinds.index("job-restarted") < kinds.index("job-success")
    (told,) = [log["payload"] for log in server.logs("j") if log["logType"] == "job-restarted"]
    assert told == {"tasks": 13}


def test_restart_right_after_an_abort_is_not_met_by_what_the_worker_still_has(
    server: ServerClient, engine: SmallEngine, tmp_path: Path
) -> None:
    engine.hold_after(1)
    server.started("j", "b", specification={"persistImagesOutputs": True})
    wait_for(engine.holding.is_set, "the engine to hold")
    wait_for(lambda: server.count("j-processing") == 2, "the record of the first task")
    for _ in range(3):
        server.jobs("POST", "/j/abort")
        server.restarted("j")
    engine.go_on()
    assert not server.finished("j")["error"]
    assert server.exported("j") == list(IMAGES)
    assert len(server.files("j-processing", "images")) == 15
    folders = sorted(path.name for path in (tmp_path / "data/jobs/j").iterdir() if path.name != "export")
    assert folders == ["chunk-00000", *(f"chunk-{number:05d}.3" for number in range(1, 15))]


def test_failed_job_goes_on_under_the_limits_that_are_its_latest(server: ServerClient) -> None:
    server.fill("bad", {**IMAGES, "x.jpg": BAD})
    server.started("j", "bad", maxImageFailureRate=0.0, processingTimeoutSeconds=100)
    assert "over maxImageFailureRate 0" in server.finished("j")["lastNotification"]
    server.restarted("j", maxImageFailureRate=0.1, processingTimeoutSeconds=50.5)
    assert "over maxImageFailureRate 0.1" in server.finished("j")["lastNotification"]
    found = server.restarted("j", maxImageFailureRate=1.0, maxParallelTasks=1)
    assert found["restartParametersOverride"] == [
        {"type": "parameters-override-v1", "processingTimeoutSeconds": 50.5, "maxImageFailureRate": 0.1},
        {"type": "parameters-override-v1", "maxParallelTasks": 1, "maxImageFailureRate": 1.0},
    ]
    assert found["jobDefinition"]["maxImageFailureRate"] == 0.0
    found = server.finished("j")
    assert (found["error"], found["lastNotification"]) == (False, "44 images processed, 1 failed")
    assert server.exported("j") == list(IMAGES)
    failed = [log for log in server.logs("j") if log["logType"] == "image-processing-failed"]
    assert [log["payload"]["image"] for log in failed] == ["x.jpg"]


def test_restart_runs_a_task_that_had_failed_although_it_is_complete(server: ServerClient, engine: SmallEngine) -> None:
    server.fill("bad", {"x.jpg": BAD})
    server.started("j", "bad", maxImageFailureRate=0.0)
    server.finished("j")
    server.restarted("j", maxImageFailureRate=1.0)
    assert not server.finished("j")["error"]
    assert engine.begun == ["j/chunk-00000"] * 2


def test_machine_time_counts_from_nought_after_a_restart(server: ServerClient) -> None:
    ends = []
    server.started("j", "b", processingTimeoutSeconds=1, maxParallelTasks=1)
    for _ in range(3):
        assert "processingTimeoutSeconds (1 s" in server.finished("j")["lastNotification"]
        ends.append([task["statusType"] for task in server.tasks("j")].count("success"))
        server.restarted("j")
    assert ends == [2, 4, 6]


def test_job_without_a_plan_is_planned_by_its_restart(server: ServerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    indexing = Event()

    def read_when_told(path: Path) -> ArchiveContent:
        assert indexing.wait(20)
        return read_archive(path)

    monkeypatch.setattr("deployments.batch_server.indexing.read_archive", read_when_told)
    server.put(server.allocate("late"), archive(IMAGES))
    server.started("j", "late")
    server.jobs("POST", "/j/abort")
    server.restarted("j")
    assert server.jobs("GET", "/j/stages").json()["stages"] == []
    indexing.set()
    assert not server.finished("j")["error"]
    assert server.exported("j") == list(IMAGES)


@pytest.mark.parametrize("failure", [EngineFailure("died"), OSError(5, "I/O error")])
def test_job_whose_engine_had_failed_goes_on(server: ServerClient, engine: SmallEngine, failure: Exception) -> None:
    engine.failures = [failure] * 16
    server.started("j", "b", maxParallelTasks=1)
    assert server.finished("j")["error"]
    server.restarted("j")
    assert not server.finished("j")["error"]
    assert server.exported("j") == list(IMAGES)


def test_restart_of_a_job_under_way_or_that_ended_well_is_409(server: ServerClient, engine: SmallEngine) -> None:
    engine.hold_after(0)
    server.started("j", "b")
    wait_for(engine.holding.is_set, "the engine to hold")
    refused = server.jobs("POST", "/j/restart")
    assert (refused.status_code, "is under way" in refused.json()["error"]) == (409, True)
    engine.go_on()
    before = server.finished("j")
    refused = server.jobs("POST", "/j/restart")
    assert (refused.status_code, "has ended well" in refused.json()["error"]) == (409, True)
    assert server.job("j") == before
    assert server.jobs("POST", "/not-there/restart").status_code == 404


def test_restart_after_images_were_replaced_is_409(server: ServerClient) -> None:
    server.upload("simple", "a.jpg", BAD)
    server.started("j", "simple", maxImageFailureRate=0.0)
    assert server.finished("j")["error"]
    server.upload("simple", "b.jpg", b"another one does not matter")
    server.restarted("j")
    assert server.finished("j")["error"]
    assert server.upload("simple", "a.jpg", b"good").status_code == 200
    refused = server.jobs("POST", "/j/restart")
    assert (refused.status_code, "were replaced" in refused.json()["error"]) == (409, True)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"type": "other"}, "type"),
        ({"type": "parameters-override-v1", "maxImageFailureRate": 1.5}, "from 0 to 1"),
        ({"type": "parameters-override-v1", "maxParallelTasks": 0}, "maxParallelTasks is at least 1"),
        ({"type": "parameters-override-v1", "processingTimeoutSeconds": 0.5}, "at least 1, not 0.5"),
        ({"type": "parameters-override-v1", "computeConfiguration": {"machineType": "tpu"}}, "'cpu' or 'gpu'"),
        ({"type": "parameters-override-v1", "computeConfiguration": {"workersPerMachine": 0}}, "workersPerMachine"),
        ([], "restart request: the body"),
    ],
)
def test_restart_with_a_body_that_cannot_be_is_400(
    server: ServerClient, engine: SmallEngine, body: Any, says: str
) -> None:
    abort_after(server, engine, 1)
    before = server.job("j")
    refused = server.jobs("POST", "/j/restart", json=body)
    assert (refused.status_code, says in refused.json()["error"]) == (400, True), refused.text
    assert server.job("j") == before


def test_abort_of_a_job_at_rest_changes_nothing(server: ServerClient, engine: SmallEngine) -> None:
    abort_after(server, engine, 1)
    before = server.job("j")
    assert server.jobs("POST", "/j/abort").json() == {"jobId": "j", "aborted": True}
    server.started("good", "b")
    good = server.finished("good")
    assert server.jobs("POST", "/good/abort").json() == {"jobId": "good", "aborted": False}
    assert [server.job("j"), server.job("good")] == [before, good]


def test_abort_ends_an_export_which_a_restart_begins_anew(
    server: ServerClient, engine: SmallEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporting, left = Event(), Event()

    def stand_still(_plan: object, tell: Any) -> None:
        exporting.set()
        try:
            while True:
                tell(0.5)
                Event().wait(0.01)
        finally:
            left.set()

    with monkeypatch.context() as patched:
        patched.setattr("deployments.batch_server.scheduler.export_job", stand_still)
        server.started("j", "b")
        assert exporting.wait(20)
        assert server.jobs("POST", "/j/abort").status_code == 200
        assert left.wait(20)
    found = server.job("j")
    assert (found["isTerminal"], found["error"], found["currentStage"]) == (True, True, "export")
    assert [stage["statusType"] for stage in server.jobs("GET", "/j/stages").json()["stages"]] == ["success", "error"]
    done = len(engine.begun)
    server.restarted("j")
    assert not server.finished("j")["error"]
    assert server.exported("j") == list(IMAGES)
    assert len(engine.begun) == done


def wait_for_tasks(server: ProcessServer, tasks: int) -> None:
    wait_for(lambda: server.client.count("j-processing") == tasks, f"{tasks} tasks", timeout=60)


def test_server_killed_in_a_restarted_job_is_succeeded_by_one_that_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with process_server(data, "--hold-after", "2", module=HELD) as first:
        first.client.fill("b", IMAGES)
        first.client.started("j", "b", maxParallelTasks=1)
        wait_for_tasks(first, 2)
        first.client.jobs("POST", "/j/abort")
        first.kill()
    with process_server(data, "--hold-after", "3", module=HELD) as second:
        second.client.restarted("j", maxImageFailureRate=0.5)
        wait_for_tasks(second, 5)
        second.kill()
    with process_server(data, module=HELD) as third:
        found = third.client.finished("j")
        assert (found["error"], found["lastNotification"]) == (False, "44 images processed, 0 failed")
        assert [entry["maxImageFailureRate"] for entry in found["restartParametersOverride"]] == [0.5]
        assert third.client.exported("j") == list(IMAGES)
        assert third.terminate() == ""
    begun = (data / "begun.log").read_text().split()
    assert sorted(begun) == [f"j/chunk-{number:05d}" for number in range(15)]
