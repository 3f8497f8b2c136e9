"""Each option of a job arrives and takes effect; what an operator leaves out is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.batch_server.plan import Feature
from deployments.batch_server.services import World
from tests.deployments.batch_server.running import ServerClient, job_body, settings_for, thread_server, unpacked
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.waiting import wait_for

IMAGES = {f"{number:03d}.jpg": str(number).encode() for number in range(160)}
COMPUTE = "compute-configuration-v2"
COMPILATION = {"type": "trt-compilation-v1", "modelId": "m/1"}


class Ticking:
    """A clock that goes on by a second with each image."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def tick(self) -> None:
        self.now += 1.0


@pytest.fixture
def clock() -> Ticking:
    return Ticking()


@pytest.fixture
def engine(clock: Ticking) -> SmallEngine:
    return SmallEngine(on_image=clock.tick)


@pytest.fixture
def server(tmp_path: Path, engine: SmallEngine, clock: Ticking) -> Iterator[ServerClient]:
    with thread_server(settings_for(tmp_path / "data"), engine, World(timer=clock)) as client:
        client.fill("b", IMAGES)
        yield client


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        ({}, 3),
        ({"maxParallelTasks": 2}, 2),
        ({"computeConfiguration": {"type": COMPUTE, "workersPerMachine": 1}}, 1),
        ({"maxParallelTasks": 1, "computeConfiguration": {"type": COMPUTE, "workersPerMachine": 2}}, 1),
    ],
)
def test_tasks_and_workers_limit_what_is_under_way(
    server: ServerClient, engine: SmallEngine, changes: dict[str, Any], most: int
) -> None:
    engine.hold_after(0)
    server.started("j", "b", **changes)
    wait_for(lambda: len(engine.chunks) == most, f"{most} tasks")
    engine.go_on()
    assert not server.finished("j")["error"]
    # Of its own accord the scheduler keeps one more with the engine than the engine has workers.
    assert engine.most_at_once == most


def test_machine_time_ends_a_task_under_way(server: ServerClient, engine: SmallEngine) -> None:
    server.started("j", "b", processingTimeoutSeconds=4)
    found = server.finished("j")
    assert found["lastNotification"] == "processingTimeoutSeconds (4 s of machine time) is used up"
    assert {task["statusType"] for task in server.tasks("j")} == {"error"}
    assert len(engine.images) == 5
    (end,) = server.logs("j", severity="error")
    assert (end["logType"], end["payload"]["message"]) == ("job-error", found["lastNotification"])


def test_machine_time_is_warned_of_before_it_is_used_up(tmp_path: Path) -> None:
    with thread_server(settings_for(tmp_path / "data"), SmallEngine(), World(timer=lambda: 0.0)) as server:
        server.fill("b", IMAGES)
        server.started("j", "b", processingTimeoutSeconds=9, maxParallelTasks=1)
        assert not server.finished("j")["error"], "sixteen tasks take half a second each by the engine's account"
        (warning,) = server.logs("j", severity="warning")
    assert warning["logType"] == "limit-near"
    assert warning["payload"]["message"].endswith("of 9 s of machine time (processingTimeoutSeconds) are used")


def test_machine_time_used_is_known_to_the_next_server(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "data")
    engine = SmallEngine(hold_after=2)
    with thread_server(settings, engine, World(timer=lambda: 0.0)) as first:
        first.fill("b", IMAGES)
        first.started("j", "b", processingTimeoutSeconds=1, maxParallelTasks=1)
        wait_for(lambda: first.count("j-processing") == 2, "two tasks")
    with thread_server(settings, SmallEngine(), World(timer=lambda: 0.0)) as second:
        assert "processingTimeoutSeconds" in second.finished("j")["lastNotification"]
        assert [task["statusType"] for task in second.tasks("j")].count("success") == 3


def test_recorded_options_are_given_back_as_they_came(server: ServerClient) -> None:
    changes = {
        "computeConfiguration": {"type": COMPUTE, "machineType": "gpu", "workersPerMachine": 2},
        "inferenceBackend": "inference-models",
        "maxImageFailureRate": 0.5,
        "specification": {
            "imageInputName": "image",
            "workflowParameters": {"tolerance": 3},
            "aggregationFormat": "csv",
            "persistImagesOutputs": True,
        },
    }
    body = job_body("b", **{**changes, "specification": dict(changes["specification"])})  # type: ignore[call-overload]
    assert server.jobs("POST", "/j", json=body).status_code == 200
    found = server.finished("j")
    assert (found["jobDefinition"], found["error"]) == (body, False)
    (content,) = {name.split(".")[-1] for name in server.files("j-export", "aggregated-results")}
    assert content == "csv"
    assert len(unpacked(server.files("j-export", "images-archives")["chunk-00000.tar.gz"])) == 10


def test_outputs_to_be_persisted_and_parameters_reach_the_engine(server: ServerClient, engine: SmallEngine) -> None:
    wanted = {"imagesOutputsToBePersisted": ["matching_pixels"], "workflowParameters": {"tolerance": 7}}
    server.started("j", "b", specification=wanted)
    server.finished("j")
    assert {(chunk.keep_images, chunk.image_outputs, chunk.image_input) for chunk in engine.chunks} == {
        (True, ("matching_pixels",), "image")
    }
    assert all(chunk.parameters == {"tolerance": 7} for chunk in engine.chunks)


def test_job_beyond_the_most_is_429_until_one_has_ended(tmp_path: Path) -> None:
    engine = SmallEngine(hold_after=0)
    with thread_server(settings_for(tmp_path / "data", most_jobs=1), engine) as server:
        server.fill("b", {"a.jpg": b"one"})
        server.started("first", "b")
        refused = server.jobs("POST", "/second", json=job_body("b"))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
        assert "as many jobs are under way (1)" in refused.json()["error"]
        assert server.jobs("GET", "/second").status_code == 404
        assert server.jobs("POST", "/first", json=job_body("b")).status_code == 200
        server.jobs("POST", "/first/abort")
        server.started("second", "b")
        assert server.jobs("POST", "/first/restart").status_code == 429
        engine.go_on()
        server.finished("second")
        server.restarted("first")


def test_plan_that_leaves_a_feature_out_answers_402(tmp_path: Path) -> None:
    with thread_server(settings_for(tmp_path / "data", left_out=frozenset(Feature)), SmallEngine()) as server:
        server.fill("b", {"a.jpg": b"one"})
        gpu = {"computeConfiguration": {"type": COMPUTE, "machineType": "gpu"}}
        server.started("j", "b", specification={"workflowParameters": {"color": "impossible"}})
        server.finished("j")
        refused = {
            "gpu": server.jobs("POST", "/g", json=job_body("b", **gpu)),
            "gpu again": server.jobs("POST", "/j/restart", json={"type": "parameters-override-v1", **gpu}),
            "compilation": server.jobs("POST", "/c", json=COMPILATION),
            "references": server.refer("r", {"a.jpg": "https://a.example/a.jpg"}),
        }
        for feature, answer in refused.items():
            assert answer.status_code == 402, feature
            assert f"plan does not include {feature.split()[0]}: " in answer.json()["error"]
        assert server.job("j")["isTerminal"]
        server.started("cpu", "b", computeConfiguration={"type": COMPUTE, "machineType": "cpu"})
        assert not server.finished("cpu")["error"]


def test_compilation_is_taken_and_ends_with_its_reason(server: ServerClient) -> None:
    body = {**COMPILATION, "compilationDevices": ["nvidia-t4", "nvidia-l40s", "nvidia-t4"]}
    assert server.jobs("POST", "/c", json=body, params={"name": "Model"}).status_code == 200
    found = server.job("c")
    assert (found["isTerminal"], found["error"], found["name"]) == (True, True, "Model")
    assert "compiles no models: it has no TensorRT" in found["lastNotification"]
    assert found["jobDefinition"] == {**COMPILATION, "compilationDevices": ["nvidia-l40s", "nvidia-t4"]}
    assert server.jobs("GET", "/c/stages").json() == {"stages": []}
    assert [log["logType"] for log in server.logs("c", severity="error")] == ["job-error"]
    assert server.jobs("POST", "/c/restart").status_code == 409
    assert server.jobs("POST", "/c/abort").json() == {"jobId": "c", "aborted": False}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"compilationDevices": ["tpu"]}, "'nvidia-t4', 'nvidia-l4' or 'nvidia-l40s'"),
        ({"compilationDevices": []}, "at least one device"),
        ({"modelId": ""}, "modelId is empty"),
        ({"notificationsURL": "ftp://a.example"}, "notificationsURL"),
    ],
)
def test_compilation_that_cannot_be_asked_for_is_400(server: ServerClient, changes: dict[str, Any], says: str) -> None:
    answer = server.jobs("POST", "/c", json={**COMPILATION, **changes})
    assert (answer.status_code, says in answer.json()["error"]) == (400, True), answer.text


def test_compilation_whose_devices_come_in_another_order_is_the_same(server: ServerClient) -> None:
    for devices in (["nvidia-t4", "nvidia-l4"], ["nvidia-l4", "nvidia-t4"]):
        body = {**COMPILATION, "compilationDevices": devices}
        assert server.jobs("POST", "/c", json=body).status_code == 200
    assert server.jobs("POST", "/c", json=COMPILATION).status_code == 409
