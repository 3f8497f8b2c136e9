from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy.exc import OperationalError

from deployments.batch_server.engine.interface import EngineFailure
from deployments.batch_server.exporting import ExportPlan
from deployments.batch_server.indexing import ArchiveContent, read_archive
from deployments.batch_server.job_reasons import reason_of
from deployments.batch_server.store.execution import ExecutionStore
from deployments.batch_server.store.stages import OutputFile
from deployments.batch_server.unavailable import UnavailableEngine
from tests.deployments.batch_server.running import (
    archive,
    job_body,
    process_server,
    settings_for,
    thread_server,
)
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.waiting import wait_for

HELD = "tests.deployments.batch_server.held_server"
IMAGES = {f"{number:02d}.jpg": str(number).encode() for number in range(44)}


def test_engine_failure_is_tried_once_more(tmp_path: Path) -> None:
    engine = SmallEngine()
    engine.failures = [EngineFailure("died"), OSError("odd")]
    with thread_server(settings_for(tmp_path / "data", chunk_limit=4), engine) as server:
        server.fill("b", IMAGES)
        server.jobs("POST", "/j", json=job_body("b"))
        assert not server.finished("j")["error"]
        assert sorted(server.exported("j")) == list(IMAGES)
        retried = server.logs("j", severity="warning")
    assert [(log["logType"], log["taskId"]) for log in retried] == [
        ("task-retried", "chunk-00000"),
        ("task-retried", "chunk-00001"),
    ]
    assert retried[0]["payload"] == {"reason": "died"}


def test_worker_that_crashed_is_a_warning_of_its_task(tmp_path: Path) -> None:
    engine = SmallEngine()
    engine.crashes = ("a worker died (killed by SIGKILL) on image 'a.jpg' and was replaced",)
    with thread_server(settings_for(tmp_path / "data"), engine) as server:
        server.upload("b", "a.jpg", b"one")
        server.started("j", "b")
        assert not server.finished("j")["error"]
        (warning,) = server.logs("j", severity="warning")
    assert (warning["logType"], warning["taskId"]) == ("worker-crashed", "chunk-00000")
    assert warning["payload"] == {"message": engine.crashes[0]}


def test_engine_that_stays_away_fails_the_job_with_its_reason(tmp_path: Path) -> None:
    engine = UnavailableEngine("the engine's Python is missing")
    with thread_server(settings_for(tmp_path / "data", chunk_limit=4), engine) as server:
        server.fill("b", IMAGES)
        server.jobs("POST", "/j", json=job_body("b"))
        found = server.finished("j")
    assert found["error"]
    assert "the engine's Python is missing" in found["lastNotification"]


@pytest.mark.parametrize(
    ("told", "reason"),
    [("database or disk is full", "disk is full: free"), ("disk I/O error", "answer: disk I/O error")],
)
def test_reason_of_a_database_error_is_one_line_without_values(told: str, reason: str) -> None:
    text = reason_of(OperationalError("INSERT INTO jobs\nVALUES (?)", {"workflow": "private"}, Exception(told)))
    assert reason in text
    assert "\n" not in text
    assert "private" not in text


@pytest.mark.parametrize("call", ["fail_task", "fail"])
def test_failure_that_could_not_be_recorded_is_recorded_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    record = getattr(ExecutionStore, call)
    refused: list[tuple[str, ...]] = []

    def refuse_once(store: ExecutionStore, *args: str) -> None:
        if not refused:
            refused.append(args)
            raise OSError("database or disk is full")
        record(store, *args)

    monkeypatch.setattr(ExecutionStore, call, refuse_once)
    monkeypatch.setattr("deployments.batch_server.scheduler.RETRY_SECONDS", 0.01)
    engine = UnavailableEngine("the engine's Python is missing")
    with thread_server(settings_for(tmp_path / "data", chunk_limit=4), engine) as server:
        server.fill("b", IMAGES)
        server.jobs("POST", "/j", json=job_body("b"))
        found = server.finished("j")
    assert (found["error"], len(refused)) == (True, 1)
    assert "the engine's Python is missing" in found["lastNotification"]


def test_task_under_way_tells_its_progress_and_abort_ends_the_job(tmp_path: Path) -> None:
    engine = SmallEngine(hold_after=1)
    with thread_server(settings_for(tmp_path / "data", chunk_limit=4), engine) as server:
        server.fill("b", IMAGES)
        server.jobs("POST", "/j", json=job_body("b"))
        wait_for(engine.holding.is_set, "the engine to hold")
        wait_for(lambda: "success" in server.jobs("GET", "/j/stages/processing/tasks").text, "the first task")
        done, running, *_, waiting = server.jobs("GET", "/j/stages/processing/tasks").json()["tasks"]
        assert (done["statusType"], done["progress"]) == ("success", 1.0)
        assert (running["statusType"], running["progress"]) == ("info", pytest.approx(1 / 3))
        assert (waiting["statusType"], waiting.get("progress")) == ("info", None)
        assert server.jobs("POST", "/j/abort").status_code == 200
        found = server.jobs("GET", "/j").json()["job"]
        assert (found["isTerminal"], found["error"]) == (True, True)
        wait_for(engine.is_relieved, "the scheduler to know of it")
        engine.released.set()
        server.jobs("POST", "/after", json=job_body("b"))
        assert not server.finished("after")["error"]
        assert server.count("j-processing") == 1
        assert server.job("j") == found
        # The first task, the image that the dropped one was on, and the whole other job.
        assert len(engine.images) == 3 + 1 + len(IMAGES)
        assert not [chunk for chunk in engine.begun[2:] if chunk.startswith("j/")]
        assert not list((tmp_path / "data/jobs/j").glob(".*.part"))


@pytest.mark.parametrize("first", [{}, {"a.jpg": b"one"}])
def test_job_waits_for_the_shards_that_are_being_indexed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: dict[str, bytes]
) -> None:
    indexing = Event()

    def read_when_told(path: Path) -> ArchiveContent:
        assert indexing.wait(20)
        return read_archive(path)

    with thread_server(settings_for(tmp_path / "data"), SmallEngine()) as server:
        if first:
            server.fill("b", first)
        monkeypatch.setattr("deployments.batch_server.indexing.read_archive", read_when_told)
        server.put(server.allocate("b"), archive(IMAGES))
        assert server.jobs("POST", "/j", json=job_body("b")).status_code == 200
        server.upload("other", "a.jpg", b"one")
        server.jobs("POST", "/other", json=job_body("other"))
        server.finished("other")
        assert server.jobs("GET", "/j/stages").json()["stages"] == []
        indexing.set()
        server.finished("j")
        assert sorted(server.exported("j")) == sorted(first | IMAGES)


def test_image_that_a_running_job_reads_cannot_be_replaced(tmp_path: Path) -> None:
    engine = SmallEngine(hold_after=0)
    with thread_server(settings_for(tmp_path / "data"), engine) as server:
        server.upload("b", "a.jpg", b"one")
        server.jobs("POST", "/j", json=job_body("b"))
        wait_for(engine.holding.is_set, "the engine to hold")
        assert server.upload("b", "a.jpg", b"one").status_code == 200
        refused = server.upload("b", "a.jpg", b"other")
        assert (refused.status_code, "job j uses" in refused.json()["error"]) == (409, True)
        engine.released.set()
        server.finished("j")
        assert server.upload("b", "a.jpg", b"other").status_code == 200


def test_small_job_does_not_wait_for_a_large_one(tmp_path: Path) -> None:
    engine = SmallEngine(hold_after=2)
    with thread_server(settings_for(tmp_path / "data", chunk_limit=2), engine) as server:
        server.fill("large", {f"{number}.jpg": b"x" for number in range(200)})
        server.fill("small", {"a.jpg": b"x"})
        server.jobs("POST", "/large", json=job_body("large"))
        wait_for(engine.holding.is_set, "the engine to hold")
        server.jobs("POST", "/small", json=job_body("small"))
        engine.released.set()
        assert not server.finished("small")["error"]
        server.finished("large")
    position = engine.begun.index("small/chunk-00000")
    assert position < 10


def test_server_killed_mid_job_is_succeeded_without_running_anything_twice(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with process_server(data, "--hold-after", "3", module=HELD) as first:
        first.client.fill("b", IMAGES)
        first.client.jobs("POST", "/j", json=job_body("b", specification={"persistImagesOutputs": True}))
        wait_for(lambda: first.client.count("j-processing") == 6, "three tasks")
        first.kill()
    (data / "jobs/j/.chunk-00003.part/rest").parent.mkdir(exist_ok=True)
    (data / "jobs/j/.chunk-00003.part/rest").write_text("of an attempt")
    with process_server(data, module=HELD) as second:
        assert not second.client.finished("j")["error"]
        assert second.client.exported("j") == list(IMAGES)
        assert second.terminate() == ""
    begun = (data / "begun.log").read_text().split()
    assert sorted(begun) == [f"j/chunk-{number:05d}" for number in range(15)]


def test_server_killed_between_a_task_and_its_record_finds_the_task(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with process_server(data, "--hold-after", "1", module=HELD) as first:
        first.client.fill("b", IMAGES)
        first.client.jobs("POST", "/j", json=job_body("b"))
        wait_for(lambda: first.client.count("j-processing") == 1, "one task")
        first.kill()
    folder = data / "jobs/j/chunk-00001"
    folder.mkdir()
    names = list(IMAGES)[3:6]
    (folder / "results.jsonl").write_text("".join(f'{{"image": "{name}"}}\n' for name in names))
    (folder / "failures.jsonl").write_text("")
    with process_server(data, module=HELD) as second:
        assert not second.client.finished("j")["error"]
        assert second.client.exported("j") == list(IMAGES)
    assert "j/chunk-00001" not in (data / "begun.log").read_text()


def test_server_stopped_mid_export_is_succeeded_by_one_that_exports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporting = Event()

    def stand_still(plan: ExportPlan, tell: Callable[[float], None]) -> list[OutputFile]:
        exporting.set()
        for _ in range(1000):
            tell(0.5)
            Event().wait(0.01)
        raise AssertionError("the export was not told that the server stops")

    with monkeypatch.context() as patched, thread_server(settings_for(tmp_path / "data"), SmallEngine()) as first:
        patched.setattr("deployments.batch_server.scheduler.export_job", stand_still)
        first.fill("b", IMAGES)
        first.jobs("POST", "/j", json=job_body("b"))
        assert exporting.wait(20)
    engine = SmallEngine()
    with thread_server(settings_for(tmp_path / "data"), engine) as second:
        assert not second.finished("j")["error"]
        assert second.exported("j") == list(IMAGES)
        assert [stage["statusType"] for stage in second.jobs("GET", "/j/stages").json()["stages"]] == ["success"] * 2
    assert engine.begun == []
