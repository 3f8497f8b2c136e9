"""Who is told that a job has ended."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deployments.batch_server.services import World
from tasks.roboflow_api.models import JobNotification
from tests.deployments.batch_server.media_host import Answer, MediaHost, media_host
from tests.deployments.batch_server.running import ServerClient, job_body, process_server, settings_for, thread_server
from tests.deployments.batch_server.small_engine import BAD, SmallEngine
from tests.deployments.batch_server.test_delivery import make_due, nothing_waits
from tests.waiting import wait_for

NO_ENGINE = ("--engine", "missing/python")


@pytest.fixture
def hook() -> Iterator[MediaHost]:
    with media_host() as running:
        running.answers = {"/hook": Answer(204)}
        yield running


@pytest.fixture
def engine() -> SmallEngine:
    return SmallEngine()


@pytest.fixture
def server(tmp_path: Path, engine: SmallEngine) -> Iterator[ServerClient]:
    world = World(pauses=(0.01,) * 4)
    with thread_server(settings_for(tmp_path, allow_hosts=("127.0.0.1",)), engine, world) as client:
        client.fill("b", {"a.jpg": b"one", "bad.jpg": BAD})
        yield client


def told(hook: MediaHost, number: int) -> list[dict[str, Any]]:
    """So many notifications, in the order they came."""
    wait_for(lambda: len(hook.asked) >= number, f"{number} notifications")
    return [asked.json() for asked in hook.asked]


def test_job_that_ends_well_is_told_once_with_the_publishable_key(
    server: ServerClient, hook: MediaHost, tmp_path: Path
) -> None:
    server.started("j", "b", notificationsURL=hook.url("/hook?token=x"))
    (event,) = told(hook, 1)
    assert JobNotification.model_validate(event).wire() == event
    assert server.job("j")["isTerminal"]
    wait_for(lambda: nothing_waits(tmp_path), "the end of the delivery")
    assert event.pop("event_id")
    assert event == {
        "type": "roboflow-batch-job-notification-v1",
        "job_id": "j",
        "job_state": "success",
        "delivery_attempt": 1,
    }
    (asked,) = hook.asked
    assert (asked.path, asked.headers["authorization"]) == ("/hook?token=x", "Bearer rf_local")


def test_job_that_fails_is_told_at_each_of_its_ends(server: ServerClient, hook: MediaHost) -> None:
    server.started("j", "b", notificationsURL=hook.url("/hook"), maxImageFailureRate=0.0)
    (first,) = told(hook, 1)
    server.restarted("j", maxImageFailureRate=1.0)
    first, second = told(hook, 2)
    assert [event["job_state"] for event in (first, second)] == ["fail", "success"]
    assert first["event_id"] != second["event_id"]


def test_job_that_is_aborted_has_failed_and_is_told_once(
    server: ServerClient, hook: MediaHost, engine: SmallEngine, tmp_path: Path
) -> None:
    engine.hold_after(0)
    server.started("j", "b", notificationsURL=hook.url("/hook"))
    for _ in range(2):
        server.jobs("POST", "/j/abort")
    (event,) = told(hook, 1)
    engine.go_on()
    wait_for(lambda: nothing_waits(tmp_path), "the end of the delivery")
    assert (event["job_id"], event["job_state"], len(hook.asked)) == ("j", "fail", 1)


def test_compilation_tells_its_end(server: ServerClient, hook: MediaHost) -> None:
    body = {"type": "trt-compilation-v1", "modelId": "m/1", "notificationsURL": hook.url("/hook")}
    for _ in range(2):
        assert server.jobs("POST", "/c", json=body).status_code == 200
    (event,) = told(hook, 1)
    assert (event["job_id"], event["job_state"]) == ("c", "fail")


def test_job_without_a_listener_tells_nobody(server: ServerClient, tmp_path: Path) -> None:
    server.started("j", "b")
    server.finished("j")
    assert nothing_waits(tmp_path)


def test_notification_that_is_refused_comes_again(server: ServerClient, hook: MediaHost, tmp_path: Path) -> None:
    hook.answers["/hook"] = [Answer(503), Answer(500), Answer(200)]
    server.started("j", "b", notificationsURL=hook.url("/hook"))
    events = told(hook, 3)
    wait_for(lambda: nothing_waits(tmp_path), "the end of the delivery")
    assert [event.pop("delivery_attempt") for event in events] == [1, 2, 3]
    assert events == [events[0]] * 3


def test_notification_survives_a_killed_server(tmp_path: Path, hook: MediaHost) -> None:
    never = Event()
    hook.answers["/hook"] = [Answer(hold=never), Answer(200)]
    with process_server(tmp_path, *NO_ENGINE, "--allow-host", "127.0.0.1") as first:
        first.client.upload("b", "a.jpg", b"one")
        body = job_body("b", notificationsURL=hook.url("/hook"))
        assert first.client.jobs("POST", "/j", json=body).status_code == 200
        told(hook, 1)
        first.kill()
    never.set()
    make_due(tmp_path)
    with process_server(tmp_path, *NO_ENGINE, "--allow-host", "127.0.0.1"):
        before, after = told(hook, 2)
        wait_for(lambda: nothing_waits(tmp_path), "the end of the delivery")
    assert (before.pop("delivery_attempt"), after.pop("delivery_attempt")) == (1, 2)
    assert before == after
    assert before["job_state"] == "fail"


def test_listener_is_guarded_like_that_of_an_ingest(server: ServerClient) -> None:
    unsafe = {"notificationsURL": "http://127.0.0.2/hook"}
    compilation = {"type": "trt-compilation-v1", "modelId": "m/1", **unsafe}
    for body in (job_body("b", **unsafe), compilation):
        refused = server.jobs("POST", "/j", json=body)
        assert (refused.status_code, "--allow-host" in refused.json()["error"]) == (400, True)
    assert server.jobs("GET", "/j").status_code == 404
